package main

import (
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/orchestration"
)

type previewCommand struct {
	requestFlags

	Full   bool `help:"Show everything that the CHT says, not only what differs from what DHIS2 holds; DHIS2's values are not read."`
	Each   bool `help:"Show the result of each org unit."`
	Values bool `help:"Show every value that would be sent."`
}

// Run prepares each source's part of the data set and shows it.
func (c previewCommand) Run(a *app) error {
	s, done, err := c.planner(a)
	if err != nil {
		return err
	}
	defer done()
	requests, err := c.requests(s)
	if err != nil {
		return err
	}
	s.Wait = c.Wait
	var reasons []orchestration.Reason
	for _, request := range requests {
		bar := a.newBar()
		s.Watch = bar.show
		request.Compare = !c.Full
		plan, err := s.Prepare(a.ctx, request)
		bar.end()
		if err != nil {
			return err
		}
		report := plan.Report()
		reasons = append(reasons, report.Reason)
		err = c.show(a, plan, report)
		plan.Close()
		if err != nil {
			return err
		}
	}
	return endWith(gravest(reasons))
}

func (c previewCommand) show(a *app, plan *orchestration.Plan, report orchestration.Report) error {
	if c.JSON {
		if report.Error != "" {
			a.say(report)
		}
		return plan.WritePreview(a.stdout)
	}
	if err := a.print(report, false, c.Each); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "  Rules, in the order in which they are applied:")
	rules := a.table("rule", "set to", "values touched")
	for _, r := range report.Rules {
		rules.AppendRow(table.Row{r.Rule, r.Setting, r.Values})
	}
	rules.Render()
	if !c.Values {
		return nil
	}
	t := a.table("org unit", "data element", "category option combo", "attribute option combo", "value")
	err := plan.Values(func(v mapping.Value) error {
		t.AppendRow(table.Row{v.OrgUnit, v.DataElement, v.CategoryOptionCombo, v.AttributeOptionCombo, v.Value})
		return nil
	})
	t.Render()
	return err
}
