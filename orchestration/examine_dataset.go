package orchestration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/target"
	"github.com/cht-dhis2/mediator/internal/validation"
)

// destinationSet looks at a data set in DHIS2, and lays beside it what each of its sources says.
func (r *examining) destinationSet(ctx context.Context, p sheet, s Destination, set DataSet) {
	found, err := r.Submitter.ReadDataSet(ctx, set)
	if err != nil {
		p.red("", ReasonOf(err), err)
		return
	}
	r.destinations[s.Name].sets[set.ID] = found
	if err := set.checkPeriodType(found); err != nil {
		p.red("", NothingAccepted, err).Who = dhis2Admin + ", " + us
		return
	}
	writable := "writable"
	if !found.CanWrite {
		writable = "not writable"
	}
	p.green("", fmt.Sprintf("%s, %s, %s", found.Name, found.PeriodType, writable))
	setRights(p, set, found)
	setPeriods(p, set, found, r.destinations[s.Name].server)
	units := &dhis2.OrgUnits{}
	err = s.Client.OrgUnits(ctx, found.ID, units.Add)
	switch {
	case err != nil:
		p.red("org units", ReasonOf(err), err)
		units = nil
	case units.Len() == 0:
		p.red("org units", NothingAccepted, faulty("assign the data set to the org units of the CHT's places, in DHIS2's maintenance app", "the data set is assigned to no org unit"))
	}
	for _, name := range set.CHT {
		source := r.sources[name]
		if source.settings == nil {
			continue
		}
		b := beside{sheet: p, set: set, found: found, source: name, server: r.destinations[s.Name].server, user: r.destinations[s.Name].user, units: units}
		period, err := latestClosed(&set, source.settings, r.now, r.Submitter.Sources[name].zone())
		if err != nil {
			continue // the clock is centuries off, which others tell
		}
		b.period = period
		b.elements(source.settings)
		if source.orgUnits != nil && units != nil && b.user != nil {
			r.orgUnits(ctx, b, s, source.orgUnits)
		}
	}
	r.shared(p, set, found)
	if units != nil {
		r.rules(p, set, units)
	}
}

// setRights looks at what the account may do with the data of a set.
func setRights(p sheet, set DataSet, found dhis2.DataSet) {
	if found.CanWrite {
		p.green("data writing", "the account may write data of "+found.Name)
	} else {
		p.red("data writing", NothingAccepted, faulty("share the data set with the account (capture data)", "the account may not write data of %s", found.Name))
	}
	switch {
	case found.CanRead:
		p.green("data reading", "the account may read data of "+found.Name)
	case set.Compare.LedgerOnly:
		p.green("data reading", "the account may not, and nothing is read, as compare is ledger")
	default:
		p.amber("data reading", "the account may not read data of "+found.Name, "share the data set with the account (view data), or set compare to ledger").Who = dhis2Admin + ", " + us
	}
	if options := readOnly(found); len(options) > 0 {
		p.amber("category options", "the account may not write data of the category options "+firstOf(options), "share these category options with the account (capture data)")
	}
	if len(found.AttributeOptionCombos) > 0 && set.Rules.AttributeOptionCombo == "" {
		p.amber("categories", found.Name+" has categories of its own, and no attribute_option_combo is set", "set attribute_option_combo, unless the CHT's targets give one").Who = us
	}
}

// readOnly are the category options of a set to which the account may not write.
func readOnly(set dhis2.DataSet) []string {
	options := map[string]bool{}
	note := func(combo *dhis2.CategoryCombo) {
		if combo == nil {
			return
		}
		for _, one := range combo.Combos {
			for _, option := range one.ReadOnly {
				options[option] = true
			}
		}
	}
	note(set.Combo)
	for _, element := range set.Elements {
		note(element.Combo)
	}
	return slices.Sorted(maps.Keys(options))
}

// setPeriods tells when DHIS2 takes a period of a set, and what it asks besides.
func setPeriods(p sheet, set DataSet, found dhis2.DataSet, server dhis2.Server) {
	var rules []string
	if found.ExpiryDays > 0 {
		rules = append(rules, fmt.Sprintf("a %s is locked %s after its end", spanOf(found.PeriodType), counted(found.ExpiryDays, "day")))
	}
	if len(found.InputPeriods) > 0 {
		rules = append(rules, counted(len(found.InputPeriods), "input period")+" may be entered")
	}
	text := fmt.Sprintf("a %s stays open for ever", spanOf(found.PeriodType))
	if len(rules) > 0 {
		text = strings.Join(rules, "; ")
	}
	if len(found.InputPeriods) > 0 && validation.InvertsInputPeriods(server.Version) {
		p.amber("periods", text+"; this version refuses those that are open", "update DHIS2 to a version after 2.43.1, or take the input periods off the data set")
	} else {
		p.green("periods", text)
	}
	if set.Completeness.WhenAccepted && found.CompulsoryOnly {
		p.amber("completeness", "DHIS2 registers an org unit as complete only where the compulsory fields of the form are filled in, those that no CHT gives too",
			"take \"complete allowed only if compulsory fields are filled\" off the data set, or let completeness be off").Who = dhis2Admin + ", " + us
	}
	if found.Workflow != "" {
		p.green("approval", "the data set has an approval workflow; what is approved is left alone")
	}
}

