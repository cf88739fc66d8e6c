package orchestration

import (
	"context"
	"slices"

	"github.com/cht-dhis2/mediator/internal/form"
)

// FormFacts reads both sides of the mapping of a data set and one of its sources.
func (s *Submitter) FormFacts(ctx context.Context, dataSet, source string) (form.Facts, DataSet, error) {
	who, err := s.parties(dataSet, source)
	if err != nil {
		return form.Facts{}, DataSet{}, err
	}
	settings, err := who.from.Client.Settings(ctx)
	if err == nil {
		err = settings.Check(dataSet)
	}
	if err != nil {
		return form.Facts{}, DataSet{}, err
	}
	found, err := s.ReadDataSet(ctx, who.set)
	if err != nil {
		return form.Facts{}, DataSet{}, err
	}
	types := slices.Clone(who.set.Targets.ExcludeTypes)
	if who.set.Targets.Level != "" {
		types = append(types, who.set.Targets.Level)
	}
	return form.Facts{ContactTypes: types, DataSet: dataSet, Settings: settings, Set: found, Rules: who.set.Rules, FromTargets: who.set.FromTargets, Items: who.set.Targets.Items}, who.set, nil
}
