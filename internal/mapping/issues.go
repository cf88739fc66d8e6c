package mapping

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
)

// Issue tells why a faulty cell stays behind.
func (c *Cell) Issue() issue.Issue {
	text, remedy := c.Fault.Words()
	where, verb := fmt.Sprintf("value %d of the export", c.Index), "is"
	if c.Month != "" {
		where += " of " + c.Month
	}
	if c.Fault == UnknownCode || c.Fault == AmbiguousCode {
		verb = "has"
	}
	if c.Found != "" {
		where += fmt.Sprintf(" %s %.60s", verb, c.Found)
	}
	index := &c.Index
	switch c.Fault {
	case MonthMissing:
		where, index = "the export of "+c.Month+" does not have it", nil
	case TargetUnknown:
		where, index = c.Found, nil
	default:
	}
	return issue.Issue{
		Code: string(c.Fault), Severity: issue.Cell, Count: 1,
		Text: text + " (" + where + ")", Remedy: remedy,
		DataElement: c.DataElement, OrgUnit: c.OrgUnit, CategoryOptionCombo: c.CategoryOptionCombo, Index: index,
	}
}

// Words say what a fault is and what a person can do about it.
func (f Fault) Words() (text, remedy string) {
	const document = "one of the target documents behind it is malformed: find it with mediator coverage --workers, and correct or delete it in the CHT"
	switch f {
	case NullValue:
		return "the CHT gives no number, but null", document
	case MissingValue:
		return "the CHT gives no value at all", document
	case NotANumber:
		return "the CHT gives something that is no number", document
	case Fraction:
		return "the CHT gives a fraction where things are counted", document
	case Negative:
		return "the CHT gives a number below zero", document
	case TooLargeValue:
		return "the number is too large to be exact", document
	case NoOrgUnit:
		return "the value has no org unit", "correct dhis.orgUnit of the place in the CHT"
	case NoElement:
		return "the value has no data element", "correct dhis.dataElement of the target in the CHT's settings"
	case BadID:
		return "an id does not have the form of a DHIS2 id, eleven letters and digits", "correct it in the CHT (dhis of the place or the target), or rename it in the configuration"
	case UnknownCode:
		return "nothing in the data set or among its org units goes by this name in DHIS2", "give the object this code (or attribute value) in DHIS2, assign the org unit to the data set, or correct the name in the CHT or by a rule"
	case AmbiguousCode:
		return "several objects in DHIS2 go by this name, and nobody can say which one is meant", "give each of them a code (or attribute value) of its own in DHIS2"
	case Collapsed:
		return "several targets share this data element with different combos, and the export adds them up under one of them", sharedRemedy
	case Denominator:
		return "a target of this data element is of the type percent, and its total is its denominator", "set source: targets of the data set, and a targets_file, to send the numerator or the percentage, or percent_targets: send where the denominator is what the data element is for"
	case PartExported:
		return "a target that names its data elements in a list adds to this value, and the export leaves that target out: the value is a part only", "set source: targets of the data set, which reads such lists; or in the CHT's settings, give the target one dhis object, or take this data element off its list where the target is not meant to add to it"
	case DuplicateCell:
		return "the export has several values for this cell, and nobody can say which one is right", "none of them is sent; report it to whoever runs the CHT, whose export should have one value a cell"
	case ElementsMeet:
		return "two data elements come together under one id", "name the id in sum_data_elements if their values are to add up, or correct rename_data_elements"
	case PercentsMeet:
		return "several percentages come together in one cell, and they do not add up", "give each org unit and data element of a percentage an id of its own in DHIS2, or send numerator and denominator"
	case WrongAttribute:
		return "the data set has categories of its own in DHIS2, and the value has none of their attribute option combos", "set attribute_option_combo of the data set, or dhis.attributeOptionCombo of the CHT's target, to one of the data set's category combo"
	case MonthMissing:
		return "the months of the period do not all have this cell, and their sum would pass for the whole", "places or targets of the CHT were changed while the months were read: submit the period again"
	case TargetUnknown:
		return "targets_file leads a target to this cell that neither the CHT's settings nor any target document has, and the sum of the others would pass for the whole",
			"correct the name in targets_file, or take the row out (mediator mapping check names the nearest)"
	case PartMissing:
		return "the value is one part of a sum of which another part stays behind", "correct the other part, named in its own issue"
	default:
		return string(f), ""
	}
}

// sharedRemedy is what can be done about a shared element.
const sharedRemedy = "set source: targets of the data set, which sends each target under its own combo; or give each target a data element of its own, or exclude the data element"

// Remedy says what can be done about it.
func (SharedElement) Remedy() string { return sharedRemedy }

// percentTargets are the targets of a data set of which the export gives the denominator.
func percentTargets(settings *cht.Settings, dataSet string) []cht.Target {
	return slices.DeleteFunc(slices.Clone(settings.Targets), func(t cht.Target) bool { return t.Type != "percent" || t.Listed || !t.For(dataSet) })
}

