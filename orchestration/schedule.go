package orchestration

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

// BySchedule is who asks for the submissions that the schedule begins.
const BySchedule = "schedule"

const (
	// tickEvery is how often somebody looks for what is due.
	tickEvery = 30 * time.Second
	// askFor is how long a source may take to say how it counts its months, askEvery how often it is asked in vain.
	askFor   = 10 * time.Second
	askEvery = 5 * time.Minute
	// mostDue is how many periods one look takes up, those included that wait for their hours.
	mostDue = 10_000
)

// Scheduler is a Submitter that submits by itself. It keeps a list of the periods that are due and done, which is stored,
// and goes by that list and not by the clock's ticks: after an outage it catches up, each period once.
type Scheduler struct {
	*Submitter

	// Router begins a submission through OpenHIM's own channel, so that the console sees it as any other, and gives its
	// id. Nil begins it without, and so does a Router that fails.
	Router func(ctx context.Context, r Request) (submission string, err error)

	// asked is when a source was asked last how it counts, in vain.
	asked map[string]time.Time
	turn  chan struct{}
}

// NewScheduler makes the schedule of a submitter.
func NewScheduler(s *Submitter) *Scheduler {
	return &Scheduler{Submitter: s, asked: map[string]time.Time{}, turn: make(chan struct{}, 1)}
}

