package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
)

// lists are the keys with a list of things, each of which has a name. Inside, a key is built with that name, such as
// cht.kisumu.url, so that the layers can be laid over each other. That of a section needs none: openhim.api_url.
var lists = []list{{"cht", "name"}, {"dhis2", "name"}, {"data_sets", "id"}, {"callers", "name"}}

type list struct{ key, name string }

// readFile gives the file's path and content. A file that nobody named may be absent, and has no path then.
func readFile(path string, mistakes *Error) (string, map[string]any) {
	named := path != ""
	if !named {
		path = DefaultFile
	}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return "", nil
	}
	if err != nil {
		mistakes.add("%v", err)
		return "", nil
	}
	tree, err := readYAML(content)
	if err != nil {
		mistakes.add("%s: %v", path, err)
	}
	return path, tree
}

// fromFile makes a layer of a file, and notes the names of the things in its lists.
func fromFile(path string, tree map[string]any, names map[string][]string, mistakes *Error) layer {
	f := fileReader{newLayer(), path, mistakes}
	for _, key := range sorted(tree) {
		of, value := typeAt(key), tree[key]
		switch {
		case of != nil && isList(of):
			names[key] = f.list(key, value, of.Elem())
		case of != nil && isSection(of):
			f.section(key, value, of)
		default:
			f.set("", key, value, reflect.TypeFor[Config]())
		}
	}
	return f.layer
}

// fileReader takes a file apart.
type fileReader struct {
	layer    layer
	path     string
	mistakes *Error
}

// set sets one key of the struct that stands at where.
func (f fileReader) set(where, key string, value any, of reflect.Type) {
	kind, known := checkKey(key, of, where, f.mistakes)
	if !known || value == nil { // nothing after the colon is as if the key were not there
		return
	}
	if shaped, ok := shape(value, kind, where+key, f.mistakes); ok {
		f.layer.set(where+key, shaped, f.path)
	}
}

// section sets the keys of a section.
func (f fileReader) section(key string, value any, of reflect.Type) {
	section, ok := value.(map[string]any)
	if !ok && value != nil {
		keys, _ := keysOf(of)
		f.mistakes.add("%s: must have keys and values, as {%s: …}", key, keys[0])
	}
	for _, inner := range sorted(section) {
		f.set(key+".", inner, section[inner], of)
	}
}

// list sets the keys of the things of a list, and gives their names.
func (f fileReader) list(key string, value any, of reflect.Type) []string {
	l := listAt(key)
	things, ok := value.([]any)
	if !ok && value != nil {
		f.mistakes.add("%s: must be a list, each entry of which begins with - and has a %s", key, l.name)
	}
	var names []string
	for i, item := range things {
		thing, name := l.entry(item, i, names, f.mistakes)
		if name == "" {
			continue
		}
		names = append(names, name)
		for _, inner := range sorted(thing) {
			f.set(key+"."+name+".", inner, thing[inner], of)
		}
	}
	return names
}

// listAt is the list at a key.
func listAt(key string) list {
	return lists[slices.IndexFunc(lists, func(l list) bool { return l.key == key })]
}

// entry takes one thing of a list, and its name, which is empty where the thing cannot be used.
func (l list) entry(item any, i int, others []string, mistakes *Error) (map[string]any, string) {
	thing, ok := item.(map[string]any)
	if !ok {
		mistakes.add("%s: entry %d must have keys and values, as {%s: …}", l.key, i+1, l.name)
		return nil, ""
	}
	name, _ := thing[l.name].(string)
	switch {
	case name == "":
		mistakes.add("%s: entry %d has no %s", l.key, i+1, l.name)
		for _, key := range sorted(thing) {
			checkKey(key, typeAt(l.key).Elem(), fmt.Sprintf("%s: entry %d: ", l.key, i+1), mistakes)
		}
	case l.name == "id" && !uidForm.MatchString(name) && (thing["data_set_id_scheme"] == nil || thing["data_set_id_scheme"] == uid):
		mistakes.add("%s: entry %d has the id %q, which is no DHIS2 id: that has eleven letters and digits", l.key, i+1, name)
	case !nameForm.MatchString(name):
		mistakes.add("%s: entry %d has the name %q; it may have letters, digits, - and _ only", l.key, i+1, name)
	case slices.Contains(others, name):
		mistakes.add("%s: there are two with the %s %s", l.key, l.name, name)
	default:
		return thing, name
	}
	return nil, ""
}

