package validation

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

var dialects = []dhis2.Dialect{dhis2.Legacy, dhis2.SetBased}

func month(t testing.TB, id string) dhis2.Period {
	t.Helper()
	period, err := dhis2.ParsePeriod(id)
	if err != nil {
		t.Fatal(err)
	}
	return period
}

func combo(isDefault bool, ids ...string) *dhis2.CategoryCombo {
	c := &dhis2.CategoryCombo{ID: "CcCombo0001", IsDefault: isDefault, Combos: map[string]*dhis2.CategoryOptionCombo{}}
	for _, id := range ids {
		c.Combos[id] = &dhis2.CategoryOptionCombo{ID: id}
	}
	return c
}

// goodFacts are facts with which value is good: a set with an element that has no categories, one that has an age, and one
// for each value type.
func goodFacts(t testing.TB, dialect dhis2.Dialect) Facts {
	t.Helper()
	standard, age := combo(true, dhis2.DefaultCombo), combo(false, "CocUnder5y1", "CocOver5yr1")
	age.Combos["CocHidden01"] = &dhis2.CategoryOptionCombo{ID: "CocHidden01", Name: "Hidden", ReadOnly: []string{"Over 90"}}
	set := &dhis2.DataSet{
		ID: "DsMonthly01", PeriodType: dhis2.Monthly, CanWrite: true, Combo: standard, DefaultCombo: dhis2.DefaultCombo, NoZeros: map[string]bool{"DeBirths001": true, "DeTEXT": true},
		Elements: map[string]*dhis2.Element{
			"DeBirths001": {ID: "DeBirths001", Name: "Births", ValueType: "INTEGER_ZERO_OR_POSITIVE", Combo: standard},
			"DeDeaths001": {ID: "DeDeaths001", ValueType: "INTEGER_ZERO_OR_POSITIVE", ZeroIsSignificant: true, Combo: standard},
			"DeCases0001": {ID: "DeCases0001", ValueType: "INTEGER", Combo: age},
			"DeColour001": {ID: "DeColour001", ValueType: "TEXT", Combo: standard, Options: map[string]bool{"RED": true}},
			"DeChoice001": {ID: "DeChoice001", ValueType: "INTEGER", Combo: standard, Options: map[string]bool{"5": true}},
		},
	}
	for _, kind := range []string{"INTEGER", "INTEGER_POSITIVE", "INTEGER_NEGATIVE", "INTEGER_ZERO_OR_POSITIVE", "NUMBER", "PERCENTAGE", "UNIT_INTERVAL", "BOOLEAN", "TRUE_ONLY", "DATE", "TEXT", "LONG_TEXT", "COORDINATE"} {
		set.Elements["De"+kind] = &dhis2.Element{ID: "De" + kind, ValueType: kind, Combo: standard}
	}
	f := Facts{
		Server: dhis2.Server{Version: string(dialect) + ".5", Dialect: dialect, Date: "2026-11-05T09:00:00.000", TimeZone: "Africa/Nairobi"},
		Set:    set, Period: month(t, "202610"),
		OrgUnits: assigned(dhis2.OrgUnit{ID: "OuClinic001", Name: "Clinic", Path: "/OuCountry01/OuClinic001", Opens: "2000-01-01T00:00:00.000"}),
	}
	f.User.Username, f.User.Authorities = "mediator", []string{"F_DATAVALUE_ADD"}
	capture(&f, "/OuCountry01")
	return f
}

// assigned are org units that a data set is assigned to.
func assigned(list ...dhis2.OrgUnit) *dhis2.OrgUnits {
	var units dhis2.OrgUnits
	for _, o := range list {
		units.Add(o)
	}
	return &units
}

// capture makes an org unit the account's only one.
func capture(f *Facts, path string) {
	f.User.OrgUnits = append(f.User.OrgUnits[:0:0], struct {
		ID   string `json:"id"`
		Path string `json:"path"`
	}{path[strings.LastIndex(path, "/")+1:], path})
}

func value(element, text string) mapping.Value {
	return mapping.Value{DataValue: dhis2.DataValue{DataElement: element, OrgUnit: "OuClinic001", Value: text}}
}

// codeOf gives the code of what is found of a value, empty for nothing.
func codeOf(f Facts, v mapping.Value) string {
	c := New(f)
	found := c.OrgUnit(v.OrgUnit)
	if found == nil {
		found = c.Value(&v)
	}
	switch {
	case found == nil:
		return ""
	case strings.Contains(found.Text, "%!") || found.Remedy == "":
		return fmt.Sprintf("%s with bad words: %+v", found.Code, *found)
	default:
		return found.Code
	}
}

