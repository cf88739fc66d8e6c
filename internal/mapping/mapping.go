// Package mapping turns what a CHT export says into what DHIS2 is to be told, by the rules of a data set.
//
// It is pure: it touches no network, no file and no clock. The work is in two steps, so that a month of any size passes
// through: Take judges one value as it stands in the export, and OrgUnit settles all the values of one org unit together.
// Between the two, the caller gathers the values by org unit, in any order and anywhere.
//
// Nothing is guessed. A value that cannot be what it seems, and each of two values for one cell, stays behind with an
// issue that names it; every value ends as sent, dropped by a rule, or left behind.
package mapping

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
)

// Rules are what a data set's configuration asks for. The zero Rules change nothing, drop org units in which everything
// is zero, and send zeros.
type Rules struct {
	// The org units and data elements to take, by their ids in CHT; empty takes all. Excluding wins over including.
	IncludeOrgUnits, ExcludeOrgUnits         []string
	IncludeDataElements, ExcludeDataElements []string
	// New ids for the ids in CHT. Several org units with one new id add up.
	RenameOrgUnits, RenameDataElements, RenameCombos map[string]string
	// SumDataElements are the new ids of data elements to which several data elements add up.
	SumDataElements []string
	// AttributeOptionCombo is given to every value that has none of its own.
	AttributeOptionCombo string
	// SendEmptyOrgUnits sends org units in which every value is zero. CHT gives such zeros to every org unit, whether
	// anybody reported or not.
	SendEmptyOrgUnits bool
	// DropZeros leaves out values of zero.
	DropZeros bool
}

// Check refuses rules that contradict each other.
func (r Rules) Check() error {
	from := map[string][]string{}
	for old, renamed := range r.RenameDataElements {
		from[renamed] = append(from[renamed], old)
	}
	for _, renamed := range slices.Sorted(maps.Keys(from)) {
		if len(from[renamed]) > 1 && !slices.Contains(r.SumDataElements, renamed) {
			slices.Sort(from[renamed])
			return fmt.Errorf("rename_data_elements gives %s one id, %s: name it in sum_data_elements if their values are to add up", strings.Join(from[renamed], " and "), renamed)
		}
	}
	return nil
}

// Mapping is rules made ready for one data set of one CHT. Take and OrgUnit may be called by several goroutines.
type Mapping struct {
	rules                Rules
	defaults             map[string]bool // ids of the default combo
	collapsed            map[string]bool // by their ids in CHT
	orgUnits, elements   filter
	sums                 map[string]bool
	attributeOptionCombo string
}

// New makes a mapping ready. The settings tell which data elements the export adds up wrongly; extraDefaults are ids of
// the default combo beside the usual one.
func New(rules Rules, settings *cht.Settings, dataSet string, extraDefaults ...string) *Mapping {
	m := &Mapping{
		rules:     rules,
		defaults:  setOf(append(extraDefaults, dhis2.DefaultCombo)),
		collapsed: map[string]bool{},
		orgUnits:  filter{setOf(rules.IncludeOrgUnits), setOf(rules.ExcludeOrgUnits)},
		elements:  filter{setOf(rules.IncludeDataElements), setOf(rules.ExcludeDataElements)},
		sums:      setOf(rules.SumDataElements),
	}
	m.attributeOptionCombo = m.combo(rules.AttributeOptionCombo)
	for _, shared := range SharedElements(settings, dataSet) {
		m.collapsed[shared.DataElement] = true
	}
	return m
}

// Cell is one value of the export on its way, under its new ids. An empty combo is the default one.
type Cell struct {
	OrgUnit, DataElement, CategoryOptionCombo, AttributeOptionCombo string
	Comment                                                         string
	// Value is the number, where there is one.
	Value int64
	// Fault is why the cell cannot be sent, empty where it can; Found is what stood there.
	Fault Fault
	Found string

	// FromOrgUnit and FromElement are the ids in CHT, Index is the place in the export.
	FromOrgUnit, FromElement string
	Index                    int

	touched touched
}

