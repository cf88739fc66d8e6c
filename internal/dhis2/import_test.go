package dhis2

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// caller answers requests in memory, and makes tries as the real transport does.
type caller func(r *http.Request, body []byte) (status int, contentType, answer string, err error)

func (c caller) Do(r *http.Request, again func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
	}
	for try := 1; ; try++ {
		status, contentType, answer, err := c(r, sent)
		var response *http.Response
		if err == nil {
			response = &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: http.NoBody}
		}
		wait, more := again(try, response, []byte(answer), err)
		if !more {
			return response, []byte(answer), err
		}
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
			return nil, nil, r.Context().Err()
		}
	}
}

func (c caller) Stream(r *http.Request, again func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	response, body, err := c.Do(r, again)
	if err == nil && response.StatusCode == http.StatusOK {
		response.Body = io.NopCloser(bytes.NewReader(body))
		body = nil
	}
	return response, body, err
}

func client(c caller) *Client {
	return New(&url.URL{Scheme: "http", Host: "dhis2.test", Path: "/dhis"}, c, 1)
}

func chunk() Chunk {
	return Chunk{DataSet: "DsTest00001", Period: september, Values: fiveValues()}
}

func packed(t *testing.T, c *Client, chunk Chunk) Packed {
	t.Helper()
	p, err := c.Pack(chunk)
	if err != nil {
		t.Error(err)
	}
	return p
}

const stored = `{"httpStatus":"OK","httpStatusCode":200,"status":"OK","message":"Import was successful.","response":{"status":"SUCCESS","importCount":{"imported":0,"updated":5,"ignored":0,"deleted":0},"conflicts":[],"rejectedIndexes":[]}}`

