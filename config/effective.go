package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Effective lists the settings that are in force, with secrets hidden, and where each came from.
func (c *Config) Effective() []Setting {
	list := []Setting{{"data_dir", c.DataDir, c.origin("data_dir")}}
	for _, s := range c.CHT {
		list = append(list, c.effective("cht."+s.Name, s)...)
	}
	for _, s := range c.DHIS2 {
		list = append(list, c.effective("dhis2."+s.Name, s)...)
	}
	for _, s := range c.DataSets {
		list = append(list, c.effective("data_sets."+s.ID, s)...)
	}
	return list
}

func (c *Config) effective(where string, thing any) []Setting {
	var list []Setting
	value := reflect.ValueOf(thing)
	for i := range value.NumField() {
		key := value.Type().Field(i).Tag.Get("koanf")
		if key == "-" || value.Field(i).IsZero() {
			continue
		}
		field := value.Field(i).Interface()
		if secret, ok := field.(Secret); ok && secret.file != "" {
			key += "_file"
		}
		key = where + "." + key
		list = append(list, Setting{key, show(field), c.origin(key)})
	}
	return list
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
