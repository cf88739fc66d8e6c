//go:build unix

package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// warnings are the lines of a log that are about OpenHIM and no mere news.
func warnings(log string) (found []string) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "OpenHIM") && !strings.Contains(line, "level=info") {
			found = append(found, line)
		}
	}
	return found
}

// TestTheServiceWorksOnWhateverOpenHIMDoes runs a service for each fault, all at the same time.
func TestTheServiceWorksOnWhateverOpenHIMDoes(t *testing.T) {
	t.Parallel()
	type suffering struct {
		*house
		name string
		ids  []string
	}
	var all []*suffering
	for _, test := range []struct {
		name string
		// early says that it is so since before the start.
		early bool
		fault sandbox.Fault
	}{
		{"away since before the start", true, sandbox.Fault{Kind: sandbox.ResetBefore}},
		{"answering 503 later", false, sandbox.Fault{Kind: sandbox.Status, Status: http.StatusServiceUnavailable, RetryAfter: "3600"}},
		{"answering 500 later", false, sandbox.Fault{Kind: sandbox.Status, Status: http.StatusInternalServerError}},
		{"answering HTML since before the start", true, sandbox.Fault{Kind: sandbox.LoginPage}},
		{"answering HTML later", false, sandbox.Fault{Kind: sandbox.LoginPage}},
	} {
		h := &suffering{house: newHouse(t, "8.5.0", "", ""), name: test.name}
		if test.early {
			h.him.Fail(test.fault)
		}
		h.serve()
		if !test.early {
			h.registered()
			h.him.Fail(test.fault)
		}
		all = append(all, h)
	}
	for _, h := range all {
		eventually(t, h.name+": /readyz says so", func() bool {
			check := h.check(h.door, "OpenHIM")
			return check["state"] == "failed" && check["reason"] == "openhim_unavailable"
		})
		eventually(t, h.name+": it is ready all the same", func() bool {
			status, answer := h.call(http.MethodGet, h.door+"/readyz", "", "", nil)
			return status == http.StatusOK && answer["ready"] == true
		})
	}
	for n := range 3 {
		for _, h := range all {
			h.ids = append(h.ids, h.submit(h.door))
		}
		for _, h := range all {
			h.accepted(h.door, h.ids[n])
			h.waiting(n + 1)
		}
	}
	for _, h := range all {
		h.right()
		eventually(t, h.name+": the log says so", func() bool { return strings.Contains(h.said.String(), "OpenHIM does not take reports") })
		h.him.Heal()
		h.ahead.Store(int64(time.Hour)) // so that no report has to be waited for
	}
	for _, h := range all {
		var told []string
		eventually(t, h.name+": the reports arrive", func() bool {
			told = nil
			for _, one := range h.him.Transactions() {
				told = append(told, property(one, "submission"))
			}
			return len(told) >= len(h.ids)
		})
		if !slices.Equal(told, h.ids) {
			t.Errorf("%s: OpenHIM was told of %q, want each once in the order %q", h.name, told, h.ids)
		}
		if said := warnings(h.said.String()); len(said) == 0 || len(said) > 6 {
			t.Errorf("%s: the log tells nothing, or is flooded:\n%s", h.name, strings.Join(said, ""))
		}
	}
}

// waiting waits until so many reports wait for OpenHIM.
func (h *house) waiting(count int) {
	h.t.Helper()
	eventually(h.t, fmt.Sprintf("%d reports wait", count), func() bool {
		code, said := h.run("status")
		return code == 0 && strings.Contains(said, fmt.Sprintf("%d reports and notices wait to be delivered", count))
	})
}

func TestASlowOpenHIMHoldsNothingUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "8.5.0", "", "")
	h.him.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: 700 * time.Millisecond})
	h.serve()
	began := time.Now()
	id := h.submit(h.door)
	h.accepted(h.door, id)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a submission took %s", took)
	}
	h.transaction("the report arrives", func(t map[string]any) bool { return property(t, "submission") == id })
	h.registered()
}

// TestAWrongAddressOfOpenHIMIsRecognised has an address to which 8.5.0 answers 200 whatever is asked.
func TestAWrongAddressOfOpenHIMIsRecognised(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "8.5.0", "", "")
	h.edit(fmt.Sprintf("api_url: %q", h.api), fmt.Sprintf("api_url: %q", h.api+"/openhim/api"))
	h.serve()
	h.accepted(h.door, h.submit(h.door))
	eventually(t, "/readyz says so", func() bool { return h.check(h.door, "OpenHIM")["state"] == "failed" })
	eventually(t, "the log says what to do", func() bool { return strings.Contains(h.said.String(), "check api_url") })
	if n := len(h.him.Transactions()) + len(h.him.Mediators()); n > 0 {
		t.Errorf("OpenHIM has %d documents", n)
	}
	h.waiting(1)
	if code, said := h.run("doctor"); code == 0 || !strings.Contains(said, "check api_url") {
		t.Errorf("doctor ends with %d:\n%s", code, said)
	}
}

func TestAnOpenHIMThatForgetsIsToldAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "8.5.0", "", "")
	h.serve()
	h.registered()
	first := h.submit(h.door)
	h.transaction("the first report", func(t map[string]any) bool { return property(t, "submission") == first })
	h.him.Forget()
	second := h.submit(h.door)
	h.registered()
	h.transaction("the second report", func(t map[string]any) bool { return property(t, "submission") == second })
	if said := warnings(h.said.String()); len(said) > 3 {
		t.Errorf("the log is flooded:\n%s", strings.Join(said, ""))
	}
}

