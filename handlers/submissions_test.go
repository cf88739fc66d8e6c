package handlers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/orchestration"
)

const submissionsPath = Base + "/submissions"

func TestTriggerIsAnsweredWithItsSubmission(t *testing.T) {
	b := newBench(t, 0, nil)
	a := b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q, "period": "202609", "org_units": [%q], "dry_run": false}`, b.sets[0], b.country.Right[b.sets[0]][0].OrgUnit))
	var got summary
	a.into(t, &got)
	if a.status != http.StatusAccepted || got.State != ledger.Queued || got.Period != period || got.CHT != "kisumu" || got.Joined || got.RequestedBy != "router" {
		t.Fatalf("%d: %+v", a.status, got)
	}
	if at := a.header.Get("Location"); at != submissionsPath+"/"+got.ID {
		t.Errorf("Location is %q", at)
	}
	stored, err := b.ledger.Submission(t.Context(), got.ID)
	if err != nil || len(stored.OrgUnits) != 1 || stored.AskedPeriod != period {
		t.Errorf("stored is %+v, %v", stored.Request, err)
	}

	var again summary
	b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q, "period": "202609", "org_units": [%q]}`, b.sets[0], stored.OrgUnits[0])).into(t, &again)
	if again.ID != got.ID || !again.Joined {
		t.Errorf("the second trigger got %q, joined %t; want %q", again.ID, again.Joined, got.ID)
	}
	if a := b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q, "period": "202609"}`, b.sets[0])); a.status != http.StatusConflict {
		t.Errorf("a trigger for all org units is answered %d while some are sent, as if those were all", a.status)
	}
}

func TestTriggerOfARangeBecomesSubmissionsOldestFirst(t *testing.T) {
	b := newBench(t, 0, nil)
	var list submissionList
	a := b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q, "period": "202607..202609"}`, b.sets[1]))
	a.into(t, &list)
	var got []string
	for _, s := range list.Submissions {
		got = append(got, s.Period+" "+s.CHT)
	}
	want := []string{"202607 kisumu", "202607 nairobi", "202608 kisumu", "202608 nairobi", "202609 kisumu", "202609 nairobi"}
	if diff := cmp.Diff(want, got); a.status != http.StatusAccepted || diff != "" {
		t.Errorf("%d, -want +got:\n%s", a.status, diff)
	}
}

func TestTriggerWithoutAnythingMeansTheMonthThatClosedLast(t *testing.T) {
	b := newBench(t, 0, func(c *Config) { c.Submitter.DataSets = c.Submitter.DataSets[:1] })
	var got summary
	a := b.call(t, http.MethodPost, submissionsPath, `{}`)
	a.into(t, &got)
	if a.status != http.StatusAccepted || got.Period != "202610" || got.DataSet != b.sets[0] {
		t.Errorf("%d: %+v", a.status, got)
	}
}

