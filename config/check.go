package config

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // time zones, on machines that have none
)

func itoa(n int) string { return strconv.Itoa(n) }

var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	uidForm  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{10}$`)
)

// complete fills in what follows from the rest, and finds what is missing or wrong.
func (c *Config) complete(mistakes *Error) {
	for i := range c.CHT {
		c.CHT[i].complete(c, mistakes)
	}
	for i := range c.DHIS2 {
		c.DHIS2[i].complete(c, mistakes)
	}
	for i := range c.DataSets {
		c.DataSets[i].complete(c, mistakes)
	}
	if len(c.CHT) == 0 {
		mistakes.add("cht: there is no CHT to read from; add one to the file, or set CHT_URL")
	}
	if len(c.DHIS2) == 0 {
		mistakes.add("dhis2: there is no DHIS2 to send to; add one to the file, or set DHIS2_URL")
	}
	if len(c.DataSets) == 0 {
		mistakes.add("data_sets: there is no data set to send; add one to the file")
	}
}

func (s *CHT) complete(c *Config, mistakes *Error) {
	where := "cht." + s.Name
	checkName(where, s.Name, mistakes)
	s.URL = address(where, s.Address, mistakes)
	s.CAFile = c.optionalPath(where+".ca_file", s.CAFile, mistakes)
	s.Password = c.secretPath(where+".password", s.Password, mistakes)
	if s.Username == "" {
		mistakes.add("%s.username: is missing", where)
	}
	if !s.Password.IsSet() {
		mistakes.add("%s.password: is missing; give password or password_file", where)
	}
	zone, err := time.LoadLocation(s.TimeZone)
	if err != nil || s.TimeZone == "Local" {
		mistakes.add("%s.time_zone: %q is no time zone; write it as Africa/Nairobi", where, s.TimeZone)
	}
	s.Zone = zone
	checkPositive(where+".header_timeout", s.HeaderTimeout, mistakes)
	checkPositive(where+".timeout", s.Timeout, mistakes)
}

func (s *DHIS2) complete(c *Config, mistakes *Error) {
	where := "dhis2." + s.Name
	checkName(where, s.Name, mistakes)
	s.URL = address(where, s.Address, mistakes)
	if s.URL != nil && strings.HasSuffix(s.URL.Path, "/api") {
		mistakes.add("%s.url: leave /api away, the mediator adds it", where)
	}
	s.CAFile = c.optionalPath(where+".ca_file", s.CAFile, mistakes)
	s.Password = c.secretPath(where+".password", s.Password, mistakes)
	s.Token = c.secretPath(where+".token", s.Token, mistakes)
	byName := s.Username != "" || s.Password.IsSet()
	switch {
	case s.Token.IsSet() && byName:
		mistakes.add("%s: give token, or username and password, not both", where)
	case s.Token.IsSet():
	case !byName:
		mistakes.add("%s: there are no credentials; give token_file, or username and password_file", where)
	case s.Username == "":
		mistakes.add("%s.username: is missing beside the password", where)
	case !s.Password.IsSet():
		mistakes.add("%s.password: is missing beside the username", where)
	}
	checkPositive(where+".timeout", s.Timeout, mistakes)
	if s.InFlight < 1 || s.InFlight > 8 {
		mistakes.add("%s.in_flight: must be from 1 to 8", where)
	}
}

var periodForm = regexp.MustCompile(`^\d{4}(0[1-9]|1[0-2])$`)

func (s *DataSet) complete(c *Config, mistakes *Error) {
	where := "data_sets." + s.ID
	if !uidForm.MatchString(s.ID) {
		mistakes.add("%s.id: is no DHIS2 id, which has eleven letters and digits", where)
	}
	s.reach(c, where, mistakes)
	if s.Source != "export" {
		mistakes.add("%s.source: %q is not known; this version reads from export", where, s.Source)
	}
	switch {
	case s.FirstPeriod == "":
		mistakes.add("%s.first_period: is missing; give the first month that may be sent, as \"202601\"", where)
	case !periodForm.MatchString(s.FirstPeriod):
		mistakes.add("%s.first_period: %q is no month; write it as \"202601\"", where, s.FirstPeriod)
	}
	switch s.Completeness {
	case "off":
	case "":
		mistakes.add("%s.completeness: must be said; this version takes off", where)
	default:
		mistakes.add("%s.completeness: %q is not known; this version takes off", where, s.Completeness)
	}
	checkOneOf(where+".empty_org_units", s.EmptyOrgUnits, []string{"drop", "send"}, mistakes)
	checkOneOf(where+".zeros", s.Zeros, []string{"send", "drop"}, mistakes)
	if s.ChunkValues < 0 || s.ChunkValues > 12000 {
		mistakes.add("%s.chunk_values: must be from 0 to 12000", where)
	}
	if s.AttributeOptionCombo != "" && !uidForm.MatchString(s.AttributeOptionCombo) {
		mistakes.add("%s.attribute_option_combo: %q is no DHIS2 id, which has eleven letters and digits", where, s.AttributeOptionCombo)
	}
	s.readOrgUnits(c, where, mistakes)
	checkIDs(where+".rename_org_units", s.RenameOrgUnits, mistakes)
	checkIDs(where+".rename_data_elements", s.RenameDataElements, mistakes)
	checkIDs(where+".rename_combos", s.RenameCombos, mistakes)
}

// reach finds the servers of a data set; a single one need not be named.
func (s *DataSet) reach(c *Config, where string, mistakes *Error) {
	if len(s.CHT) == 0 && len(c.CHT) == 1 {
		s.CHT = []string{c.CHT[0].Name}
	}
	if s.DHIS2 == "" && len(c.DHIS2) == 1 {
		s.DHIS2 = c.DHIS2[0].Name
	}
	var sources, destinations []string
	for _, server := range c.CHT {
		sources = append(sources, server.Name)
	}
	for _, server := range c.DHIS2 {
		destinations = append(destinations, server.Name)
	}
	if len(s.CHT) == 0 && len(c.CHT) > 0 {
		mistakes.add("%s.cht: is missing; name its sources among %s", where, strings.Join(sources, ", "))
	}
	for i, name := range s.CHT {
		if !slices.Contains(sources, name) {
			mistakes.add("%s.cht: there is no CHT %q; %s", where, name, nearest(name, sources))
		}
		if slices.Contains(s.CHT[:i], name) {
			mistakes.add("%s.cht: %q stands there twice", where, name)
		}
	}
	if s.DHIS2 == "" && len(c.DHIS2) > 0 {
		mistakes.add("%s.dhis2: is missing; name its destination among %s", where, strings.Join(destinations, ", "))
	}
	if s.DHIS2 != "" && !slices.Contains(destinations, s.DHIS2) {
		mistakes.add("%s.dhis2: there is no DHIS2 %q; %s", where, s.DHIS2, nearest(s.DHIS2, destinations))
	}
}

// readOrgUnits reads the file of renamed org units into the map.
func (s *DataSet) readOrgUnits(c *Config, where string, mistakes *Error) {
	if s.OrgUnitsFile == "" {
		return
	}
	s.OrgUnitsFile = c.path(s.OrgUnitsFile)
	names, err := readNames(s.OrgUnitsFile)
	if err != nil {
		mistakes.add("%s.org_units_file: %v", where, err)
		return
	}
	for from, to := range s.RenameOrgUnits {
		if other, twice := names[from]; twice && other != to {
			mistakes.add("%s: org unit %s is renamed to %s by rename_org_units and to %s by %s", where, from, to, other, s.OrgUnitsFile)
		}
		names[from] = to
	}
	s.RenameOrgUnits = names
}

// readNames reads a CSV file with the columns from and to, as a spreadsheet saves it: with commas, semicolons or tabs,
// with or without a byte order mark.
func readNames(path string) (map[string]string, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	text := strings.TrimPrefix(string(content), "\ufeff")
	head, _, _ := strings.Cut(text, "\n")
	reader := csv.NewReader(strings.NewReader(text))
	reader.FieldsPerRecord = -1
	reader.TrimLeadingSpace = true
	for _, separator := range ";\t" {
		if strings.ContainsRune(head, separator) && !strings.Contains(head, ",") {
			reader.Comma = separator
		}
	}
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
		if err := readName(row, first, names); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, line, err)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: has no row below its heading", path)
	}
	return names, nil
}

func readName(row []string, first bool, names map[string]string) error {
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
	if other, twice := names[row[0]]; twice && other != row[1] {
		return fmt.Errorf("%s was renamed to %s above", row[0], other)
	}
	if !uidForm.MatchString(row[1]) {
		return fmt.Errorf("%q is no DHIS2 id, which has eleven letters and digits", row[1])
	}
	names[row[0]] = row[1]
	return nil
}

func checkIDs(where string, names map[string]string, mistakes *Error) {
	for _, from := range sortedStrings(names) {
		if !uidForm.MatchString(names[from]) {
			mistakes.add("%s: %q is no DHIS2 id, which has eleven letters and digits", where, names[from])
		}
	}
}

func sortedStrings(names map[string]string) []string {
	keys := make([]string, 0, len(names))
	for key := range names {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func checkName(where, name string, mistakes *Error) {
	if !nameForm.MatchString(name) {
		mistakes.add("%s.name: may have letters, digits, - and _ only", where)
	}
}

func checkPositive(where string, d time.Duration, mistakes *Error) {
	if d <= 0 {
		mistakes.add("%s: must be more than nothing", where)
	}
}

func checkOneOf(where, value string, known []string, mistakes *Error) {
	if !slices.Contains(known, value) {
		mistakes.add("%s: %q is not known; it is %s", where, value, strings.Join(known, " or "))
	}
}

// address reads a server's address. What is wrong with one that holds a password is told without the password.
func address(where, text string, mistakes *Error) *url.URL {
	if text == "" {
		mistakes.add("%s.url: is missing", where)
		return nil
	}
	parsed, err := url.Parse(text)
	switch {
	case err != nil:
		mistakes.add("%s.url: is no address; write it as https://host/path", where)
	case parsed.User != nil:
		mistakes.add("%s.url: must hold no user name and password; give username and password_file", where)
	case parsed.Scheme != "http" && parsed.Scheme != "https", parsed.Host == "":
		mistakes.add("%s.url: must begin with https:// or http:// and a host", where)
	case parsed.RawQuery != "" || parsed.Fragment != "":
		mistakes.add("%s.url: must end with its path, without ? and #", where)
	default:
		parsed.Path = strings.TrimRight(parsed.Path, "/")
		return parsed
	}
	return nil
}

// optionalPath makes the path of a file whole and makes sure that it can be read.
func (c *Config) optionalPath(where, name string, mistakes *Error) string {
	if name == "" {
		return ""
	}
	name = c.path(name)
	if _, err := os.ReadFile(name); err != nil { //nolint:gosec // the operator names the file
		mistakes.add("%s: %v", where, err)
	}
	return name
}

// secretPath makes the path of a secret's file whole and makes sure that it holds one.
func (c *Config) secretPath(where string, secret Secret, mistakes *Error) Secret {
	if secret.file == "" {
		return secret
	}
	secret.file = c.path(secret.file)
	if _, err := secret.Reveal(); err != nil {
		mistakes.add("%s_file: %v", where, err)
	}
	return secret
}

// Effective lists the settings that are in force, with secrets hidden, and where each came from.
func (c *Config) Effective() []Setting {
	list := []Setting{{"data_dir", c.DataDir, c.origin("data_dir")}}
	for _, s := range c.CHT {
		list = append(list, c.effective("cht", s.Name, s)...)
	}
	for _, s := range c.DHIS2 {
		list = append(list, c.effective("dhis2", s.Name, s)...)
	}
	for _, s := range c.DataSets {
		list = append(list, c.effective("data_sets", s.ID, s)...)
	}
	return list
}

func (c *Config) effective(kind, name string, thing any) []Setting {
	var list []Setting
	value := reflect.ValueOf(thing)
	for i := range value.NumField() {
		key := value.Type().Field(i).Tag.Get("koanf")
		if key == "-" || value.Field(i).IsZero() {
			continue
		}
		field := value.Field(i).Interface()
		if secret, ok := field.(Secret); ok && secret.file != "" {
			key += "_file"
		}
		list = append(list, Setting{kind + "." + name + "." + key, show(field), c.origin(kind, name, key)})
	}
	return list
}

const shownNames = 5

func show(value any) string {
	if names, ok := value.(map[string]string); ok {
		if len(names) > shownNames {
			return fmt.Sprintf("%d renamed", len(names))
		}
		var pairs []string
		for _, from := range sortedStrings(names) {
			pairs = append(pairs, from+": "+names[from])
		}
		return "{" + strings.Join(pairs, ", ") + "}"
	}
	if list, ok := value.([]string); ok {
		return "[" + strings.Join(list, ", ") + "]"
	}
	return fmt.Sprint(value)
}

// origin says where a setting came from; one that nobody set has its default, or follows from others.
func (c *Config) origin(parts ...string) string {
	key := strings.Join(parts, between)
	if origin, ok := c.origins[key]; ok {
		return origin
	}
	for known, origin := range c.origins {
		if strings.HasPrefix(known, key+between) {
			return origin
		}
	}
	return "default"
}
