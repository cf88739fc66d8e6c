package sandbox

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// groupImport imports values as a group, as DHIS2 does from 2.43 on: all of them, or none, but for those that are
// wrong in themselves.
type groupImport struct {
	*dhis2Post
	setID string
	// set is nil when there is none of that id.
	set     *dhis2Set
	values  []*groupValue
	today   time.Time
	now     time.Time
	periods map[string]dhis2Period
}

// groupValue is a value with what it takes from the whole body. Ids are resolved; an id that is nowhere stays as it
// was sent.
type groupValue struct {
	element, orgUnit, combo, attribute, value, comment string
	period                                             dhis2Period
	followUp, deleted                                  bool
}

// importGroup imports the values of the body as a group.
func (p *dhis2Post) importGroup() *failure {
	g := &groupImport{dhis2Post: p, now: p.now().UTC(), periods: map[string]dhis2Period{}}
	g.today = g.now.Truncate(24 * time.Hour)
	if failed := wrongTypes(g.body); failed != nil {
		return failed
	}
	wrong, failed := g.decode()
	if failed != nil {
		return failed
	}
	if wrong != nil {
		wrong.Indexes = []int{-1}
		g.summary.Status = "ERROR"
		g.summary.Conflicts = append(g.summary.Conflicts, *wrong)
		return nil
	}
	g.summary.DataSetComplete = "false"
	if len(g.values) > 0 {
		g.importDecoded()
	}
	g.deleteScope()
	g.complete()
	return nil
}

// importDecoded checks the group and stores it.
func (g *groupImport) importDecoded() {
	wrong := g.findSet()
	if g.fault == RefusesGroup {
		wrong = groupConflict("E8999", "", "Data entry is not possible")
	}
	for _, check := range []func() *dhis2Conflict{g.checkAccess, g.checkKeys, g.checkPlacesInTime, g.checkTime, g.checkTwice} {
		if wrong != nil {
			break
		}
		wrong = check()
	}
	if wrong != nil {
		g.refuse(wrong)
		return
	}
	valid := g.checkValues()
	switch {
	case g.summary.Status == "ERROR":
	case len(valid) == 0:
		g.summary.Status = "ERROR"
	case g.databaseFails() || g.givenTwice(valid):
		// The database fails on the whole statement, and the importer does not notice.
		g.summary.ImportCount.Ignored = len(g.values)
	default:
		g.store(valid)
	}
}

// databaseFails tells whether a fault is in the database's way.
func (g *groupImport) databaseFails() bool { return g.fault == WriteFails || g.fault == NewPeriodRace }

// refuse rejects the whole group.
func (g *groupImport) refuse(wrong *dhis2Conflict) {
	wrong.Indexes = make([]int, len(g.values))
	for i := range wrong.Indexes {
		wrong.Indexes[i] = i
	}
	g.summary.Status = "ERROR"
	g.summary.Conflicts = []dhis2Conflict{*wrong}
	g.summary.RejectedIndexes = slices.Clone(wrong.Indexes)
}

// groupConflict makes a conflict. Ids are told in one text only.
func groupConflict(code, args, text string) *dhis2Conflict {
	return &dhis2Conflict{Objects: map[string]string{"args": args}, Value: text, ErrorCode: code}
}

// findSet finds the one data set of all elements when the body tells none.
func (g *groupImport) findSet() *dhis2Conflict {
	if g.setID != "" {
		return nil
	}
	sets, elements := []string{}, distinct(g.values, func(v *groupValue) string { return v.element })
	for _, id := range elements {
		if element := g.index.elements.byID[id]; element != nil {
			for _, set := range element.sets {
				sets = append(sets, set.ID)
			}
		}
	}
	slices.Sort(sets)
	sets = slices.Compact(sets)
	switch len(sets) {
	case 0:
		return groupConflict("E8003", listText(elements),
			"Data set detection failed, no set contains data element(s): `"+listText(elements)+"`")
	case 1:
		g.setID, g.set = sets[0], g.index.sets.byID[sets[0]]
		return nil
	}
	return groupConflict("E8002", listText(sets), "Data set detection failed, found multiple sets: `"+listText(sets)+"`")
}

