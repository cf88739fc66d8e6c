package sandbox

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// legacyImport imports values one by one, as DHIS2 does up to 2.42.
type legacyImport struct {
	*dhis2Post
	// set, and the next three, are what the body tells for all values.
	set       *dhis2Set
	period    string
	orgUnit   string
	attribute string
	today     time.Time
	now       time.Time
	periods   map[string]dhis2Period
	// fresh are the cells that this import has made.
	fresh map[dhis2Cell]bool
	// merged finds the conflicts that are the same but for the index.
	merged map[string]int
}

// legacyValue is a value and what its ids stand for.
type legacyValue struct {
	value, comment, storedBy string
	comboText, attributeText string
	element                  *dhis2Element
	period                   dhis2Period
	place                    *dhis2Place
	combo, attribute         *dhis2OptionCombo
	followUp, deleted        bool
	elementText, placeText   string
}

// importEach imports the values of the body one by one.
func (p *dhis2Post) importEach() {
	i := &legacyImport{dhis2Post: p, now: p.now().UTC(), periods: map[string]dhis2Period{}, fresh: map[dhis2Cell]bool{}, merged: map[string]int{}}
	i.today = i.now.Truncate(24 * time.Hour)
	p.summary.Description = "Import process completed successfully"
	if !i.readHeader() {
		return
	}
	p.summary.DataSetComplete = i.complete()
	values := p.body.get("dataValues").items
	for index := range values {
		if p.fault == WriteFails && index >= len(values)/2 {
			p.fail("Failed to flush BatchHandler")
			return
		}
		i.importValue(index, values[index])
	}
	if len(p.summary.Conflicts) > 0 {
		p.summary.Status = "WARNING"
	}
	if slices.Sort(p.summary.RejectedIndexes); p.version.untold() {
		p.summary.RejectedIndexes = nil
	}
}

// readHeader reads what holds for all values. It tells whether the import goes on.
func (i *legacyImport) readHeader() bool {
	i.period, i.orgUnit, i.attribute = i.body.get("period").string(), i.body.get("orgUnit").string(), i.body.get("attributeOptionCombo").string()
	if id := i.body.get("dataSet").string(); id != "" {
		i.set = i.index.sets.find(i.scheme("dataSet"), id)
		if i.set == nil || !i.user.super() && !i.set.Sharing.readable() {
			return i.abort("E7600", "dataSet", "dataSet", id, "Data set not found or not accessible: `"+id+"`")
		}
		if !i.user.super() && !i.set.Sharing.dataWritable() {
			return i.abort("E7601", "dataSet", "dataSet", id, "User does not have write access for DataSet: `"+id+"`")
		}
	}
	if i.orgUnit != "" && i.index.places.find(i.scheme("orgUnit"), i.orgUnit) == nil {
		return i.abort("E7603", "orgUnit", "organisationUnit", i.orgUnit, "Org unit not found or not accessible: `"+i.orgUnit+"`")
	}
	if i.attribute != "" && i.index.optionCombos.find(i.scheme("combo"), i.attribute) == nil {
		return i.abort("E7604", "attributeOptionCombo", "categoryOptionCombo", i.attribute,
			"Attribute option combo not found or not accessible: `"+i.attribute+"`")
	}
	return true
}

// scheme tells how ids of that use are told.
func (i *legacyImport) scheme(use string) string { return i.options.schemeOf(use, true) }

// abort ends the import before any value.
func (i *legacyImport) abort(code, property, kind, id, text string) bool {
	i.summary.Status, i.summary.Description = "ERROR", "Import process was aborted"
	i.summary.Conflicts = append(i.summary.Conflicts, dhis2Conflict{
		Object: id, Objects: map[string]string{kind: id}, Value: text, ErrorCode: code, Property: property,
	})
	return false
}

