package sandbox

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// exportedValues gives what the CHT of a country exports for a data set, in the form and order of Right.
func exportedValues(t *testing.T, country *Country, dataSet string) []CountryValue {
	t.Helper()
	c := NewCHT(CHTConfig{Documents: country.CHT})
	login := base64.StdEncoding.EncodeToString([]byte(country.CHTUsername + ":" + country.CHTPassword))
	target := strings.NewReplacer("DsMchMonth1", dataSet, "1784073600000", "1792065600000").Replace(mchJuly)
	answer := answerTo(c, http.MethodGet, target, "Basic "+login)
	if answer.Code != http.StatusOK {
		t.Fatalf("export answered %d %s", answer.Code, answer.Body)
	}
	var export struct {
		Period     string
		DataValues []struct {
			DataElement, OrgUnit, CategoryOptionCombo string
			Value                                     json.RawMessage
		}
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &export); err != nil {
		t.Fatal(err)
	}
	if export.Period != "202610" {
		t.Fatalf("period %s, want 202610", export.Period)
	}
	var values []CountryValue
	for _, row := range export.DataValues {
		values = append(values, CountryValue{row.DataElement, row.OrgUnit, row.CategoryOptionCombo, string(row.Value)})
	}
	return sortedValues(values)
}

// sortedValues orders values by their cells.
func sortedValues(values []CountryValue) []CountryValue {
	slices.SortFunc(values, func(a, b CountryValue) int {
		return cmp.Or(strings.Compare(a.OrgUnit, b.OrgUnit), strings.Compare(a.DataElement, b.DataElement),
			strings.Compare(a.CategoryOptionCombo, b.CategoryOptionCombo))
	})
	return values
}

func TestCountryExportIsRightPlusWrong(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		country := NewCountry(CountryConfig{Seed: seed, Facilities: 25, DataSets: 3, Elements: 9, Problems: true})
		for _, dataSet := range country.DataSets {
			want := slices.Clone(country.Right[dataSet])
			for _, wrong := range country.Wrong[dataSet] {
				want = append(want, wrong.CountryValue)
			}
			if diff := gocmp.Diff(sortedValues(want), exportedValues(t, country, dataSet)); diff != "" {
				t.Errorf("seed %d, data set %s (-right and wrong +export):\n%s", seed, dataSet, diff)
			}
		}
	}
}

func TestCountryWithoutProblemsIsAllRight(t *testing.T) {
	t.Parallel()
	country := NewCountry(CountryConfig{Seed: 3, Facilities: 13, DataSets: 2, Elements: 5})
	for _, dataSet := range country.DataSets {
		if got := len(country.Wrong[dataSet]); got != 0 {
			t.Errorf("%d wrong values, want none", got)
		}
		if diff := gocmp.Diff(sortedValues(slices.Clone(country.Right[dataSet])), exportedValues(t, country, dataSet)); diff != "" {
			t.Errorf("data set %s (-right +export):\n%s", dataSet, diff)
		}
	}
}

func TestCountryHasEachProblemOnce(t *testing.T) {
	t.Parallel()
	const facilities, elements = 30, 8
	country := NewCountry(CountryConfig{Seed: 1, Facilities: facilities, DataSets: 2, Elements: elements, Problems: true})
	want := []map[CountryProblem]int{
		{
			NotSynced: elements, Collapsed: facilities - 1, Malformed: 1, NotAssigned: elements - 1,
			ClosedInDHIS2: elements - 1,
		},
		{NotSynced: elements, ClosedInDHIS2: elements},
	}
	for i, dataSet := range country.DataSets {
		got := map[CountryProblem]int{}
		for _, wrong := range country.Wrong[dataSet] {
			got[wrong.Why]++
		}
		if diff := gocmp.Diff(want[i], got); diff != "" {
			t.Errorf("wrong values of data set %d (-want +got):\n%s", i, diff)
		}
		if total := len(country.Right[dataSet]) + len(country.Wrong[dataSet]); total != facilities*elements {
			t.Errorf("data set %d has %d values, want %d", i, total, facilities*elements)
		}
	}
}