// firstNames is how many ids of many are named.
const firstNames = 5

// firstOf names the first of many.
func firstOf(names []string) string {
	if len(names) <= firstNames {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:firstNames], ", "), len(names)-firstNames)
}

// beside is a data set of one source and its DHIS2, side by side.
type beside struct {
	sheet

	set    DataSet
	found  dhis2.DataSet
	source string
	server dhis2.Server
	user   *dhis2.User
	period dhis2.Period
	// units are the org units that the set is assigned to; nil where nobody knows them.
	units *dhis2.OrgUnits
}

// checks are those that each value passes before it is sent. Others are org units that there are, beside the set's own.
func (b beside) checks(others map[string]dhis2.OrgUnit) *validation.Checks {
	facts := validation.Facts{Server: b.server, Set: &b.found, Period: b.period, OrgUnits: b.units, Others: others}
	if b.user != nil {
		facts.User = *b.user
	}
	return validation.New(facts)
}

// troubled gathers what is wrong with several things for one reason.
type troubled struct {
	code, text, remedy string
	ids                []string
	has                map[string]bool
}

// gather takes a thing in, once for each reason.
func gather(list []troubled, id, code, text, remedy string) []troubled {
	at := slices.IndexFunc(list, func(t troubled) bool { return t.code == code })
	if at < 0 {
		return append(list, troubled{code, text, remedy, []string{id}, map[string]bool{id: true}})
	}
	if t := &list[at]; !t.has[id] {
		t.ids, t.has[id] = append(t.ids, id), true
	}
	return list
}

// elements asks of each target of the CHT whether a value of it would be taken.
func (b beside) elements(settings *cht.Settings) {
	// Which org unit a value is of plays no part here, so no rule about them may.
	rules := b.set.Rules
	rules.IncludeOrgUnits, rules.ExcludeOrgUnits, rules.RenameOrgUnits = nil, nil, nil
	found := b.found
	found.Names.OrgUnits = nil
	targets, exported := settings.Targets, settings
	if b.set.FromTargets {
		targets, exported = itemsAsTargets(itemsOf(&b.set, settings)), &cht.Settings{}
	}
	m, checks := mapping.New(rules, exported, found), b.checks(nil)
	var list []troubled
	fed := map[string]bool{}
	for _, target := range targets {
		if !target.For(b.set.ID) || target.Listed {
			continue
		}
		var cell mapping.Cell
		if m.Take(valueOfTarget(target), &cell) != mapping.Taken || cell.Fault == mapping.Collapsed { // a rule, or the row about shared elements, has it
			continue
		}
		fed[cell.DataElement] = true
		if cell.Fault != "" {
			found := cell.Issue()
			list = gather(list, cell.DataElement, found.Code, found.Text, found.Remedy)
			continue
		}
		v := mapping.Value{AttributeOptionCombo: cell.AttributeOptionCombo, DataValue: dhis2.DataValue{
			DataElement: cell.DataElement, OrgUnit: anyOrgUnit, CategoryOptionCombo: cell.CategoryOptionCombo,
		}}
		if found := b.unfit(checks, v); found != nil {
			list = gather(list, cell.DataElement, found.Code, found.Text, found.Remedy)
		}
	}
	b.tell("elements", list, len(fed))
	if len(list) == 0 {
		b.green("elements", b.fitting(checks, fed))
	}
}

// itemsAsTargets writes items as targets of the CHT's settings that lead to the same cells.
func itemsAsTargets(items []target.Item) []cht.Target {
	var targets []cht.Target
	for _, i := range items {
		targets = append(targets, cht.Target{ID: i.Target, DataElement: i.DataElement, CategoryOptionCombo: i.CategoryOptionCombo, AttributeOptionCombo: i.AttributeOptionCombo})
	}
	return targets
}

