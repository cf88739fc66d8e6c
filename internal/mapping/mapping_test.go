package mapping

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
)

func text(s string) cht.Field   { return cht.Field{Kind: cht.String, Text: s} }
func digits(s string) cht.Field { return cht.Field{Kind: cht.Number, Text: s} }

// value is an entry of an export with a plain number.
func value(orgUnit, element, number string) cht.Value {
	return cht.Value{OrgUnit: text(orgUnit), DataElement: text(element), Value: digits(number)}
}

// apply runs a whole export through a mapping, as the flow does.
func apply(m *Mapping, export []cht.Value) (sent []Value, issues []string, dropped, quarantined int) {
	byOrgUnit := map[string][]Cell{}
	for i := range export {
		export[i].Index = i
		var c Cell
		switch m.Take(&export[i], &c) {
		case Dropped:
			dropped++
		case Homeless:
			quarantined++
			issues = append(issues, fmt.Sprintf("%s %s %s", c.Fault, c.OrgUnit, c.DataElement))
		default:
			byOrgUnit[c.OrgUnit] = append(byOrgUnit[c.OrgUnit], c)
		}
	}
	for _, orgUnit := range slices.Sorted(maps.Keys(byOrgUnit)) {
		s := m.OrgUnit(byOrgUnit[orgUnit])
		sent = append(sent, s.Values...)
		dropped += s.Dropped
		quarantined += s.Quarantined
		for _, i := range s.Issues {
			issues = append(issues, fmt.Sprintf("%s %s %s", i.Code, i.OrgUnit, i.DataElement))
		}
	}
	return sent, issues, dropped, quarantined
}

func lines(values []Value) []string {
	list := []string{}
	for _, v := range values {
		list = append(list, strings.TrimRight(strings.Join([]string{v.OrgUnit, v.DataElement, v.CategoryOptionCombo, v.AttributeOptionCombo, v.Value, v.Comment}, " "), " "))
	}
	return list
}

const (
	ouA, ouB, ouC = "OuTestAAAA1", "OuTestBBBB1", "OuTestCCCC1"
	deA, deB, deC = "DeTestAAAA1", "DeTestBBBB1", "DeTestCCCC1"
	cocA, cocB    = "CocTestAAA1", "CocTestBBB1"
)

func TestNumber(t *testing.T) {
	tests := []struct {
		in    cht.Field
		want  int64
		fault Fault
	}{
		{in: digits("0")}, {in: digits("-0")}, {in: digits("0.0")}, {in: digits("0e5")},
		{in: digits("7"), want: 7}, {in: digits("5.0"), want: 5}, {in: digits("1e3"), want: 1000}, {in: digits("1.5e1"), want: 15},
		{in: digits("9007199254740992"), want: 1 << 53},
		{in: digits("9007199254740993"), fault: TooLargeValue}, {in: digits("1e21"), fault: TooLargeValue}, {in: digits("1e400"), fault: TooLargeValue},
		{in: digits("99999999999999999999"), fault: TooLargeValue},
		{in: digits("0.99999999999999999999"), fault: Fraction}, {in: digits("4503599627370497.5"), fault: Fraction}, {in: digits("2.0000000000000000001"), fault: Fraction},
		{in: digits("5e-1000000000"), fault: Fraction}, {in: digits("0e999999999"), want: 0}, {in: digits("-0e-9"), want: 0}, {in: digits("1e1000000000"), fault: TooLargeValue},
		{in: digits("123456789012345678901234567890e-25"), fault: Fraction}, {in: digits("1200e-2"), want: 12},
		{in: digits("2.5"), fault: Fraction}, {in: digits("1e-400"), fault: Fraction}, {in: digits("0.1"), fault: Fraction},
		{in: digits("-1"), fault: Negative}, {in: digits("-0.5"), fault: Negative}, {in: digits("-9e99"), fault: Negative},
		{in: text("03"), fault: NotANumber}, {in: text("3"), fault: NotANumber}, {in: text(""), fault: NotANumber},
		{in: cht.Field{Kind: cht.Other, Text: "true"}, fault: NotANumber},
		{in: cht.Field{Kind: cht.Null}, fault: NullValue}, {in: cht.Field{}, fault: MissingValue},
	}
	for _, test := range tests {
		if test.fault != "" {
			test.want = Unread
		}
		if got, fault := number(test.in); got != test.want || fault != test.fault {
			t.Errorf("number(%v) = %d, %q; want %d, %q", test.in, got, fault, test.want, test.fault)
		}
	}
}

