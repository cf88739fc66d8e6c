// Package target adds up what the target documents of a CHT say, by org unit: what the CHT's export computes, without its faults.
//
// It is pure: it touches no network, no file and no clock. What it is told are places, owners and documents; what it gives are the
// values of an export, in the form in which package cht gives them, and everything that a person has to know of how they came about.
// Contacts and documents are known by keyed hashes only, as their ids name people.
package target

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
)

// ID is the keyed hash of the id of a contact or a document.
type ID [16]byte

// Key makes the hashes. One store has one key for good.
type Key []byte

// Of gives the hash of an id.
func (k Key) Of(id string) ID { return k.Hasher().Of(id) }

// Hasher gives what makes many hashes, one after the other: to take the key in costs as much as a hash does.
func (k Key) Hasher() *Hasher { return &Hasher{mac: hmac.New(sha256.New, k)} }

// Hasher makes hashes with one key. One goroutine uses it at a time.
type Hasher struct {
	mac      hash.Hash
	id, hash []byte
}

// Of gives the hash of an id.
func (h *Hasher) Of(id string) ID {
	h.mac.Reset()
	h.id = append(h.id[:0], id...)
	_, _ = h.mac.Write(h.id)
	h.hash = h.mac.Sum(h.hash[:0])
	return ID(h.hash[:len(ID{})])
}

// Measure is the number of a target that counts.
type Measure int

// The measures.
const (
	// Total is what the CHT's own export sends: the count, and the denominator of a percent target.
	Total Measure = iota
	// Pass is what phones show: the count, and the numerator of a percent target.
	Pass
	// Percent is computed after summing, 100 × pass ÷ total, rounded to a whole number as the CHT does; without a total there is none.
	Percent
)

// Item lets a target add to a cell, under the ids of the CHT. Items of one cell add up, and have one measure.
type Item struct {
	Target                                                 string
	Measure                                                Measure
	DataElement, CategoryOptionCombo, AttributeOptionCombo string
}

// cell is where an item's numbers go.
type cell struct{ dataElement, categoryOptionCombo, attributeOptionCombo string }

func (i Item) cell() cell {
	return cell{i.DataElement, i.CategoryOptionCombo, i.AttributeOptionCombo}
}

// Duplicates says what counts where one owner has several documents of a month.
type Duplicates int

// The ways.
const (
	// Latest takes the document that changed last, the one with the larger sum of totals where two changed on one day.
	Latest Duplicates = iota
	// Together adds them up, as the CHT's export does.
	Together
	// Largest takes the document whose totals have the largest sum. A whole document is taken, never parts of two.
	Largest
)

// Rules are what a data set's configuration asks for. The zero Rules of some items give what the export would, with duplicates told
// apart.
type Rules struct {
	Items []Item
	// Lowest lets a document count for the nearest place above its owner that carries an org unit of the data set, the owner
	// included. Level, a contact type, lets it count for the nearest place of that type that does. Without either it counts for
	// the owner and all places above, as in the export.
	Lowest bool
	Level  string
	// Duplicates is for owners with several documents.
	Duplicates Duplicates
	// ExcludeTypes are the contact types of owners whose documents do not count, such as supervisors.
	ExcludeTypes []string
}

// Validate tells the first thing in the rules that contradicts itself. A Sum takes such rules all the same: a cell of two measures
// gets two values then, which nothing further on lets pass, and an item that stands there twice counts once.
func (r Rules) Validate() error {
	measures, seen := map[cell]Item{}, map[Item]bool{}
	for _, item := range r.Items {
		other, taken := measures[item.cell()]
		switch {
		case item.Target == "":
			return fmt.Errorf("an item of data element %s has no target", item.DataElement)
		case item.DataElement == "":
			return fmt.Errorf("target %s has no data element", item.Target)
		case item.Measure < Total || item.Measure > Percent:
			return fmt.Errorf("target %s has no such measure: %d", item.Target, item.Measure)
		case seen[item]:
			return fmt.Errorf("target %s stands twice in one cell of data element %s", item.Target, item.DataElement)
		case taken && other.Measure != item.Measure:
			return fmt.Errorf("targets %s and %s add to one cell of data element %s by different measures", other.Target, item.Target, item.DataElement)
		}
		measures[item.cell()], seen[item] = item, true
	}
	if r.Lowest && r.Level != "" {
		return fmt.Errorf("documents cannot count for the lowest place alone and for the level %s", r.Level)
	}
	return nil
}

// Place is a contact that carries org units.
type Place struct {
	ID       ID
	Type     string
	OrgUnits []OrgUnit
}

// OrgUnit is one that a place carries; without a data set it is valid for all.
type OrgUnit struct{ ID, DataSet string }

// Owner is a contact that documents belong to.
type Owner struct {
	ID ID
	// Gone says that the contact was deleted or is not known; nothing else of it is known then.
	Gone bool
	Type string
	// Parents are the contacts above it, the nearest first. With the owner itself they say where its documents count.
	Parents []ID
}

// Document is a target document, without the names in it.
type Document struct {
	ID ID
	// Updated is the day on which its numbers last changed, in days since 1970; 0 is not known.
	Updated int
	// Counts are its targets, by their numbers; a number below 0, cht.Unread, cannot be used. A target that stands there twice
	// adds up, as in the export.
	Counts []Count
	// Malformed says that nothing of it can be used.
	Malformed bool
}

// Count is a target of a document. Target is the place of its id in the list of names that the Sum was given.
type Count struct {
	Target      int
	Pass, Total int64
}
