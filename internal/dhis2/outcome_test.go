package dhis2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var september = Period{kind: Monthly, year: 2026, month: 9}

// fiveValues are what the tries of these tests send: the last one is a zero.
func fiveValues() []DataValue {
	var values []DataValue
	for i, value := range []string{"3", "1", "4", "1", "0"} {
		values = append(values, DataValue{DataElement: fmt.Sprintf("DeTest%05d", i), OrgUnit: "OuTest00001", Value: value})
	}
	return values
}

// summary writes an answer with a summary of five values.
func summary(status string, count ImportCount, rejected string, conflicts ...string) string {
	return fmt.Sprintf(`{"httpStatus":"x","status":"x","message":"x","response":{"responseType":"ImportSummary","status":%q,"description":"Import process completed successfully","importCount":{"imported":%d,"updated":%d,"ignored":%d,"deleted":%d},"conflicts":[%s]%s}}`,
		status, count.Imported, count.Updated, count.Ignored, count.Deleted, strings.Join(conflicts, ","), rejected)
}

func conflict(code, indexes string) string {
	return fmt.Sprintf("{\"object\":\"x\",\"value\":\"words about `null`\",\"errorCode\":%q,\"indexes\":[%s]}", code, indexes)
}

type failingCall struct{ permanent, unsent, timeout bool }

func (failingCall) Error() string     { return "no answer" }
func (f failingCall) Permanent() bool { return f.permanent }
func (f failingCall) NotSent() bool   { return f.unsent }
func (f failingCall) Timeout() bool   { return f.timeout }
func (failingCall) Hint() string      { return "look at it" }

