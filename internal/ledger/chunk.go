package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// ChunkState is where a chunk stands.
type ChunkState string

// The states of a chunk.
const (
	// ChunkSending: recorded, and perhaps sent; its answer is not known here.
	ChunkSending ChunkState = "sending"
	// ChunkSplit: its values go, or went, in other chunks.
	ChunkSplit          ChunkState = "split"
	ChunkAccepted       ChunkState = "accepted"
	ChunkPartlyAccepted ChunkState = "partly_accepted"
	ChunkRefused        ChunkState = "refused"
	// ChunkUnknown: nobody can say what DHIS2 holds of it. The same text goes again.
	ChunkUnknown ChunkState = "unknown"
	// ChunkUnsent: DHIS2's import never saw it.
	ChunkUnsent ChunkState = "unsent"
)

// Settled says whether the chunk's fate is decided. One that is not is sent again, as it is, or split.
func (s ChunkState) Settled() bool {
	switch s {
	case ChunkSplit, ChunkAccepted, ChunkPartlyAccepted, ChunkRefused:
		return true
	default:
		return false
	}
}

// Chunk is a range of a submission's content that goes in one request, less what was set aside.
type Chunk struct {
	Range

	// Number counts the chunks of a submission, from 1; 0 is one that is not recorded.
	Number int
	// SetAside are the values of the range that do not go, each with the reason; their Index is the place in the range.
	// They count as refused when the chunk is answered.
	SetAside []dhis2.Refusal
	// Size is how many values go.
	Size int
	// Digest is of the text that is sent.
	Digest string

	State ChunkState
	// Tried says that its values went in a request whose end nobody knows, be it that of a chunk that was split into this
	// one: until an answer says more they count as unknown.
	Tried    bool
	Attempts int
	// CreatedAt is when it was recorded first, SentAt when last, AnsweredAt when the last answer came.
	CreatedAt, SentAt, AnsweredAt time.Time
	Accepted, Refused, NotKept    int
	// Failure says why the state is unknown or unsent.
	Failure string
	// Count is what DHIS2 counted.
	Count dhis2.ImportCount
}

// ErrChunk says that a chunk is not what was recorded under its number.
var ErrChunk = errors.New("the chunk is not the one that was recorded")

// Compose gives the next chunk out of a range: as many whole parts as have size values together, at least one, and all of
// one attribute option combo. It is not recorded yet, and nothing is set aside. An empty range gives a chunk without
// values.
func (l *Ledger) Compose(ctx context.Context, id string, from Range, size int) (c Chunk, values []dhis2.DataValue, combo string, err error) {
	c.Range = Range{From: from.From, To: from.From}
	from.To = min(from.To, from.From+max(size, 1)) // a part has a value at least; PostgreSQL sends all rows that are asked for
	err = l.read(ctx, "compose a chunk of submission "+id, func(tx *sql.Tx) error {
		s, err := brief(ctx, tx, id)
		if err == nil {
			err = l.names.refresh(ctx, tx)
		}
		if err != nil {
			return err
		}
		return eachPart(ctx, tx, s.number, from, func(row contentRow) (bool, error) {
			if len(values) > 0 && (row.AttributeOptionCombo != combo || len(values)+row.size > size) {
				return false, nil
			}
			combo, c.To = row.AttributeOptionCombo, row.place+1
			values, err = l.unpack(values, row.OrgUnit, row.packed)
			return len(values) < size, err
		})
	})
	c.Size = len(values)
	return c, values, combo, err
}

// Values gives what a chunk sends, in the order in which it is sent, and its attribute option combo: the same values every
// time.
func (l *Ledger) Values(ctx context.Context, id string, c Chunk) (values []dhis2.DataValue, combo string, err error) {
	err = l.read(ctx, "compose a chunk of submission "+id, func(tx *sql.Tx) error {
		s, err := brief(ctx, tx, id)
		if err == nil {
			err = l.names.refresh(ctx, tx)
		}
		if err != nil {
			return err
		}
		return eachPart(ctx, tx, s.number, c.Range, func(row contentRow) (bool, error) {
			combo = row.AttributeOptionCombo
			values, err = l.unpack(values, row.OrgUnit, row.packed)
			return true, err
		})
	})
	return c.less(values), combo, err
}

