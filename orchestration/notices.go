package orchestration

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/exchange"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/notice"
)

// Notices decides what people have to be told: that something needs them, once until it changes, and that it is well
// again, to those who were told. What was told is in the outbox, so that no restart tells it again.
type Notices struct {
	Submitter *Submitter
	// Channels are the kinds of letters that a notice becomes, one for each way to people, so that a way that fails does
	// not tell those of another one twice. Without one nothing is told.
	Channels []string
	// Installation is what this installation calls itself.
	Installation string
	// WaitingAfter is how long a server is waited for before somebody is told; 0 is an hour.
	WaitingAfter time.Duration
	// OpenHIM are the kinds of letters that go to OpenHIM; empty where there is none.
	OpenHIM []string
	// Tokens names the DHIS2 servers to which the mediator logs in with a token.
	Tokens []string

	// What follows is Look's alone. askedToken is when a server was asked last for its token, in vain or not; monthsAt is
	// when the months were looked at last.
	askedToken map[string]time.Time
	monthsAt   time.Time
}

const (
	usualWaiting = time.Hour
	// settled is how long a trouble has to be over before that is told: one that comes and goes is one.
	settled = 10 * time.Minute
	// monthsEvery is how often the months are looked at, and monthsBack how many of them at least.
	monthsEvery = time.Hour
	monthsBack  = 3
	// tokenEvery is how often DHIS2 is asked when a token expires, tokenHurry that in the last days of one.
	tokenEvery = 24 * time.Hour
	tokenHurry = time.Hour
	// tokenSoon and tokenNow are how long before its end a token is spoken of.
	tokenSoon = 7 * 24 * time.Hour
	tokenNow  = 24 * time.Hour
)

// news is what there is to tell of one cause.
type news struct {
	// cause is its key, version what is told of it: the same version is no news. resolved says that all is well again.
	cause, version string
	resolved       bool
	subject        string
	text           []string
	facts          []notice.Fact
	at             time.Time
}

// letters makes one letter for each channel of each of the news.
func (n *Notices) letters(all ...news) (letters []ledger.Letter, err error) {
	for _, one := range all {
		level := notice.Problem
		if one.resolved {
			level = notice.Resolved
		}
		at := one.at
		if at.IsZero() {
			at = n.Submitter.now()
		}
		body, err := json.Marshal(notice.Notice{
			Installation: n.Installation, Subject: one.subject, Text: strings.Join(one.text, "\n"), Level: level,
			Cause: one.cause, At: at.UTC(), Facts: one.facts,
		})
		if err != nil {
			return nil, err
		}
		for _, kind := range n.Channels {
			letters = append(letters, ledger.Letter{Kind: kind, Subject: one.cause, Version: one.version, Follows: one.resolved, Body: body})
		}
	}
	return letters, nil
}

// post puts news into the outbox.
func (n *Notices) post(ctx context.Context, all ...news) error {
	letters, err := n.letters(all...)
	if err != nil || len(letters) == 0 {
		return err
	}
	return n.Submitter.Ledger.Together(ctx, "post a notice", func(tx *sql.Tx) error {
		for _, letter := range letters {
			if err := n.Submitter.Ledger.PostTx(ctx, tx, letter); err != nil {
				return err
			}
		}
		return nil
	})
}

// Letters gives what people have to be told of a submission that has ended or is held. It may be asked again.
func (n *Notices) Letters(_ context.Context, c Conclusion) ([]ledger.Letter, error) {
	sub := c.Submission
	if sub.DryRun {
		return nil, nil
	}
	switch sub.State {
	case ledger.Failed, ledger.Refused, ledger.Held:
		return n.letters(n.trouble(sub))
	case ledger.PartlyAccepted, ledger.Accepted, ledger.Unchanged:
		return n.letters(n.arrived(sub)...)
	default: // who cancels a submission knows it
		return nil, nil
	}
}

// someOrgUnits ends the cause of a submission of some org units only: that these arrived does not mend one of all.
const someOrgUnits = " some org units"

func submissionCause(k ledger.Key) string { return "submission " + path(k) }
func monthCause(k ledger.Key) string      { return "month " + path(k) }

