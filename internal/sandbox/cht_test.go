package sandbox

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Logins of the fixtures, as values of Authorization.
const (
	integration   = "Basic aW50ZWdyYXRpb246U2VjcmV0LjEyMw=="
	wrongPassword = "Basic aW50ZWdyYXRpb246d3Jvbmc="
)

// mchJuly asks for the month of the fixtures.
const mchJuly = "/api/v2/export/dhis?filters[dataSet]=DsMchMonth1&filters[date][from]=1784073600000"

// fixtureConfig is the CHT of the recordings, with what the fixtures only tell in words: the database admin and the
// translations.
func fixtureConfig(t testing.TB) CHTConfig {
	t.Helper()
	var documents CHTDocuments
	readTestdata(t, "fixtures.json", &documents)
	documents.Users = append(documents.Users, CHTUser{Name: "admin", Password: "pass", Roles: []string{"_admin"}})
	documents.Translations = map[string]string{"dhis.dataset.mch": "Maternal and child health (monthly)"}
	now := time.Date(2026, 11, 22, 7, 32, 0, 0, time.UTC)
	return CHTConfig{Documents: documents, Now: func() time.Time { return now }}
}

// readTestdata decodes a file of testdata/cht.
func readTestdata(t testing.TB, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "cht", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// answerTo asks for JSON with an Authorization.
func answerTo(c *CHT, method, target, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Authorization", authorization)
	answer := httptest.NewRecorder()
	c.ServeHTTP(answer, r)
	return answer
}

// sessionCookie logs in as the integration user.
func sessionCookie(t *testing.T, c *CHT) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/_session", strings.NewReader(`{"name":"integration","password":"Secret.123"}`))
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	c.ServeHTTP(answer, r)
	cookies := answer.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("login answered %d with %d cookies", answer.Code, len(cookies))
	}
	return cookies[0].Name + "=" + cookies[0].Value
}

// exportRow is a row of an export, as a reader sees it.
type exportRow struct {
	DataElement, OrgUnit, CategoryOptionCombo string
	Value                                     any
}

// exportRows gives the rows of an answer.
func exportRows(t testing.TB, body []byte) []exportRow {
	t.Helper()
	var export struct{ DataValues []exportRow }
	if err := json.Unmarshal(body, &export); err != nil {
		t.Fatal(err)
	}
	return export.DataValues
}

