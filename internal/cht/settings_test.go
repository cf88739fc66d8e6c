package cht

import (
	"net/http"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones of the tests, wherever they run

	"github.com/google/go-cmp/cmp"
)

func settingsOf(t testing.TB, in string) *Settings {
	t.Helper()
	got, err := clientOf(always(http.StatusOK, jsonType, in)).Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestSettingsReadWhatARealServerSent(t *testing.T) {
	want := &Settings{
		DataSets:       []string{"DsMchMonth1", "DsMalariaM1", "DsNoElement"},
		MonthStartDate: 1,
		Exporters:      []string{"integration"}, HalfExporters: []string{"integration", "dhis_only"},
		Roles: []string{"chw", "chw_supervisor", "data_entry", "dhis_only", "integration", "national_admin"},
		Targets: []Target{
			{ID: "births-this-month", Type: "count", DataSet: "DsMchMonth1", DataElement: "DeBirths001"},
			{ID: "deaths-this-month", Type: "count", DataElement: "DeDeaths001"},
			{ID: "pregnancies-registered", Type: "count", DataSet: "DsMchMonth1", DataElement: "DePregReg01", CategoryOptionCombo: "HllvX50cXC0", AttributeOptionCombo: "HllvX50cXC0"},
			{ID: "facility-deliveries", Type: "percent", DataSet: "DsMchMonth1", DataElement: "DeFacDeliv1"},
			{ID: "anc-4-visits", Type: "percent", DataSet: "DsMchMonth1", DataElement: "DeAnc4Visit"},
			{ID: "newborn-visits-day-3", Type: "count", DataSet: "DsMchMonth1", DataElement: "DeNewbornV1"},
			{ID: "newborn-visits-day-7", Type: "count", DataSet: "DsMchMonth1", DataElement: "DeNewbornV1"},
			{ID: "malaria-cases-under-5", Type: "count", DataSet: "DsMalariaM1", DataElement: "DeMalCases1", CategoryOptionCombo: "CocUnder5y1"},
			{ID: "malaria-cases-5-plus", Type: "count", DataSet: "DsMalariaM1", DataElement: "DeMalCases1", CategoryOptionCombo: "CocOver5yr1"},
			{ID: "rdt-positive", Type: "percent", DataSet: "DsMalariaM1", DataElement: "DeRdtPosit1"},
			{ID: "llin-distributed", Type: "count", DataSet: "DsMalariaM1", DataElement: "DeLlinDist1", Listed: true},
			{ID: "llin-distributed", Type: "count", DataSet: "DsMchMonth1", DataElement: "DeLlinDist2", Listed: true},
		},
		Undirected: []Target{{ID: "home-visits", Type: "count"}},
		ContactTypes: []ContactType{
			{ID: "district"},
			{ID: "health_facility", Parents: []string{"district"}},
			{ID: "chw_area", Parents: []string{"health_facility"}},
			{ID: "chw", Person: true, Parents: []string{"chw_area", "health_facility"}},
		},
	}
	if diff := cmp.Diff(want, settingsOf(t, recorded(t, "settings-200"))); diff != "" {
		t.Errorf("settings differ (-want +got):\n%s", diff)
	}
}

func TestATargetWithoutADataSetBelongsToAll(t *testing.T) {
	tests := []struct {
		name string
		in   Target
		want bool
	}{
		{"none", Target{}, true},
		{"this one", Target{DataSet: "A"}, true},
		{"another", Target{DataSet: "B"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.in.For("A"); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}

func TestTargetsThatNameNoElementAreLeftOut(t *testing.T) {
	in := `{"tasks":{"targets":{"items":[
		{"id":"without"},
		{"id":"null","dhis":null},
		{"id":"text","dhis":"DeBirths001"},
		{"id":"odd fields","dhis":{"dataElement":"A","categoryOptionCombo":7,"attributeOptionCombo":null,"dataSet":["X"]}},
		{"id":"empty","dhis":{}},
		{"id":"empty list","dhis":[]},
		{"id":"half a list","dhis":[{"dataElement":"A"},{}]},
		{"id":"whole","dhis":{"dataElement":"B"}}]}}}`
	want := []Target{{ID: "odd fields", DataElement: "A", CategoryOptionCombo: "7", DataSet: `["X"]`}, {ID: "half a list", DataElement: "A", Listed: true}, {ID: "whole", DataElement: "B"}}
	got := settingsOf(t, in)
	if diff := cmp.Diff(want, got.Targets); diff != "" {
		t.Errorf("targets differ (-want +got):\n%s", diff)
	}
	undirected := []Target{{ID: "without"}, {ID: "null"}, {ID: "text"}, {ID: "empty"}, {ID: "empty list"}}
	if diff := cmp.Diff(undirected, got.Undirected); diff != "" {
		t.Errorf("targets without an element differ (-want +got):\n%s", diff)
	}
}

func TestContactTypesThatAreOddAreLeftOut(t *testing.T) {
	for in, want := range map[string][]ContactType{
		`{}`:                      nil,
		`{"contact_types":null}`:  nil,
		`{"contact_types":"chw"}`: nil,
		`{"contact_types":[null,7,{"id":8},{"id":""},{"id":"a","person":"yes","parents":"b"},{"id":"c","person":true,"parents":["a"]}]}`: {
			{ID: "a"}, {ID: "c", Person: true, Parents: []string{"a"}},
		},
	} {
		if diff := cmp.Diff(want, settingsOf(t, in).ContactTypes); diff != "" {
			t.Errorf("%s: contact types differ (-want +got):\n%s", in, diff)
		}
	}
}

func TestTheMonthStartsOnTheDayThatTheSettingsSay(t *testing.T) {
	tests := []struct {
		name, in string
		want     int
	}{
		{"nothing said", `{}`, 1},
		{"said", `{"uhc":{"month_start_date":26}}`, 26},
		{"said in the older place", `{"uhc":{"visit_count":{"month_start_date":25}}}`, 25},
		{"said in both, where the newer place wins", `{"uhc":{"month_start_date":26,"visit_count":{"month_start_date":25}}}`, 26},
		{"zero in the newer place", `{"uhc":{"month_start_date":0,"visit_count":{"month_start_date":25}}}`, 25},
		{"a text", `{"uhc":{"month_start_date":"26"}}`, 26},
		{"an empty text", `{"uhc":{"month_start_date":""}}`, 1},
		{"null", `{"uhc":{"month_start_date":null}}`, 1},
		{"no day of a month", `{"uhc":{"month_start_date":32}}`, 1},
		{"below one", `{"uhc":{"month_start_date":-1}}`, 1},
		{"the last day", `{"uhc":{"month_start_date":31}}`, 31},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := settingsOf(t, tt.in).MonthStartDate; got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestLastDayIsTheDayBeforeTheNextMonthStarts(t *testing.T) {
	tests := []struct {
		name  string
		start int
		month Month
		want  string
	}{
		{"the first", 1, july, "2026-07-31"},
		{"no start", 0, july, "2026-07-31"},
		{"the second", 2, july, "2026-07-01"},
		{"25", 25, july, "2026-07-24"},
		{"25, the month after", 25, Month{2026, time.August}, "2026-08-24"},
		{"26", 26, Month{2026, time.August}, "2026-08-25"},
		{"31 in a month that has it", 31, july, "2026-07-30"},
		{"31, the month after", 31, Month{2026, time.August}, "2026-08-30"},
		{"31 in a month of 30 days", 31, Month{2026, time.June}, "2026-06-30"},
		{"31 in February", 31, Month{2026, time.February}, "2026-02-28"},
		{"30 in February", 30, Month{2026, time.February}, "2026-02-28"},
		{"30 in February of a leap year", 30, Month{2028, time.February}, "2028-02-29"},
		{"29 in February", 29, Month{2026, time.February}, "2026-02-28"},
		{"29 in February of a leap year", 29, Month{2028, time.February}, "2028-02-28"},
		{"December", 1, Month{2026, time.December}, "2026-12-31"},
		{"January from the year before", 26, Month{2027, time.January}, "2027-01-25"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &Settings{MonthStartDate: tt.start}
			if got := s.LastDay(tt.month).Format(time.DateOnly); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if got := s.ClosesText(tt.month); !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want it to say %s", got, tt.want)
			}
		})
	}
}

// The table of the contract, section 4.1: work of a day is counted in the month with this tag.
func TestWorkOfADayIsInTheMonthThatCHTTagsItWith(t *testing.T) {
	tests := []struct {
		name  string
		start int
		day   string
		want  Month
	}{
		{"the last of a month", 1, "2026-07-31", july},
		{"before the 25th", 25, "2026-07-24", july},
		{"on the 25th", 25, "2026-07-25", Month{2026, time.August}},
		{"after the 26th", 26, "2026-07-31", Month{2026, time.August}},
		{"before the 31st", 31, "2026-07-30", july},
		{"on the 31st", 31, "2026-07-31", Month{2026, time.August}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &Settings{MonthStartDate: tt.start}
			got := july
			for s.LastDay(got).Format(time.DateOnly) < tt.day {
				got.Month++
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestAMonthClosesAtMidnightOfTheDeployment(t *testing.T) {
	tests := []struct {
		name, zone string
		start      int
		month      Month
		// last is the last second of the month, by the clocks of UTC.
		last string
	}{
		{"UTC", "UTC", 1, july, "2026-07-31T23:59:59Z"},
		{"east of it", "Africa/Nairobi", 1, july, "2026-07-31T20:59:59Z"},
		{"a quarter of an hour off", "Asia/Kathmandu", 1, july, "2026-07-31T18:14:59Z"},
		{"west of it, in summer time", "America/New_York", 1, july, "2026-08-01T03:59:59Z"},
		{"west of it, in winter time", "America/New_York", 26, Month{2026, time.January}, "2026-01-26T04:59:59Z"},
		{"another start", "Africa/Nairobi", 26, july, "2026-07-25T20:59:59Z"},
		{"a year's end", "America/Port-au-Prince", 1, Month{2026, time.December}, "2027-01-01T04:59:59Z"},
		{"summer time begins at midnight", "America/Asuncion", 1, Month{2017, time.September}, "2017-10-01T03:59:59Z"},
		{"summer time ends at midnight, which comes twice", "America/Havana", 6, Month{2022, time.November}, "2022-11-06T03:59:59Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			zone, err := time.LoadLocation(tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			last, err := time.Parse(time.RFC3339, tt.last)
			if err != nil {
				t.Fatal(err)
			}
			s := &Settings{MonthStartDate: tt.start}
			if s.Closed(tt.month, last, zone) {
				t.Errorf("got closed at %s, want open", last)
			}
			if next := last.Add(time.Second); !s.Closed(tt.month, next, zone) {
				t.Errorf("got open at %s, want closed", next)
			}
		})
	}
}

func TestCheckSaysWhyADataSetCannotBeSent(t *testing.T) {
	tests := []struct {
		name         string
		in           Settings
		want, remedy string
	}{
		{"a known one", Settings{DataSets: []string{"DsMchMonth1"}}, "", ""},
		{"an unknown one", Settings{DataSets: []string{"A", "B"}}, "the CHT does not know it; it knows A, B", "dhis_data_sets"},
		{"one of another case", Settings{DataSets: []string{"dsmchmonth1"}}, "it knows dsmchmonth1", "correct the id"},
		{"a CHT without data sets", Settings{}, "it knows none", "dhis_data_sets"},
		{"Nepali months", Settings{DataSets: []string{"DsMchMonth1"}, NepaliMonths: true}, "Nepali months", "Gregorian months only"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.in.Check("DsMchMonth1")
			if tt.want == "" {
				if err != nil {
					t.Errorf("got %v, want no error", err)
				}
				return
			}
			if e := asError(t, err); e.Kind != Refused || !strings.Contains(err.Error(), tt.want) || !strings.Contains(e.Remedy, tt.remedy) || !strings.Contains(e.Doing, "DsMchMonth1") {
				t.Errorf("got %+v, want a refusal that says %q and %q", e, tt.want, tt.remedy)
			}
		})
	}
}

func TestSettingsTellNepaliMonths(t *testing.T) {
	if got := settingsOf(t, `{"uhc":{"visit_count":{"use_bikram_sambat_months":true}}}`); !got.NepaliMonths {
		t.Errorf("got %+v, want Nepali months", got)
	}
}

func TestMonthIsWrittenAsTheExportDoes(t *testing.T) {
	for want, in := range map[string]Month{"202607": july, "202612": {2026, time.December}, "099901": {999, time.January}} {
		if got := in.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
