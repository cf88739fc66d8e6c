package orchestration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// A server that refuses our account is asked by one submission, for all, and seldom: DHIS2 locks an account at the fourth
// failed login for 15 minutes, and counts together those that have less than 15 minutes between them; a CHT forgets after ten
// seconds, and shuts an address out after ten failed logins in that time. The store remembers the refusals, so that a service which starts again and again does
// not lock the account either. Of the logins that an account bears, the service leaves half to the person who mends it.

const (
	// wantedPause is the least pause where a person asks for a try, as does who starts the service, and mostTries how many
	// may follow each other so closely.
	wantedPause = time.Minute
	mostTries   = 2
)

// downed is a server that refused the account, or is none at all.
type downed struct {
	// Since is when it refused last, Tries how many refusals came so soon after each other that it may count them together.
	Since time.Time `json:"since"`
	Tries int       `json:"tries"`

	// until is before when nobody asks; err is why.
	until time.Time
	err   error
}

// refusal is the setting in which the store remembers a refusal.
func refusal(server string) string { return "refused " + server }

// isDown gives why a server, such as "DHIS2 national", is not asked now; nil where it is.
func (s *Submitter) isDown(ctx context.Context, server string) error {
	s.mu.Lock()
	d, known := s.down[server]
	s.mu.Unlock()
	if !known && s.serving {
		d = s.rememberDown(ctx, server)
	}
	if now := s.now(); now.Before(d.until) && !now.Before(d.Since) {
		return d.err
	}
	return nil
}

// rememberDown takes up what a process before this one was told by a server. Who starts the service may have mended it.
func (s *Submitter) rememberDown(ctx context.Context, server string) (d downed) {
	text, _, err := s.Ledger.Setting(ctx, refusal(server))
	if err == nil && text != nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil {
		return downed{} // nothing else can be stored then either
	}
	d.until = d.Since.Add(wantedPause)
	if d.Tries >= mostTries && strings.HasPrefix(server, "DHIS2 ") {
		d.until = d.Since.Add(mendingPause)
	}
	const remedy = "mediator doctor says what is wrong"
	what := fmt.Sprintf("it refused the account at %s, and is not asked again before %s, as it might lock the account", minute(d.Since), minute(d.until))
	d.err = &dhis2.Error{Doing: "ask " + server, Kind: dhis2.Credentials, What: what, Remedy: remedy}
	if strings.HasPrefix(server, "CHT ") {
		d.err = &cht.Error{Doing: "ask " + server, Kind: cht.Credentials, What: what, Remedy: remedy}
	}
	s.setDown(server, d)
	return d
}

func (s *Submitter) setDown(server string, d downed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down == nil {
		s.down = map[string]downed{}
	}
	s.down[server] = d
}

// tryAgain lets a server be asked although it is down, as a person wants it now and may have mended the account; not more
// often than an account bears.
func (s *Submitter) tryAgain(server string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.down[server]; ok && d.Tries < mostTries && s.now().Sub(d.Since) >= wantedPause {
		d.until = time.Time{}
		s.down[server] = d
	}
}

// noteDown remembers that a server refused the account or is none at all, or that it did not. A command does not ask again
// in its life, the service after a while.
func (s *Submitter) noteDown(ctx context.Context, server string, err error) {
	var source *cht.Error
	var destination *dhis2.Error
	refused := errors.As(err, &destination) && destination.Kind == dhis2.Credentials || errors.As(err, &source) && source.Kind == cht.Credentials
	s.mu.Lock()
	before := s.down[server]
	s.mu.Unlock()
	switch {
	case err == nil && before.Tries > 0:
		s.setDown(server, downed{})
		s.storeDown(ctx, server, downed{})
		return
	case !refused && (destination == nil || destination.Kind != dhis2.Unusable):
		return
	}
	now := s.now()
	d := downed{Since: now, until: now.Add(never), err: err}
	switch {
	case source != nil:
		d.until = now.Add(wantedPause)
	case s.serving:
		d.until = now.Add(mendingPause)
	}
	if refused {
		if d.Tries = 1; now.Sub(before.Since) < mendingPause {
			d.Tries += before.Tries
		}
		s.storeDown(ctx, server, d)
	}
	if refused && before.Tries == 0 {
		s.logger().WithField("server", server).WithError(err).Error("a server refuses the account; nothing goes through until that is mended")
	}
	s.setDown(server, d)
}

// storeDown keeps a refusal for the process after this one. Where it cannot be kept, that one has less to go by.
func (s *Submitter) storeDown(ctx context.Context, server string, d downed) {
	text, err := json.Marshal(d)
	if err == nil && s.Ledger != nil {
		err = s.Ledger.SaveSetting(context.WithoutCancel(ctx), refusal(server), text)
	}
	if err != nil {
		s.logger().WithError(err).Warn("that a server refused the account could not be kept")
	}
}