func TestGarbageIsRefusedWithWords(t *testing.T) {
	b := newBench(t, 0, nil)
	json, set := "application/json", b.sets[0]
	tests := []struct {
		name, kind, body string
		status           int
		says, remedy     string
	}{
		{"no body", json, "", 400, "the body is empty", "send one JSON object"},
		{"no JSON", json, "data_set=x", 400, "the body is no JSON", ""},
		{"a list", json, "[]", 400, "no JSON object", ""},
		{"a number", json, "1", 400, "no JSON object", ""},
		{"null", json, "null", 400, "no JSON object", ""},
		{"half an object", json, `{"period": "202609"`, 400, "it ends in the middle", ""},
		{"half a value", json, `{"period": "2026`, 400, "it ends in the middle", ""},
		{"a missing comma", json, `{"period": "202609" "cht": "kisumu"}`, 400, "no JSON object", ""},
		{"two objects", json, `{"period": "202609"} {}`, 400, "something follows the JSON object", ""},
		{"an unknown field", json, `{"dataset": "x"}`, 400, `unknown field "dataset"`, "did you mean data_set?"},
		{"a field in capitals", json, `{"Period": "202609"}`, 400, `unknown field "Period"`, "did you mean period?"},
		{"a field that nobody means", json, `{"xyzzyxyzzy": 1}`, 400, `unknown field "xyzzyxyzzy"`, "known here are data_set, period, cht, org_units, dry_run, full"},
		{"a field twice", json, `{"period": "202609", "period": "202608"}`, 400, `field "period" is there twice`, ""},
		{"a number for a period", json, `{"period": 202609}`, 400, `field "period" must be text`, ""},
		{"null for a period", json, `{"period": null}`, 400, `field "period" must be text`, ""},
		{"text for org units", json, `{"org_units": "OuAmaniHC01"}`, 400, `field "org_units" must be a list`, ""},
		{"no org units", json, `{"data_set": "` + set + `", "org_units": []}`, 400, "org_units names no org unit", "leave it out"},
		{"null among org units", json, `{"org_units": [null]}`, 400, `"" is no id of an org unit`, ""},
		{"a name for an org unit", json, `{"org_units": ["Amani Health Centre"]}`, 400, "is no id of an org unit", ""},
		{"text for dry_run", json, `{"dry_run": "yes"}`, 400, `field "dry_run" must be true or false`, ""},
		{"no data set where there are several", json, `{"period": "202609"}`, 400, "data_set is missing", set},
		{"an unknown data set", json, `{"data_set": "` + set + `x"}`, 400, `unknown data set "` + set + `x"`, "did you mean " + set + "?"},
		{"an unknown source", json, `{"data_set": "` + set + `", "cht": "kisumo"}`, 400, `"kisumo"`, "did you mean kisumu?"},
		{"a source of another data set", json, `{"data_set": "` + set + `", "cht": "nairobi"}`, 400, `"nairobi"`, "known here are kisumu"},
		{"a period that is none", json, `{"data_set": "` + set + `", "period": "September"}`, 400, "is no period", "latest-closed"},
		{"an empty period", json, `{"data_set": "` + set + `", "period": ""}`, 400, "is no period", ""},
		{"a range backwards", json, `{"data_set": "` + set + `", "period": "202609..202601"}`, 400, "202601 does not come after 202609", ""},
		{"a range without end", json, `{"data_set": "` + set + `", "period": "190001..209912"}`, 400, "", ""},
		{"no UTF-8", json, "{\"period\": \"\xff\"}", 400, "not in UTF-8", ""},
		{"a form", "application/x-www-form-urlencoded", "period=202609", 415, "must be JSON", "Content-Type: application/json"},
		{"no content type", "", "{}", 415, "must be JSON", ""},
		{"another charset", "application/json; charset=latin1", "{}", 415, "must be JSON", ""},
		{"too much", json, `{"cht": "` + strings.Repeat("x", maxBody) + `"}`, 413, "larger than 1048576 bytes", ""},
		{"much depth", json, `{"cht": ` + strings.Repeat("[", 100_000) + `}`, 400, `field "cht"`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, way := range []option{func(*http.Request) {}, throughOpenHIM} {
				a := b.call(t, http.MethodPost, submissionsPath, test.body, header("Content-Type", test.kind), way)
				f := a.failure(t)
				if a.status != test.status || !strings.Contains(f.Error, test.says) || !strings.Contains(f.Remedy, test.remedy) {
					t.Errorf("%d: %+v; want %d %q, %q", a.status, f, test.status, test.says, test.remedy)
				}
			}
		})
	}
	all, err := b.ledger.Submissions(t.Context(), ledger.Filter{})
	if err != nil || len(all) > 0 {
		t.Errorf("%d submissions began (%v)", len(all), err)
	}
	a := b.call(t, http.MethodPost, submissionsPath+"?period=202609", `{}`)
	if f := a.failure(t); a.status != 400 || !strings.Contains(f.Error, `unknown parameter "period"`) {
		t.Errorf("a period in the query of a POST: %d %+v", a.status, f)
	}
}

