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
// cht.kisumu.url, so that the layers can be laid over each other.
var lists = []list{{"cht", "name"}, {"dhis2", "name"}, {"data_sets", "id"}}

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
	l := newLayer()
	set := func(where, key string, value any, of reflect.Type) {
		kind, known := checkKey(key, of, where, mistakes)
		if !known || value == nil { // nothing after the colon is as if the key were not there
			return
		}
		if shaped, ok := shape(value, kind, where+key, mistakes); ok {
			l.set(where+key, shaped, path)
		}
	}
	for _, key := range sorted(tree) {
		at := slices.IndexFunc(lists, func(l list) bool { return l.key == key })
		if at < 0 {
			set("", key, tree[key], reflect.TypeFor[Config]())
			continue
		}
		things, ok := tree[key].([]any)
		if !ok && tree[key] != nil {
			mistakes.add("%s: must be a list, each entry of which begins with - and has a %s", key, lists[at].name)
		}
		for i, item := range things {
			thing, name := lists[at].entry(item, i, names[key], mistakes)
			if name == "" {
				continue
			}
			names[key] = append(names[key], name)
			for _, inner := range sorted(thing) {
				set(key+"."+name+".", inner, thing[inner], elementType(key))
			}
		}
	}
	return l
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
			checkKey(key, elementType(l.key), fmt.Sprintf("%s: entry %d: ", l.key, i+1), mistakes)
		}
	case l.name == "id" && !uidForm.MatchString(name):
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
		if v.kind == "" {
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

// variable is a variable of the environment, and the key that it sets for the single server of a kind.
type variable struct{ name, kind, key string }

var variables = []variable{
	{"DATA_DIR", "", "data_dir"},
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
		parts := strings.Split(key, ".")
		at := slices.IndexFunc(lists, func(l list) bool { return l.key == parts[0] })
		where, of := "", reflect.TypeFor[Config]()
		switch {
		case at < 0:
		case len(names[parts[0]]) == 0:
			mistakes.add("--set %s: there is nothing under %s to change", key, parts[0])
			continue
		case len(parts) != 3 || !slices.Contains(names[parts[0]], parts[1]):
			mistakes.add("--set %s: write it as %s.%s.key, where %s is one of %s",
				key, parts[0], strings.ToUpper(lists[at].name), strings.ToUpper(lists[at].name), strings.Join(names[parts[0]], ", "))
			continue
		case parts[2] == lists[at].name:
			mistakes.add("--set %s: the %s cannot be changed", key, parts[2])
			continue
		default:
			where, of = parts[0]+"."+parts[1]+".", elementType(parts[0])
		}
		l.setFlag(where, strings.TrimPrefix(key, where), value, of, mistakes)
	}
	return l
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
