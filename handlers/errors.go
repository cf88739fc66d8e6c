package handlers

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/cht-dhis2/mediator/internal/exchange"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

// failure is the answer to a request that was not done.
type failure struct {
	// Error says what is wrong, Remedy what to do about it, Code is a word of a closed set (docs/openapi.yaml).
	Error  string `json:"error"`
	Remedy string `json:"remedy,omitempty"`
	Code   string `json:"code"`
	// Submissions are those that were taken before the rest was not.
	Submissions []summary `json:"submissions,omitempty"`
	// Report tells why there is nothing to hand out.
	Report *orchestration.Report `json:"report,omitempty"`
}

// problem is an error with its answer.
type problem struct {
	failure

	status     int
	retryAfter time.Duration
}

func (p *problem) Error() string { return p.failure.Error }

// The problems that are always the same.
var (
	noRoute      = &problem{status: http.StatusNotFound, failure: failure{Error: "there is nothing under this path", Remedy: "docs/openapi.yaml lists the paths; those of submissions begin with " + Base + "/submissions", Code: "not_found"}}
	noMethod     = &problem{status: http.StatusMethodNotAllowed, failure: failure{Error: "this path does not take this method", Remedy: "the header Allow names those that it takes", Code: "method_not_allowed"}}
	closed       = &problem{status: http.StatusForbidden, failure: failure{Error: "the door is closed: no caller is configured", Remedy: "configure callers with a user name and a password, or with a token", Code: "closed"}}
	unauthorized = &problem{status: http.StatusUnauthorized, failure: failure{Error: "no caller has this credential", Remedy: "send a user name and a password (Basic) or a token (Bearer) of one of the configured callers", Code: "unauthorized"}}
	tooMany      = &problem{status: http.StatusTooManyRequests, retryAfter: time.Second, failure: failure{Error: "too many requests at once", Remedy: "send it again in a moment, and fewer at the same time", Code: "busy"}}
	tooManyPlans = &problem{status: http.StatusTooManyRequests, retryAfter: 30 * time.Second, failure: failure{Error: "as many months are being read for previews and files as may be at once", Remedy: "ask again when one of them is done", Code: "busy"}}
	fault        = &problem{status: http.StatusInternalServerError, failure: failure{Error: "a fault of the mediator", Remedy: "its log says more; report it with the lines around it", Code: "fault"}}
	tooSlow      = &problem{status: http.StatusTooManyRequests, retryAfter: 10 * time.Second, failure: failure{Error: "the store has too much to do to answer in time", Remedy: "send the same again, with fewer periods at once: what is stored already is joined, not doubled", Code: "busy"}}
	tooLarge     = &problem{status: http.StatusRequestEntityTooLarge, failure: failure{Error: "the answer is too large for OpenHIM, which keeps each one twice and for ever", Remedy: "call the mediator directly, or ask for fewer org units", Code: "too_large"}}
)

// bad is the problem of a request that can mean nothing.
func bad(what, remedy string) *problem {
	return &problem{status: http.StatusBadRequest, failure: failure{Error: what, Remedy: remedy, Code: "bad_request"}}
}

// partly is the error of a request of which some submissions were taken.
type partly struct {
	taken []summary
	err   error
}

func (e *partly) Error() string { return e.err.Error() }
func (e *partly) Unwrap() error { return e.err }

// answerErrors answers for handlers that only say what went wrong. An answer that has begun already is cut off, so that
// nobody takes its first part for the whole.
func (d *door) answerErrors(c *gin.Context) {
	c.Next()
	last := c.Errors.Last()
	if last == nil {
		return
	}
	if c.Writer.Written() {
		d.Log.WithField("route", c.FullPath()).WithError(last.Err).Warn("an answer breaks off in the middle")
		panic(http.ErrAbortHandler)
	}
	p := d.problemOf(c, last.Err)
	for _, name := range []string{"Content-Type", "Content-Disposition", "Location", quarantinedHeader} { // of the answer that is not given
		c.Writer.Header().Del(name)
	}
	if e, ok := c.Writer.(*envelope); ok {
		e.body.Reset()
		e.status = ""
	}
	if p.retryAfter > 0 {
		c.Header("Retry-After", strconv.Itoa(int(p.retryAfter.Seconds())))
	}
	c.JSON(p.status, p.failure)
}

