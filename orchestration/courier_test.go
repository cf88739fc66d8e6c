package orchestration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/notice"
)

// round is a courier on a store, whose clock is set, and what it tried to deliver.
type round struct {
	*Courier

	at     time.Time
	folder string
	// answers are those to the tries to come; the last one stays.
	answers []error
	tries   []notice.Notice
}

var (
	errMailAway    = &notice.Error{Doing: "send", What: "connection refused", Temporary: true}
	errMailRefused = &notice.Error{Doing: "send", What: "the server refuses the login"}
	errMailPartly  = &notice.Error{Doing: "send", What: "one of two is unknown", Delivered: true}
)

func newRound(t *testing.T, answers ...error) *round {
	t.Helper()
	r := &round{at: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC), folder: t.TempDir(), answers: answers}
	r.start(t)
	return r
}

// start begins anew, as after a crash.
func (r *round) start(t *testing.T) {
	t.Helper()
	now := func() time.Time { return r.at }
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: r.folder, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	r.Courier = &Courier{Ledger: l, Kind: "notice-mail", Now: now, Send: func(_ context.Context, n notice.Notice) error {
		r.tries = append(r.tries, n)
		answer := r.answers[0]
		if len(r.answers) > 1 {
			r.answers = r.answers[1:]
		}
		return answer
	}}
}

