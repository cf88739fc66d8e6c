package dhis2

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// group is a request of two elements, one of them by age, at three org units.
func group() []DataValue {
	var values []DataValue
	for _, unit := range []string{"OuGroup0001", "OuGroup0002", "ouGroup0002"} {
		values = append(values,
			DataValue{DataElement: "DeGroup0001", OrgUnit: unit, Value: "1"},
			DataValue{DataElement: "DeGroup0002", OrgUnit: unit, CategoryOptionCombo: "CocUnder5y1", Value: "2"},
			DataValue{DataElement: "DeGroup0002", OrgUnit: unit, CategoryOptionCombo: "CocOver5yr1", Value: "3"})
	}
	return values
}

// refusedWhole is what comes of the request when 2.43 refuses it whole.
func refusedWhole(values []DataValue, code, args, text string) Outcome {
	body, _ := json.Marshal(map[string]any{"value": text, "errorCode": code, "objects": map[string]string{"args": args}, "indexes": allOf(values)})
	return Try{
		Number: 1, Dialect: SetBased, Period: september, Values: values,
		Body:     []byte(summary("ERROR", ImportCount{}, `,"rejectedIndexes":[0,1,2]`, string(body))),
		Response: &http.Response{StatusCode: 409, Header: http.Header{"Content-Type": {"application/json"}}},
	}.Judge()
}

func TestARefusalOfAllIsLaidToTheValuesThatItNames(t *testing.T) {
	all := "0 1 2 3 4 5 6 7 8"
	tests := []struct {
		name, code, args, text string
		next                   Next
		refused                string
	}{
		{"elements", "E8020", "", "Data set DeGroup0002 not usable with data element(s): `[DeGroup0001, DeUnknown01]`", Narrow, "0 3 6"},
		{"all elements", "E8020", "", "Data set DsGroup0001 not usable with data element(s): `[DeGroup0002, DeGroup0001]`", GoOn, all},
		{"elements, from the arguments", "E8020", "DsGroup0001-[DeGroup0001]", "Kikundi cha data hakitumiki", Narrow, "0 3 6"},
		{"an org unit, and not the one that differs by case", "E8022", "", "Data set DsGroup0001 not usable with org unit(s): `[OuUnknown01, OuGroup0002]`", Narrow, "3 4 5"},
		{"an id within a longer word", "E8022", "", "Data set DsGroup0001 not usable with org unit(s): `[OuGroup00021, XOuGroup0002]`", Search, all},
		{"a list that was cut", "E8022", "", "Data set DsGroup0001 not usable with org unit(s): `[OuGroup0001, OuGrou", Narrow, "0 1 2"},
		{"org units outside", "E8011", "", "Current user cannot enter data for org unit(s): `[OuGroup0001]`", Narrow, "0 1 2"},
		{"category options, which are nobody's own", "E8012", "", "Current user cannot enter data for category option(s): `[CoOver5year]`", Search, all},
		{"an option combo of an element", "E8024", "", "Data set DsGroup0001 + data element DeGroup0002 not usable with category option combo(s): `[CocUnder5y1]`", Narrow, "1 4 7"},
		{"an option combo of another element", "E8024", "", "Data set DsGroup0001 + data element DeGroup0001 not usable with category option combo(s): `[CocUnder5y1]`", Search, all},
		{"the attribute option combo", "E8023", "", "Data set DsGroup0001 not usable with attribute option combo(s): `[HllvX50cXC0]`", GoOn, all},
		{"org units that the attribute is not for", "E8025", "", "Attribute option combo AocGroup001 not usable with org unit(s): `[OuGroup0001, ouGroup0002]`", Narrow, "0 1 2 6 7 8"},
		{"a closed org unit", "E8031", "", "Untimely data entry for org unit OuGroup0001 and period(s): `[202609]`", Narrow, "0 1 2"},
		{"a closed org unit, from the arguments", "E8031", "ouGroup0002-[202609]", "", Narrow, "6 7 8"},
		{"the dates of the attribute", "E8032", "", "Untimely data entry for attribute option combo AocGroup001 and period(s): `[202609]`", GoOn, all},
		{"approved", "E8033", "", "Untimely data entry (already approved) for attribute option combo AocGroup001, org unit ouGroup0002 and periods: `[202609]`", Narrow, "6 7 8"},
		{"the period, which is that of all", "E8030", "", "Untimely data entry for data set DsGroup0001 and period(s): `[202609]`", StopDataSet, all},
		{"an element that is none", "E8104", "", "Value #1,234 data element UID not valid: `DeGroup0001`", Narrow, "0 3 6"},
		{"an element that is not found", "E8103", "", "Value #0 data element not found: `DeGroup0002`", Narrow, "1 2 4 5 7 8"},
		{"an org unit that is not found", "E8107", "", "Value #0 org unit not found: `OuGroup0001`", Narrow, "0 1 2"},
		{"an option combo that is not found", "E8108", "", "Value #0 category option combo not found: `CocOver5yr1`", Narrow, "2 5 8"},
		{"an attribute option combo that is not found", "E8110", "", "Value #0 attribute option combo not found: `aoc`", GoOn, all},
		{"an org unit that is none", "E8106", "", "Value #0 org unit UID not valid: `OuGroup0002`", Narrow, "3 4 5"},
		{"an option combo that is none", "E8109", "", "Value #0 category option combo UID not valid: `CocOver5yr1`", Narrow, "2 5 8"},
		{"an attribute option combo that is none", "E8111", "", "Value #0 attribute option combo UID not valid: `aoc`", GoOn, all},
		{"a cell that is given twice", "E8128", "", "Value #[4, 5] all affect the same data value: `DataValueKey[dataElement=DeGroup0002, orgUnit=OuGroup0002, categoryOptionCombo=CocOver5yr1, attributeOptionCombo=null, period=202609]`", Narrow, "5"},
		{"a cell without a combo that is given twice", "E8128", "", "Value #[0, 5] all affect the same data value: `DataValueKey[dataElement=DeGroup0001, orgUnit=OuGroup0001, categoryOptionCombo=null, attributeOptionCombo=null, period=202609]`", Narrow, "0"},
		{"a code that nobody knows", "E8999", "", "No data entry for OuGroup0001", Search, all},
		{"no code", "", "", "OuGroup0001", Search, all},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := refusedWhole(group(), test.code, test.args, test.text)
			var places []string
			for _, r := range o.Refused {
				places = append(places, fmt.Sprint(r.Index))
				if r.Code != test.code || r.DataValue != group()[r.Index] || r.Remedy == "" {
					t.Errorf("refused %+v", r)
				}
			}
			if got := strings.Join(places, " "); got != test.refused || o.Next != test.next || o.State != StateRefused || !o.AsWhole() {
				t.Errorf("got %s, %s, refused %s; want %s, %s", o.State, o.Next, got, test.next, test.refused)
			}
		})
	}
}

