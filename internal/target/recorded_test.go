package target_test

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/target"
)

// key makes the hashes of the tests.
var key = target.Key("a key for tests")

// recorded is the deployment behind the recordings (CHT 5.2).
type recorded struct {
	Settings struct {
		Tasks struct {
			Targets struct {
				Items []struct {
					ID   string
					DHIS json.RawMessage
				}
			}
		}
	}
	Places, Persons []recordedContact
	Deleted         []string
	Targets         []recordedDocument
}

type recordedContact struct {
	ID     string `json:"_id"`
	Type   string `json:"contact_type"`
	Parent *recordedContact
	DHIS   json.RawMessage
}

type recordedDocument struct {
	ID      string `json:"_id"`
	Owner   string
	Month   string `json:"reporting_period"`
	Updated int64  `json:"updated_date"`
	Targets []struct {
		ID    string
		Value struct{ Pass, Total int64 }
	}
}

func read[T any](t *testing.T, name string) T {
	t.Helper()
	var v T
	raw, err := os.ReadFile("testdata/" + name)
	if err == nil {
		err = json.Unmarshal(raw, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// list reads what is an object or an array of them.
func list[T any](t *testing.T, raw json.RawMessage) []T {
	t.Helper()
	var all []T
	if len(raw) > 0 && raw[0] == '{' {
		raw = slices.Concat([]byte("["), raw, []byte("]"))
	}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &all); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

type recordedMapping struct {
	DataSet, DataElement, CategoryOptionCombo, AttributeOptionCombo string
}

// rules are what the settings say of a data set. Where the list form is left out, they are those of the export.
func (r *recorded) rules(t *testing.T, dataSet string, listed bool) target.Rules {
	rules := target.Rules{Duplicates: target.Together}
	for _, item := range r.Settings.Tasks.Targets.Items {
		if !listed && len(item.DHIS) > 0 && item.DHIS[0] == '[' {
			continue
		}
		for _, m := range list[recordedMapping](t, item.DHIS) {
			if m.DataSet == "" || m.DataSet == dataSet {
				rules.Items = append(rules.Items, target.Item{
					Target: item.ID, DataElement: m.DataElement,
					CategoryOptionCombo: m.CategoryOptionCombo, AttributeOptionCombo: m.AttributeOptionCombo,
				})
			}
		}
	}
	return rules
}

func (r *recorded) hierarchy(t *testing.T) *target.Hierarchy {
	h := target.NewHierarchy()
	for _, c := range slices.Concat(r.Places, r.Persons) {
		p := target.Place{ID: key.Of(c.ID), Type: c.Type}
		for _, unit := range list[struct{ OrgUnit, DataSet string }](t, c.DHIS) {
			p.OrgUnits = append(p.OrgUnits, target.OrgUnit{ID: unit.OrgUnit, DataSet: unit.DataSet})
		}
		if p.OrgUnits != nil {
			h.AddPlace(p)
		}
	}
	for _, c := range r.Persons {
		o := target.Owner{ID: key.Of(c.ID), Type: c.Type, Gone: slices.Contains(r.Deleted, c.ID)}
		for up := c.Parent; up != nil; up = up.Parent {
			o.Parents = append(o.Parents, key.Of(up.ID))
		}
		h.AddOwner(o)
	}
	h.AddOwner(target.Owner{ID: key.Of("chw-never-existed"), Gone: true})
	return h
}

// sum adds up a month.
func (r *recorded) sum(t *testing.T, rules target.Rules, dataSet, month string) *target.Sum {
	var names []string
	owners := map[string][]target.Document{}
	var order []string
	for _, d := range r.Targets {
		if d.Month != month {
			continue
		}
		document := target.Document{ID: key.Of(d.ID), Updated: int(d.Updated / (24 * 60 * 60 * 1000))}
		for _, c := range d.Targets {
			number := slices.Index(names, c.ID)
			if number < 0 {
				number = len(names)
				names = append(names, c.ID)
			}
			document.Counts = append(document.Counts, target.Count{Target: number, Pass: c.Value.Pass, Total: c.Value.Total})
		}
		if owners[d.Owner] == nil {
			order = append(order, d.Owner)
		}
		owners[d.Owner] = append(owners[d.Owner], document)
	}
	s := target.NewSum(r.hierarchy(t), rules, dataSet, names)
	for _, owner := range order {
		s.Add(key.Of(owner), owners[owner])
	}
	return s
}

// figure is a value as the reference and the export have it.
type figure struct {
	OrgUnit, DataElement, CategoryOptionCombo, AttributeOptionCombo string
	Value                                                           int64
}

func compareFigures(a, b figure) int {
	return strings.Compare(strings.Join([]string{a.OrgUnit, a.DataElement, a.CategoryOptionCombo}, "\n"), strings.Join([]string{b.OrgUnit, b.DataElement, b.CategoryOptionCombo}, "\n"))
}

// figures gives the values of a sum, in its order.
func figures(t *testing.T, s *target.Sum) []figure {
	t.Helper()
	var all []figure
	err := s.Values(func(v *cht.Value) error {
		n, err := strconv.ParseInt(v.Value.Text, 10, 64)
		if err != nil || v.Value.Kind != cht.Number || v.Index != len(all) || v.OrgUnit.Kind != cht.String || v.DataElement.Kind != cht.String {
			t.Errorf("value %d: %+v, %v", len(all), *v, err)
		}
		for _, combo := range []cht.Field{v.CategoryOptionCombo, v.AttributeOptionCombo} {
			if (combo.Text == "") != (combo.Kind == cht.Missing) {
				t.Errorf("value %d: combo %+v", len(all), combo)
			}
		}
		all = append(all, figure{v.OrgUnit.Text, v.DataElement.Text, v.CategoryOptionCombo.Text, v.AttributeOptionCombo.Text, n})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func coverage(t *testing.T, s *target.Sum) []target.Coverage {
	t.Helper()
	var all []target.Coverage
	err := s.Coverage(func(c target.Coverage) error {
		all = append(all, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestTheReferenceIsReproduced goes by the result of an independent program over the same deployment.
func TestTheReferenceIsReproduced(t *testing.T) {
	t.Parallel()
	r := read[recorded](t, "fixtures.json")
	type completeness struct {
		OrgUnit                 string
		TargetDocuments, Owners int
		OldestUpdate            string
	}
	type nesting struct{ OrgUnit, Inside string }
	want := read[struct {
		DataSets map[string]struct {
			DataValues   []figure
			Completeness []completeness
		}
		Unattributed    []struct{ DataSet, ID, Reason string }
		DuplicateOwners []struct {
			Owner           string
			Users           []string
			IdenticalValues bool
		}
		NestedOrgUnits []struct{ OrgUnit, Inside, DataSet string }
	}](t, "reference-own-aggregate-2026-07.json")
	for dataSet, want2 := range want.DataSets {
		s := r.sum(t, r.rules(t, dataSet, true), dataSet, "2026-07")
		got := figures(t, s)
		slices.SortFunc(got, compareFigures)
		if diff := cmp.Diff(want2.DataValues, got); diff != "" {
			t.Errorf("%s: values (-want +got):\n%s", dataSet, diff)
		}
		var gotCompleteness []completeness
		for _, c := range coverage(t, s) {
			if c.Documents > 0 {
				day := time.Unix(int64(c.Oldest)*24*60*60, 0).UTC().Format(time.DateOnly)
				gotCompleteness = append(gotCompleteness, completeness{c.OrgUnit, c.Documents, c.Seen, day})
			}
		}
		if diff := cmp.Diff(want2.Completeness, gotCompleteness); diff != "" {
			t.Errorf("%s: completeness (-want +got):\n%s", dataSet, diff)
		}
		f := s.Findings()
		var without, gone []target.ID
		for _, u := range want.Unattributed {
			owner, ok := cht.OwnerOf(u.ID)
			if !ok {
				t.Fatal(u.ID)
			}
			switch {
			case u.DataSet != dataSet:
			case u.Reason == "no organisation unit above the owner":
				without = append(without, key.Of(owner))
			default:
				gone = append(gone, key.Of(owner))
			}
		}
		if diff := cmp.Diff([][]target.ID{without, gone, nil}, [][]target.ID{f.WithoutOrgUnit.Owners.List, f.Gone.Owners.List, f.Unknown.Owners.List}); diff != "" {
			t.Errorf("%s: not attributed (-want +got):\n%s", dataSet, diff)
		}
		var duplicates []target.Duplicate
		for _, d := range want.DuplicateOwners {
			duplicates = append(duplicates, target.Duplicate{Owner: key.Of(d.Owner), Documents: len(d.Users), Identical: d.IdenticalValues})
		}
		if diff := cmp.Diff(duplicates, f.Duplicates.List); diff != "" {
			t.Errorf("%s: duplicates (-want +got):\n%s", dataSet, diff)
		}
		var nested, gotNested []nesting
		for _, n := range want.NestedOrgUnits {
			if n.DataSet == "" || n.DataSet == dataSet {
				nested = append(nested, nesting{n.OrgUnit, n.Inside})
			}
		}
		for _, n := range f.Nested.List {
			gotNested = append(gotNested, nesting{n.Inner, n.Outer})
		}
		if diff := cmp.Diff(nested, gotNested); diff != "" {
			t.Errorf("%s: nested (-want +got):\n%s", dataSet, diff)
		}
	}
}

// TestTheExportIsReproduced adds to the sums what the export does wrong: zeros for org units that nobody reported for, elements of
// several combos under the last of them.
func TestTheExportIsReproduced(t *testing.T) {
	t.Parallel()
	r := read[recorded](t, "fixtures.json")
	rows := 0
	for dataSet, file := range map[string]string{
		"DsMchMonth1": "export-200-mch-all-org-units.json",
		"DsMalariaM1": "export-200-malaria-all-org-units.json",
	} {
		want := read[struct {
			Response struct{ Body struct{ DataValues []figure } }
		}](t, file).Response.Body.DataValues
		rules := r.rules(t, dataSet, false)
		s := r.sum(t, rules, dataSet, "2026-07")
		var got []figure
		for _, c := range coverage(t, s) {
			for _, item := range rules.Items {
				f := figure{c.OrgUnit, item.DataElement, item.CategoryOptionCombo, item.AttributeOptionCombo, 0}
				same := func(other figure) bool { return other.OrgUnit == f.OrgUnit && other.DataElement == f.DataElement }
				if at := slices.IndexFunc(got, same); at >= 0 {
					got[at].CategoryOptionCombo, got[at].AttributeOptionCombo = item.CategoryOptionCombo, item.AttributeOptionCombo
					continue
				}
				got = append(got, f)
			}
		}
		for _, v := range figures(t, s) {
			for i := range got {
				if got[i].OrgUnit == v.OrgUnit && got[i].DataElement == v.DataElement {
					got[i].Value += v.Value
				}
			}
		}
		slices.SortFunc(got, compareFigures)
		slices.SortFunc(want, compareFigures)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-export +sum):\n%s", dataSet, diff)
		}
		rows += len(want)
	}
	if rows != 60 {
		t.Errorf("the exports have %d rows, want 60", rows)
	}
}
