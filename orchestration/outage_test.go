package orchestration

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/riverqueue/river"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// threeDays is how long the neighbours are away here.
const threeDays = 72 * time.Hour

// works works a submission as the service does until a time, or until it has ended or is held, and gives the pauses that it
// made. The clock is moved on instead of waiting, and each is called after that.
func (b *bench) works(t *testing.T, clock *time.Time, id string, end time.Time, each func()) (pauses []time.Duration) {
	t.Helper()
	for clock.Before(end) {
		sub, err := b.Ledger.Submission(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if sub.State.Ended() || sub.State == ledger.Held {
			return pauses
		}
		p, err := b.step(t.Context(), id, stepOf(sub.State))
		if err != nil {
			t.Fatal(err)
		}
		if p == nil {
			continue
		}
		wait, err := b.waits(t.Context(), id, p)
		if err != nil {
			t.Fatal(err)
		}
		pauses = append(pauses, wait)
		*clock = clock.Add(wait)
		if each != nil {
			each()
		}
	}
	return pauses
}

// grow makes sure that pauses grow to a limit, and are not the same for all.
func grow(t *testing.T, pauses []time.Duration, limit time.Duration) {
	t.Helper()
	var longest time.Duration
	for i, p := range pauses {
		if p > limit || p < longest*3/4 {
			t.Fatalf("pause %d is %s, after one of %s; %s is the most", i+1, p, longest, limit)
		}
		longest = max(longest, p)
	}
	if n := len(pauses); n < 20 || pauses[0] > firstPause || longest < limit*4/5 || len(slices.Compact(slices.Clone(pauses[n-10:]))) < 5 {
		t.Errorf("%d pauses, the first ones %v, the last ones %v", n, pauses[:min(n, 5)], pauses[max(0, n-5):])
	}
}

func TestAServerAwayForThreeDaysIsWaitedFor(t *testing.T) {
	away := sandbox.Fault{Kind: sandbox.Status, Status: http.StatusServiceUnavailable}
	gone := sandbox.Fault{Kind: sandbox.ResetBefore}
	at := func(f sandbox.Fault, skip int) sandbox.Fault {
		f.Method, f.Skip = post, skip
		return f
	}
	for _, test := range []struct {
		name, server string
		limit        time.Duration
		// cht and dhis2 go wrong from the beginning, then when it is waited for the first time.
		cht, dhis2, then []sandbox.Fault
		accepted         int
	}{
		{name: "the CHT, before anything is read", server: "CHT county", cht: []sandbox.Fault{away}},
		{name: "the CHT, unreachable, as its month is read", server: "CHT county", cht: []sandbox.Fault{{Kind: sandbox.ResetBefore, Path: "/api/v2/export"}}},
		{name: "DHIS2, before anything is asked", server: "DHIS2 national", dhis2: []sandbox.Fault{gone}},
		{name: "DHIS2, at the first chunk", server: "DHIS2 national", dhis2: []sandbox.Fault{at(away, 0)}, then: []sandbox.Fault{away}},
		{name: "DHIS2, in the middle", server: "DHIS2 national", dhis2: []sandbox.Fault{at(gone, 2)}, then: []sandbox.Fault{gone}, accepted: 600},
		{
			name: "DHIS2, in the middle, with what it answered", server: "DHIS2 national", accepted: 600, limit: 3 * time.Minute,
			dhis2: []sandbox.Fault{{Kind: sandbox.ResetAfter, Method: post, Skip: 2, Times: 1}, at(away, 2)}, then: []sandbox.Fault{away},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "2.43.1")
				clock := b.clocked(t)
				b.LongestPause = test.limit
				n := &newsroom{bench: b, Notices: &Notices{Submitter: b.Submitter, Channels: []string{"notice-mail"}}}
				b.cht.Fail(test.cht...)
				b.dhis2.Fail(test.dhis2...)
				began, id := *clock, b.begin(t).ID
				var told []string
				looked := began
				pauses := b.works(t, clock, id, began.Add(threeDays), func() {
					b.dhis2.Fail(test.then...)
					test.then = nil
					if clock.Sub(looked) >= time.Hour {
						looked = *clock
						told = append(told, n.look(t)...)
					}
				})
				grow(t, pauses, b.longestPause())
				sub, err := b.Ledger.Submission(t.Context(), id)
				if err != nil || sub.State.Ended() || sub.Counts.Accepted != test.accepted {
					t.Fatalf("after three days it is %s, %d accepted: %s, %v", sub.State, sub.Counts.Accepted, sub.Error, err)
				}
				if s := b.Summary(sub); !strings.HasPrefix(s.WaitingFor, test.server+": ") || s.WaitingSince.Sub(began) > time.Minute {
					t.Errorf("status says that it waits for %q since %s", s.WaitingFor, s.WaitingSince)
				}

				b.cht.Heal()
				b.dhis2.Heal()
				// The last pause is over: from here on nothing waits.
				if more := b.works(t, clock, id, clock.Add(threeDays), nil); len(more) > 0 {
					t.Errorf("when it is back, pauses of %v follow", more)
				}
				sub, err = b.Ledger.Submission(t.Context(), id)
				if err != nil || sub.State != ledger.Accepted || sub.WaitingFor != "" {
					t.Errorf("it ends %s, waiting for %q: %s, %v", sub.State, sub.WaitingFor, sub.Error, err)
				}
				b.arrivedOnce(t)
				for range 12 {
					*clock = clock.Add(5 * time.Minute)
					told = append(told, n.look(t)...)
				}
				n.want(t, "in all", told, test.server+" has been waited for since "+minute(sub.CreatedAt), "+ Nothing waits for "+test.server+" any more")
			})
		})
	}
}

