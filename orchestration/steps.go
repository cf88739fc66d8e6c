package orchestration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

// step does the step of a kind that is due for a submission. A nil pause says that the step is done, and that the job of
// the next one is stored. An error is trouble with the store, or says that the context ended.
func (s *Submitter) step(ctx context.Context, id, kind string) (*pause, error) {
	sub, err := s.Ledger.Submission(ctx, id)
	if err != nil {
		return nil, err
	}
	switch {
	case kind == concludeStep:
		return nil, s.conclude(ctx, sub)
	case sub.State.Ended(): // a job that was left over
		return nil, nil
	case sub.CancelledBy != "": // one that is held by now too
		return nil, s.finish(ctx, id, cancelled(sub.CancelledBy))
	case sub.State == ledger.Held: // another one that was
		return nil, nil
	case stepOf(sub.State) == prepareStep:
		return s.prepareStored(ctx, sub)
	case stepOf(sub.State) == completeStep:
		return s.completeStored(ctx, sub)
	default:
		return s.sendStored(ctx, sub)
	}
}

func cancelled(by string) *failure {
	return &failure{state: ledger.Cancelled, reason: Stopped, text: "stopped by " + by}
}

// finish ends a submission: with a failure, or as its counts say.
func (s *Submitter) finish(ctx context.Context, id string, f *failure) error {
	ctx = context.WithoutCancel(ctx)
	if err := s.settleLost(ctx, id); err != nil {
		return err
	}
	sub, err := s.Ledger.Submission(ctx, id)
	if err != nil {
		return err
	}
	var completed ledger.End
	if sub.State == ledger.Completing {
		if err := s.completed(ctx, sub, f, &completed); err != nil {
			return err
		}
		if f != nil && f.reason != Stopped { // the values are through
			f = nil
		}
	}
	if f == nil && sub.Counts.Accepted == 0 && sub.Counts.Refused > 0 {
		if f, err = s.locked(ctx, id); err != nil {
			return err
		}
	}
	end := endOf(sub.Counts, f)
	end.Completeness, end.Issues = completed.Completeness, completed.Issues
	foretold, err := s.foretold(ctx, id, sub.NotKept)
	if err != nil {
		return err
	}
	if sub.NotKept > foretold {
		end.Issues = append(end.Issues, issue.Issue{
			Code: zerosNotKept, Severity: issue.Note, Count: sub.NotKept,
			Text:   fmt.Sprintf("DHIS2 %s took these zeros and stores none, as zero is not significant for their data elements", factsOf(sub).Version),
			Remedy: "tick \"store zero data values\" on those data elements whose zeros are wanted",
		})
	}
	return s.Ledger.Finish(ctx, id, end, s.jobs.next(concludeStep))
}

// foretold is how many zeros preparing said that DHIS2 would not keep, where somebody wants to know.
func (s *Submitter) foretold(ctx context.Context, id string, notKept int) (n int, err error) {
	if notKept == 0 {
		return 0, nil
	}
	issues, err := s.Ledger.Issues(ctx, id)
	for _, i := range issues {
		if i.Code == zerosNotKept {
			n += i.Count
		}
	}
	return n, err
}

const zerosNotKept = "zeros_not_kept"

// locked says that DHIS2 refused everything that was sent, as the period is locked; nil where it is not so. What differs is
// among the refused cells, for a lock exception.
func (s *Submitter) locked(ctx context.Context, id string) (*failure, error) {
	var first *ledger.RefusedCell
	for c, err := range s.Ledger.Refused(ctx, id) {
		if err != nil {
			return nil, err
		}
		if !dhis2.Locks(c.Code) {
			return nil, nil
		}
		if first == nil {
			first = &c
		}
	}
	if first == nil {
		return nil, nil
	}
	return &failure{
		state: ledger.Refused, reason: NothingAccepted, remedy: first.Remedy,
		text: fmt.Sprintf("DHIS2 takes nothing of this period now: %s: %s", first.Code, first.Reason),
	}, nil
}

// endOf says how a submission ends. What ended it early weighs most, then what stayed behind.
func endOf(c ledger.Counts, f *failure) ledger.End {
	if f != nil {
		if f.state == ledger.Refused && c.Accepted > 0 {
			return ledger.End{State: ledger.PartlyAccepted, Reason: string(LeftBehind), Error: f.text, Remedy: f.remedy}
		}
		return ledger.End{State: f.state, Reason: string(f.reason), Error: f.text, Remedy: f.remedy}
	}
	behind := c.Refused + c.Quarantined
	switch {
	case c.Held > 0: // what is held for its coverage goes by itself later, so that nothing is refused
		return ledger.End{State: ledger.PartlyAccepted, Reason: string(LeftBehind)}
	case c.Accepted+c.Unchanged > 0 && behind > 0:
		return ledger.End{State: ledger.PartlyAccepted, Reason: string(LeftBehind)}
	case behind > 0:
		return ledger.End{State: ledger.Refused, Reason: string(NothingAccepted)}
	case c.Accepted == 0:
		return ledger.End{State: ledger.Unchanged}
	default:
		return ledger.End{State: ledger.Accepted}
	}
}

