//go:build !crash || !unix

package ledger

import "database/sql/driver"

// fragile gives the connections as they are. Built with the tag crash, they can end the process, for the tests that kill it.
func fragile(whole driver.Connector) driver.Connector { return whole }
