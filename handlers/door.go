// Package handlers is the mediator's HTTP door: who may call, what may be asked for, and how it is answered.
//
// It holds no logic of the flow. A request is read strictly, handed to package orchestration, and answered with what the
// store has. A submission is answered as soon as it is stored; nobody waits at the door for a CHT or a DHIS2, but whoever
// asks for a preview or a file. What comes through OpenHIM gets the same answers in OpenHIM's own envelope.
package handlers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

// Config says what is behind the door, and who may come in. Submitter (with a Ledger), Poll, Schedule, Ready and Examine are
// required.
type Config struct {
	Submitter *orchestration.Submitter
	// Poll submits whatever is due, in the name of whoever asks, and tells what it submitted.
	Poll     func(ctx context.Context, by string) ([]ledger.Submission, error)
	Schedule func(ctx context.Context) (orchestration.Schedule, error)
	Ready    func(ctx context.Context) orchestration.Readiness
	// Examine asks everybody whether a submission would go well, or tells what was found a moment ago.
	Examine func(ctx context.Context) (orchestration.Examination, error)
	// Callers may call. Without any, and without Open, the door is closed but for liveness, /healthz and /readyz.
	Callers []Caller
	// Open lets everybody in.
	Open bool
	// Metrics answers /metrics; nil is for those who serve it elsewhere.
	Metrics http.Handler
	// MetricsCaller is the only one who may read /metrics; nil leaves it to Callers.
	MetricsCaller *Caller
	// Requests is how many requests are worked at one time, 0 is 64; Previews how many of them may read a month, 0 is 2.
	Requests, Previews int
	// Limits registers the metrics of these limits; it may be nil.
	Limits prometheus.Registerer
	// URN is what the mediator is called in OpenHIM.
	URN string
	// Now gives the time; nil is time.Now.
	Now func() time.Time
	// Log may be nil.
	Log *logrus.Entry
}

// Base is the path under which all routes are but those for the health of the service.
const Base = "/cht-dhis2"

const (
	// usualRequests and usualPreviews are the limits where nothing else is set; admission is how long one more request waits
	// for its turn.
	usualRequests = 64
	usualPreviews = 2
	admission     = 300 * time.Millisecond
)

// door is what the handlers share.
type door struct {
	Config

	began time.Time
	// places are taken by requests that are worked, plans by those that read a month.
	places, plans chan struct{}
	// examinations are taken by those who wait for one.
	examinations chan struct{}
	health       health

	mu sync.Mutex
	// unreadable are the callers whose secret could not be read when it was last wanted, and why.
	unreadable map[*Caller]string
}

// New makes the handler of all routes.
func New(c Config) (http.Handler, error) {
	d, err := newDoor(c)
	if err != nil {
		return nil, err
	}
	if c.Limits != nil {
		for of, places := range map[string]chan struct{}{"requests": d.places, "previews": d.plans} {
			d.tellLimit(of, places)
		}
	}
	return d.routes(), nil
}

// tellLimit tells how many places of a limit are taken. The names are those of package orchestration, which has the other
// limits.
func (d *door) tellLimit(of string, places chan struct{}) {
	labels := prometheus.Labels{"of": of}
	d.Limits.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: orchestration.LimitMetric, Help: orchestration.LimitHelp, ConstLabels: labels}, func() float64 { return float64(cap(places)) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: orchestration.InUseMetric, Help: orchestration.InUseHelp, ConstLabels: labels}, func() float64 { return float64(len(places)) }),
	)
}

