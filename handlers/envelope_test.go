package handlers

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/openhim"
)

func TestThroughOpenHIMEachAnswerIsInItsEnvelope(t *testing.T) {
	b := newBench(t, 0, withMetrics)
	done := b.submit(t)
	whole := map[string]string{"data_set": b.sets[0], "period": period, "source": "kisumu", "submission": done.ID}
	tests := []struct {
		name, method, path, body string
		options                  []option
		status                   int
		word                     openhim.Status
		properties               map[string]string
	}{
		{"a submission", http.MethodGet, submissionsPath + "/" + done.ID, "", nil, 200, openhim.Successful, whole},
		{"the list", http.MethodGet, submissionsPath, "", nil, 200, openhim.Successful, nil},
		{"liveness", http.MethodGet, "/", "", nil, 200, openhim.Successful, nil},
		{"health", http.MethodGet, "/healthz", "", nil, 200, openhim.Successful, nil},
		{"metrics", http.MethodGet, "/metrics", "", nil, 200, openhim.Successful, nil},
		{"the schedule", http.MethodGet, Base + "/schedule", "", nil, 200, openhim.Successful, nil},
		{"a poll", http.MethodGet, Base + "/poll", "", nil, 200, openhim.Successful, map[string]string{"submissions": "0"}},
		{"a file", http.MethodGet, Base + "/data-value-sets?format=csv&period=202609&data_set=" + b.sets[0], "", nil, 200, openhim.Successful, map[string]string{"data_set": b.sets[0], "period": period, "source": "kisumu"}},
		{"no credential", http.MethodGet, submissionsPath, "", []option{noCredential}, 401, openhim.Completed, nil},
		{"no such route", http.MethodGet, "/nowhere", "", nil, 404, openhim.Completed, nil},
		{"no such method", http.MethodDelete, submissionsPath, "", nil, 405, openhim.Completed, nil},
		{"a mistake", http.MethodPost, submissionsPath, "{", nil, 400, openhim.Completed, nil},
		{"a mistake in the source", http.MethodPost, submissionsPath, `{"cht": 1}`, nil, 400, openhim.Completed, nil},
		{"a retry of what did not fail", http.MethodPost, submissionsPath + "/" + done.ID + "/retry", "", nil, 409, openhim.Completed, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := b.call(t, test.method, test.path, test.body, append(test.options, throughOpenHIM)...)
			if a.outer == nil {
				t.Fatalf("no envelope: %d %s", a.status, a.body)
			}
			e := a.outer
			if a.status != test.status || e.Status != test.word || e.URN != urn || e.Error != nil || e.Response.Timestamp.IsZero() {
				t.Errorf("%d %+v", a.status, e)
			}
			if diff := cmp.Diff(test.properties, e.Properties); diff != "" {
				t.Errorf("properties, -want +got:\n%s", diff)
			}
			if e.Response.Headers["content-type"] == "" {
				t.Errorf("headers are %v", e.Response.Headers)
			}
			direct := b.call(t, test.method, test.path, test.body, test.options...)
			if test.path != "/" && string(direct.body) != string(a.body) || direct.status != a.status { // liveness tells the time
				t.Errorf("called directly it answers %d %s, through OpenHIM %d %s", direct.status, direct.body, a.status, a.body)
			}
		})
	}
}

