package dhis2

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// read reads the answer of a server as values.
func read(status int, answer string) (values []StoredValue, err error) {
	c := client(func(*http.Request, []byte) (int, string, string, error) {
		return status, "application/json;charset=UTF-8", answer, nil
	})
	err = c.Values(context.Background(), Slice{DataSet: "DsTest00001", Period: september, OrgUnits: []string{"OuRoot00001"}}, func(v *StoredValue) error {
		values = append(values, *v)
		return nil
	})
	return values, err
}

// The answers are in the form in which 2.42.5.2 and 2.43.1 gave them: the second leaves out of a value what the header says.
const (
	read242 = `{"dataSet":"DsTest00001","completeDate":null,"period":"202609","orgUnit":"OuRoot00001","dataValues":[` +
		`{"dataElement":"DeTest00001","period":"202609","orgUnit":"OuTest00001","categoryOptionCombo":"HllvX50cXC0","attributeOptionCombo":"HllvX50cXC0","value":"9","storedBy":"nurse","created":"2026-11-22T10:21:15.000+0000","lastUpdated":"2026-11-22T10:21:16.000+0000","comment":null,"followup":false},` +
		`{"dataElement":"DeTest00002","period":"202609","orgUnit":"OuTest00001","categoryOptionCombo":"CocTest0001","attributeOptionCombo":"AocTest0001","value":"4","storedBy":"cht","created":"2026-11-22T10:21:15.000+0000","lastUpdated":"2026-11-22T10:21:16.000+0000","comment":"a \"quote\"","followup":false},` +
		`{"dataElement":"DeTest00003","period":"202609","orgUnit":"OuTest00001","categoryOptionCombo":"HllvX50cXC0","attributeOptionCombo":"HllvX50cXC0","value":"4","deleted":true}]}`
	read243 = `{"dataSet":"DsTest00001","period":"202609","orgUnit":"OuTest00001","attributeOptionCombo":"HllvX50cXC0","dataValues":[` +
		`{"dataElement":"DeTest00001","categoryOptionCombo":"HllvX50cXC0","value":"9","storedBy":"nurse","created":"2026-11-22T10:21:15.111+0000","lastUpdated":"2026-11-22T10:21:16.222+0000"}]}`
)

