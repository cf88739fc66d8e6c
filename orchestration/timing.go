package orchestration

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

const (
	// usualDelay is how long a start may take from when it is due.
	usualDelay = 15 * time.Minute
	// clockSlip is how far ahead of the clock a start may lie before one of the two is taken for wrong. Less is a clock
	// that was set right, or one of two replicas.
	clockSlip = time.Hour
	// beforeEnd is left free by the jitter at the end of what is allowed, as a start comes some seconds after it is due.
	beforeEnd = time.Minute
	// lastBeforeLock is how many days before the lock a period is read for the last time.
	lastBeforeLock = 2
)

// Timing is when the periods of one data set are sent from one source. It is a function of settings, rows and the time:
// it asks no clock, and the store is the only memory.
//
// A row that is not done and whose DueAt has passed begins once, however often its time came meanwhile. Ask Due before it
// begins, and keep what Started gives. At each look keep what Replan gives of every row, the done ones too, where it
// differs from what the store has: only so are changed settings and a wrong clock seen.
//
// No clock is trusted with what cannot be undone. A start that lies in the future, as after a clock that ran ahead, counts
// as one that begins now, so its period is read again in its window; a start from before the period was over does not
// count at all, so the period is sent when its time comes. The row keeps its StartedAt until it begins again: when it was
// now that was wrong, Replan gives back what was there.
type Timing struct {
	// Schedule says when to look. The zero Cron is never.
	Schedule Cron
	// Zone is the source's: days, hours and the schedule are on its clocks. Nil is UTC.
	Zone *time.Location
	// FirstPeriod is the first that may be sent. The zero Period is none.
	FirstPeriod dhis2.Period
	// FirstAfterDays is how many whole days pass after the period's last day before it is first sent.
	FirstAfterDays int
	// RereadDays is for how many days after the period's last day it is read again for late data.
	RereadDays int
	// MinimumDays is how many days after the period's last day org units that were held back for their coverage go all the same, for
	// which it is read again where the schedule does not do so by itself; 0 is never.
	MinimumDays int
	// Hours are those in which a submission may begin.
	Hours Hours
	// Jitter spreads the starts: each key begins later by less than this, by as much each time.
	Jitter time.Duration
	// LastDay gives the period's last day in the source, at midnight UTC. Nil is the calendar's.
	LastDay func(dhis2.Period) time.Time
	// ExpiryDays are those of the data set in DHIS2; 0 never locks. DHIS2 counts them from the end of its own period, whatever
	// LastDay is. The lock is taken to begin at midnight in Zone, as DHIS2 does not tell its own.
	ExpiryDays int
}

// Missing gives a row for each period that is over in the source and has none yet, oldest first. The key gives DHIS2,
// data set and source. The rows' DueAt is the first time the period's turn came, however long ago.
func (t Timing) Missing(known []ledger.Planned, key ledger.Key, now time.Time) []ledger.Planned {
	if t.Schedule.IsZero() || t.FirstPeriod.IsZero() {
		return nil
	}
	has := map[ledger.Key]bool{}
	for i := range known {
		has[known[i].Key] = true
	}
	var rows []ledger.Planned
	for period := t.FirstPeriod; t.closed(period, now); period = period.Next() {
		key.Period = period
		if has[key] {
			continue
		}
		if _, err := dhis2.ParsePeriod(period.String()); err != nil {
			break // the clock is centuries ahead, and the store could not read such a period back
		}
		rows = append(rows, ledger.Planned{Key: key, DueAt: t.first(key)})
	}
	return rows
}

// Started gives the row after its submission began.
func (t Timing) Started(p ledger.Planned, submission string, now time.Time) ledger.Planned {
	p.StartedAt, p.Submission = now.UTC().Truncate(time.Millisecond), submission // the store keeps milliseconds
	return t.Replan(p, p.StartedAt)
}

// Replan gives the row as it is to be with these settings. It is equal to the one given, by ==, when nothing changes. A row
// without a schedule, or of a period before the first or of another type, is done until there is one again.
func (t Timing) Replan(p ledger.Planned, now time.Time) ledger.Planned {
	if t.Schedule.IsZero() || p.Period.Type() != t.FirstPeriod.Type() || p.Period.Before(t.FirstPeriod) {
		p.Done = true
		return p
	}
	open := t.open(p.Period)
	begun, sent := p.StartedAt, !p.StartedAt.Before(t.midnight(t.lastDay(p.Period), 1))
	if begun.After(now.Add(clockSlip)) {
		if !p.Done && !p.DueAt.After(now) {
			return p // its turn has come, and must not move on with the clock
		}
		begun, sent = now, !now.Before(open)
	}
	var due time.Time
	switch {
	case !sent:
		due = t.first(p.Key)
	case now.Before(t.end(p.Period)):
		if begun.Before(open) {
			begun = open.Add(-time.Nanosecond)
		}
		due = t.again(p.Key, begun)
	}
	p.Done = due.IsZero()
	if !p.Done {
		p.DueAt = due
	}
	return p
}