func TestATriggerThroughOpenHIMLeavesTheTransactionOpen(t *testing.T) {
	b := newBench(t, 0, nil)
	body := fmt.Sprintf(`{"data_set": %q, "period": "202609"}`, b.sets[0])
	var first, second summary
	a := b.call(t, http.MethodPost, submissionsPath, body, throughOpenHIM, header("X-OpenHIM-ClientID", "ministry"))
	a.into(t, &first)
	want := map[string]string{"data_set": b.sets[0], "period": period, "source": "kisumu", "submission": first.ID}
	if a.status != http.StatusAccepted || a.outer.Status != openhim.Processing || cmp.Diff(want, a.outer.Properties) != "" || a.header.Get("Location") == "" {
		t.Errorf("%d %+v", a.status, a.outer)
	}
	if first.RequestedBy != "OpenHIM client ministry" {
		t.Errorf("requested by %q", first.RequestedBy)
	}
	const other = "5f0c1e2d3a4b5c6d7e8f9013"
	b.call(t, http.MethodPost, submissionsPath, body, header("X-OpenHIM-TransactionID", other)).into(t, &second)
	waiting, err := b.ledger.Transactions(t.Context(), first.ID)
	if diff := cmp.Diff([]string{transaction, other}, waiting); err != nil || diff != "" || second.ID != first.ID {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}

func TestATransactionThatAsksForSeveralWaitsForAll(t *testing.T) {
	b := newBench(t, 0, nil)
	var list submissionList
	a := b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q, "period": "202608..202609"}`, b.sets[0]), throughOpenHIM)
	a.into(t, &list)
	if a.outer.Status != openhim.Processing || a.outer.Properties["submissions"] != "2" || a.outer.Properties["period"] != "202608..202609" {
		t.Errorf("%+v", a.outer)
	}
	for _, s := range list.Submissions {
		if waiting, err := b.ledger.Transactions(t.Context(), s.ID); err != nil || len(waiting) != 1 || waiting[0] != transaction {
			t.Errorf("%s: %v %v", s.Period, waiting, err)
		}
	}
}

func TestARerunOfLatestClosedKeepsItsPeriod(t *testing.T) {
	b := newBench(t, 0, nil)
	if _, _, err := b.ledger.Begin(t.Context(), ledger.Request{
		Key: ledger.Key{DHIS2: "national", DataSet: b.sets[0], Period: mustPeriod(t, "202607"), CHT: "kisumu"}, AskedPeriod: "latest-closed", Transaction: transaction,
	}, nil); err != nil {
		t.Fatal(err)
	}
	const again = "5f0c1e2d3a4b5c6d7e8f9014"
	var got summary
	b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q}`, b.sets[0]), header("X-OpenHIM-TransactionID", again), header("parentid", transaction)).into(t, &got)
	if got.Period != "202607" {
		t.Errorf("the re-run means %s", got.Period)
	}
	a := b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q}`, b.sets[0]), throughOpenHIM, header("parentid", "5f0c1e2d3a4b5c6d7e8f90ff"))
	if f := a.failure(t); a.status != http.StatusConflict || f.Code != "not_now" {
		t.Errorf("of a transaction that nobody knows: %d %+v", a.status, f)
	}
	b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q}`, b.sets[0]), header("parentid", transaction)).into(t, &got)
	if got.Period != "202610" {
		t.Errorf("a direct call with a header of OpenHIM's means %s", got.Period)
	}
}

func TestWhatIsNoTransactionIsNoEnvelope(t *testing.T) {
	b := newBench(t, 0, nil)
	for _, id := range []string{"x", "5F0C1E2D3A4B5C6D7E8F9012", transaction + "0", "../../etc/passwd"} {
		var s summary
		a := b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q, "period": "202609", "dry_run": true}`, b.sets[0]), header("X-OpenHIM-TransactionID", id), header("X-OpenHIM-ClientID", "x"))
		a.into(t, &s)
		if a.outer != nil || s.RequestedBy != "router" {
			t.Errorf("%q: %+v, requested by %q", id, a.outer, s.RequestedBy)
		}
	}
}

func TestRequesterIsFitToBeShown(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"ministry":                 "ministry",
		" a\tb\x1b[31m\u202ec\xff": "ab[31mc",
		strings.Repeat("é", 500):   strings.Repeat("é", 100),
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestAnAnswerThatOpenHIMCannotBearIsRefused(t *testing.T) {
	b := newBench(t, 0, func(c *Config) {
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			_, _ = w.Write([]byte(strings.Repeat("x", maxEnveloped)))
		})
	})
	if a := b.call(t, http.MethodGet, "/metrics", "", throughOpenHIM); a.status != 200 || len(a.body) != maxEnveloped {
		t.Errorf("at the limit: %d, %d bytes", a.status, len(a.body))
	}
	b.cht.SetExport(b.sets[0], period, exportOf(b, 9000))
	direct := b.call(t, http.MethodGet, Base+"/preview?period=202609&data_set="+b.sets[0], "")
	if direct.status != 200 || len(direct.body) < maxEnveloped {
		t.Fatalf("%d, %d bytes", direct.status, len(direct.body))
	}
	for _, path := range []string{"/preview", "/data-value-sets"} {
		a := b.call(t, http.MethodGet, Base+path+"?period=202609&data_set="+b.sets[0], "", throughOpenHIM)
		f := a.failure(t)
		if a.status != http.StatusRequestEntityTooLarge || f.Code != "too_large" || !strings.Contains(f.Remedy, "call the mediator directly") || a.outer.Status != openhim.Completed {
			t.Errorf("%s: %d %s", path, a.status, shortened(string(a.body)))
		}
		if a.header.Get("Content-Disposition") != "" || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
			t.Errorf("%s: %v", path, a.header)
		}
	}
}
