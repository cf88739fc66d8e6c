package notice

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
)

// Mail sends notices by e-mail, through one SMTP server. It may be used by several goroutines.
type Mail struct {
	Host string
	// Port is 0 for the usual one: 587 with STARTTLS, 465 with TLS, 25 without either.
	Port int
	// TLS says how the connection is kept private. Empty means STARTTLS.
	TLS TLS
	// Username is empty where the server wants no login. Password is asked at every notice, so that a secret kept in a
	// file may change. How to log in is chosen from what the server offers; without TLS, no way that shows the password
	// to the network is taken, but for a server on this host.
	Username string
	Password func() (string, error)
	// CAFile is a PEM file of certificate authorities trusted beside the system's. Empty adds none.
	CAFile string
	// From is the sender, To everybody who is told: addresses, with a name or without.
	From string
	To   []string
	// Now gives the time for the date of the mail. Nil means time.Now.
	Now func() time.Time
}

// TLS is a way to keep a connection to an SMTP server private.
type TLS string

// The ways.
const (
	// STARTTLS begins in the open and goes no further when the server does not change to TLS.
	STARTTLS TLS = "starttls"
	// ImplicitTLS is TLS from the first byte.
	ImplicitTLS TLS = "tls"
	// NoTLS lets everybody on the way read the notices.
	NoTLS TLS = "none"
)

// mailPatience is how long one mail may take in all: servers that look into a mail before they take it are slow.
const mailPatience = 2 * time.Minute

// Send sends the notice to everybody in one mail. The error is an *Error, but for a context that was cancelled.
//
// When the server takes the mail for some of the people and refuses others, the mail goes to the former, and the *Error
// that names the latter is Delivered. When the connection breaks at the very end, nobody knows whether the server took
// it; the error is Temporary, and the repeat has the same Message-ID.
func (m Mail) Send(ctx context.Context, n Notice) error {
	doing := "send the notice by e-mail through " + m.address()
	letter, err := m.write(n)
	if err != nil {
		return &Error{Doing: doing, What: err.Error(), Remedy: "check from and to in the settings of the notices"}
	}
	trust, err := m.trust()
	if err != nil {
		return &Error{Doing: doing, What: err.Error(), Remedy: "check host, tls and ca_file in the settings of the notices"}
	}
	account, err := m.account()
	if err != nil {
		return &Error{Doing: doing, What: "read the password: " + err.Error(), Remedy: "check the file of the secret in the configuration"}
	}
	limited, cancel := context.WithTimeout(ctx, mailPatience)
	defer cancel()
	failure := m.deliver(limited, trust, account, letter)
	switch {
	case failure == nil:
		return nil
	case limited.Err() != nil && !failure.Delivered:
		return ended(doing, "check host, port and tls (port 465 wants tls, 587 starttls), and the network and its firewalls on the way", limited.Err())
	}
	failure.Doing = doing
	return failure
}

func (m Mail) address() string {
	port := m.Port
	switch {
	case port != 0:
	case m.TLS == ImplicitTLS:
		port = 465
	case m.TLS == NoTLS:
		port = 25
	default:
		port = 587
	}
	return net.JoinHostPort(m.Host, strconv.Itoa(port))
}

// letter is a mail with its envelope.
type letter struct {
	message *gomail.Msg
	from    *mail.Address
	to      []*mail.Address
}

// write makes the mail. What it says to programs: that a machine wrote it, so that nobody's absence is answered to it
// (RFC 3834, and the header that Exchange wants), and that mails of one cause belong together.
func (m Mail) write(n Notice) (letter, error) {
	from, err := mail.ParseAddress(m.From)
	if err != nil {
		return letter{}, fmt.Errorf("the sender %q is no e-mail address", m.From)
	}
	if len(m.To) == 0 {
		return letter{}, errors.New("nobody to send it to")
	}
	l := letter{from: from}
	for _, text := range m.To {
		to, err := mail.ParseAddress(text)
		if err != nil {
			return letter{}, fmt.Errorf("the recipient %q is no e-mail address", text)
		}
		l.to = append(l.to, to)
	}
	now := time.Now
	if m.Now != nil {
		now = m.Now
	}
	domain := from.Address[strings.LastIndex(from.Address, "@")+1:]
	if !isASCII(domain) {
		domain = "mediator.invalid"
	}
	l.message = gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	l.message.FromMailAddress(l.from)
	l.message.ToMailAddress(l.to...)
	l.message.Subject(n.title())
	l.message.SetDateWithValue(now())
	l.message.SetMessageIDWithValue(n.key() + "@" + domain)
	if n.Cause != "" {
		l.message.SetGenHeader(gomail.HeaderReferences, "<"+digest(n.Installation, "cause", n.Cause)+"@"+domain+">")
	}
	l.message.SetGenHeader("Auto-Submitted", "auto-generated")
	l.message.SetGenHeader(gomail.HeaderXAutoResponseSuppress, "All")
	l.message.SetBodyString(gomail.TypeTextPlain, n.body())
	return l, nil
}

