package orchestration

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// exported is a value of the CHT's export.
type exported struct {
	DataElement          string `json:"dataElement"`
	OrgUnit              string `json:"orgUnit"`
	CategoryOptionCombo  string `json:"categoryOptionCombo,omitempty"`
	AttributeOptionCombo string `json:"attributeOptionCombo,omitempty"`
	Value                any    `json:"value"`
}

// steps is a world in which DHIS2 refuses some of what the CHT says, and the mediator checks nothing before.
type steps struct {
	*bench

	meta *sandbox.DHIS2Metadata
	// values are what the CHT exports.
	values []exported
	// killing is the way to DHIS2.
	killing *killing
	// refused says with which code a value is refused, empty where it is not.
	refused func(exported) string
}

const (
	ladderSet      = "DsLadder001"
	ladderUnits    = 32
	ladderElements = 8
)

func unitAt(i int) string    { return fmt.Sprintf("OuLad%06d", i) }
func elementAt(i int) string { return fmt.Sprintf("DeLad%06d", i) }

// ladderMetadata has two trees, of which the account may enter data in the first, a set with age groups, and a set with two
// attribute options.
func ladderMetadata() *sandbox.DHIS2Metadata {
	const opened = "2000-01-01"
	ages, donors := sandbox.DHIS2Ref{ID: "CcLadAges01"}, sandbox.DHIS2Ref{ID: "CcLadDonor1"}
	m := &sandbox.DHIS2Metadata{
		OrganisationUnits: []sandbox.DHIS2OrgUnit{{ID: "OuLadRoot01", Name: "Here", OpeningDate: opened}, {ID: "OuLadRoot02", Name: "Elsewhere", OpeningDate: opened}},
		CategoryOptions:   []sandbox.DHIS2CategoryOption{{ID: "CoLadYoung1", Name: "Young"}, {ID: "CoLadOldOn1", Name: "Old"}, {ID: "CoLadState1", Name: "State"}, {ID: "CoLadOther1", Name: "Other"}},
		Categories: []sandbox.DHIS2Category{
			{ID: "CtLadAge001", Name: "Age", DataDimensionType: "DISAGGREGATION", CategoryOptions: []sandbox.DHIS2Ref{{ID: "CoLadYoung1"}, {ID: "CoLadOldOn1"}}},
			{ID: "CtLadDonor1", Name: "Donor", DataDimensionType: "ATTRIBUTE", CategoryOptions: []sandbox.DHIS2Ref{{ID: "CoLadState1"}, {ID: "CoLadOther1"}}},
		},
		CategoryCombos: []sandbox.DHIS2CategoryCombo{
			{ID: ages.ID, Name: "Age", DataDimensionType: "DISAGGREGATION", Categories: []sandbox.DHIS2Ref{{ID: "CtLadAge001"}}},
			{ID: donors.ID, Name: "Donor", DataDimensionType: "ATTRIBUTE", Categories: []sandbox.DHIS2Ref{{ID: "CtLadDonor1"}}},
		},
		CategoryOptionCombos: []sandbox.DHIS2CategoryOptionCombo{
			{ID: "CocLadYoung", Name: "Young", CategoryCombo: ages, CategoryOptions: []sandbox.DHIS2Ref{{ID: "CoLadYoung1"}}},
			{ID: "CocLadOldOn", Name: "Old", CategoryCombo: ages, CategoryOptions: []sandbox.DHIS2Ref{{ID: "CoLadOldOn1"}}},
			{ID: "AocLadState", Name: "State", CategoryCombo: donors, CategoryOptions: []sandbox.DHIS2Ref{{ID: "CoLadState1"}}},
			{ID: "AocLadOther", Name: "Other", CategoryCombo: donors, CategoryOptions: []sandbox.DHIS2Ref{{ID: "CoLadOther1"}}},
		},
		DataApprovalLevels:    []sandbox.DHIS2ApprovalLevel{{ID: "AlLadder001", Name: "Unit", Level: 1, OrgUnitLevel: 2}},
		DataApprovalWorkflows: []sandbox.DHIS2ApprovalWorkflow{{ID: "WfLadder001", Name: "Approval", PeriodType: "Monthly", DataApprovalLevels: []sandbox.DHIS2Ref{{ID: "AlLadder001"}}}},
	}
	set := sandbox.DHIS2DataSet{ID: ladderSet, Name: "Ladder", PeriodType: "Monthly"}
	for i := range ladderElements {
		element := sandbox.DHIS2DataElement{ID: elementAt(i), Name: elementAt(i), ValueType: "INTEGER_POSITIVE", AggregationType: "SUM"}
		if i >= ladderElements/2 {
			element.CategoryCombo = ages
		}
		m.DataElements = append(m.DataElements, element)
		set.DataSetElements = append(set.DataSetElements, sandbox.DHIS2DataSetElement{DataElement: sandbox.DHIS2Ref{ID: element.ID}})
	}
	for i := range ladderUnits {
		m.OrganisationUnits = append(m.OrganisationUnits, sandbox.DHIS2OrgUnit{ID: unitAt(i), Name: unitAt(i), OpeningDate: opened, Parent: &sandbox.DHIS2Ref{ID: "OuLadRoot01"}})
		set.OrganisationUnits = append(set.OrganisationUnits, sandbox.DHIS2Ref{ID: unitAt(i)})
	}
	m.DataSets = []sandbox.DHIS2DataSet{set}
	return m
}

