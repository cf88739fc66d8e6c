package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// FaultKind names one way in which a server or what stands before it goes wrong.
type FaultKind string

// The faults. Which of them apply to which stand-in follows from their text.
const (
	// Latency lets the request wait for Delay, then answers as usual.
	Latency FaultKind = "latency"
	// ResetBefore cuts the connection before any work was done.
	ResetBefore FaultKind = "reset_before"
	// ResetAfter does the work, then cuts the connection without an answer.
	ResetAfter FaultKind = "reset_after"
	// CutBody does the work, announces the whole length, sends the first half of the body and cuts the connection.
	CutBody FaultKind = "cut_body"
	// SlowBody does the work, sends the headers, then the body in small pieces with Delay before each.
	SlowBody FaultKind = "slow_body"
	// LoginRedirect answers 302 to a login page, as for a caller without credentials.
	LoginRedirect FaultKind = "login_redirect"
	// LoginPage answers 200 with a page of HTML.
	LoginPage FaultKind = "login_page"
	// TooLarge answers 413 as a proxy does when the request's body, as it travels, is over Size bytes.
	TooLarge FaultKind = "too_large"
	// Status answers Status as a proxy does, a page of HTML, and does no work. RetryAfter is sent when it is not empty.
	Status FaultKind = "status"
	// StatusAfter does the work, then answers Status as a proxy does: 504 while the server goes on importing.
	StatusAfter FaultKind = "status_after"
	// WriteFails is DHIS2 whose database fails while it writes: up to 2.42 it answers 409 "Failed to flush
	// BatchHandler" and may have stored a part, 2.43 answers success and has stored nothing.
	WriteFails FaultKind = "write_fails"
	// NewPeriodRace is DHIS2 meeting two first requests of a new period: up to 2.42 E7611 for every value, 2.43 answers
	// success and has stored nothing.
	NewPeriodRace FaultKind = "new_period_race"
	// RefusesGroup is DHIS2 from 2.43 on refusing all of a request for a reason of which it says nothing but a code.
	RefusesGroup FaultKind = "refuses_group"
	// ViewBuilding is a CHT's database that still builds a view: it waits for Delay, then answers 500 as CouchDB does when it
	// gives up waiting. It was not recorded. A view that is built in time is Latency.
	ViewBuilding FaultKind = "view_building"
)

// Fault is one misbehaviour on demand.
type Fault struct {
	Kind FaultKind
	// Method and Path select requests; empty selects all. Path is a prefix of the request's path.
	Method, Path string
	// Skip is how many selected requests are left alone first, Times how many are hit then; 0 hits all that follow.
	Skip, Times int
	// Every hits each so many-th of those only; 0 is every one.
	Every int
	// Contains selects requests whose body, unpacked, has the text; empty selects all.
	Contains string

	Delay      time.Duration
	Status     int
	Size       int64
	RetryAfter string
}

// faults holds the misbehaviours asked of a stand-in. The zero value has none. It may be used by many goroutines.
type faults struct {
	// Login is where LoginRedirect sends the caller.
	Login string

	mu   sync.Mutex
	list []*countedFault
}

// countedFault is a fault and how many of the requests which it selects it has seen.
type countedFault struct {
	Fault
	seen int
}

// Fail adds faults to those already there.
func (f *faults) Fail(list ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range list {
		f.list = append(f.list, &countedFault{Fault: fault})
	}
}

// Heal removes all faults.
func (f *faults) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = nil
}

// Wrap serves next with the faults.
func (f *faults) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.Pick(r).Serve(w, r, next)
	})
}

// Pick chooses what r suffers: the first fault that hits it, and before that the latencies that do. The faults after
// the chosen one do not count r. Pick may read the body of r, and puts it back.
func (f *faults) Pick(r *http.Request) suffering {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := suffering{login: f.Login}
	for _, fault := range f.list {
		if !fault.hits(r) {
			continue
		}
		if fault.Kind != Latency {
			s.Fault = fault.Fault
			return s
		}
		s.latency += fault.Delay
	}
	return s
}

// hits tells whether the fault applies to r, and counts r when the fault selects it.
func (f *countedFault) hits(r *http.Request) bool {
	if !f.selects(r) {
		return false
	}
	f.seen++
	return f.seen > f.Skip && (f.Times == 0 || f.seen <= f.Skip+f.Times) && (f.Every == 0 || (f.seen-f.Skip)%f.Every == 0)
}

