package orchestration

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/internal/target"
)

// clinic is a bench whose servers are watched, and may answer otherwise.
type clinic struct {
	*bench
	*Examiner

	mu sync.Mutex
	// wrote are the requests that were no reading.
	wrote []string
	asked int
	// instead may answer a request in the place of a server, and says whether it did.
	instead func(w http.ResponseWriter, r *http.Request) bool
}

func (c *clinic) watched(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.asked++
		if r.Method != http.MethodGet {
			text, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(text))
			c.wrote = append(c.wrote, r.Method+" "+r.URL.RequestURI()+" "+string(unpackedText(text)))
		}
		instead := c.instead
		c.mu.Unlock()
		if instead == nil || !instead(w, r) {
			handler.ServeHTTP(w, r)
		}
	})
}

func unpackedText(text []byte) []byte {
	if reader, err := gzip.NewReader(bytes.NewReader(text)); err == nil {
		text, _ = io.ReadAll(reader)
	}
	return text
}

// ailment is what is to be found out.
type ailment struct {
	version string
	// now is the time of all clocks; zero is afterOctober.
	now time.Time
	// store is one that several share; nil opens one.
	store *ledger.Ledger
	// country changes what both servers hold, set what is configured.
	country func(*sandbox.Country)
	set     func(*DataSet)
	// dhis2 and cht change the servers.
	dhis2   func(*sandbox.DHIS2Config)
	cht     func(*sandbox.CHTConfig)
	instead func(w http.ResponseWriter, r *http.Request) bool
}

func newClinic(t *testing.T, a ailment) *clinic {
	t.Helper()
	if a.version == "" {
		a.version = "2.42.5"
	}
	if a.now.IsZero() {
		a.now = afterOctober
	}
	b := &bench{
		country:   sandbox.NewCountry(sandbox.CountryConfig{Seed: 5, Facilities: 10, DataSets: 1, Elements: 6, Period: "202609"}),
		Submitter: &Submitter{Sources: map[string]Source{}, Destinations: map[string]Destination{}, SpoolDir: t.TempDir(), Now: func() time.Time { return a.now }},
	}
	b.set = b.country.DataSets[0]
	first, _ := dhis2.ParsePeriod("202601")
	b.DataSets = []DataSet{{ID: b.set, CHT: []string{"county"}, DHIS2: "national", FirstPeriod: first}}
	c := &clinic{bench: b, Examiner: NewExaminer(b.Submitter), instead: a.instead}
	if a.store == nil {
		b.remember(t, t.TempDir())
	} else {
		c.Open = func(context.Context) (*ledger.Ledger, func(), error) { return a.store, func() {}, nil }
	}
	if a.country != nil {
		a.country(b.country)
	}
	ofDHIS2 := sandbox.DHIS2Config{Version: a.version, Metadata: b.country.DHIS2, Users: b.country.Users, Now: b.Now}
	ofCHT := sandbox.CHTConfig{Documents: b.country.CHT}
	if a.dhis2 != nil {
		a.dhis2(&ofDHIS2)
	}
	if a.cht != nil {
		a.cht(&ofCHT)
	}
	b.dhis2, b.cht = sandbox.NewDHIS2(ofDHIS2), sandbox.NewCHT(ofCHT)
	base := &url.URL{Scheme: "http", Host: "stand-in.test"}
	basic := func(r *http.Request) { r.SetBasicAuth(b.country.CHTUsername, b.country.CHTPassword) }
	token := func(r *http.Request) { r.Header.Set("Authorization", "ApiToken "+b.country.DHIS2Token) }
	b.Sources["county"] = Source{Name: "county", Client: cht.New(base, inMemory{c.watched(b.cht), basic, 0})}
	b.Destinations["national"] = Destination{Name: "national", HasToken: true, Client: dhis2.New(base, inMemory{c.watched(b.dhis2), token, 50 * time.Second}, 1)}
	b.DataSets[0].Operation = Operation{Enabled: true, Schedule: "0 3 * * *", FirstAfterDays: 5, RereadDays: 30}
	if a.set != nil {
		a.set(&b.DataSets[0])
	}
	return c
}

// found looks for a finding.
func found(e Examination, light Light, check, detail string) bool {
	return slices.ContainsFunc(e.Findings, func(f Finding) bool {
		return f.State == light && strings.HasSuffix(f.Check, check) && strings.Contains(f.Detail, detail)
	})
}

func shown(e Examination) string {
	var text strings.Builder
	for _, f := range e.Findings {
		fmt.Fprintf(&text, "%s %s, %s: %s; what to do (%s): %s\n", f.State, f.Server, f.Check, f.Detail, f.Who, f.Remedy)
	}
	return text.String()
}

