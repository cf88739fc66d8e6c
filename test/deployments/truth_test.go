package deployments

import (
	"math"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/sandbox"
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

// month gives the documents whose ids have the tag.
func (d *deployment) month() []*sandbox.CHTTargetDocument {
	var found []*sandbox.CHTTargetDocument
	for i := range d.cht.Targets {
		if strings.HasPrefix(d.cht.Targets[i].ID, "target~"+d.tag+"~") {
			found = append(found, &d.cht.Targets[i])
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
			if to.set == "" || to.set == d.sets[0] {
				cells = append(cells, cell{orgUnit, to.element, noDefault(to.combo), noDefault(to.attribute)})
			}
		}
	}
	return cells, listed
}

// ofExport is what is true of the totals of all documents, for the org units of their owners and of all above, as the export is meant
// to give them: each target under its own combo, those named in arrays too.
func (d *deployment) ofExport() *truth {
	t := &truth{values: map[cell]int64{}, unknown: map[cell]bool{}}
	for _, doc := range d.month() {
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
