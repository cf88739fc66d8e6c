package sandbox

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// longestString is how many characters one string of the CHT's server can hold. The month's target documents come from
// its database as one string.
const longestString = 536_870_888

// errMalformedTarget is a target document over which the export breaks.
var errMalformedTarget = errors.New("target document is malformed")

// errTooManyTargets is a month whose target documents do not fit into one string.
var errTooManyTargets = errors.New("target documents do not fit into one string")

// badExport is an export that the caller asked for wrongly. It is answered with 400 and its text.
type badExport string

func (b badExport) Error() string { return string(b) }

// chtExport is one export while it is computed.
type chtExport struct {
	documents *CHTDocuments
	contacts  map[string]*CHTContact
	query     chtQuery
	dataSet   CHTDataSet

	// elements has the text of an element's row up to the org unit, in the order of the settings; targets says to which
	// of them a target adds.
	elements [][]byte
	targets  map[string]int
	// orgUnits are in the order of the database view; place says where an org unit stands.
	orgUnits []string
	place    map[string]int
	// above gives the org units that a contact itself carries for the data set, names the last contact of an org unit.
	above map[string][]string
	names map[string]string
	// sums has a value for each org unit and element.
	sums []chtSum
}

// computeExport gives the body of the answer to query at the time now, which has the server's time zone.
func computeExport(documents *CHTDocuments, query chtQuery, now time.Time) ([]byte, error) {
	e := &chtExport{documents: documents, query: query}
	if err := e.define(); err != nil {
		return nil, err
	}
	from := time.UnixMilli(query.from).In(now.Location())
	month := documents.month(from.Format("2006-01"))
	if monthLength(month) > longestString {
		return nil, errTooManyTargets
	}
	e.contacts = documents.contacts()
	e.mapOrgUnits()
	if err := e.add(month); err != nil {
		return nil, err
	}
	return e.encode(now.Format(time.DateOnly), from.Format("200601")), nil
}

// define checks the query and finds the data set and its elements.
func (e *chtExport) define() error {
	if e.query.dataSet == "" {
		return badExport(`filter "dataSet" is required`)
	}
	if e.query.from == 0 {
		return badExport(`filter "from" is required`)
	}
	sets := e.documents.Settings.DHISDataSets
	at := slices.IndexFunc(sets, func(s CHTDataSet) bool { return s.ID == e.query.dataSet })
	if at < 0 {
		return badExport(fmt.Sprintf(`dataSet "%s" is not defined`, e.query.dataSet))
	}
	e.dataSet = sets[at]
	if e.defineElements(); len(e.elements) == 0 {
		return badExport(fmt.Sprintf(`dataSet "%s" has no dataElements`, e.query.dataSet))
	}
	return nil
}

// defineElements finds the targets of the data set. An element stands where its first target does, and is described by
// its last one.
func (e *chtExport) defineElements() {
	place := map[string]int{}
	e.targets = map[string]int{}
	for _, target := range e.documents.Settings.Tasks.Targets.Items {
		fields := objectFields(target.DHIS)
		element, dataSet := fields.text("dataElement"), fields.text("dataSet")
		if element == "" || dataSet != "" && dataSet != e.query.dataSet {
			continue
		}
		at, there := place[element]
		if !there {
			at = len(e.elements)
			place[element] = at
			e.elements = append(e.elements, nil)
		}
		if e.query.humanReadable {
			fields.set("dataElement", quoted(target.ID))
		}
		e.elements[at] = rowStart(fields)
		e.targets[target.ID] = at
	}
}

// rowStart writes an element's row up to the org unit. What the settings say of the element is copied, but for the data
// set and for what the export itself says.
func rowStart(fields chtObject) []byte {
	row := []byte("{")
	for _, field := range fields {
		if slices.Contains([]string{"dataSet", "orgUnit", "value"}, field.name) {
			continue
		}
		row = append(row, quoted(field.name)...)
		row = append(row, ':')
		row = append(row, field.value...)
		row = append(row, ',')
	}
	return append(row, `"orgUnit":`...)
}

