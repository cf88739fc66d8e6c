package cht

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

func collect(got *[]Contact) func(*Contact) error {
	return func(c *Contact) error {
		*got = append(*got, *c)
		return nil
	}
}

func TestContactsAreReadAsARealServerSentThem(t *testing.T) {
	client := clientOf(always(http.StatusOK, "application/json", recorded(t, "all-docs-200-owners-by-keys")))
	ids := []string{"chw-asha", "chw-deleted", "chw-never-existed"}
	var got []Contact
	if err := client.Contacts(t.Context(), ids, collect(&got)); err != nil {
		t.Fatal(err)
	}
	want := []Contact{
		{ID: "chw-asha", Rev: "1-204ae37db56c59e4064b185a2ba0dae2", Type: "chw", Name: "Asha (area 1)", Parents: []string{"area-a1", "hf-amani", "district-east"}},
		{ID: "chw-deleted", Rev: "2-66b03e81ff150d99b06658a901fd533d", State: Deleted},
		{ID: "chw-never-existed", State: Unknown},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("contacts differ (-want +got):\n%s", diff)
	}
	var revisions []string
	err := client.ContactRevisions(t.Context(), ids, func(id, rev string) error { revisions = append(revisions, id+" "+rev); return nil })
	if err != nil || !cmp.Equal(revisions, []string{"chw-asha 1-204ae37db56c59e4064b185a2ba0dae2", "chw-deleted ", "chw-never-existed "}) {
		t.Errorf("got %q, %v", revisions, err)
	}
}

func TestPlacesComeOnceEachWithAllTheirOrgUnits(t *testing.T) {
	var got []Contact
	if err := clientOf(always(http.StatusOK, "application/json", recorded(t, "view-200-contacts-by-dhis-org-unit"))).Places(t.Context(), collect(&got)); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, place := range got {
		if ids[place.ID] || len(place.OrgUnits) == 0 || place.State != Present {
			t.Errorf("got %+v", place)
		}
		ids[place.ID] = true
	}
	want := Contact{
		ID: "hf-baraka", Rev: got[2].Rev, Type: "health_facility", Name: "Baraka Health Centre", Parents: []string{"district-east"},
		OrgUnits: []OrgUnit{{"OuBarakaMch", "DsMchMonth1"}, {"OuBarakaMal", "DsMalariaM1"}},
	}
	if diff := cmp.Diff(want, got[2]); diff != "" || len(got) >= 10 {
		t.Errorf("of %d, the third differs (-want +got):\n%s", len(got), diff)
	}
}

