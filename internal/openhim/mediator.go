package openhim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// RegistrarConfig says what a Registrar keeps known.
type RegistrarConfig struct {
	// Registration is complete and checked.
	Registration Registration
	// Interval is the time between heartbeats; zero means 20 s. OpenHIM shows a mediator as late after 60 s.
	Interval time.Duration
	// Configured gets each configuration that differs from the one before, a JSON object, beginning with the first. It
	// is called from Run, one at a time. Nil ignores them.
	Configured func(ctx context.Context, config json.RawMessage)
	// Remember keeps a short text for the next process, in place of the one before, and Recall gives it back, empty where
	// there is none: which channels are still to be installed is known to nobody else. Nil for both remembers nothing.
	Remember func(ctx context.Context, text string) error
	Recall   func(ctx context.Context) (string, error)
	// Told gets each change between being known, being forgotten and the failures, once; an interval without a change
	// tells nothing. It is called from Run. Nil ignores them.
	Told func(Event)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Event is a change in how OpenHIM and the mediator stand.
type Event struct {
	// Registered says that the mediator has just registered, for the first time where New is set too.
	Registered, New bool
	// Err is why the mediator is not known at present; nil when it is.
	Err error
}

// Registrar keeps the mediator known to OpenHIM: it registers it, sends heartbeats, registers it again when OpenHIM has
// forgotten it, and brings what people set in the console. OpenHIM may be away for any time, and may start later.
type Registrar struct {
	client *Client
	config RegistrarConfig
	start  time.Time

	mu   sync.Mutex
	seen time.Time
	last error

	// What follows is Run's own.
	registered, recalled, install, beaten bool
	told                                  string
	configuration                         []byte
	failures                              int
}

// NewRegistrar makes a Registrar. The mediator's uptime counts from here.
func NewRegistrar(client *Client, config RegistrarConfig) *Registrar {
	if config.Interval <= 0 {
		config.Interval = defaultInterval
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Registrar{client: client, config: config, start: config.Now()}
}

const (
	defaultInterval = 20 * time.Second
	// slowly is how long to wait for a person, who has to mend a setting or an account.
	slowly = 2 * time.Minute
	// longest is how long to wait for OpenHIM when it is away.
	longest = 30 * time.Second
)

// Seen is when OpenHIM last took a heartbeat; the zero time when it has taken none yet.
func (r *Registrar) Seen() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// Err is why the mediator is not known at present; nil when it is, and before the first try.
func (r *Registrar) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// Run works until the context ends.
func (r *Registrar) Run(ctx context.Context) {
	for {
		alive, err := r.round(ctx)
		if ctx.Err() != nil {
			return
		}
		r.note(err)
		pause := r.config.Interval
		if !alive {
			pause = r.pause(err)
		}
		rest := time.NewTimer(pause)
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return
		}
	}
}

// round does what there is to do: a heartbeat, and before it the registration and the channels where they are due. A
// mediator that OpenHIM has forgotten registers at once. Channels that cannot be installed keep no heartbeat back;
// alive says that one was taken.
func (r *Registrar) round(ctx context.Context) (alive bool, err error) {
	if r.registered {
		err = r.beatWithChannels(ctx)
		if !errors.Is(err, ErrForgotten) {
			return r.beaten, err
		}
		r.registered = false
		r.tell(Event{Err: err})
	}
	r.beaten = false
	if err := r.register(ctx); err != nil {
		return false, err
	}
	err = r.beatWithChannels(ctx)
	return r.beaten, err
}

// beatWithChannels sends a heartbeat after trying to install the channels where that is due.
func (r *Registrar) beatWithChannels(ctx context.Context) error {
	missing := r.installChannels(ctx)
	err := r.beat(ctx)
	r.beaten = err == nil
	if err != nil {
		return err
	}
	return missing
}

// register makes the mediator known. A first heartbeat shows whether it is new to this OpenHIM: only then its channels
// are installed, so that one which a person has deleted since stays deleted. That is remembered before the mediator is
// known, as a process that is killed before it has installed them leaves a mediator that is new no more.
func (r *Registrar) register(ctx context.Context) error {
	if err := r.recall(ctx); err != nil {
		return err
	}
	_, err := r.client.Heartbeat(ctx, r.config.Registration.URN, r.uptime())
	isNew := errors.Is(err, ErrForgotten)
	if err != nil && !isNew {
		return err
	}
	if isNew {
		if err := r.remember(ctx, channelsMissing); err != nil {
			return err
		}
		r.install = true
	}
	if err := r.client.Register(ctx, r.config.Registration); err != nil {
		return err
	}
	r.registered = true
	r.tell(Event{Registered: true, New: isNew})
	return nil
}

func (r *Registrar) installChannels(ctx context.Context) error {
	if !r.install {
		return nil
	}
	var names []string
	for _, channel := range r.config.Registration.DefaultChannels {
		names = append(names, channel.Name)
	}
	if err := r.client.InstallChannels(ctx, r.config.Registration.URN, names...); err != nil {
		return err
	}
	if err := r.remember(ctx, ""); err != nil {
		return err
	}
	r.install = false
	return nil
}

// channelsMissing is remembered from before the registration of a new mediator until its channels are installed.
const channelsMissing = "channels missing"

// recall takes up what an earlier process has left to do.
func (r *Registrar) recall(ctx context.Context) error {
	if r.recalled || r.config.Recall == nil {
		return nil
	}
	text, err := r.config.Recall(ctx)
	if err != nil {
		return err
	}
	r.recalled, r.install = true, r.install || text == channelsMissing
	return nil
}

func (r *Registrar) remember(ctx context.Context, text string) error {
	if r.config.Remember == nil {
		return nil
	}
	return r.config.Remember(ctx, text)
}

// beat sends a heartbeat and hands on what has changed in the console.
func (r *Registrar) beat(ctx context.Context) error {
	config, err := r.client.Heartbeat(ctx, r.config.Registration.URN, r.uptime())
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.seen = r.config.Now()
	r.mu.Unlock()
	same := canonical(config)
	if config == nil || bytes.Equal(same, r.configuration) {
		return nil
	}
	r.configuration = same
	if r.config.Configured != nil {
		r.config.Configured(ctx, config)
	}
	return nil
}

// canonical writes JSON in one way, whatever the order of its keys.
func canonical(text []byte) []byte {
	var value any
	if json.Unmarshal(text, &value) != nil {
		return text
	}
	same, err := json.Marshal(value)
	if err != nil {
		return text
	}
	return same
}

func (r *Registrar) uptime() time.Duration { return r.config.Now().Sub(r.start) }

// note keeps how a round ended, and tells it when that is another way than before.
func (r *Registrar) note(err error) {
	r.mu.Lock()
	r.last = err
	r.mu.Unlock()
	r.failures++
	if err == nil {
		r.failures = 0
	}
	r.tell(Event{Err: err})
}

// tell hands an event on, unless it is the last one again.
func (r *Registrar) tell(e Event) {
	const known = "known"
	text := known
	if e.Err != nil {
		text = e.Err.Error()
	}
	if !e.Registered && text == r.told || r.config.Told == nil {
		return
	}
	var spared interface{ NotTried() bool }
	if r.told != "" && r.told != known && errors.As(e.Err, &spared) && spared.NotTried() {
		return // the failure that was told goes on
	}
	r.told = text
	r.config.Told(e)
}

// pause is the time until the next round when OpenHIM took no heartbeat: growing while it is away, long while a person
// has to do something. The pauses vary, so that mediators do not come back all at once.
func (r *Registrar) pause(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) && !e.Temporary {
		return slowly
	}
	pause := min(time.Second<<min(r.failures-1, 10), longest)
	return pause/2 + rand.N(pause/2)
}
