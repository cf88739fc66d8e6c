package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

type coverageCommand struct {
	settingsFlags
	selection

	Now     bool `help:"Ask the CHT now, and do not tell what was found at the last submission."`
	Workers bool `help:"Show who has not synced, by name. All target documents of the period are read for it; names are shown and kept nowhere."`
	JSON    bool `name:"json" help:"Print for machines: one line of JSON for each source."`
}

// covered is what the command tells of a source.
type covered struct {
	DataSet string `json:"data_set"`
	Period  string `json:"period"`
	CHT     string `json:"cht"`
	DHIS2   string `json:"dhis2"`
	// ReadAt is when the CHT was read.
	ReadAt time.Time `json:"read_at"`

	ledger.CoverageTotals

	OrgUnits []ledger.OrgUnitCoverage `json:"org_units"`
	// Workers is there where it was asked for.
	Workers *orchestration.Workers `json:"workers,omitempty"`
}

// Run tells how many of the expected workers have synced, by org unit, and who has not. Nothing is sent or remembered.
func (c coverageCommand) Run(a *app) error {
	s, done, err := c.planner(a)
	if err != nil {
		return err
	}
	defer done()
	requests, err := c.requests(s)
	if err != nil {
		return err
	}
	var reasons []orchestration.Reason
	for _, request := range requests {
		found, err := c.read(a, s, request)
		if errors.As(err, new(*orchestration.UsageError)) {
			return err
		}
		if err != nil {
			what, remedy := orchestration.Explain(err)
			a.say(orchestration.Report{Error: what, Remedy: remedy})
			reasons = append(reasons, orchestration.ReasonOf(err))
			continue
		}
		if !c.JSON {
			c.tell(a, found)
		} else if err := a.encode(found); err != nil {
			return err
		}
	}
	return endWith(gravest(reasons))
}

// read reads what is known of a source, or what it says now.
func (c coverageCommand) read(a *app, s *orchestration.Submitter, r orchestration.Request) (found covered, err error) {
	bar := a.newBar()
	s.Watch = bar.show
	defer bar.end()
	known := ledger.Coverage{}
	err = ledger.ErrNotFound
	if s.Ledger != nil && !c.Now {
		known, err = s.Coverage(a.ctx, r)
	}
	if errors.Is(err, ledger.ErrNotFound) {
		known, err = s.ReadCoverage(a.ctx, r)
	}
	if err != nil {
		return found, err
	}
	known.Units = slices.DeleteFunc(known.Units, func(u ledger.OrgUnitCoverage) bool {
		return len(c.OrgUnit) > 0 && !slices.Contains(c.OrgUnit, u.OrgUnit)
	})
	found = covered{
		DataSet: known.Key.DataSet, Period: known.Key.Period.String(), CHT: known.Key.CHT, DHIS2: known.Key.DHIS2, ReadAt: known.ReadAt.UTC(),
		CoverageTotals: known.Totals, OrgUnits: append([]ledger.OrgUnitCoverage{}, known.Units...),
	}
	if !c.Workers {
		return found, nil
	}
	r.Period = found.Period
	workers, err := s.Workers(a.ctx, r)
	for _, list := range []*[]orchestration.Worker{&workers.Missing, &workers.Duplicates} {
		*list = slices.DeleteFunc(*list, func(w orchestration.Worker) bool {
			return len(c.OrgUnit) > 0 && !slices.ContainsFunc(w.OrgUnits, func(id string) bool { return slices.Contains(c.OrgUnit, id) })
		})
	}
	found.Workers = &workers
	return found, err
}

