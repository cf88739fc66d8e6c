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
// today against that as it was when documents first counted, or the other way round. Owners of whom the other hierarchy knows
// nothing have not moved. It is given before anything is added.
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

// compare takes what an owner's documents come to, and the org units for which they count here.
func (m *moves) compare(owner ID, p *portion, here []string) {
	number, known := m.there.h.owners[owner]
	if !known || m.there.h.records[number].kind == gone {
		return
	}
	units := m.there.of(m.there.h.records[number].line)
	there := make([]string, len(units))
	for i, u := range units {
		there[i] = m.names[u]
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

// idsOf gives the ids of org units.
func (s *Sum) idsOf(units []uint32) []string {
	ids := make([]string, len(units))
	for i, u := range units {
		ids[i] = s.orgUnits[u]
	}
	return ids
}
