package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"slices"
)

// RegistrationState is how the registration of an org unit as complete stands.
type RegistrationState string

// The states of a registration.
const (
	// Registering and Undoing: recorded, and perhaps sent; the answer is not known here.
	Registering RegistrationState = "registering"
	Undoing     RegistrationState = "undoing"
	// Registered and Undone: DHIS2 did so for us.
	Registered RegistrationState = "registered"
	Undone     RegistrationState = "undone"
	// NotRegistered: it was refused, for the reason that stands with it.
	NotRegistered RegistrationState = "refused"
	// OfOthers: somebody else has registered it, and Reopened: somebody else has taken a registration back. Both are left as
	// they are.
	OfOthers RegistrationState = "of_others"
	Reopened RegistrationState = "reopened"
)

// Registration is what the ledger knows of whether an org unit is complete in DHIS2.
type Registration struct {
	// AttributeOptionCombo is empty for the default one.
	OrgUnit, AttributeOptionCombo string
	// State is empty where nobody has looked yet.
	State RegistrationState
	// Reason says why DHIS2 did not do what was asked; empty where it did.
	Reason string
	// Whole says that DHIS2 holds all of it that this source has, and that no source left anything behind there.
	Whole bool
	// Now says that the state is of this submission, not of one before.
	Now bool
}

// Completeness is what came of registering org units. Already is how many were registered before, by us or by somebody else.
type Completeness struct {
	Registered int `json:"registered"`
	Already    int `json:"already"`
	Undone     int `json:"undone"`
	Refused    int `json:"refused"`
}

// formOf is the number of the form that a series, $1, belongs to.
const formOf = `(SELECT min(f.number) FROM series f JOIN series own ON own.number = $1
	WHERE f.dhis2 = own.dhis2 AND f.data_set = own.data_set AND f.period = own.period)`

type registrationKey struct{ orgUnit, attributeOptionCombo string }

// Registrations gives the org units that a submission may have to register, or whose registration it may have to undo, by their
// ids: those of which DHIS2 accepted something of its key, and those that are registered and of which that is not so any more.
// Where only some org units were asked for it gives none but those.
func (l *Ledger) Registrations(ctx context.Context, id string) (list []Registration, err error) {
	err = l.read(ctx, "read which org units of submission "+id+" are complete", func(tx *sql.Tx) error {
		s, err := submission(ctx, tx, id)
		if err != nil {
			return err
		}
		own, anywhere, err := leftBehind(ctx, tx, s)
		if err != nil {
			return err
		}
		found := map[registrationKey]Registration{}
		rows, err := tx.QueryContext(ctx, `SELECT org_unit, attribute_option_combo FROM ledger WHERE series = $1`, s.series)
		err = each(rows, err, func() error {
			var r Registration
			err := rows.Scan(&r.OrgUnit, &r.AttributeOptionCombo)
			r.Whole = !anywhere[r.OrgUnit]
			found[registrationKey{r.OrgUnit, r.AttributeOptionCombo}] = r
			return err
		})
		if err != nil {
			return err
		}
		if err := known(ctx, tx, s, found, own); err != nil {
			return err
		}
		for _, r := range found {
			if len(s.OrgUnits) == 0 || slices.Contains(s.OrgUnits, r.OrgUnit) {
				list = append(list, r)
			}
		}
		slices.SortFunc(list, func(a, b Registration) int {
			return cmp.Or(cmp.Compare(a.AttributeOptionCombo, b.AttributeOptionCombo), cmp.Compare(a.OrgUnit, b.OrgUnit))
		})
		return nil
	})
	return list, err
}

// leftBehind gives the org units where a submission left something behind, and those where any source of its data set and period
// did, by the last submission of each that was for all org units.
func leftBehind(ctx context.Context, tx *sql.Tx, s Submission) (own, anywhere map[string]bool, err error) {
	own, anywhere = map[string]bool{}, map[string]bool{}
	rows, err := tx.QueryContext(ctx, `SELECT org_unit, submission FROM org_unit_outcome WHERE quarantined + refused + unknown + unsent + held > 0
		AND (submission = $2 OR submission IN (SELECT max(s.number) FROM submission s JOIN series r ON r.number = s.series
			JOIN series own ON own.number = $1 AND r.number <> own.number AND r.dhis2 = own.dhis2 AND r.data_set = own.data_set AND r.period = own.period
			WHERE s.ended_at > 0 AND s.prepared_at > 0 AND s.dry_run = 0 AND s.mode <> $3 AND s.asked_units IN ('null', '[]') GROUP BY s.series))`,
		s.series, s.number, ModeRepair)
	err = each(rows, err, func() error {
		var orgUnit string
		var number int
		err := rows.Scan(&orgUnit, &number)
		anywhere[orgUnit] = true
		if number == s.number {
			own[orgUnit] = true
		}
		return err
	})
	return own, anywhere, err
}

