package orchestration

import (
	"context"

	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// A data set may go by another name in the CHT, and in the configuration, than by its id in DHIS2: its code, or an attribute. Who
// speaks with the CHT and with people, and whatever is remembered, uses the name; what is asked of DHIS2 uses the id.

// ReadDataSet reads a configured data set from its DHIS2, with what the CHT calls it and what is in it.
func (s *Submitter) ReadDataSet(ctx context.Context, set DataSet) (dhis2.DataSet, error) {
	to := s.Destinations[set.DHIS2]
	id, err := to.Client.DataSetID(ctx, set.IDSchemes.DataSet, set.ID)
	if err != nil {
		return dhis2.DataSet{}, err
	}
	found, err := to.Client.DataSet(ctx, id)
	if err != nil {
		return dhis2.DataSet{}, err
	}
	if found.Names, err = to.Client.Names(ctx, &found, set.IDSchemes); err != nil {
		return dhis2.DataSet{}, err
	}
	if set.IDSchemes.DataSet == "" {
		return found, nil
	}
	found.Names.DataSet = set.ID
	return found, s.keepID(ctx, set, id)
}

// keepID remembers the id of a data set in its DHIS2, for who sends what was prepared.
func (s *Submitter) keepID(ctx context.Context, set DataSet, id string) error {
	if s.Ledger == nil {
		return nil
	}
	return s.Ledger.SaveSetting(ctx, "id of "+set.DHIS2+" "+set.ID, []byte(id))
}

// idOf gives the id of a data set in its DHIS2, as it was when it was read last.
func (s *Submitter) idOf(ctx context.Context, set DataSet) (string, error) {
	if set.IDSchemes.DataSet == "" {
		return set.ID, nil
	}
	id, _, err := s.Ledger.Setting(ctx, "id of "+set.DHIS2+" "+set.ID)
	return string(id), err
}
