package orchestration

import (
	"context"
	"fmt"
	"time"

	"github.com/cht-dhis2/mediator/internal/openhim"
)

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

// differs names what is set otherwise than in the file.
func (o Operation) differs(file Operation) (names []string) {
	for _, f := range []struct {
		name string
		same bool
	}{
		{"enabled", o.Enabled == file.Enabled},
		{"schedule", o.Schedule == file.Schedule},
		{"first_after_days", o.FirstAfterDays == file.FirstAfterDays},
		{"reread_days", o.RereadDays == file.RereadDays},
		{"hold", o.Hold == file.Hold},
	} {
		if !f.same {
			names = append(names, f.name)
		}
	}
	return names
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

// The settings under which the store keeps what the console says.
const (
	consoleGood  = "console"
	consoleFault = "console fault"
)

// Configured takes what people have set in OpenHIM's console. It is checked as strictly as the file: a bad one is refused
// whole, the last good one stays in force, and the fault is kept to be told until a good one comes.
func (s *Submitter) Configured(ctx context.Context, config []byte) {
	operations, err := s.readConsole(config, s.dataSetIDs())
	if err != nil {
		s.logger().WithError(err).Error("the configuration from OpenHIM's console is refused; the last good one stays in force")
		s.note(ctx, consoleFault, []byte(err.Error()))
		return
	}
	s.mu.Lock()
	s.console = operations
	s.mu.Unlock()
	s.note(ctx, consoleGood, config)
	s.note(ctx, consoleFault, []byte{})
	s.logger().Info("the configuration from OpenHIM's console is in force")
}

// note keeps what came, even when the service is being stopped at this instant.
func (s *Submitter) note(ctx context.Context, name string, text []byte) {
	if err := s.Ledger.SaveSetting(context.WithoutCancel(ctx), name, text); err != nil {
		s.logger().WithError(err).Error("the configuration from OpenHIM's console could not be kept")
	}
}

// ConsoleFault tells why the last configuration from the console was refused; empty where it was not.
func (s *Submitter) ConsoleFault(ctx context.Context) string {
	text, _, err := s.Ledger.Setting(ctx, consoleFault)
	if err != nil {
		return ""
	}
	return string(text)
}

// LoadConsole puts the last good configuration from the console in force. A data set that the file does not have any more
// is left out.
func (s *Submitter) LoadConsole(ctx context.Context) error {
	text, _, err := s.Ledger.Setting(ctx, consoleGood)
	if err != nil || text == nil {
		return err
	}
	operations, err := s.readConsole(text, nil)
	if err != nil {
		s.note(ctx, consoleFault, []byte(err.Error()))
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.console = operations
	return nil
}

func (s *Submitter) dataSetIDs() []string {
	ids := []string{}
	for _, set := range s.DataSets {
		ids = append(ids, set.ID)
	}
	return ids
}

// readConsole lays what the console says over what the file says. Known are the ids that may be there; nil lets every one.
func (s *Submitter) readConsole(config []byte, known []string) (map[string]Operation, error) {
	console, err := openhim.ParseConsole(config, openhim.ConsoleRules{DataSets: known, Schedule: func(text string) error {
		_, err := ParseCron(text)
		return err
	}})
	if err != nil {
		return nil, err
	}
	operations := map[string]Operation{}
	for _, set := range s.DataSets {
		o := set.Operation
		for _, said := range console.DataSets {
			if said.ID == set.ID {
				o.lay(said)
			}
		}
		if o.RereadDays < o.FirstAfterDays {
			return nil, fmt.Errorf("console configuration: data set %s would be read again for %d days only, and first sent after %d", set.ID, o.RereadDays, o.FirstAfterDays)
		}
		operations[set.ID] = o
	}
	return operations, nil
}

// lay puts over an operation what the console says of it.
func (o *Operation) lay(said openhim.ConsoleDataSet) {
	set(&o.Enabled, said.Enabled)
	set(&o.Schedule, said.Schedule)
	set(&o.FirstAfterDays, said.FirstAfterDays)
	set(&o.RereadDays, said.RereadDays)
	set(&o.Hold, said.Hold)
}

func set[T any](field *T, said *T) {
	if said != nil {
		*field = *said
	}
}
