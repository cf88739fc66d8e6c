package config_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// secret stands in every test file that holds a secret. No message and no listing may repeat it.
const secret = "hunter2"

// golden compares what was got with a file, or writes the file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s, rewritten by -update (-want +got):\n%s", path, diff)
	}
}

func load(t *testing.T, in config.Input) *config.Config {
	t.Helper()
	c, err := config.Load(in)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mistakes are those of settings that cannot be used.
func mistakes(t *testing.T, in config.Input) []string {
	t.Helper()
	c, err := config.Load(in)
	var mistakes *config.Error
	if !errors.As(err, &mistakes) {
		t.Fatalf("got the error %v, want an *Error", err)
	}
	if c != nil {
		t.Error("got settings beside the error")
	}
	return mistakes.Mistakes
}

// write makes files in a new folder, and gives the path of config.yaml there.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(folder, "config.yaml")
}

// effective lists settings as a person sees them, without the folder of the test.
func effective(c *config.Config, folder string) string {
	var b strings.Builder
	for _, s := range c.Effective() {
		line := s.Key + " = " + s.Value + " (" + s.Origin + ")\n"
		b.WriteString(strings.ReplaceAll(line, folder+string(filepath.Separator), ""))
	}
	return b.String()
}