func TestAGoodValueIsGood(t *testing.T) {
	for _, dialect := range dialects {
		f := goodFacts(t, dialect)
		if got := codeOf(f, value("DeBirths001", "7")); got != "" {
			t.Errorf("%s: %s", dialect, got)
		}
		if found := New(f).Issues(); len(found) > 0 {
			t.Errorf("%s: %v", dialect, found)
		}
	}
}

func TestIssuesOfTheWhole(t *testing.T) {
	both := func(code string) map[dhis2.Dialect]string {
		return map[dhis2.Dialect]string{dhis2.Legacy: code, dhis2.SetBased: code}
	}
	for _, test := range []struct {
		name   string
		change func(*Facts)
		want   map[dhis2.Dialect]string
	}{
		{"may not write", func(f *Facts) { f.Set.CanWrite = false }, both("blocking data_set_not_writable")},
		{"no right to add", func(f *Facts) { f.User.Authorities = []string{"F_DATAVALUE_ADDED", "F_EDIT_EXPIRED"} }, both("blocking authority_missing")},
		{"all rights", func(f *Facts) { f.User.Authorities = []string{"ALL"} }, both("")},
		{"no capture org unit", func(f *Facts) { f.User.OrgUnits = nil }, both("blocking capture_org_unit_missing")},
		{"no capture org unit and all rights", func(f *Facts) { f.User.OrgUnits, f.User.Authorities = nil, []string{"ALL"} },
			map[dhis2.Dialect]string{dhis2.Legacy: "blocking capture_org_unit_missing"}},
		{"another period type", func(f *Facts) { f.Set.PeriodType = dhis2.Quarterly }, both("blocking period_type")},
		{"no period", func(f *Facts) { f.Period = dhis2.Period{} }, both("")},
		{"no elements", func(f *Facts) { f.Set.Elements = nil }, both("blocking data_set_empty")},
		{"no org units", func(f *Facts) { f.OrgUnits = nil }, both("blocking data_set_not_assigned")},
		{"input periods", func(f *Facts) { f.Set.InputPeriods = []dhis2.InputPeriod{{Period: "202610"}} }, both("")},
		{"input periods of 2.43.0", func(f *Facts) {
			f.Server.Version, f.Set.InputPeriods = "2.43.0", []dhis2.InputPeriod{{Period: "202610"}}
		}, both("note input_periods_inverted")},
		{"input periods of 2.43.1", func(f *Facts) {
			f.Server.Version, f.Set.InputPeriods = "2.43.1", []dhis2.InputPeriod{{Period: "202610"}}
		}, both("note input_periods_inverted")},
		{"no input periods of 2.43.1", func(f *Facts) { f.Server.Version = "2.43.1" }, both("")},
		{"input periods of 2.43.2", func(f *Facts) {
			f.Server.Version, f.Set.InputPeriods = "2.43.2", []dhis2.InputPeriod{{Period: "202610"}}
		}, both("")},
		{"input periods of 2.43.10", func(f *Facts) {
			f.Server.Version, f.Set.InputPeriods = "2.43.10", []dhis2.InputPeriod{{Period: "202610"}}
		}, both("")},
	} {
		for _, dialect := range dialects {
			f := goodFacts(t, dialect)
			test.change(&f)
			var got []string
			for _, i := range New(f).Issues() {
				got = append(got, string(i.Severity)+" "+i.Code)
				if i.Text == "" || i.Remedy == "" || i.Count != 1 || strings.Contains(i.Text, "%!") {
					t.Errorf("%s on %s: %+v", test.name, dialect, i)
				}
			}
			if strings.Join(got, ", ") != test.want[dialect] {
				t.Errorf("%s on %s: got %q, want %q", test.name, dialect, got, test.want[dialect])
			}
		}
	}
}

