package cht

import (
	"strings"
	"time"
)

// TargetDocument is what one user's phone counted in one month, as it stands on the server. Only its form has been judged.
type TargetDocument struct {
	// ID holds the names of the contact and the user: it is personal, and so is Owner.
	ID, Rev string
	// Owner is the id of the contact whose work it is.
	Owner string
	// Updated is the day on which the numbers last changed, at midnight UTC; the zero time where it is not told.
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
