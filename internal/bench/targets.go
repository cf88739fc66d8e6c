package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/go-json-experiment/json/jsontext"
)

// The month of target documents: one of each worker, with some targets each.
const (
	benchWorkers    = 100_000
	benchTargets    = 100
	benchFacilities = 1000
	targetVariants  = 97
	documentPage    = 1000
)

// documents is what a month of target documents costs.
type documents struct {
	// first is reading and adding them all up, on a new store; validated is a program that reads the same pages and only
	// validates them.
	first, validated sample
	// again is a second reading of the month with one document of a hundred changed.
	again sample
	// bytes are those of all answers about documents, contacts and places, of the first reading and of the second.
	bytes, bytesAgain int64
}

func measureDocuments(binary, folder string, runs int) (d documents, err error) {
	address, stop, err := startStub(benchFacilities, benchTargets)
	if err != nil {
		return d, err
	}
	defer stop()
	file := filepath.Join(folder, "targets.yaml")
	text := fmt.Sprintf(`cht: [{name: stub, url: %[1]q, username: x, password: x}]
dhis2: [{name: stub, url: %[1]q, token: x}]
data_sets: [{id: DsBench0001, source: targets, first_period: "201001", completeness: off}]
`, address)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return d, err
	}
	command := func(name string, args ...string) *exec.Cmd {
		return exec.Command(binary, append([]string{name, "--config", file, "--period", benchPeriod, "--json"}, args...)...)
	}
	var first, validated, again []sample
	for range runs {
		for _, one := range []struct {
			into   *[]sample
			change int
			bytes  *int64
			run    *exec.Cmd
		}{
			{&validated, 0, new(int64), exec.Command(self(), "-validate", address)},
			{&first, 0, &d.bytes, command("submit")},
			{&again, 100, &d.bytesAgain, command("submit")},
		} {
			if one.into == &first {
				_ = os.RemoveAll(filepath.Join(folder, "data"))
			}
			if err := question(address+"/set?holds=false&changed="+strconv.Itoa(one.change), nil); err != nil {
				return d, err
			}
			s, err := run(one.run)
			if err != nil {
				return d, err
			}
			*one.into = append(*one.into, s)
			if err := question(address+"/bytes", one.bytes); err != nil {
				return d, err
			}
		}
	}
	d.first, d.validated, d.again = middleOf(first), middleOf(validated), middleOf(again)
	return d, nil
}

func question(address string, into any) error {
	response, err := http.Get(address)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if into == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// validate reads the documents page by page, and only makes sure that they are JSON.
func validate(address string) error {
	last := ""
	for {
		start, _ := json.Marshal("target~" + benchMonth + "~" + last)
		end, _ := json.Marshal("target~" + benchMonth + "~\ufff0")
		query := url.Values{"startkey": {string(start)}, "endkey": {string(end)}, "include_docs": {"true"}, "limit": {strconv.Itoa(documentPage)}}
		response, err := http.Get(address + "/medic/_all_docs?" + query.Encode())
		if err != nil {
			return err
		}
		decoder := jsontext.NewDecoder(response.Body)
		if err := decoder.SkipValue(); err != nil {
			return err
		}
		if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
			return fmt.Errorf("something follows the answer: %w", err)
		}
		_ = response.Body.Close()
		next := response.Header.Get("X-Next") // the stub's, as nothing is read here
		if next == "" {
			return nil
		}
		last = next
	}
}

const benchMonth = "2026-09"

// documentStub serves target documents, workers and facilities as a CHT's database does.
type documentStub struct {
	workers, facilities int
	variants            []string
	changed             atomic.Int64
	bytes               atomic.Int64
}

func newDocumentStub(facilities, targets int) *documentStub {
	s := &documentStub{workers: benchWorkers, facilities: facilities}
	for v := range targetVariants {
		var b strings.Builder
		for t := range targets {
			if t > 0 {
				b.WriteByte(',')
			}
			n := (v*7 + t*13) % 97
			fmt.Fprintf(&b, `{"id":"bench-target-number-%05d","value":{"pass":%d,"total":%d}}`, t, n/2, n)
		}
		s.variants = append(s.variants, b.String())
	}
	return s
}

func worker(n int) string { return fmt.Sprintf("c0ffee00-0000-4000-8000-%012d", n) }

func (s *documentStub) id(n int) string {
	return fmt.Sprintf("target~%s~%s~org.couchdb.user:chw-%06d", benchMonth, worker(n), n)
}

// rev is the revision of a worker's document: another one where it has changed.
func (s *documentStub) rev(n int) string {
	generation, variant := 1, n%targetVariants
	if every := s.changed.Load(); every > 0 && n%int(every) == 0 {
		generation, variant = 2, (n+1)%targetVariants
	}
	return fmt.Sprintf("%d-%08x%08x%08x%08x", generation, n, variant, 0xabcdef01, 0x12345678)
}

func (s *documentStub) document(w io.Writer, n int) {
	variant := n % targetVariants
	if every := s.changed.Load(); every > 0 && n%int(every) == 0 {
		variant = (n + 1) % targetVariants
	}
	fmt.Fprintf(w, `{"_id":%q,"_rev":%q,"type":"target","user":"org.couchdb.user:chw-%06d","owner":%q,"reporting_period":%q,"targets":[`, s.id(n), s.rev(n), n, worker(n), benchMonth)
	_, _ = io.WriteString(w, s.variants[variant])
	_, _ = io.WriteString(w, `],"updated_date":1790726400000}`)
}

