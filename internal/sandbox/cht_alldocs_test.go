package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// julyIDs asks for the ids of the month of the fixtures.
const julyIDs = allDocs + "?startkey=%22target~2026-07~%22&endkey=%22target~2026-07~%EF%BF%B0%22"

// listRow is a row of the list of documents or of a view.
type listRow struct {
	ID, Error string
	Key       any
	Value     listValue
	Doc       map[string]any
}

// listValue is the value of a row; in a view it may be text, which is not looked at.
type listValue struct {
	Rev     string
	Deleted bool
}

func (v *listValue) UnmarshalJSON(text []byte) error {
	type plain listValue
	if text[0] != '{' {
		return nil
	}
	return json.Unmarshal(text, (*plain)(v))
}

// listRows gives the rows of an answer.
func listRows(t *testing.T, answer *httptest.ResponseRecorder) []listRow {
	t.Helper()
	var list struct{ Rows []listRow }
	if err := json.Unmarshal(answer.Body.Bytes(), &list); err != nil || answer.Code != http.StatusOK {
		t.Fatalf("status %d: %v: %s", answer.Code, err, answer.Body)
	}
	return list.Rows
}

// postKeys asks for the documents of ids.
func postKeys(t *testing.T, c *CHT, ids ...string) []listRow {
	t.Helper()
	body, err := json.Marshal(map[string][]string{"keys": ids})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, allDocs+"?include_docs=true", strings.NewReader(string(body)))
	r.Header.Set("Authorization", integration)
	answer := httptest.NewRecorder()
	c.ServeHTTP(answer, r)
	return listRows(t, answer)
}

// revisionsOf gives the revisions of a list.
func revisionsOf(rows []listRow) map[string]string {
	revisions := map[string]string{}
	for _, row := range rows {
		revisions[row.ID] = row.Value.Rev
	}
	return revisions
}

