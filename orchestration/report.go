package orchestration

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/validation"
)

// Reason says why a submission did not end with everything accepted. It is a closed set, and decides the exit code.
type Reason string

// The reasons.
const (
	// Fault is one of the mediator or of the machine it runs on.
	Fault Reason = "fault"
	// Configuration: the configuration and the neighbours do not agree.
	Configuration Reason = "configuration"
	// LeftBehind: some cells were refused or stayed behind.
	LeftBehind Reason = "left_behind"
	// NothingAccepted: a check or DHIS2 refused everything.
	NothingAccepted Reason = "refused"
	// CHTUnavailable: no answer of the CHT, or an unusable one.
	CHTUnavailable Reason = "cht_unavailable"
	// DHIS2Unavailable: no answer of DHIS2, or an outcome that nobody knows.
	DHIS2Unavailable Reason = "dhis2_unavailable"
	// Credentials: a server refused the account, or the account lacks an authority.
	Credentials Reason = "credentials"
	// Stopped: a person stopped it.
	Stopped Reason = "cancelled"
)

// OrgUnitCounts are of org units, each in the state in which it ended.
type OrgUnitCounts struct {
	Accepted       int `json:"accepted"`
	PartlyAccepted int `json:"partly_accepted"`
	Refused        int `json:"refused"`
	Unknown        int `json:"unknown"`
	Unsent         int `json:"unsent"`
	Held           int `json:"held"`
	Unchanged      int `json:"unchanged"`
	Dropped        int `json:"dropped"`
}

// OrgUnitResult is what became of the cells of one org unit.
type OrgUnitResult struct {
	OrgUnit     string `json:"org_unit"`
	State       string `json:"state"`
	Dropped     int    `json:"dropped,omitempty"`
	Quarantined int    `json:"quarantined,omitempty"`
	Unchanged   int    `json:"unchanged,omitempty"`
	Held        int    `json:"held,omitempty"`
	Accepted    int    `json:"accepted,omitempty"`
	Refused     int    `json:"refused,omitempty"`
	Unknown     int    `json:"unknown,omitempty"`
	Unsent      int    `json:"unsent,omitempty"`
	// Changes is how many cells differ from what DHIS2 accepted before; Was and Becomes are the sums of before and now.
	Changes int `json:"changes,omitempty"`
	Was     int `json:"was,omitempty"`
	Becomes int `json:"becomes,omitempty"`
	// Expected and Seen are how many workers were expected to sync, and have; left out where that is not known.
	Expected *int `json:"expected,omitempty"`
	Seen     *int `json:"seen,omitempty"`
	// Reason is DHIS2's word, or ours, on the first cell that did not arrive.
	Reason string `json:"reason,omitempty"`
}

// Changes is what differs from what DHIS2 accepted before.
type Changes struct {
	// Cells is how many cells differ, of how many org units; Was and Becomes are the sums of the month before and now.
	Cells    int `json:"cells"`
	OrgUnits int `json:"org_units"`
	Was      int `json:"was"`
	Becomes  int `json:"becomes"`
}

// RefusedCell is a cell that DHIS2 did not take.
type RefusedCell struct {
	OrgUnit              string `json:"org_unit"`
	DataElement          string `json:"data_element"`
	CategoryOptionCombo  string `json:"category_option_combo"`
	AttributeOptionCombo string `json:"attribute_option_combo,omitempty"`
	Value                string `json:"value"`
	Code                 string `json:"code"`
	Class                string `json:"class"`
	Reason               string `json:"reason"`
	Remedy               string `json:"remedy"`
}

