package orchestration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/notice"
)

// A trouble with a server lasts, and people are told when it begins and when it is over. One that comes and goes is told
// of once: it is over when it has been so for a while.

// troublesKept is the setting that remembers the troubles.
const troublesKept = "troubles"

// trouble is how long something has not been as it should be.
type trouble struct {
	Since time.Time `json:"since"`
	// Told says that people were told.
	Told bool `json:"told,omitempty"`
	// Over is since when it is over; zero while it lasts.
	Over time.Time `json:"over,omitzero"`
}

// troubles are those that last, by their cause, and what there is to tell of them.
type troubles struct {
	now  time.Time
	open map[string]trouble
	news []news
}

// lasts notes that a trouble is there. Where it has lasted for long enough, the one who calls tells what it is.
func (t *troubles) lasts(cause string, since time.Time, patience time.Duration, tell func(since time.Time) news) {
	one, known := t.open[cause]
	if !known || !one.Told && !since.IsZero() {
		one.Since = since
		if since.IsZero() {
			one.Since = t.now
		}
	}
	one.Over = time.Time{}
	if !one.Told && t.now.Sub(one.Since) >= patience {
		one.Told = true
		told := tell(one.Since)
		told.cause, told.version, told.at = cause, "trouble", one.Since
		t.news = append(t.news, told)
	}
	t.open[cause] = one
}

// over notes that a trouble is not there. Where it has been so for a while, the one who calls tells it.
func (t *troubles) over(cause string, tell func(one trouble) news) {
	one, known := t.open[cause]
	switch {
	case !known:
	case !one.Told:
		delete(t.open, cause)
	case one.Over.IsZero():
		one.Over = t.now
		t.open[cause] = one
	case t.now.Sub(one.Over) >= settled:
		delete(t.open, cause)
		told := tell(one)
		told.cause, told.version, told.resolved, told.at = cause, "over", true, one.Over
		t.news = append(t.news, told)
	}
}

func (t *troubles) told(cause string) bool { return t.open[cause].Told }

// lookAtTroubles looks at the servers, and at OpenHIM.
func (n *Notices) lookAtTroubles(ctx context.Context) error {
	before, _, err := n.Submitter.Ledger.Setting(ctx, troublesKept)
	if err != nil {
		return err
	}
	t := &troubles{now: n.Submitter.now(), open: map[string]trouble{}}
	if before != nil {
		_ = json.Unmarshal(before, &t.open) // what cannot be read is found again
	}
	n.forget(t)
	n.refusedAccounts(t)
	if err := n.waitedFor(ctx, t); err != nil {
		return err
	}
	if err := n.reportsThatWait(ctx, t); err != nil {
		return err
	}
	if err := n.post(ctx, t.news...); err != nil {
		return err
	}
	after, err := json.Marshal(t.open)
	if err != nil || bytes.Equal(before, after) || before == nil && len(t.open) == 0 {
		return err
	}
	return n.Submitter.Ledger.SaveSetting(ctx, troublesKept, after) // after the letters: they know by themselves what is no news
}

// forget leaves out the servers that the configuration does not have any more.
func (n *Notices) forget(t *troubles) {
	causes := []string{openHIMCause}
	for _, server := range n.Submitter.servers() {
		causes = append(causes, accountCause(server), serverCause(server))
	}
	maps.DeleteFunc(t.open, func(cause string, _ trouble) bool { return !slices.Contains(causes, cause) })
}

const openHIMCause = "server OpenHIM"

func accountCause(server string) string { return "credentials " + server }
func serverCause(server string) string  { return "server " + server }

// servers names all neighbours but OpenHIM.
func (s *Submitter) servers() (names []string) {
	for name := range s.Sources {
		names = append(names, "CHT "+name)
	}
	for name := range s.Destinations {
		names = append(names, "DHIS2 "+name)
	}
	slices.Sort(names)
	return names
}

// refusedAccounts looks for servers that refuse our account, which is told at once: no waiting mends it. Of one that was
// not asked since the start nothing is known.
func (n *Notices) refusedAccounts(t *troubles) {
	contacts := n.Submitter.Contacts()
	for _, server := range n.Submitter.servers() {
		contact := contacts[server]
		switch {
		case contact.Reason == Credentials:
			account := "the user name and password"
			if strings.HasPrefix(server, "DHIS2 ") {
				account = "the token, or the user name and password, and whether the token has expired"
			}
			t.lasts(accountCause(server), contact.Failed, 0, func(since time.Time) news {
				return news{
					subject: server + " refuses the mediator's account",
					text: []string{
						fmt.Sprintf("%s has refused the mediator's account since %s, or the account lacks a right. Nothing goes through until that is mended.", server, minute(since)),
						"What to do: check " + account + ". \"mediator doctor\" says what is wrong. Secrets in files are read again without a restart, and what waits goes on by itself.",
					},
					facts: serverFacts(server, since),
				}
			})
		case !contact.OK.IsZero() && contact.Reason == "":
			t.over(accountCause(server), func(one trouble) news {
				return news{
					subject: server + " takes the mediator's account again",
					text:    []string{fmt.Sprintf("All is well again: the account was refused from %s to %s.", minute(one.Since), minute(one.Over))},
					facts:   serverFacts(server, one.Since),
				}
			})
		}
	}
}

