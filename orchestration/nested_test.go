package orchestration

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// newNested is a country in which the district d, above the facilities a and b, is assigned to the data set too. Assigned or not,
// the country n lies above all.
func newNested(t *testing.T, version string) *lateData {
	t.Helper()
	l := newFewData(t, version)
	for _, unit := range l.country.DHIS2.OrganisationUnits {
		if unit.ID == l.ids["a"] {
			l.ids["d"] = unit.Parent.ID
		}
	}
	for _, unit := range l.country.DHIS2.OrganisationUnits {
		if unit.ID == l.ids["b"] && unit.Parent.ID != l.ids["d"] {
			t.Fatal("the facilities a and b are of two districts")
		}
		if unit.ID == l.ids["d"] {
			l.ids["n"] = unit.Parent.ID
		}
	}
	l.dhis2.AssignDataSet(l.set, l.ids["d"])
	return l
}

// textOf is what the first issue of a code says, with its remedy.
func textOf(r Report, code string) string {
	for _, i := range r.Issues {
		if i.Code == code {
			return i.Text + " / " + i.Remedy
		}
	}
	return ""
}

func TestOfOrgUnitsOneInsideAnotherTheOuterOneStaysBehind(t *testing.T) {
	for _, test := range []struct {
		name, says      string
		policy          NestedPolicy
		prepare         func(l *lateData)
		holds, behind   string
		codes           string
		state           ledger.State
		dropped, chosen int
	}{
		{name: "refused", says: "d.x=10 a.x=3 b.x=7", holds: "a.x=3 b.x=7", behind: "d.x=10 nested_org_units", codes: "nested_org_units:1", state: ledger.PartlyAccepted},
		{name: "of three levels the two upper ones", says: "n.x=10 n.z=0 d.x=10 a.x=3", prepare: func(l *lateData) { l.dhis2.AssignDataSet(l.set, l.ids["n"]) },
			holds: "a.x=3", behind: "n.x=10 nested_org_units, n.z=0 nested_org_units, d.x=10 nested_org_units", codes: "nested_org_units:3", state: ledger.PartlyAccepted},
		{name: "the lowest ones only", policy: LowestNested, says: "d.x=10 d.z=null a.x=3 b.x=7", holds: "a.x=3 b.x=7", codes: "nested_org_units:2", state: ledger.Accepted, dropped: 2},
		{name: "allowed", policy: AllowNested, says: "d.x=10 a.x=3 b.x=7", holds: "a.x=3 b.x=7 d.x=10", codes: "nested_org_units:1", state: ledger.Accepted},
		{name: "inside there are zeros only", says: "d.x=10 a.x=0 b.x=0", holds: "d.x=10", state: ledger.Accepted, dropped: 2},
		{name: "the outer one has zeros only", says: "d.x=0 a.x=3", holds: "a.x=3", state: ledger.Accepted, dropped: 1},
		{name: "inside nothing can be sent", says: "d.x=10 a.x=3", prepare: func(l *lateData) { l.dhis2.CloseOrgUnit(l.ids["a"], "2020-01-31") },
			holds: "d.x=10", behind: "a.x=3 org_unit_closed", codes: "org_unit_closed:1", state: ledger.PartlyAccepted},
		{name: "inside there are values that cannot be read only", says: "d.x=10 a.x=null", holds: "d.x=10", behind: "a.x= null_value", codes: "null_value:1", state: ledger.PartlyAccepted},
		{name: "the outer one stays behind anyway", says: "d.x=10 a.x=3", prepare: func(l *lateData) { l.dhis2.CloseOrgUnit(l.ids["d"], "2020-01-31") },
			holds: "a.x=3", behind: "d.x=10 org_unit_closed", codes: "org_unit_closed:1", state: ledger.PartlyAccepted},
		{name: "inside a rule leaves out", says: "d.x=10 a.x=3", prepare: func(l *lateData) { l.DataSets[0].Rules.ExcludeOrgUnits = []string{l.ids["a"]} }, holds: "d.x=10", state: ledger.Accepted, dropped: 1},
		{name: "without the checks too", says: "d.x=10 a.x=3", prepare: func(l *lateData) { l.DataSets[0].Unchecked = true }, holds: "a.x=3", behind: "d.x=10 nested_org_units", codes: "nested_org_units:1", state: ledger.PartlyAccepted},
		{name: "where nothing is compared with DHIS2", says: "d.x=10 a.x=3", prepare: func(l *lateData) { l.DataSets[0].Compare.LedgerOnly = true }, holds: "a.x=3", behind: "d.x=10 nested_org_units", codes: "nested_org_units:1", state: ledger.PartlyAccepted},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newNested(t, "2.43.1")
			l.DataSets[0].Nested = test.policy
			if test.prepare != nil {
				test.prepare(l)
			}
			l.says(test.says)
			for _, turn := range []string{"first", "again"} {
				r, _ := l.submit(t, t.Context())
				if got := l.behind(t, r); !sameList(got, test.behind) || l.holds() != test.holds || codes(r) != test.codes || r.Counts.Dropped != test.dropped {
					t.Errorf("%s: %s stay behind, %s, %+v, DHIS2 holds %s", turn, got, codes(r), r.Counts, l.holds())
				}
				if turn == "first" && r.State != test.state {
					t.Errorf("%s %q", r.State, r.Error)
				}
			}
			if n := len(l.dhis2.Imports()); n != 1 {
				t.Errorf("%d imports", n)
			}
		})
	}
}

