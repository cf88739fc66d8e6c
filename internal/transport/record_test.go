package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

const kept = 1 << 10

// recording gives a context with a recorder.
func recording(t testing.TB) (context.Context, *exchange.Recorder) {
	t.Helper()
	recorder := exchange.NewRecorder(kept)
	return recorder.Record(t.Context()), recorder
}

func post(ctx context.Context, t testing.TB, address string, body io.Reader) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, body)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// stream reads a success to its end.
func stream(client *Client, request *http.Request) error {
	response, _, err := client.Stream(request, once)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

func body(text string) exchange.Body { return exchange.NewBody([]byte(text), kept) }

// line is the short of an exchange: the status, the body received and the error.
func line(e exchange.Exchange) string {
	return fmt.Sprintf("%d %s|%s", e.Status, e.Received, e.Error)
}

func lines(recorder *exchange.Recorder) (all []string) {
	for _, e := range recorder.Exchanges() {
		all = append(all, line(e))
	}
	return all
}

func TestEachTryIsRecorded(t *testing.T) {
	reached := 0
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		reached++
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Try", fmt.Sprint(reached))
		w.Header()["Date"] = nil
		switch reached {
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, "broken \xff")
		case 2:
			panic(http.ErrAbortHandler)
		default:
			_, _ = io.WriteString(w, "stored")
		}
	})
	ctx, recorder := recording(t)
	began := time.Now()
	got := do(clientOf(t, Config{UserAgent: "test"}), post(ctx, t, server.URL+"/api?a=b", strings.NewReader("values")), times(3, time.Millisecond))
	if got.err != nil || got.body != "stored" {
		t.Fatalf("got %+v", got)
	}
	all := recorder.Exchanges()
	for i, e := range all {
		if e.Began.Before(began.Round(0)) || e.Took <= 0 || i > 0 && e.Began.Before(all[i-1].Began.Add(all[i-1].Took)) {
			t.Errorf("try %d began at %s and took %s", i, e.Began, e.Took)
		}
		all[i].Began, all[i].Took = time.Time{}, 0
	}
	try := exchange.Exchange{
		Method: http.MethodPost, Address: server.URL + "/api?a=b", Sent: body("values"),
		SentHeader: map[string]string{"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "test"},
	}
	failed, lost, stored := try, try, try
	failed.Status, failed.Received = http.StatusInternalServerError, body("broken \xff")
	failed.ReceivedHeader = map[string]string{"X-Try": "1", "Content-Length": "8", "Content-Type": "text/plain; charset=utf-8"}
	lost.Error = "the connection broke off"
	stored.Status, stored.Received = http.StatusOK, body("stored")
	stored.ReceivedHeader = map[string]string{"X-Try": "3", "Content-Length": "6", "Content-Type": "text/plain; charset=utf-8"}
	if diff := cmp.Diff([]exchange.Exchange{failed, lost, stored}, all); diff != "" {
		t.Errorf("exchanges (-want +got):\n%s", diff)
	}
}

func TestAStreamIsRecordedAsItIsRead(t *testing.T) {
	text := strings.Repeat("0123456789", 100_000)
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	ctx, recorder := recording(t)
	response, _, err := clientOf(t, Config{}).Stream(getWith(ctx, t, server.URL), once)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	begin := make([]byte, 15)
	if _, err := io.ReadFull(response.Body, begin); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"200 012345678901234\n[cut: 15 bytes were read, and not the rest]|not finished yet"}, lines(recorder)); diff != "" {
		t.Errorf("while it is read (-want +got):\n%s", diff)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	if got := recorder.Exchanges(); len(got) != 1 || got[0].Received != body(text) || got[0].Error != "" {
		t.Errorf("got %+v, want the beginning, the length and the digest of the whole", got)
	}
}

func TestAStreamThatItsReaderClosesIsRecordedAsCut(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("a", 1<<20)) })
	ctx, recorder := recording(t)
	response, _, err := clientOf(t, Config{}).Stream(getWith(ctx, t, server.URL), once)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(response.Body, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if diff := cmp.Diff(exchange.Body{Text: "aaa", Length: 3, Cut: true}, recorder.Exchanges()[0].Received); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

func TestAnErrorPageIsRecordedAsFarAsItIsRead(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(make([]byte, errorBody+1<<20))
	})
	ctx, recorder := recording(t)
	_ = do(clientOf(t, Config{}), getWith(ctx, t, server.URL), once)
	got := recorder.Exchanges()[0]
	if got.Received.Length != errorBody || !got.Received.Cut || got.Status != http.StatusBadRequest || got.Error != "" {
		t.Errorf("got %d, %d bytes, cut %t, error %q; want the %d bytes that were read, and that there is more",
			got.Status, got.Received.Length, got.Received.Cut, got.Error, errorBody)
	}
}

