package openhim

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
)

// Kind says what sort of failure an Error is.
type Kind string

// The kinds of failure.
const (
	// Unavailable: no answer, or one that says the server cannot work.
	Unavailable Kind = "unavailable"
	// Unusable: an answer that is not one of OpenHIM's API, so that the address is wrong.
	Unusable Kind = "unusable"
	// Credentials: OpenHIM does not know the account, or the account lacks a permission.
	Credentials Kind = "credentials"
	// Refused: OpenHIM does not take what was sent; the same again will be refused again.
	Refused Kind = "refused"
	// TooLarge: what was sent is more than OpenHIM takes.
	TooLarge Kind = "too_large"
	// Unknown: OpenHIM has no such mediator, channel or transaction.
	Unknown Kind = "unknown"
)

// ErrForgotten says that OpenHIM does not know the mediator, so that it has to register.
var ErrForgotten = errors.New("OpenHIM does not know this mediator")

// Error is a call to OpenHIM that did not do what was asked for.
type Error struct {
	// Doing is what was asked for, What is what went wrong, Remedy what a person can do about it.
	Doing, What, Remedy string
	Kind                Kind
	// Status is the HTTP status, 0 when there was no answer.
	Status int
	// Temporary means that it may pass by itself, so that asking again later is worth it.
	Temporary bool

	err error
}

func (e *Error) Error() string { return e.Doing + ": " + e.What }
func (e *Error) Unwrap() error { return e.err }

// Hint says what a person can do about it.
func (e *Error) Hint() string { return e.Remedy }

// isKind says whether err is an Error of the kind.
func isKind(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}

// callError tells a call without a whole answer.
func callError(doing string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	e := &Error{Doing: doing, Kind: Unavailable, What: err.Error(), Temporary: !permanent(err), err: err}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		e.Remedy = hint.Hint()
	}
	return e
}

const wrongAddress = "check api_url: it is the address of OpenHIM's API (port 8080 by default), not that of its console or router, and what stands before it"

// statusError tells an answer other than the one wanted. It looks at the status alone: OpenHIM 8.5.0 says "User
// Authenticated Successfully" in the bodies of refusals, too. The body is only quoted.
func statusError(doing string, a answer) *Error {
	e := &Error{Doing: doing, Status: a.status, What: fmt.Sprintf("OpenHIM answered %d%s", a.status, a.quote())}
	switch {
	case a.status == http.StatusUnauthorized:
		e.Kind, e.Remedy = Credentials, "check username and password of OpenHIM; the user name is an e-mail address, and upper and lower case count; cores before 5.1 say the same to a wrong api_url"
	case a.status == http.StatusForbidden:
		e.Kind, e.Remedy = Credentials, "give the account a role with mediator-manage-all, channel-manage-all and channel-view-all (examples/openhim-metadata.json)"
	case a.status == http.StatusNotFound:
		e.Kind, e.Remedy = Unknown, wrongAddress
	case a.status == http.StatusRequestEntityTooLarge:
		e.Kind, e.Remedy = TooLarge, "let OpenHIM, and the proxy before it, take bodies of 1 MB"
	case a.status == http.StatusTooManyRequests, a.status == http.StatusBadGateway, a.status == http.StatusServiceUnavailable, a.status == http.StatusGatewayTimeout:
		e.Kind, e.Temporary, e.Remedy = Unavailable, true, "OpenHIM is down or starting, or its proxy cannot reach it"
	case a.status == http.StatusInternalServerError:
		// Many mistakes of the caller are a 500 as well; only the work itself can tell, by trying again later.
		e.Kind, e.Temporary, e.Remedy = Refused, true, "look at OpenHIM's log: its database may be away, or it does not take what was sent"
	case a.status >= 500:
		e.Kind, e.Temporary, e.Remedy = Unavailable, true, "look at OpenHIM and at the proxy before it"
	case a.status >= 400:
		e.Kind, e.Remedy = Refused, "what was sent and this version of OpenHIM do not fit together: look at the reason and at mediatorConfig.json"
	default: // a success that is another one than OpenHIM's, or a redirect
		e.Kind, e.Remedy = Unusable, wrongAddress
		e.What = fmt.Sprintf("the server answered %d, which OpenHIM's API does not", a.status)
	}
	return e
}

// pageError tells a page for people where OpenHIM's API answered before: a proxy says that OpenHIM is away, or wants a
// login. It may pass by itself.
func pageError(doing string, a answer) *Error {
	return &Error{
		Doing: doing, Kind: Unusable, Status: a.status, Temporary: true, What: "a page of HTML was answered, which OpenHIM's API never does",
		Remedy: "look at the proxy before OpenHIM; " + wrongAddress,
	}
}

// answer is a whole answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// isJSON says whether the body is meant to be JSON. OpenHIM sends most answers as text.
func (a answer) isJSON() bool {
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}

// isPage says whether the body is a page for people.
func (a answer) isPage() bool {
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	return err == nil && kind == "text/html"
}

// quote gives the reason in OpenHIM's words, where it has one: a text that is no page and not the filler of 8.5.0.
func (a answer) quote() string {
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	text := strings.TrimSpace(strings.ToValidUTF8(string(a.body), "\uFFFD"))
	if err != nil || kind != "text/plain" || text == "" || text == filler || text == http.StatusText(a.status) {
		return ""
	}
	return fmt.Sprintf(" (%.300s)", text)
}

// filler is what OpenHIM 8.5.0 says, with Basic authentication, wherever it has nothing to say.
const filler = "User Authenticated Successfully"