// configure sets the configuration in the console.
func (h *house) configure(sets ...any) {
	h.t.Helper()
	status, _ := h.call(http.MethodPut, h.api+"/mediators/urn%3Amediator%3Acht-dhis2/config", "root@openhim.org", "openhim-password", map[string]any{"data_sets": sets})
	if status != http.StatusOK {
		h.t.Fatalf("OpenHIM itself answers the configuration %v with %d", sets, status)
	}
}

// scheduled is how the data set is run, as a service tells.
func (h *house) scheduled(door string) map[string]any {
	h.t.Helper()
	_, schedule := h.ask(http.MethodGet, door, "/cht-dhis2/schedule", nil)
	parts, _ := schedule["data_sets"].([]any)
	part, _ := parts[0].(map[string]any)
	return part
}

// TestAMistakeInTheConsoleIsRefusedWholeAndShown makes the mistakes one after the other, at some services at a time.
func TestAMistakeInTheConsoleIsRefusedWholeAndShown(t *testing.T) {
	t.Parallel()
	type mistake struct {
		*house
		name, says, id string
		sets           func(h *house) []any
	}
	// Each has something right in it too, which must not be taken.
	field := func(name string, value any) func(*house) []any {
		return func(h *house) []any { return []any{map[string]any{"id": h.set, "hold": false, name: value}} }
	}
	beside := func(second func(h *house) map[string]any) func(*house) []any {
		return func(h *house) []any { return []any{map[string]any{"id": h.set, "hold": false}, second(h)} }
	}
	mistakes := []*mistake{
		{name: "a schedule of four fields", sets: field("schedule", "0 3 * *"), says: "has 4 fields"},
		{name: "a time zone", sets: field("schedule", "TZ=UTC"), says: "it can name no time zone"},
		{name: "a day that never comes", sets: field("schedule", "0 3 30 2 *"), says: "never comes"},
		{name: "half a day", sets: field("first_after_days", 0.5), says: "data_sets[0].first_after_days: must be a whole number of days"},
		{name: "less than no days", sets: field("reread_days", -1), says: "data_sets[0].reread_days: must be a whole number of days"},
		{name: "days as text", sets: field("reread_days", "thirty"), says: "data_sets[0].reread_days: must be a whole number of days"},
		{name: "the end before the beginning", sets: field("reread_days", 2), says: "would be read again for 2 days only"},
		{name: "yes as text", sets: field("enabled", "yes"), says: "data_sets[0].enabled: must be yes or no"},
		{name: "no id", sets: beside(func(*house) map[string]any { return map[string]any{"enabled": true} }), says: "data_sets[1].id: is required"},
		{name: "an unknown data set", sets: beside(func(*house) map[string]any { return map[string]any{"id": "DsOther0001"} }), says: "is no data set of the configuration file"},
		{name: "a data set twice", sets: beside(func(h *house) map[string]any { return map[string]any{"id": h.set} }), says: "stands twice"},
	}
	houses := []*house{newHouse(t, "8.5.0", "", ""), newHouse(t, "8.5.0", "", ""), newHouse(t, "8.5.0", "", "")}
	for _, h := range houses {
		h.serve()
	}
	for _, h := range houses {
		h.registered()
		h.configure(map[string]any{"id": h.set, "hold": true}) // the good one
		eventually(t, "the good one is in force", func() bool { return h.scheduled(h.door)["hold"] == true })
	}
	for round := range slices.Chunk(mistakes, len(houses)) {
		for i, h := range round {
			h.house = houses[i]
			h.configure(h.sets(h.house)...)
		}
		for _, h := range round {
			eventually(t, h.name+": /readyz tells it", func() bool {
				check := h.check(h.door, "configuration")
				return check["state"] == "failed" && check["reason"] == "console_refused" && strings.Contains(fmt.Sprint(check["remedy"]), h.says)
			})
			if said := h.said.String(); !strings.Contains(said, "is refused; the last good one stays in force") || !strings.Contains(said, h.says) {
				t.Errorf("%s: the log does not tell it:\n%s", h.name, said)
			}
			if is := h.scheduled(h.door); is["hold"] != true || is["enabled"] != true || is["schedule"] != "" || is["reread_days"] != 30.0 {
				t.Errorf("%s: the last good one is not in force: %v", h.name, is)
			}
			if code, said := h.run("status"); code != 0 || !strings.Contains(said, h.says) || !strings.Contains(said, "the last good one is in force") {
				t.Errorf("%s: status ends with %d:\n%s", h.name, code, said)
			}
			eventually(t, h.name+": a trigger is taken", func() bool {
				status, answer := h.call(http.MethodPost, h.router+"/cht-dhis2/submissions", "chis", "client-Password-1", map[string]any{"data_set": h.set, "period": h.period, "full": true})
				h.id = fmt.Sprint(answer["id"])
				return status == http.StatusAccepted
			})
		}
		for _, h := range round {
			eventually(t, h.name+": the submission is held, as the last good one has it", func() bool {
				status, _ := h.ask(http.MethodPost, h.door, "/cht-dhis2/submissions/"+h.id+"/approve", nil)
				return status == http.StatusOK
			})
		}
		for _, h := range round {
			h.transaction(h.name+": a transaction with the fault", func(t map[string]any) bool {
				return t["status"] == "Successful" && strings.Contains(property(t, "configuration_fault"), h.says)
			})
		}
	}

	// A restart keeps the last good one, and a good one ends the trouble.
	h := houses[0]
	h.stop()
	h.serve()
	if is := h.scheduled(h.door); is["hold"] != true {
		t.Errorf("after a restart the last good one is not in force: %v", is)
	}
	h.configure(map[string]any{"id": h.set, "hold": false})
	eventually(t, "/readyz says no more", func() bool { return h.check(h.door, "configuration") == nil && h.scheduled(h.door)["hold"] == false })
}
