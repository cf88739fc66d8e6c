package handlers

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/orchestration"
)

func mustPeriod(t *testing.T, id string) dhis2.Period {
	t.Helper()
	p, err := dhis2.ParsePeriod(id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// exportOf is an export of the CHT with so many values of the first data element, each of another org unit, which DHIS2 does not
// know: so nothing is checked.
func exportOf(b *bench, values int) []byte {
	b.Submitter.DataSets[0].Unchecked = true
	type value struct {
		DataElement string `json:"dataElement"`
		OrgUnit     string `json:"orgUnit"`
		Value       int    `json:"value"`
	}
	element := b.country.Right[b.sets[0]][0].DataElement
	var all []value
	for n := range values {
		all = append(all, value{element, fmt.Sprintf("Ou%09d", n), 1 + n})
	}
	text, _ := json.Marshal(map[string]any{"dataSet": b.sets[0], "completeDate": "2026-10-01", "period": period, "dataValues": all})
	return text
}

func TestPreviewShowsWhatWouldBeSent(t *testing.T) {
	b := newBench(t, 0, nil)
	var got struct {
		orchestration.Report

		Values []struct {
			OrgUnit string `json:"org_unit"`
			Value   string `json:"value"`
		} `json:"values"`
	}
	a := b.call(t, http.MethodGet, Base+"/preview?period=202609&data_set="+b.sets[0], "")
	a.into(t, &got)
	if a.status != 200 || len(got.Values) != len(b.country.Right[b.sets[0]]) || got.State != ledger.Ready || got.RequestedBy != "router" {
		t.Errorf("%d, %d values, %s", a.status, len(got.Values), got.State)
	}
	unit := got.Values[0].OrgUnit
	a = b.call(t, http.MethodGet, Base+"/preview?period=202609&org_unit="+unit+"&data_set="+b.sets[0], "")
	a.into(t, &got)
	for _, v := range got.Values {
		if v.OrgUnit != unit {
			t.Errorf("%s is shown", v.OrgUnit)
		}
	}
	if len(b.dhis2.Imports()) > 0 {
		t.Error("something was sent")
	}
	if all, err := b.ledger.Submissions(t.Context(), ledger.Filter{}); err != nil || len(all) > 0 {
		t.Errorf("%d submissions are remembered (%v)", len(all), err)
	}
	nothingLeft(t, b)
}

func nothingLeft(t *testing.T, b *bench) {
	t.Helper()
	left, err := os.ReadDir(b.Submitter.SpoolDir)
	if err != nil || len(left) > 0 {
		t.Errorf("%d temporary files are left (%v)", len(left), err)
	}
}

func TestPreviewTellsWhyNothingWouldBeSent(t *testing.T) {
	b := newBench(t, 0, nil)
	var got orchestration.Report
	a := b.call(t, http.MethodGet, Base+"/preview?period=202611&data_set="+b.sets[0], "")
	a.into(t, &got)
	if a.status != 200 || got.State != ledger.Refused || len(got.Issues) != 1 || got.Issues[0].Code != "period_not_closed" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestDataValueSetIsAFileForDHIS2(t *testing.T) {
	b := newBench(t, 0, nil)
	values := len(b.country.Right[b.sets[0]])
	name := func(ending string) string {
		return fmt.Sprintf("attachment; filename=%q", b.sets[0]+"-202609-kisumu"+ending)
	}
	path := Base + "/data-value-sets?cht=kisumu&period=202609&data_set=" + b.sets[0]
	tests := []struct {
		name, path string
		accept     string
		isCSV      bool
		file       string
	}{
		{"without a word", path, "", false, name(".json")},
		{"json", path + "&format=json", "text/csv", false, name(".json")},
		{"csv", path + "&format=csv", "", true, name(".csv")},
		{"csv by the header", path, "text/csv", true, name(".csv")},
		{"a browser", path, "text/html,*/*", false, name(".json")},
		{"a part", path + "&org_unit=" + b.country.Right[b.sets[0]][0].OrgUnit, "", false, name("-part.json")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, way := range []option{func(*http.Request) {}, throughOpenHIM} {
				a := b.call(t, http.MethodGet, test.path, "", header("Accept", test.accept), way)
				if a.status != 200 || a.header.Get("Content-Disposition") != test.file || a.header.Get(quarantinedHeader) != "0" {
					t.Fatalf("%d %v", a.status, a.header)
				}
				if test.isCSV {
					rows, err := csv.NewReader(strings.NewReader(string(a.body))).ReadAll()
					if err != nil || len(rows) != values+1 || rows[0][0] != "dataelement" || rows[1][1] != period {
						t.Errorf("%d rows, %v", len(rows), err)
					}
					continue
				}
				var set struct {
					DataSet    string            `json:"dataSet"`
					DataValues []json.RawMessage `json:"dataValues"`
				}
				a.into(t, &set)
				if set.DataSet != b.sets[0] || !strings.Contains(test.path, "org_unit") && len(set.DataValues) != values {
					t.Errorf("%s with %d values", set.DataSet, len(set.DataValues))
				}
			}
		})
	}
	nothingLeft(t, b)
}

func TestNoFileIsHandedOutThatMustNotBeSent(t *testing.T) {
	b := newBench(t, 0, nil)
	path := Base + "/data-value-sets?data_set=" + b.sets[0]
	a := b.call(t, http.MethodGet, path+"&period=202611", "")
	f := a.failure(t)
	if a.status != http.StatusConflict || f.Code != "refused" || f.Report == nil || f.Report.Issues[0].Code != "period_not_closed" || a.header.Get("Content-Disposition") != "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	tests := []struct {
		name   string
		cht    sandbox.Fault
		dhis2  sandbox.Fault
		status int
		code   string
	}{
		{"the CHT is away", sandbox.Fault{Kind: sandbox.Status, Status: 503}, sandbox.Fault{}, 503, "unavailable"},
		{"the CHT refuses the account", sandbox.Fault{Kind: sandbox.Status, Status: 401}, sandbox.Fault{}, 502, "credentials"},
		{"the export is cut", sandbox.Fault{Kind: sandbox.CutBody, Path: "/api/v2/export"}, sandbox.Fault{}, 503, "unavailable"},
		{"DHIS2 is away", sandbox.Fault{}, sandbox.Fault{Kind: sandbox.Status, Status: 502}, 503, "unavailable"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b.cht.Heal()
			b.dhis2.Heal()
			if test.cht.Kind != "" {
				b.cht.Fail(test.cht)
			}
			if test.dhis2.Kind != "" {
				b.dhis2.Fail(test.dhis2)
			}
			for _, path := range []string{path, Base + "/preview?data_set=" + b.sets[0]} {
				a := b.call(t, http.MethodGet, path+"&period=202609", "")
				if f := a.failure(t); a.status != test.status || f.Code != test.code || f.Report == nil || (a.status == 503) != (a.header.Get("Retry-After") != "") {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				}
			}
		})
	}
	nothingLeft(t, b)
}

