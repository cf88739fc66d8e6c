package ledger

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// Values are packed one after the other: the number of the cell's name, then a head that holds a whole number itself, or
// the length of a text that follows, and says whether a comment follows. A name is data element and category option combo
// together, and stands in the table cell_name, as the same few thousand come with every org unit and month. A value takes
// three or four bytes so.

const (
	// nameLimit keeps the table of names small whatever comes; names beyond it are written out.
	nameLimit = 1 << 16
	nameText  = 64

	hasComment = 1
	isText     = 2
	headBits   = 2
	// maxWhole is the largest number that is packed as one.
	maxWhole = 1 << 61
	// deletion stands before the text of a value that is to be deleted. No value has it: DHIS2 refuses it.
	deletion = "\x00"
)

var errPacked = errors.New("packed values cannot be read")

// names are the names of the database, by text and by number. Names are added and never changed, so what is known stays
// true.
type names struct {
	mu       sync.RWMutex
	byText   map[string]uint64
	byNumber map[uint64]string
}

func newNames() *names { return &names{byText: map[string]uint64{}, byNumber: map[uint64]string{}} }

func (n *names) number(text string) (uint64, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	number, ok := n.byText[text]
	return number, ok
}

func (n *names) count() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.byText)
}

func (n *names) add(text string, number uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.byText[text], n.byNumber[number] = number, text
}

// refresh reads the names where others have added some. Whoever unpacks calls it first, in the transaction in which the
// packed values are read: all their names are known then.
func (n *names) refresh(ctx context.Context, from querier) error {
	var count int
	if err := from.QueryRowContext(ctx, `SELECT count(*) FROM cell_name`).Scan(&count); err != nil || count == n.count() {
		return err
	}
	var number uint64
	var text string
	rows, err := from.QueryContext(ctx, `SELECT number, word FROM cell_name`)
	return each(rows, err, func() error {
		if err := rows.Scan(&number, &text); err != nil {
			return err
		}
		n.add(text, number)
		return nil
	})
}

// packer packs values within a transaction, to which new names belong. learn is called after its commit.
type packer struct {
	names *names
	tx    *sql.Tx
	fresh map[string]uint64
	// turn is held while the transaction is used, where rows are packed beside those that are written.
	turn sync.Mutex
}

func (l *Ledger) packer(ctx context.Context, tx *sql.Tx) (*packer, error) {
	return &packer{names: l.names, tx: tx, fresh: map[string]uint64{}}, l.names.refresh(ctx, tx)
}

// learn keeps the names that the transaction added, when it is committed.
func (p *packer) learn() {
	for text, number := range p.fresh {
		p.names.add(text, number)
	}
}

// name gives the number of a name, 0 where it has to be written out.
func (p *packer) name(ctx context.Context, text string) (uint64, error) {
	if number, ok := p.names.number(text); ok {
		return number, nil
	}
	if number, ok := p.fresh[text]; ok {
		return number, nil
	}
	if len(text) > nameText || !plain(text) || p.names.count()+len(p.fresh) >= nameLimit {
		return 0, nil
	}
	p.turn.Lock()
	defer p.turn.Unlock()
	var number uint64
	const tries = 5 // another replica may take the number meanwhile
	for range tries {
		if _, err := p.tx.ExecContext(ctx, `INSERT INTO cell_name (number, word)
			SELECT coalesce(max(number), 0) + 1, CAST($1 AS text) FROM cell_name WHERE true ON CONFLICT DO NOTHING`, text); err != nil {
			return 0, err
		}
		err := p.tx.QueryRowContext(ctx, `SELECT number FROM cell_name WHERE word = $1`, text).Scan(&number)
		if err == nil {
			p.fresh[text] = number
			return number, nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return 0, err
		}
	}
	return 0, ErrStale
}

// plain says whether a name is of printable ASCII but for the one separator.
func plain(text string) bool {
	return strings.Count(text, separator) == 1 &&
		!strings.ContainsFunc(text, func(r rune) bool { return (r < ' ' && r != '\t') || r > '~' })
}

const separator = "\t"

// pack appends a value.
func (p *packer) pack(ctx context.Context, b []byte, v dhis2.DataValue) ([]byte, error) {
	number, err := p.name(ctx, v.DataElement+separator+v.CategoryOptionCombo)
	if err != nil {
		return b, err
	}
	b = binary.AppendUvarint(b, number)
	if number == 0 {
		b = appendText(b, v.DataElement)
		b = appendText(b, v.CategoryOptionCombo)
	}
	var flags uint64
	if v.Comment != "" {
		flags = hasComment
	}
	text := v.Value
	if v.Deleted {
		text = deletion + text
	}
	if whole, ok := wholeNumber(text); ok {
		b = binary.AppendUvarint(b, whole<<headBits|flags)
	} else {
		b = binary.AppendUvarint(b, uint64(len(text))<<headBits|isText|flags)
		b = append(b, text...)
	}
	if v.Comment != "" {
		b = appendText(b, v.Comment)
	}
	return b, nil
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// wholeNumber reads a number that is written in the one usual way, so that it can be written again.
func wholeNumber(text string) (uint64, bool) {
	if text == "" || text[0] == '0' && text != "0" || text[0] < '0' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil && n < maxWhole
}

// unpacker reads what a packer wrote. After an error it gives zero values; the error stays.
type unpacker struct {
	names *names
	b     []byte
	err   error
}

// unpack reads the packed values of an org unit behind what into holds.
func (l *Ledger) unpack(into []dhis2.DataValue, orgUnit string, packed []byte) ([]dhis2.DataValue, error) {
	into, err := l.names.unpack(into, orgUnit, packed)
	if err != nil {
		what, remedy := l.store.words(Damaged)
		return nil, &Error{Kind: Damaged, What: what + " (" + err.Error() + ")", Remedy: remedy, err: err}
	}
	return into, nil
}

func (n *names) unpack(into []dhis2.DataValue, orgUnit string, packed []byte) ([]dhis2.DataValue, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	u := unpacker{names: n, b: packed}
	for len(u.b) > 0 {
		v := dhis2.DataValue{OrgUnit: orgUnit}
		v.DataElement, v.CategoryOptionCombo = u.name()
		head := u.number()
		if head&isText != 0 {
			v.Value, v.Deleted = strings.CutPrefix(u.bytes(head>>headBits), deletion)
		} else {
			v.Value = strconv.FormatUint(head>>headBits, 10)
		}
		if head&hasComment != 0 {
			v.Comment = u.bytes(u.number())
		}
		if u.err != nil {
			break
		}
		into = append(into, v)
	}
	return into, u.err
}

func (u *unpacker) name() (dataElement, categoryOptionCombo string) {
	number := u.number()
	if number == 0 {
		return u.bytes(u.number()), u.bytes(u.number())
	}
	text, known := u.names.byNumber[number] // unpack holds the lock
	if !known {
		u.fail()
	}
	dataElement, categoryOptionCombo, _ = strings.Cut(text, separator)
	return dataElement, categoryOptionCombo
}

func (u *unpacker) number() uint64 {
	n, size := binary.Uvarint(u.b)
	if size <= 0 {
		u.fail()
		return 0
	}
	u.b = u.b[size:]
	return n
}

func (u *unpacker) bytes(size uint64) string {
	if size > uint64(len(u.b)) {
		u.fail()
		return ""
	}
	text := string(u.b[:size])
	u.b = u.b[size:]
	return text
}

func (u *unpacker) fail() { u.b, u.err = nil, errPacked }
