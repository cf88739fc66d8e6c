package orchestration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/notice"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// newsroom is a bench whose clock is set, with those who are told.
type newsroom struct {
	*bench
	*Notices

	at     time.Time
	folder string
	// read are the notices that arrived by mail.
	read []notice.Notice
}

func newNewsroom(t *testing.T) *newsroom {
	t.Helper()
	n := &newsroom{bench: newBench(t, "2.43.1"), at: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC), folder: t.TempDir()}
	n.Now = func() time.Time { return n.at }
	n.DataSets[0].Title = "MCH monthly"
	n.Notices = &Notices{Submitter: n.bench.Submitter, Channels: []string{"notice-mail"}, Installation: "Kisumu", OpenHIM: []string{"openhim"}}
	n.remember(t, n.folder)
	return n
}

// restart leaves nothing of the process but the store.
func (n *newsroom) restart(t *testing.T) {
	t.Helper()
	if err := n.Ledger.Close(); err != nil {
		t.Fatal(err)
	}
	was := n.bench.Submitter
	n.bench.Submitter = &Submitter{Sources: was.Sources, Destinations: was.Destinations, DataSets: was.DataSets, SpoolDir: was.SpoolDir, Wait: was.Wait, Now: was.Now}
	n.Notices = &Notices{Submitter: n.bench.Submitter, Channels: n.Channels, Installation: n.Installation, OpenHIM: n.OpenHIM, Tokens: n.Tokens}
	n.remember(t, n.folder)
}

// key is that of the bench's September.
func (n *newsroom) key(t *testing.T) ledger.Key {
	t.Helper()
	period, err := dhis2.ParsePeriod("202609")
	if err != nil {
		t.Fatal(err)
	}
	return ledger.Key{DHIS2: "national", DataSet: n.set, Period: period, CHT: "county"}
}

// told gives the subjects of what arrived since it was asked last, the good news with a plus.
func (n *newsroom) told(t *testing.T) (subjects []string) {
	t.Helper()
	courier := Courier{Ledger: n.Ledger, Kind: "notice-mail", Now: n.Now, Send: func(_ context.Context, one notice.Notice) error {
		n.read = append(n.read, one)
		subject := one.Subject
		if one.Level == notice.Resolved {
			subject = "+ " + subject
		}
		subjects = append(subjects, subject)
		return nil
	}}
	if _, err := courier.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	return subjects
}

func (n *newsroom) look(t *testing.T) []string {
	t.Helper()
	if err := n.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n.told(t)
}

// lookFor looks every minute; for a day or longer, to save time, every ten.
func (n *newsroom) lookFor(t *testing.T, long time.Duration) (subjects []string) {
	t.Helper()
	every := time.Minute
	if long >= 24*time.Hour {
		every = 10 * time.Minute
	}
	for range int(long / every) {
		n.at = n.at.Add(every)
		subjects = append(subjects, n.look(t)...)
	}
	return subjects
}

