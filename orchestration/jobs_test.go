package orchestration

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

func TestRequestsThatJoinASubmissionThatWaitsDoNotMultiplyIt(t *testing.T) {
	b := newBench(t, "2.43.1")
	b.cht.Fail(sandbox.Fault{Kind: sandbox.Status, Status: 401})
	start(t, NewService(b.Submitter))
	id := b.begin(t).ID
	until(t, b.Submitter, id, func(s ledger.Submission) bool { return s.WaitingFor != "" })
	for range 20 {
		b.begin(t)
	}
	// All that runs has run when nothing is due any more.
	quiet := func() bool {
		running, err := b.Ledger.RunningJobs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(running) == 0
	}
	for deadline := time.Now().Add(patientFor); !quiet() && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
	}
	time.Sleep(500 * time.Millisecond)
	// Some more may have been added while one was under way; they look again soon, and one of them is left.
	for deadline := time.Now().Add(patientFor); ; time.Sleep(50 * time.Millisecond) {
		jobs, err := b.Ledger.WaitingJobs(t.Context())
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%d jobs wait for one submission, %v", jobs, err)
		}
		if jobs <= 2 {
			break
		}
	}
}

// TestOneJobLooksAgainAtASubmissionUnderWay lets many jobs meet one that is under way, at one moment and at the next.
func TestOneJobLooksAgainAtASubmissionUnderWay(t *testing.T) {
	b := newBench(t, "2.43.1")
	e, err := NewEngine(b.Submitter)
	if err != nil {
		t.Fatal(err)
	}
	id := b.begin(t).ID
	meet := func() (again int) {
		for job := int64(2); job < 22; job++ {
			var snooze *river.JobSnoozeError
			switch err := e.work(t.Context(), &rivertype.JobRow{ID: job, Kind: prepareStep}, id); {
			case errors.As(err, &snooze) && snooze.Duration == shortly:
				again++
			case err != nil:
				t.Fatal(err)
			}
		}
		return again
	}
	if !e.take(1, id) {
		t.Fatal("nothing is under way, and it cannot be taken")
	}
	if again := meet(); again != 1 {
		t.Errorf("%d jobs look again, want 1", again)
	}
	e.forgetOthers(id) // as the one under way may have removed it
	if again := meet(); again != 1 {
		t.Errorf("%d jobs look again after the first one was removed, want 1", again)
	}
	if err := e.work(t.Context(), &rivertype.JobRow{ID: 99, Kind: concludeStep}, id); err == nil {
		t.Error("a job that tells the end is gone")
	}
	e.give(1, id)
}

// TestAFaultThatStaysIsToldOnceAndEndsWithTheWindow lets the steps panic, which is a bug, and the letters of an end fail.
func TestAFaultThatStaysIsToldOnceAndEndsWithTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "2.43.1")
		clock := b.clocked(t)
		log, hook := logtest.NewNullLogger()
		b.Log = logrus.NewEntry(log)
		b.Watch = func(Progress) { panic("oh") }
		b.Told = func(context.Context, Conclusion) ([]ledger.Letter, error) { return nil, errors.New("oh dear") }
		e := &Engine{submitter: b.Submitter, busy: map[string]bool{}, working: map[int64]bool{}, waits: map[string]bool{}, faults: map[string]fault{}}
		began, id := *clock, b.begin(t).ID
		work := func(kind string, end time.Time) (pauses []time.Duration) {
			for clock.Before(end) {
				var snooze *river.JobSnoozeError
				if err := e.work(t.Context(), &rivertype.JobRow{ID: 1, Kind: kind}, id); !errors.As(err, &snooze) {
					if err != nil {
						t.Fatal(err)
					}
					return pauses
				}
				pauses = append(pauses, snooze.Duration)
				*clock = clock.Add(snooze.Duration)
			}
			return pauses
		}
		grow(t, work(prepareStep, began.Add(24*time.Hour)), b.longestPause())
		sub, err := b.Ledger.Submission(t.Context(), id)
		if err != nil || sub.WaitingFor != "a fault of the mediator to be mended: a bug of the mediator: oh" || sub.WaitingSince.Sub(began) > time.Minute {
			t.Errorf("it waits for %q since %s, %v", sub.WaitingFor, sub.WaitingSince, err)
		}
		work(prepareStep, began.Add(30*24*time.Hour))
		sub, err = b.Ledger.Submission(t.Context(), id)
		if err != nil || sub.State != ledger.Failed || sub.Reason != string(Fault) || sub.Remedy == "" || clock.Sub(began) < leastWindow {
			t.Errorf("it ends %s %s: %s, %s after %s, %v", sub.State, sub.Reason, sub.Error, sub.Remedy, clock.Sub(began), err)
		}
		grow(t, work(concludeStep, clock.Add(24*time.Hour)), b.longestPause())
		told := 0
		for _, entry := range hook.AllEntries() {
			if entry.Level <= logrus.ErrorLevel {
				told++
			}
		}
		if told != 2 { // the bug, and the end that cannot be told
			t.Errorf("the log has %d errors", told)
		}
		b.Told = nil
		if pauses := work(concludeStep, clock.Add(time.Hour)); len(pauses) > 0 || len(e.faults) > 0 {
			t.Errorf("when it is mended, pauses of %v follow; %v", pauses, e.faults)
		}
	})
}

func TestAJobThatWasPutOffByAClockThatRanAheadGoesAtOnce(t *testing.T) {
	b := newBench(t, "2.43.1")
	b.cht.Fail(sandbox.Fault{Kind: sandbox.Status, Status: http.StatusUnauthorized})
	start(t, NewService(b.Submitter))
	id := b.begin(t).ID
	e, err := NewEngine(b.Submitter)
	if err != nil {
		t.Fatal(err)
	}
	due := func() time.Time {
		list, err := e.client.JobList(t.Context(), river.NewJobListParams().Kinds(prepareStep))
		if err != nil || len(list.Jobs) != 1 {
			t.Fatal(list, err)
		}
		if list.Jobs[0].State != rivertype.JobStateScheduled {
			return time.Time{}
		}
		return list.Jobs[0].ScheduledAt
	}
	until(t, b.Submitter, id, func(ledger.Submission) bool { return !due().IsZero() })
	right := due()
	if err := e.Hasten(t.Context()); err != nil || due() != right {
		t.Fatalf("a job that waits as it should is due at %s, not at %s, %v", due(), right, err)
	}
	err = b.Ledger.Together(t.Context(), "put it off", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE river_job SET scheduled_at = strftime('%Y-%m-%d %H:%M:%f', scheduled_at, '+60 minutes')`)
		return err
	})
	if err != nil || due().Sub(right) < 59*time.Minute {
		t.Fatalf("it is due at %s, %v", due(), err)
	}
	if err := e.Hasten(t.Context()); err != nil {
		t.Fatal(err)
	}
	// It goes, is refused again, and waits as it should.
	until(t, b.Submitter, id, func(ledger.Submission) bool { return !due().IsZero() && time.Until(due()) < mendingPause*5/4 })
}
