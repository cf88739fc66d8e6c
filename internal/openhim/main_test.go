package openhim_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const (
	rootUser     = "root@openhim.org"
	rootPassword = "openhim-password"
)

// inMemory calls a handler without a network, so that a test may run in a bubble of synctest. Its counts are of tries.
type inMemory struct {
	mu      sync.Mutex
	handler http.Handler
	down    bool
	// spares lets every other try fail as one that was not made.
	spares bool
	tries  atomic.Int64
	calls  []string
	// seen is asked with each request before it is answered.
	seen func(*http.Request)
}

var errRefused = errors.New("connection refused")

type sparedError struct{ error }

// NotTried says that the server was left alone.
func (sparedError) NotTried() bool { return true }

// Do makes tries while again says so, as transport.Client does.
func (m *inMemory) Do(request *http.Request, again func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	for try := 1; ; try++ {
		response, body, err := m.try(request)
		wait, more := again(try, response, body, err)
		if !more {
			return response, body, err
		}
		select {
		case <-time.After(wait):
		case <-request.Context().Done():
			return nil, nil, request.Context().Err()
		}
		if request.GetBody != nil {
			request.Body, _ = request.GetBody()
		}
	}
}

func (m *inMemory) try(request *http.Request) (response *http.Response, body []byte, err error) {
	m.mu.Lock()
	m.calls = append(m.calls, request.Method+" "+request.URL.EscapedPath())
	down, handler, seen := m.down, m.handler, m.seen
	m.mu.Unlock()
	if seen != nil {
		seen(request)
	}
	if err := request.Context().Err(); err != nil {
		return nil, nil, err
	}
	if down && m.tries.Add(1)%2 == 0 && m.spares {
		return nil, nil, sparedError{errors.New("not called, as it failed just now")}
	}
	if down {
		return nil, nil, errRefused
	}
	defer func() {
		if recover() != nil {
			response, body, err = nil, nil, io.ErrUnexpectedEOF
		}
	}()
	arriving := request.Clone(request.Context())
	arriving.Body = http.NoBody
	if request.GetBody != nil {
		arriving.Body, _ = request.GetBody()
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, arriving)
	return answer.Result(), answer.Body.Bytes(), nil
}

func (m *inMemory) set(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

// made gives the calls so far, and forgets them.
func (m *inMemory) made() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls := strings.Join(m.calls, "\n")
	m.calls = nil
	return calls
}

// password gives the same secret always.
func password(secret string) func() (string, error) {
	return func() (string, error) { return secret, nil }
}

func root() openhim.Account {
	return openhim.Account{Username: rootUser, Password: password(rootPassword)}
}

func address(t testing.TB, text string) *url.URL {
	t.Helper()
	base, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return base
}

// known gives a client of a stand-in, in memory.
func known(t testing.TB, config sandbox.OpenHIMConfig, account openhim.Account) (*openhim.Client, *sandbox.OpenHIM, *inMemory) {
	t.Helper()
	server := sandbox.NewOpenHIM(config)
	network := &inMemory{handler: server}
	return openhim.New(address(t, "http://openhim:8080"), network, account), server, network
}

// answering gives a client of a server that answers everything in one way.
func answering(t testing.TB, status int, contentType, body string) *openhim.Client {
	t.Helper()
	network := &inMemory{handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})}
	return openhim.New(address(t, "http://openhim:8080"), network, root())
}

// errorOf gives the *Error in err, or ends the test.
func errorOf(t testing.TB, err error) *openhim.Error {
	t.Helper()
	var e *openhim.Error
	if !errors.As(err, &e) {
		t.Fatalf("got the error %v, want an *Error", err)
	}
	return e
}

// changeConfig sets the configuration as the console does.
func changeConfig(t testing.TB, server *sandbox.OpenHIM, urn, config string) {
	t.Helper()
	request := httptest.NewRequestWithContext(context.Background(), http.MethodPut, "/mediators/"+urn+"/config", strings.NewReader(config))
	request.SetBasicAuth(rootUser, rootPassword)
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	server.ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		t.Fatalf("set the configuration: %d %s", answer.Code, answer.Body)
	}
}

// ours is a registration that is whole.
func ours(t testing.TB) openhim.Registration {
	t.Helper()
	r := parse(t, document(t)).Fill("1.0.0", "mediator", 8070)
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	return r
}
