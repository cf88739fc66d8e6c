package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	document "github.com/cht-dhis2/mediator"
	"github.com/cht-dhis2/mediator/config"
	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/transport"
	"github.com/cht-dhis2/mediator/orchestration"
)

// openHIM is what the program has of OpenHIM.
type openHIM struct {
	settings  config.OpenHIM
	client    *openhim.Client
	registrar *openhim.Registrar
	telling   orchestration.Telling
	postman   *orchestration.Postman
	log       *logrus.Entry
}

const openHIMTimeout = 30 * time.Second

// openHIMClient makes the client of OpenHIM's API, and what tells of the way to it.
func openHIMClient(settings config.OpenHIM, now func() time.Time) (*openhim.Client, func() orchestration.Peer, error) {
	way := transport.Config{
		CAFile: settings.CAFile, Fingerprint: settings.Fingerprint, TrustAny: settings.TrustAny, UserAgent: userAgent,
		HeaderTimeout: openHIMTimeout, Timeout: openHIMTimeout,
	}
	client, err := transport.New(way)
	if err != nil {
		return nil, nil, &config.Error{Mistakes: []string{"openhim: " + err.Error()}}
	}
	return openhim.New(settings.URL, client, openhim.Account{Username: settings.Username, Password: settings.Password.Reveal, Now: now}), peerOf(settings.URL, way, client), nil
}

// registration completes the document with what this installation is.
func registration(settings *config.Config) (openhim.Registration, error) {
	r, err := openhim.ParseRegistration(document.MediatorConfig)
	if err != nil {
		return r, err
	}
	o := settings.OpenHIM
	host, port := o.Host, o.Port
	if host == "" {
		if host, err = os.Hostname(); err != nil {
			return r, fmt.Errorf("find the host name of this machine: %w", err)
		}
	}
	if port == 0 {
		if port, err = portOf(settings.Listen); err != nil {
			return r, err
		}
	}
	r.URN = o.URN
	r = r.Fill(version, host, port)
	username, password, err := routeCredential(settings)
	if err != nil {
		return r, err
	}
	for i := range r.DefaultChannels {
		r.DefaultChannels[i].Name = o.Channel
		for j := range r.DefaultChannels[i].Routes {
			r.DefaultChannels[i].Routes[j].Username, r.DefaultChannels[i].Routes[j].Password = username, password
		}
	}
	return r, r.Check()
}

