package orchestration

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

const periodValues = 10 * 6

// periodBench is a bench whose data set has another period type in DHIS2. What was counted in September 2026 was counted in each of
// the months, given as 2026-07, too.
func periodBench(t *testing.T, kind dhis2.PeriodType, first string, months ...string) *bench {
	t.Helper()
	country := sandbox.NewCountry(sandbox.CountryConfig{Seed: 5, Facilities: 10, DataSets: 1, Elements: 6, Period: "202609"})
	country.DHIS2.DataSets[0].PeriodType = string(kind)
	september := country.CHT.Targets
	country.CHT.Targets = nil
	for _, month := range months {
		for _, d := range september {
			d.ID = strings.Replace(d.ID, "~2026-09~", "~"+month+"~", 1)
			d.ReportingPeriod = month
			country.CHT.Targets = append(country.CHT.Targets, d)
		}
	}
	b := newBenchOf(t, "2.43.1", country)
	b.DataSets[0].FirstPeriod = periodOf(t, first)
	return b
}

// TestAMonthIsSilentOnlyWhereItIsSoForAll asks for one org unit after the other, of which all but one were silent in August.
func TestAMonthIsSilentOnlyWhereItIsSoForAll(t *testing.T) {
	b := periodBench(t, dhis2.Quarterly, "2026Q1", "2026-07", "2026-08", "2026-09")
	owner := b.country.CHT.Targets[0].Owner
	b.cht.Change(func(d *sandbox.CHTDocuments) {
		d.Targets = slices.DeleteFunc(slices.Clone(d.Targets), func(doc sandbox.CHTTargetDocument) bool {
			return doc.Owner != owner && doc.ReportingPeriod == "2026-08"
		})
	})
	asked := map[string]bool{}
	for _, v := range b.country.Right[b.set] {
		if asked[v.OrgUnit] {
			continue
		}
		asked[v.OrgUnit] = true
		r, err := b.Submit(t.Context(), Request{DataSet: b.set, Period: "2026Q3", CHT: "county", OrgUnits: []string{v.OrgUnit}, DryRun: true})
		if err != nil || strings.Contains(codes(r), "month_without_figures") {
			t.Errorf("%s: %s, %v", v.OrgUnit, codes(r), err)
		}
	}
}

