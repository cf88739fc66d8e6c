package orchestration

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/openhim"
)

// Postman delivers the letters to OpenHIM, those of a kind in their order, each once in effect: what is sent again, as
// after a crash, leaves OpenHIM as it is. A letter that OpenHIM does not take is made smaller, and kept here with an alarm
// when it does not take the smallest; never is one dropped.
type Postman struct {
	Ledger *ledger.Ledger
	Client *openhim.Client
	Limits openhim.Limits
	// Now gives the time; nil is time.Now.
	Now func() time.Time
	// Log may be nil.
	Log *logrus.Entry
	// Alarm is told of a report that OpenHIM will never take, before it is set aside; it may be told twice. It may be nil.
	Alarm func(ctx context.Context, letter ledger.Letter, why string)
	// Every is how often Run looks; 0 is 5 seconds.
	Every time.Duration
	// LongestPause is how long the pauses may grow while OpenHIM is away; 0 is 15 minutes.
	LongestPause time.Duration

	once sync.Once
	poke chan struct{}

	mu sync.Mutex // held while letters are delivered
	// trouble is the kind of trouble with OpenHIM that was logged last; empty is none.
	trouble openhim.Kind
	// stuck are, by kind, the letters that do not get through although OpenHIM answers.
	stuck map[string]stuck
	// channels are how the channels stood when they were last looked up.
	channels map[string]channel
	// awayAt is when OpenHIM took nothing the last time.
	awayAt time.Time
}

// stuck is a letter that OpenHIM does not take: how often in a row, since when.
type stuck struct {
	letter, times int
	since         time.Time
}

// channel is one that was there, or is missing: since when, where it was there before, and whether that was logged.
type channel struct {
	there  bool
	gone   time.Time
	logged bool
}

const (
	lookEvery = 5 * time.Second
	// firstPostponed is the first pause after OpenHIM was away.
	firstPostponed = 5 * time.Second
	// refusedPostponed is the pause after refused credentials, so that no account is locked.
	refusedPostponed = 2 * time.Minute
	// stuckLimit is how long a letter may hold up the others although OpenHIM answers: its 500 is a mistake of ours or
	// trouble of its own, and nobody can tell.
	stuckLimit = 24 * time.Hour
	// stuckWhole is how often a report goes as it is before it is made smaller for a 500.
	stuckWhole = 3
	// channelAwaited is how long a report waits for a channel that was there, and when OpenHIM was away: one that comes back
	// with an empty database gets it when the mediator has registered again.
	channelAwaited = time.Minute
	// A transaction that a client waits for is looked at again after this pause while its router may still be writing.
	settling    = 500 * time.Millisecond
	routerDone  = time.Minute
	overwritten = 3 // times in a row
)

// errNoChannel says that the channel will surely come again.
var errNoChannel = errors.New("OpenHIM has no channel for the report yet")

// errOverwritten says that OpenHIM took a report and does not show it.
var errOverwritten = errors.New("OpenHIM took the report, and shows another state of the transaction")

// Poke lets Run look soon, as there may be a new letter.
func (p *Postman) Poke() {
	select {
	case p.poked() <- struct{}{}:
	default:
	}
}

func (p *Postman) poked() chan struct{} {
	p.once.Do(func() { p.poke = make(chan struct{}, 1) })
	return p.poke
}