// unfit says why a count of a cell would not be taken: the usual one, none, or a large one.
func (b beside) unfit(checks *validation.Checks, v mapping.Value) *validation.Finding {
	for _, count := range []string{"1", "0", "1000"} {
		if v.Value = count; count == "0" && (b.set.Rules.DropZeros || checks.DropsZero(&v)) {
			continue // it is not sent, or not kept
		}
		if found := checks.Value(&v); found != nil {
			return found
		}
	}
	if element := b.found.Elements[v.DataElement]; !isCount(element.ValueType) {
		return &validation.Finding{
			Code: "value_type", Text: fmt.Sprintf("data element %s is %s, so that its figures add up to nothing", v.DataElement, element.ValueType),
			Remedy: "change its value type in DHIS2 to a number",
		}
	}
	return nil
}

// isCount says that DHIS2 adds values of a type up.
func isCount(valueType string) bool {
	switch valueType {
	case "INTEGER", "INTEGER_POSITIVE", "INTEGER_ZERO_OR_POSITIVE", "NUMBER", "UNIT_INTERVAL", "PERCENTAGE":
		return true
	default:
		return false
	}
}

// fitting tells of data elements that all fit what else is worth knowing of them.
func (b beside) fitting(checks *validation.Checks, fed map[string]bool) string {
	unfed, forgetful := 0, 0
	for id := range b.found.Elements {
		switch {
		case !fed[id]:
			unfed++
		case checks.DropsZero(&mapping.Value{DataValue: dhis2.DataValue{DataElement: id, Value: "0"}}):
			forgetful++
		}
	}
	text := fmt.Sprintf("all %s of CHT %s fit", counted(len(fed), "data element"), b.source)
	if unfed > 0 {
		text += fmt.Sprintf("; %d more of the data set get nothing from it", unfed)
	}
	if forgetful > 0 {
		text += fmt.Sprintf("; of %d DHIS2 keeps no zero, as zero is not significant", forgetful)
	}
	return text
}

// anyOrgUnit has the form of an org unit's id.
const anyOrgUnit = "Aaaaaaaaaaa"

// valueOfTarget is a value as the export gives it for a target.
func valueOfTarget(t cht.Target) *cht.Value {
	text := func(s string) cht.Field {
		if s == "" {
			return cht.Field{}
		}
		return cht.Field{Kind: cht.String, Text: s}
	}
	return &cht.Value{
		OrgUnit: text(anyOrgUnit), DataElement: text(t.DataElement), Value: cht.Field{Kind: cht.Number, Text: "1"},
		CategoryOptionCombo: text(t.CategoryOptionCombo), AttributeOptionCombo: text(t.AttributeOptionCombo),
	}
}

// tell writes down what is wrong with some of many things.
func (b beside) tell(check string, list []troubled, all int) {
	for _, t := range list {
		f := Finding{
			State: Amber, Who: b.who + ", " + chtAdmin + ", " + us, Remedy: t.remedy,
			Detail: fmt.Sprintf("%d of %d %s of CHT %s (%s): %s", len(t.ids), all, check, b.source, firstOf(t.ids), t.text),
		}
		if len(t.ids) == all {
			f.State, f.Reason = Red, NothingAccepted
		}
		b.add(check, f)
	}
}

// orgUnits lays the org units on the CHT's places beside those that the data set is assigned to.
func (r *examining) orgUnits(ctx context.Context, b beside, s Destination, places []cht.OrgUnit) {
	wanted := b.wanted(places)
	var missing []string
	for _, id := range wanted {
		if !b.units.Has(id) {
			missing = append(missing, id)
		}
	}
	others := map[string]dhis2.OrgUnit{}
	if err := s.Client.OrgUnitsByID(ctx, missing, func(o dhis2.OrgUnit) { others[o.ID] = o }); err != nil {
		b.amber("org units", err.Error(), hintOf(err))
		return
	}
	checks := b.checks(others)
	var list []troubled
	for _, id := range wanted {
		if found := checks.OrgUnit(id); found != nil && !found.Locks {
			list = gather(list, id, found.Code, found.Text, found.Remedy)
		}
	}
	b.tell("org units", list, len(wanted))
	if len(wanted) == 0 {
		b.red("org units", NothingAccepted, faulty("set dhis.orgUnit on the CHT's places", "no place of CHT %s carries an org unit of the data set", b.source)).Who = chtAdmin
		return
	}
	if len(list) == 0 {
		b.green("org units", fmt.Sprintf("all %s of CHT %s fit", counted(len(wanted), "org unit"), b.source))
	}
	b.nested(wanted)
	r.unreported(b)
}

