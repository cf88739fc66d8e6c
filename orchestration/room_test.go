//go:build linux

package orchestration

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cht-dhis2/mediator/internal/ledger"
)

// TestAMonthWaitsForRoomForItsTemporaryFiles gives the temporary files a disk that is too small for a month.
func TestAMonthWaitsForRoomForItsTemporaryFiles(t *testing.T) {
	b := newBench(t, "2.43.1")
	b.Wait = 0
	b.SpoolDir = t.TempDir()
	if err := syscall.Mount("tmpfs", b.SpoolDir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("a disk can be mounted by root only: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(b.SpoolDir, syscall.MNT_DETACH) })
	filler := filepath.Join(b.SpoolDir, "filler")
	_ = os.WriteFile(filler, make([]byte, 2<<20), 0o600) // as much as there is room for

	report, _ := b.submit(t, t.Context())
	if report.State != ledger.Failed || report.Reason != Fault || !strings.Contains(report.Error, "no space left") || !strings.Contains(report.Remedy, "make room") {
		t.Errorf("in the foreground it ends %s %s: %s; %s", report.State, report.Reason, report.Error, report.Remedy)
	}
	start(t, NewService(b.Submitter))
	id := b.begin(t).ID
	waiting := until(t, b.Submitter, id, func(s ledger.Submission) bool { return s.WaitingFor != "" })
	if !strings.HasPrefix(waiting.WaitingFor, "room on the disk: ") {
		t.Errorf("it waits for %q", waiting.WaitingFor)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if sub, began, err := b.Begin(t.Context(), b.request(), nil); err != nil || began || sub.ID != id { // which lets it go on at once
		t.Fatalf("%+v %v %v", sub, began, err)
	}
	if sub := until(t, b.Submitter, id, ends); sub.State != ledger.Accepted {
		t.Errorf("%s %s", sub.State, sub.Error)
	}
	b.arrivedOnce(t)
}
