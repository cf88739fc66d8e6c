package notice_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/notice"
)

// caller calls as transport.Client does: no redirects, and tries while again says so.
type caller struct{ client *http.Client }

func (c caller) Do(request *http.Request, again func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	for try := 1; ; try++ {
		var body []byte
		response, err := c.client.Do(request)
		if err == nil {
			body, err = io.ReadAll(response.Body)
			response.Body.Close()
		}
		if _, more := again(try, response, body, err); !more {
			return response, body, err
		}
		request.Body, _ = request.GetBody()
	}
}

const secretPath = "/services/T024BE7LD/xoxb-2fWqP9?key=kL8mN3pQ"

// receiver gives a webhook to a handler, and the secret pieces of its address.
func receiver(t testing.TB, handler http.HandlerFunc) (hook notice.Webhook, secrets []string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	hook = notice.Webhook{Address: secret(server.URL + secretPath + "\n"), Client: caller{client}}
	return hook, []string{strings.TrimPrefix(server.URL, "http://"), "127.0.0.1", "T024BE7LD", "xoxb-2fWqP9", "kL8mN3pQ"}
}

// showsNone holds that an error shows no piece of the address.
func showsNone(t testing.TB, err error, secrets []string) {
	t.Helper()
	text := err.Error() + " " + errorOf(t, err).Hint()
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%q shows %q", text, secret)
		}
	}
}

func TestAWebhookGetsTheNoticeForPeopleAndPrograms(t *testing.T) {
	t.Parallel()
	type request struct{ method, path, contentType, body string }
	var got []request
	var keys []string
	hook, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, request{r.Method, r.URL.String(), r.Header.Get("Content-Type"), string(body)})
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		w.WriteHeader(http.StatusNoContent)
	})
	for range 2 {
		if err := hook.Send(t.Context(), refused()); err != nil {
			t.Fatal(err)
		}
	}
	body := `{"id":"01JD","installation":"Kisumu","level":"problem","cause":"refused/DsMchMonth1/202610",` +
		`"subject":"MCH monthly 202610 was refused",` +
		`"detail":"DHIS2 took nothing: the period is locked.\nAsk for a lock exception, then run mediator retry.",` +
		`"text":"[Kisumu] MCH monthly 202610 was refused\n\nDHIS2 took nothing: the period is locked.\nAsk for a lock exception, then run mediator retry.\n\nData set: DsMchMonth1\nPeriod: 202610\nAt: 2026-11-22 09:00 UTC\n",` +
		`"at":"2026-11-22T09:00:00Z","facts":{"Data set":"DsMchMonth1","Period":"202610"}}` + "\n"
	want := request{http.MethodPost, secretPath, "application/json", body}
	if diff := cmp.Diff([]request{want, want}, got, cmp.AllowUnexported(request{})); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if len(keys) != 2 || keys[0] == "" || keys[0] != keys[1] {
		t.Errorf("the keys of the first and the repeat are %q", keys)
	}
}

func TestANoticeOfOddWordsIsStillOneJSONObject(t *testing.T) {
	t.Parallel()
	var body map[string]any
	hook, _ := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Errorf("read the notice: %v", err)
		}
	})
	n := notice.Notice{ID: "a\r\nX-Evil: 1", Subject: "a\nb", Text: "\"\\\xff", Facts: []notice.Fact{{Name: "\"x\"", Value: "<b>\n\xff"}}}
	if err := hook.Send(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{`"x"`: "<b>\n\uFFFD"}, body["facts"]); diff != "" || body["subject"] != "a b" {
		t.Errorf("got %v", body)
	}
	if err := hook.Send(t.Context(), notice.Notice{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{}, body["facts"]); diff != "" {
		t.Errorf("facts where there are none: %v", body["facts"])
	}
}

func TestTheStatusSaysWhetherANoticeIsDeliveredAndWhetherToTryAgain(t *testing.T) {
	t.Parallel()
	for status := 200; status < 600; status++ {
		calls := 0
		hook, secrets := receiver(t, func(w http.ResponseWriter, r *http.Request) {
			calls++
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "cannot POST http://"+r.Host+r.URL.String()+"\npassword=hunter2")
		})
		err := hook.Send(t.Context(), refused())
		if calls != 1 {
			t.Errorf("%d: called %d times", status, calls)
		}
		if status < 300 {
			if err != nil {
				t.Errorf("%d: got %v", status, err)
			}
			continue
		}
		e := errorOf(t, err)
		if want := status >= 500 || status == 408 || status == 429; e.Temporary != want {
			t.Errorf("%d: temporary %v", status, e.Temporary)
		}
		showsNone(t, err, append(secrets, "hunter2"))
		if status != http.StatusNotModified && !strings.Contains(e.What, "cannot POST") {
			t.Errorf("%d: the answer is not quoted: %s", status, e.What)
		}
	}
}

