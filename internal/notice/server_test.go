package notice_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"hash"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/notice"
)

const (
	mailUser     = "mediator@example.org"
	mailPassword = "correct-horse-battery"
)

// mailServer is an SMTP server of a test. It takes mail as a server does that has every feature of its fields and no
// fault but those of its fields.
type mailServer struct {
	// startTLS and implicitTLS say how it speaks TLS, auth which ways to log in it offers ("PLAIN LOGIN"), once the
	// connection is private if startTLS is set.
	startTLS, implicitTLS bool
	auth                  string
	// answers has what is answered to a command that begins with the key, instead of what it is; "connect" is the
	// greeting, "." the end of a mail. An empty one breaks the connection, silence is none.
	answers map[string]string
	// silent is closed as soon as the server does not answer.
	silent chan struct{}

	certificate tls.Certificate
	address     *net.TCPAddr
	caFile      string

	mu       sync.Mutex
	commands []string
	mails    []string
}

const silence = "silence"

// start lets the server run until the end of the test.
func (s *mailServer) start(t testing.TB) *mailServer {
	t.Helper()
	s.silent = make(chan struct{})
	s.certificate, s.caFile = selfMade(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().(*net.TCPAddr)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				s.serve(conn)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		group.Wait()
	})
	return s
}

// mail gives a door to the server.
func (s *mailServer) mail() notice.Mail {
	m := notice.Mail{
		Host: "127.0.0.1", Port: s.address.Port, TLS: notice.NoTLS, CAFile: s.caFile,
		From: "Mediator <mediator@example.org>", To: []string{"HRIO Kisumu <hrio@example.org>"},
		Now: func() time.Time { return time.Date(2026, 11, 23, 6, 30, 0, 0, time.UTC) },
	}
	switch {
	case s.startTLS:
		m.TLS = notice.STARTTLS
	case s.implicitTLS:
		m.TLS = notice.ImplicitTLS
	}
	if s.auth != "" {
		m.Username, m.Password = mailUser, secret(mailPassword)
	}
	return m
}

// seen gives the commands so far, one a line, and the mails.
func (s *mailServer) seen() (commands string, mails []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.commands, "\n"), s.mails
}

// dialogue is one connection.
type dialogue struct {
	server *mailServer
	conn   net.Conn
	in     *bufio.Reader
}

func (s *mailServer) serve(conn net.Conn) {
	d := &dialogue{server: s, conn: conn}
	if s.implicitTLS {
		d.encrypt()
	}
	d.in = bufio.NewReader(d.conn)
	if !d.answer("connect", "220 mail.example.org ESMTP") {
		return
	}
	for {
		line, ok := d.line()
		if !ok {
			return
		}
		s.mu.Lock()
		s.commands = append(s.commands, line)
		s.mu.Unlock()
		if !d.do(line) {
			return
		}
	}
}

func (d *dialogue) encrypt() {
	d.conn = tls.Server(d.conn, &tls.Config{Certificates: []tls.Certificate{d.server.certificate}, MinVersion: tls.VersionTLS12})
	d.in = bufio.NewReader(d.conn)
}

func (d *dialogue) line() (string, bool) {
	line, err := d.in.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err == nil
}

// answer writes what is to be answered to the line; false ends the connection.
func (d *dialogue) answer(line, usual string) bool {
	for prefix, instead := range d.server.answers {
		if strings.HasPrefix(line, prefix) {
			usual = instead
		}
	}
	switch usual {
	case "":
		return false
	case silence:
		close(d.server.silent)
		_, _ = io.Copy(io.Discard, d.in) // until the other side hangs up
		return false
	}
	_, err := io.WriteString(d.conn, usual+"\r\n")
	return err == nil
}

func (d *dialogue) do(line string) bool {
	verb, rest, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO":
		return d.answer(line, d.features())
	case "STARTTLS":
		if !d.answer(line, "220 go ahead") {
			return false
		}
		d.encrypt()
		return true
	case "AUTH":
		return d.login(line, rest)
	case "DATA":
		return d.answer(line, "354 go ahead") && d.content()
	case "QUIT":
		d.answer(line, "221 bye")
		return false
	}
	return d.answer(line, "250 ok")
}