// complete registers the data set as complete when the body has a date for that: before the values, on a dry run
// too, and always for the default attribute option combination. It gives what the summary says of it.
func (i *legacyImport) complete() string {
	date := i.body.get("completeDate").string()
	if date == "" || date == "false" || i.set == nil {
		return "false"
	}
	missing := false
	for _, member := range []struct{ name, value string }{{"Period", i.period}, {"OrganisationUnit", i.orgUnit}} {
		if member.value == "" {
			i.summary.Conflicts = append(i.summary.Conflicts, dhis2Conflict{
				Object: member.name, Value: "Must be provided to complete data set",
			})
			missing = true
		}
	}
	period, valid := i.parsePeriod(i.period)
	if missing || !valid {
		return ""
	}
	day := dhis2Date(date)
	if day.IsZero() {
		day = i.today
	}
	slice := dhis2Slice{i.set.ID, period.id, i.index.places.find(i.scheme("orgUnit"), i.orgUnit).ID, i.index.defaultOptionCombo()}
	i.completed[slice] = &dhis2Completion{date: day, storedBy: i.user.Username, completed: true}
	return day.Format(time.DateOnly)
}

// parsePeriod reads the id of a period once.
func (i *legacyImport) parsePeriod(id string) (dhis2Period, bool) {
	period, known := i.periods[id]
	if !known {
		var valid bool
		if period, valid = parseDHIS2Period(id, i.calendar); !valid || period.kind.name == "WeeklyFriday" {
			period = dhis2Period{}
		}
		i.periods[id] = period
	}
	return period, period.kind != nil
}

// importValue checks and stores one value.
func (i *legacyImport) importValue(index int, from jsonValue) {
	v := i.readValue(from)
	if i.fault == NewPeriodRace {
		v.period = dhis2Period{}
	}
	conflict := i.checkIDs(v)
	for _, check := range []func(*legacyValue) *dhis2Conflict{i.checkAccess, i.checkContent, i.checkStrict, i.checkTime} {
		if conflict != nil {
			break
		}
		conflict = check(v)
	}
	if conflict != nil {
		i.reject(index, conflict)
		return
	}
	i.storeValue(index, v)
}

// readValue finds what a value's ids stand for. What the body tells for all values counts before the value's own.
func (i *legacyImport) readValue(from jsonValue) *legacyValue {
	text := func(name string) string { return from.get(name).string() }
	v := &legacyValue{
		value: text("value"), comment: text("comment"), storedBy: cmp.Or(text("storedBy"), i.user.Username),
		elementText: text("dataElement"), placeText: cmp.Or(i.orgUnit, text("orgUnit")),
		comboText: text("categoryOptionCombo"), attributeText: cmp.Or(i.attribute, text("attributeOptionCombo")),
		followUp: from.get("followup").bool(), deleted: from.get("deleted").bool() || i.options.deletes(),
	}
	v.element = i.index.elements.find(i.scheme("dataElement"), v.elementText)
	v.period, _ = i.parsePeriod(cmp.Or(i.period, text("period")))
	v.place = i.index.places.find(i.scheme("orgUnit"), v.placeText)
	v.combo, v.attribute = i.findCombo(v.comboText), i.findCombo(v.attributeText)
	return v
}

// findCombo finds an option combination, the default one for an empty id.
func (i *legacyImport) findCombo(id string) *dhis2OptionCombo {
	if id == "" {
		return i.index.optionCombos.byID[i.index.defaultOptionCombo()]
	}
	return i.index.optionCombos.find(i.scheme("combo"), id)
}

// reject notes what is wrong with a value, together with others of which the same is wrong.
func (i *legacyImport) reject(index int, conflict *dhis2Conflict) {
	i.summary.ImportCount.Ignored++
	i.summary.RejectedIndexes = append(i.summary.RejectedIndexes, index)
	key := conflict.ErrorCode + conflict.Object + conflict.Value
	at, known := i.merged[key]
	if !known {
		at = len(i.summary.Conflicts)
		i.merged[key] = at
		i.summary.Conflicts = append(i.summary.Conflicts, *conflict)
	}
	i.summary.Conflicts[at].Indexes = append(i.summary.Conflicts[at].Indexes, index)
}

// conflict makes a conflict. The ids are told as kind and id in turn; empty ones are left out.
func conflict(code, property, text, object string, ids ...string) *dhis2Conflict {
	objects := map[string]string{}
	for n := 0; n < len(ids); n += 2 {
		if ids[n+1] != "" {
			objects[ids[n]] = ids[n+1]
		}
	}
	return &dhis2Conflict{Object: object, Objects: objects, Value: text, ErrorCode: code, Property: property}
}