func TestMapping(t *testing.T) {
	shared := &cht.Settings{Targets: []cht.Target{
		{ID: "under-5", DataSet: "DsTest00001", DataElement: deA, CategoryOptionCombo: cocA},
		{ID: "over-5", DataSet: "DsTest00001", DataElement: deA, CategoryOptionCombo: cocB},
		{ID: "day-3", DataElement: deB}, {ID: "day-7", DataElement: deB, CategoryOptionCombo: dhis2.DefaultCombo},
		{ID: "elsewhere", DataSet: "DsOther0001", DataElement: deB, CategoryOptionCombo: cocA},
	}}
	withCombo := func(v cht.Value, category, attribute cht.Field) cht.Value {
		v.CategoryOptionCombo, v.AttributeOptionCombo = category, attribute
		return v
	}
	tests := []struct {
		name     string
		rules    Rules
		settings *cht.Settings
		set      *dhis2.DataSet
		in       []cht.Value
		want     []string
		issues   []string
		dropped  int
	}{
		{
			name: "values are put in one order and written as texts",
			in:   []cht.Value{value(ouB, deB, "4"), value(ouA, deB, "1e1"), value(ouB, deA, "3.0"), value(ouA, deA, "0")},
			want: []string{ouA + " " + deA + "   0", ouA + " " + deB + "   10", ouB + " " + deA + "   3", ouB + " " + deB + "   4"},
		},
		{
			name:   "bad values stay behind, and all the others go",
			in:     []cht.Value{value(ouA, deA, "1"), {OrgUnit: text(ouA), DataElement: text(deB), Value: cht.Field{Kind: cht.Null}}, {OrgUnit: text(ouA), DataElement: text(deC), Value: text("3")}, value(ouB, deA, "2.5"), value(ouB, deB, "-1"), value(ouB, deC, "9")},
			want:   []string{ouA + " " + deA + "   1", ouB + " " + deC + "   9"},
			issues: []string{"null_value " + ouA + " " + deB, "not_a_number " + ouA + " " + deC, "fraction " + ouB + " " + deA, "negative_value " + ouB + " " + deB},
		},
		{
			name: "values without a place stay behind",
			in: []cht.Value{
				{DataElement: text(deA), Value: digits("1")}, {OrgUnit: digits("7"), DataElement: text(deA), Value: digits("1")}, {OrgUnit: text(""), DataElement: text(deA), Value: digits("1")},
				{OrgUnit: text(ouA), Value: digits("1")}, {OrgUnit: text(ouA), DataElement: cht.Field{Kind: cht.Null}, Value: digits("1")}, value(ouB, deA, "1"),
			},
			want:   []string{ouB + " " + deA + "   1"},
			issues: []string{"missing_org_unit  " + deA, "missing_org_unit  " + deA, "missing_org_unit  " + deA, "missing_data_element " + ouA + " ", "missing_data_element " + ouA + " "},
		},
		{
			name:   "ids that would refuse the whole request stay behind",
			in:     []cht.Value{value("short", deA, "1"), value(ouA, "DeTest-AAA1", "1"), withCombo(value(ouA, deB, "1"), text("x"), cht.Field{}), withCombo(value(ouA, deC, "1"), cht.Field{}, digits("7")), value(ouB, deA, "2")},
			want:   []string{ouB + " " + deA + "   2"},
			issues: []string{"malformed_id " + ouA + " DeTest-AAA1", "malformed_id " + ouA + " " + deB, "malformed_id " + ouA + " " + deC, "malformed_id short " + deA},
		},
		{
			name:   "two values for one cell stay behind, equal or not",
			in:     []cht.Value{value(ouA, deA, "1"), value(ouA, deB, "2"), value(ouA, deA, "1"), value(ouA, deC, "3"), value(ouA, deB, "5"), value(ouA, deB, "5")},
			want:   []string{ouA + " " + deC + "   3"},
			issues: []string{"duplicate_cell " + ouA + " " + deA, "duplicate_cell " + ouA + " " + deA, "duplicate_cell " + ouA + " " + deB, "duplicate_cell " + ouA + " " + deB, "duplicate_cell " + ouA + " " + deB},
		},
		{
			name:   "the default combo is one thing, omitted or explicit",
			in:     []cht.Value{withCombo(value(ouA, deA, "1"), text(dhis2.DefaultCombo), text(dhis2.DefaultCombo)), value(ouA, deB, "2"), withCombo(value(ouA, deB, "2"), text(dhis2.DefaultCombo), cht.Field{}), withCombo(value(ouA, deC, "4"), text(cocA), cht.Field{Kind: cht.Null})},
			want:   []string{ouA + " " + deA + "   1", ouA + " " + deC + " " + cocA + "  4"},
			issues: []string{"duplicate_cell " + ouA + " " + deB, "duplicate_cell " + ouA + " " + deB},
		},
		{
			name: "a data set's own id of the default combo counts too", rules: Rules{RenameCombos: map[string]string{cocB: "DefTestAAA1"}},
			in:   []cht.Value{withCombo(value(ouA, deA, "1"), text("DefTestAAA1"), cht.Field{}), withCombo(value(ouA, deB, "1"), text(cocB), text(cocB))},
			want: []string{ouA + " " + deA + "   1", ouA + " " + deB + "   1"},
		},
		{
			name:    "an org unit where everything is zero is dropped",
			in:      []cht.Value{value(ouA, deA, "0"), value(ouA, deB, "0.0"), value(ouB, deA, "0"), value(ouB, deB, "1")},
			want:    []string{ouB + " " + deA + "   0", ouB + " " + deB + "   1"},
			dropped: 2,
		},
		{
			name: "it is sent where the rule says so", rules: Rules{EmptyOrgUnits: SendEmpty},
			in:   []cht.Value{value(ouA, deA, "0")},
			want: []string{ouA + " " + deA + "   0"},
		},
		{
			name:   "a value that cannot be read may have been anything but zero",
			in:     []cht.Value{value(ouA, deA, "0"), {OrgUnit: text(ouA), DataElement: text(deB), Value: cht.Field{Kind: cht.Null}}},
			want:   []string{ouA + " " + deA + "   0"},
			issues: []string{"null_value " + ouA + " " + deB},
		},
		{
			name: "zeros are dropped where the rule says so", rules: Rules{DropZeros: true},
			in:   []cht.Value{value(ouA, deA, "0"), value(ouA, deB, "1")},
			want: []string{ouA + " " + deB + "   1"}, dropped: 1,
		},
		{
			name: "include and exclude", rules: Rules{IncludeOrgUnits: []string{ouA, ouB}, ExcludeOrgUnits: []string{ouB}, ExcludeDataElements: []string{deB}},
			in:   []cht.Value{value(ouA, deA, "1"), value(ouA, deB, "2"), value(ouB, deA, "3"), value(ouC, deA, "4")},
			want: []string{ouA + " " + deA + "   1"}, dropped: 3,
		},
		{
			name: "include data elements, by their ids before renaming", rules: Rules{IncludeDataElements: []string{deA}, RenameDataElements: map[string]string{deA: deB}},
			in:   []cht.Value{value(ouA, deA, "1"), value(ouA, deB, "2")},
			want: []string{ouA + " " + deB + "   1"}, dropped: 1,
		},
		{
			name: "two org units with one new id add up", rules: Rules{RenameOrgUnits: map[string]string{ouA: ouC, ouB: ouC}},
			in:   []cht.Value{value(ouA, deA, "1"), value(ouA, deB, "0"), value(ouB, deA, "2"), value(ouB, deB, "0")},
			want: []string{ouC + " " + deA + "   3", ouC + " " + deB + "   0"},
		},
		{
			name: "a sum with a part that stays behind stays behind", rules: Rules{RenameOrgUnits: map[string]string{ouA: ouC, ouB: ouC}},
			in:     []cht.Value{value(ouA, deA, "1"), {OrgUnit: text(ouB), DataElement: text(deA), Value: cht.Field{Kind: cht.Null}}, value(ouB, deB, "4")},
			want:   []string{ouC + " " + deB + "   4"},
			issues: []string{"part_of_sum_missing " + ouC + " " + deA, "null_value " + ouC + " " + deA},
		},
		{
			name: "an org unit that was there already adds up with a renamed one", rules: Rules{RenameOrgUnits: map[string]string{ouA: ouB}},
			in:   []cht.Value{value(ouA, deA, "1"), value(ouB, deA, "2")},
			want: []string{ouB + " " + deA + "   3"},
		},
		{
			name: "percentages that meet stay behind", rules: Rules{RenameOrgUnits: map[string]string{ouA: ouB}, Percents: []string{deA}},
			in:     []cht.Value{value(ouA, deA, "50"), value(ouB, deA, "50"), value(ouC, deA, "50"), value(ouA, deB, "1"), value(ouB, deB, "2")},
			want:   []string{ouB + " " + deB + "   3", ouC + " " + deA + "   50"},
			issues: []string{"percentages_meet " + ouB + " " + deA, "percentages_meet " + ouB + " " + deA},
		},
		{
			name: "two data elements that meet stay behind", rules: Rules{RenameDataElements: map[string]string{deA: deB}},
			in:     []cht.Value{value(ouA, deA, "1"), value(ouA, deB, "2"), value(ouA, deC, "3")},
			want:   []string{ouA + " " + deC + "   3"},
			issues: []string{"data_elements_meet " + ouA + " " + deB, "data_elements_meet " + ouA + " " + deB},
		},
		{
			name: "they add up where the rule says so", rules: Rules{RenameDataElements: map[string]string{deA: deB}, SumDataElements: []string{deB}},
			in:   []cht.Value{value(ouA, deA, "1"), value(ouA, deB, "2")},
			want: []string{ouA + " " + deB + "   3"},
		},
		{
			name: "two values for one cell stay behind within a sum too", rules: Rules{RenameOrgUnits: map[string]string{ouA: ouB}},
			in:     []cht.Value{value(ouA, deA, "1"), value(ouA, deA, "1"), value(ouB, deA, "2")},
			want:   []string{},
			issues: []string{"duplicate_cell " + ouB + " " + deA, "duplicate_cell " + ouB + " " + deA, "duplicate_cell " + ouB + " " + deA},
		},
		{
			name: "a zero with a malformed id does not make an org unit reported",
			in:   []cht.Value{value(ouA, deA, "0"), withCombo(value(ouA, deB, "0"), text("under 5"), cht.Field{}), {OrgUnit: text(ouA), Value: digits("0")}, value(ouB, deA, "1")},
			want: []string{ouB + " " + deA + "   1"}, dropped: 3,
		},
		{
			name: "a data set with categories of its own needs one of its combos", set: &dhis2.DataSet{ID: "DsTest00001", AttributeOptionCombos: []string{cocA}},
			in:     []cht.Value{value(ouA, deA, "1"), withCombo(value(ouA, deB, "2"), cht.Field{}, text(cocA)), withCombo(value(ouA, deC, "3"), cht.Field{}, text(cocB))},
			want:   []string{ouA + " " + deB + "  " + cocA + " 2"},
			issues: []string{"wrong_attribute_option_combo " + ouA + " " + deA, "wrong_attribute_option_combo " + ouA + " " + deC},
		},
		{
			name: "its combo may come from the rule", set: &dhis2.DataSet{ID: "DsTest00001", AttributeOptionCombos: []string{cocA}}, rules: Rules{AttributeOptionCombo: cocA},
			in:   []cht.Value{value(ouA, deA, "1")},
			want: []string{ouA + " " + deA + "  " + cocA + " 1"},
		},
		{
			name: "cells that add up are counted once when they are dropped", rules: Rules{RenameOrgUnits: map[string]string{ouA: ouC, ouB: ouC}},
			in:   []cht.Value{value(ouA, deA, "0"), value(ouB, deA, "0"), value(ouC, deB, "0")},
			want: []string{}, dropped: 2,
		},
		{
			name: "a sum that is too large to be exact stays behind", rules: Rules{RenameOrgUnits: map[string]string{ouA: ouB}},
			in:     []cht.Value{value(ouA, deA, "9007199254740992"), value(ouB, deA, "1")},
			want:   []string{},
			issues: []string{"too_large_value " + ouB + " " + deA, "too_large_value " + ouB + " " + deA},
		},
		{
			name: "the attribute option combo of a data set is given to values without one", rules: Rules{AttributeOptionCombo: cocA},
			in:   []cht.Value{withCombo(value(ouA, deA, "1"), cht.Field{}, text(cocB)), value(ouA, deB, "2"), withCombo(value(ouA, deC, "3"), cht.Field{}, text(dhis2.DefaultCombo))},
			want: []string{ouA + " " + deB + "  " + cocA + " 2", ouA + " " + deC + "  " + cocA + " 3", ouA + " " + deA + "  " + cocB + " 1"},
		},
		{
			name: "an element that targets share under different combos stays behind", settings: shared,
			in:     []cht.Value{withCombo(value(ouA, deA, "11"), text(cocB), cht.Field{}), value(ouA, deB, "5")},
			want:   []string{ouA + " " + deB + "   5"},
			issues: []string{"shared_element_collapses " + ouA + " " + deA},
		},
		{
			name: "an org unit of zeros is dropped whole, shared elements included", settings: shared,
			in:      []cht.Value{withCombo(value(ouA, deA, "0"), text(cocB), cht.Field{}), value(ouA, deB, "0")},
			want:    []string{},
			dropped: 2,
		},
		{
			name: "a shared element that is not zero shows that somebody reported", settings: shared,
			in:     []cht.Value{withCombo(value(ouA, deA, "3"), text(cocB), cht.Field{}), value(ouA, deB, "0")},
			want:   []string{ouA + " " + deB + "   0"},
			issues: []string{"shared_element_collapses " + ouA + " " + deA},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			settings := test.settings
			if settings == nil {
				settings = &cht.Settings{}
			}
			set := dhis2.DataSet{ID: "DsTest00001", DefaultCombo: "DefTestAAA1"}
			if test.set != nil {
				set = *test.set
			}
			m := New(test.rules, settings, set)
			sent, issues, dropped, quarantined := apply(m, test.in)
			if diff := cmp.Diff(test.want, lines(sent)); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.issues, issues); diff != "" {
				t.Errorf("issues (-want +got):\n%s", diff)
			}
			if dropped != test.dropped || quarantined != len(test.issues) {
				t.Errorf("dropped %d, quarantined %d; want %d, %d", dropped, quarantined, test.dropped, len(test.issues))
			}
		})
	}
}

