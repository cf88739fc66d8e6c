// Package orchestration carries one submission from its request to its report: a data set, a period and a CHT, sent to a
// DHIS2, once.
//
// A submission goes through steps: prepare reads, checks and stores what is to be sent, send sends it request by request
// and books what became of every cell, conclude tells it. Each step takes what is stored and leaves what is stored, the job
// of the next one included, so that whoever takes a submission up after a crash goes on where it stands. A command works
// the steps of its own submissions one after the other; the service lets the job engine work those of all.
//
// Whatever happens ends in a Report: a failure is an outcome to be told, not a reason to tell nothing.
package orchestration

import (
	"context"
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
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/target"
)

// Source is a CHT.
type Source struct {
	Name   string
	Client *cht.Client
	// Zone decides when a month is over there; nil is UTC.
	Zone *time.Location
	// Limit is how long reading a month may take in all; 0 is 20 minutes.
	Limit time.Duration
	// HierarchyAge is how old what is known of the owners of target documents may be; 0 has them looked at each time.
	HierarchyAge time.Duration
	// FullReadDays is after how many days all target documents of a month are read in full again; 0 is 7.
	FullReadDays int
	// Peer tells what is known of the way to it; nil knows nothing.
	Peer func() Peer
}

// Destination is a DHIS2.
type Destination struct {
	Name   string
	Client *dhis2.Client
	// HasToken says that the account logs in with an access token.
	HasToken bool
	// Peer tells what is known of the way to it; nil knows nothing.
	Peer func() Peer
	// MetadataAge is how old what is known of its data sets may be; 0 is one hour.
	MetadataAge time.Duration
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
	// FromTargets says that target documents are read, by Targets, and not the export. Without items, those of the CHT's settings
	// count. AsFirst lets a worker's documents count where the worker was when they first did, not where today.
	FromTargets bool
	Targets     target.Rules
	AsFirst     bool
	// IDSchemes say by what the CHT calls the data set, which ID is then, and what is in it.
	IDSchemes dhis2.IDSchemes
	// ChunkValues is how many values go in one request; 0 leaves it to the dialect.
	ChunkValues int
	// Unchecked leaves all judging of values to DHIS2.
	Unchecked bool
	// Compare says how differences are found and treated.
	Compare Compare
	// Completeness says whether org units are registered as complete.
	Completeness Completeness
	// Coverage says how it goes by who has synced.
	Coverage CoveragePolicy
	// Gaps are cells that are known to stay behind.
	Gaps []Gap
	// MostQuarantined is by how many percent of its cells more than the month before may stay behind in a month before it is
	// held for a person; 0 is any.
	MostQuarantined int
	// MostVanished is of how many percent of the org units that had figures the month before there may be none before a month is
	// held for a person; 0 is any.
	MostVanished int
	// Nested says what is done with an org unit inside of which others are sent.
	Nested NestedPolicy
	// KnownFaults are faults of its CHT's version that are told no more.
	KnownFaults []string
	// Operation is how the configuration file runs it; the console may say otherwise.
	Operation Operation
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
	// Mode is what is sent.
	Mode ledger.Mode
	// Compare lets Prepare leave in the plan only what differs.
	Compare bool
	// RequestedBy is who asks, for the report.
	RequestedBy string
	// Transaction is OpenHIM's transaction that brought the request, Parent the one that it runs again; both may be empty.
	Transaction, Parent string
}

// LatestClosed is the period that was over last in the CHT.
const LatestClosed = "latest-closed"

