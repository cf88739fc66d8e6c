package target

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Hierarchy knows for which places each owner's documents count. It keeps no more of an owner than its hash, its type and which
// line of places it belongs to, and most owners share theirs with others.
//
// All places come first, then the owners. An owner that is added again is replaced: what is added to a Sum afterwards counts where
// the owner is now. A Hierarchy may serve several Sums, one after the other or in turn, but not at the same time as it changes.
type Hierarchy struct {
	places map[ID]uint32
	carry  []place

	owners  map[ID]uint32
	records []record

	// lines are the lines of places, one after the other: line n is from ends[n-1] to ends[n].
	lines    []uint32
	ends     []uint32
	interned map[string]uint32

	types  []string
	typeOf map[string]int32
	full   bool
	err    error
	key    []byte
	climb  []uint32
}

type place struct {
	kind     int32
	orgUnits []OrgUnit
}

// record is what is known of an owner: its line of places, and the number of its type.
type record struct {
	line uint32
	kind int32
}

// gone is the kind of owners of whom nothing is known.
const gone = -1

var errLatePlace = errors.New("target: a place was added after the first owner")

// NewHierarchy gives an empty one.
func NewHierarchy() *Hierarchy {
	return &Hierarchy{places: map[ID]uint32{}, owners: map[ID]uint32{}, interned: map[string]uint32{}, typeOf: map[string]int32{}}
}

// AddPlace tells of a place that carries org units; what it carries adds to what was told of it before. Once there is an owner, or
// a Sum, it comes too late, which every Sum of the hierarchy then tells as its error.
func (h *Hierarchy) AddPlace(p Place) {
	if h.full {
		h.err = errLatePlace
		return
	}
	number, known := h.places[p.ID]
	if !known {
		number = uint32(len(h.carry)) //nolint:gosec // No CHT has four thousand million places.
		h.places[p.ID] = number
		h.carry = append(h.carry, place{})
	}
	here := &h.carry[number]
	here.kind = h.kind(p.Type)
	for _, unit := range p.OrgUnits {
		if unit.ID != "" && !slices.Contains(here.orgUnits, unit) {
			here.orgUnits = append(here.orgUnits, unit)
		}
	}
}

// AddOwner tells of a contact that has documents, or is expected to.
func (h *Hierarchy) AddOwner(o Owner) {
	h.full = true
	r := record{kind: gone}
	if !o.Gone {
		r = record{line: h.lineOf(o), kind: h.kind(o.Type)}
	}
	number, known := h.owners[o.ID]
	if known {
		h.records[number] = r
		return
	}
	h.owners[o.ID] = uint32(len(h.records)) //nolint:gosec // No CHT has four thousand million owners.
	h.records = append(h.records, r)
}

func (h *Hierarchy) kind(name string) int32 {
	kind, known := h.typeOf[name]
	if !known {
		kind = int32(len(h.types)) //nolint:gosec // No CHT has two thousand million types.
		h.types = append(h.types, name)
		h.typeOf[name] = kind
	}
	return kind
}

// lineOf gives the number of the line of places above an owner, the nearest first, the owner included.
func (h *Hierarchy) lineOf(o Owner) uint32 {
	h.climb, h.key = h.climb[:0], h.key[:0]
	up := func(id ID) {
		if number, known := h.places[id]; known && !slices.Contains(h.climb, number) {
			h.climb = append(h.climb, number)
			h.key = binary.LittleEndian.AppendUint32(h.key, number)
		}
	}
	up(o.ID)
	for _, parent := range o.Parents {
		up(parent)
	}
	if line, known := h.interned[string(h.key)]; known {
		return line
	}
	line := uint32(len(h.ends)) //nolint:gosec // There are at most as many as owners.
	h.lines = append(h.lines, h.climb...)
	h.ends = append(h.ends, uint32(len(h.lines))) //nolint:gosec // There are at most some for each owner.
	h.interned[string(h.key)] = line
	return line
}

// above gives the places of a line, the nearest first.
func (h *Hierarchy) above(line uint32) []uint32 {
	from := uint32(0)
	if line > 0 {
		from = h.ends[line-1]
	}
	return h.lines[from:h.ends[line]]
}

// attribution says for which org units of a data set the documents of an owner count, by the rules.
type attribution struct {
	h       *Hierarchy
	rules   Rules
	dataSet string
	// unit gives the number of an org unit.
	unit func(string) uint32
	// spans are where the answers for each line stand in units, once asked for.
	spans []span
	units []uint32
}

type span struct {
	from, to uint32
	known    bool
}

// valid gives the org units that a place carries for the data set.
func (a *attribution) valid(number uint32) []string {
	var ids []string
	for _, unit := range a.h.carry[number].orgUnits {
		if (unit.DataSet == "" || unit.DataSet == a.dataSet) && !slices.Contains(ids, unit.ID) {
			ids = append(ids, unit.ID)
		}
	}
	return ids
}

// reaches says whether documents may count for a place at all.
func (a *attribution) reaches(number uint32) bool {
	return a.rules.Level == "" || a.h.types[a.h.carry[number].kind] == a.rules.Level
}

// alone says whether a document counts for one place only.
func (a *attribution) alone() bool { return a.rules.Lowest || a.rules.Level != "" }

// of gives the numbers of the org units for which documents of owners of a line count, each once.
func (a *attribution) of(line uint32) []uint32 {
	if int(line) >= len(a.spans) {
		a.spans = append(a.spans, make([]span, len(a.h.ends)-len(a.spans))...)
	}
	if s := a.spans[line]; s.known {
		return a.units[s.from:s.to]
	}
	from := len(a.units)
	for _, number := range a.h.above(line) {
		if !a.reaches(number) {
			continue
		}
		for _, id := range a.valid(number) {
			if unit := a.unit(id); !slices.Contains(a.units[from:], unit) {
				a.units = append(a.units, unit)
			}
		}
		if a.alone() && len(a.units) > from {
			break
		}
	}
	a.spans[line] = span{uint32(from), uint32(len(a.units)), true} //nolint:gosec // Bounded by lines and places.
	return a.units[from:]
}

// bits is a set of small numbers.
type bits []uint64

func (b bits) has(n uint32) bool {
	return int(n/64) < len(b) && b[n/64]&(1<<(n%64)) != 0
}

// add puts a number into the set, and says whether it is new there.
func (b *bits) add(n uint32) bool {
	if at := int(n / 64); at >= len(*b) {
		*b = append(*b, make([]uint64, at+1-len(*b))...)
	}
	isNew := !b.has(n)
	(*b)[n/64] |= 1 << (n % 64)
	return isNew
}
