package sandbox

import (
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// openhimRecording is what a real OpenHIM was asked and answered. The files under testdata/openhim hold one a line, in
// the order in which they were answered, each with those headers of the answer that are compared, and its date.
type openhimRecording struct {
	Name    string
	Request struct {
		Method, Path, Listener string
		Headers                map[string]string
		Body                   json.RawMessage
	}
	Response struct {
		Status  int
		Headers map[string]string
		Body    any
	}
}

// openhimNotMatched are the recordings that the stand-in does not answer alike, with the reason.
var openhimNotMatched = map[string]string{
	"bulkrerun-ok":                            "tasks of many transactions by filter, for people",
	"events-latest":                           "the visualiser",
	"groups-create":                           "contact groups of alerts",
	"groups-list":                             "contact groups of alerts",
	"keystore-cert":                           "the server's own certificate",
	"transaction-autoretry-child":             "auto-retry works by the clock",
	"transaction-autoretry-parent":            "auto-retry works by the clock",
	"transaction-put-before-answer":           "was asked while the router waited: TestOpenHIMLosesWhatIsReportedBeforeTheAnswer",
	"transaction-get-after-put-before-answer": "was asked while the router waited: TestOpenHIMLosesWhatIsReportedBeforeTheAnswer",
}

// openhimMaskedFields are fields whose values are the server's own: stacks of Node, how long the server runs and its
// clock, and the headers of its polling client and of the recorded mediator that tell a time or a name. Beside them, ids
// are compared by what stands for what, and the state of a run in a task is left out where it is "Successful", as the
// server fills that in at times only.
var openhimMaskedFields = []string{"stack", "master", "now", "user-agent", "x-openhim-lastrunat", "date"}

var (
	openhimMaskedID   = regexp.MustCompile(`\b[0-9a-f]{24}\b`)
	openhimMaskedTime = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
)

func TestOpenHIMAnswersRecordedRequestsAsRecorded(t *testing.T) {
	t.Parallel()
	for version, least := range map[string]int{"4.0.5": 17, "8.5.0": 344} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			recordings := openhimRecordings(t, version)
			if len(recordings) < least {
				t.Fatalf("%d recordings, want at least %d", len(recordings), least)
			}
			r := newOpenHIMReplayer(version, recordings)
			for _, recording := range recordings {
				t.Run(recording.Name, func(t *testing.T) {
					r.prepare(recording)
					got := r.ask(t, recording)
					if reason := openhimNotMatched[recording.Name]; reason != "" {
						t.Skip(reason)
					}
					r.compare(t, recording, got)
				})
			}
		})
	}
}

func openhimRecordings(t testing.TB, version string) []openhimRecording {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "openhim", version+".jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var recordings []openhimRecording
	for decoder := json.NewDecoder(unzipped); ; {
		var recording openhimRecording
		switch err := decoder.Decode(&recording); {
		case err == nil:
			recordings = append(recordings, recording)
		case errors.Is(err, io.EOF):
			return recordings
		default:
			t.Fatal(err)
		}
	}
}

// openhimReplayer asks a server what was recorded, one after the other.
type openhimReplayer struct {
	server *OpenHIM
	// ids are the server's own ids by those which were recorded.
	ids map[string]string
	now time.Time
	// mediator is what the recorded mediator answered, by path and query.
	mediator map[string]openhimUpstream
	session  string
}

type openhimUpstream struct {
	Status  int
	Headers map[string]string
	Body    string
}

func newOpenHIMReplayer(version string, recordings []openhimRecording) *openhimReplayer {
	r := &openhimReplayer{ids: map[string]string{}, mediator: openhimLostAnswers()}
	r.server = NewOpenHIM(OpenHIMConfig{
		Version: version,
		Users: []OpenHIMUser{{
			Email: "root@openhim.org", Name: "Super User", Password: "openhim-password", Groups: []string{"admin"}, Salt: "d9bcb40e-ae65-478f-962e-5e5e5e7d0a01",
		}},
		Now:          func() time.Time { r.now = r.now.Add(time.Millisecond); return r.now },
		RoundTripper: openhimRoute(r.callMediator),
	})
	for _, recording := range recordings {
		r.learnMediator(recording.Response.Body)
	}
	return r
}

