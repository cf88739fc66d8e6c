package orchestration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// mail is a postman between a store and a stand-in for OpenHIM.
type mail struct {
	*Postman

	openhim *sandbox.OpenHIM
	logged  *logtest.Hook
	alarms  []string

	mu sync.Mutex
	// answer may take a request over; it gives false for one that OpenHIM is to answer.
	answer func(w http.ResponseWriter, r *http.Request, body []byte) bool
	// calls are the reports that came, by method and id.
	calls []string
}

func newMail(t *testing.T) *mail {
	t.Helper()
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	log, hook := logtest.NewNullLogger()
	m := &mail{openhim: sandbox.NewOpenHIM(sandbox.OpenHIMConfig{}), logged: hook}
	m.Postman = &Postman{Ledger: l, Log: logrus.NewEntry(log), Alarm: func(_ context.Context, letter ledger.Letter, why string) {
		m.alarms = append(m.alarms, letter.Subject+": "+why)
	}}
	m.Client = m.client("openhim-password")
	return m
}

func (m *mail) client(password string) *openhim.Client {
	account := openhim.Account{Username: "root@openhim.org", Password: func() (string, error) { return password, nil }}
	return openhim.New(&url.URL{Scheme: "http", Host: "openhim.test"}, inMemory{m, func(*http.Request) {}, 0}, account)
}

// ServeHTTP stands before the stand-in.
func (m *mail) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	m.mu.Lock()
	if id, is := strings.CutPrefix(r.URL.Path, "/transactions"); is && r.Method != http.MethodGet {
		m.calls = append(m.calls, r.Method+id)
	}
	answer := m.answer
	m.mu.Unlock()
	if answer != nil && answer(w, r, body) {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	m.openhim.ServeHTTP(w, r)
}

func (m *mail) made() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls := m.calls
	m.calls = nil
	return calls
}

// directly asks the stand-in for something as its administrator does.
func (m *mail) directly(t *testing.T, method, path, body string) {
	t.Helper()
	r := httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body))
	r.SetBasicAuth("root@openhim.org", "openhim-password")
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	m.openhim.ServeHTTP(w, r)
	if w.Code >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
}

// report is a small report about submission n, in its own transaction or in one that asked.
func report(n int, update bool) told {
	return told{Update: update, Channel: "CHT to DHIS2", Transaction: openhim.Transaction{
		ID: fmt.Sprintf("6b02af10%016x", n), Status: openhim.Failed,
		Request:  &openhim.Request{Method: "POST", Path: "/cht-dhis2/submissions", Body: `{"period":"202609"}`, Timestamp: openhim.At(nine)},
		Response: &openhim.Response{Status: 502, Body: `{"state":"failed"}`, Timestamp: openhim.At(nine)},
		Orchestrations: []openhim.Orchestration{{
			Name: "1 Fetch", Request: &openhim.Request{Timestamp: openhim.At(nine)}, Response: &openhim.Response{Status: 502, Body: strings.Repeat("x", 6000), Timestamp: openhim.At(nine)},
		}},
		Properties: map[string]string{"submission": fmt.Sprint("s", n), "state": "failed"},
	}}
}

func (m *mail) post(t *testing.T, one told) {
	t.Helper()
	body, err := plainJSON(one)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Ledger.Post(t.Context(), ledger.Letter{Kind: LetterOpenHIM, Subject: one.Transaction.ID, Body: body}); err != nil {
		t.Fatal(err)
	}
}

func (m *mail) deliver(t *testing.T, want int) {
	t.Helper()
	if sent, err := m.Deliver(t.Context()); err != nil || sent != want {
		t.Errorf("delivered %d, %v; want %d", sent, err, want)
	}
}

func (m *mail) backlog(t *testing.T, waiting, parked int) {
	t.Helper()
	if b, err := m.Ledger.Backlog(t.Context()); err != nil || b.Waiting != waiting || b.Parked != parked {
		t.Errorf("backlog %+v, %v; want %d waiting, %d parked", b, err, waiting, parked)
	}
}

func (m *mail) logs() string {
	var lines []string
	for _, entry := range m.logged.AllEntries() {
		lines = append(lines, entry.Message)
	}
	return strings.Join(lines, "\n")
}