// TestTheStandInNamesWhatTheMediatorReads sends requests that are wrong as a whole before anything of them is looked at.
func TestTheStandInNamesWhatTheMediatorReads(t *testing.T) {
	d := sandbox.NewDHIS2(sandbox.DHIS2Config{Version: "2.43.1", Users: []sandbox.DHIS2User{{Username: "cht", Password: "Cht.12345", Authorities: []string{"ALL"}}}})
	tests := []struct {
		code    string
		spoil   func(*Chunk)
		refused string
	}{
		{"E8104", func(c *Chunk) { c.Values[4].DataElement = "a [bad] id" }, "4"},
		{"E8106", func(c *Chunk) { c.Values[3].OrgUnit, c.Values[5].OrgUnit = "nowhere", "nowhere" }, "3 5"},
		{"E8109", func(c *Chunk) { c.Values[2].CategoryOptionCombo = "none" }, "2"},
		{"E8111", func(c *Chunk) { c.AttributeOptionCombo = "none" }, "0 1 2 3 4 5 6 7 8"},
		{"E8102", func(c *Chunk) { c.Values[7].DataElement = "" }, "7"},
		{"E8105", func(c *Chunk) { c.Values[8].OrgUnit = "" }, "8"},
	}
	for _, test := range tests {
		t.Run(test.code, func(t *testing.T) {
			chunk := Chunk{DataSet: "DsGroup0001", Period: september, Values: group()}
			test.spoil(&chunk)
			text, err := chunk.append(nil)
			if err != nil {
				t.Fatal(err)
			}
			request := httptest.NewRequest(http.MethodPost, "/api/dataValueSets", bytes.NewReader(text))
			request.SetBasicAuth("cht", "Cht.12345")
			request.Header.Set("Content-Type", "application/json")
			answer := httptest.NewRecorder()
			d.ServeHTTP(answer, request)
			body := answer.Body.Bytes()
			o := Try{Number: 1, Dialect: SetBased, Period: september, Values: chunk.Values, Response: answer.Result(), Body: body}.Judge()
			var places []string
			for _, r := range o.Refused {
				if places = append(places, fmt.Sprint(r.Index)); r.Code != test.code {
					t.Errorf("%s: %s", r.Code, r.Reason)
				}
			}
			if got := strings.Join(places, " "); got != test.refused {
				t.Errorf("refused %s, want %s: %s", got, test.refused, body)
			}
		})
	}
}

