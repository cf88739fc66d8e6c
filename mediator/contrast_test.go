package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/internal/target"
	"github.com/cht-dhis2/mediator/orchestration"
)

// issueLine is what target documents give to think about, which has tests of its own.
var issueLine = regexp.MustCompile(`(?m)^[a-z_]+: .*\n`)

// TestCompareExplainsTheRecordedMonth compares the sources of July 2026: the CHT's export, as it was recorded, and its target documents.
func TestCompareExplainsTheRecordedMonth(t *testing.T) {
	const rest = "first_period: \"202601\", completeness: \"off\""
	for _, c := range []struct{ name, set, with string }{
		{"export-mch", "{id: DsMchMonth1, " + rest + "}", "targets"},
		{"export-malaria", "{id: DsMalariaM1, " + rest + "}", "targets"},
		{"lowest-malaria", "{id: DsMalariaM1, source: targets, attribution: lowest, targets_file: malaria.csv, " + rest + "}", "export"},
		{"sum-mch", "{id: DsMchMonth1, source: targets, duplicate_workers: sum, " + rest + "}", "export"},
		{"level-mch", "{id: DsMchMonth1, source: targets, attribution: \"level:chw_area\", targets_file: mch.csv, " + rest + "}", "export"},
		{"excluded-mch", "{id: DsMchMonth1, source: targets, exclude_contact_types: [chw], attribution: lowest, " + rest + "}", "export"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRecordedSides(t)
			for name, rows := range map[string]string{
				"malaria.csv": "malaria-cases-under-5,,DeMalCases1,CocUnder5y1\nmalaria-cases-5-plus,,DeMalCases1,CocOver5yr1\nrdt-positive,percent,DeRdtPosit1,\n",
				"mch.csv":     "births-this-month,,DeBirths001,\nfacility-deliveries,pass,DeFacDeliv1,\nhome-visits,,DeAnc4Visit,\n",
			} {
				if err := os.WriteFile(filepath.Join(r.folder, name), []byte("target,value,data_element,category_option_combo,attribute_option_combo\n"+rows), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r.start(t, "data_sets: ["+c.set+"]\n")
			code, out, errs := r.run(t, "compare", "--period", "202607", "--with", c.with, "--csv", filepath.Join(r.folder, "cells.csv"))
			if code != 0 {
				t.Errorf("exit %d: %s%s", code, out, errs)
			}
			golden(t, "compare-"+c.name+".txt", issueLine.ReplaceAllString(out, ""))
			_, line, _ := r.run(t, "compare", "--period", "202607", "--with", c.with, "--json")
			var found orchestration.Contrast
			if err := json.Unmarshal([]byte(line), &found); err != nil {
				t.Fatal(err)
			}
			if found.Unexplained != 0 || found.Differ == 0 || found.Reason != "" {
				t.Errorf("got %+v", found)
			}
			sheet, err := os.ReadFile(filepath.Join(r.folder, "cells.csv"))
			if err != nil || strings.Count(string(sheet), "\n") != 1+found.Same+found.Differ {
				t.Errorf("%v, %d lines for %d and %d cells", err, strings.Count(string(sheet), "\n"), found.Same, found.Differ)
			}
		})
	}
}

const plain = "first_period: \"202601\", completeness: \"off\""

// contrast compares with the other source, and gives the exit code.
func (r *recordedSides) contrast(t *testing.T, with string, more ...string) (orchestration.Contrast, int, string) {
	t.Helper()
	args := append([]string{"compare", "--with", with, "--json", "--wait", "0s"}, more...)
	if !slices.Contains(more, "--period") {
		args = append(args, "--period", "202607")
	}
	code, out, errs := r.run(t, args...)
	var found orchestration.Contrast
	if err := json.Unmarshal([]byte(out), &found); err != nil && code != 2 {
		t.Fatalf("exit %d, %v: %s%s", code, err, out, errs)
	}
	return found, code, errs
}

// causes are how many cells have each cause.
func causes(c orchestration.Contrast) map[target.Cause]int {
	found := map[target.Cause]int{}
	for _, one := range c.Causes {
		found[one.Cause] = one.Cells
	}
	return found
}

// TestCompareOfSourcesSaysWhatNothingExplains has an export that was computed otherwise, and a phone that syncs between the readings.
func TestCompareOfSourcesSaysWhatNothingExplains(t *testing.T) {
	r := newRecordedSides(t)
	r.start(t, "data_sets: [{id: DsMchMonth1, "+plain+"}]\n")
	r.server.ChangeBefore("/api/v2/export/dhis", 1, func(d *sandbox.CHTDocuments) {
		for i := range d.Targets {
			if d.Targets[i].Owner == "chw-bahati" {
				d.Targets[i].Targets = slices.Clone(d.Targets[i].Targets)
				d.Targets[i].Targets[0].Value = &sandbox.CHTTargetValue{Pass: 40, Total: 40}
			}
		}
	})
	found, code, errs := r.contrast(t, "targets")
	if code != 4 || found.Changed == 0 || found.Unexplained == 0 || found.Different[0].Causes[0].Cause != orchestration.Unexplained {
		t.Errorf("a document changed: exit %d, %d changed, %d unexplained, %v %s", code, found.Changed, found.Unexplained, found.Different[0], errs)
	}
	if found, code, _ = r.contrast(t, "targets"); code != 0 || found.Changed != 0 || found.Unexplained != 0 {
		t.Errorf("once more: exit %d, %d changed, %d unexplained", code, found.Changed, found.Unexplained)
	}
	r.server.SetExport("DsMchMonth1", "202607", []byte(`{"dataSet":"DsMchMonth1","completeDate":"2026-08-22","period":"202607","dataValues":[{"dataElement":"DeBirths001","orgUnit":"OuElsewher1","value":3}]}`))
	found, code, _ = r.contrast(t, "targets")
	if code != 4 || found.Same != 0 || found.Unexplained != 37 || found.Changed != 0 {
		t.Errorf("another export: exit %d, %d the same, %d unexplained, %d changed", code, found.Same, found.Unexplained, found.Changed)
	}
}

// TestCompareOfSourcesNamesMalformedDocuments has documents with numbers that cannot be used.
func TestCompareOfSourcesNamesMalformedDocuments(t *testing.T) {
	for _, total := range []any{nil, "03", 2.5, -4, sandbox.CHTNull{}} {
		r := newRecordedSides(t)
		for i := range r.cht.Targets {
			if strings.Contains(r.cht.Targets[i].ID, "2026-07~chw-elimu-1~") || r.cht.Targets[i].Owner == r.cht.Targets[0].Owner {
				r.cht.Targets[i].Targets[0].Value.Total = total
			}
		}
		r.start(t, "data_sets: [{id: DsMchMonth1, "+plain+"}]\n")
		found, code, errs := r.contrast(t, "targets")
		if code != 0 || found.Unexplained != 0 || causes(found)[target.MalformedDocument] == 0 {
			t.Errorf("%v: exit %d, %v, %+v %s", total, code, causes(found), found.Different[0], errs)
		}
	}
}

func TestCompareOfSourcesSaysWhyItCannotBe(t *testing.T) {
	r := newRecordedSides(t)
	r.cht.Settings.DHISDataSets = nil
	r.start(t, "data_sets: [{id: DsMchMonth1, "+plain+"}]\n")
	if found, code, errs := r.contrast(t, "targets"); code != exitCode(found.Reason) || code == 0 || !strings.Contains(found.Error, "the CHT does not know it") || !strings.Contains(errs, "what to do") {
		t.Errorf("exit %d, %+v %s", code, found, errs)
	}
}

// TestCompareOfSourcesNamesMovedWorkers lets a worker move after July counted where she was.
func TestCompareOfSourcesNamesMovedWorkers(t *testing.T) {
	r := newRecordedSides(t)
	r.start(t, "data_sets: [{id: DsMchMonth1, source: targets, hierarchy: first, "+plain+"}]\n")
	if found, code, errs := r.contrast(t, "export"); code != 0 || causes(found)[target.MovedWorker] != 0 {
		t.Errorf("before: exit %d, %v %s", code, causes(found), errs)
	}
	r.server.Change(func(d *sandbox.CHTDocuments) {
		for i := range d.Persons {
			if d.Persons[i].ID == "chw-asha" {
				d.Persons[i].Parent = &sandbox.CHTParent{ID: "elsewhere"}
			}
		}
	})
	r.now = func() time.Time { return time.Date(2026, 8, 23, 9, 0, 0, 0, time.UTC) } // owners are looked at again
	found, code, errs := r.contrast(t, "export")
	if code != 0 || causes(found)[target.MovedWorker] == 0 || found.Unexplained != 0 {
		t.Errorf("after: exit %d, %v %s", code, causes(found), errs)
	}
}

func TestCompareOfSourcesTakesAQuarter(t *testing.T) {
	r := newRecordedSides(t)
	r.now = func() time.Time { return time.Date(2026, 10, 22, 9, 0, 0, 0, time.UTC) }
	r.start(t, "data_sets: [{id: DsMchMonth1, first_period: \"2026Q1\", completeness: \"off\"}]\n")
	found, code, errs := r.contrast(t, "targets", "--period", "2026Q3")
	if code != 0 || found.Period != "2026Q3" || found.Same == 0 || found.Unexplained != 0 {
		t.Errorf("exit %d, %+v %s", code, found, errs)
	}
}

func TestCompareOfSourcesRefusesWhatMeansNothing(t *testing.T) {
	r := newRecordedSides(t)
	r.start(t, "data_sets: [{id: DsMchMonth1, "+plain+"}]\n")
	for _, args := range [][]string{{"export"}, {"targets", "--org-unit", "OuAmaniHC01"}, {"targets", "--period", "july"}, {"targets", "--cht", "elsewhere"}} {
		if _, code, errs := r.contrast(t, args[0], args[1:]...); code != 2 || !strings.Contains(errs, "what to do") {
			t.Errorf("%v: exit %d: %s", args, code, errs)
		}
	}
}
