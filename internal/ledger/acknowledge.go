package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// Answer is what became of a recorded chunk.
type Answer struct {
	dhis2.Outcome
	// Split says that the chunk's values go in other chunks instead.
	Split bool
	// Exchanges are the tries of this attempt, as JSON. More than ExchangeLimit is not kept; its size is.
	Exchanges []byte
}

// ExchangeLimit is the most that is kept of the exchanges of one attempt.
const ExchangeLimit = 1 << 20

// Acknowledge books the answer to a recorded chunk: the chunk's state, what became of each org unit, what DHIS2 now holds of
// us, the exchanges, and the job that next adds, in one transaction. A chunk whose fate stays open may be answered again.
// ErrState says that its fate is decided already: nothing is booked twice. What a dry run was told is not remembered as
// accepted.
func (l *Ledger) Acknowledge(ctx context.Context, id string, chunk int, a Answer, next Next) error {
	var b *booking
	err := l.write(ctx, fmt.Sprintf("book the answer to chunk %d of submission %s", chunk, id), func(tx *sql.Tx) error {
		s, err := brief(ctx, tx, id)
		if err != nil {
			return err
		}
		if s.State.Ended() {
			return fmt.Errorf("%w: the submission is %s", ErrState, s.State)
		}
		c, err := oneChunk(ctx, tx, s, chunk)
		if err != nil {
			return err
		}
		if c.State.Settled() {
			return fmt.Errorf("%w: chunk %d is %s", ErrState, chunk, c.State)
		}
		b = &booking{l: l, tx: tx, submission: s, chunk: c, answer: a}
		if err := b.book(ctx); err != nil {
			return err
		}
		return next.call(ctx, tx, id)
	})
	if err == nil {
		b.pack.learn()
	}
	return err
}

// booking is the booking of one answer.
type booking struct {
	l          *Ledger
	tx         *sql.Tx
	pack       *packer
	submission Submission
	chunk      Chunk
	answer     Answer

	state ChunkState
	// tried says that, after this answer, the values may be in DHIS2 without anybody knowing.
	tried bool
	units []unitBooking
	cells []RefusedCell
}

// unitBooking is what one part of the chunk adds to its org unit, and to what DHIS2 holds.
type unitBooking struct {
	orgUnit                            string
	accepted, refused, unknown, unsent int
	answer                             string
	// all says that the whole part was taken; taken are the values that were, nil where it is the whole part and the ledger
	// holds nothing of the org unit. rest counts those that were not refused.
	all   bool
	row   contentRow
	base  []byte
	taken []dhis2.DataValue
	rest  int
}

