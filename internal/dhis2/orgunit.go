package dhis2

import (
	"cmp"
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

// OrgUnits reads the org units that a data set is assigned to, page by page, and gives each of them to yield. Where the list
// changes while it is read, so that one could be missed, it is read from its beginning again and yield is given what it was given
// before once more; where it changes each time, the *Error is temporary.
func (c *Client) OrgUnits(ctx context.Context, dataSet string, yield func(OrgUnit)) error {
	return c.orgUnits(ctx, "read the org units of data set "+dataSet+" from DHIS2", dataSet, orgUnitFields, func(o namedOrgUnit) { yield(o.OrgUnit) })
}

// namedOrgUnit is an org unit with what it may be called.
type namedOrgUnit struct {
	OrgUnit
	Attributes attributeValues `json:"attributeValues"`
}

func (o namedOrgUnit) name(by IDScheme) string {
	return nameable{Code: o.Code, Attributes: o.Attributes}.name(by)
}

// orgUnits is OrgUnits with the fields that are asked for.
func (c *Client) orgUnits(ctx context.Context, doing, dataSet, fields string, yield func(namedOrgUnit)) error {
	query := "filter=dataSets.id:eq:" + url.QueryEscape(dataSet) + "&fields=" + fields + "&order=id:asc"
	for range maxTries {
		if whole, err := c.orgUnitPages(ctx, doing, query, yield); whole || err != nil {
			return err
		}
	}
	return &Error{
		Doing: doing, Kind: Unavailable, Temporary: true, What: fmt.Sprintf("the list changed each of the %d times that it was read, or DHIS2 counts it otherwise than it gives it", maxTries),
		Remedy: "wait until nobody changes the org units of the data set",
	}
}

// orgUnitPages reads a list once, and says whether it stayed as it was from the first page to the last.
func (c *Client) orgUnitPages(ctx context.Context, doing, query string, yield func(namedOrgUnit)) (whole bool, err error) {
	total, read, first := -1, 0, ""
	for page := 1; ; page++ {
		var answer struct {
			OrgUnits []namedOrgUnit `json:"organisationUnits"`
			Pager    struct {
				Total     *int `json:"total"`
				PageCount int  `json:"pageCount"`
			} `json:"pager"`
		}
		if err := c.get(ctx, doing, fmt.Sprintf("/api/organisationUnits?%s&pageSize=%d&page=%d", query, orgUnitPage, page), &answer); err != nil {
			return false, err
		}
		told := cmp.Or(answer.Pager.Total, &total)
		some := answer.OrgUnits
		if page > 1 && (*told != total || len(some) > 0 && some[0].ID == first) {
			return false, nil
		}
		total = *told
		for _, o := range some {
			yield(o)
		}
		read += len(some)
		switch {
		case read == total, total < 0 && page >= answer.Pager.PageCount && len(some) < orgUnitPage:
			return true, nil
		case len(some) == 0, total >= 0 && read > total:
			return false, nil
		}
		first = some[0].ID
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
