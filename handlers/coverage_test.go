package handlers

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/orchestration"
)

func withCoverage(c *Config) {
	c.Submitter.DataSets[0].Coverage = orchestration.CoveragePolicy{On: true, ExpectedTypes: []string{"chw"}}
	c.Callers = append(c.Callers, Caller{Name: "ministry", Token: always("the-ministry-s-token"), MaySeeWorkers: true})
}

func TestCoverageIsToldPageByPageInNumbers(t *testing.T) {
	b := newBench(t, 0, withCoverage)
	path := Base + "/coverage?data_set=" + b.sets[0] + "&period=" + period
	if a := b.call(t, http.MethodGet, path, ""); a.status != http.StatusNotFound || !strings.Contains(a.failure(t).Remedy, "coverage: on") {
		t.Errorf("before anything is known: got %d %s", a.status, a.body)
	}
	b.submit(t)
	var whole, page coverageList
	b.call(t, http.MethodGet, path+"&limit=1000", "").into(t, &whole)
	if len(whole.OrgUnits) != 12 || whole.Next != "" || whole.Expected == 0 || whole.Seen != whole.Expected || whole.CHT != "kisumu" || whole.ReadAt.IsZero() {
		t.Errorf("got %+v", whole)
	}
	var ids []string
	for after := ""; ; after = page.Next {
		page = coverageList{}
		b.call(t, http.MethodGet, path+"&limit=5&after="+after, "", throughOpenHIM).into(t, &page)
		for _, u := range page.OrgUnits {
			ids = append(ids, u.OrgUnit)
		}
		if page.Next == "" {
			break
		}
	}
	if len(ids) != 12 || !slices.IsSorted(ids) || len(slices.Compact(ids)) != 12 {
		t.Errorf("the pages have %v", ids)
	}
	for _, query := range []string{"?data_set=nosuch", "?data_set=" + b.sets[1], "?period=soon&data_set=" + b.sets[0], "?limit=0&data_set=" + b.sets[0], "?workers=yes"} {
		if a := b.call(t, http.MethodGet, Base+"/coverage"+query, ""); a.status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", query, a.status, a.body)
		}
	}
}

func TestWorkersAreToldToThoseWhoMayAndNeverThroughOpenHIM(t *testing.T) {
	b := newBench(t, 0, withCoverage)
	silent := b.country.CHT.Targets[0].Owner
	b.cht.Change(func(d *sandbox.CHTDocuments) { d.Targets = slices.Clone(d.Targets[1:]) })
	path := Base + "/coverage/workers?data_set=" + b.sets[0] + "&period=" + period
	ministry := header("Authorization", "Bearer the-ministry-s-token")
	a := b.call(t, http.MethodGet, path, "", ministry)
	var found orchestration.Workers
	a.into(t, &found)
	if a.status != http.StatusOK || len(found.Missing) != 1 || found.Missing[0].Contact != silent || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v %s", a.status, a.header, a.body)
	}
	for name, options := range map[string][]option{
		"another caller":                     nil,
		"through OpenHIM":                    {ministry, throughOpenHIM},
		"through OpenHIM, with an odd id":    {ministry, header("X-OpenHIM-TransactionID", "x")},
		"as a client of OpenHIM":             {ministry, header("X-OpenHIM-ClientID", "chis")},
		"another caller, and it is not said": {throughOpenHIM},
	} {
		if a := b.call(t, http.MethodGet, path, "", options...); a.status != http.StatusForbidden || a.failure(t).Code != "forbidden" || strings.Contains(string(a.body), silent) {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	for _, name := range []string{transactionHeader, clientHeader, parentHeader, pollingHeader} {
		for _, values := range [][]string{{""}, {"", "x"}} {
			twice := func(r *http.Request) { r.Header[name] = values }
			if a := b.call(t, http.MethodGet, path, "", ministry, twice); a.status != http.StatusForbidden {
				t.Errorf("%s %q: got %d", name, values, a.status)
			}
		}
	}
	if a := b.call(t, http.MethodGet, path, "", noCredential); a.status != http.StatusUnauthorized {
		t.Errorf("without a credential: got %d", a.status)
	}
	if a := b.call(t, http.MethodGet, path+"&org_unit=x", "", ministry); a.status != http.StatusBadRequest {
		t.Errorf("got %d %s", a.status, a.body)
	}
	b.cht.Fail(sandbox.Fault{Kind: sandbox.LoginPage, Path: "/medic"})
	if a := b.call(t, http.MethodGet, path, "", ministry); a.status != http.StatusServiceUnavailable || a.failure(t).Code != "unavailable" {
		t.Errorf("without the CHT: got %d %s", a.status, a.body)
	}
	if log := b.log.String(); strings.Contains(log, silent) || !strings.Contains(log, "a caller was told who has not synced") {
		t.Errorf("the log says %s", log)
	}
}

func TestAnOpenDoorNamesNobody(t *testing.T) {
	b := newBench(t, 0, func(c *Config) {
		withCoverage(c)
		c.Open = true
	})
	if a := b.call(t, http.MethodGet, Base+"/coverage/workers?data_set="+b.sets[0]+"&period="+period, "", noCredential); a.status != http.StatusForbidden {
		t.Errorf("got %d %s", a.status, a.body)
	}
}
