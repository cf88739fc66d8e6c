package handlers

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/orchestration"
)

const readiness = Base + "/readiness"

func TestReadinessTellsWhatWasFound(t *testing.T) {
	b := newBench(t, 0, nil)
	a := b.call(t, http.MethodGet, readiness, "")
	var made orchestration.Examination
	a.into(t, &made)
	if a.status != http.StatusOK || len(made.Findings) < 10 || made.State != orchestration.Amber {
		t.Errorf("%d: %s", a.status, a.body)
	}
	for range len(b.asked) {
		<-b.asked
	}
	again := b.call(t, http.MethodGet, readiness, "", throughOpenHIM)
	if again.outer == nil || string(again.body) != string(a.body) || len(b.asked) > 0 {
		t.Errorf("the CHT was asked %d times for what was found just now: %s", len(b.asked), again.body)
	}
	if imports := b.dhis2.Imports(); len(imports) > 0 {
		t.Errorf("%d imports", len(imports))
	}
}

func TestReadinessIsAPageWhereOneIsAskedFor(t *testing.T) {
	b := newBench(t, 0, nil)
	a := b.call(t, http.MethodGet, readiness, "", header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"))
	if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || !strings.Contains(string(a.body), "can_export_all") {
		t.Errorf("%d %s: %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	if policy := a.header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("the page may do anything: %q", policy)
	}
}

func TestReadinessIsForCallers(t *testing.T) {
	b := newBench(t, 0, nil)
	if a := b.call(t, http.MethodGet, readiness, "", noCredential); a.status != http.StatusUnauthorized {
		t.Errorf("it answered %d", a.status)
	}
	if a := b.call(t, http.MethodGet, readiness+"?deep=true", ""); a.status != http.StatusBadRequest {
		t.Errorf("an unknown parameter is answered %d", a.status)
	}
	if len(b.asked) > 0 {
		t.Error("the CHT was asked in vain")
	}
}

func TestOnlySomeMayWaitForReadiness(t *testing.T) {
	waiting, finish := make(chan struct{}), make(chan struct{})
	b := newBench(t, 0, func(c *Config) {
		c.Examine = func(context.Context) (orchestration.Examination, error) {
			waiting <- struct{}{}
			<-finish
			return orchestration.Examination{ExaminedAt: time.Now(), State: orchestration.Green, Findings: []orchestration.Finding{}}, nil
		}
	})
	ended := make(chan int, mostExaminations)
	for range mostExaminations {
		go func() { ended <- b.call(t, http.MethodGet, readiness, "").status }()
		<-waiting
	}
	if a := b.call(t, http.MethodGet, readiness, ""); a.status != http.StatusTooManyRequests {
		t.Errorf("one more is answered %d", a.status)
	}
	close(finish)
	for range mostExaminations {
		if status := <-ended; status != http.StatusOK {
			t.Errorf("one who waited is answered %d", status)
		}
	}
}
