package cht

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

// documents reads a month; the copies are good afterwards.
func documents(ctx context.Context, c *Client) (got []TargetDocument, err error) {
	err = c.TargetDocuments(ctx, july, func(d *TargetDocument) error {
		one := *d
		one.Targets = append([]TargetCount(nil), d.Targets...)
		got = append(got, one)
		return nil
	})
	return got, err
}

// ofOne reads one document as a row of the month has it.
func ofOne(t testing.TB, id, doc string) TargetDocument {
	t.Helper()
	got, err := documents(t.Context(), clientOf(always(http.StatusOK, jsonType, fmt.Sprintf(`{"rows":[{"id":%q,"key":%q,"value":{"rev":"1-a"},"doc":%s}]}`, id, id, doc))))
	if err != nil || len(got) != 1 {
		t.Fatalf("got %v, %v; want one document", got, err)
	}
	return got[0]
}

const aminas = "target~2026-07~chw-amina~org.couchdb.user:amina"

func TestTargetDocumentsAreReadAsARealServerSentThem(t *testing.T) {
	got, err := documents(t.Context(), clientOf(always(http.StatusOK, "application/json", recorded(t, "all-docs-200-target-range-page"))))
	if err != nil || len(got) != 3 {
		t.Fatalf("got %d documents, %v", len(got), err)
	}
	want := TargetDocument{
		ID: "target~2026-07~chw-asha~org.couchdb.user:asha", Rev: "1-66f1dcf935ea171fc90e6c159586df46", Owner: "chw-asha",
		Updated: time.Date(2026, 7, 31, 0, 0, 0, 0, time.UTC),
		Targets: []TargetCount{
			{"births-this-month", 3, 3},
			{"deaths-this-month", 1, 1},
			{"pregnancies-registered", 5, 5},
			{"facility-deliveries", 2, 3},
			{"anc-4-visits", 4, 9},
			{"newborn-visits-day-3", 3, 3},
			{"newborn-visits-day-7", 2, 2},
			{"malaria-cases-under-5", 7, 7},
			{"malaria-cases-5-plus", 4, 4},
			{"rdt-positive", 11, 30},
			{"llin-distributed", 10, 10},
			{"home-visits", 42, 42},
		},
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("the first differs (-want +got):\n%s", diff)
	}
	if got[1].Owner != "chw-asha" || got[1].ID != want.ID+"-tablet" || got[2].Owner != "chw-ayana" {
		t.Errorf("got %v", got[1:])
	}
}

func TestTargetRevisionsAreReadAsARealServerSentThem(t *testing.T) {
	var ids []string
	err := clientOf(always(http.StatusOK, "application/json", recorded(t, "all-docs-200-target-range-ids-only"))).TargetRevisions(t.Context(), july, func(id, rev string) error {
		if !strings.HasPrefix(rev, "1-") {
			t.Errorf("got revision %q of %s", rev, id)
		}
		ids = append(ids, id)
		return nil
	})
	if err != nil || len(ids) < 10 || ids[0] != "target~2026-07~chw-asha~org.couchdb.user:asha" {
		t.Errorf("got %v, %v", ids, err)
	}
}

