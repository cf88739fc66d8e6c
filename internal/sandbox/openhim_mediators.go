package sandbox

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// serveMediator answers for mediators.
func (c *openhimCall) serveMediator(where string) bool {
	switch where {
	case "GET mediators":
		if c.allowed("getAllMediators", []string{"mediator-view-all", "mediator-manage-all"}, nil, "") {
			c.json(http.StatusOK, openhimList(c.mediators))
		}
	case "GET mediators *":
		c.readMediator()
	case "POST mediators":
		c.register()
	case "DELETE mediators *":
		c.deleteMediator()
	case "POST mediators * heartbeat":
		c.heartbeat()
	case "PUT mediators * config":
		c.setConfig()
	case "POST mediators * channels":
		c.installChannels()
	default:
		return false
	}
	return true
}

// manages says whether the user may change the mediator of the path.
func (c *openhimCall) manages(doing string) bool {
	return c.allowed(doing, []string{"mediator-manage-all"}, []string{"mediator-manage-specified"}, c.path[1])
}

// readMediator shows a mediator with its passwords masked.
func (c *openhimCall) readMediator() {
	lists := []string{"mediator-view-specified", "mediator-manage-specified"}
	if !c.allowed("getMediator", []string{"mediator-view-all", "mediator-manage-all"}, lists, c.path[1]) {
		return
	}
	mediator := openhimFind(c.mediators, "urn", c.path[1])
	if mediator == nil {
		c.empty(http.StatusNotFound)
		return
	}
	shown := openhimCopy(mediator).(openhimDoc)
	if config, is := shown["config"].(openhimDoc); is {
		openhimPasswords(openhimDefs(shown["configDefs"]), config, func(openhimDoc, string, any) any { return openhimMask })
	}
	c.json(http.StatusOK, shown)
}

// openhimMask stands for a password.
const openhimMask = "**********"

// openhimPasswords replaces the passwords of a configuration: those alone, those in an array, and those in one struct.
// Those in an array of structs are left as they are, which is the server's fault.
func openhimPasswords(defs []openhimDoc, config openhimDoc, replace func(in openhimDoc, param string, value any) any) {
	for _, def := range defs {
		param, _ := def["param"].(string)
		value, has := config[param]
		switch {
		case !has || value == nil:
		case def["type"] == "password" && def["array"] == true:
			list, _ := value.([]any)
			for i := range list {
				list[i] = replace(nil, param+" "+strconv.Itoa(i), list[i])
			}
		case def["type"] == "password":
			config[param] = replace(config, param, value)
		case def["type"] == "struct":
			if fields, is := value.(openhimDoc); is {
				openhimPasswords(openhimDefs(def["template"]), fields, func(_ openhimDoc, field string, value any) any {
					return replace(nil, param+" "+field, value)
				})
			}
		}
	}
}

// openhimRestore puts the stored passwords where a configuration has the mask.
func openhimRestore(defs []openhimDoc, config, stored openhimDoc) {
	known := map[string]any{}
	copied, _ := openhimCopy(stored).(openhimDoc)
	openhimPasswords(defs, copied, func(_ openhimDoc, param string, value any) any {
		known[param] = value
		return value
	})
	openhimPasswords(defs, config, func(_ openhimDoc, param string, value any) any {
		if old, has := known[param]; has && value == openhimMask {
			return old
		}
		return value
	})
}

func openhimDefs(value any) []openhimDoc {
	list, _ := value.([]any)
	var defs []openhimDoc
	for _, one := range list {
		if def, is := one.(openhimDoc); is {
			defs = append(defs, def)
		}
	}
	return defs
}

// openhimVersion is a version that the server takes: three numbers, then perhaps a pre-release.
var openhimVersion = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// openhimNewer says whether a version is higher than another. A pre-release is lower than its release; among
// pre-releases the text decides, which is enough here.
func openhimNewer(version, than any) bool {
	a, b := openhimVersion.FindStringSubmatch(fmt.Sprint(version)), openhimVersion.FindStringSubmatch(fmt.Sprint(than))
	if a == nil || b == nil {
		return a != nil
	}
	for i := 1; i <= 3; i++ {
		x, _ := strconv.Atoi(a[i])
		y, _ := strconv.Atoi(b[i])
		if x != y {
			return x > y
		}
	}
	if a[4] == "" || b[4] == "" {
		return a[4] == "" && b[4] != ""
	}
	return a[4] > b[4]
}

