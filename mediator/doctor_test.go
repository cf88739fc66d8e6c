package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/orchestration"
)

// behindTLS serves a handler with a certificate of its own that ends at an instant, and gives the certificate's file.
func behindTLS(t *testing.T, handler http.Handler, ends time.Time) (address, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "A stand-in"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().AddDate(0, -6, 0), NotAfter: ends, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of each client that does not trust it
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return server.URL, caFile
}

// doctorOf runs the doctor on a country, with more at the end of each server's section.
func doctorOf(ctx context.Context, t *testing.T, country *sandbox.Country, chtServer, dhis2Server string) (code int, findings []orchestration.Finding) {
	t.Helper()
	folder := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(folder, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	file := write("config.yaml", "cht: [{name: county, username: "+country.CHTUsername+", password_file: "+write("cht", country.CHTPassword)+", "+chtServer+"}]\n"+
		"dhis2: [{name: national, token_file: "+write("dhis2", country.DHIS2Token)+", "+dhis2Server+"}]\n"+
		"data_sets: [{id: "+country.DataSets[0]+", first_period: \"202601\", completeness: off}]\n")
	var out, errs strings.Builder
	code = run(ctx, &app{stdout: &out, stderr: &errs}, []string{"doctor", "--config", file, "--json"})
	if err := json.Unmarshal([]byte(out.String()), &findings); err != nil {
		t.Fatalf("%v: %s%s", err, out.String(), errs.String())
	}
	for _, f := range findings {
		if strings.Contains(f.Detail+f.Remedy, "127.0.0.1") || strings.Contains(f.Detail+f.Remedy, country.CHTPassword) {
			t.Errorf("an address or a password is shown: %+v", f)
		}
	}
	return code, findings
}

// seen are the findings in short.
func seen(findings []orchestration.Finding) map[string]bool {
	was := map[string]bool{}
	for _, f := range findings {
		was[f.Server+" "+string(f.State)+" "+f.Check] = true
	}
	return was
}

func TestADoctorThatIsInterruptedTellsWhatItSaw(t *testing.T) {
	country := sandbox.NewCountry(sandbox.CountryConfig{Seed: 11, Facilities: 3, DataSets: 1, Elements: 2, Period: "202609"})
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ofCHT := httptest.NewServer(sandbox.NewCHT(sandbox.CHTConfig{Documents: country.CHT}))
	defer ofCHT.Close()
	ofDHIS2 := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		interrupt()
		<-r.Context().Done() // it does not answer any more
	}))
	defer ofDHIS2.Close()
	code, findings := doctorOf(ctx, t, country, "url: "+ofCHT.URL, "url: "+ofDHIS2.URL)
	if was := seen(findings); code != exitStopped || !was["county green connection"] || !was["national red connection"] || !was["mediator red examination"] {
		t.Errorf("it ends with %d: %v", code, was)
	}
}

func TestDoctorTellsOfCertificates(t *testing.T) {
	country := sandbox.NewCountry(sandbox.CountryConfig{Seed: 11, Facilities: 3, DataSets: 1, Elements: 2, Period: "202609"})
	ofCHT, ofDHIS2 := sandbox.NewCHT(sandbox.CHTConfig{Documents: country.CHT}), sandbox.NewDHIS2(sandbox.DHIS2Config{Version: "2.42.5", Metadata: country.DHIS2, Users: country.Users})
	for _, tt := range []struct {
		name    string
		ends    time.Duration
		trusted bool
		want    string
	}{
		{"a good one", 90 * 24 * time.Hour, true, "green certificate"},
		{"one that ends soon", 20 * 24 * time.Hour, true, "amber certificate"},
		{"one that has ended", -24 * time.Hour, true, "red certificate"},
		{"one that the server made itself", 90 * 24 * time.Hour, false, "red connection"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chtAt, chtCA := behindTLS(t, ofCHT, time.Now().Add(tt.ends))
			dhis2At, dhis2CA := behindTLS(t, ofDHIS2, time.Now().Add(90*24*time.Hour))
			if !tt.trusted {
				chtCA = dhis2CA
			}
			code, findings := doctorOf(t.Context(), t, country, "url: "+chtAt+", ca_file: "+chtCA, "url: "+dhis2At+", ca_file: "+dhis2CA)
			was := seen(findings)
			if !was["county "+tt.want] || !was["national green certificate"] || !was["national green connection"] {
				t.Errorf("code %d, %v", code, was)
			}
			if isRed := strings.HasPrefix(tt.want, "red"); isRed != (code == 5) {
				t.Errorf("it ends with %d", code)
			}
		})
	}
}
