package orchestration

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/exchange"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/openhim"
)

// The kinds of letters that go to OpenHIM.
const (
	// LetterOpenHIM is the report of one submission in one transaction.
	LetterOpenHIM = "openhim"
	// LetterOpenHIMDay is the report of a day's scheduled submissions that changed nothing, in one transaction.
	LetterOpenHIMDay = "openhim-day"
)

// Telling makes OpenHIM's transactions of what ended: one for each that asked, else one of our own.
type Telling struct {
	// Channel is the name of the channel to which transactions of our own belong; URN is the mediator's.
	Channel, URN string
	Limits       openhim.Limits
	Ledger       *ledger.Ledger
	// Now gives the time; nil is time.Now.
	Now func() time.Time
	// Fault gives a fault in the console's configuration, which is told beside everything else; empty is none, and so is a
	// nil Fault.
	Fault func() string
	// Untold gives what an examination found that is to be told with a submission, or a day, by its name; nil gives nothing.
	Untold func(ctx context.Context, transaction string) (Examination, error)
}

const (
	// moment lets OpenHIM store the answer to a request before its transaction is finished: what is told earlier is lost.
	moment = time.Second
	// dayPause lets runs that end together be told together.
	dayPause = 10 * time.Minute
	// mostWhole is how many transactions get the whole story. Where more asked for one submission, the others get its result.
	mostWhole = 5
)

// told is the body of a letter to OpenHIM.
type told struct {
	// Update says that the transaction is OpenHIM's: only what became of it is told.
	Update bool `json:"update,omitempty"`
	// Channel is the name of the channel that a transaction of our own belongs to. Its id is looked up at delivery.
	Channel string `json:"channel,omitempty"`
	// Day is the UTC day whose unchanged submissions are told. They are looked up at delivery, as more may have come.
	Day         string              `json:"day,omitempty"`
	Transaction openhim.Transaction `json:"transaction"`
}

// Letters gives the letters that an end leaves, and a hold, which is told as it stands and again when it ends. A dry run leaves
// those only that were asked for. The same end gives the same letters.
func (t Telling) Letters(ctx context.Context, c Conclusion) ([]ledger.Letter, error) {
	sub := c.Submission
	asking := slices.DeleteFunc(slices.Clone(c.Transactions), func(id string) bool { return !openhim.IsID(id) })
	switch {
	case !sub.State.Ended() && sub.State != ledger.Held, len(asking) == 0 && sub.DryRun:
		return nil, nil
	case len(asking) == 0 && ofTheDay(sub):
		letter, err := t.day(ctx, sub)
		return []ledger.Letter{letter}, err
	}
	whole, err := t.transaction(ctx, c)
	if err != nil {
		return nil, err
	}
	ids := asking
	if len(ids) == 0 {
		ids = []string{ownID(sub.CreatedAt, sub.ID)}
	}
	brief := whole
	brief.Orchestrations, brief.Response = nil, t.response(c, 0)
	brief.Properties = maps.Clone(whole.Properties)
	brief.Properties["steps_in"] = ids[0]
	brief = brief.Report(t.Limits)
	var letters []ledger.Letter
	for i, id := range ids {
		one := told{Update: len(asking) > 0, Channel: t.Channel, Transaction: whole}
		if i >= mostWhole {
			one.Transaction = brief
		}
		one.Transaction.ID = id
		body, err := plainJSON(one)
		if err != nil {
			return nil, err
		}
		letters = append(letters, ledger.Letter{Kind: LetterOpenHIM, Subject: sub.ID + "/" + id, Body: body, NextAt: t.now().Add(moment)})
	}
	return letters, nil
}

func (t Telling) now() time.Time {
	if t.Now == nil {
		return time.Now()
	}
	return t.Now()
}

