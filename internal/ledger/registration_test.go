package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// completingWith gives a submission that has sent parts and registers org units now; behind are those where something was left behind.
func completingWith(t *testing.T, l *Ledger, r Request, behind []string, parts ...Part) Submission {
	t.Helper()
	s := begin(t, l, r)
	p := readyWith(parts...)
	var units []OrgUnitOutcome
	for u, err := range p.OrgUnits {
		must(t, err)
		if at := slices.Index(behind, u.OrgUnit); at >= 0 {
			u.Quarantined++
			behind = slices.Delete(behind, at, at+1)
			p.Counts.Quarantined++
		}
		units = append(units, u)
	}
	for _, id := range behind {
		units = append(units, OrgUnitOutcome{OrgUnit: id, Quarantined: 1})
		p.Counts.Quarantined++
	}
	p.OrgUnits = listed(units)
	must(t, l.Prepared(t.Context(), s.ID, p, nil))
	must(t, l.Advance(t.Context(), s.ID, Sending, nil))
	for i := range parts {
		c, values := record(t, l, s.ID, Range{i, i + 1}, 10)
		must(t, l.Acknowledge(t.Context(), s.ID, c.Number, acceptedAll(values), nil))
	}
	must(t, l.Advance(t.Context(), s.ID, Completing, nil))
	return s
}

// registrations says in short what there is to register: "OuA" is whole, "-OuA" is not, with its state, and "now" where that is of this
// submission.
func registrations(t *testing.T, l *Ledger, id string) string {
	t.Helper()
	list, err := l.Registrations(t.Context(), id)
	must(t, err)
	var texts []string
	for _, r := range list {
		text := r.AttributeOptionCombo + r.OrgUnit
		if !r.Whole {
			text = "-" + text
		}
		if r.State != "" {
			text += ":" + string(r.State)
		}
		if r.Now {
			text += ":now"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, " ")
}

func testRegistrations(t *testing.T, l *Ledger, c *clock) {
	ctx := t.Context()
	says := func(s Submission, want string) {
		t.Helper()
		if got := registrations(t, l, s.ID); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	state := func(s Submission, state RegistrationState, ids ...string) {
		t.Helper()
		var list []Registration
		for _, id := range ids {
			list = append(list, Registration{OrgUnit: id, State: state})
		}
		must(t, l.Register(ctx, s.ID, "complete", RegisteringStep{Known: list[:1], Sending: list[1:], Exchanges: []byte("[]")}))
	}
	ends := func(s Submission, count *Completeness) {
		t.Helper()
		must(t, l.Finish(ctx, s.ID, End{State: Accepted, Completeness: count}, nil))
		if got, err := l.Submission(ctx, s.ID); err != nil || fmt.Sprint(got.Completeness) != fmt.Sprint(count) {
			t.Errorf("got %+v, %v", got.Completeness, err)
		}
	}
	first := completingWith(t, l, Request{Key: key()}, []string{"OuC"}, part("", "OuA", "DeA=1"), part("", "OuB", "DeA=1"), part("", "OuC", "DeA=1"), part("Aoc", "OuA", "DeA=1"))
	says(first, "OuA OuB -OuC AocOuA")
	state(first, Registered, "OuA", "OuB")
	says(first, "OuA:registered:now OuB:registered:now -OuC AocOuA")
	ends(first, &Completeness{Registered: 2})
	if err := l.Register(ctx, first.ID, "complete", RegisteringStep{}); !errors.Is(err, ErrState) {
		t.Errorf("one that has ended registers: %v", err)
	}

	// Another source knows of the registrations of its own org units, and where it left something behind.
	siaya := key()
	siaya.CHT = "siaya"
	second := completingWith(t, l, Request{Key: siaya}, []string{"OuB"}, part("", "OuD", "DeA=1"))
	says(second, "-OuB:registered OuD")
	state(second, Registered, "OuD")
	ends(second, nil)

	// And the first one sees that the other one left something behind, but not in a later submission of chosen org units.
	request := Request{Key: key(), OrgUnits: []string{"OuA", "OuB"}}
	third := begin(t, l, request)
	must(t, l.Prepared(ctx, third.ID, Preparation{State: Completing}, nil))
	says(third, "OuA:registered -OuB:registered AocOuA")
	ends(third, nil)
	if n, err := l.Forget(ctx, key(), "OuA"); n != 1 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	fourth := begin(t, l, Request{Key: key()})
	must(t, l.Prepared(ctx, fourth.ID, Preparation{State: Completing}, nil))
	says(fourth, "-OuB:registered OuC")
	ends(fourth, nil)

	c.at = c.at.AddDate(12, 0, 0)
	_, err := l.Thin(ctx, Keep{})
	must(t, err)
	fifth := begin(t, l, Request{Key: key()})
	must(t, l.Prepared(ctx, fifth.ID, Preparation{State: Completing}, nil))
	says(fifth, "")
}
