package orchestration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// version puts a CHT of another version in the place of the one there is.
func (l *lateData) version(version string) {
	l.cht = sandbox.NewCHT(sandbox.CHTConfig{Documents: l.country.CHT, Version: version})
	l.reads(l.cht)
}

// reads lets the CHT be read through a handler.
func (l *lateData) reads(handler http.Handler) {
	basic := func(r *http.Request) { r.SetBasicAuth(l.country.CHTUsername, l.country.CHTPassword) }
	source := l.Sources["county"]
	source.Client = cht.New(&url.URL{Scheme: "http", Host: "stand-in.test"}, inMemory{handler, basic, 0})
	l.Sources["county"] = source
}

func TestFaultsOfAVersionAreNamedUntilTheyAreKnown(t *testing.T) {
	l := newFewData(t, "2.43.1")
	for _, test := range []struct {
		version string
		known   []string
		want    []string
	}{
		{"4.13.0", nil, []string{"cht-9714: CHT 4.13.0", "cht-daily: CHT 4.13.0"}},
		{"4.14.0", nil, []string{"cht-9714: CHT 4.14.0"}},
		{"4.15.1", []string{"cht-daily"}, []string{"cht-9714: CHT 4.15.1"}},
		{"4.13.0", []string{"cht-9714", "cht-daily"}, nil},
		{"4.16.0", nil, nil},
		{"5.2.0", nil, nil},
		{"a-branch", nil, nil},
	} {
		l.versions = nil
		l.version(test.version)
		l.DataSets[0].KnownFaults = test.known
		l.says("a.x=3 b.x=7")
		r, _ := l.submit(t, t.Context())
		var told []string
		for _, i := range r.Issues {
			if i.Code == "cht_known_fault" {
				told = append(told, i.Text)
				if !strings.Contains(i.Remedy, "known_faults: ["+i.Text[:strings.Index(i.Text, ":")]+"]") {
					t.Errorf("%s: what to do is %q", test.version, i.Remedy)
				}
			}
		}
		slices.Sort(told)
		ok := len(told) == len(test.want)
		for i := range test.want {
			ok = ok && strings.HasPrefix(told[i], test.want[i])
		}
		if !ok || r.State == ledger.Failed {
			t.Errorf("%s, known %v: %s, told of %q, want %q", test.version, test.known, r.State, told, test.want)
		}
	}
}

func TestTheVersionIsAskedForOnceAnHourAndFailsNothing(t *testing.T) {
	l := newFewData(t, "2.43.1")
	now, asked, away := nine, 0, true
	l.Now = func() time.Time { return now }
	l.version("4.15.0")
	l.reads(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/deploy-info" {
			if asked++; away {
				w.WriteHeader(http.StatusNotFound)
				return
			}
		}
		l.cht.ServeHTTP(w, r)
	}))
	submit := func(values string, state ledger.State, told bool, times int) {
		t.Helper()
		l.says(values)
		r, _ := l.submit(t, t.Context())
		if r.State != state || strings.Contains(codes(r), "cht_known_fault") != told || asked != times {
			t.Errorf("%s: %s %q %s, asked %d times, want %d", values, r.State, r.Error, codes(r), asked, times)
		}
	}
	submit("a.x=3", ledger.Accepted, false, 1)
	away = false
	submit("a.x=4", ledger.Accepted, true, 2)
	now = now.Add(59 * time.Minute)
	submit("a.x=5", ledger.Accepted, true, 2)
	now = now.Add(2 * time.Minute)
	submit("a.x=6", ledger.Accepted, true, 3)
}

// issueOf gives the text and remedy of a blocking issue, which must be what ended the submission.
func issueOf(t *testing.T, r Report, code string) (text, remedy string) {
	t.Helper()
	for _, i := range r.Issues {
		if i.Code == code && i.Severity == "blocking" {
			if !strings.Contains(r.Error, i.Text) || r.Remedy != i.Remedy {
				t.Errorf("it ended for %q, %q; the issue is %q, %q", r.Error, r.Remedy, i.Text, i.Remedy)
			}
			return i.Text, i.Remedy
		}
	}
	t.Errorf("no issue %s: %s %q, %s", code, r.State, r.Error, codes(r))
	return "", ""
}

