package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// lines is what a program says, for a test that waits for a line of it.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come about: %s", what)
		}
	}
}

// house is a service with its neighbours, all of them stand-ins.
type house struct {
	t       *testing.T
	folder  string
	country *sandbox.Country
	cht     *sandbox.CHT
	dhis2   *sandbox.DHIS2
	him     *sandbox.OpenHIM
	set     string
	period  string
	said    *lines
	stop    func()
	// ahead is by how much the service's clock is ahead.
	ahead atomic.Int64
	// api and router are OpenHIM's addresses, door is ours.
	api, router, door string
	replicas          int
}

const doorPassword = "door-Password-1"

// newHouse makes the neighbours, and a configuration with the lines given added to the data set and to the top.
func newHouse(t *testing.T, version, dataSet, top string) *house {
	t.Helper()
	now := time.Now().UTC()
	h := &house{t: t, folder: t.TempDir(), period: time.Date(now.Year(), now.Month()-1, 1, 0, 0, 0, 0, time.UTC).Format("200601")}
	h.country = sandbox.NewCountry(sandbox.CountryConfig{Seed: 11, Facilities: 8, DataSets: 1, Elements: 6, Period: h.period})
	h.set = h.country.DataSets[0]
	h.cht = sandbox.NewCHT(sandbox.CHTConfig{Documents: h.country.CHT})
	h.dhis2 = sandbox.NewDHIS2(sandbox.DHIS2Config{Version: "2.43.1", Metadata: h.country.DHIS2, Users: h.country.Users})
	h.him = sandbox.NewOpenHIM(sandbox.OpenHIMConfig{Version: version, Clients: []sandbox.OpenHIMClient{{ID: "chis", Name: "CHIS", Password: "client-Password-1", Roles: []string{"interop"}}}})
	addresses := map[string]string{}
	for name, handler := range map[string]http.Handler{"cht": h.cht, "dhis2": h.dhis2, "api": h.him, "router": h.him.Router()} {
		server, err := sandbox.Listen(handler)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		addresses[name] = server.URL
	}
	h.api, h.router = addresses["api"], addresses["router"]
	h.write("cht", h.country.CHTPassword)
	h.write("dhis2", h.country.DHIS2Token)
	h.write("config.yaml", fmt.Sprintf(`listen: 127.0.0.1:%d
cht: [{name: county, url: %q, username: %s, password_file: cht}]
dhis2: [{name: national, url: %q, token_file: dhis2}]
openhim: {api_url: %q, username: root@openhim.org, password: openhim-password, host: 127.0.0.1, heartbeat: 1s}
callers: [{name: openhim, username: openhim, password: %s}]
data_sets:
  - {id: %s, title: Monthly totals, first_period: %q, completeness: off%s}
%s`, freePort(t), addresses["cht"], h.country.CHTUsername, addresses["dhis2"], h.api, doorPassword, h.set, h.period, dataSet, top))
	return h
}

func freePort(t *testing.T) int {
	t.Helper()
	server, err := sandbox.Listen(http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var port int
	if _, err := fmt.Sscanf(server.URL, "http://127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	return port
}

func (h *house) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.folder, name), []byte(text+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

var listening = regexp.MustCompile(`msg=listening address="([^"]+)"`)

// serve starts the service, and stops it at the end of the test at the latest.
func (h *house) serve() {
	h.t.Helper()
	h.said = &lines{}
	ctx, cancel := context.WithCancel(h.t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, &app{stdout: h.said, stderr: h.said, environ: os.Environ(), now: h.now}, []string{"serve", "--config", filepath.Join(h.folder, "config.yaml")})
	}()
	stopped := false
	h.stop = func() {
		cancel()
		if stopped {
			return
		}
		stopped = true
		if code := <-ended; code != 0 {
			h.t.Errorf("the service ended with %d:\n%s", code, h.said)
		}
		for _, secret := range []string{h.country.CHTPassword, h.country.DHIS2Token, "openhim-password", doorPassword, "client-Password-1"} {
			if strings.Contains(h.said.String(), secret) {
				h.t.Errorf("the log has a secret:\n%s", h.said)
			}
		}
	}
	h.t.Cleanup(h.stop)
	eventually(h.t, "the service listens", func() bool { return listening.MatchString(h.said.String()) })
	h.door = "http://" + listening.FindStringSubmatch(h.said.String())[1]
}

func (h *house) now() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }

// run runs a command on the house's configuration, and gives its exit code and output.
func (h *house) run(args ...string) (int, string) {
	h.t.Helper()
	out := &lines{}
	code := run(h.t.Context(), &app{stdout: out, stderr: out, environ: os.Environ()}, append(args, "--config", filepath.Join(h.folder, "config.yaml")))
	return code, out.String()
}

// call makes a request, and gives the status and the decoded answer.
func (h *house) call(method, url, username, password string, body any) (int, map[string]any) {
	h.t.Helper()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			h.t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(h.t.Context(), method, url, content)
	if err != nil {
		h.t.Fatal(err)
	}
	request.SetBasicAuth(username, password)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	var answer map[string]any
	_ = json.NewDecoder(response.Body).Decode(&answer)
	return response.StatusCode, answer
}

// transaction waits until a transaction of OpenHIM is as wanted.
func (h *house) transaction(what string, wanted func(map[string]any) bool) map[string]any {
	h.t.Helper()
	var found map[string]any
	eventually(h.t, what, func() bool {
		all := h.him.Transactions()
		at := slices.IndexFunc(all, wanted)
		if at >= 0 {
			found = all[at]
		}
		return at >= 0
	})
	return found
}

func (h *house) registered() {
	h.t.Helper()
	eventually(h.t, "OpenHIM knows the mediator and its channel", func() bool { return len(h.him.Mediators()) == 1 && len(h.him.Channels()) == 1 })
}

func property(t map[string]any, name string) string {
	properties, _ := t["properties"].(map[string]any)
	text, _ := properties[name].(string)
	return text
}

func stepNames(t map[string]any) (names []string) {
	steps, _ := t["orchestrations"].([]any)
	for _, step := range steps {
		one, _ := step.(map[string]any)
		name, _ := one["name"].(string)
		names = append(names, name)
	}
	return names
}

func TestServiceIsTriggeredThroughOpenHIMAndFinishesTheTransaction(t *testing.T) {
	h := newHouse(t, "8.5.0", "", "")
	h.serve()
	h.registered()
	status, answer := h.call(http.MethodPost, h.router+"/cht-dhis2/submissions", "chis", "client-Password-1", map[string]any{"data_set": h.set, "period": "latest-closed"})
	if status != http.StatusAccepted || answer["state"] != "queued" || answer["period"] != h.period {
		t.Fatalf("the client got %d %v", status, answer)
	}
	first := h.transaction("the transaction is finished", func(t map[string]any) bool { return t["status"] == "Successful" })
	want := []string{
		"1 Ask DHIS2 national for its version", "2 Read data set " + h.set + " from DHIS2 national", "3 Ask DHIS2 national whose account this is",
		"4 Read the org units of data set " + h.set, "5 Read the settings of CHT county", "6 Fetch " + h.period + " from CHT county",
		"7 Read what DHIS2 national holds of " + h.period, "8 Transform: 48 values, 8 org units", "9 Send org units 1 to 8 of 8",
	}
	if got := stepNames(first); !slices.Equal(got, want) {
		t.Errorf("got steps %q, want %q", got, want)
	}
	for name, value := range map[string]string{
		"data_set": h.set, "period": h.period, "source": "county", "dialect": "2.43", "values_fetched": "48", "values_accepted": "48", "values_refused": "0",
		"org_units_accepted": "8", "submission": fmt.Sprint(answer["id"]),
	} {
		if got := property(first, name); got != value {
			t.Errorf("property %s is %q, want %q", name, got, value)
		}
	}
	text, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{h.country.CHTPassword, h.country.DHIS2Token, doorPassword} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("the transaction has a secret")
		}
	}

	// A person runs it again in the console: a new transaction, with the period that was resolved then.
	h.call(http.MethodPost, h.api+"/tasks", "root@openhim.org", "openhim-password", map[string]any{"tids": []any{first["_id"]}, "batchSize": 1, "paused": false})
	again := h.transaction("the re-run is finished", func(t map[string]any) bool { return t["parentID"] != nil && t["status"] == "Successful" })
	if property(again, "period") != h.period || property(again, "submission") == property(first, "submission") {
		t.Errorf("got %v", again["properties"])
	}

	// Nothing is scheduled, and a poll is harmless.
	status, answer = h.call(http.MethodGet, h.router+"/cht-dhis2/poll", "chis", "client-Password-1", nil)
	if submitted, _ := answer["submitted"].([]any); status != http.StatusOK || submitted == nil || len(submitted) > 0 {
		t.Errorf("got %d %v", status, answer)
	}
	if status, _ := h.call(http.MethodGet, h.door+"/cht-dhis2/submissions", "openhim", "wrong", nil); status != http.StatusUnauthorized {
		t.Errorf("a wrong password is answered %d", status)
	}
	if status, answer := h.call(http.MethodGet, h.door+"/readyz", "", "", nil); status != http.StatusOK || answer["ready"] != true {
		t.Errorf("got %d %v", status, answer)
	}
	status, answer = h.call(http.MethodGet, h.router+"/cht-dhis2/readiness", "chis", "client-Password-1", nil)
	findings, _ := answer["findings"].([]any)
	if status != http.StatusOK || answer["state"] != "amber" || len(findings) < 20 { // there is no schedule
		t.Errorf("got %d %v", status, answer)
	}
	if code, said := h.run("status"); code != 0 || !strings.Contains(said, "accepted") || !strings.Contains(said, "worked by process") {
		t.Errorf("status ends with %d:\n%s", code, said)
	}
}