// Due says whether the row's submission may begin now. Unlike the row's own DueAt it knows what happened since that was
// written: the hours may be over, or the window, or the settings may be others.
func (t Timing) Due(p ledger.Planned, now time.Time) bool {
	p = t.Replan(p, now)
	return !p.Done && !p.DueAt.After(now) && !now.Before(t.open(p.Period)) && t.Hours.allow(now.In(t.zone()))
}

// Overdue says whether the row's submission could have begun for longer than is usual. A period that was never sent since
// its turn came is overdue, even where its row is new.
func (t Timing) Overdue(p ledger.Planned, now time.Time) bool {
	p = t.Replan(p, now)
	if p.Done || now.Sub(p.DueAt) <= usualDelay {
		return false
	}
	at := t.Hours.move(p.DueAt.In(t.zone()))
	for left := usualDelay; left > 0 && !at.After(now); {
		stretch := t.Hours.left(at, left)
		left -= stretch
		at = t.Hours.move(at.Add(stretch))
	}
	return at.Before(now)
}

// first is when a period's turn comes for the first time.
func (t Timing) first(key ledger.Key) time.Time {
	at := t.turn(t.open(key.Period).Add(-time.Nanosecond))
	if lock := t.lock(key.Period); !lock.IsZero() && !at.Before(lock) {
		// Where even the last turn lies behind the lock it is sent nevertheless, and DHIS2's refusal tells a person.
		if last := t.last(key.Period); !last.IsZero() {
			at = last
		}
	}
	return t.spread(key, at)
}

