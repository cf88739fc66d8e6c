package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/cht-dhis2/mediator/config"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

type doctorCommand struct {
	settingsFlags

	TryExport bool   `help:"Also ask each CHT for an export, the only proof of the permission. The CHT reads a whole month for it."`
	TryImport bool   `help:"Also let DHIS2 check a few values of that export, as a dry run: it stores none."`
	JSON      bool   `name:"json" help:"Print for machines."`
	HTML      string `name:"html" help:"Also write a page to this file, to be sent to somebody." placeholder:"FILE"`
}

// Run tries everything, whatever fails on the way, and ends with the gravest finding.
func (c doctorCommand) Run(a *app) error {
	settings, err := c.load(a)
	if err != nil {
		return err
	}
	log, err := newLog(a, cmp.Or(c.LogLevel, "error"))
	if err != nil {
		return err
	}
	s, err := newSubmitter(settings, a, log)
	if err != nil {
		return err
	}
	examiner := newExaminer(settings, s)
	examiner.TryExport, examiner.TryImport, examiner.Open = c.TryExport || c.TryImport, c.TryImport, checkedStore(store(settings, a))
	made := examiner.Examine(a.ctx)
	if c.HTML != "" {
		if err := writePage(c.HTML, made); err != nil {
			return err
		}
	}
	if c.JSON {
		err = a.encode(made.Findings)
	} else {
		a.tellExamination(made)
	}
	if err != nil {
		return err
	}
	var reasons []orchestration.Reason
	for _, found := range made.Findings {
		reasons = append(reasons, found.Reason)
	}
	return endWith(gravest(reasons))
}

// newExaminer joins what an examination needs.
func newExaminer(settings *config.Config, s *orchestration.Submitter) *orchestration.Examiner {
	e := orchestration.NewExaminer(s)
	for _, set := range settings.Effective() {
		e.Configuration += set.Key + "=" + set.Value + "\n"
	}
	if !settings.OpenHIM.IsSet() {
		return e
	}
	e.OpenHIM = &orchestration.Hub{URN: settings.OpenHIM.URN, Channel: settings.OpenHIM.Channel, Heartbeat: settings.OpenHIM.Heartbeat}
	_, wrong := registration(settings)
	var err error
	e.OpenHIM.Client, e.OpenHIM.Peer, err = openHIMClient(settings.OpenHIM, s.Now)
	e.OpenHIM.Registration = errors.Join(wrong, err)
	return e
}

// checkedStore opens the store, and reads the whole of it.
func checkedStore(at ledger.Config) func(context.Context) (*ledger.Ledger, func(), error) {
	return func(ctx context.Context) (*ledger.Ledger, func(), error) {
		l, err := ledger.Open(ctx, at)
		if err != nil {
			return nil, nil, err
		}
		done := func() { _ = l.Close() } // nothing was written that matters
		if err := l.Check(ctx); err != nil {
			done()
			return l, nil, err
		}
		return l, done, nil
	}
}

func writePage(name string, made orchestration.Examination) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return &orchestration.UsageError{What: fmt.Sprintf("write the page: %v", err), Remedy: "give a file that can be written with --html"}
	}
	return errors.Join(made.WriteHTML(file), file.Close())
}

// tellExamination prints a table for a person: what is to be looked at comes with why, what to do and who can.
func (a *app) tellExamination(made orchestration.Examination) {
	t := a.table("", "server", "check", "found")
	for _, found := range made.Findings {
		t.AppendRow(table.Row{found.State, found.Server, found.Check, found.Detail})
		if found.State == orchestration.Green {
			continue
		}
		t.AppendRow(table.Row{"", "", "", "why: " + found.Why})
		if found.Remedy != "" {
			t.AppendRow(table.Row{"", "", "", fmt.Sprintf("what to do (%s): %s", found.Who, found.Remedy)})
		}
	}
	t.Render()
	fmt.Fprintln(a.stdout, made.Conclusion())
}

func sortedNames[T any](things map[string]T) []string {
	names := make([]string, 0, len(things))
	for name := range things {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
