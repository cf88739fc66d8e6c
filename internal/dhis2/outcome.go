package dhis2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// State is what became of a chunk, or of an org unit's part of it.
type State string

// The states.
const (
	Accepted       State = "accepted"
	PartlyAccepted State = "partly_accepted"
	// StateRefused: DHIS2 holds none of it.
	StateRefused State = "refused"
	// Unknown: nobody can say what DHIS2 holds of it.
	Unknown State = "unknown"
	// Unsent: DHIS2's import never saw it.
	Unsent State = "unsent"
)

// Next says what is to be done after an outcome.
type Next string

// What may follow.
const (
	// GoOn: this chunk is done with, the next one may go.
	GoOn Next = "go_on"
	// Again: the same text, after the wait.
	Again Next = "again"
	// Smaller: the same values in smaller requests, after the wait; one that cannot be made smaller goes again.
	Smaller Next = "smaller"
	// Narrow: nothing of the request is stored, the refused values alone are at fault, as far as the answer tells, and the
	// others may go without them.
	Narrow Next = "narrow"
	// Search: nothing of the request is stored, and the answer does not tell for which of its values; all of them stand among
	// the refused ones.
	Search Next = "search"
	// StopDataSet: no other request of this data set and period will fare better.
	StopDataSet Next = "stop_data_set"
	// StopRun: no other request to this server will fare better, and asking on may lock the account.
	StopRun Next = "stop_run"
)

// Refusal is one cell that DHIS2 did not take.
type Refusal struct {
	// Index is the place of the cell among the chunk's values.
	Index int
	DataValue
	Code   string
	Class  Class
	Reason string
	Remedy string
}

// Outcome is what became of one request with a chunk.
type Outcome struct {
	State State
	// Accepted is how many values DHIS2 took.
	Accepted int
	// Refused are the cells that it did not take, in the order of the chunk.
	Refused []Refusal
	// NotKept is how many of the accepted values DHIS2 dropped without counting them: up to 2.42 does so with a zero of
	// an element whose zeros are not significant.
	NotKept int
	// Failure says why the state is unknown or unsent, or why to stop; else nil.
	Failure *Error

	Next Next
	// Wait is the least time to let pass before these values go again.
	Wait time.Duration
	// Count is what DHIS2 counted, for the record.
	Count ImportCount
}

// Try is one request with a chunk, and what came of it.
type Try struct {
	// Number counts the tries of one text, from 1.
	Number  int
	Dialect Dialect
	Period  Period
	// Values are what was sent.
	Values []DataValue
	// Took is how long it took.
	Took time.Duration

	// Response is nil where there was none; Body is what came of its body; Err is what went wrong on the way.
	Response *http.Response
	Body     []byte
	Err      error
}

const (
	firstWait = 500 * time.Millisecond
	// maxTries is how often one text goes out in the life of one call.
	maxTries = 4
	// maxShortWait is the longest wait within one call. What has to wait longer is given back.
	maxShortWait = 5 * time.Second
	// maxRetryAfter is the longest wait that a proxy may ask for.
	maxRetryAfter = 30 * time.Second
)

// shortWait is the wait after a failed try: doubling, and what a proxy asks for within reason.
func shortWait(try int, response *http.Response) time.Duration {
	wait := firstWait << min(try-1, 6)
	if response != nil {
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			wait = max(wait, min(time.Duration(seconds)*time.Second, maxRetryAfter))
		}
	}
	return wait
}

// Judge tells what became of a try, by status and body together, and what is to be done next. It is the one place that
// decides so; every row of the contract's decision table is a case of its test.
func (t Try) Judge() Outcome {
	if t.Err != nil {
		return t.judgeError()
	}
	status := t.Response.StatusCode
	if (status == http.StatusOK || status == http.StatusConflict) && isJSON(t.Response.Header) {
		answer, err := ParseAnswer(t.Body)
		switch {
		case err != nil:
			return t.unknown("the answer cannot be read: " + err.Error())
		case answer.Response == nil:
			return t.unknown(fmt.Sprintf("DHIS2 answered %d without an import summary: %.300s", status, answer.Message))
		}
		return t.judgeSummary(*answer.Response)
	}
	failure := failureOf(t.Response, t.Body, nil)
	o := Outcome{State: Unsent, Failure: failure, Next: StopRun}
	switch {
	case status == http.StatusOK:
		o.State = Unknown // whatever answered, it was no DHIS2
	case status > http.StatusOK && status < http.StatusMultipleChoices:
		return t.unknown(failure.What)
	case failure.Kind == Credentials: // nothing was looked at
	case status == http.StatusConflict:
		return t.unknown(failure.What)
	case status == http.StatusRequestEntityTooLarge:
		o.Next = Smaller
	case status == http.StatusTooManyRequests:
		o.Next, o.Wait = Again, shortWait(t.Number, t.Response)
	case status == http.StatusGatewayTimeout:
		o.State, o.Next, o.Wait = Unknown, Smaller, t.patience()
	case failure.Temporary:
		o.State, o.Next, o.Wait = Unknown, Again, t.patience()
	default:
		return t.refuse(failure)
	}
	return o
}

