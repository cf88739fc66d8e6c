package orchestration

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cht-dhis2/mediator/internal/ledger"
)

// Service carries submissions by itself: it works the jobs of the store, keeps the schedule, and does the housekeeping.
// Of several processes on one store one does so, the one with the worker role; the others stand by (docs/adr/0001).
type Service struct {
	*Scheduler

	// Keep says for how long what is remembered.
	Keep ledger.Keep
	// Beside is done as long as this process has the worker role: letters are delivered, OpenHIM is told that the mediator
	// lives. Each returns soon after its context ends.
	Beside []func(ctx context.Context)
	// OpenHIM says how it stands with OpenHIM; nil where there is none.
	OpenHIM func() Check

	engine *Engine
}

// NewService makes a service of a submitter that has a ledger.
func NewService(s *Submitter) *Service {
	s.serving = true
	return &Service{Scheduler: NewScheduler(s)}
}

const (
	// roleEvery is how often a process that stands by looks whether the role is free.
	roleEvery = 2 * time.Second
	// stopFor is how long a stop may take: a request on its way gets 20 seconds.
	stopFor = 25 * time.Second
	// thinEvery is how often what is old is removed, beginning an hour after the start.
	thinEvery = 24 * time.Hour
	thinFirst = time.Hour
	// freeEvery is how often lost jobs are looked for.
	freeEvery = 30 * time.Second
)

// Run works until the context ends, and then stops in good order: what is on its way is finished, the rest goes on with
// the next start. A process that loses the worker role stops its work, and stands by until it has the role again.
func (s *Service) Run(ctx context.Context) error {
	for {
		err := s.awaitRole(ctx)
		if err == nil {
			// The process that had the role until now may have taken another configuration from the console.
			err = s.LoadConsole(ctx)
		}
		if err == nil {
			err = s.work(ctx)
		} else if ctx.Err() != nil {
			return nil //nolint:nilerr // it was stopped before it began to work
		}
		if ctx.Err() != nil || err != nil && !s.mayPass(err) {
			return err
		}
		if err != nil {
			s.logger().WithError(err).Error("the work cannot begin, and is tried again")
		}
		if err := s.Ledger.StepDown(ctx); err != nil {
			s.logger().WithError(err).Error("the worker role could not be given back, and ends by itself")
		}
		if err != nil && !standsBy(ctx) {
			return nil
		}
	}
}

