package orchestration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// county100k is a CHT of many workers, each with a document of as many targets. It keeps none of them.
type county100k struct {
	owners, facilities, targets int
	// changed is how many documents, the first ones, have a second revision.
	changed int
	bytes   int64
}

func (c *county100k) id(n int) string {
	return fmt.Sprintf("target~2026-07~%08d-6c1f-4d1e-9a55-aaaaaaaaaaaa~org.couchdb.user:chw%06d", n, n)
}

func (c *county100k) rev(n int) string {
	if n < c.changed {
		return "2-0123456789abcdef0123456789abcdef"
	}
	return "1-0123456789abcdef0123456789abcdef"
}

func (c *county100k) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriterSize(counting{w, &c.bytes}, 1<<16)
	defer out.Flush() //nolint:errcheck // a benchmark
	query, docs := r.URL.Query(), r.URL.Query().Get("include_docs") == "true"
	fmt.Fprint(out, `{"rows":[`)
	first := true
	row := func(id, key, rev, doc string) {
		if !first {
			fmt.Fprint(out, ",\n")
		}
		first = false
		fmt.Fprintf(out, `{"id":%q,"key":%q,"value":{"rev":%q}%s}`, id, key, rev, doc)
	}
	document := func(n int) string {
		if !docs {
			return ""
		}
		var b strings.Builder
		fmt.Fprintf(&b, `,"doc":{"_id":%q,"_rev":%q,"type":"target","user":"org.couchdb.user:chw%06d","owner":"%08d-6c1f-4d1e-9a55-aaaaaaaaaaaa","reporting_period":"2026-07","targets":[`, c.id(n), c.rev(n), n, n)
		for t := range c.targets {
			if t > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"id":"target-with-a-name-%03d","value":{"pass":%d,"total":%d}}`, t, n%7, n%7+t%13)
		}
		b.WriteString(`],"updated_date":1785456000000}`)
		return b.String()
	}
	switch {
	case strings.Contains(r.URL.Path, "contacts_by_dhis_orgunit"):
		for f := range c.facilities {
			id, unit := fmt.Sprintf("facility-%05d-aaaa-bbbb-cccccccccccc", f), fmt.Sprintf("Ou%09d", f)
			row(id, unit, "1-a", fmt.Sprintf(`,"doc":{"_id":%q,"_rev":"1-a","type":"contact","contact_type":"health_facility","name":"Facility","dhis":{"orgUnit":%q}}`, id, unit))
		}
	case r.Method == http.MethodPost:
		var body struct{ Keys []string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		for _, key := range body.Keys {
			doc, rev := "", "1-a"
			if strings.HasPrefix(key, "target~") {
				n, _ := strconv.Atoi(key[15:23])
				doc, rev = document(n), c.rev(n)
			} else if docs {
				n, _ := strconv.Atoi(key[:8])
				doc = fmt.Sprintf(`,"doc":{"_id":%q,"_rev":"1-a","type":"contact","contact_type":"chw","name":"Worker","parent":{"_id":"area-%06d-aaaa","parent":{"_id":"facility-%05d-aaaa-bbbb-cccccccccccc","parent":{"_id":"district-%02d"}}}}`, key, n, n%c.facilities, n%47)
			}
			row(key, key, rev, doc)
		}
	default:
		var from string
		_ = json.Unmarshal([]byte(query.Get("startkey")), &from)
		limit, _ := strconv.Atoi(query.Get("limit"))
		n := 0
		if len(from) > 23 {
			n, _ = strconv.Atoi(from[15:23])
		}
		for last := min(n+limit, c.owners); n < last; n++ {
			row(c.id(n), c.id(n), c.rev(n), document(n))
		}
	}
	fmt.Fprint(out, "\n]}")
}

type counting struct {
	io.Writer
	n *int64
}

func (c counting) Write(b []byte) (int, error) {
	*c.n += int64(len(b))
	return c.Writer.Write(b)
}

// streamed calls a server over the network, once.
type streamed struct{}

func (streamed) Do(r *http.Request, _ func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	return response, body, err
}

func (streamed) Stream(r *http.Request, _ func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	response, err := http.DefaultClient.Do(r)
	return response, nil, err
}

// BenchmarkMonthOfTargetDocuments reads 100,000 documents of 100 targets, of 10,000 facilities, from a server in the same process, and
// once more when one of a hundred has changed. It tells the time of each, how many percent of the bytes the second cost, and how much
// memory the process had at most.
func BenchmarkMonthOfTargetDocuments(b *testing.B) {
	for b.Loop() {
		c := &county100k{owners: 100_000, facilities: 10_000, targets: 100}
		server := httptest.NewServer(c)
		address, err := url.Parse(server.URL)
		if err != nil {
			b.Fatal(err)
		}
		l, err := ledger.Open(b.Context(), ledger.Config{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		settings := &cht.Settings{MonthStartDate: 1}
		for t := range c.targets {
			settings.Targets = append(settings.Targets, cht.Target{ID: fmt.Sprintf("target-with-a-name-%03d", t), DataElement: fmt.Sprintf("De%09d", t)})
		}
		s := &Submitter{SpoolDir: b.TempDir(), Ledger: l}
		who := parties{set: DataSet{ID: "DsMonthly01", FromTargets: true}, from: Source{Name: "county", Client: cht.New(address, streamed{}), HierarchyAge: time.Hour}}
		var first int64
		for _, pass := range []string{"first", "second"} {
			started := time.Now()
			c.bytes = 0
			p := s.newPlan("id", who, Request{DataSet: "DsMonthly01", Period: "202607", CHT: "county"})
			p.period, _ = dhis2.ParsePeriod("202607")
			rules := mapping.New(p.set.Rules, p.bySource(settings, ""), dhis2.DataSet{ID: "DsMonthly01"})
			g, err := s.fetch(b.Context(), p, rules, nil)
			if err != nil {
				b.Fatal(err)
			}
			g.spool.close()
			b.ReportMetric(time.Since(started).Seconds(), pass+"-s")
			b.ReportMetric(peak(b), pass+"-peak-MiB")
			if pass == "first" {
				first = c.bytes
				b.ReportMetric(float64(first)/1e6, "first-MB")
			} else {
				b.ReportMetric(100*float64(c.bytes)/float64(first), "second-%")
			}
			c.changed = c.owners / 100
		}
		server.Close()
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// peak is the most that the process had resident so far, in MiB.
func peak(b *testing.B) float64 {
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	_, _ = fmt.Sscan(after, &kib)
	return kib / 1024
}
