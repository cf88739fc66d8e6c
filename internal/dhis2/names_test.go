package dhis2

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

const mfl = "AtMflCode01"

// renamed gives some of the recorded metadata codes and attribute values.
func renamed(m *sandbox.DHIS2Metadata) {
	value := func(text string) []sandbox.DHIS2AttributeValue {
		return []sandbox.DHIS2AttributeValue{{Attribute: sandbox.DHIS2Ref{ID: "AtOther0001"}, Value: "other"}, {Attribute: sandbox.DHIS2Ref{ID: mfl}, Value: text}}
	}
	for i := range m.DataSets {
		m.DataSets[i].AttributeValues = value("set of " + m.DataSets[i].ID)
	}
	for i := range m.DataElements {
		m.DataElements[i].Code = "DE-" + m.DataElements[i].ID
		m.DataElements[i].AttributeValues = value("element " + m.DataElements[i].ID)
	}
	for i := range m.CategoryOptionCombos {
		m.CategoryOptionCombos[i].Code = "COC-" + m.CategoryOptionCombos[i].ID
		m.CategoryOptionCombos[i].AttributeValues = value("combo " + m.CategoryOptionCombos[i].ID)
	}
	for i := range m.OrganisationUnits {
		m.OrganisationUnits[i].AttributeValues = value("place " + m.OrganisationUnits[i].ID)
		switch m.OrganisationUnits[i].ID {
		case "OuAmaniHC01":
			m.OrganisationUnits[i].Code = "ke-1"
		case "OuElimuHC01":
			m.OrganisationUnits[i].Code = "KE-1"
		case "OuFarasi001", "OuFarasi002":
			m.OrganisationUnits[i].Code = "KE-2"
		default:
			m.OrganisationUnits[i].Code = ""
		}
	}
}

func TestNamesGivesTheIDsOfWhatIsInADataSet(t *testing.T) {
	for _, version := range versions {
		a := recorded(t, version, renamed)
		set, err := a.DataSet(t.Context(), "DsMalariaM1")
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			by   IDSchemes
			want Names
		}{
			{IDSchemes{}, Names{}},
			{IDSchemes{DataElement: "code", CategoryOptionCombo: "code", OrgUnit: "code"}, Names{
				DataElements:         map[string]string{"DE-DeDeaths001": "DeDeaths001", "DE-DeRdtPosit1": "DeRdtPosit1", "DE-DeLlinDist1": "DeLlinDist1", "DE-DeMalCases1": "DeMalCases1"},
				CategoryOptionCombos: map[string]string{"COC-CocUnder5y1": "CocUnder5y1", "COC-CocOver5yr1": "CocOver5yr1", "default": DefaultCombo},
				OrgUnits:             map[string]string{"ke-1": "OuAmaniHC01", "KE-1": "OuElimuHC01", "KE-2": ""},
			}},
			{IDSchemes{DataElement: "attribute:" + mfl, CategoryOptionCombo: "attribute:" + mfl}, Names{
				DataElements:         map[string]string{"element DeDeaths001": "DeDeaths001", "element DeRdtPosit1": "DeRdtPosit1", "element DeLlinDist1": "DeLlinDist1", "element DeMalCases1": "DeMalCases1"},
				CategoryOptionCombos: map[string]string{"combo CocUnder5y1": "CocUnder5y1", "combo CocOver5yr1": "CocOver5yr1"},
			}},
		} {
			got, err := a.Names(t.Context(), &set, test.by)
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%s, %v: %v, -want +got:\n%s", version, test.by, err, diff)
			}
		}
		got, err := a.Names(t.Context(), &set, IDSchemes{OrgUnit: "attribute:" + mfl})
		if err != nil || got.OrgUnits["place OuClosed001"] != "OuClosed001" || len(got.OrgUnits) != 13 {
			t.Errorf("%s: got %v, %v", version, got, err)
		}
	}
}

func TestDataSetIDFindsTheOneThatGoesByAName(t *testing.T) {
	for _, version := range versions {
		a := recorded(t, version, func(m *sandbox.DHIS2Metadata) {
			renamed(m)
			m.DataSets[0].Code, m.DataSets[1].Code, m.DataSets[2].Code = "A & B", "twice", "twice"
		})
		for _, test := range []struct {
			by         IDScheme
			name, want string
		}{
			{"", "DsAnything1", "DsAnything1"},
			{"code", "A & B", a.sets[0]},
			{"attribute:" + mfl, "set of " + a.sets[1], a.sets[1]},
			{"code", "a & b", ""}, {"code", "twice", ""}, {"attribute:" + mfl, "other", ""}, {"attribute:AtAbsent001", "other", ""},
		} {
			got, err := a.DataSetID(t.Context(), test.by, test.name)
			var failure *Error
			if got != test.want || (test.want == "") != errors.As(err, &failure) || failure != nil && (failure.Kind != Refused || failure.Remedy == "") {
				t.Errorf("%s: %s %q: got %q, %v, want %q", version, test.by, test.name, got, err, test.want)
			}
		}
	}
}

func TestParseIDScheme(t *testing.T) {
	for text, want := range map[string]IDScheme{"": "", "uid": "", "code": "code", "attribute:" + mfl: "attribute:AtMflCode01"} {
		if got, err := ParseIDScheme(text); got != want || err != nil {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"name", "UID", "attribute:", "attribute:AtMflCode0", "attribute:1tMflCode01", "code "} {
		if got, err := ParseIDScheme(text); err == nil {
			t.Errorf("%q: got %q", text, got)
		}
	}
}
