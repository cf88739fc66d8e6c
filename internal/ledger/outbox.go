package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Letter is something that waits to be told to somebody who may be away: a report, a notice.
type Letter struct {
	Number int
	// Kind says what it is and to whom it goes. Letters of one kind go in the order in which they came.
	Kind string
	// Subject makes it one: a second letter of the same kind and subject takes the place of the first one.
	Subject string
	// Version says what is told of the subject. A letter with the version that was posted last is not posted again: its
	// news is no news. Empty tells something new each time.
	Version string
	// Follows posts the letter only where one of another version was posted before: that a trouble has ended is news for
	// those only who were told of it.
	Follows bool
	Body    []byte

	CreatedAt, NextAt time.Time
	Attempts          int
	Failure           string
}

// LetterLimit is the largest body that is kept.
const LetterLimit = 4 << 20

const (
	letterWaiting = "waiting"
	letterDone    = "done"
	letterParked  = "parked"
)

// Post puts a letter into the outbox. A letter of the same kind and subject that waits, or was delivered or parked, is
// replaced and goes again.
func (l *Ledger) Post(ctx context.Context, letter Letter) error {
	return l.write(ctx, "post a "+letter.Kind, func(tx *sql.Tx) error { return l.PostTx(ctx, tx, letter) })
}

// PostTx is Post within the transaction that a Next is given.
func (l *Ledger) PostTx(ctx context.Context, tx *sql.Tx, letter Letter) error {
	if len(letter.Body) > LetterLimit {
		return fmt.Errorf("the %s about %s has %d bytes, and %d are the most", letter.Kind, letter.Subject, len(letter.Body), LetterLimit)
	}
	if news, err := l.isNews(ctx, tx, letter); err != nil || !news {
		return err
	}
	body, err := compress(letter.Body)
	if err != nil {
		return err
	}
	var number int
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(number), 0) + 1 FROM outbox`).Scan(&number); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO outbox (number, kind, subject, version, state, created_at, next_at, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (kind, subject) DO UPDATE SET number = excluded.number, version = excluded.version, state = excluded.state,
		created_at = excluded.created_at, next_at = excluded.next_at, body = excluded.body, attempts = 0, failure = ''`,
		number, letter.Kind, letter.Subject, letter.Version, letterWaiting, l.now(), msOf(letter.NextAt), body)
	return err
}

// isNews says whether a letter tells something that the last one of its subject did not.
func (*Ledger) isNews(ctx context.Context, tx *sql.Tx, letter Letter) (bool, error) {
	if letter.Version == "" {
		return true, nil
	}
	var version string
	err := tx.QueryRowContext(ctx, `SELECT version FROM outbox WHERE kind = $1 AND subject = $2`, letter.Kind, letter.Subject).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return !letter.Follows, nil
	}
	return version != letter.Version, err
}

// NextLetter gives the first letter of a kind, and false where none is due: each waits for the one before it.
func (l *Ledger) NextLetter(ctx context.Context, kind string) (letter Letter, due bool, err error) {
	err = l.read(ctx, "read the outbox", func(tx *sql.Tx) error {
		var created, next int64
		err := tx.QueryRowContext(ctx, `SELECT number, kind, subject, version, created_at, next_at, attempts, failure, body FROM outbox
			WHERE state = $1 AND kind = $2 ORDER BY number LIMIT 1`, letterWaiting, kind).
			Scan(&letter.Number, &letter.Kind, &letter.Subject, &letter.Version, &created, &next, &letter.Attempts, &letter.Failure, &letter.Body)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			letter.Body, err = decompress(letter.Body)
		}
		letter.CreatedAt, letter.NextAt = timeOf(created), timeOf(next)
		due = err == nil && next <= l.now()
		return err
	})
	if err != nil || !due {
		return Letter{}, false, err
	}
	return letter, true, nil
}

// Postpone keeps a letter that could not be delivered for another time.
func (l *Ledger) Postpone(ctx context.Context, letter Letter, until time.Time, failure string) error {
	return l.mark(ctx, letter, `UPDATE outbox SET attempts = attempts + 1, next_at = $1, failure = $2 WHERE number = $3 AND state = $4`,
		msOf(until), cut(failure), letter.Number, letterWaiting)
}

// Delivered ends a letter. Its body is not kept.
func (l *Ledger) Delivered(ctx context.Context, letter Letter) error {
	return l.mark(ctx, letter, `UPDATE outbox SET state = $1, attempts = attempts + 1, next_at = $2, body = NULL, failure = '' WHERE number = $3 AND state = $4`,
		letterDone, l.now(), letter.Number, letterWaiting)
}

// Park keeps a letter that nobody will take, so that the next one may go. Its body stays.
func (l *Ledger) Park(ctx context.Context, letter Letter, failure string) error {
	return l.mark(ctx, letter, `UPDATE outbox SET state = $1, attempts = attempts + 1, next_at = $2, failure = $3 WHERE number = $4 AND state = $5`,
		letterParked, l.now(), cut(failure), letter.Number, letterWaiting)
}

// Unpark lets the letters of a kind go again that were parked and are younger than an age, and gives their numbers: what
// was wrong may be mended.
func (l *Ledger) Unpark(ctx context.Context, kind string, age time.Duration) (numbers []int, err error) {
	err = l.write(ctx, "let letters go again", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `UPDATE outbox SET state = $1, next_at = $2 WHERE state = $3 AND kind = $4 AND created_at > $5 RETURNING number`,
			letterWaiting, l.now(), letterParked, kind, l.now()-age.Milliseconds())
		return each(rows, err, func() error {
			var number int
			err := rows.Scan(&number)
			numbers = append(numbers, number)
			return err
		})
	})
	return numbers, err
}

// mark changes a letter; ErrStale says that it was replaced or ended meanwhile.
func (l *Ledger) mark(ctx context.Context, letter Letter, query string, args ...any) error {
	return l.write(ctx, "mark the "+letter.Kind+" about "+letter.Subject, func(tx *sql.Tx) error {
		n, err := affected(tx.ExecContext(ctx, query, args...))
		if err == nil && n == 0 {
			return ErrStale
		}
		return err
	})
}

// Backlog is how full the outbox is.
type Backlog struct {
	Waiting, Parked int
	// Failed is how many of those that wait were tried in vain.
	Failed int
	// Oldest is when the first letter that waits was posted; zero where none does.
	Oldest time.Time
}

// Backlog says how full the outbox is, of these kinds or else of all.
func (l *Ledger) Backlog(ctx context.Context, kinds ...string) (b Backlog, err error) {
	err = l.read(ctx, "read the outbox", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT kind, state, count(*), sum(CASE WHEN attempts > 0 THEN 1 ELSE 0 END), min(created_at)
			FROM outbox WHERE state IN ($1, $2) GROUP BY kind, state`, letterWaiting, letterParked)
		return each(rows, err, func() error {
			var kind, state string
			var n, tried int
			var oldest int64
			if err := rows.Scan(&kind, &state, &n, &tried, &oldest); err != nil {
				return err
			}
			switch {
			case len(kinds) > 0 && !slices.Contains(kinds, kind):
			case state == letterParked:
				b.Parked += n
			default:
				b.Waiting += n
				b.Failed += tried
				if at := timeOf(oldest); b.Oldest.IsZero() || at.Before(b.Oldest) {
					b.Oldest = at
				}
			}
			return nil
		})
	})
	return b, err
}