func (b *booking) book(ctx context.Context) error {
	var err error
	if b.pack, err = b.l.packer(ctx, b.tx); err != nil {
		return err
	}
	b.state = ChunkState(b.answer.State)
	b.tried = b.chunk.Tried || b.state == ChunkUnknown
	switch {
	case b.answer.Split:
		b.state = ChunkSplit
	case b.state == ChunkAccepted && len(b.chunk.SetAside) > 0: // of what it was to bring in
		b.state = ChunkPartlyAccepted
	case b.tried && b.state == ChunkUnsent: // a request that did not arrive does not undo one that may have
		b.state = ChunkUnknown
	}
	whole, err := b.isWhole(ctx)
	if err != nil {
		return err
	}
	steps := []func(context.Context) error{b.read, b.saveChunk, b.saveOrgUnits, b.saveTotals, b.remember}
	if whole {
		steps = []func(context.Context) error{b.saveChunk, b.saveOrgUnitsWhole, b.saveTotals, b.rememberWhole}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return b.l.addExchanges(ctx, b.tx, b.submission, exchanges{chunk: b.chunk.Number, attempt: b.chunk.Attempts, step: "send", body: b.answer.Exchanges})
}

// isWhole says whether DHIS2 took all of the chunk, and the ledger holds nothing of its org units yet. So it is nearly
// always, and then the rows are made in the database, without looking at a value.
func (b *booking) isWhole(ctx context.Context) (bool, error) {
	if b.state != ChunkAccepted || len(b.answer.Refused) > 0 || len(b.chunk.SetAside) > 0 || b.submission.AddsUp {
		return false, nil
	}
	var size, held int
	err := b.tx.QueryRowContext(ctx, `SELECT coalesce(sum(c.size), 0), count(l.org_unit) FROM content c
		LEFT JOIN ledger l ON l.series = $1 AND l.attribute_option_combo = c.attribute_option_combo AND l.org_unit = c.org_unit
		WHERE c.submission = $2 AND c.place >= $3 AND c.place < $4`,
		b.submission.series, b.submission.number, b.chunk.From, b.chunk.To).Scan(&size, &held)
	if err != nil || held > 0 || size != b.chunk.Size {
		return false, err
	}
	total := unitBooking{accepted: size, unsent: -size}
	if b.chunk.Tried {
		total.unsent, total.unknown = 0, -size
	}
	b.units = []unitBooking{total}
	return true, nil
}

// saveOrgUnitsWhole counts the values of each org unit of a chunk that was taken whole.
func (b *booking) saveOrgUnitsWhole(ctx context.Context) error {
	from := `unsent`
	if b.chunk.Tried {
		from = `unknown`
	}
	_, err := b.tx.ExecContext(ctx, `INSERT INTO org_unit_outcome (submission, org_unit, accepted, `+from+`)
		SELECT submission, org_unit, sum(size), -sum(size) FROM content WHERE submission = $1 AND place >= $2 AND place < $3 GROUP BY submission, org_unit
		ON CONFLICT (submission, org_unit) DO UPDATE SET accepted = org_unit_outcome.accepted + excluded.accepted,
			`+from+` = org_unit_outcome.`+from+` + excluded.`+from, b.submission.number, b.chunk.From, b.chunk.To)
	return err
}

// rememberWhole writes down that DHIS2 holds the parts of a chunk as they were sent.
func (b *booking) rememberWhole(ctx context.Context) error {
	if b.submission.DryRun {
		return nil
	}
	if _, err := b.tx.ExecContext(ctx, `INSERT INTO ledger (series, attribute_option_combo, org_unit, submission, hash, packed)
		SELECT CAST($1 AS integer), attribute_option_combo, org_unit, submission, hash, packed FROM content
		WHERE submission = $2 AND place >= $3 AND place < $4`, b.submission.series, b.submission.number, b.chunk.From, b.chunk.To); err != nil {
		return err
	}
	return b.l.acceptedNow(ctx, b.tx, b.submission.series)
}

// read finds out, part by part, what the answer says of it. A part's values lie one after the other, both in the range, by
// which what was set aside is counted, and in the chunk, by which DHIS2 counts.
func (b *booking) read(ctx context.Context) error {
	aside, refused := map[int]dhis2.Refusal{}, map[int]dhis2.Refusal{}
	if b.state.Settled() && b.state != ChunkSplit { // until then all its values are in one place
		for _, r := range b.chunk.SetAside {
			aside[r.Index] = r
		}
		for _, r := range b.answer.Refused {
			refused[r.Index] = r
		}
	}
	setAside := b.chunk.aside()
	inRange, inChunk := 0, 0
	rows, err := b.tx.QueryContext(ctx, `SELECT c.place, c.attribute_option_combo, c.org_unit, c.size, c.hash, c.packed, l.packed
		FROM content c LEFT JOIN ledger l ON l.series = $1 AND l.attribute_option_combo = c.attribute_option_combo AND l.org_unit = c.org_unit
		WHERE c.submission = $2 AND c.place >= $3 AND c.place < $4 ORDER BY c.place`,
		b.submission.series, b.submission.number, b.chunk.From, b.chunk.To)
	err = each(rows, err, func() error {
		var u unitBooking
		r := &u.row
		if err := rows.Scan(&r.place, &r.AttributeOptionCombo, &r.OrgUnit, &r.size, &r.hash, &r.packed, &u.base); err != nil {
			return err
		}
		u.orgUnit = r.OrgUnit
		if u.base == nil && len(refused) == 0 && len(setAside) == 0 && !b.submission.AddsUp { // as it is nearly always
			u.rest = r.size
			inRange, inChunk = inRange+r.size, inChunk+r.size
			b.place(&u)
			b.units = append(b.units, u)
			return nil
		}
		values, err := b.l.unpack(nil, r.OrgUnit, r.packed)
		if err != nil {
			return err
		}
		for _, v := range values {
			refusal, no := aside[inRange]
			if !setAside[inRange] {
				refusal, no = refused[inChunk]
				inChunk++
			}
			inRange++
			if no {
				b.refuse(&u, refusal, v)
			} else {
				u.taken = append(u.taken, v)
			}
		}
		u.rest = len(u.taken)
		b.place(&u)
		b.units = append(b.units, u)
		return nil
	})
	if err == nil && inChunk != b.chunk.Size {
		err = fmt.Errorf("%w: it had %d values, and its range gives %d", ErrChunk, b.chunk.Size, inChunk)
	}
	return err
}

func (b *booking) refuse(u *unitBooking, r dhis2.Refusal, v dhis2.DataValue) {
	r.DataValue = v
	u.refused++
	if u.answer == "" {
		u.answer = cut(r.Code + ": " + r.Reason)
	}
	b.cells = append(b.cells, RefusedCell{Refusal: r, AttributeOptionCombo: u.row.AttributeOptionCombo})
}

// place counts what was not refused, and takes the values out of where the answer before had placed them.
func (b *booking) place(u *unitBooking) {
	rest := u.rest
	all := rest + u.refused
	if b.chunk.Tried {
		u.unknown -= all
	} else {
		u.unsent -= all
	}
	switch {
	case !b.state.Settled() || b.state == ChunkSplit:
		if b.tried {
			u.unknown += rest
		} else {
			u.unsent += rest
		}
	default:
		u.accepted += rest
		u.all = u.refused == 0
		return
	}
	u.taken = nil
	if u.answer == "" && b.answer.Failure != nil {
		u.answer = cut(b.answer.Failure.Error())
	}
}

func (b *booking) saveChunk(ctx context.Context) error {
	count, err := json.Marshal(b.answer.Count)
	if err != nil {
		return err
	}
	cells, err := squeeze(b.cells)
	if err != nil {
		return err
	}
	failure, accepted := "", 0
	if b.answer.Failure != nil {
		failure = cut(b.answer.Failure.Error())
	}
	for _, u := range b.units {
		accepted += u.accepted
	}
	_, err = b.tx.ExecContext(ctx, `UPDATE chunk SET state = $1, answered_at = $2, accepted = $3, refused = $4, not_kept = $5, failure = $6,
		import_count = $7, refused_cells = $8, tried = $9 WHERE submission = $10 AND number = $11`,
		b.state, b.l.now(), accepted, len(b.cells), b.answer.NotKept, failure, string(count), cells, number(b.tried), b.submission.number, b.chunk.Number)
	return err
}

func (b *booking) saveOrgUnits(ctx context.Context) error {
	rows, err := newBatch(ctx, b.tx, `INSERT INTO org_unit_outcome (submission, org_unit, accepted, refused, unknown, unsent, answer) VALUES`, 7,
		`ON CONFLICT (submission, org_unit) DO UPDATE SET accepted = org_unit_outcome.accepted + excluded.accepted,
			refused = org_unit_outcome.refused + excluded.refused, unknown = org_unit_outcome.unknown + excluded.unknown,
			unsent = org_unit_outcome.unsent + excluded.unsent,
			answer = CASE WHEN excluded.answer = '' THEN org_unit_outcome.answer ELSE excluded.answer END`)
	if err != nil {
		return err
	}
	for _, u := range b.units {
		if err := rows.add(ctx, b.submission.number, u.orgUnit, u.accepted, u.refused, u.unknown, u.unsent, u.answer); err != nil {
			return err
		}
	}
	return rows.end(ctx)
}

func (b *booking) saveTotals(ctx context.Context) error {
	var t unitBooking
	for _, u := range b.units {
		t.accepted += u.accepted
		t.refused += u.refused
		t.unknown += u.unknown
		t.unsent += u.unsent
	}
	_, err := b.tx.ExecContext(ctx, `UPDATE submission SET accepted = accepted + $1, refused = refused + $2, unknown = unknown + $3,
		unsent = unsent + $4, not_kept = not_kept + $5 WHERE number = $6`,
		t.accepted, t.refused, t.unknown, t.unsent, b.answer.NotKept, b.submission.number)
	return err
}

// remember writes down what DHIS2 took: the part as it is, or what the ledger holds of it with the values that were taken.
func (b *booking) remember(ctx context.Context) error {
	if b.submission.DryRun {
		return nil
	}
	memory, err := b.l.memory(ctx, b.tx, b.pack, b.submission)
	if err != nil {
		return err
	}
	for _, u := range b.units {
		switch {
		case u.accepted == 0:
			continue
		case u.all && u.taken == nil:
			err = memory.add(ctx, u.row.AttributeOptionCombo, u.orgUnit, u.row.hash, u.row.packed)
		default:
			var taken []dhis2.DataValue
			if taken, err = b.own(ctx, u); err == nil {
				err = memory.merge(ctx, u.row.AttributeOptionCombo, u.orgUnit, u.base, taken)
			}
		}
		if err != nil {
			return err
		}
	}
	return memory.end(ctx)
}

// own gives the part of this source in the values that were taken, where what is sent is the sum of several sources.
func (b *booking) own(ctx context.Context, u unitBooking) ([]dhis2.DataValue, error) {
	if !b.submission.AddsUp {
		return u.taken, nil
	}
	others, err := b.l.others(ctx, b.tx, b.submission.series, u.orgUnit, u.row.AttributeOptionCombo)
	if err != nil {
		return nil, err
	}
	own := slices.Clone(u.taken)
	for i, v := range own {
		sum, shared := others[cellOf(v)]
		if !shared || v.Deleted {
			continue
		}
		whole, err := strconv.Atoi(v.Value)
		if err != nil {
			return nil, fmt.Errorf("part of a sum: %w", err)
		}
		own[i].Value = strconv.Itoa(whole - sum)
	}
	return own, nil
}