func FuzzDecodeSelection(f *testing.F) {
	for _, seed := range []string{`{}`, `{"data_set":"a","period":"202609","cht":"b","org_units":["OuAmaniHC01"],"dry_run":true}`, `{"period":null}`, `[`, `{"a":{"b":[1,2]}}`, `{"cht":"\ud800"}`, `{} x`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := decodeSelection(body)
		var known *problem
		if err != nil && (!errors.As(err, &known) || known.status != http.StatusBadRequest || known.failure.Error == "") {
			t.Fatalf("%q: %v", body, err)
		}
		if err == nil && s.orgUnits != nil && len(s.orgUnits) == 0 {
			t.Fatalf("%q means no org unit", body)
		}
	})
}

func TestTriggerIsRefusedWhenItCannotBeTakenNow(t *testing.T) {
	b := newBench(t, 0, func(c *Config) { c.Submitter.DataSets[0].Operation.Enabled = false })
	a := b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q, "period": "202609"}`, b.sets[0]))
	if f := a.failure(t); a.status != http.StatusConflict || f.Code != "not_now" || !strings.Contains(f.Error, "switched off") {
		t.Errorf("%d %+v", a.status, f)
	}
}

func TestTriggerIsAnsweredInTimeWhileTheCHTIsAway(t *testing.T) {
	for _, fault := range []sandbox.Fault{
		{Kind: sandbox.Latency, Delay: time.Hour}, {Kind: sandbox.Status, Status: 503}, {Kind: sandbox.ResetBefore},
	} {
		t.Run(string(fault.Kind), func(t *testing.T) {
			b := newBench(t, 0, nil)
			b.cht.Fail(fault)
			began := time.Now()
			a := b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q}`, b.sets[0]))
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("the answer took %s", took)
			}
			f := a.failure(t)
			if a.status != http.StatusServiceUnavailable || f.Code != "unavailable" || a.header.Get("Retry-After") == "" || !strings.Contains(f.Error, "which month closed last") {
				t.Errorf("%d %+v", a.status, f)
			}
			a = b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q, "period": "202609"}`, b.sets[0]))
			if a.status != http.StatusAccepted {
				t.Errorf("with the month given it answers %d: %s", a.status, a.body)
			}
		})
	}
}

func TestTriggerIsAnsweredInTimeWhileTheStoreIsBusy(t *testing.T) {
	b := newBench(t, 0, nil)
	busy, done := make(chan struct{}), make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		_ = b.ledger.Together(context.Background(), "keep others waiting", func(*sql.Tx) error {
			close(busy)
			<-done
			return nil
		})
	})
	<-busy
	began := time.Now()
	a := b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q, "period": "202609"}`, b.sets[0]))
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the answer took %s", took)
	}
	if f := a.failure(t); a.status != http.StatusTooManyRequests || f.Code != "busy" || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %+v", a.status, f)
	}
	close(done)
	writer.Wait()
}

func TestABurstOfTriggersIsTakenAsFarAsTheQueueHasRoom(t *testing.T) {
	const room, burst, clients = 20, 10_000, 100
	b := newBench(t, room, nil)
	transport := &http.Transport{MaxIdleConnsPerHost: clients, MaxConnsPerHost: clients}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	var accepted, later, other atomic.Int64
	var longest atomic.Int64
	var all sync.WaitGroup
	for worker := range clients {
		all.Go(func() {
			for n := range burst / clients {
				number := worker*burst/clients + n
				body := fmt.Sprintf(`{"data_set": %q, "period": "%04d%02d", "dry_run": true}`, b.sets[0], 2026+number%5, 1+number%12)
				request, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, b.server.URL+submissionsPath, strings.NewReader(body))
				request.SetBasicAuth(username, password)
				request.Header.Set("Content-Type", "application/json")
				began := time.Now()
				response, err := client.Do(request)
				if err != nil {
					other.Add(1)
					continue
				}
				_ = response.Body.Close()
				for took, most := int64(time.Since(began)), longest.Load(); took > most && !longest.CompareAndSwap(most, took); most = longest.Load() {
				}
				switch {
				case response.StatusCode == http.StatusAccepted:
					accepted.Add(1)
				case response.StatusCode == http.StatusTooManyRequests && response.Header.Get("Retry-After") != "":
					later.Add(1)
				default:
					other.Add(1)
				}
			}
		})
	}
	all.Wait()
	if accepted.Load() != room || other.Load() > 0 || accepted.Load()+later.Load() != burst {
		t.Errorf("%d accepted, %d put off, %d other; want %d accepted and the rest put off", accepted.Load(), later.Load(), other.Load(), room)
	}
	t.Logf("the longest answer took %s", time.Duration(longest.Load()))
	a := b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q, "period": "202609"}`, b.sets[0]))
	if f := a.failure(t); a.status != http.StatusTooManyRequests || f.Code != "queue_full" || !strings.Contains(f.Error, "queue is full") {
		t.Errorf("%d %+v", a.status, f)
	}
}

func TestAnErrorInTheMiddleTellsWhatWasTaken(t *testing.T) {
	b := newBench(t, 2, nil)
	a := b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q, "period": "202604..202609"}`, b.sets[0]))
	f := a.failure(t)
	if a.status != http.StatusTooManyRequests || len(f.Submissions) != 2 || f.Submissions[1].Period != "202605" || !strings.Contains(f.Error, "2 submissions were taken") {
		t.Errorf("%d %+v", a.status, f)
	}
}

