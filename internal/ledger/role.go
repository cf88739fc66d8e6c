package ledger

import (
	"context"
	"database/sql"
)

// TakeRole takes the worker role, or says with an Error of kind Taken who has it. Whoever gets it knows that every job
// that the database calls running belongs to a process that is gone: they are free again when it returns, and none has
// lost an attempt. The role is
// kept until it is lost, stepped down from, or until Close. Taking it twice is harmless.
func (l *Ledger) TakeRole(ctx context.Context) error { return l.store.takeRole(ctx) }

// HasRole says whether this process works the jobs.
func (l *Ledger) HasRole() bool { return l.store.hasRole() }

// RoleLost is closed when the role that this process has is lost, as when a shared database was away for too long. From
// then on nothing can be written here until StepDown. It is nil where this process has no role or cannot lose it.
func (l *Ledger) RoleLost() <-chan struct{} { return l.store.roleLost() }

// StepDown gives the role back, or ends having lost it. All that worked by it must have ended before.
func (l *Ledger) StepDown(ctx context.Context) error { return l.store.giveRole(ctx) }

// Worker tells which process has the worker role, for people; empty where none has.
func (l *Ledger) Worker(ctx context.Context) string {
	if l.HasRole() {
		return "this process"
	}
	return l.store.worker(ctx)
}

// takeUp frees the jobs of a process that is gone, and its lead among job engines, which would else last some seconds.
func takeUp(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, `UPDATE river_job SET state = 'available',
		attempt = CASE WHEN attempt > 0 THEN attempt - 1 ELSE 0 END WHERE state = 'running'`); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM river_leader`)
	return err
}
