package handlers

import (
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
