package openhim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

// Limits say how much of a report OpenHIM gets. The zero value of a field means its default. OpenHIM itself cuts at
// 15 MB and keeps what it has for ever, so they are far below.
type Limits struct {
	// Body is how many bytes of a body are kept, 8 KiB by default.
	Body int
	// Orchestrations is how many there may be before accepted sends are folded, 20 by default.
	Orchestrations int
	// Whole is how large the JSON of a report may be, 1 MB by default and at least 4 KiB.
	Whole int
}

const (
	defaultBody           = 8 << 10
	defaultOrchestrations = 20
	defaultWhole          = 1_000_000
	leastWhole            = 4 << 10
)

func (l Limits) orDefaults() Limits {
	return Limits{
		Body:           cmp.Or(l.Body, defaultBody),
		Orchestrations: cmp.Or(l.Orchestrations, defaultOrchestrations),
		Whole:          max(cmp.Or(l.Whole, defaultWhole), leastWhole),
	}
}

// Report gives the transaction in the form and the size that OpenHIM bears, whatever is in it: each orchestration with
// name and times, keys that its database takes, valid UTF-8, no secrets, accepted sends folded, bodies cut with length
// and digest of the whole, and the whole under the limit. The transaction itself is left as it is.
func (t Transaction) Report(limits Limits) Transaction {
	limits = limits.orDefaults()
	t = t.tidy(limits.Body)
	t.Orchestrations = Fold(t.Orchestrations, limits.Orchestrations)
	return t.fit(limits)
}

// EnvelopeType is the content type of an Envelope; with another one OpenHIM takes the whole answer for the client's.
const EnvelopeType = "application/json+openhim"

// Envelope is the answer to a request that came through OpenHIM: what the client gets, and what OpenHIM is to keep
// beside it.
type Envelope struct {
	URN            string            `json:"x-mediator-urn"`
	Status         Status            `json:"status,omitempty"`
	Response       *Response         `json:"response"`
	Orchestrations []Orchestration   `json:"orchestrations,omitempty"`
	Properties     map[string]string `json:"properties,omitempty"`
	Error          *Failure          `json:"error,omitempty"`
}

// Envelope gives the answer that carries the transaction's report. OpenHIM stores it twice, so it gets half the space,
// and the client's own answer in full before all else: only a report that is too large without bodies cuts it. Without
// a Response the client is told 500, as OpenHIM would.
func (t Transaction) Envelope(urn string) Envelope {
	var whole Response
	if t.Response == nil {
		t.Response = &Response{Status: 500}
	}
	whole = *t.Response
	limits := Limits{}.orDefaults()
	limits.Whole /= 2
	t.ChannelID, t.ClientID, t.ParentID, t.Request = "", "", "", nil
	t = t.Report(limits)
	e := Envelope{
		URN: urn, Status: t.Status, Response: t.Response, Orchestrations: t.Orchestrations, Properties: t.Properties, Error: t.Error,
	}
	if len(whole.Body) <= limits.Whole {
		e.Response.Body = whole.Body
	}
	return e
}

// tidy gives a copy that OpenHIM stores without a loss.
func (t Transaction) tidy(body int) Transaction {
	base := t.someTime()
	t.Request = t.Request.tidy(base, body)
	t.Response = t.Response.tidy(base, body)
	t.Error = t.Error.tidy()
	t.Properties = tidyKeys(t.Properties)
	t.Orchestrations = slices.Clone(t.Orchestrations)
	for i, o := range t.Orchestrations {
		t.Orchestrations[i] = o.tidy(base, body)
	}
	return t
}

// someTime gives a time for what has none: the first that stands anywhere, or that of the id.
func (t Transaction) someTime() Time {
	times := []Time{t.Request.at(), t.Response.at()}
	for _, o := range t.Orchestrations {
		times = append(times, o.Request.at(), o.Response.at())
	}
	for _, at := range times {
		if !at.IsZero() {
			return at
		}
	}
	if !IsID(t.ID) {
		return At(time.Unix(0, 0))
	}
	seconds, _ := strconv.ParseInt(t.ID[:8], 16, 64) // 8 digits, as IsID has seen
	return At(time.Unix(seconds, 0))
}

