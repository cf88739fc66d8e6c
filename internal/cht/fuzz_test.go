package cht

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzAnAnswerWithRowsIsReadOrRefused holds that no answer makes a reading panic, and that an answer is read only where it is valid and
// has no more rows than were asked for.
func FuzzAnAnswerWithRowsIsReadOrRefused(f *testing.F) {
	for _, name := range []string{"all-docs-200-target-range-page", "all-docs-200-target-range-ids-only", "all-docs-200-owners-by-keys", "view-200-contacts-by-dhis-org-unit"} {
		f.Add(recorded(f, name))
	}
	f.Add(`{"rows":[{"id":"target~2026-07~a~org.couchdb.user:a","value":{"rev":"1"},"doc":{"targets":[{"id":"a","value":{"pass":1e3}}]}}]}`)
	f.Add(`{"rows":[{"key":"chw","error":"not_found"}],"errors":[]}`)
	f.Add("{\"rows\":[\n{\"id\":\"a\",\"doc\":null},\n{\"error\":\"timeout\"}]}")
	f.Fuzz(func(t *testing.T, text string) {
		client := clientOf(always(http.StatusOK, jsonType, text))
		client.breaks = 0
		errs := []error{
			client.TargetDocuments(t.Context(), july, func(d *TargetDocument) error {
				if !strings.HasPrefix(d.ID, "target~2026-07~") || d.Malformed == "" && d.Owner == "" || d.Malformed != "" && len(d.Targets) > 0 {
					t.Errorf("got %+v", d)
				}
				for _, one := range d.Targets {
					if one.ID == "" || one.Pass < Unread || one.Total > maxCount {
						t.Errorf("got %+v", one)
					}
				}
				return nil
			}),
			client.Contacts(t.Context(), []string{"chw-asha", "chw-deleted"}, func(*Contact) error { return nil }),
			client.ContactsOfType(t.Context(), []string{"chw"}, func(*Contact) error { return nil }),
		}
		for _, err := range errs {
			if err == nil && !valid([]byte(text)) {
				t.Errorf("%q was read", text)
			}
		}
	})
}

func valid(text []byte) bool {
	d := jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return d.SkipValue() == nil
}

// FuzzAScanSeesWhatTheStandardLibrarySees reads documents in both ways.
func FuzzAScanSeesWhatTheStandardLibrarySees(f *testing.F) {
	f.Add(`{"type":"target","owner":"a","targets":[{"id":"x","value":{"pass":3,"total":4.0}},{"id":"\u00e4\\"}]}`)
	f.Add(` { "owner" : "a\"b" , "parent" : { "_id" : "b" , "parent" : { } } , "targets" : [ ] } `)
	f.Add(`{"parent":{"parent":{"_id":"c"},"_id":"b"},"dhis":[{"orgUnit":"A"}],"muted":true,"x":[1,-2.5e3,{"a":[]},null]}`)
	f.Add(`{"":[],"a":{},"b":[[]],"c":[{}]}`)
	f.Add(`[]`)
	f.Add(`7`)
	f.Fuzz(func(t *testing.T, text string) {
		var object map[string]json.RawMessage
		if !jsontext.Value(text).IsValid() { // which takes no name twice
			return
		}
		raw := []byte(strings.Trim(text, " \t\r\n"))
		isObject := json.Unmarshal(raw, &object) == nil && object != nil
		s := scan{b: raw}
		if !s.enter('{') {
			if isObject || s.i != len(raw) {
				t.Errorf("an object is %t, the scan is at %d of %d", isObject, s.i, len(raw))
			}
			return
		}
		for s.more('}') {
			name := string(s.name())
			value, ok := object[name]
			if got := string(s.raw()); !ok || got != string(value) {
				t.Errorf("%q is %s, want %s", name, got, value)
			}
			var text *string
			isText := json.Unmarshal(value, &text) == nil && text != nil
			inside := scan{b: value}
			if got := inside.textOr(); isText && string(got) != *text || !isText && got != nil {
				t.Errorf("%q has the text %q, want %v", name, got, text)
			}
			number := scan{b: value}
			if n := number.count(); n != wholeAsJSON(value) {
				t.Errorf("%q counts %d, want %d", name, n, wholeAsJSON(value))
			}
			delete(object, name)
		}
		if len(object) > 0 || s.i != len(raw) {
			t.Errorf("%v were not seen; the scan is at %d of %d", object, s.i, len(raw))
		}
		(&targetReader{reading: reading{decoder: &decoder{texts: map[string]string{}}}}).document(&scan{b: raw})
		(&contactReader{reading: reading{decoder: &decoder{texts: map[string]string{}}}}).document(&scan{b: raw})
	})
}

// wholeAsJSON is what count gives, by way of the standard library.
func wholeAsJSON(raw []byte) int64 {
	var f *float64
	if json.Unmarshal(raw, &f) != nil || f == nil || raw[0] == '-' || *f > maxCount || *f != float64(int64(*f)) {
		return Unread
	}
	if *f == maxCount && string(raw) != "9007199254740992" {
		return Unread
	}
	return int64(*f)
}

// FuzzADocumentIsReadTheSameAfterAnyOther holds that what is remembered of one document changes nothing in how the next is read.
func FuzzADocumentIsReadTheSameAfterAnyOther(f *testing.F) {
	const usual = `{"type":"target","targets":[{"id":"a","value":{"pass":1,"total":2}},{"id":"b","value":{"pass":3,"total":4,"percent":75}}]}`
	f.Add(usual, usual)
	f.Add(usual, `{"targets":[{"id":"a","value":{"pass":1,"total":2},"id":"c"},{"id":"b","value":{"pass":3,"total":4.5}},{}]}`)
	f.Add(`{"targets":[{"id":"a","value":{"pass":1},"id":"b"}]}`, usual)
	f.Add(`{"targets":[{"value":{"pass":1},"id":"a"},{"id":"","value":{"pass":1}},7,{"id":"a","value":{"pass":1,"total":1},"value":2}]}`, usual)
	f.Add(`{"targets":[{"id":"a\",\"value\":{\"pass\":","value":{"pass":1,"total":1}}]}`, `{"targets":[{"id":"a","value":{"pass":","value":{"pass":1,"total":1}}}]}`)
	f.Fuzz(func(t *testing.T, before, text string) {
		allow := jsontext.AllowDuplicateNames(true)
		if !jsontext.Value(before).IsValid(allow) || !jsontext.Value(text).IsValid(allow) {
			return
		}
		reader := func() *targetReader {
			return &targetReader{reading: reading{decoder: &decoder{texts: map[string]string{}}}}
		}
		after, fresh := reader(), reader()
		after.document(&scan{b: []byte(before)})
		after.document(&scan{b: []byte(text)})
		fresh.document(&scan{b: []byte(text)})
		if diff := cmp.Diff(fresh.found.now, after.found.now, cmpopts.EquateEmpty()); diff != "" || after.found.noTargets != fresh.found.noTargets {
			t.Errorf("after another document (-fresh +after):\n%s", diff)
		}
	})
}