func TestEveryFaultHasItsWords(t *testing.T) {
	for _, fault := range []Fault{WrongAttribute, NullValue, MissingValue, NotANumber, Fraction, Negative, TooLargeValue, NoOrgUnit, NoElement, BadID, Collapsed, PartExported, DuplicateCell, ElementsMeet, PartMissing} {
		c := Cell{Fault: fault, Found: "x", Index: 7}
		if i := c.Issue(); i.Remedy == "" || strings.Contains(i.Text, string(fault)+" (") || !strings.Contains(i.Text, "value 7") || *i.Index != 7 {
			t.Errorf("%s: %+v", fault, i)
		}
	}
}

func TestRulesCheck(t *testing.T) {
	two := Rules{RenameDataElements: map[string]string{deA: deC, deB: deC}}
	if err := two.Check(); err == nil || !strings.Contains(err.Error(), deA+" and "+deB) || !strings.Contains(err.Error(), "sum_data_elements") {
		t.Errorf("two elements under one id: %v", err)
	}
	if err := (Rules{RenameCombos: map[string]string{dhis2.DefaultCombo: cocA}}).Check(); err == nil {
		t.Error("the default combo may be renamed")
	}
	two.SumDataElements = []string{deC}
	if err := two.Check(); err != nil {
		t.Errorf("with the rule: %v", err)
	}
}

