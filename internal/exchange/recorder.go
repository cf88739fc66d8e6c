package exchange

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// keptFirst and keptLast are how many tries a Recorder keeps: the first ones, which tell how it began, and the last
// ones, which tell how it ended. A call that is tried for days takes no more memory than these.
const keptFirst, keptLast = 50, 50

// maxError is how much of the text of an error is kept, in bytes.
const maxError = 2 << 10

// Recorder collects the tries of the calls that are made with its context. It may be used by several goroutines. A nil
// Recorder collects nothing.
type Recorder struct {
	limit int

	mu          sync.Mutex
	sends       Body
	first, last []*Try
	leftOut     Exchange // those between first and last
}

// NewRecorder makes a recorder that keeps at most limit bytes of the text of each body.
func NewRecorder(limit int) *Recorder {
	return &Recorder{limit: limit}
}

type key struct{}

// Record gives a context whose calls are recorded here, and in no other recorder.
func (r *Recorder) Record(ctx context.Context) context.Context {
	return context.WithValue(ctx, key{}, r)
}

// From gives the recorder of a context, nil where there is none.
func From(ctx context.Context) *Recorder {
	r, _ := ctx.Value(key{}).(*Recorder)
	return r
}

// Sends says what the following tries that have a body are said to send, instead of the packed bytes that travel. The
// zero Body ends that. It holds for the whole recorder, so calls that send different bodies at one time need one each.
func (r *Recorder) Sends(b Body) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sends = b
}

// Exchanges gives those collected so far, in the order in which they began. One that is still under way is given as it
// stands, with an Error that says so. Of many tries only the first and the last are kept: between them stands an
// Exchange with LeftOut.
func (r *Recorder) Exchanges() []Exchange {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exchanges()
}

// Take gives what Exchanges does, and forgets it: what still comes of a try that is under way is not recorded.
func (r *Recorder) Take() []Exchange {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.exchanges()
	r.forget()
	return taken
}

// Reset forgets all that was collected. What Sends said stays.
func (r *Recorder) Reset() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget()
}

func (r *Recorder) forget() {
	r.first, r.last, r.leftOut = nil, nil, Exchange{}
}

func (r *Recorder) exchanges() []Exchange {
	all := make([]Exchange, 0, len(r.first)+len(r.last)+1)
	for _, t := range r.first {
		all = append(all, t.exchange())
	}
	if n := r.leftOut.LeftOut; n > 0 {
		gap := r.leftOut
		gap.Error = fmt.Sprintf("%d tries are left out here", n)
		all = append(all, gap)
	}
	for _, t := range r.last {
		all = append(all, t.exchange())
	}
	return all
}

// add appends a try, and lets go of one in the middle when there are too many.
func (r *Recorder) add(t *Try) {
	if len(r.first) < keptFirst {
		r.first = append(r.first, t)
		return
	}
	r.last = append(r.last, t)
	if len(r.last) <= keptLast {
		return
	}
	if r.leftOut.LeftOut == 0 {
		gone := &r.last[0].kept
		r.leftOut = Exchange{Began: gone.Began, Method: gone.Method, Address: gone.Address}
	}
	r.leftOut.LeftOut++
	r.last = slices.Delete(r.last, 0, 1)
}

// Try is one try of a call as it is made. A nil Try records nothing.
type Try struct {
	began   time.Time
	limit   int
	private bool

	mu       sync.Mutex
	kept     Exchange // what it tells of the request does not change
	received *Writer  // nil as long as no answer began, and when the try has ended
	ended    bool
}

// Begin records that a request leaves, with the headers that it has now. Its body may be read for that, and be another
// one of the same bytes afterwards.
func (r *Recorder) Begin(request *http.Request) *Try {
	if r == nil {
		return nil
	}
	t := &Try{limit: r.limit, private: isPrivate(request.Context()), kept: Exchange{
		Method:     request.Method,
		Address:    strings.ToValidUTF8(addressOf(request), "\uFFFD"),
		SentHeader: Header(request.Header),
	}}
	t.kept.Sent = r.sent(request)
	if t.private {
		t.kept.Sent = withoutContent(t.kept.Sent.Length, t.kept.Sent.SHA256 != "")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t.began = time.Now()
	t.kept.Began = t.began.UTC().Round(0) // as it is when it was stored and read again
	r.add(t)
	return t
}

// sent is what is kept of the body of a request. Of packed bytes nothing can be read, so only length and digest are.
func (r *Recorder) sent(request *http.Request) Body {
	if request.Body == nil || request.Body == http.NoBody {
		return Body{}
	}
	r.mu.Lock()
	said := r.sends
	r.mu.Unlock()
	if said != (Body{}) {
		return said
	}
	limit := r.limit
	if request.Header.Get("Content-Encoding") != "" {
		limit = 0
	}
	w := NewWriter(limit)
	if err := copyBody(w, request); err != nil {
		return w.part()
	}
	return w.Body()
}

// copyBody writes the body of a request to w, and leaves it to be sent.
func copyBody(w io.Writer, request *http.Request) error {
	if request.GetBody == nil {
		var whole bytes.Buffer
		_, err := io.Copy(io.MultiWriter(w, &whole), request.Body)
		request.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(&whole, request.Body), request.Body}
		return err
	}
	body, err := request.GetBody()
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(w, body)
	return err
}

// Answered records that an answer began.
func (t *Try) Answered(status int, header http.Header) {
	if t == nil {
		return
	}
	received := NewWriter(t.limit)
	if t.private {
		header, received = harmlessHeader(header), &Writer{}
	}
	kept := Header(header)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept.Status, t.kept.ReceivedHeader = status, kept
	t.received = received
}

// Write records a part of the answer's body, unpacked, and never fails.
func (t *Try) Write(p []byte) (int, error) {
	if t == nil {
		return len(p), nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.received != nil {
		_, _ = t.received.Write(p)
	}
	return len(p), nil
}

// End records how the try ended, as a reader tells it: io.EOF when the answer is whole, nil when its reader closed it
// before, and otherwise why there was no whole answer, in words that name no address and no secret. Only the first call
// counts.
func (t *Try) End(err error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.ended, t.kept.Took = true, time.Since(t.began)
	whole := err == io.EOF //nolint:errorlint // as io.Reader says: an error around it is a body that broke off
	if t.received != nil {
		t.kept.Received = t.body(whole)
	}
	t.received = nil
	if err != nil && !whole {
		t.kept.Error = Keep(err.Error(), maxError)
	}
}

// body is what is kept of the answer, whole or what was read of it.
func (t *Try) body(whole bool) Body {
	switch {
	case t.private:
		return withoutContent(t.received.length, whole)
	case whole:
		return t.received.Body()
	}
	return t.received.part()
}

// exchange is the try as it stands. The headers are shared, and not changed any more.
func (t *Try) exchange() Exchange {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.kept
	if t.ended {
		return e
	}
	e.Took, e.Error = time.Since(t.began), "not finished yet"
	if t.received != nil {
		e.Received = t.body(false)
	}
	return e
}
