package dhis2

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PeriodType is a DHIS2 period type, by DHIS2's own name.
type PeriodType string

// The period types that can be sent.
const (
	Monthly   PeriodType = "Monthly"
	Quarterly PeriodType = "Quarterly"
	Yearly    PeriodType = "Yearly"
)

// Supported says whether periods of the type can be parsed and sent.
func (t PeriodType) Supported() bool { return t.months() > 0 }

// months is the length of a period, 0 for a type that is only known by name.
func (t PeriodType) months() int {
	switch t {
	case Monthly:
		return 1
	case Quarterly:
		return 3
	case Yearly:
		return 12
	default:
		return 0
	}
}

// Period is a span of the ISO calendar with a DHIS2 period id. The zero Period is no period. Periods may be compared
// with ==.
type Period struct {
	kind  PeriodType
	year  int
	month time.Month // the first one
}

// UnsupportedPeriodError is a well-formed period of a type that cannot be sent.
type UnsupportedPeriodError struct {
	ID   string
	Type PeriodType
}

func (e *UnsupportedPeriodError) Error() string {
	return fmt.Sprintf("period %q is of type %s, and only Monthly, Quarterly and Yearly are supported", e.ID, e.Type)
}

// The years that a period may be of. DHIS2 takes any four digits, but a period outside of these is a slip.
const (
	firstYear = 1900
	lastYear  = 2200
)

// shapes tells the types by the form of their ids (DHIS2 2.38 to 2.44; the later financial years from 2.42 and 2.43).
var shapes = []struct {
	kind PeriodType
	form *regexp.Regexp
}{
	{Monthly, regexp.MustCompile(`^(\d{4})-?(0[1-9]|1[0-2])$`)},
	{Quarterly, regexp.MustCompile(`^(\d{4})Q([1-4])$`)},
	{Yearly, regexp.MustCompile(`^(\d{4})$`)},
	{"Daily", regexp.MustCompile(`^\d{4}(-?)(0[1-9]|1[0-2])(-?)(0[1-9]|[12]\d|3[01])$`)},
	{"Weekly", regexp.MustCompile(`^\d{4}W\d{1,2}$`)},
	{"WeeklyWednesday", regexp.MustCompile(`^\d{4}WedW\d{1,2}$`)},
	{"WeeklyThursday", regexp.MustCompile(`^\d{4}ThuW\d{1,2}$`)},
	{"WeeklyFriday", regexp.MustCompile(`^\d{4}FriW\d{1,2}$`)},
	{"WeeklySaturday", regexp.MustCompile(`^\d{4}SatW\d{1,2}$`)},
	{"WeeklySunday", regexp.MustCompile(`^\d{4}SunW\d{1,2}$`)},
	{"BiWeekly", regexp.MustCompile(`^\d{4}BiW\d{1,2}$`)},
	{"BiMonthly", regexp.MustCompile(`^\d{4}0[1-6]B$`)},
	{"QuarterlyNov", regexp.MustCompile(`^\d{4}NovQ[1-4]$`)},
	{"SixMonthly", regexp.MustCompile(`^\d{4}S[12]$`)},
	{"SixMonthlyApril", regexp.MustCompile(`^\d{4}AprilS[12]$`)},
	{"SixMonthlyNov", regexp.MustCompile(`^\d{4}NovS[12]$`)},
	{"FinancialApril", regexp.MustCompile(`^\d{4}April$`)},
	{"FinancialJuly", regexp.MustCompile(`^\d{4}July$`)},
	{"FinancialOct", regexp.MustCompile(`^\d{4}Oct$`)},
	{"FinancialNov", regexp.MustCompile(`^\d{4}Nov$`)},
	{"FinancialSep", regexp.MustCompile(`^\d{4}Sep$`)},
	{"FinancialFeb", regexp.MustCompile(`^\d{4}Feb$`)},
	{"FinancialAug", regexp.MustCompile(`^\d{4}Aug$`)},
}

