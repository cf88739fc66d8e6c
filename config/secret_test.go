package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/cht-dhis2/mediator/config"
)

func TestSecretsNeverPrint(t *testing.T) {
	t.Parallel()
	c := load(t, config.Input{File: "testdata/good/everything.yaml", Set: []string{"cht.kisumu.password=" + secret}})
	things := map[string]any{
		"secret":            c.CHT[0].Password,
		"pointer":           &c.CHT[0].Password,
		"server":            c.CHT[0],
		"settings":          c,
		"settings by value": *c,
		"list":              []config.Secret{c.CHT[0].Password, c.DHIS2[0].Password},
		"map":               map[string]config.Secret{"it": c.DHIS2[0].Password},
		"unexported field":  struct{ hidden config.Secret }{c.CHT[0].Password},
		"error":             fmt.Errorf("log in with %v: %w", c.CHT[0].Password, os.ErrPermission),
	}
	for name, thing := range things {
		var texts []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T", "%40s"} {
			texts = append(texts, fmt.Sprintf(verb, thing))
		}
		asJSON, err := json.Marshal(thing)
		if err != nil {
			t.Error(err)
		}
		texts = append(texts, string(asJSON), fmt.Sprint(thing), fmt.Sprintln(thing))
		if name != "unexported field" && name != "error" { // yaml cannot have these
			asYAML, err := yaml.Marshal(thing)
			if err != nil {
				t.Error(err)
			}
			texts = append(texts, string(asYAML))
		}
		for _, text := range texts {
			if strings.Contains(text, secret) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", secret)) {
				t.Errorf("%s prints its secret: %s", name, text)
			}
		}
	}
}

func TestASecretPrintsAsOne(t *testing.T) {
	t.Parallel()
	c := load(t, config.Input{File: "testdata/good/everything.yaml"})
	for _, test := range []struct {
		name   string
		secret config.Secret
		want   string
	}{
		{"in the settings", c.DHIS2[0].Password, "<secret>"},
		{"in a file", c.CHT[0].Password, "<secret> in testdata/good/secret"},
		{"none", c.DHIS2[0].Token, ""},
	} {
		text, err := test.secret.MarshalText()
		if err != nil || string(text) != test.want || fmt.Sprint(test.secret) != test.want || fmt.Sprintf("%#v", test.secret) != test.want {
			t.Errorf("%s: got %s, %v, want %s", test.name, text, err, test.want)
		}
		if test.secret.IsSet() != (test.want != "") {
			t.Errorf("%s: got IsSet %t", test.name, test.secret.IsSet())
		}
	}
}

func TestASecretFileIsReadAgain(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("testdata/good/smallest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, map[string]string{"config.yaml": string(content), "secret": "first"})
	c := load(t, config.Input{File: file})
	path := filepath.Join(filepath.Dir(file), "secret")
	for _, test := range []struct{ name, content, want, wrong string }{
		{"as it was", "first", "first", ""},
		{"another", "second", "second", ""},
		{"line end", "second\n", "second", ""},
		{"line end of Windows", "second\r\n", "second", ""},
		{"several line ends and spaces", "second \t\n\n", "second", ""},
		{"space inside and before", " sec ond", " sec ond", ""},
		{"byte order mark", "\ufeffsecond", "second", ""},
		{"other script", "pässwörd", "pässwörd", ""},
		{"empty", "", "", "is empty"},
		{"white space only", " \n", "", "is empty"},
		{"lines", "hunter2\nhunter2", "", "holds more than one line"},
		{"a zero", "hunter2\x00", "", "holds characters that are no UTF-8 text"},
		{"another code", "hunter2\xff", "", "holds characters that are no UTF-8 text"},
		{"a tab inside", "hunter2\thunter2", "", "holds a control character"},
		{"back again", "first\n", "first", ""},
	} {
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := c.CHT[0].Password.Reveal()
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		if (err != nil) != (test.wrong != "") || err != nil && err.Error() != path+" "+test.wrong {
			t.Errorf("%s: got the error %v, want %q", test.name, err, test.wrong)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got, err := c.CHT[0].Password.Reveal(); got != "" || err == nil {
		t.Errorf("a file that is gone: got %q, %v", got, err)
	}
}
