package dhis2

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const aSet = `{"dataSetElements":[` +
	`{"dataElement":{"id":"DeTest00001","code":"DE1","name":"One","valueType":"INTEGER","zeroIsSignificant":true,"aggregationType":"SUM","categoryCombo":{"categoryOptionCombos":[{"id":"HllvX50cXC0","code":"default"}],"isDefault":true,"id":"CcDefault01"}}},` +
	`{"dataElement":{"id":"DETest00001","valueType":"NUMBER","aggregationType":"AVERAGE","categoryCombo":{"id":"CcDefault01"}},"categoryCombo":{"id":"CcAge000001","categoryOptionCombos":[{"id":"CocUnder5y1","name":"Under 5","categoryOptions":[{"id":"CoUnder5y01","access":{"data":{"read":true,"write":false}}}]},{"id":"CocUNDER5y1"}]}},` +
	`{"dataElement":{"id":"DeTest00003","valueType":"TEXT","aggregationType":"NONE","optionSet":{"options":[{"code":"A"},{"code":"b"}]},"categoryCombo":{"id":"CcAge000001"}},"categoryCombo":null},` +
	`{"dataElement":{}}],"extra":[1,{"a":null}],` +
	`"periodType":"Monthly","expiryDays":10.0,"openFuturePeriods":1,"noValueRequiresComment":true,"compulsoryFieldsCompleteOnly":true,"access":{"data":{"read":true,"write":true}},"workflow":{"id":"WfTest00001"},` +
	`"dataInputPeriods":[{"period":{"id":"202609","name":"September"},"openingDate":"2026-09-01T00:00:00.000","closingDate":"2026-10-31T00:00:00.000"}],` +
	`"categoryCombo":{"id":"CcDefault01","isDefault":true},"name":"Test","code":"DS","id":"DsTest00001"}`

func TestDataSetIsReadWhateverTheOrderOfItsMembers(t *testing.T) {
	c := client(func(*http.Request, []byte) (int, string, string, error) {
		return 200, "application/json;charset=UTF-8", aSet, nil
	})
	got, err := c.DataSet(t.Context(), "DsTest00001")
	if err != nil {
		t.Fatal(err)
	}
	plain := &CategoryCombo{ID: "CcDefault01", IsDefault: true, Combos: map[string]*CategoryOptionCombo{"HllvX50cXC0": {ID: "HllvX50cXC0", Code: "default"}}}
	age := &CategoryCombo{ID: "CcAge000001", Combos: map[string]*CategoryOptionCombo{
		"CocUnder5y1": {ID: "CocUnder5y1", Name: "Under 5", ReadOnly: []string{"CoUnder5y01"}}, "CocUNDER5y1": {ID: "CocUNDER5y1"},
	}}
	want := DataSet{
		ID: "DsTest00001", Code: "DS", Name: "Test", PeriodType: Monthly, CanRead: true, CanWrite: true, ExpiryDays: 10, OpenFuturePeriods: 1,
		InputPeriods: []InputPeriod{{Period: "202609", Opens: "2026-09-01T00:00:00.000", Closes: "2026-10-31T00:00:00.000"}},
		Workflow:     "WfTest00001", NoValueRequiresComment: true, CompulsoryOnly: true,
		Elements: map[string]*Element{
			"DeTest00001": {ID: "DeTest00001", Code: "DE1", Name: "One", ValueType: "INTEGER", ZeroIsSignificant: true, Aggregation: "SUM", Combo: plain},
			"DETest00001": {ID: "DETest00001", ValueType: "NUMBER", Aggregation: "AVERAGE", Combo: age},
			"DeTest00003": {ID: "DeTest00003", ValueType: "TEXT", Aggregation: "NONE", Options: map[string]bool{"A": true, "b": true}, Combo: age},
		},
		Combo: plain, DefaultCombo: "HllvX50cXC0", NoZeros: map[string]bool{"DeTest00003": true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got.Elements["DETest00001"].Combo != got.Elements["DeTest00003"].Combo || got.Combo != got.Elements["DeTest00001"].Combo {
		t.Error("a category combo is kept more than once")
	}
}

func TestDataSetTellsWhatIsWrongWithAnAnswer(t *testing.T) {
	const asJSON = "application/json;charset=UTF-8"
	for _, test := range []struct {
		name, contentType, body string
		status                  int
		kind                    Kind
		says                    string
	}{
		{"unknown or unreadable", asJSON, `{"httpStatus":"Not Found","httpStatusCode":404,"status":"ERROR","message":"DataSet with id DsTest00001 could not be found."}`, 404, Refused, "could not be found"},
		{"no right at all", asJSON, `{"httpStatus":"Forbidden","httpStatusCode":403,"status":"ERROR","message":"Access is denied"}`, 403, Credentials, "Access is denied"},
		{"a login page", "text/html", `<html>`, 200, Unusable, "instead of JSON"},
		{"cut in the middle", asJSON, aSet[:len(aSet)/2], 200, Unavailable, "broke off after 2 data elements"},
		{"cut at the end", asJSON, aSet[:len(aSet)-1], 200, Unavailable, "broke off after 3 data elements"},
		{"nothing", asJSON, ``, 200, Unavailable, "broke off"},
		{"more than one", asJSON, aSet + `{}`, 200, Unusable, "something follows"},
		{"a list", asJSON, `[]`, 200, Unusable, "another form"},
		{"elements that are none", asJSON, `{"id":"DsTest00001","dataSetElements":{}}`, 200, Unusable, "another form"},
		{"an element that is none", asJSON, `{"dataSetElements":[{"dataElement":"DeTest00001"}]}`, 200, Unusable, "another form"},
		{"a combo that is none", asJSON, `{"dataSetElements":[{"dataElement":{"id":"DeTest00001","categoryCombo":[]}}]}`, 200, Unusable, "another form"},
		{"a number that is none", asJSON, `{"id":"DsTest00001","expiryDays":"ten"}`, 200, Unusable, "another form"},
		{"no JSON", asJSON, `{"id":DsTest00001}`, 200, Unusable, "no valid JSON"},
		{"another server", asJSON, `{}`, 200, Unusable, "no id and period type"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := client(func(*http.Request, []byte) (int, string, string, error) {
				return test.status, test.contentType, test.body, nil
			})
			_, err := c.DataSet(t.Context(), "DsTest00001")
			var failure *Error
			if !errors.As(err, &failure) || failure.Kind != test.kind || failure.Remedy == "" || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v (%+v), want %s that says %q", err, failure, test.kind, test.says)
			}
		})
	}
}

