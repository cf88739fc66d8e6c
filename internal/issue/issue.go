// Package issue says what was found wrong with data or with a set-up, where, and what to do about it.
package issue

import (
	"cmp"
	"slices"
)

// Severity says what an issue holds back.
type Severity string

// The severities.
const (
	// Blocking sends nothing at all.
	Blocking Severity = "blocking"
	// Cell leaves the cells it names behind; the rest goes.
	Cell Severity = "cell"
	// Note holds nothing back.
	Note Severity = "note"
)

// Issue is one finding. Its JSON form is part of the program's output.
type Issue struct {
	// Code is a stable word for the kind of finding, such as "null_value".
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	// Count is how many cells, or where there are none how many things, the finding is about.
	Count int `json:"count"`
	// Text says what was found, Remedy what a person can do about it.
	Text   string `json:"text"`
	Remedy string `json:"remedy"`

	DataElement         string `json:"data_element"`
	OrgUnit             string `json:"org_unit"`
	CategoryOptionCombo string `json:"category_option_combo,omitempty"`
	// Index is the place in the source's list of values, counted from 0; nil when the finding has no single place.
	Index *int `json:"index,omitempty"`
}

// ListLimit is how many entries a list in a report holds at most; the counts beside it go on.
const ListLimit = 1000

// perCode is how many issues of each code are kept, however many of others came before.
const perCode = 20

// List collects issues and keeps the first ListLimit of them, and the first few of each code in any case, so that a
// frequent one hides no other. The zero value is ready.
type List struct {
	items []Issue
	total int
	codes map[string]int
}

// Add takes one more issue.
func (l *List) Add(i Issue) {
	l.total++
	if l.codes == nil {
		l.codes = map[string]int{}
	}
	if l.codes[i.Code]++; l.codes[i.Code] <= perCode || len(l.items) < ListLimit {
		l.items = append(l.items, i)
	}
}

// Join takes the issues of another list.
func (l *List) Join(other *List) {
	for _, i := range other.items {
		l.Add(i)
	}
	l.total += other.total - len(other.items)
}

// Items gives the issues that were kept, the gravest first, and otherwise ordered by code and place.
func (l *List) Items() []Issue {
	items := slices.Clone(l.items)
	slices.SortStableFunc(items, compare)
	return items
}

// Total is the number of issues added, those not kept included.
func (l *List) Total() int { return l.total }

func compare(a, b Issue) int {
	return cmp.Or(
		cmp.Compare(rank(a.Severity), rank(b.Severity)),
		cmp.Compare(a.Code, b.Code),
		cmp.Compare(a.OrgUnit, b.OrgUnit),
		cmp.Compare(a.DataElement, b.DataElement),
	)
}

func rank(s Severity) int {
	switch s {
	case Blocking:
		return 0
	case Cell:
		return 1
	default:
		return 2
	}
}