// onPath answers a path in the place of a server.
func onPath(part, contentType, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, part) {
			return false
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, body)
		return true
	}
}

func TestExaminationOfACountryInOrderIsGreenAndWritesNothing(t *testing.T) {
	for _, version := range []string{"2.42.5", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			c := newClinic(t, ailment{version: version})
			made := c.Examine(t.Context())
			if made.State != Green || made.Conclusion() != "everything is in order" || len(c.wrote) > 0 {
				t.Errorf("%s, it wrote %q:\n%s", made.State, c.wrote, shown(made))
			}
			areas := map[string]bool{}
			for _, f := range made.Findings {
				areas[f.Area] = true
				if f.Why == "" || f.Area == "mediator" || f.Result != "ok" {
					t.Errorf("a finding does not say why it matters: %+v", f)
				}
			}
			want := []string{"calendar", "clock", "data sets", "elements", "org units", "reachability", "rights", "schedule", "store", "version"}
			if got := slices.Sorted(maps.Keys(areas)); !slices.Equal(got, want) {
				t.Errorf("areas %v, want %v", got, want)
			}
		})
	}
}

// afterOctober is long after the month of which the country has figures.
var afterOctober = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// afterSeptember is when the month closed last of which the country has figures.
var afterSeptember = time.Date(2026, 10, 22, 9, 0, 0, 0, time.UTC)

func TestATrialImportIsADryRunOfRealValues(t *testing.T) {
	for _, version := range []string{"2.42.5", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			c := newClinic(t, ailment{version: version, now: afterSeptember})
			c.TryImport = true
			made := c.Examine(t.Context())
			if !found(made, Green, "trial import", "DHIS2 checked 20 values of 202609 from CHT county: 20 would be taken") {
				t.Error(shown(made))
			}
			if len(c.wrote) != 1 || !strings.HasPrefix(c.wrote[0], "POST /api/dataValueSets?dryRun=true") || strings.Contains(c.wrote[0], "completeDate") {
				t.Errorf("it wrote %q", c.wrote)
			}
			if stored := c.dhis2.Values(); len(stored) > 0 {
				t.Errorf("DHIS2 holds %d values", len(stored))
			}
		})
	}
}

func TestATriedExportTellsWhyValuesStayBehind(t *testing.T) {
	c := newClinic(t, ailment{now: afterSeptember, country: func(country *sandbox.Country) {
		targets := &country.CHT.Settings.Tasks.Targets
		again := targets.Items[0]
		again.ID, again.DHIS = "again", json.RawMessage(strings.TrimSuffix(string(again.DHIS), "}")+`,"categoryOptionCombo":"CocElsewhe1"}`)
		targets.Items = append(targets.Items, again)
	}})
	c.TryExport = true
	if made := c.Examine(t.Context()); !found(made, Amber, "export", "202609: 60 values, 10 of them stay behind; 10 x shared_element_collapses: ") {
		t.Error(shown(made))
	}
}

func TestATrialImportTellsWhatDHIS2Refuses(t *testing.T) {
	c := newClinic(t, ailment{version: "2.43.1", now: afterSeptember, country: func(country *sandbox.Country) {
		for i := range country.DHIS2.DataElements {
			country.DHIS2.DataElements[i].ValueType = "BOOLEAN"
		}
	}})
	c.TryImport, c.DataSets[0].Unchecked = true, true
	made := c.Examine(t.Context())
	if !found(made, Red, "trial import", "E8122") && !found(made, Amber, "trial import", "E8122") {
		t.Error(shown(made))
	}
	if stored := c.dhis2.Values(); len(stored) > 0 {
		t.Errorf("DHIS2 holds %d values", len(stored))
	}
}

