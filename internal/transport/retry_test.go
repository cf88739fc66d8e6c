package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const somewhere = "https://example.org/api"

func TestTriesFollowEachOtherAsTheJudgementSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []time.Duration
		client := clientOf(t, Config{RoundTripper: roundTripper(func(*http.Request) (*http.Response, error) {
			at = append(at, time.Since(begin))
			response := answer(http.StatusTooManyRequests, "try "+strconv.Itoa(len(at)))
			response.Header.Set("Retry-After", "3600")
			return response, nil
		})})
		waits := []time.Duration{0, 10 * time.Second, time.Hour}
		var seen []string
		got := do(client, get(t, somewhere), func(try int, response *http.Response, body []byte, err error) (time.Duration, bool) {
			seen = append(seen, strconv.Itoa(try)+": "+response.Status+string(body))
			if err != nil || try > len(waits) {
				return 0, false
			}
			return waits[try-1], true
		})
		if got.err != nil || got.status != http.StatusTooManyRequests || got.body != "try 4" {
			t.Errorf("got %+v, want the last answer", got)
		}
		if diff := cmp.Diff([]string{"1: try 1", "2: try 2", "3: try 3", "4: try 4"}, seen); diff != "" {
			t.Errorf("what was judged differs (-want +got):\n%s", diff)
		}
		want := []time.Duration{0, 0, 10 * time.Second, time.Hour + 10*time.Second}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("the times of the tries differ (-want +got):\n%s", diff)
		}
	})
}

func TestEachTrySendsTheSameBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		client := clientOf(t, Config{RoundTripper: roundTripper(func(r *http.Request) (*http.Response, error) {
			if len(got) == 1 { // a connection that breaks off after a part of the body
				part := make([]byte, 3)
				_, _ = io.ReadFull(r.Body, part)
				_ = r.Body.Close()
				got = append(got, string(part))
				return nil, syscall.ECONNRESET
			}
			body, err := io.ReadAll(r.Body)
			_ = r.Body.Close()
			got = append(got, string(body)+" of "+strconv.FormatInt(r.ContentLength, 10)+" as "+r.Header.Get("Content-Type"))
			return answer(http.StatusConflict, ""), err
		})})
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, somewhere, bytes.NewReader([]byte("\x1f\x8b\x00body")))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "text/x")
		if err := do(client, request, times(3, time.Minute)).err; err != nil {
			t.Fatal(err)
		}
		whole := "\x1f\x8b\x00body of 7 as text/x"
		if diff := cmp.Diff([]string{whole, "\x1f\x8b\x00", whole}, got); diff != "" {
			t.Errorf("bodies differ (-want +got):\n%s", diff)
		}
	})
}

func TestAServerThatIsDownIsLeftAloneForAWhile(t *testing.T) {
	tests := []struct {
		name string
		down func() (*http.Response, error)
	}{
		{"no connection", func() (*http.Response, error) { return nil, syscall.ECONNREFUSED }},
		{"502", func() (*http.Response, error) { return answer(http.StatusBadGateway, "down"), nil }},
		{"503", func() (*http.Response, error) { return answer(http.StatusServiceUnavailable, "down"), nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reached, up := 0, false
				client := clientOf(t, Config{RoundTripper: roundTripper(func(*http.Request) (*http.Response, error) {
					reached++
					if up {
						return answer(http.StatusOK, "up"), nil
					}
					return tt.down()
				})})
				got := do(client, get(t, somewhere), times(breakAfter, 0))
				if reached != breakAfter {
					t.Errorf("got %d calls, want %d", reached, breakAfter)
				}
				if got.status != 0 && got.body != "down" || got.status == 0 && asError(t, got.err).What != "connection refused" {
					t.Errorf("got %+v, want the server's own answer or error", got)
				}

				err := do(client, get(t, somewhere), times(1000, time.Millisecond)).err
				if e := asError(t, err); reached != breakAfter || !strings.Contains(e.What, "not called") || !e.NotSent() || e.Permanent() {
					t.Errorf("got %d calls, error %+v; want none more, and an error that says so", reached, e)
				}

				time.Sleep(breakFor)
				_ = do(client, get(t, somewhere), times(1000, time.Millisecond))
				if reached != breakAfter+1 {
					t.Errorf("got %d calls after the pause, want one that tries whether the server is up", reached-breakAfter)
				}

				up = true
				time.Sleep(breakFor)
				for range 3 {
					if got := do(client, get(t, somewhere), once); got.err != nil || got.status != http.StatusOK || got.body != "up" {
						t.Errorf("got %+v, want the answer of the server, which is up", got)
					}
				}
			})
		})
	}
}

