package openhim_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/transport"
)

// Names in mediatorConfig.json and in the example of metadata.
const (
	urn         = "urn:mediator:cht-dhis2"
	channelName = "CHT to DHIS2"
	pollingName = "CHT to DHIS2: what is due"
)

// interop is the client of the metadata file, with a password of this test's.
func interop() login { return login{"interop-client", "a client's password"} }

// TestRealOpenHIMTakesWhatInternalOpenHIMSends tries the package that speaks with OpenHIM, without the program around.
func TestRealOpenHIMTakesWhatInternalOpenHIMSends(t *testing.T) {
	c := startCore(t)
	client := c.neighbour(t, transport.Config{TrustAny: true})
	t.Run("the client learns the version, and that this core takes tokens only", func(t *testing.T) {
		about, err := client.About(t.Context())
		if err != nil || about.Version != "4.0.5" {
			t.Errorf("got %+v, %v, want version 4.0.5", about, err)
		}
	})
	t.Run("its own certificate is trusted by its fingerprint, and no other is", func(t *testing.T) {
		c.tryFingerprint(t)
	})
	t.Run("a mediator registers, appears healthy, hears the console, and comes back when it is forgotten", func(t *testing.T) {
		c.tryRegistrar(t, client)
	})
	t.Run("a transaction of the mediator's own is there once, and can be changed", func(t *testing.T) {
		c.tryTransactions(t, client)
	})
	t.Run("the metadata file loads, and loads again over itself", func(t *testing.T) {
		c.load(t, metadata(t, "127.0.0.1", 9))
		c.load(t, metadata(t, "127.0.0.1", 9))
		if c.channelID(t, channelName) == "" || c.channelID(t, pollingName) == "" {
			t.Error("a channel of the metadata file is not there")
		}
	})
	t.Run("a client triggers, is answered 202, and finds the transaction finished later; re-run and poll arrive", func(t *testing.T) {
		c.tryRouter(t, client)
	})
	t.Run("a mediator registers again by itself after OpenHIM was away and has lost its data", func(t *testing.T) {
		c.tryRestart(t, client)
	})
}

// neighbour is the mediator's own client of this core.
func (c *core) neighbour(t *testing.T, trust transport.Config) *openhim.Client {
	t.Helper()
	base, err := url.Parse(c.api)
	if err != nil {
		t.Fatal(err)
	}
	trust.Timeout = 30 * time.Second
	network, err := transport.New(trust)
	if err != nil {
		t.Fatal(err)
	}
	return openhim.New(base, network, openhim.Account{Username: rootUser, Password: func() (string, error) { return rootPassword, nil }})
}

func (c *core) tryFingerprint(t *testing.T) {
	connection, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", strings.TrimPrefix(c.api, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	certificate := connection.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw
	sum := sha256.Sum256(certificate)
	if _, err := c.neighbour(t, transport.Config{Fingerprint: hex.EncodeToString(sum[:])}).About(t.Context()); err != nil {
		t.Errorf("by its own fingerprint: %v", err)
	}
	sum[0]++
	if _, err := c.neighbour(t, transport.Config{Fingerprint: hex.EncodeToString(sum[:])}).About(t.Context()); err == nil {
		t.Error("by another fingerprint it is trusted, too")
	}
	if _, err := c.neighbour(t, transport.Config{}).About(t.Context()); err == nil {
		t.Error("without any it is trusted, too")
	}
}

// registration is the mediator's own, at an address.
func registration(t *testing.T, version, host string, port int) openhim.Registration {
	t.Helper()
	document, err := os.ReadFile("../../mediatorConfig.json")
	if err != nil {
		t.Fatal(err)
	}
	r, err := openhim.ParseRegistration(document)
	if err != nil {
		t.Fatal(err)
	}
	r = r.Fill(version, host, port)
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	return r
}

