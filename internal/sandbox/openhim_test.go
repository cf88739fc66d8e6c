package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// openhimWorld is a stand-in with a channel "c" for /c/ and a polling channel "p", both to one mediator.
type openhimWorld struct {
	*OpenHIM

	// mediator answers what the channels lead to it.
	mediator func(r *http.Request, body string) (status int, contentType, answer string)
	asked    []*http.Request
}

func newOpenHIMWorld(t testing.TB, channel string) *openhimWorld {
	t.Helper()
	w := &openhimWorld{}
	w.OpenHIM = NewOpenHIM(OpenHIMConfig{
		Clients: []OpenHIMClient{{ID: "cht", Password: "p", Roles: []string{"interop"}}},
		RoundTripper: openhimRoute(func(r *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(r.Body)
			w.asked = append(w.asked, r)
			status, contentType, answer := w.mediator(r, string(body))
			return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(answer))}, nil
		}),
	})
	w.mediator = func(*http.Request, string) (int, string, string) { return 200, "application/json", `{}` }
	const route = `"routes":[{"name":"r","host":"mediator","port":8070,"primary":true}]`
	w.api(t, 201, "POST", "/channels", `{"name":"c","urlPattern":"^/c/","methods":["GET","POST"],"allow":["interop"],`+route+channel+`}`)
	w.api(t, 201, "POST", "/channels", `{"name":"p","urlPattern":"p","type":"polling",`+route+`}`)
	return w
}

// api calls the API, wants the status, and gives the body.
func (w *openhimWorld) api(t testing.TB, status int, method, path, body string) string {
	t.Helper()
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	request.SetBasicAuth("root@openhim.org", "openhim-password")
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, request)
	if answer.Code != status {
		t.Fatalf("%s %s: %d %s, want %d", method, path, answer.Code, answer.Body, status)
	}
	return answer.Body.String()
}

// route calls the router as the client.
func (w *openhimWorld) route(method, path, body string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	request.SetBasicAuth("cht", "p")
	answer := httptest.NewRecorder()
	w.Router().ServeHTTP(answer, request)
	return answer
}

const openhimProcessing = `{"x-mediator-urn":"u","status":"Processing","response":{"status":202,"headers":{},"body":"{}","timestamp":"2026-11-22T09:00:00.000Z"}}`

// What is reported while the router waits is replaced by what the router stores (contract, section 11.2).
func TestOpenHIMLosesWhatIsReportedBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	w := newOpenHIMWorld(t, "")
	w.mediator = func(r *http.Request, _ string) (int, string, string) {
		id := r.Header.Get("X-OpenHIM-TransactionID")
		w.api(t, 200, "PUT", "/transactions/"+id, `{"status":"Successful","properties":{"early":"yes"},"$push":{"orchestrations":{"name":"Early","request":{"timestamp":"2026-11-22T09:00:00.000Z"}}}}`)
		if w.Transactions()[0]["status"] != "Successful" {
			t.Error("the report does not show while the router waits")
		}
		return 200, "application/json+openhim", `{"status":"Processing","properties":{"late":"yes"},"response":{"status":202,"headers":{},"body":"{}"}}`
	}
	w.route("POST", "/c/x", `{}`)
	stored := w.Transactions()[0]
	properties, _ := stored["properties"].(openhimDoc)
	orchestrations, _ := stored["orchestrations"].([]any)
	if stored["status"] != "Processing" || properties["early"] != nil || properties["late"] != "yes" || len(orchestrations) != 1 {
		t.Errorf("stored %v", stored)
	}
}

func TestOpenHIMLeadsAClientToTheMediator(t *testing.T) {
	t.Parallel()
	w := newOpenHIMWorld(t, "")
	w.mediator = func(*http.Request, string) (int, string, string) {
		return 200, "application/json+openhim; charset=utf-8", openhimProcessing
	}
	answer := w.route("POST", "/c/x?a=b", `{"n":1}`)
	id := answer.Header().Get("X-OpenHIM-TransactionID")
	if answer.Code != 202 || id == "" {
		t.Fatalf("%d %v", answer.Code, answer.Header())
	}
	got := w.asked[0]
	if got.URL.String() != "http://mediator:8070/c/x?a=b" || got.Header.Get("X-OpenHIM-TransactionID") != id || got.Header.Get("X-OpenHIM-ClientID") != "cht" || got.Header.Get("Authorization") != "" {
		t.Errorf("the mediator was asked %s with %v", got.URL, got.Header)
	}
	w.api(t, 200, "PUT", "/transactions/"+id, `{"status":"Successful"}`)
	w.Restart()
	if got := w.Transactions()[0]["status"]; got != "Successful" {
		t.Errorf("status %v", got)
	}
}

