package orchestration

import (
	"errors"
	"slices"
	"strings"
	"testing"

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

// TestASumWithATargetThatNobodyKnowsStaysBehind has a slip of the pen in targets_file: the other target of the cell is not the whole.
func TestASumWithATargetThatNobodyKnowsStaysBehind(t *testing.T) {
	retire := func(d *sandbox.CHTDocuments) { // it is in the documents still
		items := &d.Settings.Tasks.Targets.Items
		*items = slices.DeleteFunc(*items, func(i sandbox.CHTTarget) bool { return i.ID == "births-this-month" })
	}
	for _, test := range []struct {
		name, target string
		sources      []string
		change       func(*sandbox.CHTDocuments)
		held         bool
	}{
		{name: "known", target: "births-this-month"},
		{name: "a slip of the pen", target: "births-thismonth", held: true},
		{name: "taken out of the settings since", target: "births-this-month", change: retire},
		{name: "of another source", target: "births-thismonth", sources: []string{"county", "other"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var changes []func(*sandbox.CHTDocuments)
			if test.change != nil {
				changes = append(changes, test.change)
			}
			b := newRecordedBench(t, changes...)
			b.DataSets[0].Targets.Items = []target.Item{
				{Target: test.target, DataElement: "DeBirths001"}, {Target: "facility-deliveries", DataElement: "DeBirths001"},
				{Target: "facility-deliveries", DataElement: "DeFacDeliv1"},
			}
			if test.sources != nil {
				b.DataSets[0].CHT = test.sources
			}
			r := b.july(t, "DsMchMonth1")
			if got := strings.Contains(foundCodes(r), "target_unknown"); got != test.held || (r.Reason == LeftBehind) != test.held {
				t.Errorf("held: got %t, want %t: %s, %s", got, test.held, foundCodes(r), r.Reason)
			}
			if got := b.holds("DeBirths001"); (got == "") != test.held {
				t.Errorf("DHIS2 holds %q", got)
			}
			if got := b.holds("DeFacDeliv1"); got == "" {
				t.Error("what has nothing to do with it does not arrive")
			}
		})
	}
}

// TestATypeThatTheCHTDoesNotHaveIsTold has a slip of the pen in the two settings that name contact types.
func TestATypeThatTheCHTDoesNotHaveIsTold(t *testing.T) {
	b := newRecordedBench(t)
	b.DataSets[0].Targets.ExcludeTypes = []string{"supervisr"}
	r := b.july(t, "DsMchMonth1")
	if got := foundCodes(r); !strings.Contains(got, "contact_type_unknown:1") || r.Reason != "" {
		t.Errorf("exclude_contact_types: got %s, %s: %s", got, r.Reason, r.Error)
	}
	b.DataSets[1].Targets.Level = "health_centr"
	r = b.july(t, "DsMalariaM1")
	if r.Reason != Configuration || !strings.Contains(r.Error, "no contact type health_centr") || !strings.Contains(r.Remedy, "health_facility") {
		t.Errorf("attribution: got %s: %s: %s", r.Reason, r.Error, r.Remedy)
	}
}

// TestAPeriodOfAnotherTypeIsNoQuestion asks for a quarter of a monthly data set.
func TestAPeriodOfAnotherTypeIsNoQuestion(t *testing.T) {
	b := newRecordedBench(t)
	request := Request{DataSet: "DsMchMonth1", Period: "2026Q2", CHT: "county"}
	_, coverage := b.ReadCoverage(t.Context(), request)
	_, workers := b.Workers(t.Context(), request)
	_, contrast := b.Contrast(t.Context(), request, nil)
	for name, err := range map[string]error{"coverage": coverage, "workers": workers, "contrast": contrast} {
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(usage.What, "2026Q2 is Quarterly") || !strings.Contains(usage.Remedy, "a month") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
