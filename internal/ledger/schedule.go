package ledger

import (
	"context"
	"database/sql"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// Planned is a key of the schedule: when it is due next, and what ran last.
type Planned struct {
	Key
	// Done says that nothing more is to be done for it.
	Done bool
	// DueAt is when it is due, StartedAt when its last submission began; Submission is that one's id.
	DueAt, StartedAt time.Time
	Submission       string
	// Revision is the one that was read; 0 is a key that is not in the schedule.
	Revision int
}

const (
	planDue  = "due"
	planDone = "done"
)

// Plan writes a key of the schedule down as it is given. ErrStale says that it was changed since it was read, or is there
// already: then whoever changed it does what is to be done.
func (l *Ledger) Plan(ctx context.Context, p Planned) error {
	return l.write(ctx, "schedule "+p.name(), func(tx *sql.Tx) error { return l.PlanTx(ctx, tx, p) })
}

// PlanTx is Plan within the transaction that a Next is given: of all who find a key due, one begins its submission.
func (*Ledger) PlanTx(ctx context.Context, tx *sql.Tx, p Planned) error {
	series, err := seriesOf(ctx, tx, p.Key)
	if err != nil {
		return err
	}
	state := planDue
	if p.Done {
		state = planDone
	}
	var changed int64
	if p.Revision == 0 {
		changed, err = affected(tx.ExecContext(ctx, `INSERT INTO schedule (series, state, due_at, started_at, submission, revision)
			VALUES ($1, $2, $3, $4, $5, 1) ON CONFLICT DO NOTHING`, series, state, msOf(p.DueAt), msOf(p.StartedAt), p.Submission))
	} else {
		changed, err = affected(tx.ExecContext(ctx, `UPDATE schedule SET state = $1, due_at = $2, started_at = $3, submission = $4,
			revision = revision + 1 WHERE series = $5 AND revision = $6`, state, msOf(p.DueAt), msOf(p.StartedAt), p.Submission, series, p.Revision))
	}
	if err == nil && changed == 0 {
		return ErrStale
	}
	return err
}

// Due gives the keys that are due, those first that have been so longest; limit 0 is 100.
func (l *Ledger) Due(ctx context.Context, limit int) ([]Planned, error) {
	if limit <= 0 {
		limit = defaultPage
	}
	return l.planned(ctx, `WHERE c.state = $1 AND c.due_at <= $2 ORDER BY c.due_at, c.series LIMIT $3`, planDue, l.now(), limit)
}

// Schedule gives all keys of the schedule, the done ones too, by data set, source and period.
func (l *Ledger) Schedule(ctx context.Context) ([]Planned, error) {
	return l.planned(ctx, `ORDER BY r.dhis2, r.data_set, r.source, r.period`)
}

func (l *Ledger) planned(ctx context.Context, where string, args ...any) (list []Planned, err error) {
	err = l.read(ctx, "read the schedule", func(tx *sql.Tx) error {
		//nolint:gosec // where is one of two texts above
		rows, err := tx.QueryContext(ctx, `SELECT r.dhis2, r.data_set, r.period, r.source, c.state, c.due_at, c.started_at, c.submission, c.revision
			FROM schedule c JOIN series r ON r.number = c.series `+where, args...)
		return each(rows, err, func() error {
			var p Planned
			var period, state string
			var due, started int64
			if err := rows.Scan(&p.DHIS2, &p.DataSet, &period, &p.CHT, &state, &due, &started, &p.Submission, &p.Revision); err != nil {
				return err
			}
			p.Done, p.DueAt, p.StartedAt = state == planDone, timeOf(due), timeOf(started)
			var err error
			p.Period, err = dhis2.ParsePeriod(period)
			list = append(list, p)
			return err
		})
	})
	return list, err
}
