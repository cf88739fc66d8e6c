package main

import (
	"fmt"

	"github.com/cht-dhis2/mediator/internal/ledger"
)

// coverageLine says in a line how many of the expected workers have synced.
func coverageLine(c *ledger.CoverageTotals) string {
	line := fmt.Sprintf("Workers: %d of %d expected have synced", c.Seen, c.Expected)
	if c.Others > 0 {
		line += fmt.Sprintf(", and %d others", c.Others)
	}
	line += fmt.Sprintf("; %d org units below %d %%", c.OrgUnitsBelow, c.Threshold)
	if c.Stale != nil && *c.Stale > 0 {
		line += fmt.Sprintf("; %d documents are from before the last week of the period, the oldest from %s", *c.Stale, c.Oldest)
	}
	if len(c.Missing) > 0 {
		line += fmt.Sprintf("; %d targets are missing on some phones, %s on %d", len(c.Missing), c.Missing[0].Target, c.Missing[0].Workers)
	}
	return line + "."
}
