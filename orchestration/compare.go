package orchestration

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// Compare says how what a CHT says is compared with what DHIS2 accepted and holds. The zero Compare reads DHIS2, keeps what
// somebody changed there and what vanished from the CHT, and holds no month for having shrunk.
type Compare struct {
	// LedgerOnly compares with what DHIS2 accepted, and does not read what it holds.
	LedgerOnly bool
	Edited     EditedPolicy
	Vanished   VanishedPolicy
	// MostShrink is by how many percent the sum of a month may fall below what was accepted before; 0 is by any.
	MostShrink int
	// AddUp lets the values of several sources for one org unit add up.
	AddUp bool
	// LiveFrom lets parts of the hierarchy join one after the other; empty is all of it from the first period on.
	LiveFrom []LiveFrom
}

// EditedPolicy is what is done with a value that somebody changed in DHIS2.
type EditedPolicy string

// The policies for edited values. The zero one is to keep what is there.
const (
	OverwriteEdited EditedPolicy = "overwrite"
	HoldEdited      EditedPolicy = "hold"
)

// VanishedPolicy is what is done with a cell that the CHT does not give any more.
type VanishedPolicy string

// The policies for vanished cells. The zero one is to keep what DHIS2 holds.
const (
	ZeroVanished   VanishedPolicy = "zero"
	DeleteVanished VanishedPolicy = "delete"
)

// LiveFrom lets the org units below one be sent from a period on.
type LiveFrom struct {
	OrgUnit string
	Period  dhis2.Period
}

// cell is a cell of an org unit, as the CHT, the ledger or DHIS2 gives it. Cells lie in the order in which they are sent.
type cell struct {
	attributeOptionCombo, dataElement, categoryOptionCombo string
	value, comment                                         string

	// storedBy and updated are DHIS2's.
	storedBy, updated string
	// leftOut says that it is a zero that a rule leaves out, behind that it stays behind, for whatever reason.
	leftOut, behind bool
}

func compareCells(a, b cell) int {
	if c := strings.Compare(a.attributeOptionCombo, b.attributeOptionCombo); c != 0 {
		return c
	}
	if c := strings.Compare(a.dataElement, b.dataElement); c != 0 {
		return c
	}
	return strings.Compare(a.categoryOptionCombo, b.categoryOptionCombo)
}

func (c *cell) isZero() bool { return c.value == "0" }

// number is the value where it is a whole number, as all of ours are, else 0.
func (c *cell) number() int { return numberOf(c.value) }

func numberOf(value string) int {
	n, _ := strconv.Atoi(value)
	return n
}

// says whether DHIS2, or the ledger, has what is to be sent: the same number, and the comment where there is one to send.
func (c *cell) isIn(other *cell) bool {
	return sameNumber(c.value, other.value) && (c.comment == "" || c.comment == other.comment)
}

func sameNumber(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && x == y
}

// plus is a cell with the values of others added; either may be nil, and nil is where both are.
func (c *cell) plus(others *cell) *cell {
	switch {
	case others == nil:
		return c
	case c == nil:
		return others
	}
	sum := *c
	sum.value = strconv.Itoa(c.number() + others.number())
	return &sum
}

// unit is all that is known of one org unit, each list in the order of cells.
type unit struct {
	orgUnit string
	// ours is what the CHT says, base what DHIS2 last accepted of this source, others what it accepted of other sources, added
	// up, tried what went to it without an answer, theirs what it holds.
	ours, base, others, tried, theirs []cell
	// gone says that the CHT gives nothing for it any more, or zeros only, which a rule leaves out: empty says which.
	gone, empty bool
}

// difference is what a comparison finds in one org unit.
type difference struct {
	send []mapping.Value
	// agreed are values that DHIS2 holds as they should be, and that the ledger has otherwise.
	agreed []mapping.Value
	// unchanged are cells that DHIS2 has already, kept those that stay as somebody edited them, raised zeros that are sent although
	// a rule leaves zeros out.
	unchanged, kept, raised int
	overwritten, vanished   int
	// removed is how many values of ours a gone org unit has in DHIS2, and their sum.
	removed, removedSum int
	edited              bool
	issues              []issue.Issue
	// screened are values that DHIS2 would not take.
	screened []screened

	changes, was, becomes int
}

// comparison compares org unit by org unit.
type comparison struct {
	policy Compare
	mode   ledger.Mode
	// readTheirs says that DHIS2 was read; account is whose values there are ours.
	readTheirs bool
	account    string
	// noZeros are the data elements of which the server keeps no zero.
	noZeros    map[string]bool
	dhis2, cht string
	// isPercent says of a data element that its values are percentages; nil is that none is.
	isPercent func(dataElement string) bool
	// elements are the data elements that the CHT gives, by columnOf, where somebody wants to know.
	elements map[string]bool
}

