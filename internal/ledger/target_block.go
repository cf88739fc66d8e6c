package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/cht-dhis2/mediator/internal/target"
)

// What is remembered of documents and owners stands in blocks, of which each is a row: the records of all whose hash begins with the
// same bits. A hundred thousand documents come in no order of their hashes. With a row of each, every transaction would touch as many
// pages of the database as it has documents; so it is a thousand rows that are written once, when whoever reads gives the records in
// the order of their slots.
//
// A record is its length and so many bytes, which begin with the hash of an owner. Records stand in the order of their bytes.
const (
	slotBits = 10
	// slots is how many blocks there are of a month, or of the owners of a CHT.
	slots = 1 << slotBits

	idSize       = len(target.ID{})
	revisionSize = len(Revision{})
	lengthSize   = 4
)

// slotOf gives the number of the block in which an owner stands.
func slotOf(owner []byte) int { return int(binary.BigEndian.Uint16(owner) >> (16 - slotBits)) }

// beginRecord begins a record, and endRecord puts its length before it.
func beginRecord(b []byte) []byte { return append(b, 0, 0, 0, 0) }

func endRecord(b []byte, start int) []byte {
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-lengthSize)) //nolint:gosec // no record has gigabytes
	return b
}

// records gives the records of a block, each with no less than so many bytes.
func records(block []byte, least int, yield func(record []byte) error) error {
	for len(block) > 0 {
		if len(block) < lengthSize {
			return errPacked
		}
		size := uint64(binary.BigEndian.Uint32(block))
		block = block[lengthSize:]
		if size > uint64(len(block)) || size < uint64(least) { //nolint:gosec // it is a few bytes
			return errPacked
		}
		if err := yield(block[:size:size]); err != nil {
			return err
		}
		block = block[size:]
	}
	return nil
}

// blockOf writes records as a block.
func blockOf(list [][]byte) []byte {
	slices.SortFunc(list, bytes.Compare)
	size := 0
	for _, record := range list {
		size += lengthSize + len(record)
	}
	block := make([]byte, 0, size)
	for _, record := range list {
		start := len(block)
		block = endRecord(append(beginRecord(block), record...), start)
	}
	return block
}

// bySlot gives the records of packed ones slot by slot, in the order in which they stand.
func bySlot(packed []byte, least int, slot func(record []byte) int, yield func(slot int, list [][]byte) error) error {
	type place struct {
		slot   int
		record []byte
	}
	var all []place
	err := records(packed, least, func(record []byte) error {
		all = append(all, place{slot(record), record})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b place) int { return a.slot - b.slot })
	var list [][]byte
	for i, at := range all {
		list = append(list, at.record)
		if i+1 < len(all) && all[i+1].slot == at.slot {
			continue
		}
		if err := yield(at.slot, list); err != nil {
			return err
		}
		list = list[:0]
	}
	return nil
}

// replaced puts records in the place of those of a block that have the same key, and gives all; of several fresh ones the last counts.
// was is called with each that is replaced and the one that takes its place.
func replaced(block []byte, least int, fresh [][]byte, key func(record []byte) target.ID, was func(old, now []byte)) ([][]byte, error) {
	latest := make(map[target.ID][]byte, len(fresh))
	for _, record := range fresh {
		latest[key(record)] = record
	}
	all := make([][]byte, 0, len(latest))
	err := records(block, least, func(record []byte) error {
		now, isReplaced := latest[key(record)]
		switch {
		case !isReplaced:
			all = append(all, record)
		case was != nil:
			was(record, now)
		}
		return nil
	})
	for _, record := range latest {
		all = append(all, record)
	}
	return all, err
}

func ownerKey(record []byte) target.ID    { return target.ID(record[:idSize]) }
func documentKey(record []byte) target.ID { return target.ID(record[idSize : 2*idSize]) }

// blocks are those of one table within a transaction. The column says to what they belong, a month or a CHT, and of to which.
type blocks struct {
	tx            *sql.Tx
	table, column string
	of            any
}

// at gives a block; nil where there is none.
func (b blocks) at(ctx context.Context, slot int) (block []byte, err error) {
	err = b.tx.QueryRowContext(ctx, `SELECT body FROM `+b.table+` WHERE `+b.column+` = $1 AND slot = $2`, b.of, slot).Scan(&block)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return block, err
}

// put writes a block; an empty one is removed.
func (b blocks) put(ctx context.Context, slot int, list [][]byte) error {
	if len(list) == 0 {
		return b.remove(ctx, slot)
	}
	//nolint:gosec // the names are ours
	_, err := b.tx.ExecContext(ctx, `INSERT INTO `+b.table+` (`+b.column+`, slot, body) VALUES ($1, $2, $3)
		ON CONFLICT (`+b.column+`, slot) DO UPDATE SET body = excluded.body`, b.of, slot, blockOf(list))
	return err
}

func (b blocks) remove(ctx context.Context, slot int) error {
	//nolint:gosec // as above
	_, err := b.tx.ExecContext(ctx, `DELETE FROM `+b.table+` WHERE `+b.column+` = $1 AND slot = $2`, b.of, slot)
	return err
}

// The tables of blocks.
func ownerBlocks(tx *sql.Tx, cht string) blocks { return blocks{tx, "target_owner", "cht", cht} }
func firstBlocks(tx *sql.Tx, month int) blocks  { return blocks{tx, "target_first", "month", month} }
func documentBlocks(tx *sql.Tx, month int) blocks {
	return blocks{tx, "target_document", "month", month}
}
