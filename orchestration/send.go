package orchestration

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

// sendFor is how long a submission sends before it lets others have their turn.
const sendFor = 5 * time.Minute

// askAgain is how old the answer may be by which the dialect of a server is known: it may have been updated since.
const askAgain = 10 * time.Minute

// sendStored does the step send of a stored submission: chunk after chunk, one at a time, until nothing is left, nothing
// more can go now, or its turn is over.
func (s *Submitter) sendStored(ctx context.Context, sub ledger.Submission) (*pause, error) {
	who, err := s.partiesOf(sub)
	if err != nil {
		f := failureOf(err)
		f.reason = Configuration
		return nil, s.finish(ctx, sub.ID, &f)
	}
	if stale, err := s.isStale(ctx, sub); stale || err != nil {
		return nil, err
	}
	dataSet, err := s.idOf(ctx, who.set)
	if err != nil {
		return nil, err
	}
	if dataSet == "" { // its scheme was changed since it was prepared
		return nil, s.finish(ctx, sub.ID, &failure{reason: Configuration, text: "data set " + sub.DataSet + " goes by another id scheme than when it was prepared", remedy: "submit the period again"})
	}
	if err := s.isDown(ctx, "DHIS2 "+who.to.Name); err != nil {
		return pauseOf(err), nil
	}
	if err := s.Ledger.Advance(ctx, sub.ID, ledger.Sending, nil); err != nil {
		return nil, err
	}
	if err := s.settleLost(ctx, sub.ID); err != nil {
		return nil, err
	}
	dialect := dhis2.Dialect(sub.Dialect)
	// After a wait a question shows whether DHIS2 is there, so that no chunk is tried in vain, and lost, while it is not.
	asks := sub.WaitingFor != "" || s.now().Sub(sub.PreparedAt) > askAgain
	if asks {
		calls := newEvidence(s.BodyLimit)
		server, err := who.to.Client.Server(calls.call(ctx, "Ask DHIS2 "+who.to.Name+" for its version"))
		s.contacted("DHIS2 "+who.to.Name, err)
		s.noteDown(ctx, "DHIS2 "+who.to.Name, err)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if wait := pauseOf(err); wait != nil {
			return wait, nil
		}
		if err != nil {
			f := failureOf(err)
			return nil, s.finish(ctx, sub.ID, &f)
		}
		if err := s.Ledger.AddExchanges(ctx, sub.ID, sendStep, calls.json()); err != nil {
			return nil, err
		}
		dialect = server.Dialect
	}
	sending := &sending{
		Submitter: s, submission: sub, who: who, dialect: dialect, dataSet: dataSet, sizer: s.sizer(who, dialect), until: s.now().Add(sendFor),
		answers: asks, total: sub.Counts.Unsent + sub.Counts.Unknown,
	}
	if err := sending.lineUp(ctx); err != nil {
		return nil, err
	}
	return sending.conclude(ctx, sending.run(ctx))
}

// staleAfter is how old content may be of which nothing was sent yet.
const staleAfter = 24 * time.Hour

// isStale begins a submission anew of which nothing was sent for a long time, as when nobody took it up after a crash: its
// figures are old ones. What a person has approved goes as it was approved, and what was sent in part goes on.
func (s *Submitter) isStale(ctx context.Context, sub ledger.Submission) (bool, error) {
	if s.now().Sub(sub.PreparedAt) < staleAfter || sub.ApprovedBy != "" {
		return false, nil
	}
	chunks, err := s.Ledger.Chunks(ctx, sub.ID)
	if err != nil || len(chunks) > 0 {
		return false, err
	}
	s.log(sub.ID, sub.Key).WithField("prepared", sub.PreparedAt.Format(time.RFC3339)).Info("what was prepared is old, and is prepared anew")
	return true, s.Ledger.Restart(ctx, sub.ID, s.jobs.next(prepareStep))
}

// settleLost books the chunks whose answer was lost with the process that waited for it.
func (s *Submitter) settleLost(ctx context.Context, id string) error {
	chunks, err := s.Ledger.Chunks(ctx, id)
	if err != nil {
		return err
	}
	lost := &dhis2.Error{Kind: dhis2.Unavailable, Temporary: true, What: "the mediator was stopped before the answer came"}
	for _, c := range chunks {
		if c.State != ledger.ChunkSending {
			continue
		}
		o := dhis2.Outcome{State: dhis2.Unknown, Failure: lost}
		if c.Size == 0 { // all of it is set aside, and nothing went
			o = dhis2.Outcome{State: dhis2.StateRefused}
		}
		if err := s.Ledger.Acknowledge(ctx, id, c.Number, ledger.Answer{Outcome: o}, nil); err != nil {
			return err
		}
	}
	return nil
}