func TestEachOfManyNamedGetsTheWordsOnItself(t *testing.T) {
	o := refusedWhole(group(), "E8022", "", "Data set DsGroup0001 not usable with org unit(s): `[OuGroup0001, OuUnknown01, OuGroup0002]`")
	var reasons []string
	for _, r := range o.Refused {
		if r.DataElement == "DeGroup0001" {
			reasons = append(reasons, r.Reason)
		}
	}
	if diff := cmp.Diff([]string{
		"Data set DsGroup0001 not usable with org unit(s): `[OuGroup0001]`",
		"Data set DsGroup0001 not usable with org unit(s): `[OuGroup0002]`",
	}, reasons); diff != "" {
		t.Error(diff)
	}
}

func TestValuesWrongInThemselvesAreNoRefusalOfAll(t *testing.T) {
	body := summary("ERROR", ImportCount{Ignored: 5}, `,"rejectedIndexes":[0,1,2,3,4]`, conflict("E8122", "0,1"), conflict("E8120", "2,3,4"))
	o := Try{
		Number: 1, Dialect: SetBased, Period: september, Values: fiveValues(), Body: []byte(body),
		Response: &http.Response{StatusCode: 409, Header: http.Header{"Content-Type": {"application/json"}}},
	}.Judge()
	if o.Next != GoOn || o.AsWhole() || len(o.Refused) != 5 {
		t.Errorf("got %s with %d refused", o.Next, len(o.Refused))
	}
}

func TestSuspectsOfACodeThatIsAboutOptionsAreTheCombos(t *testing.T) {
	if diff := cmp.Diff([][]int{{1, 4, 7}, {2, 5, 8}}, Suspects("E8012", group())); diff != "" {
		t.Error(diff)
	}
	if got := len(Suspects("E8999", group())); got != 9 {
		t.Errorf("%d suspects of nine values", got)
	}
	if o := refusedWhole(group()[:1], "E8012", "", "Current user cannot enter data for category option(s): `[CoOver5year]`"); o.Next != GoOn || len(o.Refused) != 1 {
		t.Errorf("without combos: %+v", o)
	}
}

// FuzzOffenders holds that a text blames only values whose own ids stand in it, each once.
func FuzzOffenders(f *testing.F) {
	f.Add("E8022", "DsGroup0001-[OuGroup0001]", "Data set DsGroup0001 not usable with org unit(s): `[OuGroup0001, OuGroup0002]`")
	f.Add("E8024", "", "Data set DsGroup0001 + data element DeGroup0002 not usable with category option combo(s): `[CocUnder5y1]`")
	f.Add("E8031", "OuGroup0001-[202609]", "")
	f.Add("E8104", "0-DeGroup0001", "Value #1,234 data element UID not valid: `DeGroup0001`")
	f.Add("E8128", "", "DataValueKey[dataElement=DeGroup0001, orgUnit=OuGroup0001, categoryOptionCombo=null,")
	f.Fuzz(func(t *testing.T, code, args, text string) {
		o := refusedWhole(group(), code, args, text)
		if len(o.Refused) == 0 || len(o.Refused) > len(group()) || o.Next == Narrow && len(o.Refused) == len(group()) {
			t.Fatalf("%s with %d refused", o.Next, len(o.Refused))
		}
		for i, r := range o.Refused {
			if i > 0 && r.Index <= o.Refused[i-1].Index || r.DataValue != group()[r.Index] {
				t.Fatalf("refused %+v", o.Refused)
			}
			named := false
			for _, id := range []string{r.DataElement, r.OrgUnit, r.CategoryOptionCombo} {
				named = named || id != "" && strings.Contains(text+args, id)
			}
			if o.Next == Narrow && !ofValue(code) && !named {
				t.Fatalf("%+v is blamed without being named", r)
			}
		}
	})
}
