package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// postgres is a database that several processes share, on one machine or on several.
//
// One transaction writes at a time, as on SQLite: each holds a lock of the database from its beginning to its end. All that
// the ledger promises rests on that, and what writes most, the work, is done by one process anyway.
type postgres struct {
	l    *Ledger
	pool *pgxpool.Pool
	// side is for what waits for no transaction of the writer: the lease, and the health of the service.
	side *sql.DB
	name string

	taking sync.Mutex // held while the role is taken
	mu     sync.Mutex
	// current is the transaction that the writer is in.
	current *borrowed
	lease   *lease
}

const (
	// The numbers of the locks under which one writes, and one brings the tables up to date. They only must not be those of
	// another program on the same database.
	writeLock   = 0x4d656469_01
	migrateLock = 0x4d656469_02

	// mostConnections is how many a process has at the most: the writer, the readers, those beside it and the job engine's.
	mostConnections = 16
	sideConnections = 3
	connectTimeout  = 5 * time.Second
	// beginWrite waits for the one who writes as long as SQLite does, and lets nobody block the others who has stopped in the
	// middle, as a process that is suspended has. What is committed is on the disk, even where the server is set to be quicker.
	beginWrite = `SET LOCAL lock_timeout = '10s'; SET LOCAL idle_in_transaction_session_timeout = '20s';
		SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';
		SELECT pg_advisory_xact_lock(%d)`
)

func (p *postgres) open(ctx context.Context) error {
	config, err := p.parse()
	if err != nil {
		return err
	}
	c := config.ConnConfig
	p.name = fmt.Sprintf("the PostgreSQL database %s at %s", c.Database, c.Host)
	config.MaxConns = mostConnections
	config.MinConns = 0
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "mediator"
	}
	c.DialFunc, c.Tracer = dial, fragileTracer()
	config.BeforeConnect = p.renewPassword
	if p.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return err
	}
	p.l.writer, p.l.reader, p.side = stdlib.OpenDBFromPool(p.pool), stdlib.OpenDBFromPool(p.pool), stdlib.OpenDBFromPool(p.pool)
	p.l.writer.SetMaxOpenConns(1)
	p.l.reader.SetMaxOpenConns(readers)
	p.side.SetMaxOpenConns(sideConnections)
	return p.migrate(ctx)
}

// parse reads the address.
func (p *postgres) parse() (*pgxpool.Config, error) {
	address, err := p.l.config.Database()
	if err != nil {
		return nil, &Error{Kind: Denied, What: "the address of the database cannot be read (" + err.Error() + ")", Remedy: "check database_url_file, or DATABASE_URL_FILE"}
	}
	config, err := pgxpool.ParseConfig(address)
	if err != nil { // the error may repeat the address
		return nil, &Error{
			Kind: Unreachable, What: "database_url is no address of a PostgreSQL database, or names a certificate or service that cannot be read",
			Remedy: "write it as postgres://user:password@host:5432/database?sslmode=verify-full",
		}
	}
	return config, nil
}

// renewPassword reads the account anew for each connection, so that a password may be changed without a restart.
func (p *postgres) renewPassword(_ context.Context, c *pgx.ConnConfig) error {
	config, err := p.parse()
	if err != nil {
		return err
	}
	c.User, c.Password = config.ConnConfig.User, config.ConnConfig.Password
	return nil
}

func (p *postgres) close() error {
	err := p.giveRole(context.Background())
	for _, db := range []*sql.DB{p.l.reader, p.l.writer, p.side} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if p.pool != nil {
		p.pool.Close()
	}
	return err
}

func (p *postgres) place() string {
	if p.name == "" {
		return "the PostgreSQL database of database_url"
	}
	return p.name
}

// migrate brings the tables up to date, of several processes at once one after the other. An account without the right to
// do so finds them up to date, or says so.
func (p *postgres) migrate(ctx context.Context) (err error) {
	conn, err := p.side.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it goes back to the pool
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, int64(migrateLock)); err != nil {
		return err
	}
	defer func() {
		_, unlocked := conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(migrateLock))
		err = errors.Join(err, unlocked)
	}()
	err = p.l.migrate(ctx, goose.DialectPostgres)
	if err == nil {
		err = p.sortByBytes(ctx)
	}
	var answer *pgconn.PgError
	if errors.As(err, &answer) && slices.Contains([]string{noRight, noSchema, noTable}, answer.Code) {
		what, remedy := p.words(Outdated)
		return &Error{Kind: Outdated, What: what + " (" + err.Error() + ")", Remedy: remedy, err: err}
	}
	return err
}

var createTable = regexp.MustCompile(`(?m)^(?:CREATE TABLE|ALTER TABLE \w+ RENAME TO) (\w+)`)

// ourTables are the names that the migrations give to tables, also to those that are gone again, with commas between.
// Others in the same schema are not ours.
func ourTables() (string, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	var names []string
	for _, file := range files {
		text, err := fs.ReadFile(migrations, file)
		if err != nil {
			return "", err
		}
		for _, found := range createTable.FindAllStringSubmatch(string(text), -1) {
			names = append(names, found[1])
		}
	}
	return strings.Join(names, ","), err
}

