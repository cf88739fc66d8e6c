package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/target"
)

// TargetDocument is a target document as it is remembered.
type TargetDocument struct {
	Owner target.ID
	// Named is the owner that the document's id names, which is the one that it belongs to as a rule. It never changes.
	Named    target.ID
	Revision Revision
	target.Document
}

// A record of a document is its owner, its id and its revision, the day of its last change with its marks, where it is a stray the
// slot in which it stands, and its counts.
const (
	leastOfDocument = 2*idSize + revisionSize + 1

	isMalformed = 1
	// isStray marks a document that belongs to another owner than its id names: it stands in the block of that one, where it is
	// found again when it changes hands.
	isStray  = 2
	markBits = 2
)

// Slot says where the document stands: whoever remembers many gives them in the order of their slots.
func (d *TargetDocument) Slot() int { return slotOf(d.Named[:]) }

// Append writes the document as SaveTargetDocuments takes it.
func (d *TargetDocument) Append(b []byte) []byte {
	start := len(b)
	b = append(append(append(beginRecord(b), d.Owner[:]...), d.ID[:]...), d.Revision[:]...)
	marks := uint64(d.Updated) << markBits //nolint:gosec // days since 1970
	if d.Malformed {
		marks |= isMalformed
	}
	if d.Owner != d.Named {
		marks |= isStray
	}
	b = binary.AppendUvarint(b, marks)
	if d.Owner != d.Named {
		b = binary.AppendUvarint(b, uint64(d.Slot())) //nolint:gosec // it is below a thousand
	}
	return endRecord(packCounts(b, d.Counts), start)
}

// documentRecord is a document as it stands in its record.
type documentRecord struct {
	owner, id, revision []byte
	updated             int
	malformed, stray    bool
	slot                int
	counts              []byte
}

func documentOf(record []byte) (d documentRecord, err error) {
	d.owner, d.id, d.revision = record[:idSize], record[idSize:2*idSize], record[2*idSize:2*idSize+revisionSize]
	u := unpacker{b: record[2*idSize+revisionSize:]}
	marks := u.number()
	d.updated, d.malformed, d.stray = int(marks>>markBits), marks&isMalformed != 0, marks&isStray != 0
	d.slot = slotOf(d.owner)
	if d.stray {
		d.slot = int(u.number()) //nolint:gosec // as it was written
	}
	d.counts = u.b
	return d, u.err
}

// sum adds up the totals.
func (d *documentRecord) sum() (sum int64) {
	counts, err := unpackCounts(nil, d.counts)
	if err != nil {
		return 0 // what cannot be read is nothing
	}
	for _, c := range counts {
		sum += max(c.Total, 0)
	}
	return sum
}

// TargetRevisions gives the documents that are remembered of a month, each with its revision, and when all of them were last read in
// full; the zero time where they never were.
func (l *Ledger) TargetRevisions(ctx context.Context, m TargetMonth) (found map[target.ID]Revision, full time.Time, err error) {
	err = l.read(ctx, "read what is remembered of "+m.name(), func(tx *sql.Tx) error {
		month, fullAt, err := targetMonth(ctx, tx, m)
		if err != nil {
			return err
		}
		full = fullAt
		var count int
		if err := tx.QueryRowContext(ctx, `SELECT coalesce(sum(documents), 0) FROM target_document WHERE month = $1`, month).Scan(&count); err != nil {
			return err
		}
		found = make(map[target.ID]Revision, count)
		var body sql.RawBytes
		rows, err := tx.QueryContext(ctx, `SELECT body FROM target_document WHERE month = $1`, month)
		return each(rows, err, func() error {
			if err := rows.Scan(&body); err != nil {
				return err
			}
			return records(body, leastOfDocument, func(record []byte) error {
				found[documentKey(record)] = Revision(record[2*idSize : 2*idSize+revisionSize])
				return nil
			})
		})
	})
	return found, full, err
}

// TargetProof compares documents with what is remembered of the same revisions of them.
type TargetProof struct {
	// Documents is how many differ, of Compared; Was and Is are the sums of their totals as remembered and as read.
	Documents, Compared int
	Was, Is             int64
}

// Add adds what another comparison gave.
func (p *TargetProof) Add(other TargetProof) {
	p.Documents += other.Documents
	p.Compared += other.Compared
	p.Was += other.Was
	p.Is += other.Is
}

