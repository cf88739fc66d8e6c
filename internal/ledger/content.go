package ledger

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
)

// Part is the values of one org unit and attribute option combo: the least that goes in one request.
type Part struct {
	// AttributeOptionCombo is empty for the default one.
	AttributeOptionCombo, OrgUnit string
	// Values are ordered by data element and category option combo.
	Values []dhis2.DataValue
}

// Hash is of the values as they mean, whatever way they are stored: what Accepted gives for them later.
func (p Part) Hash() Hash {
	h := sha256.New()
	var size [binary.MaxVarintLen64]byte
	var line []byte
	for _, v := range p.Values {
		line = line[:0]
		value := v.Value
		if v.Deleted {
			value = deletion + value
		}
		for _, text := range [...]string{v.DataElement, v.CategoryOptionCombo, value, v.Comment} {
			line = append(line, size[:binary.PutUvarint(size[:], uint64(len(text)))]...)
			line = append(line, text...)
		}
		h.Write(line)
	}
	return Hash(h.Sum(nil)[:len(Hash{})])
}

// Hash stands for the values of a part.
type Hash [16]byte

// Preparation is what preparing a submission leaves.
type Preparation struct {
	// State is Ready, Held, or an end: Unchanged, Refused, Failed. Reason, Error and Remedy belong to an end, or tell why it
	// is held.
	State                 State
	Reason, Error, Remedy string
	Dialect               string
	// Counts are of all cells; Unsent must be the number of values in Content.
	Counts Counts
	// Content is what is to be sent, ordered by attribute option combo and org unit; nil is nothing. A part is good until
	// the next one.
	Content iter.Seq2[Part, error]
	// Agreed are values of org units that DHIS2 holds already: they are remembered as accepted, and deleted ones as gone. Nil
	// is nothing.
	Agreed iter.Seq2[Part, error]
	// AddsUp says that the values in Content are sums with those of the other sources, as they were at ReadAt.
	AddsUp bool
	ReadAt time.Time
	// Same is how many org units have not changed. They are not among OrgUnits.
	Same int
	// OrgUnits is what became of each org unit so far, each once, those of Content too: their Unsent is the number of
	// their values there. Nil is nothing.
	OrgUnits iter.Seq2[OrgUnitOutcome, error]
	// Quarantine are the cells that stay behind, those of one org unit together, each org unit once; nil is nothing.
	Quarantine iter.Seq2[[]QuarantinedCell, error]
	// Coverage says who has synced; nil where nobody knows. Its key is that of the submission.
	Coverage *Coverage
	Issues   []issue.Issue
	// Settings is what the source's settings say of the data set; nil is not told.
	Settings []byte
	// Facts is a JSON object of what the step knows of itself; nil is an empty one.
	Facts []byte
	// IssuesTotal is how many issues there are where it is more than the list holds.
	IssuesTotal int
}

// SharedError says that another source of the same data set and period sends, or has sent, an org unit of the content: the
// second would overwrite the first. Where their values add up, it has sent it since its part was read.
type SharedError struct {
	OrgUnit, CHT string
	// Unfinished says that the other one is about to send it.
	Unfinished bool
}

func (e *SharedError) Error() string {
	return "org unit " + e.OrgUnit + " comes from source " + e.CHT + " too"
}

// Prepared stores what preparing a submission left, in one transaction with the job that next adds. Memory does not grow
// with the content. ErrState says that the submission is not being prepared, a *SharedError that the content must not go.
func (l *Ledger) Prepared(ctx context.Context, id string, p Preparation, next Next) error {
	var pack *packer
	err := l.write(ctx, "store the content of submission "+id, func(tx *sql.Tx) error {
		s, err := standing(ctx, tx, id, p.State)
		if err != nil {
			return err
		}
		if !s.PreparedAt.IsZero() {
			return fmt.Errorf("%w: it is prepared", ErrState)
		}
		if pack, err = l.packer(ctx, tx); err != nil {
			return err
		}
		parts, err := storeContent(ctx, tx, pack, s, p)
		if err != nil {
			return err
		}
		s.AddsUp = p.AddsUp
		if err := notShared(ctx, tx, s, p.ReadAt); err != nil {
			return err
		}
		if err := l.agree(ctx, tx, pack, s, p.Agreed); err != nil {
			return err
		}
		if err := storeOrgUnits(ctx, tx, s, p.OrgUnits); err != nil {
			return err
		}
		if err := storeQuarantine(ctx, tx, s, p.Quarantine); err != nil {
			return err
		}
		if err := l.storeCoverage(ctx, tx, s, p.Coverage); err != nil {
			return err
		}
		if err := keepSettings(ctx, tx, s, p.Settings); err != nil {
			return err
		}
		if err := addIssues(ctx, tx, s, p.Issues, max(p.IssuesTotal, len(p.Issues))); err != nil {
			return err
		}
		if err := l.prepared(ctx, tx, s, p, parts); err != nil {
			return err
		}
		return next.call(ctx, tx, id)
	})
	if err == nil {
		pack.learn()
	}
	return err
}

