package sandbox

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// strictQuery asks for the checks that 2.43 makes always.
const strictQuery = "?strictPeriods=true&strictDataElements=true&strictCategoryOptionCombos=true" +
	"&strictAttributeOptionCombos=true&strictOrganisationUnits=true"

// askDHIS2 asks in memory, as the integration's user.
func askDHIS2(d *DHIS2, method, target string, body []byte) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, target, bytes.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	request.SetBasicAuth("cht_integration", "Secret.1234")
	answer := httptest.NewRecorder()
	d.ServeHTTP(answer, request)
	return answer
}

// dhis2Answer is what a test looks at of an answer to an import.
type dhis2Answer struct {
	Status   int
	Summary  string
	Count    dhis2Count
	Codes    []string
	Rejected []int
}

// importAnswer imports a body and gives what came of it.
func importAnswer(t *testing.T, d *DHIS2, target, body string) dhis2Answer {
	t.Helper()
	answer := askDHIS2(d, http.MethodPost, target, []byte(body))
	var got struct{ Response dhis2Summary }
	if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, answer.Body)
	}
	result := dhis2Answer{
		Status: answer.Code, Summary: got.Response.Status, Count: got.Response.ImportCount, Rejected: got.Response.RejectedIndexes,
	}
	for _, conflict := range got.Response.Conflicts {
		result.Codes = append(result.Codes, conflict.ErrorCode)
	}
	return result
}

// births is a body with births of the month in the org units.
func births(month string, units ...string) string {
	values := make([]string, len(units))
	for i, unit := range units {
		values[i] = fmt.Sprintf(`{"dataElement":"DeBirths001","orgUnit":%q,"value":"%d"}`, unit, i+1)
	}
	return fmt.Sprintf(`{"dataSet":"DsMchMonth1","period":%q,"dataValues":[%s]}`, month, strings.Join(values, ","))
}

func TestDHIS2TellsWhatIsStored(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2.42.5.2", "2.43.1"} {
		d := recordedDHIS2(t, version)
		importAnswer(t, d, "/api/dataValueSets", `{"dataSet":"DsMchMonth1","period":"202609","dataValues":[
			{"dataElement":"DeBirths001","orgUnit":"OuBarakaMch","value":"2","comment":"late"},
			{"dataElement":"DeBirths001","orgUnit":"OuAmaniHC01","value":"1"},
			{"dataElement":"DeDeaths001","orgUnit":"OuAmaniHC01","value":"4"}]}`)
		importAnswer(t, d, "/api/dataValueSets", `{"dataSet":"DsMchMonth1","period":"202609","dataValues":[
			{"dataElement":"DeDeaths001","orgUnit":"OuAmaniHC01","value":"4","deleted":true}]}`)
		want := []DHIS2Value{
			{"DeBirths001", "202609", "OuAmaniHC01", "HllvX50cXC0", "HllvX50cXC0", "1", "cht_integration", ""},
			{"DeBirths001", "202609", "OuBarakaMch", "HllvX50cXC0", "HllvX50cXC0", "2", "cht_integration", "late"},
		}
		if diff := gocmp.Diff(want, d.Values()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", version, diff)
		}
	}
}