func TestExaminationFindsWhatIsWrong(t *testing.T) {
	store, err := ledger.Open(t.Context(), ledger.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	user := func(change func(*sandbox.DHIS2User)) func(*sandbox.Country) {
		return func(country *sandbox.Country) { change(&country.Users[0]) }
	}
	metadata := func(change func(*sandbox.DHIS2Metadata)) func(*sandbox.Country) {
		return func(country *sandbox.Country) { change(&country.DHIS2) }
	}
	settings := func(change func(*sandbox.CHTSettings)) func(*sandbox.Country) {
		return func(country *sandbox.Country) { change(&country.CHT.Settings) }
	}
	for _, tt := range []struct {
		name    string
		ailment ailment
		light   Light
		check   string
		detail  string
		who     string
	}{
		{"metadata cut in the middle", ailment{instead: onPath("/api/dataSets/", "application/json", `{"id":"x","dataSetElements":[{"dataEl`)}, Red, "data set SET", "broke off", dhis2Admin},
		{"a page where the metadata should be", ailment{instead: onPath("/api/dataSets/", "text/html", "<html>Sign in")}, Red, "data set SET", "instead of JSON", dhis2Admin},
		{"a page where DHIS2 should be", ailment{instead: onPath("/api/system/info", "text/html", "<html>Sign in")}, Red, "connection", "instead of JSON", dhis2Admin},
		{"a page where the CHT should be", ailment{instead: onPath("/api/deploy-info", "text/html", "<html>Sign in")}, Red, "connection", "instead of JSON", chtAdmin},
		{"org units cut in the middle", ailment{instead: onPath("/api/organisationUnits", "application/json", `{"organisationUnits":[{"id":"a`)}, Red, "org units", "no JSON", dhis2Admin},
		{"a data set without org units", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) { m.DataSets[0].OrganisationUnits = nil })}, Red, "org units", "assigned to no org unit", dhis2Admin},
		{"an org unit that is not assigned", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) {
			m.DataSets[0].OrganisationUnits = m.DataSets[0].OrganisationUnits[1:]
		})}, Amber, "org units", "1 of 10 org units of CHT county", "DHIS2 admin, CHT admin, us"},
		{"an org unit that DHIS2 does not know", ailment{country: func(country *sandbox.Country) {
			for i := range country.CHT.Places {
				if country.CHT.Places[i].DHIS != nil {
					country.CHT.Places[i].DHIS = sandbox.CHTOrgUnits{{OrgUnit: "OuNowhere01"}}
					return
				}
			}
		}}, Amber, "org units", "(OuNowhere01): DHIS2 has no org unit", "DHIS2 admin, CHT admin, us"},
		{"an org unit on no place", ailment{country: func(country *sandbox.Country) {
			for i := range country.CHT.Places {
				if country.CHT.Places[i].DHIS != nil {
					country.CHT.Places[i].DHIS = nil
					return
				}
			}
		}}, Amber, "org units", "1 of 10 that the data set is assigned to are on no place", chtAdmin},
		{"org units one below the other", ailment{country: func(country *sandbox.Country) {
			district := country.DHIS2.OrganisationUnits[len(country.DHIS2.OrganisationUnits)-1].Parent.ID
			country.DHIS2.DataSets[0].OrganisationUnits = append(country.DHIS2.DataSets[0].OrganisationUnits, sandbox.DHIS2Ref{ID: district})
			country.CHT.Places[0].DHIS = sandbox.CHTOrgUnits{{OrgUnit: district}}
		}}, Amber, "nesting", "10 of the org units of CHT county lie below others that carry figures as well: ", "CHT admin, us"},
		{"an element that is not in the data set", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) {
			m.DataSets[0].DataSetElements = m.DataSets[0].DataSetElements[1:]
		})}, Amber, "elements", "1 of 6 elements of CHT county", "DHIS2 admin, CHT admin, us"},
		{"an element that is a text", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) { m.DataElements[0].ValueType = "TEXT" })}, Amber, "elements", "is TEXT, so that its figures add up to nothing", ""},
		{"an element that takes no large count", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) { m.DataElements[0].ValueType = "PERCENTAGE" })}, Amber, "elements", `the value "1000" does not fit`, ""},
		{"an element that takes no zero", ailment{version: "2.43.1", country: metadata(func(m *sandbox.DHIS2Metadata) { m.DataElements[0].ValueType = "INTEGER_POSITIVE" })}, Amber, "elements", `the value "0" does not fit`, ""},
		{"an element that is disaggregated", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) {
			m.DataElements[0].CategoryCombo = sandbox.DHIS2Ref{ID: m.CategoryCombos[0].ID}
		})}, Amber, "elements", "names no category option combo", ""},
		{"a target with a combo that is another one's", ailment{country: settings(func(s *sandbox.CHTSettings) {
			text := string(s.Tasks.Targets.Items[0].DHIS)
			s.Tasks.Targets.Items[0].DHIS = json.RawMessage(strings.TrimSuffix(text, "}") + `,"categoryOptionCombo":"CocElsewhe1"}`)
		})}, Amber, "elements", "CocElsewhe1", ""},
		{"targets that share an element", ailment{country: settings(func(s *sandbox.CHTSettings) {
			again := s.Tasks.Targets.Items[0]
			again.ID, again.DHIS = "again", json.RawMessage(strings.TrimSuffix(string(again.DHIS), "}")+`,"categoryOptionCombo":"CocElsewhe1"}`)
			s.Tasks.Targets.Items = append(s.Tasks.Targets.Items, again)
		})}, Amber, "shared elements", "under different combos", "CHT admin, us"},
		{"a target that the export leaves out", ailment{country: settings(func(s *sandbox.CHTSettings) {
			s.Tasks.Targets.Items[0].DHIS = json.RawMessage("[" + string(s.Tasks.Targets.Items[0].DHIS) + "]")
		})}, Amber, "targets", "leaves it out", "CHT admin, us"},
		{"a data set without elements", ailment{country: settings(func(s *sandbox.CHTSettings) {
			for i := range s.Tasks.Targets.Items {
				s.Tasks.Targets.Items[i].DHIS = nil
			}
		})}, Red, "data set SET", "no target of the CHT's settings names a data element of data set", "CHT admin, us"},
		{"targets of which the denominator is sent", ailment{}, Green, "percent targets", "the denominator is sent", ""},
		{"a fault of the CHT that is known here", ailment{cht: func(c *sandbox.CHTConfig) { c.Version = "4.13.0" }, set: func(s *DataSet) { s.KnownFaults = []string{"cht-daily", "cht-9714"} }},
			Green, "version", "are known here, by known_faults", ""},
		{"workers of a type that there is not", ailment{set: func(s *DataSet) { s.Coverage = CoveragePolicy{On: true, ExpectedTypes: []string{"chw", "chv"}} }},
			Amber, "expected workers", "types that the CHT has not: chv", us},
		{"workers who are expected", ailment{set: func(s *DataSet) { s.Coverage = CoveragePolicy{On: true, ExpectedTypes: []string{"chw"}} }}, Green, "expected workers", "type chw", ""},
		{"a category option that may not be written", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) {
			m.DataElements[0].CategoryCombo = sandbox.DHIS2Ref{ID: m.CategoryCombos[0].ID}
			m.CategoryOptions[0].Sharing.Public = "r-r-----"
		})}, Amber, "category options", "may not write data of the category options", dhis2Admin},
		{"an org unit that is closed", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) {
			m.OrganisationUnits[len(m.OrganisationUnits)-1].ClosedDate = "2025-12-31"
		})}, Amber, "org units", "closed on 2025-12-31", ""},
		{"org units outside the account's", ailment{country: func(country *sandbox.Country) {
			country.Users[0].OrgUnits = []string{country.DHIS2.OrganisationUnits[len(country.DHIS2.OrganisationUnits)-1].ID}
		}}, Amber, "org units", "9 of 10 org units of CHT county", ""},
		{"rules with a slip of the pen", ailment{set: func(s *DataSet) { s.Rules.ExcludeOrgUnits = []string{"OuMisspel01"} }}, Amber, "rules", "on no place of its CHT: OuMisspel01", us},
		{"elements with a slip of the pen", ailment{set: func(s *DataSet) { s.Rules.RenameDataElements = map[string]string{"DeMisspel01": "DeOther0001"} }}, Amber, "rules", "no target of its CHT has: DeMisspel01", us},
		{"a target with a slip of the pen", ailment{set: func(s *DataSet) {
			s.FromTargets, s.Targets.Items = true, []target.Item{{Target: "birth", DataElement: "DeBirths001"}}
		}}, Amber, "rules", "targets in targets_file that its CHT does not have: birth", us},
		{"contact types with a slip of the pen", ailment{set: func(s *DataSet) { s.FromTargets, s.Targets.ExcludeTypes = true, []string{"chw", "supervisr"} }}, Amber, "rules", "contact types that its CHT does not have: supervisr", us},
		{"rows of targets that lead elsewhere", ailment{set: func(s *DataSet) {
			s.FromTargets = true
			s.Targets.Items = []target.Item{{Target: "any", DataElement: "DeMisspel01"}}
		}}, Red, "elements", "1 of 1 elements of CHT county (DeMisspel01)", ""},
		{"a district that joins and is none", ailment{set: func(s *DataSet) { s.Compare.LiveFrom = []LiveFrom{{OrgUnit: "OuMisspel01"}} }}, Amber, "rules", "live_from below which", us},
		{"a first period that is not over", ailment{set: func(s *DataSet) { s.FirstPeriod, _ = dhis2.ParsePeriod("202712") }}, Amber, "first period", "nothing before 202712 is sent", us},
		{"a source whose time zone is not set", ailment{instead: onPath("/api/system/info", "application/json", `{"version":"2.42.5","calendar":"iso8601","serverDate":"2026-11-22T12:00:00.000","serverTimeZoneId":"Africa/Nairobi"}`)},
			Amber, "time zone", "CHT county counts in UTC, and DHIS2 in Africa/Nairobi", us},
		{"no element that fits", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) { m.DataSets[0].DataSetElements = nil })}, Red, "elements", "6 of 6 elements of CHT county", ""},
		{"a user without any right", ailment{country: user(func(u *sandbox.DHIS2User) { u.Authorities, u.OrgUnits = nil, nil })}, Red, "authority F_DATAVALUE_ADD", "cht_integration lacks", dhis2Admin},
		{"a user without an org unit", ailment{country: user(func(u *sandbox.DHIS2User) { u.OrgUnits = nil })}, Red, "capture org units", "no data capture org unit", dhis2Admin},
		{"a super user", ailment{country: user(func(u *sandbox.DHIS2User) { u.Authorities = []string{"ALL"} })}, Amber, "super user", "leaves checks out", dhis2Admin},
		{"a data set that may not be written", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) { m.DataSets[0].Sharing.Public = "r-r-----" })}, Red, "data writing", "may not write", dhis2Admin},
		{"a data set that may not be read", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) { m.DataSets[0].Sharing.Public = "r--w----" })}, Amber, "data reading", "may not read", "DHIS2 admin, us"},
		{"a token that ends", ailment{instead: onPath("/api/apiToken", "application/json", fmt.Sprintf(`{"apiToken":[{"id":"a","expire":%d}]}`, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC).UnixMilli()))}, Red, "token", "it ends on 2026-11-24, in 1 day", "DHIS2 admin, us"},
		{"one token of several that ends", ailment{instead: onPath("/api/apiToken", "application/json", fmt.Sprintf(`{"apiToken":[{"id":"a","expire":%d},{"id":"b","expire":%d}]}`,
			time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC).UnixMilli(), time.Date(2027, 11, 24, 0, 0, 0, 0, time.UTC).UnixMilli()))}, Amber, "token", "the account has 2 tokens", "DHIS2 admin, us"},
		{"a DHIS2 out of support", ailment{version: "2.39.4"}, Amber, "version", "2.39.4 is out of support", dhis2Admin},
		{"input periods that are inverted", ailment{version: "2.43.1", country: metadata(func(m *sandbox.DHIS2Metadata) {
			m.DataSets[0].DataInputPeriods = []sandbox.DHIS2InputPeriod{{Period: sandbox.DHIS2Ref{ID: "202610"}}}
		})}, Amber, "version", "has the test of input periods inverted", dhis2Admin},
		{"a clock that is off", ailment{dhis2: func(c *sandbox.DHIS2Config) {
			now := c.Now
			c.Now = func() time.Time { return now().Add(-5 * time.Minute) }
		}}, Amber, "clock", "5m0s behind ours", "us, DHIS2 admin"},
		{"a clock of another day", ailment{dhis2: func(c *sandbox.DHIS2Config) {
			now := c.Now
			c.Now = func() time.Time { return now().Add(20 * time.Hour) }
		}}, Red, "clock", "20h0m0s ahead of ours, on another day", "us, DHIS2 admin"},
		{"another calendar", ailment{dhis2: func(c *sandbox.DHIS2Config) { c.Calendar = "nepali" }}, Red, "calendar", "nepali", dhis2Admin},
		{"a CHT that may set figures to 0", ailment{cht: func(c *sandbox.CHTConfig) { c.Version = "4.13.0" }}, Amber, "version", "4.13.0 writes a worker's figures once a day at most", "CHT admin, us"},
		{"a CHT without an export", ailment{cht: func(c *sandbox.CHTConfig) { c.Version = "3.8.2" }}, Red, "version", "3.8.2 has no export", chtAdmin},
		{"months that begin in the middle", ailment{country: settings(func(s *sandbox.CHTSettings) { s.UHC.MonthStartDate = 26 })}, Amber, "month start", "period 202608 is of 2026-07-26 to 2026-08-25", "CHT admin, us"},
		{"nobody may export", ailment{country: settings(func(s *sandbox.CHTSettings) {
			s.Permissions = map[string][]string{"can_export_dhis": {"integration"}}
		})}, Red, "permission can_export_all", "can_export_dhis: integration, which is not enough", chtAdmin},
		{"a role that the settings do not list", ailment{country: settings(func(s *sandbox.CHTSettings) { delete(s.Roles, "integration") })}, Red, "permission can_export_all", "grants nothing", chtAdmin},
		{"an offline user", ailment{country: func(country *sandbox.Country) { country.CHT.Users[0].Roles = []string{"integration"} }}, Red, "online user", "403", chtAdmin},
		{"a data set that the CHT does not know", ailment{country: settings(func(s *sandbox.CHTSettings) { s.DHISDataSets = nil })}, Red, "data set SET", "it knows none", "CHT admin, us"},
		{"a data set that is switched off", ailment{set: func(s *DataSet) { s.Operation.Enabled = false }}, Amber, "schedule", "switched off", us},
		{"a schedule that never comes", ailment{set: func(s *DataSet) { s.Operation.Schedule = "0 3 30 2 *" }}, Red, "schedule", "never comes", us},
		{"hours in which the schedule never comes", ailment{set: func(s *DataSet) { s.Operation.SendingHours = "20:00-23:00" }}, Amber, "sending hours", "waits for them", us},
		{"re-reads into a locked period", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) { m.DataSets[0].ExpiryDays = 10 })}, Amber, "window", "locks it after day 10", "us, DHIS2 admin"},
		{"re-reads without the right to send them", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) { m.DataSets[0].ExpiryDays = 10 })}, Amber, "authority F_EDIT_EXPIRED", "cht_integration lacks it", "DHIS2 admin, us"},
		{"registrations that DHIS2 would refuse", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) { m.DataSets[0].CompulsoryFieldsCompleteOnly = true }),
			set: func(s *DataSet) { s.Completeness.WhenAccepted = true }}, Amber, "completeness", "compulsory fields", "DHIS2 admin, us"},
		{"a window that ends with the lock", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) { m.DataSets[0].ExpiryDays = 30 })}, Green, "window", "DHIS2 locks it after day 30", ""},
		{"a first day that is the lock's", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) { m.DataSets[0].ExpiryDays = 5 })}, Red, "window", "it is never sent in time", ""},
		{"a period that is locked before it goes", ailment{country: metadata(func(m *sandbox.DHIS2Metadata) { m.DataSets[0].ExpiryDays = 3 })}, Red, "window", "it is never sent in time", "us, DHIS2 admin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.ailment.store = store
			c := newClinic(t, tt.ailment)
			tt.check = strings.ReplaceAll(tt.check, "SET", c.set)
			made := c.Examine(t.Context())
			if !found(made, tt.light, tt.check, tt.detail) {
				t.Fatal(shown(made))
			}
			for _, f := range made.Findings {
				if f.State != Green && (f.Who == "" || f.Why == "") || f.State == Red && (f.Remedy == "" || f.Reason == "") {
					t.Errorf("a finding that nobody can act on: %+v", f)
				}
				if f.State == tt.light && strings.HasSuffix(f.Check, tt.check) && strings.Contains(f.Detail, tt.detail) && tt.who != "" && f.Who != tt.who {
					t.Errorf("who can: %s, want %s", f.Who, tt.who)
				}
			}
			if len(c.wrote) > 0 {
				t.Errorf("it wrote %q", c.wrote)
			}
		})
	}
}