// newSteps makes a month in which every org unit has one value of each element, those by age for the old.
func newSteps() *steps {
	s := &steps{meta: ladderMetadata(), refused: func(exported) string { return "" }}
	for i := range ladderUnits {
		for j := range ladderElements {
			v := exported{DataElement: elementAt(j), OrgUnit: unitAt(i), Value: 1 + i + j}
			if j >= ladderElements/2 {
				v.CategoryOptionCombo = "CocLadOldOn"
			}
			s.values = append(s.values, v)
		}
	}
	return s
}

func (s *steps) set() *sandbox.DHIS2DataSet { return &s.meta.DataSets[0] }

// unit gives an org unit's metadata.
func (s *steps) unit(i int) *sandbox.DHIS2OrgUnit { return &s.meta.OrganisationUnits[2+i] }

// also adds a reason for which values are refused.
func (s *steps) also(code string, of func(exported) bool) {
	before := s.refused
	s.refused = func(v exported) string {
		if why := before(v); why != "" {
			return why
		}
		if of(v) {
			return code
		}
		return ""
	}
}

func at(units ...int) func(exported) bool {
	return func(v exported) bool {
		return slices.ContainsFunc(units, func(i int) bool { return v.OrgUnit == unitAt(i) })
	}
}

// change changes the values that are meant.
func (s *steps) change(of func(exported) bool, how func(*exported)) {
	for i := range s.values {
		if of(s.values[i]) {
			how(&s.values[i])
		}
	}
}

func (s *steps) unassign(units ...int) {
	gone := at(units...)
	set := s.set()
	set.OrganisationUnits = slices.DeleteFunc(set.OrganisationUnits, func(r sandbox.DHIS2Ref) bool { return gone(exported{OrgUnit: r.ID}) })
	s.also("E8022", gone)
}

func (s *steps) shut(units ...int) {
	for _, i := range units {
		s.unit(i).ClosedDate = "2026-01-31"
	}
	s.also("E8031", at(units...))
}

func (s *steps) outside(units ...int) {
	for _, i := range units {
		s.unit(i).Parent.ID = "OuLadRoot02"
	}
	s.also("E8011", at(units...))
}

// donors lets the set have attribute options, and every value one of them.
func (s *steps) donors() {
	s.set().CategoryCombo.ID = "CcLadDonor1"
	s.change(func(exported) bool { return true }, func(v *exported) {
		v.AttributeOptionCombo = "AocLadState"
		if v.DataElement < elementAt(2) {
			v.AttributeOptionCombo = "AocLadOther"
		}
	})
}

