package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
)

// ofItsType holds for the periods of a series r that are of the type of $4, a month, a quarter or a year, by how they are written: the
// period type of a data set may be changed, and a month is no measure of a quarter.
const ofItsType = `LENGTH(r.period) = LENGTH(CAST($4 AS text)) AND (r.period LIKE '%Q%') = (CAST($4 AS text) LIKE '%Q%')`

// AcceptedBefore gives the last period before the key's of which DHIS2 accepted something, of the same data set and source; "" where
// there is none.
func (l *Ledger) AcceptedBefore(ctx context.Context, k Key) (period string, err error) {
	err = l.read(ctx, "look for the period before "+k.name(), func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT r.period FROM series r
			WHERE r.dhis2 = $1 AND r.data_set = $2 AND r.source = $3 AND r.period < $4 AND `+ofItsType+`
				AND EXISTS (SELECT 1 FROM ledger l WHERE l.series = r.number)
			ORDER BY r.period DESC LIMIT 1`, k.DHIS2, k.DataSet, k.CHT, k.Period.String()).Scan(&period)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return period, err
}

// HasGone says that a submission of the whole of a key's period has gone, and DHIS2 accepted something of it.
func (l *Ledger) HasGone(ctx context.Context, k Key) (has bool, err error) {
	err = l.read(ctx, "look whether "+k.name()+" has gone", func(tx *sql.Tx) error {
		var count int
		err := tx.QueryRowContext(ctx, `SELECT count(*) FROM submission s JOIN series r ON r.number = s.series
			WHERE r.dhis2 = $1 AND r.data_set = $2 AND r.period = $3 AND r.source = $4 AND s.dry_run = 0 AND s.mode <> $5
				AND s.asked_units IN ('[]', 'null') AND s.accepted > 0`,
			k.DHIS2, k.DataSet, k.Period.String(), k.CHT, ModeRepair).Scan(&count)
		has = count > 0
		return err
	})
	return has, err
}

// SettingsBefore gives what the source's settings said of the data set when the last period before the key's went, and which period
// that is; "" where nobody knows.
func (l *Ledger) SettingsBefore(ctx context.Context, k Key) (period string, body []byte, err error) {
	err = l.read(ctx, "look for the settings before "+k.name(), func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT r.period, s.body FROM series r JOIN source_settings s ON s.number = r.settings
			WHERE r.dhis2 = $1 AND r.data_set = $2 AND r.source = $3 AND r.period < $4 AND `+ofItsType+`
			ORDER BY r.period DESC LIMIT 1`, k.DHIS2, k.DataSet, k.CHT, k.Period.String()).Scan(&period, &body)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return period, body, err
}

// keepSettings remembers the settings with which a series goes. Once something of it was accepted they stay: of a month that is read
// again, it is the first time that the next month is compared with.
func keepSettings(ctx context.Context, tx *sql.Tx, s Submission, body []byte) error {
	if body == nil || s.DryRun {
		return nil
	}
	digest := sha256.Sum256(body)
	number := 0
	const tries = 5 // another replica may take the number meanwhile
	for range tries {
		err := tx.QueryRowContext(ctx, `SELECT number FROM source_settings WHERE digest = $1`, digest[:]).Scan(&number)
		if err == nil {
			break
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		next := 0
		if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(number), 0) + 1 FROM source_settings`).Scan(&next); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO source_settings (number, digest, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, next, digest[:], body); err != nil {
			return err
		}
	}
	if number == 0 {
		return ErrStale
	}
	_, err := tx.ExecContext(ctx, `UPDATE series SET settings = $1 WHERE number = $2 AND (settings = 0 OR accepted_at = 0)`, number, s.series)
	return err
}