func TestCountryOfASeedIsAlwaysTheSame(t *testing.T) {
	t.Parallel()
	config := CountryConfig{Seed: 7, Facilities: 21, DataSets: 2, Elements: 6, Problems: true}
	first, second := asJSON(t, NewCountry(config)), asJSON(t, NewCountry(config))
	if first != second {
		t.Errorf("two countries of one seed differ:\n%s", gocmp.Diff(first, second))
	}
	config.Seed++
	if asJSON(t, NewCountry(config)) == first {
		t.Error("two seeds give the same country")
	}
}

func TestCountryMetadataReferToEachOther(t *testing.T) {
	t.Parallel()
	country := NewCountry(CountryConfig{Seed: 4, Facilities: 40, DataSets: 2, Elements: 7, Problems: true})
	text := asJSON(t, country.DHIS2)
	var metadata map[string][]struct{ ID string }
	if err := json.Unmarshal([]byte(text), &metadata); err != nil {
		t.Fatal(err)
	}
	ids, closed := map[string]bool{dhis2DefaultCombo: true}, 0
	for _, objects := range metadata {
		for _, object := range objects {
			if ids[object.ID] {
				t.Errorf("id %s is given twice", object.ID)
			}
			ids[object.ID] = true
		}
	}
	for _, reference := range regexp.MustCompile(`"id":"([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if !ids[reference[1]] {
			t.Errorf("nothing has the id %s", reference[1])
		}
	}
	for _, unit := range country.DHIS2.OrganisationUnits {
		if unit.ClosedDate != "" {
			closed++
		}
	}
	var assigned []int
	for _, set := range country.DHIS2.DataSets {
		assigned = append(assigned, len(set.OrganisationUnits))
	}
	if diff := gocmp.Diff([]int{39, 40}, assigned); diff != "" || closed != 1 {
		t.Errorf("%d org units closed, want 1; assigned (-want +got):\n%s", closed, diff)
	}
}

// TestCountryRightIsWhatDHIS2Accepts sends what is right, data set by data set, and finds it stored; then what DHIS2 has
// to refuse.
func TestCountryRightIsWhatDHIS2Accepts(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2.42.5", "2.43.1"} {
		country := NewCountry(CountryConfig{Seed: 11, Facilities: 24, DataSets: 2, Elements: 9, Problems: true})
		now := func() time.Time { return time.Date(2026, 11, 22, 7, 32, 0, 0, time.UTC) }
		d := NewDHIS2(DHIS2Config{Version: version, Metadata: country.DHIS2, Users: country.Users, Now: now})
		var want []CountryValue
		for _, dataSet := range country.DataSets {
			if status := importValues(d, country, dataSet, country.Right[dataSet]); status != http.StatusOK {
				t.Errorf("%s: right values answered %d", version, status)
			}
			right := country.Right[dataSet]
			if version == "2.42.5" {
				right = country.Stored(dataSet)
			}
			want = append(want, right...)
		}
		refused := []CountryProblem{NotAssigned}
		if version == "2.43.1" {
			refused = append(refused, ClosedInDHIS2)
		}
		for _, why := range refused {
			values := wrongValues(country, country.DataSets[0], why)
			if status := importValues(d, country, country.DataSets[0], values); status != http.StatusConflict {
				t.Errorf("%s: %s values answered %d, want 409", version, why, status)
			}
		}
		if diff := gocmp.Diff(sortedValues(want), storedValues(d)); diff != "" {
			t.Errorf("%s (-right +stored):\n%s", version, diff)
		}
	}
}

// wrongValues gives the values with a problem.
func wrongValues(country *Country, dataSet string, why CountryProblem) []CountryValue {
	var values []CountryValue
	for _, wrong := range country.Wrong[dataSet] {
		if wrong.Why == why {
			values = append(values, wrong.CountryValue)
		}
	}
	return values
}

// importValues sends values to DHIS2 and gives the status.
func importValues(d *DHIS2, country *Country, dataSet string, values []CountryValue) int {
	rows := make([]map[string]string, len(values))
	for i, value := range values {
		rows[i] = map[string]string{
			"dataElement": value.DataElement, "orgUnit": value.OrgUnit, "period": "202610", "value": value.Value,
		}
	}
	body := marshal(map[string]any{"dataSet": dataSet, "dataValues": rows})
	r := httptest.NewRequest(http.MethodPost, "/api/dataValueSets?strictOrganisationUnits=true", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "ApiToken "+country.DHIS2Token)
	answer := httptest.NewRecorder()
	d.ServeHTTP(answer, r)
	return answer.Code
}

// storedValues gives what DHIS2 holds, in the form and order of Right.
func storedValues(d *DHIS2) []CountryValue {
	var values []CountryValue
	for _, value := range d.Values() {
		values = append(values, CountryValue{DataElement: value.DataElement, OrgUnit: value.OrgUnit, Value: value.Value})
	}
	return sortedValues(values)
}

// asJSON gives all that a value holds.
func asJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCountryHasTheSizesAskedFor(t *testing.T) {
	t.Parallel()
	country := NewCountry(CountryConfig{Seed: 5, Facilities: 200, DataSets: 8, Elements: 90})
	settings := country.CHT.Settings
	if got := len(settings.DHISDataSets); got != 8 {
		t.Errorf("%d data sets, want 8", got)
	}
	ids := map[string]bool{}
	for _, target := range settings.Tasks.Targets.Items {
		ids[target.ID] = true
	}
	if len(ids) != 8*90 {
		t.Errorf("%d targets with ids of their own, want %d", len(ids), 8*90)
	}
	uid := regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{10}$`)
	names, units := map[string]bool{}, map[string]bool{}
	for _, place := range country.CHT.Places {
		names[place.Name] = true
		for _, unit := range place.DHIS {
			units[unit.OrgUnit] = uid.MatchString(unit.OrgUnit)
		}
	}
	if len(names) != 220 || len(units) != 200 {
		t.Errorf("%d names and %d org units, want 220 and 200", len(names), len(units))
	}
	for unit, good := range units {
		if !good {
			t.Errorf("org unit %q is no uid", unit)
		}
	}
	if got := len(country.CHT.Targets); got < 400 || got > 1200 {
		t.Errorf("%d target documents, want 2 to 6 a facility", got)
	}
}

