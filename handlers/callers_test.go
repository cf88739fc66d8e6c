package handlers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

// inside are paths for those who may come in.
var inside = []string{submissionsPath, submissionsPath + "/x", submissionsPath + "/x/org-units", submissionsPath + "/x/quarantine", Base + "/poll", Base + "/preview", Base + "/data-value-sets", Base + "/schedule", "/metrics"}

// outside are paths for everybody.
var outside = []string{"/", Base, Base + "/", "/healthz", "/readyz"}

func withMetrics(c *Config) {
	c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write([]byte("up 1\n"))
	})
}

func basic(username, password string) option {
	return func(r *http.Request) { r.SetBasicAuth(username, password) }
}

func TestOnlyCallersComeIn(t *testing.T) {
	b := newBench(t, 0, withMetrics)
	tests := []struct {
		name       string
		credential option
		in         bool
	}{
		{"the right password", basic(username, password), true},
		{"the right token", header("Authorization", "Bearer "+token), true},
		{"the right token, said otherwise", header("Authorization", "token "+token), true},
		{"no credential", noCredential, false},
		{"the wrong password", basic(username, password+"x"), false},
		{"an empty password", basic(username, ""), false},
		{"the wrong user name", basic("Openhim", password), false},
		{"no user name", basic("", password), false},
		{"a password as a token", header("Authorization", "Bearer "+password), false},
		{"a token as a password", basic("app", token), false},
		{"an empty token", header("Authorization", "Bearer "), false},
		{"no Base64", header("Authorization", "Basic ?"), false},
		{"another scheme", header("Authorization", "Digest "+token), false},
		{"a token alone", header("Authorization", token), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, path := range inside {
				a := b.call(t, http.MethodGet, path, "", test.credential)
				if (a.status != http.StatusUnauthorized) != test.in {
					t.Errorf("%s: %d", path, a.status)
				}
				if ways := strings.Join(a.header.Values("WWW-Authenticate"), " "); !test.in && (!strings.Contains(ways, "Basic") || !strings.Contains(ways, "Bearer")) {
					t.Errorf("%s: the ways to come in are %q", path, ways)
				}
			}
			for _, path := range outside {
				if a := b.call(t, http.MethodGet, path, "", test.credential); a.status != http.StatusOK {
					t.Errorf("%s: %d", path, a.status)
				}
			}
			a := b.call(t, http.MethodPost, submissionsPath, "{", test.credential)
			if want := map[bool]int{true: 400, false: 401}[test.in]; a.status != want {
				t.Errorf("POST: %d, want %d", a.status, want)
			}
		})
	}
}

func TestASecretMayChangeWhileItIsUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (string, error) {
		text, err := os.ReadFile(file)
		return string(text), err
	}
	write("old")
	b := newBench(t, 0, func(c *Config) {
		c.Callers = []Caller{{Name: "router", Username: username, Password: read}, {Name: "router", Username: username, Password: always("next")}}
	})
	try := func(secret string) int {
		return b.call(t, http.MethodGet, submissionsPath, "", basic(username, secret)).status
	}
	if try("old") != 200 || try("next") != 200 || try("new") != 401 {
		t.Error("before the change: the old one and the next one should do")
	}
	write("new")
	if try("old") != 401 || try("next") != 200 || try("new") != 200 {
		t.Error("after the change: the new one and the next one should do")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if try("") != 401 || try("new") != 401 || try("next") != 200 {
		t.Error("without the file: it should let nobody in, and leave the others")
	}
	if n := strings.Count(b.log.String(), "the secret of a caller cannot be read"); n != 1 {
		t.Errorf("the log tells %d times of the missing file, want 1", n)
	}
}

