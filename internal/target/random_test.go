package target_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/target"
)

var (
	seeds    = flag.Int("seeds", 500, "how many random deployments to compare")
	onlySeed = flag.Uint64("seed", 0, "the only random deployment to compare")
)

// TestRandomDeployments compares the sums of small random deployments with a computation that is slow, shares nothing with the
// package, and asks of each org unit and each owner whether the one's documents count for the other.
func TestRandomDeployments(t *testing.T) {
	t.Parallel()
	from, to := uint64(1), uint64(*seeds)
	if *onlySeed != 0 {
		from, to = *onlySeed, *onlySeed
	}
	cells, percents, lost, doubled, malformed, moved := 0, 0, 0, 0, 0, 0
	for seed := from; seed <= to; seed++ {
		d := random(seed)
		for _, dataSet := range []string{"DsA", "DsB"} {
			want, got := d.slow(dataSet), d.fast(t, dataSet)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("-seed %d, data set %s, rules %+v (-slow +fast):\n%s", seed, dataSet, d.rules, diff)
			}
			cells += len(got.Values)
			percents += got.NoDenominator
			lost += got.Lost["none"] + got.Lost["gone"] + got.Lost["unknown"]
			doubled += got.Doubles
			malformed += got.Malformed
			moved += got.Moved
		}
	}
	if *onlySeed == 0 && min(cells, percents, lost, doubled, malformed, moved) == 0 {
		t.Errorf("the deployments have %d cells, %d percents without denominator, %d lost, %d doubled, %d malformed, %d moved", cells, percents, lost, doubled, malformed, moved)
	}
}

// deployment is a random CHT with its documents.
type deployment struct {
	contacts map[string]*contact
	// former are the contacts above owners at another time; elsewhere is a worker who was not there then.
	former   map[string]string
	order    []string
	gone     []string
	expected []string
	// months hold the documents by owner.
	months []map[string][]document
	rules  target.Rules
	names  []string
	stale  int
}

type contact struct {
	kind, parent string
	units        []target.OrgUnit
}

type document struct {
	id        string
	day       int
	malformed bool
	counts    []count
}

type count struct {
	target      string
	pass, total int64
}

const elsewhere = "elsewhere"

// outcome is what both ways give, in words that both can say.
type outcome struct {
	Values                            map[string]string
	Coverage                          []target.Coverage
	Lost                              map[string]int
	LostOf                            map[string][]target.Amount
	Doubles, Identical                int
	Left                              []target.Amount
	Malformed                         int
	ExcludedOwners, ExcludedDocuments int
	Owners, Documents                 int
	Unread, Missing                   []int
	NoDenominator, TooLarge           int
	Expected, ExpectedNowhere         int
	Types                             map[string]int
	Nested                            map[string]int
	Several                           int
	Moved                             int
	Moves                             map[string]target.Move
}

