package transport

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serve starts a server on the loopback that ends with the test. Its complaints about bad clients go nowhere.
func serve(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// serveTLS is serve with TLS, and gives the file of the authority that signed the certificate.
func serveTLS(t testing.TB, config *tls.Config, handler http.HandlerFunc) (server *httptest.Server, caFile string) {
	t.Helper()
	server = httptest.NewUnstartedServer(handler)
	server.TLS = config
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return server, caFile
}

func writeFile(t testing.TB, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// listen serves each connection with the function, below HTTP, until the test ends.
func listen(t testing.TB, connection func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connection(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr().String()
}

// whilePassing tries again at once, as often as an error that may pass allows, and counts the tries.
func whilePassing(tries *int) Again {
	return func(try int, _ *http.Response, _ []byte, err error) (time.Duration, bool) {
		*tries = try
		var known *Error
		return 0, try < 3 && errors.As(err, &known) && !known.Permanent()
	}
}

func zip(t testing.TB, text string) []byte {
	t.Helper()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return zipped.Bytes()
}

func TestARedirectIsGivenBackAndNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/api" {
					t.Errorf("got a request for %s, want the redirect not followed", r.URL.Path)
				}
				http.Redirect(w, r, "/login", status)
			})
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			got := do(clientOf(t, Config{}), request, once)
			if got.err != nil || got.status != status || got.header.Get("Location") != "/login" {
				t.Errorf("got %+v, want the redirect itself", got)
			}
		})
	}
}

func TestAPackedAnswerIsUnpacked(t *testing.T) {
	text := strings.Repeat("a long answer ", 1000)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "gzip" {
			t.Errorf("got the wish for %q, want gzip", got)
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(zip(t, text))
	})
	client := clientOf(t, Config{})
	got := do(client, get(t, server.URL), once)
	if got.err != nil || got.body != text || got.header.Get("Content-Encoding") != "" {
		t.Errorf("got %d bytes, %v; want the %d unpacked ones", len(got.body), got.err, len(text))
	}
	response, _, err := client.Stream(get(t, server.URL), once)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != text {
		t.Errorf("got a stream of %d bytes, %v; want the %d unpacked ones", len(body), err, len(text))
	}
}

func TestAPackedAnswerThatIsBrokenIsAnError(t *testing.T) {
	whole := zip(t, "a packed answer")
	wrong := bytes.Clone(whole)
	wrong[len(wrong)-5] ^= 1 // in the check sum
	tests := []struct {
		name string
		in   []byte
	}{
		{"cut in its header", whole[:5]},
		{"cut in its middle", whole[:15]},
		{"cut before its check sum", whole[:len(whole)-8]},
		{"cut by a byte", whole[:len(whole)-1]},
		{"a wrong check sum", wrong},
		{"not packed", []byte("a packed answer, it says")},
		{"something after it", append(bytes.Clone(whole), "more"...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write(tt.in)
			})
			err := do(clientOf(t, Config{}), get(t, server.URL), once).err
			if e := asError(t, err); e.Permanent() || e.NotSent() {
				t.Errorf("got %+v, want an error that may pass", e)
			}
		})
	}
}

func TestAnEmptyAnswerMayCallItselfPacked(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusNotModified)
	})
	if got := do(clientOf(t, Config{}), get(t, server.URL), once); got.err != nil || got.body != "" || got.status != http.StatusNotModified {
		t.Errorf("got %+v, want an empty answer", got)
	}
}

func TestTheLimitCountsUnpackedBytes(t *testing.T) {
	const limit = 64 << 10
	tests := []struct {
		name   string
		size   int
		packed bool
		fits   bool
	}{
		{"just as large as the limit", limit, false, true},
		{"a byte more", limit + 1, false, false},
		{"packed, as large as the limit", limit, true, true},
		{"packed, a byte more", limit + 1, true, false},
		{"packed to a hundredth", 30 * limit, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := []byte(strings.Repeat("x", tt.size))
			if tt.packed {
				body = zip(t, string(body))
			}
			server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if tt.packed {
					w.Header().Set("Content-Encoding", "gzip")
				}
				_, _ = w.Write(body)
			})
			client := clientOf(t, Config{MaxBody: limit})
			tries := 0
			done := do(client, get(t, server.URL), whilePassing(&tries))
			response, _, err := client.Stream(get(t, server.URL), once)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			read, streamed := io.Copy(io.Discard, response.Body)
			if tt.fits {
				if done.err != nil || streamed != nil || len(done.body) != tt.size || read != int64(tt.size) {
					t.Errorf("got %d bytes, %v; streamed %d, %v; want %d", len(done.body), done.err, read, streamed, tt.size)
				}
				return
			}
			for _, err := range []error{done.err, streamed} {
				if e := asError(t, err); !e.Permanent() || e.What != "the answer is larger than the limit" || !strings.Contains(e.Hint(), "max_size") {
					t.Errorf("got %+v, want that the answer is too large", e)
				}
			}
			if tries != 1 || read > limit {
				t.Errorf("got %d tries, %d bytes; want one, and no more than the limit", tries, read)
			}
			if _, err := response.Body.Read(make([]byte, 1)); err == nil {
				t.Error("got more after the limit, want the error to stay")
			}
		})
	}
}