func TestOrgUnits(t *testing.T) {
	with := func(u dhis2.OrgUnit) func(*Facts) {
		return func(f *Facts) {
			u.ID = "OuClinic001"
			f.OrgUnits = assigned(u)
		}
	}
	for _, test := range []struct {
		name         string
		change       func(*Facts)
		legacy, then string
	}{
		{"unknown", func(f *Facts) { f.OrgUnits = assigned() }, "org_unit_unknown", "org_unit_unknown"},
		{"known by other letters only", func(f *Facts) { f.OrgUnits = assigned(dhis2.OrgUnit{ID: "OuCLINIC001"}) }, "org_unit_unknown", "org_unit_unknown"},
		{"not assigned", func(f *Facts) { f.Others, f.OrgUnits = map[string]dhis2.OrgUnit{"OuClinic001": {}}, nil }, "org_unit_not_assigned", "org_unit_not_assigned"},
		{"outside", func(f *Facts) { capture(f, "/OuElsewhere") }, "org_unit_outside_hierarchy", "org_unit_outside_hierarchy"},
		{"outside, with all rights", func(f *Facts) { capture(f, "/OuElsewhere"); f.User.Authorities = []string{"ALL"} }, "org_unit_outside_hierarchy", ""},
		{"outside by one letter", func(f *Facts) { capture(f, "/OuCountry0") }, "org_unit_outside_hierarchy", "org_unit_outside_hierarchy"},
		{"the account's own", func(f *Facts) { capture(f, "/OuCountry01/OuClinic001") }, "", ""},
		{"above the account's own", func(f *Facts) { capture(f, "/OuCountry01/OuClinic001/OuRoom00001") }, "org_unit_outside_hierarchy", "org_unit_outside_hierarchy"},
		{"no path", with(dhis2.OrgUnit{}), "", ""},
		{"opens on the first day", with(dhis2.OrgUnit{Opens: "2026-10-01T00:00:00.000"}), "", ""},
		{"opens a day later", with(dhis2.OrgUnit{Opens: "2026-10-02T00:00:00.000"}), "org_unit_not_open_yet", "org_unit_not_open_yet"},
		{"closes on the first day", with(dhis2.OrgUnit{Closes: "2026-10-01T00:00:00.000"}), "", ""},
		{"closes a day before", with(dhis2.OrgUnit{Closes: "2026-09-30T00:00:00.000"}), "org_unit_closed", "org_unit_closed"},
		{"closes in another zone's evening", with(dhis2.OrgUnit{Closes: "2026-09-30T21:00:00.000Z"}), "", ""},
		{"dates that nobody can read", with(dhis2.OrgUnit{Opens: "tomorrow", Closes: "31/12/1999"}), "", ""},
		{"no period", func(f *Facts) {
			f.Period, f.OrgUnits = dhis2.Period{}, assigned(dhis2.OrgUnit{ID: "OuClinic001", Closes: "1999-12-31"})
		}, "", ""},
	} {
		for dialect, want := range map[dhis2.Dialect]string{dhis2.Legacy: test.legacy, dhis2.SetBased: test.then} {
			f := goodFacts(t, dialect)
			test.change(&f)
			if got := codeOf(f, value("DeBirths001", "1")); got != want {
				t.Errorf("%s on %s: got %q, want %q", test.name, dialect, got, want)
			}
		}
	}
}