func (d *dialogue) features() string {
	lines := []string{"mail.example.org"}
	_, private := d.conn.(*tls.Conn)
	if d.server.startTLS && !private {
		lines = append(lines, "STARTTLS")
	}
	if d.server.auth != "" && (private || !d.server.startTLS) {
		lines = append(lines, "AUTH "+d.server.auth)
	}
	lines = append(lines, "SMTPUTF8")
	for i := range lines[:len(lines)-1] {
		lines[i] = "250-" + lines[i]
	}
	return strings.Join(lines[:len(lines)-1], "\r\n") + "\r\n250 " + lines[len(lines)-1]
}

// login holds the account to mailUser and mailPassword. A server that refuses says what it got, which none should.
func (d *dialogue) login(line, rest string) bool {
	way, first, _ := strings.Cut(rest, " ")
	var username, password string
	switch way {
	case "PLAIN":
		parts := strings.Split(decode(first), "\x00")
		if len(parts) == 3 {
			username, password = parts[1], parts[2]
		}
	case "LOGIN":
		username, password = d.ask("Username:"), d.ask("Password:")
	case "CRAM-MD5":
		const challenge = "<1@mail.example.org>"
		if d.ask(challenge) == mailUser+" "+hex.EncodeToString(keyed(md5.New, mailPassword, challenge)) {
			username, password = mailUser, mailPassword
		}
	case "SCRAM-SHA-256":
		if d.scram(d.ask("")) {
			username, password = mailUser, mailPassword
		}
	}
	if username != mailUser || password != mailPassword {
		return d.answer(line, fmt.Sprintf("535 5.7.8 not the password: %s %s %s", password, first, base64.StdEncoding.EncodeToString([]byte(password))))
	}
	return d.answer(line, "235 welcome")
}

func (d *dialogue) ask(prompt string) string {
	_, _ = io.WriteString(d.conn, "334 "+base64.StdEncoding.EncodeToString([]byte(prompt))+"\r\n")
	line, _ := d.line()
	return decode(line)
}

// scram is the server's side of RFC 5802 without channel binding.
func (d *dialogue) scram(first string) bool {
	bare, ours := strings.CutPrefix(first, "n,,")
	name, nonce, _ := strings.Cut(bare, ",r=")
	challenge := "r=" + nonce + "server,s=" + base64.StdEncoding.EncodeToString([]byte("salt")) + ",i=4096"
	last := d.ask(challenge)
	final, proof, _ := strings.Cut(last, ",p=")
	salted, err := pbkdf2.Key(sha256.New, mailPassword, []byte("salt"), 4096, sha256.Size)
	if err != nil || !ours || name != "n="+mailUser || final != "c=biws,r="+nonce+"server" {
		return false
	}
	all := bare + "," + challenge + "," + final
	key := keyed(sha256.New, string(salted), "Client Key")
	stored := sha256.Sum256(key)
	for i, b := range keyed(sha256.New, string(stored[:]), all) {
		key[i] ^= b
	}
	if decode(proof) != string(key) {
		return false
	}
	serverKey := keyed(sha256.New, string(salted), "Server Key")
	return d.ask("v="+base64.StdEncoding.EncodeToString(keyed(sha256.New, string(serverKey), all))) == ""
}

func keyed(hash func() hash.Hash, key, text string) []byte {
	mac := hmac.New(hash, []byte(key))
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func decode(text string) string {
	plain, _ := base64.StdEncoding.DecodeString(text)
	return string(plain)
}

// content reads a mail up to the line with a dot.
func (d *dialogue) content() bool {
	var mail strings.Builder
	for {
		line, ok := d.line()
		if !ok {
			return false
		}
		if line == "." {
			break
		}
		mail.WriteString(strings.TrimPrefix(line, ".") + "\r\n")
	}
	d.server.mu.Lock()
	d.server.mails = append(d.server.mails, mail.String())
	d.server.mu.Unlock()
	return d.answer(".", "250 queued as "+strconv.Itoa(len(mail.String())))
}

// selfMade makes a certificate for this host that is its own authority, and the file to trust it by.
func selfMade(t testing.TB) (certificate tls.Certificate, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, caFile
}
