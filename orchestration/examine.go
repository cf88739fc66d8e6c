package orchestration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/openhim"
)

// examining is one examination under way.
type examining struct {
	*Examiner

	now time.Time
	// store is nil where it could not be opened.
	store        *ledger.Ledger
	sources      map[string]*sourceFacts
	destinations map[string]*destinationFacts
}

// sourceFacts is what is known of a CHT, and what was found there.
type sourceFacts struct {
	findings []Finding
	info     cht.Info
	// settings is nil where they could not be read.
	settings *cht.Settings
	// orgUnits is nil where nobody knows them.
	orgUnits []cht.OrgUnit
}

// destinationFacts is what is known of a DHIS2, and what was found there.
type destinationFacts struct {
	findings []Finding
	server   dhis2.Server
	// user is nil where the account could not be read.
	user *dhis2.User
	// sets are the data sets that could be read.
	sets map[string]dhis2.DataSet
}

const (
	// serversAtOnce is how many servers are asked at one time.
	serversAtOnce = 8
	// serverFor is how long the questions to one server may take in all.
	serverFor = 90 * time.Second
)

// run asks the CHT servers first, as what they say is compared with what each DHIS2 says.
func (r *examining) run(ctx context.Context) Examination {
	var findings []Finding
	store := sheet{"store", us, "", &findings}
	done := r.examineStore(ctx, store)
	defer done()
	for name := range r.Submitter.Sources {
		r.sources[name] = &sourceFacts{}
	}
	for name := range r.Submitter.Destinations {
		r.destinations[name] = &destinationFacts{sets: map[string]dhis2.DataSet{}}
	}
	sources, destinations := slices.Sorted(maps.Keys(r.sources)), slices.Sorted(maps.Keys(r.destinations))
	side(ctx, sources, func(ctx context.Context, name string) { r.examineSource(ctx, r.Submitter.Sources[name]) })
	side(ctx, destinations, func(ctx context.Context, name string) { r.examineDestination(ctx, r.Submitter.Destinations[name]) })
	var all []Finding
	for _, name := range sources {
		all = append(all, r.sources[name].findings...)
	}
	for _, name := range destinations {
		all = append(all, r.destinations[name].findings...)
	}
	r.examineSchedules(&all)
	r.try(ctx, &all)
	all = append(all, findings...)
	if r.OpenHIM != nil {
		r.examineOpenHIM(ctx, sheet{"OpenHIM", openHIMAdmin, "", &all})
	}
	if ctx.Err() != nil {
		interrupted := faulty("let it run to its end", "it was interrupted, so that not everything was looked at")
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			interrupted = faulty("look at the servers that did not answer in time", "it took too long, so that not everything was looked at")
		}
		sheet{"mediator", us, "", &all}.red("examination", Stopped, interrupted)
	}
	return concluded(r.now, all)
}

// side asks some servers side by side, each for a while.
func side(ctx context.Context, names []string, ask func(context.Context, string)) {
	var all sync.WaitGroup
	places := make(chan struct{}, serversAtOnce)
	for _, name := range names {
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			limited, cancel := context.WithTimeout(ctx, serverFor)
			defer cancel()
			ask(limited, name)
		})
	}
	all.Wait()
}

// hintOf is what an error says is to be done; empty where it says nothing.
func hintOf(err error) string {
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		return hint.Hint()
	}
	return ""
}

// faulty is a finding of ours as an error.
func faulty(remedy, format string, args ...any) error {
	return &UsageError{What: fmt.Sprintf(format, args...), Remedy: remedy}
}

const day = 24 * time.Hour

// lightUntil is how grave it is that something ends at an instant, where it is amber so long before, and red so long.
func (r *examining) lightUntil(end time.Time, amber, red time.Duration) Light {
	switch left := end.Sub(r.now); {
	case left < red:
		return Red
	case left < amber:
		return Amber
	default:
		return Green
	}
}