func TestADHIS2ThatGoesAwayAfterTheLastAnswerHoldsNothingUp(t *testing.T) {
	b := newBench(t, "2.43.1")
	clock := b.clocked(t)
	id := b.begin(t).ID
	for len(b.dhis2.Imports()) < 4 {
		sub, err := b.Ledger.Submission(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := b.step(t.Context(), id, stepOf(sub.State)); p != nil || err != nil {
			t.Fatal(p, err)
		}
	}
	b.dhis2.Fail(sandbox.Fault{Kind: sandbox.ResetBefore})
	if pauses := b.works(t, clock, id, clock.Add(threeDays), nil); len(pauses) > 0 {
		t.Errorf("it waits %v", pauses)
	}
	if report, err := b.Report(t.Context(), id); err != nil || report.State != ledger.Accepted {
		t.Errorf("%s %s, %v", report.State, report.Error, err)
	}
}

// TestAWaitUsesNoTryUp looks at the jobs that the engine keeps.
func TestAWaitUsesNoTryUp(t *testing.T) {
	b := newBench(t, "2.43.1")
	b.cht.Fail(sandbox.Fault{Kind: sandbox.Status, Status: http.StatusUnauthorized})
	start(t, NewService(b.Submitter))
	id := b.begin(t).ID
	attempts := func() (attempt int, waits bool) {
		list, err := b.jobs.client.JobList(t.Context(), river.NewJobListParams().Kinds(prepareStep))
		if err != nil || len(list.Jobs) == 0 {
			t.Fatal(list, err)
		}
		job := list.Jobs[len(list.Jobs)-1]
		return job.Attempt, job.State == "scheduled"
	}
	for range 3 {
		until(t, b.Submitter, id, func(s ledger.Submission) bool {
			_, waits := attempts()
			return s.WaitingFor != "" && waits
		})
		if attempt, _ := attempts(); attempt > 0 {
			t.Errorf("%d attempts are used up", attempt)
		}
		b.begin(t) // lets it go at once
	}
}

// holds gives what DHIS2 holds, by cell.
func (b *bench) holds() map[string]string {
	held := map[string]string{}
	for _, v := range b.dhis2.Values() {
		held[v.OrgUnit+" "+v.DataElement+" "+v.CategoryOptionCombo+" "+v.AttributeOptionCombo+" "+v.Period] = v.Value
	}
	return held
}

func TestAFaultyDHIS2EndsAsAGoodOne(t *testing.T) {
	old, current := newBench(t, "2.42.5"), newBench(t, "2.43.1")
	wants := map[string]Report{}
	wants["2.42.5"], _ = old.submit(t, t.Context())
	wants["2.43.1"], _ = current.submit(t, t.Context())
	for _, test := range []struct {
		name   string
		faults []sandbox.Fault
	}{
		{"503 for every second request", []sandbox.Fault{{Kind: sandbox.Status, Status: 503, Every: 2}}},
		{"every third answer is lost", []sandbox.Fault{{Kind: sandbox.ResetAfter, Every: 3}}},
		{"every third answer to a chunk is lost", []sandbox.Fault{{Kind: sandbox.ResetAfter, Every: 3, Method: post}}},
		{"as slow as its proxy waits", []sandbox.Fault{{Kind: sandbox.Latency, Delay: 50 * time.Second, Method: post}, {Kind: sandbox.StatusAfter, Status: 504, Every: 2, Method: post}}},
		{"as slow as the mediator waits", []sandbox.Fault{{Kind: sandbox.Latency, Delay: 51 * time.Second, Method: post, Every: 3}}},
		{"a success that stored nothing, many times", []sandbox.Fault{{Kind: sandbox.WriteFails, Skip: 1, Times: 40}}},
		{"a new period that meets another first request of it, many times", []sandbox.Fault{{Kind: sandbox.Status, Status: 503, Method: post, Times: 40}, {Kind: sandbox.NewPeriodRace, Times: 6}}},
		{"the account is refused in the middle", []sandbox.Fault{{Kind: sandbox.Status, Status: 401, Method: post, Skip: 2, Times: 3}}},
	} {
		for version, good := range map[string]*bench{"2.42.5": old, "2.43.1": current} {
			want := wants[version]
			t.Run(test.name+" "+version, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t, version)
					clock := b.clocked(t)
					b.dhis2.Fail(test.faults...)
					id := b.begin(t).ID
					pauses := b.works(t, clock, id, clock.Add(threeDays), nil)
					got, err := b.Report(t.Context(), id)
					if err != nil || got.State != want.State || got.Counts != want.Counts || got.OrgUnits != want.OrgUnits {
						t.Errorf("%s %+v after %v (%s), want %s %+v: %v", got.State, got.Counts, pauses, got.Error, want.State, want.Counts, err)
					}
					if diff := cmp.Diff(good.holds(), b.holds()); diff != "" {
						t.Errorf("DHIS2 holds something else (-good +faulty):\n%s", diff)
					}
					if b.dhis2.MostAtOnce() > 1 {
						t.Errorf("%d imports at once", b.dhis2.MostAtOnce())
					}
				})
			})
		}
	}
}

