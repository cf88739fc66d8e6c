package orchestration

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// spool gathers records of a month by org unit, in a temporary file, so that memory does not grow with the month. Org units
// normally come one after the other; one that comes back is put together again.
type spool struct {
	*packer

	file    *os.File
	size    int64
	pending map[string]*pending
	current *pending // the one of the last record
	held    int      // bytes in pending
	// segments are where the records of an org unit lie in the file.
	segments map[string][]segment
	window   window
}

// pending is the records of an org unit that are not in the file yet.
type pending struct {
	orgUnit string
	packed  []byte
}

const pendingSize = 128 // what one takes beside its records

type segment struct {
	offset int64
	length int32
}

const spoolBuffer = 1 << 20

// newSpool makes a spool in dir; empty is the system's folder for temporary files. The caller closes it.
func newSpool(dir string) (*spool, error) {
	file, err := temporary(dir)
	if err != nil {
		return nil, err
	}
	return &spool{packer: newPacker(), file: file, pending: map[string]*pending{}, segments: map[string][]segment{}}, nil
}

// temporary makes a file that goes away with the process, whatever ends it, where the system allows to remove an open
// file; elsewhere it goes with closeFile.
func temporary(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, "mediator-spool-*")
	if err != nil {
		return nil, fmt.Errorf("make a spool file: %w", err)
	}
	_ = os.Remove(file.Name())
	return file, nil
}

func closeFile(file *os.File) {
	_ = file.Close()
	_ = os.Remove(file.Name())
}

func (s *spool) close() { closeFile(s.file) }

// add takes a record of an org unit, which write appends.
func (s *spool) add(orgUnit string, write func(b []byte) []byte) error {
	p := s.current
	if p == nil || p.orgUnit != orgUnit {
		if p = s.pending[orgUnit]; p == nil {
			p = &pending{orgUnit: orgUnit}
			s.pending[orgUnit] = p
			s.held += len(orgUnit) + pendingSize
		}
		s.current = p
	}
	before := len(p.packed)
	p.packed = write(p.packed)
	s.held += len(p.packed) - before
	if s.held < spoolBuffer {
		return nil
	}
	return s.flush()
}

// flush writes down what is pending, one segment an org unit.
func (s *spool) flush() error {
	out := bufio.NewWriterSize(s.file, windowSize)
	for _, orgUnit := range slices.Sorted(maps.Keys(s.pending)) {
		b := s.pending[orgUnit].packed
		if _, err := out.Write(b); err != nil {
			return fmt.Errorf("write the spool file: %w", err)
		}
		s.segments[orgUnit] = append(s.segments[orgUnit], segment{offset: s.size, length: int32(len(b))}) //nolint:gosec // at most spoolBuffer and a record
		s.size += int64(len(b))
	}
	clear(s.pending)
	s.current, s.held = nil, 0
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the spool file: %w", err)
	}
	return nil
}

// orgUnits gives the ids of the org units in their order. Nothing may be added afterwards.
func (s *spool) orgUnits() ([]string, error) {
	if err := s.flush(); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(s.segments)), nil
}

// read reads the records of an org unit, one after the other, in the order in which they were added.
func (s *spool) read(orgUnit string, record func(u *unpacker)) error {
	for _, at := range s.segments[orgUnit] {
		packed, err := s.window.at(s.file, at.offset, int(at.length))
		if err != nil {
			return err
		}
		u := unpacker{packer: s.packer, b: packed}
		for len(u.b) > 0 {
			record(&u)
		}
		if u.err != nil {
			return u.err
		}
	}
	return nil
}

// cellSpool gathers the cells of a month.
type cellSpool struct {
	*spool

	cells []mapping.Cell
}

func (s *cellSpool) add(c *mapping.Cell) error {
	return s.spool.add(c.OrgUnit, func(b []byte) []byte {
		b = s.text(b, c.DataElement)
		b = s.text(b, c.CategoryOptionCombo)
		b = s.text(b, c.AttributeOptionCombo)
		b = s.text(b, c.Comment)
		b = s.text(b, string(c.Fault))
		b = s.text(b, c.Found)
		b = s.text(b, unless(c.FromOrgUnit, c.OrgUnit))
		b = s.text(b, unless(c.FromElement, c.DataElement))
		b = s.text(b, c.Month)
		b = binary.AppendUvarint(b, uint64(c.Value-mapping.Unread)) //nolint:gosec // nothing is below Unread
		return binary.AppendUvarint(b, uint64(c.Index))             //nolint:gosec // nor is a place below zero
	})
}