// compare looks at a document of which the same revision is remembered. One without a revision is read each time, and proves nothing.
func (p *TargetProof) compare(old, now []byte) {
	was, err := documentOf(old)
	is, errNow := documentOf(now)
	if errNow != nil || !bytes.Equal(was.revision, is.revision) || Revision(is.revision) == (Revision{}) {
		return
	}
	p.Compared++
	if err != nil || !bytes.Equal(old, now) {
		p.Documents++
		p.Was += was.sum()
		p.Is += is.sum()
	}
}

// SaveTargetDocuments remembers documents of a month, in the place of what was remembered of them, and compares those that were
// remembered in the same revision. They are written by Append one after the other; about a megabyte in the order of their slots is
// best, as it is one transaction, which writes each slot anew that is in it.
func (l *Ledger) SaveTargetDocuments(ctx context.Context, m TargetMonth, packed []byte) (proof TargetProof, err error) {
	err = l.write(ctx, "remember target documents of "+m.name(), func(tx *sql.Tx) error {
		proof = TargetProof{}
		month, err := l.keptMonth(ctx, tx, m)
		if err != nil {
			return err
		}
		into := documentBlocks(tx, month)
		var wrong error
		slot := func(record []byte) int {
			d, err := documentOf(record)
			wrong = errors.Join(wrong, err)
			return d.slot
		}
		err = bySlot(packed, leastOfDocument, slot, func(slot int, fresh [][]byte) error {
			if wrong != nil {
				return wrong
			}
			block, err := into.at(ctx, slot)
			if err != nil {
				return err
			}
			list, err := replaced(block, leastOfDocument, fresh, documentKey, proof.compare)
			if err != nil {
				return err
			}
			return putDocuments(ctx, into, slot, list)
		})
		return err
	})
	return proof, err
}

// putDocuments writes a block of documents.
func putDocuments(ctx context.Context, into blocks, slot int, list [][]byte) error {
	if len(list) == 0 {
		return into.remove(ctx, slot)
	}
	strays := 0
	for _, record := range list {
		d, err := documentOf(record)
		if err != nil {
			return err
		}
		if d.stray {
			strays++
		}
	}
	_, err := into.tx.ExecContext(ctx, `INSERT INTO target_document (month, slot, documents, strays, body) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (month, slot) DO UPDATE SET documents = excluded.documents, strays = excluded.strays, body = excluded.body`,
		into.of, slot, len(list), strays, blockOf(list))
	return err
}

// ForgetTargetDocuments forgets documents that are there no more. It looks at all of the month: to give all at once is best.
func (l *Ledger) ForgetTargetDocuments(ctx context.Context, m TargetMonth, documents []target.ID) error {
	gone := make(map[target.ID]bool, len(documents))
	for _, id := range documents {
		gone[id] = true
	}
	var among []int
	err := l.read(ctx, "look for target documents of "+m.name(), func(tx *sql.Tx) error {
		month, _, err := targetMonth(ctx, tx, m)
		if err != nil {
			return err
		}
		var slot int
		var body sql.RawBytes
		rows, err := tx.QueryContext(ctx, `SELECT slot, body FROM target_document WHERE month = $1 ORDER BY slot`, month)
		return each(rows, err, func() error {
			if err := rows.Scan(&slot, &body); err != nil {
				return err
			}
			left, all, err := without(body, gone)
			if len(left) < all {
				among = append(among, slot)
			}
			return err
		})
	})
	for _, slot := range among {
		if err == nil {
			err = l.forgetTargetDocuments(ctx, m, slot, gone)
		}
	}
	return err
}

func (l *Ledger) forgetTargetDocuments(ctx context.Context, m TargetMonth, slot int, gone map[target.ID]bool) error {
	return l.write(ctx, "forget target documents of "+m.name(), func(tx *sql.Tx) error {
		month, _, err := targetMonth(ctx, tx, m)
		if err != nil {
			return err
		}
		from := documentBlocks(tx, month)
		block, err := from.at(ctx, slot)
		if err != nil {
			return err
		}
		left, all, err := without(block, gone)
		if err != nil || len(left) == all {
			return err
		}
		return putDocuments(ctx, from, slot, left)
	})
}

// without gives the records of the documents in a block that are not gone, and says how many there are of all.
func without(block []byte, gone map[target.ID]bool) (left [][]byte, all int, err error) {
	err = records(block, leastOfDocument, func(record []byte) error {
		if all++; !gone[documentKey(record)] {
			left = append(left, record)
		}
		return nil
	})
	return left, all, err
}

