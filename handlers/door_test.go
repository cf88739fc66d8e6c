package handlers

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cht-dhis2/mediator/orchestration"
)

func TestLivenessIsThatOfCHTsOwnMediator(t *testing.T) {
	b := newBench(t, 0, nil)
	for _, path := range []string{"/", Base, Base + "/"} {
		var got map[string]any
		b.call(t, http.MethodGet, path, "", noCredential).into(t, &got)
		if got["status"] != "success" || got["processuptime"] == nil {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestHealthTurnsRedWithTheStore(t *testing.T) {
	b := newBench(t, 0, nil)
	if a := b.call(t, http.MethodGet, "/healthz", "", noCredential); a.status != 200 || string(a.body) != `{"status":"ok"}` {
		t.Errorf("%d %s", a.status, a.body)
	}
	if err := b.ledger.Close(); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "health is red", func() bool { return b.call(t, http.MethodGet, "/healthz", "").status == http.StatusServiceUnavailable })
	a := b.call(t, http.MethodGet, "/healthz", "", noCredential)
	if !strings.Contains(string(a.body), `"reason":"unreachable"`) || strings.Contains(string(a.body), os.TempDir()) {
		t.Errorf("%s", a.body)
	}
}

func TestReadinessIsTold(t *testing.T) {
	ready := false
	b := newBench(t, 0, func(c *Config) {
		c.Ready = func(context.Context) orchestration.Readiness {
			return orchestration.Readiness{Ready: ready, Role: "standing_by", Checks: []orchestration.Check{{Name: "store", State: "failed", Reason: "full"}}}
		}
	})
	var got orchestration.Readiness
	a := b.call(t, http.MethodGet, "/readyz", "", noCredential)
	a.into(t, &got)
	if a.status != http.StatusServiceUnavailable || got.Checks[0].Reason != "full" {
		t.Errorf("%d %s", a.status, a.body)
	}
	ready = true
	if a := b.call(t, http.MethodGet, "/readyz", "", noCredential); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestMethodsAreThoseOfTheRoute(t *testing.T) {
	b := newBench(t, 0, nil)
	id := b.submit(t).ID
	for _, path := range []string{"/", "/healthz", "/readyz", submissionsPath, submissionsPath + "/" + id, submissionsPath + "/" + id + "/org-units", submissionsPath + "/" + id + "/quarantine", Base + "/schedule"} {
		if a := b.call(t, http.MethodHead, path, ""); a.status != 200 {
			t.Errorf("HEAD %s: %d", path, a.status)
		}
	}
	for _, test := range []struct{ method, path, allow string }{
		{http.MethodDelete, submissionsPath, "GET HEAD POST"},
		{http.MethodPut, submissionsPath + "/" + id, "GET HEAD"},
		{http.MethodGet, submissionsPath + "/" + id + "/cancel", "POST"},
		{http.MethodHead, Base + "/poll", "GET"},
		{http.MethodPost, Base + "/poll", "GET"},
		{http.MethodOptions, Base + "/schedule", "GET HEAD"},
		{"BREW", "/healthz", "GET HEAD"},
	} {
		a := b.call(t, test.method, test.path, "")
		if a.status != http.StatusMethodNotAllowed || len(strings.Fields(test.allow)) != len(strings.Split(a.header.Get("Allow"), ", ")) {
			t.Errorf("%s %s: %d, Allow %q", test.method, test.path, a.status, a.header.Get("Allow"))
		}
		for _, method := range strings.Fields(test.allow) {
			if !strings.Contains(a.header.Get("Allow"), method) {
				t.Errorf("%s %s: Allow %q lacks %s", test.method, test.path, a.header.Get("Allow"), method)
			}
		}
		if a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Error("other sites may call")
		}
	}
}

func TestEachAnswerIsNeitherStoredNorSniffed(t *testing.T) {
	b := newBench(t, 0, nil)
	for _, path := range []string{"/", "/nowhere", submissionsPath, "/healthz"} {
		a := b.call(t, http.MethodGet, path, "")
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, a.header)
		}
	}
}

