package orchestration

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// behind tells the cells that stay behind, as the report has them, and makes sure that the store has the same.
func (l *lateData) behind(t *testing.T, r Report) string {
	t.Helper()
	name := map[string]string{}
	for letter, id := range l.ids {
		name[id] = letter
	}
	var told, stored []string
	for _, c := range r.Quarantined {
		told = append(told, name[c.OrgUnit]+"."+name[c.DataElement]+"="+c.Value+" "+c.Code)
		if c.Reason == "" || c.Remedy == "" {
			t.Errorf("%+v says too little", c)
		}
	}
	for cells, err := range l.Ledger.Quarantine(t.Context(), r.ID, "") {
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cells {
			stored = append(stored, name[c.OrgUnit]+"."+name[c.DataElement]+"="+c.Value+" "+c.Code)
		}
	}
	if strings.Join(told, ", ") != strings.Join(stored, ", ") || len(told) != r.Counts.Quarantined {
		t.Errorf("the report tells %v, the store has %v, and %d are counted", told, stored, r.Counts.Quarantined)
	}
	return strings.Join(told, ", ")
}

func TestOneBadCellNeverSinksAMonth(t *testing.T) {
	for _, version := range []string{"2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			l := newLateData(t, version)
			l.ids["q"], l.ids["u"] = "DeUnknown01", "OuUnknown01"
			l.dhis2.WithdrawDataSet(l.set, l.ids["b"])
			l.says("a.x=3 a.q=4 b.x=7 b.z=8 c.x=1 u.x=2")
			r, _ := l.submit(t, t.Context())
			want := "a.q=4 data_element_not_in_data_set, u.x=2 org_unit_unknown, b.x=7 org_unit_not_assigned, b.z=8 org_unit_not_assigned"
			if got := l.behind(t, r); !sameList(got, want) || r.State != ledger.PartlyAccepted || l.holds() != "a.x=3 c.x=1" || len(l.dhis2.Imports()) != 1 {
				t.Errorf("%s, %s stay behind, DHIS2 holds %s after %d imports", r.State, got, l.holds(), len(l.dhis2.Imports()))
			}
			if got := codes(r); got != "data_element_not_in_data_set:1 org_unit_not_assigned:2 org_unit_unknown:1" {
				t.Errorf("issues %s", got)
			}
			// Nothing changed: nothing is sent, and what stays behind is told again.
			r, _ = l.submit(t, t.Context())
			if got := l.behind(t, r); !sameList(got, want) || r.State != ledger.PartlyAccepted || len(l.dhis2.Imports()) != 1 {
				t.Errorf("again: %s, %s, %d imports", r.State, got, len(l.dhis2.Imports()))
			}
			// The assignment is made up for, and nobody has to do anything here, though what is known of DHIS2 is not old.
			l.dhis2.AssignDataSet(l.set, l.ids["b"])
			r, _ = l.submit(t, t.Context())
			if got := l.behind(t, r); !sameList(got, "a.q=4 data_element_not_in_data_set, u.x=2 org_unit_unknown") || l.holds() != "a.x=3 b.x=7 b.z=8 c.x=1" {
				t.Errorf("afterwards: %s, DHIS2 holds %s", got, l.holds())
			}
		})
	}
}

func sameList(a, b string) bool {
	in := map[string]int{}
	for _, one := range strings.Split(a, ", ") {
		in[one]++
	}
	for _, one := range strings.Split(b, ", ") {
		in[one]--
	}
	for _, n := range in {
		if n != 0 {
			return false
		}
	}
	return true
}

