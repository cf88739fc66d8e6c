package ledger

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// sharing is River's driver for PostgreSQL, for transactions of database/sql: it borrows their connection. River has a
// driver of its own for these too, but not at the version of the others.
type sharing struct {
	*riverpgxv5.Driver

	store *postgres
}

func (p *postgres) jobs() riverdriver.Driver[*sql.Tx] {
	return sharing{riverpgxv5.New(p.pool), p}
}

// UnwrapExecutor lets River work within a transaction that the ledger began.
func (s sharing) UnwrapExecutor(tx *sql.Tx) riverdriver.ExecutorTx {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if s.store.current == nil || s.store.current.tx != tx {
		panic("ledger: a job is added within a transaction that is none of the ledger's, or has ended")
	}
	return s.Driver.UnwrapExecutor(s.store.current)
}

// UnwrapTx is the opposite.
func (s sharing) UnwrapTx(executor riverdriver.ExecutorTx) *sql.Tx {
	if tx, ok := s.Driver.UnwrapTx(executor).(*borrowed); ok {
		return tx.tx
	}
	return nil
}

// Neither is needed: River looks for jobs from time to time, as on SQLite.

// SupportsListener says that nobody listens.
func (sharing) SupportsListener() bool { return false }

// SupportsListenNotify says that nobody is notified.
func (sharing) SupportsListenNotify() bool { return false }

// pgxConn has another name than its method that gives it.
type pgxConn = pgx.Conn

// borrowed is the connection of a transaction that somebody else ends.
type borrowed struct {
	*pgxConn

	tx *sql.Tx
}

// Conn is the connection.
func (b *borrowed) Conn() *pgx.Conn { return b.pgxConn }

var errBorrowed = errors.New("the transaction belongs to the ledger")

// Begin is refused, and so is what ends the transaction.
func (*borrowed) Begin(context.Context) (pgx.Tx, error) { return nil, errBorrowed }

// Commit is refused.
func (*borrowed) Commit(context.Context) error { return errBorrowed }

// Rollback is refused.
func (*borrowed) Rollback(context.Context) error { return errBorrowed }

// LargeObjects are not used.
func (*borrowed) LargeObjects() pgx.LargeObjects { return pgx.LargeObjects{} }