// Run looks for what is due until the context ends.
func (s *Scheduler) Run(ctx context.Context) {
	for {
		if _, err := s.Tick(ctx, BySchedule); err != nil && ctx.Err() == nil {
			s.logger().WithError(err).Error("the schedule could not be kept")
		}
		s.dropOldMetadata()
		timer := time.NewTimer(tickEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// Tick submits what is due, and gives what it began. Of several at once the others wait.
func (s *Scheduler) Tick(ctx context.Context, by string) (begun []ledger.Submission, err error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := s.endUnapproved(ctx); err != nil {
		return nil, err
	}
	timings, err := s.plan(ctx)
	if err != nil {
		return nil, err
	}
	due, err := s.Ledger.Due(ctx, mostDue)
	if err != nil {
		return nil, err
	}
	for _, p := range due {
		timing, ok := timings[partOf(p.Key)]
		if !ok || !s.Operation(p.DataSet).Enabled || !timing.Due(p, s.now()) {
			continue
		}
		sub, err := s.begin(ctx, p, timing, by)
		switch {
		case errors.Is(err, ledger.ErrStale): // another one has begun it
		case errors.As(err, new(*NotNowError)): // it stays due, as where some org units of it are being sent
		case errors.Is(err, ledger.ErrQueueFull), ctx.Err() != nil:
			return begun, nil // what is left stays due
		case err != nil:
			s.logger().WithError(err).WithField("data_set", p.DataSet).WithField("period", p.Period.String()).Error("what is due could not be begun")
		default:
			begun = append(begun, sub)
		}
	}
	return begun, nil
}

// mostHeld is how many held submissions one look takes up.
const mostHeld = 1000

// endUnapproved ends what is held and was not approved in its window: it would hold up its period for ever, and its figures
// are old by then.
func (s *Scheduler) endUnapproved(ctx context.Context) error {
	held, err := s.Ledger.Submissions(ctx, ledger.Filter{States: []ledger.State{ledger.Held}, Limit: mostHeld})
	if err != nil {
		return err
	}
	for _, sub := range held {
		if !s.now().After(s.windowEnd(sub)) {
			continue
		}
		f := failure{
			state: ledger.Refused, reason: NothingAccepted,
			text:   "nobody approved it by " + s.windowEnd(sub).Format(time.DateOnly),
			remedy: "submit the period again, and approve it, if it is still to be sent",
		}
		switch err := s.endHeld(ctx, sub.ID, &f); {
		case errors.Is(err, ledger.ErrState): // it was approved, or ended, at this moment
		case err != nil:
			return err
		default:
			s.log(sub.ID, sub.Key).Warn("a held submission ends, as nobody approved it")
		}
	}
	return nil
}

// schedulePart is a data set of one source.
type schedulePart struct{ dhis2, dataSet, cht string }

func partOf(k ledger.Key) schedulePart { return schedulePart{k.DHIS2, k.DataSet, k.CHT} }

// plan brings the list up to date: periods that have closed, and settings that have changed.
func (s *Scheduler) plan(ctx context.Context) (map[schedulePart]Timing, error) {
	known, err := s.Ledger.Schedule(ctx)
	if err != nil {
		return nil, err
	}
	timings := map[schedulePart]Timing{}
	for _, set := range s.DataSets {
		for _, source := range set.CHT {
			key := ledger.Key{DHIS2: set.DHIS2, DataSet: set.ID, CHT: source}
			timing, err := s.timing(ctx, set, s.Sources[source])
			if err != nil || timing == nil {
				continue // told by Schedule
			}
			timings[partOf(key)] = *timing
			own := rowsOf(known, key)
			if err := s.planRows(ctx, *timing, own, key); err != nil {
				return nil, err
			}
		}
	}
	return timings, nil
}

func rowsOf(known []ledger.Planned, key ledger.Key) []ledger.Planned {
	return slices.DeleteFunc(slices.Clone(known), func(p ledger.Planned) bool { return partOf(p.Key) != partOf(key) })
}

func (s *Scheduler) planRows(ctx context.Context, timing Timing, own []ledger.Planned, key ledger.Key) error {
	now := s.now()
	changed := timing.Missing(own, key, now)
	for _, p := range own {
		if anew := timing.Replan(p, now); anew != p {
			changed = append(changed, anew)
		}
	}
	for _, p := range changed {
		if err := s.Ledger.Plan(ctx, p); err != nil && !errors.Is(err, ledger.ErrStale) {
			return err
		}
	}
	return nil
}

// timing is when the periods of a data set are sent from a source, which is asked where nobody knows how it counts; nil
// where nothing is scheduled.
func (s *Scheduler) timing(ctx context.Context, set DataSet, from Source) (*Timing, error) {
	timing, err := s.knownTiming(ctx, set, from)
	if !errors.Is(err, errNoCalendar) || s.now().Sub(s.asked[from.Name]) < askEvery {
		return timing, err
	}
	s.asked[from.Name] = s.now()
	asking, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	if _, err := s.calendar(asking, from); err != nil {
		return nil, err
	}
	return s.knownTiming(ctx, set, from)
}

var errNoCalendar = errors.New("the CHT has not said yet how it counts its months")

// knownTiming is timing without asking anybody.
func (s *Scheduler) knownTiming(ctx context.Context, set DataSet, from Source) (*Timing, error) {
	o := s.Operation(set.ID)
	if o.Schedule == "" {
		return nil, nil
	}
	cron, err := ParseCron(o.Schedule)
	if err != nil {
		return nil, err
	}
	hours, err := ParseHours(o.SendingHours)
	if err != nil {
		return nil, err
	}
	calendar, _, err := s.knownCalendar(ctx, from)
	if err != nil {
		return nil, err
	}
	if calendar == nil {
		return nil, errNoCalendar
	}
	return &Timing{
		Schedule: cron, Zone: from.zone(), FirstPeriod: set.FirstPeriod, FirstAfterDays: o.FirstAfterDays, RereadDays: o.RereadDays,
		MinimumDays: set.Coverage.MinimumDays, Hours: hours, Jitter: o.Jitter, ExpiryDays: s.expiry(ctx, set.DHIS2, set.ID),
		LastDay: func(p dhis2.Period) time.Time { return lastDay(calendar, p) },
	}, nil
}

// begin submits a period that is due, and writes down when it is due next, in one transaction.
func (s *Scheduler) begin(ctx context.Context, p ledger.Planned, timing Timing, by string) (ledger.Submission, error) {
	r := Request{DataSet: p.DataSet, Period: p.Period.String(), CHT: p.CHT, RequestedBy: by}
	if s.Router != nil {
		id, err := s.Router(ctx, r)
		if err == nil {
			if err := s.Ledger.Plan(ctx, timing.Started(p, id, s.now())); err != nil {
				return ledger.Submission{}, err
			}
			return s.Ledger.Submission(ctx, id)
		}
		s.logger().WithError(err).WithField("data_set", p.DataSet).WithField("period", p.Period.String()).Warn("OpenHIM's channel did not take it, so it begins without")
	}
	sub, began, err := s.Begin(ctx, r, func(ctx context.Context, tx *sql.Tx, id string) error {
		return s.Ledger.PlanTx(ctx, tx, timing.Started(p, id, s.now()))
	})
	if err == nil && !began {
		err = s.Ledger.Plan(ctx, timing.Started(p, sub.ID, s.now()))
	}
	return sub, err
}

// Schedule tells what ran, what is next and what is overdue.
func (s *Scheduler) Schedule(ctx context.Context) (Schedule, error) {
	known, err := s.Ledger.Schedule(ctx)
	if err != nil {
		return Schedule{}, err
	}
	schedule := Schedule{Now: s.now().UTC(), DataSets: []ScheduledPart{}}
	for _, set := range s.DataSets {
		for _, source := range set.CHT {
			one, err := s.scheduled(ctx, set, source, rowsOf(known, ledger.Key{DHIS2: set.DHIS2, DataSet: set.ID, CHT: source}))
			if err != nil {
				return Schedule{}, err
			}
			schedule.DataSets = append(schedule.DataSets, one)
		}
	}
	return schedule, nil
}

func (s *Scheduler) scheduled(ctx context.Context, set DataSet, source string, rows []ledger.Planned) (ScheduledPart, error) {
	o := s.Operation(set.ID)
	one := ScheduledPart{
		DataSet: set.ID, Title: set.Title, CHT: source, DHIS2: set.DHIS2, Enabled: o.Enabled, Schedule: o.Schedule,
		FirstAfterDays: o.FirstAfterDays, RereadDays: o.RereadDays, Hold: o.Hold, Differs: o.differs(set.Operation), Periods: []ScheduledPeriod{},
	}
	timing, err := s.knownTiming(ctx, set, s.Sources[source])
	if err != nil {
		one.Problem = err.Error()
	}
	for _, p := range rows {
		period := ScheduledPeriod{
			Period: p.Period.String(), State: "planned", DueAt: timeOrNil(p.DueAt), StartedAt: timeOrNil(p.StartedAt), Submission: p.Submission,
		}
		switch {
		case p.Done:
			period.State, period.DueAt = "done", nil
		case timing != nil && timing.Overdue(p, s.now()):
			period.State = "overdue"
			one.Overdue++
		case !p.DueAt.After(s.now()):
			period.State = "due"
		}
		if !p.Done && (one.NextAt == nil || p.DueAt.Before(*one.NextAt)) {
			one.NextAt = timeOrNil(p.DueAt)
		}
		if p.Submission != "" {
			sub, err := s.Ledger.Submission(ctx, p.Submission)
			if err != nil && !errors.Is(err, ledger.ErrNotFound) {
				return one, err
			}
			period.Ended = string(sub.State)
		}
		one.Periods = append(one.Periods, period)
	}
	return one, nil
}
