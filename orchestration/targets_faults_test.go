package orchestration

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/internal/target"
)

// TestWhoIsReadBeforeTheListOfWorkersBreaksOffCounts lets the month go without its coverage, and not without its workers.
func TestWhoIsReadBeforeTheListOfWorkersBreaksOffCounts(t *testing.T) {
	b := newRecordedBench(t)
	b.DataSets[0].Coverage = CoveragePolicy{On: true, ExpectedTypes: []string{"chw", "nurse"}}
	b.cht.Fail(sandbox.Fault{Kind: sandbox.Status, Status: 404, Path: "/medic/_design/medic-client/_view/contacts_by_type", Skip: 1})
	r := b.july(t, "DsMchMonth1")
	if got := foundCodes(r); !strings.Contains(got, "coverage_unknown:1") || r.Reason != "" {
		t.Errorf("got %s, %s: %s", got, r.Reason, r.Error)
	}
	if r.Coverage != nil {
		t.Errorf("got %+v, although it is not known who is expected", r.Coverage)
	}
	b.has(t, recordedJuly)
}

// TestWhatWasReadByAClockThatRanAheadIsReadAgain sets a clock right that was a month ahead.
func TestWhatWasReadByAClockThatRanAheadIsReadAgain(t *testing.T) {
	b := newRecordedBench(t)
	b.clock = b.clock.AddDate(0, 1, 0)
	b.july(t, "DsMchMonth1")
	b.meter.since()
	b.clock = b.clock.AddDate(0, -1, 0)
	b.july(t, "DsMchMonth1")
	if asked, _ := b.meter.since(); strings.Join(asked[:3], ", ") != "places, range with documents, keys" {
		t.Errorf("asked %q", asked)
	}
	b.july(t, "DsMchMonth1")
	b.asks(t, "places", "range")
}

// TestADenominatorIsToldOfWhateverItsSource has a percent target for which nobody has said what it is to give.
func TestADenominatorIsToldOfWhateverItsSource(t *testing.T) {
	for _, test := range []struct {
		name   string
		items  []target.Item
		refuse bool
		told   bool
		holds  string
	}{
		{name: "sent", told: true, holds: "OuAmaniHC01=9"},
		{name: "refused", refuse: true, told: true},
		{name: "a total by the file", refuse: true, items: []target.Item{{Target: "facility-deliveries", DataElement: "DeFacDeliv1"}}, holds: "OuAmaniHC01=9"},
		{name: "a percentage", refuse: true, items: []target.Item{{Target: "facility-deliveries", Measure: target.Percent, DataElement: "DeFacDeliv1"}}, holds: "OuAmaniHC01=67"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newRecordedBench(t)
			b.DataSets[0].Targets.Items, b.DataSets[0].Rules.RefusePercent = test.items, test.refuse
			r := b.july(t, "DsMchMonth1")
			if got := foundCodes(r); strings.Contains(got, "percent_sends_denominator") != test.told {
				t.Errorf("got %s", got)
			}
			if got := b.holds("DeFacDeliv1"); test.holds == "" && got != "" || !strings.Contains(got, test.holds) {
				t.Errorf("got %q, want %s", got, test.holds)
			}
		})
	}
}

// TestAWorkerWhoCountedNowhereIsNotKeptThere puts one who had no org unit where it belongs, after the month was read.
func TestAWorkerWhoCountedNowhereIsNotKeptThere(t *testing.T) {
	for _, asFirst := range []bool{false, true} {
		b := newRecordedBench(t)
		b.DataSets[0].AsFirst = asFirst
		b.july(t, "DsMchMonth1")
		b.has(t, recordedJuly)
		moves := func(top, facility, area string) {
			b.clock = b.clock.Add(2 * time.Hour)
			b.cht.Change(func(d *sandbox.CHTDocuments) {
				for i := range d.Persons {
					if d.Persons[i].ID == "chw-chloe" {
						d.Persons[i].Parent = &sandbox.CHTParent{ID: area, Parent: &sandbox.CHTParent{ID: facility, Parent: &sandbox.CHTParent{ID: top}}}
					}
				}
			})
		}
		moves("district-west", "hf-elimu", "area-e1")
		if r := b.july(t, "DsMchMonth1"); strings.Contains(foundCodes(r), "workers_without_org_unit") || r.Reason != "" {
			t.Errorf("first %t: got %s, %s", asFirst, foundCodes(r), r.Reason)
		}
		b.has(t, "OuAmaniChu2=2 OuAmaniHC01=9 OuBarakaMch=4 OuElimuHC01=18 OuFarasi001=5 OuFarasi002=5")
		moves("district-east", "hf-amani", "area-a1") // from here on it has a place to move from
		b.july(t, "DsMchMonth1")
		want := map[bool]string{true: "OuElimuHC01=18", false: "OuElimuHC01=9"}[asFirst]
		if got := b.holds(birthsOf); !strings.Contains(got, want) {
			t.Errorf("first %t: got %s, want %s", asFirst, got, want)
		}
	}
}

