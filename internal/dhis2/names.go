package dhis2

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// IDScheme says by what another system calls an object: empty is by its id, else by its code or one of its attributes.
type IDScheme string

const byCode IDScheme = "code"

var byAttribute = regexp.MustCompile(`^attribute:[A-Za-z][A-Za-z0-9]{10}$`)

// ParseIDScheme reads uid, code, or attribute: and the id of an attribute.
func ParseIDScheme(text string) (IDScheme, error) {
	switch {
	case text == "" || text == "uid":
		return "", nil
	case text == string(byCode) || byAttribute.MatchString(text):
		return IDScheme(text), nil
	default:
		return "", fmt.Errorf("%q is none of uid, code, and attribute: with the 11 letters of an attribute's id", text)
	}
}

// field is where DHIS2 has the name.
func (s IDScheme) field() string {
	if s == byCode {
		return "code"
	}
	return "attributeValues[attribute[id],value]"
}

func (s IDScheme) String() string {
	if s == "" {
		return "id"
	}
	return strings.Replace(string(s), ":", " ", 1)
}

// IDSchemes say by what another system calls a data set and what is in it.
type IDSchemes struct {
	DataSet, DataElement, OrgUnit, CategoryOptionCombo IDScheme
}

// Names are what another system calls a data set and what is in it, where it does not use DHIS2's ids.
type Names struct {
	// DataSet is the set's own name; empty is its id.
	DataSet string
	// DataElements, OrgUnits and CategoryOptionCombos give the ids by name; nil is that they go by their ids. Of a name that
	// several have the id is empty. Attribute option combos are among the last.
	DataElements, OrgUnits, CategoryOptionCombos map[string]string
}

// nameable is an object with what it may be called.
type nameable struct {
	ID         string          `json:"id"`
	Code       string          `json:"code"`
	Attributes attributeValues `json:"attributeValues"`
}

type attributeValues []struct {
	Attribute struct {
		ID string `json:"id"`
	} `json:"attribute"`
	Value string `json:"value"`
}

func (n nameable) name(by IDScheme) string {
	if by == byCode {
		return n.Code
	}
	for _, a := range n.Attributes {
		if "attribute:"+a.Attribute.ID == string(by) {
			return a.Value
		}
	}
	return ""
}

// DataSetID finds the id of the data set that goes by a name. None, and several, are an *Error of kind Refused.
func (c *Client) DataSetID(ctx context.Context, by IDScheme, name string) (string, error) {
	if by == "" {
		return name, nil
	}
	doing := fmt.Sprintf("look for the data set with the %s %s in DHIS2", by, name)
	query := "fields=id," + by.field() + "&paging=false"
	if by == byCode { // which attributes can be filtered by differs between versions: up to 2.41 and from 2.42 on
		query = "filter=code:eq:" + url.QueryEscape(name) + "&" + query
	}
	var answer struct {
		Sets []nameable `json:"dataSets"`
	}
	if err := c.get(ctx, doing, "/api/dataSets?"+query, &answer); err != nil {
		return "", err
	}
	found := slices.DeleteFunc(answer.Sets, func(n nameable) bool { return n.name(by) != name })
	const remedy = "give the data set, and no other, this %s in DHIS2, and share it with the account; or correct the id in the configuration"
	switch len(found) {
	case 0:
		return "", &Error{Doing: doing, Kind: Refused, What: "there is none that the account may see", Remedy: fmt.Sprintf(remedy, by)}
	case 1:
		return found[0].ID, nil
	default:
		return "", &Error{Doing: doing, Kind: Refused, What: fmt.Sprintf("%d have it, %s and %s among them", len(found), found[0].ID, found[1].ID), Remedy: fmt.Sprintf(remedy, by)}
	}
}

// Names reads what another system calls what is in a data set: its data elements, their and its own option combos, and the org
// units that it is assigned to.
func (c *Client) Names(ctx context.Context, set *DataSet, by IDSchemes) (names Names, err error) {
	if names.DataElements, err = c.elementNames(ctx, set, by.DataElement); err != nil {
		return names, err
	}
	if names.CategoryOptionCombos, err = c.comboNames(ctx, set, by.CategoryOptionCombo); err != nil || by.OrgUnit == "" {
		return names, err
	}
	names.OrgUnits = map[string]string{}
	doing := fmt.Sprintf("read the %s of the org units of data set %s from DHIS2", by.OrgUnit, set.ID)
	err = c.orgUnits(ctx, doing, set.ID, "id,"+by.OrgUnit.field(), func(o namedOrgUnit) {
		call(names.OrgUnits, o.name(by.OrgUnit), o.ID)
	})
	return names, err
}

func (c *Client) elementNames(ctx context.Context, set *DataSet, by IDScheme) (map[string]string, error) {
	ids := map[string]string{}
	switch by {
	case "":
		return nil, nil
	case byCode:
		for id, e := range set.Elements {
			call(ids, e.Code, id)
		}
		return ids, nil
	}
	var answer struct {
		Elements []nameable `json:"dataElements"`
	}
	err := c.get(ctx, fmt.Sprintf("read the %s of the data elements of data set %s from DHIS2", by, set.ID),
		"/api/dataElements?filter=dataSetElements.dataSet.id:eq:"+url.QueryEscape(set.ID)+"&fields=id,"+by.field()+"&paging=false", &answer)
	for _, e := range answer.Elements {
		call(ids, e.name(by), e.ID)
	}
	return ids, err
}

func (c *Client) comboNames(ctx context.Context, set *DataSet, by IDScheme) (map[string]string, error) {
	if by == "" {
		return nil, nil
	}
	ids, combos := map[string]string{}, map[string]*CategoryCombo{set.Combo.ID: set.Combo}
	for _, e := range set.Elements {
		combos[e.Combo.ID] = e.Combo
	}
	if by == byCode {
		for _, combo := range combos {
			for id, o := range combo.Combos {
				call(ids, o.Code, id)
			}
		}
		return ids, nil
	}
	var asked []string
	for id := range combos {
		asked = append(asked, id)
	}
	slices.Sort(asked)
	for some := range slices.Chunk(asked, batch) {
		var answer struct {
			Combos []nameable `json:"categoryOptionCombos"`
		}
		if err := c.get(ctx, fmt.Sprintf("read the %s of the option combos of data set %s from DHIS2", by, set.ID),
			"/api/categoryOptionCombos?filter=categoryCombo.id:in:["+strings.Join(some, ",")+"]&fields=id,"+by.field()+"&paging=false", &answer); err != nil {
			return nil, err
		}
		for _, o := range answer.Combos {
			call(ids, o.name(by), o.ID)
		}
	}
	return ids, nil
}

// call notes what an object is called.
func call(ids map[string]string, name, id string) {
	if name == "" {
		return
	}
	if known, taken := ids[name]; taken && known != id {
		id = ""
	}
	ids[name] = id
}
