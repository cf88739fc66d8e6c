package orchestration

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// saysOf lets the CHT say these values of a month.
func (l *lateData) saysOf(period, values string) {
	type value struct {
		DataElement string          `json:"dataElement"`
		OrgUnit     string          `json:"orgUnit"`
		Value       json.RawMessage `json:"value"`
	}
	list := []value{}
	for text := range strings.FieldsSeq(values) {
		u, e, v := l.value(text)
		list = append(list, value{e, u, json.RawMessage(v)})
	}
	body, _ := json.Marshal(map[string]any{"dataSet": l.set, "period": period, "dataValues": list})
	l.cht.SetExport(l.set, period, body)
}

// goes submits a month of which the CHT says these values.
func (l *lateData) goes(t *testing.T, period, values string) Report {
	t.Helper()
	l.saysOf(period, values)
	r, err := l.Submit(t.Context(), Request{DataSet: l.set, Period: period, CHT: "county"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newMonths is lateData of which August has gone, with figures of a, b and c, and zeros of the facility o.
func newMonths(t *testing.T) *lateData {
	t.Helper()
	l := newFewData(t, "2.43.1")
	for _, v := range l.country.Right[l.set] {
		if l.letter(v.OrgUnit) == v.OrgUnit {
			l.ids["o"] = v.OrgUnit
			break
		}
	}
	l.DataSets[0].Rules.EmptyOrgUnits = mapping.SendEmpty
	if r := l.goes(t, "202608", "a.x=3 b.x=4 c.x=5 o.x=0"); r.State != ledger.Accepted {
		t.Fatalf("%s %q", r.State, r.Error)
	}
	l.DataSets[0].Rules.EmptyOrgUnits = mapping.DropEmpty
	l.DataSets[0].MostVanished = 50
	return l
}

func TestAMonthInWhichManyOrgUnitsHaveNothingWaitsForAPerson(t *testing.T) {
	for _, test := range []struct {
		name, says string
		prepare    func(l *lateData)
		held       string
	}{
		{name: "one of three is missing", says: "a.x=1 b.x=1"},
		{name: "two of three are missing", says: "a.x=1", held: "2 of 3 org units that had figures in 202608 have none now, or only zeros: "},
		{name: "two of three have zeros only", says: "a.x=1 b.x=0 b.z=0 c.x=0", held: "2 of 3 org units"},
		{name: "what cannot be read is no zero", says: "a.x=1 b.x=null c.x=0"},
		{name: "what was zero before is not missed", says: "a.x=1 b.x=1 o.x=0"},
		{name: "others have come", says: "a.x=1 o.x=7", held: "2 of 3 org units"},
		{name: "it is switched off", says: "a.x=1", prepare: func(l *lateData) { l.DataSets[0].MostVanished = 0 }},
		{name: "as many as the limit", says: "b.x=1", prepare: func(l *lateData) { l.DataSets[0].MostVanished = 67 }},
		{name: "a rule leaves them out", says: "a.x=1 b.x=4 c.x=4", prepare: func(l *lateData) { l.DataSets[0].Rules.ExcludeOrgUnits = []string{l.ids["b"], l.ids["c"]} }},
		{name: "they have not joined", says: "o.x=1", prepare: func(l *lateData) {
			first, _ := dhis2.ParsePeriod("202601")
			l.DataSets[0].Compare.LiveFrom = []LiveFrom{{l.ids["o"], first}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newMonths(t)
			if test.prepare != nil {
				test.prepare(l)
			}
			r := l.goes(t, "202609", test.says)
			told := strings.Contains(codes(r), "org_units_without_figures")
			if (r.State == ledger.Held) != (test.held != "") || told != (test.held != "") || !strings.Contains(r.Error, test.held) {
				t.Errorf("%s %q %s", r.State, r.Error, codes(r))
			}
			if test.held != "" && (!strings.Contains(r.Error, l.ids["c"]) || r.Remedy == "" || !strings.Contains(textOf(r, "org_units_without_figures"), "most_vanished")) {
				t.Errorf("%q, what to do: %q; %s", r.Error, r.Remedy, textOf(r, "org_units_without_figures"))
			}
		})
	}
}

func TestOrgUnitsThatAPersonHasLetGoAreNotAskedAboutAgain(t *testing.T) {
	l := newMonths(t)
	r := l.goes(t, "202609", "a.x=1")
	if r.State != ledger.Held {
		t.Fatalf("%s %q", r.State, r.Error)
	}
	if err := l.Reject(t.Context(), r.ID, "officer"); err != nil {
		t.Fatal(err)
	}
	if r = l.goes(t, "202609", "a.x=2"); r.State != ledger.Held {
		t.Fatalf("after it was rejected: %s %q", r.State, r.Error)
	}
	if err := l.Approve(t.Context(), r.ID, "officer"); err != nil {
		t.Fatal(err)
	}
	if r, err := l.Follow(t.Context(), r.ID); err != nil || r.State != ledger.Accepted {
		t.Fatalf("approved: %v %s", err, r.State)
	}
	r = l.goes(t, "202609", "a.x=3")
	if r.State != ledger.Accepted || !strings.Contains(codes(r), "org_units_without_figures:2") {
		t.Errorf("read again: %s %q %s", r.State, r.Error, codes(r))
	}
	// The month that follows is compared with this one.
	if r = l.goes(t, "202610", "a.x=3"); r.State != ledger.Accepted || codes(r) != "" {
		t.Errorf("the next month: %s %q %s", r.State, r.Error, codes(r))
	}
}

func TestWhatIsNoWholeSubmissionIsNotComparedWithTheMonthBefore(t *testing.T) {
	l := newMonths(t)
	l.saysOf("202609", "a.x=1")
	for name, request := range []Request{{DryRun: true}, {OrgUnits: []string{l.ids["a"]}}} {
		request.DataSet, request.Period, request.CHT = l.set, "202609", "county"
		r, err := l.Submit(t.Context(), request)
		if err != nil || r.State != ledger.Accepted {
			t.Errorf("request %d: %v %s %q", name, err, r.State, r.Error)
		}
	}
	// One org unit that went by itself is no month that a person has seen.
	if r := l.goes(t, "202609", "a.x=2"); r.State != ledger.Held {
		t.Errorf("%s %q", r.State, r.Error)
	}
}

// TestARunThatSentNothingIsNoMonthThatAPersonHasSeen asks although the period was submitted before, when nobody had synced.
func TestARunThatSentNothingIsNoMonthThatAPersonHasSeen(t *testing.T) {
	l := newMonths(t)
	if r := l.goes(t, "202609", "a.x=0 b.x=0 c.x=0"); r.State != ledger.Unchanged {
		t.Fatalf("%s %q", r.State, r.Error)
	}
	if r := l.goes(t, "202609", "a.x=1 b.x=0 c.x=0"); r.State != ledger.Held {
		t.Errorf("%s %q %s", r.State, r.Error, codes(r))
	}
}

func TestAChangeOfTheSettingsIsNamedBeforeTheMonthGoes(t *testing.T) {
	l := newFewData(t, "2.43.1")
	target := func(at int) *sandbox.CHTTarget { return &l.country.CHT.Settings.Tasks.Targets.Items[at] }
	change := func(edit func(s *sandbox.CHTSettings)) {
		l.cht.Change(func(d *sandbox.CHTDocuments) { edit(&d.Settings) })
	}
	if r := l.goes(t, "202607", "a.x=3 b.x=7"); codes(r) != "" {
		t.Fatalf("the first month has nothing to be compared with: %s", codes(r))
	}
	if r := l.goes(t, "202608", "a.x=3 b.x=7"); codes(r) != "" {
		t.Fatalf("nothing has changed: %s", codes(r))
	}
	first, second, third := target(0).ID, target(1).ID, target(2).ID
	change(func(s *sandbox.CHTSettings) {
		items := s.Tasks.Targets.Items
		items[0].DHIS = json.RawMessage(strings.TrimSuffix(string(items[0].DHIS), "}") + `,"categoryOptionCombo":"CocNewOne01"}`)
		items[1].DHIS = nil
		again := items[2]
		again.ID = "again"
		s.Tasks.Targets.Items = append(items[:len(items):len(items)], again)
		s.Tasks.Targets.Items[2], s.Tasks.Targets.Items[3] = s.Tasks.Targets.Items[3], s.Tasks.Targets.Items[2] // which is no change
		s.UHC.MonthStartDate = 26
	})
	has := func(r Report, want ...string) {
		t.Helper()
		var texts []string
		for _, i := range r.Issues {
			if i.Code == "cht_settings_changed" {
				texts = append(texts, i.Text)
				if i.Remedy == "" {
					t.Errorf("%q: nothing can be done", i.Text)
				}
			}
		}
		all := strings.Join(texts, "\n")
		if len(texts) != len(want) || strings.Contains(all, third+" ") {
			t.Errorf("told of:\n%s", all)
		}
		for _, text := range want {
			if !strings.Contains(all, text) {
				t.Errorf("%q is not told:\n%s", text, all)
			}
		}
	}
	want := []string{
		"since 202608: months begin on day 26, and began on day 1", "since 202608: target " + first + " adds to", "target " + second + " is gone", "target again is new",
	}
	// In a preview, by a dry run, when it goes and when it is read again.
	l.saysOf("202609", "a.x=3 b.x=7")
	p, err := l.Prepare(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "county"})
	if err != nil {
		t.Fatal(err)
	}
	has(p.Report(), want...)
	p.Close()
	if r, err := l.Submit(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "county", DryRun: true}); err != nil {
		t.Fatal(err)
	} else {
		has(r, want...)
	}
	has(l.goes(t, "202609", "a.x=3 b.x=7"), want...)
	has(l.goes(t, "202609", "a.x=3 b.x=8"), want...)
	// That the month before is read again now, with other settings than it went with, changes nothing.
	has(l.goes(t, "202608", "a.x=4 b.x=7"), strings.ReplaceAll(want[0], "202608", "202607"), want[2], want[3], "since 202607: target "+first)
	has(l.goes(t, "202609", "a.x=3 b.x=9"), want...)
	has(l.goes(t, "202610", "a.x=3 b.x=7"))
}
