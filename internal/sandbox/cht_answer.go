package sandbox

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// compressFrom is the size in bytes from which the CHT compresses a body.
const compressFrom = 1024

// sendError answers with an error in the form that the caller asks for.
func sendError(w http.ResponseWriter, r *http.Request, status int, text string) {
	if !wantsJSON(r) {
		w.Header().Set("Content-Type", "text/plain")
		send(w, r, status, []byte(text))
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	send(w, r, status, fmt.Appendf(nil, `{"code":%d,"error":%s}`, status, quoted(text)))
}

// sendUnauthorized answers a caller who is not logged in. Who asks for JSON is told so, any other with a User-Agent is sent
// to the login page.
func sendUnauthorized(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Logout-Authorization", "CHT-Core API")
	switch {
	case wantsJSON(r):
		sendError(w, r, http.StatusUnauthorized, "unauthorized")
	case r.UserAgent() == "":
		w.Header().Set("WWW-Authenticate", `Basic realm="Medic Web Services"`)
		w.Header().Set("Content-Type", "text/plain")
		send(w, r, http.StatusUnauthorized, []byte("not logged in"))
	default:
		redirectToLogin(w, r)
	}
}

// redirectToLogin sends the caller to the login page, with a body in the caller's form.
func redirectToLogin(w http.ResponseWriter, r *http.Request) {
	location := "/medic/login?redirect=" + escapeComponent(r.URL.RequestURI())
	w.Header().Add("Set-Cookie", "login=force; Path=/; Secure; SameSite=Lax")
	w.Header().Set("Location", location)
	w.Header().Set("Vary", "Accept")
	body := "Found. Redirecting to " + location
	switch accepted(r, "text/plain", "text/html") {
	case "text/plain":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	case "text/html":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		body = "<p>" + html.EscapeString(body) + "</p>"
	default:
		w.Header()["Content-Type"], body = nil, ""
	}
	send(w, r, http.StatusFound, []byte(body))
}

// escapeComponent escapes text for use inside a query, and leaves alone what the CHT leaves alone.
func escapeComponent(text string) string {
	escaped := url.QueryEscape(text)
	return strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(escaped)
}

// sendJSON answers 200 with a value as JSON.
func sendJSON(w http.ResponseWriter, r *http.Request, value any) {
	newCHTBody(marshal(value)).send(w, r)
}

// chtBody is a body of JSON that is sent with an ETag, and compressed once.
type chtBody struct {
	plain   []byte
	etag    string
	gzipped []byte
}

// newCHTBody makes the ETag from the length and the hash of the body, as the CHT's framework does.
func newCHTBody(plain []byte) *chtBody {
	hash := sha1.Sum(plain)
	etag := fmt.Sprintf(`W/"%x-%s"`, len(plain), base64.StdEncoding.EncodeToString(hash[:])[:27])
	return &chtBody{plain: plain, etag: etag}
}

// compress gives the body compressed. It is not for several goroutines at once.
func (b *chtBody) compress() []byte {
	if b.gzipped == nil {
		b.gzipped = gzipped(b.plain)
	}
	return b.gzipped
}

// send answers 200 with the body, or 304 to a caller who has it.
func (b *chtBody) send(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", b.etag)
	if r.Method == http.MethodGet && slices.Contains(etags(r.Header.Get("If-None-Match")), b.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if b.gzipped != nil && len(b.plain) >= compressFrom && acceptsGzip(r) {
		w.Header().Add("Vary", "Accept-Encoding")
		sendCompressed(w, http.StatusOK, b.gzipped)
		return
	}
	send(w, r, http.StatusOK, b.plain)
}

// etags splits the value of If-None-Match.
func etags(value string) []string {
	list := strings.Split(value, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// send writes an answer, compressed where it is worth it and the caller takes it.
func send(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	w.Header().Add("Vary", "Accept-Encoding")
	if len(body) >= compressFrom && acceptsGzip(r) {
		sendCompressed(w, status, gzipped(body))
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// sendCompressed writes an answer whose body is compressed already. Its length is not announced.
func sendCompressed(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// gzipped compresses a body.
func gzipped(body []byte) []byte {
	var b bytes.Buffer
	writer, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		panic("sandbox: " + err.Error())
	}
	_, _ = writer.Write(body)
	_ = writer.Close()
	return b.Bytes()
}

// acceptsGzip tells whether the caller takes a compressed body.
func acceptsGzip(r *http.Request) bool {
	for encoding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, parameters, _ := strings.Cut(encoding, ";")
		if strings.TrimSpace(name) == "gzip" {
			return quality(parameters) > 0
		}
	}
	return false
}

// wantsJSON tells whether the caller prefers JSON to text. Text wins where both are as welcome.
func wantsJSON(r *http.Request) bool {
	return accepted(r, "text/plain", "application/json") == "application/json"
}

// mediaRange is a part of an Accept header.
type mediaRange struct {
	kind    string
	quality float64
	// specific is 2 for a whole type, 1 for type/*, 0 for */*.
	specific int
	order    int
}

// accepted gives the offer that the Accept header prefers, empty when it takes none. Without a header all are taken.
func accepted(r *http.Request, offers ...string) string {
	ranges := mediaRanges(cmp.Or(strings.Join(r.Header.Values("Accept"), ","), "*/*"))
	best, bestRange := "", mediaRange{}
	for _, offer := range offers {
		match, ok := matchRange(ranges, offer)
		if !ok || match.quality == 0 {
			continue
		}
		if best == "" || compareRanges(match, bestRange) < 0 {
			best, bestRange = offer, match
		}
	}
	return best
}

// compareRanges orders the better liked first.
func compareRanges(a, b mediaRange) int {
	return cmp.Or(cmp.Compare(b.quality, a.quality), cmp.Compare(b.specific, a.specific), cmp.Compare(a.order, b.order))
}

// matchRange gives the most specific part of an Accept header that speaks of the offer.
func matchRange(ranges []mediaRange, offer string) (match mediaRange, ok bool) {
	family, _, _ := strings.Cut(offer, "/")
	for _, m := range ranges {
		if m.kind != offer && m.kind != family+"/*" && m.kind != "*/*" {
			continue
		}
		if !ok || m.specific > match.specific {
			match, ok = m, true
		}
	}
	return match, ok
}

// mediaRanges reads an Accept header.
func mediaRanges(header string) []mediaRange {
	var ranges []mediaRange
	for part := range strings.SplitSeq(header, ",") {
		kind, parameters, _ := strings.Cut(part, ";")
		kind = strings.ToLower(strings.TrimSpace(kind))
		ranges = append(ranges, mediaRange{
			kind: kind, quality: quality(parameters), specific: 2 - strings.Count(kind, "*"), order: len(ranges),
		})
	}
	return ranges
}

// quality reads the weight among the parameters of a part of an Accept header.
func quality(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		if weight, err := strconv.ParseFloat(value, 64); name == "q" && err == nil {
			return weight
		}
	}
	return 1
}
