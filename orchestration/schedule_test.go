package orchestration

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// scheduledBench is a bench whose data set goes every night at three, on a clock that tests set.
func scheduledBench(t *testing.T) (b *bench, s *Scheduler, now *time.Time) {
	t.Helper()
	b = newBench(t, "2.43.1")
	at := b.Now()
	now = &at
	b.Now = func() time.Time { return *now }
	b.DataSets[0].FirstPeriod, _ = dhis2.ParsePeriod("202608")
	b.DataSets[0].Operation = Operation{Enabled: true, Schedule: "0 3 * * *", FirstAfterDays: 5, RereadDays: 30}
	b.remember(t, t.TempDir())
	return b, NewScheduler(b.Submitter), now
}

func tick(t *testing.T, s *Scheduler) (periods []string) {
	t.Helper()
	begun, err := s.Tick(t.Context(), BySchedule)
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range begun {
		periods = append(periods, sub.Period.String())
		if err := s.finish(t.Context(), sub.ID, nil); err != nil {
			t.Fatal(err)
		}
	}
	return periods
}

func TestTheScheduleCatchesUpAndSubmitsEachPeriodOnce(t *testing.T) {
	_, s, now := scheduledBench(t)
	for _, step := range []struct {
		name string
		at   string
		want []string
	}{
		{"after months without a service", "2026-11-22T09:00:00Z", []string{"202608", "202609", "202610"}},
		{"at the next look", "2026-11-22T09:00:30Z", nil},
		{"before three at night", "2026-11-23T02:59:00Z", nil},
		{"at three, the one whose window is open", "2026-11-23T03:00:10Z", []string{"202610"}},
		{"at the next look again", "2026-11-23T03:00:40Z", nil},
		{"when the month has closed, and its days are not over", "2026-12-03T04:00:00Z", nil},
		{"when they are over", "2026-12-06T03:00:05Z", []string{"202611"}},
	} {
		*now, _ = time.Parse(time.RFC3339, step.at)
		if got := tick(t, s); !slices.Equal(got, step.want) {
			t.Errorf("%s: got %v, want %v", step.name, got, step.want)
		}
	}
}

func TestTheScheduleTellsWhatRanAndWhatIsNext(t *testing.T) {
	b, s, now := scheduledBench(t)
	schedule, err := s.Schedule(t.Context())
	if err != nil || schedule.DataSets[0].Problem == "" {
		t.Errorf("nothing is said of a CHT that was never asked: %+v, %v", schedule, err)
	}
	tick(t, s)
	if schedule, err = s.Schedule(t.Context()); err != nil {
		t.Fatal(err)
	}
	part := schedule.DataSets[0]
	if part.DataSet != b.set || part.CHT != "county" || part.Problem != "" || part.Overdue != 0 || len(part.Periods) != 3 {
		t.Errorf("got %+v", part)
	}
	last := part.Periods[2]
	if last.Period != "202610" || last.State != "planned" || last.StartedAt == nil || last.Submission == "" || last.Ended != "unchanged" ||
		!part.NextAt.Equal(time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)) || !last.DueAt.Equal(*part.NextAt) {
		t.Errorf("got %+v, next %v", last, part.NextAt)
	}
	if part.Periods[0].State != "done" {
		t.Errorf("got %+v", part.Periods[0])
	}
	*now = now.Add(24 * time.Hour)
	if schedule, err = s.Schedule(t.Context()); err != nil || schedule.DataSets[0].Periods[2].State != "overdue" || schedule.DataSets[0].Overdue != 1 {
		t.Errorf("got %+v, %v", schedule.DataSets[0], err)
	}
}

func TestADataSetThatIsSwitchedOffWaits(t *testing.T) {
	b, s, _ := scheduledBench(t)
	b.DataSets[0].Operation.Enabled = false
	if got := tick(t, s); len(got) > 0 {
		t.Errorf("got %v", got)
	}
	var notNow *NotNowError
	if _, _, err := b.Begin(t.Context(), b.request(), nil); !errors.As(err, &notNow) || notNow.Hint() == "" {
		t.Errorf("a request is taken: %v", err)
	}
	b.DataSets[0].Operation.Enabled = true
	if got := tick(t, s); len(got) != 3 {
		t.Errorf("got %v", got)
	}
}

