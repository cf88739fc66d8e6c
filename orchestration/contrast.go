package orchestration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/target"
)

// Unexplained is the cause of a difference between the sources that no rule explains: the CHT has changed while both were read, or one
// of both computes otherwise than is known.
const Unexplained target.Cause = "unexplained"

// SourcePair is a cell as the CHT's export and its target documents give it, under its ids in the CHT. A side that has none is empty.
type SourcePair struct {
	OrgUnit              string `json:"org_unit"`
	DataElement          string `json:"data_element"`
	CategoryOptionCombo  string `json:"category_option_combo"`
	AttributeOptionCombo string `json:"attribute_option_combo"`
	Export               string `json:"export"`
	Targets              string `json:"targets"`
	// Causes are why they differ, in the order in which one leads from the export to the documents; none where they do not.
	Causes []CauseStep `json:"causes,omitempty"`
}

// CauseStep is a cause, and what the cell is with it. An empty value is that there is no such cell.
type CauseStep struct {
	Cause target.Cause `json:"cause"`
	Value string       `json:"value"`
}

// CauseCount is how many cells differ for a cause, alone or beside others.
type CauseCount struct {
	Cause target.Cause `json:"cause"`
	Cells int          `json:"cells"`
}

// Contrast tells where the CHT's export and its target documents agree about a period, and why they do not.
type Contrast struct {
	DataSet string `json:"data_set"`
	Period  string `json:"period"`
	CHT     string `json:"cht"`
	// Source is the one that the data set is read from: export or targets.
	Source      string       `json:"source"`
	Same        int          `json:"same"`
	Differ      int          `json:"differ"`
	Unexplained int          `json:"unexplained"`
	Causes      []CauseCount `json:"causes"`
	// Different are the first issue.ListLimit pairs that are not the same, those unexplained first.
	Different []SourcePair `json:"different"`
	// Changed is how many target documents changed while both were read.
	Changed int `json:"changed"`
	// Issues are what the target documents give to think about.
	Issues []issue.Issue `json:"issues"`

	Reason Reason `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Contrast reads a period from both sources, and explains each cell in which they differ. Nothing is sent. Each pair is given to yield,
// which may be nil. The error is for a request that can mean nothing and for one of yield; every other failure is in the contrast.
func (s *Submitter) Contrast(ctx context.Context, r Request, yield func(SourcePair) error) (Contrast, error) {
	c := Contrast{DataSet: r.DataSet, Period: r.Period, CHT: r.CHT, Source: "export", Causes: []CauseCount{}, Different: []SourcePair{}, Issues: []issue.Issue{}}
	who, err := s.parties(r.DataSet, r.CHT)
	if err != nil {
		return c, err
	}
	if err := CheckPeriod(r.Period); err != nil {
		return c, err
	}
	if who.set.FromTargets {
		c.Source = "targets"
	}
	p := s.newPlan(newID(), who, r)
	p.patience = s.newPatience()
	defer p.Close()
	b := &bothSources{Plan: p, submitter: s, contrast: &c, yield: yield, counts: map[target.Cause]int{}}
	if err = b.read(ctx); err == nil {
		err = b.explain()
	}
	if b.spool != nil {
		b.spool.close()
	}
	if b.fault != nil {
		return c, b.fault
	}
	if errors.As(err, new(*UsageError)) {
		return c, err
	}
	if err != nil {
		f := failureOf(err)
		c.Reason, c.Error, c.Remedy = f.reason, f.text, f.remedy
	}
	return c, nil
}

// bothSources reads a period twice.
type bothSources struct {
	*Plan

	submitter *Submitter
	contrast  *Contrast
	spool     *cellSpool
	ladder    *target.Ladder
	yield     func(SourcePair) error
	counts    map[target.Cause]int
	// explained are pairs that differ and are explained, of which the contrast has as many as there is room for.
	explained []SourcePair
	// given is the next value that the target documents give as they would be sent.
	given func() (cht.Value, bool)
	next  *cht.Value
	fault error
}

// read reads target documents first, then the export, and then looks whether the documents have changed meanwhile.
func (b *bothSources) read(ctx context.Context) error {
	s := b.submitter
	var settings *cht.Settings
	err := b.patience.with(ctx, "the CHT", func() (err error) {
		settings, err = b.from.Client.Settings(b.evidence.call(ctx, "Read the settings of CHT "+b.from.Name))
		return err
	})
	if err == nil {
		err = settings.Check(b.set.ID)
	}
	if err != nil {
		return err
	}
	s.keepCalendar(ctx, b.from, settings)
	if b.period, err = s.ofItsType(b.Plan, settings); err != nil {
		return err
	}
	b.contrast.Period = b.period.String()
	b.set.FromTargets, b.set.Coverage.On = true, false // who should have reported makes no figure another one
	b.bySource(settings, "")
	store, done, err := s.targetStore(ctx)
	if err != nil {
		return err
	}
	defer done()
	reading := &targetReading{submitter: s, store: store, Plan: b.Plan}
	err = b.patience.with(ctx, "the CHT", func() error {
		*reading = targetReading{submitter: s, store: store, Plan: b.Plan}
		return reading.all(ctx)
	})
	if err != nil {
		return err
	}
	if err := b.climb(ctx, reading, settings); err != nil {
		return err
	}
	err = b.patience.with(ctx, "the CHT", func() error { return b.readExport(ctx) })
	if err != nil {
		return err
	}
	return b.patience.with(ctx, "the CHT", func() error { return b.changed(ctx, reading) })
}

// all brings what is remembered of a period up to date.
func (r *targetReading) all(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	if err := r.readPlaces(ctx); err != nil {
		return err
	}
	for _, month := range monthsOf(r.period) {
		if err := r.readMonth(ctx, month); err != nil {
			return err
		}
	}
	return r.readOwners(ctx)
}

// climb adds up what is remembered of the documents, by one rule after the other.
func (b *bothSources) climb(ctx context.Context, r *targetReading, settings *cht.Settings) error {
	names, err := r.store.TargetNames(ctx, b.from.Name)
	if err != nil {
		return err
	}
	config := target.LadderConfig{Today: target.NewHierarchy(), DataSet: b.set.ID, Names: names, Rules: b.set.Targets}
	if b.set.AsFirst {
		config.First = target.NewHierarchy()
	}
	for _, place := range r.places {
		config.Today.AddPlace(place)
		if b.set.AsFirst {
			config.First.AddPlace(place)
		}
	}
	for _, t := range settings.Targets {
		item := target.Item{Target: t.ID, DataElement: t.DataElement, CategoryOptionCombo: orNoCombo(t.CategoryOptionCombo), AttributeOptionCombo: orNoCombo(t.AttributeOptionCombo)}
		switch {
		case !t.For(b.set.ID):
		case t.Listed:
			config.Listed = append(config.Listed, item)
		default:
			config.Exported = append(config.Exported, item)
		}
	}
	config.Rules.Items = slices.Clone(config.Rules.Items)
	for i := range config.Rules.Items {
		item := &config.Rules.Items[i]
		item.CategoryOptionCombo, item.AttributeOptionCombo = orNoCombo(item.CategoryOptionCombo), orNoCombo(item.AttributeOptionCombo)
	}
	b.ladder = target.NewLadder(config)
	for i, month := range monthsOf(b.period) {
		at := ledger.TargetMonth{CHT: b.from.Name, Month: month.String()}
		if i > 0 {
			b.ladder.NextMonth()
		}
		err := r.store.TargetOwners(ctx, at, func(o ledger.TargetOwner) error {
			config.Today.AddOwner(o.Owner)
			if b.set.AsFirst {
				config.First.AddOwner(*cmp.Or(o.First, &o.Owner))
			}
			return nil
		})
		if err == nil {
			err = r.store.TargetDocuments(ctx, at, func(owner target.ID, documents []target.Document) error {
				b.ladder.Add(owner, documents)
				return nil
			})
		}
		if err != nil {
			return err
		}
	}
	if b.sum, err = r.add(ctx); err != nil {
		return err
	}
	found := b.sum.Findings()
	b.contrast.Issues = append(b.contrast.Issues, r.issues(&found)...)
	return nil
}

// orNoCombo writes the default combo in one way.
func orNoCombo(id string) string {
	if id == dhis2.DefaultCombo {
		return ""
	}
	return id
}

// readExport puts the CHT's export aside by org unit.
func (b *bothSources) readExport(ctx context.Context) error {
	if b.spool != nil {
		b.spool.close()
	}
	file, err := newSpool(b.submitter.SpoolDir)
	if err != nil {
		return err
	}
	b.spool = &cellSpool{spool: file}
	done := 0
	for _, month := range monthsOf(b.period) {
		call := b.evidence.call(ctx, fmt.Sprintf("Fetch %s from CHT %s", month, b.from.Name))
		err := b.from.Client.Export(call, b.set.ID, month, func(v *cht.Value) error {
			if done%progressEvery == 0 {
				b.submitter.watch(Progress{Step: "fetch", Done: done})
			}
			done++
			cell := mapping.Cell{
				OrgUnit: v.OrgUnit.Text, DataElement: v.DataElement.Text, CategoryOptionCombo: orNoCombo(v.CategoryOptionCombo.Text), AttributeOptionCombo: orNoCombo(v.AttributeOptionCombo.Text),
			}
			n, err := strconv.ParseInt(v.Value.Text, 10, 64)
			if cell.Value = n; err != nil || v.Value.Kind != cht.Number || n < 0 {
				cell.Value, cell.Found = mapping.Unread, cmp.Or(v.Value.Text, "null")
			}
			return b.spool.add(&cell)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// changed counts the documents that are not what they were when they were read.
func (b *bothSources) changed(ctx context.Context, r *targetReading) error {
	b.contrast.Changed = 0
	for _, month := range monthsOf(b.period) {
		known, _, err := r.store.TargetRevisions(ctx, ledger.TargetMonth{CHT: b.from.Name, Month: month.String()})
		if err != nil {
			return err
		}
		call := b.evidence.call(ctx, fmt.Sprintf("Ask CHT %s which target documents of %s have changed", b.from.Name, month))
		err = b.from.Client.TargetRevisions(call, month, func(id, rev string) error {
			hash := r.key.Of(id)
			was, there := known[hash]
			delete(known, hash)
			if !there || was != ledger.RevisionOf(rev) && was != (ledger.Revision{}) {
				b.contrast.Changed++
			}
			return nil
		})
		if err != nil {
			return err
		}
		b.contrast.Changed += len(known)
	}
	return nil
}

// explain lays both side by side, org unit by org unit.
func (b *bothSources) explain() error {
	left, err := b.spool.orgUnits()
	if err != nil {
		return err
	}
	var sumErr error
	given, stop := iter.Pull(func(yield func(cht.Value) bool) {
		sumErr = b.sum.Values(func(v *cht.Value) error {
			if !yield(*v) {
				return errEnough
			}
			return nil
		})
	})
	defer stop()
	b.given = given
	err = b.ladder.Traces(func(orgUnit string, traces []target.Trace) error {
		for len(left) > 0 && left[0] < orgUnit {
			if err := b.orgUnit(left[0], nil); err != nil {
				return err
			}
			left = left[1:]
		}
		if len(left) > 0 && left[0] == orgUnit {
			left = left[1:]
		}
		return b.orgUnit(orgUnit, traces)
	})
	for _, orgUnit := range left {
		if err == nil {
			err = b.orgUnit(orgUnit, nil)
		}
	}
	if err == nil && !errors.Is(sumErr, errEnough) {
		err = sumErr
	}
	for _, cause := range append(target.Causes(), Unexplained) {
		if b.counts[cause] > 0 {
			b.contrast.Causes = append(b.contrast.Causes, CauseCount{cause, b.counts[cause]})
		}
	}
	room := max(0, issue.ListLimit-len(b.contrast.Different))
	b.contrast.Different = append(b.contrast.Different, b.explained[:min(len(b.explained), room)]...)
	if err == nil && b.contrast.Unexplained > 0 {
		b.contrast.Reason = NothingAccepted
	}
	return err
}

// sumOf gives the values of an org unit as they would be sent, which are asked for in order.
func (b *bothSources) sumOf(orgUnit string) map[[3]string]string {
	values := map[[3]string]string{}
	for {
		if b.next == nil {
			v, more := b.given()
			if !more {
				return values
			}
			b.next = &v
		}
		v := b.next
		if v.OrgUnit.Text > orgUnit {
			return values
		}
		if v.OrgUnit.Text == orgUnit {
			values[[3]string{v.DataElement.Text, orNoCombo(v.CategoryOptionCombo.Text), orNoCombo(v.AttributeOptionCombo.Text)}] = v.Value.Text
		}
		b.next = nil
	}
}

// exportCell is what the export gives of a cell: of several months the sum.
type exportCell struct {
	mapping.Cell

	isTaken bool
}

// orgUnit explains the cells of one org unit.
func (b *bothSources) orgUnit(orgUnit string, traces []target.Trace) error {
	cells, err := b.spool.of(orgUnit)
	if err != nil {
		return err
	}
	at := map[[3]string]*exportCell{}
	var order []*exportCell
	for _, c := range cells {
		key := [3]string{c.DataElement, c.CategoryOptionCombo, c.AttributeOptionCombo}
		switch known := at[key]; {
		case known == nil:
			at[key] = &exportCell{Cell: c}
			order = append(order, at[key])
		case known.Found != "" || c.Found != "":
			known.Value, known.Found = mapping.Unread, cmp.Or(known.Found, c.Found)
		default:
			known.Value += c.Value
		}
	}
	sums := b.sumOf(orgUnit)
	for _, t := range traces {
		key := [3]string{t.DataElement, t.CategoryOptionCombo, t.AttributeOptionCombo}
		e := at[key]
		if e != nil {
			e.isTaken = true
		}
		if err := b.pair(orgUnit, e, t, sums[key]); err != nil {
			return err
		}
	}
	for _, e := range order {
		if e.isTaken {
			continue
		}
		t := target.Trace{DataElement: e.DataElement, CategoryOptionCombo: e.CategoryOptionCombo, AttributeOptionCombo: e.AttributeOptionCombo}
		if err := b.pair(orgUnit, e, t, ""); err != nil {
			return err
		}
	}
	return nil
}

// pair explains one cell, of which the target documents give a value as it would be sent.
func (b *bothSources) pair(orgUnit string, e *exportCell, t target.Trace, given string) error {
	p := SourcePair{OrgUnit: orgUnit, DataElement: t.DataElement, CategoryOptionCombo: t.CategoryOptionCombo, AttributeOptionCombo: t.AttributeOptionCombo}
	should := numberText(t.Exported)
	p.Targets = should
	if e != nil {
		p.Export = cmp.Or(e.Found, strconv.FormatInt(e.Value, 10))
	}
	for _, step := range t.Steps {
		p.Targets = numberText(step.Number)
		p.Causes = append(p.Causes, CauseStep{step.Cause, p.Targets})
	}
	if p.Targets != given { // the ladder does not lead there
		p.Targets = given
		p.Causes = append(p.Causes, CauseStep{Unexplained, given})
	}
	switch {
	case p.Export == p.Targets && (p.Export != "" || len(t.Steps) == 0):
		p.Causes = nil
	case p.Export == should:
	case t.Doubtful:
		p.Causes = slices.Insert(p.Causes, 0, CauseStep{target.MalformedDocument, should})
	default:
		p.Causes = slices.Insert(p.Causes, 0, CauseStep{Unexplained, should})
	}
	return b.count(p)
}

func (b *bothSources) count(p SourcePair) error {
	if p.Export == "" && p.Targets == "" {
		return nil // it was there between the two only
	}
	if len(p.Causes) == 0 {
		b.contrast.Same++
	} else {
		b.contrast.Differ++
		b.list(p)
	}
	if b.yield == nil {
		return nil
	}
	b.fault = b.yield(p)
	return b.fault
}

// list keeps a pair that differs, those first that nothing explains.
func (b *bothSources) list(p SourcePair) {
	var seen []target.Cause
	for _, step := range p.Causes {
		if !slices.Contains(seen, step.Cause) {
			seen = append(seen, step.Cause)
			b.counts[step.Cause]++
		}
	}
	to := &b.explained
	if slices.Contains(seen, Unexplained) {
		b.contrast.Unexplained++
		to = &b.contrast.Different
	}
	if len(*to) < issue.ListLimit {
		*to = append(*to, p)
	}
}

func numberText(n target.Number) string {
	if !n.Given {
		return ""
	}
	return strconv.FormatInt(n.Value, 10)
}