// standsBy waits until it is time to look again, and says whether it still is.
func standsBy(ctx context.Context) bool {
	timer := time.NewTimer(roleEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// mayPass says whether it is trouble with the store that may be over when it is tried again.
func (s *Service) mayPass(err error) bool {
	var trouble *ledger.Error
	return errors.As(err, &trouble) && s.waitable(trouble.Kind)
}

// work works until the context ends or the role is lost.
func (s *Service) work(ctx context.Context) (err error) {
	if s.engine, err = NewEngine(s.Submitter); err != nil {
		return err
	}
	if err := s.engine.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	s.logger().Info("the service works")
	working, end := context.WithCancel(ctx)
	defer end()
	var all sync.WaitGroup
	for _, one := range append([]func(context.Context){s.Scheduler.Run, s.keepHouse}, s.Beside...) {
		all.Go(func() { one(working) })
	}
	select {
	case <-ctx.Done():
		s.logger().Info("the service stops: what is on its way is finished, the rest goes on with the next start")
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopFor)
		defer cancel()
		err = s.engine.Stop(stopping)
	case <-s.Ledger.RoleLost():
		s.logger().Warn("this process has lost the worker role: it finishes what is on its way and stands by")
		end()
		// Nobody may still work when it steps down, so it waits for as long as a request may take.
		err = s.engine.Stop(context.WithoutCancel(ctx))
	}
	all.Wait()
	return err
}

// awaitRole waits until no other process works the jobs of the store. Meanwhile it follows what that one is told by the
// console, which it needs for the requests that it takes, and when it takes over.
func (s *Service) awaitRole(ctx context.Context) error {
	told := ledger.Kind("")
	for {
		err := s.Ledger.TakeRole(ctx)
		var trouble *ledger.Error
		isTaken := errors.As(err, &trouble) && trouble.Kind == ledger.Taken
		if told != "" && isTaken || err == nil {
			if err := s.LoadConsole(ctx); err != nil && ctx.Err() == nil {
				s.logger().WithError(err).Error("what the console says could not be read")
			}
		}
		if err == nil || trouble == nil || !s.waitable(trouble.Kind) {
			return err
		}
		if trouble.Kind != told {
			s.tellStandby(trouble)
			told = trouble.Kind
		}
		if !standsBy(ctx) {
			return ctx.Err()
		}
	}
}

// waitable says whether the role may be had later. A database server may come back from anything but a newer version of the
// mediator, as it is another's; a file may not.
func (s *Service) waitable(kind ledger.Kind) bool {
	switch kind {
	case ledger.Taken, ledger.Full, ledger.Busy:
		return true
	case ledger.Unreachable, ledger.ReadOnly, ledger.Denied:
		return s.Ledger.IsShared()
	default:
		return false
	}
}

// tellStandby logs why this process does not work the jobs yet.
func (s *Service) tellStandby(why *ledger.Error) {
	log := s.logger().WithField("reason", why.What)
	if why.Kind == ledger.Taken {
		log.Warn("another process works with this store; this one stands by until that ends")
		return
	}
	log.WithField("remedy", why.Remedy).Error("the work cannot be taken up yet; this process stands by until it can")
}

// keepHouse gives lost jobs back and removes what is old.
func (s *Service) keepHouse(ctx context.Context) {
	free, thin := time.NewTicker(freeEvery), time.NewTimer(thinFirst)
	defer free.Stop()
	defer thin.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-free.C:
			if err := errors.Join(s.engine.Free(ctx), s.engine.Attend(ctx), s.engine.Hasten(ctx)); err != nil && ctx.Err() == nil {
				s.logger().WithError(err).Error("the jobs could not be looked after")
			}
		case <-thin.C:
			thin.Reset(thinEvery)
			n, err := s.Ledger.Thin(ctx, s.Keep)
			log := s.logger().WithField("submissions", n)
			if err != nil && ctx.Err() == nil {
				log.WithError(err).Error("what is old could not be removed")
				continue
			}
			log.Info("what is old is removed")
		}
	}
}

// Ready tells whether the service can do its work, and what is missing.
func (s *Service) Ready(ctx context.Context) Readiness {
	r := Readiness{Ready: true, Role: "standing_by"}
	if s.Ledger.HasRole() {
		r.Role = "working"
	}
	now := s.now().UTC()
	store := Check{Name: "store", State: checkOK, Since: &now}
	if err := s.Ledger.Ping(ctx); err != nil {
		r.Ready = false
		store.State, store.Reason = checkFailed, string(Fault)
		var trouble *ledger.Error
		if errors.As(err, &trouble) {
			store.Reason = string(trouble.Kind)
			store.Remedy = "see the mediator's log"
		}
	}
	r.Checks = append(r.Checks, store)
	if fault := s.ConsoleFault(ctx); fault != "" {
		r.Checks = append(r.Checks, Check{Name: "configuration", State: checkFailed, Reason: "console_refused", Remedy: fault})
	}
	if s.OpenHIM != nil {
		r.Checks = append(r.Checks, s.OpenHIM())
	}
	contacts := s.Contacts()
	names := []string{}
	for name := range s.Sources {
		names = append(names, "CHT "+name)
	}
	for name := range s.Destinations {
		names = append(names, "DHIS2 "+name)
	}
	slices.Sort(names)
	for _, name := range names {
		r.Checks = append(r.Checks, contacts[name].check(name))
	}
	return r
}

// The states of a Check.
const (
	checkOK      = "ok"
	checkFailed  = "failed"
	checkUnknown = "unknown"
)

func (c Contact) check(name string) Check {
	switch {
	case c.Reason != "":
		return Check{Name: name, State: checkFailed, Since: timeOrNil(c.Failed), Reason: string(c.Reason)}
	case c.OK.IsZero():
		return Check{Name: name, State: checkUnknown}
	default:
		return Check{Name: name, State: checkOK, Since: timeOrNil(c.OK)}
	}
}
