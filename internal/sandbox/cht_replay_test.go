package sandbox

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// chtRecording is what a real CHT of the development head of August 2026 was asked and answered.
type chtRecording struct {
	Name    string
	Request struct {
		Method, Path string
		Headers      map[string]string
		Body         json.RawMessage
	}
	Response struct {
		Status  int
		Headers map[string]any
		Body    json.RawMessage
	}
}

// chtSetUps are the states that differ from the fixtures on a server in UTC, by recording.
var chtSetUps = map[string]func(*testing.T, *CHTConfig){
	"export-200-from-near-month-boundary-nairobi-server": inNairobi,
	"export-400-data-set-without-elements":               withoutUnassignedTargets,
	"export-500-too-many-target-documents":               withTooManyTargets,
}

// chtMaskedBodies are the fields of a body that the server makes up itself, by recording. They are not compared, and
// neither is an ETag made from them.
var chtMaskedBodies = map[string][]string{
	// The time at which the server was built.
	"deploy-info-200": {"timestamp"},
	// The revisions of the accounts, which depend on the hashes of their passwords.
	"users-200": {"rev"},
}

// chtMaskedETags are recordings whose bodies are compared but for the order of keys, which the ETag depends on.
var chtMaskedETags = []string{"settings-200", "deploy-info-200", "users-200"}

// chtNotMatched are recordings that the stand-in does not answer alike, each with the reason. There is none.
var chtNotMatched = map[string]string{}

// Masked in all recordings: the minute in the file name of Content-Disposition, the session's id in a cookie, and what
// concerns the connection (Content-Length or chunks).
func TestCHTAnswersRecordedRequestsAsRecorded(t *testing.T) {
	t.Parallel()
	recordings := chtRecordings(t)
	if len(recordings) < 70 {
		t.Fatalf("%d recordings, want at least 70", len(recordings))
	}
	for _, recording := range recordings {
		t.Run(recording.Name, func(t *testing.T) {
			t.Parallel()
			if reason, there := chtNotMatched[recording.Name]; there {
				t.Skip(reason)
			}
			replay(t, recording)
		})
	}
}

// replay asks a new stand-in what was recorded and compares the answers.
func replay(t *testing.T, recording chtRecording) {
	config := fixtureConfig(t)
	if setUp := chtSetUps[recording.Name]; setUp != nil {
		setUp(t, &config)
	}
	c := NewCHT(config)
	if recording.Response.Status == http.StatusTooManyRequests {
		for range 10 {
			answerTo(c, http.MethodGet, "/api/v1/settings", wrongPassword)
		}
	}
	answer := httptest.NewRecorder()
	c.ServeHTTP(answer, recordedRequest(t, c, recording))
	compareAnswers(t, recording, answer.Result())
}

// recordedRequest makes the request of a recording. The id of a session comes from a login of its own.
func recordedRequest(t *testing.T, c *CHT, recording chtRecording) *http.Request {
	body := recording.Request.Body
	if string(body) == "null" {
		body = nil
	}
	var text string
	if json.Unmarshal(body, &text) == nil {
		body = json.RawMessage(text)
	}
	r := httptest.NewRequest(recording.Request.Method, recording.Request.Path, bytes.NewReader(body))
	for name, value := range recording.Request.Headers {
		r.Header.Set(name, value)
	}
	if r.Header.Get("Cookie") != "" {
		r.Header.Set("Cookie", sessionCookie(t, c))
	}
	return r
}

// compareAnswers compares what an answer says with what was recorded.
func compareAnswers(t *testing.T, recording chtRecording, got *http.Response) {
	t.Helper()
	want := recording.Response
	if got.StatusCode != want.Status {
		t.Errorf("status %d, want %d", got.StatusCode, want.Status)
	}
	for _, name := range []string{
		"Content-Type", "Location", "ETag", "Content-Encoding", "Content-Disposition", "Set-Cookie",
		"Logout-Authorization", "WWW-Authenticate", "Strict-Transport-Security", "X-Content-Type-Options",
	} {
		if name == "ETag" && slices.Contains(chtMaskedETags, recording.Name) {
			continue
		}
		wanted := maskHeader(name, recordedHeader(want.Headers[strings.ToLower(name)]))
		if have := maskHeader(name, got.Header.Get(name)); have != wanted {
			t.Errorf("%s: %q, want %q", name, have, wanted)
		}
	}
	if diff := cmp.Diff(maskBody(recording.Name, want.Body), maskBody(recording.Name, readBody(t, got))); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

// recordedHeader gives a recorded header as text. The recordings hold cookies as a list.
func recordedHeader(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case []any:
		return fmt.Sprint(v...)
	}
	return fmt.Sprint(value)
}

