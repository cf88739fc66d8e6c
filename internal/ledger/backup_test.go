package ledger

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestABackupIsTheWholeStoreAndOpensAsOne(t *testing.T) {
	dir, aside := t.TempDir(), t.TempDir()
	l := openAt(t, dir, nil)
	must(t, l.TakeRole(t.Context()))
	s := begin(t, l, Request{Key: key()})
	must(t, l.Prepared(t.Context(), s.ID, readyWith(manyParts(200, 5)...), nil))
	target := filepath.Join(aside, "copy.db")
	size, err := Backup(t.Context(), dir, target)
	must(t, err)
	info, err := os.Stat(target)
	must(t, err)
	if info.Size() != size || info.Mode().Perm() != 0o600 {
		t.Errorf("%d bytes with rights %o, told are %d", info.Size(), info.Mode().Perm(), size)
	}
	_, err = Backup(t.Context(), dir, target)
	wantKind(t, err, Unreachable)
	if left, err := os.ReadDir(aside); err != nil || len(left) != 1 {
		t.Errorf("there are %v, %v", left, err)
	}
	restored := t.TempDir()
	must(t, os.Rename(target, filepath.Join(restored, fileName)))
	back := openAt(t, restored, nil)
	must(t, back.TakeRole(t.Context()))
	must(t, back.Check(t.Context()))
	got, err := back.Submission(t.Context(), s.ID)
	must(t, err)
	if got.State != Ready || len(gather(t, back.Content(t.Context(), s.ID, Range{0, 200}))) != 200 {
		t.Errorf("got %+v", got)
	}
	var vacuum int
	must(t, back.writer.QueryRow(`PRAGMA auto_vacuum`).Scan(&vacuum))
	if vacuum != 2 {
		t.Errorf("auto_vacuum is %d: what is old would not give its room back", vacuum)
	}
}

// TestABackupBesideWritersIsOfOneInstant copies while submissions are stored: each is there whole, or not at all.
func TestABackupBesideWritersIsOfOneInstant(t *testing.T) {
	dir := t.TempDir()
	l := openAt(t, dir, nil)
	l.config.QueueLimit = 100_000
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			k := key()
			k.DataSet = string(rune('a' + n%26))
			s, began, err := l.Begin(context.WithoutCancel(ctx), Request{Key: k}, nil)
			if err == nil && began {
				err = l.Prepared(context.WithoutCancel(ctx), s.ID, readyWith(manyParts(20, 5)...), nil)
			}
			if err != nil {
				t.Error(err)
				return
			}
			if n%26 == 25 {
				list, _ := l.Submissions(context.WithoutCancel(ctx), Filter{States: []State{Ready}})
				for _, s := range list {
					_ = l.Finish(context.WithoutCancel(ctx), s.ID, End{State: Cancelled}, nil)
				}
			}
		}
	})
	for n := range 5 {
		restored := t.TempDir()
		if _, err := Backup(t.Context(), dir, filepath.Join(restored, fileName)); err != nil {
			t.Errorf("copy %d: %v", n, err)
			continue
		}
		back := openAt(t, restored, nil)
		must(t, back.Check(t.Context()))
		list, err := back.Submissions(t.Context(), Filter{States: []State{Ready}})
		must(t, err)
		for _, s := range list {
			if got := len(gather(t, back.Content(t.Context(), s.ID, Range{0, 20}))); got != 20 {
				t.Errorf("copy %d has %d parts of a submission of 20", n, got)
			}
		}
	}
	stop()
	writing.Wait()
}

func TestABackupThatCannotBeMadeLeavesNothing(t *testing.T) {
	empty := t.TempDir()
	_, err := Backup(t.Context(), empty, filepath.Join(empty, "copy.db"))
	wantKind(t, err, Unreachable)
	dir := t.TempDir()
	l := openAt(t, dir, nil)
	begin(t, l, Request{Key: key()})
	_, err = Backup(t.Context(), dir, filepath.Join(dir, "no such folder", "copy.db"))
	wantKind(t, err, Unreachable)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	aside := t.TempDir()
	if _, err = Backup(stopped, dir, filepath.Join(aside, "copy.db")); err == nil {
		t.Error("a backup that is stopped is one")
	}
	if left, err := os.ReadDir(aside); err != nil || len(left) > 0 {
		t.Errorf("there are %v, %v", left, err)
	}
}
