package handlers

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

// coverageList is who has synced for a period of a source, in numbers, and a page of the org units.
type coverageList struct {
	DataSet string `json:"data_set"`
	Period  string `json:"period"`
	CHT     string `json:"cht"`
	DHIS2   string `json:"dhis2"`
	// ReadAt is when the CHT was read.
	ReadAt time.Time `json:"read_at"`

	ledger.CoverageTotals

	OrgUnits []ledger.OrgUnitCoverage `json:"org_units"`
	Next     string                   `json:"next,omitempty"`
}

// coverage tells how many of the expected workers have synced, as it was found last. It says nothing of who.
func (d *door) coverage(c *gin.Context) {
	query, err := readQuery(c, "", "data_set", "period", "cht", "limit", "after")
	if err != nil {
		_ = c.Error(err)
		return
	}
	limit, err := limitOf(query)
	after := query.Get("after")
	query.Del("limit")
	query.Del("after")
	var request orchestration.Request
	if err == nil {
		request, err = d.planned(c, query)
	}
	var found ledger.Coverage
	if err == nil {
		found, err = d.Submitter.Coverage(c.Request.Context(), request)
	}
	if errors.Is(err, ledger.ErrNotFound) {
		err = &problem{status: http.StatusNotFound, failure: failure{
			Error: "nothing is known of who has synced for this data set, period and source", Remedy: "it is found when the period is submitted, with coverage: on for the data set", Code: "not_found",
		}}
	}
	if err != nil {
		_ = c.Error(err)
		return
	}
	list := coverageList{
		DataSet: found.Key.DataSet, Period: found.Key.Period.String(), CHT: found.Key.CHT, DHIS2: found.Key.DHIS2, ReadAt: found.ReadAt.UTC(),
		CoverageTotals: found.Totals, OrgUnits: []ledger.OrgUnitCoverage{},
	}
	from, _ := slices.BinarySearchFunc(found.Units, after, func(u ledger.OrgUnitCoverage, id string) int {
		if u.OrgUnit <= id {
			return -1
		}
		return 1
	})
	to := min(from+limit, len(found.Units))
	list.OrgUnits = append(list.OrgUnits, found.Units[from:to]...)
	if to < len(found.Units) {
		list.Next = found.Units[to-1].OrgUnit
	}
	tell(c, "period", list.Period)
	c.JSON(http.StatusOK, list)
}

// The reasons not to tell who has not synced.
var (
	mayNotSee  = &problem{status: http.StatusForbidden, failure: failure{Error: "this caller may not see the names of workers", Remedy: "set may_see_workers of the caller, where those who use it may", Code: "forbidden"}}
	notThrough = &problem{status: http.StatusForbidden, failure: failure{Error: "names of workers are not told through OpenHIM, which keeps every answer", Remedy: "call the mediator directly", Code: "forbidden"}}
)

// workers tells by name who has not synced, as the CHT has it now. Nothing of it is kept, by us or on the way.
func (d *door) workers(c *gin.Context) {
	switch {
	case isThroughOpenHIM(c.Request):
		_ = c.Error(notThrough)
		return
	case !c.GetBool(workersKey):
		_ = c.Error(mayNotSee)
		return
	}
	query, err := readQuery(c, "", "data_set", "period", "cht")
	var request orchestration.Request
	if err == nil {
		request, err = d.planned(c, query)
	}
	if err != nil {
		_ = c.Error(err)
		return
	}
	ctx, done, err := d.turn(c)
	if err != nil {
		_ = c.Error(err)
		return
	}
	defer done()
	found, err := d.Submitter.Workers(ctx, request)
	if err != nil {
		_ = c.Error(unread(err))
		return
	}
	d.Log.WithField("caller", c.GetString(callerKey)).WithField("data_set", found.DataSet).WithField("period", found.Period).WithField("cht", found.CHT).Info("a caller was told who has not synced")
	c.JSON(http.StatusOK, found)
}

// isThroughOpenHIM says that a request has a header of OpenHIM's, whatever is in it.
func isThroughOpenHIM(r *http.Request) bool {
	for _, name := range [...]string{transactionHeader, clientHeader, parentHeader, pollingHeader} {
		if _, has := r.Header[name]; has {
			return true
		}
	}
	return false
}

// unread is why a server could not be read for an answer.
func unread(err error) error {
	if errors.As(err, new(*orchestration.UsageError)) || errors.Is(err, context.Canceled) {
		return err
	}
	what, remedy := orchestration.Explain(err)
	p := &problem{status: http.StatusBadGateway, failure: failure{Error: what, Remedy: remedy, Code: string(orchestration.ReasonOf(err))}}
	switch orchestration.ReasonOf(err) {
	case orchestration.CHTUnavailable, orchestration.DHIS2Unavailable:
		p.status, p.retryAfter, p.Code = http.StatusServiceUnavailable, time.Minute, "unavailable"
	case orchestration.Credentials, orchestration.Configuration:
	default:
		return err
	}
	return p
}