// register takes the definition of a mediator. A version that is not higher than the stored one is ignored, and looks
// like a success.
func (c *openhimCall) register() {
	if !c.allowed("addMediator", []string{"mediator-manage-all"}, nil, "") {
		return
	}
	sent := c.object()
	stored := openhimFind(c.mediators, "urn", sent["urn"])
	if fault := openhimRegistrationFault(sent, stored == nil); fault != "" {
		c.text(http.StatusBadRequest, "Could not add Mediator via the API: ValidationError: "+fault)
		return
	}
	switch {
	case stored == nil:
		mediator := openhimDoc{"_id": c.newID(), "__v": 0, "endpoints": []any{}, "defaultChannelConfig": []any{}, "configDefs": []any{}}
		c.define(mediator, sent)
		c.mediators = append(c.mediators, mediator)
	case openhimNewer(sent["version"], stored["version"]):
		config, has := sent["config"].(openhimDoc)
		old, _ := stored["config"].(openhimDoc)
		if has && old != nil {
			for param := range config {
				if old[param] != nil {
					config[param] = old[param]
				}
			}
		}
		c.define(stored, sent)
	}
	c.empty(http.StatusCreated)
}

// define stores what was sent of a definition, with the defaults of the server's schema.
func (c *openhimCall) define(mediator, sent openhimDoc) {
	for _, field := range []string{"urn", "version", "name", "description", "config"} {
		if value, has := sent[field]; has {
			mediator[field] = value
		}
	}
	if list, has := sent["endpoints"].([]any); has {
		mediator["endpoints"] = c.each(list, c.routeDocument)
	}
	if list, has := sent["defaultChannelConfig"].([]any); has {
		mediator["defaultChannelConfig"] = c.each(list, c.channelDocument)
	}
	if list, has := sent["configDefs"].([]any); has {
		mediator["configDefs"] = c.each(list, func(def any) openhimDoc {
			return openhimWith(def, openhimDoc{"_id": c.newID(), "values": []any{}, "template": []any{}})
		})
	}
}

func (c *openhimCall) each(list []any, document func(any) openhimDoc) []any {
	documents := make([]any, 0, len(list))
	for _, one := range list {
		documents = append(documents, document(one))
	}
	return documents
}

// openhimRegistrationFault tells what the server refuses. Of a mediator that it knows, it looks at less.
func openhimRegistrationFault(sent openhimDoc, isNew bool) string {
	version, _ := sent["version"].(string)
	switch urn, _ := sent["urn"].(string); {
	case urn == "":
		return "URN is required"
	case !openhimVersion.MatchString(version):
		return "Version is required. Must be in SemVer form x.y.z"
	}
	defs := openhimDefs(sent["configDefs"])
	for _, def := range defs {
		if fault := openhimDefFault(def); fault != "" {
			return fault
		}
	}
	if config, has := sent["config"].(openhimDoc); has && sent["configDefs"] != nil {
		if fault := openhimConfigFault(defs, config); fault != "" {
			return fault
		}
	}
	if !isNew {
		return ""
	}
	if endpoints, _ := sent["endpoints"].([]any); len(endpoints) == 0 {
		return "At least 1 endpoint is required"
	}
	return openhimSchemaFault(sent, defs)
}

func openhimDefFault(def openhimDoc) string {
	switch def["type"] {
	case "struct":
		return openhimTemplateFault(def)
	case "option":
		values, is := def["values"].([]any)
		if !is {
			return fmt.Sprintf("Expected field 'values' to be an array (option param '%v')", def["param"])
		}
		if len(values) == 0 {
			return fmt.Sprintf("Must specify a values array for option param '%v'", def["param"])
		}
	}
	return ""
}

func openhimTemplateFault(def openhimDoc) string {
	if def["template"] == nil {
		return fmt.Sprintf("Must specify a template for struct param '%v'", def["param"])
	}
	for _, field := range openhimDefs(def["template"]) {
		for _, name := range []string{"param", "type"} {
			if field[name] == nil {
				return fmt.Sprintf("Must specify field '%s' in template definition for param '%v'", name, def["param"])
			}
		}
		if field["type"] == "struct" {
			return fmt.Sprintf("May not recursively specify 'struct' in template definitions (param '%v')", def["param"])
		}
		if fault := openhimDefFault(field); fault != "" {
			return fault
		}
	}
	return ""
}