func (l *Ledger) prepared(ctx context.Context, tx *sql.Tx, s Submission, p Preparation, parts int) error {
	c := p.Counts
	_, err := tx.ExecContext(ctx, `UPDATE submission SET state = $1, dialect = $2, prepared_at = $3, parts = $4, fetched = $5, dropped = $6,
		quarantined = $7, unchanged = $8, held = $9, accepted = $10, refused = $11, unknown = $12, unsent = $13, facts = $14,
		adds_up = $15, same_units = $16, reason = $17, error = $18, remedy = $19, waiting_for = '', waiting_since = 0 WHERE number = $20`,
		p.State, p.Dialect, l.now(), parts, c.Fetched, c.Dropped,
		c.Quarantined, c.Unchanged, c.Held, c.Accepted, c.Refused, c.Unknown, c.Unsent, cmp.Or(string(p.Facts), "{}"),
		number(p.AddsUp), p.Same, p.Reason, cut(p.Error), cut(p.Remedy), s.number)
	s.same = p.Same
	if err != nil || !p.State.Ended() {
		return err
	}
	return l.end(ctx, tx, s, End{State: p.State, Reason: p.Reason, Error: p.Error, Remedy: p.Remedy})
}

// notShared looks for an org unit of a submission's content that another source has, or is about to have, in DHIS2. Where the
// values add up it may have it, but not have changed it since its part of the sum was read.
func notShared(ctx context.Context, tx *sql.Tx, s Submission, read time.Time) error {
	if s.DryRun {
		return nil
	}
	for i, query := range []string{
		`SELECT c.org_unit, r.source FROM series r JOIN series own ON own.number = $1
			JOIN content c ON c.submission = $2
			JOIN ledger l ON l.series = r.number AND l.attribute_option_combo = c.attribute_option_combo AND l.org_unit = c.org_unit
			WHERE r.dhis2 = own.dhis2 AND r.data_set = own.data_set AND r.period = own.period AND r.number <> own.number AND r.accepted_at > $3 ORDER BY c.place LIMIT 1`,
		`SELECT c.org_unit, r.source FROM series r JOIN series own ON own.number = $1
			JOIN submission other ON other.claim = r.number
			JOIN content o ON o.submission = other.number
			JOIN content c ON c.submission = $2 AND c.org_unit = o.org_unit AND c.attribute_option_combo = o.attribute_option_combo
			WHERE r.dhis2 = own.dhis2 AND r.data_set = own.data_set AND r.period = own.period AND r.number <> own.number ORDER BY c.place LIMIT 1`,
	} {
		e := SharedError{Unfinished: i == 1}
		args := []any{s.series, s.number}
		if i == 0 {
			since := int64(-1)
			if s.AddsUp {
				since = read.UnixMilli()
			}
			args = append(args, since)
		}
		err := tx.QueryRowContext(ctx, query, args...).Scan(&e.OrgUnit, &e.CHT)
		if err == nil {
			return &e
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	return nil
}

// storeContent packs the content away and makes sure of its order, on which ranges rest, and of its size. Rows are packed
// while the ones before them are written.
func storeContent(ctx context.Context, tx *sql.Tx, pack *packer, s Submission, p Preparation) (parts int, err error) {
	if p.Content == nil {
		return 0, sameSize(0, p)
	}
	rows, err := newBatch(ctx, tx, `INSERT INTO content (submission, place, attribute_option_combo, org_unit, size, hash, packed) VALUES`, 7, "")
	if err != nil {
		return 0, err
	}
	ready, stop := make(chan contentReady, packedAhead), make(chan struct{})
	go func() {
		defer close(ready)
		pack.content(ctx, s, p, func(row contentReady) bool {
			select {
			case ready <- row:
				return true
			case <-stop:
				return false
			}
		})
	}()
	defer func() {
		close(stop)
		for range ready { // until the packing has ended, which uses the transaction too
		}
	}()
	values := 0
	for row := range ready {
		if row.err == nil {
			pack.turn.Lock()
			row.err = rows.add(ctx, row.row...)
			pack.turn.Unlock()
		}
		if row.err != nil {
			return 0, row.err
		}
		parts++
		values += row.values
	}
	if err := rows.end(ctx); err != nil {
		return 0, err
	}
	return parts, sameSize(values, p)
}

func sameSize(values int, p Preparation) error {
	if values != p.Counts.Unsent {
		return fmt.Errorf("the content has %d values, and %d are to be sent", values, p.Counts.Unsent)
	}
	return nil
}

// packedAhead is how many rows may be packed that are not written yet.
const packedAhead = 64

// contentReady is a row of content to be written, or why there is none.
type contentReady struct {
	row    []any
	values int
	err    error
}

// content packs the parts, one after the other, as long as more are wanted.
func (p *packer) content(ctx context.Context, s Submission, from Preparation, yield func(contentReady) bool) {
	var last Part
	place := 0
	for part, err := range from.Content {
		if err == nil && place > 0 && cmp.Or(cmp.Compare(last.AttributeOptionCombo, part.AttributeOptionCombo), cmp.Compare(last.OrgUnit, part.OrgUnit)) >= 0 {
			err = fmt.Errorf("org unit %s is out of order", part.OrgUnit)
		}
		ready := contentReady{values: len(part.Values), err: err}
		if err == nil {
			ready.row, ready.err = p.row(ctx, s.number, place, part)
		}
		if !yield(ready) || ready.err != nil {
			return
		}
		last = Part{AttributeOptionCombo: part.AttributeOptionCombo, OrgUnit: part.OrgUnit}
		place++
	}
}

func (p *packer) row(ctx context.Context, submission, place int, part Part) ([]any, error) {
	packed, err := p.packAll(ctx, part.Values)
	hash := part.Hash()
	return []any{submission, place, part.AttributeOptionCombo, part.OrgUnit, len(part.Values), hash[:], packed}, err
}

func (p *packer) packAll(ctx context.Context, values []dhis2.DataValue) ([]byte, error) {
	const typical = 5
	b := make([]byte, 0, typical*len(values))
	var err error
	for _, v := range values {
		if b, err = p.pack(ctx, b, v); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Range is some parts of a content that follow one another: From is the first, To the one behind the last.
type Range struct{ From, To int }

// Content gives the parts of a range in their order, one at a time.
func (l *Ledger) Content(ctx context.Context, id string, r Range) iter.Seq2[Part, error] {
	return func(yield func(Part, error) bool) {
		err := l.read(ctx, "read the content of submission "+id, func(tx *sql.Tx) error {
			s, err := submission(ctx, tx, id)
			if err != nil {
				return err
			}
			if err := l.names.refresh(ctx, tx); err != nil {
				return err
			}
			return eachPart(ctx, tx, s.number, r, func(row contentRow) (bool, error) {
				values, err := l.unpack(nil, row.OrgUnit, row.packed)
				if err != nil {
					return false, err
				}
				row.Values = values
				return yield(row.Part, nil), nil
			})
		})
		if err != nil {
			yield(Part{}, err)
		}
	}
}

// contentRow is a row of content, its values still packed.
type contentRow struct {
	Part
	place, size int
	hash        []byte
	packed      []byte
}

// eachPart reads the rows of a range until f says that it is enough.
func eachPart(ctx context.Context, from querier, submission int, r Range, f func(contentRow) (more bool, err error)) error {
	rows, err := from.QueryContext(ctx, `SELECT place, attribute_option_combo, org_unit, size, hash, packed FROM content
		WHERE submission = $1 AND place >= $2 AND place < $3 ORDER BY place`, submission, r.From, r.To)
	enough := errors.New("enough")
	err = each(rows, err, func() error {
		var row contentRow
		if err := rows.Scan(&row.place, &row.AttributeOptionCombo, &row.OrgUnit, &row.size, &row.hash, &row.packed); err != nil {
			return err
		}
		more, err := f(row)
		if err == nil && !more {
			return enough
		}
		return err
	})
	if errors.Is(err, enough) {
		return nil
	}
	return err
}