func random(seed uint64) *deployment {
	r := rand.New(rand.NewPCG(seed, 7))
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	chance := func(percent int) bool { return r.IntN(100) < percent }
	d := &deployment{contacts: map[string]*contact{}, former: map[string]string{}, stale: 20000 + r.IntN(40)}
	units := func(odds int) (all []target.OrgUnit) {
		for chance(odds) && len(all) < 3 {
			all = append(all, target.OrgUnit{ID: fmt.Sprintf("Ou%d", r.IntN(9)), DataSet: one("", "DsA", "DsA", "DsB")})
		}
		return all
	}
	add := func(id string, c contact) {
		d.contacts[id] = &c
		d.order = append(d.order, id)
	}
	levels := map[string][]string{}
	for level, kind := range []string{"district", "facility", "area"} {
		for n := range 1 + r.IntN(4) {
			id := fmt.Sprintf("%s-%d", kind, n)
			parent := ""
			if level > 0 && chance(95) {
				parent = one(levels[[]string{"district", "facility"}[level-1]]...)
			}
			add(id, contact{kind: one(kind, kind, kind, kind, "area"), parent: parent, units: units([]int{30, 70, 30}[level])})
			levels[kind] = append(levels[kind], id)
		}
	}
	places := slices.Clone(d.order)
	var owners []string
	for n := range 1 + r.IntN(8) {
		id := fmt.Sprintf("worker-%d", n)
		owners = append(owners, id)
		if chance(8) {
			continue // The hierarchy is not told of it.
		}
		if chance(8) {
			d.gone = append(d.gone, id)
			continue
		}
		add(id, contact{kind: one("chw", "chw", "chw", "supervisor", ""), parent: one(places...), units: units(8)})
		if chance(60) {
			d.former[id] = d.contacts[id].parent
			if chance(40) {
				d.former[id] = one(append(places, elsewhere)...)
			}
		}
	}
	if chance(20) {
		owners = append(owners, one(places...)) // A place that has documents itself.
	}
	for _, id := range owners {
		if chance(60) {
			d.expected = append(d.expected, id)
		}
	}
	targets := []string{"t0", "t1", "t2", "t3", "t4"}
	for range 1 + r.IntN(6) {
		item := target.Item{
			Target: one("t0", "t1", "t2", "t3", "never"), DataElement: one("De0", "De1", "De2"),
			CategoryOptionCombo: one("", "", "Coc1", "Coc2"), AttributeOptionCombo: one("", "", "", "Aoc"),
		}
		item.Measure = target.Measure(len(item.DataElement+item.CategoryOptionCombo+item.AttributeOptionCombo+item.DataElement[2:]) % 2)
		if item.DataElement == "De2" {
			item.Measure = target.Percent
		}
		if !slices.Contains(d.rules.Items, item) {
			d.rules.Items = append(d.rules.Items, item)
		}
	}
	d.rules.Duplicates = target.Duplicates(r.IntN(3))
	switch r.IntN(4) {
	case 0:
		d.rules.Lowest = true
	case 1:
		d.rules.Level = one("district", "facility", "area", "chw", "nothing")
	}
	if chance(30) {
		d.rules.ExcludeTypes = []string{one("supervisor", "", "absent")}
	}
	d.names = slices.Clone(targets)
	r.Shuffle(len(d.names), func(i, j int) { d.names[i], d.names[j] = d.names[j], d.names[i] })
	number := func() int64 {
		switch n := r.IntN(100); {
		case n < 25:
			return 0
		case n < 96:
			return r.Int64N(50)
		case n < 98:
			return cht.Unread
		case n < 99:
			return 1<<53 - r.Int64N(3)
		default:
			return 1<<62 + r.Int64N(100)
		}
	}
	for month := range []int{1, 1, 1, 3}[r.IntN(4)] {
		of := map[string][]document{}
		for _, owner := range owners {
			for chance(75) && len(of[owner]) < 3 {
				doc := document{id: fmt.Sprintf("%d-%s-%d", month, owner, len(of[owner])), day: r.IntN(2) * (20000 + r.IntN(40)), malformed: chance(4)}
				for _, name := range targets {
					for chance(75) && len(doc.counts) < 8 {
						doc.counts = append(doc.counts, count{name, number(), number()})
						if !chance(5) {
							break
						}
					}
				}
				if len(of[owner]) > 0 && chance(30) {
					doc.counts = of[owner][0].counts
				}
				of[owner] = append(of[owner], doc)
			}
		}
		d.months = append(d.months, of)
	}
	return d
}

