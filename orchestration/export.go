package orchestration

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// readExport reads the CHT's export into g: that of a month, or those of all months of a quarter or a year one after the other,
// the cells of which add up.
func (s *Submitter) readExport(ctx context.Context, p *Plan, rules *mapping.Mapping, g *gathering) error {
	// The answer always has completeDate, the day of the request: it says nothing of completeness and is not sent.
	g.extras["completeDate"] = 1
	months, done := monthsOf(p.period), 0
	if len(months) > 1 {
		names := make([]string, len(months))
		for i, m := range months {
			names[i] = m.String()
		}
		rules.Over(names)
	}
	for i, month := range months {
		if len(months) > 1 {
			g.begin(month, i > 0)
		}
		err := p.from.Client.Export(p.evidence.call(ctx, fmt.Sprintf("Fetch %s from CHT %s", month, p.from.Name)), p.set.ID, month, func(v *cht.Value) error {
			if done%progressEvery == 0 {
				s.watch(Progress{Step: "fetch", Done: done})
			}
			done++
			return g.take(v, rules)
		})
		if err != nil {
			return s.exportFault(ctx, p, month, err)
		}
	}
	return nil
}

// begin says that what is taken from now on is of another month of the period; again says that it is not the first one.
func (g *gathering) begin(month cht.Month, again bool) {
	g.month, g.again = month.String(), again
	g.silent = append(g.silent, g.month)
}

// checkTags refuses a CHT that counts in months of the Nepali calendar although its settings do not say so, as after they were
// changed: nothing is found in any month of ours then. It gives the error with which reading ended, where that is something else
// than that nothing was found, or the CHT cannot be asked.
func (g *gathering) checkTags(ctx context.Context, from Source, err error) error {
	var e *cht.Error
	if g.hasFigures || err != nil && (!errors.As(err, &e) || e.Kind != cht.Unusable || e.Temporary) {
		return err
	}
	tags := from.Client.CheckTags(ctx) // no evidence is kept of it, as ids of documents name people
	if errors.As(tags, &e) && e.Kind == cht.Refused {
		return causeOf(e, nepaliCode, e.What, e.Remedy)
	}
	return cmp.Or(err, ctx.Err())
}

// silence names the months of a period in which everything is zero, beside others in which something is not: most likely nobody
// synced then, or the programme began later, and the sum passes for that of the whole period.
func (g *gathering) silence(p *Plan) []issue.Issue {
	if len(g.silent) == 0 || len(g.silent) == len(monthsOf(p.period)) {
		return nil
	}
	var found []issue.Issue
	for _, month := range g.silent {
		found = append(found, issue.Issue{
			Code: "month_without_figures", Severity: issue.Note, Count: 1,
			Text:   fmt.Sprintf("of %s there is no figure but zero, so that %s is the sum of its other months only", month, p.period),
			Remedy: "check that phones have synced for that month, and look at its targets in the CHT; nothing is wrong where the programme began later",
		})
	}
	return found
}