func TestAServerThatAnswersIsNotLeftAlone(t *testing.T) {
	for _, status := range []int{401, 409, 429, 500, 504} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			reached := 0
			client := clientOf(t, Config{RoundTripper: roundTripper(func(*http.Request) (*http.Response, error) {
				reached++
				return answer(status, ""), nil
			})})
			if err := do(client, get(t, somewhere), times(3*breakAfter, 0)).err; err != nil || reached != 3*breakAfter {
				t.Errorf("got %d calls, error %v; want %d", reached, err, 3*breakAfter)
			}
		})
	}
}

func TestCallsThatAPersonStopsSayNothingAboutTheServer(t *testing.T) {
	reached := 0
	client := clientOf(t, Config{RoundTripper: roundTripper(func(r *http.Request) (*http.Response, error) {
		reached++
		return nil, context.Cause(r.Context())
	})})
	for range 3 * breakAfter {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("interrupt signal received"))
		err := do(client, getWith(ctx, t, somewhere), times(5, 0)).err
		if e := asError(t, err); e.What != "cancelled" || !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want context.Canceled", err)
		}
	}
	if reached != 3*breakAfter {
		t.Errorf("got %d calls, want one each, %d", reached, 3*breakAfter)
	}
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	tests := []struct {
		name string
		try  func() (*http.Response, error)
		end  func(context.Context) (context.Context, context.CancelFunc)
		want error
		// text is what is said.
		text string
	}{
		{
			"stopped after an answer",
			func() (*http.Response, error) { return answer(http.StatusTooManyRequests, "later"), nil },
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancelCause(ctx)
				timer := time.AfterFunc(time.Minute, func() { cancel(errors.New("interrupt signal received")) })
				return ctx, func() { timer.Stop() }
			},
			context.Canceled, "cancelled",
		},
		{
			"stopped after an error",
			func() (*http.Response, error) { return nil, syscall.ECONNREFUSED },
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				timer := time.AfterFunc(time.Minute, cancel)
				return ctx, func() { timer.Stop() }
			},
			context.Canceled, "cancelled",
		},
		{
			"out of time after an error, which says more",
			func() (*http.Response, error) { return nil, syscall.ECONNREFUSED },
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, time.Minute)
			},
			syscall.ECONNREFUSED, "connection refused",
		},
		{
			"out of time after an answer",
			func() (*http.Response, error) { return answer(http.StatusTooManyRequests, "later"), nil },
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, time.Minute)
			},
			context.DeadlineExceeded, "no answer in time",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := clientOf(t, Config{RoundTripper: roundTripper(func(*http.Request) (*http.Response, error) { return tt.try() })})
				ctx, release := tt.end(t.Context())
				defer release()
				begin := time.Now()
				err := do(client, getWith(ctx, t, somewhere), times(5, time.Hour)).err
				if e := asError(t, err); !errors.Is(err, tt.want) || e.What != tt.text {
					t.Errorf("got %q around %v, want %q around %v", e.What, e.Unwrap(), tt.text, tt.want)
				}
				if took := time.Since(begin); took != time.Minute {
					t.Errorf("got an end after %s, want %s", took, time.Minute)
				}
			})
		})
	}
}

