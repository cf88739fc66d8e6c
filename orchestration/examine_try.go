package orchestration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// try reads the month that closed last from each CHT, where that is asked for, and lets DHIS2 check some of its values.
func (r *examining) try(ctx context.Context, findings *[]Finding) {
	if !r.TryExport && !r.TryImport {
		return
	}
	for _, set := range r.Submitter.DataSets {
		for _, name := range set.CHT {
			facts, destination := r.sources[name], r.destinations[set.DHIS2]
			if facts.settings == nil || facts.settings.Check(set.ID) != nil || destination.user == nil || ctx.Err() != nil {
				continue // the row about that says why
			}
			r.trySet(ctx, sheet{name, chtAdmin, "data set " + set.ID + ": ", findings}, set, name)
		}
	}
}

func (r *examining) trySet(ctx context.Context, p sheet, set DataSet, source string) {
	request := Request{DataSet: set.ID, Period: LatestClosed, CHT: source}
	plan, err := r.Submitter.Prepare(ctx, request)
	if err != nil {
		p.red("export", Configuration, err).Who = us
		return
	}
	defer plan.Close()
	report := plan.Report()
	if report.Error != "" {
		p.red("export", report.Reason, &UsageError{What: report.Error, Remedy: report.Remedy})
		return
	}
	tellExport(p, report)
	if r.TryImport {
		to := p
		to.server, to.who = set.DHIS2, dhis2Admin
		r.tryImport(ctx, to, plan)
	}
	r.strangers(ctx, p, request, set)
}

// tellExport tells what came of an export, and why some of it stays behind.
func tellExport(p sheet, report Report) {
	text := fmt.Sprintf("%s: %d values, %d of them stay behind", report.Period, report.Counts.Fetched, report.Counts.Quarantined)
	if report.Counts.Quarantined == 0 {
		p.green("export", text)
		return
	}
	counts, first := map[string]int{}, map[string]issue.Issue{}
	for _, i := range report.Issues {
		if i.Severity != issue.Cell {
			continue
		}
		if counts[i.Code] == 0 {
			first[i.Code] = i
		}
		counts[i.Code] += i.Count
	}
	codes := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(counts[b]-counts[a], strings.Compare(a, b)) })
	remedy := ""
	for n, code := range codes {
		if n == mostCodes {
			text += "; and other reasons"
			break
		}
		text += fmt.Sprintf("; %d x %s: %s", counts[code], code, first[code].Text)
		remedy = cmp.Or(remedy, first[code].Remedy)
	}
	p.amber("export", text, remedy).Who = chtAdmin + ", " + dhis2Admin + ", " + us
}

// strangers looks for values that our account stored in DHIS2 and that this store never sent, as when two mediators with stores
// of their own send one data set.
func (r *examining) strangers(ctx context.Context, p sheet, request Request, set DataSet) {
	if r.store == nil {
		return
	}
	if r.Submitter.Ledger == nil { // a command opens its store for the examination only
		r.Submitter.Ledger = r.store
		defer func() { r.Submitter.Ledger = nil }()
	}
	values, period, err := r.Submitter.Strangers(ctx, request)
	if err != nil || values == 0 {
		return // what cannot be read is told by the other checks
	}
	source := p.server
	p.server = set.DHIS2
	p.amber("others' values", fmt.Sprintf("%s: our account stored %d values there that this store never sent from %s", period, values, source),
		"where another mediator sends this data set, let only one do so, or let both work with one store; where the store was lost, or is new, the next submission learns them").Who = us
}

// triedValues is how many values are tried.
const triedValues = 20

var errEnough = errors.New("enough values")

// tryImport lets DHIS2 check some values of a plan. It stores none.
func (r *examining) tryImport(ctx context.Context, p sheet, plan *Plan) {
	chunk := dhis2.Chunk{DataSet: plan.set.ID, Period: plan.period}
	err := plan.Values(func(v mapping.Value) error {
		if len(chunk.Values) == 0 {
			chunk.AttributeOptionCombo = v.AttributeOptionCombo
		}
		if len(chunk.Values) == triedValues || v.AttributeOptionCombo != chunk.AttributeOptionCombo {
			return errEnough
		}
		chunk.Values = append(chunk.Values, v.DataValue)
		return nil
	})
	var packed dhis2.Packed
	if err == nil || errors.Is(err, errEnough) {
		packed, err = plan.to.Client.Pack(chunk)
	}
	if err != nil {
		p.red("trial import", Fault, err).Who = us
		return
	}
	if len(chunk.Values) == 0 {
		p.amber("trial import", fmt.Sprintf("%s of CHT %s has no value that could be tried", plan.period, plan.from.Name), "look at the rows about its org units and data elements").Who = us
		return
	}
	outcome, err := plan.to.Client.Import(ctx, plan.server.Dialect, packed, dhis2.Options{DryRun: true})
	if err != nil {
		p.red("trial import", Stopped, err)
		return
	}
	tellTrial(p, plan, len(chunk.Values), outcome)
}

// tellTrial tells what DHIS2 said of the values, in its words.
func tellTrial(p sheet, plan *Plan, sent int, outcome dhis2.Outcome) {
	text := fmt.Sprintf("DHIS2 checked %s of %s from CHT %s: %d would be taken, %d refused", counted(sent, "value"), plan.period, plan.from.Name, outcome.Accepted, len(outcome.Refused))
	var list []troubled
	for _, refused := range outcome.Refused {
		list = gather(list, refused.OrgUnit, refused.Code, refused.Reason, refused.Remedy)
	}
	for _, t := range list {
		text += fmt.Sprintf("; %s: %s (%s)", t.code, t.text, firstOf(t.ids))
	}
	remedy := ""
	if len(list) > 0 {
		remedy = list[0].remedy
	}
	switch {
	case outcome.Failure != nil:
		p.red("trial import", ReasonOf(outcome.Failure), outcome.Failure)
	case outcome.State == dhis2.Accepted:
		p.green("trial import", text)
	case outcome.Accepted == 0:
		p.red("trial import", NothingAccepted, faulty(remedy, "%s", text))
	default:
		p.amber("trial import", text, remedy)
	}
}
