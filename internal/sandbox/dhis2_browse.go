package sandbox

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// dhis2Object is an object of the metadata, its fields in order. A value is a scalar, a list of strings, a
// dhis2Object, a list of them, or a func() that gives one of these; nil is left out.
type dhis2Object []dhis2Field

// dhis2Field is a field of an object.
type dhis2Field struct {
	name  string
	value any
}

// get gives the value of a field, nil when there is none.
func (o dhis2Object) get(name string) any {
	for _, field := range o {
		if field.name == name {
			return field.get()
		}
	}
	return nil
}

func (f dhis2Field) get() any {
	switch value := f.value.(type) {
	case func() dhis2Object:
		if object := value(); object != nil {
			return object
		}
		return nil
	case func() []dhis2Object:
		return value()
	case string:
		if value == "" {
			return nil
		}
	}
	return f.value
}

// fieldChoice is one field of the fields parameter, and what was chosen of its value.
type fieldChoice struct {
	name string
	sub  []fieldChoice
}

// parseFields reads a fields parameter such as "id,name,categoryCombo[id]".
func parseFields(text, otherwise string) []fieldChoice {
	choices, _ := readFields(cmp.Or(text, otherwise))
	return choices
}

// readFields reads choices up to the bracket that closes them, and gives the rest.
func readFields(text string) ([]fieldChoice, string) {
	var choices []fieldChoice
	for text != "" && text[0] != ']' {
		end := strings.IndexAny(text, ",[]")
		if end < 0 {
			return append(choices, fieldChoice{name: text}), ""
		}
		choice := fieldChoice{name: strings.TrimSpace(text[:end])}
		text = text[end:]
		if text[0] == '[' {
			choice.sub, text = readFields(text[1:])
			text = strings.TrimPrefix(text, "]")
		}
		text = strings.TrimPrefix(text, ",")
		choices = append(choices, choice)
	}
	return choices, text
}

// choose gives the chosen fields. Names that begin with a colon, and the star, stand for all fields.
func (o dhis2Object) choose(choices []fieldChoice) map[string]any {
	chosen := map[string]any{}
	for _, choice := range choices {
		if strings.HasPrefix(choice.name, ":") || choice.name == "*" {
			for _, field := range o {
				o.put(chosen, fieldChoice{name: field.name})
			}
			continue
		}
		o.put(chosen, choice)
	}
	return chosen
}

// put puts what was chosen of a field into chosen.
func (o dhis2Object) put(chosen map[string]any, choice fieldChoice) {
	switch value := o.get(choice.name).(type) {
	case nil:
	case dhis2Object:
		chosen[choice.name] = value.choose(value.orReference(choice.sub))
	case []dhis2Object:
		list := make([]map[string]any, len(value))
		for i, item := range value {
			list[i] = item.choose(item.orReference(choice.sub))
		}
		chosen[choice.name] = list
	default:
		chosen[choice.name] = value
	}
}

// orReference gives the choices, or the id alone when nothing was chosen and there is one.
func (o dhis2Object) orReference(choices []fieldChoice) []fieldChoice {
	switch {
	case len(choices) > 0:
		return choices
	case o.get("id") != nil:
		return []fieldChoice{{name: "id"}}
	}
	return []fieldChoice{{name: "*"}}
}

// browse answers a question for metadata: a list, or one object. It tells whether path is one.
func (d *DHIS2) browse(w http.ResponseWriter, r *http.Request, user *DHIS2User, path string) bool {
	kind, id, single := strings.Cut(strings.TrimPrefix(path, "/api/"), "/")
	objects, known := d.objects(kind, user)
	if !known {
		return false
	}
	if !single {
		d.writeList(w, r, kind, objects)
		return true
	}
	for _, object := range objects {
		if object.get("id") == id {
			d.writeJSON(w, http.StatusOK, object.choose(parseFields(r.URL.Query().Get("fields"), ":all")))
			return true
		}
	}
	name := strings.TrimSuffix(strings.ToUpper(kind[:1])+kind[1:], "s")
	d.writeFailure(w, http.StatusNotFound, "E1005", fmt.Sprintf("%s with id %s could not be found.", name, id))
	return true
}