func (b *bench) asks(t *testing.T, period string) Report {
	t.Helper()
	report, err := b.Submit(t.Context(), Request{DataSet: b.set, Period: period, CHT: "county"})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// holdsTimes makes sure that DHIS2 holds so many times what was counted in one month, all of it under the period.
func (b *bench) holdsTimes(t *testing.T, times int, period string) {
	t.Helper()
	held := map[string]string{}
	for _, v := range b.dhis2.Values() {
		if v.Period != period {
			t.Fatalf("DHIS2 holds a value of %s", v.Period)
		}
		held[v.OrgUnit+v.DataElement] = v.Value
	}
	for _, v := range b.country.Right[b.set] {
		n, err := strconv.Atoi(v.Value)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := held[v.OrgUnit+v.DataElement], strconv.Itoa(n*times); got != want {
			t.Fatalf("DHIS2 holds %q for %v, want %s", got, v, want)
		}
	}
	if len(held) != periodValues {
		t.Errorf("DHIS2 holds %d values, want %d", len(held), periodValues)
	}
}

func codesOf(r Report) (all []string) {
	for _, i := range r.Issues {
		all = append(all, i.Code)
	}
	return all
}

func yearOf(year int) (months []string) {
	for month := range 12 {
		months = append(months, fmt.Sprintf("%d-%02d", year, month+1))
	}
	return months
}

func TestAQuarterOrAYearIsTheSumOfItsMonths(t *testing.T) {
	tests := []struct {
		name          string
		kind          dhis2.PeriodType
		first, period string
		months        []string
		want          string
		silent        []string
		fromTargets   bool
	}{
		{name: "a quarter, from target documents", fromTargets: true, kind: dhis2.Quarterly, first: "2026Q1", period: "2026Q3", months: []string{"2026-06", "2026-07", "2026-08", "2026-09", "2026-10"}},
		{name: "a year, from target documents", fromTargets: true, kind: dhis2.Yearly, first: "2025", period: "2025", months: append(yearOf(2025), "2024-12", "2026-01")},
		{name: "a quarter in a month of which there is no target document", fromTargets: true, kind: dhis2.Quarterly, first: "2026Q1", period: "2026Q3", months: []string{"2026-07", "2026-09"}, silent: []string{"202608"}},
		{name: "a quarter", kind: dhis2.Quarterly, first: "2026Q1", period: "2026Q3", months: []string{"2026-06", "2026-07", "2026-08", "2026-09", "2026-10"}},
		{name: "the quarter that closed last", kind: dhis2.Quarterly, first: "2026Q1", period: LatestClosed, want: "2026Q3", months: []string{"2026-07", "2026-08", "2026-09", "2026-10"}},
		{name: "a year", kind: dhis2.Yearly, first: "2025", period: "2025", months: append(yearOf(2025), "2024-12", "2026-01")},
		{name: "the year that closed last", kind: dhis2.Yearly, first: "2024", period: LatestClosed, want: "2025", months: yearOf(2025)},
		{name: "a quarter in a month of which nobody reported", kind: dhis2.Quarterly, first: "2026Q1", period: "2026Q3", months: []string{"2026-07", "2026-09"}, silent: []string{"202608"}},
		{name: "a quarter in which it began with the last month", kind: dhis2.Quarterly, first: "2026Q1", period: "2026Q3", months: []string{"2026-09"}, silent: []string{"202607", "202608"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := periodBench(t, tt.kind, tt.first, tt.months...)
			b.DataSets[0].FromTargets = tt.fromTargets
			report := b.asks(t, tt.period)
			if report.State != ledger.Accepted || report.Counts.Accepted != periodValues {
				t.Fatalf("%s %s: %+v", report.State, report.Error, report.Counts)
			}
			want := tt.want
			if want == "" {
				want = tt.period
			}
			if report.Period != want {
				t.Errorf("it was %s, want %s", report.Period, want)
			}
			times := 0
			for _, m := range monthsOf(periodOf(t, want)) {
				if slices.Contains(tt.months, fmt.Sprintf("%d-%02d", m.Year, m.Month)) {
					times++
				}
			}
			b.holdsTimes(t, times, want)
			var silent []string
			for _, i := range report.Issues {
				if i.Code == "month_without_figures" {
					silent = append(silent, i.Text)
				}
			}
			if len(silent) != len(tt.silent) {
				t.Fatalf("told of %q, want %q", silent, tt.silent)
			}
			for i, month := range tt.silent {
				if !strings.Contains(silent[i], "of "+month) {
					t.Errorf("told %q, want it to say %s", silent[i], month)
				}
			}
			if again := b.asks(t, tt.period); again.State != ledger.Unchanged || again.Counts.Unchanged != periodValues {
				t.Errorf("again: %s, %+v", again.State, again.Counts)
			}
		})
	}
}

func TestAPeriodIsSentOnlyWhereItsTypeFitsAndAllItsMonthsAreOver(t *testing.T) {
	tests := []struct {
		name          string
		kind          dhis2.PeriodType
		first, period string
		start         int
		code, says    string
	}{
		{name: "a quarter of which a month is not over", kind: dhis2.Quarterly, first: "2026Q1", period: "2026Q4", code: "period_not_closed", says: "2026-12-31"},
		{name: "a quarter of the CHT that ended earlier", kind: dhis2.Quarterly, first: "2026Q1", period: "2026Q4", start: 20, code: "period_not_closed", says: "2026-12-19"},
		{name: "a year that is not over", kind: dhis2.Yearly, first: "2026", period: "2026", code: "period_not_closed", says: "2026-12-31"},
		{name: "a quarter before the first", kind: dhis2.Quarterly, first: "2026Q3", period: "2026Q2", code: "before_first_period", says: "2026Q3"},
		{name: "a month of a quarterly data set", kind: dhis2.Quarterly, first: "2026Q1", period: "202609", code: "period_type", says: "Quarterly in DHIS2"},
		{name: "a quarterly data set that is configured as monthly", kind: dhis2.Quarterly, first: "202601", period: "2026Q3", code: "period_type", says: "makes it Monthly"},
		{name: "a monthly data set that is configured as quarterly", kind: dhis2.Monthly, first: "2026Q1", period: "2026Q3", code: "period_type", says: "makes it Quarterly"},
		{name: "half a year", kind: "SixMonthly", first: "2026Q1", period: "2026Q3", code: "period_type", says: "SixMonthly in DHIS2, and the CHT counts in months"},
		{name: "weeks", kind: "Weekly", first: "202601", period: LatestClosed, code: "period_type", says: "Weekly"},
		{name: "a financial year", kind: "FinancialJuly", first: "2026", period: "2025", code: "period_type", says: "FinancialJuly"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := periodBench(t, tt.kind, tt.first, "2026-07", "2026-08", "2026-09")
			if tt.start > 0 {
				b.country.CHT.Settings.UHC.MonthStartDate = tt.start
				b.cht = sandbox.NewCHT(sandbox.CHTConfig{Documents: b.country.CHT})
				b.from(b.cht)
			}
			report := b.asks(t, tt.period)
			if report.State != ledger.Refused || !slices.Contains(codesOf(report), tt.code) || !strings.Contains(report.Error, tt.says) || report.Remedy == "" {
				t.Errorf("%s %q (%q), %v; want %s, and %q", report.State, report.Error, report.Remedy, codesOf(report), tt.code, tt.says)
			}
			if len(b.dhis2.Values()) != 0 {
				t.Error("something was sent")
			}
		})
	}
}

