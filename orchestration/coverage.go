package orchestration

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// CoveragePolicy says how a data set goes by who has synced. The zero one does not ask.
type CoveragePolicy struct {
	// On lets it be read.
	On bool
	// ExpectedTypes are the contact types of the workers who are expected; without any, those of whom a document of the three
	// months before is there.
	ExpectedTypes []string
	// Minimum is the percentage of expected workers without which an org unit is held back, until MinimumDays days after the end of
	// the period; 0 is no minimum, and no end.
	Minimum, MinimumDays int
	// Completeness is the percentage without which an org unit is not registered as complete; 0 is none.
	Completeness int
}

// needsCoverage says that a month may not go without its coverage: a rule cannot be followed then.
func (d *DataSet) needsCoverage() bool {
	c := d.Coverage
	return c.Minimum > 0 || c.Completeness > 0 || d.Rules.EmptyOrgUnits == mapping.SendReported
}

// threshold is the percentage that people want to know of: the one below which an org unit is held back, or not registered, or
// all of them.
func (c CoveragePolicy) threshold() int {
	const all = 100
	return cmp.Or(c.Minimum, c.Completeness, all)
}

// isBelow says that too few of the expected workers have synced. Where nobody is expected that is never so.
func isBelow(w ledger.Workers, percent int) bool {
	return w.Seen*100 < percent*w.Expected
}

// coverage is what is known of who has synced, by org unit, under their ids in DHIS2. A country has 10,000 of them, so it is compact.
type coverage struct {
	units   map[string]unitCoverage
	isDated bool
	// items are the names of the targets, missing is of how many workers each is missing.
	items   []string
	missing []int
	// waived are the org units below the minimum that went all the same.
	waived map[waiver]waived
}

// unitCoverage is of one org unit. oldest is in days since 1970, 0 is not known.
type unitCoverage struct{ expected, seen, others, stale, oldest int32 }

func (u *unitCoverage) add(other unitCoverage) {
	u.expected += other.expected
	u.seen += other.seen
	u.others += other.others
	u.stale += other.stale
	if other.oldest > 0 && (u.oldest == 0 || other.oldest < u.oldest) {
		u.oldest = other.oldest
	}
}

// waiver is why an org unit below the minimum goes all the same.
type waiver string

// The waivers.
const (
	waivedByDate waiver = "minimum_coverage_days of the data set have passed since the end of the period"
	waivedByName waiver = "it was asked for by its id"
)

// waived are the org units that a waiver let go.
type waived struct {
	count int
	first string
}

// newCoverage makes an empty one. The items are the targets of the rules by which target documents are added up; isDated says
// that the documents were read, not their ids alone.
func newCoverage(items []string, isDated bool) *coverage {
	return &coverage{units: map[string]unitCoverage{}, items: items, missing: make([]int, len(items)), isDated: isDated, waived: map[waiver]waived{}}
}

// add takes in an org unit of the CHT, under its new id. Several with one new id add up. Missing says for each item how many of
// those who were seen lack it.
func (c *coverage) add(rules *mapping.Mapping, live map[string]bool, orgUnit string, found unitCoverage, missing []int) {
	id, ok := rules.NewOrgUnit(orgUnit)
	if !ok || isOut(live, id) {
		return
	}
	sum := c.units[id]
	sum.add(found)
	c.units[id] = sum
	for i, n := range missing {
		c.missing[i] += n
	}
}

// isReported says that somebody has synced at an org unit.
func (c *coverage) isReported(orgUnit string) bool {
	if c == nil {
		return false
	}
	u := c.units[orgUnit]
	return u.seen+u.others > 0
}

// workers gives what is known of an org unit; nil where nothing is.
func (c *coverage) workers(orgUnit string) *ledger.Workers {
	if c == nil {
		return nil
	}
	found, known := c.units[orgUnit]
	if !known {
		return nil
	}
	w := c.workersOf(found)
	return &w
}