// wanted are the org units of the places under their ids in DHIS2, as the rules take them, each once.
func (b beside) wanted(places []cht.OrgUnit) []string {
	ids := map[string]bool{}
	m := mapping.New(b.set.Rules, &cht.Settings{}, b.found)
	for _, place := range places {
		var cell mapping.Cell
		if !place.For(b.set.ID) {
			continue
		}
		v := cht.Value{OrgUnit: cht.Field{Kind: cht.String, Text: place.ID}, Value: cht.Field{Kind: cht.Number, Text: "1"}}
		if m.Take(&v, &cell) == mapping.Taken {
			ids[cell.OrgUnit] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// nested finds org units above others that may be sent as well. Whether they are is known once there are figures.
func (b beside) nested(wanted []string) {
	sent := map[string]bool{}
	for _, id := range wanted {
		sent[id] = true
	}
	below, above := 0, map[string]bool{}
	for _, id := range wanted {
		unit, _ := b.units.Get(id)
		path := strings.Split(strings.Trim(unit.Path, "/"), "/")
		inside := false
		for _, one := range path[:max(0, len(path)-1)] {
			if sent[one] {
				inside, above[one] = true, true
			}
		}
		if inside {
			below++
		}
	}
	if by := b.set.Targets; below == 0 || b.set.FromTargets && (by.Lowest || by.Level != "") {
		return
	}
	outer := slices.Sorted(maps.Keys(above))
	text := fmt.Sprintf("%d of the org units of CHT %s lie below others that carry figures as well: %s", below, b.source, firstOf(outer))
	switch b.set.Nested {
	case LowestNested:
		b.green("nesting", text+"; the values of these are left out, by nested_org_units")
	case AllowNested:
		b.amber("nesting", text+"; both are sent, so that DHIS2's totals count them twice", "set nested_org_units to refuse or lowest, or leave the upper ones out with exclude_org_units").Who = chtAdmin + ", " + us
	default:
		b.amber("nesting", text+"; the values of these stay behind", "take dhis.orgUnit off the upper places in the CHT, leave them out with exclude_org_units, or let nested_org_units be lowest or allow").Who = chtAdmin + ", " + us
	}
}

// shared finds org units that several sources give.
func (r *examining) shared(p sheet, set DataSet, found dhis2.DataSet) {
	if set.Compare.AddUp {
		return
	}
	of := map[string][]string{}
	for _, source := range set.CHT {
		for _, id := range (beside{set: set, found: found}).wanted(r.sources[source].orgUnits) {
			of[id] = append(of[id], source)
		}
	}
	var several, sources []string
	for _, id := range slices.Sorted(maps.Keys(of)) {
		if len(of[id]) > 1 {
			several, sources = append(several, id), of[id]
		}
	}
	if len(several) > 0 {
		p.amber("org units", fmt.Sprintf("%s are on places of several CHT servers, such as %s: %s", counted(len(several), "org unit"), strings.Join(sources, " and "), firstOf(several)),
			"take dhis.orgUnit off the places of all but one, or set shared_org_units to add").Who = chtAdmin + ", " + us
	}
}

// fewAbsent is what part of the org units may be absent for it to look like an oversight: where more are, the data set is also
// filled in on other ways.
const fewAbsent = 5

// unreported finds, once all sources of a data set are known, org units that it is assigned to and that no CHT gives.
func (r *examining) unreported(b beside) {
	if b.source != b.set.CHT[len(b.set.CHT)-1] {
		return
	}
	given := map[string]bool{}
	b.set.Rules.IncludeOrgUnits, b.set.Rules.ExcludeOrgUnits = nil, nil // what a rule leaves out was not forgotten
	for _, name := range b.set.CHT {
		if r.sources[name].orgUnits == nil {
			return
		}
		for _, id := range b.wanted(r.sources[name].orgUnits) {
			given[id] = true
		}
	}
	var absent []string
	for _, id := range b.units.IDs() {
		unit, _ := b.units.Get(id)
		if closes := unit.Closes; !given[id] && (closes == "" || closes >= r.now.Format(time.DateOnly)) {
			absent = append(absent, id)
		}
	}
	text := fmt.Sprintf("%d of %d that the data set is assigned to are on no place of a CHT: %s", len(absent), b.units.Len(), firstOf(absent))
	switch {
	case len(absent) == 0:
	case len(absent)*fewAbsent > b.units.Len():
		b.green("org units", text+"; so many are filled in in another way")
	default:
		b.amber("org units", text, "set dhis.orgUnit on their places, unless they report in another way").Who = chtAdmin
	}
}