// orNull is how a missing id is printed.
func orNull(id string) string { return cmp.Or(id, "null") }

// checkIDs tells what is not there. The texts name no period: a fault of 2.40 and 2.42.
func (i *legacyImport) checkIDs(v *legacyValue) *dhis2Conflict {
	element := v.elementText
	switch {
	case v.element == nil || !i.user.super() && !v.element.Sharing.readable():
		return conflict("E7610", "dataElement", "Data element not found or not accessible: `"+orNull(element)+"`", element, "dataElement", element)
	case v.period.kind == nil:
		return conflict("E7611", "period", "Period not valid: `null`", "")
	case v.place == nil:
		return conflict("E7612", "orgUnit", "Organisation unit not found or not accessible: `"+orNull(v.placeText)+"`",
			v.placeText, "organisationUnit", v.placeText)
	case v.combo == nil:
		return conflict("E7613", "categoryOptionCombo", "Category option combo not found or not accessible for writing data: `"+v.comboText+"`",
			v.comboText, "categoryOptionCombo", v.comboText)
	}
	return nil
}

// checkAccess tells what the user may not do.
func (i *legacyImport) checkAccess(v *legacyValue) *dhis2Conflict {
	if option := i.unwritable(v.combo); option != "" {
		return conflict("E7614", "categoryOptionCombo", "Category option combo: `"+v.combo.ID+"` option not accessible: `"+option+"`",
			v.comboText, "categoryOptionCombo", v.comboText)
	}
	if v.attribute == nil {
		return conflict("E7615", "attributeOptionCombo", "Attribute option combo not found or not accessible for writing data: `"+v.attributeText+"`",
			v.attributeText, "categoryOptionCombo", v.attributeText)
	}
	if option := i.unwritable(v.attribute); option != "" {
		return conflict("E7616", "attributeOptionCombo", "Attribute option combo: `"+v.attribute.ID+"` option not accessible: `"+option+"`",
			v.attributeText, "categoryOptionCombo", v.attributeText)
	}
	if !v.place.under(i.user.OrgUnits...) {
		return conflict("E7617", "orgUnit", "Organisation unit: `"+v.place.ID+"` not in hierarchy of current user: `"+i.user.ID+"`",
			v.placeText, "organisationUnit", v.placeText, "user", i.user.ID)
	}
	return nil
}

// unwritable gives the first option of the combination for which the user may not enter data.
func (p *dhis2Post) unwritable(combo *dhis2OptionCombo) string {
	for _, option := range combo.options {
		if !p.user.super() && !option.Sharing.dataWritable() {
			return option.ID
		}
	}
	return ""
}

// checkContent tells what is wrong with the value itself.
func (i *legacyImport) checkContent(v *legacyValue) *dhis2Conflict {
	id := v.elementText
	if v.value == "" && v.comment == "" && !v.deleted {
		return conflict("E7618", "value", "Data value or comment not specified for data element: `"+id+"`", id, "dataElement", id)
	}
	if word := wrongValue(v.value, v.element.ValueType); v.value != "" && word != "" {
		return conflict("E7619", "value", "Value must match value type of data element `"+id+"`: `"+valueWords(word)+"`",
			id, "dataElement", id, "value", word)
	}
	if len(v.comment) > 50000 {
		return conflict("E7620", "comment", "Invalid comment: `comment_length_greater_than_max_length`", "", "value", "comment_length_greater_than_max_length")
	}
	if v.element.hasOptions && v.value != "" && !v.element.options[v.value] {
		return conflict("E7621", "value", "Data value is not a valid option of the data element option set: `"+id+"`", id, "dataElement", id)
	}
	if i.options.requireCombo && v.comboText == "" {
		return conflict("E7630", "categoryOptionCombo", "Category option combo is required but is not specified", "")
	}
	if i.options.requireAttribute && v.attributeText == "" {
		return conflict("E7631", "attributeOptionCombo", "Attribute option combo is required but is not specified", "")
	}
	return nil
}

