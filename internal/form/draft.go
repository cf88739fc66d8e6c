package form

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/target"
)

// Entry is what is known beforehand of a data set's entry in the configuration. What is empty becomes a question.
type Entry struct {
	// ID and Schemes are as in the configuration: the schemes are keys with what is not the default, in order.
	ID      string
	Schemes []Setting
	Title   string
	CHT     []string
	DHIS2   string
	// FirstPeriod and Completeness must be said by a person. AttributeOptionCombo must be where the data set has categories of its own.
	FirstPeriod, Completeness, AttributeOptionCombo string
}

// Setting is a key of the configuration.
type Setting struct{ Key, Value string }

// Nested are two org units of places of the CHT, of which DHIS2 has one inside the other.
type Nested struct{ Inner, Outer string }

// Draft is an entry of a data set and its file of targets, with the questions that only a person can answer.
type Draft struct {
	// FromTargets says that the export could not carry it, Reasons why.
	FromTargets bool
	Reasons     []string
	rows        []row
	lines       []string
}

// row is one of the file of targets. What is asked of it stands in its last column.
type row struct {
	target.Item

	value, element, combo, question string
}

// Open is what stands where a person has to answer. The configuration takes it nowhere.
const Open = "?"

// TargetsFile is the name of the file of targets of a data set.
func TargetsFile(dataSet string) string { return dataSet + "-targets.csv" }

// NewDraft drafts the entry of a data set from what both sides say of it. Others are the settings of further CHT of the data set.
func NewDraft(f Facts, e Entry, nested []Nested, others map[string]*cht.Settings) Draft {
	f.FromTargets, f.Items = true, nil
	if f.Rules.AttributeOptionCombo == "" && len(f.Set.AttributeOptionCombos) > 0 {
		f.Rules.AttributeOptionCombo = newTable(f).name(f.Set.AttributeOptionCombos[0]) // whichever: the entry asks for it, and the targets are looked at behind it
	}
	t := newTable(f)
	d := Draft{Reasons: t.reasons()}
	d.FromTargets = len(d.Reasons) > 0
	var notes []string
	for _, i := range t.Items {
		r, note := t.draftRow(i)
		if note != "" {
			notes = append(notes, note)
		}
		if r != nil {
			d.rows = append(d.rows, *r)
		}
	}
	t.askSums(d.rows)
	if !d.FromTargets {
		for _, r := range d.rows {
			if r.question != "" {
				notes = append(notes, "target "+r.Target+": "+r.question)
			}
		}
	}
	notes = append(notes, t.draftNotes(d, nested, others)...)
	d.lines = d.entry(t, e, notes)
	return d
}

// reasons say why the export could not carry the form.
func (t *table) reasons() []string {
	var reasons []string
	for _, e := range elementsOf(t.Set) {
		if e.Combo != nil && !e.Combo.IsDefault {
			reasons = append(reasons, fmt.Sprintf("data element %s (%s) is disaggregated in DHIS2", t.name(e.ID), e.Name))
		}
	}
	for _, s := range mapping.SharedElements(t.Settings, t.DataSet) {
		reasons = append(reasons, fmt.Sprintf("%s share data element %s under different combos, which the export adds up", strings.Join(s.Targets, " and "), s.DataElement))
	}
	for _, one := range t.Settings.Targets {
		if !one.For(t.DataSet) {
			continue
		}
		if one.Listed {
			reasons = append(reasons, fmt.Sprintf("%s names its elements in a list, and the export leaves it out", one.ID))
		}
		if one.Type == percentType {
			reasons = append(reasons, fmt.Sprintf("%s is a percentage, of which the export sends the denominator only", one.ID))
		}
	}
	slices.Sort(reasons)
	return slices.Compact(reasons)
}

