package dhis2

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// asked is a client of a server in memory with the metadata of the recordings, that keeps what it asks.
type asked struct {
	*Client
	server *sandbox.DHIS2
	paths  []string
	// sets are the ids of the data sets, in the order of the metadata.
	sets []string
}

func recorded(t *testing.T, version string, change func(*sandbox.DHIS2Metadata)) *asked {
	t.Helper()
	text, err := os.ReadFile("../sandbox/testdata/dhis2/metadata.json")
	if err != nil {
		t.Fatal(err)
	}
	var metadata sandbox.DHIS2Metadata
	if err := json.Unmarshal(text, &metadata); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&metadata)
	}
	a := &asked{server: sandbox.NewDHIS2(sandbox.DHIS2Config{
		Version: version, Metadata: metadata, Now: func() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC) },
		Users: []sandbox.DHIS2User{
			{Username: "cht", Token: "d2p_cht", Authorities: []string{"F_DATAVALUE_ADD"}, OrgUnits: []string{"OuCountry01"}},
			{Username: "admin", Token: "d2p_admin", Authorities: []string{"ALL"}, OrgUnits: []string{"OuCountry01"}},
		},
	})}
	for _, set := range metadata.DataSets {
		a.sets = append(a.sets, set.ID)
	}
	a.Client = client(func(r *http.Request, _ []byte) (int, string, string, error) {
		a.paths = append(a.paths, r.URL.RequestURI())
		answer := a.ask(r.Method, strings.TrimPrefix(r.URL.RequestURI(), "/dhis"), "d2p_cht")
		return answer.Code, answer.Header().Get("Content-Type"), answer.Body.String(), nil
	})
	return a
}

func (a *asked) ask(method, target, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("Authorization", "ApiToken "+token)
	answer := httptest.NewRecorder()
	a.server.ServeHTTP(answer, r)
	return answer
}

var versions = []string{"2.40.12", "2.42.5.2", "2.43.1"}

func TestOrgUnitsByIDGivesThoseThatThereAre(t *testing.T) {
	for _, version := range versions {
		a := recorded(t, version, nil)
		ids := []string{"OuAmaniHC01", "OuUnknown01", "OuClosed001", "OuAmaniHC01", "OuOutside01", "no id,at]all", "ouamanihc01"}
		for i := range 300 {
			ids = append(ids, fmt.Sprintf("OuNone%05d", i))
		}
		var got []OrgUnit
		if err := a.OrgUnitsByID(t.Context(), append(ids, "OuElimuHC01"), func(o OrgUnit) { got = append(got, o) }); err != nil {
			t.Fatal(err)
		}
		paths := map[string]string{}
		for _, o := range got {
			paths[o.ID] = o.Path + " " + o.Closes
		}
		want := map[string]string{
			"OuAmaniHC01": "/OuCountry01/OuDistEast1/OuAmaniHC01 ", "OuClosed001": "/OuCountry01/OuDistWest1/OuClosed001 2020-01-31T00:00:00.000",
			"OuOutside01": "/OuOutsideRt/OuOutside01 ", "OuElimuHC01": paths["OuElimuHC01"],
		}
		if diff := cmp.Diff(want, paths); diff != "" || len(got) != len(want) || len(a.paths) != 2 {
			t.Errorf("%s: %d org units, %d requests, -want +got:\n%s", version, len(got), len(a.paths), diff)
		}
		for _, path := range a.paths {
			if len(path) > 4000 {
				t.Errorf("%s: an address of %d letters", version, len(path))
			}
		}
	}
}

