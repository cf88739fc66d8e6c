//go:build crash && unix

package ledger

import (
	"context"
	"database/sql/driver"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// fragile gives connections that end the process by SIGKILL at a transaction that the environment names, for the tests that
// show that such an end loses nothing: MEDIATOR_CRASH=before-commit:7 is when all of the seventh transaction is done and not
// yet committed, after-commit:7 is right after that. It counts what changes rows, River's own transactions and single
// statements included; what changes nothing, as a look for jobs where there are none, does not count, as it would make the
// numbers depend on the clock. MEDIATOR_CRASH_LOG names a file that gets a line for each.
//
// It wraps any driver, and is in no binary that is built without the tag.
func fragile(whole driver.Connector) driver.Connector {
	f := &fragileConnector{Connector: whole, log: os.Getenv("MEDIATOR_CRASH_LOG")}
	when, number, _ := strings.Cut(os.Getenv("MEDIATOR_CRASH"), ":")
	f.when = when
	f.at, _ = strconv.Atoi(number)
	return f
}

type fragileConnector struct {
	driver.Connector

	when string
	at   int
	log  string

	mu    sync.Mutex
	count int
}

// Connect opens a connection.
func (f *fragileConnector) Connect(ctx context.Context) (driver.Conn, error) {
	whole, err := f.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &fragileConn{connection: whole.(connection), counts: f}, nil
}

// commit commits a transaction that changes something, unless the process ends here.
func (f *fragileConnector) commit(changes []string, commit func() error) error {
	f.mu.Lock()
	f.count++
	number := f.count
	f.write(fmt.Sprintf("%d %s\n", number, strings.Join(changes, " | ")))
	f.mu.Unlock()
	if f.when == "before-commit" && number == f.at {
		end()
	}
	err := commit()
	if err == nil && f.when == "after-commit" && number == f.at {
		end()
	}
	return err
}

func (f *fragileConnector) write(line string) {
	if f.log == "" {
		return
	}
	file, err := os.OpenFile(f.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close() //nolint:errcheck // a line that is missing shows in the test
	_, _ = file.WriteString(line)
}

// end ends the process as nobody can who has to tidy up.
func end() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// fragileConn is a connection. One goroutine uses it at a time.
type fragileConn struct {
	connection

	counts *fragileConnector
	// within says that a transaction is open, and changes are the statements of it that changed something.
	within  bool
	changes []string
}

// CheckNamedValue asks the driver, where it has a say.
func (c *fragileConn) CheckNamedValue(value *driver.NamedValue) error {
	if checker, ok := c.connection.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(value)
	}
	return driver.ErrSkip
}

// BeginTx begins a transaction.
func (c *fragileConn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	tx, err := c.connection.BeginTx(ctx, options)
	if err != nil {
		return nil, err
	}
	c.within, c.changes = true, nil
	return fragileTx{tx, c}, nil
}

type fragileTx struct {
	driver.Tx

	conn *fragileConn
}

// Commit commits what was changed.
func (t fragileTx) Commit() error {
	t.conn.within = false
	if len(t.conn.changes) == 0 {
		return t.Tx.Commit()
	}
	return t.conn.counts.commit(t.conn.changes, t.Tx.Commit)
}

// Rollback takes back what was changed.
func (t fragileTx) Rollback() error {
	t.conn.within = false
	return t.Tx.Rollback()
}

// PrepareContext counts as a change where the statement is one, as what is done with it later is not seen.
func (c *fragileConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if isChange(query) {
		c.changes = append(c.changes, head(query))
	}
	return c.connection.PrepareContext(ctx, query)
}

// ExecContext runs a statement, in a transaction of its own where none is open and it changes something.
func (c *fragileConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	makes := strings.HasPrefix(head(query), "CREATE")
	if !isChange(query) && !makes {
		return c.connection.ExecContext(ctx, query, args)
	}
	alone, err := c.alone(ctx)
	if err != nil {
		return nil, err
	}
	result, err := c.connection.ExecContext(ctx, query, args)
	if err == nil {
		if n, _ := result.RowsAffected(); n > 0 || makes {
			c.changes = append(c.changes, head(query))
		}
	}
	return result, alone.end(err)
}

// QueryContext runs a statement, in a transaction of its own where none is open and it changes rows.
func (c *fragileConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if !isChange(query) {
		return c.connection.QueryContext(ctx, query, args)
	}
	alone, err := c.alone(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := c.connection.QueryContext(ctx, query, args)
	if err != nil {
		return nil, alone.end(err)
	}
	return &fragileRows{Rows: rows, conn: c, head: head(query), alone: alone}, nil
}

// alone begins a transaction for one statement; it is none where one is open.
func (c *fragileConn) alone(ctx context.Context) (alone, error) {
	if c.within {
		return alone{}, nil
	}
	tx, err := c.BeginTx(ctx, driver.TxOptions{})
	return alone{tx}, err
}

type alone struct{ tx driver.Tx }

func (a alone) end(err error) error {
	switch {
	case a.tx == nil:
		return err
	case err != nil:
		_ = a.tx.Rollback()
		return err
	default:
		return a.tx.Commit()
	}
}

// fragileRows are what a change gives back: without rows nothing was changed.
type fragileRows struct {
	driver.Rows

	conn  *fragileConn
	head  string
	seen  bool
	alone alone
}

// Next gives a row.
func (r *fragileRows) Next(to []driver.Value) error {
	err := r.Rows.Next(to)
	if err == nil && !r.seen {
		r.seen = true
		r.conn.changes = append(r.conn.changes, r.head)
	}
	return err
}

// Close ends the statement, and its own transaction.
func (r *fragileRows) Close() error { return r.alone.end(r.Rows.Close()) }

var (
	remark = regexp.MustCompile(`(?m)--.*$`)
	change = regexp.MustCompile(`(?i)\b(INSERT\s+INTO|UPDATE\s+\S+\s+SET|UPDATE\s|DELETE\s+FROM)\b`)
)

func isChange(query string) bool { return change.MatchString(remark.ReplaceAllString(query, "")) }

// head is the beginning of a statement, on one line.
func head(query string) string {
	text := strings.Join(strings.Fields(remark.ReplaceAllString(query, "")), " ")
	return text[:min(len(text), 60)]
}