// plainCaller is the client of net/http: what it reads is not kept.
type plainCaller struct{}

func (plainCaller) Stream(r *http.Request, _ func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	return response, nil, err
}

func (p plainCaller) Do(r *http.Request, _ func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	response, _, err := p.Stream(r, nil)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response, body, err
}

func TestALargeDataSetIsReadInLittleMemory(t *testing.T) {
	const units, elements, combos = 10_000, 500, 50
	const most = 15 << 20 // half of what is promised: who keeps the whole answer needs more
	var before runtime.MemStats
	var peak uint64
	look := func() {
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		peak = max(peak, now.HeapAlloc)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
		if strings.HasPrefix(r.URL.Path, "/api/dataSets/") {
			writeLargeSet(w, elements, combos, look)
			return
		}
		var page int
		_, _ = fmt.Sscan(r.URL.Query().Get("page"), &page)
		_, _ = fmt.Fprintf(w, `{"pager":{"pageCount":%d,"total":%d},"organisationUnits":[`, units/orgUnitPage, units)
		for i := range orgUnitPage {
			_, _ = fmt.Fprintf(w, `%s{"id":"Ou%09d","code":"KE-%d","name":"Amani Health Centre %[2]d","path":"/OuCountry01/OuRegion%03[3]d/OuDistr%04[3]d/Ou%09[2]d","openingDate":"2000-01-01T00:00:00.000"}`,
				", "[:min(i, 1)], (page-1)*orgUnitPage+i, i)
		}
		_, _ = io.WriteString(w, "]}")
		look()
	}))
	defer server.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := New(address, plainCaller{}, 1)
	runtime.GC()
	runtime.ReadMemStats(&before)

	set, err := c.DataSet(t.Context(), "DsLarge0001")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]OrgUnit{}
	if err := c.OrgUnits(t.Context(), "DsLarge0001", func(o OrgUnit) { all[o.ID] = o }); err != nil {
		t.Fatal(err)
	}
	look()
	if len(set.Elements) != elements || len(set.Elements["De000000007"].Combo.Combos) != combos || len(all) != units {
		t.Fatalf("%d elements, %d org units", len(set.Elements), len(all))
	}
	if used := peak - min(peak, before.HeapAlloc); used > most {
		t.Errorf("%d MiB, want at most %d", used>>20, most>>20)
	} else {
		t.Logf("%d MiB", used>>20)
	}
}

func writeLargeSet(w io.Writer, elements, combos int, look func()) {
	var combo strings.Builder
	for i := range combos {
		_, _ = fmt.Fprintf(&combo, `%s{"id":"Coc%08d","code":"COC_%[2]d","name":"Under %[2]d years, female, fixed post","categoryOptions":[`+
			`{"id":"CoAge%06[2]d","access":{"data":{"read":true,"write":true}}},{"id":"CoSex%06[2]d","access":{"data":{"read":true,"write":true}}},{"id":"CoPost%05[2]d","access":{"data":{"read":true,"write":true}}}]}`,
			", "[:min(i, 1)], i)
	}
	_, _ = io.WriteString(w, `{"id":"DsLarge0001","periodType":"Monthly","dataSetElements":[`)
	for i := range elements {
		_, _ = fmt.Fprintf(w, `%s{"dataElement":{"id":"De%09d","code":"DE_%[2]d","name":"Children who were seen %[2]d","valueType":"INTEGER","aggregationType":"SUM","categoryCombo":{"id":"CcLarge%04[3]d","isDefault":false,"categoryOptionCombos":[%[4]s]}}}`,
			", "[:min(i, 1)], i, i%5, combo.String())
		if i%10 == 0 {
			look()
		}
	}
	_, _ = io.WriteString(w, `],"categoryCombo":{"id":"CcDefault01","isDefault":true,"categoryOptionCombos":[{"id":"HllvX50cXC0"}]}}`)
}

func FuzzDataSet(f *testing.F) {
	for _, seed := range []string{aSet, "", "{}", `{"dataSetElements":[{}]}`, `{"categoryCombo":null}`, `{"id":1}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		c := client(func(*http.Request, []byte) (int, string, string, error) { return 200, "application/json", answer, nil })
		set, err := c.DataSet(t.Context(), "DsTest00001")
		if err != nil {
			return
		}
		for id, e := range set.Elements {
			if set.Combo == nil || id == "" || e.ID != id || e.Combo == nil {
				t.Errorf("got %q: %+v", id, e)
			}
		}
	})
}
