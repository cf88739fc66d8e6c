package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Router gives the door of the clients: what arrives there is led to the route of the channel that matches, and kept as
// a transaction.
func (o *OpenHIM) Router() http.Handler { return o.faults.Wrap(http.HandlerFunc(o.serveRouter)) }

func lower(name string) string { return strings.ToLower(name) }

func (o *OpenHIM) serveRouter(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller is gone
	}
	o.mu.Lock()
	client := o.routerClient(r)
	channel, status := o.channelOf(r, client)
	o.mu.Unlock()
	if channel == nil {
		w.Header().Set("Content-Type", "application/octet-stream")
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Basic")
		}
		w.WriteHeader(status)
		return
	}
	host, port, _ := strings.Cut(r.Host, ":")
	request := openhimDoc{
		"host": host, "port": port, "path": r.URL.Path, "querystring": r.URL.RawQuery, "method": r.Method,
		"headers": openhimHeaders(r, client), "body": string(body), "timestamp": o.timestamp(),
	}
	p := &openhimPassage{channel: channel, request: request}
	if client != nil {
		p.client = client["_id"]
	}
	o.pass(p, w)
}

// openhimHeaders are the headers of a request as they are stored, with those that the router adds.
func openhimHeaders(r *http.Request, client openhimDoc) openhimDoc {
	headers := openhimDoc{"host": r.Host}
	for name, values := range r.Header {
		headers[lower(name)] = strings.Join(values, ", ")
	}
	if r.ContentLength > 0 {
		headers["content-length"] = strconv.FormatInt(r.ContentLength, 10)
	}
	if client != nil {
		headers["X-OpenHIM-ClientID"] = client["clientID"]
	}
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || strings.HasPrefix(address, "192.0.2.") { // httptest makes that up
		address = "127.0.0.1"
	}
	headers["X-Forwarded-For"], headers["X-Forwarded-Host"] = address, r.Host
	return headers
}

// channelOf gives the channel that takes a request, or else the status to answer.
func (o *OpenHIM) channelOf(r *http.Request, client openhimDoc) (channel openhimDoc, status int) {
	status = http.StatusNotFound
	channels := slices.Clone(o.channels)
	slices.SortStableFunc(channels, func(a, b openhimDoc) int { return cmp.Compare(openhimPriority(a), openhimPriority(b)) })
	for _, channel := range channels {
		methods, _ := channel["methods"].([]any)
		matched, err := regexp.MatchString(fmt.Sprint(channel["urlPattern"]), r.URL.Path)
		if channel["status"] != "enabled" || channel["type"] != "http" || err != nil || !matched || !slices.Contains(methods, any(r.Method)) {
			continue
		}
		if channel["authType"] == "public" || openhimLetsIn(channel, client) {
			return channel, 0
		}
		status = http.StatusUnauthorized
	}
	return nil, status
}

// openhimPriority is 1 for the channel that is tried first; a channel without one comes last.
func openhimPriority(channel openhimDoc) float64 {
	priority, has := channel["priority"].(float64)
	if !has {
		return 1 << 30
	}
	return priority
}

// openhimLetsIn says whether a private channel takes a client, by its name or one of its roles.
func openhimLetsIn(channel, client openhimDoc) bool {
	allow, _ := channel["allow"].([]any)
	roles, _ := client["roles"].([]any)
	return client != nil && slices.ContainsFunc(allow, func(one any) bool { return one == client["clientID"] || slices.Contains(roles, one) })
}

// openhimPassage is one request on its way through a channel.
type openhimPassage struct {
	channel, request openhimDoc
	// client is the id of the client, nil when there is none.
	client any
	// parent is the transaction that runs again, nil for a first run.
	parent openhimDoc
}

