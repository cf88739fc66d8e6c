//go:build linux

package main

import (
	"errors"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// room is how the room of a service's store is taken away and given back.
type room struct {
	name string
	// prepare is called before the service starts, and says whether it is possible here.
	prepare    func(h *house) bool
	take, give func(h *house, service *process) error
}

func rooms() []room {
	limit := func(most uint64) func(*house, *process) error {
		return func(_ *house, service *process) error {
			return unix.Prlimit(service.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: most, Max: math.MaxUint64}, nil)
		}
	}
	filler := func(h *house) string { return filepath.Join(h.folder, "data", "filler") }
	return []room{
		{"a disk without room", smallDisk, func(h *house, _ *process) error { return fill(filler(h)) }, func(h *house, _ *process) error { return os.Remove(filler(h)) }},
		{"a limit on the size of files", func(*house) bool { return true }, limit(1), limit(math.MaxUint64)},
	}
}

// smallDisk puts the data folder on a disk of its own, which only root may do.
func smallDisk(h *house) bool {
	h.t.Helper()
	data := filepath.Join(h.folder, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=8m"); err != nil {
		return false
	}
	h.t.Cleanup(func() { _ = syscall.Unmount(data, syscall.MNT_DETACH) })
	return true
}

// fill writes a file until there is no room for a byte more.
func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it holds nothing
	for size := 1 << 20; size > 0; {
		if _, err := file.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			return err
		}
	}
	return nil
}

func TestAServiceThatTakesOverOnAFullDiskWaitsForRoom(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "8.5.0", ", chunk_values: 6", "")
	if !smallDisk(h) {
		t.Skip("only root may mount a disk")
	}
	h.dhis2.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: 500 * time.Millisecond, Method: http.MethodPost})
	first := h.startService()
	id := h.submit(first.door)
	second := h.startService()
	second.says("it stands by", "this one stands by")
	eventually(t, "some of it is sent", func() bool { return len(h.dhis2.Imports()) > 1 })
	filler := filepath.Join(h.folder, "data", "filler")
	if err := fill(filler); err != nil {
		t.Fatal(err)
	}
	first.signal(syscall.SIGKILL)
	first.exit()
	before := len(h.dhis2.Imports())
	second.says("it says what it waits for", "no room is left to write")
	if status, answer := h.call(http.MethodGet, second.door+"/healthz", "", "", nil); status != http.StatusServiceUnavailable || answer["reason"] != "full" {
		t.Errorf("health: %d %v", status, answer)
	}
	if got := len(h.dhis2.Imports()); got > before+1 { // the one that was on its way
		t.Errorf("%d imports without room to record them", got-before)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	h.accepted(second.door, id)
	h.right()
}

// TestWhatDoesNotFitOnTheDiskIsNotSent runs a service for each way to be without room, all at the same time.
func TestWhatDoesNotFitOnTheDiskIsNotSent(t *testing.T) {
	t.Parallel()
	type tight struct {
		*house
		room

		service *process
		id      string
	}
	var all []*tight
	for _, way := range rooms() {
		h := &tight{house: newHouse(t, "8.5.0", ", chunk_values: 6", ""), room: way}
		if !way.prepare(h.house) {
			t.Logf("%s: left out, as only root may mount a disk", way.name)
			continue
		}
		h.dhis2.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: 300 * time.Millisecond, Method: http.MethodPost})
		h.service = h.startService()
		all = append(all, h)
	}
	for _, h := range all {
		h.id = h.submit(h.service.door)
		eventually(t, h.name+": some of it is sent", func() bool { return len(h.dhis2.Imports()) > 1 })
		if err := h.take(h.house, h.service); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range all {
		door := h.service.door
		eventually(t, h.name+": health turns red", func() bool {
			status, answer := h.call(http.MethodGet, door+"/healthz", "", "", nil)
			return status == http.StatusServiceUnavailable && answer["reason"] == "full" && answer["remedy"] != ""
		})
		if status, answer := h.ask(http.MethodPost, door, "/cht-dhis2/submissions", map[string]any{"period": h.period, "dry_run": true}); status != http.StatusServiceUnavailable || answer["code"] != "store" {
			t.Errorf("%s: a trigger is answered %d %v", h.name, status, answer)
		}
		if check := h.check(door, "store"); check["state"] != "failed" || check["reason"] != "full" {
			t.Errorf("%s: /readyz says %v", h.name, check)
		}
		h.service.says("the log says that nothing could be stored", "a step could not be stored")
		if n := len(h.dhis2.Imports()); n >= 8 {
			t.Errorf("%s: all %d imports reached DHIS2 without room to record them", h.name, n)
		}
		if err := h.give(h.house, h.service); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range all {
		door := h.service.door
		eventually(t, h.name+": health turns green", func() bool {
			status, _ := h.call(http.MethodGet, door+"/healthz", "", "", nil)
			return status == http.StatusOK
		})
		h.accepted(door, h.id)
		h.right()
		_, report := h.ask(http.MethodGet, door, "/cht-dhis2/submissions/"+h.id, nil)
		if sent, recorded := len(h.dhis2.Imports()), attempts(report); sent > recorded {
			t.Errorf("%s: %d imports reached DHIS2, and %d are recorded", h.name, sent, recorded)
		}
		h.service.signal(syscall.SIGTERM)
		if code := h.service.exit(); code != 0 {
			t.Errorf("%s: it ends with %d:\n%s", h.name, code, h.service.said)
		}
	}
}