func TestNotExportedNamesTargetsWithAList(t *testing.T) {
	settings := &cht.Settings{Targets: []cht.Target{
		{ID: "llin", DataSet: "DsTest00001", DataElement: deA, Listed: true}, {ID: "llin", DataSet: "DsOther0001", DataElement: deB, Listed: true},
		{ID: "births", DataElement: deC},
	}}
	found := NotExported(settings, "DsTest00001")
	if len(found) != 1 || found[0].DataElement != deA || !strings.Contains(found[0].Text, "llin") {
		t.Errorf("found %+v", found)
	}
}

func TestValuesToWhichATargetWithAListBelongsStayBehind(t *testing.T) {
	const set, other = "DsTest00001", "DsOther0001"
	settings := &cht.Settings{Targets: []cht.Target{
		{ID: "births", DataSet: set, DataElement: deA}, {ID: "births-elsewhere", DataSet: set, DataElement: deA, CategoryOptionCombo: dhis2.DefaultCombo, Listed: true},
		{ID: "deaths", DataElement: deB, CategoryOptionCombo: cocA}, {ID: "deaths-of-others", DataElement: deB, CategoryOptionCombo: cocB, Listed: true},
		{ID: "visits", DataSet: set, DataElement: deC}, {ID: "visits-elsewhere", DataSet: other, DataElement: deC, Listed: true},
	}}
	deaths := value(ouA, deB, "2")
	deaths.CategoryOptionCombo = text(cocA)
	sent, issues, _, quarantined := apply(New(Rules{}, settings, dhis2.DataSet{ID: set}), []cht.Value{value(ouA, deA, "5"), deaths, value(ouA, deC, "3")})
	if diff := cmp.Diff([]string{ouA + " " + deB + " " + cocA + "  2", ouA + " " + deC + "   3"}, lines(sent)); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"target_not_exported " + ouA + " " + deA}, issues); diff != "" || quarantined != 1 {
		t.Errorf("%d left behind (-want +got):\n%s", quarantined, diff)
	}
}

