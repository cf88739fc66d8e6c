package exchange_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

func TestOfAPrivateCallNothingIsKeptThatNamesPeople(t *testing.T) {
	t.Parallel()
	const user = "org.couchdb.user:asha"
	r := exchange.NewRecorder(limit)
	request, err := http.NewRequestWithContext(exchange.Private(r.Record(t.Context())), http.MethodPost, address+"/docs?startkey="+user, strings.NewReader(`{"keys":["`+user+`"]}`))
	if err != nil {
		t.Fatal(err)
	}
	try := r.Begin(request)
	try.Answered(http.StatusOK, http.Header{"Content-Type": {"application/json"}, "Location": {"/login?redirect=" + user}, "X-Asked": {user}})
	_, _ = io.WriteString(try, user)
	want := exchange.Exchange{
		Method: http.MethodPost, Address: address + "/docs?personal-data-not-kept", SentHeader: map[string]string{},
		Sent:   exchange.Body{Text: "[not kept, as it is personal: 34 bytes]", Length: 34},
		Status: http.StatusOK, ReceivedHeader: map[string]string{"Content-Type": "application/json"},
		Received: exchange.Body{Text: "[not kept, as it is personal: 21 bytes were read, and not the rest]", Length: 21},
		Error:    "not finished yet",
	}
	if diff := cmp.Diff([]exchange.Exchange{want}, plain(r.Exchanges())); diff != "" {
		t.Errorf("under way (-want +got):\n%s", diff)
	}
	try.End(io.EOF)
	want.Received, want.Error = exchange.Body{Text: "[not kept, as it is personal: 21 bytes]", Length: 21}, ""
	got := plain(r.Exchanges())
	if diff := cmp.Diff([]exchange.Exchange{want}, got); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
	text, err := json.Marshal(got)
	if err != nil || strings.Contains(string(text), "asha") {
		t.Errorf("kept: %s, %v", text, err)
	}
	if left, err := io.ReadAll(request.Body); err != nil || !strings.Contains(string(left), user) {
		t.Errorf("%q is left to send, %v", left, err)
	}
}

func TestAPrivateCallWithoutContentIsPlain(t *testing.T) {
	t.Parallel()
	r := exchange.NewRecorder(limit)
	request := get(t, 1)
	try := r.Begin(request.WithContext(exchange.Private(request.Context())))
	try.Answered(http.StatusNoContent, nil)
	try.End(io.EOF)
	want := []exchange.Exchange{{Method: "GET", Address: address + "/1", SentHeader: map[string]string{}, Status: 204, ReceivedHeader: map[string]string{}}}
	if diff := cmp.Diff(want, plain(r.Exchanges())); diff != "" {
		t.Errorf("exchanges (-want +got):\n%s", diff)
	}
}
