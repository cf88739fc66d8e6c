package cht

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func orgUnits(t *testing.T, server roundTripper) (got []OrgUnit, err error) {
	t.Helper()
	err = clientOf(server).OrgUnits(t.Context(), func(o OrgUnit) { got = append(got, o) })
	return got, err
}

func TestOrgUnitsAreThoseOfThePlacesWithTheirDataSets(t *testing.T) {
	got, err := orgUnits(t, always(http.StatusOK, jsonType, recorded(t, "view-200-contacts-by-dhis-org-unit")))
	if err != nil {
		t.Fatal(err)
	}
	want := []OrgUnit{
		{ID: "OuAmaniChu2"}, {ID: "OuAmaniHC01"}, {"OuBarakaMal", "DsMalariaM1"}, {"OuBarakaMch", "DsMchMonth1"},
	}
	if len(got) != 10 || !cmp.Equal(got[:4], want) {
		t.Errorf("got %v", got)
	}
	if got[2].For("DsMchMonth1") || !got[2].For("DsMalariaM1") || !got[0].For("DsMchMonth1") {
		t.Error("an org unit belongs to another data set than it says")
	}
}

func TestOrgUnitsOfOddPlacesAreLeftOut(t *testing.T) {
	const odd = `{"rows":[{"key":null,"doc":{}},{"key":"A","doc":{"dhis":"B"}},{"key":"C","doc":{"dhis":[{"orgUnit":"C"},{"orgUnit":"D"}]}},{"key":7,"doc":null},{"key":"E"}],"total_rows":5}`
	got, err := orgUnits(t, always(http.StatusOK, jsonType, odd))
	if err != nil || !cmp.Equal(got, []OrgUnit{{ID: "C"}}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestOrgUnitsThatCannotBeReadSayWhy(t *testing.T) {
	whole := recorded(t, "view-200-contacts-by-dhis-org-unit")
	for _, tt := range []struct {
		name   string
		server roundTripper
		kind   Kind
		what   string
	}{
		{"an offline user", always(http.StatusForbidden, jsonType, recorded(t, "view-403-offline-user")), Credentials, "403"},
		{"a login page", always(http.StatusOK, "text/html", "<html>"), Unusable, "instead of JSON"},
		{"cut in the middle", always(http.StatusOK, jsonType, whole[:len(whole)/2]), Unusable, "broke off"},
		{"something else", always(http.StatusOK, jsonType, `{"ok":true}`), Unusable, "no rows"},
		{"a list", always(http.StatusOK, jsonType, `[]`), Unusable, "another form"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := orgUnits(t, tt.server)
			known := asError(t, err)
			if known.Kind != tt.kind || !strings.Contains(known.What, tt.what) || known.Remedy == "" {
				t.Errorf("%s: %s, what to do: %s", known.Kind, known.What, known.Remedy)
			}
		})
	}
}

func TestSettingsOfOddRolesAreReadAsNone(t *testing.T) {
	got := settingsOf(t, `{"roles":[],"permissions":{"can_export_all":"integration"}}`)
	if len(got.Roles)+len(got.Exporters) > 0 {
		t.Errorf("%+v", got)
	}
}
