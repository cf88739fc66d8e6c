package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/orchestration"
)

func TestMain(m *testing.M) {
	openapi3filter.RegisterBodyDecoder(openhim.EnvelopeType, openapi3filter.JSONBodyDecoder)
	openapi3filter.RegisterBodyDecoder("text/csv", plainBody) // what stands in a file is for the tests of the file
	openapi3filter.RegisterBodyDecoder("text/plain", plainBody)
	openapi3filter.RegisterBodyDecoder("text/html", plainBody)
	goleak.VerifyTestMain(m)
}

func plainBody(body io.Reader, _ http.Header, _ *openapi3.SchemaRef, _ openapi3filter.EncodingFn) (any, error) {
	text, err := io.ReadAll(body)
	return string(text), err
}

// inMemory calls a stand-in without a network.
type inMemory struct {
	handler       http.Handler
	authorization func(*http.Request)
}

var errBroken = errors.New("the connection broke off")

func (m inMemory) once(r *http.Request, sent []byte) (response *http.Response, body []byte, err error) {
	defer func() {
		if recover() != nil {
			response, body, err = nil, nil, errBroken
		}
		if r.Context().Err() != nil {
			response, body, err = nil, nil, r.Context().Err()
		}
	}()
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(sent))
	m.authorization(r)
	r.Header.Set("Accept", "application/json")
	recorder := httptest.NewRecorder()
	m.handler.ServeHTTP(recorder, r)
	return recorder.Result(), recorder.Body.Bytes(), nil
}

// Do asks after each try whether another one is wanted, and makes none, so that no test waits.
func (m inMemory) Do(r *http.Request, again func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
	}
	response, body, err := m.once(r, sent)
	_, _ = again(1, response, body, err)
	return response, body, err
}

func (m inMemory) Stream(r *http.Request, again func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	response, body, err := m.Do(r, again)
	if err == nil {
		response.Body = io.NopCloser(bytes.NewReader(body))
	}
	return response, body, err
}

// bench is a door, and all that is behind it.
type bench struct {
	Config

	country   *sandbox.Country
	cht       *sandbox.CHT
	dhis2     *sandbox.DHIS2
	ledger    *ledger.Ledger
	sets      []string
	log       *lockedBuffer
	server    *httptest.Server
	contracts routers.Router
	// asked gets one for each call to a CHT, the first few.
	asked chan struct{}
}

// lockedBuffer is written by many.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

const (
	username = "openhim"
	password = "the right password"
	token    = "the-right-token"
	urn      = "urn:mediator:cht-dhis2"
	period   = "202609"
)

func always(secret string) func() (string, error) {
	return func() (string, error) { return secret, nil }
}

// newBench makes a country with two data sets, the second of two sources, and a door that change may change.
func newBench(t *testing.T, queue int, change func(*Config)) *bench {
	t.Helper()
	b := &bench{log: &lockedBuffer{}, asked: make(chan struct{}, 10)}
	now := func() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC) }
	b.country = sandbox.NewCountry(sandbox.CountryConfig{Seed: 5, Facilities: 12, DataSets: 2, Elements: 6, Period: period})
	b.sets = b.country.DataSets
	b.cht = sandbox.NewCHT(sandbox.CHTConfig{Documents: b.country.CHT})
	b.dhis2 = sandbox.NewDHIS2(sandbox.DHIS2Config{Version: "2.43.1", Metadata: b.country.DHIS2, Users: b.country.Users, Now: now})
	base := &url.URL{Scheme: "http", Host: "stand-in.test"}
	basic := func(r *http.Request) {
		r.SetBasicAuth(b.country.CHTUsername, b.country.CHTPassword)
		select {
		case b.asked <- struct{}{}:
		default: // nobody counts
		}
	}
	apiToken := func(r *http.Request) { r.Header.Set("Authorization", "ApiToken "+b.country.DHIS2Token) }
	source := func(name string) orchestration.Source {
		return orchestration.Source{Name: name, Client: cht.New(base, inMemory{b.cht, basic})}
	}
	first, err := dhis2.ParsePeriod("202601")
	if err != nil {
		t.Fatal(err)
	}
	enabled := orchestration.Operation{Enabled: true, RereadDays: 30}
	s := &orchestration.Submitter{
		Sources:      map[string]orchestration.Source{"kisumu": source("kisumu"), "nairobi": source("nairobi")},
		Destinations: map[string]orchestration.Destination{"national": {Name: "national", Client: dhis2.New(base, inMemory{b.dhis2, apiToken}, 1)}},
		DataSets: []orchestration.DataSet{
			{ID: b.sets[0], Title: "MCH monthly", CHT: []string{"kisumu"}, DHIS2: "national", FirstPeriod: first, Operation: enabled},
			{ID: b.sets[1], CHT: []string{"kisumu", "nairobi"}, DHIS2: "national", FirstPeriod: first, Operation: enabled},
		},
		SpoolDir: t.TempDir(), Now: now,
	}
	b.ledger, err = ledger.Open(t.Context(), ledger.Config{Dir: t.TempDir(), QueueLimit: queue, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.ledger.Close() })
	if err := errors.Join(b.ledger.TakeRole(t.Context()), s.Remember(b.ledger)); err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(b.log)
	log.SetLevel(logrus.DebugLevel)
	b.Config = Config{
		Submitter: s, URN: urn, Log: logrus.NewEntry(log),
		Poll:     func(context.Context, string) ([]ledger.Submission, error) { return nil, nil },
		Schedule: func(context.Context) (orchestration.Schedule, error) { return scheduled(now()), nil },
		Ready: func(context.Context) orchestration.Readiness {
			return orchestration.Readiness{Ready: true, Role: "working", Checks: []orchestration.Check{{Name: "store", State: "ok"}}}
		},
		Examine: orchestration.NewExaminer(s).Recent,
		Callers: []Caller{{Name: "router", Username: username, Password: always(password)}, {Name: "app", Token: always(token)}},
	}
	if change != nil {
		change(&b.Config)
	}
	handler, err := New(b.Config)
	if err != nil {
		t.Fatal(err)
	}
	b.server = httptest.NewServer(handler)
	t.Cleanup(b.server.Close)
	b.contracts = contracts(t)
	return b
}