// Fault is why a cell cannot be sent.
type Fault string

// The faults. Their names are the codes of the issues.
const (
	NullValue     Fault = "null_value"
	MissingValue  Fault = "missing_value"
	NotANumber    Fault = "not_a_number"
	Fraction      Fault = "fraction"
	Negative      Fault = "negative_value"
	TooLargeValue Fault = "too_large_value"
	NoOrgUnit     Fault = "missing_org_unit"
	NoElement     Fault = "missing_data_element"
	BadID         Fault = "malformed_id"
	Collapsed     Fault = "shared_element_collapses"
	DuplicateCell Fault = "duplicate_cell"
	ElementsMeet  Fault = "data_elements_meet"
	PartMissing   Fault = "part_of_sum_missing"
)

// Fate is what Take makes of a value.
type Fate int

// The fates.
const (
	// Taken goes on to OrgUnit, a faulty one too.
	Taken Fate = iota
	// Dropped is left out by a rule.
	Dropped
	// Homeless stays behind at once, as its org unit cannot be told; its issue is all that remains.
	Homeless
)

// Take judges one value of the export.
func (m *Mapping) Take(v *cht.Value) (Cell, Fate) {
	c := Cell{
		OrgUnit: v.OrgUnit.Text, DataElement: v.DataElement.Text,
		FromOrgUnit: v.OrgUnit.Text, FromElement: v.DataElement.Text,
		CategoryOptionCombo:  v.CategoryOptionCombo.Text,
		AttributeOptionCombo: v.AttributeOptionCombo.Text,
		Index:                v.Index,
	}
	if v.Comment.Kind == cht.String {
		c.Comment = v.Comment.Text
	}
	if !isText(v.OrgUnit) {
		c.Fault, c.OrgUnit = NoOrgUnit, ""
		return c, Homeless
	}
	if rule, left := m.leavesOut(&c, isText(v.DataElement)); left {
		c.touched.add(rule)
		return c, Dropped
	}
	m.rename(&c.OrgUnit, m.rules.RenameOrgUnits, RenameOrgUnits, &c.touched)
	m.rename(&c.DataElement, m.rules.RenameDataElements, RenameDataElements, &c.touched)
	m.rename(&c.CategoryOptionCombo, m.rules.RenameCombos, RenameCombos, &c.touched)
	m.rename(&c.AttributeOptionCombo, m.rules.RenameCombos, RenameCombos, &c.touched)
	c.CategoryOptionCombo = m.combo(c.CategoryOptionCombo)
	c.AttributeOptionCombo = m.combo(c.AttributeOptionCombo)
	if c.AttributeOptionCombo == "" && m.attributeOptionCombo != "" {
		c.AttributeOptionCombo = m.attributeOptionCombo
		c.touched.add(SetAttributeOptionCombo)
	}
	m.judge(&c, v)
	return c, Taken
}

// leavesOut finds the rule that leaves a cell out, if one does.
func (m *Mapping) leavesOut(c *Cell, hasElement bool) (Rule, bool) {
	switch {
	case !m.orgUnits.includes(c.OrgUnit):
		return IncludeOrgUnits, true
	case m.orgUnits.exclude[c.OrgUnit]:
		return ExcludeOrgUnits, true
	case hasElement && !m.elements.includes(c.DataElement):
		return IncludeDataElements, true
	case hasElement && m.elements.exclude[c.DataElement]:
		return ExcludeDataElements, true
	default:
		return 0, false
	}
}

// rename gives an id its new one.
func (m *Mapping) rename(id *string, names map[string]string, rule Rule, by *touched) {
	if other, ok := names[*id]; ok {
		*id = other
		by.add(rule)
	}
}

