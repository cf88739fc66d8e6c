package validation

import (
	"slices"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// The authorities that count. The last one has all.
const (
	mayAddValues   = "F_DATAVALUE_ADD"
	mayEditExpired = "F_EDIT_EXPIRED"
	superUser      = "ALL"
)

// may says whether the account has an authority.
func (f *Facts) may(authority string) bool {
	return slices.Contains(f.User.Authorities, authority) || slices.Contains(f.User.Authorities, superUser)
}

// window finds what keeps the period closed: for all org units but those with a lock exception, and for all. From 2.43 on
// input periods take the place of the two other rules. What is not known, such as the server's date, closes nothing.
func (f *Facts) window(place *time.Location) (expired, closed *Finding) {
	now, known := wallClock(f.Server.Date, place)
	if !known || f.Period.IsZero() {
		return nil, nil
	}
	if f.Server.Dialect == dhis2.SetBased && len(f.Set.InputPeriods) > 0 {
		return nil, f.inputPeriod(now, place)
	}
	if closed = f.future(now); closed == nil && len(f.Set.InputPeriods) > 0 {
		closed = f.inputPeriod(now, place)
	}
	return f.expiry(now), closed
}

// expiry finds that the period ended too long ago.
func (f *Facts) expiry(now time.Time) *Finding {
	last := f.Period.Last().AddDate(0, 0, f.Set.ExpiryDays)
	if f.Set.ExpiryDays <= 0 || !dayOf(now).After(last) || f.may(mayEditExpired) {
		return nil
	}
	return periodExpired.finding(f.Period, f.Set.ID, f.Set.ExpiryDays, now.Format(time.DateOnly))
}

// future finds that the period is not open yet. From 2.43 on the right to edit expired data lifts this too.
func (f *Facts) future(now time.Time) *Finding {
	latest, err := dhis2.LatestClosed(f.Period.Type(), now)
	if err != nil || f.Server.Dialect == dhis2.SetBased && f.may(mayEditExpired) {
		return nil
	}
	for range f.Set.OpenFuturePeriods {
		if !latest.Before(f.Period) {
			break
		}
		latest = latest.Next()
	}
	if !latest.Before(f.Period) {
		return nil
	}
	return periodTooEarly.finding(f.Period, now.Format(time.DateOnly), f.Set.ID, latest)
}

// inputPeriod finds that the period may not be entered now. The day on which it closes is open.
func (f *Facts) inputPeriod(now time.Time, place *time.Location) *Finding {
	var found *Finding
	for _, p := range f.Set.InputPeriods {
		if p.Period != f.Period.String() {
			continue
		}
		opens, hasStart := wallClock(p.Opens, place)
		closes, hasEnd := wallClock(p.Closes, place)
		if (!hasStart || !now.Before(opens)) && (!hasEnd || now.Before(closes.AddDate(0, 0, 1))) {
			return nil
		}
		found = inputPeriodClosed.finding(f.Period, f.Set.ID, dayText(p.Opens), dayText(p.Closes), now.Format(time.DateOnly))
	}
	if found == nil {
		return inputPeriodAbsent.finding(f.Period, f.Set.ID)
	}
	return found
}

func dayText(date string) string {
	if date == "" {
		return "any day"
	}
	return date[:min(len(date), len(time.DateOnly))]
}

// InvertsInputPeriods says whether a version of DHIS2 tests input periods the wrong way round.
func InvertsInputPeriods(version string) bool {
	return slices.Contains([]string{"2.43", "2.43.0", "2.43.1"}, version)
}

func dayOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}

// placeOf gives the time zone of a server; nil where it names none that is known.
func placeOf(s dhis2.Server) *time.Location {
	place, err := time.LoadLocation(s.TimeZone)
	if err != nil {
		return nil
	}
	return place
}

// wallClock reads a time as DHIS2 writes it and gives what the clock at the server's place shows, labelled as UTC, so that
// two of them may be compared. DHIS2 writes that clock's time without a zone; a time with a zone is turned into it.
func wallClock(text string, place *time.Location) (time.Time, bool) {
	if text == "" {
		return time.Time{}, false
	}
	for _, layout := range [...]string{"2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	for _, layout := range [...]string{"2006-01-02T15:04:05Z0700", time.RFC3339} {
		t, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		if place != nil {
			t = t.In(place)
		}
		_, ahead := t.Zone()
		return t.UTC().Add(time.Duration(ahead) * time.Second), true
	}
	return time.Time{}, false
}
