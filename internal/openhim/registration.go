// Package openhim speaks with OpenHIM, the interoperability layer through which people trigger, watch and re-run
// submissions.
//
// It holds what the mediator says about itself when it registers: name and version, the addresses at which it is
// reached, the channel that leads to it, and what people may steer in the console. OpenHIM checks little of this and
// refuses much of the rest too late or in silence, above all when a newer version registers. So everything is checked
// here, before it is sent.
//
// A Client calls OpenHIM's API, a Registrar keeps the mediator known to it, and a Transaction is the report of what the
// mediator did, brought into a form and a size that OpenHIM bears before it leaves.
package openhim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Registration is the document with which a mediator makes itself known: the body of OpenHIM's POST /mediators.
// Fields that this mediator does not use are left out of the types here.
type Registration struct {
	URN         string     `json:"urn"`
	Version     string     `json:"version,omitempty"`
	Name        string     `json:"name"`
	Description string     `json:"description,omitempty"`
	Endpoints   []Endpoint `json:"endpoints"`
	// DefaultChannels are offered in the console, where a person installs them with one click.
	DefaultChannels []Channel   `json:"defaultChannelConfig,omitempty"`
	ConfigDefs      []ConfigDef `json:"configDefs,omitempty"`
	// Config holds a default for every definition, in the forms that encoding/json decodes to. When a newer version
	// registers, OpenHIM keeps what people had set only for the keys that stand here.
	Config map[string]any `json:"config,omitempty"`
}

// Endpoint is an address of the mediator, and in a Channel a route to it.
type Endpoint struct {
	Name string `json:"name"`
	// Type is "http" or "kafka"; OpenHIM reads "http" where it is empty.
	Type string `json:"type,omitempty"`
	Host string `json:"host,omitempty"`
	Port int    `json:"port,omitempty"`
	// Path replaces the path of the caller, PathTransform (s/from/to or s/from/to/g) changes it. Without either it stays.
	Path          string `json:"path,omitempty"`
	PathTransform string `json:"pathTransform,omitempty"`
	Secured       bool   `json:"secured,omitempty"`
	Primary       bool   `json:"primary,omitempty"`
	// Status is "enabled" or "disabled"; OpenHIM reads "enabled" where it is empty.
	Status string `json:"status,omitempty"`
	// Username and Password are what OpenHIM says at the mediator's door, with Basic authentication. Whoever may see
	// mediators or channels in OpenHIM can read them.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// ParseRegistration decodes a registration document. A field that Registration does not know is an error, and so is
// anything after the document. What the document says is for Check to judge.
func ParseRegistration(document []byte) (Registration, error) {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.DisallowUnknownFields()
	var r Registration
	if err := decoder.Decode(&r); err != nil {
		return Registration{}, fmt.Errorf("registration document: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Registration{}, errors.New("registration document: something follows after its closing brace")
	}
	return r, nil
}

// Fill gives back a copy that carries the version of the program, and the host and port where OpenHIM reaches it in
// every endpoint and route that names none.
func (r Registration) Fill(version, host string, port int) Registration {
	r.Version = version
	r.Endpoints = fillAddresses(r.Endpoints, host, port)
	r.DefaultChannels = slices.Clone(r.DefaultChannels)
	for i := range r.DefaultChannels {
		r.DefaultChannels[i].Routes = fillAddresses(r.DefaultChannels[i].Routes, host, port)
	}
	return r
}

func fillAddresses(endpoints []Endpoint, host string, port int) []Endpoint {
	endpoints = slices.Clone(endpoints)
	for i := range endpoints {
		if endpoints[i].Host == "" {
			endpoints[i].Host = host
		}
		if endpoints[i].Port == 0 {
			endpoints[i].Port = port
		}
	}
	return endpoints
}

// Check tells everything that OpenHIM would refuse, lose or misread, as joined errors that each begin with the place in
// the document. It expects a document that Fill has completed.
func (r Registration) Check() error {
	var p problems
	if r.URN == "" {
		p.add("urn", "is required")
	}
	if r.Name == "" {
		p.add("name", "is required")
	}
	if !semVer.MatchString(r.Version) {
		p.add("version", "%q is not a semantic version such as 1.4.0", r.Version)
	}
	if len(r.Endpoints) == 0 {
		p.add("endpoints", "at least one is required")
	}
	for i, e := range r.Endpoints {
		e.check(fmt.Sprintf("endpoints[%d]", i), &p)
	}
	checkChannels(r.DefaultChannels, &p)
	checkConfigDefs("configDefs", r.ConfigDefs, &p)
	checkConfig(r.ConfigDefs, r.Config, &p)
	return errors.Join(p...)
}

// semVer is the pattern of semver.org: three numbers without leading zeros, then perhaps a pre-release and a build.
var semVer = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

var pathTransform = regexp.MustCompile(`^s/([^/\\]|\\.)+/([^/\\]|\\.)*(/g?)?$`)

func (e Endpoint) check(path string, p *problems) {
	if e.Name == "" {
		p.add(path+".name", "is required")
	}
	p.oneOf(path+".type", e.Type, "http", "kafka")
	p.oneOf(path+".status", e.Status, "enabled", "disabled")
	if e.Host == "" || strings.ContainsAny(e.Host, "/ ") {
		p.add(path+".host", "%q is not a host name or address", e.Host)
	}
	if e.Port < 1 || e.Port > 65535 {
		p.add(path+".port", "%d is not between 1 and 65535", e.Port)
	}
	if e.Path != "" && e.PathTransform != "" {
		p.add(path+".pathTransform", "cannot stand beside a path: OpenHIM takes one of the two")
	}
	if e.PathTransform != "" && !pathTransform.MatchString(e.PathTransform) {
		p.add(path+".pathTransform", "%q is not of the form s/from/to or s/from/to/g", e.PathTransform)
	}
}

// problems are the faults found so far.
type problems []error

func (p *problems) add(path, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
}

// oneOf accepts an empty value, for which OpenHIM has a default.
func (p *problems) oneOf(path, value string, known ...string) {
	if value != "" && !slices.Contains(known, value) {
		p.add(path, "%q is none of %s", value, strings.Join(known, ", "))
	}
}