// Report is the truth about one submission, in the form in which the program prints it.
type Report struct {
	ID          string       `json:"id"`
	DataSet     string       `json:"data_set"`
	Title       string       `json:"title,omitempty"`
	Period      string       `json:"period"`
	CHT         string       `json:"cht"`
	DHIS2       string       `json:"dhis2"`
	Dialect     string       `json:"dialect"`
	State       ledger.State `json:"state"`
	DryRun      bool         `json:"dry_run,omitempty"`
	RequestedBy string       `json:"requested_by"`

	// Times are left out where they have not come; all of them in a preview.
	CreatedAt *time.Time `json:"created_at,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	// WaitingFor says what an unfinished submission waits for, since when.
	WaitingFor   string     `json:"waiting_for,omitempty"`
	WaitingSince *time.Time `json:"waiting_since,omitempty"`
	CancelledBy  string     `json:"cancelled_by,omitempty"`
	Retries      int        `json:"retries,omitempty"`
	// Mode is full or repair where not only what the CHT says otherwise is sent.
	Mode       ledger.Mode `json:"mode,omitempty"`
	ApprovedBy string      `json:"approved_by,omitempty"`
	// ThinnedAt is when the lists were removed for their age; the counts stay.
	ThinnedAt *time.Time `json:"thinned_at,omitempty"`

	// Reason is empty where everything was accepted. Error and Remedy tell what ended the submission early.
	Reason Reason `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	Remedy string `json:"remedy,omitempty"`

	Counts ledger.Counts `json:"counts"`
	// Completeness is what came of registering org units as complete; left out where it did not come to that.
	Completeness *ledger.Completeness `json:"completeness,omitempty"`
	OrgUnits     OrgUnitCounts        `json:"org_units"`
	// The lists hold the first issue.ListLimit entries; the totals say how many there are.
	Refused      []RefusedCell `json:"refused"`
	RefusedTotal int           `json:"refused_total"`
	Issues       []issue.Issue `json:"issues"`
	IssuesTotal  int           `json:"issues_total"`
	// Quarantined are the cells that stay behind before anything is sent, counted in Counts.
	Quarantined  []ledger.QuarantinedCell `json:"quarantined"`
	Results      []OrgUnitResult          `json:"results"`
	ResultsTotal int                      `json:"results_total"`
	// Changes is left out where nothing was accepted before.
	Changes *Changes `json:"changes,omitempty"`
	// Coverage is how many of the expected workers have synced; left out where that is not known.
	Coverage *ledger.CoverageTotals `json:"coverage,omitempty"`
	// Rules are those in force, in the order in which they are applied.
	Rules []RuleUse `json:"rules"`
	// Chunks are the requests that were sent; there are none in a preview.
	Chunks      []ChunkReport `json:"chunks,omitempty"`
	ChunksTotal int           `json:"chunks_total,omitempty"`
}

// ChunkReport is one request with a part of the content.
type ChunkReport struct {
	Chunk int `json:"chunk"`
	// FirstOrgUnit and LastOrgUnit count the org units of the content, from 1.
	FirstOrgUnit int               `json:"first_org_unit"`
	LastOrgUnit  int               `json:"last_org_unit"`
	Values       int               `json:"values"`
	State        ledger.ChunkState `json:"state"`
	Attempts     int               `json:"attempts"`
	Accepted     int               `json:"accepted"`
	Refused      int               `json:"refused"`
	SentAt       time.Time         `json:"sent_at"`
	AnsweredAt   *time.Time        `json:"answered_at,omitempty"`
	Failure      string            `json:"failure,omitempty"`
	// Digest is the SHA-256 of the text that was sent.
	Digest string `json:"digest"`
}

// RuleUse is a rule of the data set, what it is set to, and how many values it touched.
type RuleUse struct {
	Rule    string `json:"rule"`
	Setting string `json:"setting"`
	Values  int    `json:"values"`
}

