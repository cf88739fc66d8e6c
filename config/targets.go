package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// Target is a row of the file of targets: a target that adds to a cell.
type Target struct {
	// Value is total, pass or percent.
	Target, Value string
	// The ids are those that the CHT would give, before any rule.
	DataElement, CategoryOptionCombo, AttributeOptionCombo string
}

// The sources of a data set.
const (
	fromExport  = "export"
	fromTargets = "targets"
)

var attributionForm = regexp.MustCompile(`^(all|lowest|level:[A-Za-z0-9_-]+)$`)

// checkTargets checks what is said of target documents, and reads the file of targets.
func (s *DataSet) checkTargets(c *Config, where string, mistakes *Error) {
	checkOneOf(where+".source", s.Source, []string{fromExport, fromTargets}, mistakes)
	checkOneOf(where+".hierarchy", s.Hierarchy, []string{"today", "first"}, mistakes)
	checkOneOf(where+".duplicate_workers", s.DuplicateWorkers, []string{"latest", "sum", "largest"}, mistakes)
	if !attributionForm.MatchString(s.Attribution) {
		mistakes.add("%s.attribution: %q is not known; it is all, lowest, or level: with a contact type, as level:health_center", where, s.Attribution)
	}
	if s.Source == fromExport {
		for _, one := range []struct {
			key string
			set bool
		}{
			{"targets_file", s.TargetsFile != ""}, {"attribution", s.Attribution != "all"}, {"hierarchy", s.Hierarchy != "today"},
			{"duplicate_workers", s.DuplicateWorkers != "latest"}, {"exclude_contact_types", len(s.ExcludeContactTypes) > 0},
		} {
			if one.set {
				mistakes.add("%s.%s: needs source: targets, as the export is added up by the CHT", where, one.key)
			}
		}
		return
	}
	s.readTargets(c, where, mistakes)
}

// readTargets reads the file of targets.
func (s *DataSet) readTargets(c *Config, where string, mistakes *Error) {
	if s.TargetsFile == "" {
		return
	}
	s.TargetsFile = c.path(where+".targets_file", s.TargetsFile)
	values := map[[3]string]string{}
	err := readTable(s.TargetsFile, []string{"target", "value", "data_element", "category_option_combo", "attribute_option_combo"}, func(row []string) error {
		t := Target{Target: row[0], Value: row[1], DataElement: row[2], CategoryOptionCombo: row[3], AttributeOptionCombo: row[4]}
		if t.Value == "" {
			t.Value = "total"
		}
		if err := s.checkTarget(t, values); err != nil {
			return err
		}
		s.Targets = append(s.Targets, t)
		return nil
	})
	if err == nil && len(s.Targets) == 0 {
		err = fmt.Errorf("%s: has no row below its heading", s.TargetsFile)
	}
	if err != nil {
		mistakes.add("%s.targets_file: %v", where, err)
	}
	for _, t := range s.Targets {
		if t.Value == "percent" && s.SharedOrgUnits == "add" {
			mistakes.add("%s.shared_org_units: %s is a percentage in %s, and percentages of several sources do not add up", where, t.DataElement, s.TargetsFile)
		}
	}
}

// checkTarget checks a row; values are those of the cells in the rows above.
func (s *DataSet) checkTarget(t Target, values map[[3]string]string) error {
	if t.Target == "" || t.DataElement == "" {
		return errors.New("both target and data_element must be there")
	}
	if slices.Contains([]string{t.Target, t.Value, t.DataElement, t.CategoryOptionCombo, t.AttributeOptionCombo}, "?") {
		return errors.New("a question mark is a question that a person has to answer")
	}
	if !slices.Contains([]string{"total", "pass", "percent"}, t.Value) {
		return fmt.Errorf("value: %q is not known; it is total, pass or percent", t.Value)
	}
	for _, id := range []struct {
		id, scheme string
		renamed    map[string]string
	}{
		{t.DataElement, s.DataElementIDScheme, s.RenameDataElements}, {t.CategoryOptionCombo, s.CategoryOptionComboIDScheme, s.RenameCombos},
		{t.AttributeOptionCombo, s.CategoryOptionComboIDScheme, s.RenameCombos},
	} {
		if _, renamed := id.renamed[id.id]; id.id != "" && id.scheme == uid && !renamed && !uidForm.MatchString(id.id) {
			return fmt.Errorf("%q is no DHIS2 id, which has eleven letters and digits", id.id)
		}
	}
	if slices.Contains(s.Targets, t) {
		return fmt.Errorf("the same row stands above: %s would count twice", t.Target)
	}
	cell := [3]string{t.DataElement, t.CategoryOptionCombo, t.AttributeOptionCombo}
	if other := values[cell]; other != "" && other != t.Value {
		return fmt.Errorf("%s is a %s here and a %s above, and the two do not add up", t.DataElement, t.Value, other)
	}
	values[cell] = t.Value
	return nil
}
