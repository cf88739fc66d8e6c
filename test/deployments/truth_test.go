package deployments

import (
	"math"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/internal/target"
)

// What is true is computed here from the documents, the slow way, and with nothing of the mediator: each document on its own, each of
// its targets, each org unit above its owner.

// cell is where a figure stands; an empty combo is the default one.
type cell struct{ orgUnit, element, combo, attribute string }

// truth is what is true of a month under the rules of a deployment.
type truth struct {
	values map[cell]int64
	// unknown are cells of which nobody can say what is true, as a number in them cannot be read.
	unknown map[cell]bool
	// breaks says that the CHT's own export fails wholly.
	breaks bool
	// together are, for each owner whose work counts, the org units for which it does.
	together [][]string
}

// contact gives a contact that is there.
func (d *deployment) contact(id string) *sandbox.CHTContact {
	if slices.Contains(d.cht.Deleted, id) {
		return nil
	}
	for _, list := range [][]sandbox.CHTContact{d.cht.Places, d.cht.Persons} {
		for i := range list {
			if list[i].ID == id {
				return &list[i]
			}
		}
	}
	return nil
}

// unitsOf gives the org units of the data set that a contact itself carries.
func (d *deployment) unitsOf(c *sandbox.CHTContact) []string {
	var units []string
	if c == nil {
		return nil
	}
	for _, unit := range c.DHIS {
		if unit.OrgUnit != "" && (unit.DataSet == "" || unit.DataSet == d.sets[0]) && !slices.Contains(units, unit.OrgUnit) {
			units = append(units, unit.OrgUnit)
		}
	}
	return units
}

// line gives a contact and all above it, the nearest first.
func (d *deployment) line(owner *sandbox.CHTContact) []*sandbox.CHTContact {
	line := []*sandbox.CHTContact{owner}
	for at := owner.Parent; at != nil; at = at.Parent {
		line = append(line, d.contact(at.ID))
	}
	return line
}

// months gives the documents whose ids have the tags, month by month.
func (d *deployment) months() [][]*sandbox.CHTTargetDocument {
	found := make([][]*sandbox.CHTTargetDocument, len(d.tags))
	for at, tag := range d.tags {
		for i := range d.cht.Targets {
			if strings.HasPrefix(d.cht.Targets[i].ID, "target~"+tag+"~") {
				found[at] = append(found[at], &d.cht.Targets[i])
			}
		}
	}
	return found
}

// whole reads a number that counts: finite, whole and not below zero.
func whole(number any) (int64, bool) {
	switch n := number.(type) {
	case int:
		return int64(n), n >= 0
	case float64:
		return int64(n), n >= 0 && n == math.Trunc(n) && n <= 1<<53
	}
	return 0, false
}

// noDefault takes the default combo away.
func noDefault(combo string) string {
	if combo == defaultCombo {
		return ""
	}
	return combo
}

// destinations gives the cells of an org unit to which a target adds, and whether the export leaves it out.
func (d *deployment) destinations(id, orgUnit string) (cells []cell, listed bool) {
	for _, t := range d.targets {
		if t.id != id {
			continue
		}
		listed = t.listed
		for _, to := range t.to {
			at := cell{orgUnit, to.element, noDefault(to.combo), noDefault(to.attribute)}
			if (to.set == "" || to.set == d.sets[0]) && !slices.Contains(cells, at) { // what stands there twice is counted once
				cells = append(cells, at)
			}
		}
	}
	return cells, listed
}

// ofExport is what is true of the totals of all documents, for the org units of their owners and of all above, as the export is meant
// to give them: each target under its own combo, those named in arrays too.
func (d *deployment) ofExport() *truth {
	t := &truth{values: map[cell]int64{}, unknown: map[cell]bool{}}
	for _, doc := range slices.Concat(d.months()...) {
		owner := d.contact(doc.Owner)
		if owner == nil {
			continue
		}
		var units []string
		for _, contact := range d.line(owner) {
			for _, unit := range d.unitsOf(contact) {
				if !slices.Contains(units, unit) {
					units = append(units, unit)
				}
			}
		}
		if len(units) > 0 {
			t.breaks = t.breaks || doc.Targets == nil
			t.together = append(t.together, units)
			d.addTotals(t, doc, units)
		}
	}
	return t
}