// tally gathers what preparing finds. Everything in it is bounded but the org units.
type tally struct {
	report   Report
	issues   issue.List
	orgUnits map[string]*OrgUnitResult
	// last is the org unit that was looked up last; cells of one org unit come together.
	last    *OrgUnitResult
	uses    mapping.Uses
	failure *failure
	// same is how many org units have not changed; they are not among orgUnits.
	same int
	// quarantine holds the cells that stay behind; nil before anything is settled.
	quarantine *quarantine
	// screened counts those of them that would be sent if DHIS2 took them, locked those that it takes at no price now, as lock says.
	screened, locked int
	lock             *validation.Finding
	// holds says why it has to wait for a person, holdRemedy what that person can do.
	holds, holdRemedy string
}

// failure ended a submission early.
type failure struct {
	reason       Reason
	state        ledger.State
	text, remedy string
}

func newTally(r Report) *tally { return &tally{report: r, orgUnits: map[string]*OrgUnitResult{}} }

// hold adds why it has to wait for a person.
func (t *tally) hold(why, remedy string) {
	if t.holds != "" {
		why, remedy = t.holds+"; "+why, t.holdRemedy+"; "+remedy
	}
	t.holds, t.holdRemedy = why, remedy
}

func (t *tally) orgUnit(id string) *OrgUnitResult {
	if t.last != nil && t.last.OrgUnit == id {
		return t.last
	}
	result, ok := t.orgUnits[id]
	if !ok {
		result = &OrgUnitResult{OrgUnit: id}
		t.orgUnits[id] = result
	}
	t.last = result
	return result
}

func (t *tally) addIssues(issues []issue.Issue) {
	for _, i := range issues {
		t.issues.Add(i)
		if i.OrgUnit != "" && i.Severity == issue.Cell {
			t.orgUnit(i.OrgUnit).because(i.Code + ": " + i.Text)
		}
	}
}

func (r *OrgUnitResult) because(reason string) {
	if r.Reason == "" {
		r.Reason = reason
	}
}

// finish makes the report of a plan whole.
func (t *tally) finish() Report {
	r := &t.report
	r.Refused, r.Issues, r.IssuesTotal = []RefusedCell{}, nonNil(t.issues.Items()), t.issues.Total()
	r.Quarantined = []ledger.QuarantinedCell{}
	if t.quarantine != nil {
		r.Quarantined = nonNil(t.quarantine.first)
	}
	r.Results, r.ResultsTotal = []OrgUnitResult{}, len(t.orgUnits)+t.same
	states := map[string]int{"unchanged": t.same}
	for _, result := range t.orgUnits {
		result.State = result.prepared()
		states[result.State]++
	}
	r.OrgUnits = orgUnitCounts(states)
	// Where the list does not hold all, it holds those that somebody has to look at.
	ids := slices.Sorted(maps.Keys(t.orgUnits))
	if len(ids) > issue.ListLimit {
		slices.SortStableFunc(ids, func(a, b string) int { return cmp.Compare(t.orgUnits[a].fine(), t.orgUnits[b].fine()) })
		ids = ids[:issue.ListLimit]
	}
	for _, id := range ids {
		r.Results = append(r.Results, *t.orgUnits[id])
	}
	switch {
	case t.failure != nil:
		r.State, r.Reason, r.Error, r.Remedy = t.failure.state, t.failure.reason, t.failure.text, t.failure.remedy
	case r.Counts.Quarantined+r.Counts.Held > 0:
		r.Reason = LeftBehind
	}
	return *r
}

// prepared is the state of an org unit of which nothing was sent yet.
func (r *OrgUnitResult) prepared() string {
	switch {
	case r.Unsent > 0:
		return "unsent"
	case r.Quarantined > 0 && r.Unchanged > 0:
		return "partly_accepted"
	case r.Quarantined > 0:
		return "refused"
	case r.Held > 0:
		return "held"
	case r.Unchanged > 0:
		return "unchanged"
	default:
		return "dropped"
	}
}

// fine is 1 for an org unit that nobody has to look at, else 0.
func (r *OrgUnitResult) fine() int {
	if r.State == "dropped" {
		return 1
	}
	return 0
}