// fast is what the package gives.
func (d *deployment) fast(t *testing.T, dataSet string) outcome {
	t.Helper()
	s := target.NewSum(d.hierarchy(nil), d.rules, dataSet, d.names)
	s.Against(d.hierarchy(d.former))
	s.StaleBefore(d.stale)
	for _, owner := range d.expected[:len(d.expected)/2] {
		s.Expect(key.Of(owner))
	}
	for month, of := range d.months {
		if month > 0 {
			s.NextMonth()
		}
		for owner, documents := range of {
			var all []target.Document
			for _, doc := range documents {
				one := target.Document{ID: key.Of(doc.id), Updated: doc.day, Malformed: doc.malformed}
				for _, c := range doc.counts {
					one.Counts = append(one.Counts, target.Count{Target: slices.Index(d.names, c.target), Pass: c.pass, Total: c.total})
				}
				all = append(all, one)
			}
			s.Add(key.Of(owner), all)
		}
		if month == 0 {
			for _, owner := range d.expected {
				s.Expect(key.Of(owner))
			}
		}
	}
	f := s.Findings()
	o := outcome{
		Values: map[string]string{}, Coverage: coverage(t, s),
		Lost:    map[string]int{"none": f.WithoutOrgUnit.Owners.Total, "gone": f.Gone.Owners.Total, "unknown": f.Unknown.Owners.Total},
		LostOf:  map[string][]target.Amount{"none": f.WithoutOrgUnit.Lost, "gone": f.Gone.Lost, "unknown": f.Unknown.Lost},
		Doubles: f.Duplicates.Total, Identical: f.Duplicates.Identical, Left: f.Duplicates.Left, Malformed: f.Malformed.Total,
		ExcludedOwners: f.Excluded.Owners, ExcludedDocuments: f.Excluded.Documents, Owners: f.Owners, Documents: f.Documents,
		Unread: f.Unread, Missing: f.Missing, NoDenominator: f.NoDenominator.Total, TooLarge: f.TooLarge.Total,
		Expected: f.ExpectedOwners, ExpectedNowhere: f.ExpectedNowhere.Total,
		Types: map[string]int{}, Nested: map[string]int{}, Several: f.Several.Total, Moved: f.Moved.Owners.Total, Moves: map[string]target.Move{},
	}
	for _, kind := range f.Types {
		o.Types[kind.ID] = kind.Owners
	}
	for _, n := range f.Nested.List {
		o.Nested[n.Inner+" in "+n.Outer] = n.Owners
	}
	for _, move := range f.Moved.OrgUnits {
		o.Moves[move.OrgUnit] = move
	}
	for _, v := range figures(t, s) {
		place := v.OrgUnit + " " + v.DataElement + " " + v.CategoryOptionCombo + " " + v.AttributeOptionCombo
		if o.Values[place] != "" {
			t.Errorf("two values for %s", place)
		}
		o.Values[place] = fmt.Sprint(v.Value)
	}
	return o
}

func (d *deployment) hierarchy(former map[string]string) *target.Hierarchy {
	h := target.NewHierarchy()
	for id, c := range d.contacts {
		if c.units != nil {
			h.AddPlace(target.Place{ID: key.Of(id), Type: c.kind, OrgUnits: c.units})
		}
	}
	for id, c := range d.contacts {
		o := target.Owner{ID: key.Of(id), Type: c.kind}
		parent := c.parent
		if former != nil {
			was, known := former[id]
			if !known {
				continue
			}
			parent = was
		}
		if parent == elsewhere {
			h.AddOwner(target.Owner{ID: key.Of(id), Gone: true})
			continue
		}
		for up := parent; up != ""; up = d.contacts[up].parent {
			o.Parents = append(o.Parents, key.Of(up))
		}
		h.AddOwner(o)
	}
	for _, id := range d.gone {
		h.AddOwner(target.Owner{ID: key.Of(id), Gone: true})
	}
	return h
}

// carried are the org units that a contact carries for a data set.
func (d *deployment) carried(id, dataSet string) map[string]bool {
	ids := map[string]bool{}
	for _, u := range d.contacts[id].units {
		if u.DataSet == "" || u.DataSet == dataSet {
			ids[u.ID] = true
		}
	}
	return ids
}