// pass leads a request through its channel, answers on w unless that is nil, and gives back the id of the transaction.
func (o *OpenHIM) pass(p *openhimPassage, w http.ResponseWriter) string {
	o.mu.Lock()
	transaction, routes := o.begin(p)
	id, _ := transaction["_id"].(string)
	o.mu.Unlock()

	out := openhimOutcome{status: http.StatusNotFound, headers: openhimDoc{}}
	var secondary []int
	for _, route := range routes {
		answer := o.call(route, p, id)
		if route["primary"] == true {
			out = o.judge(answer, id)
		} else {
			secondary = append(secondary, answer.status)
		}
		out.orchestrations = append(out.orchestrations, answer.orchestration)
	}

	out.internal = w == nil
	o.mu.Lock()
	o.conclude(transaction, p.channel, &out, secondary)
	o.mu.Unlock()
	if w != nil {
		out.write(w)
	}
	return id
}

// begin stores the transaction before its routes are called, and gives copies of those routes.
func (o *OpenHIM) begin(p *openhimPassage) (openhimDoc, []openhimDoc) {
	p.channel = openhimCopy(p.channel).(openhimDoc)
	request := openhimCopy(p.request).(openhimDoc)
	request["timestamp"] = o.timestamp()
	transaction := openhimDoc{
		"_id": o.newID(), "clientIP": "127.0.0.1", "channelID": p.channel["_id"], "request": request, "status": "Processing", "childIDs": []any{},
		"canRerun": true, "autoRetry": false, "wasRerun": false, "routes": []any{}, "orchestrations": []any{}, "__v": 0,
	}
	if p.client != nil {
		transaction["clientID"] = p.client
	}
	if p.parent != nil {
		transaction["parentID"] = p.parent["_id"]
	}
	if p.channel["requestBody"] == false {
		request["body"] = ""
		if openhimHasBody(request["method"]) {
			transaction["canRerun"] = false
		}
	}
	o.transactions = append(o.transactions, transaction)
	return transaction, slices.DeleteFunc(openhimDefs(p.channel["routes"]), func(route openhimDoc) bool { return route["status"] == "disabled" })
}

func openhimHasBody(method any) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// openhimAnswer is what a route answered.
type openhimAnswer struct {
	status  int
	headers openhimDoc
	// plain are the headers as they came.
	plain         http.Header
	body          string
	failure       openhimDoc
	orchestration openhimDoc
}

// call sends a request to a route.
func (o *OpenHIM) call(route openhimDoc, p *openhimPassage, id string) openhimAnswer {
	path := openhimPath(route, p.request)
	headers := openhimDoc{}
	stored, _ := p.request["headers"].(openhimDoc)
	for name, value := range stored {
		if name != "host" && (name != "authorization" || route["forwardAuthHeader"] == true) {
			headers[name] = value
		}
	}
	headers["X-OpenHIM-TransactionID"] = id
	body, _ := p.request["body"].(string)
	if !openhimHasBody(p.request["method"]) {
		body = ""
	}
	port := fmt.Sprint(cmp.Or(route["port"], any(80.0)))
	asked := openhimDoc{
		"_id": o.lockedID(), "host": route["host"], "port": port, "path": path, "headers": headers, "body": body, "method": p.request["method"],
		"timestamp": o.timestamp(),
	}
	answer := o.send(route, p, asked)
	answer.orchestration = openhimDoc{"_id": o.lockedID(), "name": route["name"], "request": asked}
	if answer.failure != nil {
		answer.orchestration["error"] = answer.failure
		return answer
	}
	answer.orchestration["response"] = openhimDoc{"status": answer.status, "headers": answer.headers, "body": answer.body, "timestamp": o.timestamp()}
	return answer
}

func (o *OpenHIM) lockedID() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.newID()
}

// openhimPath is the path at a route: its own, or the caller's, perhaps changed; the query is always kept.
func openhimPath(route, request openhimDoc) string {
	path := fmt.Sprint(request["path"])
	if own, _ := route["path"].(string); own != "" {
		path = own
	} else if change, _ := route["pathTransform"].(string); change != "" {
		path = openhimChanged(path, change)
	}
	if query, _ := request["querystring"].(string); query != "" {
		path += "?" + query
	}
	return path
}