// start makes the stand-ins and a submitter between them.
func (s *steps) start(t *testing.T, version string, chunk int) {
	t.Helper()
	country := sandbox.NewCountry(sandbox.CountryConfig{Seed: 1, Facilities: 1, Elements: 1})
	documents := country.CHT
	documents.Settings.DHISDataSets = append(documents.Settings.DHISDataSets, sandbox.CHTDataSet{ID: ladderSet})
	users := []sandbox.DHIS2User{
		{Username: "cht", Password: "Cht.12345", Authorities: []string{"F_DATAVALUE_ADD"}, OrgUnits: []string{"OuLadRoot01"}},
		{Username: "chief", Password: "Chief.1234", Authorities: []string{"ALL"}},
	}
	now := func() time.Time { return time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC) }
	b := &bench{
		country: country, set: ladderSet, cht: sandbox.NewCHT(sandbox.CHTConfig{Documents: documents}),
		dhis2: sandbox.NewDHIS2(sandbox.DHIS2Config{Version: version, Metadata: *s.meta, Users: users, Now: now}),
	}
	s.killing = &killing{inMemory: inMemory{b.dhis2, func(r *http.Request) { r.SetBasicAuth("cht", "Cht.12345") }, 0}}
	export := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/api/v2/export") {
			b.cht.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"dataSet": ladderSet, "completeDate": "2026-11-22", "period": "202609", "dataValues": s.values})
	})
	base := &url.URL{Scheme: "http", Host: "stand-in.test"}
	basic := func(r *http.Request) { r.SetBasicAuth(country.CHTUsername, country.CHTPassword) }
	b.Submitter = &Submitter{
		Sources:      map[string]Source{"county": {Name: "county", Client: cht.New(base, inMemory{export, basic, 0})}},
		Destinations: map[string]Destination{"national": {Name: "national", Client: dhis2.New(base, s.killing, 1)}},
		DataSets: []DataSet{{
			ID: ladderSet, CHT: []string{"county"}, DHIS2: "national", FirstPeriod: periodOf(t, "202601"), ChunkValues: chunk, Unchecked: true,
		}},
		SpoolDir: t.TempDir(), Wait: time.Minute, Now: now,
	}
	b.DataSets[0].Operation.Enabled = true
	b.remember(t, t.TempDir())
	s.bench = b
}

// approve approves the month of an org unit for an attribute option combo.
func (s *steps) approve(t *testing.T, unit, attribute string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/api/dataApprovals?wf=WfLadder001&pe=202609&ou="+unit+"&aoc="+attribute, nil)
	r.SetBasicAuth("chief", "Chief.1234")
	answer := httptest.NewRecorder()
	s.dhis2.ServeHTTP(answer, r)
	if answer.Code != http.StatusNoContent {
		t.Fatalf("approve: %d %s", answer.Code, answer.Body)
	}
}