func (c *coverage) workersOf(found unitCoverage) ledger.Workers {
	w := ledger.Workers{Expected: int(found.expected), Seen: int(found.seen), Others: int(found.others)}
	if c.isDated {
		stale := int(found.stale)
		w.Stale = &stale
		if found.oldest > 0 {
			w.Oldest = time.Unix(0, 0).UTC().AddDate(0, 0, int(found.oldest)).Format(time.DateOnly)
		}
	}
	return w
}

// found gives what is to be stored and told.
func (c *coverage) found(policy CoveragePolicy) *ledger.Coverage {
	if c == nil {
		return nil
	}
	f := &ledger.Coverage{Totals: ledger.CoverageTotals{Threshold: policy.threshold()}}
	var sum unitCoverage
	for _, id := range slices.Sorted(maps.Keys(c.units)) {
		sum.add(c.units[id])
		w := c.workersOf(c.units[id])
		f.Units = append(f.Units, ledger.OrgUnitCoverage{OrgUnit: id, Workers: w})
		if isBelow(w, policy.threshold()) {
			f.Totals.OrgUnitsBelow++
		}
	}
	f.Totals.Workers = c.workersOf(sum)
	for i, n := range c.missing {
		if n > 0 && slices.Index(c.items, c.items[i]) == i { // two items may be of one target
			f.Totals.Missing = append(f.Totals.Missing, ledger.Missing{Target: c.items[i], Workers: n})
		}
	}
	return f
}

// holdsBack says whether an org unit is held back, as too few of those who are expected there have synced; w is what is known of
// it then. One that goes all the same is noted.
func (p *Plan) holdsBack(orgUnit string) (w ledger.Workers, held bool) {
	w, why, below := p.belowMinimum(orgUnit)
	if !below || why == "" {
		return w, below
	}
	of := p.coverage.waived[why]
	of.count, of.first = of.count+1, cmp.Or(of.first, orgUnit)
	p.coverage.waived[why] = of
	return w, false
}

// isHeldBack says the same without a note.
func (p *Plan) isHeldBack(orgUnit string) bool {
	_, why, below := p.belowMinimum(orgUnit)
	return below && why == ""
}

// belowMinimum says whether too few of those who are expected at an org unit have synced, and why it goes all the same, if it does.
func (p *Plan) belowMinimum(orgUnit string) (w ledger.Workers, why waiver, below bool) {
	if p.coverage == nil || p.set.Coverage.Minimum == 0 || p.visit != nil {
		return w, "", false
	}
	w = p.coverage.workersOf(p.coverage.units[orgUnit])
	switch {
	case !isBelow(w, p.set.Coverage.Minimum):
		return w, "", false
	case slices.Contains(p.request.OrgUnits, orgUnit):
		return w, waivedByName, true
	case p.minimum.isPast:
		return w, waivedByDate, true
	default:
		return w, "", true
	}
}

// holdBack takes out of a difference all that would be sent, as the org unit is held back: what DHIS2 holds there stays, and nothing has
// vanished. It gives how many cells are held.
func (d *difference) holdBack() (held int) {
	held = len(d.send) // those too that would be taken away
	d.issues = slices.DeleteFunc(d.issues, func(i issue.Issue) bool { return i.Severity != issue.Cell })
	d.send, d.agreed, d.becomes = nil, nil, d.was
	d.changes, d.removed, d.removedSum, d.vanished, d.overwritten, d.edited = 0, 0, 0, 0, 0, false
	return held
}

// heldBack is the issue of an org unit that is held back, with some cells.
func (p *Plan) heldBack(orgUnit string, w ledger.Workers, cells int) issue.Issue {
	name := ": mediator submit --org-unit " + orgUnit
	ways := "nothing reads the period again by itself: submit it again when they have, or name the org unit to send it as it is" + name
	if m := p.minimum; !m.ends.IsZero() {
		until := ""
		if !m.isOver.IsZero() && m.isOver.Before(m.ends) {
			until = fmt.Sprintf(" or %s after the end of the period, whatever it is then", counted(p.set.Coverage.MinimumDays, "day"))
		}
		ways = fmt.Sprintf("it goes by itself when enough of them have%s, at a later run; the last one is before %s. To send it now, name it%s",
			until, m.ends.In(p.from.zone()).Format("2006-01-02 15:04"), name)
	}
	return issue.Issue{
		Code: "coverage_below_minimum", Severity: issue.Cell, Count: cells, OrgUnit: orgUnit,
		Text: fmt.Sprintf("%d of %d expected workers have synced, and minimum_coverage is %d %%, so nothing of this org unit is sent; what DHIS2 holds of it stays",
			w.Seen, w.Expected, p.set.Coverage.Minimum),
		Remedy: "see who has not synced (mediator coverage --workers); " + ways,
	}
}

