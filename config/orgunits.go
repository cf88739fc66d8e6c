package config

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// readOrgUnits reads the file of renamed org units into the map.
func (s *DataSet) readOrgUnits(c *Config, where string, mistakes *Error) {
	if s.OrgUnitsFile == "" {
		return
	}
	s.OrgUnitsFile = c.path(where+".org_units_file", s.OrgUnitsFile)
	to := uidForm
	if s.OrgUnitIDScheme != uid {
		to = anyForm
	}
	names, err := readNames(s.OrgUnitsFile, to)
	if err != nil {
		mistakes.add("%s.org_units_file: %v", where, err)
		return
	}
	for _, from := range sorted(s.RenameOrgUnits) {
		to := s.RenameOrgUnits[from]
		if other, twice := names[from]; twice && other != to {
			mistakes.add("%s: org unit %s is renamed to %s by rename_org_units and to %s by %s", where, from, to, other, s.OrgUnitsFile)
		}
		names[from] = to
	}
	origin := s.OrgUnitsFile
	if len(s.RenameOrgUnits) > 0 {
		origin += ", " + c.origin(where+".rename_org_units")
	}
	c.origins[where+".rename_org_units"] = origin
	s.RenameOrgUnits = names
}

// readNames reads a CSV file with the columns from and to. The names of to must have a form.
func readNames(path string, form *regexp.Regexp) (map[string]string, error) {
	names := map[string]string{}
	err := readTable(path, []string{"from", "to"}, func(row []string) error { return readName(row, form, names) })
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("%s: has no row below its heading from,to", path)
	}
	return names, err
}

// readTable reads a CSV file with a heading, as a spreadsheet saves it: with commas, semicolons or tabs, with any line ends,
// with or without a byte order mark. Columns further right are a person's own. Take gets each row that is not empty, its cells
// without the space around them, and at least as many as the heading has.
func readTable(path string, heading []string, take func(row []string) error) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text := strings.TrimPrefix(string(content), byteOrderMark)
	if strings.Contains(text, "\x00") {
		return fmt.Errorf("%s: is no UTF-8 text; save it as CSV UTF-8", path)
	}
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	reader := csv.NewReader(strings.NewReader(text))
	reader.FieldsPerRecord = -1
	reader.Comma = separator(text)
	reader.TrimLeadingSpace = reader.Comma != '\t' // a tab counts as space there, and an empty cell would vanish
	for first := true; ; first = false {
		row, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		line, _ := reader.FieldPos(0)
		if err := readRow(row, first, heading, take); err != nil {
			return fmt.Errorf("%s, line %d: %w", path, line, err)
		}
	}
}

func readRow(row []string, first bool, heading []string, take func(row []string) error) error {
	for i := range row {
		row[i] = strings.TrimSpace(row[i])
	}
	if first {
		if len(row) < len(heading) || !slices.EqualFunc(row[:len(heading)], heading, strings.EqualFold) {
			return errors.New("the first line must be the heading " + strings.Join(heading, ","))
		}
		return nil
	}
	if !slices.ContainsFunc(row, func(cell string) bool { return cell != "" }) {
		return nil // an empty row, as a spreadsheet leaves
	}
	for len(row) < len(heading) {
		row = append(row, "")
	}
	if !utf8.ValidString(strings.Join(row[:len(heading)], "")) {
		return errors.New("this is no UTF-8 text; save the file as CSV UTF-8")
	}
	return take(row)
}

// separator is the one that the heading uses.
func separator(text string) rune {
	head, _, _ := strings.Cut(strings.TrimLeft(text, "\n"), "\n")
	for _, separator := range ",;\t" {
		if strings.ContainsRune(head, separator) {
			return separator
		}
	}
	return ','
}

func readName(row []string, form *regexp.Regexp, names map[string]string) error {
	if row[0] == "" || row[1] == "" {
		return errors.New("both from and to must be there")
	}
	if other, twice := names[row[0]]; twice && other != row[1] {
		return fmt.Errorf("%s was renamed to %s above", row[0], other)
	}
	if !form.MatchString(row[1]) {
		return fmt.Errorf("%q is no DHIS2 id, which has eleven letters and digits", row[1])
	}
	names[row[0]] = row[1]
	return nil
}
