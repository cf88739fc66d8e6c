package orchestration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/validation"
)

// Gap is a cell that is known to stay behind, so that it makes nobody look any more.
type Gap struct {
	// OrgUnit and DataElement name it by their ids in DHIS2; one of them may be empty, which is all.
	OrgUnit, DataElement string
	// Reason is for whoever reads the report.
	Reason string
	// Until is the last day on which the gap is known.
	Until time.Time
}

// gaps are the known gaps of a day, with the number of cells in each.
type gaps struct {
	known map[[2]string]*knownGap
	all   []*knownGap
}

type knownGap struct {
	Gap

	cells int
}

// newGaps takes those that are known on the day. Of two for the same cells the first one counts.
func newGaps(list []Gap, today time.Time) *gaps {
	g := &gaps{known: map[[2]string]*knownGap{}}
	for _, one := range list {
		at := [2]string{one.OrgUnit, one.DataElement}
		if today.After(one.Until) || g.known[at] != nil {
			continue
		}
		k := &knownGap{Gap: one}
		g.known[at] = k
		g.all = append(g.all, k)
	}
	return g
}

// take says whether a cell is in a known gap, and counts it there.
func (g *gaps) take(c *ledger.QuarantinedCell) bool {
	for _, at := range [][2]string{{c.OrgUnit, c.DataElement}, {c.OrgUnit, ""}, {"", c.DataElement}} {
		if k := g.known[at]; k != nil {
			k.cells++
			return true
		}
	}
	return false
}

// checking says of what is to be sent what DHIS2 would say of it. What it finds by an old reading of the metadata it looks at
// again by a new one.
type checking struct {
	*validation.Checks // nil where nothing is checked

	submitter *Submitter
	plan      *Plan
	meta      *metadata
	facts     validation.Facts
	// asked are the org units that DHIS2 was asked for by id.
	asked map[string]bool
}

// checking makes ready what is known of a plan's data set and period. The error is a check that lets nothing go.
func (s *Submitter) checking(ctx context.Context, p *Plan, m *metadata) (*checking, error) {
	k := &checking{submitter: s, plan: p, meta: m}
	switch {
	case p.visit != nil: // who only looks sends nothing
		return k, nil
	case p.set.Unchecked:
		return k, s.writable(ctx, p, m)
	}
	k.take(m)
	if k.blocking() && !k.isFresh() {
		if err := k.again(ctx); err != nil {
			return nil, err
		}
	}
	var blocking error
	for _, i := range k.Issues() {
		switch {
		case i.Severity != issue.Blocking || blocking != nil:
			p.tally.addIssues([]issue.Issue{i})
		default:
			blocking = &blockedError{i} // fail adds its issue
		}
	}
	return k, blocking
}

// writable makes sure of what no value has to be tried for, where nothing else is checked.
func (s *Submitter) writable(ctx context.Context, p *Plan, m *metadata) error {
	if !m.set.CanWrite && m != p.lately { // it may have been shared since
		err := p.patience.with(ctx, "DHIS2", func() (err error) {
			m, err = s.readMetadata(ctx, p.parties, p.evidence)
			return err
		})
		if err != nil {
			return err
		}
	}
	if m.set.CanWrite {
		return nil
	}
	return blocked("data_set_not_writable", "share the data set with the account (capture data) in DHIS2", "the account may not write data of data set %s", p.set.ID)
}

func (k *checking) blocking() bool {
	return slices.ContainsFunc(k.Issues(), func(i issue.Issue) bool { return i.Severity == issue.Blocking })
}

// isFresh says that the metadata were read for this plan.
func (k *checking) isFresh() bool { return k.meta == k.plan.lately }

// take makes the checks of metadata.
func (k *checking) take(m *metadata) {
	k.meta, k.asked = m, map[string]bool{}
	k.facts = validation.Facts{
		Server: k.plan.server, User: m.user, Set: &m.set, Period: k.plan.period, OrgUnits: &m.orgUnits, Others: map[string]dhis2.OrgUnit{},
		Approvals: map[validation.Approval]string{},
	}
	k.Checks = validation.New(k.facts)
}

// again reads the metadata anew, with all that was asked beside them.
func (k *checking) again(ctx context.Context) error {
	asked := k.asked
	err := k.ask(ctx, func() (err error) {
		k.plan.lately, err = k.submitter.readMetadata(ctx, k.plan.parties, k.plan.evidence)
		return err
	})
	if err != nil {
		return err
	}
	k.take(k.plan.lately)
	return k.look(ctx, slices.Sorted(maps.Keys(asked)))
}

// ask asks DHIS2 something, as long as there is patience.
func (k *checking) ask(ctx context.Context, f func() error) error {
	err := k.plan.patience.with(ctx, "DHIS2", func() error {
		err := f()
		k.submitter.contacted("DHIS2 "+k.plan.to.Name, err)
		return err
	})
	k.submitter.noteDown(ctx, "DHIS2 "+k.plan.to.Name, err)
	return err
}