func TestAPoisonedChunkDoesNotStopTheOthers(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault sandbox.Fault
		units int
	}{
		{"DHIS2 fails over it", sandbox.Fault{Kind: sandbox.Status, Status: 500}, 1},
		{"the proxy cannot bear many", sandbox.Fault{Kind: sandbox.ResetBefore}, 8},
		{"it takes too long", sandbox.Fault{Kind: sandbox.Latency, Delay: time.Minute}, 1},
		{"DHIS2 claims success and stores nothing of many", sandbox.Fault{Kind: sandbox.WriteFails}, 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "2.43.1")
				b.DataSets[0].ChunkValues = 30 // an org unit each
				clock := b.clocked(t)
				var units []string
				for _, v := range b.country.Right[b.set] {
					if !slices.Contains(units, v.OrgUnit) {
						units = append(units, v.OrgUnit)
					}
				}
				slices.Sort(units)
				for _, unit := range units[:test.units] {
					test.fault.Method, test.fault.Contains = post, unit
					b.dhis2.Fail(test.fault)
				}
				id := b.begin(t).ID
				b.works(t, clock, id, clock.Add(12*time.Hour), nil)
				sub, err := b.Ledger.Submission(t.Context(), id)
				if want := benchValues - 30*test.units; err != nil || sub.State.Ended() || sub.Counts.Accepted != want {
					t.Fatalf("%s, %d accepted, want %d, %v", sub.State, sub.Counts.Accepted, want, err)
				}
				b.dhis2.Heal()
				b.works(t, clock, id, clock.Add(time.Hour), nil)
				if sub, err = b.Ledger.Submission(t.Context(), id); err != nil || sub.State != ledger.Accepted {
					t.Errorf("%s %+v, %v", sub.State, sub.Counts, err)
				}
				b.arrivedOnce(t)
			})
		})
	}
}

