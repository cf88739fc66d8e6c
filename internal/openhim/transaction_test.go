package openhim_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/exchange"
	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// nine is a time in the middle of a test.
func nine() openhim.Time { return openhim.At(time.Date(2026, 11, 22, 9, 0, 0, 123_456_789, time.UTC)) }

// scheduled is a report of work that the mediator began by itself.
func scheduled() openhim.Transaction {
	return openhim.Transaction{
		ID: openhim.NewID(nine().Time), Status: openhim.Successful,
		Request:  &openhim.Request{Method: "POST", Path: "/cht-dhis2/submissions", Body: `{"period":"202610"}`, Headers: openhim.Headers{"content-type": "application/json"}, Timestamp: nine()},
		Response: &openhim.Response{Status: 200, Body: `{"state":"accepted"}`, Headers: openhim.Headers{"content-type": "application/json"}, Timestamp: nine()},
		Orchestrations: []openhim.Orchestration{{
			Name:     "1 Fetch 202610 from CHT kisumu",
			Request:  &openhim.Request{Host: "cht", Port: "443", Path: "/api/v2/export/dhis", Querystring: "filters=1", Method: "GET", Timestamp: nine()},
			Response: &openhim.Response{Status: 200, Body: "{}", Headers: openhim.Headers{"content-type": "application/json"}, Timestamp: nine()},
		}},
		Properties: map[string]string{"period": "202610"},
	}
}

func TestAReportThatIsRepeatedIsThereOnce(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"8.5.0", "4.0.5"} {
		synctest.Test(t, func(t *testing.T) {
			client, server, _ := known(t, sandbox.OpenHIMConfig{Version: version}, root())
			report := scheduled()
			server.Fail(sandbox.Fault{Kind: sandbox.ResetAfter, Path: "/transactions", Times: 1})
			for range 3 {
				if err := client.Create(t.Context(), report); err != nil {
					t.Fatalf("%s: %v", version, err)
				}
			}
			if got := len(server.Transactions()); got != 1 {
				t.Errorf("%s: %d transactions", version, got)
			}
			found, err := client.Find(t.Context(), report.ID)
			if err != nil {
				t.Fatal(err)
			}
			stored, sent := found, report.Report(openhim.Limits{})
			if diff := cmp.Diff(text(t, sent), text(t, stored)); diff != "" {
				t.Errorf("%s: read back (-sent +stored):\n%s", version, diff)
			}
		})
	}
}

// text is the JSON of a transaction, decoded, without what OpenHIM makes up.
func text(t testing.TB, transaction openhim.Transaction) any {
	t.Helper()
	encoded, err := json.Marshal(transaction)
	if err != nil {
		t.Fatal(err)
	}
	var decoded map[string]any
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

func TestAReportIsFinishedLater(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"8.5.0", "4.0.5"} {
		client, server, _ := known(t, sandbox.OpenHIMConfig{Version: version}, root())
		report := scheduled()
		begun := openhim.Transaction{ID: report.ID, Status: openhim.Processing, Request: report.Request, Response: &openhim.Response{Status: 202, Timestamp: nine()}}
		if err := client.Create(t.Context(), begun); err != nil {
			t.Fatal(err)
		}
		report.Request = nil
		report.Error = nil
		if err := client.Update(t.Context(), report); err != nil {
			t.Fatal(err)
		}
		stored := server.Transactions()[0]
		if stored["status"] != "Successful" || stored["autoRetry"] != false {
			t.Errorf("%s: stored %v, auto-retry %v", version, stored["status"], stored["autoRetry"])
		}
		if response, _ := stored["response"].(map[string]any); response["timestamp"] != "2026-11-22T09:00:00.123Z" {
			t.Errorf("%s: the response became %v", version, response)
		}
		if request, _ := stored["request"].(map[string]any); request["body"] != `{"period":"202610"}` {
			t.Errorf("%s: the request became %v", version, request)
		}
	}
}

func TestATransactionThatIsNotThereIsTold(t *testing.T) {
	t.Parallel()
	client, _, _ := known(t, sandbox.OpenHIMConfig{}, root())
	missing := "ffffffffffffffffffffffff"
	for _, id := range []string{missing, "abc", "", "../mediators/x"} {
		if _, err := client.Find(t.Context(), id); errorOf(t, err).Kind != openhim.Unknown {
			t.Errorf("find %q: %v", id, err)
		}
	}
	// OpenHIM answers 500 to this, as it does when its database is away.
	err := client.Update(t.Context(), openhim.Transaction{ID: missing, Status: openhim.Failed})
	if e := errorOf(t, err); e.Kind != openhim.Unknown || e.Temporary || !strings.Contains(e.Doing, "finish transaction") {
		t.Errorf("update: %+v", e)
	}
	if e := errorOf(t, client.Update(t.Context(), openhim.Transaction{ID: "abc"})); e.Kind != openhim.Unknown {
		t.Errorf("update of a malformed id: %+v", e)
	}
	if e := errorOf(t, client.Create(t.Context(), openhim.Transaction{ID: "abc"})); e.Kind != openhim.Refused {
		t.Errorf("create: %+v", e)
	}
}