// look asks DHIS2 for those org units that the data set is not assigned to, to tell the unknown ones, and of the others how far
// their data are approved. It asks once for each.
func (k *checking) look(ctx context.Context, orgUnits []string) error {
	if k.Checks == nil {
		return nil
	}
	var strange, approvable []string
	for _, id := range orgUnits {
		assigned := k.facts.OrgUnits.Has(id)
		switch {
		case k.asked[id]:
		case !assigned && dhis2.IsUID(id):
			strange = append(strange, id)
			k.asked[id] = true
		case assigned && k.meta.set.Workflow != "":
			approvable = append(approvable, id)
			k.asked[id] = true
		}
	}
	if len(strange) > 0 {
		err := k.ask(ctx, func() error {
			what := fmt.Sprintf("Look for %d org units that data set %s is not assigned to", len(strange), k.plan.set.ID)
			return k.plan.to.Client.OrgUnitsByID(k.plan.evidence.call(ctx, what), strange, func(o dhis2.OrgUnit) { k.facts.Others[o.ID] = o })
		})
		if err != nil {
			return err
		}
	}
	if len(approvable) == 0 {
		return nil
	}
	about := dhis2.Approvable{Workflow: k.meta.set.Workflow, Period: k.plan.period, OrgUnits: approvable, AttributeOptionCombos: k.meta.set.AttributeOptionCombos}
	err := k.ask(ctx, func() error {
		return k.plan.to.Client.Approvals(k.plan.evidence.call(ctx, fmt.Sprintf("Ask DHIS2 %s what is approved of %s", k.plan.to.Name, k.plan.period)), about,
			func(a dhis2.ApprovalState) {
				k.facts.Approvals[validation.Approval{OrgUnit: a.OrgUnit, AttributeOptionCombo: a.AttributeOptionCombo}] = a.State
			})
	})
	k.Checks = validation.New(k.facts)
	return err
}

// except asks DHIS2 for the org units for which a period that is over for the others is open all the same. Where it does not
// tell, that is noted, and there are none.
func (k *checking) except(ctx context.Context) error {
	k.facts.Exceptions = map[string]bool{}
	err := k.ask(ctx, func() error {
		call := k.plan.evidence.call(ctx, fmt.Sprintf("Ask DHIS2 %s for lock exceptions of %s", k.plan.to.Name, k.plan.period))
		found, err := k.plan.to.Client.LockExceptions(call, k.meta.set.ID, k.plan.period)
		if err == nil && found != nil {
			k.facts.Exceptions = found
		}
		return err
	})
	var known *dhis2.Error
	if errors.As(err, &known) && known.Kind != dhis2.Unavailable && known.Kind != dhis2.Credentials {
		k.plan.tally.addIssues([]issue.Issue{{
			Code: "lock_exceptions_unknown", Severity: issue.Note, Count: 1, Text: "whether an org unit has a lock exception cannot be read: " + err.Error(),
			Remedy: "let the account read /api/lockExceptions; until then an org unit with an exception is taken for a locked one",
		}})
		err = nil
	}
	k.Checks = validation.New(k.facts)
	return err
}

// orgUnit says why nothing of an org unit can be sent.
func (k *checking) orgUnit(ctx context.Context, id string) (*validation.Finding, error) {
	if err := k.look(ctx, []string{id}); err != nil {
		return nil, err
	}
	found := k.OrgUnit(id)
	if found != nil && found.Locks && k.facts.Exceptions == nil {
		if err := k.except(ctx); err != nil {
			return nil, err
		}
		found = k.OrgUnit(id)
	}
	if found == nil || k.isFresh() {
		return found, nil
	}
	if err := k.again(ctx); err != nil {
		return nil, err
	}
	return k.orgUnit(ctx, id)
}

// value says why a value cannot be sent.
func (k *checking) value(ctx context.Context, v *mapping.Value) (*validation.Finding, error) {
	found := k.Value(v)
	if found == nil || k.isFresh() {
		return found, nil
	}
	if err := k.again(ctx); err != nil {
		return nil, err
	}
	return k.Value(v), nil
}

// screen takes out of what is to be sent what DHIS2 would not take.
func (w *settlement) screen(ctx context.Context, id string, d *difference) error {
	if w.checking.Checks == nil || len(d.send) == 0 {
		return nil
	}
	whole, err := w.checking.orgUnit(ctx, id)
	if err != nil {
		return err
	}
	send := d.send[:0]
	var before, after *validation.Finding // that a value is of the same cell as the one before, or after it
	for i := range d.send {
		v := &d.send[i]
		if before, after = after, nil; i+1 < len(d.send) {
			after = w.checking.Twice(v, &d.send[i+1])
		}
		found := cmp.Or(whole, before, after)
		if found == nil {
			if found, err = w.checking.value(ctx, v); err != nil {
				return err
			}
		}
		if found != nil {
			d.screened = append(d.screened, screened{*v, found})
			continue
		}
		if w.checking.DropsZero(v) {
			w.zeros++
		}
		send = append(send, *v)
	}
	d.send = send
	if whole != nil { // nothing is overwritten there
		d.edited, d.overwritten = false, 0
	}
	return nil
}

