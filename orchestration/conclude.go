package orchestration

import (
	"context"
	"database/sql"

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

// conclude tells how a submission ended: it leaves the letters that have to go. Done twice it leaves the same ones.
func (s *Submitter) conclude(ctx context.Context, sub ledger.Submission) error {
	if !sub.State.Ended() && sub.State != ledger.Held {
		return nil
	}
	if sub.State.Ended() {
		s.countEnd(sub)
	}
	if s.Told == nil {
		return nil
	}
	c, err := s.conclusion(ctx, sub)
	if err != nil {
		return err
	}
	letters, err := s.Told(ctx, c)
	if err != nil || len(letters) == 0 {
		return err
	}
	return s.Ledger.Together(ctx, "tell how submission "+sub.ID+" ended", func(tx *sql.Tx) error {
		for _, letter := range letters {
			if err := s.Ledger.PostTx(ctx, tx, letter); err != nil {
				return err
			}
		}
		return nil
	})
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
	for e, err := range s.Ledger.Exchanges(ctx, sub.ID) {
		if err != nil {
			return c, err
		}
		c.Calls = append(c.Calls, StepCalls{Step: e.Step, Chunk: e.Chunk, Calls: readCalls(e.Body), Left: e.Body == nil && e.Size > 0})
	}
	c.Transactions, err = s.Ledger.Transactions(ctx, sub.ID)
	return c, err
}
