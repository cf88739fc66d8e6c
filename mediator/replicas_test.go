//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/internal/sandbox/cluster"
)

// replica starts one of several services on one database, each with a folder of its own.
func (h *house) replica(address string) *process {
	h.t.Helper()
	h.replicas++
	return h.startService("--set", "database_url="+address, "--set", fmt.Sprintf("data_dir=%s", filepath.Join(h.folder, fmt.Sprint("data", h.replicas))))
}

// worker waits until one of several services works, and gives it and the others.
func (h *house) worker(all ...*process) (works *process, others []*process) {
	h.t.Helper()
	eventually(h.t, "one of the services works", func() bool {
		works = nil
		for _, p := range all {
			if h.role(p.door) == "working" {
				works = p
			}
		}
		return works != nil
	})
	others = slices.DeleteFunc(slices.Clone(all), func(p *process) bool { return p == works })
	for _, p := range others {
		if got := h.role(p.door); got != "standing_by" {
			h.t.Errorf("two services are %v", got)
		}
	}
	return works, others
}

// sentAgain makes sure that of the eight requests of a month, which reached DHIS2 since so many others, two went twice at
// the most: the one on its way and the one before it, whose answer is booked meanwhile. Both went as they were.
func (h *house) sentAgain(before int) {
	h.t.Helper()
	imports := h.dhis2.Imports()[before:]
	different := map[string]bool{}
	for _, one := range imports {
		different[string(one.Body)] = true
	}
	if len(different) != 8 || len(imports) > 10 {
		h.t.Errorf("%d imports reached DHIS2, %d of them different, want 8 and at most two of them again", len(imports), len(different))
	}
}

// firedOnce makes sure that the schedule, which looks every minute, began one submission a minute at the most.
func (h *house) firedOnce(p *process) {
	h.t.Helper()
	_, answer := h.ask(http.MethodGet, p.door, "/cht-dhis2/submissions?limit=1000", nil)
	list, _ := answer["submissions"].([]any)
	minutes := map[string]bool{}
	for _, one := range list {
		submission, _ := one.(map[string]any)
		if submission["requested_by"] != "schedule" {
			continue
		}
		minute, _, _ := strings.Cut(strings.Replace(fmt.Sprint(submission["created_at"]), ":", ".", 1), ":")
		if minutes[minute] {
			h.t.Errorf("the schedule fired twice in the minute %s", minute)
		}
		minutes[minute] = true
	}
	if len(minutes) == 0 {
		h.t.Errorf("the schedule never fired: %v", list)
	}
}

// change adds one to every value of the CHT, so that all of them are sent again.
func (h *house) change() {
	h.t.Helper()
	type dataValue struct {
		DataElement string `json:"dataElement"`
		OrgUnit     string `json:"orgUnit"`
		Value       int    `json:"value"`
	}
	var values []dataValue
	right := h.country.Right[h.set]
	for i, v := range right {
		n, err := strconv.Atoi(v.Value)
		if err != nil || v.CategoryOptionCombo != "" {
			h.t.Fatalf("%+v, %v", v, err)
		}
		right[i].Value = strconv.Itoa(n + 1)
		values = append(values, dataValue{v.DataElement, v.OrgUnit, n + 1})
	}
	raw, err := json.Marshal(map[string]any{"dataSet": h.set, "period": h.period, "completeDate": "2026-01-01", "dataValues": values})
	if err != nil {
		h.t.Fatal(err)
	}
	h.cht.SetExport(h.set, h.period, raw)
}

func TestThreeReplicasOnOneDatabaseAreOneMediator(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "8.5.0", `, chunk_values: 6, schedule: "* * * * *", first_after_days: 0, reread_days: 3660`, "")
	address := database(t, &server)
	var all []*process
	var starting sync.WaitGroup
	for range 3 {
		all = append(all, h.replica(address))
	}
	first, others := h.worker(all...)

	// What is due is begun once, whoever is asked for it at the same time.
	begun := make([]string, 3*len(all))
	for i := range begun {
		starting.Go(func() {
			method, path := http.MethodPost, "/cht-dhis2/submissions"
			_, answer := h.ask(method, all[i%3].door, path, map[string]any{"period": h.period})
			begun[i] = fmt.Sprint(answer["id"])
		})
	}
	starting.Wait()
	slices.Sort(begun)
	if n := len(slices.Compact(slices.Clone(begun))); n != 1 {
		t.Errorf("one month at once is %d submissions: %v", n, begun)
	}
	for _, p := range all {
		h.accepted(p.door, begun[0])
	}
	h.sentAgain(0)
	if n := h.cht.MostExportsAtOnce(); n > 1 {
		t.Errorf("the CHT was asked for %d exports at once", n)
	}
	h.registered()
	for _, p := range others {
		if strings.Contains(p.said.String(), "registered with OpenHIM") {
			t.Errorf("one that stands by talks to OpenHIM:\n%s", p.said)
		}
	}
	listed := func(p *process) int {
		_, answer := h.ask(http.MethodGet, p.door, "/cht-dhis2/submissions", nil)
		list, _ := answer["submissions"].([]any)
		return len(list)
	}
	if n, m := listed(first), listed(others[0]); n != m || n == 0 {
		t.Errorf("one service lists %d submissions, another one %d", n, m)
	}

	// The one that works is killed in the middle of a submission, and another one goes on within the time of a tick.
	h.change()
	before := len(h.dhis2.Imports())
	h.dhis2.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: 400 * time.Millisecond, Method: http.MethodPost})
	id := h.submit(others[0].door)
	h.onItsWay(before + 2)
	first.signal(syscall.SIGKILL)
	first.exit()
	killed := time.Now()
	second, left := h.worker(others...)
	took := time.Since(killed)
	t.Logf("another one works %s after the first one was killed", took.Round(time.Millisecond))
	if took > 30*time.Second {
		t.Errorf("that is more than a tick of the schedule")
	}
	h.accepted(left[0].door, id)
	h.right()
	h.sentAgain(before)
	second.says("it registers with OpenHIM", "registered with OpenHIM")
	if n := len(h.him.Mediators()); n != 1 {
		t.Errorf("OpenHIM knows %d mediators", n)
	}

	// The one that works now is suspended, for longer than it may. When it goes on it finds that another one works.
	h.change()
	before = len(h.dhis2.Imports())
	id = h.submit(left[0].door)
	h.onItsWay(before + 2)
	second.signal(syscall.SIGSTOP)
	third, _ := h.worker(left...)
	h.accepted(third.door, id)
	second.signal(syscall.SIGCONT)
	second.says("it knows that it works no more", "lost the worker role")
	eventually(t, "it stands by", func() bool { return h.role(second.door) == "standing_by" })
	h.right()
	h.sentAgain(before)

	h.firedOnce(third)

	// A clean stop gives the work on at once.
	third.signal(syscall.SIGTERM)
	if code := third.exit(); code != 0 {
		t.Errorf("it ends with %d:\n%s", code, third.said)
	}
	stopped := time.Now()
	h.worker(second)
	if took := time.Since(stopped); took > 10*time.Second {
		t.Errorf("after a clean stop it took %s until another one worked", took)
	}
	h.accepted(second.door, h.submit(second.door))
}