// objects gives all objects of a kind that the user may see, by name.
func (d *DHIS2) objects(kind string, user *DHIS2User) ([]dhis2Object, bool) {
	var objects []dhis2Object
	switch kind {
	case "organisationUnits":
		objects = objectsOf(d.index.places.all, d.placeObject)
	case "dataSets":
		objects = objectsOf(d.index.sets.all, func(set *dhis2Set) dhis2Object {
			// 2.40 shows an unreadable data set to who knows its id.
			if !user.super() && !set.Sharing.readable() && !d.version.old() {
				return nil
			}
			return d.setObject(set, user)
		})
	case "dataElements":
		objects = objectsOf(d.index.elements.all, user.elementObject)
	case "categoryCombos":
		objects = objectsOf(d.index.combos.all, user.comboObject)
	case "categoryOptionCombos":
		objects = objectsOf(d.index.optionCombos.all, user.optionComboObject)
	case "apiToken":
		return d.tokensOf(user), true
	case "lockExceptions":
		return d.exceptionObjects(), true
	default:
		return nil, false
	}
	slices.SortStableFunc(objects, func(a, b dhis2Object) int {
		return cmp.Compare(strings.ToLower(fmt.Sprint(a.get("name"))), strings.ToLower(fmt.Sprint(b.get("name"))))
	})
	return objects, true
}

// objectsOf makes objects, leaving out those that are nil.
func objectsOf[T any](all []*T, object func(*T) dhis2Object) []dhis2Object {
	objects := make([]dhis2Object, 0, len(all))
	for _, one := range all {
		if o := object(one); o != nil {
			objects = append(objects, o)
		}
	}
	return objects
}

// writeList answers a list, a page of it unless all of it was asked for.
func (d *DHIS2) writeList(w http.ResponseWriter, r *http.Request, kind string, objects []dhis2Object) {
	query := r.URL.Query()
	for _, filter := range query["filter"] {
		objects = slices.DeleteFunc(objects, func(o dhis2Object) bool { return !o.passes(filter) })
	}
	answer := map[string]any{}
	if query.Get("paging") != "false" {
		answer["pager"], objects = pageOf(r, objects)
	}
	choices := parseFields(query.Get("fields"), "id,displayName")
	list := make([]map[string]any, len(objects))
	for i, object := range objects {
		list[i] = object.choose(choices)
	}
	answer[kind] = list
	d.writeJSON(w, http.StatusOK, answer)
}

// pageOf gives the page that was asked for and says where it stands.
func pageOf(r *http.Request, objects []dhis2Object) (map[string]any, []dhis2Object) {
	query := r.URL.Query()
	page, size := max(1, atoi(query.Get("page"), 1)), max(1, atoi(query.Get("pageSize"), 50))
	count := (len(objects) + size - 1) / size
	pager := map[string]any{"page": page, "total": len(objects), "pageSize": size, "pageCount": count}
	if page < count {
		pager["nextPage"] = pageLink(r, page+1, query)
	}
	if page > 1 {
		pager["prevPage"] = pageLink(r, page-1, query)
	}
	start := min((page-1)*size, len(objects))
	return pager, objects[start:min(start+size, len(objects))]
}

// pageLink gives the address of another page.
func pageLink(r *http.Request, page int, query url.Values) string {
	var parts []string
	if page > 1 {
		parts = append(parts, "page="+strconv.Itoa(page))
	}
	for _, name := range []string{"pageSize", "filter", "fields"} {
		for _, value := range query[name] {
			parts = append(parts, name+"="+url.QueryEscape(value))
		}
	}
	return "http://" + r.Host + r.URL.Path + "?" + strings.Join(parts, "&")
}

// atoi reads a number, or gives otherwise.
func atoi(text string, otherwise int) int {
	if number, err := strconv.Atoi(text); err == nil {
		return number
	}
	return otherwise
}

// passes tells whether the object passes a filter such as "name:eq:Amani", "id:in:[a,b]" or "dataSets.id:eq:a".
func (o dhis2Object) passes(filter string) bool {
	parts := strings.SplitN(filter, ":", 3)
	if len(parts) < 3 {
		return true
	}
	wanted := []string{parts[2]}
	if parts[1] == "in" {
		wanted = strings.Split(strings.Trim(parts[2], "[]"), ",")
	}
	return slices.ContainsFunc(o.reach(strings.Split(parts[0], ".")), func(value string) bool {
		switch parts[1] {
		case "eq", "in":
			return slices.Contains(wanted, value)
		case "ilike", "like":
			return strings.Contains(strings.ToLower(value), strings.ToLower(parts[2]))
		}
		return false
	})
}

