package dhis2

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

func TestTokenExpiriesAreThoseOfTheAccount(t *testing.T) {
	const asJSON = "application/json;charset=UTF-8"
	day := func(text string) time.Time {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, test := range []struct {
		name, contentType, body string
		status                  int
		want                    []time.Time
		kind                    Kind
	}{
		{
			name: "as 2.43.1 answers", status: 200, contentType: asJSON,
			body: `{"pager":{"page":1,"total":2,"pageSize":50,"pageCount":1},"apiToken":[{"expire":1797936418409,"id":"v3TjmCkG0w9"},{"expire":1797932288369,"id":"iIT0Wn7weiL"}]}`,
			want: []time.Time{day("2026-12-22T09:38:08.369Z"), day("2026-12-22T10:46:58.409Z")},
		},
		{
			name: "as 2.42.5.2 answers", status: 200, contentType: asJSON,
			body: `{"pager":{"page":1,"total":2,"pageSize":50,"pageCount":1},"apiToken":[{"expire":1797932321940,"id":"Dp9ixV7Td1U"},{"expire":1797936421573,"id":"ieKdknTD6ai"}]}`,
			want: []time.Time{day("2026-12-22T09:38:41.94Z"), day("2026-12-22T10:47:01.573Z")},
		},
		{name: "an account without tokens", status: 200, contentType: asJSON, body: `{"pager":{"page":1,"total":0,"pageSize":50,"pageCount":1},"apiToken":[]}`},
		{name: "a token without an end", status: 200, contentType: asJSON, body: `{"apiToken":[{"id":"v3TjmCkG0w9"}]}`},
		{name: "a server that knows no tokens", status: 404, contentType: asJSON, body: `{"httpStatus":"Not Found","httpStatusCode":404,"status":"ERROR"}`},
		{name: "an account that may not look", status: 403, contentType: asJSON, body: `{"httpStatus":"Forbidden","httpStatusCode":403,"status":"ERROR","message":"Access is denied"}`},
		{name: "a token that is no more", status: 401, contentType: asJSON, body: `{"httpStatus":"Unauthorized","httpStatusCode":401,"status":"ERROR","message":"The API token does not exists"}`, kind: Credentials},
		{name: "a login page", status: 200, contentType: "text/html", body: `<html>`, kind: Unusable},
		{name: "an end that is no number", status: 200, contentType: asJSON, body: `{"apiToken":[{"expire":"soon"}]}`, kind: Unusable},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := client(func(r *http.Request, _ []byte) (int, string, string, error) {
				if got := r.Method + " " + r.URL.RequestURI(); got != "GET /dhis/api/apiToken?fields=id,expire" {
					t.Errorf("it asks %s", got)
				}
				return test.status, test.contentType, test.body, nil
			})
			got, err := c.TokenExpiries(t.Context())
			var failure *Error
			errors.As(err, &failure)
			switch {
			case test.kind == "" && err != nil:
				t.Errorf("got error %v", err)
			case test.kind != "" && (failure == nil || failure.Kind != test.kind):
				t.Errorf("got error %v, want one of kind %s", err, test.kind)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEachVersionTellsWhenATokenExpires(t *testing.T) {
	made := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	for _, version := range []string{"2.40.12", "2.42.5.2", "2.43.1"} {
		server := sandbox.NewDHIS2(sandbox.DHIS2Config{
			Version: version, Now: func() time.Time { return made },
			Users: []sandbox.DHIS2User{{Username: "one", Token: "d2p_one"}, {Username: "two", Token: "d2p_two"}},
		})
		c := client(func(r *http.Request, _ []byte) (int, string, string, error) {
			r = r.Clone(r.Context())
			r.URL.Path = r.URL.Path[len("/dhis"):]
			r.Header.Set("Authorization", "ApiToken d2p_one")
			answer := httptest.NewRecorder()
			server.ServeHTTP(answer, r)
			return answer.Code, answer.Header().Get("Content-Type"), answer.Body.String(), nil
		})
		got, err := c.TokenExpiries(t.Context())
		if diff := cmp.Diff([]time.Time{made.AddDate(0, 0, 30)}, got); diff != "" || err != nil {
			t.Errorf("%s: error %v, (-want +got):\n%s", version, err, diff)
		}
	}
}
