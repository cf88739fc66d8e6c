package main

import (
	"bufio"
	"io"
	"os"
	"path/filepath"

	"github.com/cht-dhis2/mediator/orchestration"
)

type exportCommand struct {
	settingsFlags
	selection

	Format string `help:"json or csv, as DHIS2's import app reads them." default:"json" enum:"json,csv"`
	Output string `help:"The file to write; the standard output when left out." short:"o" placeholder:"FILE"`
}

// Run prepares the data set and writes what may be uploaded. What stays behind is told on the standard error.
func (c exportCommand) Run(a *app) error {
	s, err := c.submitter(a)
	if err != nil {
		return err
	}
	requests, err := c.requests(s)
	if err != nil {
		return err
	}
	if len(requests) > 1 && requests[0].Period != requests[1].Period {
		return &orchestration.UsageError{What: "a range has several periods, and a file holds one", Remedy: "name one with --period"}
	}
	if len(requests) > 1 {
		return &orchestration.UsageError{What: "the data set has several sources, and a file holds one", Remedy: "choose one with --cht"}
	}
	bar := a.newBar()
	s.Watch = bar.show
	plan, err := s.Prepare(a.ctx, requests[0])
	bar.end()
	if err != nil {
		return err
	}
	defer plan.Close()
	report := plan.Report()
	a.tellBehind(a.stderr, report)
	if report.Error != "" {
		a.say(report)
		return endWith(report.Reason)
	}
	if err := c.write(a, plan); err != nil {
		return err
	}
	return endWith(report.Reason)
}

func (c exportCommand) write(a *app, plan *orchestration.Plan) error {
	if c.Output == "" {
		return c.writeTo(a.stdout, plan)
	}
	// A file that is there is whole: it gets its name last.
	file, err := os.CreateTemp(filepath.Dir(c.Output), ".export-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	err = c.writeTo(file, plan)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), c.Output)
}

func (c exportCommand) writeTo(to io.Writer, plan *orchestration.Plan) error {
	w := bufio.NewWriter(to)
	write := plan.WriteJSON
	if c.Format == "csv" {
		write = plan.WriteCSV
	}
	if err := write(w); err != nil {
		return err
	}
	return w.Flush()
}
