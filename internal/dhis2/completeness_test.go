package dhis2

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestJudgeRecordedRegistrations judges what real servers answered and compares with a list that was reviewed by hand.
func TestJudgeRecordedRegistrations(t *testing.T) {
	text, err := os.ReadFile("testdata/registrations.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for scan := bufio.NewScanner(bytes.NewReader(text)); scan.Scan(); {
		var r struct {
			Name          string
			Registrations []Registration
			Status        int
			ContentType   string
			Body          json.RawMessage
		}
		if err := json.Unmarshal(scan.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		o := RegistrationBatch{Period: september, Registrations: r.Registrations}.judge(&http.Response{StatusCode: r.Status, Header: http.Header{"Content-Type": {r.ContentType}}}, r.Body, nil)
		if o.Split {
			fmt.Fprintf(&lines, "%s: %d go in halves\n", r.Name, len(r.Registrations))
			continue
		}
		fmt.Fprintf(&lines, "%s: %d of %d taken", r.Name, len(r.Registrations)-len(o.Refused), len(r.Registrations))
		for _, i := range slices.Sorted(maps.Keys(o.Refused)) {
			fmt.Fprintf(&lines, "; %s: %s", r.Registrations[i].OrgUnit, o.Refused[i])
		}
		fmt.Fprintln(&lines)
	}
	const file = "testdata/registrations.golden"
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
}

// three is a batch of the org units a, b and c.
func three() RegistrationBatch {
	b := RegistrationBatch{DataSet: "DsTest00001", Period: september, Date: "2026-10-03"}
	for _, id := range []string{"OuTest0000a", "OuTest0000b", "OuTest0000c"} {
		b.Registrations = append(b.Registrations, Registration{OrgUnit: id, Completed: true})
	}
	return b
}

func TestRegisterTellsWhatBecameOfEach(t *testing.T) {
	summary := func(status string, ignored int, description, conflicts string) string {
		return fmt.Sprintf(`{"httpStatus":"OK","status":"OK","response":{"status":%q,"description":%q,"importCount":{"imported":1,"updated":1,"ignored":%d,"deleted":0},"conflicts":[%s],"rejectedIndexes":[]}}`, status, description, ignored, conflicts)
	}
	const b = `{"object":"OuTest0000b","value":"Organisation unit not found or not accessible"}`
	all := func(reason string) map[int]string { return map[int]string{0: reason, 1: reason, 2: reason} }
	for _, test := range []struct {
		name   string
		status int
		answer string
		want   RegistrationOutcome
	}{
		{"all taken", 200, summary("SUCCESS", 0, "", ""), RegistrationOutcome{}},
		{"a conflict names its org unit", 200, summary("SUCCESS", 1, "", b), RegistrationOutcome{Refused: map[int]string{1: "Organisation unit not found or not accessible"}}},
		{"a conflict has it in its text", 200, summary("SUCCESS", 1, "", `{"object":"x","value":"OuTest0000c is closed"}`), RegistrationOutcome{Refused: map[int]string{2: "OuTest0000c is closed"}}},
		{"a conflict names none", 200, summary("SUCCESS", 1, "", `{"object":"dataElementOperand","value":"Births needs to be filled. It is compulsory."}`), RegistrationOutcome{Split: true}},
		{"more were ignored than are named", 200, summary("SUCCESS", 2, "", b), RegistrationOutcome{Split: true}},
		{"nothing is ignored in spite of a conflict", 200, summary("SUCCESS", 0, "", b), RegistrationOutcome{Split: true}},
		{"all for one reason", 409, summary("ERROR", 3, "", `{"object":"dataSet","value":"no write access"}`), RegistrationOutcome{Refused: all("no write access")}},
		{"all without a reason", 409, summary("ERROR", 3, "", ""), RegistrationOutcome{Split: true}},
		{"the import failed", 409, summary("ERROR", 0, "The import process failed: bad period", ""), RegistrationOutcome{Split: true, Broken: true}},
		{"no summary", 409, `{"httpStatus":"Conflict","status":"ERROR","message":"a constraint"}`, RegistrationOutcome{Split: true}},
		{"too large", 413, `{}`, RegistrationOutcome{Split: true}},
		{"no authority", 403, `{"message":"Access is denied"}`, RegistrationOutcome{Refused: all("the server answered 403 (Access is denied)")}},
		{"no such path", 404, `{}`, RegistrationOutcome{Refused: all("the server answered 404")}},
		{"no login", 401, `{"message":"Unauthorized"}`, RegistrationOutcome{Failure: &Error{Kind: Credentials, Status: 401, What: "the server answered 401 (Unauthorized)"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := client(func(*http.Request, []byte) (int, string, string, error) {
				return test.status, "application/json", test.answer, nil
			})
			got, err := c.Register(t.Context(), three())
			if err != nil {
				t.Fatal(err)
			}
			got.Wait = 0
			if got.Failure != nil {
				got.Failure.Remedy = ""
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreUnexported(Error{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestRegisterSendsAsTheContractSays(t *testing.T) {
	var query, body string
	c := client(func(r *http.Request, sent []byte) (int, string, string, error) {
		query, body = r.URL.RawQuery, string(sent)
		return 200, "application/json", `{"status":"OK","response":{"status":"SUCCESS","importCount":{"updated":2}}}`, nil
	})
	batch := three()
	batch.Quiet, batch.Registrations = true, []Registration{{OrgUnit: "OuTest0000a", AttributeOptionCombo: "AocTest0001"}, {OrgUnit: "OuTest0000b", Completed: true}}
	if _, err := c.Register(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	const want = `{"completeDataSetRegistrations":[` +
		`{"dataSet":"DsTest00001","period":"202609","organisationUnit":"OuTest0000a","attributeOptionCombo":"AocTest0001","date":"2026-10-03","completed":false},` +
		`{"dataSet":"DsTest00001","period":"202609","organisationUnit":"OuTest0000b","date":"2026-10-03","completed":true}]}`
	if query != "skipNotifications=true" || body != want {
		t.Errorf("?%s %s, want %s", query, body, want)
	}
}

func TestRegistrationsReadsWhatServersGive(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		answer string
		want   string
	}{
		{"a list", 200, `{"completeDataSetRegistrations":[{"period":"202609","dataSet":"DsTest00001","organisationUnit":"OuTest0000a","attributeOptionCombo":"HllvX50cXC0","date":"2026-11-22","storedBy":"cht","completed":false},` +
			`{"organisationUnit":"OuTest0000b","storedBy":"cht","lastUpdatedBy":"nurse"}]}`, "[{{OuTest0000a HllvX50cXC0 false} cht} {{OuTest0000b  true} nurse}]"},
		{"nothing", 200, `{}`, "[]"},
		{"null", 200, `{"completeDataSetRegistrations":null}`, "[]"},
		{"an import summary", 200, `{"httpStatus":"OK","response":{"status":"SUCCESS","conflicts":[]}}`, "[]"},
		{"cut", 200, `{"completeDataSetRegistrations":[{"organisationUnit":"OuTest0000b"},`, "broke off"},
		{"empty", 200, ``, "broke off"},
		{"of another form", 200, `{"completeDataSetRegistrations":{}}`, "another form"},
		{"with numbers", 200, `{"completeDataSetRegistrations":[{"organisationUnit":7}]}`, "another form"},
		{"not readable", 409, `{"message":"User is not allowed to view org unit"}`, "may not read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := client(func(*http.Request, []byte) (int, string, string, error) {
				return test.status, "application/json", test.answer, nil
			})
			list := []StoredRegistration{}
			err := c.Registrations(t.Context(), Slice{DataSet: "DsTest00001", Period: september, OrgUnits: []string{"OuRoot00001"}}, func(r StoredRegistration) { list = append(list, r) })
			got := fmt.Sprint(list)
			if err != nil {
				got = err.Error()
			}
			if errors.Is(err, ErrUnreadable) {
				got = "may not read"
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func FuzzRegistrations(f *testing.F) {
	for _, seed := range []string{`{}`, `{"completeDataSetRegistrations":[{"organisationUnit":"OuTest0000a","completed":true}]}`, `{"completeDataSetRegistrations":[`, `[]`, `null`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		c := client(func(*http.Request, []byte) (int, string, string, error) { return 200, "application/json", answer, nil })
		list := 0
		err := c.Registrations(t.Context(), Slice{DataSet: "DsTest00001", Period: september}, func(StoredRegistration) { list++ })
		if err == nil && !strings.HasPrefix(strings.TrimSpace(answer), "{") {
			t.Errorf("%d registrations of what is no object: %q", list, answer)
		}
	})
}
