package orchestration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// lateData is a country of which the test says, in short, what the CHT gives and what DHIS2 holds: "a.x=3" is 3 for the data
// element x of the org unit a. The letters stand for ids.
type lateData struct {
	*bench

	ids map[string]string
}

func newLateData(t *testing.T, version string) *lateData {
	t.Helper()
	return lateDataOf(newBench(t, version))
}

// newFewData is lateData of a small country, which is made sooner.
func newFewData(t *testing.T, version string) *lateData {
	t.Helper()
	return lateDataOf(newBenchOf(t, version, sandbox.NewCountry(sandbox.CountryConfig{Seed: 5, Facilities: 12, DataSets: 1, Elements: 8, Period: "202609"})))
}

func lateDataOf(b *bench) *lateData {
	l := &lateData{bench: b, ids: map[string]string{}}
	var units, elements []string
	y := ""
	// The data element y is one of which 2.42 keeps no zero.
	zeros, kept := map[string]bool{}, map[string]bool{}
	for _, v := range l.country.Right[l.set] {
		zeros[v.DataElement] = zeros[v.DataElement] || v.Value == "0"
	}
	for _, v := range l.country.Stored(l.set) {
		kept[v.DataElement] = kept[v.DataElement] || v.Value == "0"
	}
	for _, v := range l.country.Right[l.set] {
		if v.CategoryOptionCombo == "" && !slices.Contains(units, v.OrgUnit) {
			units = append(units, v.OrgUnit)
		}
		switch {
		case v.CategoryOptionCombo != "", slices.Contains(elements, v.DataElement), v.DataElement == y:
		case y == "" && zeros[v.DataElement] && !kept[v.DataElement]:
			y = v.DataElement
		default:
			elements = append(elements, v.DataElement)
		}
	}
	for i, letter := range []string{"a", "b", "c"} {
		l.ids[letter] = units[i]
	}
	l.ids["x"], l.ids["y"], l.ids["z"] = elements[0], y, elements[1]
	l.DataSets[0].Compare.MostShrink = 50
	l.DataSets[0].Operation.RereadDays = 3660
	return l
}

// value reads "a.x=3".
func (l *lateData) value(text string) (orgUnit, element, value string) {
	cell, value, _ := strings.Cut(text, "=")
	unit, element, _ := strings.Cut(cell, ".")
	return l.ids[unit], l.ids[element], value
}

func (l *lateData) short(v sandbox.DHIS2Value) string {
	return l.letter(v.OrgUnit) + "." + l.letter(v.DataElement) + "=" + v.Value
}

// letter is what stands for an id.
func (l *lateData) letter(id string) string {
	for letter, known := range l.ids {
		if known == id {
			return letter
		}
	}
	return id
}

// says lets the CHT say these values.
func (l *lateData) says(values string) {
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
	body, _ := json.Marshal(map[string]any{"dataSet": l.set, "period": "202609", "dataValues": list})
	l.cht.SetExport(l.set, "202609", body)
}

// edits lets a person change values in DHIS2; "a.x=" deletes one.
func (l *lateData) edits(t *testing.T, values string) {
	t.Helper()
	type value struct {
		DataElement string `json:"dataElement"`
		OrgUnit     string `json:"orgUnit"`
		Value       string `json:"value"`
		Deleted     bool   `json:"deleted,omitempty"`
	}
	var list []value
	for text := range strings.FieldsSeq(values) {
		u, e, v := l.value(text)
		list = append(list, value{e, u, cmpOr(v, "1"), v == ""})
	}
	body, _ := json.Marshal(map[string]any{"dataSet": l.set, "period": "202609", "dataValues": list})
	r := httptest.NewRequest(http.MethodPost, "/api/dataValueSets", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.SetBasicAuth("nurse", "Nurse.1234")
	w := httptest.NewRecorder()
	l.dhis2.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("the nurse: %d %s", w.Code, w.Body)
	}
}