// TargetDocuments gives the remembered documents of a month, those of one owner together and in the order of their hashes. They are
// good until yield returns, whose error ends it.
func (l *Ledger) TargetDocuments(ctx context.Context, m TargetMonth, yield func(owner target.ID, documents []target.Document) error) error {
	return l.read(ctx, "read target documents of "+m.name(), func(tx *sql.Tx) error {
		month, _, err := targetMonth(ctx, tx, m)
		if err != nil {
			return err
		}
		var documents []target.Document
		return targetRecords(ctx, tx, []int{month}, func(_ int, list [][]byte) error {
			for i, record := range list {
				documents = slices.Grow(documents, 1)[:len(documents)+1]
				if err := fillDocument(&documents[len(documents)-1], record); err != nil {
					return err
				}
				if i+1 < len(list) && ownerKey(list[i+1]) == ownerKey(record) {
					continue
				}
				if err := yield(ownerKey(record), documents); err != nil {
					return err
				}
				documents = documents[:0]
			}
			return nil
		})
	})
}

// fillDocument reads a record into the place of another document.
func fillDocument(to *target.Document, record []byte) error {
	d, err := documentOf(record)
	if err != nil {
		return err
	}
	to.ID, to.Updated, to.Malformed = target.ID(d.id), d.updated, d.malformed
	to.Counts, err = unpackCounts(to.Counts[:0], d.counts)
	return err
}

// targetRecords gives the records of the documents of some months by the slots of their owners, in the order of slots and records. They
// are good until yield returns.
func targetRecords(ctx context.Context, from querier, months []int, yield func(slot int, list [][]byte) error) error {
	if len(months) == 0 {
		return nil
	}
	places, args := make([]string, len(months)), make([]any, len(months))
	for i, month := range months {
		places[i], args[i] = "$"+strconv.Itoa(i+1), month
	}
	among := `month IN (` + strings.Join(places, ", ") + `)`
	strays := map[int][][]byte{}
	var body sql.RawBytes
	var slot int
	rows, err := from.QueryContext(ctx, `SELECT body FROM target_document WHERE strays > 0 AND `+among, args...)
	err = each(rows, err, func() error {
		if err := rows.Scan(&body); err != nil {
			return err
		}
		return records(body, leastOfDocument, func(record []byte) error {
			d, err := documentOf(record)
			if d.stray {
				strays[slotOf(d.owner)] = append(strays[slotOf(d.owner)], bytes.Clone(record))
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	var list [][]byte
	var kept []byte
	next := 0
	// passTo gives what stands before a slot.
	passTo := func(end int) error {
		for ; next < end; next++ {
			if list = append(list, strays[next]...); len(list) == 0 {
				continue
			}
			slices.SortFunc(list, bytes.Compare)
			if err := yield(next, list); err != nil {
				return err
			}
			list, kept = list[:0], kept[:0]
		}
		return nil
	}
	rows, err = from.QueryContext(ctx, `SELECT slot, body FROM target_document WHERE `+among+` ORDER BY slot`, args...)
	err = each(rows, err, func() error {
		if err := rows.Scan(&slot, &body); err != nil {
			return err
		}
		if err := passTo(slot); err != nil {
			return err
		}
		start := len(kept)
		kept = append(kept, body...) // a slice of before stays where it is when it grows
		return records(kept[start:], leastOfDocument, func(record []byte) error {
			d, err := documentOf(record)
			if !d.stray {
				list = append(list, record)
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	return passTo(slots)
}

// packCounts writes the counts of a document. A number is written as one more than it is: what was not read is a 0.
func packCounts(b []byte, counts []target.Count) []byte {
	for _, c := range counts {
		b = binary.AppendUvarint(b, uint64(c.Target))  //nolint:gosec // names are numbered from 0 on
		b = binary.AppendUvarint(b, uint64(c.Pass+1))  //nolint:gosec // -1 is the least
		b = binary.AppendUvarint(b, uint64(c.Total+1)) //nolint:gosec // as above
	}
	return b
}

// unpackCounts reads what packCounts wrote.
func unpackCounts(into []target.Count, packed []byte) ([]target.Count, error) {
	u := unpacker{b: packed}
	for len(u.b) > 0 {
		c := target.Count{Target: int(u.number()), Pass: int64(u.number()) - 1, Total: int64(u.number()) - 1} //nolint:gosec // packCounts wrote them
		if u.err != nil {
			break
		}
		into = append(into, c)
	}
	return into, u.err
}
