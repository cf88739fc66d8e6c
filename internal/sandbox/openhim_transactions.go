package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// serveTransaction answers for transactions and tasks.
func (c *openhimCall) serveTransaction(where string) bool {
	switch where {
	case "GET transactions":
		c.listTransactions()
	case "GET transactions *":
		c.readTransaction()
	case "POST transactions":
		c.createTransaction()
	case "PUT transactions *":
		c.changeTransaction()
	case "GET tasks":
		c.listTasks()
	case "GET tasks *":
		c.readTask()
	default:
		return false
	}
	return true
}

// openhimID is the form of an id.
var openhimID = regexp.MustCompile(`^[0-9a-fA-F]{24}$`)

// openhimStatuses are the states of a transaction.
func openhimStatuses(old bool) []any {
	statuses := []any{"Processing", "Failed", "Completed", "Successful", "Completed with error(s)"}
	if !old {
		statuses = append(statuses, "Pending Async")
	}
	return statuses
}

func castError(what, id string) string {
	return fmt.Sprintf("Could not %s: CastError: Cast to ObjectId failed for value %q (type string) at path \"_id\" for model \"Transaction\"", what, id)
}

func (c *openhimCall) readTransaction() {
	if !c.allowed("getTransactionById", []string{"transaction-view-all", "transaction-view-body-all", "channel-manage-all"}, nil, "") {
		return
	}
	if !openhimID.MatchString(c.path[1]) {
		c.text(http.StatusInternalServerError, castError("get transaction by ID via the API", c.path[1]))
		return
	}
	transaction := openhimFind(c.transactions, "_id", c.path[1])
	if transaction == nil {
		c.text(http.StatusNotFound, "Could not find transaction with ID: "+c.path[1])
		return
	}
	c.json(http.StatusOK, openhimShown(transaction, c.r.URL.Query().Get("filterRepresentation")))
}

// openhimCutAt is how much of a body a cut display shows.
const openhimCutAt = 15_000

// openhimShown gives a transaction in one of its representations; the empty one shows all.
func openhimShown(transaction openhimDoc, representation string) openhimDoc {
	shown := openhimCopy(transaction).(openhimDoc)
	switch representation {
	case "simple":
		for _, field := range []string{"orchestrations", "routes", "response", "error"} {
			delete(shown, field)
		}
		if request, is := shown["request"].(openhimDoc); is {
			delete(request, "headers")
		}
		openhimBodies(shown, func(string) any { return nil })
	case "simpledetails":
		openhimBodies(shown, func(string) any { return nil })
	case "fulltruncate":
		openhimBodies(shown, func(body string) any {
			if len(body) > openhimCutAt {
				return body[:openhimCutAt] + openhimCut
			}
			return body
		})
	}
	return shown
}

// openhimBodies changes all bodies within a document; nil removes one.
func openhimBodies(value any, change func(string) any) {
	switch value := value.(type) {
	case openhimDoc:
		for name, member := range value {
			if body, is := member.(string); is && name == "body" {
				if value[name] = change(body); value[name] == nil {
					delete(value, name)
				}
				continue
			}
			openhimBodies(member, change)
		}
	case []any:
		for _, member := range value {
			openhimBodies(member, change)
		}
	}
}

func (c *openhimCall) listTransactions() {
	query := c.r.URL.Query()
	var filters openhimDoc
	if err := json.Unmarshal([]byte(query.Get("filters")), &filters); err != nil && query.Get("filters") != "" {
		c.text(http.StatusInternalServerError, "Could not retrieve transactions via the API: "+err.Error())
		return
	}
	found := slices.DeleteFunc(slices.Clone(c.transactions), func(t openhimDoc) bool { return !openhimMatches(t, filters) })
	slices.Reverse(found)
	slices.SortStableFunc(found, func(a, b openhimDoc) int { return strings.Compare(openhimAt(b), openhimAt(a)) })
	list := []any{}
	for _, t := range openhimPage(found, query) {
		representation := query.Get("filterRepresentation")
		if representation == "" {
			representation = "simple"
		}
		list = append(list, openhimShown(t, representation))
	}
	c.json(http.StatusOK, list)
}

