package validation

import (
	"fmt"
	"testing"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// BenchmarkChecks asks what is asked of a month of 100 data elements, one in four disaggregated, org unit by org unit. Its
// time is that of a value.
func BenchmarkChecks(b *testing.B) {
	for _, dialect := range dialects {
		b.Run(string(dialect), func(b *testing.B) {
			f, units := benchFacts(b, dialect, 10000)
			elements := benchValues(f.Set)
			values := make([]mapping.Value, len(elements))
			c := New(f)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += len(values) {
				unit := units[n/len(values)%len(units)]
				copy(values, elements)
				for i := range values {
					values[i].OrgUnit = unit
				}
				if found := c.OrgUnit(unit); found != nil {
					b.Fatal(found)
				}
				for i := range values {
					if found := c.Value(&values[i]); found != nil {
						b.Fatal(found)
					}
					if i > 0 && c.Twice(&values[i-1], &values[i]) != nil {
						b.Fatal("twice")
					}
					c.DropsZero(&values[i])
				}
			}
		})
	}
}

func benchFacts(b *testing.B, dialect dhis2.Dialect, count int) (Facts, []string) {
	b.Helper()
	f := goodFacts(b, dialect)
	f.Set.ExpiryDays, f.Set.Elements, f.Set.NoZeros = 20, map[string]*dhis2.Element{}, map[string]bool{}
	standard, age := combo(true, dhis2.DefaultCombo), combo(false, "CocUnder5y1", "CocOver5yr1")
	for i := range 100 {
		e := &dhis2.Element{ID: fmt.Sprintf("De%09d", i), ValueType: "INTEGER_ZERO_OR_POSITIVE", Combo: standard}
		if i%4 == 0 {
			e.Combo = age
		}
		f.Set.Elements[e.ID], f.Set.NoZeros[e.ID] = e, i%2 == 0
	}
	units := make([]string, count)
	f.Approvals = map[Approval]string{}
	for i := range units {
		units[i] = fmt.Sprintf("Ou%09d", i)
		f.OrgUnits.Add(dhis2.OrgUnit{ID: units[i], Path: "/OuCountry01/" + units[i], Opens: "2000-01-01T00:00:00.000", Closes: "2050-01-01T00:00:00.000"})
		f.Approvals[Approval{units[i], ""}] = "UNAPPROVED_READY"
	}
	f.Approvals[Approval{"OuElsewhere", ""}] = "APPROVED_HERE"
	return f, units
}

func benchValues(set *dhis2.DataSet) []mapping.Value {
	var values []mapping.Value
	for i := range 100 {
		v := value(fmt.Sprintf("De%09d", i), fmt.Sprint(i%50))
		if !set.Elements[v.DataElement].Combo.IsDefault {
			v.CategoryOptionCombo = "CocUnder5y1"
		}
		values = append(values, v)
	}
	return values
}
