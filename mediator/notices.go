package main

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/cht-dhis2/mediator/config"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/notice"
	"github.com/cht-dhis2/mediator/internal/transport"
	"github.com/cht-dhis2/mediator/orchestration"
)

// The kinds of letters that notices become.
const (
	noticeMail    = "notice-mail"
	noticeWebhook = "notice-webhook"
)

const (
	webhookTimeout = 30 * time.Second
	webhookBody    = 64 << 10
	// lookEvery is how often somebody looks for what time brings.
	lookEvery = time.Minute
)

// others are those who are told of what ends: OpenHIM, and people.
type others struct {
	settings  *config.Config
	submitter *orchestration.Submitter
	log       *logrus.Entry
	notices   *orchestration.Notices
	couriers  []*orchestration.Courier
	openHIM   *openHIM // nil without one
}

// newOthers joins a submitter with those who are told. Without a way to people none are.
func newOthers(settings *config.Config, s *orchestration.Submitter, log *logrus.Entry) (*others, error) {
	o := &others{settings: settings, submitter: s, log: log}
	o.notices = &orchestration.Notices{Submitter: s, Installation: settings.Notices.Name, WaitingAfter: settings.Notices.WaitingAfter}
	for _, server := range settings.DHIS2 {
		if server.Token.IsSet() {
			o.notices.Tokens = append(o.notices.Tokens, server.Name)
		}
	}
	send, err := couriersOf(settings.Notices, s.Now)
	if err != nil {
		return nil, err
	}
	for _, kind := range sortedNames(send) {
		o.notices.Channels = append(o.notices.Channels, kind)
		o.couriers = append(o.couriers, &orchestration.Courier{Ledger: s.Ledger, Kind: kind, Send: send[kind], Now: s.Now, Log: log})
	}
	if settings.OpenHIM.IsSet() {
		if o.openHIM, err = newOpenHIM(settings.OpenHIM, s, log); err != nil {
			return nil, err
		}
		o.openHIM.postman.Alarm = o.notices.Parked
		o.notices.OpenHIM = []string{orchestration.LetterOpenHIM, orchestration.LetterOpenHIMDay}
	}
	if o.openHIM != nil || len(o.couriers) > 0 {
		s.Told = o.letters
	}
	return o, nil
}

// letters are those that an end leaves.
func (o *others) letters(ctx context.Context, c orchestration.Conclusion) ([]ledger.Letter, error) {
	letters, err := o.notices.Letters(ctx, c)
	if err != nil || o.openHIM == nil {
		return letters, err
	}
	reports, err := o.openHIM.telling.Letters(ctx, c)
	o.openHIM.postman.Poke()
	return append(letters, reports...), err
}

// serve lets the service tell, as long as it works.
func (o *others) serve(service *orchestration.Service) error {
	for _, courier := range o.couriers {
		service.Beside = append(service.Beside, courier.Run)
	}
	if len(o.couriers) > 0 {
		service.Beside = append(service.Beside, o.look)
	}
	if o.openHIM == nil {
		return nil
	}
	return o.openHIM.serve(o.settings, service)
}

// deliverFor is how long a command tries to deliver what it leaves; a report waits a second before it goes.
const deliverFor = 5 * time.Second

// deliver tries to deliver what waits, for a command that ends.
func (o *others) deliver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deliverFor)
	defer cancel()
	for _, courier := range o.couriers {
		if _, err := courier.Deliver(ctx); err != nil {
			o.log.WithError(err).Warn("notices wait for the service to deliver them")
		}
	}
	if o.openHIM == nil {
		return
	}
	if err := o.openHIM.deliver(ctx); err != nil {
		o.log.WithError(err).Warn("reports to OpenHIM wait for the service to deliver them")
	}
}

// couriersOf gives the ways to people that are set, by the kind of their letters.
func couriersOf(ways config.Notices, now func() time.Time) (map[string]func(context.Context, notice.Notice) error, error) {
	send := map[string]func(context.Context, notice.Notice) error{}
	if ways.SMTPHost != "" {
		send[noticeMail] = notice.Mail{
			Host: ways.SMTPHost, Port: ways.SMTPPort, TLS: notice.TLS(ways.SMTPTLS), Username: ways.SMTPUsername, Password: ways.SMTPPassword.Reveal,
			CAFile: ways.SMTPCAFile, From: ways.From, To: ways.To, Now: now,
		}.Send
	}
	if ways.WebhookURL.IsSet() {
		client, err := transport.New(transport.Config{UserAgent: userAgent, HeaderTimeout: webhookTimeout, Timeout: webhookTimeout, MaxBody: webhookBody})
		if err != nil {
			return nil, err
		}
		send[noticeWebhook] = notice.Webhook{Address: ways.WebhookURL.Reveal, Client: client}.Send
	}
	return send, nil
}

// look looks for what time brings until the context ends.
func (o *others) look(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := o.notices.Look(ctx); err != nil && ctx.Err() == nil {
				o.log.WithError(err).Error("what people have to be told could not be looked for")
			}
		}
	}
}