// span is a range of the content that is to go, or a recorded chunk that goes again.
type span struct {
	ledger.Range

	chunk *ledger.Chunk
}

// sending is the sending of one submission, for one turn.
type sending struct {
	*Submitter

	submission ledger.Submission
	who        parties
	dialect    dhis2.Dialect
	// dataSet is the data set's id in DHIS2.
	dataSet string
	sizer   *sizer
	until   time.Time
	// queue are the spans that are left, the next one first.
	queue []span
	// answers says that DHIS2 answered a question when the turn began: what fails now may be the chunk's fault.
	answers bool
	// unknown counts the chunks in a row that ended unknown; open are those that wait for another try, and longest is how
	// long at least.
	unknown, open int
	longest       time.Duration
	// denied are the combos to whose options the account may not write, as DHIS2 has said of each by itself.
	denied      map[combos]dhis2.Refusal
	last        *dhis2.Error
	done, total int
	moved       bool
}

// lineUp makes the queue of what is stored: first the chunks whose fate is open, then what was never sent, and at the end the
// chunks that failed again and again, those first that did so least.
func (s *sending) lineUp(ctx context.Context) error {
	chunks, err := s.Ledger.Chunks(ctx, s.submission.ID)
	if err != nil {
		return err
	}
	var poisoned []span
	for i, c := range chunks {
		switch of := (span{Range: c.Range, chunk: &chunks[i]}); {
		case c.State.Settled():
		case c.Attempts >= hopeless:
			poisoned = append(poisoned, of)
		default:
			s.queue = append(s.queue, of)
		}
	}
	for _, r := range ledger.Remaining(s.submission.Parts, chunks) {
		s.queue = append(s.queue, span{Range: r})
	}
	slices.SortStableFunc(poisoned, func(a, b span) int { return cmp.Compare(a.chunk.Attempts, b.chunk.Attempts) })
	s.queue = append(s.queue, poisoned...)
	return nil
}

// afterwards says how it goes on after a chunk.
type afterwards int

const (
	goOn afterwards = iota
	// anew: in smaller requests.
	anew
	// narrower: without what is at fault for that DHIS2 refused all of it.
	narrower
	// over: others have their turn.
	over
	// later: nothing more now.
	later
	// stop: nothing more of this submission.
	stop
)

// ended is how a turn of sending ended: how it goes on, and why not now.
type ended struct {
	after   afterwards
	failure *failure
	err     error
}

// run sends chunk after chunk. While one is on its way, the next ones are packed, and one transaction books the answer to
// the one before and records the one after: so a store costs time only where DHIS2 is faster than it, and nothing leaves
// unrecorded.
func (s *sending) run(ctx context.Context) ended {
	line := s.pack(ctx)
	defer func() { line.end() }()
	ahead := s.lookAhead(ctx, line, nil)
	var last *answered // the answer that is not booked yet
	for {
		s.watch(Progress{Step: "send", Done: s.done, Total: s.total})
		current, err := ahead.await()
		if err != nil {
			return s.wrapUp(ctx, last, nil, ended{err: err})
		}
		if current == nil {
			after := stop
			if s.open > 0 {
				after = later
			}
			return s.wrapUp(ctx, last, nil, ended{after: after})
		}
		if end := s.mayGo(ctx); end != nil {
			return s.wrapUp(ctx, last, current, *end)
		}
		ahead = s.lookAhead(ctx, line, last)
		sent := s.send(ctx, current.chunk, current.text)
		if sent.end.err == nil && sent.end.after == narrower {
			<-ahead.done // one writer at a time
			sent = s.narrow(ctx, sent)
		}
		if last = &sent; sent.end.err == nil && sent.end.after == goOn {
			if sent.end.err = s.goesOn(ctx); sent.end.err == nil {
				continue
			}
		}
		following, err := ahead.await()
		if err != nil {
			sent.end.err = errors.Join(sent.end.err, err)
		}
		if end := s.wrapUp(ctx, last, following, sent.end); end.err != nil || end.after != anew {
			return end
		}
		s.queue = line.end()
		if following != nil {
			s.queue = append([]span{following.back()}, s.queue...)
		}
		s.split(sent.chunk.Range)
		line = s.pack(ctx)
		last, ahead = nil, s.lookAhead(ctx, line, nil)
	}
}