// grants are the statements that docs/operations.md gives an owner.
func grants(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```sql\n")
	text, _, found := strings.Cut(text, "```")
	if !found {
		t.Fatal("docs/operations.md has no statements")
	}
	return strings.TrimRight(text, "; \n")
}

func TestAnOwnerMigratesForAnAccountThatMayNot(t *testing.T) {
	t.Parallel()
	own := cluster.Cluster{}
	t.Cleanup(func() {
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	h := newHouse(t, "8.5.0", "", "")
	address := database(t, &own)
	service := "database_url=" + cluster.As(address, "mediator")
	if err := own.SQL(address, "CREATE ROLE mediator LOGIN"); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"status", "submit", "serve", "migrate"} {
		if code, said := h.run(command, "--set", service); code != 1 || !strings.Contains(said, "run `mediator migrate` with an account that may change them") {
			t.Errorf("%s before the tables are there ends with %d: %s", command, code, said)
		}
	}
	if code, said := h.run("migrate", "--set", "database_url="+address); code != 0 || !strings.Contains(said, "are up to date") {
		t.Fatalf("migrate ends with %d: %s", code, said)
	}
	if code, said := h.run("doctor", "--set", service); code == 0 || !strings.Contains(said, "database") || !strings.Contains(said, "the rights that docs/operations.md lists") && !strings.Contains(said, "run `mediator migrate`") {
		t.Errorf("doctor without rights ends with %d: %s", code, said)
	}
	if err := own.SQL(address, "SET ROLE "+cluster.Owner+"; "+grants(t)); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"submit", "status", "migrate", "doctor"} {
		if code, said := h.run(command, "--set", service); code != 0 {
			t.Errorf("%s ends with %d: %s", command, code, said)
		}
	}
	h.right()
}

func TestADatabaseThatIsStoppedAndStartedUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	own := cluster.Cluster{Config: cluster.Config{Durable: true}}
	t.Cleanup(func() {
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	h := newHouse(t, "8.5.0", ", chunk_values: 6", "")
	h.dhis2.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: 300 * time.Millisecond, Method: http.MethodPost})
	address := database(t, &own)
	first, second := h.replica(address), h.replica(address)
	works, others := h.worker(first, second)
	id := h.submit(others[0].door)
	h.onItsWay(2)
	if err := own.Stop("immediate"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*process{works, others[0]} {
		eventually(t, "the health says that the database is away", func() bool {
			status, answer := h.call(http.MethodGet, p.door+"/healthz", "", "", nil)
			return status == http.StatusServiceUnavailable && answer["reason"] == "unreachable"
		})
		if status, answer := h.ask(http.MethodPost, p.door, "/cht-dhis2/submissions", map[string]any{"period": h.period}); status != http.StatusServiceUnavailable || answer["code"] != "store" {
			t.Errorf("a trigger is answered %d %v", status, answer)
		}
	}
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	h.accepted(others[0].door, id)
	h.right()
	h.sentAgain(0)

	// It is away for longer than the worker role is kept: the work stops, and goes on by itself.
	h.change()
	before := len(h.dhis2.Imports())
	id = h.submit(others[0].door)
	h.onItsWay(before + 2)
	if err := own.Stop("immediate"); err != nil {
		t.Fatal(err)
	}
	works.says("it gives up its role", "lost the worker role")
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	h.worker(first, second)
	h.accepted(first.door, id)
	h.right()
	h.sentAgain(before)
	for _, p := range []*process{first, second} {
		eventually(t, "the health is good", func() bool {
			status, _ := h.call(http.MethodGet, p.door+"/healthz", "", "", nil)
			return status == http.StatusOK
		})
		p.signal(syscall.SIGTERM)
		if code := p.exit(); code != 0 {
			t.Errorf("it ends with %d:\n%s", code, p.said)
		}
	}
}