func TestPeriods(t *testing.T) {
	input := func(opens, closes string) []dhis2.InputPeriod {
		return []dhis2.InputPeriod{{Period: "202609", Opens: "2020-01-01T00:00:00.000"}, {Period: "202610", Opens: opens, Closes: closes}}
	}
	for _, test := range []struct {
		name, period, today string
		change              func(*Facts)
		legacy, then        string
	}{
		{"the last day of ten", "202610", "2026-11-10T23:59:59.999", func(f *Facts) { f.Set.ExpiryDays = 10 }, "", ""},
		{"a day after ten", "202610", "2026-11-11T00:00:00.000", func(f *Facts) { f.Set.ExpiryDays = 10 }, "period_expired", "period_expired"},
		{"never expires", "200001", "2026-11-11T00:00:00.000", func(*Facts) {}, "", ""},
		{"a leap day is a day", "202402", "2024-03-01T08:00:00.000", func(f *Facts) { f.Set.ExpiryDays = 1 }, "", ""},
		{"a day after the day after a leap day", "202402", "2024-03-02T08:00:00.000", func(f *Facts) { f.Set.ExpiryDays = 1 }, "period_expired", "period_expired"},
		{"the day after the last day of a quarter", "2026Q3", "2026-10-02T08:00:00.000", func(f *Facts) { f.Set.ExpiryDays, f.Set.PeriodType = 1, dhis2.Quarterly }, "period_expired", "period_expired"},
		{"expired in the server's zone", "202610", "2026-11-10T21:00:00.000Z", func(f *Facts) { f.Set.ExpiryDays = 10 }, "period_expired", "period_expired"},
		{"not expired in the server's zone", "202610", "2026-11-11T02:59:00.000+0300", func(f *Facts) { f.Set.ExpiryDays, f.Server.TimeZone = 10, "Etc/UTC" }, "", ""},
		{"expired, with the right to edit", "202610", "2027-11-11T00:00:00.000", func(f *Facts) {
			f.Set.ExpiryDays, f.User.Authorities = 10, append(f.User.Authorities, "F_EDIT_EXPIRED")
		}, "", ""},
		{"expired, with all rights", "202610", "2027-11-11T00:00:00.000", func(f *Facts) { f.Set.ExpiryDays, f.User.Authorities = 10, []string{"ALL"} }, "", ""},
		{"expired, with a lock exception", "202610", "2027-11-11T00:00:00.000", func(f *Facts) {
			f.Set.ExpiryDays, f.Exceptions = 10, map[string]bool{"OuClinic001": true}
		}, "", ""},
		{"expired, with a lock exception of another", "202610", "2027-11-11T00:00:00.000", func(f *Facts) {
			f.Set.ExpiryDays, f.Exceptions = 10, map[string]bool{"OuClinic002": true}
		}, "period_expired", "period_expired"},

		{"over since midnight", "202610", "2026-11-01T00:00:00.000", func(*Facts) {}, "", ""},
		{"the last day", "202610", "2026-10-31T23:59:59.000", func(*Facts) {}, "period_too_early", "period_too_early"},
		{"the last day, with all rights", "202610", "2026-10-31T23:59:59.000", func(f *Facts) { f.User.Authorities = []string{"ALL"} }, "period_too_early", ""},
		{"the current one is open", "202610", "2026-10-01T00:00:00.000", func(f *Facts) { f.Set.OpenFuturePeriods = 1 }, "", ""},
		{"the next one is not", "202610", "2026-09-30T00:00:00.000", func(f *Facts) { f.Set.OpenFuturePeriods = 1 }, "period_too_early", "period_too_early"},
		{"the next one is open", "202701", "2026-12-01T00:00:00.000", func(f *Facts) { f.Set.OpenFuturePeriods = 2 }, "", ""},
		{"far more than there are", "202701", "2026-12-01T00:00:00.000", func(f *Facts) { f.Set.OpenFuturePeriods = 1 << 40 }, "", ""},
		{"too early, with the right to edit expired", "202610", "2026-10-31T00:00:00.000", func(f *Facts) { f.User.Authorities = append(f.User.Authorities, "F_EDIT_EXPIRED") }, "period_too_early", ""},
		{"too early, with a lock exception", "202610", "2026-10-31T00:00:00.000", func(f *Facts) { f.Exceptions = map[string]bool{"OuClinic001": true} }, "period_too_early", "period_too_early"},

		{"the input period's first moment", "202610", "2026-11-01T00:00:00.000", func(f *Facts) { f.Set.InputPeriods = input("2026-11-01T00:00:00.000", "2026-11-30T00:00:00.000") }, "", ""},
		{"the day before it", "202610", "2026-11-01T00:00:00.000", func(f *Facts) { f.Set.InputPeriods = input("2026-11-02T00:00:00.000", "2026-11-30T00:00:00.000") }, "input_period_closed", "input_period_closed"},
		{"its last day", "202610", "2026-11-30T23:00:00.000", func(f *Facts) { f.Set.InputPeriods = input("2026-11-01T00:00:00.000", "2026-11-30T00:00:00.000") }, "", ""},
		{"the day after", "202610", "2026-12-01T00:00:00.000", func(f *Facts) { f.Set.InputPeriods = input("2026-11-01T00:00:00.000", "2026-11-30T00:00:00.000") }, "input_period_closed", "input_period_closed"},
		{"no limits", "202610", "2026-12-01T00:00:00.000", func(f *Facts) { f.Set.InputPeriods = input("", "") }, "", ""},
		{"listed twice, and open in one", "202610", "2026-12-05T00:00:00.000", func(f *Facts) {
			f.Set.InputPeriods = append(input("2026-12-01", "2026-12-31"), input("2026-11-01", "2026-11-30")...)
		}, "", ""},
		{"not listed", "202608", "2026-11-05T00:00:00.000", func(f *Facts) { f.Set.InputPeriods = input("", "") }, "input_period_absent", "input_period_absent"},
		{"open as input, and expired", "202610", "2026-11-15T00:00:00.000", func(f *Facts) { f.Set.InputPeriods, f.Set.ExpiryDays = input("", ""), 10 }, "period_expired", ""},
		{"open as input, and too early", "202610", "2026-10-15T00:00:00.000", func(f *Facts) { f.Set.InputPeriods = input("", "") }, "period_too_early", ""},
		{"closed as input, with a lock exception", "202610", "2026-12-01T00:00:00.000", func(f *Facts) {
			f.Set.InputPeriods, f.Set.ExpiryDays, f.Exceptions = input("2026-11-01", "2026-11-30"), 10, map[string]bool{"OuClinic001": true}
		}, "input_period_closed", "input_period_closed"},
		{"open as input on 2.43.1", "202610", "2026-11-15T00:00:00.000", func(f *Facts) { f.Server.Version, f.Set.InputPeriods = "2.43.1", input("", "") }, "", ""},
		{"closed as input on 2.43.1", "202610", "2026-12-15T00:00:00.000", func(f *Facts) {
			f.Server.Version, f.Set.InputPeriods = "2.43.1", input("2026-11-01", "2026-11-30")
		}, "input_period_closed", "input_period_closed"},

		{"the server tells no date", "203001", "", func(f *Facts) { f.Set.ExpiryDays = 1 }, "", ""},
		{"a date alone", "202610", "2026-10-31", func(*Facts) {}, "period_too_early", "period_too_early"},
	} {
		for dialect, want := range map[dhis2.Dialect]string{dhis2.Legacy: test.legacy, dhis2.SetBased: test.then} {
			f := goodFacts(t, dialect)
			f.Period, f.Server.Date = month(t, test.period), test.today
			test.change(&f)
			c := New(f)
			found := c.OrgUnit("OuClinic001")
			switch {
			case found == nil && want != "" || found != nil && found.Code != want:
				t.Errorf("%s on %s: got %+v, want %q", test.name, dialect, found, want)
			case found != nil && (!found.Locks || found.Scope != OneOrgUnit || strings.Contains(found.Text, "%!")):
				t.Errorf("%s on %s: %+v, want one about an org unit that locks", test.name, dialect, found)
			}
			for _, i := range c.Issues() {
				if i.Severity == issue.Blocking {
					t.Errorf("%s on %s: %+v, want a period to block nothing", test.name, dialect, i)
				}
			}
		}
	}
}

