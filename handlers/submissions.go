package handlers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/orchestration"
)

// summary is a submission without its lists.
type summary struct {
	ID          string       `json:"id"`
	DataSet     string       `json:"data_set"`
	Title       string       `json:"title,omitempty"`
	Period      string       `json:"period"`
	CHT         string       `json:"cht"`
	DHIS2       string       `json:"dhis2"`
	Dialect     string       `json:"dialect,omitempty"`
	State       ledger.State `json:"state"`
	DryRun      bool         `json:"dry_run,omitempty"`
	RequestedBy string       `json:"requested_by"`
	// Joined says that the submission was under way already when it was asked for.
	Joined       bool                 `json:"joined,omitempty"`
	CreatedAt    *time.Time           `json:"created_at,omitempty"`
	EndedAt      *time.Time           `json:"ended_at,omitempty"`
	WaitingFor   string               `json:"waiting_for,omitempty"`
	WaitingSince *time.Time           `json:"waiting_since,omitempty"`
	CancelledBy  string               `json:"cancelled_by,omitempty"`
	Retries      int                  `json:"retries,omitempty"`
	Mode         ledger.Mode          `json:"mode,omitempty"`
	ApprovedBy   string               `json:"approved_by,omitempty"`
	ThinnedAt    *time.Time           `json:"thinned_at,omitempty"`
	Reason       orchestration.Reason `json:"reason,omitempty"`
	Error        string               `json:"error,omitempty"`
	Remedy       string               `json:"remedy,omitempty"`
	Counts       ledger.Counts        `json:"counts"`
	// OrgUnits is there when the submission has ended.
	OrgUnits    *orchestration.OrgUnitCounts `json:"org_units,omitempty"`
	IssuesTotal int                          `json:"issues_total"`
	// Changes is left out where nothing was accepted before.
	Changes *orchestration.Changes `json:"changes,omitempty"`
	// Completeness is left out where org units were not registered as complete.
	Completeness *ledger.Completeness `json:"completeness,omitempty"`
	// Coverage is left out where it is not known who has synced.
	Coverage *ledger.CoverageTotals `json:"coverage,omitempty"`
}

func (d *door) summaryOf(sub ledger.Submission) summary {
	r := d.Submitter.Summary(sub)
	s := summary{
		ID: r.ID, DataSet: r.DataSet, Title: r.Title, Period: r.Period, CHT: r.CHT, DHIS2: r.DHIS2, Dialect: r.Dialect, State: r.State,
		DryRun: r.DryRun, RequestedBy: r.RequestedBy, CreatedAt: r.CreatedAt, EndedAt: r.EndedAt, WaitingFor: r.WaitingFor,
		WaitingSince: r.WaitingSince, CancelledBy: r.CancelledBy, Retries: r.Retries, ThinnedAt: r.ThinnedAt, Reason: r.Reason, Error: r.Error,
		Remedy: r.Remedy, Counts: r.Counts, IssuesTotal: r.IssuesTotal, Mode: r.Mode, ApprovedBy: r.ApprovedBy, Changes: r.Changes,
		Completeness: r.Completeness, Coverage: r.Coverage,
	}
	if sub.State.Ended() {
		s.OrgUnits = &r.OrgUnits
	}
	return s
}

func (d *door) summariesOf(subs []ledger.Submission) []summary {
	summaries := []summary{}
	for _, sub := range subs {
		summaries = append(summaries, d.summaryOf(sub))
	}
	return summaries
}

// beginLimit is how long it may take to begin submissions. A CHT may have to be asked which month closed last.
const beginLimit = 1500 * time.Millisecond

// submit begins what is asked for: a submission for each period and each source. Nothing begins where a part of the
// request can mean nothing.
func (d *door) submit(c *gin.Context) {
	requests, err := d.requests(c)
	if err != nil {
		_ = c.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), beginLimit)
	defer cancel()
	taken, err := d.begin(ctx, requests)
	if err != nil {
		_ = c.Error(&partly{taken, err})
		return
	}
	status := http.StatusAccepted
	waitsForResult(c)
	if len(taken) > 1 {
		tell(c, "submissions", strconv.Itoa(len(taken)))
		c.JSON(status, submissionList{Submissions: taken})
		return
	}
	tellSubmission(c, taken[0])
	c.Header("Location", Base+"/submissions/"+taken[0].ID)
	c.JSON(status, taken[0])
}

