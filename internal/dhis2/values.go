package dhis2

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/gzip"
)

// StoredValue is a value as a DHIS2 holds it, and who stored it when. The default combos are empty.
type StoredValue struct {
	DataValue

	AttributeOptionCombo string
	// StoredBy is a user name; LastUpdated is a time as DHIS2 writes it.
	StoredBy, LastUpdated string
}

// Slice says which values are read: those of the data elements of a data set, for one period and the org units with all
// below them.
type Slice struct {
	DataSet  string
	Period   Period
	OrgUnits []string
}

// Values reads what the server holds of a slice, deleted values left out, and gives yield each value in the order in which
// they come; an error of yield ends the reading and is returned. DHIS2 stores no data set with a value: those of a data
// element come back whichever data set they were entered in. A value is good until yield returns.
//
// Only when Values returns nil was the answer whole. ErrUnreadable, wrapped, says that the account may not read the slice: a
// 409 of either dialect, or what 2.42 answers for an org unit outside the account's hierarchy, a 200 with nothing in it.
func (c *Client) Values(ctx context.Context, s Slice, yield func(*StoredValue) error) error {
	doing := fmt.Sprintf("read %s of data set %s from DHIS2", s.Period, s.DataSet)
	query := url.Values{
		"dataSet": {s.DataSet}, "period": {s.Period.String()}, "orgUnit": s.OrgUnits, "children": {"true"}, "compression": {"gzip"},
	}
	request, err := c.request(ctx, http.MethodGet, "/api/dataValueSets?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	response, body, err := c.caller.Stream(request, judgeRead)
	if failure := failureOf(response, body, err); failure != nil {
		failure.Doing = doing
		if failure.Status == http.StatusConflict || failure.Status == http.StatusForbidden {
			failure.err = ErrUnreadable
		}
		return failure
	}
	defer func() { _ = response.Body.Close() }()
	return readValues(response.Body, reading{doing: doing, slice: s}, yield)
}

// ErrUnreadable says that the account may not read values.
var ErrUnreadable = errors.New("the account may not read these values")

// judgeRead says whether a read is worth another try.
func judgeRead(try int, response *http.Response, body []byte, err error) (time.Duration, bool) {
	failure := failureOf(response, body, err)
	if failure == nil || !failure.Temporary || failure.timedOut() || try >= maxTries {
		return 0, false
	}
	wait := shortWait(try, response)
	return wait, wait <= maxShortWait
}

// reading is what an answer must be about.
type reading struct {
	doing string
	slice Slice
}

// readValues reads an answer as a stream. Packed or not is told by its first bytes: DHIS2 gives gzip without saying so.
func readValues(from io.Reader, about reading, yield func(*StoredValue) error) error {
	buffered := bufio.NewReaderSize(from, 64<<10)
	first, err := buffered.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return about.broken(err, 0)
	}
	plain := io.Reader(buffered)
	switch {
	case len(first) == 0:
		return &Error{
			Doing: about.doing, Kind: Refused, Status: http.StatusOK, err: ErrUnreadable, What: "the answer is empty, as DHIS2 gives it for org units that the account may not see",
			Remedy: "give the account data view org units that cover those of the data set",
		}
	case len(first) == 2 && first[0] == 0x1f && first[1] == 0x8b:
		unpacked, err := gzip.NewReader(buffered)
		if err != nil {
			return about.broken(err, 0)
		}
		plain = unpacked
	}
	unpacking := readAhead(plain)
	defer unpacking.end()
	plain = unpacking
	d := &valueDecoder{Decoder: jsontext.NewDecoder(plain, jsontext.AllowDuplicateNames(true)), about: about, period: about.slice.Period.String(), texts: map[string]string{}, places: map[string]int{}}
	err = d.answer(yield)
	var caller *yieldError
	switch {
	case errors.As(err, &caller):
		return caller.err
	case err != nil:
		return about.broken(err, d.values)
	}
	return nil
}

func (r reading) broken(err error, values int) error {
	return brokenOff(r.doing, fmt.Sprintf("after %d values", values), err)
}

// brokenOff tells why an answer could not be read to its end.
func brokenOff(doing, where string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	var syntax *jsontext.SyntacticError
	var form *formError
	switch {
	case errors.As(err, &form):
		return &Error{Doing: doing, Kind: Unusable, What: form.what + ", " + where, Remedy: "check that the address is that of a DHIS2, and what stands before it"}
	case errors.As(err, &syntax) && !errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Doing: doing, Kind: Unusable, What: "the answer is no valid JSON, " + where + ": " + err.Error(), Remedy: "check that the address is that of a DHIS2, and what stands before it"}
	}
	failure := callFailure(err)
	failure.Doing, failure.What = doing, "the answer broke off "+where+": "+failure.What
	if failure.Remedy == "" {
		failure.Remedy = "look at DHIS2 and the proxy before it, their time-outs above all"
	}
	return failure
}

type yieldError struct{ err error }

func (e *yieldError) Error() string { return e.err.Error() }

// formError is valid JSON of another form than was asked for.
type formError struct{ what string }