func TestCombos(t *testing.T) {
	attributes := func(f *Facts) {
		f.Set.Combo, f.Set.DefaultCombo = combo(false, "CocProjectA", "CocProjectB"), ""
		f.Set.Combo.Combos["CocProjectB"].ReadOnly = []string{"Project B"}
	}
	overrides := func(f *Facts) { f.Set.Elements["DeBirths001"].Combo = f.Set.Elements["DeCases0001"].Combo }
	for _, test := range []struct {
		name, element, combo, attribute string
		change                          func(*Facts)
		want                            string
	}{
		{"not in the set", "DeUnknown01", "", "", nil, "data_element_not_in_data_set"},
		{"in the set by other letters only", "DeBIRTHS001", "", "", nil, "data_element_not_in_data_set"},
		{"default, given", "DeBirths001", dhis2.DefaultCombo, dhis2.DefaultCombo, nil, ""},
		{"one of the element's", "DeCases0001", "CocUnder5y1", "", nil, ""},
		{"by other letters", "DeCases0001", "CocUNDER5y1", "", nil, "category_option_combo_wrong"},
		{"of another", "DeCases0001", "CocProjectA", "", nil, "category_option_combo_wrong"},
		{"missing", "DeCases0001", "", "", nil, "category_option_combo_missing"},
		{"default for one that is disaggregated", "DeCases0001", dhis2.DefaultCombo, "", nil, "category_option_combo_missing"},
		{"given for one that is not", "DeBirths001", "CocUnder5y1", "", nil, "category_option_combo_unexpected"},
		{"not writable", "DeCases0001", "CocHidden01", "", nil, "category_option_combo_not_writable"},
		{"overridden by the set", "DeBirths001", "CocUnder5y1", "", overrides, ""},
		{"overridden by the set, and missing", "DeBirths001", "", "", overrides, "category_option_combo_missing"},
		{"combos not known", "DeBirths001", "CocUnder5y1", "CocProjectA", func(f *Facts) { f.Set.Elements["DeBirths001"].Combo, f.Set.Combo = nil, nil }, ""},
		{"attribute of a set without any", "DeBirths001", "", "CocProjectA", nil, "wrong_attribute_option_combo"},
		{"attribute", "DeBirths001", "", "CocProjectA", attributes, ""},
		{"attribute missing", "DeBirths001", "", "", attributes, "wrong_attribute_option_combo"},
		{"default attribute", "DeBirths001", "", dhis2.DefaultCombo, attributes, "wrong_attribute_option_combo"},
		{"attribute of another", "DeBirths001", "", "CocUnder5y1", attributes, "wrong_attribute_option_combo"},
		{"attribute not writable", "DeBirths001", "", "CocProjectB", attributes, "attribute_option_combo_not_writable"},
	} {
		for _, dialect := range dialects {
			f := goodFacts(t, dialect)
			if test.change != nil {
				test.change(&f)
			}
			v := value(test.element, "1")
			v.CategoryOptionCombo, v.AttributeOptionCombo = test.combo, test.attribute
			if got := codeOf(f, v); got != test.want {
				t.Errorf("%s on %s: got %q, want %q", test.name, dialect, got, test.want)
			}
			if v.Deleted = true; codeOf(f, v) != test.want {
				t.Errorf("%s on %s: want the same of a value that is taken away", test.name, dialect)
			}
		}
	}
}