// keep keeps the mediator known until the test ends.
func keep(t *testing.T, client *openhim.Client) (events chan openhim.Event, configs chan string) {
	t.Helper()
	events, configs = make(chan openhim.Event, 20), make(chan string, 20)
	registrar := openhim.NewRegistrar(client, openhim.RegistrarConfig{
		Registration: registration(t, "1.0.0", "127.0.0.1", 8070),
		Interval:     200 * time.Millisecond,
		Configured:   func(_ context.Context, config json.RawMessage) { configs <- string(config) },
		Told:         func(e openhim.Event) { events <- e },
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		registrar.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return events, configs
}

func (c *core) tryRegistrar(t *testing.T, client *openhim.Client) {
	events, configs := keep(t, client)
	if e := next(t, events); !e.Registered || !e.New {
		t.Errorf("the first that was told is %+v, want a new registration", e)
	}
	if got, want := next(t, configs), `{"data_sets":[]}`; got != want {
		t.Errorf("got the configuration %s, want the default %s", got, want)
	}
	m := c.mediator(t, urn)
	if m == nil || m.Version != "1.0.0" || time.Since(m.LastHeartbeat).Abs() > time.Minute || m.Uptime <= 0 {
		t.Fatalf("OpenHIM has %+v, want version 1.0.0 with a heartbeat of now", m)
	}
	if c.channelID(t, channelName) == "" {
		t.Error("the default channel is not installed")
	}

	config := map[string]any{"data_sets": []any{map[string]any{"id": "DsMchMonth1", "enabled": false, "first_after_days": 3}}}
	c.configure(t, urn, config)
	console, err := openhim.ParseConsole([]byte(next(t, configs)), openhim.ConsoleRules{})
	if err != nil || len(console.DataSets) != 1 || *console.DataSets[0].Enabled || *console.DataSets[0].FirstAfterDays != 3 {
		t.Errorf("got %+v, %v, want what was set in the console", console, err)
	}
	c.call(t, http.MethodPut, "/mediators/"+url.PathEscape(urn)+"/config", map[string]any{"data_set": []any{}}, http.StatusBadRequest)

	c.call(t, http.MethodDelete, "/mediators/"+url.PathEscape(urn), nil, http.StatusOK)
	if e := next(t, events); !errors.Is(e.Err, openhim.ErrForgotten) {
		t.Errorf("told %+v, want that OpenHIM has forgotten the mediator", e)
	}
	if e := next(t, events); !e.Registered || !e.New {
		t.Errorf("told %+v, want that it has registered anew", e)
	}
	await(t, "the mediator in OpenHIM again", 10*time.Second, func() bool { return c.mediator(t, urn) != nil })
}

// next takes what comes, and waits for it.
func next[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came within 30 s")
		panic("unreachable")
	}
}

func (c *core) tryRestart(t *testing.T, client *openhim.Client) {
	events, _ := keep(t, client)
	if e := next(t, events); !e.Registered || e.New {
		t.Errorf("told %+v, want that it is registered and not new", e)
	}
	c.stop()
	if e := next(t, events); e.Err == nil {
		t.Errorf("told %+v, want that OpenHIM is away", e)
	}
	c.startEmpty(t)
	e := next(t, events)
	for ; e.Err != nil; e = next(t, events) { // in other words while it starts
	}
	if !e.Registered || !e.New {
		t.Errorf("told %+v, want that it has registered anew", e)
	}
	if c.mediator(t, urn) == nil {
		t.Error("OpenHIM does not know the mediator")
	}
}

func (c *core) tryTransactions(t *testing.T, client *openhim.Client) {
	channel, err := client.ChannelID(t.Context(), channelName)
	if err != nil || channel != c.channelID(t, channelName) {
		t.Fatalf("got the channel %q, %v", channel, err)
	}
	began := time.Date(2026, 11, 6, 3, 0, 0, 0, time.UTC)
	own := openhim.Transaction{
		ID: openhim.NewID(began), Status: openhim.Processing, ChannelID: channel,
		Request:    &openhim.Request{Method: http.MethodPost, Path: "/cht-dhis2/submissions", Body: `{"data_set":"DsMchMonth1","period":"202610"}`, Timestamp: openhim.At(began)},
		Response:   &openhim.Response{Status: http.StatusAccepted, Timestamp: openhim.At(began)},
		Properties: map[string]string{"period": "202610", "a.b": "kept"},
	}
	for _, what := range []string{"first", "again, as after a lost answer"} {
		if err := client.Create(t.Context(), own); err != nil {
			t.Fatalf("create, %s: %v", what, err)
		}
	}
	err = client.Update(t.Context(), openhim.Transaction{
		ID: own.ID, Status: openhim.CompletedWithErrors,
		Orchestrations: []openhim.Orchestration{
			{Name: "4 Fetch 202610 from CHT kisumu", Request: &openhim.Request{Method: http.MethodGet, Path: "/api", Timestamp: openhim.At(began)}},
			{Name: "5 Transform: 48 values, 8 org units"},
		},
		Properties: map[string]string{"period": "202610", "values_sent": "48"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := c.transactions(t, map[string]any{"channelID": channel})
	if len(got) != 1 {
		t.Fatalf("OpenHIM has %d transactions, want the one", len(got))
	}
	if got[0].ID != own.ID || got[0].Status != "Completed with error(s)" || got[0].Request.Body != own.Request.Body {
		t.Errorf("OpenHIM has %+v", got[0])
	}
	if diff := cmp.Diff([]string{"4 Fetch 202610 from CHT kisumu", "5 Transform: 48 values, 8 org units"}, got[0].names()); diff != "" {
		t.Errorf("orchestrations (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"period": "202610", "values_sent": "48"}, got[0].Properties); diff != "" {
		t.Errorf("properties (-want +got):\n%s", diff)
	}
	found, err := client.Find(t.Context(), own.ID)
	if err != nil || found.Status != openhim.CompletedWithErrors || found.Properties["values_sent"] != "48" {
		t.Errorf("the client finds %+v, %v", found, err)
	}
	var unknown *openhim.Error
	if err := client.Update(t.Context(), openhim.Transaction{ID: openhim.NewID(began), Status: openhim.Failed}); !errors.As(err, &unknown) || unknown.Kind != openhim.Unknown {
		t.Errorf("the update of a transaction that is not there gave %v, want kind %s", err, openhim.Unknown)
	}
}

// arrived is a request that came to the mediator behind the channel.
type arrived struct {
	method, path, body string
	header             http.Header
	user, password     string
}

// tryRouter puts a small mediator behind the channels, which answers as ours does, and lets a client, a re-run and a
// poll come to it.
func (c *core) tryRouter(t *testing.T, client *openhim.Client) {
	requests := make(chan arrived, 100)
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		requests <- arrived{r.Method, r.URL.Path, string(body), r.Header, user, password}
		w.Header().Set("Content-Type", openhim.EnvelopeType)
		_ = json.NewEncoder(w).Encode(openhim.Transaction{
			Status:   openhim.Processing,
			Response: &openhim.Response{Status: http.StatusAccepted, Headers: openhim.Headers{"content-type": "application/json"}, Body: `{"state":"queued"}`},
		}.Envelope(urn))
	}))
	defer behind.Close()
	host, port := hostPort(t, behind.URL)
	c.load(t, metadata(t, host, port))
	if got := c.ask(t, login{}, http.MethodGet, "/cht-dhis2/", ""); got.status != http.StatusUnauthorized {
		t.Errorf("without a password the router answers %d, want 401", got.status)
	}
	c.setPassword(t, interop())
	first := c.tryClient(t, client, requests)
	c.tryTask(t, first, requests)
	c.tryPoll(t, requests)
}

const asking = `{"period":"202610"}`

// tryClient lets a client ask and the mediator finish the transaction, and gives its id.
func (c *core) tryClient(t *testing.T, client *openhim.Client, requests chan arrived) string {
	t.Helper()
	var answer answered // the channel is open, and leads where it should, about a second after it was loaded
	await(t, "an open channel", 10*time.Second, func() bool {
		answer = c.ask(t, interop(), http.MethodPost, "/cht-dhis2/submissions", asking)
		return answer.status == http.StatusAccepted
	})
	if answer.body != `{"state":"queued"}` {
		t.Errorf("the client got %+v", answer)
	}
	request := next(t, requests)
	if request.user != "openhim" || request.password != routePassword {
		t.Errorf("the route sent %q and %q", request.user, request.password)
	}
	if id := request.header.Get("X-Openhim-Transactionid"); id != answer.transaction || !openhim.IsID(id) {
		t.Errorf("the mediator got transaction %q, the client %q", id, answer.transaction)
	}
	if got := request.header.Get("X-Openhim-Clientid"); got != interop().user {
		t.Errorf("the mediator got the client %q, want %q", got, interop().user)
	}
	await(t, "a stored answer", 10*time.Second, func() bool { return c.transaction(t, answer.transaction).Status == "Processing" })
	if err := client.Update(t.Context(), openhim.Transaction{
		ID: answer.transaction, Status: openhim.Successful, Properties: map[string]string{"period": "202610"},
		Orchestrations: []openhim.Orchestration{{Name: "1 Ask DHIS2"}},
	}); err != nil {
		t.Fatal(err)
	}
	got := c.transaction(t, answer.transaction)
	if got.Status != "Successful" || got.Properties["period"] != "202610" || !slices.Equal(got.names(), []string{"1 Ask DHIS2"}) {
		t.Errorf("OpenHIM has %+v", got)
	}
	return answer.transaction
}

// tryTask runs a transaction again: the same request arrives, with the id of the former one.
func (c *core) tryTask(t *testing.T, former string, requests chan arrived) {
	t.Helper()
	c.runAgain(t, former)
	request := next(t, requests)
	if request.method != http.MethodPost || request.path != "/cht-dhis2/submissions" || request.body != asking || request.header.Get("Parentid") != former {
		t.Errorf("the mediator got %+v, want what %s asked", request, former)
	}
	again := c.transaction(t, request.header.Get("X-Openhim-Transactionid"))
	if again.ID == former || again.ParentID != former {
		t.Errorf("it runs as %s with the parent %q, want a transaction of its own with the parent %s", again.ID, again.ParentID, former)
	}
}

// tryPoll lets the polling channel poll.
func (c *core) tryPoll(t *testing.T, requests chan arrived) {
	t.Helper()
	channel := c.poll(t)
	request := next(t, requests)
	if request.method != http.MethodGet || request.path != "/cht-dhis2/poll" || request.header.Get("Channel-Id") != channel || request.user != "openhim" {
		t.Errorf("the mediator got %+v, want a poll by channel %s", request, channel)
	}
	c.pollNoMore(t, channel)
}

// routePassword is what the route to the mediator sends in these tests.
const routePassword = "a route's password"

// metadata is the example for operators, with the host, the port and the password that they are told to change.
func metadata(t *testing.T, host string, port int) []byte {
	t.Helper()
	text, err := os.ReadFile("../../examples/openhim-metadata.json")
	if err != nil {
		t.Fatal(err)
	}
	changed := string(text)
	for from, to := range map[string]string{
		`"host": "mediator"`: fmt.Sprintf(`"host": %q`, host),
		`"port": 8070`:       fmt.Sprintf(`"port": %d`, port),
		`"password": "the password of the caller openhim"`: fmt.Sprintf(`"password": %q`, routePassword),
	} {
		if strings.Count(changed, from) != 2 {
			t.Fatalf("examples/openhim-metadata.json has %s %d times, want it in each of the two routes", from, strings.Count(changed, from))
		}
		changed = strings.ReplaceAll(changed, from, to)
	}
	return []byte(changed)
}

// load loads metadata; every part of it has to be taken.
func (c *core) load(t *testing.T, metadata []byte) {
	t.Helper()
	var results []struct{ Model, Status, Message, UID string }
	if err := json.Unmarshal(c.call(t, http.MethodPost, "/metadata", metadata, http.StatusCreated), &results); err != nil {
		t.Fatal(err)
	}
	if len(results) != 3 {
		t.Errorf("OpenHIM tells of %d parts, want 3", len(results))
	}
	for _, r := range results {
		if r.Status != "Inserted" && r.Status != "Updated" {
			t.Errorf("OpenHIM did not take %s %s: %s %s", r.Model, r.UID, r.Status, r.Message)
		}
	}
}

func hostPort(t *testing.T, address string) (string, int) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return u.Hostname(), port
}
