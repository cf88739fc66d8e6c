package sandbox

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DHIS2Config says what server to stand in for.
type DHIS2Config struct {
	// Version is such as "2.43.1". It decides the dialect: up to 2.42 values are imported one by one, from 2.43 on as
	// a group. Empty or unreadable counts as the newest.
	Version string
	// Calendar is the server's calendar; empty means iso8601.
	Calendar string
	Metadata DHIS2Metadata
	Users    []DHIS2User
	// LocksAccounts is the setting keyLockMultipleFailedLogins: the fourth failed login of a user name locks it for 15
	// minutes. Failures are forgotten when there was none for so long.
	LocksAccounts bool
	// Now is the server's clock; nil means time.Now.
	Now func() time.Time
}

// DHIS2Value is a stored value. Combinations are always told, the default ones too.
type DHIS2Value struct {
	DataElement, Period, OrgUnit, CategoryOptionCombo, AttributeOptionCombo string
	Value, StoredBy, Comment                                                string
}

// DHIS2Import is a POST to /api/dataValueSets that reached the import, or that a fault hit.
type DHIS2Import struct {
	// Raw is the body as it travelled, Body the same unpacked.
	Raw, Body []byte
	Query     url.Values
	// Status is what was answered, 0 when nothing was.
	Status int
	// Fault is what the request suffered beside latency, empty when nothing.
	Fault FaultKind
}

// DHIS2 stands in for a DHIS2. It is a http.Handler, and may be used by many goroutines. It imports JSON only, and at
// once only: no XML, CSV or ADX, and nothing in the background.
type DHIS2 struct {
	version  dhis2Version
	calendar *dhis2Calendar
	index    *dhis2Index
	users    []*DHIS2User
	now      func() time.Time
	faults   faults
	traffic  dhis2Traffic

	// mu guards all that follows, and the closing dates of the org units.
	mu        sync.Mutex
	store     dhis2Store
	locked    map[[2]string]bool
	excepted  map[dhis2Exception]bool
	completed map[dhis2Slice]*dhis2Completion
	// completionImports are the POSTs of registrations.
	completionImports []DHIS2Import
	approved          map[dhis2Approval]dhis2Approved
	tokens            map[string]*dhis2Token
	// logins counts the failed logins by user name; nil does not. lockOuts is how often an account was locked.
	logins   map[string]dhis2Logins
	lockOuts int
}

// NewDHIS2 gives a server with the metadata and no values.
func NewDHIS2(config DHIS2Config) *DHIS2 {
	d := &DHIS2{
		version:   parseDHIS2Version(config.Version),
		calendar:  dhis2CalendarOf(config.Calendar),
		index:     newDHIS2Index(config.Metadata),
		now:       config.Now,
		store:     dhis2Store{rows: map[dhis2Cell]*dhis2Row{}},
		locked:    map[[2]string]bool{},
		excepted:  map[dhis2Exception]bool{},
		completed: map[dhis2Slice]*dhis2Completion{},
		approved:  map[dhis2Approval]dhis2Approved{},
		tokens:    map[string]*dhis2Token{},
	}
	if d.now == nil {
		d.now = time.Now
	}
	if config.LocksAccounts {
		d.logins = map[string]dhis2Logins{}
	}
	for _, user := range config.Users {
		user.ID = cmp.Or(user.ID, dhis2UID("user "+user.Username))
		user.Name = cmp.Or(user.Name, user.Username)
		d.users = append(d.users, &user)
		if user.Token != "" {
			d.tokens[user.Token] = &dhis2Token{id: dhis2UID(user.Token), owner: &user, created: d.now()}
		}
	}
	d.faults.Login = d.loginPath()
	return d
}

// Fail adds faults.
func (d *DHIS2) Fail(faults ...Fault) { d.faults.Fail(faults...) }

// Heal removes all faults.
func (d *DHIS2) Heal() { d.faults.Heal() }

