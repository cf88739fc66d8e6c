package orchestration

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cht-dhis2/mediator/internal/ledger"
)

// Metrics counts what the steps do. A nil Metrics counts nothing. Its labels come from closed sets and from the names in
// the configuration.
type Metrics struct {
	submissions *prometheus.CounterVec
	values      *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	waits       *prometheus.CounterVec
	success     *prometheus.GaugeVec
}

const namespace = "mediator"

// NewMetrics makes the metrics and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		submissions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "submissions_total", Help: "Submissions that ended, by data set and by how they ended.",
		}, []string{"data_set", "state", "reason"}),
		values: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "values_total", Help: "Values of the submissions that ended, by what became of them.",
		}, []string{"data_set", "fate"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "chunk_seconds", Help: "How long DHIS2 took for a request with values, its short tries included.",
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 25, 50, 100},
		}, []string{"dhis2", "state"}),
		waits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "waits_total", Help: "Pauses before another try, by their reason.",
		}, []string{"reason"}),
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Name: "last_success_timestamp_seconds", Help: "When the last submission of a data set and source ended with everything accepted.",
		}, []string{"data_set", "cht"}),
	}
	r.MustRegister(m.submissions, m.values, m.seconds, m.waits, m.success)
	return m
}

func (m *Metrics) ended(sub ledger.Submission) {
	if m == nil || sub.DryRun || !sub.State.Ended() {
		return
	}
	m.submissions.WithLabelValues(sub.DataSet, string(sub.State), sub.Reason).Inc()
	c := sub.Counts
	for fate, n := range map[string]int{
		"fetched": c.Fetched, "dropped": c.Dropped, "quarantined": c.Quarantined, "unchanged": c.Unchanged, "accepted": c.Accepted,
		"refused": c.Refused, "unknown": c.Unknown, "unsent": c.Unsent,
	} {
		m.values.WithLabelValues(sub.DataSet, fate).Add(float64(n))
	}
	if sub.State == ledger.Accepted || sub.State == ledger.Unchanged {
		m.success.WithLabelValues(sub.DataSet, sub.CHT).Set(float64(sub.EndedAt.Unix()))
	}
}

func (m *Metrics) chunk(destination, state string, took time.Duration) {
	if m != nil {
		m.seconds.WithLabelValues(destination, state).Observe(took.Seconds())
	}
}

func (m *Metrics) waited(reason Reason) {
	if m != nil {
		m.waits.WithLabelValues(string(reason)).Inc()
	}
}