func TestOrgUnitsOfSeveralSourcesAreFound(t *testing.T) {
	c := newClinic(t, ailment{})
	other := c.Sources["county"]
	other.Name = "other"
	c.Sources["other"] = other
	c.DataSets[0].CHT = []string{"county", "other"}
	if made := c.Examine(t.Context()); !found(made, Amber, "org units", "10 org units are on places of several CHT servers, such as county and other") {
		t.Error(shown(made))
	}
	c.DataSets[0].Compare.AddUp = true
	if made := c.Examine(t.Context()); made.State != Green {
		t.Error(shown(made))
	}
}

func TestAnOrgUnitThatARuleLeavesOutIsNotMissed(t *testing.T) {
	c := newClinic(t, ailment{})
	c.DataSets[0].Rules.ExcludeOrgUnits = []string{c.country.DHIS2.DataSets[0].OrganisationUnits[0].ID}
	if made := c.Examine(t.Context()); made.State != Green || !found(made, Green, "org units", "all 9 org units of CHT county fit") {
		t.Error(shown(made))
	}
}

func TestASourceThatIsAwayIsNoReasonToMissItsOrgUnits(t *testing.T) {
	c := newClinic(t, ailment{instead: onPath("/_view/", "text/html", "<html>")})
	made := c.Examine(t.Context())
	if !found(made, Amber, "online user", "instead of JSON") || found(made, Amber, "org units", "") || found(made, Red, "org units", "") {
		t.Error(shown(made))
	}
}