func TestMetadataIsReadAgainWhenItIsOldOrDHIS2SaysOtherwise(t *testing.T) {
	l := newLateData(t, "2.42.5.2")
	now := nine
	l.Now = func() time.Time { return now }
	key := "national " + l.set
	l.says("a.x=3 b.x=7")
	l.submit(t, t.Context())
	first := l.known[key]
	l.says("a.x=4 b.x=7")
	now = now.Add(59 * time.Minute)
	if l.submit(t, t.Context()); first == nil || l.known[key] != first {
		t.Error("it was read again within the hour")
	}
	l.says("a.x=5 b.x=7")
	now = now.Add(2 * time.Minute)
	if l.submit(t, t.Context()); l.known[key] == first {
		t.Error("it was not read again after an hour")
	}
	second := l.known[key]
	if l.dropOldMetadata(); l.known[key] != second {
		t.Error("what is good was dropped")
	}
	now = now.Add(-2 * time.Hour)
	l.says("a.x=7 b.x=7")
	if l.submit(t, t.Context()); l.known[key] == second {
		t.Error("it was not read again after the clock was set back")
	}
	now = now.Add(2 * time.Hour)
	if l.dropOldMetadata(); l.known[key] != nil {
		t.Error("what is old takes memory still")
	}
	l.submit(t, t.Context())
	l.dhis2.WithdrawDataSet(l.set, l.ids["a"])
	l.says("a.x=6 b.x=8")
	r, _ := l.submit(t, t.Context())
	if r.Counts.Refused != 1 || l.known[key] != nil {
		t.Errorf("%+v, and what DHIS2 contradicted is still known: %v", r.Counts, l.known[key] != nil)
	}
	if r, _ = l.submit(t, t.Context()); l.behind(t, r) != "a.x=6 org_unit_not_assigned" || r.Counts.Refused != 0 {
		t.Errorf("%+v", r.Counts)
	}
}

func TestAKnownGapIsNoNews(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.ids["q"] = "DeUnknown01"
	l.DataSets[0].Gaps = []Gap{
		{DataElement: l.ids["q"], Reason: "not in the form yet", Until: nine.AddDate(0, 1, 0).Truncate(24 * time.Hour)},
		{OrgUnit: l.ids["b"], Reason: "ended", Until: nine.AddDate(0, 0, -1).Truncate(24 * time.Hour)},
	}
	l.says("a.x=3 a.q=4 c.q=5")
	r, _ := l.submit(t, t.Context())
	if r.State != ledger.Accepted || r.Counts.Dropped != 2 || r.Counts.Quarantined != 0 || codes(r) != "known_gap:2" {
		t.Errorf("%s %+v %s", r.State, r.Counts, codes(r))
	}
	l.dhis2.WithdrawDataSet(l.set, l.ids["b"])
	l.forgetMetadata(parties{set: l.DataSets[0], to: l.Destinations["national"]})
	l.says("a.x=3 a.q=4 b.x=5")
	r, _ = l.submit(t, t.Context())
	if r.State != ledger.PartlyAccepted || l.behind(t, r) != "b.x=5 org_unit_not_assigned" {
		t.Errorf("a gap that has ended: %s %+v", r.State, r.Counts)
	}
}

func TestAKnownGapHidesNoCorrection(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.DataSets[0].Gaps = []Gap{{OrgUnit: l.ids["a"], Reason: "not yet open", Until: nine.AddDate(0, 1, 0)}}
	l.says("a.x=3 b.x=7")
	l.submit(t, t.Context())
	l.edits(t, "a.x=9")
	l.says("a.x=4 b.x=7")
	r, _ := l.submit(t, t.Context())
	if r.State != ledger.PartlyAccepted || codes(r) != "edited_in_dhis2:1" || r.Counts.Quarantined != 1 || l.holds() != "a.x=9 b.x=7" {
		t.Errorf("%s %+v %s, DHIS2 holds %s", r.State, r.Counts, codes(r), l.holds())
	}
}

func TestARepairAsksForApprovalsTogether(t *testing.T) {
	l := newLateData(t, "2.43.1")
	meta := &l.country.DHIS2
	meta.DataApprovalLevels = []sandbox.DHIS2ApprovalLevel{{ID: "ApLevel0001", Name: "Facility", Level: 1, OrgUnitLevel: 1}}
	meta.DataApprovalWorkflows = []sandbox.DHIS2ApprovalWorkflow{{ID: "WfApprove01", Name: "Monthly", PeriodType: "Monthly", DataApprovalLevels: []sandbox.DHIS2Ref{{ID: "ApLevel0001"}}}}
	l.again("2.43.1", func(set *sandbox.DHIS2DataSet) { set.Workflow = &sandbox.DHIS2Ref{ID: "WfApprove01"} })
	l.says("a.x=3 b.x=7 c.x=1")
	l.submit(t, t.Context())
	l.edits(t, "a.x=9 b.x=9 c.x=9")
	asked := 0
	l.around(func(r *http.Request) {
		if r.URL.Path == "/api/dataApprovals/approvals" {
			asked++
		}
	})
	r, err := l.Submit(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "county", Mode: ledger.ModeRepair})
	if err != nil || r.State != ledger.Accepted || l.holds() != "a.x=3 b.x=7 c.x=1" || asked != 1 {
		t.Errorf("%v %s %q, DHIS2 holds %s, asked %d times", err, r.State, r.Error, l.holds(), asked)
	}
}