// begun is what OpenHIM stores when its router takes a request that the mediator answers with 202.
func (m *mail) begun(t *testing.T, id string) {
	t.Helper()
	m.directly(t, "POST", "/transactions", `{"_id":"`+id+`","status":"Processing","clientID":"6b02af10cccccccccccccccc","channelID":"6b02af10dddddddddddddddd",`+
		`"request":{"method":"POST","path":"/cht-dhis2/submissions","body":"the client's own","timestamp":"2026-11-22T08:00:00.000Z"},"response":{"status":202,"timestamp":"2026-11-22T08:00:00.000Z"}}`)
}

func TestAnOwnTransactionIsMadeOnceAndChangedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMail(t)
		m.directly(t, "POST", "/channels", `{"name":"CHT to DHIS2","urlPattern":"^/cht-dhis2/.*$","methods":["POST"],"routes":[{"name":"a","host":"m","port":8070,"primary":true}]}`)
		channel, _ := m.openhim.Channels()[0]["_id"].(string)
		one := report(1, false)
		m.post(t, one)
		m.deliver(t, 1)
		stored := m.openhim.Transactions()
		if len(stored) != 1 || stored[0]["channelID"] != channel || stored[0]["clientID"] != nil || stored[0]["status"] != "Failed" || stored[0]["error"] != nil || stored[0]["autoRetry"] != false {
			t.Fatalf("stored %+v", stored)
		}
		// The same submission goes again, and ends well.
		one.Transaction.Status, one.Transaction.Properties["state"] = openhim.Successful, "accepted"
		m.post(t, one)
		m.deliver(t, 1)
		stored = m.openhim.Transactions()
		properties, _ := stored[0]["properties"].(map[string]any)
		if len(stored) != 1 || stored[0]["status"] != "Successful" || properties["state"] != "accepted" {
			t.Errorf("stored %+v", stored)
		}
		m.backlog(t, 0, 0)
		if m.logs() != "" {
			t.Errorf("logged:\n%s", m.logs())
		}
	})
}

func TestATransactionThatAskedIsFinishedAndKeepsItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMail(t)
		one := report(1, true)
		m.begun(t, one.Transaction.ID)
		m.post(t, one)
		m.deliver(t, 1)
		stored := m.openhim.Transactions()
		request, _ := stored[0]["request"].(map[string]any)
		if len(stored) != 1 || stored[0]["status"] != "Failed" || request["body"] != "the client's own" || stored[0]["clientID"] != "6b02af10cccccccccccccccc" ||
			stored[0]["channelID"] != "6b02af10dddddddddddddddd" || stored[0]["autoRetry"] != false {
			t.Errorf("stored %+v", stored)
		}
		if calls := m.made(); len(calls) != 1 {
			t.Errorf("calls %v", calls)
		}
	})
}

func TestWhatTheRouterWritesLateIsWrittenOver(t *testing.T) {
	for _, test := range []struct {
		name      string
		late      int
		delivered int
	}{{"once", 1, 1}, {"twice", 2, 1}, {"longer than one look", 4, 0}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMail(t)
				one := report(1, true)
				m.begun(t, one.Transaction.ID)
				late := test.late
				m.answer = func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
					if r.Method == http.MethodPut && late > 0 {
						late--
						time.AfterFunc(100*time.Millisecond, func() {
							m.directly(t, "PUT", "/transactions/"+one.Transaction.ID, `{"status":"Processing","properties":{}}`)
						})
					}
					return false
				}
				m.post(t, one)
				m.deliver(t, test.delivered)
				time.Sleep(time.Minute)
				m.deliver(t, 1-test.delivered)
				if stored := m.openhim.Transactions(); stored[0]["status"] != "Failed" {
					t.Errorf("stored %+v", stored)
				}
				m.backlog(t, 0, 0)
			})
		})
	}
}

func TestAnOpenHIMThatHasForgottenGetsTheTransactionAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMail(t)
		theirs, ours := report(1, true), report(2, false)
		m.begun(t, theirs.Transaction.ID)
		m.post(t, ours)
		m.deliver(t, 1)
		m.openhim.Forget()
		m.post(t, theirs)
		m.post(t, ours)
		m.deliver(t, 2)
		var got []string
		for _, stored := range m.openhim.Transactions() {
			request, _ := stored["request"].(map[string]any)
			got = append(got, fmt.Sprint(stored["_id"], stored["status"], request["body"]))
		}
		want := []string{theirs.Transaction.ID + `Failed{"period":"202609"}`, ours.Transaction.ID + `Failed{"period":"202609"}`}
		if !slices.Equal(got, want) {
			t.Errorf("stored %v, want %v", got, want)
		}
	})
}

