package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/term"

	"github.com/cht-dhis2/mediator/config"
	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/target"
	"github.com/cht-dhis2/mediator/internal/transport"
	"github.com/cht-dhis2/mediator/orchestration"
)

// app is the program as a value, so that a test can run it.
type app struct {
	ctx            context.Context //nolint:containedctx // the life of the process
	stdout, stderr io.Writer
	environ        []string
	// now gives the time; nil is time.Now.
	now func() time.Time
}

// settingsFlags are the options of every command that reads the configuration.
type settingsFlags struct {
	Config   string   `help:"The configuration file (default: config.yaml, where there is one)." placeholder:"FILE"`
	Set      []string `help:"Override a setting, such as dhis2.national.url=https://… May be repeated." placeholder:"KEY=VALUE" sep:"none"`
	LogLevel string   `help:"Log what is at least so grave: debug, info, warn, error. A command logs errors, the service what its settings say." default:"" enum:",debug,info,warn,error"`
}

func (f settingsFlags) load(a *app) (*config.Config, error) {
	return config.Load(config.Input{File: f.Config, Environment: a.environ, Set: f.Set})
}

// submitter joins the packages for a command.
func (f settingsFlags) submitter(a *app) (*orchestration.Submitter, error) {
	settings, err := f.load(a)
	if err != nil {
		return nil, err
	}
	log, err := newLog(a, cmp.Or(f.LogLevel, "error"))
	if err != nil {
		return nil, err
	}
	return newSubmitter(settings, a, log)
}

// newLog makes a log on the standard error.
func newLog(a *app, level string) (*logrus.Entry, error) {
	log := logrus.New()
	log.SetOutput(a.stderr)
	log.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true})
	parsed, err := logrus.ParseLevel(level)
	log.SetLevel(parsed)
	return logrus.NewEntry(log), err
}

// newSubmitter joins the packages as the settings say.
func newSubmitter(settings *config.Config, a *app, log *logrus.Entry) (*orchestration.Submitter, error) {
	s := &orchestration.Submitter{
		Sources: map[string]orchestration.Source{}, Destinations: map[string]orchestration.Destination{},
		SpoolDir: settings.DataDir, LongestPause: settings.LongestPause, Readers: settings.Readers, Log: log, Now: a.now, BodyLimit: int(settings.OpenHIM.BodyLimit),
	}
	if err := ledger.MakeDir(s.SpoolDir); err != nil {
		return nil, err
	}
	for _, server := range settings.CHT {
		source, err := chtSource(server)
		if err != nil {
			return nil, err
		}
		s.Sources[server.Name] = source
	}
	for _, server := range settings.DHIS2 {
		destination, err := dhis2Destination(server)
		if err != nil {
			return nil, err
		}
		destination.MetadataAge = server.Metadata
		s.Destinations[server.Name] = destination
	}
	for _, set := range settings.DataSets {
		configured, err := dataSet(set)
		if err != nil {
			return nil, err
		}
		if configured.FromTargets {
			limitMemory(documentsMemoryLimit, documentsGarbage)
		}
		s.DataSets = append(s.DataSets, configured)
	}
	return s, nil
}

// readLimit is how long a month may take from its first byte to its last.
const readLimit = 20 * time.Minute

// planner joins the packages for a command that looks into the store where there is one, and leaves none behind.
func (f settingsFlags) planner(a *app) (s *orchestration.Submitter, done func(), err error) {
	settings, err := f.load(a)
	if err != nil {
		return nil, nil, err
	}
	if ledger.Exists(store(settings, a)) {
		return f.open(a)
	}
	s, err = f.submitter(a)
	return s, func() {}, err
}

// open joins the packages for a command that works with the store. The store is open until done, which also tries to
// deliver what the command leaves to be told; what does not get through waits for the service.
func (f settingsFlags) open(a *app) (s *orchestration.Submitter, done func(), err error) {
	settings, err := f.load(a)
	if err != nil {
		return nil, nil, err
	}
	log, err := newLog(a, cmp.Or(f.LogLevel, "error"))
	if err != nil {
		return nil, nil, err
	}
	if s, err = newSubmitter(settings, a, log); err != nil {
		return nil, nil, err
	}
	l, err := ledger.Open(a.ctx, store(settings, a))
	if err != nil {
		return nil, nil, err
	}
	closing := func() { _ = l.Close() }
	err = errors.Join(s.Remember(l), s.LoadConsole(a.ctx))
	var others *others
	if err == nil {
		others, err = newOthers(settings, s, log)
	}
	if err != nil {
		closing()
		return nil, nil, err
	}
	return s, func() {
		if l.HasRole() {
			others.deliver(a.ctx)
		}
		closing()
	}, nil
}

