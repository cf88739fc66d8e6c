// Package transport makes the HTTP clients with which the mediator calls its neighbours.
//
// It knows how to travel: TLS, proxies, time-outs, size limits, short retries and a breaker. What an answer means and
// whether another try is worth it is the neighbour's knowledge, so each call brings a function that judges every try.
package transport

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/klauspost/compress/gzip"
	"github.com/sony/gobreaker/v2"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

// Config describes the way to one server.
type Config struct {
	// Authorization gives the value of the Authorization header; it is asked at every call, so that a secret kept in a
	// file may change. Nil sends none.
	Authorization func() (string, error)
	// CAFile is a PEM file of certificate authorities trusted beside the system's. Empty adds none.
	CAFile string
	// Fingerprint is the SHA-256 of the server's certificate, in hexadecimal digits, with or without colons. It is then
	// the only thing that the certificate is held to: for a server that made its own, as a fresh OpenHIM does. Empty
	// leaves the trust to the authorities.
	Fingerprint string
	// TrustAny takes every certificate of the server, so that anybody on the way can read and change what is sent.
	TrustAny bool
	// HeaderTimeout is how long the server may take until its answer begins, Timeout how long the whole of an answer
	// may take that Do reads. Zero means no limit.
	HeaderTimeout, Timeout time.Duration
	// MaxBody is how large an answer may be, unpacked, in bytes. Zero means 512 MiB. MaxStream is the same for what Stream
	// leaves unread; zero means MaxBody.
	MaxBody, MaxStream int64
	// UserAgent is sent with every request.
	UserAgent string
	// Cookies keeps the server's cookies for the life of the client: a DHIS2 opens a session a request without them.
	Cookies bool

	// RoundTripper stands in for the network, in tests. Nil means the network.
	RoundTripper http.RoundTripper
}

// Client calls one server. It follows no redirect and may be used by several goroutines.
type Client struct {
	http    *http.Client
	breaker *gobreaker.CircuitBreaker[struct{}]
	config  Config

	peerMu sync.Mutex
	peer   Peer
}

const (
	defaultMaxBody = 512 << 20
	breakAfter     = 6
	breakFor       = 5 * time.Second
	// errorBody is how much of an answer that is no success is read.
	errorBody = 16 << 20
)

// New makes a client. The error names a CA file or a fingerprint that cannot be used.
func New(config Config) (*Client, error) {
	if config.MaxBody == 0 {
		config.MaxBody = defaultMaxBody
	}
	if config.MaxStream == 0 {
		config.MaxStream = config.MaxBody
	}
	network := config.RoundTripper
	if network == nil {
		trust, err := trustOf(config)
		if err != nil {
			return nil, err
		}
		network = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:       trust,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: config.HeaderTimeout,
			ForceAttemptHTTP2:     true,

			OnProxyConnectResponse: proxyAnswer,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        90 * time.Second,
			DisableCompression:     true, // unpacked here, so that the limit counts unpacked bytes
		}
	}
	c := &Client{config: config}
	c.breaker = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:     breakFor,
		ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= breakAfter },
		IsExcluded:  func(err error) bool { return errors.Is(err, context.Canceled) },
	})
	c.http = &http.Client{
		Transport:     roundTripper(func(r *http.Request) (*http.Response, error) { return c.try(network, r) }),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if config.Cookies {
		c.http.Jar, _ = cookiejar.New(nil) // never fails
	}
	return c, nil
}

// proxyAnswer tells why a proxy did not connect; net/http would only give the words of the status.
func proxyAnswer(_ context.Context, _ *url.URL, _ *http.Request, response *http.Response) error {
	if response.StatusCode == http.StatusOK {
		return nil
	}
	return &Error{
		What:   fmt.Sprintf("the proxy answered %d instead of connecting", response.StatusCode),
		Remedy: "check HTTPS_PROXY and NO_PROXY, and whether the proxy lets the mediator through",
		Fixed:  response.StatusCode < http.StatusInternalServerError, Unsent: true,
	}
}

func rootCAs(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the CA file: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the CA file %s: no PEM certificate in it", file)
	}
	return roots, nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Again is the judgement of one try: whether another one follows, and after how long. The response is nil when none
// came. The body is nil when nothing of it was read, as of a success that is streamed; a body that broke off comes with
// err. The error, where there is one, is an *Error.
type Again = func(try int, response *http.Response, body []byte, err error) (wait time.Duration, again bool)

