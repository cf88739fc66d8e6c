package orchestration

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// coverageBench is the deployment of the recordings, read by its export, with a policy for the first data set.
func coverageBench(t *testing.T, policy CoveragePolicy, change ...func(*sandbox.CHTDocuments)) *recordedBench {
	t.Helper()
	b := newRecordedBench(t, change...)
	set := &b.DataSets[0]
	set.FromTargets, set.Coverage = false, policy
	set.Compare.LedgerOnly = true
	return b
}

// workersOf tells what is known of org units as "org unit seen/expected".
func workersOf(t *testing.T, b *recordedBench, set string) string {
	t.Helper()
	found, err := b.Coverage(t.Context(), Request{DataSet: set, Period: "202607", CHT: "county"})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, u := range found.Units {
		all = append(all, fmt.Sprintf("%s %d/%d", u.OrgUnit, u.Seen, u.Expected))
	}
	return strings.Join(all, ", ")
}

// without takes the documents of some owners away.
func withoutDocuments(owners ...string) func(*sandbox.CHTDocuments) {
	return func(d *sandbox.CHTDocuments) {
		d.Targets = slices.DeleteFunc(slices.Clone(d.Targets), func(one sandbox.CHTTargetDocument) bool { return slices.Contains(owners, one.Owner) })
	}
}

// result gives what became of an org unit.
func resultOf(r Report, orgUnit string) OrgUnitResult {
	for _, one := range r.Results {
		if one.OrgUnit == orgUnit {
			return one
		}
	}
	return OrgUnitResult{}
}