// judge finds the number, and the cell's first fault.
func (m *Mapping) judge(c *Cell, v *cht.Value) {
	c.Value, c.Fault = number(v.Value)
	if c.Fault != "" {
		c.Found = v.Value.Text
	}
	switch {
	case !isText(v.DataElement):
		c.Fault, c.Found = NoElement, v.DataElement.Text
	case m.collapsed[c.FromElement]:
		c.Fault, c.Found = Collapsed, v.Value.Text
	default:
		for _, id := range []string{c.OrgUnit, c.DataElement, c.CategoryOptionCombo, c.AttributeOptionCombo} {
			if id != "" && !dhis2.IsUID(id) {
				c.Fault, c.Found = BadID, id
			}
		}
		if malformed(v.CategoryOptionCombo) || malformed(v.AttributeOptionCombo) {
			c.Fault, c.Found = BadID, v.CategoryOptionCombo.Text+v.AttributeOptionCombo.Text
		}
	}
}

func isText(f cht.Field) bool { return f.Kind == cht.String && f.Text != "" }

// malformed says that a combo is there and is no text; null counts as left out.
func malformed(f cht.Field) bool { return f.Kind == cht.Number || f.Kind == cht.Other }

func (m *Mapping) combo(id string) string {
	if m.defaults[id] {
		return ""
	}
	return id
}

const exact = 1 << 53 // whole numbers up to here are told apart by every program on the way

// number reads a finite, whole number that is not negative.
func number(f cht.Field) (int64, Fault) {
	switch f.Kind {
	case cht.Missing:
		return 0, MissingValue
	case cht.Null:
		return 0, NullValue
	case cht.Number:
	default:
		return 0, NotANumber
	}
	if n, err := strconv.ParseInt(f.Text, 10, 64); err == nil && n >= 0 && n <= exact {
		return n, ""
	}
	n, err := strconv.ParseFloat(f.Text, 64)
	switch {
	case err != nil || math.IsInf(n, 0) || n >= exact:
		return 0, TooLargeValue
	case n < 0:
		return 0, Negative
	case n != math.Trunc(n) || n == 0 && strings.ContainsAny(mantissa(f.Text), "123456789"):
		return 0, Fraction
	default:
		return int64(n), ""
	}
}

// mantissa is the text of a JSON number before its exponent.
func mantissa(text string) string {
	head, _, _ := strings.Cut(strings.ToLower(text), "e")
	return head
}

// Settled is what is to be sent of one org unit, and what is not.
type Settled struct {
	// Values are in the one order in which they are sent: by attribute option combo, data element and combo.
	Values []Value
	// Dropped are cells left out by a rule, Quarantined those left behind with an issue.
	Dropped, Quarantined int
	// Empty means that the whole org unit was dropped, as everything was zero.
	Empty  bool
	Issues []issue.Issue
	// Uses counts the values that a rule touched here.
	Uses Uses
}

// Value is one value to send.
type Value struct {
	AttributeOptionCombo string
	dhis2.DataValue
}

// OrgUnit settles all the cells of one org unit; it may put them in another order. The result does not depend on the
// order in which they come.
func (m *Mapping) OrgUnit(cells []Cell) Settled {
	slices.SortFunc(cells, compareCells)
	if !m.rules.SendEmptyOrgUnits && allZero(cells) {
		s := Settled{Empty: true, Dropped: len(cells)}
		s.Uses[EmptyOrgUnits] = len(cells)
		return s
	}
	var s Settled
	s.Values = make([]Value, 0, len(cells))
	for len(cells) > 0 {
		n := 1
		for n < len(cells) && sameCell(cells[0], cells[n]) {
			n++
		}
		m.settle(&s, cells[:n])
		cells = cells[n:]
	}
	return s
}