// addTotals adds the totals of a document to org units.
func (d *deployment) addTotals(t *truth, doc *sandbox.CHTTargetDocument, units []string) {
	for i := range doc.Targets {
		count := &doc.Targets[i]
		t.breaks = t.breaks || count.Odd == "null"
		for _, unit := range units {
			cells, listed := d.destinations(count.ID, unit)
			if count.Value == nil {
				t.breaks = t.breaks || len(cells) > 0 && !listed
				continue
			}
			total, ok := whole(count.Value.Total)
			for _, at := range cells {
				if t.values[at] += total; !ok {
					t.unknown[at] = true
				}
			}
		}
	}
}

// ofDocuments is what is true by the rules for target documents. first gives owners as they were when their documents first counted,
// where that is what matters.
func (d *deployment) ofDocuments(first map[ofMonth]*sandbox.CHTContact) *truth {
	t := &truth{unknown: map[cell]bool{}}
	pass, total := map[cell]int64{}, map[cell]int64{}
	measures := map[cell]target.Measure{}
	byOwner := map[ofMonth][]*sandbox.CHTTargetDocument{}
	for month, docs := range d.months() {
		for _, doc := range docs {
			at := ofMonth{doc.Owner, month}
			byOwner[at] = append(byOwner[at], doc)
		}
	}
	for id, docs := range byOwner {
		owner := d.contact(id.owner)
		if then, known := first[id]; known {
			owner = then
		}
		if owner == nil || slices.Contains(d.rules.ExcludeTypes, owner.ContactType) {
			continue
		}
		units := d.countsFor(owner)
		docs, alike := d.chosen(slices.DeleteFunc(docs, func(doc *sandbox.CHTTargetDocument) bool { return !d.usable(doc) }))
		for _, doc := range alike {
			for i := range doc.Targets {
				for _, at := range d.cellsOf(doc.Targets[i].ID, units) {
					t.unknown[at] = true
				}
			}
		}
		for _, doc := range docs {
			for i := range doc.Targets {
				for _, item := range d.itemsOf(doc.Targets[i].ID) {
					for _, unit := range units {
						at := cell{unit, item.DataElement, noDefault(item.CategoryOptionCombo), noDefault(item.AttributeOptionCombo)}
						p, _ := whole(doc.Targets[i].Value.Pass)
						n, _ := whole(doc.Targets[i].Value.Total)
						pass[at] += p
						total[at] += n
						measures[at] = item.Measure
					}
				}
			}
		}
		if len(docs) > 0 {
			t.together = append(t.together, units)
		}
	}
	t.values = map[cell]int64{}
	for at, measure := range measures {
		switch {
		case measure == target.Total:
			t.values[at] = total[at]
		case measure == target.Pass:
			t.values[at] = pass[at]
		case total[at] > 0:
			t.values[at] = int64(math.Floor(100*float64(pass[at])/float64(total[at]) + 0.5))
		}
	}
	return t
}

// ofMonth is an owner in one of the months.
type ofMonth struct {
	owner string
	month int
}

// owners gives those of the documents that are there and count somewhere, as they are now.
func (d *deployment) owners() map[ofMonth]*sandbox.CHTContact {
	now := map[ofMonth]*sandbox.CHTContact{}
	for month, docs := range d.months() {
		for _, doc := range docs {
			if owner := d.contact(doc.Owner); owner != nil && d.isPlaced(owner) {
				copied := *owner
				now[ofMonth{owner.ID, month}] = &copied
			}
		}
	}
	return now
}