func TestValueTypes(t *testing.T) {
	long := strings.Repeat("x", 50000)
	for _, test := range []struct{ kind, good, bad, later string }{
		// later are those that 2.43 and later take, and 2.42 does not.
		{"INTEGER", "0 1 -1 10 2147483647 -2147483648", "-0 01 +1 1.5 1e3 abc - 1,0 2147483648 99999999999999999999 NaN 0x1 1_0 . 5. .0 05.0", "5.0 5.00 -5.0 0.0"},
		{"INTEGER_POSITIVE", "1 7", "0 -1 1.1", "1.0"},
		{"INTEGER_NEGATIVE", "-1 -7", "0 1 -1.1", "-1.0"},
		{"INTEGER_ZERO_OR_POSITIVE", "0 1", "-1 1.1", "0.0"},
		{"NUMBER", "0 -0 1 -1 0.5 5.25 100.00 12345678901234567890", "1e3 1E3 01 +1 .5 5. 1,5 - NaN Infinity 1.2.3 --1", ""},
		{"PERCENTAGE", "0 50.5 100 100.0", "-1 101 100.1 1e1 x", ""},
		{"UNIT_INTERVAL", "0 0.5 1 1.0", "-0.1 1.1 2", ""},
		{"BOOLEAN", "true false TRUE False 1 0 t f T F", "2 ja on", "yes No y N"},
		{"TRUE_ONLY", "true", "false 0 x", ""},
		{"DATE", "2026-10-31 2024-02-29", "2026-02-29 2026-1-1 31-12-2026 20261031 7", ""},
		{"TEXT", "hello 7 " + long + " " + strings.Repeat("é", 50000), long + "x " + strings.Repeat("é", 50001) + " " + strings.Repeat("😀", 25001), ""},
		{"LONG_TEXT", "hello " + long, long + "x", ""},
		{"COORDINATE", "7", "", ""},
	} {
		for _, dialect := range dialects {
			f := goodFacts(t, dialect)
			judge := func(texts string, takes bool) {
				for text := range strings.FieldsSeq(texts) {
					if got := codeOf(f, value("De"+test.kind, text)); (got == "") != takes {
						t.Errorf("%s %.40q on %s: got %q, want it taken: %v", test.kind, text, dialect, got, takes)
					}
				}
			}
			judge(test.good, true)
			judge(test.bad, false)
			judge(test.later, dialect == dhis2.SetBased)
		}
	}
}

func TestValues(t *testing.T) {
	comment := func(v mapping.Value, length int) mapping.Value {
		v.Comment = strings.Repeat("x", length)
		return v
	}
	deleted := value("DeBirths001", "")
	deleted.Deleted, deleted.Comment = true, strings.Repeat("x", 60000)
	for _, test := range []struct {
		name         string
		value        mapping.Value
		comments     bool
		legacy, then string
	}{
		{"spaces", value("DeBirths001", " 5 "), false, "value_type", "value_type"},
		{"too long", value("DeTEXT", strings.Repeat("x", 50001)), false, "value_too_long", "value_too_long"},
		{"empty", value("DeBirths001", ""), false, "missing_value", "missing_value"},
		{"empty, where a comment may stand for it", value("DeBirths001", ""), true, "missing_value", "missing_value"},
		{"empty with a comment", comment(value("DeBirths001", ""), 1), false, "", "missing_value"},
		{"empty with a comment that stands for it", comment(value("DeBirths001", ""), 1), true, "", ""},
		{"taken away", deleted, false, "", ""},
		{"an option", value("DeColour001", "RED"), false, "", ""},
		{"an option in other letters", value("DeColour001", "red"), false, "value_not_an_option", "value_not_an_option"},
		{"no option", value("DeColour001", "BLUE"), false, "value_not_an_option", "value_not_an_option"},
		{"an option with a zero after the point", value("DeChoice001", "5.0"), false, "value_type", ""},
		{"a comment", comment(value("DeBirths001", "1"), 5000), false, "", ""},
		{"a long comment", comment(value("DeBirths001", "1"), 5001), false, "", "comment_too_long"},
		{"a very long comment", comment(value("DeBirths001", "1"), 50001), false, "comment_too_long", "comment_too_long"},
	} {
		for dialect, want := range map[dhis2.Dialect]string{dhis2.Legacy: test.legacy, dhis2.SetBased: test.then} {
			f := goodFacts(t, dialect)
			f.Set.NoValueRequiresComment = test.comments
			if got := codeOf(f, test.value); got != want {
				t.Errorf("%s on %s: got %q, want %q", test.name, dialect, got, want)
			}
		}
	}
}

