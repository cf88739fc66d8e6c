package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/config"
)

// What is in force, and where each came from, stands beside each file of testdata/good.
func TestGoodFilesLoad(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("got no files, error %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			got := effective(load(t, config.Input{File: file}), "testdata/good")
			if strings.Contains(got, secret) {
				t.Errorf("the listing repeats a secret:\n%s", got)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", got)
		})
	}
}

func TestAFileGivesTheValuesAsTheProgramUsesThem(t *testing.T) {
	t.Parallel()
	c := load(t, config.Input{File: "testdata/good/everything.yaml"})
	kisumu, national, set := c.CHT[0], c.DHIS2[0], c.DataSets[0]
	if kisumu.URL.String() != "https://kisumu.example.org" || national.URL.String() != "https://dhis2.example.org/dhis" {
		t.Errorf("got the addresses %s and %s", kisumu.URL, national.URL)
	}
	if kisumu.Zone.String() != "Africa/Nairobi" || kisumu.HeaderTimeout != 30*time.Minute || kisumu.Timeout != 90*time.Second || kisumu.MaxSize != 1<<30 {
		t.Errorf("got %s, %s, %s, %s", kisumu.Zone, kisumu.HeaderTimeout, kisumu.Timeout, kisumu.MaxSize)
	}
	if national.InFlight != 2 || set.ChunkValues != 1000 || set.FirstPeriod != "202601" {
		t.Errorf("got %d, %d, %s", national.InFlight, set.ChunkValues, set.FirstPeriod)
	}
	renamed := map[string]string{
		"OuOldAmani1": "OuAmaniHC01", "OuOldBaraka": "OuBarakaDsp", "OuOldElimu1": "OuElimuHC01", "Amani annex": "OuAmaniHC01",
	}
	if diff := cmp.Diff(renamed, set.RenameOrgUnits); diff != "" {
		t.Errorf("org units (-want +got):\n%s", diff)
	}
}

func TestAFileGivesTheSettingsOfTheServiceAsTheProgramUsesThem(t *testing.T) {
	t.Parallel()
	c := load(t, config.Input{File: "testdata/good/everything.yaml"})
	if c.Listen != "127.0.0.1:8070" || !c.Open || c.KeepMonths != 25 || c.QueueLimit != 200 || c.LogLevel != "warn" || c.LogFormat != "json" {
		t.Errorf("top: got %+v", c)
	}
	him := c.OpenHIM
	if !him.IsSet() || him.URL.String() != "http://openhim:8080/api" || him.RouterURL.String() != "https://openhim:5000" {
		t.Errorf("openhim: got %t, %s, %s", him.IsSet(), him.URL, him.RouterURL)
	}
	if him.Fingerprint != "5f1ad20c7b439e88216df034b9c75e12a4660b93dd782fe1508c374af916cb02" || him.TrustAny {
		t.Errorf("openhim: got the fingerprint %s, trust_any %t", him.Fingerprint, him.TrustAny)
	}
	if him.Port != 18070 || him.Heartbeat != 30*time.Second || him.BodyLimit != 64<<10 || him.Caller != "router" {
		t.Errorf("openhim: got %d, %s, %s, %s", him.Port, him.Heartbeat, him.BodyLimit, him.Caller)
	}
	if diff := cmp.Diff([]string{"his@example.org", "M&E <me@example.org>"}, c.Notices.To); diff != "" || c.Notices.WaitingAfter != 4*time.Hour {
		t.Errorf("notices: got %s, to (-want +got):\n%s", c.Notices.WaitingAfter, diff)
	}
	set := c.DataSets[0]
	if set.Enabled || !set.Hold || set.Schedule != "0 3 * * 1-5" || set.SendingHours != "20:00-06:00" {
		t.Errorf("data set: got %t, %t, %s, %s", set.Enabled, set.Hold, set.Schedule, set.SendingHours)
	}
	if set.FirstAfterDays != 0 || set.RereadDays != 60 || set.NoticeAfterDays != 0 || set.Jitter != 10*time.Minute {
		t.Errorf("data set: got %d, %d, %d, %s", set.FirstAfterDays, set.RereadDays, set.NoticeAfterDays, set.Jitter)
	}
	for name, held := range map[string]config.Secret{
		"openhim": him.Password, "client": him.ClientPassword, "caller": c.Callers[0].Password, "second caller": c.Callers[1].Password,
		"token": c.Callers[1].Token, "token in a file": c.Callers[2].Token, "metrics": c.Metrics.Password, "mail": c.Notices.SMTPPassword,
	} {
		if got, err := held.Reveal(); got != secret || err != nil {
			t.Errorf("secret of %s: got %q, %v", name, got, err)
		}
	}
	if got, err := c.Notices.WebhookURL.Reveal(); got != "https://hooks.example.org/hunter2?thread=1" || err != nil {
		t.Errorf("webhook: got %q, %v", got, err)
	}
}

