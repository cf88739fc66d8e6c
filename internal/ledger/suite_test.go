package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
)

// TestLedger runs every query, on SQLite.
func TestLedger(t *testing.T) {
	suite(t, func(t *testing.T, c *clock) *Ledger { return openAt(t, t.TempDir(), c) })
}

// TestLedgerOnPostgreSQL runs the same.
func TestLedgerOnPostgreSQL(t *testing.T) {
	database(t)
	suite(t, func(t *testing.T, c *clock) *Ledger { return openDatabase(t, database(t), c) })
}

// suite tries what a ledger promises, on an empty one each time.
func suite(t *testing.T, opened func(*testing.T, *clock) *Ledger) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *Ledger, *clock)
	}{
		{"a second request gets the first submission", testClaim},
		{"many requests at once make one submission", testClaimAtOnce},
		{"a dry run claims nothing and is not remembered", testDryRun},
		{"the queue has an end", testQueueFull},
		{"a next that fails leaves nothing", testNextFails},
		{"a submission goes from state to state", testStates},
		{"content comes back as it went in", testContent},
		{"content out of order or miscounted is refused whole", testContentRefused},
		{"a preparation that ends gives the claim back", testPreparedEnd},
		{"an accepted chunk is remembered", testAccepted},
		{"refused cells are kept and not remembered", testRefused},
		{"accepted cells are put over those held", testMerge},
		{"an unknown chunk goes again as it was", testUnknown},
		{"a split chunk gives its range back", testSplit},
		{"values set aside count as refused", testSetAside},
		{"a chunk goes again without what it was refused for", testNarrowed},
		{"nothing is booked twice", testTwice},
		{"a chunk too large is split and unsent", testSplitUnsent},
		{"what failed goes again", testReopen},
		{"what failed before anything was sent begins anew", testReopenAnew},
		{"what failed of a split chunk goes again", testReopenInASplit},
		{"what another source has sent meanwhile does not go again", testReopenShared},
		{"what must not go again does not", testReopenRefused},
		{"submissions are listed by filter and page", testList},
		{"issues have a bound", testIssues},
		{"a person cancels", testCancel},
		{"what is waited for is said", testWaiting},
		{"exchanges are kept to a bound", testExchanges},
		{"letters go in order", testOutbox},
		{"what is no news is not posted", testNews},
		{"a state is told once", testTell},
		{"the schedule is changed by one", testSchedule},
		{"a period is measured by one of its own type", testItsType},
		{"settings are kept", testSetting},
		{"old evidence is thinned", testThin},
		{"what was accepted can be forgotten", testForget},
		{"org units are registered once, whatever their source", testRegistrations},
		{"who has synced is kept in numbers", testCoverage},
		{"what a period is compared with is that of the one before", testPeriodBefore},
		{"target documents are remembered", testTargetDocuments},
		{"the sum that is remembered is proved", testTargetProof},
		{"blocks hold what a map would", testTargetBlocks},
		{"counts of targets come back as they went in", testTargetCounts},
		{"targets have numbers", testTargetNames},
		{"there is one key", testTargetKey},
		{"another server", testTargetServer},
		{"where an owner stood first is forgotten", testForgetTargetFirsts},
		{"owners are remembered, and where they first stood", testTargetOwners},
		{"an owner whose documents name others is an owner", testStrayOwner},
		{"old target documents are thinned", testTargetThin},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			test.run(t, opened(t, c), c)
		})
	}
}

func testClaim(t *testing.T, l *Ledger, _ *clock) {
	r := Request{Key: key(), AskedPeriod: "latest-closed", OrgUnits: []string{"OuA"}, RequestedBy: "clerk", Transaction: "t1"}
	called := ""
	first, began, err := l.Begin(t.Context(), r, func(_ context.Context, _ *sql.Tx, id string) error { called = id; return nil })
	must(t, err)
	if !began || first.State != Queued || called != first.ID {
		t.Errorf("got began %v, state %s, next called for %q", began, first.State, called)
	}
	if diff := cmp.Diff(first.Request, Request{Key: r.Key, AskedPeriod: "latest-closed", OrgUnits: []string{"OuA"}, RequestedBy: "clerk"}, cmp.Comparer(func(a, b dhis2.Period) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	r.Transaction = "t2"
	second, began, err := l.Begin(t.Context(), r, func(context.Context, *sql.Tx, string) error { return errors.New("called") })
	must(t, err)
	if began || second.ID != first.ID {
		t.Errorf("got a second submission %s beside %s", second.ID, first.ID)
	}
	transactions, err := l.Transactions(t.Context(), first.ID)
	must(t, err)
	if !slices.Equal(transactions, []string{"t1", "t2"}) {
		t.Errorf("got transactions %v", transactions)
	}
	must(t, l.Finish(t.Context(), first.ID, End{State: Failed}, nil))
	if third := begin(t, l, r); third.ID == first.ID {
		t.Error("a submission that has ended kept its claim")
	}
	other := r
	other.CHT = "siaya"
	begin(t, l, other)
}

func testClaimAtOnce(t *testing.T, l *Ledger, _ *clock) {
	ids := make([]string, 20)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			s, _, err := l.Begin(t.Context(), Request{Key: key()}, nil)
			if err != nil {
				t.Error(err)
			}
			ids[i] = s.ID
		})
	}
	all.Wait()
	if slices.Sort(ids); ids[0] == "" || ids[0] != ids[len(ids)-1] {
		t.Errorf("got several submissions: %v", ids)
	}
}

func testDryRun(t *testing.T, l *Ledger, _ *clock) {
	wet := begin(t, l, Request{Key: key()})
	dry := sendingWith(t, l, Request{Key: key(), DryRun: true}, part("", "OuA", "DeA=1"))
	if !dry.DryRun || dry.ID == wet.ID {
		t.Errorf("got %s beside %s", dry.ID, wet.ID)
	}
	c, values := record(t, l, dry.ID, Range{0, 1}, 10)
	must(t, l.Acknowledge(t.Context(), dry.ID, c.Number, acceptedAll(values), nil))
	if got := holds(t, l, key()); len(got) > 0 {
		t.Errorf("a dry run is remembered: %v", got)
	}
}

func testQueueFull(t *testing.T, l *Ledger, _ *clock) {
	r := Request{Key: key()}
	for i := range l.config.QueueLimit {
		r.CHT = fmt.Sprint("cht", i)
		begin(t, l, r)
	}
	r.CHT = "one more"
	if _, _, err := l.Begin(t.Context(), r, nil); !errors.Is(err, ErrQueueFull) {
		t.Errorf("got %v, want ErrQueueFull", err)
	}
	r.CHT = "cht0"
	if _, began, err := l.Begin(t.Context(), r, nil); began || err != nil {
		t.Errorf("got %v, %v; want the submission that waits", began, err)
	}
}

