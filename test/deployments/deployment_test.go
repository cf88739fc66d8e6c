package deployments

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/internal/target"
	"github.com/cht-dhis2/mediator/orchestration"
)

// The ids of the default combo and of those of two age groups.
const (
	defaultCombo  = "HllvX50cXC0"
	defaultOfSets = "bjDvmb4bfuf"
	under5        = "AgeUnder500"
	from5         = "AgeFrom5000"
	agesCombo     = "AgesCombo00"
)

// today is when everything is asked.
var today = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// deployment is a CHT and a DHIS2, with all that people do to both.
type deployment struct {
	*rand.Rand

	// name is the CHT's.
	name  string
	cht   sandbox.CHTDocuments
	dhis2 sandbox.DHIS2Metadata
	zone  *time.Location
	// sets are the data sets, of which the first one is sent; tags are those of the months in the CHT, period is DHIS2's.
	sets    []string
	tags    []string
	period  string
	targets []chtTarget
	// reads says that the target documents are read; else it is the export.
	reads  bool
	nested orchestration.NestedPolicy
	// rules are for target documents; without items those of the CHT's settings count.
	rules   target.Rules
	asFirst bool

	made  int
	units []string
	// parent gives the org unit above an org unit by the places of the CHT.
	parent map[string]string
	flat   bool
}

// chtTarget is a target of the settings, and where it goes.
type chtTarget struct {
	id, kind string
	// listed says that it names its elements in an array.
	listed bool
	to     []destination
}

// destination is the dhis of a target; no data set is all of them.
type destination struct{ set, element, combo, attribute string }

// newDeployment invents a deployment from a seed.
func newDeployment(seed uint64) *deployment {
	d := &deployment{Rand: rand.New(rand.NewPCG(seed, 7)), parent: map[string]string{}, name: fmt.Sprintf("county-%d", seed)}
	d.sets = []string{d.uid("Ds"), d.uid("Ds")}[:1+d.IntN(2)]
	d.zone = []*time.Location{time.UTC, time.FixedZone("east", 3*3600), time.FixedZone("west", -4*3600)}[d.IntN(3)]
	month := time.Month(7 + d.IntN(4))
	if d.one(12) {
		month = time.November // over for those whose months begin before the 23rd
	}
	d.tags, d.period = []string{fmt.Sprintf("2026-%02d", month)}, fmt.Sprintf("2026%02d", month)
	if d.one(6) {
		d.tags, d.period = []string{"2026-07", "2026-08", "2026-09"}, "2026Q3"
	}
	d.reads = d.one(2)
	d.nested = some(d, []orchestration.NestedPolicy{"", "", orchestration.LowestNested, orchestration.AllowNested})
	d.makeTargets()
	d.makeRules()
	d.makePlaces()
	d.makeDocuments()
	d.makeSettings()
	d.makeDHIS2()
	return d
}

// one is true once in n.
func (d *deployment) one(n int) bool { return d.IntN(n) == 0 }

// uid gives an id of DHIS2.
func (d *deployment) uid(begin string) string {
	d.made++
	return fmt.Sprintf("%s%0*d", begin, 11-len(begin), d.made)
}

// some picks one.
func some[T any](d *deployment, list []T) T { return list[d.IntN(len(list))] }

// makeTargets invents targets: shared elements with and without combos, percents, arrays, targets of all data sets, retired ones.
func (d *deployment) makeTargets() {
	elements := []string{}
	element := func() string {
		if len(elements) == 0 || !d.one(4) {
			elements = append(elements, d.uid("De"))
			return elements[len(elements)-1]
		}
		return some(d, elements)
	}
	for i := range 3 + d.IntN(8) {
		t := chtTarget{id: fmt.Sprintf("target-%d", i), kind: "count"}
		if d.one(4) {
			t.kind = "percent"
		}
		n := 1
		switch d.IntN(8) {
		case 0:
			t.listed, n = true, 1+d.IntN(3)
		case 1:
			n = 0
		}
		for range n {
			to := destination{element: element()}
			if !d.one(3) {
				to.set = some(d, d.sets)
			}
			if d.one(3) {
				to.combo = some(d, []string{under5, from5, defaultCombo})
			}
			if d.one(20) {
				to.attribute = defaultCombo
			}
			t.to = append(t.to, to)
		}
		d.targets = append(d.targets, t)
	}
}

