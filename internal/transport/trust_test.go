package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// oldCertificate is of the kind that a fresh OpenHIM has: its own, a common name and nothing else.
func oldCertificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestACertificateThatTheServerMadeItselfIsTrustedWhenToldSo(t *testing.T) {
	t.Parallel()
	certificate := oldCertificate(t)
	server, _ := serveTLS(t, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("{}"))
	})
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}))
	sum := sha256.Sum256(certificate.Certificate[0])
	digits := hex.EncodeToString(sum[:])
	var pairs []string
	for _, b := range sum {
		pairs = append(pairs, strings.ToUpper(hex.EncodeToString([]byte{b})))
	}
	for _, test := range []struct {
		name   string
		config Config
		want   string
	}{
		{"nothing said", Config{}, "is not trusted"},
		{"as its own authority", Config{CAFile: caFile}, "is not trusted"},
		{"fingerprint", Config{Fingerprint: digits}, ""},
		{"fingerprint with colons", Config{Fingerprint: strings.Join(pairs, ":")}, ""},
		{"another fingerprint", Config{Fingerprint: strings.Repeat("ab", 32)}, "not the one of the fingerprint: its own is " + digits},
		{"another fingerprint, though every certificate is taken", Config{Fingerprint: strings.Repeat("ab", 32), TrustAny: true}, "not the one of the fingerprint"},
		{"every certificate", Config{TrustAny: true}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client := clientOf(t, test.config)
			got := do(client, get(t, server.URL), once)
			client.http.CloseIdleConnections()
			if test.want == "" {
				if got.err != nil || got.body != "{}" {
					t.Errorf("got %+v", got)
				}
				return
			}
			e := asError(t, got.err)
			if !strings.Contains(e.What, test.want) || e.Remedy == "" || !e.Fixed || !e.Unsent {
				t.Errorf("got %+v, want %q", e, test.want)
			}
		})
	}
}

func TestAFingerprintThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"abc", "zz", strings.Repeat("ab", 31), strings.Repeat("ab", 33), "sha256:" + strings.Repeat("ab", 32)} {
		if _, err := New(Config{Fingerprint: text}); err == nil || !strings.Contains(err.Error(), "64 hexadecimal digits") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