func cmpOr(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func (l *lateData) holds() string {
	var list []string
	for _, v := range l.dhis2.Values() {
		list = append(list, l.short(v))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// sent is what the last imports, from number n on, brought.
func (l *lateData) sent(t *testing.T, n int) string {
	t.Helper()
	var list []string
	for _, i := range l.dhis2.Imports()[n:] {
		var body struct {
			DataValues []struct {
				sandbox.DHIS2Value

				Deleted bool `json:"deleted"`
			} `json:"dataValues"`
		}
		if err := json.Unmarshal(i.Body, &body); err != nil {
			t.Fatal(err)
		}
		for _, v := range body.DataValues {
			text := l.short(v.DHIS2Value)
			if v.Deleted {
				text = "-" + text
			}
			list = append(list, text)
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func codes(r Report) string {
	counts := map[string]int{}
	for _, i := range r.Issues {
		if i.Code != "field_dropped" && i.Code != "percent_sends_denominator" { // completeDate of every answer, and targets of the country
			counts[i.Code] += i.Count
		}
	}
	var list []string
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, fmt.Sprintf("%s:%d", code, counts[code]))
	}
	return strings.Join(list, " ")
}

func TestOnlyDifferencesTravelAndNobodysCorrectionIsOverwrittenUnseen(t *testing.T) {
	const first = "a.x=3 a.y=5 b.x=7 b.y=0"
	tests := []struct {
		name    string
		policy  func(*Compare)
		mode    ledger.Mode
		version string
		// first is what is submitted at first, where it is not as above; edits are what a person then changes in DHIS2, then what
		// the CHT says then.
		first, edits, then string
		state              ledger.State
		sent, holds        string
		unchanged, kept    int
		codes              string
		changes            Changes
	}{
		{
			name: "nothing changed", then: first, state: ledger.Unchanged, unchanged: 4, holds: "a.x=3 a.y=5 b.x=7 b.y=0",
			changes: Changes{Was: 15, Becomes: 15},
		},
		{
			name: "one cell changed", then: "a.x=4 a.y=5 b.x=7 b.y=0", state: ledger.Accepted, sent: "a.x=4", unchanged: 3, holds: "a.x=4 a.y=5 b.x=7 b.y=0",
			changes: Changes{Cells: 1, OrgUnits: 1, Was: 15, Becomes: 16},
		},
		{
			name: "a new cell and a new org unit", then: first + " a.z=1 c.x=2", state: ledger.Accepted, sent: "a.z=1 c.x=2", unchanged: 4,
			holds: "a.x=3 a.y=5 a.z=1 b.x=7 b.y=0 c.x=2", changes: Changes{Cells: 1, OrgUnits: 1, Was: 15, Becomes: 18},
		},
		{
			name: "everything again", mode: ledger.ModeFull, edits: "a.x=9", then: first, state: ledger.Accepted, sent: first, holds: first,
			changes: Changes{Was: 15, Becomes: 15},
		},
		{
			name: "somebody's correction is kept", edits: "a.x=9", then: "a.x=4 a.y=6 b.x=7 b.y=0", state: ledger.PartlyAccepted, sent: "a.y=6", unchanged: 2, kept: 1,
			holds: "a.x=9 a.y=6 b.x=7 b.y=0", codes: "edited_in_dhis2:1", changes: Changes{Cells: 2, OrgUnits: 1, Was: 15, Becomes: 17},
		},
		{
			name: "somebody's correction is kept, though nothing else is to be sent", edits: "a.x=9", then: first, state: ledger.PartlyAccepted, unchanged: 3, kept: 1,
			holds: "a.x=9 a.y=5 b.x=7 b.y=0", codes: "edited_in_dhis2:1", changes: Changes{Was: 15, Becomes: 15},
		},
		{
			name: "somebody's correction is overwritten where so set", policy: func(c *Compare) { c.Edited = OverwriteEdited }, edits: "a.x=9", then: first, state: ledger.Accepted,
			sent: "a.x=3", unchanged: 3, holds: first, codes: "edited_in_dhis2:1", changes: Changes{Was: 15, Becomes: 15},
		},
		{
			name: "somebody's correction holds the month where so set", policy: func(c *Compare) { c.Edited = HoldEdited }, edits: "a.x=9", then: first, state: ledger.Held,
			unchanged: 3, holds: "a.x=9 a.y=5 b.x=7 b.y=0", codes: "edited_in_dhis2:1", changes: Changes{Was: 15, Becomes: 15},
		},
		{
			name: "a correction that the CHT says by now is agreed", edits: "a.x=4", then: "a.x=4 a.y=5 b.x=7 b.y=0", state: ledger.Unchanged, unchanged: 4,
			holds: "a.x=4 a.y=5 b.x=7 b.y=0", changes: Changes{Cells: 1, OrgUnits: 1, Was: 15, Becomes: 16},
		},
		{
			name: "a deleted value goes again", edits: "a.x=", then: first, state: ledger.Accepted, sent: "a.x=3", unchanged: 3, holds: first, changes: Changes{Was: 15, Becomes: 15},
		},
		{
			name: "a value that was there before anything was sent is kept", edits: "c.x=9", then: first + " c.x=2", state: ledger.PartlyAccepted, unchanged: 4, kept: 1,
			holds: first + " c.x=9", codes: "edited_in_dhis2:1", changes: Changes{Was: 15, Becomes: 17},
		},
		{
			name: "without reading DHIS2, a correction is not seen", policy: func(c *Compare) { c.LedgerOnly = true }, edits: "a.x=9", then: "a.x=3 a.y=6 b.x=7 b.y=0",
			state: ledger.Accepted, sent: "a.y=6", unchanged: 3, holds: "a.x=9 a.y=6 b.x=7 b.y=0", changes: Changes{Cells: 1, OrgUnits: 1, Was: 15, Becomes: 16},
		},
		{
			name: "a zero that 2.42 never keeps is no difference", version: "2.42.5.2", then: first, state: ledger.Unchanged, unchanged: 4, holds: "a.x=3 a.y=5 b.x=7",
			changes: Changes{Was: 15, Becomes: 15},
		},
		{
			name: "a value that falls to a zero that 2.42 does not keep", version: "2.42.5.2", then: "a.x=3 a.y=0 b.x=7 b.y=0", state: ledger.Accepted, sent: "a.y=0", unchanged: 3,
			holds: "a.x=3 b.x=7", changes: Changes{Cells: 1, OrgUnits: 1, Was: 15, Becomes: 10},
		},
		{
			name: "a vanished cell is kept", then: "a.x=3 b.x=7 b.y=0", state: ledger.Unchanged, unchanged: 3, holds: first, codes: "cells_vanished:1", changes: Changes{Was: 15, Becomes: 15},
		},
		{
			name: "a vanished cell becomes zero where so set", policy: func(c *Compare) { c.Vanished = ZeroVanished }, then: "a.x=3 b.x=7 b.y=0", state: ledger.Accepted, sent: "a.y=0",
			unchanged: 3, holds: "a.x=3 a.y=0 b.x=7 b.y=0", changes: Changes{Cells: 1, OrgUnits: 1, Was: 15, Becomes: 10},
		},
		{
			name: "a vanished cell is deleted where so set", policy: func(c *Compare) { c.Vanished = DeleteVanished }, then: "a.x=3 b.x=7 b.y=0", state: ledger.Accepted, sent: "-a.y=5",
			unchanged: 3, holds: "a.x=3 b.x=7 b.y=0", changes: Changes{Cells: 1, OrgUnits: 1, Was: 15, Becomes: 10},
		},
		{
			name: "an org unit that moved is held", then: "c.x=3 c.y=5 b.x=7 b.y=0", state: ledger.Held, unchanged: 2, holds: first, codes: "org_unit_vanished:2",
			changes: Changes{Cells: 2, OrgUnits: 1, Was: 15, Becomes: 15},
		},
		{
			name: "an org unit that fell to zeros is held", then: "a.x=0 a.y=0 b.x=7 b.y=0", state: ledger.Held, unchanged: 2, holds: first, codes: "org_unit_fell_to_zero:2",
			changes: Changes{Cells: 2, OrgUnits: 1, Was: 15, Becomes: 7},
		},
		{
			name: "an org unit whose values somebody has taken away may go", edits: "a.x= a.y=", then: "b.x=7 b.y=0", state: ledger.Unchanged, unchanged: 2, holds: "b.x=7 b.y=0",
			changes: Changes{Was: 15, Becomes: 7},
		},
		{
			name: "a month that shrinks is held", then: "a.x=3 a.y=0 b.x=1 b.y=0", state: ledger.Held, unchanged: 2, holds: first, changes: Changes{Cells: 2, OrgUnits: 2, Was: 15, Becomes: 4},
		},
		{
			name: "a zero that a rule leaves out goes where it was another number", first: "a.x=3 a.y=5 b.x=7", then: "a.x=3 a.y=0 b.x=7 b.y=0", state: ledger.Accepted, sent: "a.y=0", unchanged: 2,
			holds: "a.x=3 a.y=0 b.x=7", changes: Changes{Cells: 1, OrgUnits: 1, Was: 15, Becomes: 10},
			policy: func(*Compare) {},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLateData(t, cmpOr(test.version, "2.43.1"))
			if test.policy != nil {
				test.policy(&l.DataSets[0].Compare)
			}
			l.DataSets[0].Rules.DropZeros = strings.HasPrefix(test.name, "a zero that a rule")
			l.says(cmpOr(test.first, first))
			if r, _ := l.submit(t, t.Context()); r.State != ledger.Accepted {
				t.Fatalf("%s %s", r.State, r.Error)
			}
			if test.edits != "" {
				l.edits(t, test.edits)
			}
			before := len(l.dhis2.Imports())
			l.says(test.then)
			r, err := l.Submit(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "county", Mode: test.mode})
			if err != nil {
				t.Fatal(err)
			}
			if r.State != test.state || r.Counts.Unchanged != test.unchanged || r.Counts.Quarantined != test.kept {
				t.Errorf("%s %s %+v", r.State, r.Error, r.Counts)
			}
			c := r.Counts
			if c.Fetched != c.Dropped+c.Quarantined+c.Unchanged+c.Held+c.Accepted {
				t.Errorf("the counts do not add up: %+v", c)
			}
			if got := l.sent(t, before); got != test.sent {
				t.Errorf("sent %q, want %q", got, test.sent)
			}
			if got := l.holds(); got != test.holds {
				t.Errorf("DHIS2 holds %q, want %q", got, test.holds)
			}
			if got := codes(r); got != test.codes && got != strings.TrimSpace(test.codes+" zeros_not_kept:1") {
				t.Errorf("issues %q, want %q", got, test.codes)
			}
			if r.Changes == nil || *r.Changes != test.changes {
				t.Errorf("changes %+v, want %+v", r.Changes, test.changes)
			}
			if r.State == ledger.Held {
				return
			}
			before = len(l.dhis2.Imports())
			if test.mode == ledger.ModeFull {
				return
			}
			again, _ := l.submit(t, t.Context())
			if n := len(l.dhis2.Imports()) - before; n > 0 || again.State != ledger.Unchanged && test.kept == 0 && test.policy == nil {
				t.Errorf("once more: %d imports, %s %+v", n, again.State, again.Counts)
			}
		})
	}
}

func TestAnApprovedHoldDeletesWhatMoved(t *testing.T) {
	for _, version := range []string{"2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			l := newLateData(t, version)
			l.says("a.x=3 a.y=5 b.x=7")
			l.submit(t, t.Context())
			l.says("c.x=3 c.y=5 b.x=8")
			before := len(l.dhis2.Imports())
			r, _ := l.submit(t, t.Context())
			if r.State != ledger.Held || !strings.Contains(r.Error, l.ids["a"]) || !strings.Contains(r.Error, "sum of 8") || r.Remedy == "" {
				t.Fatalf("%s %q %q", r.State, r.Error, r.Remedy)
			}
			if err := l.Approve(t.Context(), r.ID, "the HRIO"); err != nil {
				t.Fatal(err)
			}
			r, err := l.Follow(t.Context(), r.ID)
			if err != nil || r.State != ledger.Accepted || r.ApprovedBy != "the HRIO" || r.Error != "" {
				t.Fatalf("%s %q, %v", r.State, r.Error, err)
			}
			if got, want := l.sent(t, before), "-a.x=3 -a.y=5 b.x=8 c.x=3 c.y=5"; got != want {
				t.Errorf("sent %q, want %q", got, want)
			}
			if got, want := l.holds(), "b.x=8 c.x=3 c.y=5"; got != want {
				t.Errorf("DHIS2 holds %q, want %q", got, want)
			}
			if r, _ := l.submit(t, t.Context()); r.State != ledger.Unchanged {
				t.Errorf("once more: %s %s", r.State, r.Error)
			}
		})
	}
}