func TestExtras(t *testing.T) {
	found := Extras(map[string]int{"projectCode": 7, "completeDate": 1, "\xff": 2})
	if len(found) != 3 || found[0].Count != 1 || found[1].Count != 7 || !strings.Contains(found[1].Text, "projectCode") {
		t.Errorf("found %+v", found)
	}
	if _, err := json.Marshal(found); err != nil {
		t.Error(err)
	}
}

// TestMappingProperties makes exports of all sorts and looks at what holds for each: nothing is lost, nothing is
// invented, the order of the export does not matter, and what was sent goes through again unchanged.
func TestMappingProperties(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 2000 {
		export := randomExport(random)
		rules := randomRules(random)
		m := New(rules, &cht.Settings{}, dhis2.DataSet{ID: "DsTest00001"})
		sent, issues, dropped, quarantined := apply(m, export)
		merges := len(rules.RenameOrgUnits)+len(rules.RenameDataElements) > 0
		if total := len(sent) + dropped + quarantined; total > len(export) || !merges && total != len(export) {
			t.Fatalf("round %d: %d sent, %d dropped, %d quarantined of %d", round, len(sent), dropped, quarantined, len(export))
		}
		if len(issues) != quarantined {
			t.Fatalf("round %d: %d issues for %d quarantined", round, len(issues), quarantined)
		}
		if sum(sent) > sumOf(export) {
			t.Fatalf("round %d: sent %d, and the export has %d", round, sum(sent), sumOf(export))
		}
		shuffled := slices.Clone(export)
		random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		again, _, dropped2, quarantined2 := apply(m, shuffled)
		if diff := cmp.Diff(lines(sent), lines(again)); diff != "" || dropped != dropped2 || quarantined != quarantined2 {
			t.Fatalf("round %d: another order gives (-first +second):\n%s", round, diff)
		}
		twice, _, _, bad := apply(New(Rules{EmptyOrgUnits: SendEmpty}, &cht.Settings{}, dhis2.DataSet{ID: "DsTest00001"}), asExport(sent))
		if diff := cmp.Diff(lines(sent), lines(twice)); diff != "" || bad != 0 {
			t.Fatalf("round %d: what was sent does not go through again:\n%s", round, diff)
		}
	}
}

