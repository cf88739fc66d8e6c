package ledger

import (
	"context"
	"database/sql"
	"slices"
)

// DropJobs removes the jobs of a submission that wait: somebody else has done what they were for.
func (l *Ledger) DropJobs(ctx context.Context, id string) error {
	return l.write(ctx, "remove the jobs of submission "+id, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM river_job WHERE args ->> 'submission' = $1 AND state <> 'running'`, id)
		return err
	})
}

// StandingJobs gives the ids of a submission's jobs of these kinds that wait for their turn, within a transaction.
func (*Ledger) StandingJobs(ctx context.Context, tx *sql.Tx, id string, kinds ...string) (ids []int64, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, kind FROM river_job WHERE args ->> 'submission' = $1 AND state IN ('available', 'retryable', 'scheduled')`, id)
	err = each(rows, err, func() error {
		var job int64
		var kind string
		err := rows.Scan(&job, &kind)
		if slices.Contains(kinds, kind) {
			ids = append(ids, job)
		}
		return err
	})
	return ids, err
}

// RunningJobs gives the ids of the jobs that the database calls running.
func (l *Ledger) RunningJobs(ctx context.Context) (ids []int64, err error) {
	err = l.read(ctx, "read the jobs", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT id FROM river_job WHERE state = 'running'`)
		return each(rows, err, func() error {
			var id int64
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		})
	})
	return ids, err
}

// FreeJobs gives jobs back that the database calls running and nobody works: their end could not be written down, as while
// the disk was full. Only the process with the worker role may call it.
func (l *Ledger) FreeJobs(ctx context.Context, ids ...int64) error {
	return l.write(ctx, "give jobs back that nobody works", func(tx *sql.Tx) error {
		for _, id := range ids {
			if _, err := tx.ExecContext(ctx, `UPDATE river_job SET state = 'available' WHERE id = $1 AND state = 'running'`, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// WaitingJobs is how many jobs wait for their turn.
func (l *Ledger) WaitingJobs(ctx context.Context) (count int, err error) {
	err = l.read(ctx, "count the jobs", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT count(*) FROM river_job WHERE state IN ('available', 'retryable', 'scheduled')`).Scan(&count)
	})
	return count, err
}