func TestWhatWasAcceptedOfAnOuterOrgUnitIsToldUntilItIsGone(t *testing.T) {
	for _, policy := range []NestedPolicy{"", LowestNested} {
		t.Run(string(policy), func(t *testing.T) {
			l := newNested(t, "2.43.1")
			l.DataSets[0].Nested = AllowNested
			l.says("d.x=10 a.x=3")
			l.submit(t, t.Context())
			l.DataSets[0].Nested = policy
			l.says("d.x=11 a.x=4")
			r, _ := l.submit(t, t.Context())
			if said := textOf(r, "nested_org_units"); !strings.Contains(said, "it holds 1 values of ours there from before, with a sum of 10, which go on counting twice") || !strings.Contains(said, "exclude_org_units") {
				t.Errorf("it says %q", said)
			}
			if r.State == ledger.Held || l.holds() != "a.x=4 d.x=10" || codes(r) != "nested_org_units:1" || r.Changes == nil || r.Changes.Was != 13 || r.Changes.Becomes != 14 {
				t.Errorf("%s %q %s, %+v, DHIS2 holds %s", r.State, r.Error, codes(r), r.Changes, l.holds())
			}
			// What the remedy promises: without the org unit, a person is asked.
			l.DataSets[0].Rules.ExcludeOrgUnits = []string{l.ids["d"]}
			r, _ = l.submit(t, t.Context())
			if r.State != ledger.Held || codes(r) != "org_unit_vanished:1" {
				t.Fatalf("%s %q %s", r.State, r.Error, codes(r))
			}
			if err := l.Approve(t.Context(), r.ID, "officer"); err != nil {
				t.Fatal(err)
			}
			if r, err := l.Follow(t.Context(), r.ID); err != nil || r.State != ledger.Accepted || l.holds() != "a.x=4" {
				t.Errorf("approved: %v %s, DHIS2 holds %s", err, r.State, l.holds())
			}
		})
	}
}