func TestADataSetWithoutElementsIsNamed(t *testing.T) {
	for _, listed := range []bool{false, true} {
		t.Run(fmt.Sprintf("listed %t", listed), func(t *testing.T) {
			l := newFewData(t, "2.43.1")
			l.cht.Change(func(d *sandbox.CHTDocuments) {
				for i := range d.Settings.Tasks.Targets.Items {
					target := &d.Settings.Tasks.Targets.Items[i]
					if target.DHIS = json.RawMessage("[" + string(target.DHIS) + "]"); !listed {
						target.DHIS = nil
					}
				}
			})
			r, _ := l.submit(t, t.Context())
			text, remedy := issueOf(t, r, "data_set_without_elements")
			if r.Reason != Configuration || !strings.Contains(text, "no target of the CHT's settings names a data element of data set "+l.set) ||
				strings.Contains(remedy, "source: targets") != listed {
				t.Errorf("%s %q, %q", r.Reason, text, remedy)
			}
		})
	}
}

func TestAMonthThatIsTooLargeForTheExportIsNamed(t *testing.T) {
	l := newFewData(t, "2.43.1")
	l.cht.Change(func(d *sandbox.CHTDocuments) {
		for i := range 2000 {
			more := d.Targets[0]
			more.ID, more.Owner, more.User = fmt.Sprintf("target~2026-09~more-%d~org.couchdb.user:more-%d", i, i), fmt.Sprint("more-", i), fmt.Sprint("org.couchdb.user:more-", i)
			d.Targets = append(d.Targets, more)
		}
	})
	failed := &cht.Error{Doing: "fetch", Kind: cht.Unavailable, Status: http.StatusInternalServerError, What: "the server answered 500", Remedy: "usual causes"}
	for _, test := range []struct {
		name    string
		targets int
		month   cht.Month
		away    bool
		want    string
	}{
		{"large", 5000, cht.Month{Year: 2026, Month: time.September}, false, "the month has 2,048 target documents of up to 5,000 targets, and the CHT's export fails above about 1,680 of them"},
		{"another month", 5000, cht.Month{Year: 2026, Month: time.August}, false, ""},
		{"few targets", 100, cht.Month{Year: 2026, Month: time.September}, false, ""},
		{"that cannot be counted", 5000, cht.Month{Year: 2026, Month: time.September}, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &Plan{parties: parties{set: l.DataSets[0], from: l.Sources["county"]}, described: &cht.Settings{Undirected: make([]cht.Target, test.targets)}}
			for i := range p.described.Undirected {
				p.described.Undirected[i].ID = fmt.Sprint("target-", i)
			}
			if test.away {
				l.cht.Fail(sandbox.Fault{Kind: sandbox.Status, Status: http.StatusNotFound, Path: "/medic/_all_docs"})
			}
			err := l.exportFault(t.Context(), p, test.month, failed)
			var named *sourceFault
			if !errors.As(err, &named) {
				if test.want != "" || !errors.Is(err, failed) {
					t.Errorf("got %v", err)
				}
				return
			}
			f := failureOf(err)
			if test.want == "" || named.Code != "cht_known_fault" || !strings.Contains(f.text, test.want) || !strings.Contains(f.remedy, "source: targets") || f.reason != CHTUnavailable {
				t.Errorf("got %+v: %v", f, err)
			}
		})
	}
}

func TestNepaliMonthsHaveACode(t *testing.T) {
	l := newFewData(t, "2.43.1")
	l.cht.Change(func(d *sandbox.CHTDocuments) { d.Settings.UHC.VisitCount.NepaliMonths = true })
	r, _ := l.submit(t, t.Context())
	if _, remedy := issueOf(t, r, "nepali_months"); r.Reason != Configuration || !strings.Contains(remedy, "cht-core 10652, 11342, 11413") {
		t.Errorf("%s, %q", r.Reason, remedy)
	}
}