func (r *Request) at() Time {
	if r == nil {
		return Time{}
	}
	return r.Timestamp
}

func (r *Response) at() Time {
	if r == nil {
		return Time{}
	}
	return r.Timestamp
}

func (o Orchestration) tidy(base Time, body int) Orchestration {
	o.Name = tidyText(cmp.Or(o.Name, "unnamed step"))
	o.Group = tidyText(o.Group)
	if o.Request == nil {
		o.Request = &Request{}
	}
	o.Request = o.Request.tidy(base, body)
	if o.Response == nil && o.Error != nil { // the console shows an error only beside a response
		o.Response = &Response{Body: o.Error.Message}
	}
	o.Response = o.Response.tidy(o.Request.Timestamp, body)
	o.Error = o.Error.tidy()
	return o
}

func (r *Request) tidy(base Time, body int) *Request {
	if r == nil {
		return nil
	}
	c := *r
	c.Host, c.Port, c.Path, c.Method = tidyText(c.Host), Port(tidyText(string(c.Port))), tidyText(c.Path), tidyText(c.Method)
	c.Querystring = exchange.Keep(c.Querystring, maxLine)
	c.Headers, c.Body = tidyHeaders(c.Headers), exchange.Keep(c.Body, body)
	if c.Timestamp.IsZero() {
		c.Timestamp = base
	}
	return &c
}

func (r *Response) tidy(base Time, body int) *Response {
	if r == nil {
		return nil
	}
	c := *r
	c.Headers, c.Body = tidyHeaders(c.Headers), exchange.Keep(c.Body, body)
	if c.Timestamp.IsZero() {
		c.Timestamp = base
	}
	return &c
}

func (f *Failure) tidy() *Failure {
	if f == nil {
		return nil
	}
	return &Failure{Message: exchange.Keep(f.Message, maxLine), Stack: exchange.Keep(f.Stack, maxLine)}
}

// maxLine is how long a text may be that is no body.
const maxLine = 2 << 10

func tidyText(text string) string { return exchange.Shorten(text, maxLine) }

func tidyHeaders(headers Headers) Headers {
	kept := Headers{}
	for name, value := range headers {
		for _, redacted := range exchange.Header(map[string][]string{name: {value}}) {
			kept[name] = tidyText(redacted)
		}
	}
	return tidyKeys(kept)
}

// tidyKeys makes keys fit for OpenHIM's database, which takes no dot in a key and no dollar before it; with one, OpenHIM
// 8.5.0 loses the whole report and says nothing. Of two keys that become one, the later gets a number.
func tidyKeys[M ~map[string]string](values M) M {
	if values == nil {
		return nil
	}
	kept := make(M, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		key := tidyKey(name)
		for n, free := 2, key; ; n++ {
			if _, taken := kept[free]; !taken {
				kept[free] = tidyText(values[name])
				break
			}
			free = fmt.Sprintf("%s_%d", key, n)
		}
	}
	return kept
}

// maxKey is how long a key may be.
const maxKey = 200

func tidyKey(name string) string {
	key := strings.NewReplacer(".", "_", "\x00", "_").Replace(strings.ToValidUTF8(name, "\uFFFD"))
	if strings.HasPrefix(key, "$") {
		key = "_" + key[1:]
	}
	if len(key) > maxKey {
		key = strings.ToValidUTF8(key[:maxKey], "")
	}
	return cmp.Or(key, "_")
}