func TestOrgUnitsByIDKeepsToWhatWasAskedFor(t *testing.T) {
	c := client(func(*http.Request, []byte) (int, string, string, error) {
		return 200, "application/json", `{"organisationUnits":[{"id":"OuTest00001"},{"id":"ouTest00001"}]}`, nil
	})
	var got []string
	err := c.OrgUnitsByID(t.Context(), []string{"ouTest00001"}, func(o OrgUnit) { got = append(got, o.ID) })
	if err != nil || !slices.Equal(got, []string{"ouTest00001"}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestApprovalsTellsWhatIsClosed(t *testing.T) {
	august, err := ParsePeriod("202608")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range versions {
		a := recorded(t, version, nil)
		answer := a.ask(http.MethodPost, "/api/dataApprovals?wf=WfApprove01&pe=202608&ou=OuDistEast1", "d2p_admin")
		if answer.Code != http.StatusNoContent {
			t.Fatal(answer.Code, answer.Body)
		}
		for _, test := range []struct {
			of   Approvable
			want map[ApprovalState]bool
		}{
			{Approvable{Workflow: "WfApprove01", Period: august, OrgUnits: []string{"OuDistEast1", "OuAmaniHC01", "OuDistWest1"}}, map[ApprovalState]bool{
				{OrgUnit: "OuDistEast1", State: "APPROVED_HERE"}:    true,
				{OrgUnit: "OuAmaniHC01", State: "APPROVED_ABOVE"}:   true,
				{OrgUnit: "OuDistWest1", State: "UNAPPROVED_ABOVE"}: false,
			}},
			{Approvable{Workflow: "WfApprove01", Period: august, OrgUnits: []string{"OuDistEast1"}, AttributeOptionCombos: []string{DefaultCombo, "AocProjA001"}}, map[ApprovalState]bool{
				{OrgUnit: "OuDistEast1", State: "APPROVED_HERE"}:                                         true,
				{OrgUnit: "OuDistEast1", AttributeOptionCombo: "AocProjA001", State: "UNAPPROVED_ABOVE"}: false,
			}},
			{Approvable{Workflow: "WfApprove01", Period: august}, map[ApprovalState]bool{}},
		} {
			got := map[ApprovalState]bool{}
			if err := a.Approvals(t.Context(), test.of, func(s ApprovalState) { got[s] = s.Closed() }); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s: -want +got:\n%s", version, diff)
			}
		}
	}
}

func TestApprovalsAsksInBatches(t *testing.T) {
	a := recorded(t, "2.43.1", nil)
	var ids []string
	for range 450 {
		ids = append(ids, "OuAmaniHC01")
	}
	states := 0
	err := a.Approvals(t.Context(), Approvable{Workflow: "WfApprove01", Period: september, OrgUnits: ids}, func(ApprovalState) { states++ })
	if err != nil || states != 450 || len(a.paths) != 3 {
		t.Errorf("%d states of 450 org units in %d requests, %v", states, len(a.paths), err)
	}
}

func TestClosedIsWhatIsApprovedOrAccepted(t *testing.T) {
	for state, want := range map[string]bool{
		"APPROVED_HERE": true, "APPROVED_ABOVE": true, "ACCEPTED_HERE": true, "ACCEPTED_ABOVE": true,
		"UNAPPROVED_READY": false, "UNAPPROVED_WAITING": false, "UNAPPROVED_ABOVE": false, "UNAPPROVABLE": false, "": false,
	} {
		if got := (ApprovalState{State: state}).Closed(); got != want {
			t.Errorf("%q: closed %v", state, got)
		}
	}
}

func TestLockExceptionsAreThoseOfTheSetAndPeriod(t *testing.T) {
	for _, version := range versions {
		a := recorded(t, version, nil)
		got, err := a.LockExceptions(t.Context(), "DsExpiry001", september)
		if err != nil || len(got) != 0 {
			t.Errorf("%s: got %v, %v without any", version, got, err)
		}
		for i := range 120 { // more than a page
			a.server.ExceptFromLock("DsMchMonth1", "202609", fmt.Sprintf("OuOther%04d", i))
		}
		a.server.ExceptFromLock("DsExpiry001", "202609", "OuAmaniHC01")
		a.server.ExceptFromLock("DsExpiry001", "202608", "OuElimuHC01")
		got, err = a.LockExceptions(t.Context(), "DsExpiry001", september)
		if diff := cmp.Diff(map[string]bool{"OuAmaniHC01": true}, got); diff != "" || err != nil {
			t.Errorf("%s: %v, -want +got:\n%s", version, err, diff)
		}
		got, err = a.LockExceptions(t.Context(), "DsMchMonth1", september)
		if len(got) != 120 || err != nil {
			t.Errorf("%s: %d of 120, %v", version, len(got), err)
		}
	}
}

// A server that filters nothing must not open other periods.
func TestLockExceptionsTakesNoOthers(t *testing.T) {
	c := client(func(*http.Request, []byte) (int, string, string, error) {
		return 200, "application/json", `{"lockExceptions":[` +
			`{"dataSet":{"id":"DsTest00001"},"organisationUnit":{"id":"OuTest00001"},"period":{"id":"202608","name":"August 2026"}},` +
			`{"dataSet":{"id":"DsOther0001"},"organisationUnit":{"id":"OuTest00002"},"period":{"id":"202609"}},` +
			`{"dataSet":{"id":"DsTest00001"},"period":{"id":"202609"}},` +
			`{"dataSet":{"id":"DsTest00001"},"organisationUnit":{"id":"OuTest00003"},"period":{"id":"202609","name":"September 2026"}}]}`, nil
	})
	got, err := c.LockExceptions(t.Context(), "DsTest00001", september)
	if diff := cmp.Diff(map[string]bool{"OuTest00003": true}, got); diff != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}

func TestReadsTellWhenTheServerDoesNotLetThem(t *testing.T) {
	for _, test := range []struct {
		name, contentType, body string
		status                  int
		kind                    Kind
	}{
		{"forbidden", "application/json", `{"httpStatusCode":403,"status":"ERROR","message":"Access is denied"}`, 403, Credentials},
		{"not found", "application/json", `{"httpStatusCode":404,"status":"ERROR"}`, 404, Refused},
		{"a page that is not there", "text/html", `<html>404</html>`, 404, Refused},
		{"a login page", "text/html", `<html>`, 200, Unusable},
		{"cut in the middle", "application/json", `{"lockExceptions":[{"id`, 200, Unusable},
		{"an org unit that is unknown", "application/json", `{"httpStatusCode":409,"status":"ERROR","message":"Illegal organisation unit identifier: x"}`, 409, Refused},
	} {
		c := client(func(*http.Request, []byte) (int, string, string, error) {
			return test.status, test.contentType, test.body, nil
		})
		_, exceptions := c.LockExceptions(t.Context(), "DsTest00001", september)
		approvals := c.Approvals(t.Context(), Approvable{Workflow: "WfTest00001", Period: september, OrgUnits: []string{"OuTest00001"}}, nil)
		units := c.OrgUnitsByID(t.Context(), []string{"OuTest00001"}, nil)
		for _, err := range []error{exceptions, approvals, units} {
			var failure *Error
			if !errors.As(err, &failure) || failure.Kind != test.kind || failure.Status != 0 && failure.Status != test.status || failure.Remedy == "" {
				t.Errorf("%s: got %v (%+v), want kind %s", test.name, err, failure, test.kind)
			}
		}
	}
}

func TestTokenExpiryIsTheNextOne(t *testing.T) {
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		tokens string
		status int
		want   time.Time
	}{
		{`{"expire":%d},{"expire":%d},{"expire":%d}`, 200, now.Add(time.Hour)},
		{``, 200, time.Time{}},
		{``, 404, time.Time{}},
	} {
		tokens := test.tokens
		if tokens != "" {
			tokens = fmt.Sprintf(tokens, now.Add(2*time.Hour).UnixMilli(), now.Add(-time.Hour).UnixMilli(), now.Add(time.Hour).UnixMilli())
		}
		c := client(func(*http.Request, []byte) (int, string, string, error) {
			return test.status, "application/json", `{"apiToken":[` + tokens + `]}`, nil
		})
		c.now = func() time.Time { return now }
		if got, err := c.TokenExpiry(t.Context()); !got.Equal(test.want) || err != nil {
			t.Errorf("%s: got %s, %v, want %s", test.tokens, got, err, test.want)
		}
	}
}