func TestAnAnswerThatGoesWrongIsRecordedWithItsError(t *testing.T) {
	text := strings.Repeat("a long answer ", 10)
	packed := zip(t, text)
	cut := func(w http.ResponseWriter, body []byte) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write(body)
	}
	stall := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	const soon = 20 * time.Millisecond
	begin := "200 begin\n[cut: 5 bytes were read, and not the rest]|"
	for _, tt := range []struct {
		name    string
		config  Config
		handler http.HandlerFunc
		call    func(*Client, *http.Request) error
		want    string
	}{
		{"broken off", Config{}, func(w http.ResponseWriter, _ *http.Request) { cut(w, []byte("begin")) }, doOnce, begin + "the connection broke off"},
		{"a stream broken off", Config{}, func(w http.ResponseWriter, _ *http.Request) { cut(w, []byte("begin")) }, stream, begin + "the connection broke off"},
		{"packed", Config{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed)
		}, stream, "200 " + text + "|"},
		{"packed, broken off", Config{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			cut(w, packed[:5])
		}, doOnce, "200 \n[cut: 0 bytes were read, and not the rest]|the connection broke off"},
		{"not packed, though it says so", Config{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "plain text of some length")
		}, doOnce, "200 \n[cut: 0 bytes were read, and not the rest]|gzip: invalid header"},
		{"empty", Config{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, doOnce, "204 |"},
		{"no answer in time", Config{Timeout: soon}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, doOnce, "0 |no answer in time"},
		{"no header in time", Config{HeaderTimeout: soon}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, stream, "0 |no answer in time"},
		{"no whole answer in time", Config{Timeout: 50 * time.Millisecond}, stall, doOnce, begin + "no answer in time"},
		{"a stream that stops coming", Config{Timeout: soon}, stall, stream, begin + "the answer stopped coming"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := serve(t, tt.handler)
			ctx, recorder := recording(t)
			err := tt.call(clientOf(t, tt.config), getWith(ctx, t, server.URL))
			if diff := cmp.Diff([]string{tt.want}, lines(recorder)); diff != "" {
				t.Errorf("recorded (-want +got):\n%s", diff)
			}
			if got := recorder.Exchanges()[0].Error; (err == nil) != (got == "") {
				t.Errorf("the call's error is %v, the one that is recorded %q", err, got)
			}
		})
	}
}

func doOnce(client *Client, request *http.Request) error { return do(client, request, once).err }

func TestAnAnswerThatIsTooLargeIsRecordedWithItsError(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 100_000)) })
	ctx, recorder := recording(t)
	err := doOnce(clientOf(t, Config{MaxBody: 50_000}), getWith(ctx, t, server.URL))
	got := recorder.Exchanges()[0]
	if err == nil || got.Error != "the answer is larger than the limit" || !got.Received.Cut || got.Received.Length > 50_000 {
		t.Errorf("got %v, %d bytes, recorded %q", err, got.Received.Length, got.Error)
	}
}

func TestATryThatFindsNobodyIsRecorded(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	ctx, recorder := recording(t)
	_ = doOnce(clientOf(t, Config{}), post(ctx, t, "http://"+listener.Addr().String(), strings.NewReader("values")))
	if diff := cmp.Diff([]string{"0 |connection refused"}, lines(recorder)); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	if got := recorder.Exchanges()[0].Sent; got != body("values") {
		t.Errorf("sent %+v, want what was to be sent", got)
	}
}

func TestATryThatDoesNotLeaveIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reached := 0
		network := roundTripper(func(*http.Request) (*http.Response, error) {
			reached++
			return answer(http.StatusBadGateway, "down"), nil
		})
		ctx, recorder := recording(t)
		client := clientOf(t, Config{RoundTripper: network})
		_ = do(client, getWith(ctx, t, somewhere), times(breakAfter+2, time.Millisecond))
		want := make([]string, 0, breakAfter+2)
		for range breakAfter {
			want = append(want, "502 down|")
		}
		not := "0 |not called, as it failed several times in a row just now"
		if diff := cmp.Diff(append(want, not, not), lines(recorder)); diff != "" || reached != breakAfter {
			t.Errorf("%d calls; recorded (-want +got):\n%s", reached, diff)
		}

		recorder.Reset()
		client = clientOf(t, Config{RoundTripper: network, Authorization: func() (string, error) { return "", os.ErrNotExist }})
		_ = do(client, post(ctx, t, somewhere, io.MultiReader(strings.NewReader("values"))), once)
		if diff := cmp.Diff([]string{"0 |the credentials cannot be read: file does not exist"}, lines(recorder)); diff != "" {
			t.Errorf("recorded (-want +got):\n%s", diff)
		}
		if got := recorder.Exchanges()[0].Sent; got != body("values") {
			t.Errorf("sent %+v, want what was to be sent", got)
		}
	})
}

