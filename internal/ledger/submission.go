package ledger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
)

// Key says what a submission is one of. At most one of a Key is unfinished at any time.
type Key struct {
	DHIS2, DataSet string
	Period         dhis2.Period
	// CHT is the source.
	CHT string
}

// Request asks for one submission.
type Request struct {
	Key
	// AskedPeriod is the period in the words of the request, such as "latest-closed".
	AskedPeriod string
	// OrgUnits are those to send; empty is all.
	OrgUnits []string
	// DryRun claims nothing and is never remembered as accepted.
	DryRun bool
	// Mode is what is sent.
	Mode        Mode
	RequestedBy string
	// Transaction is OpenHIM's transaction that waits for the result, if one does.
	Transaction string
}

// Mode is what a submission sends.
type Mode string

// The modes.
const (
	// ModeDifferences: what differs from what DHIS2 accepted and holds.
	ModeDifferences Mode = ""
	// ModeFull: everything that the source says.
	ModeFull Mode = "full"
	// ModeRepair: what DHIS2 holds otherwise than it accepted, as it was accepted. The source is not asked.
	ModeRepair Mode = "repair"
)

// State is where a submission stands, or how it ended.
type State string

// The states. Those from Accepted on are ends.
const (
	Queued    State = "queued"
	Preparing State = "preparing"
	// Held waits for a person. It keeps its claim.
	Held    State = "held"
	Ready   State = "ready"
	Sending State = "sending"
	// Completing: the values are through, and org units are registered as complete.
	Completing     State = "completing"
	Accepted       State = "accepted"
	Unchanged      State = "unchanged"
	PartlyAccepted State = "partly_accepted"
	Refused        State = "refused"
	Failed         State = "failed"
	Cancelled      State = "cancelled"
)

// Ended says whether a submission in this state is finished.
func (s State) Ended() bool {
	switch s {
	case Accepted, Unchanged, PartlyAccepted, Refused, Failed, Cancelled:
		return true
	default:
		return false
	}
}

// follows says which states a submission may be in to come to this one. A step that was cut off begins again in its own.
func (s State) follows() []State {
	switch s {
	case Preparing:
		return []State{Queued, Preparing}
	case Ready:
		return []State{Queued, Preparing, Held}
	case Held:
		return []State{Queued, Preparing}
	case Sending:
		return []State{Ready, Sending}
	case Completing:
		return []State{Queued, Preparing, Sending, Completing}
	default:
		return []State{Queued, Preparing, Held, Ready, Sending, Completing}
	}
}

// Counts are of cells as they come out of the transform. Each fetched cell is in exactly one of the others.
type Counts struct {
	Fetched     int `json:"fetched"`
	Dropped     int `json:"dropped"`
	Quarantined int `json:"quarantined"`
	Unchanged   int `json:"unchanged"`
	Held        int `json:"held"`
	Accepted    int `json:"accepted"`
	Refused     int `json:"refused"`
	Unknown     int `json:"unknown"`
	Unsent      int `json:"unsent"`
}

// Submission is one data set and period of one source, sent to one DHIS2, once.
type Submission struct {
	Request

	ID      string
	State   State
	Dialect string
	// Reason, Error and Remedy tell why it did not end with everything accepted.
	Reason, Error, Remedy string

	CreatedAt, PreparedAt, EndedAt time.Time
	// CancelledBy is who asked for its end; empty where nobody did.
	CancelledBy string
	// WaitingFor says what it waits for, since when; empty while it moves.
	WaitingFor   string
	WaitingSince time.Time
	// ThinnedAt is when its evidence was thinned to these totals; zero while all is there.
	ThinnedAt time.Time

	// Parts is how many parts its content has.
	Parts  int
	Counts Counts
	// NotKept is how many of the accepted values DHIS2 dropped without counting them.
	NotKept int
	// OrgUnitStates is how many org units are in each state.
	OrgUnitStates map[string]int
	IssuesTotal   int
	// Facts is the JSON object that preparing left.
	Facts []byte
	// Retries is how often a person let what had failed go again.
	Retries int
	// ApprovedBy is who let it go when it was held; empty where nobody did.
	ApprovedBy string
	// AddsUp says that the values of several sources add up: what is sent is the sum.
	AddsUp bool
	// Completeness is what came of registering org units as complete; nil where it did not come to that.
	Completeness *Completeness

	told           string
	number, series int
	// same is how many org units have not changed.
	same int
}