// Do sends the request, again while again says so, and gives back the last answer with its whole body. The response's
// own Body is closed and empty. The error, an *Error, is that of the last try; where an answer broke off, the response
// and what came of the body are given beside it.
func (c *Client) Do(request *http.Request, again Again) (*http.Response, []byte, error) {
	return c.send(request, again, false)
}

// Stream is Do, but leaves the body of a success (200) unread in the response, for the caller to read and close. It
// is unpacked and limited as it is read, and breaks off when the server sends nothing for as long as Timeout.
func (c *Client) Stream(request *http.Request, again Again) (*http.Response, []byte, error) {
	return c.send(request, again, true)
}

// send is the retrying core: retryablehttp makes the tries, and its questions are answered by the caller's judgement.
func (c *Client) send(request *http.Request, again Again, stream bool) (*http.Response, []byte, error) {
	var (
		response *http.Response
		body     []byte
		last     error
		wait     time.Duration
		try      int
	)
	client := *c.http
	if !stream {
		client.Timeout = c.config.Timeout
	}
	retrying := &retryablehttp.Client{
		HTTPClient:   &client,
		RetryMax:     math.MaxInt, // the judgement ends it
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
		CheckRetry: func(ctx context.Context, r *http.Response, err error) (retry bool, _ error) {
			try++
			response, body, last = r, nil, describe(err)
			if err == nil && (!stream || r.StatusCode != http.StatusOK) {
				body, err = c.readAll(r)
				last = describe(err)
			}
			wait, retry = again(try, response, body, last)
			return retry && ctx.Err() == nil, nil
		},
		Backoff: func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return wait },
	}
	wrapped, err := retryablehttp.FromRequest(request)
	if err != nil {
		return nil, nil, describe(err)
	}
	_, err = retrying.Do(wrapped)
	// The context may have ended while waiting for the next try. That it was cancelled says more than the last try.
	if err != nil && (last == nil || errors.Is(err, context.Canceled)) {
		last = describe(err)
	}
	return response, body, last
}

// try makes one try, and records it where the context of the call has a recorder.
func (c *Client) try(network http.RoundTripper, request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	unready := c.prepare(request)
	record := exchange.From(request.Context()).Begin(request)
	if unready != nil {
		closeBody(request)
		record.End(unready)
		return nil, unready
	}
	deadline, _ := request.Context().Deadline()
	began := time.Now()
	response, err := c.guarded(network, request)
	c.see(response, began, err)
	if err != nil {
		record.End(describe(lateOr(deadline, err)))
		return nil, err
	}
	record.Answered(response.StatusCode, response.Header)
	response = c.unpacked(response)
	if record != nil {
		response.Body = &recordedBody{body: response.Body, record: record, deadline: deadline}
	}
	return response, nil
}

// prepare sets the headers. The error is for credentials that cannot be read.
func (c *Client) prepare(request *http.Request) error {
	request.Header.Set("User-Agent", c.config.UserAgent)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Accept-Encoding", "gzip")
	if c.config.Authorization == nil {
		return nil
	}
	value, err := c.config.Authorization()
	if err != nil {
		return &Error{What: "the credentials cannot be read: " + err.Error(), Remedy: "check the file of the secret in the configuration", Fixed: true, Unsent: true, err: err}
	}
	request.Header.Set("Authorization", value)
	return nil
}

// guarded sends a request, unless the breaker is open. The body of the answer breaks off when it stops coming.
func (c *Client) guarded(network http.RoundTripper, request *http.Request) (*http.Response, error) {
	caller := request.Context()
	try, cancel := context.WithCancelCause(caller)
	request = request.WithContext(try)

	var response *http.Response
	_, err := c.breaker.Execute(func() (none struct{}, err error) {
		if response, err = network.RoundTrip(request); err != nil { //nolint:bodyclose // closed by the caller
			return none, endedOr(caller, err)
		}
		if isDown(response.StatusCode) {
			return none, errors.New("the server is down")
		}
		return none, nil
	})
	if response != nil {
		limit := c.config.Timeout
		if deadline, ok := caller.Deadline(); ok && time.Until(deadline) <= limit {
			limit = 0 // the deadline comes first, as Do's always does
		}
		response.Body = &stallGuard{ReadCloser: response.Body, caller: caller, try: try, cancel: cancel, limit: limit}
		return response, nil
	}
	cancel(nil)
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		closeBody(request)
	}
	return nil, err
}

