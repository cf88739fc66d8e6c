package dhis2

import (
	"context"
	"encoding/json"
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
	// Unusable: an answer that is none of DHIS2's.
	Unusable Kind = "unusable"
	// Credentials: the server does not know the account, or the account lacks the authority.
	Credentials Kind = "credentials"
	// Refused: the server will not do it until somebody changes something.
	Refused Kind = "refused"
)

// Error is a call to DHIS2 that did not bring what was asked for.
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

func (e *Error) Error() string {
	if e.Doing == "" {
		return e.What
	}
	return e.Doing + ": " + e.What
}

func (e *Error) Unwrap() error { return e.err }

// Hint says what a person can do about it.
func (e *Error) Hint() string { return e.Remedy }

func (e *Error) timedOut() bool {
	var timeout interface{ Timeout() bool }
	return e.Status == http.StatusGatewayTimeout || errors.As(e.err, &timeout) && timeout.Timeout()
}

// notSent says that nothing of the request reached DHIS2's import.
func (e *Error) notSent() bool {
	var unsent interface{ NotSent() bool }
	return errors.As(e.err, &unsent) && unsent.NotSent()
}

// failureOf tells what is wrong with an answer in general; nil when it is a 200 with JSON.
func failureOf(response *http.Response, body []byte, err error) *Error {
	if err != nil {
		return callFailure(err)
	}
	status := response.StatusCode
	e := &Error{Status: status}
	if status == http.StatusOK {
		if isJSON(response.Header) {
			return nil
		}
		e.Kind = Unusable
		e.What = fmt.Sprintf("the server answered with %q instead of JSON", response.Header.Get("Content-Type"))
		e.Remedy = "this is usually a login page or a proxy's page: check the address and what stands before DHIS2"
		return e
	}
	e.What = fmt.Sprintf("the server answered %d%s", status, said(response.Header, body))
	switch {
	case status == http.StatusUnauthorized, response.Header.Get("WWW-Authenticate") != "": // 400 for a malformed token, from 2.42 on
		e.Kind, e.Remedy = Credentials, "check the token or the user name and password; tokens expire, 30 days after they were made unless a date was set"
	case status == http.StatusForbidden:
		e.Kind, e.Remedy = Credentials, "give the account a role with the authority F_DATAVALUE_ADD"
	case status >= 300 && status < 400:
		e.Kind, e.What = Credentials, fmt.Sprintf("the server answered %d, a redirect to another page", status)
		e.Remedy = "this is usually the login page, or a proxy that wants https: check the address (https or http, path) and the credentials"
	case status == http.StatusProxyAuthRequired:
		e.Kind, e.Remedy = Unavailable, "the proxy on the way wants a user name and password: give them in HTTPS_PROXY or HTTP_PROXY"
	case status == http.StatusNotFound:
		e.Kind, e.Remedy = Refused, "check the id and the address (many servers have a path, such as /dhis); DHIS2 also answers so for what the account may not read: share it with the account"
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		e.Kind, e.Temporary, e.Remedy = Unavailable, true, "the proxy before DHIS2 holds requests back: look at its limits"
	case status == http.StatusRequestEntityTooLarge:
		e.Kind, e.Temporary, e.Remedy = Unavailable, true, "the proxy before DHIS2 takes no request of this size: raise its limit (client_max_body_size in nginx), or lower chunk_values"
	case status == http.StatusGatewayTimeout:
		e.Kind, e.Temporary, e.Remedy = Unavailable, true, "DHIS2 took longer than the proxy before it waits: raise its read time-out, or lower chunk_values"
	case status >= 500:
		e.Kind, e.Temporary, e.Remedy = Unavailable, true, "look at DHIS2's log and at the proxy before it"
	default:
		e.Kind, e.Remedy = Refused, "look at DHIS2's words; if they mean nothing to you, report it as a bug of the mediator"
	}
	return e
}

// callFailure tells a call without a whole answer.
func callFailure(err error) *Error {
	e := &Error{Kind: Unavailable, What: err.Error(), err: err}
	var fixed interface{ Permanent() bool }
	e.Temporary = !errors.Is(err, context.Canceled) && (!errors.As(err, &fixed) || !fixed.Permanent())
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		e.Remedy = hint.Hint()
	}
	return e
}

// said quotes DHIS2's message where the body is its envelope.
func said(header http.Header, body []byte) string {
	var answer struct {
		Message string `json:"message"`
	}
	if !isJSON(header) || json.Unmarshal(body, &answer) != nil || answer.Message == "" {
		return ""
	}
	return fmt.Sprintf(" (%.300s)", strings.TrimSpace(answer.Message))
}

func isJSON(header http.Header) bool {
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}