// openhimSchemaFault tells what the schema of the database refuses.
func openhimSchemaFault(sent openhimDoc, defs []openhimDoc) string {
	var faults []string
	for i, e := range openhimDefs(sent["endpoints"]) {
		faults = append(faults, openhimRouteFaults(fmt.Sprintf("endpoints.%d.", i), e)...)
	}
	for i, channel := range openhimDefs(sent["defaultChannelConfig"]) {
		faults = append(faults, openhimChannelFaults(fmt.Sprintf("defaultChannelConfig.%d.", i), channel)...)
	}
	types := []any{"string", "bigstring", "number", "bool", "option", "map", "struct", "password"}
	for i, def := range defs {
		path := fmt.Sprintf("configDefs.%d.type", i)
		if !slices.Contains(types, def["type"]) {
			faults = append(faults, fmt.Sprintf("%s: `%v` is not a valid enum value for path `type`.", path, def["type"]))
		}
	}
	if name, _ := sent["name"].(string); name == "" {
		faults = append(faults, "name: Path `name` is required.")
	}
	return strings.Join(faults, ", ")
}

func openhimRouteFaults(path string, route openhimDoc) []string {
	var faults []string
	if name, _ := route["name"].(string); name == "" {
		faults = append(faults, path+"name: Path `name` is required.")
	}
	if kind, has := route["type"]; has && kind != "http" && kind != "kafka" {
		faults = append(faults, fmt.Sprintf("%stype: `%v` is not a valid enum value for path `type`.", path, kind))
	}
	if port, is := route["port"].(float64); is && port > 65536 {
		faults = append(faults, fmt.Sprintf("%sport: Path `port` (%v) is more than maximum allowed value (65536).", path, port))
	}
	return faults
}

func openhimChannelFaults(path string, channel openhimDoc) []string {
	var faults []string
	for _, name := range []string{"name", "urlPattern"} {
		if value, _ := channel[name].(string); value == "" {
			faults = append(faults, fmt.Sprintf("%s%s: Path `%s` is required.", path, name, name))
		}
	}
	methods, _ := channel["methods"].([]any)
	for i, method := range methods {
		if !slices.Contains(strings.Fields("GET PUT POST DELETE PATCH HEAD OPTIONS TRACE CONNECT"), fmt.Sprint(method)) {
			faults = append(faults, fmt.Sprintf("%smethods.%d: `%v` is not a valid enum value for path `methods.%d`.", path, i, method, i))
		}
	}
	return faults
}

// openhimConfigFault tells the first value that does not fit its definition.
func openhimConfigFault(defs []openhimDoc, config openhimDoc) string {
	for _, param := range sortedNames(config) {
		def := openhimFind(defs, "param", param)
		if def == nil {
			return "No config definition found for parameter " + param
		}
		if def["array"] != true {
			if fault := openhimValueFault(param, def, config[param]); fault != "" {
				return fault
			}
			continue
		}
		list, is := config[param].([]any)
		if !is {
			return fmt.Sprintf("Expected config param %s to be an array of type %v", param, def["type"])
		}
		for i, value := range list {
			if fault := openhimValueFault(fmt.Sprintf("%s[%d]", param, i), def, value); fault != "" {
				return fault
			}
		}
	}
	return ""
}

