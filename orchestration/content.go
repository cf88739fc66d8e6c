package orchestration

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// content is what is to be sent, by org unit, in one fixed order: by attribute option combo, org unit, data element and
// category option combo. A chunk is a range of its parts, and always gives the same values.
type content struct {
	*packer

	file   *os.File
	writer *bufio.Writer
	size   int64
	parts  []part
	buffer []byte
	window window
}

// part is the values of one org unit and one attribute option combo.
type part struct {
	attributeOptionCombo, orgUnit string
	offset                        int64
	length, values                int32
}

func newContent(dir string) (*content, error) {
	file, err := temporary(dir)
	if err != nil {
		return nil, err
	}
	return &content{packer: newPacker(), file: file, writer: bufio.NewWriterSize(file, 1<<18)}, nil
}

func (c *content) close() { closeFile(c.file) }

// add takes the values of one org unit, which are ordered by attribute option combo. Each org unit comes once.
func (c *content) add(orgUnit string, values []mapping.Value) error {
	for len(values) > 0 {
		n := 1
		for n < len(values) && values[n].AttributeOptionCombo == values[0].AttributeOptionCombo {
			n++
		}
		b := c.buffer[:0]
		for _, v := range values[:n] {
			b = c.text(b, v.DataElement)
			b = c.text(b, v.CategoryOptionCombo)
			b = c.text(b, deletionOf(v.Deleted)+v.Value)
			b = c.text(b, v.Comment)
		}
		if _, err := c.writer.Write(b); err != nil {
			return fmt.Errorf("write the spool file: %w", err)
		}
		c.parts = append(c.parts, part{
			attributeOptionCombo: values[0].AttributeOptionCombo, orgUnit: orgUnit,
			offset: c.size, length: int32(len(b)), values: int32(n), //nolint:gosec // an org unit has some thousands of values at most
		})
		c.size += int64(len(b))
		c.buffer = b
		values = values[n:]
	}
	return nil
}

// deletion stands before a value that is to be deleted; no value begins with it.
const deletion = "\x00"

func deletionOf(deleted bool) string {
	if deleted {
		return deletion
	}
	return ""
}

// seal ends the writing and puts the parts in their order.
func (c *content) seal() error {
	slices.SortFunc(c.parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.attributeOptionCombo, b.attributeOptionCombo), cmp.Compare(a.orgUnit, b.orgUnit))
	})
	c.parts = slices.Clip(c.parts)
	if err := c.writer.Flush(); err != nil {
		return fmt.Errorf("write the spool file: %w", err)
	}
	c.writer = nil
	return nil
}

// all gives the parts as the ledger stores them. The values of one are good until the next one.
func (c *content) all(yield func(ledger.Part, error) bool) {
	var values []dhis2.DataValue
	for _, p := range c.parts {
		var err error
		values, err = c.values(values[:0], p)
		if !yield(ledger.Part{AttributeOptionCombo: p.attributeOptionCombo, OrgUnit: p.orgUnit, Values: values}, err) {
			return
		}
	}
}

// values reads the parts, one after the other, behind what into holds.
func (c *content) values(into []dhis2.DataValue, parts ...part) ([]dhis2.DataValue, error) {
	for _, p := range parts {
		packed, err := c.window.at(c.file, p.offset, int(p.length))
		if err != nil {
			return nil, err
		}
		u := unpacker{packer: c.packer, b: packed}
		for len(u.b) > 0 {
			v := dhis2.DataValue{OrgUnit: p.orgUnit}
			v.DataElement = u.text()
			v.CategoryOptionCombo = u.text()
			v.Value, v.Deleted = strings.CutPrefix(u.text(), deletion)
			v.Comment = u.text()
			into = append(into, v)
		}
		if u.err != nil {
			return nil, u.err
		}
	}
	return into, nil
}
