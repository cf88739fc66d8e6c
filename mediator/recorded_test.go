package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/orchestration"
)

const recorded = "../internal/sandbox/testdata"

// recordedExports are exports that a real CHT answered, by their names, as they came.
func recordedExports(t *testing.T) map[string][]byte {
	t.Helper()
	file, err := os.Open(recorded + "/cht/recordings.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string][]byte{}
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		var r struct {
			Name     string
			Response struct{ Body json.RawMessage }
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(r.Name, "export-200-") {
			exports[r.Name] = r.Response.Body
		}
	}
	return exports
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(content, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// cellKey is a cell as DHIS2 knows it, the default combo left out.
type cellKey struct{ orgUnit, dataElement, combo string }

// right is what a program that read the target documents itself found for July 2026.
func right(t *testing.T, dataSet string) map[cellKey]string {
	t.Helper()
	var reference struct {
		DataSets map[string]struct {
			DataValues []struct {
				OrgUnit, DataElement, CategoryOptionCombo string
				Value                                     json.Number
			}
		}
	}
	readJSON(t, recorded+"/cht/reference-own-aggregate-2026-07.json", &reference)
	cells := map[cellKey]string{}
	for _, v := range reference.DataSets[dataSet].DataValues {
		cells[keyOf(v.OrgUnit, v.DataElement, v.CategoryOptionCombo)] = v.Value.String()
	}
	return cells
}

func keyOf(orgUnit, dataElement, combo string) cellKey {
	if combo == "HllvX50cXC0" {
		combo = ""
	}
	return cellKey{orgUnit, dataElement, combo}
}

// recordedWorld is the servers of the recordings with one export, and a configuration for them. Places of that CHT lie inside others
// that carry an org unit too, and both are sent.
func recordedWorld(t *testing.T, version, dataSet, period string, export []byte) (*sandbox.DHIS2, string) {
	t.Helper()
	now := func() time.Time { return time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC) }
	var documents sandbox.CHTDocuments
	readJSON(t, recorded+"/cht/fixtures.json", &documents)
	var metadata sandbox.DHIS2Metadata
	readJSON(t, recorded+"/dhis2/metadata.json", &metadata)
	source := sandbox.NewCHT(sandbox.CHTConfig{Documents: documents, Now: now})
	source.SetExport(dataSet, period, export)
	destination := sandbox.NewDHIS2(sandbox.DHIS2Config{Version: version, Metadata: metadata, Now: now, Users: []sandbox.DHIS2User{
		{Username: "cht_integration", Password: "Secret.1234", Authorities: []string{"F_DATAVALUE_ADD"}, OrgUnits: []string{"OuCountry01"}},
	}})
	cht, err := sandbox.Listen(source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cht.Close)
	dhis2, err := sandbox.Listen(destination)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dhis2.Close)
	config := filepath.Join(t.TempDir(), "config.yaml")
	text := fmt.Sprintf("cht: [{name: county, url: %q, username: integration, password: Secret.123}]\ndhis2: [{name: national, url: %q, username: cht_integration, password: Secret.1234}]\ndata_sets: [{id: %s, first_period: \"202501\", completeness: \"off\", nested_org_units: allow}]\n", cht.URL, dhis2.URL, dataSet)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return destination, config
}

// submitted runs the program and reads its report.
func submitted(t *testing.T, args ...string) orchestration.Report {
	t.Helper()
	var out, said bytes.Buffer
	now := func() time.Time { return time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC) }
	code := run(context.Background(), &app{stdout: &out, stderr: &said, now: now}, append([]string{"submit", "--json", "--wait", "0s"}, args...))
	var report orchestration.Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("exit code %d, %v: %s", code, err, said.String())
	}
	if code != exitCode(report.Reason) {
		t.Errorf("exit code %d for reason %q", code, report.Reason)
	}
	return report
}

// explained says whether a report names why a cell did not arrive with this value.
func explained(r orchestration.Report, at cellKey, value string) bool {
	for _, c := range r.Refused {
		if c.OrgUnit == at.orgUnit && c.DataElement == at.dataElement {
			return true
		}
	}
	for _, i := range r.Issues {
		if i.DataElement == at.dataElement && (i.OrgUnit == at.orgUnit || i.Code == "target_not_exported") {
			return true
		}
		if i.Code == "zeros_not_kept" && value == "0" {
			return true
		}
	}
	return slices.ContainsFunc(r.Results, func(u orchestration.OrgUnitResult) bool { return u.OrgUnit == at.orgUnit && u.State == "dropped" })
}

// TestRealExportsArrive sends what a real CHT exported to both dialects and compares what arrives, cell by cell, with
// what the target documents say. Every difference is one that the report names.
func TestRealExportsArrive(t *testing.T) {
	exports := recordedExports(t)
	for _, version := range []string{"2.42.5.2", "2.43.1"} {
		for export, dataSet := range map[string]string{
			"export-200-mch-all-org-units": "DsMchMonth1", "export-200-malaria-all-org-units": "DsMalariaM1",
			"export-200-gzip": "DsMchMonth1",
		} {
			t.Run(version+" "+export, func(t *testing.T) {
				raw := exports[export]
				if !bytes.Contains(raw, []byte(`"period":"202607"`)) || !bytes.Contains(raw, []byte(dataSet)) {
					t.Fatalf("%s is of another month or data set: %.100s", export, raw)
				}
				server, config := recordedWorld(t, version, dataSet, "202607", raw)
				report := submitted(t, "--config", config, "--period", "202607")
				c := report.Counts
				if sum := c.Dropped + c.Quarantined + c.Accepted + c.Refused + c.Unknown + c.Unsent; c.Fetched != bytes.Count(raw, []byte(`"value"`)) || sum != c.Fetched || c.Unknown+c.Unsent > 0 {
					t.Errorf("counts %+v", c)
				}
				want := right(t, dataSet)
				arrived := map[cellKey]string{}
				for _, v := range server.Values() {
					key := keyOf(v.OrgUnit, v.DataElement, v.CategoryOptionCombo)
					if want[key] != v.Value || v.Period != "202607" {
						t.Errorf("DHIS2 holds %q for %v, the right value is %q", v.Value, key, want[key])
					}
					arrived[key] = v.Value
				}
				for key, value := range want {
					if _, ok := arrived[key]; !ok && !explained(report, key, value) {
						t.Errorf("%v did not arrive with %s, and the report does not say why", key, value)
					}
				}
				t.Logf("%s: %d of %d cells arrived, %s", report.State, len(arrived), len(want), summaryOf(report))
			})
		}
	}
}