// again is when a period's turn comes next after it began, or zero.
func (t Timing) again(key ledger.Key, begun time.Time) time.Time {
	end := t.end(key.Period)
	if at := t.turn(begun); at.Before(end) {
		return t.spread(key, at)
	}
	next := time.Time{}
	for _, at := range [...]time.Time{t.minimumOver(key.Period), t.last(key.Period)} {
		if at.After(begun) && at.Before(end) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if next.IsZero() {
		return next
	}
	return t.spread(key, next)
}

// minimumOver is when what was held back for its coverage goes all the same; zero is never.
func (t Timing) minimumOver(period dhis2.Period) time.Time {
	if t.MinimumDays <= 0 {
		return time.Time{}
	}
	return t.Hours.move(t.midnight(t.lastDay(period), 1+t.MinimumDays))
}

// turn is the first one of the schedule after an instant, in the hours.
func (t Timing) turn(after time.Time) time.Time {
	return t.Hours.move(t.Schedule.after(after, t.zone()).In(t.zone()))
}

// last is when a period is read for the last time before DHIS2 locks it, if the schedule does not do so by itself. It is
// zero where nothing is locked, or there is no time left before it is.
func (t Timing) last(period dhis2.Period) time.Time {
	lock := t.lock(period)
	if lock.IsZero() {
		return time.Time{}
	}
	at := t.midnight(period.Last(), t.ExpiryDays+1-lastBeforeLock)
	if open := t.open(period); open.After(at) {
		at = open
	}
	if at = t.Hours.move(at); at.Before(lock) {
		return at
	}
	return time.Time{}
}

// spread moves an instant by the key's share of the jitter, within the hours, the window and before the lock, as far as
// the instant itself is.
func (t Timing) spread(key ledger.Key, at time.Time) time.Time {
	room := t.Jitter
	for _, end := range []time.Time{t.windowEnd(key.Period), t.lock(key.Period)} {
		if at.Before(end) {
			room = min(room, end.Sub(at)-beforeEnd)
		}
	}
	if left := t.Hours.left(at, room+beforeEnd); left < room+beforeEnd {
		room = left - beforeEnd
	}
	if seconds := room / time.Second; seconds > 0 {
		hash := fnv.New64a()
		fmt.Fprintf(hash, "%q %q %q %s", key.DHIS2, key.DataSet, key.CHT, key.Period)
		//nolint:gosec // less than seconds
		at = at.Add(time.Duration(hash.Sum64()%uint64(seconds)) * time.Second)
	}
	return at.UTC()
}

// closed says whether the period is over in the source. The days are compared, as one may have no midnight.
func (t Timing) closed(period dhis2.Period, now time.Time) bool {
	today := onClocks(now, t.zone())
	return !today.Before(t.lastDay(period).AddDate(0, 0, 1))
}

// open is from when on the period may be sent.
func (t Timing) open(period dhis2.Period) time.Time {
	return t.midnight(t.lastDay(period), 1+max(t.FirstAfterDays, 0))
}

// end is when re-reads end: with the window, or when DHIS2 locks the period.
func (t Timing) end(period dhis2.Period) time.Time {
	end := t.windowEnd(period)
	if lock := t.lock(period); !lock.IsZero() && lock.Before(end) {
		return lock
	}
	return end
}

func (t Timing) windowEnd(period dhis2.Period) time.Time {
	return t.midnight(t.lastDay(period), 1+t.RereadDays)
}

// lock is when DHIS2 locks the period, which is on the day that is more than the expiry days after its end; zero is never.
func (t Timing) lock(period dhis2.Period) time.Time {
	if t.ExpiryDays <= 0 {
		return time.Time{}
	}
	return t.midnight(period.Last(), t.ExpiryDays+1)
}

func (t Timing) lastDay(period dhis2.Period) time.Time {
	if t.LastDay == nil {
		return period.Last()
	}
	return t.LastDay(period)
}

// midnight begins the day that is some days after another one, on the clocks of the source.
func (t Timing) midnight(day time.Time, days int) time.Time {
	return instant(day.AddDate(0, 0, days), t.zone())
}

func (t Timing) zone() *time.Location {
	if t.Zone == nil {
		return time.UTC
	}
	return t.Zone
}

// Cron is a cron expression: minute, hour, day of month, month and day of week. The zero Cron is never.
type Cron struct {
	text  string
	times cron.Schedule
}

// String gives the expression as it was written.
func (c Cron) String() string { return c.text }

// IsZero says that it is never.
func (c Cron) IsZero() bool { return c.times == nil }

// ParseCron reads a cron expression. An empty one is never.
func ParseCron(text string) (Cron, error) {
	if strings.TrimSpace(text) == "" {
		return Cron{}, nil
	}
	fields := strings.Fields(text)
	switch {
	case strings.Contains(text, "="): // the library panics at TZ=UTC
		return Cron{}, fmt.Errorf("schedule %q: it can name no time zone, it is in that of the source: write the five fields only, such as \"0 3 * * *\" for 03:00 each day", text)
	case strings.HasPrefix(fields[0], "@every"):
		return Cron{}, fmt.Errorf("schedule %q: @every is not supported: write a step, such as \"*/15 * * * *\" for every 15 minutes", text)
	case strings.HasPrefix(fields[0], "@"):
		return Cron{}, fmt.Errorf("schedule %q: names are not supported: write the five fields, such as \"0 0 * * *\" for @daily or \"0 0 * * 0\" for @weekly", text)
	case len(fields) == 6:
		return Cron{}, fmt.Errorf("schedule %q has 6 fields: leave out the seconds or the year, and write minute, hour, day of month, month and day of week, such as \"0 3 * * *\"", text)
	case len(fields) != 5:
		return Cron{}, fmt.Errorf("schedule %q has %d fields: write minute, hour, day of month, month and day of week, such as \"0 3 * * *\" for 03:00 each day", text, len(fields))
	}
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	if err := checkFields(parser, text, fields); err != nil {
		return Cron{}, err
	}
	text = strings.Join(fields, " ")
	times, err := parser.Parse(text)
	if err != nil {
		return Cron{}, fmt.Errorf("schedule %q: %w: write it like \"0 3 * * *\" for 03:00 each day", text, err)
	}
	if times.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Cron{}, fmt.Errorf("schedule %q never comes, as none of its months has such a day: write a day that there is, such as \"0 3 28 * *\"", text)
	}
	return Cron{text: text, times: times}, nil
}

// checkFields finds the field that is wrong, and what the library takes for something else than was meant.
func checkFields(parser cron.Parser, text string, fields []string) error {
	kinds := []struct{ name, values string }{
		{"minute", "0 to 59"}, {"hour", "0 to 23"}, {"day of month", "1 to 31"}, {"month", "1 to 12"}, {"day of week", "0 to 6, where 0 is Sunday"},
	}
	for i, kind := range kinds {
		alone := []string{"*", "*", "*", "*", "*"}
		alone[i] = fields[i]
		_, err := parser.Parse(strings.Join(alone, " "))
		for item := range strings.SplitSeq(fields[i], ",") {
			if item == "" || strings.HasPrefix(item, "*-") || strings.HasPrefix(item, "?-") {
				err = fmt.Errorf("%q cannot be read", item)
			}
		}
		if err != nil {
			return fmt.Errorf("schedule %q: the %s is %q: write a number of %s, or * for each, 1-5 for a range, 1,3 for a list, */2 for each second one", text, kind.name, fields[i], kind.values)
		}
	}
	return nil
}

