package sandbox

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// exportPath is where exports are asked for, the type of the export after it.
const exportPath = "/api/v2/export/"

// keptExports is how many computed exports are kept until the day or the documents change.
const keptExports = 8

// CHTConfig says what CHT to stand in for.
type CHTConfig struct {
	// Documents is what the database holds. The stand-in does not copy them: from NewCHT on only Change may change them.
	Documents CHTDocuments
	// Version is the CHT's version; empty means 5.2.0.
	Version string
	// TimeZone is the server's; nil means UTC.
	TimeZone *time.Location
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// CHT stands in for a CHT, as far as exports, settings, documents and the login go. It may be used by many goroutines.
type CHT struct {
	faults  faults
	version string
	zone    *time.Location
	clock   func() time.Time

	// state guards what follows. An export holds it while it is computed: a CHT lets all others wait as well.
	state     sync.Mutex
	documents *CHTDocuments
	access    access
	exports   map[chtExportKey]*chtBody
	set       map[[2]string][]byte
	database  database
	edits     []*pendingEdit

	// log guards the account of what was asked.
	log      sync.Mutex
	requests []CHTRequest
	running  int
	most     int
}

// chtExportKey is what an export depends on, beside the documents.
type chtExportKey struct {
	query chtQuery
	day   string
}

// CHTRequest is one request that reached the stand-in.
type CHTRequest struct {
	Method, Path string
	Query        url.Values
	Header       http.Header
	// Status is what was answered; 0 while there is no answer, and when the connection was cut before one.
	Status int
}

// NewCHT makes a CHT that holds the documents of the configuration.
func NewCHT(config CHTConfig) *CHT {
	c := &CHT{
		faults:    faults{Login: "/medic/login?redirect=%2F"},
		version:   cmp.Or(config.Version, "5.2.0"),
		zone:      cmp.Or(config.TimeZone, time.UTC),
		clock:     config.Now,
		documents: &config.Documents,
		access:    access{sessions: map[string]string{}, failures: map[string]loginFailures{}},
		exports:   map[chtExportKey]*chtBody{},
		set:       map[[2]string][]byte{},
	}
	if c.clock == nil {
		c.clock = time.Now
	}
	return c
}

// Fail adds faults to those that the stand-in has.
func (c *CHT) Fail(faults ...Fault) { c.faults.Fail(faults...) }

// Heal removes all faults.
func (c *CHT) Heal() { c.faults.Heal() }

// Requests gives what was asked so far, in the order in which it came.
func (c *CHT) Requests() []CHTRequest {
	c.log.Lock()
	defer c.log.Unlock()
	return slices.Clone(c.requests)
}

// MostExportsAtOnce is the largest number of exports that were under way at the same time.
func (c *CHT) MostExportsAtOnce() int {
	c.log.Lock()
	defer c.log.Unlock()
	return c.most
}

// SetExport makes raw the answer to each export of the data set and period (202610) from now on, whatever else is asked
// of it, with status 200 and as JSON. Nil takes that back.
func (c *CHT) SetExport(dataSet, period string, raw []byte) {
	c.state.Lock()
	defer c.state.Unlock()
	if raw == nil {
		delete(c.set, [2]string{dataSet, period})
		return
	}
	c.set[[2]string{dataSet, period}] = slices.Clone(raw)
}

// Change edits the documents, as phones and administrators do between two exports. The revision of a document changes with it.
func (c *CHT) Change(edit func(*CHTDocuments)) {
	c.state.Lock()
	defer c.state.Unlock()
	c.change(edit)
}

// change edits the documents, under the lock.
func (c *CHT) change(edit func(*CHTDocuments)) {
	edit(c.documents)
	clear(c.exports)
	c.database.forget()
}

// pendingEdit is a change that waits for its request.
type pendingEdit struct {
	path string
	left int
	edit func(*CHTDocuments)
}

// ChangeBefore edits the documents right before the nth request from now on (the first is 1) whose path begins with path, as a
// phone does that syncs between two pages.
func (c *CHT) ChangeBefore(path string, nth int, edit func(*CHTDocuments)) {
	c.state.Lock()
	defer c.state.Unlock()
	c.edits = append(c.edits, &pendingEdit{path, nth, edit})
}

// changeBefore makes the changes that waited for a request with this path.
func (c *CHT) changeBefore(path string) {
	c.state.Lock()
	defer c.state.Unlock()
	c.edits = slices.DeleteFunc(c.edits, func(p *pendingEdit) bool {
		if !strings.HasPrefix(path, p.path) {
			return false
		}
		if p.left--; p.left > 0 {
			return false
		}
		c.change(p.edit)
		return true
	})
}

// ServeHTTP answers as a CHT does, or as a fault says.
func (c *CHT) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	export := strings.HasPrefix(r.URL.Path, exportPath)
	at := c.arrive(r, export)
	answer := &statusWriter{ResponseWriter: w}
	defer func() { c.leave(at, answer.status, export) }()
	c.changeBefore(r.URL.Path)
	c.faults.Wrap(http.HandlerFunc(c.serve)).ServeHTTP(answer, r)
}

