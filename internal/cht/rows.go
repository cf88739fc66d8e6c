package cht

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

// The rows of one answer, and how often a reading goes on after an answer that broke off.
const (
	pageRows  = 1000
	batchKeys = 500
	maxBreaks = 5
)

// row is one row of an answer of CouchDB. Its texts are good until the next one is read.
type row struct {
	id, key, rev []byte
	// failure is why there is no document of that key, such as not_found.
	failure []byte
	deleted bool
	// hasDoc says that a document stands there; it was given to the reading's doc.
	hasDoc bool
}

// reading is a reading of many rows over one or more answers. What goes wrong in it is told without any id.
type reading struct {
	doing string
	// doc reads the document of a row, and moves the scan behind it; nil where none is wanted. row is given each row that was asked
	// for, after its document was read.
	doc func(*scan)
	row func(*row) error
	// prefix is how all ids of a list begin.
	prefix string

	*decoder
	// seen checks that a row is one that was asked for, and says whether it is wanted.
	seen func(*row) (wanted bool, err error)
}

// pages reads the rows of a list page by page. A page begins with the last row of the one before, and so nothing is left out when
// that row, or any other, is deleted meanwhile: with skip=1 the row after it would be. The address is made for the last id, empty
// at first, and the number of rows.
func (c *Client) pages(ctx context.Context, r *reading, address func(last string, limit int) string) error {
	if err := c.acquire(ctx, r.doing); err != nil {
		return err
	}
	defer c.release()
	var last string
	for breaks := 0; ; {
		from, limit, rows := last, c.page, 0
		if from != "" {
			limit++
		}
		r.seen = func(row *row) (bool, error) {
			rows++
			if rows == 1 && from != "" && string(row.id) == from {
				return false, nil
			}
			if string(row.id) <= last || !bytes.HasPrefix(row.id, []byte(r.prefix)) || rows > limit {
				return false, &unexpectedError{what: "the rows are not those asked for, in the order of their ids"}
			}
			last = string(row.id)
			return true, nil
		}
		err := c.answer(ctx, r, http.MethodGet, address(from, limit), nil)
		if err == nil && rows < limit {
			return nil
		}
		if err != nil {
			breaks++
			if err = c.pause(ctx, breaks, err); err != nil {
				return err
			}
		}
	}
}

// keys reads the rows of ids, in their order.
func (c *Client) keys(ctx context.Context, r *reading, path string, ids []string) error {
	if err := c.acquire(ctx, r.doing); err != nil {
		return err
	}
	defer c.release()
	for breaks := 0; len(ids) > 0; {
		batch, done := ids[:min(len(ids), batchKeys)], 0
		r.seen = func(row *row) (bool, error) {
			if done == len(batch) || string(row.key) != batch[done] {
				return false, &unexpectedError{what: "the rows are not those of the ids asked for"}
			}
			done++
			return true, nil
		}
		body, err := json.Marshal(map[string][]string{"keys": batch})
		if err != nil {
			return err // texts can always be written
		}
		err = c.answer(ctx, r, http.MethodPost, path, body)
		if err == nil && done < len(batch) {
			return r.unusable(&unexpectedError{what: "the answer has fewer rows than ids were asked for"})
		}
		if err != nil {
			breaks++
			if err = c.pause(ctx, breaks, err); err != nil {
				return err
			}
		}
		ids = ids[done:]
	}
	return nil
}

func (c *Client) acquire(ctx context.Context, doing string) error {
	select {
	case c.exports <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
}

func (c *Client) release() { <-c.exports }

// brokenOff is an answer that ended in the middle. What came of it is good.
type brokenOff struct{ err error }

func (e *brokenOff) Error() string { return e.err.Error() }
func (e *brokenOff) Unwrap() error { return e.err }

// pause waits where an answer broke off, so that the reading may go on; otherwise it gives the error with which it ends.
func (c *Client) pause(ctx context.Context, breaks int, err error) error {
	if !errors.As(err, new(*brokenOff)) || breaks > c.breaks {
		return err
	}
	wait := time.NewTimer(shortWait << (breaks - 1))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait to read on: %w", ctx.Err())
	}
}

