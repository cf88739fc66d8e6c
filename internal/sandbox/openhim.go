package sandbox

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// OpenHIMConfig says what server to stand in for.
type OpenHIMConfig struct {
	// Version is "8.5.0" or "4.0.5", the two that were recorded; another one is taken as the one of the two it is nearer
	// to. Empty means 8.5.0.
	Version string
	// Users may call the API; without any there is root@openhim.org with the password openhim-password.
	Users []OpenHIMUser
	// Clients may call private channels on the router.
	Clients []OpenHIMClient
	// Now is the server's clock; nil means time.Now.
	Now func() time.Time
	// RoundTripper carries the requests of the router to the routes; nil means the network.
	RoundTripper http.RoundTripper
}

// OpenHIMUser is an account of the API.
type OpenHIMUser struct {
	// Email is the name with which the user logs in.
	Email, Name, Password string
	// Groups are the names of roles.
	Groups []string
	// Salt lets the user log in with tokens, too. On 4.0.5, which knows nothing else, an empty one is made up.
	Salt string
}

// OpenHIMClient is an account of the router.
type OpenHIMClient struct {
	ID, Name, Password string
	Roles              []string
}

// OpenHIM stands in for an OpenHIM core: as a http.Handler for its management API, and with Router for its router. It
// may be used by many goroutines.
//
// It keeps what the mediator and people would see: mediators with their configuration, channels, clients and
// transactions. Tasks are done before their request is answered, polling happens when Poll is called, auto-retry never:
// nothing runs by itself.
type OpenHIM struct {
	old      bool
	version  string
	now      func() time.Time
	started  time.Time
	upstream http.RoundTripper
	faults   faults

	// mu guards all that follows. It is not held while a route is called.
	mu           sync.Mutex
	count        int
	users        map[string]*openhimUser
	roles        map[string]openhimDoc
	sessions     map[string]*openhimUser
	mediators    []openhimDoc
	channels     []openhimDoc
	clients      []openhimDoc
	transactions []openhimDoc
	tasks        []openhimDoc
}

// openhimDoc is a document of the server's database.
type openhimDoc = map[string]any

// openhimUser is a user with an id.
type openhimUser struct {
	OpenHIMUser

	id string
}

// NewOpenHIM gives a server without mediators, channels and transactions.
func NewOpenHIM(config OpenHIMConfig) *OpenHIM {
	o := &OpenHIM{
		version: cmp.Or(config.Version, "8.5.0"), now: config.Now, upstream: config.RoundTripper,
		users: map[string]*openhimUser{}, roles: openhimRoles(), sessions: map[string]*openhimUser{},
	}
	o.old = openhimOld(o.version)
	if o.now == nil {
		o.now = time.Now
	}
	if o.upstream == nil {
		o.upstream = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	}
	o.started = o.now()
	users := config.Users
	if len(users) == 0 {
		users = []OpenHIMUser{{Email: "root@openhim.org", Name: "Super User", Password: "openhim-password", Groups: []string{"admin"}, Salt: "d9bcb40e"}}
	}
	for _, user := range users {
		if o.old && user.Salt == "" {
			user.Salt = "salt of " + user.Email
		}
		o.users[user.Email] = &openhimUser{OpenHIMUser: user, id: o.newID()}
	}
	for _, client := range config.Clients {
		salt := "salt of " + client.ID
		o.clients = append(o.clients, openhimDoc{
			"_id": o.newID(), "clientID": client.ID, "name": cmp.Or(client.Name, client.ID), "roles": openhimTexts(client.Roles),
			"passwordAlgorithm": "sha512", "passwordSalt": salt, "passwordHash": openhimHash(client.Password + salt), "__v": 0.0,
		})
	}
	return o
}

// openhimOld tells whether a version is nearer to 4.0.5, which knows tokens only: Basic came with 5.1.
func openhimOld(version string) bool {
	var major, minor int
	_, _ = fmt.Sscanf(version, "%d.%d", &major, &minor)
	return major < 5 || major == 5 && minor < 1
}

// Fail adds faults. They hit the API and the router alike.
func (o *OpenHIM) Fail(faults ...Fault) { o.faults.Fail(faults...) }

// Heal removes all faults.
func (o *OpenHIM) Heal() { o.faults.Heal() }

// Forget empties the database: no mediator, channel, transaction, task and client is left. Users and roles stay.
func (o *OpenHIM) Forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mediators, o.channels, o.clients, o.transactions, o.tasks = nil, nil, nil, nil, nil
}

