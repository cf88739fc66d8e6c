package orchestration

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

func TestARequestForTheLatestMonthIsNotHeldUpByASourceThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "2.43.1")
		clock := b.clocked(t)
		r := b.request()
		r.Period, r.DryRun = LatestClosed, true
		if _, _, err := b.Begin(t.Context(), r, nil); err != nil {
			t.Fatal(err)
		}
		*clock = clock.Add(2 * fresh) // what is known of the calendar is old
		b.cht.Fail(sandbox.Fault{Kind: sandbox.Status, Status: 503})
		started := time.Now()
		sub, _, err := b.Begin(t.Context(), r, nil)
		if took := time.Since(started); err != nil || sub.Period.String() != "202610" || took > 2*time.Second {
			t.Errorf("it took %s: %s, %v", took, sub.Period, err)
		}
	})
}

func TestWhatNobodyApprovesEndsWithItsWindow(t *testing.T) {
	b := newBench(t, "2.43.1")
	clock := b.clocked(t)
	b.DataSets[0].Operation.Hold = true
	b.DataSets[0].Operation.RereadDays = 60
	s := NewScheduler(b.Submitter)
	id := b.begin(t).ID
	b.serves(t, clock, id, time.Hour)
	state := func() ledger.Submission {
		t.Helper()
		if _, err := s.Tick(t.Context(), BySchedule); err != nil {
			t.Fatal(err)
		}
		sub, err := b.Ledger.Submission(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return sub
	}
	*clock = time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	if sub := state(); sub.State != ledger.Held {
		t.Errorf("it is %s before its window ends", sub.State)
	}
	*clock = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	if sub := state(); sub.State != ledger.Refused || sub.Error == "" || sub.Remedy == "" {
		t.Errorf("it is %s when its window has ended: %s", sub.State, sub.Error)
	}
}
