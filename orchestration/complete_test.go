package orchestration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/exchange"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// newCompleting is a country whose org units are registered as complete.
func newCompleting(t *testing.T, version string) *lateData {
	t.Helper()
	l := newLateData(t, version)
	l.DataSets[0].Completeness = Completeness{WhenAccepted: true}
	return l
}

// complete says in short which org units are registered: "a" by us, "a!" by the nurse; "-a" is one that is not complete any more.
func (l *lateData) complete() string {
	var list []string
	for _, c := range l.dhis2.Completions() {
		text := l.letter(c.OrgUnit)
		if c.StoredBy == "nurse" {
			text += "!"
		}
		if !c.Completed {
			text = "-" + text
		}
		list = append(list, text)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// registers lets the nurse register org units, or take their registration back: "a -b".
func (l *lateData) registers(t *testing.T, text string) {
	t.Helper()
	type registration struct {
		DataSet   string `json:"dataSet"`
		Period    string `json:"period"`
		OrgUnit   string `json:"organisationUnit"`
		Completed bool   `json:"completed"`
	}
	var list []registration
	for letter := range strings.FieldsSeq(text) {
		name, undo := strings.CutPrefix(letter, "-")
		list = append(list, registration{l.set, "202609", l.ids[name], !undo})
	}
	body, _ := json.Marshal(map[string]any{"completeDataSetRegistrations": list})
	r := httptest.NewRequest(http.MethodPost, "/api/completeDataSetRegistrations", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth("nurse", "Nurse.1234")
	w := httptest.NewRecorder()
	l.dhis2.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("the nurse: %d %s", w.Code, w.Body)
	}
}

// ends submits, and makes sure of what came of it: the state, how many org units are registered, were so already, are undone and
// refused, and which ones are complete in DHIS2.
func (l *lateData) ends(t *testing.T, state ledger.State, counts, complete string) Report {
	t.Helper()
	r, _ := l.submit(t, t.Context())
	got := "none"
	if c := r.Completeness; c != nil {
		got = fmt.Sprint(c.Registered, c.Already, c.Undone, c.Refused)
	}
	if r.State != state || got != counts || l.complete() != complete {
		t.Fatalf("%s %s %s, complete is %q; want %s %s %q\n%s", r.State, r.Error, got, l.complete(), state, counts, complete, codes(r))
	}
	return r
}

var bothVersions = []string{"2.42.5.2", "2.43.1"}

func TestOrgUnitsAreRegisteredWhenNothingIsLeftBehind(t *testing.T) {
	for _, version := range bothVersions {
		t.Run(version, func(t *testing.T) {
			l := newCompleting(t, version)
			l.DataSets[0].Completeness.WhenAccepted = false
			l.says("a.x=3 b.x=7")
			if r, _ := l.submit(t, t.Context()); r.Completeness != nil || l.complete() != "" {
				t.Fatalf("%+v, complete is %q", r.Completeness, l.complete())
			}
			l.DataSets[0].Completeness.WhenAccepted = true
			l.edits(t, "a.x=50")
			l.says("a.x=4 b.x=8")
			l.ends(t, ledger.PartlyAccepted, "1 0 0 0", "b")
			l.says("a.x=50 b.x=8") // a has no gap any more
			l.ends(t, ledger.Unchanged, "1 1 0 0", "a b")
			before := len(l.dhis2.CompletionImports())
			l.ends(t, ledger.Unchanged, "0 2 0 0", "a b")
			l.says("a.x=50 b.x=9")
			l.ends(t, ledger.Accepted, "0 2 0 0", "a b")
			if n := len(l.dhis2.CompletionImports()); n != before {
				t.Errorf("%d registrations were sent again", n-before)
			}
			for _, sent := range l.dhis2.CompletionImports() {
				if sent.Query.Get("skipNotifications") != "true" || bytes.Contains(sent.Body, []byte("orgUnit")) || !bytes.Contains(sent.Body, []byte(`"date":"2026-11-22"`)) {
					t.Errorf("%v %s", sent.Query, sent.Body)
				}
			}
		})
	}
}

func TestOnlyRegistrationsOfOurOwnAreUndone(t *testing.T) {
	for _, version := range bothVersions {
		t.Run(version, func(t *testing.T) {
			l := newCompleting(t, version)
			l.registers(t, "c")
			l.says("a.x=3 b.x=7 c.x=1")
			l.ends(t, ledger.Accepted, "2 1 0 0", "a b c!")
			l.edits(t, "b.x=70 c.x=10")
			l.says("a.x=3 b.x=8 c.x=2")
			l.ends(t, ledger.PartlyAccepted, "0 1 0 0", "a b c!") // it is not said that they are undone
			l.DataSets[0].Completeness.Undo = true
			l.ends(t, ledger.PartlyAccepted, "0 1 1 0", "-b a c!")
			l.ends(t, ledger.PartlyAccepted, "0 1 0 0", "-b a c!")
			l.says("a.x=3 b.x=70 c.x=10")
			l.ends(t, ledger.Unchanged, "1 2 0 0", "a b c!")
			// The nurse has taken it on: what she says stays.
			l.registers(t, "b")
			l.edits(t, "b.x=71")
			l.says("a.x=3 b.x=9 c.x=10")
			l.ends(t, ledger.PartlyAccepted, "0 2 0 0", "a b! c!")
		})
	}
}

func TestAFormThatSomebodyHasReopenedStaysOpen(t *testing.T) {
	l := newCompleting(t, "2.43.1")
	l.registers(t, "a")
	l.registers(t, "-a")
	l.says("a.x=3 b.x=7")
	r := l.ends(t, ledger.Accepted, "1 0 0 0", "-a! b")
	if !strings.Contains(codes(r), "completeness_reopened:1") {
		t.Error(codes(r))
	}
	if r := l.ends(t, ledger.Unchanged, "0 1 0 0", "-a! b"); strings.Contains(codes(r), "completeness") {
		t.Error(codes(r))
	}
}

func TestWhatIsNotSentIsNotRegistered(t *testing.T) {
	l := newCompleting(t, "2.43.1")
	l.says("a.x=3 b.x=7")
	for _, request := range []Request{{DryRun: true}, {OrgUnits: []string{l.ids["b"]}}} {
		request.DataSet, request.Period, request.CHT = l.set, "202609", "county"
		if r, err := l.Submit(t.Context(), request); err != nil || r.State != ledger.Accepted {
			t.Fatal(r.State, r.Error, err)
		}
	}
	if l.complete() != "b" {
		t.Errorf("complete is %q", l.complete())
	}
	l.ends(t, ledger.Accepted, "1 1 0 0", "a b")
}

// through serves a DHIS2 through a function that may answer in its place.
func (l *lateData) through(answers func(w http.ResponseWriter, r *http.Request, body []byte) bool) {
	base := &url.URL{Scheme: "http", Host: "stand-in.test"}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if r.Method == http.MethodPost && r.URL.Path == "/api/completeDataSetRegistrations" && answers(w, r, body) {
			return
		}
		l.dhis2.ServeHTTP(w, r)
	})
	token := func(r *http.Request) { r.Header.Set("Authorization", "ApiToken "+l.country.DHIS2Token) }
	l.Destinations["national"] = Destination{Name: "national", Client: dhis2.New(base, inMemory{handler, token, 50 * time.Second}, 1)}
}

