package orchestration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// Verdict says how two values of a cell stand to each other.
type Verdict string

// The verdicts. The CHT's side is what DHIS2 accepted, where that is compared with.
const (
	Same      Verdict = "same"
	Differs   Verdict = "differs"
	OnlyCHT   Verdict = "only_cht"
	OnlyDHIS2 Verdict = "only_dhis2"
)

// Pair is a cell as the CHT and DHIS2 have it. A side that has none is empty.
type Pair struct {
	OrgUnit              string  `json:"org_unit"`
	DataElement          string  `json:"data_element"`
	CategoryOptionCombo  string  `json:"category_option_combo"`
	AttributeOptionCombo string  `json:"attribute_option_combo"`
	CHT                  string  `json:"cht"`
	DHIS2                string  `json:"dhis2"`
	Verdict              Verdict `json:"verdict"`
	// StoredBy and LastUpdated are DHIS2's.
	StoredBy    string `json:"stored_by,omitempty"`
	LastUpdated string `json:"last_updated,omitempty"`
}

// Totals are of pairs. The sums are of whole numbers.
type Totals struct {
	Same      int `json:"same"`
	Differ    int `json:"differ"`
	OnlyCHT   int `json:"only_cht"`
	OnlyDHIS2 int `json:"only_dhis2"`
	SumCHT    int `json:"sum_cht"`
	SumDHIS2  int `json:"sum_dhis2"`
}

// Different is how many pairs are not the same.
func (t *Totals) Different() int { return t.Differ + t.OnlyCHT + t.OnlyDHIS2 }

func (t *Totals) add(p Pair, ours, theirs *cell) {
	switch p.Verdict {
	case Same:
		t.Same++
	case Differs:
		t.Differ++
	case OnlyCHT:
		t.OnlyCHT++
	default:
		t.OnlyDHIS2++
	}
	if ours != nil {
		t.SumCHT += ours.number()
	}
	if theirs != nil {
		t.SumDHIS2 += theirs.number()
	}
}