// openhimChanged changes a path as s/from/to says, once, or everywhere with s/from/to/g.
func openhimChanged(path, change string) string {
	parts := openhimTransform.FindStringSubmatch(change)
	if parts == nil {
		return path
	}
	plain := func(text string) string { return strings.ReplaceAll(text, `\/`, "/") }
	pattern, err := regexp.Compile(plain(parts[1]))
	if err != nil {
		return path
	}
	if parts[3] == "g" {
		return pattern.ReplaceAllString(path, plain(parts[2]))
	}
	at := pattern.FindStringIndex(path)
	if at == nil {
		return path
	}
	return path[:at[0]] + plain(parts[2]) + path[at[1]:]
}

// openhimRouteTime is how long a route may take when the channel says nothing.
const openhimRouteTime = time.Minute

// send makes the call to the route.
func (o *OpenHIM) send(route openhimDoc, p *openhimPassage, asked openhimDoc) openhimAnswer {
	limit := openhimRouteTime
	if milliseconds, has := p.channel["timeout"].(float64); has {
		limit = time.Duration(milliseconds) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	scheme := "http"
	if route["secured"] == true {
		scheme = "https"
	}
	address := fmt.Sprintf("%s://%v:%v%v", scheme, asked["host"], asked["port"], asked["path"])
	request, err := http.NewRequestWithContext(ctx, fmt.Sprint(asked["method"]), address, strings.NewReader(fmt.Sprint(asked["body"])))
	if err != nil {
		return openhimFailed(err.Error(), "")
	}
	headers, _ := asked["headers"].(openhimDoc)
	for name, value := range headers {
		if !slices.Contains([]string{"content-length", "connection", "transfer-encoding"}, lower(name)) {
			request.Header.Set(name, fmt.Sprint(value))
		}
	}
	if name, _ := route["username"].(string); name != "" {
		password, _ := route["password"].(string)
		request.SetBasicAuth(name, password)
	}
	request.Close = true
	response, err := o.upstream.RoundTrip(request)
	if err != nil {
		return openhimFailed(openhimFailure(err, fmt.Sprintf("%v:%v", asked["host"], asked["port"]), limit), "Error: ")
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return openhimFailed(openhimFailure(err, "", limit), "Error: ")
	}
	answer := openhimAnswer{status: response.StatusCode, headers: openhimDoc{}, plain: response.Header, body: string(body)}
	for name, values := range response.Header {
		answer.headers[lower(name)] = strings.Join(values, ", ")
	}
	return answer
}

func openhimFailed(message, kind string) openhimAnswer {
	return openhimAnswer{status: http.StatusInternalServerError, failure: openhimDoc{"message": message, "stack": kind + message}}
}

// openhimFailure puts an error of the network into the words of Node.
func openhimFailure(err error, address string, limit time.Duration) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("Request took longer than %dms", limit.Milliseconds())
	case errors.As(err, &unknown), errors.As(err, &name), strings.Contains(err.Error(), "certificate"):
		return "self-signed certificate"
	case strings.Contains(err.Error(), "refused"):
		return "connect ECONNREFUSED " + address
	}
	return "socket hang up"
}

// openhimOutcome is what becomes of a transaction, and what the client gets.
type openhimOutcome struct {
	status  int
	headers openhimDoc
	body    any
	// word is the status that the mediator gave, empty when it gave none.
	word string
	// timestamp is that of the response, empty when it has none.
	timestamp      string
	orchestrations []any
	properties     openhimDoc
	failure        openhimDoc
	id             string
	// internal says that no client waits: the run is a task's or a poll.
	internal bool
	// lost says that the database refuses what the mediator told, and that nobody hears of it; broken says that the
	// core itself trips over it.
	lost, broken bool
}

