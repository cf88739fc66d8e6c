//go:build !crash || !unix

package ledger

import (
	"database/sql/driver"

	"github.com/jackc/pgx/v5"
)

// fragile gives the connections as they are. Built with the tag crash, they can end the process, for the tests that kill it.
func fragile(whole driver.Connector) driver.Connector { return whole }

// fragileTracer is the same for connections of pgx.
func fragileTracer() pgx.QueryTracer { return nil }
