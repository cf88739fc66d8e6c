package sandbox

import "time"

// dhis2Cell is where a value stands.
type dhis2Cell struct {
	dataElement, period, orgUnit, combo, attribute string
}

// dhis2Row is a stored value.
type dhis2Row struct {
	value, comment, storedBy string
	followUp, deleted        bool
	created, updated         time.Time
	// made and written order rows by their creation and by the last write.
	made, written int
}

// dhis2Store holds the values. Deleted ones stay, marked.
type dhis2Store struct {
	rows   map[dhis2Cell]*dhis2Row
	writes int
}

// put writes a row, and keeps when the one before it was created.
func (s *dhis2Store) put(cell dhis2Cell, row dhis2Row, now time.Time) {
	s.writes++
	row.made, row.written, row.created, row.updated = s.writes, s.writes, now, now
	if before := s.rows[cell]; before != nil {
		row.made, row.created = before.made, before.created
	}
	s.rows[cell] = &row
}