func TestImportSendsAsTheContractSays(t *testing.T) {
	var request *http.Request
	var body []byte
	c := client(func(r *http.Request, sent []byte) (int, string, string, error) {
		request, body = r, sent
		return 200, "application/json;charset=UTF-8", stored, nil
	})
	of := Chunk{DataSet: "DsTest00001", Period: september, AttributeOptionCombo: "AocTest0001", Values: []DataValue{
		{DataElement: "DeTest00001", OrgUnit: "OuTest00001", Value: "3"},
		{DataElement: "DeTest00002", OrgUnit: "OuTest00001", CategoryOptionCombo: "CocTest0001", Value: "4", Comment: `a "quote" <b> é`},
	}}
	if _, err := c.Import(t.Context(), SetBased, packed(t, c, of), Options{DryRun: true}); err != nil {
		t.Fatal(err)
	}
	if got := request.Method + " " + request.URL.Path; got != "POST /dhis/api/dataValueSets" {
		t.Errorf("request %s", got)
	}
	wantQuery := url.Values{"dryRun": {"true"}}
	for _, name := range []string{"strictPeriods", "strictDataElements", "strictCategoryOptionCombos", "strictAttributeOptionCombos", "strictOrganisationUnits"} {
		wantQuery.Set(name, "true")
	}
	if diff := cmp.Diff(wantQuery, request.URL.Query()); diff != "" {
		t.Errorf("query (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "Content-Encoding": "gzip", "X-Requested-With": "XMLHttpRequest"} {
		if got := request.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"dataSet":"DsTest00001","period":"202609","attributeOptionCombo":"AocTest0001","dataValues":[` +
		`{"dataElement":"DeTest00001","orgUnit":"OuTest00001","value":"3"},` +
		`{"dataElement":"DeTest00002","orgUnit":"OuTest00001","categoryOptionCombo":"CocTest0001","value":"4","comment":"a \"quote\" <b> é"}]}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if !json.Valid(text) {
		t.Error("the text is no JSON")
	}
}

func TestPayloadIsTheSameEveryTime(t *testing.T) {
	c := client(nil)
	one, err := c.Pack(chunk())
	if err != nil {
		t.Fatal(err)
	}
	two, _ := c.Pack(chunk())
	if one.Digest != two.Digest || !bytes.Equal(one.Body, two.Body) || len(one.Digest) != 64 {
		t.Errorf("digests %s and %s", one.Digest, two.Digest)
	}
	other := chunk()
	other.Values[0].Value = "4"
	if three, _ := c.Pack(other); three.Digest == one.Digest {
		t.Error("another value has the same digest")
	}
}

func TestImportTriesTheSameTextAFewTimesSomeSecondsApart(t *testing.T) {
	tests := []struct {
		name   string
		answer func(try int) (int, string, string, error)
		tries  int
		took   time.Duration
		want   State
	}{
		{"busy twice", func(try int) (int, string, string, error) {
			if try < 3 {
				return 503, "text/html", "<html>", nil
			}
			return 200, "application/json", stored, nil
		}, 3, 1500 * time.Millisecond, Accepted},
		{"busy for ever", func(int) (int, string, string, error) { return 503, "text/html", "<html>", nil }, 4, 3500 * time.Millisecond, Unknown},
		{"refused credentials", func(int) (int, string, string, error) { return 401, "application/json", "{}", nil }, 1, 0, Unsent},
		{"login page", func(int) (int, string, string, error) { return 200, "text/html", "<html>", nil }, 1, 0, Unknown},
		{"redirect", func(int) (int, string, string, error) { return 302, "", "", nil }, 1, 0, Unsent},
		{"too large", func(int) (int, string, string, error) { return 413, "text/html", "<html>", nil }, 1, 0, Unsent},
		{"gateway time-out", func(int) (int, string, string, error) { return 504, "text/html", "<html>", nil }, 1, 0, Unknown},
		{"cut off once", func(try int) (int, string, string, error) {
			if try == 1 {
				return 0, "", "", failingCall{}
			}
			return 200, "application/json", stored, nil
		}, 2, 500 * time.Millisecond, Accepted},
		{"slow and cut off is not sent again at once", func(int) (int, string, string, error) {
			time.Sleep(time.Minute)
			return 0, "", "", failingCall{}
		}, 1, time.Minute, Unknown},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var bodies [][]byte
				c := client(func(_ *http.Request, sent []byte) (int, string, string, error) {
					bodies = append(bodies, sent)
					return test.answer(len(bodies))
				})
				started := time.Now()
				o, err := c.Import(t.Context(), SetBased, packed(t, c, chunk()), Options{})
				if err != nil {
					t.Fatal(err)
				}
				if o.State != test.want || len(bodies) != test.tries || time.Since(started) != test.took {
					t.Errorf("%s after %d tries and %s, want %s after %d and %s", o.State, len(bodies), time.Since(started), test.want, test.tries, test.took)
				}
				for _, body := range bodies {
					if !bytes.Equal(body, bodies[0]) {
						t.Error("another try had another text")
					}
				}
			})
		})
	}
}

func TestAnUnknownOutcomeIsNotUndoneByATryThatDidNotArrive(t *testing.T) {
	for name, later := range map[string]func() (int, string, string, error){
		"connection refused": func() (int, string, string, error) { return 0, "", "", failingCall{unsent: true} },
		"held back":          func() (int, string, string, error) { return 429, "text/html", "<html>", nil },
		"credentials":        func() (int, string, string, error) { return 401, "application/json", "{}", nil },
		"too large":          func() (int, string, string, error) { return 413, "text/html", "<html>", nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				c := client(func(*http.Request, []byte) (int, string, string, error) {
					if tries++; tries == 1 {
						return 0, "", "", failingCall{} // it may have been stored
					}
					return later()
				})
				if o, err := c.Import(t.Context(), SetBased, packed(t, c, chunk()), Options{}); err != nil || o.State != Unknown || tries < 2 {
					t.Errorf("%s after %d tries, %v; want it unknown", o.State, tries, err)
				}
			})
		})
	}
}

func TestNoTryBeginsAfterTheContextEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tries := 0
		c := client(func(*http.Request, []byte) (int, string, string, error) {
			tries++
			return 503, "text/html", "<html>", nil
		})
		time.AfterFunc(700*time.Millisecond, cancel) // between the second try and the third
		started := time.Now()
		o, err := c.Import(ctx, SetBased, packed(t, c, chunk()), Options{})
		if err != nil || o.State != Unknown || tries != 2 || time.Since(started) != 700*time.Millisecond {
			t.Errorf("%s after %d tries and %s, %v", o.State, tries, time.Since(started), err)
		}
	})
}

func TestOneImportIsInFlightAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now, most := 0, 0
		var lock sync.Mutex
		c := client(func(*http.Request, []byte) (int, string, string, error) {
			lock.Lock()
			now++
			most = max(most, now)
			lock.Unlock()
			time.Sleep(time.Second)
			lock.Lock()
			now--
			lock.Unlock()
			return 200, "application/json", stored, nil
		})
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { _, _ = c.Import(t.Context(), SetBased, packed(t, c, chunk()), Options{}) })
		}
		all.Wait()
		if most != 1 {
			t.Errorf("%d imports were in flight at once", most)
		}
	})
}

func TestARequestInFlightIsFinishedWhenTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tries := 0
		c := client(func(r *http.Request, _ []byte) (int, string, string, error) {
			tries++
			cancel()
			select {
			case <-time.After(5 * time.Second):
				return 200, "application/json", stored, nil
			case <-r.Context().Done():
				return 0, "", "", r.Context().Err()
			}
		})
		if o, err := c.Import(ctx, SetBased, packed(t, c, chunk()), Options{}); err != nil || o.State != Accepted {
			t.Errorf("%v, %v; want it accepted", o.State, err)
		}
		c = client(func(r *http.Request, _ []byte) (int, string, string, error) {
			<-r.Context().Done()
			return 0, "", "", r.Context().Err()
		})
		ctx, cancel = context.WithCancel(t.Context())
		started := time.Now()
		time.AfterFunc(time.Second, cancel)
		o, err := c.Import(ctx, SetBased, packed(t, c, chunk()), Options{})
		if err != nil || o.State != Unknown || time.Since(started) != 21*time.Second {
			t.Errorf("%v, %v after %s; want it unknown after 21s", o.State, err, time.Since(started))
		}
		if _, err := c.Import(ctx, SetBased, packed(t, c, chunk()), Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("an import after the end: %v", err)
		}
	})
}