func TestAnAnswerThatWasLostIsNoCorrectionOfSomebody(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.Wait = 0
	l.says("a.x=3")
	l.submit(t, t.Context())
	l.says("a.x=4")
	l.dhis2.Fail(sandbox.Fault{Kind: sandbox.ResetAfter, Method: http.MethodPost})
	if r, _ := l.submit(t, t.Context()); r.State != ledger.Failed || r.Counts.Unknown != 1 {
		t.Fatalf("%s %+v", r.State, r.Counts)
	}
	l.dhis2.Heal()
	l.says("a.x=5")
	if r, _ := l.submit(t, t.Context()); r.State != ledger.Accepted || l.holds() != "a.x=5" {
		t.Errorf("%s %s, DHIS2 holds %s", r.State, codes(r), l.holds())
	}
}

func TestADatabaseThatIsLostIsBuiltAnewFromDHIS2(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.says("a.x=3 a.y=5 b.x=7")
	l.submit(t, t.Context())
	l.remember(t, t.TempDir())
	before := len(l.dhis2.Imports())
	if r, _ := l.submit(t, t.Context()); r.State != ledger.Unchanged || len(l.dhis2.Imports()) != before {
		t.Errorf("%s %+v", r.State, r.Counts)
	}
	l.says("c.x=3 c.y=5 b.x=7")
	if r, _ := l.submit(t, t.Context()); r.State != ledger.Held {
		t.Errorf("what moved is not seen any more: %s", r.State)
	}
}

