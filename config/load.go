package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// Input is where settings come from.
type Input struct {
	// File is the path of the YAML file; empty reads DefaultFile where there is one.
	File string
	// Environment is as os.Environ gives it.
	Environment []string
	// Set are settings given as flags, each as key=value, such as dhis2.national.url=https://…
	Set []string
}

// DefaultFile is read when no file is named.
const DefaultFile = "config.yaml"

// Error is settings that cannot be used. It tells every mistake at once.
type Error struct{ Mistakes []string }

func (e *Error) Error() string { return strings.Join(e.Mistakes, "\n") }

// Hint says what a person can do about it.
func (e *Error) Hint() string {
	return "correct the configuration; `mediator config check` tries it, and docs/configuration.md lists every key"
}

func (e *Error) add(format string, args ...any) {
	e.Mistakes = append(e.Mistakes, fmt.Sprintf(format, args...))
}

// orNil gives nil where there is no mistake.
func (e *Error) orNil() error {
	if len(e.Mistakes) == 0 {
		return nil
	}
	return e
}

// between separates the parts of a key inside koanf. Keys hold names that people choose, so it is nothing they type.
const between = "\x1f"

// lists are the keys with a list of things, each of which has a name; inside, they are kept by their names, so that the
// layers can be laid over each other.
var lists = []list{{"cht", "name"}, {"dhis2", "name"}, {"data_sets", "id"}}

type list struct{ key, name string }

// Load reads the settings. The error is an *Error.
func Load(in Input) (*Config, error) {
	mistakes := &Error{}
	file, tree := readFile(in.File, mistakes)
	if err := mistakes.orNil(); err != nil {
		return nil, err
	}
	checkKeys(tree, reflect.TypeFor[Config](), "", mistakes)
	names := map[string][]string{}
	for _, l := range lists {
		tree[l.key], names[l.key] = byName(tree[l.key], l, mistakes)
	}
	if err := mistakes.orNil(); err != nil {
		return nil, err
	}

	layers := []layer{{origin: in.fileName(), tree: tree}}
	layers = append(layers, environment(in.Environment, names, mistakes)...)
	layers = append(layers, flags(in.Set, names, mistakes)...)
	k := koanf.New(between)
	origins := map[string]string{}
	for _, l := range layers {
		overlay(k, l, origins)
	}
	c, err := decode(k, names, mistakes)
	if err != nil {
		return nil, err
	}
	c.file, c.origins = file, origins
	c.complete(mistakes)
	if err := mistakes.orNil(); err != nil {
		return nil, err
	}
	return c, nil
}

func (in Input) fileName() string {
	if in.File == "" {
		return DefaultFile
	}
	return in.File
}

