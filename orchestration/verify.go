package orchestration

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

// Verification tells whether DHIS2 holds what it accepted of a submission's data set, period and source: all of it, not only
// what that submission sent.
type Verification struct {
	// At is when the reading began.
	At time.Time `json:"at"`
	// Cells is how many cells DHIS2 accepted. Each is as accepted, or one of those that follow.
	Cells   int `json:"cells"`
	Differ  int `json:"differ"`
	Missing int `json:"missing"`
	// Unexpected are values of our account that are there and were not accepted, and those that were deleted and are there.
	Unexpected int `json:"unexpected"`
	// Unknown are cells that were sent and not answered, whatever is there now.
	Unknown int `json:"unknown"`
	// Different and Doubtful, of which the outcome is unknown, list the first issue.ListLimit cells each.
	Different []VerifiedCell `json:"different"`
	Doubtful  []VerifiedCell `json:"doubtful"`

	// Reason is empty where DHIS2 holds all as it accepted it. Error tells why it could not be read back.
	Reason Reason `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// VerifiedCell is a cell that DHIS2 holds otherwise than it accepted it. A side that has no value is empty.
type VerifiedCell struct {
	OrgUnit              string `json:"org_unit"`
	DataElement          string `json:"data_element"`
	CategoryOptionCombo  string `json:"category_option_combo"`
	AttributeOptionCombo string `json:"attribute_option_combo"`
	// Verdict is differs, missing, unexpected or unknown.
	Verdict     string `json:"verdict"`
	Accepted    string `json:"accepted"`
	DHIS2       string `json:"dhis2"`
	StoredBy    string `json:"stored_by,omitempty"`
	LastUpdated string `json:"last_updated,omitempty"`
}

// Verify reads back what DHIS2 holds of a submission that has ended, and compares it with what it accepted of the same data set,
// period and source, of the org units that the submission was asked for. Whatever fails is told in the verification.
func (s *Submitter) Verify(ctx context.Context, id string) Verification {
	none := Verification{At: s.now().UTC(), Different: []VerifiedCell{}, Doubtful: []VerifiedCell{}}
	v := none
	if err := s.verify(ctx, id, &v); err != nil {
		f := failureOf(err)
		v = none
		v.Reason, v.Error, v.Remedy = f.reason, "nothing is proven by reading back: "+f.text, f.remedy
		if f.reason == NothingAccepted { // which is said of submissions
			v.Reason = LeftBehind
		}
	}
	return v
}

func (s *Submitter) verify(ctx context.Context, id string, v *Verification) error {
	sub, err := s.Ledger.Submission(ctx, id)
	if err != nil {
		return err
	}
	if !sub.State.Ended() {
		return &NotNowError{What: fmt.Sprintf("the submission has not ended, it is %s", sub.State), Remedy: "when it has ended, mediator reconcile tells where DHIS2 holds something else than it accepted"}
	}
	who, err := s.partiesOf(sub)
	if err != nil {
		return err
	}
	p := s.newPlan(sub.ID, who, Request{DataSet: sub.DataSet, CHT: sub.CHT, OrgUnits: sub.OrgUnits})
	p.patience, p.period, p.isPreview, p.mustRead = s.newPatience(), sub.Period, true, true
	defer p.Close()
	if err := s.readBack(ctx, p, sub, v); err != nil || v.Differ+v.Missing+v.Unexpected+v.Unknown == 0 {
		return err
	}
	v.Reason = LeftBehind
	others, err := s.Ledger.Submissions(ctx, ledger.Filter{
		DHIS2: sub.DHIS2, DataSet: sub.DataSet, Period: sub.Period, States: []ledger.State{ledger.Sending}, Limit: 1,
	})
	if len(others) > 0 {
		v.Remedy = fmt.Sprintf("submission %s sends values of the same period meanwhile: when it has ended, look again with mediator reconcile", others[0].ID)
	}
	return err
}

// readBack compares what DHIS2 holds with what it accepted, org unit by org unit.
func (s *Submitter) readBack(ctx context.Context, p *Plan, sub ledger.Submission, v *Verification) error {
	f, err := s.footprint(ctx, p)
	if err == nil {
		err = f.delete(s.Ledger.Content(ctx, sub.ID, ledger.Range{To: sub.Parts}))
	}
	if err != nil || len(f.orgUnits) == 0 {
		return err
	}
	m, err := s.askDHIS2(ctx, p)
	if err != nil {
		return err
	}
	if p.server.Dialect == dhis2.Legacy {
		p.forgetful = m.set.NoZeros
	}
	h := s.holdings(ctx, p)
	defer h.close()
	ids := slices.Sorted(maps.Keys(f.orgUnits))
	if err := s.readTheirs(ctx, m, &settlement{Plan: p, comparison: &comparison{}, holdings: h}, ids); err != nil {
		return err
	}
	for _, id := range ids {
		u := unit{orgUnit: id}
		if err := h.fill(&u); err != nil {
			return err
		}
		if u.ours = u.base; !p.set.Compare.AddUp {
			u.others = nil
		}
		if err := v.orgUnit(p, u, f); err != nil {
			return err
		}
	}
	return nil
}

// orgUnit compares one org unit.
func (v *Verification) orgUnit(p *Plan, u unit, f footprint) error {
	err := u.pairs(p.forgetful, f.columns, func(one Pair, ours, theirs *cell) error {
		if ours != nil {
			v.Cells++
		}
		at := *cmp.Or(ours, theirs)
		_, deleted := slices.BinarySearchFunc(f.deleted[u.orgUnit], at, compareCells)
		first, tried := slices.BinarySearchFunc(u.tried, at, compareCells)
		for tried && theirs != nil && one.Verdict != Same && !theirs.isIn(&u.tried[first]) {
			first++
			tried = first < len(u.tried) && compareCells(u.tried[first], at) == 0
		}
		switch {
		case tried:
			v.Unknown++
			v.Doubtful = noted(v.Doubtful, one, "unknown")
		case one.Verdict == Differs:
			v.Differ++
			v.Different = noted(v.Different, one, "differs")
		case one.Verdict == OnlyCHT:
			v.Missing++
			v.Different = noted(v.Different, one, "missing")
		case one.Verdict == OnlyDHIS2 && (deleted || theirs.storedBy == p.account):
			v.Unexpected++
			v.Different = noted(v.Different, one, "unexpected")
		}
		return nil
	})
	for i := range u.tried { // what is on neither side
		c := u.tried[i]
		_, accepted := slices.BinarySearchFunc(u.ours, c, compareCells)
		_, held := slices.BinarySearchFunc(u.theirs, c, compareCells)
		if accepted || held || i > 0 && compareCells(u.tried[i-1], c) == 0 {
			continue
		}
		v.Unknown++
		v.Doubtful = noted(v.Doubtful, u.pair(&c), "unknown")
	}
	return err
}

// noted adds a cell to a list where there is room.
func noted(list []VerifiedCell, p Pair, verdict string) []VerifiedCell {
	if len(list) >= issue.ListLimit {
		return list
	}
	return append(list, VerifiedCell{
		OrgUnit: p.OrgUnit, DataElement: p.DataElement, CategoryOptionCombo: p.CategoryOptionCombo, AttributeOptionCombo: p.AttributeOptionCombo,
		Verdict: verdict, Accepted: p.CHT, DHIS2: p.DHIS2, StoredBy: p.StoredBy, LastUpdated: p.LastUpdated,
	})
}

// footprint is where the values of a period from a source went in DHIS2.
type footprint struct {
	orgUnits map[string]bool
	// columns are the data elements, by columnOf.
	columns map[string]bool
	// deleted are cells that were to be deleted, in their order, by org unit.
	deleted map[string][]cell
}

func (f footprint) add(orgUnit, attributeOptionCombo string, values []dhis2.DataValue) {
	f.orgUnits[orgUnit] = true
	for i := range values {
		f.columns[columnOf(attributeOptionCombo, values[i].DataElement)] = true
	}
}

// footprint gathers what the ledger has of a plan's period and org units: what DHIS2 accepted, and what went to it unanswered.
func (s *Submitter) footprint(ctx context.Context, p *Plan) (footprint, error) {
	f := footprint{orgUnits: map[string]bool{}, columns: map[string]bool{}, deleted: map[string][]cell{}}
	for _, parts := range []iter.Seq2[ledger.AcceptedPart, error]{s.Ledger.Accepted(ctx, p.key()), s.Ledger.Tried(ctx, p.key())} {
		for part, err := range parts {
			if err != nil {
				return f, err
			}
			if len(p.request.OrgUnits) > 0 && !slices.Contains(p.request.OrgUnits, part.OrgUnit) {
				continue
			}
			values, err := part.Values()
			if err != nil {
				return f, err
			}
			f.add(part.OrgUnit, part.AttributeOptionCombo, values)
		}
	}
	return f, nil
}

// delete adds what a submission was to delete.
func (f footprint) delete(content iter.Seq2[ledger.Part, error]) error {
	for part, err := range content {
		if err != nil {
			return err
		}
		for _, v := range part.Values {
			if v.Deleted {
				f.add(part.OrgUnit, part.AttributeOptionCombo, []dhis2.DataValue{v})
				f.deleted[part.OrgUnit] = append(f.deleted[part.OrgUnit], cellOf(part.AttributeOptionCombo, v))
			}
		}
	}
	for _, cells := range f.deleted {
		slices.SortFunc(cells, compareCells)
	}
	return nil
}