// Submitter prepares and sends. The zero value of each field but the maps and the data sets is good.
type Submitter struct {
	Sources      map[string]Source
	Destinations map[string]Destination
	DataSets     []DataSet
	// Ledger remembers submissions. Without one there is Prepare only.
	Ledger *ledger.Ledger

	// SpoolDir is where temporary files go; empty is the system's folder for them.
	SpoolDir string
	// Wait is how long a command waits in all for a server that is away, or for an outcome that nobody knows.
	Wait time.Duration
	// LongestPause is how long the pauses between two tries of a server that is away may grow; 0 is 15 minutes.
	LongestPause time.Duration
	// Readers is how many months are read at one time, each of another source; 0 is 3.
	Readers int
	// BodyLimit is how many bytes of a body are kept as evidence; 0 is 8 KiB.
	BodyLimit int
	// Now gives the time; nil is time.Now.
	Now func() time.Time
	// Watch is told of progress; nil tells nobody.
	Watch func(Progress)
	// Log may be nil.
	Log *logrus.Entry
	// Metrics may be nil.
	Metrics *Metrics
	// Parent gives the period that a transaction of OpenHIM was about, when a person runs that one again and the store
	// does not know it. Nil knows none.
	Parent func(ctx context.Context, transaction string) (period string, err error)
	// Told is given the letters that a submission's end leaves, within the transaction that concludes it; nil leaves none.
	Told func(ctx context.Context, c Conclusion) ([]ledger.Letter, error)

	mu sync.Mutex
	// down are the servers that refused the account or are none, by names such as "DHIS2 national".
	down map[string]downed
	// known is what DHIS2 said of its data sets, by destination and data set.
	known map[string]*metadata
	// versions are those of the sources.
	versions map[string]knownVersion
	// sizers remember how large a request each destination takes well.
	sizers map[string]*sizer
	// reading has a place for each source that is being read.
	reading map[string]chan struct{}
	// console is what the console says, by data set.
	console  map[string]Operation
	contacts map[string]Contact
	jobs     *jobs
	// serving says that this is the service, which waits as long as waiting can help.
	serving bool
}

// Progress is how far a step has come.
type Progress struct {
	// Step is "fetch", "compare", "send" or "complete".
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

// NotNowError is a request that is right and cannot be taken at this time.
type NotNowError struct {
	What, Remedy string

	err error
}

func (e *NotNowError) Error() string { return e.What }
func (e *NotNowError) Unwrap() error { return e.err }

// Hint says what a person can do about it.
func (e *NotNowError) Hint() string { return e.Remedy }

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

// log is the log for one submission.
func (s *Submitter) log(id string, key ledger.Key) *logrus.Entry {
	return s.logger().WithFields(logrus.Fields{"submission": id, "data_set": key.DataSet, "period": key.Period.String(), "cht": key.CHT})
}

func (s *Submitter) logger() *logrus.Entry {
	if s.Log != nil {
		return s.Log
	}
	log := logrus.New()
	log.SetLevel(logrus.PanicLevel)
	return logrus.NewEntry(log)
}

// parties are who takes part in a submission.
type parties struct {
	set  DataSet
	from Source
	to   Destination
}

// parties looks names up.
func (s *Submitter) parties(dataSet, source string) (parties, error) {
	at := slices.IndexFunc(s.DataSets, func(d DataSet) bool { return d.ID == dataSet })
	if at < 0 {
		var known []string
		for _, d := range s.DataSets {
			known = append(known, d.ID)
		}
		return parties{}, &UsageError{What: fmt.Sprintf("data set %q is not configured", dataSet), Remedy: "the configuration has " + orNone(known)}
	}
	set := s.DataSets[at]
	if !slices.Contains(set.CHT, source) {
		return parties{}, &UsageError{What: fmt.Sprintf("CHT %q is no source of data set %s", source, set.ID), Remedy: "its sources are " + orNone(set.CHT)}
	}
	return parties{set: set, from: s.Sources[source], to: s.Destinations[set.DHIS2]}, nil
}

// partiesOf looks up who takes part in a stored submission. The configuration may be another one since it began: what was made
// for one DHIS2 does not go to another one.
func (s *Submitter) partiesOf(sub ledger.Submission) (parties, error) {
	who, err := s.parties(sub.DataSet, sub.CHT)
	if err == nil && who.set.DHIS2 != sub.DHIS2 {
		err = &UsageError{
			What:   fmt.Sprintf("submission %s was made for DHIS2 %s, and data set %s goes to DHIS2 %s by now", sub.ID, sub.DHIS2, sub.DataSet, who.set.DHIS2),
			Remedy: "submit the period again",
		}
	}
	return who, err
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
		return &UsageError{What: err.Error(), Remedy: "give a month such as 202610, a quarter such as 2026Q4 or a year such as 2026, or " + LatestClosed}
	}
	return nil
}

