package orchestration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/cht-dhis2/mediator/internal/ledger"
)

// The steps, each of which is a kind of job. Which one is due follows from the submission's state; the kind of a job says
// only in which queue it waits.
const (
	prepareStep  = "prepare"
	sendStep     = "send"
	completeStep = "complete"
	concludeStep = "conclude"
)

type prepareJob struct {
	Submission string `json:"submission"`
}

type sendJob struct {
	Submission string `json:"submission"`
}

type completeJob struct {
	Submission string `json:"submission"`
}

type concludeJob struct {
	Submission string `json:"submission"`
}

// Kind names the step.
func (prepareJob) Kind() string { return prepareStep }

// Kind names the step.
func (sendJob) Kind() string { return sendStep }

// Kind names the step.
func (completeJob) Kind() string { return completeStep }

// Kind names the step.
func (concludeJob) Kind() string { return concludeStep }

func jobOf(step, id string) river.JobArgs {
	switch step {
	case prepareStep:
		return prepareJob{id}
	case sendStep:
		return sendJob{id}
	case completeStep:
		return completeJob{id}
	default:
		return concludeJob{id}
	}
}

// stepOf is the step that is due in a state.
func stepOf(state ledger.State) string {
	switch state {
	case ledger.Queued, ledger.Preparing:
		return prepareStep
	case ledger.Ready, ledger.Sending, ledger.Held:
		return sendStep
	case ledger.Completing:
		return completeStep
	default:
		return concludeStep
	}
}

// jobs puts jobs into the store.
type jobs struct{ client *river.Client[*sql.Tx] }

// Remember lets the submitter store its submissions in a ledger.
func (s *Submitter) Remember(l *ledger.Ledger) error {
	client, err := l.Jobs(&river.Config{})
	if err != nil {
		return err
	}
	s.Ledger, s.jobs = l, &jobs{client}
	return nil
}

// next adds a step's job to a transaction.
func (j *jobs) next(step string) ledger.Next {
	return func(ctx context.Context, tx *sql.Tx, id string) error {
		_, err := j.client.InsertTx(ctx, tx, jobOf(step, id), &river.InsertOpts{Queue: step, MaxAttempts: math.MaxInt16})
		if err != nil {
			return fmt.Errorf("add the job that goes on with it: %w", err)
		}
		return nil
	}
}

// insert lets the job that waits for a submission go at once, and adds one where none does, as while one is under way, which
// may have looked already.
func (j *jobs) insert(ctx context.Context, l *ledger.Ledger, sub ledger.Submission) error {
	return l.Together(ctx, "let submission "+sub.ID+" go on", func(tx *sql.Tx) error {
		waiting, err := l.StandingJobs(ctx, tx, sub.ID, prepareStep, sendStep, completeStep)
		if err == nil && len(waiting) == 0 {
			err = j.next(stepOf(sub.State))(ctx, tx, sub.ID)
		}
		for _, id := range waiting {
			if err == nil {
				_, err = j.client.JobRetryTx(ctx, tx, id)
			}
		}
		return err
	})
}

// alone removes the other jobs of a submission that wait, as a job that begins does what they are for. Else each of them
// would wait on its own, and a server that is away would be asked by all.
func (j *jobs) alone(ctx context.Context, l *ledger.Ledger, id string) error {
	return l.Together(ctx, "look after the jobs of submission "+id, func(tx *sql.Tx) error {
		waiting, err := l.StandingJobs(ctx, tx, id, prepareStep, sendStep, completeStep)
		for _, other := range waiting {
			if err == nil {
				_, err = j.client.JobDeleteTx(ctx, tx, other)
			}
		}
		return err
	})
}

// both makes one Next of two, either of which may be nil.
func both(first, second ledger.Next) ledger.Next {
	return func(ctx context.Context, tx *sql.Tx, id string) error {
		for _, next := range []ledger.Next{first, second} {
			if next == nil {
				continue
			}
			if err := next(ctx, tx, id); err != nil {
				return err
			}
		}
		return nil
	}
}

// Engine works the jobs of a store that this process has the worker role of.
type Engine struct {
	submitter *Submitter
	client    *river.Client[*sql.Tx]

	mu sync.Mutex
	// busy are the submissions under way, working the jobs.
	busy    map[string]bool
	working map[int64]bool
	// waits are the submissions under way of which a job that came meanwhile looks again.
	waits map[string]bool
	// faults are the steps that fail although no server does, by submission.
	faults map[string]fault
	// suspects are jobs that were called running and were not, the last time that somebody looked.
	suspects map[int64]bool
}