func TestAPeriodTypeThatWasChangedIsSeenAtOnce(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.again("2.43.1", func(set *sandbox.DHIS2DataSet) { set.PeriodType = "Quarterly" })
	l.says("a.x=3")
	if r, _ := l.submit(t, t.Context()); r.State != ledger.Refused || codes(r) != "period_type:1" {
		t.Fatalf("%s %s", r.State, codes(r))
	}
	l.again("2.43.1", func(set *sandbox.DHIS2DataSet) { set.PeriodType = "Monthly" })
	if r, _ := l.submit(t, t.Context()); r.State != ledger.Accepted {
		t.Errorf("%s %q", r.State, r.Error)
	}
}

func TestAMonthOfWhichMuchMoreStaysBehindWaitsForAPerson(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.ids["q"] = "DeUnknown01"
	l.DataSets[0].MostQuarantined = 10
	l.says("a.x=3 a.q=4 b.x=7")
	if r, _ := l.submit(t, t.Context()); r.State != ledger.PartlyAccepted {
		t.Fatalf("the first month has nothing to be compared with: %s", r.State)
	}
	l.dhis2.WithdrawDataSet(l.set, l.ids["b"])
	l.forgetMetadata(parties{set: l.DataSets[0], to: l.Destinations["national"]})
	l.says("a.x=4 a.q=4 b.x=8")
	r, _ := l.submit(t, t.Context())
	if r.State != ledger.Held || !strings.Contains(r.Error, "2 of 3 cells stay behind, and of 202609 only 1 of 3 did") || l.holds() != "a.x=3 b.x=7" {
		t.Fatalf("%s %q, DHIS2 holds %s", r.State, r.Error, l.holds())
	}
	if err := l.Approve(t.Context(), r.ID, "officer"); err != nil {
		t.Fatal(err)
	}
	if r, err := l.Follow(t.Context(), r.ID); err != nil || r.State != ledger.PartlyAccepted || l.holds() != "a.x=4 b.x=7" {
		t.Errorf("approved: %v %s, DHIS2 holds %s", err, r.State, l.holds())
	}
	// It is not held again for what a person has seen.
	l.says("a.x=5 a.q=4 b.x=8")
	if r, _ := l.submit(t, t.Context()); r.State != ledger.PartlyAccepted || l.holds() != "a.x=5 b.x=7" {
		t.Errorf("%s %q, DHIS2 holds %s", r.State, r.Error, l.holds())
	}
}

// again makes the DHIS2 anew, of changed metadata.
func (l *lateData) again(version string, change func(set *sandbox.DHIS2DataSet)) {
	for i := range l.country.DHIS2.DataSets {
		change(&l.country.DHIS2.DataSets[i])
	}
	l.dhis2 = sandbox.NewDHIS2(sandbox.DHIS2Config{Version: version, Metadata: l.country.DHIS2, Users: l.country.Users, Now: func() time.Time { return nine }})
	l.through(func(http.ResponseWriter, *http.Request, []byte) bool { return false })
}