func TestApprovals(t *testing.T) {
	for state, want := range map[string]string{
		"APPROVED_HERE": "data_approved", "APPROVED_ABOVE": "data_approved", "APPROVED_ELSEWHERE": "data_approved", "ACCEPTED_HERE": "data_approved", "ACCEPTED_ELSEWHERE": "data_approved",
		"UNAPPROVED_READY": "", "UNAPPROVED_ABOVE": "", "UNAPPROVED_WAITING": "", "UNAPPROVED_ELSEWHERE": "", "UNAPPROVABLE": "", "": "",
	} {
		for _, dialect := range dialects {
			f := goodFacts(t, dialect)
			f.Set.Combo, f.Set.DefaultCombo = combo(false, "CocProjectA", "CocProjectB"), ""
			f.Approvals = map[Approval]string{{"OuClinic001", "CocProjectA"}: state, {"OuClinic002", "CocProjectB"}: "APPROVED_HERE"}
			a, b := value("DeBirths001", "1"), value("DeBirths001", "1")
			a.AttributeOptionCombo, b.AttributeOptionCombo = "CocProjectA", "CocProjectB"
			if got := codeOf(f, a); got != want {
				t.Errorf("%s on %s: got %q, want %q", state, dialect, got, want)
			}
			if got := codeOf(f, b); got != "" {
				t.Errorf("%s on %s: got %q of another combo", state, dialect, got)
			}
		}
	}
	f := goodFacts(t, dhis2.SetBased)
	f.Approvals = map[Approval]string{{"OuClinic001", dhis2.DefaultCombo}: "APPROVED_HERE"}
	v := value("DeBirths001", "1")
	v.Deleted = true
	if found := New(f).Value(&v); found == nil || found.Code != "data_approved" || !found.Locks || found.Scope != OneOrgUnit {
		t.Errorf("got %+v of a value that is taken away, want one about the org unit that locks", found)
	}
}

func TestTheSameCellTwice(t *testing.T) {
	given := func(change func(*mapping.Value)) mapping.Value {
		v := value("DeBirths001", "2")
		change(&v)
		return v
	}
	for _, test := range []struct {
		name  string
		other mapping.Value
		want  bool
	}{
		{"the same", value("DeBirths001", "1"), true},
		{"another value", value("DeBirths001", "2"), true},
		{"the default combo given", given(func(v *mapping.Value) { v.CategoryOptionCombo = dhis2.DefaultCombo }), true},
		{"both default combos given", given(func(v *mapping.Value) { v.CategoryOptionCombo, v.AttributeOptionCombo = "CocDefault1", "CocDefault1" }), true},
		{"another combo", given(func(v *mapping.Value) { v.CategoryOptionCombo = "CocUnder5y1" }), false},
		{"another attribute", given(func(v *mapping.Value) { v.AttributeOptionCombo = "CocProjectA" }), false},
		{"another element", value("DeDeaths001", "1"), false},
		{"other letters", value("DeBIRTHS001", "1"), false},
		{"another org unit", given(func(v *mapping.Value) { v.OrgUnit = "OuClinic002" }), false},
	} {
		f := goodFacts(t, dhis2.SetBased)
		f.Set.DefaultCombo = "CocDefault1"
		c, v := New(f), value("DeBirths001", "1")
		there, back := c.Twice(&v, &test.other), c.Twice(&test.other, &v)
		if (there != nil) != test.want || (back != nil) != test.want {
			t.Errorf("%s: got %v and %v, want %v", test.name, there, back, test.want)
		}
		if there != nil && (there.Code != "duplicate_cell" || there.Scope != OneCell) {
			t.Errorf("%s: got %+v", test.name, there)
		}
	}
}