// after is the first instant after another one at which the clocks of the zone show a time of the schedule. The library
// counts on a calendar without leaps of the clocks: on one with them it skips what they leap over, and gives twice what
// they show twice.
func (c Cron) after(t time.Time, zone *time.Location) time.Time {
	wall := onClocks(t, zone)
	for {
		next := c.times.Next(wall)
		if next.IsZero() { // it looks five years ahead, and 29 February may be eight years off
			wall = wall.AddDate(5, 0, 0)
			continue
		}
		if at := instant(next, zone); at.After(t) {
			return at
		}
		wall = next
	}
}

// onClocks is what the clocks of a zone show at an instant, as if it were UTC.
func onClocks(t time.Time, zone *time.Location) time.Time {
	l := t.In(zone)
	return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), l.Nanosecond(), time.UTC)
}

// instant is the opposite of onClocks: when the clocks of a zone show a time first, or, where they leap over it, when
// they do.
func instant(wall time.Time, zone *time.Location) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), zone)
	start, end := t.ZoneBounds()
	switch shown := onClocks(t, zone); {
	case shown.After(wall):
		return start
	case shown.Before(wall):
		return end
	case start.IsZero():
		return t
	}
	_, before := start.Add(-time.Second).Zone()
	_, offset := t.Zone()
	if first := t.Add(time.Duration(offset-before) * time.Second); first.Before(start) {
		return first
	}
	return t
}

// Hours are the hours of a day in which something may begin. The zero value is always.
type Hours struct {
	// from and to are minutes of the day; to is no more within.
	from, to int
}

var fromTo = regexp.MustCompile(`^(\d\d?):(\d\d) *- *(\d\d?):(\d\d)$`)

// ParseHours reads hours such as "20:00-06:00". Empty is always.
func ParseHours(text string) (Hours, error) {
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		return Hours{}, nil
	}
	parts := fromTo.FindStringSubmatch(trimmed)
	if parts == nil {
		return Hours{}, fmt.Errorf("hours %q: write from and to, such as \"20:00-06:00\", or leave it empty for always", text)
	}
	var n [4]int
	for i := range n {
		n[i], _ = strconv.Atoi(parts[i+1])
	}
	h := Hours{from: 60*n[0] + n[1], to: 60*n[2] + n[3]}
	if n[1] > 59 || n[3] > 59 || h.from >= 24*60 || h.to > 24*60 {
		return Hours{}, fmt.Errorf("hours %q: a day has no such time: write times from 00:00 to 23:59, or 24:00 for the end of the day", text)
	}
	if h.from == h.to {
		return Hours{}, fmt.Errorf("hours %q begin when they end: write two times that differ, or leave it empty for always", text)
	}
	if h.from == 0 && h.to == 24*60 {
		return Hours{}, nil
	}
	return h, nil
}

// String gives the hours as ParseHours reads them.
func (h Hours) String() string {
	if h == (Hours{}) {
		return ""
	}
	return fmt.Sprintf("%02d:%02d-%02d:%02d", h.from/60, h.from%60, h.to/60, h.to%60)
}

// allow says whether an instant lies within, on the clocks of its own zone.
func (h Hours) allow(at time.Time) bool {
	minute := 60*at.Hour() + at.Minute()
	switch {
	case h == Hours{}:
		return true
	case h.from < h.to:
		return h.from <= minute && minute < h.to
	default:
		return h.from <= minute || minute < h.to
	}
}

// move is the first instant from another one on that lies within. It goes minute by minute, so that no leap of the clocks
// needs a thought.
func (h Hours) move(at time.Time) time.Time {
	for !h.allow(at) {
		at = nextMinute(at)
	}
	return at
}

// left is for how long from an instant on it stays within, up to a limit.
func (h Hours) left(at time.Time, most time.Duration) time.Duration {
	if h == (Hours{}) {
		return most
	}
	end := at
	for h.allow(end) && end.Sub(at) < most {
		end = nextMinute(end)
	}
	return min(end.Sub(at), most)
}

func nextMinute(at time.Time) time.Time {
	return at.Add(time.Minute - time.Duration(at.Second())*time.Second - time.Duration(at.Nanosecond()))
}