// Between two pages documents are deleted and come; the numbers are those of the requests before which they do.
func TestPagesLeaveNothingOut(t *testing.T) {
	const n = 23
	id := func(i int) string { return fmt.Sprintf("target~2026-07~chw~%02d~org.couchdb.user:a~%02d", i, i) }
	for page := 1; page <= n+2; page++ {
		for name, gone := range map[string]bool{"nothing changes": false, "the last one of a page is deleted": true} {
			c := newCouch(t)
			for i := range n {
				c.count(id(i))
			}
			c.docs["target~2026-06~a~org.couchdb.user:a"], c.docs["target~2026-08~a~org.couchdb.user:a"], c.docs["a"] = "{}", "{}", "{}"
			if gone {
				c.before = func(c *couch, request int) {
					if request > 0 {
						delete(c.docs, id(request*page-1))
					}
				}
			}
			got, err := documents(t.Context(), c.client(page))
			if err != nil || len(got) != n {
				t.Fatalf("%s, pages of %d: got %d documents, %v; want %d", name, page, len(got), err, n)
			}
			var ids []string
			if err := newCouchOf(c).client(page).TargetRevisions(t.Context(), july, func(id, _ string) error { ids = append(ids, id); return nil }); err != nil {
				t.Fatal(err)
			}
			for i, d := range got {
				if d.ID != id(i) || d.Owner != fmt.Sprintf("chw~%02d", i) || d.Malformed != "" {
					t.Fatalf("%s, pages of %d: got %+v at place %d", name, page, d, i)
				}
			}
			if want := len(c.docs) - 3; len(ids) != want {
				t.Fatalf("%s, pages of %d: got %d revisions, want %d", name, page, len(ids), want)
			}
			if most := n/page + 1; len(c.asked) > most {
				t.Errorf("%s, pages of %d: got %d requests, want at most %d", name, page, len(c.asked), most)
			}
		}
	}
}

func newCouchOf(c *couch) *couch {
	again := newCouch(c.t)
	again.docs = c.docs
	return again
}