// TestAnOuterOrgUnitOfAnotherSourceIsTold notes it on both sides, whichever comes first.
func TestAnOuterOrgUnitOfAnotherSourceIsTold(t *testing.T) {
	for name, test := range map[string]struct{ first, second string }{
		"the inner one comes second": {"d.x=10", "a.x=3"},
		"the outer one comes second": {"a.x=3", "d.x=10"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newNested(t, "2.43.1")
			l.Sources["city"] = Source{Name: "city", Client: l.Sources["county"].Client}
			l.DataSets[0].CHT = append(l.DataSets[0].CHT, "city")
			sends := func(source, values string) Report {
				l.says(values)
				r, err := l.Submit(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: source})
				if err != nil || r.State != ledger.Accepted {
					t.Fatalf("%s %q %s, %v", r.State, r.Error, codes(r), err)
				}
				return r
			}
			if r := sends("county", test.first); codes(r) != "" {
				t.Errorf("the first source: %s", codes(r))
			}
			r := sends("city", test.second)
			if said := textOf(r, "nested_org_units_of_two_sources"); !strings.Contains(said, l.ids["a"]) || !strings.Contains(said, l.ids["d"]) || !strings.Contains(said, "CHT county") {
				t.Errorf("%s: %q", codes(r), said)
			}
		})
	}
}

func TestAChosenOuterOrgUnitIsNoExceptionForNesting(t *testing.T) {
	l := newNested(t, "2.43.1")
	l.says("d.x=10 a.x=3")
	r, err := l.Submit(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "county", OrgUnits: []string{l.ids["d"]}})
	if err != nil || l.behind(t, r) != "d.x=10 nested_org_units" || l.holds() != "" {
		t.Errorf("%v %s %+v, DHIS2 holds %s", err, r.State, r.Counts, l.holds())
	}
}

func TestAPreviewTellsOfNesting(t *testing.T) {
	l := newNested(t, "2.43.1")
	l.says("d.x=10 a.x=3")
	for _, compares := range []bool{false, true} {
		p, err := l.Prepare(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "county", Compare: compares})
		if err != nil {
			t.Fatal(err)
		}
		if r := p.Report(); codes(r) != "nested_org_units:1" || r.Counts.Unsent != 1 || r.Counts.Quarantined != 1 {
			t.Errorf("%s %+v", codes(r), r.Counts)
		}
		p.Close()
	}
}

func TestAnOrgUnitThatWasMovedAwayIsNotTakenForANestedOne(t *testing.T) {
	l := newNested(t, "2.43.1")
	l.says("d.x=10")
	if r, _ := l.submit(t, t.Context()); r.State != ledger.Accepted || codes(r) != "" {
		t.Fatalf("%s %s", r.State, codes(r))
	}
	// What is known of DHIS2 is not old when the facility is moved out of the district.
	for i := range l.country.DHIS2.OrganisationUnits {
		if unit := &l.country.DHIS2.OrganisationUnits[i]; unit.ID == l.ids["a"] {
			unit.Parent = &sandbox.DHIS2Ref{ID: l.ids["n"]}
		}
	}
	l.again("2.43.1", func(*sandbox.DHIS2DataSet) {})
	l.dhis2.AssignDataSet(l.set, l.ids["d"])
	l.says("d.x=11 a.x=3")
	if r, _ := l.submit(t, t.Context()); r.State != ledger.Accepted || codes(r) != "" || l.holds() != "a.x=3 d.x=11" {
		t.Errorf("%s %s, DHIS2 holds %s", r.State, codes(r), l.holds())
	}
}

func TestAnOuterOrgUnitIsNotRegisteredAsComplete(t *testing.T) {
	for _, policy := range []NestedPolicy{"", LowestNested} {
		t.Run(string(policy), func(t *testing.T) {
			l := newNested(t, "2.43.1")
			l.DataSets[0].Completeness = Completeness{WhenAccepted: true}
			l.DataSets[0].Nested = policy
			l.says("d.x=10 a.x=3")
			l.submit(t, t.Context())
			if got := l.complete(); got != "a" {
				t.Errorf("complete: %q", got)
			}
		})
	}
}