// fromEnvironment makes a layer of the variables. Those of a server describe the single one there is.
func fromEnvironment(environ []string, names map[string][]string, mistakes *Error) layer {
	l := newLayer()
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(entry, "=")
		i := slices.IndexFunc(variables, func(v variable) bool { return v.name == name })
		if i < 0 || value == "" {
			continue
		}
		v, origin := variables[i], "environment "+name
		if name == "PORT" { // a number alone, as platforms give it
			value = ":" + value
		}
		if v.kind == "" {
			if other, twice := l.origins[v.key]; twice {
				mistakes.add("%s: %s says the same, and only one of them may be there", name, strings.TrimPrefix(other, "environment "))
			}
			l.set(v.key, value, origin)
			continue
		}
		if len(names[v.kind]) > 1 {
			mistakes.add("%s: this variable describes a single server, and the file has %d under %s", name, len(names[v.kind]), v.kind)
			continue
		}
		if len(names[v.kind]) == 0 {
			names[v.kind] = []string{v.kind}
		}
		l.set(v.kind+"."+names[v.kind][0]+"."+v.key, value, origin)
	}
	return l
}

// variable is a variable of the environment, and the key that it sets; with a kind, for the single server of that kind.
type variable struct{ name, kind, key string }

var variables = []variable{
	{"LISTEN", "", "listen"},
	{"PORT", "", "listen"},
	{"DATA_DIR", "", "data_dir"},
	{"DATABASE_URL", "", "database_url"},
	{"DATABASE_URL_FILE", "", "database_url_file"},
	{"OPENHIM_API_URL", "", "openhim.api_url"},
	{"OPENHIM_USERNAME", "", "openhim.username"},
	{"OPENHIM_PASSWORD", "", "openhim.password"},
	{"OPENHIM_PASSWORD_FILE", "", "openhim.password_file"},
	{"OPENHIM_TRUST_ANY", "", "openhim.trust_any"},
	{"OPENHIM_URN", "", "openhim.urn"},
	{"CHT_URL", "cht", "url"},
	{"CHT_USERNAME", "cht", "username"},
	{"CHT_PASSWORD", "cht", "password"},
	{"CHT_PASSWORD_FILE", "cht", "password_file"},
	{"CHT_CA_FILE", "cht", "ca_file"},
	{"CHT_TIME_ZONE", "cht", "time_zone"},
	{"DHIS2_URL", "dhis2", "url"},
	{"DHIS2_TOKEN", "dhis2", "token"},
	{"DHIS2_TOKEN_FILE", "dhis2", "token_file"},
	{"DHIS2_USERNAME", "dhis2", "username"},
	{"DHIS2_PASSWORD", "dhis2", "password"},
	{"DHIS2_PASSWORD_FILE", "dhis2", "password_file"},
	{"DHIS2_CA_FILE", "dhis2", "ca_file"},
}

// fromFlags makes a layer of flags: key=value, where the key of a thing in a list goes by its name. Of two flags with
// one key the last holds. No message repeats a value, as that may be a secret.
func fromFlags(set []string, names map[string][]string, mistakes *Error) layer {
	l := newLayer()
	for i, text := range set {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			mistakes.add("--set, number %d: has no =; write it as key=value", i+1)
			continue
		}
		where, of, ok := flagTarget(key, names, mistakes)
		if !ok {
			continue
		}
		l.setFlag(where, strings.TrimPrefix(key, where), value, of, mistakes)
	}
	return l
}

// flagTarget gives the beginning of a flag's key, as far as the struct that it is about, and the type of that.
func flagTarget(key string, names map[string][]string, mistakes *Error) (string, reflect.Type, bool) {
	parts := strings.Split(key, ".")
	first := parts[0]
	of := typeAt(first)
	switch {
	case of == nil || !isList(of) && !isSection(of):
		return "", reflect.TypeFor[Config](), true
	case isSection(of) && len(parts) != 2:
		keys, _ := keysOf(of)
		mistakes.add("--set %s: write it as %s.key, such as %s.%s", key, first, first, keys[0])
		return "", nil, false
	case isSection(of):
		return first + ".", of, true
	case len(names[first]) == 0:
		mistakes.add("--set %s: there is nothing under %s to change", key, first)
		return "", nil, false
	}
	name := listAt(first).name
	if len(parts) != 3 || !slices.Contains(names[first], parts[1]) {
		mistakes.add("--set %s: write it as %s.%s.key, where %s is one of %s",
			key, first, strings.ToUpper(name), strings.ToUpper(name), strings.Join(names[first], ", "))
		return "", nil, false
	}
	if parts[2] == name {
		mistakes.add("--set %s: the %s cannot be changed", key, name)
		return "", nil, false
	}
	return first + "." + parts[1] + ".", of.Elem(), true
}

// setFlag sets one key as a flag says. A list or a map is written as YAML has it in one line.
func (l layer) setFlag(where, key, text string, of reflect.Type, mistakes *Error) {
	kind, known := checkKey(key, of, where, mistakes)
	if !known {
		return
	}
	var value any = text
	if kind.Kind() == reflect.Slice || kind.Kind() == reflect.Map {
		tree, err := readYAML([]byte("value: " + text))
		if err != nil {
			mistakes.add("--set %s%s: is no list or map as YAML has it", where, key)
			return
		}
		value = tree["value"]
	}
	if shaped, ok := shape(value, kind, where+key, mistakes); ok {
		l.set(where+key, shaped, "flag --set")
	}
}
