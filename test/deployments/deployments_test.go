// Package deployments tries the mediator on deployments that nobody has thought of: places, people, settings and documents are
// invented from a seed, the real thing prepares a month of them, and what it would send is held against an independent computation of
// what is true. Whatever differs has to be named by the report.
package deployments

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/orchestration"
)

var (
	count = flag.Int("deployments", 2000, "how many deployments are tried")
	seed  = flag.Int("seed", 0, "the seed of the one deployment to try")
)

// inMemory calls a stand-in without a network.
type inMemory struct {
	handler       http.Handler
	authorization func(*http.Request)
}

func (m inMemory) Do(r *http.Request, again func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
	}
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(sent)), int64(len(sent))
	m.authorization(r)
	r.Header.Set("Accept", "application/json")
	recorder := httptest.NewRecorder()
	m.handler.ServeHTTP(recorder, r)
	response := recorder.Result()
	body := recorder.Body.Bytes()
	again(1, response, body, nil) // Nothing is better the second time.
	return response, body, nil
}

func (m inMemory) Stream(r *http.Request, again func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	response, body, err := m.Do(r, again)
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, body, err
}

// stand is a deployment that answers, and a submitter between its two sides.
type stand struct {
	*deployment
	*orchestration.Submitter

	chtServer *sandbox.CHT
	// clock is what everybody's clock shows.
	clock time.Time
	// first are owners as they were when their documents first counted.
	first map[ofMonth]*sandbox.CHTContact
}

// stand stands the deployment up. What is remembered of it is in a ledger that it may share with others, as its CHT has a name of its own.
func (d *deployment) stand(spool string, l *ledger.Ledger) *stand {
	s := &stand{deployment: d, clock: today}
	now := func() time.Time { return s.clock }
	s.chtServer = sandbox.NewCHT(sandbox.CHTConfig{Documents: d.cht, TimeZone: d.zone, Now: now})
	user := sandbox.DHIS2User{Username: "integration", Token: "d2pat_token", Authorities: []string{"F_DATAVALUE_ADD"}, OrgUnits: []string{"OuRoot00000"}}
	server := sandbox.NewDHIS2(sandbox.DHIS2Config{Version: "2.43.1", Metadata: d.dhis2, Users: []sandbox.DHIS2User{user}, Now: now})
	base := &url.URL{Scheme: "http", Host: "stand-in.test"}
	basic := func(r *http.Request) { r.SetBasicAuth("integration", "secret") }
	token := func(r *http.Request) { r.Header.Set("Authorization", "ApiToken d2pat_token") }
	first, _ := dhis2.ParsePeriod(map[bool]string{false: "202501", true: "2025Q1"}[len(d.tags) > 1])
	source := orchestration.Source{Name: d.name, Client: cht.New(base, inMemory{s.chtServer, basic}), Zone: d.zone}
	s.Submitter = &orchestration.Submitter{
		Sources:      map[string]orchestration.Source{d.name: source},
		Destinations: map[string]orchestration.Destination{"national": {Name: "national", Client: dhis2.New(base, inMemory{server, token}, 1)}},
		DataSets: []orchestration.DataSet{{
			ID: d.sets[0], CHT: []string{d.name}, DHIS2: "national", FirstPeriod: first, Nested: d.nested,
			FromTargets: d.reads, Targets: d.rules, AsFirst: d.asFirst,
		}},
		Ledger: l, SpoolDir: spool, Now: now,
	}
	return s
}

// outcome is what the mediator would send, and what it says of it.
type outcome struct {
	values map[cell]string
	report orchestration.Report
}

// prepare lets the mediator prepare the month.
func (s *stand) prepare(ctx context.Context) (*outcome, error) {
	plan, err := s.Prepare(ctx, orchestration.Request{DataSet: s.sets[0], Period: s.period, CHT: s.name})
	if err != nil {
		return nil, err
	}
	defer plan.Close()
	o := &outcome{values: map[cell]string{}, report: plan.Report()}
	err = plan.Values(func(v mapping.Value) error {
		at := cell{v.OrgUnit, v.DataElement, noDefault(v.CategoryOptionCombo), noDefault(v.AttributeOptionCombo)}
		if old, twice := o.values[at]; twice {
			return fmt.Errorf("%v is sent twice: %s and %s", at, old, v.Value)
		}
		o.values[at] = v.Value
		return nil
	})
	return o, err
}

// names says whether the report tells that a cell stays behind: the cell itself, or an issue of its org unit or its data element.
func (o *outcome) names(at cell) bool {
	for _, q := range o.report.Quarantined {
		if q.OrgUnit == at.orgUnit && q.DataElement == at.element && noDefault(q.CategoryOptionCombo) == at.combo {
			return true
		}
	}
	return slices.ContainsFunc(o.report.Issues, func(i issue.Issue) bool {
		return i.Severity == issue.Cell && i.OrgUnit == at.orgUnit && i.DataElement == at.element ||
			slices.Contains(wholeUnits, i.Code) && i.OrgUnit == at.orgUnit ||
			slices.Contains(wholeElements, i.Code) && i.DataElement == at.element
	})
}

