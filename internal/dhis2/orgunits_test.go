package dhis2

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOrgUnitsAreGivenBackAsTheyWere(t *testing.T) {
	list := []OrgUnit{
		{ID: "OuClinic001", Code: "C1", Name: "Clinic", Path: "/OuCountry01/OuClinic001", Opens: "2000-01-01T00:00:00.000", Closes: "2020-01-31T00:00:00.000"},
		{ID: "OuCLINIC001", Path: "/OuCountry01/OuCLINIC001", Opens: "2000-01-01T00:00:00.000"},
		{ID: "OuCountry01", Name: "Länd", Path: "/OuCountry01"},
		{ID: "OuNoPath001", Name: "No path"},
		{ID: "OuOdd", Path: "/OuCountry01/OuOdd"},
		{ID: "OuOther0001", Path: "/somewhere/else"},
	}
	var units OrgUnits
	for _, o := range list {
		units.Add(o)
	}
	for _, want := range list {
		if got, found := units.Get(want.ID); !found || !units.Has(want.ID) || got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if diff := cmp.Diff([]string{"OuCLINIC001", "OuClinic001", "OuCountry01", "OuNoPath001", "OuOdd", "OuOther0001"}, units.IDs()); diff != "" || units.Len() != len(list) {
		t.Errorf("%d, %s", units.Len(), diff)
	}
	units.Add(OrgUnit{ID: "OuClinic001", Path: "/OuCountry02/OuClinic001"})
	if got, _ := units.Get("OuClinic001"); got.Path != "/OuCountry02/OuClinic001" || got.Name != "" || units.Len() != len(list) {
		t.Errorf("the later one is %+v, of %d", got, units.Len())
	}
	for _, id := range []string{"", "OuUnknown01", "oucountry01", "OuClinic0011"} {
		if _, found := units.Get(id); found || units.Has(id) {
			t.Errorf("there is a %q", id)
		}
	}
	var none *OrgUnits
	if _, found := none.Get("OuClinic001"); found || none.Has("OuClinic001") || none.Len() != 0 || none.IDs() != nil {
		t.Error("nil is not empty")
	}
}

func TestAHundredThousandOrgUnitsTakeLittle(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var units OrgUnits
	for i := range 100_000 {
		id := fmt.Sprintf("OuB%08d", i)
		units.Add(OrgUnit{ID: id, Code: fmt.Sprintf("FAC_%d", i), Name: fmt.Sprintf("Facility %d", i), Path: fmt.Sprintf("/OuBenchRoot/OuBenchDi%02d/%s", i%100, id), Opens: "2000-01-01T00:00:00.000"})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if took := int(after.HeapAlloc-before.HeapAlloc) >> 10; took > 12<<10 {
		t.Errorf("they take %d KiB", took)
	}
	runtime.KeepAlive(&units)
}
