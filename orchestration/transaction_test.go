package orchestration

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/exchange"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

var updateTransactions = flag.Bool("update", false, "rewrite the golden files")

// nine is when everything happens here.
var nine = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

const asked = "6b02af10aaaaaaaaaaaaaaaa"

func telling(l *ledger.Ledger) Telling {
	return Telling{Channel: "CHT to DHIS2", URN: "urn:mediator:cht-dhis2", Ledger: l, Now: func() time.Time { return nine }}
}

// try is one try of a call.
func try(name, request, sent string, status int, received string) Call {
	method, address, _ := strings.Cut(request, " ")
	x := exchange.Exchange{
		Began: nine.Add(-time.Minute), Took: 250 * time.Millisecond, Method: method, Address: address, Sent: exchange.NewBody([]byte(sent), bodyLimit),
		Status: status, Received: exchange.NewBody([]byte(received), bodyLimit),
		SentHeader: map[string]string{"Authorization": "ApiToken d2p_hidden", "Accept": "application/json"}, ReceivedHeader: map[string]string{"Content-Type": "application/json"},
	}
	if status == 0 {
		x.Error, x.ReceivedHeader, x.Received = received, nil, exchange.Body{}
	}
	return Call{Name: name, Try: 1, Exchange: x}
}

// prepared are the calls of the step prepare.
func prepared(set string) StepCalls {
	const dhis2, cht = "GET https://dhis2.example.org/dhis/api/", "GET https://kisumu.example.org/api/"
	return StepCalls{Step: prepareStep, Calls: []Call{
		try("Ask DHIS2 national for its version", dhis2+"system/info", "", 0, "connection refused"),
		try("Ask DHIS2 national for its version", dhis2+"system/info", "", 200, `{"version":"2.42.5"}`),
		try("Read data set "+set+" from DHIS2 national", dhis2+"dataSets/"+set, "", 200, `{"id":"`+set+`"}`),
		try("Read the settings of CHT county", cht+"v1/settings", "", 200, `{}`),
		try("Fetch 202609 from CHT county", cht+"v2/export/dhis?filters=1", "", 200, `{"dataValues":[]}`),
	}}
}

func sent(chunk int, tries ...Call) StepCalls {
	return StepCalls{Step: sendStep, Chunk: chunk, Calls: tries}
}

func posted(status int, received string) Call {
	return try("", "POST https://dhis2.example.org/dhis/api/dataValueSets?strictPeriods=true", `{"dataSet":"x"}`, status, received)
}

