package orchestration

import (
	"maps"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// rules finds ids in the configuration of a data set that neither side knows, as after a slip of the pen: such a rule does
// nothing, and nobody is told.
func (r *examining) rules(p sheet, set DataSet, units *dhis2.OrgUnits) {
	places, elements, combos, types, targets := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, name := range set.CHT {
		facts := r.sources[name]
		if facts.settings == nil || facts.orgUnits == nil {
			return // what is not known of one may be there
		}
		for _, place := range facts.orgUnits {
			places[place.ID] = true
		}
		for _, kind := range facts.settings.ContactTypes {
			types[kind.ID] = true
		}
		for _, target := range facts.settings.Undirected {
			targets[target.ID] = true
		}
		for _, target := range facts.settings.Targets {
			targets[target.ID] = true
			elements[target.DataElement] = true
			combos[target.CategoryOptionCombo], combos[target.AttributeOptionCombo] = true, true
		}
		for _, item := range set.Targets.Items {
			elements[item.DataElement] = true
			combos[item.CategoryOptionCombo], combos[item.AttributeOptionCombo] = true, true
		}
	}
	above := map[string]bool{}
	for _, id := range units.IDs() {
		unit, _ := units.Get(id)
		for _, id := range strings.Split(unit.Path, "/") {
			above[id] = true
		}
	}
	var live []string
	for _, from := range set.Compare.LiveFrom {
		live = append(live, from.OrgUnit)
	}
	var kinds []string
	if len(types) > 0 { // older settings do not tell them
		kinds = append(slices.Clone(set.Targets.ExcludeTypes), set.Targets.Level)
		types[""] = true
	}
	var counted []string
	for _, item := range set.Targets.Items {
		counted = append(counted, item.Target)
	}
	rules := set.Rules
	for _, named := range []struct {
		what  string
		ids   []string
		known map[string]bool
	}{
		{"org units that are on no place of its CHT", slices.Concat(rules.IncludeOrgUnits, rules.ExcludeOrgUnits, slices.Collect(maps.Keys(rules.RenameOrgUnits))), places},
		{"data elements that no target of its CHT has", slices.Concat(rules.IncludeDataElements, rules.ExcludeDataElements, slices.Collect(maps.Keys(rules.RenameDataElements))), elements},
		{"combos that no target of its CHT has", slices.Collect(maps.Keys(rules.RenameCombos)), combos},
		{"targets in targets_file that its CHT does not have", counted, targets},
		{"contact types that its CHT does not have", kinds, types},
		{"org units in live_from below which the data set is assigned to none", live, above},
	} {
		unknown := slices.DeleteFunc(named.ids, func(id string) bool { return named.known[id] })
		slices.Sort(unknown)
		if unknown = slices.Compact(unknown); len(unknown) > 0 {
			p.amber("rules", "the configuration names "+named.what+": "+firstOf(unknown), "correct the ids, or take them out").Who = us
		}
	}
}
