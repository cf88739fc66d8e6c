package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/orchestration"
)

// TestTheExampleOfTargetDocumentsArrives runs examples/targets.yaml against the deployment of the recordings.
func TestTheExampleOfTargetDocumentsArrives(t *testing.T) {
	now := func() time.Time { return time.Date(2026, 8, 22, 9, 0, 0, 0, time.UTC) }
	var documents sandbox.CHTDocuments
	var metadata sandbox.DHIS2Metadata
	readJSON(t, recorded+"/cht/fixtures.json", &documents)
	readJSON(t, recorded+"/dhis2/metadata.json", &metadata)
	destination := sandbox.NewDHIS2(sandbox.DHIS2Config{Version: "2.42.5.2", Metadata: metadata, Now: now, Users: []sandbox.DHIS2User{
		{Username: "cht", Token: "d2p_cht", Authorities: []string{"F_DATAVALUE_ADD"}, OrgUnits: []string{"OuCountry01"}},
	}})
	source := sandbox.NewCHT(sandbox.CHTConfig{Documents: documents, Now: now})
	folder := t.TempDir()
	do := func(args ...string) (code int, out, said string) {
		var stdout, stderr bytes.Buffer
		a := &app{stdout: &stdout, stderr: &stderr, now: now, environ: []string{
			"CHT_URL=" + listen(t, source).URL, "CHT_PASSWORD=Secret.123", "DHIS2_URL=" + listen(t, destination).URL, "DHIS2_TOKEN=d2p_cht",
		}}
		code = run(t.Context(), a, append(args, "--config", "../examples/targets.yaml", "--set", "data_dir="+folder))
		return code, stdout.String(), stderr.String()
	}
	code, out, said := do("submit", "--period", "202607", "--json", "--wait", "0s", "--log-level", "debug")
	var report orchestration.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 {
		t.Fatalf("exit %d, %v: %s\n%s", code, err, out, said)
	}
	var held []string
	for _, v := range destination.Values() {
		if v.DataElement == "DeMalCases1" || v.DataElement == "DeRdtPosit1" {
			held = append(held, strings.Join([]string{v.OrgUnit, v.DataElement, v.CategoryOptionCombo, v.Value}, " "))
		}
	}
	slices.Sort(held)
	want := []string{
		"OuAmaniChu2 DeMalCases1 CocOver5yr1 6", "OuAmaniChu2 DeMalCases1 CocUnder5y1 5", "OuAmaniChu2 DeRdtPosit1 HllvX50cXC0 8",
		"OuAmaniHC01 DeMalCases1 CocOver5yr1 5", "OuAmaniHC01 DeMalCases1 CocUnder5y1 9", "OuAmaniHC01 DeRdtPosit1 HllvX50cXC0 14",
		"OuBarakaMal DeMalCases1 CocOver5yr1 8", "OuBarakaMal DeMalCases1 CocUnder5y1 9", "OuBarakaMal DeRdtPosit1 HllvX50cXC0 15",
		"OuElimuHC01 DeMalCases1 CocOver5yr1 5", "OuElimuHC01 DeMalCases1 CocUnder5y1 6", "OuElimuHC01 DeRdtPosit1 HllvX50cXC0 8",
	}
	if diff := cmp.Diff(want, held); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	// Nobody is named in what the program says, nor in the evidence that it keeps.
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: folder, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for stored, err := range l.Exchanges(t.Context(), report.ID) {
		if err != nil {
			t.Fatal(err)
		}
		calls += strings.Count(string(stored.Body), "_all_docs")
		said += string(stored.Body)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, personal := range []string{"asha", "chw-", "org.couchdb.user"} {
		if at := strings.Index(out+said, personal); at >= 0 {
			t.Errorf("%s is named: %s", personal, (out + said)[max(0, at-200):min(len(out+said), at+200)])
		}
	}
	if calls < 2 || !strings.Contains(said, "Read all target documents of 202607 from CHT kisumu") {
		t.Errorf("got %d readings of documents in the evidence", calls)
	}
	if left, err := filepath.Glob(folder + "/mediator-*"); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v", left, err)
	}
	if code, out, said = do("submit", "--period", "202607", "--wait", "0s"); code != 0 || !strings.Contains(out, "unchanged") {
		t.Errorf("exit %d: %s %s", code, out, said)
	}
}
