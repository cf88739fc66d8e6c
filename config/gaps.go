package config

import (
	"errors"
	"fmt"
	"time"
)

// Gap is a cell, or all of an org unit or of a data element, that is known to stay behind.
type Gap struct {
	// OrgUnit and DataElement are ids in DHIS2; one of them may be empty, which is all.
	OrgUnit, DataElement, Reason string
	// Until is the last day on which it is known.
	Until time.Time
}

// readGaps reads the file of known gaps.
func (s *DataSet) readGaps(c *Config, where string, mistakes *Error) {
	if s.KnownGapsFile == "" {
		return
	}
	s.KnownGapsFile = c.path(where+".known_gaps_file", s.KnownGapsFile)
	err := readTable(s.KnownGapsFile, []string{"org_unit", "data_element", "reason", "until"}, func(row []string) error {
		gap := Gap{OrgUnit: row[0], DataElement: row[1], Reason: row[2]}
		if gap.OrgUnit == "" && gap.DataElement == "" {
			return errors.New("org_unit or data_element must be there")
		}
		for _, id := range row[:2] {
			if id != "" && !uidForm.MatchString(id) {
				return fmt.Errorf("%q is no DHIS2 id, which has eleven letters and digits", id)
			}
		}
		if gap.Reason == "" {
			return errors.New("reason must be there: whoever reads the report wants to know why")
		}
		var err error
		if gap.Until, err = time.Parse(time.DateOnly, row[3]); err != nil {
			return fmt.Errorf("until: %q is no day; write it as 2026-12-31", row[3])
		}
		s.KnownGaps = append(s.KnownGaps, gap)
		return nil
	})
	if err != nil {
		mistakes.add("%s.known_gaps_file: %v", where, err)
	}
}
