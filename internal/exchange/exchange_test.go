package exchange_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

func TestABodyIsCutWithLengthAndDigestOfTheWhole(t *testing.T) {
	t.Parallel()
	const digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // of "abc"
	for _, test := range []struct {
		name  string
		whole string
		limit int
		want  exchange.Body
	}{
		{"empty", "", 10, exchange.Body{}},
		{"whole", "abc", 3, exchange.Body{Text: "abc", Length: 3, SHA256: digest}},
		{"cut", "abc", 2, exchange.Body{Text: "ab", Length: 3, SHA256: digest, Cut: true}},
		{"nothing kept", "abc", 0, exchange.Body{Length: 3, SHA256: digest, Cut: true}},
		{"less than nothing", "abc", -1, exchange.Body{Length: 3, SHA256: digest, Cut: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, exchange.NewBody([]byte(test.whole), test.limit)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
	if got, want := exchange.NewBody([]byte("abc"), 2).String(), "ab\n[cut: 3 bytes in all, SHA-256 "+digest+"]"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
}

func TestShortenKeepsWhatAnEarlierCutSaid(t *testing.T) {
	t.Parallel()
	whole := strings.Repeat("äöü ", 1000)
	once := exchange.Shorten(whole, 1001)
	twice := exchange.Shorten(once, 11)
	line := once[strings.LastIndex(once, "\n"):]
	if want := "äöü äö" + line; twice != want {
		t.Errorf("cut twice: %q, want %q", twice, want)
	}
	if !strings.Contains(line, "7000 bytes in all") {
		t.Errorf("the line is %q", line)
	}
	if got := exchange.Shorten(twice, 11); got != twice {
		t.Errorf("cut a third time: %q, want %q", got, twice)
	}
	if got := exchange.Shorten("short", 5); got != "short" {
		t.Errorf("got %q", got)
	}
	if got := exchange.Shorten("a\xff", 10); got != "a\uFFFD" {
		t.Errorf("got %q", got)
	}
}

func TestSecretsAreTakenOut(t *testing.T) {
	t.Parallel()
	const r = exchange.Redacted
	for _, test := range []struct{ name, in, want string }{
		{"nothing", `{"dataSet":"DsMchMonth1","value":"12"}`, `{"dataSet":"DsMchMonth1","value":"12"}`},
		{"password in JSON", `{"user":"a","password":"p\"w","b":1}`, `{"user":"a","password":"` + r + `","b":1}`},
		{"password cut off", `{"password":"abcde`, `{"password":"` + r + `"`},
		{"password cut off in an escape", `{"password":"abcde\`, `{"password":"` + r + `"`},
		{"JSON in JSON", `{"body":"{\"token\":\"abc\"}"}`, `{"body":"{\"token\":\"` + r + `\"}"}`},
		{"JSON in JSON in which a quote is escaped", `{"body":"{\"token\":\"a\\\"bc\"}"}`, `{"body":"{\"token\":\"` + r + `\"}"}`},
		{"number", `{"api_key": 1234}`, `{"api_key": ` + r + `}`},
		{"null", `{"password":null}`, `{"password":null}`},
		{"form", `a=b&client_secret=xyz&c=d`, `a=b&client_secret=` + r + `&c=d`},
		{"header", "Authorization: Basic dXNlcjpwYXNz\nHost: a", "Authorization: " + r + " " + r + "\nHost: a"},
		{"scheme in a sentence", `sent "Bearer eyJhbGciOi.J9" there`, `sent "Bearer ` + r + `" there`},
		{"a word after a scheme", "Basic authentication is off", "Basic authentication is off"},
		{"token of DHIS2", "refused d2pat_5xVA12xyUbWNedQxy4ohH77WlxRGVvZZ1151814092 here", "refused " + r + " here"},
		{"address", "GET https://user:p@ss@dhis2.example.org/api: refused", "GET https://" + r + "@dhis2.example.org/api: refused"},
		{"address without credentials", "https://dhis2.example.org/a@b", "https://dhis2.example.org/a@b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := exchange.Redact(test.in); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestASecretAtTheCutDoesNotShow(t *testing.T) {
	t.Parallel()
	whole := `{"a":"` + strings.Repeat("x", 90) + `","password":"hidden-word","b":2}`
	for limit := range len(whole) {
		if got := exchange.NewBody([]byte(whole), limit).Text; strings.Contains(got, "hid") {
			t.Fatalf("limit %d: %s", limit, got)
		}
	}
}

func TestAnAddressIsWrittenWithoutCredentials(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://u:p@host:8080/a%3Ab?x=1":       "https://host:8080/a%3Ab?x=1",
		"http://host/a?token=abc&period=202610": "http://host/a?token=<redacted>&period=202610",
		"http://host/a?pass%77ord=abc":          "http://host/a?password=<redacted>",
		"http://host/a?flag":                    "http://host/a?flag",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := exchange.Address(u); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	if got := exchange.Address(nil); got != "" {
		t.Errorf("no address: %q", got)
	}
}

func TestHeadersAreKeptWithoutSecrets(t *testing.T) {
	t.Parallel()
	got := exchange.Header(http.Header{
		"Authorization": {"Basic abc"}, "Set-Cookie": {"JSESSIONID=1", "b=2"}, "Auth-Salt": {"x"}, "Auth-Token": {"y"},
		"X-Api-Key": {"z"}, "Content-Type": {"application/json"}, "Accept": {"a", "b"}, "Location": {"http://u:p@h/"}, "Odd": {"\xff"},
	})
	const r = exchange.Redacted
	want := map[string]string{
		"Authorization": r, "Set-Cookie": r, "Auth-Salt": r, "Auth-Token": r, "X-Api-Key": r,
		"Content-Type": "application/json", "Accept": "a, b", "Location": "http://" + r + "@h/", "Odd": "\uFFFD",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// FuzzABodyIsSmallAndValid holds that whatever travels is kept as valid UTF-8 of no more than the limit.
func FuzzABodyIsSmallAndValid(f *testing.F) {
	f.Add([]byte(`{"password":"a"}`), 5)
	f.Add([]byte("\xff\xfe\x00ä"), 3)
	f.Add([]byte("a\n[cut: 12 bytes in all, SHA-256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad]"), 0)
	f.Fuzz(func(t *testing.T, whole []byte, limit int) {
		limit = max(0, limit%10_000)
		b := exchange.NewBody(whole, limit)
		if len(b.Text) > limit || !utf8.ValidString(b.String()) || b.Length != len(whole) {
			t.Errorf("limit %d: %+v", limit, b)
		}
		short := exchange.Shorten(string(whole), limit)
		if len(short) > limit+128 || !utf8.ValidString(short) {
			t.Errorf("limit %d: %q", limit, short)
		}
	})
}
