package target

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/issue"
)

// code is a kind of finding. docs/targets.md lists them all.
type code string

// The codes.
const (
	withoutOrgUnit     code = "workers_without_org_unit"
	workerGone         code = "workers_gone"
	workerUnknown      code = "workers_unknown"
	expectedNowhere    code = "expected_workers_not_attributed"
	typeExcluded       code = "contact_types_excluded"
	severalTypes       code = "several_contact_types"
	malformed          code = "malformed_documents"
	duplicateWorker    code = "duplicate_workers"
	severalOrgUnits    code = "place_of_several_org_units"
	severalLevels      code = "counted_at_several_levels"
	targetAbsent       code = "target_absent"
	targetMissing      code = "target_missing"
	withoutDenominator code = "percent_without_denominator"
	partlyReported     code = "org_units_without_a_month"
	workersMoved       code = "workers_moved"
	figuresMoved       code = "figures_moved"
)

// remedy says what a person can do about it.
func (c code) remedy() string {
	switch c {
	case withoutOrgUnit:
		return "give a place above them an org unit (dhis.orgUnit) in the CHT, choose another attribution, or leave their contact type out with exclude_contact_types"
	case workerGone:
		return "with hierarchy: first the work of a worker who is deleted later stays where it first counted; otherwise let the workers go on under contacts that are there"
	case workerUnknown:
		return "send the month again: the contacts were not there when the CHT was asked about them; report it as a fault of the mediator where it stays"
	case expectedNowhere:
		return "give a place above them an org unit (dhis.orgUnit) in the CHT, or correct expected_contact_types"
	case typeExcluded:
		return "nothing, where this is meant; otherwise correct exclude_contact_types"
	case severalTypes:
		return "where one type repeats what another counts, as supervisors may whose phones hold the data of their workers, leave it out with exclude_contact_types"
	case malformed:
		return "find the documents with coverage --workers, and correct or delete them in the CHT; its own export fails for the whole month while they are there"
	case duplicateWorker:
		return "choose with duplicate_workers which documents count, and remove users in the CHT that are no longer used"
	case severalOrgUnits:
		return "nothing, where this is meant; otherwise keep one org unit for the data set on each place (dhis of the place in the CHT)"
	case severalLevels:
		return "count each document once with attribution: lowest, or level:<contact type>, as DHIS2 adds the lower org units to the upper ones itself"
	case targetAbsent:
		return "check the target's id in targets_file or in the CHT's settings, and that it is given to the workers there"
	case targetMissing:
		return "let those phones sync with the CHT's current settings; nothing, where the target is meant for some workers only"
	case withoutDenominator:
		return "nothing, where there was nothing to count; otherwise check what the target counts as its total in the CHT's settings"
	case partlyReported:
		return "see who has not synced (coverage --workers), and send the period again when they have; minimum_coverage holds such org units back until then"
	case workersMoved, figuresMoved:
		return "choose with hierarchy whether past months stay with the former org units (first) or go along (today)"
	default:
		return ""
	}
}

func (c code) issue(count int, text string) issue.Issue {
	return issue.Issue{Code: string(c), Severity: issue.Note, Count: count, Text: text, Remedy: c.remedy()}
}

// Issues gives what was found in the form of a report, all of it notes. They name org units, targets and data elements, and nobody.
// Cells that are TooLarge are not among them: those stay behind one by one, as other cells do.
func (f Findings) Issues() []issue.Issue {
	return slices.Concat(f.unattributed(), f.left(), f.structure(), f.aboutTargets(), f.aboutCells(), f.aboutMoves())
}

func (f *Findings) unattributed() (all []issue.Issue) {
	for _, of := range []struct {
		code code
		why  string
		what *Unattributed
	}{
		{withoutOrgUnit, "with no org unit above them" + f.forWhom(), &f.WithoutOrgUnit},
		{workerGone, "whose contact was deleted or is not known to the CHT", &f.Gone},
		{workerUnknown, "about whom the CHT was not asked", &f.Unknown},
	} {
		if n := of.what.Owners.Total; n > 0 {
			text := fmt.Sprintf("nothing is attributed of %s %s (%s)", some(n, "worker"), of.why, some(of.what.Documents, "target document"))
			all = append(all, of.code.issue(n, text+f.list(": ", of.what.Lost)))
		}
	}
	if n := f.ExpectedNowhere.Total; n > 0 {
		all = append(all, expectedNowhere.issue(n, fmt.Sprintf("no org unit%s for %d of %s", f.forWhom(), n, some(f.ExpectedOwners, "expected worker"))))
	}
	return all
}

func (f *Findings) forWhom() string {
	if f.Rules.Level != "" {
		return " at the level " + f.Rules.Level
	}
	return ""
}

// left tells of documents that were left out, and of those that should perhaps be.
func (f *Findings) left() (all []issue.Issue) {
	if n := f.Excluded.Owners; n > 0 {
		all = append(all, typeExcluded.issue(n, fmt.Sprintf("left out by contact type: %s of %s: %s",
			some(f.Excluded.Documents, "target document"), some(n, "worker"), firstOf(f.types(true)))))
	}
	if types := f.types(false); len(types) > 1 {
		all = append(all, severalTypes.issue(f.Owners, "workers of several contact types count: "+firstOf(types)))
	}
	if n := f.Malformed.Total; n > 0 {
		text := "left out as they cannot be used: " + some(n, "target document")
		var unread []string
		for i, numbers := range f.Unread {
			if name := f.Rules.Items[i].Target; numbers > 0 && !slices.Contains(unread, name) {
				unread = append(unread, name)
			}
		}
		if len(unread) > 0 {
			text += "; numbers that cannot be read are those of " + firstOf(unread)
		}
		all = append(all, malformed.issue(n, text))
	}
	if n := f.Duplicates.Total; n > 0 {
		text := fmt.Sprintf("several target documents of one month for %s, with the same numbers for %d: %s",
			some(n, "worker"), f.Duplicates.Identical, f.Rules.Duplicates.words())
		all = append(all, duplicateWorker.issue(n, text+f.list("; left out are ", f.Duplicates.Left)))
	}
	return all
}