func TestACallThatIsStoppedIsRecordedAsCancelled(t *testing.T) {
	arrived := make(chan struct{})
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	ctx, recorder := recording(t)
	ctx, stop := context.WithCancelCause(ctx)
	go func() {
		<-arrived
		stop(errors.New("terminated"))
	}()
	_ = doOnce(clientOf(t, Config{}), getWith(ctx, t, server.URL))
	if diff := cmp.Diff([]string{"0 |cancelled"}, lines(recorder)); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
}

func TestNoSecretIsRecorded(t *testing.T) {
	const secret = "s3cretWord"
	for _, scheme := range []string{"Basic ", "ApiToken d2pat_", "Bearer "} {
		t.Run(scheme, func(t *testing.T) {
			arrived := ""
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				arrived += r.Header.Get("Authorization") + " "
				http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: secret})
				w.Header().Set("Location", "http://user:"+secret+"@example.org/")
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = fmt.Fprintf(w, `{"message":"%s%s is not known","token":"%s"}`, scheme, secret, secret)
			})
			client := clientOf(t, Config{Cookies: true, Authorization: func() (string, error) { return scheme + secret, nil }})
			at, err := url.Parse(server.URL + "/api?access_token=" + secret + "&period=202610")
			if err != nil {
				t.Fatal(err)
			}
			at.User = url.UserPassword("user", secret)
			ctx, recorder := recording(t)
			got := do(client, post(ctx, t, at.String(), strings.NewReader(`{"password":"`+secret+`"}`)), times(2, time.Millisecond))
			if !strings.Contains(got.body, secret) || strings.Count(arrived, scheme+secret) != 2 {
				t.Fatalf("got %+v with %q, want that the secrets travel", got, arrived)
			}
			all := recorder.Exchanges()
			if len(all) != 2 {
				t.Fatalf("got %d exchanges, want 2", len(all))
			}
			last := all[1]
			for name, got := range map[string]string{
				"Authorization": last.SentHeader["Authorization"], "Cookie": last.SentHeader["Cookie"], "Set-Cookie": last.ReceivedHeader["Set-Cookie"],
			} {
				if got != exchange.Redacted {
					t.Errorf("%s: %q, want that it was there and is taken out", name, got)
				}
			}
			if want := server.URL + "/api?access_token=" + exchange.Redacted + "&period=202610"; last.Address != want {
				t.Errorf("address %s, want %s", last.Address, want)
			}
			if strings.Contains(stored(t, all), secret) {
				t.Errorf("a secret shows in %s", stored(t, all))
			}
		})
	}
}

func TestAnErrorIsRecordedWithoutAddressAndSecret(t *testing.T) {
	ctx, recorder := recording(t)
	client := clientOf(t, Config{Authorization: func() (string, error) { return "ApiToken d2pat_secret\nmore", nil }})
	_ = doOnce(client, getWith(ctx, t, "http://127.0.0.1:1/"))
	got := recorder.Exchanges()
	if text := stored(t, got); len(got) != 1 || strings.Contains(text, "d2pat") || !strings.Contains(got[0].Error, "Authorization") || strings.Contains(got[0].Error, "127.0.0.1") {
		t.Errorf("got %s", text)
	}
}

// stored is the text in which exchanges are stored.
func stored(t testing.TB, exchanges []exchange.Exchange) string {
	t.Helper()
	text, err := json.Marshal(exchanges)
	if err != nil || !utf8.Valid(text) {
		t.Fatalf("got %q, %v; want valid UTF-8", text, err)
	}
	return string(text)
}