// problemOf finds the answer to an error.
func (d *door) problemOf(c *gin.Context, err error) *problem {
	var known *problem
	if errors.As(err, &known) {
		return known
	}
	p := *d.translate(c, err)
	var some *partly
	if errors.As(err, &some) && len(some.taken) > 0 {
		p.Submissions = some.taken
		p.failure.Error = strconv.Itoa(len(some.taken)) + " submissions were taken, and then: " + p.failure.Error
	}
	return &p
}

// translate finds the answer to an error of the flow or of the store.
func (d *door) translate(c *gin.Context, err error) *problem {
	answer := func(status int, code, what, remedy string, retryAfter time.Duration) *problem {
		return &problem{status: status, retryAfter: retryAfter, failure: failure{Error: exchange.Redact(what), Remedy: remedy, Code: code}}
	}
	const soon = 30 * time.Second
	var usage *orchestration.UsageError
	var notNow *orchestration.NotNowError
	var store *ledger.Error
	switch {
	case errors.As(err, &usage):
		return bad(usage.What, usage.Remedy)
	case errors.As(err, &notNow) && errors.Unwrap(notNow) != nil:
		return answer(http.StatusServiceUnavailable, "unavailable", notNow.What, notNow.Remedy, soon)
	case errors.As(err, &notNow):
		return answer(http.StatusConflict, "not_now", notNow.What, notNow.Remedy, 0)
	case errors.Is(err, ledger.ErrQueueFull):
		return answer(http.StatusTooManyRequests, "queue_full", "the queue is full: as many submissions wait as may", "send it again when some of them are done", soon)
	case errors.Is(err, ledger.ErrNotFound):
		return answer(http.StatusNotFound, "not_found", "there is no submission with this id", "GET "+Base+"/submissions lists them", 0)
	case errors.Is(err, ledger.ErrNewer):
		return answer(http.StatusConflict, "newer", ledger.ErrNewer.Error(), "retry that one, or submit the period again: only what differs is sent", 0)
	case errors.Is(err, ledger.ErrThinned):
		return answer(http.StatusConflict, "thinned", ledger.ErrThinned.Error(), "submit the period again: only what differs is sent", 0)
	case errors.Is(err, ledger.ErrState):
		return answer(http.StatusConflict, "state", d.stateOf(c), "look at the submission's state and reason, and choose what it allows", 0)
	case errors.As(err, &store):
		d.Log.WithField("route", c.FullPath()).WithField("reason", string(store.Kind)).WithError(err).Error("the store is in trouble")
		what, remedy := storeWords(store.Kind)
		return answer(http.StatusServiceUnavailable, "store", what, remedy, soon)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return tooSlow
	default:
		d.Log.WithField("route", c.FullPath()).WithError(err).Error("a request could not be done")
		return fault
	}
}

// stateOf says why a submission cannot be acted on, in the words of its state.
func (d *door) stateOf(c *gin.Context) string {
	sub, err := d.Submitter.Ledger.Submission(c.Request.Context(), c.Param("id"))
	if err != nil {
		return ledger.ErrState.Error()
	}
	return "that is not possible in this state: the submission is " + string(sub.State)
}

// storeWords tell what is wrong with the store without telling where it is.
func storeWords(kind ledger.Kind) (what, remedy string) {
	switch kind {
	case ledger.Full:
		return "the store has no room left to write", "make room on the disk with the data folder, or that of the database; work goes on by itself"
	case ledger.ReadOnly:
		return "the store may not be written", "give the mediator's user the right to write in the data folder, or its account the rights on the tables"
	case ledger.Damaged:
		return "the store is damaged", "the mediator's log says what to do"
	case ledger.Busy, ledger.Taken:
		return "another process keeps the store for itself", "send it again; where it stays so, end other programs that have the database open"
	case ledger.Denied, ledger.Outdated, ledger.Newer:
		return "the database cannot be used as it is", "the mediator's log says what to do"
	default:
		return "the store cannot be opened or read", "check the disk with the data folder, or the database server; the mediator's log says more"
	}
}
