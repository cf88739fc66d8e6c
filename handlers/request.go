package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/orchestration"
)

// maxBody is how large the body of a request may be.
const maxBody = 1 << 20

// readBody reads the body of a request, which must be JSON.
func readBody(c *gin.Context) ([]byte, error) {
	kind, parameters, err := mime.ParseMediaType(c.GetHeader("Content-Type"))
	charset := parameters["charset"]
	encoding := c.GetHeader("Content-Encoding")
	if err != nil || kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") || encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, &problem{status: http.StatusUnsupportedMediaType, failure: failure{
			Error: "the body must be JSON in UTF-8, not compressed", Remedy: "send the header Content-Type: application/json, and no Content-Encoding", Code: "unsupported_media_type",
		}}
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxBody))
	var over *http.MaxBytesError
	var network net.Error
	switch {
	case errors.As(err, &over):
		return nil, &problem{status: http.StatusRequestEntityTooLarge, failure: failure{
			Error: fmt.Sprintf("the body is larger than %d bytes", maxBody), Remedy: "name fewer org units, or none for all", Code: "too_large",
		}}
	case errors.As(err, &network) && network.Timeout():
		return nil, &problem{status: http.StatusRequestTimeout, failure: failure{Error: "the body came too slowly", Remedy: "send it again", Code: "timeout"}}
	case err != nil:
		return nil, bad("the body cannot be read to its end", "send it again, whole")
	case !utf8.Valid(body):
		return nil, bad("the body is not in UTF-8", "encode it in UTF-8")
	}
	return body, nil
}

// field is a field of a JSON object that is read.
type field struct {
	name string
	// kind says of which form it has to be, in words.
	kind string
	into any
}

// decodeObject reads one JSON object, strictly: each field known, there once, and of its type.
func decodeObject(body []byte, fields ...field) error {
	const form = `send one JSON object, such as {"period": "202610"}`
	dec := json.NewDecoder(bytes.NewReader(body))
	first, err := dec.Token()
	if errors.Is(err, io.EOF) {
		return bad("the body is empty", form)
	}
	if err != nil {
		return bad("the body is no JSON: "+err.Error(), form)
	}
	if first != json.Delim('{') {
		return bad("the body is no JSON object", form)
	}
	seen := map[string]bool{}
	for dec.More() {
		if err := decodeField(dec, fields, seen); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return bad("the body is no whole JSON object: "+jsonError(err), form)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return bad("something follows the JSON object", "send one object and nothing after it")
	}
	return nil
}

func jsonError(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends in the middle"
	}
	return err.Error()
}

func decodeField(dec *json.Decoder, fields []field, seen map[string]bool) error {
	token, err := dec.Token()
	name, isName := token.(string)
	if err != nil || !isName {
		return bad("the body is no JSON object: "+jsonError(err), "check its commas, colons and quotes")
	}
	at := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	if at < 0 {
		return unknown("field", name, fieldNames(fields))
	}
	if seen[name] {
		return bad(fmt.Sprintf("field %q is there twice", name), "give it once")
	}
	seen[name] = true
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return bad(fmt.Sprintf("field %q has no JSON value: %s", name, jsonError(err)), "check its commas, colons and quotes")
	}
	if err := json.Unmarshal(raw, fields[at].into); err != nil || string(raw) == "null" {
		return bad(fmt.Sprintf("field %q must be %s", name, fields[at].kind), "give it so, or leave it out")
	}
	return nil
}

func fieldNames(fields []field) []string {
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
	}
	return names
}

// unknown is the problem of a name that nobody knows. It names the nearest one that is known.
func unknown(what, name string, known []string) *problem {
	if len(known) == 0 {
		return bad(fmt.Sprintf("unknown %s %q", what, shortened(name)), "there is none here")
	}
	remedy := "known here are " + strings.Join(known, ", ")
	if near := issue.Nearest(shortened(name), known); near != "" {
		remedy = "did you mean " + near + "? " + remedy
	}
	return bad(fmt.Sprintf("unknown %s %q", what, shortened(name)), remedy)
}

// shortened is a name of a client's, as long as an answer repeats it.
func shortened(name string) string {
	const longest = 60
	if len(name) <= longest {
		return name
	}
	return strings.ToValidUTF8(name[:longest], "") + "…"
}