func TestTwoMonthsAreReadAtOnceAndTheClientMayGo(t *testing.T) {
	b := newBench(t, 0, nil)
	b.cht.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: time.Hour})
	ctx, goAway := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for n := range usualPreviews {
		readers.Go(func() {
			request, _ := http.NewRequestWithContext(ctx, http.MethodGet, b.server.URL+Base+"/preview?period=202609&data_set="+b.sets[n%2]+"&cht=kisumu", nil)
			request.SetBasicAuth(username, password)
			response, err := b.server.Client().Do(request)
			if err == nil {
				_ = response.Body.Close()
				t.Errorf("a reader got %d", response.StatusCode)
			}
		})
	}
	path := Base + "/preview?period=202609&data_set=" + b.sets[0]
	for range usualPreviews {
		<-b.asked
	}
	if a := b.call(t, http.MethodGet, path, ""); a.status != http.StatusTooManyRequests || a.failure(t).Code != "busy" || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := b.call(t, http.MethodGet, submissionsPath, ""); a.status != 200 {
		t.Errorf("the list answers %d meanwhile", a.status)
	}
	goAway()
	readers.Wait()
	b.cht.Heal()
	waitUntil(t, "the places are free again", func() bool {
		return b.call(t, http.MethodGet, path, "").status == http.StatusOK
	})
	nothingLeft(t, b)
}

// waitUntil looks until something is so.
func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Fatal("it never comes to this: " + what)
		}
	}
}

func TestAFileTellsHowManyCellsAreHeldBack(t *testing.T) {
	b := newBench(t, 0, nil)
	unknownUnits := 3
	b.cht.SetExport(b.sets[0], period, []byte(strings.ReplaceAll(string(exportOf(b, unknownUnits)), `"value":`, `"value":null,"x":`)))
	a := b.call(t, http.MethodGet, Base+"/data-value-sets?period=202609&data_set="+b.sets[0], "")
	if a.status != 200 || a.header.Get(quarantinedHeader) != strconv.Itoa(unknownUnits) {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
}