// sortByBytes lets PostgreSQL sort and compare texts as SQLite and Go do, whatever the language of the database. Content
// rests on one order of its org units.
func (p *postgres) sortByBytes(ctx context.Context) error {
	ours, err := ourTables()
	if err != nil {
		return err
	}
	type column struct{ table, name string }
	var others []column
	rows, err := p.side.QueryContext(ctx, `SELECT table_name, column_name FROM information_schema.columns
		WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C' AND table_name = ANY (string_to_array($1, ','))
		ORDER BY table_name, column_name`, ours)
	err = each(rows, err, func() error {
		var c column
		err := rows.Scan(&c.table, &c.name)
		others = append(others, c)
		return err
	})
	for _, c := range others {
		if err == nil {
			table, name := pgx.Identifier{c.table}.Sanitize(), pgx.Identifier{c.name}.Sanitize()
			_, err = p.side.ExecContext(ctx, `ALTER TABLE `+table+` ALTER COLUMN `+name+` TYPE text COLLATE "C"`)
		}
	}
	return err
}

// begin begins a transaction of the writer. Where this process works the jobs it must still have the role: who takes it
// over holds the same lock, so that nothing is written by the one before from then on.
func (p *postgres) begin(ctx context.Context) (*sql.Tx, func(), error) {
	fence, err := p.fence()
	if err != nil {
		return nil, nil, err
	}
	tx, done, err := p.beginLocked(ctx)
	if err != nil || fence == 0 {
		return tx, done, err
	}
	var newest int64
	if err = tx.QueryRowContext(ctx, `SELECT coalesce(max(fence), 0) FROM worker_lease`).Scan(&newest); err == nil && newest != fence {
		p.lose(fence)
		_, err = p.fence()
	}
	if err != nil {
		_ = tx.Rollback()
		done()
		return nil, nil, err
	}
	return tx, done, nil
}

// beginLocked begins a transaction that nobody else writes beside.
func (p *postgres) beginLocked(ctx context.Context) (tx *sql.Tx, done func(), err error) {
	conn, err := p.l.writer.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	done = func() {
		p.mu.Lock()
		p.current = nil
		p.mu.Unlock()
		_ = conn.Close()
	}
	var plain *pgx.Conn
	err = conn.Raw(func(c any) error {
		known, ok := c.(*stdlib.Conn)
		if !ok {
			return errors.New("the PostgreSQL driver lacks what the store needs of it")
		}
		plain = known.Conn()
		return nil
	})
	if err == nil {
		tx, err = conn.BeginTx(ctx, nil)
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, fmt.Sprintf(beginWrite, int64(writeLock)))
		if err != nil {
			_ = tx.Rollback()
		}
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	p.mu.Lock()
	p.current = &borrowed{pgxConn: plain, tx: tx}
	p.mu.Unlock()
	return tx, done, nil
}

func (*postgres) snapshot() *sql.TxOptions {
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}

// ping does not wait for the writer: a large month that is being stored is no trouble.
func (p *postgres) ping(ctx context.Context) error {
	_, err := p.side.ExecContext(ctx, pingRow, p.l.now(), []byte{})
	return err
}

func (p *postgres) hasTable(ctx context.Context, name string) (has bool, err error) {
	err = p.side.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, name).Scan(&has)
	return has, err
}

// check finds rights that the account lacks.
func (p *postgres) check(ctx context.Context) error {
	ours, err := ourTables()
	if err != nil {
		return err
	}
	return p.l.read(ctx, "check the store", func(tx *sql.Tx) error {
		var lacking []string
		rows, err := tx.QueryContext(ctx, `SELECT t || ' (' || p || ')' FROM unnest(string_to_array($1, ',') || ARRAY['river_job', 'river_leader', 'river_queue']) t,
			unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p WHERE to_regclass(t) IS NOT NULL AND NOT has_table_privilege(to_regclass(t), p) ORDER BY 1`, ours)
		err = each(rows, err, func() error {
			var one string
			err := rows.Scan(&one)
			lacking = append(lacking, one)
			return err
		})
		if err != nil || len(lacking) == 0 {
			return err
		}
		what, remedy := p.words(ReadOnly)
		return &Error{Kind: ReadOnly, What: what + ": rights are missing for " + strings.Join(lacking, ", "), Remedy: remedy}
	})
}

func (p *postgres) size(ctx context.Context) (bytes int64, err error) {
	err = p.l.read(ctx, "measure the store", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT CAST(coalesce(sum(pg_total_relation_size(c.oid)), 0) AS bigint) FROM pg_class c
			WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind = 'r'`).Scan(&bytes)
	})
	return bytes, err
}

// giveBack does nothing: PostgreSQL uses the room again by itself.
func (*postgres) giveBack(context.Context) error { return nil }
