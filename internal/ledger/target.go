package ledger

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/target"
)

// TargetMonth names the target documents of one month of a CHT. The month is as in "202607".
type TargetMonth struct{ CHT, Month string }

func (m TargetMonth) name() string { return m.Month + " of CHT " + m.CHT }

// Revision stands for a revision of a document or contact: a part of its hash, enough to see that it is another one.
type Revision [16]byte

// RevisionOf gives what stands for a revision.
func RevisionOf(rev string) Revision {
	hash := sha256.Sum256([]byte(rev))
	return Revision(hash[:len(Revision{})])
}

// TargetDocument is a target document as it is remembered.
type TargetDocument struct {
	Owner    target.ID
	Revision Revision
	target.Document
}

// TargetOwner is the owner of target documents as it was when it was looked at last.
type TargetOwner struct {
	target.Owner
	Revision  Revision
	CheckedAt time.Time
	// First says where it stood when its documents of the month that was asked for first counted; nil where they never did.
	First *target.Owner
}

// targetKey is the setting that keeps the key of the hashes.
const (
	targetKey      = "target_key"
	targetKeyBytes = 32
)

// TargetKey gives the key with which ids of contacts and documents are hashed here. It is made once a store, and never leaves it
// but in a backup: with another key everything would be read anew.
func (l *Ledger) TargetKey(ctx context.Context) (target.Key, error) {
	key, _, err := l.Setting(ctx, targetKey)
	if err != nil || len(key) > 0 {
		return key, err
	}
	fresh := make([]byte, targetKeyBytes)
	_, _ = rand.Read(fresh) // it never fails
	err = l.write(ctx, "make the key of contacts and documents", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO setting (name, saved_at, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, targetKey, l.now(), fresh); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT body FROM setting WHERE name = $1`, targetKey).Scan(&key) // of two processes one was first
	})
	return key, err
}

// TargetServer notes which server a CHT is. Where it was another one, its months are read in full and its owners looked at again,
// however lately that was done: the one may be a copy of the other in which somebody has moved.
func (l *Ledger) TargetServer(ctx context.Context, cht string, server target.ID) error {
	name := "target_server " + cht
	was, _, err := l.Setting(ctx, name)
	if err != nil || bytes.Equal(was, server[:]) {
		return err
	}
	return l.write(ctx, "note the server of CHT "+cht, func(tx *sql.Tx) error {
		for _, query := range []string{
			`UPDATE target_month SET full_at = 1 WHERE cht = $1 AND full_at > 0`, `UPDATE target_owner SET checked_at = 0 WHERE cht = $1`, `DELETE FROM heard_month WHERE cht = $1`,
		} {
			if _, err := tx.ExecContext(ctx, query, cht); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO setting (name, saved_at, body) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET saved_at = excluded.saved_at, body = excluded.body`, name, l.now(), server[:])
		return err
	})
}

// TargetNames gives the ids of the targets of a CHT by their numbers.
func (l *Ledger) TargetNames(ctx context.Context, cht string) (names []string, err error) {
	err = l.read(ctx, "read the targets of CHT "+cht, func(tx *sql.Tx) error {
		names, err = targetNames(ctx, tx, cht)
		return err
	})
	return names, err
}