func TestCountryStoresNoZeroThatIsNotSignificant(t *testing.T) {
	t.Parallel()
	country := NewCountry(CountryConfig{Seed: 2, Facilities: 60, Elements: 40})
	dataSet := country.DataSets[0]
	zeros, kept := 0, 0
	for _, value := range country.Right[dataSet] {
		if value.Value == "0" {
			zeros++
		}
	}
	stored := country.Stored(dataSet)
	for _, value := range stored {
		if value.Value == "0" {
			kept++
		}
	}
	if zeros == 0 || kept >= zeros || len(stored) != len(country.Right[dataSet])-zeros+kept {
		t.Errorf("%d values with %d zeros, %d stored with %d zeros", len(country.Right[dataSet]), zeros, len(stored), kept)
	}
}

// BenchmarkCHTExportOf10000OrgUnits computes a million values from about 40,000 target documents.
func BenchmarkCHTExportOf10000OrgUnits(b *testing.B) {
	country := NewCountry(CountryConfig{Seed: 1, Facilities: 10_000, Elements: 100})
	query := chtQuery{dataSet: country.DataSets[0], from: time.Date(2026, 10, 15, 0, 0, 0, 0, time.UTC).UnixMilli()}
	for b.Loop() {
		if _, err := computeExport(&country.CHT, query, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