// Run delivers whatever is due, again and again, until the context ends.
func (p *Postman) Run(ctx context.Context) {
	every := p.Every
	if every == 0 {
		every = lookEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	storeAway := false
	for {
		_, err := p.Deliver(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !storeAway {
			p.log().WithError(err).Error("the outbox cannot be worked")
		}
		storeAway = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-p.poked():
			p.wait(ctx, moment) // a new letter is due a moment after it was posted
		}
	}
}

// wait lets a while pass, or less when the context ends.
func (*Postman) wait(ctx context.Context, while time.Duration) {
	timer := time.NewTimer(while)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (p *Postman) now() time.Time {
	if p.Now == nil {
		return time.Now()
	}
	return p.Now()
}

func (p *Postman) log() *logrus.Entry {
	if p.Log != nil {
		return p.Log
	}
	log := logrus.New()
	log.SetLevel(logrus.PanicLevel)
	return logrus.NewEntry(log)
}

// Deliver delivers what is due now, and says how many letters it did. That OpenHIM does not take one is no error: the
// letter waits in the outbox. The error is trouble with the store, or that the context ended.
func (p *Postman) Deliver(ctx context.Context) (sent int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, kind := range []string{LetterOpenHIM, LetterOpenHIMDay} {
		n, err := p.deliver(ctx, kind)
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

func (p *Postman) deliver(ctx context.Context, kind string) (sent int, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return sent, err
		}
		letter, due, err := p.Ledger.NextLetter(ctx, kind)
		if err != nil || !due {
			return sent, err
		}
		delivered, err := p.one(ctx, letter)
		if delivered {
			sent++
		}
		if err != nil && !errors.Is(err, ledger.ErrStale) { // stale: a newer letter took its place
			return sent, err
		}
	}
}

// one brings a letter to OpenHIM and books what became of it.
func (p *Postman) one(ctx context.Context, letter ledger.Letter) (delivered bool, err error) {
	storing := context.WithoutCancel(ctx)
	one, err := readTold(letter)
	if err != nil {
		return false, p.park(storing, letter, "the letter cannot be read: "+err.Error())
	}
	if one.Day != "" {
		empty, err := p.fill(ctx, &one)
		if err != nil {
			return false, err
		}
		if empty {
			return false, p.Ledger.Delivered(storing, letter)
		}
	}
	err = p.tell(ctx, letter, one)
	switch {
	case err == nil:
		p.back(storing)
		delete(p.stuck, letter.Kind)
		return true, p.Ledger.Delivered(storing, letter)
	case ctx.Err() != nil:
		return false, ctx.Err()
	}
	return false, p.keep(storing, letter, err)
}

func readTold(letter ledger.Letter) (one told, err error) {
	if err := json.Unmarshal(letter.Body, &one); err != nil {
		return one, err
	}
	if !openhim.IsID(one.Transaction.ID) || one.Transaction.Status == "" {
		return one, errors.New("it has no transaction with id and status")
	}
	if one.Day != "" {
		_, err = time.Parse(time.DateOnly, one.Day)
	}
	return one, err
}

// fill puts into a day's transaction what is to be told of the day; empty says that there is nothing any more.
func (p *Postman) fill(ctx context.Context, one *told) (empty bool, err error) {
	day, err := time.Parse(time.DateOnly, one.Day)
	if err != nil {
		return false, err
	}
	runs, err := unchangedOn(ctx, p.Ledger, day)
	if err != nil || len(runs) == 0 {
		return err == nil, err
	}
	one.Transaction = ofDay(one.Transaction, one.Day, runs).Report(p.Limits)
	return false, nil
}

// tell brings a report to OpenHIM, smaller ones where it does not take the whole.
func (p *Postman) tell(ctx context.Context, letter ledger.Letter, one told) error {
	fresh := one.Update && p.now().Sub(letter.CreatedAt) < routerDone
	whole := one.Transaction
	for step := 1; ; step++ {
		err := p.works(ctx, one.Transaction.ID, p.put(ctx, one, fresh))
		if !p.shrinks(letter, err) {
			return err
		}
		smaller, more := whole.Shrink(step)
		if !more {
			return err
		}
		p.log().WithField("transaction", whole.ID).WithField("reason", err.Error()).Warn("OpenHIM does not take a report, and gets a smaller one")
		one.Transaction = smaller
	}
}

// works tells a refusal that is about the report from one that OpenHIM, or what stands there in its place, has for
// everything: that is shown by reading.
func (p *Postman) works(ctx context.Context, id string, err error) error {
	if !isRefusal(err) {
		return err
	}
	switch _, reading := p.Client.Find(ctx, id); {
	case reading == nil, kindOf(reading) == openhim.Unknown, kindOf(reading) == openhim.Credentials: // it may write and not read
		return err
	default:
		return notOfReport(err)
	}
}

func isRefusal(err error) bool {
	kind := kindOf(err)
	return kind == openhim.Refused || kind == openhim.TooLarge
}

// notOfReport takes a refusal for OpenHIM being away.
func notOfReport(err error) error {
	var e *openhim.Error
	if !isRefusal(err) || !errors.As(err, &e) {
		return err
	}
	away := *e
	away.Kind, away.Temporary = openhim.Unavailable, true
	return &away
}

// shrinks says whether an error is a reason to try a smaller report. A 500 is one only when it stays, as it may be
// trouble of OpenHIM's own, and a report that was made small stays so.
func (p *Postman) shrinks(letter ledger.Letter, err error) bool {
	s := p.stuck[letter.Kind]
	return isRefusal(err) && (!mayPassByItself(err) || s.letter == letter.Number && s.times >= stuckWhole)
}

// put writes a report into its transaction, or makes the transaction where OpenHIM has none, and looks whether it is
// there: a router that answers late writes over it, and what stands before OpenHIM may answer 200 to everything.
func (p *Postman) put(ctx context.Context, one told, fresh bool) error {
	for try := 1; ; try++ {
		if err := p.write(ctx, one); err != nil {
			return err
		}
		if fresh {
			p.wait(ctx, settling)
		}
		found, err := p.Client.Find(ctx, one.Transaction.ID)
		switch {
		case kindOf(err) == openhim.Credentials: // it may write and not read
			return nil
		case err != nil && kindOf(err) != openhim.Unknown:
			return err
		case err == nil && shows(found, one.Transaction):
			return nil
		case try == overwritten:
			return errOverwritten
		}
		p.wait(ctx, moment)
	}
}

// write changes the transaction, or makes it where OpenHIM has none. Of one that is OpenHIM's the request stays as it is.
func (p *Postman) write(ctx context.Context, one told) (err error) {
	report := one.Transaction
	if one.Update {
		report.Request = nil
	} else if report.ChannelID, err = p.channel(ctx, one.Channel); err != nil {
		return err
	}
	err = p.Client.Update(ctx, report)
	if kindOf(err) != openhim.Unknown {
		return err
	}
	report.Request = one.Transaction.Request
	if report.ChannelID, err = p.channel(ctx, one.Channel); err != nil {
		return err
	}
	return p.Client.Create(ctx, report)
}

// shows says whether what OpenHIM has is what it was told.
func shows(found, report openhim.Transaction) bool {
	for _, name := range []string{"submission", "submissions"} {
		if told, is := report.Properties[name]; is && found.Properties[name] != told {
			return false
		}
	}
	return found.Status == report.Status
}

// kindOf gives the kind of an error of OpenHIM, empty for another one and for none.
func kindOf(err error) openhim.Kind {
	var e *openhim.Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.Kind
}

// mayPassByItself says whether an error of OpenHIM is worth another try later.
func mayPassByItself(err error) bool {
	var e *openhim.Error
	return errors.As(err, &e) && e.Temporary
}

// channel gives the id of the channel, or nothing where OpenHIM has none of the name: the report goes without one then.
func (p *Postman) channel(ctx context.Context, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	id, err := p.Client.ChannelID(ctx, name) // each time anew, as another OpenHIM may stand there
	if kindOf(err) == openhim.Unknown {
		return "", p.missing(name, err)
	}
	if err != nil {
		return "", notOfReport(err)
	}
	p.note(name, channel{there: true})
	return id, nil
}

// missing lets a report wait for its channel, or go without it.
func (p *Postman) missing(name string, why error) error {
	c := p.channels[name]
	if c.there {
		c = channel{gone: p.now()}
	}
	p.note(name, c)
	if now := p.now(); now.Sub(c.gone) < channelAwaited || now.Sub(p.awayAt) < channelAwaited {
		return errNoChannel
	}
	if !c.logged {
		p.log().WithField("channel", name).WithField("reason", why.Error()).Warn("transactions go without a channel")
		c.logged = true
		p.note(name, c)
	}
	return nil
}

func (p *Postman) note(name string, c channel) {
	if p.channels == nil {
		p.channels = map[string]channel{}
	}
	p.channels[name] = c
}

// keep lets a letter that was not delivered wait, or sets it aside where waiting does not help.
func (p *Postman) keep(ctx context.Context, letter ledger.Letter, err error) error {
	refused := isRefusal(err)
	if refused && !mayPassByItself(err) {
		return p.park(ctx, letter, err.Error())
	}
	longest := p.LongestPause
	if longest == 0 {
		longest = usualLongest
	}
	pause := min(firstPostponed<<min(letter.Attempts, 15), longest)
	switch {
	case refused, errors.Is(err, errOverwritten):
		if p.isStuck(letter) {
			return p.park(ctx, letter, err.Error())
		}
	case kindOf(err) == openhim.Credentials:
		pause = refusedPostponed
		delete(p.stuck, letter.Kind)
	case errors.Is(err, errNoChannel):
	default:
		p.awayAt = p.now()
		delete(p.stuck, letter.Kind)
	}
	p.away(err)
	pause -= rand.N(pause / 5)
	return p.Ledger.Postpone(ctx, letter, p.now().Add(pause), err.Error())
}

// isStuck counts a letter that does not get through although OpenHIM answers, and says whether that is for too long.
func (p *Postman) isStuck(letter ledger.Letter) bool {
	s := p.stuck[letter.Kind]
	if s.letter != letter.Number {
		s = stuck{letter: letter.Number, since: p.now()}
	}
	s.times++
	if p.stuck == nil {
		p.stuck = map[string]stuck{}
	}
	p.stuck[letter.Kind] = s
	return p.now().Sub(s.since) >= stuckLimit
}

// park sets a letter aside, with an alarm. It stays in the store.
func (p *Postman) park(ctx context.Context, letter ledger.Letter, why string) error {
	delete(p.stuck, letter.Kind)
	p.log().WithField("subject", letter.Subject).WithField("reason", why).Error("OpenHIM will never take a report; it is kept in the mediator's store")
	if p.Alarm != nil {
		p.Alarm(ctx, letter, why)
	}
	return p.Ledger.Park(ctx, letter, why)
}

// away logs trouble with OpenHIM once, however long it lasts.
func (p *Postman) away(err error) {
	kind := kindOf(err)
	if kind == "" {
		kind = openhim.Unavailable
	}
	if kind == p.trouble {
		return
	}
	p.trouble = kind
	log := p.log().WithField("reason", err.Error())
	if kind == openhim.Credentials {
		log.Error("OpenHIM refuses the account; reports wait in the outbox")
		return
	}
	log.Warn("OpenHIM does not take reports; they wait in the outbox")
}

// back logs that the trouble is over.
func (p *Postman) back(ctx context.Context) {
	if p.trouble == "" {
		return
	}
	p.trouble = ""
	log := p.log()
	if b, err := p.Ledger.Backlog(ctx); err == nil {
		log = log.WithField("waiting", b.Waiting)
	}
	log.Info("OpenHIM takes reports again")
}
