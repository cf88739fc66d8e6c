package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(childCalls); address != "" {
		os.Exit(callAsChild(address))
	}
	goleak.VerifyTestMain(m)
}

// clientOf makes a client; a failure ends the test.
func clientOf(t testing.TB, config Config) *Client {
	t.Helper()
	client, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func get(t testing.TB, address string) *http.Request {
	t.Helper()
	return getWith(t.Context(), t, address)
}

func getWith(ctx context.Context, t testing.TB, address string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// outcome is what a call gave; the status is 0 where no answer began.
type outcome struct {
	status int
	header http.Header
	body   string
	err    error
}

// do calls a server. The body is closed by then.
func do(client *Client, request *http.Request, again Again) outcome {
	return outcomeOf(client.Do(request, again))
}

// streamError is a stream that ends before its body is there to be read.
func streamError(client *Client, request *http.Request, again Again) outcome {
	return outcomeOf(client.Stream(request, again))
}

func outcomeOf(response *http.Response, body []byte, err error) outcome {
	o := outcome{body: string(body), err: err}
	if response != nil {
		o.status, o.header = response.StatusCode, response.Header
	}
	return o
}

// once judges every try to be the last.
func once(int, *http.Response, []byte, error) (time.Duration, bool) { return 0, false }

// times tries again until there were n tries, and waits for wait between them.
func times(n int, wait time.Duration) Again {
	return func(try int, _ *http.Response, _ []byte, _ error) (time.Duration, bool) { return wait, try < n }
}

// asError gives the *Error in err, or ends the test.
func asError(t testing.TB, err error) *Error {
	t.Helper()
	var known *Error
	if !errors.As(err, &known) {
		t.Fatalf("got the error %v, want an *Error", err)
	}
	return known
}

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

// slowBody gives its parts one at a time, each after a wait, unless the request ends before.
type slowBody struct {
	request *http.Request
	wait    time.Duration
	parts   []string
	rest    bytes.Buffer
}

func (s *slowBody) Read(p []byte) (int, error) {
	if s.rest.Len() == 0 {
		if len(s.parts) == 0 {
			return 0, io.EOF
		}
		timer := time.NewTimer(s.wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			s.rest.WriteString(s.parts[0])
			s.parts = s.parts[1:]
		case <-s.request.Context().Done():
			return 0, context.Cause(s.request.Context())
		}
	}
	return s.rest.Read(p)
}

func (*slowBody) Close() error { return nil }