// isPlaced says whether a contact, or one above it, carries an org unit of whatever data set: what counts nowhere has not counted yet.
func (d *deployment) isPlaced(owner *sandbox.CHTContact) bool {
	return slices.ContainsFunc(d.line(owner), func(c *sandbox.CHTContact) bool {
		return c != nil && slices.ContainsFunc(c.DHIS, func(u sandbox.CHTOrgUnit) bool { return u.OrgUnit != "" })
	})
}

// itemsOf gives the items that a target feeds.
func (d *deployment) itemsOf(id string) []target.Item {
	if d.rules.Items != nil {
		return slices.DeleteFunc(slices.Clone(d.rules.Items), func(i target.Item) bool { return i.Target != id })
	}
	var items []target.Item
	cells, _ := d.destinations(id, "")
	for _, at := range cells {
		items = append(items, target.Item{Target: id, DataElement: at.element, CategoryOptionCombo: at.combo, AttributeOptionCombo: at.attribute})
	}
	return items
}

// usable says whether all of a document can be read that the data set needs.
func (d *deployment) usable(doc *sandbox.CHTTargetDocument) bool {
	if doc.Targets == nil {
		return false
	}
	for i := range doc.Targets {
		count := &doc.Targets[i]
		if count.Odd == "null" {
			return false
		}
		for _, item := range d.itemsOf(count.ID) {
			if count.Value == nil {
				return false
			}
			_, hasPass := whole(count.Value.Pass)
			_, hasTotal := whole(count.Value.Total)
			if !hasTotal && item.Measure != target.Pass || !hasPass && item.Measure != target.Total {
				return false
			}
		}
	}
	return true
}

// cellsOf gives the cells of org units to which a target adds.
func (d *deployment) cellsOf(id string, units []string) (cells []cell) {
	for _, item := range d.itemsOf(id) {
		for _, unit := range units {
			cells = append(cells, cell{unit, item.DataElement, noDefault(item.CategoryOptionCombo), noDefault(item.AttributeOptionCombo)})
		}
	}
	return cells
}

// chosen gives the documents of an owner that count, and those between which nothing but chance decides.
func (d *deployment) chosen(docs []*sandbox.CHTTargetDocument) (counted, alike []*sandbox.CHTTargetDocument) {
	if d.rules.Duplicates == target.Together || len(docs) < 2 {
		return docs, nil
	}
	// The day is that of the midnight which is nearest, as the zone of the phone is not told.
	day := func(doc *sandbox.CHTTargetDocument) int64 { return (doc.UpdatedDate + 12*3600_000) / (24 * 3600_000) }
	size := func(doc *sandbox.CHTTargetDocument) (sum int64) {
		for i := range doc.Targets {
			if len(d.itemsOf(doc.Targets[i].ID)) > 0 {
				n, _ := whole(doc.Targets[i].Value.Total)
				sum += n
			}
		}
		return sum
	}
	rank := func(doc *sandbox.CHTTargetDocument) [2]int64 {
		if d.rules.Duplicates == target.Largest {
			return [2]int64{size(doc), day(doc)}
		}
		return [2]int64{day(doc), size(doc)}
	}
	best := slices.MaxFunc(docs, func(a, b *sandbox.CHTTargetDocument) int {
		of, other := rank(a), rank(b)
		return slices.Compare(of[:], other[:])
	})
	for _, doc := range docs {
		if rank(doc) == rank(best) {
			alike = append(alike, doc)
		}
	}
	if len(alike) == 1 {
		alike = nil
	}
	return []*sandbox.CHTTargetDocument{best}, alike
}

// countsFor gives the org units for which an owner's documents count.
func (d *deployment) countsFor(owner *sandbox.CHTContact) []string {
	var units []string
	for at, contact := range d.line(owner) {
		if at == 0 {
			contact = d.contact(owner.ID) // what it carries is asked today
		}
		if contact == nil || d.rules.Level != "" && contact.ContactType != d.rules.Level {
			continue
		}
		for _, unit := range d.unitsOf(contact) {
			if !slices.Contains(units, unit) {
				units = append(units, unit)
			}
		}
		if len(units) > 0 && (d.rules.Lowest || d.rules.Level != "") {
			break
		}
	}
	return units
}