func TestAPageOrALongAnswerIsNotQuotedWhole(t *testing.T) {
	t.Parallel()
	for contentType, limit := range map[string]int{"text/html; charset=utf-8": 0, "": 0, "application/json": 300} {
		hook, _ := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{contentType}
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, strings.Repeat("ä", 10_000))
		})
		e := errorOf(t, hook.Send(t.Context(), refused()))
		if got := strings.Count(e.What, "ä"); got != limit {
			t.Errorf("%q: %d characters are quoted, want %d", contentType, got, limit)
		}
	}
}

func TestAWebhookThatCannotBeReachedIsWorthAnotherTryAndDoesNotShowItsAddress(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	hook := notice.Webhook{Address: secret(gone.URL + secretPath), Client: caller{&http.Client{}}}
	err := hook.Send(t.Context(), refused())
	if e := errorOf(t, err); !e.Temporary || !strings.Contains(e.What, "connection refused") {
		t.Errorf("got %+v", e)
	}
	showsNone(t, err, []string{strings.TrimPrefix(gone.URL, "http://"), "127.0.0.1", "T024BE7LD", "xoxb-2fWqP9", "kL8mN3pQ"})

	hook, secrets := receiver(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	err = hook.Send(t.Context(), refused())
	if e := errorOf(t, err); !e.Temporary || !strings.Contains(e.What, "broke off") {
		t.Errorf("got %+v", e)
	}
	showsNone(t, err, secrets)
}

// told is an error as a transport gives it.
type told struct {
	what      string
	permanent bool
}

func (e told) Error() string   { return e.what }
func (e told) Hint() string    { return "do this" }
func (e told) Permanent() bool { return e.permanent }

type failing struct{ err error }

func (f failing) Do(*http.Request, func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	return nil, nil, f.err
}

func TestATransportKnowsWhetherTryingAgainIsInVain(t *testing.T) {
	t.Parallel()
	for _, permanent := range []bool{true, false} {
		hook := notice.Webhook{Address: secret("https://u:pw@hooks.example.org/T024BE7LD"), Client: failing{told{"no way to hooks.example.org", permanent}}}
		err := hook.Send(t.Context(), refused())
		if e := errorOf(t, err); e.Temporary == permanent || e.What != "no way to <redacted>" || e.Hint() != "do this" {
			t.Errorf("got %+v", e)
		}
	}
}

func TestAnAddressThatIsNoneIsToldWithoutIt(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "hooks.example.org/T024BE7LD", "ftp://hooks.example.org/T024BE7LD", "https://", "https://hooks.example.org/T024BE7LD\x7f", "https://hooks.example.org/%zzT024BE7LD"} {
		err := notice.Webhook{Address: secret(address), Client: failing{}}.Send(t.Context(), refused())
		if e := errorOf(t, err); e.Temporary || !strings.Contains(e.What, "address") {
			t.Errorf("%q: got %+v", address, e)
		}
		showsNone(t, err, []string{"T024BE7LD", "hooks"})
	}
	unread := notice.Webhook{Address: func() (string, error) { return "", os.ErrNotExist }, Client: failing{}}
	if e := errorOf(t, unread.Send(t.Context(), refused())); e.Temporary || !strings.Contains(e.What, "read the address") {
		t.Errorf("got %+v", e)
	}
}

func TestAWebhookThatNeverAnswersIsWaitedForNoLongerThanTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hook, _ := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	err := hook.Send(ctx, refused())
	var e *notice.Error
	if !errors.Is(err, context.Canceled) || errors.As(err, &e) || strings.Contains(err.Error(), "T024BE7LD") {
		t.Errorf("got %v", err)
	}

	hook, secrets := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	late, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	err = hook.Send(late, refused())
	if e := errorOf(t, err); !e.Temporary || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %+v", e)
	}
	showsNone(t, err, secrets)
}
