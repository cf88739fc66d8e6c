// Package form lays the targets of a CHT beside the form of a data set in DHIS2: which target feeds which cell of it, which cells
// and targets are left over, and whether the CHT's own export could carry it.
//
// It explains the mapping that is in force, and drafts one where there is none. What it cannot know it asks: a draft holds a
// question mark where a person has to answer, which the configuration does not take, and a guess only ever stands beside it.
package form

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/target"
	"github.com/cht-dhis2/mediator/internal/validation"
)

// Facts are both sides of a mapping, and what the configuration says of it.
type Facts struct {
	// DataSet is what the CHT calls the data set.
	DataSet string
	// Settings are the CHT's.
	Settings *cht.Settings
	// Set is the data set in DHIS2, with the names that the CHT uses.
	Set   dhis2.DataSet
	Rules mapping.Rules
	// FromTargets says that target documents are read, not the export. Items are those in force then; nil are those of the CHT's
	// settings.
	FromTargets bool
	Items       []target.Item
	// ContactTypes are those that the configuration names, to leave out or to count for.
	ContactTypes []string
}

// Items are the targets of a data set as the CHT's settings have them, those that name their elements in a list too.
func Items(settings *cht.Settings, dataSet string) []target.Item {
	items := []target.Item{}
	for _, t := range settings.Targets {
		if t.For(dataSet) {
			items = append(items, target.Item{Target: t.ID, DataElement: t.DataElement, CategoryOptionCombo: t.CategoryOptionCombo, AttributeOptionCombo: t.AttributeOptionCombo})
		}
	}
	return items
}

// measures are what the configuration calls the numbers of a target.
var measures = [...]string{target.Total: "total", target.Pass: "pass", target.Percent: "percent"}

// Mapping is what becomes of the targets of one CHT. Its JSON form is part of the program's output.
type Mapping struct {
	// Cells are those of the form, fed or not, and behind them those that targets lead to and the form does not have.
	Cells []Cell `json:"cells"`
	// Idle are the targets of the CHT that feed no cell of it.
	Idle   []Idle        `json:"idle_targets"`
	Issues []issue.Issue `json:"issues"`
}

// Cell is a cell of each org unit's form. The ids are those of DHIS2.
type Cell struct {
	DataElement              string `json:"data_element"`
	DataElementName          string `json:"data_element_name"`
	CategoryOptionCombo      string `json:"category_option_combo"`
	CategoryOptionComboName  string `json:"category_option_combo_name"`
	AttributeOptionCombo     string `json:"attribute_option_combo"`
	AttributeOptionComboName string `json:"attribute_option_combo_name"`
	// Targets add up to it; none leaves it empty. Value is total, pass or percent.
	Targets []string `json:"targets"`
	Value   string   `json:"value,omitempty"`
	// Export says what the CHT's export makes of it where that is not the same; empty is that it is.
	Export string `json:"export,omitempty"`
	// Issue is the code of the issue that keeps it back; empty is none.
	Issue string `json:"issue,omitempty"`
}

// Idle is a target that feeds nothing here.
type Idle struct {
	Target string `json:"target"`
	Why    string `json:"why"`
}

// Stuck says that something of the mapping would be held back, or does not do what it says.
func (m Mapping) Stuck() bool {
	return slices.ContainsFunc(m.Issues, func(i issue.Issue) bool { return i.Severity != issue.Note || i.Code == typeUnknown })
}

// typeUnknown is the code of a contact type that the CHT does not have: what names it does nothing, and nobody is told.
const typeUnknown = "contact_type_unknown"

// table is a form on the desk, with what is needed to look at one target after the other.
type table struct {
	Facts

	mapping *mapping.Mapping
	checks  *validation.Checks
	// called are what the CHT calls the combos and the elements, by their ids; those that go by their ids are not in it.
	called map[string]string
	types  map[string]string
	known  []string
}