func TestWithoutTheSectionThereIsNoOpenHIM(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"smallest", "sections-empty"} {
		c := load(t, config.Input{File: "testdata/good/" + file + ".yaml"})
		if c.OpenHIM.IsSet() || c.OpenHIM.URL != nil || c.OpenHIM.RouterURL != nil || len(c.Callers) != 0 || c.Open {
			t.Errorf("%s: got %+v", file, c.OpenHIM)
		}
	}
}

func TestTheCallerNamedOpenHIMIsThatOfItsRoute(t *testing.T) {
	t.Parallel()
	c := load(t, config.Input{File: "testdata/good/service.yaml"})
	if c.OpenHIM.Caller != "openhim" || c.OpenHIM.Channel != "CHT to DHIS2" || c.OpenHIM.URN != "urn:mediator:cht-dhis2" {
		t.Errorf("got %q, %q, %q", c.OpenHIM.Caller, c.OpenHIM.Channel, c.OpenHIM.URN)
	}
}

// The file of settings names none here, so the folder is beside it; without a file it is where the program runs.
func TestTheDataFolderIsBesideTheFileOfSettings(t *testing.T) {
	content, err := os.ReadFile("testdata/good/smallest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, map[string]string{"config.yaml": string(content), "secret": secret})
	if got, want := load(t, config.Input{File: file}).DataDir, filepath.Join(filepath.Dir(file), "data"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	t.Chdir(filepath.Dir(file))
	if got := load(t, config.Input{}).DataDir; got != "data" {
		t.Errorf("in the current folder: got %s, want data", got)
	}
}

func TestAHigherLayerWins(t *testing.T) {
	t.Parallel()
	const file = "testdata/good/everything.yaml"
	environment := []string{
		"HOME=/nowhere", "CHT_URL=https://env.example.org", "CHT_TIME_ZONE=Africa/Kampala", "CHT_CA_FILE=", "DATA_DIR=env", "DHIS2_URL=https://env.example.org/dhis",
	}
	flags := []string{
		"cht.kisumu.url=https://first.example.org", "cht.kisumu.url=https://flag.example.org/a=b", "data_dir=flag",
		"data_sets.DsMchMonth1.exclude_org_units=[OuTraining2, OuTraining3]", "data_sets.DsMchMonth1.include_org_units=[]",
		"data_sets.DsMchMonth1.rename_combos={CocOver5xxx: CocOver5yr1}", "data_sets.DsMchMonth1.title=[in brackets]",
	}
	for _, test := range []struct {
		name string
		in   config.Input
		want map[string]string
	}{
		{"defaults", config.Input{File: "testdata/good/smallest.yaml"}, map[string]string{
			"cht.kisumu.time_zone":                         "UTC (default)",
			"cht.kisumu.header_timeout":                    "10m0s (default)",
			"cht.kisumu.max_size":                          "512MB (default)",
			"dhis2.national.in_flight":                     "1 (default)",
			"data_sets.DsMchMonth1.cht":                    "[kisumu] (default)",
			"data_sets.DsMchMonth1.dhis2":                  "national (default)",
			"data_sets.DsMchMonth1.source":                 "export (default)",
			"data_sets.DsMchMonth1.empty_org_units":        "drop (default)",
			"data_sets.DsMchMonth1.zeros":                  "send (default)",
			"data_sets.DsMchMonth1.attribute_option_combo": "",
		}},
		{"file over defaults", config.Input{File: file}, map[string]string{
			"data_dir":                                "testdata/good/data (" + file + ")",
			"cht.kisumu.url":                          "https://kisumu.example.org (" + file + ")",
			"cht.kisumu.time_zone":                    "Africa/Nairobi (" + file + ")",
			"cht.kisumu.header_timeout":               "30m0s (" + file + ")",
			"data_sets.DsMchMonth1.exclude_org_units": "[OuTraining1] (" + file + ")",
			"data_sets.DsMchMonth1.rename_org_units":  "{Amani annex: OuAmaniHC01, OuOldAmani1: OuAmaniHC01, OuOldBaraka: OuBarakaDsp, OuOldElimu1: OuElimuHC01} (testdata/good/org-units.csv, " + file + ")",
		}},
		{"environment over file", config.Input{File: file, Environment: environment}, map[string]string{
			"data_dir":                  "env (environment DATA_DIR)",
			"cht.kisumu.url":            "https://env.example.org (environment CHT_URL)",
			"cht.kisumu.time_zone":      "Africa/Kampala (environment CHT_TIME_ZONE)",
			"cht.kisumu.header_timeout": "30m0s (" + file + ")",
			"cht.kisumu.ca_file":        "",
			"dhis2.national.url":        "https://env.example.org/dhis (environment DHIS2_URL)",
		}},
		{"flags over environment", config.Input{File: file, Environment: environment, Set: flags}, map[string]string{
			"data_dir":             "flag (flag --set)",
			"cht.kisumu.url":       "https://flag.example.org/a=b (flag --set)",
			"cht.kisumu.time_zone": "Africa/Kampala (environment CHT_TIME_ZONE)",
			"dhis2.national.url":   "https://env.example.org/dhis (environment DHIS2_URL)",
			"data_sets.DsMchMonth1.exclude_org_units": "[OuTraining2, OuTraining3] (flag --set)",
			"data_sets.DsMchMonth1.include_org_units": "[] (flag --set)",
			"data_sets.DsMchMonth1.rename_combos":     "{CocOver5xxx: CocOver5yr1} (flag --set)",
			"data_sets.DsMchMonth1.title":             "[in brackets] (flag --set)",
		}},
		{"environment over a section of the file", config.Input{File: file, Environment: []string{
			"PORT=80", "OPENHIM_API_URL=https://env.example.org", "OPENHIM_USERNAME=env", "OPENHIM_PASSWORD=hunter2", "OPENHIM_URN=urn:env", "OPENHIM_TRUST_ANY=false",
		}}, map[string]string{
			"listen":                ":80 (environment PORT)",
			"openhim.api_url":       "https://env.example.org (environment OPENHIM_API_URL)",
			"openhim.username":      "env (environment OPENHIM_USERNAME)",
			"openhim.password":      "<secret> (environment OPENHIM_PASSWORD)",
			"openhim.password_file": "",
			"openhim.urn":           "urn:env (environment OPENHIM_URN)",
			"openhim.trust_any":     "false (environment OPENHIM_TRUST_ANY)",
			"openhim.heartbeat":     "30s (" + file + ")",
		}},
		{"environment making a section", config.Input{File: "testdata/good/smallest.yaml", Environment: []string{
			"LISTEN=127.0.0.1:80", "OPENHIM_API_URL=http://env.example.org", "OPENHIM_USERNAME=env", "OPENHIM_PASSWORD_FILE=testdata/good/secret", "OPENHIM_TRUST_ANY=true",
		}}, map[string]string{
			"listen":                "127.0.0.1:80 (environment LISTEN)",
			"openhim.api_url":       "http://env.example.org (environment OPENHIM_API_URL)",
			"openhim.password_file": "<secret> in testdata/good/secret (environment OPENHIM_PASSWORD_FILE)",
			"openhim.trust_any":     "true (environment OPENHIM_TRUST_ANY)",
			"openhim.heartbeat":     "20s (default)",
			"notices.waiting_after": "",
		}},
		{"flags over sections", config.Input{File: file, Environment: []string{"OPENHIM_URN=urn:env"}, Set: []string{
			"open=false", "openhim.urn=urn:flag", "openhim.port=0", "notices.to=[flag@example.org]", "notices.webhook_url_file=testdata/good/secret",
			"metrics.password=hunter2", "callers.dashboard.username=flag", "callers.dashboard.password=hunter2", "data_sets.DsMchMonth1.enabled=true",
		}}, map[string]string{
			"open":                          "false (flag --set)",
			"openhim.urn":                   "urn:flag (flag --set)",
			"openhim.port":                  "0 (flag --set)",
			"notices.to":                    "[flag@example.org] (flag --set)",
			"notices.webhook_url":           "",
			"notices.webhook_url_file":      "<secret> in testdata/good/secret (flag --set)",
			"metrics.password":              "<secret> (flag --set)",
			"metrics.password_file":         "",
			"callers.dashboard.username":    "flag (flag --set)",
			"callers.dashboard.token_file":  "<secret> in testdata/good/secret (" + file + ")",
			"data_sets.DsMchMonth1.enabled": "true (flag --set)",
			"data_sets.DsMchMonth1.hold":    "true (" + file + ")",
		}},
		{"environment alone, beside a file with the data sets", config.Input{
			File: write(t, map[string]string{"config.yaml": "data_sets: [{id: DsMchMonth1, first_period: 202601, completeness: off}]"}),
			Environment: []string{
				"CHT_URL=https://env.example.org", "CHT_USERNAME=integration", "CHT_PASSWORD=hunter2",
				"DHIS2_URL=https://env.example.org/dhis", "DHIS2_TOKEN_FILE=testdata/good/secret",
			},
		}, map[string]string{
			"cht.cht.url":                 "https://env.example.org (environment CHT_URL)",
			"cht.cht.password":            "<secret> (environment CHT_PASSWORD)",
			"dhis2.dhis2.token_file":      "<secret> in testdata/good/secret (environment DHIS2_TOKEN_FILE)",
			"data_sets.DsMchMonth1.cht":   "[cht] (default)",
			"data_sets.DsMchMonth1.dhis2": "dhis2 (default)",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := map[string]string{}
			for _, s := range load(t, test.in).Effective() {
				got[s.Key] = s.Value + " (" + s.Origin + ")"
			}
			for key, want := range test.want {
				if got[key] != want {
					t.Errorf("%s: got %q, want %q", key, got[key], want)
				}
			}
		})
	}
}

// A way to log in that a higher layer gives hides every other that lies below it.
func TestASecretOfAHigherLayerHidesEachFormBelow(t *testing.T) {
	t.Parallel()
	const set = "data_sets: [{id: DsMchMonth1, first_period: 202601, completeness: off}]\n"
	inFile := map[string]string{
		"token":      "token: below",
		"token file": "token_file: below",
		"password":   "{username: below, password: below}",
		"passwords":  "{username: below, password_file: below}",
	}
	above := []struct {
		name       string
		env, set   []string
		want       []string // what is set then, beside the address
		secretIs   string
		ofPassword bool
	}{
		{"token variable", []string{"DHIS2_TOKEN=above"}, nil, []string{"token"}, "above", false},
		{"token file variable", []string{"DHIS2_TOKEN_FILE=testdata/good/secret"}, nil, []string{"token_file"}, "hunter2", false},
		{"password variable", []string{"DHIS2_USERNAME=above", "DHIS2_PASSWORD=above"}, nil, []string{"username", "password"}, "above", true},
		{"password file variable", []string{"DHIS2_USERNAME=above", "DHIS2_PASSWORD_FILE=testdata/good/secret"}, nil, []string{"username", "password_file"}, "hunter2", true},
		{"token flag", nil, []string{"dhis2.national.token=above"}, []string{"token"}, "above", false},
		{"token flag over password variable", []string{"DHIS2_USERNAME=middle", "DHIS2_PASSWORD=middle"}, []string{"dhis2.national.token=above"}, []string{"token"}, "above", false},
		{
			"password flag over token variable", []string{"DHIS2_TOKEN=middle"},
			[]string{"dhis2.national.username=above", "dhis2.national.password=above"}, []string{"username", "password"}, "above", true,
		},
	}
	for name, login := range inFile {
		for _, test := range above {
			t.Run(test.name+" over "+name+" in the file", func(t *testing.T) {
				t.Parallel()
				login := strings.Trim(login, "{}")
				file := write(t, map[string]string{
					"below": "below\n",
					"config.yaml": "cht: [{name: kisumu, url: https://kisumu.example.org, username: integration, password: hunter2}]\n" +
						"dhis2: [{name: national, url: https://dhis2.example.org, " + login + "}]\n" + set,
				})
				c := load(t, config.Input{File: file, Environment: test.env, Set: test.set})
				var got []string
				for _, s := range c.Effective() {
					key, ok := strings.CutPrefix(s.Key, "dhis2.national.")
					if ok && s.Origin != "default" && s.Origin != file {
						got = append(got, key)
					}
					if ok && s.Origin == file && key != "name" && key != "url" {
						t.Errorf("%s of the file is still in force", key)
					}
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
				held := c.DHIS2[0].Token
				if test.ofPassword {
					held = c.DHIS2[0].Password
				}
				if revealed, err := held.Reveal(); err != nil || revealed != test.secretIs {
					t.Errorf("got %q, %v; want %q", revealed, err, test.secretIs)
				}
			})
		}
	}
}

func TestAPasswordOfAVariableKeepsTheUserNameOfTheFile(t *testing.T) {
	t.Parallel()
	c := load(t, config.Input{File: "testdata/good/everything.yaml", Environment: []string{"DHIS2_PASSWORD=other"}})
	if got, err := c.DHIS2[0].Password.Reveal(); c.DHIS2[0].Username != "cht_integration" || got != "other" || err != nil {
		t.Errorf("got %q and %q, %v", c.DHIS2[0].Username, got, err)
	}
}

// A path in the file is sought from the folder of the file, any other from where the program runs.
func TestPathsStartWhereTheyAreWritten(t *testing.T) {
	t.Parallel()
	const folder = "testdata/good/"
	c := load(t, config.Input{File: folder + "smallest.yaml", Environment: []string{"CHT_PASSWORD_FILE=" + folder + "secret"}, Set: []string{"data_dir=data"}})
	for i, s := range []config.Secret{c.CHT[0].Password, c.DHIS2[0].Token} {
		if got, err := s.Reveal(); got != secret || err != nil {
			t.Errorf("secret %d: got %q, %v", i, got, err)
		}
	}
	if c.DataDir != "data" {
		t.Errorf("got the folder %q, want data", c.DataDir)
	}
}

func TestTheDefaultFileIsReadWhereThereIsOne(t *testing.T) {
	content, err := os.ReadFile("testdata/good/smallest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(write(t, map[string]string{config.DefaultFile: string(content), "secret": "hunter2"})))
	c := load(t, config.Input{})
	if got := c.CHT[0].Name; got != "kisumu" {
		t.Errorf("got %q, want kisumu", got)
	}
	for _, s := range c.Effective() {
		if s.Key == "cht.kisumu.url" && s.Origin != "config.yaml" {
			t.Errorf("got the origin %q, want config.yaml", s.Origin)
		}
	}
}

func TestSizesAreReadAndWrittenAlike(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in, want string
		bytes    config.Size
	}{
		{"1", "1B", 1},
		{"1000", "1000B", 1000},
		{"1024", "1KB", 1 << 10},
		{"1536K", "1536KB", 1536 << 10},
		{"512MB", "512MB", 512 << 20},
		{" 512 mb ", "512MB", 512 << 20},
		{"2GiB", "2GB", 2 << 30},
		{"2048MB", "2GB", 2 << 30},
		{"1TB", "1TB", 1 << 40},
		{"4096TB", "4096TB", 4096 << 40},
	} {
		var got, again config.Size
		if err := got.UnmarshalText([]byte(test.in)); err != nil || got != test.bytes || got.String() != test.want {
			t.Errorf("%q: got %d, %s, %v; want %d, %s", test.in, got, got, err, test.bytes, test.want)
		}
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
			t.Errorf("%s read again: got %d, %v; want %d", got, again, err, got)
		}
	}
}

func TestTheFirstPeriodMayBeAQuarterOrAYear(t *testing.T) {
	t.Parallel()
	for _, period := range []string{"2026Q1", "2026Q4", "2026", "\"2026\"", "202612"} {
		c := load(t, config.Input{
			File: write(t, map[string]string{"config.yaml": "data_sets: [{id: DsMchMonth1, first_period: " + period + ", live_from: {OuDistrict1: " + period + "}, completeness: off}]"}),
			Environment: []string{
				"CHT_URL=https://env.example.org", "CHT_USERNAME=integration", "CHT_PASSWORD=hunter2",
				"DHIS2_URL=https://env.example.org/dhis", "DHIS2_TOKEN_FILE=testdata/good/secret",
			},
		})
		if got, want := c.DataSets[0].FirstPeriod, strings.Trim(period, `"`); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