// outcomes gives the org units as the ledger stores them.
func (t *tally) outcomes(yield func(ledger.OrgUnitOutcome, error) bool) {
	for _, id := range slices.Sorted(maps.Keys(t.orgUnits)) {
		r := t.orgUnits[id]
		o := ledger.OrgUnitOutcome{OrgUnit: id, Dropped: r.Dropped, Quarantined: r.Quarantined, Unchanged: r.Unchanged, Held: r.Held, Unsent: r.Unsent, Changes: r.Changes, Was: r.Was, Becomes: r.Becomes, Reason: r.Reason}
		if r.Expected != nil {
			o.Workers = &ledger.Workers{Expected: *r.Expected, Seen: *r.Seen}
		}
		if !yield(o, nil) {
			return
		}
	}
}

func orgUnitCounts(states map[string]int) OrgUnitCounts {
	return OrgUnitCounts{
		Accepted: states["accepted"], PartlyAccepted: states["partly_accepted"], Refused: states["refused"], Unknown: states["unknown"],
		Unsent: states["unsent"], Held: states["held"], Unchanged: states["unchanged"], Dropped: states["dropped"],
	}
}

// rules tells which rules were in force, and what they touched.
func (t *tally) rules(rules mapping.Rules) {
	t.report.Rules = []RuleUse{}
	for _, r := range rules.InForce() {
		t.report.Rules = append(t.report.Rules, RuleUse{Rule: r.Rule.String(), Setting: r.Setting, Values: t.uses[r.Rule]})
	}
}

func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// Report tells of a submission all that the store has.
func (s *Submitter) Report(ctx context.Context, id string) (Report, error) {
	sub, err := s.Ledger.Submission(ctx, id)
	if err != nil {
		return Report{}, err
	}
	r := s.Summary(sub)
	if r.Issues, err = s.Ledger.Issues(ctx, id); err != nil {
		return Report{}, err
	}
	r.Issues = nonNil(r.Issues)
	for cell, err := range s.Ledger.Refused(ctx, id) {
		if err != nil {
			return Report{}, err
		}
		if r.RefusedTotal++; len(r.Refused) < issue.ListLimit {
			r.Refused = append(r.Refused, RefusedCell{
				OrgUnit: cell.OrgUnit, DataElement: cell.DataElement, CategoryOptionCombo: cell.CategoryOptionCombo, AttributeOptionCombo: cell.AttributeOptionCombo,
				Value: cell.Value, Code: cell.Code, Class: string(cell.Class), Reason: cell.Reason, Remedy: cell.Remedy,
			})
		}
	}
	for cells, err := range s.Ledger.Quarantine(ctx, id, "") {
		if err != nil {
			return Report{}, err
		}
		r.Quarantined = append(r.Quarantined, cells[:min(len(cells), issue.ListLimit-len(r.Quarantined))]...)
		if len(r.Quarantined) == issue.ListLimit {
			break
		}
	}
	chunks, err := s.Ledger.Chunks(ctx, id)
	if err != nil {
		return Report{}, err
	}
	r.ChunksTotal = len(chunks)
	for _, c := range chunks[:min(len(chunks), issue.ListLimit)] {
		r.Chunks = append(r.Chunks, ChunkReport{
			Chunk: c.Number, FirstOrgUnit: c.From + 1, LastOrgUnit: c.To, Values: c.Size, State: c.State, Attempts: c.Attempts,
			Accepted: c.Accepted, Refused: c.Refused, SentAt: c.SentAt, AnsweredAt: timeOrNil(c.AnsweredAt), Failure: c.Failure, Digest: c.Digest,
		})
	}
	return r, s.results(ctx, sub, &r)
}

