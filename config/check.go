package config

import (
	"crypto/x509"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // time zones, on machines that have none
	"unicode"
)

var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)
	anyForm  = regexp.MustCompile(``)
	uidForm  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{10}$`)
)

// complete fills in what follows from the rest, and finds what is missing or wrong.
func (c *Config) complete(mistakes *Error) {
	c.completeService(mistakes)
	for i := range c.CHT {
		c.CHT[i].complete(c, mistakes)
	}
	for i := range c.DHIS2 {
		c.DHIS2[i].complete(c, mistakes)
	}
	for i := range c.DataSets {
		if !c.drafting {
			c.DataSets[i].complete(c, mistakes)
		}
	}
	for i := range c.Callers {
		c.Callers[i].complete(c, mistakes)
	}
	c.OpenHIM.complete(c, mistakes)
	c.Metrics.complete(c, mistakes)
	c.Notices.complete(c, mistakes)
	if len(c.CHT) == 0 {
		mistakes.add("cht: there is no CHT to read from; add one to the file, or set CHT_URL")
	}
	if len(c.DHIS2) == 0 {
		mistakes.add("dhis2: there is no DHIS2 to send to; add one to the file, or set DHIS2_URL")
	}
	if len(c.DataSets) == 0 && !c.drafting {
		mistakes.add("data_sets: there is no data set to send; add one to the file")
	}
}

func (s *CHT) complete(c *Config, mistakes *Error) {
	where := "cht." + s.Name
	s.URL = address(where+".url", s.Address, mistakes)
	s.CAFile = c.certificates(where+".ca_file", s.CAFile, mistakes)
	s.Password = c.secretPath(where+".password", s.Password, mistakes)
	if s.Username == "" {
		mistakes.add("%s.username: is missing", where)
	}
	checkUsername(where+".username", s.Username, mistakes)
	if !s.Password.IsSet() {
		mistakes.add("%s.password: is missing; give password or password_file", where)
	}
	zone, err := time.LoadLocation(s.TimeZone)
	if err != nil || s.TimeZone == "Local" || s.TimeZone == "" {
		mistakes.add("%s.time_zone: %q is no time zone; write it as Africa/Nairobi", where, s.TimeZone)
	}
	s.Zone = zone
	checkPositive(where+".header_timeout", s.HeaderTimeout, mistakes)
	checkPositive(where+".timeout", s.Timeout, mistakes)
	if s.HierarchyAge < 0 || s.HierarchyAge > 720*time.Hour {
		mistakes.add("%s.hierarchy_age: must be from 0s to 720h", where)
	}
	checkRange(where+".full_read_days", s.FullReadDays, 1, 365, mistakes)
}

func (s *DHIS2) complete(c *Config, mistakes *Error) {
	where := "dhis2." + s.Name
	s.URL = address(where+".url", s.Address, mistakes)
	if s.URL != nil && strings.HasSuffix(s.URL.Path, "/api") {
		mistakes.add("%s.url: leave /api away, the mediator adds it", where)
	}
	s.CAFile = c.certificates(where+".ca_file", s.CAFile, mistakes)
	s.Password = c.secretPath(where+".password", s.Password, mistakes)
	s.Token = c.secretPath(where+".token", s.Token, mistakes)
	checkUsername(where+".username", s.Username, mistakes)
	byName := s.Username != "" || s.Password.IsSet()
	switch {
	case s.Token.IsSet() && byName:
		mistakes.add("%s: give token, or username and password, not both", where)
	case s.Token.IsSet():
	case !byName:
		mistakes.add("%s: there are no credentials; give token_file, or username and password_file", where)
	default:
		checkBoth(where+".", s.Username, s.Password, mistakes)
	}
	checkPositive(where+".timeout", s.Timeout, mistakes)
	checkRange(where+".in_flight", s.InFlight, 1, 8, mistakes)
	if s.Metadata < time.Minute || s.Metadata > 24*time.Hour {
		mistakes.add("%s.metadata_age: must be from 1m to 24h", where)
	}
}

// periodForm is a month, a quarter or a year.
var periodForm = regexp.MustCompile(`^\d{4}(0[1-9]|1[0-2]|Q[1-4])?$`)

// shapeOf is how a period is written, without its digits: those of one data set are written alike.
func shapeOf(period string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '0'
		}
		return r
	}, period)
}

func (s *DataSet) complete(c *Config, mistakes *Error) {
	where := "data_sets." + s.ID
	s.reach(c, where, mistakes)
	switch {
	case s.FirstPeriod == "":
		mistakes.add("%s.first_period: is missing; give the first month that may be sent, as \"202601\", or quarter, as \"2026Q1\", or year, as \"2026\"", where)
	case !periodForm.MatchString(s.FirstPeriod):
		mistakes.add("%s.first_period: %q is no period; write a month as \"202601\", a quarter as \"2026Q1\", a year as \"2026\"", where, s.FirstPeriod)
	}
	if s.Completeness == "" {
		mistakes.add("%s.completeness: must be said: off or when_accepted", where)
	} else {
		checkOneOf(where+".completeness", s.Completeness, []string{"off", "when_accepted"}, mistakes)
	}
	checkOneOf(where+".completeness_notify", s.Notify, []string{"latest", "always", "never"}, mistakes)
	s.checkCoverage(where, mistakes)
	checkOneOf(where+".checks", s.Checks, []string{"on", "off"}, mistakes)
	checkOneOf(where+".zeros", s.Zeros, []string{"send", "drop"}, mistakes)
	checkRange(where+".chunk_values", s.ChunkValues, 0, 12000, mistakes)
	s.checkCompare(where, mistakes)
	s.checkSchedule(where, mistakes)
	s.readOrgUnits(c, where, mistakes)
	s.readGaps(c, where, mistakes)
	s.checkTargets(c, where, mistakes)
	s.checkNewIDs(where, mistakes)
}

var schemeForm = regexp.MustCompile(`^(uid|code|attribute:[A-Za-z][A-Za-z0-9]{10})$`)

// checkNewIDs checks by what the CHT calls things, and the ids that the rules give, which go by the same.
func (s *DataSet) checkNewIDs(where string, mistakes *Error) {
	for _, scheme := range []struct{ key, value string }{
		{"data_set_id_scheme", s.DataSetIDScheme}, {"data_element_id_scheme", s.DataElementIDScheme},
		{"org_unit_id_scheme", s.OrgUnitIDScheme}, {"category_option_combo_id_scheme", s.CategoryOptionComboIDScheme},
	} {
		if !schemeForm.MatchString(scheme.value) {
			mistakes.add("%s.%s: %q is not known; it is uid, code, or attribute: with the id of an attribute, which has eleven letters and digits", where, scheme.key, scheme.value)
		}
	}
	if s.DataSetIDScheme == uid {
		checkID(where+".id", s.ID, mistakes)
	}
	if s.AttributeOptionCombo != "" {
		checkNewID(where+".attribute_option_combo", s.CategoryOptionComboIDScheme, s.AttributeOptionCombo, mistakes)
	}
	for _, rule := range []struct {
		key, scheme string
		ids         map[string]string
	}{
		{"rename_org_units", s.OrgUnitIDScheme, s.RenameOrgUnits}, {"rename_data_elements", s.DataElementIDScheme, s.RenameDataElements},
		{"rename_combos", s.CategoryOptionComboIDScheme, s.RenameCombos},
	} {
		for _, from := range sorted(rule.ids) {
			checkNewID(where+"."+rule.key, rule.scheme, rule.ids[from], mistakes)
		}
	}
	for _, id := range s.SumDataElements {
		checkNewID(where+".sum_data_elements", s.DataElementIDScheme, id, mistakes)
	}
}

// checkNewID checks what a rule renames to.
func checkNewID(where, scheme, id string, mistakes *Error) {
	switch {
	case scheme == uid:
		checkID(where, id, mistakes)
	case id == "":
		mistakes.add("%s: a new name is empty", where)
	}
}

// uid is the scheme of those who use the ids of DHIS2.
const uid = "uid"

// sendingHours is from and until; one that ends before it begins goes over midnight.
var sendingHours = regexp.MustCompile(`^((?:[01]\d|2[0-3]):[0-5]\d)-((?:[01]\d|2[0-3]):[0-5]\d)$`)

// checkSchedule checks when a data set goes by itself. Whether the fields of cron mean something is for the schedule to
// find out.
func (s *DataSet) checkSchedule(where string, mistakes *Error) {
	if s.Schedule != "" && len(strings.Fields(s.Schedule)) != 5 {
		mistakes.add("%s.schedule: %q must have five fields, as 0 3 * * * for each day at 03:00", where, s.Schedule)
	}
	checkRange(where+".first_after_days", s.FirstAfterDays, 0, mostDays, mistakes)
	checkRange(where+".reread_days", s.RereadDays, 0, mostDays, mistakes)
	checkRange(where+".notice_after_days", s.NoticeAfterDays, 0, mostDays, mistakes)
	if s.RereadDays < s.FirstAfterDays {
		mistakes.add("%s.reread_days: %d must not be less than first_after_days, which is %d", where, s.RereadDays, s.FirstAfterDays)
	}
	if s.Jitter < 0 || s.Jitter > 12*time.Hour {
		mistakes.add("%s.jitter: must be from 0s to 12h", where)
	}
	if s.SendingHours == "" {
		return
	}
	hours := sendingHours.FindStringSubmatch(s.SendingHours)
	switch {
	case hours == nil:
		mistakes.add("%s.sending_hours: %q must be two times of the day, as 20:00-06:00", where, s.SendingHours)
	case hours[1] == hours[2]:
		mistakes.add("%s.sending_hours: %q ends when it begins; leave it away to send at every hour", where, s.SendingHours)
	}
}

// checkCoverage looks at what is said of who has synced, and fills in what is done with zeros.
func (s *DataSet) checkCoverage(where string, mistakes *Error) {
	if s.Coverage == "" {
		s.Coverage = map[bool]string{true: "on", false: "off"}[s.Source == "targets"]
	}
	checkOneOf(where+".coverage", s.Coverage, []string{"off", "on"}, mistakes)
	if s.Source == "targets" && s.Coverage == "off" {
		mistakes.add("%s.coverage: cannot be off where target documents are the source, as they tell it", where)
	}
	if s.EmptyOrgUnits == "" {
		s.EmptyOrgUnits = map[bool]string{true: "reported", false: "drop"}[s.Coverage == "on"]
	}
	checkOneOf(where+".empty_org_units", s.EmptyOrgUnits, []string{"drop", "send", "reported"}, mistakes)
	checkRange(where+".minimum_coverage", s.MinCoverage, 0, 100, mistakes)
	checkRange(where+".minimum_coverage_days", s.MinimumDays, 0, mostDays, mistakes)
	checkRange(where+".completeness_coverage", s.CompleteFrom, 0, 100, mistakes)
	if s.Coverage == "off" {
		for _, needs := range []struct {
			key string
			set bool
		}{
			{"empty_org_units: reported", s.EmptyOrgUnits == "reported"}, {"minimum_coverage", s.MinCoverage > 0},
			{"completeness_coverage", s.CompleteFrom > 0}, {"expected_contact_types", len(s.ExpectedTypes) > 0},
		} {
			if needs.set {
				mistakes.add("%s.%s: needs coverage: on", where, needs.key)
			}
		}
	}
	if s.MinimumDays > 0 && s.MinCoverage == 0 {
		mistakes.add("%s.minimum_coverage_days: means nothing without minimum_coverage", where)
	}
	if s.MinimumDays > 0 && s.MinimumDays >= s.RereadDays { // the day after the last one of those is no re-read any more
		mistakes.add("%s.minimum_coverage_days: %d must be less than reread_days, which is %d: nothing would send it then", where, s.MinimumDays, s.RereadDays)
	}
	if s.CompleteFrom > 0 && s.Completeness == "off" {
		mistakes.add("%s.completeness_coverage: means nothing with completeness: off", where)
	}
}

// checkCompare looks at what is said of comparing.
func (s *DataSet) checkCompare(where string, mistakes *Error) {
	checkOneOf(where+".compare", s.Compare, []string{"server", "ledger"}, mistakes)
	checkOneOf(where+".edited_in_dhis2", s.EditedInDHIS2, []string{"keep", "overwrite", "hold"}, mistakes)
	checkOneOf(where+".vanished_cells", s.VanishedCells, []string{"keep", "zero", "delete"}, mistakes)
	checkOneOf(where+".shared_org_units", s.SharedOrgUnits, []string{"refuse", "add"}, mistakes)
	checkRange(where+".most_shrink", s.MostShrink, 0, 100, mistakes)
	checkRange(where+".most_quarantined", s.MostQuarantine, 0, 100, mistakes)
	checkRange(where+".most_vanished", s.MostVanished, 0, 100, mistakes)
	checkOneOf(where+".nested_org_units", s.NestedOrgUnits, []string{"refuse", "lowest", "allow"}, mistakes)
	checkOneOf(where+".percent_targets", s.PercentTargets, []string{"send", "refuse"}, mistakes)
	for _, fault := range s.KnownFaults {
		checkOneOf(where+".known_faults", fault, []string{"cht-9714", "cht-daily"}, mistakes)
	}
	for _, orgUnit := range sorted(s.LiveFrom) {
		checkID(where+".live_from", orgUnit, mistakes)
		switch period := s.LiveFrom[orgUnit]; {
		case !periodForm.MatchString(period):
			mistakes.add("%s.live_from.%s: %q is no period; write a month as \"202601\", a quarter as \"2026Q1\", a year as \"2026\"", where, orgUnit, period)
		case periodForm.MatchString(s.FirstPeriod) && shapeOf(period) != shapeOf(s.FirstPeriod):
			mistakes.add("%s.live_from.%s: %q is another kind of period than first_period, which is %q; write both alike", where, orgUnit, period, s.FirstPeriod)
		}
	}
}

// mostDays is how many days after a month anything may still be set to happen: ten years.
const mostDays = 3660

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

func checkID(where, id string, mistakes *Error) {
	if !uidForm.MatchString(id) {
		mistakes.add("%s: %q is no DHIS2 id, which has eleven letters and digits", where, id)
	}
}

// checkUsername refuses what Basic authentication cannot carry.
func checkUsername(key, name string, mistakes *Error) {
	if strings.Contains(name, ":") || strings.ContainsFunc(name, unicode.IsControl) {
		mistakes.add("%s: must hold no colon and no line end", key)
	}
}

// checkBoth finds a user name without a password, and a password without a user name. The keys of both begin with where.
func checkBoth(where, username string, password Secret, mistakes *Error) {
	switch {
	case username == "" && password.IsSet():
		mistakes.add("%susername: is missing beside the password", where)
	case username != "" && !password.IsSet():
		mistakes.add("%spassword: is missing beside the username", where)
	}
}

func checkRange(key string, n, least, most int, mistakes *Error) {
	if n < least || n > most {
		mistakes.add("%s: must be from %d to %d", key, least, most)
	}
}

func checkPositive(where string, d time.Duration, mistakes *Error) {
	if d <= 0 {
		mistakes.add("%s: must be more than nothing", where)
	}
}

func checkOneOf(where, value string, known []string, mistakes *Error) {
	if !slices.Contains(known, value) {
		last := len(known) - 1
		mistakes.add("%s: %q is not known; it is %s or %s", where, value, strings.Join(known[:last], ", "), known[last])
	}
}

// address reads a server's address. What is wrong with one that holds a password is told without the password.
func address(key, text string, mistakes *Error) *url.URL {
	if text == "" {
		mistakes.add("%s: is missing", key)
		return nil
	}
	parsed, err := url.Parse(text)
	switch {
	case err != nil:
		mistakes.add("%s: is no address; write it as https://host/path", key)
	case parsed.User != nil:
		mistakes.add("%s: must hold no user name and password; they have keys of their own", key)
	case parsed.Scheme != "http" && parsed.Scheme != "https", parsed.Hostname() == "":
		mistakes.add("%s: must begin with https:// or http:// and a host", key)
	case parsed.RawQuery != "" || parsed.ForceQuery || parsed.Fragment != "":
		mistakes.add("%s: must end with its path, without ? and #", key)
	default:
		parsed.Path = strings.TrimRight(parsed.Path, "/")
		return parsed
	}
	return nil
}

// path is where a file is. One that the file of settings names, or nobody does, is sought from the folder of that file.
func (c *Config) path(key, name string) string {
	origin, given := c.origins[key]
	if filepath.IsAbs(name) || c.file == "" || given && origin != c.file {
		return name
	}
	return filepath.Join(filepath.Dir(c.file), name)
}

// certificates makes the path of a file with certificates whole and makes sure that there are some.
func (c *Config) certificates(key, name string, mistakes *Error) string {
	if name == "" {
		return ""
	}
	name = c.path(key, name)
	content, err := os.ReadFile(name)
	if err != nil {
		mistakes.add("%s: %v", key, err)
	} else if !x509.NewCertPool().AppendCertsFromPEM(content) {
		mistakes.add("%s: %s holds no certificate in PEM form", key, name)
	}
	return name
}

// secretPath makes the path of a secret's file whole and makes sure that there is a secret.
func (c *Config) secretPath(key string, secret Secret, mistakes *Error) Secret {
	if secret.file != "" {
		key += "_file"
		secret.file = c.path(key, secret.file)
	}
	if _, err := secret.Reveal(); err != nil {
		mistakes.add("%s: %v", key, err)
	}
	return secret
}
