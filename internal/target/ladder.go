package target

import (
	"cmp"
	"maps"
	"slices"

	"github.com/cht-dhis2/mediator/internal/cht"
)

// Cause is a rule by which the CHT's export and target documents, added up by the rules of a data set, differ in a cell.
type Cause string

// The causes, in the order of their steps.
const (
	// ZeroFill: the export gives a zero where no document has the target.
	ZeroFill Cause = "zero_fill"
	// SharedElement: the export adds targets of different combos up under the last one.
	SharedElement Cause = "shared_element"
	// ListForm: the export leaves out targets that name their data elements in a list.
	ListForm Cause = "list_form"
	// ByFile: the data set's own file of targets has other rows than the CHT's settings.
	ByFile Cause = "targets_file"
	// PassOnly: the data set takes the pass, and the export sends the total.
	PassOnly Cause = "pass"
	// AsPercent: the data set takes the percentage, and the export sends the denominator.
	AsPercent Cause = "percent"
	// MalformedDocument: what is in it is left out wholly, and the export sends what it makes of it.
	MalformedDocument Cause = "malformed_document"
	// DuplicateUser: the export adds up all documents of one owner.
	DuplicateUser Cause = "duplicate_user"
	// ExcludedType: owners of this type do not count.
	ExcludedType Cause = "excluded_type"
	// NotAttributed: nobody above the owner is of the level that counts.
	NotAttributed Cause = "not_attributed"
	// OnePlace: a document counts for one place only, and in the export for all above its owner.
	OnePlace Cause = "nesting"
	// MovedWorker: a document counts where its owner was when it first counted.
	MovedWorker Cause = "moved_worker"
)

// Causes gives all of them, in the order of their steps.
func Causes() []Cause {
	return []Cause{ZeroFill, SharedElement, ListForm, ByFile, PassOnly, AsPercent, MalformedDocument, DuplicateUser, ExcludedType, NotAttributed, OnePlace, MovedWorker}
}

// Words say what the cause is, for a person.
func (c Cause) Words() string {
	switch c {
	case ZeroFill:
		return "the export gives a zero where no document has the target"
	case SharedElement:
		return "the export adds targets of different combos up under the last one"
	case ListForm:
		return "the export leaves out targets that name their data elements in a list"
	case ByFile:
		return "targets_file has other rows than the CHT's settings"
	case PassOnly:
		return "the data set takes the pass, and the export sends the total"
	case AsPercent:
		return "the data set takes the percentage, and the export sends the denominator"
	case MalformedDocument:
		return "a document with numbers that cannot be used is left out, and the export sends what it makes of it"
	case DuplicateUser:
		return "the export adds up all documents of a worker with several users"
	case ExcludedType:
		return "workers of this contact type do not count (exclude_contact_types)"
	case NotAttributed:
		return "no place above the worker is of the level that counts (attribution)"
	case OnePlace:
		return "a document counts for one place only, and in the export for all above its worker (attribution)"
	case MovedWorker:
		return "a document counts where its worker was when it first counted (hierarchy)"
	default:
		return "the CHT has changed while both were read, or something is not known; compare once more, and report it if it stays"
	}
}

// LadderConfig is what a Ladder leads from and to.
type LadderConfig struct {
	// Today is the hierarchy as it is. First is as it was when documents first counted, where those count by the rules; else nil.
	Today, First *Hierarchy
	DataSet      string
	// Names are target ids by number.
	Names []string
	// Exported are the items that the CHT's settings give the export, in their order, Listed those that it leaves out.
	Exported, Listed []Item
	Rules            Rules
}

// Ladder adds up the same documents several times: once as the CHT's export does, and then by one rule more of a data set each time.
// So it says of each cell which rules make it another one, and how much each of them does.
type Ladder struct {
	rungs []rung
	// doubt counts what the export makes of numbers that cannot be used, which nobody can say.
	doubt *Sum
	// level says whose documents count for some place by the rules.
	level *Sum
	cells []cell
	buf   []Count
	docs  []Document
}

// rung is one of the sums.
type rung struct {
	cause Cause
	sum   *Sum
	// strips says that numbers which cannot be used are taken out of documents, which count with what is left.
	strips bool
	// attributed says that only owners count whose documents count by the level.
	attributed bool
	// at is the column of each cell of the ladder, or -1.
	at []int
}

