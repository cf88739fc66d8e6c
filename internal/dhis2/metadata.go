package dhis2

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// DataSet is a data set as DHIS2 has it: what decides whether a value of it is taken, the org units left out.
type DataSet struct {
	ID, Code, Name string
	PeriodType     PeriodType
	// CanRead and CanWrite say whether the account may read and write data of the set.
	CanRead, CanWrite bool
	// ExpiryDays is how many days after its end a period is locked; 0 is never.
	ExpiryDays int
	// OpenFuturePeriods is how many periods after the last finished one are open.
	OpenFuturePeriods int
	// InputPeriods are the periods that may be entered, and when; empty is any.
	InputPeriods []InputPeriod
	// Workflow is the id of the approval workflow, empty where there is none.
	Workflow string
	// NoValueRequiresComment and CompulsoryOnly are the rules of the form.
	NoValueRequiresComment, CompulsoryOnly bool
	// Elements are the data elements of the set, by id.
	Elements map[string]*Element
	// Combo is the set's own category combo, whose combos are attribute option combos.
	Combo *CategoryCombo
	// DefaultCombo is the id of the default attribute option combo where the set uses it, else empty.
	DefaultCombo string
	// AttributeOptionCombos are the combos of a set that has categories of its own, empty where it uses the default.
	AttributeOptionCombos []string
	// NoZeros are the data elements of which a server up to 2.42 keeps no zero: zero is not significant, and they are not
	// averaged. Nil is none.
	NoZeros map[string]bool
	// Names are what the CHT calls the set and what is in it; the zero Names are that it uses the ids.
	Names Names
}

// InputPeriod says when a period may be entered. The dates are as DHIS2 writes them; empty is no limit.
type InputPeriod struct {
	Period, Opens, Closes string
}

// Element is a data element in a data set.
type Element struct {
	ID, Code, Name    string
	ValueType         string
	ZeroIsSignificant bool
	Aggregation       string
	// Options are the codes that the element takes, where it has an option set; nil takes any.
	Options map[string]bool
	// Combo is the category combo that counts: what the data set says, else the element's own. Elements share it.
	Combo *CategoryCombo
}

// CategoryCombo is a category combo with its combos.
type CategoryCombo struct {
	ID        string
	IsDefault bool
	// Combos are its category option combos by id.
	Combos map[string]*CategoryOptionCombo
}

// CategoryOptionCombo is one option of each category of a combo.
type CategoryOptionCombo struct {
	ID, Code, Name string
	// ReadOnly are the ids of the category options to which the account may not write data; nil is none. DHIS2 asks for no right
	// to the default option where its combo is left out, as we do: it is never among them.
	ReadOnly []string
}

// DataSet reads a data set. One that is unknown, or that the account may not read, which DHIS2 tells apart from no
// other, is an *Error of kind Refused.
func (c *Client) DataSet(ctx context.Context, id string) (DataSet, error) {
	const combos = "[id,isDefault,categoryOptionCombos[id,code,name,categoryOptions[id,access[data]]]]"
	path := "/api/dataSets/" + url.PathEscape(id) + "?fields=id,code,name,periodType,expiryDays,openFuturePeriods,noValueRequiresComment,compulsoryFieldsCompleteOnly,access[data]," +
		"workflow[id],dataInputPeriods[period[id],openingDate,closingDate],categoryCombo" + combos +
		",dataSetElements[dataElement[id,code,name,valueType,zeroIsSignificant,aggregationType,optionSet[options[code]],categoryCombo" + combos + "],categoryCombo" + combos + "]"
	doing := "read data set " + id + " from DHIS2"
	request, err := c.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return DataSet{}, err
	}
	response, body, err := c.caller.Stream(request, judgeRead)
	if failure := failureOf(response, body, err); failure != nil {
		failure.Doing = doing
		return DataSet{}, failure
	}
	defer func() { _ = response.Body.Close() }()
	r := setReader{Decoder: jsontext.NewDecoder(response.Body, jsontext.AllowDuplicateNames(true)), combos: map[string]*CategoryCombo{}}
	r.set.Elements = map[string]*Element{}
	if err := r.read(); err != nil {
		return DataSet{}, brokenOff(doing, fmt.Sprintf("after %d data elements", len(r.set.Elements)), err)
	}
	if r.set.ID == "" || r.set.PeriodType == "" {
		return DataSet{}, &Error{Doing: doing, Kind: Unusable, What: "the answer has no id and period type", Remedy: "check that the address is that of a DHIS2"}
	}
	return r.set, nil
}

// setReader reads a data set member by member. Most of the answer is the same category combos over and over, each of which is
// kept once.
type setReader struct {
	*jsontext.Decoder

	set    DataSet
	combos map[string]*CategoryCombo
}

