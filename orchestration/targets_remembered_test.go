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
