package orchestration

import (
	"fmt"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// examineSchedules asks of each data set whether its schedule makes sense, beside what DHIS2 takes.
func (r *examining) examineSchedules(findings *[]Finding) {
	for _, set := range r.Submitter.DataSets {
		p := sheet{"mediator", us, "", findings}.of("data set " + set.ID)
		o := r.Submitter.Operation(set.ID)
		switch {
		case !o.Enabled:
			p.amber("schedule", "the data set is switched off", "set enabled, in OpenHIM's console or in the configuration, unless it is to rest")
			continue
		case o.Schedule == "":
			p.amber("schedule", "there is no schedule, so that nothing goes by itself", "set schedule, unless somebody else asks for each month, such as a polling channel of OpenHIM")
		default:
			r.schedule(p, o, set)
		}
		facts := r.destinations[set.DHIS2]
		if found, known := facts.sets[set.ID]; known && o.Schedule != "" {
			r.sendingWindow(p, o, set, found.ExpiryDays)
		}
	}
}

// turns is how many turns of a schedule are looked at.
const turns = 100

// schedule asks whether a schedule ever comes, and whether it does so in the hours in which it may.
func (r *examining) schedule(p sheet, o Operation, set DataSet) {
	cron, err := ParseCron(o.Schedule)
	if err != nil {
		p.red("schedule", Configuration, faulty("correct schedule", "%v", err))
		return
	}
	hours, err := ParseHours(o.SendingHours)
	if err != nil {
		p.red("sending hours", Configuration, faulty("correct sending_hours", "%v", err))
		return
	}
	zone := time.UTC
	if len(set.CHT) > 0 {
		zone = r.Submitter.Sources[set.CHT[0]].zone()
	}
	if last, err := dhis2.LatestClosed(set.periodType(), r.now.In(zone)); err == nil && last.Before(set.FirstPeriod) {
		p.amber("first period", fmt.Sprintf("nothing before %s is sent, and that %s is not over", set.FirstPeriod, spanOf(set.periodType())), "lower first_period, if an earlier one is to be sent")
	}
	next := cron.after(r.now, zone)
	if next.IsZero() {
		p.red("schedule", Configuration, faulty("correct schedule", "the time %q never comes", o.Schedule))
		return
	}
	p.green("schedule", fmt.Sprintf("%s: next on %s", o.Schedule, next.In(zone).Format("2006-01-02 15:04 MST")))
	if o.SendingHours == "" {
		return
	}
	at := next
	for range turns {
		if at.IsZero() || hours.allow(at.In(zone)) {
			p.green("sending hours", hours.String())
			return
		}
		at = cron.after(at, zone)
	}
	p.amber("sending hours", fmt.Sprintf("no time of the schedule %s lies in the hours %s, so that each run waits for them", o.Schedule, hours), "move schedule into sending_hours")
}

// sendingWindow lays the days on which a month is read beside those on which DHIS2 takes it, for the month that closed last in
// the first source.
func (r *examining) sendingWindow(p sheet, o Operation, set DataSet, expiryDays int) {
	const remedy = "in the data set in DHIS2 raise its expiry days"
	text := fmt.Sprintf("a %s first goes %s after its end, and is read again until day %d", spanOf(set.periodType()), counted(o.FirstAfterDays, "day"), o.RereadDays)
	if expiryDays == 0 {
		p.green("window", text+"; DHIS2 never locks it")
		return
	}
	source := r.Submitter.Sources[set.CHT[0]]
	timing := Timing{FirstAfterDays: o.FirstAfterDays, RereadDays: o.RereadDays, ExpiryDays: expiryDays, Zone: source.zone()}
	settings := &cht.Settings{}
	if known := r.sources[source.Name].settings; known != nil {
		settings = known
	}
	timing.LastDay = func(p dhis2.Period) time.Time { return lastDay(settings, p) }
	period, err := latestClosed(&set, settings, r.now, source.zone())
	if err != nil {
		return // the clock is centuries off, which others tell
	}
	lock := timing.lock(period)
	switch {
	case !timing.open(period).Before(lock):
		p.red("window", NothingAccepted, faulty("lower first_after_days, or "+remedy, "%s, and DHIS2 locks it after day %d: it is never sent in time", text, expiryDays)).Who = us + ", " + dhis2Admin
	case timing.windowEnd(period).After(lock):
		p.amber("window", fmt.Sprintf("%s, and DHIS2 locks it after day %d: what workers bring later is not sent", text, expiryDays), "lower reread_days, or "+remedy).Who = us + ", " + dhis2Admin
	default:
		p.green("window", fmt.Sprintf("%s; DHIS2 locks it after day %d", text, expiryDays))
	}
}
