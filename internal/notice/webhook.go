package notice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Caller sends requests: a transport.Client, or what stands in for it. The function given with a request judges each
// try: whether another one follows, and after how long.
type Caller interface {
	// Do reads the whole answer.
	Do(request *http.Request, again func(try int, response *http.Response, body []byte, err error) (time.Duration, bool)) (*http.Response, []byte, error)
}

// Webhook posts notices to one address. It may be used by several goroutines.
type Webhook struct {
	// Address is asked at every notice, so that one kept in a file may change. It is a secret: who knows it can post.
	Address func() (string, error)
	Client  Caller
}

// Send posts the notice as JSON. The error is an *Error, but for a context that was cancelled. There is one try only:
// a try whose answer was lost may have told people already, and the caller has longer patience anyway.
func (w Webhook) Send(ctx context.Context, n Notice) error {
	const doing = "send the notice to the webhook"
	text, err := w.Address()
	if err != nil {
		return &Error{Doing: doing, What: "read the address: " + err.Error(), Remedy: "check the file of the secret in the configuration"}
	}
	address, err := url.Parse(strings.TrimSpace(text))
	if err != nil || address.Scheme != "https" && address.Scheme != "http" || address.Host == "" {
		return &Error{Doing: doing, What: "its address is none", Remedy: "give an address that begins with https:// (or http://); it is not shown here, as it may be a secret"}
	}
	body, err := n.json()
	if err != nil {
		return &Error{Doing: doing, What: "write the notice as JSON: " + err.Error()}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), bytes.NewReader(body))
	if err != nil {
		return &Error{Doing: doing, What: "its address is none", Remedy: "check the address; it is not shown here, as it may be a secret"}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", n.key())
	response, answer, err := w.Client.Do(request, once) //nolint:bodyclose // Do has closed it
	if err != nil {
		return callError(ctx, doing, err, parts(address))
	}
	return statusError(doing, response, answer, parts(address))
}

// once lets no try be followed by another one.
func once(int, *http.Response, []byte, error) (time.Duration, bool) { return 0, false }

// callError tells a call without a whole answer. A transport knows the words and whether trying again is in vain.
func callError(ctx context.Context, doing string, err error, secrets []string) error {
	const remedy = "look at the receiver, and at the network and its firewalls on the way"
	if cause := ctx.Err(); cause != nil {
		return ended(doing, remedy, cause)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return ended(doing, remedy, err)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) { // its text begins with the address
		err = wrapped.Err
	}
	e := connection(err, secrets...)
	e.Doing = doing
	var told interface {
		error
		Hint() string
		Permanent() bool
	}
	if errors.As(err, &told) {
		e.What, e.Remedy, e.Temporary = quote(told.Error(), secrets...), told.Hint(), !told.Permanent()
	}
	return e
}

// statusError tells an answer that is no success; nil for one that is.
func statusError(doing string, response *http.Response, body []byte, secrets []string) error {
	status := response.StatusCode
	if status >= 200 && status < 300 {
		return nil
	}
	e := &Error{Doing: doing, What: fmt.Sprintf("it answered %d%s", status, reason(response, body, secrets))}
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		e.Temporary, e.Remedy = true, "the receiver is busy or down: look at it if this stays so"
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound, status == http.StatusGone:
		e.Remedy = "the address is not valid, or no longer: make a new webhook at the receiver and give its address"
	case status >= 400:
		e.Remedy = "the receiver does not take such a message: it has to take JSON with a field text"
	default:
		e.Remedy = "give the address that the receiver redirects to; redirects are not followed"
	}
	return e
}

// reason quotes an answer that is a text or JSON, and no page.
func reason(response *http.Response, body []byte, secrets []string) string {
	kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || kind != "text/plain" && kind != "application/json" {
		return ""
	}
	words := quote(string(body), secrets...)
	if words == "" {
		return ""
	}
	return " (" + words + ")"
}

// minPart is how long a piece of the path or the query has to be to be a secret by itself. Shorter ones are plain words,
// such as api and services, without which an answer could not be read.
const minPart = 8

// parts are the pieces of an address that may come back in an answer or an error.
func parts(address *url.URL) []string {
	pieces := []string{address.String(), address.Host, address.Hostname()}
	if password, has := address.User.Password(); has {
		pieces = append(pieces, password)
	}
	pieces = append(pieces, address.User.Username())
	inner := []string{address.RequestURI(), address.EscapedPath(), address.Path, address.RawQuery}
	inner = append(inner, strings.Split(address.Path, "/")...)
	inner = append(inner, strings.Split(address.EscapedPath(), "/")...)
	for _, pair := range strings.Split(address.RawQuery, "&") {
		_, value, _ := strings.Cut(pair, "=")
		inner = append(inner, value)
	}
	for _, values := range address.Query() {
		inner = append(inner, values...)
	}
	for _, piece := range inner {
		if len(piece) >= minPart {
			pieces = append(pieces, piece)
		}
	}
	return pieces
}

// json writes the notice for programs. The field text is all of it for people, as receivers such as Slack and Mattermost
// show that field; detail is Text alone.
func (n Notice) json() ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(struct {
		ID           string    `json:"id"`
		Installation string    `json:"installation"`
		Level        Level     `json:"level"`
		Cause        string    `json:"cause"`
		Subject      string    `json:"subject"`
		Detail       string    `json:"detail"`
		Text         string    `json:"text"`
		At           time.Time `json:"at"`
		Facts        facts     `json:"facts"`
	}{n.ID, n.Installation, n.Level, n.Cause, oneLine(n.Subject), lines(n.Text), n.title() + "\n\n" + n.body(), n.At.UTC(), n.Facts})
	return buffer.Bytes(), err
}

// facts is an object whose members keep their order.
type facts []Fact

// MarshalJSON writes {"name":"value",…}.
func (f facts) MarshalJSON() ([]byte, error) {
	members := make([]string, 0, len(f))
	for _, fact := range f {
		name, err := json.Marshal(fact.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(fact.Value)
		if err != nil {
			return nil, err
		}
		members = append(members, string(name)+":"+string(value))
	}
	return []byte("{" + strings.Join(members, ",") + "}"), nil
}
