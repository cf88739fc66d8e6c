package orchestration

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones of the tables, wherever the tests run

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

const onTheMinute = "2006-01-02 15:04"

func zoneOf(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func clock(t *testing.T, zone *time.Location, text string) time.Time {
	t.Helper()
	at, err := time.ParseInLocation(onTheMinute, text, zone)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func cronOf(t *testing.T, text string) Cron {
	t.Helper()
	c, err := ParseCron(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func hoursOf(t *testing.T, text string) Hours {
	t.Helper()
	h, err := ParseHours(text)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func periodOf(t *testing.T, id string) dhis2.Period {
	t.Helper()
	p, err := dhis2.ParsePeriod(id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// monthsFrom is LastDay in a CHT whose months start on another day.
func monthsFrom(day int) func(dhis2.Period) time.Time {
	settings := &cht.Settings{MonthStartDate: day}
	return func(p dhis2.Period) time.Time { return lastDay(settings, p) }
}

func keyOf(period dhis2.Period) ledger.Key {
	return ledger.Key{DHIS2: "national", DataSet: "DsMchMonth1", CHT: "kitui", Period: period}
}

// daily is a usual timing: at 03:00 each day, from the 6th day on, for 30 days.
func daily(t *testing.T, zone string, first string) Timing {
	t.Helper()
	return Timing{Schedule: cronOf(t, "0 3 * * *"), Zone: zoneOf(t, zone), FirstPeriod: periodOf(t, first), FirstAfterDays: 5, RereadDays: 30}
}

func TestTheFirstTurnComesSomeDaysAfterThePeriod(t *testing.T) {
	tests := []struct {
		name, zone, cron, period string
		days, expiry, startDate  int
		hours, want              string
	}{
		{name: "a usual month", period: "202610", days: 5, want: "2026-11-06 03:00"},
		{name: "the day after", period: "202610", days: 0, want: "2026-11-01 03:00"},
		{name: "days below none are none", period: "202610", days: -7, want: "2026-11-01 03:00"},
		{name: "the end of a year", period: "202612", days: 5, want: "2027-01-06 03:00"},
		{name: "a February", period: "202602", days: 5, want: "2026-03-06 03:00"},
		{name: "a February of a leap year", period: "202802", days: 1, want: "2028-03-02 03:00"},
		{name: "a quarter", period: "2026Q1", days: 5, want: "2026-04-06 03:00"},
		{name: "midnight itself", period: "202610", cron: "0 0 * * *", days: 5, want: "2026-11-06 00:00"},
		{name: "a weekly turn", period: "202610", cron: "0 3 * * mon", days: 5, want: "2026-11-09 03:00"},
		{name: "a monthly turn behind the window", period: "202602", cron: "0 3 5 * *", days: 5, want: "2026-04-05 03:00"},
		{name: "a turn that comes each leap year", period: "202602", cron: "0 3 29 2 *", days: 5, want: "2028-02-29 03:00"},
		{name: "a leap year that fails in 2100", period: "209603", cron: "0 3 29 2 *", days: 5, want: "2104-02-29 03:00"},
		{name: "months that start on the 26th", period: "202610", startDate: 26, days: 5, want: "2026-10-31 03:00"},
		{name: "the January of months that start on the 26th", period: "202701", startDate: 26, days: 5, want: "2027-01-31 03:00"},
		{name: "months that start on the 31st", period: "202602", startDate: 31, days: 0, want: "2026-03-01 03:00"},
		{name: "a zone of half an hour", zone: "Asia/Kolkata", period: "202610", days: 5, want: "2026-11-06 03:00"},
		{name: "a zone of three quarters", zone: "Asia/Kathmandu", period: "202610", days: 5, want: "2026-11-06 03:00"},
		{name: "hours over midnight that hold it", period: "202610", days: 5, hours: "20:00-06:00", want: "2026-11-06 03:00"},
		{name: "hours over midnight that come later", period: "202610", cron: "0 12 * * *", days: 5, hours: "20:00-06:00", want: "2026-11-06 20:00"},
		{name: "hours of the next day", period: "202610", cron: "0 12 * * *", days: 5, hours: "01:00-06:00", want: "2026-11-07 01:00"},
		{name: "the end of the hours is outside", period: "202610", cron: "0 6 * * *", days: 5, hours: "20:00-06:00", want: "2026-11-06 20:00"},
		{name: "a turn behind the lock moves to two days before it", period: "202610", cron: "0 3 20 * *", days: 5, expiry: 10, want: "2026-11-09 00:00"},
		{name: "the same in the hours", period: "202610", cron: "0 3 20 * *", days: 5, expiry: 10, hours: "20:00-06:00", want: "2026-11-09 00:00"},
		{name: "the same in hours that come later", period: "202610", cron: "0 3 20 * *", days: 5, expiry: 10, hours: "20:00-23:00", want: "2026-11-09 20:00"},
		{name: "not before its days are over", period: "202610", cron: "0 3 20 * *", days: 9, expiry: 10, want: "2026-11-10 00:00"},
		{name: "a lock before its days are over", period: "202610", days: 5, expiry: 3, want: "2026-11-06 03:00"},
		{name: "the lock counts from DHIS2's end of the month", period: "202610", startDate: 26, cron: "0 3 20 * *", days: 5, expiry: 10, want: "2026-11-09 00:00"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			zone := "Africa/Nairobi"
			if test.zone != "" {
				zone = test.zone
			}
			timing := daily(t, zone, "202001")
			timing.FirstAfterDays, timing.ExpiryDays, timing.Hours = test.days, test.expiry, hoursOf(t, test.hours)
			if test.cron != "" {
				timing.Schedule = cronOf(t, test.cron)
			}
			if test.startDate > 0 {
				timing.LastDay = monthsFrom(test.startDate)
			}
			if got := timing.first(keyOf(periodOf(t, test.period))).In(timing.Zone).Format(onTheMinute); got != test.want {
				t.Errorf("first due at %s, want %s", got, test.want)
			}
		})
	}
}

func TestMissingGivesEachClosedPeriodOnceOldestFirst(t *testing.T) {
	timing := daily(t, "Africa/Nairobi", "202611")
	tests := []struct {
		now  string
		want []string
	}{
		{"2026-11-30 23:59", nil},
		{"2026-12-01 00:00", []string{"202611 2026-12-06 03:00"}},
		{"2027-01-31 23:59", []string{"202611 2026-12-06 03:00", "202612 2027-01-06 03:00"}},
		{"2027-02-01 00:00", []string{"202611 2026-12-06 03:00", "202612 2027-01-06 03:00", "202701 2027-02-06 03:00"}},
		{"2026-10-01 00:00", nil},
	}
	describe := func(rows []ledger.Planned) (list []string) {
		for _, row := range rows {
			list = append(list, row.Period.String()+" "+row.DueAt.In(timing.Zone).Format(onTheMinute))
			if row.Done || row.Revision != 0 || !row.StartedAt.IsZero() || row.Key != keyOf(row.Period) {
				t.Errorf("row %+v", row)
			}
		}
		return list
	}
	for _, test := range tests {
		now := clock(t, timing.Zone, test.now)
		rows := timing.Missing(nil, keyOf(dhis2.Period{}), now)
		if diff := cmp.Diff(test.want, describe(rows)); diff != "" {
			t.Errorf("missing at %s (-want +got):\n%s", test.now, diff)
		}
		if again := timing.Missing(rows, keyOf(dhis2.Period{}), now); again != nil {
			t.Errorf("missing again at %s: %v", test.now, describe(again))
		}
		other := keyOf(dhis2.Period{})
		other.CHT = "turkana"
		if got := timing.Missing(rows, other, now); len(got) != len(rows) {
			t.Errorf("another source misses %d at %s, want %d", len(got), test.now, len(rows))
		}
	}
	known := timing.Missing(nil, keyOf(dhis2.Period{}), clock(t, timing.Zone, "2027-02-01 00:00"))
	if diff := cmp.Diff([]string{"202612 2027-01-06 03:00"}, describe(timing.Missing([]ledger.Planned{known[2], known[0]}, keyOf(dhis2.Period{}), clock(t, timing.Zone, "2027-02-01 00:00")))); diff != "" {
		t.Errorf("a gap is filled (-want +got):\n%s", diff)
	}
}

func TestMissingGivesNothingWithoutAScheduleOrAFirstPeriod(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for _, timing := range []Timing{{}, {FirstPeriod: periodOf(t, "202001")}, {Schedule: cronOf(t, "0 3 * * *")}} {
		if got := timing.Missing(nil, ledger.Key{}, now); got != nil {
			t.Errorf("missing: %v", got)
		}
	}
}

func TestMissingStaysWithinTheYearsThatCanBeReadBack(t *testing.T) {
	rows := daily(t, "UTC", "219901").Missing(nil, ledger.Key{}, time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC))
	if len(rows) != 24 || rows[23].Period.String() != "220012" {
		t.Errorf("%d rows, want 24 up to 220012", len(rows))
	}
}

// begin lets the row begin at each of its turns and tells when it did, up to an instant.
func begin(timing Timing, row ledger.Planned, until time.Time) (starts []string, end ledger.Planned) {
	for !row.Done && row.DueAt.Before(until) && len(starts) < 1000 {
		now := row.DueAt
		if !timing.Due(row, now) {
			return append(starts, "not due at "+now.In(timing.Zone).Format(onTheMinute)), row
		}
		starts = append(starts, now.In(timing.Zone).Format(onTheMinute))
		row = timing.Started(row, fmt.Sprint("s", len(starts)), now)
	}
	return starts, row
}

func TestAPeriodIsReadAgainInItsWindow(t *testing.T) {
	tests := []struct {
		name, cron, hours              string
		days, reread, expiry, monthDay int
		minimum                        int
		want                           []string
	}{
		{name: "each week", cron: "0 3 * * mon", days: 5, reread: 30, want: []string{"2026-11-09 03:00", "2026-11-16 03:00", "2026-11-23 03:00", "2026-11-30 03:00"}},
		{name: "the last day is in the window", cron: "0 3 6,30 * *", days: 5, reread: 30, want: []string{"2026-11-06 03:00", "2026-11-30 03:00"}},
		{name: "the day after is not", cron: "0 3 6,30 * *", days: 5, reread: 29, want: []string{"2026-11-06 03:00"}},
		{name: "no re-reads", cron: "0 3 * * *", days: 5, reread: 0, want: []string{"2026-11-06 03:00"}},
		{name: "a first turn behind the window is taken", cron: "0 3 20 * *", days: 5, reread: 10, want: []string{"2026-11-20 03:00"}},
		{name: "a re-read that the hours move out of the window is not", cron: "0 12 6,10 * *", hours: "01:00-06:00", days: 5, reread: 10, want: []string{"2026-11-07 01:00"}},
		{name: "turns that the hours move together are one", cron: "0 7-9 6 * *", hours: "20:00-06:00", days: 5, reread: 10, want: []string{"2026-11-06 20:00"}},
		{name: "up to the lock", cron: "0 3 * * *", days: 5, reread: 30, expiry: 8, want: []string{"2026-11-06 03:00", "2026-11-07 03:00", "2026-11-08 03:00"}},
		{name: "a last one two days before the lock", cron: "0 3 6 * *", days: 5, reread: 30, expiry: 15, want: []string{"2026-11-06 03:00", "2026-11-14 00:00"}},
		{name: "the last one in the hours", cron: "0 3 6 * *", hours: "02:00-06:00", days: 5, reread: 30, expiry: 15, want: []string{"2026-11-06 03:00", "2026-11-14 02:00"}},
		{name: "none where the schedule does so", cron: "0 3 6,15 * *", days: 5, reread: 30, expiry: 15, want: []string{"2026-11-06 03:00", "2026-11-15 03:00"}},
		{name: "a last one after a turn just before", cron: "0 3 6,13 * *", days: 5, reread: 30, expiry: 15, want: []string{"2026-11-06 03:00", "2026-11-13 03:00", "2026-11-14 00:00"}},
		{name: "no last one behind the window", cron: "0 3 6 * *", days: 5, reread: 30, expiry: 60, want: []string{"2026-11-06 03:00"}},
		{name: "no last one before the first", cron: "0 3 6 * *", days: 5, reread: 30, expiry: 6, want: []string{"2026-11-06 03:00"}},
		{name: "the window counts from the source's last day", cron: "0 3 */8 * *", days: 5, reread: 14, monthDay: 26, want: []string{"2026-11-01 03:00"}},
		{name: "when the minimum counts no more", cron: "0 3 6 * *", days: 5, reread: 30, minimum: 20, want: []string{"2026-11-06 03:00", "2026-11-21 00:00"}},
		{name: "in the hours then", cron: "0 3 6 * *", hours: "02:00-06:00", days: 5, reread: 30, minimum: 20, want: []string{"2026-11-06 03:00", "2026-11-21 02:00"}},
		{name: "not where the schedule does so", cron: "0 3 6,21 * *", days: 5, reread: 30, minimum: 20, want: []string{"2026-11-06 03:00", "2026-11-21 03:00"}},
		{name: "then and before the lock", cron: "0 3 6 * *", days: 5, reread: 30, expiry: 25, minimum: 20, want: []string{"2026-11-06 03:00", "2026-11-21 00:00", "2026-11-24 00:00"}},
		{name: "not where it is locked by then", cron: "0 3 6 * *", days: 5, reread: 30, expiry: 15, minimum: 20, want: []string{"2026-11-06 03:00", "2026-11-14 00:00"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			timing := daily(t, "Africa/Nairobi", "202610")
			timing.MinimumDays = test.minimum
			timing.Schedule, timing.Hours = cronOf(t, test.cron), hoursOf(t, test.hours)
			timing.FirstAfterDays, timing.RereadDays, timing.ExpiryDays = test.days, test.reread, test.expiry
			if test.monthDay > 0 {
				timing.LastDay = monthsFrom(test.monthDay)
			}
			rows := timing.Missing(nil, keyOf(dhis2.Period{}), clock(t, timing.Zone, "2026-11-01 00:00"))
			got, end := begin(timing, rows[0], clock(t, timing.Zone, "2030-01-01 00:00"))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("starts (-want +got):\n%s", diff)
			}
			if !end.Done || end.Submission != fmt.Sprint("s", len(got)) {
				t.Errorf("at the end: %+v", end)
			}
		})
	}
}

func TestAnOutageLosesNoPeriod(t *testing.T) {
	timing := daily(t, "Africa/Nairobi", "202601")
	timing.ExpiryDays = 20
	now := clock(t, timing.Zone, "2026-12-12 12:00")
	rows := timing.Missing(nil, keyOf(dhis2.Period{}), now)
	if len(rows) != 11 {
		t.Fatalf("%d rows, want 11", len(rows))
	}
	for _, row := range rows {
		if !timing.Due(row, now) || !timing.Overdue(row, now) {
			t.Errorf("%s is not due, or not overdue", row.Period)
		}
		after := timing.Started(row, "s", now)
		if timing.Due(after, now) {
			t.Errorf("%s is due again at once", row.Period)
		}
		if want := row.Period.String() != "202611"; after.Done != want {
			t.Errorf("%s is done: %v, want %v", row.Period, after.Done, want)
		}
	}
	if got := timing.Started(rows[10], "s", now).DueAt.In(timing.Zone).Format(onTheMinute); got != "2026-12-13 03:00" {
		t.Errorf("the last one is next due at %s", got)
	}
}

func TestAReReadThatCameInAnOutageIsDueOnceAndInTheWindowOnly(t *testing.T) {
	timing := daily(t, "Africa/Nairobi", "202610")
	timing.ExpiryDays = 27
	at := func(text string) time.Time { return clock(t, timing.Zone, text) }
	row := timing.Missing(nil, keyOf(dhis2.Period{}), at("2026-11-01 00:00"))[0]
	row = timing.Started(row, "s1", at("2026-11-06 03:00"))

	if now := at("2026-11-20 09:00"); !timing.Due(row, now) || timing.Replan(row, now) != row {
		t.Error("a turn that passed is not due, or moves")
	}
	next := timing.Started(row, "s2", at("2026-11-20 09:00"))
	if got := next.DueAt.In(timing.Zone).Format(onTheMinute); got != "2026-11-21 03:00" || next.Done {
		t.Errorf("next due at %s", got)
	}
	if now := at("2026-11-27 23:59"); !timing.Due(row, now) {
		t.Error("not due on the last day before the lock")
	}
	for _, now := range []string{"2026-11-28 00:00", "2027-05-01 00:00"} {
		if timing.Due(row, at(now)) || timing.Overdue(row, at(now)) || !timing.Replan(row, at(now)).Done {
			t.Errorf("at %s: %+v", now, timing.Replan(row, at(now)))
		}
	}
}

func TestNothingBeginsOutsideTheHours(t *testing.T) {
	timing := daily(t, "Africa/Nairobi", "202610")
	timing.Hours = hoursOf(t, "20:00-06:00")
	row := timing.Missing(nil, keyOf(dhis2.Period{}), clock(t, timing.Zone, "2026-11-01 00:00"))[0]
	for text, want := range map[string]bool{
		"2026-11-06 02:59": false, "2026-11-06 03:00": true, "2026-11-06 05:59": true, "2026-11-06 06:00": false, "2026-11-06 12:00": false,
		"2026-11-06 19:59": false, "2026-11-06 20:00": true, "2026-11-07 00:00": true,
	} {
		if got := timing.Due(row, clock(t, timing.Zone, text)); got != want {
			t.Errorf("due at %s: %v, want %v", text, got, want)
		}
	}
}

func TestOverdueAllowsForTheHours(t *testing.T) {
	tests := []struct {
		hours, due, now string
		want            bool
	}{
		{"", "2026-11-06 03:00", "2026-11-06 02:00", false},
		{"", "2026-11-06 03:00", "2026-11-06 03:15", false},
		{"", "2026-11-06 03:00", "2026-11-06 03:16", true},
		{"20:00-03:10", "2026-11-06 03:00", "2026-11-06 12:00", false},
		{"20:00-03:10", "2026-11-06 03:00", "2026-11-06 20:05", false},
		{"20:00-03:10", "2026-11-06 03:00", "2026-11-06 20:06", true},
		{"20:00-03:15", "2026-11-06 03:00", "2026-11-06 12:00", false},
		{"02:58-03:02", "2026-11-06 03:00", "2026-11-10 02:58", false},
		{"02:58-03:02", "2026-11-06 03:00", "2026-11-10 12:00", true},
	}
	for _, test := range tests {
		timing := daily(t, "Africa/Nairobi", "202610")
		timing.Hours = hoursOf(t, test.hours)
		row := ledger.Planned{Key: keyOf(periodOf(t, "202610")), DueAt: clock(t, timing.Zone, test.due)}
		if got := timing.Overdue(row, clock(t, timing.Zone, test.now)); got != test.want {
			t.Errorf("hours %q, due at %s: overdue at %s: %v, want %v", test.hours, test.due, test.now, got, test.want)
		}
	}
}

func TestReplanFollowsTheSettings(t *testing.T) {
	before := daily(t, "Africa/Nairobi", "202610")
	at := func(text string) time.Time { return clock(t, before.Zone, text) }
	fresh := before.Missing(nil, keyOf(dhis2.Period{}), at("2026-11-01 00:00"))[0]
	running := before.Started(fresh, "s1", at("2026-11-10 03:00"))
	done := before.Started(fresh, "s1", at("2026-11-30 03:00"))
	if running.Done || !done.Done {
		t.Fatalf("running: %+v, done: %+v", running, done)
	}
	change := func(f func(*Timing)) Timing {
		after := before
		f(&after)
		return after
	}
	tests := []struct {
		name  string
		after Timing
		row   ledger.Planned
		now   string
		want  string
	}{
		{"nothing, not begun", before, fresh, "2026-11-03 00:00", "2026-11-06 03:00"},
		{"nothing, begun", before, running, "2026-11-10 12:00", "2026-11-11 03:00"},
		{"nothing, done", before, done, "2026-12-10 12:00", "done"},
		{"another time", change(func(s *Timing) { s.Schedule = cronOf(t, "30 4 * * *") }), running, "2026-11-10 12:00", "2026-11-10 04:30"},
		{"a rarer time", change(func(s *Timing) { s.Schedule = cronOf(t, "0 3 1 * *") }), running, "2026-11-10 12:00", "done"},
		{"later first", change(func(s *Timing) { s.FirstAfterDays = 8 }), fresh, "2026-11-03 00:00", "2026-11-09 03:00"},
		{"later first, already begun", change(func(s *Timing) { s.FirstAfterDays = 20 }), running, "2026-11-10 12:00", "2026-11-21 03:00"},
		{"first later than the window, long done", change(func(s *Timing) { s.FirstAfterDays = 45 }), done, "2027-11-10 12:00", "done"},
		{"a longer window opens a done one again", change(func(s *Timing) { s.RereadDays = 60 }), done, "2026-12-10 12:00", "2026-12-01 03:00"},
		{"a longer window that is over too", change(func(s *Timing) { s.RereadDays = 35 }), done, "2026-12-10 12:00", "done"},
		{"a shorter window", change(func(s *Timing) { s.RereadDays = 9 }), running, "2026-11-10 12:00", "done"},
		{"a lock", change(func(s *Timing) { s.ExpiryDays = 9 }), running, "2026-11-10 12:00", "done"},
		{"a lock, not begun", change(func(s *Timing) { s.ExpiryDays = 9 }), fresh, "2026-11-20 12:00", "2026-11-06 03:00"},
		{"hours", change(func(s *Timing) { s.Hours = hoursOf(t, "20:00-22:00") }), running, "2026-11-10 12:00", "2026-11-11 20:00"},
		{"no schedule", change(func(s *Timing) { s.Schedule = Cron{} }), running, "2026-11-10 12:00", "done"},
		{"no first period", change(func(s *Timing) { s.FirstPeriod = dhis2.Period{} }), running, "2026-11-10 12:00", "done"},
		{"a later first period", change(func(s *Timing) { s.FirstPeriod = periodOf(t, "202611") }), fresh, "2026-11-10 12:00", "done"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			now := at(test.now)
			row := test.after.Replan(test.row, now)
			got := row.DueAt.In(before.Zone).Format(onTheMinute)
			if row.Done {
				got = "done"
			}
			if got != test.want {
				t.Errorf("due at %s, want %s", got, test.want)
			}
			if again := test.after.Replan(row, now.Add(time.Minute)); again != row {
				t.Errorf("a second Replan gives another row: %+v, was %+v", again, row)
			}
			if back := before.Replan(row, now); back.Done != test.row.Done || !back.Done && back != before.Replan(test.row, now) {
				t.Errorf("with the old settings again: %+v, was %+v", back, test.row)
			}
			if row.StartedAt != test.row.StartedAt || row.Submission != test.row.Submission {
				t.Errorf("what began: %+v, was %+v", row, test.row)
			}
		})
	}
}

func TestWhatTheStoreGivesBackIsEqual(t *testing.T) {
	timing := daily(t, "Africa/Nairobi", "202610")
	timing.Jitter = 20 * time.Minute
	now := time.Now() // with a monotonic reading, and nanoseconds
	row := timing.Started(timing.Missing(nil, keyOf(dhis2.Period{}), clock(t, timing.Zone, "2026-11-01 00:00"))[0], "s", clock(t, timing.Zone, "2026-11-07 00:00").Add(123456789))
	stored := row
	stored.DueAt, stored.StartedAt = time.UnixMilli(row.DueAt.UnixMilli()).UTC(), time.UnixMilli(row.StartedAt.UnixMilli()).UTC()
	if stored != row || timing.Replan(stored, stored.StartedAt.Add(time.Hour)) != stored {
		t.Errorf("stored %+v, given %+v", stored, row)
	}
	if started := timing.Started(row, "s", now).StartedAt; started != time.UnixMilli(now.UnixMilli()).UTC() {
		t.Errorf("started at %v, want %v", started, now)
	}
}

func TestAClockThatRanAheadLosesNothing(t *testing.T) {
	timing := daily(t, "Africa/Nairobi", "202610")
	at := func(text string) time.Time { return clock(t, timing.Zone, text) }
	ahead, back := at("2027-11-15 09:00"), at("2026-11-15 09:00")
	rows := timing.Missing(nil, keyOf(dhis2.Period{}), ahead)
	if len(rows) != 13 {
		t.Fatalf("%d rows, want 13", len(rows))
	}
	for i := range rows {
		rows[i] = timing.Started(rows[i], "ahead", ahead)
	}
	for i := range rows {
		rows[i] = timing.Replan(rows[i], back)
		if timing.Due(rows[i], back) || timing.Overdue(rows[i], back) {
			t.Errorf("%s is due", rows[i].Period)
		}
		if again := timing.Replan(rows[i], back.Add(time.Hour)); again != rows[i] {
			t.Errorf("a second Replan gives another row: %+v, was %+v", again, rows[i])
		}
	}
	if missing := timing.Missing(rows, keyOf(dhis2.Period{}), back); missing != nil {
		t.Errorf("missing: %v", missing)
	}
	if got := rows[0].DueAt.In(timing.Zone).Format(onTheMinute); got != "2026-11-16 03:00" || rows[0].Done {
		t.Errorf("202610 is due at %s, done: %v", got, rows[0].Done)
	}
	if got := rows[1].DueAt.In(timing.Zone).Format(onTheMinute); got != "2026-12-06 03:00" || rows[1].Done {
		t.Errorf("202611 is due at %s, done: %v", got, rows[1].Done)
	}
	// The time comes, and the service asks long after it and replans before it asks.
	for text, want := range map[string]bool{"2026-12-06 02:59": false, "2026-12-06 03:00": true, "2026-12-09 12:00": true, "2027-03-01 00:00": true} {
		if row := timing.Replan(rows[1], at(text)); timing.Due(row, at(text)) != want {
			t.Errorf("202611 is due at %s: %v, want %v", text, !want, want)
		}
	}
	row := timing.Started(rows[1], "right", at("2026-12-06 03:00"))
	if got := row.DueAt.In(timing.Zone).Format(onTheMinute); got != "2026-12-07 03:00" {
		t.Errorf("202611 is next due at %s", got)
	}
}

func TestAClockThatRanAheadLosesNoTurnBehindTheWindow(t *testing.T) {
	timing := daily(t, "Africa/Nairobi", "202610")
	timing.Schedule, timing.RereadDays = cronOf(t, "0 3 20 * *"), 10
	row := timing.Missing(nil, keyOf(dhis2.Period{}), clock(t, timing.Zone, "2026-11-01 00:00"))[0]
	row = timing.Started(row, "ahead", clock(t, timing.Zone, "2027-11-15 09:00"))
	row = timing.Replan(row, clock(t, timing.Zone, "2026-11-03 00:00"))
	if got := row.DueAt.In(timing.Zone).Format(onTheMinute); got != "2026-11-20 03:00" || row.Done {
		t.Errorf("due at %s, done: %v", got, row.Done)
	}
}

func TestNothingBeginsBeforeItsDaysAreOverWhateverTheRowSays(t *testing.T) {
	timing := daily(t, "Africa/Nairobi", "202610")
	at := func(text string) time.Time { return clock(t, timing.Zone, text) }
	row := ledger.Planned{Key: keyOf(timing.FirstPeriod), DueAt: at("2026-11-02 03:00"), StartedAt: at("2027-11-15 09:00")}
	for text, want := range map[string]bool{"2026-11-03 09:00": false, "2026-11-05 23:59": false, "2026-11-06 00:00": true} {
		if got := timing.Due(row, at(text)); got != want {
			t.Errorf("due at %s: %v, want %v", text, got, want)
		}
	}
}

func TestAClockThatWasBehindDoublesNothing(t *testing.T) {
	timing := daily(t, "Africa/Nairobi", "202601")
	at := func(text string) time.Time { return clock(t, timing.Zone, text) }
	right, behind := at("2026-11-15 09:00"), time.Unix(0, 0)
	var rows []ledger.Planned
	for _, row := range timing.Missing(nil, keyOf(dhis2.Period{}), right) {
		rows = append(rows, timing.Started(row, "right", right))
	}
	if missing := timing.Missing(rows, keyOf(dhis2.Period{}), behind); missing != nil {
		t.Errorf("missing: %v", missing)
	}
	for _, row := range rows {
		wrong := timing.Replan(row, behind)
		if timing.Due(wrong, behind) {
			t.Errorf("%s is due behind", row.Period)
		}
		if timing.Due(wrong, right.Add(time.Minute)) {
			t.Errorf("%s is due again when the clock is right", row.Period)
		}
		if mended := timing.Replan(wrong, right.Add(time.Minute)); mended.Done != row.Done || !row.Done && mended != row {
			t.Errorf("mended: %+v, was %+v", mended, row)
		}
	}
}

func TestAClockThatIsSetBackALittleDoublesNoTurn(t *testing.T) {
	timing := daily(t, "Africa/Nairobi", "202610")
	row := timing.Missing(nil, keyOf(dhis2.Period{}), clock(t, timing.Zone, "2026-11-01 00:00"))[0]
	row = timing.Started(row, "s", clock(t, timing.Zone, "2026-11-06 03:10"))
	for _, now := range []string{"2026-11-06 02:50", "2026-11-06 03:00", "2026-11-06 03:05"} {
		if again := timing.Replan(row, clock(t, timing.Zone, now)); again != row || timing.Due(row, clock(t, timing.Zone, now)) {
			t.Errorf("at %s: %+v, was %+v", now, again, row)
		}
	}
}

func TestCronUsesEachTurnOnceWhateverTheClocksDo(t *testing.T) {
	tests := []struct {
		name, zone, cron, after string
		want                    []string
	}{
		{"no leaps", "Africa/Nairobi", "30 2 * * *", "2026-03-28T00:00:00Z", []string{"2026-03-28T23:30:00Z", "2026-03-29T23:30:00Z"}},
		{"spring, a time that is leapt over", "Europe/Berlin", "30 2 * * *", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"spring, times that meet", "Europe/Berlin", "*/30 2-3 29 3 *", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2027-03-29T00:00:00Z"}},
		{"autumn, a time that comes twice", "Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"autumn, between the two", "Europe/Berlin", "30 2 * * *", "2026-10-25T01:00:00Z", []string{"2026-10-26T01:30:00Z"}},
		{"autumn, after the second", "Europe/Berlin", "0 3 * * *", "2026-10-25T01:45:00Z", []string{"2026-10-25T02:00:00Z"}},
		{"autumn, each half hour", "Europe/Berlin", "*/30 * * * *", "2026-10-24T23:59:00Z", []string{"2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"}},
		{"spring, west of Greenwich", "America/New_York", "30 2 * * *", "2026-03-07T12:00:00Z", []string{"2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"}},
		{"autumn, west of Greenwich", "America/New_York", "30 1 * * *", "2026-10-31T12:00:00Z", []string{"2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"}},
		{"a leap of half an hour", "Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00:00Z", []string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
		{"half an hour twice", "Australia/Lord_Howe", "45 1 * * *", "2026-04-04T00:00:00Z", []string{"2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"}},
		{"a day without midnight", "Africa/Cairo", "0 0 * * *", "2026-04-23T12:00:00Z", []string{"2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"}},
		{"a midnight that comes twice", "Africa/Cairo", "30 23 * * *", "2026-10-29T12:00:00Z", []string{"2026-10-29T20:30:00Z", "2026-10-30T21:30:00Z"}},
		{"a day that never was", "Pacific/Apia", "0 12 * * *", "2011-12-30T00:00:00Z", []string{"2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"}},
		{"a zone of half an hour", "Asia/Kolkata", "0 3 * * *", "2026-03-28T00:00:00Z", []string{"2026-03-28T21:30:00Z"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, test.after)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for range test.want {
				at = cronOf(t, test.cron).after(at, zoneOf(t, test.zone))
				got = append(got, at.UTC().Format(time.RFC3339))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("turns (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHoursFollowTheClocksOverTheirLeaps(t *testing.T) {
	zone := zoneOf(t, "Europe/Berlin")
	tests := []struct{ hours, in, want string }{
		{"02:15-05:00", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"},
		{"02:15-02:45", "2026-03-29T00:30:00Z", "2026-03-30T00:15:00Z"},
		{"02:15-02:45", "2026-10-25T00:20:00Z", "2026-10-25T00:20:00Z"},
		{"02:15-02:45", "2026-10-25T00:50:00Z", "2026-10-25T01:15:00Z"},
		{"20:00-06:00", "2026-10-25T10:00:30Z", "2026-10-25T19:00:00Z"},
	}
	for _, test := range tests {
		in, _ := time.Parse(time.RFC3339, test.in)
		if got := hoursOf(t, test.hours).move(in.In(zone)).UTC().Format(time.RFC3339); got != test.want {
			t.Errorf("hours %s: %s becomes %s, want %s", test.hours, test.in, got, test.want)
		}
	}
}

func TestDaysFollowTheClocksOverTheirLeaps(t *testing.T) {
	timing := daily(t, "Africa/Cairo", "202604")
	timing.LastDay = func(dhis2.Period) time.Time { return time.Date(2026, 4, 23, 0, 0, 0, 0, time.UTC) }
	start := time.Date(2026, 4, 23, 22, 0, 0, 0, time.UTC) // 01:00 on the 24th: there is no midnight
	if timing.closed(timing.FirstPeriod, start.Add(-time.Second)) || !timing.closed(timing.FirstPeriod, start) {
		t.Error("the period is not over with the first second of the day")
	}
	timing.FirstAfterDays = 0
	if got := timing.open(timing.FirstPeriod); !got.Equal(start) {
		t.Errorf("it may be sent from %v on, want %v", got, start)
	}
}

func TestJitterIsTheKeysAndStaysWithinWhatIsAllowed(t *testing.T) {
	timing := daily(t, "Africa/Nairobi", "202610")
	timing.Jitter = 40 * time.Minute
	tests := []struct {
		name, cron, hours string
		reread, expiry    int
		at, most          string
	}{
		{name: "free", cron: "0 3 * * *", reread: 30, at: "2026-11-06 03:00", most: "2026-11-06 03:40"},
		{name: "the hours end", cron: "40 5 * * *", hours: "20:00-06:00", reread: 30, at: "2026-11-06 05:40", most: "2026-11-06 05:59"},
		{name: "the hours end at once", cron: "59 5 * * *", hours: "20:00-06:00", reread: 30, at: "2026-11-06 05:59", most: "2026-11-06 05:59"},
		{name: "the hours go over midnight", cron: "40 23 * * *", hours: "20:00-06:00", reread: 30, at: "2026-11-06 23:40", most: "2026-11-07 00:20"},
		{name: "the window ends", cron: "40 23 * * *", reread: 6, at: "2026-11-06 23:40", most: "2026-11-06 23:59"},
		{name: "the lock comes", cron: "50 23 * * *", reread: 30, expiry: 6, at: "2026-11-06 23:50", most: "2026-11-06 23:59"},
		{name: "a turn behind the window", cron: "0 3 * * *", reread: 2, at: "2026-11-06 03:00", most: "2026-11-06 03:40"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			timing := timing
			timing.Schedule, timing.Hours = cronOf(t, test.cron), hoursOf(t, test.hours)
			timing.RereadDays, timing.ExpiryDays = test.reread, test.expiry
			at, most := clock(t, timing.Zone, test.at), clock(t, timing.Zone, test.most)
			seen := map[time.Time]bool{}
			for i := range 200 {
				key := keyOf(timing.FirstPeriod)
				key.CHT = fmt.Sprint("county ", i)
				got := timing.first(key)
				if got.Before(at) || got.After(most) || at != most && !got.Before(most) {
					t.Fatalf("%s is due at %v, want it from %v to %v", key.CHT, got, at, most)
				}
				if again := timing.first(key); again != got {
					t.Fatalf("%s is due at %v, and then at %v", key.CHT, got, again)
				}
				seen[got] = true
			}
			if at != most && len(seen) < 100 {
				t.Errorf("200 keys begin at %d times", len(seen))
			}
		})
	}
	row := ledger.Planned{Key: keyOf(timing.FirstPeriod), DueAt: timing.first(keyOf(timing.FirstPeriod))}
	for range 20 {
		next := timing.Started(row, "s", row.DueAt.Add(10*time.Second))
		if next.DueAt.Sub(row.DueAt) != 24*time.Hour {
			t.Errorf("due at %v and then at %v", row.DueAt, next.DueAt)
		}
		row = next
	}
}

func TestNoTimingIsUnsafe(t *testing.T) {
	row := ledger.Planned{Key: keyOf(periodOf(t, "202610"))}
	now := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	if (Timing{}).Due(row, now) || (Timing{}).Overdue(row, now) || !(Timing{}).Started(row, "s", now).Done {
		t.Error("the zero Timing has something due")
	}
	plain := Timing{Schedule: cronOf(t, "0 3 * * *"), FirstPeriod: row.Period}
	if got := plain.Missing(nil, row.Key, now); len(got) != 2 || got[0].DueAt != time.Date(2026, 11, 1, 3, 0, 0, 0, time.UTC) {
		t.Errorf("without a zone and a last day: %v", got)
	}
}

// TestThreeYearsOfAService lets a service tick each half minute, with outages, and holds each start against the rules.
func TestThreeYearsOfAService(t *testing.T) {
	zones := []string{"Africa/Nairobi", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Africa/Cairo", "Australia/Lord_Howe", "Pacific/Kiritimati", "Pacific/Pago_Pago"}
	crons := []string{"0 3 * * *", "30 2 * * *", "0 */6 * * *", "15 1 * * 1", "0 0 5,20 * *", "*/20 4 * * *", "0 12 31 * *"}
	hours := []string{"", "20:00-06:00", "01:00-02:30", "09:00-17:00"}
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 7))
		pick := func(list []string) string { return list[random.IntN(len(list))] }
		timing := Timing{
			Schedule: cronOf(t, pick(crons)), Zone: zoneOf(t, pick(zones)), Hours: hoursOf(t, pick(hours)),
			FirstPeriod: periodOf(t, "202601"), FirstAfterDays: random.IntN(10), RereadDays: random.IntN(50),
			ExpiryDays: []int{0, 0, 3, 15, 40}[random.IntN(5)], Jitter: time.Duration(random.IntN(50)) * time.Minute,
			LastDay: monthsFrom([]int{1, 26, 31}[random.IntN(3)]),
		}
		if !t.Run(fmt.Sprintf("seed %d: %s in %s, hours %s", seed, timing.Schedule, timing.Zone, timing.Hours), func(t *testing.T) { simulate(t, timing, random) }) {
			return
		}
	}
}

func simulate(t *testing.T, timing Timing, random *rand.Rand) {
	const tick = 30 * time.Second
	begin, end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2029, 1, 1, 0, 0, 0, 0, time.UTC)
	down := func(at time.Time) time.Time { // when an outage that begins now is over
		if random.IntN(20) > 0 {
			return at
		}
		return at.Add(time.Duration(random.ExpFloat64() * float64(4*24*time.Hour)))
	}
	var rows []ledger.Planned
	starts := map[dhis2.Period]time.Time{}
	for now := begin; now.Before(end); {
		rows = append(rows, timing.Missing(rows, keyOf(dhis2.Period{}), now)...)
		for i := range rows {
			rows[i] = timing.Replan(rows[i], now)
			if !timing.Due(rows[i], now) {
				continue
			}
			checkStart(t, timing, rows[i], starts[rows[i].Period], now)
			starts[rows[i].Period] = now
			rows[i] = timing.Started(rows[i], "s", now)
		}
		next := now.Add(6 * time.Hour) // no later, as hours may have kept something
		for _, row := range rows {
			if !row.Done && row.DueAt.After(now) && row.DueAt.Before(next) {
				next = row.DueAt
			}
		}
		if !timing.Hours.allow(now.In(timing.Zone)) {
			if opens := timing.Hours.move(now.In(timing.Zone)); opens.Before(next) {
				next = opens
			}
		}
		now = down(next.Add(tick - time.Nanosecond).Truncate(tick))
	}
	for _, row := range rows {
		if due := timing.first(row.Key); starts[row.Period].IsZero() && due.Before(end.AddDate(0, 0, -40)) {
			t.Errorf("%s never began, it was due at %v", row.Period, due)
		}
	}
	if len(rows) < 35 {
		t.Errorf("%d periods were planned", len(rows))
	}
}

// checkStart holds a start against the rules in words of its own.
func checkStart(t *testing.T, timing Timing, row ledger.Planned, before, now time.Time) {
	t.Helper()
	date := func(at time.Time) string { return at.In(timing.Zone).Format(time.DateOnly) }
	last := timing.LastDay(row.Period)
	if first := last.AddDate(0, 0, 1+timing.FirstAfterDays).Format(time.DateOnly); date(now) < first {
		t.Errorf("%s begins on %s, before %s", row.Period, date(now), first)
	}
	if shown := now.In(timing.Zone).Format("15:04"); timing.Hours != (Hours{}) {
		from, to, _ := strings.Cut(timing.Hours.String(), "-")
		if in := from <= shown && shown < to; from < to && !in || from > to && shown >= to && shown < from {
			t.Errorf("%s begins at %s, outside %s", row.Period, shown, timing.Hours)
		}
	}
	if before.IsZero() {
		return
	}
	if end := last.AddDate(0, 0, timing.RereadDays).Format(time.DateOnly); date(now) > end {
		t.Errorf("%s is read again on %s, after its window, which ends on %s", row.Period, date(now), end)
	}
	lock := row.Period.Last().AddDate(0, 0, timing.ExpiryDays+1).Format(time.DateOnly)
	if timing.ExpiryDays > 0 && date(now) >= lock {
		t.Errorf("%s is read again on %s, and locked since %s", row.Period, date(now), lock)
	}
	twoBefore := row.Period.Last().AddDate(0, 0, timing.ExpiryDays-1).Format(time.DateOnly)
	turns := timing.Schedule.after(before, timing.Zone)
	if turns.After(now) && (timing.ExpiryDays == 0 || date(now) < twoBefore) {
		t.Errorf("%s began at %v and again at %v, and no turn came between", row.Period, before, now)
	}
}

func TestParseCronRefusesWithWhatToWrite(t *testing.T) {
	tests := map[string]string{
		"TZ=UTC":                         "no time zone",
		"TZ=UTC 0 3 * * *":               "no time zone",
		"CRON_TZ=Asia/Tokyo 0 3 * * *":   "no time zone",
		" TZ=":                           "no time zone",
		"@every 5m":                      `"*/15 * * * *"`,
		"@every":                         `"*/15 * * * *"`,
		"@daily":                         `"0 0 * * *"`,
		"@":                              `"0 0 * * *"`,
		"0 0 3 * * *":                    "leave out the seconds",
		"0 3 * *":                        "has 4 fields",
		"daily":                          "has 1 fields",
		"0 3 30 2 *":                     "never comes",
		"0 3 31 2,4,6,9,11 *":            "never comes",
		"60 3 * * *":                     `the minute is "60"`,
		"0 24 * * *":                     `the hour is "24"`,
		"0 3 0 * *":                      `the day of month is "0"`,
		"0 3 32 * *":                     `the day of month is "32"`,
		"0 3 * 13 *":                     `the month is "13"`,
		"0 3 * * 7":                      "0 is Sunday",
		"0 3 * * 5-1":                    `the day of week is "5-1"`,
		"0 3 * * *-5":                    `the day of week is "*-5"`,
		", 3 * * *":                      `the minute is ","`,
		"1, 3 * * *":                     `the minute is "1,"`,
		"*/0 3 * * *":                    `the minute is "*/0"`,
		"-1 3 * * *":                     `the minute is "-1"`,
		"0 three * * *":                  `the hour is "three"`,
		"0 3 L * *":                      `the day of month is "L"`,
		"99999999999999999999 3 * * *":   "the minute is",
		"0 3 * * * ; rm":                 "has 7 fields",
		"0/9223372036854775807/ 3 * * *": "the minute is",
	}
	for text, want := range tests {
		got, err := ParseCron(text)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "write") || !got.IsZero() {
			t.Errorf("ParseCron(%q): %v, want an error with %q", text, err, want)
		}
	}
}

func TestParseCronKeepsWhatWasWritten(t *testing.T) {
	tests := map[string]string{"0 3 * * *": "0 3 * * *", "  0  3\t* * MON-fri ": "0 3 * * MON-fri", "": "", "  ": "", "0 3 29 2 *": "0 3 29 2 *", "1/5 ? 1,15 */2 sun": "1/5 ? 1,15 */2 sun"}
	for text, want := range tests {
		got, err := ParseCron(text)
		if err != nil || got.String() != want || got.IsZero() != (want == "") {
			t.Errorf("ParseCron(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestParseHours(t *testing.T) {
	tests := []struct{ in, want, err string }{
		{"", "", ""},
		{"  ", "", ""},
		{"20:00-06:00", "20:00-06:00", ""},
		{" 8:30 - 17:00 ", "08:30-17:00", ""},
		{"20:00-24:00", "20:00-24:00", ""},
		{"20:00-00:00", "20:00-00:00", ""},
		{"00:00-24:00", "", ""},
		{"06:00-06:00", "", "begin when they end"},
		{"00:00-00:00", "", "begin when they end"},
		{"24:00-06:00", "", "no such time"},
		{"20:00-24:01", "", "no such time"},
		{"20:60-06:00", "", "no such time"},
		{"20-6", "", "from and to"},
		{"20:00", "", "from and to"},
		{"8pm-6am", "", "from and to"},
		{"20:00-06:00,12:00-13:00", "", "from and to"},
	}
	for _, test := range tests {
		got, err := ParseHours(test.in)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), "write") {
				t.Errorf("ParseHours(%q): %v, want an error with %q", test.in, err, test.err)
			}
			continue
		}
		if err != nil || got.String() != test.want {
			t.Errorf("ParseHours(%q) = %q, %v; want %q", test.in, got, err, test.want)
		}
		again, err := ParseHours(got.String())
		if diff := cmp.Diff(got, again, cmpopts.EquateComparable(Hours{})); diff != "" || err != nil {
			t.Errorf("%q read again: %v\n%s", got, err, diff)
		}
	}
}

func FuzzParseCron(f *testing.F) {
	for _, text := range []string{"0 3 * * *", "TZ=UTC", "CRON_TZ= ", "@every 1s", "0 3 30 2 *", "*/7 1-5 1,2,3 jan-dec ?", ", , , , ,", "0/9223372036854775807 * * * *", "*-* * * * *"} {
		f.Add(text)
	}
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCron(text)
		if err != nil || c.IsZero() {
			return
		}
		from := time.Date(2026, 10, 24, 23, 0, 0, 0, time.UTC)
		if at := c.after(from, zone); !at.After(from) || at.After(from.AddDate(8, 1, 0)) {
			t.Errorf("%q comes after %v at %v", text, from, at)
		}
		if again, err := ParseCron(c.String()); err != nil || again.String() != c.String() {
			t.Errorf("%q read again: %q, %v", c, again, err)
		}
	})
}

func FuzzParseHours(f *testing.F) {
	for _, text := range []string{"", "20:00-06:00", "0:00-24:00", "99:99-99:99", "1:00 - 2:00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseHours(text)
		if err != nil {
			return
		}
		if at := h.move(time.Date(2026, 10, 24, 23, 0, 30, 0, time.UTC)); !h.allow(at) {
			t.Errorf("%q does not hold %v", text, at)
		}
		if again, err := ParseHours(h.String()); err != nil || again != h {
			t.Errorf("%q read again: %q, %v", h, again, err)
		}
	})
}