func newDoor(c Config) (*door, error) {
	if c.Submitter == nil || c.Submitter.Ledger == nil || c.Poll == nil || c.Schedule == nil || c.Ready == nil || c.Examine == nil {
		return nil, errors.New("the HTTP door lacks the submitter with its store, the poll, the schedule, the readiness or the examination")
	}
	callers := c.Callers
	if c.MetricsCaller != nil {
		callers = append(callers[:len(callers):len(callers)], *c.MetricsCaller)
	}
	for _, one := range callers {
		if one.Token == nil && (one.Username == "" || one.Password == nil) {
			return nil, fmt.Errorf("caller %q has neither a user name with a password nor a token", one.Name)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		log := logrus.New()
		log.SetOutput(io.Discard)
		c.Log = logrus.NewEntry(log)
	}
	return &door{
		Config: c, began: c.Now(), places: make(chan struct{}, cmp.Or(c.Requests, usualRequests)), plans: make(chan struct{}, cmp.Or(c.Previews, usualPreviews)), unreadable: map[*Caller]string{},
		examinations: make(chan struct{}, mostExaminations),
	}, nil
}

// routes builds the router. Whatever goes wrong on a route, known or not, is answered by answerErrors, and whatever is
// answered goes through the envelope where OpenHIM wants one.
func (d *door) routes() *gin.Engine {
	gin.SetMode(gin.ReleaseMode) // a setting of the library for the whole process; else it prints its routes
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	engine.RedirectTrailingSlash = false // a redirected POST is lost
	engine.Use(d.noteAccess, setHeaders, d.envelop, d.answerErrors, d.recoverPanic)
	engine.NoRoute(func(c *gin.Context) { _ = c.Error(noRoute) })
	engine.NoMethod(func(c *gin.Context) { _ = c.Error(noMethod) })

	read := func(routes gin.IRoutes, path string, handler gin.HandlerFunc) {
		routes.GET(path, handler)
		routes.HEAD(path, handler)
	}
	for _, path := range []string{"/", Base, Base + "/"} {
		read(engine, path, d.alive)
	}
	read(engine, "/healthz", d.healthy)
	read(engine, "/readyz", d.ready)
	if d.Metrics != nil {
		read(engine.Group("", d.letInForMetrics()), "/metrics", gin.WrapH(d.Metrics))
	}

	inside := engine.Group(Base, d.admit, d.letIn(d.Callers, d.Open))
	inside.POST("/submissions", d.submit)
	read(inside, "/submissions", d.submissions)
	read(inside, "/submissions/:id", d.submission)
	read(inside, "/submissions/:id/org-units", d.orgUnits)
	read(inside, "/submissions/:id/quarantine", d.quarantine)
	inside.POST("/submissions/:id/approve", d.act((*orchestration.Submitter).Approve))
	inside.POST("/submissions/:id/reject", d.act((*orchestration.Submitter).Reject))
	inside.POST("/submissions/:id/retry", d.act((*orchestration.Submitter).Retry))
	inside.POST("/submissions/:id/cancel", d.act((*orchestration.Submitter).Cancel))
	inside.GET("/poll", d.poll) // no HEAD: it changes something
	read(inside, "/preview", d.preview)
	read(inside, "/data-value-sets", d.dataValueSet)
	read(inside, "/schedule", d.schedule)
	read(inside, "/coverage", d.coverage)
	read(inside, "/coverage/workers", d.workers)
	read(inside, "/readiness", d.examination)
	return engine
}

// The time-outs of the server. A request may come as slowly as these allow, and an answer be read so; only who reads a
// month gets longer, as long as the answer moves.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 20 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 32 << 10
)

// Server makes a server for the handler with limits on time and size, so that slow clients hold nobody up.
func Server(address string, h http.Handler) *http.Server {
	return &http.Server{
		Addr: address, Handler: h,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
	}
}

// noteAccess logs a line a request, without anything that the client wrote.
func (d *door) noteAccess(c *gin.Context) {
	began := time.Now()
	defer func() {
		d.Log.WithFields(logrus.Fields{
			"method": method(c.Request.Method), "route": c.FullPath(), "status": c.Writer.Status(), "took": time.Since(began), "caller": c.GetString(callerKey),
		}).Debug("request answered")
	}()
	c.Next()
}

// method is the method of a request, as far as it is one of HTTP's.
func method(name string) string {
	switch name {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return name
	default:
		return "other"
	}
}

func setHeaders(c *gin.Context) {
	c.Header("X-Content-Type-Options", "nosniff")
	c.Header("Cache-Control", "no-store")
}

// recoverPanic makes an error of a panic, and tells the log where it was.
func (d *door) recoverPanic(c *gin.Context) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler { //nolint:errorlint // it is this very value, and net/http wants it back
			panic(p)
		}
		d.Log.WithField("route", c.FullPath()).WithField("stack", string(debug.Stack())).Errorf("a request panicked: %v", p)
		_ = c.Error(fault)
		c.Abort()
	}()
	c.Next()
}

// admit holds the number of requests that are worked at once.
func (d *door) admit(c *gin.Context) {
	wait := time.NewTimer(admission)
	defer wait.Stop()
	select {
	case d.places <- struct{}{}:
		defer func() { <-d.places }()
		c.Next()
	case <-wait.C:
		_ = c.Error(tooMany)
		c.Abort()
	case <-c.Request.Context().Done():
		c.Abort()
	}
}
