package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
)

// OrgUnitOutcome is what became of the cells of one org unit.
type OrgUnitOutcome struct {
	OrgUnit string
	// State follows from the counts; it is given, never taken.
	State       string
	Dropped     int
	Quarantined int
	Unchanged   int
	Held        int
	Accepted    int
	Refused     int
	Unknown     int
	Unsent      int
	// Reason is ours, or DHIS2's word, on the first cell that did not arrive.
	Reason string
	// Changes is how many cells differ from what DHIS2 accepted before; Was and Becomes are the sums of its values before and
	// now. All are 0 where nothing was accepted before.
	Changes, Was, Becomes int
	// Workers is how many were expected and seen; nil where that is not known. Only their numbers are kept.
	Workers *Workers
}

// orgUnitState works an org unit's state out of its counts, so that it is always the true one.
const orgUnitState = `CASE
	WHEN unknown > 0 THEN 'unknown'
	WHEN unsent > 0 AND accepted + quarantined + refused = 0 THEN 'unsent'
	WHEN accepted > 0 AND quarantined + refused + unsent + held > 0 THEN 'partly_accepted'
	WHEN unchanged > 0 AND quarantined + refused > 0 THEN 'partly_accepted'
	WHEN accepted > 0 THEN 'accepted'
	WHEN quarantined + refused > 0 THEN 'refused'
	WHEN held > 0 THEN 'held'
	WHEN unchanged > 0 THEN 'unchanged'
	ELSE 'dropped' END`

func storeOrgUnits(ctx context.Context, tx *sql.Tx, s Submission, units iter.Seq2[OrgUnitOutcome, error]) error {
	if units == nil {
		return nil
	}
	rows, err := newBatch(ctx, tx, `INSERT INTO org_unit_outcome (submission, org_unit, dropped, quarantined, unchanged, held, accepted,
		refused, unknown, unsent, reason, changes, was, becomes, expected, seen) VALUES`, 16, "")
	if err != nil {
		return err
	}
	for o, err := range units {
		expected, seen := -1, -1
		if o.Workers != nil {
			expected, seen = o.Workers.Expected, o.Workers.Seen
		}
		if err == nil {
			err = rows.add(ctx, s.number, o.OrgUnit, o.Dropped, o.Quarantined, o.Unchanged, o.Held, o.Accepted, o.Refused, o.Unknown, o.Unsent, cut(o.Reason), o.Changes, o.Was, o.Becomes, expected, seen)
		}
		if err != nil {
			return err
		}
	}
	return rows.end(ctx)
}

func orgUnitStates(ctx context.Context, from querier, s Submission) (map[string]int, error) {
	states := map[string]int{}
	if s.same > 0 {
		states["unchanged"] = s.same
	}
	rows, err := from.QueryContext(ctx, `SELECT `+orgUnitState+`, count(*) FROM org_unit_outcome WHERE submission = $1 GROUP BY 1`, s.number)
	err = each(rows, err, func() error {
		var state string
		var n int
		err := rows.Scan(&state, &n)
		states[state] += n
		return err
	})
	return states, err
}

// OrgUnitFilter chooses outcomes of a submission.
type OrgUnitFilter struct {
	// State chooses those in one state, and those in the state Or where that is given; empty chooses all.
	State, Or string
	// After is the last org unit of the page before; Limit the size of a page, 0 is 100, and 1,000 is the most.
	After string
	Limit int
}

// OrgUnits gives a page of what became of a submission's org units, by their ids.
func (l *Ledger) OrgUnits(ctx context.Context, id string, f OrgUnitFilter) (page []OrgUnitOutcome, err error) {
	limit := f.Limit
	if limit <= 0 {
		limit = defaultPage
	}
	args := []any{id, f.After}
	chosen := ""
	if f.State != "" {
		args = append(args, f.State, f.Or)
		chosen = ` AND ` + orgUnitState + ` IN ($3, $4)`
	}
	err = l.read(ctx, "read the org units of submission "+id, func(tx *sql.Tx) error {
		//nolint:gosec // chosen is one of two texts above
		rows, err := tx.QueryContext(ctx, `SELECT org_unit, `+orgUnitState+`, dropped, quarantined, unchanged, held, accepted, refused,
			unknown, unsent, reason, answer, changes, was, becomes, expected, seen FROM org_unit_outcome
			WHERE submission = (SELECT number FROM submission WHERE id = $1) AND org_unit > $2`+chosen+
			fmt.Sprintf(` ORDER BY org_unit LIMIT %d`, min(limit, mostPage)), args...)
		return each(rows, err, func() error {
			var o OrgUnitOutcome
			var answer string
			var w Workers
			err := rows.Scan(&o.OrgUnit, &o.State, &o.Dropped, &o.Quarantined, &o.Unchanged, &o.Held, &o.Accepted, &o.Refused,
				&o.Unknown, &o.Unsent, &o.Reason, &answer, &o.Changes, &o.Was, &o.Becomes, &w.Expected, &w.Seen)
			if w.Expected >= 0 {
				o.Workers = &w
			}
			if o.Reason == "" && o.Refused+o.Unknown+o.Unsent > 0 {
				o.Reason = answer
			}
			page = append(page, o)
			return err
		})
	})
	return page, err
}