// CloseOrgUnit closes an org unit from the day on, which is yyyy-MM-dd: no period that begins after it may be entered.
func (d *DHIS2) CloseOrgUnit(id, date string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if place := d.index.places.byID[id]; place != nil {
		place.ClosedDate, place.closed = date, dhis2Date(date)
	}
}

// AssignDataSet assigns a data set to an org unit.
func (d *DHIS2) AssignDataSet(dataSet, orgUnit string) { d.assign(dataSet, orgUnit, true) }

// WithdrawDataSet takes the assignment of a data set to an org unit back.
func (d *DHIS2) WithdrawDataSet(dataSet, orgUnit string) { d.assign(dataSet, orgUnit, false) }

func (d *DHIS2) assign(dataSet, orgUnit string, assigned bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	set, place := d.index.sets.byID[dataSet], d.index.places.byID[orgUnit]
	if set == nil || place == nil || set.places[orgUnit] == assigned {
		return
	}
	if assigned {
		set.places[orgUnit] = true
		set.units = append(set.units, place)
		return
	}
	delete(set.places, orgUnit)
	set.units = slices.DeleteFunc(set.units, func(p *dhis2Place) bool { return p == place })
}

// LockPeriod lets a period of a data set count as expired.
func (d *DHIS2) LockPeriod(dataSet, period string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.locked[[2]string{dataSet, period}] = true
}

// ExceptFromLock opens an expired period of a data set for an org unit.
func (d *DHIS2) ExceptFromLock(dataSet, period, orgUnit string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.excepted[dhis2Exception{dataSet, period, orgUnit}] = true
}

// dhis2Exception is a lock exception.
type dhis2Exception struct{ dataSet, period, orgUnit string }

// LockOuts is how often an account was locked for its failed logins.
func (d *DHIS2) LockOuts() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lockOuts
}

// Values gives everything that is stored and not deleted, sorted.
func (d *DHIS2) Values() []DHIS2Value {
	d.mu.Lock()
	defer d.mu.Unlock()
	values := make([]DHIS2Value, 0, len(d.store.rows))
	for cell, row := range d.store.rows {
		if row.deleted {
			continue
		}
		values = append(values, DHIS2Value{
			DataElement: cell.dataElement, Period: cell.period, OrgUnit: cell.orgUnit,
			CategoryOptionCombo: cell.combo, AttributeOptionCombo: cell.attribute,
			Value: row.value, StoredBy: row.storedBy, Comment: row.comment,
		})
	}
	slices.SortFunc(values, func(a, b DHIS2Value) int {
		return cmp.Or(
			cmp.Compare(a.Period, b.Period), cmp.Compare(a.OrgUnit, b.OrgUnit), cmp.Compare(a.DataElement, b.DataElement),
			cmp.Compare(a.CategoryOptionCombo, b.CategoryOptionCombo),
			cmp.Compare(a.AttributeOptionCombo, b.AttributeOptionCombo),
		)
	})
	return values
}

// Imports gives the imports in the order in which they ended.
func (d *DHIS2) Imports() []DHIS2Import {
	d.traffic.mu.Lock()
	defer d.traffic.mu.Unlock()
	return slices.Clone(d.traffic.imports)
}

// MostAtOnce gives the most imports that were in flight at one time.
func (d *DHIS2) MostAtOnce() int {
	d.traffic.mu.Lock()
	defer d.traffic.mu.Unlock()
	return d.traffic.most
}

// dhis2Traffic counts imports. It has its own lock, as an import in work holds the server's.
type dhis2Traffic struct {
	mu            sync.Mutex
	imports       []DHIS2Import
	current, most int
}

// enter notes an import that begins.
func (t *dhis2Traffic) enter() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current++
	t.most = max(t.most, t.current)
}

// leave notes an import that has ended; it is kept when it counts.
func (t *dhis2Traffic) leave(done *DHIS2Import, counts bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current--
	if counts {
		t.imports = append(t.imports, *done)
	}
}

