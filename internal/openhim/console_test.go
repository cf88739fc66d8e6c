package openhim_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/openhim"
)

// strict are the rules of an installation with two data sets.
func strict() openhim.ConsoleRules {
	return openhim.ConsoleRules{
		DataSets: []string{"DsMchMonth1", "DsOther0001"},
		Schedule: func(text string) error {
			if len(strings.Fields(text)) != 5 {
				return errors.New("must have five fields")
			}
			return nil
		},
	}
}

func ptr[T any](value T) *T { return &value }

func TestParseConsoleReadsWhatWasSet(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, config string
		want         openhim.Console
	}{
		{"an empty form", `{}`, openhim.Console{}},
		{"no data set", `{"data_sets":[]}`, openhim.Console{}},
		{"null", `{"data_sets":null}`, openhim.Console{}},
		{"all fields", `{"data_sets":[{"id":"DsMchMonth1","enabled":false,"schedule":"0 3 * * *","first_after_days":5,"reread_days":30,"hold":true}]}`,
			openhim.Console{DataSets: []openhim.ConsoleDataSet{{
				ID: "DsMchMonth1", Enabled: ptr(false), Schedule: ptr("0 3 * * *"), FirstAfterDays: ptr(5), RereadDays: ptr(30), Hold: ptr(true),
			}}}},
		{"rows that were emptied", `{"data_sets":[{"id":"DsMchMonth1","enabled":null,"schedule":"","first_after_days":null,"hold":null},{"id":"DsOther0001"}]}`,
			openhim.Console{DataSets: []openhim.ConsoleDataSet{{ID: "DsMchMonth1"}, {ID: "DsOther0001"}}}},
		{"zero days", `{"data_sets":[{"id":"DsMchMonth1","first_after_days":0,"reread_days":0}]}`,
			openhim.Console{DataSets: []openhim.ConsoleDataSet{{ID: "DsMchMonth1", FirstAfterDays: ptr(0), RereadDays: ptr(0)}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := openhim.ParseConsole([]byte(test.config), strict())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseConsoleNamesEachFault(t *testing.T) {
	t.Parallel()
	set := func(fields string) string { return `{"data_sets":[{"id":"DsMchMonth1",` + fields + `}]}` }
	for _, test := range []struct{ name, config, want string }{
		{"no JSON", `{`, "must be an object"},
		{"null", `null`, "must be an object"},
		{"list", `[]`, "must be an object"},
		{"unknown parameter", `{"datasets":[]}`, "datasets: is not known; the one there is, is data_sets"},
		{"no list", `{"data_sets":{}}`, "data_sets: must be a list"},
		{"text in the list", `{"data_sets":["a"]}`, "data_sets[0]: must be an object"},
		{"null in the list", `{"data_sets":[null]}`, "data_sets[0]: must be an object"},
		{"no id", `{"data_sets":[{"enabled":true}]}`, "data_sets[0].id: is required"},
		{"empty id", `{"data_sets":[{"id":""}]}`, "data_sets[0].id: is required"},
		{"id that is a number", `{"data_sets":[{"id":5}]}`, "data_sets[0].id: must be a text"},
		{"unknown id", `{"data_sets":[{"id":"DsMch"}]}`, `data_sets[0].id: "DsMch" is no data set of the configuration file; there are DsMchMonth1, DsOther0001`},
		{"id twice", `{"data_sets":[{"id":"DsMchMonth1"},{"id":"DsMchMonth1"}]}`, `data_sets[1].id: "DsMchMonth1" stands twice`},
		{"unknown field", set(`"url":"x"`), "data_sets[0].url: is not known; there are id, enabled,"},
		{"enabled as text", set(`"enabled":"true"`), "data_sets[0].enabled: must be yes or no"},
		{"hold as number", set(`"hold":1`), "data_sets[0].hold: must be yes or no"},
		{"schedule as number", set(`"schedule":5`), "data_sets[0].schedule: must be a text"},
		{"schedule of four fields", set(`"schedule":"0 3 * *"`), "data_sets[0].schedule: must have five fields"},
		{"half a day", set(`"first_after_days":0.5`), "data_sets[0].first_after_days: must be a whole number of days"},
		{"days as text", set(`"first_after_days":"5"`), `data_sets[0].first_after_days: must be a whole number of days from 0 to 3660, and is "5"`},
		{"less than no days", set(`"reread_days":-1`), "data_sets[0].reread_days: must be a whole number"},
		{"days without end", set(`"reread_days":1e300`), "data_sets[0].reread_days: must be a whole number"},
		{"reading again before the first time", set(`"first_after_days":10,"reread_days":5`), "data_sets[0].reread_days: 5 ends before first_after_days, 10"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := openhim.ParseConsole([]byte(test.config), strict())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
			if diff := cmp.Diff(openhim.Console{}, got); diff != "" {
				t.Errorf("a bad one is not refused whole:\n%s", diff)
			}
		})
	}
}

func TestParseConsoleTellsAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, err := openhim.ParseConsole([]byte(`{"x":1,"data_sets":[{"enabled":"a","hold":2},7]}`), strict())
	want := "console configuration: x: is not known; the one there is, is data_sets\n" +
		"data_sets[0].id: is required\n" +
		"data_sets[0].enabled: must be yes or no (true or false)\n" +
		"data_sets[0].hold: must be yes or no (true or false)\n" +
		"data_sets[1]: must be an object"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// The fields that the console offers are those that are read.
func TestTheConsolesFormHasTheFieldsThatAreRead(t *testing.T) {
	t.Parallel()
	var offered []string
	for _, field := range ours(t).ConfigDefs[0].Template {
		offered = append(offered, field.Param)
	}
	_, err := openhim.ParseConsole([]byte(`{"data_sets":[{"id":"DsMchMonth1","unknown":1}]}`), strict())
	if want := "there are " + strings.Join(offered, ", "); err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func FuzzParseConsole(f *testing.F) {
	f.Add([]byte(`{"data_sets":[{"id":"DsMchMonth1","enabled":false,"schedule":"0 3 * * *","first_after_days":5,"reread_days":30,"hold":true}]}`))
	f.Add([]byte(`{"data_sets":[null,{"id":null}]}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		console, err := openhim.ParseConsole(config, strict())
		if err != nil {
			return
		}
		for _, set := range console.DataSets {
			if set.ID == "" || set.FirstAfterDays != nil && *set.FirstAfterDays < 0 {
				t.Errorf("%s became %+v", config, set)
			}
		}
	})
}
