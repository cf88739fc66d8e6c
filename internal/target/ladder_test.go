package target_test

import (
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/target"
)

// TestALadderLeadsFromTheExportToTheRules compares the foot of ladders over random deployments with an export that is computed slowly,
// and their heads with the sums by the rules.
func TestALadderLeadsFromTheExportToTheRules(t *testing.T) {
	t.Parallel()
	causes := map[target.Cause]int{}
	doubts := 0
	from, to := uint64(1), uint64(*seeds)
	if *onlySeed != 0 {
		from, to = *onlySeed, *onlySeed
	}
	for seed := from; seed <= to; seed++ {
		d := random(seed)
		exported, listed := d.settings(seed)
		first := map[string]string{}
		for id, c := range d.contacts {
			first[id] = c.parent
		}
		maps.Copy(first, d.former)
		config := target.LadderConfig{Today: d.hierarchy(nil), DataSet: "DsA", Names: d.names, Exported: exported, Listed: listed, Rules: d.rules}
		wanted := d.hierarchy(nil)
		if seed%3 == 0 {
			config.First, wanted = d.hierarchy(first), d.hierarchy(first)
		}
		l, s := target.NewLadder(config), target.NewSum(wanted, d.rules, "DsA", d.names)
		for month, of := range d.months {
			if month > 0 {
				l.NextMonth()
				s.NextMonth()
			}
			for owner, documents := range of {
				l.Add(key.Of(owner), d.hashed(documents))
				s.Add(key.Of(owner), d.hashed(documents))
			}
		}
		foot, doubtful := d.exports(exported, "DsA")
		gotFoot, gotHead, wantHead, gotDoubtful := map[string]string{}, map[string]string{}, map[string]string{}, map[string]bool{}
		err := l.Traces(func(orgUnit string, traces []target.Trace) error {
			for _, trace := range traces {
				place := orgUnit + " " + trace.DataElement + " " + trace.CategoryOptionCombo + " " + trace.AttributeOptionCombo
				now := trace.Exported
				if now.Given {
					gotFoot[place] = fmt.Sprint(now.Value)
				}
				if trace.Doubtful {
					gotDoubtful[place] = true
					doubts++
				}
				for _, step := range trace.Steps {
					if step.Number == now {
						t.Errorf("-seed %d: %s: %s changes nothing", seed, place, step.Cause)
					}
					now = step.Number
					causes[step.Cause]++
				}
				if now.Given {
					gotHead[place] = fmt.Sprint(now.Value)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range figures(t, s) {
			wantHead[v.OrgUnit+" "+v.DataElement+" "+v.CategoryOptionCombo+" "+v.AttributeOptionCombo] = fmt.Sprint(v.Value)
		}
		for place, value := range foot {
			if value == "large" {
				delete(foot, place)
				delete(gotFoot, place)
			}
		}
		if diff := cmp.Diff(foot, gotFoot); diff != "" {
			t.Fatalf("-seed %d: the export (-slow +ladder):\n%s", seed, diff)
		}
		if diff := cmp.Diff(doubtful, gotDoubtful); diff != "" {
			t.Fatalf("-seed %d: doubtful cells (-slow +ladder):\n%s", seed, diff)
		}
		if diff := cmp.Diff(wantHead, gotHead); diff != "" {
			t.Fatalf("-seed %d: by the rules (-sum +ladder):\n%s", seed, diff)
		}
	}
	if *onlySeed != 0 {
		return
	}
	for _, cause := range target.Causes() {
		if causes[cause] == 0 {
			t.Errorf("no cell of any deployment has the cause %s", cause)
		}
	}
	if doubts == 0 {
		t.Error("no cell is doubtful")
	}
}

// settings are what the CHT's settings say: items of the rules by their totals, with other combos, and others.
func (d *deployment) settings(seed uint64) (exported, listed []target.Item) {
	r := rand.New(rand.NewPCG(seed, 11))
	add := func(to *[]target.Item, i target.Item) {
		i.Measure = target.Total
		same := func(one target.Item) bool { return one.Target == i.Target && one.DataElement == i.DataElement }
		if !slices.ContainsFunc(exported, same) && !slices.ContainsFunc(listed, same) {
			*to = append(*to, i)
		}
	}
	for _, i := range d.rules.Items {
		switch r.IntN(6) {
		case 0:
			add(&listed, i)
		case 1:
		default:
			add(&exported, i)
		}
	}
	for range r.IntN(3) {
		add(&exported, target.Item{Target: fmt.Sprintf("t%d", r.IntN(5)), DataElement: fmt.Sprintf("De%d", r.IntN(3)), CategoryOptionCombo: []string{"", "Coc1"}[r.IntN(2)]})
	}
	return exported, listed
}

func (d *deployment) hashed(documents []document) []target.Document {
	var all []target.Document
	for _, doc := range documents {
		one := target.Document{ID: key.Of(doc.id), Updated: doc.day, Malformed: doc.malformed}
		for _, c := range doc.counts {
			one.Counts = append(one.Counts, target.Count{Target: slices.Index(d.names, c.target), Pass: c.pass, Total: c.total})
		}
		all = append(all, one)
	}
	return all
}

// exports is what a CHT exports, and where that hangs on a number that cannot be used. A sum that is too large is told as that.
func (d *deployment) exports(items []target.Item, dataSet string) (values map[string]string, doubtful map[string]bool) {
	everybody := *d
	everybody.rules = target.Rules{}
	values, doubtful = map[string]string{}, map[string]bool{}
	orgUnits := map[string]bool{}
	for id := range d.contacts {
		maps.Copy(orgUnits, d.carried(id, dataSet))
	}
	last := map[string]target.Item{}
	for _, i := range items {
		last[i.DataElement] = i
	}
	for orgUnit := range orgUnits {
		for element, i := range last {
			place := orgUnit + " " + element + " " + i.CategoryOptionCombo + " " + i.AttributeOptionCombo
			sum := new(big.Int)
			for _, of := range d.months {
				for owner, documents := range of {
					if d.contacts[owner] == nil || !everybody.countsFor(orgUnit, owner, d.contacts[owner].parent, dataSet) {
						continue
					}
					for _, doc := range documents {
						for _, item := range items {
							if doc.malformed && item.DataElement == element && slices.Contains(d.names, item.Target) { // a target that nobody counts adds nothing
								doubtful[place] = true
							}
							for _, c := range doc.counts {
								switch {
								case doc.malformed || item.DataElement != element || c.target != item.Target:
								case c.total <= cht.Unread:
									doubtful[place] = true
								default:
									sum.Add(sum, big.NewInt(c.total))
								}
							}
						}
					}
				}
			}
			values[place] = sum.String()
			if sum.Cmp(most) > 0 {
				values[place] = "large"
			}
		}
	}
	maps.DeleteFunc(doubtful, func(_ string, is bool) bool { return !is })
	return values, doubtful
}