// TestCoverageIsThatOfTheReference compares with what an independent program found, from the documents and from their ids alone.
func TestCoverageIsThatOfTheReference(t *testing.T) {
	var reference struct {
		DataSets map[string]struct {
			Completeness []struct {
				OrgUnit      string
				Owners       int
				OldestUpdate string
			}
		}
	}
	content, err := os.ReadFile("../internal/sandbox/testdata/cht/reference-own-aggregate-2026-07.json")
	if err == nil {
		err = json.Unmarshal(content, &reference)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, fromTargets := range []bool{false, true} {
		b := newRecordedBench(t)
		for i := range b.DataSets {
			b.DataSets[i].FromTargets, b.DataSets[i].Coverage = fromTargets, CoveragePolicy{On: true}
		}
		for set, of := range reference.DataSets {
			report := b.july(t, set)
			if report.Coverage == nil {
				t.Fatalf("from targets %t: %s has no coverage: %s", fromTargets, set, report.Error)
			}
			found, err := b.Coverage(t.Context(), Request{DataSet: set, Period: "202607", CHT: "county"})
			if err != nil {
				t.Fatal(err)
			}
			got, want := map[string]string{}, map[string]string{}
			for _, u := range found.Units {
				if u.Seen+u.Others > 0 {
					got[u.OrgUnit] = fmt.Sprint(u.Seen+u.Others, u.Oldest)
				}
			}
			for _, u := range of.Completeness {
				if !fromTargets {
					u.OldestUpdate = ""
				}
				want[u.OrgUnit] = fmt.Sprint(u.Owners, u.OldestUpdate)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("from targets %t, %s, -want +got:\n%s", fromTargets, set, diff)
			}
			if stale := found.Totals.Stale; (stale != nil) != fromTargets || stale != nil && *stale != 1 {
				t.Errorf("from targets %t, %s: got %v stale", fromTargets, set, stale)
			}
			live, err := b.ReadCoverage(t.Context(), Request{DataSet: set, Period: "202607", CHT: "county"})
			if err != nil || live.Totals.Seen != found.Totals.Seen || live.Totals.Expected != found.Totals.Expected {
				t.Errorf("from targets %t, %s: asked now, got %+v, %v; want %+v", fromTargets, set, live.Totals, err, found.Totals)
			}
		}
	}
}

// TestTargetsThatPhonesLackAreTold finds the worker whose document has two targets of seven only.
func TestTargetsThatPhonesLackAreTold(t *testing.T) {
	b := newRecordedBench(t)
	b.DataSets[0].Coverage = CoveragePolicy{On: true}
	report := b.july(t, "DsMchMonth1")
	if len(report.Coverage.Missing) == 0 || report.Coverage.Missing[0] != (ledger.Missing{Target: "births-this-month", Workers: 1}) {
		t.Errorf("got %+v", report.Coverage)
	}
	for _, m := range report.Coverage.Missing {
		if m.Target == "deaths-this-month" {
			t.Errorf("every document has %s, and it is missing %d times", m.Target, m.Workers)
		}
	}
}

// TestThoseSeenBeforeAreExpected expects who was heard of in the three months before, and asks for those months once a week.
func TestThoseSeenBeforeAreExpected(t *testing.T) {
	earlier := func(d *sandbox.CHTDocuments) {
		for _, month := range []string{"2026-03", "2026-04"} {
			d.Targets = append(d.Targets, sandbox.CHTTargetDocument{
				ID: "target~" + month + "~chw-esther~org.couchdb.user:esther", Type: "target", User: "org.couchdb.user:esther", Owner: "chw-esther", ReportingPeriod: month,
				Targets: []sandbox.CHTTargetCount{}, UpdatedDate: 1782777600000,
			})
		}
		withoutDocuments2026(d, "2026-07", "chw-esther", "chw-azizi")
	}
	b := coverageBench(t, CoveragePolicy{On: true}, earlier)
	report := b.july(t, "DsMchMonth1")
	if got, want := workersOf(t, b, "DsMchMonth1"), "OuAmaniChu2 1/1, OuAmaniHC01 3/3, OuBarakaMch 1/1, OuDumaHC001 0/0, OuElimuHC01 2/3, OuFarasi001 1/1, OuFarasi002 1/1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if c := report.Coverage; c.OrgUnitsBelow != 1 || c.Threshold != 100 || c.Stale != nil || c.Seen != 9 || c.Expected != 10 {
		t.Errorf("got %+v", c)
	}
	ranges := func() int {
		asked, _ := b.meter.since()
		return len(slices.DeleteFunc(asked, func(s string) bool { return s != "range" }))
	}
	if n := ranges(); n != 4 {
		t.Errorf("the first time %d lists of ids were asked for, want those of 4 months", n)
	}
	b.july(t, "DsMchMonth1")
	if n := ranges(); n != 1 {
		t.Errorf("the second time %d lists of ids were asked for, want 1", n)
	}
	b.clock = b.clock.Add(heardAge)
	b.july(t, "DsMchMonth1")
	if n := ranges(); n != 4 {
		t.Errorf("a week later %d lists of ids were asked for, want 4", n)
	}
}

// withoutDocuments2026 takes the documents of some owners and a month away.
func withoutDocuments2026(d *sandbox.CHTDocuments, month string, owners ...string) {
	d.Targets = slices.DeleteFunc(slices.Clone(d.Targets), func(one sandbox.CHTTargetDocument) bool {
		return one.ReportingPeriod == month && slices.Contains(owners, one.Owner)
	})
}