// Submit begins a submission, or joins the one that is under way, and carries it through in the foreground: it works its
// steps where this process has the worker role, and follows the work of the one that has it otherwise. When the context
// ends the submission is cancelled, after the request that is on its way. The error is that of Begin, or trouble with the
// store; all else is in the report.
func (s *Submitter) Submit(ctx context.Context, r Request) (Report, error) {
	var sub ledger.Submission
	var began bool
	err := s.newPatience().with(ctx, "CHT "+r.CHT, func() (err error) {
		sub, began, err = s.Begin(ctx, r, nil)
		return err
	})
	if err != nil {
		return Report{}, err
	}
	return s.through(ctx, sub.ID, began)
}

// Follow sees a stored submission through in the foreground, as Submit does with the one that it begins.
func (s *Submitter) Follow(ctx context.Context, id string) (Report, error) {
	return s.through(ctx, id, false)
}

func (s *Submitter) through(ctx context.Context, id string, ours bool) (Report, error) {
	see := func() error { return s.follow(ctx, id, ours) }
	if s.Ledger.HasRole() {
		see = func() error { return s.carry(ctx, id, endsIt) }
	}
	if err := see(); err != nil {
		return Report{}, err
	}
	return s.Report(context.WithoutCancel(ctx), id)
}

// TakeUp carries on with the submissions that a killed process has left in the middle, and tells which. One that has to wait
// for longer than a command does is left to the service, and so is what is left when the context ends: others asked for it.
func (s *Submitter) TakeUp(ctx context.Context) (ids []string, err error) {
	if err := s.tellUntold(ctx); err != nil {
		return nil, err
	}
	left, err := s.Ledger.Submissions(ctx, ledger.Filter{States: []ledger.State{ledger.Preparing, ledger.Ready, ledger.Sending, ledger.Completing}, Limit: mostTakenUp})
	if err != nil {
		return nil, err
	}
	for _, sub := range left {
		if sub.WaitingFor != "" { // it waits for a server, which the service does better
			continue
		}
		err := s.carry(ctx, sub.ID, leavesIt)
		switch {
		case ctx.Err() != nil:
			return ids, nil //nolint:nilerr // who stops it has what was asked for, and what is left in the middle goes on later
		case err == nil:
			ids = append(ids, sub.ID)
		case !errors.Is(err, errLeft):
			return ids, err
		}
	}
	return ids, nil
}

const mostTakenUp = 100

// tellUntold tells the ends that a killed process has left untold.
func (s *Submitter) tellUntold(ctx context.Context) error {
	ids, err := s.Ledger.Untold(ctx, concludeStep)
	for _, id := range ids {
		var sub ledger.Submission
		if err == nil {
			sub, err = s.Ledger.Submission(ctx, id)
		}
		if err == nil {
			err = s.conclude(ctx, sub)
		}
		if err == nil {
			err = s.Ledger.DropJobs(ctx, id)
		}
	}
	return err
}

// givingUp is what who carries a submission does with it when it is stopped, or has no patience left.
type givingUp int

const (
	endsIt givingUp = iota
	// leavesIt lets it go on later, by the job that it has.
	leavesIt
)

// errLeft says that a submission was left to go on later.
var errLeft = errors.New("the submission goes on later")

// carry works the steps of a submission, one after the other, until it has ended or is held for a person.
func (s *Submitter) carry(ctx context.Context, id string, gives givingUp) error {
	storing := context.WithoutCancel(ctx)
	patience := s.newPatience()
	for {
		sub, err := s.Ledger.Submission(storing, id)
		if err != nil {
			return err
		}
		if sub.State.Ended() || sub.State == ledger.Held {
			if err := s.conclude(storing, sub); err != nil {
				return err
			}
			return s.Ledger.DropJobs(storing, id)
		}
		if ctx.Err() != nil {
			if gives == leavesIt {
				return errLeft
			}
			if err := s.finish(storing, id, &failure{state: ledger.Cancelled, reason: Stopped, text: "stopped by a person"}); err != nil {
				return err
			}
			continue
		}
		p, err := s.step(ctx, id, stepOf(sub.State))
		if ctx.Err() != nil {
			continue
		}
		if err != nil {
			return err
		}
		goesOn, err := s.bear(ctx, sub, patience, p)
		switch {
		case err != nil:
			return err
		case goesOn:
			continue
		case gives == leavesIt:
			return errLeft
		}
		if err := s.finish(ctx, id, &p.failure); err != nil {
			return err
		}
	}
}

// bear waits as a pause says, and says whether it goes on: not where there is no patience left.
func (s *Submitter) bear(ctx context.Context, sub ledger.Submission, patience *patience, p *pause) (goesOn bool, err error) {
	if p == nil || p.moved {
		patience.next = firstPause
	}
	if p == nil {
		return true, nil
	}
	if err := s.Ledger.Waiting(ctx, sub.ID, p.waitsFor(sub.Key)); err != nil {
		return false, err
	}
	patience.left -= p.spent
	waited := p.passes && patience.pause(ctx, p.least, p.text)
	return waited || ctx.Err() != nil, nil // who carries it looks at the context itself
}