func TestLettersWaitWhileOpenHIMIsAwayForDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMail(t)
		m.Every = time.Minute
		m.openhim.Fail(sandbox.Fault{Kind: sandbox.ResetBefore})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.Run(ctx)
		}()
		for n := range 50 {
			m.post(t, report(n, false))
			time.Sleep(72 * time.Hour / 50)
		}
		m.backlog(t, 50, 0)
		m.made()
		m.openhim.Heal()
		time.Sleep(usualLongest + m.Every)
		m.backlog(t, 0, 0)
		var got, want []string
		for _, stored := range m.openhim.Transactions() {
			got = append(got, fmt.Sprint(stored["_id"]))
		}
		for n := range 50 {
			want = append(want, report(n, false).Transaction.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("stored %v", got)
		}
		if calls := m.made(); len(calls) != 100 { // an update that finds nothing, then the transaction
			t.Errorf("%d calls", len(calls))
		}
		if want := "OpenHIM does not take reports; they wait in the outbox\ntransactions go without a channel\nOpenHIM takes reports again"; m.logs() != want {
			t.Errorf("logged:\n%s", m.logs())
		}
		if len(m.alarms) > 0 {
			t.Errorf("alarms %v", m.alarms)
		}
		stop()
		<-done
	})
}

func TestThePausesGrowWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMail(t)
		m.openhim.Fail(sandbox.Fault{Kind: sandbox.ResetBefore})
		m.post(t, report(1, false))
		var pauses []time.Duration
		last := time.Now()
		var first time.Time // the first of the short tries of a delivery, which take time themselves
		m.answer = func(http.ResponseWriter, *http.Request, []byte) bool {
			if first.IsZero() {
				first = time.Now()
			}
			return false
		}
		for len(pauses) < 12 {
			first = time.Time{}
			m.deliver(t, 0)
			if !first.IsZero() {
				pauses = append(pauses, first.Sub(last))
				last = time.Now()
			}
			time.Sleep(time.Second)
		}
		for i, pause := range pauses[1:] {
			least := min(firstPostponed<<i, usualLongest) * 8 / 10
			if pause < least || pause > least*2+5*time.Second || pause > usualLongest+time.Second {
				t.Errorf("pause %d is %s, want at least %s", i+1, pause, least)
			}
		}
	})
}

func TestAnswersThatAreNotOpenHIMsLoseNothing(t *testing.T) {
	const days = 160 // tries, ten minutes apart
	for _, test := range []struct {
		name  string
		fault sandbox.Fault
		tries int
	}{
		{"a page of HTML", sandbox.Fault{Kind: sandbox.LoginPage}, days},
		{"a page of HTML for what is written", sandbox.Fault{Kind: sandbox.LoginPage, Method: "PUT"}, 100},
		{"a redirect to a login page", sandbox.Fault{Kind: sandbox.LoginRedirect}, days},
		{"500 to everything", sandbox.Fault{Kind: sandbox.Status, Status: 500}, days},
		{"400 to everything", sandbox.Fault{Kind: sandbox.Status, Status: 400}, days},
		{"502", sandbox.Fault{Kind: sandbox.Status, Status: 502}, days},
		{"404", sandbox.Fault{Kind: sandbox.Status, Status: 404}, days},
		{"an answer that is lost", sandbox.Fault{Kind: sandbox.ResetAfter, Times: 20}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMail(t)
				m.begun(t, report(1, true).Transaction.ID)
				if _, err := m.Client.About(t.Context()); err != nil { // OpenHIM was there before
					t.Fatal(err)
				}
				m.openhim.Fail(test.fault)
				m.post(t, report(1, true))
				for range test.tries {
					m.deliver(t, 0)
					time.Sleep(10 * time.Minute)
				}
				m.backlog(t, 1, 0)
				m.openhim.Heal()
				time.Sleep(15 * time.Minute)
				m.deliver(t, 1)
				stored := m.openhim.Transactions()
				orchestrations, _ := stored[0]["orchestrations"].([]any)
				if len(stored) != 1 || stored[0]["status"] != "Failed" || len(orchestrations) != 1 || !strings.Contains(fmt.Sprint(orchestrations[0]), "xxx") {
					t.Errorf("stored %+v", stored)
				}
				if len(m.alarms) > 0 {
					t.Errorf("alarms %v", m.alarms)
				}
			})
		})
	}
}