// answer answers with a summary that took none.
func answer(w http.ResponseWriter, status int, description, conflicts string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"httpStatus":"Conflict","httpStatusCode":%d,"status":"ERROR","message":"An error occurred, please check import summary.","response":{"status":"ERROR","description":%q,`+
		`"importCount":{"imported":0,"updated":0,"ignored":0,"deleted":0},"conflicts":[%s],"rejectedIndexes":[],"responseType":"ImportSummary"}}`, status, description, conflicts)
}

func TestOneRegistrationThatCannotBeReadFailsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newCompleting(t, "2.43.1")
		posts := 0
		l.through(func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
			posts++
			bad := bytes.Contains(body, []byte(l.ids["b"]))
			if bad {
				answer(w, http.StatusConflict, "The import process failed: java.lang.IllegalArgumentException: nobody knows why", "")
			}
			return bad
		})
		l.says("a.x=3 b.x=7 c.x=1")
		r := l.ends(t, ledger.Accepted, "2 0 0 1", "a c")
		if posts > 5 || !strings.Contains(codes(r), "completeness_refused:1") || !strings.Contains(r.Issues[len(r.Issues)-1].Text, "nobody knows why") {
			t.Errorf("%d requests, %s %+v", posts, codes(r), r.Issues)
		}
	})
}

func TestRegistrationsThatDHIS2RefusesAreToldApart(t *testing.T) {
	for _, version := range bothVersions {
		t.Run(version, func(t *testing.T) {
			l := newCompleting(t, version)
			element := l.ids["z"]
			for i := range l.country.DHIS2.DataSets {
				l.country.DHIS2.DataSets[i].CompulsoryFieldsCompleteOnly = true
				l.country.DHIS2.DataSets[i].CompulsoryDataElementOperands = []sandbox.DHIS2Operand{{DataElement: sandbox.DHIS2Ref{ID: element}}}
			}
			l.dhis2 = sandbox.NewDHIS2(sandbox.DHIS2Config{Version: version, Metadata: l.country.DHIS2, Users: l.country.Users, Now: l.Now})
			l.through(func(http.ResponseWriter, *http.Request, []byte) bool { return false })
			l.says("a.x=3 b.x=7 b.z=1 c.x=1")
			r := l.ends(t, ledger.Accepted, "1 0 0 2", "b")
			if !strings.Contains(codes(r), "completeness_refused:2") || !strings.Contains(r.Issues[len(r.Issues)-1].Text, "needs to be filled. It is compulsory.") {
				t.Errorf("%s %+v", codes(r), r.Issues)
			}
			l.says("a.x=3 a.z=2 b.x=7 b.z=1 c.x=1")
			l.ends(t, ledger.Accepted, "1 1 0 1", "a b")
		})
	}
}

func TestAnOrgUnitThatTheDataSetIsNotAssignedToIsNotRegistered(t *testing.T) {
	l := newCompleting(t, "2.43.1")
	l.says("a.x=3 b.x=7")
	l.DataSets[0].Completeness.WhenAccepted = false
	l.submit(t, t.Context())
	for i := range l.country.DHIS2.DataSets {
		set := &l.country.DHIS2.DataSets[i]
		set.OrganisationUnits = slices.DeleteFunc(set.OrganisationUnits, func(r sandbox.DHIS2Ref) bool { return r.ID == l.ids["a"] })
	}
	l.dhis2 = sandbox.NewDHIS2(sandbox.DHIS2Config{Version: "2.43.1", Metadata: l.country.DHIS2, Users: l.country.Users, Now: l.Now})
	l.DataSets[0].Completeness.WhenAccepted, l.DataSets[0].Compare.LedgerOnly = true, true
	l.known = nil // an hour later
	l.through(func(http.ResponseWriter, *http.Request, []byte) bool { return false })
	r := l.ends(t, ledger.Unchanged, "1 0 0 1", "b")
	if text := r.Issues[len(r.Issues)-1].Text; !strings.Contains(text, "is not assigned to the org unit") {
		t.Error(text)
	}
}

func TestAnAccountThatMayNotRegisterIsToldOnceForAll(t *testing.T) {
	for name, refuses := range map[string]func(w http.ResponseWriter){
		"without sharing": func(w http.ResponseWriter) {
			one := `{"object":"dataSet","value":"User does not have write access for DataSet: x"}`
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusConflict)
			_, _ = fmt.Fprintf(w, `{"httpStatusCode":409,"status":"ERROR","response":{"status":"ERROR","importCount":{"imported":0,"updated":0,"ignored":3,"deleted":0},"conflicts":[%s,%s,%s]}}`, one, one, one)
		},
		"without authority": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"httpStatusCode":403,"status":"ERROR","message":"Access is denied"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newCompleting(t, "2.43.1")
			posts := 0
			l.through(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
				posts++
				refuses(w)
				return true
			})
			l.says("a.x=3 b.x=7 c.x=1")
			r := l.ends(t, ledger.Accepted, "0 0 0 3", "")
			if posts != 1 || !strings.Contains(codes(r), "completeness_refused:3") {
				t.Errorf("%d requests, %s", posts, codes(r))
			}
		})
	}
}

func TestRegisteringWaitsForADHIS2ThatIsAway(t *testing.T) {
	for _, fault := range []sandbox.Fault{
		{Kind: sandbox.Status, Status: http.StatusServiceUnavailable, Times: 6},
		{Kind: sandbox.ResetAfter, Times: 1}, // the answer is lost
		{Kind: sandbox.ResetAfter, Times: 6},
		{Kind: sandbox.StatusAfter, Status: http.StatusGatewayTimeout, Times: 1},
	} {
		t.Run(fmt.Sprint(fault.Kind, fault.Times), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newCompleting(t, "2.43.1")
				fault.Path = "/api/completeDataSetRegistrations"
				l.dhis2.Fail(fault)
				l.says("a.x=3 b.x=7")
				l.ends(t, ledger.Accepted, "2 0 0 0", "a b")
			})
		})
	}
}

func TestADHIS2ThatStaysAwayTakesNothingFromTheValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newCompleting(t, "2.43.1")
		l.dhis2.Fail(sandbox.Fault{Kind: sandbox.Status, Status: http.StatusServiceUnavailable, Method: post, Path: "/api/completeDataSetRegistrations"})
		l.says("a.x=3 b.x=7")
		r := l.ends(t, ledger.Accepted, "0 0 0 0", "")
		if !strings.Contains(codes(r), "completeness_unfinished:2") {
			t.Error(codes(r))
		}
		l.dhis2.Heal()
		l.ends(t, ledger.Unchanged, "2 0 0 0", "a b")
	})
}

func TestWhatDHIS2HasLostIsRegisteredAgainOnRequest(t *testing.T) {
	l := newCompleting(t, "2.43.1")
	l.says("a.x=3 b.x=7")
	l.ends(t, ledger.Accepted, "2 0 0 0", "a b")
	r := httptest.NewRequest(http.MethodDelete, "/api/completeDataSetRegistrations?ds="+l.set+"&pe=202609&ou="+l.ids["a"], nil)
	r.SetBasicAuth("nurse", "Nurse.1234")
	l.dhis2.ServeHTTP(httptest.NewRecorder(), r)
	l.ends(t, ledger.Unchanged, "0 2 0 0", "b")
	full, err := l.Submit(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: "county", Mode: ledger.ModeFull})
	if err != nil || full.State != ledger.Accepted || *full.Completeness != (ledger.Completeness{Registered: 1, Already: 1}) || l.complete() != "a b" {
		t.Errorf("%s %+v, %v; complete is %q", full.State, full.Completeness, err, l.complete())
	}
}

func TestNothingIsRegisteredUnseen(t *testing.T) {
	l := newCompleting(t, "2.43.1")
	l.dhis2.Fail(sandbox.Fault{Kind: sandbox.Status, Status: http.StatusForbidden, Method: http.MethodGet, Path: "/api/completeDataSetRegistrations"})
	l.says("a.x=3 b.x=7")
	r := l.ends(t, ledger.Accepted, "0 0 0 0", "")
	if i := r.Issues[len(r.Issues)-1]; i.Code != "completeness_unfinished" || i.Count != 2 || !strings.Contains(i.Remedy, "for viewing data") {
		t.Errorf("%+v", i)
	}
}

func TestRegisteringIsAStepOfTheTransaction(t *testing.T) {
	l := newCompleting(t, "2.43.1")
	l.says("a.x=3 b.x=7")
	r := l.ends(t, ledger.Accepted, "2 0 0 0", "a b")
	sub, err := l.Ledger.Submission(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.conclusion(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	c.Calls = []StepCalls{{Step: completeStep, Calls: []Call{{Name: "Register completeness: 2 org units", Try: 1, Exchange: exchange.Exchange{Method: post, Status: http.StatusOK}}}}}
	steps, err := Telling{}.steps(t.Context(), c)
	if err != nil || len(steps) < 2 {
		t.Fatal(steps, err)
	}
	if !strings.HasPrefix(steps[0].Name, "1 Transform") || steps[1].Name != "2 Register completeness: 2 org units" || steps[1].Group != completeStep || steps[1].Error != nil {
		t.Errorf("%+v", steps)
	}
	// A run that changes nothing tells it all the same where it registers something.
	sub.RequestedBy, sub.State = BySchedule, ledger.Unchanged
	if ofTheDay(sub) {
		t.Error("what was registered is not told")
	}
	if properties := (Telling{}).properties(c); properties["org_units_registered"] != "2" || properties["org_units_registration_refused"] != "0" {
		t.Error(properties)
	}
}

func TestASubmissionThatIsCancelledWhileItRegistersEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newCompleting(t, "2.43.1")
		l.says("a.x=3 b.x=7 c.x=1")
		l.through(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			answer(w, http.StatusConflict, "The import process failed: so that it goes in parts", "")
			list, err := l.Ledger.Submissions(t.Context(), ledger.Filter{})
			if err == nil {
				err = l.Cancel(t.Context(), list[0].ID, "a person")
			}
			if err != nil {
				t.Error(err)
			}
			return true
		})
		l.ends(t, ledger.Cancelled, "0 0 0 0", "")
		l.through(func(http.ResponseWriter, *http.Request, []byte) bool { return false })
		l.ends(t, ledger.Unchanged, "3 0 0 0", "a b c")
	})
}

func TestOfTheMonthThatClosedLastPeopleAreNotified(t *testing.T) {
	l := newCompleting(t, "2.43.1")
	l.Now = func() time.Time { return time.Date(2026, 10, 22, 9, 0, 0, 0, time.UTC) }
	l.says("a.x=3")
	l.ends(t, ledger.Accepted, "1 0 0 0", "a")
	if sent := l.dhis2.CompletionImports(); len(sent) != 1 || sent[0].Query.Has("skipNotifications") {
		t.Errorf("%+v", sent)
	}
}

func TestAnOrgUnitOfTwoSourcesIsCompleteWhenNeitherLeftSomethingBehind(t *testing.T) {
	l := newCompleting(t, "2.43.1")
	l.Sources["city"] = Source{Name: "city", Client: l.Sources["county"].Client}
	l.DataSets[0].CHT = append(l.DataSets[0].CHT, "city")
	l.DataSets[0].Compare.AddUp = true
	l.DataSets[0].Completeness.Undo = true
	give := func(source, values, complete string) {
		t.Helper()
		l.says(values)
		r, err := l.Submit(t.Context(), Request{DataSet: l.set, Period: "202609", CHT: source})
		if err != nil || l.complete() != complete {
			t.Fatalf("%s says %s: %s %s %+v, %v; complete is %q, want %q", source, values, r.State, codes(r), r.Completeness, err, l.complete(), complete)
		}
	}
	give("county", "a.x=3 b.x=7", "a b")
	give("city", "a.x=2 a.y=1", "a b")
	l.edits(t, "a.x=50")
	give("city", "a.x=3 a.y=1", "-a b") // the city left its part of a behind
	give("county", "a.x=3 b.x=7", "-a b")
}

func TestWhatDHIS2ShowsDecidesWhatIsSent(t *testing.T) {
	const whole, gap = true, false
	for _, test := range []struct {
		was   ledger.RegistrationState
		whole bool
		shown string // "", "complete by us", "open by them", ...
		want  ledger.RegistrationState
	}{
		{"", whole, "", ledger.Registering},
		{"", whole, "complete by cht", ledger.OfOthers}, // of a store that is lost, or of a person with our account
		{"", whole, "complete by nurse", ledger.OfOthers},
		{"", whole, "open by nurse", ledger.Reopened},
		{ledger.Registering, whole, "", ledger.Registering},
		{ledger.Registering, whole, "complete by cht", ledger.Registered},
		{ledger.Registering, whole, "complete by nurse", ledger.OfOthers},
		{ledger.Registering, whole, "open by cht", ledger.Registering},
		{ledger.Registering, gap, "", ledger.NotRegistered},
		{ledger.Registering, gap, "complete by cht", ledger.Undoing},
		{ledger.Registered, whole, "complete by cht", ledger.Registered},
		{ledger.Registered, whole, "", ledger.Registering}, // everything is sent, and DHIS2 has lost it
		{ledger.Registered, whole, "open by cht", ledger.Reopened},
		{ledger.Registered, gap, "complete by cht", ledger.Undoing},
		{ledger.Registered, gap, "complete by nurse", ledger.OfOthers},
		{ledger.Registered, gap, "", ledger.Reopened},
		{ledger.Undoing, gap, "complete by cht", ledger.Undoing},
		{ledger.Undoing, gap, "open by cht", ledger.Undone},
		{ledger.Undoing, whole, "complete by cht", ledger.Registered},
		{ledger.Undone, whole, "open by cht", ledger.Registering},
		{ledger.Undone, whole, "open by nurse", ledger.Reopened},
		{ledger.Undone, whole, "complete by nurse", ledger.OfOthers},
		{ledger.NotRegistered, whole, "", ledger.Registering},
		{ledger.OfOthers, whole, "", ledger.Registering}, // everything is sent
		{ledger.Reopened, whole, "open by nurse", ledger.Reopened},
	} {
		found := registry{metadata: &metadata{user: dhis2.User{Username: "cht"}}, by: map[dhis2.Registration]string{}}
		if state, by, is := strings.Cut(test.shown, " by "); is {
			found.by[dhis2.Registration{OrgUnit: "a", Completed: state == "complete"}] = by
		}
		if got := decide(ledger.Registration{OrgUnit: "a", State: test.was, Whole: test.whole}, found); got != test.want {
			t.Errorf("%q, whole %v, %q in DHIS2: %s, want %s", test.was, test.whole, test.shown, got, test.want)
		}
	}
}

func TestAttributeOptionCombosAreThoseOfTheDataSet(t *testing.T) {
	plain := dhis2.DataSet{ID: "s", DefaultCombo: "d"}
	projects := dhis2.DataSet{ID: "s", AttributeOptionCombos: []string{"p", "q"}}
	for _, test := range []struct {
		set  dhis2.DataSet
		unit ledger.Registration
		want string
	}{
		{plain, ledger.Registration{OrgUnit: "a"}, ""},
		{plain, ledger.Registration{OrgUnit: "b"}, "is not assigned"},
		{plain, ledger.Registration{OrgUnit: "a", AttributeOptionCombo: "p"}, "p is none of data set s"},
		{projects, ledger.Registration{OrgUnit: "a", AttributeOptionCombo: "q"}, ""},
		{projects, ledger.Registration{OrgUnit: "a"}, "needs an attribute option combo"},
	} {
		m := &metadata{set: test.set}
		m.orgUnits.Add(dhis2.OrgUnit{ID: "a"})
		if got := unfit(test.unit, registry{metadata: m}); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%+v: %q, want %q", test.unit, got, test.want)
		}
	}
}

func TestRegistrationsGoInBatches(t *testing.T) {
	var sizes []int
	for _, batch := range batches(make([]ledger.Registration, 450)) {
		sizes = append(sizes, len(batch))
	}
	if !slices.Equal(sizes, []int{200, 200, 50}) {
		t.Errorf("%v", sizes)
	}
}

func TestALockedPeriodIsToldAsOneWhereCompletenessIsWanted(t *testing.T) {
	l := newCompleting(t, "2.42.5.2")
	l.DataSets[0].Unchecked = true // DHIS2 is to find it locked
	l.says("a.x=3 b.x=7")
	l.submit(t, t.Context())
	l.dhis2.LockPeriod(l.set, "202609")
	l.says("a.x=4 b.x=7")
	r, _ := l.submit(t, t.Context())
	if r.State != ledger.Refused || !strings.Contains(r.Error, "takes nothing of this period now") || r.Remedy == "" || r.RefusedTotal != 1 {
		t.Errorf("%s %q, %d refused", r.State, r.Error, r.RefusedTotal)
	}
}