// Begin claims the request's key and writes the submission down, with the job that next adds. Where the key is claimed
// already it gives the submission that has it, and false; next is not called then, and the request's transaction is
// written down as one more that waits for the result. ErrOther says that it does not send all that the request wants, so
// that its result would be none for it; ErrQueueFull that too many wait already.
func (l *Ledger) Begin(ctx context.Context, r Request, next Next) (s Submission, began bool, err error) {
	err = l.write(ctx, "begin a submission of "+r.name(), func(tx *sql.Tx) error {
		id, err := l.claim(ctx, tx, r)
		if err != nil {
			return err
		}
		if began = id == ""; began {
			if id, err = l.insert(ctx, tx, r); err != nil {
				return err
			}
		}
		if s, err = submission(ctx, tx, id); err != nil {
			return err
		}
		if !began && (!covers(s.OrgUnits, r.OrgUnits) || s.Mode != r.Mode && s.Mode != ModeFull) {
			return fmt.Errorf("%w: %s", ErrOther, id)
		}
		if r.Transaction != "" {
			if _, err := tx.ExecContext(ctx, `INSERT INTO request (submission, transaction_id, requested_by, created_at)
				VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`, s.number, r.Transaction, r.RequestedBy, l.now()); err != nil {
				return err
			}
		}
		if !began {
			return nil
		}
		return next.call(ctx, tx, id)
	})
	if err != nil {
		return Submission{}, false, err
	}
	return s, began, nil
}

// covers says whether a request for some org units, or for all where there are none, sends those that another one wants.
func covers(has, wanted []string) bool {
	if len(has) == 0 {
		return true
	}
	return len(wanted) > 0 && !slices.ContainsFunc(wanted, func(id string) bool { return !slices.Contains(has, id) })
}

func (k Key) name() string {
	return fmt.Sprintf("%s of data set %s from %s to %s", k.Period, k.DataSet, k.CHT, k.DHIS2)
}

// claim gives the id of the unfinished submission of the request's key, or nothing.
func (l *Ledger) claim(ctx context.Context, tx *sql.Tx, r Request) (string, error) {
	if r.DryRun {
		return "", nil
	}
	series, err := seriesOf(ctx, tx, r.Key)
	if err != nil {
		return "", err
	}
	var id string
	err = tx.QueryRowContext(ctx, `SELECT id FROM submission WHERE claim = $1`, series).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return id, err
}

// insert writes a new submission down. The unique claim refuses a second one that another replica begins at the same time.
func (l *Ledger) insert(ctx context.Context, tx *sql.Tx, r Request) (string, error) {
	var waiting int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM submission WHERE state = $1 AND ended_at = 0`, Queued).Scan(&waiting); err != nil {
		return "", err
	}
	if limit, _ := l.Limits(); waiting >= limit {
		return "", ErrQueueFull
	}
	series, err := seriesOf(ctx, tx, r.Key)
	if err != nil {
		return "", err
	}
	claim := sql.NullInt64{Int64: int64(series), Valid: !r.DryRun}
	units, err := json.Marshal(r.OrgUnits)
	if err != nil {
		return "", err
	}
	id := strings.ToLower(rand.Text())
	_, err = tx.ExecContext(ctx, `INSERT INTO submission (number, id, series, claim, state, dry_run, asked_period, asked_units, requested_by, created_at, mode)
		SELECT coalesce(max(number), 0) + 1, CAST($1 AS text), CAST($2 AS integer), CAST($3 AS integer), CAST($4 AS text), CAST($5 AS integer),
			CAST($6 AS text), CAST($7 AS text), CAST($8 AS text), CAST($9 AS bigint), CAST($10 AS text) FROM submission`,
		id, series, claim, Queued, number(r.DryRun), r.AskedPeriod, string(units), r.RequestedBy, l.now(), r.Mode)
	return id, err
}

func number(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// seriesOf gives the number of a key, and makes one for a new key.
func seriesOf(ctx context.Context, tx *sql.Tx, k Key) (int, error) {
	const tries = 5 // another replica may take the number meanwhile
	for range tries {
		series, err := knownSeries(ctx, tx, k)
		if !errors.Is(err, sql.ErrNoRows) {
			return series, err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO series (number, dhis2, data_set, period, source)
			SELECT coalesce(max(number), 0) + 1, CAST($1 AS text), CAST($2 AS text), CAST($3 AS text), CAST($4 AS text)
			FROM series WHERE true ON CONFLICT DO NOTHING`, k.DHIS2, k.DataSet, k.Period.String(), k.CHT); err != nil {
			return 0, err
		}
	}
	return 0, ErrStale
}

