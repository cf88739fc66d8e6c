package sandbox

import (
	"cmp"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// dhis2Slice is what is registered as complete.
type dhis2Slice struct {
	dataSet, period, orgUnit, attribute string
}

// dhis2Completion says when and by whom, and whether it still holds.
type dhis2Completion struct {
	date      time.Time
	storedBy  string
	completed bool
}

// DHIS2Completion is whether a data set is registered as complete. Combinations are always told, the default one too.
type DHIS2Completion struct {
	DataSet, Period, OrgUnit, AttributeOptionCombo string
	StoredBy                                       string
	Completed                                      bool
}

// Completions gives what is registered as complete, and as not complete any more, sorted.
func (d *DHIS2) Completions() []DHIS2Completion {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []DHIS2Completion{}
	for slice, completion := range d.completed {
		list = append(list, DHIS2Completion{slice.dataSet, slice.period, slice.orgUnit, slice.attribute, completion.storedBy, completion.completed})
	}
	slices.SortFunc(list, func(a, b DHIS2Completion) int {
		return cmp.Or(cmp.Compare(a.DataSet, b.DataSet), cmp.Compare(a.Period, b.Period), cmp.Compare(a.OrgUnit, b.OrgUnit),
			cmp.Compare(a.AttributeOptionCombo, b.AttributeOptionCombo))
	})
	return list
}

// CompletionImports gives the POSTs of registrations that reached the import, in their order.
func (d *DHIS2) CompletionImports() []DHIS2Import {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.completionImports)
}

// importCompletions registers data sets as complete.
func (d *DHIS2) importCompletions(w http.ResponseWriter, r *http.Request, user *DHIS2User) {
	options, _ := readOptions(r.URL.Query())
	p := &dhis2Post{DHIS2: d, user: user, options: &options, summary: newSummary(&options)}
	p.summary.Description = "Import process complete."
	raw, _ := io.ReadAll(r.Body)
	data, _ := unpack(raw)
	body, wrong := parseJSON(data)
	if wrong != nil {
		source := "REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled)"
		if d.version.old() {
			source = "(BufferedInputStream)"
		}
		p.fail(javaError(data, wrong, source, "org.hisp.dhis.dxf2.dataset.CompleteDataSetRegistrations"))
	} else {
		p.options.readBody(body)
		p.completeEach(body.get("completeDataSetRegistrations").items)
	}
	envelope := p.summary.envelope(d.version.legacy())
	d.completionImports = append(d.completionImports, DHIS2Import{Raw: raw, Body: data, Query: r.URL.Query(), Status: envelope.HTTPStatusCode})
	d.writeStreamed(w, envelope.HTTPStatusCode, envelope)
}

// completeEach registers one after the other. All are ignored only when none is good.
func (p *dhis2Post) completeEach(registrations []jsonValue) {
	if !p.version.legacy() {
		for _, registration := range registrations {
			if id := registration.get("period").string(); len(id) < 4 || len(id) > 11 {
				p.fail("java.lang.IllegalArgumentException: Period must be have between 4 and 11 characters but got: `" + id + "`")
				return
			}
		}
	}
	for _, registration := range registrations {
		if object, text := p.completeOne(registration); text != "" {
			p.summary.ImportCount.Ignored++
			p.summary.Conflicts = append(p.summary.Conflicts, dhis2Conflict{Object: object, Value: text})
		}
	}
	if len(registrations) > 0 && p.summary.ImportCount.Ignored == len(registrations) {
		p.summary.Status = "ERROR"
	}
}

// completeOne registers one, or gives what is wrong with it.
func (p *dhis2Post) completeOne(from jsonValue) (object, text string) {
	legacy := p.version.legacy()
	setID, periodID, unitID := from.get("dataSet").string(), from.get("period").string(), from.get("organisationUnit").string()
	attributeID := from.get("attributeOptionCombo").string()
	set := p.index.sets.find(p.options.schemeOf("dataSet", legacy), setID)
	place := p.index.places.find(p.options.schemeOf("orgUnit", legacy), unitID)
	period, valid := parseDHIS2Period(periodID, p.calendar)
	attribute := p.index.optionCombos.find(p.options.schemeOf("attribute", legacy), cmp.Or(attributeID, p.index.defaultOptionCombo()))
	switch {
	case set == nil || !p.user.super() && !set.Sharing.readable():
		return setID, "Data set not found or not accessible"
	case !valid:
		return periodID, "Period not valid"
	case place == nil:
		return unitID, "Organisation unit not found or not accessible"
	case attribute == nil:
		return attributeID, "Attribute option combo not found or not accessible"
	case !p.user.super() && !set.Sharing.dataWritable():
		return "dataSet", "User does not have write access for DataSet: " + set.ID
	case !place.under(p.user.OrgUnits...):
		return unitID, "Organisation unit is not in hierarchy of user: " + p.user.Username
	}
	if element := p.compulsoryMissing(set, period.id, place.ID, attribute.ID); element != nil {
		return "dataElementOperand", element.Name + " needs to be filled. It is compulsory."
	}
	p.register(dhis2Slice{set.ID, period.id, place.ID, attribute.ID}, from)
	return "", ""
}