func TestDHIS2RefusesAsItsDialectDoes(t *testing.T) {
	t.Parallel()
	each := func(ignored, stored int, code string, rejected ...int) dhis2Answer {
		return dhis2Answer{409, "WARNING", dhis2Count{Imported: stored, Ignored: ignored}, []string{code}, rejected}
	}
	group := func(code string, rejected ...int) dhis2Answer {
		return dhis2Answer{409, "ERROR", dhis2Count{}, []string{code}, rejected}
	}
	request := func(code string) dhis2Answer { return dhis2Answer{409, "ERROR", dhis2Count{}, []string{code}, []int{}} }
	all := dhis2Answer{200, "SUCCESS", dhis2Count{Imported: 2}, nil, []int{}}
	allAtOnce := dhis2Answer{200, "SUCCESS", dhis2Count{Updated: 2}, nil, []int{}}
	value := func(rest string) string {
		return `{"dataSet":"DsMchMonth1","period":"202609","orgUnit":"OuAmaniHC01","dataValues":[{` + rest + `}]}`
	}
	tests := []struct {
		name, body  string
		each, group dhis2Answer
	}{
		{"good", births("202609", "OuAmaniHC01", "OuBarakaMch"), all, allAtOnce},
		{"closed org unit", births("202609", "OuAmaniHC01", "OuFarasi001"), all, group("E8031", 0, 1)},
		{"locked period", births("202603", "OuAmaniHC01", "OuBarakaMch"), each(2, 0, "E7640", 0, 1), group("E8030", 0, 1)},
		{"unassigned org unit", births("202609", "OuAmaniHC01", "OuUnassig01"), each(1, 1, "E7636", 1), group("E8022", 0, 1)},
		{"element of no set", value(`"dataElement":"DeNotInSet1","value":"1"`), each(1, 0, "E7632", 0), group("E8020", 0)},
		{"no element", value(`"value":"1"`), each(1, 0, "E7610", 0), request("E8102")},
		{"odd element", value(`"dataElement":"births","value":"1"`), each(1, 0, "E7610", 0), request("E8104")},
		{"odd combination", value(`"dataElement":"DeBirths001","value":"1","categoryOptionCombo":"?"`), each(1, 0, "E7613", 0), request("E8109")},
		{"shut option", value(`"dataElement":"DeBirths001","value":"1","attributeOptionCombo":"CocShutComb"`), each(1, 0, "E7616", 0), group("E8012", 0)},
		{"misspelled field", value(`"dataelement":"DeBirths001","value":"1"`), each(1, 0, "E7610", 0), request("E8102")},
		{"unknown top org unit", `{"orgUnit":"OuUnknown01","period":"202609","dataSet":"DsMchMonth1","dataValues":[{"dataElement":"DeBirths001","value":"1"}]}`,
			request("E7603"), group("E8022", 0)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for version, want := range map[string]dhis2Answer{"2.42.5.2": test.each, "2.43.1": test.group} {
				d := recordedDHIS2(t, version)
				d.index.addOptionCombo(DHIS2CategoryOptionCombo{ID: "CocShutComb", CategoryCombo: DHIS2Ref{dhis2DefaultCombo}})
				d.index.optionCombos.byID["CocShutComb"].options = []*DHIS2CategoryOption{{ID: "CoShut00001", Sharing: DHIS2Sharing{"rwr-----"}}}
				d.CloseOrgUnit("OuFarasi001", "2026-08-31")
				d.LockPeriod("DsMchMonth1", "202603")
				if diff := gocmp.Diff(want, importAnswer(t, d, "/api/dataValueSets"+strictQuery, test.body)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", version, diff)
				}
			}
		})
	}
}

func TestDHIS2MayOpenAClosedOrgUnitForPeriodsBefore(t *testing.T) {
	t.Parallel()
	d := recordedDHIS2(t, "2.43.1")
	d.CloseOrgUnit("OuFarasi001", "2026-09-15")
	if got := importAnswer(t, d, "/api/dataValueSets", births("202609", "OuFarasi001")); got.Status != 200 {
		t.Errorf("the month of the closing: %+v", got)
	}
	if got := importAnswer(t, d, "/api/dataValueSets", births("202610", "OuFarasi001")); got.Status != 409 {
		t.Errorf("the month after: %+v", got)
	}
}

func TestDHIS2ReadsInputPeriodsTheRightWayRoundAfter2431(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]int{"2.43.0": 409, "2.43.1": 409, "2.43.2": 200, "2.44-SNAPSHOT": 200, "": 409, "2.42.1": 200} {
		d := recordedDHIS2(t, version)
		body := strings.Replace(births("202610", "OuAmaniHC01"), "DsMchMonth1", "DsInputPr01", 1)
		if got := importAnswer(t, d, "/api/dataValueSets", body); got.Status != want {
			t.Errorf("%q: %d, want %d", version, got.Status, want)
		}
	}
}

func TestDHIS2DatabaseFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		version string
		kind    FaultKind
		want    dhis2Answer
		stored  int
	}{
		{"2.42.5.2", WriteFails, dhis2Answer{409, "ERROR", dhis2Count{}, nil, []int{}}, 1},
		{"2.42.5.2", NewPeriodRace, dhis2Answer{409, "WARNING", dhis2Count{Ignored: 2}, []string{"E7611"}, []int{0, 1}}, 0},
		{"2.43.1", WriteFails, dhis2Answer{200, "SUCCESS", dhis2Count{Ignored: 2}, nil, []int{}}, 0},
		{"2.43.1", RefusesGroup, dhis2Answer{409, "ERROR", dhis2Count{}, []string{"E8999"}, []int{0, 1}}, 0},
		{"2.43.1", NewPeriodRace, dhis2Answer{200, "SUCCESS", dhis2Count{Ignored: 2}, nil, []int{}}, 0},
	}
	for _, test := range tests {
		t.Run(test.version+" "+string(test.kind), func(t *testing.T) {
			t.Parallel()
			d := recordedDHIS2(t, test.version)
			d.Fail(Fault{Kind: test.kind, Times: 1})
			// Other requests do not use the fault up.
			askDHIS2(d, http.MethodGet, "/api/me", nil)
			body := births("202609", "OuAmaniHC01", "OuBarakaMch")
			if diff := gocmp.Diff(test.want, importAnswer(t, d, "/api/dataValueSets", body)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := len(d.Values()); got != test.stored {
				t.Errorf("%d values stored, want %d", got, test.stored)
			}
			importAnswer(t, d, "/api/dataValueSets", body)
			if got := len(d.Values()); got != 2 {
				t.Errorf("%d values after another try", got)
			}
		})
	}
}