// makeRules chooses how target documents are added up.
func (d *deployment) makeRules() {
	r := &d.rules
	switch d.IntN(4) {
	case 0:
		r.Lowest = true
	case 1:
		r.Level = some(d, []string{"district", "health_facility", "chw_area"})
	}
	r.Duplicates = some(d, []target.Duplicates{target.Latest, target.Together, target.Largest})
	if d.one(3) {
		r.ExcludeTypes = []string{"chw_supervisor"}
	}
	d.asFirst = d.one(2)
	if d.one(2) {
		return
	}
	// Items of the configuration: some of those of the settings and others, each cell by one measure.
	measures := map[cell]target.Measure{}
	for _, t := range d.targets {
		for _, to := range t.to {
			at := cell{"", to.element, noDefault(to.combo), noDefault(to.attribute)}
			if _, known := measures[at]; !known {
				measures[at] = some(d, []target.Measure{target.Total, target.Pass, target.Percent})
			}
			item := target.Item{Target: t.id, DataElement: at.element, CategoryOptionCombo: at.combo, AttributeOptionCombo: at.attribute, Measure: measures[at]}
			if !d.one(5) && !slices.Contains(r.Items, item) {
				r.Items = append(r.Items, item)
			}
		}
	}
}

// makePlaces invents districts, facilities, areas and people, and their org units.
func (d *deployment) makePlaces() {
	for range 1 + d.IntN(2) {
		district := d.place("district", nil, 6)
		for range 1 + d.IntN(3) {
			facility := d.place("health_facility", district, 1)
			above := []*sandbox.CHTParent{facility}
			for range d.IntN(3) {
				above = append(above, d.place("chw_area", facility, 4))
			}
			for range 1 + d.IntN(4) {
				d.person("chw", some(d, above))
			}
			if d.one(3) {
				d.person("chw_supervisor", facility)
			}
		}
	}
	if d.one(20) {
		d.person("chw", nil)
	}
}

// contactID gives an id; some have a ~ in them.
func (d *deployment) contactID(kind string) string {
	d.made++
	if d.one(10) {
		return fmt.Sprintf("%s~%d", kind, d.made)
	}
	return fmt.Sprintf("%s-%d", kind, d.made)
}

// place invents a place. It carries org units once in carries, a facility mostly. It gives the chain for what is below.
func (d *deployment) place(kind string, above *sandbox.CHTParent, carries int) *sandbox.CHTParent {
	c := sandbox.CHTContact{ID: d.contactID(kind), Type: "contact", ContactType: kind, Name: kind, Parent: above}
	if carries == 1 && !d.one(6) || carries > 1 && d.one(carries) {
		c.DHIS = d.orgUnits(above)
	}
	if d.one(40) {
		d.cht.Deleted = append(d.cht.Deleted, c.ID)
	}
	d.cht.Places = append(d.cht.Places, c)
	return &sandbox.CHTParent{ID: c.ID, Parent: above}
}

// orgUnits invents the org units of a place, some of which others carry too.
func (d *deployment) orgUnits(above *sandbox.CHTParent) sandbox.CHTOrgUnits {
	var list sandbox.CHTOrgUnits
	for range 1 + d.IntN(5)/4 {
		unit := sandbox.CHTOrgUnit{}
		switch {
		case len(d.units) > 0 && d.one(8):
			unit.OrgUnit = some(d, d.units)
		case d.one(40):
			unit.OrgUnit = "no such id"
		default:
			unit.OrgUnit = d.uid("Ou")
			d.units = append(d.units, unit.OrgUnit)
			d.parent[unit.OrgUnit] = d.unitAbove(above)
		}
		switch d.IntN(6) {
		case 0, 1:
			unit.DataSet = some(d, d.sets)
		case 2:
			unit.DataSet = d.sets[0]
		case 3:
			if d.one(4) {
				unit.DataSet = "DsOfNobody1"
			}
		}
		list = append(list, unit)
	}
	return list
}

// unitAbove gives the org unit that stands next above, by the places.
func (d *deployment) unitAbove(above *sandbox.CHTParent) string {
	for ; above != nil; above = above.Parent {
		at := slices.IndexFunc(d.cht.Places, func(c sandbox.CHTContact) bool { return c.ID == above.ID })
		for _, unit := range d.cht.Places[at].DHIS {
			if slices.Contains(d.units, unit.OrgUnit) {
				return unit.OrgUnit
			}
		}
	}
	return ""
}

