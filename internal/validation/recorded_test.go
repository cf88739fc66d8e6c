package validation

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// difference is why the checks say something else of a recorded import than the server did: what they say of each value in
// turn, and why that is right.
type difference struct{ ours, because string }

const (
	closedUnit = "2.42 does not look at opening and closing dates"
	strictOnly = "not asked to be strict; the mediator always asks"
	anySet     = "2.42 asks whether any data set of the element allows it"
	keepsOne   = "2.42 keeps one of the values without a word"
	hidden     = "2.43 stores it under the default combo, where no form shows it"
	inverse    = "2.43.1 tests input periods the wrong way round"
	unseen     = "2.43 looks at approvals only of the very org unit, and where the combo is sent"
)

// differences are all there are, by dialect and recording.
var differences = map[string]difference{
	"2.42 import-closed-org-unit":                    {", , org_unit_closed", closedUnit},
	"2.42 import-closed-org-unit-not-strict":         {", , org_unit_closed", closedUnit},
	"2.42 import-several-problems":                   {"data_element_not_in_data_set, org_unit_not_assigned, org_unit_unknown, org_unit_closed, value_type, ", closedUnit},
	"2.42 import-several-problems-not-strict":        {"data_element_not_in_data_set, org_unit_not_assigned, org_unit_unknown, org_unit_closed, value_type, ", strictOnly},
	"2.42 import-element-of-other-set-not-strict":    {", , data_element_not_in_data_set", strictOnly},
	"2.42 import-unassigned-org-unit-not-strict":     {", , org_unit_not_assigned", strictOnly},
	"2.42 import-coc-of-other-combo-not-strict":      {", , category_option_combo_unexpected", strictOnly},
	"2.42 import-missing-coc-not-strict":             {"category_option_combo_missing", strictOnly},
	"2.42 import-period-type-quarter":                {"period_type", anySet},
	"2.42 import-period-type-quarter-not-strict":     {"period_type", anySet},
	"2.42 aoc-missing":                               {"wrong_attribute_option_combo", anySet},
	"2.42 import-cell-twice":                         {"duplicate_cell, duplicate_cell, ", keepsOne},
	"2.42 import-cell-twice-same-value":              {"duplicate_cell, duplicate_cell", keepsOne},
	"2.42 import-cell-twice-omitted-and-default":     {"duplicate_cell, duplicate_cell, ", keepsOne},
	"2.42 import-new-cell-twice-omitted-and-default": {"duplicate_cell, duplicate_cell", keepsOne},
	"2.43 import-missing-coc":                        {"category_option_combo_missing", hidden},
	"2.43 import-missing-coc-not-strict":             {"category_option_combo_missing", hidden},
	"2.43 input-period-open":                         {"", inverse},
	"2.43 input-period-closed":                       {"input_period_closed", inverse},
	"2.43 approved-without-aoc":                      {"data_approved", unseen},
	"2.43 approved-with-aoc":                         {"data_approved", unseen},
	"2.43 approved-at-the-unit-without-aoc":          {"data_approved", unseen},
}

// counterparts are the codes of DHIS2 that say what a check says.
var counterparts = map[check]string{
	dataSetNotWritable: "E7601 E8010", authorityMissing: "403", periodType: "E7632 E8021",
	orgUnitUnknown: "E7612 E8022", orgUnitNotAssigned: "E7636 E8022", orgUnitOutside: "E7617 E8011", orgUnitClosed: "E8031",
	periodExpired: "E7640 E8030", periodTooEarly: "E7641 E8030", inputPeriodClosed: "E7643 E8030", inputPeriodAbsent: "E7643 E8030", dataApproved: "E7642 E8033",
	elementNotInDataSet: "E7610 E7633 E8020", comboMissing: "E7634", comboUnexpected: "E7613 E7634 E8024", comboWrong: "E7613 E7634 E8024", attributeComboWrong: "E7615 E7635 E8023",
	valueMissing: "E7618 E8120", valueType: "E7619 E8122", valueNoOption: "E7621 E8123", cellTwice: "E8128 nothing",
}