func testNextFails(t *testing.T, l *Ledger, _ *clock) {
	fault := errors.New("no room for the job")
	fails := func(context.Context, *sql.Tx, string) error { return fault }
	if _, _, err := l.Begin(t.Context(), Request{Key: key()}, fails); !errors.Is(err, fault) {
		t.Errorf("begin: got %v", err)
	}
	list, err := l.Submissions(t.Context(), Filter{})
	must(t, err)
	if len(list) > 0 {
		t.Errorf("a submission remains: %v", list)
	}
	s := begin(t, l, Request{Key: key()})
	if err := l.Prepared(t.Context(), s.ID, readyWith(part("", "OuA", "DeA=1")), fails); !errors.Is(err, fault) {
		t.Errorf("prepared: got %v", err)
	}
	must(t, l.Prepared(t.Context(), s.ID, readyWith(part("", "OuA", "DeA=1")), nil))
	must(t, l.Advance(t.Context(), s.ID, Sending, nil))
	c, values := record(t, l, s.ID, Range{0, 1}, 10)
	if err := l.Acknowledge(t.Context(), s.ID, c.Number, acceptedAll(values), fails); !errors.Is(err, fault) {
		t.Errorf("acknowledge: got %v", err)
	}
	if got := holds(t, l, key()); len(got) > 0 {
		t.Errorf("half an answer is booked: %v", got)
	}
	must(t, l.Acknowledge(t.Context(), s.ID, c.Number, acceptedAll(values), nil))
	if err := l.Finish(t.Context(), s.ID, End{State: Accepted}, fails); !errors.Is(err, fault) {
		t.Errorf("finish: got %v", err)
	}
	must(t, l.Finish(t.Context(), s.ID, End{State: Accepted}, nil))
	if gone, err := l.HasGone(t.Context(), key()); err != nil || !gone {
		t.Errorf("it has gone: %t, %v", gone, err)
	}
	if got, want := holds(t, l, key()), []string{"/OuA DeA.=1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func testItsType(t *testing.T, l *Ledger, _ *clock) {
	of := func(period string) Key {
		k := key()
		k.Period = periodOf(period)
		return k
	}
	for i, period := range []string{"202511", "202609", "2025Q4", "2025"} {
		must(t, l.Adopt(t.Context(), of(period), listed([]Part{part("", "OuA", "DeX=1")})))
		s, n := begin(t, l, Request{Key: of(period)}), i+1
		must(t, l.Prepared(t.Context(), s.ID, Preparation{State: Unchanged, Counts: Counts{Fetched: n, Unchanged: n}, OrgUnits: listed([]OrgUnitOutcome{{OrgUnit: "OuA", Unchanged: n}})}, nil))
	}
	for period, want := range map[string]string{
		"202610": "202609", "202609": "202609", "202608": "202511", "202510": "", "2026Q4": "2025Q4", "2025Q4": "2025Q4", "2025Q3": "", "2026": "2025", "2024": "",
	} {
		got, counts, found, err := l.Before(t.Context(), of(period))
		if err != nil || got != want || found != (want != "") || found && counts.Fetched == 0 {
			t.Errorf("before %s: got %q, %+v, %t, %v; want %q", period, got, counts, found, err, want)
		}
	}
	for period, want := range map[string]string{"202609": "202511", "2026Q1": "2025Q4", "2026": "2025", "2025Q4": ""} {
		if got, err := l.AcceptedBefore(t.Context(), of(period)); err != nil || got != want {
			t.Errorf("accepted before %s: got %q, %v; want %q", period, got, err, want)
		}
	}
	for _, period := range []string{"202609", "202610"} { // what was there already has not gone
		if gone, err := l.HasGone(t.Context(), of(period)); err != nil || gone {
			t.Errorf("%s has gone: %t, %v", period, gone, err)
		}
	}
}

func testStates(t *testing.T, l *Ledger, c *clock) {
	if _, err := l.Submission(t.Context(), "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	s := begin(t, l, Request{Key: key()})
	if err := l.Advance(t.Context(), s.ID, Sending, nil); !errors.Is(err, ErrState) {
		t.Errorf("sent before it was prepared: %v", err)
	}
	must(t, l.Advance(t.Context(), s.ID, Preparing, nil))
	must(t, l.Advance(t.Context(), s.ID, Preparing, nil)) // cut off, and begun again
	held := readyWith(part("", "OuA", "DeA=1"))
	held.State = Held
	must(t, l.Prepared(t.Context(), s.ID, held, nil))
	if _, began, _ := l.Begin(t.Context(), Request{Key: key()}, nil); began {
		t.Error("a held submission lost its claim")
	}
	must(t, l.Advance(t.Context(), s.ID, Ready, nil))
	if err := l.Prepared(t.Context(), s.ID, held, nil); !errors.Is(err, ErrState) {
		t.Errorf("prepared twice: %v", err)
	}
	must(t, l.Advance(t.Context(), s.ID, Sending, nil))
	c.at = c.at.Add(time.Minute)
	must(t, l.Finish(t.Context(), s.ID, End{State: Failed, Reason: "dhis2_unavailable", Error: "away", Remedy: "wait"}, nil))
	if err := l.Finish(t.Context(), s.ID, End{State: Accepted}, nil); !errors.Is(err, ErrState) {
		t.Errorf("finished twice: %v", err)
	}
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	if got.State != Failed || got.Reason != "dhis2_unavailable" || got.Error != "away" || got.Remedy != "wait" || !got.EndedAt.Equal(c.at) || got.Dialect != "2.43" || got.OrgUnitStates["unsent"] != 1 {
		t.Errorf("got %+v", got)
	}
}

// strange are values that no form of packing may lose.
func strange() []Part {
	return []Part{
		part("", "OuA", "DeA=0", "DeA.CoA=1", "DeB=31", "DeB.CoA=2305843009213693951", "DeC=2305843009213693952", "DeD=18446744073709551616"),
		part("", "OuB", "DeA=", "DeB=007", "DeC=-1", "DeD=1.50", "DeE=+1", "DeF= 1", "DeG=text with ünïcode"),
		{OrgUnit: "OuC", Values: []dhis2.DataValue{
			{OrgUnit: "OuC", DataElement: "with\ttab", CategoryOptionCombo: "x", Value: "1"},
			{OrgUnit: "OuC", DataElement: strings.Repeat("long", 40), Value: "2", Comment: "a comment\nof two lines"},
			{OrgUnit: "OuC", DataElement: "nul\x00", Value: "3", Comment: "\x00"},
			{OrgUnit: "OuC", DataElement: "ü", Value: strings.Repeat("v", 5000)},
		}},
		part("AoA", "OuA", "DeA=5#late"),
		part("AoA", "OuZ"),
	}
}

func testContent(t *testing.T, l *Ledger, _ *clock) {
	s := begin(t, l, Request{Key: key()})
	p := readyWith(strange()...)
	p.Counts.Fetched, p.Counts.Dropped, p.Counts.Quarantined = p.Counts.Unsent+5, 3, 2
	must(t, l.Prepared(t.Context(), s.ID, p, nil))
	if diff := cmp.Diff(gather(t, l.Content(t.Context(), s.ID, Range{0, 5})), strange()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(gather(t, l.Content(t.Context(), s.ID, Range{1, 3})), strange()[1:3]); diff != "" {
		t.Error(diff)
	}
	for _, err := range l.Content(t.Context(), s.ID, Range{0, 5}) {
		must(t, err)
		break // a reader that stops early leaves nothing open
	}
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	if got.Parts != 5 || got.Counts != p.Counts {
		t.Errorf("got %d parts, counts %+v, want %+v", got.Parts, got.Counts, p.Counts)
	}
	c, values, combo, err := l.Compose(t.Context(), s.ID, Range{0, 5}, 7)
	must(t, err)
	if c.Range != (Range{0, 1}) || len(values) != 6 || combo != "" {
		t.Errorf("got %+v with %d values", c.Range, len(values))
	}
	c, values, _, err = l.Compose(t.Context(), s.ID, Range{0, 5}, 1000)
	must(t, err)
	if c.Range != (Range{0, 3}) || len(values) != 17 || c.Size != 17 {
		t.Errorf("got %+v with %d values; a chunk is of one attribute option combo", c.Range, len(values))
	}
}

func testContentRefused(t *testing.T, l *Ledger, _ *clock) {
	s := begin(t, l, Request{Key: key()})
	miscounted := readyWith(part("", "OuA", "DeA=1"))
	miscounted.Counts.Unsent = 2
	broken := readyWith(part("", "OuA", "DeA=1"))
	broken.Content = func(yield func(Part, error) bool) {
		_ = yield(part("", "OuA", "DeA=1"), nil) && yield(Part{}, errors.New("the file is torn"))
	}
	for name, p := range map[string]Preparation{
		"out of order": readyWith(part("", "OuB", "DeA=1"), part("", "OuA", "DeA=1")),
		"twice":        readyWith(part("", "OuA", "DeA=1"), part("", "OuA", "DeB=1")),
		"miscounted":   miscounted,
		"broken":       broken,
	} {
		if err := l.Prepared(t.Context(), s.ID, p, nil); err == nil {
			t.Errorf("%s: it was stored", name)
		}
	}
	if got := gather(t, l.Content(t.Context(), s.ID, Range{0, 9})); len(got) > 0 {
		t.Errorf("some of it remains: %v", got)
	}
	must(t, l.Prepared(t.Context(), s.ID, readyWith(part("", "OuA", "DeA=1")), nil))
}

func testPreparedEnd(t *testing.T, l *Ledger, _ *clock) {
	s := begin(t, l, Request{Key: key()})
	must(t, l.Prepared(t.Context(), s.ID, Preparation{State: Unchanged, Counts: Counts{Fetched: 4, Unchanged: 4}, OrgUnits: listed([]OrgUnitOutcome{{OrgUnit: "OuA", Unchanged: 4}})}, nil))
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	if got.State != Unchanged || got.EndedAt.IsZero() || got.OrgUnitStates["unchanged"] != 1 {
		t.Errorf("got %+v", got)
	}
	begin(t, l, Request{Key: key()})
}

func testAccepted(t *testing.T, l *Ledger, _ *clock) {
	s := sendingWith(t, l, Request{Key: key()}, part("", "OuA", "DeA=1", "DeB=2#c"), part("", "OuB", "DeA=3"), part("AoA", "OuA", "DeA=4"))
	at := Range{0, 3}
	for at.From < at.To {
		c, values := record(t, l, s.ID, at, 10)
		answer := acceptedAll(values)
		answer.Exchanges = []byte(`[{"status":200}]`)
		must(t, l.Acknowledge(t.Context(), s.ID, c.Number, answer, nil))
		at.From = c.To
	}
	must(t, l.Finish(t.Context(), s.ID, End{State: Accepted}, nil))
	if diff := cmp.Diff(holds(t, l, key()), []string{"/OuA DeA.=1 DeB.=2#c", "AoA/OuA DeA.=4", "/OuB DeA.=3"}); diff != "" {
		t.Error(diff)
	}
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	if got.Counts != (Counts{Fetched: 4, Accepted: 4}) || got.OrgUnitStates["accepted"] != 2 {
		t.Errorf("got %+v, %v", got.Counts, got.OrgUnitStates)
	}
	chunks, err := l.Chunks(t.Context(), s.ID)
	must(t, err)
	if len(chunks) != 2 || chunks[0].State != ChunkAccepted || chunks[0].Accepted != 3 || chunks[0].Count.Imported != 3 || chunks[0].Attempts != 1 {
		t.Errorf("got %+v", chunks)
	}
	if at, err := l.LastAccepted(t.Context(), key()); err != nil || at.IsZero() {
		t.Errorf("got %v, %v", at, err)
	}
}

func refusalOf(index int, reason string) dhis2.Refusal {
	return dhis2.Refusal{Index: index, Code: "E7619", Class: dhis2.Bug, Reason: reason, Remedy: "correct it"}
}

func testRefused(t *testing.T, l *Ledger, _ *clock) {
	s := sendingWith(t, l, Request{Key: key()}, part("", "OuA", "DeA=1", "DeB=x"), part("", "OuB", "DeA=y"), part("", "OuC", "DeA=1"))
	c, _ := record(t, l, s.ID, Range{0, 3}, 10)
	must(t, l.Acknowledge(t.Context(), s.ID, c.Number, Answer{Outcome: dhis2.Outcome{
		State: dhis2.PartlyAccepted, Accepted: 2, Refused: []dhis2.Refusal{refusalOf(1, "no number"), refusalOf(2, "none either")},
	}}, nil))
	if diff := cmp.Diff(holds(t, l, key()), []string{"/OuA DeA.=1", "/OuC DeA.=1"}); diff != "" {
		t.Error(diff)
	}
	var cells []string
	for _, cell := range gather(t, l.Refused(t.Context(), s.ID)) {
		cells = append(cells, fmt.Sprintf("%s %s=%s %s: %s", cell.OrgUnit, cell.DataElement, cell.Value, cell.Code, cell.Reason))
	}
	if diff := cmp.Diff(cells, []string{"OuA DeB=x E7619: no number", "OuB DeA=y E7619: none either"}); diff != "" {
		t.Error(diff)
	}
	units, err := l.OrgUnits(t.Context(), s.ID, OrgUnitFilter{})
	must(t, err)
	want := []OrgUnitOutcome{
		{OrgUnit: "OuA", State: "partly_accepted", Accepted: 1, Refused: 1, Reason: "E7619: no number"},
		{OrgUnit: "OuB", State: "refused", Refused: 1, Reason: "E7619: none either"},
		{OrgUnit: "OuC", State: "accepted", Accepted: 1},
	}
	if diff := cmp.Diff(units, want); diff != "" {
		t.Error(diff)
	}
	units, err = l.OrgUnits(t.Context(), s.ID, OrgUnitFilter{State: "refused", Limit: 5})
	must(t, err)
	if len(units) != 1 || units[0].OrgUnit != "OuB" {
		t.Errorf("got %+v", units)
	}
	units, err = l.OrgUnits(t.Context(), s.ID, OrgUnitFilter{After: "OuA", Limit: 1})
	must(t, err)
	if len(units) != 1 || units[0].OrgUnit != "OuB" {
		t.Errorf("got %+v", units)
	}
}

func testMerge(t *testing.T, l *Ledger, _ *clock) {
	send := func(answer dhis2.Outcome, parts ...Part) {
		t.Helper()
		s := sendingWith(t, l, Request{Key: key()}, parts...)
		c, _ := record(t, l, s.ID, Range{0, len(parts)}, 100)
		must(t, l.Acknowledge(t.Context(), s.ID, c.Number, Answer{Outcome: answer}, nil))
		must(t, l.Finish(t.Context(), s.ID, End{State: Accepted}, nil))
	}
	send(dhis2.Outcome{State: dhis2.Accepted}, part("", "OuA", "DeA=1", "DeB=2", "DeD=4"), part("", "OuB", "DeA=1"))
	send(dhis2.Outcome{State: dhis2.PartlyAccepted, Refused: []dhis2.Refusal{refusalOf(3, "no")}}, part("", "OuA", "DeA.CoA=9", "DeB=20", "DeC=3", "DeD=x"))
	if diff := cmp.Diff(holds(t, l, key()), []string{"/OuA DeA.=1 DeA.CoA=9 DeB.=20 DeC.=3 DeD.=4", "/OuB DeA.=1"}); diff != "" {
		t.Error(diff)
	}
}

func unknownOutcome() Answer {
	return Answer{Outcome: dhis2.Outcome{State: dhis2.Unknown, Failure: &dhis2.Error{What: "no answer"}}}
}

func testUnknown(t *testing.T, l *Ledger, _ *clock) {
	s := sendingWith(t, l, Request{Key: key()}, part("", "OuA", "DeA=1"), part("", "OuB", "DeA=2"))
	c, values := record(t, l, s.ID, Range{0, 2}, 10)
	must(t, l.Acknowledge(t.Context(), s.ID, c.Number, unknownOutcome(), nil))
	units, err := l.OrgUnits(t.Context(), s.ID, OrgUnitFilter{})
	must(t, err)
	if units[0].State != "unknown" || units[0].Reason != "no answer" {
		t.Errorf("got %+v", units[0])
	}
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	if got.Counts != (Counts{Fetched: 2, Unknown: 2}) || len(holds(t, l, key())) > 0 {
		t.Errorf("got %+v, and remembered %v", got.Counts, holds(t, l, key()))
	}
	chunks, err := l.Chunks(t.Context(), s.ID)
	must(t, err)
	again, combo, err := l.Values(t.Context(), s.ID, chunks[0])
	must(t, err)
	if diff := cmp.Diff(again, values); diff != "" || combo != "" {
		t.Error(diff)
	}
	other := chunks[0]
	other.Digest = "another text"
	if _, err := l.RecordChunk(t.Context(), s.ID, other); !errors.Is(err, ErrChunk) {
		t.Errorf("another text went: %v", err)
	}
	c, err = l.RecordChunk(t.Context(), s.ID, chunks[0])
	must(t, err)
	if c.Attempts != 2 || len(Remaining(2, []Chunk{c})) > 0 {
		t.Errorf("got %+v", c)
	}
	must(t, l.Acknowledge(t.Context(), s.ID, c.Number, acceptedAll(values), nil))
	got, err = l.Submission(t.Context(), s.ID)
	must(t, err)
	if got.Counts != (Counts{Fetched: 2, Accepted: 2}) || got.OrgUnitStates["accepted"] != 2 {
		t.Errorf("got %+v %v", got.Counts, got.OrgUnitStates)
	}
	units, err = l.OrgUnits(t.Context(), s.ID, OrgUnitFilter{})
	must(t, err)
	if units[0].Reason != "" {
		t.Errorf("the reason stays: %+v", units[0])
	}
}

func testSplit(t *testing.T, l *Ledger, _ *clock) {
	s := sendingWith(t, l, Request{Key: key()}, part("", "OuA", "DeA=1"), part("", "OuB", "DeA=2"), part("", "OuC", "DeA=3"))
	c, _ := record(t, l, s.ID, Range{0, 3}, 10)
	answer := unknownOutcome()
	answer.Split = true
	must(t, l.Acknowledge(t.Context(), s.ID, c.Number, answer, nil))
	chunks, err := l.Chunks(t.Context(), s.ID)
	must(t, err)
	if diff := cmp.Diff(Remaining(3, chunks), []Range{{0, 3}}); diff != "" {
		t.Error(diff)
	}
	_, values := record(t, l, s.ID, Range{1, 2}, 10)
	must(t, l.Acknowledge(t.Context(), s.ID, 2, acceptedAll(values), nil))
	chunks, err = l.Chunks(t.Context(), s.ID)
	must(t, err)
	if diff := cmp.Diff(Remaining(3, chunks), []Range{{0, 1}, {2, 3}}); diff != "" {
		t.Error(diff)
	}
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	if got.Counts != (Counts{Fetched: 3, Accepted: 1, Unknown: 2}) {
		t.Errorf("what may be there is not told as unknown: %+v", got.Counts)
	}
	third, _ := record(t, l, s.ID, Range{2, 3}, 10)
	must(t, l.Acknowledge(t.Context(), s.ID, third.Number, Answer{Outcome: dhis2.Outcome{State: dhis2.Unsent}}, nil))
	if got, err = l.Submission(t.Context(), s.ID); err != nil || !third.Tried || got.Counts != (Counts{Fetched: 3, Accepted: 1, Unknown: 2}) {
		t.Errorf("a request that did not arrive undid one that may have: %+v, %v", got.Counts, err)
	}
	if _, err := l.RecordChunk(t.Context(), s.ID, Chunk{Range: Range{2, 4}}); err == nil {
		t.Error("a range beyond the content was recorded")
	}
}

func testSetAside(t *testing.T, l *Ledger, _ *clock) {
	s := sendingWith(t, l, Request{Key: key()}, part("", "OuA", "DeA=1", "DeB=x"), part("", "OuB", "DeA=2", "DeB=3"))
	c, values, _, err := l.Compose(t.Context(), s.ID, Range{0, 2}, 10)
	must(t, err)
	c.SetAside, c.Size, c.Digest = []dhis2.Refusal{refusalOf(1, "not this one")}, 3, "d"
	c, err = l.RecordChunk(t.Context(), s.ID, c)
	must(t, err)
	left, _, err := l.Values(t.Context(), s.ID, c)
	must(t, err)
	if diff := cmp.Diff(left, []dhis2.DataValue{values[0], values[2], values[3]}); diff != "" {
		t.Error(diff)
	}
	must(t, l.Acknowledge(t.Context(), s.ID, c.Number, unknownOutcome(), nil))
	must(t, l.Acknowledge(t.Context(), s.ID, c.Number, Answer{Outcome: dhis2.Outcome{State: dhis2.PartlyAccepted, Refused: []dhis2.Refusal{refusalOf(2, "nor this")}}}, nil))
	if diff := cmp.Diff(holds(t, l, key()), []string{"/OuA DeA.=1", "/OuB DeA.=2"}); diff != "" {
		t.Error(diff)
	}
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	if got.Counts != (Counts{Fetched: 4, Accepted: 2, Refused: 2}) {
		t.Errorf("got %+v", got.Counts)
	}
}

func testNarrowed(t *testing.T, l *Ledger, _ *clock) {
	s := sendingWith(t, l, Request{Key: key()}, part("", "OuA", "DeA=1", "DeB=2"), part("", "OuB", "DeA=3"))
	c, _ := record(t, l, s.ID, Range{0, 2}, 10)
	// In one transaction the first one is split and the next one recorded, as it goes.
	narrowed := Chunk{Range: c.Range, SetAside: []dhis2.Refusal{refusalOf(1, "not this one")}, Size: 2, Digest: "d"}
	must(t, l.Acknowledge(t.Context(), s.ID, c.Number, Answer{Split: true, Outcome: dhis2.Outcome{State: dhis2.StateRefused}}, func(ctx context.Context, tx *sql.Tx, id string) (err error) {
		narrowed, err = l.RecordChunkTx(ctx, tx, id, narrowed)
		return err
	}))
	chunks, err := l.Chunks(t.Context(), s.ID)
	must(t, err)
	if len(chunks) != 2 || chunks[0].State != ChunkSplit || chunks[1].State != ChunkSending || len(chunks[1].SetAside) != 1 || len(Remaining(2, chunks)) != 0 {
		t.Fatalf("got %+v", chunks)
	}
	must(t, l.Acknowledge(t.Context(), s.ID, narrowed.Number, Answer{Outcome: dhis2.Outcome{State: dhis2.Accepted, Accepted: 2}}, nil))
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	chunks, err = l.Chunks(t.Context(), s.ID)
	must(t, err)
	if got.Counts != (Counts{Fetched: 3, Accepted: 2, Refused: 1}) || chunks[1].State != ChunkPartlyAccepted {
		t.Errorf("got %+v, chunk %s", got.Counts, chunks[1].State)
	}
	// What was set aside goes again with the whole of it.
	must(t, l.Finish(t.Context(), s.ID, End{State: PartlyAccepted}, nil))
	if _, err := l.Reopen(t.Context(), s.ID, nil); err != nil {
		t.Fatal(err)
	}
	chunks, err = l.Chunks(t.Context(), s.ID)
	must(t, err)
	if diff := cmp.Diff(Remaining(2, chunks), []Range{{0, 2}}); diff != "" {
		t.Error(diff)
	}
}

func testSplitUnsent(t *testing.T, l *Ledger, _ *clock) {
	s := sendingWith(t, l, Request{Key: key()}, part("", "OuA", "DeA=1"), part("", "OuB", "DeA=2"), part("", "OuC", "DeA=3"))
	c, _ := record(t, l, s.ID, Range{0, 2}, 10)
	must(t, l.Acknowledge(t.Context(), s.ID, c.Number, Answer{Split: true, Outcome: dhis2.Outcome{State: dhis2.Unsent}}, nil))
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	chunks, err := l.Chunks(t.Context(), s.ID)
	must(t, err)
	if got.Counts != (Counts{Fetched: 3, Unsent: 3}) {
		t.Errorf("got %+v", got.Counts)
	}
	if diff := cmp.Diff(Remaining(3, chunks), []Range{{0, 2}, {2, 3}}); diff != "" {
		t.Errorf("a range goes over the border of a split chunk: %s", diff)
	}
}

func testReopen(t *testing.T, l *Ledger, _ *clock) {
	s := sendingWith(t, l, Request{Key: key()}, part("", "OuA", "DeA=1", "DeB=2"), part("", "OuB", "DeA=3"), part("", "OuC", "DeA=4"), part("", "OuD", "DeA=5"))
	partly, _ := record(t, l, s.ID, Range{0, 1}, 10)
	must(t, l.Acknowledge(t.Context(), s.ID, partly.Number, Answer{Outcome: dhis2.Outcome{State: dhis2.PartlyAccepted, Refused: []dhis2.Refusal{refusalOf(1, "no")}}}, nil))
	refused, _ := record(t, l, s.ID, Range{1, 2}, 10)
	must(t, l.Acknowledge(t.Context(), s.ID, refused.Number, Answer{Outcome: dhis2.Outcome{State: dhis2.StateRefused, Refused: []dhis2.Refusal{refusalOf(0, "no")}}}, nil))
	fine, values := record(t, l, s.ID, Range{2, 3}, 10)
	must(t, l.Acknowledge(t.Context(), s.ID, fine.Number, acceptedAll(values), nil))
	must(t, l.Finish(t.Context(), s.ID, End{State: PartlyAccepted, Reason: "left_behind"}, nil))
	called := ""
	state, err := l.Reopen(t.Context(), s.ID, func(_ context.Context, _ *sql.Tx, id string) error { called = id; return nil })
	must(t, err)
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	if state != Ready || called != s.ID || got.State != Ready || got.Reason != "" || !got.EndedAt.IsZero() || got.Retries != 1 {
		t.Errorf("got %s, %+v", state, got)
	}
	if want := (Counts{Fetched: 5, Accepted: 1, Unknown: 2, Unsent: 2}); got.Counts != want {
		t.Errorf("got %+v, want %+v", got.Counts, want)
	}
	if diff := cmp.Diff(got.OrgUnitStates, map[string]int{"unknown": 1, "unsent": 2, "accepted": 1}); diff != "" {
		t.Error(diff)
	}
	chunks, err := l.Chunks(t.Context(), s.ID)
	must(t, err)
	if diff := cmp.Diff(Remaining(4, chunks), []Range{{0, 1}, {1, 2}, {3, 4}}); diff != "" {
		t.Error(diff)
	}
	if again, began, err := l.Begin(t.Context(), Request{Key: key()}, nil); began || err != nil || again.ID != s.ID {
		t.Errorf("it has no claim: %v", err)
	}
	must(t, l.Advance(t.Context(), s.ID, Sending, nil))
	for _, r := range Remaining(4, chunks) {
		c, values := record(t, l, s.ID, r, 10)
		must(t, l.Acknowledge(t.Context(), s.ID, c.Number, acceptedAll(values), nil))
	}
	if got, err = l.Submission(t.Context(), s.ID); err != nil || got.Counts != (Counts{Fetched: 5, Accepted: 5}) {
		t.Errorf("got %+v, %v", got.Counts, err)
	}
}

func testReopenAnew(t *testing.T, l *Ledger, _ *clock) {
	s := begin(t, l, Request{Key: key()})
	p := readyWith(part("", "OuA", "DeA=1"))
	p.Issues = []issue.Issue{{Code: "c", Severity: issue.Note, Count: 1}}
	must(t, l.Prepared(t.Context(), s.ID, p, nil))
	must(t, l.Finish(t.Context(), s.ID, End{State: Failed, Reason: "dhis2_unavailable"}, nil))
	state, err := l.Reopen(t.Context(), s.ID, nil)
	must(t, err)
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	if state != Queued || got.State != Queued || got.Counts != (Counts{}) || got.IssuesTotal > 0 || got.Parts > 0 || len(got.OrgUnitStates) > 0 {
		t.Errorf("got %s, %+v", state, got)
	}
	must(t, l.Prepared(t.Context(), s.ID, readyWith(part("", "OuA", "DeA=2")), nil))
}

func testReopenRefused(t *testing.T, l *Ledger, c *clock) {
	accepted := sendingWith(t, l, Request{Key: key()}, part("", "OuA", "DeA=1"))
	if _, err := l.Reopen(t.Context(), accepted.ID, nil); !errors.Is(err, ErrState) {
		t.Errorf("one that is being sent: %v", err)
	}
	chunk, values := record(t, l, accepted.ID, Range{0, 1}, 10)
	must(t, l.Acknowledge(t.Context(), accepted.ID, chunk.Number, acceptedAll(values), nil))
	must(t, l.Finish(t.Context(), accepted.ID, End{State: Accepted}, nil))
	if _, err := l.Reopen(t.Context(), accepted.ID, nil); !errors.Is(err, ErrState) {
		t.Errorf("one of which nothing failed: %v", err)
	}
	old := begin(t, l, Request{Key: key()})
	must(t, l.Finish(t.Context(), old.ID, End{State: Failed}, nil))
	newer := begin(t, l, Request{Key: key()})
	if _, err := l.Reopen(t.Context(), old.ID, nil); !errors.Is(err, ErrNewer) {
		t.Errorf("one that is not the last: %v", err)
	}
	must(t, l.Finish(t.Context(), newer.ID, End{State: Failed}, nil))
	c.at = c.at.AddDate(0, 14, 0)
	_, err := l.Thin(t.Context(), Keep{})
	must(t, err)
	if _, err := l.Reopen(t.Context(), newer.ID, nil); !errors.Is(err, ErrThinned) {
		t.Errorf("one whose content is gone: %v", err)
	}
	if _, err := l.Reopen(t.Context(), "none", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("none: %v", err)
	}
}

func testTwice(t *testing.T, l *Ledger, _ *clock) {
	s := sendingWith(t, l, Request{Key: key()}, part("", "OuA", "DeA=1"))
	c, values := record(t, l, s.ID, Range{0, 1}, 10)
	must(t, l.Acknowledge(t.Context(), s.ID, c.Number, acceptedAll(values), nil))
	if err := l.Acknowledge(t.Context(), s.ID, c.Number, acceptedAll(values), nil); !errors.Is(err, ErrState) {
		t.Errorf("answered twice: %v", err)
	}
	if _, err := l.RecordChunk(t.Context(), s.ID, c); !errors.Is(err, ErrState) {
		t.Errorf("sent twice: %v", err)
	}
	if err := l.Acknowledge(t.Context(), s.ID, 7, acceptedAll(values), nil); !errors.Is(err, ErrChunk) {
		t.Errorf("an answer to nothing: %v", err)
	}
}

func testList(t *testing.T, l *Ledger, _ *clock) {
	var ids []string
	for i := range 5 {
		r := Request{Key: key()}
		r.CHT = fmt.Sprint("cht", i)
		ids = append(ids, begin(t, l, r).ID)
	}
	must(t, l.Finish(t.Context(), ids[1], End{State: Failed}, nil))
	for _, test := range []struct {
		name   string
		filter Filter
		want   []int
	}{
		{"all", Filter{}, []int{4, 3, 2, 1, 0}},
		{"a page", Filter{Limit: 2}, []int{4, 3}},
		{"the page after", Filter{Limit: 2, After: ids[3]}, []int{2, 1}},
		{"states", Filter{States: []State{Failed, Accepted}}, []int{1}},
		{"source", Filter{CHT: "cht2", DataSet: "DsMchMonth1", DHIS2: "national", Period: periodOf("202610")}, []int{2}},
		{"another period", Filter{Period: periodOf("202609")}, nil},
	} {
		page, err := l.Submissions(t.Context(), test.filter)
		must(t, err)
		var got, want []string
		for _, s := range page {
			got = append(got, s.ID)
		}
		for _, i := range test.want {
			want = append(want, ids[i])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", test.name, got, want)
		}
	}
}

func testIssues(t *testing.T, l *Ledger, _ *clock) {
	s := begin(t, l, Request{Key: key()})
	var many []issue.Issue
	for i := range issue.ListLimit - 1 {
		many = append(many, issue.Issue{Code: fmt.Sprint("code", i), Severity: issue.Cell, Count: 1, Text: "text", Remedy: "remedy"})
	}
	p := readyWith(part("", "OuA", "DeA=1"))
	p.Issues, p.IssuesTotal = many, 5000
	must(t, l.Prepared(t.Context(), s.ID, p, nil))
	must(t, l.Finish(t.Context(), s.ID, End{State: Failed, Issues: many[:2]}, nil))
	got, err := l.Issues(t.Context(), s.ID)
	must(t, err)
	if len(got) != issue.ListLimit || got[0].Code != "code0" || got[issue.ListLimit-1].Code != "code0" {
		t.Errorf("got %d issues", len(got))
	}
	if s, err = l.Submission(t.Context(), s.ID); err != nil || s.IssuesTotal != 5002 {
		t.Errorf("got a total of %d, %v", s.IssuesTotal, err)
	}
}

func testCancel(t *testing.T, l *Ledger, _ *clock) {
	s := begin(t, l, Request{Key: key()})
	for _, test := range []struct {
		by   string
		want bool
	}{{"clerk", true}, {"another", false}} {
		if got, err := l.Cancel(t.Context(), s.ID, test.by); err != nil || got != test.want {
			t.Errorf("by %s: got %v, %v", test.by, got, err)
		}
	}
	if by, err := l.Cancelled(t.Context(), s.ID); err != nil || by != "clerk" {
		t.Errorf("got %q, %v", by, err)
	}
	if _, err := l.Cancel(t.Context(), "none", "clerk"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	must(t, l.Finish(t.Context(), s.ID, End{State: Cancelled, Reason: "cancelled"}, nil))
	if asked, err := l.Cancel(t.Context(), s.ID, "clerk"); asked || err != nil {
		t.Errorf("one that has ended was cancelled: %v", err)
	}
}

func testWaiting(t *testing.T, l *Ledger, c *clock) {
	s := begin(t, l, Request{Key: key()})
	since := c.at
	must(t, l.Waiting(t.Context(), s.ID, "DHIS2 is away"))
	c.at = c.at.Add(time.Hour)
	must(t, l.Waiting(t.Context(), s.ID, "DHIS2 is away"))
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	if got.WaitingFor != "DHIS2 is away" || !got.WaitingSince.Equal(since) {
		t.Errorf("got %q since %v", got.WaitingFor, got.WaitingSince)
	}
	for _, step := range []struct {
		cause string
		since time.Time
	}{
		{"DHIS2 national: connection refused", c.at},
		{"DHIS2 national: no answer in time", c.at},
		{"CHT kisumu: no answer in time", c.at.Add(time.Hour)},
	} {
		must(t, l.Waiting(t.Context(), s.ID, step.cause))
		if got, err = l.Submission(t.Context(), s.ID); err != nil || got.WaitingFor != step.cause || !got.WaitingSince.Equal(step.since) {
			t.Errorf("got %q since %v, want since %v, %v", got.WaitingFor, got.WaitingSince, step.since, err)
		}
		if step.cause == "DHIS2 national: no answer in time" {
			c.at = c.at.Add(time.Hour)
		}
	}
	must(t, l.Waiting(t.Context(), s.ID, ""))
	if got, err = l.Submission(t.Context(), s.ID); err != nil || got.WaitingFor != "" || !got.WaitingSince.IsZero() {
		t.Errorf("got %q since %v, %v", got.WaitingFor, got.WaitingSince, err)
	}
}

func testExchanges(t *testing.T, l *Ledger, _ *clock) {
	s := begin(t, l, Request{Key: key()})
	must(t, l.AddExchanges(t.Context(), s.ID, "fetch", []byte(`[1]`)))
	must(t, l.AddExchanges(t.Context(), s.ID, "fetch", nil))
	must(t, l.AddExchanges(t.Context(), s.ID, "report", make([]byte, ExchangeLimit+1)))
	got := gather(t, l.Exchanges(t.Context(), s.ID))
	if len(got) != 2 || string(got[0].Body) != "[1]" || got[0].Step != "fetch" || got[1].Body != nil || got[1].Size != ExchangeLimit+1 {
		t.Errorf("got %d: %.200v", len(got), got)
	}
}

func testOutbox(t *testing.T, l *Ledger, c *clock) {
	ctx := t.Context()
	posted := c.at
	for _, subject := range []string{"a", "b", "c"} {
		must(t, l.Post(ctx, Letter{Kind: "report", Subject: subject, Body: []byte("body " + subject)}))
	}
	must(t, l.Post(ctx, Letter{Kind: "notice", Subject: "a", Body: []byte("n")}))
	first, due, err := l.NextLetter(ctx, "report")
	must(t, err)
	if !due || first.Subject != "a" || string(first.Body) != "body a" {
		t.Fatalf("got %+v, %v", first, due)
	}
	must(t, l.Postpone(ctx, first, c.at.Add(time.Hour), "OpenHIM is away"))
	if backlog, err := l.Backlog(ctx, "report", "none"); err != nil || backlog != (Backlog{Waiting: 3, Failed: 1, Oldest: posted}) {
		t.Errorf("of the reports: got %+v, %v", backlog, err)
	}
	if backlog, err := l.Backlog(ctx, "none"); err != nil || backlog != (Backlog{}) {
		t.Errorf("of a kind that is not there: got %+v, %v", backlog, err)
	}
	if _, due, err = l.NextLetter(ctx, "report"); due || err != nil {
		t.Errorf("the second letter overtook the first: %v", err)
	}
	c.at = c.at.Add(time.Hour)
	first, _, err = l.NextLetter(ctx, "report")
	must(t, err)
	if first.Attempts != 1 || first.Failure != "OpenHIM is away" {
		t.Errorf("got %+v", first)
	}
	must(t, l.Park(ctx, first, "OpenHIM refuses it"))
	second, _, err := l.NextLetter(ctx, "report")
	must(t, err)
	if backlog, err := l.Backlog(ctx); err != nil || backlog != (Backlog{Waiting: 3, Parked: 1, Oldest: posted}) {
		t.Errorf("got %+v, %v", backlog, err)
	}
	must(t, l.Delivered(ctx, second))
	if err := l.Delivered(ctx, second); !errors.Is(err, ErrStale) {
		t.Errorf("delivered twice: %v", err)
	}
	must(t, l.Post(ctx, Letter{Kind: "report", Subject: "b", Body: []byte("anew")}))
	third, _, err := l.NextLetter(ctx, "report")
	must(t, err)
	must(t, l.Delivered(ctx, third))
	last, _, err := l.NextLetter(ctx, "report")
	must(t, err)
	if third.Subject != "c" || last.Subject != "b" || string(last.Body) != "anew" {
		t.Errorf("got %s, then %s", third.Subject, last.Subject)
	}
	if err := l.Post(ctx, Letter{Kind: "report", Subject: "large", Body: make([]byte, LetterLimit+1)}); err == nil {
		t.Error("a letter without bound was kept")
	}
}

func testTell(t *testing.T, l *Ledger, _ *clock) {
	s := begin(t, l, Request{Key: key()})
	tell := func() (first bool) {
		t.Helper()
		now, err := l.Submission(t.Context(), s.ID)
		must(t, err)
		told := now.IsTold()
		first, err = l.Tell(t.Context(), now, []Letter{{Kind: "report", Subject: "a", Body: []byte(now.State)}})
		must(t, err)
		if told == first {
			t.Errorf("%s: told before %v, first %v", now.State, told, first)
		}
		return first
	}
	held := readyWith(part("", "OuA", "DeA=1"))
	held.State = Held
	must(t, l.Prepared(t.Context(), s.ID, held, nil))
	for _, step := range []struct {
		name string
		do   func() error
		want bool
	}{
		{"held", nil, true},
		{"held, again", nil, false},
		{"failed", func() error { return l.Finish(t.Context(), s.ID, End{State: Failed}, nil) }, true},
		{"failed, again", nil, false},
		{"failed once more after a retry", func() error {
			_, err := l.Reopen(t.Context(), s.ID, nil)
			return errors.Join(err, l.Finish(t.Context(), s.ID, End{State: Failed}, nil))
		}, true},
	} {
		if step.do != nil {
			must(t, step.do())
		}
		if got := tell(); got != step.want {
			t.Errorf("%s: told %v, want %v", step.name, got, step.want)
		}
		letter, due, err := l.NextLetter(t.Context(), "report")
		must(t, err)
		if due != step.want {
			t.Errorf("%s: a letter waits: %v", step.name, due)
		}
		if due {
			must(t, l.Delivered(t.Context(), letter))
		}
	}
}

func testNews(t *testing.T, l *Ledger, _ *clock) {
	ctx := t.Context()
	for _, step := range []struct {
		version string
		follows bool
		want    bool
	}{
		{"ended", true, false}, // nobody was told that it began
		{"away", false, true},
		{"away", false, false},
		{"refused", false, true},
		{"ended", true, true},
		{"ended", true, false},
		{"refused", false, true},
		{"", false, true},
	} {
		must(t, l.Post(ctx, Letter{Kind: "notice", Subject: "DHIS2", Version: step.version, Follows: step.follows, Body: []byte("b")}))
		letter, due, err := l.NextLetter(ctx, "notice")
		must(t, err)
		if due != step.want || due && letter.Version != step.version {
			t.Errorf("%+v: got %v, %+v", step, due, letter)
		}
		if due {
			must(t, l.Delivered(ctx, letter))
		}
	}
}

func testSchedule(t *testing.T, l *Ledger, c *clock) {
	ctx := t.Context()
	p := Planned{Key: key(), DueAt: c.at.Add(time.Hour)}
	must(t, l.Plan(ctx, p))
	if err := l.Plan(ctx, p); !errors.Is(err, ErrStale) {
		t.Errorf("planned twice: %v", err)
	}
	if due, err := l.Due(ctx, 0); err != nil || len(due) > 0 {
		t.Errorf("got %v, %v", due, err)
	}
	c.at = c.at.Add(time.Hour)
	due, err := l.Due(ctx, 0)
	must(t, err)
	if len(due) != 1 || due[0].Key != key() || !due[0].DueAt.Equal(c.at) || due[0].Revision != 1 {
		t.Fatalf("got %+v", due)
	}
	next := due[0]
	next.DueAt, next.StartedAt, next.Done = c.at.Add(24*time.Hour), c.at, true
	plan := func(ctx context.Context, tx *sql.Tx, id string) error {
		next.Submission = id
		return l.PlanTx(ctx, tx, next)
	}
	first, _, err := l.Begin(ctx, Request{Key: key()}, plan)
	must(t, err)
	must(t, l.Finish(ctx, first.ID, End{State: Failed}, nil))
	if _, _, err = l.Begin(ctx, Request{Key: key()}, plan); !errors.Is(err, ErrStale) {
		t.Errorf("another that found it due began a second one: %v", err)
	}
	all, err := l.Schedule(ctx)
	must(t, err)
	if len(all) != 1 || !all[0].Done || all[0].Revision != 2 || all[0].Submission != first.ID || !all[0].StartedAt.Equal(c.at) {
		t.Errorf("got %+v", all)
	}
}

func testSetting(t *testing.T, l *Ledger, c *clock) {
	if value, saved, err := l.Setting(t.Context(), "console"); value != nil || !saved.IsZero() || err != nil {
		t.Errorf("got %q, %v, %v", value, saved, err)
	}
	must(t, l.SaveSetting(t.Context(), "console", []byte("first")))
	c.at = c.at.Add(time.Hour)
	must(t, l.SaveSetting(t.Context(), "console", []byte("second")))
	if value, saved, err := l.Setting(t.Context(), "console"); string(value) != "second" || !saved.Equal(c.at) || err != nil {
		t.Errorf("got %q, %v, %v", value, saved, err)
	}
	if err := l.SaveSetting(t.Context(), "console", make([]byte, SettingLimit+1)); err == nil {
		t.Error("a setting without bound was kept")
	}
	must(t, l.Ping(t.Context()))
}

func testThin(t *testing.T, l *Ledger, c *clock) {
	ctx := t.Context()
	send := func(k Key) Submission {
		s := sendingWith(t, l, Request{Key: k, Transaction: "t"}, part("", "OuA", "DeA=1"))
		chunk, values := record(t, l, s.ID, Range{0, 1}, 10)
		answer := acceptedAll(values)
		answer.Exchanges = []byte("[]")
		must(t, l.Acknowledge(ctx, s.ID, chunk.Number, answer, nil))
		must(t, l.Finish(ctx, s.ID, End{State: Accepted}, nil))
		return s
	}
	old := send(key())
	quiet := begin(t, l, Request{Key: key()})
	must(t, l.Prepared(ctx, quiet.ID, Preparation{State: Unchanged}, nil))
	stuck := begin(t, l, Request{Key: Key{DHIS2: "d", DataSet: "s", Period: periodOf("202610"), CHT: "c"}})
	must(t, l.Post(ctx, Letter{Kind: "report", Subject: "a", Body: []byte("b")}))
	c.at = c.at.AddDate(0, 12, 0)
	young := send(Key{DHIS2: "d", DataSet: "s", Period: periodOf("202710"), CHT: "c"})
	c.at = c.at.AddDate(0, 2, 0)
	thinned, err := l.Thin(ctx, Keep{})
	must(t, err)
	if thinned != 2 {
		t.Errorf("got %d thinned, want 2", thinned)
	}
	got, err := l.Submission(ctx, old.ID)
	must(t, err)
	chunks, err := l.Chunks(ctx, old.ID)
	must(t, err)
	if got.ThinnedAt.IsZero() || got.Counts.Accepted != 1 || got.OrgUnitStates["accepted"] != 1 || len(chunks) > 0 || len(gather(t, l.Exchanges(ctx, old.ID))) > 0 {
		t.Errorf("got %+v with chunks %v", got, chunks)
	}
	if _, err := l.Submission(ctx, quiet.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("a run that changed nothing stays: %v", err)
	}
	for _, id := range []string{stuck.ID, young.ID} {
		if s, err := l.Submission(ctx, id); err != nil || !s.ThinnedAt.IsZero() {
			t.Errorf("got %+v, %v", s, err)
		}
	}
	if len(holds(t, l, key())) != 1 {
		t.Error("what DHIS2 accepted is gone too early")
	}
	if b, err := l.Backlog(ctx); err != nil || b.Waiting != 1 {
		t.Errorf("a letter that waits is gone: %+v, %v", b, err)
	}
	c.at = c.at.AddDate(12, 0, 0)
	_, err = l.Thin(ctx, Keep{})
	must(t, err)
	if _, err := l.Submission(ctx, old.ID); !errors.Is(err, ErrNotFound) || len(holds(t, l, key())) > 0 {
		t.Errorf("something stays for ever: %v", err)
	}
}

func testForget(t *testing.T, l *Ledger, _ *clock) {
	// An org unit of two attribute option combos has two parts, and is one.
	s := sendingWith(t, l, Request{Key: key()}, part("", "OuA", "DeA=1"), part("", "OuB", "DeA=2"), part("", "OuC", "DeA=3"), part("AocB", "OuA", "DeA=4"), part("AocB", "OuB", "DeA=5"))
	for _, some := range []Range{{0, 3}, {3, 5}} {
		c, values := record(t, l, s.ID, some, 10)
		must(t, l.Acknowledge(t.Context(), s.ID, c.Number, acceptedAll(values), nil))
	}
	if n, err := l.Forget(t.Context(), key()); n != 0 || !errors.Is(err, ErrState) {
		t.Errorf("of an unfinished one: got %d, %v", n, err)
	}
	must(t, l.Finish(t.Context(), s.ID, End{State: Accepted}, nil))
	if n, err := l.Forget(t.Context(), key(), "OuA", "OuX"); n != 1 || err != nil {
		t.Errorf("of one org unit: got %d, %v", n, err)
	}
	if n, err := l.Forget(t.Context(), key()); n != 2 || err != nil {
		t.Errorf("of all: got %d, %v", n, err)
	}
	if n, err := l.Forget(t.Context(), Key{Period: periodOf("202601")}); n != 0 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if got := holds(t, l, key()); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

// testReopenInASplit lets a chunk go again that was made of a split one: its values are counted where they are now, not where
// those of the split one were.
func testReopenInASplit(t *testing.T, l *Ledger, _ *clock) {
	s := sendingWith(t, l, Request{Key: key()}, part("", "OuA", "DeA=1"), part("", "OuB", "DeA=1", "DeB=2"))
	first, _ := record(t, l, s.ID, Range{0, 2}, 100)
	split := unknownOutcome()
	split.Split = true
	must(t, l.Acknowledge(t.Context(), s.ID, first.Number, split, nil))
	one, values := record(t, l, s.ID, Range{0, 1}, 100)
	must(t, l.Acknowledge(t.Context(), s.ID, one.Number, acceptedAll(values), nil))
	two, _ := record(t, l, s.ID, Range{1, 2}, 100)
	refused := Answer{Outcome: dhis2.Outcome{State: dhis2.StateRefused, Refused: []dhis2.Refusal{refusalOf(0, "closed"), refusalOf(1, "closed")}}}
	must(t, l.Acknowledge(t.Context(), s.ID, two.Number, refused, nil))
	must(t, l.Finish(t.Context(), s.ID, End{State: PartlyAccepted}, nil))
	_, err := l.Reopen(t.Context(), s.ID, nil)
	must(t, err)
	must(t, l.Advance(t.Context(), s.ID, Sending, nil))
	again, values := record(t, l, s.ID, Range{1, 2}, 100)
	must(t, l.Acknowledge(t.Context(), s.ID, again.Number, acceptedAll(values), nil))
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	if want := (Counts{Fetched: 3, Accepted: 3}); got.Counts != want {
		t.Errorf("got %+v, want %+v", got.Counts, want)
	}
}

func testReopenShared(t *testing.T, l *Ledger, _ *clock) {
	s := sendingWith(t, l, Request{Key: key()}, part("", "OuA", "DeA=1"))
	c, _ := record(t, l, s.ID, Range{0, 1}, 100)
	must(t, l.Acknowledge(t.Context(), s.ID, c.Number, Answer{Outcome: dhis2.Outcome{State: dhis2.Unsent}}, nil))
	must(t, l.Finish(t.Context(), s.ID, End{State: Failed}, nil))
	other := key()
	other.CHT = "siaya"
	second := sendingWith(t, l, Request{Key: other}, part("", "OuA", "DeA=2"))
	var shared *SharedError
	if _, err := l.Reopen(t.Context(), s.ID, nil); !errors.As(err, &shared) || shared.OrgUnit != "OuA" || shared.CHT != "siaya" {
		t.Errorf("while the other source sends it: %v", err)
	}
	c, values := record(t, l, second.ID, Range{0, 1}, 100)
	must(t, l.Acknowledge(t.Context(), second.ID, c.Number, acceptedAll(values), nil))
	must(t, l.Finish(t.Context(), second.ID, End{State: Accepted}, nil))
	if _, err := l.Reopen(t.Context(), s.ID, nil); !errors.As(err, &shared) {
		t.Errorf("after the other source sent it: %v", err)
	}
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	if got.State != Failed {
		t.Errorf("it is %s", got.State)
	}
}
