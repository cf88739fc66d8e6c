package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// recordedSides stand up the CHT and the DHIS2 of the recordings, and write a configuration that leads to them, with these data sets.
type recordedSides struct {
	cht    sandbox.CHTDocuments
	dhis2  sandbox.DHIS2Metadata
	folder string
	server *sandbox.CHT
	// servers is the part of the configuration that leads to them.
	servers string
	// now is in the month after the one that was recorded.
	now func() time.Time
}

func newRecordedSides(t *testing.T) *recordedSides {
	t.Helper()
	r := &recordedSides{folder: t.TempDir(), now: func() time.Time { return time.Date(2026, 8, 22, 9, 0, 0, 0, time.UTC) }}
	for name, into := range map[string]any{"cht/fixtures.json": &r.cht, "dhis2/metadata.json": &r.dhis2} {
		content, err := os.ReadFile(filepath.Join("../internal/sandbox/testdata", name))
		if err == nil {
			err = json.Unmarshal(content, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// start writes the configuration, with these data sets.
func (r *recordedSides) start(t *testing.T, dataSets string) {
	t.Helper()
	r.server = sandbox.NewCHT(sandbox.CHTConfig{Documents: r.cht, Now: r.now})
	r.servers = fmt.Sprintf("data_dir: %q\n", filepath.Join(r.folder, "data"))
	for kind, handler := range map[string]*sandbox.Server{
		"cht: [{name: county, url: %q, username: integration, password: Secret.123}]\n": listen(t, r.server),
		"dhis2: [{name: national, url: %q, token: d2p_cht}]\n": listen(t, sandbox.NewDHIS2(sandbox.DHIS2Config{
			Version: "2.42.5.2", Metadata: r.dhis2, Now: r.now,
			Users: []sandbox.DHIS2User{{Username: "cht", Token: "d2p_cht", Authorities: []string{"F_DATAVALUE_ADD"}, OrgUnits: []string{"OuCountry01"}}},
		})),
	} {
		r.servers += fmt.Sprintf(kind, handler.URL)
	}
	r.configure(t, dataSets)
}

// configure writes the configuration anew.
func (r *recordedSides) configure(t *testing.T, dataSets string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.folder, "config.yaml"), []byte(r.servers+dataSets), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs a command with the configuration, and gives its exit code and what it says.
func (r *recordedSides) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), &app{stdout: &out, stderr: &errs, now: r.now}, append(args, "--config", filepath.Join(r.folder, "config.yaml")))
	return code, out.String(), errs.String()
}

// golden compares with a file, which -update rewrites.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "mapping", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s, -want +got:\n%s", name, diff)
	}
}

func TestMappingInitDraftsWhatTheExportCannotCarry(t *testing.T) {
	r := newRecordedSides(t)
	r.start(t, "")
	for _, set := range []string{"DsMalariaM1", "DsMchMonth1"} {
		code, out, errs := r.run(t, "mapping", "init", "--data-set", set)
		if code != 0 {
			t.Fatalf("exit %d: %s", code, errs)
		}
		golden(t, set+".txt", out)
	}
}

// TestADraftIsTakenOnceItsQuestionsAreAnswered answers them one after the other.
func TestADraftIsTakenOnceItsQuestionsAreAnswered(t *testing.T) {
	for _, set := range []string{"DsMalariaM1", "DsMchMonth1"} {
		r := newRecordedSides(t)
		r.start(t, "")
		if code, out, errs := r.run(t, "mapping", "init", "--data-set", set, "--out", r.folder); code != 0 {
			t.Fatalf("exit %d: %s%s", code, out, errs)
		}
		replace := func(name, old, answer string) {
			t.Helper()
			path := filepath.Join(r.folder, name)
			text, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(text), old) {
				t.Fatalf("%s has no %s: %v", name, old, err)
			}
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), old, answer)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		entry, err := os.ReadFile(filepath.Join(r.folder, set+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		r.configure(t, string(entry))
		for _, open := range []struct{ said, file, question, answer string }{
			{"first_period", "config.yaml", `first_period: "?"`, `first_period: "202601"`},
			{"completeness", "config.yaml", `completeness: "?"`, `completeness: "off"`},
			{"a question mark is a question", set + "-targets.csv", ",?,", ",pass,"},
		} {
			code, _, errs := r.run(t, "config", "check")
			if code != 2 || !strings.Contains(errs, open.said) {
				t.Errorf("with %s open: exit %d: %s", open.question, code, errs)
			}
			replace(open.file, open.question, open.answer)
		}
		if code, _, errs := r.run(t, "config", "check"); code != 0 {
			t.Errorf("exit %d: %s", code, errs)
		}
		code, out, errs := r.run(t, "mapping", "check")
		if code != 0 {
			t.Errorf("exit %d: %s", code, errs)
		}
		golden(t, "check-"+set+".txt", out)
	}
}

