package ledger

import "testing"

// testPeriodBefore asks for what a period is compared with: the last one before it of the same form and source.
func testPeriodBefore(t *testing.T, l *Ledger, _ *clock) {
	ctx := t.Context()
	of := func(period, source string) Key {
		k := key()
		k.Period, k.CHT = periodOf(period), source
		return k
	}
	// goes lets a period go with settings; accepted says that DHIS2 took it.
	goes := func(k Key, settings string, accepted bool, dry bool) {
		s := begin(t, l, Request{Key: k, DryRun: dry})
		p := readyWith(part("", "Ou"+k.CHT, "DeX=1"))
		p.Settings = []byte(settings)
		must(t, l.Prepared(ctx, s.ID, p, nil))
		if !accepted {
			must(t, l.Finish(ctx, s.ID, End{State: Cancelled}, nil))
			return
		}
		must(t, l.Advance(ctx, s.ID, Sending, nil))
		c, values := record(t, l, s.ID, Range{To: 1}, 10)
		must(t, l.Acknowledge(ctx, s.ID, c.Number, acceptedAll(values), nil))
		must(t, l.Finish(ctx, s.ID, End{State: Accepted}, nil))
	}
	before := func(k Key) string {
		t.Helper()
		period, err := l.AcceptedBefore(ctx, k)
		must(t, err)
		of, body, err := l.SettingsBefore(ctx, k)
		must(t, err)
		return period + " " + of + ":" + string(body)
	}
	want := func(what string, k Key, want string) {
		t.Helper()
		if got := before(k); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	want("nothing is known", of("202610", "kisumu"), " :")
	goes(of("202607", "kisumu"), "one", true, false)
	goes(of("202609", "siaya"), "other", true, false)
	goes(of("2026Q2", "kisumu"), "quarter", true, false)
	want("a month that was left out", of("202609", "kisumu"), "202607 202607:one")
	want("the same month", of("202607", "kisumu"), " :")
	goes(of("202608", "kisumu"), "mistaken", false, false)
	goes(of("202608", "kisumu"), "dry", true, true)
	want("one that was rejected", of("202609", "kisumu"), "202607 202608:mistaken")
	goes(of("202608", "kisumu"), "two", true, false)
	want("one that went at last", of("202609", "kisumu"), "202608 202608:two")
	goes(of("202608", "kisumu"), "three", true, false)
	want("one that was read again", of("202609", "kisumu"), "202608 202608:two")
	goes(of("202609", "kisumu"), "one", true, false)
	want("settings that were there before", of("202610", "kisumu"), "202609 202609:one")
	want("a quarter", of("2026Q3", "kisumu"), "2026Q2 2026Q2:quarter")
}
