package main

import (
	"bytes"
	"compress/gzip"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// silence takes away the documents of the first workers of an org unit, so many of them, and puts the name of the first one and how
// many there are into variables.
func (w *world) silence(ts *testscript.TestScript, args []string) error {
	count, err := strconv.Atoi(args[1])
	places := w.country.CHT.Places
	at := slices.IndexFunc(places, func(p sandbox.CHTContact) bool { return len(p.DHIS) > 0 && p.DHIS[0].OrgUnit == args[0] })
	if err != nil || at < 0 {
		return fmt.Errorf("no place carries %s: %w", args[0], err)
	}
	var workers []sandbox.CHTContact
	for _, person := range w.country.CHT.Persons {
		if person.Parent.ID == places[at].ID {
			workers = append(workers, person)
		}
	}
	ts.Setenv("WORKERS", strconv.Itoa(len(workers)))
	ts.Setenv("NAME", workers[0].Name)
	ts.Setenv("CONTACT", workers[0].ID)
	w.cht.Change(func(d *sandbox.CHTDocuments) {
		d.Targets = slices.DeleteFunc(slices.Clone(d.Targets), func(one sandbox.CHTTargetDocument) bool {
			return slices.ContainsFunc(workers[:count], func(p sandbox.CHTContact) bool { return p.ID == one.Owner })
		})
	})
	return nil
}

// speak brings all documents back.
func (w *world) speak(*testscript.TestScript, []string) error {
	w.cht.Change(func(d *sandbox.CHTDocuments) { d.Targets = w.country.CHT.Targets })
	return nil
}

// TestNobodyIsNamedButToThoseWhoMayKnow reads coverage in every way, in good days and in bad ones, and then looks for the ids and names of
// workers in all that is kept, logged, measured and told.
func TestNobodyIsNamedButToThoseWhoMayKnow(t *testing.T) {
	for _, source := range []string{"export", "targets"} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, "8.5.0", ", source: "+source+", coverage: on, expected_contact_types: [chw], minimum_coverage: 95, completeness_coverage: 95", "log_level: debug")
			h.rewrite("completeness: off", "completeness: when_accepted")
			h.rewrite("callers: [", "callers: [{name: ministry, username: ministry, password: "+doorPassword+", may_see_workers: true}, ")
			silent, twice := h.country.CHT.Targets[0], h.country.CHT.Targets[len(h.country.CHT.Targets)-1]
			h.cht.Change(func(d *sandbox.CHTDocuments) {
				d.Persons = slices.Clone(d.Persons)
				for i := range d.Persons { // facilities may be called as people are
					d.Persons[i].Name += " the Worker"
				}
				d.Targets = slices.Clone(d.Targets[1:])
				second := twice
				second.ID += "-tablet"
				d.Targets = append(d.Targets, second)
				if source == "targets" { // the CHT's export would fail
					odd := twice
					odd.ID, odd.Targets = strings.ReplaceAll(odd.ID, twice.Owner, "nobody-knows"), nil
					d.Targets = append(d.Targets, odd)
				}
			})
			h.serve()
			h.registered()

			begin := func() string {
				status, answer := h.call(http.MethodPost, h.door+"/cht-dhis2/submissions", "ministry", doorPassword, map[string]any{"data_set": h.set, "period": h.period})
				if status != http.StatusAccepted {
					t.Fatalf("got %d %v", status, answer)
				}
				return h.door + "/cht-dhis2/submissions/" + fmt.Sprint(answer["id"])
			}
			await := func(submission, what string, is func(report map[string]any) bool) (report map[string]any) {
				eventually(t, what, func() bool {
					_, report = h.call(http.MethodGet, submission, "ministry", doorPassword, nil)
					return is(report)
				})
				return report
			}
			h.cht.Fail(sandbox.Fault{Kind: sandbox.ResetAfter, Path: "/medic/_all_docs", Times: 1}) // which is tried again
			first := await(begin(), "the submission ends", func(r map[string]any) bool { return r["ended_at"] != nil })
			coverage, _ := first["coverage"].(map[string]any)
			if first["state"] != "partly_accepted" || coverage["org_units_below"] != 1.0 {
				t.Fatalf("got %v, %v", first["state"], first)
			}
			h.cht.Fail(sandbox.Fault{Kind: sandbox.LoginPage, Path: "/medic/_all_docs"})
			second := begin()
			failed := await(second, "the submission waits", func(r map[string]any) bool { return r["waiting_for"] != nil })
			h.call(http.MethodPost, second+"/cancel", "ministry", doorPassword, nil)
			await(second, "the submission ends", func(r map[string]any) bool { return r["ended_at"] != nil })
			h.transaction("it is told", func(t map[string]any) bool { return property(t, "state") == "cancelled" })
			h.cht.Heal()

			workers := h.door + "/cht-dhis2/coverage/workers?period=" + h.period
			status, named := h.call(http.MethodGet, workers, "ministry", doorPassword, nil)
			text := fmt.Sprint(named)
			if missing, _ := named["missing"].([]any); status != http.StatusOK || len(missing) != 1 || !strings.Contains(text, silent.Owner) || !strings.Contains(text, twice.Owner) {
				t.Errorf("who has not synced: got %d %v, want %s, and %s twice", status, named, silent.Owner, twice.Owner)
			}
			if source == "targets" && !strings.Contains(text, "nobody-knows") {
				t.Errorf("the malformed document is not told: %v", named)
			}
			if status, refused := h.call(http.MethodGet, workers, "openhim", doorPassword, nil); status != http.StatusForbidden || refused["code"] != "forbidden" {
				t.Errorf("a caller who may not know got %d %v", status, refused)
			}
			if status, refused := h.call(http.MethodGet, strings.Replace(workers, h.door, h.router, 1), "chis", "client-Password-1", nil); status != http.StatusForbidden || len(refused) == 0 {
				t.Errorf("through OpenHIM: got %d %v", status, refused)
			}
			status, counts := h.call(http.MethodGet, h.door+"/cht-dhis2/coverage?period="+h.period, "openhim", doorPassword, nil)
			if status != http.StatusOK || counts["org_units_below"] != 1.0 {
				t.Errorf("the numbers: got %d %v", status, counts)
			}
			_, _, metrics := h.fetch("/metrics", "ministry")
			for _, want := range []string{"mediator_workers_expected{", "mediator_workers_seen{", "mediator_org_units_below_coverage{"} {
				if !strings.Contains(metrics, want) {
					t.Errorf("the metrics have no %s", want)
				}
			}
			code, said := h.run("coverage", "--period", h.period, "--workers")
			if code != 0 || !strings.Contains(said, silent.Owner) || !strings.Contains(said, "the Worker") || !strings.Contains(said, "Not synced (1)") {
				t.Errorf("the command ends with %d:\n%s", code, said)
			}
			code, quiet := h.run("coverage", "--period", h.period, "--json", "--now")
			if code != 0 || !strings.Contains(quiet, `"org_units_below":1`) {
				t.Errorf("the command ends with %d:\n%s", code, quiet)
			}
			_, more := h.run("status", "--json")
			h.stop()

			told, err := json.Marshal(h.him.Transactions())
			if err != nil {
				t.Fatal(err)
			}
			kept := map[string]string{
				"the log": h.said.String(), "the transactions": string(told), "the metrics": metrics, "the numbers": fmt.Sprint(counts) + quiet + more, "the reports": fmt.Sprint(first, failed),
				"the store": allOf(t, filepath.Join(h.folder, "data")),
			}
			for where, text := range kept {
				if len(text) < 100 {
					t.Errorf("%s: there is nothing to look through: %q", where, text)
				}
				names := []string{"the Worker", "nobody-knows", "org.couchdb.user"}
				for _, person := range h.country.CHT.Persons {
					names = append(names, person.ID)
				}
				for _, name := range names {
					if at := strings.Index(text, name); at >= 0 {
						t.Fatalf("%s names %s: …%q…", where, name, text[max(0, at-200):min(len(text), at+100)])
					}
				}
			}
		})
	}
}