// A month of a CHT whose months begin on another day is closed when its last day is over there.
func TestAMonthIsClosedByTheDayOnWhichMonthsBegin(t *testing.T) {
	l := newFewData(t, "2.43.1")
	nairobi := time.FixedZone("EAT", 3*60*60)
	source := l.Sources["county"]
	source.Zone = nairobi
	l.Sources["county"] = source
	for _, test := range []struct {
		start        int
		period, last string
	}{
		{25, "202608", "2026-08-24"}, {26, "202608", "2026-08-25"}, {31, "202608", "2026-08-30"}, {31, "202606", "2026-06-30"},
		{25, "202602", "2026-02-24"}, {26, "202602", "2026-02-25"}, {31, "202602", "2026-02-28"}, {1, "202602", "2026-02-28"},
	} {
		l.cht.Change(func(d *sandbox.CHTDocuments) { d.Settings.UHC.MonthStartDate = test.start })
		l.saysOf(test.period, "a.x=3")
		day, _ := time.ParseInLocation(time.DateOnly, test.last, nairobi)
		for _, at := range []struct {
			now    time.Time
			closed bool
		}{{day.Add(24*time.Hour - time.Second), false}, {day.Add(24 * time.Hour), true}} {
			l.Now = func() time.Time { return at.now }
			p, err := l.Prepare(t.Context(), Request{DataSet: l.set, Period: test.period, CHT: "county"})
			if err != nil {
				t.Fatal(err)
			}
			r := p.Report()
			p.Close()
			if open := strings.Contains(codes(r), "period_not_closed"); open == at.closed {
				t.Errorf("start %d, %s at %s: %s %q", test.start, test.period, at.now, r.State, r.Error)
			}
			if !at.closed && !strings.Contains(r.Error, "its last day is "+test.last) {
				t.Errorf("start %d, %s: %q", test.start, test.period, r.Error)
			}
		}
	}
}

func TestOrgUnitsInWhichEverythingIsZeroAreCounted(t *testing.T) {
	l := newFewData(t, "2.43.1")
	l.says("a.x=3 b.x=0 b.z=0 c.x=0")
	r, _ := l.submit(t, t.Context())
	at := slices.IndexFunc(r.Rules, func(u RuleUse) bool { return u.Rule == mapping.EmptyOrgUnits.String() })
	if r.State != ledger.Accepted || r.OrgUnits.Dropped != 2 || r.Counts.Dropped != 3 || at < 0 || r.Rules[at].Values != 3 || l.holds() != "a.x=3" {
		t.Errorf("%s %+v %+v %+v, DHIS2 holds %s", r.State, r.OrgUnits, r.Counts, r.Rules, l.holds())
	}
}

// docs/source-checks.md explains each of these codes, and no code that nothing gives.
func TestEachCheckOfTheSourceIsExplained(t *testing.T) {
	docs, err := os.ReadFile("../docs/source-checks.md")
	if err != nil {
		t.Fatal(err)
	}
	var sources strings.Builder
	for _, pattern := range []string{"*.go", "../internal/mapping/*.go"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources.Write(text)
		}
	}
	explained := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| \\S.* \\| .*\\S.* \\| .*\\|$").FindAllStringSubmatch(string(docs), -1) {
		if explained[row[1]] = true; !strings.Contains(sources.String(), `"`+row[1]+`"`) {
			t.Errorf("nothing gives %s", row[1])
		}
	}
	for _, code := range []string{
		string(mapping.Collapsed), string(mapping.Denominator), "target_not_exported", nestedCode, "data_set_without_elements", "org_units_without_figures",
		"cht_settings_changed", "cht_known_fault", nepaliCode, "period_not_closed", mapping.EmptyOrgUnits.String(),
	} {
		if !explained[code] {
			t.Errorf("%s is not explained", code)
		}
	}
}