// screened is a value that is not sent, and why.
type screened struct {
	mapping.Value

	found *validation.Finding
}

// stays counts what DHIS2 goes on to hold where a value is not sent to it: what stays behind must hide no fall of the month.
func (w *settlement) stays(u unit, d *difference) {
	if w.policy.AddUp { // what would be sent is a sum with others
		return
	}
	for i := range d.screened {
		v := &d.screened[i].Value
		if !v.Deleted {
			d.becomes -= numberOf(v.Value)
		}
		if at, held := slices.BinarySearchFunc(u.base, cellOf(v.AttributeOptionCombo, v.DataValue), compareCells); held {
			d.becomes += u.base[at].number()
			if v.Deleted && u.gone && !u.base[at].isZero() { // nor is it removed
				d.removed--
				d.removedSum -= u.base[at].number()
			}
		}
	}
}

// aside sets aside all cells of an org unit that are not sent: with an issue each, or where the gap is known as one that is
// left out by a rule. It gives how many of each there are.
func (w *settlement) aside(id string, settled *mapping.Settled, d *difference) (behind, known int, err error) {
	take := func(c ledger.QuarantinedCell, tell func()) {
		if err != nil {
			return
		}
		if c.Code != editedCode && w.gaps.take(&c) { // a correction is told, whatever else is known
			known++
			return
		}
		behind++
		tell()
		err = w.tally.quarantine.add(&c)
	}
	for _, list := range [][]issue.Issue{settled.Issues, d.issues} {
		for _, i := range list {
			if i.Severity != issue.Cell {
				w.tally.addIssues([]issue.Issue{i})
				continue
			}
			cell := ledger.QuarantinedCell{OrgUnit: id, DataElement: i.DataElement, CategoryOptionCombo: i.CategoryOptionCombo, Code: i.Code, Reason: i.Text, Remedy: i.Remedy}
			take(cell, func() { w.tally.addIssues([]issue.Issue{i}) })
		}
	}
	for _, s := range d.screened {
		v, f := s.Value, s.found
		cell := ledger.QuarantinedCell{
			OrgUnit: id, DataElement: v.DataElement, CategoryOptionCombo: v.CategoryOptionCombo, AttributeOptionCombo: v.AttributeOptionCombo,
			Value: v.Value, Code: f.Code, Reason: f.Text, Remedy: f.Remedy,
		}
		take(cell, func() { w.found(id, &v, f) })
	}
	return behind, known, err
}

// found tells a finding: one that is about many cells once, with their number.
func (w *settlement) found(id string, v *mapping.Value, f *validation.Finding) {
	w.tally.screened++
	if f.Locks {
		w.tally.locked++
		if w.tally.lock == nil {
			w.tally.lock = f
		}
	}
	w.tally.orgUnit(id).because(f.Code + ": " + f.Text)
	about := issue.Issue{Code: f.Code, Severity: issue.Cell, Text: f.Text, Remedy: f.Remedy}
	switch f.Scope {
	case validation.OneOrgUnit:
		about.OrgUnit = id
	case validation.OneElement:
		about.DataElement = v.DataElement
		about.CategoryOptionCombo = v.CategoryOptionCombo
	default:
		about.OrgUnit, about.DataElement, about.CategoryOptionCombo, about.Count = id, v.DataElement, v.CategoryOptionCombo, 1
		w.tally.issues.Add(about)
		return
	}
	if w.findings == nil {
		w.findings = map[issue.Issue]int{}
	}
	w.findings[about]++
}

// tellFindings adds the findings that are about many cells, and the gaps that are known.
func (w *settlement) tellFindings() {
	if w.zeros > 0 {
		w.tally.issues.Add(w.checking.ZerosNotKept(w.zeros))
	}
	all := make([]issue.Issue, 0, len(w.findings))
	for i, n := range w.findings {
		i.Count = n
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b issue.Issue) int {
		return cmp.Or(strings.Compare(a.Code, b.Code), strings.Compare(a.OrgUnit, b.OrgUnit), strings.Compare(a.DataElement, b.DataElement), strings.Compare(a.CategoryOptionCombo, b.CategoryOptionCombo))
	})
	for _, i := range all {
		w.tally.issues.Add(i)
	}
	for _, g := range w.gaps.all {
		if g.cells == 0 {
			continue
		}
		w.tally.issues.Add(issue.Issue{
			Code: "known_gap", Severity: issue.Note, Count: g.cells, OrgUnit: g.OrgUnit, DataElement: g.DataElement,
			Text:   "these cells stay behind for a known gap: " + g.Reason,
			Remedy: fmt.Sprintf("it is known until %s, by known_gaps_file of the data set", g.Until.Format(time.DateOnly)),
		})
	}
}
