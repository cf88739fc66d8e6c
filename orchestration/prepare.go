package orchestration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// Plan is a submission that is read, checked and written down, and not sent. It holds temporary files until Close.
type Plan struct {
	parties

	request Request
	period  dhis2.Period
	server  dhis2.Server
	content *content
	tally   *tally
	// patience is for the whole of the submission.
	patience *patience
}

// Close removes the plan's temporary files.
func (p *Plan) Close() {
	if p.content != nil {
		p.content.close()
	}
}

// Report tells what the plan holds: what would be sent, and what stays behind and why.
func (p *Plan) Report() Report { return p.tally.finish() }

// Period is what the request's period was resolved to; the zero Period when it could not be.
func (p *Plan) Period() dhis2.Period { return p.period }

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

// Prepare reads the month from the CHT, applies the rules and writes down what is to be sent. Nothing is sent. The error
// is for a request that can mean nothing; every other failure is in the plan's report. The caller closes the plan.
func (s *Submitter) Prepare(ctx context.Context, r Request) (*Plan, error) {
	who, err := s.parties(r)
	if err != nil {
		return nil, err
	}
	if err := CheckPeriod(r.Period); err != nil {
		return nil, err
	}
	p := &Plan{parties: who, request: r, patience: s.newPatience(), tally: newTally(Report{
		ID: newID(), DataSet: r.DataSet, Title: who.set.Title, Period: r.Period, CHT: r.CHT, DHIS2: who.set.DHIS2,
		State: Ready, DryRun: r.DryRun, RequestedBy: r.RequestedBy,
	})}
	defer func() { p.tally.rules(p.set.Rules) }()
	if down := s.isDown(who.to.Name); down != nil {
		p.tally.fail(*down)
		return p, nil
	}
	if err := s.prepare(ctx, p); err != nil {
		s.noteDown(who.to.Name, err)
		var check *blockedError
		if errors.As(err, &check) {
			p.tally.issues.Add(check.Issue)
		}
		p.tally.fail(failureOf(err))
	}
	return p, nil
}

