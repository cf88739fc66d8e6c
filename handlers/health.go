package handlers

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/cht-dhis2/mediator/internal/ledger"
)

// liveness is what CHT's own mediator answers, so that the test which its documentation shows works here too.
type liveness struct {
	Status string `json:"status"`
	// The machine, where it tells, and the process run for so many seconds.
	OSUptime      float64 `json:"osuptime,omitempty"`
	ProcessUptime float64 `json:"processuptime"`
}

func (d *door) alive(c *gin.Context) {
	c.JSON(http.StatusOK, liveness{Status: "success", OSUptime: osUptime(), ProcessUptime: d.Now().Sub(d.began).Seconds()})
}

// osUptime is for how many seconds the machine runs, as Linux tells; 0 elsewhere.
func osUptime() float64 {
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	seconds, _ := strconv.ParseFloat(first, 64)
	return seconds
}

// state of health: ok, or failing for a reason.
type state struct {
	Status string `json:"status"`
	// Reason is a word of a closed set, Remedy what a person can do.
	Reason string `json:"reason,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// health remembers how the store is, so that asking often, which anybody may, does not write often.
type health struct {
	mu      sync.Mutex
	checked time.Time
	last    state
}

const (
	healthKept  = time.Second
	healthLimit = 2 * time.Second
)

// healthy says whether the process lives and its store takes writes.
func (d *door) healthy(c *gin.Context) {
	s := d.checkHealth(c.Request.Context())
	if s.Status != "ok" {
		c.JSON(http.StatusServiceUnavailable, s)
		return
	}
	c.JSON(http.StatusOK, s)
}

func (d *door) checkHealth(ctx context.Context) state {
	d.health.mu.Lock()
	defer d.health.mu.Unlock()
	if age := time.Since(d.health.checked); age >= 0 && age < healthKept {
		return d.health.last
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthLimit) // others wait for the same answer
	defer cancel()
	err := d.Submitter.Ledger.Ping(ctx)
	d.health.checked, d.health.last = time.Now(), healthOf(err)
	if err != nil {
		d.Log.WithField("reason", d.health.last.Reason).WithError(err).Error("the store does not take writes")
	}
	return d.health.last
}

func healthOf(err error) state {
	if err == nil {
		return state{Status: "ok"}
	}
	kind := ledger.Unreachable
	var store *ledger.Error
	if errors.As(err, &store) {
		kind = store.Kind
	}
	_, remedy := storeWords(kind)
	return state{Status: "failing", Reason: string(kind), Remedy: remedy}
}

// ready says whether requests can be taken and stored, and what is missing.
func (d *door) ready(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), healthLimit)
	defer cancel()
	readiness := d.Ready(ctx)
	status := http.StatusOK
	if !readiness.Ready {
		status = http.StatusServiceUnavailable
	}
	c.JSON(status, readiness)
}