// less leaves out of the values of the range what was set aside.
func (c Chunk) less(values []dhis2.DataValue) []dhis2.DataValue {
	if len(c.SetAside) == 0 {
		return values
	}
	aside := c.aside()
	left := values[:0]
	for i, v := range values {
		if !aside[i] {
			left = append(left, v)
		}
	}
	return left
}

func (c Chunk) aside() map[int]bool {
	aside := map[int]bool{}
	for _, r := range c.SetAside {
		aside[r.Index] = true
	}
	return aside
}

// RecordChunk writes down that a chunk is about to be sent, and gives it with its number. One that has a number goes
// again: the digest must be the recorded one, as exactly the same text goes. Nothing may be sent before it returns. ErrState
// says that the submission is not being sent, or that the chunk's fate is decided.
func (l *Ledger) RecordChunk(ctx context.Context, id string, c Chunk) (recorded Chunk, err error) {
	err = l.write(ctx, "record a chunk of submission "+id, func(tx *sql.Tx) error {
		recorded, err = l.RecordChunkTx(ctx, tx, id, c)
		return err
	})
	return recorded, err
}

// RecordChunkTx is RecordChunk within the transaction that a Next is given, such as the one that books the answer to the
// chunk before.
func (l *Ledger) RecordChunkTx(ctx context.Context, tx *sql.Tx, id string, c Chunk) (Chunk, error) {
	s, err := brief(ctx, tx, id)
	if err != nil {
		return Chunk{}, err
	}
	if s.State != Sending {
		return Chunk{}, fmt.Errorf("%w: the submission is %s", ErrState, s.State)
	}
	if c.Number == 0 {
		c.Number, err = l.insertChunk(ctx, tx, s, c)
	} else {
		err = l.againChunk(ctx, tx, s, c)
	}
	if err != nil {
		return Chunk{}, err
	}
	return oneChunk(ctx, tx, s, c.Number)
}

func (l *Ledger) insertChunk(ctx context.Context, tx *sql.Tx, s Submission, c Chunk) (chunk int, err error) {
	if c.From < 0 || c.From >= c.To || c.To > s.Parts {
		return 0, fmt.Errorf("the range from %d to %d is not in the content, which has %d parts", c.From, c.To, s.Parts)
	}
	aside, err := squeeze(c.SetAside)
	if err != nil {
		return 0, err
	}
	// A chunk that is made of a split one takes over that its values may be there already: of several, what the last one says,
	// which was made of those before it.
	var tried int
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(number), 0) + 1, coalesce((SELECT tried FROM chunk
		WHERE submission = $1 AND state = $2 AND first_part <= $3 AND end_part >= $4 ORDER BY number DESC LIMIT 1), 0) FROM chunk WHERE submission = $1`,
		s.number, ChunkSplit, c.From, c.To).Scan(&chunk, &tried); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO chunk (submission, number, first_part, end_part, size, digest, state, tried, attempts, created_at, sent_at, set_aside)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, $11)`, s.number, chunk, c.From, c.To, c.Size, c.Digest, ChunkSending, tried, l.now(), l.now(), aside)
	return chunk, err
}

func (l *Ledger) againChunk(ctx context.Context, tx *sql.Tx, s Submission, c Chunk) error {
	before, err := oneChunk(ctx, tx, s, c.Number)
	switch {
	case err != nil:
		return err
	case before.State.Settled():
		return fmt.Errorf("%w: chunk %d is %s", ErrState, c.Number, before.State)
	case before.Digest != c.Digest || before.Range != c.Range:
		return fmt.Errorf("%w: chunk %d", ErrChunk, c.Number)
	}
	// Its values stay where they are counted: what was unknown is so until an answer says more.
	_, err = tx.ExecContext(ctx, `UPDATE chunk SET attempts = attempts + 1, sent_at = $1 WHERE submission = $2 AND number = $3`, l.now(), s.number, c.Number)
	return err
}

