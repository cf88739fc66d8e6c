package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/config"
)

// A file in testdata/bad has one mistake and is named after it; what is said about it stands in the text file beside.
func TestEachMistakeOfAFileIsTold(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("got no files, error %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			got := strings.Join(mistakes(t, config.Input{File: file}), "\n") + "\n"
			if strings.Contains(strings.ToLower(got), secret) {
				t.Errorf("the message repeats a secret: %s", got)
			}
			for _, foreign := range []string{"interface", "reflect", "koanf", "%!", "<nil>"} {
				if strings.Contains(got, foreign) {
					t.Errorf("the message speaks of the program, not of the settings: %s", got)
				}
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", got)
		})
	}
}

func TestAFileThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, file, want string }{
		{"absent", "testdata/no-such.yaml", "open testdata/no-such.yaml: no such file or directory"},
		{"a folder", "testdata", "read testdata: is a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff([]string{test.want}, mistakes(t, config.Input{File: test.file})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestWithoutAFileTheMessageSaysSo(t *testing.T) {
	t.Chdir(t.TempDir())
	got := mistakes(t, config.Input{})
	if want := "no file was read: there is no config.yaml in this folder; name one with --config"; got[len(got)-1] != want {
		t.Errorf("got %q, want the last to be %q", got, want)
	}
}

func TestSeveralMistakesAreToldAtOnce(t *testing.T) {
	t.Parallel()
	file := write(t, map[string]string{"config.yaml": `
cht:
  - {name: kisumu, url: kisumu.example.org, password: hunter2, time_zone: EAT}
dhis2:
  - {name: national, url: https://dhis2.example.org}
data_sets:
  - {id: DsMchMonth1, first_period: soon}
`})
	want := []string{
		"cht.kisumu.url: must begin with https:// or http:// and a host",
		"cht.kisumu.username: is missing",
		`cht.kisumu.time_zone: "EAT" is no time zone; write it as Africa/Nairobi`,
		"dhis2.national: there are no credentials; give token_file, or username and password_file",
		`data_sets.DsMchMonth1.first_period: "soon" is no period; write a month as "202601", a quarter as "2026Q1", a year as "2026"`,
		"data_sets.DsMchMonth1.completeness: must be said: off or when_accepted",
	}
	if diff := cmp.Diff(want, mistakes(t, config.Input{File: file})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestMistakesInVariablesAndFlagsAreTold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, file string
		env, set   []string
		want       []string
	}{
		{"variable of a wrong value", "smallest", []string{"CHT_URL=kisumu"}, nil, []string{
			"cht.kisumu.url: must begin with https:// or http:// and a host (environment CHT_URL)",
		}},
		{"variable naming a file that is not there", "smallest", []string{"DHIS2_TOKEN_FILE=testdata/none"}, nil, []string{
			"dhis2.national.token_file: open testdata/none: no such file or directory (environment DHIS2_TOKEN_FILE)",
		}},
		{"variable where there are two servers", "references", []string{"CHT_URL=https://kisumu.example.org"}, nil, []string{
			"CHT_URL: this variable describes a single server, and the file has 2 under cht",
		}},
		{"both forms of a secret in variables", "smallest", []string{"CHT_PASSWORD=hunter2", "CHT_PASSWORD_FILE=testdata/good/secret"}, nil, []string{
			"cht.kisumu: give password or password_file, not both",
		}},
		{"both ways to log in, in variables", "smallest", []string{"DHIS2_TOKEN=hunter2", "DHIS2_USERNAME=admin", "DHIS2_PASSWORD=hunter2"}, nil, []string{
			"dhis2.national: give token, or username and password, not both",
		}},
		{"user name in a variable over a token in the file", "smallest", []string{"DHIS2_USERNAME=admin"}, nil, []string{
			"dhis2.national.password: is missing beside the username",
		}},
		{"variable in a section, of a wrong value", "smallest", []string{"OPENHIM_API_URL=openhim:8080", "OPENHIM_USERNAME=interop@openhim.org", "OPENHIM_PASSWORD=hunter2"}, nil, []string{
			"openhim.api_url: must begin with https:// or http:// and a host (environment OPENHIM_API_URL)",
		}},
		{"variable in a section that is not there", "smallest", []string{"OPENHIM_PASSWORD=hunter2"}, nil, []string{
			"openhim.api_url: is missing; to run without OpenHIM leave the whole section away",
		}},
		{"variable of a word where true or false belongs", "service", []string{"OPENHIM_TRUST_ANY=1"}, nil, []string{
			`openhim.trust_any: "1" is neither true nor false (environment OPENHIM_TRUST_ANY)`,
		}},
		{"both forms of a secret of a section in variables", "service", []string{"OPENHIM_PASSWORD=hunter2", "OPENHIM_PASSWORD_FILE=testdata/good/secret"}, nil, []string{
			"openhim: give password or password_file, not both",
		}},
		{"port that is none", "smallest", []string{"PORT=http"}, nil, []string{
			`listen: ":http" is no host:port; write it as :8070 or 127.0.0.1:8070 (environment PORT)`,
		}},
		{"port with a host", "smallest", []string{"PORT=127.0.0.1:80"}, nil, []string{
			`listen: ":127.0.0.1:80" is no host:port; write it as :8070 or 127.0.0.1:8070 (environment PORT)`,
		}},
		{"port beside the address to listen on", "smallest", []string{"PORT=80", "LISTEN=:80"}, nil, []string{
			"PORT: LISTEN says the same, and only one of them may be there",
		}},
		{"flag of a whole section", "service", nil, []string{"openhim={api_url: hunter2}"}, []string{
			"--set openhim: write it as openhim.key, such as openhim.api_url",
		}},
		{"flag in a section with too many parts", "service", nil, []string{"openhim.main.password=hunter2"}, []string{
			"--set openhim.main.password: write it as openhim.key, such as openhim.api_url",
		}},
		{"flag of an unknown key in a section", "service", nil, []string{"openhim.pasword=hunter2"}, []string{
			"openhim.pasword: unknown key; did you mean password?",
		}},
		{"flag with one value for a list in a section", "service", nil, []string{"notices.to=his@example.org"}, []string{
			"notices.to: must be a list, as [one, two]",
		}},
		{"flag of a word where true or false belongs", "smallest", nil, []string{"open=yes"}, []string{
			`open: "yes" is neither true nor false (flag --set)`,
		}},
		{"flag of an unknown caller", "service", nil, []string{"callers.openhin.password=hunter2"}, []string{
			"--set callers.openhin.password: write it as callers.NAME.key, where NAME is one of openhim",
		}},
		{"flag of an address that may be a secret", "smallest", nil, []string{"notices.webhook_url=hunter2"}, []string{
			"notices.webhook_url: must begin with https:// or http:// and a host (flag --set)",
		}},
		{"flag without =", "smallest", nil, []string{"cht.kisumu.password:hunter2"}, []string{
			"--set, number 1: has no =; write it as key=value",
		}},
		{"flag of an unknown key", "smallest", nil, []string{"cht.kisumu.pasword=hunter2"}, []string{
			"cht.kisumu.pasword: unknown key; did you mean password?",
		}},
		{"flag of an unknown key at the top", "smallest", nil, []string{"data_dri=hunter2"}, []string{
			"data_dri: unknown key; did you mean data_dir?",
		}},
		{"flag of an unknown server", "smallest", nil, []string{"cht.kisumo.password=hunter2"}, []string{
			"--set cht.kisumo.password: write it as cht.NAME.key, where NAME is one of kisumu",
		}},
		{"flag of an unknown data set", "smallest", nil, []string{"data_sets.DsMch.title=hunter2"}, []string{
			"--set data_sets.DsMch.title: write it as data_sets.ID.key, where ID is one of DsMchMonth1",
		}},
		{"flag with too few parts", "smallest", nil, []string{"cht.password=hunter2"}, []string{
			"--set cht.password: write it as cht.NAME.key, where NAME is one of kisumu",
		}},
		{"flag with too many parts", "smallest", nil, []string{"data_sets.DsMchMonth1.rename_org_units.OuOldAmani1=OuAmaniHC01"}, []string{
			"--set data_sets.DsMchMonth1.rename_org_units.OuOldAmani1: write it as data_sets.ID.key, where ID is one of DsMchMonth1",
		}},
		{"flag of a whole list", "smallest", nil, []string{"cht=[]"}, []string{
			"--set cht: write it as cht.NAME.key, where NAME is one of kisumu",
		}},
		{"flag of a name", "smallest", nil, []string{"cht.kisumu.name=siaya"}, []string{
			"--set cht.kisumu.name: the name cannot be changed",
		}},
		{"flag with one value for a list", "smallest", nil, []string{"data_sets.DsMchMonth1.cht=kisumu"}, []string{
			"data_sets.DsMchMonth1.cht: must be a list, as [one, two]",
		}},
		{"flag with a broken list", "smallest", nil, []string{"data_sets.DsMchMonth1.cht=[kisumu"}, []string{
			"--set data_sets.DsMchMonth1.cht: is no list or map as YAML has it",
		}},
		{"flag of a wrong value", "smallest", nil, []string{"dhis2.national.timeout=5"}, []string{
			`dhis2.national.timeout: "5" is no time with its unit, as 30s or 10m (flag --set)`,
		}},
		{"empty flag", "smallest", nil, []string{"=hunter2"}, []string{
			": unknown key; known here are listen, open, data_dir, database_url, database_url_file, keep_months, queue_limit, readers, requests, previews, longest_pause, store_limit, log_level, log_format, openhim, cht, dhis2, data_sets, callers, metrics, notices",
		}},
		{"flag without a server to change", "", nil, []string{"cht.kisumu.url=https://kisumu.example.org"}, []string{
			"--set cht.kisumu.url: there is nothing under cht to change",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in := config.Input{File: "testdata/good/" + test.file + ".yaml", Environment: test.env, Set: test.set}
			if test.file == "" {
				in.File = write(t, map[string]string{"config.yaml": "data_sets: []\n"})
			}
			got := mistakes(t, in)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if slices.ContainsFunc(got, func(m string) bool { return strings.Contains(m, secret) }) {
				t.Errorf("the message repeats a secret: %q", got)
			}
		})
	}
}

func TestAnErrorHintsAtTheRemedy(t *testing.T) {
	t.Parallel()
	if hint := (&config.Error{}).Hint(); !strings.Contains(hint, "docs/configuration.md") {
		t.Errorf("got %q, want the page that lists every key", hint)
	}
	if _, err := os.Stat("../docs/configuration.md"); err != nil {
		t.Error(err)
	}
}
