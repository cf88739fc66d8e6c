package orchestration

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"

	"github.com/cht-dhis2/mediator/internal/mapping"
)

// previewValue is a value in the JSON of a preview.
type previewValue struct {
	OrgUnit              string `json:"org_unit"`
	DataElement          string `json:"data_element"`
	CategoryOptionCombo  string `json:"category_option_combo"`
	AttributeOptionCombo string `json:"attribute_option_combo"`
	Value                string `json:"value"`
	Comment              string `json:"comment,omitempty"`
	Deleted              bool   `json:"deleted,omitempty"`
}

// WritePreview writes the report with one more field, the values, which are written one by one.
func (p *Plan) WritePreview(to io.Writer) error {
	head, err := json.Marshal(p.Report())
	if err != nil {
		return err
	}
	w := bufio.NewWriter(to)
	_, _ = w.Write(bytes.TrimSuffix(head, []byte("}")))
	_, _ = w.WriteString(`,"values":[`)
	between := ""
	err = p.Values(func(v mapping.Value) error {
		text, err := json.Marshal(previewValue{v.OrgUnit, v.DataElement, v.CategoryOptionCombo, v.AttributeOptionCombo, v.Value, v.Comment, v.Deleted})
		if err == nil {
			_, err = fmt.Fprintf(w, "%s%s", between, text)
		}
		between = ","
		return err
	})
	_, _ = w.WriteString("]}\n")
	if err != nil {
		return err
	}
	return w.Flush()
}

type exportedValue struct {
	DataElement          string `json:"dataElement"`
	OrgUnit              string `json:"orgUnit"`
	CategoryOptionCombo  string `json:"categoryOptionCombo,omitempty"`
	AttributeOptionCombo string `json:"attributeOptionCombo,omitempty"`
	Value                string `json:"value"`
	Comment              string `json:"comment,omitempty"`
}

// WriteJSON writes the plan as a data value set of DHIS2's, for an upload by hand.
func (p *Plan) WriteJSON(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "{\"dataSet\":%q,\"period\":%q,\"dataValues\":[", p.id, p.Period()); err != nil {
		return err
	}
	between := "\n"
	err := p.Values(func(v mapping.Value) error {
		text, err := json.Marshal(exportedValue{v.DataElement, v.OrgUnit, v.CategoryOptionCombo, v.AttributeOptionCombo, v.Value, v.Comment})
		if err == nil {
			_, err = fmt.Fprintf(w, "%s%s", between, text)
		}
		between = ",\n"
		return err
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "\n]}\n")
	return err
}

// WriteCSV writes the columns that every DHIS2 reads, up to 2.42 by their places and from 2.43 on by their names. An
// empty combo is the default one. Without comments there are only the columns up to the value.
func (p *Plan) WriteCSV(w io.Writer) error {
	columns := 6
	err := p.Values(func(v mapping.Value) error {
		if v.Comment != "" {
			columns = 9
		}
		return nil
	})
	if err != nil {
		return err
	}
	out := csv.NewWriter(w)
	heading := []string{"dataelement", "period", "orgunit", "categoryoptioncombo", "attributeoptioncombo", "value", "storedby", "lastupdated", "comment"}
	if err := out.Write(heading[:columns]); err != nil {
		return err
	}
	period := p.Period().String()
	err = p.Values(func(v mapping.Value) error {
		row := []string{v.DataElement, period, v.OrgUnit, v.CategoryOptionCombo, v.AttributeOptionCombo, v.Value, "", "", v.Comment}
		return out.Write(row[:columns])
	})
	out.Flush()
	if err == nil {
		err = out.Error()
	}
	return err
}