func TestAnAccountThatMayNotReadIsComparedWithTheLedgerOnly(t *testing.T) {
	for _, version := range []string{"2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			l := newLateData(t, version)
			l.says("a.x=3 b.x=7")
			l.submit(t, t.Context())
			l.dhis2.Fail(sandbox.Fault{Kind: sandbox.Status, Status: http.StatusConflict, Method: http.MethodGet, Path: "/api/dataValueSets"})
			l.says("a.x=4 b.x=7")
			before := len(l.dhis2.Imports())
			r, _ := l.submit(t, t.Context())
			if r.State != ledger.Accepted || codes(r) != "not_compared_with_dhis2:1" || l.sent(t, before) != "a.x=4" {
				t.Errorf("%s %s %s, sent %s", r.State, r.Error, codes(r), l.sent(t, before))
			}
		})
	}
}

func TestRefusedCellsAreNotRememberedAsAccepted(t *testing.T) {
	l := newLateData(t, "2.42.5.2")
	l.ids["q"] = "DeUnknown01"
	l.DataSets[0].Unchecked = true
	l.says("a.x=3 a.q=4")
	for range 2 {
		before := len(l.dhis2.Imports())
		r, _ := l.submit(t, t.Context())
		if r.State != ledger.PartlyAccepted || r.Counts.Refused != 1 || !strings.Contains(l.sent(t, before), "a.q=4") {
			t.Errorf("%s %+v, sent %s", r.State, r.Counts, l.sent(t, before))
		}
	}
}

