package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Effective lists the settings that are in force, with secrets hidden, and where each came from. A section of which
// nothing was given is left out.
func (c *Config) Effective() []Setting {
	list := c.effective("", *c)
	value := reflect.ValueOf(*c)
	for i := range value.NumField() {
		key, of := value.Type().Field(i).Tag.Get("koanf"), value.Type().Field(i).Type
		switch {
		case isList(of):
			for j := range value.Field(i).Len() {
				thing := value.Field(i).Index(j)
				name := thing.Field(0).String() // the name of a thing is its first field
				list = append(list, c.effective(key+"."+name+".", thing.Interface())...)
			}
		case isSection(of) && c.isGiven(key):
			list = append(list, c.effective(key+".", value.Field(i).Interface())...)
		}
	}
	return list
}

// effective lists the keys of one struct that hold something, and those that somebody set to nothing.
func (c *Config) effective(where string, thing any) []Setting {
	var list []Setting
	value := reflect.ValueOf(thing)
	for i := range value.NumField() {
		key, of := value.Type().Field(i).Tag.Get("koanf"), value.Type().Field(i).Type
		if key == "" || key == "-" || isList(of) || isSection(of) {
			continue
		}
		field := value.Field(i).Interface()
		if secret, ok := field.(Secret); ok && secret.file != "" {
			key += "_file"
		}
		key = where + key
		if _, given := c.origins[key]; !given && value.Field(i).IsZero() {
			continue
		}
		list = append(list, Setting{key, show(field), c.origin(key)})
	}
	return list
}

// isGiven says whether somebody set a key of a section.
func (c *Config) isGiven(section string) bool {
	for key := range c.origins {
		if strings.HasPrefix(key, section+".") {
			return true
		}
	}
	return false
}

const shownNames = 5

func show(value any) string {
	switch value := value.(type) {
	case map[string]string:
		if len(value) > shownNames {
			return fmt.Sprintf("%d renamed", len(value))
		}
		var pairs []string
		for _, from := range sorted(value) {
			pairs = append(pairs, from+": "+value[from])
		}
		return "{" + strings.Join(pairs, ", ") + "}"
	case []string:
		return "[" + strings.Join(value, ", ") + "]"
	default:
		return fmt.Sprint(value)
	}
}

// origin says where a setting came from; one that nobody set has its default, or follows from others.
func (c *Config) origin(key string) string {
	if origin, ok := c.origins[key]; ok {
		return origin
	}
	return "default"
}
