// Package dhis2 sends aggregate values to a DHIS2 server and tells truly what became of each of them.
//
// There are two dialects of the import, up to 2.42 and from 2.43 on, which answer the same request so differently that
// the status of an answer alone says nothing: 409 may mean that nearly all was stored, and 200 that nothing was. This
// package asks the server which one it is, and turns every answer of either into one Outcome.
package dhis2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Caller sends a request, again while the function given with it says so, and gives back the last answer with its
// whole body: a transport.Client, or what stands in for it.
type Caller interface {
	Do(request *http.Request, again func(try int, response *http.Response, body []byte, err error) (time.Duration, bool)) (*http.Response, []byte, error)
	// Stream leaves the body of a 200 unread in the response.
	Stream(request *http.Request, again func(try int, response *http.Response, body []byte, err error) (time.Duration, bool)) (*http.Response, []byte, error)
}

// Client calls one DHIS2. It may be used by several goroutines; of their imports one is in flight at a time, as a
// second one gains nothing on the server and two with a common cell can undo each other.
type Client struct {
	base     *url.URL
	caller   Caller
	inFlight chan struct{}
	now      func() time.Time
	// packers are kept, as each takes more memory than the chunk that it packs.
	packers sync.Pool
}

// New makes a client of the server at base, which may carry a path. It has at most inFlight imports under way at one
// time; less than one counts as one.
func New(base *url.URL, caller Caller, inFlight int) *Client {
	return &Client{
		base: base, caller: caller, inFlight: make(chan struct{}, max(1, inFlight)), now: time.Now,
		packers: sync.Pool{New: func() any {
			writer, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // a level that there is
			return &packer{gzip: writer}
		}},
	}
}

// Server is what a DHIS2 says of itself.
type Server struct {
	Version  string
	Dialect  Dialect
	Calendar string
	TimeZone string
	Date     string
}

// Server asks which DHIS2 this is. The dialect and the calendar of a server may change with its next start, so this is
// asked once a run.
func (c *Client) Server(ctx context.Context) (Server, error) {
	const doing = "ask DHIS2 for its version"
	var info struct {
		Version          string `json:"version"`
		Calendar         string `json:"calendar"`
		ServerDate       string `json:"serverDate"`
		ServerTimeZoneID string `json:"serverTimeZoneId"`
	}
	if err := c.get(ctx, doing, "/api/system/info?fields=version,calendar,serverDate,serverTimeZoneId", &info); err != nil {
		var known *Error
		if errors.As(err, &known) && known.Kind == Refused {
			known.Kind, known.Remedy = Unusable, "no DHIS2 is at this address: check it, its path above all (many servers have one, such as /dhis)"
		}
		return Server{}, err
	}
	if info.Version == "" {
		return Server{}, &Error{Doing: doing, Kind: Unusable, What: "the answer has no version", Remedy: "check that the address is that of a DHIS2"}
	}
	dialect, err := DialectOf(info.Version)
	if err != nil {
		return Server{}, &Error{Doing: doing, Kind: Refused, What: err.Error(), Remedy: "use a DHIS2 of version 2.38 or later; check that the address is that of a DHIS2"}
	}
	return Server{Version: info.Version, Dialect: dialect, Calendar: info.Calendar, TimeZone: info.ServerTimeZoneID, Date: info.ServerDate}, nil
}

// User is the account that the client uses.
type User struct {
	ID          string   `json:"id"`
	Username    string   `json:"username"`
	Authorities []string `json:"authorities"`
	OrgUnits    []struct {
		ID   string `json:"id"`
		Path string `json:"path"`
	} `json:"organisationUnits"`
}

// Me asks whose credentials these are.
func (c *Client) Me(ctx context.Context) (User, error) {
	var user User
	err := c.get(ctx, "ask DHIS2 for the account", "/api/me?fields=id,username,authorities,organisationUnits[id,path]", &user)
	return user, err
}

// get reads a small JSON answer.
func (c *Client) get(ctx context.Context, doing, path string, into any) error {
	request, err := c.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	response, body, err := c.caller.Do(request, judgeRead) //nolint:bodyclose // the caller has read and closed it
	if failure := failureOf(response, body, err); failure != nil {
		failure.Doing = doing
		return failure
	}
	if err := json.Unmarshal(body, into); err != nil {
		return &Error{Doing: doing, Kind: Unusable, What: "the answer is no JSON of the form expected: " + err.Error(), Remedy: "check that the address is that of a DHIS2, and what stands before it"}
	}
	return nil
}

func (c *Client) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.base.String(), "/")+path, bodyReader(body))
	if err != nil {
		return nil, fmt.Errorf("make a request to DHIS2: %w", err)
	}
	// Without this header a server that sees no credentials sends a browser's redirect instead of a 401.
	request.Header.Set("X-Requested-With", "XMLHttpRequest")
	return request, nil
}
