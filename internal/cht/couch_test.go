package cht

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// couch is a CHT's database in memory: documents by id, as JSON. It answers for _all_docs and contacts_by_type.
type couch struct {
	t testing.TB

	mu   sync.Mutex
	docs map[string]string
	// asked are the requests so far; before, where it is set, is called before each of them.
	asked  []string
	before func(c *couch, request int)
	// answers, where one is given for a request, is what it gets instead.
	answers map[int]*http.Response
	// cut, where one is given for a request, is after how many bytes its answer breaks off.
	cut map[int]int
}

func newCouch(t testing.TB) *couch {
	return &couch{t: t, docs: map[string]string{}, answers: map[int]*http.Response{}, cut: map[int]int{}}
}

// client is a client of it that asks for this many rows a page.
func (c *couch) client(page int) *Client {
	client := clientOf(c.serve)
	client.page = page
	return client
}

func (c *couch) serve(request *http.Request) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	number := len(c.asked)
	body := ""
	if request.Body != nil {
		text, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		body = string(text)
	}
	c.asked = append(c.asked, request.Method+" "+request.URL.Path+"?"+request.URL.RawQuery+" "+body)
	if c.before != nil {
		c.before(c, number)
	}
	if given := c.answers[number]; given != nil {
		return given, nil
	}
	text := c.rows(request, body)
	response := answer(http.StatusOK, "application/json", text)
	if cut, ok := c.cut[number]; ok {
		response.Body = io.NopCloser(io.MultiReader(strings.NewReader(text[:cut]), failing{io.ErrUnexpectedEOF}))
	}
	return response, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func (c *couch) rows(request *http.Request, body string) string {
	query := request.URL.Query()
	docs := query.Get("include_docs") == "true"
	var rows []string
	switch {
	case request.Method == http.MethodPost:
		var asked struct{ Keys []string }
		if err := json.Unmarshal([]byte(body), &asked); err != nil || request.Header.Get("Content-Type") != "application/json" {
			c.t.Errorf("a POST of %s %q", request.Header, body)
		}
		for _, key := range asked.Keys {
			rows = append(rows, c.row(key, docs))
		}
	case strings.HasSuffix(request.URL.Path, "/_all_docs"):
		start, end := parameterOf(c.t, query, "startkey"), parameterOf(c.t, query, "endkey")
		for _, id := range slices.Sorted(maps.Keys(c.docs)) {
			if id >= start && id <= end && !strings.HasSuffix(c.docs[id], deleted) {
				rows = append(rows, c.row(id, docs))
			}
		}
	case strings.HasSuffix(request.URL.Path, "/contacts_by_type"):
		key := query.Get("key")
		if key == "" && query.Get("startkey") == query.Get("endkey") {
			key = query.Get("startkey")
		}
		for _, id := range slices.Sorted(maps.Keys(c.docs)) {
			var doc struct {
				ContactType string `json:"contact_type"`
			}
			if json.Unmarshal([]byte(c.docs[id]), &doc) == nil && `["`+doc.ContactType+`"]` == key && id >= query.Get("startkey_docid") {
				rows = append(rows, fmt.Sprintf(`{"id":%q,"key":%s,"value":"false false 3 name","doc":%s}`, id, key, c.docs[id]))
			}
		}
	case strings.HasSuffix(request.URL.Path, "/contacts_by_dhis_orgunit"):
		for _, id := range slices.Sorted(maps.Keys(c.docs)) {
			var doc struct{ DHIS OrgUnit }
			if json.Unmarshal([]byte(c.docs[id]), &doc) == nil && doc.DHIS.ID != "" {
				rows = append(rows, fmt.Sprintf(`{"id":%q,"key":%q,"value":null,"doc":%s}`, id, doc.DHIS.ID, c.docs[id]))
			}
		}
	default:
		c.t.Errorf("asked for %s", request.URL.Path)
	}
	if limit, err := strconv.Atoi(query.Get("limit")); err == nil && len(rows) > limit {
		rows = rows[:limit]
	}
	return `{"total_rows":9,"offset":0,"rows":[` + "\n" + strings.Join(rows, ",\n") + "\n]}\n"
}

const deleted = "deleted"

func (c *couch) row(id string, docs bool) string {
	doc, ok := c.docs[id]
	switch {
	case !ok:
		return fmt.Sprintf(`{"key":%q,"error":"not_found"}`, id)
	case doc == deleted:
		return fmt.Sprintf(`{"id":%q,"key":%q,"value":{"rev":"2-gone","deleted":true},"doc":null}`, id, id)
	case docs:
		return fmt.Sprintf(`{"id":%q,"key":%q,"value":{"rev":"1-a"},"doc":%s}`, id, id, doc)
	default:
		return fmt.Sprintf(`{"id":%q,"key":%q,"value":{"rev":"1-a"}}`, id, id)
	}
}

func parameterOf(t testing.TB, query url.Values, name string) (text string) {
	if err := json.Unmarshal([]byte(query.Get(name)), &text); err != nil {
		t.Errorf("%s=%s is no JSON text", name, query.Get(name))
	}
	return text
}

// count puts a target document into the database.
func (c *couch) count(id string) {
	owner, ok := OwnerOf(id)
	if !ok {
		c.t.Fatalf("%s is no id of a target document", id)
	}
	c.docs[id] = fmt.Sprintf(`{"_id":%q,"type":"target","owner":%q,"reporting_period":"2026-07","targets":[{"id":"births","value":{"pass":1,"total":2}}]}`, id, owner)
}
