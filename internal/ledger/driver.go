package ledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
)

// keeping opens connections of SQLite that keep the statements which they have parsed. Booking a chunk takes some fifteen
// of them, always the same, and to parse them anew each time took a quarter of the time that the store costs.
type keeping struct {
	plain   driver.Driver
	address string
}

// openKeeping opens a database with such connections.
func openKeeping(address string) (*sql.DB, error) {
	plain, err := sql.Open("sqlite", address)
	if err != nil {
		return nil, err
	}
	defer plain.Close() //nolint:errcheck // it has no connection
	return sql.OpenDB(fragile(keeping{plain.Driver(), address})), nil
}

// Connect opens a connection.
func (k keeping) Connect(context.Context) (driver.Conn, error) {
	plain, err := k.plain.Open(k.address)
	if err != nil {
		return nil, err
	}
	whole, ok := plain.(connection)
	if !ok {
		return nil, errors.Join(errors.New("the SQLite driver lacks what the store needs of it"), plain.Close())
	}
	return &keptConn{connection: whole, kept: map[string]*keptStatement{}}, nil
}

// Driver is SQLite's.
func (k keeping) Driver() driver.Driver { return k.plain }

// connection is what a connection of SQLite's driver can do.
type connection interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// keptConn is a connection and its statements. One goroutine uses it at a time.
type keptConn struct {
	connection

	kept map[string]*keptStatement
}

type keptStatement struct {
	statement statement
	// busy says that the rows of an earlier use are still open: the same text is parsed once more then.
	busy bool
}

type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// mostKept is how many statements a connection keeps: more than there are, but for those with lists of varying length.
const mostKept = 200

// take gives a kept statement that is free; nil where the text is not one to keep.
func (c *keptConn) take(ctx context.Context, query string) *keptStatement {
	if known, ok := c.kept[query]; ok {
		if known.busy {
			return nil
		}
		known.busy = true
		return known
	}
	if !isPlain(query) || len(c.kept) >= mostKept {
		return nil
	}
	prepared, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil // the plain way tells what is wrong
	}
	whole, ok := prepared.(statement)
	if !ok {
		_ = prepared.Close()
		return nil
	}
	c.kept[query] = &keptStatement{statement: whole, busy: true}
	return c.kept[query]
}

// isPlain says whether a text is one statement that reads or changes rows. Scripts, pragmas and changes of tables are not.
func isPlain(query string) bool {
	for _, verb := range []string{"SELECT ", "INSERT ", "UPDATE ", "DELETE "} {
		if strings.HasPrefix(query, verb) {
			return !strings.Contains(query, ";")
		}
	}
	return false
}

// ExecContext runs a statement that gives no rows.
func (c *keptConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	kept := c.take(ctx, query)
	if kept == nil {
		return c.connection.ExecContext(ctx, query, args)
	}
	defer func() { kept.busy = false }()
	return kept.statement.ExecContext(ctx, args)
}

// QueryContext runs a statement that gives rows.
func (c *keptConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	kept := c.take(ctx, query)
	if kept == nil {
		return c.connection.QueryContext(ctx, query, args)
	}
	rows, err := kept.statement.QueryContext(ctx, args)
	if err != nil {
		kept.busy = false
		return nil, err
	}
	return keptRows{rows, kept}, nil
}

// Close closes the statements with their connection.
func (c *keptConn) Close() error {
	var errs []error
	for _, kept := range c.kept {
		errs = append(errs, kept.statement.Close())
	}
	return errors.Join(append(errs, c.connection.Close())...)
}

// keptRows give their statement back when they are closed.
type keptRows struct {
	driver.Rows

	kept *keptStatement
}

// Close closes the rows.
func (r keptRows) Close() error {
	err := r.Rows.Close()
	r.kept.busy = false
	return err
}