// trust says which certificates of the server are taken.
func (m Mail) trust() (*tls.Config, error) {
	if m.Host == "" {
		return nil, errors.New("no host is given")
	}
	if m.TLS != "" && m.TLS != STARTTLS && m.TLS != ImplicitTLS && m.TLS != NoTLS {
		return nil, fmt.Errorf("tls is %q, and may be starttls, tls or none", string(m.TLS))
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: m.Host}
	if m.CAFile == "" {
		return config, nil
	}
	pem, err := os.ReadFile(m.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA file: %w", err)
	}
	config.RootCAs, err = x509.SystemCertPool()
	if err != nil {
		config.RootCAs = x509.NewCertPool()
	}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the CA file %s: no PEM certificate in it", m.CAFile)
	}
	return config, nil
}

// account is who logs in; the zero value is nobody.
type account struct {
	username, password string
}

func (m Mail) account() (account, error) {
	if m.Username == "" || m.Password == nil {
		return account{username: m.Username}, nil
	}
	password, err := m.Password()
	return account{m.Username, password}, err
}

// secrets are the forms in which the password travels, and so may come back in a server's words.
func (a account) secrets() []string {
	if a.password == "" {
		return nil
	}
	encode := base64.StdEncoding.EncodeToString
	return []string{a.password, encode([]byte(a.password)), encode([]byte("\x00" + a.username + "\x00" + a.password))}
}

// deliver makes a connection and sends one letter. When the context ends, the connection is closed under whatever is
// being done on it, as the SMTP client knows no context.
func (m Mail) deliver(ctx context.Context, trust *tls.Config, account account, letter letter) *Error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.address())
	if err != nil {
		return connection(err)
	}
	hangUp := func() { _ = conn.Close() }
	defer hangUp()
	defer context.AfterFunc(ctx, hangUp)()
	client, failure := m.greet(conn, trust)
	if failure != nil {
		return failure
	}
	if failure := m.login(client, account); failure != nil {
		return failure
	}
	client.SkipSMTPUTF8(isASCII(letter.from.Address) && !slices.ContainsFunc(letter.to, func(to *mail.Address) bool { return !isASCII(to.Address) }))
	return hand(client, letter, account.secrets())
}

// greet brings the connection to where the server knows us and nobody listens.
func (m Mail) greet(conn net.Conn, trust *tls.Config) (*smtp.Client, *Error) {
	const remedy = "look at the mail server, and at what it lets this host do"
	if m.TLS == ImplicitTLS {
		conn = tls.Client(conn, trust)
	}
	client, err := smtp.NewClient(conn, m.Host)
	if err != nil {
		return nil, answered("the server does not greet", remedy, err)
	}
	name, err := os.Hostname()
	if err != nil {
		name = "localhost"
	}
	if err := client.Hello(name); err != nil {
		return nil, answered("the server does not take the greeting", remedy, err)
	}
	if m.TLS == ImplicitTLS || m.TLS == NoTLS {
		return client, nil
	}
	if offered, _ := client.Extension("STARTTLS"); !offered {
		return nil, &Error{What: "the server does not offer STARTTLS, so nothing was sent", Remedy: "check host and port (587 mostly offers it); set tls to tls for port 465, or to none for a relay on a network that you trust"}
	}
	if err := client.StartTLS(trust); err != nil {
		return nil, answered("the server does not begin TLS", remedy, err)
	}
	return client, nil
}

