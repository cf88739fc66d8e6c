package orchestration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/validation"
)

// The authorities that count.
const (
	everything   = "ALL"
	addValues    = "F_DATAVALUE_ADD"
	editExpired  = "F_EDIT_EXPIRED"
	serverMoment = "2006-01-02T15:04:05.999" // as DHIS2 writes its date, in its own time zone
)

// examineDestination looks at a DHIS2: its address and account, its version, clock and calendar, and the data sets that are
// sent to it.
func (r *examining) examineDestination(ctx context.Context, s Destination) {
	facts := r.destinations[s.Name]
	p := sheet{s.Name, dhis2Admin, "", &facts.findings}
	err := r.first(ctx, "DHIS2 "+s.Name, func() (err error) {
		facts.server, err = s.Client.Server(ctx)
		return err
	})
	if err != nil {
		p.red("connection", ReasonOf(err), err)
		r.way(p, s.Peer)
		return
	}
	server := facts.server
	p.green("connection", fmt.Sprintf("DHIS2 %s, dialect %s, credentials accepted", server.Version, server.Dialect))
	r.serverClock(p, s, server)
	if err := dhis2.CheckCalendar(server.Calendar); err != nil {
		p.red("calendar", NothingAccepted, faulty("this version of the mediator sends to servers with the ISO calendar only", "%v", err))
	} else {
		p.green("calendar", fmt.Sprintf("%s, time zone %s", server.Calendar, server.TimeZone))
	}
	r.zones(p, s.Name, server)
	r.account(ctx, p, s)
	var sets []Finding // what they need of the server's version and the account's rights is told before them
	for _, set := range r.Submitter.DataSets {
		if set.DHIS2 == s.Name {
			r.destinationSet(ctx, sheet{s.Name, dhis2Admin, "data set " + set.ID + ": ", &sets}, s, set)
		}
	}
	r.dhis2Version(p, facts)
	r.expiredEditing(p, s.Name)
	facts.findings = append(facts.findings, sets...)
}

// serverClock compares with the date that DHIS2 gives, in its own time zone, and falls back on that of its answer.
func (r *examining) serverClock(p sheet, s Destination, server dhis2.Server) {
	zone, err := time.LoadLocation(server.TimeZone)
	if err == nil {
		var theirs time.Time
		if theirs, err = time.ParseInLocation(serverMoment, server.Date, zone); err == nil {
			r.way(p, withoutDate(s.Peer))
			r.clock(p, theirs.Sub(r.Submitter.now()), zone)
			return
		}
	}
	r.way(p, s.Peer)
}

// withoutDate leaves the clock out of what is known of a server.
func withoutDate(peer func() Peer) func() Peer {
	if peer == nil {
		return nil
	}
	return func() Peer {
		seen := peer()
		seen.IsDated = false
		return seen
	}
}

// zones finds a source whose time zone somebody has forgotten to set.
func (r *examining) zones(p sheet, dhis2 string, server dhis2.Server) {
	zone, err := time.LoadLocation(server.TimeZone)
	if err != nil {
		return
	}
	_, theirs := r.now.In(zone).Zone()
	for _, source := range r.sourcesOf(dhis2) {
		if _, ours := r.now.In(r.Submitter.Sources[source].zone()).Zone(); ours == 0 && theirs != 0 {
			p.amber("time zone", fmt.Sprintf("CHT %s counts in UTC, and DHIS2 in %s", source, server.TimeZone), "set time_zone of the CHT to that of the country").Who = us
		}
	}
}

// sourcesOf are the sources of what goes to a DHIS2, each once, in the order of the data sets.
func (r *examining) sourcesOf(destination string) (names []string) {
	for _, set := range r.Submitter.DataSets {
		for _, source := range set.CHT {
			if set.DHIS2 == destination && !slices.Contains(names, source) {
				names = append(names, source)
			}
		}
	}
	return names
}

// account looks at each right of the account.
func (r *examining) account(ctx context.Context, p sheet, s Destination) {
	user, err := s.Client.Me(ctx)
	if err != nil {
		p.red("account", ReasonOf(err), err)
		return
	}
	r.destinations[s.Name].user = &user
	may := func(authority string) bool {
		return slices.Contains(user.Authorities, everything) || slices.Contains(user.Authorities, authority)
	}
	if slices.Contains(user.Authorities, everything) {
		p.amber("super user", user.Username+" is a super user, for whom DHIS2 leaves checks out", "use an account with the authority F_DATAVALUE_ADD only")
	}
	if may(addValues) {
		p.green("authority "+addValues, user.Username+" has it")
	} else {
		p.red("authority "+addValues, Credentials, faulty("give the account a role with it", "%s lacks the authority %s", user.Username, addValues))
	}
	if len(user.OrgUnits) > 0 {
		p.green("capture org units", fmt.Sprintf("%s may add data values below %s", user.Username, counted(len(user.OrgUnits), "org unit")))
	} else {
		p.red("capture org units", Credentials, faulty("give the account the org unit above all that are sent", "%s has no data capture org unit", user.Username))
	}
	if s.HasToken {
		r.token(ctx, p, s)
	}
}