func TestSubmissionIsToldWhole(t *testing.T) {
	b := newBench(t, 0, nil)
	report := b.submit(t)
	var got orchestration.Report
	a := b.call(t, http.MethodGet, submissionsPath+"/"+report.ID, "")
	a.into(t, &got)
	if diff := cmp.Diff(report, got); a.status != http.StatusOK || diff != "" || got.State != ledger.Accepted || got.ChunksTotal != 1 {
		t.Errorf("%d %s:\n%s", a.status, got.State, diff)
	}

	seen := map[string]bool{}
	for after, pages := "", 0; ; pages++ {
		var list orgUnitList
		b.call(t, http.MethodGet, submissionsPath+"/"+report.ID+"/org-units?state=accepted&limit=5&after="+after, "").into(t, &list)
		for _, o := range list.OrgUnits {
			if seen[o.OrgUnit] || o.State != "accepted" || o.Accepted == 0 {
				t.Errorf("%+v", o)
			}
			seen[o.OrgUnit] = true
		}
		if after = list.Next; after == "" {
			if pages != 2 {
				t.Errorf("%d pages", pages+1)
			}
			break
		}
	}
	if len(seen) != report.ResultsTotal {
		t.Errorf("%d org units, want %d", len(seen), report.ResultsTotal)
	}
}