func randomExport(random *rand.Rand) []cht.Value {
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	var export []cht.Value
	for range random.IntN(30) {
		v := value(pick(ouA, ouB, ouC), pick(deA, deB, deC), pick("0", "0", "1", "2", "30", "2.5", "-1"))
		if random.IntN(3) == 0 {
			v.CategoryOptionCombo = text(pick(cocA, cocB, dhis2.DefaultCombo))
		}
		if random.IntN(15) == 0 {
			v.Value = cht.Field{Kind: cht.Null}
		}
		if random.IntN(25) == 0 {
			v.OrgUnit = cht.Field{}
		}
		export = append(export, v)
	}
	return export
}

func randomRules(random *rand.Rand) Rules {
	var r Rules
	if random.IntN(3) == 0 {
		r.RenameOrgUnits = map[string]string{ouA: ouB}
	}
	if random.IntN(3) == 0 {
		r.RenameDataElements = map[string]string{deA: deB}
	}
	if random.IntN(2) == 0 {
		r.SumDataElements = []string{deB}
	}
	if random.IntN(4) == 0 {
		r.ExcludeDataElements = []string{deC}
	}
	r.EmptyOrgUnits = EmptyPolicy(random.IntN(3))
	r.DropZeros = random.IntN(2) == 0
	return r
}