func (n *newsroom) want(t *testing.T, when string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

// concluded posts what a submission's end leaves.
func (n *newsroom) concluded(t *testing.T, sub ledger.Submission) []string {
	t.Helper()
	letters, err := n.Letters(t.Context(), Conclusion{Submission: sub})
	if err != nil {
		t.Fatal(err)
	}
	for _, letter := range letters {
		if err := n.Ledger.Post(t.Context(), letter); err != nil {
			t.Fatal(err)
		}
	}
	return n.told(t)
}

func TestASubmissionIsToldOfOnceUntilItChanges(t *testing.T) {
	type step struct {
		sub  ledger.Submission
		told []string
	}
	end := func(state ledger.State, reason Reason) ledger.Submission {
		return ledger.Submission{ID: "s" + string(state), State: state, Reason: string(reason), Counts: ledger.Counts{Accepted: 9, Refused: 2, Quarantined: 1}}
	}
	dry := end(ledger.Failed, Fault)
	dry.DryRun = true
	one := func(sub ledger.Submission) ledger.Submission { sub.OrgUnits = []string{"Ou000000001"}; return sub }
	held := func(id string) ledger.Submission { s := end(ledger.Held, ""); s.ID = id; return s }
	away, account := end(ledger.Failed, DHIS2Unavailable), end(ledger.Failed, Credentials)
	refused, partly, accepted := end(ledger.Refused, NothingAccepted), end(ledger.PartlyAccepted, LeftBehind), end(ledger.Accepted, "")
	const (
		name        = "MCH monthly 202609 from CHT county"
		tellAway    = name + " failed: DHIS2 gives no usable answer"
		tellAccount = name + " failed: the account is refused"
		tellRefused = name + " was refused"
		tellHeld    = name + " waits for approval"
		tellArrived = "+ " + name + " has arrived"
		tellPartly  = "+ " + name + " has arrived, but for 3 values"
	)
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"good ends are no news", []step{{accepted, nil}, {end(ledger.Unchanged, ""), nil}, {partly, nil}, {accepted, nil}}},
		{"the same failure is told once", []step{{away, []string{tellAway}}, {away, nil}, {away, nil}}},
		{"another reason is news", []step{{away, []string{tellAway}}, {account, []string{tellAccount}}, {refused, []string{tellRefused}}, {refused, nil}}},
		{"a failure is over once all has arrived", []step{{away, []string{tellAway}}, {accepted, []string{tellArrived}}, {accepted, nil}, {away, []string{tellAway}}}},
		{"a failure is over when nothing is left to send", []step{{away, []string{tellAway}}, {end(ledger.Unchanged, ""), []string{tellArrived}}}},
		{"a failure is over when nearly all has arrived, and that is all", []step{{refused, []string{tellRefused}}, {partly, []string{tellPartly}}, {accepted, nil}, {partly, nil}, {accepted, nil}}},
		{"a person who cancels knows it", []step{{end(ledger.Cancelled, Stopped), nil}, {away, []string{tellAway}}, {end(ledger.Cancelled, Stopped), nil}, {away, nil}}},
		{"a dry run is nobody's news", []step{{dry, nil}, {away, []string{tellAway}}}},
		{"one that is held is told once", []step{{held("a"), []string{tellHeld}}, {held("a"), nil}}},
		{"each one that is held waits for a decision", []step{{held("a"), []string{tellHeld}}, {end(ledger.Cancelled, Stopped), nil}, {held("b"), []string{tellHeld}}}},
		{"what was held and arrives is told", []step{{held("a"), []string{tellHeld}}, {accepted, []string{tellArrived}}}},
		{"some org units that arrive do not mend a whole month", []step{{away, []string{tellAway}}, {one(accepted), nil}, {away, nil}, {accepted, []string{tellArrived}}}},
		{"a whole month mends some org units", []step{{one(away), []string{tellAway}}, {accepted, []string{tellArrived}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNewsroom(t)
			for i, step := range test.steps {
				step.sub.Key = n.key(t)
				n.at = n.at.Add(time.Hour)
				n.want(t, fmt.Sprintf("step %d", i+1), n.concluded(t, step.sub), step.told...)
				n.restart(t)
				n.want(t, fmt.Sprintf("step %d again, after a crash", i+1), n.concluded(t, step.sub))
			}
		})
	}
}

func TestANoticeSaysWhatHappenedHowMuchAndWhatToDo(t *testing.T) {
	n := newNewsroom(t)
	n.Told = n.Letters
	n.dhis2.Fail(sandbox.Fault{Kind: sandbox.LoginRedirect, Method: post, Skip: 2})
	report, _ := n.submit(t, t.Context())
	n.told(t)
	if len(n.read) != 1 {
		t.Fatalf("got %d notices, want one", len(n.read))
	}
	got := n.read[0]
	for _, part := range []string{report.ID, "600 accepted", "600 not sent", "What happened: ", "What to do: this is usually the login page", "mediator status", "mediator retry " + report.ID} {
		if !strings.Contains(got.Text, part) {
			t.Errorf("the text does not say %q:\n%s", part, got.Text)
		}
	}
	want := []notice.Fact{
		{Name: "data_set", Value: n.set}, {Name: "period", Value: "202609"}, {Name: "cht", Value: "county"}, {Name: "dhis2", Value: "national"},
		{Name: "submission", Value: report.ID}, {Name: "state", Value: "failed"}, {Name: "reason", Value: "credentials"}, {Name: "counts", Value: "600 accepted, 600 not sent"},
	}
	if diff := cmp.Diff(want, got.Facts); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	if got.Installation != "Kisumu" || got.Level != notice.Problem || got.Cause != "submission national/"+n.set+"/202609/county" {
		t.Errorf("got %+v", got)
	}

	n.dhis2.Heal()
	n.at = n.at.Add(time.Hour)
	n.down = nil // as after a while
	n.submit(t, t.Context())
	n.want(t, "when it has arrived", n.told(t), "+ MCH monthly 202609 from CHT county has arrived")
}

