package openhim

import (
	"fmt"
	"regexp"
	"slices"
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