func TestJudge(t *testing.T) {
	const (
		page = "<html>proxy</html>"
		none = `,"rejectedIndexes":[]`
	)
	tests := []struct {
		name    string
		dialect Dialect
		status  int
		html    bool
		body    string
		err     error
		took    time.Duration
		try     int
		header  http.Header

		state    State
		next     Next
		wait     time.Duration
		accepted int
		refused  string // code and places
		notKept  int
		kind     Kind
		what     string // part of the failure's text
	}{
		// All stored.
		{name: "all stored, legacy", dialect: Legacy, status: 200, body: summary("SUCCESS", ImportCount{Imported: 3, Updated: 1, Ignored: 1}, none), state: Accepted, next: GoOn, accepted: 5},
		{name: "all unchanged, legacy", dialect: Legacy, status: 200, body: summary("SUCCESS", ImportCount{Ignored: 5}, none), state: Accepted, next: GoOn, accepted: 5},
		{name: "all stored, set-based", dialect: SetBased, status: 200, body: summary("SUCCESS", ImportCount{Updated: 5}, none), state: Accepted, next: GoOn, accepted: 5},
		{name: "a zero dropped uncounted, legacy", dialect: Legacy, status: 200, body: summary("SUCCESS", ImportCount{Imported: 4}, none), state: Accepted, next: GoOn, accepted: 5, notKept: 1},
		{name: "more dropped than there were zeros, legacy", dialect: Legacy, status: 200, body: summary("SUCCESS", ImportCount{Imported: 3}, none), state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "not all zeros"},
		{name: "fields that nobody knows", dialect: SetBased, status: 200, body: strings.Replace(summary("SUCCESS", ImportCount{Updated: 5}, none), "{", `{"new":[1],`, 1), state: Accepted, next: GoOn, accepted: 5},

		// Success that is none.
		{name: "swallowed, set-based", dialect: SetBased, status: 200, body: summary("SUCCESS", ImportCount{Ignored: 5}, none), state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "stored nothing"},
		{name: "swallowed on the third try waits longer", dialect: SetBased, status: 200, try: 3, body: summary("SUCCESS", ImportCount{Ignored: 5}, none), state: Unknown, next: Again, wait: 2 * time.Second, kind: Unavailable, what: "stored nothing"},
		{name: "a part swallowed, set-based", dialect: SetBased, status: 200, body: summary("SUCCESS", ImportCount{Updated: 4}, none), state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "of 5 values"},
		{name: "a warning that does not add up, set-based", dialect: SetBased, status: 200, body: summary("WARNING", ImportCount{Updated: 1, Ignored: 4}, `,"rejectedIndexes":[0]`, conflict("E8122", "0")), state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "of 5 values"},
		{name: "a place beyond the request", dialect: Legacy, status: 409, body: summary("WARNING", ImportCount{Imported: 4, Ignored: 1}, `,"rejectedIndexes":[5]`, conflict("E7619", "5")), state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "value 5"},
		{name: "conflicts without places", dialect: Legacy, status: 409, body: summary("WARNING", ImportCount{Imported: 5}, none, `{"object":"Period","value":"Must be provided"}`), state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "Must be provided"},
		{name: "a warning without conflicts", dialect: SetBased, status: 200, body: summary("WARNING", ImportCount{Updated: 5}, none), state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "does not say"},

		// Some refused.
		{name: "one refused, legacy", dialect: Legacy, status: 409, body: summary("WARNING", ImportCount{Imported: 4, Ignored: 1}, `,"rejectedIndexes":[2]`, conflict("E7619", "2")), state: PartlyAccepted, next: GoOn, accepted: 4, refused: "E7619 2"},
		{name: "refused and unchanged, legacy", dialect: Legacy, status: 409, body: summary("WARNING", ImportCount{Imported: 2, Ignored: 3}, `,"rejectedIndexes":[2]`, conflict("E7619", "2")), state: PartlyAccepted, next: GoOn, accepted: 4, refused: "E7619 2"},
		{name: "one refused, before 2.39.2", dialect: Legacy, status: 409, body: summary("WARNING", ImportCount{Imported: 3, Ignored: 2}, "", conflict("E7619", "2"), conflict("E7610", "0,2")), state: PartlyAccepted, next: GoOn, accepted: 3, refused: "E7610 0 E7619 2"},
		{name: "fewer ignored than refused, legacy", dialect: Legacy, status: 409, body: summary("WARNING", ImportCount{Imported: 5}, `,"rejectedIndexes":[2]`, conflict("E7619", "2")), state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "only 0"},
		{name: "all refused, legacy", dialect: Legacy, status: 409, body: summary("WARNING", ImportCount{Ignored: 5}, `,"rejectedIndexes":[0,1,2,3,4]`, conflict("E7636", "0,1,2,3,4")), state: StateRefused, next: GoOn, refused: "E7636 0 E7636 1 E7636 2 E7636 3 E7636 4"},
		{name: "one refused, set-based", dialect: SetBased, status: 200, body: summary("WARNING", ImportCount{Updated: 4, Ignored: 1}, `,"rejectedIndexes":[2]`, conflict("E8122", "2")), state: PartlyAccepted, next: GoOn, accepted: 4, refused: "E8122 2"},
		{name: "all refused one by one, set-based", dialect: SetBased, status: 409, body: summary("ERROR", ImportCount{Ignored: 5}, `,"rejectedIndexes":[0,1,2,3,4]`, conflict("E8122", "0,1"), conflict("E8120", "2,3,4")), state: StateRefused, next: GoOn, refused: "E8122 0 E8122 1 E8120 2 E8120 3 E8120 4"},

		// Nothing stored.
		{name: "a group refused, set-based", dialect: SetBased, status: 409, body: summary("ERROR", ImportCount{}, `,"rejectedIndexes":[0,1,2,3,4]`, conflict("E8031", "0,1,2,3,4")), state: StateRefused, next: Search, refused: "E8031 0 E8031 1 E8031 2 E8031 3 E8031 4"},
		{name: "a group refused for the whole set, set-based", dialect: SetBased, status: 409, body: summary("ERROR", ImportCount{}, `,"rejectedIndexes":[0,1,2,3,4]`, conflict("E8010", "0,1,2,3,4")), state: StateRefused, next: StopDataSet, refused: "E8010 0 E8010 1 E8010 2 E8010 3 E8010 4"},
		{name: "a problem of the request, set-based", dialect: SetBased, status: 409, body: summary("ERROR", ImportCount{}, `,"rejectedIndexes":[-1]`, conflict("E8104", "-1")), state: StateRefused, next: Search, refused: "E8104 0 E8104 1 E8104 2 E8104 3 E8104 4"},
		{name: "a problem of the header, legacy", dialect: Legacy, status: 409, body: summary("ERROR", ImportCount{}, none, conflict("E7601", "")), state: StateRefused, next: StopDataSet, refused: "E7601 0 E7601 1 E7601 2 E7601 3 E7601 4"},
		{name: "an error inside a 200", dialect: SetBased, status: 200, body: summary("ERROR", ImportCount{}, `,"rejectedIndexes":[0,1,2,3,4]`, conflict("E8020", "0,1,2,3,4")), state: StateRefused, next: Search, refused: "E8020 0 E8020 1 E8020 2 E8020 3 E8020 4"},

		// Nobody knows.
		{name: "the import process failed", dialect: Legacy, status: 409, body: strings.Replace(summary("ERROR", ImportCount{}, none), "Import process completed successfully", "The import process failed: Failed to flush BatchHandler", 1), state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "Failed to flush BatchHandler"},
		{name: "an error without conflicts", dialect: SetBased, status: 409, body: summary("ERROR", ImportCount{}, none), state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "failed while it imported"},
		{name: "409 without a summary", dialect: Legacy, status: 409, body: `{"httpStatus":"Conflict","httpStatusCode":409,"status":"ERROR","message":"could not execute statement"}`, state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "could not execute statement"},
		{name: "200 without a summary", dialect: SetBased, status: 200, body: `{"status":"OK","message":"hello"}`, state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "without an import summary"},
		{name: "409 as HTML", dialect: Legacy, status: 409, html: true, body: page, state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "409"},
		{name: "broken JSON", dialect: Legacy, status: 200, body: `{"status":`, state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "cannot be read"},
		{name: "JSON of something else", dialect: Legacy, status: 200, body: `[]`, state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "cannot be read"},
		{name: "a status that is new", dialect: SetBased, status: 200, body: summary("FINE", ImportCount{Updated: 5}, none), state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "FINE"},
		{name: "a new period met twice, legacy", dialect: Legacy, status: 409, body: summary("WARNING", ImportCount{Ignored: 5}, `,"rejectedIndexes":[0,1,2,3,4]`, conflict("E7611", "0,1,2,3,4")), state: StateRefused, next: Again, wait: 500 * time.Millisecond, refused: "E7611 0 E7611 1 E7611 2 E7611 3 E7611 4", kind: Unavailable, what: "new period"},
		{name: "one bad period among others is refused, legacy", dialect: Legacy, status: 409, body: summary("WARNING", ImportCount{Imported: 4, Ignored: 1}, `,"rejectedIndexes":[0]`, conflict("E7611", "0")), state: PartlyAccepted, next: GoOn, accepted: 4, refused: "E7611 0"},

		// Permanent until somebody changes something.
		{name: "400", dialect: SetBased, status: 400, body: `{"httpStatus":"Bad Request","httpStatusCode":400,"status":"ERROR","message":"bad"}`, state: StateRefused, next: StopDataSet, refused: "HTTP 400 0 HTTP 400 1 HTTP 400 2 HTTP 400 3 HTTP 400 4", kind: Refused, what: "bad"},
		{name: "404", dialect: Legacy, status: 404, html: true, body: page, state: StateRefused, next: StopDataSet, refused: "HTTP 404 0 HTTP 404 1 HTTP 404 2 HTTP 404 3 HTTP 404 4", kind: Refused, what: "404"},
		{name: "405", dialect: Legacy, status: 405, html: true, body: page, state: StateRefused, next: StopDataSet, refused: "HTTP 405 0 HTTP 405 1 HTTP 405 2 HTTP 405 3 HTTP 405 4", kind: Refused, what: "405"},
		{name: "415", dialect: Legacy, status: 415, body: `{"status":"ERROR","message":"no"}`, state: StateRefused, next: StopDataSet, refused: "HTTP 415 0 HTTP 415 1 HTTP 415 2 HTTP 415 3 HTTP 415 4", kind: Refused, what: "415"},

		// Credentials or routing.
		{name: "401", dialect: SetBased, status: 401, body: `{"status":"ERROR","message":"Unauthorized"}`, state: Unsent, next: StopRun, kind: Credentials, what: "Unauthorized"},
		{name: "a malformed token", dialect: SetBased, status: 400, body: `{"status":"ERROR","message":"Checksum validation failed"}`, header: http.Header{"Www-Authenticate": {"ApiToken"}}, state: Unsent, next: StopRun, kind: Credentials, what: "Checksum"},
		{name: "403", dialect: SetBased, status: 403, body: `{"status":"ERROR","message":"Access is denied"}`, state: Unsent, next: StopRun, kind: Credentials, what: "Access is denied"},
		{name: "302", dialect: SetBased, status: 302, state: Unsent, next: StopRun, kind: Credentials, what: "redirect"},
		{name: "200 as HTML", dialect: SetBased, status: 200, html: true, body: page, state: Unknown, next: StopRun, kind: Unusable, what: "text/html"},

		// Answers of something in between.
		{name: "202", dialect: SetBased, status: 202, body: `{"status":"OK","message":"accepted"}`, state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "202"},
		{name: "407", dialect: SetBased, status: 407, html: true, body: page, state: StateRefused, next: StopDataSet, refused: "HTTP 407 0 HTTP 407 1 HTTP 407 2 HTTP 407 3 HTTP 407 4", kind: Unavailable, what: "407"},
		{name: "an error that stored something", dialect: SetBased, status: 409, body: summary("ERROR", ImportCount{Updated: 4}, `,"rejectedIndexes":[0]`, conflict("E8122", "0")), state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "stored 4"},
		{name: "a refused value that no conflict names", dialect: Legacy, status: 409, body: summary("WARNING", ImportCount{Imported: 3, Ignored: 2}, `,"rejectedIndexes":[2,3]`, conflict("E7619", "2")), state: PartlyAccepted, next: GoOn, accepted: 3, refused: "E7619 2  3"},

		// Transient.
		{name: "408", dialect: SetBased, status: 408, html: true, body: page, state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "408"},
		{name: "413", dialect: SetBased, status: 413, html: true, body: page, state: Unsent, next: Smaller, kind: Unavailable, what: "413"},
		{name: "429", dialect: SetBased, status: 429, html: true, body: page, state: Unsent, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "429"},
		{name: "429 that says how long", dialect: SetBased, status: 429, html: true, body: page, header: http.Header{"Retry-After": {"7"}}, state: Unsent, next: Again, wait: 7 * time.Second, kind: Unavailable, what: "429"},
		{name: "a wait without reason is not obeyed", dialect: SetBased, status: 503, html: true, body: page, header: http.Header{"Retry-After": {"86400"}}, state: Unknown, next: Again, wait: 30 * time.Second, kind: Unavailable, what: "503"},
		{name: "500", dialect: SetBased, status: 500, body: `{"status":"ERROR","message":"Unable to commit against JDBC Connection"}`, state: Unknown, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "Unable to commit"},
		{name: "502 after a while", dialect: SetBased, status: 502, html: true, body: page, took: 9 * time.Second, state: Unknown, next: Again, wait: 9 * time.Second, kind: Unavailable, what: "502"},
		{name: "503", dialect: Legacy, status: 503, html: true, body: page, try: 2, state: Unknown, next: Again, wait: time.Second, kind: Unavailable, what: "503"},
		{name: "504 while the server goes on", dialect: SetBased, status: 504, html: true, body: page, took: time.Minute, state: Unknown, next: Smaller, wait: time.Minute, kind: Unavailable, what: "504"},
		{name: "connection reset", dialect: SetBased, err: failingCall{}, took: 3 * time.Second, state: Unknown, next: Again, wait: 3 * time.Second, kind: Unavailable, what: "no answer"},
		{name: "time-out", dialect: SetBased, err: failingCall{timeout: true}, took: 2 * time.Minute, state: Unknown, next: Smaller, wait: 2 * time.Minute, kind: Unavailable, what: "no answer"},
		{name: "connection refused", dialect: SetBased, err: failingCall{unsent: true}, took: 3 * time.Second, state: Unsent, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "no answer"},
		{name: "time-out of the connection", dialect: SetBased, err: failingCall{unsent: true, timeout: true}, state: Unsent, next: Again, wait: 500 * time.Millisecond, kind: Unavailable, what: "no answer"},
		{name: "a certificate that is not trusted", dialect: SetBased, err: failingCall{unsent: true, permanent: true}, state: Unsent, next: StopRun, kind: Unavailable, what: "no answer"},
		{name: "the end of the run", dialect: SetBased, err: context.Canceled, state: Unknown, next: StopRun, kind: Unavailable, what: "canceled"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			try := Try{Number: max(1, test.try), Dialect: test.dialect, Period: september, Values: fiveValues(), Took: test.took, Body: []byte(test.body), Err: test.err}
			if test.err == nil {
				try.Response = &http.Response{StatusCode: test.status, Header: test.header.Clone()}
				if try.Response.Header == nil {
					try.Response.Header = http.Header{}
				}
				try.Response.Header.Set("Content-Type", map[bool]string{true: "text/html", false: "application/json;charset=UTF-8"}[test.html])
			}
			o := try.Judge()
			if o.State != test.state || o.Next != test.next || o.Wait != test.wait || o.Accepted != test.accepted || o.NotKept != test.notKept {
				t.Errorf("got state %s, next %s after %s, accepted %d, not kept %d; want %s, %s, %s, %d, %d",
					o.State, o.Next, o.Wait, o.Accepted, o.NotKept, test.state, test.next, test.wait, test.accepted, test.notKept)
			}
			var refused []string
			for _, r := range o.Refused {
				refused = append(refused, fmt.Sprintf("%s %d", r.Code, r.Index))
				if r.Remedy == "" || r.Reason == "" || r.DataElement != try.Values[r.Index].DataElement {
					t.Errorf("a refusal without its words or its cell: %+v", r)
				}
			}
			if got := strings.Join(refused, " "); got != test.refused {
				t.Errorf("refused %q, want %q", got, test.refused)
			}
			if (o.Failure == nil) != (test.kind == "") {
				t.Fatalf("failure %v, want one of kind %q", o.Failure, test.kind)
			}
			if o.Failure != nil && (o.Failure.Kind != test.kind || !strings.Contains(o.Failure.What, test.what)) {
				t.Errorf("failure %q of kind %s, want %q of kind %s", o.Failure.What, o.Failure.Kind, test.what, test.kind)
			}
		})
	}
}