func (s *Submitter) prepare(ctx context.Context, p *Plan) error {
	var set dhis2.DataSet
	err := p.patience.with(ctx, "DHIS2", func() (err error) {
		if p.server, err = p.to.Client.Server(ctx); err != nil {
			return err
		}
		p.tally.report.Dialect = string(p.server.Dialect)
		if err := dhis2.CheckCalendar(p.server.Calendar); err != nil {
			return blocked("calendar", "this version of the mediator sends to servers with the ISO calendar only", "%v", err)
		}
		set, err = p.to.Client.DataSet(ctx, p.set.ID)
		return err
	})
	if err != nil {
		return err
	}
	if !set.CanWrite {
		return blocked("data_set_not_writable", "share the data set with the account (capture data) in DHIS2", "the account may not write data of data set %s", set.ID)
	}
	var settings *cht.Settings
	err = p.patience.with(ctx, "the CHT", func() (err error) {
		settings, err = p.from.Client.Settings(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if err := settings.Check(p.set.ID); err != nil {
		return err
	}
	if p.period, err = s.resolve(p, set, settings); err != nil {
		return err
	}
	p.tally.report.Period = p.period.String()

	rules := mapping.New(p.set.Rules, settings, set)
	var gathered *gathering
	err = p.patience.with(ctx, "the CHT", func() (err error) {
		gathered, err = s.fetch(ctx, p, rules)
		return err
	})
	if err != nil {
		return err
	}
	defer gathered.spool.close()
	p.tally.addIssues(mapping.NotExported(settings, p.set.ID))
	return s.settle(p, gathered, rules)
}

// resolve finds the period and makes sure that it may be sent.
func (s *Submitter) resolve(p *Plan, set dhis2.DataSet, settings *cht.Settings) (dhis2.Period, error) {
	if set.PeriodType != dhis2.Monthly {
		return dhis2.Period{}, blocked("period_type", "send a data set of the Monthly period type, or change it in DHIS2", "data set %s is %s in DHIS2, and the CHT's export counts in months", set.ID, set.PeriodType)
	}
	now, zone := s.now(), p.from.Zone
	if zone == nil {
		zone = time.UTC
	}
	if p.request.Period == LatestClosed {
		period, err := dhis2.LatestClosed(dhis2.Monthly, now.In(zone).AddDate(0, 2, 0))
		for err == nil && !settings.Closed(monthOf(period), now, zone) {
			period = period.Previous()
		}
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
		return dhis2.Period{}, blocked("period_type", "give a month, such as 202610", "period %s is %s, and data set %s is %s in DHIS2", period, period.Type(), set.ID, set.PeriodType)
	}
	if !settings.Closed(monthOf(period), now, zone) {
		return dhis2.Period{}, blocked("period_not_closed", "send it when it is over, or ask for "+LatestClosed, "period %s is not over: %s, in %s", period, settings.ClosesText(monthOf(period)), zone)
	}
	return period, p.mayBeSent(period, settings)
}

// mayBeSent makes sure of a period that is over by our clock: by the clock of DHIS2 it must be over too, as a machine
// whose clock runs ahead would send a month that goes on, and it must not lie before the data set's first one.
func (p *Plan) mayBeSent(period dhis2.Period, settings *cht.Settings) error {
	date := p.server.Date[:min(len(p.server.Date), len(time.DateOnly))]
	if day, err := time.Parse(time.DateOnly, date); err == nil && day.Before(settings.LastDay(monthOf(period))) {
		return blocked("clocks_differ", "set the clocks of this machine and of the DHIS2 server right", "by the clock of DHIS2 it is %s, and period %s is not over", date, period)
	}
	if period.Before(p.set.FirstPeriod) {
		return blocked("before_first_period", "lower first_period of the data set if this period is to be sent", "period %s lies before %s, the data set's first_period", period, p.set.FirstPeriod)
	}
	return nil
}

func monthOf(p dhis2.Period) cht.Month {
	return cht.Month{Year: p.First().Year(), Month: p.First().Month()}
}

// gathering is what fetch leaves: the cells by org unit, and what was found on the way.
type gathering struct {
	spool *spool
	// dropped are the cells that a rule leaves out, by org unit; homeless those without an org unit.
	dropped  map[string]int
	homeless issue.List
	extras   map[string]int
	uses     mapping.Uses
	cell     mapping.Cell // the one under way
}

const progressEvery = 5000

// fetch reads the export into a spool.
func (s *Submitter) fetch(ctx context.Context, p *Plan, rules *mapping.Mapping) (*gathering, error) {
	spool, err := newSpool(s.SpoolDir)
	if err != nil {
		return nil, err
	}
	// CHT's answer always has completeDate, the day of the request: it says nothing of completeness and is not sent.
	g := &gathering{spool: spool, dropped: map[string]int{}, extras: map[string]int{"completeDate": 1}}
	wanted := wantedOrgUnits(p.request.OrgUnits)
	err = p.from.Client.Export(ctx, p.set.ID, monthOf(p.period), func(v *cht.Value) error {
		if v.Index%progressEvery == 0 {
			s.watch(Progress{Step: "fetch", Done: v.Index})
		}
		return g.take(v, rules, wanted)
	})
	if err != nil {
		spool.close()
		return nil, err
	}
	for _, orgUnit := range p.request.OrgUnits {
		if !wanted[orgUnit] {
			continue
		}
		spool.close()
		return nil, blocked("org_unit_absent", "check the id: it is the one in DHIS2, after renaming", "org unit %s is not in the CHT's answer", orgUnit)
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

func (g *gathering) take(v *cht.Value, rules *mapping.Mapping, wanted map[string]bool) error {
	c := &g.cell
	fate := rules.Take(v, c)
	if wanted != nil {
		if _, asked := wanted[c.OrgUnit]; !asked {
			return nil
		}
		wanted[c.OrgUnit] = false
	}
	for _, name := range v.Extra {
		g.extras[name]++
	}
	g.uses.Take(c)
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

// settle makes of the gathered cells what is to be sent.
func (s *Submitter) settle(p *Plan, g *gathering, rules *mapping.Mapping) error {
	t := p.tally
	t.uses.Add(g.uses)
	t.issues.Join(&g.homeless)
	t.report.Counts.Quarantined += g.homeless.Total()
	for orgUnit, n := range g.dropped {
		t.orgUnit(orgUnit).Dropped += n
		t.report.Counts.Dropped += n
	}
	var err error
	if p.content, err = newContent(s.SpoolDir); err != nil {
		return err
	}
	reported := 0
	err = g.spool.orgUnits(func(orgUnit string, cells []mapping.Cell) error {
		settled := rules.OrgUnit(cells)
		result := t.orgUnit(orgUnit)
		result.Dropped += settled.Dropped
		result.Quarantined += settled.Quarantined
		t.report.Counts.Dropped += settled.Dropped
		t.report.Counts.Quarantined += settled.Quarantined
		t.report.Counts.Unsent += len(settled.Values)
		result.Unsent += len(settled.Values)
		t.uses.Add(settled.Uses)
		t.addIssues(settled.Issues)
		if !settled.Empty {
			reported++
		}
		return p.content.add(orgUnit, settled.Values)
	})
	if err != nil {
		return err
	}
	t.report.Counts.Fetched = t.report.Counts.Dropped + t.report.Counts.Quarantined + t.report.Counts.Unsent
	t.addIssues(mapping.Extras(g.extras))
	if reported == 0 {
		t.addIssues([]issue.Issue{{
			Code: "nothing_reported", Severity: issue.Note, Count: t.report.Counts.Dropped,
			Text: "every value is zero or left out by a rule, so nothing is sent", Remedy: "check that phones have synced for this month, and the rules of the data set",
		}})
	}
	if err := p.content.seal(); err != nil {
		return err
	}
	return s.claimOrgUnits(p)
}

// claimOrgUnits refuses an org unit that another source of the same data set sent before, in the life of this Submitter:
// the second would overwrite the first.
func (s *Submitter) claimOrgUnits(p *Plan) error {
	if len(p.set.CHT) < 2 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claimed == nil {
		s.claimed = map[claim]string{}
	}
	for _, at := range p.content.parts {
		key := claim{p.set.ID, p.period, at.attributeOptionCombo, at.orgUnit}
		if other, taken := s.claimed[key]; taken && other != p.from.Name {
			return blocked("org_unit_of_two_sources", "let only one of the sources have the org unit: exclude or rename it for the other, in a data set of its own", "org unit %s comes from %s and from %s, and the second would overwrite the first", at.orgUnit, other, p.from.Name)
		}
		s.claimed[key] = p.from.Name
	}
	return nil
}

// claim is an org unit's part of a data set and period.
type claim struct {
	dataSet                       string
	period                        dhis2.Period
	attributeOptionCombo, orgUnit string
}

// isDown gives what stopped an earlier submission to a DHIS2 for all that follow, nil where nothing did.
func (s *Submitter) isDown(destination string) *failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.down[destination]; ok {
		return &f
	}
	return nil
}

// noteDown remembers that a DHIS2 refused the account or is none at all. To ask again with each source would lock the
// account.
func (s *Submitter) noteDown(destination string, err error) {
	var known *dhis2.Error
	if !errors.As(err, &known) || known.Kind != dhis2.Credentials && known.Kind != dhis2.Unusable {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down == nil {
		s.down = map[string]failure{}
	}
	s.down[destination] = failureOf(err)
}

// patience is how long one submission may still wait for servers that are away.
type patience struct {
	submitter *Submitter
	left      time.Duration
	next      time.Duration
}

const firstPause = 5 * time.Second

func (s *Submitter) newPatience() *patience {
	return &patience{submitter: s, left: s.Wait, next: firstPause}
}

// with calls f, again after growing pauses while it fails with what may pass. A call that fails uses up patience too.
func (p *patience) with(ctx context.Context, server string, f func() error) error {
	for {
		started := time.Now()
		err := f()
		if err != nil {
			p.left -= time.Since(started)
		}
		if err == nil || !mayPass(err) || !p.pause(ctx, 0, server+" is away") {
			return cmp.Or(ctx.Err(), err) // who stopped it wants to hear that it was stopped
		}
	}
}

// pause waits, at least as long as least says, and says whether there was patience left to do so.
func (p *patience) pause(ctx context.Context, least time.Duration, why string) bool {
	if p.left <= 0 || least > p.left || ctx.Err() != nil {
		return false
	}
	wait := max(least, min(p.next, p.left))
	p.left -= wait
	p.next *= 2
	p.submitter.watch(Progress{Waiting: fmt.Sprintf("%s, next try in %s", why, wait.Round(time.Second))})
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func mayPass(err error) bool {
	var source *cht.Error
	var destination *dhis2.Error
	return errors.As(err, &source) && source.Temporary || errors.As(err, &destination) && destination.Temporary
}