func TestAServerThatIsAwayHidesNothingOfTheOthers(t *testing.T) {
	for _, tt := range []struct{ name, path, server string }{{"DHIS2", "/api/system/info", "national"}, {"the CHT", "/api/deploy-info", "county"}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClinic(t, ailment{instead: func(_ http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == tt.path {
						panic(http.ErrAbortHandler)
					}
					return false
				}})
				made := c.Examine(t.Context())
				if !found(made, Red, "connection", "broke off") || !found(made, Green, "connection", "credentials accepted") || !found(made, Green, "data folder", "") || !found(made, Green, "schedule", "") {
					t.Error(shown(made))
				}
			})
		})
	}
}

func TestAnExaminationThatIsInterruptedSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newClinic(t, ailment{instead: func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/api/me" {
			cancel()
		}
		return false
	}})
	made := c.Examine(ctx)
	if !found(made, Red, "examination", "it was interrupted") || !found(made, Green, "connection", "CHT") {
		t.Error(shown(made))
	}
}

func TestARecentExaminationIsGivenAgain(t *testing.T) {
	c := newClinic(t, ailment{})
	now := c.Now()
	c.Now = func() time.Time { return now }
	first, err := c.Recent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	asked := c.asked
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if again, err := c.Recent(t.Context()); err != nil || !again.ExaminedAt.Equal(first.ExaminedAt) {
				t.Errorf("another one: %v", err)
			}
		})
	}
	all.Wait()
	if c.asked != asked {
		t.Errorf("%d requests for an examination that is recent", c.asked-asked)
	}
	now = now.Add(time.Minute)
	gone, cancel := context.WithCancel(t.Context())
	c.instead = func(http.ResponseWriter, *http.Request) bool {
		cancel() // who asked goes away, and the others get it all the same
		return false
	}
	if again, err := c.Recent(gone); err != nil || !again.ExaminedAt.After(first.ExaminedAt) || again.State != Green {
		t.Errorf("%v:\n%s", err, shown(again))
	}
}

