package openhim_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

func TestAboutTellsTheVersion(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"8.5.0", "4.0.5"} {
		client, _, _ := known(t, sandbox.OpenHIMConfig{Version: version}, root())
		about, err := client.About(t.Context())
		if err != nil || about.Version != version {
			t.Errorf("%s: got %+v and %v", version, about, err)
		}
	}
}

func TestACallIsMadeWithBasicWhereThatWorksAndWithATokenWhereNot(t *testing.T) {
	t.Parallel()
	for version, scheme := range map[string]string{"8.5.0": "Authorization", "4.0.5": "Auth-Token"} {
		client, _, network := known(t, sandbox.OpenHIMConfig{Version: version}, root())
		if _, err := client.About(t.Context()); err != nil {
			t.Fatal(err)
		}
		network.made()
		var headers http.Header
		network.seen = func(r *http.Request) { headers = r.Header.Clone() }
		if _, err := client.About(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := network.made(); got != "GET /about" {
			t.Errorf("%s: the second call made\n%s", version, got)
		}
		for _, name := range []string{"Authorization", "Auth-Token"} {
			if got, want := headers.Get(name) != "", name == scheme; got != want {
				t.Errorf("%s: %s sent: %v", version, name, got)
			}
		}
	}
}

func TestACoreThatIsReplacedByANewerOneIsLoggedIntoAgain(t *testing.T) {
	t.Parallel()
	client, _, network := known(t, sandbox.OpenHIMConfig{Version: "4.0.5"}, root())
	if _, err := client.About(t.Context()); err != nil {
		t.Fatal(err)
	}
	network.handler = sandbox.NewOpenHIM(sandbox.OpenHIMConfig{Users: []sandbox.OpenHIMUser{{Email: rootUser, Password: rootPassword, Groups: []string{"admin"}}}})
	if _, err := client.About(t.Context()); err == nil {
		t.Error("the token was accepted by a core that has none for the account")
	}
	if _, err := client.About(t.Context()); err != nil {
		t.Errorf("the call after that: %v", err)
	}
}

func TestAClockThatIsOffIsNamed(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		off  time.Duration
		want string
	}{
		{9 * time.Second, ""},
		{-9 * time.Second, ""},
		{time.Minute, "the clock here is 1m0s ahead of OpenHIM's"},
		{-2 * time.Hour, "the clock here is 2h0m0s behind OpenHIM's"},
	} {
		account := root()
		account.Now = func() time.Time { return now.Add(test.off) }
		client, _, _ := known(t, sandbox.OpenHIMConfig{Version: "4.0.5", Now: func() time.Time { return now }}, account)
		_, err := client.About(t.Context())
		if test.want == "" {
			if err != nil {
				t.Errorf("%s off: %v", test.off, err)
			}
			continue
		}
		e := errorOf(t, err)
		if e.Kind != openhim.Credentials || !strings.Contains(e.What, test.want) || !strings.Contains(e.Remedy, "NTP") {
			t.Errorf("%s off: %q and %q, want %q", test.off, e.What, e.Remedy, test.want)
		}
	}
}