func path(k ledger.Key) string {
	return strings.Join([]string{k.DHIS2, k.DataSet, k.Period.String(), k.CHT}, "/")
}

func (n *Notices) trouble(sub ledger.Submission) news {
	one := news{
		cause: submissionCause(sub.Key), version: string(sub.State) + " " + sub.Reason, at: cmp.Or(sub.EndedAt, n.Submitter.now()), facts: n.facts(sub),
	}
	if len(sub.OrgUnits) > 0 {
		one.cause += someOrgUnits
	}
	name := n.name(sub.Key)
	if sub.State == ledger.Held {
		one.version = "held " + sub.ID // each one that is held waits for a decision of its own
		one.subject = name + " waits for approval"
		one.text = []string{
			fmt.Sprintf("Submission %s is ready, with %d values for DHIS2 %s, and is held until a person approves it. Nothing of it is sent before.", sub.ID, sub.Counts.Unsent, sub.DHIS2),
			"What to do: look at it with \"mediator status\", then let it go with \"mediator approve " + sub.ID + "\", or reject it with \"mediator reject " + sub.ID + "\".",
		}
		return one
	}
	ended := "failed"
	if sub.State == ledger.Refused {
		ended = "was refused"
	}
	one.subject = name + " " + ended
	if words := reasonWords(Reason(sub.Reason)); words != "" {
		one.subject += ": " + words
	}
	one.text = []string{fmt.Sprintf("Submission %s to DHIS2 %s %s. Values: %s.", sub.ID, sub.DHIS2, ended, countsText(sub.Counts))}
	if sub.Error != "" {
		one.text = append(one.text, "What happened: "+clean(sub.Error))
	}
	if sub.Remedy != "" {
		one.text = append(one.text, "What to do: "+clean(sub.Remedy))
	}
	one.text = append(one.text, "\"mediator status\" shows where all stands; \"mediator retry "+sub.ID+"\" sends what failed again.")
	return one
}

// arrived is that a submission brought everything, or nearly, to those who were told that one had not.
func (n *Notices) arrived(sub ledger.Submission) []news {
	c, name := sub.Counts, n.name(sub.Key)
	one := news{
		cause: submissionCause(sub.Key), version: "arrived", resolved: true, at: cmp.Or(sub.EndedAt, n.Submitter.now()), facts: n.facts(sub),
		subject: name + " has arrived",
		text:    []string{fmt.Sprintf("Submission %s to DHIS2 %s has ended well. Values: %s.", sub.ID, sub.DHIS2, countsText(c))},
	}
	if sub.State == ledger.PartlyAccepted {
		missing := c.Refused + c.Quarantined + c.Unknown + c.Unsent
		one.subject += fmt.Sprintf(", but for %d values", missing)
		one.text = []string{
			fmt.Sprintf("Submission %s to DHIS2 %s has arrived, but for %d values. Values: %s.", sub.ID, sub.DHIS2, missing, countsText(c)),
			"What to do: \"mediator status\" shows which stayed behind, and why.",
		}
	}
	month := one
	month.cause = monthCause(sub.Key)
	if len(sub.OrgUnits) > 0 {
		one.cause += someOrgUnits
		return []news{one, month}
	}
	some := one
	some.cause += someOrgUnits
	return []news{one, some, month}
}

// name names a month for a person.
func (n *Notices) name(k ledger.Key) string {
	title := k.DataSet
	if who, err := n.Submitter.parties(k.DataSet, k.CHT); err == nil && who.set.Title != "" {
		title = who.set.Title
	}
	return fmt.Sprintf("%s %s from CHT %s", title, k.Period, k.CHT)
}

func keyFacts(k ledger.Key) []notice.Fact {
	return []notice.Fact{{Name: "data_set", Value: k.DataSet}, {Name: "period", Value: k.Period.String()}, {Name: "cht", Value: k.CHT}, {Name: "dhis2", Value: k.DHIS2}}
}

func (*Notices) facts(sub ledger.Submission) []notice.Fact {
	facts := append(keyFacts(sub.Key), notice.Fact{Name: "submission", Value: sub.ID}, notice.Fact{Name: "state", Value: string(sub.State)})
	if sub.Reason != "" {
		facts = append(facts, notice.Fact{Name: "reason", Value: sub.Reason})
	}
	return append(facts, notice.Fact{Name: "counts", Value: countsText(sub.Counts)})
}