// TestARegistrationOfAnOuterOrgUnitIsUndone is a store of before this was looked at: the outer org unit went and was registered.
func TestARegistrationOfAnOuterOrgUnitIsUndone(t *testing.T) {
	l := newNested(t, "2.43.1")
	l.DataSets[0].Completeness = Completeness{WhenAccepted: true, Undo: true}
	l.DataSets[0].Nested = AllowNested
	l.says("d.x=10 a.x=3")
	l.submit(t, t.Context())
	if got := l.complete(); got != "a d" {
		t.Fatalf("complete: %q", got)
	}
	l.DataSets[0].Nested = ""
	if r, _ := l.submit(t, t.Context()); r.Completeness == nil || r.Completeness.Undone != 1 || l.complete() != "-d a" {
		t.Errorf("%s %+v, complete: %q", r.State, r.Completeness, l.complete())
	}
}

// The nests of a random hierarchy are those that a comparison of all pairs finds.
func TestNestsAreThoseOfAllPairs(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		m := &metadata{}
		paths := []string{""}
		figures := map[string]bool{}
		var sends []string
		for i := range 120 {
			id := fmt.Sprintf("OuNest%05d", i)
			path := paths[random.IntN(len(paths))] + "/" + id
			paths = append(paths, path)
			if random.IntN(4) > 0 {
				m.orgUnits.Add(dhis2.OrgUnit{ID: id, Path: path})
				if figures[id] = random.IntN(3) > 0; figures[id] {
					sends = append(sends, id)
				}
			}
		}
		want := map[string]int{}
		for _, outer := range sends {
			for _, inner := range sends {
				if unit, _ := m.orgUnits.Get(inner); inner != outer && strings.Contains(unit.Path, "/"+outer+"/") {
					want[outer]++
				}
			}
		}
		w := &settlement{checking: &checking{meta: m}}
		nests, err := w.nestsAmong(t.Context(), &gathering{figures: figures}, sends)
		if err != nil {
			t.Fatal(err)
		}
		for id, n := range nests {
			if n.count != want[id] || len(n.inside) != min(n.count, firstNames) {
				t.Errorf("seed %d: %s has %d inside (%s), want %d", seed, id, n.count, n.names(), want[id])
			}
		}
		if len(nests) != len(want) {
			t.Errorf("seed %d: got %d nests, want %d", seed, len(nests), len(want))
		}
	}
}

// Of target documents it is the same, but where each of them counts at one place only.
func TestOfTargetDocumentsNothingIsCountedTwiceEither(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(d *DataSet)
		want   string
		outer  bool
		cht    func(*sandbox.CHTDocuments)
	}{
		{"refused", func(d *DataSet) { d.Nested = "" }, "nested_org_units", false, nil},
		{"lowest of the org units", func(d *DataSet) { d.Nested = LowestNested }, "nested_org_units", false, nil},
		{"counted at the lowest place", func(d *DataSet) { d.Nested, d.Targets.Lowest = "", true }, "", true, nil},
		{"counted at the lowest place, which carries both", func(d *DataSet) { d.Nested, d.Targets.Lowest = "", true }, "nested_org_units", false, func(d *sandbox.CHTDocuments) {
			for i := range d.Places {
				if d.Places[i].ID == "hf-amani" {
					d.Places[i].DHIS = append(d.Places[i].DHIS, sandbox.CHTOrgUnit{OrgUnit: "OuAmaniChu2"})
				}
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newRecordedBench(t, slices.DeleteFunc([]func(*sandbox.CHTDocuments){test.cht}, func(f func(*sandbox.CHTDocuments)) bool { return f == nil })...)
			for i := range b.DataSets {
				test.change(&b.DataSets[i])
			}
			r := b.july(t, "DsMchMonth1")
			inner, outer := false, false
			for _, v := range b.dhis2.Values() {
				inner = inner || v.OrgUnit == "OuAmaniChu2"
				outer = outer || v.OrgUnit == "OuAmaniHC01"
			}
			if told := strings.Contains(foundCodes(r), "nested_org_units"); told != (test.want != "") || !inner || outer != test.outer {
				t.Errorf("%s %+v %s; DHIS2 has values of the inner org unit: %t, of the outer one: %t", r.State, r.Counts, foundCodes(r), inner, outer)
			}
		})
	}
}
