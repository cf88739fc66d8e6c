package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// showMetadata runs the command against a DHIS2 with the recorded metadata.
func showMetadata(t *testing.T, change func(*sandbox.DHIS2Metadata), args ...string) string {
	t.Helper()
	recorded, err := os.ReadFile("../internal/sandbox/testdata/dhis2/metadata.json")
	if err != nil {
		t.Fatal(err)
	}
	var metadata sandbox.DHIS2Metadata
	if err := json.Unmarshal(recorded, &metadata); err != nil {
		t.Fatal(err)
	}
	change(&metadata)
	now := func() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC) }
	server := sandbox.NewDHIS2(sandbox.DHIS2Config{
		Version: "2.42.5.2", Metadata: metadata, Now: now,
		Users: []sandbox.DHIS2User{{Username: "cht", Token: "d2p_cht", Authorities: []string{"F_DATAVALUE_ADD"}, OrgUnits: []string{"OuCountry01"}}},
	})
	server.ExceptFromLock("DsExpiry001", "202610", "OuAmaniHC01")
	at, err := sandbox.Listen(server)
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	folder := t.TempDir()
	config := fmt.Sprintf("data_dir: %q\ncht: [{name: county, url: \"http://cht.test\", username: u, password: p}]\ndhis2: [{name: national, url: %q, token: d2p_cht}]\ndata_sets:\n", folder, at.URL)
	for _, id := range []string{"DsExpiry001", "DsInputPr01", "DsApprove01", "DsMalariaM1", "DsWeekly001"} {
		config += "  - {id: " + id + ", first_period: \"202601\", completeness: off}\n"
	}
	file := filepath.Join(folder, "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), &app{stdout: &out, stderr: &errs, now: now}, append([]string{"metadata", "--config", file}, args...)); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	return out.String()
}

func TestMetadataTellsWhatIsOpen(t *testing.T) {
	text := showMetadata(t, func(*sandbox.DHIS2Metadata) {}, "--json")
	got := map[string]metadata{}
	for line := range strings.Lines(text) {
		var m metadata
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		got[m.ID] = m
	}
	expiring := got["DsExpiry001"]
	if expiring.ExpiryDays != 10 || expiring.Period != "202610" || expiring.OrgUnits.InPeriod != 1 || expiring.OrgUnits.Refused["period_expired"] == 0 {
		t.Errorf("expiry: %+v", expiring)
	}
	if periods := got["DsInputPr01"]; len(periods.InputPeriods) == 0 || periods.InputPeriods[0].Opens == "" {
		t.Errorf("input periods: %+v", periods)
	}
	if approved := got["DsApprove01"]; approved.Workflow == "" || approved.OrgUnits.Assigned == 0 {
		t.Errorf("approval: %+v", approved)
	}
	if weekly := got["DsWeekly001"]; weekly.PeriodType != "Weekly" || weekly.Period != "" || weekly.OrgUnits.Assigned == 0 || len(weekly.OrgUnits.Refused) > 0 {
		t.Errorf("another period type: %+v", weekly)
	}
	malaria := got["DsMalariaM1"]
	want := []optionCombo{{ID: "CocOver5yr1", Name: "5 and over"}, {ID: "CocUnder5y1", Name: "Under 5"}}
	for _, e := range malaria.Elements {
		if e.ID != "DeMalCases1" {
			continue
		}
		if diff := cmp.Diff(want, e.Combos); diff != "" || e.ValueType == "" || e.Combo != "CcAge000001" {
			t.Errorf("%+v, -want +got:\n%s", e, diff)
		}
	}
	if len(malaria.Elements) != 4 || !malaria.Write || malaria.OrgUnits.Refused["org_unit_closed"] != 1 {
		t.Errorf("got %+v", malaria)
	}
}

func TestMetadataOfManyOrgUnitsIsShort(t *testing.T) {
	const many = 3000
	text := showMetadata(t, func(m *sandbox.DHIS2Metadata) {
		set := &m.DataSets[0]
		for i := range m.DataSets {
			if m.DataSets[i].ID == "DsMalariaM1" {
				set = &m.DataSets[i]
			}
		}
		set.OrganisationUnits = nil
		for i := range many {
			id := fmt.Sprintf("Ov%09d", i)
			m.OrganisationUnits = append(m.OrganisationUnits, sandbox.DHIS2OrgUnit{ID: id, Name: id, OpeningDate: "2000-01-01", Parent: &sandbox.DHIS2Ref{ID: "OuCountry01"}})
			set.OrganisationUnits = append(set.OrganisationUnits, sandbox.DHIS2Ref{ID: id})
		}
	}, "--data-set", "DsMalariaM1")
	if !strings.Contains(text, "3000 assigned, 3000 of them open today") || strings.Count(text, "\n") > 40 {
		t.Errorf("%d lines: %.2000s", strings.Count(text, "\n"), text)
	}
}
