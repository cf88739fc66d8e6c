package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
)

// QuarantinedCell is a cell that stays behind before anything is sent. Its JSON form is part of the program's output.
type QuarantinedCell struct {
	OrgUnit              string `json:"org_unit"`
	DataElement          string `json:"data_element"`
	CategoryOptionCombo  string `json:"category_option_combo"`
	AttributeOptionCombo string `json:"attribute_option_combo,omitempty"`
	// Value is empty where it is no number that could be sent.
	Value  string `json:"value,omitempty"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
	Remedy string `json:"remedy"`
}

// storeQuarantine stores cells, which come org unit by org unit.
func storeQuarantine(ctx context.Context, tx *sql.Tx, s Submission, units iter.Seq2[[]QuarantinedCell, error]) error {
	if units == nil {
		return nil
	}
	rows, err := newBatch(ctx, tx, `INSERT INTO quarantine (submission, org_unit, cells, packed) VALUES`, 4, "")
	if err != nil {
		return err
	}
	for cells, err := range units {
		var packed []byte
		if err == nil {
			packed, err = squeeze(cells)
		}
		if err == nil {
			err = rows.add(ctx, s.number, cells[0].OrgUnit, len(cells), packed)
		}
		if err != nil {
			return err
		}
	}
	return rows.end(ctx)
}

// Quarantine gives the cells of a submission that stay behind, org unit by org unit in the order of their ids, from the one
// after a given one on. They are those that preparing found; what DHIS2 refused is told by Refused.
func (l *Ledger) Quarantine(ctx context.Context, id, after string) iter.Seq2[[]QuarantinedCell, error] {
	return func(yield func([]QuarantinedCell, error) bool) {
		done := errors.New("done")
		err := l.read(ctx, "read what stays behind of submission "+id, func(tx *sql.Tx) error {
			rows, err := tx.QueryContext(ctx, `SELECT packed FROM quarantine WHERE submission = (SELECT number FROM submission WHERE id = $1)
				AND org_unit > $2 ORDER BY org_unit`, id, after)
			return each(rows, err, func() error {
				var packed []byte
				if err := rows.Scan(&packed); err != nil {
					return err
				}
				cells, err := expand[QuarantinedCell](packed)
				if err == nil && !yield(cells, nil) {
					err = done
				}
				return err
			})
		})
		if err != nil && !errors.Is(err, done) {
			yield(nil, err)
		}
	}
}

// Before gives the counts of the last submission of the same data set and source that was carried to its end, of the key's
// period or of one before of the same type, as a data set's may be changed; false where there is none. Those of chosen org units, dry runs, and those that a person has
// ended, that failed, or of which nothing was taken, as in a locked period, do not count.
func (l *Ledger) Before(ctx context.Context, k Key) (period string, c Counts, found bool, err error) {
	err = l.read(ctx, fmt.Sprintf("look for the submission before %s", k.name()), func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT r.period, s.fetched, s.dropped, s.quarantined FROM submission s JOIN series r ON r.number = s.series
			WHERE r.dhis2 = $1 AND r.data_set = $2 AND r.source = $3 AND r.period <= $4
				AND `+ofItsType+` AND s.dry_run = 0 AND s.mode = '' AND s.asked_units IN ('[]', 'null')
				AND s.state IN ($5, $6, $7) AND s.fetched > 0
			ORDER BY r.period DESC, s.number DESC LIMIT 1`,
			k.DHIS2, k.DataSet, k.CHT, k.Period.String(), Accepted, PartlyAccepted, Unchanged).Scan(&period, &c.Fetched, &c.Dropped, &c.Quarantined)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		found = err == nil
		return err
	})
	return period, c, found, err
}