// cells are the five sayings about one cell, each nil where there is none. Several may have been tried.
type cells struct {
	ours, base, others, theirs *cell
	tried                      []cell
}

// isTried says that DHIS2 holds what went to it without an answer.
func (s cells) isTried() bool {
	return slices.ContainsFunc(s.tried, func(t cell) bool { return s.theirs.isIn(&t) })
}

// unit compares one org unit.
func (c *comparison) unit(u unit) difference {
	var d difference
	lists := [...][]cell{u.ours, u.base, u.others, u.theirs, u.tried}
	for {
		var least *cell
		for i := range lists {
			if len(lists[i]) > 0 && (least == nil || compareCells(lists[i][0], *least) < 0) {
				least = &lists[i][0]
			}
		}
		if least == nil {
			break
		}
		var found cells
		for i, into := range [...]**cell{&found.ours, &found.base, &found.others, &found.theirs} {
			if len(lists[i]) > 0 && compareCells(lists[i][0], *least) == 0 {
				*into, lists[i] = &lists[i][0], lists[i][1:]
			}
		}
		tried := &lists[len(lists)-1]
		n := 0
		for n < len(*tried) && compareCells((*tried)[n], *least) == 0 {
			n++
		}
		found.tried, *tried = (*tried)[:n], (*tried)[n:]
		c.cell(&d, u, found)
	}
	if u.gone && d.removed == 0 { // only zeros are there, which do no harm
		d.send = nil
	}
	return d
}

// cell compares one cell.
func (c *comparison) cell(d *difference, u unit, s cells) {
	if s.ours != nil && s.ours.leftOut {
		if before := c.expected(s); before == nil || before.isZero() {
			return
		}
		d.raised++
	}
	if s.base != nil {
		d.was += s.base.number()
	}
	switch {
	case s.ours == nil && s.base == nil: // it is not ours
	case s.ours == nil:
		c.vanished(d, u, s)
	case s.ours.behind:
		if s.base != nil {
			d.becomes += s.base.number()
		}
	default:
		d.becomes += s.ours.number()
		if s.base != nil && !s.ours.isIn(s.base) || s.base == nil && len(u.base) > 0 {
			d.changes++
		}
		c.said(d, u, s)
	}
}

// expected is what DHIS2 should hold by what is known: what it accepted; without that, what it holds of our account.
func (c *comparison) expected(s cells) *cell {
	if known := s.base.plus(s.others); known != nil {
		return known
	}
	if s.theirs != nil && s.theirs.storedBy == c.account && c.account != "" {
		return s.theirs
	}
	return nil
}

// said compares a cell that the CHT gives.
func (c *comparison) said(d *difference, u unit, s cells) {
	ours := s.ours.plus(s.others)
	expected := c.expected(s)
	switch {
	case c.mode == ledger.ModeFull:
		d.add(u, ours)
	case !c.readTheirs:
		if expected != nil && ours.isIn(expected) {
			d.unchanged++
			return
		}
		d.add(u, ours)
	case s.theirs == nil:
		if s.base != nil && ours.isZero() && expected.isZero() && c.noZeros[ours.dataElement] {
			d.unchanged++ // it was accepted, and is never there
			return
		}
		d.add(u, ours)
	case ours.isIn(s.theirs):
		d.unchanged++
		if s.base == nil && expected != nil || s.base != nil && !s.ours.isIn(s.base) {
			d.agree(u, s.ours)
		}
	case expected != nil && s.theirs.isIn(expected), s.isTried():
		d.add(u, ours)
	default:
		c.edited(d, u, ours, s.theirs)
	}
}

// editedCode is the issue of a cell that somebody changed in DHIS2.
const editedCode = "edited_in_dhis2"

// edited treats a cell that somebody changed in DHIS2.
func (c *comparison) edited(d *difference, u unit, ours, theirs *cell) {
	i := issue.Issue{
		Code: editedCode, Severity: issue.Note, Count: 1, OrgUnit: u.orgUnit, DataElement: ours.dataElement, CategoryOptionCombo: ours.categoryOptionCombo,
		Text: fmt.Sprintf("DHIS2 %s holds %q, stored by %s at %s, and CHT %s says %q", c.dhis2, shorten(theirs.value), orSomebody(theirs.storedBy), theirs.updated, c.cht, ours.value),
	}
	switch c.policy.Edited {
	case OverwriteEdited:
		i.Remedy = "it is overwritten, as edited_in_dhis2 of the data set says"
		d.overwritten++
		d.add(u, ours)
	case HoldEdited:
		i.Remedy = "approve the submission to overwrite it, or reject it and settle with that person which value is right"
		d.edited = true
		d.add(u, ours)
	default:
		i.Severity, i.Remedy = issue.Cell, "it stays as it is there; settle with that person which value is right. To send ours all the same, submit with --full, or set edited_in_dhis2 of the data set"
		d.kept++
	}
	d.issues = append(d.issues, i)
}

const shownValue = 60

