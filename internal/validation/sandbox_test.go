package validation

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// refusedByUsAlone are the codes of what a server may take all the same. Up to 2.42 any data set of a data element will do, and
// its own category combo beside that of the set.
var refusedByUsAlone = map[dhis2.Dialect][]check{
	dhis2.Legacy:   {orgUnitClosed, orgUnitNotOpenYet, orgUnitNotAssigned, comboMissing, attributeComboWrong},
	dhis2.SetBased: {comboMissing, dataApproved},
}

// TestWhatPassesTheChecksIsTaken makes up cells with nothing, one or two things wrong, checks them by what the client reads
// of a server, and sends each to that server.
func TestWhatPassesTheChecksIsTaken(t *testing.T) {
	t.Parallel()
	for version, dialect := range map[string]dhis2.Dialect{"2.42.5.2": dhis2.Legacy, "2.43.2": dhis2.SetBased} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := standIn(t, version)
			random := rand.New(rand.NewPCG(6, 2))
			passed, met := 0, map[string]bool{}
			for range 600 {
				cell := madeUp(random)
				facts := s.facts(t, cell)
				ours := foretold(facts, []mapping.Value{cell.value})[0]
				theirs := s.send(t, cell)
				met[ours] = true
				if ours == "" {
					passed++
				}
				needless := ours != "" && theirs == "" && !slices.Contains(refusedByUsAlone[dialect], check(ours))
				if needless || ours == "" && theirs != "" {
					t.Errorf("%+v: we say %q, the server %q", cell, ours, theirs)
				}
			}
			if passed < 100 || len(met) < 20 {
				t.Errorf("%d passed, and there was %v", passed, met)
			}
		})
	}
}

// madeUpCell is a value for a data set and period.
type madeUpCell struct {
	set, period string
	value       mapping.Value
}

// madeUp makes up a cell: a good one, of which up to two things are changed.
func madeUp(random *rand.Rand) madeUpCell {
	one := func(of ...string) string { return of[random.IntN(len(of))] }
	c := madeUpCell{set: one("DsMchMonth1", "DsMalariaM1", "DsOddTypes1", "DsExpiry001", "DsAttrib001", "DsInputPr01", "DsApprove01"), period: "202610"}
	v := &c.value
	v.OrgUnit, v.DataElement, v.Value = one("OuElimuHC01", "OuAmaniHC01"), "DeBirths001", one("0", "1", "7")
	switch c.set {
	case "DsMalariaM1":
		v.DataElement, v.CategoryOptionCombo = "DeMalCases1", "CocOver5yr1"
	case "DsOddTypes1":
		v.DataElement = one("DeText00001", "DeNumber001", "DePercent01", "DePositive1", "DeOption001")
	case "DsAttrib001":
		v.AttributeOptionCombo = "CocProjectA"
	}
	for range random.IntN(3) {
		switch random.IntN(8) {
		case 0:
			c.period = one("202608", "202609", "202610", "202611", "202612", "202701", "200001", "199912")
		case 1:
			v.OrgUnit = one("OuDistEast1", "OuClosed001", "OuUnassig01", "OuOutside01", "OuUnknown01", "OuLater0001", "OuCountry01")
		case 2:
			v.DataElement = one("DeDeaths001", "DeMalCases1", "DeRdtPosit1", "DeFacDeliv1", "DeNotInSet1", "DeUnknown01", "DEBIRTHS001")
		case 3:
			v.CategoryOptionCombo = one("", dhis2.DefaultCombo, "CocUnder5y1", "CocOver5yr1", "CocUnknown1", "CocHidden01")
		case 4:
			v.AttributeOptionCombo = one("", dhis2.DefaultCombo, "CocProjectA", "CocProjectB", "CocUnknown1")
		case 5:
			v.Value = one("", "-1", "-0", "01", "+1", "1.0", "1.5", "101", "1e3", "abc", " 1", "RED", "2147483648", "NaN", strings.Repeat("9", 400), strings.Repeat("x", 50001))
		case 6:
			v.Comment = one("seen", strings.Repeat("x", 5000), strings.Repeat("x", 5001), strings.Repeat("x", 50001))
		case 7:
			v.Value, v.Comment = "", one("", "not counted")
		}
	}
	return c
}

// server is a stand-in with what was read of it.
type server struct {
	client *dhis2.Client
	url    string
	read   map[string]Facts
}

