package sandbox

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// wrongTypes ends the import when a text is told as a number or the like.
func wrongTypes(body jsonValue) *failure {
	wrong := func(of jsonValue, names ...string) *failure {
		for _, name := range names {
			if value := of.get(name); value.kind == kindNumber || value.kind == kindBool {
				kind := map[jsonKind]string{kindNumber: "NUMBER", kindBool: "BOOLEAN"}[value.kind]
				return &failure{http.StatusInternalServerError,
					fmt.Sprintf("Path `$.%s` does not contain an STRING but a(n) %s: %s", name, kind, value.text)}
			}
		}
		return nil
	}
	if failed := wrong(body, "dataSet", "period", "orgUnit", "attributeOptionCombo", "completeDate"); failed != nil {
		return failed
	}
	for _, value := range body.get("dataValues").items {
		if failed := wrong(value, "dataElement", "period", "orgUnit", "categoryOptionCombo", "attributeOptionCombo", "value", "comment"); failed != nil {
			return failed
		}
	}
	return nil
}

// decode reads the body. It gives the first thing that is wrong in it.
func (g *groupImport) decode() (*dhis2Conflict, *failure) {
	if wrong := g.decodeSet(); wrong != nil {
		return wrong, nil
	}
	if date := g.body.get("completeDate").string(); date != "" {
		if date != "true" && dhis2Date(date).IsZero() {
			return groupConflict("E8008", date, "Data set `completeDate` not valid: `"+date+"`"), nil
		}
		if g.setID == "" || !g.body.get("orgUnit").there() || g.body.get("period").string() == "" {
			return groupConflict("E8009", "", "Data set `completeDate` requires data set, org unit, period and attribute "+
				"option combo to be defined at the group level."), nil
		}
	}
	if wrong := g.decodeScope(); wrong != nil {
		return wrong, nil
	}
	items := g.body.get("dataValues").items
	g.values = make([]*groupValue, len(items))
	for i, item := range items {
		value, wrong, failed := g.decodeValue(i, item)
		if wrong != nil || failed != nil {
			return wrong, failed
		}
		g.values[i] = value
	}
	return nil, nil
}

// decodeScope looks at the ids of what is to be deleted.
func (g *groupImport) decodeScope() *dhis2Conflict {
	scope := g.body.get("deletion")
	for _, unit := range scope.get("orgUnits").items {
		if !isDHIS2UID(unit.text) {
			return groupConflict("E8034", unit.text, "Deletion scope org unit UID not valid: `"+unit.text+"`")
		}
	}
	for _, element := range scope.get("elements").items {
		if id := element.get("dataElement").text; !isDHIS2UID(id) {
			return groupConflict("E8035", id, "Deletion scope data element UID not valid: `"+id+"`")
		}
	}
	return nil
}

// decodeSet reads which data set the group is of.
func (g *groupImport) decodeSet() *dhis2Conflict {
	id := g.body.get("dataSet").string()
	if id == "" {
		return nil
	}
	scheme := g.options.schemeOf("dataSet", false)
	set := g.index.sets.find(scheme, id)
	switch {
	case set != nil:
		g.set, id = set, set.ID
	case scheme != "UID":
		return groupConflict("E8005", id+"-"+scheme, "Data set not found: `"+id+"` ("+scheme+")")
	case !isDHIS2UID(id):
		return groupConflict("E8004", id, "Data set UID not valid: `"+id+"`")
	}
	g.setID = id
	return nil
}

// decodeValue reads a value, with what the body has for values that do not tell themselves.
func (g *groupImport) decodeValue(index int, item jsonValue) (*groupValue, *dhis2Conflict, *failure) {
	v := &groupValue{
		value: item.get("value").string(), comment: item.get("comment").string(),
		followUp: item.get("followUp").bool(), deleted: item.get("deleted").bool(),
	}
	either := func(name string) jsonValue {
		if own := item.get(name); own.there() {
			return own
		}
		return g.body.get(name)
	}
	periodText, unitText := either("period").string(), either("orgUnit").string()
	missing := func(code, what string) *dhis2Conflict {
		input := inputText(item)
		return groupConflict(code, fmt.Sprint(index, "-", input), fmt.Sprintf("Value #%s %s not defined in group or value: `%s`", thousands(index), what, input))
	}
	switch {
	case periodText == "":
		return nil, missing("E8100", "period"), nil
	case item.get("dataElement").string() == "":
		return nil, missing("E8102", "data element"), nil
	case unitText == "":
		return nil, missing("E8105", "org unit"), nil
	}
	var valid bool
	if v.period, valid = g.parsePeriod(periodText); !valid {
		return nil, nil, &failure{http.StatusInternalServerError,
			`Cannot invoke "org.hisp.dhis.datavalue.DataEntryGroup.deletion()" because "group" is null`}
	}
	wrong := g.resolve(index, item, v, unitText)
	if wrong == nil {
		v.attribute, wrong = g.resolveCombo(index, "attribute", either("attributeOptionCombo"), v)
	}
	return v, wrong, nil
}