// Summary is the report of a submission without its lists.
func (s *Submitter) Summary(sub ledger.Submission) Report {
	r := Report{
		ID: sub.ID, DataSet: sub.DataSet, Period: sub.Period.String(), CHT: sub.CHT, DHIS2: sub.DHIS2, Dialect: sub.Dialect,
		State: sub.State, DryRun: sub.DryRun, RequestedBy: sub.RequestedBy,
		CreatedAt: timeOrNil(sub.CreatedAt), EndedAt: timeOrNil(sub.EndedAt), WaitingFor: sub.WaitingFor, WaitingSince: timeOrNil(sub.WaitingSince),
		CancelledBy: sub.CancelledBy, Retries: sub.Retries, ThinnedAt: timeOrNil(sub.ThinnedAt),
		Reason: Reason(sub.Reason), Error: sub.Error, Remedy: sub.Remedy,
		Counts: sub.Counts, OrgUnits: orgUnitCounts(sub.OrgUnitStates), IssuesTotal: sub.IssuesTotal,
		Refused: []RefusedCell{}, Quarantined: []ledger.QuarantinedCell{}, Issues: []issue.Issue{}, Results: []OrgUnitResult{}, Rules: nonNil(factsOf(sub).Rules),
		Changes: factsOf(sub).Changes, Coverage: factsOf(sub).Coverage, Mode: sub.Mode, ApprovedBy: sub.ApprovedBy, Completeness: sub.Completeness,
	}
	for _, n := range sub.OrgUnitStates {
		r.ResultsTotal += n
	}
	if sub.State == ledger.Held { // what is held is what would be sent
		r.Counts.Held, r.Counts.Unsent = r.Counts.Held+r.Counts.Unsent, 0
		r.OrgUnits.Held, r.OrgUnits.Unsent = r.OrgUnits.Held+r.OrgUnits.Unsent, 0
	}
	if who, err := s.parties(sub.DataSet, sub.CHT); err == nil {
		r.Title = who.set.Title
	}
	return r
}

func factsOf(sub ledger.Submission) (f facts) {
	_ = json.Unmarshal(sub.Facts, &f) // what cannot be read is not told
	return f
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// ResultOf is what became of an org unit. While a submission is held, what is held is what would be sent.
func ResultOf(sub ledger.Submission, o ledger.OrgUnitOutcome) OrgUnitResult {
	r := OrgUnitResult{
		OrgUnit: o.OrgUnit, State: o.State, Dropped: o.Dropped, Quarantined: o.Quarantined, Unchanged: o.Unchanged, Held: o.Held,
		Accepted: o.Accepted, Refused: o.Refused, Unknown: o.Unknown, Unsent: o.Unsent, Reason: o.Reason,
		Changes: o.Changes, Was: o.Was, Becomes: o.Becomes,
	}
	if sub.State == ledger.Held && r.State == "unsent" {
		r.State, r.Held, r.Unsent = "held", r.Unsent, 0
	}
	if o.Workers != nil {
		r.Expected, r.Seen = &o.Workers.Expected, &o.Workers.Seen
	}
	return r
}

// results lists the org units. Where not all have room, those come first that somebody has to look at.
func (s *Submitter) results(ctx context.Context, sub ledger.Submission, r *Report) error {
	states := []string{""}
	if r.ResultsTotal > issue.ListLimit {
		states = []string{"unknown", "unsent", "refused", "partly_accepted", "held", "accepted", "unchanged", "dropped"}
	}
	for _, state := range states {
		after := ""
		for room := issue.ListLimit - len(r.Results); room > 0; room = issue.ListLimit - len(r.Results) {
			page, err := s.Ledger.OrgUnits(ctx, sub.ID, ledger.OrgUnitFilter{State: state, After: after, Limit: room})
			if err != nil {
				return err
			}
			for _, o := range page {
				after = o.OrgUnit
				r.Results = append(r.Results, ResultOf(sub, o))
			}
			if len(page) < room {
				break
			}
		}
	}
	slices.SortStableFunc(r.Results, func(a, b OrgUnitResult) int { return cmp.Compare(a.OrgUnit, b.OrgUnit) })
	return nil
}
