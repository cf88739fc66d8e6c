package handlers

import (
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

func TestDocumentAndRouterKnowTheSameRoutes(t *testing.T) {
	b := newBench(t, 0, func(c *Config) { c.Metrics = http.NotFoundHandler() })
	d, err := newDoor(b.Config)
	if err != nil {
		t.Fatal(err)
	}
	parameter := regexp.MustCompile(`:(\w+)`)
	var served, heads, described []string
	for _, route := range d.routes().Routes() {
		path := parameter.ReplaceAllString(route.Path, "{$1}")
		if route.Method == http.MethodHead {
			heads = append(heads, path)
			continue
		}
		served = append(served, route.Method+" "+path)
	}
	for path, item := range document(t).Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if diff := cmp.Diff(described, served); diff != "" {
		t.Errorf("-described +served:\n%s", diff)
	}
	for _, route := range served {
		path, isGet := strings.CutPrefix(route, "GET ")
		if want := isGet && path != Base+"/poll"; isGet && want != slices.Contains(heads, path) {
			t.Errorf("HEAD %s is served: %t", path, !want)
		}
	}
}

func TestDocumentDescribesEachField(t *testing.T) {
	schemas := document(t).Components.Schemas
	for name, of := range map[string]any{
		"Summary": summary{}, "SubmissionList": submissionList{}, "Polled": polled{}, "OrgUnitList": orgUnitList{}, "Failure": failure{},
		"Liveness": liveness{}, "Health": state{}, "Readiness": orchestration.Readiness{}, "Check": orchestration.Check{},
		"Examination": orchestration.Examination{}, "Finding": orchestration.Finding{},
		"Schedule": orchestration.Schedule{}, "ScheduledPart": orchestration.ScheduledPart{}, "ScheduledPeriod": orchestration.ScheduledPeriod{},
		"Report": orchestration.Report{}, "ChunkReport": orchestration.ChunkReport{}, "OrgUnitResult": orchestration.OrgUnitResult{},
		"OrgUnitCounts": orchestration.OrgUnitCounts{}, "RefusedCell": orchestration.RefusedCell{}, "RuleUse": orchestration.RuleUse{},
		"Counts": ledger.Counts{}, "Completeness": ledger.Completeness{}, "Issue": issue.Issue{},
		"CoverageTotals": ledger.CoverageTotals{}, "OrgUnitCoverage": ledger.OrgUnitCoverage{}, "CoverageList": coverageList{},
		"Workers": orchestration.Workers{}, "Worker": orchestration.Worker{}, "MalformedDocument": orchestration.MalformedDocument{},
	} {
		t.Run(name, func(t *testing.T) {
			schema := schemas[name].Value
			var fields, needed, described []string
			kind := reflect.TypeOf(of)
			for _, one := range reflect.VisibleFields(kind) {
				if one.Anonymous { // its fields stand here
					continue
				}
				field, options, _ := strings.Cut(one.Tag.Get("json"), ",")
				fields = append(fields, field)
				if options != "omitempty" {
					needed = append(needed, field)
				}
			}
			for field := range schema.Properties {
				described = append(described, field)
			}
			slices.Sort(fields)
			slices.Sort(described)
			if diff := cmp.Diff(described, fields); diff != "" {
				t.Errorf("-described +there:\n%s", diff)
			}
			slices.Sort(needed)
			if diff := cmp.Diff(slices.Sorted(slices.Values(schema.Required)), needed); diff != "" {
				t.Errorf("-required +always there:\n%s", diff)
			}
		})
	}
}

func TestDocumentKnowsEachWordOfAClosedSet(t *testing.T) {
	schemas := document(t).Components.Schemas
	for name, want := range map[string][]string{"State": states, "OrgUnitState": orgUnitStates} {
		var got []string
		for _, word := range schemas[name].Value.Enum {
			got = append(got, word.(string))
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("%s, -described +known:\n%s", name, diff)
		}
	}
}