// requests reads the body of a request for submissions: the oldest period first.
func (d *door) requests(c *gin.Context) ([]orchestration.Request, error) {
	if _, err := readQuery(c, ""); err != nil { // a period that stands there would be overlooked
		return nil, err
	}
	body, err := readBody(c)
	if err != nil {
		return nil, err
	}
	chosen, err := decodeSelection(body)
	if err != nil {
		return nil, err
	}
	sources, err := chosen.configured(d)
	if err != nil {
		return nil, err
	}
	periods, err := orchestration.Periods(chosen.period)
	if err != nil {
		return nil, err
	}
	tell(c, "data_set", chosen.dataSet)
	tell(c, "period", chosen.period)
	asked := orchestration.Request{
		DataSet: chosen.dataSet, OrgUnits: chosen.orgUnits, DryRun: chosen.dryRun,
		RequestedBy: requester(c), Transaction: transactionOf(c), Parent: parentOf(c),
	}
	if chosen.full {
		asked.Mode = ledger.ModeFull
	}
	var requests []orchestration.Request
	for _, asked.Period = range periods {
		for _, asked.CHT = range sources {
			requests = append(requests, asked)
		}
	}
	return requests, nil
}

// begin begins submissions, and gives those that it began or joined before an error.
func (d *door) begin(ctx context.Context, requests []orchestration.Request) (taken []summary, err error) {
	for _, request := range requests {
		sub, began, err := d.Submitter.Begin(ctx, request, nil)
		if err != nil {
			return taken, err
		}
		s := d.summaryOf(sub)
		s.Joined = !began
		taken = append(taken, s)
	}
	return taken, nil
}

// submissionList is a page of submissions. Next is what to give as after for the page that follows; it is empty at the end.
type submissionList struct {
	Submissions []summary `json:"submissions"`
	Next        string    `json:"next,omitempty"`
}

// states are those that a submission may be in.
var states = []string{
	string(ledger.Queued), string(ledger.Preparing), string(ledger.Held), string(ledger.Ready), string(ledger.Sending), string(ledger.Completing),
	string(ledger.Accepted), string(ledger.Unchanged), string(ledger.PartlyAccepted), string(ledger.Refused), string(ledger.Failed), string(ledger.Cancelled),
}

// submissions lists, the newest first.
func (d *door) submissions(c *gin.Context) {
	filter, err := d.filter(c)
	if err != nil {
		_ = c.Error(err)
		return
	}
	subs, err := d.Submitter.Ledger.Submissions(c.Request.Context(), filter)
	if err != nil {
		_ = c.Error(err)
		return
	}
	list := submissionList{Submissions: d.summariesOf(subs)}
	if len(subs) == filter.Limit {
		list.Next = subs[len(subs)-1].ID
	}
	c.JSON(http.StatusOK, list)
}

func (d *door) filter(c *gin.Context) (f ledger.Filter, err error) {
	query, err := readQuery(c, "state", "data_set", "cht", "dhis2", "period", "limit", "after")
	if err != nil {
		return f, err
	}
	f.DataSet, f.CHT, f.DHIS2, f.After = query.Get("data_set"), query.Get("cht"), query.Get("dhis2"), query.Get("after")
	if period := query.Get("period"); period != "" {
		if err := f.Period.UnmarshalText([]byte(period)); err != nil {
			return f, bad("period: "+err.Error(), "give a month such as 202610, a quarter such as 2026Q4 or a year such as 2026")
		}
	}
	for _, state := range query["state"] {
		if !slices.Contains(states, state) {
			return f, unknown("state", state, states)
		}
		f.States = append(f.States, ledger.State(state))
	}
	if f.Limit, err = limitOf(query); err != nil || f.After == "" {
		return f, err
	}
	if _, err := d.Submitter.Ledger.Submission(c.Request.Context(), f.After); err != nil {
		return f, fmt.Errorf("find where the page begins: %w", err)
	}
	return f, nil
}

// submission tells all of one submission.
func (d *door) submission(c *gin.Context) {
	if _, err := readQuery(c, ""); err != nil {
		_ = c.Error(err)
		return
	}
	report, err := d.Submitter.Report(c.Request.Context(), c.Param("id"))
	if err != nil {
		_ = c.Error(err)
		return
	}
	tellSubmission(c, summary{ID: report.ID, DataSet: report.DataSet, Period: report.Period, CHT: report.CHT})
	c.JSON(http.StatusOK, report)
}

// orgUnitList is a page of org units.
type orgUnitList struct {
	OrgUnits []orchestration.OrgUnitResult `json:"org_units"`
	Next     string                        `json:"next,omitempty"`
}

