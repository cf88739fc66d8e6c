package target

import (
	"cmp"
	"errors"
	"slices"
	"strconv"

	"github.com/cht-dhis2/mediator/internal/cht"
)

// most is the largest number that everybody who reads it knows exactly. What is larger is not told apart, and never given.
const most = 1 << 53

// plus adds two numbers that are not negative; all above most are the same.
func plus(a, b int64) int64 { return min(min(a, most+1)+min(b, most+1), most+1) }

// Sum adds up the documents of a data set, over one month or several.
type Sum struct {
	here     attribution
	excluded map[int32]bool
	items    []Item
	// byTarget gives the items that a target feeds, by its number in names.
	byTarget [][]int
	// cells are the cells of the items in their order. Each has a column of sums, and one for the denominator where it is a percent.
	cells   []column
	cellOf  []int
	columns int
	// repeats are items that stand in the rules before; they are told of, but not added again.
	repeats []bool

	orgUnits []string
	// sums are by org unit and column, fed by org unit and cell, missing and mostMissing by org unit and item.
	sums                 []int64
	fed                  []bool
	missing, mostMissing []uint32
	units                []unit

	month      int
	staleFrom  int
	found      Findings
	read       []portion
	row        []int64
	filled     []bool
	lacking    []int
	lineOwners []int
	// Sets of owners, by their numbers in the hierarchy: those added in this month, and those counted, not attributed, left out and
	// expected at all. strangers are those with documents that the hierarchy does not know, nobody those expected.
	added, seen, lost, setAside, expected bits
	strangers                             map[ID]stranger
	nobody                                map[ID]bool
	moves                                 *moves
	// kinds are how many owners there are of each type.
	kinds []int
	err   error
}

// column is where a cell's sums are in a row of sums.
type column struct {
	Item
	at int
}

// stranger is an owner that the hierarchy does not know: the month in which it was added last, and whether anything was lost of it.
type stranger struct {
	month int
	lost  bool
}

var (
	errOwnerTwice   = errors.New("target: the documents of one owner and month were given in two parts")
	errLateExpected = errors.New("target: an owner was expected after the first month")
)

// NewSum begins a sum for a data set, for the org units that the places of the hierarchy carry for it. names are the ids of targets
// by the numbers that documents have them under.
func NewSum(h *Hierarchy, r Rules, dataSet string, names []string) *Sum {
	h.full = true
	s := &Sum{
		here: attribution{h: h, rules: r, dataSet: dataSet}, items: r.Items, byTarget: make([][]int, len(names)),
		excluded: map[int32]bool{}, strangers: map[ID]stranger{}, nobody: map[ID]bool{},
	}
	for _, name := range r.ExcludeTypes {
		s.excluded[h.kind(name)] = true
	}
	s.setCells()
	numbers := map[string][]int{}
	for number, name := range names {
		numbers[name] = append(numbers[name], number)
	}
	for i, item := range s.items {
		for _, number := range numbers[item.Target] {
			s.byTarget[number] = append(s.byTarget[number], i)
		}
	}
	s.setOrgUnits()
	return s
}

func (s *Sum) setCells() {
	type measured struct {
		cell
		measure Measure
	}
	at, stands := map[measured]int{}, map[Item]bool{}
	for _, item := range s.items {
		key := measured{item.cell(), item.Measure}
		number, known := at[key]
		if !known {
			number = len(s.cells)
			at[key] = number
			s.cells = append(s.cells, column{item, s.columns})
			s.columns++
			if item.Measure == Percent {
				s.columns++
			}
		}
		s.cellOf = append(s.cellOf, number)
		s.repeats = append(s.repeats, stands[item])
		stands[item] = true
	}
	s.row, s.filled = make([]int64, s.columns), make([]bool, len(s.cells))
	s.found = newFindings(s.here.rules)
}