func TestALockedPeriodTellsWhatDiffersAndIsTriedAgain(t *testing.T) {
	for _, version := range []string{"2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			l := newLateData(t, version)
			l.says("a.x=3 b.x=7")
			l.submit(t, t.Context())
			l.dhis2.LockPeriod(l.set, "202609")
			l.says("a.x=4 b.x=7")
			for range 2 {
				r, _ := l.submit(t, t.Context())
				if r.State != ledger.Refused || r.RefusedTotal != 1 || r.Refused[0].OrgUnit != l.ids["a"] || r.Refused[0].Value != "4" || r.Results[0].Was != 3 || r.Results[0].Becomes != 4 {
					t.Errorf("%s %q %+v %+v", r.State, r.Error, r.Refused, r.Results)
				}
			}
		})
	}
}

func TestDistrictsJoinOneAfterTheOther(t *testing.T) {
	l := newLateData(t, "2.43.1")
	all := map[string]string{}
	if err := l.Destinations["national"].Client.OrgUnits(t.Context(), l.set, func(o dhis2.OrgUnit) { all[o.ID] = o.Path }); err != nil {
		t.Fatal(err)
	}
	district := func(letter string) string {
		levels := strings.Split(all[l.ids[letter]], "/")
		return levels[len(levels)-2]
	}
	period := func(text string) dhis2.Period {
		p, err := dhis2.ParsePeriod(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	var other string
	for id, path := range all {
		if !strings.Contains(path, district("a")) {
			l.ids["o"], other = id, path
			break
		}
	}
	if other == "" {
		t.Fatal("the country has one district only")
	}
	l.DataSets[0].Compare.LiveFrom = []LiveFrom{{district("a"), period("202609")}, {district("o"), period("202610")}}
	l.says("a.x=3 o.x=7")
	r, _ := l.submit(t, t.Context())
	if r.State != ledger.Accepted || r.Counts.Dropped != 1 || l.holds() != "a.x=3" || codes(r) != "org_units_not_live:1" {
		t.Errorf("%s %+v %s, DHIS2 holds %s", r.State, r.Counts, codes(r), l.holds())
	}
	l.ids["u"] = "OuUnknown01"
	l.says("a.x=3 o.x=7 u.x=1")
	if r, _ := l.submit(t, t.Context()); r.State == ledger.Accepted || r.Counts.Quarantined != 1 || r.Counts.Dropped != 1 {
		t.Errorf("an org unit that nobody knows: %s %+v", r.State, r.Counts)
	}
	l.says("a.x=3 o.x=7")
	l.DataSets[0].Compare.LiveFrom[1].Period = period("202609")
	if r, _ := l.submit(t, t.Context()); r.State != ledger.Accepted || l.holds() != "a.x=3 o.x=7" {
		t.Errorf("%s, DHIS2 holds %s", r.State, l.holds())
	}
}

func TestWhatSeveralSourcesGiveAddsUpWhereSoSet(t *testing.T) {
	for _, version := range []string{"2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			l := newLateData(t, version)
			l.Sources["city"] = Source{Name: "city", Client: l.Sources["county"].Client}
			l.DataSets[0].CHT = append(l.DataSets[0].CHT, "city")
			l.DataSets[0].Compare.AddUp = true
			give := func(source, values, holds string, state ledger.State) {
				t.Helper()
				l.says(values)
				r, err := l.Submit(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: source})
				if err != nil || r.State != state || l.holds() != holds {
					t.Fatalf("%s says %s: %s %s %s %+v, %v; DHIS2 holds %s, want %s", source, values, r.State, r.Error, codes(r), r.Counts, err, l.holds(), holds)
				}
			}
			give("county", "a.x=3 b.x=7", "a.x=3 b.x=7", ledger.Accepted)
			give("city", "a.x=2 a.y=1", "a.x=5 a.y=1 b.x=7", ledger.Accepted)
			give("city", "a.x=2 a.y=1", "a.x=5 a.y=1 b.x=7", ledger.Unchanged)
			give("county", "a.x=3 b.x=7", "a.x=5 a.y=1 b.x=7", ledger.Unchanged)
			give("county", "a.x=4 b.x=7", "a.x=6 a.y=1 b.x=7", ledger.Accepted)
			give("city", "a.x=5 a.y=1", "a.x=9 a.y=1 b.x=7", ledger.Accepted)
			give("county", "a.x=4 a.y=2 b.x=7", "a.x=9 a.y=3 b.x=7", ledger.Accepted)
			l.edits(t, "a.x=50")
			give("city", "a.x=6 a.y=1", "a.x=50 a.y=3 b.x=7", ledger.PartlyAccepted)
		})
	}
}

