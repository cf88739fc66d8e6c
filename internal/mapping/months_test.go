package mapping

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
)

var quarter = []string{"202601", "202602", "202603"}

// settleMonths runs the exports of the months of a period through a mapping, as the flow does.
func settleMonths(m *Mapping, months ...[]cht.Value) (all []Settled) {
	m.Over(quarter)
	byOrgUnit := map[string][]Cell{}
	for n, export := range months {
		for i := range export {
			export[i].Index = i
			var c Cell
			if m.Take(&export[i], &c) == Taken {
				c.Month = quarter[n]
				byOrgUnit[c.OrgUnit] = append(byOrgUnit[c.OrgUnit], c)
			}
		}
	}
	for _, orgUnit := range []string{ouA, ouB, ouC} {
		if cells := byOrgUnit[orgUnit]; cells != nil {
			all = append(all, m.OrgUnit(cells))
		}
	}
	return all
}

func TestTheMonthsOfAPeriodAddUp(t *testing.T) {
	null := func(orgUnit, element string) cht.Value {
		v := value(orgUnit, element, "0")
		v.Value = cht.Field{Kind: cht.Null}
		return v
	}
	withCombo := func(v cht.Value, combo string) cht.Value {
		v.CategoryOptionCombo = text(combo)
		return v
	}
	type months = [3][]cht.Value
	tests := []struct {
		name    string
		rules   Rules
		in      months
		want    []string
		issues  []string
		dropped int
		// says is part of what is told of the first issue.
		says string
	}{
		{
			name: "three months",
			in:   months{{value(ouA, deA, "1"), value(ouA, deB, "0")}, {value(ouA, deA, "2"), value(ouA, deB, "0")}, {value(ouA, deA, "4"), value(ouA, deB, "5")}},
			want: []string{ouA + " " + deA + "   7", ouA + " " + deB + "   5"},
		},
		{
			name: "a month of zeros adds nothing and takes nothing",
			in:   months{{value(ouA, deA, "3")}, {value(ouA, deA, "0")}, {value(ouA, deA, "0")}},
			want: []string{ouA + " " + deA + "   3"},
		},
		{
			name:    "an org unit that is all zero in the whole period is dropped, each cell once",
			in:      months{{value(ouA, deA, "0"), value(ouA, deB, "0")}, {value(ouA, deA, "0"), value(ouA, deB, "0")}, {value(ouA, deA, "0"), value(ouA, deB, "0")}},
			want:    []string{},
			dropped: 2,
		},
		{
			name:   "a cell that is not in one of the exports stays behind",
			in:     months{{value(ouA, deA, "1"), value(ouA, deB, "1")}, {value(ouA, deA, "2")}, {value(ouA, deA, "4"), value(ouA, deB, "1")}},
			want:   []string{ouA + " " + deA + "   7"},
			issues: []string{"month_of_period_missing " + ouA + " " + deB},
			says:   "the export of 202602 does not have it",
		},
		{
			name:   "so does one that is in the last export only, though it is zero there",
			in:     months{{value(ouB, deA, "1")}, {value(ouB, deA, "1")}, {value(ouA, deA, "0"), value(ouB, deA, "1")}},
			want:   []string{ouB + " " + deA + "   3"},
			issues: []string{"month_of_period_missing " + ouA + " " + deA},
			says:   "the export of 202601 does not have it",
		},
		{
			name:   "a number that cannot be read in one month leaves the whole cell behind, once",
			in:     months{{value(ouA, deA, "1"), value(ouA, deB, "1")}, {null(ouA, deA), value(ouA, deB, "1")}, {value(ouA, deA, "4"), value(ouA, deB, "1")}},
			want:   []string{ouA + " " + deB + "   3"},
			issues: []string{"null_value " + ouA + " " + deA},
			says:   "value 0 of the export of 202602",
		},
		{
			name:   "zeros beside what could not be read are no empty org unit",
			in:     months{{value(ouA, deA, "0")}, {null(ouA, deA)}, {value(ouA, deA, "0")}},
			want:   []string{},
			issues: []string{"null_value " + ouA + " " + deA},
		},
		{
			name:   "two values in one month contradict each other",
			in:     months{{value(ouA, deA, "1")}, {value(ouA, deA, "2"), value(ouA, deA, "3")}, {value(ouA, deA, "4")}},
			want:   []string{},
			issues: []string{"duplicate_cell " + ouA + " " + deA},
			says:   "of the export of 202602 is 3",
		},
		{
			name:  "org units with one new id add up over the months too",
			rules: Rules{RenameOrgUnits: map[string]string{ouA: ouC, ouB: ouC}},
			in:    months{{value(ouA, deA, "1"), value(ouB, deA, "10")}, {value(ouA, deA, "2"), value(ouB, deA, "20")}, {value(ouA, deA, "4"), value(ouB, deA, "40")}},
			want:  []string{ouC + " " + deA + "   77"},
		},
		{
			name:   "a sum of org units with a month of one missing stays behind",
			rules:  Rules{RenameOrgUnits: map[string]string{ouA: ouC, ouB: ouC}},
			in:     months{{value(ouA, deA, "1"), value(ouB, deA, "10")}, {value(ouA, deA, "2")}, {value(ouA, deA, "4"), value(ouB, deA, "40")}},
			want:   []string{},
			issues: []string{"part_of_sum_missing " + ouC + " " + deA, "month_of_period_missing " + ouC + " " + deA},
		},
		{
			name:  "zeros are left out by the sum, not by the month",
			rules: Rules{DropZeros: true},
			in:    months{{value(ouA, deA, "0"), value(ouA, deB, "0")}, {value(ouA, deA, "2"), value(ouA, deB, "0")}, {value(ouA, deA, "0"), value(ouA, deB, "0")}},
			want:  []string{ouA + " " + deA + "   2"}, dropped: 1,
		},
		{
			name:   "a sum that is not exact any more stays behind",
			in:     months{{value(ouA, deA, "9007199254740992")}, {value(ouA, deA, "1")}, {value(ouA, deA, "0")}},
			want:   []string{},
			issues: []string{"too_large_value " + ouA + " " + deA},
		},
		{
			name: "another combo in one month is another cell, and neither is whole",
			in: months{
				{withCombo(value(ouA, deA, "1"), cocA)}, {withCombo(value(ouA, deA, "1"), cocA)},
				{withCombo(value(ouA, deA, "1"), cocB)},
			},
			want:   []string{},
			issues: []string{"month_of_period_missing " + ouA + " " + deA, "month_of_period_missing " + ouA + " " + deA},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := New(tt.rules, &cht.Settings{}, dhis2.DataSet{ID: "DsTest00001"})
			var sent []Value
			var issues []string
			var first *issue.Issue
			dropped, quarantined := 0, 0
			for _, s := range settleMonths(m, tt.in[0], tt.in[1], tt.in[2]) {
				sent = append(sent, s.Values...)
				dropped, quarantined = dropped+s.Dropped, quarantined+s.Quarantined
				for i := range s.Issues {
					if first == nil {
						first = &s.Issues[i]
					}
					issues = append(issues, fmt.Sprintf("%s %s %s", s.Issues[i].Code, s.Issues[i].OrgUnit, s.Issues[i].DataElement))
				}
			}
			if diff := cmp.Diff(tt.want, lines(sent)); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.issues, issues); diff != "" {
				t.Errorf("issues (-want +got):\n%s", diff)
			}
			if dropped != tt.dropped || quarantined != len(tt.issues) {
				t.Errorf("dropped %d, quarantined %d; want %d, %d", dropped, quarantined, tt.dropped, len(tt.issues))
			}
			if tt.says != "" && (first == nil || !strings.Contains(first.Text, tt.says)) {
				t.Errorf("told %+v, want it to say %s", first, tt.says)
			}
		})
	}
}

