package cht

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// call is an error of package transport, as far as this package looks at it.
type call struct{ permanent, unsent, timeout bool }

func (call) Error() string     { return "connection refused" }
func (call) Hint() string      { return "check the port" }
func (c call) Permanent() bool { return c.permanent }
func (c call) NotSent() bool   { return c.unsent }
func (c call) Timeout() bool   { return c.timeout }

func TestEachAnswerOfACHTIsToldWithWhatToDo(t *testing.T) {
	const page = "<html><body>Sign in</body></html>"
	tests := []struct {
		name              string
		status            int
		contentType, body string
		// want is part of what is said, remedy part of what to do.
		want, remedy string
		kind         Kind
		temporary    bool
	}{
		{"a login page", 200, "text/html; charset=utf-8", page, `"text/html; charset=utf-8" instead of JSON`, "login page", Unusable, false},
		{"a text", 200, "text/plain", "ok", `"text/plain" instead of JSON`, "proxy", Unusable, false},
		{"no content type", 200, "", "{}", `"" instead of JSON`, "proxy", Unusable, false},
		{"no data set in the question", 400, jsonType, `{"code":400,"error":"filter \"dataSet\" is required"}`, `400 (filter "dataSet" is required)`, "dhis_data_sets", Refused, false},
		{"no time in the question", 400, jsonType, `{"code":400,"error":"filter \"from\" is required"}`, `filter "from" is required`, "dhis_data_sets", Refused, false},
		{"an unknown data set", 400, jsonType, `{"code":400,"error":"dataSet \"X\" is not defined"}`, `dataSet "X" is not defined`, "dhis_data_sets", Refused, false},
		{"a data set without elements", 400, jsonType, `{"code":400,"error":"dataSet \"X\" has no dataElements"}`, "has no dataElements", "have targets with a data element", Refused, false},
		{"http sent to an https port", 400, "", "Client sent an HTTP request to an HTTPS server.\n", "answered 400", "https or http", Unusable, false},
		{"a proxy's 400", 400, "text/html", "<html>The plain HTTP request was sent to HTTPS port", "answered 400", "https or http", Unusable, false},
		{"a wrong password", 401, jsonType, `{"code":401,"error":"unauthorized"}`, "401 (unauthorized)", "user name and password", Credentials, false},
		{"a text of 401", 401, "text/plain", "not logged in", "401", "user name and password", Credentials, false},
		{"an offline user", 403, jsonType, `{"code":403,"error":"Insufficient privileges"}`, "403 (Insufficient privileges)", "mm-online", Credentials, false},
		{"a redirect to the login", 302, "text/plain; charset=utf-8", "Found. Redirecting to /medic/login", "302, a redirect", "login page", Unusable, false},
		{"a redirect for good", 301, "text/html", page, "301, a redirect", "https or http", Unusable, false},
		{"a redirect that keeps the method", 307, "", "", "307, a redirect", "proxy", Unusable, false},
		{"another type of export", 404, jsonType, `{"code":404,"error":"Invalid export type \"dhis2\""}`, `404 (Invalid export type "dhis2")`, "3.9", Unusable, false},
		{"a page of 404", 404, "text/html", page, "404", "check the address", Unusable, false},
		{"too many failed logins", 429, jsonType, `{"code":429,"error":"Too Many Requests"}`, "429 (Too Many Requests)", "wait ten seconds", Unavailable, true},
		{"no right to export, or a malformed document", 500, jsonType, `{"code":500,"error":"Server error"}`, "500 (Server error)", "can_export_all", Unavailable, false},
		{"a page of 500", 500, "text/html", page, "500", "malformed target document", Unavailable, false},
		{"nginx without a CHT", 502, jsonType, `{"type":"ERROR","error":"502 Bad Gateway","server":"nginx"}`, "502 (502 Bad Gateway)", "proxy", Unavailable, true},
		{"a CHT that starts", 503, "text/html", page, "503", "starting", Unavailable, true},
		{"a proxy that waited too long", 504, "text/html", page, "504", "proxy", Unavailable, true},
		{"a status of no meaning", 418, jsonType, `{}`, "418", "check the address", Unusable, false},
		{"no content", 204, "", "", "204", "check the address", Unusable, false},
		{"an error of another form", 500, jsonType, `{"error":{"message":"x"}}`, "answered 500", "can_export_all", Unavailable, false},
		{"a long reason", 503, jsonType, `{"error":"` + strings.Repeat("x", 5000) + `"}`, "503", "", Unavailable, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := clientOf(always(tt.status, tt.contentType, tt.body))
			_, err := client.Settings(t.Context())
			e := asError(t, err)
			if !strings.HasPrefix(err.Error(), "read the CHT's settings: ") || !strings.Contains(e.What, tt.want) {
				t.Errorf("got %q, want what was done and %q", err, tt.want)
			}
			if !strings.Contains(e.Hint(), tt.remedy) {
				t.Errorf("got the remedy %q, want it to say %q", e.Hint(), tt.remedy)
			}
			if e.Kind != tt.kind || e.Status != tt.status && tt.status != 200 || e.Temporary != tt.temporary {
				t.Errorf("got kind %q, status %d, temporary %t; want %q, %d, %t", e.Kind, e.Status, e.Temporary, tt.kind, tt.status, tt.temporary)
			}
			if len(err.Error()) > 400 {
				t.Errorf("got an error of %d characters, want a short one", len(err.Error()))
			}
			exported := asError(t, client.Export(t.Context(), "DsMchMonth1", july, func(*Value) error { return nil }))
			if exported.What != e.What || exported.Kind != e.Kind || exported.Temporary != e.Temporary {
				t.Errorf("got %+v from an export, want the same as from the settings, %+v", exported, e)
			}
		})
	}
}

