package orchestration

import (
	"context"
	"fmt"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

// tellVanished holds a month in which many org units have nothing that had figures in the one before: most likely phones did not
// sync, or something was changed in the CHT's hierarchy. What a rule leaves out now, what has not joined yet, and what is held back for its coverage, is not missed.
func (w *settlement) tellVanished(ctx context.Context, g *gathering) error {
	store := w.checking.submitter.Ledger
	if w.set.MostVanished == 0 || store == nil || w.tally.report.Counts.Unsent == 0 || len(w.request.OrgUnits) > 0 || w.visit != nil {
		return nil
	}
	before, err := store.AcceptedBefore(ctx, w.key())
	if err != nil || before == "" {
		return err
	}
	had, vanished, err := w.vanishedSince(ctx, g, before)
	if err != nil || len(vanished)*100 <= w.set.MostVanished*had {
		return err
	}
	why := fmt.Sprintf("%d of %d org units that had figures in %s have none now, or only zeros: %s", len(vanished), had, before, firstOf(vanished))
	const remedy = "find out why: phones that have not synced, places or dhis.orgUnit that were changed in the CHT, a rule of the data set; mend it, reject the submission and submit again, or approve it to send the rest as it is"
	w.tally.addIssues([]issue.Issue{{
		Code: "org_units_without_figures", Severity: issue.Note, Count: len(vanished), Text: why,
		Remedy: remedy + "; most_vanished of the data set sets from when on a month waits for a person",
	}})
	if seen, err := w.isSeen(ctx, vanished); err != nil || seen {
		return err
	}
	w.tally.hold(why, remedy)
	return nil
}

// vanishedSince counts the org units that had figures in a period before, and names those that have none now.
func (w *settlement) vanishedSince(ctx context.Context, g *gathering, before string) (had int, vanished []string, err error) {
	key := w.key()
	if key.Period, err = dhis2.ParsePeriod(before); err != nil {
		return 0, nil, err
	}
	last := ""
	for part, err := range w.checking.submitter.Ledger.Accepted(ctx, key) {
		if err != nil {
			return 0, nil, err
		}
		id := part.OrgUnit
		if id == last || g.leftOut[id] || isOut(w.live, id) || w.isHeldBack(id) {
			continue
		}
		figures, err := hasFigures(part)
		if err != nil {
			return 0, nil, err
		}
		if !figures {
			continue
		}
		last = id
		had++
		if _, has := g.figures[id]; !has {
			vanished = append(vanished, id)
		}
	}
	return had, vanished, nil
}

// isSeen says that the period has gone before without these org units, so that a person is not asked again. One of which nothing was sent,
// as nobody had synced by then, has not gone.
func (w *settlement) isSeen(ctx context.Context, vanished []string) (bool, error) {
	store := w.checking.submitter.Ledger
	if gone, err := store.HasGone(ctx, w.key()); err != nil || !gone {
		return false, err
	}
	missing := map[string]bool{}
	for _, id := range vanished {
		missing[id] = true
	}
	for part, err := range store.Accepted(ctx, w.key()) {
		if err != nil {
			return false, err
		}
		if !missing[part.OrgUnit] {
			continue
		}
		if figures, err := hasFigures(part); err != nil || figures {
			return false, err
		}
	}
	return true, nil
}

// hasFigures says that something else than zeros was accepted.
func hasFigures(part ledger.AcceptedPart) (bool, error) {
	values, err := part.Values()
	if err != nil {
		return false, err
	}
	for i := range values {
		if values[i].Value != "0" {
			return true, nil
		}
	}
	return false, nil
}
