package main

import (
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

type statusCommand struct {
	settingsFlags

	ID    string `arg:"" optional:"" help:"Show one submission, by its id."`
	Limit int    `help:"How many submissions to show, the last ones first." default:"10"`
	JSON  bool   `name:"json" help:"Print for machines."`
}

// status is how the service stands, as the API tells it too.
type status struct {
	// Worker is the process that works the submissions; empty where none does.
	Worker       string                 `json:"worker"`
	ConsoleFault string                 `json:"console_fault,omitempty"`
	Schedule     orchestration.Schedule `json:"schedule"`
	Submissions  []orchestration.Report `json:"submissions"`
	Outbox       outbox                 `json:"outbox"`
}

type outbox struct {
	Waiting int        `json:"waiting"`
	Parked  int        `json:"parked"`
	Oldest  *time.Time `json:"oldest,omitempty"`
}

// Run shows what ran, what is next, what waits and why. It asks no server.
func (c statusCommand) Run(a *app) error {
	if c.Limit < 1 {
		return &orchestration.UsageError{What: fmt.Sprintf("--limit is %d", c.Limit), Remedy: "give a number from 1 on"}
	}
	s, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	if c.ID != "" {
		report, err := s.Report(a.ctx, c.ID)
		if err != nil {
			return explainState(c.ID, err)
		}
		return a.print(report, c.JSON, true)
	}
	found, err := c.read(a, s)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.encode(found)
	}
	a.tellStatus(found)
	return nil
}

func (c statusCommand) read(a *app, s *orchestration.Submitter) (found status, err error) {
	found = status{Worker: s.Ledger.Worker(a.ctx), ConsoleFault: s.ConsoleFault(a.ctx), Submissions: []orchestration.Report{}}
	if found.Schedule, err = orchestration.NewScheduler(s).Schedule(a.ctx); err != nil {
		return found, err
	}
	list, err := s.Ledger.Submissions(a.ctx, ledger.Filter{Limit: c.Limit})
	if err != nil {
		return found, err
	}
	for _, sub := range list {
		found.Submissions = append(found.Submissions, s.Summary(sub))
	}
	backlog, err := s.Ledger.Backlog(a.ctx)
	found.Outbox = outbox{Waiting: backlog.Waiting, Parked: backlog.Parked}
	if !backlog.Oldest.IsZero() {
		found.Outbox.Oldest = &backlog.Oldest
	}
	return found, err
}

const minutes = "2006-01-02 15:04"

// tellStatus prints how the service stands for a person.
func (a *app) tellStatus(s status) {
	if s.Worker == "" {
		fmt.Fprintln(a.stdout, "No process works the submissions: start mediator serve.")
	} else {
		fmt.Fprintf(a.stdout, "The submissions are worked by %s.\n", s.Worker)
	}
	if s.ConsoleFault != "" {
		fmt.Fprintf(a.stdout, "The configuration from OpenHIM's console is refused, and the last good one is in force:\n  %s\n", s.ConsoleFault)
	}
	a.tellSchedule(s.Schedule)
	fmt.Fprintf(a.stdout, "\nSubmissions, the last ones first:\n")
	t := a.table("submission", "data set", "period", "from", "state", "accepted", "refused", "left behind", "synced", "begun", "why")
	for _, r := range s.Submissions {
		why := r.Error
		if r.WaitingFor != "" {
			why = "waits since " + r.WaitingSince.Format(minutes) + ": " + r.WaitingFor
		}
		state := string(r.State)
		if r.DryRun {
			state += " (dry run)"
		}
		behind, synced := r.Counts.Quarantined, ""
		if r.State.Ended() {
			behind += r.Counts.Held
		}
		if c := r.Coverage; c != nil {
			synced = fmt.Sprintf("%d of %d", c.Seen, c.Expected)
		}
		t.AppendRow(table.Row{r.ID, r.DataSet, r.Period, r.CHT, state, r.Counts.Accepted, r.Counts.Refused, behind, synced, r.CreatedAt.Format(minutes), short(why)})
	}
	if len(s.Submissions) == 0 {
		fmt.Fprintln(a.stdout, "  none yet")
	} else {
		t.Render()
	}
	if s.Outbox.Waiting > 0 {
		fmt.Fprintf(a.stdout, "\n%d reports and notices wait to be delivered, the oldest since %s.\n", s.Outbox.Waiting, s.Outbox.Oldest.Format(minutes))
	}
	if s.Outbox.Parked > 0 {
		fmt.Fprintf(a.stdout, "\n%d reports and notices were refused for good and are kept here only.\n", s.Outbox.Parked)
	}
}

// tellSchedule prints what is next.
func (a *app) tellSchedule(s orchestration.Schedule) {
	fmt.Fprintf(a.stdout, "\nSchedule (times are UTC):\n")
	t := a.table("data set", "from", "schedule", "next", "overdue", "last run", "remarks")
	for _, part := range s.DataSets {
		schedule, next, last, remarks := part.Schedule, "", "", part.Problem
		if schedule == "" {
			schedule = "on request only"
		}
		if !part.Enabled {
			schedule = "switched off"
		}
		if part.NextAt != nil {
			next = part.NextAt.UTC().Format(minutes)
		}
		for _, p := range part.Periods {
			if p.StartedAt != nil {
				last = p.Period + " " + p.Ended
			}
		}
		if len(part.Differs) > 0 {
			remarks = fmt.Sprintf("the console says otherwise than the file: %v. %s", part.Differs, remarks)
		}
		t.AppendRow(table.Row{part.DataSet, part.CHT, schedule, next, part.Overdue, last, remarks})
	}
	t.Render()
}
