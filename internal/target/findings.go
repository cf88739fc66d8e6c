package target

import (
	"cmp"
	"slices"

	"github.com/cht-dhis2/mediator/internal/issue"
)

// Findings tell what a person has to know of how sums came about. Numbers go on where lists end, after issue.ListLimit entries. They
// hold no names; contacts and documents are in lists by their hashes.
type Findings struct {
	Rules Rules
	// Owners and Documents are those that count: an owner is one in however many months, in OwnerMonths one in each. Types are
	// owners by their contact type, those left out included.
	Owners, OwnerMonths, Documents int
	Types                          []Type

	// WithoutOrgUnit is what counts nowhere as no place above its owner carries an org unit that the rules let it count for; Gone,
	// as the owner was deleted or is not known to the CHT; Unknown, as the hierarchy was not told of the owner.
	WithoutOrgUnit, Gone, Unknown Unattributed
	// Excluded is what was left out for the type of its owner.
	Excluded struct{ Owners, Documents int }
	// Malformed are documents that were left out as they, or a number in them that an item needs, cannot be used. Unread tells
	// how many numbers of each item that were.
	Malformed IDs
	Unread    []int
	// Duplicates are owners with several documents of a month.
	Duplicates Doubles

	// Several are places that carry several org units of the data set, each of which gets everything.
	Several Groups
	// Nested are org units whose documents count for another one further up as well.
	Nested Nestings
	// Missing tells for each item how many owners that count have no document with its target, in all months together.
	Missing []int
	// TooLarge are cells that are not given as their sum is beyond 2^53 (Sum.TooLarge gives all of them), NoDenominator those of
	// percents without one.
	TooLarge, NoDenominator Cells

	// Partly are org units of which in a month of the period nobody's document counts, and in another somebody's does.
	Partly OrgUnits

	// ExpectedOwners is how many owners were expected at all, ExpectedNowhere those of them that count for no org unit.
	ExpectedOwners  int
	ExpectedNowhere IDs
	// Moved is how the other hierarchy would differ, where there is one to compare with.
	Moved Moved
}

// IDs are hashes of contacts or documents.
type IDs struct {
	Total int
	List  []ID
}

func (l *IDs) add(id ID) { keep(&l.Total, &l.List, id) }

// keep counts one more, and keeps it while there is room.
func keep[T any](total *int, list *[]T, one T) {
	*total++
	if len(*list) < issue.ListLimit {
		*list = append(*list, one)
	}
}

// Type is how many owners there are of a contact type.
type Type struct {
	ID       string
	Owners   int
	Excluded bool
}

// Unattributed is what does not count for any org unit. Lost is how much that is, by item.
type Unattributed struct {
	Owners    IDs
	Documents int
	Lost      []Amount
}

// OrgUnits are some org units.
type OrgUnits struct {
	Total int
	List  []string
}

// Doubles are the cases of owners with several documents of one month. Left is what was not taken, by item; nothing where they are
// added up.
type Doubles struct {
	Total     int
	Identical int
	List      []Duplicate
	Left      []Amount
}

func (d *Doubles) add(one Duplicate) {
	keep(&d.Total, &d.List, one)
	if one.Identical {
		d.Identical++
	}
}

// Duplicate is an owner with several documents of a month, which is counted from 0. Identical says that all items have the same from
// each of them.
type Duplicate struct {
	Owner            ID
	Month, Documents int
	Identical        bool
}

// Groups are places by the org units that they carry.
type Groups struct {
	Total int
	List  [][]string
}

// Nestings are pairs of org units that hold the same documents.
type Nestings struct {
	Total int
	List  []Nesting
}

// Nesting is an org unit whose documents count for the next one further up as well. Owners is how many, each once a month.
type Nesting struct {
	Inner, Outer string
	Owners       int
}

// Cells are cells of org units.
type Cells struct {
	Total int
	List  []Cell
}

// Cell is a cell of an org unit, by its first item.
type Cell struct {
	OrgUnit string
	Item    Item
}

func newFindings(r Rules) Findings {
	n := len(r.Items)
	f := Findings{Rules: r, Unread: make([]int, n), Missing: make([]int, n)}
	for _, lost := range []*[]Amount{&f.WithoutOrgUnit.Lost, &f.Gone.Lost, &f.Unknown.Lost, &f.Duplicates.Left} {
		*lost = make([]Amount, n)
	}
	return f
}

// Findings tells what was found so far; what is added afterwards may change it.
func (s *Sum) Findings() Findings {
	f := s.found
	f.Types, f.Several, f.Nested = s.typesFound(), s.several(), s.nested()
	for u, orgUnit := range s.orgUnits {
		if seen, _ := s.units[u].least(s.month); seen == 0 && s.units[u].documents > 0 {
			keep(&f.Partly.Total, &f.Partly.List, orgUnit)
		}
		for i := range s.cells {
			switch _, what := s.at(u, i); what {
			case tooLarge:
				keep(&f.TooLarge.Total, &f.TooLarge.List, Cell{orgUnit, s.cells[i].Item})
			case noDenominator:
				keep(&f.NoDenominator.Total, &f.NoDenominator.List, Cell{orgUnit, s.cells[i].Item})
			default:
			}
		}
	}
	if s.moves != nil {
		f.Moved = s.moves.found()
	}
	return f
}

func (s *Sum) typesFound() []Type {
	var types []Type
	for kind, owners := range s.kinds {
		if owners > 0 {
			types = append(types, Type{s.here.h.types[kind], owners, s.excluded[int32(kind)]})
		}
	}
	slices.SortFunc(types, func(a, b Type) int { return cmp.Compare(a.ID, b.ID) })
	return types
}

// several gives the places that carry several org units.
func (s *Sum) several() Groups {
	var all [][]string
	for number := range s.here.h.carry {
		n := uint32(number)
		if ids := s.here.valid(n); len(ids) > 1 && s.here.reaches(n) {
			slices.Sort(ids)
			all = append(all, ids)
		}
	}
	slices.SortFunc(all, slices.Compare)
	return Groups{len(all), all[:min(len(all), issue.ListLimit)]}
}

// nested gives the pairs of org units in which the same documents were counted.
func (s *Sum) nested() Nestings {
	if s.here.alone() {
		return Nestings{}
	}
	type pair struct{ inner, outer string }
	owners := map[pair]int{}
	for line, n := range s.lineOwners {
		if n == 0 {
			continue
		}
		var below []string
		for _, number := range s.here.h.above(uint32(line)) {
			here := s.here.valid(number)
			for _, outer := range here {
				for _, inner := range below {
					if inner != outer {
						owners[pair{inner, outer}] += n
					}
				}
			}
			if len(here) > 0 {
				below = here
			}
		}
	}
	all := make([]Nesting, 0, len(owners))
	for p, n := range owners {
		all = append(all, Nesting{p.inner, p.outer, n})
	}
	slices.SortFunc(all, func(a, b Nesting) int {
		return cmp.Or(cmp.Compare(a.Outer, b.Outer), cmp.Compare(a.Inner, b.Inner))
	})
	return Nestings{len(all), all[:min(len(all), issue.ListLimit)]}
}