// mapOrgUnits reads the view of contacts by org unit: its rows are in the order of org units, then contacts. With a
// filter only the contacts that carry the org unit are read, and all their org units of the data set count.
func (e *chtExport) mapOrgUnits() {
	type row struct {
		orgUnit string
		contact *CHTContact
	}
	var rows []row
	for _, contact := range e.contacts {
		for _, unit := range contact.DHIS {
			if unit.OrgUnit != "" && (!e.query.filtered || unit.OrgUnit == e.query.orgUnit) {
				rows = append(rows, row{unit.OrgUnit, contact})
			}
		}
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(strings.Compare(a.orgUnit, b.orgUnit), strings.Compare(a.contact.ID, b.contact.ID))
	})
	e.above, e.names, e.place = map[string][]string{}, map[string]string{}, map[string]int{}
	seen := map[string]bool{}
	for _, r := range rows {
		if !seen[r.contact.ID] {
			seen[r.contact.ID] = true
			e.mapContact(r.contact)
		}
	}
	e.sums = make([]chtSum, len(e.orgUnits)*len(e.elements))
}

// mapContact takes the org units of a contact that are valid for the data set.
func (e *chtExport) mapContact(contact *CHTContact) {
	for _, unit := range contact.DHIS {
		e.names[unit.OrgUnit] = contact.Name
		if unit.OrgUnit == "" || unit.DataSet != "" && unit.DataSet != e.query.dataSet {
			continue
		}
		e.above[contact.ID] = append(e.above[contact.ID], unit.OrgUnit)
		if _, there := e.place[unit.OrgUnit]; !there {
			e.place[unit.OrgUnit] = len(e.orgUnits)
			e.orgUnits = append(e.orgUnits, unit.OrgUnit)
		}
	}
}

// orgUnitsOf gives the places of the org units of a contact and of all above it, each once.
func (e *chtExport) orgUnitsOf(contact *CHTContact) []int {
	var found []int
	for at := (&CHTParent{ID: contact.ID, Parent: contact.Parent}); at != nil; at = at.Parent {
		for _, unit := range e.above[at.ID] {
			if place := e.place[unit]; !slices.Contains(found, place) {
				found = append(found, place)
			}
		}
	}
	return found
}

// add adds the totals of the month. A document whose owner is unknown or has no org unit is passed over unread, and so
// is a target of another data set; any other must be well formed.
func (e *chtExport) add(month []*CHTTargetDocument) error {
	for _, doc := range month {
		owner := e.contacts[doc.Owner]
		if owner == nil {
			continue
		}
		units := e.orgUnitsOf(owner)
		if len(units) == 0 {
			continue
		}
		if doc.Targets == nil {
			return errMalformedTarget
		}
		for i := range doc.Targets {
			if doc.Targets[i].Odd == "null" {
				return errMalformedTarget
			}
			element, there := e.targets[doc.Targets[i].ID]
			if !there {
				continue
			}
			if doc.Targets[i].Value == nil {
				return errMalformedTarget
			}
			for _, unit := range units {
				e.sums[unit*len(e.elements)+element].add(doc.Targets[i].Value.Total)
			}
		}
	}
	return nil
}

// encode writes the answer.
func (e *chtExport) encode(completeDate, period string) []byte {
	name := e.query.dataSet
	if e.query.humanReadable {
		name = cmp.Or(e.documents.Translations[e.dataSet.TranslationKey], e.dataSet.TranslationKey)
	}
	body := make([]byte, 0, 100+len(e.sums)*110)
	body = append(body, `{"dataSet":`...)
	body = append(body, quoted(name)...)
	body = append(body, `,"completeDate":"`+completeDate+`","period":"`+period+`","dataValues":[`...)
	for unit, name := range e.orgUnits {
		if e.query.humanReadable {
			name = e.names[name]
		}
		text := quoted(name)
		for element, start := range e.elements {
			body = append(body, start...)
			body = append(body, text...)
			body = append(body, `,"value":`...)
			body = e.sums[unit*len(e.elements)+element].append(body)
			body = append(body, "},"...)
		}
	}
	return append(bytes.TrimSuffix(body, []byte(",")), "]}"...)
}

// chtSum adds as the language of the CHT's server does: a missing number makes the sum no number for good, and a string
// makes it a string, to which all that follows is appended.
type chtSum struct {
	number float64
	text   *string
}

