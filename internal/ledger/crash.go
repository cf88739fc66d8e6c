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

	"github.com/jackc/pgx/v5"
)

// crashPoint ends the process by SIGKILL at a transaction that the environment names, for the tests that show that such an end
// loses nothing: MEDIATOR_CRASH=before-commit:7 is when all of the seventh transaction is done and not yet committed,
// after-commit:7 is right after that. It counts what changes rows, River's own transactions and single statements included;
// what changes nothing, as a look for jobs where there are none, does not count, as it would make the numbers depend on the
// clock. MEDIATOR_CRASH_LOG names a file that gets a line for each.
//
// It is in no binary that is built without the tag.
type crashPoint struct {
	when string
	at   int
	log  string

	mu    sync.Mutex
	count int
}

func newCrashPoint() *crashPoint {
	when, number, _ := strings.Cut(os.Getenv("MEDIATOR_CRASH"), ":")
	at, _ := strconv.Atoi(number)
	return &crashPoint{when: when, at: at, log: os.Getenv("MEDIATOR_CRASH_LOG")}
}

// fragile gives connections that crash. It wraps any driver of database/sql.
func fragile(whole driver.Connector) driver.Connector {
	return &fragileConnector{Connector: whole, crash: newCrashPoint()}
}

type fragileConnector struct {
	driver.Connector

	crash *crashPoint
}

// Connect opens a connection.
func (f *fragileConnector) Connect(ctx context.Context) (driver.Conn, error) {
	whole, err := f.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &fragileConn{connection: whole.(connection), crash: f.crash}, nil
}

// commit commits a transaction that changes something, unless the process ends here.
func (c *crashPoint) commit(changes []string, commit func() error) error {
	number := c.committing(changes)
	err := commit()
	if err == nil {
		c.committed(number)
	}
	return err
}

// committing counts a transaction that changes something, and ends the process where that is asked for before this one.
func (c *crashPoint) committing(changes []string) (number int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	c.write(fmt.Sprintf("%d %s\n", c.count, strings.Join(changes, " | ")))
	if c.when == "before-commit" && c.count == c.at {
		end()
	}
	return c.count
}

// committed ends the process where that is asked for after this transaction.
func (c *crashPoint) committed(number int) {
	if c.when == "after-commit" && number == c.at {
		end()
	}
}

func (c *crashPoint) write(line string) {
	if c.log == "" {
		return
	}
	file, err := os.OpenFile(c.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
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

	crash *crashPoint
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
	return t.conn.crash.commit(t.conn.changes, t.Tx.Commit)
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
	makes := isMaking(query)
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

// fragileTracer lets connections of pgx crash. River works with them beside database/sql.
func fragileTracer() pgx.QueryTracer { return tracer{newCrashPoint()} }

type tracer struct{ crash *crashPoint }

// traced is what is known of the transaction that a connection is in.
type traced struct {
	changes []string
	// number is its own, from the time when it is being committed.
	number int
}

// tracedStatement is a statement under way.
type tracedStatement struct {
	query string
	// alone says that it has a transaction of its own.
	alone bool
}

type tracedKey struct{}

func tracedOf(conn *pgx.Conn) *traced {
	known := conn.PgConn().CustomData()
	if _, is := known["crash"]; !is {
		known["crash"] = &traced{}
	}
	return known["crash"].(*traced)
}

// TraceQueryStart begins a transaction for a single statement that may change something, so that there is a time when it is
// done and not committed.
func (t tracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	of, s := tracedOf(conn), tracedStatement{query: data.SQL}
	switch {
	case isEnd(s.query):
		if len(of.changes) > 0 && s.query == "commit" {
			of.number = t.crash.committing(of.changes)
		}
	case conn.PgConn().TxStatus() == 'I' && (isChange(s.query) || isMaking(s.query)):
		_, err := conn.PgConn().Exec(ctx, "begin").ReadAll()
		s.alone = err == nil
	}
	return context.WithValue(ctx, tracedKey{}, s)
}

// TraceQueryEnd counts.
func (t tracer) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	of, s := tracedOf(conn), ctx.Value(tracedKey{}).(tracedStatement)
	if isEnd(s.query) {
		if of.number > 0 && data.Err == nil {
			t.crash.committed(of.number)
		}
		*of = traced{}
		return
	}
	if data.Err == nil && (isChange(s.query) && data.CommandTag.RowsAffected() > 0 || isMaking(s.query)) {
		of.changes = append(of.changes, head(s.query))
	}
	if !s.alone {
		return
	}
	finish := func(how string) error {
		_, err := conn.PgConn().Exec(context.WithoutCancel(ctx), how).ReadAll()
		return err
	}
	if data.Err != nil || len(of.changes) == 0 {
		_ = finish("rollback")
	} else if err := t.crash.commit(of.changes, func() error { return finish("commit") }); err != nil {
		panic(err) // who made the statement takes it for done
	}
	*of = traced{}
}

func isEnd(query string) bool { return query == "commit" || query == "rollback" }

func isMaking(query string) bool { return strings.HasPrefix(head(query), "CREATE") }

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