func TestRefusedCredentialsAreTriedSlowlyAndLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMail(t)
		m.Client = m.client("wrong")
		m.post(t, report(1, false))
		tries := 0
		m.answer = func(http.ResponseWriter, *http.Request, []byte) bool {
			tries++
			return false
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		m.Run(ctx)
		if tries < 60 || tries > 115 {
			t.Errorf("%d requests in an hour", tries)
		}
		if m.logs() != "OpenHIM refuses the account; reports wait in the outbox" {
			t.Errorf("logged:\n%s", m.logs())
		}
		m.Client = m.client("openhim-password")
		time.Sleep(3 * time.Minute)
		m.deliver(t, 1)
		if !strings.HasSuffix(m.logs(), "OpenHIM takes reports again") {
			t.Errorf("logged:\n%s", m.logs())
		}
	})
}

// refuse answers reports of more than so many bytes; 0 is all of them.
func refuse(status, over int, ids ...int) func(http.ResponseWriter, *http.Request, []byte) bool {
	return func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		about := slices.ContainsFunc(ids, func(n int) bool {
			return bytes.Contains(append([]byte(r.URL.Path), body...), []byte(report(n, true).Transaction.ID))
		})
		if r.Method == http.MethodGet || len(body) <= over || !about {
			return false
		}
		w.WriteHeader(status)
		return true
	}
}

func TestAReportThatIsRefusedShrinksAndIsKeptAtLast(t *testing.T) {
	for _, test := range []struct {
		name         string
		status, over int
		// after is how long it takes until the letter is away or set aside.
		after  time.Duration
		parked int
		steps  int
	}{
		{"too large with its bodies", 413, 4000, 0, 0, 1},
		{"too large until it is bare", 413, 300, 0, 0, 0},
		{"refused until it is bare", 400, 300, 0, 0, 0},
		{"refused even when bare", 400, 0, 0, 1, 0},
		{"a 500 that stays until it is bare", 500, 300, time.Hour, 0, 0},
		{"a 500 that stays", 500, 0, 25 * time.Hour, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMail(t)
				for n := 1; n <= 3; n++ {
					m.begun(t, report(n, true).Transaction.ID)
					m.post(t, report(n, true))
				}
				m.answer = refuse(test.status, test.over, 2)
				began := time.Now()
				for ; ; time.Sleep(max(5*time.Second, test.after/200)) {
					if _, err := m.Deliver(t.Context()); err != nil {
						t.Fatal(err)
					}
					b, _ := m.Ledger.Backlog(t.Context())
					if b.Waiting == 0 {
						break
					}
					if time.Since(began) > test.after {
						t.Fatalf("%d letters wait", b.Waiting)
					}
				}
				if took := time.Since(began); test.after > stuckLimit && took < stuckLimit {
					t.Errorf("set aside after %s", took)
				}
				m.backlog(t, 0, test.parked)
				stored := m.openhim.Transactions()
				if stored[0]["status"] != "Failed" || stored[2]["status"] != "Failed" {
					t.Errorf("the others are %v and %v", stored[0]["status"], stored[2]["status"])
				}
				if len(m.alarms) != test.parked || test.parked > 0 && !strings.HasPrefix(m.alarms[0], report(2, true).Transaction.ID) {
					t.Errorf("alarms %v", m.alarms)
				}
				steps, _ := stored[1]["orchestrations"].([]any)
				if want := map[bool]string{true: "Failed", false: "Processing"}[test.parked == 0]; stored[1]["status"] != want || len(steps) != test.steps {
					t.Errorf("it is %v with %d steps", stored[1]["status"], len(steps))
				}
			})
		})
	}
}

// A 500 may be trouble of OpenHIM's own that passes: a report is not made small for that.
func TestAReportStaysWholeWhenTroublePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMail(t)
		m.begun(t, report(1, true).Transaction.ID)
		m.post(t, report(1, true))
		m.answer = refuse(500, 0, 1)
		m.deliver(t, 0)
		m.answer = nil
		time.Sleep(time.Minute)
		m.deliver(t, 1)
		if text := fmt.Sprint(m.openhim.Transactions()); !strings.Contains(text, strings.Repeat("x", 6000)) {
			t.Error("the report was cut")
		}
	})
}