// from lets the bench read from another server.
func (b *bench) from(server http.Handler) {
	basic := func(r *http.Request) { r.SetBasicAuth(b.country.CHTUsername, b.country.CHTPassword) }
	base := &url.URL{Scheme: "http", Host: "stand-in.test"}
	b.Sources["county"] = Source{Name: "county", Client: cht.New(base, inMemory{server, basic, 0})}
}

// The quarter of a CHT ends some days before DHIS2's where its months do.
func TestAQuarterEndsWithTheCHTsOwnMonth(t *testing.T) {
	b := periodBench(t, dhis2.Quarterly, "2026Q1", "2026-10", "2026-11", "2026-12")
	b.country.CHT.Settings.UHC.MonthStartDate = 20
	b.cht = sandbox.NewCHT(sandbox.CHTConfig{Documents: b.country.CHT})
	b.from(b.cht)
	for _, tt := range []struct{ now, want string }{
		{"2026-12-19T23:59:59Z", "2026Q3"}, {"2026-12-20T00:00:00Z", "2026Q4"}, {"2027-03-19T23:00:00Z", "2026Q4"}, {"2027-03-20T00:00:00Z", "2027Q1"},
	} {
		now, err := time.Parse(time.RFC3339, tt.now)
		if err != nil {
			t.Fatal(err)
		}
		got, err := latestClosed(&b.DataSets[0], &cht.Settings{MonthStartDate: 20}, now, time.UTC)
		if err != nil || got.String() != tt.want {
			t.Errorf("at %s the quarter that closed last is %s, want %s (%v)", tt.now, got, tt.want, err)
		}
	}
}

// changing lets the answers to some exports be others: those of which the number, counted from 1, is given.
func changing(server http.Handler, export int, change func([]byte) []byte) http.Handler {
	seen := 0
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v2/export") {
			seen++
		}
		if seen != export || !strings.HasPrefix(r.URL.Path, "/api/v2/export") {
			server.ServeHTTP(w, r)
			return
		}
		r.Header.Del("Accept-Encoding")
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, r)
		body := change(answer.Body.Bytes())
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write(body)
	})
}

func TestAnOrgUnitThatIsNotInAllMonthsStaysBehind(t *testing.T) {
	b := periodBench(t, dhis2.Quarterly, "2026Q1", "2026-07", "2026-08", "2026-09")
	unit, other := b.country.Right[b.set][0].OrgUnit, "OuElsewhere"
	b.from(changing(b.cht, 2, func(body []byte) []byte { return bytes.ReplaceAll(body, []byte(unit), []byte(other)) }))
	report := b.asks(t, "2026Q3")
	if report.State != ledger.PartlyAccepted || report.Counts.Accepted != periodValues-6 || report.Counts.Quarantined != 12 {
		t.Fatalf("%s %s: %+v", report.State, report.Error, report.Counts)
	}
	for _, v := range b.dhis2.Values() {
		if v.OrgUnit == unit || v.OrgUnit == other {
			t.Fatalf("DHIS2 holds %+v", v)
		}
	}
	if !slices.Contains(codesOf(report), "month_of_period_missing") {
		t.Errorf("told of %v", codesOf(report))
	}
	b.from(b.cht)
	if report := b.asks(t, "2026Q3"); report.State != ledger.Accepted {
		t.Errorf("the next time it is %s: %s", report.State, report.Error)
	}
	b.holdsTimes(t, 3, "2026Q3")
}

