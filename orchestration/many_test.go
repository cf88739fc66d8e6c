package orchestration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// gauge is how many are under way, and how many were at most.
type gauge struct{ now, most atomic.Int64 }

func (g *gauge) enter() {
	now := g.now.Add(1)
	for {
		most := g.most.Load()
		if now <= most || g.most.CompareAndSwap(most, now) {
			return
		}
	}
}

// county is a CHT that has some facilities of a country's.
type county struct {
	whole *sandbox.CHT
	has   map[string]bool
	// own counts the reads of this county, all those of every one.
	own, all *gauge
	exports  atomic.Int64
}

func (c *county) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.own.enter()
	defer c.own.now.Add(-1)
	if !strings.HasPrefix(r.URL.Path, "/api/v2/export") {
		c.whole.ServeHTTP(w, r)
		return
	}
	c.exports.Add(1)
	c.all.enter()
	defer c.all.now.Add(-1)
	answer := httptest.NewRecorder()
	c.whole.ServeHTTP(answer, r)
	var month map[string]any
	if err := json.Unmarshal(answer.Body.Bytes(), &month); err != nil {
		panic(err)
	}
	values, _ := month["dataValues"].([]any)
	own := []any{}
	for _, one := range values {
		if value, _ := one.(map[string]any); c.has[fmt.Sprint(value["orgUnit"])] {
			own = append(own, one)
		}
	}
	month["dataValues"] = own
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(month)
}

// TestACountryThatIsDueInOneMinuteArrivesOnce has 47 counties with 5 data sets each, all due at the same time.
func TestACountryThatIsDueInOneMinuteArrivesOnce(t *testing.T) {
	const counties, sets, each = 47, 5, 2
	country := sandbox.NewCountry(sandbox.CountryConfig{Seed: 47, Facilities: counties * each, DataSets: sets, Elements: 3, Period: "202610"})
	now := func() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC) }
	national := sandbox.NewDHIS2(sandbox.DHIS2Config{Version: "2.43.1", Metadata: country.DHIS2, Users: country.Users, Now: now})
	base := &url.URL{Scheme: "http", Host: "stand-in.test"}
	token := func(r *http.Request) { r.Header.Set("Authorization", "ApiToken "+country.DHIS2Token) }
	basic := func(r *http.Request) { r.SetBasicAuth(country.CHTUsername, country.CHTPassword) }
	s := &Submitter{
		Sources: map[string]Source{}, SpoolDir: t.TempDir(), Now: now,
		Destinations: map[string]Destination{"national": {Name: "national", Client: dhis2.New(base, inMemory{national, token, 0}, 1)}},
	}
	var units, names []string
	want := map[string]string{}
	facility := map[string]int{}
	for _, values := range country.Right {
		for _, v := range values {
			if _, known := facility[v.OrgUnit]; !known {
				facility[v.OrgUnit] = len(units)
				units = append(units, v.OrgUnit)
			}
			want[v.OrgUnit+v.DataElement] = v.Value
		}
	}
	whole, all := sandbox.NewCHT(sandbox.CHTConfig{Documents: country.CHT}), &gauge{}
	var places []*county
	for i := range counties {
		c := &county{whole: whole, has: map[string]bool{}, own: &gauge{}, all: all}
		for _, unit := range units[i*each : (i+1)*each] {
			c.has[unit] = true
		}
		name := fmt.Sprintf("county-%02d", i)
		names, places = append(names, name), append(places, c)
		s.Sources[name] = Source{Name: name, Client: cht.New(base, inMemory{c, basic, 0})}
	}
	for _, id := range country.DataSets {
		s.DataSets = append(s.DataSets, DataSet{
			ID: id, CHT: names, DHIS2: "national", FirstPeriod: periodOf(t, "202610"),
			Operation: Operation{Enabled: true, Schedule: "0 3 * * *", FirstAfterDays: 5, RereadDays: 10},
		})
	}
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: t.TempDir(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := s.Remember(l); err != nil {
		t.Fatal(err)
	}
	service := NewService(s)
	begun, err := service.Tick(t.Context(), BySchedule)
	if err != nil || len(begun) != counties*sets {
		t.Fatalf("one look begins %d submissions, %v", len(begun), err)
	}
	began := time.Now()
	start(t, service)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		states, _, err := l.Unfinished(t.Context())
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("left are %v, %v", states, err)
		}
		if len(states) == 0 {
			break
		}
	}
	t.Logf("%d submissions in %s, %d months read at one time", len(begun), time.Since(began).Round(time.Millisecond), all.most.Load())
	if again, err := service.Tick(t.Context(), BySchedule); err != nil || len(again) > 0 {
		t.Errorf("the next look begins %d, %v", len(again), err)
	}
	for _, sub := range begun {
		if sub, err := l.Submission(t.Context(), sub.ID); err != nil || sub.State != ledger.Accepted {
			t.Errorf("%s of %s: %s %s, %v", sub.DataSet, sub.CHT, sub.State, sub.Error, err)
		}
	}
	held := map[string]string{}
	for _, v := range national.Values() {
		held[v.OrgUnit+v.DataElement] = v.Value
	}
	for cell, value := range want {
		if held[cell] != value {
			t.Fatalf("DHIS2 holds %q for %s, want %q", held[cell], cell, value)
		}
	}
	if len(held) != len(want) || len(national.Imports()) != len(begun) || national.MostAtOnce() != 1 {
		t.Errorf("%d values, want %d; %d imports, want %d; %d at once", len(held), len(want), len(national.Imports()), len(begun), national.MostAtOnce())
	}
	for i, c := range places {
		if c.exports.Load() != sets || c.own.most.Load() != 1 {
			t.Errorf("%s was read %d times, by %d at once", names[i], c.exports.Load(), c.own.most.Load())
		}
	}
	// Memory is bounded by this: a month that is read takes some, one that waits none.
	if all.most.Load() > usualReaders {
		t.Errorf("%d months were read at one time", all.most.Load())
	}
}