// checkStrict makes the checks on demand. A value belongs to no data set here: any set of the element will do.
func (i *legacyImport) checkStrict(v *legacyValue) *dhis2Conflict {
	element, options := v.elementText, i.options
	switch {
	case options.strictPeriods && !slices.ContainsFunc(v.element.sets, func(s *dhis2Set) bool { return s.PeriodType == v.period.kind.name }):
		return conflict("E7632", "", "Period type of period: `null` not valid for data element: `"+element+"`", "", "dataElement", element)
	case options.strictElements && i.set != nil && i.set.elements[v.element.ID] == nil:
		return conflict("E7633", "dataElement", "Data element: `"+element+"` is not part of dataset(s): `"+i.set.ID+"`",
			element, "dataElement", element, "dataSet", i.set.ID)
	case options.strictCombos && !slices.Contains(v.element.combos, v.combo.combo):
		return conflict("E7634", "categoryOptionCombo",
			"Category option combo: `"+orNull(v.comboText)+"` must be part of category combo of data element: `"+element+"`",
			v.comboText, "categoryOptionCombo", v.comboText, "dataElement", element)
	case options.strictAttributes && !slices.ContainsFunc(v.element.sets, func(s *dhis2Set) bool { return s.combo == v.attribute.combo }):
		return conflict("E7635", "attributeOptionCombo",
			"Attribute option combo: `"+orNull(v.attributeText)+"` must be part of category combo of data sets of data element: `"+element+"`",
			v.attributeText, "categoryOptionCombo", v.attributeText, "dataElement", element)
	case options.strictPlaces && !slices.ContainsFunc(v.element.sets, func(s *dhis2Set) bool { return s.places[v.place.ID] }):
		return conflict("E7636", "orgUnit", "Data element: `"+element+"` must be assigned through data sets to organisation unit: `"+v.placeText+"`",
			v.placeText, "organisationUnit", v.placeText, "dataElement", element)
	}
	return i.checkAttribute(v)
}

// checkAttribute tells whether the attribute options allow the period and the org unit, and whether the user who is
// said to have stored the value could be one.
func (i *legacyImport) checkAttribute(v *legacyValue) *dhis2Conflict {
	if len(v.storedBy) > 255 {
		return conflict("E7637", "storedBy", "Invalid storedBy: `stored_by_length_greater_than_max_length`", "",
			"value", "stored_by_length_greater_than_max_length")
	}
	if outOfDate(v.attribute, v.period) {
		return conflict("E7638", "period", "Period: `null` is not within date range of attribute option combo: `"+orNull(v.attributeText)+"`",
			v.attributeText, "categoryOptionCombo", v.attributeText)
	}
	if outOfPlace(v.attribute, v.place) {
		return conflict("E7639", "orgUnit", "Organisation unit: `"+v.placeText+"` is not valid for attribute option combo: `"+orNull(v.attributeText)+"`",
			v.placeText, "organisationUnit", v.placeText, "categoryOptionCombo", v.attributeText)
	}
	return nil
}

// outOfDate tells whether an option of the combination does not hold in the whole period.
func outOfDate(combo *dhis2OptionCombo, period dhis2Period) bool {
	return slices.ContainsFunc(combo.options, func(option *DHIS2CategoryOption) bool {
		start, end := dhis2Date(option.StartDate), dhis2Date(option.EndDate)
		return !start.IsZero() && period.end.Before(start) || !end.IsZero() && period.start.After(end)
	})
}

// outOfPlace tells whether an option of the combination is limited to other org units.
func outOfPlace(combo *dhis2OptionCombo, place *dhis2Place) bool {
	return slices.ContainsFunc(combo.options, func(option *DHIS2CategoryOption) bool {
		return len(option.OrganisationUnits) > 0 &&
			!slices.ContainsFunc(option.OrganisationUnits, func(unit DHIS2Ref) bool { return place.under(unit.ID) })
	})
}