// How many steps of a kind are under way at once. Reading is held back further, to one a source and some in all.
const (
	preparers  = 64
	senders    = 16
	concluders = 2

	pollEvery = 200 * time.Millisecond
	// jobKept is how long a finished job stays.
	jobKept = time.Hour
	never   = 10 * 365 * 24 * time.Hour
)

// NewEngine makes an engine. The ledger's worker role must have been taken.
func NewEngine(s *Submitter) (*Engine, error) {
	e := &Engine{submitter: s, busy: map[string]bool{}, working: map[int64]bool{}, waits: map[string]bool{}, faults: map[string]fault{}}
	workers := river.NewWorkers()
	river.AddWorker(workers, worker[prepareJob]{engine: e, id: func(j prepareJob) string { return j.Submission }})
	river.AddWorker(workers, worker[sendJob]{engine: e, id: func(j sendJob) string { return j.Submission }})
	river.AddWorker(workers, worker[completeJob]{engine: e, id: func(j completeJob) string { return j.Submission }})
	river.AddWorker(workers, worker[concludeJob]{engine: e, id: func(j concludeJob) string { return j.Submission }})
	client, err := s.Ledger.Jobs(&river.Config{
		Workers: workers, FetchPollInterval: pollEvery, FetchCooldown: pollEvery / 2,
		Queues: map[string]river.QueueConfig{
			prepareStep: {MaxWorkers: preparers}, sendStep: {MaxWorkers: senders}, completeStep: {MaxWorkers: senders}, concludeStep: {MaxWorkers: concluders},
		},
		JobTimeout: -1, CompletedJobRetentionPeriod: jobKept, CancelledJobRetentionPeriod: jobKept, DiscardedJobRetentionPeriod: jobKept,
		// A job that is under way belongs to this process as long as it lives, and to the next one with the role after it.
		RescueStuckJobsAfter: never,
	})
	e.client = client
	return e, err
}

// Start begins to work. The context ends the work at once; Stop ends it in good order.
func (e *Engine) Start(ctx context.Context) error {
	return e.submitter.Ledger.Explain("begin to work the jobs", e.client.Start(ctx))
}

// Stop takes no new work and tells what is under way to stop: a request that is on its way is finished, the rest goes on
// with the next start. It returns when nothing is under way any more, or when the context ends.
func (e *Engine) Stop(ctx context.Context) error { return e.client.StopAndCancel(ctx) }

// Attend gives every unfinished submission a job that has none, so that nothing is forgotten whatever has happened.
func (e *Engine) Attend(ctx context.Context) error {
	left, err := e.submitter.Ledger.Unattended(ctx)
	for _, sub := range left {
		if err == nil {
			e.submitter.log(sub.ID, sub.Key).Warn("a submission had nobody to go on with it, and goes on now")
			err = e.submitter.jobs.insert(ctx, e.submitter.Ledger, sub)
		}
	}
	return err
}