// store is where the memory is, as the settings say.
func store(settings *config.Config, a *app) ledger.Config {
	return ledger.Config{Dir: settings.DataDir, Database: reveal(settings.Database), QueueLimit: settings.QueueLimit, Limit: int64(settings.StoreLimit), Now: a.now}
}

// takeRole takes the worker role where nobody has it, and says who has it otherwise.
func takeRole(a *app, l *ledger.Ledger) error {
	err := l.TakeRole(a.ctx)
	var trouble *ledger.Error
	if errors.As(err, &trouble) && trouble.Kind == ledger.Taken {
		fmt.Fprintf(a.stderr, "mediator: %s: it carries the submission, and this command follows it\n", trouble.What)
		return nil
	}
	return err
}

const userAgent = "cht-dhis2-mediator/" + version

// How large an answer of DHIS2 may be: an import's is some kilobytes, and metadata some megabytes; the values that it holds
// are read as a stream, some 250 bytes each.
const (
	dhis2MaxBody   = 64 << 20
	dhis2MaxStream = 2 << 30
)

func chtSource(server config.CHT) (orchestration.Source, error) {
	settings := transport.Config{
		Authorization: basic(server.Username, server.Password), CAFile: server.CAFile, UserAgent: userAgent,
		HeaderTimeout: server.HeaderTimeout, Timeout: server.Timeout, MaxBody: int64(server.MaxSize),
	}
	client, err := transport.New(settings)
	if err != nil {
		return orchestration.Source{}, serverError("cht", server.Name, err)
	}
	return orchestration.Source{
		Name: server.Name, Client: cht.New(server.URL, client), Zone: server.Zone, Limit: server.HeaderTimeout + readLimit,
		HierarchyAge: server.HierarchyAge, FullReadDays: server.FullReadDays, Peer: peerOf(server.URL, settings, client),
	}, nil
}

func dhis2Destination(server config.DHIS2) (orchestration.Destination, error) {
	authorization := basic(server.Username, server.Password)
	if server.Token.IsSet() {
		authorization = func() (string, error) {
			token, err := server.Token.Reveal()
			return "ApiToken " + token, err
		}
	}
	settings := transport.Config{
		Authorization: authorization, CAFile: server.CAFile, UserAgent: userAgent,
		Timeout: server.Timeout, MaxBody: dhis2MaxBody, MaxStream: dhis2MaxStream, Cookies: true,
	}
	client, err := transport.New(settings)
	if err != nil {
		return orchestration.Destination{}, serverError("dhis2", server.Name, err)
	}
	return orchestration.Destination{
		Name: server.Name, Client: dhis2.New(server.URL, client, server.InFlight), HasToken: server.Token.IsSet(), Peer: peerOf(server.URL, settings, client),
	}, nil
}

// peerOf tells what is known of the way to a server: by the settings, and by what its client saw.
func peerOf(address *url.URL, settings transport.Config, client *transport.Client) func() orchestration.Peer {
	return func() orchestration.Peer {
		seen := client.Peer()
		return orchestration.Peer{
			IsPlain: insecure(address) && !isLoopback(address.Hostname()), IsUnverified: settings.TrustAny, IsPinned: settings.Fingerprint != "",
			CertificateEnds: seen.CertificateEnds, Offset: seen.Offset, IsDated: seen.IsDated,
		}
	}
}

// isLoopback says that a host is this machine.
func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

func serverError(kind, name string, err error) error {
	return &config.Error{Mistakes: []string{fmt.Sprintf("%s.%s: %v", kind, name, err)}}
}

func basic(username string, password config.Secret) func() (string, error) {
	return func() (string, error) {
		secret, err := password.Reveal()
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+secret)), err
	}
}