func scheduled(now time.Time) orchestration.Schedule {
	return orchestration.Schedule{Now: now, DataSets: []orchestration.ScheduledPart{{
		DataSet: "DsMchMonth1", CHT: "kisumu", DHIS2: "national", Enabled: true, Schedule: "0 3 * * *", NextAt: &now,
		Periods: []orchestration.ScheduledPeriod{{Period: period, State: "done", Submission: "abc", Ended: "accepted"}},
	}}}
}

// readDocument reads the description of the API, once for all tests.
var readDocument = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromFile("../docs/openapi.yaml")
	if err == nil {
		err = doc.Validate(context.Background())
	}
	return doc, err
})

func document(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := readDocument()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

var readContracts = sync.OnceValues(func() (routers.Router, error) {
	doc, err := readDocument()
	if err != nil {
		return nil, err
	}
	return gorillamux.NewRouter(doc)
})

func contracts(t *testing.T) routers.Router {
	t.Helper()
	router, err := readContracts()
	if err != nil {
		t.Fatal(err)
	}
	return router
}

// answer is what a call got. Through OpenHIM status, header and body are those for the client, and outer is the envelope.
type answer struct {
	status int
	header http.Header
	body   []byte
	outer  *openhim.Envelope
}

// into reads the body.
func (a answer) into(t *testing.T, value any) {
	t.Helper()
	if err := json.Unmarshal(a.body, value); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
}

func (a answer) failure(t *testing.T) (f failure) {
	t.Helper()
	a.into(t, &f)
	return f
}

type option func(*http.Request)

func header(name, value string) option {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func noCredential(r *http.Request) { r.Header.Del("Authorization") }

const transaction = "5f0c1e2d3a4b5c6d7e8f9012"

var throughOpenHIM = header("X-OpenHIM-TransactionID", transaction)

// call sends a request with the right credential, and holds the answer to the document.
func (b *bench) call(t *testing.T, method, path, body string, options ...option) answer {
	t.Helper()
	return b.callWith(t, t.Context(), method, path, body, options...)
}

func (b *bench) callWith(t *testing.T, ctx context.Context, method, path, body string, options ...option) answer { //nolint:revive // t comes first in tests
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, b.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(username, password)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, change := range options {
		change(request)
	}
	response, err := b.server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, body: text}
	b.hold(t, request, a)
	if response.Header.Get("Content-Type") == openhim.EnvelopeType {
		a.outer = &openhim.Envelope{}
		a.into(t, a.outer)
		a = answer{status: a.outer.Response.Status, header: http.Header{}, body: []byte(a.outer.Response.Body), outer: a.outer}
		for name, value := range a.outer.Response.Headers {
			a.header.Set(name, value)
		}
		b.hold(t, request, a)
	}
	return a
}

// hold holds an answer to the document. Where that knows no such route, the answer must be a failure of its form.
func (b *bench) hold(t *testing.T, request *http.Request, a answer) {
	t.Helper()
	asked := request.Clone(request.Context())
	if asked.Method == http.MethodHead {
		asked.Method = http.MethodGet
	}
	route, parameters, err := b.contracts.FindRoute(asked)
	if err != nil {
		if a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed {
			t.Errorf("%s %s answered %d and is not in the document", request.Method, request.URL.Path, a.status)
		}
		return
	}
	if request.Method == http.MethodHead {
		if a.status == http.StatusMethodNotAllowed {
			return
		}
		if len(a.body) > 0 || route.Operation.Responses.Status(a.status) == nil {
			t.Errorf("HEAD %s answered %d with %d bytes", request.URL.Path, a.status, len(a.body))
		}
		return
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: asked, PathParams: parameters, Route: route},
		Status:                 a.status, Header: a.header, Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	input.SetBodyBytes(a.body)
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		t.Errorf("%s %s does not answer as the document says: %v\n%s", request.Method, request.URL.Path, err, shortened(string(a.body)))
	}
}

// submit carries a submission of the first data set through.
func (b *bench) submit(t *testing.T) orchestration.Report {
	t.Helper()
	report, err := b.Submitter.Submit(t.Context(), orchestration.Request{DataSet: b.sets[0], Period: period, CHT: "kisumu", RequestedBy: "a test"})
	if err != nil {
		t.Fatal(err)
	}
	return report
}