// mostPeriods is how many periods a range may have: ten years of months.
const mostPeriods = 120

// Periods reads a period, or a range of them such as 202601..202606, oldest first.
func Periods(text string) ([]string, error) {
	from, to, isRange := strings.Cut(text, "..")
	if !isRange {
		return []string{text}, CheckPeriod(text)
	}
	first, err := dhis2.ParsePeriod(from)
	last, errLast := dhis2.ParsePeriod(to)
	if err = errors.Join(err, errLast); err == nil && (first.Type() != last.Type() || last.Before(first)) {
		err = fmt.Errorf("%s does not come after %s", to, from)
	}
	if err != nil {
		return nil, &UsageError{What: fmt.Sprintf("period %q: %v", text, err), Remedy: "give the first and the last month, such as 202601..202606, or quarter, such as 2026Q1..2026Q4"}
	}
	var periods []string
	for p := last; !p.Before(first); p = p.Previous() {
		if periods = append(periods, p.String()); len(periods) > mostPeriods {
			return nil, &UsageError{What: fmt.Sprintf("period %q: more than %d periods", text, mostPeriods), Remedy: "give a shorter range"}
		}
	}
	slices.Reverse(periods)
	return periods, nil
}

// Begin claims the request's data set, period and source, and stores a submission with its first job, which next may add
// to. Where an unfinished one has them already, it gives that one, and false: the request has joined it. Nobody is asked
// anything, but for a source whose calendar is not known yet. The error is a *UsageError for a request that can mean
// nothing, a *NotNowError or ledger.ErrQueueFull for one that cannot be taken now.
func (s *Submitter) Begin(ctx context.Context, r Request, next ledger.Next) (sub ledger.Submission, began bool, err error) {
	who, err := s.parties(r.DataSet, r.CHT)
	if err != nil {
		return sub, false, err
	}
	if !s.Operation(r.DataSet).Enabled && !r.DryRun {
		return sub, false, &NotNowError{What: "data set " + r.DataSet + " is switched off", Remedy: "switch it on again: enabled, in OpenHIM's console or in the configuration file"}
	}
	period, err := s.resolve(ctx, who, r)
	if err != nil {
		return sub, false, err
	}
	sub, began, err = s.Ledger.Begin(ctx, ledger.Request{
		Key:         ledger.Key{DHIS2: who.set.DHIS2, DataSet: r.DataSet, Period: period, CHT: r.CHT},
		AskedPeriod: r.Period, OrgUnits: r.OrgUnits, DryRun: r.DryRun, Mode: r.Mode, RequestedBy: r.RequestedBy, Transaction: r.Transaction,
	}, both(s.jobs.next(prepareStep), next))
	if errors.Is(err, ledger.ErrOther) {
		err = &NotNowError{
			What:   fmt.Sprintf("%s of data set %s from CHT %s is being sent for other org units, or in another way", period, r.DataSet, r.CHT),
			Remedy: "ask again when that submission has ended, or cancel it",
		}
	}
	if err != nil {
		return sub, false, err
	}
	log := s.log(sub.ID, sub.Key).WithField("requested_by", r.RequestedBy)
	if !began {
		log.Info("a request joins a submission that is under way")
		return sub, false, s.hurry(ctx, sub)
	}
	log.Info("submission begins")
	return sub, true, nil
}