// countsFor says whether an owner's documents count for an org unit, with the contact above the owner given.
func (d *deployment) countsFor(orgUnit, owner, parent, dataSet string) bool {
	for at, next := owner, parent; at != ""; {
		carried := d.carried(at, dataSet)
		if len(carried) > 0 && (d.rules.Level == "" || d.contacts[at].kind == d.rules.Level) {
			if carried[orgUnit] {
				return true
			}
			if d.rules.Lowest || d.rules.Level != "" {
				return false
			}
		}
		at = next
		if at != "" {
			next = d.contacts[at].parent
		}
	}
	return false
}

// amounts are what documents hold for an item, and whether any has its target.
func amounts(documents []document, item target.Item) (pass, total *big.Int, had bool) {
	pass, total = new(big.Int), new(big.Int)
	for _, doc := range documents {
		for _, c := range doc.counts {
			if c.target == item.Target {
				had = true
				if item.Measure != target.Total {
					pass.Add(pass, big.NewInt(c.pass))
				}
				if item.Measure != target.Pass {
					total.Add(total, big.NewInt(c.total))
				}
			}
		}
	}
	return pass, total, had
}

var most = big.NewInt(1 << 53)

// told is a number as the package tells it in amounts: what is too large is told as one more than the most.
func told(n *big.Int) int64 {
	if n.Cmp(most) > 0 {
		return most.Int64() + 1
	}
	return n.Int64()
}

func addTold(to []target.Amount, items []target.Item, documents []document) {
	for i, item := range items {
		pass, total, _ := amounts(documents, item)
		to[i].Pass = told(pass.Add(pass, big.NewInt(to[i].Pass)))
		to[i].Total = told(total.Add(total, big.NewInt(to[i].Total)))
	}
}