func TestAChangedConfigurationIsExaminedAndToldOnce(t *testing.T) {
	c := newClinic(t, ailment{set: func(s *DataSet) { s.Operation.Schedule = "" }})
	c.Configuration = "one"
	change := func() (asked int) {
		t.Helper()
		before := c.asked
		if err := c.examineChange(t.Context()); err != nil {
			t.Fatal(err)
		}
		return c.asked - before
	}
	if change() == 0 {
		t.Error("the first configuration was not examined")
	}
	if n := change(); n > 0 {
		t.Errorf("%d requests although nothing changed", n)
	}
	telling := Telling{URN: "urn:x", Ledger: c.Ledger, Now: c.Now, Untold: c.Untold}
	steps := func(submission string) (names []string) {
		t.Helper()
		letters, err := telling.Letters(t.Context(), Conclusion{Submission: ledger.Submission{ID: submission, State: ledger.Accepted}})
		if err != nil || len(letters) != 1 {
			t.Fatal(letters, err)
		}
		var one told
		if err := json.Unmarshal(letters[0].Body, &one); err != nil {
			t.Fatal(err)
		}
		for _, o := range one.Transaction.Orchestrations {
			if o.Group == "examine" {
				names = append(names, o.Name+" "+o.Response.Body)
			}
		}
		return names
	}
	for _, again := range []string{"for the first time", "and again, as after a crash"} {
		if got := steps("a"); len(got) != 1 || !strings.Contains(got[0], "Examine the changed configuration: 0 red, 1 amber") || !strings.Contains(got[0], "there is no schedule") {
			t.Errorf("%s: %q", again, got)
		}
	}
	if got := steps("b"); len(got) > 0 {
		t.Errorf("it is told twice: %q", got)
	}
	c.Configured(t.Context(), []byte(`{"data_sets":[{"id":"`+c.set+`","schedule":"0 4 * * *"}]}`))
	if change() == 0 {
		t.Error("what the console says was not examined")
	}
	if got := steps("c"); len(got) > 0 {
		t.Errorf("there is nothing to be told: %q", got)
	}
}

