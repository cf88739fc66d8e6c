package config_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/cht-dhis2/mediator/config"
)

// part is a struct of settings as the documentation shows it: a section, or what a list is of.
type part struct {
	Key, Doc string
	Keys     reflect.Type
	IsList   bool
}

// docs/configuration.md is made from the tags of the settings, so that it cannot say anything else than they do.
func TestTheDocumentationIsThatOfTheSettings(t *testing.T) {
	t.Parallel()
	page := template.New("configuration.md.tmpl").Funcs(template.FuncMap{"table": func(of reflect.Type) string { return table(t, of) }})
	if _, err := page.ParseFiles("testdata/configuration.md.tmpl"); err != nil {
		t.Fatal(err)
	}
	top := reflect.TypeFor[config.Config]()
	var parts []part
	for i := range top.NumField() {
		field := top.Field(i)
		switch key, doc := field.Tag.Get("koanf"), field.Tag.Get("doc"); {
		case isSection(field.Type):
			parts = append(parts, part{key, doc, field.Type, false})
		case isList(field.Type):
			parts = append(parts, part{key, doc, field.Type.Elem(), true})
		}
	}
	var b strings.Builder
	err := page.Execute(&b, map[string]any{"Top": top, "Parts": parts, "Variables": config.Variables()})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../docs/configuration.md", b.String())
}

func isSection(of reflect.Type) bool {
	return of.Kind() == reflect.Struct && of != reflect.TypeFor[config.Secret]()
}

func isList(of reflect.Type) bool { return of.Kind() == reflect.Slice && isSection(of.Elem()) }

// table has a row for each key of a struct.
func table(t *testing.T, of reflect.Type) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| key | takes | default | meaning | example |\n| --- | --- | --- | --- | --- |\n")
	for i := range of.NumField() {
		field := of.Field(i)
		key, doc, example := field.Tag.Get("koanf"), field.Tag.Get("doc"), field.Tag.Get("example")
		if key == "" || key == "-" {
			continue
		}
		if doc == "" || example == "" && !isSection(field.Type) && !isList(field.Type) {
			t.Errorf("%s.%s has no doc or no example", of.Name(), field.Name)
		}
		switch {
		case isSection(field.Type):
			fmt.Fprintf(&b, "| `%s` | section | | %s See [below](#%s). | |\n", key, doc, key)
		case isList(field.Type):
			fmt.Fprintf(&b, "| `%s` | list | | %s See [below](#%s). | |\n", key, doc, key)
		case field.Type == reflect.TypeFor[config.Secret]():
			fmt.Fprintf(&b, "| `%s` | secret | | %s | |\n", key, doc)
			fmt.Fprintf(&b, "| `%s_file` | file | | The file that holds the %s. | `%s` |\n", key, key, example)
		default:
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | `%s` |\n", key, takes(t, field), code(field.Tag.Get("default")), doc, example)
		}
	}
	return b.String()
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// takes names what a key takes, as the page explains it.
func takes(t *testing.T, field reflect.StructField) string {
	t.Helper()
	switch field.Type {
	case reflect.TypeFor[time.Duration]():
		return "time"
	case reflect.TypeFor[config.Size]():
		return "size"
	case reflect.TypeFor[string]():
		if key := field.Tag.Get("koanf"); strings.HasSuffix(key, "_file") || strings.HasSuffix(key, "_dir") {
			return "file"
		}
		return "text"
	case reflect.TypeFor[int]():
		return "number"
	case reflect.TypeFor[bool]():
		return "true or false"
	case reflect.TypeFor[[]string]():
		return "list"
	case reflect.TypeFor[map[string]string]():
		return "map"
	default:
		t.Errorf("%s is of a type that the page does not explain", field.Name)
		return ""
	}
}
