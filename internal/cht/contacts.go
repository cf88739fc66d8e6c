package cht

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// Contacts reads contacts by their ids, and gives yield one for each id, in their order, also for those that are deleted or that nobody
// has. An error of yield ends the reading and is returned; otherwise only nil says that these were all. No other export or reading of
// this Client begins meanwhile. It needs an online user (POST /medic/_all_docs).
func (c *Client) Contacts(ctx context.Context, ids []string, yield func(*Contact) error) error {
	r := contactReader{reading: reading{doing: "read contacts from the CHT"}}
	r.doc = r.document
	r.row = func(one *row) error {
		if one.hasDoc {
			return yield(r.contact(one))
		}
		state := Deleted
		if one.failure != nil {
			state = Unknown
		}
		return yield(&Contact{ID: string(one.key), Rev: string(one.rev), State: state})
	}
	return c.keys(ctx, &r.reading, "/medic/_all_docs?include_docs=true", ids)
}

// ContactRevisions reads the revisions of contacts by their ids, as Contacts does. The revision of one that is deleted or that nobody
// has is empty.
func (c *Client) ContactRevisions(ctx context.Context, ids []string, yield func(id, rev string) error) error {
	r := reading{doing: "read the revisions of contacts from the CHT"}
	r.row = func(one *row) error {
		if one.failure != nil || one.deleted {
			return yield(string(one.key), "")
		}
		return yield(string(one.key), string(one.rev))
	}
	return c.keys(ctx, &r, "/medic/_all_docs", ids)
}

// ContactsOfType reads the contacts of some types, one type after the other, as Contacts does (view medic-client/contacts_by_type).
func (c *Client) ContactsOfType(ctx context.Context, types []string, yield func(*Contact) error) error {
	for _, kind := range types {
		r := contactReader{reading: reading{doing: "read the contacts of type " + kind + " from the CHT"}}
		r.doc = r.document
		r.row = func(one *row) error {
			if !one.hasDoc {
				return nil // deleted meanwhile
			}
			return yield(r.contact(one))
		}
		key := parameter([]string{kind})
		err := c.pages(ctx, &r.reading, func(last string, limit int) string {
			address := "/medic/_design/medic-client/_view/contacts_by_type?reduce=false&include_docs=true&limit=" + strconv.Itoa(limit)
			if last == "" {
				return address + "&key=" + key
			}
			return address + "&startkey=" + key + "&startkey_docid=" + url.QueryEscape(last) + "&endkey=" + key
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Places reads the contacts that carry an org unit, each once, as Contacts does (view medic-admin/contacts_by_dhis_orgunit). A view that
// is built anew after an upgrade of the CHT takes long to answer.
func (c *Client) Places(ctx context.Context, yield func(*Contact) error) error {
	r := contactReader{reading: reading{doing: "read the places with an org unit from the CHT"}}
	r.doc = r.document
	r.row = func(one *row) error {
		if !one.hasDoc {
			return nil
		}
		return yield(r.contact(one))
	}
	known := map[string]bool{} // a place comes once for each org unit
	r.seen = func(one *row) (bool, error) {
		if len(one.id) == 0 {
			return false, &unexpectedError{what: "a row has no id"}
		}
		again := known[string(one.id)]
		known[string(one.id)] = true
		return !again, nil
	}
	if err := c.acquire(ctx, r.doing); err != nil {
		return err
	}
	defer c.release()
	for breaks := 1; ; breaks++ {
		err := c.answer(ctx, &r.reading, http.MethodGet, "/medic/_design/medic-admin/_view/contacts_by_dhis_orgunit?include_docs=true", nil)
		if err == nil {
			return nil
		}
		if err = c.pause(ctx, breaks, err); err != nil {
			return err
		}
	}
}

// contactReader reads contacts.
type contactReader struct {
	reading

	now Contact
}

// maxParents is how many levels of the hierarchy are followed; the largest have seven.
const maxParents = 32

// document reads the document of a row.
func (r *contactReader) document(s *scan) {
	r.now = Contact{}
	if !s.enter('{') {
		return
	}
	var kind, contactType string
	for s.more('}') {
		switch string(s.name()) {
		case "_rev":
			r.now.Rev = string(s.textOr())
		case "type":
			kind = r.keep(s.textOr())
		case "contact_type":
			contactType = r.keep(s.textOr())
		case "name":
			r.now.Name = string(s.textOr())
		case "parent":
			r.now.Parents = r.parents(s.raw())
		case "dhis":
			r.now.OrgUnits = slices.DeleteFunc(orgUnitsOf(s.raw()), func(o OrgUnit) bool { return o.ID == "" })
		case "muted", "date_of_death":
			r.now.Away = truthy(s.raw()) || r.now.Away
		default:
			s.skip()
		}
	}
	// Before CHT 3.7 the type was one of person, clinic, health_center and district_hospital; such contacts live on.
	r.now.Type = kind
	if kind == "contact" || kind == "" {
		r.now.Type = contactType
	}
}

// parents reads the chain of parents, the nearest first. Old contacts have a text for a parent, or an object with nothing in it.
func (r *contactReader) parents(parent []byte) (ids []string) {
	for range maxParents {
		s := scan{b: parent}
		if len(parent) == 0 || !s.enter('{') {
			break
		}
		parent = nil
		for s.more('}') {
			switch string(s.name()) {
			case "_id":
				if id := s.textOr(); len(id) > 0 {
					ids = append(ids, r.keep(id))
				}
			case "parent":
				parent = s.raw()
			default:
				s.skip()
			}
		}
	}
	return ids
}

// contact gives the contact of a row.
func (r *contactReader) contact(one *row) *Contact {
	contact := r.now
	contact.ID = string(one.id)
	if contact.Rev == "" {
		contact.Rev = string(one.rev)
	}
	return &contact
}
