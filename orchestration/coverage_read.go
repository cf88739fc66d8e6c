package orchestration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// heardAge is how old may be what is remembered of who was heard of in a month that lies before a period.
const heardAge = 7 * 24 * time.Hour

// cover finds who has synced: from the target documents that were read, or from the ids of those that the CHT's export was made of. A
// month goes without where it may, and waits for the CHT like for its figures where a rule needs it.
func (s *Submitter) cover(ctx context.Context, p *Plan, rules *mapping.Mapping, live map[string]bool) (err error) {
	switch {
	case !p.set.Coverage.On, p.visit != nil && p.set.Rules.EmptyOrgUnits != mapping.SendReported: // where only values are compared
	case p.sum != nil:
		p.coverage, err = p.covered(rules, live, p.sum)
	case p.set.needsCoverage():
		err = p.patience.with(ctx, "the CHT", func() (err error) {
			p.coverage, err = s.coverByIDs(ctx, p, rules, live)
			s.contacted("CHT "+p.from.Name, err)
			return err
		})
		s.noteDown(ctx, "CHT "+p.from.Name, err)
	default:
		p.coverage, err = s.coverByIDs(ctx, p, rules, live)
		err = p.without(ctx, err)
	}
	rules.Reported(p.coverage.isReported)
	return err
}

// without notes that a month goes without its coverage, or a part of it, as the CHT does not tell. It gives any other error back.
func (p *Plan) without(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || p.set.needsCoverage() || !errors.As(err, new(*cht.Error)) {
		return err
	}
	what, remedy := Explain(err)
	p.tally.addIssues([]issue.Issue{{
		Code: "coverage_unknown", Severity: issue.Note, Count: 1, Remedy: remedy,
		Text: "it is not known how many of the expected workers have synced, and the month goes without: " + what,
	}})
	return nil
}

// covered puts what a sum knows of who has synced under the ids of DHIS2.
func (p *Plan) covered(rules *mapping.Mapping, live map[string]bool, sum *target.Sum) (*coverage, error) {
	var items []string
	if p.sum != nil {
		for _, item := range p.set.Targets.Items {
			items = append(items, item.Target)
		}
	}
	c := newCoverage(items, p.sum != nil)
	err := sum.Coverage(func(u target.Coverage) error {
		//nolint:gosec // People of an org unit, and days since 1970.
		c.add(rules, live, u.OrgUnit, unitCoverage{
			expected: int32(u.Expected), seen: int32(u.Reported), others: int32(u.Seen - u.Reported), stale: int32(u.Stale), oldest: int32(u.Oldest),
		}, u.Missing)
		return nil
	})
	return c, err
}

