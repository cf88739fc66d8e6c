package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/config"
)

// Whatever a file holds, it is either refused with a message or gives settings with nothing left open.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	folder := f.TempDir()
	for name, content := range map[string]string{"secret": secret, "org-units.csv": "from,to\nOuOldAmani1,OuAmaniHC01\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		file := filepath.Join(folder, "config.yaml") // each worker is a process with a folder of its own
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(config.Input{File: file})
		if err == nil {
			checkComplete(t, c)
			return
		}
		var mistakes *config.Error
		if !errors.As(err, &mistakes) || len(mistakes.Mistakes) == 0 || err.Error() == "" {
			t.Errorf("got the error %#v, want an *Error with a message", err)
		}
	})
}

// Whatever a spreadsheet holds, it is either refused or renames org units to ids of DHIS2.
func FuzzOrgUnits(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.csv")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "../examples/org-units.csv") {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	settings, err := os.ReadFile("testdata/good/smallest.yaml")
	if err != nil {
		f.Fatal(err)
	}
	folder := f.TempDir()
	file := filepath.Join(folder, "config.yaml")
	for name, content := range map[string]string{"secret": secret, "config.yaml": string(settings) + "    org_units_file: units.csv\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(filepath.Join(folder, "units.csv"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(config.Input{File: file})
		if err != nil {
			return
		}
		checkComplete(t, c)
		if len(c.DataSets[0].RenameOrgUnits) == 0 {
			t.Error("nothing is renamed")
		}
	})
}

var id = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{10}$`)

func checkComplete(t *testing.T, c *config.Config) {
	t.Helper()
	if len(c.CHT) == 0 || len(c.DHIS2) == 0 || len(c.DataSets) == 0 {
		t.Error("a section is empty")
	}
	for _, s := range c.CHT {
		password, err := s.Password.Reveal()
		if s.Name == "" || s.URL == nil || s.URL.Host == "" || s.URL.User != nil || s.Username == "" || password == "" || err != nil {
			t.Errorf("cht %q is not complete", s.Name)
		}
		if s.Zone == nil || s.HeaderTimeout <= 0 || s.Timeout <= 0 || s.MaxSize <= 0 {
			t.Errorf("cht %q has no zone, time-out or size", s.Name)
		}
	}
	for _, s := range c.DHIS2 {
		token, err := s.Token.Reveal()
		password, err2 := s.Password.Reveal()
		byName := s.Username != "" && password != ""
		if s.Name == "" || s.URL == nil || s.URL.Host == "" || s.URL.User != nil || (token != "") == byName || err != nil || err2 != nil {
			t.Errorf("dhis2 %q is not complete", s.Name)
		}
		if s.Timeout <= 0 || s.InFlight < 1 {
			t.Errorf("dhis2 %q has no time-out or sends nothing", s.Name)
		}
	}
	for _, s := range c.DataSets {
		checkDataSet(t, c, s)
	}
	checkService(t, c)
	if len(c.Effective()) == 0 {
		t.Error("nothing is in force")
	}
}

func checkService(t *testing.T, c *config.Config) {
	t.Helper()
	if c.Listen == "" || c.DataDir == "" || c.KeepMonths < 1 || c.QueueLimit < 1 || c.LogLevel == "" || c.LogFormat == "" {
		t.Error("a setting at the top is not complete")
	}
	for _, s := range c.Callers {
		token, err := s.Token.Reveal()
		password, err2 := s.Password.Reveal()
		if s.Name == "" || (s.Username == "") != (password == "") || token == "" && password == "" || err != nil || err2 != nil {
			t.Errorf("caller %q is not complete", s.Name)
		}
	}
	if him := c.OpenHIM; him.IsSet() {
		password, err := him.Password.Reveal()
		if him.URL == nil || him.URL.Host == "" || him.Username == "" || password == "" || err != nil || him.URN == "" || him.Channel == "" {
			t.Error("openhim is not complete")
		}
		if him.Heartbeat < time.Second || him.Heartbeat > 55*time.Second || him.BodyLimit < 256 || him.BodyLimit > 64<<10 {
			t.Errorf("openhim has the heartbeat %s and the limit %s", him.Heartbeat, him.BodyLimit)
		}
		if (him.RouterURL != nil) != (him.ClientID != "") || him.TrustAny && him.Fingerprint != "" {
			t.Error("openhim has half a client or trusts in two ways")
		}
	}
	if n := c.Notices; n.SMTPHost != "" && (n.From == "" || len(n.To) == 0) || n.WaitingAfter <= 0 {
		t.Error("notices are not complete")
	}
}

func checkDataSet(t *testing.T, c *config.Config, s config.DataSet) {
	t.Helper()
	if s.DataSetIDScheme == "uid" && !id.MatchString(s.ID) || s.ID == "" || s.FirstPeriod == "" || s.Source == "" || s.Completeness == "" || s.EmptyOrgUnits == "" || s.Zeros == "" {
		t.Errorf("data set %q is not complete", s.ID)
	}
	if len(s.CHT) == 0 || !slices.ContainsFunc(c.DHIS2, func(d config.DHIS2) bool { return d.Name == s.DHIS2 }) {
		t.Errorf("data set %q has no servers", s.ID)
	}
	for _, name := range s.CHT {
		if !slices.ContainsFunc(c.CHT, func(source config.CHT) bool { return source.Name == name }) {
			t.Errorf("data set %q reads from %q, which is none", s.ID, name)
		}
	}
	if s.FirstAfterDays < 0 || s.RereadDays < s.FirstAfterDays || s.Jitter < 0 || s.Jitter > 12*time.Hour {
		t.Errorf("data set %q has no good schedule", s.ID)
	}
	for _, scheme := range []string{s.DataSetIDScheme, s.OrgUnitIDScheme, s.DataElementIDScheme, s.CategoryOptionComboIDScheme} {
		if scheme != "uid" && scheme != "code" && !strings.HasPrefix(scheme, "attribute:") {
			t.Errorf("data set %q has the scheme %q", s.ID, scheme)
		}
	}
	for scheme, renamed := range map[*string]map[string]string{
		&s.OrgUnitIDScheme: s.RenameOrgUnits, &s.DataElementIDScheme: s.RenameDataElements, &s.CategoryOptionComboIDScheme: s.RenameCombos,
	} {
		for from, to := range renamed {
			if from == "" || to == "" || *scheme == "uid" && !id.MatchString(to) {
				t.Errorf("data set %q renames %q to %q", s.ID, from, to)
			}
		}
	}
}