// TestCHTExportAgreesWithAnIndependentAggregate holds the export against sums that another program made from the same
// documents. Those are kept apart by combination and include targets that the export ignores.
func TestCHTExportAgreesWithAnIndependentAggregate(t *testing.T) {
	t.Parallel()
	var reference struct {
		DataSets map[string]struct {
			DataValues []struct {
				OrgUnit, DataElement string
				Value                float64
			}
		}
	}
	readTestdata(t, "reference-own-aggregate-2026-07.json", &reference)
	c := NewCHT(fixtureConfig(t))
	for _, dataSet := range []string{"DsMchMonth1", "DsMalariaM1"} {
		want := map[string]float64{}
		for _, value := range reference.DataSets[dataSet].DataValues {
			if !strings.HasPrefix(value.DataElement, "DeLlinDist") {
				want[value.OrgUnit+" "+value.DataElement] += value.Value
			}
		}
		got := map[string]float64{}
		answer := answerTo(c, http.MethodGet, strings.Replace(mchJuly, "DsMchMonth1", dataSet, 1), integration)
		for _, row := range exportRows(t, answer.Body.Bytes()) {
			if row.OrgUnit != "OuDumaHC001" {
				got[row.OrgUnit+" "+row.DataElement] = row.Value.(float64)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
			t.Errorf("%s (-reference +export):\n%s", dataSet, diff)
		}
	}
}

func TestCHTBreaksOnlyOverMalformedTargetsThatItReads(t *testing.T) {
	t.Parallel()
	const may, april = "1778803200000", "1776211200000"
	tests := []struct{ name, from, dataSet, orgUnit string }{
		{"a document without targets, below another org unit", may, "DsMchMonth1", "OuElimuHC01"},
		{"a target without value, of another data set", april, "DsMalariaM1", ""},
	}
	c := NewCHT(fixtureConfig(t))
	for _, test := range tests {
		target := strings.NewReplacer("1784073600000", test.from, "DsMchMonth1", test.dataSet).Replace(mchJuly)
		if answer := answerTo(c, http.MethodGet, target, integration); test.orgUnit == "" != (answer.Code == http.StatusOK) {
			t.Errorf("%s: status %d for all org units", test.name, answer.Code)
		}
		answer := answerTo(c, http.MethodGet, target+"&filters[orgUnit]="+test.orgUnit, integration)
		if answer.Code != http.StatusOK {
			t.Errorf("%s: status %d with org unit %q, want 200", test.name, answer.Code, test.orgUnit)
		}
	}
}

func TestCHTSumAddsAsTheServersLanguageDoes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		totals []any
		want   string
	}{
		{"whole numbers", []any{1, 2.0, 3}, "6"},
		{"fractions", []any{0.1, 0.2}, "0.30000000000000004"},
		{"missing makes no number for good", []any{3, nil, 4}, "null"},
		{"null adds nothing", []any{3, CHTNull{}, 4}, "7"},
		{"a string is appended to", []any{3, "4", 5, nil}, `"345undefined"`},
		{"a string after a missing number", []any{nil, "4"}, `"NaN4"`},
		{"true is one", []any{true, false}, "1"},
		{"an object", []any{map[string]any{}}, `"0[object Object]"`},
		{"too large", []any{math.MaxFloat64, math.MaxFloat64}, "null"},
		{"very large", []any{1e21}, "1e+21"},
		{"negative", []any{-2}, "-2"},
	}
	for _, test := range tests {
		var sum chtSum
		for _, total := range test.totals {
			sum.add(total)
		}
		if got := string(sum.append(nil)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestCHTAnswersErrorsInTheCallersForm(t *testing.T) {
	t.Parallel()
	tests := []struct{ accept, want string }{
		{"", "text/plain"},
		{"*/*", "text/plain"},
		{"text/html, */*", "text/plain"},
		{"application/json", "application/json; charset=utf-8"},
		{"application/json, text/plain, */*", "application/json; charset=utf-8"},
		{"text/plain, application/json", "text/plain"},
		{"text/plain;q=0.5, application/json;q=0.9", "application/json; charset=utf-8"},
		{"application/*", "application/json; charset=utf-8"},
		{"application/json;q=0, */*", "text/plain"},
		{"application/xml", "text/plain"},
	}
	c := NewCHT(fixtureConfig(t))
	for _, test := range tests {
		r := httptest.NewRequest(http.MethodGet, "/api/v2/export/dhis", nil)
		r.Header.Set("Authorization", integration)
		r.Header.Set("Accept", test.accept)
		answer := httptest.NewRecorder()
		c.ServeHTTP(answer, r)
		if got := answer.Header().Get("Content-Type"); got != test.want || answer.Code != http.StatusBadRequest {
			t.Errorf("%q: status %d as %q, want 400 as %q", test.accept, answer.Code, got, test.want)
		}
	}
}

func TestCHTReadsTheLeadingInteger(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"1784073600000": 1784073600000, "2026-07-01": 2026, " 12abc": 12, "-5": -5, "+7": 7,
		"": 0, "July": 0, "-": 0, "1,2": 1, "99999999999999999999": 0,
	} {
		if got := leadingInteger(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestCHTLimitsFailedLoginsForTenSeconds(t *testing.T) {
	t.Parallel()
	config := fixtureConfig(t)
	now := time.Date(2026, 11, 22, 7, 32, 0, 0, time.UTC)
	config.Now = func() time.Time { return now }
	c := NewCHT(config)
	for range 10 {
		if got := answerTo(c, http.MethodGet, mchJuly, wrongPassword).Code; got != http.StatusUnauthorized {
			t.Fatalf("wrong password: status %d, want 401", got)
		}
	}
	now = now.Add(9999 * time.Millisecond)
	if got := answerTo(c, http.MethodGet, mchJuly, integration).Code; got != http.StatusTooManyRequests {
		t.Errorf("before the window's end: status %d, want 429", got)
	}
	now = now.Add(time.Millisecond)
	if got := answerTo(c, http.MethodGet, mchJuly, integration).Code; got != http.StatusOK {
		t.Errorf("after the window's end: status %d, want 200", got)
	}
}

func TestCHTRoleMissingFromSettingsGrantsNothingFrom52(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]int{"5.1.0": http.StatusOK, "5.2.0": http.StatusInternalServerError, "": 500} {
		config := fixtureConfig(t)
		config.Version = version
		delete(config.Documents.Settings.Roles, "integration")
		if got := answerTo(NewCHT(config), http.MethodGet, mchJuly, integration).Code; got != want {
			t.Errorf("version %q: status %d, want %d", version, got, want)
		}
	}
}

func TestCHTAnswersWhatWasSetAndChanged(t *testing.T) {
	t.Parallel()
	c := NewCHT(fixtureConfig(t))
	before := answerTo(c, http.MethodGet, mchJuly, integration).Body.String()

	c.SetExport("DsMchMonth1", "202607", []byte(`{"dataValues":`))
	if got := answerTo(c, http.MethodGet, mchJuly, integration).Body.String(); got != `{"dataValues":` {
		t.Errorf("after SetExport: %s", got)
	}
	c.SetExport("DsMchMonth1", "202607", nil)
	if got := answerTo(c, http.MethodGet, mchJuly, integration).Body.String(); got != before {
		t.Errorf("after SetExport was taken back (-before +after):\n%s", cmp.Diff(before, got))
	}
	c.Change(func(d *CHTDocuments) { d.Targets = nil })
	for _, row := range exportRows(t, answerTo(c, http.MethodGet, mchJuly, integration).Body.Bytes()) {
		if row.Value != 0.0 {
			t.Errorf("after Change: %+v, want 0", row)
		}
	}
}

func TestCHTCountsExportsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := NewCHT(fixtureConfig(t))
		c.Fail(Fault{Kind: Latency, Path: "/api/v2/export/", Delay: time.Second})
		var callers sync.WaitGroup
		for range 3 {
			callers.Go(func() { answerTo(c, http.MethodGet, mchJuly, integration) })
		}
		callers.Wait()
		c.Heal()
		answerTo(c, http.MethodGet, mchJuly, integration)
		if got := c.MostExportsAtOnce(); got != 3 {
			t.Errorf("%d exports at once, want 3", got)
		}
	})
}

func TestCHTTellsWhatWasAskedAndAnswered(t *testing.T) {
	t.Parallel()
	c := NewCHT(fixtureConfig(t))
	server, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c.Fail(Fault{Kind: ResetBefore, Path: "/api/info", Times: 1}, Fault{Kind: Status, Status: 502, Path: "/api/info", Times: 1})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/api/info", "/api/info", "/api/info", "/api/deploy-info?a=b"} {
		answer, err := client.Get(server.URL + path)
		if err != nil {
			continue
		}
		_ = answer.Body.Close()
	}
	server.Close()
	var got []string
	for _, r := range c.Requests() {
		got = append(got, fmt.Sprint(r.Method, " ", r.Path, " ", r.Query.Encode(), " ", r.Status))
	}
	want := []string{
		"GET /api/info  0", "GET /api/info  502", "GET /api/info  200", "GET /api/deploy-info a=b 302", "GET /medic/login redirect=%2Fapi%2Fdeploy-info%3Fa%3Db 200",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
