package openhim

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

// Status is the state of a transaction, in the words that OpenHIM's console knows. Another word is stored by OpenHIM as
// it is, and shown without a colour.
type Status string

// The states of a transaction.
const (
	Processing          Status = "Processing"
	Successful          Status = "Successful"
	Completed           Status = "Completed"
	CompletedWithErrors Status = "Completed with error(s)"
	Failed              Status = "Failed"
)

// Transaction is what OpenHIM keeps of one message and of what the mediator did with it. The zero value of a field
// leaves it out, so that Update changes only what is told.
type Transaction struct {
	// ID is 24 hexadecimal digits (NewID).
	ID        string `json:"_id,omitempty"`
	Status    Status `json:"status,omitempty"`
	ChannelID string `json:"channelID,omitempty"`
	ClientID  string `json:"clientID,omitempty"`
	// ParentID is the transaction which this one runs again; OpenHIM sets it.
	ParentID string `json:"parentID,omitempty"`
	// Request is replayed by OpenHIM when a person runs the transaction again. Its body is cut like any other, so the
	// request that begins a submission has to be small.
	Request        *Request          `json:"request,omitempty"`
	Response       *Response         `json:"response,omitempty"`
	Orchestrations []Orchestration   `json:"orchestrations,omitempty"`
	Properties     map[string]string `json:"properties,omitempty"`
	// Error makes OpenHIM call the mediator again where the channel has auto-retry, with status Successful, too. To say
	// only that something failed, use the status, the response and the error of an orchestration.
	Error *Failure `json:"error,omitempty"`
}

// Orchestration is one step that the mediator took.
type Orchestration struct {
	// Name is required by OpenHIM, and so is the time of the request: without one of them it throws the whole report
	// away and says nothing.
	Name    string   `json:"name"`
	Group   string   `json:"group,omitempty"`
	Request *Request `json:"request,omitempty"`
	// Response is shown by the console, and the Error only beside one.
	Response *Response `json:"response,omitempty"`
	Error    *Failure  `json:"error,omitempty"`

	// Accepted marks a send that was accepted whole, and tells what it carried. Such sends may be folded.
	Accepted *Totals `json:"-"`
}

// OrchestrationOf tells one try of a call to a neighbour as a step. Where no answer came, the step has the reason as an
// error, and OpenHIM's console shows it.
func OrchestrationOf(name string, e exchange.Exchange) Orchestration {
	o := Orchestration{
		Name:    name,
		Request: &Request{Method: e.Method, Headers: e.SentHeader, Body: e.Sent.String(), Timestamp: At(e.Began)},
	}
	if address, err := url.Parse(e.Address); err == nil {
		o.Request.Host, o.Request.Port = address.Hostname(), Port(address.Port())
		o.Request.Path, o.Request.Querystring = address.EscapedPath(), address.RawQuery
	}
	o.Response = &Response{Status: e.Status, Headers: e.ReceivedHeader, Body: e.Received.String(), Timestamp: At(e.Began.Add(e.Took))}
	if e.Error != "" {
		o.Error = &Failure{Message: e.Error}
		if e.Status == 0 {
			o.Response.Body = e.Error
		}
	}
	return o
}

// Totals are what accepted sends carried.
type Totals struct {
	Values, OrgUnits int
}

// Request is what was asked of somebody. Bodies are text; OpenHIM cannot store anything else.
type Request struct {
	Host        string  `json:"host,omitempty"`
	Port        Port    `json:"port,omitempty"`
	Path        string  `json:"path,omitempty"`
	Querystring string  `json:"querystring,omitempty"`
	Method      string  `json:"method,omitempty"`
	Headers     Headers `json:"headers,omitempty"`
	Body        string  `json:"body,omitempty"`
	Timestamp   Time    `json:"timestamp"`
}

// Response is what was answered. Status 0 means that no answer came.
type Response struct {
	Status    int     `json:"status"`
	Headers   Headers `json:"headers"`
	Body      string  `json:"body,omitempty"`
	Timestamp Time    `json:"timestamp"`
}

// Failure is why something went wrong. The console shows the stack under "View Error Details".
type Failure struct {
	Message string `json:"message"`
	Stack   string `json:"stack,omitempty"`
}

// Port is a port, which OpenHIM stores as text.
type Port string

// UnmarshalJSON takes a number, too.
func (p *Port) UnmarshalJSON(text []byte) error {
	*p = Port(strings.Trim(string(text), `"`))
	if *p == "null" {
		*p = ""
	}
	return nil
}

// Headers are the headers of a message. The console shows a body by its content-type. A nil value is written as an
// empty object: without one the client of a mediator's response loses the transaction's id.
type Headers map[string]string

// MarshalJSON writes an object always.
func (h Headers) MarshalJSON() ([]byte, error) {
	if h == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]string(h))
}

// UnmarshalJSON takes values that are no text as the text of their JSON.
func (h *Headers) UnmarshalJSON(text []byte) error {
	values, err := texts(text)
	*h = values
	return err
}

// timeForm is the form of times in OpenHIM.
const timeForm = "2006-01-02T15:04:05.000Z"

// Time is a time in the form that OpenHIM wants: UTC, with milliseconds. The zero value is written as null and
// replaced before a report leaves.
type Time struct{ time.Time }