func TestOddContactsAreReadAsFarAsTheyGo(t *testing.T) {
	deep := strings.Repeat(`{"_id":"a","parent":`, 100) + `{}` + strings.Repeat(`}`, 100)
	for _, tt := range []struct {
		name, doc string
		want      Contact
	}{
		{"the old types", `{"type":"clinic","name":"A","parent":{"_id":"b"}}`, Contact{Type: "clinic", Name: "A", Parents: []string{"b"}}},
		{"an old type with a contact_type beside", `{"contact_type":"x","type":"person"}`, Contact{Type: "person"}},
		{"a contact type", `{"contact_type":"chw","type":"contact"}`, Contact{Type: "chw"}},
		{"no type", `{"contact_type":"chw"}`, Contact{Type: "chw"}},
		{"a parent that is a text", `{"parent":"b"}`, Contact{}},
		{"an empty parent", `{"parent":{}}`, Contact{}},
		{"an empty parent at the end", `{"parent":{"_id":"b","parent":{"_id":"c","parent":{}}}}`, Contact{Parents: []string{"b", "c"}}},
		{"a text at the end", `{"parent":{"_id":"b","parent":""}}`, Contact{Parents: []string{"b"}}},
		{"a parent without an id", `{"parent":{"_id":7,"parent":{"parent":{"_id":"c"},"_id":"b"}}}`, Contact{Parents: []string{"b", "c"}}},
		{"no end of parents", `{"parent":` + deep + `}`, Contact{Parents: strings.Split(strings.Repeat("a", maxParents), "")}},
		{"one org unit", `{"dhis":{"orgUnit":"A"}}`, Contact{OrgUnits: []OrgUnit{{ID: "A"}}}},
		{"org units of all sorts", `{"dhis":[{"orgUnit":"A","dataSet":"B"},{"orgUnit":""},7,{"orgUnit":"C"}]}`, Contact{OrgUnits: []OrgUnit{{"A", "B"}, {ID: "C"}}}},
		{"no org unit", `{"dhis":null}`, Contact{}},
		{"an empty org unit", `{"dhis":{}}`, Contact{}},
		{"org units that are none", `{"dhis":"A"}`, Contact{}},
		{"muted", `{"muted":"2026-01-01T00:00:00Z"}`, Contact{Away: true}},
		{"died", `{"date_of_death":1785456000000,"muted":false}`, Contact{Away: true}},
		{"neither", `{"date_of_death":"","muted":null}`, Contact{}},
		{"no object", `"chw"`, Contact{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCouch(t)
			c.docs["chw-amina"] = tt.doc
			var got []Contact
			if err := c.client(1).Contacts(t.Context(), []string{"chw-amina"}, collect(&got)); err != nil || len(got) != 1 {
				t.Fatal(got, err)
			}
			want := tt.want
			want.ID, want.Rev = "chw-amina", "1-a"
			if len(got[0].OrgUnits) == 0 {
				got[0].OrgUnits = nil
			}
			if diff := cmp.Diff(want, got[0]); diff != "" {
				t.Errorf("contact differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestContactsOfSomeTypesAreReadByPages(t *testing.T) {
	c := newCouch(t)
	want := map[string]int{}
	for i := range 40 {
		kind := []string{"chw", "supervisor", "nurse"}[i%3]
		c.docs[fmt.Sprintf("c~&%02d", i)] = fmt.Sprintf(`{"type":"contact","contact_type":%q}`, kind)
		want[kind]++
	}
	got := map[string]int{}
	ids := map[string]bool{}
	err := c.client(3).ContactsOfType(t.Context(), []string{"nurse", "chw"}, func(one *Contact) error {
		got[one.Type]++
		ids[one.ID] = true
		return nil
	})
	delete(want, "supervisor")
	if diff := cmp.Diff(want, got); diff != "" || err != nil || len(ids) != got["chw"]+got["nurse"] {
		t.Errorf("%v; contacts of a type (-want +got):\n%s", err, diff)
	}
}

func TestAViewThatBreaksOffIsReadAgainWithoutWhatCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole := recorded(t, "view-200-contacts-by-dhis-org-unit")
		c := newCouch(t)
		for i := range 3 {
			c.answers[i] = answer(http.StatusOK, jsonType, whole[:1000*(i+1)])
		}
		c.answers[3] = answer(http.StatusOK, jsonType, whole)
		var got, want []Contact
		if err := clientOf(always(http.StatusOK, jsonType, whole)).Places(t.Context(), collect(&want)); err != nil {
			t.Fatal(err)
		}
		if err := c.client(1).Places(t.Context(), collect(&got)); err != nil || len(c.asked) != 4 {
			t.Errorf("got %v after %d requests", err, len(c.asked))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("places differ (-want +got):\n%s", diff)
		}
	})
}

func TestAnOfflineUserIsToldWhichRoleIsMissing(t *testing.T) {
	client := clientOf(always(http.StatusForbidden, jsonType, recorded(t, "view-403-offline-user")))
	none := func(*Contact) error { return nil }
	for name, read := range map[string]func(context.Context) error{
		"places":   func(ctx context.Context) error { return client.Places(ctx, none) },
		"contacts": func(ctx context.Context) error { return client.Contacts(ctx, []string{"a"}, none) },
		"of type":  func(ctx context.Context) error { return client.ContactsOfType(ctx, []string{"chw"}, none) },
		"revisions": func(ctx context.Context) error {
			return client.ContactRevisions(ctx, []string{"a"}, func(string, string) error { return nil })
		},
	} {
		if e := asError(t, read(t.Context())); e.Kind != Credentials || !strings.Contains(e.Remedy, "mm-online") {
			t.Errorf("%s: got %+v", name, e)
		}
	}
}