// person invents somebody who works below a place; few carry an org unit themselves.
func (d *deployment) person(kind string, above *sandbox.CHTParent) {
	c := sandbox.CHTContact{ID: d.contactID(kind), Type: "contact", ContactType: kind, Name: "a person", Parent: above}
	if d.one(30) {
		c.DHIS = d.orgUnits(above)
	}
	if d.one(15) {
		c.Muted = "2026-05-01T08:00:00.000Z"
	}
	if d.one(15) {
		d.cht.Deleted = append(d.cht.Deleted, c.ID)
	}
	d.cht.Persons = append(d.cht.Persons, c)
}

// makeDocuments invents what phones counted: none, one or several documents of a person, some malformed, in this month and others.
func (d *deployment) makeDocuments() {
	owners := []string{}
	for _, person := range d.cht.Persons {
		owners = append(owners, person.ID)
	}
	if d.one(4) {
		owners = append(owners, d.contactID("unknown"))
	}
	// One malformed document makes the whole export fail, so that not too many deployments may have one.
	malformed := d.one(3)
	deadly := d.reads || d.one(4)
	for i, owner := range owners {
		for _, tag := range d.tags {
			for n := range d.documentsOf() {
				doc := d.document(owner, fmt.Sprintf("user-%d-%d", i, n), tag)
				if malformed && d.one(6*len(d.tags)) {
					d.spoil(&doc, deadly)
				}
				d.cht.Targets = append(d.cht.Targets, doc)
			}
		}
		if d.one(4) {
			d.cht.Targets = append(d.cht.Targets, d.document(owner, fmt.Sprintf("user-%d", i), some(d, []string{"2026-06", "2025-" + d.tags[0][5:], d.tags[0] + "0"})))
		}
	}
	d.Shuffle(len(d.cht.Targets), func(i, j int) { d.cht.Targets[i], d.cht.Targets[j] = d.cht.Targets[j], d.cht.Targets[i] })
}

func (d *deployment) documentsOf() int {
	switch d.IntN(20) {
	case 0, 1, 2:
		return 0
	case 3, 4:
		return 2
	case 5:
		return 3
	}
	return 1
}

// document invents what one phone counted in a month.
func (d *deployment) document(owner, user, tag string) sandbox.CHTTargetDocument {
	doc := sandbox.CHTTargetDocument{
		ID: "target~" + tag + "~" + owner + "~org.couchdb.user:" + user, Type: "target", User: "org.couchdb.user:" + user, Owner: owner,
		ReportingPeriod: tag, Targets: []sandbox.CHTTargetCount{},
		UpdatedDate: time.Date(2026, 10, 1+d.IntN(4), 0, 0, 0, 0, time.UTC).Add(-3 * time.Hour * time.Duration(d.IntN(2))).UnixMilli(),
	}
	ids := []string{}
	for _, t := range d.targets {
		if !d.one(8) {
			ids = append(ids, t.id)
		}
	}
	if d.one(4) {
		ids = append(ids, "retired-target")
	}
	idle := d.one(8)
	for _, id := range ids {
		total := d.IntN(12)
		if idle {
			total = 0
		}
		value := &sandbox.CHTTargetValue{Total: total, Pass: d.IntN(total + 1)}
		if d.one(3) {
			value.Pass = total
		}
		doc.Targets = append(doc.Targets, sandbox.CHTTargetCount{ID: id, Value: value})
	}
	return doc
}

// spoil makes a document malformed, in a deadly way only if it may.
func (d *deployment) spoil(doc *sandbox.CHTTargetDocument, deadly bool) {
	if len(doc.Targets) == 0 {
		return
	}
	count := &doc.Targets[d.IntN(len(doc.Targets))]
	kinds := 5
	if deadly {
		kinds = 10
	}
	if d.reads {
		kinds = 14
	}
	switch d.IntN(kinds) {
	case 0:
		count.Value.Total = nil
	case 1:
		count.Value.Total = "3"
	case 2:
		count.Value.Total = 0.3
	case 3:
		count.Value.Total = -1000
	case 4:
		*count = sandbox.CHTTargetCount{ID: count.ID, Value: &sandbox.CHTTargetValue{}, Odd: `{"id":"` + count.ID + `","value":7}`}
	case 5, 6:
		doc.Targets = nil
	case 7:
		count.Value = nil
	case 8:
		*count = sandbox.CHTTargetCount{Odd: "null"}
	case 9:
		doc.Targets, doc.Odd = nil, map[string]string{"targets": some(d, []string{`{}`, `"none"`, `null`, `5`})}
	// What the export adds up without a word.
	case 10:
		count.Value.Total = sandbox.CHTNull{}
	case 11:
		count.Value.Total = true
	case 12:
		count.Value.Pass = some(d, []any{nil, "3", 0.5, -2, sandbox.CHTNull{}})
	case 13:
		count.Value.Total = 1e300
	}
}

