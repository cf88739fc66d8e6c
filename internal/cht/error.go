package cht

// Kind says what sort of failure an Error is.
type Kind string

// The kinds of failure.
const (
	// Unavailable: no answer, or one that says the server cannot work.
	Unavailable Kind = "unavailable"
	// Unusable: an answer that is not what was asked for, or not whole.
	Unusable Kind = "unusable"
	// Credentials: the server does not know the account, or does not let it.
	Credentials Kind = "credentials"
	// Refused: the CHT has no such data set, or one without elements.
	Refused Kind = "refused"
)

// Error is a call to a CHT that did not bring what was asked for.
type Error struct {
	// Doing is what was asked for, What is what went wrong, Remedy what a person can do about it.
	Doing, What, Remedy string
	Kind                Kind
	// Status is the HTTP status, 0 when there was no answer.
	Status int
	// Temporary means that it may pass by itself, so that asking again later is worth it.
	Temporary bool

	err error
}

func (e *Error) Error() string { return e.Doing + ": " + e.What }
func (e *Error) Unwrap() error { return e.err }

// Hint says what a person can do about it.
func (e *Error) Hint() string { return e.Remedy }
