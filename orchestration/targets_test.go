package orchestration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/internal/target"
)

// meter notes what a stand-in was asked, and how much it answered.
type meter struct {
	http.Handler

	mu    sync.Mutex
	asked []string
	bytes int
}

func (m *meter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	m.Handler.ServeHTTP(answer, r)
	m.mu.Lock()
	var what string
	switch {
	case strings.HasSuffix(r.URL.Path, "contacts_by_dhis_orgunit"):
		what = "places"
	case strings.HasSuffix(r.URL.Path, "_all_docs"):
		what = map[string]string{"GET": "range", "POST": "keys"}[r.Method]
		if r.URL.Query().Get("include_docs") == "true" {
			what += " with documents"
		}
	default:
		what = r.URL.Path
	}
	m.asked = append(m.asked, what)
	m.bytes += answer.Body.Len()
	m.mu.Unlock()
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// since gives what was asked since the last time, without the settings, and how much was answered.
func (m *meter) since() (asked []string, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	asked, bytes = slices.DeleteFunc(m.asked, func(s string) bool { return s == "/api/v1/settings" }), m.bytes
	m.asked, m.bytes = nil, 0
	return asked, bytes
}

// recordedBench is the deployment of the recordings, whose target documents are the source.
type recordedBench struct {
	*Submitter

	cht   *sandbox.CHT
	dhis2 *sandbox.DHIS2
	meter *meter
	clock time.Time
}

func newRecordedBench(t *testing.T, change ...func(*sandbox.CHTDocuments)) *recordedBench {
	t.Helper()
	var documents sandbox.CHTDocuments
	var metadata sandbox.DHIS2Metadata
	for name, into := range map[string]any{"cht/fixtures.json": &documents, "dhis2/metadata.json": &metadata} {
		content, err := os.ReadFile("../internal/sandbox/testdata/" + name)
		if err == nil {
			err = json.Unmarshal(content, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, edit := range change {
		edit(&documents)
	}
	b := &recordedBench{clock: time.Date(2026, 8, 22, 9, 0, 0, 0, time.UTC)}
	now := func() time.Time { return b.clock }
	b.cht = sandbox.NewCHT(sandbox.CHTConfig{Documents: documents, Now: now})
	b.dhis2 = sandbox.NewDHIS2(sandbox.DHIS2Config{Version: "2.42.5.2", Metadata: metadata, Now: now, Users: []sandbox.DHIS2User{
		{Username: "cht", Token: "d2p_cht", Authorities: []string{"F_DATAVALUE_ADD"}, OrgUnits: []string{"OuCountry01"}},
	}})
	b.meter = &meter{Handler: b.cht}
	base := &url.URL{Scheme: "http", Host: "stand-in.test"}
	b.Submitter = &Submitter{
		Sources: map[string]Source{"county": {Name: "county", HierarchyAge: time.Hour, Client: b.client("integration")}},
		Destinations: map[string]Destination{"national": {Name: "national", Client: dhis2.New(base, inMemory{b.dhis2, func(r *http.Request) {
			r.Header.Set("Authorization", "ApiToken d2p_cht")
		}, 0}, 1)}},
		SpoolDir: t.TempDir(), Now: now,
	}
	first, _ := dhis2.ParsePeriod("202601")
	for _, id := range []string{"DsMchMonth1", "DsMalariaM1"} {
		b.DataSets = append(b.DataSets, DataSet{
			ID: id, CHT: []string{"county"}, DHIS2: "national", FirstPeriod: first, FromTargets: true, Nested: AllowNested,
			Targets: target.Rules{Duplicates: target.Together}, Operation: Operation{Enabled: true},
		})
	}
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: t.TempDir(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := errors.Join(l.TakeRole(t.Context()), b.Remember(l)); err != nil {
		t.Fatal(err)
	}
	return b
}

// client makes a client of the CHT with an account.
func (b *recordedBench) client(user string) *cht.Client {
	return cht.New(&url.URL{Scheme: "http", Host: "stand-in.test"}, inMemory{b.meter, func(r *http.Request) { r.SetBasicAuth(user, "Secret.123") }, 0})
}

// july submits July 2026 of a data set.
func (b *recordedBench) july(t *testing.T, set string) Report {
	t.Helper()
	report, err := b.Submit(t.Context(), Request{DataSet: set, Period: "202607", CHT: "county"})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// holds gives what DHIS2 holds of a data element by org unit and combo, as "orgUnit.combo=value".
func (b *recordedBench) holds(element string) string {
	var all []string
	for _, v := range b.dhis2.Values() {
		if v.DataElement == element {
			combo := "." + v.CategoryOptionCombo
			if v.CategoryOptionCombo == dhis2.DefaultCombo || v.CategoryOptionCombo == "" {
				combo = ""
			}
			all = append(all, v.OrgUnit+combo+"="+v.Value)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// foundCodes gives the codes of a report's issues, with their counts.
func foundCodes(r Report) string {
	var all []string
	for _, i := range r.Issues {
		all = append(all, fmt.Sprintf("%s:%d", i.Code, i.Count))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// TestTargetDocumentsGiveTheReference submits the recorded July, and compares with what an independent program found.
func TestTargetDocumentsGiveTheReference(t *testing.T) {
	b := newRecordedBench(t)
	var reference struct {
		DataSets map[string]struct {
			DataValues []struct {
				OrgUnit, DataElement, CategoryOptionCombo string
				Value                                     json.Number
			}
		}
	}
	content, err := os.ReadFile("../internal/sandbox/testdata/cht/reference-own-aggregate-2026-07.json")
	if err == nil {
		err = json.Unmarshal(content, &reference)
	}
	if err != nil {
		t.Fatal(err)
	}
	want, got := map[string]string{}, map[string]string{}
	for set, of := range reference.DataSets {
		report := b.july(t, set)
		if report.Reason != "" || report.Counts.Accepted == 0 {
			t.Errorf("%s: got %+v, %s: %s\n%v", set, report.Counts, report.Reason, report.Error, report.Issues)
		}
		for _, v := range of.DataValues {
			if v.CategoryOptionCombo == dhis2.DefaultCombo {
				v.CategoryOptionCombo = ""
			}
			want[set+" "+v.OrgUnit+" "+v.DataElement+" "+v.CategoryOptionCombo] = v.Value.String()
		}
	}
	for _, v := range b.dhis2.Values() {
		for set, of := range reference.DataSets {
			for _, r := range of.DataValues {
				if r.OrgUnit == v.OrgUnit && r.DataElement == v.DataElement {
					combo := v.CategoryOptionCombo
					if combo == dhis2.DefaultCombo {
						combo = ""
					}
					got[set+" "+v.OrgUnit+" "+v.DataElement+" "+combo] = v.Value
				}
			}
		}
	}
	// These are zeros, and zero is not significant for their data elements in DHIS2, which keeps none.
	delete(want, "DsMalariaM1 OuAmaniChu2 DeLlinDist1 ")
	delete(want, "DsMchMonth1 OuAmaniChu2 DeLlinDist2 ")
	if diff := cmp.Diff(want, got); diff != "" || len(want) != 65 {
		t.Errorf("%d values, -want +got:\n%s", len(want), diff)
	}
}
