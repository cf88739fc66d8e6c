package orchestration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

// NotifyPolicy says of which periods DHIS2 may notify people that an org unit is complete.
type NotifyPolicy string

// The policies. The zero one is NotifyLatest.
const (
	// NotifyLatest: of the month that closed last only, so that nobody is flooded when months are brought in late.
	NotifyLatest NotifyPolicy = "latest"
	NotifyAlways NotifyPolicy = "always"
	NotifyNever  NotifyPolicy = "never"
)

// Completeness says whether org units are registered in DHIS2 as complete.
type Completeness struct {
	// WhenAccepted registers those of which DHIS2 holds our part whole.
	WhenAccepted bool
	// Undo takes back a registration of ours that has lost its reason.
	Undo   bool
	Notify NotifyPolicy
}

// completes says whether the org units of a submission are to be registered. A repair knows nothing of what the CHT says now.
func completes(set DataSet, sub ledger.Submission) bool {
	return set.Completeness.WhenAccepted && !sub.DryRun && sub.Mode != ledger.ModeRepair
}

// registrationsARequest is how many registrations go in one request: few enough for a slow server to be done with them in time.
const registrationsARequest = 200

// completeStored does the step complete of a stored submission: it registers the org units of which DHIS2 holds our part whole,
// and takes back registrations of ours that have lost their reason, where so set. What is recorded is what DHIS2 shows, or is
// sent again: to register twice is to register once.
func (s *Submitter) completeStored(ctx context.Context, sub ledger.Submission) (*pause, error) {
	who, err := s.partiesOf(sub)
	if err != nil || !completes(who.set, sub) { // the configuration is another one by now
		return nil, s.finish(ctx, sub.ID, nil)
	}
	if err := s.isDown(ctx, "DHIS2 "+who.to.Name); err != nil {
		return pauseOf(err), nil
	}
	c := &completing{Submitter: s, submission: sub, who: who, calls: newEvidence(s.BodyLimit), day: s.now().In(who.from.zone()).Format(time.DateOnly)}
	todo, err := c.todo(ctx)
	if err != nil {
		return nil, err
	}
	if len(todo) == 0 {
		return nil, s.finish(ctx, sub.ID, nil)
	}
	found, err := c.ask(ctx, todo)
	if err == nil {
		c.lineUp(todo, found)
		err = c.send(ctx)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return c.conclude(ctx, err)
}

// completing is the registering of one submission, for one turn.
type completing struct {
	*Submitter

	submission ledger.Submission
	who        parties
	calls      *evidence
	// id is the data set's in DHIS2.
	id  string
	day string
	// queue are the requests that are left, known is what is known by now and not booked.
	queue [][]ledger.Registration
	known []ledger.Registration
	moved bool
	least time.Duration
	// failing counts the single registrations in a row on which DHIS2's import failed, before any was taken.
	failing, done, total int
}

// conclude stores how the turn ended.
func (c *completing) conclude(ctx context.Context, err error) (*pause, error) {
	c.noteDown(ctx, "DHIS2 "+c.who.to.Name, err)
	if wait := pauseOf(err); wait != nil {
		wait.moved, wait.least = c.moved, c.least
		if wait.waitsFor(c.submission.Key) == c.submission.WaitingFor {
			return wait, nil
		}
		return wait, c.book(ctx, nil)
	}
	var stopped *cancelledError
	var f *failure
	switch {
	case errors.As(err, &stopped):
		f = cancelled(stopped.by)
	case errors.As(err, new(*dhis2.Error)): // DHIS2 will not say, and nothing is registered unseen
		refused := failureOf(err)
		f, err = &refused, c.book(ctx, nil)
		if err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	return nil, c.finish(ctx, c.submission.ID, f)
}

// todo gives what may have to be registered, or undone.
func (c *completing) todo(ctx context.Context) (todo []ledger.Registration, err error) {
	all, _, err := c.registrations(ctx, c.submission, c.who.set.Coverage)
	for _, r := range all {
		if c.mayRegister(r) || c.mayUndo(r) {
			todo = append(todo, r)
		}
	}
	return todo, err
}

// mayRegister says that a registration is due, unless DHIS2 shows one. What was found or refused in this submission stays. A
// submission that sends everything looks again at what it takes for registered, as DHIS2 may have lost it.
func (c *completing) mayRegister(r ledger.Registration) bool {
	switch r.State {
	case "", ledger.Registering, ledger.Undoing, ledger.Undone, ledger.NotRegistered:
		return r.Whole && (!r.Now || r.State != ledger.NotRegistered)
	default:
		return r.Whole && !r.Now && c.submission.Mode == ledger.ModeFull
	}
}

// mayUndo says that a registration of ours has lost its reason, and is not to stay.
func (c *completing) mayUndo(r ledger.Registration) bool {
	ours := r.State == ledger.Registered || r.State == ledger.Registering || r.State == ledger.Undoing
	return ours && !r.Whole && c.who.set.Completeness.Undo && (!r.Now || r.Reason == "")
}

// registry is what DHIS2 shows of what is to be registered.
type registry struct {
	*metadata

	// by are the registrations, and who made them last.
	by map[dhis2.Registration]string
}

// ask asks DHIS2 for what it shows.
func (c *completing) ask(ctx context.Context, todo []ledger.Registration) (s registry, err error) {
	client, name := c.who.to.Client, "DHIS2 "+c.who.to.Name
	defer func() { c.contacted(name, err) }()
	s.by = map[dhis2.Registration]string{}
	if s.metadata, _, err = c.metadata(ctx, c.who, c.calls); err != nil {
		return s, err
	}
	c.id = s.set.ID
	slice := dhis2.Slice{DataSet: c.id, Period: c.submission.Period}
	for _, r := range todo {
		slice.OrgUnits = append(slice.OrgUnits, r.OrgUnit)
	}
	if len(todo) > mostListedUnits {
		slice.OrgUnits = nil
		for _, root := range s.user.OrgUnits {
			slice.OrgUnits = append(slice.OrgUnits, root.ID)
		}
	}
	err = client.Registrations(c.calls.call(ctx, "Read which org units are complete in "+name), slice, func(r dhis2.StoredRegistration) {
		if r.AttributeOptionCombo == s.set.DefaultCombo {
			r.AttributeOptionCombo = ""
		}
		s.by[r.Registration] = r.By
	})
	return s, err
}

// lineUp compares with what DHIS2 shows, and lines up what is left to be done.
func (c *completing) lineUp(todo []ledger.Registration, s registry) {
	var undo, register []ledger.Registration
	for _, r := range todo {
		r.Reason = ""
		switch state := decide(r, s); {
		case state == r.State && state == ledger.Registered: // as it is known
		case state == ledger.Undoing:
			r.State = state
			undo = append(undo, r)
		case state != ledger.Registering:
			r.State = state
			c.known = append(c.known, r)
		default:
			if r.State, r.Reason = ledger.Registering, unfit(r, s); r.Reason != "" {
				r.State = ledger.NotRegistered
				c.known = append(c.known, r)
				continue
			}
			register = append(register, r)
		}
	}
	c.total = len(undo) + len(register)
	c.queue = append(batches(undo), batches(register)...)
}

// decide gives the state that a registration has by what DHIS2 shows, or Registering or Undoing for one that is to be sent. What
// a person has registered or taken back stays so.
func decide(r ledger.Registration, s registry) ledger.RegistrationState {
	completeBy, complete := s.by[dhis2.Registration{OrgUnit: r.OrgUnit, AttributeOptionCombo: r.AttributeOptionCombo, Completed: true}]
	openBy, open := s.by[dhis2.Registration{OrgUnit: r.OrgUnit, AttributeOptionCombo: r.AttributeOptionCombo}]
	oursOnce := r.State == ledger.Registered || r.State == ledger.Registering || r.State == ledger.Undoing
	switch {
	case complete && oursOnce && completeBy == s.user.Username && r.Whole:
		return ledger.Registered
	case complete && oursOnce && completeBy == s.user.Username:
		return ledger.Undoing
	case complete:
		return ledger.OfOthers
	case !r.Whole && r.State == ledger.Registering && !open: // it did not arrive
		return ledger.NotRegistered
	case !r.Whole && r.State != ledger.Registered:
		return ledger.Undone
	case !r.Whole:
		return ledger.Reopened
	case open && (openBy != s.user.Username || r.State != ledger.Undone && r.State != ledger.Undoing && r.State != ledger.Registering):
		return ledger.Reopened
	default:
		return ledger.Registering
	}
}

// unfit says why an org unit is not to be registered; empty where it may be. DHIS2 takes a registration of an org unit that the
// data set is not assigned to, and makes a missing attribute option combo the default one.
func unfit(r ledger.Registration, s registry) string {
	set := &s.set
	known := r.AttributeOptionCombo == "" && set.DefaultCombo != ""
	for _, id := range set.AttributeOptionCombos {
		known = known || id == r.AttributeOptionCombo
	}
	switch {
	case !s.orgUnits.Has(r.OrgUnit):
		return "data set " + set.ID + " is not assigned to the org unit in DHIS2"
	case !known && r.AttributeOptionCombo == "":
		return "data set " + set.ID + " needs an attribute option combo"
	case !known:
		return "attribute option combo " + r.AttributeOptionCombo + " is none of data set " + set.ID
	}
	return ""
}

func batches(list []ledger.Registration) (queue [][]ledger.Registration) {
	for len(list) > 0 {
		n := min(len(list), registrationsARequest)
		queue, list = append(queue, list[:n:n]), list[n:]
	}
	return queue
}

// send sends request after request. Each is recorded before it goes, with what became of the one before.
func (c *completing) send(ctx context.Context) error {
	quiet := c.quiet(ctx)
	for len(c.queue) > 0 {
		c.watch(Progress{Step: completeStep, Done: c.done, Total: c.total})
		batch := c.queue[0]
		if err := c.book(ctx, batch); err != nil {
			return err
		}
		if err := c.mayGoOn(ctx); err != nil {
			return err
		}
		undoes := batch[0].State == ledger.Undoing
		sent := dhis2.RegistrationBatch{DataSet: c.id, Period: c.submission.Period, Date: c.day, Quiet: quiet || undoes}
		for _, r := range batch {
			sent.Registrations = append(sent.Registrations, dhis2.Registration{OrgUnit: r.OrgUnit, AttributeOptionCombo: r.AttributeOptionCombo, Completed: !undoes})
		}
		name := "Register completeness: "
		if undoes {
			name = "Undo completeness: "
		}
		o, err := c.who.to.Client.Register(c.calls.call(ctx, name+counted(len(batch), "org unit")), sent)
		if err != nil {
			return err
		}
		if err := c.take(batch, o); err != nil {
			return err
		}
	}
	return c.book(ctx, nil)
}

// mostFailing is how many single registrations may fail DHIS2's import in a row, before any was taken, until that is called
// trouble of DHIS2.
const mostFailing = 3

// take takes in what became of a request.
func (c *completing) take(batch []ledger.Registration, o dhis2.RegistrationOutcome) error {
	c.contacted("DHIS2 "+c.who.to.Name, errorOf(o.Failure))
	switch {
	case o.Failure != nil:
		c.least = o.Wait
		return o.Failure
	case o.Split:
		middle := len(batch) / 2
		c.queue = append([][]ledger.Registration{batch[:middle], batch[middle:]}, c.queue[1:]...)
		return nil
	}
	if len(o.Refused) < len(batch) {
		c.moved, c.failing = true, 0
	} else if o.Broken && !c.moved {
		c.failing++
	}
	if c.failing >= mostFailing {
		return &dhis2.Error{Kind: dhis2.Unavailable, Status: http.StatusConflict, Temporary: true, What: o.Refused[0], Remedy: "look at DHIS2's log"}
	}
	for i, r := range batch {
		reason, refused := o.Refused[i]
		r.State, r.Reason = fateOf(r.State, refused), reason
		c.known = append(c.known, r)
	}
	c.queue = c.queue[1:]
	c.done += len(batch)
	return nil
}

// fateOf is the state of a registration after its answer. One that could not be undone stands as before.
func fateOf(sent ledger.RegistrationState, refused bool) ledger.RegistrationState {
	switch {
	case sent == ledger.Undoing && !refused:
		return ledger.Undone
	case sent != ledger.Undoing && refused:
		return ledger.NotRegistered
	default:
		return ledger.Registered
	}
}

// book stores what is known by now, and what is about to be sent.
func (c *completing) book(ctx context.Context, next []ledger.Registration) error {
	step := ledger.RegisteringStep{Known: c.known, Exchanges: c.calls.json(), Sending: next}
	err := c.Ledger.Register(context.WithoutCancel(ctx), c.submission.ID, completeStep, step)
	c.known, c.calls = nil, newEvidence(c.BodyLimit)
	if err == nil && c.moved && c.submission.WaitingFor != "" {
		c.submission.WaitingFor = ""
		err = c.Ledger.Waiting(context.WithoutCancel(ctx), c.submission.ID, "")
	}
	return err
}

// mayGoOn gives an error when somebody stops the process or has cancelled the submission.
func (c *completing) mayGoOn(ctx context.Context) error {
	by, err := c.Ledger.Cancelled(ctx, c.submission.ID)
	if err == nil && by != "" {
		err = &cancelledError{by}
	}
	return errors.Join(ctx.Err(), err)
}

// quiet says whether DHIS2 is to notify nobody. Where nobody can tell which month closed last, it is not this one.
func (c *completing) quiet(ctx context.Context) bool {
	switch c.who.set.Completeness.Notify {
	case NotifyAlways:
		return false
	case NotifyNever:
		return true
	}
	calendar, err := c.calendar(ctx, c.who.from)
	if err != nil {
		return true
	}
	latest, err := latestClosed(&c.who.set, calendar, c.now(), c.who.from.zone())
	return err != nil || latest != c.submission.Period
}

// completed tells what came of registering, at the end of a submission. Why it could not be done, f, changes nothing of what
// became of the values, and is told beside it; but that a person stopped it does.
func (s *Submitter) completed(ctx context.Context, sub ledger.Submission, f *failure, end *ledger.End) error {
	var policy CoveragePolicy
	if who, err := s.partiesOf(sub); err == nil {
		policy = who.set.Coverage
	}
	all, lacking, err := s.registrations(ctx, sub, policy)
	if err != nil {
		return err
	}
	count := &ledger.Completeness{}
	end.Completeness = count
	var reopened, left []string
	for _, r := range all {
		switch {
		case r.Now && r.Reason != "":
			count.Refused++
			end.Issues = append(end.Issues, refusedRegistration(sub, r))
		case r.Now && r.State == ledger.Undone:
			count.Undone++
		case r.Now && r.State == ledger.Registered && r.Whole:
			count.Registered++
		case r.Whole && (r.State == ledger.Registered || r.State == ledger.OfOthers):
			count.Already++
		case r.Now && r.State == ledger.Reopened:
			reopened = append(reopened, r.OrgUnit)
		case r.Whole && r.State != ledger.Reopened:
			left = append(left, r.OrgUnit)
		}
	}
	if len(reopened) > 0 {
		end.Issues = append(end.Issues, issue.Issue{
			Code: "completeness_reopened", Severity: issue.Note, Count: len(reopened), OrgUnit: reopened[0],
			Text:   fmt.Sprintf("somebody has taken the registration of these org units as complete back in DHIS2, %s first, and it stays so", reopened[0]),
			Remedy: "whoever has reopened the form registers it again when it is right",
		})
	}
	if lacking > 0 {
		end.Issues = append(end.Issues, issue.Issue{
			Code: "completeness_below_coverage", Severity: issue.Note, Count: lacking,
			Text:   fmt.Sprintf("fewer than %d %% of the expected workers have synced in these org units, so they are not complete, whatever has arrived", policy.Completeness),
			Remedy: "see who has not synced (mediator coverage --workers); the next submission of the period registers those from which enough have",
		})
	}
	if f != nil && f.reason != Stopped {
		remedy := "the next submission of the period registers them"
		if f.remedy != "" {
			remedy = f.remedy + "; " + remedy
		}
		end.Issues = append(end.Issues, issue.Issue{
			Code: "completeness_unfinished", Severity: issue.Note, Count: max(len(left), 1), Text: "not all org units were registered as complete: " + f.text, Remedy: remedy,
		})
	}
	s.log(sub.ID, sub.Key).WithField("registered", count.Registered).WithField("already", count.Already).WithField("undone", count.Undone).
		WithField("refused", count.Refused).Info("org units are registered as complete")
	return nil
}

func refusedRegistration(sub ledger.Submission, r ledger.Registration) issue.Issue {
	text := "not registered as complete: " + r.Reason
	if r.State == ledger.Registered {
		text = "still registered as complete: " + r.Reason
	}
	if r.AttributeOptionCombo != "" {
		text += " (attribute option combo " + r.AttributeOptionCombo + ")"
	}
	return issue.Issue{
		Code: "completeness_refused", Severity: issue.Note, Count: 1, OrgUnit: r.OrgUnit, Text: text,
		Remedy: "the values are in; mend what DHIS2 says and submit " + sub.Period.String() + " again, or register it in DHIS2",
	}
}
