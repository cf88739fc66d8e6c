// Package ledger is the mediator's durable memory: what was asked for, what is to be sent, what was sent and what became
// of it, what DHIS2 last accepted, and the jobs that carry the work on.
//
// It is one database: a SQLite file in the data folder, or a PostgreSQL that several processes share. Each method that
// changes something is one transaction that leaves a whole state, synced to disk before it returns, so that a process may be
// killed between any two calls and the next one goes on from there. A method that ends a step takes a Next, which puts the job of the following step into the same
// transaction: there is never a result without its job, nor a job without its result.
//
// The jobs are River's, in the same database, because only there can they share a transaction with the rows. The SQL is
// written once, with numbered placeholders and without dialect, and on both databases one transaction writes at a time; what
// differs stands in sqlite.go and postgres.go.
package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/riverqueue/river"
)

// Config says where the memory is.
type Config struct {
	// Dir is the data folder, in which the SQLite file is. It is made when it does not exist.
	Dir string
	// Database gives the address of a PostgreSQL database, which takes the file's place; nil is the file. The address is
	// a secret, and is asked for again with each connection, so that a password may change.
	Database func() (string, error)
	// QueueLimit is how many submissions may wait to be prepared; 0 is DefaultQueueLimit.
	QueueLimit int
	// Limit is how many bytes the database may take; 0 sets no limit but the disk's. Beyond it every write fails with Full.
	Limit int64
	// Now gives the time; nil is time.Now.
	Now func() time.Time
}

// DefaultQueueLimit is how many submissions may wait unless the configuration says otherwise.
const DefaultQueueLimit = 1000

// Ledger is an open memory. It may be used by many goroutines at once.
type Ledger struct {
	config Config
	store  store
	// writer has one connection, as there is one writer; readers see the last whole state and wait for nobody.
	writer, reader *sql.DB
	names          *names
}

// Next is called within a transaction, before its end, to add what belongs to it: the job of the next step as a rule. It
// gets the id of the submission. When it fails nothing of the transaction remains. It must use tx for all that it does:
// the only writing connection is the one of tx, so that a call to the Ledger from within waits for ever. A nil Next adds
// nothing.
type Next func(ctx context.Context, tx *sql.Tx, submission string) error

// Open opens the memory, and makes it or brings it up to date where needed. The caller closes it. Errors are of type
// *Error where a person can do something about them.
func Open(ctx context.Context, config Config) (*Ledger, error) {
	l := newLedger(config)
	if err := l.store.open(ctx); err != nil {
		return nil, errors.Join(l.explain("open the store in "+l.store.place(), err), l.Close())
	}
	return l, nil
}

func newLedger(config Config) *Ledger {
	l := &Ledger{config: config, names: newNames()}
	l.store = &sqlite{l: l}
	if config.Database != nil {
		l.store = &postgres{l: l}
	}
	return l
}

// Close gives the worker role back and closes the database. Jobs must have been stopped before.
func (l *Ledger) Close() error { return l.store.close() }

// Jobs makes a River client on the database. Its InsertTx takes the transaction that a Next is given. A job runs for a
// minute at most unless the configuration or the job says otherwise, which is too short for most steps. The client must
// be stopped before Close. Without a logger it says nothing: what the engine says of itself helps nobody here.
func (l *Ledger) Jobs(config *river.Config) (*river.Client[*sql.Tx], error) {
	if config.Logger == nil {
		config.Logger = quiet()
	}
	// It would need the rights of an owner, for tables that stay small.
	config.ReindexerSchedule = river.NeverSchedule()
	client, err := river.NewClient(l.store.jobs(), config)
	if err != nil {
		return nil, fmt.Errorf("make the job engine: %w", err)
	}
	return client, nil
}

// Place names the database for people: the file, or the PostgreSQL database and its server.
func (l *Ledger) Place() string { return l.store.place() }

// IsShared says whether the database is one that may be away, and that processes on several machines may work with.
func (l *Ledger) IsShared() bool { return l.config.Database != nil }

// Ping says whether the database takes writes, for the health of the service.
func (l *Ledger) Ping(ctx context.Context) error {
	return l.explain("write to the store", l.store.ping(ctx))
}

// Check reads the whole database and says what is wrong with it; it takes as long as reading the file. PostgreSQL looks
// after its files itself: there the tables are asked for one row each.
func (l *Ledger) Check(ctx context.Context) error { return l.store.check(ctx) }

// now is the time in milliseconds, as the tables keep it.
func (l *Ledger) now() int64 {
	if l.config.Now == nil {
		return time.Now().UnixMilli()
	}
	return l.config.Now().UnixMilli()
}

// Now is the time by which the ledger notes what happens.
func (l *Ledger) Now() time.Time { return timeOf(l.now()) }

// timeOf reads a time of the tables; 0 is the zero time.
func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// msOf is the opposite of timeOf.
func msOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// write runs f in a transaction of the writer. All of it remains, or nothing.
func (l *Ledger) write(ctx context.Context, doing string, f func(tx *sql.Tx) error) error {
	tx, done, err := l.store.begin(ctx)
	if err != nil {
		return l.explain(doing, err)
	}
	defer done()
	if err := f(tx); err != nil {
		_ = tx.Rollback()
		return l.explain(doing, err)
	}
	return l.explain(doing, tx.Commit())
}

// read runs f in a transaction of a reader, which sees one state from its first query to its last.
func (l *Ledger) read(ctx context.Context, doing string, f func(tx *sql.Tx) error) error {
	tx, err := l.reader.BeginTx(ctx, l.store.snapshot())
	if err != nil {
		return l.explain(doing, err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	return l.explain(doing, f(tx))
}

func (n Next) call(ctx context.Context, tx *sql.Tx, submission string) error {
	if n == nil {
		return nil
	}
	return n(ctx, tx, submission)
}

// querier is a transaction or a database.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// each calls f for every row of a query. The rows are closed when it returns.
func each(rows *sql.Rows, err error, f func() error) error {
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // closing what was only read tells nothing that the reading did not
	for rows.Next() {
		if err := f(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// affected says how many rows a statement changed.
func affected(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.Level(math.MaxInt)}))
}