// concluded submits for real and gives what there is to tell, with calls made up.
func (b *bench) concluded(t *testing.T, r Request, calls ...StepCalls) Conclusion {
	t.Helper()
	r.DataSet, r.CHT = b.set, "county"
	if r.Period == "" {
		r.Period = "202609"
	}
	report, err := b.Submit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := b.Ledger.Submission(t.Context(), report.ID)
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.conclusion(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	c.Calls = calls
	return c
}

// export gives the CHT a small answer: three values of two org units, the last one for the element given.
func (b *bench) export(last string) {
	right := b.country.Right[b.set]
	other := slices.IndexFunc(right, func(v sandbox.CountryValue) bool { return v.OrgUnit != right[0].OrgUnit })
	another := slices.IndexFunc(right, func(v sandbox.CountryValue) bool { return v.DataElement != right[0].DataElement })
	if last == "" {
		last = right[another].DataElement
	}
	b.cht.SetExport(b.set, "202609", fmt.Appendf(nil, `{"dataSet":%q,"period":"202609","dataValues":[{"dataElement":%q,"orgUnit":%q,"value":7},`+
		`{"dataElement":%q,"orgUnit":%q,"value":8},{"dataElement":%q,"orgUnit":%q,"value":9}]}`, b.set, right[0].DataElement, right[0].OrgUnit,
		right[0].DataElement, right[other].OrgUnit, last, right[other].OrgUnit))
}

// letters makes the letters of an end and gives their bodies.
func letters(t *testing.T, telling Telling, c Conclusion) ([]ledger.Letter, []told) {
	t.Helper()
	list, err := telling.Letters(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var bodies []told
	for _, letter := range list {
		one, err := readTold(letter)
		if err != nil {
			t.Fatalf("%s: %v", letter.Body, err)
		}
		bodies = append(bodies, one)
	}
	return list, bodies
}

func names(t openhim.Transaction) string {
	var all []string
	for _, o := range t.Orchestrations {
		all = append(all, o.Name)
	}
	return strings.Join(all, "\n")
}

func TestTransactionsTellTheWholeStory(t *testing.T) {
	for _, test := range []struct {
		name   string
		concl  func(t *testing.T, b *bench) Conclusion
		status openhim.Status
	}{
		{"accepted", func(t *testing.T, b *bench) Conclusion {
			b.export("")
			return b.concluded(t, Request{RequestedBy: BySchedule}, prepared(b.set), sent(1, posted(503, "<html>away</html>"), posted(200, `{"status":"SUCCESS"}`)))
		}, openhim.Successful},
		{"partly_accepted", func(t *testing.T, b *bench) Conclusion {
			b.export("DeUnknown01")
			b.DataSets[0].Unchecked = true // DHIS2 is to refuse it
			b.DataSets[0].Unchecked = true // DHIS2 is to refuse it
			return b.concluded(t, Request{RequestedBy: "interop", Transaction: asked}, prepared(b.set), sent(1, posted(409, `{"status":"WARNING"}`)))
		}, openhim.CompletedWithErrors},
		{"failed", func(t *testing.T, b *bench) Conclusion {
			b.dhis2.Fail(sandbox.Fault{Kind: sandbox.LoginRedirect})
			calls := prepared(b.set)
			calls.Calls = []Call{try("Ask DHIS2 national for its version", "GET https://user:pass@dhis2.example.org/api/system/info?token=abc", "", 302, "")}
			return b.concluded(t, Request{RequestedBy: "command line"}, calls)
		}, openhim.Failed},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, "2.42.5")
			c := test.concl(t, b)
			list, bodies := letters(t, telling(b.Ledger), c)
			if len(list) != 1 || bodies[0].Transaction.Status != test.status || !list[0].NextAt.Equal(nine.Add(time.Second)) {
				t.Fatalf("%d letters, %s", len(list), list[0].Body)
			}
			var pretty any
			if err := json.Unmarshal(list[0].Body, &pretty); err != nil {
				t.Fatal(err)
			}
			text, _ := json.MarshalIndent(pretty, "", " ")
			got := strings.ReplaceAll(string(text), c.Submission.ID, "SUBMISSION") + "\n"
			if len(c.Transactions) == 0 {
				got = strings.ReplaceAll(got, ownID(c.Submission.CreatedAt, c.Submission.ID), "OWN")
			}
			file := filepath.Join("testdata", "transaction_"+test.name+".json")
			if *updateTransactions {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("letter (-want +got):\n%s", diff)
			}
			for _, secret := range []string{"hidden", "pass@", "abc\""} {
				if strings.Contains(got, secret) {
					t.Errorf("%q is told", secret)
				}
			}
		})
	}
}

func TestWhoIsToldOfAnEnd(t *testing.T) {
	const other = "6b02af10bbbbbbbbbbbbbbbb"
	b := newBench(t, "2.42.5")
	b.export("")
	base := b.concluded(t, Request{RequestedBy: BySchedule}, prepared(b.set))
	own := ownID(base.Submission.CreatedAt, base.Submission.ID)
	for _, test := range []struct {
		name   string
		change func(*Conclusion)
		want   []string
	}{
		{"nobody asked", func(*Conclusion) {}, []string{"openhim create " + own}},
		{"two transactions asked", func(c *Conclusion) { c.Transactions = []string{asked, other} }, []string{"openhim update " + asked, "openhim update " + other}},
		{"held", func(c *Conclusion) { c.Submission.State = ledger.Held; c.Transactions = []string{asked} }, []string{"openhim update " + asked}},
		{"held, and nobody asked", func(c *Conclusion) { c.Submission.State = ledger.Held }, []string{"openhim create " + own}},
		{"a dry run that nobody waits for", func(c *Conclusion) { c.Submission.DryRun = true }, nil},
		{"a dry run that was asked for", func(c *Conclusion) { c.Submission.DryRun = true; c.Transactions = []string{asked} }, []string{"openhim update " + asked}},
		{"what asked is no transaction", func(c *Conclusion) { c.Transactions = []string{"'; DROP"} }, []string{"openhim create " + own}},
		{"the schedule found nothing new", func(c *Conclusion) { c.Submission.State = ledger.Unchanged }, []string{"openhim-day create " + ownID(nine.Truncate(24*time.Hour), "unchanged on 2026-11-22 urn:mediator:cht-dhis2")}},
		{"a person found nothing new", func(c *Conclusion) { c.Submission.State, c.Submission.RequestedBy = ledger.Unchanged, "interop" }, []string{"openhim create " + own}},
		{"the schedule found nothing new through a channel", func(c *Conclusion) { c.Submission.State, c.Transactions = ledger.Unchanged, []string{asked} }, []string{"openhim update " + asked}},
		{"a retry found nothing new", func(c *Conclusion) { c.Submission.State, c.Submission.Retries = ledger.Unchanged, 1 }, []string{"openhim create " + own}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := base
			test.change(&c)
			list, bodies := letters(t, telling(b.Ledger), c)
			again, _ := letters(t, telling(b.Ledger), c)
			if diff := cmp.Diff(list, again); diff != "" {
				t.Errorf("the second time (-first +second):\n%s", diff)
			}
			var got []string
			for i, letter := range list {
				how := map[bool]string{true: "update", false: "create"}[bodies[i].Update]
				got = append(got, letter.Kind+" "+how+" "+bodies[i].Transaction.ID)
				if bodies[i].Transaction.Error != nil {
					t.Error("OpenHIM would try again")
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("letters (-want +got):\n%s", diff)
			}
		})
	}
}