func newTable(f Facts) *table {
	// Which org unit a value is of plays no part here, so no rule about them may.
	rules, set := f.Rules, f.Set
	rules.IncludeOrgUnits, rules.ExcludeOrgUnits, rules.RenameOrgUnits = nil, nil, nil
	set.Names.OrgUnits = nil
	t := &table{Facts: f, called: map[string]string{}, types: map[string]string{}}
	settings := f.Settings
	if f.FromTargets {
		settings = &cht.Settings{} // nothing collapses
		if t.Items == nil {
			t.Items = Items(f.Settings, f.DataSet)
		}
	} else {
		t.Items = slices.DeleteFunc(Items(f.Settings, f.DataSet), func(i target.Item) bool { return isListed(f.Settings, f.DataSet, i) })
	}
	t.mapping = mapping.New(rules, settings, set)
	t.checks = validation.New(validation.Facts{Set: &t.Set})
	for _, names := range []map[string]string{set.Names.DataElements, set.Names.CategoryOptionCombos} {
		for name, id := range names {
			t.called[id] = name
		}
	}
	for _, one := range slices.Concat(f.Settings.Targets, f.Settings.Undirected) {
		if _, twice := t.types[one.ID]; !twice {
			t.known = append(t.known, one.ID)
		}
		t.types[one.ID] = one.Type
	}
	return t
}

// isListed says that an item stands in a list of the CHT's settings, which the export leaves out.
func isListed(settings *cht.Settings, dataSet string, i target.Item) bool {
	return slices.ContainsFunc(settings.Targets, func(t cht.Target) bool {
		return t.Listed && t.For(dataSet) && t.ID == i.Target && t.DataElement == i.DataElement
	})
}

// name is what the CHT calls a thing.
func (t *table) name(id string) string { return cmp.Or(t.called[id], id) }

// anyOrgUnit has the form of an org unit's id.
const anyOrgUnit = "Aaaaaaaaaaa"

// seat finds the cell of an item under its ids in DHIS2. Dropped says that a rule leaves it out, found what keeps it back.
func (t *table) seat(i target.Item) (cell mapping.Cell, dropped bool, found *issue.Issue) {
	value := &cht.Value{
		OrgUnit: text(anyOrgUnit), DataElement: text(i.DataElement), Value: cht.Field{Kind: cht.Number, Text: "1"},
		CategoryOptionCombo: text(i.CategoryOptionCombo), AttributeOptionCombo: text(i.AttributeOptionCombo),
	}
	if t.mapping.Take(value, &cell) == mapping.Dropped {
		return cell, true, nil
	}
	keep := func(code, what, remedy string) *issue.Issue {
		return &issue.Issue{
			Code: code, Severity: issue.Cell, Count: 1, Text: "target " + i.Target + ": " + what, Remedy: remedy,
			DataElement: cell.DataElement, CategoryOptionCombo: cell.CategoryOptionCombo,
		}
	}
	if t.FromTargets && !slices.Contains(t.known, i.Target) {
		remedy := "correct the name in targets_file, or take the row out"
		if near := issue.Nearest(i.Target, t.known); near != "" {
			remedy += "; did you mean " + near + "?"
		}
		return cell, false, keep("target_unknown", "the CHT's settings have no such target", remedy)
	}
	if cell.Fault != "" {
		what, remedy := cell.Fault.Words()
		if cell.Found != "" && cell.Fault != mapping.Collapsed {
			what += " (" + cell.Found + ")"
		}
		return cell, false, keep(string(cell.Fault), what, t.remedy(string(cell.Fault), remedy, i, cell))
	}
	if unfit := t.unfit(i, cell); unfit != nil {
		return cell, false, keep(unfit.Code, unfit.Text, t.remedy(unfit.Code, unfit.Remedy, i, cell))
	}
	return cell, false, nil
}

func text(s string) cht.Field {
	if s == "" {
		return cht.Field{}
	}
	return cht.Field{Kind: cht.String, Text: s}
}

