package orchestration

import (
	"cmp"
	"maps"
	"slices"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// State is where a submission stands, or how it ended.
type State string

// The states.
const (
	// Ready is a submission that is prepared and not sent: what a preview shows.
	Ready          State = "ready"
	Accepted       State = "accepted"
	Unchanged      State = "unchanged"
	PartlyAccepted State = "partly_accepted"
	Refused        State = "refused"
	Failed         State = "failed"
	Cancelled      State = "cancelled"
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

// Counts are of cells as they come out of the transform. Each fetched cell is in exactly one of the others.
type Counts struct {
	Fetched     int `json:"fetched"`
	Dropped     int `json:"dropped"`
	Quarantined int `json:"quarantined"`
	Unchanged   int `json:"unchanged"`
	Held        int `json:"held"`
	Accepted    int `json:"accepted"`
	Refused     int `json:"refused"`
	// Unknown: nobody can say whether DHIS2 holds it.
	Unknown int `json:"unknown"`
	// Unsent: not tried, or known not to have been taken in.
	Unsent int `json:"unsent"`
}

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
	Accepted    int    `json:"accepted,omitempty"`
	Refused     int    `json:"refused,omitempty"`
	Unknown     int    `json:"unknown,omitempty"`
	Unsent      int    `json:"unsent,omitempty"`
	// Reason is DHIS2's word, or ours, on the first cell that did not arrive.
	Reason string `json:"reason,omitempty"`
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
	ID          string `json:"id"`
	DataSet     string `json:"data_set"`
	Title       string `json:"title,omitempty"`
	Period      string `json:"period"`
	CHT         string `json:"cht"`
	DHIS2       string `json:"dhis2"`
	Dialect     string `json:"dialect"`
	State       State  `json:"state"`
	DryRun      bool   `json:"dry_run,omitempty"`
	RequestedBy string `json:"requested_by"`

	// Reason is empty where everything was accepted. Error and Remedy tell what ended the submission early.
	Reason Reason `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	Remedy string `json:"remedy,omitempty"`

	Counts   Counts        `json:"counts"`
	OrgUnits OrgUnitCounts `json:"org_units"`
	// The lists hold the first issue.ListLimit entries; the totals say how many there are.
	Refused      []RefusedCell   `json:"refused"`
	RefusedTotal int             `json:"refused_total"`
	Issues       []issue.Issue   `json:"issues"`
	IssuesTotal  int             `json:"issues_total"`
	Results      []OrgUnitResult `json:"results"`
	ResultsTotal int             `json:"results_total"`
	// Rules are those in force, in the order in which they are applied.
	Rules []RuleUse `json:"rules"`
}

// RuleUse is a rule of the data set, what it is set to, and how many values it touched.
type RuleUse struct {
	Rule    string `json:"rule"`
	Setting string `json:"setting"`
	Values  int    `json:"values"`
}

// tally gathers a report while a submission goes on. Everything in it is bounded but the org units.
type tally struct {
	report   Report
	issues   issue.List
	orgUnits map[string]*OrgUnitResult
	// last is the org unit that was looked up last; cells of one org unit come together.
	last *OrgUnitResult
	// notKept counts the accepted values that DHIS2 dropped without counting them.
	notKept int
	uses    mapping.Uses
	failure *failure
}

// failure ended a submission early.
type failure struct {
	reason       Reason
	state        State
	text, remedy string
}

func newTally(r Report) *tally { return &tally{report: r, orgUnits: map[string]*OrgUnitResult{}} }

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

// outcome takes in what became of a chunk.
func (t *tally) outcome(c dhis2.Chunk, o dhis2.Outcome) {
	refused := map[int]bool{}
	for _, r := range o.Refused {
		refused[r.Index] = true
		t.refuse(c.AttributeOptionCombo, r)
	}
	t.notKept += o.NotKept
	for i, v := range c.Values {
		if !refused[i] {
			t.count(v.OrgUnit, o)
		}
	}
}

func (t *tally) refuse(attributeOptionCombo string, r dhis2.Refusal) {
	t.report.Counts.Refused++
	result := t.orgUnit(r.OrgUnit)
	result.Refused++
	result.because(r.Code + ": " + r.Reason)
	t.report.RefusedTotal++
	if len(t.report.Refused) < issue.ListLimit {
		t.report.Refused = append(t.report.Refused, RefusedCell{
			OrgUnit: r.OrgUnit, DataElement: r.DataElement, CategoryOptionCombo: r.CategoryOptionCombo, AttributeOptionCombo: attributeOptionCombo,
			Value: r.Value, Code: r.Code, Class: string(r.Class), Reason: r.Reason, Remedy: r.Remedy,
		})
	}
}

// count books one cell that was not refused.
func (t *tally) count(orgUnit string, o dhis2.Outcome) {
	result := t.orgUnit(orgUnit)
	switch o.State {
	case dhis2.Unknown:
		t.report.Counts.Unknown++
		result.Unknown++
	case dhis2.Unsent:
		t.report.Counts.Unsent++
		result.Unsent++
	default:
		t.report.Counts.Accepted++
		result.Accepted++
		return
	}
	if o.Failure != nil {
		result.because(o.Failure.Error())
	}
}

// fail keeps the gravest failure, and the first of those.
func (t *tally) fail(f failure) {
	if t.failure == nil || gravity(f.reason) > gravity(t.failure.reason) {
		t.failure = &f
	}
}

// gravity orders the reasons as their exit codes do.
func gravity(r Reason) int {
	return slices.Index([]Reason{"", LeftBehind, NothingAccepted, CHTUnavailable, DHIS2Unavailable, Credentials, Configuration, Fault, Stopped}, r)
}

// finish makes the report whole.
func (t *tally) finish() Report {
	r := &t.report
	r.Issues, r.IssuesTotal = t.issues.Items(), t.issues.Total()
	r.Refused = nonNil(r.Refused)
	r.Issues = nonNil(r.Issues)
	r.OrgUnits, r.Results = OrgUnitCounts{}, []OrgUnitResult{}
	r.ResultsTotal = len(t.orgUnits)
	ids := slices.Sorted(maps.Keys(t.orgUnits))
	for _, id := range ids {
		t.orgUnits[id].State = r.OrgUnits.add(*t.orgUnits[id])
	}
	// Where the list does not hold all, it holds those that somebody has to look at.
	if len(ids) > issue.ListLimit {
		slices.SortStableFunc(ids, func(a, b string) int { return cmp.Compare(t.orgUnits[a].fine(), t.orgUnits[b].fine()) })
		ids = ids[:issue.ListLimit]
	}
	for _, id := range ids {
		r.Results = append(r.Results, *t.orgUnits[id])
	}
	t.conclude()
	return *r
}

// fine is 1 for an org unit that nobody has to look at, else 0.
func (r *OrgUnitResult) fine() int {
	if r.State == string(Accepted) || r.State == "dropped" {
		return 1
	}
	return 0
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

// add finds the state of an org unit, counts it, and gives its name.
func (c *OrgUnitCounts) add(r OrgUnitResult) string {
	behind := r.Quarantined + r.Refused
	switch {
	case r.Unknown > 0:
		c.Unknown++
		return string(dhis2.Unknown)
	case r.Unsent > 0 && r.Accepted+r.Refused == 0:
		c.Unsent++
		return string(dhis2.Unsent)
	case r.Accepted > 0 && behind+r.Unsent > 0:
		c.PartlyAccepted++
		return string(PartlyAccepted)
	case r.Accepted > 0:
		c.Accepted++
		return string(Accepted)
	case behind > 0:
		c.Refused++
		return string(Refused)
	default:
		c.Dropped++
		return "dropped"
	}
}

// conclude finds the state at the end. What ended the submission early weighs most, then what stayed behind.
func (t *tally) conclude() {
	r := &t.report
	if r.State == Ready && t.failure == nil {
		if r.Counts.Quarantined > 0 {
			r.Reason = LeftBehind
		}
		return
	}
	if t.failure != nil {
		r.State, r.Reason, r.Error, r.Remedy = t.failure.state, t.failure.reason, t.failure.text, t.failure.remedy
		if r.State == Refused && r.Counts.Accepted > 0 {
			r.State, r.Reason = PartlyAccepted, LeftBehind
		}
		return
	}
	behind := r.Counts.Refused + r.Counts.Quarantined
	switch {
	case r.Counts.Accepted > 0 && behind > 0:
		r.State, r.Reason = PartlyAccepted, LeftBehind
	case behind > 0:
		r.State, r.Reason = Refused, NothingAccepted
	case r.Counts.Accepted == 0:
		r.State = Unchanged
	default:
		r.State = Accepted
	}
}
