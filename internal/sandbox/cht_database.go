package sandbox

import (
	"crypto/md5"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// hiddenDocuments is how many documents the database of the recordings holds beside contacts and target documents: the
// settings and what defines the views. They count, and are never listed.
const hiddenDocuments = 3

// database is how the documents stand in a CouchDB: in the order of their ids, each with a revision. The zero value is ready.
// It may be used by many goroutines only under its owner's lock.
type database struct {
	// rows are nil until somebody reads, and after each change.
	rows []databaseRow
	// revisions are those that somebody was told, or had been when the document was deleted.
	revisions map[string]*databaseRevision
	// listed are the ids of the rows before the change.
	listed []string
	// buffer is for making revisions.
	buffer []byte
}

// databaseRow is a document: one of the two.
type databaseRow struct {
	id      string
	contact *CHTContact
	target  *CHTTargetDocument
	rev     string
}

// databaseRevision is the last one of a document.
type databaseRevision struct {
	number  int
	hash    [md5.Size]byte
	deleted bool
}

func (r *databaseRevision) String() string {
	return strconv.Itoa(r.number) + "-" + hex.EncodeToString(r.hash[:])
}

// forget has the rows made anew: documents have changed.
func (d *database) forget() {
	for i := range d.rows {
		d.listed = append(d.listed, d.rows[i].id)
	}
	d.rows = nil
}

// read makes the rows where there are none.
func (d *database) read(documents *CHTDocuments) {
	if d.rows != nil {
		return
	}
	d.rows = make([]databaseRow, 0, len(documents.Places)+len(documents.Persons)+len(documents.Targets))
	for _, contact := range documents.contacts() {
		d.rows = append(d.rows, databaseRow{id: contact.ID, contact: contact})
	}
	for i := range documents.Targets {
		d.rows = append(d.rows, databaseRow{id: documents.Targets[i].ID, target: &documents.Targets[i]})
	}
	for _, extra := range documents.ExtraMonths {
		for i := range extra.Docs {
			d.rows = append(d.rows, databaseRow{id: extra.Docs[i].ID, target: &extra.Docs[i]})
		}
	}
	slices.SortStableFunc(d.rows, func(a, b databaseRow) int { return strings.Compare(a.id, b.id) })
	if d.revisions == nil {
		d.revisions = map[string]*databaseRevision{}
	}
	d.bury(documents)
}

// bury gives their last revision to documents that are there no more.
func (d *database) bury(documents *CHTDocuments) {
	gone := d.listed
	d.listed = nil
	for _, list := range [][]CHTContact{documents.Places, documents.Persons} {
		for i := range list {
			if slices.Contains(documents.Deleted, list[i].ID) {
				gone = append(gone, list[i].ID)
				d.revise(list[i].ID, appendContact(d.buffer[:0], &list[i], ""))
			}
		}
	}
	for _, id := range gone {
		last := d.revisions[id]
		if d.find(id) != nil || last != nil && last.deleted {
			continue
		}
		if last == nil {
			last = d.revise(id, []byte(id))
		}
		tomb := append(appendField([]byte{'{'}, "_id", id), `"_rev":"`+last.String()+`","_deleted":true}`...)
		d.revise(id, tomb).deleted = true
	}
}

// find gives the document of that id, nil when there is none.
func (d *database) find(id string) *databaseRow {
	at, there := slices.BinarySearchFunc(d.rows, id, func(r databaseRow, id string) int { return strings.Compare(r.id, id) })
	if !there {
		return nil
	}
	return &d.rows[at]
}

// deleted gives the revision of a document that was deleted, nil of any other.
func (d *database) deleted(id string) *databaseRevision {
	if last := d.revisions[id]; last != nil && last.deleted {
		return last
	}
	return nil
}

// revise gives the revision of a document with that text. It is a new one when the text is.
func (d *database) revise(id string, text []byte) *databaseRevision {
	d.buffer = text
	hash := md5.Sum(text)
	last := d.revisions[id]
	if last == nil {
		last = &databaseRevision{number: 1, hash: hash}
		d.revisions[id] = last
	}
	if last.hash != hash || last.deleted {
		last.number++
		last.hash, last.deleted = hash, false
	}
	return last
}

// revision gives the revision of a row.
func (d *database) revision(row *databaseRow) string {
	if row.rev == "" {
		row.rev = d.revise(row.id, row.append(d.buffer[:0], "")).String()
	}
	return row.rev
}

// append writes the document.
func (r *databaseRow) append(b []byte, rev string) []byte {
	if r.contact != nil {
		return appendContact(b, r.contact, rev)
	}
	return appendTargetDocument(b, r.target, rev)
}
