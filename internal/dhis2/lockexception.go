package dhis2

import (
	"context"
	"fmt"
	"net/url"
)

// LockExceptions gives the org units for which an expired period of a data set is open all the same.
//
// DHIS2 shows them to every account. Where something before it does not, the *Error says so, and nobody knows of an exception.
func (c *Client) LockExceptions(ctx context.Context, dataSet string, period Period) (map[string]bool, error) {
	var answer struct {
		Exceptions []struct {
			OrgUnit struct {
				ID string `json:"id"`
			} `json:"organisationUnit"`
			DataSet struct {
				ID string `json:"id"`
			} `json:"dataSet"`
			Period struct {
				ID string `json:"id"`
			} `json:"period"`
		} `json:"lockExceptions"`
	}
	// All at once: DHIS2 gives a filtered list in another order each time, so that pages would lose some.
	path := fmt.Sprintf("/api/lockExceptions?filter=dataSet.id:eq:%s&filter=period:eq:%s&fields=organisationUnit[id],dataSet[id],period[id]&paging=false", url.QueryEscape(dataSet), url.QueryEscape(period.String()))
	if err := c.get(ctx, fmt.Sprintf("read the lock exceptions of %s for data set %s from DHIS2", period, dataSet), path, &answer); err != nil {
		return nil, err
	}
	open := map[string]bool{}
	for _, e := range answer.Exceptions {
		if e.DataSet.ID == dataSet && e.Period.ID == period.String() && e.OrgUnit.ID != "" {
			open[e.OrgUnit.ID] = true
		}
	}
	return open, nil
}