func TestAStopBeforeTheServiceListensIsNoFault(t *testing.T) {
	h := newHouse(t, "8.5.0", "", "")
	ctx, stop := context.WithCancel(t.Context())
	stop()
	said := &lines{}
	if code := run(ctx, &app{stdout: said, stderr: said, environ: os.Environ()}, []string{"serve", "--config", filepath.Join(h.folder, "config.yaml")}); code != 0 {
		t.Errorf("the service ends with %d:\n%s", code, said)
	}
}

func TestServiceSubmitsBySchedule(t *testing.T) {
	h := newHouse(t, "8.5.0", `, schedule: "* * * * *", first_after_days: 0, reread_days: 3660`, "")
	h.serve()
	h.registered()
	sent := h.transaction("the schedule's own transaction", func(t map[string]any) bool { return property(t, "period") == h.period })
	if sent["status"] != "Successful" || property(sent, "requested_by") != "schedule" || sent["channelID"] != h.him.Channels()[0]["_id"] {
		t.Errorf("got %v %v of channel %v", sent["status"], sent["properties"], sent["channelID"])
	}
	// It can be run again like any other: what is stored as its request is one that the channel understands.
	h.call(http.MethodPost, h.api+"/tasks", "root@openhim.org", "openhim-password", map[string]any{"tids": []any{sent["_id"]}, "batchSize": 1, "paused": false})
	h.transaction("the re-run is finished", func(t map[string]any) bool { return t["parentID"] != nil && t["status"] == "Successful" })
	code, said := h.run("status", "--json")
	var found status
	if err := json.Unmarshal([]byte(said), &found); err != nil || code != 0 || len(found.Submissions) == 0 || found.Schedule.DataSets[0].Periods[0].StartedAt == nil {
		t.Errorf("%d %v: %s", code, err, said)
	}
}

func TestServiceTriggersThroughItsOwnChannelWhereItIsAClient(t *testing.T) {
	h := newHouse(t, "8.5.0", `, schedule: "* * * * *", first_after_days: 0, reread_days: 3660`, "")
	file := filepath.Join(h.folder, "config.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("heartbeat: 1s}"), fmt.Appendf(nil, "heartbeat: 1s, router_url: %q, client_id: chis, client_password: client-Password-1}", h.router), 1)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	h.serve()
	h.registered()
	// Whatever is due before the channel is there, goes without it; at the latest the next one goes through it.
	found := h.transaction("a transaction that came through the router", func(t map[string]any) bool {
		return t["status"] == "Successful" && strings.HasPrefix(property(t, "requested_by"), "OpenHIM client")
	})
	if property(found, "period") != h.period {
		t.Errorf("got %v", found["properties"])
	}
}

