package orchestration

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// verified tells of a verification in short: counts, then cells such as `a.x differs "3" "9" nurse`.
func (l *lateData) verified(t *testing.T, r Report) string {
	t.Helper()
	v := l.Verify(t.Context(), r.ID)
	if v.Error != "" {
		return string(v.Reason) + " " + v.Error
	}
	text := fmt.Sprintf("%d cells, %d %d %d %d", v.Cells, v.Differ, v.Missing, v.Unexpected, v.Unknown)
	var cells []string
	for _, c := range append(v.Different, v.Doubtful...) {
		cells = append(cells, fmt.Sprintf("; %s.%s %s %q %q %s", l.letter(c.OrgUnit), l.letter(c.DataElement), c.Verdict, c.Accepted, c.DHIS2, c.StoredBy))
	}
	slices.Sort(cells)
	text += strings.Join(cells, "")
	if proven := v.Differ+v.Missing+v.Unexpected+v.Unknown == 0; proven != (v.Reason == "") {
		t.Errorf("%s, and the reason is %q", text, v.Reason)
	}
	return text
}

// afterwards lets something happen between the end of a submission and what follows it.
func (l *lateData) afterwards(f func()) {
	l.Told = func(context.Context, Conclusion) ([]ledger.Letter, error) {
		f()
		return nil, nil
	}
}

func TestWhatWasAcceptedIsReadBack(t *testing.T) {
	for _, version := range []string{"2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			l := newLateData(t, version)
			account, err := l.Destinations["national"].Client.Me(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := func(r Report, want string) {
				t.Helper()
				if got := l.verified(t, r); got != want {
					t.Errorf("%s %s: got %s, want %s; DHIS2 holds %s", r.State, r.Error, got, want, l.holds())
				}
			}
			// The zero of y is kept by 2.43 only, and is none that is missing.
			want(l.from(t, "county", "a.x=3 a.y=0 a.z=2 b.x=7"), "4 cells, 0 0 0 0")
			// What another account stores beside ours is its own.
			l.edits(t, "b.z=4 c.x=1")
			want(l.from(t, "county", "a.x=3 a.y=0 a.z=2 b.x=8"), "4 cells, 0 0 0 0")
			// All that was accepted is read, not only what went now.
			l.edits(t, "a.x=9 a.z=")
			l.DataSets[0].Compare.LedgerOnly = true
			r := l.from(t, "county", "a.x=3 a.y=0 a.z=2 b.x=8")
			if r.State != ledger.Unchanged {
				t.Errorf("it is %s", r.State)
			}
			want(r, `4 cells, 1 1 0 0; a.x differs "3" "9" nurse; a.z missing "2" "" `)
			// Of some org units only those are read.
			l.says("a.x=3 a.y=0 a.z=2 b.x=8")
			if r, err = l.Submit(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "county", OrgUnits: []string{l.ids["b"]}}); err != nil {
				t.Fatal(err)
			}
			want(r, "1 cells, 0 0 0 0")
			// What was deleted has to be gone, whoever brings it back.
			l.DataSets[0].Compare = Compare{Edited: OverwriteEdited, Vanished: DeleteVanished}
			want(l.from(t, "county", "a.x=3 a.y=0 b.x=8"), "3 cells, 0 0 0 0")
			l.from(t, "county", "a.x=3 a.y=0 a.z=2 b.x=8")
			l.afterwards(func() { l.edits(t, "a.z=2") })
			want(l.from(t, "county", "a.x=3 a.y=0 b.x=8"), `3 cells, 0 0 1 0; a.z unexpected "" "2" nurse`)
			l.Told = nil
			// A value of our account that the ledger does not know is named too.
			l.edits(t, "a.z=")
			want(l.from(t, "county", "a.x=3 a.y=0 b.x=8 b.y=5"), "4 cells, 0 0 0 0")
			forgotten := l.from(t, "county", "a.x=3 a.y=0 b.x=8 b.y=5")
			if _, err := l.Forget(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "county", OrgUnits: []string{l.ids["b"]}}); err != nil {
				t.Fatal(err)
			}
			want(forgotten, "2 cells, 0 0 0 0") // the org unit is none of ours any more
			l.says("b.x=8")
			if _, err := l.Submit(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "county", Mode: ledger.ModeFull, OrgUnits: []string{l.ids["b"]}}); err != nil {
				t.Fatal(err)
			}
			l.DataSets[0].Compare.Vanished = ""
			want(l.from(t, "county", "a.x=3 a.y=0 b.x=8"), fmt.Sprintf(`3 cells, 0 0 1 0; b.y unexpected "" "5" %s`, account.Username))
		})
	}
}

func TestWhatSeveralSourcesGaveIsReadBackAsASum(t *testing.T) {
	for _, version := range []string{"2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			l := newLateData(t, version)
			l.twoSources()
			county := l.from(t, "county", "a.x=3 a.y=0 b.x=7")
			city := l.from(t, "city", "a.x=2 a.y=0 a.z=4")
			for _, r := range []Report{county, city} {
				if got := l.verified(t, r); got != "3 cells, 0 0 0 0" {
					t.Errorf("%s: %s", r.CHT, got)
				}
			}
			l.edits(t, "a.x=6 a.z=5")
			if got := l.verified(t, county); got != `3 cells, 1 0 0 0; a.x differs "5" "6" nurse` {
				t.Errorf("county: %s", got)
			}
			if got := l.verified(t, city); got != `3 cells, 2 0 0 0; a.x differs "5" "6" nurse; a.z differs "4" "5" nurse` {
				t.Errorf("city: %s", got)
			}
		})
	}
}

