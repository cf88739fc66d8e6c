package notice_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/notice"
)

// parsed reads the only mail that the server took.
func parsed(t testing.TB, server *mailServer) (header mail.Header, body string) {
	t.Helper()
	_, mails := server.seen()
	if len(mails) != 1 {
		t.Fatalf("the server took %d mails, want 1", len(mails))
	}
	message, err := mail.ReadMessage(strings.NewReader(mails[0]))
	if err != nil {
		t.Fatalf("read the mail: %v\n%s", err, mails[0])
	}
	content, err := io.ReadAll(quotedprintable.NewReader(message.Body))
	if err != nil {
		t.Fatal(err)
	}
	return message.Header, strings.ReplaceAll(string(content), "\r\n", "\n")
}

// decoded gives the words of a header.
func decoded(t testing.TB, text string) string {
	t.Helper()
	plain, err := new(mime.WordDecoder).DecodeHeader(text)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func TestAMailSaysWhatHappenedWhereAndWhatToDo(t *testing.T) {
	t.Parallel()
	server := (&mailServer{}).start(t)
	n := refused()
	n.Subject = "Données de Kisumu: rien n'est arrivé"
	if err := server.mail().Send(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	header, body := parsed(t, server)
	want := `DHIS2 took nothing: the period is locked.
Ask for a lock exception, then run mediator retry.

Data set: DsMchMonth1
Period: 202610
At: 2026-11-22 09:00 UTC
`
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if got, want := decoded(t, header.Get("Subject")), "[Kisumu] Données de Kisumu: rien n'est arrivé"; got != want {
		t.Errorf("subject %q, want %q", got, want)
	}
	for name, want := range map[string]string{
		"From": `"Mediator" <mediator@example.org>`, "To": `"HRIO Kisumu" <hrio@example.org>`, "Date": "Mon, 23 Nov 2026 06:30:00 +0000",
		"Auto-Submitted": "auto-generated", "Content-Type": "text/plain; charset=UTF-8",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	commands, _ := server.seen()
	if !strings.HasSuffix(commands, "MAIL FROM:<mediator@example.org>\nRCPT TO:<hrio@example.org>\nDATA\nQUIT") {
		t.Errorf("the dialogue was\n%s", commands)
	}
}

func TestARepeatHasTheSameMessageIDAndANoticeOfTheSameCauseJoinsTheConversation(t *testing.T) {
	t.Parallel()
	headers := func(n notice.Notice) (id, references string) {
		server := (&mailServer{}).start(t)
		if err := server.mail().Send(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		header, _ := parsed(t, server)
		return header.Get("Message-Id"), header.Get("References")
	}
	first, cause := headers(refused())
	if _, err := mail.ParseAddress(first); err != nil || !strings.HasSuffix(first, "@example.org>") {
		t.Errorf("the Message-ID is %q", first)
	}
	if again, _ := headers(refused()); again != first {
		t.Errorf("the repeat has %s, the first %s", again, first)
	}
	elsewhere := refused()
	elsewhere.Installation = "Siaya"
	if id, references := headers(elsewhere); id == first || references == cause {
		t.Errorf("the notice of another installation has the Message-ID %s and References %s of this one's", id, references)
	}
	resolved := refused()
	resolved.ID, resolved.Level, resolved.Subject = "01JE", notice.Resolved, "All well again"
	if id, references := headers(resolved); id == first || references != cause {
		t.Errorf("the notice of the end has Message-ID %s and References %s, that of the problem %s and %s", id, references, first, cause)
	}
}

func TestWhatANoticeSaysMakesNoHeaders(t *testing.T) {
	t.Parallel()
	const evil = "x\r\nBcc: thief@example.org\r\n\r\nbody\x00\x1b[31m\n.\r\nRCPT TO:<thief@example.org>"
	server := (&mailServer{}).start(t)
	m := server.mail()
	n := notice.Notice{ID: evil, Installation: evil, Subject: evil, Cause: evil, Text: "one\n.\ntwo", Level: notice.Problem, Facts: []notice.Fact{{Name: evil, Value: evil}}}
	if err := m.Send(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	header, body := parsed(t, server)
	var names []string
	for name := range header {
		names = append(names, name)
	}
	if header.Get("Bcc") != "" || len(names) != 11 {
		t.Errorf("the headers are %q", names)
	}
	if subject := decoded(t, header.Get("Subject")); strings.ContainsAny(subject, "\r\n\x00\x1b") || !strings.Contains(subject, "Bcc: thief@example.org") {
		t.Errorf("the subject is %q", subject)
	}
	if !strings.HasPrefix(body, "one\n.\ntwo\n\n") || strings.Count(body, "\n") != 6 {
		t.Errorf("the body is %q", body)
	}
	if commands, _ := server.seen(); strings.Contains(commands, "thief") {
		t.Errorf("the dialogue was\n%s", commands)
	}
	for _, address := range []string{evil, "a@example.org\r\nBcc: thief@example.org", "\"a\r\nBcc: thief@example.org\" <a@example.org>", "a@example.org, b@example.org", ""} {
		for _, m := range []notice.Mail{{From: address, To: m.To}, {From: m.From, To: []string{address}}} {
			m.Host, m.Port = "127.0.0.1", server.address.Port
			if e := errorOf(t, m.Send(t.Context(), refused())); e.Temporary || !strings.Contains(e.What, "is no e-mail address") {
				t.Errorf("%q: got %+v", address, e)
			}
		}
	}
}

func TestMailTravelsPrivatelyAndLogsInWithWhatIsOffered(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		server *mailServer
		want   string
	}{
		{"STARTTLS and PLAIN", &mailServer{startTLS: true, auth: "PLAIN LOGIN"}, "AUTH PLAIN"},
		{"TLS and LOGIN", &mailServer{implicitTLS: true, auth: "LOGIN XOAUTH2"}, "AUTH LOGIN"},
		{"TLS and no login", &mailServer{implicitTLS: true}, "EHLO"},
		{"STARTTLS and SCRAM", &mailServer{startTLS: true, auth: "PLAIN SCRAM-SHA-256"}, "AUTH SCRAM-SHA-256"},
		{"TLS and CRAM-MD5 only", &mailServer{implicitTLS: true, auth: "CRAM-MD5"}, "AUTH CRAM-MD5"},
		{"no TLS and CRAM-MD5", &mailServer{auth: "PLAIN LOGIN CRAM-MD5"}, "AUTH CRAM-MD5"},
		{"no TLS on this host", &mailServer{auth: "PLAIN"}, "AUTH PLAIN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := test.server.start(t)
			if err := server.mail().Send(t.Context(), refused()); err != nil {
				t.Fatal(err)
			}
			parsed(t, server)
			if commands, _ := server.seen(); !strings.Contains(commands, test.want) {
				t.Errorf("the dialogue was\n%s", commands)
			}
		})
	}
}

func TestAServerThatDoesNotTakeTheMailIsToldWithWhetherToTryAgain(t *testing.T) {
	t.Parallel()
	answers := func(command, answer string) *mailServer {
		return &mailServer{startTLS: true, auth: "PLAIN LOGIN", answers: map[string]string{command: answer}}
	}
	for _, test := range []struct {
		name      string
		server    *mailServer
		temporary bool
		want      string
	}{
		{"busy at the greeting", answers("connect", "421 too many connections"), true, "421 too many connections"},
		{"closed to us at the greeting", answers("connect", "554 no"), false, "554 no"},
		{"not SMTP at all", answers("connect", "+OK POP3 ready"), false, "does not speak SMTP"},
		{"TLS not available now", answers("STARTTLS", "454 later"), true, "does not begin TLS: 454"},
		{"login not possible now", answers("AUTH", "454 later"), true, "refuses the login: 454 later"},
		{"login refused", answers("AUTH", "535 no"), false, "refuses the login: 535 no"},
		{"sender refused", answers("MAIL", "550 relaying denied"), false, "mail from mediator@example.org: 550 relaying denied"},
		{"recipient not now", answers("RCPT", "451 greylisted"), true, "mail to hrio@example.org: 451 greylisted"},
		{"recipient unknown", answers("RCPT", "550-no such\r\n550 user"), false, "mail to hrio@example.org: 550 no such user"},
		{"server closes at the recipient", answers("RCPT", "421 shutting down"), true, "421 shutting down"},
		{"no data now", answers("DATA", "452 disk full"), true, "452 disk full"},
		{"mail not now", answers(".", "451 scanner away"), true, "451 scanner away"},
		{"mail is spam", answers(".", "554 spam"), false, "554 spam"},
		{"broken at the greeting", answers("connect", ""), true, "the connection broke off"},
		{"broken at the login", answers("AUTH", ""), true, "the connection broke off"},
		{"broken at the recipient", answers("RCPT", ""), true, "the connection broke off"},
		{"broken after the mail", answers(".", ""), true, "did not confirm the mail: the connection broke off"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := errorOf(t, test.server.start(t).mail().Send(t.Context(), refused()))
			if e.Temporary != test.temporary || e.Delivered || !strings.Contains(e.What, test.want) {
				t.Errorf("got %+v, want temporary %v and %q", e, test.temporary, test.want)
			}
		})
	}
}

func TestAMailGoesToThoseWhomTheServerKnows(t *testing.T) {
	t.Parallel()
	server := (&mailServer{answers: map[string]string{"RCPT TO:<left": "550 no such user", "RCPT TO:<full": "452 mailbox full"}}).start(t)
	m := server.mail()
	m.To = []string{"left@example.org", "hrio@example.org", "full@example.org"}
	e := errorOf(t, m.Send(t.Context(), refused()))
	if !e.Delivered || e.Temporary || !strings.Contains(e.What, "left@example.org: 550") || !strings.Contains(e.What, "full@example.org: 452") {
		t.Errorf("got %+v", e)
	}
	parsed(t, server)

	nobody := (&mailServer{answers: server.answers}).start(t)
	m = nobody.mail()
	m.To = []string{"full@example.org", "left@example.org"}
	if e := errorOf(t, m.Send(t.Context(), refused())); e.Delivered || !e.Temporary {
		t.Errorf("none of them takes mail, one may later: %+v", e)
	}
}

func TestATakenMailIsDeliveredWhateverComesAfterIt(t *testing.T) {
	t.Parallel()
	server := (&mailServer{answers: map[string]string{"QUIT": ""}}).start(t)
	if err := server.mail().Send(t.Context(), refused()); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestAPasswordIsNeverShown(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-256"} {
		server := (&mailServer{startTLS: true, auth: way}).start(t)
		m := server.mail()
		const wrong = "tr0ub4dor&3-and-more"
		m.Password = secret(wrong)
		e := errorOf(t, m.Send(t.Context(), refused()))
		if e.Temporary || !strings.Contains(e.Error(), "refuses the login: 535 5.7.8 not the password:") {
			t.Errorf("%s: got %+v", way, e)
		}
		if way != "SCRAM-SHA-256" && !strings.Contains(e.Error(), "<redacted>") {
			t.Errorf("%s: the server said nothing of what it got: %v", way, e)
		}
		text := e.Error() + e.Hint()
		for _, hidden := range []string{wrong, base64.StdEncoding.EncodeToString([]byte(wrong)), base64.StdEncoding.EncodeToString([]byte("\x00" + mailUser + "\x00" + wrong))} {
			if strings.Contains(text, hidden) {
				t.Errorf("%s: %q shows %q", way, text, hidden)
			}
		}
	}
}

func TestAPasswordIsNotSentInTheOpen(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		server *mailServer
		change func(*notice.Mail)
		want   string
	}{
		{"no STARTTLS where it is wanted", &mailServer{auth: "PLAIN"}, func(m *notice.Mail) { m.TLS = "" }, "does not offer STARTTLS"},
		{"no TLS to another host", &mailServer{auth: "PLAIN LOGIN"}, func(m *notice.Mail) { m.Host = "LOCALHOST" }, "everybody can read"},
		{"LOGIN without TLS to another host", &mailServer{auth: "LOGIN"}, func(m *notice.Mail) { m.Host = "LOCALHOST" }, "everybody can read"},
		{"a certificate of nobody known", &mailServer{startTLS: true, auth: "PLAIN"}, func(m *notice.Mail) { m.CAFile = "" }, "certificate is not trusted"},
		{"a certificate of nobody known, with TLS", &mailServer{implicitTLS: true, auth: "PLAIN"}, func(m *notice.Mail) { m.CAFile = "" }, "certificate is not trusted"},
		{"a certificate for another host", &mailServer{startTLS: true, auth: "PLAIN"}, func(m *notice.Mail) { m.Host = "localhost" }, "certificate is not trusted"},
		{"TLS to a server that begins in the open", &mailServer{startTLS: true, auth: "PLAIN"}, func(m *notice.Mail) { m.TLS = notice.ImplicitTLS }, "does not speak TLS from the start"},
		{"a login that is not offered", &mailServer{startTLS: true}, func(m *notice.Mail) { m.Username, m.Password = mailUser, secret(mailPassword) }, "offers no login"},
		{"a way to log in that is not known", &mailServer{startTLS: true, auth: "GSSAPI"}, func(*notice.Mail) {}, "offers no login that the mediator knows: GSSAPI"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := test.server.start(t)
			m := server.mail()
			test.change(&m)
			e := errorOf(t, m.Send(t.Context(), refused()))
			if e.Temporary || !strings.Contains(e.What, test.want) {
				t.Errorf("got %+v, want %q", e, test.want)
			}
			if commands, mails := server.seen(); strings.Contains(commands, "AUTH") || len(mails) > 0 {
				t.Errorf("the dialogue was\n%s", commands)
			}
		})
	}
}

