package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/cht-dhis2/mediator/config"
	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/orchestration"
)

type doctorCommand struct {
	settingsFlags

	TryExport bool `help:"Also ask each CHT for an export, the only proof of the permission. The CHT reads a whole month for it."`
	JSON      bool `name:"json" help:"Print for machines."`
}

// check is one thing that was tried.
type check struct {
	Server string `json:"server"`
	Check  string `json:"check"`
	// Result is ok, warning or failed.
	Result string `json:"result"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
	reason orchestration.Reason
}

// Run tries everything, whatever fails on the way, and ends with the gravest finding.
func (c doctorCommand) Run(a *app) error {
	settings, err := c.load(a)
	if err != nil {
		return err
	}
	log, err := newLog(a, cmp.Or(c.LogLevel, "error"))
	if err != nil {
		return err
	}
	s, err := newSubmitter(settings, a, log)
	if err != nil {
		return err
	}
	d := &doctor{submitter: s, tryExport: c.TryExport}
	for _, name := range sortedNames(s.Sources) {
		d.source(a.ctx, s.Sources[name])
	}
	for _, name := range sortedNames(s.Destinations) {
		d.destination(a.ctx, s.Destinations[name])
	}
	d.store(a, store(settings, a))
	if c.TryExport {
		d.strangers(a, s, store(settings, a))
	}
	if settings.OpenHIM.IsSet() {
		d.openHIM(a.ctx, settings, s)
	}
	var reasons []orchestration.Reason
	for _, found := range d.checks {
		reasons = append(reasons, found.reason)
	}
	if c.JSON {
		if err := a.encode(d.checks); err != nil {
			return err
		}
		return endWith(gravest(reasons))
	}
	t := a.table("", "server", "check", "found")
	for _, found := range d.checks {
		t.AppendRow(table.Row{found.Result, found.Server, found.Check, found.Detail})
		if found.Remedy != "" {
			t.AppendRow(table.Row{"", "", "", "what to do: " + found.Remedy})
		}
	}
	t.Render()
	fmt.Fprintln(a.stdout, d.conclusion(gravest(reasons)))
	return endWith(gravest(reasons))
}

func (d *doctor) conclusion(reason orchestration.Reason) string {
	warned := slices.ContainsFunc(d.checks, func(c check) bool { return c.Result == "warning" })
	switch {
	case reason != "":
		return "something has to be mended"
	case warned:
		return "it works; mind the warnings"
	default:
		return "everything is in order"
	}
}

func sortedNames[T any](things map[string]T) []string {
	names := make([]string, 0, len(things))
	for name := range things {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

type doctor struct {
	submitter *orchestration.Submitter
	tryExport bool
	checks    []check
	// worker is who works the store; empty where nobody does, or the store could not be opened.
	worker string
}

func (d *doctor) ok(server, what, format string, args ...any) {
	d.checks = append(d.checks, check{Server: server, Check: what, Result: "ok", Detail: fmt.Sprintf(format, args...)})
}

func (d *doctor) failed(server, what string, reason orchestration.Reason, err error) {
	found := check{Server: server, Check: what, Result: "failed", Detail: err.Error(), reason: reason}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		found.Remedy = hint.Hint()
	}
	d.checks = append(d.checks, found)
}

func (d *doctor) warn(server, what, detail, remedy string) {
	d.checks = append(d.checks, check{Server: server, Check: what, Result: "warning", Detail: detail, Remedy: remedy})
}

// source tries a CHT: its address and account, its settings, and the data sets that are to be read from it.
func (d *doctor) source(ctx context.Context, s orchestration.Source) {
	info, err := s.Client.Info(ctx)
	if err != nil {
		d.failed(s.Name, "connection", sourceReason(err), err)
		return
	}
	d.ok(s.Name, "connection", "CHT %s, credentials accepted", info.Version)
	settings, err := s.Client.Settings(ctx)
	if err != nil {
		d.failed(s.Name, "settings", sourceReason(err), err)
		return
	}
	d.ok(s.Name, "settings", "%d data sets, months begin on day %d, time zone %s", len(settings.DataSets), settings.MonthStartDate, s.Zone)
	for _, set := range d.submitter.DataSets {
		if !slices.Contains(set.CHT, s.Name) {
			continue
		}
		d.sourceSet(ctx, s, settings, set)
	}
}

func (d *doctor) sourceSet(ctx context.Context, s orchestration.Source, settings *cht.Settings, set orchestration.DataSet) {
	what := "data set " + set.ID
	if err := settings.Check(set.ID); err != nil {
		d.failed(s.Name, what, orchestration.Configuration, err)
		return
	}
	d.ok(s.Name, what, "known to the CHT")
	for _, shared := range mapping.SharedElements(settings, set.ID) {
		d.warn(s.Name, what, fmt.Sprintf("targets %v share data element %s under different combos; its values stay behind", shared.Targets, shared.DataElement),
			"give each target a data element of its own, or exclude the data element")
	}
	for _, found := range mapping.NotExported(settings, set.ID) {
		d.warn(s.Name, what, found.Text, found.Remedy)
	}
	if !d.tryExport {
		return
	}
	plan, err := d.submitter.Prepare(ctx, orchestration.Request{DataSet: set.ID, Period: orchestration.LatestClosed, CHT: s.Name})
	if err != nil {
		d.failed(s.Name, "export", orchestration.Configuration, err)
		return
	}
	defer plan.Close()
	report := plan.Report()
	if report.Error != "" {
		d.failed(s.Name, "export", report.Reason, &orchestration.UsageError{What: report.Error, Remedy: report.Remedy})
		return
	}
	d.ok(s.Name, "export", "%s: %d values, %d of them stay behind", report.Period, report.Counts.Fetched, report.Counts.Quarantined)
}

// destination tries a DHIS2: its address and account, its version and calendar, and the data sets that are to be sent.
func (d *doctor) destination(ctx context.Context, s orchestration.Destination) {
	server, err := s.Client.Server(ctx)
	if err != nil {
		d.failed(s.Name, "connection", destinationReason(err), err)
		return
	}
	d.ok(s.Name, "connection", "DHIS2 %s, dialect %s, credentials accepted", server.Version, server.Dialect)
	if err := dhis2.CheckCalendar(server.Calendar); err != nil {
		d.failed(s.Name, "calendar", orchestration.NothingAccepted, err)
	} else {
		d.ok(s.Name, "calendar", "%s, time zone %s", server.Calendar, server.TimeZone)
	}
	d.account(ctx, s)
	for _, set := range d.submitter.DataSets {
		if set.DHIS2 == s.Name {
			d.destinationSet(ctx, s, set)
		}
	}
}

func (d *doctor) account(ctx context.Context, s orchestration.Destination) {
	user, err := s.Client.Me(ctx)
	switch {
	case err != nil:
		d.failed(s.Name, "account", destinationReason(err), err)
	case slices.Contains(user.Authorities, "ALL"):
		d.warn(s.Name, "account", user.Username+" is a super user, for whom DHIS2 leaves checks out", "use an account with the authority F_DATAVALUE_ADD only")
	case !slices.Contains(user.Authorities, "F_DATAVALUE_ADD"):
		d.failed(s.Name, "account", orchestration.Credentials, &orchestration.UsageError{What: user.Username + " lacks the authority F_DATAVALUE_ADD", Remedy: "give the account a role with it"})
	case len(user.OrgUnits) == 0:
		d.failed(s.Name, "account", orchestration.Credentials, &orchestration.UsageError{What: user.Username + " has no data capture org unit", Remedy: "give the account the org unit above all that are sent"})
	default:
		d.ok(s.Name, "account", "%s may add data values below %d org units", user.Username, len(user.OrgUnits))
	}
}

func (d *doctor) destinationSet(ctx context.Context, s orchestration.Destination, set orchestration.DataSet) {
	what := "data set " + set.ID
	found, err := s.Client.DataSet(ctx, set.ID)
	switch {
	case err != nil:
		d.failed(s.Name, what, destinationReason(err), err)
	case found.PeriodType != dhis2.Monthly:
		d.failed(s.Name, what, orchestration.NothingAccepted, &orchestration.UsageError{What: fmt.Sprintf("%s is %s, and the CHT's export counts in months", found.Name, found.PeriodType), Remedy: "send a monthly data set"})
	case !found.CanWrite:
		d.failed(s.Name, what, orchestration.NothingAccepted, &orchestration.UsageError{What: "the account may not write data of " + found.Name, Remedy: "share the data set with the account (capture data)"})
	case len(found.AttributeOptionCombos) > 0 && set.Rules.AttributeOptionCombo == "":
		d.warn(s.Name, what, found.Name+" has categories of its own, and no attribute_option_combo is set", "set attribute_option_combo, unless the CHT's targets give one")
	default:
		d.ok(s.Name, what, "%s, %s, writable", found.Name, found.PeriodType)
	}
}

// store tries the data folder, or the database.
func (d *doctor) store(a *app, at ledger.Config) {
	what := "data folder"
	if at.Database != nil {
		what = "database"
	}
	l, err := ledger.Open(a.ctx, at)
	if err == nil {
		defer l.Close() //nolint:errcheck // nothing was written that matters
		err = errors.Join(l.Ping(a.ctx), l.Check(a.ctx))
	}
	if err != nil {
		d.failed("store", what, orchestration.Fault, err)
		return
	}
	d.worker = l.Worker(a.ctx)
	d.ok("store", what, "%s can be read and written, and is worked by %s", l.Place(), cmp.Or(d.worker, "nobody"))
}

// strangers looks for values that our account stored in DHIS2 and that this store never sent, as when two mediators with stores
// of their own send one data set.
func (d *doctor) strangers(a *app, s *orchestration.Submitter, at ledger.Config) {
	l, err := ledger.Open(a.ctx, at)
	if err != nil {
		return // told by the check of the store
	}
	defer l.Close() //nolint:errcheck // nothing was written
	s.Ledger = l
	defer func() { s.Ledger = nil }()
	for _, set := range s.DataSets {
		for _, source := range set.CHT {
			values, period, err := s.Strangers(a.ctx, orchestration.Request{DataSet: set.ID, Period: orchestration.LatestClosed, CHT: source})
			if err != nil || values == 0 {
				continue // what cannot be read is told by the other checks
			}
			d.warn(set.DHIS2, "data set "+set.ID, fmt.Sprintf("%s: our account stored %d values there that this store never sent from %s", period, values, source),
				"where another mediator sends this data set, let only one do so, or let both work with one store; where the store was lost, or is new, the next submission learns them")
		}
	}
}

// openHIM tries OpenHIM: its address and account, and the channel under which reports appear.
func (d *doctor) openHIM(ctx context.Context, settings *config.Config, s *orchestration.Submitter) {
	const name = "OpenHIM"
	if _, err := registration(settings); err != nil {
		d.failed(name, "registration", orchestration.Configuration, err)
	}
	client, err := openHIMClient(settings.OpenHIM, s.Now)
	if err != nil {
		d.failed(name, "connection", orchestration.Configuration, err)
		return
	}
	about, err := client.About(ctx)
	if err != nil {
		reason := orchestration.Fault
		var known *openhim.Error
		if errors.As(err, &known) && known.Kind == openhim.Credentials {
			reason = orchestration.Credentials
		}
		d.failed(name, "connection", reason, err)
		return
	}
	d.ok(name, "connection", "OpenHIM %s, credentials accepted", about.Version)
	if _, err := client.ChannelID(ctx, settings.OpenHIM.Channel); err != nil {
		d.warn(name, "channel", err.Error(), "start mediator serve once, which registers the mediator and installs its channel")
		return
	}
	d.ok(name, "channel", "%q is there", settings.OpenHIM.Channel)
	d.anotherMediator(ctx, client, settings.OpenHIM)
}

// anotherMediator looks for a mediator that works with another store under the same name, as when two installations were
// pointed at one DHIS2 by mistake. OpenHIM shows it by its heartbeats: they come while nobody works this store, or from a
// process that began after the one that works it.
func (d *doctor) anotherMediator(ctx context.Context, client *openhim.Client, settings config.OpenHIM) {
	const late = time.Minute // after which OpenHIM takes a mediator for dead; the two clocks differ by less, too
	life, err := client.Life(ctx, settings.URN)
	if err != nil || life.Heartbeat.IsZero() {
		return // it is not registered, or the account may not look
	}
	found := ""
	_, text, _ := strings.Cut(d.worker, "since ")
	text, _, _ = strings.Cut(text, " ")
	since, err := time.Parse(time.RFC3339, text)
	switch {
	case d.worker == "" && time.Since(life.Heartbeat) < late && d.beatsAgain(ctx, client, settings, life):
		found = "nobody works this store"
	case err == nil && life.Began.After(since.Add(late)):
		found = "they come from a process that began at " + life.Began.UTC().Format(time.RFC3339) + ", after the one that works this store"
	}
	if found != "" {
		d.warn("OpenHIM", "mediator", "another mediator sends heartbeats as "+settings.URN+": "+found,
			"let both work with one store, or give one of them another openhim.urn and other data sets: two stores that send the same one overwrite each other")
	}
}

// beatsAgain waits for another heartbeat: one alone may come from a process that has just ended.
func (*doctor) beatsAgain(ctx context.Context, client *openhim.Client, settings config.OpenHIM, before openhim.Life) bool {
	wait := time.NewTimer(settings.Heartbeat + time.Second)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return false
	}
	life, err := client.Life(ctx, settings.URN)
	return err == nil && life.Heartbeat.After(before.Heartbeat)
}

func sourceReason(err error) orchestration.Reason {
	var known *cht.Error
	if errors.As(err, &known) && known.Kind == cht.Credentials {
		return orchestration.Credentials
	}
	return orchestration.CHTUnavailable
}

func destinationReason(err error) orchestration.Reason {
	var known *dhis2.Error
	if !errors.As(err, &known) {
		return orchestration.DHIS2Unavailable
	}
	switch known.Kind {
	case dhis2.Credentials:
		return orchestration.Credentials
	case dhis2.Refused:
		return orchestration.NothingAccepted
	default:
		return orchestration.DHIS2Unavailable
	}
}
