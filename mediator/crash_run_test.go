//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// phase is a part of a run that is to be interrupted. Each has a data set of its own.
type phase int

const (
	// byCommand: the command submit.
	byCommand phase = iota
	// bySchedule: a service that submits by itself.
	bySchedule
	// byTrigger: a service that is asked through OpenHIM.
	byTrigger
	phases
)

func (p phase) String() string { return [...]string{"command", "schedule", "trigger"}[p] }

// story says where the processes of a run are killed: in each phase the first one at the first point, the next one at the
// second point, until there are no more.
type story [phases][]kill

func (s story) String() string {
	var parts []string
	for p, kills := range s {
		parts = append(parts, fmt.Sprintf("%s %v", phase(p), kills))
	}
	return strings.Join(parts, ", ")
}

// ground is what all runs have in common.
type ground struct {
	binary string
	store  crashStore
	ports  *steadyPorts
	// places has one for each run that goes on at a time.
	places chan struct{}
}

// crashing is a run: three submissions by processes that are killed and started again until all is done.
type crashing struct {
	*house
	story
	ground
	look

	starts, kills int
	// unmet are the points that no process came to.
	unmet   []string
	refused int // triggers that did not arrive
	// settled are the digests of what was acknowledged before a kill, and how many requests had come to DHIS2 by then.
	settled map[string]int
	// registered are the org units that were registered before a kill, and how many requests had come to DHIS2 for that by then.
	registered map[string]int
	counts     [phases]map[string]int
	took       [phases]time.Duration

	mu      sync.Mutex
	process *process
	armed   kill
	asked   map[string]int
	posted  []string
	// registering are the org units of each request that registers them as complete.
	registering [][]string
}

