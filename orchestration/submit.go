// Package orchestration carries one submission from its request to its report: a data set, a period and a CHT, sent to a
// DHIS2, once.
//
// Prepare reads, checks and writes down what is to be sent, and leaves nothing in DHIS2. Send sends what was prepared,
// request by request, and books what became of every cell. Both end in a Report, whatever happens: a failure is an
// outcome to be told, not a reason to tell nothing.
package orchestration

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// Source is a CHT.
type Source struct {
	Name   string
	Client *cht.Client
	// Zone decides when a month is over there.
	Zone *time.Location
}

// Destination is a DHIS2.
type Destination struct {
	Name   string
	Client *dhis2.Client
}

// DataSet is what is configured for one data set.
type DataSet struct {
	ID, Title string
	// CHT names its sources, DHIS2 its destination.
	CHT   []string
	DHIS2 string
	// FirstPeriod is the first period that may be sent.
	FirstPeriod dhis2.Period
	Rules       mapping.Rules
	// ChunkValues is how many values go in one request; 0 leaves it to the dialect.
	ChunkValues int
}

// Request asks for one submission.
type Request struct {
	DataSet string
	// Period is an id such as "202610", or LatestClosed.
	Period string
	// CHT names the source.
	CHT string
	// OrgUnits are the DHIS2 ids of those to send; empty sends all.
	OrgUnits []string
	// DryRun lets DHIS2 check and store nothing.
	DryRun bool
	// RequestedBy is who asks, for the report.
	RequestedBy string
}

// LatestClosed is the period that was over last in the CHT.
const LatestClosed = "latest-closed"

// Submitter prepares and sends, for the life of one command. The zero value of each field but the maps and the data sets
// is good.
type Submitter struct {
	Sources      map[string]Source
	Destinations map[string]Destination
	DataSets     []DataSet

	// SpoolDir is where temporary files go; empty is the system's folder for them.
	SpoolDir string
	// Wait is how long to wait in all for a server that is away, or for an outcome that nobody knows.
	Wait time.Duration
	// Now gives the time; nil is time.Now.
	Now func() time.Time
	// Watch is told of progress; nil tells nobody.
	Watch func(Progress)
	// Log may be nil.
	Log *logrus.Entry

	mu sync.Mutex
	// down are the destinations that no further submission need ask.
	down map[string]failure
	// claimed are the org units that a source has sent.
	claimed map[claim]string
}

// Progress is how far a step has come.
type Progress struct {
	// Step is "fetch" or "send".
	Step string
	// Done is how many values are through, of Total; Total is 0 while nobody knows.
	Done, Total int
	// Waiting says for what, while nothing moves.
	Waiting string
}

// UsageError is a request that can mean nothing with this configuration.
type UsageError struct{ What, Remedy string }

func (e *UsageError) Error() string { return e.What }

// Hint says what a person can do about it.
func (e *UsageError) Hint() string { return e.Remedy }

func (s *Submitter) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

func (s *Submitter) watch(p Progress) {
	if s.Watch != nil {
		s.Watch(p)
	}
}

func (s *Submitter) log(t *tally) *logrus.Entry {
	log := s.Log
	if log == nil {
		log = logrus.NewEntry(logrus.New())
		log.Logger.SetLevel(logrus.PanicLevel)
	}
	return log.WithFields(logrus.Fields{"submission": t.report.ID, "data_set": t.report.DataSet, "period": t.report.Period})
}

// parties are who takes part in a submission.
type parties struct {
	set  DataSet
	from Source
	to   Destination
}

// parties looks the request's names up.
func (s *Submitter) parties(r Request) (parties, error) {
	at := slices.IndexFunc(s.DataSets, func(d DataSet) bool { return d.ID == r.DataSet })
	if at < 0 {
		var known []string
		for _, d := range s.DataSets {
			known = append(known, d.ID)
		}
		return parties{}, &UsageError{What: fmt.Sprintf("data set %q is not configured", r.DataSet), Remedy: "the configuration has " + orNone(known)}
	}
	set := s.DataSets[at]
	if !slices.Contains(set.CHT, r.CHT) {
		return parties{}, &UsageError{What: fmt.Sprintf("CHT %q is no source of data set %s", r.CHT, set.ID), Remedy: "its sources are " + orNone(set.CHT)}
	}
	return parties{set: set, from: s.Sources[r.CHT], to: s.Destinations[set.DHIS2]}, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// CheckPeriod refuses what can be no period, before anybody is asked anything.
func CheckPeriod(period string) error {
	if period == LatestClosed {
		return nil
	}
	if _, err := dhis2.ParsePeriod(period); err != nil {
		return &UsageError{What: err.Error(), Remedy: "give a month such as 202610, or " + LatestClosed}
	}
	return nil
}

// Submit prepares and sends one submission. The error is for a request that can mean nothing; all else is in the report.
func (s *Submitter) Submit(ctx context.Context, r Request) (Report, error) {
	plan, err := s.Prepare(ctx, r)
	if err != nil {
		return Report{}, err
	}
	defer plan.Close()
	return s.Send(ctx, plan), nil
}

func newID() string { return strings.ToLower(rand.Text()) }

// failureOf puts an error of a neighbour or of our own among the reasons.
func failureOf(err error) failure {
	f := failure{state: Failed, reason: Fault, text: err.Error()}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		f.remedy = hint.Hint()
	}
	var source *cht.Error
	var destination *dhis2.Error
	var blocked *blockedError
	switch {
	case errors.Is(err, context.Canceled):
		f.state, f.reason, f.text, f.remedy = Cancelled, Stopped, "stopped by a person", ""
	case errors.As(err, &blocked):
		f.state, f.reason = Refused, NothingAccepted
	case errors.As(err, &source):
		f.reason = map[cht.Kind]Reason{cht.Credentials: Credentials, cht.Refused: Configuration}[source.Kind]
		if f.reason == "" {
			f.reason = CHTUnavailable
		}
	case errors.As(err, &destination):
		f.reason = map[dhis2.Kind]Reason{dhis2.Credentials: Credentials, dhis2.Refused: NothingAccepted}[destination.Kind]
		if f.reason == NothingAccepted {
			f.state = Refused
		}
		if f.reason == "" {
			f.reason = DHIS2Unavailable
		}
	}
	return f
}

// blockedError is a check that lets nothing go.
type blockedError struct{ issue.Issue }

func (e *blockedError) Error() string { return e.Text }

// Hint says what a person can do about it.
func (e *blockedError) Hint() string { return e.Remedy }

func blocked(code, remedy, format string, args ...any) error {
	return &blockedError{issue.Issue{Code: code, Severity: issue.Blocking, Count: 1, Text: fmt.Sprintf(format, args...), Remedy: remedy}}
}
