package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/target"
)

// Workers is how many workers of something are expected to sync, and how many have, and how fresh what they sent is. It never says
// who.
type Workers struct {
	Expected int `json:"expected"`
	// Seen are those of the expected of whom a document is there, Others have one and were not expected.
	Seen   int `json:"seen"`
	Others int `json:"others,omitempty"`
	// Stale is how many documents have not changed since a week before the end of the period, Oldest the day on which the oldest
	// one changed. Both are left out where the documents were not read.
	Stale  *int   `json:"stale,omitempty"`
	Oldest string `json:"oldest,omitempty"`
}

// OrgUnitCoverage is the coverage of one org unit, by its id in DHIS2.
type OrgUnitCoverage struct {
	OrgUnit string `json:"org_unit"`
	Workers
}

// Missing says how many of the workers who were seen do not count a target: their phones lack it, which is no zero.
type Missing struct {
	Target  string `json:"target"`
	Workers int    `json:"workers"`
}

// CoverageTotals are of all org units.
type CoverageTotals struct {
	Workers

	// Threshold is the percentage that OrgUnitsBelow is about.
	Threshold     int `json:"threshold"`
	OrgUnitsBelow int `json:"org_units_below"`
	// Missing are the targets that somebody's phone lacks.
	Missing []Missing `json:"targets_missing,omitempty"`
}

// Coverage is what is known of who has synced for a data set and period of a source.
type Coverage struct {
	Key    Key
	ReadAt time.Time
	Totals CoverageTotals
	// Units are in the order of their ids. Where many are read for their totals, they are left out.
	Units []OrgUnitCoverage
}

// storeCoverage keeps the coverage of a submission's series, in the place of what was known before.
func (l *Ledger) storeCoverage(ctx context.Context, tx *sql.Tx, s Submission, c *Coverage) error {
	if c == nil || s.DryRun {
		return nil
	}
	totals, err := json.Marshal(c.Totals)
	if err != nil {
		return err
	}
	units, err := squeeze(c.Units)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO coverage (series, read_at, totals, units) VALUES ($1, $2, $3, $4)
		ON CONFLICT (series) DO UPDATE SET read_at = excluded.read_at, totals = excluded.totals, units = excluded.units`,
		s.series, l.now(), string(totals), units)
	return err
}

// CoverageOf gives what was found last of a key, or ErrNotFound.
func (l *Ledger) CoverageOf(ctx context.Context, k Key) (c Coverage, err error) {
	c.Key = k
	err = l.read(ctx, "read the coverage of "+k.name(), func(tx *sql.Tx) error {
		var read int64
		var totals string
		var units []byte
		err := tx.QueryRowContext(ctx, `SELECT c.read_at, c.totals, c.units FROM coverage c JOIN series r ON r.number = c.series
			WHERE r.dhis2 = $1 AND r.data_set = $2 AND r.period = $3 AND r.source = $4`, k.DHIS2, k.DataSet, k.Period.String(), k.CHT).Scan(&read, &totals, &units)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		c.ReadAt = timeOf(read)
		c.Units, err = expand[OrgUnitCoverage](units)
		return errors.Join(err, json.Unmarshal([]byte(totals), &c.Totals))
	})
	return c, err
}

// WorkersOfForm adds up how many workers of each org unit are expected and seen, over all sources of a submission's data set and
// period.
func (l *Ledger) WorkersOfForm(ctx context.Context, id string) (workers map[string]Workers, err error) {
	workers = map[string]Workers{}
	err = l.read(ctx, "read the coverage of submission "+id, func(tx *sql.Tx) error {
		s, err := submission(ctx, tx, id)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT c.units FROM series own
			JOIN series r ON r.dhis2 = own.dhis2 AND r.data_set = own.data_set AND r.period = own.period
			JOIN coverage c ON c.series = r.number WHERE own.number = $1`, s.series)
		return each(rows, err, func() error {
			var packed []byte
			if err := rows.Scan(&packed); err != nil {
				return err
			}
			units, err := expand[OrgUnitCoverage](packed)
			for _, u := range units {
				sum := workers[u.OrgUnit]
				sum.Expected += u.Expected
				sum.Seen += u.Seen
				workers[u.OrgUnit] = sum
			}
			return err
		})
	})
	return workers, err
}

// LatestCoverage gives the totals of the latest period of each data set, source and DHIS2 of which something is known; of the latest of
// each type, where the type of the data set was changed.
func (l *Ledger) LatestCoverage(ctx context.Context) (list []Coverage, err error) {
	err = l.read(ctx, "read the coverage", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT r.dhis2, r.data_set, r.source, r.period, c.read_at, c.totals FROM coverage c JOIN series r ON r.number = c.series
			JOIN (SELECT o.dhis2, o.data_set, o.source, max(o.period) AS period FROM coverage oc JOIN series o ON o.number = oc.series
				GROUP BY o.dhis2, o.data_set, o.source, LENGTH(o.period), o.period LIKE '%Q%') latest
				ON latest.dhis2 = r.dhis2 AND latest.data_set = r.data_set AND latest.source = r.source AND latest.period = r.period`)
		return each(rows, err, func() error {
			var c Coverage
			var period, totals string
			var read int64
			if err := rows.Scan(&c.Key.DHIS2, &c.Key.DataSet, &c.Key.CHT, &period, &read, &totals); err != nil {
				return err
			}
			c.ReadAt = timeOf(read)
			var err error
			c.Key.Period, err = dhis2.ParsePeriod(period)
			list = append(list, c)
			return errors.Join(err, json.Unmarshal([]byte(totals), &list[len(list)-1].Totals))
		})
	})
	slices.SortFunc(list, func(a, b Coverage) int {
		return cmp.Or(cmp.Compare(a.Key.DataSet, b.Key.DataSet), cmp.Compare(a.Key.CHT, b.Key.CHT), cmp.Compare(a.Key.DHIS2, b.Key.DHIS2),
			cmp.Compare(a.Key.Period.String(), b.Key.Period.String()))
	})
	return list, err
}

// Heard gives the owners of whom there was a document of a month, when that was read last; the zero time where it never was.
func (l *Ledger) Heard(ctx context.Context, m TargetMonth) (owners []target.ID, readAt time.Time, err error) {
	err = l.read(ctx, "read who was heard of in "+m.name(), func(tx *sql.Tx) error {
		var read int64
		var packed []byte
		err := tx.QueryRowContext(ctx, `SELECT read_at, owners FROM heard_month WHERE cht = $1 AND month = $2`, m.CHT, m.Month).Scan(&read, &packed)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil && len(packed)%len(target.ID{}) != 0 {
			err = errPacked
		}
		if err != nil {
			return err
		}
		for id := range slices.Chunk(packed, len(target.ID{})) {
			owners = append(owners, target.ID(id))
		}
		readAt = timeOf(read)
		return nil
	})
	return owners, readAt, err
}

// SaveHeard remembers the owners of whom there is a document of a month now.
func (l *Ledger) SaveHeard(ctx context.Context, m TargetMonth, owners []target.ID) error {
	packed := make([]byte, 0, len(owners)*len(target.ID{}))
	for i := range owners {
		packed = append(packed, owners[i][:]...)
	}
	return l.write(ctx, "remember who was heard of in "+m.name(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO heard_month (cht, month, read_at, owners) VALUES ($1, $2, $3, $4)
			ON CONFLICT (cht, month) DO UPDATE SET read_at = excluded.read_at, owners = excluded.owners`, m.CHT, m.Month, l.now(), packed)
		return err
	})
}