// newCrashing makes the neighbours, always the same ones, with an empty store.
func newCrashing(t *testing.T, on ground, s story) *crashing {
	t.Helper()
	now := time.Now().UTC()
	period := time.Date(now.Year(), now.Month()-1, 1, 0, 0, 0, 0, time.UTC).Format("200601")
	c := &crashing{house: &house{t: t, folder: t.TempDir(), period: period}, story: s, ground: on, settled: map[string]int{}, registered: map[string]int{}, asked: map[string]int{}}
	c.country = sandbox.NewCountry(sandbox.CountryConfig{Seed: 11, Facilities: 8, DataSets: int(phases), Elements: 6, Period: period})
	var setting string
	setting, c.look = on.store.make(t, c.folder)
	c.limitOne()
	c.cht = sandbox.NewCHT(sandbox.CHTConfig{Documents: c.country.CHT})
	c.dhis2 = sandbox.NewDHIS2(sandbox.DHIS2Config{Version: "2.43.1", Metadata: c.country.DHIS2, Users: c.country.Users})
	c.him = sandbox.NewOpenHIM(sandbox.OpenHIMConfig{Version: "8.5.0", Clients: []sandbox.OpenHIMClient{{ID: "chis", Name: "CHIS", Password: "client-Password-1", Roles: []string{"interop"}}}})
	addresses := map[string]string{}
	for name, handler := range map[string]http.Handler{"cht": c.cht, "dhis2": c.dhis2, "api": c.him, "router": c.him.Router()} {
		server, err := sandbox.Listen(c.at(name, handler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		addresses[name] = server.URL
	}
	c.api, c.router = addresses["api"], addresses["router"]
	c.write("cht", c.country.CHTPassword)
	c.write("dhis2", c.country.DHIS2Token)
	c.write("config.yaml", fmt.Sprintf(`listen: 127.0.0.1:%d
cht: [{name: county, url: %q, username: %s, password_file: cht}]
dhis2: [{name: national, url: %q, token_file: dhis2}]
openhim: {api_url: %q, username: root@openhim.org, password: openhim-password, host: 127.0.0.1, heartbeat: 10s}
callers: [{name: openhim, username: openhim, password: %s}]
data_sets:
  - {id: %s, title: By command, first_period: %q, completeness: when_accepted, chunk_values: 12}
  - {id: %s, title: By schedule, first_period: %q, completeness: when_accepted, chunk_values: 12, schedule: "0 0 * * *", first_after_days: 0, reread_days: 1}
  - {id: %s, title: By trigger, first_period: %q, completeness: when_accepted, chunk_values: 12}
%s`, on.ports.next(t), addresses["cht"], c.country.CHTUsername, addresses["dhis2"], c.api, doorPassword, c.setOf(byCommand), period, c.setOf(bySchedule), period,
		c.setOf(byTrigger), period, setting))
	return c
}

// steadyPorts gives ports that stay free between the end of a process and the start of the next one: none that the system
// gives to connections, and each to one run.
type steadyPorts struct{ last atomic.Int64 }

func newSteadyPorts() *steadyPorts {
	p := &steadyPorts{}
	p.last.Store(10_000 + rand.Int64N(15_000))
	return p
}

func (p *steadyPorts) next(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := int(p.last.Add(1))
		if listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// limitOne lets DHIS2 take percentages only for a data element of the command's data set that has one value beyond, so that one
// cell is refused.
func (c *crashing) limitOne() {
	c.t.Helper()
	beyond := map[string]int{}
	for _, v := range c.country.Right[c.setOf(byCommand)] {
		if len(v.Value) > 2 && v.Value != "100" {
			beyond[v.DataElement]++
		}
	}
	for i, element := range c.country.DHIS2.DataElements {
		if beyond[element.ID] == 1 {
			c.country.DHIS2.DataElements[i].ValueType = "PERCENTAGE"
			return
		}
	}
	c.t.Fatalf("no data element has one value beyond 100: %v", beyond)
}

func (c *crashing) setOf(p phase) string { return c.country.DataSets[p] }

// mostStarts is how many processes a run may take.
const mostStarts = 30

// run lets everything happen, whatever is killed, and looks after each kill whether something was sent that must not be.
func (c *crashing) run() {
	c.t.Helper()
	c.submitByCommand()
	c.serveUntil(bySchedule)
	c.serveUntil(byTrigger)
}

// begins starts a process that is to be killed at the next point of the phase.
func (c *crashing) begins(p phase, args ...string) *process {
	c.t.Helper()
	if c.starts++; c.starts > mostStarts {
		c.t.Fatalf("after %d starts it is not done", mostStarts)
	}
	var at kill
	if len(c.story[p]) > 0 {
		at, c.story[p] = c.story[p][0], c.story[p][1:]
	}
	command := exec.Command(c.binary, append(args, "--config", filepath.Join(c.folder, "config.yaml"))...)
	command.Env = []string{"MEDIATOR_CRASH_LOG=" + c.transactionLog(p)}
	if at.atCommit() {
		command.Env = append(command.Env, "MEDIATOR_CRASH="+at.String())
	}
	started := c.begin(command)
	c.arm(started, at)
	return started
}

func (c *crashing) transactionLog(p phase) string {
	return filepath.Join(c.folder, p.String()+".transactions")
}

// transactions are those of the phase, one a line.
func (c *crashing) transactions(p phase) []string {
	text, _ := os.ReadFile(c.transactionLog(p))
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// ended waits for the end of a process, and gives its exit code; -1 is a kill. What was acknowledged by then is noted.
func (c *crashing) ended(p *process) int {
	c.t.Helper()
	code := p.exit()
	c.mu.Lock()
	posted, registering := len(c.posted), len(c.registering)
	c.mu.Unlock()
	if code != -1 && c.armed.at != "" && c.armed.at != "after" {
		c.unmet = append(c.unmet, c.armed.String())
	}
	if code == -1 {
		c.kills++
		now := c.remembers(true)
		for digest := range now.settled {
			if _, known := c.settled[digest]; !known {
				c.settled[digest] = posted
			}
		}
		for name := range now.registered {
			if _, known := c.registered[name]; !known {
				c.registered[name] = registering
			}
		}
	}
	return code
}

// submitByCommand types the command until its submission has ended, as a person would who sees it killed.
func (c *crashing) submitByCommand() {
	c.t.Helper()
	defer c.timed(byCommand)()
	for {
		p := c.begins(byCommand, "submit", "--data-set", c.setOf(byCommand), "--period", c.period)
		if code := c.ended(p); code != -1 {
			if code != 3 { // a cell is refused
				c.t.Fatalf("the command ends with %d:\n%s", code, p.said)
			}
			return
		}
		if r := c.remembers(true); len(r.submissions) > 0 && r.unfinished == 0 {
			return // it has ended, as status says, and whoever starts next tells it
		}
	}
}

// timed takes the time of a phase, and keeps what was asked of the stand-ins in it.
func (c *crashing) timed(p phase) func() {
	began := time.Now()
	return func() {
		c.took[p] = time.Since(began)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.counts[p] = c.asked
	}
}

// serveUntil starts the service, again and again, until the phase's submission is told and nothing is left to do.
func (c *crashing) serveUntil(until phase) {
	c.t.Helper()
	defer c.timed(until)()
	for triggered := until != byTrigger; ; {
		p := c.begins(until, "serve")
		if c.serves(p, until, &triggered) {
			_ = p.Process.Signal(syscall.SIGTERM) // it may have been killed by now
			if code := c.ended(p); code != 0 && code != -1 {
				c.t.Fatalf("the service ends with %d:\n%s", code, p.said)
			}
			return
		}
		if code := c.ended(p); code != -1 {
			c.t.Fatalf("the service ends with %d:\n%s", code, p.said)
		}
		triggered = triggered || len(c.remembers(true).submissions[c.setOf(until)]) > 0
	}
}

// serves follows a service, and says whether it has done all; if not, it has ended.
func (c *crashing) serves(p *process, until phase, triggered *bool) bool {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		select {
		case <-p.ended:
			return false
		case <-time.After(20 * time.Millisecond):
		}
		if !*triggered && strings.Contains(p.said.String(), "msg=listening") && len(c.him.Channels()) > 0 {
			*triggered = c.trigger()
		}
		if *triggered && c.isTold(until) && c.remembers(false).idle() {
			return true
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("it is not done after a minute: %+v\n%s", c.remembers(false), p.said)
		}
	}
}

// trigger asks for a submission through OpenHIM. Who gets no answer looks whether it was taken before asking again.
func (c *crashing) trigger() bool {
	c.t.Helper()
	body, _ := json.Marshal(map[string]string{"data_set": c.setOf(byTrigger), "period": c.period})
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.router+"/cht-dhis2/submissions", bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	request.SetBasicAuth("chis", "client-Password-1")
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		defer response.Body.Close()
		if response.StatusCode == http.StatusAccepted {
			return true
		}
	}
	if len(c.remembers(false).submissions[c.setOf(byTrigger)]) > 0 {
		return true
	}
	c.refused++
	return false
}

// isTold says whether OpenHIM knows how the submissions of all phases up to this one ended.
func (c *crashing) isTold(until phase) bool {
	told := map[string]bool{}
	for _, t := range c.him.Transactions() {
		if t["status"] != "Processing" {
			told[property(t, "data_set")] = true
		}
	}
	for p := range until + 1 {
		if !told[c.setOf(p)] {
			return false
		}
	}
	return true
}