// AddTargetNames gives numbers to ids of targets that have none, and then all ids by their numbers.
func (l *Ledger) AddTargetNames(ctx context.Context, cht string, fresh []string) (names []string, err error) {
	err = l.write(ctx, "add targets of CHT "+cht, func(tx *sql.Tx) error {
		names, err = targetNames(ctx, tx, cht)
		if err != nil {
			return err
		}
		for _, name := range fresh {
			if slices.Contains(names, name) {
				continue
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO target_name (cht, number, name) VALUES ($1, $2, $3)`, cht, len(names), name); err != nil {
				return err
			}
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

func targetNames(ctx context.Context, from querier, cht string) (names []string, err error) {
	rows, err := from.QueryContext(ctx, `SELECT name FROM target_name WHERE cht = $1 ORDER BY number`, cht)
	err = each(rows, err, func() error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	})
	return names, err
}

// TargetRevisions gives the documents that are remembered of a month, each with its revision, and when all of them were last read in
// full; the zero time where they never were.
func (l *Ledger) TargetRevisions(ctx context.Context, m TargetMonth) (found map[target.ID]Revision, full time.Time, err error) {
	err = l.read(ctx, "read what is remembered of "+m.name(), func(tx *sql.Tx) error {
		number, fullAt, err := targetMonth(ctx, tx, m)
		if err != nil {
			return err
		}
		full = fullAt
		var count int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM target_document WHERE month = $1`, number).Scan(&count); err != nil {
			return err
		}
		found = make(map[target.ID]Revision, count)
		rows, err := tx.QueryContext(ctx, `SELECT document, revision FROM target_document WHERE month = $1`, number)
		var document, revision sql.RawBytes
		return each(rows, err, func() error {
			if err := rows.Scan(&document, &revision); err != nil {
				return err
			}
			var id target.ID
			var rev Revision
			err := errors.Join(fillBytes(document, id[:]), fillBytes(revision, rev[:]))
			found[id] = rev
			return err
		})
	})
	return found, full, err
}

// fillBytes copies bytes of a row to where as many belong.
func fillBytes(from, to []byte) error {
	if copy(to, from) != len(to) {
		return errPacked
	}
	return nil
}

// targetMonth gives the number of a month and when it was last read in full; 0 where nothing was ever kept of it.
func targetMonth(ctx context.Context, from querier, m TargetMonth) (number int, full time.Time, err error) {
	var fullAt int64
	err = from.QueryRowContext(ctx, `SELECT number, full_at FROM target_month WHERE cht = $1 AND month = $2`, m.CHT, m.Month).Scan(&number, &fullAt)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, time.Time{}, nil
	}
	return number, timeOf(fullAt), err
}

// keptMonth is targetMonth for one who writes: there is one afterwards.
func (l *Ledger) keptMonth(ctx context.Context, tx *sql.Tx, m TargetMonth) (number int, err error) {
	if number, _, err = targetMonth(ctx, tx, m); err != nil || number > 0 {
		return number, err
	}
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(number), 0) + 1 FROM target_month`).Scan(&number); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO target_month (number, cht, month, read_at) VALUES ($1, $2, $3, $4)`, number, m.CHT, m.Month, l.now())
	return number, err
}

// TargetProof compares documents with what is remembered of the same revisions of them.
type TargetProof struct {
	// Documents is how many differ, of Compared; Was and Is are the sums of their totals as remembered and as read.
	Documents, Compared int
	Was, Is             int64
}

// SaveTargetDocuments remembers documents of a month, in the place of what was remembered of them. Some hundreds are best: it is one
// transaction.
func (l *Ledger) SaveTargetDocuments(ctx context.Context, m TargetMonth, documents []TargetDocument) error {
	return l.write(ctx, "remember target documents of "+m.name(), func(tx *sql.Tx) error {
		month, err := l.keptMonth(ctx, tx, m)
		if err != nil {
			return err
		}
		return saveTargetDocuments(ctx, tx, month, documents)
	})
}

func saveTargetDocuments(ctx context.Context, tx *sql.Tx, month int, documents []TargetDocument) error {
	rows, err := newBatch(ctx, tx, `INSERT INTO target_document (month, document, owner, revision, updated, malformed, counts) VALUES`, 7,
		`ON CONFLICT (month, document) DO UPDATE SET owner = excluded.owner, revision = excluded.revision, updated = excluded.updated,
			malformed = excluded.malformed, counts = excluded.counts`)
	if err != nil {
		return err
	}
	for i := range documents {
		r := rowOf(&documents[i])
		if err := rows.add(ctx, month, r.document, r.owner, r.revision, r.updated, r.malformed, r.counts); err != nil {
			return err
		}
	}
	return rows.end(ctx)
}