// distinct gives each text once, in the order of the values; empty ones are left out.
func distinct(values []*groupValue, text func(*groupValue) string) []string {
	var all []string
	seen := map[string]bool{"": true}
	for _, v := range values {
		if id := text(v); !seen[id] {
			seen[id] = true
			all = append(all, id)
		}
	}
	return all
}

// without leaves out the texts for which ok is true.
func without(all []string, ok func(string) bool) []string { return slices.DeleteFunc(all, ok) }

// listText prints a list as Java does.
func listText(list []string) string { return "[" + strings.Join(list, ", ") + "]" }

// checkAccess tells what the user may not do.
func (g *groupImport) checkAccess() *dhis2Conflict {
	if g.user.super() {
		return nil
	}
	if g.set != nil && !g.set.Sharing.dataWritable() {
		return groupConflict("E8010", g.setID, "Current user cannot enter data for data set: `"+g.setID+"`")
	}
	outside := without(distinct(g.values, (*groupValue).unit), func(id string) bool {
		place := g.index.places.byID[id]
		return place == nil || place.under(g.user.OrgUnits...)
	})
	if len(outside) > 0 {
		return groupConflict("E8011", listText(outside), "Current user cannot enter data for org unit(s): `"+listText(outside)+"`")
	}
	var closed []string
	for _, text := range []func(*groupValue) string{(*groupValue).ownCombo, (*groupValue).ownAttribute} {
		for _, id := range distinct(g.values, text) {
			if combo := g.index.optionCombos.byID[id]; combo != nil {
				if option := g.unwritable(combo); option != "" && !slices.Contains(closed, option) {
					closed = append(closed, option)
				}
			}
		}
	}
	if len(closed) > 0 {
		return groupConflict("E8012", listText(closed), "Current user cannot enter data for category option(s): `"+listText(closed)+"`")
	}
	return nil
}

func (v *groupValue) unit() string         { return v.orgUnit }
func (v *groupValue) ownCombo() string     { return v.combo }
func (v *groupValue) ownAttribute() string { return v.attribute }

// checkKeys tells which ids do not go with the data set. An unknown data set has no elements.
func (g *groupImport) checkKeys() *dhis2Conflict {
	notUsable := func(code, what string, list []string) *dhis2Conflict {
		if len(list) == 0 {
			return nil
		}
		return groupConflict(code, g.setID+"-"+listText(list), fmt.Sprintf("Data set %s not usable with %s(s): `%s`", g.setID, what, listText(list)))
	}
	elements := distinct(g.values, func(v *groupValue) string { return v.element })
	if wrong := notUsable("E8020", "data element", without(elements, func(id string) bool { return g.set != nil && g.set.elements[id] != nil })); wrong != nil {
		return wrong
	}
	units := distinct(g.values, (*groupValue).unit)
	if wrong := notUsable("E8022", "org unit", without(units, func(id string) bool { return g.set.places[id] })); wrong != nil {
		return wrong
	}
	periods := distinct(g.values, func(v *groupValue) string {
		if v.period.kind.name == g.set.PeriodType {
			return ""
		}
		return v.period.id
	})
	if wrong := notUsable("E8021", "period", periods); wrong != nil {
		return wrong
	}
	attributes := without(distinct(g.values, g.attributeOf), func(id string) bool {
		combo := g.index.optionCombos.byID[id]
		return combo != nil && combo.combo == g.set.combo
	})
	if wrong := notUsable("E8023", "attribute option combo", attributes); wrong != nil {
		return wrong
	}
	return g.checkCombos()
}

// attributeOf gives the attribute option combination of a value, the default one when it has none.
func (g *groupImport) attributeOf(v *groupValue) string {
	if v.attribute == "" {
		return g.index.defaultOptionCombo()
	}
	return v.attribute
}