// draftRow makes the row of an item. One that can lead nowhere gives a note instead.
func (t *table) draftRow(i target.Item) (r *row, note string) {
	r = &row{Item: i, value: measures[target.Total]}
	cell, dropped, found := t.seat(i)
	if dropped {
		return nil, fmt.Sprintf("target %s: a rule of the configuration leaves data element %s out, so it has no row", i.Target, i.DataElement)
	}
	if e := t.Set.Elements[cell.DataElement]; e != nil {
		r.element = e.Name
		if e.Combo != nil && e.Combo.Combos[cell.CategoryOptionCombo] != nil && !e.Combo.IsDefault {
			r.combo = e.Combo.Combos[cell.CategoryOptionCombo].Name
		}
	}
	var asked []string
	code := ""
	if found != nil {
		code = found.Code
	}
	switch code {
	case "":
	case "category_option_combo_missing", "category_option_combo_wrong":
		asked = append(asked, fmt.Sprintf("which category option combo? %sThere are %s", t.was(i.CategoryOptionCombo), t.choice(i.Target, t.Set.Elements[cell.DataElement].Combo)))
		r.CategoryOptionCombo = Open
	case "category_option_combo_unexpected":
		asked = append(asked, fmt.Sprintf("%sThe data element is not disaggregated in DHIS2: empty?", t.was(i.CategoryOptionCombo)))
		r.CategoryOptionCombo = Open
	case string(mapping.WrongAttribute):
		if i.AttributeOptionCombo != "" { // without one it is a question of the entry
			asked = append(asked, fmt.Sprintf("which attribute option combo? %sThere are %s", t.was(i.AttributeOptionCombo), t.choice(i.Target, t.Set.Combo)))
			r.AttributeOptionCombo = Open
		}
	case "data_element_not_in_data_set", string(mapping.UnknownCode):
		if !t.isOwn(i) {
			return nil, fmt.Sprintf("target %s: data element %s is not in the data set in DHIS2, and the CHT's settings lead it to every data set, so it has no row", i.Target, i.DataElement)
		}
		asked = append(asked, fmt.Sprintf("data element %s is not in the data set in DHIS2: %s", i.DataElement, found.Remedy))
		r.DataElement = Open
	case "value_type":
		if t.types[i.Target] != percentType {
			asked = append(asked, found.Text+": "+found.Remedy)
		}
	default:
		asked = append(asked, found.Text+": "+found.Remedy)
	}
	if t.types[i.Target] == percentType {
		question := "pass (the numerator), total (the denominator, as the export sends it) or percent?"
		if e := t.Set.Elements[cell.DataElement]; e != nil && e.ValueType == percentage {
			question += " The data element is a percentage in DHIS2, so it may be percent"
		}
		r.value, asked = Open, append(asked, question)
	}
	r.question = strings.Join(asked, "; ")
	return r, ""
}

// was says what the CHT's settings have.
func (*table) was(id string) string {
	if id == "" {
		return ""
	}
	return "The CHT's settings have " + id + ". "
}

// isOwn says that the CHT's settings lead an item to this data set by name.
func (t *table) isOwn(i target.Item) bool {
	return slices.ContainsFunc(t.Settings.Targets, func(one cht.Target) bool {
		return one.ID == i.Target && one.DataElement == i.DataElement && one.DataSet == t.DataSet
	})
}

// askSums asks of rows that come together in one cell whether they are to add up.
func (*table) askSums(rows []row) {
	for i := range rows {
		if rows[i].CategoryOptionCombo == Open || rows[i].DataElement == Open {
			continue
		}
		var with []string
		for j := range rows {
			a, b := rows[i].Item, rows[j].Item
			if i != j && a.DataElement == b.DataElement && a.CategoryOptionCombo == b.CategoryOptionCombo && a.AttributeOptionCombo == b.AttributeOptionCombo {
				with = append(with, b.Target)
			}
		}
		if len(with) > 0 {
			rows[i].question = strings.TrimPrefix(rows[i].question+"; adds up with "+strings.Join(with, ", ")+": is that meant?", "; ")
		}
	}
}

