package cht

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// tagOf is the month that the CHT's own library (cht-core, shared-libs/calendar-interval, 3.x to 5.2) tags a day's work with,
// written down anew from what it does: the end of the interval is the day before the start date of this month or the next, and
// never later than that month's end.
func tagOf(start int, day time.Time) Month {
	month := day
	if start > 1 && start <= day.Day() { // a new interval has begun, which ends in the next month
		month = time.Date(day.Year(), day.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	}
	return Month{Year: month.Year(), Month: month.Month()}
}

// endOf is the end of the interval with that tag, by the same library.
func endOf(start int, m Month) time.Time {
	last := time.Date(m.Year, m.Month+1, 0, 0, 0, 0, 0, time.UTC)
	if start == 1 {
		return last
	}
	if end := time.Date(m.Year, m.Month, start-1, 0, 0, 0, 0, time.UTC); end.Before(last) {
		return end
	}
	return last
}

// Each day of five years, a leap year among them, lies in the interval of the month that the CHT tags it with, whatever day the
// months begin on; and the intervals follow each other without a gap.
func TestEachDayLiesInTheMonthThatCHTTagsItWith(t *testing.T) {
	for start := 1; start <= 31; start++ {
		s := &Settings{MonthStartDate: start}
		for day := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 2030; day = day.AddDate(0, 0, 1) {
			tag := tagOf(start, day)
			first, last := s.FirstDay(tag), s.LastDay(tag)
			if day.Before(first) || day.After(last) {
				t.Errorf("start %d: %s has the tag %s, and that is of %s to %s", start, day.Format(time.DateOnly), tag, first.Format(time.DateOnly), last.Format(time.DateOnly))
			}
			if want := endOf(start, tag); !last.Equal(want) {
				t.Fatalf("start %d: %s ends on %s, and in the CHT on %s", start, tag, last.Format(time.DateOnly), want.Format(time.DateOnly))
			}
			next := time.Date(tag.Year, tag.Month+1, 1, 0, 0, 0, 0, time.UTC)
			if after := s.FirstDay(Month{next.Year(), next.Month()}); !after.Equal(last.AddDate(0, 0, 1)) {
				t.Fatalf("start %d: %s ends on %s, and the next month begins on %s", start, tag, last.Format(time.DateOnly), after.Format(time.DateOnly))
			}
		}
	}
}

// The intervals that the library's own comment gives for the 31st, and the same for 29 and 30.
func TestMonthsThatLackTheStartDateEndWithTheirLastDay(t *testing.T) {
	tests := []struct {
		name        string
		start       int
		tag         Month
		first, last string
	}{
		{"31, January", 31, Month{2027, time.January}, "2026-12-31", "2027-01-30"},
		{"31, February", 31, Month{2027, time.February}, "2027-01-31", "2027-02-28"},
		{"31, February of a leap year", 31, Month{2028, time.February}, "2028-01-31", "2028-02-29"},
		{"31, March, after a month without the day", 31, Month{2027, time.March}, "2027-03-01", "2027-03-30"},
		{"31, April", 31, Month{2027, time.April}, "2027-03-31", "2027-04-30"},
		{"31, May", 31, Month{2027, time.May}, "2027-05-01", "2027-05-30"},
		{"31, June", 31, Month{2027, time.June}, "2027-05-31", "2027-06-30"},
		{"31, August, after a month with the day", 31, Month{2026, time.August}, "2026-07-31", "2026-08-30"},
		{"30, February", 30, Month{2027, time.February}, "2027-01-30", "2027-02-28"},
		{"30, February of a leap year", 30, Month{2028, time.February}, "2028-01-30", "2028-02-29"},
		{"30, March of a leap year", 30, Month{2028, time.March}, "2028-03-01", "2028-03-29"},
		{"29, February", 29, Month{2027, time.February}, "2027-01-29", "2027-02-28"},
		{"29, February of a leap year", 29, Month{2028, time.February}, "2028-01-29", "2028-02-28"},
		{"29, March of a leap year", 29, Month{2028, time.March}, "2028-02-29", "2028-03-28"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &Settings{MonthStartDate: tt.start}
			first, last := s.FirstDay(tt.tag).Format(time.DateOnly), s.LastDay(tt.tag).Format(time.DateOnly)
			if first != tt.first || last != tt.last {
				t.Errorf("got %s to %s, want %s to %s", first, last, tt.first, tt.last)
			}
		})
	}
}