// TestARefusedAccountIsToldOnceAndNeverLocked has several submissions for a DHIS2 whose account was changed, people who
// press again and again, and a supervisor that restarts the service, for a day.
func TestARefusedAccountIsToldOnceAndNeverLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "2.42.5")
		clock := b.clocked(t)
		began := *clock
		server := sandbox.NewDHIS2(sandbox.DHIS2Config{
			Version: "2.42.5", Metadata: b.country.DHIS2, LocksAccounts: true, Now: b.Now,
			Users: []sandbox.DHIS2User{{Username: "mediator", Password: "new", Authorities: []string{"ALL"}, OrgUnits: b.country.Users[0].OrgUnits}},
		})
		password := "old"
		login := func(r *http.Request) { r.SetBasicAuth("mediator", password) }
		b.Destinations["national"] = Destination{Name: "national", Client: dhis2.New(&url.URL{Scheme: "http", Host: "stand-in.test"}, inMemory{server, login, time.Minute}, 1)}
		n := &newsroom{bench: b, Notices: &Notices{Submitter: b.Submitter, Channels: []string{"notice-mail"}, Tokens: []string{"national"}}}
		var told, ids []string
		due := map[string]time.Time{}
		for _, period := range []string{"202607", "202608", "202609", "202610"} {
			sub, _, err := b.Begin(t.Context(), Request{DataSet: b.set, Period: period, CHT: "county"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			ids, due[sub.ID] = append(ids, sub.ID), *clock
		}
		next := func() string {
			slices.SortFunc(ids, func(x, y string) int { return due[x].Compare(due[y]) })
			return ids[0]
		}
		for i := 0; clock.Before(began.Add(24 * time.Hour)); i++ {
			id := next()
			at := latest(*clock, due[id])
			*clock = at
			b.works(t, clock, id, at.Add(time.Nanosecond), nil)
			due[id], *clock = *clock, at
			sub, err := b.Ledger.Submission(t.Context(), id)
			if err != nil || sub.State.Ended() {
				t.Fatalf("%s: %s, %v", sub.State, sub.Error, err)
			}
			if i%5 == 0 {
				told = append(told, n.look(t)...)
			}
			switch {
			case i%7 == 0: // somebody asks again, every minute
				*clock = clock.Add(time.Minute)
				if _, _, err := b.Begin(t.Context(), Request{DataSet: b.set, Period: sub.Period.String(), CHT: "county"}, nil); err != nil {
					t.Fatal(err)
				}
				due[id] = *clock
			case i%11 < 5: // a supervisor starts the service again, and again
				b.Submitter = &Submitter{Sources: b.Sources, Destinations: b.Destinations, DataSets: b.DataSets, SpoolDir: b.SpoolDir, Now: b.Now, Ledger: b.Ledger, jobs: b.jobs, serving: true}
				n.Notices.Submitter = b.Submitter
				due[id] = *clock
			}
		}
		if server.LockOuts() > 0 {
			t.Errorf("the account was locked %d times", server.LockOuts())
		}
		n.want(t, "in a day", told, "DHIS2 national refuses the mediator's account")
		password = "new"
		mended := *clock
		for range ids {
			id := next()
			*clock = latest(*clock, due[id])
			b.works(t, clock, id, clock.Add(time.Hour), nil)
			if sub, err := b.Ledger.Submission(t.Context(), id); err != nil || !sub.State.Ended() {
				t.Errorf("%s: %s, %v", sub.State, sub.WaitingFor, err)
			}
			due[id] = clock.Add(far)
		}
		if took := clock.Sub(mended); took > 2*mendingPause {
			t.Errorf("it goes on after %s", took)
		}
	})
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func TestOpenHIMAwayForThreeDaysHoldsNothingUpAndIsToldTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMail(t)
		b := newBench(t, "2.43.1")
		b.Now, b.Ledger = time.Now, m.Ledger
		n := &newsroom{bench: b, Notices: &Notices{Submitter: b.Submitter, Channels: []string{"notice-mail"}, OpenHIM: []string{LetterOpenHIM}}}
		m.openhim.Fail(sandbox.Fault{Kind: sandbox.Status, Status: http.StatusServiceUnavailable})
		began, looked := time.Now(), time.Now()
		m.post(t, report(1, false))
		var told []string
		const never = -1
		look := func(long time.Duration) (delivered time.Duration) {
			delivered = never
			for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(time.Minute) {
				sent, err := m.Deliver(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if sent > 0 && delivered == never {
					delivered = long - time.Until(end)
				}
				if time.Since(looked) >= 5*time.Minute {
					looked = time.Now()
					told = append(told, n.look(t)...)
				}
			}
			return delivered
		}
		look(threeDays)
		m.post(t, report(2, false))
		backlog, err := m.Ledger.Backlog(t.Context())
		if err != nil || backlog.Waiting != 2 || backlog.Failed != 1 || backlog.Parked > 0 || backlog.Oldest.Sub(began).Abs() > time.Second {
			t.Errorf("status tells of %+v, %v", backlog, err)
		}
		letter, _, err := m.Ledger.NextLetter(t.Context(), LetterOpenHIM)
		if err != nil || letter.Attempts > 400 || time.Until(letter.NextAt) > usualLongest {
			t.Errorf("it was tried %d times, and again at %s, %v", letter.Attempts, letter.NextAt, err)
		}
		m.openhim.Heal()
		if after := look(time.Hour); after == never || after > usualLongest {
			t.Errorf("it goes on after %s", after)
		}
		m.backlog(t, 0, 0)
		n.want(t, "in all", told, "OpenHIM has been waited for since "+minute(began.Add(5*time.Minute)), "+ OpenHIM takes reports again")
	})
}

