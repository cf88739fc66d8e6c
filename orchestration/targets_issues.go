package orchestration

import (
	"fmt"
	"strings"

	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/target"
)

// issues tell a person what to know of how the sums of target documents came about. Nobody is named in them.
func (r *targetReading) issues(f *target.Findings) []issue.Issue {
	var all []issue.Issue
	note := func(count int, code, text, remedy string) {
		if count > 0 {
			all = append(all, issue.Issue{Code: code, Severity: issue.Note, Count: count, Text: text, Remedy: remedy})
		}
	}
	sum := func(amounts []target.Amount) string { return openhim.Number(int(sumOf(f.Rules.Items, amounts))) }
	for _, month := range r.read {
		note(month.proof.Documents, "remembered_sum_differs",
			fmt.Sprintf("%s of %s, read in full, are not what was remembered of the same revisions: their totals were %s and are %s; what was read now counts",
				counted(month.proof.Documents, "target document"), month.Month, openhim.Number(int(month.proof.Was)), openhim.Number(int(month.proof.Is))),
			"report it to the makers of the mediator; compare the month with DHIS2 (mediator verify)")
		if len(r.read) > 1 && month.documents == 0 {
			note(1, "month_without_documents", fmt.Sprintf("there is no target document of %s, so that %s is the sum of its other months only", month.Month, r.period),
				"check that phones have synced for that month; nothing is wrong where the programme began later")
		}
	}
	lost := f.WithoutOrgUnit
	note(lost.Documents, "workers_without_org_unit",
		fmt.Sprintf("%s of %s count for no org unit, as no place above the worker carries one for this data set: a sum of %s", counted(lost.Documents, "target document"), counted(lost.Owners.Total, "worker"), sum(lost.Lost)),
		"set dhis.orgUnit on the places above them in the CHT, or look at attribution; nothing is wrong where they belong to no facility of this data set")
	documents, owners := f.Gone.Documents+f.Unknown.Documents, f.Gone.Owners.Total+f.Unknown.Owners.Total
	note(documents, "workers_gone",
		fmt.Sprintf("%s of %s count for no org unit, as the worker was deleted in the CHT or never was there: a sum of %s", counted(documents, "target document"), counted(owners, "worker"),
			openhim.Number(int(sumOf(f.Rules.Items, f.Gone.Lost)+sumOf(f.Rules.Items, f.Unknown.Lost)))),
		"with hierarchy: first the work of a worker who is deleted later stays where it was")
	note(f.Malformed.Total, "malformed_documents",
		fmt.Sprintf("%s cannot be used and are left out, as they have another form, or no plain number where one is needed; the rest goes", counted(f.Malformed.Total, "target document")),
		"the CHT's own export of this month would fail or send null: find out which version of the app wrote them")
	text := fmt.Sprintf("%s have several target documents of a month, as after a change of phone or user; ", counted(f.Duplicates.Total, "worker"))
	switch f.Rules.Duplicates {
	case target.Together:
		text += "they are added up"
	case target.Largest:
		text += "the largest counts, and what is left out has a sum of " + sum(f.Duplicates.Left)
	default:
		text += "the latest counts, and what is left out has a sum of " + sum(f.Duplicates.Left)
	}
	note(f.Duplicates.Total, "duplicate_workers", text, "see that each worker has one user; duplicate_workers of the data set says what counts")
	note(f.Excluded.Documents, "contact_types_excluded",
		fmt.Sprintf("%s of %s are left out for the contact type of the worker", counted(f.Excluded.Documents, "target document"), counted(f.Excluded.Owners, "worker")),
		"nothing is to be done where exclude_contact_types is meant so")
	if f.Several.Total > 0 {
		note(f.Several.Total, "place_of_several_org_units",
			fmt.Sprintf("%s of the CHT carry several org units for this data set, each of which gets everything: %s", counted(f.Several.Total, "place"), strings.Join(f.Several.List[0], " and ")),
			"give each place one org unit a data set, unless the figures are meant to stand twice")
	}
	if n := f.NoDenominator; n.Total > 0 {
		all = append(all, issue.Issue{
			Code: "percent_without_denominator", Severity: issue.Note, Count: n.Total, OrgUnit: n.List[0].OrgUnit, DataElement: n.List[0].Item.DataElement,
			CategoryOptionCombo: n.List[0].Item.CategoryOptionCombo,
			Text:                fmt.Sprintf("%s have no percentage, as there was nothing to count: not sent, which is not 0 %%", counted(n.Total, "cell")),
			Remedy:              "nothing is to be done where nothing of the kind happened",
		})
	}
	return append(all, r.moved(f)...)
}

// moved tells who has moved since the figures first counted, and what that does to each org unit.
func (r *targetReading) moved(f *target.Findings) []issue.Issue {
	if f.Moved.Owners.Total == 0 {
		return nil
	}
	how, other := "they count where the workers are today", "hierarchy: first lets them count where the workers were"
	if r.set.AsFirst {
		how, other = "they count where the workers were then", "hierarchy: today lets them count where the workers are now"
	}
	all := []issue.Issue{{
		Code: "workers_moved", Severity: issue.Note, Count: f.Moved.Owners.Total,
		Text:   fmt.Sprintf("%s have moved, or their places have, since their documents of %s first counted; %s", counted(f.Moved.Owners.Total, "worker"), r.period, how),
		Remedy: other,
	}}
	for _, m := range f.Moved.OrgUnits {
		all = append(all, issue.Issue{
			Code: "figures_moved", Severity: issue.Note, Count: m.OwnersIn + m.OwnersOut, OrgUnit: m.OrgUnit,
			Text: fmt.Sprintf("by the other hierarchy this org unit would be without %s with a sum of %s, and have %s more with a sum of %s", counted(m.OwnersIn, "worker"),
				openhim.Number(int(sumOf(f.Rules.Items, m.In))), counted(m.OwnersOut, "worker"), openhim.Number(int(sumOf(f.Rules.Items, m.Out)))),
			Remedy: other,
		})
	}
	return all
}

// sumOf adds up what is lost or moved, by item, as the items take it.
func sumOf(items []target.Item, amounts []target.Amount) (sum int64) {
	for i, a := range amounts {
		if items[i].Measure == target.Pass {
			sum += a.Pass
			continue
		}
		sum += a.Total
	}
	return sum
}
