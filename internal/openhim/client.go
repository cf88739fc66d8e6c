package openhim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Caller sends requests: a transport.Client, or what stands in for it. The function given with a request judges each
// try: whether another one follows, and after how long. It must not set an Authorization header of its own.
type Caller interface {
	// Do reads the whole answer.
	Do(request *http.Request, again func(try int, response *http.Response, body []byte, err error) (time.Duration, bool)) (*http.Response, []byte, error)
}

// Client calls the management API of one OpenHIM. It may be used by several goroutines.
//
// It goes by the status of an answer and never by its body, as OpenHIM 8.5.0 gives the same friendly text with a 200, a
// 400 and a 404. It also answers 200 to every path that it does not have; so before the first call of its life the
// client asks for OpenHIM's version, which no other server gives.
type Client struct {
	// Limits say how much of a report is sent; to be set before the first call.
	Limits Limits

	base   *url.URL
	caller Caller
	login  login
	proved atomic.Bool
}

// New makes a client of the API at base, which may carry a path.
func New(base *url.URL, caller Caller, account Account) *Client {
	return &Client{base: base, caller: caller, login: login{Account: account}}
}

// About says what server answers.
type About struct {
	// Version is such as "8.5.0".
	Version string `json:"currentCoreVersion"`
	// TimeZone is the server's, in which polling channels are scheduled.
	TimeZone string `json:"serverTimezone"`
}

// About asks for the server's version, which also tries the address and the credentials.
func (c *Client) About(ctx context.Context) (About, error) {
	const doing = "ask OpenHIM for its version"
	a, err := c.send(ctx, call{doing: doing, method: http.MethodGet, path: "/about"})
	if err != nil {
		return About{}, err
	}
	if a.status == http.StatusNotFound {
		return About{}, &Error{Doing: doing, Kind: Unusable, Status: a.status, What: "the server has no such page", Remedy: wrongAddress}
	}
	if a.status != http.StatusOK {
		return About{}, statusError(doing, a)
	}
	var about About
	if !a.isJSON() || json.Unmarshal(a.body, &about) != nil || about.Version == "" {
		return About{}, &Error{Doing: doing, Kind: Unusable, Status: a.status, What: "the answer has no version, so it is not from OpenHIM's API", Remedy: wrongAddress}
	}
	c.proved.Store(true)
	return about, nil
}

// call is a request in the making.
type call struct {
	doing, method, path string
	// body is sent as JSON; nil sends none.
	body any
}

// do makes a call and gives back the answer, whatever its status. The first call of all is preceded by About.
func (c *Client) do(ctx context.Context, call call) (answer, error) {
	if !c.proved.Load() {
		if _, err := c.About(ctx); err != nil {
			return answer{}, err
		}
	}
	return c.send(ctx, call)
}

// send signs a call and makes it. A call that is refused is made once more when it can be signed better: with the token
// scheme where Basic is refused, or with a salt that is read anew.
func (c *Client) send(ctx context.Context, call call) (answer, error) {
	var body []byte
	if call.body != nil {
		var err error
		if body, err = encode(call.body); err != nil {
			return answer{}, fmt.Errorf("%s: %w", call.doing, err)
		}
	}
	for improved := false; ; improved = true {
		signature, err := c.login.sign()
		if err != nil {
			return answer{}, under(call.doing, err)
		}
		a, err := c.trip(ctx, call, body, signature)
		if err != nil || a.status != http.StatusUnauthorized {
			return a, err
		}
		better := false
		if !improved {
			if better, err = c.login.improve(ctx, c); err != nil {
				return answer{}, under(call.doing, err)
			}
		}
		if !better {
			return answer{}, c.login.refusal(call.doing, a)
		}
	}
}

// trip sends one request, again while judge says so.
func (c *Client) trip(ctx context.Context, call call, body []byte, signature http.Header) (answer, error) {
	address := strings.TrimSuffix(c.base.String(), "/") + call.path
	request, err := http.NewRequestWithContext(ctx, call.method, address, bytes.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", call.doing, err)
	}
	if body == nil {
		request.Body, request.GetBody = nil, nil
	} else {
		request.Header.Set("Content-Type", "application/json") // without it OpenHIM sees an empty object
	}
	for name, values := range signature {
		request.Header[name] = values
	}
	response, content, err := c.caller.Do(request, judge) //nolint:bodyclose // Do has closed it
	if err != nil {
		return answer{}, callError(call.doing, err)
	}
	return answer{response.StatusCode, response.Header, content}, nil
}

// encode writes JSON as it is, without the escapes that make it fit for HTML.
func encode(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}

// under tells the error of a step as one of the call that needed it.
func under(doing string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	told := *e
	told.Doing = doing
	return &told
}

// The waits after a try are short: whoever calls has its own, long patience.
const (
	maxTries = 3
	firstGap = time.Second
)

// judge says whether another try is worth it, after how long. It is the one place that decides so for OpenHIM. All
// calls may be repeated: registering and a heartbeat do the same again, and a transaction carries its own id.
func judge(try int, response *http.Response, _ []byte, err error) (time.Duration, bool) {
	wait := firstGap << (try - 1)
	if err != nil {
		return wait, try < maxTries && !permanent(err)
	}
	switch response.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return wait, try < maxTries
	default: // a 500 mostly stays: OpenHIM has it for many mistakes of the caller
		return 0, false
	}
}

// permanent says that an error of a call stays; running out of time counts once the request was sent.
func permanent(err error) bool {
	var fixed interface{ Permanent() bool }
	var timeout interface{ Timeout() bool }
	var unsent interface{ NotSent() bool }
	return errors.Is(err, context.Canceled) ||
		errors.As(err, &fixed) && fixed.Permanent() ||
		errors.As(err, &timeout) && timeout.Timeout() && (!errors.As(err, &unsent) || !unsent.NotSent())
}