// until says when something ends, in days.
func (r *examining) until(end time.Time) string {
	date := end.UTC().Format(time.DateOnly)
	if left := end.Sub(r.now); left >= 0 {
		return fmt.Sprintf("ends on %s, in %s", date, counted(int(left/day), "day"))
	}
	return "ended on " + date
}

// A certificate is amber and red so long before it ends.
const (
	certificateSoon = 30 * day
	certificateNow  = 7 * day
)

// first asks a server the first question, unless it is not to be asked now, and takes in how that went.
func (r *examining) first(ctx context.Context, server string, ask func() error) error {
	if err := r.Submitter.isDown(ctx, server); err != nil {
		return err
	}
	err := ask()
	if ctx.Err() == nil {
		r.Submitter.contacted(server, err)
		r.Submitter.noteDown(ctx, server, err)
	}
	return err
}

// way looks at the way to a server: what protects it, and the clock at its end.
func (r *examining) way(p sheet, peer func() Peer) {
	if peer == nil {
		return
	}
	seen := peer()
	switch {
	case seen.IsPlain:
		p.amber("encryption", "the address is http, so that the password and the figures go in the clear", "use https, or a network that is yours alone").Who = us + ", " + p.who
	case seen.IsUnverified:
		p.amber("encryption", "any certificate is taken, so that anybody on the way can read the password", "give the certificate authority as ca_file, or the fingerprint").Who = us
	case !seen.CertificateEnds.IsZero():
		r.certificate(p, seen)
	}
	if seen.IsDated {
		r.clock(p, seen.Offset, time.UTC)
	}
}

func (r *examining) certificate(p sheet, seen Peer) {
	const remedy = "renew the certificate of the server, and where its fingerprint is in the configuration, that as well"
	text := "the certificate " + r.until(seen.CertificateEnds)
	switch light := r.lightUntil(seen.CertificateEnds, certificateSoon, certificateNow); {
	case light == Green:
		p.green("certificate", text)
	case light == Amber, seen.IsPinned: // it is the one of the fingerprint, however old
		p.amber("certificate", text, remedy)
	default:
		reason := map[string]Reason{chtAdmin: CHTUnavailable, dhis2Admin: DHIS2Unavailable, openHIMAdmin: Fault}[p.who]
		p.red("certificate", reason, faulty(remedy, "%s", text))
	}
}

// clockSlack is how far two clocks may differ.
const clockSlack = time.Minute

// clock tells how far a server's clock is ahead of ours. Where the days differ, so may the months that are over.
func (r *examining) clock(p sheet, offset time.Duration, zone *time.Location) {
	const remedy = "set the clocks of this machine and of the server by NTP"
	ours := r.Submitter.now()
	theirs := ours.Add(offset)
	away := offset.Round(time.Second).Abs().String() + " ahead of ours"
	if offset < 0 {
		away = offset.Round(time.Second).Abs().String() + " behind ours"
	}
	switch {
	case offset.Abs() <= clockSlack:
		p.green("clock", "it agrees with ours")
	case ours.In(zone).Format(time.DateOnly) != theirs.In(zone).Format(time.DateOnly):
		p.red("clock", NothingAccepted, faulty(remedy, "it is %s, on another day", away)).Who = us + ", " + p.who
	default:
		p.amber("clock", "it is "+away, remedy).Who = us + ", " + p.who
	}
}

// statusOf is the HTTP status in an error of a neighbour; 0 where there is none.
func statusOf(err error) int {
	var source *cht.Error
	var destination *dhis2.Error
	var hub *openhim.Error
	switch {
	case errors.As(err, &source):
		return source.Status
	case errors.As(err, &destination):
		return destination.Status
	case errors.As(err, &hub):
		return hub.Status
	default:
		return 0
	}
}

// isForbidden says that the account may not do what was asked for.
func isForbidden(err error) bool { return statusOf(err) == http.StatusForbidden }

