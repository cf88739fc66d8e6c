package config

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// elementType is the type of the things in a list.
func elementType(key string) reflect.Type {
	of := reflect.TypeFor[Config]()
	for i := range of.NumField() {
		if of.Field(i).Tag.Get("koanf") == key {
			return of.Field(i).Type.Elem()
		}
	}
	return nil
}

// keysOf are the keys of a struct, each with the type of what stands there.
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

// checkKeys refuses keys that nobody knows, and names the nearest one.
func checkKeys(tree map[string]any, of reflect.Type, where string, mistakes *Error) {
	keys, types := keysOf(of)
	for _, key := range sortedKeys(tree) {
		kind, known := types[key]
		if !known {
			mistakes.add("%s%s: unknown key; %s", where, key, nearest(key, keys))
			continue
		}
		items, isList := tree[key].([]any)
		if !isList || kind.Kind() != reflect.Slice || kind.Elem().Kind() != reflect.Struct {
			checkShape(tree[key], kind, where+key, mistakes)
			continue
		}
		for i, item := range items {
			if thing, ok := item.(map[string]any); ok {
				checkKeys(thing, kind.Elem(), where+key+"."+nameOf(thing, i)+".", mistakes)
			}
		}
	}
}

// checkShape refuses a value of another shape than the key takes, before the library that decodes bends it.
func checkShape(value any, kind reflect.Type, where string, mistakes *Error) {
	_, isMap := value.(map[string]any)
	_, isList := value.([]any)
	wantsMap := kind.Kind() == reflect.Map
	wantsList := kind.Kind() == reflect.Slice
	switch {
	case value == nil:
	case wantsMap && !isMap:
		mistakes.add("%s: must have keys and values, as {old: new}", where)
	case wantsList && !isList:
		mistakes.add("%s: must be a list, as [one, two]", where)
	case !wantsMap && !wantsList && (isMap || isList):
		mistakes.add("%s: must be one value", where)
	case kind == reflect.TypeFor[time.Duration]():
		if _, isText := value.(string); !isText {
			mistakes.add("%s: must be a time with its unit, as 30s or 10m", where)
		}
	}
}

// nameOf names a thing in a list for a message.
func nameOf(thing map[string]any, i int) string {
	for _, key := range []string{"name", "id"} {
		if name, ok := thing[key].(string); ok && name != "" {
			return name
		}
	}
	return "entry " + itoa(i+1)
}

// nearest names the known key that looks most like one that is not known.
func nearest(key string, known []string) string {
	best, distance := "", 0
	for _, candidate := range known {
		if d := edits(key, candidate); best == "" || d < distance {
			best, distance = candidate, d
		}
	}
	if distance <= max(2, len(key)/2) {
		return "did you mean " + best + "?"
	}
	return "known here are " + strings.Join(known, ", ")
}

// edits counts the letters to add, take away or change to make one word the other (Levenshtein).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

func sortedKeys(tree map[string]any) []string {
	keys := make([]string, 0, len(tree))
	for key := range tree {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
