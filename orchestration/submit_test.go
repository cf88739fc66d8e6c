package orchestration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// inMemory calls a stand-in without a network, so that time can be simulated, and makes tries as the transport does.
type inMemory struct {
	handler       http.Handler
	authorization func(*http.Request)
	// timeout is how long a request may take; 0 is for ever.
	timeout time.Duration
}

type brokenOff struct{ timeout bool }

func (brokenOff) Error() string   { return "the connection broke off" }
func (b brokenOff) Timeout() bool { return b.timeout }

func (m inMemory) once(r *http.Request, body []byte) (response *http.Response, err error) {
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.RequestURI = ""
	m.authorization(r)
	r.Header.Set("Accept", "application/json")
	recorder := httptest.NewRecorder()
	defer func() {
		if recovered := recover(); recovered != nil {
			response, err = nil, brokenOff{}
		}
	}()
	started := time.Now()
	m.handler.ServeHTTP(recorder, r)
	if m.timeout > 0 && time.Since(started) > m.timeout {
		return nil, brokenOff{timeout: true}
	}
	return recorder.Result(), nil
}

func (m inMemory) Do(r *http.Request, again func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
	}
	for try := 1; ; try++ {
		response, err := m.once(r, sent)
		var body []byte
		if err == nil {
			body, _ = io.ReadAll(response.Body)
		}
		wait, more := again(try, response, body, err)
		if !more {
			return response, body, err
		}
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
			return nil, nil, r.Context().Err()
		}
	}
}

func (m inMemory) Stream(r *http.Request, again func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	response, body, err := m.Do(r, again)
	if err == nil && response.StatusCode == http.StatusOK {
		response.Body = io.NopCloser(bytes.NewReader(body))
	}
	return response, body, err
}

// bench is a country, its two stand-ins and a submitter between them.
type bench struct {
	*Submitter

	country *sandbox.Country
	cht     *sandbox.CHT
	dhis2   *sandbox.DHIS2
	set     string
}

const benchValues = 40 * 30

func newBench(t *testing.T, version string) *bench {
	t.Helper()
	return newBenchOf(t, version, sandbox.NewCountry(sandbox.CountryConfig{Seed: 5, Facilities: 40, DataSets: 1, Elements: 30, Period: "202609"}))
}

func newBenchOf(t *testing.T, version string, country *sandbox.Country) *bench {
	t.Helper()
	nurse := country.Users[0]
	nurse.ID, nurse.Username, nurse.Name, nurse.Password, nurse.Token = "", "nurse", "A nurse", "Nurse.1234", ""
	country.Users = append(country.Users, nurse)
	b := &bench{
		country: country, set: country.DataSets[0],
		cht:   sandbox.NewCHT(sandbox.CHTConfig{Documents: country.CHT}),
		dhis2: sandbox.NewDHIS2(sandbox.DHIS2Config{Version: version, Metadata: country.DHIS2, Users: country.Users, Now: func() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC) }}),
	}
	base := &url.URL{Scheme: "http", Host: "stand-in.test"}
	basic := func(r *http.Request) { r.SetBasicAuth(country.CHTUsername, country.CHTPassword) }
	token := func(r *http.Request) { r.Header.Set("Authorization", "ApiToken "+country.DHIS2Token) }
	first, _ := dhis2.ParsePeriod("202601")
	b.Submitter = &Submitter{
		Sources:      map[string]Source{"county": {Name: "county", Client: cht.New(base, inMemory{b.cht, basic, 0})}},
		Destinations: map[string]Destination{"national": {Name: "national", Client: dhis2.New(base, inMemory{b.dhis2, token, 50 * time.Second}, 1)}},
		DataSets:     []DataSet{{ID: b.set, CHT: []string{"county"}, DHIS2: "national", FirstPeriod: first, ChunkValues: 300}},
		SpoolDir:     t.TempDir(), Wait: time.Minute,
		Now: func() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC) },
	}
	b.DataSets[0].Operation.Enabled = true
	b.remember(t, t.TempDir())
	return b
}

// remember opens the store in a folder, with the worker role.
func (b *bench) remember(t *testing.T, folder string) {
	t.Helper()
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: folder, Now: b.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := errors.Join(l.TakeRole(t.Context()), b.Remember(l)); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) submit(t *testing.T, ctx context.Context) (Report, time.Duration) { //nolint:revive // t comes first in tests
	t.Helper()
	started := time.Now()
	report, err := b.Submit(ctx, Request{DataSet: b.set, Period: "202609", CHT: "county"})
	if err != nil {
		t.Fatal(err)
	}
	c := report.Counts
	if c.Fetched != c.Dropped+c.Quarantined+c.Unchanged+c.Held+c.Accepted+c.Refused+c.Unknown+c.Unsent {
		t.Errorf("the counts do not add up: %+v", c)
	}
	return report, time.Since(started)
}