// Whatever is in the months, and in whatever order it comes: a value that is sent is the sum of the plain numbers of all its months.
func TestASumOfMonthsIsNeverOfFewer(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 26))
	for round := range 1000 {
		var months [3][]cht.Value
		want, bad := map[string]int{}, map[string]bool{}
		for n := range months {
			for _, orgUnit := range []string{ouA, ouB} {
				for _, element := range []string{deA, deB, deC} {
					key, number := orgUnit+element, random.IntN(5)
					v := value(orgUnit, element, fmt.Sprint(number))
					switch random.IntN(12) {
					case 0:
						bad[key] = true
						continue
					case 1:
						bad[key] = true
						v.Value = cht.Field{Kind: cht.Null}
					}
					want[key] += number
					months[n] = append(months[n], v)
				}
			}
			random.Shuffle(len(months[n]), func(i, j int) { months[n][i], months[n][j] = months[n][j], months[n][i] })
		}
		m := New(Rules{EmptyOrgUnits: SendEmpty}, &cht.Settings{}, dhis2.DataSet{ID: "DsTest00001"})
		sent := 0
		for _, s := range settleMonths(m, months[0], months[1], months[2]) {
			for _, v := range s.Values {
				sent++
				if key := v.OrgUnit + v.DataElement; bad[key] || v.Value != fmt.Sprint(want[key]) {
					t.Fatalf("round %d: %s is %s, want %d (incomplete: %t)", round, key, v.Value, want[key], bad[key])
				}
			}
		}
		if sent != 6-len(bad) {
			t.Fatalf("round %d: %d values are sent, want %d", round, sent, 6-len(bad))
		}
	}
}

func TestACellOfOneMonthNamesNoMonth(t *testing.T) {
	c := Cell{Fault: NullValue, Index: 3}
	if text := c.Issue().Text; strings.Contains(text, "export of") || !strings.Contains(text, "value 3 of the export") {
		t.Error(text)
	}
	missing := Cell{Fault: MonthMissing, Month: quarter[1]}
	if i := missing.Issue(); i.Index != nil || i.Remedy == "" || !slices.Contains(strings.Fields(i.Text), quarter[1]) {
		t.Errorf("%+v", i)
	}
}
