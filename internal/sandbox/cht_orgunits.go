package sandbox

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
)

// orgUnitView lists the places that carry an org unit.
const orgUnitView = "/medic/_design/medic-admin/_view/contacts_by_dhis_orgunit"

// chtOrgUnitRow is a row of that view. Doc is there when it is asked for.
type chtOrgUnitRow struct {
	Key   string      `json:"key"`
	ID    string      `json:"id"`
	Value *struct{}   `json:"value"`
	Doc   *CHTContact `json:"doc,omitempty"`
}

// serveOrgUnits answers with a row for each org unit of each contact, in the order of the org units.
func (c *CHT) serveOrgUnits(w http.ResponseWriter, r *http.Request, user *CHTUser) {
	if !online(user) {
		newCHTBody([]byte(`{"code":403,"error":"forbidden","details":"Offline users are not allowed access to this endpoint"}`)).sendAs(w, r, http.StatusForbidden)
		return
	}
	c.state.Lock()
	rows := []chtOrgUnitRow{}
	contacts := c.documents.contacts()
	for _, id := range slices.Sorted(maps.Keys(contacts)) {
		for _, unit := range contacts[id].DHIS {
			row := chtOrgUnitRow{Key: unit.OrgUnit, ID: id}
			if r.URL.Query().Get("include_docs") == "true" {
				row.Doc = contacts[id]
			}
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b chtOrgUnitRow) int { return cmp.Compare(a.Key, b.Key) })
	text := marshal(struct {
		Total  int             `json:"total_rows"`
		Offset int             `json:"offset"`
		Rows   []chtOrgUnitRow `json:"rows"`
	}{len(rows), 0, rows})
	c.state.Unlock()
	body := newCHTBody(text)
	w.Header().Set("ETag", body.etag)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("WWW-Authenticate", "Cookie")
	send(w, r, http.StatusOK, body.plain)
}

// sendAs answers with a status that is no success.
func (b *chtBody) sendAs(w http.ResponseWriter, r *http.Request, status int) {
	w.Header().Set("ETag", b.etag)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	send(w, r, status, b.plain)
}