// Fold brings the number of orchestrations down to most, as far as that can be done by putting accepted sends together:
// the first ones stay, and those after them become one, in the place of the first of them, with their totals. Whatever
// was not accepted stays. What is left may be more than most.
func Fold(orchestrations []Orchestration, most int) []Orchestration {
	surplus := len(orchestrations) - most
	accepted := 0
	for _, o := range orchestrations {
		if o.Accepted != nil {
			accepted++
		}
	}
	folds := min(surplus+1, accepted) // one comes back for all of them
	if surplus <= 0 || folds < 2 {
		return orchestrations
	}
	kept := make([]Orchestration, 0, len(orchestrations)-folds+1)
	var folded []Orchestration
	place, stay := 0, accepted-folds
	for _, o := range orchestrations {
		if o.Accepted == nil || stay > 0 {
			if o.Accepted != nil {
				stay--
			}
			kept = append(kept, o)
			continue
		}
		if len(folded) == 0 {
			place = len(kept)
		}
		folded = append(folded, o)
	}
	return slices.Insert(kept, place, together(folded))
}

// together is the one orchestration that stands for several accepted sends.
func together(sends []Orchestration) Orchestration {
	first, last := sends[0], sends[len(sends)-1]
	var totals Totals
	for _, o := range sends {
		totals.Values += o.Accepted.Values
		totals.OrgUnits += o.Accepted.OrgUnits
	}
	one := Orchestration{
		Name:     fmt.Sprintf("%s more sends, all accepted: %s values, %s org units", Number(len(sends)), Number(totals.Values), Number(totals.OrgUnits)),
		Group:    first.Group,
		Accepted: &totals,
		Request:  &Request{Timestamp: first.Request.at()},
		Response: &Response{
			Headers: Headers{"content-type": "application/json"}, Timestamp: last.Response.at(),
			Body: fmt.Sprintf(`{"sends":%d,"values":%d,"org_units":%d,"first":%q,"last":%q}`, len(sends), totals.Values, totals.OrgUnits, first.Name, last.Name),
		},
	}
	if first.Request != nil {
		one.Request = &Request{
			Host: first.Request.Host, Port: first.Request.Port, Path: first.Request.Path, Querystring: first.Request.Querystring,
			Method: first.Request.Method, Timestamp: first.Request.Timestamp,
		}
	}
	if last.Response != nil {
		one.Response.Status = last.Response.Status
	}
	return one
}

// fit cuts bodies to the limit, and then takes away by steps, the least missed first, until the whole is small enough.
func (t Transaction) fit(limits Limits) Transaction {
	for body := limits.Body / 4; body >= 64; body /= 4 {
		if t.size() <= limits.Whole {
			return t
		}
		t = t.cut(body, limits.Body)
	}
	for _, step := range []func(Transaction) Transaction{
		Transaction.withoutHeaders,
		func(t Transaction) Transaction { return t.cut(0, limits.Body) },
		func(t Transaction) Transaction { return t.lines(120) },
		func(t Transaction) Transaction { return t.cut(0, 0) },
		func(t Transaction) Transaction { return t.first(limits.Whole / 1000) },
		func(t Transaction) Transaction { return t.bare() },
	} {
		if t.size() <= limits.Whole {
			return t
		}
		t = step(t)
	}
	return t
}

// size is the length of the report as it is sent.
func (t Transaction) size() int {
	text, err := encode(t)
	if err != nil { // nothing in it can fail to encode
		return 0
	}
	return len(text)
}

// cut cuts the bodies of orchestrations to one length, those of the transaction itself to another: the latter are what
// OpenHIM replays and what the client got.
func (t Transaction) cut(steps, own int) Transaction {
	t.Request, t.Response = t.Request.cut(own), t.Response.cut(own)
	return t.each(func(o *Orchestration) {
		o.Request, o.Response = o.Request.cut(steps), o.Response.cut(steps)
		o.Error = o.Error.cut(min(steps, maxLine), steps)
	})
}

// each gives a copy in which change was done to each orchestration.
func (t Transaction) each(change func(*Orchestration)) Transaction {
	t.Orchestrations = slices.Clone(t.Orchestrations)
	for i := range t.Orchestrations {
		change(&t.Orchestrations[i])
	}
	return t
}

func (r *Request) cut(limit int) *Request {
	if r == nil {
		return nil
	}
	c := *r
	c.Body = exchange.Shorten(c.Body, limit)
	return &c
}