// ProveTargetDocuments compares documents with what is remembered of them, those that are remembered in the same revision, and
// remembers those that differ.
func (l *Ledger) ProveTargetDocuments(ctx context.Context, m TargetMonth, documents []TargetDocument) (proof TargetProof, err error) {
	err = l.write(ctx, "prove what is remembered of "+m.name(), func(tx *sql.Tx) error {
		proof = TargetProof{}
		month, err := l.keptMonth(ctx, tx, m)
		if err != nil {
			return err
		}
		known, err := tx.PrepareContext(ctx, `SELECT owner, revision, updated, malformed, counts FROM target_document WHERE month = $1 AND document = $2`)
		if err != nil {
			return err
		}
		var others []TargetDocument
		for i := range documents {
			row := rowOf(&documents[i])
			same, err := row.compare(ctx, known, month, &proof)
			if err != nil {
				return err
			}
			if !same {
				others = append(others, documents[i])
			}
		}
		return saveTargetDocuments(ctx, tx, month, others)
	})
	return proof, err
}

// targetRow is a document as it stands in its row.
type targetRow struct {
	document, owner, revision []byte
	updated, malformed        int
	counts                    []byte
}

func rowOf(d *TargetDocument) targetRow {
	r := targetRow{document: d.ID[:], owner: d.Owner[:], revision: d.Revision[:], updated: d.Updated, counts: packCounts(d.Counts)}
	if d.Malformed {
		r.malformed = 1
	}
	return r
}

// compare looks at what is remembered of the document, and says whether it is the same.
func (r *targetRow) compare(ctx context.Context, known *sql.Stmt, month int, proof *TargetProof) (same bool, err error) {
	old := targetRow{document: r.document}
	err = known.QueryRowContext(ctx, month, r.document).Scan(&old.owner, &old.revision, &old.updated, &old.malformed, &old.counts)
	if errors.Is(err, sql.ErrNoRows) || err == nil && !bytes.Equal(old.revision, r.revision) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	proof.Compared++
	if bytes.Equal(old.owner, r.owner) && old.updated == r.updated && old.malformed == r.malformed && bytes.Equal(old.counts, r.counts) {
		return true, nil
	}
	proof.Documents++
	for _, side := range []struct {
		counts []byte
		sum    *int64
	}{{old.counts, &proof.Was}, {r.counts, &proof.Is}} {
		counts, err := unpackCounts(nil, side.counts)
		if err != nil {
			return false, nil //nolint:nilerr // what cannot be read is not the same
		}
		for _, c := range counts {
			*side.sum += max(c.Total, 0)
		}
	}
	return false, nil
}

