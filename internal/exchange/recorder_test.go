package exchange_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

const (
	address = "http://example.org/api"
	limit   = 100
)

func requestOf(t testing.TB, method, address string, body io.Reader) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, body)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

func get(t testing.TB, number int) *http.Request {
	t.Helper()
	return requestOf(t, http.MethodGet, fmt.Sprintf("%s/%d", address, number), nil)
}

// plain is what was collected without times, which differ at each run.
func plain(exchanges []exchange.Exchange) []exchange.Exchange {
	for i := range exchanges {
		exchanges[i].Began, exchanges[i].Took = time.Time{}, 0
	}
	return exchanges
}

func TestATryTellsItsRequestAndItsAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := exchange.NewRecorder(limit)
		request := requestOf(t, http.MethodPost, "http://u:p@example.org/api?token=abc", strings.NewReader(`{"password":"p","n":1}`))
		request.Header.Set("Authorization", "ApiToken d2pat_abc")
		began := time.Now()
		try := r.Begin(request)
		time.Sleep(time.Second)
		try.Answered(http.StatusConflict, http.Header{"Set-Cookie": {"JSESSIONID=1"}, "Content-Type": {"text/plain"}})
		for _, part := range []string{"no", "t \xff", "now"} {
			_, _ = io.WriteString(try, part)
		}
		time.Sleep(time.Second)
		try.End(io.EOF)
		time.Sleep(time.Hour)
		try.End(errors.New("too late"))
		_, _ = io.WriteString(try, "too late")
		want := []exchange.Exchange{{
			Began: began.UTC().Round(0), Took: 2 * time.Second,
			Method: http.MethodPost, Address: "http://example.org/api?token=<redacted>",
			SentHeader: map[string]string{"Authorization": exchange.Redacted},
			Sent: exchange.Body{
				Text:   `{"password":"<redacted>","n":1}`,
				Length: 22, SHA256: exchange.NewBody([]byte(`{"password":"p","n":1}`), limit).SHA256,
			},
			Status:         http.StatusConflict,
			ReceivedHeader: map[string]string{"Set-Cookie": exchange.Redacted, "Content-Type": "text/plain"},
			Received:       exchange.NewBody([]byte("not \xffnow"), limit),
		}}
		got := r.Exchanges()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("exchanges (-want +got):\n%s", diff)
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var again []exchange.Exchange
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Errorf("stored and read again (-want +got):\n%s", diff)
		}
	})
}

func TestATryTellsWhyItEnded(t *testing.T) {
	t.Parallel()
	digest := exchange.NewBody([]byte("part"), limit).SHA256
	for _, test := range []struct {
		name string
		end  error
		body exchange.Body
		want string
	}{
		{"whole", io.EOF, exchange.Body{Text: "part", Length: 4, SHA256: digest}, ""},
		{"closed by its reader", nil, exchange.Body{Text: "part", Length: 4, Cut: true}, ""},
		{"broken off", errors.New("gone, password=abc"), exchange.Body{Text: "part", Length: 4, Cut: true}, "gone, password=" + exchange.Redacted},
		{"broken off by an end of file", fmt.Errorf("gone: %w", io.EOF), exchange.Body{Text: "part", Length: 4, Cut: true}, "gone: EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := exchange.NewRecorder(limit)
			try := r.Begin(get(t, 1))
			try.Answered(http.StatusOK, nil)
			_, _ = io.WriteString(try, "part")
			try.End(test.end)
			got := r.Exchanges()[0]
			if diff := cmp.Diff(test.body, got.Received); diff != "" || got.Error != test.want {
				t.Errorf("error %q, want %q; body (-want +got):\n%s", got.Error, test.want, diff)
			}
		})
	}
}

func TestABodyThatWasNotReadToItsEndSaysSoToAPerson(t *testing.T) {
	t.Parallel()
	text := exchange.Body{Text: "part", Length: 4, Cut: true}.String()
	if want := "part\n[cut: 4 bytes were read, and not the rest]"; text != want {
		t.Errorf("text %q, want %q", text, want)
	}
	if got, want := exchange.Shorten(text, 2), "pa\n[cut: 4 bytes were read, and not the rest]"; got != want {
		t.Errorf("shortened %q, want %q", got, want)
	}
}

