package dhis2

import (
	"slices"
	"strings"
)

// From 2.43 on most codes refuse a request as a whole, at all of its places, and the values at fault stand in the text only:
// ids of what the code is about. An id counts where it is one of the request's own, and stands there as a whole word; what
// else a text says is not believed.

// subject is what a code that refuses a request as a whole is about.
type subject int

const (
	unnamed subject = iota
	element
	orgUnit
	// elementCombo is a data element with a category option combo.
	elementCombo
	// combo is an option combo, be it of the value or of the request.
	combo
	// options are category options: those of the combos, which nobody but DHIS2 knows here.
	options
	// attribute is the attribute option combo, of which a request has one.
	attribute
	cell
)

func subjectOf(code string) subject {
	switch code {
	case "E8003", "E8020", "E8103", "E8104":
		return element
	case "E8011", "E8022", "E8025", "E8031", "E8033", "E8106", "E8107":
		return orgUnit
	case "E8024":
		return elementCombo
	case "E8108", "E8109", "E8110", "E8111":
		return combo
	case "E8012":
		return options
	case "E8023", "E8032":
		return attribute
	case "E8100", "E8102", "E8105", "E8128":
		return cell
	default:
		return unnamed
	}
}

// ofValue says whether a code refuses the values at its places, and no other.
func ofValue(code string) bool {
	switch code {
	case "E8120", "E8121", "E8122", "E8123", "E8124", "E8125":
		return true
	default:
		return false
	}
}

// Subject is what of a value a code is about: where DHIS2 refused one value with the code, it refuses all of the same subject.
// An empty field is one that does not matter.
func Subject(code string, v DataValue) DataValue {
	switch subjectOf(code) {
	case element:
		return DataValue{DataElement: v.DataElement}
	case orgUnit:
		return DataValue{OrgUnit: v.OrgUnit}
	case elementCombo:
		return DataValue{DataElement: v.DataElement, CategoryOptionCombo: v.CategoryOptionCombo}
	case combo, options:
		return DataValue{CategoryOptionCombo: v.CategoryOptionCombo}
	case attribute:
		return DataValue{}
	default:
		return DataValue{DataElement: v.DataElement, OrgUnit: v.OrgUnit, CategoryOptionCombo: v.CategoryOptionCombo}
	}
}

// Suspects gives the values of a request that was refused with a code, without a word on which are at fault: the places of
// those of one subject together. One that cannot be at fault is not among them.
func Suspects(code string, values []DataValue) [][]int {
	var groups [][]int
	first := map[DataValue]int{}
	for i, v := range values {
		if ByCombo(code) && v.CategoryOptionCombo == "" {
			continue
		}
		subject := Subject(code, v)
		at, known := first[subject]
		if !known {
			at = len(groups)
			first[subject], groups = at, append(groups, nil)
		}
		groups[at] = append(groups[at], i)
	}
	return groups
}

// ByCombo says whether the values at fault for a code are told by their category option combos alone.
func ByCombo(code string) bool { return subjectOf(code) == options }

// At names what a code refused at a value: a noun, and the id of what it is about.
func At(code string, v DataValue) (noun, id string) {
	switch subjectOf(code) {
	case element:
		return "data element", v.DataElement
	case orgUnit:
		return "org unit", v.OrgUnit
	case elementCombo, combo, options:
		return "category option combo", v.CategoryOptionCombo
	default:
		return "value", v.DataElement + " at " + v.OrgUnit
	}
}

// judgeGroup judges a request that 2.43 or a later server refused whole: what it says of single values is told apart from
// what holds for all of them.
func (t Try) judgeGroup(s ImportSummary) Outcome {
	o := t.refused(s, allOf(t.Values))
	o.State = StateRefused
	if o.Next == StopDataSet {
		return o
	}
	found := t.offenders(s)
	switch {
	case len(found) == len(t.Values):
		o.Refused = found
	case len(found) > 0:
		o.Refused, o.Next = found, Narrow
	case len(t.Values) > 1:
		o.Next = Search
	}
	return o
}

