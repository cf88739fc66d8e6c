package orchestration

import (
	"cmp"
	"fmt"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// A CHT counts in months. A quarter or a year of DHIS2 is the sum of the months whose tags lie in it, and is over when the
// last of them is: with months that begin on the 26th, 2026Q1 is what was done from 26 December to 25 March.

// monthsOf gives the months of the CHT that make up a period, oldest first: one, three or twelve.
func monthsOf(p dhis2.Period) []cht.Month {
	var months []cht.Month
	for day := p.First(); !day.After(p.Last()); day = day.AddDate(0, 1, 0) {
		months = append(months, cht.Month{Year: day.Year(), Month: day.Month()})
	}
	return months
}

// lastDay is the last day of a period in a CHT that counts its months so.
func lastDay(calendar *cht.Settings, p dhis2.Period) time.Time {
	last := p.Last()
	return calendar.LastDay(cht.Month{Year: last.Year(), Month: last.Month()})
}

// isClosed says whether all months of a period were over in the CHT.
func isClosed(calendar *cht.Settings, p dhis2.Period, now time.Time, zone *time.Location) bool {
	last := p.Last()
	return calendar.Closed(cht.Month{Year: last.Year(), Month: last.Month()}, now, zone)
}

// periodType is the type of the periods that are sent, which first_period tells.
func (d *DataSet) periodType() dhis2.PeriodType {
	return cmp.Or(d.FirstPeriod.Type(), dhis2.Monthly)
}

// latestClosed is the period of a data set that was over last in a CHT.
func latestClosed(set *DataSet, calendar *cht.Settings, now time.Time, zone *time.Location) (dhis2.Period, error) {
	// By the CHT's days a month may be over some days before the calendar's is.
	period, err := dhis2.LatestClosed(set.periodType(), now.In(zone).AddDate(0, 2, 0))
	for err == nil && !isClosed(calendar, period, now, zone) {
		period = period.Previous()
	}
	return period, err
}

// checkPeriodType makes sure that a data set of DHIS2 takes the periods that are sent.
func (d *DataSet) checkPeriodType(found dhis2.DataSet) error {
	switch {
	case !found.PeriodType.Supported():
		return blocked("period_type", "send a data set of the period type Monthly, Quarterly or Yearly, or change it in DHIS2",
			"data set %s is %s in DHIS2, and the CHT counts in months, which add up to quarters and years only", found.ID, found.PeriodType)
	case found.PeriodType != d.periodType():
		return blocked("period_type", "give "+aPeriod(found.PeriodType)+" as first_period of the data set, or change its period type in DHIS2",
			"data set %s is %s in DHIS2, and first_period of the configuration makes it %s", found.ID, found.PeriodType, d.periodType())
	}
	return nil
}

// ofItsType finds the period of a plan, which must be of the type that the configuration gives its data set.
func (s *Submitter) ofItsType(p *Plan, settings *cht.Settings) (dhis2.Period, error) {
	if p.request.Period == LatestClosed {
		return latestClosed(&p.set, settings, s.now(), p.from.zone())
	}
	period, err := dhis2.ParsePeriod(p.request.Period)
	if err == nil && period.Type() != p.set.periodType() {
		return period, &UsageError{
			What:   fmt.Sprintf("period %s is %s, and first_period makes data set %s %s", period, period.Type(), p.set.ID, p.set.periodType()),
			Remedy: "give " + aPeriod(p.set.periodType()),
		}
	}
	return period, err
}

// spanOf is what people call a period of a type.
func spanOf(kind dhis2.PeriodType) string {
	switch kind {
	case dhis2.Quarterly:
		return "quarter"
	case dhis2.Yearly:
		return "year"
	default:
		return "month"
	}
}

// aPeriod says how a period of a type is written.
func aPeriod(kind dhis2.PeriodType) string {
	switch kind {
	case dhis2.Quarterly:
		return "a quarter, such as 2026Q4"
	case dhis2.Yearly:
		return "a year, such as 2026"
	default:
		return "a month, such as 202610"
	}
}
