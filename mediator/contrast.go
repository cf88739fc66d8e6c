package main

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/cht-dhis2/mediator/orchestration"
)

// contrast compares the two sources of a CHT with each other.
func (c compareCommand) contrast(a *app, s *orchestration.Submitter) (err error) {
	if len(c.OrgUnit) > 0 {
		return &orchestration.UsageError{What: "--org-unit is for comparing with DHIS2", Remedy: "leave it out: both sources are read whole, and --csv lists each org unit"}
	}
	requests, err := c.requests(s)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(s.DataSets, func(set orchestration.DataSet) bool { return set.ID == requests[0].DataSet })
	if at >= 0 && s.DataSets[at].FromTargets == (c.With == "targets") {
		other := map[string]string{"targets": "export", "export": "targets"}[c.With]
		return &orchestration.UsageError{What: "data set " + requests[0].DataSet + " is read from " + map[string]string{"targets": "target documents", "export": "the export"}[c.With] + " already", Remedy: "compare it with the other source: --with " + other}
	}
	s.Wait = c.Wait
	var rows *csv.Writer
	if c.CSV != "" {
		sheet, err := os.OpenFile(c.CSV, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		rows = csv.NewWriter(sheet)
		defer func() {
			rows.Flush()
			err = errors.Join(err, rows.Error(), sheet.Close())
		}()
		if err := rows.Write([]string{"period", "source", "org_unit", "data_element", "category_option_combo", "attribute_option_combo", "export", "targets", "causes"}); err != nil {
			return err
		}
	}
	var reasons []orchestration.Reason
	for _, request := range requests {
		var write func(orchestration.SourcePair) error
		if rows != nil {
			write = func(p orchestration.SourcePair) error {
				return rows.Write([]string{request.Period, request.CHT, p.OrgUnit, p.DataElement, p.CategoryOptionCombo, p.AttributeOptionCombo, p.Export, p.Targets, causesOf(p)})
			}
		}
		bar := a.newBar()
		s.Watch = bar.show
		found, err := s.Contrast(a.ctx, request, write)
		bar.end()
		if err != nil {
			return err
		}
		reasons = append(reasons, found.Reason)
		if found.Error != "" {
			a.say(orchestration.Report{Error: found.Error, Remedy: found.Remedy})
		}
		if c.JSON {
			err = a.encode(found)
		} else {
			a.tellContrast(found, c.Each)
		}
		if err != nil {
			return err
		}
	}
	return endWith(gravest(reasons))
}

// causesOf are the causes of a difference in words: each with what the cell is then, where there are several.
func causesOf(p orchestration.SourcePair) string {
	var causes []string
	for _, step := range p.Causes {
		text := string(step.Cause)
		if len(p.Causes) > 1 {
			text += " (→ " + cmp.Or(step.Value, "none") + ")"
		}
		causes = append(causes, text)
	}
	return strings.Join(causes, "; ")
}

// tellContrast prints where both sources agree, and why they do not.
func (a *app) tellContrast(c orchestration.Contrast, each bool) {
	fmt.Fprintf(a.stdout, "\n%s, %s: the export and the target documents of CHT %s; the data set is read from %s\n", c.DataSet, c.Period, c.CHT,
		map[string]string{"export": "the export", "targets": "target documents"}[c.Source])
	if c.Error != "" {
		return
	}
	fmt.Fprintf(a.stdout, "  %d of %d values are the same; %d differ, %d of them for no known cause.\n", c.Same, c.Same+c.Differ, c.Differ, c.Unexplained)
	if c.Changed > 0 {
		fmt.Fprintf(a.stdout, "  %d target documents changed while both were read: compare once more.\n", c.Changed)
	}
	if len(c.Causes) > 0 {
		t := a.table("cause", "cells", "")
		for _, one := range c.Causes {
			t.AppendRow(table.Row{one.Cause, one.Cells, one.Cause.Words()})
		}
		t.Render()
	}
	for _, i := range c.Issues {
		fmt.Fprintf(a.stdout, "%s: %s\n", i.Code, i.Text)
	}
	if len(c.Different) == 0 {
		return
	}
	fmt.Fprintln(a.stdout)
	shown := c.Different
	if !each {
		shown = shown[:min(len(shown), shownPairs)]
	}
	cells := a.table("org unit", "data element", "category option combo", "export", "targets", "cause")
	for _, p := range shown {
		cells.AppendRow(table.Row{p.OrgUnit, p.DataElement, p.CategoryOptionCombo, p.Export, p.Targets, causesOf(p)})
	}
	cells.Render()
	if more := c.Differ - len(shown); more > 0 {
		fmt.Fprintf(a.stdout, "    and %d more, which --csv lists\n", more)
	}
}
