package openhim

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Channel is a door of OpenHIM: which requests it lets in, for whom, and where it leads them.
type Channel struct {
	// Name is unique in an OpenHIM.
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// URLPattern is a regular expression tested against the path alone.
	URLPattern string `json:"urlPattern"`
	// Type is "http", also where it is empty.
	Type    string   `json:"type,omitempty"`
	Methods []string `json:"methods"`
	// AuthType is "private" or "public"; OpenHIM reads "private" where it is empty.
	AuthType string `json:"authType,omitempty"`
	// Allow names the clients and roles that may call a private channel.
	Allow        []string   `json:"allow"`
	Routes       []Endpoint `json:"routes"`
	RequestBody  bool       `json:"requestBody"`
	ResponseBody bool       `json:"responseBody"`
	// Timeout is how long OpenHIM waits for the route, in milliseconds; absent means what its server is set to, 60 s by
	// default.
	Timeout *int `json:"timeout,omitempty"`
	// Priority is 1 for the channel that is tried first.
	Priority         *int   `json:"priority,omitempty"`
	Status           string `json:"status,omitempty"`
	Asynchronous     bool   `json:"isAsynchronousProcess,omitempty"`
	AutoRetry        bool   `json:"autoRetryEnabled"`
	AutoRetryMinutes *int   `json:"autoRetryPeriodMinutes,omitempty"`
	AutoRetryMax     int    `json:"autoRetryMaxAttempts,omitempty"`
	MaxBodyAgeDays   *int   `json:"maxBodyAgeDays,omitempty"`
}

// ChannelID looks a channel up by its name. An Error of kind Unknown says that there is none, or none that this account
// sees.
func (c *Client) ChannelID(ctx context.Context, name string) (string, error) {
	found, err := c.findChannel(ctx, name)
	return found.id, err
}

// Channel reads a channel by its name, as people have left it. The error is as that of ChannelID.
func (c *Client) Channel(ctx context.Context, name string) (Channel, error) {
	found, err := c.findChannel(ctx, name)
	if err != nil {
		return Channel{}, err
	}
	channel := Channel{RequestBody: true, ResponseBody: true} // what OpenHIM reads where nothing is said
	if err := json.Unmarshal(found.raw, &channel); err != nil {
		return Channel{}, &Error{Doing: "read channel " + strconv.Quote(name), Kind: Unusable, What: "it has another form than expected: " + err.Error(), Remedy: "look at the channel in OpenHIM's console"}
	}
	return channel, nil
}

// foundChannel is a channel as OpenHIM gives it.
type foundChannel struct {
	id  string
	raw json.RawMessage
}

func (c *Client) findChannel(ctx context.Context, name string) (foundChannel, error) {
	doing := fmt.Sprintf("look up channel %q in OpenHIM", name)
	a, err := c.do(ctx, call{doing: doing, method: http.MethodGet, path: "/channels"})
	if err != nil {
		return foundChannel{}, err
	}
	if a.status != http.StatusOK {
		return foundChannel{}, statusError(doing, a)
	}
	var channels []json.RawMessage
	if err := decode(a, &channels); err != nil {
		return foundChannel{}, under(doing, err)
	}
	for _, raw := range channels { // nothing but the names has to be as expected
		var one struct {
			ID   string `json:"_id"`
			Name string `json:"name"`
		}
		if json.Unmarshal(raw, &one) == nil && one.Name == name {
			return foundChannel{one.ID, raw}, nil
		}
	}
	return foundChannel{}, &Error{
		Doing: doing, Kind: Unknown, What: "OpenHIM shows no channel of this name",
		Remedy: "install it on the mediator's page in OpenHIM's console, and give the account the permission channel-view-all",
	}
}

// Faults tells why a channel of OpenHIM's brings no request to the mediator, or loses it.
func (c Channel) Faults() (faults []string) {
	primary := slices.ContainsFunc(c.Routes, func(route Endpoint) bool { return route.Primary && route.Status != "disabled" })
	for _, found := range []struct {
		is   bool
		text string
	}{
		{c.Status != "" && c.Status != "enabled", "it is " + c.Status},
		{!primary, "it has no primary route that is switched on, so that it leads nowhere"},
		{!slices.Contains(c.Methods, http.MethodPost), "it lets no POST through, with which a submission is asked for"},
		{!c.RequestBody, "it keeps no request body, so that no POST can be run again"},
	} {
		if found.is {
			faults = append(faults, found.text)
		}
	}
	return faults
}