func shorten(text string) string {
	if len(text) > shownValue {
		return strings.ToValidUTF8(text[:shownValue], "") + "…"
	}
	return text
}

func orSomebody(user string) string { return cmp.Or(user, "somebody") }

// vanished treats a cell that DHIS2 accepted and that the CHT does not give any more.
func (c *comparison) vanished(d *difference, u unit, s cells) {
	expected := s.base.plus(s.others)
	switch {
	case c.readTheirs && s.theirs == nil && s.others == nil:
		gone := *s.base
		d.agreed = append(d.agreed, valueOf(u, &gone, true)) // it is gone there too
		return
	case s.others != nil && s.base.isZero() && (u.gone || c.policy.Vanished == DeleteVanished): // what is there is that of others
		gone := *s.base
		d.agreed = append(d.agreed, valueOf(u, &gone, true))
		return
	case c.readTheirs && (s.theirs == nil || !s.theirs.isIn(expected) && !s.isTried()): // it is somebody else's by now
		d.becomes += s.base.number()
		if s.theirs != nil && (u.gone || c.policy.Vanished != "") {
			d.issues = append(d.issues, c.leftThere(u, s, expected))
		}
		return
	}
	there := expected
	if c.readTheirs {
		there = s.theirs
	}
	switch {
	case u.gone:
		if !s.base.isZero() {
			d.removed++
			d.removedSum += s.base.number()
		}
		d.changes++
		d.remove(u, s, there)
	case c.policy.Vanished == ZeroVanished && c.isPercent != nil && c.isPercent(s.base.dataElement): // without a denominator it is not 0 %
		d.changes++
		d.remove(u, s, there)
	case c.policy.Vanished == ZeroVanished && s.base.isZero():
		d.unchanged++
	case c.policy.Vanished == ZeroVanished:
		d.changes++
		zero := *s.base
		zero.value, zero.comment = "0", ""
		d.add(u, zero.plus(s.others))
	case c.policy.Vanished == DeleteVanished:
		d.changes++
		d.remove(u, s, there)
	default:
		d.vanished++
		d.becomes += s.base.number()
	}
}

// leftThere tells of a cell that somebody changed in DHIS2 and that the CHT does not give any more.
func (c *comparison) leftThere(u unit, s cells, expected *cell) issue.Issue {
	return issue.Issue{
		Code: editedCode, Severity: issue.Note, Count: 1, OrgUnit: u.orgUnit, DataElement: s.theirs.dataElement, CategoryOptionCombo: s.theirs.categoryOptionCombo,
		Text: fmt.Sprintf("DHIS2 %s holds %q, stored by %s at %s, where it accepted %q before, and CHT %s says nothing of it any more",
			c.dhis2, shorten(s.theirs.value), orSomebody(s.theirs.storedBy), s.theirs.updated, expected.value, c.cht),
		Remedy: "it stays as it is there; where the figures have moved to another org unit they are counted twice, so delete it in DHIS2",
	}
}

// remove takes our value away; what other sources say of the cell stays.
func (d *difference) remove(u unit, s cells, there *cell) {
	if s.others != nil {
		d.add(u, s.others)
		return
	}
	d.send = append(d.send, valueOf(u, there, true))
}

func (d *difference) add(u unit, c *cell) { d.send = append(d.send, valueOf(u, c, false)) }

func (d *difference) agree(u unit, c *cell) { d.agreed = append(d.agreed, valueOf(u, c, false)) }

func valueOf(u unit, c *cell, deleted bool) mapping.Value {
	return mapping.Value{AttributeOptionCombo: c.attributeOptionCombo, DataValue: dhis2.DataValue{
		DataElement: c.dataElement, OrgUnit: u.orgUnit, CategoryOptionCombo: c.categoryOptionCombo, Value: c.value, Comment: c.comment, Deleted: deleted,
	}}
}

// cellsOf makes cells of what the rules settled of an org unit.
func cellsOf(into []cell, settled mapping.Settled) []cell {
	into = into[:0]
	for _, v := range settled.Values {
		into = append(into, cellOf(v.AttributeOptionCombo, v.DataValue))
	}
	if len(settled.Zeros)+len(settled.Behind) == 0 {
		return into
	}
	for _, v := range settled.Zeros {
		c := cellOf(v.AttributeOptionCombo, v.DataValue)
		c.leftOut = true
		into = append(into, c)
	}
	for _, v := range settled.Behind {
		c := cellOf(v.AttributeOptionCombo, v.DataValue)
		c.behind = true
		into = append(into, c)
	}
	slices.SortFunc(into, compareCells)
	return into
}

func cellOf(attributeOptionCombo string, v dhis2.DataValue) cell {
	return cell{
		attributeOptionCombo: attributeOptionCombo, dataElement: v.DataElement, categoryOptionCombo: v.CategoryOptionCombo, value: v.Value, comment: v.Comment,
	}
}
