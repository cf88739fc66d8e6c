package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// ErrNewer says that a later submission of the same key has begun, so that this one's figures may be old ones.
var ErrNewer = errors.New("a later submission of the same data set, period and source has begun")

// ErrThinned says that the evidence of a submission is not kept any more.
var ErrThinned = errors.New("its content is not kept any more")

// Reopen lets what failed of an ended submission go again, with the job that next adds. One of which nothing was sent begins
// anew, from the state Queued. Of another one the chunks that DHIS2 did not take whole go again, from the state Ready: what
// it refused counts as unsent then, and what it took of them as unknown until it answers. It says in which state it is.
//
// ErrState says that it has not ended, or that nothing failed; ErrNewer that a later one has begun, whose figures these
// must not overwrite; ErrThinned that its content is gone; a *SharedError that another source has sent an org unit of it
// meanwhile, or is about to.
func (l *Ledger) Reopen(ctx context.Context, id string, next Next) (state State, err error) {
	err = l.write(ctx, "let submission "+id+" go again", func(tx *sql.Tx) error {
		s, err := submission(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := l.mayReopen(ctx, tx, s); err != nil {
			return err
		}
		chunks, err := failedChunks(ctx, tx, s)
		if err != nil {
			return err
		}
		state = Ready
		switch {
		case chunks.recorded == 0:
			state, err = Queued, startAnew(ctx, tx, s)
		case len(chunks.failed) == 0 && s.Counts.Unknown+s.Counts.Unsent == 0:
			return fmt.Errorf("%w: DHIS2 took every chunk of it", ErrState)
		default:
			for _, c := range chunks.failed {
				if err := l.takeBack(ctx, tx, s, c); err != nil {
					return err
				}
			}
		}
		if err == nil {
			err = notShared(ctx, tx, s, s.PreparedAt)
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE submission SET state = $1, claim = $2, reason = '', error = '', remedy = '', ended_at = 0,
			cancelled_by = '', unit_states = '{}', retries = retries + 1 WHERE number = $3`,
			state, sql.NullInt64{Int64: int64(s.series), Valid: !s.DryRun}, s.number); err != nil {
			return err
		}
		return next.call(ctx, tx, id)
	})
	return state, err
}

func (*Ledger) mayReopen(ctx context.Context, tx *sql.Tx, s Submission) error {
	switch {
	case !s.State.Ended():
		return fmt.Errorf("%w: it is %s", ErrState, s.State)
	case s.State == Accepted, s.State == Unchanged:
		return fmt.Errorf("%w: it is %s, and nothing of it failed", ErrState, s.State)
	case !s.ThinnedAt.IsZero():
		return ErrThinned
	}
	var later int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM submission WHERE series = $1 AND number > $2 AND dry_run = 0`, s.series, s.number).Scan(&later); err != nil {
		return err
	}
	if later > 0 {
		return ErrNewer
	}
	return nil
}

type chunkCount struct {
	recorded int
	failed   []Chunk
}

// failedChunks are those that DHIS2 has answered and not taken whole.
func failedChunks(ctx context.Context, tx *sql.Tx, s Submission) (count chunkCount, err error) {
	rows, err := tx.QueryContext(ctx, chunkColumns+` ORDER BY number`, s.number)
	err = each(rows, err, func() error {
		c, err := scanChunk(rows.Scan)
		count.recorded++
		if c.State == ChunkRefused || c.State == ChunkPartlyAccepted {
			count.failed = append(count.failed, c)
		}
		return err
	})
	return count, err
}

// Restart takes a submission back to the state Queued, with the job that next adds, as what preparing left is too old to be
// sent. ErrState says that it is not being prepared or sent, or that some of it was sent.
func (l *Ledger) Restart(ctx context.Context, id string, next Next) error {
	return l.write(ctx, "prepare submission "+id+" anew", func(tx *sql.Tx) error {
		s, err := submission(ctx, tx, id)
		if err != nil {
			return err
		}
		var chunks int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM chunk WHERE submission = $1`, s.number).Scan(&chunks); err != nil {
			return err
		}
		if chunks > 0 || s.State != Ready && s.State != Sending {
			return fmt.Errorf("%w: it is %s, with %d chunks", ErrState, s.State, chunks)
		}
		if err := startAnew(ctx, tx, s); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE submission SET state = $1 WHERE number = $2`, Queued, s.number); err != nil {
			return err
		}
		return next.call(ctx, tx, id)
	})
}

// startAnew takes back all that preparing left.
func startAnew(ctx context.Context, tx *sql.Tx, s Submission) error {
	for _, table := range []string{"content", "org_unit_outcome", "quarantine"} {
		//nolint:gosec // the tables are those above
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE submission = $1`, s.number); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `UPDATE submission SET dialect = '', prepared_at = 0, parts = 0, fetched = 0, dropped = 0, quarantined = 0,
		unchanged = 0, held = 0, accepted = 0, refused = 0, unknown = 0, unsent = 0, not_kept = 0, issues_total = 0, issues = NULL, facts = '{}',
		approved_by = '', adds_up = 0, same_units = 0, completeness = '' WHERE number = $1`, s.number)
	return err
}

// takeBack splits a chunk, so that its range goes again, and counts its values as what they are until then.
func (l *Ledger) takeBack(ctx context.Context, tx *sql.Tx, s Submission, c Chunk) error {
	refused := map[string]int{}
	var packed []byte
	if err := tx.QueryRowContext(ctx, `SELECT refused_cells FROM chunk WHERE submission = $1 AND number = $2`, s.number, c.Number).Scan(&packed); err != nil {
		return err
	}
	cells, err := expand[RefusedCell](packed)
	if err != nil {
		return err
	}
	for _, cell := range cells {
		refused[cell.OrgUnit]++
	}
	tried := c.State == ChunkPartlyAccepted
	b := &booking{l: l, tx: tx, submission: s, chunk: c, state: ChunkSplit, tried: tried, answer: Answer{Split: true, Outcome: dhis2.Outcome{NotKept: -c.NotKept}}}
	err = eachPart(ctx, tx, s.number, c.Range, func(row contentRow) (bool, error) {
		no := min(refused[row.OrgUnit], row.size)
		refused[row.OrgUnit] -= no
		u := unitBooking{orgUnit: row.OrgUnit, refused: -no, accepted: no - row.size}
		if tried {
			u.unknown = row.size
		} else {
			u.unsent = row.size
		}
		b.units = append(b.units, u)
		return true, nil
	})
	if err != nil {
		return err
	}
	if err := errors.Join(b.saveOrgUnits(ctx), b.saveTotals(ctx)); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE chunk SET state = $1, tried = $2, accepted = 0, refused = 0, not_kept = 0, refused_cells = NULL
		WHERE submission = $3 AND number = $4`, ChunkSplit, number(tried), s.number, c.Number)
	return err
}