// compulsoryMissing gives the first compulsory element of the set that has no value.
func (p *dhis2Post) compulsoryMissing(set *dhis2Set, period, unit, attribute string) *dhis2Element {
	if !set.CompulsoryFieldsCompleteOnly {
		return nil
	}
	for _, operand := range set.CompulsoryDataElementOperands {
		element := p.index.elements.byID[operand.DataElement.ID]
		if element == nil {
			continue
		}
		filled := slices.ContainsFunc(element.combos, func(combo *dhis2Combo) bool {
			return slices.ContainsFunc(combo.options, func(option *dhis2OptionCombo) bool {
				if operand.CategoryOptionCombo != nil && operand.CategoryOptionCombo.ID != option.ID {
					return false
				}
				row := p.store.rows[dhis2Cell{element.ID, period, unit, option.ID, attribute}]
				return row != nil && !row.deleted
			})
		})
		if !filled {
			return element
		}
	}
	return nil
}

// register writes a registration, and counts it.
func (p *dhis2Post) register(slice dhis2Slice, from jsonValue) {
	before := p.completed[slice]
	if before != nil && p.options.deletes() {
		p.summary.ImportCount.Deleted++
	} else if before != nil {
		p.summary.ImportCount.Updated++
	} else {
		p.summary.ImportCount.Imported++
	}
	if p.options.dryRun {
		return
	}
	date := dhis2Date(from.get("date").string())
	if date.IsZero() {
		date = p.now().UTC()
	}
	p.completed[slice] = &dhis2Completion{
		date: date, storedBy: cmp.Or(from.get("storedBy").string(), p.user.Username),
		completed: from.get("completed").string() != "false",
	}
	if p.options.deletes() {
		delete(p.completed, slice)
	}
}

// readCompletions answers which data sets are registered as complete.
func (d *DHIS2) readCompletions(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var found []dhis2Slice
	for slice, completion := range d.completed {
		if slices.Contains(query["dataSet"], slice.dataSet) && d.inTime(query, slice.period, completion.date) && d.inUnits(query, slice.orgUnit) {
			found = append(found, slice)
		}
	}
	slices.SortFunc(found, func(a, b dhis2Slice) int {
		return cmp.Or(
			cmp.Compare(a.dataSet, b.dataSet), cmp.Compare(a.period, b.period),
			cmp.Compare(a.orgUnit, b.orgUnit), cmp.Compare(a.attribute, b.attribute),
		)
	})
	list := []map[string]any{}
	for _, slice := range found {
		completion := d.completed[slice]
		list = append(list, map[string]any{
			"dataSet": slice.dataSet, "period": slice.period, "organisationUnit": slice.orgUnit, "attributeOptionCombo": slice.attribute,
			"date": completion.date.Format(time.DateOnly), "storedBy": completion.storedBy, "completed": completion.completed,
		})
	}
	answer := map[string]any{}
	if limit := atoi(query.Get("limit"), len(list)); limit < len(list) {
		list = list[:limit]
	}
	if len(list) > 0 {
		answer["completeDataSetRegistrations"] = list
	}
	d.writeStreamed(w, http.StatusOK, answer)
}

// deleteCompletions undoes registrations.
func (d *DHIS2) deleteCompletions(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	for slice := range d.completed {
		place := d.index.places.byID[slice.orgUnit]
		below, _ := strconv.ParseBool(query.Get("multiOu"))
		there := slice.orgUnit == query.Get("ou") || below && place != nil && place.under(query.Get("ou"))
		if there && slice.period == query.Get("pe") && slices.Contains(query["ds"], slice.dataSet) {
			delete(d.completed, slice)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}