// known takes in what is known of registrations. Of those of which nothing of this source is accepted, it takes those where this
// submission left something behind, and those that this source has registered itself and no other one has.
func known(ctx context.Context, tx *sql.Tx, s Submission, found map[registrationKey]Registration, left map[string]bool) error {
	var alone []Registration
	rows, err := tx.QueryContext(ctx, `SELECT org_unit, attribute_option_combo, state, series, submission, reason FROM registration WHERE form = `+formOf, s.series)
	err = each(rows, err, func() error {
		var r Registration
		var series, number int
		err := rows.Scan(&r.OrgUnit, &r.AttributeOptionCombo, &r.State, &series, &number, &r.Reason)
		r.Now = number == s.number
		key := registrationKey{r.OrgUnit, r.AttributeOptionCombo}
		ours, accepted := found[key]
		switch r.Whole = ours.Whole; {
		case accepted, left[r.OrgUnit]:
			found[key] = r
		case series == s.series:
			alone = append(alone, r)
		}
		return err
	})
	for _, r := range alone {
		if err != nil {
			return err
		}
		var others int
		err = tx.QueryRowContext(ctx, `SELECT count(*) FROM series own JOIN series r ON r.dhis2 = own.dhis2 AND r.data_set = own.data_set AND r.period = own.period
			JOIN ledger l ON l.series = r.number AND l.org_unit = $2 AND l.attribute_option_combo = $3 WHERE own.number = $1`,
			s.series, r.OrgUnit, r.AttributeOptionCombo).Scan(&others)
		if others == 0 {
			found[registrationKey{r.OrgUnit, r.AttributeOptionCombo}] = r
		}
	}
	return err
}

// RegisteringStep is a step of registering: what is known of registrations by now, the calls that brought it, and the ones that are
// about to be sent.
type RegisteringStep struct {
	Known []Registration
	// Exchanges are the calls, as JSON.
	Exchanges []byte
	// Sending are recorded before they are sent, in the state Registering or Undoing.
	Sending []Registration
}

// Register books a step of registering in one transaction. Nothing may be sent before it returns. ErrState says that the
// submission is not at that.
func (l *Ledger) Register(ctx context.Context, id, step string, r RegisteringStep) error {
	return l.write(ctx, "book which org units of submission "+id+" are complete", func(tx *sql.Tx) error {
		s, err := submission(ctx, tx, id)
		if err == nil && s.State != Completing {
			err = ErrState
		}
		if err == nil {
			err = l.addExchanges(ctx, tx, s, exchanges{step: step, body: r.Exchanges})
		}
		if err != nil {
			return err
		}
		var form int
		if err := tx.QueryRowContext(ctx, `SELECT `+formOf, s.series).Scan(&form); err != nil {
			return err
		}
		rows, err := newBatch(ctx, tx, `INSERT INTO registration (form, org_unit, attribute_option_combo, state, series, submission, changed_at, reason) VALUES`, 8,
			`ON CONFLICT (form, org_unit, attribute_option_combo) DO UPDATE SET state = excluded.state, series = excluded.series,
				submission = excluded.submission, changed_at = excluded.changed_at, reason = excluded.reason`)
		for _, g := range slices.Concat(r.Known, r.Sending) {
			if err == nil {
				err = rows.add(ctx, form, g.OrgUnit, g.AttributeOptionCombo, g.State, s.series, s.number, l.now(), cut(g.Reason))
			}
		}
		if err != nil {
			return err
		}
		return rows.end(ctx)
	})
}

// readCompleteness reads what a row keeps of it; nil where it did not come to that.
func readCompleteness(text string) (*Completeness, error) {
	if text == "" {
		return nil, nil
	}
	c := &Completeness{}
	return c, json.Unmarshal([]byte(text), c)
}

func writeCompleteness(c *Completeness) (string, error) {
	if c == nil {
		return "", nil
	}
	text, err := json.Marshal(c)
	return string(text), err
}