func TestDHIS2KeepsItsImports(t *testing.T) {
	t.Parallel()
	d := recordedDHIS2(t, "2.43.1")
	body := []byte(births("202609", "OuAmaniHC01"))
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	_, _ = zipped.Write(body)
	_ = zipped.Close()
	d.Fail(Fault{Kind: Status, Status: 503, Times: 1}, Fault{Kind: StatusAfter, Status: 504, Times: 1})
	for range 3 {
		askDHIS2(d, http.MethodPost, "/api/dataValueSets?dryRun=false", packed.Bytes())
	}
	stranger := httptest.NewRequest(http.MethodPost, "/api/dataValueSets", bytes.NewReader(body))
	d.ServeHTTP(httptest.NewRecorder(), stranger)
	want := []DHIS2Import{
		{Raw: packed.Bytes(), Body: body, Query: map[string][]string{"dryRun": {"false"}}, Status: 503, Fault: Status},
		{Raw: packed.Bytes(), Body: body, Query: map[string][]string{"dryRun": {"false"}}, Status: 504, Fault: StatusAfter},
		{Raw: packed.Bytes(), Body: body, Query: map[string][]string{"dryRun": {"false"}}, Status: 200},
	}
	if diff := gocmp.Diff(want, d.Imports()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDHIS2KeepsAnImportWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	d := recordedDHIS2(t, "2.43.1")
	d.Fail(Fault{Kind: ResetAfter})
	func() {
		defer func() { _ = recover() }()
		askDHIS2(d, http.MethodPost, "/api/dataValueSets", []byte(births("202609", "OuAmaniHC01")))
	}()
	imports := d.Imports()
	if len(imports) != 1 || imports[0].Status != 0 || imports[0].Fault != ResetAfter || len(d.Values()) != 1 {
		t.Errorf("imports %+v, %d values", imports, len(d.Values()))
	}
}

func TestDHIS2CountsImportsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := recordedDHIS2(t, "2.43.1")
		d.Fail(Fault{Kind: Latency, Delay: time.Second})
		var wait sync.WaitGroup
		for _, unit := range []string{"OuAmaniHC01", "OuBarakaMch", "OuDumaHC001"} {
			wait.Go(func() { askDHIS2(d, http.MethodPost, "/api/dataValueSets", []byte(births("202609", unit))) })
		}
		wait.Wait()
		askDHIS2(d, http.MethodPost, "/api/dataValueSets", []byte(births("202609", "OuElimuHC01")))
		if got := d.MostAtOnce(); got != 3 || len(d.Values()) != 4 {
			t.Errorf("%d at once, %d values", got, len(d.Values()))
		}
	})
}

func TestDHIS2UnpacksZip(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	archive := zip.NewWriter(&packed)
	file, err := archive.Create("values.json")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = file.Write([]byte(births("202609", "OuAmaniHC01")))
	_ = archive.Close()
	d := recordedDHIS2(t, "2.42.5.2")
	if answer := askDHIS2(d, http.MethodPost, "/api/dataValueSets", packed.Bytes()); answer.Code != 200 || len(d.Values()) != 1 {
		t.Errorf("%d: %s", answer.Code, answer.Body)
	}
}