// tell prints it for a person.
func (c coverageCommand) tell(a *app, found covered) {
	fmt.Fprintf(a.stdout, "\n%s, %s: %s, as the CHT was at %s UTC\n  %s\n", found.DataSet, found.Period, found.CHT, found.ReadAt.Format(minutes), coverageLine(&found.CoverageTotals))
	t := a.table("org unit", "expected", "seen", "share", "others", "stale", "oldest", "")
	for _, u := range found.OrgUnits {
		share, stale, mark := "", "", ""
		if u.Expected > 0 {
			share = fmt.Sprintf("%d %%", u.Seen*100/u.Expected)
		}
		if u.Stale != nil {
			stale = fmt.Sprint(*u.Stale)
		}
		if u.Seen*100 < found.Threshold*u.Expected {
			mark = "below"
		}
		t.AppendRow(table.Row{u.OrgUnit, u.Expected, u.Seen, share, u.Others, stale, u.Oldest, mark})
	}
	t.Render()
	if found.Stale == nil && len(found.OrgUnits) > 0 {
		fmt.Fprintln(a.stdout, "  How old the documents are is not known: their ids were read, and not what stands in them.")
	}
	if found.Expected == 0 {
		fmt.Fprintln(a.stdout, "  Nobody is expected: expected_contact_types says who is; without it those of whom there is a document of this period or of the three months before.")
	}
	for _, id := range c.OrgUnit {
		if !slices.ContainsFunc(found.OrgUnits, func(u ledger.OrgUnitCoverage) bool { return u.OrgUnit == id }) {
			fmt.Fprintf(a.stdout, "  Org unit %s is on no place of the CHT, or a rule leaves it out: check the id, it is the one in DHIS2, after renaming.\n", id)
		}
	}
	for _, m := range found.Missing {
		fmt.Fprintf(a.stdout, "  target %s is missing on the phones of %d\n", m.Target, m.Workers)
	}
	if found.Workers != nil {
		a.tellWorkers(found.Workers)
	}
}

// tellWorkers prints who has not synced. Names are printed here and nowhere else.
func (a *app) tellWorkers(w *orchestration.Workers) {
	if len(w.Missing) == 0 {
		fmt.Fprint(a.stdout, "\n  Not synced: none of those who are expected.\n")
	} else {
		a.tellMissing(w.Missing)
	}
	a.tellFaulty(w)
}

func (a *app) tellMissing(workers []orchestration.Worker) {
	fmt.Fprintf(a.stdout, "\n  Not synced (%d):\n", len(workers))
	missing := a.table("org unit", "name", "type", "contact", "months")
	for _, one := range workers {
		missing.AppendRow(table.Row{strings.Join(one.OrgUnits, ", "), one.Name, one.Type, one.Contact, strings.Join(one.Months, ", ")})
	}
	missing.Render()
}

// tellFaulty prints documents that cannot be used, and workers with several users.
func (a *app) tellFaulty(w *orchestration.Workers) {
	if len(w.Malformed) > 0 {
		fmt.Fprintf(a.stdout, "\n  Documents that cannot be used; with them the CHT's own export of the month fails, or has sums that are no numbers (%d):\n", len(w.Malformed))
		malformed := a.table("document", "why")
		for _, one := range w.Malformed {
			malformed.AppendRow(table.Row{one.Document, one.Why})
		}
		malformed.Render()
	}
	if len(w.Duplicates) > 0 {
		fmt.Fprintf(a.stdout, "\n  With documents of several users (%d):\n", len(w.Duplicates))
		duplicates := a.table("org unit", "name", "type", "contact", "users")
		for _, one := range w.Duplicates {
			duplicates.AppendRow(table.Row{strings.Join(one.OrgUnits, ", "), one.Name, one.Type, one.Contact, strings.Join(one.Users, ", ")})
		}
		duplicates.Render()
	}
}

// coverageLine says in a line how many of the expected workers have synced.
func coverageLine(c *ledger.CoverageTotals) string {
	line := fmt.Sprintf("Workers: %d of %d expected have synced", c.Seen, c.Expected)
	if c.Others > 0 {
		line += fmt.Sprintf(", and %d others", c.Others)
	}
	line += fmt.Sprintf("; %s below %d %%", several(c.OrgUnitsBelow, "org unit"), c.Threshold)
	if c.Stale != nil && *c.Stale > 0 {
		are := "are"
		if *c.Stale == 1 {
			are = "is"
		}
		line += fmt.Sprintf("; %s %s from before the last week of the period, the oldest from %s", several(*c.Stale, "document"), are, c.Oldest)
	}
	if len(c.Missing) > 0 {
		line += fmt.Sprintf("; %s missing on phones, %s on %d", several(len(c.Missing), "target"), c.Missing[0].Target, c.Missing[0].Workers)
	}
	return line + "."
}

// several tells a number of things.
func several(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
