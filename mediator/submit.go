package main

import (
	"fmt"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

type submitCommand struct {
	requestFlags

	DryRun bool `help:"Let DHIS2 check everything and store nothing."`
	Full   bool `help:"Send everything that the CHT says, not only what differs: what somebody changed in DHIS2 is overwritten."`
	Each   bool `help:"Show the result of each org unit."`
	Verify bool `help:"Read back afterwards what DHIS2 holds, and tell which cells differ from what it accepted."`
}

// Run sends each source's part of the data set, one after the other.
func (c submitCommand) Run(a *app) error {
	if c.Verify && c.DryRun {
		return &orchestration.UsageError{What: "--verify reads back what was stored, and --dry-run stores nothing", Remedy: "leave one of them out"}
	}
	s, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	err = c.submit(a, s, submitting{each: c.Each, verify: c.Verify, set: func(r *orchestration.Request) {
		r.DryRun = c.DryRun
		if c.Full {
			r.Mode = ledger.ModeFull
		}
	}})
	if err != nil || !s.Ledger.HasRole() {
		return err
	}
	return c.takeUp(a, s)
}

// submitting is how a command submits.
type submitting struct {
	// set says in a request what is meant.
	set func(*orchestration.Request)
	// each shows the result of each org unit, verify reads back what DHIS2 holds.
	each, verify bool
}

// submit submits each period of each source, and prints what became of it.
func (c requestFlags) submit(a *app, s *orchestration.Submitter, how submitting) error {
	requests, err := c.requests(s)
	if err != nil {
		return err
	}
	s.Wait = c.Wait
	if err := takeRole(a, s.Ledger); err != nil {
		return err
	}
	var reasons []orchestration.Reason
	for _, request := range requests {
		how.set(&request)
		if a.ctx.Err() != nil {
			return a.ctx.Err()
		}
		bar := a.newBar()
		s.Watch = bar.show
		report, err := s.Submit(a.ctx, request)
		bar.end()
		if err != nil {
			return err
		}
		reasons = append(reasons, reasonOf(report))
		if !how.verify {
			if err := a.print(report, c.JSON, how.each); err != nil {
				return err
			}
			continue
		}
		verified := s.Verify(a.ctx, report.ID)
		reasons = append(reasons, verified.Reason)
		if err := a.printVerified(verifiedReport{report, verified}, c.JSON, how.each); err != nil {
			return err
		}
	}
	return endWith(gravest(reasons))
}

// takeUp carries on with what a killed process has left in the middle.
func (submitCommand) takeUp(a *app, s *orchestration.Submitter) error {
	s.Watch = nil
	ids, err := s.TakeUp(a.ctx)
	for _, id := range ids {
		fmt.Fprintf(a.stderr, "mediator: submission %s, which was left in the middle, is carried through too\n", id)
	}
	return err
}

// reasonOf is the reason for the exit code: one that the service still carries has not been accepted yet.
func reasonOf(r orchestration.Report) orchestration.Reason {
	switch {
	case r.Reason != "":
		return r.Reason
	case r.State == ledger.Held:
		return orchestration.NothingAccepted
	case !r.State.Ended():
		return orchestration.DHIS2Unavailable
	default:
		return ""
	}
}

// print prints a report for a machine or for a person. What ended it early is said on the standard error too.
func (a *app) print(report orchestration.Report, asJSON, each bool) error {
	if report.Error != "" {
		a.say(report)
	}
	if asJSON {
		return a.encode(report)
	}
	return a.tell(report, each)
}

// endWith makes the end of a command of its reason.
func endWith(reason orchestration.Reason) error {
	if reason == "" {
		return nil
	}
	return &reasonError{reason}
}
