package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// role is the right to work jobs: one process has it. The system takes it back when that process ends, however it ends.
type role struct {
	lock *flock.Flock
	note string
}

func (s *sqlite) takeRole(ctx context.Context) error {
	s.roleMu.Lock()
	defer s.roleMu.Unlock()
	if s.role != nil {
		return nil
	}
	r := &role{lock: flock.New(filepath.Join(s.l.config.Dir, "worker.lock")), note: filepath.Join(s.l.config.Dir, "worker.txt")}
	got, err := r.lock.TryLock()
	if err != nil {
		return s.l.explain("take the worker role", err)
	}
	if !got {
		_ = r.lock.Close()
		return r.taken()
	}
	if err := s.l.write(ctx, "take up the jobs of before", func(tx *sql.Tx) error { return takeUp(ctx, tx) }); err != nil {
		_ = r.lock.Close()
		return err
	}
	s.role = r
	// The note is for people only; without it the lock holds all the same.
	_ = os.WriteFile(r.note, fmt.Appendf(nil, "process %d since %s", os.Getpid(), timeOf(s.l.now()).Format(time.RFC3339)), 0o600)
	return nil
}

func (s *sqlite) giveRole(context.Context) error {
	s.roleMu.Lock()
	defer s.roleMu.Unlock()
	if s.role == nil {
		return nil
	}
	err := s.role.release()
	s.role = nil
	return err
}

func (s *sqlite) hasRole() bool {
	s.roleMu.Lock()
	defer s.roleMu.Unlock()
	return s.role != nil
}

func (*sqlite) roleLost() <-chan struct{} { return nil }

func (r *role) taken() error {
	who := "another process"
	if note, err := os.ReadFile(r.note); err == nil && len(note) > 0 {
		who = strings.TrimSpace(string(note))
	}
	return &Error{
		Kind: Taken, Doing: "take the worker role", What: who + " works with this data folder",
		Remedy: "let it do the work, or stop it first",
	}
}

func (r *role) release() error {
	_ = os.Remove(r.note)
	return r.lock.Close()
}

func (s *sqlite) worker(context.Context) string {
	lock := flock.New(filepath.Join(s.l.config.Dir, "worker.lock"))
	defer lock.Close() //nolint:errcheck // it goes with the process at the latest
	free, err := lock.TryRLock()
	if err != nil || free {
		return ""
	}
	if note, err := os.ReadFile(filepath.Join(s.l.config.Dir, "worker.txt")); err == nil && len(note) > 0 {
		return strings.TrimSpace(string(note))
	}
	return "another process"
}