// selects tells whether r is one of the requests which the fault is about.
func (f *countedFault) selects(r *http.Request) bool {
	if f.Method != "" && f.Method != r.Method || !strings.HasPrefix(r.URL.Path, f.Path) {
		return false
	}
	if f.Contains != "" && !bytes.Contains(bodyText(r), []byte(f.Contains)) {
		return false
	}
	switch f.Kind {
	case WriteFails, NewPeriodRace, RefusesGroup:
		return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/dataValueSets")
	case TooLarge:
		return bodySize(r) > f.Size
	}
	return true
}

// bodySize reads the body of r when the header does not tell its size, and puts it back.
func bodySize(r *http.Request) int64 {
	if r.ContentLength >= 0 || r.Body == nil {
		return max(r.ContentLength, 0)
	}
	return int64(len(wholeBody(r)))
}

// wholeBody reads the body of r, and puts it back.
func wholeBody(r *http.Request) []byte {
	if r.Body == nil {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	rest := io.Reader(bytes.NewReader(body))
	if err != nil {
		rest = io.MultiReader(rest, brokenReader{err})
	}
	r.Body = io.NopCloser(rest)
	return body
}

// bodyText is the body of r, unpacked.
func bodyText(r *http.Request) []byte {
	body := wholeBody(r)
	if text, err := unpack(body); err == nil {
		return text
	}
	return body
}

// brokenReader gives its error to whoever reads.
type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

// suffering is what one request suffers: latency, and then one fault, whose Kind is empty when there is none.
type suffering struct {
	Fault
	latency time.Duration
	login   string
}

// Serve answers r as the fault says, with the work of next where the fault does the work. The faults of the database
// are left to next, which has to know of them.
func (s suffering) Serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	pause(r.Context(), s.latency)
	switch s.Kind {
	case ResetBefore:
		cutConnection(w)
	case LoginRedirect:
		w.Header().Set("Location", s.login)
		w.WriteHeader(http.StatusFound)
	case LoginPage:
		writePage(w, http.StatusOK, "Sign in")
	case TooLarge:
		writePage(w, http.StatusRequestEntityTooLarge, "413 Request Entity Too Large")
	case Status:
		s.writeStatus(w)
	case ViewBuilding:
		pause(r.Context(), s.Delay)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, `{"error":"timeout","reason":"The request could not be processed in a reasonable amount of time."}`)
	case ResetAfter, CutBody, SlowBody, StatusAfter:
		s.serveAfter(w, r, next)
	default:
		next.ServeHTTP(w, r)
	}
}

// serveAfter lets next do its work, then does with the answer what the fault says.
func (s suffering) serveAfter(w http.ResponseWriter, r *http.Request, next http.Handler) {
	answer := &heldAnswer{header: http.Header{}, status: http.StatusOK}
	next.ServeHTTP(answer, r)
	switch s.Kind {
	case ResetAfter:
		cutConnection(w)
	case StatusAfter:
		s.writeStatus(w)
	case CutBody:
		answer.writeHeader(w)
		_, _ = w.Write(answer.body.Bytes()[:answer.body.Len()/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case SlowBody:
		answer.writeHeader(w)
		for piece := range slices.Chunk(answer.body.Bytes(), answer.body.Len()/10+1) {
			_ = http.NewResponseController(w).Flush()
			pause(r.Context(), s.Delay)
			_, _ = w.Write(piece)
		}
	}
}

// writeStatus answers with a page as a proxy does.
func (s suffering) writeStatus(w http.ResponseWriter) {
	if s.RetryAfter != "" {
		w.Header().Set("Retry-After", s.RetryAfter)
	}
	writePage(w, s.Status, fmt.Sprint(s.Status, " ", http.StatusText(s.Status)))
}

// writePage answers with a page of HTML.
func writePage(w http.ResponseWriter, status int, title string) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<html>\n<head><title>%[1]s</title></head>\n<body><h1>%[1]s</h1></body>\n</html>\n", title)
}

// cutConnection resets the connection under w. Where w does not give its connection away, the server of w ends it.
func cutConnection(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// pause waits for d, and gives the request up when its caller is gone before.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		panic(http.ErrAbortHandler)
	}
}

// heldAnswer is a http.ResponseWriter that keeps an answer back.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *heldAnswer) Header() http.Header         { return a.header }
func (a *heldAnswer) WriteHeader(status int)      { a.status = status }
func (a *heldAnswer) Write(p []byte) (int, error) { return a.body.Write(p) }

// writeHeader sends the status and the headers, the length of the whole body among them.
func (a *heldAnswer) writeHeader(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.Header().Set("Content-Length", strconv.Itoa(a.body.Len()))
	w.WriteHeader(a.status)
}