// login logs in where there is an account, in the best way that the server offers.
func (m Mail) login(client *smtp.Client, account account) *Error {
	if account.username == "" {
		return nil
	}
	offered, ways := client.Extension("AUTH")
	if !offered {
		return &Error{What: "the server offers no login", Remedy: "remove username and password, or check host, port and tls: many servers offer a login after TLS only"}
	}
	way := m.way(account, strings.Fields(strings.ToUpper(ways)))
	if way == nil {
		return &Error{What: "the server offers no login that the mediator knows: " + quote(ways), Remedy: "let the server offer PLAIN, LOGIN or SCRAM-SHA-256"}
	}
	err := client.Auth(way)
	if errors.Is(err, smtp.ErrUnencrypted) {
		return &Error{What: "the password is not sent over a connection that everybody can read", Remedy: "set tls to starttls or tls, or remove username and password"}
	}
	if err != nil {
		return answered("the server refuses the login", "check username and password of the mail server; some want a password made for programs", err, account.secrets()...)
	}
	return nil
}

// way chooses how to log in; nil when there is none. SCRAM never shows the password; CRAM-MD5 is only worth its age where
// the connection does not hide it.
func (m Mail) way(a account, offered []string) smtp.Auth {
	has := func(name string) bool { return slices.Contains(offered, name) }
	switch {
	case has("SCRAM-SHA-256"):
		return smtp.ScramSHA256Auth(a.username, a.password)
	case has("SCRAM-SHA-1"):
		return smtp.ScramSHA1Auth(a.username, a.password)
	case has("CRAM-MD5") && m.TLS == NoTLS:
		return smtp.CRAMMD5Auth(a.username, a.password)
	case has("PLAIN"):
		return smtp.PlainAuth("", a.username, a.password, m.Host, false)
	case has("LOGIN"):
		return smtp.LoginAuth(a.username, a.password, m.Host, false)
	case has("CRAM-MD5"):
		return smtp.CRAMMD5Auth(a.username, a.password)
	}
	return nil
}

// goodbye is how long the server may take over its last words, which change nothing any more.
const goodbye = 5 * time.Second

// hand gives the letter to the server.
func hand(client *smtp.Client, letter letter, secrets []string) *Error {
	if err := client.Mail(envelope(letter.from)); err != nil {
		return answered("the server does not take mail from "+letter.from.Address, "check that the account may send as from, and whether the server wants a login", err, secrets...)
	}
	var refused []string
	var last *Error
	later := false
	for _, to := range letter.to {
		err := client.Rcpt(envelope(to))
		if err == nil {
			continue
		}
		last = answered("the server does not take mail to "+to.Address, "check the addresses in to, and whether the server wants a login", err, secrets...)
		if !isReply(err) {
			return last
		}
		refused, later = append(refused, last.What), later || last.Temporary
	}
	if len(refused) == len(letter.to) {
		last.What, last.Temporary = strings.Join(refused, "; "), later
		return last
	}
	const remedy = "look at the mail server: it may find the mail too large, or take it for spam"
	content, err := client.Data()
	if err != nil {
		return answered("the server does not take the mail", remedy, err, secrets...)
	}
	if _, err := letter.message.WriteTo(content); err != nil {
		return answered("the mail was not sent whole", remedy, err, secrets...)
	}
	if err := content.Close(); err != nil {
		return answered("the server did not confirm the mail", remedy, err, secrets...)
	}
	if client.UpdateDeadline(goodbye) == nil {
		_ = client.Quit() // the mail is delivered, whatever the server says now
	}
	if last == nil {
		return nil
	}
	return &Error{What: "sent, but not to all: " + strings.Join(refused, "; "), Remedy: last.Remedy, Delivered: true}
}

// envelope writes an address without its name.
func envelope(a *mail.Address) string {
	return (&mail.Address{Address: a.Address}).String()
}

// isReply says whether err is the server's own answer, after which the dialogue can go on.
func isReply(err error) bool {
	var reply *textproto.Error
	return errors.As(err, &reply) && reply.Code != serviceCloses
}

// serviceCloses is the answer of a server that shuts down, whatever it was asked.
const serviceCloses = 421

// answered tells a step that the server did not do: by its answer, or by none.
func answered(what, remedy string, err error, secrets ...string) *Error {
	var reply *textproto.Error
	var strange textproto.ProtocolError
	switch {
	case errors.As(err, &reply):
		return &Error{What: fmt.Sprintf("%s: %d %s", what, reply.Code, quote(reply.Msg, secrets...)), Remedy: remedy, Temporary: reply.Code/100 == 4}
	case errors.As(err, &strange):
		return &Error{What: what + ": it does not speak SMTP", Remedy: "check host and port"}
	}
	e := connection(err, secrets...)
	e.What = what + ": " + e.What
	return e
}

func isASCII(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r > unicode.MaxASCII }) < 0
}