// orgUnitStates are those that an org unit may be in.
var orgUnitStates = []string{"accepted", "partly_accepted", "refused", "unknown", "unsent", "held", "unchanged", "dropped"}

// orgUnits lists the org units of a submission, by their ids.
func (d *door) orgUnits(c *gin.Context) {
	filter, err := orgUnitFilter(c)
	if err != nil {
		_ = c.Error(err)
		return
	}
	ctx, id := c.Request.Context(), c.Param("id")
	sub, err := d.Submitter.Ledger.Submission(ctx, id)
	if err != nil {
		_ = c.Error(err)
		return
	}
	if sub.State == ledger.Held && filter.State == "held" {
		filter.Or = "unsent" // as orchestration.ResultOf has it
	}
	outcomes, err := d.Submitter.Ledger.OrgUnits(ctx, id, filter)
	if err != nil {
		_ = c.Error(err)
		return
	}
	list := orgUnitList{OrgUnits: []orchestration.OrgUnitResult{}}
	for _, o := range outcomes {
		list.OrgUnits = append(list.OrgUnits, orchestration.ResultOf(sub, o))
	}
	if len(outcomes) == filter.Limit {
		list.Next = outcomes[len(outcomes)-1].OrgUnit
	}
	c.JSON(http.StatusOK, list)
}

func orgUnitFilter(c *gin.Context) (f ledger.OrgUnitFilter, err error) {
	query, err := readQuery(c, "", "state", "limit", "after")
	if err != nil {
		return f, err
	}
	f.State, f.After = query.Get("state"), query.Get("after")
	if f.State != "" && !slices.Contains(orgUnitStates, f.State) {
		return f, unknown("state", f.State, orgUnitStates)
	}
	f.Limit, err = limitOf(query)
	return f, err
}

// act does something to one submission, and tells how it stands then.
func (d *door) act(action func(s *orchestration.Submitter, ctx context.Context, id, by string) error) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := noContent(c); err != nil {
			_ = c.Error(err)
			return
		}
		ctx, id := c.Request.Context(), c.Param("id")
		err := action(d.Submitter, ctx, id, requester(c))
		var sub ledger.Submission
		if err == nil {
			sub, err = d.Submitter.Ledger.Submission(ctx, id)
		}
		if err != nil {
			_ = c.Error(err)
			return
		}
		s := d.summaryOf(sub)
		tellSubmission(c, s)
		c.JSON(http.StatusOK, s)
	}
}

// noContent refuses a query or a body that says something, where nothing can be said.
func noContent(c *gin.Context) error {
	if _, err := readQuery(c, ""); err != nil {
		return err
	}
	body := bufio.NewReader(c.Request.Body)
	if _, err := body.Peek(1); errors.Is(err, io.EOF) { // whatever its headers announce
		return nil
	}
	c.Request.Body = io.NopCloser(body)
	text, err := readBody(c)
	if err != nil {
		return err
	}
	return decodeObject(text)
}

// pollLimit is how long a poll may take. OpenHIM waits for a minute.
const pollLimit = 8 * time.Second

// poll submits whatever is due. OpenHIM's polling channels can do nothing but GET.
func (d *door) poll(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), pollLimit)
	defer cancel()
	subs, err := d.Poll(ctx, requester(c))
	if err != nil {
		_ = c.Error(&partly{d.summariesOf(subs), err})
		return
	}
	tell(c, "submissions", strconv.Itoa(len(subs)))
	c.JSON(http.StatusOK, polled{d.summariesOf(subs)})
}

type polled struct {
	Submitted []summary `json:"submitted"`
}

func (d *door) schedule(c *gin.Context) {
	if _, err := readQuery(c, ""); err != nil {
		_ = c.Error(err)
		return
	}
	schedule, err := d.Schedule(c.Request.Context())
	if err != nil {
		_ = c.Error(err)
		return
	}
	c.JSON(http.StatusOK, schedule)
}

// tellSubmission lets OpenHIM find a transaction by what it was about.
func tellSubmission(c *gin.Context, s summary) {
	tell(c, "data_set", s.DataSet)
	tell(c, "period", s.Period)
	tell(c, "source", s.CHT)
	tell(c, "submission", s.ID)
}

// waitsForResult says that the transaction is finished later, with the submission's result.
func waitsForResult(c *gin.Context) {
	if e, ok := c.Writer.(*envelope); ok {
		e.status = openhim.Processing
	}
}