func (r *Response) cut(limit int) *Response {
	if r == nil {
		return nil
	}
	c := *r
	c.Body = exchange.Shorten(c.Body, limit)
	return &c
}

// leastMessage is how much of a reason is kept in any case.
const leastMessage = 200

func (f *Failure) cut(message, stack int) *Failure {
	if f == nil {
		return nil
	}
	return &Failure{Message: exchange.Shorten(f.Message, max(message, leastMessage)), Stack: exchange.Shorten(f.Stack, stack)}
}

// withoutHeaders leaves the headers of the orchestrations out, but for the type of their bodies.
func (t Transaction) withoutHeaders() Transaction {
	return t.each(func(o *Orchestration) {
		if o.Request != nil {
			c := *o.Request
			c.Headers = c.Headers.typeOnly()
			o.Request = &c
		}
		if o.Response != nil {
			c := *o.Response
			c.Headers = c.Headers.typeOnly()
			o.Response = &c
		}
	})
}

func (h Headers) typeOnly() Headers {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if strings.EqualFold(name, "content-type") {
			return Headers{name: h[name]}
		}
	}
	return nil
}

// lines cuts names, addresses and reasons, and leaves out groups and stacks.
func (t Transaction) lines(limit int) Transaction {
	t.Error = t.Error.cut(limit, 0)
	return t.each(func(o *Orchestration) {
		name := o.Name
		request := &Request{Timestamp: o.Request.at()}
		if o.Request != nil {
			request.Host, request.Port = firstOf(o.Request.Host, limit), Port(firstOf(string(o.Request.Port), limit))
			request.Path, request.Method = firstOf(o.Request.Path, limit), firstOf(o.Request.Method, limit)
		}
		if o.Response != nil {
			o.Response = &Response{Status: o.Response.Status, Timestamp: o.Response.Timestamp}
		}
		if o.Error != nil {
			o.Error = &Failure{Message: firstOf(o.Error.Message, limit)}
		}
		*o = Orchestration{Name: firstOf(name, limit), Request: request, Response: o.Response, Error: o.Error, Accepted: o.Accepted}
	})
}

// firstOf is the beginning of a text.
func firstOf(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// first keeps the first orchestrations and says how many are left out.
func (t Transaction) first(most int) Transaction {
	most = max(most, 1)
	if len(t.Orchestrations) <= most {
		return t
	}
	left := t.Orchestrations[most:]
	failed := 0
	for _, o := range left {
		if o.Error != nil {
			failed++
		}
	}
	t.Orchestrations = append(slices.Clone(t.Orchestrations[:most]), Orchestration{
		Name:    fmt.Sprintf("%d more steps, %d of them with an error, are left out for their number: see the mediator's own store", len(left), failed),
		Request: &Request{Timestamp: left[0].Request.at()},
	})
	return t
}

// bare keeps what no report can do without: the state, and as many properties as surely have room.
func (t Transaction) bare() Transaction {
	bare := Transaction{ID: t.ID, Status: t.Status, ChannelID: firstOf(t.ChannelID, 24), ClientID: firstOf(t.ClientID, 24), Error: t.Error.cut(0, 0)}
	if t.Error != nil {
		bare.Error = &Failure{Message: firstOf(t.Error.Message, leastMessage)}
	}
	if t.Request != nil {
		bare.Request = &Request{
			Host: firstOf(t.Request.Host, 80), Port: Port(firstOf(string(t.Request.Port), 5)), Path: firstOf(t.Request.Path, 80),
			Method: firstOf(t.Request.Method, 10), Timestamp: t.Request.Timestamp,
		}
	}
	if t.Response != nil {
		bare.Response = &Response{Status: t.Response.Status, Timestamp: t.Response.Timestamp, Body: "left out: the report was too large; see the mediator's own store"}
	}
	for i, name := range slices.Sorted(maps.Keys(t.Properties)) {
		if i == 4 {
			break
		}
		if bare.Properties == nil {
			bare.Properties = map[string]string{}
		}
		bare.Properties[firstOf(name, 20)] = firstOf(t.Properties[name], 20)
	}
	return bare
}
