package orchestration

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
)

// Send sends what a plan holds and tells what became of it. A plan that is blocked, or failed, sends nothing. When the
// context ends, the request in flight is finished, and the rest is told as unsent.
func (s *Submitter) Send(ctx context.Context, p *Plan) Report {
	if p.tally.failure != nil {
		return p.tally.finish()
	}
	p.tally.report.State = Accepted // until it is known better
	sending := &sending{
		Submitter: s, plan: p, patience: p.patience,
		sizer: newSizer(p.server.Dialect, p.set.ChunkValues),
		total: p.tally.report.Counts.Unsent,
	}
	if parts := len(p.content.parts); parts > 0 {
		sending.queue = []span{{from: 0, to: parts}}
	}
	p.patience.next = firstPause
	if err := sending.run(ctx); err != nil {
		p.tally.fail(failureOf(err))
	}
	if err := sending.bookTried(); err != nil {
		p.tally.fail(failureOf(err))
	}
	p.tally.noteNotKept(p.server.Version)
	return p.tally.finish()
}

// span is a range of the content's parts, from included, to excluded.
type span struct {
	from, to int
	// tried means that its values went in a request whose end nobody knows.
	tried bool
}

// sending is the sending of one plan.
type sending struct {
	*Submitter

	plan     *Plan
	patience *patience
	sizer    *sizer
	// queue are the spans that are left, the next one first. Only a span that was split stands before another one.
	queue []span
	// unknown counts the chunks in a row that ended unknown.
	unknown int
	done    int
	total   int
	// values are used in turns: one chunk is packed while another one is on its way.
	values [2][]dhis2.DataValue
	turn   int
}

// packing is a span that is being packed beside the sending of the one before it; nil is none.
type packing chan packed

// packed is a span that is ready to go, or why it cannot.
type packed struct {
	span

	chunk dhis2.Packed
	err   error
}

// run sends chunk after chunk, one at a time, until nothing is left or nothing more can go.
func (s *sending) run(ctx context.Context) error {
	following := s.pack()
	defer func() { s.takeBack(following) }()
	for following != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.watch(Progress{Step: "send", Done: s.done, Total: s.total})
		current := <-following
		following = s.pack()
		if current.err != nil {
			return current.err
		}
		after, err := s.send(ctx, &current)
		if err == nil && after == goOn {
			continue
		}
		s.takeBack(following)
		following = nil
		switch {
		case err != nil:
			s.queue = append([]span{current.span}, s.queue...) // not sent this time, but perhaps before
			return err
		case after == stop:
			return ctx.Err()
		}
		s.split(current.span)
		following = s.pack()
	}
	s.watch(Progress{Step: "send", Done: s.done, Total: s.total})
	return nil
}

// pack begins to pack the head of the queue.
func (s *sending) pack() packing {
	if len(s.queue) == 0 {
		return nil
	}
	p := packed{span: s.next()}
	s.turn = 1 - s.turn
	turn, ready := s.turn, make(packing, 1)
	go func() {
		var chunk dhis2.Chunk
		chunk, p.err = s.chunk(p.span, turn)
		if p.err == nil {
			p.chunk, p.err = s.plan.to.Client.Pack(chunk)
		}
		ready <- p
	}()
	return ready
}

// takeBack puts a span that was packed and not sent back at the head of the queue.
func (s *sending) takeBack(p packing) {
	if p != nil {
		s.queue = append([]span{(<-p).span}, s.queue...)
	}
}

// next takes as many whole org units off the queue as make a good request: at least one, and of one attribute option
// combo. One that is larger than that goes alone.
func (s *sending) next() span {
	first := &s.queue[0]
	parts := s.plan.content.parts
	at := span{from: first.from, to: first.from + 1, tried: first.tried}
	values := int(parts[at.from].values)
	for at.to < first.to && parts[at.to].attributeOptionCombo == parts[at.from].attributeOptionCombo && values+int(parts[at.to].values) <= s.sizer.size {
		values += int(parts[at.to].values)
		at.to++
	}
	first.from = at.to
	if first.from == first.to {
		s.queue = s.queue[1:]
	}
	return at
}

// afterwards says how it goes on after a chunk.
type afterwards int

const (
	goOn afterwards = iota
	stop
	anew // with the same values in smaller requests
)

// send sends a span until its fate is decided, and says how it goes on.
func (s *sending) send(ctx context.Context, p *packed) (afterwards, error) {
	for {
		started := time.Now()
		o, err := s.plan.to.Client.Import(ctx, s.plan.server.Dialect, p.chunk, dhis2.Options{DryRun: s.plan.request.DryRun})
		if err != nil {
			return stop, err
		}
		o = o.After(p.tried)
		p.tried = p.tried || o.State == dhis2.Unknown
		s.logOutcome(p, o, time.Since(started))
		switch s.again(ctx, p, &o) {
		case inParts:
			return anew, nil
		case asItIs:
			continue
		}
		s.book(p.chunk.Chunk, o)
		if s.goesOn(o) {
			return goOn, nil
		}
		return stop, nil
	}
}

// tryAgain says how the values of a chunk go once more.
type tryAgain int

const (
	notAgain tryAgain = iota
	asItIs
	inParts
)