// ParsePeriod reads a period id. One of a type that cannot be sent is an *UnsupportedPeriodError.
func ParsePeriod(id string) (Period, error) {
	for _, shape := range shapes {
		parts := shape.form.FindStringSubmatch(id)
		if parts == nil {
			continue
		}
		if !shape.kind.Supported() {
			return Period{}, &UnsupportedPeriodError{ID: id, Type: shape.kind}
		}
		year, _ := strconv.Atoi(parts[1])
		if year < firstYear || year > lastYear {
			return Period{}, fmt.Errorf("period %q: the year must be from %d to %d", id, firstYear, lastYear)
		}
		number := 1
		if len(parts) > 2 {
			number, _ = strconv.Atoi(parts[2])
		}
		return Period{kind: shape.kind, year: year, month: time.Month((number-1)*shape.kind.months() + 1)}, nil
	}
	return Period{}, fmt.Errorf("%q is no period: a month is written as 202610, a quarter as 2026Q4, a year as 2026", id)
}

// UnmarshalText reads a period id as ParsePeriod does.
func (p *Period) UnmarshalText(id []byte) error {
	read, err := ParsePeriod(string(id))
	if err == nil {
		*p = read
	}
	return err
}

// String gives the period's DHIS2 id, in its one canonical form.
func (p Period) String() string {
	switch p.kind {
	case Monthly:
		return fmt.Sprintf("%04d%02d", p.year, int(p.month))
	case Quarterly:
		return fmt.Sprintf("%04dQ%d", p.year, (int(p.month)-1)/3+1)
	case Yearly:
		return fmt.Sprintf("%04d", p.year)
	default:
		return ""
	}
}

// Type is the period's type, empty for the zero Period.
func (p Period) Type() PeriodType { return p.kind }

// IsZero says that this is no period.
func (p Period) IsZero() bool { return p.kind == "" }

// First is the period's first day, at midnight UTC.
func (p Period) First() time.Time { return time.Date(p.year, p.month, 1, 0, 0, 0, 0, time.UTC) }

// Last is the period's last day, at midnight UTC.
func (p Period) Last() time.Time { return p.First().AddDate(0, p.kind.months(), -1) }

// Next is the period that follows.
func (p Period) Next() Period { return periodOf(p.kind, p.First().AddDate(0, p.kind.months(), 0)) }

// Previous is the period before.
func (p Period) Previous() Period { return periodOf(p.kind, p.First().AddDate(0, -1, 0)) }

// Before says whether the period begins before another one does.
func (p Period) Before(other Period) bool { return p.First().Before(other.First()) }

// IsFuture says whether the period was not over yet on the day of now, in now's own time zone.
func (p Period) IsFuture(now time.Time) bool {
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
	return !today.After(p.Last())
}

// LatestClosed is the last period of a type that was over on the day of now, in now's own time zone.
func LatestClosed(kind PeriodType, now time.Time) (Period, error) {
	if !kind.Supported() {
		return Period{}, fmt.Errorf("period type %q is not supported", kind)
	}
	return periodOf(kind, now).Previous(), nil
}

// periodOf is the period of a supported type in which a day lies.
func periodOf(kind PeriodType, day time.Time) Period {
	months := kind.months()
	return Period{kind: kind, year: day.Year(), month: time.Month((int(day.Month())-1)/months*months + 1)}
}

// CheckCalendar refuses a server whose period ids do not count in the ISO calendar: DHIS2 would store 202609 in
// another year without a word. Empty and gregorian count as ISO.
func CheckCalendar(calendar string) error {
	if slices.Contains([]string{"", "iso8601", "gregorian"}, strings.ToLower(calendar)) {
		return nil
	}
	return fmt.Errorf("the DHIS2 server uses the %s calendar: its period ids count other years and months than CHT's, and DHIS2 would store the values in the wrong period without an error", calendar)
}