// answer asks once, and reads the rows of the answer.
func (c *Client) answer(ctx context.Context, r *reading, method, path string, body []byte) error {
	request, err := http.NewRequestWithContext(exchange.Private(ctx), method, strings.TrimSuffix(c.base.String(), "/")+path, bytes.NewReader(body))
	if err != nil {
		return &Error{Doing: r.doing, Kind: Unusable, What: "the address cannot be used", Remedy: "check the address of the CHT"} // the error has the ids
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, said, err := c.caller.Stream(request, judge)
	if err != nil {
		return callError(r.doing, err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := answerError(r.doing, response, said); err != nil {
		return documentError(err, response, said)
	}
	if r.decoder == nil {
		r.decoder = &decoder{Decoder: jsontext.NewDecoder(response.Body), texts: map[string]string{}}
	}
	// One odd character in the name of a contact is no reason to go without a month.
	r.Reset(response.Body, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	err = r.whole()
	var caller *yieldError
	if errors.As(err, &caller) {
		return caller.err
	}
	if err != nil {
		return r.broken(err)
	}
	return nil
}

// documentError tells why documents cannot be read. CouchDB answers with codes, such as timeout; any other text may repeat the ids
// that were asked for.
func documentError(err error, response *http.Response, said []byte) error {
	var e *Error
	if !errors.As(err, &e) || response.StatusCode == http.StatusOK {
		return err
	}
	e.What = fmt.Sprintf("the server answered %d", e.Status)
	var answer struct {
		Error anyText `json:"error"`
	}
	if isJSON(response.Header) && json.Unmarshal(said, &answer) == nil && answer.Error != "" {
		e.What += " (" + code([]byte(answer.Error)) + ")"
	}
	switch {
	case e.Status >= 300 && e.Status < 400:
		e.What += ", a redirect to another page"
	case e.Status == http.StatusForbidden:
		e.Remedy += ", and one that is among the roles of the CHT's settings"
	case e.Status == http.StatusBadRequest:
		e.Kind, e.Remedy = Unusable, "this is no answer of a CHT's database: check the address and what stands before the CHT"
	case e.Status == http.StatusNotFound:
		e.Remedy = "check the address: the database medic, or a view of it, is not at this path"
	case e.Status == http.StatusInternalServerError:
		e.Temporary, e.Remedy = true, "the CHT's database is busy, or builds a view anew after an upgrade; it may take an hour, and its log tells how far it is"
	}
	return e
}

// code gives an error's code as CouchDB has them, or words instead of what is none.
func code(text []byte) string {
	for _, c := range text {
		if c != '_' && (c < 'a' || c > 'z') {
			return "an error"
		}
	}
	if len(text) == 0 || len(text) > 40 {
		return "an error"
	}
	return string(text)
}

// failedError is an answer in which the database says that it could not do it.
type failedError struct{ what string }

func (e *failedError) Error() string { return e.what }

// whole reads an answer to its end.
func (r *reading) whole() error {
	r.values = 0
	if err := r.open(jsontext.KindBeginObject, "the answer"); err != nil {
		return err
	}
	listed := false
	for r.PeekKind() != jsontext.KindEndObject {
		name, err := r.text()
		if err != nil {
			return err
		}
		switch name {
		case "rows":
			listed, err = true, r.list()
		case "error", "errors": // the status was sent before it went wrong
			err = r.failure()
		default:
			err = r.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	if _, err := r.ReadToken(); err != nil {
		return err
	}
	if !listed {
		return &unexpectedError{what: "the answer has no rows"}
	}
	return r.end()
}

func (r *reading) failure() error {
	raw, err := r.ReadValue()
	if err != nil {
		return err
	}
	s := scan{b: raw}
	return &failedError{what: "the database gave up: " + code(s.textOr())}
}

func (r *reading) list() error {
	if err := r.open(jsontext.KindBeginArray, "rows"); err != nil {
		return err
	}
	for r.PeekKind() != jsontext.KindEndArray {
		raw, err := r.ReadValue()
		if err != nil {
			return err
		}
		if raw.Kind() != jsontext.KindBeginObject {
			return &unexpectedError{what: "a row has another form than expected"}
		}
		one := r.rowOf(raw)
		if one.failure != nil && string(one.failure) != "not_found" || one.id == nil && one.key == nil {
			return &failedError{what: "the database gave up within the rows: " + code(one.failure)}
		}
		wanted, err := r.seen(&one)
		if err != nil {
			return err
		}
		r.values++
		if !wanted {
			continue
		}
		if err := r.row(&one); err != nil {
			return &yieldError{err}
		}
	}
	_, err := r.ReadToken()
	return err
}

// rowOf reads a row, and its document in passing.
func (r *reading) rowOf(raw []byte) (one row) {
	s := scan{b: raw}
	for s.more('}') {
		switch string(s.name()) {
		case "id":
			one.id = s.textOr()
		case "key":
			one.key = s.textOr()
		case "error":
			one.failure = append([]byte{}, s.textOr()...)
		case "value":
			if !s.enter('{') {
				continue
			}
			for s.more('}') {
				switch string(s.name()) {
				case "rev":
					one.rev = s.textOr()
				case "deleted":
					one.deleted = truthy(s.raw())
				default:
					s.skip()
				}
			}
		case "doc":
			if r.doc == nil || s.next() == 'n' {
				s.skip()
				continue
			}
			one.hasDoc = true
			r.doc(&s)
		default:
			s.skip()
		}
	}
	return one
}

// broken tells why rows could not be read to their end.
func (r *reading) broken(err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", r.doing, err)
	}
	var syntax *jsontext.SyntacticError
	var unexpected *unexpectedError
	var failed *failedError
	switch {
	case errors.As(err, &unexpected):
		return r.unusable(unexpected)
	case errors.As(err, &failed):
		return &Error{Doing: r.doing, Kind: Unavailable, What: failed.what + r.where(), Temporary: true, Remedy: "look at the log of the CHT's database"}
	case errors.As(err, &syntax) && !errors.Is(err, io.ErrUnexpectedEOF):
		return r.unusable(&unexpectedError{what: "the answer is no valid JSON"}) // its text has names of the documents
	}
	e := &Error{Doing: r.doing, Kind: Unusable, What: "the answer broke off" + r.where(), Temporary: true, err: err}
	e.Remedy = "look at the CHT and the proxy before it, their time-outs above all"
	var hint interface{ Hint() string }
	if errors.As(err, &hint) && hint.Hint() != "" {
		e.Remedy, e.Temporary = hint.Hint(), !permanent(err)
	}
	if e.Temporary {
		e.err = &brokenOff{err}
	}
	return e
}

func (r *reading) unusable(unexpected *unexpectedError) error {
	return &Error{Doing: r.doing, Kind: Unusable, What: unexpected.what + r.where(), Remedy: "check the address and what stands before the CHT: the answer is not the one asked for"}
}

func (r *reading) where() string {
	return fmt.Sprintf(", after %d rows, at byte %d of the answer", r.values, r.InputOffset())
}
