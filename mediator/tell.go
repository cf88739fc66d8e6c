package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

// say tells on the standard error what ended a submission early.
func (a *app) say(r orchestration.Report) {
	fmt.Fprintf(a.stderr, "mediator: %s\n", r.Error)
	if r.Remedy != "" {
		fmt.Fprintf(a.stderr, "  what to do: %s\n", r.Remedy)
	}
}

// encode prints one line of JSON. What stands in it is no HTML and is not written as such.
func (a *app) encode(value any) error {
	out := json.NewEncoder(a.stdout)
	out.SetEscapeHTML(false)
	return out.Encode(value)
}

// tell prints a report for a person.
func (a *app) tell(r orchestration.Report, each bool) error {
	title := r.DataSet
	if r.Title != "" {
		title = r.Title + " (" + r.DataSet + ")"
	}
	dialect := ""
	if r.Dialect != "" {
		dialect = ", DHIS2 " + map[string]string{"2.42": "up to 2.42", "2.43": "2.43 or later"}[r.Dialect]
	}
	if _, err := fmt.Fprintf(a.stdout, "\n%s, %s: %s -> %s%s\n", title, r.Period, r.CHT, r.DHIS2, dialect); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "  %s\n", headline(r))
	t := a.table()
	c := r.Counts
	for _, line := range []struct {
		name  string
		count int
		means string
	}{
		{"fetched", c.Fetched, "came from the CHT"},
		{"dropped", c.Dropped, "left out by a rule, such as org units where everything is zero"},
		{"left behind", c.Quarantined, "cannot be sent, see the reasons below"},
		{"unchanged", c.Unchanged, "DHIS2 has them already"},
		{"accepted", c.Accepted, "DHIS2 took them"},
		{"refused", c.Refused, "DHIS2 did not take them, see the reasons below"},
		{"unknown", c.Unknown, "nobody can say whether DHIS2 holds them"},
		{"held", c.Held, map[bool]string{true: "wait until a person approves them", false: "wait until enough workers have synced"}[r.State == ledger.Held]},
		{"unsent", c.Unsent, map[bool]string{true: "would be sent", false: "not sent"}[r.State == ledger.Ready]},
	} {
		if line.count > 0 || line.name == "fetched" {
			t.AppendRow(table.Row{line.name, line.count, line.means})
		}
	}
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight}})
	t.Render()
	if d := r.Changes; d != nil {
		fmt.Fprintf(a.stdout, "  Since the last time %d values of %d org units changed; the sum of the month was %d and becomes %d.\n", d.Cells, d.OrgUnits, d.Was, d.Becomes)
	}
	if c := r.Coverage; c != nil {
		fmt.Fprintf(a.stdout, "  %s\n", coverageLine(c))
	}
	if c := r.Completeness; c != nil {
		fmt.Fprintf(a.stdout, "  Registered as complete: %d org units now, %d before; undone: %d; refused: %d.\n", c.Registered, c.Already, c.Undone, c.Refused)
	}
	a.tellBehind(a.stdout, r)
	if each {
		a.tellEach(r)
	}
	return nil
}

// headline says in one line how it stands.
func headline(r orchestration.Report) string {
	dry := ""
	if r.DryRun {
		dry = " (dry run: DHIS2 checked and stored nothing)"
	}
	u := r.OrgUnits
	switch r.State {
	case ledger.Ready:
		return fmt.Sprintf("ready: %d values of %d org units would be sent", r.Counts.Unsent, u.Unsent)
	case ledger.Accepted:
		return fmt.Sprintf("accepted: all %d values of %d org units arrived%s", r.Counts.Accepted, u.Accepted, dry)
	case ledger.Unchanged:
		if r.Counts.Unchanged > 0 {
			return fmt.Sprintf("unchanged: DHIS2 has all %d values already, so nothing was sent", r.Counts.Unchanged)
		}
		return "unchanged: there was nothing to send"
	case ledger.PartlyAccepted:
		already := ""
		if r.Counts.Unchanged > 0 {
			already = fmt.Sprintf("; DHIS2 has %d others already", r.Counts.Unchanged)
		}
		return fmt.Sprintf("partly accepted: %d of %d values arrived, all of %d org units and some of %d%s%s",
			r.Counts.Accepted, r.Counts.Fetched-r.Counts.Dropped-r.Counts.Unchanged, u.Accepted, u.PartlyAccepted, already, dry)
	case ledger.Refused:
		return "refused: nothing was accepted" + dry
	case ledger.Cancelled:
		return fmt.Sprintf("stopped: %d values were accepted before, %d were not sent", r.Counts.Accepted, r.Counts.Unsent)
	case ledger.Held:
		return fmt.Sprintf("held: %d values of %d org units wait for approval: mediator approve %s", r.Counts.Held, u.Held, r.ID)
	case ledger.Failed:
		return fmt.Sprintf("failed: %d values were accepted, of %d nobody knows, %d were not sent", r.Counts.Accepted, r.Counts.Unknown, r.Counts.Unsent)
	default:
		waits := ""
		if r.WaitingFor != "" {
			waits = ", waiting: " + r.WaitingFor
		}
		return fmt.Sprintf("%s: the service goes on with it%s", r.State, waits)
	}
}