func (s *Sum) setOrgUnits() {
	known := map[string]bool{}
	for number := range s.here.h.carry {
		if s.here.reaches(uint32(number)) {
			for _, id := range s.here.valid(uint32(number)) {
				if !known[id] {
					known[id] = true
					s.orgUnits = append(s.orgUnits, id)
				}
			}
		}
	}
	slices.Sort(s.orgUnits)
	numbers := make(map[string]uint32, len(s.orgUnits))
	for number, id := range s.orgUnits {
		numbers[id] = uint32(number)
	}
	s.here.unit = func(id string) uint32 { return numbers[id] }
	n := len(s.orgUnits)
	s.sums, s.fed = make([]int64, n*s.columns), make([]bool, n*len(s.cells))
	s.missing, s.units = make([]uint32, n*len(s.items)), make([]unit, n)
}

// StaleBefore sets the day, in days since 1970, before which a document counts as stale. It holds for what is added afterwards.
func (s *Sum) StaleBefore(day int) { s.staleFrom = day }

// Add takes all documents of one owner of one month, each owner once a month.
func (s *Sum) Add(owner ID, documents []Document) {
	if len(documents) == 0 || s.err != nil {
		return
	}
	number, r, known := s.owner(owner)
	if !s.first(owner, number, known) {
		s.err = errOwnerTwice
		return
	}
	if known && s.excluded[r.kind] {
		s.exclude(number, r.kind, len(documents))
		return
	}
	usable := s.usable(documents)
	if len(usable) == 0 {
		return
	}
	p := s.one(owner, usable)
	var units []uint32
	if known && r.kind != gone {
		units = s.here.of(r.line)
	}
	if s.moves != nil {
		s.compareMoves(owner, p, units)
	}
	if len(units) == 0 {
		s.lose(owner, number, r, known, p)
		return
	}
	s.count(number, r, p, units)
}

func (s *Sum) owner(id ID) (number uint32, r record, known bool) {
	number, known = s.here.h.owners[id]
	if known {
		r = s.here.h.records[number]
	}
	return number, r, known
}

// first says whether nothing of the owner was added in this month before.
func (s *Sum) first(owner ID, number uint32, known bool) bool {
	if known {
		return s.added.add(number)
	}
	was, strange := s.strangers[owner]
	s.strangers[owner] = stranger{month: s.month, lost: was.lost}
	return !strange || was.month != s.month
}

func (s *Sum) exclude(number uint32, kind int32, documents int) {
	s.found.Excluded.Documents += documents
	if s.setAside.add(number) {
		s.found.Excluded.Owners++
		s.kind(kind)
	}
}

// kind counts an owner by its type.
func (s *Sum) kind(kind int32) {
	if int(kind) >= len(s.kinds) {
		s.kinds = append(s.kinds, make([]int, int(kind)+1-len(s.kinds))...)
	}
	s.kinds[kind]++
}

// lose keeps account of what counts nowhere.
func (s *Sum) lose(owner ID, number uint32, r record, known bool, p *portion) {
	to := &s.found.WithoutOrgUnit
	switch {
	case !known:
		to = &s.found.Unknown
	case r.kind == gone:
		to = &s.found.Gone
	}
	to.Documents += p.count
	addAll(to.Lost, p.amounts)
	if known && s.lost.add(number) || !known && s.unknown(owner) {
		to.Owners.add(owner)
	}
}

// unknown says whether nothing was lost of the owner before.
func (s *Sum) unknown(owner ID) bool {
	was := s.strangers[owner]
	s.strangers[owner] = stranger{month: was.month, lost: true}
	return !was.lost
}

// count adds a portion to its org units.
func (s *Sum) count(number uint32, r record, p *portion, units []uint32) {
	s.found.OwnerMonths++
	s.found.Documents += p.count
	if s.seen.add(number) {
		s.found.Owners++
		s.kind(r.kind)
	}
	for int(r.line) >= len(s.lineOwners) {
		s.lineOwners = append(s.lineOwners, 0)
	}
	s.lineOwners[r.line]++
	clear(s.row)
	clear(s.filled)
	s.lacking = s.lacking[:0]
	for i, had := range p.had {
		if !had {
			s.lacking = append(s.lacking, i)
			s.found.Missing[i]++
			continue
		}
		s.filled[s.cellOf[i]] = true
		if !s.repeats[i] {
			s.addToRow(i, p.amounts[i])
		}
	}
	reported := s.expected.has(number)
	for _, n := range units {
		u := int(n)
		sums, fed := s.sums[u*s.columns:][:s.columns], s.fed[u*len(s.cells):][:len(s.cells)]
		for i, v := range s.row {
			// Neither is above most by more than one, so that nothing is lost before the smaller is taken.
			sums[i] = min(sums[i]+v, most+1)
		}
		for i, filled := range s.filled {
			fed[i] = fed[i] || filled
		}
		missing := s.missing[u*len(s.items):]
		for _, i := range s.lacking {
			missing[i]++
		}
		s.units[u].see(p, reported)
	}
}

