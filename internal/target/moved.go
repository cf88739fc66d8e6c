package target

import (
	"maps"
	"slices"
)

// Moved tells how the sums differ from those by another hierarchy.
type Moved struct {
	// Owners are those with documents that would count elsewhere by the other hierarchy.
	Owners IDs
	// OrgUnits are the org units concerned, in their order.
	OrgUnits []Move
}

// Move is what an org unit has here and not by the other hierarchy, and the other way round: owners, each once a month, and by item.
type Move struct {
	OrgUnit             string
	OwnersIn, OwnersOut int
	In, Out             []Amount
}

// moves compares with another hierarchy.
type moves struct {
	there  attribution
	names  []string
	units  map[string]*Move
	moved  map[ID]bool
	owners IDs
	items  int
}

// Against lets the Findings tell for which owners the other hierarchy has other org units, and how much moves: the one as it is
// today against that as it was when documents first counted, or the other way round. Owners of whom the other hierarchy was not
// told have not moved; those who are gone there count nowhere by it. It is given before anything is added.
func (s *Sum) Against(other *Hierarchy) {
	m := &moves{
		there: attribution{h: other, rules: s.here.rules, dataSet: s.here.dataSet},
		units: map[string]*Move{}, moved: map[ID]bool{}, items: len(s.items),
	}
	numbers := map[string]uint32{}
	m.there.unit = func(id string) uint32 {
		number, known := numbers[id]
		if !known {
			number = uint32(len(m.names)) //nolint:gosec // Bounded by places.
			numbers[id] = number
			m.names = append(m.names, id)
		}
		return number
	}
	s.moves = m
}

// compareMoves takes what an owner's documents come to, and the org units for which they count here.
func (s *Sum) compareMoves(owner ID, p *portion, units []uint32) {
	m := s.moves
	number, known := m.there.h.owners[owner]
	if !known {
		return
	}
	var here, there []string
	for _, u := range units {
		here = append(here, s.orgUnits[u])
	}
	if r := m.there.h.records[number]; r.kind != gone {
		for _, u := range m.there.of(r.line) {
			there = append(there, m.names[u])
		}
	}
	differs := false
	for _, id := range here {
		if !slices.Contains(there, id) {
			differs = true
			move := m.of(id)
			move.OwnersIn++
			addAll(move.In, p.amounts)
		}
	}
	for _, id := range there {
		if !slices.Contains(here, id) {
			differs = true
			move := m.of(id)
			move.OwnersOut++
			addAll(move.Out, p.amounts)
		}
	}
	if differs && !m.moved[owner] {
		m.moved[owner] = true
		m.owners.add(owner)
	}
}

func (m *moves) of(orgUnit string) *Move {
	if m.units[orgUnit] == nil {
		m.units[orgUnit] = &Move{OrgUnit: orgUnit, In: make([]Amount, m.items), Out: make([]Amount, m.items)}
	}
	return m.units[orgUnit]
}

func (m *moves) found() Moved {
	f := Moved{Owners: m.owners}
	for _, id := range slices.Sorted(maps.Keys(m.units)) {
		f.OrgUnits = append(f.OrgUnits, *m.units[id])
	}
	return f
}