func (e *formError) Error() string { return e.what }

// valueDecoder reads the parts of an answer. What it reads over and over, ids above all, is kept once.
type valueDecoder struct {
	*jsontext.Decoder

	about  reading
	period string
	header valueHeader
	// last is the value read last: most of its texts come again with the next one.
	last, next StoredValue
	// elements are the data elements in the order in which they came first, in which they mostly come again; places says where
	// each stands, and at which is next by that.
	elements []string
	places   map[string]int
	at       int
	values   int
	texts    map[string]string
	raw      []byte
}

// valueHeader is what all values of an answer share: from 2.43 on they leave it out themselves. It stands before them.
type valueHeader struct{ period, orgUnit, attributeOptionCombo string }

func (d *valueDecoder) answer(yield func(*StoredValue) error) error {
	if err := d.open(jsontext.KindBeginObject, "the answer"); err != nil {
		return err
	}
	for d.PeekKind() != jsontext.KindEndObject {
		name, err := d.text()
		if err != nil {
			return err
		}
		switch name {
		case "period":
			d.header.period, err = d.text()
		case "orgUnit":
			d.header.orgUnit, err = d.text()
		case "attributeOptionCombo":
			d.header.attributeOptionCombo, err = d.text()
		case "dataValues":
			err = d.dataValues(yield)
		default:
			err = d.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	return end(d.Decoder)
}

// end makes sure that nothing follows.
func end(d *jsontext.Decoder) error {
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		var syntax *jsontext.SyntacticError
		if err != nil && !errors.As(err, &syntax) {
			return err
		}
		return &formError{"something follows the answer's end"}
	}
	return nil
}

func (d *valueDecoder) dataValues(yield func(*StoredValue) error) error {
	if err := d.open(jsontext.KindBeginArray, "dataValues"); err != nil {
		return err
	}
	ready, free, stop := make(chan objects, pieces), make(chan objects, pieces), make(chan struct{})
	for range pieces {
		free <- objects{}
	}
	go func() {
		defer close(ready)
		d.objects(ready, free, stop)
	}()
	defer func() {
		close(stop)
		for range ready { // until it has ended
		}
	}()
	for some := range ready {
		from := 0
		for _, end := range some.ends {
			v, err := d.value(some.text[from:end])
			if err != nil {
				return err
			}
			from = end
			d.values++
			if v == nil {
				continue
			}
			if err := yield(v); err != nil {
				return &yieldError{err}
			}
		}
		if some.err != nil {
			return some.err
		}
		free <- objects{text: some.text[:0], ends: some.ends[:0]}
	}
	return nil
}

// objects are entries of dataValues as they stand there, one behind the other, and what went wrong behind them.
type objects struct {
	text []byte
	ends []int
	err  error
}

// objects reads the entries on, while those before are gone through.
func (d *valueDecoder) objects(ready chan<- objects, free <-chan objects, stop <-chan struct{}) {
	for {
		var some objects
		select {
		case some = <-free:
		case <-stop:
			return
		}
		more := true
		for more && len(some.text) < pieceSize {
			if more = d.PeekKind() != jsontext.KindEndArray; !more {
				_, some.err = d.ReadToken()
				break
			}
			raw, err := d.ReadValue()
			if err != nil {
				more, some.err = false, err
				break
			}
			some.text = append(some.text, raw...)
			some.ends = append(some.ends, len(some.text))
		}
		ready <- some
		if !more {
			return
		}
	}
}

// value reads one value; nil is one that was deleted. The object was read as a whole, which makes sure of its form, and is gone
// through by hand: there are a million of them.
func (d *valueDecoder) value(raw []byte) (*StoredValue, error) {
	if raw[0] != '{' {
		return nil, &formError{"an entry of dataValues has another form than values have"}
	}
	d.last, d.next = d.next, StoredValue{AttributeOptionCombo: d.header.attributeOptionCombo, DataValue: DataValue{OrgUnit: d.header.orgUnit}}
	last, v := &d.last, &d.next
	period, deleted := d.header.period, false
	for fields := (flatObject{raw[1:]}); ; {
		name, value, more := fields.next()
		if !more {
			break
		}
		var into *string
		before := ""
		switch string(name) {
		case `"dataElement"`:
			into = &v.DataElement
		case `"orgUnit"`:
			into, before = &v.OrgUnit, last.OrgUnit
		case `"period"`:
			into, before = &period, d.period
		case `"categoryOptionCombo"`:
			into, before = &v.CategoryOptionCombo, cmp.Or(last.CategoryOptionCombo, DefaultCombo)
		case `"attributeOptionCombo"`:
			into, before = &v.AttributeOptionCombo, cmp.Or(last.AttributeOptionCombo, DefaultCombo)
		case `"value"`:
			into = &v.Value
		case `"comment"`:
			into, before = &v.Comment, last.Comment
		case `"storedBy"`:
			into, before = &v.StoredBy, last.StoredBy
		case `"lastUpdated"`:
			into, before = &v.LastUpdated, last.LastUpdated
		case `"deleted"`:
			deleted = string(value) == "true"
			continue
		default:
			continue
		}
		text, err := d.unquote(value)
		if err != nil {
			return nil, err
		}
		if into == &v.DataElement {
			*into = d.element(text)
			continue
		}
		*into = d.keep(text, before)
	}
	switch {
	case v.DataElement == "" || v.OrgUnit == "":
		return nil, &formError{"a value has no data element or no org unit"}
	case period != "" && period != d.period:
		return nil, &formError{fmt.Sprintf("a value is of period %.40q, which was not asked for", period)}
	case deleted:
		return nil, nil
	}
	v.CategoryOptionCombo, v.AttributeOptionCombo = withoutDefault(v.CategoryOptionCombo), withoutDefault(v.AttributeOptionCombo)
	return v, nil
}

func withoutDefault(combo string) string {
	if combo == DefaultCombo {
		return ""
	}
	return combo
}

// flatObject goes through the members of a JSON object that is known to be well-formed, behind its brace.
type flatObject struct{ b []byte }

// next gives a name, in its quotes, and a value as they stand there.
func (o *flatObject) next() (name, value []byte, more bool) {
	o.skip(',')
	if len(o.b) == 0 || o.b[0] != '"' {
		return nil, nil, false
	}
	name = o.take()
	o.skip(':')
	return name, o.take(), true
}

// skip passes over a separator, and white space.
func (o *flatObject) skip(separator byte) {
	at := 0
	for at < len(o.b) && (o.b[at] == separator || o.b[at] == ' ' || o.b[at] == '\n' || o.b[at] == '\t' || o.b[at] == '\r') {
		at++
	}
	o.b = o.b[at:]
}

// take takes a value off: a text with its quotes, a list or an object with all in it, or a word or number.
func (o *flatObject) take() (value []byte) {
	end, depth := 0, 0
	for end < len(o.b) {
		switch c := o.b[end]; c {
		case '"':
			end += textLength(o.b[end:])
		case '{', '[':
			depth++
			end++
		case '}', ']':
			depth--
			end++
		default:
			for end++; depth == 0 && end < len(o.b) && strings.IndexByte(" \t\r\n,}]", o.b[end]) < 0; {
				end++
			}
		}
		if depth <= 0 {
			break
		}
	}
	value, o.b = o.b[:end], o.b[end:]
	return value
}

// textLength is how long a text is that stands at the beginning, with its quotes.
func textLength(b []byte) int {
	end := 1
	for {
		n := bytes.IndexByte(b[end:], '"')
		if n < 0 {
			return len(b)
		}
		end += n + 1
		escapes := 0
		for at := end - 2; b[at] == '\\'; at-- {
			escapes++
		}
		if escapes%2 == 0 {
			return end
		}
	}
}

// text reads a string; null is an empty one.
func (d *valueDecoder) text() (string, error) {
	b, err := d.bytes()
	return string(b), err
}

// element makes a string of the id of a data element. It looks first at the one that came after the last one before.
func (d *valueDecoder) element(b []byte) string {
	if d.at < len(d.elements) && string(b) == d.elements[d.at] {
		text := d.elements[d.at]
		d.at = (d.at + 1) % len(d.elements)
		return text
	}
	text := d.keep(b, "")
	place, known := d.places[text]
	if !known {
		if len(d.elements) >= keptTexts || len(text) > keptLength {
			return text
		}
		place = len(d.elements)
		d.elements = append(d.elements, text)
		d.places[text] = place
	}
	d.at = (place + 1) % len(d.elements)
	return text
}

// keep makes a string of b: the last one where it is the same, and otherwise the same one for the same text as long as there
// are not too many.
func (d *valueDecoder) keep(b []byte, last string) string {
	if string(b) == last {
		return last
	}
	if text, ok := d.texts[string(b)]; ok {
		return text
	}
	text := string(b)
	if len(d.texts) < keptTexts && len(text) <= keptLength {
		d.texts[text] = text
	}
	return text
}

const (
	keptTexts  = 50_000
	keptLength = 64
)

// bytes reads a string, which the name of a field is as well. It is good until the next one is read.
func (d *valueDecoder) bytes() ([]byte, error) {
	raw, err := d.ReadValue()
	if err != nil {
		return nil, err
	}
	return d.unquote(raw)
}

// unquote gives the text of a string, without a copy where nothing in it is escaped; null is an empty one.
func (d *valueDecoder) unquote(raw []byte) ([]byte, error) {
	switch {
	case len(raw) > 0 && raw[0] == '"':
	case string(raw) == "null":
		return nil, nil
	default:
		return nil, &formError{fmt.Sprintf("%.40s stands where a text belongs", raw)}
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], nil
	}
	var err error
	d.raw, err = jsontext.AppendUnquote(d.raw[:0], raw)
	return d.raw, err
}

func (d *valueDecoder) open(kind jsontext.Kind, what string) error {
	if got := d.PeekKind(); got != kind && got != jsontext.KindInvalid {
		return &formError{what + " has another form than values have"}
	}
	_, err := d.ReadToken()
	return err
}
