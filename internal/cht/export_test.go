package cht

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var july = Month{Year: 2026, Month: time.July}

// smallExport has every kind of token in it, escapes and letters of several bytes too, and ends with its closing brace.
const smallExport = `{"dataSet":"DsMchMonth1","completeDate":"2026-11-22","period":"202607","dataValues":[` +
	`{"dataElement":"DeBirths001","orgUnit":"OuAmaniHC01","value":9},` +
	`{"dataElement":"DeAnc4Visit","comment":"vu à \"Amani\" \u00e9","followup":false,"orgUnit":"OuAmaniHC01","value":null}]}`

func smallExportValues() []Value {
	return []Value{
		{Index: 0, OrgUnit: text("OuAmaniHC01"), DataElement: text("DeBirths001"), Value: number("9")},
		{
			Index: 1, OrgUnit: text("OuAmaniHC01"), DataElement: text("DeAnc4Visit"), Comment: text(`vu à "Amani" é`),
			Value: Field{Kind: Null}, Extra: []string{"followup"},
		},
	}
}

func text(s string) Field   { return Field{Kind: String, Text: s} }
func number(s string) Field { return Field{Kind: Number, Text: s} }

// withValues is an export of one or more entries.
func withValues(entries string) string {
	return `{"dataSet":"DsMchMonth1","period":"202607","dataValues":[` + entries + `]}`
}

// read decodes an export of July and gives what was yielded, also before an error.
func read(from io.Reader) ([]Value, error) {
	var got []Value
	err := decode(from, asked{doing: "fetch", dataSet: "DsMchMonth1", period: "202607"}, func(v *Value) error {
		kept := *v
		kept.Extra = slices.Clone(v.Extra)
		got = append(got, kept)
		return nil
	})
	return got, err
}

