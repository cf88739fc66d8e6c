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
	// prepare is called before the service starts.
	prepare    func(h *house)
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
		{"a limit on the size of files", func(*house) {}, limit(1), limit(math.MaxUint64)},
	}
}

// smallDisk puts the data folder on a disk of its own, which only root may do.
func smallDisk(h *house) {
	h.t.Helper()
	data := filepath.Join(h.folder, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=8m"); err != nil {
		h.t.Skip("a disk can be mounted by root only: ", err)
	}
	h.t.Cleanup(func() { _ = syscall.Unmount(data, syscall.MNT_DETACH) })
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
	smallDisk(h)
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

func TestWhatDoesNotFitOnTheDiskIsNotSent(t *testing.T) {
	for _, test := range rooms() {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, "8.5.0", ", chunk_values: 6", "")
			test.prepare(h)
			h.dhis2.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: 300 * time.Millisecond, Method: http.MethodPost})
			service := h.startService()
			id := h.submit(service.door)
			eventually(t, "some of it is sent", func() bool { return len(h.dhis2.Imports()) > 1 })
			if err := test.take(h, service); err != nil {
				t.Fatal(err)
			}
			eventually(t, "health turns red", func() bool {
				status, answer := h.call(http.MethodGet, service.door+"/healthz", "", "", nil)
				return status == http.StatusServiceUnavailable && answer["reason"] == "full" && answer["remedy"] != ""
			})
			if status, answer := h.ask(http.MethodPost, service.door, "/cht-dhis2/submissions", map[string]any{"period": h.period, "dry_run": true}); status != http.StatusServiceUnavailable || answer["code"] != "store" {
				t.Errorf("a trigger is answered %d %v", status, answer)
			}
			if check := h.check(service.door, "store"); check["state"] != "failed" || check["reason"] != "full" {
				t.Errorf("/readyz says %v", check)
			}
			service.says("the log says that nothing could be stored", "a step could not be stored")
			stopped := len(h.dhis2.Imports())
			if err := test.give(h, service); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			eventually(t, "health turns green", func() bool {
				status, _ := h.call(http.MethodGet, service.door+"/healthz", "", "", nil)
				return status == http.StatusOK
			})
			h.accepted(service.door, id)
			t.Logf("%d imports before it was full, recovered in %s, in all %d", stopped, time.Since(began), len(h.dhis2.Imports()))
			h.right()
			_, report := h.ask(http.MethodGet, service.door, "/cht-dhis2/submissions/"+id, nil)
			if sent, recorded := len(h.dhis2.Imports()), attempts(report); sent > recorded {
				t.Errorf("%d imports reached DHIS2, and %d are recorded", sent, recorded)
			}
			service.signal(syscall.SIGTERM)
			if code := service.exit(); code != 0 {
				t.Errorf("it ends with %d:\n%s", code, service.said)
			}
			if t.Failed() {
				t.Log(service.said)
			}
		})
	}
}
