package form

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/target"
)

// Explain tells what becomes of each target, and of each cell of the form.
func Explain(f Facts) Mapping {
	t := newTable(f)
	m := Mapping{Cells: t.empty(), Idle: []Idle{}, Issues: []issue.Issue{}}
	fed := map[string]bool{}
	for _, i := range t.Items {
		if i.Measure < 0 || int(i.Measure) >= len(measures) {
			continue
		}
		cell, dropped, found := t.seat(i)
		switch {
		case dropped:
			m.idle(i.Target, "a rule of the configuration leaves data element "+i.DataElement+" out")
			continue
		case found == nil:
			fed[i.Target] = true
		default:
			m.Issues = append(m.Issues, *found)
			m.idle(i.Target, "it is held back: "+found.Code)
		}
		m.take(t, i, cell, found)
	}
	for _, one := range t.left(fed) {
		m.idle(one.Target, one.Why)
	}
	m.Idle = slices.DeleteFunc(m.Idle, func(one Idle) bool { return fed[one.Target] })
	m.Issues = append(m.Issues, t.notes(&m)...)
	slices.SortStableFunc(m.Issues, func(a, b issue.Issue) int {
		return cmp.Or(cmp.Compare(rank(a.Severity), rank(b.Severity)), cmp.Compare(a.Code, b.Code))
	})
	return m
}

func rank(s issue.Severity) int {
	return slices.Index([]issue.Severity{issue.Blocking, issue.Cell, issue.Note}, s)
}

func (m *Mapping) idle(target, why string) {
	if one := (Idle{target, why}); !slices.Contains(m.Idle, one) {
		m.Idle = append(m.Idle, one)
	}
}

// empty gives the cells of the form, fed by nothing yet.
func (t *table) empty() []Cell {
	var cells []Cell
	for _, e := range elementsOf(t.Set) {
		if e.Combo == nil || e.Combo.IsDefault || len(e.Combo.Combos) == 0 {
			cells = append(cells, Cell{DataElement: e.ID, DataElementName: e.Name, Targets: []string{}})
			continue
		}
		for _, o := range combosOf(e.Combo) {
			cells = append(cells, Cell{DataElement: e.ID, DataElementName: e.Name, CategoryOptionCombo: o.ID, CategoryOptionComboName: o.Name, Targets: []string{}})
		}
	}
	return cells
}

// take lets an item add to its cell. The form does not say of which attribute option combo a cell is: the items do.
func (m *Mapping) take(t *table, i target.Item, c mapping.Cell, found *issue.Issue) {
	same := func(one Cell) bool {
		return one.DataElement == c.DataElement && one.CategoryOptionCombo == c.CategoryOptionCombo
	}
	at := slices.IndexFunc(m.Cells, func(one Cell) bool {
		return same(one) && one.AttributeOptionCombo == c.AttributeOptionCombo && (one.Value == "" || (one.Issue == "") == (found == nil))
	})
	if at < 0 {
		if at = slices.IndexFunc(m.Cells, func(one Cell) bool { return same(one) && len(one.Targets) == 0 }); at < 0 {
			at = t.insert(m, c)
		}
	}
	cell := &m.Cells[at]
	cell.AttributeOptionCombo = c.AttributeOptionCombo
	if t.Set.Combo != nil && t.Set.Combo.Combos[c.AttributeOptionCombo] != nil {
		cell.AttributeOptionComboName = t.Set.Combo.Combos[c.AttributeOptionCombo].Name
	}
	value := measures[i.Measure]
	if cell.Value != "" && cell.Value != value {
		cell.Issue = "values_meet"
		m.Issues = append(m.Issues, issue.Issue{
			Code: "values_meet", Severity: issue.Cell, Count: 1, DataElement: c.DataElement, CategoryOptionCombo: c.CategoryOptionCombo,
			Text:   fmt.Sprintf("the %s of target %s comes together with the %s of %s", value, i.Target, cell.Value, strings.Join(cell.Targets, ", ")),
			Remedy: "give all rows of the cell one value in targets_file, or correct rename_data_elements",
		})
	}
	if !slices.Contains(cell.Targets, i.Target) {
		cell.Targets = append(cell.Targets, i.Target)
	}
	cell.Value = cmp.Or(cell.Value, value)
	if found != nil {
		cell.Issue = found.Code
	}
	cell.Export = t.exported(i, cell)
}

// insert makes a cell that the form does not have, behind those of its data element.
func (t *table) insert(m *Mapping, c mapping.Cell) int {
	cell := Cell{DataElement: c.DataElement, CategoryOptionCombo: c.CategoryOptionCombo, Targets: []string{}}
	at := len(m.Cells)
	if e := t.Set.Elements[c.DataElement]; e != nil {
		cell.DataElementName = e.Name
		for i := range m.Cells {
			if m.Cells[i].DataElement == e.ID {
				at = i + 1
			}
		}
		if e.Combo != nil && e.Combo.Combos[c.CategoryOptionCombo] != nil {
			cell.CategoryOptionComboName = e.Combo.Combos[c.CategoryOptionCombo].Name
		}
	}
	m.Cells = slices.Insert(m.Cells, at, cell)
	return at
}

