package ledger

import (
	"fmt"
	"iter"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// BenchmarkMillionValues stores a submission of a million values, sends it in chunks of 5,000 and books each as accepted.
// It tells the growth of the store, of which the ledger is one part, how much memory the process took at most, and how
// long it takes to open the store afterwards.
func BenchmarkMillionValues(b *testing.B) {
	for _, shape := range []struct{ orgUnits, values int }{{1000, 1000}, {100_000, 10}} {
		b.Run(fmt.Sprintf("%dx%d", shape.orgUnits, shape.values), func(b *testing.B) {
			for b.Loop() {
				million(b, shape.orgUnits, shape.values)
			}
		})
	}
}

func million(b *testing.B, orgUnits, values int) {
	dir := b.TempDir()
	l, err := Open(b.Context(), Config{Dir: dir})
	must(b, err)
	before := diskUse(b, dir)
	s := begin(b, l, Request{Key: key()})
	p := Preparation{State: Ready, Counts: Counts{Fetched: orgUnits * values, Unsent: orgUnits * values}}
	p.Content = generated(orgUnits, func(i int) Part { return nthPart(i, values) })
	p.OrgUnits = generated(orgUnits, func(i int) OrgUnitOutcome {
		return OrgUnitOutcome{OrgUnit: fmt.Sprintf("Ou%09d", i), Unsent: values}
	})
	started := time.Now()
	must(b, l.Prepared(b.Context(), s.ID, p, nil))
	b.ReportMetric(time.Since(started).Seconds(), "prepared-s")
	b.ReportMetric(float64(diskUse(b, dir)-before)/1e6, "prepared-MB")
	must(b, l.Advance(b.Context(), s.ID, Sending, nil))
	started = time.Now()
	chunks := 0
	for at := (Range{0, orgUnits}); at.From < at.To; chunks++ {
		c, sent, _, err := l.Compose(b.Context(), s.ID, at, 5000)
		must(b, err)
		c, err = l.RecordChunk(b.Context(), s.ID, c)
		must(b, err)
		must(b, l.Acknowledge(b.Context(), s.ID, c.Number, acceptedAll(sent), nil))
		at.From = c.To
	}
	must(b, l.Finish(b.Context(), s.ID, End{State: Accepted}, nil))
	b.ReportMetric(time.Since(started).Seconds(), "sent-s")
	var held int64
	must(b, l.reader.QueryRow(`SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name IN ('ledger', 'sqlite_autoindex_ledger_1')`).Scan(&held))
	b.ReportMetric(float64(held)/float64(orgUnits*values), "ledger-B/value")
	must(b, l.Close())
	b.ReportMetric(float64(diskUse(b, dir)-before)/1e6, "store-MB")
	b.ReportMetric(peakMemory(b), "peak-MiB")
	started = time.Now()
	l, err = Open(b.Context(), Config{Dir: dir})
	must(b, err)
	b.ReportMetric(time.Since(started).Seconds()*1000, "open-ms")
	must(b, l.Close())
}

func generated[T any](n int, item func(int) T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for i := range n {
			if !yield(item(i), nil) {
				return
			}
		}
	}
}

func diskUse(b *testing.B, dir string) (bytes int64) {
	entries, err := os.ReadDir(dir)
	must(b, err)
	for _, entry := range entries {
		info, err := entry.Info()
		must(b, err)
		bytes += info.Size()
	}
	return bytes
}

// peakMemory is the most that the process had resident so far, in MiB; 0 where the system does not tell.
func peakMemory(b *testing.B) float64 {
	if runtime.GOOS != "linux" {
		return 0
	}
	status, err := os.ReadFile("/proc/self/status")
	must(b, err)
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	_, err = fmt.Sscan(after, &kib)
	must(b, err)
	return kib / 1024
}