// checkCombos tells which combinations do not go with the first element that has such, and which org units do not go
// with the first attribute combination. A combination that is left out is not looked at.
func (g *groupImport) checkCombos() *dhis2Conflict {
	wrong := map[string][]string{}
	for _, v := range g.values {
		if v.combo == "" {
			continue
		}
		combo := g.index.optionCombos.byID[v.combo]
		if (combo == nil || combo.combo != g.set.elements[v.element]) && !slices.Contains(wrong[v.element], v.combo) {
			wrong[v.element] = append(wrong[v.element], v.combo)
		}
	}
	for _, v := range g.values {
		if list := wrong[v.element]; len(list) > 0 {
			return groupConflict("E8024", g.setID+"-"+v.element+"-"+listText(list), fmt.Sprintf(
				"Data set %s + data element %s not usable with category option combo(s): `%s`", g.setID, v.element, listText(list)))
		}
	}
	for _, id := range distinct(g.values, g.attributeOf) {
		var units []string
		for _, v := range g.values {
			if g.attributeOf(v) == id && outOfPlace(g.index.optionCombos.byID[id], g.index.places.byID[v.orgUnit]) {
				units = append(units, v.orgUnit)
			}
		}
		if len(units) > 0 {
			slices.Sort(units)
			list := listText(slices.Compact(units))
			return groupConflict("E8025", id+"-"+list, fmt.Sprintf("Attribute option combo %s not usable with org unit(s): `%s`", id, list))
		}
	}
	return nil
}

// checkPlacesInTime tells the first org unit that is not open in a period, with those periods.
func (g *groupImport) checkPlacesInTime() *dhis2Conflict {
	shut := func(v *groupValue) bool {
		place := g.index.places.byID[v.orgUnit]
		return v.period.start.Before(place.opening) || !place.closed.IsZero() && v.period.start.After(place.closed)
	}
	first := slices.IndexFunc(g.values, shut)
	if first < 0 {
		return nil
	}
	unit := g.values[first].orgUnit
	periods := listText(distinct(g.values, func(v *groupValue) string {
		if v.orgUnit != unit || !shut(v) {
			return ""
		}
		return v.period.id
	}))
	return groupConflict("E8031", unit+"-"+periods, fmt.Sprintf("Untimely data entry for org unit %s and period(s): `%s`", unit, periods))
}

// checkTime tells what may not be entered today.
func (g *groupImport) checkTime() *dhis2Conflict {
	if g.user.super() && g.options.force {
		return nil
	}
	late := distinct(g.values, func(v *groupValue) string {
		if g.timely(v) {
			return ""
		}
		return v.period.id
	})
	if len(late) > 0 && !g.user.can("F_EDIT_EXPIRED") {
		return groupConflict("E8030", g.setID+"-"+listText(late),
			fmt.Sprintf("Untimely data entry for data set %s and period(s): `%s`", g.setID, listText(late)))
	}
	for _, v := range g.values {
		// Approval is looked for at the very org unit, and only when the combination was sent.
		if v.attribute != "" && g.approvedExactly(g.set, v.period.id, v.orgUnit, v.attribute) {
			periods := listText([]string{v.period.id})
			return groupConflict("E8033", v.attribute+"-"+v.orgUnit+"-"+periods, fmt.Sprintf(
				"Untimely data entry (already approved) for attribute option combo %s, org unit %s and periods: `%s`",
				v.attribute, v.orgUnit, periods))
		}
	}
	for _, v := range g.values {
		if combo := g.index.optionCombos.byID[g.attributeOf(v)]; outOfDate(combo, v.period) {
			periods := listText([]string{v.period.id})
			return groupConflict("E8032", combo.ID+"-"+periods, fmt.Sprintf(
				"Untimely data entry for attribute option combo %s and period(s): `%s`", combo.ID, periods))
		}
	}
	return nil
}

// timely tells whether the period may be entered today. Input periods replace the other rules; 2.43.0 and 2.43.1 have
// their dates the wrong way round.
func (g *groupImport) timely(v *groupValue) bool {
	period := v.period
	if len(g.set.DataInputPeriods) == 0 {
		return (g.excepted[dhis2Exception{g.setID, period.id, v.orgUnit}] || !g.expired(g.set, period, g.today)) && period.opened(g.today, g.set.OpenFuturePeriods)
	}
	if g.locked[[2]string{g.setID, period.id}] {
		return false
	}
	if !g.version.unmended() {
		return inputOpen(g.set, period.id, g.now)
	}
	listed := slices.ContainsFunc(g.set.DataInputPeriods, func(p DHIS2InputPeriod) bool { return p.Period.ID == period.id })
	return listed && !inputOpen(g.set, period.id, g.now)
}

