package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// SettingLimit is the largest setting that is kept.
const SettingLimit = 1 << 20

// SaveSetting keeps a value under a name, such as the last good configuration, in the place of the one before.
func (l *Ledger) SaveSetting(ctx context.Context, name string, value []byte) error {
	if len(value) > SettingLimit {
		return fmt.Errorf("keep setting %s: it has %d bytes, and %d are the most", name, len(value), SettingLimit)
	}
	return l.write(ctx, "keep setting "+name, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO setting (name, saved_at, body) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET saved_at = excluded.saved_at, body = excluded.body`, name, l.now(), append([]byte{}, value...))
		return err
	})
}

// Setting gives a value and when it was kept; nil and the zero time where there is none.
func (l *Ledger) Setting(ctx context.Context, name string) (value []byte, saved time.Time, err error) {
	err = l.read(ctx, "read setting "+name, func(tx *sql.Tx) error {
		var at int64
		err := tx.QueryRowContext(ctx, `SELECT saved_at, body FROM setting WHERE name = $1`, name).Scan(&at, &value)
		saved = timeOf(at)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return value, saved, err
}
