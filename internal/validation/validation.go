// Package validation says of what is to be sent what DHIS2 would say of it, before it is sent, and names the remedy.
//
// It is pure: it touches no network and no clock, and everything that it needs to know is in Facts. One server refuses a
// whole request for one closed org unit, and another one stores what no form will ever show: so what is known to be wrong
// is set aside by us, cell by cell, alike for both dialects.
package validation

import (
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// Facts are what DHIS2 knows and what decides whether it takes a value. They must not change while they are used, but that
// Others may grow.
type Facts struct {
	Server dhis2.Server
	User   dhis2.User
	Set    *dhis2.DataSet
	Period dhis2.Period
	// OrgUnits are the org units that the set is assigned to.
	OrgUnits *dhis2.OrgUnits
	// Others are org units that it is not assigned to and that exist, by id. One in neither is unknown.
	Others map[string]dhis2.OrgUnit
	// Exceptions are the org units for which an expired period is open all the same.
	Exceptions map[string]bool
	// Approvals are the approval states that DHIS2 gives, where the set has a workflow.
	Approvals map[Approval]string
}

// Approval is what is approved: an org unit's data of an attribute option combo, empty for the default one.
type Approval struct {
	OrgUnit, AttributeOptionCombo string
}

// Scope says what a finding is about, so that one that is about many cells is told once.
type Scope int

// The scopes.
const (
	// OneCell is about a single value.
	OneCell Scope = iota
	// OneOrgUnit is about all that is sent of an org unit.
	OneOrgUnit
	// OneElement is about all values of a data element, and of a combo where the issue names one.
	OneElement
)

// Finding is why a cell cannot be sent. One that is about many cells is shared: it is not to be changed.
type Finding struct {
	// Code is the issue's, Text and Remedy are for a person.
	Code         string
	Scope        Scope
	Text, Remedy string
	// Locks says that the period, or an approved part of it, takes nothing now.
	Locks bool
}

// Checks are the facts made ready. They may be used by one goroutine.
type Checks struct {
	facts          Facts
	setBased       bool
	place          *time.Location
	longestComment int
	elements       map[string]*element
	last           *element // the one asked for last
	// expired keeps the period closed for all org units without a lock exception, closed for all.
	expired, closed *Finding
	// approved are the approved attribute option combos by org unit, with their states.
	approved map[string]map[string]string
	// told are findings that are about many values, so that each is made once.
	told map[subject]*Finding
}

// element is a data element with what is asked of its values.
type element struct {
	*dhis2.Element

	// fits is the test of its value type; nil takes any text.
	fits func(string) bool
	// whole says that it takes whole numbers, forgetful that a zero of it is not kept.
	whole, forgetful bool
}

func (e *element) title() string { return titled(e.Name, e.ID) }

func titled(name, id string) string {
	if name == "" {
		return id
	}
	return name + " (" + id + ")"
}

// subject is what a finding about many values is about.
type subject struct {
	check                          check
	element, combo, attributeCombo string
}

// mostTold bounds the findings that are kept, however many ids come that nobody knows.
const mostTold = 1000

// New makes facts ready.
func New(f Facts) *Checks {
	c := &Checks{
		facts: f, setBased: f.Server.Dialect == dhis2.SetBased, longestComment: longestComment, place: placeOf(f.Server),
		elements: make(map[string]*element, len(f.Set.Elements)), approved: map[string]map[string]string{}, told: map[subject]*Finding{},
	}
	if c.setBased {
		c.longestComment = longestSetBasedComment
	}
	for id, e := range f.Set.Elements {
		c.elements[id] = &element{
			Element: e, fits: fitting(e.ValueType, f.Server.Dialect), whole: isWhole(e.ValueType),
			forgetful: !c.setBased && f.Set.NoZeros[id] && isNumeric(e.ValueType),
		}
	}
	for a, state := range f.Approvals {
		if !(dhis2.ApprovalState{State: state}).Closed() {
			continue
		}
		if c.approved[a.OrgUnit] == nil {
			c.approved[a.OrgUnit] = map[string]string{}
		}
		c.approved[a.OrgUnit][c.combo(a.AttributeOptionCombo)] = state
	}
	c.expired, c.closed = c.facts.window(c.place)
	return c
}

// combo writes the default combo in one way.
func (c *Checks) combo(id string) string {
	if id == dhis2.DefaultCombo || id == c.facts.Set.DefaultCombo {
		return ""
	}
	return id
}

// passesAccess says whether DHIS2 asks nothing of the account's org units: 2.43 and later leave super users alone.
func (c *Checks) passesAccess() bool { return c.setBased && c.facts.may(superUser) }

// Issues are what is about the whole: blocking ones, for which nothing may be sent, and notes.
func (c *Checks) Issues() []issue.Issue {
	f, set := &c.facts, c.facts.Set
	var found []issue.Issue
	block := func(applies bool, k check, args ...any) {
		if applies {
			found = append(found, k.issue(issue.Blocking, 1, args...))
		}
	}
	block(!set.CanWrite, dataSetNotWritable, set.ID)
	block(!f.may(mayAddValues), authorityMissing, f.User.Username)
	block(len(f.User.OrgUnits) == 0 && !c.passesAccess(), captureOrgUnitMissing, f.User.Username)
	block(!f.Period.IsZero() && f.Period.Type() != set.PeriodType, periodType, f.Period, f.Period.Type(), set.ID, set.PeriodType)
	block(len(set.Elements) == 0, dataSetEmpty, set.ID)
	block(f.OrgUnits.Len() == 0, dataSetNotAssigned, set.ID)
	if len(set.InputPeriods) > 0 && InvertsInputPeriods(f.Server.Version) {
		found = append(found, inputPeriodsInverted.issue(issue.Note, 1, f.Server.Version, set.ID))
	}
	return found
}

// OrgUnit says why nothing of an org unit can be sent; nil is that something can.
func (c *Checks) OrgUnit(id string) *Finding {
	unit, assigned := c.facts.OrgUnits.Get(id)
	if !assigned {
		other, exists := c.facts.Others[id]
		if !exists {
			return orgUnitUnknown.finding(id)
		}
		return orgUnitNotAssigned.finding(c.facts.Set.ID, titled(other.Name, id))
	}
	if !c.captures(unit) {
		return orgUnitOutside.finding(titled(unit.Name, id))
	}
	if found := c.opened(unit); found != nil {
		return found
	}
	if c.expired != nil && !c.facts.Exceptions[id] {
		return c.expired
	}
	return c.closed
}

// captures says whether an org unit is one of the account's own or lies below one.
func (c *Checks) captures(unit dhis2.OrgUnit) bool {
	if unit.Path == "" || c.passesAccess() {
		return true
	}
	for _, own := range c.facts.User.OrgUnits {
		if unit.Path == own.Path || strings.HasPrefix(unit.Path, own.Path+"/") {
			return true
		}
	}
	return false
}

// opened finds that an org unit is not open on the period's first day. Its own first and last day are open. DHIS2 up to 2.42
// does not look at them.
func (c *Checks) opened(unit dhis2.OrgUnit) *Finding {
	if c.facts.Period.IsZero() {
		return nil
	}
	first := c.facts.Period.First()
	if opens, known := wallClock(unit.Opens, c.place); known && first.Before(dayOf(opens)) {
		return orgUnitNotOpenYet.finding(titled(unit.Name, unit.ID), dayText(unit.Opens), c.facts.Period)
	}
	if closes, known := wallClock(unit.Closes, c.place); known && first.After(dayOf(closes)) {
		return orgUnitClosed.finding(titled(unit.Name, unit.ID), dayText(unit.Closes), c.facts.Period)
	}
	return nil
}

// Value says why a value cannot be sent; nil is that it can. OrgUnit has been asked about its org unit. A value that is to
// be taken away is not looked at for what it is, only for where.
func (c *Checks) Value(v *mapping.Value) *Finding {
	e := c.element(v.DataElement)
	if e == nil {
		return c.tell(subject{check: elementNotInDataSet, element: v.DataElement}, v.DataElement, c.facts.Set.ID)
	}
	attribute := c.combo(v.AttributeOptionCombo)
	if found := c.attributeCombo(attribute); found != nil {
		return found
	}
	if found := c.optionCombo(e, c.combo(v.CategoryOptionCombo)); found != nil {
		return found
	}
	if len(c.approved) > 0 {
		if state := c.approved[v.OrgUnit][attribute]; state != "" {
			return c.tell(subject{check: dataApproved, element: state}, state)
		}
	}
	if v.Deleted {
		return nil
	}
	return c.content(e, v)
}

// element finds a data element of the set; nil is none.
func (c *Checks) element(id string) *element {
	if c.last == nil || c.last.ID != id {
		c.last = c.elements[id]
	}
	return c.last
}

// tell gives a finding that is about many values, and makes it once.
func (c *Checks) tell(s subject, args ...any) *Finding {
	found := c.told[s]
	if found == nil {
		if len(c.told) >= mostTold {
			clear(c.told)
		}
		found = s.check.finding(args...)
		c.told[s] = found
	}
	return found
}

// attributeCombo judges an attribute option combo, empty for the default one.
func (c *Checks) attributeCombo(id string) *Finding {
	set := c.facts.Set
	if set.Combo == nil || set.Combo.IsDefault && id == "" {
		return nil
	}
	option := set.Combo.Combos[id]
	switch {
	case id == "":
		return c.tell(subject{check: attributeComboWrong}, set.ID, "the default attribute option combo, and the value names no other")
	case option == nil:
		return c.tell(subject{check: attributeComboWrong, attributeCombo: id}, set.ID, "attribute option combo "+id)
	case len(option.ReadOnly) > 0:
		return c.tell(subject{check: attributeComboForbidden, attributeCombo: id}, titled(option.Name, id), strings.Join(option.ReadOnly, ", "))
	default:
		return nil
	}
}

// optionCombo judges a category option combo, empty for the default one.
func (c *Checks) optionCombo(e *element, id string) *Finding {
	if e.Combo == nil || e.Combo.IsDefault && id == "" {
		return nil
	}
	option := e.Combo.Combos[id]
	about := subject{element: e.ID, combo: id}
	switch {
	case id == "":
		about.check = comboMissing
		return c.tell(about, e.title(), e.Combo.ID)
	case option == nil && e.Combo.IsDefault:
		about.check = comboUnexpected
		return c.tell(about, e.title(), id)
	case option == nil:
		about.check = comboWrong
		return c.tell(about, id, e.title(), c.facts.Set.ID)
	case len(option.ReadOnly) > 0:
		about.check = comboNotWritable
		return c.tell(about, titled(option.Name, id), strings.Join(option.ReadOnly, ", "))
	default:
		return nil
	}
}

// Twice says whether two values that follow each other in an org unit are of one cell; then neither can be sent.
func (c *Checks) Twice(a, b *mapping.Value) *Finding {
	if a.DataElement != b.DataElement || a.OrgUnit != b.OrgUnit ||
		c.combo(a.CategoryOptionCombo) != c.combo(b.CategoryOptionCombo) || c.combo(a.AttributeOptionCombo) != c.combo(b.AttributeOptionCombo) {
		return nil
	}
	return c.tell(subject{check: cellTwice})
}

// DropsZero says whether the server will not keep a value, as it is a zero and zero is not significant: a cell that it has
// not yet is not stored and not counted, one that it has is taken away.
func (c *Checks) DropsZero(v *mapping.Value) bool {
	e := c.element(v.DataElement)
	return e != nil && e.forgetful && !v.Deleted && isZero(v.Value)
}

// ZerosNotKept is the note about zeros that the server will not keep.
func (c *Checks) ZerosNotKept(count int) issue.Issue {
	return zerosNotKept.issue(issue.Note, count, c.facts.Server.Version)
}