func TestTheScheduleWaitsForACHTThatNeverAnswered(t *testing.T) {
	b, s, now := scheduledBench(t)
	b.cht.Fail(sandbox.Fault{Kind: sandbox.Status, Status: 500})
	if got := tick(t, s); len(got) > 0 {
		t.Errorf("got %v", got)
	}
	b.cht.Heal()
	if got := tick(t, s); len(got) > 0 {
		t.Errorf("it was asked again at once: %v", got)
	}
	*now = now.Add(askEvery)
	if got := tick(t, s); len(got) != 3 {
		t.Errorf("got %v", got)
	}
	// From now on it is known, and the schedule goes on without it.
	b.cht.Fail(sandbox.Fault{Kind: sandbox.Status, Status: 500})
	*now = now.Add(24 * time.Hour)
	if got := tick(t, s); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestTheScheduleGoesThroughOpenHIMWhereItCan(t *testing.T) {
	b, s, now := scheduledBench(t)
	var asked []string
	s.Router = func(ctx context.Context, r Request) (string, error) {
		asked = append(asked, r.Period)
		if r.Period == "202609" {
			return "", errors.New("the channel is gone")
		}
		r.RequestedBy = "OpenHIM client"
		sub, _, err := b.Begin(ctx, r, nil)
		return sub.ID, err
	}
	if got, want := tick(t, s), []string{"202608", "202609", "202610"}; !slices.Equal(got, want) || !slices.Equal(asked, want) {
		t.Errorf("began %v, asked for %v", got, asked)
	}
	by := map[string]string{}
	list, err := b.Ledger.Submissions(t.Context(), ledger.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range list {
		by[sub.Period.String()] = sub.RequestedBy
	}
	if by["202608"] != "OpenHIM client" || by["202609"] != BySchedule {
		t.Errorf("got %v", by)
	}
	*now = now.Add(time.Minute)
	if got := tick(t, s); len(got) > 0 {
		t.Errorf("again %v", got)
	}
}

func TestAFullQueueLeavesTheRestDue(t *testing.T) {
	b, s, _ := scheduledBench(t)
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: t.TempDir(), QueueLimit: 2, Now: b.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := errors.Join(l.TakeRole(t.Context()), b.Remember(l)); err != nil {
		t.Fatal(err)
	}
	begun, err := s.Tick(t.Context(), BySchedule)
	if err != nil || len(begun) != 2 {
		t.Fatalf("began %d, %v", len(begun), err)
	}
	for _, sub := range begun {
		if err := s.finish(t.Context(), sub.ID, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := tick(t, s); !slices.Equal(got, []string{"202610"}) {
		t.Errorf("got %v", got)
	}
}

func TestTheConsoleSteers(t *testing.T) {
	b, s, _ := scheduledBench(t)
	const good = `{"data_sets":[{"id":"SET","enabled":true,"schedule":"30 4 * * 1","hold":true}]}`
	configured := func(config string) {
		b.Configured(t.Context(), []byte(strings.ReplaceAll(config, "SET", b.set)))
	}
	configured(good)
	want := Operation{Enabled: true, Schedule: "30 4 * * 1", FirstAfterDays: 5, RereadDays: 30, Hold: true}
	if got := b.Operation(b.set); got != want {
		t.Errorf("got %+v", got)
	}
	schedule, err := s.Schedule(t.Context())
	if err != nil || !slices.Equal(schedule.DataSets[0].Differs, []string{"schedule", "hold"}) {
		t.Errorf("got %v, %v", schedule.DataSets[0].Differs, err)
	}
	for _, test := range []struct{ name, config, fault string }{
		{"no object", `[]`, "must be an object"},
		{"an unknown field", `{"data_sets":[{"id":"SET","schdule":"0 3 * * *"}]}`, "data_sets[0].schdule"},
		{"an unknown data set", `{"data_sets":[{"id":"DsOther0001"}]}`, "DsOther0001"},
		{"a schedule that never fires", `{"data_sets":[{"id":"SET","schedule":"0 0 30 2 *"}]}`, "data_sets[0].schedule"},
		{"a time zone without a space", `{"data_sets":[{"id":"SET","schedule":"TZ=UTC"}]}`, "data_sets[0].schedule"},
		{"days that contradict the file", `{"data_sets":[{"id":"SET","first_after_days":40}]}`, "read again for 30 days"},
		{"a text for a number", `{"data_sets":[{"id":"SET","reread_days":"ten"}]}`, "data_sets[0].reread_days"},
	} {
		configured(test.config)
		if got := b.ConsoleFault(t.Context()); !strings.Contains(got, test.fault) {
			t.Errorf("%s: the fault is told as %q", test.name, got)
		}
		if got := b.Operation(b.set); got != want {
			t.Errorf("%s: the last good one is not in force: %+v", test.name, got)
		}
	}
	// The next start has the last good one, and the fault.
	next := &Submitter{DataSets: b.DataSets, Now: b.Now}
	if err := errors.Join(next.Remember(b.Ledger), next.LoadConsole(t.Context())); err != nil {
		t.Fatal(err)
	}
	if next.Operation(b.set) != want || next.ConsoleFault(t.Context()) == "" {
		t.Errorf("got %+v, fault %q", next.Operation(b.set), next.ConsoleFault(t.Context()))
	}
	configured(`{"data_sets":[]}`)
	if b.Operation(b.set) != b.DataSets[0].Operation || b.ConsoleFault(t.Context()) != "" {
		t.Errorf("an empty one does not give the file its word back: %+v, %q", b.Operation(b.set), b.ConsoleFault(t.Context()))
	}
}

func TestARerunKeepsThePeriodOfTheFirstRun(t *testing.T) {
	b := newBench(t, "2.43.1")
	first := b.request()
	first.Transaction = "5f0000000000000000000001"
	first.Period = "202608"
	if _, _, err := b.Begin(t.Context(), first, nil); err != nil {
		t.Fatal(err)
	}
	b.Parent = func(_ context.Context, transaction string) (string, error) {
		if transaction == "5f0000000000000000000009" {
			return "202607", nil
		}
		return "", errors.New("OpenHIM is away")
	}
	for _, test := range []struct{ name, parent, want string }{
		{"a transaction that the store knows", first.Transaction, "202608"},
		{"one that OpenHIM knows", "5f0000000000000000000009", "202607"},
		{"none", "", "202610"},
	} {
		again := b.request()
		again.Period, again.Parent = LatestClosed, test.parent
		sub, _, err := b.Begin(t.Context(), again, nil)
		if err != nil || sub.Period.String() != test.want {
			t.Errorf("%s: got %s, %v, want %s", test.name, sub.Period, err, test.want)
		}
	}
	again := b.request()
	again.Period, again.Parent = LatestClosed, "5f0000000000000000000008"
	var notNow *NotNowError
	if _, _, err := b.Begin(t.Context(), again, nil); !errors.As(err, &notNow) {
		t.Errorf("a re-run of which nobody knows the period: %v", err)
	}
}

func TestARangeOfPeriodsIsThatManyOldestFirst(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		want []string
	}{
		{"202610", []string{"202610"}},
		{LatestClosed, []string{LatestClosed}},
		{"202511..202602", []string{"202511", "202512", "202601", "202602"}},
		{"202601..202601", []string{"202601"}},
		{"202602..202601", nil}, {"202601..2026Q1", nil}, {"..202601", nil}, {"190001..202601", nil}, {"202601..latest-closed", nil},
	} {
		got, err := Periods(test.text)
		if !slices.Equal(got, test.want) || (err == nil) != (test.want != nil) {
			t.Errorf("%s: got %v, %v", test.text, got, err)
		}
		var usage *UsageError
		if err != nil && !errors.As(err, &usage) {
			t.Errorf("%s: %v is no usage error", test.text, err)
		}
	}
}

// TestEachSourceCountsOnItsOwnClocks has sources from the first to the last place on earth that a day comes to, and a machine
// whose clock is set back by an hour after each of their first turns.
func TestEachSourceCountsOnItsOwnClocks(t *testing.T) {
	b, s, now := scheduledBench(t)
	b.DataSets[0].CHT, b.DataSets[0].FirstPeriod = nil, periodOf(t, "202610")
	end := time.Date(2026, 11, 8, 0, 0, 0, 0, time.UTC)
	want, got := map[string][]time.Time{}, map[string][]time.Time{}
	for zone, first := range map[string]string{ // three o'clock on the sixth of November
		"Pacific/Kiritimati":  "2026-11-05T13:00:00Z",
		"Australia/Lord_Howe": "2026-11-05T16:00:00Z",
		"Asia/Kathmandu":      "2026-11-05T21:15:00Z",
		"Africa/Nairobi":      "2026-11-06T00:00:00Z",
		"Europe/Berlin":       "2026-11-06T02:00:00Z", // its clocks went back on the 25th of October
		"America/St_Johns":    "2026-11-06T06:30:00Z",
		"America/New_York":    "2026-11-06T08:00:00Z", // its clocks went back on the first of November
		"Pacific/Pago_Pago":   "2026-11-06T14:00:00Z",
	} {
		b.Sources[zone] = Source{Name: zone, Client: b.Sources["county"].Client, Zone: zoneOf(t, zone)}
		b.DataSets[0].CHT = append(b.DataSets[0].CHT, zone)
		at, err := time.Parse(time.RFC3339, first)
		if err != nil {
			t.Fatal(err)
		}
		for ; at.Before(end); at = at.AddDate(0, 0, 1) {
			want[zone] = append(want[zone], at)
		}
	}
	for *now = time.Date(2026, 11, 4, 0, 0, 0, 0, time.UTC); now.Before(end); *now = now.Add(15 * time.Minute) {
		begun, err := s.Tick(t.Context(), BySchedule)
		if err != nil {
			t.Fatal(err)
		}
		first := false
		for _, sub := range begun {
			got[sub.CHT] = append(got[sub.CHT], *now)
			first = first || len(got[sub.CHT]) == 1
			if err := s.finish(t.Context(), sub.ID, nil); err != nil || sub.Period.String() != "202610" {
				t.Fatal(sub.Period, err)
			}
		}
		if first {
			*now = now.Add(-time.Hour)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the starts (-want +got):\n%s", diff)
	}
}