// knownSeries gives the number of a key; sql.ErrNoRows says that it is new.
func knownSeries(ctx context.Context, from querier, k Key) (series int, err error) {
	err = from.QueryRowContext(ctx, `SELECT number FROM series WHERE dhis2 = $1 AND data_set = $2 AND period = $3 AND source = $4`,
		k.DHIS2, k.DataSet, k.Period.String(), k.CHT).Scan(&series)
	return series, err
}

// Submission gives a submission, or ErrNotFound.
func (l *Ledger) Submission(ctx context.Context, id string) (s Submission, err error) {
	err = l.read(ctx, "read submission "+id, func(tx *sql.Tx) error {
		if s, err = submission(ctx, tx, id); err != nil || s.State.Ended() {
			return err
		}
		s.OrgUnitStates, err = orgUnitStates(ctx, tx, s)
		return err
	})
	return s, err
}

// submissionColumns are what scanSubmission reads. The issues, which are many, are not among them.
const submissionColumns = `SELECT s.number, s.series, s.id, r.dhis2, r.data_set, r.period, r.source, s.state, s.dry_run, s.asked_period,
	s.asked_units, s.requested_by, s.dialect, s.reason, s.error, s.remedy, s.created_at, s.prepared_at, s.ended_at, s.cancelled_by,
	s.waiting_for, s.waiting_since, s.thinned_at, s.parts, s.fetched, s.dropped, s.quarantined, s.unchanged, s.held, s.accepted,
	s.refused, s.unknown, s.unsent, s.not_kept, s.unit_states, s.issues_total, s.facts, s.retries, s.told, s.mode,
	s.approved_by, s.adds_up, s.same_units, s.completeness FROM submission s JOIN series r ON r.number = s.series `

func submission(ctx context.Context, from querier, id string) (Submission, error) {
	s, err := scanSubmission(from.QueryRowContext(ctx, submissionColumns+`WHERE s.id = $1`, id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return s, ErrNotFound
	}
	return s, err
}

// brief gives what the booking of a chunk needs of a submission, which is read for each of them: its state and numbers.
func brief(ctx context.Context, from querier, id string) (Submission, error) {
	s := Submission{ID: id}
	err := from.QueryRowContext(ctx, `SELECT number, series, state, dry_run, parts, adds_up FROM submission WHERE id = $1`, id).
		Scan(&s.number, &s.series, &s.State, &s.DryRun, &s.Parts, &s.AddsUp)
	if errors.Is(err, sql.ErrNoRows) {
		return s, ErrNotFound
	}
	return s, err
}

func scanSubmission(scan func(...any) error) (Submission, error) {
	var s Submission
	var period, units, states, completeness string
	var created, prepared, ended, waiting, thinned int64
	c := &s.Counts
	if err := scan(&s.number, &s.series, &s.ID, &s.DHIS2, &s.DataSet, &period, &s.CHT, &s.State, &s.DryRun, &s.AskedPeriod,
		&units, &s.RequestedBy, &s.Dialect, &s.Reason, &s.Error, &s.Remedy, &created, &prepared, &ended, &s.CancelledBy,
		&s.WaitingFor, &waiting, &thinned, &s.Parts, &c.Fetched, &c.Dropped, &c.Quarantined, &c.Unchanged, &c.Held, &c.Accepted,
		&c.Refused, &c.Unknown, &c.Unsent, &s.NotKept, &states, &s.IssuesTotal, &s.Facts, &s.Retries, &s.told, &s.Mode,
		&s.ApprovedBy, &s.AddsUp, &s.same, &completeness); err != nil {
		return s, err
	}
	s.CreatedAt, s.PreparedAt, s.EndedAt = timeOf(created), timeOf(prepared), timeOf(ended)
	s.WaitingSince, s.ThinnedAt = timeOf(waiting), timeOf(thinned)
	var err error
	if s.Period, err = dhis2.ParsePeriod(period); err != nil {
		return s, err
	}
	if s.Completeness, err = readCompleteness(completeness); err != nil {
		return s, err
	}
	return s, errors.Join(json.Unmarshal([]byte(units), &s.OrgUnits), json.Unmarshal([]byte(states), &s.OrgUnitStates))
}

// Filter chooses submissions. Its zero value chooses all.
type Filter struct {
	DHIS2, DataSet, CHT string
	// Period is chosen where it is not the zero Period.
	Period dhis2.Period
	// States are those to choose; empty chooses all.
	States []State
	// After is the id of the last submission of the page before; empty begins with the newest.
	After string
	// Limit is the size of a page; 0 is 100, and 1,000 is the most.
	Limit int
}

const (
	defaultPage = 100
	mostPage    = 1000
)

// Submissions gives a page of submissions, the newest first. An unfinished one has no OrgUnitStates here.
func (l *Ledger) Submissions(ctx context.Context, f Filter) (page []Submission, err error) {
	limit := f.Limit
	if limit <= 0 {
		limit = defaultPage
	}
	where, args := f.where()
	err = l.read(ctx, "list submissions", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, submissionColumns+where+fmt.Sprintf(` ORDER BY s.number DESC LIMIT %d`, min(limit, mostPage)), args...)
		return each(rows, err, func() error {
			s, err := scanSubmission(rows.Scan)
			page = append(page, s)
			return err
		})
	})
	return page, err
}