// slow computes what the contract says, with no thought of speed.
func (d *deployment) slow(dataSet string) outcome {
	items := d.rules.Items
	o := outcome{
		Values: map[string]string{}, Lost: map[string]int{}, LostOf: map[string][]target.Amount{}, Left: make([]target.Amount, len(items)),
		Unread: make([]int, len(items)), Missing: make([]int, len(items)), Types: map[string]int{}, Nested: map[string]int{}, Moves: map[string]target.Move{},
	}
	for _, why := range []string{"none", "gone", "unknown"} {
		o.Lost[why], o.LostOf[why] = 0, make([]target.Amount, len(items))
	}
	orgUnits := map[string]bool{}
	for id, c := range d.contacts {
		if carried := d.carried(id, dataSet); d.rules.Level == "" || c.kind == d.rules.Level {
			maps.Copy(orgUnits, carried)
			if len(carried) > 1 {
				o.Several++
			}
		}
	}
	excluded := func(owner string) bool {
		c := d.contacts[owner]
		return c != nil && slices.Contains(d.rules.ExcludeTypes, c.kind)
	}
	somewhere := func(owner string) bool {
		for unit := range orgUnits {
			if d.contacts[owner] != nil && d.countsFor(unit, owner, d.contacts[owner].parent, dataSet) {
				return true
			}
		}
		return false
	}
	// taken are the documents that count, by month and owner.
	taken := make([]map[string][]document, len(d.months))
	lost, counted, aside, moved := map[string]string{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for month, of := range d.months {
		taken[month] = map[string][]document{}
		for owner, documents := range of {
			if excluded(owner) {
				aside[owner] = true
				o.ExcludedDocuments += len(documents)
				continue
			}
			used := d.takenOf(documents, &o)
			if len(used) == 0 {
				continue
			}
			d.move(owner, used, dataSet, &o, moved)
			if !somewhere(owner) {
				why := "unknown"
				if slices.Contains(d.gone, owner) {
					why = "gone"
				} else if d.contacts[owner] != nil {
					why = "none"
				}
				lost[owner] = why
				addTold(o.LostOf[why], items, used)
				continue
			}
			taken[month][owner] = used
			counted[owner] = true
			o.Documents += len(used)
			for i, item := range items {
				if _, _, had := amounts(used, item); !had {
					o.Missing[i]++
				}
			}
			d.nest(owner, dataSet, &o)
		}
	}
	for _, why := range lost {
		o.Lost[why]++
	}
	o.Owners, o.ExcludedOwners, o.Moved = len(counted), len(aside), len(moved)
	for _, owners := range []map[string]bool{counted, aside} {
		for owner := range owners {
			o.Types[d.contacts[owner].kind]++
		}
	}
	for _, owner := range d.expected {
		if !excluded(owner) {
			o.Expected++
			if !somewhere(owner) {
				o.ExpectedNowhere++
			}
		}
	}
	for _, unit := range slices.Sorted(maps.Keys(orgUnits)) {
		o.Coverage = append(o.Coverage, d.cover(unit, dataSet, taken, excluded))
		d.total(unit, dataSet, taken, &o)
	}
	return o
}

// takenOf gives the documents of an owner and month that are taken.
func (d *deployment) takenOf(documents []document, o *outcome) []document {
	var usable []document
	for _, doc := range documents {
		bad := doc.malformed
		for i, item := range d.rules.Items {
			for _, c := range doc.counts {
				if !doc.malformed && c.target == item.Target && (item.Measure != target.Pass && c.total < 0 || item.Measure != target.Total && c.pass < 0) {
					bad = true
					o.Unread[i]++
				}
			}
		}
		if bad {
			o.Malformed++
			continue
		}
		usable = append(usable, doc)
	}
	if len(usable) < 2 {
		return usable
	}
	o.Doubles++
	identical := true
	for _, doc := range usable[1:] {
		for _, item := range d.rules.Items {
			pass, total, had := amounts([]document{doc}, item)
			pass0, total0, had0 := amounts(usable[:1], item)
			identical = identical && had == had0 && told(pass) == told(pass0) && told(total) == told(total0)
		}
	}
	if identical {
		o.Identical++
	}
	if d.rules.Duplicates == target.Together {
		return usable
	}
	size := func(doc document) int64 {
		sum := new(big.Int)
		for _, c := range doc.counts {
			if slices.ContainsFunc(d.rules.Items, func(i target.Item) bool { return i.Target == c.target }) && c.total > 0 {
				sum.Add(sum, big.NewInt(c.total))
			}
		}
		return told(sum)
	}
	slices.SortFunc(usable, func(a, b document) int {
		day, larger := b.day-a.day, new(big.Int).Sub(big.NewInt(size(b)), big.NewInt(size(a))).Sign()
		first, second := day, larger
		if d.rules.Duplicates == target.Largest {
			first, second = larger, day
		}
		if first != 0 {
			return first
		}
		if second != 0 {
			return second
		}
		idA, idB := key.Of(a.id), key.Of(b.id)
		return bytes.Compare(idA[:], idB[:])
	})
	for _, doc := range usable[1:] {
		addTold(o.Left, d.rules.Items, []document{doc})
	}
	return usable[:1]
}

// move compares with where the owner was formerly.
func (d *deployment) move(owner string, used []document, dataSet string, o *outcome, moved map[string]bool) {
	was, known := d.former[owner]
	if !known {
		return
	}
	all := map[string]bool{}
	for id := range d.contacts {
		maps.Copy(all, d.carried(id, dataSet))
	}
	for unit := range all {
		now, then := d.countsFor(unit, owner, d.contacts[owner].parent, dataSet), was != elsewhere && d.countsFor(unit, owner, was, dataSet)
		if now == then {
			continue
		}
		moved[owner] = true
		m, there := o.Moves[unit]
		if !there {
			m = target.Move{OrgUnit: unit, In: make([]target.Amount, len(d.rules.Items)), Out: make([]target.Amount, len(d.rules.Items))}
		}
		if now {
			m.OwnersIn++
			addTold(m.In, d.rules.Items, used)
		} else {
			m.OwnersOut++
			addTold(m.Out, d.rules.Items, used)
		}
		o.Moves[unit] = m
	}
}

// nest tells between which neighbours of the line above an owner documents count twice.
func (d *deployment) nest(owner, dataSet string, o *outcome) {
	if d.rules.Lowest || d.rules.Level != "" {
		return
	}
	below := map[string]bool{}
	for at := owner; at != ""; at = d.contacts[at].parent {
		here := d.carried(at, dataSet)
		if len(here) == 0 {
			continue
		}
		for outer := range here {
			for inner := range below {
				if inner != outer {
					o.Nested[inner+" in "+outer]++
				}
			}
		}
		below = here
	}
}

// cover computes the coverage of an org unit.
func (d *deployment) cover(unit, dataSet string, taken []map[string][]document, excluded func(string) bool) target.Coverage {
	c := target.Coverage{OrgUnit: unit, Missing: make([]int, len(d.rules.Items))}
	counts := func(owner string) bool {
		return d.contacts[owner] != nil && d.countsFor(unit, owner, d.contacts[owner].parent, dataSet)
	}
	for _, owner := range d.expected {
		if !excluded(owner) && counts(owner) {
			c.Expected++
		}
	}
	for month, of := range taken {
		seen, reported, missing := 0, 0, make([]int, len(d.rules.Items))
		for owner, used := range of {
			if !counts(owner) {
				continue
			}
			seen++
			if slices.Contains(d.expected, owner) {
				reported++
			}
			for _, doc := range used {
				c.Documents++
				if doc.day != 0 && (c.Oldest == 0 || doc.day < c.Oldest) {
					c.Oldest = doc.day
				}
				if doc.day != 0 && doc.day < d.stale {
					c.Stale++
				}
			}
			for i, item := range d.rules.Items {
				if _, _, had := amounts(used, item); !had {
					missing[i]++
				}
			}
		}
		if month == 0 {
			c.Seen, c.Reported = seen, reported
		}
		c.Seen, c.Reported = min(c.Seen, seen), min(c.Reported, reported)
		for i := range missing {
			c.Missing[i] = max(c.Missing[i], missing[i])
		}
	}
	return c
}

// total computes the cells of an org unit.
func (d *deployment) total(unit, dataSet string, taken []map[string][]document, o *outcome) {
	type sums struct {
		measure     target.Measure
		pass, total *big.Int
	}
	cells := map[string]sums{}
	for _, of := range taken {
		for owner, used := range of {
			if !d.countsFor(unit, owner, d.contacts[owner].parent, dataSet) {
				continue
			}
			for _, item := range d.rules.Items {
				pass, total, had := amounts(used, item)
				if !had {
					continue
				}
				place := unit + " " + item.DataElement + " " + item.CategoryOptionCombo + " " + item.AttributeOptionCombo
				if old, there := cells[place]; there {
					pass.Add(pass, old.pass)
					total.Add(total, old.total)
				}
				cells[place] = sums{item.Measure, pass, total}
			}
		}
	}
	for place, c := range cells {
		switch {
		case c.pass.Cmp(most) > 0 || c.total.Cmp(most) > 0:
			o.TooLarge++
		case c.measure == target.Total:
			o.Values[place] = c.total.String()
		case c.measure == target.Pass:
			o.Values[place] = c.pass.String()
		case c.total.Sign() == 0:
			o.NoDenominator++
		default:
			// A half is rounded up: the whole part of the exact percent and a half.
			exact := new(big.Rat).SetFrac(c.pass, c.total)
			exact.Mul(exact, big.NewRat(100, 1)).Add(exact, big.NewRat(1, 2))
			o.Values[place] = new(big.Int).Quo(exact.Num(), exact.Denom()).String()
		}
	}
}
