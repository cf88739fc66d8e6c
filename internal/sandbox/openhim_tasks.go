package sandbox

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// createTask makes a task that runs transactions again. They run before the answer; what is given back does it.
func (c *openhimCall) createTask() (run func()) {
	if !c.allowed("addTask", []string{"transaction-rerun-all"}, nil, "") {
		return nil
	}
	body := c.object()
	tids, is := body["tids"].([]any)
	if !is {
		c.text(http.StatusInternalServerError, "Could not add Task via the API: TypeError: Cannot read properties of undefined (reading 'length')")
		return nil
	}
	batch, has := body["batchSize"].(float64)
	if has && batch < 1 {
		c.text(http.StatusBadRequest, "Invalid batch size specified")
		return nil
	}
	for _, tid := range tids {
		transaction := openhimFind(c.transactions, "_id", tid)
		channel := openhimFind(c.channels, "_id", transaction["channelID"])
		if channel != nil && channel["status"] != "enabled" {
			c.text(http.StatusBadRequest, "At least one transaction does not exist or its channel is disabled or deleted")
			return nil
		}
	}
	task := openhimDoc{
		"_id": c.newID(), "status": "Queued", "user": c.user.Email, "remainingTransactions": len(tids), "totalTransactions": len(tids),
		"batchSize": max(batch, 1), "created": c.timestamp(), "__v": 0,
	}
	var entries []any
	for _, tid := range tids {
		entries = append(entries, openhimDoc{"_id": c.newID(), "tid": tid, "tstatus": "Queued"})
	}
	task["transactions"] = entries
	if body["paused"] == true {
		task["status"] = "Paused"
	}
	c.tasks = append(c.tasks, task)
	answer := fmt.Sprintf("User %s created task with id %s", c.user.Email, task["_id"])
	return func() {
		c.runTask(task)
		c.text(http.StatusCreated, answer)
	}
}

// changeTask resumes, pauses or cancels a task.
func (c *openhimCall) changeTask() (run func()) {
	task := openhimFind(c.tasks, "_id", c.path[1])
	if task == nil {
		c.text(http.StatusNotFound, fmt.Sprintf("We could not find a Task with this ID: %s.", c.path[1]))
		return nil
	}
	if status, is := c.object()["status"].(string); is {
		task["status"] = status
	}
	return func() {
		c.runTask(task)
		c.text(http.StatusOK, "The Task was successfully updated")
	}
}

func (c *openhimCall) readTask() {
	task := openhimFind(c.tasks, "_id", c.path[1])
	if task == nil {
		c.text(http.StatusNotFound, fmt.Sprintf("We could not find a Task with this ID: %s.", c.path[1]))
		return
	}
	entries, _ := task["transactions"].([]any)
	c.json(http.StatusOK, openhimWith(task, openhimDoc{"totalFilteredTransactions": len(entries)}))
}

func (c *openhimCall) listTasks() {
	tasks := slices.Clone(c.tasks)
	slices.Reverse(tasks)
	list := []any{}
	for _, task := range openhimPage(tasks, c.r.URL.Query()) {
		short := openhimWith(task, nil)
		delete(short, "transactions")
		list = append(list, short)
	}
	c.json(http.StatusOK, list)
}