// TestZerosGoWhereSomebodyHasSynced sends zeros that are true, and none that the export fills in.
func TestZerosGoWhereSomebodyHasSynced(t *testing.T) {
	b := coverageBench(t, CoveragePolicy{On: true}, func(d *sandbox.CHTDocuments) {
		for i := range d.Targets {
			if one := &d.Targets[i]; one.Owner == "chw-bahati" {
				one.Targets = slices.Clone(one.Targets)
				for j := range one.Targets {
					one.Targets[j].Value = &sandbox.CHTTargetValue{Pass: 0, Total: 0}
				}
			}
		}
	})
	b.DataSets[0].Rules.EmptyOrgUnits = mapping.SendReported
	report := b.july(t, "DsMchMonth1")
	synced, silent := resultOf(report, "OuBarakaMch"), resultOf(report, "OuDumaHC001")
	if synced.State != "accepted" || synced.Accepted == 0 || synced.Seen == nil || *synced.Seen != 1 {
		t.Errorf("where somebody has synced: got %+v", synced)
	}
	if silent.State != "dropped" || silent.Seen == nil || *silent.Seen != 0 {
		t.Errorf("where nobody has: got %+v", silent)
	}
	if at := slices.IndexFunc(report.Rules, func(r RuleUse) bool { return r.Rule == "empty_org_units" }); report.Rules[at].Setting != "reported" || report.Rules[at].Values != silent.Dropped {
		t.Errorf("got the rule %+v", report.Rules[at])
	}
}

// TestAnOrgUnitBelowTheMinimumIsHeldBackUntilEnoughHaveSynced holds one org unit back, not the others, and sends it by itself.
func TestAnOrgUnitBelowTheMinimumIsHeldBackUntilEnoughHaveSynced(t *testing.T) {
	b := coverageBench(t, CoveragePolicy{On: true, ExpectedTypes: []string{"chw"}, Minimum: 60})
	all := b.july(t, "DsMchMonth1")
	whole := resultOf(all, "OuElimuHC01").Accepted
	if all.Counts.Held != 0 || whole == 0 {
		t.Fatalf("got %+v", all.Counts)
	}

	// What was accepted stays where the phones are silent now, and is not taken for vanished.
	b = coverageBench(t, CoveragePolicy{On: true, ExpectedTypes: []string{"chw"}, Minimum: 60}, withoutDocuments("chw-eli", "chw-moved"))
	held := b.july(t, "DsMchMonth1")
	unit := resultOf(held, "OuElimuHC01")
	if unit.State != "held" || unit.Held != whole || *unit.Expected != 3 || *unit.Seen != 1 || !strings.HasPrefix(unit.Reason, "coverage_below_minimum") {
		t.Errorf("got %+v, want %d held", unit, whole)
	}
	if held.State != ledger.PartlyAccepted || held.Reason != LeftBehind || held.Counts.Held != whole || held.Counts.Accepted != all.Counts.Accepted-whole || held.Counts.Fetched != all.Counts.Fetched {
		t.Errorf("got %s, %s, %+v", held.State, held.Reason, held.Counts)
	}
	at := slices.IndexFunc(held.Issues, func(i issue.Issue) bool { return i.Code == "coverage_below_minimum" })
	if at < 0 || held.Issues[at].Count != whole || !strings.Contains(held.Issues[at].Text, "1 of 3 expected workers") || !strings.Contains(held.Issues[at].Remedy, "--org-unit OuElimuHC01") {
		t.Errorf("got %+v", held.Issues)
	}
	if got := b.holds("DeBirths001"); strings.Contains(got, "OuElimuHC01") || !strings.Contains(got, "OuAmaniHC01") {
		t.Errorf("DHIS2 holds %s", got)
	}

	b.cht.Change(func(d *sandbox.CHTDocuments) {
		for _, name := range []string{"eli", "moved"} {
			d.Targets = append(d.Targets, sandbox.CHTTargetDocument{
				ID: "target~2026-07~chw-" + name + "~org.couchdb.user:" + name, Type: "target", Owner: "chw-" + name, User: "org.couchdb.user:" + name, ReportingPeriod: "2026-07",
				Targets: []sandbox.CHTTargetCount{{ID: "births-this-month", Value: &sandbox.CHTTargetValue{Pass: 4, Total: 4}}}, UpdatedDate: 1785456000000,
			})
		}
	})
	later := b.july(t, "DsMchMonth1")
	if later.State != ledger.Accepted || later.Counts.Held != 0 || resultOf(later, "OuElimuHC01").Accepted != whole {
		t.Errorf("when they have synced: got %s, %+v, %+v", later.State, later.Counts, later.Issues)
	}

	b.cht.Change(withoutDocuments("chw-eli", "chw-moved", "chw-esther", "chw-bahati"))
	gone := b.july(t, "DsMchMonth1")
	if gone.State.Ended() == false || gone.Changes.Was != gone.Changes.Becomes || len(slices.DeleteFunc(gone.Issues, func(i issue.Issue) bool { return i.Code != "org_unit_fell_to_zero" })) > 0 {
		t.Errorf("when documents are gone: got %s (%s), %+v", gone.State, gone.Error, gone.Changes)
	}
	if got := b.holds("DeBirths001"); !strings.Contains(got, "OuElimuHC01=9") || !strings.Contains(got, "OuBarakaMch=4") {
		t.Errorf("DHIS2 holds %s", got)
	}
}