// packed is a chunk that is ready to go, or why it is not, and the span that it was taken of.
type packed struct {
	of    span
	chunk ledger.Chunk
	text  dhis2.Packed
	err   error
}

// line packs one chunk after the other, each while the ones before it go.
type line struct {
	ready chan packed
	stop  chan struct{}
	rest  chan []span
	once  sync.Once
	left  []span
}

// pack begins to pack the queue.
func (s *sending) pack(ctx context.Context) *line {
	l := &line{ready: make(chan packed), stop: make(chan struct{}), rest: make(chan []span, 1)}
	queue := s.queue
	s.queue = nil
	go func() {
		defer func() { l.rest <- queue }()
		defer close(l.ready)
		for len(queue) > 0 {
			p := packed{of: queue[0]}
			p.chunk, p.text, p.err = s.compose(ctx, p.of, s.sizer.now())
			select {
			case l.ready <- p:
			case <-l.stop:
				return
			}
			queue = queue[1:]
			if p.err != nil {
				return
			}
			if p.of.chunk == nil && p.chunk.To < p.of.To { // what it leaves of its span is next
				queue = append([]span{{Range: ledger.Range{From: p.chunk.To, To: p.of.To}}}, queue...)
			}
		}
	}()
	return l
}

// end ends the packing, and gives what was not packed, or packed in vain.
func (l *line) end() []span {
	l.once.Do(func() {
		close(l.stop)
		l.left = <-l.rest
	})
	return l.left
}

// ahead is what is done beside the sending of a chunk. What stands in it is good when done is closed.
type ahead struct {
	packed

	done chan struct{}
	// none says that nothing is left.
	none bool
}

// lookAhead books the answer to the chunk that was sent last, where there is one, and records the next chunk.
func (s *sending) lookAhead(ctx context.Context, line *line, last *answered) *ahead {
	a := &ahead{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		next, more := <-line.ready
		a.packed, a.none = next, !more
		a.err = errors.Join(a.err, s.bookAndRecord(ctx, a, last))
	}()
	return a
}

func (s *sending) bookAndRecord(ctx context.Context, a *ahead, last *answered) (err error) {
	// What is known now is stored, even when somebody stops the process at this instant.
	storing := context.WithoutCancel(ctx)
	record := func(ctx context.Context, tx *sql.Tx, id string) (err error) {
		a.chunk, err = s.Ledger.RecordChunkTx(ctx, tx, id, a.chunk)
		return err
	}
	if a.none || a.err != nil {
		record = nil
	}
	switch {
	case last != nil:
		return s.book(storing, last, record)
	case record != nil:
		a.chunk, err = s.Ledger.RecordChunk(storing, s.submission.ID, a.chunk)
	}
	return err
}

// goesOn takes back what the submission was waiting for, once something got through.
func (s *sending) goesOn(ctx context.Context) error {
	if !s.moved || s.submission.WaitingFor == "" {
		return nil
	}
	s.submission.WaitingFor = ""
	return s.Ledger.Waiting(context.WithoutCancel(ctx), s.submission.ID, "")
}

func (s *sending) book(ctx context.Context, sent *answered, next ledger.Next) error {
	return s.Ledger.Acknowledge(ctx, s.submission.ID, sent.chunk.Number, sent.answer, next)
}

// await gives the chunk that was looked ahead for; nil where nothing is left.
func (a *ahead) await() (*ahead, error) {
	<-a.done
	if a.err != nil || a.none {
		return nil, a.err
	}
	return a, nil
}

// back is the span of a chunk that was recorded and did not go. A new one gives its range back, to be composed anew, as a
// smaller size may be called for by now; one that goes again stays what it is.
func (a *ahead) back() span {
	if a.of.chunk == nil {
		return span{Range: a.chunk.Range}
	}
	return span{Range: a.chunk.Range, chunk: &a.chunk}
}

// wrapUp stores what is known at the end of a turn: the last answer, and that a chunk which was recorded did not go.
func (s *sending) wrapUp(ctx context.Context, last *answered, recorded *ahead, end ended) ended {
	storing := context.WithoutCancel(ctx)
	var errs []error
	if last != nil {
		errs = append(errs, s.book(storing, last, nil))
	}
	if recorded != nil {
		unsent := ledger.Answer{Outcome: dhis2.Outcome{State: dhis2.Unsent}, Split: recorded.of.chunk == nil}
		errs = append(errs, s.book(storing, &answered{chunk: recorded.chunk, answer: unsent}, nil))
	}
	end.err = errors.Join(append(errs, end.err)...)
	return end
}