// selection says what a request is about, in a body or in a query.
type selection struct {
	dataSet, period, cht string
	orgUnits             []string
	dryRun, full         bool
}

// decodeSelection reads the body of a request for submissions.
func decodeSelection(body []byte) (selection, error) {
	s := selection{period: orchestration.LatestClosed}
	err := decodeObject(body,
		field{"data_set", "text, the id of a data set", &s.dataSet},
		field{"period", "text, such as \"202610\", \"latest-closed\" or \"202601..202606\"", &s.period},
		field{"cht", "text, the name of a CHT", &s.cht},
		field{"org_units", "a list of ids of org units", &s.orgUnits},
		field{"dry_run", "true or false", &s.dryRun},
		field{"full", "true or false", &s.full},
	)
	if err == nil && s.orgUnits != nil {
		err = checkOrgUnits("org_units", s.orgUnits)
	}
	return s, err
}

// mostOrgUnits is how many org units a query may name.
const mostOrgUnits = 500

// querySelection reads what a plan is asked about.
func querySelection(query url.Values) (selection, error) {
	s := selection{dataSet: query.Get("data_set"), period: query.Get("period"), cht: query.Get("cht"), orgUnits: query["org_unit"]}
	if s.period == "" {
		s.period = orchestration.LatestClosed
	}
	if len(s.orgUnits) > mostOrgUnits {
		return s, bad(fmt.Sprintf("more than %d org units", mostOrgUnits), "ask for fewer, or for all of them by naming none")
	}
	if s.orgUnits != nil {
		return s, checkOrgUnits("org_unit", s.orgUnits)
	}
	return s, nil
}

// uid is the form of DHIS2's ids.
var uid = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{10}$`)

// checkOrgUnits refuses what can be no org unit, and a list of none, as that would be taken for all.
func checkOrgUnits(field string, ids []string) error {
	if len(ids) == 0 {
		return bad(field+" names no org unit", "leave it out to send all of them")
	}
	for _, id := range ids {
		if !uid.MatchString(id) {
			return bad(fmt.Sprintf("%s: %q is no id of an org unit", field, shortened(id)), "give the id in DHIS2: a letter, and ten letters or digits")
		}
	}
	return nil
}

// configured finds the data set, and the sources that are meant.
func (s *selection) configured(d *door) (sources []string, err error) {
	var ids []string
	for _, set := range d.Submitter.DataSets {
		ids = append(ids, set.ID)
	}
	if s.dataSet == "" && len(ids) == 1 {
		s.dataSet = ids[0]
	}
	if s.dataSet == "" {
		return nil, bad("data_set is missing", "name one of the configured data sets: "+strings.Join(ids, ", "))
	}
	at := slices.Index(ids, s.dataSet)
	if at < 0 {
		return nil, unknown("data set", s.dataSet, ids)
	}
	sources = d.Submitter.DataSets[at].CHT
	if s.cht == "" {
		return sources, nil
	}
	if !slices.Contains(sources, s.cht) {
		return nil, unknown("source of data set "+s.dataSet+":", s.cht, sources)
	}
	return []string{s.cht}, nil
}

// readQuery reads the query of a request, strictly: each parameter known, and there once but for those that may repeat.
func readQuery(c *gin.Context, repeatable string, known ...string) (url.Values, error) {
	query, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		return nil, bad("the query cannot be read", "write it as name=value, joined with &, and percent-encoded")
	}
	for name, values := range query {
		switch {
		case name == repeatable:
		case !slices.Contains(known, name):
			if repeatable != "" {
				known = append(known, repeatable)
			}
			return nil, unknown("parameter", name, known)
		case len(values) > 1:
			return nil, bad(fmt.Sprintf("parameter %q is there more than once", name), "give it once")
		}
	}
	return query, nil
}

// mostPage is the largest page of a list, page the usual one.
const (
	page     = 100
	mostPage = 1000
)

// limitOf is the size of a page that a query asks for.
func limitOf(query url.Values) (int, error) {
	text := query.Get("limit")
	if text == "" {
		return page, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > mostPage {
		return 0, bad(fmt.Sprintf("limit %q is no number from 1 to %d", shortened(text), mostPage), "give one, or leave it out for a hundred")
	}
	return limit, nil
}
