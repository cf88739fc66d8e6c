package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// typeView lists contacts by type. It was not recorded: its form is that of the source of the CHT, all versions.
const typeView = "/medic/_design/medic-client/_view/contacts_by_type"

// typeRow is a row of that view, before it is written.
type typeRow struct {
	kind string
	row  *databaseRow
}

// typeKey reads a key of the view, a list of one type.
func typeKey(raw json.RawMessage) (kind string, ok bool) {
	var list []string
	if json.Unmarshal(raw, &list) != nil || len(list) != 1 {
		return "", false
	}
	return list[0], true
}

// serveTypes answers with a row for each contact, in the order of types, then of ids.
func (c *CHT) serveTypes(w http.ResponseWriter, r *http.Request, user *CHTUser) {
	if !online(user) {
		sendOffline(w, r)
		return
	}
	query, ok := readRange(r, typeKey)
	values := r.URL.Query()
	var document string
	for _, name := range []string{"startkey_docid", "start_key_doc_id"} {
		if values.Has(name) {
			document = values.Get(name)
		}
	}
	if !ok {
		sendBadQuery(w, r)
		return
	}
	c.state.Lock()
	c.database.read(c.documents)
	body := c.database.types(query, document)
	c.state.Unlock()
	sendDatabase(w, r, body)
}

// types gives the body of the answer. In the type of the first key only the document of that id and those after it are listed.
func (d *database) types(q rangeQuery, document string) []byte {
	if q.key != nil {
		q.start, q.end = q.key, q.key
	}
	all := d.typeRows()
	rows := slices.Clone(all)
	if q.keys != nil {
		rows = nil
		for _, kind := range q.keys {
			rows = append(rows, slices.DeleteFunc(slices.Clone(all), func(t typeRow) bool { return t.kind != kind })...)
		}
	}
	rows = slices.DeleteFunc(rows, func(t typeRow) bool {
		return q.start != nil && (t.kind < *q.start || t.kind == *q.start && t.row.id < document) || q.end != nil && t.kind > *q.end
	})
	body := fmt.Appendf(nil, `{"total_rows":%d,"offset":0,"rows":[`, len(all))
	for i, one := range cutRange(rows, q) {
		if i > 0 {
			body = append(body, ',')
		}
		body = d.appendType(body, one, q.docs)
	}
	return append(body, "]}"...)
}

// typeRows gives all rows of the view.
func (d *database) typeRows() []typeRow {
	var rows []typeRow
	for i := range d.rows {
		if contact := d.rows[i].contact; contact != nil {
			rows = append(rows, typeRow{contact.kind(), &d.rows[i]})
		}
	}
	slices.SortStableFunc(rows, func(a, b typeRow) int { return strings.Compare(a.kind, b.kind) })
	return rows
}

// appendType writes a row. Its value sorts the living first, and by name.
func (d *database) appendType(b []byte, t typeRow, docs bool) []byte {
	contact := t.row.contact
	b = append(b, `{"id":`...)
	b = append(appendText(b, contact.ID), `,"key":[`...)
	b = append(appendText(b, t.kind), `],"value":`...)
	b = appendText(b, fmt.Sprintf("%t %t %s %s", contact.DateOfDeath != 0, contact.Muted != "", t.kind, strings.ToLower(contact.Name)))
	if docs {
		b = append(b, `,"doc":`...)
		b = t.row.append(b, d.revision(t.row))
	}
	return append(b, '}')
}