// Free gives jobs back that the store calls running and that are not: their end could not be written down, as while the
// disk was full. A job counts as lost when it is found so twice, as one that begins is called running before it is.
func (e *Engine) Free(ctx context.Context) error {
	running, err := e.submitter.Ledger.RunningJobs(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	suspects := map[int64]bool{}
	var lost []int64
	for _, id := range running {
		switch {
		case e.working[id]:
		case e.suspects[id]:
			lost = append(lost, id)
		default:
			suspects[id] = true
		}
	}
	e.suspects = suspects
	e.mu.Unlock()
	if len(lost) == 0 {
		return nil
	}
	return e.submitter.Ledger.FreeJobs(ctx, lost...)
}

// Hasten lets jobs go at once that wait for longer than any pause is: their time was set by a clock that ran ahead, and was
// set right since.
func (e *Engine) Hasten(ctx context.Context) error {
	const several = 100 // the others come with the next look
	late := river.NewJobListParams().States(rivertype.JobStateScheduled).OrderBy(river.JobListOrderByScheduledAt, river.SortOrderDesc).First(several)
	list, err := e.client.JobList(ctx, late)
	if err != nil {
		return fmt.Errorf("look for jobs that wait for too long: %w", err)
	}
	latest := time.Now().Add(max(e.submitter.longestPause(), mendingPause) + longerThanAny)
	for _, job := range list.Jobs {
		if !job.ScheduledAt.After(latest) {
			continue
		}
		if _, err := e.client.JobRetry(ctx, job.ID); err != nil && !errors.Is(err, rivertype.ErrNotFound) {
			return fmt.Errorf("let a job go that waits for too long: %w", err)
		}
	}
	return nil
}

// longerThanAny is by how much a pause may be longer than the longest, as the server may still be at work on a request.
const longerThanAny = 10 * time.Minute

type worker[A river.JobArgs] struct {
	river.WorkerDefaults[A]

	engine *Engine
	id     func(A) string
}

// Work does the step that is due for the job's submission. None ends with an error, as that would use a try up.
func (w worker[A]) Work(ctx context.Context, job *river.Job[A]) error {
	return w.engine.work(ctx, job.JobRow, w.id(job.Args))
}

// Timeout is none: each step has limits of its own.
func (worker[A]) Timeout(*river.Job[A]) time.Duration { return -1 }

const (
	// storeAway is the pause after trouble with the store.
	storeAway = 10 * time.Second
	// shortly is when a job looks again whose submission is under way in another one.
	shortly = 5 * time.Second
)

func (e *Engine) work(ctx context.Context, job *rivertype.JobRow, id string) error {
	if !e.take(job.ID, id) {
		if job.Kind != concludeStep && e.another(id) {
			return nil
		}
		return river.JobSnooze(shortly)
	}
	defer e.give(job.ID, id)
	var p *pause
	var err error
	if job.Kind != concludeStep {
		err = e.submitter.jobs.alone(ctx, e.submitter.Ledger, id)
		e.forgetOthers(id)
	}
	if err == nil {
		p, err = e.step(ctx, id, job.Kind)
	}
	if err == nil && p != nil && ctx.Err() == nil {
		return e.pause(ctx, id, p)
	}
	switch {
	case ctx.Err() != nil: // the service stops; the next one goes on at once
		return river.JobSnooze(0)
	case errors.Is(err, ledger.ErrNotFound), errors.Is(err, ledger.ErrState): // somebody else was faster
		return nil
	case err != nil:
		return e.endure(ctx, id, job.Kind, err)
	}
	e.well(id)
	return nil
}

// step does a step. That it panics is a fault as any other.
func (e *Engine) step(ctx context.Context, id, kind string) (p *pause, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			p, err = nil, &bugError{what: recovered, stack: debug.Stack()}
		}
	}()
	return e.submitter.step(ctx, id, kind)
}

// bugError is a step that panicked.
type bugError struct {
	what  any
	stack []byte
}

func (e *bugError) Error() string { return fmt.Sprintf("a bug of the mediator: %v", e.what) }

// Hint says what a person can do about it.
func (*bugError) Hint() string {
	return "report it, with what the mediator's log says; another version may not have it"
}

// pause lets a job wait.
func (e *Engine) pause(ctx context.Context, id string, p *pause) error {
	wait, err := e.submitter.waits(ctx, id, p)
	switch {
	case err != nil:
		return e.endure(ctx, id, "", err)
	case wait == 0: // the submission has ended
		e.well(id)
		return nil
	case !p.ours:
		e.well(id)
	}
	return river.JobSnooze(wait)
}

// fault is a step that fails: since when, and how.
type fault struct {
	since time.Time
	text  string
}

// endure lets a job go again whose step failed although no server did, and tells so once. Trouble with the store passes in
// most cases, and then work goes on soon. Any other fault is waited for as a server is: longer and longer, and as long as
// the submission's window lasts.
func (e *Engine) endure(ctx context.Context, id, kind string, err error) error {
	now := e.submitter.now()
	e.mu.Lock()
	f, known := e.faults[id]
	if !known || now.Before(f.since) {
		f.since = now
	}
	news := f.text != err.Error()
	f.text = err.Error()
	e.faults[id] = f
	e.mu.Unlock()
	if news {
		log := e.submitter.logger().WithField("submission", id).WithError(err)
		if bug := (*bugError)(nil); errors.As(err, &bug) {
			log = log.WithField("stack", string(bug.stack))
		}
		log.Error("a step could not be stored, and is tried again")
	}
	switch {
	case errors.As(err, new(*ledger.Error)) || kind == "":
		return river.JobSnooze(storeAway)
	case kind == concludeStep:
		return river.JobSnooze(grown(now.Sub(f.since), e.submitter.longestPause()))
	}
	return e.pause(ctx, id, &pause{failure: failureOf(err), passes: true, ours: true})
}

// well forgets the fault of a submission.
func (e *Engine) well(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.faults, id)
}

// take marks a submission as being under way, unless it is.
func (e *Engine) take(job int64, id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.working[job] = true
	if e.busy[id] {
		delete(e.working, job)
		return false
	}
	e.busy[id] = true
	return true
}

// another says whether a job that came before looks again at a submission under way, which is enough. Where many waited
// in turn, each turn would only end one of them.
func (e *Engine) another(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.waits[id]
	e.waits[id] = true
	return known
}

func (e *Engine) forgetOthers(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waits, id)
}

func (e *Engine) give(job int64, id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waits, id)
	delete(e.busy, id)
	delete(e.working, job)
}