func TestRefusalNamesThePeriodThatDHIS2PrintsAsNull(t *testing.T) {
	o := Try{
		Number: 1, Dialect: Legacy, Period: september, Values: fiveValues(),
		Body:     []byte(summary("WARNING", ImportCount{Imported: 4, Ignored: 1}, `,"rejectedIndexes":[1]`, conflict("E7640", "1"))),
		Response: &http.Response{StatusCode: 409, Header: http.Header{"Content-Type": {"application/json"}}},
	}.Judge()
	want := Refusal{Index: 1, DataValue: fiveValues()[1], Code: "E7640", Class: FixMetadata, Reason: "words about `202609`", Remedy: remedyExpired}
	if diff := cmp.Diff([]Refusal{want}, o.Refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

// TestCodeOf holds the class of every code against the lists of the contract, section 4. Where the contract leaves the
// choice between two classes, either is good.
func TestCodeOf(t *testing.T) {
	classes := map[string]string{
		"E7600": "MD", "E7601": "D", "E7603": "M", "E7604": "M", "E7610": "M", "E7611": "B", "E7612": "M", "E7613": "MD", "E7615": "MD", "E7614": "D", "E7616": "D",
		"E7617": "D", "E7618": "M", "E7619": "M", "E7620": "M", "E7621": "M", "E7630": "M", "E7631": "M", "E7632": "MD", "E7633": "MD", "E7634": "M", "E7635": "M",
		"E7636": "D", "E7637": "B", "E7638": "TD", "E7639": "D", "E7640": "D", "E7641": "T", "E7642": "D", "E7643": "TD", "E7644": "TD", "E7645": "B",
		"E8000": "MB", "E8001": "B", "E8002": "B", "E8003": "MD", "E8004": "M", "E8005": "M", "E8006": "B", "E8007": "B", "E8008": "B", "E8009": "B", "E8010": "D", "E8011": "D",
		"E8012": "D", "E8020": "MD", "E8021": "M", "E8022": "MD", "E8023": "M", "E8024": "M", "E8025": "D", "E8030": "TD", "E8031": "MD", "E8032": "TD", "E8033": "D",
		"E8034": "B", "E8035": "B", "E8100": "B", "E8101": "B", "E8102": "B", "E8103": "M", "E8104": "M", "E8105": "B", "E8106": "M", "E8107": "M", "E8108": "M",
		"E8109": "M", "E8110": "M", "E8111": "M", "E8120": "M", "E8121": "M", "E8122": "M", "E8123": "M", "E8124": "M", "E8125": "M", "E8126": "M", "E8127": "M", "E8128": "B",
	}
	letters := map[Class]string{FixMapping: "M", FixMetadata: "D", Timing: "T", Bug: "B"}
	for code, want := range classes {
		known := CodeOf(code)
		if !strings.Contains(want, letters[known.Class]) || known.Remedy == "" || known.Remedy == CodeOf("E0000").Remedy {
			t.Errorf("CodeOf(%s) = %+v, want class %s and a remedy of its own", code, known, want)
		}
	}
	if unknown := CodeOf("E9999"); unknown.Remedy == "" {
		t.Error("an unknown code has no remedy")
	}
}

func TestDialectOf(t *testing.T) {
	for version, want := range map[string]Dialect{
		"2.38.0": Legacy, "2.39": Legacy, "2.40.12": Legacy, "2.41.9.1": Legacy, "2.42.5.2": Legacy, "2.42-SNAPSHOT": Legacy,
		"2.43.0": SetBased, "2.43.1": SetBased, "2.44-SNAPSHOT": SetBased, "2.100.1": SetBased, "43.1": SetBased, "3.0.0": SetBased, "main": SetBased,
	} {
		if got, err := DialectOf(version); got != want || err != nil {
			t.Errorf("DialectOf(%q) = %q, %v; want %q", version, got, err, want)
		}
	}
	for _, version := range []string{"", "2.37.9", "2.3"} {
		if got, err := DialectOf(version); err == nil {
			t.Errorf("DialectOf(%q) = %q, want an error", version, got)
		}
	}
}

func FuzzJudge(f *testing.F) {
	f.Add([]byte(summary("SUCCESS", ImportCount{Updated: 5}, "")), 200)
	f.Add([]byte(summary("WARNING", ImportCount{Updated: 4, Ignored: 1}, `,"rejectedIndexes":[2]`, conflict("E8122", "2"))), 409)
	f.Add([]byte(summary("ERROR", ImportCount{}, `,"rejectedIndexes":[-1]`, conflict("E8009", "-1"))), 409)
	f.Add([]byte(`{"status":"ERROR","message":"x"}`), 500)
	f.Add([]byte(`<html>`), 502)
	f.Fuzz(func(t *testing.T, body []byte, status int) {
		for _, dialect := range []Dialect{Legacy, SetBased} {
			o := Try{
				Number: 1, Dialect: dialect, Period: september, Values: fiveValues(), Body: body,
				Response: &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}},
			}.Judge()
			switch o.State {
			case Accepted, PartlyAccepted, StateRefused:
				if narrowed := o.Next == Narrow; narrowed && (o.Accepted > 0 || len(o.Refused) == 0 || len(o.Refused) > 4) || !narrowed && o.Accepted+len(o.Refused) != 5 || o.Accepted < 0 || o.NotKept > 1 {
					t.Errorf("%s: accepted %d, refused %d, not kept %d of 5", o.State, o.Accepted, len(o.Refused), o.NotKept)
				}
			case Unknown, Unsent:
				if o.Failure == nil || o.Accepted != 0 || len(o.Refused) != 0 {
					t.Errorf("%s with %v, accepted %d", o.State, o.Failure, o.Accepted)
				}
			default:
				t.Errorf("state %q", o.State)
			}
			places := make([]int, 0, 5)
			for _, r := range o.Refused {
				places = append(places, r.Index)
			}
			if !slices.IsSorted(places) || len(slices.Compact(slices.Clone(places))) != len(places) {
				t.Errorf("refused places %v", places)
			}
		}
	})
}

func TestErrorsKeepTheirCause(t *testing.T) {
	cause := failingCall{unsent: true}
	err := error(callFailure(cause))
	var known *Error
	if !errors.Is(err, cause) || !errors.As(err, &known) || known.Hint() != "look at it" {
		t.Errorf("%v lost its cause or its hint", err)
	}
}
