package cht

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Month is a reporting month as CHT tags it: the month in which its interval ends.
type Month struct {
	Year  int
	Month time.Month
}

// String gives the month as the export names it, such as "202607".
func (m Month) String() string { return fmt.Sprintf("%04d%02d", m.Year, int(m.Month)) }

// FieldKind is the sort of JSON value that stands in a field.
type FieldKind byte

// The sorts of field.
const (
	Missing FieldKind = iota
	Null
	String
	Number
	// Other is a boolean, an object or an array.
	Other
)

// Field is what stands in one field of the export: the text of a string, the digits of a number, the first characters
// of anything else.
type Field struct {
	Kind FieldKind
	Text string
}

// Value is one entry of the export, as it stands there. Nothing in it has been judged.
type Value struct {
	// Index is its place in dataValues, counted from 0.
	Index int

	OrgUnit, DataElement, CategoryOptionCombo, AttributeOptionCombo, Comment, Value Field
	// Extra names the fields that are none of the above.
	Extra []string
}

// Export reads the month of a data set, for all org units, and gives yield each value in the order in which they stand.
// The Value is only good until yield returns; an error of yield ends the reading and is returned.
//
// Only when Export returns nil was the answer whole, and the one asked for; after an error, whatever was yielded must
// be thrown away. Errors of the server or its answer are *Error: also a month without any value, as CHT answers 200 and
// nothing when no place carries an org unit of the data set.
func (c *Client) Export(ctx context.Context, dataSet string, month Month, yield func(*Value) error) error {
	doing := fmt.Sprintf("fetch %s of data set %s from the CHT", month, dataSet)
	if err := c.acquire(ctx, doing); err != nil {
		return err
	}
	defer c.release()
	// The server takes any instant of the month; the middle keeps its time zone from moving it into the next one.
	middle := time.Date(month.Year, month.Month, 15, 12, 0, 0, 0, time.UTC)
	query := url.Values{
		"filters[dataSet]":    {dataSet},
		"filters[date][from]": {strconv.FormatInt(middle.UnixMilli(), 10)},
	}
	request, err := c.request(ctx, "/api/v2/export/dhis?"+query.Encode())
	if err != nil {
		return err
	}
	response, body, err := c.caller.Stream(request, judge)
	if err != nil {
		return callError(doing, err)
	}
	if err := answerError(doing, response, body); err != nil {
		_ = response.Body.Close()
		return err
	}
	defer func() { _ = response.Body.Close() }()
	return decode(response.Body, asked{doing: doing, dataSet: dataSet, period: month.String()}, yield)
}

// asked is what an answer must be about.
type asked struct{ doing, dataSet, period string }

func (a asked) unusable(what, remedy string) error {
	return &Error{Doing: a.doing, Kind: Unusable, What: what, Remedy: remedy}
}

// decode reads an export as a stream.
func decode(from io.Reader, want asked, yield func(*Value) error) error {
	d := &decoder{Decoder: jsontext.NewDecoder(from), texts: map[string]string{}}
	header, err := d.export(yield)
	if err == nil {
		err = d.end()
	}
	var caller *yieldError
	if errors.As(err, &caller) {
		return caller.err
	}
	if err != nil {
		return want.broken(err, d)
	}
	if header.dataSet != want.dataSet {
		return want.unusable(fmt.Sprintf("the answer is about data set %q", header.dataSet), "check what stands between the mediator and the CHT: the answer is not the one asked for")
	}
	if header.period != want.period {
		return want.unusable(fmt.Sprintf("the answer is about period %q", header.period), "the CHT answered for another month: check its clock and time zone, and what stands before it")
	}
	if d.values == 0 {
		return want.unusable("the answer has no value at all", "no place of the CHT carries an org unit of this data set: set dhis.orgUnit on the places, and check the data set's id")
	}
	return nil
}

// broken tells why an answer could not be read to its end.
func (a asked) broken(err error, d *decoder) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", a.doing, err)
	}
	where := fmt.Sprintf("after %d values, at byte %d", d.values, d.InputOffset())
	var syntax *jsontext.SyntacticError
	var unexpected *unexpectedError
	switch {
	case errors.As(err, &unexpected):
		return a.unusable(fmt.Sprintf("%s, %s", unexpected.what, where), "the answer is no export of a CHT: check the address and what stands before the CHT")
	case errors.Is(err, io.ErrUnexpectedEOF), !errors.As(err, &syntax):
		e := &Error{Doing: a.doing, Kind: Unusable, What: "the answer broke off " + where + ": " + err.Error(), Temporary: true, err: err}
		e.Remedy = "nothing of it is used; look at the CHT and the proxy before it, their time-outs above all"
		var hint interface{ Hint() string }
		if errors.As(err, &hint) && hint.Hint() != "" {
			e.Remedy, e.Temporary = hint.Hint(), !permanent(err)
		}
		return e
	default:
		return a.unusable("the answer is no valid JSON, "+where+": "+err.Error(), "check the address and what stands before the CHT")
	}
}