// tellCoverage notes which org units went although they are below the minimum.
func (w *settlement) tellCoverage() {
	if w.coverage == nil {
		return
	}
	for _, why := range [...]waiver{waivedByDate, waivedByName} {
		if of := w.coverage.waived[why]; of.count > 0 {
			w.tally.addIssues([]issue.Issue{{
				Code: "sent_below_minimum_coverage", Severity: issue.Note, Count: of.count, OrgUnit: of.first,
				Text:   fmt.Sprintf("fewer workers than minimum_coverage asks for have synced in %s, and it is sent all the same, as %s", counted(of.count, "org unit"), why),
				Remedy: "its figures may be too low; the next run sends what comes later",
			}})
		}
	}
}

// minimumWindow is until when the minimum of a data set holds org units of a period back.
type minimumWindow struct {
	// isPast says that it counts no more, which it does from isOver on; zero is never.
	isPast bool
	isOver time.Time
	// ends is when the schedule stops reading the period again; zero where it does not.
	ends time.Time
}

// minimumOf finds until when the minimum of a plan's data set counts, and the schedule looks again; expiry are DHIS2's days until it locks.
func (s *Submitter) minimumOf(p *Plan, lastDay time.Time, expiry int) (w minimumWindow) {
	o := s.Operation(p.set.ID)
	t := Timing{
		Zone: p.from.zone(), RereadDays: o.RereadDays, ExpiryDays: expiry, MinimumDays: p.set.Coverage.MinimumDays,
		LastDay: func(dhis2.Period) time.Time { return lastDay },
	}
	w.isOver = t.minimumOver(p.period)
	w.isPast = !w.isOver.IsZero() && !s.now().Before(w.isOver)
	if end := t.end(p.period); o.Enabled && o.Schedule != "" && s.now().Before(end) {
		w.ends = end
	}
	return w
}

// registrations gives what a submission may have to register, or undo, as the ledger does, and how many org units are not complete
// although all of it arrived: too few of those who are expected there have synced.
func (s *Submitter) registrations(ctx context.Context, sub ledger.Submission, policy CoveragePolicy) (all []ledger.Registration, lacking int, err error) {
	all, err = s.Ledger.Registrations(ctx, sub.ID)
	if err != nil || policy.Completeness == 0 {
		return all, 0, err
	}
	workers, err := s.Ledger.WorkersOfForm(ctx, sub.ID)
	counted := map[string]bool{}
	for i := range all {
		r := &all[i]
		if r.Whole && isBelow(workers[r.OrgUnit], policy.Completeness) {
			r.Whole = false
			counted[r.OrgUnit] = true
		}
	}
	return all, len(counted), err
}

// Coverage gives what was found last of who has synced for a request's data set, period and source, in numbers; ledger.ErrNotFound says
// that nothing was. Nobody is asked anything, but for a source whose calendar is not known yet.
func (s *Submitter) Coverage(ctx context.Context, r Request) (ledger.Coverage, error) {
	who, err := s.parties(r.DataSet, r.CHT)
	if err != nil {
		return ledger.Coverage{}, err
	}
	period, err := s.resolve(ctx, who, r)
	if err != nil {
		return ledger.Coverage{}, err
	}
	return s.Ledger.CoverageOf(ctx, ledger.Key{DHIS2: who.set.DHIS2, DataSet: r.DataSet, Period: period, CHT: r.CHT})
}
