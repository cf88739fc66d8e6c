//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// crashEnd is what a run leaves with the neighbours and in the reports: the same whatever was killed.
type crashEnd struct {
	Values   []sandbox.DHIS2Value
	Complete []sandbox.DHIS2Completion
	Reports  map[string][]map[string]any
	Told     map[string][]map[string]any
	// Again is what the command says that submits a data set once more, when all is done.
	Again map[string]map[string]any
}

// end gives what a run has left, and finds what must not be, whatever a clean run leaves.
func (c *crashing) end() crashEnd {
	c.t.Helper()
	end := crashEnd{Values: c.dhis2.Values(), Complete: c.dhis2.Completions(), Reports: map[string][]map[string]any{}, Told: map[string][]map[string]any{}}
	left := c.remembers(true)
	if !left.idle() {
		c.t.Errorf("something is left to do: %d submissions, %d ends to be told, %d letters, %d jobs", left.unfinished, left.untold, left.letters, left.jobs)
	}
	for set, ids := range left.submissions {
		for _, id := range ids {
			code, said := c.house.run("status", id, "--json")
			var report map[string]any
			if err := json.Unmarshal([]byte(said), &report); err != nil || code != 0 {
				c.t.Fatalf("status ends with %d: %v\n%s", code, err, said)
			}
			forgetMoments(report)
			end.Reports[set] = append(end.Reports[set], report)
		}
	}
	stray := 0
	for _, t := range c.him.Transactions() {
		properties, _ := t["properties"].(map[string]any)
		set := property(t, "data_set")
		if set == "" && t["status"] == "Failed" { // a trigger that OpenHIM could not pass on
			stray++
			continue
		}
		if id := property(t, "submission"); !slices.Contains(left.submissions[set], id) {
			c.t.Errorf("OpenHIM is told of a submission %q of data set %q, which the store does not know", id, set)
		}
		delete(properties, "submission")
		end.Told[set] = append(end.Told[set], map[string]any{"status": t["status"], "properties": properties})
	}
	if stray > c.refused {
		c.t.Errorf("%d transactions tell of no submission, and %d triggers did not arrive", stray, c.refused)
	}
	c.checkRequests(left)
	end.Again = c.submitAgain()
	return end
}

// checkRequests finds requests to DHIS2 that must not have been.
func (c *crashing) checkRequests(left remembered) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[string]bool{}
	again := 0
	for i, digest := range c.posted {
		if at, is := c.settled[digest]; is && i >= at {
			c.t.Errorf("request %d of %d to DHIS2 was sent again after its acknowledgement had been recorded", i+1, len(c.posted))
		}
		if seen[digest] {
			again++
		}
		seen[digest] = true
		if !left.chunks[digest] {
			c.t.Errorf("request %d to DHIS2 is not recorded", i+1)
		}
	}
	if again > mostAgain*c.kills {
		c.t.Errorf("%d requests were sent again after %d kills", again, c.kills)
	}
	for i, names := range c.registering {
		for _, name := range names {
			if at, is := c.registered[name]; is && i >= at {
				c.t.Errorf("%s was registered as complete again after that had been recorded", name)
			}
		}
	}
	if most := int(phases) + c.kills; len(c.registering) > most {
		c.t.Errorf("%d requests registered org units as complete, with %d kills", len(c.registering), c.kills)
	}
}

// submitAgain submits what is done once more, and gives what the command says: nothing is left to be sent but a cell that
// DHIS2 refuses.
func (c *crashing) submitAgain() map[string]map[string]any {
	c.t.Helper()
	c.arm(nil, kill{})
	again := map[string]map[string]any{}
	for p, want := range []string{byCommand: "partly_accepted", bySchedule: "unchanged"} {
		set, before, registering := c.setOf(phase(p)), len(c.dhis2.Imports()), len(c.dhis2.CompletionImports())
		command := c.begin(exec.Command(c.binary, "submit", "--data-set", set, "--period", c.period, "--json", "--config", filepath.Join(c.folder, "config.yaml")))
		code := command.exit()
		said := command.said.String()
		var report map[string]any
		if err := json.Unmarshal([]byte(said[max(strings.Index(said, "{"), 0):]), &report); err != nil || report["state"] != want {
			c.t.Fatalf("submitted again, the data set of phase %s ends with %d and is not %s: %v\n%s", phase(p), code, want, err, said)
		}
		forgetMoments(report)
		report["requests"], report["registering"] = len(c.dhis2.Imports())-before, len(c.dhis2.CompletionImports())-registering
		again[set] = report
	}
	return again
}