func TestATryUnderWayIsGivenAsItStands(t *testing.T) {
	t.Parallel()
	r := exchange.NewRecorder(limit)
	one, two := r.Begin(get(t, 1)), r.Begin(get(t, 2))
	two.Answered(http.StatusOK, nil)
	_, _ = io.WriteString(two, "begin")
	one.End(errors.New("connection refused"))
	want := []exchange.Exchange{
		{Method: "GET", Address: address + "/1", SentHeader: map[string]string{}, Error: "connection refused"},
		{
			Method: "GET", Address: address + "/2", SentHeader: map[string]string{}, Status: 200, ReceivedHeader: map[string]string{},
			Received: exchange.Body{Text: "begin", Length: 5, Cut: true}, Error: "not finished yet",
		},
	}
	if diff := cmp.Diff(want, plain(r.Exchanges())); diff != "" {
		t.Errorf("exchanges (-want +got):\n%s", diff)
	}
	_, _ = io.WriteString(two, " and end")
	two.End(io.EOF)
	want[1].Received, want[1].Error = exchange.NewBody([]byte("begin and end"), limit), ""
	if diff := cmp.Diff(want, plain(r.Exchanges())); diff != "" {
		t.Errorf("exchanges (-want +got):\n%s", diff)
	}
}

func TestWhatIsTakenIsForgotten(t *testing.T) {
	t.Parallel()
	r := exchange.NewRecorder(limit)
	under := r.Begin(get(t, 1))
	if got := r.Take(); len(got) != 1 || got[0].Error == "" {
		t.Errorf("took %+v, want the try that is under way", got)
	}
	under.End(nil)
	if got := r.Exchanges(); len(got) != 0 {
		t.Errorf("got %+v, want nothing of what was taken", got)
	}
	for range 200 {
		r.Begin(get(t, 2)).End(nil)
	}
	r.Reset()
	if got := r.Take(); len(got) != 0 {
		t.Errorf("got %+v after a reset", got)
	}
	r.Begin(get(t, 3)).End(nil)
	if got := r.Take(); len(got) != 1 || got[0].Address != address+"/3" {
		t.Errorf("got %+v, want the one that began after the reset", got)
	}
}

func TestOfManyTriesTheFirstAndTheLastAreKept(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ tries, kept, leftOut int }{{100, 100, 0}, {101, 101, 1}, {10_000, 101, 9_900}} {
		r := exchange.NewRecorder(limit)
		for number := range test.tries {
			r.Begin(get(t, number)).End(errors.New("connection refused"))
		}
		got := r.Exchanges()
		if len(got) != test.kept {
			t.Fatalf("%d tries: got %d exchanges, want %d", test.tries, len(got), test.kept)
		}
		if last, want := got[len(got)-1].Address, fmt.Sprintf("%s/%d", address, test.tries-1); got[49].Address != address+"/49" || last != want {
			t.Errorf("%d tries: the fiftieth is %s, the last %s, want %s", test.tries, got[49].Address, last, want)
		}
		if test.leftOut == 0 {
			continue
		}
		want := exchange.Exchange{
			Began: got[50].Began, Method: "GET", Address: address + "/50",
			Error: fmt.Sprintf("%d tries are left out here", test.leftOut), LeftOut: test.leftOut,
		}
		if diff := cmp.Diff(want, got[50]); diff != "" || got[50].Began.IsZero() {
			t.Errorf("%d tries: what stands for the others (-want +got):\n%s", test.tries, diff)
		}
		if got, want := got[51].Address, fmt.Sprintf("%s/%d", address, test.tries-50); got != want {
			t.Errorf("%d tries: after the gap %s, want %s", test.tries, got, want)
		}
	}
}