// arrive notes a request and gives its place.
func (c *CHT) arrive(r *http.Request, export bool) int {
	c.log.Lock()
	defer c.log.Unlock()
	if export {
		c.running++
		c.most = max(c.most, c.running)
	}
	c.requests = append(c.requests, CHTRequest{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), Header: r.Header.Clone(),
	})
	return len(c.requests) - 1
}

// leave notes what the request at a place was answered.
func (c *CHT) leave(at, status int, export bool) {
	c.log.Lock()
	defer c.log.Unlock()
	if export {
		c.running--
	}
	c.requests[at].Status = status
}

// statusWriter remembers the status that was written.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the first status.
func (w *statusWriter) WriteHeader(status int) {
	w.status = cmp.Or(w.status, status)
	w.ResponseWriter.WriteHeader(status)
}

// Write answers 200 when nothing else was said before.
func (w *statusWriter) Write(p []byte) (int, error) {
	w.status = cmp.Or(w.status, http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the writer beneath.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// serve answers without faults.
func (c *CHT) serve(w http.ResponseWriter, r *http.Request) {
	if c.tooManyFailures(r) {
		sendError(w, r, http.StatusTooManyRequests, "Too Many Requests")
		return
	}
	w.Header().Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	kind, isExport := strings.CutPrefix(r.URL.Path, exportPath)
	switch {
	case isExport && (r.Method == http.MethodGet || r.Method == http.MethodPost):
		c.serveExport(w, r, kind)
	case r.Method == http.MethodPost && r.URL.Path == "/_session":
		c.serveSession(w, r)
	case r.Method == http.MethodPost && (r.URL.Path == allDocs || r.URL.Path == typeView):
		c.serveMember(w, r)
	case r.Method != http.MethodGet:
		sendError(w, r, http.StatusNotFound, "Not found")
	case r.URL.Path == "/api/info":
		sendJSON(w, r, struct {
			Version string `json:"version"`
		}{"0.1.0"})
	case r.URL.Path == "/medic/login":
		writePage(w, http.StatusOK, "Login")
	default:
		c.serveMember(w, r)
	}
}

// serveMember answers what any logged-in user may read.
func (c *CHT) serveMember(w http.ResponseWriter, r *http.Request) {
	user := c.loggedIn(w, r)
	if user == nil {
		return
	}
	switch r.URL.Path {
	case allDocs:
		c.serveRange(w, r, user, (*database).allDocs)
	case orgUnitView:
		c.serveRange(w, r, user, (*database).orgUnits)
	case typeView:
		c.serveTypes(w, r, user)
	case "/api/deploy-info":
		sendJSON(w, r, struct {
			Namespace   string `json:"namespace"`
			Application string `json:"application"`
			Version     string `json:"version"`
			BaseVersion string `json:"base_version"`
			Build       string `json:"build"`
			Timestamp   string `json:"timestamp"`
			User        string `json:"user"`
		}{"medic", "medic", c.version, c.version, c.version, "2026-08-21T20:00:00.000Z", "admin"})
	case "/api/v1/settings":
		c.state.Lock()
		settings := marshal(c.documents.Settings)
		c.state.Unlock()
		newCHTBody(settings).send(w, r)
	default:
		c.serveREST(w, r, user)
	}
}

// tooManyFailures tells whether the caller's logins failed too often. Being told so counts as one more failure.
func (c *CHT) tooManyFailures(r *http.Request) bool {
	keys := loginKeys(r)
	if len(keys) == 0 || c.before(4, 6) {
		return false
	}
	c.state.Lock()
	defer c.state.Unlock()
	if !c.access.limited(keys, c.clock()) {
		return false
	}
	c.access.failed(keys, c.clock())
	return true
}

// loggedIn gives a copy of the caller's account. Without one it answers the caller and gives nil.
func (c *CHT) loggedIn(w http.ResponseWriter, r *http.Request) *CHTUser {
	c.state.Lock()
	user := c.login(r)
	if user == nil {
		c.access.failed(loginKeys(r), c.clock())
	} else {
		account := *user
		user = &account
	}
	c.state.Unlock()
	if user == nil {
		sendUnauthorized(w, r)
	}
	return user
}

// serveExport answers a request for an export.
func (c *CHT) serveExport(w http.ResponseWriter, r *http.Request, kind string) {
	query, status, text := readExportQuery(r)
	if status != 0 {
		sendError(w, r, status, text)
		return
	}
	if kind != "dhis" {
		sendError(w, r, http.StatusNotFound, `Invalid export type "`+kind+`"`)
		return
	}
	if !c.mayExport(w, r) {
		return
	}
	w.Header().Set("Content-Disposition", "attachment; filename=dhis-"+c.now().Format("200601021504")+".json")
	body, err := c.export(query, acceptsGzip(r))
	if bad, ok := errors.AsType[badExport](err); ok {
		sendError(w, r, http.StatusBadRequest, bad.Error())
		return
	}
	if err != nil {
		sendError(w, r, http.StatusInternalServerError, "Server error")
		return
	}
	body.send(w, r)
}

// mayExport tells whether the caller may export, and answers one who may not. Without the permission that is an error
// of the server: it goes on to look for a permission of the export's own under a name that does not exist.
func (c *CHT) mayExport(w http.ResponseWriter, r *http.Request) bool {
	user := c.loggedIn(w, r)
	if user == nil {
		return false
	}
	if !online(user) {
		sendError(w, r, http.StatusForbidden, "Insufficient privileges")
		return false
	}
	c.state.Lock()
	allowed := c.may(user, "can_export_all")
	c.state.Unlock()
	if !allowed {
		sendError(w, r, http.StatusInternalServerError, "Server error")
	}
	return allowed
}

// export gives the answer to a query, from what was set or kept or else computed, compressed already when asked.
func (c *CHT) export(query chtQuery, compressed bool) (*chtBody, error) {
	c.state.Lock()
	defer c.state.Unlock()
	now := c.now()
	period := time.UnixMilli(query.from).In(c.zone).Format("200601")
	if raw, there := c.set[[2]string{query.dataSet, period}]; there {
		return newCHTBody(raw), nil
	}
	key := chtExportKey{query, now.Format(time.DateOnly)}
	body := c.exports[key]
	if body == nil {
		plain, err := computeExport(c.documents, query, now)
		if err != nil {
			return nil, err
		}
		if len(c.exports) >= keptExports {
			clear(c.exports)
		}
		body = newCHTBody(plain)
		c.exports[key] = body
	}
	if compressed {
		body.compress()
	}
	copied := *body
	return &copied, nil
}

// now is the time in the server's time zone.
func (c *CHT) now() time.Time { return c.clock().In(c.zone) }
