package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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
