package sandbox

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"time"
)

// dhis2PeriodKind is a period type of DHIS2.
type dhis2PeriodKind struct {
	name string
	// months or days is the length of a period.
	months, days int
	// first is the month, counted from 0, in which the first period of a year begins; negative is in the year before.
	first int
	// weekday is the first day of a week.
	weekday time.Weekday
	// pattern has groups for the year and for the number in the year; format makes an id of them.
	pattern *regexp.Regexp
	format  string
}

// dhis2PeriodKinds are the period types. A daily id is read before a monthly one.
var dhis2PeriodKinds = []*dhis2PeriodKind{
	{name: "Daily", days: 1, pattern: regexp.MustCompile(`^(\d{4})(?:(\d{2})(\d{2})|-(\d{2})-(\d{2}))$`)},
	weekKind("Weekly", "W", time.Monday), weekKind("WeeklyWednesday", "WedW", time.Wednesday),
	weekKind("WeeklyThursday", "ThuW", time.Thursday), weekKind("WeeklyFriday", "FriW", time.Friday),
	weekKind("WeeklySaturday", "SatW", time.Saturday), weekKind("WeeklySunday", "SunW", time.Sunday),
	{name: "BiWeekly", days: 14, weekday: time.Monday, pattern: regexp.MustCompile(`^(\d{4})BiW(\d{1,2})$`), format: "%04[1]dBiW%[2]d"},
	monthKind("Monthly", 1, 0, `-?(\d{2})`, "%02[2]d"), monthKind("BiMonthly", 2, 0, `(\d{2})B`, "%02[2]dB"),
	monthKind("Quarterly", 3, 0, `Q(\d)`, "Q%[2]d"), monthKind("QuarterlyNov", 3, -2, `NovQ(\d)`, "NovQ%[2]d"),
	monthKind("SixMonthly", 6, 0, `S(\d)`, "S%[2]d"), monthKind("SixMonthlyApril", 6, 3, `AprilS(\d)`, "AprilS%[2]d"),
	monthKind("SixMonthlyNov", 6, -2, `NovS(\d)`, "NovS%[2]d"),
	monthKind("Yearly", 12, 0, "", ""), monthKind("FinancialFeb", 12, 1, "Feb", "Feb"),
	monthKind("FinancialApril", 12, 3, "April", "April"), monthKind("FinancialJuly", 12, 6, "July", "July"),
	monthKind("FinancialAug", 12, 7, "Aug", "Aug"), monthKind("FinancialSep", 12, 8, "Sep", "Sep"),
	monthKind("FinancialOct", 12, 9, "Oct", "Oct"), monthKind("FinancialNov", 12, -2, "Nov", "Nov"),
}

func weekKind(name, letters string, weekday time.Weekday) *dhis2PeriodKind {
	return &dhis2PeriodKind{
		name: name, days: 7, weekday: weekday,
		pattern: regexp.MustCompile(`^(\d{4})` + letters + `(\d{1,2})$`), format: "%04[1]d" + letters + "%[2]d",
	}
}

func monthKind(name string, months, first int, pattern, format string) *dhis2PeriodKind {
	return &dhis2PeriodKind{
		name: name, months: months, first: first,
		pattern: regexp.MustCompile(`^(\d{4})` + pattern + `$`), format: "%04[1]d" + format,
	}
}

// dhis2Period is a period, with its days in the Gregorian calendar. The zero value is no period.
type dhis2Period struct {
	id         string
	kind       *dhis2PeriodKind
	calendar   *dhis2Calendar
	month      int
	start, end time.Time
}

// parseDHIS2Period reads the id of a period; its type follows from the shape of the id alone. The numbers in it are
// those of the calendar.
func parseDHIS2Period(id string, calendar *dhis2Calendar) (dhis2Period, bool) {
	for _, kind := range dhis2PeriodKinds {
		found := kind.pattern.FindStringSubmatch(id)
		if found == nil {
			continue
		}
		numbers := []int{}
		for _, group := range found[1:] {
			if group != "" {
				number, _ := strconv.Atoi(group)
				numbers = append(numbers, number)
			}
		}
		return kind.period(numbers, calendar)
	}
	return dhis2Period{}, false
}

// period gives the period of the year and the number in it.
func (k *dhis2PeriodKind) period(numbers []int, calendar *dhis2Calendar) (dhis2Period, bool) {
	year := numbers[0]
	if k.name == "Daily" {
		start := calendar.monthStart(year*12+numbers[1]-1).AddDate(0, 0, numbers[2]-1)
		p := k.at(start, calendar)
		return p, numbers[1] >= 1 && numbers[1] <= 12 && numbers[2] >= 1 && !start.After(calendar.monthEnd(year*12+numbers[1]-1))
	}
	number := 1
	if len(numbers) > 1 {
		number = numbers[1]
	}
	if k.months > 0 {
		return k.inMonth(year*12+k.first+(number-1)*k.months, calendar), number >= 1 && number <= 12/k.months
	}
	start := firstWeek(year, k.weekday).AddDate(0, 0, (number-1)*k.days)
	return k.at(start, calendar), number >= 1 && start.AddDate(0, 0, 3).Year() == year
}