// judge makes an outcome of what the primary route answered.
func (o *OpenHIM) judge(answer openhimAnswer, id string) openhimOutcome {
	out := openhimOutcome{status: answer.status, headers: openhimDoc{}, body: answer.body, id: id, timestamp: o.timestamp()}
	if answer.failure != nil {
		out.fail(answer.failure)
		return out
	}
	if strings.Contains(answer.plain.Get("Content-Type"), "application/json+openhim") {
		out.readEnvelope(answer.body)
		return out
	}
	for name, value := range answer.headers {
		if name != "connection" && name != "transfer-encoding" {
			out.headers[name] = value
		}
	}
	answer.headers["X-OpenHIM-TransactionID"] = id // the core writes it into the answer that it keeps
	return out
}

// fail answers as a core that went wrong inside.
func (out *openhimOutcome) fail(failure openhimDoc) {
	out.failure, out.status, out.id = failure, http.StatusInternalServerError, ""
	out.body, out.headers = "An internal server error occurred", openhimDoc{"content-type": "application/octet-stream"}
}

// readEnvelope reads the answer of a mediator.
func (out *openhimOutcome) readEnvelope(body string) {
	var envelope openhimDoc
	decoder := json.NewDecoder(strings.NewReader(body))
	if err := decoder.Decode(&envelope); err != nil {
		out.word = "Failed"
		out.fail(openhimDoc{"message": "Unexpected token in JSON", "stack": "SyntaxError: " + err.Error()})
		return
	}
	out.word, _ = envelope["status"].(string)
	out.orchestrations, _ = envelope["orchestrations"].([]any)
	out.properties, _ = envelope["properties"].(openhimDoc)
	failure, _ := envelope["error"].(openhimDoc)
	response, has := envelope["response"].(openhimDoc)
	out.broken = openhimObjectBody(envelope["orchestrations"]) != ""
	out.lost = out.broken || openhimBadKey(openhimDoc{"properties": any(out.properties)}) != "" || openhimBadKey(envelope) != ""
	for _, orchestration := range openhimDefs(envelope["orchestrations"]) {
		out.lost = out.lost || openhimOrchestrationFault(orchestration) != ""
	}
	if !has {
		const message = "Cannot read properties of undefined (reading 'status')"
		out.fail(openhimDoc{"message": message, "stack": "TypeError: " + message})
		return
	}
	out.failure = failure
	out.status, _ = strconv.Atoi(fmt.Sprint(response["status"]))
	out.body = response["body"]
	out.timestamp, _ = response["timestamp"].(string)
	headers, has := response["headers"].(openhimDoc)
	if !has {
		out.id = ""
	}
	for name, value := range headers {
		out.headers[lower(name)] = value
	}
}

// conclude stores what became of a transaction.
func (o *OpenHIM) conclude(transaction, channel openhimDoc, out *openhimOutcome, secondary []int) {
	async := channel["isAsynchronousProcess"] == true && out.failure == nil && out.status < http.StatusBadRequest
	transaction["status"] = openhimStatus(out, async, secondary)
	if async {
		out.status = http.StatusAccepted
	}
	response := out.store()
	if channel["responseBody"] == false {
		response["body"] = ""
	}
	if out.broken {
		out.fail(nil)
		out.body, out.headers = "Internal Server Error", openhimDoc{"content-type": "text/plain; charset=utf-8"}
	}
	if out.lost {
		transaction["orchestrations"] = []any{}
		return
	}
	transaction["response"] = response
	transaction["orchestrations"] = o.orchestrations(out.orchestrations)
	if out.properties != nil {
		transaction["properties"] = out.properties
	}
	if out.failure != nil {
		transaction["error"], transaction["autoRetry"] = out.failure, true
	}
	openhimCutBodies(transaction)
}