// rewrite changes the configuration.
func (h *house) rewrite(from, to string) {
	h.t.Helper()
	file := filepath.Join(h.folder, "config.yaml")
	text, err := os.ReadFile(file)
	if err == nil && !bytes.Contains(text, []byte(from)) {
		err = fmt.Errorf("the configuration has no %q", from)
	}
	if err == nil {
		err = os.WriteFile(file, bytes.Replace(text, []byte(from), []byte(to), 1), 0o600)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// fetch gets a page as it is.
func (h *house) fetch(path, username string) (int, http.Header, string) {
	h.t.Helper()
	request, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.door+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	request.SetBasicAuth(username, doorPassword)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

// allOf gives all that stands in a store, unpacked.
func allOf(t *testing.T, folder string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.db"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no store in %s: %v", folder, err)
	}
	var all strings.Builder
	for _, file := range files {
		db, err := sql.Open("sqlite", "file:"+file+"?mode=ro")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close() //nolint:errcheck // it was only read
		var tables []string
		var table string
		if err := rows(db, `SELECT name FROM sqlite_master WHERE type = 'table'`, func() { tables = append(tables, table) }, &table); err != nil {
			t.Fatal(err)
		}
		for _, table := range tables {
			found, err := db.Query("SELECT * FROM " + table)
			if err != nil {
				t.Fatal(err)
			}
			columns, _ := found.Columns()
			values, places := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				places[i] = &values[i]
			}
			for found.Next() {
				if err := found.Scan(places...); err != nil {
					t.Fatal(err)
				}
				for i, value := range values {
					text := fmt.Sprintf("%s.%s=%s\n", table, columns[i], value)
					if packed, ok := value.([]byte); ok {
						if r, err := gzip.NewReader(bytes.NewReader(packed)); err == nil {
							unpacked, _ := io.ReadAll(r)
							text = fmt.Sprintf("%s.%s=%s\n", table, columns[i], unpacked)
						}
					}
					all.WriteString(text)
				}
			}
			if err := found.Err(); err != nil {
				t.Fatal(err)
			}
			_ = found.Close()
		}
	}
	return all.String()
}