// checkTwice tells the first cell that is given twice in the same words.
func (g *groupImport) checkTwice() *dhis2Conflict {
	seen := make(map[dhis2Cell][]int, len(g.values))
	for i, v := range g.values {
		cell := dhis2Cell{v.element, v.period.id, v.orgUnit, v.combo, v.attribute}
		seen[cell] = append(seen[cell], i)
	}
	for _, v := range g.values {
		cell := dhis2Cell{v.element, v.period.id, v.orgUnit, v.combo, v.attribute}
		if len(seen[cell]) < 2 {
			continue
		}
		places := strings.ReplaceAll(fmt.Sprint(seen[cell]), " ", ", ")
		key := fmt.Sprintf("DataValueKey[dataElement=%s, orgUnit=%s, categoryOptionCombo=%s, attributeOptionCombo=%s, period=%s]",
			v.element, v.orgUnit, orNull(v.combo), orNull(v.attribute), v.period.id)
		return groupConflict("E8128", places+"-"+key, fmt.Sprintf("Value #%s all affect the same data value: `%s`", places, key))
	}
	return nil
}

// cell gives where a value is stored.
func (g *groupImport) cell(v *groupValue) dhis2Cell {
	combo := v.combo
	if combo == "" {
		combo = g.index.defaultOptionCombo()
	}
	return dhis2Cell{v.element, v.period.id, v.orgUnit, combo, g.attributeOf(v)}
}

// givenTwice tells whether two values meet in one cell, told in different words.
func (g *groupImport) givenTwice(values []*groupValue) bool {
	seen := make(map[dhis2Cell]bool, len(values))
	for _, v := range values {
		cell := g.cell(v)
		if seen[cell] {
			return true
		}
		seen[cell] = true
	}
	return false
}

// checkValues notes the values that are wrong in themselves, and gives the others.
func (g *groupImport) checkValues() []*groupValue {
	valid := make([]*groupValue, 0, len(g.values))
	for i, v := range g.values {
		wrong := g.checkValue(i, v)
		if wrong == nil {
			valid = append(valid, v)
			continue
		}
		wrong.Indexes = []int{i}
		g.summary.Conflicts = append(g.summary.Conflicts, *wrong)
		g.summary.RejectedIndexes = append(g.summary.RejectedIndexes, i)
	}
	wrong := len(g.values) - len(valid)
	if wrong == 0 {
		return valid
	}
	g.summary.Status = "WARNING"
	if g.options.atomic {
		first := g.summary.Conflicts[0].Value
		g.refuse(groupConflict("E8000", fmt.Sprint(len(valid), "-", len(g.values), "-", first), fmt.Sprintf(
			"Atomic mode requires all values to be valid but only %d/%d were. First issue: %s", len(valid), len(g.values), first)))
		g.summary.DataSetComplete = ""
		return nil
	}
	g.summary.ImportCount.Ignored = wrong
	return valid
}

