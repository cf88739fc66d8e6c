package sandbox

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// faulty is a handler that counts its work, and its faults.
type faulty struct {
	faults
	worked int
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.worked++
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"message":"done"}`)
	})).ServeHTTP(w, r)
}

// posted is what a caller saw. Without any answer the status is 0.
type posted struct {
	status int
	header http.Header
	body   string
}

// post sends a body once, over a new connection, without following a redirect.
func post(t *testing.T, handler http.Handler, body io.Reader) (posted, error) {
	t.Helper()
	server, err := Listen(handler)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/values", body))
	if err != nil {
		return posted{}, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	return posted{response.StatusCode, response.Header, string(answer)}, err
}

func TestFaultsAnswerInsteadOfTheServer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		fault  Fault
		status int
		worked int
		header string
		value  string
		body   string
	}{
		{"status", Fault{Kind: Status, Status: 503, RetryAfter: "30"}, 503, 0, "Retry-After", "30", "<h1>503 Service Unavailable</h1>"},
		{"status after", Fault{Kind: StatusAfter, Status: 504}, 504, 1, "Content-Type", "text/html", "<h1>504 Gateway Timeout</h1>"},
		{"login redirect", Fault{Kind: LoginRedirect}, 302, 0, "Location", "/login/", ""},
		{"login page", Fault{Kind: LoginPage}, 200, 0, "Content-Type", "text/html", "Sign in"},
		{"too large", Fault{Kind: TooLarge, Size: 9}, 413, 0, "Content-Type", "text/html", "413 Request Entity Too Large"},
		{"not too large", Fault{Kind: TooLarge, Size: 10}, 201, 1, "Content-Type", "application/json", `{"message":"done"}`},
		{"slow body", Fault{Kind: SlowBody, Delay: time.Microsecond}, 201, 1, "Content-Length", "18", `{"message":"done"}`},
		{"other method", Fault{Kind: Status, Status: 503, Method: "GET"}, 201, 1, "Content-Type", "application/json", "done"},
		{"other path", Fault{Kind: Status, Status: 503, Path: "/api/users"}, 201, 1, "Content-Type", "application/json", "done"},
		{"this path", Fault{Kind: Status, Status: 502, Method: "POST", Path: "/api/val"}, 502, 0, "Content-Type", "text/html", "502"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := &faulty{faults: faults{Login: "/login/"}}
			f.Fail(test.fault)
			got, err := post(t, f, strings.NewReader("0123456789"))
			if err != nil {
				t.Fatal(err)
			}
			if got.status != test.status || f.worked != test.worked {
				t.Errorf("status %d, worked %d, want %d and %d", got.status, f.worked, test.status, test.worked)
			}
			if got := got.header.Get(test.header); got != test.value {
				t.Errorf("%s %q, want %q", test.header, got, test.value)
			}
			if !strings.Contains(got.body, test.body) {
				t.Errorf("body %q, want %q in it", got.body, test.body)
			}
		})
	}
}

func TestFaultsCutConnections(t *testing.T) {
	t.Parallel()
	tests := []struct {
		kind   FaultKind
		worked int
		status int
	}{
		{ResetBefore, 0, 0},
		{ResetAfter, 1, 0},
		{CutBody, 1, 201},
	}
	for _, test := range tests {
		t.Run(string(test.kind), func(t *testing.T) {
			t.Parallel()
			f := &faulty{}
			f.Fail(Fault{Kind: test.kind})
			got, err := post(t, f, strings.NewReader("0123456789"))
			if err == nil || got.status != test.status || f.worked != test.worked {
				t.Errorf("status %d, error %v, worked %d", got.status, err, f.worked)
			}
			if test.kind == CutBody && (got.body != `{"message` || !errors.Is(err, io.ErrUnexpectedEOF)) {
				t.Errorf("body %q and %v, want the first half", got.body, err)
			}
		})
	}
}

func TestFaultsMeasureABodyOfUnknownLength(t *testing.T) {
	t.Parallel()
	f := &faulty{}
	f.Fail(Fault{Kind: TooLarge, Size: 9})
	got, err := post(t, f, io.MultiReader(strings.NewReader("01234"), strings.NewReader("56789")))
	if err != nil || got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("%d and %v, want 413", got.status, err)
	}
}

func TestFaultsHitInTurn(t *testing.T) {
	t.Parallel()
	f := &faulty{}
	f.Fail(
		Fault{Kind: Status, Status: 503, Skip: 1, Times: 2}, Fault{Kind: Latency},
		Fault{Kind: Status, Status: 502, Times: 1, Path: "/other"}, Fault{Kind: Status, Status: 429, Skip: 1, Times: 1},
	)
	// The 429 does not count what the 503 hits.
	for i, want := range []int{201, 503, 503, 429, 201} {
		answer := httptest.NewRecorder()
		f.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/", nil))
		if answer.Code != want {
			t.Errorf("request %d: %d, want %d", i, answer.Code, want)
		}
	}
	f.Fail(Fault{Kind: Status, Status: 500})
	f.Heal()
	answer := httptest.NewRecorder()
	f.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/", nil))
	if answer.Code != http.StatusCreated {
		t.Errorf("%d after healing", answer.Code)
	}
}

func TestFaultsInMemoryAbortTheHandler(t *testing.T) {
	t.Parallel()
	for _, kind := range []FaultKind{ResetBefore, ResetAfter, CutBody} {
		f := &faulty{}
		f.Fail(Fault{Kind: kind})
		func() {
			defer func() {
				if got, _ := recover().(error); !errors.Is(got, http.ErrAbortHandler) {
					t.Errorf("%s: recovered %v", kind, got)
				}
			}()
			f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil))
		}()
	}
}

func TestFaultsTakeTheirTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{}
		f.Fail(Fault{Kind: Latency, Delay: time.Hour}, Fault{Kind: SlowBody, Delay: time.Minute})
		start := time.Now()
		f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil))
		// 18 bytes go in 9 pieces of two.
		if got, want := time.Since(start), time.Hour+9*time.Minute; got != want {
			t.Errorf("took %v, want %v", got, want)
		}
	})
}

func TestFaultsEndWhenTheCallerIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{}
		f.Fail(Fault{Kind: Latency, Delay: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		defer func() {
			if got, _ := recover().(error); !errors.Is(got, http.ErrAbortHandler) || f.worked != 0 {
				t.Errorf("recovered %v, worked %d", got, f.worked)
			}
		}()
		f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil))
	})
}