func TestADoorWithoutCallersIsClosed(t *testing.T) {
	b := newBench(t, 0, func(c *Config) {
		withMetrics(c)
		c.Callers = nil
	})
	for _, path := range inside {
		if a := b.call(t, http.MethodGet, path, ""); a.status != http.StatusForbidden || a.failure(t).Code != "closed" {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	for _, path := range outside {
		if a := b.call(t, http.MethodGet, path, "", noCredential); a.status != http.StatusOK {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

func TestAnOpenDoorLetsEverybodyIn(t *testing.T) {
	b := newBench(t, 0, func(c *Config) {
		withMetrics(c)
		c.Open = true
	})
	for credential, want := range map[string]string{"": nobodyKnown, "Bearer wrong": nobodyKnown, "Bearer " + token: "app"} {
		var s summary
		b.call(t, http.MethodPost, submissionsPath, fmt.Sprintf(`{"data_set": %q, "period": "202609", "dry_run": true}`, b.sets[0]), header("Authorization", credential)).into(t, &s)
		if s.RequestedBy != want {
			t.Errorf("%q is told as %q, want %q", credential, s.RequestedBy, want)
		}
	}
	if a := b.call(t, http.MethodGet, "/metrics", "", noCredential); a.status != 200 {
		t.Errorf("metrics: %d", a.status)
	}
}

func TestMetricsMayHaveACallerOfTheirOwn(t *testing.T) {
	b := newBench(t, 0, func(c *Config) {
		withMetrics(c)
		c.Open = true
		c.MetricsCaller = &Caller{Name: "prometheus", Token: always("scrape")}
	})
	for credential, want := range map[string]int{"": 401, "Bearer " + token: 401, "Bearer scrape": 200} {
		if a := b.call(t, http.MethodGet, "/metrics", "", header("Authorization", credential)); a.status != want {
			t.Errorf("%q: %d, want %d", credential, a.status, want)
		}
	}
	none := newBench(t, 0, nil)
	if a := none.call(t, http.MethodGet, "/metrics", ""); a.status != http.StatusNotFound {
		t.Errorf("without metrics: %d", a.status)
	}
}

func TestADoorThatLacksSomethingIsNotMade(t *testing.T) {
	b := newBench(t, 0, nil)
	for name, spoil := range map[string]func(*Config){
		"no submitter":         func(c *Config) { c.Submitter = nil },
		"no store":             func(c *Config) { c.Submitter = &orchestration.Submitter{} },
		"no poll":              func(c *Config) { c.Poll = nil },
		"no schedule":          func(c *Config) { c.Schedule = nil },
		"no readiness":         func(c *Config) { c.Ready = nil },
		"a caller of nothing":  func(c *Config) { c.Callers = []Caller{{Name: "x", Username: "x"}} },
		"a caller of no name":  func(c *Config) { c.Callers = []Caller{{Name: "x", Password: always("x")}} },
		"metrics for nobody":   func(c *Config) { c.MetricsCaller = &Caller{Name: "x"} },
		"metrics without name": func(c *Config) { c.MetricsCaller = &Caller{Name: "x", Password: always("x")} },
	} {
		config := b.Config
		spoil(&config)
		if _, err := New(config); err == nil {
			t.Errorf("%s: a door is made", name)
		}
	}
}

func TestTheLogHoldsNothingThatACallerWrote(t *testing.T) {
	b := newBench(t, 0, func(c *Config) {
		c.Poll = func(context.Context, string) ([]ledger.Submission, error) {
			return nil, errors.New("something unforeseen")
		}
	})
	b.call(t, http.MethodPost, submissionsPath, `{"period": "Wanjiku"}`)
	b.call(t, http.MethodGet, submissionsPath+"?cht=Wanjiku&Wanjiku=1", "")
	b.call(t, http.MethodGet, "/Wanjiku", "")
	b.call(t, http.MethodGet, submissionsPath+"/Wanjiku", "", header("Authorization", "Bearer "+token))
	b.call(t, http.MethodGet, submissionsPath, "", basic("Wanjiku", "Wanjiku"))
	if a := b.call(t, http.MethodGet, Base+"/poll", ""); a.status != 500 || strings.Contains(string(a.body), "unforeseen") {
		t.Errorf("%d %s", a.status, a.body)
	}
	log := b.log.String()
	for _, secret := range []string{"Wanjiku", token, password} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %q:\n%s", secret, log)
		}
	}
	for _, line := range []string{"request answered", `route="/cht-dhis2/submissions/:id"`, "status=404", "caller=app", "something unforeseen"} {
		if !strings.Contains(log, line) {
			t.Errorf("the log does not hold %q:\n%s", line, log)
		}
	}
}
