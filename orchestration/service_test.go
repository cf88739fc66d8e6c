package orchestration

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// start runs a service until the test, or stop, ends it.
func start(t *testing.T, s *Service) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	ended := false
	stop = func() {
		cancel()
		if ended {
			return
		}
		ended = true
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

const patientFor = 20 * time.Second

// until waits until a submission is as wanted.
func until(t *testing.T, s *Submitter, id string, wanted func(ledger.Submission) bool) ledger.Submission {
	t.Helper()
	deadline := time.Now().Add(patientFor)
	for {
		sub, err := s.Ledger.Submission(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if wanted(sub) {
			return sub
		}
		if time.Now().After(deadline) {
			t.Fatalf("it stays %s, waiting for %q, counts %+v", sub.State, sub.WaitingFor, sub.Counts)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func ends(s ledger.Submission) bool { return s.State.Ended() }

func (b *bench) request() Request {
	return Request{DataSet: b.set, Period: "202609", CHT: "county", RequestedBy: "a test"}
}

func (b *bench) begin(t *testing.T) ledger.Submission {
	t.Helper()
	sub, _, err := b.Begin(t.Context(), b.request(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func TestServiceCarriesARequestThrough(t *testing.T) {
	b := newBench(t, "2.43.1")
	told := make(chan Conclusion, 1)
	b.Told = func(_ context.Context, c Conclusion) ([]ledger.Letter, error) {
		told <- c
		return []ledger.Letter{{Kind: "test", Subject: c.Submission.ID, Body: []byte("ended")}}, nil
	}
	start(t, NewService(b.Submitter))
	sub := until(t, b.Submitter, b.begin(t).ID, ends)
	if sub.State != ledger.Accepted || sub.Counts.Accepted != benchValues {
		t.Errorf("%s: %+v", sub.State, sub.Counts)
	}
	b.arrivedOnce(t)
	c := <-told
	var names []string
	for _, step := range c.Calls {
		for _, call := range step.Calls {
			names = append(names, call.Name)
		}
	}
	want := []string{"Ask DHIS2 national for its version", "Read data set " + b.set + " from DHIS2 national", "Read the settings of CHT county", "Fetch 202609 from CHT county"}
	// The stand-ins are called in memory, below which nothing is recorded; the names alone would come from there.
	if len(names) > 0 && !slices.Equal(names[:4], want) {
		t.Errorf("got calls %q", names)
	}
	for deadline := time.Now().Add(patientFor); ; time.Sleep(5 * time.Millisecond) {
		letter, due, err := b.Ledger.NextLetter(t.Context(), "test")
		if err != nil || due && letter.Subject != sub.ID || time.Now().After(deadline) {
			t.Fatalf("no letter of %s: %+v, %v", sub.ID, letter, err)
		}
		if due {
			break
		}
	}
}

func TestASecondServiceStandsByUntilTheFirstOneEnds(t *testing.T) {
	b := newBench(t, "2.43.1")
	folder := t.TempDir()
	b.remember(t, folder)
	stop := start(t, NewService(b.Submitter))
	second := newBench(t, "2.43.1")
	other, err := ledger.Open(t.Context(), ledger.Config{Dir: folder, Now: b.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	second.cht, second.dhis2 = b.cht, b.dhis2
	if err := second.Remember(other); err != nil {
		t.Fatal(err)
	}
	standby := NewService(second.Submitter)
	start(t, standby)
	if got := standby.Ready(t.Context()); got.Role != "standing_by" || !got.Ready {
		t.Errorf("got %+v", got)
	}
	sub := until(t, second.Submitter, second.begin(t).ID, ends) // the first one works what the second one takes
	if sub.State != ledger.Accepted {
		t.Errorf("%s %s", sub.State, sub.Error)
	}
	b.Configured(t.Context(), []byte(`{"data_sets": [{"id": "`+b.set+`", "reread_days": 44}]}`))
	stop()
	_ = b.Ledger.Close()
	again := until(t, second.Submitter, second.begin(t).ID, ends)
	if again.State != ledger.Accepted || !other.HasRole() {
		t.Errorf("%s, role %v", again.State, other.HasRole())
	}
	if got := second.Operation(b.set).RereadDays; got != 44 {
		t.Errorf("the second one re-reads for %d days, not as the first one was told", got)
	}
}

func TestAStopFinishesTheChunkOnItsWayAndTheNextStartGoesOn(t *testing.T) {
	b := newBench(t, "2.43.1")
	b.dhis2.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: 300 * time.Millisecond, Method: http.MethodPost})
	stop := start(t, NewService(b.Submitter))
	id := b.begin(t).ID
	until(t, b.Submitter, id, func(s ledger.Submission) bool { return s.Counts.Accepted >= 300 })
	stop()
	sub, err := b.Ledger.Submission(t.Context(), id)
	if err != nil || sub.State != ledger.Sending || sub.Counts.Unknown > 0 || sub.Counts.Unsent == 0 {
		t.Fatalf("%s %+v, %v", sub.State, sub.Counts, err)
	}
	sent := len(b.dhis2.Imports())
	if sub.Counts.Accepted != sent*300 {
		t.Errorf("%d accepted after %d imports: one was not booked", sub.Counts.Accepted, sent)
	}
	b.dhis2.Heal()
	start(t, NewService(b.Submitter))
	if sub = until(t, b.Submitter, id, ends); sub.State != ledger.Accepted {
		t.Errorf("%s %s", sub.State, sub.Error)
	}
	if got := len(b.dhis2.Imports()); got != 4 {
		t.Errorf("%d imports, want 4: an acknowledged chunk went again", got)
	}
	b.arrivedOnce(t)
}

func TestASubmissionThatWaitsCanBeHurriedAndCancelled(t *testing.T) {
	b := newBench(t, "2.43.1")
	b.dhis2.Fail(sandbox.Fault{Kind: sandbox.LoginRedirect})
	start(t, NewService(b.Submitter))
	id := b.begin(t).ID
	sub := until(t, b.Submitter, id, func(s ledger.Submission) bool { return s.WaitingFor != "" })
	if sub.State.Ended() || sub.WaitingSince.IsZero() {
		t.Fatalf("%s since %s", sub.State, sub.WaitingSince)
	}
	// A second request joins it, and lets it go on at once; the account is not asked again so soon.
	again, began, err := b.Begin(t.Context(), b.request(), nil)
	if err != nil || began || again.ID != id {
		t.Fatalf("a second one began: %v", err)
	}
	if err := b.Cancel(t.Context(), id, "a clerk"); err != nil {
		t.Fatal(err)
	}
	if sub = until(t, b.Submitter, id, ends); sub.State != ledger.Cancelled || sub.Error != "stopped by a clerk" {
		t.Errorf("%s %q", sub.State, sub.Error)
	}
	if err := b.Cancel(t.Context(), id, "a clerk"); !errors.Is(err, ledger.ErrState) {
		t.Errorf("cancelled twice: %v", err)
	}
}

func TestAHeldSubmissionGoesWhenItIsApproved(t *testing.T) {
	b := newBench(t, "2.43.1")
	b.DataSets[0].Operation.Hold = true
	told := make(chan ledger.State, 10)
	b.Told = func(_ context.Context, c Conclusion) ([]ledger.Letter, error) {
		told <- c.Submission.State
		return nil, nil
	}
	start(t, NewService(b.Submitter))
	held := func(s ledger.Submission) bool { return s.State == ledger.Held }
	id := b.begin(t).ID
	until(t, b.Submitter, id, held)
	report, err := b.Report(t.Context(), id)
	if err != nil || report.Counts.Held != benchValues || report.Counts.Unsent > 0 || report.OrgUnits.Held != 40 {
		t.Errorf("%+v %+v, %v", report.Counts, report.OrgUnits, err)
	}
	if n := len(b.dhis2.Imports()); n > 0 {
		t.Errorf("%d imports before anybody approved", n)
	}
	select {
	case state := <-told:
		if state != ledger.Held {
			t.Errorf("it is told as %s", state)
		}
	case <-time.After(patientFor):
		t.Fatal("that it is held is not told")
	}
	if err := b.Approve(t.Context(), id, "the HRIO"); err != nil {
		t.Fatal(err)
	}
	if sub := until(t, b.Submitter, id, ends); sub.State != ledger.Accepted {
		t.Errorf("%s %s", sub.State, sub.Error)
	}
	if err := b.Approve(t.Context(), id, "the HRIO"); !errors.Is(err, ledger.ErrState) {
		t.Errorf("approved twice: %v", err)
	}
	// What nothing differs in is not held; with everything to be sent again, it is.
	if sub := until(t, b.Submitter, b.begin(t).ID, ends); sub.State != ledger.Unchanged {
		t.Errorf("%s %s", sub.State, sub.Error)
	}
	sub, _, err := b.Begin(t.Context(), Request{DataSet: b.set, Period: "202609", CHT: "county", Mode: ledger.ModeFull}, nil)
	if err != nil {
		t.Fatal(err)
	}
	second := sub.ID
	until(t, b.Submitter, second, held)
	if err := b.Reject(t.Context(), second, "the HRIO"); err != nil {
		t.Fatal(err)
	}
	if sub := until(t, b.Submitter, second, ends); sub.State != ledger.Cancelled || sub.Error != "rejected by the HRIO" {
		t.Errorf("%s %q", sub.State, sub.Error)
	}
}

func TestARequestAfterTheAccountIsMendedGoesOnAtOnce(t *testing.T) {
	b := newBench(t, "2.43.1")
	var later atomic.Int64
	began := b.Now()
	b.Now = func() time.Time { return began.Add(time.Duration(later.Load())) }
	b.dhis2.Fail(sandbox.Fault{Kind: sandbox.Status, Status: http.StatusUnauthorized})
	start(t, NewService(b.Submitter))
	id := b.begin(t).ID
	until(t, b.Submitter, id, func(s ledger.Submission) bool { return s.WaitingFor != "" })

	// Who asks again at once does not get the account locked.
	later.Store(int64(10 * time.Second))
	b.begin(t)
	if b.isDown(t.Context(), "DHIS2 national") == nil {
		t.Error("DHIS2 is asked again after ten seconds")
	}
	b.dhis2.Heal()
	later.Store(int64(2 * time.Minute))
	b.begin(t)
	if sub := until(t, b.Submitter, id, ends); sub.State != ledger.Accepted {
		t.Errorf("%s %s", sub.State, sub.Error)
	}
}

func TestRetrySendsWhatFailed(t *testing.T) {
	b := newBench(t, "2.43.1")
	b.DataSets[0].Unchecked = true
	wrong := b.country.Right[b.set][0].OrgUnit
	b.dhis2.CloseOrgUnit(wrong, "2020-01-01")
	start(t, NewService(b.Submitter))
	id := b.begin(t).ID
	sub := until(t, b.Submitter, id, ends)
	if sub.State != ledger.PartlyAccepted || sub.Counts.Refused == 0 {
		t.Fatalf("%s %+v", sub.State, sub.Counts)
	}
	before := len(b.dhis2.Imports())
	b.dhis2.CloseOrgUnit(wrong, "2099-01-01")
	if err := b.Retry(t.Context(), id, "a clerk"); err != nil {
		t.Fatal(err)
	}
	if sub = until(t, b.Submitter, id, ends); sub.State != ledger.Accepted || sub.Retries != 1 {
		t.Errorf("%s %+v", sub.State, sub.Counts)
	}
	if got := len(b.dhis2.Imports()) - before; got != 1 {
		t.Errorf("%d imports, want the failed chunk alone", got)
	}
	b.arrivedOnce(t)
}

func TestALostJobIsGivenBack(t *testing.T) {
	b := newBench(t, "2.43.1")
	b.cht.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: time.Second, Path: "/api/v2/export", Times: 1})
	start(t, NewService(b.Submitter))
	id := b.begin(t).ID
	until(t, b.Submitter, id, func(s ledger.Submission) bool { return s.State == ledger.Preparing })
	running := func() []int64 {
		ids, err := b.Ledger.RunningJobs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	// To an engine that does not work it, the job is one whose end could not be written down.
	other, err := NewEngine(b.Submitter)
	if err != nil {
		t.Fatal(err)
	}
	for look, want := range []int{1, 0} {
		if err := other.Free(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(running()); got != want {
			t.Errorf("after look %d %d jobs run, want %d: a job that has just begun is not lost", look+1, got, want)
		}
	}
	if sub := until(t, b.Submitter, id, ends); sub.State != ledger.Accepted || len(b.dhis2.Imports()) != 4 {
		t.Errorf("%s after %d imports", sub.State, len(b.dhis2.Imports()))
	}
}

func TestOldContentOfWhichNothingWasSentIsPreparedAnew(t *testing.T) {
	for _, test := range []struct {
		name    string
		after   time.Duration
		hold    bool
		exports int
	}{
		{"soon after", time.Hour, false, 1},
		{"a day later", staleAfter, false, 2},
		{"as it was approved", staleAfter, true, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, "2.43.1")
			now := b.Now()
			b.Now = func() time.Time { return now }
			b.remember(t, t.TempDir())
			b.DataSets[0].Operation.Hold = test.hold
			id := b.begin(t).ID
			if p, err := b.step(t.Context(), id, prepareStep); p != nil || err != nil {
				t.Fatal(p, err)
			}
			if test.hold {
				if err := b.Approve(t.Context(), id, "the HRIO"); err != nil {
					t.Fatal(err)
				}
			}
			now = now.Add(test.after)
			if report, err := b.Follow(t.Context(), id); err != nil || report.State != ledger.Accepted {
				t.Fatalf("%s %s, %v", report.State, report.Error, err)
			}
			exports := 0
			for _, r := range b.cht.Requests() {
				if strings.HasPrefix(r.Path, "/api/v2/export") {
					exports++
				}
			}
			if exports != test.exports {
				t.Errorf("the CHT was read %d times, want %d", exports, test.exports)
			}
		})
	}
}

func TestASubmissionWithoutAJobGetsOne(t *testing.T) {
	b := newBench(t, "2.43.1")
	id := b.begin(t).ID
	if err := b.Ledger.DropJobs(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	start(t, NewService(b.Submitter))
	engine, err := NewEngine(b.Submitter)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nobody to look after
		if err := engine.Attend(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if sub := until(t, b.Submitter, id, ends); sub.State != ledger.Accepted || len(b.dhis2.Imports()) != 4 {
		t.Errorf("%s after %d imports", sub.State, len(b.dhis2.Imports()))
	}
}

func TestTheNextCommandTellsAnEndThatWasNotTold(t *testing.T) {
	b := newBench(t, "2.43.1")
	id := b.begin(t).ID
	if err := b.finish(t.Context(), id, nil); err != nil { // and killed before its end was told
		t.Fatal(err)
	}
	told := 0
	b.Told = func(_ context.Context, c Conclusion) ([]ledger.Letter, error) {
		if c.Submission.ID == id {
			told++
		}
		return nil, nil
	}
	for range 2 {
		if _, err := b.TakeUp(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

func TestAStopWhileTheServiceStartsIsNoFault(t *testing.T) {
	b := newBench(t, "2.43.1")
	if err := b.Ledger.TakeRole(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := NewService(b.Submitter).Run(ctx); err != nil {
		t.Errorf("stopped right after the role was taken: %v", err)
	}
}