// maxTimeout is the longest time that OpenHIM lets a route take.
const maxTimeout = time.Hour

func checkChannels(channels []Channel, p *problems) {
	seen := map[string]bool{}
	for i, c := range channels {
		path := fmt.Sprintf("defaultChannelConfig[%d]", i)
		if seen[c.Name] {
			p.add(path+".name", "%q stands twice; OpenHIM knows channels by name", c.Name)
		}
		seen[c.Name] = true
		c.check(path, p)
	}
}

// check holds a default channel to the rules of POST /channels as well: OpenHIM does not test them when it installs a
// default channel (8.5.0), which then cannot work.
func (c Channel) check(path string, p *problems) {
	if c.Name == "" {
		p.add(path+".name", "is required")
	}
	if _, err := regexp.Compile(c.URLPattern); c.URLPattern == "" || err != nil {
		p.add(path+".urlPattern", "%q is not a regular expression for a path", c.URLPattern)
	}
	if c.Type != "" && c.Type != "http" {
		p.add(path+".type", "%q is not http, and a polling channel that is installed as a default does not poll before OpenHIM's next start", c.Type)
	}
	p.oneOf(path+".authType", c.AuthType, "private", "public")
	p.oneOf(path+".status", c.Status, "enabled", "disabled")
	c.checkMethods(path+".methods", p)
	c.checkRoutes(path+".routes", p)
	c.checkBodies(path, p)
	c.checkNumbers(path, p)
}

func (c Channel) checkMethods(path string, p *problems) {
	if len(c.Methods) == 0 {
		p.add(path, "at least one is required: an http channel without methods matches no request")
	}
	for i, method := range c.Methods {
		p.oneOf(fmt.Sprintf("%s[%d]", path, i), method, "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT")
		if method == "" || slices.Contains(c.Methods[:i], method) {
			p.add(fmt.Sprintf("%s[%d]", path, i), "%q is empty or stands twice", method)
		}
	}
}

func (c Channel) checkRoutes(path string, p *problems) {
	primaries := 0
	for i, route := range c.Routes {
		route.check(fmt.Sprintf("%s[%d]", path, i), p)
		if route.Primary && route.Status != "disabled" {
			primaries++
		}
	}
	if primaries != 1 {
		p.add(path, "%d enabled primary routes; a channel needs exactly one", primaries)
	}
}

func (c Channel) checkBodies(path string, p *problems) {
	if !c.RequestBody {
		p.add(path+".requestBody", "must be true: without its body a POST cannot be run again")
	}
	if c.MaxBodyAgeDays == nil {
		return
	}
	if *c.MaxBodyAgeDays < 1 {
		p.add(path+".maxBodyAgeDays", "%d is less than a day", *c.MaxBodyAgeDays)
	}
	if !c.RequestBody && !c.ResponseBody {
		p.add(path+".maxBodyAgeDays", "needs requestBody or responseBody: there is nothing to expire")
	}
}

func (c Channel) checkNumbers(path string, p *problems) {
	if c.Timeout != nil && (*c.Timeout < 1 || *c.Timeout > int(maxTimeout.Milliseconds())) {
		p.add(path+".timeout", "%d is not between 1 and %d milliseconds", *c.Timeout, maxTimeout.Milliseconds())
	}
	if c.Priority != nil && *c.Priority < 1 {
		p.add(path+".priority", "%d is less than 1", *c.Priority)
	}
	if c.AutoRetryMinutes != nil && *c.AutoRetryMinutes < 1 {
		p.add(path+".autoRetryPeriodMinutes", "%d is less than 1", *c.AutoRetryMinutes)
	}
	if c.AutoRetryMax < 0 {
		p.add(path+".autoRetryMaxAttempts", "%d is less than 0", c.AutoRetryMax)
	}
}