func TestOpenHIMPutsTheRoutesCredentialsInPlaceOfTheClients(t *testing.T) {
	t.Parallel()
	w := newOpenHIMWorld(t, `,"routes":[{"name":"r","host":"mediator","port":8070,"primary":true,"username":"openhim","password":"door","pathTransform":"s/\\/c/\\/cht-dhis2/"}]`)
	w.route("GET", "/c/x", "")
	name, password, _ := w.asked[0].BasicAuth()
	if name != "openhim" || password != "door" || w.asked[0].URL.Path != "/cht-dhis2/x" {
		t.Errorf("%s:%s at %s", name, password, w.asked[0].URL)
	}
}

func TestOpenHIMRunsAgainWhatWasAsked(t *testing.T) {
	t.Parallel()
	w := newOpenHIMWorld(t, "")
	var bodies []string
	w.mediator = func(_ *http.Request, body string) (int, string, string) {
		bodies = append(bodies, body)
		return 200, "application/json+openhim", openhimProcessing
	}
	id := w.route("POST", "/c/x", `{"period":"latest-closed"}`).Header().Get("X-OpenHIM-TransactionID")
	w.api(t, 201, "POST", "/tasks", `{"tids":["`+id+`"]}`)
	child := w.Transactions()[1]
	if len(bodies) != 2 || bodies[0] != bodies[1] || child["parentID"] != id {
		t.Errorf("bodies %q, child %v", bodies, child)
	}
	if got := w.asked[1].Header; got.Get("parentid") != id || got.Get("taskid") == "" || got.Get("X-OpenHIM-TransactionID") != child["_id"] {
		t.Errorf("asked with %v", got)
	}
}

func TestOpenHIMPollsWithGET(t *testing.T) {
	t.Parallel()
	w := newOpenHIMWorld(t, "")
	if id := w.Poll("p"); id == "" || w.Transactions()[0]["_id"] != id {
		t.Errorf("polled %q", id)
	}
	if got := w.asked[0]; got.Method != "GET" || got.Header.Get("channel-id") == "" || got.Header.Get("X-OpenHIM-TransactionID") == "" {
		t.Errorf("asked %s with %v", got.Method, got.Header)
	}
	if w.Poll("c") != "" || w.Poll("nowhere") != "" {
		t.Error("polled what does not poll")
	}
}

func TestOpenHIMMakesAStatusOfEachAnswer(t *testing.T) {
	t.Parallel()
	envelope := func(word string, status int) string {
		return fmt.Sprintf(`{%s"response":{"status":%d,"headers":{},"body":""}}`, word, status)
	}
	for _, test := range []struct {
		name, contentType, answer string
		status                    int
		async                     bool
		want                      string
		client                    int
	}{
		{"200", "text/plain", "", 200, false, "Successful", 200},
		{"302", "text/plain", "", 302, false, "Completed", 302},
		{"404", "text/plain", "", 404, false, "Completed", 404},
		{"500", "text/plain", "", 500, false, "Failed", 500},
		{"200 asynchronous", "text/plain", "", 200, true, "Pending Async", 202},
		{"404 asynchronous", "text/plain", "", 404, true, "Completed", 404},
		{"word", "application/json+openhim", envelope(`"status":"Completed with error(s)",`, 200), 500, false, "Completed with error(s)", 200},
		{"word that is none", "application/json+openhim", envelope(`"status":"Done",`, 200), 200, false, "Done", 200},
		{"no word", "application/json+openhim", envelope("", 404), 200, false, "Completed", 404},
		{"word on an asynchronous channel", "application/json+openhim", envelope(`"status":"Successful",`, 200), 200, true, "Successful", 202},
		{"no JSON", "application/json+openhim", "{", 200, false, "Failed", 500},
		{"no response", "application/json+openhim", `{"status":"Successful"}`, 200, false, "Successful", 500},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			channel := ""
			if test.async {
				channel = `,"isAsynchronousProcess":true`
			}
			w := newOpenHIMWorld(t, channel)
			w.mediator = func(*http.Request, string) (int, string, string) { return test.status, test.contentType, test.answer }
			answer := w.route("GET", "/c/x", "")
			if got := w.Transactions()[0]["status"]; got != test.want || answer.Code != test.client {
				t.Errorf("%v and %d, want %s and %d", got, answer.Code, test.want, test.client)
			}
		})
	}
}

