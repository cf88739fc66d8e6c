package cht

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

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