// firstWeek gives the first day of the week that holds 4 January.
func firstWeek(year int, weekday time.Weekday) time.Time {
	day := time.Date(year, time.January, 4, 0, 0, 0, 0, time.UTC)
	return day.AddDate(0, 0, -int((day.Weekday()-weekday+7)%7))
}

// inMonth gives the period that begins with the month, counted from the year 0 on.
func (k *dhis2PeriodKind) inMonth(month int, calendar *dhis2Calendar) dhis2Period {
	year, rest := (month-k.first)/12, (month-k.first)%12
	return dhis2Period{
		id: fmt.Sprintf(k.format, year, rest/k.months+1), kind: k, calendar: calendar, month: month,
		start: calendar.monthStart(month), end: calendar.monthEnd(month + k.months - 1),
	}
}

// at gives the period of days that begins on the day.
func (k *dhis2PeriodKind) at(start time.Time, calendar *dhis2Calendar) dhis2Period {
	p := dhis2Period{kind: k, calendar: calendar, start: start, end: start.AddDate(0, 0, k.days-1)}
	if k.name == "Daily" {
		month := calendar.monthOf(start)
		p.id = fmt.Sprintf("%04d%02d%02d", month/12, month%12+1, int(start.Sub(calendar.monthStart(month)).Hours()/24)+1)
		return p
	}
	year := start.AddDate(0, 0, 3).Year()
	p.id = fmt.Sprintf(k.format, year, int(start.Sub(firstWeek(year, k.weekday)).Hours()/24)/k.days+1)
	return p
}

// shift gives the period that many periods later.
func (p dhis2Period) shift(periods int) dhis2Period {
	if p.kind.months > 0 {
		return p.kind.inMonth(p.month+periods*p.kind.months, p.calendar)
	}
	return p.kind.at(p.start.AddDate(0, 0, periods*p.kind.days), p.calendar)
}

// opened tells whether the period is open on the day when so many periods may be entered before they have ended.
func (p dhis2Period) opened(day time.Time, ahead int) bool { return p.shift(-ahead).end.Before(day) }

// latestOpen gives the last period before this one that is open on the day.
func (p dhis2Period) latestOpen(day time.Time, ahead int) dhis2Period {
	back := sort.Search(1<<20, func(back int) bool { return p.shift(-back).opened(day, ahead) })
	return p.shift(-back)
}

// dhis2Calendar counts years and months.
type dhis2Calendar struct {
	name string
	// monthStart gives the Gregorian first day of a month, counted from the year 0 on.
	monthStart func(month int) time.Time
	// monthDays is the length of each month where it is fixed.
	monthDays int
}

// dhis2CalendarOf gives the calendar of that name. Those of which nothing was recorded count as the Gregorian one
// does. The Nepali one is right to a day or two: its real table is long.
func dhis2CalendarOf(name string) *dhis2Calendar {
	switch name {
	case "ethiopian":
		return &dhis2Calendar{name: name, monthStart: ethiopianMonth, monthDays: 30}
	case "nepali":
		return &dhis2Calendar{name: name, monthStart: nepaliMonth}
	case "thai":
		return &dhis2Calendar{name: name, monthStart: func(month int) time.Time { return isoMonth(month - 543*12) }}
	case "":
		name = "iso8601"
	}
	return &dhis2Calendar{name: name, monthStart: isoMonth}
}

func isoMonth(month int) time.Time {
	return time.Date(month/12, time.Month(month%12+1), 1, 0, 0, 0, 0, time.UTC)
}

// ethiopianMonth counts from 29 August of the year 8 in the Julian calendar, which is 27 August in the Gregorian one.
func ethiopianMonth(month int) time.Time {
	year := month / 12
	return time.Date(8, time.August, 27, 0, 0, 0, 0, time.UTC).AddDate(0, 0, 365*(year-1)+year/4+30*(month%12))
}

// nepaliMonth takes the lengths which the months have in most years.
func nepaliMonth(month int) time.Time {
	year, rest := (month+120000)/12-10000, (month+120000)%12
	day := time.Date(year-57, time.April, 14, 0, 0, 0, 0, time.UTC)
	for _, days := range []int{31, 31, 32, 32, 30, 31, 30, 29, 30, 29, 30}[:max(rest, 0)] {
		day = day.AddDate(0, 0, days)
	}
	return day
}

// monthEnd gives the last day of a month.
func (c *dhis2Calendar) monthEnd(month int) time.Time {
	if c.monthDays > 0 {
		return c.monthStart(month).AddDate(0, 0, c.monthDays-1)
	}
	return c.monthStart(month+1).AddDate(0, 0, -1)
}

// monthOf gives the month that holds the day.
func (c *dhis2Calendar) monthOf(day time.Time) int {
	return sort.Search(12*10000, func(month int) bool { return c.monthStart(month + 1).After(day) })
}

// iso tells whether the calendar is one of the two that DHIS2 calls international.
func (c *dhis2Calendar) iso() bool { return slices.Contains([]string{"iso8601", "gregorian"}, c.name) }