func TestServerAndDataSet(t *testing.T) {
	answers := map[string]string{
		"/dhis/api/system/info":          `{"version":"2.42.5.2","calendar":"iso8601","serverDate":"2026-11-22T09:38:41.516","serverTimeZoneId":"Etc/UTC"}`,
		"/dhis/api/me":                   `{"id":"UsIntegrat1","username":"cht_integration","authorities":["F_DATAVALUE_ADD"],"organisationUnits":[{"id":"OuCountry01","path":"/OuCountry01"}]}`,
		"/dhis/api/dataSets/DsTest00001": `{"id":"DsTest00001","name":"Test","periodType":"Monthly","access":{"data":{"read":true,"write":true}},"categoryCombo":{"id":"bjDvmb4bfuf","isDefault":true,"categoryOptionCombos":[{"id":"HllvX50cXC0"}]}}`,
		"/dhis/api/dataSets/DsAttrib001": `{"id":"DsAttrib001","name":"Attributes","periodType":"Quarterly","access":{"data":{"write":false}},"categoryCombo":{"id":"CcTest00001","isDefault":false,"categoryOptionCombos":[{"id":"AocTest0001"},{"id":"AocTest0002"}]},` +
			`"dataSetElements":[{"dataElement":{"id":"DeTest00001","zeroIsSignificant":false,"aggregationType":"SUM"}},{"dataElement":{"id":"DeTest00002","zeroIsSignificant":true,"aggregationType":"SUM"}},{"dataElement":{"id":"DeTest00003","zeroIsSignificant":false,"aggregationType":"AVERAGE"}}]}`,
	}
	c := client(func(r *http.Request, _ []byte) (int, string, string, error) {
		if answer, ok := answers[r.URL.Path]; ok {
			return 200, "application/json", answer, nil
		}
		return 404, "application/json", `{"httpStatus":"Not Found","httpStatusCode":404,"status":"ERROR","message":"DataSet with id DsUnknown01 could not be found."}`, nil
	})
	server, err := c.Server(t.Context())
	if diff := cmp.Diff(Server{Version: "2.42.5.2", Dialect: Legacy, Calendar: "iso8601", TimeZone: "Etc/UTC", Date: "2026-11-22T09:38:41.516"}, server); err != nil || diff != "" {
		t.Errorf("%v; server (-want +got):\n%s", err, diff)
	}
	me, err := c.Me(t.Context())
	if err != nil || me.Username != "cht_integration" || len(me.OrgUnits) != 1 {
		t.Errorf("me: %+v, %v", me, err)
	}
	set, err := c.DataSet(t.Context(), "DsTest00001")
	if diff := cmp.Diff(DataSet{ID: "DsTest00001", Name: "Test", PeriodType: Monthly, CanRead: true, CanWrite: true, DefaultCombo: "HllvX50cXC0"}, set, cmpopts.IgnoreFields(DataSet{}, "Elements", "Combo")); err != nil || diff != "" {
		t.Errorf("%v; data set (-want +got):\n%s", err, diff)
	}
	set, err = c.DataSet(t.Context(), "DsAttrib001")
	if diff := cmp.Diff(DataSet{ID: "DsAttrib001", Name: "Attributes", PeriodType: Quarterly, AttributeOptionCombos: []string{"AocTest0001", "AocTest0002"}, NoZeros: map[string]bool{"DeTest00001": true}}, set, cmpopts.IgnoreFields(DataSet{}, "Elements", "Combo")); err != nil || diff != "" {
		t.Errorf("%v; data set (-want +got):\n%s", err, diff)
	}
	var known *Error
	if _, err := c.DataSet(t.Context(), "DsUnknown01"); !errors.As(err, &known) || known.Kind != Refused || !strings.Contains(err.Error(), "could not be found") {
		t.Errorf("an unknown data set: %v", err)
	}
}

func TestReadsAreTriedAgainOnlyWhereItHelps(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		html   bool
		err    error
		tries  int
		kind   Kind
	}{
		{name: "401", status: 401, body: "{}", tries: 1, kind: Credentials},
		{name: "302", status: 302, tries: 1, kind: Credentials},
		{name: "HTML", status: 200, html: true, body: "<html>", tries: 1, kind: Unusable},
		{name: "another JSON", status: 200, body: `[1]`, tries: 1, kind: Unusable},
		{name: "no version", status: 200, body: `{}`, tries: 1, kind: Unusable},
		{name: "too old", status: 200, body: `{"version":"2.37.9"}`, tries: 1, kind: Refused},
		{name: "a proxy that wants credentials", status: 407, html: true, tries: 1, kind: Unavailable},
		{name: "404", status: 404, html: true, tries: 1, kind: Unusable},
		{name: "503", status: 503, html: true, tries: 4, kind: Unavailable},
		{name: "reset", err: failingCall{}, tries: 4, kind: Unavailable},
		{name: "time-out", err: failingCall{timeout: true}, tries: 1, kind: Unavailable},
		{name: "certificate", err: failingCall{permanent: true}, tries: 1, kind: Unavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				c := client(func(*http.Request, []byte) (int, string, string, error) {
					tries++
					return test.status, map[bool]string{true: "text/html", false: "application/json"}[test.html], test.body, test.err
				})
				_, err := c.Server(t.Context())
				var known *Error
				if !errors.As(err, &known) || known.Kind != test.kind || tries != test.tries {
					t.Errorf("%v after %d tries, want kind %s after %d", err, tries, test.kind, test.tries)
				}
				if known != nil && known.Remedy == "" && test.err == nil {
					t.Error("no remedy")
				}
			})
		})
	}
}