func portOf(listen string) (int, error) {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

// routeCredential is what OpenHIM's route says at our door: the one secret that OpenHIM is given.
func routeCredential(settings *config.Config) (username, password string, err error) {
	for _, caller := range settings.Callers {
		if caller.Name == settings.OpenHIM.Caller {
			password, err = caller.Password.Reveal()
			return caller.Username, password, err
		}
	}
	return "", "", nil
}

// newOpenHIM joins a submitter with OpenHIM.
func newOpenHIM(settings config.OpenHIM, s *orchestration.Submitter, log *logrus.Entry) (*openHIM, error) {
	client, _, err := openHIMClient(settings, s.Now)
	if err != nil {
		return nil, err
	}
	limits := openhim.Limits{Body: int(settings.BodyLimit)}
	client.Limits = limits
	o := &openHIM{
		settings: settings, client: client, log: log,
		postman: &orchestration.Postman{Ledger: s.Ledger, Client: client, Limits: limits, Now: s.Now, Log: log, Every: reportsEvery, LongestPause: s.LongestPause},
		telling: orchestration.Telling{
			Channel: settings.Channel, URN: settings.URN, Limits: limits, Ledger: s.Ledger, Now: s.Now,
			Fault: func() string { return s.ConsoleFault(context.Background()) }, Untold: s.Untold,
		},
	}
	s.Parent = o.parentPeriod
	return o, nil
}

const (
	// reportsEvery is how often somebody looks for reports that are due.
	reportsEvery = 2 * time.Second
	// reportMoment is a little longer than a report waits before it goes.
	reportMoment = 1200 * time.Millisecond
)

// deliver delivers the reports that a command leaves.
func (o *openHIM) deliver(ctx context.Context) error {
	backlog, err := o.postman.Ledger.Backlog(ctx)
	if err != nil || backlog.Waiting == 0 {
		return err
	}
	select {
	case <-time.After(reportMoment):
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err = o.postman.Deliver(ctx)
	return err
}

// registrationKept is the setting in which the store keeps what the registration has still to do.
const registrationKept = "openhim registration"

// serve lets the service be known to OpenHIM and report to it.
func (o *openHIM) serve(settings *config.Config, service *orchestration.Service) error {
	document, err := registration(settings)
	if err != nil {
		return err
	}
	o.registrar = openhim.NewRegistrar(o.client, openhim.RegistrarConfig{
		Registration: document, Interval: settings.OpenHIM.Heartbeat, Now: service.Now,
		Configured: func(ctx context.Context, config json.RawMessage) { service.Configured(ctx, config) },
		Told:       o.told,
		Remember: func(ctx context.Context, text string) error {
			return service.Ledger.SaveSetting(ctx, registrationKept, []byte(text))
		},
		Recall: func(ctx context.Context) (string, error) {
			text, _, err := service.Ledger.Setting(ctx, registrationKept)
			return string(text), err
		},
	})
	service.OpenHIM = o.check
	service.Beside = append(service.Beside, o.registrar.Run, o.postman.Run)
	if settings.OpenHIM.RouterURL != nil {
		service.Router, err = router(settings.OpenHIM)
	}
	return err
}

// told logs each change in how we stand with OpenHIM.
func (o *openHIM) told(e openhim.Event) {
	var hint interface{ Hint() string }
	switch {
	case errors.As(e.Err, &hint):
		o.log.WithError(e.Err).WithField("remedy", hint.Hint()).Warn("OpenHIM does not know the mediator at present")
	case e.Err != nil:
		o.log.WithError(e.Err).Warn("OpenHIM does not know the mediator at present")
	case e.Registered:
		o.log.WithField("urn", o.settings.URN).Info("registered with OpenHIM")
	default:
		o.log.Info("OpenHIM knows the mediator")
	}
}

func (o *openHIM) check() orchestration.Check {
	c := orchestration.Check{Name: "OpenHIM", State: "unknown"}
	if seen := o.registrar.Seen(); !seen.IsZero() {
		c.State, c.Since = "ok", &seen
	}
	err := o.registrar.Err()
	if err == nil {
		return c
	}
	c.State, c.Reason = "failed", "openhim_unavailable"
	var known *openhim.Error
	if errors.As(err, &known) && known.Kind == openhim.Credentials {
		c.Reason = "credentials"
	}
	return c
}

// mostParents is how far a chain of re-runs is followed.
const mostParents = 10

// parentPeriod reads the period out of the transaction that a person runs again, or of the one that that one ran again.
func (o *openHIM) parentPeriod(ctx context.Context, transaction string) (string, error) {
	for range mostParents {
		t, err := o.client.Find(ctx, transaction)
		if err != nil {
			return "", err
		}
		if period := t.Properties["period"]; period != "" {
			return period, nil
		}
		if t.ParentID == "" {
			break
		}
		transaction = t.ParentID
	}
	return "", errors.New("OpenHIM's transaction has no period among its properties")
}

// router makes the call with which the schedule triggers through OpenHIM's own channel.
func router(settings config.OpenHIM) (func(context.Context, orchestration.Request) (string, error), error) {
	client, err := transport.New(transport.Config{
		Authorization: basic(settings.ClientID, settings.ClientPassword), UserAgent: userAgent,
		CAFile: settings.CAFile, Fingerprint: settings.Fingerprint, TrustAny: settings.TrustAny,
		HeaderTimeout: openHIMTimeout, Timeout: openHIMTimeout,
	})
	if err != nil {
		return nil, &config.Error{Mistakes: []string{"openhim.router_url: " + err.Error()}}
	}
	address := strings.TrimSuffix(settings.RouterURL.String(), "/") + "/cht-dhis2/submissions"
	return func(ctx context.Context, r orchestration.Request) (string, error) {
		return trigger(ctx, client, address, r)
	}, nil
}

func trigger(ctx context.Context, client *transport.Client, address string, r orchestration.Request) (string, error) {
	const doing = "trigger a submission through OpenHIM's channel"
	body, err := json.Marshal(map[string]string{"data_set": r.DataSet, "period": r.Period, "cht": r.CHT})
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("%s: %w", doing, err)
	}
	request.Header.Set("Content-Type", "application/json")
	once := func(int, *http.Response, []byte, error) (time.Duration, bool) { return 0, false }
	response, content, err := client.Do(request, once) //nolint:bodyclose // Do has closed it
	if err != nil {
		return "", fmt.Errorf("%s: %w", doing, err)
	}
	var answer struct {
		ID string `json:"id"`
	}
	if response.StatusCode != http.StatusAccepted || json.Unmarshal(content, &answer) != nil || answer.ID == "" {
		return "", fmt.Errorf("%s: OpenHIM's router answered %d; check router_url, the client and the channel", doing, response.StatusCode)
	}
	return answer.ID, nil
}

// insecure says whether a password travels in the clear to an address.
func insecure(u *url.URL) bool { return u != nil && u.Scheme == "http" }