func TestADifferenceWhileAnotherSourceSendsSaysSo(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.twoSources()
	county := l.from(t, "county", "a.x=3")
	l.says("b.x=1")
	city, _, err := l.Begin(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "city"}, nil)
	if err == nil {
		_, err = l.step(t.Context(), city.ID, prepareStep)
	}
	if err == nil {
		err = l.Ledger.Advance(t.Context(), city.ID, ledger.Sending, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if v := l.Verify(t.Context(), county.ID); v.Reason != "" || v.Remedy != "" {
		t.Errorf("without a difference: %+v", v)
	}
	l.edits(t, "a.x=9")
	if v := l.Verify(t.Context(), county.ID); v.Reason != LeftBehind || !strings.Contains(v.Remedy, city.ID) {
		t.Errorf("with one: %+v", v)
	}
}

func TestEachAttributeOptionComboIsReadBack(t *testing.T) {
	u := unit{
		orgUnit: "a",
		ours:    []cell{{dataElement: "x", value: "1"}, {attributeOptionCombo: "P", dataElement: "x", value: "2"}},
		theirs: []cell{
			{dataElement: "x", value: "1", storedBy: "us"}, {attributeOptionCombo: "P", dataElement: "x", value: "3", storedBy: "us"},
			// This is of another data set.
			{attributeOptionCombo: "Q", dataElement: "x", value: "9", storedBy: "us"},
		},
	}
	var v Verification
	if err := v.orgUnit(&Plan{account: "us"}, u, footprint{columns: map[string]bool{columnOf("", "x"): true, columnOf("P", "x"): true}}); err != nil {
		t.Fatal(err)
	}
	if v.Cells != 2 || v.Differ != 1 || v.Missing+v.Unexpected+v.Unknown != 0 || v.Different[0].AttributeOptionCombo != "P" {
		t.Errorf("%+v", v)
	}
}

func TestCellsOfWhichTheOutcomeIsUnknownAreNamedApart(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.Wait = 0
	l.from(t, "county", "a.x=3 b.x=7")
	l.dhis2.Fail(sandbox.Fault{Kind: sandbox.StatusAfter, Status: http.StatusGatewayTimeout, Method: http.MethodPost})
	r := l.from(t, "county", "a.x=4 b.x=7 c.x=1")
	l.dhis2.Heal()
	who, err := l.Destinations["national"].Client.Me(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`2 cells, 0 0 0 2; a.x unknown "3" "4" %s; c.x unknown "" "1" %s`, who.Username, who.Username)
	if got := l.verified(t, r); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	l.edits(t, "a.x=9 c.x=")
	if got := l.verified(t, r); got != `2 cells, 1 0 0 1; a.x differs "3" "9" nurse; c.x unknown "" "" ` {
		t.Error(got)
	}
	if got := l.verified(t, l.from(t, "county", "a.x=9 b.x=7 c.x=1")); got != "3 cells, 0 0 0 0" {
		t.Errorf("once more: %s", got)
	}
}

func TestWhatCannotBeReadBackIsNoProof(t *testing.T) {
	l := newLateData(t, "2.42.5.2")
	l.Wait = 0
	r := l.from(t, "county", "a.x=3")
	l.DataSets[0].Operation.Hold = true
	held := l.from(t, "county", "a.x=4")
	if v := l.Verify(t.Context(), held.ID); v.Reason != LeftBehind || !strings.Contains(v.Error, "has not ended, it is held") {
		t.Errorf("held: %+v", v)
	}
	if v := l.Verify(t.Context(), "unknown"); v.Reason != Fault {
		t.Errorf("a submission that nobody knows: %+v", v)
	}
	for _, one := range []struct {
		name  string
		fault sandbox.Fault
		want  Reason
	}{
		{"the account may not read", sandbox.Fault{Kind: sandbox.Status, Status: http.StatusConflict, Path: "/api/dataValueSets"}, LeftBehind},
		{"the account is refused", sandbox.Fault{Kind: sandbox.Status, Status: http.StatusUnauthorized}, Credentials},
	} {
		l.dhis2.Fail(one.fault)
		if v := l.Verify(t.Context(), r.ID); v.Reason != one.want || v.Error == "" || v.Cells != 0 {
			t.Errorf("%s: %+v", one.name, v)
		}
		l.dhis2.Heal()
	}
}

func TestASummaryTellsWhereMostDiffers(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.from(t, "county", "a.x=3 b.x=7 b.y=2 c.x=1")
	l.edits(t, "b.x=9 b.y= c.x=2 a.y=6 a.z=5")
	var cells []string
	c, err := l.Concord(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "county", Mode: ledger.ModeRepair}, func(p Pair) error {
		cells = append(cells, string(p.Verdict))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, u := range c.OrgUnits {
		text += fmt.Sprintf("%s %v; ", l.letter(u.OrgUnit), u.Totals)
	}
	for _, e := range c.Elements {
		text += fmt.Sprintf("%s %v; ", l.letter(e.DataElement), e.Totals)
	}
	// z is none of ours, and y is, so that what stands there besides is counted.
	want := "b {0 1 1 0 9 9}; "
	if !strings.HasPrefix(text, want) || !strings.Contains(text, "a {1 0 0 1 3 9}; ") || !strings.Contains(text, "c {0 1 0 0 1 2}; ") ||
		!strings.Contains(text, "x {1 2 0 0 11 14}; ") || !strings.Contains(text, "y {0 0 1 1 2 6}; ") || c.OrgUnitsTotal != 3 || len(c.Elements) != 2 || len(cells) != 5 {
		t.Errorf("%s %v", text, cells)
	}
}