// runTask runs the transactions of a task that is queued, one after the other.
func (o *OpenHIM) runTask(task openhimDoc) {
	o.mu.Lock()
	queued := task["status"] == "Queued"
	if queued {
		task["status"] = "Processing"
	}
	entries := openhimDefs(task["transactions"])
	o.mu.Unlock()
	for _, entry := range entries {
		if queued && !o.rerun(task, entry) {
			return // a PATCH hangs
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !queued {
		return
	}
	if slices.ContainsFunc(entries, func(e openhimDoc) bool { return e["rerunStatus"] == "Pending Async" }) {
		task["status"], task["remainingTransactions"], task["completedDate"] = "Pending Async", 0, nil
		return
	}
	o.finishTask(task)
}

// finishTask completes a task.
func (o *OpenHIM) finishTask(task openhimDoc) {
	for _, entry := range openhimDefs(task["transactions"]) {
		if entry["tstatus"] == "Queued" || entry["tstatus"] == "Processing" {
			entry["tstatus"] = "Completed"
		}
	}
	task["status"], task["remainingTransactions"], task["completedDate"] = "Completed", 0, o.timestamp()
}

// finishAsyncTasks completes the tasks whose transactions have all been finished by their mediators. "Completed"
// finishes none, which is the server's fault.
func (o *OpenHIM) finishAsyncTasks() {
	for _, task := range o.tasks {
		if task["status"] != "Pending Async" {
			continue
		}
		open := slices.ContainsFunc(openhimDefs(task["transactions"]), func(entry openhimDoc) bool {
			child := openhimFind(o.transactions, "_id", entry["rerunID"])
			if child != nil && slices.Contains([]any{"Successful", "Completed with error(s)", "Failed"}, child["status"]) {
				entry["rerunStatus"] = child["status"]
				return false
			}
			return entry["rerunStatus"] == "Pending Async"
		})
		if !open {
			o.finishTask(task)
		}
	}
}

// rerun runs one transaction again. It gives false when the work never ends.
func (o *OpenHIM) rerun(task, entry openhimDoc) bool {
	o.mu.Lock()
	parent := openhimFind(o.transactions, "_id", entry["tid"])
	channel := openhimFind(o.channels, "_id", parent["channelID"])
	var request openhimDoc
	if parent != nil {
		request, _ = openhimCopy(parent["request"]).(openhimDoc)
		parent["autoRetryAttempt"] = 0
	}
	fault := ""
	switch {
	case parent == nil:
		fault = fmt.Sprintf("Error: Transaction %v could not be found", entry["tid"])
	case parent["canRerun"] != true:
		fault = fmt.Sprintf("Error: Transaction %v cannot be rerun as there isn't enough information about the request", entry["tid"])
	case channel == nil:
		fault = fmt.Sprintf("Error: Channel of transaction %v could not be found", entry["tid"])
	}
	if fault != "" {
		entry["tstatus"], entry["error"] = "Failed", fault
		o.mu.Unlock()
		return true
	}
	if request["method"] == http.MethodPatch {
		o.mu.Unlock()
		return false
	}
	entry["tstatus"] = "Processing"
	passage := &openhimPassage{channel: channel, request: openhimReplayed(parent, request, task["_id"]), client: parent["clientID"], parent: parent}
	o.mu.Unlock()

	id := o.pass(passage, nil)

	o.mu.Lock()
	defer o.mu.Unlock()
	entry["tstatus"], entry["rerunID"] = "Completed", id
	if child := openhimFind(o.transactions, "_id", id); child["status"] == "Pending Async" || child["status"] == "Processing" && channel["isAsynchronousProcess"] == true {
		entry["rerunStatus"], entry["tstatus"] = "Pending Async", "Processing"
	}
	children, _ := parent["childIDs"].([]any)
	parent["childIDs"], parent["wasRerun"] = append(slices.Clone(children), id), true
	changes, _ := parent["__v"].(int)
	parent["__v"] = changes + 1
	return true
}

// openhimReplayed is the request of a transaction that runs again: the same one, with the headers that say so.
func openhimReplayed(parent, request openhimDoc, task any) openhimDoc {
	stored, _ := request["headers"].(openhimDoc)
	headers := openhimDoc{"parentid": parent["_id"], "taskid": task, "connection": "keep-alive", "host": "localhost:7786"}
	for name, value := range stored {
		headers[lower(name)] = value
	}
	if parent["clientID"] != nil {
		headers["clientid"] = parent["clientID"]
	}
	if body, _ := request["body"].(string); body != "" && headers["content-length"] == nil {
		headers["transfer-encoding"] = "chunked"
	}
	request["headers"] = headers
	request["host"], request["port"], _ = strings.Cut(fmt.Sprint(headers["host"]), ":")
	return request
}