// arrives submits the month and makes sure that every good value arrives, and that every bad one is refused with its own code
// and words. It gives how many requests that took.
func (s *steps) arrives(t *testing.T) (Report, int) {
	t.Helper()
	report, _ := s.submit(t, t.Context())
	want, refused := map[string]string{}, map[string]string{}
	for _, v := range s.values {
		key := v.OrgUnit + " " + v.DataElement + " " + v.CategoryOptionCombo + " " + v.AttributeOptionCombo
		if code := s.refused(v); code != "" {
			refused[key] = code
			continue
		}
		want[key] = fmt.Sprint(v.Value)
	}
	held, got := map[string]string{}, map[string]string{}
	for _, v := range s.dhis2.Values() {
		held[v.OrgUnit+" "+v.DataElement+" "+orEmpty(v.CategoryOptionCombo)+" "+orEmpty(v.AttributeOptionCombo)] = v.Value
	}
	for cell, err := range s.Ledger.Refused(t.Context(), report.ID) {
		if err != nil {
			t.Fatal(err)
		}
		key := cell.OrgUnit + " " + cell.DataElement + " " + cell.CategoryOptionCombo + " " + cell.AttributeOptionCombo
		if _, twice := got[key]; twice {
			t.Errorf("%s is refused twice", key)
		}
		if got[key] = cell.Code; cell.Reason == "" || cell.Remedy == "" {
			t.Errorf("%s is refused without words: %+v", key, cell)
		}
	}
	if diff := cmp.Diff(want, held); diff != "" {
		t.Errorf("DHIS2 holds (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(refused, got); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	state := ledger.PartlyAccepted
	switch {
	case len(refused) == 0:
		state = ledger.Accepted
	case len(want) == 0:
		state = ledger.Refused
	}
	if report.State != state || report.Counts.Accepted != len(want) || report.Counts.Refused != len(refused) {
		t.Errorf("%s, %+v, %s; want %s, %d accepted, %d refused", report.State, report.Counts, report.Error, state, len(want), len(refused))
	}
	return report, len(s.dhis2.Imports())
}

func orEmpty(combo string) string {
	if combo == dhis2.DefaultCombo {
		return ""
	}
	return combo
}

func TestARefusedGroupIsNarrowedDownToWhatIsAtFault(t *testing.T) {
	log := func(n int) int { return int(math.Ceil(math.Log2(float64(n)))) }
	everything := func(exported) bool { return true }
	ofElement := func(i int) func(exported) bool {
		return func(v exported) bool { return v.DataElement == elementAt(i) }
	}
	tests := []struct {
		name string
		// world makes what DHIS2 refuses; faults and after come when the stand-ins are there.
		world func(*steps)
		after func(*testing.T, *steps)
		// most is how many requests it takes at most.
		most int
	}{
		{name: "nothing", world: func(*steps) {}, most: 1},
		{name: "E8011", world: func(s *steps) { s.outside(3, 17, 31) }, most: 2},
		{name: "E8012", world: func(s *steps) {
			s.meta.CategoryOptions[0].Sharing.Public = "rwr-----"
			young := func(v exported) bool { return v.DataElement == elementAt(6) && v.OrgUnit != unitAt(4) }
			s.change(young, func(v *exported) { v.CategoryOptionCombo = "CocLadYoung" })
			s.also("E8012", young)
		}, most: 2 + 2},
		{name: "E8012, as the account may write to no combo", world: func(s *steps) {
			s.meta.CategoryOptions[1].Sharing.Public = "rwr-----"
			s.also("E8012", func(v exported) bool { return v.CategoryOptionCombo != "" })
		}, most: 3},
		{name: "E8020", world: func(s *steps) {
			for _, i := range []int{1, 5} {
				s.change(ofElement(i), func(v *exported) { v.DataElement = fmt.Sprintf("DeUnknown%02d", i) })
			}
			s.also("E8020", func(v exported) bool { return strings.HasPrefix(v.DataElement, "DeUnknown") })
		}, most: 2},
		{name: "E8022", world: func(s *steps) {
			s.unassign(0, 30)
			s.change(at(8), func(v *exported) { v.OrgUnit = "OuUnknown01" })
			s.also("E8022", func(v exported) bool { return v.OrgUnit == "OuUnknown01" })
		}, most: 2},
		{name: "E8023", world: func(s *steps) {
			s.change(ofElement(2), func(v *exported) { v.AttributeOptionCombo = "AocUnknown1" })
			s.also("E8023", ofElement(2))
		}, most: 2},
		{name: "E8024", world: func(s *steps) {
			for i := range 3 {
				s.change(ofElement(i), func(v *exported) { v.CategoryOptionCombo = "CocLadYoung" })
				s.also("E8024", ofElement(i))
			}
		}, most: 1 + 3},
		{name: "E8025", world: func(s *steps) {
			s.donors()
			for i := range ladderUnits {
				if i != 5 && i != 6 {
					s.meta.CategoryOptions[3].OrganisationUnits = append(s.meta.CategoryOptions[3].OrganisationUnits, sandbox.DHIS2Ref{ID: unitAt(i)})
				}
			}
			s.also("E8025", func(v exported) bool { return at(5, 6)(v) && v.AttributeOptionCombo == "AocLadOther" })
		}, most: 2 + 1},
		{name: "E8031", world: func(s *steps) { s.shut(0, 9, 10, 31) }, most: 1 + 4},
		{name: "E8031, more than are asked for one after the other", world: func(s *steps) {
			s.shut(1, 2, 3, 5, 7, 8, 10, 12, 13, 15, 16, 17, 19, 20, 21, 22, 25, 26, 29, 30)
		}, most: 1 + 20 + 4},
		{name: "E8032", world: func(s *steps) {
			s.donors()
			s.meta.CategoryOptions[3].EndDate = "2026-06-30"
			s.also("E8032", func(v exported) bool { return v.AttributeOptionCombo == "AocLadOther" })
		}, most: 2},
		{name: "E8033", world: func(s *steps) {
			s.donors()
			s.set().Workflow = &sandbox.DHIS2Ref{ID: "WfLadder001"}
			s.also("E8033", func(v exported) bool { return at(7, 20)(v) && v.AttributeOptionCombo == "AocLadState" })
		}, after: func(t *testing.T, s *steps) {
			s.approve(t, unitAt(7), "AocLadState")
			s.approve(t, unitAt(20), "AocLadState")
		}, most: 2 + 2},
		{name: "values wrong in themselves", world: func(s *steps) {
			s.change(at(2), func(v *exported) { v.Value = 0 })
			s.change(func(v exported) bool { return at(2)(v) && v.DataElement == elementAt(0) }, func(v *exported) { v.Value = 4 })
			s.also("E8122", func(v exported) bool { return v.Value == 0 })
		}, most: 1},
		{name: "one cell for which nothing can be read", world: func(s *steps) {
			s.also("E8999", func(v exported) bool { return at(21)(v) && v.DataElement == elementAt(3) })
		}, after: func(_ *testing.T, s *steps) { s.mute(unitAt(21), 3) }, most: 1 + log(ladderUnits) + 2 + log(ladderElements) + 1 + 3},
		{name: "two cells for which nothing can be read", world: func(s *steps) {
			s.also("E8999", func(v exported) bool {
				return at(0)(v) && v.DataElement == elementAt(0) || at(31)(v) && v.DataElement == elementAt(7)
			})
		}, after: func(_ *testing.T, s *steps) { s.mute(unitAt(0), 0); s.mute(unitAt(31), 7) }, most: 1 + 2*(log(ladderUnits)+2+log(ladderElements)+1+3)},
		{name: "whole org units for which nothing can be read", world: func(s *steps) {
			s.also("E8999", at(12, 13))
		}, after: func(_ *testing.T, s *steps) {
			for i := range ladderElements {
				s.mute(unitAt(12), i)
				s.mute(unitAt(13), i)
			}
		}, most: 1 + 2*(log(ladderUnits)+2+2*(log(ladderElements)+2)+ladderElements)},
		{name: "all kinds at once", world: func(s *steps) {
			// In the order in which DHIS2 looks.
			s.outside(3)
			s.change(ofElement(1), func(v *exported) { v.DataElement = "DeUnknown01" })
			s.also("E8020", func(v exported) bool { return v.DataElement == "DeUnknown01" })
			s.unassign(0, 5)
			s.change(ofElement(2), func(v *exported) { v.CategoryOptionCombo = "CocLadYoung" })
			s.also("E8024", ofElement(2))
			s.shut(11, 12)
			s.change(func(v exported) bool { return at(25)(v) && v.DataElement == elementAt(6) }, func(v *exported) { v.Value = 0 })
			s.also("E8122", func(v exported) bool { return v.Value == 0 })
			s.also("E8999", func(v exported) bool { return at(21)(v) && v.DataElement == elementAt(3) })
		}, after: func(_ *testing.T, s *steps) { s.mute(unitAt(21), 3) }, most: 1 + 6 + log(ladderUnits) + 2 + log(ladderElements) + 1 + 3 + 10},
		{name: "what is left is refused for what was found before", world: func(s *steps) {
			s.values = slices.DeleteFunc(s.values, func(v exported) bool { return !at(0)(v) && !ofElement(1)(v) })
			s.change(ofElement(1), func(v *exported) { v.DataElement = "DeUnknown01" })
			s.also("E8020", func(v exported) bool { return v.DataElement == "DeUnknown01" })
			s.also("E8999", func(v exported) bool { return at(0)(v) && v.DataElement == elementAt(3) })
		}, after: func(_ *testing.T, s *steps) { s.mute(unitAt(0), 3) }, most: 1 + log(ladderUnits) + 2 + 2*log(ladderElements) + probes},
		{name: "all of the month but one org unit", world: func(s *steps) {
			var all []int
			for i := range ladderUnits - 1 {
				all = append(all, i)
			}
			s.unassign(all...)
		}, most: 2},
		{name: "everything is of another set", world: func(s *steps) {
			s.change(everything, func(v *exported) { v.DataElement = strings.Replace(v.DataElement, "DeLad", "DeOth", 1) })
			s.also("E8020", everything)
		}, most: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSteps()
			test.world(s)
			s.start(t, "2.43.1", 1000)
			if test.after != nil {
				test.after(t, s)
			}
			_, imports := s.arrives(t)
			if imports > test.most {
				t.Errorf("it took %d requests, more than %d", imports, test.most)
			}
		})
	}
}

// mute lets DHIS2 refuse whatever has the cell, without a word on it.
func (s *steps) mute(unit string, element int) {
	s.dhis2.Fail(sandbox.Fault{Kind: sandbox.RefusesGroup, Contains: fmt.Sprintf("{\"dataElement\":%q,\"orgUnit\":%q", elementAt(element), unit)})
}

// killed is the panic of a process that ends at a request.
type killed struct{}

// killing is the way to a DHIS2 on which the process ends at one of its imports: before it arrives, or with its answer.
type killing struct {
	inMemory

	imports, at int
	answered    bool
	// each, where it is not nil, is called at each import.
	each func()
}

func (k *killing) Do(r *http.Request, again func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	if r.Method != http.MethodPost {
		return k.inMemory.Do(r, again)
	}
	if k.each != nil {
		k.each()
	}
	if k.imports++; k.imports != k.at {
		return k.inMemory.Do(r, again)
	}
	if k.answered {
		_, _, _ = k.inMemory.Do(r, func(int, *http.Response, []byte, error) (time.Duration, bool) { return 0, false })
	}
	synctest.Wait() // what else it did is done, or not begun
	panic(killed{})
}

// mixed is a month with several kinds of faults, in two chunks.
func mixed(t *testing.T, version string) *steps {
	t.Helper()
	s := newSteps()
	s.shut(1, 9, 10)
	s.unassign(2, 17, 18, 19, 20, 21, 22, 23)
	s.change(func(v exported) bool { return at(6)(v) && v.DataElement == elementAt(1) }, func(v *exported) { v.Value = 0 })
	s.also("E8122", func(v exported) bool { return v.Value == 0 })
	s.also("E8999", func(v exported) bool { return at(28)(v) && v.DataElement == elementAt(3) })
	s.start(t, version, 128)
	s.mute(unitAt(28), 3)
	return s
}

// TestAProcessThatEndsOnTheLadderLosesAndDoublesNothing ends the work at each request of a month that stores something, before it
// arrives and with its answer, and at some that do not, and lets another one go on.
func TestAProcessThatEndsOnTheLadderLosesAndDoublesNothing(t *testing.T) {
	clean := mixed(t, "2.43.1")
	_, requests := clean.arrives(t)
	for i, request := range clean.dhis2.Imports() {
		at := i + 1
		for _, answered := range []bool{false, true} {
			stores := request.Status == http.StatusOK && request.Query.Get("dryRun") != "true"
			if !stores && (answered || at%3 > 0) { // answered or not, it leaves nothing behind
				continue
			}
			t.Run(fmt.Sprintf("request %d, answered %t", at, answered), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := mixed(t, "2.43.1")
					s.killing.at, s.killing.answered = at, answered
					s.dies(t)
					// What had been found out is known, or is found out again at the price of finding it.
					if _, took := s.arrives(t); took > requests+requests/2 {
						t.Errorf("it took %d requests in all, and %d without the end", took, requests)
					}
				})
			})
		}
	}
}