// unfit says why a count, or a percentage, would not be taken where it is to go.
func (t *table) unfit(i target.Item, cell mapping.Cell) *validation.Finding {
	v := mapping.Value{AttributeOptionCombo: cell.AttributeOptionCombo, DataValue: dhis2.DataValue{
		DataElement: cell.DataElement, OrgUnit: anyOrgUnit, CategoryOptionCombo: cell.CategoryOptionCombo,
	}}
	for _, count := range []string{"1", "100"} {
		v.Value = count
		if found := t.checks.Value(&v); found != nil {
			return found
		}
	}
	element := t.Set.Elements[cell.DataElement]
	if i.Measure != target.Percent && element.ValueType == percentage {
		return &validation.Finding{
			Code: "value_type", Text: fmt.Sprintf("data element %s is a percentage in DHIS2, and %s is a number of cases", cell.DataElement, measures[i.Measure]),
			Remedy: "let source be targets and value be percent in targets_file, or change the value type in DHIS2",
		}
	}
	if !isNumber(element.ValueType) {
		return &validation.Finding{
			Code: "value_type", Text: fmt.Sprintf("data element %s is %s in DHIS2, so that its figures add up to nothing", cell.DataElement, element.ValueType),
			Remedy: "change its value type in DHIS2 to a number",
		}
	}
	return nil
}

const percentage = "PERCENTAGE"

// isNumber says that DHIS2 adds values of a type up.
func isNumber(valueType string) bool {
	return strings.HasPrefix(valueType, "INTEGER") || valueType == "NUMBER" || valueType == "UNIT_INTERVAL" || valueType == percentage
}

// remedy says what can be done, and what there is to choose from.
func (t *table) remedy(code, remedy string, i target.Item, cell mapping.Cell) string {
	where := "on the CHT's target (dhis.%s)"
	column := "categoryOptionCombo"
	if t.FromTargets {
		where, column = "in targets_file (column %s)", "category_option_combo"
	}
	element := t.Set.Elements[cell.DataElement]
	switch code {
	case "category_option_combo_missing", "category_option_combo_wrong":
		return "name one of the data element's combos " + fmt.Sprintf(where, column) + ": " + t.choice(i.Target, element.Combo)
	case "category_option_combo_unexpected":
		return "leave it empty " + fmt.Sprintf(where, column) + ", or disaggregate the data element in DHIS2"
	case string(mapping.WrongAttribute):
		return "set attribute_option_combo of the data set to one of " + t.choice(i.Target, t.Set.Combo)
	case "data_element_not_in_data_set", string(mapping.UnknownCode):
		if near := likeliest(i.Target, t.elementNames()); near != "" {
			remedy += fmt.Sprintf("; by its name it may be %s (%s)", t.name(near), t.Set.Elements[near].Name)
		}
		return remedy
	default:
		return remedy
	}
}

// choice lists the combos that there are, and the one that a target's name looks like.
func (t *table) choice(name string, combo *dhis2.CategoryCombo) string {
	if combo == nil {
		return "none that the account may see"
	}
	names := map[string]string{}
	var list []string
	for _, o := range combosOf(combo) {
		names[o.ID] = o.Name
		list = append(list, fmt.Sprintf("%s (%s)", t.name(o.ID), o.Name))
	}
	if len(list) > mostNamed {
		list = append(list[:mostNamed], fmt.Sprintf("%d more", len(list)-mostNamed))
	}
	said := strings.Join(list, ", ")
	if near := likeliest(name, names); near != "" {
		said += fmt.Sprintf("; by its name it may be %s (%s)", t.name(near), names[near])
	}
	return said
}

// mostNamed is how many combos of a data element are listed in a question.
const mostNamed = 24

func (t *table) elementNames() map[string]string {
	names := map[string]string{}
	for id, e := range t.Set.Elements {
		names[id] = e.Name
	}
	return names
}

// combosOf are the combos of a category combo by their names.
func combosOf(combo *dhis2.CategoryCombo) []*dhis2.CategoryOptionCombo {
	return slices.SortedFunc(maps.Values(combo.Combos), func(a, b *dhis2.CategoryOptionCombo) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
}

// elementsOf are the data elements of a set by their names.
func elementsOf(set dhis2.DataSet) []*dhis2.Element {
	return slices.SortedFunc(maps.Values(set.Elements), func(a, b *dhis2.Element) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
}
