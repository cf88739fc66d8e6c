package handlers

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/cht-dhis2/mediator/internal/ledger"
)

// quarantineList is a page of cells that stay behind: those of whole org units.
type quarantineList struct {
	Cells []ledger.QuarantinedCell `json:"cells"`
	Next  string                   `json:"next,omitempty"`
}

// quarantine lists the cells of a submission that stay behind, org unit by org unit.
func (d *door) quarantine(c *gin.Context) {
	query, err := readQuery(c, "", "limit", "after")
	if err != nil {
		_ = c.Error(err)
		return
	}
	limit, err := limitOf(query)
	if err != nil {
		_ = c.Error(err)
		return
	}
	ctx, id := c.Request.Context(), c.Param("id")
	if _, err := d.Submitter.Ledger.Submission(ctx, id); err != nil {
		_ = c.Error(err)
		return
	}
	list, last := quarantineList{Cells: []ledger.QuarantinedCell{}}, ""
	for cells, err := range d.Submitter.Ledger.Quarantine(ctx, id, query.Get("after")) {
		if err != nil {
			_ = c.Error(err)
			return
		}
		if len(list.Cells) >= limit { // there is another page
			list.Next = last
			break
		}
		list.Cells = append(list.Cells, cells...)
		last = cells[0].OrgUnit
	}
	c.JSON(http.StatusOK, list)
}