func TestAnExaminationThatWasInterruptedIsMadeAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newClinic(t, ailment{instead: func(http.ResponseWriter, *http.Request) bool {
		cancel()
		return false
	}})
	if err := c.examineChange(ctx); err != nil {
		t.Error(err)
	}
	if known, err := c.examinedChange(t.Context()); err != nil || known.Fingerprint != "" {
		t.Errorf("it counts as examined: %+v, %v", known, err)
	}
}

func TestServiceExaminesBesideItsWorkWhateverIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClinic(t, ailment{instead: func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { c.Watch(ctx) })
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		known, err := c.examinedChange(ctx)
		if err != nil || known.Red < 2 {
			t.Errorf("%+v, %v", known, err)
		}
		cancel()
		all.Wait()
	})
}

func TestThePageEscapesWhatServersSay(t *testing.T) {
	made := concluded(time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC), []Finding{
		{State: Amber, Server: "national", Check: "connection", Detail: `<script>alert("x")</script>`, Remedy: "a & b"}, {State: Green, Server: "county", Check: "clock", Detail: "fine"},
	})
	var page strings.Builder
	if err := made.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"&lt;script&gt;", "a &amp; b", "Examined on 2026-11-22 09:00 UTC: 0 red, 1 amber, 1 green", `<td class="amber">amber</td>`, "To be looked at", "In order"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page has no %q:\n%s", want, page.String())
		}
	}
	if strings.Contains(page.String(), "<script") {
		t.Error("the page runs something")
	}
}