// mayGo says whether another chunk may go: not when somebody stops the process or cancelled the submission, and not when
// its turn is over.
func (s *sending) mayGo(ctx context.Context) *ended {
	if err := ctx.Err(); err != nil {
		return &ended{err: err}
	}
	by, err := s.Ledger.Cancelled(ctx, s.submission.ID)
	switch {
	case err != nil:
		return &ended{err: err}
	case by != "":
		return &ended{after: stop, failure: cancelled(by)}
	case s.now().After(s.until):
		return &ended{after: over}
	}
	return nil
}

// conclude stores how the turn ended.
func (s *sending) conclude(ctx context.Context, end ended) (*pause, error) {
	switch {
	case end.err != nil:
		return nil, end.err
	case end.after == over:
		return nil, s.Ledger.Advance(ctx, s.submission.ID, ledger.Sending, s.jobs.next(sendStep))
	case end.after == later:
		f := failureOf(s.last)
		wait := &pause{failure: f, least: s.longest, passes: s.last.Temporary, moved: s.moved}
		return wait, nil
	case end.failure == nil && completes(s.who.set, s.submission):
		return nil, s.Ledger.Advance(ctx, s.submission.ID, ledger.Completing, s.jobs.next(completeStep))
	default:
		return nil, s.finish(ctx, s.submission.ID, end.failure)
	}
}

// compose makes the chunk of a span and its text. A chunk that was recorded has the same text again.
func (s *sending) compose(ctx context.Context, of span, size int) (c ledger.Chunk, text dhis2.Packed, err error) {
	var values []dhis2.DataValue
	var combo string
	if of.chunk != nil {
		c = *of.chunk
		values, combo, err = s.Ledger.Values(ctx, s.submission.ID, c)
	} else {
		c, values, combo, err = s.Ledger.Compose(ctx, s.submission.ID, of.Range, size)
	}
	if err != nil {
		return c, text, err
	}
	text, err = s.who.to.Client.Pack(dhis2.Chunk{DataSet: s.dataSet, Period: s.submission.Period, AttributeOptionCombo: combo, Values: values})
	c.Digest = text.Digest
	return c, text, err
}

// split puts the halves of a range at the head of the queue.
func (s *sending) split(r ledger.Range) {
	middle := r.From + (r.To-r.From)/2
	s.queue = append([]span{{Range: ledger.Range{From: r.From, To: middle}}, {Range: ledger.Range{From: middle, To: r.To}}}, s.queue...)
}

// answered is a chunk that was sent, what is to be booked of it, and how it goes on.
type answered struct {
	chunk  ledger.Chunk
	answer ledger.Answer
	end    ended
	// calls are those of the attempt, where it came to one.
	calls *evidence
}

// unsent is a recorded chunk that did not go, and stays as it is.
func unsent(chunk ledger.Chunk, end ended) answered {
	return answered{chunk: chunk, answer: ledger.Answer{Outcome: dhis2.Outcome{State: dhis2.Unsent}}, end: end}
}

// send sends a recorded chunk once, with the few short tries of the client.
func (s *sending) send(ctx context.Context, chunk ledger.Chunk, text dhis2.Packed) answered {
	calls := newEvidence(s.BodyLimit)
	started := time.Now()
	o, err := s.who.to.Client.Import(calls.call(ctx, ""), s.dialect, text, dhis2.Options{DryRun: s.submission.DryRun})
	if err != nil { // it was stopped before anything left
		return unsent(chunk, ended{err: err})
	}
	sent := answered{chunk: chunk, answer: ledger.Answer{Outcome: o.After(chunk.Tried), Exchanges: calls.json()}, calls: calls}
	if len(o.Refused) > 0 { // the checks let it pass
		s.forgetMetadata(s.who)
	}
	sent.end = s.decide(ctx, chunk, text.Chunk, &sent.answer)
	s.tell(chunk, sent.answer.Outcome, time.Since(started))
	return sent
}

// Bounds of patience with single chunks.
const (
	// hopeless is how many chunks in a row may end unknown before no other one is tried, and how often one may before all
	// others are.
	hopeless = 3
	// raceTries is how often a chunk goes that DHIS2 refuses for its period alone, as it does when two first requests of
	// a new period meet.
	raceTries = 5
)

