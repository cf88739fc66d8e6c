package orchestration

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// twoSources lets a second source give values for the same data set.
func (l *lateData) twoSources() {
	l.Sources["city"] = Source{Name: "city", Client: l.Sources["county"].Client}
	l.DataSets[0].CHT = append(l.DataSets[0].CHT, "city")
	l.DataSets[0].Compare.AddUp = true
}

func (l *lateData) from(t *testing.T, source, values string) Report {
	t.Helper()
	l.says(values)
	r, err := l.Submit(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: source})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOfSeveralLostAnswersEachIsNoCorrectionOfSomebody(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.Wait = 0
	l.from(t, "county", "a.x=3")
	l.dhis2.Fail(sandbox.Fault{Kind: sandbox.ResetAfter, Method: http.MethodPost})
	for _, values := range []string{"a.x=4", "a.x=5"} {
		if r := l.from(t, "county", values); r.State != ledger.Failed {
			t.Fatalf("%s %s", r.State, r.Error)
		}
	}
	l.dhis2.Heal()
	if r := l.from(t, "county", "a.x=6"); r.State != ledger.Accepted || l.holds() != "a.x=6" {
		t.Errorf("%s %s, DHIS2 holds %s", r.State, codes(r), l.holds())
	}
}

func TestACorrectionToWhatWasOnceTriedIsKept(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.Wait = 0
	l.from(t, "county", "a.x=3")
	l.dhis2.Fail(sandbox.Fault{Kind: sandbox.ResetAfter, Method: http.MethodPost})
	l.from(t, "county", "a.x=4")
	l.dhis2.Heal()
	l.from(t, "county", "a.x=5")
	l.edits(t, "a.x=4")
	if r := l.from(t, "county", "a.x=5"); codes(r) != "edited_in_dhis2:1" || l.holds() != "a.x=4" {
		t.Errorf("%s %s, DHIS2 holds %s", r.State, codes(r), l.holds())
	}
}

func TestARequestThatWasSplitAfterItsAnswerWasLostIsNoCorrectionOfSomebody(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.Wait = 0
	l.from(t, "county", "a.x=3 b.x=7")
	l.dhis2.Fail(sandbox.Fault{Kind: sandbox.StatusAfter, Status: http.StatusGatewayTimeout, Method: http.MethodPost})
	r := l.from(t, "county", "a.x=4 b.x=8")
	l.dhis2.Heal()
	t.Log(r.State, r.Error, r.Counts, l.holds())
	if r := l.from(t, "county", "a.x=5 b.x=9"); r.State != ledger.Accepted || l.holds() != "a.x=5 b.x=9" {
		t.Errorf("%s %s, DHIS2 holds %s", r.State, codes(r), l.holds())
	}
}

func TestACorrectionWhereTheOrgUnitHasMovedIsListed(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.from(t, "county", "a.x=3 b.x=7")
	l.edits(t, "a.x=4")
	r := l.from(t, "county", "c.x=3 b.x=7")
	if codes(r) != "edited_in_dhis2:1" {
		t.Errorf("%s %s %s, DHIS2 holds %s", r.State, r.Error, codes(r), l.holds())
	}
}

func TestWhatOneOfSeveralSourcesTakesAwayGoesOnce(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.twoSources()
	l.DataSets[0].Compare.Vanished, l.DataSets[0].Compare.MostShrink = DeleteVanished, 0
	l.from(t, "county", "a.x=3 a.y=5")
	l.from(t, "city", "a.x=2 a.y=4")
	if r := l.from(t, "county", "a.x=3"); r.State != ledger.Accepted || l.holds() != "a.x=5 a.y=4" {
		t.Errorf("%s, DHIS2 holds %s", r.State, l.holds())
	}
	for range 2 {
		before := len(l.dhis2.Imports())
		if r := l.from(t, "county", "a.x=3"); len(l.dhis2.Imports()) > before {
			t.Errorf("once more: %s %+v", r.State, r.Counts)
		}
	}
}

func TestARetryDoesNotTakeBackWhatAnotherSourceAdded(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.twoSources()
	l.Wait = 0
	began, later := l.Now(), atomic.Int64{}
	l.Now = func() time.Time { return began.Add(time.Duration(later.Load())) }
	l.remember(t, t.TempDir())
	l.from(t, "county", "a.x=3")
	l.dhis2.Fail(sandbox.Fault{Kind: sandbox.ResetBefore, Method: http.MethodPost})
	failed := l.from(t, "city", "a.x=2")
	l.dhis2.Heal()
	later.Store(int64(time.Minute))
	l.from(t, "county", "a.x=10")
	if l.holds() != "a.x=10" {
		t.Fatal(l.holds())
	}
	if err := l.Retry(t.Context(), failed.ID, "somebody"); err == nil {
		r, err := l.Follow(t.Context(), failed.ID)
		t.Errorf("%s %v, DHIS2 holds %s", r.State, err, l.holds())
	}
	if r := l.from(t, "city", "a.x=2"); l.holds() != "a.x=12" {
		t.Errorf("%s %s, DHIS2 holds %s", r.State, codes(r), l.holds())
	}
}

func TestWhatSeveralSourcesGiveIsReconciledAsASum(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.twoSources()
	l.from(t, "county", "a.x=3")
	l.from(t, "city", "a.x=2")
	for _, mode := range []ledger.Mode{ledger.ModeRepair, ledger.ModeDifferences} {
		c, err := l.Concord(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "city", Mode: mode}, nil)
		if err != nil || c.Totals.Same != 1 || c.Totals.Differ != 0 {
			t.Errorf("%s: %+v %s, %v", mode, c.Totals, c.Error, err)
		}
	}
}

func TestNothingIsForgottenOfAMonthThatWaitsForApproval(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.from(t, "county", "a.x=3 b.x=7")
	r := l.from(t, "county", "b.x=8")
	if r.State != ledger.Held {
		t.Fatal(r.State)
	}
	forget := Request{DataSet: l.set, Period: "202609", CHT: "county", OrgUnits: []string{l.ids["a"]}}
	var notNow *NotNowError
	if _, err := l.Forget(t.Context(), forget); !errors.As(err, &notNow) {
		t.Error(err)
	}
	if err := l.Reject(t.Context(), r.ID, "the HRIO"); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Forget(t.Context(), forget); n != 1 || err != nil {
		t.Error(n, err)
	}
}
