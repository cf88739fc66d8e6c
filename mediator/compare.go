package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

type compareCommand struct {
	requestFlags

	With string `help:"What the CHT is compared with: dhis2, what DHIS2 holds." default:"dhis2" enum:"dhis2"`
	CSV  string `name:"csv" help:"Write every cell to this file, also those that agree." placeholder:"FILE"`
}

// Run tells where the CHT and DHIS2 agree, before anything is sent.
func (c compareCommand) Run(a *app) error {
	s, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	return c.concord(a, s, ledger.ModeDifferences, c.CSV)
}

type reconcileCommand struct {
	requestFlags

	Repair bool   `help:"Send what DHIS2 holds otherwise than it accepted it, as it was accepted."`
	CSV    string `name:"csv" help:"Write every cell to this file, also those that agree." placeholder:"FILE"`
}

// Run tells in which cells DHIS2 holds something else than it accepted, or mends them.
func (c reconcileCommand) Run(a *app) error {
	s, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	if c.Repair {
		return c.repair(a, s)
	}
	return c.concord(a, s, ledger.ModeRepair, c.CSV)
}

// repair submits what was accepted once more, where DHIS2 holds something else.
func (c reconcileCommand) repair(a *app, s *orchestration.Submitter) error {
	if c.CSV != "" {
		return &orchestration.UsageError{What: "--csv is for listing", Remedy: "list first, without --repair"}
	}
	return c.submit(a, s, func(r *orchestration.Request) { r.Mode = ledger.ModeRepair }, false)
}

// concord compares each period of each source, and prints what it finds.
func (c requestFlags) concord(a *app, s *orchestration.Submitter, mode ledger.Mode, file string) (err error) {
	requests, err := c.requests(s)
	if err != nil {
		return err
	}
	s.Wait = c.Wait
	write := func(orchestration.Request) func(orchestration.Pair) error { return nil }
	if file != "" {
		sheet, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		rows := csv.NewWriter(sheet)
		defer func() {
			rows.Flush()
			err = errors.Join(err, rows.Error(), sheet.Close())
		}()
		if err := rows.Write([]string{"period", "source", "org_unit", "data_element", "category_option_combo", "attribute_option_combo", side(mode), "dhis2", "verdict", "stored_by", "last_updated"}); err != nil {
			return err
		}
		write = func(r orchestration.Request) func(orchestration.Pair) error {
			return func(p orchestration.Pair) error {
				return rows.Write([]string{
					r.Period, r.CHT, p.OrgUnit, p.DataElement, p.CategoryOptionCombo, p.AttributeOptionCombo, p.CHT, p.DHIS2, string(p.Verdict), p.StoredBy, p.LastUpdated,
				})
			}
		}
	}
	var reasons []orchestration.Reason
	for _, request := range requests {
		request.Mode = mode
		bar := a.newBar()
		s.Watch = bar.show
		found, err := s.Concord(a.ctx, request, write(request))
		bar.end()
		if err != nil {
			return err
		}
		if found.Error != "" {
			a.say(orchestration.Report{Error: found.Error, Remedy: found.Remedy})
			reasons = append(reasons, found.Reason)
		}
		if c.JSON {
			err = a.encode(found)
		} else {
			a.tellConcordance(found, mode)
		}
		if err != nil {
			return err
		}
	}
	return endWith(gravest(reasons))
}

// side names what DHIS2 is compared with.
func side(mode ledger.Mode) string {
	if mode == ledger.ModeRepair {
		return "accepted"
	}
	return "cht"
}

const shownPairs = 50

// tellConcordance prints where both sides agree.
func (a *app) tellConcordance(c orchestration.Concordance, mode ledger.Mode) {
	t := c.Totals
	fmt.Fprintf(a.stdout, "\n%s, %s: %s and %s\n", c.DataSet, c.Period, c.CHT, c.DHIS2)
	if c.Error != "" {
		return
	}
	all := t.Same + t.Differ + t.OnlyCHT + t.OnlyDHIS2
	fmt.Fprintf(a.stdout, "  %d of %d values are the same; %d differ, %d are %s only, %d in DHIS2 only. Sums: %s %d, DHIS2 %d.\n",
		t.Same, all, t.Differ, t.OnlyCHT, map[string]string{"cht": "in the CHT", "accepted": "accepted"}[side(mode)], t.OnlyDHIS2, side(mode), t.SumCHT, t.SumDHIS2)
	if all == 0 {
		return
	}
	elements := a.table("data element", "same", "differ", side(mode)+" only", "dhis2 only", "sum "+side(mode), "sum dhis2")
	for _, e := range c.Elements {
		elements.AppendRow(table.Row{e.DataElement, e.Same, e.Differ, e.OnlyCHT, e.OnlyDHIS2, e.SumCHT, e.SumDHIS2})
	}
	elements.Render()
	if len(c.Different) == 0 {
		return
	}
	fmt.Fprintln(a.stdout)
	cells := a.table("org unit", "data element", "category option combo", side(mode), "dhis2", "stored by", "at")
	for _, p := range c.Different[:min(len(c.Different), shownPairs)] {
		cells.AppendRow(table.Row{p.OrgUnit, p.DataElement, p.CategoryOptionCombo, p.CHT, p.DHIS2, p.StoredBy, p.LastUpdated})
	}
	cells.Render()
	if more := all - t.Same - min(len(c.Different), shownPairs); more > 0 {
		fmt.Fprintf(a.stdout, "    and %d more, which --csv lists\n", more)
	}
}
