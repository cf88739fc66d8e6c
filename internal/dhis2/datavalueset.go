package dhis2

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/gzip"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

// DefaultCombo is the id that every DHIS2 gives the default option combo. The mediator never writes it: where a combo is
// the default one it is left out, as a cell given once with and once without it is two cells for the check and one for
// the database of 2.43, which then drops the whole request and reports success.
const DefaultCombo = "HllvX50cXC0"

const uidLength = 11

// IsUID says whether an id has the form of a DHIS2 id: a letter and ten letters or digits. From 2.43 on one id of another
// form refuses the whole request.
func IsUID(id string) bool {
	for i := range len(id) {
		letter := id[i]|0x20 >= 'a' && id[i]|0x20 <= 'z'
		if !letter && (i == 0 || id[i] < '0' || id[i] > '9') {
			return false
		}
	}
	return len(id) == uidLength
}

// DataValue is one cell and its value. An empty combo is the default one.
type DataValue struct {
	DataElement         string
	OrgUnit             string
	CategoryOptionCombo string
	Value               string
	Comment             string
	// Deleted takes the value away from where it is; Value is the one that is there.
	Deleted bool
}

// Chunk is what goes in one request: values of one data set, period and attribute option combo.
type Chunk struct {
	DataSet string
	Period  Period
	// AttributeOptionCombo is empty for the default one.
	AttributeOptionCombo string
	// Values are in the order in which they are sent; DHIS2 names them by their place here.
	Values []DataValue
}

// Packed is a chunk as it travels.
type Packed struct {
	Chunk

	// Body is the gzipped JSON.
	Body []byte
	// Digest is the SHA-256 of the JSON, in hex: of the text, as gzip may pack the same text in several ways.
	Digest string
	// Text is what is kept of the JSON as evidence.
	Text exchange.Body
}

// keptText is how much of the text of a chunk is kept as evidence, in bytes.
const keptText = 8 << 10

// packer packs chunks, one after the other.
type packer struct {
	gzip *gzip.Writer
	text []byte
}

// pack writes a chunk down. The same chunk gives the same text every time.
func (p *packer) pack(c Chunk) (Packed, error) {
	var err error
	if p.text, err = c.append(p.text[:0]); err != nil {
		return Packed{}, fmt.Errorf("compose a chunk of data set %s: %w", c.DataSet, err)
	}
	var packed bytes.Buffer
	p.gzip.Reset(&packed)
	if _, err := p.gzip.Write(p.text); err != nil {
		return Packed{}, err
	}
	if err := p.gzip.Close(); err != nil {
		return Packed{}, err
	}
	text := exchange.NewBody(p.text, keptText)
	return Packed{Chunk: c, Body: packed.Bytes(), Digest: text.SHA256, Text: text}, nil
}

// Pack writes a chunk down as it travels. The same chunk gives the same text every time.
func (c *Client) Pack(chunk Chunk) (Packed, error) {
	p, _ := c.packers.Get().(*packer)
	defer c.packers.Put(p)
	return p.pack(chunk)
}

// field is a name and a value of a JSON object; optional ones are left out when they are empty.
type field struct {
	name, value string
	optional    bool
}

const valueSize = 140 // what a value takes in JSON, to reserve room

func (c Chunk) append(text []byte) ([]byte, error) {
	text = slices.Grow(text, 200+valueSize*len(c.Values))
	text, err := appendFields(text, []field{
		{name: "dataSet", value: c.DataSet},
		{name: "period", value: c.Period.String()},
		{name: "attributeOptionCombo", value: c.AttributeOptionCombo, optional: true},
	})
	text = append(text, `,"dataValues":[`...)
	for i, v := range c.Values {
		if i > 0 {
			text = append(text, ',')
		}
		if err == nil {
			text, err = v.append(text)
		}
	}
	return append(text, "]}"...), err
}

func (v DataValue) append(text []byte) ([]byte, error) {
	fields := [...]field{
		{name: "dataElement", value: v.DataElement},
		{name: "orgUnit", value: v.OrgUnit},
		{name: "categoryOptionCombo", value: v.CategoryOptionCombo, optional: true},
		{name: "value", value: v.Value},
		{name: "comment", value: v.Comment, optional: true},
	}
	text, err := appendFields(text, fields[:])
	if v.Deleted {
		text = append(text, `,"deleted":true`...)
	}
	return append(text, '}'), err
}

// appendFields opens an object with the fields; the caller closes it.
func appendFields(text []byte, fields []field) ([]byte, error) {
	between := byte('{')
	for _, f := range fields {
		if f.optional && f.value == "" {
			continue
		}
		text = append(text, between, '"')
		text = append(text, f.name...)
		text = append(text, '"', ':')
		var err error
		if text, err = jsontext.AppendQuote(text, f.value); err != nil {
			return text, fmt.Errorf("%s of value: %w", f.name, err)
		}
		between = ','
	}
	return text, nil
}

func bodyReader(body []byte) io.Reader {
	if body == nil {
		return nil
	}
	return bytes.NewReader(body)
}