// addToRow adds an item's amount to its cell.
func (s *Sum) addToRow(item int, a Amount) {
	c := &s.cells[s.cellOf[item]]
	switch c.Measure {
	case Pass:
		s.row[c.at] = plus(s.row[c.at], a.Pass)
	case Percent:
		s.row[c.at+1] = plus(s.row[c.at+1], a.Total)
		s.row[c.at] = plus(s.row[c.at], a.Pass)
	default:
		s.row[c.at] = plus(s.row[c.at], a.Total)
	}
}

// NextMonth says that what follows is of the next month of the period. Sums go on; a percent is that of the sums.
func (s *Sum) NextMonth() {
	if s.month == 0 {
		s.mostMissing = make([]uint32, len(s.missing))
	}
	for i, n := range s.missing {
		s.mostMissing[i] = max(s.mostMissing[i], n)
	}
	clear(s.missing)
	for i := range s.units {
		s.units[i].turn(s.month)
	}
	clear(s.added)
	s.month++
}

// what says what stands in a cell of an org unit.
type what int

const (
	nothing what = iota
	given
	tooLarge
	noDenominator
)

// at gives the value of a cell of an org unit.
func (s *Sum) at(unit int, cell int) (int64, what) {
	c := &s.cells[cell]
	if !s.fed[unit*len(s.cells)+cell] {
		return 0, nothing
	}
	sums := s.sums[unit*s.columns+c.at:]
	switch {
	case sums[0] > most, c.Measure == Percent && sums[1] > most:
		return 0, tooLarge
	case c.Measure != Percent:
		return sums[0], given
	case sums[1] == 0:
		return 0, noDenominator
	}
	return percent(sums[0], sums[1]), given
}

// percent gives 100 × pass ÷ total, a half rounded up.
func percent(pass, total int64) int64 { return (200*pass + total) / (2 * total) }

// Values gives the cells that at least one document fed, in order of org unit, then of item. A Value is only good until yield
// returns; an error of yield ends it and is returned.
func (s *Sum) Values(yield func(*cht.Value) error) error {
	if err := s.failed(); err != nil {
		return err
	}
	var v cht.Value
	for u, orgUnit := range s.orgUnits {
		for i := range s.cells {
			n, what := s.at(u, i)
			if what != given {
				continue
			}
			c := &s.cells[i]
			v.OrgUnit, v.DataElement = text(orgUnit), text(c.DataElement)
			v.CategoryOptionCombo, v.AttributeOptionCombo = text(c.CategoryOptionCombo), text(c.AttributeOptionCombo)
			v.Value = cht.Field{Kind: cht.Number, Text: strconv.FormatInt(n, 10)}
			if err := yield(&v); err != nil {
				return err
			}
			v.Index++
		}
	}
	return nil
}

// TooLarge gives each cell whose sum is beyond 2^53, which Values does not give, in the same order. An error of yield ends it and is
// returned.
func (s *Sum) TooLarge(yield func(Cell) error) error {
	if err := s.failed(); err != nil {
		return err
	}
	for u, orgUnit := range s.orgUnits {
		for i := range s.cells {
			if _, what := s.at(u, i); what != tooLarge {
				continue
			}
			if err := yield(Cell{orgUnit, s.cells[i].Item}); err != nil {
				return err
			}
		}
	}
	return nil
}

// failed tells why the sums cannot be relied on.
func (s *Sum) failed() error { return cmp.Or(s.err, s.here.h.err) }

func text(id string) cht.Field {
	if id == "" {
		return cht.Field{}
	}
	return cht.Field{Kind: cht.String, Text: id}
}
