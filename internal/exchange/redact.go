package exchange

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Redacted stands where a secret was.
const Redacted = "<redacted>"

// secretName says whether a header, a parameter or a JSON field of this name holds a secret. OpenHIM's token scheme has
// auth-salt and auth-token, its sessions koa.sess.
func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{
		"password", "passwd", "passphrase", "secret", "token", "apikey", "api-key", "api_key", "authorization", "cookie", "credential", "session",
	} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return strings.HasPrefix(name, "auth-") || strings.HasPrefix(name, "koa.sess") || strings.HasSuffix(name, "sid")
}

var (
	// inAddress is the user and the password in an address.
	inAddress = regexp.MustCompile(`(?i)\b([a-z][a-z0-9+.-]*://)[^\s/?#"'<>\\]*@`)
	// scheme is the value of an Authorization header.
	scheme = regexp.MustCompile(`(?i)\b(Basic|Bearer|ApiToken|Digest)(\s+)([A-Za-z0-9+/=._~-]{6,})`)
	// bareToken is a personal access token of DHIS2.
	bareToken = regexp.MustCompile(`\bd2p(at)?_[A-Za-z0-9_]+`)
	// pair is a name that tells a secret with its value, in JSON, in a form or in a header. The value may be cut off.
	pair = regexp.MustCompile(`(?i)([\w.-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|authorization|cookie|credential)[\w.-]*\\?"?\s*[:=]\s*)(\\"(?:[^"\\]|\\\\\\"|\\[^"])*(?:\\*"|\\?$)|"(?:[^"\\]|\\.)*(?:"|\\?$)|[^\s"'&,;{}\[\]<>]+)`)
)

// Redact takes secrets out of a text: credentials in addresses, values of the Authorization header, tokens of DHIS2,
// and the values of fields and parameters that are called password, token, secret and the like.
func Redact(text string) string {
	if !suspicious(text) {
		return text
	}
	text = inAddress.ReplaceAllString(text, "${1}"+Redacted+"@")
	text = scheme.ReplaceAllStringFunc(text, func(found string) string {
		parts := scheme.FindStringSubmatch(found)
		if !looksSecret(parts[3]) {
			return found
		}
		return parts[1] + parts[2] + Redacted
	})
	text = bareToken.ReplaceAllString(text, Redacted)
	return pair.ReplaceAllStringFunc(text, func(found string) string {
		parts := pair.FindStringSubmatch(found)
		switch value := parts[2]; {
		case strings.HasPrefix(value, `\"`):
			return parts[1] + `\"` + Redacted + `\"`
		case strings.HasPrefix(value, `"`):
			return parts[1] + `"` + Redacted + `"`
		case value == "null" || value == "true" || value == "false":
			return found
		}
		return parts[1] + Redacted
	})
}

// suspicious says whether there can be a secret in a text. The patterns are slow, and most texts have none.
func suspicious(text string) bool {
	lower := strings.ToLower(text)
	for _, word := range []string{
		"://", "basic", "bearer", "apitoken", "digest", "d2p", "passw", "passphrase", "secret", "token", "apikey", "api-key", "api_key", "authorization", "cookie", "credential",
	} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}

// looksSecret tells a credential from a plain word, as in "Basic authentication".
func looksSecret(word string) bool {
	return strings.ContainsAny(word, "0123456789+/=_") || strings.IndexFunc(word[1:], unicode.IsUpper) >= 0
}

// Address writes an address without its credentials and without the values of parameters that are secrets.
func Address(u *url.URL) string {
	if u == nil {
		return ""
	}
	plain := *u
	plain.User = nil
	if plain.RawQuery != "" {
		plain.RawQuery = redactQuery(plain.RawQuery)
	}
	return Redact(plain.String())
}

// redactQuery keeps the order of the parameters.
func redactQuery(query string) string {
	parts := strings.Split(query, "&")
	for i, part := range parts {
		name, _, has := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		if has && secretName(name) {
			parts[i] = url.QueryEscape(name) + "=" + Redacted
		}
	}
	return strings.Join(parts, "&")
}

// maxHeader is how much of the value of a header is kept, maxHeaders how much of all of them, in bytes.
const maxHeader, maxHeaders = 2 << 10, 16 << 10

// Header keeps the headers of a message, several values of one name joined, with the secrets taken out. A long value is
// cut, and ends in an ellipsis then; headers for which there is no room are left out.
func Header(header http.Header) map[string]string {
	kept := make(map[string]string, len(header))
	room := maxHeaders
	for _, name := range slices.Sorted(maps.Keys(header)) {
		value := Redacted
		if !secretName(name) {
			value = headerValue(header[name])
		}
		if len(name)+len(value) > room {
			continue
		}
		room -= len(name) + len(value)
		kept[name] = value
	}
	return kept
}

func headerValue(values []string) string {
	value := strings.Join(values, ", ")
	text := Redact(strings.ToValidUTF8(value[:min(len(value), maxHeader+margin)], "\uFFFD"))
	if len(text) <= maxHeader {
		return text
	}
	return clip(text, maxHeader) + "…"
}
