package cht

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// standIn starts a CHT with the documents of a country, and gives a client of it.
func standIn(t testing.TB, country *sandbox.Country, password string) (*sandbox.CHT, *Client) {
	t.Helper()
	stand := sandbox.NewCHT(sandbox.CHTConfig{Documents: country.CHT})
	server, err := sandbox.Listen(stand)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	wire := &http.Transport{DisableKeepAlives: true}
	return stand, New(base, roundTripper(func(r *http.Request) (*http.Response, error) {
		r.Header.Set("Accept", "application/json")
		r.SetBasicAuth(country.CHTUsername, password)
		return wire.RoundTrip(r)
	}))
}

var october = Month{Year: 2026, Month: 10}

func TestAWholeCountryIsReadFromACHT(t *testing.T) {
	country := sandbox.NewCountry(sandbox.CountryConfig{Seed: 1, DataSets: 2, Problems: true})
	stand, client := standIn(t, country, country.CHTPassword)
	if info, err := client.Info(t.Context()); err != nil || info.Version != "5.2.0" {
		t.Errorf("got %+v, %v; want version 5.2.0", info, err)
	}
	settings, err := client.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(country.DataSets, settings.DataSets); diff != "" {
		t.Errorf("data sets differ (-want +got):\n%s", diff)
	}
	for _, dataSet := range country.DataSets {
		want := map[string]string{}
		for _, v := range country.Right[dataSet] {
			want[v.OrgUnit+" "+v.DataElement] = v.Value
		}
		for _, v := range country.Wrong[dataSet] {
			want[v.OrgUnit+" "+v.DataElement] = v.Value
		}
		got := map[string]string{}
		err := client.Export(t.Context(), dataSet, october, func(v *Value) error {
			cell := v.OrgUnit.Text + " " + v.DataElement.Text
			if _, ok := got[cell]; ok {
				t.Errorf("got %s twice", cell)
			}
			got[cell] = asJSON(v.Value)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("values of %s differ (-want +got):\n%s", dataSet, diff)
		}
	}
	if most := stand.MostExportsAtOnce(); most != 1 {
		t.Errorf("got %d exports at once, want 1", most)
	}
}

func asJSON(f Field) string {
	switch f.Kind {
	case Null:
		return "null"
	case String:
		return strconv.Quote(f.Text)
	default:
		return f.Text
	}
}

func TestFaultsOfACHTAreToldApart(t *testing.T) {
	country := sandbox.NewCountry(sandbox.CountryConfig{Seed: 1})
	tests := []struct {
		name     string
		fault    sandbox.Fault
		password string
		dataSet  string
		kind     Kind
		status   int
		want     string
	}{
		{name: "a wrong password", password: "wrong", kind: Credentials, status: 401, want: "401"},
		{name: "an unknown data set", dataSet: "Unknown1234", kind: Refused, status: 400, want: `"Unknown1234" is not defined`},
		{name: "a redirect to the login", fault: sandbox.Fault{Kind: sandbox.LoginRedirect}, kind: Unusable, status: 302, want: "redirect"},
		{name: "a login page", fault: sandbox.Fault{Kind: sandbox.LoginPage}, kind: Unusable, status: 200, want: "instead of JSON"},
		{name: "a proxy's page of 502", fault: sandbox.Fault{Kind: sandbox.Status, Status: 502}, kind: Unavailable, status: 502, want: "502"},
		{name: "a 500", fault: sandbox.Fault{Kind: sandbox.Status, Status: 500}, kind: Unavailable, status: 500, want: "500"},
		{name: "a cut body", fault: sandbox.Fault{Kind: sandbox.CutBody}, kind: Unusable, want: "broke off"},
		{name: "a reset", fault: sandbox.Fault{Kind: sandbox.ResetBefore}, kind: Unavailable, want: ""},
		{name: "a reset when the work was done", fault: sandbox.Fault{Kind: sandbox.ResetAfter}, kind: Unavailable, want: ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			password, dataSet := country.CHTPassword, country.DataSets[0]
			if tt.password != "" {
				password = tt.password
			}
			if tt.dataSet != "" {
				dataSet = tt.dataSet
			}
			stand, client := standIn(t, country, password)
			if tt.fault.Kind != "" {
				stand.Fail(tt.fault)
			}
			err := client.Export(t.Context(), dataSet, october, func(*Value) error { return nil })
			if e := asError(t, err); e.Kind != tt.kind || e.Status != tt.status || !strings.Contains(e.What, tt.want) {
				t.Errorf("got %+v, want kind %q, status %d, %q", e, tt.kind, tt.status, tt.want)
			}
			stand.Heal()
			if tt.fault.Kind == "" {
				return
			}
			if err := client.Export(t.Context(), dataSet, october, func(*Value) error { return nil }); err != nil {
				t.Errorf("got %v when the fault was gone, want the month", err)
			}
		})
	}
}