// makeSettings gives the CHT its settings.
func (d *deployment) makeSettings() {
	s := &d.cht.Settings
	s.ContactTypes = json.RawMessage(`[{"id":"district"},{"id":"health_facility","parents":["district"]},{"id":"chw_area","parents":["health_facility"]},` +
		`{"id":"chw","person":true,"parents":["chw_area","health_facility"]},{"id":"chw_supervisor","person":true,"parents":["health_facility"]}]`)
	s.Roles = map[string]sandbox.CHTRole{"integration": {Name: "Integration"}}
	s.Permissions = map[string][]string{"can_export_all": {"integration"}, "can_view_contacts": {"integration"}}
	start := 1
	if d.one(2) {
		start = 1 + d.IntN(31)
	}
	if d.one(2) {
		s.UHC.MonthStartDate = start
	} else {
		s.UHC.VisitCount.MonthStartDate = start
	}
	for _, set := range d.sets {
		s.DHISDataSets = append(s.DHISDataSets, sandbox.CHTDataSet{ID: set})
	}
	for _, t := range d.targets {
		item := sandbox.CHTTarget{ID: t.id, Type: t.kind}
		objects := []string{}
		for _, to := range t.to {
			objects = append(objects, d.dhis(to))
		}
		switch {
		case t.listed:
			item.DHIS = json.RawMessage("[" + strings.Join(objects, ",") + "]")
		case len(objects) > 0:
			item.DHIS = json.RawMessage(objects[0])
		}
		s.Tasks.Targets.Items = append(s.Tasks.Targets.Items, item)
	}
	d.cht.Users = []sandbox.CHTUser{{Name: "integration", Password: "secret", Roles: []string{"mm-online", "integration"}}}
}

// dhis writes the dhis object of a target.
func (d *deployment) dhis(to destination) string {
	object := fmt.Sprintf(`{"dataElement":%q`, to.element)
	for _, field := range [][2]string{{"dataSet", to.set}, {"categoryOptionCombo", to.combo}, {"attributeOptionCombo", to.attribute}} {
		if field[1] != "" {
			object += fmt.Sprintf(`,%q:%q`, field[0], field[1])
		}
	}
	if d.one(12) {
		object += `,"followup":true`
	}
	return object + "}"
}

// makeDHIS2 gives DHIS2 what the CHT speaks of, but for what was forgotten. Its org units stand in each other as the places do, or
// all beside each other.
func (d *deployment) makeDHIS2() {
	const root = "OuRoot00000"
	d.flat = d.one(2)
	m := &d.dhis2
	m.OrganisationUnits = []sandbox.DHIS2OrgUnit{{ID: root, Name: "Country", OpeningDate: "2000-01-01"}}
	assigned := map[string][]sandbox.DHIS2Ref{}
	for _, id := range d.units {
		unit := sandbox.DHIS2OrgUnit{ID: id, Name: "Place " + id, OpeningDate: "2000-01-01", Parent: &sandbox.DHIS2Ref{ID: root}}
		if above := d.parent[id]; above != "" && !d.flat {
			unit.Parent.ID = above
		}
		if d.one(30) {
			unit.ClosedDate = "2026-03-31"
		}
		m.OrganisationUnits = append(m.OrganisationUnits, unit)
		for _, set := range d.sets {
			if !d.one(25) {
				assigned[set] = append(assigned[set], sandbox.DHIS2Ref{ID: id})
			}
		}
	}
	d.addAges()
	for _, set := range d.sets {
		made := sandbox.DHIS2DataSet{ID: set, Name: "Set " + set, PeriodType: map[bool]string{false: "Monthly", true: "Quarterly"}[len(d.tags) > 1], CategoryCombo: sandbox.DHIS2Ref{ID: defaultOfSets}, OrganisationUnits: assigned[set]}
		for _, element := range d.elementsOf(set) {
			if !d.one(30) {
				made.DataSetElements = append(made.DataSetElements, sandbox.DHIS2DataSetElement{DataElement: sandbox.DHIS2Ref{ID: element}})
			}
		}
		m.DataSets = append(m.DataSets, made)
	}
}