// Ten thousand requests may join one submission: their reports must not fill memory and disk.
func TestManyTransactionsGetTheResultAndTheFirstOnesTheStory(t *testing.T) {
	b := newBench(t, "2.42.5")
	b.export("")
	c := b.concluded(t, Request{RequestedBy: "interop"}, prepared(b.set))
	for n := range 2000 {
		c.Transactions = append(c.Transactions, fmt.Sprintf("6b02af10%016x", n))
	}
	list, bodies := letters(t, telling(b.Ledger), c)
	size, whole := 0, 0
	for i, one := range bodies {
		size += len(list[i].Body)
		if len(one.Transaction.Orchestrations) > 0 {
			whole++
		} else if one.Transaction.Properties["steps_in"] != c.Transactions[0] || one.Transaction.Properties["state"] != "accepted" || one.Transaction.Status != openhim.Successful {
			t.Fatalf("letter %d: %+v", i, one.Transaction)
		}
	}
	if len(list) != 2000 || whole != mostWhole || size > 2000*4000 {
		t.Errorf("%d letters, %d of them whole, %d bytes", len(list), whole, size)
	}
}

func TestRunAgainATransactionAsksForTheSame(t *testing.T) {
	b := newBench(t, "2.42.5")
	unit := b.country.Right[b.set][0].OrgUnit
	c := b.concluded(t, Request{Period: LatestClosed, OrgUnits: []string{unit}, RequestedBy: "command line"})
	_, bodies := letters(t, telling(b.Ledger), c)
	request := bodies[0].Transaction.Request
	want := fmt.Sprintf(`{"data_set":%q,"period":%q,"cht":"county","org_units":[%q]}`, b.set, c.Submission.Period, unit)
	if request.Method != "POST" || request.Path != "/cht-dhis2/submissions" || request.Body != want || request.Headers["content-type"] != "application/json" {
		t.Errorf("request %+v, want the body %s", request, want)
	}
}

func TestPropertiesAreFlatFewAndComplete(t *testing.T) {
	b := newBench(t, "2.42.5")
	b.export("DeUnknown01")
	b.DataSets[0].Unchecked = true // DHIS2 is to refuse it
	c := b.concluded(t, Request{RequestedBy: "interop"}, prepared(b.set))
	telling := telling(b.Ledger)
	telling.Fault = func() string {
		return "data_sets[0].schedule: 5 fields are needed; password=hunter22 " + strings.Repeat("x", 1000)
	}
	_, bodies := letters(t, telling, c)
	p := bodies[0].Transaction.Properties
	valid := regexp.MustCompile(`^[a-z0-9_]+$`)
	for name, value := range p {
		if !valid.MatchString(name) || value == "" || len(value) > 700 {
			t.Errorf("%s is %q", name, value)
		}
	}
	if len(p) > 25 || !strings.HasPrefix(p["configuration_fault"], "data_sets[0].schedule") || strings.Contains(p["configuration_fault"], "hunter22") {
		t.Errorf("%d properties, fault %q", len(p), p["configuration_fault"])
	}
	delete(p, "configuration_fault")
	want := map[string]string{
		"data_set": b.set, "period": "202609", "source": "county", "dhis2": "national", "dialect": "2.38-2.42", "submission": c.Submission.ID,
		"state": "partly_accepted", "reason": "left_behind", "requested_by": "interop", "values_fetched": "3", "values_sent": "3", "values_accepted": "2",
		"values_refused": "1", "values_left_behind": "0", "values_unchanged": "0", "values_unknown": "0", "org_units_accepted": "1",
		"org_units_partly_accepted": "1", "org_units_refused": "0", "org_units_unchanged": "0",
	}
	want["dialect"] = c.Submission.Dialect
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("properties (-want +got):\n%s", diff)
	}
}

