package sandbox

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// allDocs lists documents by id.
const allDocs = "/medic/_all_docs"

// rangeQuery is which rows of a list or a view are asked for.
type rangeQuery struct {
	start, end, key *string
	// keys are nil where none are given.
	keys []string
	// limit is -1 where there is none.
	limit, skip int
	docs        bool
}

// readRange reads a query whose keys are text, in JSON. Not ok is a query that the database refuses, and one that the stand-in
// does not serve: a wrong answer would be worse.
func readRange(r *http.Request, key func(json.RawMessage) (string, bool)) (q rangeQuery, ok bool) {
	values := r.URL.Query()
	q.limit, q.docs = -1, values.Get("include_docs") == "true"
	for name, into := range map[string]**string{"startkey": &q.start, "start_key": &q.start, "endkey": &q.end, "end_key": &q.end, "key": &q.key} {
		text, there := values[name]
		if !there {
			continue
		}
		value, ok := key(json.RawMessage(text[0]))
		if !ok {
			return q, false
		}
		*into = &value
	}
	for name, into := range map[string]*int{"limit": &q.limit, "skip": &q.skip} {
		number, err := strconv.Atoi(values.Get(name))
		if values.Has(name) && (err != nil || number < 0) {
			return q, false
		}
		if values.Has(name) {
			*into = number
		}
	}
	return q, servedRange(values) && q.readKeys(r, key)
}

// servedRange tells whether the query asks for nothing that the stand-in does not serve.
func servedRange(values url.Values) bool {
	known := []string{
		"startkey", "start_key", "endkey", "end_key", "key", "keys", "limit", "skip", "include_docs", "reduce", "startkey_docid", "start_key_doc_id",
	}
	for name := range values {
		if !slices.Contains(known, name) {
			return false
		}
	}
	return values.Get("reduce") != "true"
}

// readKeys reads the keys of a POST, or of the query.
func (q *rangeQuery) readKeys(r *http.Request, key func(json.RawMessage) (string, bool)) bool {
	text := []byte(`{"keys":` + r.URL.Query().Get("keys") + `}`)
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return false
		}
		text = body
	} else if !r.URL.Query().Has("keys") {
		return true
	}
	var body struct{ Keys []json.RawMessage }
	if json.Unmarshal(text, &body) != nil {
		return false
	}
	if body.Keys == nil {
		return true
	}
	q.keys = make([]string, 0, len(body.Keys))
	for _, one := range body.Keys {
		value, ok := key(one)
		if !ok {
			return false
		}
		q.keys = append(q.keys, value)
	}
	return true
}

// textKey reads a key that is text.
func textKey(raw json.RawMessage) (text string, ok bool) {
	return text, strings.HasPrefix(string(raw), `"`) && json.Unmarshal(raw, &text) == nil
}

// serveRange answers with the rows of a range of keys, or of the keys that are given: of all documents by their ids, or of a row for
// each org unit of each contact, in the order of the org units.
func (c *CHT) serveRange(w http.ResponseWriter, r *http.Request, user *CHTUser, rows func(*database, rangeQuery) []byte) {
	if !online(user) {
		sendOffline(w, r)
		return
	}
	query, ok := readRange(r, textKey)
	if !ok {
		sendBadQuery(w, r)
		return
	}
	c.state.Lock()
	c.database.read(c.documents)
	body := rows(&c.database, query)
	c.state.Unlock()
	sendDatabase(w, r, body)
}

// allDocs gives the body of the answer. The offset is always 0, as in the recordings: CouchDB itself counts the documents before.
func (d *database) allDocs(q rangeQuery) []byte {
	total := strconv.Itoa(len(d.rows) + hiddenDocuments)
	if q.keys != nil {
		body := []byte(`{"offset":0,"total_rows":` + total + `,"rows":[`)
		return d.appendKeys(body, q)
	}
	body := []byte(`{"total_rows":` + total + `,"offset":0,"rows":[`)
	rows := cutRange(d.between(q), q)
	for i := range rows {
		if i > 0 {
			body = append(body, ',')
		}
		body = d.appendRow(body, &rows[i], q.docs)
	}
	return append(body, "]}"...)
}

// between gives the rows of the range, all where there is none.
func (d *database) between(q rangeQuery) []databaseRow {
	if q.key != nil {
		q.start, q.end = q.key, q.key
	}
	from, to := 0, len(d.rows)
	compare := func(r databaseRow, id string) int { return strings.Compare(r.id, id) }
	if q.start != nil {
		from, _ = slices.BinarySearchFunc(d.rows, *q.start, compare)
	}
	if q.end != nil {
		at, there := slices.BinarySearchFunc(d.rows, *q.end, compare)
		if to = at; there {
			to++
		}
	}
	return d.rows[from:max(from, to)]
}

// cutRange skips rows, and gives no more than the limit.
func cutRange[T any](rows []T, q rangeQuery) []T {
	rows = rows[min(q.skip, len(rows)):]
	if q.limit >= 0 {
		rows = rows[:min(q.limit, len(rows))]
	}
	return rows
}

// appendRow writes the row of a document.
func (d *database) appendRow(b []byte, row *databaseRow, docs bool) []byte {
	rev := d.revision(row)
	b = append(b, `{"id":`...)
	b = appendText(b, row.id)
	b = append(b, `,"key":`...)
	b = appendText(b, row.id)
	b = append(b, `,"value":{"rev":"`...)
	b = append(b, rev...)
	b = append(b, `"}`...)
	if docs {
		b = append(b, `,"doc":`...)
		b = row.append(b, rev)
	}
	return append(b, '}')
}

// appendKeys writes a row for each key: of a document that is there, that was deleted, or that nobody knows.
func (d *database) appendKeys(b []byte, q rangeQuery) []byte {
	for i, id := range cutRange(q.keys, q) {
		if i > 0 {
			b = append(b, ',')
		}
		if row := d.find(id); row != nil {
			b = d.appendRow(b, row, q.docs)
			continue
		}
		last := d.deleted(id)
		if last == nil {
			b = append(b, `{"key":`...)
			b = append(appendText(b, id), `,"error":"not_found"}`...)
			continue
		}
		b = append(b, `{"id":`...)
		b = append(appendText(b, id), `,"key":`...)
		b = append(appendText(b, id), `,"value":{"rev":"`+last.String()+`","deleted":true}`...)
		if q.docs {
			b = append(b, `,"doc":null`...)
		}
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

// sendDatabase answers with what the database said, which ends its line, and the CHT passes on.
func sendDatabase(w http.ResponseWriter, r *http.Request, body []byte) {
	body = append(body, '\n')
	w.Header().Set("ETag", newCHTBody(body).etag)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("WWW-Authenticate", "Cookie")
	send(w, r, http.StatusOK, body)
}

// sendOffline refuses what a phone may not ask of the database. For the list of documents this was not recorded: a CHT shows a
// phone's own documents there.
func sendOffline(w http.ResponseWriter, r *http.Request) {
	newCHTBody([]byte(`{"code":403,"error":"forbidden","details":"Offline users are not allowed access to this endpoint"}`)).sendAs(w, r, http.StatusForbidden)
}

// sendBadQuery refuses a query as CouchDB does. It was not recorded.
func sendBadQuery(w http.ResponseWriter, r *http.Request) {
	newCHTBody([]byte(`{"error":"query_parse_error","reason":"Invalid value"}`)).sendAs(w, r, http.StatusBadRequest)
}
