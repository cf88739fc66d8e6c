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

// readNames reads a CSV file with the columns from and to, as a spreadsheet saves it: with commas, semicolons or tabs,
// with any line ends, with or without a byte order mark. Columns further right are a person's own.
// The names of to must have a form.
func readNames(path string, form *regexp.Regexp) (map[string]string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text := strings.TrimPrefix(string(content), byteOrderMark)
	if strings.Contains(text, "\x00") {
		return nil, fmt.Errorf("%s: is no UTF-8 text; save it as CSV UTF-8", path)
	}
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	reader := csv.NewReader(strings.NewReader(text))
	reader.FieldsPerRecord = -1
	reader.Comma = separator(text)
	reader.TrimLeadingSpace = reader.Comma != '\t' // a tab counts as space there, and an empty cell would vanish
	names := map[string]string{}
	for first := true; ; first = false {
		row, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		line, _ := reader.FieldPos(0)
		if err := readName(row, form, first, names); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, line, err)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: has no row below its heading from,to", path)
	}
	return names, nil
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

func readName(row []string, form *regexp.Regexp, first bool, names map[string]string) error {
	for i := range row {
		row[i] = strings.TrimSpace(row[i])
	}
	if first {
		if len(row) < 2 || !strings.EqualFold(row[0], "from") || !strings.EqualFold(row[1], "to") {
			return errors.New("the first line must be the heading from,to")
		}
		return nil
	}
	if !slices.ContainsFunc(row, func(cell string) bool { return cell != "" }) {
		return nil // an empty row, as a spreadsheet leaves
	}
	if len(row) < 2 || row[0] == "" || row[1] == "" {
		return errors.New("both from and to must be there")
	}
	if !utf8.ValidString(row[0]) {
		return errors.New("from is no UTF-8 text; save the file as CSV UTF-8")
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
