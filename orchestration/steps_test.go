package orchestration

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

func TestContentGoesToTheDHIS2ThatItWasMadeForOnly(t *testing.T) {
	b := newBench(t, "2.43.1")
	clock := b.clocked(t)
	b.DataSets[0].Operation.Hold = true
	id := b.begin(t).ID
	b.serves(t, clock, id, time.Hour)
	// The data set goes to another DHIS2 by now.
	b.Destinations["other"] = b.Destinations["national"]
	b.DataSets[0].DHIS2 = "other"
	if err := b.Approve(t.Context(), id, "the HRIO"); err != nil {
		t.Fatal(err)
	}
	b.serves(t, clock, id, time.Hour)
	sub, err := b.Ledger.Submission(t.Context(), id)
	if err != nil || sub.State != ledger.Failed || sub.Reason != string(Configuration) || sub.Remedy == "" {
		t.Errorf("%s %s %q, %v", sub.State, sub.Reason, sub.Error, err)
	}
	if n := len(b.dhis2.Imports()); n > 0 {
		t.Errorf("%d imports into the other DHIS2", n)
	}
	var usage *UsageError
	if err := b.Retry(t.Context(), id, "a clerk"); !errors.As(err, &usage) {
		t.Errorf("it goes again: %v", err)
	}
}

func TestWhatIsCancelledBeforeItIsHeldEnds(t *testing.T) {
	b := newBench(t, "2.43.1")
	clock := b.clocked(t)
	b.DataSets[0].Operation.Hold = true
	id := b.begin(t).ID
	if err := b.Ledger.Advance(t.Context(), id, ledger.Preparing, nil); err != nil {
		t.Fatal(err)
	}
	sub, err := b.Ledger.Submission(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	// It is cancelled while it is being prepared, by a job that gets its turn when it is held.
	if err := b.Cancel(t.Context(), id, "a clerk"); err != nil {
		t.Fatal(err)
	}
	if p, err := b.prepareStored(t.Context(), sub); p != nil || err != nil {
		t.Fatal(p, err)
	}
	if _, err := b.step(t.Context(), id, prepareStep); err != nil {
		t.Fatal(err)
	}
	b.serves(t, clock, id, time.Hour)
	if sub, err = b.Ledger.Submission(t.Context(), id); err != nil || sub.State != ledger.Cancelled {
		t.Errorf("%s, %v", sub.State, err)
	}
}

func TestARequestForOtherOrgUnitsDoesNotJoin(t *testing.T) {
	b := newBench(t, "2.43.1")
	some := b.request()
	some.OrgUnits = []string{b.country.Right[b.set][0].OrgUnit}
	first, began, err := b.Begin(t.Context(), some, nil)
	if err != nil || !began {
		t.Fatal(err)
	}
	var notNow *NotNowError
	if sub, _, err := b.Begin(t.Context(), b.request(), nil); !errors.As(err, &notNow) || notNow.Remedy == "" {
		t.Errorf("a request for all got submission %s, which sends %v: %v", sub.ID, sub.OrgUnits, err)
	}
	if sub, began, err := b.Begin(t.Context(), some, nil); err != nil || began || sub.ID != first.ID {
		t.Errorf("the same request did not join: %v", err)
	}
}

func TestASourceThatIsSlowerThanItMayIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "2.43.1")
		b.serving = true
		b.cht.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: 25 * time.Minute, Path: "/api/v2/export"})
		id := b.begin(t).ID
		sub, err := b.Ledger.Submission(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		p, err := b.prepareStored(t.Context(), sub)
		if err != nil || p == nil || p.reason != CHTUnavailable || !p.source {
			sub, _ = b.Ledger.Submission(t.Context(), id)
			t.Errorf("got %+v, %v; it is %s: %s", p, err, sub.State, sub.Error)
		}
	})
}

func TestASubmissionOfOthersOutlivesTheCommandThatTakesItUp(t *testing.T) {
	b := newBench(t, "2.43.1")
	id := b.begin(t).ID
	if err := b.Ledger.Advance(t.Context(), id, ledger.Preparing, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b.Watch = func(Progress) { cancel() } // somebody presses Ctrl-C
	if _, err := b.TakeUp(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	sub, err := b.Ledger.Submission(t.Context(), id)
	if err != nil || sub.State.Ended() {
		t.Errorf("it is %s (%s), %v", sub.State, sub.Error, err)
	}
	if jobs, err := b.Ledger.WaitingJobs(t.Context()); err != nil || jobs == 0 {
		t.Errorf("%d jobs go on with it, %v", jobs, err)
	}
}

func TestASubmissionThatIsSentIsNotRejectedAnyMore(t *testing.T) {
	b := newBench(t, "2.43.1")
	clock := b.clocked(t)
	b.DataSets[0].Operation.Hold = true
	id := b.begin(t).ID
	b.serves(t, clock, id, time.Hour)
	if err := b.Approve(t.Context(), id, "the HRIO"); err != nil {
		t.Fatal(err)
	}
	// Who rejects has seen it held a moment before.
	if err := b.endHeld(t.Context(), id, cancelled("a clerk")); !errors.Is(err, ledger.ErrState) {
		t.Errorf("got %v", err)
	}
	b.serves(t, clock, id, time.Hour)
	if sub, err := b.Ledger.Submission(t.Context(), id); err != nil || sub.State != ledger.Accepted {
		t.Errorf("%s, %v", sub.State, err)
	}
}

func TestACancelledSubmissionDoesNotWaitForItsCHT(t *testing.T) {
	b := newBench(t, "2.43.1")
	b.cht.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: time.Hour, Path: "/api/v2/export"})
	start(t, NewService(b.Submitter))
	first := b.begin(t).ID
	other := b.request()
	other.Period = "202608" // which waits for its turn to read
	second, _, err := b.Begin(t.Context(), other, nil)
	if err != nil {
		t.Fatal(err)
	}
	until(t, b.Submitter, first, func(s ledger.Submission) bool { return s.State == ledger.Preparing })
	for _, id := range []string{second.ID, first} {
		if err := b.Cancel(t.Context(), id, "a clerk"); err != nil {
			t.Fatal(err)
		}
		if sub := until(t, b.Submitter, id, ends); sub.State != ledger.Cancelled || sub.Error != "stopped by a clerk" {
			t.Errorf("%s %s", sub.State, sub.Error)
		}
	}
}