func openhimAt(transaction openhimDoc) string {
	request, _ := transaction["request"].(openhimDoc)
	return fmt.Sprint(request["timestamp"])
}

// openhimPage gives the page of a list that the query asks for.
func openhimPage(docs []openhimDoc, query url.Values) []openhimDoc {
	limit, err := strconv.Atoi(query.Get("filterLimit"))
	if err != nil || limit <= 0 {
		return docs
	}
	page, _ := strconv.Atoi(query.Get("filterPage"))
	begin := min(max(page, 0)*limit, len(docs))
	return docs[begin:min(begin+limit, len(docs))]
}

// openhimMatches says whether a transaction passes the filters: equal fields, properties, and patterns for paths.
func openhimMatches(transaction, filters openhimDoc) bool {
	for name, want := range filters {
		if wanted, is := want.(openhimDoc); is && name == "properties" {
			properties, _ := transaction["properties"].(openhimDoc)
			for property, value := range wanted {
				got, has := properties[property]
				if !has || value != nil && got != value {
					return false
				}
			}
			continue
		}
		got := any(transaction)
		for part := range strings.SplitSeq(name, ".") {
			doc, _ := got.(openhimDoc)
			got = doc[part]
		}
		if got == want {
			continue
		}
		matched, err := regexp.MatchString(fmt.Sprint(want), fmt.Sprint(got))
		if name != "request.path" || err != nil || !matched {
			return false
		}
	}
	return true
}

// createTransaction stores a transaction that somebody reports. Here the server looks closely.
func (c *openhimCall) createTransaction() {
	if !c.allowed("addTransaction", []string{"channel-manage-all"}, nil, "") {
		return
	}
	sent := c.object()
	if fault := c.transactionFault(sent); fault != "" {
		c.text(http.StatusInternalServerError, "Could not add a transaction via the API: "+fault)
		return
	}
	id, given := sent["_id"].(string)
	if given && openhimFind(c.transactions, "_id", id) != nil {
		c.text(http.StatusInternalServerError, "Could not add a transaction via the API: MongoServerError: E11000 duplicate key error collection: openhim.transactions")
		return
	}
	c.transactions = append(c.transactions, c.transactionDocument(sent))
	c.empty(http.StatusCreated)
}

// transactionFault tells why a transaction cannot be stored.
func (c *openhimCall) transactionFault(sent openhimDoc) string {
	request, _ := sent["request"].(openhimDoc)
	channel, has := sent["channelID"].(string)
	switch {
	case sent["status"] == nil:
		return "ValidationError: status: Path `status` is required."
	case !slices.Contains(openhimStatuses(c.old), sent["status"]):
		return fmt.Sprintf("ValidationError: status: `%v` is not a valid enum value for path `status`.", sent["status"])
	case request["timestamp"] == nil:
		return "ValidationError: request.timestamp: Path `request.timestamp` is required."
	case has && !openhimID.MatchString(channel):
		return fmt.Sprintf("ValidationError: channelID: Cast to ObjectId failed for value %q (type string) at path \"channelID\" because of \"BSONTypeError\"", channel)
	}
	if id, given := sent["_id"].(string); given && !openhimID.MatchString(id) {
		return fmt.Sprintf("ValidationError: _id: Cast to ObjectId failed for value %q (type string) at path \"_id\"", id)
	}
	for i, o := range openhimDefs(sent["orchestrations"]) {
		if fault := openhimOrchestrationFault(o); fault != "" {
			return fmt.Sprintf("ValidationError: orchestrations.%d.%s", i, fault)
		}
	}
	if path := openhimObjectBody(sent); path != "" {
		return fmt.Sprintf("ValidationError: %s: Cast to string failed", path)
	}
	if key := openhimBadKey(sent); key != "" {
		return fmt.Sprintf("MongoServerError: the key %q must not contain '.' or begin with '$'", key)
	}
	return ""
}

