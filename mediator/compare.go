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

	With string `help:"What is compared: dhis2, what the CHT gives with what DHIS2 holds; export or targets, the source that the data set is read from with the CHT's other one, with the cause of each difference." default:"dhis2" enum:"dhis2,export,targets"`
	CSV  string `name:"csv" help:"Write every cell to this file, also those that agree." placeholder:"FILE"`
	Each bool   `help:"Show each data element and org unit, not only those that differ most."`
}

// Run tells where the CHT and DHIS2 agree, before anything is sent.
func (c compareCommand) Run(a *app) error {
	s, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	if c.With != "dhis2" {
		return c.contrast(a, s)
	}
	return c.concord(a, s, concording{ledger.ModeDifferences, c.CSV, c.Each})
}

type reconcileCommand struct {
	requestFlags

	Repair bool   `help:"Send what DHIS2 holds otherwise than it accepted it, as it was accepted."`
	CSV    string `name:"csv" help:"Write every cell to this file, also those that agree." placeholder:"FILE"`
	Each   bool   `help:"Show each data element and org unit, not only those that differ most."`
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
	return c.concord(a, s, concording{ledger.ModeRepair, c.CSV, c.Each})
}

// repair submits what was accepted once more, where DHIS2 holds something else.
func (c reconcileCommand) repair(a *app, s *orchestration.Submitter) error {
	if c.CSV != "" {
		return &orchestration.UsageError{What: "--csv is for listing", Remedy: "list first, without --repair"}
	}
	return c.submit(a, s, submitting{each: c.Each, set: func(r *orchestration.Request) { r.Mode = ledger.ModeRepair }})
}

// concording is how a command compares.
type concording struct {
	// mode says what is compared with what DHIS2 holds.
	mode ledger.Mode
	// csv is a file for every cell; empty is none. each shows all data elements and org units.
	csv  string
	each bool
}

// concord compares each period of each source, and prints what it finds.
func (c requestFlags) concord(a *app, s *orchestration.Submitter, how concording) (err error) {
	requests, err := c.requests(s)
	if err != nil {
		return err
	}
	s.Wait = c.Wait
	write := func(orchestration.Request) func(orchestration.Pair) error { return nil }
	if how.csv != "" {
		sheet, err := os.OpenFile(how.csv, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		rows := csv.NewWriter(sheet)
		defer func() {
			rows.Flush()
			err = errors.Join(err, rows.Error(), sheet.Close())
		}()
		if err := rows.Write([]string{"period", "source", "org_unit", "data_element", "category_option_combo", "attribute_option_combo", side(how.mode), "dhis2", "verdict", "stored_by", "last_updated"}); err != nil {
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
		request.Mode = how.mode
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
			a.tellConcordance(found, how)
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

const (
	shownPairs = 50
	// shownTotals is how many data elements and org units are shown where not each is.
	shownTotals = 20
)

// tellConcordance prints where both sides agree.
func (a *app) tellConcordance(c orchestration.Concordance, how concording) {
	t, ours := c.Totals, side(how.mode)
	fmt.Fprintf(a.stdout, "\n%s, %s: %s and %s\n", c.DataSet, c.Period, c.CHT, c.DHIS2)
	if c.Error != "" {
		return
	}
	all := t.Same + t.Different()
	fmt.Fprintf(a.stdout, "  %d of %d values are the same; %d differ, %d are %s only, %d in DHIS2 only. Sums: %s %d, DHIS2 %d.\n",
		t.Same, all, t.Differ, t.OnlyCHT, map[string]string{"cht": "in the CHT", "accepted": "accepted"}[ours], t.OnlyDHIS2, ours, t.SumCHT, t.SumDHIS2)
	if all == 0 {
		return
	}
	var elements, orgUnits []table.Row
	for _, e := range c.Elements {
		elements = append(elements, totalsRow(e.DataElement, e.Totals))
	}
	for _, u := range c.OrgUnits {
		orgUnits = append(orgUnits, totalsRow(u.OrgUnit, u.Totals))
	}
	a.tellTotals("data element", elements, len(c.Elements), how)
	fmt.Fprintln(a.stdout)
	a.tellTotals("org unit", orgUnits, c.OrgUnitsTotal, how)
	if len(c.Different) == 0 {
		return
	}
	fmt.Fprintln(a.stdout)
	cells := a.table("org unit", "data element", "category option combo", ours, "dhis2", "stored by", "at")
	for _, p := range c.Different[:min(len(c.Different), shownPairs)] {
		cells.AppendRow(table.Row{p.OrgUnit, p.DataElement, p.CategoryOptionCombo, p.CHT, p.DHIS2, p.StoredBy, p.LastUpdated})
	}
	cells.Render()
	if more := t.Different() - min(len(c.Different), shownPairs); more > 0 {
		fmt.Fprintf(a.stdout, "    and %d more, which --csv lists\n", more)
	}
}

func totalsRow(id string, t orchestration.Totals) table.Row {
	return table.Row{id, t.Same, t.Differ, t.OnlyCHT, t.OnlyDHIS2, t.SumCHT, t.SumDHIS2}
}

// tellTotals prints the totals of data elements or org units, those that differ most first, of so many in all.
func (a *app) tellTotals(of string, rows []table.Row, all int, how concording) {
	if !how.each {
		rows = rows[:min(len(rows), shownTotals)]
	}
	t := a.table(of, "same", "differ", side(how.mode)+" only", "dhis2 only", "sum "+side(how.mode), "sum dhis2")
	t.AppendRows(rows)
	t.Render()
	switch more := all - len(rows); {
	case more > 0 && how.each:
		fmt.Fprintf(a.stdout, "    and %d more, whose cells --csv lists\n", more)
	case more > 0:
		fmt.Fprintf(a.stdout, "    and %d more, which differ no more than these: --each shows them\n", more)
	}
}