const chunkColumns = `SELECT number, first_part, end_part, size, digest, state, tried, attempts, created_at, sent_at, answered_at, accepted, refused,
	not_kept, failure, import_count, set_aside FROM chunk WHERE submission = $1`

func scanChunk(scan func(...any) error) (Chunk, error) {
	var c Chunk
	var created, sent, answered int64
	var count string
	var aside []byte
	if err := scan(&c.Number, &c.From, &c.To, &c.Size, &c.Digest, &c.State, &c.Tried, &c.Attempts, &created, &sent, &answered, &c.Accepted, &c.Refused,
		&c.NotKept, &c.Failure, &count, &aside); err != nil {
		return c, err
	}
	c.CreatedAt, c.SentAt, c.AnsweredAt = timeOf(created), timeOf(sent), timeOf(answered)
	var err error
	c.SetAside, err = expand[dhis2.Refusal](aside)
	return c, errors.Join(err, json.Unmarshal([]byte(count), &c.Count))
}

func oneChunk(ctx context.Context, tx *sql.Tx, s Submission, chunk int) (Chunk, error) {
	c, err := scanChunk(tx.QueryRowContext(ctx, chunkColumns+` AND number = $2`, s.number, chunk).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return c, fmt.Errorf("%w: there is no chunk %d", ErrChunk, chunk)
	}
	return c, err
}

// Chunks gives the recorded chunks of a submission by their numbers.
func (l *Ledger) Chunks(ctx context.Context, id string) (chunks []Chunk, err error) {
	err = l.read(ctx, "read the chunks of submission "+id, func(tx *sql.Tx) error {
		s, err := brief(ctx, tx, id)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, chunkColumns+` ORDER BY number`, s.number)
		return each(rows, err, func() error {
			c, err := scanChunk(rows.Scan)
			chunks = append(chunks, c)
			return err
		})
	})
	return chunks, err
}

// Remaining gives the ranges of a content of so many parts that no chunk covers, in their order. A chunk that was split
// covers nothing, but no range goes over its borders: what was in it may be there already, and what was not, is not. It is
// where sending goes on, after the chunks whose fate is not decided.
func Remaining(parts int, chunks []Chunk) []Range {
	var covered []Range
	borders := []int{0, parts}
	for _, c := range chunks {
		if c.State == ChunkSplit {
			borders = append(borders, c.From, c.To)
		} else {
			covered = append(covered, c.Range)
		}
	}
	slices.SortFunc(covered, func(a, b Range) int { return a.From - b.From })
	slices.Sort(borders)
	var left []Range
	at := 0
	for _, r := range append(covered, Range{From: parts, To: parts}) {
		for _, border := range borders {
			if border > at && border <= r.From {
				left = append(left, Range{From: at, To: border})
				at = border
			}
		}
		if r.From > at {
			left = append(left, Range{From: at, To: r.From})
		}
		at = max(at, r.To)
	}
	return left
}

// Refused gives every cell of a submission that DHIS2 did not take, chunk by chunk. Its Index is the place among the
// values of its chunk.
func (l *Ledger) Refused(ctx context.Context, id string) iter.Seq2[RefusedCell, error] {
	return func(yield func(RefusedCell, error) bool) {
		done := errors.New("done")
		err := l.read(ctx, "read the refused cells of submission "+id, func(tx *sql.Tx) error {
			rows, err := tx.QueryContext(ctx, `SELECT c.number, c.refused_cells FROM chunk c JOIN submission s ON s.number = c.submission
				WHERE s.id = $1 AND c.refused_cells IS NOT NULL ORDER BY c.number`, id)
			return each(rows, err, func() error {
				var chunk int
				var packed []byte
				if err := rows.Scan(&chunk, &packed); err != nil {
					return err
				}
				cells, err := expand[RefusedCell](packed)
				for _, cell := range cells {
					cell.Chunk = chunk
					if !yield(cell, nil) {
						return done
					}
				}
				return err
			})
		})
		if err != nil && !errors.Is(err, done) {
			yield(RefusedCell{}, err)
		}
	}
}

// RefusedCell is a cell that DHIS2 did not take.
type RefusedCell struct {
	dhis2.Refusal

	AttributeOptionCombo string
	Chunk                int
}
