// Package openhim_test tries the mediator on a real OpenHIM core: not what the core answers, which the recordings hold,
// but that core and mediator together do what an operator is promised.
//
// The core is the one that the npm registry has, 4.0.5, on a database that this folder builds (store). It needs node,
// npm, and the network once; without them the tests are skipped, and fail where CI is set. The core takes a password
// only by tokens; Basic authentication and the cores from 8 on are tried on the stand-in of internal/sandbox, which is
// held to their recordings.
package openhim_test

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == leashed {
		os.Exit(leash(os.Args[2:]))
	}
	os.Exit(m.Run())
}