// draftNotes are what else a person has to think of.
func (t *table) draftNotes(d Draft, nested []Nested, others map[string]*cht.Settings) []string {
	var notes []string
	explained := Explain(t.Facts)
	var empty []string
	for _, cell := range explained.Cells {
		if len(cell.Targets) == 0 {
			line := cell.title()
			if near := likeliestTarget(cell, explained.Idle); near != "" {
				line += "; by its name it may be " + near
			}
			empty = append(empty, line)
		}
	}
	if len(empty) > 0 {
		notes = append(notes, "no target feeds these cells of the form; are they filled in by others?")
		notes = append(notes, bullets(empty)...)
	}
	var free []string
	for _, one := range t.Settings.Undirected {
		free = append(free, one.ID)
	}
	if len(free) > 0 {
		notes = append(notes, "targets of the CHT that lead to no data element: "+strings.Join(free, ", "))
	}
	var persons []string
	for _, kind := range t.Settings.ContactTypes {
		if kind.Person {
			persons = append(persons, kind.ID)
		}
	}
	if d.FromTargets && len(persons) > 1 {
		notes = append(notes, "do some contact types, such as supervisors, count the work of others once more? Then name them in exclude_contact_types. Persons are: "+strings.Join(persons, ", "))
	}
	if len(nested) > 0 {
		var pairs []string
		for _, n := range nested[:min(len(nested), mostNested)] {
			pairs = append(pairs, n.Inner+" lies in "+n.Outer)
		}
		if more := len(nested) - len(pairs); more > 0 {
			pairs = append(pairs, fmt.Sprintf("and %d more", more))
		}
		way := "leave the outer ones out with exclude_org_units"
		if d.FromTargets {
			way = "let attribution be lowest, or " + way
		}
		notes = append(notes, "org units of the CHT's places lie in each other in DHIS2, which adds the inner ones to the outer ones once more: "+way)
		notes = append(notes, bullets(pairs)...)
	}
	for _, name := range sortedKeys(others) {
		if diff := t.differs(others[name]); len(diff) > 0 {
			notes = append(notes, "CHT "+name+" has other targets:")
			notes = append(notes, bullets(diff)...)
		}
	}
	return notes
}

// mostNested is how many nested org units are named.
const mostNested = 10

func bullets(lines []string) []string {
	list := make([]string, len(lines))
	for i, line := range lines {
		list[i] = "  - " + line
	}
	return list
}

// differs tells what another CHT has otherwise.
func (t *table) differs(other *cht.Settings) []string {
	var diff []string
	ours, theirs := Items(t.Settings, t.DataSet), Items(other, t.DataSet)
	for _, i := range ours {
		if !slices.Contains(theirs, i) {
			diff = append(diff, fmt.Sprintf("it has no %s that leads to %s as here", i.Target, i.DataElement))
		}
	}
	for _, i := range theirs {
		if !slices.Contains(ours, i) {
			diff = append(diff, fmt.Sprintf("its %s leads to %s", i.Target, i.DataElement))
		}
	}
	return diff
}

// entry writes the lines of the entry.
func (d Draft) entry(t *table, e Entry, notes []string) []string {
	open := len(notes) > 0
	lines := []string{
		"# Drafted from the settings of CHT " + strings.Join(e.CHT, ", ") + " and from DHIS2 " + e.DHIS2 + ".",
		"# A question mark is a question that a person has to answer; `mediator config check` takes none.",
		"data_sets:",
	}
	add := func(key, value, comment string) {
		line := "    " + key + ": " + value
		if comment != "" {
			line += " # " + comment
		}
		lines = append(lines, line)
	}
	// ask gives a value, or the question where there is none.
	ask := func(key, value, question string) {
		if value == "" {
			add(key, quoted(Open), question)
			return
		}
		add(key, quoted(value), "")
	}
	lines = append(lines, "  - id: "+quoted(e.ID))
	for _, s := range e.Schemes {
		add(s.Key, quoted(s.Value), "")
	}
	add("title", quoted(cmp.Or(e.Title, t.Set.Name, e.ID)), "")
	names := make([]string, len(e.CHT))
	for i, name := range e.CHT {
		names[i] = quoted(name)
	}
	add("cht", "["+strings.Join(names, ", ")+"]", "")
	add("dhis2", quoted(e.DHIS2), "")
	if d.FromTargets {
		lines = append(lines, "    # The target documents themselves are read, as the CHT's export cannot carry this:")
		for _, why := range d.Reasons {
			lines = append(lines, "    #   - "+oneLine(why))
		}
		add("source", "targets", "")
		add("targets_file", quoted(TargetsFile(e.ID)), "its last column has questions too")
	} else {
		add("source", "export", "nothing of the form is disaggregated, a percentage or in a list")
	}
	ask("first_period", e.FirstPeriod, firstPeriodQuestion(string(t.Set.PeriodType)))
	ask("completeness", e.Completeness, "off, or when_accepted: shall org units be registered in DHIS2 as complete?")
	if t.Set.Combo != nil && !t.Set.Combo.IsDefault && t.needsAttribute() {
		ask("attribute_option_combo", e.AttributeOptionCombo, oneLine("the data set has categories of its own; which one is the CHT's work? There are "+t.choice("", t.Set.Combo)))
	} else if e.AttributeOptionCombo != "" {
		add("attribute_option_combo", quoted(e.AttributeOptionCombo), "")
	}
	if open {
		lines = append(lines, "    # To think of:")
		for _, note := range notes {
			prefix := "    # - "
			if strings.HasPrefix(note, "  - ") {
				prefix = "    # "
			}
			lines = append(lines, prefix+oneLine(note))
		}
	}
	return lines
}

