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
	"github.com/cht-dhis2/mediator/internal/mapping"
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

// since gives what was asked of documents since the last time, and how much was answered.
func (m *meter) since() (asked []string, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	asked, bytes = slices.DeleteFunc(m.asked, func(s string) bool { return strings.HasPrefix(s, "/api/") }), m.bytes
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
	return newRecordedBenchOf(t, func(*sandbox.DHIS2Metadata) {}, change...)
}

func newRecordedBenchOf(t *testing.T, set func(*sandbox.DHIS2Metadata), change ...func(*sandbox.CHTDocuments)) *recordedBench {
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
	set(&metadata)
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

// find gives the target document of a user of July.
func find(d *sandbox.CHTDocuments, user string) *sandbox.CHTTargetDocument {
	for i := range d.Targets {
		if strings.HasPrefix(d.Targets[i].ID, "target~2026-07~") && strings.HasSuffix(d.Targets[i].ID, "org.couchdb.user:"+user) {
			return &d.Targets[i]
		}
	}
	panic("there is no such document")
}

// births sets what the phone of a user counted.
func births(d *sandbox.CHTDocuments, user string, count int) {
	of := find(d, user)
	of.Targets = slices.Clone(of.Targets)
	for i := range of.Targets {
		if of.Targets[i].ID == "births-this-month" {
			of.Targets[i].Value = &sandbox.CHTTargetValue{Pass: count, Total: count}
		}
	}
}

const (
	birthsOf     = "DeBirths001"
	recordedJuly = "OuAmaniChu2=2 OuAmaniHC01=9 OuBarakaMch=4 OuElimuHC01=9 OuFarasi001=5 OuFarasi002=5"
	ashaTo10July = "OuAmaniChu2=2 OuAmaniHC01=16 OuBarakaMch=4 OuElimuHC01=9 OuFarasi001=5 OuFarasi002=5"
)

func (b *recordedBench) has(t *testing.T, want string) {
	t.Helper()
	if got := b.holds(birthsOf); got != want {
		t.Errorf("DHIS2 holds %q, want %q", got, want)
	}
}

func (b *recordedBench) asks(t *testing.T, want ...string) {
	t.Helper()
	if asked, _ := b.meter.since(); !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

func TestAnUnchangedMonthIsReadByIDsOnly(t *testing.T) {
	b := newRecordedBench(t)
	b.july(t, "DsMchMonth1")
	b.has(t, recordedJuly)
	b.asks(t, "places", "range with documents", "keys with documents")

	// What is remembered serves the other data sets of the CHT too.
	b.july(t, "DsMalariaM1")
	b.asks(t, "places", "range")
	if r := b.july(t, "DsMchMonth1"); r.State != ledger.Unchanged || r.Counts.Accepted > 0 {
		t.Errorf("got %s, %+v", r.State, r.Counts)
	}
	b.asks(t, "places", "range")

	// The workers are looked at again after some time, by their revisions.
	b.clock = b.clock.Add(time.Hour)
	b.july(t, "DsMchMonth1")
	b.asks(t, "places", "range", "keys")

	// What comes late is read alone, and only what it changes is sent.
	b.cht.Change(func(d *sandbox.CHTDocuments) { births(d, "asha", 10) })
	if r := b.july(t, "DsMchMonth1"); r.Counts.Accepted != 1 || r.Counts.Unchanged != r.Counts.Fetched-1 || r.Changes == nil || r.Changes.Cells != 1 {
		t.Errorf("got %+v, changes %+v", r.Counts, r.Changes)
	}
	b.has(t, ashaTo10July)
	b.asks(t, "places", "range", "keys with documents")

	// Whoever distrusts what is remembered reads all, and so does time.
	if _, err := b.Submit(t.Context(), Request{DataSet: "DsMchMonth1", Period: "202607", CHT: "county", Mode: ledger.ModeFull}); err != nil {
		t.Fatal(err)
	}
	b.asks(t, "places", "range with documents")
	b.clock = b.clock.AddDate(0, 0, 7)
	b.july(t, "DsMchMonth1")
	b.asks(t, "places", "range with documents", "keys")
	b.has(t, ashaTo10July)
}

// manyDocuments gives July documents of so many more workers below a place, each of 100 targets.
func manyDocuments(owners int, parent string) func(*sandbox.CHTDocuments) {
	return func(d *sandbox.CHTDocuments) {
		counts := []sandbox.CHTTargetCount{{ID: "births-this-month", Value: &sandbox.CHTTargetValue{Pass: 1, Total: 1}}}
		for i := range 99 {
			counts = append(counts, sandbox.CHTTargetCount{ID: fmt.Sprint("some-other-target-", i), Value: &sandbox.CHTTargetValue{Pass: i, Total: i}})
		}
		for i := range owners {
			id := fmt.Sprintf("chw-more-%05d", i)
			if parent != "" {
				d.Persons = append(d.Persons, sandbox.CHTContact{ID: id, Type: "contact", ContactType: "chw", Parent: &sandbox.CHTParent{ID: parent}})
			}
			d.Targets = append(d.Targets, sandbox.CHTTargetDocument{
				ID: fmt.Sprintf("target~2026-07~%s~org.couchdb.user:more%05d", id, i), Type: "target", Owner: id, User: fmt.Sprintf("org.couchdb.user:more%05d", i),
				ReportingPeriod: "2026-07", Targets: counts, UpdatedDate: 1785456000000,
			})
		}
	}
}

func TestOneOfAHundredChangedCostsATwentiethOfTheBytes(t *testing.T) {
	b := newRecordedBench(t, manyDocuments(300, "hf-duma"))
	b.july(t, "DsMchMonth1")
	_, first := b.meter.since()
	if !strings.Contains(b.holds(birthsOf), "OuDumaHC001=300") {
		t.Errorf("DHIS2 holds %s", b.holds(birthsOf))
	}
	b.cht.Change(func(d *sandbox.CHTDocuments) {
		for i := range 3 {
			births(d, fmt.Sprintf("more%05d", i), 2)
		}
	})
	b.july(t, "DsMchMonth1")
	if _, second := b.meter.since(); second > first/20 {
		t.Errorf("the second reading cost %d bytes, the first %d", second, first)
	}
	if !strings.Contains(b.holds(birthsOf), "OuDumaHC001=303") {
		t.Errorf("DHIS2 holds %s", b.holds(birthsOf))
	}
}

// TestAReadingThatWasCutOffGoesOn lets each request of the first reading fail for good once, and reads again.
func TestAReadingThatWasCutOffGoesOn(t *testing.T) {
	for _, fault := range []sandbox.Fault{
		{Kind: sandbox.Status, Status: 404, Path: "/medic/_design"},
		{Kind: sandbox.Status, Status: 404, Method: "GET", Path: "/medic/_all_docs"},
		{Kind: sandbox.Status, Status: 404, Method: "POST", Path: "/medic/_all_docs"},
	} {
		t.Run(fault.Method+fault.Path, func(t *testing.T) {
			b := newRecordedBench(t)
			b.cht.Fail(fault)
			if r := b.july(t, "DsMchMonth1"); r.State != ledger.Failed || r.Reason != CHTUnavailable {
				t.Errorf("got %s, %s: %s", r.State, r.Reason, r.Error)
			}
			b.cht.Heal()
			// Meanwhile a phone has synced, and a user is gone.
			b.cht.Change(func(d *sandbox.CHTDocuments) {
				births(d, "asha", 10)
				d.Targets = slices.DeleteFunc(d.Targets, func(one sandbox.CHTTargetDocument) bool { return strings.HasSuffix(one.ID, ":ghost") })
			})
			b.down = nil
			if r := b.july(t, "DsMchMonth1"); r.Reason != "" {
				t.Errorf("got %s: %s", r.Reason, r.Error)
			}
			b.has(t, ashaTo10July)
		})
	}
}

func TestWhatChangesWhileItIsReadIsReadAsItIsThen(t *testing.T) {
	b := newRecordedBench(t)
	b.july(t, "DsMchMonth1")
	b.cht.Change(func(d *sandbox.CHTDocuments) {
		births(d, "asha", 1)
		births(d, "faraja", 50)
		births(d, "eli", 70)
	})
	// After it was asked which have changed, one changes once more, one is deleted, and one that was not among them changes too.
	b.cht.ChangeBefore("/medic/_all_docs", 2, func(d *sandbox.CHTDocuments) {
		births(d, "asha", 10)
		births(d, "bahati", 60)
		d.Targets = slices.DeleteFunc(d.Targets, func(one sandbox.CHTTargetDocument) bool { return strings.HasSuffix(one.ID, ":eli") })
	})
	b.july(t, "DsMchMonth1")
	got := b.holds(birthsOf)
	for _, want := range []string{"OuAmaniHC01=16", "OuFarasi001=50", "OuBarakaMch=4", "OuElimuHC01=7 "} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	b.july(t, "DsMchMonth1")
	if got := b.holds(birthsOf); !strings.Contains(got, "OuBarakaMch=60") {
		t.Errorf("got %s", got)
	}
}

func TestAMalformedDocumentDoesNotSinkTheMonth(t *testing.T) {
	b := newRecordedBench(t, func(d *sandbox.CHTDocuments) {
		find(d, "faraja").Targets = nil
		find(d, "bahati").Targets = []sandbox.CHTTargetCount{{ID: "births-this-month", Value: &sandbox.CHTTargetValue{Pass: 3, Total: "03"}}}
	})
	r := b.july(t, "DsMchMonth1")
	if got := foundCodes(r); !strings.Contains(got, "malformed_documents:2") || r.Reason != "" {
		t.Errorf("got %s, %s", got, r.Reason)
	}
	b.has(t, "OuAmaniChu2=2 OuAmaniHC01=9 OuElimuHC01=9")
}

func TestWhatCountsNowhereIsTold(t *testing.T) {
	b := newRecordedBench(t)
	b.DataSets[0].Targets = target.Rules{ExcludeTypes: []string{"supervisor"}}
	b.cht.Change(func(d *sandbox.CHTDocuments) {
		for i := range d.Persons {
			if d.Persons[i].ID == "sup-amani" {
				d.Persons[i].ContactType = "supervisor"
			}
		}
	})
	r := b.july(t, "DsMchMonth1")
	for _, want := range []string{"workers_without_org_unit:1", "workers_gone:2", "duplicate_workers:1", "contact_types_excluded:1", "place_of_several_org_units:1"} {
		if got := foundCodes(r); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for _, i := range r.Issues {
		if strings.Contains(i.Text+i.Remedy, "chw-") || strings.Contains(i.Text, "asha") {
			t.Errorf("somebody is named: %+v", i)
		}
	}
}

func TestNobodyIsNamedInTheStore(t *testing.T) {
	b := newRecordedBench(t)
	b.july(t, "DsMchMonth1")
	for _, name := range []string{b.Ledger.Place(), b.Ledger.Place() + "-wal"} {
		content, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for _, personal := range []string{"asha", "chw-moved", "org.couchdb.user"} {
			if strings.Contains(string(content), personal) {
				t.Errorf("%s is in %s", personal, name)
			}
		}
	}
}

func TestWithoutTheRightToReadDocumentsItSaysSo(t *testing.T) {
	b := newRecordedBench(t)
	source := b.Sources["county"]
	source.Client = b.client("not_online")
	b.Sources["county"] = source
	r := b.july(t, "DsMchMonth1")
	if r.Reason != Credentials || !strings.Contains(r.Remedy, "mm-online") {
		t.Errorf("got %s: %s: %s", r.Reason, r.Error, r.Remedy)
	}
}

func TestWhatIsRememberedIsProvedInFull(t *testing.T) {
	b := newRecordedBench(t)
	b.july(t, "DsMchMonth1")
	at := ledger.TargetMonth{CHT: "county", Month: "202607"}
	known, _, err := b.Ledger.TargetRevisions(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	// Somebody has spoilt what is remembered of one document, in its revision.
	key, err := b.Ledger.TargetKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := key.Of("target~2026-07~chw-bahati~org.couchdb.user:bahati")
	owner := key.Of("chw-bahati")
	spoilt := ledger.TargetDocument{Owner: owner, Named: owner, Revision: known[id], Document: target.Document{
		ID: id, Counts: []target.Count{{Target: 0, Pass: 99, Total: 99}},
	}}
	if _, err := b.Ledger.SaveTargetDocuments(t.Context(), at, spoilt.Append(nil)); err != nil {
		t.Fatal(err)
	}
	b.clock = b.clock.AddDate(0, 0, 6)
	b.july(t, "DsMchMonth1")
	if got := b.holds(birthsOf); !strings.Contains(got, "OuBarakaMch=99") {
		t.Errorf("what is remembered was not spoilt: %s", got)
	}
	b.clock = b.clock.AddDate(0, 0, 1)
	if got := foundCodes(b.july(t, "DsMchMonth1")); !strings.Contains(got, "remembered_sum_differs:1") {
		t.Errorf("got %s", got)
	}
	b.has(t, recordedJuly)
	if got := foundCodes(b.july(t, "DsMchMonth1")); strings.Contains(got, "remembered_sum_differs") {
		t.Errorf("it is told again: %s", got)
	}
}

func TestAWorkerWhoMovesTakesNoPastMonthAlong(t *testing.T) {
	for _, test := range []struct {
		name    string
		asFirst bool
		want    string
	}{
		{"today", false, "OuAmaniChu2=2 OuAmaniHC01=3 OuBarakaMch=4 OuElimuHC01=15 OuFarasi001=5 OuFarasi002=5"},
		{"first", true, recordedJuly},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newRecordedBench(t)
			b.DataSets[0].AsFirst = test.asFirst
			b.july(t, "DsMchMonth1")
			b.has(t, recordedJuly)
			b.cht.Change(func(d *sandbox.CHTDocuments) {
				for i := range d.Persons {
					if d.Persons[i].ID == "chw-asha" {
						d.Persons[i].Parent = &sandbox.CHTParent{ID: "area-e1", Parent: &sandbox.CHTParent{ID: "hf-elimu", Parent: &sandbox.CHTParent{ID: "district-west"}}}
					}
				}
			})
			b.july(t, "DsMchMonth1") // not looked at again yet
			b.has(t, recordedJuly)
			b.clock = b.clock.Add(2 * time.Hour)
			r := b.july(t, "DsMchMonth1")
			b.has(t, test.want)
			if got := foundCodes(r); !strings.Contains(got, "workers_moved:1") || !strings.Contains(got, "figures_moved:1 figures_moved:1") {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestSettingsThatChangeNeedNothingReadAgain(t *testing.T) {
	b := newRecordedBench(t)
	b.july(t, "DsMchMonth1")
	b.meter.since()
	b.cht.Change(func(d *sandbox.CHTDocuments) {
		for i := range d.Settings.Tasks.Targets.Items {
			if item := &d.Settings.Tasks.Targets.Items[i]; item.ID == "births-this-month" {
				item.DHIS = nil
			} else if item.ID == "newborn-visits-day-3" {
				item.DHIS = json.RawMessage(`[{"dataSet":"DsMchMonth1","dataElement":"DeNewbornV1"},{"dataSet":"DsMchMonth1","dataElement":"DeBirths001"}]`)
			}
		}
	})
	b.july(t, "DsMchMonth1")
	b.asks(t, "places", "range")
	b.has(t, "OuAmaniChu2=2 OuAmaniHC01=9 OuBarakaMch=4 OuElimuHC01=9 OuFarasi001=5 OuFarasi002=5")
}

func TestAPercentageIsThatOfTheSums(t *testing.T) {
	b := newRecordedBench(t)
	b.DataSets[0].Targets.Items = []target.Item{
		{Target: "facility-deliveries", Measure: target.Percent, DataElement: "DeFacDeliv1"},
		{Target: "facility-deliveries", Measure: target.Pass, DataElement: "DeBirths001"},
	}
	b.DataSets[0].Rules.RenameOrgUnits = map[string]string{"OuFarasi002": "OuFarasi001"}
	r := b.july(t, "DsMchMonth1")
	// Two org units of one name cannot share a percentage, but numerators.
	if got := foundCodes(r); !strings.Contains(got, "percentages_meet:1") || r.Reason != LeftBehind {
		t.Errorf("got %s, %s", got, r.Reason)
	}
	if got, want := b.holds("DeFacDeliv1"), "OuAmaniChu2=50 OuAmaniHC01=67 OuBarakaMch=75 OuElimuHC01=89"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := b.holds(birthsOf), "OuAmaniChu2=1 OuAmaniHC01=6 OuBarakaMch=3 OuElimuHC01=8 OuFarasi001=8"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestAQuarterIsTheSumOfItsMonths has documents of July and August, and none of September.
func TestAQuarterIsTheSumOfItsMonths(t *testing.T) {
	b := newRecordedBenchOf(t, func(m *sandbox.DHIS2Metadata) {
		for i := range m.DataSets {
			m.DataSets[i].PeriodType = "Quarterly"
		}
	}, func(d *sandbox.CHTDocuments) {
		for i := range d.Targets {
			if d.Targets[i].ReportingPeriod == "2026-08" {
				d.Targets[i].Targets = []sandbox.CHTTargetCount{
					{ID: "births-this-month", Value: &sandbox.CHTTargetValue{Pass: 20, Total: 20}}, {ID: "facility-deliveries", Value: &sandbox.CHTTargetValue{Pass: 0, Total: 3}},
				}
			}
		}
	})
	b.clock = time.Date(2026, 10, 22, 9, 0, 0, 0, time.UTC)
	b.DataSets[0].FirstPeriod, _ = dhis2.ParsePeriod("2026Q1")
	b.DataSets[0].Targets.Items = []target.Item{
		{Target: "births-this-month", DataElement: birthsOf}, {Target: "facility-deliveries", Measure: target.Percent, DataElement: "DeFacDeliv1"},
	}
	r, err := b.Submit(t.Context(), Request{DataSet: "DsMchMonth1", Period: "2026Q3", CHT: "county"})
	if err != nil || r.Reason != "" {
		t.Fatalf("got %s: %s, %v", r.Reason, r.Error, err)
	}
	if got := foundCodes(r); !strings.Contains(got, "month_without_figures:1") {
		t.Errorf("got %s", got)
	}
	b.has(t, "OuAmaniChu2=2 OuAmaniHC01=29 OuBarakaMch=4 OuElimuHC01=9 OuFarasi001=5 OuFarasi002=5")
	// 6 of 9 in July, and 0 of 3 in August.
	if got := b.holds("DeFacDeliv1"); !strings.Contains(got, "OuAmaniHC01=50") {
		t.Errorf("got %s", got)
	}
	b.asks(t, "places", "range with documents", "range with documents", "range with documents", "keys with documents")
}

// TestManyUnknownWorkersAreCounted has 10,000 documents whose owners nobody knows.
func TestManyUnknownWorkersAreCounted(t *testing.T) {
	b := newRecordedBench(t, func(d *sandbox.CHTDocuments) {
		for i := range 10_000 {
			id := fmt.Sprintf("nobody-%05d", i)
			d.Targets = append(d.Targets, sandbox.CHTTargetDocument{
				ID: "target~2026-07~" + id + "~org.couchdb.user:u", Type: "target", Owner: id, User: "org.couchdb.user:u", ReportingPeriod: "2026-07",
				Targets: []sandbox.CHTTargetCount{{ID: "births-this-month", Value: &sandbox.CHTTargetValue{Pass: 1, Total: 1}}},
			})
		}
	})
	r := b.july(t, "DsMchMonth1")
	if got := foundCodes(r); !strings.Contains(got, "workers_gone:10002") {
		t.Errorf("got %s", got)
	}
	b.has(t, recordedJuly)
}

func TestWhereThereIsNothingToAddUpItSaysWhy(t *testing.T) {
	for _, test := range []struct {
		name, says string
		change     func(*sandbox.CHTDocuments)
		reason     Reason
	}{
		{"nobody has synced", "nobody has synced", func(d *sandbox.CHTDocuments) { d.Targets = nil }, CHTUnavailable},
		{"no org unit", "no place of the CHT carries an org unit of this data set", func(d *sandbox.CHTDocuments) {
			for i := range d.Places {
				d.Places[i].DHIS = nil
			}
		}, CHTUnavailable},
		{"no target", "no target feeds the data set", func(d *sandbox.CHTDocuments) {
			for i := range d.Settings.Tasks.Targets.Items {
				d.Settings.Tasks.Targets.Items[i].DHIS = nil
			}
		}, Configuration},
		{"nobody has an org unit", "13 count for no org unit", func(d *sandbox.CHTDocuments) {
			for i := range d.Persons {
				d.Persons[i].Parent = nil
			}
		}, CHTUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newRecordedBench(t, test.change)
			r := b.july(t, "DsMchMonth1")
			if r.Reason != test.reason || !strings.Contains(r.Error, test.says) || r.Remedy == "" {
				t.Errorf("got %s: %s: %s", r.Reason, r.Error, r.Remedy)
			}
		})
	}
}

func TestAPreviewWithoutAStoreLeavesNothingBehind(t *testing.T) {
	b := newRecordedBench(t)
	b.Ledger = nil
	p, err := b.Prepare(t.Context(), Request{DataSet: "DsMchMonth1", Period: "202607", CHT: "county", OrgUnits: []string{"OuBarakaMch"}})
	if err != nil {
		t.Fatal(err)
	}
	if r := p.Report(); r.Reason != "" || r.Counts.Unsent != 7 {
		t.Errorf("got %s %s, %+v", r.Reason, r.Error, r.Counts)
	}
	p.Close()
	if left, err := os.ReadDir(b.SpoolDir); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v", left, err)
	}
}

// TestTargetsThatWriteTheDefaultComboInTwoWaysAddUp lets one of two targets of a data element name the default combo, and the other none.
func TestTargetsThatWriteTheDefaultComboInTwoWaysAddUp(t *testing.T) {
	plain, named := newRecordedBench(t), newRecordedBench(t, func(d *sandbox.CHTDocuments) {
		for i := range d.Settings.Tasks.Targets.Items {
			if item := &d.Settings.Tasks.Targets.Items[i]; item.ID == "newborn-visits-day-3" {
				item.DHIS = json.RawMessage(`{"dataElement":"DeNewbornV1","dataSet":"DsMchMonth1","categoryOptionCombo":"` + dhis2.DefaultCombo + `"}`)
			}
		}
	})
	for _, b := range []*recordedBench{plain, named} {
		b.july(t, "DsMchMonth1")
	}
	if want, got := plain.holds("DeNewbornV1"), named.holds("DeNewbornV1"); got != want || want == "" {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestADocumentWhoseIDDoesNotTellItsOwnerCountsWhereItsOwnerIs(t *testing.T) {
	b := newRecordedBench(t, func(d *sandbox.CHTDocuments) {
		of := find(d, "bahati")
		of.Owner = "chw-faraja" // and a moment ago it was another one's
		d.Persons = append(d.Persons, sandbox.CHTContact{ID: "chw~with~marks", Type: "contact", ContactType: "chw", Parent: &sandbox.CHTParent{ID: "hf-duma"}})
		other := *find(d, "eli")
		other.ID, other.Owner, other.User = "target~2026-07~chw~with~marks~org.couchdb.user:marks", "chw~with~marks", "org.couchdb.user:marks"
		d.Targets = append(d.Targets, other)
	})
	const want = "OuAmaniChu2=2 OuAmaniHC01=9 OuDumaHC001=2 OuElimuHC01=9 OuFarasi001=9 OuFarasi002=9"
	b.july(t, "DsMchMonth1")
	b.has(t, want)
	b.meter.since()
	b.clock = b.clock.Add(2 * time.Hour)
	b.cht.Change(func(d *sandbox.CHTDocuments) {
		for i := range d.Persons {
			if d.Persons[i].ID == "chw-faraja" {
				d.Persons[i].Parent = &sandbox.CHTParent{ID: "hf-duma"}
			}
		}
	})
	r := b.july(t, "DsMchMonth1")
	b.asks(t, "places", "range", "keys with documents", "keys", "keys with documents")
	// All of the two org units moves to another one, which a person has to see.
	if got := foundCodes(r); r.State != ledger.Held || !strings.Contains(got, "workers_moved:1") || !strings.Contains(got, "figures_moved:1 figures_moved:1 figures_moved:1") {
		t.Errorf("got %s, %s", r.State, got)
	}
}

// TestTwoDataSetsOfOneCHTAreReadAtOneTime lets two processes read the same month, each for a data set.
func TestTwoDataSetsOfOneCHTAreReadAtOneTime(t *testing.T) {
	b := newRecordedBench(t, manyDocuments(600, "hf-duma"))
	type result struct {
		births string
		err    error
	}
	results := make(chan result)
	for _, set := range []string{"DsMchMonth1", "DsMalariaM1"} {
		go func() {
			source := b.Sources["county"]
			source.Client = b.client("integration")
			s := &Submitter{
				Sources: map[string]Source{"county": source}, Destinations: b.Destinations, DataSets: b.DataSets, SpoolDir: b.SpoolDir, Now: b.Now, Ledger: b.Ledger,
			}
			p, err := s.Prepare(t.Context(), Request{DataSet: set, Period: "202607", CHT: "county"})
			if err != nil {
				results <- result{err: err}
				return
			}
			defer p.Close()
			r := result{}
			if report := p.Report(); report.Reason != "" {
				r.err = errors.New(report.Error)
			}
			r.err = errors.Join(r.err, p.Values(func(v mapping.Value) error {
				if v.OrgUnit == "OuDumaHC001" && v.DataElement == birthsOf {
					r.births = v.Value
				}
				return nil
			}))
			results <- r
		}()
	}
	found := false
	for range 2 {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
		}
		found = found || r.births == "600"
	}
	known, _, err := b.Ledger.TargetRevisions(t.Context(), ledger.TargetMonth{CHT: "county", Month: "202607"})
	if err != nil || len(known) != 613 || !found {
		t.Errorf("got %d documents, %v, and the births: %v", len(known), err, found)
	}
}