// tellBehind prints what did not arrive, gathered by reason, and what else is worth knowing.
func (a *app) tellBehind(to io.Writer, r orchestration.Report) {
	refused := group(r.Refused, func(c orchestration.RefusedCell) finding {
		f := finding{code: c.Code, example: place(c.OrgUnit, c.DataElement), said: c.Reason, remedy: c.Remedy, count: 1}
		if dhis2.CodeOf(c.Code).WholeSet {
			f.example = "the request was refused as a whole"
		}
		return f
	})
	printGroups(to, "Refused by DHIS2", refused, r.RefusedTotal-len(r.Refused))
	bySeverity := map[issue.Severity][]issue.Issue{}
	for _, i := range r.Issues {
		bySeverity[i.Severity] = append(bySeverity[i.Severity], i)
	}
	for _, part := range []struct {
		severity issue.Severity
		title    string
	}{{issue.Blocking, "Nothing can be sent"}, {issue.Cell, "Left behind"}, {issue.Note, "Good to know"}} {
		groups := group(bySeverity[part.severity], func(i issue.Issue) finding {
			return finding{code: i.Code, example: place(i.OrgUnit, i.DataElement), said: i.Text, remedy: i.Remedy, count: i.Count}
		})
		left := 0
		if part.severity == issue.Cell {
			left = r.IssuesTotal - len(r.Issues)
		}
		printGroups(to, part.title, groups, left)
	}
}

func place(orgUnit, dataElement string) string {
	if orgUnit == "" || dataElement == "" {
		return dataElement + orgUnit
	}
	return dataElement + " at " + orgUnit
}

// finding is what several findings with one code have together, and the first of them as an example.
type finding struct {
	code, example, said, remedy string
	count                       int
}

func group[T any](items []T, of func(T) finding) []finding {
	var groups []finding
	for _, item := range items {
		g := of(item)
		at := slices.IndexFunc(groups, func(known finding) bool { return known.code == g.code && known.remedy == g.remedy })
		if at < 0 {
			groups = append(groups, g)
			continue
		}
		groups[at].count += g.count
		groups[at].example = strings.TrimSuffix(groups[at].example, " among others") + map[bool]string{true: " among others"}[groups[at].example != "" && groups[at].example != g.example]
	}
	slices.SortStableFunc(groups, func(a, b finding) int { return cmp.Compare(b.count, a.count) })
	return groups
}

func printGroups(to io.Writer, title string, groups []finding, left int) {
	if len(groups) == 0 {
		return
	}
	fmt.Fprintf(to, "  %s:\n", title)
	for _, g := range groups {
		example := ""
		if g.example != "" {
			example = ", " + g.example
		}
		fmt.Fprintf(to, "    %d x %s%s\n      %s\n", g.count, g.code, example, g.said)
		if g.remedy != "" {
			fmt.Fprintf(to, "      what to do: %s\n", g.remedy)
		}
	}
	if left > 0 {
		fmt.Fprintf(to, "    and %d more that are not listed\n", left)
	}
}

// tellEach prints the result of each org unit.
func (a *app) tellEach(r orchestration.Report) {
	t := a.table("org unit", "state", "accepted", "refused", "left behind", "unchanged", "dropped", "unknown", "unsent", "held", "synced", "changes", "was", "becomes", "reason")
	for _, u := range r.Results {
		synced := ""
		if u.Expected != nil {
			synced = fmt.Sprintf("%d of %d", *u.Seen, *u.Expected)
		}
		t.AppendRow(table.Row{
			u.OrgUnit, u.State, u.Accepted, u.Refused, u.Quarantined, u.Unchanged, u.Dropped, u.Unknown, u.Unsent, u.Held, synced, u.Changes, u.Was, u.Becomes, short(u.Reason),
		})
	}
	t.Render()
	if left := r.ResultsTotal - len(r.Results); left > 0 {
		fmt.Fprintf(a.stdout, "    and %d more org units that are not listed\n", left)
	}
}

const shortText = 60

func short(s string) string {
	if runes := []rune(s); len(runes) > shortText {
		return string(runes[:shortText-1]) + "…"
	}
	return s
}

// table makes a table on the standard output.
func (a *app) table(heading ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(a.stdout)
	style := table.StyleLight
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	if len(heading) > 0 {
		t.AppendHeader(heading)
	}
	return t
}