func TestAClockThatIsSetBackOrForthHoldsNothingUpAndDoublesNothing(t *testing.T) {
	for _, leap := range []time.Duration{-time.Hour, time.Hour, -48 * time.Hour} {
		t.Run(leap.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "2.43.1")
				clock := b.clocked(t)
				b.dhis2.Fail(sandbox.Fault{Kind: sandbox.ResetAfter, Method: post, Skip: 1, Times: 1}, sandbox.Fault{Kind: sandbox.Status, Status: 401, Method: post, Skip: 1, Times: 3})
				id, n := b.begin(t).ID, 0
				pauses := b.works(t, clock, id, clock.Add(far), func() {
					if n++; n == 2 {
						*clock = clock.Add(leap)
					}
				})
				sub, err := b.Ledger.Submission(t.Context(), id)
				if err != nil || sub.State != ledger.Accepted || n < 3 || slices.Max(pauses) > mendingPause*5/4 {
					t.Errorf("%s after pauses of %v: %s, %v", sub.State, pauses, sub.WaitingFor, err)
				}
				b.arrivedOnce(t)
				if again, began, err := b.Begin(t.Context(), b.request(), nil); err != nil || !began || again.ID == id {
					t.Errorf("the next one: %+v, %v", again, err)
				}
			})
		})
	}
}
