package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/sony/gobreaker/v2"
)

// Error is a call that got no whole answer, told for a person. Neighbours, which do not know this package, ask for its
// methods as they would for those of a net.Error.
type Error struct {
	// What says what went wrong, Remedy what to do about it. Neither holds the address, beyond a
	// host name that nobody knows, or a secret.
	What, Remedy string
	// Fixed means that another try will go wrong in the same way.
	Fixed bool
	// Unsent means that nothing of the request can have reached the server.
	Unsent bool
	// Untried means that the server was left alone, as it had failed several times just before: it says nothing new.
	Untried bool

	err error
}

func (e *Error) Error() string { return e.What }
func (e *Error) Unwrap() error { return e.err }

// Hint says what a person can do about it.
func (e *Error) Hint() string { return e.Remedy }

// Permanent says that another try will go wrong in the same way.
func (e *Error) Permanent() bool { return e.Fixed }

// NotSent says that nothing of the request can have reached the server.
func (e *Error) NotSent() bool { return e.Unsent }

// NotTried says that the server was left alone, as it had failed several times just before.
func (e *Error) NotTried() bool { return e.Untried }

// Timeout says that the time ran out.
func (e *Error) Timeout() bool {
	var timeout net.Error
	return errors.Is(e.err, errStalled) || errors.As(e.err, &timeout) && timeout.Timeout()
}

var (
	errTooLarge = errors.New("the answer is larger than the limit")
	errStalled  = errors.New("the answer stopped coming")
)

// describe finds the words for an error of net/http, crypto/tls or this package; nil stays nil.
func describe(err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return orKnown(err, known)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) { // its text has the address, which the neighbour names in its own words
		err = wrapped.Err
	}
	e := &Error{What: err.Error(), err: err}
	var (
		certificate *tls.CertificateVerificationError
		authority   x509.UnknownAuthorityError
		record      tls.RecordHeaderError
		dns         *net.DNSError
	)
	operation, proxy := innermost(err)
	if operation != nil { // its text has addresses, too
		e.What = operation.Op + ": " + operation.Err.Error()
		e.Unsent = proxy || operation.Op == "dial"
	}
	switch {
	case errors.Is(err, context.Canceled):
		e.What = "cancelled"
	case errors.As(err, &certificate), errors.As(err, &authority):
		e.What = "the server's certificate is not trusted: " + err.Error()
		e.Remedy = "give the certificate authority as ca_file, or check that the address has the name in the certificate"
		e.Fixed, e.Unsent = true, true
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		e.What, e.Remedy = "the server does not speak TLS", "check the address: http:// instead of https://, or another port"
		e.Fixed, e.Unsent = true, true
	case isTLSVersion(e.What):
		e.What, e.Remedy = "the server speaks no version of TLS that is safe", "let the server, or the proxy before it, speak TLS 1.2 or 1.3"
		e.Fixed, e.Unsent = true, true
	case operation != nil && operation.Op == "remote error":
		e.What, e.Remedy = "the server refused the TLS connection: "+operation.Err.Error(), "look at the TLS settings of the server and of the proxy before it"
	case strings.Contains(e.What, "malformed HTTP"):
		e.What, e.Remedy = "the server does not speak HTTP", "check the address: https:// instead of http://, or another port"
	case errors.As(err, &dns) && dns.IsNotFound:
		e.What, e.Remedy = "the host name "+dns.Name+" is not known", "check the address and the name server"
		e.Unsent = true
	case errors.As(err, &dns):
		e.What, e.Remedy = "the host name "+dns.Name+" cannot be looked up", "check the name server, and the network on the way to it"
		e.Unsent = true
	case errors.Is(err, syscall.ECONNREFUSED):
		e.What, e.Remedy = "connection refused", "check the address and its port, and that the server runs"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		strings.Contains(e.What, "unexpected EOF"): // net/http gives some of them as a text only
		e.What, e.Remedy = "the connection broke off", "look at the server and at the proxy before it"
	case errors.Is(err, errTooLarge):
		e.What, e.Remedy, e.Fixed = err.Error(), "raise max_size of this server if the size is right", true
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		e.What, e.Remedy = "not called, as it failed several times in a row just now", "look at the server"
		e.Unsent, e.Untried = true, true
	case errors.Is(err, errStalled):
		e.What, e.Remedy = err.Error(), "look at the server and the proxy before it, or raise the time-out of this server"
	case e.Timeout() && e.Unsent:
		e.What, e.Remedy = "no connection in time", "check the address, and the network and its firewalls on the way"
	case e.Timeout():
		e.What, e.Remedy = "no answer in time", "look at the server, or raise the time-out of this server"
	}
	if proxy {
		e.What, e.Remedy = "the proxy: "+e.What, "check HTTP_PROXY, HTTPS_PROXY and NO_PROXY, and that the proxy runs"
	}
	return e
}

// innermost gives the operation on the network that went wrong, nil when there was none, and whether it was the one
// that connects to a proxy.
func innermost(err error) (operation *net.OpError, proxy bool) {
	var next *net.OpError
	for errors.As(err, &next) && next.Err != nil {
		proxy = proxy || next.Op == "proxyconnect"
		operation, err = next, next.Err
	}
	return operation, proxy
}

// isTLSVersion says whether the text is that of a handshake without a common version. The types of these errors are
// private to crypto/tls: one is the server's alert, the other a choice of the server's that the client does not take.
func isTLSVersion(text string) bool {
	return strings.Contains(text, "protocol version not supported") || strings.Contains(text, "server selected unsupported protocol version")
}

// orKnown gives an error that is described already.
func orKnown(err error, known *Error) error {
	if err == nil {
		return nil
	}
	return known
}
