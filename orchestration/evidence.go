package orchestration

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/exchange"
)

// evidence gathers the calls of a step, each with a name for people, in the order in which they were made.
type evidence struct {
	limit int
	calls []recorded
}

type recorded struct {
	name     string
	recorder *exchange.Recorder
}

// Call is one try of one call to a neighbour, as it is stored.
type Call struct {
	// Name says what it was for, Try counts from 1.
	Name     string            `json:"name"`
	Try      int               `json:"try"`
	Exchange exchange.Exchange `json:"exchange"`
}

const bodyLimit = 8 << 10

func newEvidence(limit int) *evidence {
	if limit == 0 {
		limit = bodyLimit
	}
	return &evidence{limit: limit}
}

// call gives the context with which a call of this name is made.
func (e *evidence) call(ctx context.Context, name string) context.Context {
	r := recorded{name, exchange.NewRecorder(e.limit)}
	e.calls = append(e.calls, r)
	return r.recorder.Record(ctx)
}

// json gives what was gathered as it is stored; nil where there was no call.
func (e *evidence) json() []byte {
	var calls []Call
	for _, r := range e.calls {
		for i, x := range r.recorder.Exchanges() {
			calls = append(calls, Call{r.name, i + 1, x})
		}
	}
	if len(calls) == 0 {
		return nil
	}
	text, err := json.Marshal(calls)
	if err != nil {
		return nil // texts and numbers can always be written
	}
	return text
}

// readCalls reads what json wrote.
func readCalls(text []byte) (calls []Call) {
	if len(text) == 0 || json.Unmarshal(text, &calls) != nil {
		return nil
	}
	return slices.Clip(calls)
}

// Contact is how a neighbour was met last.
type Contact struct {
	// OK and Failed are when it last answered, and failed; zero is never. Reason is why it failed, empty when it has
	// answered since.
	OK, Failed time.Time
	Reason     Reason
}

// contacted notes how a neighbour, such as "CHT kisumu", was met. An error of our own, or that somebody stopped us, says nothing of it.
func (s *Submitter) contacted(name string, err error) {
	var source *cht.Error
	var destination *dhis2.Error
	met := err == nil || errors.As(err, new(*blockedError))
	if !met && !errors.As(err, &source) && !errors.As(err, &destination) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.contacts == nil {
		s.contacts = map[string]Contact{}
	}
	c := s.contacts[name]
	if met {
		c.OK, c.Reason = s.now(), ""
	} else {
		c.Failed, c.Reason = s.now(), failureOf(err).reason
	}
	s.contacts[name] = c
}

// Contacts tells how each neighbour was met last, by its name, such as "CHT kisumu"; one that was never asked is not among them.
func (s *Submitter) Contacts() map[string]Contact {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.contacts)
}