func (s *chtSum) add(total any) {
	if s.text != nil {
		*s.text += scriptText(total)
		return
	}
	switch t := total.(type) {
	case int:
		s.number += float64(t)
	case float64:
		s.number += t
	case nil:
		s.number = math.NaN()
	case CHTNull:
	case bool:
		if t {
			s.number++
		}
	default:
		text := scriptText(s.number) + scriptText(total)
		s.text = &text
	}
}

// append writes the sum as JSON.
func (s *chtSum) append(body []byte) []byte {
	if s.text != nil {
		return append(body, quoted(*s.text)...)
	}
	if s.number == math.Trunc(s.number) && math.Abs(s.number) < 1<<53 {
		return strconv.AppendInt(body, int64(s.number), 10)
	}
	if math.IsNaN(s.number) || math.IsInf(s.number, 0) {
		return append(body, "null"...)
	}
	return append(body, scriptText(s.number)...)
}

// scriptText gives a value as text, as the language of the CHT's server does.
func scriptText(value any) string {
	switch v := value.(type) {
	case nil:
		return "undefined"
	case CHTNull:
		return "null"
	case string:
		return v
	case int, bool:
		return fmt.Sprint(v)
	case float64:
		if math.IsNaN(v) {
			return "NaN"
		}
		if math.IsInf(v, 0) {
			return strings.Replace(fmt.Sprint(v), "Inf", "Infinity", 1)
		}
		text, _ := json.Marshal(v)
		return string(text)
	}
	return "[object Object]"
}

// monthLength is how many characters the database's answer with the documents has.
func monthLength(docs []*CHTTargetDocument) int {
	const envelope = len(`{"total_rows":1000000,"offset":1000000,"rows":[]}`)
	const row = len(`{"id":"","key":"","value":{"rev":""},"doc":{"_id":"","_rev":"","type":"","user":"","owner":"",` +
		`"reporting_period":"","targets":[],"updated_date":}},` + "1-0123456789abcdef0123456789abcdef" +
		"1-0123456789abcdef0123456789abcdef" + "1785456000000")
	length := envelope
	for _, doc := range docs {
		length += row + 3*len(doc.ID) + len(doc.Type) + len(doc.User) + len(doc.Owner) + len(doc.ReportingPeriod)
		for i := range doc.Targets {
			length += len(`{"id":"","value":},`) + len(doc.Targets[i].ID) + doc.Targets[i].Value.length()
		}
	}
	return length
}

// length is how many characters the value has as JSON.
func (v *CHTTargetValue) length() int {
	if v == nil {
		return 0
	}
	length := len("{}") - len(",")
	for _, number := range []any{v.Pass, v.Total, v.Percent} {
		if number != nil {
			length += len(`"total":,`) + numberLength(number)
		}
	}
	return length
}

// numberLength is how many characters a number has as JSON, and near that for what is none.
func numberLength(value any) int {
	number, ok := value.(int)
	if !ok {
		return len(scriptText(value))
	}
	length := 1
	for ; number > 9; number /= 10 {
		length++
	}
	return length
}

// chtObject is a JSON object with its fields in their order.
type chtObject []chtField

// chtField is a field of a JSON object. Its value is JSON.
type chtField struct {
	name  string
	value []byte
}

// objectFields reads a JSON object. What is no object has no fields.
func objectFields(text json.RawMessage) chtObject {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if first, err := decoder.Token(); err != nil || first != json.Delim('{') {
		return nil
	}
	var object chtObject
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, value); err != nil {
			return nil
		}
		object.set(name.(string), compact.Bytes())
	}
	return object
}

// set puts a value in the place of the one with its name, or last.
func (o *chtObject) set(name string, value []byte) {
	at := slices.IndexFunc(*o, func(f chtField) bool { return f.name == name })
	if at < 0 {
		*o = append(*o, chtField{name, value})
		return
	}
	(*o)[at].value = value
}

// text gives the string of that name, empty when there is none.
func (o chtObject) text(name string) string {
	var text string
	for _, field := range o {
		if field.name == name && json.Unmarshal(field.value, &text) != nil {
			return ""
		}
	}
	return text
}

// quoted gives text as a JSON string.
func quoted(text string) []byte { return marshal(text) }

// marshal gives a value as JSON with no more escapes than needed.
func marshal(value any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic("sandbox: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