// patience is the wait after an outcome that nobody knows: the server may still be at work on it, so at least as long
// as it had taken.
func (t Try) patience() time.Duration { return max(shortWait(t.Number, t.Response), t.Took) }

func (t Try) judgeError() Outcome {
	failure := callFailure(t.Err)
	o := Outcome{State: Unknown, Failure: failure, Next: Again, Wait: t.patience()}
	if failure.notSent() {
		o.State, o.Wait = Unsent, shortWait(t.Number, nil)
	}
	switch {
	case errors.Is(t.Err, context.Canceled), !failure.Temporary:
		o.Next, o.Wait = StopRun, 0
	case failure.timedOut() && o.State == Unknown:
		o.Next = Smaller
	}
	return o
}

// After takes in that the same values went in an earlier request, or not, that may have stored them: one that did not
// reach the import does not undo that.
func (o Outcome) After(tried bool) Outcome {
	if tried && o.State == Unsent {
		o.State = Unknown
	}
	return o
}

// AsWhole says whether a request was refused whole, for whatever it may be, and not because each of its values is wrong in
// itself.
func (o Outcome) AsWhole() bool {
	return o.State == StateRefused && (o.Next != GoOn || len(o.Refused) > 0 && !ofValue(o.Refused[0].Code))
}

// Final is an outcome for a chunk that cannot be made smaller and was too large all the same.
func (o Outcome) Final(c Chunk) Outcome {
	return Try{Period: c.Period, Values: c.Values}.refuse(o.Failure)
}

// unknown is an answer after which nobody can say what DHIS2 holds.
func (t Try) unknown(what string) Outcome {
	return Outcome{
		State: Unknown, Next: Again, Wait: t.patience(),
		Failure: &Error{Kind: Unavailable, Status: t.Response.StatusCode, Temporary: true, What: what, Remedy: "send the submission again later; if it stays, look at DHIS2's log"},
	}
}

// refuse is an answer that took nothing, without a summary.
func (t Try) refuse(failure *Error) Outcome {
	o := Outcome{State: StateRefused, Failure: failure, Next: StopDataSet}
	code := fmt.Sprintf("HTTP %d", failure.Status)
	for i := range t.Values {
		o.Refused = append(o.Refused, t.refusal(i, code, Code{Class: Bug, Remedy: failure.Remedy}, failure.What))
	}
	return o
}

const processFailed = "The import process failed"

func (t Try) judgeSummary(s ImportSummary) Outcome {
	switch s.Status {
	case "SUCCESS", "WARNING":
		return t.judgeCounts(s)
	case "ERROR":
		if strings.HasPrefix(s.Description, processFailed) || len(s.Conflicts) == 0 {
			return t.unknown(strings.TrimSpace("DHIS2 failed while it imported: " + s.Description))
		}
		if n := s.ImportCount; n.Imported+n.Updated+n.Deleted > 0 {
			return t.unknown(fmt.Sprintf("DHIS2 reports an error, and that it stored %d values", n.Imported+n.Updated+n.Deleted))
		}
		if t.Dialect == SetBased {
			return t.judgeGroup(s)
		}
		o := t.refused(s, allOf(t.Values))
		o.State = StateRefused
		return o
	default:
		return t.unknown(fmt.Sprintf("DHIS2 answered with a status that the mediator does not know: %.40q", s.Status))
	}
}

