package ledger

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// Kind says what sort of trouble the store is in.
type Kind string

// The kinds of trouble.
const (
	// Full: the disk, or the quota, has no room left. Nothing of what was being written remains.
	Full Kind = "full"
	// ReadOnly: the folder, the file or the tables may not be written.
	ReadOnly Kind = "read_only"
	// Damaged: the file is no database, or a broken one.
	Damaged Kind = "damaged"
	// Newer: a newer version of the mediator has worked with the database.
	Newer Kind = "newer"
	// Busy: another process kept the database for too long.
	Busy Kind = "busy"
	// Unreachable: the file cannot be opened or read, or the database server is away.
	Unreachable Kind = "unreachable"
	// Taken: another process has the worker role.
	Taken Kind = "taken"
	// Denied: the database server does not let this account in.
	Denied Kind = "denied"
	// Outdated: the tables are older than this version of the mediator, and its account may not change them.
	Outdated Kind = "outdated"
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

// Explain says of an error that the job engine had with the database what Error says of those of the ledger.
func (l *Ledger) Explain(doing string, err error) error { return l.explain(doing, err) }

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
	e := Error{Kind: l.store.kind(err), Doing: doing, err: err}
	if e.Kind == "" {
		return fmt.Errorf("%s: %w", doing, err)
	}
	e.What, e.Remedy = l.store.words(e.Kind)
	e.What += " (" + err.Error() + ")"
	return &e
}

// isEnded says whether an error is only that its context has ended.
func isEnded(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// NoRoom says whether an error of the system is that a disk, or a quota, is full.
func NoRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
