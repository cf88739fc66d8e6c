package orchestration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// settlement makes of the gathered cells what is to be sent, org unit by org unit.
type settlement struct {
	*Plan
	*comparison

	checking *checking
	// rules are nil for a repair, which sends what the ledger has; holdings are nil where nothing is compared with.
	rules    *mapping.Mapping
	holdings *holdings
	live     map[string]bool
	ours     []cell

	gaps *gaps
	// nests are the org units of which nothing is sent, as others inside them are.
	nests map[string]*nest
	// meet are the pairs of org units that can be nests at all; nil is all pairs.
	meet map[[2]string]bool
	// findings count the cells of those that are told together, zeros the values to send of which DHIS2 will keep none.
	findings map[issue.Issue]int
	zeros    int

	changes                             Changes
	gone                                []string
	goneValues, goneSum                 int
	vanished, overwritten, edited, said int
	reported                            int
}

// settle makes of the gathered cells what is to be sent. Without holdings that is all of them; without gathered cells, which
// a repair has not, it is what the ledger has.
func (w *settlement) settle(ctx context.Context, g *gathering) (err error) {
	p, dir := w.Plan, w.checking.submitter.SpoolDir
	w.gaps = newGaps(p.set.Gaps, w.checking.submitter.now().UTC().Truncate(24*time.Hour))
	if p.tally.quarantine, err = newQuarantine(dir); err != nil {
		return err
	}
	t := p.tally
	var ids []string
	if g != nil {
		t.uses.Add(g.uses)
		t.issues.Join(&g.homeless)
		t.report.Counts.Quarantined += g.homeless.Total()
		for _, n := range g.dropped {
			t.report.Counts.Dropped += n
		}
		w.live = g.live
		w.elements = g.elements
		for _, i := range g.homeless.Items() {
			cell := ledger.QuarantinedCell{DataElement: i.DataElement, CategoryOptionCombo: i.CategoryOptionCombo, Code: i.Code, Reason: i.Text, Remedy: i.Remedy}
			if err := t.quarantine.add(&cell); err != nil {
				return err
			}
		}
		if ids, err = g.spool.orgUnits(); err != nil {
			return err
		}
		for orgUnit, n := range g.dropped {
			t.orgUnit(orgUnit).Dropped += n
		}
	}
	if p.content, err = newContent(dir); err != nil {
		return err
	}
	if p.agreed, err = newContent(dir); err != nil {
		return err
	}
	if g != nil && w.visit == nil {
		if err := w.findNests(ctx, g); err != nil {
			return err
		}
	}
	if err := w.all(ctx, g, ids); err != nil {
		return err
	}
	w.tellFindings()
	t.report.Counts.Fetched = t.report.Counts.Dropped + t.report.Counts.Quarantined + t.report.Counts.Held + t.report.Counts.Unsent + t.report.Counts.Unchanged
	w.tellCoverage()
	if found := p.coverage.found(p.set.Coverage); found != nil {
		t.report.Coverage = &found.Totals
	}
	for id, result := range t.orgUnits {
		if workers := p.coverage.workers(id); workers != nil {
			result.Expected, result.Seen = &workers.Expected, &workers.Seen
		}
	}
	if g != nil {
		t.addIssues(mapping.Extras(g.extras))
		w.tell(g)
		if err := w.tellGrowth(ctx); err != nil {
			return err
		}
		if err := w.tellVanished(ctx, g); err != nil {
			return err
		}
	}
	if err := p.agreed.seal(); err != nil {
		return err
	}
	return p.content.seal()
}

