package sandbox

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// serveChannel answers for channels.
func (c *openhimCall) serveChannel(where string) bool {
	switch where {
	case "GET channels":
		c.listChannels()
	case "POST channels":
		c.createChannel()
	case "GET channels *":
		if channel := c.ownChannel("getChannel", "channel-view-all"); channel != nil {
			c.json(http.StatusOK, channel)
		}
	case "PUT channels *":
		c.changeChannel()
	case "DELETE channels *":
		c.deleteChannel()
	default:
		return false
	}
	return true
}

// listChannels shows nothing to those who may see nothing, and refuses nobody.
func (c *openhimCall) listChannels() {
	list := []any{}
	for _, channel := range c.channels {
		id, _ := channel["_id"].(string)
		if channel["status"] != "deleted" && c.can([]string{"channel-view-all", "channel-manage-all"}, []string{"channel-view-specified", "channel-manage-specified"}, id) {
			list = append(list, channel)
		}
	}
	c.json(http.StatusOK, list)
}

// ownChannel gives the channel of the path to who may have it, nil when it has answered by itself.
func (c *openhimCall) ownChannel(doing, permission string) openhimDoc {
	list := strings.Replace(permission, "-all", "-specified", 1)
	if !c.allowed(doing, []string{permission, "channel-manage-all"}, []string{list}, c.path[1]) {
		return nil
	}
	channel := openhimFind(c.channels, "_id", c.path[1])
	if channel == nil {
		c.text(http.StatusNotFound, fmt.Sprintf("We could not find a channel with this ID: %s.", c.path[1]))
	}
	return channel
}

// routeDocument fills in what the schema has as defaults of a route or an endpoint.
func (c *openhimCall) routeDocument(route any) openhimDoc {
	return openhimWith(route, openhimDoc{"_id": c.newID(), "type": "http", "status": "enabled", "forwardAuthHeader": false})
}

// channelDocument fills in what the schema has as defaults of a channel.
func (c *openhimCall) channelDocument(channel any) openhimDoc {
	empty := func() []any { return []any{} }
	filled := openhimWith(channel, openhimDoc{
		"_id": c.newID(), "type": "http", "authType": "private", "status": "enabled", "methods": empty(), "allow": empty(), "whitelist": empty(),
		"routes": empty(), "matchContentTypes": empty(), "properties": empty(), "txViewAcl": empty(), "txViewFullAcl": empty(), "txRerunAcl": empty(),
		"alerts": empty(), "rewriteUrls": false, "addAutoRewriteRules": true, "rewriteUrlsConfig": empty(), "autoRetryEnabled": false,
		"autoRetryPeriodMinutes": 60.0,
	})
	if !c.old {
		if _, has := filled["isAsynchronousProcess"]; !has {
			filled["isAsynchronousProcess"] = false
		}
	}
	routes, _ := filled["routes"].([]any)
	filled["routes"] = c.each(routes, c.routeDocument)
	return filled
}

// addChannel stores a channel.
func (c *openhimCall) addChannel(channel openhimDoc) {
	stored := c.channelDocument(channel)
	stored["__v"] = 0
	if !c.old {
		stored["updatedBy"] = openhimDoc{"id": c.user.id, "name": c.user.Name}
	}
	for _, route := range openhimDefs(stored["routes"]) {
		route["_id"] = c.newID()
	}
	c.channels = append(c.channels, stored)
}

func (c *openhimCall) createChannel() {
	if !c.allowed("addChannel", []string{"channel-manage-all"}, nil, "") {
		return
	}
	channel := c.object()
	if fault := openhimChannelFault(channel); fault != "" {
		c.text(http.StatusBadRequest, fault)
		return
	}
	if faults := openhimChannelFaults("", channel); len(faults) > 0 {
		c.text(http.StatusBadRequest, "Could not add channel via the API: ValidationError: "+strings.Join(faults, ", "))
		return
	}
	if openhimFind(c.channels, "name", channel["name"]) != nil {
		c.text(http.StatusBadRequest, "Could not add channel via the API: MongoServerError: E11000 duplicate key error collection: openhim.channels")
		return
	}
	c.addChannel(channel)
	c.text(http.StatusCreated, "Channel successfully created")
}

func (c *openhimCall) changeChannel() {
	channel := c.ownChannel("updateChannel", "channel-manage-all")
	if channel == nil {
		return
	}
	changed := openhimWith(c.body, channel)
	if fault := openhimChannelFault(changed); fault != "" {
		c.text(http.StatusBadRequest, fault)
		return
	}
	for name, value := range c.object() {
		channel[name] = value
	}
	c.text(http.StatusOK, "The channel was successfully updated")
}

// deleteChannel removes a channel; one that has transactions is only marked.
func (c *openhimCall) deleteChannel() {
	channel := c.ownChannel("removeChannel", "channel-manage-all")
	if channel == nil {
		return
	}
	if openhimFind(c.transactions, "channelID", channel["_id"]) != nil {
		channel["status"] = "deleted"
	} else {
		c.channels = slices.DeleteFunc(c.channels, func(one openhimDoc) bool { return one["_id"] == channel["_id"] })
	}
	c.text(http.StatusOK, "The channel was successfully deleted")
}

// openhimTransform is the form of a change of the path.
var openhimTransform = regexp.MustCompile(`^s/((?:[^/\\]|\\.)+)/((?:[^/\\]|\\.)*)(?:/(g?))?$`)

// openhimChannelFault tells what the API refuses before the schema does.
func openhimChannelFault(channel openhimDoc) string {
	methods, _ := channel["methods"].([]any)
	kind, _ := channel["type"].(string)
	if kind != "" && kind != "http" && len(methods) > 0 {
		return "Channel method can't be defined if channel type is not http"
	}
	var repeated []string
	for i, method := range methods {
		if slices.Contains(methods[:i], method) {
			repeated = append(repeated, fmt.Sprint(method))
		}
	}
	if len(repeated) > 0 {
		return "Channel methods can't be repeated. Repeated methods are " + strings.Join(repeated, ", ")
	}
	if timeout, has := channel["timeout"].(float64); has && (timeout < 1 || timeout > 3_600_000) {
		return "Channel property timeoutSeconds has to be a number greater than 1 and less than an 3600"
	}
	if days, has := channel["maxBodyAgeDays"]; has {
		age, is := days.(float64)
		if !is || age < 1 || channel["requestBody"] != true && channel["responseBody"] != true {
			return "Channel property maxBodyAgeDays has to be a number that's valid and requestBody or responseBody must be true."
		}
	}
	return openhimRoutesFault(openhimDefs(channel["routes"]))
}

func openhimRoutesFault(routes []openhimDoc) string {
	primaries := 0
	for _, route := range routes {
		transform, _ := route["pathTransform"].(string)
		path, _ := route["path"].(string)
		if path != "" && transform != "" || transform != "" && !openhimTransform.MatchString(transform) {
			return "Channel cannot have both path and pathTransform. pathTransform must be of the form s/from/to[/g]"
		}
		if route["primary"] == true && route["status"] != "disabled" {
			primaries++
		}
	}
	switch {
	case primaries == 0:
		return "Channel must have a primary route"
	case primaries > 1:
		return "Channel cannot have a multiple primary routes"
	}
	return ""
}
