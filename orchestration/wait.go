package orchestration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

// pause is why a step cannot go on now, and how the submission ends when nobody waits any longer.
type pause struct {
	failure

	// least is the least time to let pass; spent is what was lost on the way.
	least, spent time.Duration
	// passes says that it may pass by itself, moved that the step got somewhere before.
	passes, moved bool
	// source says that it is the CHT that is waited for, room that it is room for temporary files, ours that it is a fault of
	// the mediator's, not DHIS2.
	source, room, ours bool
	// turn says that it is another source's submission.
	turn bool
}

// waitsFor says for whom a submission waits, and why.
func (p *pause) waitsFor(key ledger.Key) string {
	switch {
	case p.room:
		return "room on the disk: " + p.text
	case p.turn:
		return "its turn: " + p.text
	case p.ours:
		return "a fault of the mediator to be mended: " + p.text
	case p.source:
		return "CHT " + key.CHT + ": " + p.text
	}
	return "DHIS2 " + key.DHIS2 + ": " + p.text
}

// pauseOf gives the pause after an error that time, or a person at a server, can mend; nil for any other, and for none.
func pauseOf(err error) *pause {
	if err == nil {
		return nil
	}
	f := failureOf(err)
	if ledger.NoRoom(err) {
		return &pause{failure: f, passes: true, room: true}
	}
	switch f.reason {
	case CHTUnavailable, DHIS2Unavailable, Credentials:
		return &pause{failure: f, passes: mayPass(err), source: errors.As(err, new(*cht.Error))}
	default:
		return nil
	}
}

func mayPass(err error) bool {
	var source *cht.Error
	var destination *dhis2.Error
	return errors.As(err, &source) && source.Temporary || errors.As(err, &destination) && destination.Temporary
}

// The pauses of the service.
const (
	firstPause = 5 * time.Second
	// usualLongest is the longest between two tries of a server that is away, unless set otherwise.
	usualLongest = 15 * time.Minute
	// mendingPause is the least for what a person has to mend; see down.go.
	mendingPause = 16 * time.Minute
)

// grown is the pause after a server was away for so long: half as long again, within bounds, and not the same for all.
func grown(away, longest time.Duration) time.Duration {
	wait := min(max(away/2, firstPause), longest)
	return wait - rand.N(wait/5)
}

func (s *Submitter) longestPause() time.Duration {
	if s.LongestPause > 0 {
		return s.LongestPause
	}
	return usualLongest
}

// waits writes down what the service waits for, and says how long. At the end of the submission's window it gives up, and
// says 0.
func (s *Submitter) waits(ctx context.Context, id string, p *pause) (time.Duration, error) {
	sub, err := s.Ledger.Submission(ctx, id)
	if err != nil {
		return 0, err
	}
	now, why := s.now(), p.waitsFor(sub.Key)
	if now.After(s.windowEnd(sub)) {
		return 0, s.finish(ctx, id, &p.failure)
	}
	since := now
	if who, _, _ := strings.Cut(why, ":"); strings.HasPrefix(sub.WaitingFor, who+":") && !p.moved && sub.WaitingSince.Before(now) {
		since = sub.WaitingSince
	}
	wait := max(p.least, grown(now.Sub(since), s.longestPause()))
	if !p.passes {
		wait = max(wait, mendingPause+rand.N(mendingPause/10))
	}
	if p.moved {
		if err := s.Ledger.Waiting(ctx, id, ""); err != nil {
			return 0, err
		}
	}
	if sub.WaitingFor != why || p.moved {
		s.log(id, sub.Key).WithField("reason", string(p.reason)).WithField("waits_for", why).Warn("submission waits")
	}
	s.Metrics.waited(p.reason)
	return wait, s.Ledger.Waiting(ctx, id, why)
}

// leastWindow is how long a submission is waited for in any case.
const leastWindow = 7 * 24 * time.Hour

// windowEnd is until when it makes sense to wait for a submission: as long as its period is read again for late data, and
// some days in any case.
func (s *Submitter) windowEnd(sub ledger.Submission) time.Time {
	end := sub.CreatedAt.Add(leastWindow)
	last := sub.Period.Last().AddDate(0, 0, 1+s.Operation(sub.DataSet).RereadDays)
	if last.After(end) {
		return last
	}
	return end
}

// patience is how long one submission may still wait for servers that are away, while somebody waits for it in the
// foreground. One without time left does not wait.
type patience struct {
	submitter *Submitter
	left      time.Duration
	next      time.Duration
}

func (s *Submitter) newPatience() *patience {
	return &patience{submitter: s, left: s.Wait, next: firstPause}
}

// with calls f, again after growing pauses while it fails with what may pass. A call that fails uses up patience too.
func (p *patience) with(ctx context.Context, server string, f func() error) error {
	for {
		started := time.Now()
		err := f()
		if err != nil {
			p.left -= time.Since(started)
		}
		if err == nil || !mayPass(err) || !p.pause(ctx, 0, server+" is away") {
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err() // who stopped it wants to hear that it was stopped
			}
			return err
		}
	}
}

// pause waits, at least as long as least says, and says whether there was patience left to do so.
func (p *patience) pause(ctx context.Context, least time.Duration, why string) bool {
	if p.left <= 0 || least > p.left || ctx.Err() != nil {
		return false
	}
	wait := max(least, min(p.next, p.left))
	p.left -= wait
	p.next *= 2
	p.submitter.watch(Progress{Waiting: fmt.Sprintf("%s, next try in %s", why, wait.Round(time.Second))})
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