func TestASecondSourceOfAnOrgUnitIsRefused(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.Sources["city"] = Source{Name: "city", Client: l.Sources["county"].Client}
	l.DataSets[0].CHT = append(l.DataSets[0].CHT, "city")
	l.says("a.x=3 b.x=7")
	l.submit(t, t.Context())
	r, err := l.Submit(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "city"})
	if err != nil || r.State != ledger.Refused || codes(r) != "org_unit_of_two_sources:1" {
		t.Errorf("%s %s, %v", r.State, codes(r), err)
	}
	key := ledger.Key{DHIS2: "national", DataSet: l.set, CHT: "county"}
	key.Period, _ = dhis2.ParsePeriod("202609")
	if n, err := l.Ledger.Forget(t.Context(), key, l.ids["a"], l.ids["b"]); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if r, err := l.Submit(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "city"}); err != nil || r.State != ledger.Unchanged {
		t.Errorf("%s %s, %v", r.State, codes(r), err)
	}
}

func TestARepairSendsWhatDHIS2HoldsOtherwiseThanItAccepted(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.says("a.x=3 a.y=5 b.x=7")
	l.submit(t, t.Context())
	l.edits(t, "a.x=9 b.x=")
	l.says("a.x=100 a.y=100")
	l.cht.Fail(sandbox.Fault{Kind: sandbox.Status, Status: 503})
	before := len(l.dhis2.Imports())
	r, err := l.Submit(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "county", Mode: ledger.ModeRepair})
	if err != nil || r.State != ledger.Accepted || l.sent(t, before) != "a.x=3 b.x=7" || l.holds() != "a.x=3 a.y=5 b.x=7" {
		t.Errorf("%s %s, %v; sent %s, DHIS2 holds %s", r.State, r.Error, err, l.sent(t, before), l.holds())
	}
}

