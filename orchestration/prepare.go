package orchestration

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/target"
)

// Plan is a submission that is read, checked and written down, and not sent. It holds temporary files until Close.
type Plan struct {
	parties

	request Request
	// id is the data set's in DHIS2.
	id      string
	period  dhis2.Period
	server  dhis2.Server
	content *content
	// agreed are values that DHIS2 holds as they should be, and that the ledger has otherwise.
	agreed *content
	// compares says that only what differs is in the content.
	compares bool
	// visit is given what is known of each org unit, and which data elements the CHT gives, or DHIS2 accepted in a repair; nil is given nothing.
	visit func(u unit, known map[string]bool) error
	// lately is what was read of DHIS2's metadata for this plan; what was read before may be old.
	lately *metadata
	// readAt is when it was begun to read what DHIS2 accepted.
	readAt time.Time
	// mustRead says that without what DHIS2 holds there is nothing to compare with.
	mustRead bool
	// account is whose values in DHIS2 are ours, forgetful are the data elements of which it keeps no zero.
	account   string
	forgetful map[string]bool
	tally     *tally
	evidence  *evidence
	// described is what the CHT's settings say; nil before they are read. settings is what of it is kept for the periods that follow.
	described *cht.Settings
	settings  []byte
	// isPreview says that a person waits for it, who may have mended an account just now.
	isPreview bool
	// coverage is who has synced; nil where that is not known. minimum says until when too little of it holds org units back.
	coverage *coverage
	minimum  minimumWindow
	// patience is for the whole of the submission.
	patience *patience
	// calendar are the settings of the CHT, and sum is what the target documents come to, where those are the source.
	calendar *cht.Settings
	sum      *target.Sum
	// strangers are the targets of targets_file that the CHT's settings do not have.
	strangers map[string]bool
}

// Close removes the plan's temporary files.
func (p *Plan) Close() {
	for _, c := range []*content{p.content, p.agreed} {
		if c != nil {
			c.close()
		}
	}
	if p.tally.quarantine != nil {
		p.tally.quarantine.close()
	}
}

// Report tells what the plan holds: what would be sent, and what stays behind and why.
func (p *Plan) Report() Report { return p.tally.finish() }

// Period is what the request's period was resolved to; the zero Period when it could not be.
func (p *Plan) Period() dhis2.Period { return p.period }

func (p *Plan) key() ledger.Key {
	return ledger.Key{DHIS2: p.set.DHIS2, DataSet: p.set.ID, Period: p.period, CHT: p.from.Name}
}