func TestAChannelThatIsMissingIsNoObstacle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMail(t)
		for n := range 3 {
			m.post(t, report(n, false))
		}
		m.deliver(t, 3)
		time.Sleep(time.Minute)
		m.post(t, report(3, false))
		m.deliver(t, 1)
		for _, stored := range m.openhim.Transactions() {
			if stored["channelID"] != nil {
				t.Errorf("channel %v", stored["channelID"])
			}
		}
		if m.logs() != "transactions go without a channel" {
			t.Errorf("logged:\n%s", m.logs())
		}
		m.directly(t, "POST", "/channels", `{"name":"CHT to DHIS2","urlPattern":"^/cht-dhis2/.*$","methods":["POST"],"routes":[{"name":"a","host":"m","port":8070,"primary":true}]}`)
		time.Sleep(time.Minute)
		m.post(t, report(4, false))
		m.deliver(t, 1)
		if stored := m.openhim.Transactions(); stored[4]["channelID"] != m.openhim.Channels()[0]["_id"] {
			t.Errorf("channel %v", stored[4]["channelID"])
		}
	})
}

func TestAReportWaitsForTheChannelOfAnOpenHIMThatComesBackEmpty(t *testing.T) {
	const ours = `{"name":"CHT to DHIS2","urlPattern":"^/cht-dhis2/.*$","methods":["POST"],"routes":[{"name":"a","host":"m","port":8070,"primary":true}]}`
	for name, noticed := range map[string]bool{"it was seen to be away": true, "it was away between two reports": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMail(t)
				m.directly(t, "POST", "/channels", ours)
				m.post(t, report(0, false))
				m.deliver(t, 1)
				m.post(t, report(1, false))
				if noticed {
					m.openhim.Fail(sandbox.Fault{Kind: sandbox.ResetBefore})
					m.deliver(t, 0)
					m.openhim.Heal()
				}
				m.openhim.Forget()
				time.Sleep(10 * time.Second)
				m.deliver(t, 0)
				m.directly(t, "POST", "/channels", ours)
				time.Sleep(20 * time.Second)
				m.deliver(t, 1)
				if stored := m.openhim.Transactions(); stored[0]["channelID"] != m.openhim.Channels()[0]["_id"] {
					t.Errorf("channel %v", stored[0]["channelID"])
				}
			})
		})
	}
}

func TestLettersOfAnUnknownFormAreSetAside(t *testing.T) {
	m := newMail(t)
	bodies := []string{"", "{", "null", "[]", `{"transaction":{"_id":"../x","status":"Failed"}}`, `{"transaction":{"_id":"6b02af100000000000000001"}}`, `{"day":"yesterday","transaction":{"_id":"6b02af100000000000000001","status":"Failed"}}`}
	for n, body := range bodies {
		if err := m.Ledger.Post(t.Context(), ledger.Letter{Kind: LetterOpenHIM, Subject: fmt.Sprint(n), Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	m.post(t, report(1, false))
	m.deliver(t, 1)
	m.backlog(t, 0, len(bodies))
	if len(m.alarms) != len(bodies) {
		t.Errorf("alarms %v", m.alarms)
	}
}

// The process may stop between any two calls: whoever comes after it leaves OpenHIM in the same state.
func TestADeliveryThatIsCutOffIsRepeatedWithoutHarm(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 12 {
		synctest.Test(t, func(t *testing.T) {
			m := newMail(t)
			m.begun(t, report(0, true).Transaction.ID)
			for n := range 4 {
				m.post(t, report(n, n == 0))
			}
			for range 6 {
				ctx, stop := context.WithCancel(t.Context())
				left := random.IntN(8)
				m.answer = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
					if left--; left != 0 {
						return false
					}
					if random.IntN(2) == 0 { // it is done, and nobody hears of it
						r.Body = io.NopCloser(bytes.NewReader(body))
						m.openhim.ServeHTTP(w, r)
					}
					stop()
					return true
				}
				_, _ = m.Deliver(ctx)
				stop()
				m.Postman = &Postman{Ledger: m.Ledger, Client: m.client("openhim-password"), Log: m.Log}
				time.Sleep(time.Hour)
			}
			m.answer = nil
			for range 4 {
				_, _ = m.Deliver(t.Context())
				time.Sleep(time.Hour)
			}
			m.backlog(t, 0, 0)
			stored := m.openhim.Transactions()
			for n, one := range stored {
				if one["_id"] != report(n, false).Transaction.ID || one["status"] != "Failed" {
					t.Errorf("round %d: %v is %v", round, one["_id"], one["status"])
				}
			}
			if len(stored) != 4 {
				t.Errorf("round %d: %d transactions", round, len(stored))
			}
		})
	}
}

func TestALetterThatIsReplacedMeanwhileGoesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMail(t)
		m.post(t, report(1, false))
		newer := report(1, false)
		newer.Transaction.Status = openhim.Successful
		once := true
		m.answer = func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
			if r.Method == http.MethodPost && once {
				once = false
				m.post(t, newer)
			}
			return false
		}
		_, err := m.Deliver(t.Context())
		if stored := m.openhim.Transactions(); err != nil || len(stored) != 1 || stored[0]["status"] != "Successful" {
			t.Errorf("%v, stored %+v", err, stored)
		}
		m.backlog(t, 0, 0)
	})
}

func TestAPokeLetsANewLetterGoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMail(t)
		m.Every = time.Hour
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.Run(ctx)
		}()
		synctest.Wait()
		body, _ := plainJSON(report(1, false))
		if err := m.Ledger.Post(t.Context(), ledger.Letter{Kind: LetterOpenHIM, Subject: "1", Body: body, NextAt: time.Now().Add(moment)}); err != nil {
			t.Fatal(err)
		}
		m.Poke()
		m.Poke()
		time.Sleep(2 * time.Second)
		if n := len(m.openhim.Transactions()); n != 1 {
			t.Errorf("%d transactions", n)
		}
		stop()
		<-done
	})
}

// ended leaves a submission that has ended so in the store, and its conclusion.
func (m *mail) ended(t *testing.T, state ledger.State, r ledger.Request) Conclusion {
	t.Helper()
	if r.Period.IsZero() {
		r.Period, _ = dhis2.ParsePeriod("202609")
	}
	r.DHIS2 = "national"
	sub, _, err := m.Ledger.Begin(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Ledger.Finish(t.Context(), sub.ID, ledger.End{State: state}, nil); err != nil {
		t.Fatal(err)
	}
	c := Conclusion{}
	if c.Submission, err = m.Ledger.Submission(t.Context(), sub.ID); err != nil {
		t.Fatal(err)
	}
	c.Transactions, err = m.Ledger.Transactions(t.Context(), sub.ID)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestScheduledSubmissionsThatChangedNothingShareADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble begins at midnight UTC
		m := newMail(t)
		telling := Telling{Channel: "CHT to DHIS2", URN: "urn:mediator:cht-dhis2", Ledger: m.Ledger, Fault: func() string { return "schedule: no cron expression" }}
		tell := func(state ledger.State, r ledger.Request) {
			list, err := telling.Letters(t.Context(), m.ended(t, state, r))
			if err != nil {
				t.Fatal(err)
			}
			for _, letter := range list {
				if err := m.Ledger.Post(t.Context(), letter); err != nil {
					t.Fatal(err)
				}
			}
		}
		scheduled := func(set, source string) ledger.Request {
			return ledger.Request{Key: ledger.Key{DataSet: set, CHT: source}, RequestedBy: BySchedule}
		}
		time.Sleep(23 * time.Hour)
		for n := range 45 {
			tell(ledger.Unchanged, scheduled("DsMchMonth1", fmt.Sprint("county", n)))
		}
		tell(ledger.Unchanged, scheduled("DsMalMonth1", "kisumu"))
		asked := scheduled("DsMalMonth1", "nakuru")
		asked.Transaction = asked.CHT // not one of OpenHIM's, but somebody asked
		m.ended(t, ledger.Unchanged, asked)
		tell(ledger.Failed, scheduled("DsMalMonth1", "siaya"))
		time.Sleep(2 * time.Second)
		m.deliver(t, 1) // the one that failed
		time.Sleep(10 * time.Minute)
		m.deliver(t, 1)
		time.Sleep(30 * time.Minute)
		tell(ledger.Unchanged, scheduled("DsMalMonth1", "busia"))
		time.Sleep(20 * time.Minute)
		tell(ledger.Unchanged, scheduled("DsMalMonth1", "busia")) // on the next day
		m.deliver(t, 1)
		time.Sleep(10 * time.Minute)
		m.deliver(t, 1)
		stored := m.openhim.Transactions()
		if len(stored) != 3 || stored[1]["_id"] == stored[2]["_id"] || stored[1]["status"] != "Successful" {
			t.Fatalf("%d transactions", len(stored))
		}
		want := []string{`map[configuration_fault:schedule: no cron expression day:2000-01-01 requested_by:schedule state:unchanged submissions:47]`, `map[configuration_fault:schedule: no cron expression day:2000-01-02 requested_by:schedule state:unchanged submissions:1]`}
		for n, one := range stored[1:] {
			if got := fmt.Sprint(one["properties"]); got != want[n] {
				t.Errorf("day %d has %s, want %s", n+1, got, want[n])
			}
		}
		text, _ := json.Marshal(stored[1])
		for _, want := range []string{
			"1 Nothing new in 202609 of DsMalMonth1 for DHIS2 national: 2 submissions", "2 Nothing new in 202609 of DsMchMonth1 for DHIS2 national: 45 submissions",
			"county0", "county44", "kisumu", "busia", `"path":"/cht-dhis2/poll"`,
		} {
			if !strings.Contains(string(text), want) {
				t.Errorf("no %q in %s", want, text)
			}
		}
		for _, other := range []string{"nakuru", "siaya"} {
			if strings.Contains(string(text), other) {
				t.Errorf("%s is told in the day", other)
			}
		}
	})
}