// readFile gives the file's path and content. A file that nobody named may be absent.
func readFile(path string, mistakes *Error) (string, map[string]any) {
	named := path != ""
	if !named {
		path = DefaultFile
	}
	content, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if errors.Is(err, fs.ErrNotExist) && !named {
		return "", map[string]any{}
	}
	if err != nil {
		mistakes.add("%v", err)
		return "", nil
	}
	tree, err := yaml.Parser().Unmarshal(content)
	if err != nil {
		mistakes.add("%s: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))
		return "", nil
	}
	if tree == nil {
		tree = map[string]any{}
	}
	return path, tree
}

// byName turns a list of things into a map by their names.
func byName(value any, l list, mistakes *Error) (map[string]any, []string) {
	things := map[string]any{}
	var names []string
	if value == nil {
		return things, nil
	}
	items, ok := value.([]any)
	if !ok {
		mistakes.add("%s: must be a list, each entry of which begins with - and has a %s", l.key, l.name)
		return things, nil
	}
	for i, item := range items {
		thing, ok := item.(map[string]any)
		if !ok {
			mistakes.add("%s: entry %d must have keys and values", l.key, i+1)
			continue
		}
		name, ok := thing[l.name].(string)
		if !ok || name == "" {
			mistakes.add("%s: entry %d has no %s", l.key, i+1, l.name)
			continue
		}
		if things[name] != nil {
			mistakes.add("%s: there are two with the %s %s", l.key, l.name, name)
			continue
		}
		things[name] = thing
		names = append(names, name)
	}
	return things, names
}

// layer is settings of one origin.
type layer struct {
	origin string
	tree   map[string]any
}

// overlay lays a layer over what is there. A secret of a higher layer hides every form of it below.
func overlay(k *koanf.Koanf, l layer, origins map[string]string) {
	top := koanf.New(between)
	_ = top.Load(confmap.Provider(l.tree, between), nil) // a map in memory is always read
	for _, key := range top.Keys() {
		for _, other := range rivals(key) {
			if !top.Exists(other) {
				k.Delete(other)
				delete(origins, other)
			}
		}
		origins[key] = l.origin
	}
	_ = k.Merge(top)
}

// rivals are the keys that cannot stand beside a key: the same secret in another form, or another way to log in.
func rivals(key string) []string {
	at := strings.LastIndex(key, between) + 1
	server, last := key[:at], key[at:]
	switch last {
	case "password":
		return []string{server + "password_file", server + "token", server + "token_file"}
	case "password_file":
		return []string{server + "password", server + "token", server + "token_file"}
	case "token":
		return []string{server + "token_file", server + "username", server + "password", server + "password_file"}
	case "token_file":
		return []string{server + "token", server + "username", server + "password", server + "password_file"}
	default:
		return nil
	}
}

// environment gives the settings that variables hold. Those of a server describe the single one there is.
func environment(environ []string, names map[string][]string, mistakes *Error) []layer {
	var layers []layer
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		kind, key, known := variable(name)
		if !known || value == "" {
			continue
		}
		if kind == "" {
			layers = append(layers, layer{"environment " + name, map[string]any{key: value}})
			continue
		}
		if len(names[kind]) > 1 {
			mistakes.add("%s: this variable describes a single server, and the file has %d under %s", name, len(names[kind]), kind)
			continue
		}
		if len(names[kind]) == 0 {
			names[kind] = []string{kind}
		}
		server := names[kind][0]
		tree := map[string]any{"name": server, key: value}
		layers = append(layers, layer{"environment " + name, map[string]any{kind: map[string]any{server: tree}}})
	}
	slices.SortFunc(layers, func(a, b layer) int { return strings.Compare(a.origin, b.origin) })
	return layers
}

// variable tells what a variable sets: the kind of server, empty for none, and the key.
func variable(name string) (kind, key string, known bool) {
	switch name {
	case "DATA_DIR":
		return "", "data_dir", true
	case "CHT_URL", "CHT_USERNAME", "CHT_PASSWORD", "CHT_PASSWORD_FILE", "CHT_CA_FILE", "CHT_TIME_ZONE":
		return "cht", strings.ToLower(strings.TrimPrefix(name, "CHT_")), true
	case "DHIS2_URL", "DHIS2_TOKEN", "DHIS2_TOKEN_FILE", "DHIS2_USERNAME", "DHIS2_PASSWORD", "DHIS2_PASSWORD_FILE", "DHIS2_CA_FILE":
		return "dhis2", strings.ToLower(strings.TrimPrefix(name, "DHIS2_")), true
	default:
		return "", "", false
	}
}

// flags gives the settings of flags: key=value, where the key of a thing in a list goes by its name.
func flags(set []string, names map[string][]string, mistakes *Error) []layer {
	var layers []layer
	for _, text := range set {
		key, value, ok := strings.Cut(text, "=")
		parts := strings.Split(key, ".")
		if !ok {
			mistakes.add("--set %s: write it as key=value", text)
			continue
		}
		at := slices.IndexFunc(lists, func(l list) bool { return l.key == parts[0] })
		if at >= 0 && (len(parts) != 3 || !slices.Contains(names[parts[0]], parts[1])) {
			mistakes.add("--set %s: write it as %s.%s.key, with one of %s", key, parts[0], strings.ToUpper(lists[at].name), strings.Join(names[parts[0]], ", "))
			continue
		}
		tree := map[string]any{parts[len(parts)-1]: flagValue(value)}
		for i := len(parts) - 2; i >= 0; i-- {
			tree = map[string]any{parts[i]: tree}
		}
		if at >= 0 {
			checkKeys(tree[parts[0]].(map[string]any)[parts[1]].(map[string]any), elementType(parts[0]), key[:len(parts[0])+1+len(parts[1])+1], mistakes)
		} else {
			checkKeys(tree, reflect.TypeFor[Config](), "", mistakes)
		}
		layers = append(layers, layer{"flag --set", tree})
	}
	return layers
}