// Values yields what is to be sent, in the order in which it is sent.
func (p *Plan) Values(yield func(mapping.Value) error) error {
	if p.content == nil {
		return nil
	}
	var values []dhis2.DataValue
	for _, at := range p.content.parts {
		var err error
		if values, err = p.content.values(values[:0], at); err != nil {
			return err
		}
		for _, v := range values {
			if err := yield(mapping.Value{AttributeOptionCombo: at.attributeOptionCombo, DataValue: v}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Prepare reads the month from the CHT, applies the rules and writes down what is to be sent: all of it, or what differs from
// what DHIS2 holds where the request compares. Nothing is sent and nothing is remembered. The error is for a request that can mean nothing; every other failure is in the plan's report. The caller
// closes the plan.
func (s *Submitter) Prepare(ctx context.Context, r Request) (*Plan, error) {
	who, err := s.parties(r.DataSet, r.CHT)
	if err != nil {
		return nil, err
	}
	if err := CheckPeriod(r.Period); err != nil {
		return nil, err
	}
	p := s.newPlan(newID(), who, r)
	p.patience, p.compares, p.isPreview = s.newPatience(), r.Compare, true
	if err := s.prepare(ctx, p); err != nil {
		p.fail(err)
	}
	return p, nil
}

func newID() string { return strings.ToLower(rand.Text()) }

func (s *Submitter) newPlan(id string, who parties, r Request) *Plan {
	return &Plan{
		parties: who, request: r, patience: &patience{submitter: s}, evidence: newEvidence(s.BodyLimit),
		tally: newTally(Report{
			ID: id, DataSet: r.DataSet, Title: who.set.Title, Period: r.Period, CHT: r.CHT, DHIS2: who.set.DHIS2,
			State: ledger.Ready, DryRun: r.DryRun, RequestedBy: r.RequestedBy,
		}),
	}
}

// fail takes in why the plan cannot be sent.
func (p *Plan) fail(err error) {
	var check *blockedError
	if errors.As(err, &check) {
		p.tally.issues.Add(check.Issue)
	}
	var named *sourceFault
	if errors.As(err, &named) {
		p.tally.issues.Add(named.Issue)
	}
	f := failureOf(err)
	p.tally.failure = &f
}

// prepare asks whoever has to be asked, and leaves the content in the plan.
func (s *Submitter) prepare(ctx context.Context, p *Plan) error {
	defer func() { p.tally.rules(p.set.Rules) }()
	m, err := s.askDHIS2(ctx, p)
	if err != nil {
		return err
	}
	set := &m.set
	c := &comparison{policy: p.set.Compare, mode: p.request.Mode, dhis2: p.to.Name, cht: p.from.Name}
	if p.server.Dialect == dhis2.Legacy {
		c.noZeros, p.forgetful = set.NoZeros, set.NoZeros
	}
	if p.request.Mode == ledger.ModeRepair {
		return s.prepareRepair(ctx, p, m, c)
	}
	if !p.isPreview {
		if err := s.isDown(ctx, "CHT "+p.from.Name); err != nil {
			return err
		}
	}
	var settings *cht.Settings
	err = p.patience.with(ctx, "the CHT", func() (err error) {
		settings, err = p.from.Client.Settings(p.evidence.call(ctx, "Read the settings of CHT "+p.from.Name))
		s.contacted("CHT "+p.from.Name, err)
		return err
	})
	s.noteDown(ctx, "CHT "+p.from.Name, err)
	if err != nil {
		return err
	}
	p.described = settings
	if err := settings.Check(p.set.ID); err != nil {
		return calendarFault(settings, p.set.ID, err)
	}
	s.keepCalendar(ctx, p.from, settings)
	if p.period, err = s.check(p, *set, settings); err != nil {
		return err
	}
	p.tally.report.Period = p.period.String()
	if err := s.noteSettings(ctx, p, settings); err != nil {
		return err
	}
	k, err := s.checking(ctx, p, m)
	if err != nil {
		return err
	}
	live := m.live(p)
	exported := p.bySource(settings, set.DefaultCombo)
	rules := mapping.New(p.set.Rules, exported, *set)
	c.isPercent = rules.IsPercent
	var gathered *gathering
	err = p.patience.with(ctx, "the CHT", func() (err error) {
		gathered, err = s.fetch(ctx, p, rules, live)
		s.contacted("CHT "+p.from.Name, err)
		return err
	})
	s.noteDown(ctx, "CHT "+p.from.Name, err)
	if err != nil {
		return err
	}
	defer gathered.spool.close()
	s.tellKnownFaults(ctx, p)
	if err := s.cover(ctx, p, rules, live); err != nil {
		return err
	}
	p.minimum = s.minimumOf(p, lastDay(settings, p.period), set.ExpiryDays)
	p.tally.addIssues(gathered.found)
	p.tally.addIssues(mapping.NotExported(exported, p.set.ID))
	p.tally.addIssues(gathered.silence(p))
	p.tally.addIssues(mapping.Denominators(exported, p.set.Rules, p.set.ID))
	ours, err := gathered.spool.orgUnits()
	if err != nil {
		return err
	}
	if err := k.look(ctx, ours); err != nil {
		return err
	}
	w := &settlement{Plan: p, comparison: c, checking: k, rules: rules}
	if !p.compares {
		return w.settle(ctx, gathered)
	}
	w.holdings = s.holdings(ctx, p)
	defer w.holdings.close()
	if !p.set.Compare.LedgerOnly {
		if err := s.readTheirs(ctx, m, w, ours); err != nil {
			return err
		}
	}
	return w.settle(ctx, gathered)
}

// prepareRepair leaves in the plan what DHIS2 holds otherwise than it was accepted, as it was accepted.
func (s *Submitter) prepareRepair(ctx context.Context, p *Plan, m *metadata, c *comparison) (err error) {
	if p.period, err = dhis2.ParsePeriod(p.request.Period); err != nil {
		return err
	}
	c.policy = Compare{Edited: OverwriteEdited, AddUp: c.policy.AddUp}
	k, err := s.checking(ctx, p, m)
	if err != nil {
		return err
	}
	w := &settlement{Plan: p, comparison: c, checking: k, holdings: s.holdings(ctx, p)}
	defer w.holdings.close()
	if err := s.readTheirs(ctx, m, w, nil); err != nil {
		return err
	}
	accepted, err := s.footprint(ctx, p)
	if err != nil {
		return err
	}
	if p.visit != nil {
		c.elements = accepted.columns
	}
	if err := k.look(ctx, slices.Sorted(maps.Keys(accepted.orgUnits))); err != nil {
		return err
	}
	return w.settle(ctx, nil)
}

// askDHIS2 asks the server for its dialect, and for what it knows of the data set.
func (s *Submitter) askDHIS2(ctx context.Context, p *Plan) (m *metadata, err error) {
	if err := s.isDown(ctx, "DHIS2 "+p.to.Name); err != nil {
		return nil, err
	}
	err = p.patience.with(ctx, "DHIS2", func() (err error) {
		defer func() { s.contacted("DHIS2 "+p.to.Name, err) }()
		if p.server, err = p.to.Client.Server(p.evidence.call(ctx, "Ask DHIS2 "+p.to.Name+" for its version")); err != nil {
			return err
		}
		p.tally.report.Dialect = string(p.server.Dialect)
		if err := dhis2.CheckCalendar(p.server.Calendar); err != nil {
			return blocked("calendar", "this version of the mediator sends to servers with the ISO calendar only", "%v", err)
		}
		var anew bool
		if m, anew, err = s.metadata(ctx, p.parties, p.evidence); anew {
			p.lately = m
		}
		return err
	})
	s.noteDown(ctx, "DHIS2 "+p.to.Name, err)
	if err != nil {
		return nil, err
	}
	p.id = m.set.ID
	s.keepExpiry(ctx, p.set, m.set.ExpiryDays)
	return m, nil
}

// check finds the period, where that is left to the CHT, and makes sure that it may be sent.
func (s *Submitter) check(p *Plan, set dhis2.DataSet, settings *cht.Settings) (dhis2.Period, error) {
	if err := p.set.checkPeriodType(set); err != nil {
		return dhis2.Period{}, err
	}
	now, zone := s.now(), p.from.zone()
	if p.request.Period == LatestClosed {
		period, err := latestClosed(&p.set, settings, now, zone)
		if err != nil {
			return dhis2.Period{}, err
		}
		return period, p.mayBeSent(period, settings)
	}
	period, err := dhis2.ParsePeriod(p.request.Period)
	if err != nil {
		return dhis2.Period{}, err
	}
	if period.Type() != set.PeriodType {
		return dhis2.Period{}, blocked("period_type", "give "+aPeriod(set.PeriodType), "period %s is %s, and data set %s is %s in DHIS2", period, period.Type(), set.ID, set.PeriodType)
	}
	if !isClosed(settings, period, now, zone) {
		return dhis2.Period{}, blocked("period_not_closed", "send it when it is over, or ask for "+LatestClosed+"; time_zone of the CHT says by which clock it is", "period %s is not over: its last day is %s, in %s", period, lastDay(settings, period).Format(time.DateOnly), zone)
	}
	return period, p.mayBeSent(period, settings)
}

// mayBeSent makes sure of a period that is over by our clock: by the clock of DHIS2 it must be over too, as a machine
// whose clock runs ahead would send a month that goes on, and it must not lie before the data set's first one.
func (p *Plan) mayBeSent(period dhis2.Period, settings *cht.Settings) error {
	date := p.server.Date[:min(len(p.server.Date), len(time.DateOnly))]
	if day, err := time.Parse(time.DateOnly, date); err == nil && day.Before(lastDay(settings, period)) {
		return blocked("clocks_differ", "set the clocks of this machine and of the DHIS2 server right", "by the clock of DHIS2 it is %s, and period %s is not over", date, period)
	}
	if period.Before(p.set.FirstPeriod) {
		return blocked("before_first_period", "lower first_period of the data set if this period is to be sent", "period %s lies before %s, the data set's first_period", period, p.set.FirstPeriod)
	}
	return nil
}

// gathering is what fetch leaves: the cells by org unit, and what was found on the way.
type gathering struct {
	spool *cellSpool
	// live says of org units whether they have joined; nil is that all have. notLive counts the cells of the others.
	live    map[string]bool
	notLive int
	// elements are the data elements that came, by columnOf, where somebody wants to know; else nil.
	elements map[string]bool
	// figures are the org units that have other cells than zeros, those too that nobody asked for: whether one of them can be sent.
	// latest is the last one that was noted. leftOut are the org units that a rule leaves out wholly.
	figures map[string]bool
	latest  struct {
		orgUnit string
		sends   bool
	}
	leftOut map[string]bool
	// dropped are the cells that a rule leaves out, by org unit; homeless those without an org unit.
	dropped  map[string]int
	homeless issue.List
	extras   map[string]int
	uses     mapping.Uses
	cell     mapping.Cell // the one under way
	// stranger is a target that belongs to the value under way, and that nobody knows.
	stranger string
	// found is what the source itself gives to think about.
	found []issue.Issue
	// wanted are the org units asked for: whether they have not come yet. Nil asks for all.
	wanted map[string]bool
	// month is the one under way where the period has several, again says that it is not the first, silent are those in which
	// everything was zero.
	month  string
	again  bool
	silent []string
	// hasFigures says that something was not zero.
	hasFigures bool
}

const progressEvery = 5000

// fetch reads what the CHT says into a spool.
func (s *Submitter) fetch(ctx context.Context, p *Plan, rules *mapping.Mapping, live map[string]bool) (*gathering, error) {
	file, err := newSpool(s.SpoolDir)
	if err != nil {
		return nil, err
	}
	spool := &cellSpool{spool: file}
	g := &gathering{spool: spool, live: live, dropped: map[string]int{}, extras: map[string]int{}, wanted: wantedOrgUnits(p.request.OrgUnits)}
	if p.visit != nil {
		g.elements = map[string]bool{}
	}
	read := s.readExport
	if p.set.FromTargets {
		read = s.readTargets
	}
	if err := g.checkTags(ctx, p.from, read(ctx, p, rules, g)); err != nil {
		spool.close()
		return nil, err
	}
	for _, orgUnit := range p.request.OrgUnits {
		if !g.wanted[orgUnit] {
			continue
		}
		spool.close()
		return nil, blocked("org_unit_absent", "check the id: it is the one in DHIS2, after renaming; of target documents an org unit is absent, too, where nobody has synced", "org unit %s is not in the CHT's answer", orgUnit)
	}
	return g, nil
}

// wantedOrgUnits are those asked for and not seen yet; nil asks for all.
func wantedOrgUnits(ids []string) map[string]bool {
	if len(ids) == 0 {
		return nil
	}
	wanted := map[string]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	return wanted
}

// take takes a value in.
func (g *gathering) take(v *cht.Value, rules *mapping.Mapping) error {
	c := &g.cell
	fate := rules.Take(v, c)
	c.Month = g.month
	if g.stranger != "" && fate == mapping.Taken && c.Fault == "" {
		c.Fault, c.Found = mapping.TargetUnknown, g.stranger
	}
	g.note(fate)
	if g.wanted != nil {
		if _, asked := g.wanted[c.OrgUnit]; !asked {
			return nil
		}
		g.wanted[c.OrgUnit] = false
	}
	if g.again && (fate == mapping.Dropped || fate == mapping.Taken && isOut(g.live, c.OrgUnit)) {
		return nil // it counts once, with the first month
	}
	for _, name := range v.Extra {
		g.extras[name]++
	}
	if !g.again {
		g.uses.Take(c)
	}
	if fate != mapping.Homeless && isOut(g.live, c.OrgUnit) {
		g.dropped[c.OrgUnit]++
		g.notLive++
		return nil
	}
	if g.elements != nil {
		g.elements[columnOf(c.AttributeOptionCombo, c.DataElement)] = true
	}
	switch fate {
	case mapping.Dropped:
		g.dropped[c.OrgUnit]++
	case mapping.Homeless:
		g.homeless.Add(c.Issue())
	default:
		return g.spool.add(c)
	}
	return nil
}

// note takes in of the cell under way whether its org unit has figures.
func (g *gathering) note(fate mapping.Fate) {
	c := &g.cell
	if g.figures == nil {
		g.figures, g.leftOut = map[string]bool{}, map[string]bool{}
	}
	switch {
	case fate == mapping.Dropped && c.LeftOut():
		g.leftOut[c.OrgUnit] = true
	case fate == mapping.Taken && c.Value != 0 && !isOut(g.live, c.OrgUnit):
		g.hasFigures = true
		if n := len(g.silent); n > 0 && g.silent[n-1] == g.month {
			g.silent = g.silent[:n-1]
		}
		sends := c.Fault == ""
		if g.latest.orgUnit == c.OrgUnit && (g.latest.sends || !sends) { // cells of one org unit come together
			return
		}
		sends = sends || g.figures[c.OrgUnit]
		g.figures[c.OrgUnit] = sends
		g.latest.orgUnit, g.latest.sends = c.OrgUnit, sends
	}
}

// prepareLimit is how long preparing a month may take where the source sets no limit.
const prepareLimit = 20 * time.Minute

// prepareStored does the step prepare of a stored submission.
func (s *Submitter) prepareStored(ctx context.Context, sub ledger.Submission) (*pause, error) {
	who, err := s.partiesOf(sub)
	if err != nil { // the configuration is another one by now
		f := failureOf(err)
		f.reason = Configuration
		return nil, s.finish(ctx, sub.ID, &f)
	}
	wanted, by, settle := s.whileWanted(ctx, sub.ID)
	defer settle()
	done, err := s.read(wanted, sub.CHT)
	if by() != "" && ctx.Err() == nil {
		return nil, s.finish(ctx, sub.ID, cancelled(by()))
	}
	if err != nil {
		return nil, err
	}
	defer done()
	if err := s.Ledger.Advance(ctx, sub.ID, ledger.Preparing, nil); err != nil {
		return nil, err
	}
	p := s.newPlan(sub.ID, who, Request{
		DataSet: sub.DataSet, Period: sub.Period.String(), CHT: sub.CHT, OrgUnits: sub.OrgUnits, DryRun: sub.DryRun, Mode: sub.Mode, RequestedBy: sub.RequestedBy,
	})
	p.compares = true
	defer p.Close()
	limit := cmp.Or(who.from.Limit, prepareLimit) * time.Duration(len(monthsOf(sub.Period)))
	limited, cancel := context.WithTimeout(wanted, limit)
	defer cancel()
	started := time.Now()
	err = s.prepare(limited, p)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if by() != "" {
		return nil, s.finish(ctx, sub.ID, cancelled(by()))
	}
	if wait := pauseOf(err); wait != nil {
		wait.spent = time.Since(started)
		if wait.waitsFor(sub.Key) == sub.WaitingFor {
			return wait, nil
		}
		return wait, s.Ledger.AddExchanges(ctx, sub.ID, prepareStep, p.evidence.json())
	}
	if err != nil {
		p.fail(err)
	}
	if err := s.Ledger.AddExchanges(ctx, sub.ID, prepareStep, p.evidence.json()); err != nil {
		return nil, err
	}
	return s.store(ctx, sub, p)
}

// wantedEvery is how often it is looked whether somebody has cancelled a submission that reads.
const wantedEvery = time.Second

// whileWanted gives a context that ends when somebody cancels the submission, and who has done so: a CHT may take long over a
// month. The caller calls settle.
func (s *Submitter) whileWanted(ctx context.Context, id string) (wanted context.Context, by func() string, settle func()) {
	wanted, cancel := context.WithCancelCause(ctx)
	looking := make(chan struct{})
	go func() {
		defer close(looking)
		ticker := time.NewTicker(wantedEvery)
		defer ticker.Stop()
		for {
			select {
			case <-wanted.Done():
				return
			case <-ticker.C:
			}
			if who, err := s.Ledger.Cancelled(wanted, id); err == nil && who != "" {
				cancel(&cancelledError{who})
			}
		}
	}()
	by = func() string {
		var c *cancelledError
		if errors.As(context.Cause(wanted), &c) {
			return c.by
		}
		return ""
	}
	return wanted, by, func() {
		cancel(nil)
		<-looking
	}
}

// cancelledError says who has cancelled a submission.
type cancelledError struct{ by string }

func (e *cancelledError) Error() string { return "cancelled by " + e.by }

// usualReaders is how many months are read at one time, unless set otherwise.
const usualReaders = 3

func (s *Submitter) readers() int {
	if s.Readers > 0 {
		return s.Readers
	}
	return usualReaders
}

// Reading is how many months are read at present, and how many may be.
func (s *Submitter) Reading() (now, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.reading[""]), s.readers()
}

// read waits for a turn to read from a source, of which there is one at a time, and a few in all.
func (s *Submitter) read(ctx context.Context, source string) (done func(), err error) {
	s.mu.Lock()
	if s.reading == nil {
		s.reading = map[string]chan struct{}{"": make(chan struct{}, s.readers())}
	}
	if s.reading[source] == nil {
		s.reading[source] = make(chan struct{}, 1)
	}
	own, all := s.reading[source], s.reading[""]
	s.mu.Unlock()
	select {
	case own <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case all <- struct{}{}:
		return func() { <-all; <-own }, nil
	case <-ctx.Done():
		<-own
		return nil, ctx.Err()
	}
}

// facts is what preparing knows of itself and is told later.
type facts struct {
	Rules []RuleUse `json:"rules"`
	// Version is DHIS2's.
	Version string `json:"version,omitempty"`
	// Changes is what differs from what DHIS2 accepted before.
	Changes *Changes `json:"changes,omitempty"`
	// Coverage is how many of the expected workers have synced.
	Coverage *ledger.CoverageTotals `json:"coverage,omitempty"`
}

// store leaves what a plan holds, with the job that goes on with it.
func (s *Submitter) store(ctx context.Context, sub ledger.Submission, p *Plan) (*pause, error) {
	text, err := json.Marshal(facts{Rules: p.tally.report.Rules, Version: p.server.Version, Changes: p.tally.report.Changes, Coverage: p.tally.report.Coverage})
	if err != nil {
		return nil, err
	}
	l := ledger.Preparation{
		Dialect: p.tally.report.Dialect, Facts: text, Issues: p.tally.issues.Items(), IssuesTotal: p.tally.issues.Total(),
		AddsUp: p.set.Compare.AddUp, ReadAt: p.readAt, Same: p.tally.same,
		Coverage: p.coverage.found(p.set.Coverage),
	}
	if p.agreed != nil && p.tally.failure == nil {
		l.Agreed = p.agreed.all
	}
	if p.tally.quarantine != nil && p.tally.failure == nil {
		l.Quarantine = p.tally.quarantine.all
	}
	if p.tally.failure == nil {
		l.Settings = p.settings
	}
	next := concludeStep
	counts := p.tally.report.Counts
	switch {
	case p.tally.failure != nil:
		l.State, l.Reason = p.tally.failure.state, string(p.tally.failure.reason)
		l.Error, l.Remedy = p.tally.failure.text, p.tally.failure.remedy
	case counts.Unsent == 0 && p.tally.allLocked() == nil && completes(p.set, sub):
		l.State, l.Counts, l.OrgUnits = ledger.Completing, counts, p.tally.outcomes
		next = completeStep
	case counts.Unsent == 0:
		end := endOf(counts, p.tally.allLocked())
		l.State, l.Reason, l.Counts, l.OrgUnits = end.State, end.Reason, counts, p.tally.outcomes
		l.Error, l.Remedy = end.Error, end.Remedy
	default:
		l.State, l.Counts, l.OrgUnits, l.Content = ledger.Ready, counts, p.tally.outcomes, p.content.all
		next = sendStep
		why := p.tally.holds
		if why == "" && s.Operation(sub.DataSet).Hold {
			why = "each submission of this data set waits for a person"
		}
		if why != "" && !sub.DryRun {
			l.State, next = ledger.Held, concludeStep // that it is held has to be told
			l.Error, l.Remedy = why, p.tally.holdRemedy
		}
	}
	err = s.Ledger.Prepared(ctx, sub.ID, l, s.jobs.next(next))
	var shared *ledger.SharedError
	if errors.As(err, &shared) {
		if p.set.Compare.AddUp { // the sum is not known before the other one is through
			return &pause{failure: failure{state: ledger.Failed, reason: Fault, text: "CHT " + shared.CHT + " sends org unit " + shared.OrgUnit + " too, and comes first"}, passes: true, turn: true}, nil
		}
		p.fail(sharedUnit(shared.OrgUnit, shared.CHT, sub.CHT))
		return s.store(ctx, sub, p)
	}
	if err == nil {
		s.log(sub.ID, sub.Key).WithField("state", string(l.State)).WithField("fetched", counts.Fetched).WithField("left_behind", counts.Quarantined).Info("submission is prepared")
	}
	return nil, err
}

// sharedUnit says that an org unit comes from two sources.
func sharedUnit(orgUnit, other, own string) error {
	return blocked("org_unit_of_two_sources", "let only one of the sources have the org unit: exclude or rename it for the other, in a data set of its own, and forget what came from it (mediator ledger forget); or say that they add up: shared_org_units: add",
		"org unit %s comes from %s and from %s, and the second would overwrite the first", orgUnit, other, own)
}