// serve adds the routes.
func (s *documentStub) serve(mux *http.ServeMux) {
	mux.HandleFunc("GET /medic/_all_docs", s.answer(s.page))
	mux.HandleFunc("POST /medic/_all_docs", s.answer(s.keys))
	mux.HandleFunc("GET /medic/_design/medic-admin/_view/contacts_by_dhis_orgunit", s.answer(s.places))
	mux.HandleFunc("GET /bytes", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, s.bytes.Swap(0)) })
}

// answer counts the bytes of an answer.
func (s *documentStub) answer(write func(http.Header, io.Writer, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var b strings.Builder
		write(w.Header(), &b, r)
		w.Header().Set("Content-Type", "application/json")
		s.bytes.Add(int64(b.Len()))
		_, _ = io.WriteString(w, b.String())
	}
}

// number finds the first worker whose document's id is not before a key; the last ten digits before the user's name tell.
func (s *documentStub) number(key string) int {
	_, rest, found := strings.Cut(key, "~"+benchMonth+"~")
	if !found || rest == "" || len(rest) < len(worker(0)) {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimLeft(rest[len("c0ffee00-0000-4000-8000-"):len(worker(0))], "0"))
	if key > s.id(n) {
		n++
	}
	return n
}

func (s *documentStub) page(header http.Header, w io.Writer, r *http.Request) {
	var start string
	_ = json.Unmarshal([]byte(r.FormValue("startkey")), &start)
	limit, err := strconv.Atoi(r.FormValue("limit"))
	if err != nil {
		limit = s.workers
	}
	skip, _ := strconv.Atoi(r.FormValue("skip"))
	first := s.number(start) + skip
	if !strings.HasPrefix(start, "target~"+benchMonth) {
		first = s.workers // another month, of which there is nothing
	}
	last := min(first+limit, s.workers)
	fmt.Fprintf(w, `{"total_rows":%d,"offset":%d,"rows":[`, s.workers, first)
	for n := first; n < last; n++ {
		if n > first {
			_, _ = io.WriteString(w, ",\n")
		}
		s.row(w, s.id(n), s.rev(n))
		if r.FormValue("include_docs") == "true" {
			_, _ = io.WriteString(w, `,"doc":`)
			s.document(w, n)
		}
		_, _ = io.WriteString(w, "}")
	}
	_, _ = io.WriteString(w, "]}")
	if last < s.workers {
		header.Set("X-Next", strings.TrimPrefix(s.id(last), "target~"+benchMonth+"~"))
	}
}

func (s *documentStub) row(w io.Writer, id, rev string) {
	fmt.Fprintf(w, `{"id":%q,"key":%q,"value":{"rev":%q}`, id, id, rev)
}

func (s *documentStub) keys(_ http.Header, w io.Writer, r *http.Request) {
	var asked struct{ Keys []string }
	_ = json.NewDecoder(r.Body).Decode(&asked)
	docs := r.FormValue("include_docs") == "true"
	fmt.Fprintf(w, `{"total_rows":%d,"offset":0,"rows":[`, s.workers)
	for i, key := range asked.Keys {
		if i > 0 {
			_, _ = io.WriteString(w, ",\n")
		}
		if strings.HasPrefix(key, "target~") {
			n := s.number(key)
			s.row(w, key, s.rev(n))
			if docs {
				_, _ = io.WriteString(w, `,"doc":`)
				s.document(w, n)
			}
		} else {
			n, _ := strconv.Atoi(strings.TrimLeft(key[len("c0ffee00-0000-4000-8000-"):], "0"))
			rev := fmt.Sprintf("1-%032x", n)
			s.row(w, key, rev)
			if docs {
				facility := n % s.facilities
				fmt.Fprintf(w, `,"doc":{"_id":%q,"_rev":%q,"type":"contact","contact_type":"chw","name":"Worker %d","parent":{"_id":"area-%06d","parent":{"_id":"facility-%05d","parent":{"_id":"district-%03d"}}},"reported_date":1735689600000}`,
					key, rev, n, n, facility, facility%50)
			}
		}
		_, _ = io.WriteString(w, "}")
	}
	_, _ = io.WriteString(w, "]}")
}

func (s *documentStub) places(_ http.Header, w io.Writer, _ *http.Request) {
	fmt.Fprintf(w, `{"total_rows":%d,"offset":0,"rows":[`, s.facilities)
	for f := range s.facilities {
		if f > 0 {
			_, _ = io.WriteString(w, ",\n")
		}
		fmt.Fprintf(w, `{"id":"facility-%05[1]d","key":"OuB%08[1]d","value":null,"doc":{"_id":"facility-%05[1]d","type":"contact","contact_type":"health_facility","name":"Facility %[1]d","parent":{"_id":"district-%03[2]d"},"dhis":{"orgUnit":"OuB%08[1]d"}}}`,
			f, f%50)
	}
	_, _ = io.WriteString(w, "]}")
}

// targetSettings are the targets of the CHT's settings, one an element.
func targetSettings(targets int) map[string]any {
	items := make([]any, targets)
	for t := range items {
		items[t] = map[string]any{
			"id": fmt.Sprintf("bench-target-number-%05d", t), "type": "count",
			"dhis": map[string]any{"dataSet": benchSet, "dataElement": fmt.Sprintf("DeB%08d", t)},
		}
	}
	return map[string]any{"items": items}
}