func (f Filter) where() (text string, args []any) {
	var terms []string
	add := func(term string, value any) {
		args = append(args, value)
		terms = append(terms, fmt.Sprintf(term, len(args)))
	}
	for _, t := range []struct{ term, value string }{
		{"r.dhis2 = $%d", f.DHIS2}, {"r.data_set = $%d", f.DataSet}, {"r.source = $%d", f.CHT},
		{"s.number < (SELECT number FROM submission WHERE id = $%d)", f.After},
	} {
		if t.value != "" {
			add(t.term, t.value)
		}
	}
	if !f.Period.IsZero() {
		add("r.period = $%d", f.Period.String())
	}
	if len(f.States) > 0 {
		var places []string
		for _, state := range f.States {
			args = append(args, state)
			places = append(places, fmt.Sprintf("$%d", len(args)))
		}
		terms = append(terms, "s.state IN ("+strings.Join(places, ", ")+")")
	}
	if len(terms) == 0 {
		return "", nil
	}
	return "WHERE " + strings.Join(terms, " AND "), args
}

// Advance takes a submission to an unfinished state, with the job that next adds. From the one that it is cut off in, a
// step goes on: Preparing, Sending and Completing follow themselves, and what it waits for stays then, as a step that begins again has
// got nowhere yet. ErrState says that the state does not follow.
func (l *Ledger) Advance(ctx context.Context, id string, to State, next Next) error {
	return l.write(ctx, fmt.Sprintf("take submission %s to %s", id, to), func(tx *sql.Tx) error {
		s, err := standing(ctx, tx, id, to)
		if err != nil {
			return err
		}
		if to.Ended() {
			return ErrState
		}
		if to != s.State {
			if _, err := tx.ExecContext(ctx, `UPDATE submission SET state = $1, waiting_for = '', waiting_since = 0 WHERE number = $2`, to, s.number); err != nil {
				return err
			}
		}
		return next.call(ctx, tx, id)
	})
}

// standing gives a submission that may come to a state, or ErrState.
func standing(ctx context.Context, tx *sql.Tx, id string, to State) (Submission, error) {
	s, err := submission(ctx, tx, id)
	if err == nil && !slices.Contains(to.follows(), s.State) {
		err = fmt.Errorf("%w: it is %s", ErrState, s.State)
	}
	return s, err
}

// Approve lets a held submission go, with the job that next adds. ErrState says that it is not held.
func (l *Ledger) Approve(ctx context.Context, id, by string, next Next) error {
	return l.write(ctx, "approve submission "+id, func(tx *sql.Tx) error {
		n, err := affected(tx.ExecContext(ctx, `UPDATE submission SET state = $1, approved_by = $2, reason = '', error = '', remedy = ''
			WHERE id = $3 AND state = $4`, Ready, by, id, Held))
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: it is not held", ErrState)
		}
		if err != nil {
			return err
		}
		return next.call(ctx, tx, id)
	})
}

