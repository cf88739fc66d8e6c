package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"time"
)

// Peer is what a client has seen of its server in passing.
type Peer struct {
	// CertificateEnds is when the server's certificate ends, also of one that was not trusted; zero where none was seen.
	CertificateEnds time.Time
	// Offset is how far the server's clock is ahead of ours, by the Date of its last answer; IsDated says that there was one.
	Offset  time.Duration
	IsDated bool
}

// Peer tells what was seen so far. It makes no call.
func (c *Client) Peer() Peer {
	c.peerMu.Lock()
	defer c.peerMu.Unlock()
	return c.peer
}

// see notes what one try shows of the server.
func (c *Client) see(response *http.Response, began time.Time, err error) {
	c.peerMu.Lock()
	defer c.peerMu.Unlock()
	if certificate := certificateOf(response, err); certificate != nil {
		c.peer.CertificateEnds = certificate.NotAfter
	}
	if response == nil {
		return
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		c.peer.Offset, c.peer.IsDated = offset(date, began, time.Now()), true
	}
}

// certificateOf is the server's own certificate, nil where there is none.
func certificateOf(response *http.Response, err error) *x509.Certificate {
	var untrusted *tls.CertificateVerificationError
	switch {
	case response != nil && response.TLS != nil && len(response.TLS.PeerCertificates) > 0:
		return response.TLS.PeerCertificates[0]
	case errors.As(err, &untrusted) && len(untrusted.UnverifiedCertificates) > 0:
		return untrusted.UnverifiedCertificates[0]
	default:
		return nil
	}
}

// offset is how far a date lies outside the time in which it was written, which a header tells to the second.
func offset(date, began, ended time.Time) time.Duration {
	switch {
	case date.Before(began.Add(-time.Second)):
		return date.Sub(began)
	case date.After(ended):
		return date.Sub(ended)
	default:
		return 0
	}
}