// hurry lets an unfinished submission that waits go on at once, as somebody wants it now.
func (s *Submitter) hurry(ctx context.Context, sub ledger.Submission) error {
	if sub.WaitingFor == "" {
		return nil
	}
	s.tryAgain("DHIS2 " + sub.DHIS2)
	s.tryAgain("CHT " + sub.CHT)
	return s.jobs.insert(ctx, s.Ledger, sub)
}

// resolve finds the period of a request. For a transaction that runs a former one again it is the period of that one.
func (s *Submitter) resolve(ctx context.Context, who parties, r Request) (dhis2.Period, error) {
	if err := CheckPeriod(r.Period); err != nil {
		return dhis2.Period{}, err
	}
	if r.Period != LatestClosed {
		return dhis2.ParsePeriod(r.Period)
	}
	if r.Parent != "" {
		return s.parentPeriod(ctx, r.Parent)
	}
	calendar, err := s.calendar(ctx, who.from)
	if err != nil {
		return dhis2.Period{}, &NotNowError{
			What:   fmt.Sprintf("which %s closed last cannot be told before CHT %s was asked once: %v", spanOf(who.set.periodType()), who.from.Name, err),
			Remedy: "ask again when the CHT is there, or give " + aPeriod(who.set.periodType()),
			err:    err,
		}
	}
	return latestClosed(&who.set, calendar, s.now(), who.from.zone())
}

// parentPeriod is the period that a transaction was about: as the store knows it, else as OpenHIM does.
func (s *Submitter) parentPeriod(ctx context.Context, transaction string) (dhis2.Period, error) {
	sub, err := s.Ledger.OfTransaction(ctx, transaction)
	switch {
	case err == nil:
		return sub.Period, nil
	case !errors.Is(err, ledger.ErrNotFound):
		return dhis2.Period{}, err
	}
	err = errors.New("nobody knows that transaction")
	if s.Parent != nil {
		var period string
		if period, err = s.Parent(ctx, transaction); err == nil {
			return dhis2.ParsePeriod(period)
		}
	}
	return dhis2.Period{}, &NotNowError{
		What:   fmt.Sprintf("the period of transaction %s, which is to run again, cannot be found: %v", transaction, err),
		Remedy: "send a new request that names the month, such as 202610",
	}
}

func (f Source) zone() *time.Location {
	if f.Zone == nil {
		return time.UTC
	}
	return f.Zone
}

// ReasonOf puts an error among the reasons.
func ReasonOf(err error) Reason { return failureOf(err).reason }

// Explain tells an error in the words of a report, and what to do about it.
func Explain(err error) (what, remedy string) {
	f := failureOf(err)
	return f.text, f.remedy
}

// failureOf puts an error of a neighbour or of our own among the reasons.
func failureOf(err error) failure {
	f := failure{state: ledger.Failed, reason: Fault, text: err.Error()}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		f.remedy = hint.Hint()
	} else if ledger.NoRoom(err) {
		f.remedy = "make room on the disk of the data folder, or raise its quota: a month is written down while it is read"
	}
	var source *cht.Error
	var destination *dhis2.Error
	var blocked *blockedError
	var notNow *NotNowError
	switch {
	case errors.Is(err, context.Canceled):
		f.state, f.reason, f.text, f.remedy = ledger.Cancelled, Stopped, "stopped by a person", ""
	case errors.As(err, &blocked):
		f.state, f.reason = ledger.Refused, NothingAccepted
	case errors.As(err, &source):
		f.reason = map[cht.Kind]Reason{cht.Credentials: Credentials, cht.Refused: Configuration}[source.Kind]
		if f.reason == "" {
			f.reason = CHTUnavailable
		}
	case errors.As(err, &destination):
		f.reason = map[dhis2.Kind]Reason{dhis2.Credentials: Credentials, dhis2.Refused: NothingAccepted}[destination.Kind]
		if f.reason == NothingAccepted {
			f.state = ledger.Refused
		}
		if f.reason == "" {
			f.reason = DHIS2Unavailable
		}
	case errors.As(err, &notNow):
		f.state, f.reason = ledger.Refused, NothingAccepted
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