func TestACallWithoutAnAnswerIsToldWithWhatToDo(t *testing.T) {
	tests := []struct {
		name      string
		in        error
		remedy    string
		temporary bool
	}{
		{"the network fails", call{}, "check the port", true},
		{"nothing was sent", call{unsent: true}, "check the port", true},
		{"it will always fail", call{permanent: true}, "check the port", false},
		{"the time for an answer ran out", call{timeout: true}, "check the port", false},
		{"the time for a connection ran out", call{timeout: true, unsent: true}, "check the port", true},
		{"an error that tells nothing of itself", errors.New("connection refused"), "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := clientOf(func(*http.Request) (*http.Response, error) { return nil, tt.in })
			_, err := client.Info(t.Context())
			e := asError(t, err)
			if want := "ask the CHT for its version: connection refused"; err.Error() != want || !errors.Is(err, tt.in) {
				t.Errorf("got %q, want %q around the error", err, want)
			}
			if e.Kind != Unavailable || e.Status != 0 || e.Temporary != tt.temporary {
				t.Errorf("got kind %q, status %d, temporary %t; want %q, 0, %t", e.Kind, e.Status, e.Temporary, Unavailable, tt.temporary)
			}
			if e.Remedy != tt.remedy {
				t.Errorf("got the remedy %q, want %q", e.Remedy, tt.remedy)
			}
		})
	}
}

func TestACallThatAPersonStoppedIsNoFaultOfTheCHT(t *testing.T) {
	client := clientOf(func(*http.Request) (*http.Response, error) { return nil, context.Canceled })
	_, fromInfo := client.Info(t.Context())
	for _, err := range []error{fromInfo, client.Export(t.Context(), "DsMchMonth1", july, func(*Value) error { return nil })} {
		var known *Error
		if !errors.Is(err, context.Canceled) || errors.As(err, &known) {
			t.Errorf("got %v, want context.Canceled and no fault of the CHT", err)
		}
	}
}

func TestJudgeTriesAgainOnlyWhatMayPass(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name   string
		status int
		err    error
		// want is the wait before each further try.
		want []time.Duration
	}{
		{"200", 200, nil, nil},
		{"302", 302, nil, nil},
		{"400", 400, nil, nil},
		{"401, as each one counts towards the block", 401, nil, nil},
		{"403", 403, nil, nil},
		{"404", 404, nil, nil},
		{"429, until the ten seconds are over", 429, nil, []time.Duration{10 * s, 10 * s, 10 * s}},
		{"500, which mostly stays", 500, nil, []time.Duration{2 * s, 4 * s}},
		{"501", 501, nil, nil},
		{"502", 502, nil, []time.Duration{2 * s, 4 * s, 8 * s}},
		{"503", 503, nil, []time.Duration{2 * s, 4 * s, 8 * s}},
		{"504, when the server may be at work still", 504, nil, []time.Duration{10 * s, 10 * s}},
		{"no network", 0, call{}, []time.Duration{1 * s, 4 * s}},
		{"no connection in time", 0, call{timeout: true, unsent: true}, []time.Duration{1 * s, 4 * s}},
		{"a body that broke off", 200, call{}, []time.Duration{1 * s, 4 * s}},
		{"no answer in time", 0, call{timeout: true}, nil},
		{"a certificate that is not trusted", 0, call{permanent: true, unsent: true}, nil},
		{"stopped", 0, context.Canceled, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var response *http.Response
			if tt.status != 0 {
				response = &http.Response{StatusCode: tt.status}
			}
			for try := 1; try <= 10; try++ {
				wait, again := judge(try, response, nil, tt.err)
				if more := try <= len(tt.want); again != more || more && wait != tt.want[try-1] {
					t.Errorf("after try %d got %t after %s, want the waits %v", try, again, wait, tt.want)
				}
				if !again {
					return
				}
			}
			t.Error("got a tenth try, want an end")
		})
	}
}

func TestInfoGivesTheVersion(t *testing.T) {
	got, err := clientOf(always(http.StatusOK, jsonType, recorded(t, "deploy-info-200"))).Info(t.Context())
	if want := (Info{Version: "5.2.0"}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestInfoRefusesWhatIsNoCHT(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"another server", `{"name":"grafana"}`, "no version"},
		{"a list", `[]`, "no JSON of the form expected"},
		{"cut", `{"version":"5.`, "no JSON of the form expected"},
		{"nothing", ``, "no JSON of the form expected"},
		{"two documents", `{"version":"5.2.0"}{}`, "no JSON of the form expected"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := clientOf(always(http.StatusOK, jsonType, tt.in)).Info(t.Context())
			if e := asError(t, err); e.Kind != Unusable || e.Temporary || !strings.Contains(e.What, tt.want) || e.Remedy == "" {
				t.Errorf("got %+v, want an unusable answer that says %q", e, tt.want)
			}
		})
	}
}