// forgetMoments takes out of a report what no two runs have in common.
func forgetMoments(report map[string]any) {
	for _, name := range []string{"id", "created_at", "ended_at", "chunks", "chunks_total"} {
		delete(report, name)
	}
}

// mostAgain is how many requests may have to go again after a kill: the one on its way and the one before it, whose answer
// is written down meanwhile.
const mostAgain = 2

// crashBinary builds the program so that it can be killed at its transactions.
func crashBinary(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "mediator")
	if said, err := exec.Command("go", "build", "-tags", "crash", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, said)
	}
	return binary
}

// clean is a run without a kill, to which the others are compared.
type clean struct {
	crashEnd
	ground
	// points are the points that the run has come to, by phase.
	points [phases][]kill
}

func cleanRun(t *testing.T, on ground) clean {
	t.Helper()
	c := newCrashing(t, on, story{})
	c.run()
	one := clean{crashEnd: c.end(), ground: on}
	c.arrived(one.Values)
	for p := range phases {
		one.points[p] = c.points(p)
		t.Logf("phase %s: %s, %d transactions, %v", p, c.took[p].Round(time.Millisecond), len(c.transactions(p)), c.counts[p])
	}
	return one
}

// arrived makes sure that a clean run has brought the country's right answer to DHIS2, but for the one cell that is refused, and
// has registered every org unit as complete but that cell's.
func (c *crashing) arrived(values []sandbox.DHIS2Value) {
	c.t.Helper()
	complete := map[string]bool{}
	for _, r := range c.dhis2.Completions() {
		complete[r.DataSet+" "+r.OrgUnit] = r.Completed
	}
	var open []string
	for p := range phases {
		for _, v := range c.country.Right[c.setOf(p)] {
			name := c.setOf(p) + " " + v.OrgUnit
			if !complete[name] && !slices.Contains(open, name) {
				open = append(open, name)
			}
		}
	}
	if len(open) != 1 {
		c.t.Fatalf("a clean run leaves %d org units open: %v", len(open), open)
	}
	held := map[string]string{}
	for _, v := range values {
		held[v.OrgUnit+" "+v.DataElement] = v.Value
	}
	var lacking []sandbox.CountryValue
	for p := range phases {
		for _, v := range c.country.Right[c.setOf(p)] {
			if held[v.OrgUnit+" "+v.DataElement] != v.Value {
				lacking = append(lacking, v)
			}
			delete(held, v.OrgUnit+" "+v.DataElement)
		}
	}
	if len(lacking) != 1 || len(held) != 0 {
		c.t.Fatalf("a clean run leaves DHIS2 without %v, and with %v that nobody counted", lacking, held)
	}
}

// points are the points of a phase that the run has come to.
func (c *crashing) points(p phase) (points []kill) {
	for n := range c.transactions(p) {
		points = append(points, kill{"before-commit", n + 1}, kill{"after-commit", n + 1})
	}
	for _, place := range crashPlaces() {
		for n := range c.counts[p][place.name] {
			for _, stage := range place.stages {
				points = append(points, kill{place.name + "-" + stage, n + 1})
			}
		}
	}
	return points
}

// killed runs a story and compares its end with the clean one's. It gives how often a process was killed, and the points that
// no process came to.
func (one clean) killed(t *testing.T, s story) (kills int, unmet []string) {
	t.Helper()
	c := newCrashing(t, one.ground, s)
	defer func() {
		if t.Failed() {
			t.Logf("it was killed at %s", s)
			for p := range phases {
				t.Logf("transactions of phase %s:\n%s", p, strings.Join(c.transactions(p), "\n"))
			}
		}
	}()
	c.run()
	if diff := cmp.Diff(one.crashEnd, c.end()); diff != "" {
		t.Errorf("the end is not that of a clean run (-clean +killed):\n%s", diff)
	}
	return c.kills, c.unmet
}

// TestAKillAtAnyInstantLosesNothingAndDoublesNothing kills the program, and compares what it leaves in the end with what a run
// leaves that nobody has killed.
func TestAKillAtAnyInstantLosesNothingAndDoublesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	binary, ports := crashBinary(t), newSteadyPorts()
	var all sync.WaitGroup // no t.Parallel, as that is for work: these mostly wait
	for _, store := range []crashStore{sqliteStore(), postgresStore()} {
		all.Go(func() {
			t.Run(store.name, func(t *testing.T) { killedAnywhere(t, ground{binary, store, ports, make(chan struct{}, store.atOnce)}) })
		})
	}
	all.Wait()
}

