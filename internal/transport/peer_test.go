package transport

import (
	"crypto/tls"
	"net/http"
	"testing"
	"time"
)

func TestPeerTellsTheCertificateAndTheClockOfTheServer(t *testing.T) {
	t.Parallel()
	certificate := oldCertificate(t)
	server, _ := serveTLS(t, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		_, _ = w.Write([]byte("{}"))
	})
	trusting := clientOf(t, Config{TrustAny: true})
	if before := trusting.Peer(); before != (Peer{}) {
		t.Errorf("before any call: %+v", before)
	}
	if got := do(trusting, get(t, server.URL), once); got.err != nil {
		t.Fatal(got.err)
	}
	peer := trusting.Peer()
	if left := time.Until(peer.CertificateEnds); left < 50*time.Minute || left > time.Hour {
		t.Errorf("the certificate ends in %s", left)
	}
	if !peer.IsDated || peer.Offset < 59*time.Minute || peer.Offset > time.Hour {
		t.Errorf("the clock is %s ahead", peer.Offset)
	}

	careful := clientOf(t, Config{})
	_ = asError(t, do(careful, get(t, server.URL), once).err)
	if peer := careful.Peer(); peer.CertificateEnds.IsZero() || peer.IsDated {
		t.Errorf("of a server that is not trusted: %+v", peer)
	}
}

func TestOffsetLeavesOutTheTimeThatTheAnswerTook(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 22, 9, 0, 0, 500e6, time.UTC)
	ended := began.Add(10 * time.Second)
	for _, tt := range []struct {
		name string
		date time.Time
		want time.Duration
	}{
		{"within", began.Add(5 * time.Second), 0},
		{"cut to the second", began.Truncate(time.Second), 0},
		{"behind", began.Add(-time.Minute), -time.Minute},
		{"ahead", ended.Add(2 * time.Minute), 2 * time.Minute},
	} {
		if got := offset(tt.date, began, ended); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
