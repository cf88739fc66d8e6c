package orchestration

import (
	"cmp"
	"encoding/binary"

	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

// quarantine gathers the cells that stay behind, each with its reason.
type quarantine struct {
	*spool

	cells []ledger.QuarantinedCell
	// first are those that a report shows.
	first []ledger.QuarantinedCell
	// reasons are those that came before, by their places, as most come again and again.
	reasons []reason
	places  map[reason]uint64
}

// reason is why a cell stays behind.
type reason struct{ code, text, remedy string }

// mostReasons is how many reasons are known again; others are written out.
const mostReasons = 10_000

// newQuarantine makes a quarantine in dir. The caller closes it.
func newQuarantine(dir string) (*quarantine, error) {
	file, err := newSpool(dir)
	if err != nil {
		return nil, err
	}
	return &quarantine{spool: file, places: map[reason]uint64{}}, nil
}

func (q *quarantine) add(c *ledger.QuarantinedCell) error {
	if len(q.first) < issue.ListLimit {
		q.first = append(q.first, *c)
	}
	return q.spool.add(c.OrgUnit, func(b []byte) []byte {
		for _, text := range [...]string{c.DataElement, c.CategoryOptionCombo, c.AttributeOptionCombo, c.Value} {
			b = q.text(b, text)
		}
		return q.reason(b, reason{c.Code, c.Reason, c.Remedy})
	})
}

// reason writes the place of a reason, from 1, or 0 and the reason.
func (q *quarantine) reason(b []byte, r reason) []byte {
	place, known := q.places[r]
	if !known && len(q.reasons) < mostReasons {
		q.reasons = append(q.reasons, r)
		place, known = uint64(len(q.reasons)), true
		q.places[r] = place
	}
	b = binary.AppendUvarint(b, place)
	if known {
		return b
	}
	for _, text := range [...]string{r.code, r.text, r.remedy} {
		b = q.text(b, text)
	}
	return b
}

// reasonOf reads what reason wrote.
func (q *quarantine) reasonOf(u *unpacker) reason {
	place := u.number()
	switch {
	case place == 0:
		return reason{u.text(), u.text(), u.text()}
	case place > uint64(len(q.reasons)):
		u.fail()
		return reason{}
	}
	return q.reasons[place-1]
}

// all gives the cells as the ledger stores them. Those of one org unit are good until the next one.
func (q *quarantine) all(yield func([]ledger.QuarantinedCell, error) bool) {
	ids, err := q.orgUnits()
	if err != nil {
		yield(nil, err)
		return
	}
	for _, id := range ids {
		q.cells = q.cells[:0]
		err := q.read(id, func(u *unpacker) {
			c := ledger.QuarantinedCell{OrgUnit: id, DataElement: u.text(), CategoryOptionCombo: u.text(), AttributeOptionCombo: u.text(), Value: u.text()}
			r := q.reasonOf(u)
			c.Code, c.Reason, c.Remedy = r.code, r.text, r.remedy
			q.cells = append(q.cells, c)
		})
		if !yield(q.cells, err) {
			return
		}
	}
}

// allLocked says that everything that would be sent is locked in DHIS2; nil where it is not so. What differs is among what
// stays behind, for a lock exception.
func (t *tally) allLocked() *failure {
	if t.locked == 0 || t.locked < t.screened {
		return nil
	}
	return &failure{
		state: ledger.Refused, reason: NothingAccepted, remedy: t.lock.Remedy,
		text: "DHIS2 takes nothing of this period now: " + cmp.Or(t.lock.Text, t.lock.Code),
	}
}