func TestWhatIsSaidToBeSentIsRecordedInsteadOfPackedBytes(t *testing.T) {
	packed := zip(t, "values")
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got, _ := io.ReadAll(r.Body)
		if !bytes.Equal(got, packed) {
			t.Errorf("the server got %q, want the packed bytes", got)
		}
		w.WriteHeader(http.StatusOK)
	})
	ctx, recorder := recording(t)
	client := clientOf(t, Config{})
	for _, said := range []exchange.Body{body("values"), {}} {
		recorder.Sends(said)
		request := post(ctx, t, server.URL, bytes.NewReader(packed))
		request.Header.Set("Content-Encoding", "gzip")
		if err := doOnce(client, request); err != nil {
			t.Fatal(err)
		}
	}
	var got []exchange.Body
	for _, e := range recorder.Exchanges() {
		got = append(got, e.Sent)
	}
	if diff := cmp.Diff([]exchange.Body{body("values"), exchange.NewBody(packed, 0)}, got); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
}

func TestManyCallsShareOneRecorder(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) })
	ctx, recorder := recording(t)
	client := clientOf(t, Config{})
	var all sync.WaitGroup
	for number := range 8 {
		all.Go(func() {
			for range 5 {
				if err := stream(client, getWith(ctx, t, fmt.Sprintf("%s/%d", server.URL, number))); err != nil {
					t.Error(err)
				}
				_ = recorder.Exchanges()
			}
		})
	}
	all.Wait()
	got := recorder.Take()
	for i, e := range got {
		if at := strings.TrimPrefix(e.Address, server.URL); e.Received != body(at) || e.Error != "" {
			t.Errorf("%s: got %+v", at, e)
		}
		if i > 0 && e.Began.Before(got[i-1].Began) {
			t.Errorf("exchange %d began before the one before it", i)
		}
	}
	if len(got) != 40 {
		t.Errorf("got %d exchanges, want 40", len(got))
	}
}

func TestACallThatIsTriedForLongDoesNotGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, recorder := recording(t)
		client := clientOf(t, Config{RoundTripper: roundTripper(func(*http.Request) (*http.Response, error) { return answer(http.StatusTooManyRequests, "later"), nil })})
		_ = do(client, getWith(ctx, t, somewhere), times(5000, time.Minute))
		got := recorder.Exchanges()
		left := 0
		for _, e := range got {
			left += e.LeftOut
		}
		if len(got)-1+left != 5000 || len(got) > 110 {
			t.Errorf("got %d exchanges and %d left out", len(got), left)
		}
	})
}

// BenchmarkStream reads 50 MB from a server on the loopback, with and without a recorder.
func BenchmarkStream(b *testing.B) {
	const size = 50_000_000
	part := bytes.Repeat([]byte(`{"dataElement":"DeTest00001","value":"3"},`), 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for sent := 0; sent < size; sent += len(part) {
			_, _ = w.Write(part)
		}
	}))
	b.Cleanup(server.Close)
	client := clientOf(b, Config{})
	read := func(b *testing.B, record func(context.Context) context.Context) {
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			if err := stream(client, getWith(record(b.Context()), b, server.URL)); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("plain", func(b *testing.B) { read(b, func(ctx context.Context) context.Context { return ctx }) })
	b.Run("recorded", func(b *testing.B) {
		read(b, func(ctx context.Context) context.Context { return exchange.NewRecorder(8 << 10).Record(ctx) })
	})
}

// Documents of people are read with POST as well: each try sends the whole body again, and nothing of it is kept.
func TestAPrivateCallIsSentAgainAndNotKept(t *testing.T) {
	const user = "org.couchdb.user:asha"
	var sent []string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		sent = append(sent, string(text)+"?"+r.URL.RawQuery)
		switch len(sent) {
		case 1:
			w.Header().Set("Location", "/login?redirect="+user)
			w.WriteHeader(http.StatusInternalServerError)
		case 2:
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "no such document: "+user)
	})
	ctx, recorder := recording(t)
	request := post(exchange.Private(ctx), t, server.URL+"/medic/_all_docs?startkey="+user, strings.NewReader(user))
	response, _, err := clientOf(t, Config{}).Stream(request, times(3, time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(response.Body); err != nil || string(got) != "no such document: "+user {
		t.Errorf("got %q, %v", got, err)
	}
	_ = response.Body.Close()
	if want := user + "?startkey=" + user; !cmp.Equal(sent, []string{want, want, want}) {
		t.Errorf("sent %q, want each time %q", sent, want)
	}
	text, err := json.Marshal(recorder.Exchanges())
	if err != nil || len(recorder.Exchanges()) != 3 || strings.Contains(string(text), "asha") || strings.Contains(string(text), "SHA") || strings.Contains(string(text), "sha256") {
		t.Errorf("kept: %s, %v", text, err)
	}
}