// NewLadder begins one.
func NewLadder(c LadderConfig) *Ladder {
	l := &Ladder{}
	rules := Rules{Items: collapse(c.Exported), Duplicates: Together}
	here := c.Today
	add := func(cause Cause, strips, attributed bool) {
		l.rungs = append(l.rungs, rung{cause: cause, sum: NewSum(here, rules, c.DataSet, c.Names), strips: strips, attributed: attributed})
	}
	next := func(cause Cause, items []Item) {
		if !sameItems(rules.Items, items) {
			rules.Items = items
			add(cause, true, false)
		}
	}
	add("", true, false)
	l.doubt = NewSum(here, rules, c.DataSet, c.Names)
	next(SharedElement, c.Exported)
	next(ListForm, slices.Concat(c.Exported, c.Listed))
	totals := slices.Clone(c.Rules.Items)
	for i := range totals {
		totals[i].Measure = Total
	}
	next(ByFile, totals)
	next(PassOnly, c.Rules.Items)
	add(MalformedDocument, false, false)
	if c.Rules.Duplicates != Together {
		rules.Duplicates = c.Rules.Duplicates
		add(DuplicateUser, false, false)
	}
	if len(c.Rules.ExcludeTypes) > 0 {
		rules.ExcludeTypes = c.Rules.ExcludeTypes
		add(ExcludedType, false, false)
	}
	if c.Rules.Level != "" {
		add(NotAttributed, false, true)
	}
	if c.Rules.Lowest || c.Rules.Level != "" {
		rules.Lowest, rules.Level = c.Rules.Lowest, c.Rules.Level
		add(OnePlace, false, false)
		l.level = l.rungs[len(l.rungs)-1].sum
	}
	if c.First != nil {
		here = c.First
		add(MovedWorker, false, false)
	}
	l.setCells()
	return l
}

// collapse gives all items of a data element the combos of the last one, as the export does.
func collapse(items []Item) []Item {
	last := map[string]Item{}
	for _, i := range items {
		last[i.DataElement] = i
	}
	all := slices.Clone(items)
	for n := range all {
		i := last[all[n].DataElement]
		all[n].CategoryOptionCombo, all[n].AttributeOptionCombo = i.CategoryOptionCombo, i.AttributeOptionCombo
	}
	return all
}

// sameItems says whether two lists have the same items, in whatever order.
func sameItems(a, b []Item) bool {
	has := map[Item]bool{}
	for _, i := range a {
		has[i] = true
	}
	both := maps.Clone(has)
	for _, i := range b {
		both[i] = true
	}
	return len(both) == len(has) && !slices.ContainsFunc(a, func(i Item) bool { return !slices.Contains(b, i) })
}

// setCells finds the cells of all sums.
func (l *Ladder) setCells() {
	known := map[cell]bool{}
	for _, r := range l.rungs {
		for _, c := range r.sum.cells {
			if !known[c.cell()] {
				known[c.cell()] = true
				l.cells = append(l.cells, c.cell())
			}
		}
	}
	slices.SortFunc(l.cells, func(a, b cell) int {
		return cmp.Or(cmp.Compare(a.dataElement, b.dataElement), cmp.Compare(a.categoryOptionCombo, b.categoryOptionCombo), cmp.Compare(a.attributeOptionCombo, b.attributeOptionCombo))
	})
	for n := range l.rungs {
		r := &l.rungs[n]
		for _, c := range l.cells {
			r.at = append(r.at, slices.IndexFunc(r.sum.cells, func(one column) bool { return one.cell() == c }))
		}
	}
}

// Add takes all documents of one owner of one month, each owner once a month.
func (l *Ladder) Add(owner ID, documents []Document) {
	for _, r := range l.rungs {
		if r.attributed && !l.level.counts(owner) {
			continue
		}
		those := documents
		if r.strips {
			those = l.strip(r.sum, documents)
		}
		r.sum.Add(owner, those)
	}
	if those := l.doubtful(documents); len(those) > 0 {
		l.doubt.Add(owner, those)
	}
}

// NextMonth says that what follows is of the next month of the period.
func (l *Ladder) NextMonth() {
	for _, r := range l.rungs {
		r.sum.NextMonth()
	}
	l.doubt.NextMonth()
}

// counts says whether documents of an owner count for some org unit.
func (s *Sum) counts(owner ID) bool {
	_, r, known := s.owner(owner)
	return known && r.kind != gone && len(s.here.of(r.line)) > 0
}

