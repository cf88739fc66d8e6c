package openhim_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// step is an orchestration; accepted sends carry 100 values and 10 org units.
func step(name string, accepted bool) openhim.Orchestration {
	o := openhim.Orchestration{
		Name:     name,
		Request:  &openhim.Request{Host: "dhis2", Method: "POST", Path: "/api/dataValueSets", Timestamp: nine()},
		Response: &openhim.Response{Status: 200, Timestamp: nine()},
	}
	if accepted {
		o.Accepted = &openhim.Totals{Values: 100, OrgUnits: 10}
	} else {
		o.Response.Status, o.Error = 409, &openhim.Failure{Message: "conflict"}
	}
	return o
}

// steps reads a row of letters: a is an accepted send, f one that failed.
func steps(row string) []openhim.Orchestration {
	var list []openhim.Orchestration
	for i, letter := range row {
		list = append(list, step(fmt.Sprintf("%c%d", letter, i), letter == 'a'))
	}
	return list
}

func names(list []openhim.Orchestration) string {
	var all []string
	for _, o := range list {
		all = append(all, o.Name)
	}
	return strings.Join(all, " | ")
}

func TestFoldPutsAcceptedSendsTogether(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, row string
		most      int
		want      string
	}{
		{"nothing", "", 3, ""},
		{"as many as may be", "aaa", 3, "a0 | a1 | a2"},
		{"one too many", "aaaa", 3, "a0 | a1 | 2 more sends, all accepted: 200 values, 20 org units"},
		{"many", "aaaaaaaaaa", 3, "a0 | a1 | 8 more sends, all accepted: 800 values, 80 org units"},
		{"failures stay", "faaaafa", 4, "f0 | a1 | 4 more sends, all accepted: 400 values, 40 org units | f5"},
		{"only failures", "fffff", 2, "f0 | f1 | f2 | f3 | f4"},
		{"one accepted among failures", "ffaff", 2, "f0 | f1 | a2 | f3 | f4"},
		{"two accepted among failures", "fafaf", 2, "f0 | 2 more sends, all accepted: 200 values, 20 org units | f2 | f4"},
		{"one place for all", "aaa", 1, "3 more sends, all accepted: 300 values, 30 org units"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := names(openhim.Fold(steps(test.row), test.most)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// Whatever the row: no failure is lost, the totals stay, and no more stays than has to.
func TestFoldLosesNothing(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		row := make([]byte, random.IntN(60))
		failures := 0
		for i := range row {
			row[i] = "aaf"[random.IntN(3)]
			if row[i] == 'f' {
				failures++
			}
		}
		most := 1 + random.IntN(25)
		folded := openhim.Fold(steps(string(row)), most)
		values, failed := 0, 0
		for _, o := range folded {
			if o.Accepted != nil {
				values += o.Accepted.Values
			} else {
				failed++
			}
		}
		if want := 100 * (len(row) - failures); values != want || failed != failures {
			t.Fatalf("%s folded to %d: %d values and %d failures, want %d and %d", row, most, values, failed, want, failures)
		}
		if len(folded) > max(most, failures+1) {
			t.Fatalf("%s folded to %d: %d are left", row, most, len(folded))
		}
	}
}

// OpenHIM loses the whole report, and says nothing, for any one of these (contract, section 10).
func TestAReportHasTheFormThatOpenHIMStores(t *testing.T) {
	t.Parallel()
	report := openhim.Transaction{
		Status: openhim.Failed,
		Orchestrations: []openhim.Orchestration{
			{Request: &openhim.Request{Timestamp: nine()}},
			{Name: "without request"},
			{Name: "without time", Request: &openhim.Request{}, Response: &openhim.Response{Status: 200}},
			{Name: "without response", Error: &openhim.Failure{Message: "connection refused"}},
			{Name: "odd \xff text", Request: &openhim.Request{Headers: openhim.Headers{"a.b": "c", "$d": "e\xff", "": "f"}, Body: "\xff"}},
		},
		Properties: map[string]string{"a.b": "1", "a_b": "2", "$x": "3", "a\x00b": "4", "": "5"},
	}
	got := report.Report(openhim.Limits{})
	want := openhim.Transaction{
		Status: openhim.Failed,
		Orchestrations: []openhim.Orchestration{
			{Name: "unnamed step", Request: &openhim.Request{Timestamp: nine(), Headers: openhim.Headers{}}},
			{Name: "without request", Request: &openhim.Request{Timestamp: nine(), Headers: openhim.Headers{}}},
			{
				Name: "without time", Request: &openhim.Request{Timestamp: nine(), Headers: openhim.Headers{}},
				Response: &openhim.Response{Status: 200, Timestamp: nine(), Headers: openhim.Headers{}},
			},
			{
				Name: "without response", Request: &openhim.Request{Timestamp: nine(), Headers: openhim.Headers{}},
				Response: &openhim.Response{Body: "connection refused", Timestamp: nine(), Headers: openhim.Headers{}},
				Error:    &openhim.Failure{Message: "connection refused"},
			},
			{
				Name:    "odd \uFFFD text",
				Request: &openhim.Request{Timestamp: nine(), Headers: openhim.Headers{"a_b": "c", "_d": "e\uFFFD", "_": "f"}, Body: "\uFFFD"},
			},
		},
		Properties: map[string]string{"a_b": "4", "a_b_2": "1", "a_b_3": "2", "_x": "3", "_": "5"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if report.Orchestrations[0].Name != "" || report.Orchestrations[1].Request != nil {
		t.Errorf("the original has changed: %+v", report)
	}
}

func TestAReportHasNoSecrets(t *testing.T) {
	t.Parallel()
	report := scheduled()
	report.Request.Headers = openhim.Headers{"authorization": "Basic c2VjcmV0OnNlY3JldA==", "cookie": "a=hidden-1"}
	o := &report.Orchestrations[0]
	o.Request.Body = `{"password":"hidden-2"}`
	o.Request.Querystring = "token=hidden-3&a=b"
	o.Response.Headers = openhim.Headers{"set-cookie": "s=hidden-4"}
	o.Response.Body = "see https://user:hidden-5@dhis2.example.org/api"
	o.Error = &openhim.Failure{Message: "ApiToken d2pat_hidden6", Stack: "Authorization: Basic c2VjcmV0OnNlY3JldA=="}
	encoded, err := json.Marshal(report.Report(openhim.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hidden", "c2VjcmV0"} {
		if strings.Contains(string(encoded), secret) {
			t.Errorf("%q is in %s", secret, encoded)
		}
	}
}

func TestBodiesAreCutWithLengthAndDigest(t *testing.T) {
	t.Parallel()
	report := scheduled()
	report.Orchestrations[0].Response.Body = strings.Repeat("äb", 10_000)
	got := report.Report(openhim.Limits{}).Orchestrations[0].Response.Body
	if len(got) > 8<<10+120 || !utf8.ValidString(got) || !strings.Contains(got, "\n[cut: 30000 bytes in all, SHA-256 ") {
		t.Errorf("%d bytes, ending in %q", len(got), got[len(got)-110:])
	}
}

func TestAReportIsNeverTooLarge(t *testing.T) {
	t.Parallel()
	large := func(n int) string { return strings.Repeat("x\u0001\"", n/3) }
	manyFailures := scheduled()
	for range 1_100 {
		o := step(large(300), false)
		o.Request.Body, o.Error.Message, o.Error.Stack = large(300), large(400), large(300)
		manyFailures.Orchestrations = append(manyFailures.Orchestrations, o)
	}
	properties := scheduled()
	properties.Properties = map[string]string{}
	for i := range 8_000 {
		properties.Properties[fmt.Sprintf("key.%d", i)] = large(100)
	}
	headers := scheduled()
	for i := range 5_000 {
		headers.Orchestrations[0].Request.Headers = openhim.Headers{}
		headers.Response.Headers[fmt.Sprintf("x-%d", i)] = large(200)
	}
	sends := scheduled()
	for range 150 {
		o := step("send", false)
		o.Response.Body = large(30_000)
		sends.Orchestrations = append(sends.Orchestrations, o)
	}
	for name, report := range map[string]openhim.Transaction{
		"many failures": manyFailures, "properties": properties, "headers": headers, "bodies": sends, "ordinary": scheduled(),
	} {
		for _, whole := range []int{0, 1} {
			got := report.Report(openhim.Limits{Whole: whole})
			encoded, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			limit := map[int]int{0: 1_000_000, 1: 4 << 10}[whole]
			if len(encoded) > limit+len(encoded)/10 || sizeOf(t, got) > limit {
				t.Errorf("%s within %d: %d bytes", name, limit, sizeOf(t, got))
			}
			if got.ID != report.ID || got.Status != report.Status {
				t.Errorf("%s within %d: became %s, %s", name, limit, got.ID, got.Status)
			}
		}
	}
	if got := manyFailures.Report(openhim.Limits{}).Orchestrations; len(got) < 500 || !strings.Contains(got[len(got)-1].Name, "more steps") {
		t.Errorf("%d failures are left, the last one %q", len(got), got[len(got)-1].Name)
	}
	if got := sends.Report(openhim.Limits{}).Orchestrations; len(got) != 151 || !strings.Contains(got[7].Response.Body, "[cut: 30000 bytes in all") {
		t.Errorf("%d sends are left: %+v", len(got), got[7].Response)
	}
}

// sizeOf is the size with which a report travels.
func sizeOf(t testing.TB, report openhim.Transaction) int {
	t.Helper()
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(report); err != nil {
		t.Fatal(err)
	}
	return out.Len() - 1
}

// Whatever was in it, the stand-in, which checks as closely as a core does, stores it.
func TestEveryReportIsStoredWhole(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	text := func() string {
		choices := []string{"", "a", "a.b", "$c", "\xff", "\x00", "ä", strings.Repeat("z", 20_000), `{"password":"x"}`}
		return choices[random.IntN(len(choices))] + choices[random.IntN(len(choices))]
	}
	for range 40 {
		client, server, _ := known(t, sandbox.OpenHIMConfig{}, root())
		report := openhim.Transaction{ID: openhim.NewID(time.Now()), Status: openhim.Failed, Request: &openhim.Request{}, Properties: map[string]string{}}
		for range random.IntN(30) {
			o := openhim.Orchestration{Name: text()}
			if random.IntN(2) == 0 {
				o.Request = &openhim.Request{Path: text(), Body: text(), Headers: openhim.Headers{text(): text()}}
			}
			if random.IntN(2) == 0 {
				o.Response = &openhim.Response{Body: text(), Headers: openhim.Headers{text(): text()}}
			}
			if random.IntN(3) == 0 {
				o.Error = &openhim.Failure{Message: text(), Stack: text()}
			}
			report.Orchestrations = append(report.Orchestrations, o)
			report.Properties[text()] = text()
		}
		if err := client.Create(t.Context(), report); err != nil {
			t.Fatalf("%+v: %v", report, err)
		}
		if err := client.Update(t.Context(), report); err != nil {
			t.Fatalf("%+v: %v", report, err)
		}
		stored, _ := server.Transactions()[0]["orchestrations"].([]any)
		if len(stored) != len(report.Orchestrations) {
			t.Fatalf("%d orchestrations stored of %d", len(stored), len(report.Orchestrations))
		}
	}
}

func TestAnEnvelopeCarriesTheReportAndTheAnswer(t *testing.T) {
	t.Parallel()
	report := scheduled()
	report.Response.Body = strings.Repeat("a", 20_000)
	encoded, err := json.Marshal(report.Envelope("urn:mediator:cht-dhis2"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(encoded, &got); err != nil {
		t.Fatal(err)
	}
	if got["x-mediator-urn"] != "urn:mediator:cht-dhis2" || got["status"] != "Successful" || got["error"] != nil || got["_id"] != nil || got["request"] != nil {
		t.Errorf("got %s", encoded)
	}
	response, _ := got["response"].(map[string]any)
	if response["body"] != report.Response.Body || response["headers"] == nil || response["timestamp"] != "2026-11-22T09:00:00.123Z" {
		t.Errorf("response %v", response)
	}
	if bare := (openhim.Transaction{Status: openhim.Processing}).Envelope("u"); bare.Response == nil || bare.Response.Status != 500 {
		t.Errorf("without a response: %+v", bare.Response)
	}
}

func TestAnErrorIsSentOnlyWhereOneIsGiven(t *testing.T) {
	t.Parallel()
	report := scheduled()
	report.Status = openhim.Failed
	report.Orchestrations[0].Error = &openhim.Failure{Message: "refused"}
	encoded, err := json.Marshal(report.Report(openhim.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(encoded, &got); err != nil {
		t.Fatal(err)
	}
	if _, has := got["error"]; has {
		t.Errorf("a failed report asks for auto-retry: %s", encoded)
	}
}

// FuzzReport holds that any text is stored as it has to be.
func FuzzReport(f *testing.F) {
	f.Add("a.b", "c", "{}", 10)
	f.Add("$\xff", strings.Repeat("ä", 3000), "\x00", 5000)
	f.Fuzz(func(t *testing.T, name, value, body string, whole int) {
		report := openhim.Transaction{
			Orchestrations: []openhim.Orchestration{{Name: name, Request: &openhim.Request{Body: body, Headers: openhim.Headers{name: value}}, Error: &openhim.Failure{Message: value}}},
			Properties:     map[string]string{name: value, value: name},
		}
		limits := openhim.Limits{Whole: max(4<<10, whole%1_000_000)}
		got := report.Report(limits)
		if size := sizeOf(t, got); size > limits.Whole {
			t.Errorf("%d bytes, the limit is %d", size, limits.Whole)
		}
		for key := range got.Properties {
			if strings.Contains(key, ".") || strings.HasPrefix(key, "$") || !utf8.ValidString(key) {
				t.Errorf("key %q", key)
			}
		}
		for _, o := range got.Orchestrations {
			if o.Name == "" || o.Request.Timestamp.IsZero() || !utf8.ValidString(o.Request.Body) {
				t.Errorf("orchestration %+v", o)
			}
		}
	})
}