func TestAnAddressIsNotTold(t *testing.T) {
	for text, want := range map[string]string{
		"get https://user:hunter2@chw.example.org:8443/medic?x=1 failed":      "get (address) failed",
		"dial tcp 10.1.2.3:443: connection refused":                           "dial tcp (address): connection refused",
		"dial tcp [fd00::1]:443: no route":                                    "dial tcp (address): no route",
		"the host name chw.example.org is not known":                          "the host name is not known",
		"the sender jane@example.org is unknown":                              "the sender (address) is unknown",
		"token d2p_abcDEF123 is no more":                                      "token <redacted> is no more",
		"  period 202609 of data set pBOMPrpg1QX\nis locked  ":                "period 202609 of data set pBOMPrpg1QX is locked",
		strings.Repeat("x", 600):                                              strings.Repeat("x", 500) + "…",
		"the server answered 409 (Data set DsMchMonth1 is not assigned, E5) ": "the server answered 409 (Data set DsMchMonth1 is not assigned, E5)",
	} {
		if got := clean(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestAMonthOfWhichNothingWasAcceptedIsTold(t *testing.T) {
	nairobi := time.FixedZone("Africa/Nairobi", 3*60*60)
	of := func(month string) string { return "Nothing of MCH monthly " + month + " from CHT county was accepted" }
	for _, test := range []struct {
		name  string
		first string
		// start is the first day of the CHT's months.
		start  int
		change func(o *Operation)
		at     string
		want   []string
	}{
		{name: "not before its day", at: "2026-11-15T19:00:00Z"},
		{name: "when its day begins in the CHT", at: "2026-11-15T21:00:00Z", want: []string{of("202610")}},
		{name: "and not the day before", at: "2026-11-14T21:00:00Z"},
		{name: "by the CHT's own months", start: 26, at: "2026-11-09T21:00:00Z", want: []string{of("202610")}},
		{name: "some months back", first: "202601", at: "2026-11-22T09:00:00Z", want: []string{of("202610"), of("202609"), of("202608")}},
		{name: "however late its day is", first: "202608", at: "2026-12-20T09:00:00Z", change: func(o *Operation) { o.NoticeAfterDays = 100 }, want: []string{of("202608")}},
		{name: "none before the first", first: "202611", at: "2026-11-22T09:00:00Z"},
		{name: "never", at: "2026-11-22T09:00:00Z", change: func(o *Operation) { o.NoticeAfterDays = 0 }},
		{name: "not where it is switched off", at: "2026-11-22T09:00:00Z", change: func(o *Operation) { o.Enabled = false }},
		{name: "not without a schedule", at: "2026-11-22T09:00:00Z", change: func(o *Operation) { o.Schedule = "" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNewsroom(t)
			from := n.Sources["county"]
			from.Zone = nairobi
			n.Sources["county"] = from
			first := test.first
			if first == "" {
				first = "202610"
			}
			set := &n.DataSets[0]
			set.FirstPeriod, _ = dhis2.ParsePeriod(first)
			set.Operation = Operation{Enabled: true, Schedule: "0 3 * * *", NoticeAfterDays: 15}
			if test.change != nil {
				test.change(&set.Operation)
			}
			if test.start > 0 {
				n.keepCalendar(t.Context(), from, &cht.Settings{MonthStartDate: test.start})
			}
			var err error
			if n.at, err = time.Parse(time.RFC3339, test.at); err != nil {
				t.Fatal(err)
			}
			n.want(t, "at "+test.at, n.look(t), test.want...)
			n.want(t, "an hour later", n.lookFor(t, 61*time.Minute))
			n.restart(t)
			n.want(t, "after a restart", n.look(t))
		})
	}
}

func TestAMonthIsWellAgainWhenSomethingIsAccepted(t *testing.T) {
	n := newNewsroom(t)
	n.Told = n.Letters
	n.WaitingAfter = 12 * time.Hour
	set := &n.DataSets[0]
	set.FirstPeriod = n.key(t).Period
	set.Operation = Operation{Enabled: true, Schedule: "0 3 * * *", NoticeAfterDays: 15}
	n.at = time.Date(2026, 10, 20, 9, 0, 0, 0, time.UTC)
	sub := n.begin(t)
	n.want(t, "while it is under way", n.look(t))
	if err := n.Ledger.Waiting(t.Context(), sub.ID, "CHT county: no answer"); err != nil {
		t.Fatal(err)
	}
	n.want(t, "when it waits", n.lookFor(t, 60*time.Minute), "Nothing of MCH monthly 202609 from CHT county was accepted")
	if text := n.read[0].Text; !strings.Contains(text, sub.ID+", is queued") || !strings.Contains(text, "mediator submit --data-set "+n.set+" --period 202609 --cht county") {
		t.Errorf("the text is\n%s", text)
	}
	n.submit(t, t.Context()) // joins
	n.want(t, "when it has arrived", n.told(t), "+ MCH monthly 202609 from CHT county has arrived")
	n.want(t, "later", n.lookFor(t, 3*time.Hour))
}

func TestAMonthWithRightlyNothingToSendIsNotMissed(t *testing.T) {
	n := newNewsroom(t)
	set := &n.DataSets[0]
	set.FirstPeriod = n.key(t).Period
	set.Operation = Operation{Enabled: true, Schedule: "0 3 * * *", NoticeAfterDays: 15}
	n.at = time.Date(2026, 10, 20, 9, 0, 0, 0, time.UTC)
	if err := n.Ledger.Finish(t.Context(), n.begin(t).ID, ledger.End{State: ledger.Unchanged}, nil); err != nil {
		t.Fatal(err)
	}
	n.want(t, "at its day", n.look(t))
}

// waits lets the bench's submission wait for a server; nobody lets it go on.
func (n *newsroom) waits(t *testing.T, server string) {
	t.Helper()
	sub := n.begin(t)
	cause := ""
	if server != "" {
		cause = server + ": no answer in time"
	}
	if err := n.Ledger.Waiting(t.Context(), sub.ID, cause); err != nil {
		t.Fatal(err)
	}
}

func TestAServerThatIsWaitedForIsToldOfAtTheStartAndAtTheEnd(t *testing.T) {
	n := newNewsroom(t)
	n.waits(t, "DHIS2 national")
	n.want(t, "for less than an hour", n.lookFor(t, 59*time.Minute))
	n.want(t, "for an hour", n.lookFor(t, time.Minute), "DHIS2 national has been waited for since 2026-11-22 09:00 UTC")
	n.want(t, "for half a day", n.lookFor(t, 12*time.Hour))
	n.restart(t)
	n.want(t, "after a restart", n.lookFor(t, time.Hour))
	n.waits(t, "")
	n.want(t, "when it may be over", n.lookFor(t, 10*time.Minute))
	n.want(t, "when it is over", n.lookFor(t, time.Minute), "+ Nothing waits for DHIS2 national any more")
	if text := n.read[len(n.read)-1].Text; !strings.Contains(text, "from 2026-11-22 09:00 UTC to 2026-11-22 23:01 UTC") {
		t.Errorf("got %s", text)
	}
	n.want(t, "from then on", n.lookFor(t, 3*time.Hour))
	n.waits(t, "DHIS2 national")
	n.want(t, "the next time", n.lookFor(t, time.Hour), "DHIS2 national has been waited for since 2026-11-23 02:11 UTC")
}

func TestAServerThatStaysAwayIsNotWellBecauseNobodyWaits(t *testing.T) {
	n := newNewsroom(t)
	n.waits(t, "CHT county")
	n.contacted("CHT county", &cht.Error{Kind: cht.Unavailable})
	n.want(t, "after an hour", n.lookFor(t, time.Hour), "CHT county has been waited for since 2026-11-22 09:00 UTC")
	n.waits(t, "")
	n.want(t, "when nobody waits", n.lookFor(t, time.Hour))
	n.contacted("CHT county", nil)
	n.want(t, "when it answers", n.lookFor(t, time.Hour), "+ Nothing waits for CHT county any more")
}

func TestAServerThatComesAndGoesDoesNotFlood(t *testing.T) {
	n := newNewsroom(t)
	n.waits(t, "DHIS2 national")
	got := n.lookFor(t, time.Hour)
	for range 200 {
		n.waits(t, "")
		n.contacted("DHIS2 national", nil)
		got = append(got, n.lookFor(t, 2*time.Minute)...)
		n.waits(t, "DHIS2 national")
		n.contacted("DHIS2 national", &dhis2.Error{Kind: dhis2.Credentials})
		got = append(got, n.lookFor(t, 2*time.Minute)...)
	}
	n.want(t, "in all", got, "DHIS2 national has been waited for since 2026-11-22 09:00 UTC", "DHIS2 national refuses the mediator's account")
}

func TestARefusedAccountIsToldOfAtOnce(t *testing.T) {
	n := newNewsroom(t)
	n.waits(t, "DHIS2 national")
	n.contacted("DHIS2 national", &dhis2.Error{Kind: dhis2.Credentials})
	n.want(t, "at once", n.look(t), "DHIS2 national refuses the mediator's account")
	n.want(t, "later, although it is waited for", n.lookFor(t, 5*time.Hour))
	n.restart(t)
	n.want(t, "after a restart, when nothing is known", n.lookFor(t, time.Hour))
	n.contacted("DHIS2 national", &dhis2.Error{Kind: dhis2.Credentials})
	n.want(t, "when it refuses again", n.lookFor(t, time.Hour))
	n.waits(t, "")
	n.contacted("DHIS2 national", nil)
	n.want(t, "when it answers", n.lookFor(t, time.Hour), "+ DHIS2 national takes the mediator's account again")
	n.contacted("CHT county", &cht.Error{Kind: cht.Unavailable})
	n.want(t, "when another one is only away", n.lookFor(t, time.Hour))
}

func TestOpenHIMThatTakesNoReportsIsToldOf(t *testing.T) {
	n := newNewsroom(t)
	l := n.Ledger
	if err := errors.Join(
		l.Post(t.Context(), ledger.Letter{Kind: "openhim", Subject: "a"}),
		l.Post(t.Context(), ledger.Letter{Kind: "other", Subject: "a"}),
	); err != nil {
		t.Fatal(err)
	}
	postpone := func(kind string) {
		letter, _, err := l.NextLetter(t.Context(), kind)
		if err = errors.Join(err, l.Postpone(t.Context(), letter, n.at, "away")); err != nil {
			t.Fatal(err)
		}
	}
	postpone("other")
	n.want(t, "when a letter waits for its time", n.lookFor(t, 3*time.Hour))
	postpone("openhim")
	n.want(t, "when it was tried in vain", n.lookFor(t, time.Hour))
	n.want(t, "for an hour", n.lookFor(t, time.Minute), "OpenHIM has been waited for since 2026-11-22 12:01 UTC")
	n.want(t, "for long", n.lookFor(t, 3*time.Hour))
	letter, _, err := l.NextLetter(t.Context(), "openhim")
	if err = errors.Join(err, l.Delivered(t.Context(), letter)); err != nil {
		t.Fatal(err)
	}
	n.want(t, "when it takes it", n.lookFor(t, time.Hour), "+ OpenHIM takes reports again")
}

func TestAReportThatOpenHIMWillNeverTakeIsToldOfOnceADay(t *testing.T) {
	n := newNewsroom(t)
	for _, subject := range []string{"a", "b", "c"} {
		n.Parked(t.Context(), ledger.Letter{Subject: subject}, "it answered 400")
	}
	n.want(t, "that day", n.told(t), "OpenHIM will not take a report")
	n.at = n.at.AddDate(0, 0, 1)
	n.Parked(t.Context(), ledger.Letter{Subject: "d"}, "it answered 400")
	n.want(t, "the next day", n.told(t), "OpenHIM will not take a report")
}

func TestARefusedConfigurationFromTheConsoleIsToldOf(t *testing.T) {
	n := newNewsroom(t)
	const refused, good = "The configuration from OpenHIM's console is refused", "+ The configuration from OpenHIM's console is in force"
	for i, step := range []struct {
		config string
		want   []string
	}{
		{`{"data_sets":[]}`, nil},
		{`{"data_set":[]}`, []string{refused}},
		{`{"data_set":[]}`, nil},
		{`{"dataSets":[]}`, []string{refused}},
		{`{"data_sets":[]}`, []string{good}},
		{`{"data_sets":[]}`, nil},
	} {
		n.Configured(t.Context(), []byte(step.config))
		n.want(t, fmt.Sprintf("step %d", i+1), n.lookFor(t, 10*time.Minute), step.want...)
	}
}

func TestATokenThatExpiresIsToldOf(t *testing.T) {
	n := newNewsroom(t)
	n.Tokens = []string{"national", "unknown"}
	day := func(days int) { n.at = time.Date(2026, 11, 22, 9, 1, 0, 0, time.UTC).AddDate(0, 0, days) }
	n.want(t, "30 days before", n.look(t))
	day(22)
	n.want(t, "8 days before", n.look(t))
	day(23)
	n.want(t, "7 days before", n.look(t), "The token for DHIS2 national expires within 7 days")
	day(25)
	n.restart(t)
	n.want(t, "5 days before, after a restart", n.look(t))
	day(29)
	n.want(t, "a day before", n.look(t), "The token for DHIS2 national expires within a day")
	n.dhis2.Fail(sandbox.Fault{Kind: sandbox.Status, Status: 401})
	day(30)
	n.want(t, "when it is over", n.look(t), "The token for DHIS2 national has expired")
	day(40)
	n.want(t, "later", n.lookFor(t, 2*time.Hour))
}

func TestATokenThatWasMadeAnewIsWell(t *testing.T) {
	n := newNewsroom(t)
	n.Tokens = []string{"national"}
	n.at = n.at.AddDate(0, 0, 25)
	n.want(t, "5 days before", n.look(t), "The token for DHIS2 national expires within 7 days")
	keep := func(text string) {
		if err := n.Ledger.SaveSetting(t.Context(), "token national", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	keep(`{"expires":"2026-12-20T00:00:00Z","several":true}`)
	n.want(t, "when there is another one that ends soon", n.look(t), "The token for DHIS2 national expires within 7 days")
	if text := n.read[1].Text; !strings.Contains(text, "the account has several") {
		t.Errorf("it does not say that there are several: %s", text)
	}
	n.at = n.at.AddDate(0, 0, 4)
	n.dhis2.Fail(sandbox.Fault{Kind: sandbox.Status, Status: 401})
	n.want(t, "when one of several has ended, and nobody knows whose", n.look(t))
	keep(`{"expires":"2027-03-01T00:00:00Z"}`)
	n.want(t, "when there is a new one", n.look(t), "+ The token for DHIS2 national is good again")
}

func TestAServerIsNotAskedForItsTokenAgainAndAgain(t *testing.T) {
	for _, test := range []struct {
		name, answer string
		status       int
		// asked is how often in two days.
		asked int
	}{
		{"where it has a token that is good for long", `{"apiToken":[{"expire":1900000000000}]}`, http.StatusOK, 2},
		{"where it knows no tokens", `{}`, http.StatusNotFound, 2},
		{"where it is refused", `{}`, http.StatusUnauthorized, 48},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNewsroom(t)
			n.Tokens = []string{"national"}
			asked := 0
			handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked++
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.answer)
			})
			caller := inMemory{handler: handler, authorization: func(*http.Request) {}}
			n.Destinations["national"] = Destination{Name: "national", Client: dhis2.New(&url.URL{Scheme: "http", Host: "stand-in.test"}, caller, 1)}
			n.want(t, "in two days", n.lookFor(t, 48*time.Hour))
			if asked != test.asked {
				t.Errorf("it was asked %d times, want %d", asked, test.asked)
			}
		})
	}
}