// openhimOrchestrationFault tells what an orchestration lacks.
func openhimOrchestrationFault(o openhimDoc) string {
	request, has := o["request"].(openhimDoc)
	switch {
	case o["name"] == nil:
		return "name: Path `name` is required."
	case !has || request["timestamp"] == nil:
		return "request.timestamp: Path `timestamp` is required."
	}
	return ""
}

// openhimObjectBody gives the place of a body that is no text.
func openhimObjectBody(value any) string {
	switch value := value.(type) {
	case openhimDoc:
		for _, name := range sortedNames(value) {
			_, isObject := value[name].(openhimDoc)
			_, isList := value[name].([]any)
			if name == "body" && (isObject || isList) {
				return name
			}
			if path := openhimObjectBody(value[name]); path != "" {
				return name + "." + path
			}
		}
	case []any:
		for i, member := range value {
			if path := openhimObjectBody(member); path != "" {
				return strconv.Itoa(i) + "." + path
			}
		}
	}
	return ""
}

// openhimBadKey gives a key of properties or headers that the database refuses.
func openhimBadKey(value any) string {
	switch value := value.(type) {
	case openhimDoc:
		for _, name := range sortedNames(value) {
			members, _ := value[name].(openhimDoc)
			for _, key := range sortedNames(members) {
				if (name == "properties" || name == "headers") && (strings.Contains(key, ".") || strings.HasPrefix(key, "$")) {
					return key
				}
			}
			if key := openhimBadKey(value[name]); key != "" {
				return key
			}
		}
	case []any:
		for _, member := range value {
			if key := openhimBadKey(member); key != "" {
				return key
			}
		}
	}
	return ""
}

// transactionDocument fills in what the schema has as defaults, and cuts bodies.
func (c *openhimCall) transactionDocument(sent openhimDoc) openhimDoc {
	stored := openhimWith(openhimCopy(sent), openhimDoc{
		"_id": c.newID(), "childIDs": []any{}, "canRerun": true, "autoRetry": false, "wasRerun": false, "routes": []any{}, "orchestrations": []any{}, "__v": 0,
	})
	for name := range stored {
		if !openhimKnows(name) {
			delete(stored, name)
		}
	}
	if request, is := stored["request"].(openhimDoc); is {
		openhimCastTime(request)
		if headers, is := request["headers"].(openhimDoc); is && len(headers) == 0 {
			delete(request, "headers") // the database leaves empty objects out
		}
	}
	list, _ := stored["orchestrations"].([]any)
	stored["orchestrations"] = c.orchestrations(list)
	openhimCutBodies(stored)
	return stored
}

// openhimFields are the fields of a transaction; others are not stored.
const openhimFields = " _id status clientID clientIP channelID parentID childIDs taskID request response routes orchestrations properties error canRerun autoRetry autoRetryAttempt wasRerun __v "

func openhimKnows(field string) bool { return strings.Contains(openhimFields, " "+field+" ") }

// orchestrations gives each one its ids. 8.5.0 gives one to the request, too, and brings times into its form.
func (o *OpenHIM) orchestrations(list []any) []any {
	stored := make([]any, 0, len(list))
	for _, one := range list {
		orchestration := openhimWith(one, openhimDoc{"_id": o.newID()})
		if request, is := orchestration["request"].(openhimDoc); is && !o.old {
			request = openhimWith(request, openhimDoc{"_id": o.newID()})
			openhimCastTime(request)
			orchestration["request"] = request
		}
		if response, is := orchestration["response"].(openhimDoc); is && !o.old {
			openhimCastTime(response)
		}
		stored = append(stored, orchestration)
	}
	return stored
}

func openhimCastTime(doc openhimDoc) {
	at, err := time.Parse(time.RFC3339, fmt.Sprint(doc["timestamp"]))
	if err == nil {
		doc["timestamp"] = at.UTC().Format(openhimTime)
	}
	if port, is := doc["port"].(float64); is {
		doc["port"] = strconv.Itoa(int(port))
	}
}

const (
	// openhimBodyLimit is how large all bodies of a transaction may be together.
	openhimBodyLimit = 15 << 20
	openhimCut       = "\n[truncated ...]"
)