// dies submits the month until the process ends.
func (s *steps) dies(t *testing.T) {
	t.Helper()
	defer func() {
		if gone := recover(); gone != (killed{}) {
			t.Fatalf("it went on, or ended otherwise: %v", gone)
		}
	}()
	_, _ = s.Submit(t.Context(), Request{DataSet: ladderSet, Period: "202609", CHT: "county"})
}

func TestWhatDHIS2RefusesByItsCombosIsAskedForOnce(t *testing.T) {
	s := newSteps()
	s.meta.CategoryOptions[0].Sharing.Public = "rwr-----"
	young := func(v exported) bool { return v.DataElement == elementAt(6) }
	s.change(young, func(v *exported) { v.CategoryOptionCombo = "CocLadYoung" })
	s.also("E8012", young)
	s.start(t, "2.43.1", 64)
	if _, imports := s.arrives(t); imports > 2+4*2 {
		t.Errorf("it took %d requests", imports)
	}
}

func TestEachStepOfTheLadderSaysWithoutWhatItGoesOn(t *testing.T) {
	s := newSteps()
	s.shut(4)
	s.unassign(2, 3)
	s.also("E8999", func(v exported) bool { return at(1)(v) && v.DataElement == elementAt(0) })
	s.start(t, "2.43.1", 256)
	s.mute(unitAt(1), 0)
	report, _ := s.arrives(t)
	var steps []string
	for _, c := range report.Chunks {
		if line, narrowed := narrowing(ChunkReport{State: c.State, Failure: c.Failure}); narrowed {
			steps = append(steps, fmt.Sprintf("%d to %d %s", c.FirstOrgUnit, c.LastOrgUnit, line))
		}
	}
	if diff := cmp.Diff([]string{
		"1 to 32 refused (E8999), in halves",
		"1 to 16 refused (E8999), in halves",
		"1 to 8 refused (E8999), in halves",
		"1 to 4 refused (E8999), in halves",
		"1 to 2 refused (E8999), in halves",
		"2 to 2 refused for value DeLad000000 at OuLad000001 (E8999), without it",
		"3 to 32 refused for 2 org units (E8022), without them",
		"3 to 32 refused for org unit OuLad000004 (E8031), without it",
	}, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestTheLadderGoesOnInAnotherTurn(t *testing.T) {
	for name, took := range map[string]time.Duration{"some requests a turn": sendFor / 3, "each request takes up a turn": sendFor + time.Second} {
		t.Run(name, func(t *testing.T) {
			clean := mixed(t, "2.43.1")
			_, needed := clean.arrives(t)
			s := mixed(t, "2.43.1")
			now := s.Now()
			s.Now = func() time.Time { return now }
			s.killing.each = func() {
				if now = now.Add(took); s.killing.imports > 3*needed { // it would go on for ever
					s.dhis2.Fail(sandbox.Fault{Kind: sandbox.Status, Status: http.StatusUnauthorized})
				}
			}
			if report, _ := s.arrives(t); report.Counts.Unsent > 0 {
				t.Errorf("%+v", report.Counts)
			}
		})
	}
}

func TestDryRunsThatFailHoldNoOtherValueBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mixed(t, "2.43.1")
		dhis2 := s.killing.handler
		s.killing.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("dryRun") != "true" {
				dhis2.ServeHTTP(w, r)
				return
			}
			answer(w, http.StatusConflict, "The import process failed: out of memory", "")
		})
		// Nobody can say what is at fault in that org unit, so that DHIS2's refusal stands for all of it.
		s.also("E8999", at(28))
		report, took := s.arrives(t)
		if muted := report.Counts.Refused; muted != 11*ladderElements+1+ladderElements || took > 60 {
			t.Errorf("%d values are refused, after %d requests", muted, took)
		}
	})
}