// openhimRoute is a function as the network behind the router.
type openhimRoute func(*http.Request) (*http.Response, error)

func (f openhimRoute) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// openhimLostAnswers are answers of the mediator that the real server did not keep.
func openhimLostAnswers() map[string]openhimUpstream {
	envelope := func(rest string) openhimUpstream {
		return openhimUpstream{Status: 200, Headers: map[string]string{"content-type": "application/json+openhim"}, Body: `{"x-mediator-urn":"urn:mediator:rec-a","status":"Successful",` +
			`"response":{"status":200,"headers":{"content-type":"application/json"},"body":"{\"done\":true}","timestamp":"2026-11-22T07:31:22.000Z"},` + rest + `}`}
	}
	return map[string]openhimUpstream{
		"/t/orchnots":    envelope(`"orchestrations":[{"name":"n","request":{"method":"GET"}}]`),
		"/t/orchnoname":  envelope(`"orchestrations":[{"request":{"method":"GET","timestamp":"2026-11-22T07:31:22.000Z"}}]`),
		"/t/orchobjbody": envelope(`"orchestrations":[{"name":"n","request":{"body":{"a":1},"timestamp":"2026-11-22T07:31:22.000Z"}}]`),
		"/t/propsnested": envelope(`"properties":{"a.b":"c","n":{"x":1}}`),
	}
}

// learnMediator notes what a route answered: the last orchestration of a routed transaction holds it.
func (r *openhimReplayer) learnMediator(body any) {
	if list, is := body.([]any); is && len(list) > 0 {
		body = list[0]
	}
	transaction, _ := body.(openhimDoc)
	for _, o := range openhimDefs(transaction["orchestrations"]) {
		request, _ := o["request"].(openhimDoc)
		response, _ := o["response"].(openhimDoc)
		path, _ := request["path"].(string)
		if request["host"] != "127.0.0.1" || response == nil {
			continue
		}
		if _, known := r.mediator[path]; known {
			continue
		}
		up := openhimUpstream{Status: int(response["status"].(float64)), Headers: map[string]string{}}
		up.Body, _ = response["body"].(string)
		for name, value := range response["headers"].(openhimDoc) {
			if name != "X-OpenHIM-TransactionID" {
				up.Headers[name] = value.(string)
			}
		}
		r.mediator[path] = up
	}
}

// callMediator answers as the recorded mediator did.
func (r *openhimReplayer) callMediator(request *http.Request) (*http.Response, error) {
	switch path := request.URL.RequestURI(); {
	case request.URL.Port() == "1":
		return nil, errors.New("dial tcp: connection refused")
	case request.URL.Scheme == "https":
		return nil, x509.UnknownAuthorityError{}
	case path == "/to/slow?t=3", path == "/t/slow?t=63":
		return nil, context.DeadlineExceeded
	}
	up, known := r.mediator[request.URL.RequestURI()]
	if !known {
		up = openhimUpstream{Status: 200, Headers: map[string]string{"content-type": "application/json"}, Body: `{"done": true}`}
	}
	header := http.Header{}
	for name, value := range up.Headers {
		header.Set(name, value)
	}
	return &http.Response{StatusCode: up.Status, Header: header, Body: io.NopCloser(strings.NewReader(up.Body))}, nil
}

