package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cht-dhis2/mediator/config"
)

func TestTheExampleLoadsAsItStands(t *testing.T) {
	t.Parallel()
	c := load(t, config.Input{File: "../examples/config.yaml"})
	if len(c.CHT) != 2 || len(c.DHIS2) != 1 || len(c.DataSets) != 2 {
		t.Errorf("got %d CHT, %d DHIS2 and %d data sets", len(c.CHT), len(c.DHIS2), len(c.DataSets))
	}
	if got := c.DataSets[0].RenameOrgUnits["OuOldAmani1"]; got != "OuAmaniHC01" {
		t.Errorf("org-units.csv: got %q, want OuAmaniHC01", got)
	}
	if c.OpenHIM.Caller != "openhim" || len(c.Callers) != 2 || c.Notices.SMTPHost == "" || c.DataSets[0].Schedule == "" {
		t.Errorf("the service: got the caller %q of %d, notices by %q, the schedule %q", c.OpenHIM.Caller, len(c.Callers), c.Notices.SMTPHost, c.DataSets[0].Schedule)
	}
	if got := c.DHIS2[0].URL.String(); got != "https://dhis2.example.org/dhis" {
		t.Errorf("got %s, want an address with a path", got)
	}
}

func TestTheSecretsOfTheExampleSayThatTheyAreNone(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../examples/secrets/[a-z]*")
	if err != nil || len(files) == 0 {
		t.Fatalf("got no files, error %v", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(content), "example-only-") {
			t.Errorf("%s: got %q, %v", file, content, err)
		}
	}
}

// The example of each key is one that the key takes.
func TestTheExampleOfEachKeyIsAGoodOne(t *testing.T) {
	t.Parallel()
	files := map[string]string{"secret": secret, "org-units.csv": "from,to\nOuOldAmani1,OuAmaniHC01\n", "targets.csv": "target,value,data_element,category_option_combo,attribute_option_combo\nbirths,pass,DeBirths001,,\n", "gaps.csv": "org_unit,data_element,reason,until\n,DeMalCases1,not in the form yet,2026-12-31\n"}
	// examples has a line for each key of a struct.
	examples := func(of any, indent string, without ...string) string {
		var lines []string
		for i := range reflect.TypeOf(of).NumField() {
			field := reflect.TypeOf(of).Field(i)
			key, example := field.Tag.Get("koanf"), field.Tag.Get("example")
			if field.Type == reflect.TypeFor[config.Secret]() {
				key, example = key+"_file", "secret" // the example is a path of somebody's machine
			}
			if key != "" && key != "-" && !isList(field.Type) && !isSection(field.Type) && !slices.Contains(without, key) {
				lines = append(lines, key+": "+example)
			}
		}
		return strings.Join(lines, "\n"+indent) + "\n"
	}
	files["config.yaml"] = examples(config.Config{}, "") +
		"openhim:\n  " + examples(config.OpenHIM{}, "  ", "ca_file") +
		"metrics:\n  " + examples(config.Metrics{}, "  ") +
		"notices:\n  " + examples(config.Notices{}, "  ", "smtp_ca_file") +
		"callers:\n  - " + examples(config.Caller{}, "    ", "may_see_workers") + // not for the one of OpenHIM
		"cht:\n  - " + examples(config.CHT{}, "    ", "ca_file") +
		"dhis2:\n  - " + examples(config.DHIS2{}, "    ", "ca_file", "username", "password_file") +
		"data_sets:\n  - " + examples(config.DataSet{}, "    ")
	load(t, config.Input{File: write(t, files)})
}
