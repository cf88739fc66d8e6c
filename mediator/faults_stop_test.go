//go:build unix

package main

import (
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

func TestAStopLetsTheRequestOnItsWayFinishAndTheNextStartGoesOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "8.5.0", ", chunk_values: 6", "")
	h.dhis2.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: time.Second, Method: http.MethodPost})
	first := h.startService()
	id := h.submit(first.door)
	h.onItsWay(2)
	began := time.Now()
	first.signal(syscall.SIGTERM)
	if code := first.exit(); code != 0 || time.Since(began) > 20*time.Second {
		t.Errorf("it ends with %d after %s:\n%s", code, time.Since(began), first.said)
	}
	h.dhis2.Heal()
	sent := len(h.dhis2.Imports())
	if sent == 8 {
		t.Error("all was sent before the stop")
	}
	second := h.startService()
	h.accepted(second.door, id)
	h.right()
	if n := len(h.dhis2.Imports()); n != 8 { // no request twice
		t.Errorf("%d imports reached DHIS2, %d of them before the stop, want 8", n, sent)
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "8.5.0", ", chunk_values: 6", "")
	h.dhis2.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: 15 * time.Second, Method: http.MethodPost, Times: 1})
	first := h.startService()
	id := h.submit(first.door)
	eventually(t, "a request is on its way", func() bool { return h.sending(first.door, id) })
	first.signal(syscall.SIGTERM)
	first.says("it stops", "the service stops")
	began := time.Now()
	first.signal(syscall.SIGTERM)
	if code := first.exit(); code != -1 || time.Since(began) > 5*time.Second {
		t.Errorf("it ends with %d after %s:\n%s", code, time.Since(began), first.said)
	}
	second := h.startService()
	h.accepted(second.door, id)
	h.right()
}

// sending says whether a request of a submission is recorded as being on its way.
func (h *house) sending(door, id string) bool {
	h.t.Helper()
	_, report := h.ask(http.MethodGet, door, "/cht-dhis2/submissions/"+id, nil)
	return attempts(report) > 0
}

// onItsWay waits until so many requests have arrived at DHIS2 or are on their way.
func (h *house) onItsWay(count int) {
	h.t.Helper()
	eventually(h.t, "requests reach DHIS2", func() bool { return len(h.dhis2.Imports()) >= count })
}