func TestDHIS2DeletesTheScopeBeforeItStores(t *testing.T) {
	t.Parallel()
	d := recordedDHIS2(t, "2.43.1")
	importAnswer(t, d, "/api/dataValueSets", births("202609", "OuAmaniHC01", "OuBarakaMch", "OuDumaHC001"))
	importAnswer(t, d, "/api/dataValueSets", `{"dataSet":"DsMchMonth1","period":"202609",
		"deletion":{"orgUnits":["OuAmaniHC01","OuBarakaMch"],"periods":["202609"],"elements":[{"dataElement":"DeBirths001"}]},
		"dataValues":[{"dataElement":"DeBirths001","orgUnit":"OuAmaniHC01","value":"9"}]}`)
	var got []string
	for _, value := range d.Values() {
		got = append(got, value.OrgUnit+"="+value.Value)
	}
	if diff := gocmp.Diff([]string{"OuAmaniHC01=9", "OuDumaHC001=3"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDHIS2WritesIndexesWithSeparators(t *testing.T) {
	t.Parallel()
	for number, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(number); got != want {
			t.Errorf("%d: %s, want %s", number, got, want)
		}
	}
}

func TestDHIS2ReadsPeriods(t *testing.T) {
	t.Parallel()
	tests := []struct{ calendar, id, kind, start, end, canonical string }{
		{"", "20260131", "Daily", "2026-01-31", "2026-01-31", "20260131"},
		{"", "2026-01-31", "Daily", "2026-01-31", "2026-01-31", "20260131"},
		{"", "2026W5", "Weekly", "2026-01-26", "2026-02-01", "2026W5"},
		{"", "2026W05", "Weekly", "2026-01-26", "2026-02-01", "2026W5"},
		{"", "2026W53", "Weekly", "2026-12-28", "2027-01-03", "2026W53"},
		{"", "2026BiW3", "BiWeekly", "2026-01-26", "2026-02-08", "2026BiW3"},
		{"", "202601", "Monthly", "2026-01-01", "2026-01-31", "202601"},
		{"", "2026-02", "Monthly", "2026-02-01", "2026-02-28", "202602"},
		{"", "202602B", "BiMonthly", "2026-03-01", "2026-04-30", "202602B"},
		{"", "2026Q1", "Quarterly", "2026-01-01", "2026-03-31", "2026Q1"},
		{"", "2026NovQ1", "QuarterlyNov", "2025-11-01", "2026-01-31", "2026NovQ1"},
		{"", "2026S2", "SixMonthly", "2026-07-01", "2026-12-31", "2026S2"},
		{"", "2026AprilS1", "SixMonthlyApril", "2026-04-01", "2026-09-30", "2026AprilS1"},
		{"", "2026NovS1", "SixMonthlyNov", "2025-11-01", "2026-04-30", "2026NovS1"},
		{"", "2026", "Yearly", "2026-01-01", "2026-12-31", "2026"},
		{"", "2026July", "FinancialJuly", "2026-07-01", "2027-06-30", "2026July"},
		{"", "2026Nov", "FinancialNov", "2025-11-01", "2026-10-31", "2026Nov"},
		{"", "2026Sep", "FinancialSep", "2026-09-01", "2027-08-31", "2026Sep"},
		{"ethiopian", "201902", "Monthly", "2026-10-11", "2026-11-09", "201902"},
		{"ethiopian", "201812", "Monthly", "2026-08-07", "2026-09-05", "201812"},
		{"nepali", "208306", "Monthly", "2026-09-17", "2026-10-17", "208306"},
		{"thai", "256909", "Monthly", "2026-09-01", "2026-09-30", "256909"},
		{"", "202613", "", "", "", ""}, {"", "202600", "", "", "", ""}, {"", "2026Q5", "", "", "", ""},
		{"", "2025W53", "", "", "", ""}, {"", "20260230", "", "", "", ""}, {"", "october", "", "", "", ""}, {"", "", "", "", "", ""},
		{"ethiopian", "201813", "", "", "", ""},
	}
	for _, test := range tests {
		period, valid := parseDHIS2Period(test.id, dhis2CalendarOf(test.calendar))
		if valid != (test.kind != "") {
			t.Errorf("%s: valid %t", test.id, valid)
		}
		if !valid {
			continue
		}
		got := []string{period.kind.name, period.start.Format(time.DateOnly), period.end.Format(time.DateOnly), period.id, period.shift(1).shift(-1).id}
		want := []string{test.kind, test.start, test.end, test.canonical, test.canonical}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.id, diff)
		}
	}
}

func FuzzDHIS2ReadsJSONAsGoDoes(f *testing.F) {
	f.Add([]byte(births("202609", "OuAmaniHC01")))
	f.Add([]byte(`{"a":[1,-2.5e3,true,false,null,"\u00e9\n"],"b":{}} `))
	f.Add([]byte(`{"a":1,}`))
	f.Add([]byte(`[1 2]`))
	f.Add([]byte(`{"dataValues":[{"value`))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := parseJSON(data)
		if (err == nil) != json.Valid(data) {
			t.Errorf("%q: %v, but valid is %t", data, err, json.Valid(data))
		}
		if err != nil {
			_ = javaError(data, err, "text", "class")
		}
	})
}