// parsePeriod reads the id of a period once.
func (g *groupImport) parsePeriod(id string) (dhis2Period, bool) {
	period, known := g.periods[id]
	if !known {
		var valid bool
		if period, valid = parseDHIS2Period(id, g.calendar); !valid {
			period = dhis2Period{}
		}
		g.periods[id] = period
	}
	return period, period.kind != nil
}

// resolve finds the element, the org unit and the combination of a value.
func (g *groupImport) resolve(index int, item jsonValue, v *groupValue, unit string) *dhis2Conflict {
	number := thousands(index)
	v.element = item.get("dataElement").string()
	scheme := g.options.schemeOf("dataElement", false)
	if element := g.index.elements.find(scheme, v.element); element != nil {
		v.element = element.ID
	} else if scheme != "UID" {
		return groupConflict("E8103", fmt.Sprint(index, "-", v.element), "Value #"+number+" data element not found: `"+v.element+"`")
	} else if !isDHIS2UID(v.element) {
		return groupConflict("E8104", fmt.Sprint(index, "-", v.element), "Value #"+number+" data element UID not valid: `"+v.element+"`")
	}
	v.orgUnit, scheme = unit, g.options.schemeOf("orgUnit", false)
	if place := g.index.places.find(scheme, unit); place != nil {
		v.orgUnit = place.ID
	} else if scheme != "UID" {
		return groupConflict("E8107", fmt.Sprint(index, "-", unit), "Value #"+number+" org unit not found: `"+unit+"`")
	} else if !isDHIS2UID(unit) {
		return groupConflict("E8106", fmt.Sprint(index, "-", unit), "Value #"+number+" org unit UID not valid: `"+unit+"`")
	}
	var wrong *dhis2Conflict
	v.combo, wrong = g.resolveCombo(index, "combo", item.get("categoryOptionCombo"), v)
	return wrong
}

// resolveCombo finds an option combination, told by its id or as an option for each category. None stays empty.
func (g *groupImport) resolveCombo(index int, use string, from jsonValue, v *groupValue) (string, *dhis2Conflict) {
	codes, what := [2]string{"E8108", "E8109"}, "category option combo"
	if use == "attribute" {
		codes, what = [2]string{"E8110", "E8111"}, "attribute option combo"
	}
	if from.kind == kindObject {
		return g.resolveOptions(index, use, codes[0], from, v)
	}
	id := from.string()
	scheme := g.options.schemeOf(use, false)
	switch combo := g.index.optionCombos.find(scheme, id); {
	case id == "":
		return "", nil
	case combo != nil:
		return combo.ID, nil
	case scheme != "UID":
		return "", groupConflict(codes[0], fmt.Sprint(index, "-", id), "Value #"+thousands(index)+" "+what+" not found: `"+id+"`")
	case !isDHIS2UID(id):
		return "", groupConflict(codes[1], fmt.Sprint(index, "-", id), "Value #"+thousands(index)+" "+what+" UID not valid: `"+id+"`")
	}
	return id, nil
}

// resolveOptions finds the option combination of the options, in the combination of the set or of the element.
func (g *groupImport) resolveOptions(index int, use, code string, from jsonValue, v *groupValue) (string, *dhis2Conflict) {
	if g.set == nil {
		return "", groupConflict("E8101", fmt.Sprint(index), "Value #"+thousands(index)+" category options require a data set")
	}
	combo := g.set.elements[v.element]
	if use == "attribute" {
		combo = g.set.combo
	}
	if combo != nil {
		for _, candidate := range combo.options {
			fits := len(candidate.options) == len(from.members)
			for _, member := range from.members {
				fits = fits && slices.ContainsFunc(candidate.options, func(o *DHIS2CategoryOption) bool { return o.ID == member.value.text })
			}
			if fits {
				return candidate.ID, nil
			}
		}
	}
	told := make([]string, len(from.members))
	for i, member := range from.members {
		told[i] = member.name + "=" + member.value.text
	}
	options := "{" + strings.Join(told, ", ") + "}"
	return "", groupConflict(code, fmt.Sprint(index, "-", options), "Value #"+thousands(index)+" category option combo not found: `"+options+"`")
}

// inputText prints a value as DHIS2 does.
func inputText(item jsonValue) string {
	text := func(name string) string { return orNull(item.get(name).string()) }
	return fmt.Sprintf("Input[dataElement=%s, orgUnit=%s, categoryOptionCombo=%s, categoryOptions=null, attributeOptionCombo=%s, "+
		"attributeCombo=null, attributeOptions=null, period=%s, value=%s, comment=%s, followUp=%s, deleted=%s]",
		text("dataElement"), text("orgUnit"), text("categoryOptionCombo"), text("attributeOptionCombo"),
		text("period"), text("value"), text("comment"), text("followUp"), text("deleted"))
}

// thousands writes a number with separators, as the messages have it.
func thousands(number int) string {
	digits := strconv.Itoa(number)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