// Denominators tells, a data element each, of the percent targets of a data set. Where the rules leave a data element out there is
// nothing to tell, and where they refuse it, each value of it tells so itself.
func Denominators(settings *cht.Settings, rules Rules, dataSet string) []issue.Issue {
	if rules.RefusePercent {
		return nil
	}
	elements := filter{setOf(rules.IncludeDataElements), setOf(rules.ExcludeDataElements)}
	var found []issue.Issue
	for _, target := range percentTargets(settings, dataSet) {
		if !elements.includes(target.DataElement) || elements.exclude[target.DataElement] ||
			slices.ContainsFunc(found, func(i issue.Issue) bool { return i.DataElement == target.DataElement }) {
			continue
		}
		found = append(found, issue.Issue{
			Code: string(Denominator), Severity: issue.Note, Count: 1, DataElement: target.DataElement,
			Text:   fmt.Sprintf("target %s is of the type percent, and its total, which is sent, is its denominator", target.ID),
			Remedy: "make sure that the denominator is what the data element is for; else set source: targets of the data set, and a targets_file, which can send the numerator or the percentage, or percent_targets: refuse",
		})
	}
	return found
}

// SharedElement is a data element that several targets of a data set feed under different combos. The export adds their
// values up and gives the sum the combo of the last one, in every CHT version to date.
type SharedElement struct {
	DataElement string
	Targets     []string
	Combos      []string
}

// SharedElements finds them in the CHT's settings, in the order of the settings.
func SharedElements(settings *cht.Settings, dataSet string) []SharedElement {
	var found []SharedElement
	for _, target := range settings.Targets {
		if !target.For(dataSet) || target.Listed {
			continue
		}
		combo := combosOf(target)
		at := slices.IndexFunc(found, func(s SharedElement) bool { return s.DataElement == target.DataElement })
		if at < 0 {
			found = append(found, SharedElement{DataElement: target.DataElement, Targets: []string{target.ID}, Combos: []string{combo}})
			continue
		}
		found[at].Targets = append(found[at].Targets, target.ID)
		if !slices.Contains(found[at].Combos, combo) {
			found[at].Combos = append(found[at].Combos, combo)
		}
	}
	return slices.DeleteFunc(found, func(s SharedElement) bool { return len(s.Combos) < 2 })
}

// orDefault writes the default combo in one way.
func orDefault(combo string) string {
	if combo == "" {
		return dhis2.DefaultCombo
	}
	return combo
}

// NotExported finds the targets of a data set that name their data elements in a list. The documentation of CHT allows
// it, and its export leaves them out without a word.
func NotExported(settings *cht.Settings, dataSet string) []issue.Issue {
	var found []issue.Issue
	for _, target := range settings.Targets {
		if target.Listed && target.For(dataSet) {
			found = append(found, issue.Issue{
				Code: "target_not_exported", Severity: issue.Note, Count: 1, DataElement: target.DataElement,
				Text:   fmt.Sprintf("target %s names its data elements in a list, and the CHT's export leaves it out", target.ID),
				Remedy: "set source: targets of the data set, which reads such lists; or in the CHT's settings, give the target one dhis object, and make a second target for a second data element",
			})
		}
	}
	return found
}

// partlyExported are the data elements of a data set to which both a target adds that the export gives and one that it leaves out,
// under one combo.
func partlyExported(settings *cht.Settings, dataSet string) map[string]bool {
	found := map[string]bool{}
	for _, out := range settings.Targets {
		if !out.Listed || !out.For(dataSet) {
			continue
		}
		found[out.DataElement] = found[out.DataElement] || slices.ContainsFunc(settings.Targets, func(t cht.Target) bool {
			return !t.Listed && t.For(dataSet) && t.DataElement == out.DataElement && combosOf(t) == combosOf(out)
		})
	}
	return found
}

// combosOf writes the combos of a target in one way.
func combosOf(t cht.Target) string {
	return orDefault(t.CategoryOptionCombo) + "/" + orDefault(t.AttributeOptionCombo)
}

// IsExported says that the export has something of a data set: one without data elements it refuses.
func IsExported(settings *cht.Settings, dataSet string) bool {
	return slices.ContainsFunc(settings.Targets, func(t cht.Target) bool { return t.For(dataSet) && !t.Listed })
}

// Extras tells of fields of the export that were dropped, from their names and how often they came.
func Extras(counts map[string]int) []issue.Issue {
	var found []issue.Issue
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		found = append(found, issue.Issue{
			Code: "field_dropped", Severity: issue.Note, Count: counts[name],
			Text: fmt.Sprintf("the field %.60q of the export is not sent to DHIS2", strings.ToValidUTF8(name, "?")),
		})
	}
	return found
}