func TestAMonthWithoutDocumentsIsZeros(t *testing.T) {
	country := sandbox.NewCountry(sandbox.CountryConfig{Seed: 1})
	_, client := standIn(t, country, country.CHTPassword)
	values := 0
	err := client.Export(t.Context(), country.DataSets[0], Month{Year: 2031, Month: 1}, func(v *Value) error {
		values++
		if v.Value != number("0") {
			t.Errorf("got %+v, want a zero, as the CHT fills with them", v.Value)
		}
		return nil
	})
	if err != nil || values == 0 {
		t.Errorf("got %d values, %v; want zeros", values, err)
	}
}

func TestAnExportThatEndsEarlyLeavesNoConnectionBehind(t *testing.T) {
	country := sandbox.NewCountry(sandbox.CountryConfig{Seed: 1, Facilities: 200, Elements: 40})
	_, client := standIn(t, country, country.CHTPassword)
	for range 3 { // a body left open would hold its connection, and the goroutines that this package's tests may not leak
		if err := client.Export(t.Context(), country.DataSets[0], october, func(*Value) error { return io.ErrShortWrite }); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("got %v, want the error of yield", err)
		}
	}
}

// fixtures is a CHT with the documents from which the recordings were made, and its user who may read them.
func fixtures(t testing.TB) *sandbox.Country {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "sandbox", "testdata", "cht", "fixtures.json"))
	if err != nil {
		t.Fatal(err)
	}
	country := &sandbox.Country{CHTUsername: "integration", CHTPassword: "Secret.123"}
	if err := json.Unmarshal(text, &country.CHT); err != nil {
		t.Fatal(err)
	}
	return country
}

func TestTheDocumentsOfAMonthAreReadFromACHT(t *testing.T) {
	country := fixtures(t)
	stand, client := standIn(t, country, country.CHTPassword)
	client.page = 3
	want := map[string]int64{} // by document and target
	var ids []string
	for _, d := range country.CHT.Targets {
		if d.ReportingPeriod != "2026-07" {
			continue
		}
		ids = append(ids, d.ID)
		for _, one := range d.Targets {
			want[d.ID+" "+one.ID], _ = strconv.ParseInt(fmt.Sprint(one.Value.Total), 10, 64)
		}
	}
	slices.Sort(ids)
	got := map[string]int64{}
	var owners, all []string
	take := func(d *TargetDocument) error {
		all, owners = append(all, d.ID), append(owners, d.Owner)
		if d.Malformed != "" || !strings.HasPrefix(d.Rev, "1-") {
			t.Errorf("got %+v", d)
		}
		for _, one := range d.Targets {
			got[d.ID+" "+one.ID] = one.Total
		}
		return nil
	}
	if err := client.TargetDocuments(t.Context(), july, take); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" || !slices.Equal(ids, all) {
		t.Errorf("got documents %v, want %v; totals (-want +got):\n%s", all, ids, diff)
	}
	var listed []string
	if err := client.TargetRevisions(t.Context(), july, func(id, _ string) error { listed = append(listed, id); return nil }); err != nil || !slices.Equal(ids, listed) {
		t.Errorf("got revisions of %v, %v", listed, err)
	}
	all = nil
	if err := client.TargetDocumentsOf(t.Context(), ids[4:7], take); err != nil || !slices.Equal(all, ids[4:7]) {
		t.Errorf("by ids got %v, %v", all, err)
	}

	states := map[string]ContactState{}
	if err := client.Contacts(t.Context(), owners, func(c *Contact) error { states[c.ID] = c.State; return nil }); err != nil {
		t.Fatal(err)
	}
	if states["chw-deleted"] != Deleted || states["chw-asha"] != Present {
		t.Errorf("got states %v", states)
	}
	places := 0
	if err := client.Places(t.Context(), func(*Contact) error { places++; return nil }); err != nil || places == 0 {
		t.Errorf("got %d places, %v", places, err)
	}
	workers := 0
	if err := client.ContactsOfType(t.Context(), []string{"chw"}, func(c *Contact) error {
		if c.Type != "chw" || len(c.Parents) == 0 {
			t.Errorf("got %+v", c)
		}
		workers++
		return nil
	}); err != nil || workers == 0 {
		t.Errorf("got %d workers, %v", workers, err)
	}
	for _, r := range stand.Requests() {
		if r.Status != http.StatusOK {
			t.Errorf("got status %d for %s", r.Status, r.Path)
		}
	}
}

