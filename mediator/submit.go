package main

import (
	"github.com/cht-dhis2/mediator/orchestration"
)

type submitCommand struct {
	requestFlags

	DryRun bool `help:"Let DHIS2 check everything and store nothing."`
	Each   bool `help:"Show the result of each org unit."`
}

// Run sends each source's part of the data set, one after the other.
func (c submitCommand) Run(a *app) error {
	s, err := c.submitter(a)
	if err != nil {
		return err
	}
	requests, err := c.requests(s)
	if err != nil {
		return err
	}
	s.Wait = c.Wait
	var reasons []orchestration.Reason
	for _, request := range requests {
		request.DryRun = c.DryRun
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
		if err := a.print(report, c.JSON, c.Each); err != nil {
			return err
		}
		reasons = append(reasons, report.Reason)
	}
	return endWith(gravest(reasons))
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