// settle makes one value of the contributions to one cell, or leaves all of them behind.
func (m *Mapping) settle(s *Settled, parts []Cell) {
	m.blame(parts)
	total := int64(0)
	faulty := false
	for i := range parts {
		total += parts[i].Value
		faulty = faulty || parts[i].Fault != ""
	}
	if !faulty && total > exact {
		faulty = true
		for i := range parts {
			parts[i].Fault, parts[i].Found = TooLargeValue, strconv.FormatInt(parts[i].Value, 10)
		}
	}
	switch {
	case faulty:
		s.Quarantined += len(parts)
		for i := range parts {
			s.Issues = append(s.Issues, parts[i].Issue())
		}
	case total == 0 && m.rules.DropZeros:
		s.Dropped++
		s.Uses[Zeros]++
	default:
		c := parts[0]
		if c.FromElement != parts[len(parts)-1].FromElement {
			s.Uses[SumDataElements]++
		}
		s.Values = append(s.Values, Value{AttributeOptionCombo: c.AttributeOptionCombo, DataValue: dhis2.DataValue{
			DataElement: c.DataElement, OrgUnit: c.OrgUnit, CategoryOptionCombo: c.CategoryOptionCombo,
			Value: strconv.FormatInt(total, 10), Comment: comments(parts),
		}})
	}
}

// blame finds the faults that several contributions to one cell have together: two values of one org unit and one data
// element in CHT contradict each other, two data elements may only meet by a rule, and a sum with a part missing would
// be a wrong figure.
func (m *Mapping) blame(parts []Cell) {
	if len(parts) == 1 {
		return
	}
	var fault Fault
	for i := 1; i < len(parts); i++ {
		a, b := parts[i-1], parts[i]
		if a.FromOrgUnit == b.FromOrgUnit && a.FromElement == b.FromElement {
			fault = DuplicateCell
			break
		}
		if parts[0].FromElement != b.FromElement && !m.sums[b.DataElement] {
			fault = ElementsMeet
		}
		if a.Fault != "" || b.Fault != "" {
			fault = cmp.Or(fault, PartMissing)
		}
	}
	if fault == "" {
		return
	}
	for i := range parts {
		if parts[i].Fault == "" {
			parts[i].Fault, parts[i].Found = fault, strconv.FormatInt(parts[i].Value, 10)
		}
	}
}

// allZero says that every cell is a zero that was there. A value that could not be read may have been anything.
func allZero(cells []Cell) bool {
	for _, c := range cells {
		if c.Value != 0 || c.Fault != "" && (c.Fault != Collapsed || c.Found != "0") {
			return false
		}
	}
	return true
}

// comments joins what differs.
func comments(parts []Cell) string {
	if len(parts) == 1 {
		return parts[0].Comment
	}
	var all []string
	for _, p := range parts {
		if p.Comment != "" {
			all = append(all, p.Comment)
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "; ")
}

// sameCell compares what DHIS2 knows of a cell.
func sameCell(a, b Cell) bool {
	return a.DataElement == b.DataElement && a.CategoryOptionCombo == b.CategoryOptionCombo && a.AttributeOptionCombo == b.AttributeOptionCombo
}

// compareCells orders by what DHIS2 knows first. Only contributions to one cell are told apart by the rest.
func compareCells(a, b Cell) int {
	if c := strings.Compare(a.AttributeOptionCombo, b.AttributeOptionCombo); c != 0 {
		return c
	}
	if c := strings.Compare(a.DataElement, b.DataElement); c != 0 {
		return c
	}
	if c := strings.Compare(a.CategoryOptionCombo, b.CategoryOptionCombo); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(a.FromElement, b.FromElement),
		cmp.Compare(a.FromOrgUnit, b.FromOrgUnit),
		cmp.Compare(a.Value, b.Value),
		cmp.Compare(a.Fault, b.Fault),
		cmp.Compare(a.Found, b.Found),
		cmp.Compare(a.Comment, b.Comment),
		cmp.Compare(a.Index, b.Index),
	)
}

type filter struct{ include, exclude map[string]bool }

func (f filter) includes(id string) bool { return len(f.include) == 0 || f.include[id] }

func setOf(ids []string) map[string]bool {
	set := make(map[string]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set
}
