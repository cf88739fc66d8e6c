package target_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/target"
)

// names are the targets of the small deployment, by number.
var names = []string{"births", "visits", "unmapped", "tests"}

const (
	births = iota
	visits
	unmapped
	tests
)

// small has a district with a facility with an area, all with org units, and workers there; a second facility with two org units; and
// a place without any.
func small() *target.Hierarchy {
	h := target.NewHierarchy()
	place := func(id, kind string, units ...target.OrgUnit) {
		h.AddPlace(target.Place{ID: key.Of(id), Type: kind, OrgUnits: units})
	}
	place("district", "district", target.OrgUnit{ID: "OuDistrict"})
	place("facility", "facility", target.OrgUnit{ID: "OuFacility", DataSet: "Ds"}, target.OrgUnit{ID: "OuElsewhere", DataSet: "DsOther"})
	place("area", "area", target.OrgUnit{ID: "OuArea"})
	place("twin", "facility", target.OrgUnit{ID: "OuTwin2"}, target.OrgUnit{ID: "OuTwin1"})
	place("annex", "facility", target.OrgUnit{ID: "OuFacility"})
	for worker, parents := range map[string][]string{
		"asha":  {"area", "facility", "district"},
		"azizi": {"facility", "district"},
		"tumi":  {"somewhere", "twin"},
		"anna":  {"annex"},
		"chloe": {"nowhere"},
	} {
		add(h, worker, "chw", parents...)
	}
	add(h, "sup", "supervisor", "facility", "district")
	h.AddOwner(target.Owner{ID: key.Of("deleted"), Gone: true})
	return h
}

func add(h *target.Hierarchy, id, kind string, parents ...string) {
	o := target.Owner{ID: key.Of(id), Type: kind}
	for _, parent := range parents {
		o.Parents = append(o.Parents, key.Of(parent))
	}
	h.AddOwner(o)
}

func doc(id string, day int, counts ...target.Count) target.Document {
	return target.Document{ID: key.Of(id), Updated: day, Counts: counts}
}

// total is a count of which only the total matters.
func total(number int, n int64) target.Count { return target.Count{Target: number, Pass: n, Total: n} }

var oneItem = []target.Item{{Target: "births", DataElement: "DeBirths"}}

// work is what owners report in a month.
type work map[string][]target.Document

func sumOf(rules target.Rules, months ...work) *target.Sum {
	if rules.Items == nil {
		rules.Items = oneItem
	}
	s := target.NewSum(small(), rules, "Ds", names)
	for i, month := range months {
		if i > 0 {
			s.NextMonth()
		}
		for _, owner := range slices.Sorted(maps.Keys(month)) {
			s.Add(key.Of(owner), month[owner])
		}
	}
	return s
}

// short gives the values in short.
func short(t *testing.T, s *target.Sum) string {
	t.Helper()
	var all []string
	for _, f := range figures(t, s) {
		all = append(all, fmt.Sprintf("%s %s%s%s=%d", f.OrgUnit, f.DataElement, f.CategoryOptionCombo, f.AttributeOptionCombo, f.Value))
	}
	return strings.ReplaceAll(strings.Join(all, " "), " DeBirths=", "=")
}

