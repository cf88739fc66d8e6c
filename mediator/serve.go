package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sirupsen/logrus"

	"github.com/cht-dhis2/mediator/config"
	"github.com/cht-dhis2/mediator/handlers"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

type serveCommand struct {
	settingsFlags
}

// Run serves until it is stopped: it takes requests, keeps the schedule, and is known to OpenHIM.
func (c serveCommand) Run(a *app) error {
	err := c.start(a)
	if a.ctx.Err() != nil && errors.Is(err, context.Canceled) { // it was stopped while it started, which is no fault
		return nil
	}
	return err
}

func (c serveCommand) start(a *app) error {
	settings, err := c.load(a)
	if err != nil {
		return err
	}
	log, err := serviceLog(a, settings, c.LogLevel)
	if err != nil {
		return err
	}
	s, err := newSubmitter(settings, a, log)
	if err != nil {
		return err
	}
	l, err := ledger.Open(a.ctx, store(settings, a))
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // what had to be stored is
	if err := errors.Join(s.Remember(l), s.LoadConsole(a.ctx)); err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.Metrics = orchestration.NewMetrics(registry)
	service := orchestration.NewService(s)
	service.Keep = ledger.Keep{Evidence: settings.KeepMonths}
	registry.MustRegister(orchestration.NewStoreMetrics(service.Scheduler))
	others, err := newOthers(settings, s, log)
	if err == nil {
		err = others.serve(service)
	}
	if err != nil {
		return err
	}
	warnAtStart(settings, log)
	examiner := newExaminer(settings, s)
	if others.openHIM != nil {
		examiner.OpenHIM.Standing = others.openHIM.registrar.Err
	}
	service.Beside = append(service.Beside, examiner.Watch)
	return c.serve(a, settings, service, door{registry, examiner})
}

// door is what the service shows beside its submissions.
type door struct {
	registry *prometheus.Registry
	examiner *orchestration.Examiner
}

// serve listens and works until the context ends.
func (serveCommand) serve(a *app, settings *config.Config, service *orchestration.Service, shown door) error {
	metrics := promhttp.HandlerFor(shown.registry, promhttp.HandlerOpts{})
	door := handlers.Config{
		Submitter: service.Submitter, Poll: service.Tick, Schedule: service.Schedule, Ready: service.Ready, Examine: shown.examiner.Recent,
		Requests: settings.Requests, Previews: settings.Previews, Limits: shown.registry,
		Open: settings.Open, URN: settings.OpenHIM.URN, Now: service.Now, Log: service.Log,
	}
	for _, c := range settings.Callers {
		door.Callers = append(door.Callers, handlers.Caller{Name: c.Name, Username: c.Username, Password: reveal(c.Password), Token: reveal(c.Token), MaySeeWorkers: c.Workers})
	}
	if settings.Metrics.Username != "" {
		door.MetricsCaller = &handlers.Caller{Name: "metrics", Username: settings.Metrics.Username, Password: reveal(settings.Metrics.Password)}
	}
	addresses := map[string]http.Handler{}
	if settings.Metrics.Listen == "" {
		door.Metrics = metrics
	} else {
		alone, err := handlers.MetricsOnly(door, metrics)
		if err != nil {
			return err
		}
		addresses[settings.Metrics.Listen] = alone
	}
	handler, err := handlers.New(door)
	if err != nil {
		return err
	}
	addresses[settings.Listen] = handler
	return work(a.ctx, addresses, service)
}

// reveal gives the secret when it is asked for; nil where there is none.
func reveal(secret config.Secret) func() (string, error) {
	if !secret.IsSet() {
		return nil
	}
	return secret.Reveal
}

// closing is how long requests under way may take when the service stops.
const closing = 10 * time.Second

// work serves the addresses and runs the service until the context ends, or one of them cannot go on.
func work(ctx context.Context, addresses map[string]http.Handler, service *orchestration.Service) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	ended := make(chan error, len(addresses))
	for _, address := range sortedNames(addresses) {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			stop()
			all.Wait()
			return &orchestration.UsageError{What: fmt.Sprintf("listen at %s: %v", address, err), Remedy: "set listen (or metrics.listen) to a free address, or end what listens there"}
		}
		server := handlers.Server(address, addresses[address])
		service.Log.WithField("address", listener.Addr().String()).Info("listening")
		all.Go(func() {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				ended <- err
				stop()
			}
		})
		all.Go(func() {
			<-ctx.Done()
			closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
			defer cancel()
			_ = server.Shutdown(closing) // who is not finished by then is cut off
			_ = server.Close()
		})
	}
	err := service.Run(ctx)
	stop()
	all.Wait()
	select {
	case failed := <-ended:
		return errors.Join(failed, err)
	default:
		return err
	}
}

// warnAtStart says what is open, or goes in the clear.
func warnAtStart(settings *config.Config, log *logrus.Entry) {
	if settings.Open {
		log.Warn("the door is open: everybody who reaches this port may submit and read; take `open: true` out, and name callers")
	}
	if !settings.Open && len(settings.Callers) == 0 {
		log.Warn("nobody may call: callers are not set, so that the door stays closed but for liveness")
	}
	if settings.OpenHIM.TrustAny {
		log.Warn("every certificate of OpenHIM is taken, so that anybody on the way can read the password; set openhim.fingerprint or openhim.ca_file")
	}
	for name, plain := range map[string]bool{"openhim.api_url": insecure(settings.OpenHIM.URL), "openhim.router_url": insecure(settings.OpenHIM.RouterURL)} {
		if plain {
			log.WithField("setting", name).Warn("the password goes to OpenHIM in the clear: use https, or a network that is yours alone")
		}
	}
}

// serviceLog is the log of the service, as the settings say unless the flag does.
func serviceLog(a *app, settings *config.Config, flag string) (*logrus.Entry, error) {
	if flag == "" {
		flag = settings.LogLevel
	}
	log, err := newLog(a, flag)
	if err == nil && settings.LogFormat == "json" {
		log.Logger.SetFormatter(&logrus.JSONFormatter{})
	}
	return log, err
}