// A token is amber and red so long before it ends: it lives 30 days where nobody says otherwise.
const (
	expirySoon = 14 * day
	expiryNow  = 3 * day
)

// token tells when the access token ends. Where the account has several nobody can say which of them is ours.
func (r *examining) token(ctx context.Context, p sheet, s Destination) {
	const remedy = "make a new token in DHIS2 (it lives 30 days unless a date is set), and put it in the place of the old one"
	expiries, err := s.Client.TokenExpiries(ctx)
	if err != nil {
		p.amber("token", err.Error(), hintOf(err))
		return
	}
	expiries = slices.DeleteFunc(expiries, func(at time.Time) bool { return !at.After(r.now) }) // ours was taken just now
	if len(expiries) == 0 {
		p.green("token", "no end of it is known")
		return
	}
	switch light := r.lightUntil(expiries[0], expirySoon, expiryNow); {
	case light == Green:
		p.green("token", "it "+r.until(expiries[0]))
	case len(expiries) > 1:
		p.amber("token", fmt.Sprintf("the account has %s, and one of them %s", counted(len(expiries), "token"), r.until(expiries[0])), remedy).Who = dhis2Admin + ", " + us
	case light == Amber:
		p.amber("token", "it "+r.until(expiries[0]), remedy).Who = dhis2Admin + ", " + us
	default:
		p.red("token", Credentials, faulty(remedy, "it %s", r.until(expiries[0]))).Who = dhis2Admin + ", " + us
	}
}

// dhis2Version tells the faults of a DHIS2's version, as far as they concern what is sent to it.
func (*examining) dhis2Version(p sheet, facts *destinationFacts) {
	version := facts.server.Version
	var limited []string
	for id, set := range facts.sets {
		if len(set.InputPeriods) > 0 {
			limited = append(limited, id)
		}
	}
	slices.Sort(limited)
	switch {
	case isBefore(version, 2, 40):
		p.amber("version", version+" is out of support, so that its faults are mended no more", "update DHIS2 to a supported version, and read its release notes on data import before")
	case validation.InvertsInputPeriods(version) && len(limited) > 0:
		p.amber("version", fmt.Sprintf("%s has the test of input periods inverted: it refuses a period that is open (E8030) and takes one that is not; these data sets have some: %s", version, strings.Join(limited, ", ")),
			"update DHIS2 to a version after 2.43.1, or take the input periods off these data sets")
	case validation.InvertsInputPeriods(version):
		p.green("version", version+" has the test of input periods inverted, which concerns none of these data sets, and fails on values that are numbers, which are sent as texts")
	case !isBefore(version, 2, 44):
		p.green("version", version+" is later than the versions that this mediator was tried with; it is spoken to as 2.43")
	default:
		p.green("version", "no fault is known of "+version+" that is not minded")
	}
}

// expiredEditing tells whether the account needs the right to send into expired periods, once it is known of the data sets
// when theirs expire.
func (r *examining) expiredEditing(p sheet, destination string) {
	facts := r.destinations[destination]
	if facts.user == nil {
		return
	}
	var beyond []string
	for _, set := range r.Submitter.DataSets {
		read, known := facts.sets[set.ID]
		if known && set.DHIS2 == destination && read.ExpiryDays > 0 && r.Submitter.Operation(set.ID).RereadDays > read.ExpiryDays {
			beyond = append(beyond, set.ID)
		}
	}
	check := "authority " + editExpired
	switch {
	case slices.Contains(facts.user.Authorities, everything), slices.Contains(facts.user.Authorities, editExpired):
		p.green(check, facts.user.Username+" has it")
	case len(beyond) == 0:
		p.green(check, facts.user.Username+" lacks it, and no data set is read again beyond its expiry days")
	default:
		p.amber(check, fmt.Sprintf("%s lacks it, and these data sets are read again beyond their expiry days: %s", facts.user.Username, strings.Join(beyond, ", ")),
			"give the account a role with it where late data is policy; else lower reread_days").Who = dhis2Admin + ", " + us
	}
}