// End is how a submission ends.
type End struct {
	State State
	// From is the state in which it must be; empty is any that is no end.
	From                  State
	Reason, Error, Remedy string
	// Issues are added to those that it has.
	Issues []issue.Issue
	// Completeness is what came of registering org units as complete; nil where it did not come to that.
	Completeness *Completeness
}

// Finish ends a submission and gives its claim back, with the job that next adds. ErrState says that it has ended already.
func (l *Ledger) Finish(ctx context.Context, id string, end End, next Next) error {
	return l.write(ctx, "finish submission "+id, func(tx *sql.Tx) error {
		s, err := standing(ctx, tx, id, end.State)
		if err == nil && end.From != "" && s.State != end.From {
			err = fmt.Errorf("%w: it is %s", ErrState, s.State)
		}
		if err != nil {
			return err
		}
		if err := addIssues(ctx, tx, s, end.Issues, len(end.Issues)); err != nil {
			return err
		}
		if err := l.end(ctx, tx, s, end); err != nil {
			return err
		}
		return next.call(ctx, tx, id)
	})
}

func (l *Ledger) end(ctx context.Context, tx *sql.Tx, s Submission, end End) error {
	if !end.State.Ended() {
		return fmt.Errorf("%w: %s is no end", ErrState, end.State)
	}
	states, err := orgUnitStates(ctx, tx, s)
	if err != nil {
		return err
	}
	text, err := json.Marshal(states)
	if err != nil {
		return err
	}
	completeness, err := writeCompleteness(end.Completeness)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE submission SET state = $1, reason = $2, error = $3, remedy = $4, unit_states = $5, ended_at = $6,
		claim = NULL, waiting_for = '', waiting_since = 0, completeness = $7 WHERE number = $8`,
		end.State, end.Reason, cut(end.Error), cut(end.Remedy), string(text), l.now(), completeness, s.number)
	return err
}

// textLimit is the longest text that a row keeps of what a server said.
const textLimit = 4096

// cut shortens what a server said, and makes it a text that every database takes.
func cut(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	if len(text) <= textLimit {
		return text
	}
	return strings.ToValidUTF8(text[:textLimit], "") + "…"
}

// addIssues adds issues as long as there is room for them; the total goes on.
func addIssues(ctx context.Context, tx *sql.Tx, s Submission, issues []issue.Issue, total int) error {
	if total == 0 {
		return nil
	}
	var packed []byte
	if err := tx.QueryRowContext(ctx, `SELECT issues FROM submission WHERE number = $1`, s.number).Scan(&packed); err != nil {
		return err
	}
	all, err := expand[issue.Issue](packed)
	if err != nil {
		return err
	}
	all = append(all, issues...)
	if packed, err = squeeze(all[:min(len(all), issue.ListLimit)]); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE submission SET issues = $1, issues_total = issues_total + $2 WHERE number = $3`, packed, total, s.number)
	return err
}

// Issues gives the first issue.ListLimit issues of a submission; its IssuesTotal says how many there were.
func (l *Ledger) Issues(ctx context.Context, id string) (issues []issue.Issue, err error) {
	err = l.read(ctx, "read the issues of submission "+id, func(tx *sql.Tx) error {
		var packed []byte
		err := tx.QueryRowContext(ctx, `SELECT issues FROM submission WHERE id = $1`, id).Scan(&packed)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		issues, err = expand[issue.Issue](packed)
		return err
	})
	return issues, err
}

// Transactions gives OpenHIM's transactions that wait for a submission's result, the first one first.
func (l *Ledger) Transactions(ctx context.Context, id string) (transactions []string, err error) {
	err = l.read(ctx, "read the transactions of submission "+id, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT q.transaction_id FROM request q JOIN submission s ON s.number = q.submission
			WHERE s.id = $1 ORDER BY q.created_at, q.transaction_id`, id)
		return each(rows, err, func() error {
			var transaction string
			err := rows.Scan(&transaction)
			transactions = append(transactions, transaction)
			return err
		})
	})
	return transactions, err
}

// Cancel asks for the end of a submission. The job that works it sees that between chunks and finishes it. It says whether
// there was something to end; the first who asked is kept.
func (l *Ledger) Cancel(ctx context.Context, id, by string) (asked bool, err error) {
	err = l.write(ctx, "cancel submission "+id, func(tx *sql.Tx) error {
		s, err := submission(ctx, tx, id)
		if err != nil {
			return err
		}
		n, err := affected(tx.ExecContext(ctx, `UPDATE submission SET cancelled_by = $1
			WHERE number = $2 AND ended_at = 0 AND cancelled_by = ''`, by, s.number))
		asked = n > 0
		return err
	})
	return asked, err
}

// Cancelled gives who asked for the end of a submission, or nothing.
func (l *Ledger) Cancelled(ctx context.Context, id string) (by string, err error) {
	err = l.read(ctx, "read submission "+id, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT cancelled_by FROM submission WHERE id = $1`, id).Scan(&by)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		return err
	})
	return by, err
}