// TestContactTypesThatNobodyHasAreNamed leaves a type out that is written wrong.
func TestContactTypesThatNobodyHasAreNamed(t *testing.T) {
	b := newRecordedBench(t)
	b.DataSets[0].Targets.ExcludeTypes = []string{"supervisr", "health_center", "chw_area"}
	r := b.july(t, "DsMchMonth1")
	if got := foundCodes(r); !strings.Contains(got, "contact_types_unknown:1") {
		t.Errorf("got %s", got)
	}
}

// TestAPercentageWithoutADenominatorIsNotZero has one whose denominator is corrected to nothing.
func TestAPercentageWithoutADenominatorIsNotZero(t *testing.T) {
	for policy, want := range map[VanishedPolicy]string{"": "75", ZeroVanished: "", DeleteVanished: ""} {
		b := newRecordedBench(t)
		b.DataSets[0].Targets.Items = []target.Item{
			{Target: "facility-deliveries", Measure: target.Percent, DataElement: "DeDeath0001"},
			{Target: "births-this-month", DataElement: birthsOf},
		}
		b.DataSets[0].Rules.RenameDataElements = map[string]string{"DeDeath0001": "DeDeaths001"} // of which DHIS2 keeps zeros
		b.DataSets[0].Compare.Vanished = policy
		b.july(t, "DsMchMonth1")
		b.cht.Change(func(d *sandbox.CHTDocuments) {
			of := find(d, "bahati")
			of.Targets = slices.Clone(of.Targets)
			for i := range of.Targets {
				if of.Targets[i].ID == "facility-deliveries" {
					of.Targets[i].Value = &sandbox.CHTTargetValue{Pass: 0, Total: 0}
				}
			}
		})
		r := b.july(t, "DsMchMonth1")
		got := ""
		for _, v := range b.dhis2.Values() {
			if v.OrgUnit == "OuBarakaMch" && v.DataElement == "DeDeaths001" {
				got = v.Value
			}
		}
		if got != want || !strings.Contains(foundCodes(r), "percent_without_denominator:1") {
			t.Errorf("%q: DHIS2 holds %q, want %q (%s)", policy, got, want, foundCodes(r))
		}
	}
}

// TestWhatIsRememberedOfAnotherServerDoesNotCount leads a CHT's name to another server, a copy in which things went on otherwise.
func TestWhatIsRememberedOfAnotherServerDoesNotCount(t *testing.T) {
	b := newRecordedBench(t)
	source := b.Sources["county"]
	source.HierarchyAge = 720 * time.Hour
	b.Sources["county"] = source
	b.july(t, "DsMchMonth1")
	b.has(t, recordedJuly)
	other := newRecordedBench(t, func(d *sandbox.CHTDocuments) {
		births(d, "asha", 10)
		d.Targets = slices.DeleteFunc(d.Targets, func(one sandbox.CHTTargetDocument) bool { return strings.HasSuffix(one.ID, ":faraja") })
	})
	other.cht.Change(func(d *sandbox.CHTDocuments) {
		for i := range d.Persons {
			if d.Persons[i].ID == "chw-bahati" {
				d.Persons[i].Parent = &sandbox.CHTParent{ID: "area-e1", Parent: &sandbox.CHTParent{ID: "hf-elimu", Parent: &sandbox.CHTParent{ID: "district-west"}}}
			}
		}
	})
	source.Client = cht.New(&url.URL{Scheme: "http", Host: "other.test"}, inMemory{other.meter, func(r *http.Request) { r.SetBasicAuth("integration", "Secret.123") }, 0})
	b.Sources["county"] = source
	p, err := b.Prepare(t.Context(), Request{DataSet: "DsMchMonth1", Period: "202607", CHT: "county"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var got []string
	err = p.Values(func(v mapping.Value) error {
		if v.DataElement == birthsOf {
			got = append(got, v.OrgUnit+"="+v.Value)
		}
		return nil
	})
	if want := "OuAmaniChu2=2 OuAmaniHC01=16 OuElimuHC01=13"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("got %v, %v, want %s", got, err, want)
	}
	if asked, _ := other.meter.since(); !slices.Contains(asked, "range with documents") {
		t.Errorf("the month was not read in full: %q", asked)
	}
}
