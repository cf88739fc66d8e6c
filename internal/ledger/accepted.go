package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// AcceptedPart is what DHIS2 last accepted of an org unit and attribute option combo.
type AcceptedPart struct {
	AttributeOptionCombo, OrgUnit string
	// CHT is the source of it.
	CHT string
	// Hash is that of a Part with the same values.
	Hash Hash

	ledger *Ledger
	number int
	packed []byte
}

// Values gives the values, ordered by data element and category option combo.
func (a AcceptedPart) Values() ([]dhis2.DataValue, error) {
	return a.ledger.unpack(nil, a.OrgUnit, a.packed)
}

const acceptedPage = 500

// Accepted gives what DHIS2 last accepted of a key, ordered by org unit and attribute option combo. It reads page by page,
// so that a slow reader holds nobody up; what is accepted meanwhile may be among it or not.
func (l *Ledger) Accepted(ctx context.Context, k Key) iter.Seq2[AcceptedPart, error] {
	return l.accepted(ctx, k, `r.source = $4`)
}

// AcceptedOfOthers gives what DHIS2 last accepted of the same data set and period from other sources, ordered by org unit and
// attribute option combo.
func (l *Ledger) AcceptedOfOthers(ctx context.Context, k Key) iter.Seq2[AcceptedPart, error] {
	return l.accepted(ctx, k, `r.source <> $4`)
}

func (l *Ledger) accepted(ctx context.Context, k Key, which string) iter.Seq2[AcceptedPart, error] {
	return l.pages(func(last *AcceptedPart) ([]AcceptedPart, error) {
		return l.partsAfter(ctx, k, last, `l.series`, `SELECT l.series, l.attribute_option_combo, l.org_unit, r.source, l.hash, l.packed
			FROM ledger l JOIN series r ON r.number = l.series WHERE r.dhis2 = $1 AND r.data_set = $2 AND r.period = $3 AND `+which)
	})
}

// pages gives what is read page by page.
func (*Ledger) pages(after func(last *AcceptedPart) ([]AcceptedPart, error)) iter.Seq2[AcceptedPart, error] {
	return func(yield func(AcceptedPart, error) bool) {
		var last *AcceptedPart
		for {
			page, err := after(last)
			if err != nil {
				yield(AcceptedPart{}, err)
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
				last = &page[i]
			}
			if len(page) < acceptedPage {
				return
			}
		}
	}
}

// partsAfter reads a page behind the last part of the one before, or the first page where that is nil. Where an org unit has
// several parts of a combo, number orders them.
func (l *Ledger) partsAfter(ctx context.Context, k Key, last *AcceptedPart, number, query string) (page []AcceptedPart, err error) {
	err = l.read(ctx, "read what DHIS2 accepted of "+k.name(), func(tx *sql.Tx) error {
		if err := l.names.refresh(ctx, tx); err != nil {
			return err
		}
		args := []any{k.DHIS2, k.DataSet, k.Period.String(), k.CHT, acceptedPage}
		if last != nil {
			query += ` AND (l.org_unit, l.attribute_option_combo, ` + number + `) > ($6, $7, $8)`
			args = append(args, last.OrgUnit, last.AttributeOptionCombo, last.number)
		}
		rows, err := tx.QueryContext(ctx, query+` ORDER BY l.org_unit, l.attribute_option_combo, `+number+` LIMIT $5`, args...)
		return each(rows, err, func() error {
			part := AcceptedPart{ledger: l}
			var hash []byte
			err := rows.Scan(&part.number, &part.AttributeOptionCombo, &part.OrgUnit, &part.CHT, &hash, &part.packed)
			copy(part.Hash[:], hash)
			page = append(page, part)
			return err
		})
	})
	return page, err
}

// Tried gives what went to DHIS2 in requests whose outcome stayed unknown when their submission ended, those too that were
// split afterwards, ordered by org unit and attribute option combo: DHIS2 may hold it. Once a later submission got a part
// accepted, what was tried of it before is past.
func (l *Ledger) Tried(ctx context.Context, k Key) iter.Seq2[AcceptedPart, error] {
	return l.pages(func(last *AcceptedPart) ([]AcceptedPart, error) {
		return l.partsAfter(ctx, k, last, `l.submission`, `SELECT l.submission, l.attribute_option_combo, l.org_unit, r.source, l.hash, l.packed
			FROM series r JOIN submission s ON s.series = r.number AND s.ended_at > 0 AND s.dry_run = 0
			JOIN chunk k ON k.submission = s.number AND (k.state IN ('unknown', 'sending') OR k.state = 'split' AND k.tried = 1)
			JOIN content l ON l.submission = s.number AND l.place >= k.first_part AND l.place < k.end_part
			WHERE r.dhis2 = $1 AND r.data_set = $2 AND r.period = $3 AND r.source = $4 AND NOT EXISTS (SELECT 1 FROM ledger a WHERE a.series = r.number
				AND a.org_unit = l.org_unit AND a.attribute_option_combo = l.attribute_option_combo AND a.submission > l.submission)`)
	})
}