// What a submission leaves at its end arrives in OpenHIM.
func TestASubmissionIsToldToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "2.43.1")
		later := time.Duration(0)
		b.Now = func() time.Time { return nine.Add(later) }
		b.remember(t, t.TempDir())
		b.Told = telling(b.Ledger).Letters
		m := newMail(t)
		m.Ledger, m.Now = b.Ledger, b.Now
		report, err := b.Submit(t.Context(), Request{DataSet: b.set, Period: "202609", CHT: "county", RequestedBy: "command line"})
		if err != nil {
			t.Fatal(err)
		}
		m.deliver(t, 0) // the answer to whoever asked goes first
		later = 2 * time.Second
		m.deliver(t, 1)
		stored := m.openhim.Transactions()
		properties, _ := stored[0]["properties"].(map[string]any)
		if properties["submission"] != report.ID || stored[0]["status"] != "Successful" {
			t.Errorf("stored %+v", stored)
		}
	})
}

// An account that may write transactions and not read them cannot look whether a report is there.
func TestAnAccountThatMayNotReadTransactionsDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMail(t)
		m.begun(t, report(1, true).Transaction.ID)
		m.post(t, report(1, true))
		m.answer = func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			reading := r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/transactions/")
			if reading {
				w.WriteHeader(http.StatusForbidden)
			}
			return reading
		}
		m.deliver(t, 1)
		if stored := m.openhim.Transactions(); stored[0]["status"] != "Failed" {
			t.Errorf("stored %+v", stored)
		}
		noReading := m.answer
		m.answer = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
			return noReading(w, r, body) || refuse(413, 0, 2)(w, r, body)
		}
		m.post(t, report(2, true))
		m.post(t, report(1, true))
		m.deliver(t, 1) // and what is refused holds nothing up
		m.backlog(t, 0, 1)
	})
}

func TestAReportThatWasSetAsideIsTriedAgainEachDayAndToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMail(t)
		m.Every = time.Minute
		var mended atomic.Bool
		refusing := refuse(http.StatusBadRequest, 0, 1)
		m.answer = func(w http.ResponseWriter, r *http.Request, body []byte) bool {
			return !mended.Load() && refusing(w, r, body)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.Run(ctx)
		}()
		m.post(t, report(1, false))
		m.post(t, report(2, false))
		time.Sleep(3*24*time.Hour + time.Hour)
		m.backlog(t, 0, 1)
		if len(m.alarms) != 1 {
			t.Errorf("alarms %v", m.alarms)
		}
		mended.Store(true)
		time.Sleep(24 * time.Hour)
		m.backlog(t, 0, 0)
		if n := len(m.openhim.Transactions()); n != 2 {
			t.Errorf("OpenHIM has %d transactions", n)
		}
		stop()
		<-done
	})
}