func TestApprovedDataIsNotTouched(t *testing.T) {
	for _, version := range []string{"2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			l := newLateData(t, version)
			meta := &l.country.DHIS2
			meta.DataApprovalLevels = []sandbox.DHIS2ApprovalLevel{{ID: "ApLevel0001", Name: "Facility", Level: 1, OrgUnitLevel: 1}}
			meta.DataApprovalWorkflows = []sandbox.DHIS2ApprovalWorkflow{{ID: "WfApprove01", Name: "Monthly", PeriodType: "Monthly", DataApprovalLevels: []sandbox.DHIS2Ref{{ID: "ApLevel0001"}}}}
			l.country.Users = append(l.country.Users, sandbox.DHIS2User{Username: "chief", Password: "Chief.1234", Authorities: []string{"ALL"}})
			l.again(version, func(set *sandbox.DHIS2DataSet) { set.Workflow = &sandbox.DHIS2Ref{ID: "WfApprove01"} })
			l.says("a.x=3 b.x=7")
			l.submit(t, t.Context())
			r := httptest.NewRequest(http.MethodPost, "/api/dataApprovals?wf=WfApprove01&pe=202609&ou="+l.ids["b"], nil)
			r.SetBasicAuth("chief", "Chief.1234")
			w := httptest.NewRecorder()
			if l.dhis2.ServeHTTP(w, r); w.Code != http.StatusNoContent {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			l.says("a.x=4 b.x=8")
			report, _ := l.submit(t, t.Context())
			if got := l.behind(t, report); got != "b.x=8 data_approved" || report.State != ledger.PartlyAccepted || l.holds() != "a.x=4 b.x=7" {
				t.Errorf("%s, %s stays behind, DHIS2 holds %s", report.State, got, l.holds())
			}
			l.says("a.x=4 b.x=9")
			report, _ = l.submit(t, t.Context())
			if report.State != ledger.Refused || !strings.Contains(report.Error, "takes nothing of this period now") || report.Remedy == "" {
				t.Errorf("where nothing else is to be sent: %s %q", report.State, report.Error)
			}
		})
	}
}

func TestAnExpiredPeriodIsListedForALockException(t *testing.T) {
	for _, version := range []string{"2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			l := newLateData(t, version)
			l.again(version, func(set *sandbox.DHIS2DataSet) { set.ExpiryDays = 10 })
			l.says("a.x=3 a.z=null b.x=7")
			report, _ := l.submit(t, t.Context())
			if got := l.behind(t, report); !sameList(got, "a.z= null_value, a.x=3 period_expired, b.x=7 period_expired") || report.State != ledger.Refused || !strings.Contains(report.Error, "takes nothing of this period now") {
				t.Errorf("%s %q, %s", report.State, report.Error, got)
			}
			if n := len(l.dhis2.Imports()); n > 0 {
				t.Errorf("%d imports", n)
			}
			l.dhis2.ExceptFromLock(l.set, "202609", l.ids["b"])
			report, _ = l.submit(t, t.Context())
			if got := l.behind(t, report); !sameList(got, "a.z= null_value, a.x=3 period_expired") || report.State != ledger.PartlyAccepted || l.holds() != "b.x=7" {
				t.Errorf("with an exception: %s, %s, DHIS2 holds %s", report.State, got, l.holds())
			}
		})
	}
}

func TestWhatBlocksSendsNothingAndNamesItself(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(l *lateData)
		code  string
	}{
		"the data set may not be written": {func(l *lateData) {
			l.again("2.43.1", func(set *sandbox.DHIS2DataSet) { set.Sharing.Public = "r-r-----" })
		}, "data_set_not_writable"},
		"the authority is missing": {func(l *lateData) {
			l.country.Users[0].Authorities = nil
			l.again("2.43.1", func(*sandbox.DHIS2DataSet) {})
		}, "authority_missing"},
		"no org unit is the account's": {func(l *lateData) {
			l.country.Users[0].OrgUnits = nil
			l.again("2.43.1", func(*sandbox.DHIS2DataSet) {})
		}, "capture_org_unit_missing"},
		"the data set has no org units": {func(l *lateData) {
			l.again("2.43.1", func(set *sandbox.DHIS2DataSet) { set.OrganisationUnits = nil })
		}, "data_set_not_assigned"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLateData(t, "2.43.1")
			test.spoil(l)
			l.says("a.x=3")
			report, _ := l.submit(t, t.Context())
			if report.State != ledger.Refused || codes(report) != test.code+":1" || report.Remedy == "" || len(l.dhis2.Imports()) > 0 {
				t.Errorf("%s %q %s, %d imports", report.State, report.Error, codes(report), len(l.dhis2.Imports()))
			}
		})
	}
}