// prepare sets the clock, and does what was done between the recordings and not recorded.
func (r *openhimReplayer) prepare(recording openhimRecording) {
	if at, err := http.ParseTime(recording.Response.Headers["date"]); err == nil && at.After(r.now) {
		r.now = at
	}
	switch recording.Name {
	case "mediator-channels-install-by-name":
		r.quietly("POST", "/mediators/urn:mediator:rec-a/channels", `[]`)
	case "mediator-channels-install-all":
		r.server.channels = nil // a person deleted it
	case "core405-channels-list":
		five := r.server.channels
		r.server.channels = nil
		root := &openhimCall{OpenHIM: r.server, user: r.server.users["root@openhim.org"]}
		for _, text := range []string{
			`{"name":"Four ch","urlPattern":"^/t/.*$","methods":["GET","POST"],"authType":"public","routes":[{"name":"Four route","host":"127.0.0.1","port":9911,"primary":true}]}`,
			`{"name":"poll4","urlPattern":"poll4","type":"polling","pollingSchedule":"*/10 * * * * *","authType":"public","routes":[{"name":"p","host":"127.0.0.1","port":9911,"path":"/poll4/plain","primary":true}]}`,
		} {
			var channel openhimDoc
			_ = json.Unmarshal([]byte(text), &channel)
			root.addChannel(channel)
		}
		r.server.channels = append(r.server.channels, five...)
	case "channel-trigger-polling":
		r.ids["6b029a33e33917648d2c909d"], _ = openhimFind(r.server.Channels(), "name", "T polling")["_id"].(string)
	case "transaction-after-core-restart-processing-with-response":
		r.restart()
	}
}

// restart posts what waited when the core was restarted, and restarts it.
func (r *openhimReplayer) restart() {
	channel := r.ids["6b029a2ee33917648d2c8f04"]
	for id, rest := range map[string]string{
		"6b00000000000000000000a1": `"status":"Processing"`,
		"6b00000000000000000000a2": `"status":"Processing","response":{"status":202,"timestamp":"2026-11-22T07:38:00.000Z"}`,
		"6b00000000000000000000a3": `"status":"Pending Async"`,
	} {
		r.quietly("POST", "/transactions", `{"_id":"`+id+`","channelID":"`+channel+`","request":{"timestamp":"2026-11-22T07:38:00.000Z","method":"GET","path":"/t/plain"},`+rest+`}`)
	}
	request := httptest.NewRequest("POST", "http://localhost:5001/t/async", strings.NewReader(`{"a": 1}`))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept-Encoding", "identity")
	r.server.Router().ServeHTTP(httptest.NewRecorder(), request)
	r.server.Restart()
}

func (r *openhimReplayer) quietly(method, path, body string) {
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	request.SetBasicAuth("root@openhim.org", "openhim-password")
	request.Header.Set("Content-Type", "application/json")
	r.server.ServeHTTP(httptest.NewRecorder(), request)
}

// own puts the server's own ids in the place of recorded ones. An id that was never seen in an answer is that of the
// newest transaction: the router does not tell it when it fails.
func (r *openhimReplayer) own(text string, newest bool) string {
	return openhimMaskedID.ReplaceAllStringFunc(text, func(id string) string {
		if own, known := r.ids[id]; known {
			return own
		}
		if all := r.server.Transactions(); newest && len(all) > 0 && !strings.HasPrefix(id, "6b0000000000") && !strings.HasPrefix(id, "ffff") {
			return all[len(all)-1]["_id"].(string)
		}
		return id
	})
}

// ownPath is own for a path with a query.
func (r *openhimReplayer) ownPath(path string, newest bool) string {
	path, query, has := strings.Cut(path, "?")
	path = r.own(path, newest)
	if !has || !strings.Contains(query, "filters") {
		return path + strings.Repeat("?", min(len(query), 1)) + query
	}
	values, _ := url.ParseQuery(query)
	values.Set("filters", r.own(values.Get("filters"), false))
	return path + "?" + values.Encode()
}

// ask asks what was recorded.
func (r *openhimReplayer) ask(t *testing.T, recording openhimRecording) *httptest.ResponseRecorder {
	t.Helper()
	body := recording.Request.Body
	var text string
	if json.Unmarshal(body, &text) == nil {
		body = []byte(text)
	}
	if string(recording.Request.Body) == "null" {
		body = nil
	}
	path := r.ownPath(recording.Request.Path, strings.HasPrefix(recording.Name, "transaction-after-"))
	request := httptest.NewRequest(recording.Request.Method, "http://localhost:5001"+path, strings.NewReader(r.own(string(body), false)))
	for name, value := range recording.Request.Headers {
		request.Header.Set(name, value)
	}
	if request.Header.Get("Cookie") != "" {
		request.Header.Set("Cookie", "koa.sess="+r.session)
	}
	answer := httptest.NewRecorder()
	if recording.Request.Listener == "" {
		r.server.ServeHTTP(answer, request)
	} else {
		request.Header.Set("Accept-Encoding", "identity")
		r.server.Router().ServeHTTP(answer, request)
	}
	for _, cookie := range answer.Result().Cookies() {
		r.session = cookie.Value
	}
	return answer
}