func sum(values []Value) int64 {
	total := int64(0)
	for _, v := range values {
		n, _ := number(digits(v.Value))
		total += max(n, 0)
	}
	return total
}

func sumOf(export []cht.Value) int64 {
	total := int64(0)
	for _, v := range export {
		n, _ := number(v.Value)
		total += max(n, 0)
	}
	return total
}

func asExport(values []Value) []cht.Value {
	var export []cht.Value
	for _, v := range values {
		entry := value(v.OrgUnit, v.DataElement, v.Value)
		if v.CategoryOptionCombo != "" {
			entry.CategoryOptionCombo = text(v.CategoryOptionCombo)
		}
		export = append(export, entry)
	}
	return export
}

// TestZerosAreSentWhereSomebodyReported tells zeros that are true from those that the export fills in.
func TestZerosAreSentWhereSomebodyReported(t *testing.T) {
	m := New(Rules{EmptyOrgUnits: SendReported, RenameOrgUnits: map[string]string{ouA: ouC}}, &cht.Settings{}, dhis2.DataSet{ID: "DsTest00001"})
	export := []cht.Value{value(ouA, deA, "0"), value(ouA, deB, "0"), value(ouB, deA, "0"), value(ouB, deB, "0")}
	if sent, _, dropped, _ := apply(m, export); len(sent) > 0 || dropped != 4 {
		t.Errorf("where nobody tells: got %v, and %d dropped", lines(sent), dropped)
	}
	m.Reported(func(orgUnit string) bool { return orgUnit == ouC })
	sent, issues, dropped, _ := apply(m, append(export, value(ouA, deC, "0")))
	if diff := cmp.Diff([]string{ouC + " " + deA + "   0", ouC + " " + deB + "   0", ouC + " " + deC + "   0"}, lines(sent)); diff != "" || dropped != 2 || len(issues) > 0 {
		t.Errorf("%d dropped, issues %v: %s", dropped, issues, diff)
	}
	// Who has a value has reported, whatever else is known.
	if sent, _, dropped, _ = apply(m, append(export, value(ouB, deC, "1"))); len(sent) != 5 || dropped != 0 {
		t.Errorf("beside a value: got %v, and %d dropped", lines(sent), dropped)
	}
}

