package ledger

import (
	"context"
	"database/sql"
	"time"
)

// Keep says how many months each kind of memory is kept. A zero field is the default.
type Keep struct {
	// Evidence is the content, chunks, exchanges, issues and org units of a submission, counted from its end; 13 months by
	// default. Its totals stay, but for one that changed nothing, of which nothing stays.
	Evidence int
	// Totals is what remains of a submission; 120 months by default.
	Totals int
	// Accepted is what DHIS2 accepted of a key, counted from the last time that it accepted some; 36 months by default. A key
	// that is submitted later is compared with what DHIS2 holds only.
	Accepted int
	// Targets is what is remembered of target documents, counted from the last time that their month was read; 6 months by default.
	// Where their owners stood stays for as long as evidence does.
	Targets int
}

const (
	keepEvidence = 13
	keepTotals   = 120
	keepAccepted = 36
	keepTargets  = 6
	thinSlice    = 5
)

// Thin removes what is older than is to be kept and gives its room back to the disk, in small transactions, so that other
// work goes on between them. It may be ended at any time, and goes on the next time. It says how many submissions were
// thinned or removed.
func (l *Ledger) Thin(ctx context.Context, keep Keep) (thinned int, err error) {
	for {
		n, err := l.thinSlice(ctx, keep)
		thinned += n
		if err != nil {
			return thinned, err
		}
		if n < thinSlice {
			break
		}
	}
	if err := l.thinRest(ctx, keep); err != nil {
		return thinned, err
	}
	return thinned, l.giveBack(ctx)
}

// before is so many months ago.
func (l *Ledger) before(months, byDefault int) int64 {
	if months <= 0 {
		months = byDefault
	}
	return timeOf(l.now()).AddDate(0, -months, 0).UnixMilli()
}

// thinSlice thins some submissions, the oldest first.
func (l *Ledger) thinSlice(ctx context.Context, keep Keep) (thinned int, err error) {
	err = l.write(ctx, "thin old submissions", func(tx *sql.Tx) error {
		var old []int
		rows, err := tx.QueryContext(ctx, `SELECT number FROM submission WHERE ended_at > 0 AND thinned_at = 0 AND ended_at < $1
			ORDER BY number LIMIT $2`, l.before(keep.Evidence, keepEvidence), thinSlice)
		err = each(rows, err, func() error {
			var number int
			err := rows.Scan(&number)
			old = append(old, number)
			return err
		})
		if err != nil {
			return err
		}
		for _, number := range old {
			if err := l.thin(ctx, tx, number); err != nil {
				return err
			}
		}
		thinned = len(old)
		return nil
	})
	return thinned, err
}

func (l *Ledger) thin(ctx context.Context, tx *sql.Tx, submission int) error {
	for _, table := range []string{"content", "chunk", "exchange", "org_unit_outcome", "quarantine", "request"} {
		//nolint:gosec // the tables are those above
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE submission = $1`, submission); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM submission WHERE number = $1 AND state = $2`, submission, Unchanged); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `UPDATE submission SET thinned_at = $1, issues = NULL WHERE number = $2`, l.now(), submission)
	return err
}

// thinRest removes what nobody can want any more. A key goes when nothing is left that belongs to it.
func (l *Ledger) thinRest(ctx context.Context, keep Keep) error {
	evidence, totals, accepted := l.before(keep.Evidence, keepEvidence), l.before(keep.Totals, keepTotals), l.before(keep.Accepted, keepAccepted)
	targets := l.before(keep.Targets, keepTargets)
	for _, step := range []struct {
		query string
		args  []any
	}{
		{`DELETE FROM target_document WHERE month IN (SELECT number FROM target_month WHERE read_at < $1)`, []any{targets}},
		{`UPDATE target_month SET full_at = 0 WHERE read_at < $1 AND full_at > 0`, []any{targets}},
		{`DELETE FROM target_month WHERE read_at < $1`, []any{min(targets, evidence)}},
		{`DELETE FROM submission WHERE thinned_at > 0 AND ended_at < $1`, []any{totals}},
		{`DELETE FROM outbox WHERE state <> $1 AND next_at < $2`, []any{letterWaiting, evidence}},
		{`DELETE FROM schedule WHERE state = $1 AND due_at < $2`, []any{planDone, accepted}},
		{`DELETE FROM ledger WHERE series IN (SELECT number FROM series WHERE accepted_at < $1)`, []any{accepted}},
		{`DELETE FROM registration WHERE changed_at < $1`, []any{accepted}},
		{`DELETE FROM coverage WHERE read_at < $1`, []any{evidence}},
		{`DELETE FROM heard_month WHERE read_at < $1`, []any{evidence}},
		{`DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM submission WHERE series = series.number)
			AND NOT EXISTS (SELECT 1 FROM ledger WHERE series = series.number)
			AND NOT EXISTS (SELECT 1 FROM registration g WHERE g.series = series.number OR g.form = series.number) AND NOT EXISTS (SELECT 1 FROM schedule WHERE series = series.number)
			AND NOT EXISTS (SELECT 1 FROM coverage v WHERE v.series = series.number)`, nil},
	} {
		err := l.write(ctx, "remove what is old", func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, step.query, step.args...)
			return err
		})
		if err != nil {
			return err
		}
	}
	return l.thinTargetOwners(ctx, targets)
}

// giveBack returns free room to the disk.
func (l *Ledger) giveBack(ctx context.Context) error {
	return l.explain("give room back to the disk", l.store.giveBack(ctx))
}

// Size is how many bytes the database takes on disk, what it could give back included.
func (l *Ledger) Size(ctx context.Context) (bytes int64, err error) { return l.store.size(ctx) }

// Limits gives how many submissions may wait to be prepared, and how many bytes the database may take; 0 is no limit.
func (l *Ledger) Limits() (queue int, bytes int64) {
	if queue = l.config.QueueLimit; queue == 0 {
		queue = DefaultQueueLimit
	}
	return queue, l.config.Limit
}

// LastAccepted is when DHIS2 last accepted something of a key; the zero time where it never did.
func (l *Ledger) LastAccepted(ctx context.Context, k Key) (at time.Time, err error) {
	err = l.read(ctx, "read "+k.name(), func(tx *sql.Tx) error {
		var ms int64
		err := tx.QueryRowContext(ctx, `SELECT coalesce(max(accepted_at), 0) FROM series
			WHERE dhis2 = $1 AND data_set = $2 AND period = $3 AND source = $4`, k.DHIS2, k.DataSet, k.Period.String(), k.CHT).Scan(&ms)
		at = timeOf(ms)
		return err
	})
	return at, err
}
