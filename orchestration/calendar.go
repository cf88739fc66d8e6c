package orchestration

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
)

// What is remembered of the neighbours, so that the schedule and a request for the month that closed last need nobody who
// may be away: on which day a source's months begin, and how many days after a month DHIS2 locks a data set's period.

type calendar struct {
	MonthStartDate int  `json:"month_start_date"`
	NepaliMonths   bool `json:"nepali_months"`
}

const (
	// fresh is what was asked at most so long ago.
	fresh = 24 * time.Hour
	// refreshFor is how long a source may take to say again what is known of it: somebody waits for an answer meanwhile.
	refreshFor = time.Second
)

// calendar gives how a source counts its months: as it is remembered, and else as the source says.
func (s *Submitter) calendar(ctx context.Context, from Source) (*cht.Settings, error) {
	known, saved, err := s.knownCalendar(ctx, from)
	if err == nil && known != nil && s.now().Sub(saved) < fresh {
		return known, nil
	}
	asking, cancel := ctx, context.CancelFunc(func() {})
	if known != nil {
		asking, cancel = context.WithTimeout(ctx, refreshFor)
	}
	defer cancel()
	settings, err := (*cht.Settings)(nil), s.isDown(ctx, "CHT "+from.Name)
	if err == nil {
		settings, err = from.Client.Settings(asking)
		if asking.Err() == nil { // else it was us who had no time
			s.contacted("CHT "+from.Name, err)
			s.noteDown(ctx, "CHT "+from.Name, err)
		}
	}
	if err != nil {
		if known != nil { // it hardly ever changes
			return known, nil
		}
		return nil, err
	}
	s.keepCalendar(ctx, from, settings)
	return settings, nil
}

func (s *Submitter) knownCalendar(ctx context.Context, from Source) (*cht.Settings, time.Time, error) {
	text, saved, err := s.Ledger.Setting(ctx, "calendar "+from.Name)
	if err != nil || text == nil {
		return nil, saved, err
	}
	var c calendar
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, saved, err
	}
	return &cht.Settings{MonthStartDate: c.MonthStartDate, NepaliMonths: c.NepaliMonths}, saved, nil
}

// keepCalendar remembers how a source counts its months. It may fail: then the source is asked again.
func (s *Submitter) keepCalendar(ctx context.Context, from Source, settings *cht.Settings) {
	s.keep(ctx, "calendar "+from.Name, calendar{settings.MonthStartDate, settings.NepaliMonths})
}

// keepExpiry remembers after how many days DHIS2 locks a period of a data set.
func (s *Submitter) keepExpiry(ctx context.Context, set DataSet, days int) {
	s.keep(ctx, "expiry "+set.DHIS2+" "+set.ID, days)
}

// expiry gives what keepExpiry remembered; 0 is never, or not known.
func (s *Submitter) expiry(ctx context.Context, destination, dataSet string) (days int) {
	text, _, err := s.Ledger.Setting(ctx, "expiry "+destination+" "+dataSet)
	if err == nil && text != nil {
		_ = json.Unmarshal(text, &days) // what cannot be read is not known
	}
	return days
}

// keep remembers a value, unless it is remembered and fresh.
func (s *Submitter) keep(ctx context.Context, name string, value any) {
	text, err := json.Marshal(value)
	if err != nil || s.Ledger == nil {
		return
	}
	known, saved, err := s.Ledger.Setting(ctx, name)
	if err == nil && string(known) == string(text) && s.now().Sub(saved) < fresh/2 {
		return
	}
	if err := s.Ledger.SaveSetting(ctx, name, text); err != nil {
		s.logger().WithError(err).Warn("what a server said of itself could not be kept")
	}
}
