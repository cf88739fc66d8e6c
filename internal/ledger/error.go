package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Kind says what sort of trouble the store is in.
type Kind string

// The kinds of trouble.
const (
	// Full: the disk, or the quota, has no room left. Nothing of what was being written remains.
	Full Kind = "full"
	// ReadOnly: the folder or the file may not be written.
	ReadOnly Kind = "read_only"
	// Damaged: the file is no database, or a broken one.
	Damaged Kind = "damaged"
	// Newer: a newer version of the mediator has worked with the file.
	Newer Kind = "newer"
	// Busy: another process kept the database for too long.
	Busy Kind = "busy"
	// Unreachable: the file cannot be opened or read.
	Unreachable Kind = "unreachable"
	// Taken: another process has the worker role.
	Taken Kind = "taken"
)

// Error is trouble with the store that a person can do something about.
type Error struct {
	Kind Kind
	// Doing is what was asked for, What is what went wrong, Remedy what a person can do about it.
	Doing, What, Remedy string

	err error
}

func (e *Error) Error() string { return e.Doing + ": " + e.What }

func (e *Error) Unwrap() error { return e.err }

// Hint says what a person can do about it.
func (e *Error) Hint() string { return e.Remedy }

// Sentinels that callers ask for.
var (
	// ErrNotFound: there is no submission with this id.
	ErrNotFound = errors.New("no such submission")
	// ErrState: the submission, or the chunk, is not in a state in which this can be done.
	ErrState = errors.New("not possible in this state")
	// ErrStale: somebody else changed the row since it was read.
	ErrStale = errors.New("changed by somebody else meanwhile")
	// ErrOther: the unfinished submission that has the key does not send all that the request wants, but other org units, or
	// differences only.
	ErrOther = errors.New("another submission of it, which sends something else, is unfinished")
	// ErrQueueFull: as many submissions wait as may.
	ErrQueueFull = errors.New("the queue is full")
)

// explain says what was being done, and makes an Error of what a person can do something about. Nil stays nil.
func (l *Ledger) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		if known.Doing == "" {
			known.Doing = doing
		}
		return err
	}
	e := Error{Doing: doing, err: err}
	var answer *sqlite.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", doing, err)
	case NoRoom(err):
		e.Kind = Full
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		e.Kind = ReadOnly
	case errors.As(err, &answer):
		e.Kind = kindOf(answer.Code())
	case errors.As(err, new(*fs.PathError)):
		e.Kind = Unreachable
	}
	if e.Kind == "" {
		return fmt.Errorf("%s: %w", doing, err)
	}
	e.What, e.Remedy = l.words(e.Kind)
	e.What += " (" + err.Error() + ")"
	return &e
}

// NoRoom says whether an error of the system is that a disk, or a quota, is full.
func NoRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
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

// words says what is wrong and what to do about it.
func (l *Ledger) words(kind Kind) (what, remedy string) {
	switch kind {
	case Full:
		return "no room is left to write", "make room on the disk of " + l.config.Dir + ", or raise its quota or store_limit; nothing was half-written, and work goes on by itself"
	case ReadOnly:
		return "it may not be written", "give the mediator's user the right to write in " + l.config.Dir + " and to the files in it, on a disk that is mounted for writing"
	case Damaged:
		return l.path + " is damaged, or no database of the mediator", "stop the mediator, move the file away with its -wal and -shm files, and put a backup in its place; without a backup it starts empty, and compares with what DHIS2 holds"
	case Busy:
		return "another process keeps the database for itself", "end other programs that have " + l.path + " open"
	case Unreachable:
		return "the file cannot be opened or read", "check that data_dir (" + l.config.Dir + ") is a folder on a healthy local disk; network file systems are not supported"
	default:
		return string(kind), ""
	}
}