// chunked is the end of a submission of so many chunks of 20 org units; failed ones are refused.
func chunked(chunks int, refused ...int) Conclusion {
	period, _ := dhis2.ParsePeriod("202609")
	c := Conclusion{
		Submission: ledger.Submission{
			ID: "chunked", State: ledger.Accepted, Parts: chunks * 20, CreatedAt: nine.Add(-time.Hour), PreparedAt: nine.Add(-time.Minute), EndedAt: nine,
			Counts: ledger.Counts{Fetched: chunks * 2000, Accepted: chunks * 2000},
		},
		Report: Report{ResultsTotal: chunks * 20, Issues: []issue.Issue{}, Rules: []RuleUse{{Rule: "zeros", Setting: "send"}}},
	}
	c.Submission.Period, c.Submission.DataSet, c.Submission.CHT = period, "DsMchMonth1", "county"
	c.Calls = []StepCalls{prepared("DsMchMonth1")}
	for n := 1; n <= chunks; n++ {
		chunk := ChunkReport{Chunk: n, FirstOrgUnit: n*20 - 19, LastOrgUnit: n * 20, Values: 2000, State: ledger.ChunkAccepted, Accepted: 2000, SentAt: nine}
		if slices.Contains(refused, n) {
			chunk.State, chunk.Accepted, chunk.Refused = ledger.ChunkRefused, 0, 2000
		}
		c.Report.Chunks = append(c.Report.Chunks, chunk)
		c.Calls = append(c.Calls, sent(n, try("", "POST https://dhis2.example.org/api/dataValueSets", strings.Repeat("<", 20_000), 200, strings.Repeat("é", 9000))))
	}
	c.Report.ChunksTotal = chunks
	return c
}

