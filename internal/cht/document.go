package cht

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// TargetDocument is what one user's phone counted in one month, as it stands on the server. Only its form has been judged.
type TargetDocument struct {
	// ID holds the names of the contact and the user: it is personal, and so is Owner.
	ID, Rev string
	// Owner is the id of the contact whose work it is.
	Owner string
	// Updated is the day on which the numbers last changed, on the phone's clock, at midnight UTC; the zero time where it is not told.
	Updated time.Time
	// Targets are in the order in which they stand.
	Targets []TargetCount
	// Malformed says why nothing of it can be used; empty where all can. One such document makes the CHT's export of the whole
	// month fail.
	Malformed string
}

// TargetCount is one target of a document. A number that is missing, or that is not finite, whole and at least 0, is Unread.
type TargetCount struct {
	ID          string
	Pass, Total int64
}

// Unread is the place of a number that cannot be used. It is not zero: nobody can say what it would have been.
const Unread = -1

// OwnerOf reads the owner's id from the id of a target document, target~2026-07~OWNER~org.couchdb.user:NAME. The owner's id may
// hold a ~ itself. It gives false for what is no such id.
func OwnerOf(documentID string) (owner string, ok bool) {
	rest, isTarget := strings.CutPrefix(documentID, "target~")
	_, rest, hasMonth := strings.Cut(rest, "~")
	at := strings.LastIndex(rest, "~org.couchdb.user:")
	if !isTarget || !hasMonth || at <= 0 {
		return "", false
	}
	return rest[:at], true
}

// tag is the month as target documents name it, such as "2026-07".
func (m Month) tag() string { return fmt.Sprintf("%04d-%02d", m.Year, int(m.Month)) }

// TargetDocuments reads the target documents of a month, and gives them to yield in the order of their ids. A TargetDocument is only
// good until yield returns; an error of yield ends the reading and is returned. It needs an online user (GET /medic/_all_docs).
//
// Only when it returns nil were these all. A document that comes or changes during the reading may be given as it was before. While
// it reads, no other export or reading of this Client begins: yield must not ask for one.
func (c *Client) TargetDocuments(ctx context.Context, month Month, yield func(*TargetDocument) error) error {
	r := targetReader{reading: reading{doing: "read the target documents of " + month.String() + " from the CHT", prefix: month.documents()}}
	r.doc = r.document
	r.row = func(one *row) error { return r.give(one, yield) }
	return c.pages(ctx, &r.reading, month.pages("&include_docs=true"))
}

// TargetRevisions reads the ids and revisions of the target documents of a month, and nothing else of them, in the order of their ids.
// What holds for TargetDocuments holds for it.
func (c *Client) TargetRevisions(ctx context.Context, month Month, yield func(id, rev string) error) error {
	r := reading{doing: "read the revisions of the target documents of " + month.String() + " from the CHT", prefix: month.documents()}
	r.row = func(one *row) error { return yield(string(one.id), string(one.rev)) }
	return c.pages(ctx, &r, month.pages(""))
}

// TargetDocumentsOf reads the target documents with these ids, in their order. Those that are gone meanwhile are left out. What holds
// for TargetDocuments holds for it.
func (c *Client) TargetDocumentsOf(ctx context.Context, ids []string, yield func(*TargetDocument) error) error {
	r := targetReader{reading: reading{doing: "read changed target documents from the CHT"}}
	r.doc = r.document
	r.row = func(one *row) error { return r.give(one, yield) }
	return c.keys(ctx, &r.reading, "/medic/_all_docs?include_docs=true", ids)
}

// documents is how the ids of the month's target documents begin.
func (m Month) documents() string { return "target~" + m.tag() + "~" }

// pages gives the addresses of the pages with the month's documents.
func (m Month) pages(more string) func(last string, limit int) string {
	prefix := m.documents()
	return func(last string, limit int) string {
		if last == "" {
			last = prefix
		}
		return "/medic/_all_docs?startkey=" + parameter(last) + "&endkey=" + parameter(prefix+"\ufff0") + more + "&limit=" + strconv.Itoa(limit)
	}
}

// targetReader reads target documents into one TargetDocument over and over.
type targetReader struct {
	reading

	found struct {
		now TargetDocument
		// kind and period are what the document says of itself; noTargets why its targets cannot be read.
		kind, period string
		noTargets    string
	}
	// usual are the targets of the documents before by their places, as most documents have the same ones in the same order.
	usual []usualTarget
}

// usualTarget is a target as it was written: beginning is all up to the number of pass.
type usualTarget struct{ beginning, id string }

const noTargetList = "it has no list of targets"

// document reads the document of a row.
func (r *targetReader) document(s *scan) {
	d := &r.found
	d.now = TargetDocument{Targets: d.now.Targets[:0]}
	d.kind, d.period, d.noTargets = "", "", noTargetList
	if !s.enter('{') {
		return
	}
	for s.more('}') {
		switch string(s.name()) {
		case "_rev":
			d.now.Rev = string(s.textOr())
		case "type":
			d.kind = r.keep(s.textOr())
		case "owner":
			d.now.Owner = string(s.textOr())
		case "reporting_period":
			d.period = r.keep(s.textOr())
		case "updated_date":
			d.now.Updated = dayOf(s.count())
		case "targets":
			d.noTargets = r.targets(s)
		default:
			s.skip()
		}
	}
}

