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

// TakeRole takes the worker role, or says with an Error of kind Taken who has it. Whoever gets it knows that every job
// that the database calls running belongs to a process that is gone: they are free again when it returns, and none has
// lost an attempt. The role is kept until Close. Taking it twice is harmless.
func (l *Ledger) TakeRole(ctx context.Context) error {
	l.roleMu.Lock()
	defer l.roleMu.Unlock()
	if l.role != nil {
		return nil
	}
	r := &role{lock: flock.New(filepath.Join(l.config.Dir, "worker.lock")), note: filepath.Join(l.config.Dir, "worker.txt")}
	got, err := r.lock.TryLock()
	if err != nil {
		return l.explain("take the worker role", err)
	}
	if !got {
		_ = r.lock.Close()
		return r.taken()
	}
	if err := l.takeUp(ctx); err != nil {
		_ = r.lock.Close()
		return err
	}
	l.role = r
	// The note is for people only; without it the lock holds all the same.
	_ = os.WriteFile(r.note, fmt.Appendf(nil, "process %d since %s", os.Getpid(), timeOf(l.now()).Format(time.RFC3339)), 0o600)
	return nil
}

// HasRole says whether this process works the jobs.
func (l *Ledger) HasRole() bool {
	l.roleMu.Lock()
	defer l.roleMu.Unlock()
	return l.role != nil
}

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

// takeUp frees the jobs of a process that is gone, and its lead among job engines, which would else last some seconds.
func (l *Ledger) takeUp(ctx context.Context) error {
	return l.write(ctx, "take up the jobs of before", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE river_job SET state = 'available',
			attempt = CASE WHEN attempt > 0 THEN attempt - 1 ELSE 0 END WHERE state = 'running'`); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM river_leader`)
		return err
	})
}

// Worker tells which process has the worker role, for people; empty where none has.
func (l *Ledger) Worker() string {
	if l.HasRole() {
		return "this process"
	}
	lock := flock.New(filepath.Join(l.config.Dir, "worker.lock"))
	defer lock.Close() //nolint:errcheck // it goes with the process at the latest
	free, err := lock.TryRLock()
	if err != nil || free {
		return ""
	}
	if note, err := os.ReadFile(filepath.Join(l.config.Dir, "worker.txt")); err == nil && len(note) > 0 {
		return strings.TrimSpace(string(note))
	}
	return "another process"
}
