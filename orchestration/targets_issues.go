package orchestration

import (
	"fmt"
	"slices"
	"strings"

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
			"report it to the makers of the mediator; compare the month with DHIS2 (mediator compare)")
	}
	if known := r.contactTypes(); len(known) > 0 {
		for _, name := range r.set.Targets.ExcludeTypes {
			if !slices.Contains(known, name) {
				note(1, "contact_type_unknown", "the CHT's settings have no contact type "+name+", so that exclude_contact_types leaves nobody out for it",
					"correct exclude_contact_types; the CHT has "+strings.Join(known, ", "))
			}
		}
	}
	return append(all, f.Issues()...)
}
