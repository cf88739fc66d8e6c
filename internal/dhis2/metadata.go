package dhis2

import (
	"context"
	"net/url"
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
	doing := "read data set " + id + " from DHIS2"
	type comboAnswer struct {
		ID        string `json:"id"`
		IsDefault bool   `json:"isDefault"`
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
	var answer struct {
		ID                     string     `json:"id"`
		Code                   string     `json:"code"`
		Name                   string     `json:"name"`
		PeriodType             PeriodType `json:"periodType"`
		ExpiryDays             float64    `json:"expiryDays"`
		OpenFuturePeriods      int        `json:"openFuturePeriods"`
		NoValueRequiresComment bool       `json:"noValueRequiresComment"`
		CompulsoryOnly         bool       `json:"compulsoryFieldsCompleteOnly"`
		Access                 struct {
			Data struct {
				Read  bool `json:"read"`
				Write bool `json:"write"`
			} `json:"data"`
		} `json:"access"`
		Workflow struct {
			ID string `json:"id"`
		} `json:"workflow"`
		InputPeriods []struct {
			Period struct {
				ID string `json:"id"`
			} `json:"period"`
			Opens  string `json:"openingDate"`
			Closes string `json:"closingDate"`
		} `json:"dataInputPeriods"`
		CategoryCombo comboAnswer `json:"categoryCombo"`
		Elements      []struct {
			DataElement struct {
				ID              string      `json:"id"`
				Code            string      `json:"code"`
				Name            string      `json:"name"`
				ValueType       string      `json:"valueType"`
				ZeroSignificant bool        `json:"zeroIsSignificant"`
				Aggregation     string      `json:"aggregationType"`
				CategoryCombo   comboAnswer `json:"categoryCombo"`
				OptionSet       *struct {
					Options []struct {
						Code string `json:"code"`
					} `json:"options"`
				} `json:"optionSet"`
			} `json:"dataElement"`
			CategoryCombo *comboAnswer `json:"categoryCombo"`
		} `json:"dataSetElements"`
	}
	const combos = "[id,isDefault,categoryOptionCombos[id,code,name,categoryOptions[id,access[data]]]]"
	path := "/api/dataSets/" + url.PathEscape(id) + "?fields=id,code,name,periodType,expiryDays,openFuturePeriods,noValueRequiresComment,compulsoryFieldsCompleteOnly,access[data]," +
		"workflow[id],dataInputPeriods[period[id],openingDate,closingDate],categoryCombo" + combos +
		",dataSetElements[dataElement[id,code,name,valueType,zeroIsSignificant,aggregationType,optionSet[options[code]],categoryCombo" + combos + "],categoryCombo" + combos + "]"
	if err := c.get(ctx, doing, path, &answer); err != nil {
		return DataSet{}, err
	}
	if answer.ID == "" || answer.PeriodType == "" {
		return DataSet{}, &Error{Doing: doing, Kind: Unusable, What: "the answer has no id and period type", Remedy: "check that the address is that of a DHIS2"}
	}
	set := DataSet{
		ID: answer.ID, Code: answer.Code, Name: answer.Name, PeriodType: answer.PeriodType, CanRead: answer.Access.Data.Read, CanWrite: answer.Access.Data.Write,
		ExpiryDays: int(answer.ExpiryDays), OpenFuturePeriods: answer.OpenFuturePeriods, Workflow: answer.Workflow.ID,
		NoValueRequiresComment: answer.NoValueRequiresComment, CompulsoryOnly: answer.CompulsoryOnly, Elements: map[string]*Element{},
	}
	for _, p := range answer.InputPeriods {
		set.InputPeriods = append(set.InputPeriods, InputPeriod{Period: p.Period.ID, Opens: p.Opens, Closes: p.Closes})
	}
	known := map[string]*CategoryCombo{}
	comboOf := func(a comboAnswer) *CategoryCombo {
		if known[a.ID] == nil {
			combo := &CategoryCombo{ID: a.ID, IsDefault: a.IsDefault, Combos: map[string]*CategoryOptionCombo{}}
			for _, o := range a.Combos {
				option := &CategoryOptionCombo{ID: o.ID, Code: o.Code, Name: o.Name}
				for _, co := range o.Options {
					if write := co.Access.Data.Write; write != nil && !*write && !a.IsDefault {
						option.ReadOnly = append(option.ReadOnly, co.ID)
					}
				}
				combo.Combos[o.ID] = option
			}
			known[a.ID] = combo
		}
		return known[a.ID]
	}
	set.Combo = comboOf(answer.CategoryCombo)
	for _, combo := range answer.CategoryCombo.Combos {
		if answer.CategoryCombo.IsDefault {
			set.DefaultCombo = combo.ID
			break
		}
		set.AttributeOptionCombos = append(set.AttributeOptionCombos, combo.ID)
	}
	for _, member := range answer.Elements {
		e := member.DataElement
		element := &Element{ID: e.ID, Code: e.Code, Name: e.Name, ValueType: e.ValueType, ZeroIsSignificant: e.ZeroSignificant, Aggregation: e.Aggregation, Combo: comboOf(e.CategoryCombo)}
		if member.CategoryCombo != nil {
			element.Combo = comboOf(*member.CategoryCombo)
		}
		if e.OptionSet != nil {
			element.Options = map[string]bool{}
			for _, o := range e.OptionSet.Options {
				element.Options[o.Code] = true
			}
		}
		set.Elements[e.ID] = element
		if !e.ZeroSignificant && e.Aggregation != "AVERAGE" && e.Aggregation != "AVERAGE_SUM_ORG_UNIT" {
			if set.NoZeros == nil {
				set.NoZeros = map[string]bool{}
			}
			set.NoZeros[e.ID] = true
		}
	}
	return set, nil
}
