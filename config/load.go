package config

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// Input is where settings come from.
type Input struct {
	// File is the path of the YAML file; empty reads DefaultFile where there is one.
	File string
	// Environment is as os.Environ gives it. A variable without a value counts as not set.
	Environment []string
	// Set are settings given as flags, each as key=value, such as dhis2.national.url=https://…
	Set []string
	// Drafting leaves the data sets unjudged, and lets there be none: one is about to be drafted.
	Drafting bool
}

// DefaultFile is read when no file is named.
const DefaultFile = "config.yaml"

// Error is settings that cannot be used. It tells as many mistakes at once as can be seen: those of spelling and form
// first, and once there are none of these, those of meaning.
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

// Load reads the settings. The error is an *Error.
func Load(in Input) (*Config, error) {
	mistakes := &Error{}
	file, tree := readFile(in.File, mistakes)
	if err := mistakes.orNil(); err != nil {
		return nil, err
	}
	// The names of the things in each list, in the order of the file.
	names := map[string][]string{}
	layers := []layer{
		fromFile(file, tree, names, mistakes),
		fromEnvironment(in.Environment, names, mistakes),
		fromFlags(in.Set, names, mistakes),
	}
	if err := mistakes.orNil(); err != nil {
		return nil, err
	}

	k := koanf.New(".")
	c := &Config{file: file, origins: map[string]string{}, drafting: in.Drafting}
	for _, l := range layers {
		if err := overlay(k, l, c.origins); err != nil {
			return nil, &Error{Mistakes: []string{err.Error()}}
		}
	}
	c.decode(k, names, mistakes)
	if len(mistakes.Mistakes) == 0 {
		c.complete(mistakes)
	}
	c.nameOrigins(mistakes)
	if file == "" && len(mistakes.Mistakes) > 0 {
		mistakes.add("no file was read: there is no %s in this folder; name one with --config", DefaultFile)
	}
	if err := mistakes.orNil(); err != nil {
		return nil, err
	}
	return c, nil
}

// layer is settings of one rank: what stands at each key, and which file, variable or flag said so. What stands there
// is a string, a []string or a map[string]string.
type layer struct {
	values  map[string]any
	origins map[string]string
}

func newLayer() layer { return layer{map[string]any{}, map[string]string{}} }

func (l layer) set(key string, value any, origin string) {
	l.values[key], l.origins[key] = value, origin
}

// overlay lays a layer over what is there. A list or map replaces the one below; a secret hides every form of it below.
func overlay(k *koanf.Koanf, l layer, origins map[string]string) error {
	for key := range l.values {
		for _, rival := range rivals(key) { // two rivals of one layer both stay, to be told as a mistake
			k.Delete(rival)
			delete(origins, rival)
		}
	}
	maps.Copy(origins, l.origins)
	return k.Load(confmap.Provider(l.values, "."), nil)
}

// rivals are the keys that cannot stand beside a key: the same secret in another form (a key that holds no secret has
// none), or at a DHIS2 another way to log in.
func rivals(key string) []string {
	at := strings.LastIndex(key, ".") + 1
	server, last := key[:at], key[at:]
	plain, isFile := strings.CutSuffix(last, "_file")
	other := server + plain
	if !isFile {
		other += "_file"
	}
	if !strings.HasPrefix(key, "dhis2.") {
		return []string{other}
	}
	switch plain {
	case "username":
		return []string{server + "token", server + "token_file"}
	case "password":
		return []string{other, server + "token", server + "token_file"}
	case "token":
		return []string{other, server + "username", server + "password", server + "password_file"}
	default:
		return nil
	}
}

// decode makes the structs.
func (c *Config) decode(k *koanf.Koanf, names map[string][]string, mistakes *Error) {
	decodeOne(k, "", c, mistakes)
	for _, name := range names["cht"] {
		c.CHT = append(c.CHT, CHT{Name: name})
		decodeOne(k, "cht."+name+".", &c.CHT[len(c.CHT)-1], mistakes)
	}
	for _, name := range names["dhis2"] {
		c.DHIS2 = append(c.DHIS2, DHIS2{Name: name})
		decodeOne(k, "dhis2."+name+".", &c.DHIS2[len(c.DHIS2)-1], mistakes)
	}
	for _, id := range names["data_sets"] {
		c.DataSets = append(c.DataSets, DataSet{ID: id})
		decodeOne(k, "data_sets."+id+".", &c.DataSets[len(c.DataSets)-1], mistakes)
	}
	for _, name := range names["callers"] {
		c.Callers = append(c.Callers, Caller{Name: name})
		decodeOne(k, "callers."+name+".", &c.Callers[len(c.Callers)-1], mistakes)
	}
}

// decodeOne fills in the struct whose keys begin with where, and the sections in it: what was given, else the default.
// Lists stay as they are.
func decodeOne(k *koanf.Koanf, where string, thing any, mistakes *Error) {
	value := reflect.ValueOf(thing).Elem()
	for i := range value.NumField() {
		tag, of := value.Type().Field(i).Tag, value.Type().Field(i).Type
		key := tag.Get("koanf")
		if key == "" || key == "-" || isList(of) {
			continue
		}
		key = where + key
		if isSection(of) {
			decodeOne(k, key+".", value.Field(i).Addr().Interface(), mistakes)
			continue
		}
		given := k.Get(key)
		if secret, ok := value.Field(i).Addr().Interface().(*Secret); ok {
			*secret = secretOf(key, given, k.Get(key+"_file"), mistakes)
			continue
		}
		if given == nil {
			if given, ok := tag.Lookup("default"); ok {
				setField(value.Field(i), given, key, mistakes)
			}
			continue
		}
		setField(value.Field(i), given, key, mistakes)
	}
}

// secretOf is a secret in one of its two forms.
func secretOf(key string, value, file any, mistakes *Error) Secret {
	text, isSet := value.(string)
	path, inFile := file.(string)
	switch {
	case isSet && inFile:
		mistakes.add("%s: give %s or %s_file, not both", cmp.Or(key[:max(0, strings.LastIndex(key, "."))], key), lastPart(key), lastPart(key))
		return Secret{}
	case isSet:
		return secretText(text)
	default:
		return Secret{file: path}
	}
}

func lastPart(key string) string { return key[strings.LastIndex(key, ".")+1:] }

// setField puts what was given into a field; the keys were checked to hold what their fields take.
func setField(field reflect.Value, given any, key string, mistakes *Error) {
	text, isText := given.(string)
	if !isText {
		field.Set(reflect.ValueOf(given))
		return
	}
	switch field := field.Addr().Interface().(type) {
	case *string:
		*field = text
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			mistakes.add("%s: %q is no whole number", key, text)
		}
		*field = n
	case *bool:
		if text != "true" && text != "false" {
			mistakes.add("%s: %q is neither true nor false", key, text)
		}
		*field = text == "true"
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			mistakes.add("%s: %q is no time with its unit, as 30s or 10m", key, text)
		}
		*field = d
	case *Size:
		if err := field.UnmarshalText([]byte(text)); err != nil {
			mistakes.add("%s: %v", key, err)
		}
	default:
		panic(fmt.Sprintf("config: %s is of a type that no setting has, %T", key, field))
	}
}

// nameOrigins adds to each mistake about one setting where that was given, unless it was in the file.
func (c *Config) nameOrigins(mistakes *Error) {
	for i, mistake := range mistakes.Mistakes {
		key, _, _ := strings.Cut(mistake, ": ")
		if origin, ok := c.origins[key]; ok && origin != c.file {
			mistakes.Mistakes[i] += " (" + origin + ")"
		}
	}
}