// exported says what the CHT's export makes of a cell that an item was just added to, where it is not the same.
func (t *table) exported(i target.Item, cell *Cell) string {
	if i.Measure != target.Total {
		return "it sends the total of " + i.Target + ", whatever is asked for"
	}
	var there []cht.Target
	for _, one := range t.Settings.Targets {
		if one.For(t.DataSet) && one.DataElement == i.DataElement {
			there = append(there, one)
		}
	}
	shared := mapping.SharedElements(t.Settings, t.DataSet)
	at := slices.IndexFunc(there, func(one cht.Target) bool { return one.ID == i.Target })
	switch {
	case at < 0:
		return "it leaves " + i.Target + " out: the CHT's settings do not lead it to this data element"
	case there[at].Listed:
		return "it leaves " + i.Target + " out: its elements stand in a list in the CHT's settings"
	case slices.ContainsFunc(shared, func(s mapping.SharedElement) bool { return s.DataElement == i.DataElement }):
		last := there[len(there)-1]
		return fmt.Sprintf("it adds up all targets of the data element under the combo of %s", last.ID)
	default:
		for _, one := range there {
			if !one.Listed && !slices.Contains(cell.Targets, one.ID) && !slices.ContainsFunc(t.Items, func(o target.Item) bool { return o.Target == one.ID && o.DataElement == one.DataElement }) {
				return "it adds " + one.ID + " to it"
			}
		}
		return ""
	}
}

// left are the targets that no item takes, and why.
func (t *table) left(fed map[string]bool) []Idle {
	var idle []Idle
	isOurs := map[string]bool{}
	for _, one := range t.Settings.Targets {
		isOurs[one.ID] = isOurs[one.ID] || one.For(t.DataSet)
	}
	for _, one := range t.Settings.Targets {
		taken := fed[one.ID] || slices.ContainsFunc(t.Items, func(i target.Item) bool { return i.Target == one.ID })
		switch {
		case taken, isOurs[one.ID] && !one.For(t.DataSet):
		case !one.For(t.DataSet):
			idle = append(idle, Idle{one.ID, "the CHT's settings lead it to data set " + one.DataSet})
		case one.Listed && !t.FromTargets:
			idle = append(idle, Idle{one.ID, "its elements stand in a list in the CHT's settings, and the export leaves it out"})
		default:
			idle = append(idle, Idle{one.ID, "targets_file has no row of it"})
		}
	}
	for _, one := range t.Settings.Undirected {
		if !fed[one.ID] && !slices.ContainsFunc(t.Items, func(i target.Item) bool { return i.Target == one.ID }) {
			idle = append(idle, Idle{one.ID, "the CHT's settings lead it to no data element"})
		}
	}
	return idle
}

// notes are about what is not wrong as such.
func (t *table) notes(m *Mapping) []issue.Issue {
	var notes []issue.Issue
	for _, cell := range m.Cells {
		if len(cell.Targets) > 0 {
			continue
		}
		i := issue.Issue{
			Code: "cell_not_fed", Severity: issue.Note, Count: 1, DataElement: cell.DataElement, CategoryOptionCombo: cell.CategoryOptionCombo,
			Text:   "no target feeds " + cell.title(),
			Remedy: "nothing, where it is filled in by others; else lead a target to it",
		}
		if near := likeliestTarget(cell, m.Idle); near != "" {
			i.Remedy += "; by its name it may be " + near
		}
		notes = append(notes, i)
	}
	var kinds []string
	for _, kind := range t.Settings.ContactTypes {
		kinds = append(kinds, kind.ID)
	}
	for _, kind := range t.ContactTypes {
		if !t.FromTargets || len(kinds) == 0 || slices.Contains(kinds, kind) {
			continue
		}
		notes = append(notes, issue.Issue{
			Code: typeUnknown, Severity: issue.Note, Count: 1, Text: "the CHT's settings have no contact type " + kind + ", so that nothing is left out, or counts, for it",
			Remedy: "correct exclude_contact_types or attribution; the CHT has " + strings.Join(kinds, ", "),
		})
	}
	if !t.FromTargets {
		notes = append(notes, mapping.Denominators(t.Settings, t.Rules, t.DataSet)...)
	}
	return notes
}

const percentType = "percent"

func (c Cell) title() string {
	name := fmt.Sprintf("%s (%s)", c.DataElement, c.DataElementName)
	if c.CategoryOptionCombo != "" && c.CategoryOptionCombo != dhis2.DefaultCombo {
		name += fmt.Sprintf(", %s (%s)", c.CategoryOptionCombo, c.CategoryOptionComboName)
	}
	return name
}

// likeliestTarget is the idle target whose name holds the names of the cell; none where several do.
func likeliestTarget(c Cell, idle []Idle) string {
	found := ""
	for _, one := range idle {
		switch {
		case likeliest(one.Target, map[string]string{"it": c.DataElementName + " " + c.CategoryOptionComboName}) == "":
		case found != "" && found != one.Target:
			return ""
		default:
			found = one.Target
		}
	}
	return found
}