func (d Duplicates) words() string {
	switch d {
	case Together:
		return "they are added up"
	case Largest:
		return "the largest counts"
	default:
		return "the latest counts"
	}
}

// types lists the owners by type, those left out or the others.
func (f *Findings) types(excluded bool) []string {
	var all []string
	for _, t := range f.Types {
		name := t.ID
		if name == "" {
			name = "none"
		}
		if t.Excluded == excluded {
			all = append(all, fmt.Sprintf("%s (%d)", name, t.Owners))
		}
	}
	return all
}

// structure tells what counts more than once.
func (f *Findings) structure() (all []issue.Issue) {
	if n := f.Several.Total; n > 0 {
		var groups []string
		for _, ids := range f.Several.List {
			groups = append(groups, strings.Join(ids, " and "))
		}
		all = append(all, severalOrgUnits.issue(n, some(n, "place")+" with several org units of the data set, each of which gets the whole sum: "+firstOf(groups)))
	}
	if n := f.Nested.Total; n > 0 {
		var pairs []string
		for _, p := range f.Nested.List {
			pairs = append(pairs, fmt.Sprintf("%s in %s (%s)", p.Inner, p.Outer, some(p.Owners, "worker")))
		}
		all = append(all, severalLevels.issue(n, "documents count for an org unit and for one above it: "+firstOf(pairs)))
	}
	return all
}

// aboutTargets tells of targets that documents do not have: those that none has one by one, as there are no cells of them.
func (f *Findings) aboutTargets() (all []issue.Issue) {
	missing := map[string]int{}
	for i, n := range f.Missing {
		item := f.Rules.Items[i]
		if n > 0 && n < f.OwnerMonths {
			missing[item.Target] = n
		}
		if n > 0 && n == f.OwnerMonths {
			one := targetAbsent.issue(n, "no document that counts has the target "+item.Target)
			one.DataElement, one.CategoryOptionCombo = item.DataElement, item.CategoryOptionCombo
			all = append(all, one)
		}
	}
	if len(missing) == 0 {
		return all
	}
	targets := slices.SortedFunc(maps.Keys(missing), func(a, b string) int {
		return cmp.Or(cmp.Compare(missing[b], missing[a]), cmp.Compare(a, b))
	})
	for i, name := range targets {
		targets[i] = fmt.Sprintf("%s (%d)", name, missing[name])
	}
	text := fmt.Sprintf("targets that documents do not have, which is not zero, by how many of %s: %s", some(f.OwnerMonths, "worker"), firstOf(targets))
	return append(all, targetMissing.issue(len(targets), text))
}

// aboutCells tells of cells that are not given, and of those that hold less than the whole period.
func (f *Findings) aboutCells() (all []issue.Issue) {
	if n := f.Partly.Total; n > 0 {
		all = append(all, partlyReported.issue(n, "the sum of some months of the period only, as of another nobody has synced: "+some(n, "org unit")+": "+firstOf(f.Partly.List)))
	}
	if n := f.NoDenominator.Total; n > 0 {
		var cells []string
		for _, c := range f.NoDenominator.List {
			cells = append(cells, c.Item.DataElement+" of "+c.OrgUnit)
		}
		all = append(all, withoutDenominator.issue(n, "not given, as there is no denominator: "+some(n, "percent")+": "+firstOf(cells)))
	}
	return all
}

// aboutMoves tells who moved, and what each org unit has by the hierarchy chosen and would not have by the other one, or the other way
// round.
func (f *Findings) aboutMoves() []issue.Issue {
	n := f.Moved.Owners.Total
	if n == 0 {
		return nil
	}
	all := []issue.Issue{workersMoved.issue(n, "other org units today than when documents of the period first counted, for "+some(n, "worker"))}
	for _, m := range f.Moved.OrgUnits {
		var words []string
		if m.OwnersIn > 0 {
			words = append(words, some(m.OwnersIn, "worker")+" more"+f.list(" with ", m.In))
		}
		if m.OwnersOut > 0 {
			words = append(words, some(m.OwnersOut, "worker")+" fewer"+f.list(" with ", m.Out))
		}
		one := figuresMoved.issue(m.OwnersIn+m.OwnersOut, "by the hierarchy chosen this org unit has "+strings.Join(words, ", and "))
		one.OrgUnit = m.OrgUnit
		all = append(all, one)
	}
	return all
}

// listed is how many things a text names.
const listed = 10

// firstOf joins the first few.
func firstOf(all []string) string {
	if more := len(all) - listed; more > 0 {
		return strings.Join(all[:listed], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(all, ", ")
}

// list tells amounts in words, each target once; nothing where all are zero.
func (f *Findings) list(before string, amounts []Amount) string {
	var all []string
	for i, a := range amounts {
		item := f.Rules.Items[i]
		var words string
		switch {
		case a == Amount{}:
			continue
		case item.Measure == Percent:
			words = fmt.Sprintf("%s of %s %s", digits(a.Pass), digits(a.Total), item.Target)
		default:
			words = fmt.Sprintf("%s %s", digits(a.Pass+a.Total), item.Target)
		}
		if !slices.Contains(all, words) {
			all = append(all, words)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return before + firstOf(all)
}

func digits(n int64) string {
	if n > most {
		return "more than 2^53"
	}
	return fmt.Sprint(n)
}

// some tells a number of things.
func some(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