func TestDataSetTellsWhichCombosMayNotBeWritten(t *testing.T) {
	for _, version := range versions {
		a := recorded(t, version, func(m *sandbox.DHIS2Metadata) {
			for i := range m.CategoryOptions {
				if m.CategoryOptions[i].ID == "CoUnder5y01" {
					m.CategoryOptions[i].Sharing.Public = "rwr-----"
				}
			}
		})
		set, err := a.DataSet(t.Context(), "DsMalariaM1")
		if err != nil {
			t.Fatal(err)
		}
		want := map[string][]string{"CocUnder5y1": {"CoUnder5y01"}, "CocOver5yr1": nil}
		got := map[string][]string{}
		for id, o := range set.Elements["DeMalCases1"].Combo.Combos {
			got[id] = o.ReadOnly
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", version, diff)
		}
	}
}

// hierarchy answers for org units in pages, and lets them change after each.
type hierarchy struct {
	ids     []string
	changed func(h *hierarchy, asked int)
	asked   int
	total   bool
}

func (h *hierarchy) answer(r *http.Request, _ []byte) (int, string, string, error) {
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	from, to := min((page-1)*orgUnitPage, len(h.ids)), min(page*orgUnitPage, len(h.ids))
	var items []string
	for _, id := range h.ids[from:to] {
		items = append(items, `{"id":"`+id+`","path":"/OuRoot00001/`+id+`"}`)
	}
	pager := fmt.Sprintf(`"pageCount":%d`, (len(h.ids)+orgUnitPage-1)/orgUnitPage)
	if h.total {
		pager += fmt.Sprintf(`,"total":%d`, len(h.ids))
	}
	h.asked++
	if h.changed != nil {
		h.changed(h, h.asked)
	}
	return 200, "application/json", `{"pager":{` + pager + `},"organisationUnits":[` + strings.Join(items, ",") + `]}`, nil
}