// Waiting writes down what an unfinished submission waits for; nothing says that it goes on. The cause begins with who is
// waited for, and a colon: as long as that is the same one, the time of the first call is kept.
func (l *Ledger) Waiting(ctx context.Context, id, cause string) error {
	return l.write(ctx, "write down what submission "+id+" waits for", func(tx *sql.Tx) error {
		s, err := submission(ctx, tx, id)
		if errors.Is(err, ErrNotFound) || err == nil && s.WaitingFor == cut(cause) {
			return nil
		}
		if err != nil {
			return err
		}
		since := l.now()
		before, _, _ := strings.Cut(s.WaitingFor, ":")
		who, _, _ := strings.Cut(cause, ":")
		switch {
		case cause == "":
			since = 0
		case before == who:
			since = msOf(s.WaitingSince)
		}
		_, err = tx.ExecContext(ctx, `UPDATE submission SET waiting_for = $1, waiting_since = $2 WHERE id = $3 AND ended_at = 0`, cut(cause), since, id)
		return err
	})
}

// OfTransaction gives the submission that a transaction of OpenHIM asked for, the last one where it asked for several, or
// ErrNotFound.
func (l *Ledger) OfTransaction(ctx context.Context, transaction string) (s Submission, err error) {
	err = l.read(ctx, "find the submission of transaction "+transaction, func(tx *sql.Tx) error {
		s, err = scanSubmission(tx.QueryRowContext(ctx, submissionColumns+`JOIN request q ON q.submission = s.number
			WHERE q.transaction_id = $1 ORDER BY s.number DESC LIMIT 1`, transaction).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		return err
	})
	return s, err
}

// Together runs f in one transaction: all of what it does remains, or nothing. What a Next must do, f must do too.
func (l *Ledger) Together(ctx context.Context, doing string, f func(tx *sql.Tx) error) error {
	return l.write(ctx, doing, f)
}

// Unfinished is how many submissions are in each state that is no end, and how many of them wait for a server.
func (l *Ledger) Unfinished(ctx context.Context) (states map[State]int, waiting int, err error) {
	states = map[State]int{}
	err = l.read(ctx, "count the submissions", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT state, count(*), sum(CASE WHEN waiting_for <> '' THEN 1 ELSE 0 END) FROM submission
			WHERE ended_at = 0 GROUP BY state`)
		return each(rows, err, func() error {
			var state State
			var n, waits int
			err := rows.Scan(&state, &n, &waits)
			states[state] = n
			waiting += waits
			return err
		})
	})
	return states, waiting, err
}

// IsTold says whether others were told of the state in which the submission is.
func (s Submission) IsTold() bool { return s.told == s.telling() }

// telling names what there is to tell of a submission now.
func (s Submission) telling() string { return fmt.Sprintf("%s %d", s.State, s.Retries) }

// Tell posts the letters that tell of a submission's state, and writes down that it is told, in one transaction: whoever
// comes again posts nothing more. It says whether this one was the first.
func (l *Ledger) Tell(ctx context.Context, s Submission, letters []Letter) (first bool, err error) {
	err = l.write(ctx, "tell of submission "+s.ID, func(tx *sql.Tx) error {
		n, err := affected(tx.ExecContext(ctx, `UPDATE submission SET told = $1 WHERE id = $2 AND told <> $1`, s.telling(), s.ID))
		if first = n > 0; err != nil || !first {
			return err
		}
		for _, letter := range letters {
			if err := l.PostTx(ctx, tx, letter); err != nil {
				return err
			}
		}
		return nil
	})
	return first, err
}