// dataSet puts the settings of a data set into the words of orchestration.
func dataSet(set config.DataSet) (orchestration.DataSet, error) {
	where := "data_sets." + set.ID
	first, err := dhis2.ParsePeriod(set.FirstPeriod)
	if err != nil {
		return orchestration.DataSet{}, &config.Error{Mistakes: []string{fmt.Sprintf("%s.first_period: %v", where, err)}}
	}
	rules := rulesOf(set)
	if set.Schedule != "" {
		if _, err := orchestration.ParseCron(set.Schedule); err != nil {
			return orchestration.DataSet{}, &config.Error{Mistakes: []string{fmt.Sprintf("%s.schedule: %v", where, err)}}
		}
	}
	if _, err := orchestration.ParseHours(set.SendingHours); err != nil {
		return orchestration.DataSet{}, &config.Error{Mistakes: []string{fmt.Sprintf("%s.sending_hours: %v", where, err)}}
	}
	if err := rules.Check(); err != nil {
		return orchestration.DataSet{}, &config.Error{Mistakes: []string{fmt.Sprintf("%s.%v", where, err)}}
	}
	schemes, err := schemesOf(set)
	if err != nil {
		return orchestration.DataSet{}, &config.Error{Mistakes: []string{fmt.Sprintf("%s: %v", where, err)}}
	}
	compare, err := compareOf(set)
	if err != nil {
		return orchestration.DataSet{}, &config.Error{Mistakes: []string{fmt.Sprintf("%s.live_from: %v", where, err)}}
	}
	var gaps []orchestration.Gap
	for _, g := range set.KnownGaps {
		gaps = append(gaps, orchestration.Gap(g))
	}
	return orchestration.DataSet{
		ID: set.ID, Title: set.Title, CHT: set.CHT, DHIS2: set.DHIS2, FirstPeriod: first, Rules: rules, IDSchemes: schemes, ChunkValues: set.ChunkValues, Unchecked: set.Checks == "off",
		Coverage: orchestration.CoveragePolicy{
			On: set.Coverage == "on", ExpectedTypes: set.ExpectedTypes, Minimum: set.MinCoverage, MinimumDays: set.MinimumDays, Completeness: set.CompleteFrom,
		},
		Compare: compare, Gaps: gaps, MostQuarantined: set.MostQuarantine, MostVanished: set.MostVanished,
		Nested: orchestration.NestedPolicy(set.NestedOrgUnits), KnownFaults: set.KnownFaults,
		Completeness: orchestration.Completeness{
			WhenAccepted: set.Completeness == "when_accepted", Undo: set.UndoComplete, Notify: orchestration.NotifyPolicy(set.Notify),
		},
		FromTargets: set.Source == "targets", Targets: targetRules(set), AsFirst: set.Hierarchy == "first",
		Operation: orchestration.Operation{
			Enabled: set.Enabled, Schedule: set.Schedule, FirstAfterDays: set.FirstAfterDays, RereadDays: set.RereadDays, Hold: set.Hold,
			SendingHours: set.SendingHours, Jitter: set.Jitter, NoticeAfterDays: set.NoticeAfterDays,
		},
	}, nil
}

// rulesOf puts what the settings of a data set say of the way of its values into the words of mapping.
func rulesOf(set config.DataSet) mapping.Rules {
	return mapping.Rules{
		IncludeOrgUnits: set.IncludeOrgUnits, ExcludeOrgUnits: set.ExcludeOrgUnits,
		IncludeDataElements: set.IncludeDataElements, ExcludeDataElements: set.ExcludeDataElements,
		RenameOrgUnits: set.RenameOrgUnits, RenameDataElements: set.RenameDataElements, RenameCombos: set.RenameCombos,
		SumDataElements: set.SumDataElements, AttributeOptionCombo: set.AttributeOptionCombo,
		EmptyOrgUnits: map[string]mapping.EmptyPolicy{"send": mapping.SendEmpty, "reported": mapping.SendReported}[set.EmptyOrgUnits], DropZeros: set.Zeros == "drop",
		RefusePercent: set.PercentTargets == "refuse",
	}
}

// schemesOf says by what the CHT calls a data set and what is in it.
func schemesOf(set config.DataSet) (schemes dhis2.IDSchemes, err error) {
	for _, s := range []struct {
		into *dhis2.IDScheme
		text string
	}{
		{&schemes.DataSet, set.DataSetIDScheme}, {&schemes.DataElement, set.DataElementIDScheme}, {&schemes.OrgUnit, set.OrgUnitIDScheme},
		{&schemes.CategoryOptionCombo, set.CategoryOptionComboIDScheme},
	} {
		if *s.into, err = dhis2.ParseIDScheme(s.text); err != nil {
			return schemes, err
		}
	}
	return schemes, nil
}