// targets reads the list of targets, and says why it cannot.
func (r *targetReader) targets(s *scan) (why string) {
	targets := r.found.now.Targets[:0]
	r.found.now.Targets = targets
	if !s.enter('[') {
		return noTargetList
	}
	for s.more(']') {
		n := len(targets)
		if one, ok := r.again(s, n); ok {
			targets = append(targets, one)
			continue
		}
		if !s.enter('{') {
			why = "one of its targets is no object"
			continue
		}
		one, beginning := r.target(s)
		if one.ID == "" {
			why = "one of its targets has no id"
			continue
		}
		targets = append(targets, one)
		r.expect(n, beginning, one.ID)
	}
	r.found.now.Targets = targets
	return why
}

// again reads a target that is written as the one at this place was in the document before.
func (r *targetReader) again(s *scan, n int) (one TargetCount, ok bool) {
	if n >= len(r.usual) {
		return one, false
	}
	one.ID = r.usual[n].id
	one.Pass, one.Total, ok = s.usual(r.usual[n].beginning)
	return one, ok
}

// target reads one target. The beginning is there where it is written in the usual order.
func (r *targetReader) target(s *scan) (one TargetCount, beginning []byte) {
	one = TargetCount{Pass: Unread, Total: Unread}
	start := s.i
	for s.more('}') {
		switch string(s.name()) {
		case "id":
			one.ID, beginning = r.keep(s.textOr()), nil
		case "value":
			at := s.i
			one.Pass, one.Total = counts(s)
			if pass := []byte(`{"pass":`); one.ID != "" && bytes.HasPrefix(s.b[at:], pass) {
				beginning = s.b[start : at+len(pass)]
			}
		default:
			s.skip()
		}
	}
	return one, beginning
}

// maxUsual is how many targets are remembered, maxBeginning how much of each.
const maxUsual, maxBeginning = 1000, 200

// expect remembers how the target at a place was written; an empty beginning is none that a target has.
func (r *targetReader) expect(n int, beginning []byte, id string) {
	usual := usualTarget{id: id}
	if len(beginning) <= maxBeginning {
		usual.beginning = r.keep(beginning)
	}
	if n < len(r.usual) {
		r.usual[n] = usual
	} else if n < maxUsual {
		r.usual = append(r.usual, usual)
	}
}

// counts reads the value of a target.
func counts(s *scan) (pass, total int64) {
	pass, total = Unread, Unread
	if !s.enter('{') {
		return pass, total
	}
	for s.more('}') {
		switch string(s.name()) {
		case "pass":
			pass = s.count()
		case "total":
			total = s.count()
		default:
			s.skip()
		}
	}
	return pass, total
}

// give yields the document of a row, where there is one.
func (r *targetReader) give(one *row, yield func(*TargetDocument) error) error {
	if !one.hasDoc {
		return nil // deleted meanwhile
	}
	d := &r.found
	d.now.ID = string(one.id)
	if d.now.Rev == "" {
		d.now.Rev = string(one.rev)
	}
	_, rest, _ := bytes.Cut(one.id, []byte("target~"))
	period, _, _ := bytes.Cut(rest, []byte("~"))
	switch {
	case d.kind != "target":
		d.now.Malformed = "it is of another type than target"
	case d.period == "" || d.period != string(period):
		d.now.Malformed = "it is of another month than its id"
	case d.now.Owner == "":
		d.now.Malformed = "it has no owner"
	default:
		d.now.Malformed = d.noTargets
	}
	if d.now.Malformed != "" {
		d.now.Targets = d.now.Targets[:0]
	}
	return yield(&d.now)
}

// dayOf gives the day of an updated_date: the start of a day on the clock of a phone whose zone nobody knows, and so the nearest
// midnight. That is right from 12 hours west of Greenwich to 12 hours east.
func dayOf(millis int64) time.Time {
	const last = 253_402_300_799_000 // of the year 9999
	if millis <= 0 || millis > last {
		return time.Time{}
	}
	return time.UnixMilli(millis).UTC().Add(12 * time.Hour).Truncate(24 * time.Hour)
}

// parameter writes a value as CouchDB reads it in an address.
func parameter(value any) string {
	text, _ := json.Marshal(value) // texts can always be written
	return url.QueryEscape(string(text))
}

// ContactState says whether a contact is there.
type ContactState int

// The states.
const (
	Present ContactState = iota
	Deleted
	Unknown
)

// Contact is a place or a person.
type Contact struct {
	ID, Rev string
	// State is Present but in answers about ids that nobody has, of which nothing else is known then.
	State ContactState
	// Type is contact_type, or type in configurations without it.
	Type string
	// Name is personal where the contact is a person.
	Name string
	// Parents are the ids above it, the nearest first, as the contact itself carries them.
	Parents []string
	// OrgUnits are those that it carries, for whatever data set.
	OrgUnits []OrgUnit
	// Away says that it is muted or has died.
	Away bool
}