// ServeHTTP answers a request as a DHIS2 would, or as a fault has it.
func (d *DHIS2) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := versionedAPI.ReplaceAllString(r.URL.Path, "/api/")
	if r.Method == http.MethodPost && path == "/api/dataValueSets" {
		d.serveImport(w, r)
		return
	}
	d.faults.Pick(r).Serve(w, r, http.HandlerFunc(d.serve))
}

// versionedAPI is the beginning of a path that names a version of the API.
var versionedAPI = regexp.MustCompile(`^/api/\d+/`)

// serveImport answers a POST of values and keeps what came of it.
func (d *DHIS2) serveImport(w http.ResponseWriter, r *http.Request) {
	d.traffic.enter()
	raw, err := io.ReadAll(r.Body)
	body, _ := unpack(raw)
	r.Body = io.NopCloser(bytes.NewReader(raw))
	if err != nil {
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(raw), brokenReader{err}))
	}
	suffered := d.faults.Pick(r)
	done := &DHIS2Import{Raw: raw, Body: body, Query: r.URL.Query(), Fault: suffered.Kind}
	reached := false
	defer func() { d.traffic.leave(done, reached || done.Fault != "") }()
	suffered.Serve(&statusKeeper{w, &done.Status}, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user := d.login(w, r); user != nil {
			reached = d.importValues(w, r, user, suffered.Kind)
		}
	}))
}

// statusKeeper is a http.ResponseWriter that notes the status.
type statusKeeper struct {
	http.ResponseWriter
	status *int
}