func TestASubmissionOfManyChunksFolds(t *testing.T) {
	list, bodies := letters(t, telling(nil), chunked(500, 250, 400))
	transaction := bodies[0].Transaction
	if n := len(transaction.Orchestrations); n > 20 || len(list[0].Body) > 1_000_000 {
		t.Errorf("%d orchestrations, %d bytes", n, len(list[0].Body))
	}
	got := names(transaction)
	for _, want := range []string{
		"6 Transform: 1,000,000 values, 10,000 org units", "7 Send org units 1 to 20 of 10,000", "more sends, all accepted: ",
		"256 Send org units 4,981 to 5,000 of 10,000", "406 Send org units 7,981 to 8,000 of 10,000",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	totals := regexp.MustCompile(`(\d+) more sends, all accepted: (\S+) values`).FindStringSubmatch(got)
	if kept := len(transaction.Orchestrations) - 1 - 6 - 2; totals == nil || totals[1] != fmt.Sprint(498-kept) {
		t.Errorf("folded %v, %d kept", totals, kept)
	}
	// Nothing that failed is folded, however much failed.
	var all []int
	for n := range 300 {
		all = append(all, n)
	}
	list, bodies = letters(t, telling(nil), chunked(500, all...))
	if n := len(bodies[0].Transaction.Orchestrations); n < 299 || len(list[0].Body) > 1_000_000 {
		t.Errorf("%d orchestrations, %d bytes", n, len(list[0].Body))
	}
}

func TestEachAttemptOfAChunkIsTold(t *testing.T) {
	c := chunked(4)
	chunks := c.Report.Chunks
	chunks[0].State = ledger.ChunkSplit
	chunks[1].State, chunks[1].Failure, chunks[1].Accepted = ledger.ChunkUnknown, "no answer within 50s", 0
	chunks[3].FirstOrgUnit = 80
	c.Calls = []StepCalls{
		prepared("DsMchMonth1"),
		sent(1, posted(413, "too large")),
		sent(2, posted(0, "reset by peer"), posted(502, "away")),
		sent(3, posted(200, "ok")),
		{Step: sendStep, Chunk: 2, Left: true},
	}
	_, bodies := letters(t, telling(nil), c)
	steps := bodies[0].Transaction.Orchestrations
	want := `1 Ask DHIS2 national for its version
2 Ask DHIS2 national for its version, attempt 2
3 Read data set DsMchMonth1 from DHIS2 national
4 Read the settings of CHT county
5 Fetch 202609 from CHT county
6 Transform: 8,000 values, 80 org units
7 Send org units 1 to 20 of 80
8 Send org units 21 to 40 of 80
9 Send org units 21 to 40 of 80, attempt 2
10 Send org units 41 to 60 of 80
11 Send org units 21 to 40 of 80, attempt 3
12 Send org unit 80 of 80`
	if diff := cmp.Diff(want, names(bodies[0].Transaction)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	var groups []string
	why := map[int]string{}
	for i, o := range steps {
		if !slices.Contains(groups, o.Group) {
			groups = append(groups, o.Group)
		}
		if o.Response == nil || o.Request == nil || o.Request.Timestamp.IsZero() {
			t.Errorf("%s: %+v", o.Name, o)
		}
		if o.Error != nil {
			why[i+1] = o.Error.Message
		}
	}
	if diff := cmp.Diff(map[int]string{
		1: "connection refused", 7: "it was too much for one request; its values go in smaller ones", 8: "reset by peer", 9: "answered 502 Bad Gateway, and went again",
		11: "no answer within 50s",
	}, why); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if !strings.Contains(steps[10].Response.Body, "not kept") || !slices.Equal(groups, []string{"prepare", "transform", "send"}) {
		t.Errorf("%q, groups %v", steps[10].Response.Body, groups)
	}
	c.Submission.Parts, c.Report.ResultsTotal = 80, 40
	_, bodies = letters(t, telling(nil), c)
	if got := bodies[0].Transaction.Orchestrations[6].Name; got != "7 Send parts 1 to 20 of 80" {
		t.Errorf("with several attribute option combos: %s", got)
	}
}

func TestAttemptsThatWereNotKeptAreCounted(t *testing.T) {
	c := chunked(1)
	gap := posted(0, "98 tries are left out here")
	gap.Exchange.LeftOut = 1098
	c.Calls = []StepCalls{sent(1, posted(503, ""), gap, posted(200, ""))}
	_, bodies := letters(t, telling(nil), c)
	want := `1 Transform: 2,000 values, 20 org units
2 Send org units 1 to 20 of 20
3 Send org units 1 to 20 of 20, attempts 2 to 1,099
4 Send org units 1 to 20 of 20, attempt 1,100`
	if diff := cmp.Diff(want, names(bodies[0].Transaction)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// Chunks beyond those that a report lists are looked up, so that they can be folded.
func TestChunksThatTheReportDoesNotListAreLookedUp(t *testing.T) {
	b := newBench(t, "2.42.5")
	c := b.concluded(t, Request{})
	c.Report.Chunks = c.Report.Chunks[:1]
	_, bodies := letters(t, telling(b.Ledger), c)
	want := "2 Send org units 1 to 10 of 40\n3 Send org units 11 to 20 of 40\n4 Send org units 21 to 30 of 40\n5 Send org units 31 to 40 of 40"
	if got := names(bodies[0].Transaction); !strings.HasSuffix(got, want) {
		t.Errorf("steps:\n%s", got)
	}
}

func TestWhatStoppedASubmissionIsAStep(t *testing.T) {
	set := newBench(t, "2.42.5").set
	for _, test := range []struct {
		name, period string
		fault        []sandbox.Fault
		calls        StepCalls
		want, why    string
	}{
		{"a check", "202611", nil, prepared(set), "6 Check: nothing is sent", "period 202611 is not over"},
		{
			"an answer that cannot be used", "202608", []sandbox.Fault{{Kind: sandbox.LoginPage}},
			StepCalls{Step: prepareStep, Calls: []Call{try("Ask DHIS2 national for its version", "GET https://dhis2.example.org/api/system/info", "", 200, "<html>")}},
			"1 Ask DHIS2 national for its version", "instead of JSON",
		},
		{"calls that are not kept", "202611", nil, StepCalls{Step: prepareStep, Left: true}, "2 Check: nothing is sent", "period 202611 is not over"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, "2.42.5")
			b.dhis2.Fail(test.fault...)
			_, bodies := letters(t, telling(b.Ledger), b.concluded(t, Request{Period: test.period}, test.calls))
			steps := bodies[0].Transaction.Orchestrations
			last := steps[len(steps)-1]
			if last.Name != test.want || last.Error == nil || !strings.Contains(last.Error.Message, test.why) {
				t.Errorf("the last step is %q, %+v", last.Name, last.Error)
			}
		})
	}
}

func TestEveryStateHasAStatus(t *testing.T) {
	want := map[ledger.State]openhim.Status{
		ledger.Queued: openhim.Processing, ledger.Sending: openhim.Processing, ledger.Accepted: openhim.Successful, ledger.Unchanged: openhim.Successful,
		ledger.PartlyAccepted: openhim.CompletedWithErrors, ledger.Held: openhim.CompletedWithErrors, ledger.Refused: openhim.Failed,
		ledger.Failed: openhim.Failed, ledger.Cancelled: openhim.Failed,
	}
	for _, state := range slices.Sorted(maps.Keys(want)) {
		if got := StatusOf(state); got != want[state] {
			t.Errorf("%s is %s, want %s", state, got, want[state])
		}
	}
}

// The answer to the client stays JSON, however long the lists are.
func TestTheAnswerIsSmallAndWhole(t *testing.T) {
	c := chunked(1)
	for n := range 1000 {
		c.Report.Issues = append(c.Report.Issues, issue.Issue{Code: "null_value", Severity: issue.Cell, Count: 1, Text: strings.Repeat("long ", 100), OrgUnit: fmt.Sprint(n)})
		c.Report.Results = append(c.Report.Results, OrgUnitResult{OrgUnit: fmt.Sprint(n)})
		c.Report.Quarantined = append(c.Report.Quarantined, ledger.QuarantinedCell{OrgUnit: fmt.Sprint(n), Code: "null_value", Reason: strings.Repeat("long ", 50)})
	}
	c.Report.IssuesTotal = 5000
	_, bodies := letters(t, telling(nil), c)
	body := bodies[0].Transaction.Response.Body
	var read Report
	if err := json.Unmarshal([]byte(body), &read); err != nil || len(body) > bodyLimit || len(read.Issues) == 0 || len(read.Quarantined) == 0 || read.IssuesTotal != 5000 {
		t.Errorf("%d bytes, %d issues: %v", len(body), len(read.Issues), err)
	}
}

func TestRefusedRequestsThatWereNarrowedDownAreToldAsSuch(t *testing.T) {
	c := chunked(60)
	for i := range c.Report.Chunks[:50] {
		chunk := &c.Report.Chunks[i]
		chunk.FirstOrgUnit, chunk.LastOrgUnit = 1, 1200
		chunk.State, chunk.Accepted = ledger.ChunkSplit, 0
		chunk.Failure = fmt.Sprintf("refused for org unit OuClosed%03d (E8031), without it: Untimely data entry for org unit OuClosed%03d: `[202609]`", i, i)
	}
	c.Calls[1].Calls = append(c.Calls[1].Calls, try("Ask DHIS2, storing nothing, whether it takes 12 values", "POST https://dhis2.example.org/api/dataValueSets?dryRun=true", "{}", 409, "{}"))
	list, bodies := letters(t, telling(nil), c)
	steps := bodies[0].Transaction.Orchestrations
	got := names(bodies[0].Transaction)
	for _, want := range []string{
		"7 Send org units 1 to 1,200 of 1,200: refused for org unit OuClosed000 (E8031), without it\n",
		"8 Ask DHIS2, storing nothing, whether it takes 12 values\n",
		"27 Send org units 1 to 1,200 of 1,200: refused for org unit OuClosed019 (E8031), without it\n",
		"28 30 more requests refused and narrowed down\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if len(steps) > 40 || len(list[0].Body) > 1_000_000 {
		t.Errorf("%d orchestrations, %d bytes", len(steps), len(list[0].Body))
	}
	if o := steps[6]; o.Error == nil || !strings.HasPrefix(o.Error.Message, "refused for org unit OuClosed000 (E8031), without it: Untimely") {
		t.Errorf("%+v", o.Error)
	}
	if o := steps[27]; o.Error == nil || o.Error.Message != "the last one: refused for org unit OuClosed049 (E8031), without it" {
		t.Errorf("%+v", o.Error)
	}
}
