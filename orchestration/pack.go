package orchestration

import (
	"encoding/binary"
	"errors"
)

// packer writes values compactly: numbers as varints, and a text that comes again and again, as ids do, as its number
// in a table. It is what a spool and a content are written with.
type packer struct {
	numbers map[string]uint64
	texts   []string
}

// tableLimit keeps the table small whatever comes; texts beyond it are written out.
const (
	tableLimit = 1 << 16
	tableText  = 64
)

func newPacker() *packer { return &packer{numbers: map[string]uint64{}} }

func (p *packer) text(b []byte, text string) []byte {
	if text == "" {
		return append(b, 0)
	}
	number, known := p.numbers[text]
	if !known && len(p.texts) < tableLimit && len(text) <= tableText {
		p.texts = append(p.texts, text)
		number, known = uint64(len(p.texts)), true
		p.numbers[text] = number
	}
	if known {
		return binary.AppendUvarint(b, number+1)
	}
	b = append(b, 1)
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

var errPacked = errors.New("the spool file is damaged")

// unpacker reads what a packer wrote. After an error it gives zero values; the error stays.
type unpacker struct {
	*packer

	b   []byte
	err error
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

func (u *unpacker) text() string {
	number := u.number()
	switch {
	case number == 0:
		return ""
	case number == 1:
		size := u.number()
		if size > uint64(len(u.b)) {
			u.fail()
			return ""
		}
		text := string(u.b[:size])
		u.b = u.b[size:]
		return text
	case number-2 < uint64(len(u.texts)):
		return u.texts[number-2]
	default:
		u.fail()
		return ""
	}
}

func (u *unpacker) fail() { u.b, u.err = nil, errPacked }