// TestMappingInitAsksForWhatNobodyCanKnow has a CHT that is not set up with care.
func TestMappingInitAsksForWhatNobodyCanKnow(t *testing.T) {
	r := newRecordedSides(t)
	for i, item := range r.cht.Settings.Tasks.Targets.Items {
		change := map[string]string{
			"malaria-cases-under-5": `{"dataSet":"DsMalariaM1","dataElement":"DeMalCases1"}`,
			"malaria-cases-5-plus":  `{"dataSet":"DsMalariaM1","dataElement":"DeMalCases1","categoryOptionCombo":"CocProjectA"}`,
			"llin-distributed":      `{"dataSet":"DsMalariaM1","dataElement":"DeLlinDist2"}`,
			"home-visits":           `{"dataSet":"DsMalariaM1","dataElement":"DeLlinDist1","categoryOptionCombo":"CocUnder5y1"}`,
			"births-this-month":     `{"dataElement":"DeBirths001"}`,
			"deaths-this-month":     "",
		}[item.ID]
		if change != "" || item.ID == "deaths-this-month" {
			r.cht.Settings.Tasks.Targets.Items[i].DHIS = json.RawMessage(change)
		}
	}
	r.cht.Settings.ContactTypes = json.RawMessage(`[{"id":"health_facility"},{"id":"chw","person":true},{"id":"supervisor","person":true}]`)
	r.start(t, "")
	code, out, errs := r.run(t, "mapping", "init", "--data-set", "DsMalariaM1")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	golden(t, "questions.txt", out)
}

func TestMappingInitOfADataSetWithCategoriesAsksWhichIsTheCHTs(t *testing.T) {
	r := newRecordedSides(t)
	r.cht.Settings.DHISDataSets = append(r.cht.Settings.DHISDataSets, sandbox.CHTDataSet{ID: "DsAttrib001"})
	r.cht.Settings.Tasks.Targets.Items = []sandbox.CHTTarget{
		{ID: "births", Type: "count", DHIS: json.RawMessage(`{"dataSet":"DsAttrib001","dataElement":"DeBirths001"}`)},
		{ID: "deaths", Type: "count", DHIS: json.RawMessage(`{"dataSet":"DsAttrib001","dataElement":"DeDeaths001"}`)},
	}
	r.start(t, "data_sets: [{id: DsAttrib001, title: Mine, first_period: \"202601\", completeness: \"off\"}]\n")
	code, out, errs := r.run(t, "mapping", "init", "--data-set", "DsAttrib001")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	golden(t, "categories.txt", out)
}

func TestMappingInitOfCodesWritesTheScheme(t *testing.T) {
	r := newRecordedSides(t)
	r.cht.Settings.Tasks.Targets.Items = []sandbox.CHTTarget{{ID: "births", Type: "count", DHIS: json.RawMessage(`{"dataSet":"DsMchMonth1","dataElement":"DEBIRTHS001"}`)}}
	r.start(t, "")
	_, out, errs := r.run(t, "mapping", "init", "--data-set", "DsMchMonth1")
	if !strings.Contains(out, `data_element_id_scheme: "code"`) || strings.Contains(out, "org_unit_id_scheme") || !strings.Contains(out, "source: export") {
		t.Errorf("got %s%s", out, errs)
	}
}

func TestMappingCheckExplainsTheExport(t *testing.T) {
	r := newRecordedSides(t)
	r.start(t, "data_sets:\n  - {id: DsMalariaM1, first_period: \"202601\", completeness: \"off\"}\n  - {id: DsMchMonth1, first_period: \"202601\", completeness: \"off\"}\n")
	code, out, errs := r.run(t, "mapping", "check", "--data-set", "DsMalariaM1")
	if code != 4 {
		t.Errorf("exit %d: %s", code, errs)
	}
	golden(t, "check-malaria-export.txt", out)
	code, out, errs = r.run(t, "mapping", "check", "--data-set", "DsMchMonth1")
	if code != 0 {
		t.Errorf("exit %d: %s", code, errs)
	}
	golden(t, "check-mch-export.txt", out)
	code, out, errs = r.run(t, "mapping", "check", "--data-set", "DsMalariaM1", "--json")
	var m explainedMapping
	if err := json.Unmarshal([]byte(out), &m); err != nil || code != 4 || m.Exportable || m.Source != "export" || len(m.Cells) != 5 || len(m.Idle) == 0 {
		t.Errorf("exit %d, %v: %s%s", code, err, out, errs)
	}
}

// listen serves a stand-in until the test ends.
func listen(t *testing.T, handler http.Handler) *sandbox.Server {
	t.Helper()
	server, err := sandbox.Listen(handler)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}