func killedAnywhere(t *testing.T, on ground) {
	t.Helper()
	one := cleanRun(t, on)
	var both sync.WaitGroup
	both.Go(func() {
		t.Run("at every point", func(t *testing.T) {
			kills, unmet := atOnce(t, one, everyPoint(t, one))
			if len(unmet)*20 > kills { // some depend on the clock, as what River does at intervals
				t.Errorf("%d processes were killed, and %d did not come to their point: %v", kills, len(unmet), unmet)
			}
		})
	})
	both.Go(func() {
		t.Run("at random", func(t *testing.T) { atOnce(t, one, random(t, on.store)) })
	})
	both.Wait()
}

// named is a story with its name.
type named struct {
	name string
	story
}

// everyPoint kills at each point of each phase once, or at one in some where the store says so, others each time, in as few
// runs as that takes.
func everyPoint(t *testing.T, one clean) (all []named) {
	t.Helper()
	seed := fromEnv(t, "SOAK_SEED", time.Now().UnixMilli())
	if one.store.oneIn > 1 {
		t.Logf("one point in %d; SOAK_SEED=%d does the same ones again", one.store.oneIn, seed)
	}
	for i := int(seed % one.store.oneIn); ; i += int(one.store.oneIn) {
		var s story
		more := false
		for p := range phases {
			if i < len(one.points[p]) {
				s[p], more = []kill{one.points[p][i]}, true
			}
		}
		if !more {
			return all
		}
		all = append(all, named{fmt.Sprint(i + 1), s})
	}
}

// random makes stories of a seed. Each has its own seed, one after the other, so that one can be told again by itself.
func random(t *testing.T, store crashStore) (all []named) {
	t.Helper()
	count, seed := max(fromEnv(t, "SOAK_KILLS", store.random*store.oneIn)/store.oneIn, 1), fromEnv(t, "SOAK_SEED", time.Now().UnixMilli())
	t.Logf("%d runs from seed %d on; SOAK_SEED=<the number of a run> SOAK_KILLS=1 does that one again", count, seed)
	for i := range count {
		all = append(all, named{fmt.Sprint(seed + i), randomStory(seed + i)})
	}
	return all
}

func fromEnv(t *testing.T, name string, otherwise int64) int64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return number
}

// randomStory kills in each phase none, one or two processes one after the other, and at least one in all. It depends on the
// seed alone.
func randomStory(seed int64) (s story) {
	dice := rand.New(rand.NewPCG(uint64(seed), 0))
	places := crashPlaces()
	for some := false; !some; {
		for p := range phases {
			s[p] = nil
			for range dice.IntN(3) {
				some = true
				place := places[dice.IntN(len(places))]
				s[p] = append(s[p], [...]kill{
					{"after", dice.IntN(lasts[p])},
					{"after", dice.IntN(lasts[p])},
					{[...]string{"before-commit", "after-commit"}[dice.IntN(2)], 1 + dice.IntN(32)},
					{place.name + "-" + place.stages[dice.IntN(len(place.stages))], 1 + dice.IntN(place.most)},
				}[dice.IntN(4)])
			}
		}
	}
	return s
}

// lasts is about how many milliseconds a phase lasts.
var lasts = [phases]int{1200, 1500, 2000}

// atOnce runs stories, some at a time: they mostly wait.
func atOnce(t *testing.T, one clean, all []named) (kills int, unmet []string) {
	t.Helper()
	began := time.Now()
	var runs sync.WaitGroup
	var mu sync.Mutex
	for _, s := range all {
		runs.Go(func() {
			one.places <- struct{}{}
			defer func() { <-one.places }()
			t.Run(s.name, func(t *testing.T) {
				n, missed := one.killed(t, s.story)
				mu.Lock()
				defer mu.Unlock()
				kills += n
				unmet = append(unmet, missed...)
			})
		})
	}
	runs.Wait()
	t.Logf("%d runs with %d kills in %s; %d points were not met: %v", len(all), kills, time.Since(began).Round(time.Second), len(unmet), unmet)
	return kills, unmet
}
