package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// jsonKind is what a JSON value is.
type jsonKind byte

// The kinds of JSON values. The zero kind is a value that is not there.
const (
	kindNull   jsonKind = 'n'
	kindBool   jsonKind = 'b'
	kindNumber jsonKind = '0'
	kindString jsonKind = 's'
	kindList   jsonKind = '['
	kindObject jsonKind = '{'
)

// jsonValue is a JSON value. DHIS2 minds the case of names, which encoding/json does not.
type jsonValue struct {
	kind jsonKind
	// text is a string, or a number, true or false as it was written.
	text    string
	items   []jsonValue
	members []jsonMember
}

// jsonMember is a member of a JSON object.
type jsonMember struct {
	name  string
	value jsonValue
}

// get gives a member of an object; the last one when it is there twice.
func (v jsonValue) get(name string) jsonValue {
	for i := len(v.members) - 1; i >= 0; i-- {
		if v.members[i].name == name {
			return v.members[i].value
		}
	}
	return jsonValue{}
}

// there tells whether there is a value that is not null.
func (v jsonValue) there() bool { return v.kind != 0 && v.kind != kindNull }

// string gives a scalar's text, empty for all else.
func (v jsonValue) string() string { return v.text }

// bool tells whether the value says yes.
func (v jsonValue) bool() bool { return v.text == "true" }

// jsonError is why text is no JSON.
type jsonError struct {
	// at is the position of the offence; the length of the text when it ends too early.
	at int
	// cut says that the text ends too early, within the objects and lists that open holds.
	cut  bool
	open []jsonFrame
}

// jsonFrame is an object or a list that was not closed: where it begins, and which member was being read.
type jsonFrame struct {
	kind  jsonKind
	start int
	name  string
	index int
}

func (e *jsonError) Error() string { return fmt.Sprintf("unexpected character at position %d", e.at) }

// jsonReader reads JSON.
type jsonReader struct {
	data []byte
	at   int
	open []jsonFrame
}

// parseJSON reads one JSON value, with nothing after it but space.
func parseJSON(data []byte) (jsonValue, *jsonError) {
	r := &jsonReader{data: data}
	value, err := r.value()
	if err == nil {
		r.next()
		if r.at < len(data) {
			err = r.fail()
		}
	}
	return value, err
}

// next skips space and gives the next byte, 0 at the end.
func (r *jsonReader) next() byte {
	for r.at < len(r.data) {
		switch c := r.data[r.at]; c {
		case ' ', '\t', '\r', '\n':
			r.at++
		default:
			return c
		}
	}
	return 0
}

// fail says that the value cannot go on here.
func (r *jsonReader) fail() *jsonError {
	return &jsonError{at: r.at, cut: r.at >= len(r.data), open: r.open}
}

// value reads a value of any kind.
func (r *jsonReader) value() (jsonValue, *jsonError) {
	switch c := r.next(); {
	case c == '{':
		return r.object()
	case c == '[':
		return r.list()
	case c == '"':
		text, err := r.string()
		return jsonValue{kind: kindString, text: text}, err
	case c == '-' || c >= '0' && c <= '9':
		return r.word(kindNumber, "+-.eE0123456789")
	case c == 't' || c == 'f':
		return r.word(kindBool, "truefals")
	case c == 'n':
		return r.word(kindNull, "nul")
	}
	return jsonValue{}, r.fail()
}

// word reads a number, true, false or null, made of the letters.
func (r *jsonReader) word(kind jsonKind, letters string) (jsonValue, *jsonError) {
	start := r.at
	for r.at < len(r.data) && strings.IndexByte(letters, r.data[r.at]) >= 0 {
		r.at++
	}
	word := r.data[start:r.at]
	if !json.Valid(word) {
		return jsonValue{}, r.fail()
	}
	if kind == kindNull {
		return jsonValue{kind: kind}, nil
	}
	return jsonValue{kind: kind, text: string(word)}, nil
}