func TestADocumentIsReadAsFarAsItsFormAllows(t *testing.T) {
	const head = `{"type":"target","owner":"chw-amina","reporting_period":"2026-07",`
	one := func(pass, total int64) []TargetCount { return []TargetCount{{"a", pass, total}} }
	for _, tt := range []struct {
		name, id, doc string
		want          TargetDocument
	}{
		{"whole", aminas, head + `"targets":[{"id":"a","value":{"pass":1,"total":2,"percent":50}}],"_rev":"3-c"}`, TargetDocument{Rev: "3-c", Targets: one(1, 2)}},
		{"another owner than the id's", aminas, `{"type":"target","owner":"chw-b~c","reporting_period":"2026-07","targets":[]}`, TargetDocument{Owner: "chw-b~c"}},
		{"a ~ in the names", "target~2026-07~a~b~org.couchdb.user:c~d", head + `"targets":[]}`, TargetDocument{}},
		{"escaped", aminas, `{"t\u0079pe":"t\u0061rget","owner":"chw-\"\u00e4","reporting_period":"2026-07","targets":[{"id":"\\","value":{}}],"x":"\ud83d"}`, TargetDocument{Owner: `chw-"ä`, Targets: []TargetCount{{`\`, Unread, Unread}}}},
		{"wide", aminas, " {\n \"type\" : \"target\" , \"owner\":\t\"chw-amina\" ,\"reporting_period\": \"2026-07\" , \"targets\" : [ { \"value\" : { \"total\" : 4 , \"pass\":3 } , \"id\" : \"a\" } , {\"id\":\"b\",\"value\":{ }} ] , \"e\":[ ], \"f\":{ } } ", TargetDocument{Targets: []TargetCount{{"a", 3, 4}, {"b", Unread, Unread}}}},
		{"no value", aminas, head + `"targets":[{"id":"a"}]}`, TargetDocument{Targets: one(Unread, Unread)}},
		{"a value that is none", aminas, head + `"targets":[{"id":"a","value":[{"pass":1}]}]}`, TargetDocument{Targets: one(Unread, Unread)}},
		{"no total", aminas, head + `"targets":[{"id":"a","value":{"pass":1,"total":null}}]}`, TargetDocument{Targets: one(1, Unread)}},
		{"texts", aminas, head + `"targets":[{"id":"a","value":{"pass":"03","total":"NaN"}}]}`, TargetDocument{Targets: one(Unread, Unread)}},
		{"a fraction and a negative", aminas, head + `"targets":[{"id":"a","value":{"pass":1.5,"total":-1}}]}`, TargetDocument{Targets: one(Unread, Unread)}},
		{"whole numbers of another form", aminas, head + `"targets":[{"id":"a","value":{"pass":3.0,"total":1e2}}]}`, TargetDocument{Targets: one(3, 100)}},
		{"as much as can be counted", aminas, head + `"targets":[{"id":"a","value":{"pass":9007199254740992,"total":9007199254740993}}]}`, TargetDocument{Targets: one(1<<53, Unread)}},
		{"beyond", aminas, head + `"targets":[{"id":"a","value":{"pass":1e400,"total":99999999999999999999999999}}]}`, TargetDocument{Targets: one(Unread, Unread)}},
		{"one id twice", aminas, head + `"targets":[{"id":"a","value":{"pass":1,"total":1}},{"id":"a","value":{"pass":2,"total":2}}]}`, TargetDocument{Targets: []TargetCount{{"a", 1, 1}, {"a", 2, 2}}}},
		{"east of Greenwich", aminas, head + `"targets":[],"updated_date":1785445200000}`, TargetDocument{Updated: time.Date(2026, 7, 31, 0, 0, 0, 0, time.UTC)}},
		{"west of Greenwich", aminas, head + `"targets":[],"updated_date":1785474000000}`, TargetDocument{Updated: time.Date(2026, 7, 31, 0, 0, 0, 0, time.UTC)}},
		{"a date as a text", aminas, head + `"targets":[],"updated_date":"2026-07-31"}`, TargetDocument{}},
		{"a date of no calendar", aminas, head + `"targets":[],"updated_date":9007199254740992}`, TargetDocument{}},

		{"no targets", aminas, head + `"a":1}`, TargetDocument{Malformed: noTargetList}},
		{"targets that are an object", aminas, head + `"targets":{"id":"a"}}`, TargetDocument{Malformed: noTargetList}},
		{"a target that is a number", aminas, head + `"targets":[7,{"id":"a","value":{"pass":1,"total":1}}]}`, TargetDocument{Malformed: "one of its targets is no object"}},
		{"a target without an id", aminas, head + `"targets":[{"id":"a"},{"value":{}}]}`, TargetDocument{Malformed: "one of its targets has no id"}},
		{"a target whose id is a number", aminas, head + `"targets":[{"id":7}]}`, TargetDocument{Malformed: "one of its targets has no id"}},
		{"no owner", aminas, `{"type":"target","reporting_period":"2026-07","targets":[]}`, TargetDocument{Owner: "-", Malformed: "it has no owner"}},
		{"an owner that is an object", aminas, `{"type":"target","owner":{"_id":"a"},"reporting_period":"2026-07","targets":[]}`, TargetDocument{Owner: "-", Malformed: "it has no owner"}},
		{"another month", aminas, `{"type":"target","owner":"chw-amina","reporting_period":"2026-08","targets":[]}`, TargetDocument{Malformed: "it is of another month than its id"}},
		{"no month", aminas, `{"type":"target","owner":"chw-amina","targets":[]}`, TargetDocument{Malformed: "it is of another month than its id"}},
		{"another type", aminas, `{"type":"data_record","owner":"chw-amina","reporting_period":"2026-07","targets":[]}`, TargetDocument{Malformed: "it is of another type than target"}},
		{"no object", aminas, `[7]`, TargetDocument{Owner: "-", Malformed: "it is of another type than target"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			want.ID = tt.id
			switch want.Owner {
			case "":
				want.Owner = "chw-amina"
			case "-":
				want.Owner = ""
			}
			if want.Rev == "" {
				want.Rev = "1-a"
			}
			got := ofOne(t, tt.id, tt.doc)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("document differs (-want +got):\n%s", diff)
			}
			if strings.Contains(got.Malformed, "amina") {
				t.Errorf("%q names somebody", got.Malformed)
			}
		})
	}
}

func TestDocumentsAreReadByTheirIDs(t *testing.T) {
	c := newCouch(t)
	var ids, want []string
	for i := range 1203 {
		id := fmt.Sprintf("target~2026-07~chw-%d~org.couchdb.user:a", i)
		ids = append(ids, id)
		switch {
		case i%100 == 7:
			c.docs[id] = deleted
		case i%100 != 8:
			c.count(id)
			want = append(want, id)
		}
	}
	var got []string
	err := c.client(pageRows).TargetDocumentsOf(t.Context(), ids, func(d *TargetDocument) error { got = append(got, d.ID); return nil })
	if err != nil || !cmp.Equal(got, want) || len(c.asked) != 3 {
		t.Errorf("got %d documents in %d requests, %v; want %d in 3", len(got), len(c.asked), err, len(want))
	}
	if err := c.client(1).TargetDocumentsOf(t.Context(), nil, nil); err != nil || len(c.asked) != 3 {
		t.Errorf("no ids: %d requests, %v", len(c.asked), err)
	}
}

func TestAReadingGoesOnWhereItsAnswerBrokeOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouch(t)
		var ids []string
		for i := range 30 {
			ids = append(ids, fmt.Sprintf("target~2026-07~chw-%02d~org.couchdb.user:a", i))
			c.count(ids[i])
		}
		c.cut = map[int]int{0: 10, 1: 900, 2: 901, 5: 200, 6: 902}
		began := time.Now()
		got, err := documents(t.Context(), c.client(7))
		if err != nil || len(got) != len(ids) {
			t.Fatalf("got %d documents, %v; want %d", len(got), err, len(ids))
		}
		for i, d := range got {
			if d.ID != ids[i] {
				t.Errorf("got %s at place %d, want %s", d.ID, i, ids[i])
			}
		}
		if took := time.Since(began); took != 31*time.Second {
			t.Errorf("waited %s, want 31s", took)
		}
		again := newCouchOf(c)
		again.cut = map[int]int{0: 700}
		n := 0
		if err := again.client(7).TargetDocumentsOf(t.Context(), ids, func(*TargetDocument) error { n++; return nil }); err != nil || n != len(ids) || len(again.asked) != 2 {
			t.Errorf("by ids: got %d documents in %d requests, %v", n, len(again.asked), err)
		}
	})
}

func TestAReadingThatBreaksOffAgainAndAgainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouch(t)
		for i := range 30 {
			c.count(fmt.Sprintf("target~2026-07~chw-%02d~org.couchdb.user:a", i))
		}
		for i := range 30 {
			c.cut[i] = 700
		}
		_, err := documents(t.Context(), c.client(7))
		e := asError(t, err)
		if !e.Temporary || e.Kind != Unusable || !strings.Contains(e.What, "broke off, after") || len(c.asked) != maxBreaks+1 {
			t.Errorf("got %+v after %d requests", e, len(c.asked))
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second/2, cancel)
		again := newCouchOf(c)
		again.cut = c.cut
		if _, err := documents(ctx, again.client(7)); !errors.Is(err, context.Canceled) || errors.As(err, new(*Error)) {
			t.Errorf("got %v of a reading that was cancelled as it waited", err)
		}
	})
}

func TestAnAnswerThatIsNotTheOneAskedForIsRefused(t *testing.T) {
	row := func(id string) string {
		return fmt.Sprintf(`{"id":%q,"key":%q,"value":{"rev":"1-a"},"doc":{}}`, id, id)
	}
	const a, b = "target~2026-07~amina~org.couchdb.user:a", "target~2026-07~amina~org.couchdb.user:b"
	all := func(c *Client) error {
		return c.TargetDocuments(t.Context(), july, func(*TargetDocument) error { return nil })
	}
	of := func(c *Client) error {
		return c.Contacts(t.Context(), []string{a, b}, func(*Contact) error { return nil })
	}
	for _, tt := range []struct {
		name       string
		read       func(*Client) error
		server     roundTripper
		kind       Kind
		temporary  bool
		what, hint string
	}{
		{"another password", all, always(http.StatusUnauthorized, jsonType, recorded(t, "all-docs-401")), Credentials, false, "401 (unauthorized)", "password"},
		{"an offline user", all, always(http.StatusForbidden, jsonType, recorded(t, "view-403-offline-user")), Credentials, false, "403 (forbidden)", "mm-online"},
		{"an offline user asks for owners", of, always(http.StatusForbidden, jsonType, recorded(t, "view-403-offline-user")), Credentials, false, "403 (forbidden)", "mm-online"},
		{"no database", all, always(http.StatusNotFound, jsonType, `{"error":"not_found","reason":"amina"}`), Unusable, false, "404 (not_found)", "address"},
		{"a view that is still built", all, always(http.StatusInternalServerError, jsonType, `{"error":"timeout","reason":"amina"}`), Unavailable, true, "500 (timeout)", "view anew"},
		{"an error that repeats what was asked", all, always(http.StatusBadRequest, jsonType, `{"error":"Cannot GET amina"}`), Unusable, false, "400 (an error)", "address"},
		{"an error that is a page", all, always(http.StatusBadGateway, "text/html", "amina"), Unavailable, true, "502", "proxy"},
		{"a redirect", all, always(http.StatusFound, "text/html", "amina"), Unusable, false, "302, a redirect", "login page"},
		{"a login page", all, always(http.StatusOK, "text/html", "<html>amina"), Unusable, false, "instead of JSON", "login page"},
		{"no rows", all, always(http.StatusOK, jsonType, `{"ok":true}`), Unusable, false, "no rows", "address"},
		{"a list", all, always(http.StatusOK, jsonType, `["amina"]`), Unusable, false, "another form", "address"},
		{"no JSON", all, always(http.StatusOK, jsonType, `{"rows":[`+row(a)+`,{"amina":x}]}`), Unusable, false, "no valid JSON, after 1 rows", "address"},
		{"a row that is a text", all, always(http.StatusOK, jsonType, `{"rows":["amina"]}`), Unusable, false, "a row has another form", "address"},
		{"rows that are an object", all, always(http.StatusOK, jsonType, `{"rows":{"amina":1}}`), Unusable, false, "rows has another form", "address"},
		{"more behind it", all, always(http.StatusOK, jsonType, `{"rows":[]}{"amina":1}`), Unusable, false, "something follows", "address"},
		{"an error in the rows", all, always(http.StatusOK, jsonType, `{"rows":[`+row(a)+`,{"error":"timeout","reason":"amina"}]}`), Unavailable, true, "within the rows: timeout", "log"},
		{"an odd error in the rows", all, always(http.StatusOK, jsonType, `{"rows":[{"key":"amina","error":{"amina":1}}]}`), Unavailable, true, "within the rows: an error", "log"},
		{"an error behind the rows", all, always(http.StatusOK, jsonType, `{"rows":[`+row(a)+`],"errors":[{"from":"amina","reason":"x"}]}`), Unavailable, true, "gave up", "log"},
		{"an error instead of rows", all, always(http.StatusOK, jsonType, `{"error":"timeout","reason":"amina"}`), Unavailable, true, "gave up: timeout", "log"},
		{"another order", all, always(http.StatusOK, jsonType, `{"rows":[`+row(b)+`,`+row(a)+`]}`), Unusable, false, "not those asked for", "address"},
		{"one twice", all, always(http.StatusOK, jsonType, `{"rows":[`+row(a)+`,`+row(a)+`]}`), Unusable, false, "not those asked for", "address"},
		{"another month", all, always(http.StatusOK, jsonType, `{"rows":[`+row("target~2026-08~amina~org.couchdb.user:a")+`]}`), Unusable, false, "not those asked for", "address"},
		{"all documents", all, always(http.StatusOK, jsonType, `{"rows":[`+row("amina")+`]}`), Unusable, false, "not those asked for", "address"},
		{"fewer owners", of, always(http.StatusOK, jsonType, `{"rows":[`+row(a)+`]}`), Unusable, false, "fewer rows", "address"},
		{"more owners", of, always(http.StatusOK, jsonType, `{"rows":[`+row(a)+`,`+row(b)+`,`+row(b)+`]}`), Unusable, false, "ids asked for", "address"},
		{"other owners", of, always(http.StatusOK, jsonType, `{"rows":[`+row(b)+`,`+row(a)+`]}`), Unusable, false, "ids asked for", "address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := asError(t, tt.read(clientOf(tt.server)))
			if e.Kind != tt.kind || e.Temporary != tt.temporary || !strings.Contains(e.What, tt.what) || !strings.Contains(e.Remedy, tt.hint) {
				t.Errorf("got %+v, want kind %s, temporary %t, %q, hint %q", e, tt.kind, tt.temporary, tt.what, tt.hint)
			}
			if strings.Contains(e.Error()+e.Remedy, "amina") {
				t.Errorf("%s; %s: names somebody", e, e.Remedy)
			}
		})
	}
}

func TestAnErrorOfTheReceiverEndsTheReading(t *testing.T) {
	c := newCouch(t)
	c.count(aminas)
	own := errors.New("the disk is full")
	client := c.client(1)
	if err := client.TargetDocuments(t.Context(), july, func(*TargetDocument) error { return own }); !errors.Is(err, own) {
		t.Errorf("got %v, want the error of yield", err)
	}
	if got, err := documents(t.Context(), client); err != nil || len(got) != 1 {
		t.Errorf("afterwards got %v, %v", got, err)
	}
	client.exports <- struct{}{} // another one reads
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := documents(ctx, client); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want cancelled", err)
	}
}

// What a Caller sees of a call says that nothing of it may be kept.
func TestCallsAboutPeopleLeaveNothingBehind(t *testing.T) {
	c := newCouch(t)
	c.count(aminas)
	c.docs["chw-amina"] = `{"type":"contact","contact_type":"chw","name":"Amina","dhis":{"orgUnit":"OuAmaniHC01"}}`
	recorder := exchange.NewRecorder(1 << 10)
	client := clientOf(func(r *http.Request) (*http.Response, error) {
		try := exchange.From(r.Context()).Begin(r)
		response, err := c.serve(r)
		try.Answered(response.StatusCode, response.Header)
		body, _ := io.ReadAll(response.Body)
		_, _ = try.Write(body)
		try.End(io.EOF)
		response.Body = io.NopCloser(strings.NewReader(string(body)))
		return response, err
	})
	client.page = 1
	ctx := recorder.Record(t.Context())
	n := 0
	id := func(string, string) error { n++; return nil }
	document := func(*TargetDocument) error { n++; return nil }
	contact := func(*Contact) error { n++; return nil }
	for _, err := range []error{
		client.TargetDocuments(ctx, july, document),
		client.TargetRevisions(ctx, july, id),
		client.TargetDocumentsOf(ctx, []string{aminas}, document),
		client.Contacts(ctx, []string{"chw-amina"}, contact),
		client.ContactRevisions(ctx, []string{"chw-amina"}, id),
		client.ContactsOfType(ctx, []string{"chw"}, contact),
		client.Places(ctx, contact),
		client.OrgUnits(ctx, func(OrgUnit) { n++ }),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	text, err := json.Marshal(recorder.Exchanges())
	if err != nil || n != 8 || len(recorder.Exchanges()) != 11 || strings.Contains(strings.ToLower(string(text)), "amina") {
		t.Errorf("%d read, kept: %s, %v", n, text, err)
	}
	if !strings.Contains(string(text), "/medic/_all_docs?personal-data-not-kept") {
		t.Errorf("kept: %s", text)
	}
}