// again decides whether the values of a chunk go once more, and waits before they do.
func (s *sending) again(ctx context.Context, p *packed, o *dhis2.Outcome) tryAgain {
	whole := p.to-p.from < 2 // a single org unit is not split
	switch {
	case o.Next == dhis2.GoOn:
		s.sizer.grow()
		s.patience.next = firstPause
		return notAgain
	case o.Next == dhis2.Smaller && whole && !p.tried && o.Wait == 0:
		*o = o.Final(p.chunk.Chunk) // too large for a proxy, and cannot be smaller
		return notAgain
	case o.Next == dhis2.Smaller && !whole:
		s.sizer.shrink()
		if o.Wait == 0 || s.patience.pause(ctx, o.Wait, o.Failure.Error()) {
			return inParts
		}
	case o.Next == dhis2.Again, o.Next == dhis2.Smaller:
		if s.patience.pause(ctx, o.Wait, o.Failure.Error()) {
			return asItIs
		}
	}
	return notAgain
}

// bookTried books what is left and went in a request whose end nobody knows.
func (s *sending) bookTried() error {
	for _, at := range s.queue {
		for one := at.from; at.tried && one < at.to; one++ {
			chunk, err := s.chunk(span{from: one, to: one + 1}, 0)
			if err != nil {
				return err
			}
			s.book(chunk, dhis2.Outcome{State: dhis2.Unknown})
		}
	}
	return nil
}

// chunk reads a span. Its values are good until the same turn comes again.
func (s *sending) chunk(at span, turn int) (dhis2.Chunk, error) {
	parts := s.plan.content.parts[at.from:at.to]
	var err error
	s.values[turn], err = s.plan.content.values(s.values[turn][:0], parts...)
	return dhis2.Chunk{
		DataSet: s.plan.set.ID, Period: s.plan.period,
		AttributeOptionCombo: parts[0].attributeOptionCombo, Values: s.values[turn],
	}, err
}

// split puts the halves of a span at the head of the queue.
func (s *sending) split(at span) {
	middle := at.from + (at.to-at.from)/2
	s.queue = append([]span{{at.from, middle, at.tried}, {middle, at.to, at.tried}}, s.queue...)
}

// book counts the chunk's cells as what became of them; until then they counted as unsent.
func (s *sending) book(c dhis2.Chunk, o dhis2.Outcome) {
	t := s.plan.tally
	t.report.Counts.Unsent -= len(c.Values)
	for _, v := range c.Values {
		t.orgUnit(v.OrgUnit).Unsent--
	}
	t.outcome(c, o)
	s.done += len(c.Values)
	if o.Failure != nil && o.State != dhis2.StateRefused {
		t.fail(failureOf(o.Failure))
		s.noteDown(s.plan.to.Name, o.Failure)
	}
}

// goesOn says whether the next chunk may fare better than one with this outcome.
func (s *sending) goesOn(o dhis2.Outcome) bool {
	if o.State != dhis2.Unknown {
		s.unknown = 0
	} else if s.unknown++; s.unknown >= hopeless {
		return false
	}
	switch o.Next {
	case dhis2.StopRun:
		return false
	case dhis2.StopDataSet:
		s.plan.tally.fail(failure{state: Refused, reason: NothingAccepted, text: refusedText(o), remedy: refusedRemedy(o)})
		return false
	case dhis2.Again, dhis2.Smaller:
		// DHIS2 answered, so the trouble may be with this chunk; where it did not, it is away.
		return o.Failure.Status == http.StatusOK || o.Failure.Status == http.StatusConflict
	default:
		return true
	}
}

// hopeless is how many chunks in a row may end unknown before no other one is tried.
const hopeless = 3

func refusedText(o dhis2.Outcome) string {
	if len(o.Refused) == 0 {
		return "DHIS2 refused the data set"
	}
	return fmt.Sprintf("DHIS2 refused the data set for this period: %s: %s", o.Refused[0].Code, o.Refused[0].Reason)
}

func refusedRemedy(o dhis2.Outcome) string {
	if len(o.Refused) == 0 {
		return ""
	}
	return o.Refused[0].Remedy
}

func (s *sending) logOutcome(p *packed, o dhis2.Outcome, took time.Duration) {
	log := s.log(s.plan.tally).WithField("values", len(p.chunk.Values)).WithField("org_units", p.to-p.from).
		WithField("accepted", o.Accepted).WithField("refused", len(o.Refused)).WithField("took", took.Round(time.Millisecond).String())
	if o.Failure != nil {
		log.WithField("reason", o.Failure.Error()).Warn("chunk not accepted")
		return
	}
	log.Debug("chunk answered")
}

// noteNotKept tells of zeros that DHIS2 took without storing or counting them.
func (t *tally) noteNotKept(version string) {
	if t.notKept == 0 {
		return
	}
	t.issues.Add(issue.Issue{
		Code: "zeros_not_kept", Severity: issue.Note, Count: t.notKept,
		Text:   fmt.Sprintf("DHIS2 %s took these zeros and stores none, as zero is not significant for their data elements", version),
		Remedy: "tick \"store zero data values\" on those data elements whose zeros are wanted",
	})
}

// sizer finds how many values go in one request: what the dialect does well with, half of it after each sign that it was
// too much, and slowly back.
type sizer struct {
	size, good int
	accepted   int // in a row
}

const (
	smallestChunk = 50
	growAfter     = 4
)

func newSizer(d dhis2.Dialect, wanted int) *sizer {
	good, most := d.ChunkSize()
	if wanted > 0 {
		good = min(wanted, most)
	}
	return &sizer{size: good, good: good}
}

func (s *sizer) shrink() { s.size, s.accepted = max(min(smallestChunk, s.good), s.size/2), 0 }

func (s *sizer) grow() {
	if s.accepted++; s.accepted >= growAfter {
		s.size, s.accepted = min(s.good, s.size+s.size/4), 0
	}
}