// Forget removes what DHIS2 accepted of a key, of these org units or of all where none is given: the next submission compares
// them with what DHIS2 holds only. That they were registered as complete is forgotten too, so that this is never undone. It says of how
// many org units something was forgotten. ErrState says that a submission of the key is unfinished, which rests on them.
func (l *Ledger) Forget(ctx context.Context, k Key, orgUnits ...string) (forgotten int, err error) {
	err = l.write(ctx, "forget what DHIS2 accepted of "+k.name(), func(tx *sql.Tx) error {
		series, err := knownSeries(ctx, tx, k)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := notUnfinished(ctx, tx, series); err != nil {
			return err
		}
		if len(orgUnits) == 0 {
			if err := tx.QueryRowContext(ctx, `SELECT count(DISTINCT org_unit) FROM ledger WHERE series = $1`, series).Scan(&forgotten); err != nil {
				return err
			}
			for _, table := range []string{"registration", "ledger"} {
				//nolint:gosec // the tables are those above
				if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE series = $1`, series); err != nil {
					return err
				}
			}
			return nil
		}
		for _, orgUnit := range orgUnits {
			if _, err := tx.ExecContext(ctx, `DELETE FROM registration WHERE series = $1 AND org_unit = $2`, series, orgUnit); err != nil {
				return err
			}
			parts, err := affected(tx.ExecContext(ctx, `DELETE FROM ledger WHERE series = $1 AND org_unit = $2`, series, orgUnit))
			if err != nil {
				return err
			}
			if parts > 0 {
				forgotten++
			}
		}
		return nil
	})
	return forgotten, err
}

// Adopt remembers values as accepted by DHIS2 that it holds already, in the place of what was remembered of the same cells. A
// part is good until the next one. ErrState says that a submission of the key is unfinished.
func (l *Ledger) Adopt(ctx context.Context, k Key, parts iter.Seq2[Part, error]) error {
	var pack *packer
	err := l.write(ctx, "adopt what DHIS2 holds of "+k.name(), func(tx *sql.Tx) error {
		series, err := seriesOf(ctx, tx, k)
		if err != nil {
			return err
		}
		if err := notUnfinished(ctx, tx, series); err != nil {
			return err
		}
		if pack, err = l.packer(ctx, tx); err != nil {
			return err
		}
		return l.agree(ctx, tx, pack, Submission{series: series}, parts)
	})
	if err == nil {
		pack.learn()
	}
	return err
}

// notUnfinished gives ErrState where a submission of a series is unfinished.
func notUnfinished(ctx context.Context, tx *sql.Tx, series int) error {
	var unfinished int
	err := tx.QueryRowContext(ctx, `SELECT count(*) FROM submission WHERE claim = $1`, series).Scan(&unfinished)
	if err == nil && unfinished > 0 {
		err = fmt.Errorf("%w: a submission of it is unfinished", ErrState)
	}
	return err
}

// agree remembers values that DHIS2 holds already.
func (l *Ledger) agree(ctx context.Context, tx *sql.Tx, pack *packer, s Submission, parts iter.Seq2[Part, error]) error {
	if parts == nil || s.DryRun {
		return nil
	}
	memory, err := l.memory(ctx, tx, pack, s)
	if err != nil {
		return err
	}
	for part, err := range parts {
		if err != nil {
			return err
		}
		var base []byte
		err := tx.QueryRowContext(ctx, `SELECT packed FROM ledger WHERE series = $1 AND org_unit = $2 AND attribute_option_combo = $3`,
			s.series, part.OrgUnit, part.AttributeOptionCombo).Scan(&base)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := memory.merge(ctx, part.AttributeOptionCombo, part.OrgUnit, base, part.Values); err != nil {
			return err
		}
	}
	return memory.end(ctx)
}

// memory writes down what DHIS2 accepted of a submission's key.
type memory struct {
	l          *Ledger
	tx         *sql.Tx
	pack       *packer
	submission Submission
	rows       *batch
	any        bool
}

func (l *Ledger) memory(ctx context.Context, tx *sql.Tx, pack *packer, s Submission) (*memory, error) {
	rows, err := newBatch(ctx, tx, `INSERT INTO ledger (series, org_unit, attribute_option_combo, submission, hash, packed) VALUES`, 6,
		`ON CONFLICT (series, org_unit, attribute_option_combo) DO UPDATE SET submission = excluded.submission, hash = excluded.hash,
			packed = excluded.packed`)
	return &memory{l: l, tx: tx, pack: pack, submission: s, rows: rows}, err
}

func (m *memory) add(ctx context.Context, attributeOptionCombo, orgUnit string, hash, packed []byte) error {
	m.any = true
	return m.rows.add(ctx, m.submission.series, orgUnit, attributeOptionCombo, m.submission.number, hash, packed)
}

// merge puts values over those that are remembered of an org unit; what was deleted is forgotten.
func (m *memory) merge(ctx context.Context, attributeOptionCombo, orgUnit string, base []byte, taken []dhis2.DataValue) error {
	values, err := m.l.unpack(slices.Clone(taken), orgUnit, base)
	if err != nil {
		return err
	}
	// The sort keeps the taken value before the held one of the same cell, and compacting keeps the first.
	slices.SortStableFunc(values, compareCells)
	values = slices.CompactFunc(values, func(a, b dhis2.DataValue) bool { return compareCells(a, b) == 0 })
	values = slices.DeleteFunc(values, func(v dhis2.DataValue) bool { return v.Deleted })
	if len(values) == 0 {
		m.any = true
		_, err := m.tx.ExecContext(ctx, `DELETE FROM ledger WHERE series = $1 AND org_unit = $2 AND attribute_option_combo = $3`,
			m.submission.series, orgUnit, attributeOptionCombo)
		return err
	}
	hash := Part{Values: values}.Hash()
	packed, err := m.pack.packAll(ctx, values)
	if err != nil {
		return err
	}
	return m.add(ctx, attributeOptionCombo, orgUnit, hash[:], packed)
}

// end writes what is left, and notes that DHIS2 took something of the key now.
func (m *memory) end(ctx context.Context) error {
	if err := m.rows.end(ctx); err != nil || !m.any {
		return err
	}
	return m.l.acceptedNow(ctx, m.tx, m.submission.series)
}

func (l *Ledger) acceptedNow(ctx context.Context, tx *sql.Tx, series int) error {
	_, err := tx.ExecContext(ctx, `UPDATE series SET accepted_at = $1 WHERE number = $2`, l.now(), series)
	return err
}

func compareCells(a, b dhis2.DataValue) int {
	return cmp.Or(cmp.Compare(a.DataElement, b.DataElement), cmp.Compare(a.CategoryOptionCombo, b.CategoryOptionCombo))
}

// cell names a cell of an org unit and attribute option combo.
type cell struct{ dataElement, categoryOptionCombo string }

func cellOf(v dhis2.DataValue) cell { return cell{v.DataElement, v.CategoryOptionCombo} }

// others sums up what DHIS2 accepted of an org unit and attribute option combo from the other sources of a series' data set and
// period.
func (l *Ledger) others(ctx context.Context, tx *sql.Tx, series int, orgUnit, attributeOptionCombo string) (map[cell]int, error) {
	sums := map[cell]int{}
	rows, err := tx.QueryContext(ctx, `SELECT l.packed FROM series own
		JOIN series r ON r.dhis2 = own.dhis2 AND r.data_set = own.data_set AND r.period = own.period AND r.number <> own.number
		JOIN ledger l ON l.series = r.number AND l.org_unit = $2 AND l.attribute_option_combo = $3 WHERE own.number = $1`, series, orgUnit, attributeOptionCombo)
	err = each(rows, err, func() error {
		var packed []byte
		if err := rows.Scan(&packed); err != nil {
			return err
		}
		values, err := l.unpack(nil, orgUnit, packed)
		for _, v := range values {
			whole, wrong := strconv.Atoi(v.Value)
			if wrong != nil {
				return fmt.Errorf("part of a sum: %w", wrong)
			}
			sums[cellOf(v)] += whole
		}
		return err
	})
	return sums, err
}
