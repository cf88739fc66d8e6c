package main

import (
	"fmt"

	"github.com/cht-dhis2/mediator/orchestration"
)

type ledgerCommands struct {
	Adopt  adoptCommand  `cmd:"" help:"Take what DHIS2 holds as what it accepted, so that the mediator carries on from there."`
	Forget forgetCommand `cmd:"" help:"Forget what DHIS2 accepted of a period, or of some org units of it."`
}

type adoptCommand struct{ requestFlags }

// Run adopts each period of each source.
func (c adoptCommand) Run(a *app) error {
	s, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	requests, err := c.requests(s)
	if err != nil {
		return err
	}
	s.Wait = c.Wait
	var reasons []orchestration.Reason
	for _, request := range requests {
		bar := a.newBar()
		s.Watch = bar.show
		adopted, err := s.Adopt(a.ctx, request)
		bar.end()
		if err != nil {
			return err
		}
		reasons = append(reasons, adopted.Reason)
		if adopted.Error != "" {
			a.say(orchestration.Report{Error: adopted.Error, Remedy: adopted.Remedy})
		}
		switch {
		case c.JSON:
			err = a.encode(adopted)
		case adopted.Error == "":
			_, err = fmt.Fprintf(a.stdout, "%s, %s: %d values that DHIS2 %s holds count as accepted from %s; another account stored %d of them\n",
				adopted.DataSet, adopted.Period, adopted.Adopted, adopted.DHIS2, adopted.CHT, adopted.OfOthers)
		}
		if err != nil {
			return err
		}
	}
	return endWith(gravest(reasons))
}

type forgetCommand struct {
	settingsFlags

	DataSet string   `help:"The data set's id. May be left out where one is configured." placeholder:"ID"`
	Period  string   `help:"The period, such as 202610, or a range, such as 202601..202606." required:""`
	CHT     string   `name:"cht" help:"The source; all sources of the data set when left out." placeholder:"NAME"`
	OrgUnit []string `help:"Only these org units, by their ids in DHIS2. May be repeated." placeholder:"ID"`
}

// Run forgets each period of each source.
func (c forgetCommand) Run(a *app) error {
	s, done, err := c.open(a)
	if err != nil {
		return err
	}
	defer done()
	requests, err := selection{c.DataSet, c.Period, c.CHT, c.OrgUnit}.requests(s)
	if err != nil {
		return err
	}
	for _, request := range requests {
		orgUnits, err := s.Forget(a.ctx, request)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.stdout, "%s, %s from %s: what DHIS2 accepted of %d org units is forgotten\n", request.DataSet, request.Period, request.CHT, orgUnits); err != nil {
			return err
		}
	}
	return nil
}
