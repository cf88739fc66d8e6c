package ledger

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/cht-dhis2/mediator/internal/target"
)

// TargetMonth names the target documents of one month of a CHT. The month is as in "202607".
type TargetMonth struct{ CHT, Month string }

func (m TargetMonth) name() string { return m.Month + " of CHT " + m.CHT }

// Revision stands for a revision of a document or contact: a part of its hash, enough to see that it is another one.
type Revision [16]byte

// RevisionOf gives what stands for a revision.
func RevisionOf(rev string) Revision {
	hash := sha256.Sum256([]byte(rev))
	return Revision(hash[:len(Revision{})])
}

// targetKey is the setting that keeps the key of the hashes.
const (
	targetKey      = "target_key"
	targetKeyBytes = 32
)

// TargetKey gives the key with which ids of contacts and documents are hashed here. It is made once a store, and never leaves it
// but in a backup: with another key everything would be read anew.
func (l *Ledger) TargetKey(ctx context.Context) (target.Key, error) {
	key, _, err := l.Setting(ctx, targetKey)
	if err != nil || len(key) > 0 {
		return key, err
	}
	fresh := make([]byte, targetKeyBytes)
	_, _ = rand.Read(fresh) // it never fails
	err = l.write(ctx, "make the key of contacts and documents", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO setting (name, saved_at, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, targetKey, l.now(), fresh); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT body FROM setting WHERE name = $1`, targetKey).Scan(&key) // of two processes one was first
	})
	return key, err
}

// TargetServer notes which server a CHT is. Where it was another one, its months are read in full and its owners looked at again,
// however lately that was done: the one may be a copy of the other in which somebody has moved.
func (l *Ledger) TargetServer(ctx context.Context, cht string, server target.ID) error {
	name := "target_server " + cht
	was, _, err := l.Setting(ctx, name)
	if err != nil || bytes.Equal(was, server[:]) {
		return err
	}
	return l.write(ctx, "note the server of CHT "+cht, func(tx *sql.Tx) error {
		for _, query := range []string{
			`UPDATE target_month SET full_at = 1 WHERE cht = $1 AND full_at > 0`, `DELETE FROM heard_month WHERE cht = $1`,
		} {
			if _, err := tx.ExecContext(ctx, query, cht); err != nil {
				return err
			}
		}
		if err := uncheckOwners(ctx, tx, cht); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO setting (name, saved_at, body) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET saved_at = excluded.saved_at, body = excluded.body`, name, l.now(), server[:])
		return err
	})
}

// TargetNames gives the ids of the targets of a CHT by their numbers.
func (l *Ledger) TargetNames(ctx context.Context, cht string) (names []string, err error) {
	err = l.read(ctx, "read the targets of CHT "+cht, func(tx *sql.Tx) error {
		names, err = targetNames(ctx, tx, cht)
		return err
	})
	return names, err
}

// AddTargetNames gives numbers to ids of targets that have none, and then all ids by their numbers.
func (l *Ledger) AddTargetNames(ctx context.Context, cht string, fresh []string) (names []string, err error) {
	err = l.write(ctx, "add targets of CHT "+cht, func(tx *sql.Tx) error {
		names, err = targetNames(ctx, tx, cht)
		if err != nil {
			return err
		}
		for _, name := range fresh {
			if slices.Contains(names, name) {
				continue
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO target_name (cht, number, name) VALUES ($1, $2, $3)`, cht, len(names), name); err != nil {
				return err
			}
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

func targetNames(ctx context.Context, from querier, cht string) (names []string, err error) {
	rows, err := from.QueryContext(ctx, `SELECT name FROM target_name WHERE cht = $1 ORDER BY number`, cht)
	err = each(rows, err, func() error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	})
	return names, err
}

// targetMonth gives the number of a month and when it was last read in full; 0 where nothing was ever kept of it.
func targetMonth(ctx context.Context, from querier, m TargetMonth) (number int, full time.Time, err error) {
	var fullAt int64
	err = from.QueryRowContext(ctx, `SELECT number, full_at FROM target_month WHERE cht = $1 AND month = $2`, m.CHT, m.Month).Scan(&number, &fullAt)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, time.Time{}, nil
	}
	return number, timeOf(fullAt), err
}

// keptMonth is targetMonth for one who writes: there is one afterwards.
func (l *Ledger) keptMonth(ctx context.Context, tx *sql.Tx, m TargetMonth) (number int, err error) {
	if number, _, err = targetMonth(ctx, tx, m); err != nil || number > 0 {
		return number, err
	}
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(number), 0) + 1 FROM target_month`).Scan(&number); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO target_month (number, cht, month, read_at) VALUES ($1, $2, $3, $4)`, number, m.CHT, m.Month, l.now())
	return number, err
}

// TargetMonthReadInFull notes that all documents of a month were read just now, not only those that had changed.
func (l *Ledger) TargetMonthReadInFull(ctx context.Context, m TargetMonth) error {
	return l.write(ctx, "note that "+m.name()+" was read in full", func(tx *sql.Tx) error {
		month, err := l.keptMonth(ctx, tx, m)
		if err == nil {
			_, err = tx.ExecContext(ctx, `UPDATE target_month SET full_at = $1 WHERE number = $2`, l.now(), month)
		}
		return err
	})
}
