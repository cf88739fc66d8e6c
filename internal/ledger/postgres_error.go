package ledger

import (
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

func (p *postgres) kind(err error) Kind {
	var answer *pgconn.PgError
	var connecting *pgconn.ConnectError
	var network net.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &answer):
		return kindOfState(answer.Code)
	case errors.As(err, &connecting): // before what has ended: its own time-out
		return Unreachable
	case isEnded(err):
		return ""
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.As(err, &network), pgconn.SafeToRetry(err), strings.HasSuffix(err.Error(), "conn closed"):
		return Unreachable
	case NoRoom(err):
		return Full
	default:
		return ""
	}
}

// What an account is told that may not see or change what there is.
const (
	noRight  = "42501"
	noSchema = "3F000"
	noTable  = "42P01"
)

// kindOfState reads the SQLSTATE of an answer (PostgreSQL's manual, appendix A).
func kindOfState(state string) Kind {
	switch state {
	case "53100": // disk full
		return Full
	case "25006", noRight: // a read-only server, as a replica is; a right that is missing
		return ReadOnly
	case noTable, noSchema, "42703": // nor a column
		return Outdated
	case "53300", "55P03", "40001", "40P01", "25P03", "57014": // too many connections, a lock not had in time, a deadlock, too slow
		return Busy
	case "3D000": // no such database
		return Denied
	}
	switch state[:min(2, len(state))] {
	case "28": // credentials, pg_hba.conf
		return Denied
	case "08", "57", "58": // the connection, the server going down or coming up, its own disk
		return Unreachable
	case "XX": // its own files
		return Damaged
	default:
		return ""
	}
}

func (p *postgres) words(kind Kind) (what, remedy string) {
	switch kind {
	case Full:
		return "no room is left to write", "make room on the disk of " + p.place() + "; nothing was half-written, and work goes on by itself"
	case ReadOnly:
		return "it may not be written", "give the account of database_url the rights that docs/operations.md lists, on a server that is no read-only replica"
	case Damaged:
		return p.place() + " is damaged", "look at the log of the database server, and restore a backup"
	case Busy:
		return "the database is kept busy by others", "look at what else works with " + p.place() + ", and how many connections it allows"
	case Unreachable:
		return "the database server cannot be reached", "start " + p.place() + ", and check the network between; work goes on by itself"
	case Denied:
		return "the database server does not let the account in", "check user name, password and database of database_url, and what pg_hba.conf allows"
	case Outdated:
		return "the tables are not those of this version of the mediator", "run `mediator migrate` with an account that may change them"
	default:
		return string(kind), ""
	}
}
