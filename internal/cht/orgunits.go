package cht

import (
	"context"
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

// OrgUnit is a DHIS2 org unit that a place of the CHT carries. Without a data set it is valid for all of them.
type OrgUnit struct {
	ID      string `json:"orgUnit"`
	DataSet string `json:"dataSet"`
}

// For says whether the org unit belongs to a data set.
func (o OrgUnit) For(dataSet string) bool { return o.DataSet == "" || o.DataSet == dataSet }

// OrgUnits reads which org units the places carry, and gives each of them to yield, as often as a place carries it. Nothing
// else of a place is kept. It costs the CHT no more than its list of these places, and needs an online user (view
// medic-admin/contacts_by_dhis_orgunit, CHT 3.9 and later).
func (c *Client) OrgUnits(ctx context.Context, yield func(OrgUnit)) error {
	const doing = "read the org units of the CHT's places"
	// A place may be a person, and all of it comes along.
	request, err := c.request(exchange.Private(ctx), "/medic/_design/medic-admin/_view/contacts_by_dhis_orgunit?include_docs=true")
	if err != nil {
		return err
	}
	response, body, err := c.caller.Stream(request, judge)
	if err != nil {
		return callError(doing, err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := answerError(doing, response, body); err != nil {
		return err
	}
	d := &decoder{Decoder: jsontext.NewDecoder(response.Body), texts: map[string]string{}}
	if err := d.orgUnits(yield); err != nil {
		return asked{doing: doing}.broken(err, d)
	}
	return nil
}

// orgUnits reads the rows of the view.
func (d *decoder) orgUnits(yield func(OrgUnit)) error {
	if err := d.open(jsontext.KindBeginObject, "the answer"); err != nil {
		return err
	}
	listed := false
	for d.PeekKind() != jsontext.KindEndObject {
		name, err := d.text()
		if err == nil && name == "rows" {
			listed, err = true, d.rows(yield)
		} else if err == nil {
			err = d.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	if !listed {
		return &unexpectedError{what: "the answer has no rows"}
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	return d.end()
}

func (d *decoder) rows(yield func(OrgUnit)) error {
	if err := d.open(jsontext.KindBeginArray, "rows"); err != nil {
		return err
	}
	for d.PeekKind() != jsontext.KindEndArray {
		raw, err := d.ReadValue()
		if err != nil {
			return err
		}
		d.values++
		var row struct {
			Key anyText `json:"key"`
			Doc struct {
				DHIS json.RawMessage `json:"dhis"`
			} `json:"doc"`
		}
		if json.Unmarshal(raw, &row) != nil || row.Key == "" { // nobody checks what stands on a place
			continue
		}
		for _, one := range orgUnitsOf(row.Doc.DHIS) {
			if one.ID == string(row.Key) {
				yield(one)
			}
		}
	}
	_, err := d.ReadToken()
	return err
}

// orgUnitsOf reads what a place says of DHIS2: one org unit, or a list of them.
func orgUnitsOf(raw json.RawMessage) []OrgUnit {
	var one OrgUnit
	var list []OrgUnit
	if json.Unmarshal(raw, &one) == nil {
		return []OrgUnit{one}
	}
	_ = json.Unmarshal(raw, &list) // what is neither is none
	return list
}