// isDown says whether a status is that of a server, or of a proxy before it, that cannot work at all.
func isDown(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable
}

func closeBody(request *http.Request) {
	if request.Body != nil {
		_ = request.Body.Close()
	}
}

// unpacked makes the response's body count, and where the server packed it, unpack itself.
func (c *Client) unpacked(response *http.Response) *http.Response {
	body := response.Body
	limited := &limitedBody{closer: body, reader: body, left: max(c.config.MaxBody, c.config.MaxStream)}
	if strings.EqualFold(response.Header.Get("Content-Encoding"), "gzip") {
		limited.reader = &lazyGzip{packed: body}
		response.Header.Del("Content-Encoding")
		response.ContentLength = -1
	}
	response.Body = limited
	return response
}

// readAll reads and closes the body, and leaves an empty one in its place.
func (c *Client) readAll(response *http.Response) ([]byte, error) {
	reader := io.Reader(response.Body)
	if c.config.MaxStream > c.config.MaxBody {
		reader = &limitedBody{reader: reader, left: c.config.MaxBody}
	}
	if response.StatusCode != http.StatusOK {
		reader = io.LimitReader(reader, errorBody)
	}
	body, err := io.ReadAll(reader)
	_ = response.Body.Close()
	response.Body = http.NoBody
	return body, err
}

// lazyGzip reads the header of the packed stream at the first read, so that an empty body is no error before then.
type lazyGzip struct {
	packed io.Reader
	reader *gzip.Reader
	err    error
}

func (z *lazyGzip) Read(p []byte) (int, error) {
	if z.reader == nil && z.err == nil {
		z.reader, z.err = gzip.NewReader(z.packed)
	}
	if z.err != nil {
		return 0, z.err
	}
	return z.reader.Read(p)
}

// limitedBody counts down what may still be read, and describes the errors of reading.
type limitedBody struct {
	reader io.Reader
	closer io.Closer
	left   int64
}

func (l *limitedBody) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, describe(errTooLarge)
	}
	n, err := l.reader.Read(p)
	l.left -= int64(n)
	if l.left < 0 {
		return 0, describe(errTooLarge)
	}
	if err != nil && err != io.EOF { //nolint:errorlint // the end of the body is io.EOF itself; an error around one is a body cut off
		err = describe(err)
	}
	return n, err
}

func (l *limitedBody) Close() error { return l.closer.Close() }

// recordedBody records a body as it is read. The record is complete when the body has ended or is closed.
type recordedBody struct {
	body   io.ReadCloser
	record *exchange.Try
	// deadline is that of the try, zero where there is none.
	deadline time.Time
}

func (b *recordedBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	_, _ = b.record.Write(p[:n]) // never fails
	switch {
	case err == io.EOF:
		b.record.End(err)
	case err != nil:
		b.record.End(describe(lateOr(b.deadline, err)))
	}
	return n, err
}

func (b *recordedBody) Close() error {
	err := b.body.Close()
	b.record.End(nil)
	return err
}

// stallGuard breaks a body off when nothing of it comes for a while. The time that the reader takes between two reads
// does not count.
type stallGuard struct {
	io.ReadCloser

	caller, try context.Context //nolint:containedctx // a body lives as long as its request's context
	cancel      context.CancelCauseFunc
	limit       time.Duration
	timer       *time.Timer
}

func (g *stallGuard) Read(p []byte) (int, error) {
	switch {
	case g.limit <= 0:
	case g.timer == nil:
		g.timer = time.AfterFunc(g.limit, func() { g.cancel(errStalled) })
	default:
		g.timer.Reset(g.limit)
	}
	n, err := g.ReadCloser.Read(p)
	if g.timer != nil {
		g.timer.Stop()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = endedOr(g.caller, err)
		if errors.Is(context.Cause(g.try), errStalled) {
			err = errStalled // HTTP/2 gives no cause
		}
	}
	return n, err
}

func (g *stallGuard) Close() error {
	err := g.ReadCloser.Close()
	g.cancel(nil)
	return err
}

// endedOr gives the plain error of a context that has ended, as net/http gives its cause, which for a signal that stops
// the program is one that does not say so; otherwise it gives err.
func endedOr(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	return err
}

// lateOr gives the plain error of a deadline that is over, otherwise err. http.Client ends a try of its own accord at
// the same moment, and which of the two the error tells is chance.
func lateOr(deadline time.Time, err error) error {
	if !deadline.IsZero() && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return err
}