// coverByIDs finds who has synced from the ids of the target documents alone.
func (s *Submitter) coverByIDs(ctx context.Context, p *Plan, rules *mapping.Mapping, live map[string]bool) (*coverage, error) {
	store, done, err := s.targetStore(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	r := &targetReading{Plan: p, submitter: s, store: store}
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	if err := r.readPlaces(ctx); err != nil {
		return nil, err
	}
	if err := r.expect(ctx); err != nil {
		return nil, err
	}
	var heard [][]target.ID
	for _, month := range monthsOf(p.period) {
		owners, err := r.hear(ctx, month)
		if err != nil {
			return nil, err
		}
		heard = append(heard, owners)
	}
	if err := r.readOwners(ctx); err != nil {
		return nil, err
	}
	hierarchy := target.NewHierarchy()
	for _, place := range r.places {
		hierarchy.AddPlace(place)
	}
	err = store.TargetOwners(ctx, ledger.TargetMonth{CHT: p.from.Name}, func(o ledger.TargetOwner) error {
		hierarchy.AddOwner(o.Owner)
		return nil
	})
	if err != nil {
		return nil, err
	}
	sum := target.NewSum(hierarchy, target.Rules{ExcludeTypes: p.set.Targets.ExcludeTypes}, p.set.ID, nil)
	one := make([]target.Document, 1) // of which nothing is known but that it is there
	for i, owners := range heard {
		if i > 0 {
			sum.NextMonth()
		}
		for _, owner := range owners {
			sum.Add(owner, one)
		}
		if i == 0 {
			r.expectIn(sum, owners)
		}
	}
	return p.covered(rules, live, sum)
}

// hear asks of whom there is a document of a month, and notes the owners as seen.
func (r *targetReading) hear(ctx context.Context, month cht.Month) (owners []target.ID, err error) {
	call := r.evidence.call(ctx, fmt.Sprintf("Ask CHT %s of whom it has a target document of %s", r.from.Name, month))
	err = r.from.Client.TargetRevisions(call, month, func(id, _ string) error {
		owner := ownerByID(id)
		r.see(owner)
		r.progress()
		owners = append(owners, r.key.Of(owner))
		return nil
	})
	slices.SortFunc(owners, func(a, b target.ID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(owners), err
}

// expect finds who is expected to sync: the contacts of the types that are set, without those that are muted or dead, or else those
// heard of in the months before the period. They are among the owners afterwards.
func (r *targetReading) expect(ctx context.Context) error {
	if types := r.set.Coverage.ExpectedTypes; len(types) > 0 {
		return r.expectTypes(ctx, types)
	}
	for _, month := range before(r.period) {
		at := ledger.TargetMonth{CHT: r.from.Name, Month: month.String()}
		owners, readAt, err := r.store.Heard(ctx, at)
		if err != nil {
			return err
		}
		isNew := func(id target.ID) bool { _, known := r.owners[id]; return !known }
		if isOld(r.submitter.now().Sub(readAt), heardAge) || slices.ContainsFunc(owners, isNew) {
			if owners, err = r.hear(ctx, month); err == nil {
				err = r.store.SaveHeard(ctx, at, owners)
			}
			if err != nil {
				return err
			}
		}
		r.expected = append(r.expected, owners...)
	}
	return nil
}

// expectTypes expects the contacts of some types, and remembers where they belong.
func (r *targetReading) expectTypes(ctx context.Context, types []string) error {
	fresh := r.ownerShelf()
	defer fresh.close()
	call := r.evidence.call(ctx, fmt.Sprintf("Read who is expected to sync from CHT %s", r.from.Name))
	err := r.from.Client.ContactsOfType(call, types, func(c *cht.Contact) error {
		o := r.ownerOf(c)
		was, known := r.owners[o.ID]
		isSame := known && was.revision == o.Revision
		was.revision, was.isNew, was.isOld = o.Revision, false, false
		r.owners[o.ID] = was
		r.progress()
		if !c.Away {
			r.expected = append(r.expected, o.ID)
		}
		if isSame {
			return nil
		}
		return fresh.add(ctx, o.Slot(), o.Append)
	})
	if ctx.Err() == nil {
		// A month may go without its coverage where the list broke off, but not without those who are taken for known by now.
		if failed := fresh.flush(ctx); failed != nil {
			return failed
		}
	}
	if err == nil && len(r.expected) == 0 { // else nobody would be expected anywhere, and no org unit be below anything
		err = noneOfTypes(types)
	}
	return err
}

// noneOfTypes says that a CHT has no contact of some types.
func noneOfTypes(types []string) error {
	return &cht.Error{
		Doing: "find the workers who are expected to sync", Kind: cht.Refused, What: "the CHT has no contact of type " + strings.Join(types, " or "),
		Remedy: "check expected_contact_types of the data set: they are ids of contact_types in the CHT's settings",
	}
}

// ownerOf makes of a contact what is remembered of an owner.
func (r *targetReading) ownerOf(c *cht.Contact) ledger.TargetOwner {
	o := ledger.TargetOwner{Owner: target.Owner{ID: r.key.Of(c.ID), Gone: c.State != cht.Present}, Revision: ledger.RevisionOf("")}
	if o.Gone {
		return o
	}
	o.Type, o.Revision = c.Type, ledger.RevisionOf(c.Rev)
	for _, parent := range c.Parents {
		o.Parents = append(o.Parents, r.key.Of(parent))
	}
	return o
}

// expectIn tells a sum, in its first month, whom to expect. Without contact types those heard of in that month are expected too: else
// a new worker would be none.
func (r *targetReading) expectIn(sum *target.Sum, heard []target.ID) {
	for _, id := range r.expected {
		sum.Expect(id)
	}
	if len(r.set.Coverage.ExpectedTypes) > 0 {
		return
	}
	for _, id := range heard {
		sum.Expect(id)
	}
}

// ReadCoverage asks the CHT how many of the expected workers have synced for a request's data set, period and source, in numbers.
// Nothing is remembered of the answer.
func (s *Submitter) ReadCoverage(ctx context.Context, r Request) (found ledger.Coverage, err error) {
	who, err := s.parties(r.DataSet, r.CHT)
	if err != nil {
		return found, err
	}
	p := s.newPlan(newID(), who, r)
	settings, err := s.findPeriod(ctx, p)
	if err != nil {
		return found, err
	}
	rules, err := s.mappingFor(ctx, p, settings)
	if err != nil {
		return found, err
	}
	c, err := s.coverByIDs(ctx, p, rules, nil)
	if err != nil {
		return found, err
	}
	found = *c.found(p.set.Coverage)
	found.Key, found.ReadAt = p.key(), s.now()
	return found, nil
}

// findPeriod reads a CHT's settings, and finds the period of a plan by them.
func (s *Submitter) findPeriod(ctx context.Context, p *Plan) (settings *cht.Settings, err error) {
	if err := CheckPeriod(p.request.Period); err != nil {
		return nil, err
	}
	if settings, err = p.from.Client.Settings(ctx); err != nil {
		return nil, err
	}
	p.period, err = s.ofItsType(p, settings)
	return settings, err
}

// mappingFor makes the rules of a plan's data set ready to give org units their new ids, without asking DHIS2 where it need not be.
func (s *Submitter) mappingFor(ctx context.Context, p *Plan, settings *cht.Settings) (*mapping.Mapping, error) {
	set := dhis2.DataSet{ID: p.set.ID}
	if p.set.IDSchemes != (dhis2.IDSchemes{}) {
		var err error
		if set, err = s.ReadDataSet(ctx, p.set); err != nil {
			return nil, err
		}
	}
	return mapping.New(p.set.Rules, settings, set), nil
}