func TestAMonthThatCannotBeReadLetsNothingOfTheQuarterGo(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"cut":           func(body []byte) []byte { return body[:len(body)/2] },
		"another month": func(body []byte) []byte { return bytes.ReplaceAll(body, []byte(`"202608"`), []byte(`"202607"`)) },
		"nothing in it": func(body []byte) []byte {
			before, _, _ := bytes.Cut(body, []byte(`"dataValues":`))
			return append(before, `"dataValues":[]}`...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := periodBench(t, dhis2.Quarterly, "2026Q1", "2026-07", "2026-08", "2026-09")
			b.Wait = 0
			b.from(changing(b.cht, 2, change))
			report := b.asks(t, "2026Q3")
			if report.State != ledger.Failed || report.Reason != CHTUnavailable || !strings.Contains(report.Error, "202608") {
				t.Errorf("%s %s: %s", report.State, report.Reason, report.Error)
			}
			if len(b.dhis2.Values()) != 0 {
				t.Error("something was sent")
			}
		})
	}
}

// nepali lets a CHT say that it counts in Nepali months.
func nepali(server http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/settings" {
			server.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, r)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write(bytes.Replace(answer.Body.Bytes(), []byte(`{`), []byte(`{"uhc":{"visit_count":{"use_bikram_sambat_months":true}},`), 1))
	})
}

func TestMonthsOfTheNepaliCalendarAreRefused(t *testing.T) {
	for name, fromTargets := range map[string]bool{"by the documents alone": false, "by the documents alone, where they are the source": true} {
		t.Run(name, func(t *testing.T) {
			b := periodBench(t, dhis2.Monthly, "202601", "2083-05")
			b.DataSets[0].FromTargets = fromTargets
			report := b.asks(t, "202609")
			if report.State == ledger.Accepted || report.Reason != Configuration || !strings.Contains(report.Error, "2083-05") || !strings.Contains(report.Error, "Nepali") {
				t.Errorf("%s %s: %s", report.State, report.Reason, report.Error)
			}
			for _, contact := range b.country.CHT.Targets[:5] {
				if strings.Contains(report.Error, contact.Owner) || strings.Contains(report.Error, strings.TrimPrefix(contact.User, "org.couchdb.user:")) {
					t.Errorf("it names a worker: %s", report.Error)
				}
			}
		})
		t.Run("by the settings", func(t *testing.T) {
			b := periodBench(t, dhis2.Monthly, "202601", "2026-09")
			b.DataSets[0].FromTargets = fromTargets
			b.from(nepali(b.cht))
			report := b.asks(t, "202609")
			if report.State == ledger.Accepted || report.Reason != Configuration || !strings.Contains(report.Error, "Nepali") || len(b.dhis2.Values()) != 0 {
				t.Errorf("%s %s: %s", report.State, report.Reason, report.Error)
			}
		})
	}
	t.Run("not where nobody reported", func(t *testing.T) {
		b := periodBench(t, dhis2.Monthly, "202601", "2026-10")
		if report := b.asks(t, "202609"); report.State != ledger.Unchanged && report.State != ledger.Accepted || !slices.Contains(codesOf(report), "nothing_reported") {
			t.Errorf("%s %s: %s, %v", report.State, report.Reason, report.Error, codesOf(report))
		}
	})
}

