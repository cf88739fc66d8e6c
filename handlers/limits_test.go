package handlers

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cht-dhis2/mediator/orchestration"
)

// TestLimitsAreTold registers the limits of the door beside those of the flow, as the program does.
func TestLimitsAreTold(t *testing.T) {
	registry := prometheus.NewRegistry()
	newBench(t, 0, func(c *Config) {
		registry.MustRegister(orchestration.NewStoreMetrics(orchestration.NewScheduler(c.Submitter)))
		c.Requests, c.Limits = 7, registry
	})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		if family.GetName() != orchestration.LimitMetric {
			continue
		}
		for _, metric := range family.GetMetric() {
			got[metric.GetLabel()[0].GetValue()] = metric.GetGauge().GetValue()
		}
	}
	if got["requests"] != 7 || got["previews"] != usualPreviews || got["readers"] == 0 || got["queue"] == 0 {
		t.Errorf("got %v", got)
	}
}