func firstPeriodQuestion(periodType string) string {
	switch periodType {
	case "Quarterly":
		return `the first quarter that may be sent, as "2026Q1"`
	case "Yearly":
		return `the first year that may be sent, as "2026"`
	default:
		return `the first month that may be sent, as "202601"`
	}
}

// needsAttribute says that some target gives no attribute option combo.
func (t *table) needsAttribute() bool {
	return slices.ContainsFunc(t.Items, func(i target.Item) bool { return i.AttributeOptionCombo == "" })
}

// oneLine keeps a comment a comment.
func oneLine(s string) string { return strings.Join(strings.FieldsFunc(s, isLineEnd), " ") }

func isLineEnd(r rune) bool {
	return r == '\n' || r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029'
}

// quoted writes a text as YAML takes it, whatever it holds.
func quoted(s string) string { return fmt.Sprintf("%q", s) }

// YAML is the entry, as a file of its own with nothing else in it.
func (d Draft) YAML() string { return strings.Join(d.lines, "\n") + "\n" }

// CSV is the file of targets.
func (d Draft) CSV() string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	write := func(cells ...string) { _ = w.Write(cells) } // into memory
	write("target", "value", "data_element", "category_option_combo", "attribute_option_combo", "data_element_name", "category_option_combo_name", "question")
	for _, r := range d.rows {
		write(r.Target, r.value, r.DataElement, r.CategoryOptionCombo, r.AttributeOptionCombo, r.element, r.combo, r.question)
	}
	w.Flush()
	return b.String()
}

// Codes says which things of a data set the CHT's settings call by their codes: none goes by its id, and some by their codes.
func Codes(f Facts) (elements, combos bool) {
	ids, codes, comboIDs, comboCodes := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	note := func(combo *dhis2.CategoryCombo) {
		if combo == nil {
			return
		}
		for _, o := range combo.Combos {
			comboIDs[o.ID], comboCodes[o.Code] = true, true
		}
	}
	note(f.Set.Combo)
	for _, e := range f.Set.Elements {
		ids[e.ID], codes[e.Code] = true, true
		note(e.Combo)
	}
	var named, namedCombos []string
	for _, i := range Items(f.Settings, f.DataSet) {
		named = append(named, i.DataElement)
		namedCombos = append(namedCombos, i.CategoryOptionCombo, i.AttributeOptionCombo)
	}
	return byCode(named, ids, codes), byCode(namedCombos, comboIDs, comboCodes)
}

func byCode(named []string, ids, codes map[string]bool) bool {
	return !slices.ContainsFunc(named, func(id string) bool { return ids[id] }) &&
		slices.ContainsFunc(named, func(code string) bool { return code != "" && codes[code] })
}

func sortedKeys(m map[string]*cht.Settings) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