// flagValue reads a list from a text in brackets.
func flagValue(text string) any {
	inner, isList := strings.CutPrefix(text, "[")
	if inner, isList = strings.CutSuffix(inner, "]"); !isList || !strings.HasPrefix(text, "[") {
		return text
	}
	values := []any{}
	for part := range strings.SplitSeq(inner, ",") {
		if part = strings.TrimSpace(part); part != "" {
			values = append(values, part)
		}
	}
	return values
}

// decode makes the structs. What has the wrong type is named by its key.
func decode(k *koanf.Koanf, names map[string][]string, mistakes *Error) (*Config, error) {
	c := &Config{DataDir: k.String("data_dir")}
	for _, name := range names["cht"] {
		c.CHT = append(c.CHT, decodeOne[CHT](k, "cht", name, mistakes))
	}
	for _, name := range names["dhis2"] {
		c.DHIS2 = append(c.DHIS2, decodeOne[DHIS2](k, "dhis2", name, mistakes))
	}
	for _, name := range names["data_sets"] {
		c.DataSets = append(c.DataSets, decodeOne[DataSet](k, "data_sets", name, mistakes))
	}
	return c, mistakes.orNil()
}

func decodeOne[T any](k *koanf.Koanf, kind, name string, mistakes *Error) T {
	var thing T
	raw := map[string]any{}
	of := reflect.TypeFor[T]()
	for i := range of.NumField() {
		if text, ok := of.Field(i).Tag.Lookup("default"); ok {
			raw[of.Field(i).Tag.Get("koanf")] = text
		}
	}
	given := k.Cut(kind + between + name).Raw()
	for key, value := range given {
		raw[key] = value
	}
	secrets := takeSecrets(raw, kind+"."+name, mistakes)
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		TagName: "koanf", Result: &thing, WeaklyTypedInput: true, ErrorUnused: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(mapstructure.StringToTimeDurationHookFunc(), mapstructure.TextUnmarshallerHookFunc()),
	})
	if err == nil {
		err = decoder.Decode(raw)
	}
	for _, line := range errorLines(err) {
		mistakes.add("%s.%s: %s", kind, name, line)
	}
	value := reflect.ValueOf(&thing).Elem()
	for i := range of.NumField() {
		if secret, ok := secrets[of.Field(i).Tag.Get("koanf")]; ok {
			value.Field(i).Set(reflect.ValueOf(secret))
		}
	}
	return thing
}

// errorLines takes mapstructure's list of errors apart.
func errorLines(err error) []string {
	if err == nil {
		return nil
	}
	var joined interface{ WrappedErrors() []error }
	if !errors.As(err, &joined) {
		return []string{err.Error()}
	}
	var lines []string
	for _, e := range joined.WrappedErrors() {
		lines = append(lines, e.Error())
	}
	return lines
}

// takeSecrets takes the secrets out, so that no error about a value can print one.
func takeSecrets(raw map[string]any, where string, mistakes *Error) map[string]Secret {
	secrets := map[string]Secret{}
	for _, key := range []string{"password", "token"} {
		value, isSet := raw[key]
		file, inFile := raw[key+"_file"]
		delete(raw, key)
		delete(raw, key+"_file")
		if isSet && inFile {
			mistakes.add("%s: give %s or %s_file, not both", where, key, key)
		}
		if isSet {
			secrets[key] = Secret{value: fmt.Sprint(value)}
		}
		if inFile {
			secrets[key] = Secret{file: fmt.Sprint(file)}
		}
	}
	return secrets
}

// path makes a path of the file relative to the folder that the file is in.
func (c *Config) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(c.file), name)
}