// compare compares an answer with what was recorded.
func (r *openhimReplayer) compare(t *testing.T, recording openhimRecording, got *httptest.ResponseRecorder) {
	t.Helper()
	want := recording.Response
	if got.Code != want.Status {
		t.Errorf("status %d, want %d", got.Code, want.Status)
	}
	for _, name := range []string{"Content-Type", "Www-Authenticate"} {
		if got, want := got.Header().Get(name), want.Headers[strings.ToLower(name)]; got != want {
			t.Errorf("%s %q, want %q", name, got, want)
		}
	}
	const id = "X-Openhim-Transactionid"
	r.learn(t, want.Headers[strings.ToLower(id)], got.Header().Get(id))
	if got, want := got.Header().Get(id) != "", want.Headers[strings.ToLower(id)] != ""; got != want {
		t.Errorf("with a transaction's id: %v, want %v", got, want)
	}
	var gotBody any = got.Body.String()
	if strings.Contains(got.Header().Get("Content-Type"), "json") && got.Body.Len() > 0 {
		if err := json.Unmarshal(got.Body.Bytes(), &gotBody); err != nil {
			t.Fatalf("%v in %s", err, got.Body)
		}
	}
	if list, is := gotBody.([]any); is && strings.Contains(recording.Name, "permission-channels-list") && len(list) > 1 {
		gotBody = list[:1] // so the list was recorded
	}
	r.learn(t, want.Body, gotBody)
	if recording.Name == "transaction-after-mediator-bad-json" {
		openhimErrorOf(want.Body)["message"], openhimErrorOf(gotBody)["message"] = "masked", "masked" // the JSON parser's words
	}
	if diff := gocmp.Diff(maskOpenHIM("", want.Body), maskOpenHIM("", gotBody)); diff != "" {
		t.Errorf("body (-recorded +got):\n%s", diff)
	}
}

func openhimErrorOf(body any) openhimDoc {
	failure, _ := body.(openhimDoc)["error"].(openhimDoc)
	return failure
}

// learn notes which ids stand for which, and holds that it is the same everywhere.
func (r *openhimReplayer) learn(t *testing.T, want, got any) {
	t.Helper()
	switch want := want.(type) {
	case string:
		text, _ := got.(string)
		recorded, own := openhimMaskedID.FindAllString(want, -1), openhimMaskedID.FindAllString(text, -1)
		for i := range min(len(recorded), len(own)) {
			if known, is := r.ids[recorded[i]]; is && known != own[i] {
				t.Errorf("%s stood for %s before, and for %s now", recorded[i], known, own[i])
			}
			r.ids[recorded[i]] = own[i]
		}
	case openhimDoc:
		object, _ := got.(openhimDoc)
		for name, member := range want {
			r.learn(t, member, object[name])
		}
	case []any:
		list, _ := got.([]any)
		for i := range min(len(list), len(want)) {
			r.learn(t, want[i], list[i])
		}
	}
}

// maskOpenHIM masks what is not compared in a value and all within it: ids, times, and what the server makes up.
func maskOpenHIM(name string, value any) any {
	if slices.Contains(openhimMaskedFields, name) {
		return "masked"
	}
	switch value := value.(type) {
	case openhimDoc:
		masked := openhimDoc{}
		for name, member := range value {
			if name == "rerunStatus" && member == "Successful" {
				continue
			}
			masked[name] = maskOpenHIM(name, member)
		}
		return masked
	case []any:
		masked := make([]any, len(value))
		for i := range value {
			masked[i] = maskOpenHIM("", value[i])
		}
		return masked
	case string:
		return openhimMaskedTime.ReplaceAllString(openhimMaskedID.ReplaceAllString(value, "id"), "time")
	}
	return value
}