func (r *round) post(t *testing.T, cause, version string) {
	t.Helper()
	body, err := json.Marshal(notice.Notice{Subject: version, Cause: cause, Level: notice.Problem})
	if err == nil {
		err = r.Ledger.Post(t.Context(), ledger.Letter{Kind: "notice-mail", Subject: cause, Version: version, Body: body})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r *round) deliver(t *testing.T) int {
	t.Helper()
	n, err := r.Deliver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// deliverFor lets the courier go its rounds, fewer of them in a day or more, and gives when there were tries.
func (r *round) deliverFor(t *testing.T, long time.Duration) (at []time.Duration) {
	t.Helper()
	every := courierEvery
	if long >= 24*time.Hour {
		every = 5 * time.Minute
	}
	started := r.at
	for ; r.at.Sub(started) <= long; r.at = r.at.Add(every) {
		before := len(r.tries)
		r.deliver(t)
		for range len(r.tries) - before {
			at = append(at, r.at.Sub(started))
		}
	}
	return at
}

func (r *round) backlog(t *testing.T) ledger.Backlog {
	t.Helper()
	b, err := r.Ledger.Backlog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.Oldest = time.Time{}
	return b
}

func TestNoticesAreDeliveredInTheirOrderOnce(t *testing.T) {
	r := newRound(t, nil)
	for _, cause := range []string{"a", "b", "c"} {
		r.post(t, cause, "trouble")
	}
	if n := r.deliver(t); n != 3 || len(r.tries) != 3 || r.tries[0].Cause != "a" || r.tries[2].Cause != "c" {
		t.Errorf("delivered %d: %+v", n, r.tries)
	}
	r.post(t, "a", "trouble")
	if n := r.deliver(t); n != 0 || len(r.tries) != 3 {
		t.Errorf("the same was delivered twice: %+v", r.tries)
	}
}

func TestAServerThatIsAwayIsTriedWithGrowingPauses(t *testing.T) {
	r := newRound(t, errMailAway)
	r.post(t, "a", "trouble")
	at := r.deliverFor(t, 12*time.Hour)
	pause := firstTry
	for i := 1; i < len(at); i++ {
		got := at[i] - at[i-1]
		if got < pause-pause/10 || got > pause+pause/10+courierEvery {
			t.Errorf("the pause before try %d is %s, want %s and a tenth", i+1, got, pause)
		}
		pause = min(2*pause, longestTry)
	}
	if len(at) < 25 || len(at) > 35 {
		t.Errorf("there were %d tries", len(at))
	}
	r.answers = []error{nil}
	r.deliverFor(t, time.Hour)
	if b := r.backlog(t); b != (ledger.Backlog{}) || len(r.tries) != len(at)+1 {
		t.Errorf("it came back, and the notice did not arrive once: %+v, %d tries", b, len(r.tries))
	}
}

func TestARefusedNoticeIsSetAsideAfterThreeTries(t *testing.T) {
	r := newRound(t, errMailAway, errMailAway, errMailRefused, errMailRefused, errMailRefused, nil)
	r.post(t, "a", "trouble")
	r.post(t, "b", "trouble")
	at := r.deliverFor(t, 2*time.Hour)
	if len(at) != 6 || at[4]-at[2] < 27*time.Minute {
		t.Errorf("tries at %v, want three over half an hour after two in vain, and then the next notice", at)
	}
	if b := r.backlog(t); b != (ledger.Backlog{Parked: 1}) || r.tries[5].Cause != "b" {
		t.Errorf("got %+v, and last %+v", b, r.tries[len(r.tries)-1])
	}
}

func TestANoticeThatReachedSomeIsNotSentAgain(t *testing.T) {
	r := newRound(t, errMailPartly)
	r.post(t, "a", "trouble")
	if at := r.deliverFor(t, time.Hour); len(at) != 1 {
		t.Errorf("tries at %v, want one", at)
	}
	if b := r.backlog(t); b != (ledger.Backlog{}) {
		t.Errorf("got %+v", b)
	}
}

func TestANoticeThatNeverGetsThroughIsDroppedAfterDays(t *testing.T) {
	r := newRound(t, fmt.Errorf("no route"))
	r.post(t, "a", "trouble")
	at := r.deliverFor(t, 80*time.Hour)
	if last := at[len(at)-1]; last < 72*time.Hour || last > 73*time.Hour {
		t.Errorf("the last try was after %s", last)
	}
	if b := r.backlog(t); b != (ledger.Backlog{Parked: 1}) {
		t.Errorf("got %+v", b)
	}
}

func TestAnOldNoticeIsTriedOnce(t *testing.T) {
	r := newRound(t, nil)
	r.post(t, "a", "trouble")
	r.at = r.at.AddDate(0, 0, 7)
	if n := r.deliver(t); n != 1 {
		t.Errorf("delivered %d, want it although it is old: nobody has tried", n)
	}
}

func TestANoticeThatGoesAgainHasTheSameID(t *testing.T) {
	r := newRound(t, nil)
	r.post(t, "a", "trouble")
	cut, cancel := context.WithCancel(t.Context())
	send := r.Send
	r.Send = func(ctx context.Context, n notice.Notice) error { // the store goes away between sending and booking
		defer cancel()
		return errors.Join(send(ctx, n), r.Ledger.Close())
	}
	if _, err := r.Deliver(cut); err == nil {
		t.Fatal("the store went away, and nobody says so")
	}
	r.start(t)
	r.at = r.at.Add(time.Hour)
	r.deliver(t)
	r.post(t, "a", "over")
	r.deliver(t)
	r.at = r.at.Add(time.Hour)
	r.post(t, "a", "trouble")
	r.deliver(t)
	if len(r.tries) != 4 || r.tries[0].ID == "" || r.tries[0].ID != r.tries[1].ID {
		t.Fatalf("got %+v, want the first notice twice with one id", r.tries)
	}
	ids := map[string]bool{}
	for _, n := range r.tries {
		ids[n.ID] = true
	}
	if len(ids) != 3 {
		t.Errorf("the ids of three notices are %v", ids)
	}
}

func TestNewsThatComeWhileANoticeIsSentGoToo(t *testing.T) {
	r := newRound(t, nil)
	r.post(t, "a", "trouble")
	send := r.Send
	r.Send = func(ctx context.Context, n notice.Notice) error {
		if n.Subject == "trouble" {
			r.post(t, "a", "over")
		}
		return send(ctx, n)
	}
	r.deliver(t)
	var got []string
	for _, n := range r.tries {
		got = append(got, n.Subject)
	}
	if diff := cmp.Diff([]string{"trouble", "over"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestALetterThatIsNoNoticeHoldsNobodyUp(t *testing.T) {
	r := newRound(t, nil)
	if err := r.Ledger.Post(t.Context(), ledger.Letter{Kind: "notice-mail", Subject: "a", Body: []byte("{")}); err != nil {
		t.Fatal(err)
	}
	r.post(t, "b", "trouble")
	if n := r.deliver(t); n != 1 || r.backlog(t).Parked != 1 {
		t.Errorf("delivered %d, %+v", n, r.backlog(t))
	}
}

func TestACourierStopsWithItsContext(t *testing.T) {
	r := newRound(t, nil)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r.post(t, "a", "trouble")
		r.Send = func(ctx context.Context, _ notice.Notice) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}
		r.Run(ctx)
	})
	if b := r.backlog(t); b != (ledger.Backlog{Waiting: 1}) {
		t.Errorf("got %+v, want the notice that was cut off to wait, untried", b)
	}
}

func TestANoticeThatCouldNotBeBookedIsNotSentAgain(t *testing.T) {
	r := newRound(t, nil)
	r.post(t, "a", "trouble")
	send := r.Send
	r.Send = func(ctx context.Context, n notice.Notice) error { return errors.Join(send(ctx, n), r.Ledger.Close()) }
	if _, err := r.Deliver(t.Context()); err == nil {
		t.Fatal("the store went away, and nobody says so")
	}
	same := r.Courier
	r.start(t)
	same.Ledger = r.Ledger
	r.Courier = same
	if n := r.deliver(t); n != 1 || len(r.tries) != 1 {
		t.Errorf("booked %d, sent %d times", n, len(r.tries))
	}
}

func TestACourierLooksAgainAndAgain(t *testing.T) {
	r := newRound(t, nil)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { r.Run(ctx); close(ended) }()
		for _, cause := range []string{"a", "b"} {
			synctest.Wait()
			r.post(t, cause, "trouble")
			time.Sleep(courierEvery)
		}
		synctest.Wait()
		cancel()
		<-ended
		if len(r.tries) != 2 {
			t.Errorf("got %+v, want each notice a round after it was posted", r.tries)
		}
	})
}
