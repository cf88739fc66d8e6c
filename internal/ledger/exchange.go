package ledger

import (
	"context"
	"database/sql"
	"errors"
	"iter"
	"time"
)

// Exchanges are the calls of one step, or of one attempt of a chunk, as they were kept.
type Exchanges struct {
	// Step is the step that made them; Chunk is its chunk, or 0.
	Step      string
	Chunk     int
	CreatedAt time.Time
	// Body is JSON; nil where it was too large to be kept.
	Body []byte
	// Size is how many bytes it had.
	Size int
}

// exchanges are what is to be kept.
type exchanges struct {
	chunk, attempt int
	step           string
	body           []byte
}

// mostAttempts is how many attempts of one chunk, or rounds of one step, are kept with their calls: the first half and the
// last half of them, so that a server which is away for weeks does not fill the disk.
const mostAttempts = 20

// AddExchanges keeps the calls of a step, as JSON, beside the submission. More than ExchangeLimit is not kept; its size is.
func (l *Ledger) AddExchanges(ctx context.Context, id, step string, body []byte) error {
	return l.write(ctx, "keep the exchanges of submission "+id, func(tx *sql.Tx) error {
		s, err := submission(ctx, tx, id)
		if err != nil {
			return err
		}
		return l.addExchanges(ctx, tx, s, exchanges{step: step, body: body})
	})
}

func (l *Ledger) addExchanges(ctx context.Context, tx *sql.Tx, s Submission, e exchanges) error {
	if len(e.body) == 0 {
		return nil
	}
	var packed []byte
	if len(e.body) <= ExchangeLimit {
		var err error
		if packed, err = compress(e.body); err != nil {
			return err
		}
	}
	var number int
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(number), 0) + 1 FROM exchange WHERE submission = $1`, s.number).Scan(&number); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO exchange (submission, number, chunk, step, created_at, size, body)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, s.number, number, e.chunk, e.step, l.now(), len(e.body), packed)
	if err != nil || e.chunk > 0 && e.attempt <= mostAttempts {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM exchange WHERE submission = $1 AND number = (
			SELECT number FROM exchange WHERE submission = $1 AND chunk = $2 AND step = $3 ORDER BY number LIMIT 1 OFFSET $4)
		AND (SELECT count(*) FROM exchange WHERE submission = $1 AND chunk = $2 AND step = $3) > $5`,
		s.number, e.chunk, e.step, mostAttempts/2, mostAttempts)
	return err
}

// Exchanges gives what was kept of a submission's calls, in the order in which they were made.
func (l *Ledger) Exchanges(ctx context.Context, id string) iter.Seq2[Exchanges, error] {
	return func(yield func(Exchanges, error) bool) {
		done := errors.New("done")
		err := l.read(ctx, "read the exchanges of submission "+id, func(tx *sql.Tx) error {
			rows, err := tx.QueryContext(ctx, `SELECT e.step, e.chunk, e.created_at, e.size, e.body FROM exchange e
				JOIN submission s ON s.number = e.submission WHERE s.id = $1 ORDER BY e.number`, id)
			return each(rows, err, func() error {
				var e Exchanges
				var created int64
				err := rows.Scan(&e.Step, &e.Chunk, &created, &e.Size, &e.Body)
				if err == nil && len(e.Body) > 0 {
					e.Body, err = decompress(e.Body)
				}
				e.CreatedAt = timeOf(created)
				if err == nil && !yield(e, nil) {
					return done
				}
				return err
			})
		})
		if err != nil && !errors.Is(err, done) {
			yield(Exchanges{}, err)
		}
	}
}