func countsText(c ledger.Counts) string {
	var parts []string
	for _, count := range []struct {
		n    int
		what string
	}{
		{c.Accepted, "accepted"},
		{c.Unchanged, "unchanged"},
		{c.Refused, "refused"},
		{c.Quarantined, "left behind"},
		{c.Unknown, "of which nobody knows"},
		{c.Unsent, "not sent"},
		{c.Dropped, "dropped by rule"},
	} {
		if count.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count.n, count.what))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// reasonWords says a reason in a few words; nothing where the state says it all.
func reasonWords(r Reason) string {
	switch r {
	case Fault:
		return "a fault of the mediator or its machine"
	case Configuration:
		return "the configuration does not fit"
	case CHTUnavailable:
		return "the CHT gives no usable answer"
	case DHIS2Unavailable:
		return "DHIS2 gives no usable answer"
	case Credentials:
		return "the account is refused"
	default:
		return ""
	}
}

const mostSaid = 500

var (
	// anAddress is where a server or a person is found.
	anAddress = regexp.MustCompile(`(?i)\b[a-z][a-z0-9+.-]*://[^\s"'<>]+|\b[\w.+-]+@[\w-]+(\.[\w-]+)+|\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b|\[[0-9a-f]*:[0-9a-f:.]+\](:\d+)?`)
	aHostName = regexp.MustCompile(`\b(host name) \S+`)
)

// clean takes secrets and addresses out of what a server said, and all that is too long for a notice.
func clean(text string) string {
	text = aHostName.ReplaceAllString(anAddress.ReplaceAllString(text, "(address)"), "$1")
	text = strings.Join(strings.Fields(exchange.Redact(text)), " ")
	if len(text) > mostSaid {
		return strings.ToValidUTF8(text[:mostSaid], "") + "…"
	}
	return text
}

// Parked tells that OpenHIM will never take a report. It may be told of each such report; people are, once a day.
func (n *Notices) Parked(ctx context.Context, letter ledger.Letter, why string) {
	now := n.Submitter.now().UTC()
	err := n.post(ctx, news{
		cause: "report to OpenHIM", version: now.Format(time.DateOnly), at: now,
		subject: "OpenHIM will not take a report",
		text: []string{
			"OpenHIM refuses the report \"" + letter.Subject + "\" for good. What it is about is not affected; it is missing in OpenHIM's console only.",
			"What happened: " + clean(why),
			"What to do: look at OpenHIM and at the mediator's log. The report is kept in the mediator's store. Further reports of today that go the same way are in the log only.",
		},
		facts: []notice.Fact{{Name: "report", Value: letter.Subject}},
	})
	if err != nil {
		n.Submitter.logger().WithError(err).WithField("subject", letter.Subject).Error("a notice could not be posted")
	}
}

// Look looks for what time brings, and posts what there is to tell. One at a time may look, about every minute.
func (n *Notices) Look(ctx context.Context) error {
	if len(n.Channels) == 0 {
		return nil
	}
	err := errors.Join(n.lookAtTroubles(ctx), n.lookAtConsole(ctx), n.lookAtTokens(ctx))
	if now := n.Submitter.now(); n.monthsAt.IsZero() || now.Sub(n.monthsAt) >= monthsEvery || now.Before(n.monthsAt) {
		months := n.lookAtMonths(ctx)
		if months == nil {
			n.monthsAt = now
		}
		err = errors.Join(err, months)
	}
	return err
}

func (n *Notices) lookAtConsole(ctx context.Context) error {
	const cause = "console configuration"
	fault := n.Submitter.ConsoleFault(ctx)
	if fault == "" {
		return n.post(ctx, news{
			cause: cause, version: "good", resolved: true, subject: "The configuration from OpenHIM's console is in force",
			text: []string{"OpenHIM's console has sent a configuration that is right. It is in force."},
		})
	}
	sum := sha256.Sum256([]byte(fault))
	return n.post(ctx, news{
		cause: cause, version: hex.EncodeToString(sum[:8]), subject: "The configuration from OpenHIM's console is refused",
		text: []string{
			"What is set in OpenHIM's console cannot be used, so the last good configuration stays in force.",
			"What happened: " + clean(fault),
			"What to do: correct it in the console, on the mediator's page. \"mediator status\" shows what is in force.",
		},
	})
}

