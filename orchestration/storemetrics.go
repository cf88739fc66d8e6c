package orchestration

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cht-dhis2/mediator/internal/ledger"
)

// storeMetrics tells how full the store is, as it is at the time that somebody asks.
type storeMetrics struct {
	schedule                                    *Scheduler
	up, size, queued, waiting, outbox, age, due *prometheus.Desc
	expected, seen, below                       *prometheus.Desc
	// limit and inUse are by what there is a limit of.
	limit, inUse map[string]*prometheus.Desc
}

// The metrics of limits, by what they are limits of. Each package tells of its own.
const (
	LimitMetric = namespace + "_limit"
	LimitHelp   = "How much there may be of something, as the settings say."
	InUseMetric = namespace + "_in_use"
	InUseHelp   = "How much of what has a limit is in use."
)

// NewStoreMetrics makes the metrics of what waits in the store of a schedule.
func NewStoreMetrics(s *Scheduler) prometheus.Collector {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
	}
	limit, inUse := map[string]*prometheus.Desc{}, map[string]*prometheus.Desc{}
	for _, of := range []string{"store_bytes", "queue", "readers"} {
		limit[of] = prometheus.NewDesc(LimitMetric, LimitHelp, nil, prometheus.Labels{"of": of})
		inUse[of] = prometheus.NewDesc(InUseMetric, InUseHelp, nil, prometheus.Labels{"of": of})
	}
	return &storeMetrics{
		schedule: s, limit: limit, inUse: inUse,
		up:      describe("store_up", "1 where the store can be read."),
		size:    describe("store_bytes", "Size of the store on disk."),
		queued:  describe("submissions_unfinished", "Submissions that have not ended, by their state.", "state"),
		waiting: describe("submissions_waiting", "Submissions that wait for a server."),
		outbox:  describe("outbox_letters", "Reports and notices that are not delivered yet, or that nobody takes.", "state"),
		age:     describe("outbox_oldest_seconds", "Age of the oldest report or notice that waits."),
		due:     describe("periods", "Periods of the schedule that are due, and those that are overdue.", "state"),

		expected: describe("workers_expected", "Workers who are expected to sync, in the last period that was read.", "data_set", "cht", "dhis2"),
		seen:     describe("workers_seen", "Those of them who have.", "data_set", "cht", "dhis2"),
		below:    describe("org_units_below_coverage", "Org units of that period from which too few of them have.", "data_set", "cht", "dhis2"),
	}
}

// Describe gives the metrics that there are.
func (m *storeMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.up, m.size, m.queued, m.waiting, m.outbox, m.age, m.due, m.expected, m.seen, m.below} {
		to <- d
	}
	for of := range m.limit {
		to <- m.limit[of]
		to <- m.inUse[of]
	}
}

// readFor is how long reading the numbers may take.
const readFor = 5 * time.Second

// Collect reads the numbers. Those that cannot be read are left out.
func (m *storeMetrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readFor)
	defer cancel()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	l := m.schedule.Ledger
	size, err := l.Size(ctx)
	if err != nil {
		gauge(m.up, 0)
		return
	}
	gauge(m.up, 1)
	gauge(m.size, float64(size))
	bounded := func(of string, limit, inUse float64) {
		gauge(m.limit[of], limit)
		gauge(m.inUse[of], inUse)
	}
	queue, bytes := l.Limits()
	if bytes > 0 {
		bounded("store_bytes", float64(bytes), float64(size))
	}
	reading, readers := m.schedule.Reading()
	bounded("readers", float64(readers), float64(reading))
	if states, waiting, err := l.Unfinished(ctx); err == nil {
		for _, state := range []ledger.State{ledger.Queued, ledger.Preparing, ledger.Held, ledger.Ready, ledger.Sending, ledger.Completing} {
			gauge(m.queued, float64(states[state]), string(state))
		}
		gauge(m.waiting, float64(waiting))
		bounded("queue", float64(queue), float64(states[ledger.Queued]))
	}
	if backlog, err := l.Backlog(ctx); err == nil {
		gauge(m.outbox, float64(backlog.Waiting), "waiting")
		gauge(m.outbox, float64(backlog.Parked), "parked")
		age := 0.0
		if !backlog.Oldest.IsZero() {
			age = m.schedule.now().Sub(backlog.Oldest).Seconds()
		}
		gauge(m.age, age)
	}
	if coverage, err := l.LatestCoverage(ctx); err == nil {
		for _, c := range coverage {
			if who, err := m.schedule.parties(c.Key.DataSet, c.Key.CHT); err != nil || who.set.DHIS2 != c.Key.DHIS2 || !who.set.Coverage.On || c.Key.Period.Type() != who.set.periodType() {
				continue // it was configured so once
			}
			gauge(m.expected, float64(c.Totals.Expected), c.Key.DataSet, c.Key.CHT, c.Key.DHIS2)
			gauge(m.seen, float64(c.Totals.Seen), c.Key.DataSet, c.Key.CHT, c.Key.DHIS2)
			gauge(m.below, float64(c.Totals.OrgUnitsBelow), c.Key.DataSet, c.Key.CHT, c.Key.DHIS2)
		}
	}
	if schedule, err := m.schedule.Schedule(ctx); err == nil {
		due, overdue := 0, 0
		for _, part := range schedule.DataSets {
			overdue += part.Overdue
			for _, p := range part.Periods {
				if p.State == "due" || p.State == "overdue" {
					due++
				}
			}
		}
		gauge(m.due, float64(due), "due")
		gauge(m.due, float64(overdue), "overdue")
	}
}