// string reads a string.
func (r *jsonReader) string() (string, *jsonError) {
	start := r.at
	plain := true
	for r.at++; r.at < len(r.data); r.at++ {
		switch c := r.data[r.at]; {
		case c == '\\':
			plain = false
			r.at++
		case c < ' ':
			return "", r.fail()
		case c == '"':
			r.at++
			if plain {
				return string(r.data[start+1 : r.at-1]), nil
			}
			var text string
			if json.Unmarshal(r.data[start:r.at], &text) != nil {
				return "", &jsonError{at: start}
			}
			return text, nil
		}
	}
	r.at = len(r.data)
	return "", r.fail()
}

// object reads an object.
func (r *jsonReader) object() (jsonValue, *jsonError) {
	frame := r.enter(kindObject)
	object := jsonValue{kind: kindObject, members: make([]jsonMember, 0, 4)}
	for more := r.next() != '}'; more; more = r.comma() {
		if r.next() != '"' {
			return object, r.fail()
		}
		name, err := r.string()
		if err != nil {
			return object, err
		}
		r.open[frame].name = name
		if r.next() != ':' {
			return object, r.fail()
		}
		r.at++
		value, err := r.value()
		if err != nil {
			return object, err
		}
		object.members = append(object.members, jsonMember{name, value})
	}
	return object, r.leave('}')
}

// list reads a list.
func (r *jsonReader) list() (jsonValue, *jsonError) {
	frame := r.enter(kindList)
	list := jsonValue{kind: kindList}
	for more := r.next() != ']'; more; more = r.comma() {
		r.open[frame].index = len(list.items)
		value, err := r.value()
		if err != nil {
			return list, err
		}
		list.items = append(list.items, value)
	}
	return list, r.leave(']')
}

// enter notes an object or a list that begins, and gives its place among those that are open.
func (r *jsonReader) enter(kind jsonKind) int {
	r.open = append(r.open, jsonFrame{kind: kind, start: r.at})
	r.at++
	return len(r.open) - 1
}

// leave reads the end of the last object or list that is open.
func (r *jsonReader) leave(end byte) *jsonError {
	if r.next() != end {
		return r.fail()
	}
	r.at++
	r.open = r.open[:len(r.open)-1]
	return nil
}

// comma reads a comma when there is one.
func (r *jsonReader) comma() bool {
	if r.next() != ',' {
		return false
	}
	r.at++
	return true
}

// javaError says what Java's parser says of JSON: source is how it calls where the text came from, class what the
// text should have become. DHIS2 hands its words on.
func javaError(data []byte, err *jsonError, source, class string) string {
	place := func(at int) string {
		before := data[:min(at, len(data))]
		line := bytes.Count(before, []byte("\n"))
		return fmt.Sprintf("[Source: %s; line: %d, column: %d]", source, line+1, at-(bytes.LastIndexByte(before, '\n')+1)+1)
	}
	if !err.cut {
		letter := data[err.at]
		return fmt.Sprintf("Unexpected character ('%c' (code %d)): expected a valid value (JSON String, Number, Array, "+
			"Object or token 'null', 'true' or 'false')\n at %s", letter, letter, place(err.at+1))
	}
	if len(err.open) == 0 {
		return "No content to map due to end-of-input\n at " + strings.Replace(place(err.at), "column: 1]", "column: 0]", 1)
	}
	last := err.open[len(err.open)-1]
	kind := map[jsonKind]string{kindObject: "Object", kindList: "Array"}[last.kind]
	return fmt.Sprintf("Unexpected end-of-input: expected close marker for %s (start marker at %s)\n at %s (through reference chain: %s)",
		kind, place(last.start), place(err.at), javaChain(err.open[:len(err.open)-1], class))
}

// javaChain names the way to a value as Java does.
func javaChain(frames []jsonFrame, class string) string {
	steps := make([]string, 0, len(frames))
	for i, frame := range frames {
		switch {
		case frame.kind == kindList:
			steps = append(steps, fmt.Sprintf("java.util.ArrayList[%d]", frame.index))
		case i == 0:
			steps = append(steps, fmt.Sprintf("%s[%q]", class, frame.name))
		}
	}
	return strings.Join(steps, "->")
}
