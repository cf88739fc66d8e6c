// Package cluster starts a real PostgreSQL for tests, from the programs that the system's package brings, in a folder of
// its own. It belongs to no service of the system, and nothing reaches it from outside: it listens at a socket in its folder.
package cluster

import (
	"errors"
	"net/url"
)

// ErrMissing says that PostgreSQL is not installed.
var ErrMissing = errors.New("PostgreSQL is not installed: there is no /usr/lib/postgresql/*/bin/initdb (Debian's package is postgresql)")

// Config says how a cluster is to be.
type Config struct {
	// Durable lets it sync to disk as in real life. Without it the tests are faster, and a crash of the machine is not tried.
	Durable bool
	// Prepare makes the tables of the database that all others are copies of, given its address; nil makes none.
	Prepare func(address string) error
}

const (
	// Owner is the account that owns the databases. It needs no password, as all others but one.
	Owner = "owner"
	// WithPassword is the account that needs one. The test makes it.
	WithPassword = "with_password"
)

// As gives the address of a database for another account.
func As(address, account string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err) // it is one that Database gave
	}
	u.User = url.User(account)
	return u.String()
}
