package mapping

import (
	"fmt"
	"strings"
)

// Rule is one of the rules, in the order in which they are applied.
type Rule int

// The rules. A value that several of them touch counts for each.
const (
	IncludeOrgUnits Rule = iota
	ExcludeOrgUnits
	IncludeDataElements
	ExcludeDataElements
	RenameOrgUnits
	RenameDataElements
	RenameCombos
	SetAttributeOptionCombo
	SumDataElements
	EmptyOrgUnits
	Zeros
	rules // how many there are
)

// String gives the name that the rule has in the configuration.
func (r Rule) String() string {
	return [...]string{
		"include_org_units", "exclude_org_units", "include_data_elements", "exclude_data_elements",
		"rename_org_units", "rename_data_elements", "rename_combos", "attribute_option_combo", "sum_data_elements",
		"empty_org_units", "zeros",
	}[r]
}

// touched is a set of rules.
type touched uint

func (t *touched) add(r Rule) { *t |= 1 << r }

// Uses counts how many values each rule touched.
type Uses [rules]int

func (u *Uses) add(t touched) {
	for r := range rules {
		if t&(1<<r) != 0 {
			u[r]++
		}
	}
}

// Add counts what another count has.
func (u *Uses) Add(other Uses) {
	for r := range u {
		u[r] += other[r]
	}
}

// Take counts the rules that touched a cell when it was taken.
func (u *Uses) Take(c *Cell) {
	if c.touched != 0 {
		u.add(c.touched)
	}
}

// InForce lists the rules that are in force, in their order, each with its setting in a few words.
func (r Rules) InForce() []RuleInForce {
	drop := map[bool]string{true: "send", false: "drop"}
	all := []struct {
		set     bool
		setting string
	}{
		IncludeOrgUnits:         {len(r.IncludeOrgUnits) > 0, some(r.IncludeOrgUnits)},
		ExcludeOrgUnits:         {len(r.ExcludeOrgUnits) > 0, some(r.ExcludeOrgUnits)},
		IncludeDataElements:     {len(r.IncludeDataElements) > 0, some(r.IncludeDataElements)},
		ExcludeDataElements:     {len(r.ExcludeDataElements) > 0, some(r.ExcludeDataElements)},
		RenameOrgUnits:          {len(r.RenameOrgUnits) > 0, fmt.Sprintf("%d ids", len(r.RenameOrgUnits))},
		RenameDataElements:      {len(r.RenameDataElements) > 0, fmt.Sprintf("%d ids", len(r.RenameDataElements))},
		RenameCombos:            {len(r.RenameCombos) > 0, fmt.Sprintf("%d ids", len(r.RenameCombos))},
		SetAttributeOptionCombo: {r.AttributeOptionCombo != "", r.AttributeOptionCombo},
		SumDataElements:         {len(r.SumDataElements) > 0, some(r.SumDataElements)},
		EmptyOrgUnits:           {true, [...]string{"drop", "send", "reported"}[r.EmptyOrgUnits]},
		Zeros:                   {true, drop[!r.DropZeros]},
	}
	var list []RuleInForce
	for rule, found := range all {
		if found.set {
			list = append(list, RuleInForce{Rule: Rule(rule), Setting: found.setting})
		}
	}
	return list
}

// RuleInForce is a rule and what it is set to.
type RuleInForce struct {
	Rule    Rule
	Setting string
}

const someIDs = 3

// some names the first few ids of a list.
func some(ids []string) string {
	if len(ids) <= someIDs {
		return strings.Join(ids, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(ids[:someIDs], ", "), len(ids)-someIDs)
}