// decide says how it goes on after a chunk, and what is booked of it.
func (s *sending) decide(ctx context.Context, chunk ledger.Chunk, sent dhis2.Chunk, answer *ledger.Answer) ended {
	o := &answer.Outcome
	whole := chunk.To-chunk.From < 2 // a single org unit is not split
	if o.Next == dhis2.Smaller && whole && !chunk.Tried && o.Wait == 0 {
		*o = o.Final(sent) // too large for a proxy, and cannot be smaller
	}
	if o.Next == dhis2.Again && o.State == dhis2.StateRefused {
		if chunk.Attempts >= raceTries && chunk.Failure == o.Failure.Error() { // the tries before were not for an outage
			o.Next = dhis2.GoOn
		} else {
			o.State, o.Refused = dhis2.Unsent, nil
		}
	}
	switch {
	case o.Next == dhis2.GoOn:
		s.sizer.grow()
		return s.settle(chunk)
	case o.Next == dhis2.Narrow, o.Next == dhis2.Search:
		answer.Split = true // nothing of it is stored, and in one way or another it goes again
		return ended{after: narrower}
	case o.Next == dhis2.StopDataSet:
		return ended{after: stop, failure: &failure{state: ledger.Refused, reason: NothingAccepted, text: refusedText(*o), remedy: refusedRemedy(*o)}}
	case o.Next == dhis2.StopRun:
		s.noteDown(ctx, "DHIS2 "+s.who.to.Name, errorOf(o.Failure))
		s.last = o.Failure
		return ended{after: later}
	case o.Next == dhis2.Smaller && !whole:
		s.sizer.shrink()
		answer.Split = true
		if o.Wait == 0 {
			return ended{after: anew}
		}
	default:
		s.open++
	}
	s.last, s.longest = o.Failure, max(s.longest, o.Wait)
	if o.State == dhis2.Unknown {
		s.unknown++
	}
	if s.isOfChunk(*o) && s.unknown < hopeless && !answer.Split {
		return ended{after: goOn}
	}
	return ended{after: later}
}

// settle counts a chunk whose fate is decided.
func (s *sending) settle(chunk ledger.Chunk) ended {
	s.unknown, s.moved = 0, true
	s.done += chunk.Size + len(chunk.SetAside)
	return ended{after: goOn}
}

// isOfChunk says of a failure that the trouble may be with this chunk, so that others go on: where DHIS2 answers. Where it does
// not, it is away.
func (s *sending) isOfChunk(o dhis2.Outcome) bool {
	return o.Failure.Status == http.StatusOK || o.Failure.Status == http.StatusConflict || s.answers && o.State == dhis2.Unknown
}

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

// tell writes a chunk's outcome into the log and the metrics.
func (s *sending) tell(c ledger.Chunk, o dhis2.Outcome, took time.Duration) {
	s.contacted("DHIS2 "+s.who.to.Name, errorOf(o.Failure))
	s.Metrics.chunk(s.who.to.Name, string(o.State), took)
	log := s.log(s.submission.ID, s.submission.Key).WithFields(logrus.Fields{
		"chunk": c.Number, "attempt": c.Attempts, "values": c.Size, "accepted": o.Accepted, "refused": len(o.Refused), "took": took.Round(time.Millisecond).String(),
	})
	if o.Failure != nil {
		log.WithField("reason", o.Failure.Error()).Warn("chunk not accepted")
		return
	}
	log.Debug("chunk answered")
}

// errorOf gives nil for a failure that is none.
func errorOf(failure *dhis2.Error) error {
	if failure == nil {
		return nil
	}
	return failure
}

// sizer finds how many values go in one request: what the dialect does well with, half of it after each sign that it was
// too much, and slowly back.
type sizer struct {
	mu         sync.Mutex
	size, good int
	accepted   int // in a row
}

const (
	smallestChunk = 50
	growAfter     = 4
)

// sizer gives that of a data set's destination, which remembers what was too much.
func (s *Submitter) sizer(who parties, d dhis2.Dialect) *sizer {
	fresh := newSizer(d, who.set.ChunkValues)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sizers == nil {
		s.sizers = map[string]*sizer{}
	}
	key := who.to.Name + " " + who.set.ID
	if s.sizers[key] == nil || s.sizers[key].good != fresh.good {
		s.sizers[key] = fresh
	}
	return s.sizers[key]
}

func newSizer(d dhis2.Dialect, wanted int) *sizer {
	good, most := d.ChunkSize()
	if wanted > 0 {
		good = min(wanted, most)
	}
	return &sizer{size: good, good: good}
}

func (s *sizer) now() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

func (s *sizer) shrink() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size, s.accepted = max(min(smallestChunk, s.good), s.size/2), 0
}

func (s *sizer) grow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accepted++; s.accepted >= growAfter {
		s.size, s.accepted = min(s.good, s.size+s.size/4), 0
	}
}