func sortedNames(doc openhimDoc) []string {
	names := make([]string, 0, len(doc))
	for name := range doc {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// openhimExpected says what a value has to be, by its type.
func openhimExpected(kind any) string {
	switch kind {
	case "string":
		return "a string."
	case "bigstring":
		return "a large string."
	case "number":
		return "a number."
	case "bool":
		return "a boolean."
	case "password":
		return "a string representing a password."
	}
	return "an object."
}

func openhimValueFault(param string, def openhimDoc, value any) string {
	fits := true
	object, isObject := value.(openhimDoc)
	switch def["type"] {
	case "string", "bigstring", "password":
		_, fits = value.(string)
	case "number":
		_, fits = value.(float64)
	case "bool":
		_, fits = value.(bool)
	case "option":
		values, _ := def["values"].([]any)
		if !slices.Contains(values, value) {
			return fmt.Sprintf("Expected config param %s to be one of %s", param, strings.Trim(strings.ReplaceAll(fmt.Sprint(values), " ", ","), "[]"))
		}
	case "map":
		fits = isObject
		for _, member := range object {
			if _, is := member.(string); !is {
				return fmt.Sprintf("Expected config param %s to only contain string values.", param)
			}
		}
	case "struct":
		fits = isObject
		for _, field := range sortedNames(object) {
			if openhimFind(openhimDefs(def["template"]), "param", field) == nil {
				return fmt.Sprintf("Field %s is not defined in template definition for config param %s.", field, param)
			}
		}
	}
	if !fits {
		return fmt.Sprintf("Expected config param %s to be %s", param, openhimExpected(def["type"]))
	}
	return ""
}

func (c *openhimCall) deleteMediator() {
	if !c.manages("removeMediator") {
		return
	}
	c.mediators = slices.DeleteFunc(c.mediators, func(m openhimDoc) bool { return m["urn"] == c.path[1] })
	c.text(http.StatusOK, fmt.Sprintf("Mediator with urn %s has been successfully removed by %s", c.path[1], c.user.Email))
}

// heartbeat takes a sign of life, and tells a configuration that was changed since the last one, once.
func (c *openhimCall) heartbeat() {
	lists := []string{"mediator-view-specified", "mediator-manage-specified"}
	if !c.allowed("mediatorHeartbeat", []string{"mediator-view-all", "mediator-manage-all"}, lists, c.path[1]) {
		return
	}
	mediator := openhimFind(c.mediators, "urn", c.path[1])
	body := c.object()
	if mediator == nil {
		c.empty(http.StatusNotFound)
		return
	}
	if body["uptime"] == nil {
		c.empty(http.StatusBadRequest)
		return
	}
	uptime, is := body["uptime"].(float64)
	if !is {
		c.text(http.StatusInternalServerError, fmt.Sprintf("Could not process mediator heartbeat (urn: %s): CastError: Cast to Number failed for value %q (type string) at path \"_uptime\"", c.path[1], fmt.Sprint(body["uptime"])))
		return
	}
	modified, _ := mediator["_configModifiedTS"].(string)
	last, beaten := mediator["_lastHeartbeat"].(string)
	wanted := body["config"] == true || beaten && modified > last
	mediator["_lastHeartbeat"], mediator["_uptime"] = c.timestamp(), uptime
	switch {
	case wanted && mediator["config"] != nil:
		c.json(http.StatusOK, mediator["config"])
	case wanted:
		c.text(http.StatusOK, "OK")
	default:
		c.text(http.StatusOK, "")
	}
}

// setConfig replaces the configuration, as the console does.
func (c *openhimCall) setConfig() {
	if !c.manages("setMediatorConfig") {
		return
	}
	mediator := openhimFind(c.mediators, "urn", c.path[1])
	if mediator == nil {
		c.text(http.StatusNotFound, "No mediator found for this urn.")
		return
	}
	config := openhimCopy(c.object()).(openhimDoc)
	stored, _ := mediator["config"].(openhimDoc)
	defs := openhimDefs(mediator["configDefs"])
	openhimRestore(defs, config, stored)
	if fault := openhimConfigFault(defs, config); fault != "" {
		c.text(http.StatusBadRequest, fault)
		return
	}
	mediator["config"], mediator["_configModifiedTS"] = config, c.timestamp()
	c.empty(http.StatusOK)
}

// installChannels copies default channels of the mediator, without the checks of POST /channels.
func (c *openhimCall) installChannels() {
	if !c.manages("loadDefaultChannels") {
		return
	}
	mediator := openhimFind(c.mediators, "urn", c.path[1])
	if mediator == nil {
		c.text(http.StatusNotFound, "No mediator found for this urn.")
		return
	}
	names, _ := c.body.([]any)
	var chosen []openhimDoc
	for _, channel := range openhimDefs(mediator["defaultChannelConfig"]) {
		if len(names) == 0 || slices.Contains(names, channel["name"]) {
			chosen = append(chosen, channel)
		}
	}
	if len(chosen) < len(names) {
		c.text(http.StatusBadRequest, fmt.Sprintf("Could not load mediator default channel config, one or more channels in the request body not found in the mediator config (urn: %s)", c.path[1]))
		return
	}
	for _, channel := range chosen {
		if openhimFind(c.channels, "name", channel["name"]) != nil {
			c.text(http.StatusInternalServerError, fmt.Sprintf("Could not load mediator default channel config (urn: %s): MongoServerError: E11000 duplicate key error collection: openhim.channels", c.path[1]))
			return
		}
		installed := openhimCopy(channel).(openhimDoc)
		delete(installed, "_id")
		c.addChannel(installed)
	}
	c.empty(http.StatusCreated)
}