// A page that began with skip=1 behind the deleted document would leave out the one after it.
func TestADocumentDeletedBetweenTwoPagesTakesNoOtherAlong(t *testing.T) {
	country := fixtures(t)
	stand, client := standIn(t, country, country.CHTPassword)
	client.page = 3
	var ids []string
	list := func(id, _ string) error { ids = append(ids, id); return nil }
	if err := client.TargetRevisions(t.Context(), july, list); err != nil {
		t.Fatal(err)
	}
	want := ids
	stand.ChangeBefore("/medic/_all_docs", 2, func(d *sandbox.CHTDocuments) {
		d.Targets = slices.DeleteFunc(d.Targets, func(one sandbox.CHTTargetDocument) bool { return one.ID == want[2] })
	})
	ids = nil
	if err := client.TargetRevisions(t.Context(), july, list); err != nil || !slices.Equal(ids, want) {
		t.Errorf("got %v, %v; want %v", ids, err, want)
	}
	ids = nil
	if err := client.TargetRevisions(t.Context(), july, list); err != nil || len(ids) != len(want)-1 {
		t.Errorf("afterwards got %v, %v", ids, err)
	}
}

func TestMalformedDocumentsOfACHTAreNamedAndTheRestIsRead(t *testing.T) {
	country := fixtures(t)
	_, client := standIn(t, country, country.CHTPassword)
	for month, want := range map[time.Month]string{
		time.May:      "malformed: it has no list of targets",
		time.April:    "births-this-month -1/-1",
		time.March:    "births-this-month 3/-1",
		time.February: "births-this-month -1/-1 pregnancies-registered -1/-1",
		time.January:  "births-this-month 2/5 facility-deliveries 3/4 retired-target 9/9",
	} {
		var got []string
		err := client.TargetDocuments(t.Context(), Month{2026, month}, func(d *TargetDocument) error {
			if d.Malformed != "" {
				got = append(got, "malformed: "+d.Malformed)
			}
			for _, one := range d.Targets {
				got = append(got, fmt.Sprintf("%s %d/%d", one.ID, one.Pass, one.Total))
			}
			return nil
		})
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, %v; want %q", month, got, err, want)
		}
	}
}

func TestFaultsOfReadingDocumentsAreToldApart(t *testing.T) {
	for _, tt := range []struct {
		name, user, password string
		fault                sandbox.FaultKind
		status               int
		kind                 Kind
		hint                 string
	}{
		{name: "a phone's user", user: "asha", kind: Credentials, hint: "mm-online"},
		{name: "an account without mm-online", user: "not_online", kind: Credentials, hint: "mm-online"},
		{name: "a wrong password", password: "wrong", kind: Credentials, hint: "password"},
		{name: "a login page", fault: sandbox.LoginPage, kind: Unusable, hint: "login page"},
		{name: "a redirect", fault: sandbox.LoginRedirect, kind: Unusable, hint: "login page"},
		{name: "a 500", fault: sandbox.Status, status: 500, kind: Unavailable, hint: "database"},
		{name: "a 502", fault: sandbox.Status, status: 502, kind: Unavailable, hint: "proxy"},
		{name: "a cut body", fault: sandbox.CutBody, kind: Unusable, hint: "proxy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			country := fixtures(t)
			if tt.user != "" {
				country.CHTUsername = tt.user
			}
			if tt.password != "" {
				country.CHTPassword = tt.password
			}
			stand, client := standIn(t, country, country.CHTPassword)
			client.breaks = 0
			if tt.fault != "" {
				stand.Fail(sandbox.Fault{Kind: tt.fault, Status: tt.status})
			}
			for _, err := range []error{
				client.TargetDocuments(t.Context(), july, func(*TargetDocument) error { return nil }),
				client.Contacts(t.Context(), []string{"chw-asha"}, func(*Contact) error { return nil }),
			} {
				if e := asError(t, err); e.Kind != tt.kind || !strings.Contains(e.Remedy, tt.hint) || strings.Contains(e.Error(), "asha") {
					t.Errorf("got %+v, want %s, hint %q", e, tt.kind, tt.hint)
				}
			}
		})
	}
}
