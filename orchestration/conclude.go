package orchestration

import (
	"context"
	"strings"

	"github.com/cht-dhis2/mediator/internal/exchange"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

// Conclusion is a submission that has ended, or is held for a person, and has to be told.
type Conclusion struct {
	Submission ledger.Submission
	Report     Report
	// Calls are what was asked of the neighbours, in the order in which it was.
	Calls []StepCalls
	// Transactions are OpenHIM's that wait for the result, the first one first.
	Transactions []string
}

// StepCalls are the calls of a step, or of one attempt of a chunk.
type StepCalls struct {
	Step  string
	Chunk int
	Calls []Call
	// Left says that there were calls too large to be kept.
	Left bool
}

// conclude tells how a submission ended, or that it is held: it leaves the letters that have to go. Done again it does
// nothing: a job may be left over, as that of a hold which was over before its turn came.
func (s *Submitter) conclude(ctx context.Context, sub ledger.Submission) error {
	if !sub.State.Ended() && sub.State != ledger.Held || sub.IsTold() {
		return nil
	}
	var letters []ledger.Letter
	if s.Told != nil {
		c, err := s.conclusion(ctx, sub)
		if err == nil {
			letters, err = s.Told(ctx, c)
		}
		if err != nil {
			return err
		}
	}
	first, err := s.Ledger.Tell(ctx, sub, letters)
	if err == nil && first && sub.State.Ended() {
		s.countEnd(sub)
	}
	return err
}

// countEnd tells the metrics and the log of an end.
func (s *Submitter) countEnd(sub ledger.Submission) {
	s.Metrics.ended(sub)
	log := s.log(sub.ID, sub.Key).WithField("state", string(sub.State)).WithField("accepted", sub.Counts.Accepted).
		WithField("refused", sub.Counts.Refused).WithField("left_behind", sub.Counts.Quarantined).WithField("unknown", sub.Counts.Unknown)
	if sub.Reason != "" {
		log = log.WithField("reason", sub.Reason)
	}
	log.Info("submission ends")
}

func (s *Submitter) conclusion(ctx context.Context, sub ledger.Submission) (c Conclusion, err error) {
	c.Submission = sub
	if c.Report, err = s.Report(ctx, sub.ID); err != nil {
		return c, err
	}
	room := textsLimit
	for e, err := range s.Ledger.Exchanges(ctx, sub.ID) {
		if err != nil {
			return c, err
		}
		one := StepCalls{Step: e.Step, Chunk: e.Chunk, Calls: readCalls(e.Body), Left: e.Body == nil && e.Size > 0}
		room = one.within(room)
		c.Calls = append(c.Calls, one)
	}
	c.Transactions, err = s.Ledger.Transactions(ctx, sub.ID)
	return c, err
}

const (
	// textsLimit is how many bytes of bodies a conclusion holds: a month of failed attempts must not fill the memory. The store
	// has them all.
	textsLimit = 8 << 20
	// answerLimit is what is left of an answer beyond that.
	answerLimit = 256
)

// cutTo keeps no more of a body's text; what is said of the whole stays.
func cutTo(b *exchange.Body, limit int) {
	if len(b.Text) <= limit {
		return
	}
	b.Text, b.Cut = strings.Clone(strings.ToValidUTF8(b.Text[:limit], "")), true
}

// within cuts bodies where there is no room for them, and gives the room that is left.
func (c StepCalls) within(room int) (left int) {
	for i := range c.Calls {
		sent, received := &c.Calls[i].Exchange.Sent, &c.Calls[i].Exchange.Received
		if room -= len(sent.Text) + len(received.Text); room >= 0 {
			continue
		}
		cutTo(sent, 0)
		cutTo(received, answerLimit)
	}
	return max(room, 0)
}