// meaning says to which area a check belongs, and why it matters.
func meaning(check string) (area, why string) {
	switch check {
	case "connection":
		return "reachability", "without it nothing is read from the server, or nothing sent to it"
	case "certificate":
		return "reachability", "from that day on no connection is made, and what is to be sent waits"
	case "encryption":
		return "reachability", "whoever reads the password may do all that the account may"
	case "account", "super user":
		return "rights", "DHIS2 leaves checks out for a super user, so that faults show only when the account is changed, and a stolen password opens everything"
	case "authority F_DATAVALUE_ADD", "data writing":
		return "rights", "without it DHIS2 refuses every value"
	case "authority F_EDIT_EXPIRED":
		return "rights", "with it DHIS2 takes data also after the expiry days of a data set"
	case "capture org units":
		return "rights", "DHIS2 takes values of these org units, and of those below them, only"
	case "data reading":
		return "rights", "without it nobody sees what DHIS2 holds, so that corrections made there are overwritten unseen"
	case "category options":
		return "rights", "DHIS2 refuses values of a category option to which the account may not write; from 2.43 on it refuses the whole request"
	case "token":
		return "rights", "from that day on DHIS2 refuses every request"
	case "online user":
		return "rights", "the CHT answers integrations only where the account is an online user"
	case "permission can_export_all":
		return "rights", "without it the CHT answers each export with an error"
	case "permissions":
		return "rights", "without them OpenHIM takes no registration, no heartbeat and no report"
	case "version":
		return "version", "each version has faults of its own that decide which figures arrive"
	case "clock":
		return "clock", "which month is over, and whether it may still be entered, is decided by the clocks of both"
	case "calendar":
		return "calendar", "a month of another calendar has other days, and figures land in the wrong period"
	case "time zone":
		return "calendar", "a month ends at midnight of the source's time zone; with another one it is read too early or too late"
	case "month start":
		return "calendar", "DHIS2 shows the figures as those of a calendar month"
	case "settings", "":
		return "data sets", "both sides have to know the data set under one id and with one type of period"
	case "categories":
		return "data sets", "a value without the right attribute option combo is refused, or shown in no form"
	case "periods":
		return "data sets", "DHIS2 takes a period only while it is open"
	case "completeness":
		return "data sets", "an org unit that is not registered as complete counts as not reported"
	case "approval":
		return "data sets", "approved data must not change"
	case "rules":
		return "data sets", "a rule with a wrong id does nothing, and says nothing"
	case "expected workers":
		return "rules", "where the wrong people are expected nobody can tell who has not synced"
	case "changed settings":
		return "elements", "figures of two months that are not counted alike are compared all the same"
	case "targets", "shared elements", "percent targets":
		return "elements", "the export adds up, or leaves out, what DHIS2 keeps apart"
	case "elements":
		return "elements", "a value that does not fit stays behind, month after month"
	case "org units":
		return "org units", "what belongs to an org unit that does not take it stays behind, month after month"
	case "nesting":
		return "org units", "the CHT counts the work of a place at each org unit above it, and DHIS2 adds children to parents, so that it is counted twice"
	case "schedule", "window", "sending hours", "first period":
		return "schedule", "a month that is not sent in time is missing in DHIS2, and late data may find it locked"
	case "data folder", "database":
		return "store", "what cannot be written down is not sent"
	case "room", "store size":
		return "store", "where there is no room nothing is sent until somebody makes some"
	case "export":
		return "rights", "it is the only proof that the account may read the figures"
	case "trial import":
		return "data sets", "it is what DHIS2 itself says of real values; nothing was stored"
	case "others' values":
		return "data sets", "two stores that send one data set overwrite each other"
	case "registration", "mediator", "channel":
		return "OpenHIM", "people audit and run again what is known to OpenHIM"
	case "reports":
		return "OpenHIM", "what OpenHIM does not take is missing in the console"
	default:
		return "mediator", "what was not looked at may be wrong"
	}
}