func TestSubmissionsAreListedByWhatIsAsked(t *testing.T) {
	b := newBench(t, 0, nil)
	done := b.submit(t)
	b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q, "period": "202608..202609"}`, b.sets[1]))
	tests := []struct {
		query string
		want  int
		next  bool
	}{
		{"", 5, false},
		{"?data_set=" + b.sets[0], 1, false},
		{"?data_set=" + b.sets[1] + "&cht=nairobi", 2, false},
		{"?dhis2=national&period=202609", 3, false},
		{"?dhis2=other", 0, false},
		{"?state=accepted", 1, false},
		{"?state=accepted&state=queued", 5, false},
		{"?limit=2", 2, true},
		{"?limit=1000", 5, false},
		{"?after=" + done.ID, 0, false},
	}
	for _, test := range tests {
		var list submissionList
		a := b.call(t, http.MethodGet, submissionsPath+test.query, "")
		a.into(t, &list)
		if a.status != http.StatusOK || len(list.Submissions) != test.want || (list.Next != "") != test.next {
			t.Errorf("%s: %d, %d submissions, next %q; want %d", test.query, a.status, len(list.Submissions), list.Next, test.want)
		}
	}
	seen := 0
	for after := ""; ; {
		var list submissionList
		b.call(t, http.MethodGet, submissionsPath+"?limit=2&after="+after, "").into(t, &list)
		seen += len(list.Submissions)
		if after = list.Next; after == "" {
			break
		}
	}
	if seen != 5 {
		t.Errorf("%d submissions page by page, want 5", seen)
	}
}

func TestQueriesAreReadStrictly(t *testing.T) {
	b := newBench(t, 0, nil)
	id := b.submit(t).ID
	tests := []struct {
		path   string
		status int
		says   string
	}{
		{submissionsPath + "?dataset=x", 400, `unknown parameter "dataset"`},
		{submissionsPath + "?period=September", 400, "is no period"},
		{submissionsPath + "?state=done", 400, `unknown state "done"`},
		{submissionsPath + "?limit=0", 400, `limit "0"`},
		{submissionsPath + "?limit=1001", 400, `limit "1001"`},
		{submissionsPath + "?limit=x", 400, `limit "x"`},
		{submissionsPath + "?cht=a&cht=b", 400, `parameter "cht" is there more than once`},
		{submissionsPath + "?a;b", 400, "the query cannot be read"},
		{submissionsPath + "?after=nothing", 404, "no submission with this id"},
		{submissionsPath + "/nothing", 404, "no submission with this id"},
		{submissionsPath + "/" + id + "?x=1", 400, `unknown parameter "x"`},
		{submissionsPath + "/nothing/org-units", 404, "no submission with this id"},
		{submissionsPath + "/" + id + "/org-units?state=fine", 400, `unknown state "fine"`},
		{submissionsPath + "/" + id + "/org-units?state=held&state=held", 400, "more than once"},
		{Base + "/schedule?x=1", 400, "unknown parameter"},
		{Base + "/preview?data_set=x", 400, `unknown data set "x"`},
		{Base + "/preview?data_set=" + b.sets[1], 400, "has several sources"},
		{Base + "/preview?data_set=" + b.sets[0] + "&period=2026", 200, ""},
		{Base + "/preview?data_set=" + b.sets[0] + "&period=x", 400, "is no period"},
		{Base + "/preview?data_set=" + b.sets[0] + "&org_unit=x", 400, "is no id of an org unit"},
		{Base + "/preview?format=csv", 400, `unknown parameter "format"`},
		{Base + "/data-value-sets?format=xml", 400, `unknown format "xml"`},
		{"/nowhere", 404, "nothing under this path"},
		{Base + "/nowhere", 404, "nothing under this path"},
		{submissionsPath + "/", 404, "nothing under this path"},
	}
	for _, test := range tests {
		a := b.call(t, http.MethodGet, test.path, "")
		if a.status != test.status || !strings.Contains(string(a.body), strings.ReplaceAll(test.says, `"`, `\"`)) {
			t.Errorf("%s: %d %s; want %d %q", test.path, a.status, shortened(string(a.body)), test.status, test.says)
		}
	}
}