// openhimStatus is the state of a transaction after its routes have answered.
func openhimStatus(out *openhimOutcome, async bool, secondary []int) string {
	success := func(status int) bool { return status >= 200 && status < 300 }
	serverError := func(status int) bool { return status >= 500 }
	switch {
	case out.word != "":
		return out.word
	case out.failure != nil || serverError(out.status):
		return "Failed"
	case async:
		return "Pending Async"
	case slices.ContainsFunc(secondary, serverError):
		return "Completed with error(s)"
	case success(out.status) && !slices.ContainsFunc(secondary, func(status int) bool { return !success(status) }):
		return "Successful"
	}
	return "Completed"
}

// client gives the headers and the body as they reach the client: of a text the type is told with its charset.
func (out *openhimOutcome) client() (openhimDoc, string) {
	headers := maps.Clone(out.headers)
	text, is := out.body.(string)
	if !is && out.body != nil {
		encoded, _ := json.Marshal(out.body)
		text = string(encoded)
		headers["content-type"] = "application/json; charset=utf-8"
	} else if text != "" || is {
		headers["content-length"] = strconv.Itoa(len(text))
	}
	kind, _ := headers["content-type"].(string)
	if kind == "" {
		kind = "text/plain"
	}
	if !strings.Contains(kind, "charset") && (strings.HasPrefix(kind, "text/") || strings.Contains(kind, "json")) {
		kind += "; charset=utf-8"
	}
	headers["content-type"] = kind
	if !out.internal {
		headers["vary"] = "Accept-Encoding"
	}
	if out.id != "" {
		headers["x-openhim-transactionid"] = out.id
	}
	return headers, text
}

// store gives the response as it is kept. A body that is no text is kept as JavaScript names it.
func (out *openhimOutcome) store() openhimDoc {
	headers, body := out.client()
	if _, is := out.body.(string); !is && out.body != nil {
		body = "[object Object]"
	}
	response := openhimDoc{"status": out.status, "headers": headers, "body": body}
	if out.timestamp != "" {
		response["timestamp"] = out.timestamp
	}
	return response
}

// write answers the client.
func (out *openhimOutcome) write(w http.ResponseWriter) {
	headers, body := out.client()
	for name, value := range headers {
		if name != "content-length" && name != "connection" {
			w.Header().Set(name, fmt.Sprint(value))
		}
	}
	if out.status < 100 || out.status > 999 {
		out.status = http.StatusInternalServerError
	}
	w.WriteHeader(out.status)
	_, _ = io.Copy(w, bytes.NewReader([]byte(body)))
}

// Poll lets a polling channel call its routes once, as its schedule would, and gives back the id of the transaction. It
// is empty when there is no enabled polling channel of that name.
func (o *OpenHIM) Poll(name string) string {
	o.mu.Lock()
	channel, _ := openhimCopy(openhimFind(o.channels, "name", name)).(openhimDoc)
	o.mu.Unlock()
	if channel["type"] != "polling" || channel["status"] != "enabled" {
		return ""
	}
	request := openhimDoc{
		"host": "localhost", "port": "7788", "path": "/trigger", "querystring": "", "method": http.MethodGet, "body": "",
		"headers": openhimDoc{
			"accept": "application/json, text/plain, */*", "channel-id": channel["_id"], "host": "localhost:7788", "user-agent": "axios", "connection": "keep-alive",
			"x-openhim-lastrunat": o.now().UTC().Format("Mon Jan 02 2006 15:04:05 GMT+0000 (Coordinated Universal Time)"),
		},
	}
	return o.pass(&openhimPassage{channel: channel, request: request, client: openhimHash("polling")[:24]}, nil)
}

// triggerChannel polls one channel now.
func (c *openhimCall) triggerChannel() (run func()) {
	channel := c.ownChannel("triggerChannels", "channel-view-all")
	if channel == nil {
		return nil
	}
	name, _ := channel["name"].(string)
	return func() {
		c.Poll(name)
		c.empty(http.StatusOK)
	}
}
