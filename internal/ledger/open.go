package ledger

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	_ "modernc.org/sqlite" // the driver; no C is needed to build it
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	fileName    = "mediator.db"
	readers     = 4
	busyTimeout = 10 * time.Second
	openRetry   = 20 * time.Millisecond
)

// MakeDir makes a data folder where there is none. Its errors are those of Open.
func MakeDir(dir string) error {
	l := &Ledger{config: Config{Dir: dir}}
	return l.explain("make the data folder", os.MkdirAll(dir, 0o700))
}

func (l *Ledger) open(ctx context.Context) error {
	dir, err := filepath.Abs(l.config.Dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	l.config.Dir, l.path = dir, filepath.Join(dir, fileName)
	// Two processes that start at once bring the same tables up to date; the second one waits for the first.
	lock := flock.New(filepath.Join(dir, "open.lock"))
	if _, err := lock.TryLockContext(ctx, openRetry); err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // it goes with the process at the latest
	// SQLite gives its other files the rights of this one: there are health figures in it.
	file, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := l.connect(ctx); err != nil {
		return err
	}
	return l.migrate(ctx)
}

// connect opens the file for one writer and some readers.
func (l *Ledger) connect(ctx context.Context) error {
	var err error
	if l.writer, err = openKeeping(l.address("_txlock=immediate" + l.limit())); err != nil {
		return err
	}
	l.writer.SetMaxOpenConns(1)
	if l.reader, err = openKeeping(l.address("_query_only=1")); err != nil {
		return err
	}
	l.reader.SetMaxOpenConns(readers)
	l.reader.SetMaxIdleConns(readers)
	tx, err := l.writer.BeginTx(ctx, nil) // takes the right to write, so it fails where there is none
	if err != nil {
		return err
	}
	return tx.Rollback()
}

const pageSize = 4096

// limit is the setting of a connection that lets the file not grow beyond the limit.
func (l *Ledger) limit() string {
	if l.config.Limit <= 0 {
		return ""
	}
	return fmt.Sprintf("&_pragma=max_page_count(%d)", max(1, l.config.Limit/pageSize))
}

// address is the file with the settings of a connection. auto_vacuum comes first, as it can be chosen only before the
// first table; the write-ahead file is cut back after a large transaction.
func (l *Ledger) address(more string) string {
	const settings = "_pragma=busy_timeout(%d)&_pragma=auto_vacuum(incremental)&_pragma=journal_mode(wal)" +
		"&_pragma=synchronous(full)&_pragma=foreign_keys(1)&_pragma=journal_size_limit(1048576)&"
	file := url.URL{Scheme: "file", Path: l.path, RawQuery: fmt.Sprintf(settings, busyTimeout.Milliseconds()) + more}
	return file.String()
}

// migrate brings our tables and River's up to date, each step in a transaction of its own.
func (l *Ledger) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	ours, err := goose.NewProvider(goose.DialectSQLite3, l.writer, files, goose.WithDisableGlobalRegistry(true), goose.WithSlog(quiet()))
	if err != nil {
		return err
	}
	have, want, err := ours.GetVersions(ctx)
	if err != nil {
		return err
	}
	if have > want {
		return l.newer(fmt.Sprintf("its tables have version %d, and this version of the mediator knows %d", have, want))
	}
	if have < want {
		if _, err := ours.Up(ctx); err != nil {
			return err
		}
	}
	return l.migrateJobs(ctx)
}

func (l *Ledger) migrateJobs(ctx context.Context) error {
	migrator, err := rivermigrate.New(riversqlite.New(l.writer), &rivermigrate.Config{Logger: quiet()})
	if err != nil {
		return err
	}
	known := migrator.AllVersions()
	want, have := known[len(known)-1].Version, 0
	var tables int
	if err := l.writer.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE name = 'river_migration'`).Scan(&tables); err != nil {
		return err
	}
	if tables > 0 {
		if err := l.writer.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM river_migration`).Scan(&have); err != nil {
			return err
		}
	}
	if have > want {
		return l.newer(fmt.Sprintf("its job tables have version %d, and this version of the mediator knows %d", have, want))
	}
	if have == want {
		return nil
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func (l *Ledger) newer(why string) error {
	return &Error{
		Kind: Newer, Doing: "open " + l.path, What: "a newer version of the mediator has worked with this file: " + why,
		Remedy: "start that version or a later one, or restore the backup that was made before the update",
	}
}

// Check reads the whole database and says what is wrong with it; it takes as long as reading the file.
func (l *Ledger) Check(ctx context.Context) error {
	return l.read(ctx, "check the store", func(tx *sql.Tx) error {
		var found string
		if err := tx.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&found); err != nil {
			return err
		}
		if found == "ok" {
			return nil
		}
		what, remedy := l.words(Damaged)
		return &Error{Kind: Damaged, What: what + " (" + found + ")", Remedy: remedy}
	})
}