// At gives a time for OpenHIM.
func At(t time.Time) Time { return Time{t} }

// MarshalJSON writes the time in UTC, with milliseconds.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(strconv.Quote(t.UTC().Format(timeForm))), nil
}

// UnmarshalJSON reads RFC 3339. Anything else is no time, and no error.
func (t *Time) UnmarshalJSON(text []byte) error {
	t.Time, _ = time.Parse(time.RFC3339, strings.Trim(string(text), `"`))
	return nil
}

// NewID gives an id for a transaction. A report is sent with the same id until it is there once, so that a repeat is
// harmless.
func NewID(now time.Time) string {
	random := make([]byte, 8)
	_, _ = rand.Read(random)                                                    // never fails
	return fmt.Sprintf("%08x", uint32(now.Unix())) + hex.EncodeToString(random) //nolint:gosec // ids have the low 32 bits
}

var transactionID = regexp.MustCompile(`^[0-9a-f]{24}$`)

// IsID says whether a text can be the id of a transaction or a channel.
func IsID(text string) bool { return transactionID.MatchString(text) }

// Create stores a transaction of the mediator's own. It is a success, too, when OpenHIM has one of this id already. The
// report is brought into the form and the size that OpenHIM bears (Report).
func (c *Client) Create(ctx context.Context, t Transaction) error {
	doing := "report transaction " + t.ID + " to OpenHIM"
	if !IsID(t.ID) {
		return &Error{Doing: doing, Kind: Refused, What: "the id is not of 24 hexadecimal digits"}
	}
	a, err := c.do(ctx, call{doing: doing, method: http.MethodPost, path: "/transactions", body: t.Report(c.Limits)})
	switch {
	case err != nil:
		return err
	case a.status == http.StatusCreated, isDuplicate(a):
		return nil
	}
	return statusError(doing, a)
}

// isDuplicate tells that something of this key is there already. OpenHIM says so with a 500 and the words of its
// database (8.5.0), the one answer whose body has to be looked at.
func isDuplicate(a answer) bool {
	return a.status == http.StatusInternalServerError && strings.Contains(string(a.body), "E11000")
}

// Update changes the transaction of this id: each field that is told replaces what is stored. An Error of kind Unknown
// says that OpenHIM has no such transaction.
func (c *Client) Update(ctx context.Context, t Transaction) error {
	id := t.ID
	doing := "finish transaction " + id + " in OpenHIM"
	if !IsID(id) { // OpenHIM answers 500
		return &Error{Doing: doing, Kind: Unknown, What: "that is no id of a transaction"}
	}
	report := t.Report(c.Limits)
	report.ID = ""
	a, err := c.do(ctx, call{doing: doing, method: http.MethodPut, path: "/transactions/" + id, body: report})
	switch {
	case err != nil:
		return err
	case a.status == http.StatusOK:
		return nil
	case a.status == http.StatusInternalServerError: // so it answers for an unknown id, too (8.5.0)
		if _, err := c.Find(ctx, id); isKind(err, Unknown) {
			return under(doing, err)
		}
	}
	return statusError(doing, a)
}

// Find reads a transaction. An Error of kind Unknown says that OpenHIM has none of this id.
func (c *Client) Find(ctx context.Context, id string) (Transaction, error) {
	doing := "read transaction " + id + " from OpenHIM"
	if !IsID(id) { // OpenHIM answers 500
		return Transaction{}, &Error{Doing: doing, Kind: Unknown, What: "that is no id of a transaction", Remedy: "look the transaction up in OpenHIM's console"}
	}
	a, err := c.do(ctx, call{doing: doing, method: http.MethodGet, path: "/transactions/" + id})
	switch {
	case err != nil:
		return Transaction{}, err
	case a.status == http.StatusNotFound:
		return Transaction{}, &Error{Doing: doing, Kind: Unknown, Status: a.status, What: "OpenHIM has no such transaction", Remedy: "it may have been deleted, or OpenHIM's database is a new one"}
	case a.status != http.StatusOK:
		return Transaction{}, statusError(doing, a)
	}
	var found storedTransaction
	if err := decode(a, &found); err != nil {
		return Transaction{}, under(doing, err)
	}
	return found.transaction(), nil
}

// storedTransaction reads what OpenHIM has stored, whoever has written it: bodies and properties need not be text.
type storedTransaction struct {
	Transaction

	Properties json.RawMessage `json:"properties"`
}

func (s storedTransaction) transaction() Transaction {
	s.Transaction.Properties, _ = texts(s.Properties) // what is no object has no properties
	return s.Transaction
}

// decode reads a JSON answer.
func decode(a answer, into any) error {
	if !a.isJSON() {
		return &Error{Kind: Unusable, Status: a.status, What: "the answer is no JSON", Remedy: wrongAddress}
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return &Error{Kind: Unusable, Status: a.status, What: "the answer is not of the form expected: " + err.Error(), Remedy: wrongAddress}
	}
	return nil
}

// texts reads an object of texts; another value becomes the text of its JSON.
func texts(object []byte) (map[string]string, error) {
	var values map[string]json.RawMessage
	if len(object) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(object, &values); err != nil || values == nil {
		return nil, err
	}
	read := make(map[string]string, len(values))
	for name, value := range values {
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		read[name] = text
	}
	return read, nil
}
