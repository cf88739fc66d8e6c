package orchestration

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

// holdings are what a month is compared with: what the ledger knows and what DHIS2 holds.
type holdings struct {
	base, others, tried *acceptedReader
	// theirs is nil where DHIS2 was not read.
	theirs *heldSpool
}

// holdings opens what is known of a plan's period. The caller closes it.
func (s *Submitter) holdings(ctx context.Context, p *Plan) *holdings {
	h := &holdings{base: readAccepted(nil), others: readAccepted(nil), tried: readAccepted(nil)}
	if s.Ledger == nil {
		return h
	}
	p.readAt = s.Ledger.Now()
	h.base, h.others, h.tried = readAccepted(s.Ledger.Accepted(ctx, p.key())), readAccepted(s.Ledger.AcceptedOfOthers(ctx, p.key())), readAccepted(s.Ledger.Tried(ctx, p.key()))
	return h
}

func (h *holdings) close() {
	h.base.stop()
	h.others.stop()
	h.tried.stop()
	if h.theirs != nil {
		h.theirs.close()
	}
}

// fill puts into a unit what is known of its org unit. The lists are good until the next one, which must be of an org unit
// that comes after it.
func (h *holdings) fill(u *unit) (err error) {
	if u.base, err = h.base.of(u.orgUnit); err != nil {
		return err
	}
	if u.tried, err = h.tried.of(u.orgUnit); err != nil {
		return err
	}
	if u.others, err = h.others.of(u.orgUnit); err != nil {
		return err
	}
	u.others = summed(u.others)
	if h.theirs != nil {
		u.theirs, err = h.theirs.of(u.orgUnit)
	}
	return err
}

// acceptedReader reads parts of org units in the order of their ids.
type acceptedReader struct {
	next func() (ledger.AcceptedPart, error, bool)
	stop func()
	head ledger.AcceptedPart
	more bool
	err  error

	cells []cell
	// source is that of the cells read last.
	source string
}

func readAccepted(parts iter.Seq2[ledger.AcceptedPart, error]) *acceptedReader {
	if parts == nil {
		parts = func(func(ledger.AcceptedPart, error) bool) {}
	}
	r := &acceptedReader{}
	r.next, r.stop = iter.Pull2(parts)
	r.advance()
	return r
}

func (r *acceptedReader) advance() {
	r.head, r.err, r.more = r.next()
	r.more = r.more && r.err == nil
}

// of gives the cells of an org unit, in their order; those of several parts for one cell are added up. It is good until the
// next one. Org units that come before it are passed over.
func (r *acceptedReader) of(orgUnit string) ([]cell, error) {
	r.cells = r.cells[:0]
	for r.more && r.head.OrgUnit < orgUnit {
		r.advance()
	}
	parts := 0
	for ; r.more && r.head.OrgUnit == orgUnit; parts++ {
		values, err := r.head.Values()
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			r.cells = append(r.cells, cellOf(r.head.AttributeOptionCombo, v))
		}
		r.source = r.head.CHT
		r.advance()
	}
	if r.err != nil || parts < 2 {
		return r.cells, r.err
	}
	slices.SortStableFunc(r.cells, compareCells)
	return r.cells, nil
}

// summed adds up what several sources say of one cell.
func summed(cells []cell) []cell {
	var sums []cell
	for i := range cells {
		if last := len(sums) - 1; last >= 0 && compareCells(sums[last], cells[i]) == 0 {
			sums[last] = *sums[last].plus(&cells[i])
			continue
		}
		sums = append(sums, cells[i])
	}
	return sums
}

// mostListedUnits is how many org units are asked for by their ids; of more, all that the account sees are read.
const mostListedUnits = 40

// readTheirs reads what DHIS2 holds of a settlement's period; ours are the org units that the CHT gives. Where the account may
// not read it, that is noted, and the ledger alone is compared with.
func (s *Submitter) readTheirs(ctx context.Context, m *metadata, w *settlement, ours []string) (err error) {
	p := w.Plan
	slice := dhis2.Slice{DataSet: p.id, Period: p.period, OrgUnits: p.request.OrgUnits}
	if len(slice.OrgUnits) == 0 || len(slice.OrgUnits) > mostListedUnits {
		if slice.OrgUnits, err = s.roots(ctx, p, m, ours); err != nil {
			return err
		}
	}
	if len(slice.OrgUnits) == 0 {
		return s.unread(p, errors.New("the account has no org units in DHIS2"))
	}
	err = p.patience.with(ctx, "DHIS2", func() error {
		file, err := newSpool(s.SpoolDir)
		if err != nil {
			return err
		}
		theirs, read := &heldSpool{spool: file}, 0
		err = p.to.Client.Values(p.evidence.call(ctx, fmt.Sprintf("Read what DHIS2 %s holds of %s", p.to.Name, p.period)), slice, func(v *dhis2.StoredValue) error {
			if read%progressEvery == 0 {
				s.watch(Progress{Step: "compare", Done: read})
			}
			read++
			return theirs.add(v)
		})
		if err == nil {
			err = theirs.flush()
		}
		s.contacted("DHIS2 "+p.to.Name, err)
		if err != nil {
			theirs.close()
			return err
		}
		w.holdings.theirs = theirs
		return nil
	})
	if errors.Is(err, dhis2.ErrUnreadable) {
		return s.unread(p, err)
	}
	if err != nil {
		return err
	}
	w.readTheirs, w.comparison.account, p.account = true, m.user.Username, m.user.Username
	return nil
}

// roots are the org units below which all lie that are compared: those of the account, or where the data set has several sources,
// as counties are, the lowest one above all of this source. Else each source would read the whole country.
func (s *Submitter) roots(ctx context.Context, p *Plan, m *metadata, ours []string) (roots []string, err error) {
	for _, root := range m.user.OrgUnits {
		roots = append(roots, root.ID)
	}
	if len(p.set.CHT) < 2 || len(roots) == 0 {
		return roots, nil
	}
	wanted := map[string]bool{}
	for _, id := range ours {
		wanted[id] = true
	}
	if s.Ledger != nil {
		for part, err := range s.Ledger.Accepted(ctx, p.key()) {
			if err != nil {
				return nil, err
			}
			wanted[part.OrgUnit] = true
		}
	}
	var common []string
	found := 0
	for id := range wanted {
		o, assigned := m.orgUnits.Get(id)
		if !assigned {
			return roots, nil
		}
		path := strings.Split(strings.Trim(o.Path, "/"), "/")
		if found++; found == 1 {
			common = path
		}
		n := 0
		for n < len(common) && n < len(path) && common[n] == path[n] {
			n++
		}
		common = common[:n]
	}
	if !slices.ContainsFunc(common, func(id string) bool { return slices.Contains(roots, id) }) {
		return roots, nil
	}
	return common[len(common)-1:], nil
}

// unread notes that DHIS2 could not be compared with. A repair, which is nothing without, ends so.
func (s *Submitter) unread(p *Plan, why error) error {
	const remedy = "share the data set with the account for viewing data, and give the account org units for viewing data that cover it"
	if p.mustRead || p.request.Mode == ledger.ModeRepair {
		return blocked("not_compared_with_dhis2", remedy, "what DHIS2 holds cannot be read: %v", why)
	}
	p.tally.addIssues([]issue.Issue{{
		Code: "not_compared_with_dhis2", Severity: issue.Note, Count: 1, Remedy: remedy + "; or set compare: ledger to say that this is meant",
		Text: fmt.Sprintf("what DHIS2 holds cannot be read, so that only what it accepted before was compared with, and a correction made there may be overwritten: %v", why),
	}})
	return nil
}
