package issue

import (
	"fmt"
	"testing"
)

func TestListKeepsTheFirstAndSomeOfEachCode(t *testing.T) {
	var l, other List
	for i := range 2 * ListLimit {
		l.Add(Issue{Code: "frequent", Severity: Cell, OrgUnit: fmt.Sprintf("%05d", i)})
	}
	l.Add(Issue{Code: "rare", Severity: Note})
	l.Add(Issue{Code: "grave", Severity: Blocking})
	for range 3 {
		other.Add(Issue{Code: "frequent", Severity: Cell})
	}
	other.Add(Issue{Code: "another", Severity: Cell})
	l.Join(&other)
	items := l.Items()
	if l.Total() != 2*ListLimit+6 || len(items) != ListLimit+3 {
		t.Fatalf("%d kept of %d", len(items), l.Total())
	}
	if items[0].Code != "grave" || items[1].Code != "another" || items[len(items)-1].Code != "rare" {
		t.Errorf("order %s, %s … %s", items[0].Code, items[1].Code, items[len(items)-1].Code)
	}
	if items[2].OrgUnit != "00000" || items[3].OrgUnit != "00001" {
		t.Errorf("places %s, %s", items[2].OrgUnit, items[3].OrgUnit)
	}
}
