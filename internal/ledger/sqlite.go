package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	driver "modernc.org/sqlite" // no C is needed to build it
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	fileName    = "mediator.db"
	readers     = 4
	busyTimeout = 10 * time.Second
	openRetry   = 20 * time.Millisecond
	vacuumPages = 1000
)

// sqlite is the database in a file of the data folder.
type sqlite struct {
	l    *Ledger
	path string

	roleMu sync.Mutex
	role   *role
}

func (s *sqlite) open(ctx context.Context) error {
	dir, err := filepath.Abs(s.l.config.Dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	s.l.config.Dir, s.path = dir, filepath.Join(dir, fileName)
	// Two processes that start at once bring the same tables up to date; the second one waits for the first.
	lock := flock.New(filepath.Join(dir, "open.lock"))
	if _, err := lock.TryLockContext(ctx, openRetry); err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // it goes with the process at the latest
	// SQLite gives its other files the rights of this one: there are health figures in it.
	file, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	return s.l.migrate(ctx, goose.DialectSQLite3, goose.WithExcludeVersions([]int64{leaseVersion}))
}

// connect opens the file for one writer and some readers.
func (s *sqlite) connect(ctx context.Context) error {
	var err error
	if s.l.writer, err = openKeeping(s.address("_txlock=immediate" + s.limit())); err != nil {
		return err
	}
	s.l.writer.SetMaxOpenConns(1)
	if s.l.reader, err = openKeeping(s.address("_query_only=1")); err != nil {
		return err
	}
	s.l.reader.SetMaxOpenConns(readers)
	s.l.reader.SetMaxIdleConns(readers)
	tx, err := s.l.writer.BeginTx(ctx, nil) // takes the right to write, so it fails where there is none
	if err != nil {
		return err
	}
	return tx.Rollback()
}

const pageSize = 4096

// limit is the setting of a connection that lets the file not grow beyond the limit.
func (s *sqlite) limit() string {
	if s.l.config.Limit <= 0 {
		return ""
	}
	return fmt.Sprintf("&_pragma=max_page_count(%d)", max(1, s.l.config.Limit/pageSize))
}

// address is the file with the settings of a connection. auto_vacuum comes first, as it can be chosen only before the
// first table; the write-ahead file is cut back after a large transaction.
func (s *sqlite) address(more string) string {
	const settings = "_pragma=busy_timeout(%d)&_pragma=auto_vacuum(incremental)&_pragma=journal_mode(wal)" +
		"&_pragma=synchronous(full)&_pragma=foreign_keys(1)&_pragma=journal_size_limit(1048576)&"
	file := url.URL{Scheme: "file", Path: s.path, RawQuery: fmt.Sprintf(settings, busyTimeout.Milliseconds()) + more}
	return file.String()
}

func (s *sqlite) close() error {
	var errs []error
	for _, db := range []*sql.DB{s.l.reader, s.l.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(append(errs, s.giveRole(context.Background()))...)
}

func (s *sqlite) place() string {
	if s.path == "" {
		return s.l.config.Dir
	}
	return s.path
}

func (s *sqlite) begin(ctx context.Context) (*sql.Tx, func(), error) {
	tx, err := s.l.writer.BeginTx(ctx, nil)
	return tx, func() {}, err
}

func (*sqlite) snapshot() *sql.TxOptions { return &sql.TxOptions{ReadOnly: true} }

func (s *sqlite) ping(ctx context.Context) error {
	return s.l.write(ctx, "write to the store", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, pingRow, s.l.now(), []byte{})
		return err
	})
}

func (s *sqlite) jobs() riverdriver.Driver[*sql.Tx] { return riversqlite.New(s.l.writer) }

func (s *sqlite) hasTable(ctx context.Context, name string) (has bool, err error) {
	err = s.l.writer.QueryRowContext(ctx, `SELECT count(*) > 0 FROM sqlite_master WHERE name = $1`, name).Scan(&has)
	return has, err
}

func (s *sqlite) check(ctx context.Context) error {
	return s.l.read(ctx, "check the store", func(tx *sql.Tx) error {
		var found string
		if err := tx.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&found); err != nil {
			return err
		}
		if found == "ok" {
			return nil
		}
		what, remedy := s.words(Damaged)
		return &Error{Kind: Damaged, What: what + " (" + found + ")", Remedy: remedy}
	})
}

// giveBack returns free pages to the disk, some at a time, and cuts the write-ahead file back.
func (s *sqlite) giveBack(ctx context.Context) error {
	for {
		var free int
		if err := s.l.writer.QueryRowContext(ctx, `PRAGMA freelist_count`).Scan(&free); err != nil {
			return err
		}
		if free == 0 {
			break
		}
		if _, err := s.l.writer.ExecContext(ctx, fmt.Sprintf(`PRAGMA incremental_vacuum(%d)`, vacuumPages)); err != nil {
			return err
		}
		var left int
		if err := s.l.writer.QueryRowContext(ctx, `PRAGMA freelist_count`).Scan(&left); err != nil || left >= free {
			return err
		}
	}
	_, err := s.l.writer.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	return err
}

func (s *sqlite) size(ctx context.Context) (bytes int64, err error) {
	err = s.l.read(ctx, "measure the store", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()`).Scan(&bytes)
	})
	return bytes, err
}

func (s *sqlite) kind(err error) Kind {
	var answer *driver.Error
	switch {
	case isEnded(err):
		return ""
	case NoRoom(err):
		return Full
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return ReadOnly
	case errors.As(err, &answer):
		return kindOf(answer.Code())
	case errors.As(err, new(*fs.PathError)):
		return Unreachable
	default:
		return ""
	}
}

// kindOf reads SQLite's result codes. A write that fails is a full disk as a rule: quotas and file size limits say so
// with this code only.
func kindOf(code int) Kind {
	switch code {
	case sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_SHMSIZE:
		return Full
	}
	const primary = 0xff
	switch code & primary {
	case sqlite3.SQLITE_FULL:
		return Full
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return ReadOnly
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return Damaged
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return Busy
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		return Unreachable
	default:
		return ""
	}
}

func (s *sqlite) words(kind Kind) (what, remedy string) {
	switch kind {
	case Full:
		return "no room is left to write", "make room on the disk of " + s.l.config.Dir + ", or raise its quota or store_limit; nothing was half-written, and work goes on by itself"
	case ReadOnly:
		return "it may not be written", "give the mediator's user the right to write in " + s.l.config.Dir + " and to the files in it, on a disk that is mounted for writing"
	case Damaged:
		return s.path + " is damaged, or no database of the mediator", "stop the mediator, move the file away with its -wal and -shm files, and put a backup in its place; without a backup it starts empty, and compares with what DHIS2 holds"
	case Busy:
		return "another process keeps the database for itself", "end other programs that have " + s.path + " open"
	case Unreachable:
		return "the file cannot be opened or read", "check that data_dir (" + s.l.config.Dir + ") is a folder on a healthy local disk; network file systems are not supported"
	default:
		return string(kind), ""
	}
}
