package orchestration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func aCell(orgUnit, element string, value int64) mapping.Cell {
	return mapping.Cell{OrgUnit: orgUnit, DataElement: element, FromOrgUnit: orgUnit, FromElement: element, Value: value}
}

// spooled puts cells in a spool and reads them back.
func spooled(t *testing.T, cells []mapping.Cell) (orgUnits []string, back map[string][]mapping.Cell) {
	t.Helper()
	file, err := newSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer file.close()
	s := cellSpool{spool: file}
	for i := range cells {
		if err := s.add(&cells[i]); err != nil {
			t.Fatal(err)
		}
	}
	back = map[string][]mapping.Cell{}
	if orgUnits, err = s.orgUnits(); err != nil {
		t.Fatal(err)
	}
	for _, orgUnit := range orgUnits {
		cells, err := s.of(orgUnit)
		if err != nil {
			t.Fatal(err)
		}
		back[orgUnit] = slices.Clone(cells)
	}
	return orgUnits, back
}

func TestSpoolGivesBackEveryFieldOfACell(t *testing.T) {
	in := []mapping.Cell{
		{OrgUnit: "b", DataElement: "e", CategoryOptionCombo: "c", AttributeOptionCombo: "a", Comment: "said", Value: 1 << 53, FromOrgUnit: "x", FromElement: "y", Index: 12},
		{OrgUnit: "b", DataElement: "", FromOrgUnit: "b", Fault: mapping.NullValue, Found: strings.Repeat("long ", 50), Index: 13},
		aCell("a", "e", 0),
		aCell("b", "f", 7),
	}
	orgUnits, back := spooled(t, in)
	if diff := cmp.Diff([]string{"a", "b"}, orgUnits); diff != "" {
		t.Errorf("org units (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]mapping.Cell{"a": {in[2]}, "b": {in[0], in[1], in[3]}}, back, cmpopts.EquateComparable(mapping.Cell{})); diff != "" {
		t.Errorf("cells (-want +got):\n%s", diff)
	}
}

// TestSpoolPutsScatteredOrgUnitsTogether writes more than the spool holds in memory, in an order in which no two cells of
// an org unit are neighbours, with more texts than its table takes.
func TestSpoolPutsScatteredOrgUnitsTogether(t *testing.T) {
	const orgUnits, elements = 700, 400
	var in []mapping.Cell
	want := map[string]int64{}
	random := rand.New(rand.NewPCG(3, 4))
	for e := range elements {
		for o := range orgUnits {
			c := aCell(fmt.Sprintf("OuTest%05d", o), fmt.Sprintf("DeTest%05d", e), random.Int64N(1000))
			c.Comment = fmt.Sprintf("comment %d of %d", e, o)
			c.Index = len(in)
			want[c.OrgUnit] += c.Value
			in = append(in, c)
		}
	}
	ids, back := spooled(t, in)
	if len(ids) != orgUnits || !slices.IsSorted(ids) {
		t.Fatalf("%d org units, sorted: %v", len(ids), slices.IsSorted(ids))
	}
	for _, id := range ids {
		sum := int64(0)
		for i, c := range back[id] {
			sum += c.Value
			if want := in[c.Index]; c != want || i > 0 && back[id][i-1].Index >= c.Index {
				t.Fatalf("%s: cell %+v, want %+v", id, c, want)
			}
		}
		if sum != want[id] || len(back[id]) != elements {
			t.Fatalf("%s: %d cells with a sum of %d, want %d with %d", id, len(back[id]), sum, elements, want[id])
		}
	}
}

func TestSpoolLeavesNoFileBehind(t *testing.T) {
	folder := t.TempDir()
	s, err := newSpool(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.add("a", func(b []byte) []byte { return s.text(b, "text") }); err != nil {
		t.Fatal(err)
	}
	s.close()
	if left, _ := os.ReadDir(folder); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := newSpool(folder + "/absent"); err == nil {
		t.Error("a spool in a folder that is not there")
	}
}

func TestContentIsInOneOrderWhateverTheOrderOfWriting(t *testing.T) {
	values := func(attribute string, orgUnit string, numbers ...string) []mapping.Value {
		var list []mapping.Value
		for i, number := range numbers {
			list = append(list, mapping.Value{AttributeOptionCombo: attribute, DataValue: dhis2.DataValue{
				OrgUnit: orgUnit, DataElement: fmt.Sprint("e", i), CategoryOptionCombo: "c", Value: number, Comment: "said",
			}})
		}
		return list
	}
	read := func(order ...string) []dhis2.DataValue {
		c, err := newContent(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		for _, orgUnit := range order {
			if err := c.add(orgUnit, append(values("", orgUnit, "1", "2"), values("z", orgUnit, "3")...)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.seal(); err != nil {
			t.Fatal(err)
		}
		var all []dhis2.DataValue
		if all, err = c.values(all, c.parts...); err != nil {
			t.Fatal(err)
		}
		return all
	}
	want := []string{"a 1", "a 2", "b 1", "b 2", "a 3", "b 3"}
	for _, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		var got []string
		for _, v := range read(order...) {
			got = append(got, v.OrgUnit+" "+v.Value)
			if v.CategoryOptionCombo != "c" || v.Comment != "said" || v.DataElement == "" {
				t.Errorf("value %+v", v)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("order %v (-want +got):\n%s", order, diff)
		}
	}
}

func TestDamagedSpoolIsAnError(t *testing.T) {
	p := newPacker()
	good := p.text(p.text(nil, "one"), strings.Repeat("x", 100))
	for cut := 1; cut < len(good)-1; cut++ {
		u := unpacker{packer: p, b: good[:cut]}
		for len(u.b) > 0 {
			u.text()
		}
		if cut > 1 && u.err == nil {
			t.Errorf("cut at %d of %d: no error", cut, len(good))
		}
	}
	u := unpacker{packer: newPacker(), b: []byte{200, 1}}
	if u.text(); u.err == nil {
		t.Error("a number beyond the table is no error")
	}
}

func TestSizer(t *testing.T) {
	s := newSizer(dhis2.SetBased, 0)
	if s.size != 2000 {
		t.Fatalf("begins with %d", s.size)
	}
	s.shrink()
	s.shrink()
	if s.size != 500 {
		t.Errorf("after two halvings %d", s.size)
	}
	for range 3 {
		s.grow()
	}
	if s.size != 500 {
		t.Errorf("grew after three to %d", s.size)
	}
	for range 100 {
		s.grow()
		if s.size > 2000 {
			t.Fatalf("grew to %d", s.size)
		}
	}
	if s.size != 2000 {
		t.Errorf("grew back to %d only", s.size)
	}
	for range 20 {
		s.shrink()
	}
	if s.size != smallestChunk {
		t.Errorf("shrank to %d", s.size)
	}
	for wanted, want := range map[int]int{1000: 1000, 9000: 4000} {
		if got := newSizer(dhis2.SetBased, wanted).size; got != want {
			t.Errorf("a setting of %d gives %d, want %d", wanted, got, want)
		}
	}
	if got := newSizer(dhis2.Legacy, 20000).size; got != 12000 {
		t.Errorf("a setting of 20000 gives %d on 2.42", got)
	}
}
