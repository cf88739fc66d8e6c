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
	"math/big"
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
	// EmptyOrgUnits is for org units in which every value is zero. CHT gives such zeros to every org unit, whether anybody
	// reported or not.
	EmptyOrgUnits EmptyPolicy
	// DropZeros leaves out values of zero.
	DropZeros bool
	// RefusePercent leaves values behind to which a percent target adds its denominator.
	RefusePercent bool
	// Percents are data elements, by their ids in CHT, of which the values are percentages: several of one cell do not add up.
	Percents []string
}

// EmptyPolicy says what is done with org units in which every value is zero.
type EmptyPolicy int

// The policies.
const (
	DropEmpty EmptyPolicy = iota
	SendEmpty
	// SendReported sends those from which somebody has reported, of whom zeros are true, and drops the others.
	SendReported
)

// Check refuses rules that contradict each other.
func (r Rules) Check() error {
	from := map[string][]string{}
	for old, renamed := range r.RenameDataElements {
		from[renamed] = append(from[renamed], old)
	}
	if _, renamed := r.RenameCombos[dhis2.DefaultCombo]; renamed {
		return fmt.Errorf("rename_combos renames the default combo %s, which most values leave out: use attribute_option_combo, or give the targets a combo in the CHT", dhis2.DefaultCombo)
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
	denominators         map[string]bool // the same, where they stay behind
	partial              map[string]bool // the same, of which the export gives a part
	orgUnits, elements   filter
	sums, percents       map[string]bool
	renamedPercents      map[string]bool // by their new ids
	attributeOptionCombo string
	// attributes are the combos of a data set with categories of its own, empty for any other.
	attributes map[string]bool
	names      dhis2.Names
	reported   func(orgUnit string) bool
	// months are those of a period that has several; else nil.
	months []string
}

// New makes a mapping ready. The settings tell which data elements the export adds up wrongly; of the data set, as it is
// in DHIS2, the id, the combos and the names count. Where the CHT uses names, the new ids of the rules are names too.
func New(rules Rules, settings *cht.Settings, set dhis2.DataSet) *Mapping {
	dataSet := cmp.Or(set.Names.DataSet, set.ID)
	m := &Mapping{
		names:      set.Names,
		rules:      rules,
		attributes: setOf(set.AttributeOptionCombos),
		defaults:   setOf([]string{set.DefaultCombo, dhis2.DefaultCombo}),
		collapsed:  map[string]bool{},
		orgUnits:   filter{setOf(rules.IncludeOrgUnits), setOf(rules.ExcludeOrgUnits)},
		elements:   filter{setOf(rules.IncludeDataElements), setOf(rules.ExcludeDataElements)},
		sums:       map[string]bool{},
		percents:   setOf(rules.Percents),
	}
	for _, id := range rules.SumDataElements {
		_ = called(m.names.DataElements, &id)
		m.sums[id] = true
	}
	m.renamedPercents = map[string]bool{}
	for _, id := range rules.Percents {
		m.rename(&id, rules.RenameDataElements, RenameDataElements, new(touched))
		_ = called(m.names.DataElements, &id)
		m.renamedPercents[id] = true
	}
	m.attributeOptionCombo = m.combo(rules.AttributeOptionCombo)
	for _, shared := range SharedElements(settings, dataSet) {
		m.collapsed[shared.DataElement] = true
	}
	m.partial = partlyExported(settings, dataSet)
	if rules.RefusePercent {
		m.denominators = map[string]bool{}
		for _, target := range percentTargets(settings, dataSet) {
			m.denominators[target.DataElement] = true
		}
	}
	return m
}

// Reported says who tells whether anybody has reported from an org unit, by its new id. Without it nobody has. It is to be said
// before the first OrgUnit.
func (m *Mapping) Reported(reported func(orgUnit string) bool) { m.reported = reported }

// NewOrgUnit gives the new id of an org unit of the CHT, as Take does, or false where a rule leaves it out or it has none.
func (m *Mapping) NewOrgUnit(id string) (orgUnit string, ok bool) {
	if id == "" || !m.orgUnits.includes(id) || m.orgUnits.exclude[id] {
		return "", false
	}
	var by touched
	m.rename(&id, m.rules.RenameOrgUnits, RenameOrgUnits, &by)
	return id, called(m.names.OrgUnits, &id) == "" && dhis2.IsUID(id)
}

// IsPercent says of the new id of a data element that its values are percentages.
func (m *Mapping) IsPercent(dataElement string) bool { return m.renamedPercents[dataElement] }

// Cell is one value of the export on its way, under its new ids. An empty combo is the default one.
type Cell struct {
	OrgUnit, DataElement, CategoryOptionCombo, AttributeOptionCombo string
	Comment                                                         string
	// Value is the number, or Unread where what stood there is none that can be sent.
	Value int64
	// Fault is why the cell cannot be sent, empty where it can; Found is what stood there.
	Fault Fault
	Found string

	// FromOrgUnit and FromElement are the ids in CHT, Index is the place in the export.
	FromOrgUnit, FromElement string
	Index                    int
	// Month is the month of the export, where the period has several.
	Month string

	touched touched
}

// Unread is the value of a cell without a number. It is not zero: nobody can say what it would have been.
const Unread = -1

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
	// Denominator is a value to which a percent target adds its denominator, where the rules refuse such.
	Denominator Fault = "percent_sends_denominator"
	// PartExported is a value to which a target belongs that the export leaves out.
	PartExported  Fault = "target_not_exported"
	DuplicateCell Fault = "duplicate_cell"
	ElementsMeet  Fault = "data_elements_meet"
	PartMissing   Fault = "part_of_sum_missing"
	PercentsMeet  Fault = "percentages_meet"
	MonthMissing  Fault = "month_of_period_missing"
	// TargetUnknown is a sum of which one target is known to nobody, so that the others would pass for the whole.
	TargetUnknown Fault = "target_unknown"
	// UnknownCode and AmbiguousCode are names that nothing goes by in DHIS2, or more than one thing.
	UnknownCode   Fault = "unknown_code"
	AmbiguousCode Fault = "ambiguous_code"
	// WrongAttribute is a value without one of the attribute option combos that the data set needs. DHIS2 up to 2.42
	// stores it all the same, where no form shows it.
	WrongAttribute Fault = "wrong_attribute_option_combo"
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

// Take judges one value of the export, and writes what is to be known of it into c.
func (m *Mapping) Take(v *cht.Value, c *Cell) Fate {
	*c = Cell{
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
		return Homeless
	}
	rule, left := m.leavesOut(c, isText(v.DataElement))
	m.rename(&c.OrgUnit, m.rules.RenameOrgUnits, RenameOrgUnits, &c.touched)
	m.call(c, called(m.names.OrgUnits, &c.OrgUnit), c.OrgUnit)
	if left {
		c.touched = 0
		c.touched.add(rule)
		return Dropped
	}
	c.CategoryOptionCombo = m.combo(c.CategoryOptionCombo)
	c.AttributeOptionCombo = m.combo(c.AttributeOptionCombo)
	m.rename(&c.DataElement, m.rules.RenameDataElements, RenameDataElements, &c.touched)
	m.rename(&c.CategoryOptionCombo, m.rules.RenameCombos, RenameCombos, &c.touched)
	m.rename(&c.AttributeOptionCombo, m.rules.RenameCombos, RenameCombos, &c.touched)
	m.call(c, called(m.names.DataElements, &c.DataElement), c.DataElement)
	m.call(c, m.calledCombo(&c.CategoryOptionCombo), c.CategoryOptionCombo)
	m.call(c, m.calledCombo(&c.AttributeOptionCombo), c.AttributeOptionCombo)
	if c.AttributeOptionCombo == "" && m.attributeOptionCombo != "" {
		c.AttributeOptionCombo = m.attributeOptionCombo
		m.call(c, m.calledCombo(&c.AttributeOptionCombo), c.AttributeOptionCombo)
		c.touched.add(SetAttributeOptionCombo)
	}
	m.judge(c, v)
	return Taken
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

// LeftOut says of a dropped cell that a rule leaves out its whole org unit.
func (c *Cell) LeftOut() bool {
	return c.touched&(1<<IncludeOrgUnits|1<<ExcludeOrgUnits) != 0
}

// rename gives an id its new one.
func (m *Mapping) rename(id *string, names map[string]string, rule Rule, by *touched) {
	if other, ok := names[*id]; ok {
		*id = other
		by.add(rule)
	}
}

// called puts the id in the place of a name, where names are used. The name stays where there is no such id.
func called(names map[string]string, name *string) Fault {
	if names == nil || *name == "" {
		return ""
	}
	switch id, known := names[*name]; {
	case !known:
		return UnknownCode
	case id == "":
		return AmbiguousCode
	default:
		*name = id
		return ""
	}
}

// calledCombo is called for a combo, of which the default one becomes empty.
func (m *Mapping) calledCombo(name *string) Fault {
	*name = m.combo(*name)
	fault := called(m.names.CategoryOptionCombos, name)
	*name = m.combo(*name)
	return fault
}

// call notes the first name that has no id.
func (m *Mapping) call(c *Cell, fault Fault, name string) {
	if c.Fault == "" && fault != "" {
		c.Fault, c.Found = fault, name
	}
}

// judge finds the number, and the cell's first fault.
func (m *Mapping) judge(c *Cell, v *cht.Value) {
	noID, name := c.Fault, c.Found
	c.Value, c.Fault = number(v.Value)
	if c.Fault != "" {
		c.Found = v.Value.Text
	}
	switch {
	case !isText(v.DataElement):
		c.Fault, c.Found = NoElement, v.DataElement.Text
	case m.collapsed[c.FromElement]:
		c.Fault, c.Found = Collapsed, v.Value.Text
	case m.partial[c.FromElement]:
		c.Fault, c.Found = PartExported, v.Value.Text
	case m.denominators[c.FromElement]:
		c.Fault, c.Found = Denominator, v.Value.Text
	case noID != "":
		c.Fault, c.Found = noID, name
	default:
		for _, id := range [...]*string{&c.OrgUnit, &c.DataElement, &c.CategoryOptionCombo, &c.AttributeOptionCombo} {
			if *id != "" && !dhis2.IsUID(*id) {
				c.Fault, c.Found = BadID, *id
			}
		}
		if malformed(v.CategoryOptionCombo) || malformed(v.AttributeOptionCombo) {
			c.Fault, c.Found = BadID, v.CategoryOptionCombo.Text+v.AttributeOptionCombo.Text
		}
		if c.Fault == "" && len(m.attributes) > 0 && !m.attributes[c.AttributeOptionCombo] {
			c.Fault, c.Found = WrongAttribute, c.AttributeOptionCombo
		}
	}
}

func isText(f cht.Field) bool { return f.Kind == cht.String && f.Text != "" }

// malformed says that a combo is there and is no text; null counts as left out.
func malformed(f cht.Field) bool { return f.Kind == cht.Number || f.Kind == cht.Other }

func (m *Mapping) combo(id string) string {
	if id != "" && m.defaults[id] {
		return ""
	}
	return id
}

const exact = 1 << 53 // whole numbers up to here are told apart by every program on the way

// number reads a finite, whole number that is not negative. Where there is none it gives Unread and the fault.
func number(f cht.Field) (int64, Fault) {
	switch f.Kind {
	case cht.Missing:
		return Unread, MissingValue
	case cht.Null:
		return Unread, NullValue
	case cht.Number:
	default:
		return Unread, NotANumber
	}
	if n, err := strconv.ParseInt(f.Text, 10, 64); err == nil && n >= 0 && n <= exact {
		return n, ""
	}
	n, err := strconv.ParseFloat(f.Text, 64)
	switch {
	case err != nil || n >= exact:
		return Unread, TooLargeValue
	case n < 0:
		return Unread, Negative
	}
	return exactly(f.Text)
}

const longText = 400 // digits of a number, and of its exponent's value, that are still looked at

// exactly reads a number below 2^53 by its digits, as a float would round a fraction away.
func exactly(text string) (int64, Fault) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	zero := !strings.ContainsAny(mantissa, "123456789")
	if zero {
		return 0, ""
	}
	if power, err := strconv.Atoi(exponent); exponent != "" && (err != nil || power < -longText) || len(mantissa) > longText {
		return Unread, Fraction
	}
	whole, ok := new(big.Rat).SetString(text)
	if !ok || !whole.IsInt() {
		return Unread, Fraction
	}
	return whole.Num().Int64(), ""
}

// Settled is what is to be sent of one org unit, and what is not.
type Settled struct {
	// Values are in the one order in which they are sent: by attribute option combo, data element and combo.
	Values []Value
	// Zeros are those left out by the rule about zeros, in the same order: one that was another number before has to be sent
	// all the same. They are among Dropped.
	Zeros []Value
	// Behind are the cells that were left behind, each once and without its value, in the same order: they have not vanished.
	Behind []Value
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
	if len(m.months) > 1 {
		cells = m.addMonths(cells)
	}
	slices.SortFunc(cells, compareCells)
	if allZero(cells) && m.dropsEmpty(cells) {
		s := Settled{Empty: true}
		for i := range cells {
			if i == 0 || !sameCell(cells[i-1], cells[i]) || sameSource(cells[i-1], cells[i]) {
				s.Dropped++ // what adds up counts as one
			}
		}
		s.Uses[EmptyOrgUnits] = s.Dropped
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
		total = min(total+parts[i].Value, exact+1)
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
		c := parts[0]
		s.Behind = append(s.Behind, Value{AttributeOptionCombo: c.AttributeOptionCombo, DataValue: dhis2.DataValue{
			DataElement: c.DataElement, OrgUnit: c.OrgUnit, CategoryOptionCombo: c.CategoryOptionCombo,
		}})
	default:
		c := parts[0]
		value := Value{AttributeOptionCombo: c.AttributeOptionCombo, DataValue: dhis2.DataValue{
			DataElement: c.DataElement, OrgUnit: c.OrgUnit, CategoryOptionCombo: c.CategoryOptionCombo,
			Value: strconv.FormatInt(total, 10), Comment: comments(parts),
		}}
		if total == 0 && m.rules.DropZeros {
			s.Dropped++
			s.Uses[Zeros]++
			s.Zeros = append(s.Zeros, value)
			return
		}
		if c.FromElement != parts[len(parts)-1].FromElement {
			s.Uses[SumDataElements]++
		}
		s.Values = append(s.Values, value)
	}
}

// blame finds the faults that several contributions to one cell have together: two values of one org unit and one data
// element in CHT contradict each other, two data elements may only meet by a rule, percentages never, and a sum with a part
// missing would be a wrong figure.
func (m *Mapping) blame(parts []Cell) {
	if len(parts) == 1 {
		return
	}
	var fault Fault
	if slices.ContainsFunc(parts, func(c Cell) bool { return m.percents[c.FromElement] }) {
		fault = PercentsMeet
	}
	for i := 1; i < len(parts); i++ {
		a, b := parts[i-1], parts[i]
		if sameSource(a, b) {
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

// dropsEmpty says that an org unit in which every value is zero is left out.
func (m *Mapping) dropsEmpty(cells []Cell) bool {
	switch m.rules.EmptyOrgUnits {
	case SendEmpty:
		return false
	case SendReported:
		return len(cells) == 0 || m.reported == nil || !m.reported(cells[0].OrgUnit)
	default:
		return true
	}
}

// allZero says that every cell is a zero that was there, whatever else is wrong with it. A value that could not be read
// may have been anything.
func allZero(cells []Cell) bool {
	return !slices.ContainsFunc(cells, func(c Cell) bool { return c.Value != 0 })
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

// sameSource says that two contributions to a cell are two values for the same thing in the CHT.
func sameSource(a, b Cell) bool {
	return a.FromOrgUnit == b.FromOrgUnit && a.FromElement == b.FromElement
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
