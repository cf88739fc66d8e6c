package orchestration

import "time"

// Operation is how a data set is run: what the console may steer.
type Operation struct {
	// Enabled lets it be sent, by schedule or on request.
	Enabled bool
	// Schedule is a cron expression of five fields, in the source's time zone; empty is none.
	Schedule                   string
	FirstAfterDays, RereadDays int
	// Hold lets each submission wait until a person approves it.
	Hold bool

	// What follows is the file's alone.
	SendingHours string
	Jitter       time.Duration
	// NoticeAfterDays is how many days after a month's end somebody is told that nothing of it was accepted; 0 is never.
	NoticeAfterDays int
}

// Operation gives how a data set is run at present.
func (s *Submitter) Operation(dataSet string) Operation {
	s.mu.Lock()
	o, steered := s.console[dataSet]
	s.mu.Unlock()
	if steered {
		return o
	}
	for _, set := range s.DataSets {
		if set.ID == dataSet {
			return set.Operation
		}
	}
	return Operation{}
}

// Operate lets the console's word count from now on, by data set; what is not in it is run as the file says.
func (s *Submitter) Operate(console map[string]Operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.console = console
}