func TestWithoutChecksADataSetThatIsNotSharedSendsNothingUntilItIs(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.DataSets[0].Unchecked = true
	l.again("2.43.1", func(set *sandbox.DHIS2DataSet) { set.Sharing.Public = "r-r-----" })
	l.says("a.x=3")
	if r, _ := l.submit(t, t.Context()); r.State != ledger.Refused || codes(r) != "data_set_not_writable:1" || len(l.dhis2.Imports()) > 0 {
		t.Errorf("%s %s, %d imports", r.State, codes(r), len(l.dhis2.Imports()))
	}
	l.again("2.43.1", func(set *sandbox.DHIS2DataSet) { set.Sharing.Public = "" })
	if r, _ := l.submit(t, t.Context()); r.State != ledger.Accepted {
		t.Errorf("shared: %s %q", r.State, r.Error)
	}
}

func TestMetadataMayChangeBetweenTheCheckAndTheImport(t *testing.T) {
	for name, change := range map[string]func(l *lateData){
		"an assignment is taken back": func(l *lateData) { l.dhis2.WithdrawDataSet(l.set, l.ids["b"]) },
		"an org unit is closed":       func(l *lateData) { l.dhis2.CloseOrgUnit(l.ids["b"], "2020-01-31") },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLateData(t, "2.43.1")
			l.says("a.x=3 b.x=7 c.x=1")
			imported := false
			l.around(func(r *http.Request) {
				if r.Method == http.MethodPost && !imported {
					imported = true
					change(l)
				}
			})
			report, _ := l.submit(t, t.Context())
			if report.State != ledger.PartlyAccepted || report.Counts.Accepted != 2 || report.Counts.Refused != 1 || l.holds() != "a.x=3 c.x=1" {
				t.Errorf("%s %+v, DHIS2 holds %s", report.State, report.Counts, l.holds())
			}
			// The next run knows it.
			if report, _ = l.submit(t, t.Context()); report.Counts.Quarantined != 1 || report.Counts.Refused != 0 {
				t.Errorf("afterwards %+v", report.Counts)
			}
		})
	}
}

// around lets before see each request to DHIS2.
func (l *lateData) around(before func(r *http.Request)) {
	base := &url.URL{Scheme: "http", Host: "stand-in.test"}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before(r)
		l.dhis2.ServeHTTP(w, r)
	})
	token := func(r *http.Request) { r.Header.Set("Authorization", "ApiToken "+l.country.DHIS2Token) }
	l.Destinations["national"] = Destination{Name: "national", Client: dhis2.New(base, inMemory{handler, token, 50 * time.Second}, 1)}
}

func TestMetadataThatCannotBeReadEndsTheSubmissionWithTheReason(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.says("a.x=3")
	l.dhis2.Fail(sandbox.Fault{Kind: sandbox.Status, Status: http.StatusNotFound, Path: "/api/organisationUnits"})
	report, _ := l.submit(t, t.Context())
	if report.State != ledger.Refused && report.State != ledger.Failed || !strings.Contains(report.Error, "org units of data set") || len(l.dhis2.Imports()) > 0 {
		t.Errorf("%s %q", report.State, report.Error)
	}
	l.dhis2.Heal()
	if report, _ = l.submit(t, t.Context()); report.State != ledger.Accepted {
		t.Errorf("afterwards %s %q", report.State, report.Error)
	}
}

func TestRightsWithdrawnInTheMiddleOfARunLoseNothing(t *testing.T) {
	for _, version := range []string{"2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			l := newLateData(t, version)
			l.DataSets[0].ChunkValues = 1
			l.says("a.x=3 b.x=7 c.x=1")
			posts := 0
			l.around(func(r *http.Request) {
				if r.Method != http.MethodPost {
					return
				}
				if posts++; posts == 2 {
					l.dhis2.Fail(sandbox.Fault{Kind: sandbox.Status, Status: http.StatusForbidden})
				}
			})
			report, _ := l.submit(t, t.Context())
			if report.State != ledger.Failed || report.Reason != Credentials || report.Counts.Accepted != 1 || report.Counts.Unsent != 2 || report.Remedy == "" {
				t.Errorf("%s %s %q %+v", report.State, report.Reason, report.Error, report.Counts)
			}
			l.dhis2.Heal()
			l.down = nil // the person who gave the rights back asks again
			if report, _ = l.submit(t, t.Context()); report.State != ledger.Accepted || len(strings.Fields(l.holds())) != 3 {
				t.Errorf("afterwards %s %q, DHIS2 holds %s", report.State, report.Error, l.holds())
			}
		})
	}
}