func (h *hierarchy) grow(n int) *hierarchy {
	for range n {
		h.ids = append(h.ids, fmt.Sprintf("Ou%09d", len(h.ids)))
	}
	return h
}

func TestOrgUnitsAreAllGivenWhateverHappensToTheList(t *testing.T) {
	take := func(h *hierarchy, _ int) { h.ids = h.ids[1:] }
	for _, test := range []struct {
		name    string
		units   int
		noTotal bool
		changed func(h *hierarchy, asked int)
		asked   int
		fails   bool
	}{
		{name: "none", asked: 1},
		{name: "one page", units: 999, asked: 1},
		{name: "a full page", units: 1000, asked: 1},
		{name: "50,000", units: 50_000, asked: 50},
		{name: "no total", units: 2000, noTotal: true, asked: 3},
		{name: "one is taken away after the first page", units: 2500, changed: func(h *hierarchy, asked int) {
			if asked == 1 {
				take(h, asked)
			}
		}, asked: 2 + 3},
		{name: "one comes after the second page", units: 2500, changed: func(h *hierarchy, asked int) {
			if asked == 2 {
				h.grow(1)
			}
		}, asked: 3 + 3},
		{name: "it grows by a page each time", units: 2500, changed: func(h *hierarchy, _ int) { h.grow(1000) }, asked: 2 * maxTries, fails: true},
		{name: "it shrinks each time", units: 2500, changed: take, asked: 2 * maxTries, fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := (&hierarchy{changed: test.changed, total: !test.noTotal}).grow(test.units)
			got := map[string]bool{}
			err := client(h.answer).OrgUnits(t.Context(), "DsTest00001", func(o OrgUnit) { got[o.ID] = true })
			var failure *Error
			if errors.As(err, &failure) != test.fails || test.fails && (!failure.Temporary || failure.Remedy == "") {
				t.Errorf("got error %v", err)
			}
			missed := slices.DeleteFunc(slices.Clone(h.ids), func(id string) bool { return got[id] })
			if !test.fails && len(missed) > 0 {
				t.Errorf("%d are missed, such as %s", len(missed), missed[0])
			}
			if h.asked != test.asked {
				t.Errorf("%d requests, want %d", h.asked, test.asked)
			}
		})
	}
}

func TestOrgUnitsDoesNotGoRoundInCircles(t *testing.T) {
	full := (&hierarchy{}).grow(1000)
	for _, pager := range []string{`{}`, `{"pageCount":9}`, `{"pageCount":9,"total":9000}`, `{"total":7}`} {
		asked := 0
		c := client(func(*http.Request, []byte) (int, string, string, error) {
			asked++
			_, kind, text, _ := full.answer(httptest.NewRequest(http.MethodGet, "/?page=1", nil), nil)
			return 200, kind, `{"pager":` + pager + text[strings.Index(text, `,"organisationUnits"`):], nil
		})
		err := c.OrgUnits(t.Context(), "DsTest00001", func(OrgUnit) {})
		if err == nil || asked > 2*maxTries {
			t.Errorf("%s: %d requests, %v", pager, asked, err)
		}
	}
}