func TestACertificateIsTrustedByItsAuthorityOnly(t *testing.T) {
	server, caFile := serveTLS(t, nil, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, caFile, address string
		trusted               bool
	}{
		{"its authority is given", caFile, server.URL, true},
		{"no authority is given", "", server.URL, false},
		{"the certificate has another name", caFile, "https://localhost:" + port, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := clientOf(t, Config{CAFile: tt.caFile})
			tries := 0
			got := do(client, get(t, tt.address), whilePassing(&tries))
			if tt.trusted {
				if got.err != nil || got.body != "{}" {
					t.Errorf("got %+v, want the answer", got)
				}
				return
			}
			e := asError(t, got.err)
			if !e.Permanent() || !e.NotSent() || !strings.Contains(e.What, "certificate is not trusted") || !strings.Contains(e.Hint(), "ca_file") {
				t.Errorf("got %+v, want that the certificate is not trusted", e)
			}
			if tries != 1 {
				t.Errorf("got %d tries, want one", tries)
			}
		})
	}
}

func TestACAFileThatCannotBeUsedIsNamed(t *testing.T) {
	folder := t.TempDir()
	words := filepath.Join(folder, "words.pem")
	writeFile(t, words, []byte("no certificate"))
	key := filepath.Join(folder, "key.pem")
	writeFile(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}))
	for name, file := range map[string]string{"missing": filepath.Join(folder, "none.pem"), "words": words, "a key": key, "a folder": folder} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Config{CAFile: file})
			if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "read the CA file") {
				t.Errorf("got %v, want an error that names %s", err, file)
			}
		})
	}
}

func TestTLSBelow12IsRefused(t *testing.T) {
	tests := []struct {
		name    string
		version uint16
		refused bool
	}{
		{"1.0", tls.VersionTLS10, true},
		{"1.1", tls.VersionTLS11, true},
		{"1.2", tls.VersionTLS12, false},
		{"1.3", tls.VersionTLS13, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server, caFile := serveTLS(t, &tls.Config{MinVersion: tt.version, MaxVersion: tt.version}, func(http.ResponseWriter, *http.Request) {})
			tries := 0
			err := do(clientOf(t, Config{CAFile: caFile}), get(t, server.URL), whilePassing(&tries)).err
			if !tt.refused {
				if err != nil {
					t.Errorf("got %v, want an answer", err)
				}
				return
			}
			if e := asError(t, err); tries != 1 || !e.Permanent() || !e.NotSent() || !strings.Contains(e.What, "no version of TLS that is safe") || !strings.Contains(e.Hint(), "TLS 1.2") {
				t.Errorf("got %+v after %d tries, want a refusal of its TLS after one", e, tries)
			}
		})
	}
}

func TestAServerThatWantsACertificateOfTheClientIsToldInWords(t *testing.T) {
	server, caFile := serveTLS(t, &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}, func(http.ResponseWriter, *http.Request) {})
	err := do(clientOf(t, Config{CAFile: caFile}), get(t, server.URL), once).err
	if e := asError(t, err); !strings.Contains(e.What, "refused the TLS connection") || e.Hint() == "" {
		t.Errorf("got %+v, want that the server refused", e)
	}
}