// TestChecksSayWhatServersAnswered runs the checks over every import that was recorded and compares with what the server
// answered for each value.
func TestChecksSayWhatServersAnswered(t *testing.T) {
	world := readWorld(t)
	met := map[string]bool{}
	for version, dialect := range map[string]dhis2.Dialect{"2.40.12": dhis2.Legacy, "2.42.5.2": dhis2.Legacy, "2.43.1": dhis2.SetBased} {
		t.Run(version, func(t *testing.T) {
			compared := 0
			for _, r := range imports(t, version) {
				facts := world.facts(r, dhis2.Server{Version: version, Dialect: dialect, Date: "2026-11-22T09:38:07.920", TimeZone: "Etc/UTC"})
				if facts == nil {
					continue
				}
				values := r.values()
				ours, theirs := foretold(*facts, values), r.answers(len(values))
				compared++
				name, wrong := string(dialect)+" "+r.Name, disagreement(ours, theirs)
				want, differs := differences[name]
				if (wrong != "") != differs || differs && strings.Join(ours, ", ") != want.ours {
					t.Errorf("%s: %s: we say %q, the server said %q, want a difference: %q", name, wrong, strings.Join(ours, ", "), theirs, want)
				}
				met[name] = true
			}
			if compared < 90 {
				t.Errorf("%d imports compared, want at least 90", compared)
			}
		})
	}
	for name := range differences {
		if !met[name] {
			t.Errorf("no recording %s", name)
		}
	}
}

// TestZerosAreForetoldAsTheyWereDropped compares with what a server did not count of an import of new cells.
func TestZerosAreForetoldAsTheyWereDropped(t *testing.T) {
	world := readWorld(t)
	for version, dialect := range map[string]dhis2.Dialect{"2.40.12": dhis2.Legacy, "2.42.5.2": dhis2.Legacy, "2.43.1": dhis2.SetBased} {
		recorded := imports(t, version)
		r := recorded[slices.IndexFunc(recorded, func(r recording) bool { return r.Name == "zero-new" })]
		var answer struct {
			Response struct{ ImportCount map[string]int }
		}
		if err := json.Unmarshal(r.Response.Body, &answer); err != nil {
			t.Fatal(err)
		}
		values := r.values()
		c, want := New(*world.facts(r, dhis2.Server{Version: version, Dialect: dialect})), len(values)
		for _, count := range answer.Response.ImportCount {
			want -= count
		}
		got := 0
		for i := range values {
			if c.DropsZero(&values[i]) {
				got++
			}
		}
		if got != want || (want == 0) != (dialect == dhis2.SetBased) {
			t.Errorf("%s: %d zeros are foretold, and %d of %d were not counted", version, got, want, len(values))
		}
	}
}

// foretold gives the code of each value's finding, empty where there is none.
func foretold(f Facts, values []mapping.Value) []string {
	c, codes := New(f), make([]string, len(values))
	for i := range values {
		if found := c.OrgUnit(values[i].OrgUnit); found != nil {
			codes[i] = found.Code
		} else if found := c.Value(&values[i]); found != nil {
			codes[i] = found.Code
		}
		for j := range values {
			if i != j && codes[i] == "" && c.Twice(&values[i], &values[j]) != nil {
				codes[i] = string(cellTwice)
			}
		}
		for _, blocking := range c.Issues() {
			if blocking.Severity == issue.Blocking {
				codes[i] = blocking.Code
			}
		}
	}
	return codes
}

// disagreement says how our codes and the server's differ, empty where they do not. A server that refuses all for one tells
// only why it refused the first.
func disagreement(ours, theirs []string) string {
	agree := func(our, their string) bool { return slices.Contains(strings.Fields(counterparts[check(our)]), their) }
	all := func(their string) bool { return strings.HasPrefix(their, "E8") && (their < "E8120" || their > "E8125") }
	if len(theirs) > 0 && (all(theirs[0]) || theirs[0] == "nothing") {
		if !slices.ContainsFunc(ours, func(our string) bool { return agree(our, theirs[0]) }) {
			return "nothing of ours is why it refused"
		}
		return ""
	}
	for i := range ours {
		if (ours[i] == "") != (theirs[i] == "") {
			return "one takes it and the other does not"
		}
		if ours[i] != "" && !agree(ours[i], theirs[i]) {
			return "for another reason"
		}
	}
	return ""
}

// recording is a request that a server answered.
type recording struct {
	Name    string
	Request struct {
		Method, Path string
		Headers      map[string]string
		Body         json.RawMessage
	}
	Response struct {
		Status int
		Body   json.RawMessage
	}
	body recordedImport
}

type recordedImport struct {
	DataSet, Period, OrgUnit, AttributeOptionCombo, IDScheme string
	DataValues                                               []struct {
		DataElement, OrgUnit, Period, CategoryOptionCombo, AttributeOptionCombo, Comment string
		Value                                                                            any
		Deleted                                                                          bool
	}
}