// bigDHIS2 gives a server with so many org units, and a body with 100 values for each.
func bigDHIS2(t testing.TB, version string, units int) (*DHIS2, []byte) {
	t.Helper()
	var metadata DHIS2Metadata
	set := DHIS2DataSet{ID: "DsBig000001", Name: "Big", PeriodType: "Monthly"}
	for i := range 100 {
		id := fmt.Sprintf("De%09d", i)
		metadata.DataElements = append(metadata.DataElements, DHIS2DataElement{ID: id, Name: id, ValueType: "INTEGER", AggregationType: "SUM"})
		set.DataSetElements = append(set.DataSetElements, DHIS2DataSetElement{DataElement: DHIS2Ref{id}})
	}
	metadata.OrganisationUnits = append(metadata.OrganisationUnits, DHIS2OrgUnit{ID: "OuCountry01", Name: "Country"})
	var body bytes.Buffer
	body.WriteString(`{"dataSet":"DsBig000001","period":"202609","dataValues":[`)
	for i := range units {
		unit := fmt.Sprintf("Ou%09d", i)
		metadata.OrganisationUnits = append(metadata.OrganisationUnits, DHIS2OrgUnit{ID: unit, Name: unit, Parent: &DHIS2Ref{"OuCountry01"}})
		set.OrganisationUnits = append(set.OrganisationUnits, DHIS2Ref{unit})
		for j := range 100 {
			if i+j > 0 {
				body.WriteByte(',')
			}
			fmt.Fprintf(&body, `{"dataElement":"De%09d","orgUnit":%q,"value":"%d"}`, j, unit, i+j+1)
		}
	}
	body.WriteString(`]}`)
	metadata.DataSets = []DHIS2DataSet{set}
	return NewDHIS2(DHIS2Config{
		Version: version, Metadata: metadata,
		Users: []DHIS2User{{
			Username: "cht_integration", Password: "Secret.1234", Authorities: []string{"F_DATAVALUE_ADD"}, OrgUnits: []string{"OuCountry01"},
		}},
	}), body.Bytes()
}

func TestDHIS2TakesManyValues(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2.42.5.2", "2.43.1"} {
		d, body := bigDHIS2(t, version, 100)
		for range 2 {
			if answer := askDHIS2(d, http.MethodPost, "/api/dataValueSets"+strictQuery, body); answer.Code != 200 {
				t.Fatalf("%s: %d %.500s", version, answer.Code, answer.Body)
			}
		}
		if got := len(d.Values()); got != 10000 {
			t.Errorf("%s: %d values", version, got)
		}
	}
}

func BenchmarkDHIS2ImportOf100000Values(b *testing.B) {
	for _, version := range []string{"2.42.5.2", "2.43.1"} {
		b.Run(version, func(b *testing.B) {
			d, body := bigDHIS2(b, version, 1000)
			for b.Loop() {
				if answer := askDHIS2(d, http.MethodPost, "/api/dataValueSets"+strictQuery, body); answer.Code != 200 {
					b.Fatal(answer.Code)
				}
			}
		})
	}
}

func TestDHIS2StandsUnderAPath(t *testing.T) {
	t.Parallel()
	d := recordedDHIS2(t, "2.43.1")
	server, err := Listen(http.StripPrefix("/dhis", d))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/dhis/api/system/info?fields=version", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "ApiToken d2p_example_token_0")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var got map[string]string
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil || got["version"] != "2.43.1" || len(got) != 1 {
		t.Errorf("%v and %v", got, err)
	}
}

// Read in the source of both families: an exception lifts the expiry for an org unit and a period, on 2.43 too.
func TestALockExceptionOpensAnExpiredPeriod(t *testing.T) {
	t.Parallel()
	for version, want := range map[string][]int{"2.42.5.2": {1}, "2.43.1": {0, 1}} {
		d := recordedDHIS2(t, version)
		d.LockPeriod("DsMchMonth1", "202603")
		d.ExceptFromLock("DsMchMonth1", "202603", "OuAmaniHC01")
		if got := importAnswer(t, d, "/api/dataValueSets"+strictQuery, births("202603", "OuAmaniHC01", "OuBarakaMch")); !slices.Equal(got.Rejected, want) {
			t.Errorf("%s: %+v", version, got)
		}
		if got := importAnswer(t, d, "/api/dataValueSets"+strictQuery, births("202603", "OuAmaniHC01")); got.Status != http.StatusOK || len(got.Rejected) > 0 {
			t.Errorf("%s: %+v", version, got)
		}
	}
}
