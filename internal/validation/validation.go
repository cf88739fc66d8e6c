// Package validation says of what is to be sent what DHIS2 would say of it, before it is sent, and names the remedy.
//
// It is pure: it touches no network and no clock, and everything that it needs to know is in Facts. One server refuses a
// whole request for one closed org unit, and another one stores what no form will ever show: so what is known to be wrong
// is set aside by us, cell by cell, alike for both dialects.
package validation

import (
	"fmt"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// Facts are what DHIS2 knows and what decides whether it takes a value.
type Facts struct {
	Server dhis2.Server
	User   dhis2.User
	Set    *dhis2.DataSet
	Period dhis2.Period
	// OrgUnits are the org units that the set is assigned to, by id.
	OrgUnits map[string]dhis2.OrgUnit
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

// Finding is why a cell cannot be sent.
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
	facts Facts
}

// New makes facts ready.
func New(f Facts) *Checks { return &Checks{facts: f} }

// Issues are what is about the whole: blocking ones, for which nothing may be sent, and notes.
func (c *Checks) Issues() []issue.Issue { return nil }

// OrgUnit says why nothing of an org unit can be sent; nil is that something can.
func (c *Checks) OrgUnit(id string) *Finding {
	if _, assigned := c.facts.OrgUnits[id]; assigned {
		return nil
	}
	if _, exists := c.facts.Others[id]; exists {
		return &Finding{Code: "org_unit_not_assigned", Scope: OneOrgUnit, Text: fmt.Sprintf("data set %s is not assigned to org unit %s", c.facts.Set.ID, id), Remedy: "assign it in DHIS2, or leave the org unit out with exclude_org_units"}
	}
	return &Finding{Code: "org_unit_unknown", Scope: OneOrgUnit, Text: "DHIS2 has no org unit " + id, Remedy: "check the id on the CHT's place (dhis.orgUnit), or rename it with org_units_file"}
}

// Value says why a value cannot be sent; nil is that it can. OrgUnit has been asked about its org unit.
func (c *Checks) Value(v *mapping.Value) *Finding {
	if c.facts.Set.Elements[v.DataElement] == nil {
		return &Finding{Code: "data_element_not_in_data_set", Scope: OneElement, Text: fmt.Sprintf("data element %s is not in data set %s", v.DataElement, c.facts.Set.ID), Remedy: "add it to the data set in DHIS2, or leave it out with exclude_data_elements"}
	}
	return nil
}
