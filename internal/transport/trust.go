package transport

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"strings"
)

// trustOf says which servers are trusted: those with a certificate of a known authority, the one with the fingerprint,
// or every one.
func trustOf(config Config) (*tls.Config, error) {
	roots, err := rootCAs(config.CAFile)
	if err != nil {
		return nil, err
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	switch {
	case config.Fingerprint != "":
		want, err := parseFingerprint(config.Fingerprint)
		if err != nil {
			return nil, err
		}
		trust.InsecureSkipVerify = true // the fingerprint is verified instead
		trust.VerifyConnection = func(state tls.ConnectionState) error { return verifyFingerprint(state, want) }
	case config.TrustAny:
		trust.InsecureSkipVerify = true
	}
	return trust, nil
}

// parseFingerprint reads a SHA-256 as openssl and browsers write it.
func parseFingerprint(text string) ([]byte, error) {
	sum, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(text))
	if err != nil || len(sum) != sha256.Size {
		return nil, fmt.Errorf("read the fingerprint: %q is not a SHA-256, which has 64 hexadecimal digits", text)
	}
	return sum, nil
}

// verifyFingerprint compares the certificate of the server itself. It is asked at every connection, resumed ones too.
func verifyFingerprint(state tls.ConnectionState, want []byte) error {
	got := sha256.Sum256(state.PeerCertificates[0].Raw)
	if subtle.ConstantTimeCompare(got[:], want) == 1 {
		return nil
	}
	return &Error{
		What:   fmt.Sprintf("the server's certificate is not the one of the fingerprint: its own is %x", got),
		Remedy: "compare it with the certificate on the server; if that was renewed, give the new fingerprint, and if not, somebody stands between",
		Fixed:  true, Unsent: true,
	}
}