// openhimCutBodies cuts the bodies of a transaction, the request's first; a cut request cannot be run again.
func openhimCutBodies(transaction openhimDoc) {
	left := openhimBodyLimit
	cut := func(value any) (was bool) {
		openhimBodies(value, func(body string) any {
			if len(body) <= left {
				left -= len(body)
				return body
			}
			was, body, left = true, body[:left]+openhimCut, 0
			return body
		})
		return was
	}
	if cut(transaction["request"]) {
		transaction["canRerun"] = false
	}
	cut(transaction["response"])
	cut(transaction["orchestrations"])
}

// changeTransaction hands the body to the database as an update. Almost nothing is looked at.
func (c *openhimCall) changeTransaction() {
	transaction := openhimFind(c.transactions, "_id", c.path[1])
	channel, _ := transaction["channelID"].(string)
	if !c.allowed("updateTransaction", []string{"channel-manage-all"}, []string{"channel-manage-specified"}, channel) {
		return
	}
	const failed = "Could not update transaction via the API: "
	update := openhimCopy(c.object()).(openhimDoc)
	path := openhimObjectBody(update)
	switch {
	case !openhimID.MatchString(c.path[1]):
		c.text(http.StatusInternalServerError, castError("update transaction via the API", c.path[1]))
		return
	case transaction == nil:
		c.text(http.StatusInternalServerError, failed+"TypeError: Cannot read properties of null (reading 'channelID')")
		return
	case path != "":
		c.text(http.StatusInternalServerError, failed+fmt.Sprintf("CastError: Cast to string failed for value \"%s\" (type Object) at path %q", openhimInspect(update, path), path))
		return
	}
	if key := openhimBadKey(update); key != "" {
		c.text(http.StatusInternalServerError, failed+fmt.Sprintf("MongoServerError: the key %q must not contain '.' or begin with '$'", key))
		return
	}
	c.update(transaction, update)
	c.finishAsyncTasks()
	c.text(http.StatusOK, fmt.Sprintf("Transaction with ID: %s successfully updated", c.path[1]))
}

// openhimInspect writes an object as JavaScript shows it.
func openhimInspect(doc any, path string) string {
	for part := range strings.SplitSeq(path, ".") {
		switch value := doc.(type) {
		case openhimDoc:
			doc = value[part]
		case []any:
			i, _ := strconv.Atoi(part)
			doc = value[i]
		}
	}
	object, _ := doc.(openhimDoc)
	var members []string
	for _, name := range sortedNames(object) {
		members = append(members, fmt.Sprintf("%s: %v", name, object[name]))
	}
	return "{ " + strings.Join(members, ", ") + " }"
}

// update does what an update says: fields replace, dotted fields set inside, $push appends and $unset removes.
func (o *OpenHIM) update(transaction, update openhimDoc) {
	if update["error"] != nil {
		transaction["autoRetry"] = true
	}
	for name, value := range update {
		switch name {
		case "$push":
			pushed, _ := value.(openhimDoc)
			o.push(transaction, pushed["orchestrations"])
		case "$unset":
			for field := range value.(openhimDoc) {
				delete(transaction, field)
			}
		case "orchestrations":
			list, _ := value.([]any)
			transaction[name] = o.orchestrations(list)
		default:
			openhimSet(transaction, name, value)
		}
	}
	openhimCutBodies(transaction)
}

func (o *OpenHIM) push(transaction openhimDoc, value any) {
	added := []any{value}
	if many, is := value.(openhimDoc); is && many["$each"] != nil {
		added, _ = many["$each"].([]any)
	}
	list, _ := transaction["orchestrations"].([]any)
	transaction["orchestrations"] = append(slices.Clone(list), o.orchestrations(added)...)
}

// openhimSet sets a field, or one inside of it.
func openhimSet(doc openhimDoc, name string, value any) {
	first, rest, dotted := strings.Cut(name, ".")
	if !openhimKnows(first) {
		return
	}
	if !dotted {
		doc[name] = value
		return
	}
	inner, _ := doc[first].(openhimDoc)
	if inner == nil {
		inner = openhimDoc{}
		doc[first] = inner
	}
	inner[rest] = value
}
