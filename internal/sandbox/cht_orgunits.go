package sandbox

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// orgUnitView lists the places that carry an org unit.
const orgUnitView = "/medic/_design/medic-admin/_view/contacts_by_dhis_orgunit"

// orgUnitRow is a row of that view, before it is written.
type orgUnitRow struct {
	orgUnit string
	row     *databaseRow
}

// orgUnits gives the body of the answer.
func (d *database) orgUnits(q rangeQuery) []byte {
	if q.key != nil {
		q.start, q.end = q.key, q.key
	}
	var rows []orgUnitRow
	for i := range d.rows {
		if d.rows[i].contact == nil {
			continue
		}
		for _, unit := range d.rows[i].contact.DHIS {
			if unit.OrgUnit != "" {
				rows = append(rows, orgUnitRow{unit.OrgUnit, &d.rows[i]})
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b orgUnitRow) int { return strings.Compare(a.orgUnit, b.orgUnit) })
	body := fmt.Appendf(nil, `{"total_rows":%d,"offset":0,"rows":[`, len(rows))
	rows = slices.DeleteFunc(rows, func(o orgUnitRow) bool {
		return q.start != nil && o.orgUnit < *q.start || q.end != nil && o.orgUnit > *q.end ||
			q.keys != nil && !slices.Contains(q.keys, o.orgUnit)
	})
	for i, one := range cutRange(rows, q) {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"key":`...)
		body = append(appendText(body, one.orgUnit), `,"id":`...)
		body = append(appendText(body, one.row.id), `,"value":null`...)
		if q.docs {
			body = append(body, `,"doc":`...)
			body = one.row.append(body, d.revision(one.row))
		}
		body = append(body, '}')
	}
	return append(body, "]}"...)
}

// sendAs answers with a status that is no success.
func (b *chtBody) sendAs(w http.ResponseWriter, r *http.Request, status int) {
	w.Header().Set("ETag", b.etag)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	send(w, r, status, b.plain)
}