// checkTime tells whether the period may be entered today.
func (i *legacyImport) checkTime(v *legacyValue) *dhis2Conflict {
	if i.user.super() && i.options.force {
		return nil
	}
	sets := v.element.sets
	if i.set != nil {
		sets = []*dhis2Set{i.set}
	}
	for _, set := range sets {
		if i.expired(set, v.period, i.today) && !i.excepted[dhis2Exception{set.ID, v.period.id, v.place.ID}] && !i.user.can("F_EDIT_EXPIRED") {
			return conflict("E7640", "period", "Current date is past expiry days for period: `null`  and data set: `"+set.ID+"`", "", "dataSet", set.ID)
		}
	}
	if len(sets) == 0 {
		return nil
	}
	set := sets[0]
	if i.calendar.iso() && !v.period.opened(i.today, set.OpenFuturePeriods) {
		latest := v.period.latestOpen(i.today, set.OpenFuturePeriods)
		return conflict("E7641", "period", "Period: `null` is after latest open future period: `"+latest.id+"` for data element: `"+
			v.elementText+"` and data set: `"+set.ID+"`", "", "dataElement", v.elementText, "dataSet", set.ID)
	}
	if i.approvedAt(set, v.period.id, v.place.path, v.attribute.ID) {
		return conflict("E7642", "", "Data already approved for data set: `"+set.ID+"` period: `null` org unit: `"+v.placeText+
			"` attribute option combo: `"+orNull(v.attributeText)+"`", v.placeText,
			"organisationUnit", v.placeText, "categoryOptionCombo", v.attributeText, "dataSet", set.ID)
	}
	if i.set != nil && len(set.DataInputPeriods) > 0 && !inputOpen(set, v.period.id, i.now) {
		return conflict("E7643", "period", "Period: `null` is not open for this data set at this time: `"+set.ID+"`", "", "dataSet", set.ID)
	}
	if i.set == nil && !slices.ContainsFunc(sets, func(s *dhis2Set) bool { return len(s.DataInputPeriods) == 0 || inputOpen(s, v.period.id, i.now) }) {
		return conflict("E7644", "period", "Period: `null` does not conform to the open periods of associated data sets", "")
	}
	if v.element.ValueType == "FILE_RESOURCE" || v.element.ValueType == "IMAGE" {
		return conflict("E7645", "value", "No data value for file resource exist for the given combination for data element: `"+v.elementText+"`",
			v.elementText, "dataElement", v.elementText)
	}
	return nil
}

// expired tells whether the period of the set is locked, or has ended more than the set's expiry days before today.
func (d *DHIS2) expired(set *dhis2Set, period dhis2Period, today time.Time) bool {
	if d.locked[[2]string{set.ID, period.id}] {
		return true
	}
	return set.ExpiryDays > 0 && today.Sub(period.end) > time.Duration(set.ExpiryDays*24)*time.Hour
}

// inputOpen tells whether the period is one of the set's input periods, and open now.
func inputOpen(set *dhis2Set, period string, now time.Time) bool {
	return slices.ContainsFunc(set.DataInputPeriods, func(p DHIS2InputPeriod) bool {
		opening, closing := dhis2Date(p.OpeningDate), dhis2Date(p.ClosingDate)
		return p.Period.ID == period && !now.Before(opening) && (closing.IsZero() || now.Before(closing.AddDate(0, 0, 1)))
	})
}

// storeValue writes a value that passed all checks, and counts it.
func (i *legacyImport) storeValue(index int, v *legacyValue) {
	cell := dhis2Cell{v.element.ID, v.period.id, v.place.ID, v.combo.ID, v.attribute.ID}
	count, before := &i.summary.ImportCount, i.store.rows[cell]
	row := dhis2Row{value: v.value, comment: v.comment, storedBy: v.storedBy, followUp: v.followUp, deleted: v.deleted}
	strategy, missing := strings.ToUpper(i.options.strategy), before == nil || before.deleted
	switch {
	case i.fresh[cell]:
		// A cell that is new and given twice keeps the first value, and is counted once.
		return
	case missing && i.options.deletes(), missing && strategy == "UPDATE", !missing && strategy == "CREATE":
		count.Ignored++
		i.summary.RejectedIndexes = append(i.summary.RejectedIndexes, index)
		return
	case before == nil && !v.deleted && insignificantZero(v.element, v.value):
		return
	case missing:
		count.Imported++
		i.fresh[cell] = before == nil
	case v.deleted || insignificantZero(v.element, v.value):
		count.Deleted++
		row.deleted = true
	case before.value == v.value && before.comment == v.comment && before.followUp == v.followUp:
		count.Ignored++
		return
	default:
		count.Updated++
	}
	if !i.options.dryRun {
		i.store.put(cell, row, i.now)
	}
}