// strip takes the numbers out that the items of a sum cannot use. What it gives is good until it is called again.
func (l *Ladder) strip(s *Sum, documents []Document) []Document {
	l.docs, l.buf = l.docs[:0], l.buf[:0]
	for _, d := range documents {
		from := len(l.buf)
		for _, c := range d.Counts {
			if c.Target >= 0 && c.Target < len(s.byTarget) && slices.ContainsFunc(s.byTarget[c.Target], func(i int) bool {
				return s.items[i].Measure != Total && c.Pass < 0 || s.items[i].Measure != Pass && c.Total < 0
			}) {
				continue
			}
			l.buf = append(l.buf, c)
		}
		d.Counts = l.buf[from:len(l.buf):len(l.buf)]
		l.docs = append(l.docs, d)
	}
	return l.docs
}

// doubtful makes documents in which each number that the export cannot use counts as one; there are none where it can use all.
func (l *Ladder) doubtful(documents []Document) []Document {
	var those []Document
	for _, d := range documents {
		var counts []Count
		for number := range l.doubt.byTarget {
			if d.Malformed && len(l.doubt.byTarget[number]) > 0 {
				counts = append(counts, Count{Target: number, Total: 1})
			}
		}
		for _, c := range d.Counts {
			if c.Total <= cht.Unread && c.Target >= 0 && c.Target < len(l.doubt.byTarget) && len(l.doubt.byTarget[c.Target]) > 0 {
				counts = append(counts, Count{Target: c.Target, Total: 1})
			}
		}
		if len(counts) > 0 {
			those = append(those, Document{ID: d.ID, Counts: counts})
		}
	}
	return those
}

// Number is a value of a cell, if it has one.
type Number struct {
	Value int64
	Given bool
}

// Step is a cause, and what a cell is with it.
type Step struct {
	Cause Cause
	Number
}

// Trace is how one cell comes from what the export gives to what target documents give by the rules.
type Trace struct {
	DataElement, CategoryOptionCombo, AttributeOptionCombo string
	// Exported is what the export gives, if nothing has changed meanwhile. Doubtful says that it may give anything, as a document
	// behind it has a number that cannot be used.
	Exported Number
	Doubtful bool
	// Steps are the causes that make another number of it, each with what it is then.
	Steps []Step
}

// Traces gives the cells of each org unit, in their order, that are there in the export or by the rules or between them. They are good
// until yield returns; an error of yield ends it and is returned.
func (l *Ladder) Traces(yield func(orgUnit string, traces []Trace) error) error {
	known := map[string]bool{}
	for _, r := range l.rungs {
		if err := r.sum.failed(); err != nil {
			return err
		}
		for _, id := range r.sum.orgUnits {
			known[id] = true
		}
	}
	var traces []Trace
	for _, orgUnit := range slices.Sorted(maps.Keys(known)) {
		traces = traces[:0]
		for n := range l.cells {
			if t := l.trace(orgUnit, n); t.Exported.Given || len(t.Steps) > 0 {
				traces = append(traces, t)
			}
		}
		if err := yield(orgUnit, traces); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ladder) trace(orgUnit string, n int) Trace {
	c := l.cells[n]
	t := Trace{DataElement: c.dataElement, CategoryOptionCombo: c.categoryOptionCombo, AttributeOptionCombo: c.attributeOptionCombo}
	now := l.rungs[0].number(orgUnit, n)
	t.Exported = now
	if at := l.rungs[0].at[n]; at >= 0 {
		unit, there := slices.BinarySearch(l.rungs[0].sum.orgUnits, orgUnit)
		t.Exported.Given = there // zeros for all
		t.Doubtful = there && l.doubt.fed[unit*len(l.doubt.cells)+at]
	}
	if t.Exported.Given && !now.Given {
		t.Steps = append(t.Steps, Step{Cause: ZeroFill})
	}
	for i := range l.rungs[1:] {
		r := &l.rungs[i+1]
		number := r.number(orgUnit, n)
		if number == now {
			continue
		}
		now = number
		cause := r.cause
		if at := r.at[n]; cause == PassOnly && at >= 0 && r.sum.cells[at].Measure == Percent {
			cause = AsPercent
		}
		t.Steps = append(t.Steps, Step{cause, number})
	}
	return t
}

// number gives a cell of an org unit in a sum.
func (r *rung) number(orgUnit string, n int) Number {
	unit, there := slices.BinarySearch(r.sum.orgUnits, orgUnit)
	if !there || r.at[n] < 0 {
		return Number{}
	}
	value, what := r.sum.at(unit, r.at[n])
	return Number{value, what == given}
}