func TestAnOrgUnitHasItsNewIDWithoutAValue(t *testing.T) {
	m := New(Rules{RenameOrgUnits: map[string]string{"KE-1": "KE-2"}, ExcludeOrgUnits: []string{"KE-9"}}, &cht.Settings{},
		dhis2.DataSet{ID: "DsTest00001", Names: dhis2.Names{OrgUnits: map[string]string{"KE-2": ouB, "KE-3": ouC, "KE-9": ouA, "KE-4": ""}}})
	got := map[string]string{}
	for _, id := range []string{"KE-1", "KE-3", "KE-9", "KE-4", "KE-5", ""} {
		if orgUnit, ok := m.NewOrgUnit(id); ok {
			got[id] = orgUnit
		}
	}
	if diff := cmp.Diff(map[string]string{"KE-1": ouB, "KE-3": ouC}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNamesBecomeIDsAfterTheRules(t *testing.T) {
	set := dhis2.DataSet{
		ID: "DsTest00001", DefaultCombo: "DefTestAAA1",
		Names: dhis2.Names{
			DataSet:      "MCH",
			DataElements: map[string]string{"births": deA, "deaths": deB, "shared": deC, "twice": ""},
			OrgUnits:     map[string]string{"KE-1": ouA, "KE-2": ouB, "ke-1": ouC, "KE-3": ""},
			CategoryOptionCombos: map[string]string{
				"under 5": cocA, "over 5": cocB, "default": "DefTestAAA1",
			},
		},
	}
	settings := &cht.Settings{Targets: []cht.Target{
		{ID: "a", DataSet: "MCH", DataElement: "shared", CategoryOptionCombo: "under 5"}, {ID: "b", DataSet: "MCH", DataElement: "shared", CategoryOptionCombo: "over 5"},
	}}
	withCombo := func(v cht.Value, category, attribute string) cht.Value {
		v.CategoryOptionCombo, v.AttributeOptionCombo = text(category), text(attribute)
		return v
	}
	for _, test := range []struct {
		name   string
		rules  Rules
		in     []cht.Value
		want   []string
		issues []string
	}{
		{
			name: "each is called by its own name", in: []cht.Value{value("KE-1", "births", "1"), value("ke-1", "births", "2"), withCombo(value("KE-2", "deaths", "3"), "under 5", "over 5")},
			want: []string{ouA + " " + deA + "   1", ouB + " " + deB + " " + cocA + " " + cocB + " 3", ouC + " " + deA + "   2"},
		},
		{
			name: "the default combo may go by its name or its id", in: []cht.Value{withCombo(value("KE-1", "births", "1"), "default", "DefTestAAA1"), withCombo(value("KE-1", "deaths", "2"), dhis2.DefaultCombo, "default")},
			want: []string{ouA + " " + deA + "   1", ouA + " " + deB + "   2"},
		},
		{
			name:   "what nothing goes by stays behind",
			in:     []cht.Value{value("KE-9", "births", "1"), value("KE-1", "BIRTHS", "2"), withCombo(value("KE-1", "births", "3"), "under-5", ""), withCombo(value("KE-2", "births", "3"), "", "gone"), value("KE-2", "deaths", "4"), value(ouA, "deaths", "5"), value("KE-1", deC, "6")},
			want:   []string{ouB + " " + deB + "   4"},
			issues: []string{"unknown_code KE-9 " + deA, "unknown_code " + ouA + " BIRTHS", "unknown_code " + ouA + " " + deA, "unknown_code " + ouA + " " + deB, "unknown_code " + ouA + " " + deC, "unknown_code " + ouB + " " + deA},
		},
		{
			name: "so does what several go by", in: []cht.Value{value("KE-3", "births", "1"), value("KE-1", "twice", "2"), value("KE-1", "births", "3")},
			want: []string{ouA + " " + deA + "   3"}, issues: []string{"ambiguous_code KE-3 " + deA, "ambiguous_code " + ouA + " twice"},
		},
		{
			name: "rules speak in names", in: []cht.Value{value("old", "b1", "1"), value("old", "b2", "2"), value("out", "b1", "9")},
			rules: Rules{ExcludeOrgUnits: []string{"out"}, RenameOrgUnits: map[string]string{"old": "KE-1"}, RenameDataElements: map[string]string{"b1": "births", "b2": "births"}, SumDataElements: []string{"births"}, AttributeOptionCombo: "under 5"},
			want:  []string{ouA + " " + deA + "  " + cocA + " 3"},
		},
		{
			name: "an attribute option combo that nothing goes by", in: []cht.Value{value("KE-1", "births", "1")}, rules: Rules{AttributeOptionCombo: "gone"},
			want: []string{}, issues: []string{"unknown_code " + ouA + " " + deA},
		},
		{
			name: "a shared data element is told by its name in the CHT", in: []cht.Value{value("KE-1", "shared", "1")},
			want: []string{}, issues: []string{"shared_element_collapses " + ouA + " " + deC},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			sent, issues, _, _ := apply(New(test.rules, settings, set), test.in)
			if diff := cmp.Diff(test.want, lines(sent)); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.issues, issues); diff != "" {
				t.Errorf("issues (-want +got):\n%s", diff)
			}
		})
	}
}
