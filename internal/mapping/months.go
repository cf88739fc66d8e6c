package mapping

import (
	"cmp"
	"slices"
	"strconv"
)

// Over makes the mapping one of a period of several months, such as a quarter, given as the export names them: the cells of its
// months add up. It is to be called before OrgUnit is.
func (m *Mapping) Over(months []string) *Mapping {
	m.months = months
	return m
}

// addMonths makes one cell of those that are the same thing of the CHT in each month. A cell that cannot be sent in one month, or
// that is missing in one, cannot be sent at all: what is left would pass for the whole. The CHT's export gives every cell in every
// month, so one is missing only where places or settings were changed between two reads.
func (m *Mapping) addMonths(cells []Cell) []Cell {
	slices.SortFunc(cells, func(a, b Cell) int {
		return cmp.Or(compareThings(a, b), cmp.Compare(a.Month, b.Month), compareCells(a, b))
	})
	sums := cells[:0]
	for len(cells) > 0 {
		n := 1
		for n < len(cells) && compareThings(cells[0], cells[n]) == 0 {
			n++
		}
		sums = append(sums, m.addMonth(cells[:n]))
		cells = cells[n:]
	}
	return sums
}

// addMonth makes one cell of its months, which are in their order.
func (m *Mapping) addMonth(months []Cell) Cell {
	sum := months[0]
	sum.Comment = comments(months)
	total, read, given := int64(0), true, 0
	for i := range months {
		c := &months[i]
		total += c.Value
		read = read && c.Value != Unread
		if i > 0 && c.Month == months[i-1].Month {
			sum.fail(DuplicateCell, c)
			continue
		}
		if c.Fault != "" {
			sum.fail(c.Fault, c)
		}
		if given < len(m.months) && c.Month == m.months[given] {
			given++
		}
	}
	if given < len(m.months) {
		read = false
		sum.fail(MonthMissing, &Cell{Value: Unread, Month: m.months[given]})
	}
	if sum.Value = total; !read {
		sum.Value = Unread // it may have been anything
	}
	return sum
}

// fail gives a sum its first fault, as it was found in a part.
func (c *Cell) fail(fault Fault, part *Cell) {
	if c.Fault != "" {
		return
	}
	c.Fault, c.Found, c.Index, c.Month = fault, part.Found, part.Index, part.Month
	if c.Found == "" && part.Value != Unread {
		c.Found = strconv.FormatInt(part.Value, 10)
	}
}

// compareThings orders by what a cell is in DHIS2, then by what it is in the CHT.
func compareThings(a, b Cell) int {
	return cmp.Or(
		cmp.Compare(a.AttributeOptionCombo, b.AttributeOptionCombo),
		cmp.Compare(a.DataElement, b.DataElement),
		cmp.Compare(a.CategoryOptionCombo, b.CategoryOptionCombo),
		cmp.Compare(a.FromElement, b.FromElement),
		cmp.Compare(a.FromOrgUnit, b.FromOrgUnit),
	)
}