func TestWhatStaysBehindHidesNoFall(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.ids["u"] = "OuUnknown01"
	l.says("a.x=10 b.x=10")
	l.submit(t, t.Context())
	l.says("a.x=2 b.x=2 u.x=100")
	r, _ := l.submit(t, t.Context())
	if r.State != ledger.Held || !strings.Contains(r.Error, "the month shrinks from 20 to 4") || l.holds() != "a.x=10 b.x=10" {
		t.Errorf("%s %q %+v, DHIS2 holds %s", r.State, r.Error, r.Changes, l.holds())
	}
	// Where DHIS2 goes on to hold what it accepted, nothing falls.
	if err := l.Reject(t.Context(), r.ID, "officer"); err != nil {
		t.Fatal(err)
	}
	l.dhis2.WithdrawDataSet(l.set, l.ids["b"])
	l.forgetMetadata(parties{set: l.DataSets[0], to: l.Destinations["national"]})
	l.says("a.x=9 b.x=1")
	if r, _ = l.submit(t, t.Context()); r.State != ledger.PartlyAccepted || r.Changes.Was != 20 || r.Changes.Becomes != 19 {
		t.Errorf("%s %q %+v", r.State, r.Error, r.Changes)
	}
}

func TestLockExceptionsThatCannotBeReadAreAskedForOnce(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.again("2.43.1", func(set *sandbox.DHIS2DataSet) { set.ExpiryDays = 10 })
	asked := 0
	l.around(func(r *http.Request) {
		if r.URL.Path == "/api/lockExceptions" {
			asked++
		}
	})
	l.dhis2.Fail(sandbox.Fault{Kind: sandbox.Status, Status: http.StatusNotFound, Path: "/api/lockExceptions"})
	l.says("a.x=3 b.x=7 c.x=1")
	r, _ := l.submit(t, t.Context())
	if r.State != ledger.Refused || r.Counts.Quarantined != 3 || asked != 1 || !strings.Contains(codes(r), "lock_exceptions_unknown:1") {
		t.Errorf("%s %+v %s, asked %d times", r.State, r.Counts, codes(r), asked)
	}
}

func TestALockedMonthIsNoMeasureOfWhatStaysBehind(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.DataSets[0].MostQuarantined = 10
	l.ids["q"] = "DeUnknown01"
	l.says("a.x=3 b.x=7")
	l.submit(t, t.Context())
	l.again("2.43.1", func(set *sandbox.DHIS2DataSet) { set.ExpiryDays = 10 })
	l.forgetMetadata(parties{set: l.DataSets[0], to: l.Destinations["national"]})
	l.says("a.x=4 b.x=8")
	if r, _ := l.submit(t, t.Context()); r.State != ledger.Refused {
		t.Fatalf("%s", r.State)
	}
	l.again("2.43.1", func(set *sandbox.DHIS2DataSet) { set.ExpiryDays = 0 })
	l.forgetMetadata(parties{set: l.DataSets[0], to: l.Destinations["national"]})
	l.says("a.x=4 b.x=8 a.q=1")
	if r, _ := l.submit(t, t.Context()); r.State != ledger.Held {
		t.Errorf("%s %+v", r.State, r.Counts)
	}
}

func TestAHoldPromisesNoDeletionThatDHIS2WouldNotTake(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.says("a.x=3 b.x=7")
	l.submit(t, t.Context())
	l.dhis2.CloseOrgUnit(l.ids["b"], "2020-01-31")
	l.forgetMetadata(parties{set: l.DataSets[0], to: l.Destinations["national"]})
	l.says("a.x=4")
	r, _ := l.submit(t, t.Context())
	if r.State != ledger.PartlyAccepted || l.behind(t, r) != "b.x=7 org_unit_closed" || l.holds() != "a.x=4 b.x=7" || strings.Contains(codes(r), "vanished") {
		t.Errorf("%s %q %s, DHIS2 holds %s", r.State, r.Error, codes(r), l.holds())
	}
}