func TestDocumentsCountByTheRules(t *testing.T) {
	t.Parallel()
	seven := func(worker string) work { return work{worker: {doc("d", 1, total(births, 7))}} }
	items := func(all ...target.Item) target.Rules { return target.Rules{Items: all} }
	twice := []target.Document{doc("first", 10, total(births, 5)), doc("second", 20, total(births, 3))}
	for _, test := range []struct {
		name  string
		rules target.Rules
		work  work
		want  string
	}{
		{"for the owner's places and all above", target.Rules{}, seven("asha"), "OuArea=7 OuDistrict=7 OuFacility=7"},
		{"for the lowest", target.Rules{Lowest: true}, seven("asha"), "OuArea=7"},
		{"for the lowest there is", target.Rules{Lowest: true}, seven("azizi"), "OuFacility=7"},
		{"for a level", target.Rules{Level: "facility"}, seven("asha"), "OuFacility=7"},
		{"for a level that is not above", target.Rules{Level: "area"}, seven("azizi"), ""},
		{"for all org units of a place", target.Rules{Lowest: true}, seven("tumi"), "OuTwin1=7 OuTwin2=7"},
		{"places with one org unit add up", target.Rules{Lowest: true}, work{"azizi": {doc("a", 1, total(births, 7))}, "anna": {doc("b", 1, total(births, 2))}}, "OuFacility=9"},
		{"no org unit above", target.Rules{}, seven("chloe"), ""},
		{"gone", target.Rules{}, seven("deleted"), ""},
		{"unknown", target.Rules{}, seven("nobody"), ""},
		{"a type is left out", target.Rules{ExcludeTypes: []string{"supervisor"}}, seven("sup"), ""},
		{"zero is given where somebody had it", target.Rules{Lowest: true}, work{"asha": {doc("d", 1, total(births, 0))}}, "OuArea=0"},
		{"a target that no document has gives no cell", target.Rules{Lowest: true}, work{"asha": {doc("d", 1, total(visits, 3))}}, ""},
		{"a target twice in a document adds up", target.Rules{Lowest: true}, work{"asha": {doc("d", 1, total(births, 3), total(births, 4))}}, "OuArea=7"},

		{"the latest", target.Rules{Lowest: true}, work{"asha": twice}, "OuArea=3"},
		{"all together", target.Rules{Lowest: true, Duplicates: target.Together}, work{"asha": twice}, "OuArea=8"},
		{"the largest", target.Rules{Lowest: true, Duplicates: target.Largest}, work{"asha": twice}, "OuArea=5"},
		{"the latest of one day is the larger", target.Rules{Lowest: true}, work{"asha": {doc("first", 20, total(births, 5)), doc("second", 20, total(births, 3))}}, "OuArea=5"},
		{"a malformed one does not count, though it is the latest", target.Rules{Lowest: true}, work{"asha": {twice[0], {ID: key.Of("x"), Updated: 30, Malformed: true}}}, "OuArea=5"},
		{
			"what is not mapped makes no document larger", target.Rules{Lowest: true, Duplicates: target.Largest},
			work{"asha": {doc("first", 10, total(births, 5)), doc("second", 20, total(births, 3), total(unmapped, 99))}}, "OuArea=5",
		},

		{"a number that cannot be read", target.Rules{Lowest: true}, work{"asha": {doc("d", 1, target.Count{Target: births, Pass: 3, Total: cht.Unread})}}, ""},
		{"one that no item needs", target.Rules{Lowest: true}, work{"asha": {doc("d", 1, target.Count{Target: births, Pass: cht.Unread, Total: 3})}}, "OuArea=3"},
		{"one of a target that is not mapped", target.Rules{Lowest: true}, work{"asha": {doc("d", 1, total(unmapped, cht.Unread), total(births, 4))}}, "OuArea=4"},
		{
			"half a document is not taken", items(oneItem[0], target.Item{Target: "visits", DataElement: "DeVisits"}),
			work{"azizi": {doc("d", 1, total(births, 4), total(visits, cht.Unread))}}, "",
		},

		{
			"pass, total and percent", target.Rules{Lowest: true, Items: []target.Item{
				{Target: "tests", DataElement: "De", CategoryOptionCombo: "Pass", Measure: target.Pass},
				{Target: "tests", DataElement: "De", CategoryOptionCombo: "Total", AttributeOptionCombo: "Aoc"},
				{Target: "tests", DataElement: "De", CategoryOptionCombo: "Percent", Measure: target.Percent},
			}},
			work{"asha": {doc("d", 1, target.Count{Target: tests, Pass: 1, Total: 8})}},
			"OuArea DePass=1 OuArea DeTotalAoc=8 OuArea DePercent=13",
		},
		{
			"percent of the sums", target.Rules{Level: "facility", Items: []target.Item{{Target: "tests", DataElement: "De", Measure: target.Percent}}},
			work{
				"asha":  {doc("a", 1, target.Count{Target: tests, Pass: 1, Total: 1})},
				"azizi": {doc("b", 1, target.Count{Target: tests, Pass: 0, Total: 9})},
			},
			"OuFacility De=10",
		},
		{
			"percent over a hundred", target.Rules{Lowest: true, Items: []target.Item{{Target: "tests", DataElement: "De", Measure: target.Percent}}},
			work{"asha": {doc("a", 1, target.Count{Target: tests, Pass: 3, Total: 2})}}, "OuArea De=150",
		},
		{
			"percent without denominator", target.Rules{Lowest: true, Items: []target.Item{{Target: "tests", DataElement: "De", Measure: target.Percent}}},
			work{"asha": {doc("a", 1, target.Count{Target: tests, Pass: 3})}}, "",
		},
		{
			"targets of one cell add up, each combo has its own",
			target.Rules{Lowest: true, Items: []target.Item{
				{Target: "births", DataElement: "De", CategoryOptionCombo: "A"},
				{Target: "visits", DataElement: "De", CategoryOptionCombo: "A"},
				{Target: "tests", DataElement: "De", CategoryOptionCombo: "B"},
			}},
			work{"asha": {doc("d", 1, total(births, 1), total(visits, 2), total(tests, 4))}}, "OuArea DeA=3 OuArea DeB=4",
		},
		{"an item that stands twice counts once", target.Rules{Lowest: true, Items: []target.Item{oneItem[0], oneItem[0]}}, seven("asha"), "OuArea=7"},
		{"2^53", target.Rules{Lowest: true}, work{"asha": {doc("d", 1, total(births, 1<<53))}}, "OuArea=9007199254740992"},
		{"beyond 2^53", target.Rules{Level: "facility"}, work{"asha": {doc("a", 1, total(births, 1<<53))}, "azizi": {doc("b", 1, total(births, 1))}}, ""},
		{"far beyond 2^53", target.Rules{Duplicates: target.Together}, work{"asha": {doc("a", 1, total(births, 1<<62)), doc("b", 1, total(births, 1<<62)), doc("c", 1, total(births, 1<<62))}}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := short(t, sumOf(test.rules, test.work)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestPercentIsRoundedHalfUp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ pass, total, want int64 }{
		{0, 7, 0}, {1, 3, 33}, {2, 3, 67}, {1, 200, 1}, {1, 201, 0}, {57, 200, 29}, {995, 1000, 100}, {1<<53 - 1, 1 << 53, 100}, {1 << 53, 1, 100 << 53},
	} {
		s := sumOf(target.Rules{Lowest: true, Items: []target.Item{{Target: "tests", DataElement: "De", Measure: target.Percent}}},
			work{"asha": {doc("d", 1, target.Count{Target: tests, Pass: test.pass, Total: test.total})}})
		if got, want := short(t, s), fmt.Sprintf("OuArea De=%d", test.want); got != want {
			t.Errorf("%d of %d: %s, want %s", test.pass, test.total, got, want)
		}
	}
}

// TestTheLargestIsTakenWhole: never parts of two documents, and the same one in whatever order they come.
func TestTheLargestIsTakenWhole(t *testing.T) {
	t.Parallel()
	documents := []target.Document{
		doc("a", 10, total(births, 5), total(visits, 1)),
		doc("b", 10, total(births, 1), total(visits, 5)),
		doc("c", 10, total(births, 2), total(visits, 4)),
	}
	items := []target.Item{oneItem[0], {Target: "visits", DataElement: "DeVisits"}}
	for _, rule := range []target.Duplicates{target.Latest, target.Largest} {
		var first string
		for range documents {
			documents = append(documents[1:], documents[0])
			got := short(t, sumOf(target.Rules{Lowest: true, Duplicates: rule, Items: items}, work{"asha": documents}))
			if first == "" {
				first = got
			}
			if got != first || !slices.Contains([]string{"OuArea=5 OuArea DeVisits=1", "OuArea=1 OuArea DeVisits=5", "OuArea=2 OuArea DeVisits=4"}, got) {
				t.Errorf("rule %d: %s, and before %s", rule, got, first)
			}
		}
	}
}

func TestMonthsOfAPeriodAddUp(t *testing.T) {
	t.Parallel()
	rules := target.Rules{Level: "facility", Items: []target.Item{oneItem[0], {Target: "tests", DataElement: "De", Measure: target.Percent}}}
	rate := func(pass, total int64) target.Count { return target.Count{Target: tests, Pass: pass, Total: total} }
	s := sumOf(rules,
		work{"asha": {doc("1", 10, total(births, 1), rate(1, 1))}, "azizi": {doc("2", 5, total(births, 2))}},
		work{"asha": {doc("3", 40, total(births, 4), rate(0, 4))}},
		work{"asha": {doc("4", 70, total(births, 8), rate(2, 5))}, "azizi": {doc("5", 71, total(births, 16), rate(1, 2))}})
	if got, want := short(t, s), "OuFacility=31 OuFacility De=33"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, c := range coverage(t, s) {
		if c.OrgUnit != "OuFacility" {
			continue
		}
		want := target.Coverage{OrgUnit: "OuFacility", Seen: 1, Documents: 5, Oldest: 5, Missing: []int{0, 1}}
		if diff := cmp.Diff(want, c); diff != "" {
			t.Errorf("coverage (-want +got):\n%s", diff)
		}
	}
}

// TestAMonthWithoutDocumentsHasNobodySeen though the months before and after have.
func TestAMonthWithoutDocumentsHasNobodySeen(t *testing.T) {
	t.Parallel()
	s := sumOf(target.Rules{Lowest: true}, work{"asha": {doc("1", 10, total(births, 1))}}, work{})
	for _, c := range coverage(t, s) {
		if c.Seen != 0 {
			t.Errorf("%s: %d seen", c.OrgUnit, c.Seen)
		}
	}
}

func TestCoverageTellsExpectedFromSeen(t *testing.T) {
	t.Parallel()
	s := target.NewSum(small(), target.Rules{Items: []target.Item{oneItem[0], {Target: "visits", DataElement: "DeVisits"}}, ExcludeTypes: []string{"supervisor"}}, "Ds", names)
	s.StaleBefore(20)
	for _, owner := range []string{"asha", "asha", "azizi", "sup", "chloe", "deleted", "nobody", "nobody"} {
		s.Expect(key.Of(owner))
	}
	s.Add(key.Of("asha"), []target.Document{doc("1", 19, total(births, 1))})
	s.Add(key.Of("anna"), []target.Document{doc("2", 0, total(births, 1), total(visits, 1))})
	s.Add(key.Of("sup"), []target.Document{doc("3", 5, total(births, 1))})
	want := []target.Coverage{
		{OrgUnit: "OuArea", Expected: 1, Reported: 1, Seen: 1, Documents: 1, Oldest: 19, Stale: 1, Missing: []int{0, 1}},
		{OrgUnit: "OuDistrict", Expected: 2, Reported: 1, Seen: 1, Documents: 1, Oldest: 19, Stale: 1, Missing: []int{0, 1}},
		{OrgUnit: "OuFacility", Expected: 2, Reported: 1, Seen: 2, Documents: 2, Oldest: 19, Stale: 1, Missing: []int{0, 1}},
		{OrgUnit: "OuTwin1", Missing: []int{0, 0}},
		{OrgUnit: "OuTwin2", Missing: []int{0, 0}},
	}
	if diff := cmp.Diff(want, coverage(t, s)); diff != "" {
		t.Errorf("coverage (-want +got):\n%s", diff)
	}
	f := s.Findings()
	if f.ExpectedOwners != 5 || f.ExpectedNowhere.Total != 3 {
		t.Errorf("%d expected, %d of them nowhere; want 5 and 3", f.ExpectedOwners, f.ExpectedNowhere.Total)
	}
}

// TestMisuseGivesNoFigures: where the sums could be wrong, there are none.
func TestMisuseGivesNoFigures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		misuse func(*target.Hierarchy, *target.Sum)
	}{
		{"an owner in two parts", func(_ *target.Hierarchy, s *target.Sum) {
			s.Add(key.Of("asha"), []target.Document{doc("2", 1, total(births, 1))})
		}},
		{"an unknown owner in two parts", func(_ *target.Hierarchy, s *target.Sum) {
			s.Add(key.Of("nobody"), []target.Document{doc("2", 1, total(births, 1))})
			s.Add(key.Of("nobody"), []target.Document{doc("3", 1, total(births, 1))})
		}},
		{"a place after the owners", func(h *target.Hierarchy, _ *target.Sum) { h.AddPlace(target.Place{ID: key.Of("nowhere")}) }},
		{"a target without a name", func(_ *target.Hierarchy, s *target.Sum) {
			s.Add(key.Of("azizi"), []target.Document{doc("2", 1, total(99, 1))})
		}},
		{"somebody expected later", func(_ *target.Hierarchy, s *target.Sum) { s.NextMonth(); s.Expect(key.Of("asha")) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := small()
			s := target.NewSum(h, target.Rules{Items: oneItem}, "Ds", names)
			s.Add(key.Of("asha"), []target.Document{doc("1", 1, total(births, 1))})
			test.misuse(h, s)
			if err := s.Values(func(*cht.Value) error { return nil }); err == nil {
				t.Error("values are given")
			}
			if err := s.Coverage(func(target.Coverage) error { return nil }); err == nil {
				t.Error("coverage is given")
			}
		})
	}
}

