package dhis2

import (
	"errors"
	"testing"
	"time"
)

func TestParsePeriod(t *testing.T) {
	tests := []struct {
		in, want    string
		kind        PeriodType
		first, last string
		next        string
	}{
		{"202601", "202601", Monthly, "2026-01-01", "2026-01-31", "202602"},
		{"2026-01", "202601", Monthly, "2026-01-01", "2026-01-31", "202602"},
		{"202402", "202402", Monthly, "2024-02-01", "2024-02-29", "202403"},
		{"202612", "202612", Monthly, "2026-12-01", "2026-12-31", "202701"},
		{"2026Q1", "2026Q1", Quarterly, "2026-01-01", "2026-03-31", "2026Q2"},
		{"2026Q4", "2026Q4", Quarterly, "2026-10-01", "2026-12-31", "2027Q1"},
		{"2026", "2026", Yearly, "2026-01-01", "2026-12-31", "2027"},
	}
	for _, test := range tests {
		p, err := ParsePeriod(test.in)
		if err != nil {
			t.Errorf("ParsePeriod(%q): %v", test.in, err)
			continue
		}
		if p.String() != test.want || p.Type() != test.kind {
			t.Errorf("ParsePeriod(%q) = %v of type %v, want %v of type %v", test.in, p, p.Type(), test.want, test.kind)
		}
		if got := p.First().Format(time.DateOnly); got != test.first {
			t.Errorf("%s begins on %s, want %s", p, got, test.first)
		}
		if got := p.Last().Format(time.DateOnly); got != test.last {
			t.Errorf("%s ends on %s, want %s", p, got, test.last)
		}
		if got := p.Next(); got.String() != test.next || got.Previous() != p {
			t.Errorf("after %s comes %s, and before that %s; want %s", p, got, got.Previous(), test.next)
		}
	}
}

func TestParsePeriodRefusesOtherTypesByName(t *testing.T) {
	tests := map[string]PeriodType{
		"20260131": "Daily", "2026-01-31": "Daily", "2026W5": "Weekly", "2026WedW5": "WeeklyWednesday",
		"2026ThuW5": "WeeklyThursday", "2026FriW5": "WeeklyFriday", "2026SatW5": "WeeklySaturday", "2026SunW5": "WeeklySunday",
		"2026BiW3": "BiWeekly", "202601B": "BiMonthly", "2026NovQ1": "QuarterlyNov", "2026S1": "SixMonthly",
		"2026AprilS1": "SixMonthlyApril", "2026NovS1": "SixMonthlyNov", "2026April": "FinancialApril", "2026July": "FinancialJuly",
		"2026Oct": "FinancialOct", "2026Nov": "FinancialNov", "2026Sep": "FinancialSep", "2026Feb": "FinancialFeb", "2026Aug": "FinancialAug",
	}
	for id, want := range tests {
		var unsupported *UnsupportedPeriodError
		if _, err := ParsePeriod(id); !errors.As(err, &unsupported) || unsupported.Type != want {
			t.Errorf("ParsePeriod(%q): %v, want it refused as %s", id, err, want)
		}
	}
}

func TestParsePeriodRefusesWhatIsNone(t *testing.T) {
	for _, id := range []string{"", "202613", "202600", "2026Q5", "2026Q0", "26", "20261", "latest", " 202601", "202601 ", "२०२६०१", "000001", "999901", "2026-1", "2026S3", "202607B"} {
		if p, err := ParsePeriod(id); err == nil {
			t.Errorf("ParsePeriod(%q) = %v, want an error", id, p)
		}
	}
}

func TestLatestClosed(t *testing.T) {
	tests := []struct {
		kind PeriodType
		now  string
		want string
	}{
		{Monthly, "2026-11-22T10:00:00Z", "202610"},
		{Monthly, "2026-11-01T00:00:00Z", "202610"},
		{Monthly, "2026-10-31T23:59:59Z", "202609"},
		{Monthly, "2026-01-15T00:00:00Z", "202512"},
		{Monthly, "2026-03-31T00:00:00Z", "202602"},
		{Quarterly, "2026-11-22T10:00:00Z", "2026Q3"},
		{Quarterly, "2026-02-01T00:00:00Z", "2025Q4"},
		{Yearly, "2026-12-31T23:00:00Z", "2025"},
	}
	for _, test := range tests {
		now, _ := time.Parse(time.RFC3339, test.now)
		got, err := LatestClosed(test.kind, now)
		if err != nil || got.String() != test.want {
			t.Errorf("LatestClosed(%s, %s) = %v, %v; want %s", test.kind, test.now, got, err, test.want)
		}
		if got.IsFuture(now) || !got.Next().IsFuture(now) {
			t.Errorf("at %s, %s is future: %v, and the next one: %v", test.now, got, got.IsFuture(now), got.Next().IsFuture(now))
		}
	}
	if _, err := LatestClosed("Weekly", time.Now()); err == nil {
		t.Error("LatestClosed took a type that is not supported")
	}
}

func TestCheckCalendar(t *testing.T) {
	for _, calendar := range []string{"iso8601", "gregorian", ""} {
		if err := CheckCalendar(calendar); err != nil {
			t.Errorf("CheckCalendar(%q): %v", calendar, err)
		}
	}
	for _, calendar := range []string{"ethiopian", "nepali", "coptic", "islamic", "julian", "persian", "thai", "martian"} {
		if err := CheckCalendar(calendar); err == nil {
			t.Errorf("CheckCalendar(%q) let it pass", calendar)
		}
	}
}

func FuzzParsePeriod(f *testing.F) {
	for _, id := range []string{"202601", "2026-01", "2026Q1", "2026", "2026W5", "2026July", ""} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		p, err := ParsePeriod(id)
		if err != nil {
			return
		}
		again, err := ParsePeriod(p.String())
		if err != nil || again != p {
			t.Errorf("%q became %v, which became %v, %v", id, p, again, err)
		}
		if p.Last().Before(p.First()) || p.Next().Previous() != p {
			t.Errorf("%v is from %v to %v, followed by %v", p, p.First(), p.Last(), p.Next())
		}
	})
}

func TestIsUID(t *testing.T) {
	for id, want := range map[string]bool{
		"DeBirths001": true, "abcdefghijk": true, "ABCDEFGHIJK": true, "a0123456789": true,
		"": false, "1eBirths001": false, "DeBirths01": false, "DeBirths0012": false, "DeBirths-01": false, "DeBirths 01": false, "DeBirthsé1": false, "DeBirths0@1": false, "DeBirths0[1": false,
	} {
		if IsUID(id) != want {
			t.Errorf("IsUID(%q) = %v", id, !want)
		}
	}
}
