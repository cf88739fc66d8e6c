package dhis2

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// recording is one import that a real server answered. The files in testdata have every JSON import that was recorded
// on the version in their name, in its order, without the echo of the options.
type recording struct {
	Name        string
	Period      string
	Values      []DataValue
	Status      int
	ContentType string
	Body        json.RawMessage
}

func recordings(t *testing.T, version string) []recording {
	t.Helper()
	content, err := os.ReadFile("testdata/imports-" + version + ".jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var list []recording
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r recording
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

func (r recording) judge(t *testing.T, dialect Dialect) Outcome {
	t.Helper()
	period, err := ParsePeriod(r.Period)
	if err != nil {
		period = Period{kind: Monthly, year: 2026, month: 9}
	}
	return Try{
		Number: 1, Dialect: dialect, Period: period, Values: r.Values, Body: r.Body,
		Response: &http.Response{StatusCode: r.Status, Header: http.Header{"Content-Type": {r.ContentType}}},
	}.Judge()
}

// TestJudgeRecordedImports judges what real servers answered and compares with a list that was reviewed by hand.
func TestJudgeRecordedImports(t *testing.T) {
	for version, dialect := range map[string]Dialect{"2.40.12": Legacy, "2.42.5.2": Legacy, "2.43.1": SetBased} {
		t.Run(version, func(t *testing.T) {
			var lines strings.Builder
			for _, r := range recordings(t, version) {
				o := r.judge(t, dialect)
				if got := o.Accepted + len(o.Refused); o.State != Unknown && o.State != Unsent && o.Next != Narrow && got != len(r.Values) {
					t.Errorf("%s: %d values were sent, and %d have an outcome", r.Name, len(r.Values), got)
				}
				fmt.Fprintln(&lines, o.line(r))
			}
			file := "testdata/outcomes-" + version + ".golden"
			if *update {
				if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), lines.String()); diff != "" {
				t.Errorf("outcomes differ (-want +got):\n%s", diff)
			}
		})
	}
}

func (o Outcome) line(r recording) string {
	line := fmt.Sprintf("%-48s %d values, HTTP %d: %s, %s", r.Name, len(r.Values), r.Status, o.State, o.Next)
	if o.Accepted > 0 {
		line += fmt.Sprintf(", accepted %d", o.Accepted)
	}
	if o.NotKept > 0 {
		line += fmt.Sprintf(", not kept %d", o.NotKept)
	}
	codes := map[string][]int{}
	for _, refused := range o.Refused {
		codes[refused.Code] = append(codes[refused.Code], refused.Index)
	}
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		line += fmt.Sprintf(", %s %v", code, codes[code])
	}
	if o.Failure != nil {
		line += ", " + o.Failure.What
	}
	return line
}