// elementsOf gives the data elements that targets of a data set name; of all data sets where it is empty.
func (d *deployment) elementsOf(set string) []string {
	var ids []string
	for _, t := range d.targets {
		for _, to := range t.to {
			if (set == "" || to.set == "" || to.set == set) && !slices.Contains(ids, to.element) {
				ids = append(ids, to.element)
			}
		}
	}
	return ids
}

// addAges adds the age groups, and the data elements, which have them where a target says so.
func (d *deployment) addAges() {
	m, ref := &d.dhis2, func(id string) sandbox.DHIS2Ref { return sandbox.DHIS2Ref{ID: id} }
	const dimension = "DISAGGREGATION"
	m.CategoryOptions = []sandbox.DHIS2CategoryOption{{ID: "OptUnder500", Name: "Under 5"}, {ID: "OptFrom5000", Name: "5 and over"}}
	m.Categories = []sandbox.DHIS2Category{{ID: "AgesCateg00", Name: "Age", DataDimensionType: dimension, CategoryOptions: []sandbox.DHIS2Ref{ref("OptUnder500"), ref("OptFrom5000")}}}
	m.CategoryCombos = []sandbox.DHIS2CategoryCombo{{ID: agesCombo, Name: "Age", DataDimensionType: dimension, Categories: []sandbox.DHIS2Ref{ref("AgesCateg00")}}}
	m.CategoryOptionCombos = []sandbox.DHIS2CategoryOptionCombo{
		{ID: under5, Name: "Under 5", CategoryCombo: ref(agesCombo), CategoryOptions: []sandbox.DHIS2Ref{ref("OptUnder500")}},
		{ID: from5, Name: "5 and over", CategoryCombo: ref(agesCombo), CategoryOptions: []sandbox.DHIS2Ref{ref("OptFrom5000")}},
	}
	for _, id := range d.elementsOf("") {
		combo := defaultOfSets
		for _, t := range d.targets {
			for _, to := range t.to {
				if to.element == id && (to.combo == under5 || to.combo == from5) {
					combo = agesCombo
				}
			}
		}
		m.DataElements = append(m.DataElements, sandbox.DHIS2DataElement{
			ID: id, Name: "Element " + id, DomainType: "AGGREGATE", ValueType: "INTEGER_ZERO_OR_POSITIVE", AggregationType: "SUM",
			ZeroIsSignificant: d.one(2), CategoryCombo: ref(combo),
		})
	}
}

// live lets a few things happen: late documents, changed and removed ones, people who move or go, places that get other org units.
func (d *deployment) live() {
	d.cht.Persons, d.cht.Places, d.cht.Targets = slices.Clone(d.cht.Persons), slices.Clone(d.cht.Places), slices.Clone(d.cht.Targets)
	d.cht.Deleted = slices.Clone(d.cht.Deleted)
	for range 1 + d.IntN(5) {
		person := &d.cht.Persons[d.IntN(len(d.cht.Persons))]
		place := &d.cht.Places[d.IntN(len(d.cht.Places))]
		switch d.IntN(7) {
		case 0, 1:
			d.made++
			d.cht.Targets = append(d.cht.Targets, d.document(person.ID, fmt.Sprintf("late-%d", d.made), some(d, d.tags)))
		case 2:
			if len(d.cht.Targets) > 0 {
				doc := &d.cht.Targets[d.IntN(len(d.cht.Targets))]
				changed := d.document(doc.Owner, "", d.tags[0])
				doc.Targets, doc.UpdatedDate, doc.Odd = changed.Targets, changed.UpdatedDate, nil
				if d.one(6) {
					d.spoil(doc, true)
				}
			}
		case 3:
			if len(d.cht.Targets) > 0 {
				at := d.IntN(len(d.cht.Targets))
				d.cht.Targets = slices.Delete(d.cht.Targets, at, at+1)
			}
		case 4, 5:
			person.Parent = &sandbox.CHTParent{ID: place.ID, Parent: place.Parent}
			if d.one(4) {
				d.cht.Deleted = append(d.cht.Deleted, person.ID)
			}
		case 6:
			if len(d.units) > 0 {
				place.DHIS = sandbox.CHTOrgUnits{{OrgUnit: some(d, d.units)}}
			}
		}
	}
}
