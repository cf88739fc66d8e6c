package main

import (
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/cht-dhis2/mediator/orchestration"
)

// verifiedReport is a report with what was read back after it.
type verifiedReport struct {
	orchestration.Report

	Verified orchestration.Verification `json:"verified"`
}

// printVerified prints a report, and what was read back, for a machine or for a person. What stood in the way is said on the
// standard error too.
func (a *app) printVerified(r verifiedReport, asJSON, each bool) error {
	if !asJSON {
		if err := a.print(r.Report, false, each); err != nil {
			return err
		}
	} else if r.Error != "" {
		a.say(r.Report)
	}
	v := r.Verified
	if v.Error != "" {
		a.say(orchestration.Report{Error: v.Error, Remedy: v.Remedy})
	}
	if asJSON {
		return a.encode(r)
	}
	a.tellVerification(v)
	return nil
}

// tellVerification prints what was read back.
func (a *app) tellVerification(v orchestration.Verification) {
	different := v.Differ + v.Missing + v.Unexpected
	switch {
	case v.Error != "":
		fmt.Fprintf(a.stdout, "  %s\n", v.Error)
		return
	case v.Cells+v.Unknown+different == 0:
		fmt.Fprintln(a.stdout, "  read back: nothing, as DHIS2 never accepted anything of this period")
		return
	case v.Unknown+different == 0:
		fmt.Fprintf(a.stdout, "  read back: %d cells, all as sent\n", v.Cells)
		return
	}
	fmt.Fprintf(a.stdout, "  read back: %d cells; %d differ, %d are missing, %d are there and should not be, of %d the outcome is unknown\n",
		v.Cells, v.Differ, v.Missing, v.Unexpected, v.Unknown)
	if v.Remedy != "" {
		fmt.Fprintf(a.stdout, "      what to do: %s\n", v.Remedy)
	}
	cells := a.table("", "org unit", "data element", "category option combo", "accepted", "dhis2", "stored by", "at")
	shown := 0
	for _, list := range [][]orchestration.VerifiedCell{v.Different, v.Doubtful} {
		for _, c := range list[:min(len(list), shownPairs-shown)] {
			cells.AppendRow(table.Row{c.Verdict, c.OrgUnit, c.DataElement, c.CategoryOptionCombo, c.Accepted, c.DHIS2, c.StoredBy, c.LastUpdated})
			shown++
		}
	}
	cells.Render()
	if more := different + v.Unknown - shown; more > 0 {
		fmt.Fprintf(a.stdout, "    and %d more, which reconcile --csv lists\n", more)
	}
}