func TestValuesReadsWhatEitherDialectGives(t *testing.T) {
	packed := func(text string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = io.WriteString(w, text)
		_ = w.Close()
		return b.String()
	}
	nine := StoredValue{DataValue: DataValue{DataElement: "DeTest00001", OrgUnit: "OuTest00001", Value: "9"}, StoredBy: "nurse", LastUpdated: "2026-11-22T10:21:16.000+0000"}
	later := nine
	later.LastUpdated = "2026-11-22T10:21:16.222+0000"
	four := StoredValue{DataValue: DataValue{DataElement: "DeTest00002", OrgUnit: "OuTest00001", CategoryOptionCombo: "CocTest0001", Value: "4", Comment: `a "quote"`}, AttributeOptionCombo: "AocTest0001", StoredBy: "cht", LastUpdated: "2026-11-22T10:21:16.000+0000"}
	for _, test := range []struct {
		name, answer string
		want         []StoredValue
	}{
		{"2.42", read242, []StoredValue{nine, four}},
		{"2.43", read243, []StoredValue{later}},
		{"packed without saying so", packed(read242), []StoredValue{nine, four}},
		{"nothing is there", `{"dataSet":"DsTest00001","period":"202609","dataValues":[]}`, nil},
		{"nothing at all", `{}`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := read(200, test.answer)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestValuesTellsAnAnswerThatIsNotWhatWasAskedFor(t *testing.T) {
	for _, test := range []struct {
		name       string
		status     int
		answer     string
		kind       Kind
		unreadable bool
		says       string
	}{
		{"an empty body", 200, "", Refused, true, "the answer is empty"},
		{"a refusal of 2.43", 409, `{"httpStatus":"Conflict","httpStatusCode":409,"status":"ERROR","message":"User is not allowed to read data","errorCode":"E2010"}`, Refused, true, "not allowed"},
		{"a missing right", 403, `{"message":"Access is denied"}`, Credentials, true, "denied"},
		{"another period", 200, strings.Replace(read242, `"period":"202609","orgUnit":"OuTest00001"`, `"period":"202608","orgUnit":"OuTest00001"`, 1), Unusable, false, "202608"},
		{"cut off", 200, read242[:300], Unavailable, false, "broke off after"},
		{"an array", 200, `[]`, Unusable, false, "another form"},
		{"a value without its org unit", 200, `{"dataValues":[{"dataElement":"DeTest00001","value":"1"}]}`, Unusable, false, "no org unit"},
		{"a number for a value", 200, `{"dataValues":[{"dataElement":"DeTest00001","orgUnit":"OuTest00001","value":1}]}`, Unusable, false, "where a text belongs"},
		{"no JSON", 200, `<html>`, Unusable, false, "after 0 values"},
		{"something behind it", 200, read242 + "x", Unusable, false, "follows"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := read(test.status, test.answer)
			var known *Error
			if !errors.As(err, &known) || known.Kind != test.kind || errors.Is(err, ErrUnreadable) != test.unreadable || !strings.Contains(err.Error(), test.says) || known.Remedy == "" {
				t.Errorf("got %v, %+v", err, known)
			}
		})
	}
}

func TestValuesGivesTheErrorOfWhoTakesThem(t *testing.T) {
	full := errors.New("the disk is full")
	c := client(func(*http.Request, []byte) (int, string, string, error) { return 200, "application/json", read242, nil })
	err := c.Values(t.Context(), Slice{DataSet: "DsTest00001", Period: september}, func(*StoredValue) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

func TestOrgUnitsReadsAllPages(t *testing.T) {
	c := client(func(r *http.Request, _ []byte) (int, string, string, error) {
		page := r.URL.Query().Get("page")
		return 200, "application/json", fmt.Sprintf(`{"pager":{"page":%s,"pageCount":3},"organisationUnits":[{"id":"Ou%s","path":"/OuRoot/Ou%s"}]}`, page, page, page), nil
	})
	var got []OrgUnit
	if err := c.OrgUnits(t.Context(), "DsTest00001", func(o OrgUnit) { got = append(got, o) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]OrgUnit{{ID: "Ou1", Path: "/OuRoot/Ou1"}, {ID: "Ou2", Path: "/OuRoot/Ou2"}, {ID: "Ou3", Path: "/OuRoot/Ou3"}}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func FuzzValues(f *testing.F) {
	for _, seed := range []string{read242, read243, "", "{}", `{"dataValues":[{}]}`, "\x1f\x8b", `{"period":1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		values := 0
		err := readValues(bytes.NewReader(answer), reading{slice: Slice{Period: september}}, func(v *StoredValue) error {
			values++
			if v.DataElement == "" || v.OrgUnit == "" || v.CategoryOptionCombo == DefaultCombo {
				t.Errorf("got %+v", v)
			}
			return nil
		})
		if err == nil && values > len(answer) {
			t.Error("more values than bytes")
		}
	})
}

func TestValuesAsksForTheWholeSlicePacked(t *testing.T) {
	var asked url.Values
	c := client(func(r *http.Request, _ []byte) (int, string, string, error) {
		asked = r.URL.Query()
		return 200, "application/json", `{}`, nil
	})
	if err := c.Values(t.Context(), Slice{DataSet: "DsTest00001", Period: september, OrgUnits: []string{"OuA", "OuB"}}, nil); err != nil {
		t.Fatal(err)
	}
	want := url.Values{"dataSet": {"DsTest00001"}, "period": {"202609"}, "orgUnit": {"OuA", "OuB"}, "children": {"true"}, "compression": {"gzip"}}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