func TestRefusedCredentialsAreTold(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, version, user, password string }{
		{"wrong password", "8.5.0", rootUser, "wrong"},
		{"unknown user", "8.5.0", "nobody@x.org", rootPassword},
		{"upper case", "8.5.0", "ROOT@openhim.org", rootPassword},
		{"wrong password for a token", "4.0.5", rootUser, "wrong"},
		{"unknown user for a token", "4.0.5", "nobody@x.org", rootPassword},
		{"nobody", "8.5.0", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client, _, _ := known(t, sandbox.OpenHIMConfig{Version: test.version}, openhim.Account{Username: test.user, Password: password(test.password)})
			_, err := client.About(t.Context())
			e := errorOf(t, err)
			if e.Kind != openhim.Credentials || e.Temporary || !strings.Contains(e.Remedy, "username and password") || strings.Contains(e.What, "clock") {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestAPasswordThatCannotBeReadIsTold(t *testing.T) {
	t.Parallel()
	client, _, network := known(t, sandbox.OpenHIMConfig{}, openhim.Account{Username: rootUser, Password: func() (string, error) { return "", errors.New("no such file") }})
	_, err := client.About(t.Context())
	if e := errorOf(t, err); e.Kind != openhim.Credentials || !strings.Contains(e.Error(), "ask OpenHIM for its version: read the password: no such file") {
		t.Errorf("got %v", e)
	}
	if got := network.made(); got != "" {
		t.Errorf("calls were made:\n%s", got)
	}
}

func TestAPermissionThatLacksIsNamed(t *testing.T) {
	t.Parallel()
	client, _, _ := known(t, sandbox.OpenHIMConfig{Users: []sandbox.OpenHIMUser{{Email: "op@x.org", Password: "p", Groups: []string{"operator"}}}},
		openhim.Account{Username: "op@x.org", Password: password("p")})
	e := errorOf(t, client.Register(t.Context(), ours(t)))
	if e.Kind != openhim.Credentials || e.Status != 403 || !strings.Contains(e.What, `"mediator-manage-all"`) || !strings.Contains(e.Remedy, "channel-manage-all") {
		t.Errorf("got %+v", e)
	}
}

// A core answers 200 and "User Authenticated Successfully" to every path that it does not have (contract, section 3).
func TestAServerThatIsNotOpenHIMsAPIIsRecognised(t *testing.T) {
	t.Parallel()
	server := sandbox.NewOpenHIM(sandbox.OpenHIMConfig{})
	below := openhim.New(address(t, "http://openhim:8080/api"), &inMemory{handler: server}, root())
	for name, client := range map[string]*openhim.Client{
		"wrong path of a core":    below,
		"page":                    answering(t, 200, "text/html", "<html>Sign in</html>"),
		"other JSON":              answering(t, 200, "application/json", `{"version":"2.43"}`),
		"JSON that is broken":     answering(t, 200, "application/json", `{"currentCoreVersion":`),
		"version in a text":       answering(t, 200, "text/plain", `{"currentCoreVersion":"8.5.0"}`),
		"redirect":                answering(t, 302, "text/html", ""),
		"not found":               answering(t, 404, "text/html", "<html>404</html>"),
		"success of another sort": answering(t, 204, "", ""),
	} {
		for what, err := range map[string]error{
			"register": client.Register(t.Context(), ours(t)),
			"update":   client.Update(t.Context(), openhim.Transaction{ID: openhim.NewID(time.Now()), Status: openhim.Successful}),
		} {
			e := errorOf(t, err)
			if e.Kind != openhim.Unusable || e.Temporary || !strings.Contains(e.Remedy, "api_url") {
				t.Errorf("%s, %s: got %+v", name, what, e)
			}
		}
	}
}

func TestTheStatusDecidesAndNotTheBody(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status    int
		kind      openhim.Kind
		temporary bool
	}{
		{400, openhim.Refused, false},
		{401, openhim.Credentials, false},
		{403, openhim.Credentials, false},
		{413, openhim.TooLarge, false},
		{418, openhim.Refused, false},
		{429, openhim.Unavailable, true},
		{500, openhim.Refused, true},
		{501, openhim.Unavailable, true},
		{502, openhim.Unavailable, true},
		{503, openhim.Unavailable, true},
		{504, openhim.Unavailable, true},
		{200, openhim.Unusable, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, server, network := known(t, sandbox.OpenHIMConfig{}, root())
			if _, err := client.About(t.Context()); err != nil {
				t.Fatal(err)
			}
			network.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/authenticate/") {
					server.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Type", "text/plain; charset=utf-8")
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte("User Authenticated Successfully"))
			})
			e := errorOf(t, client.Register(t.Context(), ours(t)))
			if e.Kind != test.kind || e.Temporary != test.temporary || e.Status != test.status {
				t.Errorf("%d: got %+v", test.status, e)
			}
			if strings.Contains(e.What, "Authenticated") || e.Remedy == "" {
				t.Errorf("%d: %q, remedy %q", test.status, e.What, e.Remedy)
			}
		})
	}
}

func TestAServerThatIsAwayIsTriedAFewTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, _, network := known(t, sandbox.OpenHIMConfig{}, root())
		network.set(true)
		start := time.Now()
		_, err := client.About(t.Context())
		if e := errorOf(t, err); e.Kind != openhim.Unavailable || !e.Temporary || e.Status != 0 {
			t.Errorf("got %+v", e)
		}
		if got, want := strings.Count(network.made(), "GET /about"), 3; got != want {
			t.Errorf("%d tries, want %d", got, want)
		}
		if got, want := time.Since(start), 3*time.Second; got != want {
			t.Errorf("took %v, want %v", got, want)
		}
	})
}

func TestACallThatIsCancelledSaysSo(t *testing.T) {
	t.Parallel()
	client, _, _ := known(t, sandbox.OpenHIMConfig{}, root())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.About(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestBodiesTravelAsJSON(t *testing.T) {
	t.Parallel()
	client, _, network := known(t, sandbox.OpenHIMConfig{}, root())
	network.seen = func(r *http.Request) {
		if got := r.Header.Get("Content-Type"); r.Method == http.MethodPost && got != "application/json" {
			t.Errorf("%s %s: content type %q", r.Method, r.URL, got)
		}
	}
	if err := client.Register(t.Context(), ours(t)); err != nil {
		t.Error(err)
	}
}
