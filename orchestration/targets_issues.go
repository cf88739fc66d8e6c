package orchestration

import (
	"fmt"
	"slices"

	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/target"
)

// issues tell a person what to know of how target documents were read, and of how their sums came about. Nobody is named in them.
func (r *targetReading) issues(f *target.Findings) []issue.Issue {
	var all []issue.Issue
	note := func(count int, code, text, remedy string) {
		if count > 0 {
			all = append(all, issue.Issue{Code: code, Severity: issue.Note, Count: count, Text: text, Remedy: remedy})
		}
	}
	for _, month := range r.read {
		note(month.proof.Documents, "remembered_sum_differs",
			fmt.Sprintf("%s of %s, read in full, are not what was remembered of the same revisions: their totals were %s and are %s; what was read now counts",
				counted(month.proof.Documents, "target document"), month.Month, openhim.Number(int(month.proof.Was)), openhim.Number(int(month.proof.Is))),
			"report it to the makers of the mediator; compare the month with DHIS2 (mediator verify)")
	}
	for _, named := range r.unknownTypes() {
		note(len(named.ids), "contact_types_unknown",
			"the CHT's settings have no contact type that "+named.key+" names: "+firstOf(named.ids), "correct "+named.key+" of the data set; the CHT's settings have "+firstOf(named.known))
	}
	return append(all, f.Issues()...)
}

// unknownType are the contact types of a key of the data set that a CHT does not have.
type unknownType struct {
	key        string
	ids, known []string
}

// unknownTypes finds the contact types of the data set that the CHT's settings do not have. Before CHT 3.7 there were four, which
// contacts may still be of.
func (r *targetReading) unknownTypes() (all []unknownType) {
	var known []string
	for _, kind := range r.calendar.ContactTypes {
		known = append(known, kind.ID)
	}
	if len(known) == 0 {
		return nil
	}
	for _, named := range []struct {
		key string
		ids []string
	}{
		{"exclude_contact_types", r.set.Targets.ExcludeTypes}, {"expected_contact_types", r.set.Coverage.ExpectedTypes}, {"attribution", []string{r.set.Targets.Level}},
	} {
		var unknown []string
		for _, id := range named.ids {
			if id != "" && !slices.Contains(known, id) && !slices.Contains([]string{"person", "clinic", "health_center", "district_hospital"}, id) {
				unknown = append(unknown, id)
			}
		}
		if len(unknown) > 0 {
			all = append(all, unknownType{named.key, unknown, known})
		}
	}
	return all
}