// TestNoSumComesAroundToASmallNumber, however many documents with numbers that cannot be are added.
func TestNoSumComesAroundToASmallNumber(t *testing.T) {
	t.Parallel()
	h := target.NewHierarchy()
	h.AddPlace(target.Place{ID: key.Of("place"), OrgUnits: []target.OrgUnit{{ID: "Ou"}}})
	const owners = 1 << 11 // Times 2^53 they are 0 in 64 bits.
	for n := range owners {
		h.AddOwner(target.Owner{ID: id(2, n), Parents: []target.ID{key.Of("place")}})
	}
	s := target.NewSum(h, target.Rules{Items: oneItem}, "Ds", names)
	for n := range owners {
		s.Add(id(2, n), []target.Document{doc("1", 1, total(births, 1<<53))})
	}
	if got := figures(t, s); len(got) != 0 {
		t.Errorf("given: %+v", got)
	}
}

// TestEachCellThatIsTooLargeIsGiven, where lists would end, so that each can be set aside under its own name.
func TestEachCellThatIsTooLargeIsGiven(t *testing.T) {
	t.Parallel()
	h := target.NewHierarchy()
	const units = issue.ListLimit + 5
	p := target.Place{ID: key.Of("place")}
	for n := range units {
		p.OrgUnits = append(p.OrgUnits, target.OrgUnit{ID: fmt.Sprintf("Ou%05d", n)})
	}
	h.AddPlace(p)
	add(h, "asha", "chw", "place")
	s := target.NewSum(h, target.Rules{Items: oneItem}, "Ds", names)
	s.Add(key.Of("asha"), []target.Document{doc("1", 1, total(births, 1<<60))})
	var got []string
	err := s.TooLarge(func(c target.Cell) error {
		got = append(got, c.OrgUnit)
		return nil
	})
	if err != nil || len(got) != units || !slices.IsSorted(got) || len(figures(t, s)) != 0 {
		t.Errorf("%d cells, %v", len(got), err)
	}
	if f := s.Findings(); f.TooLarge.Total != units || len(f.TooLarge.List) != issue.ListLimit {
		t.Errorf("%d of %d listed", len(f.TooLarge.List), f.TooLarge.Total)
	}
}

