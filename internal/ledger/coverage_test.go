package ledger

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/target"
)

// covered is a coverage of some org units, of whose expected workers so many were seen.
func covered(units map[string][2]int, order ...string) *Coverage {
	c := &Coverage{Totals: CoverageTotals{Threshold: 80}}
	stale := 1
	for _, id := range order {
		w := Workers{Expected: units[id][0], Seen: units[id][1], Stale: &stale, Oldest: "2026-10-03"}
		c.Units = append(c.Units, OrgUnitCoverage{OrgUnit: id, Workers: w})
		c.Totals.Expected += w.Expected
		c.Totals.Seen += w.Seen
	}
	c.Totals.OrgUnitsBelow, c.Totals.Missing = 1, []Missing{{Target: "births", Workers: 2}}
	return c
}

// testCoverage keeps the coverage of a key until the next one, and adds up that of several sources.
func testCoverage(t *testing.T, l *Ledger, c *clock) {
	ctx := t.Context()
	prepare := func(k Key, dry bool, found *Coverage) Submission {
		s := begin(t, l, Request{Key: k, DryRun: dry})
		units := []OrgUnitOutcome{{OrgUnit: "OuA", Held: 2, Workers: &Workers{Expected: 4, Seen: 1}}, {OrgUnit: "OuB", Dropped: 1}}
		must(t, l.Prepared(ctx, s.ID, Preparation{
			State: PartlyAccepted, Counts: Counts{Fetched: 3, Held: 2, Dropped: 1}, OrgUnits: listed(units), Coverage: found,
		}, nil))
		return s
	}
	if _, err := l.CoverageOf(ctx, key()); !errors.Is(err, ErrNotFound) {
		t.Errorf("before anything is known: %v", err)
	}
	prepare(key(), false, covered(map[string][2]int{"OuA": {4, 4}}, "OuA"))
	want := covered(map[string][2]int{"OuA": {4, 1}, "OuB": {3, 3}}, "OuA", "OuB")
	s := prepare(key(), false, want)
	prepare(key(), true, covered(nil)) // a dry run is not remembered
	prepare(key(), false, nil)         // nor is that nobody could tell
	got, err := l.CoverageOf(ctx, key())
	must(t, err)
	if diff := cmp.Diff(want.Units, got.Units) + cmp.Diff(want.Totals, got.Totals); diff != "" || !got.ReadAt.Equal(l.Now()) {
		t.Errorf("read at %s: %s", got.ReadAt, diff)
	}
	page, err := l.OrgUnits(ctx, s.ID, OrgUnitFilter{})
	must(t, err)
	if len(page) != 2 || page[0].State != "held" || page[0].Workers == nil || page[0].Workers.Expected != 4 || page[0].Workers.Seen != 1 || page[1].Workers != nil {
		t.Errorf("got the org units %+v", page)
	}

	other, later := key(), key()
	other.CHT, later.Period = "siaya", periodOf("202611")
	prepare(other, false, covered(map[string][2]int{"OuB": {2, 0}}, "OuB"))
	prepare(later, false, covered(map[string][2]int{"OuA": {9, 9}}, "OuA"))
	workers, err := l.WorkersOfForm(ctx, s.ID)
	must(t, err)
	if diff := cmp.Diff(map[string]Workers{"OuA": {Expected: 4, Seen: 1}, "OuB": {Expected: 5, Seen: 3}}, workers); diff != "" {
		t.Error(diff)
	}
	for _, period := range []string{"2026", "2026Q3", "2026Q4"} { // the type of the data set may be changed
		of := key()
		of.Period = periodOf(period)
		prepare(of, false, covered(map[string][2]int{"OuA": {1, 1}}, "OuA"))
	}
	latest, err := l.LatestCoverage(ctx)
	must(t, err)
	var texts []string
	for _, one := range latest {
		texts = append(texts, one.Key.CHT+" "+one.Key.Period.String())
	}
	if diff := cmp.Diff([]string{"kisumu 2026", "kisumu 202611", "kisumu 2026Q4", "siaya 202610"}, texts); diff != "" {
		t.Error(diff)
	}

	month := TargetMonth{CHT: "kisumu", Month: "2026-10"}
	if owners, at, err := l.Heard(ctx, month); len(owners) > 0 || !at.IsZero() || err != nil {
		t.Errorf("before anybody was heard of: %v at %s, %v", owners, at, err)
	}
	for _, want := range [][]target.ID{{{1}, {2}, {3}}, {{2}}, nil} {
		must(t, l.SaveHeard(ctx, month, want))
		if owners, at, err := l.Heard(ctx, month); !slices.Equal(owners, want) || !at.Equal(l.Now()) || err != nil {
			t.Errorf("got %v at %s, %v; want %v", owners, at, err, want)
		}
	}

	c.at = c.at.AddDate(0, keepEvidence+1, 0)
	_, err = l.Thin(ctx, Keep{})
	must(t, err)
	if _, err := l.CoverageOf(ctx, key()); !errors.Is(err, ErrNotFound) {
		t.Errorf("it stays for ever: %v", err)
	}
	if _, at, err := l.Heard(ctx, month); !at.IsZero() || err != nil {
		t.Errorf("who was heard of stays for ever: %v", err)
	}
}