func TestTheReportTellsWhatChangedSinceTheLastTime(t *testing.T) {
	l := newLateData(t, "2.43.1")
	l.says("a.x=3 a.y=5 b.x=7")
	l.submit(t, t.Context())
	var told Conclusion
	l.Told = func(_ context.Context, c Conclusion) ([]ledger.Letter, error) {
		told = c
		return nil, nil
	}
	l.says("a.x=4 a.y=6 b.x=7")
	l.edits(t, "b.x=9")
	l.submit(t, t.Context())
	transaction, err := telling(l.Ledger).transaction(t.Context(), told)
	if err != nil {
		t.Fatal(err)
	}
	var compared, transformed string
	for _, o := range transaction.Orchestrations {
		switch {
		case strings.Contains(o.Name, "Compare: 2 values of 1 org unit changed since the last time, the sum was 15 and becomes 17"):
			compared = o.Response.Body
		case strings.Contains(o.Name, "Transform"):
			transformed = o.Response.Body
		}
	}
	want := fmt.Sprintf(`{"changes":{"cells":2,"org_units":1,"was":15,"becomes":17},"org_units":[{"org_unit":%q,"changes":2,"was":8,"becomes":10}],"unchanged":0}`, l.ids["a"])
	if compared != want || !strings.Contains(transformed, `"kept_as_edited":1`) {
		t.Errorf("got %s and %s", compared, transformed)
	}
}

func TestOneSourceOfSeveralReadsItsPartOfTheCountryOnly(t *testing.T) {
	l := newLateData(t, "2.43.1")
	paths := map[string]string{}
	if err := l.Destinations["national"].Client.OrgUnits(t.Context(), l.set, func(o dhis2.OrgUnit) { paths[o.ID] = o.Path }); err != nil {
		t.Fatal(err)
	}
	levels := strings.Split(paths[l.ids["a"]], "/")
	district := levels[len(levels)-2]
	var inside, outside []string
	for id, path := range paths {
		if strings.Contains(path, "/"+district+"/") {
			inside = append(inside, id)
		} else {
			outside = append(outside, id)
		}
	}
	roots := func(sources []string, ours ...string) []string {
		l.DataSets[0].CHT = sources
		who, err := l.parties(l.set, "county")
		if err != nil {
			t.Fatal(err)
		}
		p := l.newPlan("x", who, Request{DataSet: l.set, CHT: "county"})
		p.id = l.set
		p.period, _ = dhis2.ParsePeriod("202609")
		m, _, err := l.metadata(t.Context(), who, p.evidence)
		if err != nil {
			t.Fatal(err)
		}
		found, err := l.roots(t.Context(), p, m, ours)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	country, one, two := []string{strings.Split(paths[l.ids["a"]], "/")[1]}, []string{"county"}, []string{"county", "city"}
	if got := roots(one, inside...); !slices.Equal(got, country) {
		t.Errorf("a single source reads %v", got)
	}
	if got := roots(two, inside...); !slices.Equal(got, []string{district}) {
		t.Errorf("one of several reads %v, want %s", got, district)
	}
	if got := roots(two, append(inside, "OuUnknown01")...); !slices.Equal(got, country) {
		t.Errorf("with an org unit that nobody knows it reads %v", got)
	}
	l.DataSets[0].CHT = one
	l.says("a.x=3")
	l.submit(t, t.Context())
	if got := roots(two, outside[0]); !slices.Equal(got, country) {
		t.Errorf("with values of before in another district it reads %v", got)
	}
}