// Restart does what the start of a core does: transactions that wait for an answer and have none are given up.
func (o *OpenHIM) Restart() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.started, o.sessions = o.now(), map[string]*openhimUser{}
	for _, t := range o.transactions {
		if t["status"] == "Processing" && t["response"] == nil && t["error"] == nil {
			t["status"] = "Failed"
			t["error"] = openhimDoc{"message": "OpenHIM crashed while still waiting for a response"}
		}
	}
	for _, task := range o.tasks {
		if task["status"] == "Processing" {
			o.finishTask(task)
		}
	}
}

// Transactions gives what is stored, in the order in which it came. The documents are copies, in the form of
// GET /transactions/{id}.
func (o *OpenHIM) Transactions() []map[string]any { return o.copies(&o.transactions) }

// Mediators gives the registered mediators, in the form of GET /mediators, passwords in clear.
func (o *OpenHIM) Mediators() []map[string]any { return o.copies(&o.mediators) }

// Channels gives the channels, in the form of GET /channels.
func (o *OpenHIM) Channels() []map[string]any { return o.copies(&o.channels) }

func (o *OpenHIM) copies(list *[]openhimDoc) []map[string]any {
	o.mu.Lock()
	defer o.mu.Unlock()
	copied, _ := openhimCopy(openhimList(*list)).([]any)
	docs := make([]map[string]any, 0, len(copied))
	for _, one := range copied {
		docs = append(docs, one.(openhimDoc))
	}
	return docs
}

// newID gives an id that no other document has: the time and a count.
func (o *OpenHIM) newID() string {
	o.count++
	return fmt.Sprintf("%08x%016x", uint32(o.now().Unix()), 0x5a0d<<48|o.count)
}

// maxOpenHIMBody is how large a body of the API may be.
const maxOpenHIMBody = 50 << 20

// ServeHTTP answers a request to the API as OpenHIM would, or as a fault has it.
func (o *OpenHIM) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.faults.Wrap(http.HandlerFunc(o.serveAPI)).ServeHTTP(w, r)
}

// openhimCall is a request to the API.
type openhimCall struct {
	*OpenHIM

	w    http.ResponseWriter
	r    *http.Request
	user *openhimUser
	// body is the decoded body, an empty object where it is not announced as JSON.
	body any
	// filled says that answers without a body show the text of a good login.
	filled bool
	path   []string
}

func (o *OpenHIM) serveAPI(w http.ResponseWriter, r *http.Request) {
	c := &openhimCall{OpenHIM: o, w: w, r: r, body: openhimDoc{}}
	w.Header().Set("Vary", "Origin")
	if !c.readBody() {
		return
	}
	for part := range strings.SplitSeq(strings.Trim(r.URL.EscapedPath(), "/"), "/") {
		plain, err := url.PathUnescape(part)
		if err != nil {
			plain = part
		}
		c.path = append(c.path, plain)
	}
	if c.openPath() || !c.login() {
		return
	}
	run := c.serve()
	if run != nil {
		run()
	}
}

// readBody reads the body. It answers by itself, and gives false, when that is not possible.
func (c *openhimCall) readBody() bool {
	text, err := io.ReadAll(http.MaxBytesReader(nil, c.r.Body, maxOpenHIMBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		c.text(http.StatusRequestEntityTooLarge, "request entity too large")
		return false
	}
	if err != nil || !strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/json") || len(text) == 0 {
		return err == nil
	}
	if json.Unmarshal(text, &c.body) != nil {
		c.text(http.StatusBadRequest, "Bad Request")
		return false
	}
	return true
}

// object gives the body as an object.
func (c *openhimCall) object() openhimDoc {
	object, _ := c.body.(openhimDoc)
	if object == nil {
		return openhimDoc{}
	}
	return object
}

// openPath answers for the paths that need no login.
func (c *openhimCall) openPath() bool {
	switch {
	case c.r.Method == http.MethodGet && c.r.URL.Path == "/heartbeat":
		c.locked(c.serveUptimes)
	case c.r.Method == http.MethodPost && c.r.URL.Path == "/authenticate/local":
		c.locked(c.startSession)
	case c.r.Method == http.MethodGet && len(c.path) == 2 && c.path[0] == "authenticate":
		c.locked(c.serveSalt)
	default:
		return false
	}
	return true
}

func (c *openhimCall) locked(run func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	run()
}