// maskHeader takes the minute of the day and the session's id out of a header.
func maskHeader(name, value string) string {
	if name == "Content-Disposition" && value != "" {
		return value[:len("attachment; filename=dhis-20261122")]
	}
	if before, after, ok := strings.Cut(value, ";"); ok && strings.HasPrefix(before, "AuthSession=") {
		return "AuthSession=;" + after
	}
	return value
}

// maskBody decodes a body and takes the masked fields out of it. A recorded text is a JSON string, an answered one is not.
func maskBody(name string, body []byte) any {
	var value any
	if json.Unmarshal(body, &value) != nil {
		return string(body)
	}
	for _, field := range chtMaskedBodies[name] {
		unmarked(value, field)
	}
	return value
}

// unmarked takes a field out of a value, wherever it stands.
func unmarked(value any, field string) {
	switch value := value.(type) {
	case map[string]any:
		delete(value, field)
		for _, one := range value {
			unmarked(one, field)
		}
	case []any:
		for _, one := range value {
			unmarked(one, field)
		}
	}
}

// readBody gives the body of an answer, decompressed.
func readBody(t *testing.T, answer *http.Response) []byte {
	t.Helper()
	reader := io.Reader(answer.Body)
	if answer.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		reader = unzipped
	}
	body, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// inNairobi moves the server three hours ahead.
func inNairobi(_ *testing.T, config *CHTConfig) {
	config.TimeZone = time.FixedZone("Africa/Nairobi", 3*60*60)
}

// withoutUnassignedTargets takes the targets away that belong to every data set.
func withoutUnassignedTargets(_ *testing.T, config *CHTConfig) {
	targets := &config.Documents.Settings.Tasks.Targets
	targets.Items = slices.DeleteFunc(targets.Items, func(target CHTTarget) bool {
		return len(target.DHIS) > 0 && !bytes.Contains(target.DHIS, []byte(`"dataSet"`))
	})
}

// withTooManyTargets fills July with 100,000 target documents of 100 targets each. They share their targets.
func withTooManyTargets(_ *testing.T, config *CHTConfig) { withManyTargets(config) }

func withManyTargets(config *CHTConfig) {
	d := &config.Documents
	d.Settings.DHISDataSets = append(d.Settings.DHISDataSets, CHTDataSet{ID: "DsScaleTst1"})
	counts := make([]CHTTargetCount, 100)
	for i := range counts {
		id := fmt.Sprintf("scale-target-%03d", i)
		counts[i] = CHTTargetCount{ID: id, Value: &CHTTargetValue{Pass: 12, Total: 34}}
		d.Settings.Tasks.Targets.Items = append(d.Settings.Tasks.Targets.Items, CHTTarget{
			ID: id, Type: "count", DHIS: fmt.Appendf(nil, `{"dataSet":"DsScaleTst1","dataElement":"DeScale%04d"}`, i),
		})
	}
	for i := range 100_000 {
		d.Targets = append(d.Targets, CHTTargetDocument{
			ID:   fmt.Sprintf("target~2026-07~chw-%06d~org.couchdb.user:chw-%06d", i, i),
			Type: "target", Owner: fmt.Sprintf("chw-%06d", i), ReportingPeriod: "2026-07", Targets: counts,
		})
	}
}

// chtRecordings reads the recordings.
func chtRecordings(t *testing.T) []chtRecording {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "cht", "recordings.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	reader, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var recordings []chtRecording
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var recording chtRecording
		if err := json.Unmarshal(lines.Bytes(), &recording); err != nil {
			t.Fatal(err)
		}
		recordings = append(recordings, recording)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return recordings
}