// offenders are the values that the conflicts name, in their order, each with the words of the first that does.
func (t Try) offenders(s ImportSummary) []Refusal {
	reasons := map[int]Refusal{}
	for _, c := range s.Conflicts {
		places := c.Indexes
		if !ofValue(c.ErrorCode) {
			places = c.named(t.Values)
		}
		for _, place := range places {
			if _, told := reasons[place]; !told && place >= 0 && place < len(t.Values) {
				reasons[place] = t.refusal(place, c.ErrorCode, CodeOf(c.ErrorCode), c.wordsOn(t.Values[place]))
			}
		}
	}
	var found []Refusal
	for place := range t.Values {
		if r, bad := reasons[place]; bad {
			found = append(found, r)
		}
	}
	return found
}

// named gives the places of the values that a conflict is about, as far as its text names them.
func (c Conflict) named(values []DataValue) []int {
	var fits func(DataValue) bool
	for _, text := range []string{c.Value, c.args()} {
		switch s := subjectOf(c.ErrorCode); s {
		case attribute:
			return allOf(values)
		case options:
			if len(Suspects(c.ErrorCode, values)) == 0 { // then they are those of the attribute option combo
				return allOf(values)
			}
			return nil
		case cell:
			key := keyOf(text)
			fits = func(v DataValue) bool {
				return v.DataElement == key.DataElement && v.OrgUnit == key.OrgUnit && v.CategoryOptionCombo == key.CategoryOptionCombo
			}
		default:
			fits = fitting(c.ErrorCode, s, text)
		}
		var places []int
		for i, v := range values {
			if fits(v) {
				places = append(places, i)
			}
		}
		if len(places) > 0 {
			return places
		}
	}
	if c.ErrorCode == "E8110" || c.ErrorCode == "E8111" { // it is about the attribute option combo
		return allOf(values)
	}
	return nil
}

// fitting gives what tells whether a text names the subject of a value.
func fitting(code string, s subject, text string) func(DataValue) bool {
	before, listed, _ := strings.Cut(text, "[")
	words, list := wordsOf(before), wordsOf(listed)
	inText := func(id string) bool { return id != "" && words[id] }
	inList := func(id string) bool { return id != "" && list[id] }
	if strings.HasPrefix(code, "E81") { // one id, which need not have the form of one
		inList = func(id string) bool {
			return id != "" && (strings.HasSuffix(text, ": `"+id+"`") || !strings.Contains(text, "`") && strings.HasSuffix(text, "-"+id))
		}
	}
	switch {
	case s == element:
		return func(v DataValue) bool { return inList(v.DataElement) }
	case s == elementCombo:
		return func(v DataValue) bool { return inText(v.DataElement) && inList(v.CategoryOptionCombo) }
	case s == combo:
		return func(v DataValue) bool { return inList(v.CategoryOptionCombo) }
	case s == orgUnit && (code == "E8031" || code == "E8033"): // the list is of periods
		return func(v DataValue) bool { return inText(v.OrgUnit) }
	case s == orgUnit:
		return func(v DataValue) bool { return inList(v.OrgUnit) }
	default:
		return func(DataValue) bool { return false }
	}
}

// wordsOf gives the runs of letters and digits of a text that have the form of an id.
func wordsOf(text string) map[string]bool {
	words := map[string]bool{}
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool {
		return (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
	}) {
		if IsUID(word) {
			words[word] = true
		}
	}
	return words
}

// keyOf reads the cell out of a text such as "DataValueKey[dataElement=…, orgUnit=…, categoryOptionCombo=null, …]".
func keyOf(text string) DataValue {
	field := func(name string) string {
		_, rest, _ := strings.Cut(text, name+"=")
		end := strings.IndexAny(rest, ",]")
		if end < 0 || rest[:end] == "null" {
			return ""
		}
		return rest[:end]
	}
	return DataValue{DataElement: field("dataElement"), OrgUnit: field("orgUnit"), CategoryOptionCombo: field("categoryOptionCombo")}
}

// wordsOn are DHIS2's words on one value: of a long list only what is about it.
func (c Conflict) wordsOn(v DataValue) string {
	before, list, listed := strings.Cut(c.Value, "[")
	noun, id := At(c.ErrorCode, v)
	if noun == "value" || !listed || !slices.Contains(strings.Split(strings.TrimSuffix(list, "]`"), ", "), id) {
		return c.Value
	}
	return before + "[" + id + "]`"
}