func TestTheWrongSchemeIsToldInWords(t *testing.T) {
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	words := listen(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "220 mail.example.org ESMTP\r\n") })
	alert := listen(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = conn.Write([]byte("\x15\x03\x01\x00\x02\x02\x0a"))
	})
	tests := []struct {
		name, address, want, remedy string
		fixed                       bool
	}{
		{"https to a server of http", "https://" + plain.Listener.Addr().String(), "does not speak TLS", "http://", true},
		{"https to a server of mail", "https://" + words, "does not speak TLS", "http://", true},
		{"http to a server of TLS, which answers in TLS", "http://" + alert, "does not speak HTTP", "https://", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := do(clientOf(t, Config{}), get(t, tt.address), once).err
			if e := asError(t, err); !strings.Contains(e.What, tt.want) || !strings.Contains(e.Hint(), tt.remedy) || e.Permanent() != tt.fixed {
				t.Errorf("got %+v, want %q and %q", e, tt.want, tt.remedy)
			}
		})
	}
	t.Run("http to a server of TLS, which answers in HTTP", func(t *testing.T) {
		server, _ := serveTLS(t, nil, func(http.ResponseWriter, *http.Request) {})
		got := do(clientOf(t, Config{}), get(t, "http://"+server.Listener.Addr().String()), once)
		if got.err != nil || got.status != http.StatusBadRequest || !strings.Contains(got.body, "HTTPS") {
			t.Errorf("got %+v, want the server's own words", got)
		}
	})
}

func TestNobodyListeningIsToldInWords(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	tries := 0
	err = do(clientOf(t, Config{}), get(t, "http://"+address+"/api"), whilePassing(&tries)).err
	if e := asError(t, err); e.What != "connection refused" || !e.NotSent() || e.Permanent() || strings.Contains(e.Error()+e.Hint(), address) {
		t.Errorf("got %+v, want that the connection was refused", e)
	}
	if tries != 3 {
		t.Errorf("got %d tries, want 3", tries)
	}
}

func TestAnAnswerThatBreaksOffIsAnError(t *testing.T) {
	reset := func(conn net.Conn) {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	read := func(conn net.Conn) { _, _ = conn.Read(make([]byte, 4096)) }
	tests := []struct {
		name       string
		connection func(net.Conn)
		// body is what came of the answer; an answer that did not begin has none.
		body string
	}{
		{"closed before the answer", func(conn net.Conn) { read(conn) }, ""},
		{"reset before the answer", func(conn net.Conn) { read(conn); reset(conn) }, ""},
		{"closed in the headers", func(conn net.Conn) {
			read(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
		}, ""},
		{"closed within the length announced", func(conn net.Conn) {
			read(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin")
		}, "begin"},
		{"closed between two chunks", func(conn net.Conn) {
			read(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
		}, "begin"},
		{"closed before the last chunk's end", func(conn net.Conn) {
			read(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n0\r\n")
		}, "begin"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := clientOf(t, Config{})
			address := "http://" + listen(t, tt.connection)
			tries := 0
			got := do(client, get(t, address), whilePassing(&tries))
			if e := asError(t, got.err); e.What != "the connection broke off" || e.Permanent() || e.NotSent() || e.Timeout() {
				t.Errorf("got %+v, want that the connection broke off", e)
			}
			if got.body != tt.body || (got.status != 0) != (tt.body != "") || tries != 3 {
				t.Errorf("got %+v after %d tries, want %q after 3", got, tries, tt.body)
			}
			if tt.body == "" {
				return
			}
			response, _, err := client.Stream(get(t, address), once)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if e := asError(t, err); string(body) != tt.body || e.What != "the connection broke off" {
				t.Errorf("got a stream of %q, %+v; want %q, and that the connection broke off", body, e, tt.body)
			}
		})
	}
}

func TestAServerMayTakeAsLongAsHeaderTimeoutToBeginItsAnswer(t *testing.T) {
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	got := streamError(clientOf(t, Config{HeaderTimeout: 20 * time.Millisecond}), get(t, server.URL), once)
	if e := asError(t, got.err); !e.Timeout() || e.What != "no answer in time" || e.NotSent() {
		t.Errorf("got %+v, want that no answer came in time", e)
	}
}

func TestAStalledStreamIsToldOverEachVersionOfHTTP(t *testing.T) {
	stall := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	plain := serve(t, stall)
	secure, caFile := serveTLS(t, nil, stall)
	tests := []struct {
		name, address string
		version       int
	}{
		{"1.1", plain.URL, 1},
		{"2", secure.URL, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			response, _, err := clientOf(t, Config{CAFile: caFile, Timeout: 20 * time.Millisecond}).Stream(get(t, tt.address), once)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if e := asError(t, err); string(body) != "begin" || e.What != "the answer stopped coming" || !e.Timeout() || errors.Is(err, context.Canceled) {
				t.Errorf("got %q, %+v; want what came, and that nothing more did", body, e)
			}
			if response.ProtoMajor != tt.version {
				t.Errorf("got HTTP %d, want %d", response.ProtoMajor, tt.version)
			}
		})
	}
}

func TestACallThatASignalStopsIsCancelledOverEachVersionOfHTTP(t *testing.T) {
	arrived := make(chan struct{}, 1)
	hang := func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	}
	plain := serve(t, hang)
	secure, caFile := serveTLS(t, nil, hang)
	for name, address := range map[string]string{"1.1": plain.URL, "2": secure.URL} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			go func() {
				<-arrived
				cancel(errors.New("interrupt signal received")) // as signal.NotifyContext does
			}()
			err := do(clientOf(t, Config{CAFile: caFile, Timeout: time.Minute}), getWith(ctx, t, address), times(3, 0)).err
			if e := asError(t, err); e.What != "cancelled" || !errors.Is(err, context.Canceled) || e.Timeout() {
				t.Errorf("got %+v, want context.Canceled", e)
			}
		})
	}
}