// arrivedOnce makes sure that DHIS2 holds the right answer, each cell once.
func (b *bench) arrivedOnce(t *testing.T) {
	t.Helper()
	held := map[string]string{}
	for _, v := range b.dhis2.Values() {
		held[v.OrgUnit+v.DataElement] = v.Value
	}
	for _, v := range b.country.Right[b.set] {
		if held[v.OrgUnit+v.DataElement] != v.Value {
			t.Fatalf("DHIS2 holds %q for %v", held[v.OrgUnit+v.DataElement], v)
		}
	}
	if len(held) != benchValues {
		t.Errorf("DHIS2 holds %d values, want %d", len(held), benchValues)
	}
}

const (
	post = http.MethodPost
	far  = 10 * time.Hour
)

func TestSubmissionWaitsForServersThatAreAway(t *testing.T) {
	tests := []struct {
		name        string
		chtFaults   []sandbox.Fault
		dhis2Faults []sandbox.Fault
		state       ledger.State
		reason      Reason
		accepted    int
		// The submission takes at least and at most so long.
		least, most time.Duration
		imports     int
		unknown     int
	}{
		{name: "nothing is wrong", state: ledger.Accepted, accepted: benchValues, most: time.Second, imports: 4},
		{name: "DHIS2 is away for a moment", dhis2Faults: []sandbox.Fault{{Kind: sandbox.Status, Status: 503, Times: 6}}, state: ledger.Accepted, accepted: benchValues, least: 5 * time.Second, most: 20 * time.Second, imports: 4},
		{name: "DHIS2 is away for ever", dhis2Faults: []sandbox.Fault{{Kind: sandbox.Status, Status: 503}}, state: ledger.Failed, reason: DHIS2Unavailable, least: time.Minute, most: 90 * time.Second},
		{name: "DHIS2 goes away in the middle, and comes back", dhis2Faults: []sandbox.Fault{{Kind: sandbox.Status, Status: 502, Method: post, Skip: 2, Times: 6}}, state: ledger.Accepted, accepted: benchValues, least: 8 * time.Second, most: 30 * time.Second, imports: 10},
		{name: "DHIS2 takes no values from the middle on, and answers", dhis2Faults: []sandbox.Fault{{Kind: sandbox.ResetBefore, Method: post, Skip: 2}}, state: ledger.Failed, reason: DHIS2Unavailable, accepted: 600, least: time.Minute, most: 2 * time.Minute, imports: 38, unknown: 600},
		{name: "the CHT is away for a moment", chtFaults: []sandbox.Fault{{Kind: sandbox.Status, Status: 503, Times: 5}}, state: ledger.Accepted, accepted: benchValues, least: 15 * time.Second, most: 40 * time.Second, imports: 4},
		{name: "the CHT is away for ever", chtFaults: []sandbox.Fault{{Kind: sandbox.Status, Status: 503}}, state: ledger.Failed, reason: CHTUnavailable, least: time.Minute, most: 3 * time.Minute},
		{name: "the CHT's answer is cut once", chtFaults: []sandbox.Fault{{Kind: sandbox.CutBody, Path: "/api/v2/export", Times: 1}}, state: ledger.Accepted, accepted: benchValues, most: 30 * time.Second, imports: 4},
		{name: "a login page is not waited for", dhis2Faults: []sandbox.Fault{{Kind: sandbox.LoginPage}}, state: ledger.Failed, reason: DHIS2Unavailable, most: time.Second},
		{name: "refused credentials are not waited for", dhis2Faults: []sandbox.Fault{{Kind: sandbox.LoginRedirect}}, state: ledger.Failed, reason: Credentials, most: time.Second},
		{name: "a success that stored nothing passes", dhis2Faults: []sandbox.Fault{{Kind: sandbox.WriteFails, Method: post, Times: 2}}, state: ledger.Accepted, accepted: benchValues, least: time.Second, most: 5 * time.Second, imports: 6},
		{name: "a success that stored nothing stays", dhis2Faults: []sandbox.Fault{{Kind: sandbox.WriteFails, Method: post}}, state: ledger.Failed, reason: DHIS2Unavailable, least: time.Minute, most: 2 * time.Minute, imports: 60, unknown: benchValues},
		{name: "a proxy gives up, and DHIS2 goes on", dhis2Faults: []sandbox.Fault{{Kind: sandbox.Latency, Delay: 40 * time.Second, Method: post, Times: 1}, {Kind: sandbox.StatusAfter, Status: 504, Method: post, Times: 1}}, state: ledger.Accepted, accepted: benchValues, least: 80 * time.Second, most: 3 * time.Minute, imports: 9},
		{name: "a request takes too long", dhis2Faults: []sandbox.Fault{{Kind: sandbox.Latency, Delay: 55 * time.Second, Method: post, Times: 1}}, state: ledger.Accepted, accepted: benchValues, least: 110 * time.Second, most: 2 * time.Minute, imports: 9},
		{name: "a request takes too long every time", dhis2Faults: []sandbox.Fault{{Kind: sandbox.Latency, Delay: 55 * time.Second, Method: post}}, state: ledger.Failed, reason: DHIS2Unavailable, least: 160 * time.Second, most: 4 * time.Minute, imports: 2, unknown: 300},
		{name: "an answer is lost, then the connection is refused", dhis2Faults: []sandbox.Fault{{Kind: sandbox.ResetAfter, Method: post, Times: 1}, {Kind: sandbox.Status, Status: 429, Method: post}}, state: ledger.Failed, reason: DHIS2Unavailable, least: time.Minute, most: 90 * time.Second, unknown: 300},
		{name: "an answer is lost, then the account is refused", dhis2Faults: []sandbox.Fault{{Kind: sandbox.ResetAfter, Method: post, Times: 1}, {Kind: sandbox.LoginRedirect, Method: post}}, state: ledger.Failed, reason: Credentials, most: 2 * time.Second, unknown: 300, imports: 2},
		{name: "a proxy gives up, then refuses the account", dhis2Faults: []sandbox.Fault{{Kind: sandbox.StatusAfter, Status: 504, Method: post, Times: 1}, {Kind: sandbox.LoginRedirect, Method: post}}, state: ledger.Failed, reason: Credentials, most: 10 * time.Second, unknown: 300, imports: 2},
		{name: "a proxy asks for a longer wait than there is patience", dhis2Faults: []sandbox.Fault{{Kind: sandbox.Status, Status: 503, RetryAfter: "30", Method: post}}, state: ledger.Failed, reason: DHIS2Unavailable, least: time.Minute, most: time.Minute, imports: 7, unknown: 900},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "2.43.1")
				b.cht.Fail(test.chtFaults...)
				b.dhis2.Fail(test.dhis2Faults...)
				report, took := b.submit(t, t.Context())
				if report.State != test.state || report.Reason != test.reason || report.Counts.Accepted != test.accepted {
					t.Errorf("%s %q, accepted %d; want %s %q, %d (%s)", report.State, report.Reason, report.Counts.Accepted, test.state, test.reason, test.accepted, report.Error)
				}
				if report.Counts.Unknown != test.unknown {
					t.Errorf("%d unknown, want %d", report.Counts.Unknown, test.unknown)
				}
				if took < test.least || took > test.most {
					t.Errorf("took %s, want %s to %s", took, test.least, test.most)
				}
				if got := len(b.dhis2.Imports()); test.imports > 0 && got != test.imports {
					t.Errorf("%d imports, want %d", got, test.imports)
				}
				if test.state == ledger.Accepted {
					b.arrivedOnce(t)
				}
				if b.dhis2.MostAtOnce() > 1 {
					t.Errorf("%d imports at once", b.dhis2.MostAtOnce())
				}
			})
		})
	}
}

func TestSubmissionThatIsStoppedTellsWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "2.43.1")
		b.dhis2.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: 10 * time.Second, Method: post})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(15*time.Second, cancel)
		report, took := b.submit(t, ctx)
		if report.State != ledger.Cancelled || report.Reason != Stopped || report.Counts.Accepted != 600 || report.Counts.Unsent != 600 || took != 20*time.Second {
			t.Errorf("%s %q after %s: %+v", report.State, report.Reason, took, report.Counts)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "2.43.1")
		b.dhis2.Fail(sandbox.Fault{Kind: sandbox.StatusAfter, Status: 502, Method: post}) // stored, and nobody knows
		ctx, cancel := context.WithCancel(t.Context())
		b.Watch = func(p Progress) {
			if p.Waiting != "" {
				time.AfterFunc(5*time.Second, cancel) // as the pause ends
			}
		}
		report, _ := b.submit(t, ctx)
		if report.State != ledger.Cancelled || report.Counts.Unknown != 300 || report.Counts.Unsent != 900 {
			t.Errorf("%s %q: %+v", report.State, report.Reason, report.Counts)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "2.43.1")
		b.Wait = far
		b.dhis2.Fail(sandbox.Fault{Kind: sandbox.Status, Status: 503})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Hour, cancel)
		report, took := b.submit(t, ctx)
		if report.State != ledger.Cancelled || took != time.Hour {
			t.Errorf("%s %q after %s", report.State, report.Error, took)
		}
	})
}