// ForgetTargetDocuments forgets documents that are there no more.
func (l *Ledger) ForgetTargetDocuments(ctx context.Context, m TargetMonth, documents []target.ID) error {
	return l.write(ctx, "forget target documents of "+m.name(), func(tx *sql.Tx) error {
		month, _, err := targetMonth(ctx, tx, m)
		if err != nil {
			return err
		}
		for i := range documents {
			if _, err := tx.ExecContext(ctx, `DELETE FROM target_document WHERE month = $1 AND document = $2`, month, documents[i][:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// TargetMonthReadInFull notes that all documents of a month were read just now, not only those that had changed.
func (l *Ledger) TargetMonthReadInFull(ctx context.Context, m TargetMonth) error {
	return l.write(ctx, "note that "+m.name()+" was read in full", func(tx *sql.Tx) error {
		month, err := l.keptMonth(ctx, tx, m)
		if err == nil {
			_, err = tx.ExecContext(ctx, `UPDATE target_month SET full_at = $1 WHERE number = $2`, l.now(), month)
		}
		return err
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
		_, err = tx.ExecContext(ctx, `INSERT INTO target_first (month, owner, type, parents)
			SELECT CAST($1 AS integer), o.owner, o.type, o.parents FROM target_owner o WHERE o.cht = $2 AND o.gone = 0
				AND EXISTS (SELECT 1 FROM target_document d WHERE d.month = $1 AND d.owner = o.owner)
				AND NOT EXISTS (SELECT 1 FROM target_first f WHERE f.month = $1 AND f.owner = o.owner)
			ON CONFLICT DO NOTHING`, month, m.CHT)
		return err
	})
}

// ForgetTargetFirsts forgets where owners stood when their documents of a month first counted, so that it is noted anew.
func (l *Ledger) ForgetTargetFirsts(ctx context.Context, m TargetMonth, owners []target.ID) error {
	if len(owners) == 0 {
		return nil
	}
	return l.write(ctx, "forget where owners first stood in "+m.name(), func(tx *sql.Tx) error {
		month, _, err := targetMonth(ctx, tx, m)
		for i := range owners {
			if err == nil {
				_, err = tx.ExecContext(ctx, `DELETE FROM target_first WHERE month = $1 AND owner = $2`, month, owners[i][:])
			}
		}
		return err
	})
}

// TargetDocuments gives the remembered documents of a month, those of one owner together and in the order of their hashes. They are
// good until yield returns, whose error ends it.
func (l *Ledger) TargetDocuments(ctx context.Context, m TargetMonth, yield func(owner target.ID, documents []target.Document) error) error {
	return l.read(ctx, "read target documents of "+m.name(), func(tx *sql.Tx) error {
		month, _, err := targetMonth(ctx, tx, m)
		if err != nil {
			return err
		}
		var raw struct{ owner, document, counts sql.RawBytes }
		var owner target.ID
		var documents []target.Document
		pass := func() error {
			if len(documents) == 0 {
				return nil
			}
			err := yield(owner, documents)
			documents = documents[:0]
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT owner, document, updated, malformed, counts FROM target_document WHERE month = $1 ORDER BY owner, document`, month)
		err = each(rows, err, func() error {
			var updated, malformed int
			if err := rows.Scan(&raw.owner, &raw.document, &updated, &malformed, &raw.counts); err != nil {
				return err
			}
			if !bytes.Equal(raw.owner, owner[:]) {
				if err := pass(); err != nil {
					return err
				}
				if err := fillBytes(raw.owner, owner[:]); err != nil {
					return err
				}
			}
			documents = slices.Grow(documents, 1)[:len(documents)+1]
			d := &documents[len(documents)-1]
			d.Updated, d.Malformed = updated, malformed != 0
			if err := fillBytes(raw.document, d.ID[:]); err != nil {
				return err
			}
			d.Counts, err = unpackCounts(d.Counts[:0], raw.counts)
			return err
		})
		if err != nil {
			return err
		}
		return pass()
	})
}

// TargetOwners gives the owners of a CHT that are remembered, each with where it first stood in a month.
func (l *Ledger) TargetOwners(ctx context.Context, m TargetMonth, yield func(TargetOwner) error) error {
	return l.read(ctx, "read the owners of target documents of CHT "+m.CHT, func(tx *sql.Tx) error {
		month, _, err := targetMonth(ctx, tx, m)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT o.owner, o.revision, o.gone, o.type, o.parents, o.checked_at, f.type, f.parents
			FROM target_owner o LEFT JOIN target_first f ON f.month = $1 AND f.owner = o.owner WHERE o.cht = $2 ORDER BY o.owner`, month, m.CHT)
		var id, revision, parents, firstParents sql.RawBytes
		return each(rows, err, func() error {
			var o TargetOwner
			var gone int
			var checked int64
			var firstType sql.NullString
			if err := rows.Scan(&id, &revision, &gone, &o.Type, &parents, &checked, &firstType, &firstParents); err != nil {
				return err
			}
			o.Gone, o.CheckedAt = gone != 0, timeOf(checked)
			if err := errors.Join(fillBytes(id, o.ID[:]), fillBytes(revision, o.Revision[:])); err != nil {
				return err
			}
			o.Parents = idsOf(parents)
			if firstType.Valid {
				o.First = &target.Owner{ID: o.ID, Type: firstType.String, Parents: idsOf(firstParents)}
			}
			return yield(o)
		})
	})
}

// SaveTargetOwners remembers owners as they are now.
func (l *Ledger) SaveTargetOwners(ctx context.Context, cht string, owners []TargetOwner) error {
	return l.write(ctx, "remember owners of target documents of CHT "+cht, func(tx *sql.Tx) error {
		rows, err := newBatch(ctx, tx, `INSERT INTO target_owner (cht, owner, revision, gone, type, parents, checked_at) VALUES`, 7,
			`ON CONFLICT (cht, owner) DO UPDATE SET revision = excluded.revision, gone = excluded.gone, type = excluded.type, parents = excluded.parents,
				checked_at = excluded.checked_at`)
		for i := range owners {
			o, gone := &owners[i], 0
			if o.Gone {
				gone = 1
			}
			parents := make([]byte, 0, len(o.Parents)*len(target.ID{}))
			for _, p := range o.Parents {
				parents = append(parents, p[:]...)
			}
			if err == nil {
				err = rows.add(ctx, cht, o.ID[:], o.Revision[:], gone, o.Type, parents, l.now())
			}
		}
		if err != nil {
			return err
		}
		return rows.end(ctx)
	})
}

// TargetOwnersChecked notes of owners that they are now as they are remembered.
func (l *Ledger) TargetOwnersChecked(ctx context.Context, cht string, owners []target.ID) error {
	return l.write(ctx, "note that owners of target documents of CHT "+cht+" are as they were", func(tx *sql.Tx) error {
		update, err := tx.PrepareContext(ctx, `UPDATE target_owner SET checked_at = $1 WHERE cht = $2 AND owner = $3`)
		for i := range owners {
			if err == nil {
				_, err = update.ExecContext(ctx, l.now(), cht, owners[i][:])
			}
		}
		return err
	})
}

// TargetOwnersSeen gives the owners of which documents of any of some months of a CHT are remembered, each once. The months are as in
// "202607"; those of which nothing is remembered add nothing.
func (l *Ledger) TargetOwnersSeen(ctx context.Context, cht string, months []string, yield func(owner target.ID) error) error {
	if len(months) == 0 {
		return nil
	}
	args, places := []any{cht}, make([]string, len(months))
	for i, month := range months {
		args = append(args, month)
		places[i] = fmt.Sprintf("$%d", i+2)
	}
	return l.read(ctx, "read who has target documents of CHT "+cht, func(tx *sql.Tx) error {
		//nolint:gosec // only placeholders are put together
		rows, err := tx.QueryContext(ctx, `SELECT DISTINCT owner FROM target_document WHERE month IN
			(SELECT number FROM target_month WHERE cht = $1 AND month IN (`+strings.Join(places, ", ")+`)) ORDER BY owner`, args...)
		var raw sql.RawBytes
		return each(rows, err, func() error {
			var owner target.ID
			if err := rows.Scan(&raw); err != nil {
				return err
			}
			if err := fillBytes(raw, owner[:]); err != nil {
				return err
			}
			return yield(owner)
		})
	})
}

// idsOf reads hashes that stand one after the other.
func idsOf(raw []byte) (ids []target.ID) {
	for ; len(raw) >= len(target.ID{}); raw = raw[len(target.ID{}):] {
		ids = append(ids, target.ID(raw[:len(target.ID{})]))
	}
	return ids
}

// packCounts writes the counts of a document. A number is written as one more than it is: what was not read is a 0.
func packCounts(counts []target.Count) []byte {
	packed := make([]byte, 0, 3*len(counts))
	for _, c := range counts {
		packed = binary.AppendUvarint(packed, uint64(c.Target))  //nolint:gosec // names are numbered from 0 on
		packed = binary.AppendUvarint(packed, uint64(c.Pass+1))  //nolint:gosec // -1 is the least
		packed = binary.AppendUvarint(packed, uint64(c.Total+1)) //nolint:gosec // as above
	}
	return packed
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