func TestCookiesAreKeptWhenAskedFor(t *testing.T) {
	for _, kept := range []bool{true, false} {
		t.Run(fmt.Sprint(kept), func(t *testing.T) {
			sessions := 0
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if _, err := r.Cookie("JSESSIONID"); err != nil {
					sessions++
					http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: "1", HttpOnly: true})
				}
			})
			client := clientOf(t, Config{Cookies: kept})
			for range 3 {
				if err := do(client, get(t, server.URL), once).err; err != nil {
					t.Fatal(err)
				}
			}
			if want := map[bool]int{true: 1, false: 3}[kept]; sessions != want {
				t.Errorf("got %d sessions, want %d", sessions, want)
			}
		})
	}
}

func TestASecretThatNoHeaderCanHoldIsNotShown(t *testing.T) {
	server := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("got a request, want none") })
	client := clientOf(t, Config{Authorization: func() (string, error) { return "ApiToken d2pat_secret\nmore", nil }})
	err := do(client, get(t, server.URL), once).err
	if e := asError(t, err); strings.Contains(e.Error()+e.Hint(), "d2pat") || !strings.Contains(e.What, "Authorization") {
		t.Errorf("got %+v, want the header named and not the secret", e)
	}
}

// childCalls names the address that this test program calls when it is started as a child.
const childCalls = "TRANSPORT_TEST_CALLS"

// callAsChild prints what came of a call. net/http reads the proxy variables once in the life of a process, so that
// each set of them needs a process of its own.
func callAsChild(address string) int {
	client, err := New(Config{Timeout: time.Minute})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, address, nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	got := do(client, request, once)
	if got.err == nil {
		fmt.Println("answer:", got.body)
		return 0
	}
	var known *Error
	fmt.Println("error:", got.err, errors.As(got.err, &known) && known.Permanent())
	return 0
}

func TestTheProxyVariablesAreHonoured(t *testing.T) {
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		_, _ = io.WriteString(w, "the proxy has "+r.URL.String())
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	_ = listener.Close()
	// Names below .invalid exist nowhere, so only a proxy can answer for them. NO_PROXY is not tried: what it names
	// would be looked up outside, and the loopback is never called through a proxy, whatever it says.
	tests := []struct {
		name, address string
		variables     []string
		want          string
	}{
		{"HTTP_PROXY", "http://cht.invalid/api", []string{"HTTP_PROXY=" + proxy.URL}, "answer: the proxy has http://cht.invalid/api"},
		{"HTTPS_PROXY, which refuses", "https://cht.invalid/api", []string{"HTTPS_PROXY=" + proxy.URL}, "error: the proxy answered 407 instead of connecting true"},
		{"HTTP_PROXY, where nobody listens", "http://cht.invalid/api", []string{"HTTP_PROXY=http://user:pass@" + closed}, "error: the proxy: connection refused false"},
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			child := exec.CommandContext(t.Context(), program)
			child.Env = append(tt.variables, childCalls+"="+tt.address, "GORACE=atexit_sleep_ms=0")
			got, err := child.CombinedOutput()
			if err != nil || strings.TrimSpace(string(got)) != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}
