package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

// onSubmission are the options of the commands that act on a stored submission.
type onSubmission struct {
	settingsFlags

	ID   string        `arg:"" help:"The submission's id, as status shows it."`
	Wait time.Duration `help:"How long to pause in all for a server that is away; the tries themselves come on top." default:"1m"`
	JSON bool          `name:"json" help:"Print for machines."`
}

type retryCommand struct{ onSubmission }

// Run lets what failed of a submission go again.
func (c retryCommand) Run(a *app) error {
	return c.act(a, (*orchestration.Submitter).Retry)
}

type approveCommand struct{ onSubmission }

// Run lets a held submission go.
func (c approveCommand) Run(a *app) error {
	return c.act(a, (*orchestration.Submitter).Approve)
}

type rejectCommand struct{ onSubmission }

// Run ends a held submission.
func (c rejectCommand) Run(a *app) error {
	return c.act(a, (*orchestration.Submitter).Reject)
}

type cancelCommand struct{ onSubmission }

// Run ends a submission that is under way.
func (c cancelCommand) Run(a *app) error {
	return c.act(a, (*orchestration.Submitter).Cancel)
}

// act does something with a submission, sees it through, and prints what became of it.
func (c onSubmission) act(a *app, do func(s *orchestration.Submitter, ctx context.Context, id, by string) error) error {
	s, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	s.Wait = c.Wait
	if err := takeRole(a, s.Ledger); err != nil {
		return err
	}
	if err := do(s, a.ctx, c.ID, commandLine); err != nil {
		return explainState(c.ID, err)
	}
	bar := a.newBar()
	s.Watch = bar.show
	report, err := s.Follow(a.ctx, c.ID)
	bar.end()
	if err != nil {
		return err
	}
	if err := a.print(report, c.JSON, false); err != nil {
		return err
	}
	return endWith(reasonOf(report))
}

// explainState says what to do where a submission is not in a state for what was asked.
func explainState(id string, err error) error {
	var remedy string
	var notNow *orchestration.NotNowError
	switch {
	case errors.As(err, &notNow):
		remedy = notNow.Remedy
	case errors.Is(err, ledger.ErrNotFound):
		err, remedy = ledger.ErrNotFound, "mediator status lists the submissions"
	case errors.Is(err, ledger.ErrState):
		remedy = "mediator status shows how it stands"
	case errors.Is(err, ledger.ErrNewer):
		remedy = "retry that one, or submit the period anew"
	case errors.Is(err, ledger.ErrThinned):
		remedy = "submit the period anew"
	default:
		return err
	}
	return &orchestration.UsageError{What: fmt.Sprintf("submission %s: %v", id, err), Remedy: remedy}
}