func TestSubmissionIsCancelledRetriedApprovedAndRejected(t *testing.T) {
	b := newBench(t, 0, nil)
	act := func(id, action, body string, status int, state ledger.State) answer {
		t.Helper()
		a := b.call(t, http.MethodPost, submissionsPath+"/"+id+"/"+action, body)
		var s summary
		a.into(t, &s)
		if a.status != status || s.State != state {
			t.Errorf("%s: %d %s", action, a.status, a.body)
		}
		return a
	}
	id := b.submit(t).ID
	for _, action := range []string{"cancel", "retry", "approve", "reject"} {
		if f := act(id, action, "", http.StatusConflict, "").failure(t); f.Code != "state" || !strings.Contains(f.Error, "the submission is accepted") {
			t.Errorf("%s: %+v", action, f)
		}
		act("nothing", action, "", http.StatusNotFound, "")
		if f := act(id, action, `{"period": "202609"}`, http.StatusBadRequest, "").failure(t); !strings.Contains(f.Error, "unknown field") {
			t.Errorf("%s: %+v", action, f)
		}
	}

	b.dhis2.Fail(sandbox.Fault{Kind: sandbox.Status, Status: 500, Method: http.MethodGet})
	failed := b.submit(t)
	b.dhis2.Heal()
	act(failed.ID, "retry", "{}", http.StatusOK, ledger.Queued)
	var s summary
	act(failed.ID, "cancel", "", http.StatusOK, ledger.Queued).into(t, &s)
	if s.CancelledBy != "router" || s.Retries != 1 {
		t.Errorf("%+v", s)
	}

	hold := func(period string) string {
		var s summary
		b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q, "period": %q, "cht": "nairobi"}`, b.sets[1], period)).into(t, &s)
		if err := b.ledger.Advance(t.Context(), s.ID, ledger.Held, nil); err != nil {
			t.Fatal(err)
		}
		return s.ID
	}
	act(hold("202608"), "approve", "", http.StatusOK, ledger.Ready)
	act(hold("202609"), "reject", "", http.StatusOK, ledger.Cancelled)
}

func TestARetryOfAnOlderOneIsRefused(t *testing.T) {
	b := newBench(t, 0, nil)
	b.dhis2.Fail(sandbox.Fault{Kind: sandbox.Status, Status: 500, Method: http.MethodGet})
	old := b.submit(t).ID
	b.dhis2.Heal()
	b.submit(t)
	a := b.call(t, http.MethodPost, submissionsPath+"/"+old+"/retry", "")
	if f := a.failure(t); a.status != http.StatusConflict || f.Code != "newer" {
		t.Errorf("%d %+v", a.status, f)
	}
}

func TestPollTellsWhatItSubmitted(t *testing.T) {
	var by string
	var due []ledger.Submission
	var trouble error
	b := newBench(t, 0, func(c *Config) {
		c.Poll = func(_ context.Context, who string) ([]ledger.Submission, error) {
			by = who
			return due, trouble
		}
	})
	if a := b.call(t, http.MethodGet, Base+"/poll?whatever=1", ""); a.status != 200 || string(a.body) != `{"submitted":[]}` || by != "router" {
		t.Errorf("%d %s by %q", a.status, a.body, by)
	}
	sub, err := b.ledger.Submission(t.Context(), b.submit(t).ID)
	if err != nil {
		t.Fatal(err)
	}
	due = []ledger.Submission{sub}
	var got polled
	b.call(t, http.MethodGet, Base+"/poll", "", throughOpenHIM, header("channel-id", transaction)).into(t, &got)
	if len(got.Submitted) != 1 || got.Submitted[0].ID != sub.ID || by != "OpenHIM polling" {
		t.Errorf("%+v by %q", got, by)
	}
	trouble = &ledger.Error{Kind: ledger.Full, Doing: "write", What: "no room in /var/secret/place", Remedy: "make room in /var/secret/place"}
	a := b.call(t, http.MethodGet, Base+"/poll", "")
	if f := a.failure(t); a.status != http.StatusServiceUnavailable || f.Code != "store" || len(f.Submissions) != 1 || strings.Contains(string(a.body), "/var") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestScheduleIsTold(t *testing.T) {
	b := newBench(t, 0, nil)
	var got orchestration.Schedule
	b.call(t, http.MethodGet, Base+"/schedule", "").into(t, &got)
	if diff := cmp.Diff(scheduled(got.Now), got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatStaysBehindIsListedByOrgUnits(t *testing.T) {
	b := newBench(t, 0, nil)
	units := map[string]bool{}
	for _, v := range b.country.Right[b.sets[0]] {
		if !units[v.OrgUnit] && len(units) < 3 {
			units[v.OrgUnit] = true
			b.dhis2.WithdrawDataSet(b.sets[0], v.OrgUnit)
		}
	}
	report := b.submit(t)
	if report.Counts.Quarantined == 0 || len(report.Quarantined) != report.Counts.Quarantined {
		t.Fatalf("%+v, and %d are listed", report.Counts, len(report.Quarantined))
	}
	seen, pages := 0, 0
	for after := ""; pages == 0 || after != ""; pages++ {
		var list quarantineList
		b.call(t, http.MethodGet, submissionsPath+"/"+report.ID+"/quarantine?limit=1&after="+after, "").into(t, &list)
		for _, c := range list.Cells {
			if seen++; !units[c.OrgUnit] || c.Code != "org_unit_not_assigned" || c.Value == "" || c.Remedy == "" {
				t.Errorf("%+v", c)
			}
		}
		after = list.Next
	}
	if seen != report.Counts.Quarantined || pages != len(units) {
		t.Errorf("%d cells on %d pages, want %d on %d", seen, pages, report.Counts.Quarantined, len(units))
	}
}
