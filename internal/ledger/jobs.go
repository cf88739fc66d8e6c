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

// Unattended gives the unfinished submissions that nobody will go on with, as they have no job: all but the held ones, which
// wait for a person.
func (l *Ledger) Unattended(ctx context.Context) (left []Submission, err error) {
	err = l.read(ctx, "look for submissions without a job", func(tx *sql.Tx) error {
		attended := map[string]bool{}
		rows, err := tx.QueryContext(ctx, `SELECT args ->> 'submission' FROM river_job
			WHERE state IN ('available', 'pending', 'retryable', 'running', 'scheduled') AND args ->> 'submission' IS NOT NULL`)
		err = each(rows, err, func() error {
			var id string
			err := rows.Scan(&id)
			attended[id] = true
			return err
		})
		if err != nil {
			return err
		}
		rows, err = tx.QueryContext(ctx, submissionColumns+`WHERE s.ended_at = 0 AND s.state <> $1 ORDER BY s.number`, Held)
		return each(rows, err, func() error {
			s, err := scanSubmission(rows.Scan)
			if !attended[s.ID] {
				left = append(left, s)
			}
			return err
		})
	})
	return left, err
}

// Untold gives the submissions that have ended and whose end is not told yet, as their job for that waits.
func (l *Ledger) Untold(ctx context.Context, kind string) (ids []string, err error) {
	err = l.read(ctx, "look for ends that are not told", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT DISTINCT s.id FROM river_job j JOIN submission s ON s.id = j.args ->> 'submission'
			WHERE j.kind = $1 AND j.state IN ('available', 'retryable', 'scheduled') AND s.ended_at > 0 ORDER BY s.id`, kind)
		return each(rows, err, func() error {
			var id string
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		})
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