func TestAFindingKeepsNoSecret(t *testing.T) {
	var list []Finding
	p := sheet{"national", dhis2Admin, "", &list}
	p.red("connection", DHIS2Unavailable, &UsageError{What: "get https://user:Secret.123@dhis2.example.org: Authorization: ApiToken d2pat_abcdefghijklmnopqrstuvwxyz0123456789ABC1234567890", Remedy: "look"})
	if text := list[0].Detail; strings.Contains(text, "Secret.123") || strings.Contains(text, "d2pat_a") {
		t.Error(text)
	}
}

func TestTheWayToAServerIsLookedAt(t *testing.T) {
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	r := &examining{Examiner: NewExaminer(&Submitter{Now: func() time.Time { return now }}), now: now}
	for _, tt := range []struct {
		name  string
		peer  Peer
		light Light
		check string
	}{
		{"a good certificate", Peer{CertificateEnds: now.AddDate(0, 0, 90)}, Green, "certificate"},
		{"one that ends soon", Peer{CertificateEnds: now.AddDate(0, 0, 20)}, Amber, "certificate"},
		{"one that ends now", Peer{CertificateEnds: now.AddDate(0, 0, 3)}, Red, "certificate"},
		{"one that has ended", Peer{CertificateEnds: now.AddDate(0, 0, -3)}, Red, "certificate"},
		{"an old one of the fingerprint", Peer{IsPinned: true, CertificateEnds: now.AddDate(0, 0, -3)}, Amber, "certificate"},
		{"no TLS", Peer{IsPlain: true}, Amber, "encryption"},
		{"any certificate", Peer{IsUnverified: true, CertificateEnds: now.AddDate(0, 0, 90)}, Amber, "encryption"},
		{"a clock that agrees", Peer{IsDated: true, Offset: 30 * time.Second}, Green, "clock"},
		{"a clock that does not", Peer{IsDated: true, Offset: -2 * time.Minute}, Amber, "clock"},
		{"a clock of another day", Peer{IsDated: true, Offset: 16 * time.Hour}, Red, "clock"},
	} {
		var list []Finding
		r.way(sheet{"national", dhis2Admin, "", &list}, func() Peer { return tt.peer })
		if len(list) != 1 || list[0].State != tt.light || list[0].Check != tt.check {
			t.Errorf("%s: %+v", tt.name, list)
		}
	}
}

func TestOpenHIMIsLookedAt(t *testing.T) {
	c := newClinic(t, ailment{})
	him := c.watched(sandbox.NewOpenHIM(sandbox.OpenHIMConfig{Version: "8.5.0"}))
	base := &url.URL{Scheme: "http", Host: "stand-in.test"}
	client := func(password string) *openhim.Client {
		return openhim.New(base, inMemory{him, func(*http.Request) {}, 0}, openhim.Account{Username: "root@openhim.org", Password: func() (string, error) { return password, nil }})
	}
	c.OpenHIM = &Hub{Client: client("openhim-password"), URN: "urn:mediator:x", Channel: "CHT to DHIS2", Heartbeat: time.Second}
	made := c.Examine(t.Context())
	if !found(made, Green, "connection", "OpenHIM 8.5.0") || !found(made, Amber, "channel", "no channel of this name") || !found(made, Green, "permissions", "") {
		t.Error(shown(made))
	}
	c.OpenHIM.Client = client("wrong")
	c.OpenHIM.Registration = &UsageError{What: "the host is missing", Remedy: "set openhim.host"}
	made = c.Examine(t.Context())
	if !found(made, Red, "connection", "401") || !found(made, Red, "registration", "host is missing") {
		t.Error(shown(made))
	}
	if len(c.wrote) > 0 {
		t.Errorf("it wrote %q", c.wrote)
	}
}
