package orchestration

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/notice"
)

// Courier delivers the notices of one kind, in their order. A notice goes out at least once: one that was sent just before
// a crash goes again with the same id, by which receivers know it.
type Courier struct {
	Ledger *ledger.Ledger
	// Kind is that of its letters.
	Kind string
	// Send tries to deliver a notice once. It may give a *notice.Error.
	Send func(ctx context.Context, n notice.Notice) error
	// Now gives the time; nil is time.Now.
	Now func() time.Time
	// Log may be nil.
	Log *logrus.Entry

	mu sync.Mutex // held while letters are delivered
	// sent is the letter that was sent last: where that could not be booked, it is not sent again, only booked.
	sent int
	// refused is the letter that was refused last, and how often.
	refused, refusals int
}

const (
	courierEvery = 10 * time.Second
	// The pauses after a failure grow between these two.
	firstTry    = 10 * time.Second
	longestTry  = 30 * time.Minute
	refusedTry  = 15 * time.Minute
	mostRefused = 3
	// noticeKept is how long a notice is tried.
	noticeKept = 3 * 24 * time.Hour
)

// Run delivers whatever is due, again and again, until the context ends.
func (c *Courier) Run(ctx context.Context) {
	ticker := time.NewTicker(courierEvery)
	defer ticker.Stop()
	var unparked time.Time
	for storeAway := false; ; {
		if now := c.now(); now.Sub(unparked) >= againEvery {
			if _, err := c.Ledger.Unpark(ctx, c.Kind, noticeKept); err == nil { // who receives them may be mended
				unparked = now
			}
		}
		_, err := c.Deliver(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !storeAway {
			c.log().WithError(err).Error("the notices cannot be delivered")
		}
		storeAway = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Deliver delivers what is due now, and says how many notices it did. That one cannot be delivered is no error: it waits.
// The error is trouble with the store, or says that the context ended.
func (c *Courier) Deliver(ctx context.Context) (delivered int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return delivered, err
		}
		letter, due, err := c.Ledger.NextLetter(ctx, c.Kind)
		if err != nil || !due {
			return delivered, err
		}
		done, err := c.one(ctx, letter)
		if done {
			delivered++
		}
		if err != nil && !errors.Is(err, ledger.ErrStale) { // stale: there is newer news of its cause
			return delivered, err
		}
	}
}

// one tries a letter and books what became of it.
func (c *Courier) one(ctx context.Context, letter ledger.Letter) (delivered bool, err error) {
	storing := context.WithoutCancel(ctx)
	log := c.log().WithField("kind", c.Kind).WithField("cause", letter.Subject)
	if letter.Number == c.sent {
		return true, c.Ledger.Delivered(storing, letter)
	}
	var n notice.Notice
	if err := json.Unmarshal(letter.Body, &n); err != nil {
		log.WithError(err).Error("a notice cannot be read, and is set aside")
		return false, c.Ledger.Park(storing, letter, "it cannot be read: "+err.Error())
	}
	n.ID = strings.Join([]string{letter.Subject, letter.Version, letter.CreatedAt.UTC().Format(time.RFC3339Nano)}, " ")
	err = c.Send(ctx, n)
	var failure *notice.Error
	known := errors.As(err, &failure)
	switch {
	case err == nil:
		c.sent = letter.Number
		return true, c.Ledger.Delivered(storing, letter)
	case known && failure.Delivered:
		c.sent = letter.Number
		log.WithError(err).WithField("remedy", failure.Remedy).Error("a notice did not reach everybody")
		return true, c.Ledger.Delivered(storing, letter)
	case ctx.Err() != nil:
		return false, ctx.Err()
	}
	if known {
		log = log.WithField("remedy", failure.Remedy)
	}
	return false, c.keep(storing, log.WithError(err), letter, err)
}

// keep lets a letter that could not be delivered wait, or sets it aside where waiting does not help any more.
func (c *Courier) keep(ctx context.Context, log *logrus.Entry, letter ledger.Letter, err error) error {
	now := c.now()
	if now.Sub(letter.CreatedAt) >= noticeKept {
		log.Error("a notice could not be delivered for days, and is dropped")
		return c.Ledger.Park(ctx, letter, err.Error())
	}
	if c.refused != letter.Number {
		c.refused, c.refusals = letter.Number, 0
	}
	pause := min(firstTry<<min(letter.Attempts, 10), longestTry)
	var failure *notice.Error
	if errors.As(err, &failure) && !failure.Temporary {
		if c.refusals++; c.refusals >= mostRefused {
			log.Error("a notice is refused for good, and is set aside")
			return c.Ledger.Park(ctx, letter, err.Error())
		}
		pause = refusedTry
	}
	pause += rand.N(pause/5) - pause/10
	log.WithField("again_in", pause.Round(time.Second).String()).Warn("a notice could not be delivered, and waits")
	return c.Ledger.Postpone(ctx, letter, now.Add(pause), err.Error())
}

func (c *Courier) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func (c *Courier) log() *logrus.Entry {
	if c.Log != nil {
		return c.Log
	}
	log := logrus.New()
	log.SetLevel(logrus.PanicLevel)
	return logrus.NewEntry(log)
}