func TestZerosThatAreNotKept(t *testing.T) {
	taken := value("DeBirths001", "0")
	taken.Deleted = true
	for _, test := range []struct {
		name  string
		value mapping.Value
		want  bool
	}{
		{"zero", value("DeBirths001", "0"), true},
		{"zero with a point", value("DeBirths001", "0.00"), true},
		{"one", value("DeBirths001", "1"), false},
		{"ten", value("DeBirths001", "10"), false},
		{"a tenth", value("DeBirths001", "0.1"), false},
		{"nothing", value("DeBirths001", ""), false},
		{"taken away", taken, false},
		{"significant", value("DeDeaths001", "0"), false},
		{"text", value("DeTEXT", "0"), false},
		{"unknown", value("DeUnknown01", "0"), false},
	} {
		for _, dialect := range dialects {
			if got := New(goodFacts(t, dialect)).DropsZero(&test.value); got != (test.want && dialect == dhis2.Legacy) {
				t.Errorf("%s on %s: got %v", test.name, dialect, got)
			}
		}
	}
	got := New(goodFacts(t, dhis2.Legacy)).ZerosNotKept(7)
	if got.Code != "zeros_not_kept" || got.Count != 7 || got.Severity != issue.Note || !strings.Contains(got.Text, "2.42.5") {
		t.Errorf("got %+v", got)
	}
}

// TestFindingsAboutManyAreMadeOnce looks at ids that nobody knows: however many come, what is kept of them has a bound.
func TestFindingsAboutManyAreMadeOnce(t *testing.T) {
	c := New(goodFacts(t, dhis2.SetBased))
	v := value("DeUnknown01", "1")
	first := c.Value(&v)
	if again := c.Value(&v); again != first {
		t.Error("the same finding was made twice")
	}
	for i := range 3 * mostTold {
		other := value(fmt.Sprintf("De%09d", i), "1")
		if found := c.Value(&other); !strings.Contains(found.Text, other.DataElement) {
			t.Fatalf("got %+v of %s", found, other.DataElement)
		}
	}
	if len(c.told) > mostTold {
		t.Errorf("%d findings are kept", len(c.told))
	}
}

// TestAGoodValueCostsNoMemory holds for a month of any size.
func TestAGoodValueCostsNoMemory(t *testing.T) {
	for _, dialect := range dialects {
		f := goodFacts(t, dialect)
		f.Approvals = map[Approval]string{{"OuClinic002", ""}: "APPROVED_HERE"}
		c, v, after := New(f), value("DeBirths001", "0"), value("DeDeaths001", "12")
		if got := testing.AllocsPerRun(100, func() {
			if c.OrgUnit(v.OrgUnit) != nil || c.Value(&v) != nil || c.Twice(&v, &after) != nil {
				t.Fatal("it is not good")
			}
			c.DropsZero(&v)
		}); got > 0 {
			t.Errorf("%s: %v allocations", dialect, got)
		}
	}
}

// FuzzNumbers compares with the forms of numbers that DHIS2 has.
func FuzzNumbers(f *testing.F) {
	for _, seed := range []string{"", "0", "-0", "-", "01", "+1", "1e3", "2147483648", "-2147483648", "0.50", "1.", ".1", "5.0", "5.00x", "1_0", "٣"} {
		f.Add(seed)
	}
	integer, number := regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`), regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)
	zeros := regexp.MustCompile(`^([^.]*)\.0+$`)
	f.Fuzz(func(t *testing.T, text string) {
		_, err := strconv.ParseInt(text, 10, 32)
		if _, got := whole(text); got != (integer.MatchString(text) && err == nil) {
			t.Errorf("%q is whole: %v", text, got)
		}
		if got := isNumber(text); got != number.MatchString(text) {
			t.Errorf("%q is a number: %v", text, got)
		}
		if got, want := withoutZeros(text), zeros.ReplaceAllString(text, "$1"); got != want {
			t.Errorf("%q without zeros is %q, want %q", text, got, want)
		}
	})
}

var (
	codeInSource = regexp.MustCompile(`(?m)check = "(\w+)"`)
	codeInDocs   = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| \\S.* \\| \\S.* \\|.*\\|$")
)

// TestEveryCheckIsExplained compares the codes with those that the documentation has.
func TestEveryCheckIsExplained(t *testing.T) {
	source, err := os.ReadFile("codes.go")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile("../../docs/checks.md")
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]bool{}
	for _, found := range codeInSource.FindAllStringSubmatch(string(source), -1) {
		codes[found[1]] = true
		if text, remedy := check(found[1]).words(); text == found[1] || remedy == "" {
			t.Errorf("%s has no words", found[1])
		}
	}
	explained := map[string]bool{}
	for _, found := range codeInDocs.FindAllStringSubmatch(string(docs), -1) {
		explained[found[1]] = true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(codes)), slices.Sorted(maps.Keys(explained))); diff != "" {
		t.Errorf("docs/checks.md differs from the checks (-checks +docs):\n%s", diff)
	}
}