func TestCHTPagesGiveEachDocumentOnce(t *testing.T) {
	t.Parallel()
	c := NewCHT(fixtureConfig(t))
	want := revisionsOf(listRows(t, answerTo(c, http.MethodGet, julyIDs, integration)))
	got, start, skip := map[string]string{}, "target~2026-07~", 0
	for {
		page := listRows(t, answerTo(c, http.MethodGet, fmt.Sprintf("%s?startkey=%s&endkey=%%22target~2026-07~%%EF%%BF%%B0%%22&limit=3&skip=%d&include_docs=true",
			allDocs, url.QueryEscape(`"`+start+`"`), skip), integration))
		for _, row := range page {
			if row.Doc["_id"] != row.ID || row.Doc["_rev"] != row.Value.Rev || got[row.ID] != "" {
				t.Errorf("row %+v, after %d others", row, len(got))
			}
			got[row.ID], start, skip = row.Value.Rev, row.ID, 1
		}
		if len(page) < 3 {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) != 13 {
		t.Errorf("%d documents (-want +got):\n%s", len(got), diff)
	}
}

func TestCHTRevisionsChangeWithTheirDocuments(t *testing.T) {
	t.Parallel()
	c := NewCHT(fixtureConfig(t))
	before := revisionsOf(listRows(t, answerTo(c, http.MethodGet, julyIDs, integration)))
	asha := c.documents.Targets[0].ID
	c.Change(func(d *CHTDocuments) {
		d.Targets[0].Targets[0].Value = &CHTTargetValue{Pass: 4, Total: 4}
		d.Targets = append(d.Targets[:1:1], d.Targets[2:]...)
	})
	after := revisionsOf(listRows(t, answerTo(c, http.MethodGet, julyIDs, integration)))
	if len(after) != len(before)-1 {
		t.Errorf("%d documents after %d, want one less", len(after), len(before))
	}
	for id, rev := range after {
		if changed := rev != before[id]; changed != (id == asha) {
			t.Errorf("%s: %s after %s", id, rev, before[id])
		}
	}
	if !strings.HasPrefix(after[asha], "2-") {
		t.Errorf("revision %s, want the second", after[asha])
	}
	gone := asha + "-tablet"
	if rows := postKeys(t, c, gone); !rows[0].Value.Deleted || !strings.HasPrefix(rows[0].Value.Rev, "2-") || rows[0].Doc != nil {
		t.Errorf("a document that was removed: %+v", rows[0])
	}
	if again := revisionsOf(listRows(t, answerTo(c, http.MethodGet, julyIDs, integration))); cmp.Diff(after, again) != "" {
		t.Errorf("revisions of unchanged documents (-before +after):\n%s", cmp.Diff(after, again))
	}
}

func TestCHTListsContactsByType(t *testing.T) {
	t.Parallel()
	config := fixtureConfig(t)
	config.Documents.Persons[1].Muted = "2026-05-01T08:00:00.000Z"
	config.Documents.Persons[2].DateOfDeath = 1735689600000
	c := NewCHT(config)
	const asked = typeView + `?key=%5B%22chw%22%5D&reduce=false&include_docs=true`
	all := listRows(t, answerTo(c, http.MethodGet, asked, integration))
	if len(all) != 10 {
		t.Fatalf("%d contacts, want 10", len(all))
	}
	rows := map[string]listRow{}
	for _, row := range all {
		rows[row.ID] = row
		if row.Doc["contact_type"] != "chw" || fmt.Sprint(row.Key) != "[chw]" {
			t.Errorf("row %+v", row)
		}
	}
	if rows["chw-azizi"].Doc["muted"] == nil || rows["chw-ayana"].Doc["date_of_death"] == nil || rows["chw-asha"].Doc["muted"] != nil {
		t.Errorf("muted and dead: %+v", rows)
	}
	var paged []listRow
	for next := asked + "&limit=4"; ; {
		page := listRows(t, answerTo(c, http.MethodGet, next, integration))
		paged = append(paged, page...)
		if len(page) < 4 {
			break
		}
		next = asked + "&limit=4&skip=1&startkey_docid=" + page[3].ID + "&startkey=%5B%22chw%22%5D"
	}
	if diff := cmp.Diff(all, paged, cmp.AllowUnexported(listRow{})); diff != "" {
		t.Errorf("by pages (-whole +pages):\n%s", diff)
	}
}

func TestCHTDocumentRoutesRefusePhonesAndWhatTheyDoNotServe(t *testing.T) {
	t.Parallel()
	c := NewCHT(fixtureConfig(t))
	const offline, notOnline = "Basic YXNoYTpTZWNyZXQuMTIz", "Basic bm90X29ubGluZTpTZWNyZXQuMTIz"
	for _, path := range []string{allDocs, typeView, orgUnitView, "/api/v1/target?contact_id=x", "/api/v1/contact/chw-asha", "/api/v2/users"} {
		for _, user := range []string{offline, notOnline} {
			if got := answerTo(c, http.MethodGet, path, user).Code; got != http.StatusForbidden {
				t.Errorf("%s: status %d for a phone, want 403", path, got)
			}
		}
		if got := answerTo(c, http.MethodGet, path, wrongPassword).Code; got != http.StatusUnauthorized && got != http.StatusTooManyRequests {
			t.Errorf("%s: status %d with a wrong password, want 401", path, got)
		}
	}
	c = NewCHT(fixtureConfig(t))
	for _, query := range []string{"?descending=true", "?limit=x", "?startkey=target", "?startkey=5", "?skip=-1"} {
		if got := answerTo(c, http.MethodGet, allDocs+query, integration).Code; got != http.StatusBadRequest {
			t.Errorf("%s: status %d, want 400", query, got)
		}
	}
}

func TestCHTChangesBetweenPages(t *testing.T) {
	t.Parallel()
	c := NewCHT(fixtureConfig(t))
	c.ChangeBefore(allDocs, 2, func(d *CHTDocuments) { d.Targets = nil })
	for page, want := range []int{13, 0, 0} {
		if got := len(listRows(t, answerTo(c, http.MethodGet, julyIDs, integration))); got != want {
			t.Errorf("request %d: %d rows, want %d", page+1, got, want)
		}
	}
}

func TestCHTViewStillBuilding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := NewCHT(fixtureConfig(t))
		c.Fail(Fault{Kind: ViewBuilding, Path: orgUnitView, Delay: 5 * time.Minute, Times: 1})
		start := time.Now()
		answer := answerTo(c, http.MethodGet, orgUnitView, integration)
		if answer.Code != http.StatusInternalServerError || !strings.Contains(answer.Body.String(), `"error":"timeout"`) || time.Since(start) != 5*time.Minute {
			t.Errorf("status %d after %v: %s", answer.Code, time.Since(start), answer.Body)
		}
		if got := len(listRows(t, answerTo(c, http.MethodGet, orgUnitView, integration))); got != 10 {
			t.Errorf("%d rows once it is built, want 10", got)
		}
	})
}