func standIn(t *testing.T, version string) *server {
	t.Helper()
	text, err := os.ReadFile("../sandbox/testdata/dhis2/metadata.json")
	if err != nil {
		t.Fatal(err)
	}
	var metadata sandbox.DHIS2Metadata
	if err := json.Unmarshal(text, &metadata); err != nil {
		t.Fatal(err)
	}
	age := sandbox.DHIS2Ref{ID: "CcAge000001"}
	metadata.OrganisationUnits = append(metadata.OrganisationUnits, sandbox.DHIS2OrgUnit{ID: "OuLater0001", Name: "Later", OpeningDate: "2026-10-02", Parent: &sandbox.DHIS2Ref{ID: "OuDistWest1"}})
	metadata.CategoryOptions = append(metadata.CategoryOptions, sandbox.DHIS2CategoryOption{ID: "CoHidden001", Name: "Hidden", Sharing: sandbox.DHIS2Sharing{Public: "rwr-----"}})
	metadata.CategoryOptionCombos = append(metadata.CategoryOptionCombos, sandbox.DHIS2CategoryOptionCombo{ID: "CocHidden01", Name: "Hidden", CategoryCombo: age, CategoryOptions: []sandbox.DHIS2Ref{{ID: "CoHidden001"}}})
	for i := range metadata.DataSets {
		set := &metadata.DataSets[i]
		set.OrganisationUnits = append(set.OrganisationUnits, sandbox.DHIS2Ref{ID: "OuLater0001"})
		for j := range set.DataSetElements {
			if set.ID == "DsMchMonth1" && set.DataSetElements[j].DataElement.ID == "DeFacDeliv1" {
				set.DataSetElements[j].CategoryCombo = &age
			}
		}
	}
	roots := []string{"OuCountry01"}
	dhis2Server := sandbox.NewDHIS2(sandbox.DHIS2Config{
		Version: version, Metadata: metadata, Now: func() time.Time { return time.Date(2026, time.November, 12, 9, 30, 0, 0, time.UTC) },
		Users: []sandbox.DHIS2User{
			{Username: "mediator", Password: "Secret.1234", Authorities: []string{"F_DATAVALUE_ADD"}, OrgUnits: roots},
			{Username: "admin", Password: "district", Authorities: []string{"ALL"}, OrgUnits: roots},
		},
	})
	dhis2Server.ExceptFromLock("DsExpiry001", "202610", "OuElimuHC01")
	listening, err := sandbox.Listen(dhis2Server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(listening.Close)
	for _, period := range []string{"202608", "202610"} {
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, listening.URL+"/api/dataApprovals?ds=DsApprove01&ou=OuDistEast1&pe="+period, nil)
		if status, body := (caller{"admin", "district"}).ask(t, request); status >= 300 {
			t.Fatalf("%d: %s", status, body)
		}
	}
	address, err := url.Parse(listening.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &server{client: dhis2.New(address, caller{"mediator", "Secret.1234"}, 1), url: listening.URL, read: map[string]Facts{}}
}

// facts reads what is to be known for a cell, once for a data set and period.
func (s *server) facts(t *testing.T, c madeUpCell) Facts {
	t.Helper()
	if known, ok := s.read[c.set+c.period]; ok {
		return known
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	f := Facts{Period: month(t, c.period), OrgUnits: assigned(), Others: map[string]dhis2.OrgUnit{}, Approvals: map[Approval]string{}}
	var err error
	f.Server, err = s.client.Server(ctx)
	must(err)
	f.User, err = s.client.Me(ctx)
	must(err)
	set, err := s.client.DataSet(ctx, c.set)
	must(err)
	f.Set = &set
	must(s.client.OrgUnits(ctx, c.set, f.OrgUnits.Add))
	must(s.client.OrgUnitsByID(ctx, []string{"OuUnassig01", "OuUnknown01"}, func(u dhis2.OrgUnit) { f.Others[u.ID] = u }))
	f.Exceptions, err = s.client.LockExceptions(ctx, c.set, f.Period)
	must(err)
	if set.Workflow != "" {
		of := dhis2.Approvable{Workflow: set.Workflow, Period: f.Period, OrgUnits: []string{"OuElimuHC01", "OuAmaniHC01", "OuDistEast1"}}
		must(s.client.Approvals(ctx, of, func(a dhis2.ApprovalState) { f.Approvals[Approval{a.OrgUnit, a.AttributeOptionCombo}] = a.State }))
	}
	s.read[c.set+c.period] = f
	return f
}

// send sends a cell alone, as the mediator does, and gives the code of the refusal, empty for none.
func (s *server) send(t *testing.T, c madeUpCell) string {
	t.Helper()
	v := map[string]any{"dataElement": c.value.DataElement, "orgUnit": c.value.OrgUnit, "value": c.value.Value}
	for name, text := range map[string]string{"categoryOptionCombo": c.value.CategoryOptionCombo, "attributeOptionCombo": c.value.AttributeOptionCombo, "comment": c.value.Comment} {
		if text != "" {
			v[name] = text
		}
	}
	body, err := json.Marshal(map[string]any{"dataSet": c.set, "period": c.period, "dataValues": []any{v}})
	if err != nil {
		t.Fatal(err)
	}
	const strict = "?strictPeriods=true&strictDataElements=true&strictCategoryOptionCombos=true&strictAttributeOptionCombos=true&strictOrganisationUnits=true"
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/api/dataValueSets"+strict, bytes.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	var r recording
	r.Response.Status, r.Response.Body = (caller{"mediator", "Secret.1234"}).ask(t, request)
	return r.answers(1)[0]
}

// caller asks as an account.
type caller struct{ username, password string }

func (c caller) ask(t *testing.T, r *http.Request) (int, []byte) {
	t.Helper()
	response, body, err := c.Do(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

func (c caller) Stream(r *http.Request, _ func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	r.SetBasicAuth(c.username, c.password)
	response, err := http.DefaultClient.Do(r)
	return response, nil, err
}

func (c caller) Do(r *http.Request, _ func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	response, _, err := c.Stream(r, nil)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response, body, err
}