// followEvery is how often a command looks at the work of the service.
const followEvery = 200 * time.Millisecond

// follow waits until the process that has the worker role has carried a submission through. It gives up when the
// submission waits for longer than a command does; the submission goes on all the same.
func (s *Submitter) follow(ctx context.Context, id string, ours bool) error {
	storing := context.WithoutCancel(ctx)
	stopped := false
	for {
		sub, err := s.Ledger.Submission(storing, id)
		if err != nil {
			return err
		}
		if sub.State.Ended() || sub.State == ledger.Held {
			return nil
		}
		c := sub.Counts
		s.watch(Progress{Step: "send", Done: c.Accepted + c.Refused, Total: c.Accepted + c.Refused + c.Unknown + c.Unsent, Waiting: sub.WaitingFor})
		if !sub.WaitingSince.IsZero() && s.now().Sub(sub.WaitingSince) > s.Wait {
			return nil
		}
		if s.Ledger.TakeRole(storing) == nil { // whoever worked it is gone
			return s.carry(ctx, id, endsIt)
		}
		if ctx.Err() != nil && !stopped {
			stopped = true
			if !ours { // somebody else asked for it
				return nil
			}
			if err := s.Cancel(storing, id, "command line"); err != nil && !errors.Is(err, ledger.ErrState) {
				return err
			}
		}
		pause := time.NewTimer(followEvery)
		if stopped {
			<-pause.C
			continue
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// Cancel asks for the end of a submission: after the request that is on its way, at once where there is none.
// ledger.ErrState says that it has ended.
func (s *Submitter) Cancel(ctx context.Context, id, by string) error {
	sub, err := s.Ledger.Submission(ctx, id)
	if err != nil {
		return err
	}
	if sub.State.Ended() {
		return fmt.Errorf("%w: it is %s", ledger.ErrState, sub.State)
	}
	if _, err := s.Ledger.Cancel(ctx, id, by); err != nil {
		return err
	}
	s.log(id, sub.Key).WithField("requested_by", by).Info("submission is cancelled")
	if sub.State == ledger.Held {
		if err := s.endHeld(ctx, id, cancelled(by)); !errors.Is(err, ledger.ErrState) {
			return err
		}
		sub.State = ledger.Sending // it was approved meanwhile
	}
	return s.jobs.insert(ctx, s.Ledger, sub)
}

// Retry lets what failed of an ended submission go again; see ledger.Reopen.
func (s *Submitter) Retry(ctx context.Context, id, by string) error {
	sub, err := s.Ledger.Submission(ctx, id)
	if err != nil {
		return err
	}
	if _, err := s.partiesOf(sub); err != nil {
		return err
	}
	_, err = s.Ledger.Reopen(ctx, id, s.jobs.next(sendStep)) // the state decides which step it is
	var shared *ledger.SharedError
	if errors.As(err, &shared) {
		return &NotNowError{
			What:   fmt.Sprintf("org unit %s came from CHT %s meanwhile, and would be overwritten", shared.OrgUnit, shared.CHT),
			Remedy: "let only one of the sources have the org unit, and submit the period again",
		}
	}
	if errors.Is(err, ledger.ErrState) && sub.State.Ended() && sub.Counts.Quarantined > 0 {
		return &NotNowError{
			What:   fmt.Sprintf("DHIS2 took all that was sent of it; %d cells stayed behind before that", sub.Counts.Quarantined),
			Remedy: "mend what their issues name, and submit the period again: each submission looks at them anew", err: err,
		}
	}
	if err == nil {
		s.log(id, sub.Key).WithField("requested_by", by).Info("what failed of a submission goes again")
	}
	return err
}

// Approve lets a held submission go.
func (s *Submitter) Approve(ctx context.Context, id, by string) error {
	sub, err := s.held(ctx, id)
	if err != nil {
		return err
	}
	s.log(id, sub.Key).WithField("requested_by", by).Info("held submission is approved")
	return s.Ledger.Approve(ctx, id, by, s.jobs.next(sendStep))
}

// Reject ends a held submission. Nothing of it is sent.
func (s *Submitter) Reject(ctx context.Context, id, by string) error {
	sub, err := s.held(ctx, id)
	if err != nil {
		return err
	}
	s.log(id, sub.Key).WithField("requested_by", by).Info("held submission is rejected")
	f := cancelled(by)
	f.text = "rejected by " + by
	return s.endHeld(ctx, id, f)
}

// endHeld ends a submission as long as it is held; ledger.ErrState says that it is not any more.
func (s *Submitter) endHeld(ctx context.Context, id string, f *failure) error {
	end := endOf(ledger.Counts{}, f)
	end.From = ledger.Held
	return s.Ledger.Finish(ctx, id, end, s.jobs.next(concludeStep))
}

func (s *Submitter) held(ctx context.Context, id string) (ledger.Submission, error) {
	sub, err := s.Ledger.Submission(ctx, id)
	if err == nil && sub.State != ledger.Held {
		err = fmt.Errorf("%w: it is %s, not held", ledger.ErrState, sub.State)
	}
	return sub, err
}