func TestAPanicIsAFaultAndNoMore(t *testing.T) {
	b := newBench(t, 0, func(c *Config) {
		c.Schedule = func(context.Context) (orchestration.Schedule, error) { panic("the secret of the panic") }
	})
	for _, way := range []option{func(*http.Request) {}, throughOpenHIM} {
		a := b.call(t, http.MethodGet, Base+"/schedule", "", way)
		if f := a.failure(t); a.status != 500 || f.Code != "fault" || strings.Contains(string(a.body), "secret") {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if log := b.log.String(); !strings.Contains(log, "the secret of the panic") || !strings.Contains(log, "door_test.go") {
		t.Errorf("the log does not tell where: %s", log)
	}
}

func TestRequestsBeyondTheLimitAreSentAway(t *testing.T) {
	hold, holding := make(chan struct{}), make(chan struct{}, usualRequests)
	b := newBench(t, 0, func(c *Config) {
		c.Schedule = func(context.Context) (orchestration.Schedule, error) {
			holding <- struct{}{}
			<-hold
			return scheduled(time.Now()), nil
		}
	})
	var all sync.WaitGroup
	for range usualRequests {
		all.Go(func() {
			if a := b.call(t, http.MethodGet, Base+"/schedule", ""); a.status != 200 {
				t.Errorf("%d", a.status)
			}
		})
	}
	for range usualRequests {
		<-holding
	}
	if a := b.call(t, http.MethodGet, submissionsPath, ""); a.status != http.StatusTooManyRequests || a.failure(t).Code != "busy" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := b.call(t, http.MethodGet, "/healthz", ""); a.status != 200 {
		t.Errorf("health: %d", a.status)
	}
	close(hold)
	all.Wait()
	b.server.CloseClientConnections()
}

// pipes is a listener within the process, so that its time can be simulated.
type pipes struct {
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.incoming:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// serve starts the program's server for one connection, within a bubble of simulated time, and gives the client's end.
func (b *bench) serve(t *testing.T) net.Conn {
	t.Helper()
	handler, err := New(b.Config)
	if err != nil {
		t.Fatal(err)
	}
	server := Server("", handler)
	listener := &pipes{incoming: make(chan net.Conn), closed: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ours, theirs := net.Pipe()
	listener.incoming <- theirs
	t.Cleanup(func() {
		_ = ours.Close()
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return ours
}

func TestSlowClientsAreSentAway(t *testing.T) {
	const head = "POST /cht-dhis2/submissions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
	b := newBench(t, 0, nil)
	tests := []struct {
		name   string
		begins string
		// drip is what comes every second.
		drip string
		most time.Duration
		says string
	}{
		{"nothing at all", "", "", headerTimeout, ""},
		{"a header without end", "GET / HTTP/1.1\r\n", "X-A: b\r\n", headerTimeout, ""},
		{"a body without end", head + "{", " ", readTimeout, "408"},
		{"a body that stops", head + "{", "", readTimeout, "408"},
		{"nothing more after an answer", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "", idleTimeout, "200"},
		{"a header that is too long", "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 2*maxHeader), "", time.Second, "431"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				connection, began := b.serve(t), time.Now()
				var writer sync.WaitGroup
				writer.Go(func() {
					_, err := io.WriteString(connection, test.begins)
					for err == nil && test.drip != "" {
						time.Sleep(time.Second)
						_, err = io.WriteString(connection, test.drip)
					}
				})
				said, _ := io.ReadAll(connection) // until the server has had enough
				if took := time.Since(began); took > test.most+2*time.Second || !strings.Contains(string(said), test.says) {
					t.Errorf("it took %s, want %s at most; it said %q", took, test.most, said)
				}
				writer.Wait()
			})
		})
	}
}

func TestAnAnswerIsHeldForThoseWhoReadIt(t *testing.T) {
	b := newBench(t, 0, nil)
	b.cht.SetExport(b.sets[0], period, exportOf(b, 9000))
	large := b.call(t, http.MethodGet, Base+"/preview?period=202609&data_set="+b.sets[0], "").body
	ask := func(path string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\nConnection: close\r\n\r\n"
	}
	preview := Base + "/preview?period=202609&data_set=" + b.sets[0]
	for _, path := range []string{"/healthz", submissionsPath, preview} {
		t.Run("nobody reads "+path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				connection := b.serve(t)
				if _, err := io.WriteString(connection, ask(path)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(writeTimeout + time.Second)
				_ = connection.SetReadDeadline(time.Now().Add(time.Second))
				if text, err := io.ReadAll(connection); err != nil || len(text) > 0 {
					t.Errorf("the server still waits: %d bytes, %v", len(text), err)
				}
			})
		})
	}
	t.Run("somebody reads slowly", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			connection, began := b.serve(t), time.Now()
			if _, err := io.WriteString(connection, ask(preview)); err != nil {
				t.Fatal(err)
			}
			slowly := readerFunc(func(p []byte) (int, error) {
				time.Sleep(5 * time.Second)
				return connection.Read(p[:min(len(p), 16<<10)])
			})
			response, err := http.ReadResponse(bufio.NewReaderSize(slowly, 16<<10), nil)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || len(text) < len(large)-100 || !strings.HasSuffix(string(text), "]}\n") || time.Since(began) < 2*writeTimeout {
				t.Errorf("%d bytes of %d in %s, %v", len(text), len(large), time.Since(began), err)
			}
		})
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