func TestServiceTakesItsConfigurationFromTheConsole(t *testing.T) {
	h := newHouse(t, "8.5.0", "", "")
	h.serve()
	h.registered()
	configure := func(sets ...any) {
		t.Helper()
		status, _ := h.call(http.MethodPut, h.api+"/mediators/urn%3Amediator%3Acht-dhis2/config", "root@openhim.org", "openhim-password", map[string]any{"data_sets": sets})
		if status != http.StatusOK {
			t.Fatalf("OpenHIM answered %d", status)
		}
	}
	submit := func() (int, map[string]any) {
		return h.call(http.MethodPost, h.door+"/cht-dhis2/submissions", "openhim", doorPassword, map[string]any{"data_set": h.set, "full": true})
	}
	configure(map[string]any{"id": h.set, "enabled": false})
	eventually(t, "the data set is switched off", func() bool {
		status, _ := submit()
		return status == http.StatusConflict
	})
	configure(map[string]any{"id": h.set, "schedule": "TZ=UTC"})
	eventually(t, "the fault shows in /readyz", func() bool {
		_, answer := h.call(http.MethodGet, h.door+"/readyz", "", "", nil)
		return strings.Contains(fmt.Sprint(answer), "console_refused")
	})
	if code, said := h.run("status"); code != 0 || !strings.Contains(said, "refused") || !strings.Contains(said, "switched off") || !strings.Contains(said, "[enabled]") {
		t.Errorf("status tells neither the fault nor the difference:\n%s", said)
	}
	configure(map[string]any{"id": h.set, "enabled": true, "hold": true})
	var id string
	eventually(t, "the data set is switched on again", func() bool {
		status, answer := submit()
		id = fmt.Sprint(answer["id"])
		return status == http.StatusAccepted
	})
	eventually(t, "the submission is held", func() bool {
		_, answer := h.call(http.MethodGet, h.door+"/cht-dhis2/submissions/"+id, "openhim", doorPassword, nil)
		return answer["state"] == "held"
	})
	held := h.transaction("the hold is told", func(t map[string]any) bool { return property(t, "state") == "held" })
	if held["status"] != "Completed with error(s)" {
		t.Errorf("a held submission is told as %v", held["status"])
	}
	if code, said := h.run("approve", id); code != 0 || !strings.Contains(said, "accepted") {
		t.Errorf("approve ends with %d:\n%s", code, said)
	}
}

func TestServiceOutlivesAnOpenHIMThatForgets(t *testing.T) {
	h := newHouse(t, "8.5.0", "", "")
	h.serve()
	h.registered()
	h.him.Forget()
	h.registered()
}

func TestServiceWorksWithAnOldOpenHIM(t *testing.T) {
	h := newHouse(t, "4.0.5", "", "")
	h.serve()
	h.registered()
	status, answer := h.call(http.MethodPost, h.router+"/cht-dhis2/submissions", "chis", "client-Password-1", map[string]any{"period": h.period})
	if status != http.StatusAccepted {
		t.Fatalf("the client got %d %v", status, answer)
	}
	h.transaction("the transaction is finished", func(t map[string]any) bool { return t["status"] == "Successful" })
}

func TestCommandFollowsTheServiceThatWorksTheStore(t *testing.T) {
	h := newHouse(t, "8.5.0", "", "")
	h.serve()
	code, said := h.run("submit", "--period", h.period, "--json")
	if code != 0 || !strings.Contains(said, `"state":"accepted"`) || !strings.Contains(said, "follows it") {
		t.Errorf("submit ends with %d:\n%s", code, said)
	}
	h.stop()
	code, said = h.run("submit", "--period", h.period, "--json")
	if code != 0 || strings.Contains(said, "follows it") {
		t.Errorf("submit ends with %d:\n%s", code, said)
	}
}

func TestCommandReportsToOpenHIMToo(t *testing.T) {
	h := newHouse(t, "8.5.0", "", "")
	if code, said := h.run("submit", "--period", h.period); code != 0 {
		t.Fatalf("submit ends with %d:\n%s", code, said)
	}
	h.transaction("the command's own transaction", func(t map[string]any) bool {
		return property(t, "period") == h.period && t["status"] == "Successful" && property(t, "requested_by") == "command line"
	})
}