func TestMailThatIsNotSetUpIsTold(t *testing.T) {
	t.Parallel()
	server := (&mailServer{startTLS: true}).start(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*notice.Mail)
		want   string
	}{
		{"no host", func(m *notice.Mail) { m.Host = "" }, "no host"},
		{"another TLS", func(m *notice.Mail) { m.TLS = "ssl" }, `tls is "ssl"`},
		{"no CA file", func(m *notice.Mail) { m.CAFile = filepath.Join(t.TempDir(), "none.pem") }, "read the CA file"},
		{"an empty CA file", func(m *notice.Mail) { m.CAFile = empty }, "no PEM certificate"},
		{"nobody to tell", func(m *notice.Mail) { m.To = nil }, "nobody to send it to"},
		{"no password to read", func(m *notice.Mail) {
			m.Username, m.Password = mailUser, func() (string, error) { return "", os.ErrNotExist }
		}, "read the password"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := server.mail()
			test.change(&m)
			if e := errorOf(t, m.Send(t.Context(), refused())); e.Temporary || !strings.Contains(e.What, test.want) {
				t.Errorf("got %+v, want %q", e, test.want)
			}
		})
	}
}

func TestThePortIsTheUsualOneOfTheWay(t *testing.T) {
	t.Parallel()
	for way, want := range map[notice.TLS]string{"": ":587", notice.STARTTLS: ":587", notice.ImplicitTLS: ":465", notice.NoTLS: ":25"} {
		e := errorOf(t, notice.Mail{Host: "::1", TLS: way}.Send(t.Context(), refused()))
		if !strings.HasSuffix(e.Doing, "[::1]"+want) {
			t.Errorf("%q: %s, want port %s", way, e.Doing, want)
		}
	}
}

func TestAServerThatIsNotThereIsWorthAnotherTry(t *testing.T) {
	t.Parallel()
	m := notice.Mail{Host: "127.0.0.1", Port: 1, From: "a@example.org", To: []string{"b@example.org"}}
	if e := errorOf(t, m.Send(t.Context(), refused())); !e.Temporary || !strings.Contains(e.What, "connection refused") {
		t.Errorf("got %+v", e)
	}
}

func TestAnAnswerThatNeverComesIsWaitedForNoLongerThanTheContext(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"connect", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "."} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			server := (&mailServer{startTLS: true, auth: "PLAIN", answers: map[string]string{command: silence}}).start(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				<-server.silent
				cancel()
			}()
			err := server.mail().Send(ctx, refused())
			var e *notice.Error
			if !errors.Is(err, context.Canceled) || errors.As(err, &e) {
				t.Errorf("got %v", err)
			}
		})
	}
	server := (&mailServer{answers: map[string]string{"MAIL": silence}}).start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := server.mail().Send(ctx, refused())
	if e := errorOf(t, err); !e.Temporary || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(e.What, "no answer in time") || !strings.Contains(e.Hint(), "465") {
		t.Errorf("got %+v", e)
	}
}