// plainJSON writes JSON without the escapes that make it fit for HTML, which can make it six times as long.
func plainJSON(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

// ownID gives the id of a transaction of our own: always the same one for the same name, so that a repeat is harmless.
func ownID(at time.Time, name string) string {
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprintf("%08x", uint32(at.Unix())) + hex.EncodeToString(sum[:8]) //nolint:gosec // ids have the low 32 bits
}

// StatusOf is the state of a submission in OpenHIM's words.
func StatusOf(state ledger.State) openhim.Status {
	switch state {
	case ledger.Accepted, ledger.Unchanged:
		return openhim.Successful
	case ledger.PartlyAccepted, ledger.Held:
		return openhim.CompletedWithErrors
	case ledger.Refused, ledger.Failed, ledger.Cancelled:
		return openhim.Failed
	default:
		return openhim.Processing
	}
}

// transaction is the report of a submission, without an id. It has no Error: that would let OpenHIM try again.
func (t Telling) transaction(ctx context.Context, c Conclusion) (openhim.Transaction, error) {
	steps, err := t.steps(ctx, c)
	if err == nil {
		steps, err = t.examined(ctx, steps, c.Submission.ID)
	}
	if err != nil {
		return openhim.Transaction{}, err
	}
	whole := openhim.Transaction{
		Status: StatusOf(c.Submission.State), Request: requestOf(c.Submission), Response: t.response(c, mostListed),
		Orchestrations: steps, Properties: t.properties(c),
	}
	return whole.Report(t.Limits), nil
}

func contentType() openhim.Headers { return openhim.Headers{"content-type": "application/json"} }

// requestOf is the request that asks for this submission again, with the period that it was about: OpenHIM replays it.
func requestOf(sub ledger.Submission) *openhim.Request {
	body, _ := plainJSON(struct { // texts can always be written
		DataSet  string   `json:"data_set"`
		Period   string   `json:"period"`
		CHT      string   `json:"cht"`
		OrgUnits []string `json:"org_units,omitempty"`
		DryRun   bool     `json:"dry_run,omitempty"`
		Full     bool     `json:"full,omitempty"`
	}{sub.DataSet, sub.Period.String(), sub.CHT, sub.OrgUnits, sub.DryRun, sub.Mode == ledger.ModeFull})
	return &openhim.Request{
		Method: http.MethodPost, Path: "/cht-dhis2/submissions", Headers: contentType(), Body: string(body), Timestamp: openhim.At(sub.CreatedAt),
	}
}

// mostListed is how many entries of each list the answer to the client has at most; the totals say how many there are.
const mostListed = 20

// response is what a client would have got that had waited.
func (t Telling) response(c Conclusion, listed int) *openhim.Response {
	limit := cmp.Or(t.Limits.Body, bodyLimit)
	r := c.Report
	r.Results, r.Chunks = []OrgUnitResult{}, nil
	var body []byte
	for ; ; listed /= 2 {
		r.Refused = nonNil(r.Refused[:min(len(r.Refused), listed)])
		r.Issues = nonNil(r.Issues[:min(len(r.Issues), listed)])
		r.Quarantined = nonNil(r.Quarantined[:min(len(r.Quarantined), listed)])
		body, _ = plainJSON(r) // texts and numbers can always be written
		if len(body) <= limit || listed == 0 {
			break
		}
	}
	return &openhim.Response{Status: httpStatus(c.Submission), Headers: contentType(), Body: string(body), Timestamp: openhim.At(c.Submission.EndedAt)}
}

// httpStatus is the status of that answer.
func httpStatus(sub ledger.Submission) int {
	switch sub.State {
	case ledger.Accepted, ledger.Unchanged, ledger.PartlyAccepted:
		return http.StatusOK
	case ledger.Held:
		return http.StatusAccepted
	case ledger.Refused:
		return http.StatusUnprocessableEntity
	case ledger.Cancelled:
		return http.StatusConflict
	}
	switch Reason(sub.Reason) {
	case CHTUnavailable, DHIS2Unavailable, Credentials:
		return http.StatusBadGateway
	default:
		return http.StatusInternalServerError
	}
}

// properties are those by which people look transactions up in the console.
func (t Telling) properties(c Conclusion) map[string]string {
	sub, counts, units := c.Submission, c.Submission.Counts, c.Report.OrgUnits
	p := map[string]string{
		"data_set": sub.DataSet, "period": sub.Period.String(), "source": sub.CHT, "dhis2": sub.DHIS2, "submission": sub.ID,
		"state": string(sub.State), "requested_by": sub.RequestedBy,
	}
	for name, text := range map[string]string{"dialect": sub.Dialect, "reason": sub.Reason, "configuration_fault": t.fault()} {
		if text != "" {
			p[name] = text
		}
	}
	if sub.DryRun {
		p["dry_run"] = "true"
	}
	for name, n := range map[string]int{
		"values_fetched": counts.Fetched, "values_sent": counts.Accepted + counts.Refused + counts.Unknown, "values_accepted": counts.Accepted,
		"values_refused": counts.Refused, "values_left_behind": counts.Quarantined + counts.Held, "values_unchanged": counts.Unchanged,
		"values_unknown": counts.Unknown, "org_units_accepted": units.Accepted, "org_units_partly_accepted": units.PartlyAccepted,
		"org_units_refused": units.Refused, "org_units_unchanged": units.Unchanged,
	} {
		p[name] = strconv.Itoa(n)
	}
	if c := c.Report.Coverage; c != nil {
		p["workers_expected"] = strconv.Itoa(c.Expected)
		p["workers_seen"] = strconv.Itoa(c.Seen)
		p["org_units_below_coverage"] = strconv.Itoa(c.OrgUnitsBelow)
	}
	if c := sub.Completeness; c != nil {
		p["org_units_registered"] = strconv.Itoa(c.Registered)
		p["org_units_registration_undone"] = strconv.Itoa(c.Undone)
		p["org_units_registration_refused"] = strconv.Itoa(c.Refused)
	}
	for name, n := range map[string]int{
		"values_unsent": counts.Unsent, "org_units_unknown": units.Unknown, "org_units_unsent": units.Unsent, "org_units_held": units.Held,
		"org_units_dropped": units.Dropped,
	} {
		if n > 0 {
			p[name] = strconv.Itoa(n)
		}
	}
	return p
}

const faultLimit = 500

func (t Telling) fault() string {
	if t.Fault == nil {
		return ""
	}
	return exchange.Keep(t.Fault(), faultLimit)
}

// examined adds the step that tells what the examination of a changed configuration found, where that was not told yet.
func (t Telling) examined(ctx context.Context, steps []openhim.Orchestration, transaction string) ([]openhim.Orchestration, error) {
	if t.Untold == nil {
		return steps, nil
	}
	found, err := t.Untold(ctx, transaction)
	if err != nil || len(found.Findings) == 0 {
		return steps, err
	}
	type row struct {
		State  Light  `json:"state"`
		Server string `json:"server"`
		Check  string `json:"check"`
		Detail string `json:"detail"`
		Remedy string `json:"remedy,omitempty"`
		Who    string `json:"who,omitempty"`
	}
	rows := []row{}
	for _, f := range found.Findings {
		rows = append(rows, row{f.State, f.Server, f.Check, exchange.Keep(f.Detail, toldDetail), exchange.Keep(f.Remedy, toldDetail), f.Who})
	}
	body, _ := plainJSON(map[string]any{"findings": rows}) // texts can always be written
	at := openhim.At(found.ExaminedAt)
	return append(steps, openhim.Orchestration{
		Name:     fmt.Sprintf("%d Examine the changed configuration: %d red, %d amber", len(steps)+1, found.Count(Red), found.Count(Amber)),
		Group:    "examine",
		Request:  &openhim.Request{Timestamp: at},
		Response: &openhim.Response{Status: http.StatusOK, Headers: contentType(), Body: string(body), Timestamp: at},
	}), nil
}

// toldDetail is how much of the texts of a finding is told.
const toldDetail = 300

// story makes the steps of a transaction out of what was kept of a submission.
type story struct {
	Conclusion

	chunks  map[int]ChunkReport
	refused map[int]*refusals
	// last is where in Calls the last attempt of each chunk is.
	last map[int]int
	// tries counts the attempts of each call.
	tries map[string]int
	list  []openhim.Orchestration
	// narrowed counts the requests that were refused and narrowed down; more says where in the list those stand together that
	// are too many to be told one by one.
	narrowed, more int
}

// refusals are why DHIS2 refused values of a chunk, in its words, by their code.
type refusals struct {
	codes  []string
	reason map[string]string
	count  map[string]int
}

// steps gives an orchestration for each call that was made, and one for the transformation between fetching and sending,
// numbered in the order in which they happened.
func (t Telling) steps(ctx context.Context, c Conclusion) ([]openhim.Orchestration, error) {
	s := &story{Conclusion: c, chunks: map[int]ChunkReport{}, refused: map[int]*refusals{}, last: map[int]int{}, tries: map[string]int{}}
	if err := s.read(ctx, t.Ledger); err != nil {
		return nil, err
	}
	transformed := false
	for i, calls := range c.Calls {
		if (calls.Step == sendStep || calls.Step == completeStep) && !transformed {
			s.transform()
			transformed = true
		}
		if calls.Step == sendStep {
			s.send(i, calls)
			continue
		}
		s.calls(calls)
	}
	if !transformed {
		s.transform()
	}
	for _, number := range slices.Sorted(maps.Keys(s.chunks)) {
		if _, told := s.last[number]; !told {
			s.last[number] = -1
			s.send(-1, StepCalls{Step: sendStep, Chunk: number})
		}
	}
	return s.list, nil
}

// read gathers what is known of the chunks.
func (s *story) read(ctx context.Context, l *ledger.Ledger) error {
	for i, calls := range s.Calls {
		if calls.Chunk > 0 {
			s.last[calls.Chunk] = i
		}
	}
	for _, c := range s.Report.Chunks {
		s.chunks[c.Chunk] = c
	}
	if l == nil {
		return nil
	}
	if s.Report.ChunksTotal > len(s.Report.Chunks) { // the report lists the first ones only
		chunks, err := l.Chunks(ctx, s.Submission.ID)
		if err != nil {
			return err
		}
		for _, c := range chunks {
			s.chunks[c.Number] = ChunkReport{
				Chunk: c.Number, FirstOrgUnit: c.From + 1, LastOrgUnit: c.To, Values: c.Size, State: c.State, Accepted: c.Accepted, Refused: c.Refused,
				SentAt: c.SentAt, AnsweredAt: timeOrNil(c.AnsweredAt), Failure: c.Failure,
			}
		}
	}
	for cell, err := range l.Refused(ctx, s.Submission.ID) {
		if err != nil {
			return err
		}
		if s.refused[cell.Chunk] == nil {
			s.refused[cell.Chunk] = &refusals{reason: map[string]string{}, count: map[string]int{}}
		}
		s.refused[cell.Chunk].add(cell.Code, cell.Reason)
	}
	return nil
}

func (r *refusals) add(code, reason string) {
	if r.count[code]++; r.count[code] == 1 {
		r.codes = append(r.codes, code)
		r.reason[code] = reason
	}
}

// mostCodes is how many reasons a step names.
const mostCodes = 3

func (r *refusals) String() string {
	if r == nil {
		return ""
	}
	text := ""
	for i, code := range r.codes {
		if i == mostCodes {
			return text + "; and other reasons"
		}
		text += fmt.Sprintf("; %s of them %s: %s", openhim.Number(r.count[code]), code, r.reason[code])
	}
	return text
}

// add takes a step into the list, with its number.
func (s *story) add(o openhim.Orchestration) {
	o.Name = strconv.Itoa(len(s.list)+1) + " " + o.Name
	s.list = append(s.list, o)
}

// attempt adds to a name which attempt of its call it is, from the second one on. One entry may stand for several
// attempts that were left out.
func (s *story) attempt(name, call string, leftOut int) string {
	if leftOut > 1 {
		first := s.tries[call] + 1
		s.tries[call] += leftOut
		return fmt.Sprintf("%s, attempts %s to %s", name, openhim.Number(first), openhim.Number(s.tries[call]))
	}
	if s.tries[call]++; s.tries[call] > 1 {
		return name + ", attempt " + openhim.Number(s.tries[call])
	}
	return name
}

// callOf tells which call an exchange is a try of.
func callOf(name string, x exchange.Exchange) string {
	path := x.Address
	if address, err := url.Parse(x.Address); err == nil {
		path = address.Path
	}
	return name + " " + x.Method + " " + path
}

// calls tells the calls of a step other than sending.
func (s *story) calls(calls StepCalls) {
	if len(calls.Calls) == 0 {
		s.add(s.leftOut("Calls of the step "+calls.Step, calls.Step, s.preparedAt()))
	}
	for _, call := range calls.Calls {
		name := cmp.Or(call.Name, "Call")
		o := openhim.OrchestrationOf(s.attempt(name, callOf(name, call.Exchange), call.Exchange.LeftOut), call.Exchange)
		o.Group = calls.Step
		if o.Error == nil && failed(call.Exchange.Status) {
			o.Error = &openhim.Failure{Message: answeredText(call.Exchange.Status)}
		}
		s.add(o)
	}
}

func failed(status int) bool { return status < 200 || status > 299 }

func answeredText(status int) string {
	return fmt.Sprintf("answered %d %s", status, http.StatusText(status))
}

func (s *story) preparedAt() time.Time {
	if s.Submission.PreparedAt.IsZero() {
		return s.Submission.CreatedAt
	}
	return s.Submission.PreparedAt
}

// leftOut is the step of a call whose evidence is not kept.
func (*story) leftOut(name, group string, at time.Time) openhim.Orchestration {
	return openhim.Orchestration{
		Name: name, Group: group, Request: &openhim.Request{Timestamp: openhim.At(at)},
		Response: &openhim.Response{Timestamp: openhim.At(at), Body: "what was sent and answered is not kept: it was too large, or the mediator was stopped before the answer came"},
	}
}

// transform tells what the rules made of what was fetched, or why it did not come to that.
func (s *story) transform() {
	counts := s.Submission.Counts
	if counts.Fetched == 0 {
		s.stopped()
		return
	}
	rules, _ := plainJSON(map[string]any{"rules": s.Report.Rules}) // texts and numbers can always be written
	found, _ := plainJSON(struct {
		Fetched     int          `json:"fetched"`
		Dropped     int          `json:"dropped"`
		Quarantined int          `json:"quarantined"`
		Unchanged   int          `json:"unchanged"`
		Kept        int          `json:"kept_as_edited"`
		ToSend      int          `json:"to_send"`
		Issues      []issueCount `json:"issues"`
		IssuesTotal int          `json:"issues_total"`
	}{
		counts.Fetched, counts.Dropped, counts.Quarantined, counts.Unchanged, s.kept(),
		counts.Accepted + counts.Refused + counts.Unknown + counts.Unsent, s.issues(), s.Report.IssuesTotal,
	})
	at := openhim.At(s.preparedAt())
	s.add(openhim.Orchestration{
		Name:     fmt.Sprintf("Transform: %s, %s", counted(counts.Fetched, "value"), counted(s.Report.ResultsTotal, "org unit")),
		Group:    "transform",
		Request:  &openhim.Request{Headers: contentType(), Body: string(rules), Timestamp: at},
		Response: &openhim.Response{Status: http.StatusOK, Headers: contentType(), Body: string(found), Timestamp: at},
	})
	s.compare(at)
}

// compare tells what differs from what DHIS2 accepted before, where it accepted something.
func (s *story) compare(at openhim.Time) {
	changes := s.Report.Changes
	if changes == nil {
		return
	}
	type orgUnit struct {
		OrgUnit string `json:"org_unit"`
		Changes int    `json:"changes"`
		Was     int    `json:"was"`
		Becomes int    `json:"becomes"`
	}
	units := []orgUnit{}
	for _, u := range s.Report.Results {
		if u.Changes > 0 && len(units) < mostListed {
			units = append(units, orgUnit{u.OrgUnit, u.Changes, u.Was, u.Becomes})
		}
	}
	found, _ := plainJSON(map[string]any{"changes": changes, "unchanged": s.Submission.Counts.Unchanged, "org_units": units}) // texts and numbers can always be written
	s.add(openhim.Orchestration{
		Name: fmt.Sprintf("Compare: %s of %s changed since the last time, the sum was %s and becomes %s", counted(changes.Cells, "value"), counted(changes.OrgUnits, "org unit"),
			openhim.Number(changes.Was), openhim.Number(changes.Becomes)),
		Group:    "transform",
		Request:  &openhim.Request{Timestamp: at},
		Response: &openhim.Response{Status: http.StatusOK, Headers: contentType(), Body: string(found), Timestamp: at},
	})
}

// kept counts the values that stay as somebody edited them in DHIS2.
func (s *story) kept() (kept int) {
	for _, i := range s.issues() {
		if i.Code == editedCode && i.Severity == string(issue.Cell) {
			kept = i.Count
		}
	}
	return kept
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return openhim.Number(n) + " " + noun + "s"
}

type issueCount struct {
	Code     string `json:"code"`
	Severity string `json:"severity"`
	Count    int    `json:"count"`
}

// issues counts what was found by its code, in the order of the report.
func (s *story) issues() []issueCount {
	list := []issueCount{}
	for _, i := range s.Report.Issues {
		at := slices.IndexFunc(list, func(c issueCount) bool { return c.Code == i.Code })
		if at < 0 {
			at = len(list)
			list = append(list, issueCount{Code: i.Code, Severity: string(i.Severity)})
		}
		list[at].Count += i.Count
	}
	return list
}

// stopped tells why nothing was prepared: beside the call that failed, or as a step of its own where a check of ours, or a
// fault, let nothing go.
func (s *story) stopped() {
	if s.Report.Error == "" || s.Submission.State == ledger.Cancelled {
		return
	}
	why := &openhim.Failure{Message: s.Report.Error, Stack: s.Report.Remedy}
	if at := len(s.list) - 1; at >= 0 {
		switch last := &s.list[at]; {
		case last.Error != nil && last.Response != nil && failed(last.Response.Status):
			last.Error = why
			return
		case s.Report.Reason == CHTUnavailable, s.Report.Reason == DHIS2Unavailable, s.Report.Reason == Credentials:
			last.Error = why // it answered, with something else
			return
		}
	}
	body, _ := plainJSON(map[string]any{"error": s.Report.Error, "remedy": s.Report.Remedy, "issues": s.issues()})
	at := openhim.At(s.Submission.EndedAt)
	s.add(openhim.Orchestration{
		Name: "Check: nothing is sent", Group: "transform", Request: &openhim.Request{Timestamp: at},
		Response: &openhim.Response{Status: httpStatus(s.Submission), Headers: contentType(), Body: string(body), Timestamp: at}, Error: why,
	})
}

// send tells an attempt of a chunk: each of its tries.
func (s *story) send(place int, calls StepCalls) {
	c, known := s.chunks[calls.Chunk]
	name, chunk := s.sendName(calls.Chunk), "chunk "+strconv.Itoa(calls.Chunk)
	final := known && s.last[calls.Chunk] == place
	if final && s.fold(c) {
		return
	}
	if len(calls.Calls) == 0 {
		o := s.leftOut(s.attempt(name, chunk, 0), sendStep, c.SentAt)
		if c.AnsweredAt != nil {
			o.Response.Timestamp = openhim.At(*c.AnsweredAt)
		}
		if final {
			s.settle(&o, c)
		}
		s.add(o)
		return
	}
	sends := slices.DeleteFunc(slices.Clone(calls.Calls), func(c Call) bool { return c.Name != "" })
	for i, call := range sends {
		o := openhim.OrchestrationOf(s.attempt(name, chunk, call.Exchange.LeftOut), call.Exchange)
		o.Group = sendStep
		switch {
		case final && i == len(sends)-1:
			s.settle(&o, c)
		case o.Error == nil:
			o.Error = &openhim.Failure{Message: answeredText(call.Exchange.Status) + ", and went again"}
		}
		s.add(o)
	}
	for _, call := range calls.Calls { // what was asked after it
		if call.Name != "" {
			o := openhim.OrchestrationOf(call.Name, call.Exchange)
			o.Group = sendStep
			s.add(o)
		}
	}
}

// mostNarrowed is how many refused requests that were narrowed down are told one by one.
const mostNarrowed = 20

// narrowing says in a line for what a chunk was narrowed down; ok is false where it was not.
func narrowing(c ChunkReport) (line string, ok bool) {
	if c.State != ledger.ChunkSplit || !strings.HasPrefix(c.Failure, refusedFor) {
		return "", false
	}
	line, _, _ = strings.Cut(c.Failure, ": ")
	return line, true
}

// fold puts a request that was narrowed down with others of the kind, where there are too many of them to be told one by one.
// What was refused at last is told with the requests that went without it.
func (s *story) fold(c ChunkReport) bool {
	line, narrowed := narrowing(c)
	if !narrowed {
		return false
	}
	if s.narrowed++; s.narrowed <= mostNarrowed {
		return false
	}
	if s.more == 0 {
		s.add(openhim.Orchestration{Group: sendStep, Request: &openhim.Request{Timestamp: openhim.At(c.SentAt)}, Response: &openhim.Response{}})
		s.more = len(s.list)
	}
	o := &s.list[s.more-1]
	o.Name = fmt.Sprintf("%d %s refused and narrowed down", s.more, counted(s.narrowed-mostNarrowed, "more request"))
	if o.Error = (&openhim.Failure{Message: "the last one: " + line}); c.AnsweredAt != nil {
		o.Response.Timestamp = openhim.At(*c.AnsweredAt)
	}
	return true
}

// sendName names the sending of a chunk by its place in the content. A part of the content is an org unit, or what one has
// of an attribute option combo where there are several.
func (s *story) sendName(number int) string {
	c, known := s.chunks[number]
	if !known {
		return "Send request " + openhim.Number(number)
	}
	noun := "org unit"
	if s.Submission.Parts > s.Report.ResultsTotal {
		noun = "part"
	}
	of := openhim.Number(s.Submission.Parts)
	if line, narrowed := narrowing(c); narrowed {
		of += ": " + line
	}
	if c.LastOrgUnit <= c.FirstOrgUnit {
		return fmt.Sprintf("Send %s %s of %s", noun, openhim.Number(c.FirstOrgUnit), of)
	}
	return fmt.Sprintf("Send %ss %s to %s of %s", noun, openhim.Number(c.FirstOrgUnit), openhim.Number(c.LastOrgUnit), of)
}

// settle tells of the last attempt of a chunk what became of it.
func (s *story) settle(o *openhim.Orchestration, c ChunkReport) {
	why := c.Failure
	switch c.State {
	case ledger.ChunkAccepted:
		o.Error = nil
		o.Accepted = &openhim.Totals{Values: c.Accepted, OrgUnits: c.LastOrgUnit - c.FirstOrgUnit + 1}
		return
	case ledger.ChunkPartlyAccepted, ledger.ChunkRefused:
		why = fmt.Sprintf("DHIS2 refused %s of %s%s", openhim.Number(c.Refused), counted(c.Accepted+c.Refused, "value"), s.refused[c.Chunk])
	case ledger.ChunkSplit:
		if _, narrowed := narrowing(c); narrowed {
			break
		}
		why = cmp.Or(why, "it was too much for one request") + "; its values go in smaller ones"
	default:
		why = cmp.Or(why, "what became of it is not known")
	}
	o.Error = &openhim.Failure{Message: why}
}

// ofTheDay says whether a submission is told in the day's transaction.
func ofTheDay(sub ledger.Submission) bool {
	registered := sub.Completeness != nil && sub.Completeness.Registered+sub.Completeness.Undone > 0
	return sub.RequestedBy == BySchedule && sub.State == ledger.Unchanged && sub.Retries == 0 && !sub.DryRun && !registered
}

// day gives the letter for the day on which a submission ended. Which submissions it tells is looked up at delivery.
func (t Telling) day(ctx context.Context, sub ledger.Submission) (ledger.Letter, error) {
	day := sub.EndedAt.UTC().Format(time.DateOnly)
	one := told{Channel: t.Channel, Day: day, Transaction: openhim.Transaction{
		ID: ownID(sub.EndedAt.UTC().Truncate(24*time.Hour), "unchanged on "+day+" "+t.URN), Status: openhim.Successful,
	}}
	if fault := t.fault(); fault != "" {
		one.Transaction.Properties = map[string]string{"configuration_fault": fault}
	}
	var err error
	if one.Transaction.Orchestrations, err = t.examined(ctx, nil, day); err != nil {
		return ledger.Letter{}, err
	}
	body, err := plainJSON(one)
	return ledger.Letter{Kind: LetterOpenHIMDay, Subject: day, Body: body, NextAt: t.now().Truncate(dayPause).Add(dayPause)}, err
}

// longestRun is how long before a day a submission may have begun that ended on it.
const longestRun = 45 * 24 * time.Hour

// unchangedOn gives the submissions that are told in a day's transaction, the oldest first.
func unchangedOn(ctx context.Context, l *ledger.Ledger, day time.Time) (runs []ledger.Submission, err error) {
	const page = 500
	filter := ledger.Filter{States: []ledger.State{ledger.Unchanged}, Limit: page}
	for {
		list, err := l.Submissions(ctx, filter)
		if err != nil {
			return nil, err
		}
		for _, sub := range list {
			ended := sub.EndedAt.Sub(day)
			if !ofTheDay(sub) || ended < 0 || ended >= 24*time.Hour {
				continue
			}
			asking, err := l.Transactions(ctx, sub.ID)
			if err != nil {
				return nil, err
			}
			if len(asking) == 0 {
				runs = append(runs, sub)
			}
		}
		if len(list) < page || list[len(list)-1].CreatedAt.Before(day.Add(-longestRun)) {
			slices.Reverse(runs)
			return runs, nil
		}
		filter.After = list[len(list)-1].ID
	}
}

// ofDay fills the day's transaction: one step for each data set and period.
func ofDay(t openhim.Transaction, day string, runs []ledger.Submission) openhim.Transaction {
	type run struct {
		Submission string    `json:"submission"`
		CHT        string    `json:"cht"`
		EndedAt    time.Time `json:"ended_at"`
		Values     int       `json:"values"`
	}
	groups := map[string][]ledger.Submission{}
	for _, sub := range runs {
		key := sub.DataSet + " " + sub.Period.String() + " " + sub.DHIS2
		groups[key] = append(groups[key], sub)
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		group := groups[key]
		var list []run
		for _, sub := range group {
			list = append(list, run{sub.ID, sub.CHT, sub.EndedAt.UTC(), sub.Counts.Fetched})
		}
		body, _ := plainJSON(list) // texts and numbers can always be written
		first, last := group[0], group[len(group)-1]
		t.Orchestrations = append(t.Orchestrations, openhim.Orchestration{
			Name:     fmt.Sprintf("%d Nothing new in %s of %s for DHIS2 %s: %s", len(t.Orchestrations)+1, first.Period, first.DataSet, first.DHIS2, counted(len(group), "submission")),
			Group:    "unchanged",
			Request:  &openhim.Request{Timestamp: openhim.At(first.CreatedAt)},
			Response: &openhim.Response{Status: http.StatusOK, Headers: contentType(), Body: string(body), Timestamp: openhim.At(last.EndedAt)},
		})
	}
	body, _ := plainJSON(map[string]any{"day": day, "state": ledger.Unchanged, "submissions": len(runs)})
	// Run again, it does what the schedule does: submit whatever is due.
	t.Request = &openhim.Request{Method: http.MethodGet, Path: "/cht-dhis2/poll", Timestamp: openhim.At(runs[0].CreatedAt)}
	t.Response = &openhim.Response{Status: http.StatusOK, Headers: contentType(), Body: string(body), Timestamp: openhim.At(runs[len(runs)-1].EndedAt)}
	properties := map[string]string{"day": day, "state": string(ledger.Unchanged), "submissions": strconv.Itoa(len(runs)), "requested_by": BySchedule}
	maps.Copy(properties, t.Properties)
	t.Properties = properties
	return t
}