// all goes through the org units of the CHT and of the ledger, in the order of their ids.
func (w *settlement) all(ctx context.Context, g *gathering, ids []string) error {
	asked := w.request.OrgUnits
	for {
		known := ""
		if w.holdings != nil {
			b := w.holdings.base
			for b.more && (len(asked) > 0 && !slices.Contains(asked, b.head.OrgUnit) || isOut(w.live, b.head.OrgUnit)) {
				b.advance()
			}
			if b.err != nil {
				return b.err
			}
			if b.more {
				known = b.head.OrgUnit
			}
		}
		switch {
		case len(ids) > 0 && (known == "" || ids[0] <= known):
			cells, err := g.spool.of(ids[0])
			if err != nil {
				return err
			}
			if err := w.orgUnit(ctx, ids[0], w.rules.OrgUnit(cells), true); err != nil {
				return err
			}
			ids = ids[1:]
		case known != "":
			if err := w.orgUnit(ctx, known, mapping.Settled{}, false); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// orgUnit settles one org unit; fetched says that the CHT gives it.
func (w *settlement) orgUnit(ctx context.Context, id string, settled mapping.Settled, fetched bool) (err error) {
	t := w.tally
	d := difference{send: settled.Values}
	u := unit{orgUnit: id}
	if w.holdings != nil {
		if u, err = w.unitOf(id, settled, fetched); err != nil {
			return err
		}
		if w.visit != nil {
			if err := w.visit(u, w.elements); err != nil {
				return err
			}
		}
		if u.isNew() && w.visit == nil {
			for i := range settled.Values {
				d.becomes += numberOf(settled.Values[i].Value)
			}
		} else {
			d = w.unit(u)
		}
	}
	held, nested := 0, w.nests[id]
	if nested != nil {
		d = w.outer(u, &settled, nested)
	} else if workers, below := w.holdsBack(id); below {
		if held = d.holdBack(); held > 0 {
			t.addIssues([]issue.Issue{w.heldBack(id, workers, held)})
		}
	} else if err := w.screen(ctx, id, &d); err != nil {
		return err
	}
	if w.holdings != nil {
		if nested == nil {
			w.stays(u, &d)
		}
		if owner := w.holdings.others.source; !w.policy.AddUp && len(u.others) > 0 && len(d.send)+d.unchanged+d.kept > 0 {
			return sharedUnit(id, owner, w.cht)
		}
		w.note(u, d)
	}
	behind, known, err := w.aside(id, &settled, &d)
	if err != nil {
		return err
	}
	dropped := settled.Dropped - d.raised + known
	counts := &t.report.Counts
	counts.Dropped += dropped
	counts.Quarantined += behind
	counts.Unsent += len(d.send)
	counts.Unchanged += d.unchanged
	counts.Held += held
	t.uses.Add(settled.Uses)
	if !settled.Empty {
		w.reported++
	}
	if err := w.agreed.add(id, d.agreed); err != nil {
		return err
	}
	if len(d.send)+behind+known+held == 0 && d.unchanged > 0 { // nobody has to look at it
		delete(t.orgUnits, id)
		t.last = nil
		t.same++
		return nil
	}
	if len(d.send)+behind+settled.Dropped+known+d.unchanged+held == 0 {
		return nil
	}
	result := t.orgUnit(id)
	result.Dropped += dropped
	result.Quarantined += behind
	result.Unsent += len(d.send)
	result.Unchanged += d.unchanged
	result.Held += held
	if d.changes > 0 {
		result.Changes, result.Was, result.Becomes = d.changes, d.was, d.becomes
	}
	return w.content.add(id, d.send)
}

// unitOf gathers what is known of an org unit.
func (w *settlement) unitOf(id string, settled mapping.Settled, fetched bool) (u unit, err error) {
	u = unit{orgUnit: id, gone: !fetched || settled.Empty, empty: fetched}
	if err := w.holdings.fill(&u); err != nil {
		return u, err
	}
	if u.isNew() && w.visit == nil {
		return u, nil
	}
	w.ours = cellsOf(w.ours, settled)
	u.ours = w.ours
	if w.mode == ledger.ModeRepair {
		u.ours, u.gone = u.base, false
	}
	return u, nil
}

// isNew says that nobody knows anything of an org unit but the CHT.
func (u unit) isNew() bool { return len(u.base)+len(u.others)+len(u.tried)+len(u.theirs) == 0 }

// note adds up what is told of the whole.
func (w *settlement) note(u unit, d difference) {
	w.vanished += d.vanished
	w.overwritten += d.overwritten
	if d.edited {
		w.edited++
	}
	if len(u.base) > 0 {
		w.said++
		w.changes.Was += d.was
	}
	w.changes.Becomes += d.becomes
	if d.changes > 0 {
		w.changes.Cells += d.changes
		w.changes.OrgUnits++
	}
	if d.removed == 0 {
		return
	}
	w.goneValues += d.removed
	w.goneSum += d.removedSum
	w.gone = append(w.gone, u.orgUnit)
	code, how := "org_unit_vanished", "nothing comes for it from the CHT any more"
	if u.empty {
		code, how = "org_unit_fell_to_zero", "the CHT gives zeros only"
	}
	w.tally.addIssues([]issue.Issue{{
		Code: code, Severity: issue.Note, Count: d.removed, OrgUnit: u.orgUnit,
		Text:   fmt.Sprintf("%s, and DHIS2 holds %d values of ours there, with a sum of %d: where its figures have moved to another org unit they would be counted twice", how, d.removed, d.removedSum),
		Remedy: "approving the submission deletes those values. Where the org unit is missing by mistake, mend the mapping or the CHT, reject the submission, and submit again; to leave its values there for good, reject the submission and forget them: mediator ledger forget --org-unit " + u.orgUnit,
	}})
}

// tell adds what there is to say of the whole, and whether it has to be held.
func (w *settlement) tell(g *gathering) {
	t := w.tally
	note := func(code string, count int, text, remedy string) {
		if count > 0 {
			t.addIssues([]issue.Issue{{Code: code, Severity: issue.Note, Count: count, Text: text, Remedy: remedy}})
		}
	}
	if w.reported == 0 && t.report.Counts.Unsent+t.report.Counts.Unchanged == 0 {
		t.addIssues([]issue.Issue{{
			Code: "nothing_reported", Severity: issue.Note, Count: t.report.Counts.Dropped,
			Text: "every value is zero or left out by a rule, so nothing is sent", Remedy: "check that phones have synced for this " + spanOf(w.period.Type()) + ", and the rules of the data set",
		}})
	}
	note("org_units_not_live", g.notLive, "these values are of org units that have not joined yet, by live_from of the data set", "add their district to live_from when it joins")
	note("cells_vanished", w.vanished, "the CHT does not give these cells any more, and DHIS2 keeps what it accepted of them", "look into the CHT's settings and the mapping; vanished_cells of the data set says whether they are kept, set to zero or deleted")
	if w.said > 0 {
		t.report.Changes = &w.changes
	}
	if n := len(w.gone); n > 0 {
		t.hold(fmt.Sprintf("%d org unit(s), %s first, have nothing in the CHT any more, and DHIS2 holds %d values of ours there, with a sum of %d", n, w.gone[0], w.goneValues, w.goneSum),
			"approving deletes those values and sends the rest; rejecting leaves DHIS2 as it is")
	}
	if w.edited > 0 {
		t.hold(fmt.Sprintf("somebody changed values of %d org unit(s) in DHIS2", w.edited), "approving overwrites what was changed there")
	}
	if fall := w.changes.Was - w.changes.Becomes; w.policy.MostShrink > 0 && w.changes.Was > 0 && fall*100 > w.policy.MostShrink*w.changes.Was {
		t.hold(fmt.Sprintf("the %s shrinks from %d to %d, by more than %d %%", spanOf(w.period.Type()), w.changes.Was, w.changes.Becomes, w.policy.MostShrink),
			"look into the CHT for what is missing; approve only where the fall is true")
	}
}

// tellGrowth holds a month of which much more stays behind than of the one before: most likely something was changed in DHIS2
// or in the configuration that nobody meant to change.
func (w *settlement) tellGrowth(ctx context.Context) error {
	t, counts := w.tally, w.tally.report.Counts
	if w.set.MostQuarantined == 0 || w.checking.submitter.Ledger == nil || counts.Quarantined == 0 || counts.Unsent == 0 || len(w.request.OrgUnits) > 0 {
		return nil
	}
	key := ledger.Key{DHIS2: w.set.DHIS2, DataSet: w.set.ID, Period: w.period, CHT: w.from.Name}
	period, before, found, err := w.checking.submitter.Ledger.Before(ctx, key)
	if err != nil || !found {
		return err
	}
	if counts.Quarantined*100*before.Fetched-before.Quarantined*100*counts.Fetched <= w.set.MostQuarantined*counts.Fetched*before.Fetched {
		return nil
	}
	why := fmt.Sprintf("%d of %d cells stay behind, and of %s only %d of %d did", counts.Quarantined, counts.Fetched, period, before.Quarantined, before.Fetched)
	t.hold(why, "look at the issues, and mend what they name in the CHT, in DHIS2 or in the configuration; then reject the submission and submit again, or approve it to send the rest as it is")
	return nil
}

// isOut says whether an org unit has not joined yet. One that the data set is not assigned to has no place in the hierarchy, and
// is left to DHIS2's refusal.
func isOut(live map[string]bool, orgUnit string) bool {
	joined, known := live[orgUnit]
	return known && !joined
}

// isLive says whether an org unit has joined by a period: the lowest entry at it or above it counts.
func isLive(entries []LiveFrom, path string, period dhis2.Period) bool {
	live, lowest := false, -1
	for _, e := range entries {
		at := strings.Index(path+"/", "/"+e.OrgUnit+"/")
		if at > lowest {
			live, lowest = !period.Before(e.Period), at
		}
	}
	return live
}
