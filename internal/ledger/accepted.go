package ledger

import (
	"context"
	"database/sql"
	"errors"
	"iter"

	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// AcceptedPart is what DHIS2 last accepted of an org unit and attribute option combo.
type AcceptedPart struct {
	AttributeOptionCombo, OrgUnit string
	// Hash is that of a Part with the same values.
	Hash Hash

	ledger *Ledger
	packed []byte
}

// Values gives the values, ordered by data element and category option combo.
func (a AcceptedPart) Values() ([]dhis2.DataValue, error) {
	return a.ledger.unpack(nil, a.OrgUnit, a.packed)
}

const acceptedPage = 500

// Accepted gives what DHIS2 last accepted of a key, ordered by attribute option combo and org unit, as content is. It reads
// page by page, so that a slow reader holds nobody up; what is accepted meanwhile may be among it or not.
func (l *Ledger) Accepted(ctx context.Context, k Key) iter.Seq2[AcceptedPart, error] {
	return func(yield func(AcceptedPart, error) bool) {
		var last AcceptedPart
		for first := true; ; first = false {
			page, err := l.acceptedAfter(ctx, k, last, first)
			if err != nil {
				yield(AcceptedPart{}, err)
				return
			}
			for _, part := range page {
				if !yield(part, nil) {
					return
				}
				last = part
			}
			if len(page) < acceptedPage {
				return
			}
		}
	}
}

func (l *Ledger) acceptedAfter(ctx context.Context, k Key, last AcceptedPart, first bool) (page []AcceptedPart, err error) {
	err = l.read(ctx, "read what DHIS2 accepted of "+k.name(), func(tx *sql.Tx) error {
		series, err := knownSeries(ctx, tx, k)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			err = l.names.refresh(ctx, tx)
		}
		if err != nil {
			return err
		}
		after, args := "", []any{series, acceptedPage}
		if !first {
			after = ` AND (attribute_option_combo, org_unit) > ($3, $4)`
			args = append(args, last.AttributeOptionCombo, last.OrgUnit)
		}
		//nolint:gosec // after is one of two texts above
		rows, err := tx.QueryContext(ctx, `SELECT attribute_option_combo, org_unit, hash, packed FROM ledger
			WHERE series = $1`+after+` ORDER BY attribute_option_combo, org_unit LIMIT $2`, args...)
		return each(rows, err, func() error {
			part := AcceptedPart{ledger: l}
			var hash []byte
			err := rows.Scan(&part.AttributeOptionCombo, &part.OrgUnit, &hash, &part.packed)
			copy(part.Hash[:], hash)
			page = append(page, part)
			return err
		})
	})
	return page, err
}

// Forget removes what DHIS2 accepted of a key, so that the next submission sends all of it, and says how many parts were
// forgotten.
func (l *Ledger) Forget(ctx context.Context, k Key) (parts int64, err error) {
	err = l.write(ctx, "forget what DHIS2 accepted of "+k.name(), func(tx *sql.Tx) error {
		series, err := knownSeries(ctx, tx, k)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		parts, err = affected(tx.ExecContext(ctx, `DELETE FROM ledger WHERE series = $1`, series))
		return err
	})
	return parts, err
}