// In the five zones the day after the last is the first on which a month is closed, by the clocks there, for each start date.
func TestAMonthIsClosedOnTheDayAfterItsLastInEachZone(t *testing.T) {
	for _, name := range []string{"UTC", "Africa/Nairobi", "Asia/Kathmandu", "America/Port-au-Prince", "Pacific/Kiritimati"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for start := 1; start <= 31; start++ {
			s := &Settings{MonthStartDate: start}
			for n := range 24 {
				first := time.Date(2027, time.Month(1+n), 1, 0, 0, 0, 0, time.UTC)
				month := Month{first.Year(), first.Month()}
				end := endOf(start, month)
				lastMoment := time.Date(end.Year(), end.Month(), end.Day(), 23, 59, 59, 0, zone)
				if s.Closed(month, lastMoment.UTC(), zone) {
					t.Errorf("%s, start %d: %s is closed at %s", name, start, month, lastMoment)
				}
				if after := lastMoment.Add(time.Second).UTC(); !s.Closed(month, after, zone) {
					t.Errorf("%s, start %d: %s is not closed at %s", name, start, month, after)
				}
			}
		}
	}
}

func TestTheStartDateIsReadAsJavaScriptDoes(t *testing.T) {
	tests := []struct {
		name, in string
		want     int
	}{
		{"a number and something", `{"uhc":{"month_start_date":"26th"}}`, 26},
		{"a fraction", `{"uhc":{"month_start_date":26.5}}`, 26},
		{"room before it", `{"uhc":{"month_start_date":" 26"}}`, 26},
		{"no number at all hides the older place", `{"uhc":{"month_start_date":"last","visit_count":{"month_start_date":25}}}`, 1},
		{"no day of a month hides the older place", `{"uhc":{"month_start_date":32,"visit_count":{"month_start_date":25}}}`, 1},
		{"a text of zero hides the older place", `{"uhc":{"month_start_date":"0","visit_count":{"month_start_date":25}}}`, 1},
		{"an empty text does not", `{"uhc":{"month_start_date":"","visit_count":{"month_start_date":25}}}`, 25},
		{"null does not", `{"uhc":{"month_start_date":null,"visit_count":{"month_start_date":25}}}`, 25},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := settingsOf(t, tt.in).MonthStartDate; got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestNepaliMonthsAreSeenHoweverTheyAreSwitchedOn(t *testing.T) {
	for in, want := range map[string]bool{
		`true`: true, `"true"`: true, `1`: true, `"yes"`: true, `{}`: true,
		`false`: false, `0`: false, `""`: false, `null`: false,
	} {
		text := `{"uhc":{"visit_count":{"use_bikram_sambat_months":` + in + `}},"dhis_data_sets":[{"id":"A"}]}`
		s := settingsOf(t, text)
		if s.NepaliMonths != want {
			t.Errorf("%s: got %t, want %t", in, s.NepaliMonths, want)
		}
		if err := s.Check("A"); (err != nil) != want {
			t.Errorf("%s: checked: %v", in, err)
		}
	}
}

func TestDocumentsOfNepaliMonthsAreRefusedByTheirTags(t *testing.T) {
	tests := []struct {
		name, id string
		refused  string
	}{
		{"nothing there", "", ""},
		{"a month of the Nepali calendar", "target~2083-05~chw~org.couchdb.user:asha", "month 2083-05"},
		{"something else between", "target~2083-5~x", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rows := []map[string]string{}
			if tt.id != "" {
				rows = append(rows, map[string]string{"id": tt.id})
			}
			body, err := json.Marshal(map[string]any{"rows": rows})
			if err != nil {
				t.Fatal(err)
			}
			client := clientOf(func(r *http.Request) (*http.Response, error) {
				if q := r.URL.Query(); r.URL.Path != "/medic/_all_docs" || q.Get("limit") != "1" || q.Has("include_docs") {
					t.Errorf("asked for %s", r.URL)
				}
				return answer(200, jsonType, string(body)), nil
			})
			err = client.CheckTags(t.Context())
			switch {
			case tt.refused == "" && err != nil:
				t.Error(err)
			case tt.refused != "" && (err == nil || !strings.Contains(err.Error(), tt.refused)):
				t.Errorf("got %v, want it to say %s", err, tt.refused)
			case err != nil && strings.Contains(err.Error(), "asha"):
				t.Errorf("it names a worker: %v", err)
			}
		})
	}
}
