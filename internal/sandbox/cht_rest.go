package sandbox

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// serveREST answers what the CHT itself offers about documents, in its own form.
func (c *CHT) serveREST(w http.ResponseWriter, r *http.Request, user *CHTUser) {
	path := r.URL.Path
	switch {
	case strings.HasPrefix(path, "/api/v1/contact/"), strings.HasPrefix(path, "/api/v1/place/"):
		if !c.allows(w, r, user, "can_view_contacts") {
			return
		}
		if path == "/api/v1/contact/uuid" {
			c.serveContactIDs(w, r)
			return
		}
		kind := strings.Split(path, "/")[3]
		c.serveContact(w, r, kind, strings.TrimPrefix(path, "/api/v1/"+kind+"/"))
	case path == "/api/v1/target":
		if c.allows(w, r, user, "") {
			c.serveTargets(w, r)
		}
	case strings.HasPrefix(path, "/api/v1/target/"):
		if c.allows(w, r, user, "") {
			c.serveTarget(w, r, strings.TrimPrefix(path, "/api/v1/target/"))
		}
	case path == "/api/v2/users":
		if c.allows(w, r, user, "can_view_users") {
			c.serveUsers(w, r)
		}
	case path == "/api/v1/users-doc-count":
		if !slices.Contains(user.Roles, "_admin") {
			sendError(w, r, http.StatusForbidden, "User is not an admin")
			return
		}
		newCHTBody([]byte(`{"limit":10000,"users":[]}`)).send(w, r)
	default:
		sendError(w, r, http.StatusNotFound, "Not found")
	}
}

// allows tells whether the user is online and has the permission, none where it is empty, and answers one who may not.
func (c *CHT) allows(w http.ResponseWriter, r *http.Request, user *CHTUser, permission string) bool {
	c.state.Lock()
	allowed := online(user) && (permission == "" || c.may(user, permission))
	c.state.Unlock()
	if !allowed {
		sendError(w, r, http.StatusForbidden, "Insufficient privileges")
	}
	return allowed
}

// serveContact answers with one contact, with those above it in place of their ids when asked.
func (c *CHT) serveContact(w http.ResponseWriter, r *http.Request, kind, id string) {
	c.state.Lock()
	defer c.state.Unlock()
	c.database.read(c.documents)
	row := c.database.find(id)
	if row == nil || row.contact == nil {
		sendError(w, r, http.StatusNotFound, strings.ToUpper(kind[:1])+kind[1:]+" not found")
		return
	}
	body := row.append(nil, c.database.revision(row))
	if r.URL.Query().Get("with_lineage") == "true" {
		body = c.database.lineage(row.contact)
	}
	newCHTBody(body).send(w, r)
}

// lineage writes a contact whose parents are whole documents. One that is there no more stays an id.
func (d *database) lineage(contact *CHTContact) []byte {
	row := d.find(contact.ID)
	text := row.append(nil, d.revision(row))
	if contact.Parent == nil {
		return text
	}
	plain := appendParent([]byte(`"parent":`), contact.Parent)
	above := d.find(contact.Parent.ID)
	if above == nil || above.contact == nil {
		return text
	}
	return bytes.Replace(text, plain, append([]byte(`"parent":`), d.lineage(above.contact)...), 1)
}

// serveContactIDs answers with a page of the ids of a type's contacts.
func (c *CHT) serveContactIDs(w http.ResponseWriter, r *http.Request) {
	kind := r.URL.Query().Get("type")
	limit, skip, ok := readPage(w, r, 10_000)
	if !ok {
		return
	}
	c.state.Lock()
	c.database.read(c.documents)
	ids := []string{}
	for i := range c.database.rows {
		if contact := c.database.rows[i].contact; contact != nil && contact.kind() == kind {
			ids = append(ids, contact.ID)
		}
	}
	c.state.Unlock()
	if len(ids) == 0 {
		sendError(w, r, http.StatusBadRequest, "Invalid contact type ["+kind+"].")
		return
	}
	page := cutRange(ids, rangeQuery{limit: limit, skip: skip})
	sendJSON(w, r, struct {
		Data   []string `json:"data"`
		Cursor *string  `json:"cursor"`
	}{page, cursorAfter(len(page), limit, skip)})
}