func TestSubmissionTellsItsProgress(t *testing.T) {
	b := newBench(t, "2.42.5")
	var steps []string
	last := Progress{}
	b.Watch = func(p Progress) {
		if !slices.Contains(steps, p.Step) {
			steps = append(steps, p.Step)
		}
		last = p
	}
	report, _ := b.submit(t, t.Context())
	if report.State != ledger.Accepted || !slices.Equal(steps, []string{"fetch", "send"}) || last.Done != benchValues || last.Total != benchValues {
		t.Errorf("%s, steps %v, at the end %+v", report.State, steps, last)
	}
}

func TestRequestThatCanMeanNothingIsAUsageError(t *testing.T) {
	b := newBench(t, "2.42.5")
	for _, r := range []Request{
		{DataSet: "DsUnknown01", Period: "202609", CHT: "county"}, {DataSet: b.set, Period: "202609", CHT: "other"},
		{DataSet: b.set, Period: "september", CHT: "county"}, {DataSet: b.set, Period: "2026W5", CHT: "county"},
	} {
		var usage *UsageError
		if _, err := b.Submit(t.Context(), r); !errors.As(err, &usage) || usage.Remedy == "" {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if n := len(b.cht.Requests()) + len(b.dhis2.Imports()); n > 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestOrgUnitsOfSeveralAttributeOptionCombosGoApart(t *testing.T) {
	b := newBench(t, "2.42.5")
	b.DataSets[0].Unchecked = true
	one, two := b.country.Right[b.set][0], b.country.Right[b.set][1]
	b.cht.SetExport(b.set, "202609", []byte(`{"dataSet":"`+b.set+`","period":"202609","dataValues":[`+
		`{"dataElement":"`+one.DataElement+`","orgUnit":"`+one.OrgUnit+`","value":1},`+
		`{"dataElement":"`+two.DataElement+`","orgUnit":"`+two.OrgUnit+`","value":2,"attributeOptionCombo":"AocUnknown1"}]}`))
	report, _ := b.submit(t, t.Context())
	imports := b.dhis2.Imports()
	if len(imports) != 2 || bytes.Contains(imports[0].Body, []byte("attributeOptionCombo")) || !bytes.Contains(imports[1].Body, []byte(`"attributeOptionCombo":"AocUnknown1"`)) {
		t.Fatalf("%d imports", len(imports))
	}
	if report.State != ledger.PartlyAccepted || report.Counts.Accepted != 1 || report.Refused[0].AttributeOptionCombo != "AocUnknown1" {
		t.Errorf("%s, refused %+v", report.State, report.Refused)
	}
	if v := b.Verify(t.Context(), report.ID); v.Reason != "" || v.Cells != 1 {
		t.Errorf("read back: %+v", v)
	}
}

// TestReportsAddUp books outcomes of every kind in any order, and looks at what holds for each report: each cell is in
// one count, the org units' rows add up to the counts, and each org unit is in one state.
func TestReportsAddUp(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	b := newBench(t, "2.43.1")
	period, _ := dhis2.ParsePeriod("202609")
	for round := range 40 {
		key := ledger.Key{DHIS2: "national", DataSet: fmt.Sprintf("DsTest%05d", round), Period: period, CHT: "county"}
		sub, _, err := b.Ledger.Begin(t.Context(), ledger.Request{Key: key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		units := random.IntN(60)
		if round == 0 {
			units = 1500
		}
		fetched := b.prepareSome(t, random, sub.ID, units)
		b.answerSome(t, random, sub.ID)
		left := &failure{state: ledger.Failed, reason: DHIS2Unavailable} // so that it may go again
		if err := b.finish(t.Context(), sub.ID, left); err != nil {
			t.Fatal(err)
		}
		for range random.IntN(4) {
			b.goesAgain(t, random, sub.ID, left)
		}
		r, err := b.Report(t.Context(), sub.ID)
		if err != nil {
			t.Fatal(err)
		}
		c := r.Counts
		if c.Accepted < 0 || c.Refused < 0 || c.Unknown < 0 || c.Unsent < 0 {
			t.Fatalf("round %d: %+v", round, c)
		}
		if sum := c.Dropped + c.Quarantined + c.Accepted + c.Refused + c.Unknown + c.Unsent; sum != fetched {
			t.Fatalf("round %d: %d fetched, %+v", round, fetched, c)
		}
		u := r.OrgUnits
		if sum := u.Accepted + u.PartlyAccepted + u.Refused + u.Unknown + u.Unsent + u.Dropped; sum != r.ResultsTotal || sum != units {
			t.Fatalf("round %d: %d of %d org units, %+v", round, r.ResultsTotal, units, u)
		}
		if r.RefusedTotal != c.Refused || len(r.Refused) > 1000 || len(r.Results) != min(1000, r.ResultsTotal) {
			t.Fatalf("round %d: %d and %d refused, %d listed, %d results", round, r.RefusedTotal, c.Refused, len(r.Refused), len(r.Results))
		}
		if r.ResultsTotal > 1000 {
			continue
		}
		rows := OrgUnitResult{}
		for _, result := range r.Results {
			if result.Accepted < 0 || result.Refused < 0 || result.Unknown < 0 || result.Unsent < 0 {
				t.Fatalf("round %d: %+v", round, result)
			}
			rows.Accepted += result.Accepted
			rows.Refused += result.Refused
			rows.Unknown += result.Unknown
			rows.Unsent += result.Unsent
		}
		if rows.Accepted != c.Accepted || rows.Refused != c.Refused || rows.Unknown != c.Unknown || rows.Unsent != c.Unsent {
			t.Fatalf("round %d: rows %+v, counts %+v", round, rows, c)
		}
	}
}

// goesAgain lets what failed of a submission go again, if something did, and ends it again.
func (b *bench) goesAgain(t *testing.T, random *rand.Rand, id string, f *failure) {
	t.Helper()
	chunks, err := b.Ledger.Chunks(t.Context(), id)
	if err != nil || len(chunks) == 0 { // it would begin anew
		return
	}
	_, err = b.Ledger.Reopen(t.Context(), id, nil)
	if errors.Is(err, ledger.ErrState) { // nothing failed
		return
	}
	if err := errors.Join(err, b.Ledger.Advance(t.Context(), id, ledger.Sending, nil)); err != nil {
		t.Fatal(err)
	}
	b.answerSome(t, random, id)
	if err := b.finish(t.Context(), id, f); err != nil {
		t.Fatal(err)
	}
}

// prepareSome stores a content of so many org units, and says how many cells there are in all.
func (b *bench) prepareSome(t *testing.T, random *rand.Rand, id string, units int) (fetched int) {
	t.Helper()
	p := ledger.Preparation{State: ledger.Ready, Dialect: "2.43"}
	var parts []ledger.Part
	var outcomes []ledger.OrgUnitOutcome
	for unit := range units {
		o := ledger.OrgUnitOutcome{OrgUnit: fmt.Sprintf("OuTest%05d", unit), Dropped: random.IntN(3), Quarantined: random.IntN(2)}
		part := ledger.Part{OrgUnit: o.OrgUnit}
		for element := range random.IntN(4) {
			part.Values = append(part.Values, dhis2.DataValue{OrgUnit: o.OrgUnit, DataElement: fmt.Sprintf("DeTest%05d", element), Value: "1"})
		}
		if o.Unsent = len(part.Values); o.Unsent > 0 {
			parts = append(parts, part)
		}
		p.Counts.Dropped += o.Dropped
		p.Counts.Quarantined += o.Quarantined
		p.Counts.Unsent += o.Unsent
		outcomes = append(outcomes, o)
	}
	p.Content, p.OrgUnits = listed(parts), listed(outcomes)
	p.Counts.Fetched = p.Counts.Dropped + p.Counts.Quarantined + p.Counts.Unsent
	if err := errors.Join(b.Ledger.Prepared(t.Context(), id, p, nil), b.Ledger.Advance(t.Context(), id, ledger.Sending, nil)); err != nil {
		t.Fatal(err)
	}
	return p.Counts.Fetched
}

func listed[T any](items []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// answerSome sends chunks and answers most of them somehow.
func (b *bench) answerSome(t *testing.T, random *rand.Rand, id string) {
	t.Helper()
	for range 12 {
		sub, err := b.Ledger.Submission(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		chunks, err := b.Ledger.Chunks(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		left := ledger.Remaining(sub.Parts, chunks)
		if len(left) == 0 {
			return
		}
		c, values, _, err := b.Ledger.Compose(t.Context(), id, left[random.IntN(len(left))], 1+random.IntN(20))
		if err != nil {
			t.Fatal(err)
		}
		if c, err = b.Ledger.RecordChunk(t.Context(), id, c); err != nil {
			t.Fatal(err)
		}
		if random.IntN(5) == 0 {
			continue // its answer is lost
		}
		answer := ledger.Answer{Outcome: someOutcome(random, values), Split: random.IntN(4) == 0}
		if err := b.Ledger.Acknowledge(t.Context(), id, c.Number, answer, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func someOutcome(random *rand.Rand, values []dhis2.DataValue) dhis2.Outcome {
	o := dhis2.Outcome{State: dhis2.Accepted, Accepted: len(values)}
	switch random.IntN(5) {
	case 0:
		o = dhis2.Outcome{State: dhis2.Unknown}
	case 1:
		o = dhis2.Outcome{State: dhis2.Unsent}
	case 2:
		for i, v := range values {
			if random.IntN(2) == 0 {
				o.Refused = append(o.Refused, dhis2.Refusal{Index: i, DataValue: v, Code: "E7619"})
				o.Accepted--
			}
		}
		o.State = dhis2.PartlyAccepted
	case 3:
		for i, v := range values {
			o.Refused = append(o.Refused, dhis2.Refusal{Index: i, DataValue: v, Code: "E7619"})
		}
		o.State, o.Accepted = dhis2.StateRefused, 0
	}
	return o
}

func TestPeriodsAreClosedWhenTheyAreOverInTheCHT(t *testing.T) {
	nairobi, err := time.LoadLocation("Africa/Nairobi")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, now, period string
		monthStart        int
		zone              *time.Location
		want              string // the period sent, or the code of what blocks
	}{
		{name: "the month is over", now: "2026-10-01T00:00:00Z", period: "202609", want: "202609"},
		{name: "its last hour", now: "2026-09-30T23:00:00Z", period: "202609", want: "period_not_closed"},
		{name: "it is over in Nairobi first", now: "2026-09-30T21:00:00Z", period: "202609", zone: nairobi, want: "202609"},
		{name: "the month begins on the 26th, on the 26th", now: "2026-09-26T00:00:00Z", period: "202609", monthStart: 26, want: "202609"},
		{name: "the month begins on the 26th, on the 25th", now: "2026-09-25T23:59:00Z", period: "202609", monthStart: 26, want: "period_not_closed"},
		{name: "the latest one, on the 25th", now: "2026-09-25T23:59:00Z", period: LatestClosed, monthStart: 26, want: "202608"},
		{name: "the latest one, on the 26th", now: "2026-09-26T00:00:00Z", period: LatestClosed, monthStart: 26, want: "202609"},
		{name: "the latest one of an ordinary month", now: "2026-10-15T00:00:00Z", period: LatestClosed, want: "202609"},
		{name: "before the first period", now: "2026-10-15T00:00:00Z", period: "202512", want: "before_first_period"},
		{name: "a quarter", now: "2026-10-15T00:00:00Z", period: "2026Q2", want: "period_type"},
		{name: "a clock that runs ahead", now: "2027-01-15T00:00:00Z", period: "202612", want: "clocks_differ"},
		{name: "the latest one by a clock that runs ahead", now: "2027-01-15T00:00:00Z", period: LatestClosed, want: "clocks_differ"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, "2.43.1")
			b.cht.Change(func(d *sandbox.CHTDocuments) { d.Settings.UHC.MonthStartDate = test.monthStart })
			now, err := time.Parse(time.RFC3339, test.now)
			if err != nil {
				t.Fatal(err)
			}
			b.Now = func() time.Time { return now }
			source := b.Sources["county"]
			source.Zone = test.zone
			b.Sources["county"] = source
			plan, err := b.Prepare(t.Context(), Request{DataSet: b.set, Period: test.period, CHT: "county"})
			if err != nil {
				t.Fatal(err)
			}
			defer plan.Close()
			got := plan.Report().Period
			if issues := plan.Report().Issues; len(issues) > 0 && issues[0].Severity == "blocking" {
				got = issues[0].Code
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