// Issues that name an org unit or a data element as a whole.
var (
	wholeUnits    = []string{"nested_org_units"}
	wholeElements = []string{"shared_element_collapses", "target_not_exported"}
)

// differences gives what is not as it should be, and is not named.
func (s *stand) differences(o *outcome) []string {
	want := s.ofExport()
	switch {
	case s.reads && s.asFirst:
		want = s.ofDocuments(s.first)
	case s.reads:
		want = s.ofDocuments(nil)
	}
	if o.report.Error != "" {
		return s.whole(o, want)
	}
	if want.breaks {
		return []string{"the export fails, and something was read"}
	}
	var found []string
	cells := slices.Collect(maps.Keys(want.values))
	for at := range o.values {
		if _, known := want.values[at]; !known {
			cells = append(cells, at)
		}
	}
	for _, at := range cells {
		got, sent := o.values[at]
		wanted := fmt.Sprint(want.values[at])
		if _, fed := want.values[at]; s.reads && !fed {
			wanted = "nothing"
		}
		switch {
		case s.reads && want.unknown[at]: // of two documents that are alike in all that counts, one counts
		case want.unknown[at] && sent:
			found = append(found, fmt.Sprintf("%v is sent as %s, and cannot be known", at, got))
		case sent && got != wanted:
			found = append(found, fmt.Sprintf("%v is sent as %s, and is %s", at, got, wanted))
		case !sent && wanted == "nothing":
		case !sent && (wanted != "0" || want.unknown[at]) && !o.names(at):
			found = append(found, fmt.Sprintf("%v is %s (unknown: %t), is not sent, and not named", at, wanted, want.unknown[at]))
		}
	}
	if s.reads && o.tells("duplicate_cell") {
		found = append(found, "a cell was added up twice")
	}
	slices.Sort(found)
	return slices.Concat(found, s.denominators(o), s.nests(o, want))
}

// nests makes sure that no work is sent twice without a word: of an owner that counts for two org units both of which are sent. Where
// one lies inside the other, DHIS2 adds it up itself, and only who allows that gets both. Where they lie beside each other in DHIS2,
// reports of target documents tell; what the export does so cannot be seen in it.
func (s *stand) nests(o *outcome, want *truth) []string {
	counts := map[string]bool{}
	for at, value := range o.values {
		counts[at.orgUnit] = counts[at.orgUnit] || value != "0"
	}
	var found []string
	for _, units := range want.together {
		for _, inner := range units {
			for _, outer := range units {
				if inner == outer || !counts[inner] || !counts[outer] {
					continue
				}
				told := o.tells("place_of_several_org_units") || o.tells("counted_at_several_levels")
				switch {
				case s.lies(inner, outer) && (s.nested != orchestration.AllowNested || !o.tells("nested_org_units")):
					found = append(found, fmt.Sprintf("both %s and %s inside it are sent, with work of the same people", outer, inner))
				case s.reads && !told:
					found = append(found, fmt.Sprintf("that %s and %s have work of the same people is not named", outer, inner))
				}
			}
		}
	}
	return found
}

// lies says whether an org unit lies inside another one in DHIS2.
func (s *stand) lies(inner, outer string) bool {
	for at := s.parent[inner]; at != "" && !s.flat; at = s.parent[at] {
		if at == outer {
			return true
		}
	}
	return false
}

// tells says whether there is an issue of a code.
func (o *outcome) tells(code string) bool {
	return slices.ContainsFunc(o.report.Issues, func(i issue.Issue) bool { return i.Code == code })
}

// whole judges a month of which nothing is sent: there has to be a reason for it.
func (s *stand) whole(o *outcome, want *truth) []string {
	if len(o.values) > 0 {
		return []string{"the month is refused, and is sent: " + o.report.Error}
	}
	noTargets := !slices.ContainsFunc(s.targets, func(t chtTarget) bool {
		return (s.reads || !t.listed) && slices.ContainsFunc(t.to, func(to destination) bool { return to.set == "" || to.set == s.sets[0] })
	})
	set := s.dhis2.DataSets[0]
	for _, cause := range []struct {
		is   bool
		text string
	}{
		{want.breaks, "the server answered 500"},
		{noTargets, "has no dataElements"},
		{noTargets, "names a data element of data set"},
		{s.period == "202611", "is not over"},
		{!s.carries(), "the answer has no value at all"},
		{s.reads && !s.carries(), "no place of the CHT carries an org unit of this data set"},
		{s.reads && len(want.values) == 0, "the answer has no value at all"},
		{s.reads && noTargets, "no target feeds the data set"},
		{len(set.OrganisationUnits) == 0, "is assigned to no org unit in DHIS2"},
		{len(set.DataSetElements) == 0, "has no data elements in DHIS2"},
	} {
		if cause.is && strings.Contains(o.report.Error, cause.text) {
			return nil
		}
	}
	return []string{"the whole month is refused without a reason: " + o.report.Error}
}

