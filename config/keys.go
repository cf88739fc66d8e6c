package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/issue"
)

// isSection says whether a key holds keys of its own, such as openhim.
func isSection(of reflect.Type) bool {
	return of.Kind() == reflect.Struct && of != reflect.TypeFor[Secret]()
}

// isList says whether a key holds a list of things with keys of their own, such as cht.
func isList(of reflect.Type) bool { return of.Kind() == reflect.Slice && isSection(of.Elem()) }

// typeAt is the type of what stands at a key at the top, or nil where nothing does.
func typeAt(key string) reflect.Type {
	_, types := keysOf(reflect.TypeFor[Config]())
	return types[key]
}

// keysOf are the keys of a struct in their order, each with the type of what stands there.
func keysOf(of reflect.Type) ([]string, map[string]reflect.Type) {
	types := map[string]reflect.Type{}
	var keys []string
	for i := range of.NumField() {
		key := of.Field(i).Tag.Get("koanf")
		if key == "" || key == "-" {
			continue
		}
		keys = append(keys, key)
		types[key] = of.Field(i).Type
		if of.Field(i).Type == reflect.TypeFor[Secret]() {
			keys = append(keys, key+"_file")
			types[key+"_file"] = reflect.TypeFor[string]()
		}
	}
	return keys, types
}

// checkKey gives the type of what a key takes. It refuses a key that nobody knows, and names the nearest one.
func checkKey(key string, of reflect.Type, where string, mistakes *Error) (reflect.Type, bool) {
	keys, types := keysOf(of)
	kind, known := types[key]
	if !known {
		mistakes.add("%s%s: unknown key; %s", where, key, nearest(key, keys))
	}
	return kind, known
}

// shape makes what was given a string, a []string or a map[string]string, as the key takes it.
func shape(value any, kind reflect.Type, where string, mistakes *Error) (any, bool) {
	switch kind.Kind() {
	case reflect.Map:
		return shapeMap(value, where, mistakes)
	case reflect.Slice:
		return shapeList(value, where, mistakes)
	default:
		text, ok := value.(string)
		if !ok {
			mistakes.add("%s: must be one value", where)
		}
		return text, ok
	}
}

func shapeMap(value any, where string, mistakes *Error) (any, bool) {
	given, ok := value.(map[string]any)
	if !ok {
		mistakes.add("%s: must have keys and values, as {old: new}", where)
		return nil, false
	}
	pairs := map[string]string{}
	for _, key := range sorted(given) {
		text, isText := given[key].(string)
		if key == "" || !isText {
			mistakes.add("%s: must have one value for each key, as {old: new}; %q has not", where, key)
			ok = false
		}
		pairs[key] = text
	}
	return pairs, ok
}

func shapeList(value any, where string, mistakes *Error) (any, bool) {
	given, ok := value.([]any)
	if !ok {
		mistakes.add("%s: must be a list, as [one, two]", where)
		return nil, false
	}
	items := []string{}
	for i, item := range given {
		text, isText := item.(string)
		if text == "" || !isText {
			mistakes.add("%s: must be a list of single values, as [one, two]; entry %d is none", where, i+1)
			ok = false
		}
		items = append(items, text)
	}
	return items, ok
}

// nearest names the known key that looks most like one that is not known.
func nearest(key string, known []string) string {
	if len(known) == 0 {
		return "there is none at all"
	}
	if near := issue.Nearest(key, known); near != "" {
		return "did you mean " + near + "?"
	}
	return "known here are " + strings.Join(known, ", ")
}

// sorted are the keys of a map in one order, as no message may depend on the map's.
func sorted[V any](of map[string]V) []string { return slices.Sorted(maps.Keys(of)) }
