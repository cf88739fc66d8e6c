package dhis2

import (
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

// textOf is the JSON of a chunk.
func textOf(t *testing.T, of Chunk) []byte {
	t.Helper()
	text, err := of.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestAPackedChunkKeepsTheBeginningOfItsText(t *testing.T) {
	large := chunk()
	for number := range 1000 {
		large.Values = append(large.Values, DataValue{DataElement: "DeTest00001", OrgUnit: "OuTest00001", Value: strconv.Itoa(number)})
	}
	for name, of := range map[string]Chunk{"small": chunk(), "large": large} {
		text := textOf(t, of)
		got := packed(t, client(nil), of)
		if diff := cmp.Diff(exchange.NewBody(text, 8<<10), got.Text); diff != "" || got.Digest != got.Text.SHA256 || got.Digest == "" {
			t.Errorf("%s: digest %s, text (-want +got):\n%s", name, got.Digest, diff)
		}
		if want := len(text) > 8<<10; got.Text.Cut != want {
			t.Errorf("%s: cut %t, want %t", name, got.Text.Cut, want)
		}
	}
}

func TestEachTryOfAnImportIsSaidToSendTheText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorder := exchange.NewRecorder(100)
		ctx := recorder.Record(t.Context())
		tries := 0
		c := client(func(r *http.Request, _ []byte) (int, string, string, error) {
			tries++
			exchange.From(r.Context()).Begin(r).End(nil)
			if tries == 1 {
				return http.StatusServiceUnavailable, "text/html", "down", nil
			}
			return http.StatusOK, "application/json", stored, nil
		})
		send := packed(t, c, chunk())
		if _, err := c.Import(ctx, SetBased, send, Options{}); err != nil {
			t.Fatal(err)
		}
		got := recorder.Take()
		if len(got) != 2 || got[0].Sent != send.Text || got[1].Sent != send.Text {
			t.Errorf("got %+v, want two tries that send the text", got)
		}

		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://dhis2.test/", bodyReader([]byte("other")))
		if err != nil {
			t.Fatal(err)
		}
		recorder.Begin(request).End(nil)
		if sent := recorder.Take()[0].Sent; sent != exchange.NewBody([]byte("other"), 100) {
			t.Errorf("after the import %+v is said to be sent, want what is", sent)
		}
	})
}
