package sandbox

import (
	"cmp"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// readValues answers stored values.
func (d *DHIS2) readValues(w http.ResponseWriter, r *http.Request, user *DHIS2User) {
	query := r.URL.Query()
	if code, message := d.wrongQuery(query, user); code != "" {
		d.writeFailure(w, http.StatusConflict, code, message)
		return
	}
	if outside := d.outsideUnits(query, user); len(outside) > 0 {
		if !d.version.legacy() {
			d.writeFailure(w, http.StatusConflict, "E2012", "User is not allowed to view org unit(s): `"+listText(outside)+"`")
			return
		}
		// Up to 2.42 nothing at all is said.
		w.Header().Set("Content-Type", d.streamedType())
		return
	}
	answer := d.valuesHeader(query)
	answer["dataValues"] = d.valuesList(query)
	name, packed := "dataValues."+cmp.Or(query.Get("format"), "json"), query.Get("compression") == "gzip"
	switch {
	case packed && d.version.legacy():
		w.Header().Set("Content-Disposition", "attachment; filename="+name+".gz")
	case packed:
		w.Header().Set("Content-Disposition", `attachment; filename="`+name+`.gz"`)
	case !d.version.legacy():
		w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	}
	if packed {
		writePacked(w, d.streamedType(), answer)
		return
	}
	d.writeStreamed(w, http.StatusOK, answer)
}

// writePacked sends gzip without saying so in Content-Encoding.
func writePacked(w http.ResponseWriter, contentType string, answer any) {
	w.Header().Set("Content-Type", contentType)
	writer := gzip.NewWriter(w)
	_ = json.NewEncoder(writer).Encode(answer)
	_ = writer.Close()
}

// wrongQuery tells what a query lacks.
func (d *DHIS2) wrongQuery(query url.Values, user *DHIS2User) (code, message string) {
	readable, hidden := 0, []string{}
	for _, id := range query["dataSet"] {
		set := d.index.sets.byID[id]
		if set != nil && !user.super() && !set.Sharing.dataReadable() {
			hidden = append(hidden, id)
		} else if set != nil || !d.version.legacy() {
			readable++
		}
	}
	if !d.version.legacy() && len(hidden) > 0 {
		return "E2010", "User is not allowed to read data for data set(s): `" + listText(hidden) + "`"
	}
	if readable == 0 && !query.Has("dataElement") && !query.Has("dataElementGroup") {
		return "E2001", "At least one data element, data set or data element group must be specified"
	}
	recent := query.Has("lastUpdated") || query.Has("lastUpdatedDuration")
	if !query.Has("period") && !query.Has("startDate") && (!recent || d.version.unmended()) {
		return "E2002", "At least one period, start/end dates, last updated or last updated duration must be specified"
	}
	if !query.Has("orgUnit") && !query.Has("orgUnitGroup") {
		return "E2006", "At least one organisation unit or organisation unit group must be specified"
	}
	return "", ""
}

// outsideUnits gives the org units that were asked for and that the user may not see.
func (d *DHIS2) outsideUnits(query url.Values, user *DHIS2User) []string {
	var outside []string
	for _, id := range query["orgUnit"] {
		if place := d.index.places.byID[id]; !user.super() && (place == nil || !place.under(user.OrgUnits...)) {
			outside = append(outside, id)
		}
	}
	return outside
}

// valuesHeader gives what an answer says of all its values: from the query, when it has one of a kind.
func (d *DHIS2) valuesHeader(query url.Values) map[string]any {
	header := map[string]any{}
	single := func(name string) bool { return len(query[name]) == 1 }
	if d.version.legacy() {
		if single("dataSet") && single("period") && single("orgUnit") {
			header["dataSet"], header["period"], header["orgUnit"] = query.Get("dataSet"), query.Get("period"), query.Get("orgUnit")
			header["completeDate"] = d.completeDate(query)
		}
		return header
	}
	for _, name := range []string{"dataSet", "period", "orgUnit", "attributeOptionCombo"} {
		if single(name) && (name != "orgUnit" || query.Get("children") != "true") {
			header[name] = query.Get(name)
		}
	}
	return header
}

// completeDate gives when the one data set that was asked for was completed, nil when it was not.
func (d *DHIS2) completeDate(query url.Values) any {
	attribute := cmp.Or(query.Get("attributeOptionCombo"), d.index.defaultOptionCombo())
	completion := d.completed[dhis2Slice{query.Get("dataSet"), query.Get("period"), query.Get("orgUnit"), attribute}]
	if completion == nil {
		return nil
	}
	return dhis2Moment(completion.date, true)
}

// dhis2Moment writes a time as values have it, up to 2.42 without the fraction of a second.
func dhis2Moment(t time.Time, whole bool) string {
	if whole {
		t = t.Truncate(time.Second)
	}
	return t.UTC().Format("2006-01-02T15:04:05.000") + "+0000"
}

// valuesList gives the values that were asked for, in the order in which the database comes upon them.
func (d *DHIS2) valuesList(query url.Values) []map[string]any {
	elements := d.wantedElements(query)
	type found struct {
		cell dhis2Cell
		row  *dhis2Row
	}
	var all []found
	for cell, row := range d.store.rows {
		switch {
		case !elements[cell.dataElement], row.deleted && query.Get("includeDeleted") != "true":
		case query.Has("attributeOptionCombo") && !slices.Contains(query["attributeOptionCombo"], cell.attribute):
		case d.inTime(query, cell.period, row.updated) && d.inUnits(query, cell.orgUnit):
			all = append(all, found{cell, row})
		}
	}
	slices.SortFunc(all, func(a, b found) int {
		if d.version.legacy() {
			return cmp.Compare(a.row.written, b.row.written)
		}
		return cmp.Compare(a.row.made, b.row.made)
	})
	if limit := atoi(query.Get("limit"), len(all)); limit < len(all) {
		all = all[:limit]
	}
	header := d.valuesHeader(query)
	list := make([]map[string]any, len(all))
	for i, f := range all {
		list[i] = d.valueItem(f.cell, f.row, header)
	}
	return list
}

// valueItem shows one value. From 2.43 on it leaves out what the header tells, and what is not there.
func (d *DHIS2) valueItem(cell dhis2Cell, row *dhis2Row, header map[string]any) map[string]any {
	legacy := d.version.legacy()
	item := map[string]any{
		"dataElement": cell.dataElement, "period": cell.period, "orgUnit": cell.orgUnit,
		"categoryOptionCombo": cell.combo, "attributeOptionCombo": cell.attribute, "value": row.value,
		"storedBy": row.storedBy, "created": dhis2Moment(row.created, legacy), "lastUpdated": dhis2Moment(row.updated, legacy),
	}
	if row.comment != "" {
		item["comment"] = row.comment
	}
	if row.followUp || legacy {
		item["followup"] = row.followUp
	}
	if row.deleted {
		item["deleted"] = true
	}
	if legacy {
		if row.comment == "" {
			item["comment"] = nil
		}
		return item
	}
	for name := range header {
		delete(item, name)
	}
	return item
}

// wantedElements gives the data elements that were asked for. The values of an element come back whichever of its
// data sets was asked for.
func (d *DHIS2) wantedElements(query url.Values) map[string]bool {
	wanted := map[string]bool{}
	for _, id := range query["dataElement"] {
		wanted[id] = true
	}
	for _, id := range query["dataSet"] {
		if set := d.index.sets.byID[id]; set != nil {
			for element := range set.elements {
				wanted[element] = true
			}
		}
	}
	return wanted
}

// inTime tells whether the period, and the time of the last change, are among those asked for.
func (d *DHIS2) inTime(query url.Values, period string, changed time.Time) bool {
	if query.Has("period") && !slices.Contains(query["period"], period) {
		return false
	}
	if query.Has("startDate") {
		p, _ := parseDHIS2Period(period, d.calendar)
		end := dhis2Date(query.Get("endDate"))
		if p.start.Before(dhis2Date(query.Get("startDate"))) || !end.IsZero() && p.end.After(end) {
			return false
		}
	}
	if since := query.Get("lastUpdated"); since != "" && changed.Before(dhis2Date(since)) {
		return false
	}
	length := query.Get("lastUpdatedDuration")
	return length == "" || !changed.Before(d.now().Add(-dhis2Duration(length)))
}

// dhis2Duration reads a duration such as 10d, 2h or 30m.
func dhis2Duration(text string) time.Duration {
	unit := map[byte]time.Duration{'d': 24 * time.Hour, 'h': time.Hour, 'm': time.Minute, 's': time.Second}[text[len(text)-1]]
	number, _ := strconv.Atoi(text[:len(text)-1])
	return time.Duration(number) * unit
}

// inUnits tells whether the org unit is among those asked for, or below one of them when children were asked for.
func (d *DHIS2) inUnits(query url.Values, id string) bool {
	if query.Get("children") != "true" {
		return slices.Contains(query["orgUnit"], id)
	}
	place := d.index.places.byID[id]
	return place != nil && place.under(query["orgUnit"]...)
}