// One orchestration without a name or a time, a body that is no text, a dot in a key: all is lost but the status.
func TestOpenHIMLosesAReportThatItsDatabaseRefuses(t *testing.T) {
	t.Parallel()
	for _, rest := range []string{
		`"orchestrations":[{"name":"n"}]`,
		`"orchestrations":[{"request":{"timestamp":"2026-11-22T09:00:00.000Z"}}]`,
		`"orchestrations":[{"name":"n","request":{"timestamp":"2026-11-22T09:00:00.000Z","body":{}}}]`,
		`"properties":{"a.b":"c"}`,
	} {
		w := newOpenHIMWorld(t, "")
		w.mediator = func(*http.Request, string) (int, string, string) {
			return 200, "application/json+openhim", `{"status":"Successful","response":{"status":200,"headers":{},"body":""},` + rest + `}`
		}
		w.route("GET", "/c/x", "")
		stored := w.Transactions()[0]
		if list, _ := stored["orchestrations"].([]any); stored["status"] != "Successful" || stored["response"] != nil || len(list) != 0 || stored["properties"] != nil {
			t.Errorf("%s: stored %v", rest, stored)
		}
	}
}

func TestOpenHIMCutsBodiesThatAreTooLarge(t *testing.T) {
	t.Parallel()
	w := newOpenHIMWorld(t, "")
	large := strings.Repeat("x", 6_000_000)
	w.mediator = func(*http.Request, string) (int, string, string) { return 200, "text/plain", large }
	w.route("POST", "/c/x", large)
	stored := w.Transactions()[0]
	var length [2]int
	for i, part := range []string{"request", "response"} {
		message, _ := stored[part].(openhimDoc)
		body, _ := message["body"].(string)
		length[i] = len(body)
	}
	if length != [2]int{6_000_000, 6_000_000} || stored["canRerun"] != true {
		t.Errorf("lengths %v, can be run again: %v", length, stored["canRerun"])
	}
	text, _ := json.Marshal(stored["orchestrations"])
	if len(text) > 3_800_000 || !strings.Contains(string(text), "[truncated ...]") {
		t.Errorf("orchestrations of %d bytes", len(text))
	}
}

func TestOpenHIMSuffersFaultsAndForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newOpenHIMWorld(t, "")
		w.Fail(Fault{Kind: Latency, Delay: time.Hour}, Fault{Kind: Status, Status: 503, Path: "/channels"})
		start := time.Now()
		w.api(t, 503, "GET", "/channels", "")
		if time.Since(start) != time.Hour {
			t.Errorf("took %v", time.Since(start))
		}
		w.Heal()
		w.Forget()
		if got := w.api(t, 200, "GET", "/channels", ""); got != "[]" {
			t.Errorf("channels %s", got)
		}
	})
}

func TestOpenHIMRefusesBodiesBeyondItsLimit(t *testing.T) {
	t.Parallel()
	w := newOpenHIMWorld(t, "")
	w.api(t, 413, "POST", "/transactions", strings.Repeat(" ", maxOpenHIMBody+1))
}

func TestOpenHIMIsSafeForManyGoroutines(t *testing.T) {
	t.Parallel()
	w := NewOpenHIM(OpenHIMConfig{RoundTripper: openhimRoute(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
	})}) // the counting world above is not
	world := &openhimWorld{OpenHIM: w}
	world.api(t, 201, "POST", "/channels", `{"name":"c","urlPattern":"^/c/","methods":["POST"],"authType":"public","routes":[{"name":"r","host":"m","port":1,"primary":true}]}`)
	done := make(chan struct{})
	for range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 20 {
				id := world.route("POST", "/c/x", "{}").Header().Get("X-OpenHIM-TransactionID")
				world.api(t, 200, "PUT", "/transactions/"+id, `{"properties":{"a":"b"}}`)
				world.api(t, 201, "POST", "/tasks", `{"tids":["`+id+`"]}`)
				world.api(t, 200, "GET", "/transactions", "")
				world.Transactions()
			}
		}()
	}
	for range 8 {
		<-done
	}
	if got := len(w.Transactions()); got != 320 {
		t.Errorf("%d transactions, want 320", got)
	}
}