// decoder reads the parts of an export. What it reads over and over, ids above all, is kept once.
type decoder struct {
	*jsontext.Decoder

	values int
	texts  map[string]string
	raw    []byte
}

type yieldError struct{ err error }

func (e *yieldError) Error() string { return e.err.Error() }

// unexpectedError is valid JSON of another form than an export has.
type unexpectedError struct{ what string }

func (e *unexpectedError) Error() string { return e.what }

type header struct{ dataSet, period string }

func (d *decoder) export(yield func(*Value) error) (header, error) {
	var h header
	if err := d.open(jsontext.KindBeginObject, "the answer"); err != nil {
		return h, err
	}
	for d.PeekKind() != jsontext.KindEndObject {
		name, err := d.text()
		if err != nil {
			return h, err
		}
		switch name {
		case "dataSet":
			h.dataSet, err = d.text()
		case "period":
			h.period, err = d.text()
		case "dataValues":
			err = d.dataValues(yield)
		default:
			err = d.SkipValue()
		}
		if err != nil {
			return h, err
		}
	}
	_, err := d.ReadToken()
	return h, err
}

// end makes sure that nothing follows the answer.
func (d *decoder) end() error {
	_, err := d.ReadToken()
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	var syntax *jsontext.SyntacticError
	if err != nil && !errors.As(err, &syntax) {
		return err
	}
	return &unexpectedError{what: "something follows the answer's end"}
}

func (d *decoder) dataValues(yield func(*Value) error) error {
	if err := d.open(jsontext.KindBeginArray, "dataValues"); err != nil {
		return err
	}
	var v Value
	for d.PeekKind() != jsontext.KindEndArray {
		v = Value{Index: d.values, Extra: v.Extra[:0]}
		if err := d.value(&v); err != nil {
			return err
		}
		d.values++
		if err := yield(&v); err != nil {
			return &yieldError{err}
		}
	}
	_, err := d.ReadToken()
	return err
}

func (d *decoder) value(v *Value) error {
	if err := d.open(jsontext.KindBeginObject, "an entry of dataValues"); err != nil {
		return err
	}
	for d.PeekKind() != jsontext.KindEndObject {
		name, err := d.bytes()
		if err != nil {
			return err
		}
		field := v.field(name)
		if field == nil {
			v.Extra = append(v.Extra, d.keep(name))
			err = d.SkipValue()
		} else {
			*field, err = d.field()
		}
		if err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// field gives the place for a field of that name, nil for one that is not ours.
func (v *Value) field(name []byte) *Field {
	switch string(name) {
	case "orgUnit":
		return &v.OrgUnit
	case "dataElement":
		return &v.DataElement
	case "categoryOptionCombo":
		return &v.CategoryOptionCombo
	case "attributeOptionCombo":
		return &v.AttributeOptionCombo
	case "comment":
		return &v.Comment
	case "value":
		return &v.Value
	default:
		return nil
	}
}

const otherText = 40

func (d *decoder) field() (Field, error) {
	raw, err := d.ReadValue()
	if err != nil {
		return Field{}, err
	}
	switch raw.Kind() {
	case jsontext.KindNull:
		return Field{Kind: Null}, nil
	case jsontext.KindString:
		text, err := d.unquote(raw)
		return Field{Kind: String, Text: d.keep(text)}, err
	case jsontext.KindNumber:
		return Field{Kind: Number, Text: d.keep(raw)}, nil
	default:
		return Field{Kind: Other, Text: strings.ToValidUTF8(string(raw[:min(len(raw), otherText)]), "")}, nil
	}
}

// text reads a string.
func (d *decoder) text() (string, error) {
	text, err := d.bytes()
	return string(text), err
}

// bytes reads a string, which the name of a field is as well. It is good until the next one is read.
func (d *decoder) bytes() ([]byte, error) {
	raw, err := d.ReadValue()
	if err != nil {
		return nil, err
	}
	if raw.Kind() != jsontext.KindString {
		return nil, &unexpectedError{what: fmt.Sprintf("%.40s stands where a text belongs", raw)}
	}
	return d.unquote(raw)
}

// unquote gives the text of a string, without a copy where nothing in it is escaped.
func (d *decoder) unquote(raw jsontext.Value) ([]byte, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], nil
	}
	var err error
	d.raw, err = jsontext.AppendUnquote(d.raw[:0], raw)
	return d.raw, err
}

const (
	keptTexts = 50_000
	keptText  = 64
)

// keep makes a string of b, the same one again for the same text as long as there are not too many.
func (d *decoder) keep(b []byte) string {
	if text, ok := d.texts[string(b)]; ok {
		return text
	}
	text := string(b)
	if len(d.texts) < keptTexts && len(text) <= keptText {
		d.texts[text] = text
	}
	return text
}

func (d *decoder) open(kind jsontext.Kind, what string) error {
	if got := d.PeekKind(); got != kind && got != jsontext.KindInvalid {
		return &unexpectedError{what: what + " has another form than an export has"}
	}
	_, err := d.ReadToken()
	return err
}
