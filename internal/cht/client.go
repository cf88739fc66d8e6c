// Package cht reads aggregates from a server of the Community Health Toolkit (CHT).
//
// One source is the export for DHIS2, GET /api/v2/export/dhis, which CHT has had unchanged since 3.9. Its answer has
// traps: it adds elements up that it should not, fills with zeros, and says 200 for a month that nobody asked for. This
// package makes sure that the answer is whole and is the one that was asked for, and yields what stands in it, value by
// value. What may pass is judged by package mapping.
//
// The other source are the target documents that the export adds up, with the contacts that they belong to, read from the
// CHT's database page by page. Their ids are names of people: no error has them, and nothing of these calls is kept as evidence
// but that they were made. Package target adds them up.
package cht

import (
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
	// Stream leaves the body of a 200 unread in the response.
	Stream(request *http.Request, again func(try int, response *http.Response, body []byte, err error) (time.Duration, bool)) (*http.Response, []byte, error)
}

// Client reads from one CHT. It may be used by several goroutines; exports, and readings of documents, wait for each other, as the
// server builds an export in memory and its other users wait meanwhile.
type Client struct {
	base    *url.URL
	caller  Caller
	exports chan struct{}
	// page is how many rows a page has, breaks how often a reading goes on after an answer that broke off.
	page, breaks int
}

// New makes a client of the server at base, which may carry a path.
func New(base *url.URL, caller Caller) *Client {
	return &Client{base: base, caller: caller, exports: make(chan struct{}, 1), page: pageRows, breaks: maxBreaks}
}

// Server is the address of the server, without a password in it.
func (c *Client) Server() string { return c.base.Redacted() }

// Info says what server answers.
type Info struct {
	// Version is such as "5.2.0".
	Version string `json:"version"`
}

// Info asks for the server's version, which also tries the address and the credentials (GET /api/deploy-info, CHT 3.5
// and later).
func (c *Client) Info(ctx context.Context) (Info, error) {
	const doing = "ask the CHT for its version"
	var info Info
	if err := c.get(ctx, doing, "/api/deploy-info", &info); err != nil {
		return Info{}, err
	}
	if info.Version == "" {
		return Info{}, &Error{Doing: doing, Kind: Unusable, What: "the answer has no version", Remedy: "check that the address is that of a CHT"}
	}
	return info, nil
}

// get reads a small JSON answer.
func (c *Client) get(ctx context.Context, doing, path string, into any) error {
	request, err := c.request(ctx, path)
	if err != nil {
		return err
	}
	response, body, err := c.caller.Do(request, judge) //nolint:bodyclose // Do has closed it
	if err != nil {
		return callError(doing, err)
	}
	if err := answerError(doing, response, body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return &Error{Doing: doing, Kind: Unusable, What: "the answer is no JSON of the form expected: " + err.Error(), Remedy: "check that the address is that of a CHT, and what stands before it"}
	}
	return nil
}

func (c *Client) request(ctx context.Context, path string) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.base.String(), "/")+path, nil)
}

// The waits after a try: a failed login is counted by CHT 4.6 and later over ten seconds; a 500 mostly stays.
const (
	maxTries    = 4
	maxTries500 = 3
	loginWait   = 10 * time.Second
	shortWait   = time.Second
	gatewayWait = 10 * time.Second
)

// judge says whether another try is worth it, after how long. It is the one place that decides so for a CHT; it wants
// no body, as the causes of a 500 cannot be told apart by it.
func judge(try int, response *http.Response, _ []byte, err error) (time.Duration, bool) {
	if err != nil {
		return shortWait << (2 * (try - 1)), try < maxTries-1 && !permanent(err)
	}
	switch response.StatusCode {
	case http.StatusTooManyRequests:
		return loginWait, try < maxTries
	case http.StatusInternalServerError:
		return 2 * shortWait << (try - 1), try < maxTries500
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return 2 * shortWait << (try - 1), try < maxTries
	case http.StatusGatewayTimeout:
		return gatewayWait, try < maxTries-1
	default:
		return 0, false
	}
}

// permanent says that an error of a call stays; running out of time counts once the request was sent, as the server
// works on meanwhile.
func permanent(err error) bool {
	var fixed interface{ Permanent() bool }
	var timeout interface{ Timeout() bool }
	var unsent interface{ NotSent() bool }
	return errors.Is(err, context.Canceled) ||
		errors.As(err, &fixed) && fixed.Permanent() ||
		errors.As(err, &timeout) && timeout.Timeout() && (!errors.As(err, &unsent) || !unsent.NotSent())
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

// answerError tells an answer that is not the JSON asked for; nil when it is.
func answerError(doing string, response *http.Response, body []byte) error {
	e := &Error{Doing: doing, Status: response.StatusCode}
	if response.StatusCode == http.StatusOK {
		if isJSON(response.Header) {
			return nil
		}
		e.Kind = Unusable
		e.What = fmt.Sprintf("the server answered with %q instead of JSON", response.Header.Get("Content-Type"))
		e.Remedy = "this is usually a login page or a proxy's page: check the address and what stands before the CHT"
		return e
	}
	said := said(response.Header, body)
	e.What = fmt.Sprintf("the server answered %d%s", response.StatusCode, said)
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized:
		e.Kind, e.Remedy = Credentials, "check user name and password; ten failed logins in ten seconds block the account's address for a while"
	case status == http.StatusForbidden:
		e.Kind, e.Remedy = Credentials, "the account must be an online user: give it the role mm-online"
	case status >= 300 && status < 400:
		e.Kind, e.What = Unusable, fmt.Sprintf("the server answered %d, a redirect to another page", status)
		e.Remedy = "this is usually a login page or a proxy: check the address (https or http, path) and what stands before the CHT"
	case status == http.StatusBadRequest && !isJSON(response.Header): // a CHT gives its reason
		e.Kind, e.Remedy = Unusable, "this is no answer of a CHT: check the address (https or http, port, path) and what stands before the CHT"
	case status == http.StatusBadRequest:
		e.Kind, e.Remedy = Refused, "check the data set in the CHT's settings: it must be in dhis_data_sets and have targets with a data element"
	case status == http.StatusNotFound:
		e.Kind, e.Remedy = Unusable, "check the address: no CHT of version 3.9 or later is at this path"
	case status == http.StatusTooManyRequests:
		e.Kind, e.Temporary = Unavailable, true
		e.Remedy = "too many failed logins: something with this address, user name or password tries a wrong password again and again; find it, and wait ten seconds"
	case status == http.StatusInternalServerError:
		e.Kind = Unavailable
		e.Remedy = "usual causes: the account's role lacks the permission can_export_all (can_export_dhis is not enough), or one malformed target document in that month, or too much data; the CHT's log tells which"
	case status >= 500:
		e.Kind, e.Temporary, e.Remedy = Unavailable, true, "the CHT is down or starting, or its proxy cannot reach it"
	default:
		e.Kind, e.Remedy = Unusable, "check the address and what stands before the CHT"
	}
	return e
}

// said quotes what CHT gives as the reason, when it does so in its own form.
func said(header http.Header, body []byte) string {
	var answer struct {
		Error any `json:"error"`
	}
	if !isJSON(header) || json.Unmarshal(body, &answer) != nil {
		return ""
	}
	text, ok := answer.Error.(string)
	if !ok || text == "" {
		return ""
	}
	return fmt.Sprintf(" (%.200s)", text)
}

func isJSON(header http.Header) bool {
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && kind == "application/json"
}