func TestNobodyIsToldWithoutAChannel(t *testing.T) {
	n := newNewsroom(t)
	n.Channels = nil
	n.waits(t, "DHIS2 national")
	n.contacted("DHIS2 national", &dhis2.Error{Kind: dhis2.Credentials})
	n.Configured(t.Context(), []byte(`{"x":1}`))
	n.Parked(t.Context(), ledger.Letter{Subject: "a"}, "no")
	n.want(t, "in a day", n.lookFor(t, 2*time.Hour))
	n.want(t, "after a failure", n.concluded(t, ledger.Submission{Request: ledger.Request{Key: n.key(t)}, State: ledger.Failed}))
	if backlog, err := n.Ledger.Backlog(t.Context()); err != nil || backlog != (ledger.Backlog{}) {
		t.Errorf("there are letters: %+v, %v", backlog, err)
	}
}

func TestEachChannelGetsALetterOfItsOwn(t *testing.T) {
	n := newNewsroom(t)
	n.Channels = []string{"notice-mail", "notice-webhook"}
	letters, err := n.Letters(t.Context(), Conclusion{Submission: ledger.Submission{Request: ledger.Request{Key: n.key(t)}, ID: "x", State: ledger.Failed}})
	if err != nil || len(letters) != 2 || letters[0].Kind != "notice-mail" || letters[1].Kind != "notice-webhook" || letters[0].Subject != letters[1].Subject {
		t.Errorf("got %+v, %v", letters, err)
	}
	var one notice.Notice
	if err := json.Unmarshal(letters[1].Body, &one); err != nil || one.Subject != "MCH monthly 202609 from CHT county failed" {
		t.Errorf("got %+v, %v", one, err)
	}
}