func (r *setReader) read() error {
	set := &r.set
	var access struct {
		Data struct {
			Read  bool `json:"read"`
			Write bool `json:"write"`
		} `json:"data"`
	}
	var expiryDays float64
	var workflow struct {
		ID string `json:"id"`
	}
	var inputPeriods []struct {
		Period struct {
			ID string `json:"id"`
		} `json:"period"`
		Opens  string `json:"openingDate"`
		Closes string `json:"closingDate"`
	}
	var combo json.RawMessage
	into := map[string]any{
		"id": &set.ID, "code": &set.Code, "name": &set.Name, "periodType": &set.PeriodType, "expiryDays": &expiryDays, "openFuturePeriods": &set.OpenFuturePeriods,
		"noValueRequiresComment": &set.NoValueRequiresComment, "compulsoryFieldsCompleteOnly": &set.CompulsoryOnly,
		"access": &access, "workflow": &workflow, "dataInputPeriods": &inputPeriods, "categoryCombo": &combo,
	}
	if err := r.open(jsontext.KindBeginObject); err != nil {
		return err
	}
	for r.PeekKind() != jsontext.KindEndObject {
		var name string
		err := r.next(&name)
		switch place := into[name]; {
		case err != nil:
		case name == "dataSetElements":
			err = r.elements()
		case place != nil:
			err = r.next(place)
		default:
			err = r.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	if _, err := r.ReadToken(); err != nil {
		return err
	}
	set.CanRead, set.CanWrite, set.ExpiryDays, set.Workflow = access.Data.Read, access.Data.Write, int(expiryDays), workflow.ID
	for _, p := range inputPeriods {
		set.InputPeriods = append(set.InputPeriods, InputPeriod{Period: p.Period.ID, Opens: p.Opens, Closes: p.Closes})
	}
	if err := r.setCombo(combo); err != nil {
		return err
	}
	return end(r.Decoder)
}

// setCombo takes the set's own category combo.
func (r *setReader) setCombo(text json.RawMessage) (err error) {
	if r.set.Combo, err = r.combo(text); err != nil {
		return err
	}
	for id := range r.set.Combo.Combos {
		if r.set.Combo.IsDefault {
			r.set.DefaultCombo = id
			return nil
		}
		r.set.AttributeOptionCombos = append(r.set.AttributeOptionCombos, id)
	}
	slices.Sort(r.set.AttributeOptionCombos)
	return nil
}

func (r *setReader) elements() error {
	if err := r.open(jsontext.KindBeginArray); err != nil {
		return err
	}
	for r.PeekKind() != jsontext.KindEndArray {
		var member struct {
			Element struct {
				ID              string          `json:"id"`
				Code            string          `json:"code"`
				Name            string          `json:"name"`
				ValueType       string          `json:"valueType"`
				ZeroSignificant bool            `json:"zeroIsSignificant"`
				Aggregation     string          `json:"aggregationType"`
				Combo           json.RawMessage `json:"categoryCombo"`
				OptionSet       *struct {
					Options []struct {
						Code string `json:"code"`
					} `json:"options"`
				} `json:"optionSet"`
			} `json:"dataElement"`
			Combo json.RawMessage `json:"categoryCombo"`
		}
		if err := r.next(&member); err != nil {
			return err
		}
		e := member.Element
		if e.ID == "" {
			continue // one that the account may not read
		}
		if absent(member.Combo) {
			member.Combo = e.Combo
		}
		combo, err := r.combo(member.Combo)
		if err != nil {
			return err
		}
		element := &Element{ID: e.ID, Code: e.Code, Name: e.Name, ValueType: e.ValueType, ZeroIsSignificant: e.ZeroSignificant, Aggregation: e.Aggregation, Combo: combo}
		if e.OptionSet != nil {
			element.Options = map[string]bool{}
			for _, o := range e.OptionSet.Options {
				element.Options[o.Code] = true
			}
		}
		r.add(element)
	}
	_, err := r.ReadToken()
	return err
}

func (r *setReader) add(e *Element) {
	r.set.Elements[e.ID] = e
	if e.ZeroIsSignificant || e.Aggregation == "AVERAGE" || e.Aggregation == "AVERAGE_SUM_ORG_UNIT" {
		return
	}
	if r.set.NoZeros == nil {
		r.set.NoZeros = map[string]bool{}
	}
	r.set.NoZeros[e.ID] = true
}

// combo gives the category combo that a text describes, the same one for the same id.
func (r *setReader) combo(text json.RawMessage) (*CategoryCombo, error) {
	if absent(text) {
		text = json.RawMessage("{}")
	}
	var only struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(text, &only); err != nil {
		return nil, &formError{notASet + err.Error()}
	}
	if known := r.combos[only.ID]; known != nil {
		return known, nil
	}
	var answer struct {
		IsDefault bool `json:"isDefault"`
		Combos    []struct {
			ID      string `json:"id"`
			Code    string `json:"code"`
			Name    string `json:"name"`
			Options []struct {
				ID     string `json:"id"`
				Access struct {
					Data struct {
						Write *bool `json:"write"`
					} `json:"data"`
				} `json:"access"`
			} `json:"categoryOptions"`
		} `json:"categoryOptionCombos"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, &formError{notASet + err.Error()}
	}
	combo := &CategoryCombo{ID: only.ID, IsDefault: answer.IsDefault, Combos: map[string]*CategoryOptionCombo{}}
	for _, o := range answer.Combos {
		option := &CategoryOptionCombo{ID: o.ID, Code: o.Code, Name: o.Name}
		for _, co := range o.Options {
			if write := co.Access.Data.Write; write != nil && !*write && !combo.IsDefault {
				option.ReadOnly = append(option.ReadOnly, co.ID)
			}
		}
		combo.Combos[o.ID] = option
	}
	r.combos[only.ID] = combo
	return combo, nil
}

func absent(text json.RawMessage) bool { return len(text) == 0 || string(text) == "null" }

const notASet = "the answer has another form than a data set has: "

// next reads a value that is small enough to be kept.
func (r *setReader) next(into any) error {
	value, err := r.ReadValue()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(value, into); err != nil {
		return &formError{notASet + err.Error()}
	}
	return nil
}

func (r *setReader) open(kind jsontext.Kind) error {
	if got := r.PeekKind(); got != kind && got != jsontext.KindInvalid {
		return &formError{notASet + "it has " + got.String()}
	}
	_, err := r.ReadToken()
	return err
}
