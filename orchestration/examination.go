package orchestration

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/exchange"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

// Light says how grave a finding is.
type Light string

// The lights. Amber works and should be looked at, red does not work, or will not soon.
const (
	Green Light = "green"
	Amber Light = "amber"
	Red   Light = "red"
)

// Who can do something about a finding.
const (
	chtAdmin     = "CHT admin"
	dhis2Admin   = "DHIS2 admin"
	openHIMAdmin = "OpenHIM admin"
	us           = "us"
)

// Finding is one thing that was looked at. It holds no secret.
type Finding struct {
	// Area gathers checks that belong together, such as rights or org units.
	Area string `json:"area"`
	// Server is the name of a server in the configuration, OpenHIM, store, or mediator.
	Server string `json:"server"`
	Check  string `json:"check"`
	// Result is State in the words ok, warning and failed.
	Result string `json:"result"`
	State  Light  `json:"state"`
	// Detail is what was found, Why why it matters, Remedy what to do about it, and Who can.
	Detail string `json:"detail"`
	Why    string `json:"why"`
	Remedy string `json:"remedy,omitempty"`
	Who    string `json:"who,omitempty"`
	// Reason is with what a submission would end for it.
	Reason Reason `json:"reason,omitempty"`
}

// Examination is what was found by somebody who looked at everything that a submission needs. Unlike Readiness it asks the
// servers, and takes its time.
type Examination struct {
	ExaminedAt time.Time `json:"examined_at"`
	// State is that of the gravest finding.
	State    Light     `json:"state"`
	Findings []Finding `json:"findings"`
}

// Conclusion says it in a line.
func (e Examination) Conclusion() string {
	switch e.State {
	case Red:
		return "something has to be mended"
	case Amber:
		return "it works; mind the warnings"
	default:
		return "everything is in order"
	}
}

// Worse gives the findings that are not green, the red ones first.
func (e Examination) Worse() []Finding {
	worse := slices.DeleteFunc(slices.Clone(e.Findings), func(f Finding) bool { return f.State == Green })
	slices.SortStableFunc(worse, func(a, b Finding) int { return -strings.Compare(string(a.State), string(b.State)) })
	return worse
}

// Count says how many findings have a light.
func (e Examination) Count(light Light) (n int) {
	for _, f := range e.Findings {
		if f.State == light {
			n++
		}
	}
	return n
}

// Peer is what is known of the way to a server.
type Peer struct {
	// IsPlain says that passwords go in the clear over a network; IsUnverified that any certificate is taken, IsPinned that only
	// a certain one is, however old.
	IsPlain, IsUnverified, IsPinned bool
	// CertificateEnds is when the server's certificate ends; zero where none was seen.
	CertificateEnds time.Time
	// Offset is how far the server's clock is ahead of ours, where IsDated says that it is known.
	Offset  time.Duration
	IsDated bool
}

// Examiner looks at everything that a submission needs: addresses, accounts, clocks, the data sets on both sides, the store.
// It asks the servers by reading; nothing is sent but, where TryImport says so, an import that DHIS2 only checks.
type Examiner struct {
	Submitter *Submitter
	// OpenHIM is nil where there is none.
	OpenHIM *Hub
	// Open gives the store, which the caller gives back. The error says what is wrong with it.
	Open func(ctx context.Context) (l *ledger.Ledger, done func(), err error)
	// Configuration tells one configuration from another, without its secrets.
	Configuration string
	// TryExport lets each CHT compute the month that closed last, TryImport lets DHIS2 check a few values of it.
	TryExport, TryImport bool

	// turn is taken by who examines, or reads last.
	turn chan struct{}
	last Examination
}

// NewExaminer makes an examiner of a submitter, whose store it looks at where Open is not set.
func NewExaminer(s *Submitter) *Examiner {
	return &Examiner{
		Submitter: s, turn: make(chan struct{}, 1),
		Open: func(context.Context) (*ledger.Ledger, func(), error) { return s.Ledger, func() {}, nil },
	}
}

const (
	// recent is how old an examination may be that is given again.
	recent = time.Minute
	// examineFor is how long one may take where nobody set a limit.
	examineFor = 5 * time.Minute
)

// Recent gives the last examination where it is young, and makes one otherwise. One is made at a time: who asks meanwhile
// gets the same. It is finished even where the one who asked goes away.
func (e *Examiner) Recent(ctx context.Context) (Examination, error) {
	return e.within(ctx, recent)
}

// within gives the last examination where it is younger than an age.
func (e *Examiner) within(ctx context.Context, age time.Duration) (Examination, error) {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return Examination{}, ctx.Err()
	}
	now := e.Submitter.now()
	if since := now.Sub(e.last.ExaminedAt); since >= 0 && since < age {
		return e.last, nil
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), examineFor)
	defer cancel()
	e.last = e.Examine(limited)
	return e.last, nil
}

// Examine looks at everything, whatever fails on the way. Where the context ends before, the findings are those made by then.
func (e *Examiner) Examine(ctx context.Context) Examination {
	r := &examining{Examiner: e, now: e.Submitter.now(), sources: map[string]*sourceFacts{}, destinations: map[string]*destinationFacts{}}
	return r.run(ctx)
}

// concluded makes an examination of findings.
func concluded(at time.Time, findings []Finding) Examination {
	made := Examination{ExaminedAt: at.UTC(), State: Green, Findings: nonNil(findings)}
	for _, f := range findings {
		if f.State == Red || f.State == Amber && made.State == Green {
			made.State = f.State
		}
	}
	return made
}

// sheet is where findings of one server, or of a data set on it, are written down.
type sheet struct {
	server, who string
	// prefix stands before the names of the checks, such as "data set X: ".
	prefix   string
	findings *[]Finding
}

// of is the sheet about a thing of the server.
func (p sheet) of(thing string) sheet {
	p.prefix = thing + ": "
	return p
}

// detailLimit is how much of a text is kept, in bytes: servers write as much as they like.
const detailLimit = 2000

// add writes a finding down. The check is one of those that meaning knows.
func (p sheet) add(check string, f Finding) *Finding {
	area, why := meaning(check)
	f.Area, f.Why, f.Server, f.Check = area, why, p.server, strings.TrimSuffix(p.prefix+check, ": ")
	f.Detail, f.Remedy = exchange.Keep(f.Detail, detailLimit), exchange.Keep(f.Remedy, detailLimit)
	f.Result = map[Light]string{Green: "ok", Amber: "warning", Red: "failed"}[f.State]
	if f.State != Green && f.Who == "" {
		f.Who = p.who
	}
	*p.findings = append(*p.findings, f)
	return &(*p.findings)[len(*p.findings)-1]
}

func (p sheet) green(check, detail string) { p.add(check, Finding{State: Green, Detail: detail}) }

// amber gives the finding, so that the caller can say who else can do something about it.
func (p sheet) amber(check, detail, remedy string) *Finding {
	return p.add(check, Finding{State: Amber, Detail: detail, Remedy: remedy})
}

// red tells an error, with what it says is to be done.
func (p sheet) red(check string, reason Reason, err error) *Finding {
	return p.add(check, Finding{State: Red, Detail: err.Error(), Remedy: hintOf(err), Reason: reason})
}
