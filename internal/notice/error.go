package notice

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

// Error is a notice that was not delivered to everybody. None of its words is a secret, and the address of a webhook is
// taken to be one.
type Error struct {
	// Doing is what was asked for, What is what went wrong, Remedy what a person can do about it.
	Doing, What, Remedy string
	// Temporary means that it may pass by itself, so that sending the same again later is worth it.
	Temporary bool
	// Delivered means that some got it all the same; sending it again would tell them twice.
	Delivered bool

	err error
}

func (e *Error) Error() string { return e.Doing + ": " + e.What }

// Unwrap gives context.DeadlineExceeded when the time ran out. Other causes stay inside, as their texts may hold secrets.
func (e *Error) Unwrap() error { return e.err }

// Hint says what a person can do about it.
func (e *Error) Hint() string { return e.Remedy }

// ended tells a call whose context has ended. A stop of the program is no failure of the delivery, so it is no *Error.
func ended(doing, remedy string, cause error) error {
	if errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%s: %w", doing, context.Canceled)
	}
	return &Error{Doing: doing, What: "no answer in time", Remedy: remedy, Temporary: true, err: context.DeadlineExceeded}
}

// connection finds the words for a connection that did not come about or broke. What it does not know it quotes, without
// the secrets.
func connection(err error, secrets ...string) *Error {
	var (
		certificate *tls.CertificateVerificationError
		authority   x509.UnknownAuthorityError
		record      tls.RecordHeaderError
		dns         *net.DNSError
	)
	var operation *net.OpError
	switch {
	case errors.As(err, &certificate), errors.As(err, &authority):
		return &Error{What: "the server's certificate is not trusted: " + quote(err.Error(), secrets...), Remedy: "give the certificate authority as ca_file, or check that the address has the name in the certificate"}
	case errors.As(err, &record):
		return &Error{What: "the server does not speak TLS from the start", Remedy: "check the port, and whether it wants tls (mostly 465) or starttls (mostly 587)"}
	case errors.As(err, &dns) && dns.IsNotFound:
		return &Error{What: "the host name is not known", Remedy: "check the address and the name server", Temporary: true}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Error{What: "connection refused", Remedy: "check the address and its port, and that the server runs", Temporary: true}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &Error{What: "the connection broke off", Remedy: "look at the server and at what stands before it", Temporary: true}
	}
	if errors.As(err, &operation) && operation.Err != nil { // its text has addresses
		err = operation.Err
	}
	return &Error{What: quote(err.Error(), secrets...), Remedy: "look at the server and at the network on the way", Temporary: true}
}

const (
	maxQuote = 300
	// maxRead is how much of an answer is looked at. It is far more than is quoted, so that no secret is cut in half.
	maxRead = 8 << 10
)

// quote gives the beginning of another one's words on one line, without secrets: neither those given nor what looks like
// one.
func quote(text string, secrets ...string) string {
	text = oneLine(text[:min(len(text), maxRead)])
	return fmt.Sprintf("%.*s", maxQuote, exchange.Redact(hide(text, secrets)))
}

// hide replaces the secrets, the longest first, as one may hold another.
func hide(text string, secrets []string) string {
	secrets = slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return s == "" })
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	pairs := make([]string, 0, 2*len(secrets))
	for _, secret := range secrets {
		pairs = append(pairs, secret, exchange.Redacted)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