func serverFacts(server string, since time.Time) []notice.Fact {
	kind, name, _ := strings.Cut(server, " ")
	return []notice.Fact{{Name: strings.ToLower(kind), Value: name}, {Name: "since", Value: minute(since)}}
}

// waits is how many submissions wait for a server, and since when the first one does.
type waits struct {
	submissions int
	since       time.Time
}

// waitedFor looks for servers that submissions wait for. A server that refuses the account was told of already.
func (n *Notices) waitedFor(ctx context.Context, t *troubles) error {
	waiting, err := n.waiting(ctx)
	if err != nil {
		return err
	}
	contacts := n.Submitter.Contacts()
	for _, server := range slices.Sorted(maps.Keys(waiting)) {
		w := waiting[server]
		if t.told(accountCause(server)) && !t.told(serverCause(server)) {
			continue
		}
		t.lasts(serverCause(server), w.since, n.patience(), func(since time.Time) news {
			return news{
				subject: server + " has been waited for since " + minute(since),
				text: []string{
					fmt.Sprintf("%s gives no usable answer. Submissions that wait for it: %d, the first one since %s. Nothing is lost: they go on by themselves as soon as it answers.", server, w.submissions, minute(since)),
					"What to do: look at the server, and at the network and the proxies on the way. \"mediator status\" says what waits and why, \"mediator doctor\" tries the connection.",
				},
				facts: append(serverFacts(server, since), notice.Fact{Name: "submissions", Value: fmt.Sprint(w.submissions)}),
			}
		})
	}
	for _, server := range n.Submitter.servers() {
		if _, waits := waiting[server]; waits || contacts[server].Reason != "" {
			continue
		}
		t.over(serverCause(server), func(one trouble) news {
			return news{
				subject: "Nothing waits for " + server + " any more",
				text:    []string{fmt.Sprintf("All is well again: %s was waited for from %s to %s.", server, minute(one.Since), minute(one.Over))},
				facts:   serverFacts(server, one.Since),
			}
		})
	}
	return nil
}

func (n *Notices) patience() time.Duration {
	if n.WaitingAfter > 0 {
		return n.WaitingAfter
	}
	return usualWaiting
}

// waiting gives the servers that submissions wait for, by their names.
func (n *Notices) waiting(ctx context.Context) (map[string]waits, error) {
	servers := map[string]waits{}
	_, some, err := n.Submitter.Ledger.Unfinished(ctx)
	if err != nil || some == 0 {
		return servers, err
	}
	const page = 500
	filter := ledger.Filter{States: []ledger.State{ledger.Queued, ledger.Preparing, ledger.Ready, ledger.Sending, ledger.Completing}, Limit: page}
	for {
		subs, err := n.Submitter.Ledger.Submissions(ctx, filter)
		if err != nil {
			return nil, err
		}
		for _, sub := range subs {
			filter.After = sub.ID
			server, _, waits := strings.Cut(sub.WaitingFor, ":")
			if !waits || !slices.Contains(n.Submitter.servers(), server) { // for room, which health tells
				continue
			}
			w := servers[server]
			w.submissions++
			if w.since.IsZero() || sub.WaitingSince.Before(w.since) {
				w.since = sub.WaitingSince
			}
			servers[server] = w
		}
		if len(subs) < page {
			return servers, nil
		}
	}
}

// reportsThatWait looks whether OpenHIM takes its letters. When they were posted says little, as some wait for the end of
// the day: what counts is how long there have been some that were tried in vain.
func (n *Notices) reportsThatWait(ctx context.Context, t *troubles) error {
	if len(n.OpenHIM) == 0 {
		return nil
	}
	backlog, err := n.Submitter.Ledger.Backlog(ctx, n.OpenHIM...)
	if err != nil {
		return err
	}
	if backlog.Failed == 0 {
		t.over(openHIMCause, func(one trouble) news {
			return news{
				subject: "OpenHIM takes reports again",
				text:    []string{fmt.Sprintf("All is well again: reports waited for OpenHIM from %s to %s.", minute(one.Since), minute(one.Over))},
				facts:   []notice.Fact{{Name: "since", Value: minute(one.Since)}},
			}
		})
		return nil
	}
	t.lasts(openHIMCause, time.Time{}, n.patience(), func(since time.Time) news {
		return news{
			subject: "OpenHIM has been waited for since " + minute(since),
			text: []string{
				fmt.Sprintf("OpenHIM takes no reports. Reports that wait: %d. Nothing is lost: they are kept, and go in their order as soon as it does. Data goes to DHIS2 all the same.", backlog.Waiting),
				"What to do: look at OpenHIM, at the mediator's account there, and at the network on the way. The mediator's log says how it answers.",
			},
			facts: []notice.Fact{{Name: "since", Value: minute(since)}, {Name: "reports", Value: fmt.Sprint(backlog.Waiting)}},
		}
	})
	return nil
}
