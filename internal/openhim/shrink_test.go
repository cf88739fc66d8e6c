package openhim_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cht-dhis2/mediator/internal/openhim"
)

func TestAReportShrinksByStepsAndKeepsItsState(t *testing.T) {
	t.Parallel()
	report := scheduled()
	for range 30 {
		report.Orchestrations = append(report.Orchestrations, step("send", false))
		report.Orchestrations[len(report.Orchestrations)-1].Response.Body = strings.Repeat("x", 5000)
	}
	report = report.Report(openhim.Limits{})
	size := func(t openhim.Transaction) int {
		text, _ := json.Marshal(t)
		return len(text)
	}
	last, steps := size(report), 0
	for n := 1; ; n++ {
		smaller, ok := report.Shrink(n)
		if !ok {
			break
		}
		steps++
		if got := size(smaller); got >= last {
			t.Errorf("step %d has %d bytes, the one before %d", n, got, last)
		}
		last = size(smaller)
		if smaller.ID != report.ID || smaller.Status != report.Status || smaller.Response.Status != report.Response.Status {
			t.Errorf("step %d: %+v", n, smaller)
		}
		if n == 3 && (len(smaller.Orchestrations) != 0 || smaller.Request.Body != report.Request.Body || smaller.Properties["period"] != "202610") {
			t.Errorf("step 3: %+v", smaller)
		}
	}
	if steps != 4 || last > 1000 {
		t.Errorf("%d steps, the last one has %d bytes", steps, last)
	}
	if _, ok := report.Shrink(0); ok || len(report.Orchestrations) != 31 {
		t.Error("the report itself changed")
	}
}

func TestNumbersHaveSeparators(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 16_000: "16,000", 1_234_567: "1,234,567", -1234: "-1,234"} {
		if got := openhim.Number(n); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