// imports are the recorded imports in JSON that name their ids by UID, their data set and one period.
func imports(t *testing.T, version string) []recording {
	t.Helper()
	file, err := os.ReadFile("../sandbox/testdata/dhis2/" + version + ".jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var all []recording
	for decoder := json.NewDecoder(unzipped); ; {
		var r recording
		if err := decoder.Decode(&r); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		isImport := r.Request.Method == "POST" && strings.HasPrefix(r.Request.Path, "/api/dataValueSets") && !strings.Contains(r.Request.Path, "async")
		if isImport && json.Unmarshal(r.Request.Body, &r.body) == nil && r.body.IDScheme == "" && !strings.Contains(r.Request.Path, "idScheme") {
			all = append(all, r)
		}
	}
}

func (r *recording) values() []mapping.Value {
	var values []mapping.Value
	for _, v := range r.body.DataValues {
		text, _ := v.Value.(string)
		if number, ok := v.Value.(float64); ok {
			text = strconv.FormatFloat(number, 'f', -1, 64)
		}
		orgUnit, attribute := r.body.OrgUnit, r.body.AttributeOptionCombo
		if orgUnit == "" {
			orgUnit = v.OrgUnit
		}
		if attribute == "" {
			attribute = v.AttributeOptionCombo
		}
		values = append(values, mapping.Value{AttributeOptionCombo: attribute, DataValue: dhis2.DataValue{
			DataElement: v.DataElement, OrgUnit: orgUnit, CategoryOptionCombo: v.CategoryOptionCombo, Value: text, Comment: v.Comment, Deleted: v.Deleted,
		}})
	}
	return values
}

// answers gives the server's code for each value, empty where it took it, and "nothing" where it says that it took all and
// stored none.
func (r *recording) answers(count int) []string {
	var body struct {
		Response struct {
			Status      string
			ImportCount struct{ Updated, Ignored int }
			Conflicts   []struct {
				ErrorCode string
				Indexes   []int
			}
			RejectedIndexes []int
		}
	}
	codes := make([]string, count)
	all := func(code string) {
		for i := range codes {
			codes[i] = code
		}
	}
	if err := json.Unmarshal(r.Response.Body, &body); err != nil || r.Response.Status == 403 {
		all("403")
		return codes
	}
	answer := body.Response
	if answer.Status == "SUCCESS" && strings.Contains(r.Name, "twice") && answer.ImportCount.Ignored == count {
		all("nothing")
	}
	for _, conflict := range answer.Conflicts {
		if conflict.ErrorCode != "" && len(conflict.Indexes) == 0 {
			all(conflict.ErrorCode)
		}
		for _, i := range conflict.Indexes {
			codes[i] = conflict.ErrorCode
		}
	}
	return codes
}

// world is what was on the recorded servers.
type world struct {
	sets      map[string]*dhis2.DataSet
	units     map[string]dhis2.OrgUnit
	assigned  map[string][]string
	approvals map[Approval]string
}

// facts are those of a recorded import; nil where its data set cannot be read, its period is none that can be sent, or it
// asks for what the mediator does not.
func (w *world) facts(r recording, server dhis2.Server) *Facts {
	id := r.body.Period
	for _, v := range r.body.DataValues {
		if id == "" {
			id = v.Period
		}
	}
	period, err := dhis2.ParsePeriod(id)
	set := w.sets[r.body.DataSet]
	refusesForm := r.Response.Status == 500 || strings.Contains(string(r.Response.Body), "E8009")
	if err != nil || set == nil || refusesForm || strings.Contains(r.Request.Path, "atomic") || strings.Contains(r.Request.Path, "DELETE") {
		return nil
	}
	f := &Facts{Server: server, Set: set, Period: period, OrgUnits: assigned(), Others: map[string]dhis2.OrgUnit{}}
	f.User.Username, f.User.Authorities = "cht_integration", []string{"F_DATAVALUE_ADD"}
	if r.Response.Status == 403 {
		f.User.Authorities = []string{"F_SQLVIEW_EXTERNAL"}
	}
	f.User.OrgUnits = append(f.User.OrgUnits, struct {
		ID   string `json:"id"`
		Path string `json:"path"`
	}{"OuCountry01", "/OuCountry01"})
	for id, unit := range w.units {
		if slices.Contains(w.assigned[set.ID], id) {
			unit.ID = id
			f.OrgUnits.Add(unit)
		} else {
			f.Others[id] = unit
		}
	}
	if set.Workflow != "" && id == "202608" {
		f.Approvals = w.approvals
	}
	return f
}

type ref struct{ ID string }

// readWorld reads the metadata behind the recordings.
func readWorld(t *testing.T) *world {
	t.Helper()
	text, err := os.ReadFile("../sandbox/testdata/dhis2/metadata.json")
	if err != nil {
		t.Fatal(err)
	}
	var m metadata
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	w := &world{
		sets: map[string]*dhis2.DataSet{}, units: map[string]dhis2.OrgUnit{}, assigned: map[string][]string{},
		approvals: map[Approval]string{{"OuDistEast1", ""}: "APPROVED_HERE", {"OuAmaniHC01", ""}: "APPROVED_ABOVE"},
	}
	for _, u := range m.OrganisationUnits {
		w.units[u.ID] = dhis2.OrgUnit{ID: u.ID, Name: u.Name, Path: w.units[u.Parent.ID].Path + "/" + u.ID, Opens: u.OpeningDate + "T00:00:00.000", Closes: u.ClosedDate}
	}
	combos, elements := m.combos(), map[string]*dhis2.Element{}
	for _, e := range m.DataElements {
		element := &dhis2.Element{ID: e.ID, Name: e.Name, ValueType: e.ValueType, ZeroIsSignificant: e.ZeroIsSignificant, Combo: combos[e.CategoryCombo.ID]}
		if e.OptionSet.ID != "" {
			element.Options = map[string]bool{"RED": true}
		}
		elements[e.ID] = element
	}
	for _, s := range m.DataSets {
		if s.Sharing.Public[2] != 'r' {
			continue
		}
		set := &dhis2.DataSet{
			ID: s.ID, PeriodType: s.PeriodType, CanWrite: s.Sharing.Public[3] == 'w', ExpiryDays: s.ExpiryDays,
			OpenFuturePeriods: s.OpenFuturePeriods, Workflow: s.Workflow.ID, Elements: map[string]*dhis2.Element{}, NoZeros: map[string]bool{}, Combo: combos[s.CategoryCombo.ID],
		}
		for _, p := range s.DataInputPeriods {
			set.InputPeriods = append(set.InputPeriods, dhis2.InputPeriod{Period: p.Period.ID, Opens: p.OpeningDate, Closes: p.ClosingDate})
		}
		for _, member := range s.DataSetElements {
			set.Elements[member.DataElement.ID] = elements[member.DataElement.ID]
			set.NoZeros[member.DataElement.ID] = !elements[member.DataElement.ID].ZeroIsSignificant
		}
		for _, u := range s.OrganisationUnits {
			w.assigned[s.ID] = append(w.assigned[s.ID], u.ID)
		}
		w.sets[s.ID] = set
	}
	return w
}

type metadata struct {
	OrganisationUnits []struct {
		ID, Name, OpeningDate, ClosedDate string
		Parent                            ref
	}
	CategoryOptionCombos []struct {
		ID            string
		CategoryCombo ref
	}
	DataElements []struct {
		ID, Name, ValueType      string
		ZeroIsSignificant        bool
		CategoryCombo, OptionSet ref
	}
	DataSets []struct {
		ID                            string
		PeriodType                    dhis2.PeriodType
		ExpiryDays, OpenFuturePeriods int
		Sharing                       struct{ Public string }
		CategoryCombo, Workflow       ref
		OrganisationUnits             []ref
		DataSetElements               []struct{ DataElement ref }
		DataInputPeriods              []struct {
			Period                   ref
			OpeningDate, ClosingDate string
		}
	}
}

// combos are the category combos by id, the default one among them.
func (m *metadata) combos() map[string]*dhis2.CategoryCombo {
	const standard = "bjDvmb4bfuf"
	combos := map[string]*dhis2.CategoryCombo{standard: {ID: standard, IsDefault: true, Combos: map[string]*dhis2.CategoryOptionCombo{dhis2.DefaultCombo: {ID: dhis2.DefaultCombo}}}}
	for _, o := range m.CategoryOptionCombos {
		id := o.CategoryCombo.ID
		if combos[id] == nil {
			combos[id] = &dhis2.CategoryCombo{ID: id, Combos: map[string]*dhis2.CategoryOptionCombo{}}
		}
		combos[id].Combos[o.ID] = &dhis2.CategoryOptionCombo{ID: o.ID}
	}
	return combos
}