func TestAnExportIsYieldedAsItStands(t *testing.T) {
	tests := []struct {
		name, in string
		want     []Value
	}{
		{"an export", smallExport, smallExportValues()},
		{"space after the end", smallExport + " \r\n\t", smallExportValues()},
		{
			"the header after the values",
			`{"dataValues":[{"value":1,"orgUnit":"A","dataElement":"B"}],"period":"202607","dataSet":"DsMchMonth1"}`,
			[]Value{{OrgUnit: text("A"), DataElement: text("B"), Value: number("1")}},
		},
		{
			"more in the header than a CHT sends",
			`{"orgUnit":["A",{"b":[]}],"dataSet":"DsMchMonth1","period":"202607","dataValues":[{"value":1}]}`,
			[]Value{{Value: number("1")}},
		},
		{
			"combos",
			withValues(`{"dataElement":"B","categoryOptionCombo":"C","attributeOptionCombo":"D","orgUnit":"A","value":15}`),
			[]Value{{OrgUnit: text("A"), DataElement: text("B"), CategoryOptionCombo: text("C"), AttributeOptionCombo: text("D"), Value: number("15")}},
		},
		{"an entry without any field", withValues(`{}`), []Value{{}}},
		{"fields of another spelling", withValues(`{"Value":1,"orgunit":"A"}`), []Value{{Extra: []string{"Value", "orgunit"}}}},
		{"a value of null", withValues(`{"value":null}`), []Value{{Value: Field{Kind: Null}}}},
		{"a value of true", withValues(`{"value":true}`), []Value{{Value: Field{Kind: Other, Text: "true"}}}},
		{"a value that is a text", withValues(`{"value":"03"}`), []Value{{Value: text("03")}}},
		{"a value that is an empty text", withValues(`{"value":""}`), []Value{{Value: text("")}}},
		{"a fraction", withValues(`{"value":2.50}`), []Value{{Value: number("2.50")}}},
		{"a negative number", withValues(`{"value":-0}`), []Value{{Value: number("-0")}}},
		{"a number with an exponent", withValues(`{"value":1E+400}`), []Value{{Value: number("1E+400")}}},
		{
			"a number of a thousand digits",
			withValues(`{"value":` + strings.Repeat("9", 1000) + `}`),
			[]Value{{Value: number(strings.Repeat("9", 1000))}},
		},
		{"a value that is an object", withValues(`{"value":{"total":1}}`), []Value{{Value: Field{Kind: Other, Text: `{"total":1}`}}}},
		{
			"a long list as value, of which only the beginning is kept, cut between letters",
			withValues(`{"value":["` + strings.Repeat("é", 50) + `"]}`),
			[]Value{{Value: Field{Kind: Other, Text: `["` + strings.Repeat("é", 19)}}},
		},
		{"an org unit that is a number", withValues(`{"orgUnit":7,"dataElement":null}`), []Value{{OrgUnit: number("7"), DataElement: Field{Kind: Null}}}},
		{
			"extras of each entry apart",
			withValues(`{"a":1,"b":{"c":[]}},{},{"d":null}`),
			[]Value{{Extra: []string{"a", "b"}}, {Index: 1}, {Index: 2, Extra: []string{"d"}}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, from := range []io.Reader{strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in)), iotest.DataErrReader(strings.NewReader(tt.in))} {
				got, err := read(from)
				if err != nil {
					t.Fatalf("got the error %v", err)
				}
				if diff := cmp.Diff(tt.want, got, equalEmpty); diff != "" {
					t.Errorf("values differ (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// equalEmpty makes no difference between no extras and an empty list of them.
var equalEmpty = cmp.Transformer("names", func(v Value) map[string]any {
	return map[string]any{
		"index": v.Index, "orgUnit": v.OrgUnit, "dataElement": v.DataElement, "categoryOptionCombo": v.CategoryOptionCombo,
		"attributeOptionCombo": v.AttributeOptionCombo, "comment": v.Comment, "value": v.Value, "extra": strings.Join(v.Extra, " "),
	}
})

func TestAnAnswerThatIsNotTheExportAskedForIsRefused(t *testing.T) {
	deep := strings.Repeat("[", 20_000)
	tests := []struct {
		name, in string
		// want is part of what is said, remedy part of what to do.
		want, remedy string
		temporary    bool
	}{
		{name: "another data set", in: `{"dataSet":"Other","period":"202607","dataValues":[{}]}`, want: `about data set "Other"`, remedy: "between the mediator and the CHT"},
		{name: "another period", in: `{"dataSet":"DsMchMonth1","period":"197001","dataValues":[{}]}`, want: `about period "197001"`, remedy: "time zone"},
		{name: "no data set", in: `{"period":"202607","dataValues":[{}]}`, want: `about data set ""`},
		{name: "no period", in: `{"dataSet":"DsMchMonth1","dataValues":[{}]}`, want: `about period ""`},
		{name: "a period that is a number", in: `{"dataSet":"DsMchMonth1","period":202607,"dataValues":[{}]}`, want: "202607 stands where a text belongs"},
		{name: "a data set that is null", in: `{"dataSet":null,"period":"202607","dataValues":[{}]}`, want: "null stands where a text belongs"},
		{name: "no values", in: withValues(""), want: "no value at all", remedy: "dhis.orgUnit"},
		{name: "no list of values", in: `{"dataSet":"DsMchMonth1","period":"202607"}`, want: "no value at all"},
		{name: "another object", in: `{"code":500,"error":"Server error"}`, want: `about data set ""`},
		{name: "nothing", in: "", want: "broke off after 0 values, at byte 0", temporary: true},
		{name: "only space", in: " \n", want: "broke off after 0 values", temporary: true},
		{name: "a page", in: "<!DOCTYPE html><html><body>Sign in</body></html>", want: "no valid JSON", remedy: "check the address"},
		{name: "a list", in: "[" + smallExport + "]", want: "the answer has another form"},
		{name: "a text", in: `"Found. Redirecting"`, want: "the answer has another form"},
		{name: "null", in: "null", want: "the answer has another form"},
		{name: "values that are an object", in: `{"dataSet":"DsMchMonth1","period":"202607","dataValues":{}}`, want: "dataValues has another form"},
		{name: "values that are null", in: `{"dataSet":"DsMchMonth1","period":"202607","dataValues":null}`, want: "dataValues has another form"},
		{name: "an entry that is a number", in: withValues(`{},7`), want: "an entry of dataValues has another form than an export has, after 1 values"},
		{name: "an entry that is null", in: withValues(`null`), want: "an entry of dataValues has another form"},
		{name: "an entry that is a list", in: withValues(`[]`), want: "an entry of dataValues has another form"},
		{name: "words after the end", in: smallExport + "x", want: "something follows the answer's end"},
		{name: "a brace after the end", in: smallExport + "}", want: "something follows the answer's end"},
		{name: "two exports", in: smallExport + "\n" + smallExport, want: "something follows the answer's end"},
		{name: "a field twice in an entry", in: withValues(`{"value":1,"value":2}`), want: "no valid JSON, after 0 values"},
		{name: "an extra field twice in an entry", in: withValues(`{"a":1,"a":2}`), want: "no valid JSON"},
		{name: "the period twice", in: `{"dataSet":"DsMchMonth1","period":"202606","period":"202607","dataValues":[{}]}`, want: "no valid JSON"},
		{name: "two lists of values", in: `{"dataSet":"DsMchMonth1","period":"202607","dataValues":[{}],"dataValues":[{}]}`, want: "no valid JSON, after 1 values"},
		{name: "a text that is not UTF-8", in: withValues("{\"orgUnit\":\"\xff\"}"), want: "no valid JSON"},
		{name: "a name that is not UTF-8", in: withValues("{\"\xff\":1}"), want: "no valid JSON"},
		{name: "half a surrogate pair", in: withValues(`{"orgUnit":"\ud800"}`), want: "no valid JSON"},
		{name: "a number that is none", in: withValues(`{"value":NaN}`), want: "no valid JSON"},
		{name: "a number with a zero before it", in: withValues(`{"value":01}`), want: "no valid JSON"},
		{name: "a comma too many", in: withValues(`{"value":1},`), want: "no valid JSON"},
		{name: "a comma too few", in: withValues(`{"value":1}{"value":1}`), want: "no valid JSON"},
		{name: "lists without end in an extra field", in: withValues(`{"a":` + deep), want: "no valid JSON"},
		{name: "lists without end in a value", in: withValues(`{"value":` + deep), want: "no valid JSON"},
		{name: "lists without end in the header", in: `{"a":` + deep, want: "no valid JSON"},
		{name: "closed lists, very deep", in: withValues(`{"a":` + deep + strings.Repeat("]", 20_000) + `}`), want: "no valid JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := read(strings.NewReader(tt.in))
			e := asError(t, err)
			if !strings.Contains(e.What, tt.want) {
				t.Errorf("got %q, want it to say %q", e.What, tt.want)
			}
			if e.Remedy == "" || !strings.Contains(e.Remedy, tt.remedy) {
				t.Errorf("got the remedy %q, want it to say %q", e.Remedy, tt.remedy)
			}
			if e.Kind != Unusable || e.Temporary != tt.temporary {
				t.Errorf("got kind %q, temporary %t; want %q, %t", e.Kind, e.Temporary, Unusable, tt.temporary)
			}
			if len(e.What) > 400 {
				t.Errorf("got an error of %d characters, want a short one", len(e.What))
			}
		})
	}
}

func TestAnExportCutAtAnyByteIsNeverAShortMonth(t *testing.T) {
	for cut := range len(smallExport) {
		_, err := read(strings.NewReader(smallExport[:cut]))
		e := asError(t, err)
		if !e.Temporary || !strings.Contains(e.What, "broke off") {
			t.Errorf("cut at byte %d: got %q, temporary %t; want an answer that broke off, worth another try", cut, e.What, e.Temporary)
		}
	}
}

// brokenCall is what package transport says of a body that breaks off.
type brokenCall struct{ timeout bool }

func (brokenCall) Error() string   { return "the connection broke off" }
func (brokenCall) Hint() string    { return "look at the proxy" }
func (b brokenCall) Timeout() bool { return b.timeout }

func TestAConnectionThatBreaksAtAnyByteIsNeverAShortMonth(t *testing.T) {
	// The last one comes after the closing brace: the connection broke before the server said that this was all.
	for cut := range len(smallExport) + 1 {
		_, err := read(io.MultiReader(strings.NewReader(smallExport[:cut]), iotest.ErrReader(brokenCall{})))
		e := asError(t, err)
		if !e.Temporary || e.Remedy != "look at the proxy" || !errors.Is(err, brokenCall{}) {
			t.Errorf("cut at byte %d: got %q, temporary %t, remedy %q; want the reader's error, worth another try, with its own remedy", cut, e.What, e.Temporary, e.Remedy)
		}
	}
}

func TestAnExportThatRanOutOfTimeIsNotTriedAgainSoon(t *testing.T) {
	_, err := read(io.MultiReader(strings.NewReader(smallExport[:50]), iotest.ErrReader(brokenCall{timeout: true})))
	if e := asError(t, err); e.Temporary {
		t.Errorf("got %v, temporary; want it not to be, as the server works on", err)
	}
}

func TestAnExportThatAPersonStoppedSaysSo(t *testing.T) {
	_, err := read(io.MultiReader(strings.NewReader(smallExport[:50]), iotest.ErrReader(context.Canceled)))
	var known *Error
	if !errors.Is(err, context.Canceled) || errors.As(err, &known) {
		t.Errorf("got %v, want context.Canceled and no fault of the CHT", err)
	}
}

func TestAPackedExportCutAtAnyByteIsNeverAShortMonth(t *testing.T) {
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(zip, smallExport)
	_ = zip.Close()
	for cut := range zipped.Len() + 1 {
		client := clientOf(func(*http.Request) (*http.Response, error) { return packed(bytes.NewReader(zipped.Bytes()[:cut])) })
		err := client.Export(t.Context(), "DsMchMonth1", july, func(*Value) error { return nil })
		if whole := cut == zipped.Len(); (err == nil) != whole {
			t.Errorf("cut at byte %d of %d: got the error %v", cut, zipped.Len(), err)
		}
	}
}

func TestExportAsksForTheMiddleOfTheMonth(t *testing.T) {
	tests := []struct {
		name, base, dataSet string
		month               Month
		path, from          string
	}{
		{"a month", "https://cht.example.org", "DsMchMonth1", july, "/api/v2/export/dhis", "1784116800000"},
		{"below a path", "https://example.org/kisumu/cht/", "DsMchMonth1", Month{2024, time.February}, "/kisumu/cht/api/v2/export/dhis", "1707998400000"},
		{"an id with signs in it", "http://localhost:5988", "a&b=c]", Month{2025, time.December}, "/api/v2/export/dhis", "1765800000000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base, err := url.Parse(tt.base)
			if err != nil {
				t.Fatal(err)
			}
			var got *http.Request
			client := New(base, roundTripper(func(r *http.Request) (*http.Response, error) {
				got = r
				return answer(http.StatusOK, jsonType, smallExport), nil
			}))
			_ = client.Export(t.Context(), tt.dataSet, tt.month, func(*Value) error { return nil })
			if got.Method != http.MethodGet || got.URL.Host != base.Host || got.URL.Path != tt.path {
				t.Errorf("got %s %s, want GET %s at %s", got.Method, got.URL, tt.path, base.Host)
			}
			want := url.Values{"filters[dataSet]": {tt.dataSet}, "filters[date][from]": {tt.from}}
			if diff := cmp.Diff(want, got.URL.Query()); diff != "" {
				t.Errorf("query differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExportReadsWhatARealServerSent(t *testing.T) {
	tests := []struct {
		name   string
		month  Month
		values int
		want   Value
	}{
		{"export-200-mch-all-org-units", july, 42, Value{OrgUnit: text("OuAmaniChu2"), DataElement: text("DeBirths001"), Value: number("2")}},
		{"export-200-null-value", Month{2026, time.March}, 6, Value{OrgUnit: text("OuAmaniHC01"), DataElement: text("DeBirths001"), Value: Field{Kind: Null}}},
		{"export-200-string-and-fraction-values", Month{2026, time.February}, 6, Value{OrgUnit: text("OuAmaniHC01"), DataElement: text("DeBirths001"), Value: text("03")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var first Value
			var values int
			client := clientOf(always(http.StatusOK, jsonType, recorded(t, tt.name)))
			err := client.Export(t.Context(), "DsMchMonth1", tt.month, func(v *Value) error {
				if v.Index != values {
					t.Errorf("got index %d, want %d", v.Index, values)
				}
				if values == 0 {
					first = *v
				}
				if v.DataElement.Text == "DeAnc4Visit" && strings.Join(v.Extra, " ") != "followup projectCode" {
					t.Errorf("got the extras %q, want followup and projectCode", v.Extra)
				}
				values++
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, first, equalEmpty); diff != "" || values != tt.values {
				t.Errorf("got %d values, want %d; the first differs (-want +got):\n%s", values, tt.values, diff)
			}
		})
	}
}

func TestExportRefusesAMonthThatNobodyAskedFor(t *testing.T) {
	tests := []struct{ name, want string }{
		{"export-200-from-in-seconds-1970", `about period "197001"`},
		{"export-200-org-unit-unknown-empty", "no value at all"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := clientOf(always(http.StatusOK, jsonType, recorded(t, tt.name)))
			err := client.Export(t.Context(), "DsMchMonth1", july, func(*Value) error { return nil })
			if e := asError(t, err); e.Kind != Unusable || !strings.Contains(e.What, tt.want) {
				t.Errorf("got %q of kind %q, want %q of kind %q", e.What, e.Kind, tt.want, Unusable)
			}
			if want := "fetch 202607 of data set DsMchMonth1 from the CHT: "; !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %q, want it to begin with %q", err, want)
			}
		})
	}
}

func TestExportGivesBackTheErrorOfYieldUnchanged(t *testing.T) {
	full := errors.New("the disk is full")
	yielded := 0
	err := clientOf(always(http.StatusOK, jsonType, smallExport)).Export(t.Context(), "DsMchMonth1", july, func(*Value) error {
		yielded++
		return full
	})
	if err != full { //nolint:errorlint // the very same error, not one around it
		t.Errorf("got %v, want the very error of yield", err)
	}
	if yielded != 1 {
		t.Errorf("got %d values after the error of the first, want none", yielded-1)
	}
}

// watchedBody tells when it is closed.
type watchedBody struct {
	io.Reader
	closed *bool
}

func (w watchedBody) Close() error {
	*w.closed = true
	return nil
}

func TestExportClosesTheAnswerHoweverItEnds(t *testing.T) {
	tests := []struct {
		name, contentType, body string
		yield                   error
	}{
		{"read to its end", jsonType, smallExport, nil},
		{"cut", jsonType, smallExport[:80], nil},
		{"stopped by yield", jsonType, smallExport, errors.New("stop")},
		{"a page", "text/html", "<html>", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			closed := false
			client := clientOf(func(*http.Request) (*http.Response, error) {
				response := answer(http.StatusOK, tt.contentType, "")
				response.Body = watchedBody{strings.NewReader(tt.body), &closed}
				return response, nil
			})
			_ = client.Export(t.Context(), "DsMchMonth1", july, func(*Value) error { return tt.yield })
			if !closed {
				t.Error("got an open body, want it closed")
			}
		})
	}
}

func TestExportsOfOneCHTWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		arrived, begin := make(chan string, 2), make(chan struct{})
		client := clientOf(func(r *http.Request) (*http.Response, error) {
			if !strings.Contains(r.URL.Path, "export") {
				return answer(http.StatusOK, jsonType, `{"version":"5.2.0"}`), nil
			}
			arrived <- r.URL.Query().Get("filters[dataSet]")
			<-begin
			return answer(http.StatusOK, jsonType, smallExport), nil
		})
		done := make(chan error, 2)
		for range 2 {
			go func() {
				done <- client.Export(t.Context(), "DsMchMonth1", july, func(*Value) error { return nil })
			}()
		}
		synctest.Wait()
		if got := len(arrived); got != 1 {
			t.Errorf("got %d exports at once, want 1", got)
		}
		if _, err := client.Info(t.Context()); err != nil {
			t.Errorf("got %v during an export, want another call to get through", err)
		}

		ctx, cancel := context.WithCancel(t.Context())
		impatient := make(chan error)
		go func() {
			impatient <- client.Export(ctx, "DsMchMonth1", july, func(*Value) error { return nil })
		}()
		synctest.Wait()
		cancel()
		if err := <-impatient; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v from an export that was stopped while it waited, want context.Canceled", err)
		}

		begin <- struct{}{}
		synctest.Wait()
		if got := len(arrived); got != 2 {
			t.Errorf("got %d exports after the first was done, want the second too", got)
		}
		begin <- struct{}{}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAnExportThatFailedLetsTheNextOneThrough(t *testing.T) {
	client := clientOf(always(http.StatusInternalServerError, jsonType, `{"code":500,"error":"Server error"}`))
	for range 3 {
		err := client.Export(t.Context(), "DsMchMonth1", july, func(*Value) error { return nil })
		if e := asError(t, err); e.Status != http.StatusInternalServerError {
			t.Errorf("got %v, want the 500", err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(smallExport))
	f.Add([]byte(smallExport + smallExport))
	f.Add([]byte(withValues(`{"value":"03"},{"value":2.5e3,"a":[{}]},{"value":null,"orgUnit":"\u00e9"}`)))
	f.Add([]byte(withValues("{\"orgUnit\":\"\xff\"}")))
	f.Add([]byte(`{"dataValues":[{"value":[true]}],"period":"202607","dataSet":"DsMchMonth1"}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := read(bytes.NewReader(in))
		for _, v := range got {
			for _, field := range []Field{v.OrgUnit, v.DataElement, v.CategoryOptionCombo, v.AttributeOptionCombo, v.Comment, v.Value} {
				if !utf8.ValidString(field.Text) {
					t.Errorf("got the text %q, want it to be UTF-8", field.Text)
				}
			}
		}
		if err != nil {
			_ = asError(t, err)
			return
		}
		// What passes must be what another decoder sees.
		var whole map[string]json.RawMessage
		if err := json.Unmarshal(in, &whole); err != nil {
			t.Fatalf("got no error, and encoding/json says %v", err)
		}
		var dataSet, period string
		var entries []map[string]json.RawMessage
		if json.Unmarshal(whole["dataSet"], &dataSet) != nil || json.Unmarshal(whole["period"], &period) != nil || json.Unmarshal(whole["dataValues"], &entries) != nil {
			t.Fatalf("got no error for %s", in)
		}
		if dataSet != "DsMchMonth1" || period != "202607" || len(entries) == 0 || len(entries) != len(got) {
			t.Fatalf("got no error and %d values; encoding/json sees data set %q, period %q, %d values", len(got), dataSet, period, len(entries))
		}
		for i, v := range got {
			fields := map[string]Field{
				"orgUnit": v.OrgUnit, "dataElement": v.DataElement, "categoryOptionCombo": v.CategoryOptionCombo,
				"attributeOptionCombo": v.AttributeOptionCombo, "comment": v.Comment, "value": v.Value,
			}
			present := len(v.Extra)
			for name, field := range fields {
				if want := fieldOf(entries[i][name]); field != want {
					t.Errorf("entry %d: got %s %+v, want %+v", i, name, field, want)
				}
				if field.Kind != Missing {
					present++
				}
			}
			if v.Index != i || present != len(entries[i]) {
				t.Errorf("entry %d: got index %d and %d fields, want %d fields", i, v.Index, present, len(entries[i]))
			}
		}
	})
}

// fieldOf reads a field with encoding/json.
func fieldOf(raw json.RawMessage) Field {
	var s string
	switch {
	case raw == nil:
		return Field{}
	case string(raw) == "null":
		return Field{Kind: Null}
	case raw[0] == '"' && json.Unmarshal(raw, &s) == nil:
		return text(s)
	case raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9':
		return number(string(raw))
	default:
		return Field{Kind: Other, Text: strings.ToValidUTF8(string(raw[:min(len(raw), otherText)]), "")}
	}
}
