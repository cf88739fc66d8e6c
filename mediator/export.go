package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/orchestration"
)

type exportCommand struct {
	settingsFlags
	selection

	Format string `help:"json or csv, as DHIS2's import app reads them." default:"json" enum:"json,csv"`
	Output string `help:"The file to write; the standard output when left out." short:"o" placeholder:"FILE"`
}

// Run prepares the data set and writes what may be uploaded. What stays behind is told on the standard error.
func (c exportCommand) Run(a *app) error {
	s, err := c.submitter(a)
	if err != nil {
		return err
	}
	requests, err := c.requests(s)
	if err != nil {
		return err
	}
	if len(requests) > 1 {
		return &orchestration.UsageError{What: "the data set has several sources, and a file holds one", Remedy: "choose one with --cht"}
	}
	bar := a.newBar()
	s.Watch = bar.show
	plan, err := s.Prepare(a.ctx, requests[0])
	bar.end()
	if err != nil {
		return err
	}
	defer plan.Close()
	report := plan.Report()
	a.tellBehind(a.stderr, report)
	if report.Error != "" {
		a.say(report)
		return endWith(report.Reason)
	}
	if err := c.write(a, plan); err != nil {
		return err
	}
	return endWith(report.Reason)
}

func (c exportCommand) write(a *app, plan *orchestration.Plan) error {
	if c.Output == "" {
		return c.writeTo(a.stdout, plan)
	}
	// A file that is there is whole: it gets its name last.
	file, err := os.CreateTemp(filepath.Dir(c.Output), ".export-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	err = c.writeTo(file, plan)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), c.Output)
}

func (c exportCommand) writeTo(to io.Writer, plan *orchestration.Plan) error {
	w := bufio.NewWriter(to)
	write := writeJSON
	if c.Format == "csv" {
		write = writeCSV
	}
	if err := write(w, plan); err != nil {
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

func writeJSON(w *bufio.Writer, plan *orchestration.Plan) error {
	if _, err := fmt.Fprintf(w, "{\"dataSet\":%q,\"period\":%q,\"dataValues\":[", plan.Report().DataSet, plan.Period()); err != nil {
		return err
	}
	between := "\n"
	err := plan.Values(func(v mapping.Value) error {
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
	_, err = w.WriteString("\n]}\n")
	return err
}

// writeCSV writes the columns that every DHIS2 reads, up to 2.42 by their places and from 2.43 on by their names. An
// empty combo is the default one. Without comments there are only the columns up to the value.
func writeCSV(w *bufio.Writer, plan *orchestration.Plan) error {
	columns := 6
	err := plan.Values(func(v mapping.Value) error {
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
	period := plan.Period().String()
	err = plan.Values(func(v mapping.Value) error {
		row := []string{v.DataElement, period, v.OrgUnit, v.CategoryOptionCombo, v.AttributeOptionCombo, v.Value, "", "", v.Comment}
		return out.Write(row[:columns])
	})
	out.Flush()
	if err == nil {
		err = out.Error()
	}
	return err
}