// carries says whether any contact carries an org unit of the data set.
func (d *deployment) carries() bool {
	for _, list := range [][]sandbox.CHTContact{d.cht.Places, d.cht.Persons} {
		for i := range list {
			if c := d.contact(list[i].ID); len(d.unitsOf(c)) > 0 {
				return true
			}
		}
	}
	return false
}

// denominators makes sure that each data element to which a percent target adds its denominator is named.
func (s *stand) denominators(o *outcome) []string {
	if s.reads && s.rules.Items != nil {
		return nil
	}
	var found []string
	for _, t := range s.targets {
		for _, to := range t.to {
			if t.kind != "percent" || t.listed && !s.reads || to.set != "" && to.set != s.sets[0] || slices.ContainsFunc(o.report.Issues, func(i issue.Issue) bool {
				return i.Code == "percent_sends_denominator" && i.DataElement == to.element
			}) {
				continue
			}
			found = append(found, "that "+to.element+" has a denominator is not named")
		}
	}
	return found
}

// try tries the deployment of a seed, and gives what is wrong with it.
func try(t *testing.T, number int, l *ledger.Ledger, tally *tally) []string {
	t.Helper()
	s := newDeployment(uint64(number)).stand(tally.spool, l)
	o, err := s.prepare(t.Context())
	if err != nil {
		return []string{err.Error()}
	}
	tally.take(o)
	if found := s.differences(o); len(found) > 0 || !s.reads || o.report.Error != "" || s.one(2) {
		return found
	}
	s.first = s.owners()
	s.chtServer.Change(func(documents *sandbox.CHTDocuments) {
		s.live()
		*documents = s.cht
	})
	s.clock = s.clock.Add(some(s.deployment, []time.Duration{time.Minute, time.Hour, 9 * 24 * time.Hour}))
	if o, err = s.prepare(t.Context()); err != nil {
		return []string{err.Error()}
	}
	tally.take(o)
	found := append(s.differences(o), s.moves(o)...)
	for i := range found {
		found[i] = "when it is read again: " + found[i]
	}
	return found
}

// moves makes sure that each org unit is named which would have other figures by the other hierarchy.
func (s *stand) moves(o *outcome) []string {
	if o.report.Error != "" {
		return nil
	}
	var found []string
	today, first := s.ofDocuments(nil), s.ofDocuments(s.first)
	for _, pair := range [][2]*truth{{today, first}, {first, today}} {
		for at, value := range pair[0].values {
			other, fed := pair[1].values[at]
			named := slices.ContainsFunc(o.report.Issues, func(i issue.Issue) bool { return i.Code == "figures_moved" && i.OrgUnit == at.orgUnit })
			if (!fed || other != value) && !pair[0].unknown[at] && !pair[1].unknown[at] && !named {
				found = append(found, fmt.Sprintf("that %v is %d by one hierarchy and %d (%t) by the other is not named", at, value, other, fed))
			}
		}
	}
	slices.Sort(found)
	return found
}

// tally counts what came of all deployments: a test in which everything stays behind would show nothing.
type tally struct {
	sync.Mutex

	spool                 string
	refused, sent, behind int
	codes                 map[string]int
}

func (c *tally) take(o *outcome) {
	c.Lock()
	defer c.Unlock()
	if o.report.Error != "" {
		c.refused++
	}
	c.sent += len(o.values)
	c.behind += o.report.Counts.Quarantined
	for _, i := range o.report.Issues {
		c.codes[i.Code]++
	}
}

func TestEveryDifferenceIsNamed(t *testing.T) {
	t.Parallel()
	counts := &tally{codes: map[string]int{}, spool: t.TempDir()}
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: t.TempDir(), Now: func() time.Time { return today }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if *seed > 0 {
		d, _ := json.MarshalIndent(newDeployment(uint64(*seed)).cht, "", " ")
		t.Logf("%s\n%+v", d, newDeployment(uint64(*seed)).rules)
		for _, what := range try(t, *seed, l, counts) {
			t.Error(what)
		}
		t.Logf("%+v", counts.codes)
		return
	}
	seeds := make(chan int)
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for number := range seeds {
				for _, what := range try(t, number, l, counts) {
					t.Errorf("seed %d (go test ./test/deployments -seed %d): %s", number, number, what)
				}
			}
		})
	}
	for number := 1; number <= *count; number++ {
		seeds <- number
	}
	close(seeds)
	all.Wait()
	t.Logf("%d deployments, %d of them refused wholly, %d values sent, %d cells left behind; issues: %v", *count, counts.refused, counts.sent, counts.behind, counts.codes)
	if counts.refused > *count/4 || counts.behind > counts.sent {
		t.Error("too much stays behind to show anything")
	}
}