func TestCHTSendsOddDocumentsAsTheyAre(t *testing.T) {
	t.Parallel()
	config := fixtureConfig(t)
	config.Documents.Targets = []CHTTargetDocument{{
		ID: "target~2026-07~chw~eli~org.couchdb.user:eli", Type: "target", Owner: "chw~eli", ReportingPeriod: "2026-07",
		Targets: []CHTTargetCount{{Odd: "null"}, {ID: "a", Odd: `{"id":"a","value":7}`}, {ID: "b", Value: &CHTTargetValue{Pass: 1.5, Total: CHTNull{}}}},
		Odd:     map[string]string{"updated_date": `"yesterday"`, "user": ""},
	}, {
		ID: "target~2026-07~x~org.couchdb.user:x", Odd: map[string]string{"targets": `{"0":"é"}`, "owner": "12"},
	}}
	c := NewCHT(config)
	want := []string{
		`{"type":"target","owner":"chw~eli","reporting_period":"2026-07","targets":[null,{"id":"a","value":7},{"id":"b","value":{"pass":1.5,"total":null}}],` +
			`"updated_date":"yesterday","_id":"target~2026-07~chw~eli~org.couchdb.user:eli","_rev":"`,
		`{"type":"","user":"","owner":12,"reporting_period":"","targets":{"0":"é"},"updated_date":0,"_id":"target~2026-07~x~org.couchdb.user:x","_rev":"`,
	}
	body := answerTo(c, http.MethodGet, julyIDs+"&include_docs=true", integration).Body.String()
	for _, text := range want {
		if !strings.Contains(body, text) {
			t.Errorf("no %s in %s", text, body)
		}
	}
	if answer := answerTo(c, http.MethodGet, mchJuly, integration); answer.Code != http.StatusOK {
		t.Errorf("export of documents whose owners nobody knows: status %d", answer.Code)
	}
}

// BenchmarkCHTPage is a page of 1,000 documents of 100 targets.
func BenchmarkCHTPage(b *testing.B) {
	config := fixtureConfig(b)
	withManyTargets(&config)
	c := NewCHT(config)
	for b.Loop() {
		answer := answerTo(c, http.MethodGet, julyIDs+"&include_docs=true&limit=1000", integration)
		b.SetBytes(int64(answer.Body.Len()))
	}
}

func TestCHTDocumentRoutesSufferFaults(t *testing.T) {
	t.Parallel()
	for _, path := range []string{julyIDs + "&include_docs=true", typeView + `?key=%5B%22chw%22%5D&reduce=false`, orgUnitView, "/api/v1/contact/chw-asha"} {
		route, _, _ := strings.Cut(path, "?")
		c := NewCHT(fixtureConfig(t))
		server, err := Listen(c)
		if err != nil {
			t.Fatal(err)
		}
		whole := answerTo(c, http.MethodGet, path, integration).Body.String()
		for _, test := range []struct {
			fault  Fault
			status int
			body   string
			isCut  bool
		}{
			{Fault{Kind: CutBody, Path: route}, http.StatusOK, whole[:len(whole)/2], true},
			{Fault{Kind: SlowBody, Path: route, Delay: time.Microsecond}, http.StatusOK, whole, false},
			{Fault{Kind: LoginPage, Path: route}, http.StatusOK, "Sign in", false},
			{Fault{Kind: Status, Status: http.StatusInternalServerError, Path: route}, http.StatusInternalServerError, "500", false},
		} {
			c.Heal()
			c.Fail(test.fault)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", integration)
			r.Header.Set("Accept-Encoding", "identity")
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			answer, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if answer.StatusCode != test.status || !strings.Contains(string(body), test.body) || (err != nil) != test.isCut {
				t.Errorf("%s with %s: status %d, %v, %d bytes of %d", route, test.fault.Kind, answer.StatusCode, err, len(body), len(whole))
			}
		}
		server.Close()
	}
}