func TestA500ThatIsNoDuplicateIsAnError(t *testing.T) {
	t.Parallel()
	client, server, _ := known(t, sandbox.OpenHIMConfig{}, root())
	report := scheduled()
	report.ChannelID = "abc"
	if e := errorOf(t, client.Create(t.Context(), report)); e.Kind != openhim.Refused || !strings.Contains(e.What, "channelID") {
		t.Errorf("got %+v", e)
	}
	if err := client.Create(t.Context(), scheduled()); err != nil {
		t.Fatal(err)
	}
	server.Fail(sandbox.Fault{Kind: sandbox.Status, Status: 500, Method: "PUT"})
	report = scheduled()
	report.ID, _ = server.Transactions()[0]["_id"].(string)
	if e := errorOf(t, client.Update(t.Context(), report)); e.Kind != openhim.Refused || !e.Temporary {
		t.Errorf("got %+v", e)
	}
}

func TestWhatOthersHaveStoredIsReadTolerantly(t *testing.T) {
	t.Parallel()
	client, server, _ := known(t, sandbox.OpenHIMConfig{}, root())
	if _, err := client.About(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Fail(sandbox.Fault{})
	odd := answering(t, 200, "application/json", `{"currentCoreVersion":"8.5.0","_id":"6b029a40e33917648d2c9320","status":"Weird","parentID":"6b029a40e33917648d2c9321",
		"request":{"port":5001,"headers":{"content-length":8,"a":"b"},"timestamp":"yesterday"},"properties":{"n":1,"period":"202610","list":[1]},"routes":[{}],"canRerun":true}`)
	got, err := odd.Find(t.Context(), "6b029a40e33917648d2c9320")
	if err != nil {
		t.Fatal(err)
	}
	want := openhim.Transaction{
		ID: "6b029a40e33917648d2c9320", Status: "Weird", ParentID: "6b029a40e33917648d2c9321",
		Request:    &openhim.Request{Port: "5001", Headers: openhim.Headers{"content-length": "8", "a": "b"}},
		Properties: map[string]string{"n": "1", "period": "202610", "list": "[1]"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("transaction (-want +got):\n%s", diff)
	}
	for _, body := range []string{`[]`, `{"properties":`, `{"request":[]}`, `null`} {
		if _, err := answering(t, 200, "application/json", body).Find(t.Context(), "6b029a40e33917648d2c9320"); err == nil {
			t.Errorf("%s: no error", body)
		}
	}
}

func TestTimesAreInTheFormOfOpenHIM(t *testing.T) {
	t.Parallel()
	at := openhim.At(time.Date(2026, 11, 22, 9, 0, 0, 987_654_321, time.FixedZone("EAT", 3*3600)))
	got, err := json.Marshal(at)
	if err != nil || string(got) != `"2026-11-22T06:00:00.987Z"` {
		t.Errorf("got %s and %v", got, err)
	}
}

func TestIDsAreOfTheirTimeAndUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		id := openhim.NewID(nine().Time)
		if !openhim.IsID(id) || seen[id] || !strings.HasPrefix(id, "6b02af10") {
			t.Fatalf("got %q", id)
		}
		seen[id] = true
	}
}

// A report without any time gets that of its id: OpenHIM loses what has none.
func TestAReportWithoutTimesGetsThatOfItsID(t *testing.T) {
	t.Parallel()
	client, server, _ := known(t, sandbox.OpenHIMConfig{}, root())
	if err := client.Create(t.Context(), scheduled()); err != nil {
		t.Fatal(err)
	}
	id, _ := server.Transactions()[0]["_id"].(string)
	if err := client.Update(t.Context(), openhim.Transaction{ID: id, Response: &openhim.Response{Status: 200}}); err != nil {
		t.Fatal(err)
	}
	if response, _ := server.Transactions()[0]["response"].(map[string]any); response["timestamp"] != "2026-11-22T09:00:00.000Z" {
		t.Errorf("response %v", response)
	}
}

func TestAnExchangeBecomesAStep(t *testing.T) {
	t.Parallel()
	e := exchange.Exchange{
		Began: nine().Time, Took: time.Second, Method: "POST", Address: "https://dhis2.example.org:8443/dhis/api/dataValueSets?async=false",
		SentHeader: map[string]string{"Content-Type": "application/json"}, Sent: exchange.NewBody([]byte("{}"), 10),
		Status: 409, Received: exchange.NewBody([]byte("conflict"), 4),
	}
	want := openhim.Orchestration{
		Name: "3 Send",
		Request: &openhim.Request{
			Host: "dhis2.example.org", Port: "8443", Path: "/dhis/api/dataValueSets", Querystring: "async=false", Method: "POST",
			Headers: openhim.Headers{"Content-Type": "application/json"}, Body: "{}", Timestamp: nine(),
		},
		Response: &openhim.Response{Status: 409, Body: e.Received.String(), Timestamp: openhim.At(nine().Add(time.Second))},
	}
	if diff := cmp.Diff(want, openhim.OrchestrationOf("3 Send", e)); diff != "" {
		t.Errorf("step (-want +got):\n%s", diff)
	}
	e.Status, e.Received, e.Error = 0, exchange.Body{}, "connection refused"
	got := openhim.OrchestrationOf("3 Send", e)
	if got.Response == nil || got.Response.Status != 0 || got.Response.Body != "connection refused" || got.Error.Message != "connection refused" {
		t.Errorf("without an answer: %+v", got)
	}
}
