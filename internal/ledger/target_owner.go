package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"slices"
	"time"

	"github.com/cht-dhis2/mediator/internal/target"
)

// TargetOwner is the owner of target documents as it was when it was looked at last.
type TargetOwner struct {
	target.Owner
	Revision  Revision
	CheckedAt time.Time
	// First says where it stood when its documents of the month that was asked for first counted; nil where they never did.
	First *target.Owner
}

// A record of an owner is its hash, its revision, when it was looked at, and where it stands: whether it is gone, its type and the
// hashes of those above it. Where an owner stood first is its hash and that.
const (
	checkedAt    = idSize + revisionSize
	standsAt     = checkedAt + 8
	leastOfOwner = standsAt + 2
	leastOfFirst = idSize + 2
)

// Slot says where the owner stands: whoever remembers many gives them in the order of their slots.
func (o *TargetOwner) Slot() int { return slotOf(o.ID[:]) }

// Append writes the owner as SaveTargetOwners takes it.
func (o *TargetOwner) Append(b []byte) []byte {
	start := len(b)
	b = append(append(beginRecord(b), o.ID[:]...), o.Revision[:]...)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // when it is saved
	if o.Gone {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = appendText(b, o.Type)
	for _, p := range o.Parents {
		b = append(b, p[:]...)
	}
	return endRecord(b, start)
}

// isGone says so of the record of an owner.
func isGone(record []byte) bool { return record[standsAt] != 0 }

// fillOwner reads where an owner stands in the place of another one, whose texts and parents are used again.
func fillOwner(o *target.Owner, stands []byte) error {
	u := unpacker{b: stands[1:]}
	size := u.number()
	if size > uint64(len(u.b)) {
		return errPacked
	}
	o.Gone = stands[0] != 0
	if kind := u.b[:size]; string(kind) != o.Type {
		o.Type = string(kind)
	}
	o.Parents = o.Parents[:0]
	for parents := u.b[size:]; len(parents) >= idSize; parents = parents[idSize:] {
		o.Parents = append(o.Parents, target.ID(parents[:idSize]))
	}
	return u.err
}

// SaveTargetOwners remembers owners as they are now, in the place of what was remembered of them. They are written by Append one after
// the other; about a megabyte in the order of their slots is best.
func (l *Ledger) SaveTargetOwners(ctx context.Context, cht string, packed []byte) error {
	now := uint64(l.now()) //nolint:gosec // it is after 1970
	err := records(packed, leastOfOwner, func(record []byte) error {
		binary.BigEndian.PutUint64(record[checkedAt:], now)
		return nil
	})
	if err != nil {
		return err
	}
	return l.write(ctx, "remember owners of target documents of CHT "+cht, func(tx *sql.Tx) error {
		into := ownerBlocks(tx, cht)
		slot := func(record []byte) int { return slotOf(record) }
		return bySlot(packed, leastOfOwner, slot, func(slot int, fresh [][]byte) error {
			block, err := into.at(ctx, slot)
			if err != nil {
				return err
			}
			list, err := replaced(block, leastOfOwner, fresh, ownerKey, nil)
			if err != nil {
				return err
			}
			return into.put(ctx, slot, list)
		})
	})
}

// checkedAtOnce is how many owners are noted in one transaction.
const checkedAtOnce = 10_000

// TargetOwnersChecked notes of owners that they are now as they are remembered. All at once is best, in whatever order.
func (l *Ledger) TargetOwnersChecked(ctx context.Context, cht string, owners []target.ID) error {
	sorted := slices.SortedFunc(slices.Values(owners), compareIDs)
	for some := range slices.Chunk(sorted, checkedAtOnce) {
		if err := l.targetOwnersChecked(ctx, cht, some); err != nil {
			return err
		}
	}
	return nil
}

func compareIDs(a, b target.ID) int { return bytes.Compare(a[:], b[:]) }

func (l *Ledger) targetOwnersChecked(ctx context.Context, cht string, sorted []target.ID) error {
	now := uint64(l.now()) //nolint:gosec // it is after 1970
	return l.write(ctx, "note that owners of target documents of CHT "+cht+" are as they were", func(tx *sql.Tx) error {
		into := ownerBlocks(tx, cht)
		for rest := sorted; len(rest) > 0; {
			slot := slotOf(rest[0][:])
			n := 1
			for n < len(rest) && slotOf(rest[n][:]) == slot {
				n++
			}
			block, err := into.at(ctx, slot)
			if err != nil {
				return err
			}
			var list [][]byte
			err = records(block, leastOfOwner, func(record []byte) error {
				if _, isOne := slices.BinarySearchFunc(rest[:n], ownerKey(record), compareIDs); isOne {
					binary.BigEndian.PutUint64(record[checkedAt:], now)
				}
				list = append(list, record)
				return nil
			})
			if err != nil {
				return err
			}
			if err := into.put(ctx, slot, list); err != nil {
				return err
			}
			rest = rest[n:]
		}
		return nil
	})
}

// TargetOwners gives the owners of a CHT that are remembered, each with where it first stood in a month, in the order of their hashes.
// One is good until yield returns, whose error ends it.
func (l *Ledger) TargetOwners(ctx context.Context, m TargetMonth, yield func(TargetOwner) error) error {
	return l.read(ctx, "read the owners of target documents of CHT "+m.CHT, func(tx *sql.Tx) error {
		month, _, err := targetMonth(ctx, tx, m)
		if err != nil {
			return err
		}
		var o TargetOwner
		var first target.Owner
		var body, firsts sql.RawBytes
		stood := map[target.ID][]byte{}
		rows, err := tx.QueryContext(ctx, `SELECT o.body, f.body FROM target_owner o LEFT JOIN target_first f ON f.month = $1 AND f.slot = o.slot
			WHERE o.cht = $2 ORDER BY o.slot`, month, m.CHT)
		return each(rows, err, func() error {
			if err := rows.Scan(&body, &firsts); err != nil {
				return err
			}
			clear(stood)
			err := records(firsts, leastOfFirst, func(record []byte) error {
				stood[ownerKey(record)] = record[idSize:]
				return nil
			})
			if err != nil {
				return err
			}
			return records(body, leastOfOwner, func(record []byte) error {
				o.ID, o.Revision = ownerKey(record), Revision(record[idSize:checkedAt])
				o.CheckedAt = timeOf(int64(binary.BigEndian.Uint64(record[checkedAt:]))) //nolint:gosec // as it was written
				if err := fillOwner(&o.Owner, record[standsAt:]); err != nil {
					return err
				}
				o.First = nil
				if stands, there := stood[o.ID]; there {
					first.ID = o.ID
					if err := fillOwner(&first, stands); err != nil {
						return err
					}
					o.First = &first
				}
				return yield(o)
			})
		})
	})
}

// TargetMonthRead notes that all documents of a month, and their owners, are remembered as they are now. Where they never were before
// they were all read by now. It notes, too, where the owners stand whose documents count for the first time.
func (l *Ledger) TargetMonthRead(ctx context.Context, m TargetMonth) error {
	return l.write(ctx, "note that "+m.name()+" was read", func(tx *sql.Tx) error {
		month, err := l.keptMonth(ctx, tx, m)
		if err != nil {
			return err
		}
		const read = `UPDATE target_month SET read_at = $1, full_at = CASE WHEN full_at = 0 THEN $1 ELSE full_at END WHERE number = $2`
		if _, err := tx.ExecContext(ctx, read, l.now(), month); err != nil {
			return err
		}
		var seen []target.ID // in order
		err = targetRecords(ctx, tx, []int{month}, func(_ int, list [][]byte) error {
			for _, record := range list {
				if owner := ownerKey(record); len(seen) == 0 || seen[len(seen)-1] != owner {
					seen = append(seen, owner)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		owners := ownerBlocks(tx, m.CHT)
		firsts := firstBlocks(tx, month)
		for len(seen) > 0 {
			slot := slotOf(seen[0][:])
			n := 1
			for n < len(seen) && slotOf(seen[n][:]) == slot {
				n++
			}
			if err := noteFirst(ctx, owners, firsts, slot, seen[:n]); err != nil {
				return err
			}
			seen = seen[n:]
		}
		return nil
	})
}

// noteFirst notes where owners of a slot stand, those of which that was not noted before.
func noteFirst(ctx context.Context, owners, firsts blocks, slot int, seen []target.ID) error {
	block, err := firsts.at(ctx, slot)
	if err != nil {
		return err
	}
	var list [][]byte
	noted := map[target.ID]bool{}
	err = records(block, leastOfFirst, func(record []byte) error {
		noted[ownerKey(record)] = true
		list = append(list, record)
		return nil
	})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(seen, func(id target.ID) bool { return !noted[id] }) {
		return nil
	}
	if block, err = owners.at(ctx, slot); err != nil {
		return err
	}
	before := len(list)
	err = records(block, leastOfOwner, func(record []byte) error {
		id := ownerKey(record)
		if _, isSeen := slices.BinarySearchFunc(seen, id, compareIDs); isSeen && !noted[id] && !isGone(record) {
			list = append(list, append(id[:], record[standsAt:]...))
		}
		return nil
	})
	if err != nil || len(list) == before {
		return err
	}
	return firsts.put(ctx, slot, list)
}

// uncheckOwners lets the owners of a CHT be looked at again.
func uncheckOwners(ctx context.Context, tx *sql.Tx, cht string) error {
	var taken []int
	rows, err := tx.QueryContext(ctx, `SELECT slot FROM target_owner WHERE cht = $1`, cht)
	err = each(rows, err, func() error {
		taken = append(taken, 0)
		return rows.Scan(&taken[len(taken)-1])
	})
	into := ownerBlocks(tx, cht)
	for _, slot := range taken {
		var block []byte
		var list [][]byte
		if err == nil {
			block, err = into.at(ctx, slot)
		}
		if err == nil {
			err = records(block, leastOfOwner, func(record []byte) error {
				binary.BigEndian.PutUint64(record[checkedAt:], 0)
				list = append(list, record)
				return nil
			})
		}
		if err == nil {
			err = into.put(ctx, slot, list)
		}
	}
	return err
}

// ForgetTargetFirsts forgets where owners stood when their documents of a month first counted, so that it is noted anew.
func (l *Ledger) ForgetTargetFirsts(ctx context.Context, m TargetMonth, owners []target.ID) error {
	bySlots := map[int]map[target.ID]bool{}
	for _, id := range owners {
		slot := slotOf(id[:])
		if bySlots[slot] == nil {
			bySlots[slot] = map[target.ID]bool{}
		}
		bySlots[slot][id] = true
	}
	if len(owners) == 0 {
		return nil
	}
	return l.write(ctx, "forget where owners first stood in "+m.name(), func(tx *sql.Tx) error {
		month, _, err := targetMonth(ctx, tx, m)
		from := firstBlocks(tx, month)
		for slot, of := range bySlots {
			var block []byte
			var left [][]byte
			if err == nil {
				block, err = from.at(ctx, slot)
			}
			if err == nil {
				err = records(block, leastOfFirst, func(record []byte) error {
					if !of[ownerKey(record)] {
						left = append(left, record)
					}
					return nil
				})
			}
			if err == nil {
				err = from.put(ctx, slot, left)
			}
		}
		return err
	})
}

// thinTargetOwners forgets owners that were not looked at since a time and of whose documents none is remembered.
func (l *Ledger) thinTargetOwners(ctx context.Context, before int64) error {
	return l.write(ctx, "remove owners of old target documents", func(tx *sql.Tx) error {
		months := map[string][]int{}
		var cht string
		var month sql.NullInt64
		rows, err := tx.QueryContext(ctx, `SELECT DISTINCT o.cht, m.number FROM target_owner o LEFT JOIN target_month m ON m.cht = o.cht`)
		err = each(rows, err, func() error {
			err := rows.Scan(&cht, &month)
			if months[cht] = append(months[cht], int(month.Int64)); !month.Valid {
				months[cht] = nil
			}
			return err
		})
		for cht, of := range months {
			if err == nil {
				err = thinOwnersOf(ctx, tx, cht, of, before)
			}
		}
		return err
	})
}

func thinOwnersOf(ctx context.Context, tx *sql.Tx, cht string, months []int, before int64) error {
	old := map[target.ID]bool{}
	isOld := func(record []byte) bool { return int64(binary.BigEndian.Uint64(record[checkedAt:])) < before } //nolint:gosec // as it was written
	var body sql.RawBytes
	rows, err := tx.QueryContext(ctx, `SELECT body FROM target_owner WHERE cht = $1`, cht)
	err = each(rows, err, func() error {
		if err := rows.Scan(&body); err != nil {
			return err
		}
		return records(body, leastOfOwner, func(record []byte) error {
			if isOld(record) {
				old[ownerKey(record)] = true
			}
			return nil
		})
	})
	if err != nil || len(old) == 0 {
		return err
	}
	err = targetRecords(ctx, tx, months, func(_ int, list [][]byte) error {
		for _, record := range list {
			delete(old, ownerKey(record))
		}
		return nil
	})
	if err != nil {
		return err
	}
	from := ownerBlocks(tx, cht)
	touched := map[int]bool{}
	for id := range old {
		touched[slotOf(id[:])] = true
	}
	for slot := range touched {
		block, err := from.at(ctx, slot)
		if err != nil {
			return err
		}
		var left [][]byte
		err = records(block, leastOfOwner, func(record []byte) error {
			if !old[ownerKey(record)] {
				left = append(left, record)
			}
			return nil
		})
		if err == nil {
			err = from.put(ctx, slot, left)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
