package mapping

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
)

const setID = "DsTest00001"

// percents are settings with a percent target for each sort: of the data set, of another one, of all, and in a list.
func percents() *cht.Settings {
	return &cht.Settings{Targets: []cht.Target{
		{ID: "births", Type: "count", DataSet: setID, DataElement: deA},
		{ID: "deliveries", Type: "percent", DataSet: setID, DataElement: deB},
		{ID: "deliveries-again", Type: "percent", DataElement: deB},
		{ID: "elsewhere", Type: "percent", DataSet: "DsOther0001", DataElement: deA},
		{ID: "listed", Type: "percent", DataElement: deC, Listed: true},
	}}
}

func TestThatADenominatorIsSentIsToldOncePerElement(t *testing.T) {
	found := Denominators(percents(), Rules{}, setID)
	if len(found) != 1 || found[0].Code != "percent_sends_denominator" || found[0].Severity != issue.Note || found[0].DataElement != deB || !strings.Contains(found[0].Text, "target deliveries is") {
		t.Fatalf("got %+v", found)
	}
	for _, key := range []string{"source: targets", "percent_targets: refuse"} {
		if !strings.Contains(found[0].Remedy, key) {
			t.Errorf("the remedy %q does not name %s", found[0].Remedy, key)
		}
	}
	for name, rules := range map[string]Rules{
		"excluded": {ExcludeDataElements: []string{deB}}, "not included": {IncludeDataElements: []string{deA}}, "refused": {RefusePercent: true},
	} {
		if found := Denominators(percents(), rules, setID); len(found) > 0 {
			t.Errorf("%s: got %+v", name, found)
		}
	}
}

func TestDenominatorsStayBehindWhereTheRulesRefuseThem(t *testing.T) {
	in := []cht.Value{value(ouA, deA, "3"), value(ouA, deB, "4"), value(ouA, deC, "5")}
	for _, test := range []struct {
		name         string
		rules        Rules
		want, issues []string
	}{
		{"sent", Rules{}, []string{ouA + " " + deA + "   3", ouA + " " + deB + "   4", ouA + " " + deC + "   5"}, nil},
		{"refused", Rules{RefusePercent: true}, []string{ouA + " " + deA + "   3", ouA + " " + deC + "   5"}, []string{"percent_sends_denominator " + ouA + " " + deB}},
	} {
		t.Run(test.name, func(t *testing.T) {
			sent, issues, _, _ := apply(New(test.rules, percents(), dhis2.DataSet{ID: setID}), in)
			if diff := cmp.Diff(test.want, lines(sent)); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.issues, issues); diff != "" {
				t.Errorf("issues (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatTheExportCannotDoNamesTheOtherSource(t *testing.T) {
	for _, fault := range []Fault{Collapsed, Denominator} {
		if _, remedy := fault.Words(); !strings.Contains(remedy, "source: targets") {
			t.Errorf("%s: %q", fault, remedy)
		}
	}
	listed := NotExported(percents(), setID)
	if len(listed) != 1 || !strings.Contains(listed[0].Remedy, "source: targets") {
		t.Errorf("got %+v", listed)
	}
}