func TestDoEndsATryThatTakesTooLong(t *testing.T) {
	tests := []struct {
		name   string
		answer roundTripper
		// response says whether an answer has begun.
		response bool
	}{
		{"without an answer", func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, false},
		{"with an answer that comes piece by piece", func(r *http.Request) (*http.Response, error) {
			response := answer(http.StatusOK, "")
			response.Body = &slowBody{request: r, wait: 2 * time.Second, parts: strings.Split("a long answer", "")}
			return response, nil
		}, true},
		{"with an answer that is no success", func(r *http.Request) (*http.Response, error) {
			response := answer(http.StatusInternalServerError, "")
			response.Body = &slowBody{request: r, wait: 20 * time.Second, parts: []string{"why"}}
			return response, nil
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := clientOf(t, Config{Timeout: 5 * time.Second, RoundTripper: tt.answer})
				begin := time.Now()
				got := do(client, get(t, somewhere), times(2, 3*time.Second))
				if e := asError(t, got.err); !e.Timeout() || e.What != "no answer in time" || e.NotSent() || !strings.Contains(e.Hint(), "time-out") {
					t.Errorf("got %+v, want the time to have run out", e)
				}
				if (got.status != 0) != tt.response {
					t.Errorf("got the status %d, want one: %t", got.status, tt.response)
				}
				if took := time.Since(begin); took != 13*time.Second {
					t.Errorf("got an end after %s, want two tries of 5 s and a wait of 3 s", took)
				}
			})
		})
	}
}

func TestStreamLastsAsLongAsTheServerSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := clientOf(t, Config{Timeout: 5 * time.Second, RoundTripper: roundTripper(func(r *http.Request) (*http.Response, error) {
			response := answer(http.StatusOK, "")
			response.Body = &slowBody{request: r, wait: 4 * time.Second, parts: strings.Split("a long answer", "")}
			return response, nil
		})})
		response, body, err := client.Stream(get(t, somewhere), once)
		if err != nil || body != nil {
			t.Fatalf("got %q, %v; want an unread body", body, err)
		}
		defer response.Body.Close()
		first := make([]byte, 1)
		if _, err := response.Body.Read(first); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // the reader is busy, which is not the server's fault
		rest, err := io.ReadAll(response.Body)
		if got := string(first) + string(rest); err != nil || got != "a long answer" {
			t.Errorf("got %q, %v; want the whole answer", got, err)
		}
	})
}

func TestStreamBreaksOffWhenTheServerStopsSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := clientOf(t, Config{Timeout: 5 * time.Second, RoundTripper: roundTripper(func(r *http.Request) (*http.Response, error) {
			response := answer(http.StatusOK, "")
			rest := &slowBody{request: r, wait: time.Hour, parts: []string{"rest"}}
			response.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(strings.NewReader("begin"), rest), rest}
			return response, nil
		})})
		response, _, err := client.Stream(get(t, somewhere), once)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		begin := time.Now()
		got, err := io.ReadAll(response.Body)
		if e := asError(t, err); string(got) != "begin" || !e.Timeout() || e.What != "the answer stopped coming" || errors.Is(err, context.Canceled) {
			t.Errorf("got %q, %+v; want what came, and that nothing more did", got, e)
		}
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("got an end after %s, want 5 s", took)
		}
	})
}

func TestStreamBreaksOffAnErrorThatStopsComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := clientOf(t, Config{Timeout: 5 * time.Second, RoundTripper: roundTripper(func(r *http.Request) (*http.Response, error) {
			response := answer(http.StatusInternalServerError, "")
			response.Body = &slowBody{request: r, wait: time.Hour, parts: []string{"why"}}
			return response, nil
		})})
		begin := time.Now()
		got := streamError(client, get(t, somewhere), times(2, 0))
		if e := asError(t, got.err); !e.Timeout() || got.status != http.StatusInternalServerError {
			t.Errorf("got %+v, want the time to have run out", got)
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("got an end after %s, want two tries of 5 s", took)
		}
	})
}

func TestStreamThatAPersonStopsSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := clientOf(t, Config{RoundTripper: roundTripper(func(r *http.Request) (*http.Response, error) {
			response := answer(http.StatusOK, "")
			response.Body = &slowBody{request: r, wait: time.Hour, parts: []string{"rest"}}
			return response, nil
		})})
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(errors.New("interrupt signal received")) })
		response, _, err := client.Stream(getWith(ctx, t, somewhere), once)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		_, err = io.ReadAll(response.Body)
		if e := asError(t, err); e.What != "cancelled" || !errors.Is(err, context.Canceled) || e.Timeout() {
			t.Errorf("got %+v, want context.Canceled", e)
		}
	})
}

func TestStreamReadsAnErrorWhole(t *testing.T) {
	client := clientOf(t, Config{RoundTripper: roundTripper(func(*http.Request) (*http.Response, error) {
		return answer(http.StatusBadRequest, `{"error":"why"}`), nil
	})})
	response, body, err := client.Stream(get(t, somewhere), once)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusBadRequest || string(body) != `{"error":"why"}` {
		t.Errorf("got %d, %q; want the error's body", response.StatusCode, body)
	}
	if rest, err := io.ReadAll(response.Body); err != nil || len(rest) != 0 {
		t.Errorf("got %q, %v left to read; want nothing", rest, err)
	}
}

func TestTheAnswerIsAskedForAsPackedJSON(t *testing.T) {
	var got http.Header
	client := clientOf(t, Config{UserAgent: "mediator/1", RoundTripper: roundTripper(func(r *http.Request) (*http.Response, error) {
		got = r.Header
		return answer(http.StatusOK, "{}"), nil
	})})
	request := get(t, somewhere)
	if err := do(client, request, once).err; err != nil {
		t.Fatal(err)
	}
	want := http.Header{"Accept": {"application/json"}, "Accept-Encoding": {"gzip"}, "User-Agent": {"mediator/1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers differ (-want +got):\n%s", diff)
	}
	if len(request.Header) != 0 {
		t.Errorf("got the headers %v on the caller's request, want it left alone", request.Header)
	}
}

func TestTheSecretIsReadAtEachTry(t *testing.T) {
	var got []string
	secret := 0
	client := clientOf(t, Config{
		Authorization: func() (string, error) {
			secret++
			return "ApiToken " + strconv.Itoa(secret), nil
		},
		RoundTripper: roundTripper(func(r *http.Request) (*http.Response, error) {
			got = append(got, r.Header.Get("Authorization"))
			return answer(http.StatusInternalServerError, ""), nil
		}),
	})
	for range 2 {
		if err := do(client, get(t, somewhere), times(2, 0)).err; err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"ApiToken 1", "ApiToken 2", "ApiToken 3", "ApiToken 4"}, got); diff != "" {
		t.Errorf("secrets differ (-want +got):\n%s", diff)
	}
}