// judgeCounts believes a success only as far as its numbers bear it out.
func (t Try) judgeCounts(s ImportSummary) Outcome {
	sent, rejected, n := len(t.Values), s.Rejected(), s.ImportCount
	if len(rejected) > 0 && rejected[len(rejected)-1] >= sent {
		return t.unknown(fmt.Sprintf("DHIS2 refused value %d of a request that had %d", rejected[len(rejected)-1], sent))
	}
	if len(rejected) == 0 && (len(s.Conflicts) > 0 || s.Status != "SUCCESS") {
		return t.unknown("DHIS2 has conflicts but does not say with which values: " + firstConflict(s))
	}
	stored := n.Imported + n.Updated + n.Deleted
	if t.Dialect == SetBased && stored+len(rejected) != sent {
		return t.unknown(fmt.Sprintf("DHIS2 claims success, but of %d values it stored %d and refused %d: it has stored nothing of the request", sent, stored, len(rejected)))
	}
	if t.Dialect == Legacy && n.Ignored < len(rejected) {
		return t.unknown(fmt.Sprintf("DHIS2 refused %d values but counts only %d as ignored", len(rejected), n.Ignored))
	}
	o := t.refused(s, rejected)
	o.Accepted = sent - len(rejected)
	if t.Dialect == Legacy {
		o.NotKept = max(0, sent-stored-n.Ignored)
		if o.NotKept > t.zeros() {
			return t.unknown(fmt.Sprintf("of %d values DHIS2 accounts for %d only, and the others are not all zeros", sent, stored+n.Ignored))
		}
	}
	switch o.Accepted {
	case sent:
		o.State = Accepted
	case 0:
		o.State = StateRefused
	default:
		o.State = PartlyAccepted
	}
	if t.newPeriodRace(o) {
		o.Next, o.Wait = Again, shortWait(t.Number, nil)
		o.Failure = &Error{Kind: Unavailable, Temporary: true, Status: t.Response.StatusCode, What: "two first requests of a new period met in DHIS2", Remedy: "send the submission again"}
	}
	return o
}

// newPeriodRace says whether every value was refused for its period, which is well formed: up to 2.42 DHIS2 does so when
// two requests bring a period that it never saw.
func (t Try) newPeriodRace(o Outcome) bool {
	return t.Dialect == Legacy && o.Accepted == 0 && len(o.Refused) > 0 &&
		!slices.ContainsFunc(o.Refused, func(r Refusal) bool { return r.Code != "E7611" })
}

// zeros counts the values of which DHIS2 may keep none without counting them.
func (t Try) zeros() int {
	n := 0
	for _, v := range t.Values {
		if v.Value == "0" || v.Deleted {
			n++
		}
	}
	return n
}

// refused tells the cells at the places, each with the conflict that names it; one that none names gets the first.
func (t Try) refused(s ImportSummary, places []int) Outcome {
	o := Outcome{Count: s.ImportCount, Next: GoOn}
	conflicts := map[int]int{}
	whole := Conflict{Value: "DHIS2 gives no reason"} // the first conflict that is about the whole request
	for c := len(s.Conflicts) - 1; c >= 0; c-- {
		indexes := s.Conflicts[c].Indexes
		for _, index := range indexes {
			conflicts[index] = c
		}
		if !slices.ContainsFunc(indexes, func(i int) bool { return i >= 0 }) {
			whole = s.Conflicts[c]
		}
		if CodeOf(s.Conflicts[c].ErrorCode).WholeSet {
			o.Next = StopDataSet
		}
	}
	for _, place := range places {
		conflict := whole
		if c, named := conflicts[place]; named {
			conflict = s.Conflicts[c]
		}
		o.Refused = append(o.Refused, t.refusal(place, conflict.ErrorCode, CodeOf(conflict.ErrorCode), conflict.Value))
	}
	return o
}

func (t Try) refusal(place int, code string, known Code, reason string) Refusal {
	// DHIS2 2.40 to 2.42 print the period as null in their messages.
	reason = strings.ReplaceAll(reason, "`null`", "`"+t.Period.String()+"`")
	return Refusal{Index: place, DataValue: t.Values[place], Code: code, Class: known.Class, Reason: reason, Remedy: known.Remedy}
}

func allOf(values []DataValue) []int {
	places := make([]int, len(values))
	for i := range places {
		places[i] = i
	}
	return places
}

func firstConflict(s ImportSummary) string {
	if len(s.Conflicts) == 0 {
		return "status " + s.Status
	}
	return s.Conflicts[0].Value
}