func TestTheScheduleSendsAQuarterWhenItsLastMonthIsOver(t *testing.T) {
	tests := []struct {
		name, first, now string
		start            int
		want             []string // the periods that are missing, and when they are due first
	}{
		{"the last moment of a quarter", "2026Q1", "2026-03-31 23:59", 1, nil},
		{"a quarter is over", "2026Q1", "2026-04-01 00:00", 1, []string{"2026Q1 2026-04-06 03:00"}},
		{"three of a year are", "2026Q1", "2026-11-22 09:00", 1, []string{"2026Q1 2026-04-06 03:00", "2026Q2 2026-07-06 03:00", "2026Q3 2026-10-06 03:00"}},
		{"over the end of a year", "2026Q4", "2027-04-01 00:00", 1, []string{"2026Q4 2027-01-06 03:00", "2027Q1 2027-04-06 03:00"}},
		{"months that begin on the 26th", "2026Q1", "2026-03-26 00:00", 26, []string{"2026Q1 2026-03-31 03:00"}},
		{"the day before that", "2026Q1", "2026-03-25 23:59", 26, nil},
		{"a year", "2025", "2026-11-22 09:00", 1, []string{"2025 2026-01-06 03:00"}},
		{"a year of months that begin on the 26th", "2026", "2026-12-26 00:00", 26, []string{"2026 2026-12-31 03:00"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			timing := daily(t, "Africa/Nairobi", tt.first)
			timing.LastDay = monthsFrom(tt.start)
			now, err := time.ParseInLocation("2006-01-02 15:04", tt.now, timing.Zone)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range timing.Missing(nil, keyOf(dhis2.Period{}), now) {
				got = append(got, p.Period.String()+" "+p.DueAt.In(timing.Zone).Format("2006-01-02 15:04"))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A data set whose period type is changed leaves the list of what is due as it was of the other type.
func TestPeriodsOfAnotherTypeAreDueNoMore(t *testing.T) {
	for first, old := range map[string]string{"2026Q1": "202609", "2026": "202609", "202601": "2026Q3"} {
		timing := daily(t, "UTC", first)
		now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
		row := ledger.Planned{Key: keyOf(periodOf(t, old)), DueAt: now.Add(-time.Hour)}
		if !timing.Replan(row, now).Done || timing.Due(row, now) {
			t.Errorf("%s is due beside %s", old, first)
		}
	}
}

func TestMonthsOfAPeriod(t *testing.T) {
	for id, want := range map[string]string{
		"202602": "202602", "2026Q1": "202601 202602 202603", "2026Q4": "202610 202611 202612",
		"2026": "202601 202602 202603 202604 202605 202606 202607 202608 202609 202610 202611 202612",
	} {
		var got []string
		for _, m := range monthsOf(periodOf(t, id)) {
			got = append(got, m.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", id, got, want)
		}
	}
}

func TestARangeOfQuarters(t *testing.T) {
	got, err := Periods("2025Q4..2026Q2")
	if want := []string{"2025Q4", "2026Q1", "2026Q2"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if _, err := Periods("2026Q1..202606"); err == nil {
		t.Error("a range of two types is taken")
	}
}

// Locks and input periods of DHIS2 are those of the quarter.
func TestAQuarterIsLockedAndOpenedAsDHIS2Says(t *testing.T) {
	tests := []struct {
		name    string
		expiry  float64
		periods []sandbox.DHIS2InputPeriod
		state   ledger.State
		code    string
	}{
		{name: "locked ten days after its end", expiry: 10, state: ledger.Refused, code: "period_expired"},
		{name: "not locked yet", expiry: 90, state: ledger.Accepted},
		{name: "an input period of it", periods: []sandbox.DHIS2InputPeriod{{Period: sandbox.DHIS2Ref{ID: "2026Q3"}}}, state: ledger.Accepted},
		{name: "an input period of another one", periods: []sandbox.DHIS2InputPeriod{{Period: sandbox.DHIS2Ref{ID: "2026Q2"}}}, state: ledger.Refused, code: "input_period"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := periodBench(t, dhis2.Quarterly, "2026Q1", "2026-07", "2026-08", "2026-09")
			b.country.DHIS2.DataSets[0].ExpiryDays, b.country.DHIS2.DataSets[0].DataInputPeriods = tt.expiry, tt.periods
			b.sendTo("2.42.5")
			report := b.asks(t, "2026Q3")
			if report.State != tt.state || tt.code != "" && !strings.Contains(strings.Join(codesOf(report), " "), tt.code) {
				t.Errorf("%s %q, %v; want %s %s", report.State, report.Error, codesOf(report), tt.state, tt.code)
			}
		})
	}
}

// sendTo lets the bench send to a new DHIS2, which has the country's metadata as they are now.
func (b *bench) sendTo(version string) {
	b.dhis2 = sandbox.NewDHIS2(sandbox.DHIS2Config{
		Version: version, Metadata: b.country.DHIS2, Users: b.country.Users, Now: func() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC) },
	})
	token := func(r *http.Request) { r.Header.Set("Authorization", "ApiToken "+b.country.DHIS2Token) }
	b.Destinations["national"] = Destination{Name: "national", Client: dhis2.New(&url.URL{Scheme: "http", Host: "stand-in.test"}, inMemory{b.dhis2, token, 50 * time.Second}, 1)}
}

func TestADistrictJoinsWithAQuarter(t *testing.T) {
	for from, sent := range map[string]int{"2026Q3": periodValues, "2026Q4": 0} {
		b := periodBench(t, dhis2.Quarterly, "2026Q1", "2026-07", "2026-08", "2026-09")
		b.DataSets[0].Compare.LiveFrom = []LiveFrom{{OrgUnit: b.country.DHIS2.OrganisationUnits[0].ID, Period: periodOf(t, from)}}
		report := b.asks(t, "2026Q3")
		if c := report.Counts; c.Accepted != sent || c.Dropped != periodValues-sent || c.Fetched != periodValues {
			t.Errorf("from %s: %s %s, %+v", from, report.State, report.Error, c)
		}
	}
}

// What a rule leaves out is counted once for a cell, not once for each of its months.
func TestACellOfAQuarterCountsOnce(t *testing.T) {
	b := periodBench(t, dhis2.Quarterly, "2026Q1", "2026-07", "2026-08", "2026-09")
	b.DataSets[0].Rules.ExcludeOrgUnits = []string{b.country.Right[b.set][0].OrgUnit}
	report := b.asks(t, "2026Q3")
	if c := report.Counts; c.Fetched != periodValues || c.Dropped != 6 || c.Accepted != periodValues-6 {
		t.Errorf("%s %s: %+v", report.State, report.Error, c)
	}
	for _, r := range report.Rules {
		if r.Rule == "exclude_org_units" && r.Values != 6 {
			t.Errorf("the rule has touched %d values", r.Values)
		}
	}
}

func TestAQuarterMayTakeAsLongAsItsMonths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := periodBench(t, dhis2.Quarterly, "2026Q1", "2026-07", "2026-08", "2026-09")
		from := b.Sources["county"]
		from.Limit = time.Minute
		b.Sources["county"] = from
		b.cht.Fail(sandbox.Fault{Kind: sandbox.Latency, Path: "/api/v2/export", Delay: 50 * time.Second})
		if report := b.asks(t, "2026Q3"); report.State != ledger.Accepted {
			t.Errorf("%s %s", report.State, report.Error)
		}
	})
}

// What is held of a quarter waits for a person as long as the quarter is read again.
func TestAQuarterIsWaitedForUntilItsOwnWindowEnds(t *testing.T) {
	b := periodBench(t, dhis2.Quarterly, "2026Q1")
	b.DataSets[0].Operation.RereadDays = 60
	for period, want := range map[string]string{"2026Q3": "2026-11-30", "2026": "2027-03-02", "202609": "2026-11-30"} {
		sub := ledger.Submission{Request: ledger.Request{Key: ledger.Key{DataSet: b.set, Period: periodOf(t, period)}}}
		if got := b.windowEnd(sub).Format(time.DateOnly); got != want {
			t.Errorf("%s: got %s, want %s", period, got, want)
		}
	}
}

func TestAMonthIsNoMeasureOfAQuarter(t *testing.T) {
	b := periodBench(t, dhis2.Monthly, "202601", "2026-09")
	if report := b.asks(t, "202609"); report.State != ledger.Accepted {
		t.Fatal(report.State, report.Error)
	}
	for period, want := range map[string]bool{"202609": true, "202612": true, "2026Q3": false, "2026Q4": false, "2026": false, "2027": false} {
		key := ledger.Key{DHIS2: "national", DataSet: b.set, CHT: "county", Period: periodOf(t, period)}
		if _, _, found, err := b.Ledger.Before(t.Context(), key); err != nil || found != want {
			t.Errorf("%s: found %t, want %t (%v)", period, found, want, err)
		}
	}
}

func TestAQuarterOfWhichNothingWasAcceptedIsToldAsOne(t *testing.T) {
	n := newNewsroom(t)
	set := &n.DataSets[0]
	set.FirstPeriod = periodOf(t, "2026Q2")
	set.Operation = Operation{Enabled: true, Schedule: "0 3 * * *", NoticeAfterDays: 15}
	n.at = time.Date(2026, 10, 15, 9, 0, 0, 0, time.UTC)
	n.want(t, "before its day", n.look(t), "Nothing of MCH monthly 2026Q2 from CHT county was accepted")
	n.at = time.Date(2026, 10, 16, 9, 0, 0, 0, time.UTC)
	n.want(t, "on its day", n.lookFor(t, 61*time.Minute), "Nothing of MCH monthly 2026Q3 from CHT county was accepted")
	if text := n.read[len(n.read)-1].Text; !strings.Contains(text, "The quarter has been over for 15 days") || !strings.Contains(text, "--period 2026Q3") {
		t.Errorf("the text is\n%s", text)
	}
}
