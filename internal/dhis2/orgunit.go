package dhis2

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// OrgUnit is a place in the hierarchy; Path holds the ids from the root down to its own, each after a slash.
type OrgUnit struct {
	ID   string `json:"id"`
	Code string `json:"code"`
	Name string `json:"name"`
	Path string `json:"path"`
	// Opens and Closes are its first and last day, as DHIS2 writes them; empty is no limit.
	Opens  string `json:"openingDate"`
	Closes string `json:"closedDate"`
}

const (
	orgUnitFields = "id,code,name,path,openingDate,closedDate"
	orgUnitPage   = 1000
	// batch is how many ids go into one address: proxies take one of 4 to 8 KB.
	batch = 200
)

// OrgUnits reads the org units that a data set is assigned to, page by page, and gives each of them to yield.
func (c *Client) OrgUnits(ctx context.Context, dataSet string, yield func(OrgUnit)) error {
	for page := 1; ; page++ {
		var answer struct {
			OrgUnits []OrgUnit `json:"organisationUnits"`
			Pager    struct {
				PageCount int `json:"pageCount"`
			} `json:"pager"`
		}
		path := fmt.Sprintf("/api/organisationUnits?filter=dataSets.id:eq:%s&fields="+orgUnitFields+"&order=id:asc&pageSize=%d&page=%d", url.QueryEscape(dataSet), orgUnitPage, page)
		if err := c.get(ctx, "read the org units of data set "+dataSet+" from DHIS2", path, &answer); err != nil {
			return err
		}
		for _, o := range answer.OrgUnits {
			yield(o)
		}
		if len(answer.OrgUnits) == 0 || page >= answer.Pager.PageCount {
			return nil
		}
	}
}

// OrgUnitsByID reads the org units with these ids, and gives each that there is to yield, once.
func (c *Client) OrgUnitsByID(ctx context.Context, ids []string, yield func(OrgUnit)) error {
	wanted := map[string]bool{}
	for _, id := range ids {
		if inList.MatchString(id) {
			wanted[id] = true
		}
	}
	asked := make([]string, 0, len(wanted))
	for _, id := range ids {
		if wanted[id] {
			delete(wanted, id)
			asked = append(asked, id)
		}
	}
	for some := range slices.Chunk(asked, batch) {
		var answer struct {
			OrgUnits []OrgUnit `json:"organisationUnits"`
		}
		path := "/api/organisationUnits?filter=id:in:[" + strings.Join(some, ",") + "]&fields=" + orgUnitFields + "&paging=false"
		if err := c.get(ctx, "read org units by their ids from DHIS2", path, &answer); err != nil {
			return err
		}
		for _, o := range answer.OrgUnits {
			if slices.Contains(some, o.ID) {
				yield(o)
			}
		}
	}
	return nil
}

// inList is what an id can be: anything else would break the list that it is asked for in, and is the id of nothing.
var inList = regexp.MustCompile(`^[A-Za-z0-9]+$`)
