package main

import (
	"context"
	"errors"
	"net/url"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/transport"
	"github.com/cht-dhis2/mediator/orchestration"
)

// storeless carries the month as the mediator does, by the same packages and in requests of the same size, packed ahead,
// but remembers nothing: what the store costs is the difference.
func storeless(address, folder string) error {
	base, err := url.Parse(address)
	if err != nil {
		return err
	}
	client, err := transport.New(transport.Config{})
	if err != nil {
		return err
	}
	first, err := dhis2.ParsePeriod(benchPeriod)
	if err != nil {
		return err
	}
	to := dhis2.New(base, client, 1)
	s := &orchestration.Submitter{
		Sources:      map[string]orchestration.Source{"stub": {Name: "stub", Client: cht.New(base, client)}},
		Destinations: map[string]orchestration.Destination{"stub": {Name: "stub", Client: to}},
		DataSets:     []orchestration.DataSet{{ID: benchSet, CHT: []string{"stub"}, DHIS2: "stub", FirstPeriod: first}},
		SpoolDir:     folder,
	}
	plan, err := s.Prepare(context.Background(), orchestration.Request{DataSet: benchSet, Period: benchPeriod, CHT: "stub"})
	if err != nil {
		return err
	}
	defer plan.Close()
	if report := plan.Report(); report.Error != "" {
		return errors.New(report.Error)
	}
	ready, sent := make(chan dhis2.Packed), make(chan error, 1)
	go func() {
		var failed error
		for packed := range ready {
			o, err := to.Import(context.Background(), dhis2.SetBased, packed, dhis2.Options{})
			if err == nil && o.State != dhis2.Accepted {
				err = errors.New("a chunk was not accepted")
			}
			failed = errors.Join(failed, err)
		}
		sent <- failed
	}()
	err = chunks(plan, func(values []dhis2.DataValue) error {
		packed, err := to.Pack(dhis2.Chunk{DataSet: benchSet, Period: first, Values: values})
		if err == nil {
			ready <- packed
		}
		return err
	})
	close(ready)
	return errors.Join(err, <-sent)
}

// chunks gives the plan's values by requests of whole org units.
func chunks(plan *orchestration.Plan, yield func([]dhis2.DataValue) error) error {
	size, _ := dhis2.SetBased.ChunkSize()
	var values, unit []dhis2.DataValue
	flush := func() error {
		if len(values)+len(unit) > size && len(values) > 0 {
			if err := yield(values); err != nil {
				return err
			}
			values = nil
		}
		values = append(values, unit...)
		unit = unit[:0]
		return nil
	}
	err := plan.Values(func(v mapping.Value) error {
		if len(unit) > 0 && unit[0].OrgUnit != v.OrgUnit {
			if err := flush(); err != nil {
				return err
			}
		}
		unit = append(unit, v.DataValue)
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err == nil && len(values) > 0 {
		err = yield(values)
	}
	return err
}