func TestWhatIsSaidToBeSentStandsForTheBody(t *testing.T) {
	t.Parallel()
	said := exchange.NewBody([]byte("what the packed bytes say"), limit)
	whole := func(text string) exchange.Body { return exchange.NewBody([]byte(text), limit) }
	for _, test := range []struct {
		name     string
		said     exchange.Body
		encoding string
		body     io.Reader
		want     exchange.Body
	}{
		{"said", said, "gzip", strings.NewReader("packed"), said},
		{"said, without a body", said, "", nil, exchange.Body{}},
		{"said, with no bytes", said, "", http.NoBody, exchange.Body{}},
		{"plain", exchange.Body{}, "", strings.NewReader("plain"), whole("plain")},
		{"packed", exchange.Body{}, "gzip", strings.NewReader("packed"), exchange.NewBody([]byte("packed"), 0)},
		{"readable once only", exchange.Body{}, "", io.MultiReader(strings.NewReader("on"), strings.NewReader("ce")), whole("once")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := exchange.NewRecorder(limit)
			r.Sends(test.said)
			request := requestOf(t, http.MethodPost, address, test.body)
			request.Header.Set("Content-Encoding", test.encoding)
			r.Begin(request)
			if diff := cmp.Diff(test.want, r.Exchanges()[0].Sent); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
			if test.body == nil {
				return
			}
			left, err := io.ReadAll(request.Body)
			if err != nil || test.said == (exchange.Body{}) && len(left) != test.want.Length {
				t.Errorf("%q is left to send, %v; want the whole", left, err)
			}
			if err := request.Body.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestARequestBodyThatCannotBeReadIsLeftToSaySo(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	r := exchange.NewRecorder(limit)
	request := requestOf(t, http.MethodPost, address, io.MultiReader(strings.NewReader("half"), failing{broken}))
	r.Begin(request)
	if diff := cmp.Diff(exchange.Body{Text: "half", Length: 4, Cut: true}, r.Exchanges()[0].Sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	if left, err := io.ReadAll(request.Body); string(left) != "half" || !errors.Is(err, broken) {
		t.Errorf("%q is left to send, error %v", left, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestTheRecorderOfAContextIsFound(t *testing.T) {
	t.Parallel()
	r, other := exchange.NewRecorder(limit), exchange.NewRecorder(limit)
	ctx := r.Record(t.Context())
	if exchange.From(context.WithoutCancel(ctx)) != r || exchange.From(other.Record(ctx)) != other {
		t.Error("the recorder of the context is another one")
	}
	none := exchange.From(t.Context())
	if none != nil {
		t.Fatal("a context without a recorder has one")
	}
	none.Sends(exchange.Body{Text: "a"})
	try := none.Begin(get(t, 1))
	try.Answered(http.StatusOK, nil)
	_, _ = io.WriteString(try, "a")
	try.End(nil)
	none.Reset()
	if got := len(none.Exchanges()) + len(none.Take()); got != 0 {
		t.Errorf("nothing has collected %d exchanges", got)
	}
}

func TestManyMayUseOneRecorder(t *testing.T) {
	t.Parallel()
	r := exchange.NewRecorder(limit)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				r.Sends(exchange.Body{Text: "a", Length: 1})
				try := r.Begin(requestOf(t, http.MethodPost, address, strings.NewReader("a")))
				try.Answered(http.StatusOK, http.Header{"A": {"b"}})
				_, _ = io.WriteString(try, "body")
				_ = r.Exchanges()
				try.End(io.EOF)
			}
		})
	}
	all.Wait()
	got := r.Take()
	tries := 0
	for i, e := range got {
		tries += max(1, e.LeftOut)
		if i > 0 && e.Began.Before(got[i-1].Began) {
			t.Errorf("exchange %d began before the one before it", i)
		}
	}
	if tries != 400 {
		t.Errorf("got %d tries, want 400", tries)
	}
}

func TestHeadersAreKeptInLittleRoom(t *testing.T) {
	t.Parallel()
	header := http.Header{"A": {strings.Repeat("ä", 5<<20)}, "B": {"b"}, strings.Repeat("L", 1<<20): {"long name"}}
	for number := range 1000 {
		header[fmt.Sprintf("X-%03d", number)] = []string{strings.Repeat("x", 1000)}
	}
	got := exchange.Header(header)
	size := 0
	for name, value := range got {
		size += len(name) + len(value)
		if !utf8.ValidString(value) {
			t.Errorf("%s is no valid UTF-8", name)
		}
	}
	if size > 17<<10 || got["B"] != "b" || got["A"] != strings.Repeat("ä", 1<<10)+"…" || got["X-000"] == "" {
		t.Errorf("got %d headers of %d bytes in all; A has %d", len(got), size, len(got["A"]))
	}
}

func TestALimitAsLargeAsANumberKeepsAll(t *testing.T) {
	t.Parallel()
	const most = int(^uint(0) >> 1)
	if got := exchange.NewBody([]byte("abc"), most); got.Text != "abc" || got.Cut {
		t.Errorf("got %+v", got)
	}
}

func TestAWriterKeepsNoMoreThanItNeeds(t *testing.T) {
	w := exchange.NewWriter(limit)
	part := make([]byte, 1<<20)
	_, _ = w.Write(part)
	if n := testing.AllocsPerRun(20, func() { _, _ = w.Write(part) }); n != 0 {
		t.Errorf("a write of what is not kept takes %v allocations", n)
	}
}

// FuzzAWriterGivesTheBodyOfTheWhole holds that it does not matter in which parts a body passes.
func FuzzAWriterGivesTheBodyOfTheWhole(f *testing.F) {
	f.Add([]byte(`{"password":"abc","b":"äöü"}`), 5, 3)
	f.Add([]byte("\xff\xfeä"), 3, 1)
	f.Add([]byte(strings.Repeat("ä", 5000)), 100, 1000)
	f.Fuzz(func(t *testing.T, whole []byte, limit, size int) {
		limit, size = limit%10_000, 1+max(0, size%1000)
		w := exchange.NewWriter(limit)
		for rest := whole; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			if n, err := w.Write(rest[:min(size, len(rest))]); n != min(size, len(rest)) || err != nil {
				t.Fatal(n, err)
			}
		}
		if diff := cmp.Diff(exchange.NewBody(whole, limit), w.Body()); diff != "" {
			t.Errorf("body (-want +got):\n%s", diff)
		}
	})
}