// token is what is remembered of a server's token.
type token struct {
	Expires time.Time `json:"expires"`
	// Several says that the account has further ones, and that nobody knows which of them is ours.
	Several bool `json:"several,omitempty"`
}

func (n *Notices) lookAtTokens(ctx context.Context) error {
	var errs []error
	for _, name := range n.Tokens {
		if n.Submitter.Destinations[name].Client == nil {
			continue
		}
		known, err := n.token(ctx, name)
		if err == nil && !known.Expires.IsZero() {
			err = n.post(ctx, n.tokenNews(name, known)...)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// token gives what is known of a server's token, and asks the server where that is old.
func (n *Notices) token(ctx context.Context, name string) (known token, err error) {
	setting, now := "token "+name, n.Submitter.now()
	text, saved, err := n.Submitter.Ledger.Setting(ctx, setting)
	if err != nil {
		return known, err
	}
	if text != nil {
		_ = json.Unmarshal(text, &known) // what cannot be read is asked anew
	}
	every := tokenEvery
	if !known.Expires.IsZero() && known.Expires.Sub(now) < tokenSoon {
		every = tokenHurry
	}
	if known.Several && !known.Expires.After(now) {
		every = 0 // it was not ours, if the server answers
	}
	asked := now.Sub(n.askedToken[name]) < tokenHurry
	if text != nil && now.Sub(saved) < every || asked || n.Submitter.isDown(ctx, "DHIS2 "+name) != nil {
		return known, nil
	}
	if n.askedToken == nil {
		n.askedToken = map[string]time.Time{}
	}
	n.askedToken[name] = now
	asking, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	expiries, err := n.Submitter.Destinations[name].Client.TokenExpiries(asking)
	if err != nil {
		n.Submitter.logger().WithError(err).WithField("dhis2", name).Debug("DHIS2 does not tell when the token expires")
		return known, nil // a server that is away, or refuses the token, is told of elsewhere
	}
	known = token{}
	expiries = slices.DeleteFunc(expiries, func(at time.Time) bool { return !at.After(now) })
	if len(expiries) > 0 {
		known = token{Expires: expiries[0], Several: len(expiries) > 1}
	}
	if text, err = json.Marshal(known); err != nil {
		return known, err
	}
	return known, n.Submitter.Ledger.SaveSetting(ctx, setting, text)
}

func (n *Notices) tokenNews(name string, known token) []news {
	left, at := known.Expires.Sub(n.Submitter.now()), minute(known.Expires)
	one := news{cause: "token " + name, facts: []notice.Fact{{Name: "dhis2", Value: name}, {Name: "expires", Value: at}}}
	whose := "The token with which the mediator logs in to DHIS2 " + name
	if known.Several {
		whose = "A token of the mediator's account in DHIS2 " + name + " (the account has several, and DHIS2 does not tell which of them the mediator uses)"
	}
	var stage string
	switch {
	case left > tokenSoon:
		one.version, one.resolved = "good", true
		one.subject = "The token for DHIS2 " + name + " is good again"
		one.text = []string{whose + " is good until " + at + "."}
		return []news{one}
	case left > tokenNow:
		stage, one.subject = "7 days", "The token for DHIS2 "+name+" expires within 7 days"
		one.text = []string{whose + " expires at " + at + ". Nothing is accepted after that."}
	case left > 0:
		stage, one.subject = "1 day", "The token for DHIS2 "+name+" expires within a day"
		one.text = []string{whose + " expires at " + at + ". Nothing is accepted after that."}
	case known.Several: // it may be another one, and the server will tell
		return nil
	default:
		stage, one.subject = "expired", "The token for DHIS2 "+name+" has expired"
		one.text = []string{whose + " expired at " + at + ". What is to be sent waits."}
	}
	one.version = stage + " " + known.Expires.Format(time.RFC3339)
	one.text = append(one.text, "What to do: make a new token in DHIS2 (it lives 30 days unless a date is set), and put it in the place of the old one. A token in a file is read again without a restart.")
	return []news{one}
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// lookAtMonths tells of the months of which nothing was accepted in time.
func (n *Notices) lookAtMonths(ctx context.Context) error {
	var all []news
	for _, set := range n.Submitter.DataSets {
		o := n.Submitter.Operation(set.ID)
		if !o.Enabled || o.Schedule == "" || o.NoticeAfterDays == 0 || set.FirstPeriod.IsZero() {
			continue
		}
		for _, source := range set.CHT {
			some, err := n.months(ctx, set, n.Submitter.Sources[source], o.NoticeAfterDays)
			if err != nil {
				return err
			}
			all = append(all, some...)
		}
	}
	return n.post(ctx, all...)
}

// months looks at the last months of a data set and a source.
func (n *Notices) months(ctx context.Context, set DataSet, from Source, after int) (all []news, err error) {
	calendar, _, err := n.Submitter.knownCalendar(ctx, from)
	if err != nil {
		return nil, err
	}
	if calendar == nil { // the CHT never answered: then nothing was accepted for sure
		calendar = &cht.Settings{}
	}
	now := n.Submitter.now()
	period, err := latestClosed(&set, calendar, now, from.zone())
	if err != nil {
		return nil, err
	}
	const shortest = 28
	for range monthsBack + after/shortest {
		if period.Before(set.FirstPeriod) {
			break
		}
		if !now.Before(instant(lastDay(calendar, period).AddDate(0, 0, 1+after), from.zone())) {
			one, err := n.month(ctx, ledger.Key{DHIS2: set.DHIS2, DataSet: set.ID, Period: period, CHT: from.Name}, after)
			if err != nil {
				return nil, err
			}
			all = append(all, one...)
		}
		period = period.Previous()
	}
	return all, nil
}

// month looks at one month whose time is over.
func (n *Notices) month(ctx context.Context, key ledger.Key, after int) ([]news, error) {
	one := news{cause: monthCause(key), facts: keyFacts(key)}
	accepted, err := n.Submitter.Ledger.LastAccepted(ctx, key)
	if err != nil {
		return nil, err
	}
	if !accepted.IsZero() {
		one.version, one.resolved, one.at = "arrived", true, accepted
		one.subject = n.name(key) + " has arrived"
		one.text = []string{"DHIS2 " + key.DHIS2 + " has accepted values of it at " + minute(accepted) + "."}
		return []news{one}, nil
	}
	last, known, err := n.lastOf(ctx, key)
	moves := known && !last.State.Ended() && last.State != ledger.Held && last.WaitingFor == ""
	if err != nil || moves || known && last.State == ledger.Unchanged { // it is on its way, or there is rightly nothing to send
		return nil, err
	}
	one.version = "nothing"
	one.subject = fmt.Sprintf("Nothing of %s was accepted", n.name(key))
	one.text = []string{fmt.Sprintf("The %s has been over for %d days, and DHIS2 %s has accepted nothing of it from CHT %s.", spanOf(key.Period.Type()), after, key.DHIS2, key.CHT)}
	if known {
		one.text = append(one.text, fmt.Sprintf("The last submission, %s, is %s.", last.ID, last.State))
		one.facts = append(one.facts, notice.Fact{Name: "submission", Value: last.ID}, notice.Fact{Name: "state", Value: string(last.State)})
	} else {
		one.text = append(one.text, "No submission of it is known.")
	}
	one.text = append(one.text, fmt.Sprintf("What to do: see with \"mediator status\" what holds it up, or send it with \"mediator submit --data-set %s --period %s --cht %s\".", key.DataSet, key.Period, key.CHT))
	return []news{one}, nil
}

// lastOf gives the last submission of a key that was more than a dry run.
func (n *Notices) lastOf(ctx context.Context, key ledger.Key) (last ledger.Submission, known bool, err error) {
	all, err := n.Submitter.Ledger.Submissions(ctx, ledger.Filter{DHIS2: key.DHIS2, DataSet: key.DataSet, CHT: key.CHT, Period: key.Period})
	at := slices.IndexFunc(all, func(s ledger.Submission) bool { return !s.DryRun })
	if err != nil || at < 0 {
		return last, false, err
	}
	return all[at], true, nil
}