// serve answers for a user. What takes calls to routes is given back, to be run without the lock.
func (c *openhimCall) serve() (run func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	method := c.r.Method
	switch where := strings.Join(append([]string{method}, c.shape()...), " "); where {
	case "GET about":
		c.json(http.StatusOK, openhimDoc{"currentCoreVersion": c.version, "serverTimezone": "Africa/Abidjan"})
	case "GET me":
		c.json(http.StatusOK, openhimDoc{"user": c.user.document()})
	case "GET authentication types":
		c.json(http.StatusOK, []any{"mutual-tls-auth", "basic-auth"})
	case "GET visualizers":
		c.json(http.StatusOK, []any{})
	case "POST tasks":
		return c.createTask()
	case "PUT tasks *":
		return c.changeTask()
	case "POST channels * trigger":
		return c.triggerChannel()
	default:
		if !c.serveMediator(where) && !c.serveChannel(where) && !c.serveTransaction(where) && !c.serveAccount(where) {
			c.nothing(http.StatusNotFound)
		}
	}
	return nil
}

// shape is the path with a star for each part that names one of many.
func (c *openhimCall) shape() []string {
	shape := slices.Clone(c.path)
	if len(shape) > 1 && shape[0] != "authentication" {
		shape[1] = "*"
	}
	return shape
}

// nothing answers without a body of its own: so an unknown path is a 200 with Basic on 8.5.0.
func (c *openhimCall) nothing(status int) {
	if c.filled && status == http.StatusNotFound {
		status = http.StatusOK
	}
	c.empty(status)
}

// openhimFiller is what 8.5.0 says, with Basic, wherever it has nothing to say.
const openhimFiller = "User Authenticated Successfully"

// empty answers with a status alone.
func (c *openhimCall) empty(status int) {
	text := http.StatusText(status)
	if c.filled {
		text = openhimFiller
	}
	c.text(status, text)
}

func (c *openhimCall) text(status int, text string) {
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c.w.WriteHeader(status)
	_, _ = io.WriteString(c.w, text)
}

func (c *openhimCall) json(status int, body any) {
	text, _ := json.Marshal(body) // documents came from JSON
	c.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(text)
}

// serveUptimes answers the public heartbeat. A mediator that was not heard for a minute has none.
func (c *openhimCall) serveUptimes() {
	answer := openhimDoc{"master": c.now().Sub(c.started).Seconds(), "now": c.now().UnixMilli()}
	uptimes := openhimDoc{}
	for _, m := range c.mediators {
		urn, _ := m["urn"].(string)
		uptimes[urn] = nil
		last, err := time.Parse(openhimTime, fmt.Sprint(m["_lastHeartbeat"]))
		if err == nil && c.now().Sub(last) < time.Minute {
			uptimes[urn] = m["_uptime"]
		}
	}
	if len(uptimes) > 0 {
		answer["mediators"] = uptimes
	}
	c.json(http.StatusOK, answer)
}

// openhimTime is the form of times.
const openhimTime = "2006-01-02T15:04:05.000Z"

func (o *OpenHIM) timestamp() string { return o.now().UTC().Format(openhimTime) }

// openhimCopy copies what came from JSON.
func openhimCopy(value any) any {
	switch value := value.(type) {
	case openhimDoc:
		copied := make(openhimDoc, len(value))
		for name, member := range value {
			copied[name] = openhimCopy(member)
		}
		return copied
	case []any:
		copied := make([]any, len(value))
		for i, member := range value {
			copied[i] = openhimCopy(member)
		}
		return copied
	}
	return value
}

func openhimList(docs []openhimDoc) []any {
	list := make([]any, 0, len(docs))
	for _, doc := range docs {
		list = append(list, doc)
	}
	return list
}

func openhimTexts(texts []string) []any {
	list := make([]any, 0, len(texts))
	for _, text := range texts {
		list = append(list, text)
	}
	return list
}

// openhimWith gives a copy of a document in which what is missing is filled in.
func openhimWith(doc any, defaults openhimDoc) openhimDoc {
	filled := openhimDoc{}
	maps.Copy(filled, defaults)
	given, _ := doc.(openhimDoc)
	maps.Copy(filled, given)
	return filled
}

// openhimFind gives the document whose field has the value, nil when there is none.
func openhimFind(docs []openhimDoc, field string, value any) openhimDoc {
	for _, doc := range docs {
		if doc[field] == value {
			return doc
		}
	}
	return nil
}
