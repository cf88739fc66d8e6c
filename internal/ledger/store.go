package ledger

import (
	"context"
	"database/sql"

	"github.com/riverqueue/river/riverdriver"
)

// store is what differs between the databases: SQLite in the data folder, and PostgreSQL. All else is written once.
type store interface {
	// open connects, and brings the tables up to date where that may be done. What it opened is closed by close, also
	// after an error.
	open(ctx context.Context) error
	close() error
	// place names the database for people, without a secret.
	place() string

	// begin begins a transaction of the only one who writes at that time, and done is called after its end. It fails where
	// this process has lost the worker role and has not stepped down yet.
	begin(ctx context.Context) (tx *sql.Tx, done func(), err error)
	// snapshot are the options of a transaction that sees one state from its first query to its last.
	snapshot() *sql.TxOptions
	// ping writes a row, and waits for no other transaction where that can be had.
	ping(ctx context.Context) error
	check(ctx context.Context) error
	size(ctx context.Context) (bytes int64, err error)
	// giveBack returns room to the disk.
	giveBack(ctx context.Context) error
	jobs() riverdriver.Driver[*sql.Tx]
	hasTable(ctx context.Context, name string) (bool, error)

	takeRole(ctx context.Context) error
	giveRole(ctx context.Context) error
	hasRole() bool
	// roleLost is closed when the role that this process has is lost; nil where it has none, or cannot lose it.
	roleLost() <-chan struct{}
	worker(ctx context.Context) string

	// kind says what sort of trouble an error of the driver is; empty where a person can do nothing about it.
	kind(err error) Kind
	// words say what is wrong and what to do about it.
	words(kind Kind) (what, remedy string)
}

// pingRow is what ping writes.
const pingRow = `INSERT INTO setting (name, saved_at, body) VALUES ('ping', $1, $2)
	ON CONFLICT (name) DO UPDATE SET saved_at = excluded.saved_at`