// checkValue tells what is wrong with the value itself.
func (g *groupImport) checkValue(index int, v *groupValue) *dhis2Conflict {
	element := g.index.elements.byID[v.element]
	number := thousands(index)
	if dhis2Zeroes.MatchString(v.value) && strings.HasPrefix(element.ValueType, "INTEGER") {
		v.value = dhis2Zeroes.ReplaceAllString(v.value, "$1")
	}
	switch word := wrongValue(v.value, element.ValueType); {
	case v.deleted || g.options.deletes():
		return nil
	case v.value == "" && v.comment == "" && g.set.NoValueRequiresComment:
		return groupConflict("E8121", strconv.Itoa(index), "Value #"+number+" value or comment is required")
	case v.value == "" && !g.set.NoValueRequiresComment:
		return groupConflict("E8120", strconv.Itoa(index), "Value #"+number+" value is required")
	case v.value != "" && word != "":
		return groupConflict("E8122", fmt.Sprintf("%d-%s-%s-%s", index, v.value, element.ValueType, word),
			fmt.Sprintf("Value #%s value `%s` is no valid %s: %s", number, v.value, element.ValueType, word))
	case v.value != "" && element.hasOptions && !element.options[v.value]:
		return groupConflict("E8123", fmt.Sprintf("%d-%s-%s", index, v.value, v.element),
			fmt.Sprintf("Value #%s value `%s` is no valid option for data element `%s`", number, v.value, v.element))
	case v.comment != "" && element.hasCommentCodes && !element.commentOptions[v.comment]:
		return groupConflict("E8124", fmt.Sprintf("%d-%s-%s", index, v.comment, v.element),
			fmt.Sprintf("Value #%s comment `%s` is no valid option for data element `%s`", number, v.comment, v.element))
	case len(v.comment) > 5000:
		return groupConflict("E8125", strconv.Itoa(index), "Value #"+number+" comment is too long")
	}
	return nil
}

// store writes the values, and counts them.
func (g *groupImport) store(values []*groupValue) {
	if g.options.deletes() {
		g.summary.ImportCount.Deleted = len(values)
	} else {
		g.summary.ImportCount.Updated = len(values)
	}
	if g.options.dryRun {
		return
	}
	for _, v := range values {
		row := dhis2Row{
			value: v.value, comment: v.comment, storedBy: g.user.Username, followUp: v.followUp, deleted: v.deleted || g.options.deletes(),
		}
		cell := g.cell(v)
		if before := g.DHIS2.store.rows[cell]; before != nil || !row.deleted {
			g.DHIS2.store.put(cell, row, g.now)
		}
	}
}

// deleteScope deletes what the body's deletion asks for, but not what the body itself has brought.
func (g *groupImport) deleteScope() {
	scope := g.body.get("deletion")
	if !scope.there() || g.options.dryRun || g.summary.Status == "ERROR" || g.databaseFails() {
		return
	}
	brought := make(map[dhis2Cell]bool, len(g.values))
	for _, v := range g.values {
		brought[g.cell(v)] = true
	}
	has := func(list jsonValue, id string) bool {
		return slices.ContainsFunc(list.items, func(item jsonValue) bool { return item.text == id })
	}
	fits := func(wanted jsonValue, id string) bool { return !wanted.there() || wanted.text == id }
	for cell, row := range g.DHIS2.store.rows {
		if row.deleted || brought[cell] || !has(scope.get("orgUnits"), cell.orgUnit) || !has(scope.get("periods"), cell.period) {
			continue
		}
		if slices.ContainsFunc(scope.get("elements").items, func(e jsonValue) bool {
			return e.get("dataElement").text == cell.dataElement && fits(e.get("categoryOptionCombo"), cell.combo) &&
				fits(e.get("attributeOptionCombo"), cell.attribute)
		}) {
			row.deleted = true
		}
	}
}

// complete registers the data set as complete when the body has a date for that and no value was ignored.
func (g *groupImport) complete() {
	date := g.body.get("completeDate").string()
	if date == "" || g.summary.Status != "SUCCESS" || g.summary.ImportCount.Ignored > 0 {
		return
	}
	day := dhis2Date(date)
	if day.IsZero() {
		day = g.today
	}
	g.summary.DataSetComplete = day.Format(time.DateOnly)
	period, valid := g.parsePeriod(g.body.get("period").string())
	place := g.index.places.find(g.options.schemeOf("orgUnit", false), g.body.get("orgUnit").string())
	if g.options.dryRun || !valid || place == nil {
		return
	}
	attribute, _ := g.resolveCombo(0, "attribute", g.body.get("attributeOptionCombo"), &groupValue{})
	slice := dhis2Slice{g.setID, period.id, place.ID, g.attributeOf(&groupValue{attribute: attribute})}
	g.completed[slice] = &dhis2Completion{date: day, storedBy: g.user.Username, completed: true}
}