func (k *statusKeeper) WriteHeader(status int) {
	*k.status = status
	k.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (k *statusKeeper) Unwrap() http.ResponseWriter { return k.ResponseWriter }

// serve answers all but the import of values.
func (d *DHIS2) serve(w http.ResponseWriter, r *http.Request) {
	user := d.login(w, r)
	if user == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	path := strings.TrimSuffix(versionedAPI.ReplaceAllString(r.URL.Path, "/api/"), "/")
	switch r.Method + " " + path {
	case "GET /api/system/info":
		d.serveInfo(w, r)
	case "GET /api/me":
		d.serveMe(w, r, user)
	case "GET /api/systemSettings/keyCalendar":
		d.writeJSON(w, http.StatusOK, map[string]string{"keyCalendar": d.calendar.name})
	case "GET /api/dataValueSets":
		d.readValues(w, r, user)
	case "GET /api/completeDataSetRegistrations":
		d.readCompletions(w, r)
	case "POST /api/completeDataSetRegistrations":
		d.importCompletions(w, r, user)
	case "DELETE /api/completeDataSetRegistrations":
		d.deleteCompletions(w, r)
	case "GET /api/dataApprovals":
		d.readApproval(w, r, user)
	case "GET /api/dataApprovals/approvals":
		d.readApprovals(w, r, user)
	case "POST /api/dataApprovals":
		d.approve(w, r, user)
	case "POST /api/apiToken":
		d.createToken(w, r, user)
	default:
		d.serveRest(w, r, user, path)
	}
}

// serveRest answers for paths that hold an id, and for wrong ones.
func (d *DHIS2) serveRest(w http.ResponseWriter, r *http.Request, user *DHIS2User, path string) {
	if id, found := strings.CutPrefix(path, "/api/apiToken/"); found && r.Method == http.MethodDelete {
		d.deleteToken(w, id, user)
		return
	}
	if path == "/api/dataValueSets" || path == "/api/completeDataSetRegistrations" {
		d.writeFailure(w, http.StatusMethodNotAllowed, "", "Request method '"+r.Method+"' is not supported")
		return
	}
	if r.Method == http.MethodGet && d.browse(w, r, user, path) {
		return
	}
	d.writeFailure(w, http.StatusNotFound, "E1005", "No static resource "+strings.TrimPrefix(path, "/")+".")
}

// serveInfo answers what the server is.
func (d *DHIS2) serveInfo(w http.ResponseWriter, r *http.Request) {
	d.writeJSON(w, http.StatusOK, dhis2Object{
		{"version", d.version.text}, {"revision", "0000000"}, {"calendar", d.calendar.name}, {"dateFormat", "yyyy-mm-dd"},
		{"serverDate", dhis2Time(d.now().UTC())}, {"serverTimeZoneId", "Etc/UTC"}, {"systemName", "DHIS2"},
	}.choose(parseFields(r.URL.Query().Get("fields"), ":all")))
}

// dhis2Time writes a time as the metadata of DHIS2 have it.
func dhis2Time(t time.Time) string { return t.Format("2006-01-02T15:04:05.000") }

// dhis2Version is the version of a DHIS2.
type dhis2Version struct {
	text         string
	minor, patch int
}

// parseDHIS2Version reads a version such as 2.43.1 or 2.44-SNAPSHOT.
func parseDHIS2Version(text string) dhis2Version {
	v := dhis2Version{text: cmp.Or(text, "2.43.1"), minor: 43, patch: 1}
	parts := regexp.MustCompile(`^2\.(\d+)(?:\.(\d+))?`).FindStringSubmatch(text)
	if parts != nil {
		v.minor, _ = strconv.Atoi(parts[1])
		v.patch, _ = strconv.Atoi(parts[2])
	}
	return v
}

// legacy tells whether values are imported one by one.
func (v dhis2Version) legacy() bool { return v.minor <= 42 }

// untold tells whether the server does not list the places of refused values: 2.38, and 2.39 before 2.39.2.
func (v dhis2Version) untold() bool { return v.minor < 39 || v.minor == 39 && v.patch < 2 }

// old tells whether the server answers in the words of 2.40, which 2.42 changed.
func (v dhis2Version) old() bool { return v.minor < 42 }

// unmended tells whether the server has the faults of 2.43.0 and 2.43.1 that were mended afterwards.
func (v dhis2Version) unmended() bool { return v.minor == 43 && v.patch <= 1 }

// The content types. Which one an answer has depends on the part of DHIS2 that writes it.
const (
	jsonPlain   = "application/json"
	jsonCharset = "application/json;charset=UTF-8"
	jsonSmall   = "application/json;charset=utf-8"
)

// writeJSON answers in the way of most of the API.
func (d *DHIS2) writeJSON(w http.ResponseWriter, status int, body any) {
	contentType := jsonCharset
	if d.version.old() {
		contentType = jsonPlain
	}
	writeJSONAs(w, status, contentType, body)
}

// writeStreamed answers in the way of those parts that write their answers themselves.
func (d *DHIS2) writeStreamed(w http.ResponseWriter, status int, body any) {
	writeJSONAs(w, status, d.streamedType(), body)
}

// streamedType is the content type of those parts.
func (d *DHIS2) streamedType() string {
	if d.version.old() {
		return jsonSmall
	}
	return jsonCharset
}

// writeFailure answers an envelope without a response, in the way of an exception.
func (d *DHIS2) writeFailure(w http.ResponseWriter, status int, code, message string) {
	writeJSONAs(w, status, jsonPlain, dhis2Failure(status, code, message))
}

// dhis2Failure is the envelope of a failure.
func dhis2Failure(status int, code, message string) dhis2Envelope {
	return dhis2Envelope{HTTPStatus: http.StatusText(status), HTTPStatusCode: status, Status: "ERROR", Message: message, ErrorCode: code}
}

// writeJSONAs answers with a JSON body.
func writeJSONAs(w http.ResponseWriter, status int, contentType string, body any) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body)
}

// dhis2Envelope is what DHIS2 wraps most answers into.
type dhis2Envelope struct {
	HTTPStatus     string `json:"httpStatus"`
	HTTPStatusCode int    `json:"httpStatusCode"`
	Status         string `json:"status"`
	Message        string `json:"message,omitempty"`
	ErrorCode      string `json:"errorCode,omitempty"`
	Response       any    `json:"response,omitempty"`
}