// targetRules puts what the settings of a data set say of target documents into the words of the package that adds them up.
func targetRules(set config.DataSet) target.Rules {
	level, isLevel := strings.CutPrefix(set.Attribution, "level:")
	if !isLevel {
		level = ""
	}
	r := target.Rules{
		Lowest: set.Attribution == "lowest", Level: level, ExcludeTypes: set.ExcludeContactTypes,
		Duplicates: map[string]target.Duplicates{"sum": target.Together, "largest": target.Largest}[set.DuplicateWorkers],
	}
	for _, t := range set.Targets {
		r.Items = append(r.Items, target.Item{
			Target: t.Target, Measure: map[string]target.Measure{"pass": target.Pass, "percent": target.Percent}[t.Value],
			DataElement: t.DataElement, CategoryOptionCombo: t.CategoryOptionCombo, AttributeOptionCombo: t.AttributeOptionCombo,
		})
	}
	return r
}

// compareOf puts what the settings of a data set say of comparing into the words of orchestration.
func compareOf(set config.DataSet) (orchestration.Compare, error) {
	c := orchestration.Compare{
		LedgerOnly: set.Compare == "ledger", MostShrink: set.MostShrink, AddUp: set.SharedOrgUnits == "add",
		Edited: orchestration.EditedPolicy(set.EditedInDHIS2), Vanished: orchestration.VanishedPolicy(set.VanishedCells),
	}
	for _, orgUnit := range slices.Sorted(maps.Keys(set.LiveFrom)) {
		period, err := dhis2.ParsePeriod(set.LiveFrom[orgUnit])
		if err != nil {
			return c, err
		}
		c.LiveFrom = append(c.LiveFrom, orchestration.LiveFrom{OrgUnit: orgUnit, Period: period})
	}
	return c, nil
}

// requestFlags are the options of the commands that prepare or send.
type requestFlags struct {
	settingsFlags
	selection

	Wait time.Duration `help:"How long to pause in all for a server that is away, or an outcome that stays unknown; the tries themselves come on top." default:"1m"`
	JSON bool          `name:"json" help:"Print for machines: one line of JSON for each source."`
}

// selection are the options that say what is meant.
type selection struct {
	DataSet string   `help:"The data set's id. May be left out where one is configured." placeholder:"ID"`
	Period  string   `help:"The period, such as 202610, 2026Q3 or latest-closed; or a range, such as 202601..202606." default:"latest-closed"`
	CHT     string   `name:"cht" help:"The source; all sources of the data set when left out." placeholder:"NAME"`
	OrgUnit []string `help:"Only these org units, by their ids in DHIS2. May be repeated." placeholder:"ID"`
}

// requests makes a request for each source, and of a range for each period, oldest first.
func (f selection) requests(s *orchestration.Submitter) ([]orchestration.Request, error) {
	if f.DataSet == "" && len(s.DataSets) == 1 {
		f.DataSet = s.DataSets[0].ID
	}
	if f.DataSet == "" {
		return nil, &orchestration.UsageError{What: "--data-set is missing", Remedy: "name one of the data sets of the configuration"}
	}
	periods, err := orchestration.Periods(f.Period)
	if err != nil {
		return nil, err
	}
	if slices.Contains(f.OrgUnit, "") {
		return nil, &orchestration.UsageError{What: "--org-unit is empty", Remedy: "give an org unit's id in DHIS2, or leave the option out"}
	}
	sources := []string{f.CHT}
	if at := slices.IndexFunc(s.DataSets, func(set orchestration.DataSet) bool { return set.ID == f.DataSet }); f.CHT == "" && at >= 0 {
		sources = s.DataSets[at].CHT
	}
	var requests []orchestration.Request
	for _, period := range periods {
		for _, source := range sources { // the submitter says what cannot be
			requests = append(requests, orchestration.Request{DataSet: f.DataSet, Period: period, CHT: source, OrgUnits: f.OrgUnit, RequestedBy: commandLine})
		}
	}
	return requests, nil
}

// commandLine is who asks for what a person types.
const commandLine = "command line"

// isTerminal says whether a person watches w.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// gravest gives the reason with the gravest exit code.
func gravest(reasons []orchestration.Reason) orchestration.Reason {
	worst := orchestration.Reason("")
	for _, r := range reasons {
		if exitCode(r) > exitCode(worst) {
			worst = r
		}
	}
	return worst
}
