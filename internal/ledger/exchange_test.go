package ledger

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// TestTheEvidenceOfAnOutageHasABound answers a chunk as often as it is tried in a week, and asks for the version each time.
func TestTheEvidenceOfAnOutageHasABound(t *testing.T) {
	l := openAt(t, t.TempDir(), nil)
	s := begin(t, l, Request{Key: key()})
	must(t, l.Prepared(t.Context(), s.ID, readyWith(manyParts(2, 5)...), nil))
	must(t, l.Advance(t.Context(), s.ID, Sending, nil))
	c, _, _, err := l.Compose(t.Context(), s.ID, Range{0, 1}, 100)
	must(t, err)
	const tries = 200
	for n := range tries {
		c, err = l.RecordChunk(t.Context(), s.ID, c)
		must(t, err)
		must(t, l.AddExchanges(t.Context(), s.ID, "send", fmt.Appendf(nil, `"version %d"`, n)))
		away := &dhis2.Error{Kind: dhis2.Unavailable, Temporary: true, What: "away"}
		must(t, l.Acknowledge(t.Context(), s.ID, c.Number, Answer{Outcome: dhis2.Outcome{State: dhis2.Unknown, Failure: away}, Exchanges: fmt.Appendf(nil, `"chunk %d"`, n)}, nil))
	}
	var got, want []string
	for e, err := range l.Exchanges(t.Context(), s.ID) {
		must(t, err)
		got = append(got, string(e.Body))
	}
	for n := range tries {
		if n < mostAttempts/2 || n >= tries-mostAttempts/2 {
			want = append(want, fmt.Sprintf(`"version %d"`, n), fmt.Sprintf(`"chunk %d"`, n))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("kept are %q", got)
	}
	chunks, err := l.Chunks(t.Context(), s.ID)
	must(t, err)
	if chunks[0].Attempts != tries {
		t.Errorf("%d attempts are counted", chunks[0].Attempts)
	}
}