// readPage reads the limit and the cursor, which is how many rows came before. It answers who gives a bad one.
func readPage(w http.ResponseWriter, r *http.Request, usual int) (limit, skip int, ok bool) {
	values := r.URL.Query()
	limit = usual
	if values.Has("limit") {
		limit, _ = strconv.Atoi(values.Get("limit"))
	}
	if limit <= 0 {
		sendError(w, r, http.StatusBadRequest, `The limit must be a positive integer: [`+string(quoted(values.Get("limit")))+`].`)
		return 0, 0, false
	}
	if values.Has("cursor") {
		number, err := strconv.Atoi(values.Get("cursor"))
		if err != nil || number < 0 {
			sendError(w, r, http.StatusBadRequest, `The cursor must be a string or null for first page: [`+string(quoted(values.Get("cursor")))+`].`)
			return 0, 0, false
		}
		skip = number
	}
	return limit, skip, true
}

// cursorAfter gives the cursor of the next page, nil after a page that was not full: a full last page has one as well.
func cursorAfter(rows, limit, skip int) *string {
	if rows < limit {
		return nil
	}
	cursor := strconv.Itoa(skip + limit)
	return &cursor
}

// serveTarget answers with one target document.
func (c *CHT) serveTarget(w http.ResponseWriter, r *http.Request, id string) {
	c.state.Lock()
	defer c.state.Unlock()
	c.database.read(c.documents)
	row := c.database.find(id)
	if row == nil || row.target == nil {
		sendError(w, r, http.StatusNotFound, "Target not found")
		return
	}
	newCHTBody(row.append(nil, c.database.revision(row))).send(w, r)
}

// serveTargets answers with a page of the target documents of some contacts and a month.
func (c *CHT) serveTargets(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	var contacts []string
	for _, name := range []string{"contact_id", "contact_ids"} {
		if values.Get(name) != "" {
			contacts = append(contacts, strings.Split(values.Get(name), ",")...)
		}
	}
	if len(contacts) == 0 {
		sendError(w, r, http.StatusBadRequest, "Invalid contact Ids [].")
		return
	}
	limit, skip, ok := readPage(w, r, 100)
	if !ok {
		return
	}
	c.state.Lock()
	defer c.state.Unlock()
	c.database.read(c.documents)
	var rows []*databaseRow
	for i := range c.database.rows {
		row := &c.database.rows[i]
		if row.target != nil && row.target.ReportingPeriod == values.Get("reporting_period") && slices.Contains(contacts, row.target.Owner) {
			rows = append(rows, row)
		}
	}
	page := cutRange(rows, rangeQuery{limit: limit, skip: skip})
	body := []byte(`{"data":[`)
	for i, row := range page {
		if i > 0 {
			body = append(body, ',')
		}
		body = row.append(body, c.database.revision(row))
	}
	body = append(body, `],"cursor":`...)
	body = append(append(body, marshal(cursorAfter(len(page), limit, skip))...), '}')
	newCHTBody(body).send(w, r)
}

// serveUsers answers with all accounts and where they belong. Database admins are none of them.
func (c *CHT) serveUsers(w http.ResponseWriter, r *http.Request) {
	c.state.Lock()
	defer c.state.Unlock()
	c.database.read(c.documents)
	users := slices.DeleteFunc(slices.Clone(c.documents.Users), func(u CHTUser) bool { return slices.Contains(u.Roles, "_admin") })
	slices.SortFunc(users, func(a, b CHTUser) int { return strings.Compare(a.Name, b.Name) })
	body := []byte{'['}
	for i := range users {
		if i > 0 {
			body = append(body, ',')
		}
		body = c.database.appendUser(body, &users[i])
	}
	newCHTBody(append(body, ']')).send(w, r)
}

// appendUser writes an account. Its revision is not that of a real one, which depends on the hash of the password.
func (d *database) appendUser(b []byte, user *CHTUser) []byte {
	id := "org.couchdb.user:" + user.Name
	b = appendField(append(b, '{'), "id", id)
	b = appendField(b, "rev", d.revise(id, marshal(user)).String())
	b = appendField(b, "username", user.Name)
	b = append(b, `"place":`...)
	b = d.appendPlaces(b, user.FacilityID)
	b = append(b, `,"roles":`...)
	b = append(b, marshal(user.Roles)...)
	if row := d.find(user.ContactID); row != nil {
		b = append(b, `,"contact":`...)
		b = row.append(b, d.revision(row))
	}
	return append(b, '}')
}

// appendPlaces writes the places of an account, null where it has none.
func (d *database) appendPlaces(b []byte, ids []string) []byte {
	if len(ids) == 0 {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for _, id := range ids {
		if row := d.find(id); row != nil {
			b = append(row.append(b, d.revision(row)), ',')
		}
	}
	return append(bytes.TrimSuffix(b, []byte(",")), ']')
}