// reach gives the values at the end of a path of fields.
func (o dhis2Object) reach(path []string) []string {
	switch value := o.get(path[0]).(type) {
	case nil:
	case dhis2Object:
		if len(path) > 1 {
			return value.reach(path[1:])
		}
		return value.reach([]string{"id"}) // as lock exceptions are asked for by period
	case []dhis2Object:
		var all []string
		for _, item := range value {
			if len(path) > 1 {
				all = append(all, item.reach(path[1:])...)
			}
		}
		return all
	default:
		return []string{fmt.Sprint(value)}
	}
	return nil
}

// refObject is an object of which only the id is known.
func refObject(id string) dhis2Object { return dhis2Object{{"id", id}} }

// placeObject shows an org unit.
func (d *DHIS2) placeObject(p *dhis2Place) dhis2Object {
	return dhis2Object{
		{"id", p.ID}, {"code", p.Code}, {"name", p.Name}, {"displayName", p.Name}, {"shortName", cmp.Or(p.ShortName, p.Name)},
		{"path", p.path}, {"level", p.level}, {"attributeValues", attributeObjects(p.AttributeValues)},
		{"openingDate", dhis2Day(p.OpeningDate)}, {"closedDate", dhis2Day(p.ClosedDate)},
		{"parent", func() dhis2Object {
			if p.Parent == nil {
				return nil
			}
			return refObject(p.Parent.ID)
		}},
		{"dataSets", func() []dhis2Object {
			sets := []dhis2Object{}
			for _, set := range d.index.sets.all {
				if set.places[p.ID] {
					sets = append(sets, refObject(set.ID))
				}
			}
			return sets
		}},
	}
}

// dhis2Day writes a day as the metadata of DHIS2 have it.
func dhis2Day(day string) string {
	if day == "" {
		return ""
	}
	return dhis2Time(dhis2Date(day))
}

// comboObject shows a category combination.
func (u *DHIS2User) comboObject(c *dhis2Combo) dhis2Object {
	return dhis2Object{
		{"id", c.ID}, {"code", c.Code}, {"name", c.Name}, {"displayName", c.Name}, {"isDefault", c.Name == "default"},
		{"dataDimensionType", cmp.Or(c.DataDimensionType, "DISAGGREGATION")},
		{"categories", func() []dhis2Object {
			return objectsOf(pointers(c.Categories), func(ref *DHIS2Ref) dhis2Object { return refObject(ref.ID) })
		}},
		{"categoryOptionCombos", func() []dhis2Object { return objectsOf(c.options, u.optionComboObject) }},
	}
}

// optionComboObject shows a category option combination.
func (u *DHIS2User) optionComboObject(c *dhis2OptionCombo) dhis2Object {
	return dhis2Object{
		{"id", c.ID}, {"code", c.Code}, {"name", c.Name}, {"displayName", c.Name}, {"attributeValues", attributeObjects(c.AttributeValues)},
		{"categoryCombo", func() dhis2Object { return refObject(c.CategoryCombo.ID) }},
		{"categoryOptions", func() []dhis2Object {
			return objectsOf(c.options, func(o *DHIS2CategoryOption) dhis2Object {
				return dhis2Object{{"id", o.ID}, {"code", o.Code}, {"name", o.Name}, {"displayName", o.Name}, {"access", u.access(o.Sharing)}}
			})
		}},
	}
}

// access shows what the user may do with the data of an object.
func (u *DHIS2User) access(s DHIS2Sharing) dhis2Object {
	return dhis2Object{{"data", dhis2Object{{"read", u.super() || s.dataReadable()}, {"write", u.super() || s.dataWritable()}}}}
}

// exceptionObjects shows the lock exceptions.
func (d *DHIS2) exceptionObjects() []dhis2Object {
	objects := make([]dhis2Object, 0, len(d.excepted))
	for e := range d.excepted {
		objects = append(objects, dhis2Object{
			{"name", e.dataSet + " (" + e.orgUnit + ", " + e.period + ")"},
			{"dataSet", refObject(e.dataSet)}, {"organisationUnit", refObject(e.orgUnit)}, {"period", refObject(e.period)},
		})
	}
	return objects
}

