package orchestration

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/openhim"
)

// Hub is what an examination needs of OpenHIM.
type Hub struct {
	Client *openhim.Client
	Peer   func() Peer
	// URN and Channel are what the mediator and its channel are called there.
	URN, Channel string
	// Heartbeat is how often the mediator sends one.
	Heartbeat time.Duration
	// Registration says what is wrong with what the mediator registers with.
	Registration error
	// Standing says why OpenHIM does not know the mediator at present; nil where nobody tries.
	Standing func() error
}

// examineOpenHIM looks at OpenHIM: its address and account, its version and clock, what the account may, and the channel.
func (r *examining) examineOpenHIM(ctx context.Context, p sheet) {
	h := r.OpenHIM
	if h.Registration != nil {
		p.red("registration", Configuration, h.Registration).Who = us
	}
	if h.Client == nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, serverFor)
	defer cancel()
	about, err := h.Client.About(limited)
	if err != nil {
		reason := Fault
		if isOpenHIM(err, openhim.Credentials) {
			reason = Credentials
		}
		p.red("connection", reason, err)
		r.way(p, h.Peer)
		return
	}
	p.green("connection", "OpenHIM "+about.Version+", credentials accepted")
	r.way(p, h.Peer)
	openHIMVersion(p, about.Version)
	life, err := h.Client.Life(limited, h.URN)
	standing := error(nil)
	if h.Standing != nil {
		standing = h.Standing()
	}
	switch {
	case standing != nil:
		p.amber("permissions", standing.Error(), hintOf(standing))
	case isForbidden(err):
		p.red("permissions", Credentials, err)
	case err != nil:
		p.amber("permissions", err.Error(), hintOf(err))
	case life.Heartbeat.IsZero():
		p.green("permissions", "the account may look at mediators; that it may register is shown by mediator serve")
	default:
		p.green("permissions", "the mediator is known, and its last heartbeat was taken on "+minute(life.Heartbeat))
	}
	r.channel(limited, p, h)
	r.reports(limited, p)
	if err == nil && !life.Heartbeat.IsZero() {
		r.anotherMediator(limited, p, life)
	}
}

func isOpenHIM(err error, kind openhim.Kind) bool {
	var known *openhim.Error
	return errors.As(err, &known) && known.Kind == kind
}

// openHIMVersion tells what an older OpenHIM does otherwise.
func openHIMVersion(p sheet, version string) {
	if isBefore(version, 5, 1) {
		p.amber("version", version+" knows logins by token only, and refuses them where the clocks differ by more than 10 seconds", "update OpenHIM to 5.1 or later, 8.5 at best")
		return
	}
	p.green("version", "no fault is known of "+version+" that is not minded")
}

// channel looks at the channel under which reports appear, and through which people ask for submissions.
func (*examining) channel(ctx context.Context, p sheet, h *Hub) {
	channel, err := h.Client.Channel(ctx, h.Channel)
	if err != nil {
		remedy := "start mediator serve once, which registers the mediator and installs its channel"
		if !isOpenHIM(err, openhim.Unknown) {
			remedy = hintOf(err)
		}
		p.amber("channel", err.Error(), remedy)
		return
	}
	if faults := channel.Faults(); len(faults) > 0 {
		p.amber("channel", "\""+h.Channel+"\" is there, and "+strings.Join(faults, "; "), "change the channel in OpenHIM's console")
		return
	}
	p.green("channel", "\""+h.Channel+"\" is there")
}

// reports tells of reports that OpenHIM did not take, as the store knows them.
func (r *examining) reports(ctx context.Context, p sheet) {
	if r.store == nil {
		return
	}
	backlog, err := r.store.Backlog(ctx, LetterOpenHIM, LetterOpenHIMDay)
	switch {
	case err != nil: // told by the check of the store
	case backlog.Parked > 0:
		p.amber("reports", counted(backlog.Parked, "report")+" was refused by OpenHIM", "look at the mediator's log, and give the account the permission channel-manage-all")
	case backlog.Failed > 0:
		p.amber("reports", counted(backlog.Failed, "report")+" was tried in vain, and is tried again", "look at OpenHIM, and at the network on the way to it")
	default:
		p.green("reports", "none was refused")
	}
}

// heartbeatLate is after how long OpenHIM takes a mediator for dead; two clocks differ by less, too.
const heartbeatLate = time.Minute

// anotherMediator looks for a mediator that works with another store under the same name, as when two installations were
// pointed at one DHIS2 by mistake. OpenHIM shows it by its heartbeats: they come while nobody works this store, or from a
// process that began after the one that works it.
func (r *examining) anotherMediator(ctx context.Context, p sheet, life openhim.Life) {
	if r.store == nil {
		return
	}
	worker := r.store.Worker(ctx)
	_, text, _ := strings.Cut(worker, "since ")
	text, _, _ = strings.Cut(text, " ")
	since, err := time.Parse(time.RFC3339, text)
	found := ""
	switch {
	case worker == "" && time.Since(life.Heartbeat) < heartbeatLate && r.beatsAgain(ctx, life):
		found = "nobody works this store"
	case err == nil && life.Began.After(since.Add(heartbeatLate)):
		found = "they come from a process that began at " + life.Began.UTC().Format(time.RFC3339) + ", after the one that works this store"
	}
	if found != "" {
		p.amber("mediator", "another mediator sends heartbeats as "+r.OpenHIM.URN+": "+found,
			"let both work with one store, or give one of them another openhim.urn and other data sets: two stores that send the same one overwrite each other").Who = us
	}
}

// beatsAgain waits for another heartbeat: one alone may come from a process that has just ended.
func (r *examining) beatsAgain(ctx context.Context, before openhim.Life) bool {
	wait := time.NewTimer(r.OpenHIM.Heartbeat + time.Second)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return false
	}
	life, err := r.OpenHIM.Client.Life(ctx, r.OpenHIM.URN)
	return err == nil && life.Heartbeat.After(before.Heartbeat)
}