func summaryOf(r orchestration.Report) string {
	codes := map[string]int{}
	for _, c := range r.Refused {
		codes[c.Code]++
	}
	for _, i := range r.Issues {
		codes[i.Code] += i.Count
	}
	return fmt.Sprint(codes)
}

// TestEveryRecordedExportIsJudged sends each export that a real CHT answered, for the month that it is about, and one
// about another time for July 2026.
func TestEveryRecordedExportIsJudged(t *testing.T) {
	want := map[string]string{
		"export-200-mch-all-org-units":     "accepted",
		"export-200-malaria-all-org-units": "partly_accepted left_behind", // a shared element stays behind
		"export-200-gzip":                  "accepted",
		// One org unit of several, asked for in ways that the mediator does not use.
		"export-200-org-unit-filter-leaf":                   "accepted",
		"export-200-org-unit-filter-returns-other-org-unit": "accepted",
		"export-200-org-unit-filter-returns-sibling":        "accepted",
		"export-200-percent-encoded-brackets":               "accepted",
		"export-200-admin":                                  "unchanged", // an org unit of zeros
		"export-200-session-cookie":                         "unchanged",
		"export-200-org-unit-empty-string":                  "failed cht_unavailable", // no value at all
		"export-200-org-unit-unknown-empty":                 "failed cht_unavailable",
		// Other months, each with its own trouble.
		"export-200-month-without-targets-all-zero": "unchanged",
		"export-200-null-value":                     "partly_accepted left_behind",
		"export-200-string-and-fraction-values":     "partly_accepted left_behind",
		"export-200-total-not-pass":                 "accepted",
		// Another month than the one asked for, or names instead of ids.
		"export-200-from-in-seconds-1970":                    "failed cht_unavailable",
		"export-200-from-is-date-string-1970":                "failed cht_unavailable",
		"export-200-from-near-month-boundary-nairobi-server": "unchanged",
		"export-200-from-near-month-boundary-utc-server":     "unchanged",
		"export-200-human-readable":                          "failed cht_unavailable",
		"export-200-data-set-with-only-unassigned-targets":   "failed cht_unavailable",
	}
	got := map[string]string{}
	for name, raw := range recordedExports(t) {
		var head struct{ DataSet, Period string }
		if err := json.Unmarshal(raw, &head); err != nil {
			t.Fatal(err)
		}
		dataSet, period := "DsMchMonth1", "202607"
		if head.DataSet == "DsMalariaM1" {
			dataSet = head.DataSet
		}
		if strings.HasPrefix(head.Period, "202") {
			period = head.Period
		}
		_, config := recordedWorld(t, "2.43.1", dataSet, period, raw)
		report := submitted(t, "--config", config, "--period", period)
		got[name] = strings.TrimSpace(fmt.Sprintf("%s %s", report.State, report.Reason))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// TestOfRealExportsNothingIsCountedTwice sends what a real CHT exported of places that lie inside others.
func TestOfRealExportsNothingIsCountedTwice(t *testing.T) {
	var metadata sandbox.DHIS2Metadata
	readJSON(t, recorded+"/dhis2/metadata.json", &metadata)
	above := map[string]string{}
	for _, unit := range metadata.OrganisationUnits {
		if unit.Parent != nil {
			above[unit.ID] = unit.Parent.ID
		}
	}
	raw := recordedExports(t)["export-200-malaria-all-org-units"]
	for _, policy := range []string{"refuse", "lowest"} {
		t.Run(policy, func(t *testing.T) {
			server, config := recordedWorld(t, "2.43.1", "DsMalariaM1", "202607", raw)
			report := submitted(t, "--config", config, "--period", "202607", "--set", "data_sets.DsMalariaM1.nested_org_units="+policy)
			has := map[string]bool{}
			for _, v := range server.Values() {
				if v.Value != "0" {
					has[v.OrgUnit] = true
				}
			}
			if len(has) == 0 {
				t.Fatalf("nothing arrived: %+v", report)
			}
			for unit := range has {
				for up := above[unit]; up != ""; up = above[up] {
					if has[up] {
						t.Errorf("%s has figures, and so has %s inside it", up, unit)
					}
				}
			}
			told := map[string]string{}
			for _, i := range report.Issues {
				if i.Code == "nested_org_units" {
					told[i.OrgUnit] = string(i.Severity)
				}
			}
			want := map[string]string{"refuse": "cell", "lowest": "note"}[policy]
			if len(told) != 2 || told["OuDistEast1"] != want || told["OuAmaniHC01"] != want {
				t.Errorf("told of %v", told)
			}
		})
	}
}