// pointers gives a pointer to each item.
func pointers[T any](items []T) []*T {
	all := make([]*T, len(items))
	for i := range items {
		all[i] = &items[i]
	}
	return all
}

// elementObject shows a data element.
func (u *DHIS2User) elementObject(e *dhis2Element) dhis2Object {
	return dhis2Object{
		{"id", e.ID}, {"code", e.Code}, {"name", e.Name}, {"displayName", e.Name}, {"shortName", cmp.Or(e.ShortName, e.Name)},
		{"domainType", cmp.Or(e.DomainType, "AGGREGATE")}, {"valueType", e.ValueType}, {"aggregationType", e.AggregationType},
		{"zeroIsSignificant", e.ZeroIsSignificant}, {"attributeValues", attributeObjects(e.AttributeValues)},
		{"categoryCombo", func() dhis2Object { return u.comboObject(e.combo) }},
		{"optionSet", func() dhis2Object {
			if e.optionSet == nil {
				return nil
			}
			return dhis2Object{
				{"id", e.optionSet.ID}, {"name", e.optionSet.Name}, {"options", func() []dhis2Object {
					return objectsOf(pointers(e.optionsInOrder), func(o *DHIS2Option) dhis2Object {
						return dhis2Object{{"id", o.ID}, {"code", o.Code}, {"name", o.Name}}
					})
				}},
			}
		}},
		{"dataSetElements", func() []dhis2Object {
			return objectsOf(e.sets, func(set *dhis2Set) dhis2Object {
				return dhis2Object{{"dataSet", func() dhis2Object { return refObject(set.ID) }}}
			})
		}},
	}
}

// setObject shows a data set.
func (d *DHIS2) setObject(s *dhis2Set, user *DHIS2User) dhis2Object {
	return dhis2Object{
		{"id", s.ID}, {"code", s.Code}, {"name", s.Name}, {"displayName", s.Name}, {"shortName", cmp.Or(s.ShortName, s.Name)},
		{"periodType", s.PeriodType}, {"expiryDays", s.ExpiryDays}, {"timelyDays", s.TimelyDays},
		{"openFuturePeriods", s.OpenFuturePeriods}, {"openPeriodsAfterCoEndDate", s.OpenPeriodsAfterCoEndDate},
		{"noValueRequiresComment", s.NoValueRequiresComment}, {"compulsoryFieldsCompleteOnly", s.CompulsoryFieldsCompleteOnly},
		{"access", user.access(s.Sharing)}, {"attributeValues", attributeObjects(s.AttributeValues)},
		{"categoryCombo", func() dhis2Object { return user.comboObject(s.combo) }},
		{"workflow", func() dhis2Object {
			if s.Workflow == nil {
				return nil
			}
			return refObject(s.Workflow.ID)
		}},
		{"dataInputPeriods", func() []dhis2Object { return objectsOf(pointers(s.DataInputPeriods), d.inputPeriodObject) }},
		{"dataSetElements", func() []dhis2Object {
			return objectsOf(pointers(s.DataSetElements), func(m *DHIS2DataSetElement) dhis2Object { return d.memberObject(m, user) })
		}},
		{"organisationUnits", func() []dhis2Object { return objectsOf(s.units, d.placeObject) }},
	}
}

// inputPeriodObject shows when a period may be entered.
func (d *DHIS2) inputPeriodObject(p *DHIS2InputPeriod) dhis2Object {
	var period any = refObject(p.Period.ID)
	if d.version.legacy() {
		// Up to 2.42 a period comes with its name, whatever was chosen of it.
		period = map[string]string{"id": p.Period.ID, "name": p.Period.ID}
	}
	return dhis2Object{{"period", period}, {"openingDate", dhis2Day(p.OpeningDate)}, {"closingDate", dhis2Day(p.ClosingDate)}}
}

// memberObject shows an element in its data set.
func (d *DHIS2) memberObject(m *DHIS2DataSetElement, user *DHIS2User) dhis2Object {
	element := d.index.elements.byID[m.DataElement.ID]
	if element == nil {
		return nil
	}
	return dhis2Object{
		{"dataElement", func() dhis2Object { return user.elementObject(element) }},
		{"categoryCombo", func() dhis2Object {
			if m.CategoryCombo == nil || d.index.combos.byID[m.CategoryCombo.ID] == nil {
				return nil
			}
			return user.comboObject(d.index.combos.byID[m.CategoryCombo.ID])
		}},
	}
}
