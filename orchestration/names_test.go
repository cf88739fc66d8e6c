package orchestration

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// speaksCodes makes the CHT of a country call the data set and data elements by their codes, and org units by an attribute. Two
// org units have the same value of it, and one has none; of a data element the code differs in its case.
func speaksCodes(t *testing.T, country *sandbox.Country) (element string, units []string) {
	t.Helper()
	names := []string{country.DataSets[0], "DS_" + country.DataSets[0]}
	for i := range country.DHIS2.DataElements {
		e := &country.DHIS2.DataElements[i]
		names = append(names, e.ID, e.Code)
	}
	element = country.DHIS2.DataElements[3].ID
	country.DHIS2.DataElements[3].Code = "de_" + element
	places := country.DHIS2.OrganisationUnits
	for i := range places {
		value := "KE " + places[i].ID
		names = append(names, places[i].ID, value)
		places[i].AttributeValues = []sandbox.DHIS2AttributeValue{{Attribute: sandbox.DHIS2Ref{ID: "AtMflCode01"}, Value: value}}
	}
	for _, place := range places[len(places)-3:] {
		units = append(units, place.ID)
	}
	places[len(places)-1].AttributeValues = places[len(places)-2].AttributeValues
	places[len(places)-3].AttributeValues = nil
	text, err := json.Marshal(country.CHT)
	if err != nil {
		t.Fatal(err)
	}
	country.CHT = sandbox.CHTDocuments{}
	if err := json.Unmarshal([]byte(strings.NewReplacer(names...).Replace(string(text))), &country.CHT); err != nil {
		t.Fatal(err)
	}
	return element, units
}

func TestWhatTheCHTCallsByCodesArrivesUnderIDs(t *testing.T) {
	for _, version := range []string{"2.42.5", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			country := sandbox.NewCountry(sandbox.CountryConfig{Seed: 5, Facilities: 40, DataSets: 1, Elements: 30, Period: "202609"})
			element, units := speaksCodes(t, country)
			b := newBenchOf(t, version, country)
			id := b.set
			b.set = "DS_" + id
			set := &b.DataSets[0]
			set.ID = b.set
			set.IDSchemes.DataSet, set.IDSchemes.DataElement, set.IDSchemes.OrgUnit = "code", "code", "attribute:AtMflCode01"
			set.Completeness.WhenAccepted = true
			set.Compare.LiveFrom = []LiveFrom{{OrgUnit: country.DHIS2.OrganisationUnits[0].ID, Period: set.FirstPeriod}}

			report, _ := b.submit(t, context.Background())
			issues := map[string]int{}
			for _, i := range report.Issues {
				issues[i.Code] += i.Count
			}
			const left = 40 + 3*29 // a data element of all org units, and the others of three
			if report.State != ledger.PartlyAccepted || report.Counts.Quarantined != left || report.Counts.Refused != 0 || issues["unknown_code"] != left-30 || issues["ambiguous_code"] != 30 {
				t.Fatalf("got %s %+v, issues %v", report.State, report.Counts, issues)
			}
			held := map[string]string{}
			for _, v := range b.dhis2.Values() {
				held[v.OrgUnit+v.DataElement] = v.Value
			}
			for _, v := range country.Stored(id) {
				want := v.Value
				if v.DataElement == element || slices.Contains(units, v.OrgUnit) {
					want = ""
				}
				if got := held[v.OrgUnit+v.DataElement]; got != want {
					t.Fatalf("DHIS2 holds %q for %v, want %q", got, v, want)
				}
			}
			for _, sent := range b.dhis2.Imports() {
				if !bytes.Contains(sent.Body, []byte(`"dataSet":"`+id+`"`)) || bytes.Contains(sent.Body, []byte("DS_")) || bytes.Contains(sent.Body, []byte("KE ")) {
					t.Errorf("sent %.200s", sent.Body)
				}
			}
			if completed := b.dhis2.Completions(); len(completed) > 0 {
				t.Errorf("completed with something left behind: %+v", completed)
			}

			set.Rules.ExcludeDataElements = []string{"DE_" + element}
			b.submit(t, context.Background())
			completed := b.dhis2.Completions()
			if len(completed) != 40-len(units) || completed[0].DataSet != id {
				t.Errorf("%d are complete, %+v", len(completed), completed)
			}

			posts := len(b.dhis2.Imports())
			again, _ := b.submit(t, context.Background())
			if len(b.dhis2.Imports()) != posts || again.Counts.Unchanged != report.Counts.Accepted {
				t.Errorf("what was sent is not known again: %+v", again.Counts)
			}
			var file bytes.Buffer
			plan, err := b.Prepare(t.Context(), Request{DataSet: b.set, Period: "202609", CHT: "county"})
			if err != nil {
				t.Fatal(err)
			}
			defer plan.Close()
			if err := plan.WriteJSON(&file); err != nil || !strings.HasPrefix(file.String(), `{"dataSet":"`+id+`"`) {
				t.Errorf("the file for an upload begins %.60s, %v", file.String(), err)
			}
		})
	}
}

func TestAnExaminationLooksBehindTheNamesOfTheCHT(t *testing.T) {
	var units []string
	var element string
	c := newClinic(t, ailment{
		country: func(country *sandbox.Country) { element, units = speaksCodes(t, country) },
		set: func(set *DataSet) {
			set.ID = "DS_" + set.ID
			set.IDSchemes.DataSet, set.IDSchemes.DataElement, set.IDSchemes.OrgUnit = "code", "code", "attribute:AtMflCode01"
		},
	})
	made := c.Examine(t.Context())
	if !found(made, Amber, "elements", "(DE_"+element+")") {
		t.Errorf("the data element that nothing goes by is not told:\n%s", shown(made))
	}
	for _, unit := range units {
		if !found(made, Amber, "org units", "KE "+unit) {
			t.Errorf("org unit KE %s is not told:\n%s", unit, shown(made))
		}
	}
}

func TestADataSetThatNobodyGoesByIsRefused(t *testing.T) {
	b := newBench(t, "2.43.1")
	b.set = "MCH"
	b.DataSets[0].ID, b.DataSets[0].IDSchemes.DataSet = b.set, "code"
	report, _ := b.submit(t, context.Background())
	if report.State != ledger.Refused && report.State != ledger.Failed || !strings.Contains(report.Error, "data set with the code MCH") || report.Remedy == "" {
		t.Errorf("got %s: %s (%s)", report.State, report.Error, report.Remedy)
	}
}

func TestWhatIsNarrowedDownGoesUnderTheIDOfTheDataSet(t *testing.T) {
	country := sandbox.NewCountry(sandbox.CountryConfig{Seed: 5, Facilities: 40, DataSets: 1, Elements: 30, Period: "202609"})
	_, units := speaksCodes(t, country)
	b := newBenchOf(t, "2.43.1", country)
	b.set = "DS_" + b.set
	set := &b.DataSets[0]
	set.ID, set.Unchecked = b.set, true
	set.IDSchemes.DataSet, set.IDSchemes.DataElement, set.IDSchemes.OrgUnit = "code", "code", "attribute:AtMflCode01"
	closed := ""
	for _, v := range country.Stored(country.DataSets[0]) {
		if !slices.Contains(units, v.OrgUnit) {
			closed = v.OrgUnit
		}
	}
	b.dhis2.CloseOrgUnit(closed, "2026-08-31")
	report, _ := b.submit(t, context.Background())
	if report.OrgUnits.Refused != 1+len(units) || report.Counts.Refused != 29 || report.Counts.Accepted == 0 {
		t.Errorf("%s: %+v %+v", report.State, report.OrgUnits, report.Counts)
	}
}
