package orchestration

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// clocked gives the bench a clock that the test moves on.
func (b *bench) clocked(t *testing.T) *time.Time {
	t.Helper()
	at := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	b.Now = func() time.Time { return at }
	b.remember(t, t.TempDir())
	b.serving = true
	return &at
}

// serves works a submission as the service does for so long, or until it has ended, and says how often it waited and for
// how long at most. The clock is moved on instead of waiting.
func (b *bench) serves(t *testing.T, clock *time.Time, id string, long time.Duration) (waits int, longest time.Duration) {
	t.Helper()
	pauses := b.works(t, clock, id, clock.Add(long), nil)
	return len(pauses), slices.Max(append(pauses, 0))
}

func TestTheServiceAsksAServerThatStaysAwayLessAndLessOften(t *testing.T) {
	for _, test := range []struct {
		name       string
		cht, dhis2 []sandbox.Fault
	}{
		{name: "the CHT", cht: []sandbox.Fault{{Kind: sandbox.Status, Status: 401}}},
		{name: "DHIS2, asked for its version", dhis2: []sandbox.Fault{{Kind: sandbox.Status, Status: 404}}},
		{name: "DHIS2, at the first chunk", dhis2: []sandbox.Fault{{Kind: sandbox.Status, Status: 429, Method: post}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "2.43.1")
				clock := b.clocked(t)
				started := *clock
				b.cht.Fail(test.cht...)
				b.dhis2.Fail(test.dhis2...)
				id := b.begin(t).ID
				waits, longest := b.serves(t, clock, id, 3*time.Hour)
				if waits > 40 || longest < 13*time.Minute {
					t.Errorf("it was asked %d times, %s apart at most", waits, longest)
				}
				sub, err := b.Ledger.Submission(t.Context(), id)
				if err != nil || sub.WaitingSince.Sub(started) > time.Minute {
					t.Errorf("it waits since %s, %v", sub.WaitingSince, err)
				}
			})
		})
	}
}