func TestYieldEndsTheReading(t *testing.T) {
	t.Parallel()
	stop := errors.New("enough")
	s := sumOf(target.Rules{}, work{"asha": {doc("1", 1, total(births, 1))}})
	n := 0
	if err := s.Values(func(*cht.Value) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
		t.Errorf("values: %d, %v", n, err)
	}
	if err := s.Coverage(func(target.Coverage) error { n++; return stop }); !errors.Is(err, stop) || n != 2 {
		t.Errorf("coverage: %d, %v", n-1, err)
	}
}

func TestRulesThatContradictThemselvesAreTold(t *testing.T) {
	t.Parallel()
	births := target.Item{Target: "births", DataElement: "De"}
	for _, test := range []struct {
		name  string
		rules target.Rules
		want  string
	}{
		{"fine", target.Rules{Lowest: true, Items: []target.Item{births, {Target: "visits", DataElement: "De"}, {Target: "births", DataElement: "De2", Measure: target.Pass}}}, ""},
		{"two measures in a cell", target.Rules{Items: []target.Item{births, {Target: "visits", DataElement: "De", Measure: target.Pass}}}, "targets births and visits add to one cell of data element De by different measures"},
		{"an item twice", target.Rules{Items: []target.Item{births, births}}, "target births stands twice in one cell of data element De"},
		{"no target", target.Rules{Items: []target.Item{{DataElement: "De"}}}, "an item of data element De has no target"},
		{"no data element", target.Rules{Items: []target.Item{{Target: "births"}}}, "target births has no data element"},
		{"no such measure", target.Rules{Items: []target.Item{{Target: "births", DataElement: "De", Measure: 3}}}, "target births has no such measure: 3"},
		{"two attributions", target.Rules{Lowest: true, Level: "facility"}, "documents cannot count for the lowest place alone and for the level facility"},
	} {
		got := ""
		if err := test.rules.Validate(); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// TestACellOfTwoMeasuresIsGivenTwice, so that what checks for duplicate cells lets neither pass.
func TestACellOfTwoMeasuresIsGivenTwice(t *testing.T) {
	t.Parallel()
	s := sumOf(target.Rules{Lowest: true, Items: []target.Item{oneItem[0], {Target: "visits", DataElement: "DeBirths", Measure: target.Pass}}},
		work{"asha": {doc("1", 1, total(births, 1), total(visits, 2))}})
	if got, want := short(t, s), "OuArea=1 OuArea=2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestOwnersAndPlacesAddedAgain(t *testing.T) {
	t.Parallel()
	h := target.NewHierarchy()
	h.AddPlace(target.Place{ID: key.Of("a"), OrgUnits: []target.OrgUnit{{ID: "OuA"}}})
	h.AddPlace(target.Place{ID: key.Of("b"), OrgUnits: []target.OrgUnit{{ID: "OuB"}}})
	h.AddPlace(target.Place{ID: key.Of("b"), OrgUnits: []target.OrgUnit{{ID: "OuB"}, {ID: "OuC"}, {ID: ""}}})
	add(h, "asha", "chw", "a", "a")
	s := target.NewSum(h, target.Rules{Items: oneItem}, "Ds", names)
	s.Add(key.Of("asha"), []target.Document{doc("1", 1, total(births, 1))})
	s.NextMonth()
	add(h, "asha", "chw", "b")
	s.Add(key.Of("asha"), []target.Document{doc("2", 1, total(births, 2))})
	if got, want := short(t, s), "OuA=1 OuB=2 OuC=2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := s.Findings().Owners; got != 1 {
		t.Errorf("%d owners, want 1", got)
	}
}

// TestWhatMovedIsTold by org unit, whichever hierarchy is in use.
func TestWhatMovedIsTold(t *testing.T) {
	t.Parallel()
	today, former := small(), small()
	add(former, "asha", "chw", "twin")
	former.AddOwner(target.Owner{ID: key.Of("azizi"), Gone: true})
	add(former, "deleted", "chw", "annex")
	add(today, "zuri", "chw", "annex") // The former hierarchy was not told of her, so that she has not moved.
	s := target.NewSum(today, target.Rules{Lowest: true, Items: oneItem}, "Ds", names)
	s.Against(former)
	for owner, n := range map[string]int64{"asha": 5, "azizi": 7, "deleted": 9, "tumi": 11, "nobody": 13, "zuri": 15} {
		s.Add(key.Of(owner), []target.Document{doc(owner, 1, total(births, n))})
	}
	amount := func(n int64) []target.Amount { return []target.Amount{{Total: n}} }
	want := []target.Move{
		{OrgUnit: "OuArea", OwnersIn: 1, In: amount(5), Out: amount(0)},
		{OrgUnit: "OuFacility", OwnersIn: 1, OwnersOut: 1, In: amount(7), Out: amount(9)},
		{OrgUnit: "OuTwin1", OwnersOut: 1, In: amount(0), Out: amount(5)},
		{OrgUnit: "OuTwin2", OwnersOut: 1, In: amount(0), Out: amount(5)},
	}
	f := s.Findings()
	if diff := cmp.Diff(want, f.Moved.OrgUnits); diff != "" || f.Moved.Owners.Total != 3 {
		t.Errorf("%d moved (-want +got):\n%s", f.Moved.Owners.Total, diff)
	}
}

// everything has one of each finding.
func everything() *target.Sum {
	rules := target.Rules{ExcludeTypes: []string{"supervisor"}, Items: []target.Item{
		oneItem[0],
		{Target: "tests", DataElement: "DeRate", Measure: target.Percent},
		{Target: "visits", DataElement: "DeVisits", CategoryOptionCombo: "Coc", Measure: target.Pass},
		{Target: "absent", DataElement: "DeAbsent"},
	}}
	h, former := small(), small()
	add(h, "nurse", "nurse", "facility")
	add(former, "nurse", "nurse", "twin")
	s := target.NewSum(h, rules, "Ds", names)
	s.Against(former)
	for _, owner := range []string{"asha", "azizi", "chloe", "deleted"} {
		s.Expect(key.Of(owner))
	}
	for owner, documents := range map[string][]target.Document{
		"asha":    {doc("1", 1, total(births, 1)), doc("2", 2, total(births, 4))},
		"azizi":   {doc("3", 1, total(births, 1<<53)), {ID: key.Of("4"), Malformed: true}},
		"tumi":    {doc("5", 1, total(births, 2), target.Count{Target: tests, Pass: 0, Total: 0}, total(visits, 1))},
		"anna":    {doc("6", 1, total(births, cht.Unread))},
		"chloe":   {doc("7", 1, total(births, 23), total(visits, 4), target.Count{Target: tests, Pass: 1, Total: 2})},
		"deleted": {doc("8", 1, total(births, 0))},
		"ghost":   {doc("9", 1, total(births, 1<<60))},
		"sup":     {doc("10", 1, total(births, 2))},
		"nurse":   {doc("11", 1, total(births, 2))},
	} {
		s.Add(key.Of(owner), documents)
	}
	return s
}

func TestIssuesNameWhatWasFound(t *testing.T) {
	t.Parallel()
	var got []string
	for _, i := range everything().Findings().Issues() {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %d: %s %s %s %s", i.Code, i.Count, i.Text, i.OrgUnit, i.DataElement, i.CategoryOptionCombo)))
		if i.Severity != issue.Note || i.Remedy == "" {
			t.Errorf("%s is a %s with remedy %q", i.Code, i.Severity, i.Remedy)
		}
	}
	want := []string{
		"workers_without_org_unit 1: nothing is attributed of 1 worker with no org unit above them (1 target document): 23 births, 1 of 2 tests, 4 visits",
		"workers_gone 1: nothing is attributed of 1 worker whose contact was deleted or is not known to the CHT (1 target document)",
		"workers_unknown 1: nothing is attributed of 1 worker about whom the CHT was not asked (1 target document): more than 2^53 births",
		"expected_workers_not_attributed 2: no org unit for 2 of 4 expected workers",
		"contact_types_excluded 1: left out by contact type: 1 target document of 1 worker: supervisor (1)",
		"several_contact_types 4: workers of several contact types count: chw (3), nurse (1)",
		"malformed_documents 2: left out as they cannot be used: 2 target documents; numbers that cannot be read are those of births",
		"duplicate_workers 1: several target documents of one month for 1 worker, with the same numbers for 0: the latest counts; left out are 1 births",
		"place_of_several_org_units 1: 1 place with several org units of the data set, each of which gets the whole sum: OuTwin1 and OuTwin2",
		"counted_at_several_levels 2: documents count for an org unit and for one above it: OuFacility in OuDistrict (2 workers), OuArea in OuFacility (1 worker)",
		"target_absent 4: no document that counts has the target absent  DeAbsent",
		"target_missing 2: targets that documents do not have, which is not zero, by how many of 4 workers: tests (3), visits (3)",
		"percent_without_denominator 2: not given, as there is no denominator: 2 percents: DeRate of OuTwin1, DeRate of OuTwin2",
		"workers_moved 1: other org units today than when documents of the period first counted, for 1 worker",
		"figures_moved 1: by the hierarchy chosen this org unit has 1 worker more with 2 births OuFacility",
		"figures_moved 1: by the hierarchy chosen this org unit has 1 worker fewer with 2 births OuTwin1",
		"figures_moved 1: by the hierarchy chosen this org unit has 1 worker fewer with 2 births OuTwin2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestListsEndWhereCountsGoOn with ten thousand owners that nobody knows.
func TestListsEndWhereCountsGoOn(t *testing.T) {
	t.Parallel()
	s := target.NewSum(small(), target.Rules{Items: oneItem}, "Ds", names)
	for n := range 10_000 {
		s.Add(key.Of(fmt.Sprint("unknown ", n)), []target.Document{doc("1", 1, total(births, 2))})
	}
	f := s.Findings()
	if f.Unknown.Owners.Total != 10_000 || len(f.Unknown.Owners.List) != issue.ListLimit || f.Unknown.Lost[0].Total != 20_000 {
		t.Errorf("%d unknown, %d listed, %d lost", f.Unknown.Owners.Total, len(f.Unknown.Owners.List), f.Unknown.Lost[0].Total)
	}
}

var (
	codeInSource = regexp.MustCompile(`(?m) code = "(\w+)"`)
	codeInDocs   = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| \\S.* \\| \\S.* \\|$")
)

// TestEveryFindingIsExplained compares the codes with those that the documentation has, and with those that the tests produce.
func TestEveryFindingIsExplained(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("issues.go")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile("../../docs/targets.md")
	if err != nil {
		t.Fatal(err)
	}
	var codes, explained, produced []string
	for _, found := range codeInSource.FindAllStringSubmatch(string(source), -1) {
		codes = append(codes, found[1])
	}
	_, report, _ := strings.Cut(string(docs), "\n## What the report says\n")
	for _, found := range codeInDocs.FindAllStringSubmatch(report, -1) {
		explained = append(explained, found[1])
	}
	azizi, tumi := []target.Document{doc("a", 1, total(births, 1))}, []target.Document{doc("t", 1, total(births, 1))}
	quarter := sumOf(target.Rules{}, work{"azizi": azizi, "tumi": tumi}, work{"azizi": azizi})
	for _, i := range slices.Concat(everything().Findings().Issues(), quarter.Findings().Issues()) {
		produced = append(produced, i.Code)
	}
	for what, all := range map[string][]string{"docs/targets.md": explained, "the test": produced} {
		slices.Sort(all)
		if diff := cmp.Diff(slices.Sorted(slices.Values(codes)), slices.Compact(all)); diff != "" {
			t.Errorf("%s differs from the codes (-codes +there):\n%s", what, diff)
		}
	}
}

// id is one of a contact of a large hierarchy, made faster than a hash.
func id(kind byte, n int) target.ID {
	one := target.ID{15: kind}
	binary.BigEndian.PutUint64(one[:], uint64(n)*0x9e3779b97f4a7c15)
	return one
}

// large is a country: places of 10,000 org units in three levels, and owners among them, each below an area of its own.
func large(owners int) *target.Hierarchy {
	h := target.NewHierarchy()
	for n := range 10_000 {
		h.AddPlace(target.Place{ID: id(1, n), Type: "facility", OrgUnits: []target.OrgUnit{{ID: fmt.Sprintf("Ou%09d", n)}}})
	}
	for n := range owners {
		facility := n % 10_000
		h.AddOwner(target.Owner{ID: id(2, n), Type: "chw", Parents: []target.ID{id(3, n), id(1, facility), id(1, facility/10), id(1, facility/100)}})
	}
	return h
}

// TestALargeHierarchyIsSmall holds the budget of 32 MiB for 10,000 places and 200,000 owners.
func TestALargeHierarchyIsSmall(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	h := large(200_000)
	used := int64(heap()) - int64(before)
	runtime.KeepAlive(h)
	t.Logf("%.1f MiB", float64(used)/(1<<20))
	if used > 32<<20 {
		t.Errorf("%d bytes", used)
	}
}

// BenchmarkSum adds 100,000 documents of 100 targets up, for 10,000 org units of which three are above each owner.
func BenchmarkSum(b *testing.B) {
	const owners = 100_000
	h := large(owners)
	var rules target.Rules
	var all []string
	var counts []target.Count
	for n := range 100 {
		name := fmt.Sprint("target-", n)
		all = append(all, name)
		rules.Items = append(rules.Items, target.Item{Target: name, DataElement: fmt.Sprint("De", n)})
		counts = append(counts, total(n, int64(n)))
	}
	ids := make([]target.ID, owners)
	for n := range ids {
		ids[n] = id(2, n)
	}
	documents := []target.Document{{Updated: 20000, Counts: counts}}
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		s := target.NewSum(h, rules, "Ds", all)
		for _, id := range ids {
			s.Add(id, documents)
		}
		added := time.Since(start)
		n := 0
		if err := s.Values(func(*cht.Value) error { n++; return nil }); err != nil || n != 1_000_000 {
			b.Fatal(n, err)
		}
		b.ReportMetric(added.Seconds(), "s/add")
	}
}

// TestAnOrgUnitThatLacksAMonthIsNamed has a facility of which nobody has synced in the second of three months.
func TestAnOrgUnitThatLacksAMonthIsNamed(t *testing.T) {
	both := work{"azizi": {doc("a", 1, total(births, 1))}, "tumi": {doc("t", 1, total(births, 1))}}
	one := work{"azizi": {doc("a", 1, total(births, 1))}}
	for _, test := range []struct {
		name   string
		months []work
		want   string
	}{
		{"in all", []work{both, both, both}, ""},
		{"in the second", []work{both, one, both}, "OuTwin1, OuTwin2"},
		{"in the last", []work{both, both, one}, "OuTwin1, OuTwin2"},
		{"in a month of its own", []work{one}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			for _, i := range sumOf(target.Rules{Lowest: true}, test.months...).Findings().Issues() {
				if i.Code == "org_units_without_a_month" {
					_, got, _ = strings.Cut(i.Text, "org units: ")
				}
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