func TestAChunkOfWhichAllIsSetAsideIsSettledByWhoTakesOver(t *testing.T) {
	s := newSteps()
	s.shut(0)
	s.start(t, "2.43.1", 128)
	sub, _, err := s.Begin(t.Context(), Request{DataSet: ladderSet, Period: "202609", CHT: "county"}, nil)
	if err == nil {
		_, err = s.step(t.Context(), sub.ID, prepareStep)
	}
	if err == nil {
		err = s.Ledger.Advance(t.Context(), sub.ID, ledger.Sending, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	whole := ledger.Range{To: 1}
	values, _, err := s.Ledger.Values(t.Context(), sub.ID, ledger.Chunk{Range: whole})
	if err != nil {
		t.Fatal(err)
	}
	// The process before ended when it had recorded that nothing of the first org unit goes, and not booked it.
	var aside []dhis2.Refusal
	for i, v := range values {
		aside = append(aside, dhis2.Refusal{Index: i, DataValue: v, Code: "E8031", Reason: "Untimely", Remedy: "open it"})
	}
	empty, err := s.Destinations["national"].Client.Pack(dhis2.Chunk{DataSet: ladderSet, Period: sub.Period})
	if err == nil {
		_, err = s.Ledger.RecordChunk(t.Context(), sub.ID, ledger.Chunk{Range: whole, SetAside: aside, Digest: empty.Digest})
	}
	if err != nil {
		t.Fatal(err)
	}
	report, err := s.Follow(t.Context(), sub.ID)
	if err != nil || report.State != ledger.PartlyAccepted || report.Counts.Refused != ladderElements || report.Counts.Unknown > 0 {
		t.Errorf("%v %s %q %+v", err, report.State, report.Error, report.Counts)
	}
	for i, request := range s.dhis2.Imports() {
		if !strings.Contains(string(request.Body), "orgUnit") {
			t.Errorf("request %d has no values", i)
		}
	}
}

func TestADryRunIsNarrowedDownTooAndStoresNothing(t *testing.T) {
	s := mixed(t, "2.43.1")
	report, err := s.Submit(t.Context(), Request{DataSet: ladderSet, Period: "202609", CHT: "county", DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if c := report.Counts; len(s.dhis2.Values()) > 0 || c.Accepted != 256-11*8-2 || c.Refused != 11*8+2 {
		t.Errorf("%d values stored, %+v", len(s.dhis2.Values()), report.Counts)
	}
	for i, request := range s.dhis2.Imports() {
		if request.Query.Get("dryRun") != "true" {
			t.Errorf("request %d would have stored something", i)
		}
	}
}

func TestWhatIsRefusedForAllStartsNoLadder(t *testing.T) {
	tests := []struct {
		name  string
		world func(*steps)
		after func(*steps)
		most  int
	}{
		{name: "E8010", world: func(s *steps) { s.set().Sharing.Public = "rwr-----" }, most: 0},
		{name: "E8030", world: func(*steps) {}, after: func(s *steps) { s.dhis2.LockPeriod(ladderSet, "202609") }, most: 1},
		{name: "a code that nobody knows", world: func(*steps) {}, after: func(s *steps) { s.dhis2.Fail(sandbox.Fault{Kind: sandbox.RefusesGroup}) }, most: 1 + 5 + 4 + probes},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSteps()
			test.world(s)
			s.start(t, "2.43.1", 1000)
			if test.after != nil {
				test.after(s)
			}
			report, _ := s.submit(t, t.Context())
			if report.State != ledger.Refused || report.Counts.Accepted > 0 || report.Error == "" {
				t.Errorf("%s %q, %+v", report.State, report.Error, report.Counts)
			}
			if got := len(s.dhis2.Imports()); got > test.most {
				t.Errorf("%d requests, more than %d", got, test.most)
			}
		})
	}
}

// TestRejectedPlacesAreThoseOfTheCells has refusals of several values each, on servers that list their places and on one that
// does not.
func TestRejectedPlacesAreThoseOfTheCells(t *testing.T) {
	for _, version := range []string{"2.38.0", "2.39.2", "2.42.5.2"} {
		t.Run(version, func(t *testing.T) {
			s := newSteps()
			s.outside(3, 30)
			s.also("E7617", func(exported) bool { return false })
			s.unassign(5, 6)
			s.change(at(8), func(v *exported) { v.OrgUnit = "OuUnknown01" })
			s.change(func(v exported) bool {
				return v.DataElement == elementAt(2) && !at(5, 6, 3, 30)(v) && v.OrgUnit != "OuUnknown01"
			}, func(v *exported) { v.CategoryOptionCombo = "CocLadYoung" })
			legacy := map[string]string{"E8011": "E7617", "E8022": "E7636"}
			before := s.refused
			s.refused = func(v exported) string {
				switch {
				case v.OrgUnit == "OuUnknown01":
					return "E7612"
				case v.CategoryOptionCombo == "CocLadYoung":
					return "E7634"
				}
				return legacy[before(v)]
			}
			s.start(t, version, 128)
			if _, imports := s.arrives(t); imports != 2 {
				t.Errorf("%d requests", imports)
			}
		})
	}
}

func TestARefusalIsNoSignOfOverload(t *testing.T) {
	s := newSteps()
	s.shut(0, 1, 8, 9, 16, 24)
	s.start(t, "2.43.1", 64)
	s.arrives(t)
	who, err := s.parties(ladderSet, "county")
	if err != nil {
		t.Fatal(err)
	}
	if size := s.sizer(who, dhis2.SetBased).now(); size != 64 {
		t.Errorf("requests have %d values from then on", size)
	}
}

func TestWhatMayBeThereIsNotToldAsRefusedForItsSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteps()
		s.shut(0)
		s.values = s.values[:2*ladderElements]
		s.start(t, "2.43.1", 128)
		// The first answers are lost, then one names the closed org unit, and then a proxy finds the rest too large.
		s.dhis2.Fail(sandbox.Fault{Kind: sandbox.ResetAfter, Method: http.MethodPost, Times: 4}, sandbox.Fault{Kind: sandbox.TooLarge, Method: http.MethodPost, Skip: 1})
		report, _ := s.submit(t, t.Context())
		if c := report.Counts; c.Refused != 0 || c.Unknown != 2*ladderElements { // what is set aside counts when its chunk is answered
			t.Errorf("%s %q %+v", report.State, report.Error, report.Counts)
		}
	})
}
