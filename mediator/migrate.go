package main

import (
	"fmt"

	"github.com/cht-dhis2/mediator/internal/ledger"
)

type migrateCommand struct {
	settingsFlags
}

// Run brings the tables up to date, as every command does that opens the store, and does nothing else.
func (c migrateCommand) Run(a *app) error {
	settings, err := c.load(a)
	if err != nil {
		return err
	}
	l, err := ledger.Open(a.ctx, store(settings, a))
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "the tables of %s are up to date\n", l.Place())
	return l.Close()
}