// unless gives a text, or nothing where it is the same as the other one.
func unless(text, same string) string {
	if text == same {
		return ""
	}
	return text
}

// of gives the cells of an org unit. They are good until the next one.
func (s *cellSpool) of(orgUnit string) ([]mapping.Cell, error) {
	s.cells = s.cells[:0]
	err := s.read(orgUnit, func(u *unpacker) {
		c := mapping.Cell{OrgUnit: orgUnit}
		c.DataElement = u.text()
		c.CategoryOptionCombo = u.text()
		c.AttributeOptionCombo = u.text()
		c.Comment = u.text()
		c.Fault = mapping.Fault(u.text())
		c.Found = u.text()
		c.FromOrgUnit = cmp.Or(u.text(), c.OrgUnit)
		c.FromElement = cmp.Or(u.text(), c.DataElement)
		c.Month = u.text()
		c.Value = int64(u.number()) + mapping.Unread //nolint:gosec // as it was written
		c.Index = int(u.number())                    //nolint:gosec // as it was written
		s.cells = append(s.cells, c)
	})
	return s.cells, err
}

// heldSpool gathers what DHIS2 holds of a month.
type heldSpool struct {
	*spool

	cells []cell
	// combo, category, by and at are how the texts were written that came last: they mostly come again. elements are the data
	// elements as they were written, in the order in which they came first, places says where each stands there, and element
	// is the one that is next by that.
	combo, category, by, at lastText
	elements                []lastText
	places                  map[string]int
	element                 int
}

// lastText is a text and how it is written.
type lastText struct {
	text    string
	written []byte
}

// again writes a text that is the last one as a rule.
func (s *heldSpool) again(b []byte, text string, last *lastText) []byte {
	if text != last.text || last.written == nil {
		last.text, last.written = text, s.text(last.written[:0], text)
	}
	return append(b, last.written...)
}

// next writes a data element. They come in one order as a rule, org unit after org unit.
func (s *heldSpool) next(b []byte, text string) []byte {
	if s.element < len(s.elements) && s.elements[s.element].text == text {
		b = append(b, s.elements[s.element].written...)
		s.element = (s.element + 1) % len(s.elements)
		return b
	}
	place, known := s.places[text]
	switch {
	case !known && len(s.elements) >= tableLimit:
		return s.text(b, text)
	case !known:
		place = len(s.elements)
		if s.places == nil {
			s.places = map[string]int{}
		}
		s.places[text] = place
		s.elements = append(s.elements, lastText{text, s.text(nil, text)})
	}
	s.element = (place + 1) % len(s.elements)
	return append(b, s.elements[place].written...)
}

func (s *heldSpool) add(v *dhis2.StoredValue) error {
	return s.spool.add(v.OrgUnit, func(b []byte) []byte {
		b = s.again(b, v.AttributeOptionCombo, &s.combo)
		b = s.next(b, v.DataElement)
		b = s.again(b, v.CategoryOptionCombo, &s.category)
		b = s.text(b, v.Value)
		b = s.text(b, v.Comment)
		b = s.again(b, v.StoredBy, &s.by)
		return s.again(b, v.LastUpdated, &s.at)
	})
}

// of gives what DHIS2 holds of an org unit, in the order of cells. It is good until the next one.
func (s *heldSpool) of(orgUnit string) ([]cell, error) {
	s.cells = s.cells[:0]
	err := s.read(orgUnit, func(u *unpacker) {
		s.cells = append(s.cells, cell{
			attributeOptionCombo: u.text(), dataElement: u.text(), categoryOptionCombo: u.text(),
			value: u.text(), comment: u.text(), storedBy: u.text(), updated: u.text(),
		})
	})
	slices.SortFunc(s.cells, compareCells)
	return s.cells, err
}

// window reads parts of a file that mostly follow each other, many of them at once.
type window struct {
	offset int64
	data   []byte
}

const windowSize = 256 << 10

// at gives a part of the file; it is good until the next one is asked for.
func (w *window) at(file *os.File, offset int64, length int) ([]byte, error) {
	if offset < w.offset || offset+int64(length) > w.offset+int64(len(w.data)) {
		size := max(length, windowSize)
		w.offset, w.data = offset, slices.Grow(w.data[:0], size)[:size]
		n, err := file.ReadAt(w.data, offset)
		w.data = w.data[:n]
		if n < length {
			return nil, fmt.Errorf("read the spool file: %w", err)
		}
	}
	start := offset - w.offset
	return w.data[start : start+int64(length)], nil
}