// Concordance tells where the CHT, or what DHIS2 accepted of it, and DHIS2 agree about a period.
type Concordance struct {
	DataSet string `json:"data_set"`
	Period  string `json:"period"`
	CHT     string `json:"cht"`
	DHIS2   string `json:"dhis2"`
	Totals  Totals `json:"totals"`
	// Elements are the totals of each data element, OrgUnits of the first issue.ListLimit org units; of both those come first in
	// which most cells are not the same.
	Elements      []ElementTotals `json:"elements"`
	OrgUnits      []OrgUnitTotals `json:"org_units"`
	OrgUnitsTotal int             `json:"org_units_total"`
	// Different are the first issue.ListLimit pairs that are not the same.
	Different []Pair        `json:"different"`
	Issues    []issue.Issue `json:"issues"`

	Reason Reason `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// ElementTotals are the totals of a data element.
type ElementTotals struct {
	DataElement string `json:"data_element"`
	Totals
}

// OrgUnitTotals are the totals of an org unit.
type OrgUnitTotals struct {
	OrgUnit string `json:"org_unit"`
	Totals
}

// Concord compares what the CHT says of a period with what DHIS2 holds, cell by cell, of the org units and data elements that
// the CHT gives; for a request in ledger.ModeRepair, what DHIS2 accepted with what it holds, of the org units and data elements that it accepted. Nothing is sent or remembered.
// Each pair is given to yield, which may be nil. The error is for a request that can mean nothing and for one of yield; every
// other failure is in the concordance.
func (s *Submitter) Concord(ctx context.Context, r Request, yield func(Pair) error) (Concordance, error) {
	c := Concordance{DataSet: r.DataSet, Period: r.Period, CHT: r.CHT, Different: []Pair{}, Elements: []ElementTotals{}, OrgUnits: []OrgUnitTotals{}}
	elements := map[string]*Totals{}
	plan, err := s.visited(ctx, r, func(p *Plan, u unit, known map[string]bool) error {
		if !p.set.Compare.AddUp {
			u.others = nil
		}
		of := OrgUnitTotals{OrgUnit: u.orgUnit}
		err := u.pairs(p.forgetful, known, func(one Pair, ours, theirs *cell) error {
			c.Totals.add(one, ours, theirs)
			of.add(one, ours, theirs)
			if elements[one.DataElement] == nil {
				elements[one.DataElement] = &Totals{}
			}
			elements[one.DataElement].add(one, ours, theirs)
			if one.Verdict != Same && len(c.Different) < issue.ListLimit {
				c.Different = append(c.Different, one)
			}
			if yield == nil {
				return nil
			}
			return yield(one)
		})
		if of.Same+of.Different() > 0 {
			c.OrgUnits = append(c.OrgUnits, of)
		}
		return err
	})
	if err != nil {
		return c, err
	}
	defer plan.Close()
	for _, id := range slices.Sorted(maps.Keys(elements)) {
		c.Elements = append(c.Elements, ElementTotals{id, *elements[id]})
	}
	slices.SortStableFunc(c.Elements, func(a, b ElementTotals) int { return cmp.Compare(b.Different(), a.Different()) })
	slices.SortStableFunc(c.OrgUnits, func(a, b OrgUnitTotals) int { return cmp.Compare(b.Different(), a.Different()) })
	c.OrgUnitsTotal = len(c.OrgUnits)
	c.OrgUnits = slices.Clone(c.OrgUnits[:min(len(c.OrgUnits), issue.ListLimit)])
	report := plan.Report()
	c.Period, c.DHIS2, c.Issues, c.Reason, c.Error, c.Remedy = report.Period, report.DHIS2, report.Issues, report.Reason, report.Error, report.Remedy
	return c, nil
}

// visited prepares a request, reading DHIS2 in any case, and shows what is known of each org unit.
func (s *Submitter) visited(ctx context.Context, r Request, visit func(p *Plan, u unit, known map[string]bool) error) (*Plan, error) {
	who, err := s.parties(r.DataSet, r.CHT)
	if err != nil {
		return nil, err
	}
	if err := CheckPeriod(r.Period); err != nil {
		return nil, err
	}
	who.set.Compare.LedgerOnly = false
	p := s.newPlan(newID(), who, r)
	p.patience, p.isPreview, p.compares, p.mustRead = s.newPatience(), true, true, true
	var fault error
	p.visit = func(u unit, known map[string]bool) error {
		fault = visit(p, u, known)
		return fault
	}
	if err := s.prepare(ctx, p); err != nil {
		if fault != nil {
			p.Close()
			return nil, fault
		}
		p.fail(err)
	}
	return p, nil
}

// pairs gives each cell of an org unit that either side has. What DHIS2 accepted of others belongs to our side.
func (u unit) pairs(noZeros, known map[string]bool, yield func(p Pair, ours, theirs *cell) error) error {
	ours, theirs := u.ours, u.theirs
	for len(ours)+len(theirs) > 0 {
		var o, t *cell
		var order int
		switch {
		case len(ours) == 0:
			order = 1
		case len(theirs) == 0:
			order = -1
		default:
			order = compareCells(ours[0], theirs[0])
		}
		if order <= 0 {
			o, ours = &ours[0], ours[1:]
		}
		if order >= 0 {
			t, theirs = &theirs[0], theirs[1:]
		}
		at := cmp.Or(o, t)
		other, shared := slices.BinarySearchFunc(u.others, *at, compareCells)
		if o != nil && !o.behind && shared {
			o = o.plus(&u.others[other])
		}
		p := u.pair(at)
		switch {
		case o != nil && o.behind, o != nil && o.leftOut && t == nil: // neither is to be sent
			continue
		case o == nil && (shared || !known[columnOf(at.attributeOptionCombo, at.dataElement)]): // it is none of the CHT's
			continue
		case o == nil:
			p.Verdict = OnlyDHIS2
		case t == nil && o.isZero() && noZeros[o.dataElement]: // it is kept as none
			p.Verdict = Same
		case t == nil:
			p.Verdict = OnlyCHT
		case sameNumber(o.value, t.value):
			p.Verdict = Same
		default:
			p.Verdict = Differs
		}
		if o != nil {
			p.CHT = o.value
		}
		if t != nil {
			p.DHIS2, p.StoredBy, p.LastUpdated = t.value, t.storedBy, t.updated
		}
		if err := yield(p, o, t); err != nil {
			return err
		}
	}
	return nil
}

// pair is a cell of an org unit, without what either side says of it.
func (u unit) pair(at *cell) Pair {
	return Pair{OrgUnit: u.orgUnit, DataElement: at.dataElement, CategoryOptionCombo: at.categoryOptionCombo, AttributeOptionCombo: at.attributeOptionCombo}
}

// columnOf names a data element of an attribute option combo: the same element may be in data sets of others.
func columnOf(attributeOptionCombo, dataElement string) string {
	return attributeOptionCombo + "\t" + dataElement
}

// Adoption is what was adopted of a period.
type Adoption struct {
	DataSet string `json:"data_set"`
	Period  string `json:"period"`
	CHT     string `json:"cht"`
	DHIS2   string `json:"dhis2"`
	// Adopted is how many values DHIS2 holds of the cells that the CHT gives, OfOthers how many of them another account stored.
	Adopted  int `json:"adopted"`
	OfOthers int `json:"of_others"`

	Reason Reason `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Adopt takes what DHIS2 holds of the cells that the CHT gives as what it accepted: from then on they are the mediator's, and
// what the CHT says otherwise goes. The error is for a request that can mean nothing, and for one that the store refuses; every
// other failure is in the adoption.
func (s *Submitter) Adopt(ctx context.Context, r Request) (Adoption, error) {
	a := Adoption{DataSet: r.DataSet, Period: r.Period, CHT: r.CHT}
	if who, err := s.parties(r.DataSet, r.CHT); err == nil && who.set.Compare.AddUp {
		return a, &UsageError{What: "the values of several sources add up in data set " + r.DataSet + ", and nobody can tell which part of a value in DHIS2 came from which", Remedy: "submit the period instead"}
	}
	content, err := newContent(s.SpoolDir)
	if err != nil {
		return a, err
	}
	defer content.close()
	plan, err := s.visited(ctx, r, func(p *Plan, u unit, known map[string]bool) error {
		var values []mapping.Value
		u.others = nil
		err := u.pairs(nil, known, func(_ Pair, ours, theirs *cell) error {
			if ours == nil || theirs == nil {
				return nil
			}
			a.Adopted++
			if theirs.storedBy != p.account {
				a.OfOthers++
			}
			values = append(values, valueOf(u, theirs, false))
			return nil
		})
		if err != nil {
			return err
		}
		return content.add(u.orgUnit, values)
	})
	if err != nil {
		return a, err
	}
	defer plan.Close()
	report := plan.Report()
	a.Period, a.DHIS2, a.Reason, a.Error, a.Remedy = report.Period, report.DHIS2, report.Reason, report.Error, report.Remedy
	if report.Error != "" {
		return a, nil
	}
	a.Reason = "" // what stays behind is none of this
	if err := content.seal(); err != nil {
		return a, err
	}
	key := plan.key()
	return a, unfinished(key, s.Ledger.Adopt(ctx, key, content.all))
}

// unfinished says so where the ledger does not change what a submission rests on.
func unfinished(k ledger.Key, err error) error {
	if errors.Is(err, ledger.ErrState) {
		return &NotNowError{What: fmt.Sprintf("a submission of %s of data set %s from CHT %s is unfinished", k.Period, k.DataSet, k.CHT), Remedy: "wait until it has ended, or cancel it; reject one that is held"}
	}
	return err
}

// Strangers counts the values of a request's period that DHIS2 holds of our account and that this store never sent: another
// mediator with a store of its own, or a store that was lost, has sent them. The period is that of the answer. An error says
// why it cannot be told.
func (s *Submitter) Strangers(ctx context.Context, r Request) (values int, period string, err error) {
	plan, err := s.visited(ctx, r, func(p *Plan, u unit, known map[string]bool) error {
		return u.pairs(nil, known, func(_ Pair, ours, theirs *cell) error {
			if ours == nil || theirs == nil || theirs.storedBy != p.account {
				return nil
			}
			for _, sent := range [][]cell{u.base, u.others, u.tried} {
				if _, ours := slices.BinarySearchFunc(sent, *theirs, compareCells); ours {
					return nil
				}
			}
			values++
			return nil
		})
	})
	if err != nil {
		return 0, "", err
	}
	defer plan.Close()
	report := plan.Report()
	if report.Error != "" {
		return 0, report.Period, errors.New(report.Error)
	}
	return values, report.Period, nil
}

// Forget forgets what DHIS2 accepted of a request's period, of its org units or of all, and says of how many org units that was. From
// then on the cells are nobody's: what DHIS2 holds of them is compared with as somebody's correction, unless our account
// stored it.
func (s *Submitter) Forget(ctx context.Context, r Request) (orgUnits int, err error) {
	who, err := s.parties(r.DataSet, r.CHT)
	if err != nil {
		return 0, err
	}
	period, err := s.resolve(ctx, who, r)
	if err != nil {
		return 0, err
	}
	key := ledger.Key{DHIS2: who.set.DHIS2, DataSet: r.DataSet, Period: period, CHT: r.CHT}
	orgUnits, err = s.Ledger.Forget(ctx, key, r.OrgUnits...)
	return orgUnits, unfinished(key, err)
}