// TestAnOrgUnitBelowTheMinimumGoesByDateOrByName lets it go all the same, with a note.
func TestAnOrgUnitBelowTheMinimumGoesByDateOrByName(t *testing.T) {
	policy := CoveragePolicy{On: true, ExpectedTypes: []string{"chw"}, Minimum: 60, MinimumDays: 30}
	b := coverageBench(t, policy, withoutDocuments("chw-eli", "chw-moved"))
	send := func(orgUnits ...string) Report {
		report, err := b.Submit(t.Context(), Request{DataSet: "DsMchMonth1", Period: "202607", CHT: "county", OrgUnits: orgUnits})
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	b.clock = time.Date(2026, 8, 30, 23, 59, 0, 0, time.UTC)
	if r := send(); r.Counts.Held == 0 || r.State != ledger.PartlyAccepted {
		t.Errorf("on the day before: got %+v", r.Counts)
	}
	if r := send("OuElimuHC01"); r.Counts.Held > 0 || r.State != ledger.Accepted || !strings.Contains(foundCodes(r), "sent_below_minimum_coverage:1") {
		t.Errorf("by name: got %s, %+v, %s", r.State, r.Counts, foundCodes(r))
	}
	b = coverageBench(t, policy, withoutDocuments("chw-eli", "chw-moved"))
	b.clock = time.Date(2026, 8, 31, 0, 0, 0, 0, time.UTC)
	if r := send(); r.Counts.Held > 0 || r.State != ledger.Accepted || !strings.Contains(foundCodes(r), "sent_below_minimum_coverage:1") {
		t.Errorf("on the day: got %s, %+v, %s", r.State, r.Counts, foundCodes(r))
	}
}

// TestWhatIsHeldBackSaysUntilWhen names the last time at which somebody looks again: nothing is held for ever without a word.
func TestWhatIsHeldBackSaysUntilWhen(t *testing.T) {
	b := coverageBench(t, CoveragePolicy{On: true, ExpectedTypes: []string{"chw"}, Minimum: 60, MinimumDays: 20}, withoutDocuments("chw-eli", "chw-moved"))
	remedy := func(reread, expiry int, at string, schedule string) string {
		t.Helper()
		b.DataSets[0].Operation = Operation{Enabled: true, Schedule: schedule, RereadDays: reread}
		b.clock, _ = time.Parse(time.DateOnly, at)
		p := &Plan{parties: parties{set: b.DataSets[0], from: b.Sources["county"]}, period: periodOf(t, "202607")}
		p.minimum = b.minimumOf(p, p.period.Last(), expiry)
		return p.heldBack("OuElimuHC01", ledger.Workers{Seen: 1, Expected: 3}, 5).Remedy
	}
	const named = "mediator submit --org-unit OuElimuHC01"
	for _, test := range []struct {
		name, got, says, not string
	}{
		{"it is read again", remedy(30, 0, "2026-08-10", "0 3 * * *"), "or 20 days after the end of the period, whatever it is then, at a later run; the last one is before 2026-08-31 00:00", "nothing reads"},
		{"DHIS2 locks first", remedy(30, 15, "2026-08-10", "0 3 * * *"), "the last one is before 2026-08-16 00:00", "20 days"},
		{"the window is over", remedy(5, 0, "2026-08-10", "0 3 * * *"), "nothing reads the period again by itself", "a later run"},
		{"there is no schedule", remedy(30, 0, "2026-08-10", ""), "nothing reads the period again by itself", "a later run"},
	} {
		if !strings.Contains(test.got, test.says) || strings.Contains(test.got, test.not) || !strings.Contains(test.got, named) {
			t.Errorf("%s: %s", test.name, test.got)
		}
	}
}

// TestAllOrgUnitsMayBeHeldBack ends as partly accepted, as nothing was refused, and what is held goes by itself later.
func TestAllOrgUnitsMayBeHeldBack(t *testing.T) {
	b := coverageBench(t, CoveragePolicy{On: true, ExpectedTypes: []string{"chw"}, Minimum: 100}, func(d *sandbox.CHTDocuments) {
		for i, one := range d.Persons {
			one.ID += "-second"
			if i < 10 {
				d.Persons = append(d.Persons, one)
			}
		}
	})
	r := b.july(t, "DsMchMonth1")
	if r.State != ledger.PartlyAccepted || r.Counts.Accepted != 0 || r.Counts.Held == 0 || r.OrgUnits.Held != 6 || r.Coverage.OrgUnitsBelow != 6 {
		t.Errorf("got %s, %+v, %+v, %+v", r.State, r.Counts, r.OrgUnits, r.Coverage)
	}
}

// TestAnOrgUnitWithTooLittleCoverageIsNotComplete registers it when enough have synced, and takes that back when they fall away.
func TestAnOrgUnitWithTooLittleCoverageIsNotComplete(t *testing.T) {
	b := coverageBench(t, CoveragePolicy{On: true, ExpectedTypes: []string{"chw"}, Completeness: 60}, withoutDocuments("chw-eli", "chw-moved"))
	b.DataSets[0].Completeness = Completeness{WhenAccepted: true, Undo: true, Notify: NotifyNever}
	first := b.july(t, "DsMchMonth1")
	if first.State != ledger.Accepted || first.Completeness == nil || first.Completeness.Registered != 5 || !strings.Contains(foundCodes(first), "completeness_below_coverage:1") {
		t.Errorf("got %s, %+v, %s", first.State, first.Completeness, foundCodes(first))
	}
	b.cht.Change(func(d *sandbox.CHTDocuments) {
		d.Persons = slices.DeleteFunc(slices.Clone(d.Persons), func(p sandbox.CHTContact) bool { return p.ID == "chw-eli" || p.ID == "chw-moved" })
	})
	b.clock = b.clock.Add(2 * time.Hour)
	second := b.july(t, "DsMchMonth1")
	if second.Completeness == nil || second.Completeness.Registered != 1 || second.Completeness.Already != 5 {
		t.Errorf("when those who are silent are gone: got %+v, %s", second.Completeness, workersOf(t, b, "DsMchMonth1"))
	}
	b.cht.Change(func(d *sandbox.CHTDocuments) {
		for i := range d.Persons {
			if one := d.Persons[i]; one.ID == "chw-bahati" {
				one.ID = "chw-new"
				d.Persons = append(slices.Clone(d.Persons), one)
				break
			}
		}
	})
	third := b.july(t, "DsMchMonth1")
	if third.Completeness == nil || third.Completeness.Undone != 1 || third.Completeness.Registered != 0 {
		t.Errorf("when one more is expected: got %+v, %s", third.Completeness, workersOf(t, b, "DsMchMonth1"))
	}
}

// TestAMonthGoesWithoutItsCoverageUnlessARuleNeedsIt loses no month to a CHT that does not tell who has synced.
func TestAMonthGoesWithoutItsCoverageUnlessARuleNeedsIt(t *testing.T) {
	fault := sandbox.Fault{Kind: sandbox.LoginPage, Path: "/medic/_all_docs"}
	b := coverageBench(t, CoveragePolicy{On: true})
	b.cht.Fail(fault)
	r := b.july(t, "DsMchMonth1")
	if r.State != ledger.Accepted || r.Coverage != nil || !strings.Contains(foundCodes(r), "coverage_unknown:1") {
		t.Errorf("got %s (%s), %+v, %s", r.State, r.Error, r.Coverage, foundCodes(r))
	}
	for name, change := range map[string]func(*DataSet){
		"a minimum":      func(d *DataSet) { d.Coverage.Minimum = 50 },
		"completeness":   func(d *DataSet) { d.Coverage.Completeness = 50 },
		"reported zeros": func(d *DataSet) { d.Rules.EmptyOrgUnits = mapping.SendReported },
	} {
		b := coverageBench(t, CoveragePolicy{On: true})
		change(&b.DataSets[0])
		b.cht.Fail(fault)
		if r := b.july(t, "DsMchMonth1"); r.State != ledger.Failed || r.Reason != CHTUnavailable || r.Counts.Accepted > 0 {
			t.Errorf("%s: got %s, %s, %+v", name, r.State, r.Reason, r.Counts)
		}
	}
}

// TestWithoutCoverageNothingMoreIsAsked leaves a data set that does not want it as it was.
func TestWithoutCoverageNothingMoreIsAsked(t *testing.T) {
	b := coverageBench(t, CoveragePolicy{})
	if r := b.july(t, "DsMchMonth1"); r.Coverage != nil || r.State != ledger.Accepted {
		t.Errorf("got %s, %+v", r.State, r.Coverage)
	}
	asked, _ := b.meter.since()
	for _, what := range asked {
		if what != "/api/v2/export/dhis" && what != "/api/deploy-info" { // which tells the faults of its version, once an hour
			t.Errorf("the CHT was asked for %s", what)
		}
	}
}

// TestTargetDocumentsHoldBackAndGoWithoutAsTheExportDoes is the same with target documents as the source: an org unit of which no document
// is left has no cell at all there.
func TestTargetDocumentsHoldBackAndGoWithoutAsTheExportDoes(t *testing.T) {
	b := coverageBench(t, CoveragePolicy{On: true, ExpectedTypes: []string{"chw"}, Minimum: 60})
	b.DataSets[0].FromTargets = true
	b.DataSets[0].Rules.EmptyOrgUnits = mapping.SendReported
	if r := b.july(t, "DsMchMonth1"); r.State != ledger.Accepted || r.Coverage == nil || r.Coverage.OrgUnitsBelow > 0 {
		t.Fatalf("got %s (%s), %+v", r.State, r.Error, r.Coverage)
	}
	before := b.holds("DeBirths001")
	b.cht.Change(withoutDocuments("chw-bahati", "chw-eli", "chw-moved"))
	r := b.july(t, "DsMchMonth1")
	if r.State != ledger.PartlyAccepted || r.Counts.Held == 0 || resultOf(r, "OuElimuHC01").Held == 0 || resultOf(r, "OuBarakaMch").Held == 0 || r.Coverage.OrgUnitsBelow != 2 {
		t.Errorf("got %s (%s), %+v, %+v", r.State, r.Error, r.Counts, r.Coverage)
	}
	if got := b.holds("DeBirths001"); got != before || strings.Contains(foundCodes(r), "org_unit_vanished") {
		t.Errorf("DHIS2 holds %s, and held %s; %s", got, before, foundCodes(r))
	}

	// What cannot be told of a part does not pass for the whole.
	b = coverageBench(t, CoveragePolicy{On: true, ExpectedTypes: []string{"chw"}})
	b.DataSets[0].FromTargets = true
	b.cht.Fail(sandbox.Fault{Kind: sandbox.LoginPage, Path: "/medic/_design/medic-client/_view/contacts_by_type"})
	if r := b.july(t, "DsMchMonth1"); r.State != ledger.Accepted || r.Coverage != nil || !strings.Contains(foundCodes(r), "coverage_unknown:1") {
		t.Errorf("without those expected: got %s (%s), %+v, %s", r.State, r.Error, r.Coverage, foundCodes(r))
	}
	b.DataSets[0].Coverage.Minimum = 60
	if r := b.july(t, "DsMchMonth1"); r.State != ledger.Failed || r.Reason != CHTUnavailable {
		t.Errorf("where a rule needs them: got %s, %s", r.State, r.Reason)
	}
	b.cht.Heal()
	b.DataSets[0].Coverage.ExpectedTypes = []string{"chv"}
	if r := b.july(t, "DsMchMonth1"); r.State != ledger.Failed || r.Reason != Configuration || !strings.Contains(r.Error, "no contact of type chv") {
		t.Errorf("where there are none of the type: got %s, %s, %s", r.State, r.Reason, r.Error)
	}
}

// TestWorkersAreNamedToWhoeverMayKnow finds who has not synced, by contact type and by the months before, who has several users, and what
// is malformed.
func TestWorkersAreNamedToWhoeverMayKnow(t *testing.T) {
	odd := func(d *sandbox.CHTDocuments) {
		withoutDocuments2026(d, "2026-07", "chw-eli", "chw-esther", "chw-bahati")
		for i := range d.Persons {
			if d.Persons[i].ID == "chw-bahati" {
				d.Persons[i].Muted = "2026-06-01T00:00:00.000Z"
			}
		}
		find(d, "ayana").Targets = []sandbox.CHTTargetCount{{ID: "births-this-month", Value: &sandbox.CHTTargetValue{Pass: 3, Total: "03"}}}
		d.Targets = append(d.Targets,
			sandbox.CHTTargetDocument{ID: "target~2026-06~chw-esther~org.couchdb.user:esther", Type: "target", Owner: "chw-esther", ReportingPeriod: "2026-06", Targets: []sandbox.CHTTargetCount{}},
			sandbox.CHTTargetDocument{ID: "target~2026-07~chw-faraja~org.couchdb.user:old", Type: "target", Owner: "chw-faraja", ReportingPeriod: "2026-07"})
	}
	for _, test := range []struct {
		name    string
		types   []string
		missing string
	}{
		{"by type", []string{"chw"}, "OuElimuHC01 chw-eli, OuElimuHC01 chw-esther"},
		{"by the months before", nil, "OuElimuHC01 chw-esther"},
	} {
		b := coverageBench(t, CoveragePolicy{ExpectedTypes: test.types}, odd)
		w, err := b.Workers(t.Context(), Request{DataSet: "DsMchMonth1", Period: "202607", CHT: "county"})
		if err != nil {
			t.Fatal(err)
		}
		var missing, twice []string
		for _, one := range w.Missing {
			missing = append(missing, strings.Join(one.OrgUnits, "+")+" "+one.Contact)
			if one.Name == "" || one.Type != "chw" || !slices.Equal(one.Months, []string{"202607"}) {
				t.Errorf("%s: got %+v", test.name, one)
			}
		}
		for _, one := range w.Duplicates {
			twice = append(twice, one.Contact+" "+strings.Join(one.Users, "+"))
		}
		if got := strings.Join(missing, ", "); got != test.missing {
			t.Errorf("%s: got %s, want %s", test.name, got, test.missing)
		}
		if got, want := strings.Join(twice, ", "), "chw-asha asha+asha-tablet, chw-faraja faraja+old"; got != want {
			t.Errorf("%s: with several users: got %s, want %s", test.name, got, want)
		}
		want := []MalformedDocument{
			{"target~2026-07~chw-ayana~org.couchdb.user:ayana", "no whole number from 0 on of births-this-month"},
			{"target~2026-07~chw-faraja~org.couchdb.user:old", "there is no list of targets"},
		}
		if len(w.Malformed) != len(want) || w.Malformed[0] != want[0] || w.Malformed[1].Document != want[1].Document || w.Malformed[1].Why == "" {
			t.Errorf("%s: malformed: got %+v", test.name, w.Malformed)
		}
	}
}

// TestWhatIsHeldBackHasNotVanished asks nobody about a month whose silent org units are held back anyway.
func TestWhatIsHeldBackHasNotVanished(t *testing.T) {
	june := func(d *sandbox.CHTDocuments) {
		for _, name := range []string{"bahati", "faraja", "ayana"} {
			d.Targets = append(d.Targets, sandbox.CHTTargetDocument{
				ID: "target~2026-06~chw-" + name + "~org.couchdb.user:" + name, Type: "target", Owner: "chw-" + name, ReportingPeriod: "2026-06", UpdatedDate: 1782777600000,
				Targets: []sandbox.CHTTargetCount{{ID: "births-this-month", Value: &sandbox.CHTTargetValue{Pass: 2, Total: 2}}},
			})
		}
		withoutDocuments2026(d, "2026-07", "chw-bahati", "chw-faraja")
	}
	for _, test := range []struct {
		minimum int
		want    ledger.State
	}{{0, ledger.Held}, {60, ledger.Accepted}} {
		b := coverageBench(t, CoveragePolicy{On: true, ExpectedTypes: []string{"chw"}}, june)
		b.DataSets[0].MostVanished = 20
		if _, err := b.Submit(t.Context(), Request{DataSet: "DsMchMonth1", Period: "202606", CHT: "county"}); err != nil {
			t.Fatal(err)
		}
		b.DataSets[0].Coverage.Minimum = test.minimum
		if r := b.july(t, "DsMchMonth1"); r.State != test.want {
			t.Errorf("with a minimum of %d %%: got %s (%s), %s", test.minimum, r.State, r.Error, foundCodes(r))
		}
	}
}

// TestOfAQuarterTheMonthWithTheFewestCounts takes nobody for seen who was silent in one of its months.
func TestOfAQuarterTheMonthWithTheFewestCounts(t *testing.T) {
	b := coverageBench(t, CoveragePolicy{ExpectedTypes: []string{"chw"}}, func(d *sandbox.CHTDocuments) {
		d.ExtraMonths = nil
		for _, one := range []struct{ month, name string }{{"2026-04", "asha"}, {"2026-05", "asha"}, {"2026-06", "eli"}} { // asha has one of June
			d.Targets = append(d.Targets, sandbox.CHTTargetDocument{
				ID: "target~" + one.month + "~chw-" + one.name + "~org.couchdb.user:" + one.name, Type: "target", Owner: "chw-" + one.name, ReportingPeriod: one.month, Targets: []sandbox.CHTTargetCount{},
			})
		}
	})
	b.DataSets[0].FirstPeriod = periodOf(t, "2026Q1")
	r := Request{DataSet: "DsMchMonth1", Period: "2026Q2", CHT: "county"}
	found, err := b.ReadCoverage(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, u := range found.Units {
		got[u.OrgUnit] = fmt.Sprintf("%d/%d", u.Seen, u.Expected)
	}
	if got["OuAmaniHC01"] != "1/4" || got["OuElimuHC01"] != "0/3" {
		t.Errorf("got %v", got)
	}
	w, err := b.Workers(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	months := map[string]string{}
	for _, one := range w.Missing {
		months[one.Contact] = strings.Join(one.Months, " ")
	}
	if _, missing := months["chw-asha"]; missing || months["chw-eli"] != "202604 202605" || months["chw-azizi"] != "202604 202605 202606" || months["chw-chloe"] != "" {
		t.Errorf("got %v", months)
	}
}