func TestWithoutASecretNothingIsSent(t *testing.T) {
	reached := false
	client := clientOf(t, Config{
		Authorization: func() (string, error) { return "", errors.New("open /run/secrets/dhis2: no such file or directory") },
		RoundTripper: roundTripper(func(*http.Request) (*http.Response, error) {
			reached = true
			return answer(http.StatusOK, ""), nil
		}),
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, somewhere, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	err = do(client, request, once).err
	if e := asError(t, err); reached || !e.Permanent() || !e.NotSent() || !strings.Contains(e.What, "/run/secrets/dhis2") || e.Hint() == "" {
		t.Errorf("got %+v, sent: %t; want nothing sent, and the file named", e, reached)
	}
}

func TestErrorsOfTheNetworkAreToldInWords(t *testing.T) {
	address := &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 8443}
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Addr: address, Err: err} }
	tests := []struct {
		name string
		in   error
		// want is what is said, remedy part of what to do.
		want, remedy           string
		fixed, unsent, timeout bool
	}{
		{"nobody listens", dial(syscall.ECONNREFUSED), "connection refused", "port", false, true, false},
		{"no way to the host", dial(syscall.EHOSTUNREACH), "dial: no route to host", "", false, true, false},
		{"no answer to the call", dial(context.DeadlineExceeded), "no connection in time", "firewall", false, true, true},
		{"a name that nobody knows", dial(&net.DNSError{Err: "no such host", Name: "dhis2.example.org", Server: "10.0.0.53:53", IsNotFound: true}), "the host name dhis2.example.org is not known", "name server", false, true, false},
		{"a name server that does not work", dial(&net.DNSError{Err: "server misbehaving", Name: "dhis2.example.org", Server: "10.0.0.53:53", IsTemporary: true}), "the host name dhis2.example.org cannot be looked up", "name server", false, true, false},
		{"a name server that does not answer", dial(&net.DNSError{Err: "i/o timeout", Name: "dhis2.example.org", Server: "10.0.0.53:53", IsTimeout: true}), "the host name dhis2.example.org cannot be looked up", "name server", false, true, true},
		{"a proxy where nobody listens", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: dial(syscall.ECONNREFUSED)}, "the proxy: connection refused", "HTTPS_PROXY", false, true, false},
		{"a reset while reading", &net.OpError{Op: "read", Net: "tcp", Addr: address, Err: syscall.ECONNRESET}, "the connection broke off", "proxy", false, false, false},
		{"a reset while writing", &net.OpError{Op: "write", Net: "tcp", Addr: address, Err: syscall.EPIPE}, "the connection broke off", "proxy", false, false, false},
		{"an end before an answer", io.EOF, "the connection broke off", "proxy", false, false, false},
		{"a read that takes too long", &net.OpError{Op: "read", Net: "tcp", Addr: address, Err: context.DeadlineExceeded}, "no answer in time", "time-out", false, false, true},
		{"another error while reading", &net.OpError{Op: "read", Net: "tcp", Addr: address, Err: errors.New("strange")}, "read: strange", "", false, false, false},
		{"an old TLS of the server's choice", errors.New("tls: server selected unsupported protocol version 302"), "the server speaks no version of TLS that is safe", "TLS 1.2", true, true, false},
		{"an answer that is no HTTP", errors.New(`malformed HTTP response "\x15\x03\x01\x00\x02\x02"`), "the server does not speak HTTP", "https://", false, false, false},
		{"an error of another sort", errors.New("strange"), "strange", "", false, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := clientOf(t, Config{RoundTripper: roundTripper(func(*http.Request) (*http.Response, error) { return nil, tt.in })})
			got := do(client, get(t, "https://user:pass@10.1.2.3:8443/api?secret=7"), once)
			e := asError(t, got.err)
			if e.Error() != tt.want || !strings.Contains(e.Hint(), tt.remedy) || got.status != 0 || got.body != "" {
				t.Errorf("got %q, remedy %q; want %q, %q", e, e.Hint(), tt.want, tt.remedy)
			}
			if e.Permanent() != tt.fixed || e.NotSent() != tt.unsent || e.Timeout() != tt.timeout {
				t.Errorf("got fixed %t, unsent %t, timeout %t; want %t, %t, %t", e.Permanent(), e.NotSent(), e.Timeout(), tt.fixed, tt.unsent, tt.timeout)
			}
			if text := e.What + e.Remedy; strings.Contains(text, "10.") || strings.Contains(text, "pass@") || strings.Contains(text, "secret=") {
				t.Errorf("got %q, want no address and no secret in it", text)
			}
			if !errors.Is(got.err, tt.in) {
				t.Errorf("got an error around %v, want it around %v", e.Unwrap(), tt.in)
			}
		})
	}
}
