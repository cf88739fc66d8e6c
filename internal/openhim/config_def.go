package openhim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ConfigDef is one thing that people may set in OpenHIM's console. It has no default and no bounds of its own: the
// default stands in Registration.Config, and what arrives is for the mediator to check.
type ConfigDef struct {
	Param       string `json:"param"`
	DisplayName string `json:"displayName,omitempty"`
	Description string `json:"description,omitempty"`
	// Type is one of the types below.
	Type string `json:"type"`
	// Values are the choices of an option.
	Values []string `json:"values,omitempty"`
	// Template defines the fields of a struct; a struct cannot hold a struct.
	Template []ConfigDef `json:"template,omitempty"`
	// Array makes the value a list of the type.
	Array bool `json:"array,omitempty"`
}

// The types of OpenHIM's console.
const (
	typeString    = "string"
	typeBigString = "bigstring"
	typePassword  = "password"
	typeNumber    = "number"
	typeBool      = "bool"
	typeOption    = "option"
	typeMap       = "map"
	typeStruct    = "struct"
)

func checkConfigDefs(path string, defs []ConfigDef, p *problems) {
	seen := map[string]bool{}
	for i, d := range defs {
		at := fmt.Sprintf("%s[%d]", path, i)
		if d.Param == "" {
			p.add(at+".param", "is required")
		} else if seen[d.Param] {
			p.add(at+".param", "%q stands twice", d.Param)
		}
		seen[d.Param] = true
		d.check(at, p)
	}
}

func (d ConfigDef) check(path string, p *problems) {
	switch d.Type {
	case typeString, typeBigString, typePassword, typeNumber, typeBool, typeMap:
	case typeOption:
		if len(d.Values) == 0 {
			p.add(path+".values", "option %q needs at least one", d.Param)
		}
	case typeStruct:
		d.checkTemplate(path+".template", p)
	case "":
		p.add(path+".type", "is required for %q", d.Param)
	default:
		p.add(path+".type", "%q is not a type of OpenHIM's console", d.Type)
	}
}

func (d ConfigDef) checkTemplate(path string, p *problems) {
	if len(d.Template) == 0 {
		p.add(path, "struct %q needs at least one field", d.Param)
	}
	for i, field := range d.Template {
		at := fmt.Sprintf("%s[%d].type", path, i)
		if field.Type == typeStruct {
			p.add(at, "struct %q cannot hold struct %q", d.Param, field.Param)
			return
		}
		if field.Type == typePassword && d.Array {
			p.add(at, "password %q cannot stand in an array of structs: OpenHIM shows it in clear and stores its own mask over it (8.5.0)", field.Param)
		}
	}
	checkConfigDefs(path, d.Template, p)
}

func checkConfig(defs []ConfigDef, config map[string]any, p *problems) {
	known := map[string]bool{}
	for _, d := range defs {
		known[d.Param] = true
		path := "config." + d.Param
		value, ok := config[d.Param]
		if !ok {
			p.add(path, "has no default; OpenHIM would forget what people had set when a newer version registers")
			continue
		}
		d.checkValue(path, value, p)
	}
	for _, param := range slices.Sorted(maps.Keys(config)) {
		if !known[param] {
			p.add("config."+param, "has no definition")
		}
	}
}

func (d ConfigDef) checkValue(path string, value any, p *problems) {
	if !d.Array {
		d.checkOne(path, value, p)
		return
	}
	items, ok := value.([]any)
	if !ok {
		p.add(path, "must be an array of type %s", d.Type)
		return
	}
	for i, item := range items {
		d.checkOne(fmt.Sprintf("%s[%d]", path, i), item, p)
	}
}

// checkOne is stricter than OpenHIM, which does not look at the types of a struct's fields (8.5.0).
func (d ConfigDef) checkOne(path string, value any, p *problems) {
	ok := true
	switch d.Type {
	case typeString, typeBigString, typePassword:
		_, ok = value.(string)
	case typeNumber:
		_, ok = value.(float64)
	case typeBool:
		_, ok = value.(bool)
	case typeOption:
		choice, isString := value.(string)
		if isString && !slices.Contains(d.Values, choice) {
			p.add(path, "%q is none of %s", choice, strings.Join(d.Values, ", "))
		}
		ok = isString
	case typeMap:
		ok = isMapOfStrings(value)
	case typeStruct:
		fields, isObject := value.(map[string]any)
		if isObject {
			d.checkFields(path, fields, p)
		}
		ok = isObject
	}
	if !ok {
		p.add(path, "must be of type %s", d.Type)
	}
}

func (d ConfigDef) checkFields(path string, fields map[string]any, p *problems) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		i := slices.IndexFunc(d.Template, func(field ConfigDef) bool { return field.Param == name })
		if i < 0 {
			p.add(path+"."+name, "is no field of struct %q", d.Param)
			continue
		}
		d.Template[i].checkValue(path+"."+name, fields[name], p)
	}
}

func isMapOfStrings(value any) bool {
	object, ok := value.(map[string]any)
	for _, v := range object {
		if _, isString := v.(string); !isString {
			return false
		}
	}
	return ok
}
