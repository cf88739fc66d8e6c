package sandbox

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strings"
	"time"
)

// The default category combination, which every DHIS2 makes for itself. Its ids differ between servers; these are
// the ones of the recordings.
const (
	dhis2DefaultCombo       = "bjDvmb4bfuf"
	dhis2DefaultOptionCombo = "HllvX50cXC0"
)

// DHIS2Metadata is what would be posted to /api/metadata of an empty server. The default category combination need
// not be in it. References to what is not there are left out.
type DHIS2Metadata struct {
	OrganisationUnits     []DHIS2OrgUnit             `json:"organisationUnits,omitempty"`
	CategoryOptions       []DHIS2CategoryOption      `json:"categoryOptions,omitempty"`
	Categories            []DHIS2Category            `json:"categories,omitempty"`
	CategoryCombos        []DHIS2CategoryCombo       `json:"categoryCombos,omitempty"`
	CategoryOptionCombos  []DHIS2CategoryOptionCombo `json:"categoryOptionCombos,omitempty"`
	OptionSets            []DHIS2OptionSet           `json:"optionSets,omitempty"`
	Options               []DHIS2Option              `json:"options,omitempty"`
	DataElements          []DHIS2DataElement         `json:"dataElements,omitempty"`
	DataApprovalLevels    []DHIS2ApprovalLevel       `json:"dataApprovalLevels,omitempty"`
	DataApprovalWorkflows []DHIS2ApprovalWorkflow    `json:"dataApprovalWorkflows,omitempty"`
	DataSets              []DHIS2DataSet             `json:"dataSets,omitempty"`
}

// DHIS2Ref refers to an object by its id.
type DHIS2Ref struct {
	ID string `json:"id"`
}

// DHIS2AttributeValue is the value of an attribute of an object, as its number in another register.
type DHIS2AttributeValue struct {
	Attribute DHIS2Ref `json:"attribute"`
	Value     string   `json:"value"`
}

// attributeObjects shows attribute values.
func attributeObjects(values []DHIS2AttributeValue) func() []dhis2Object {
	return func() []dhis2Object {
		return objectsOf(pointers(values), func(v *DHIS2AttributeValue) dhis2Object {
			return dhis2Object{{"attribute", refObject(v.Attribute.ID)}, {"value", v.Value}}
		})
	}
}

// DHIS2Sharing is what everybody may do: reading and writing the object, then its data, such as "rwrw----". Empty
// allows all.
type DHIS2Sharing struct {
	Public string `json:"public,omitempty"`
}

// allows tells whether the letter is at its place.
func (s DHIS2Sharing) allows(place int, letter byte) bool {
	return s.Public == "" || len(s.Public) > place && s.Public[place] == letter
}

func (s DHIS2Sharing) readable() bool     { return s.allows(0, 'r') }
func (s DHIS2Sharing) dataReadable() bool { return s.allows(2, 'r') }
func (s DHIS2Sharing) dataWritable() bool { return s.allows(3, 'w') }

// DHIS2OrgUnit is a place. The dates are yyyy-MM-dd.
type DHIS2OrgUnit struct {
	ID          string    `json:"id"`
	Name        string    `json:"name,omitempty"`
	ShortName   string    `json:"shortName,omitempty"`
	Code        string    `json:"code,omitempty"`
	OpeningDate string    `json:"openingDate,omitempty"`
	ClosedDate  string    `json:"closedDate,omitempty"`
	Parent      *DHIS2Ref `json:"parent,omitempty"`

	AttributeValues []DHIS2AttributeValue `json:"attributeValues,omitempty"`
}

// DHIS2CategoryOption is such as "under 5". Dates and org units limit what may be entered for it; empty does not.
type DHIS2CategoryOption struct {
	ID                string       `json:"id"`
	Name              string       `json:"name,omitempty"`
	ShortName         string       `json:"shortName,omitempty"`
	Code              string       `json:"code,omitempty"`
	StartDate         string       `json:"startDate,omitempty"`
	EndDate           string       `json:"endDate,omitempty"`
	OrganisationUnits []DHIS2Ref   `json:"organisationUnits,omitempty"`
	Sharing           DHIS2Sharing `json:"sharing,omitzero"`
}

// DHIS2Category is such as "age".
type DHIS2Category struct {
	ID                string       `json:"id"`
	Name              string       `json:"name,omitempty"`
	ShortName         string       `json:"shortName,omitempty"`
	Code              string       `json:"code,omitempty"`
	DataDimensionType string       `json:"dataDimensionType,omitempty"`
	CategoryOptions   []DHIS2Ref   `json:"categoryOptions,omitempty"`
	Sharing           DHIS2Sharing `json:"sharing,omitzero"`
}

// DHIS2CategoryCombo is a set of categories.
type DHIS2CategoryCombo struct {
	ID                string       `json:"id"`
	Name              string       `json:"name,omitempty"`
	Code              string       `json:"code,omitempty"`
	DataDimensionType string       `json:"dataDimensionType,omitempty"`
	Categories        []DHIS2Ref   `json:"categories,omitempty"`
	Sharing           DHIS2Sharing `json:"sharing,omitzero"`
}

// DHIS2CategoryOptionCombo is one option of each category of its combination.
type DHIS2CategoryOptionCombo struct {
	ID              string     `json:"id"`
	Name            string     `json:"name,omitempty"`
	Code            string     `json:"code,omitempty"`
	CategoryCombo   DHIS2Ref   `json:"categoryCombo"`
	CategoryOptions []DHIS2Ref `json:"categoryOptions,omitempty"`

	AttributeValues []DHIS2AttributeValue `json:"attributeValues,omitempty"`
}

// DHIS2OptionSet lists the values that an element may take.
type DHIS2OptionSet struct {
	ID        string     `json:"id"`
	Name      string     `json:"name,omitempty"`
	Code      string     `json:"code,omitempty"`
	ValueType string     `json:"valueType,omitempty"`
	Options   []DHIS2Ref `json:"options,omitempty"`
}

// DHIS2Option is one of them. The value is its code.
type DHIS2Option struct {
	ID        string   `json:"id"`
	Name      string   `json:"name,omitempty"`
	Code      string   `json:"code,omitempty"`
	OptionSet DHIS2Ref `json:"optionSet,omitzero"`
}

// DHIS2DataElement is what is counted. An empty category combination is the default one.
type DHIS2DataElement struct {
	ID                string       `json:"id"`
	Name              string       `json:"name,omitempty"`
	ShortName         string       `json:"shortName,omitempty"`
	Code              string       `json:"code,omitempty"`
	DomainType        string       `json:"domainType,omitempty"`
	ValueType         string       `json:"valueType,omitempty"`
	AggregationType   string       `json:"aggregationType,omitempty"`
	ZeroIsSignificant bool         `json:"zeroIsSignificant"`
	CategoryCombo     DHIS2Ref     `json:"categoryCombo,omitzero"`
	OptionSet         *DHIS2Ref    `json:"optionSet,omitempty"`
	CommentOptionSet  *DHIS2Ref    `json:"commentOptionSet,omitempty"`
	Sharing           DHIS2Sharing `json:"sharing,omitzero"`

	AttributeValues []DHIS2AttributeValue `json:"attributeValues,omitempty"`
}

// DHIS2ApprovalLevel says at which level of org units data are approved.
type DHIS2ApprovalLevel struct {
	ID           string       `json:"id"`
	Name         string       `json:"name,omitempty"`
	Level        int          `json:"level"`
	OrgUnitLevel int          `json:"orgUnitLevel"`
	Sharing      DHIS2Sharing `json:"sharing,omitzero"`
}

// DHIS2ApprovalWorkflow is what a data set needs for its data to be approved.
type DHIS2ApprovalWorkflow struct {
	ID                 string       `json:"id"`
	Name               string       `json:"name,omitempty"`
	PeriodType         string       `json:"periodType,omitempty"`
	CategoryCombo      DHIS2Ref     `json:"categoryCombo,omitzero"`
	DataApprovalLevels []DHIS2Ref   `json:"dataApprovalLevels,omitempty"`
	Sharing            DHIS2Sharing `json:"sharing,omitzero"`
}

// DHIS2DataSet is a form. An empty category combination is the default one.
type DHIS2DataSet struct {
	ID                            string                `json:"id"`
	Name                          string                `json:"name,omitempty"`
	ShortName                     string                `json:"shortName,omitempty"`
	Code                          string                `json:"code,omitempty"`
	PeriodType                    string                `json:"periodType,omitempty"`
	CategoryCombo                 DHIS2Ref              `json:"categoryCombo,omitzero"`
	DataSetElements               []DHIS2DataSetElement `json:"dataSetElements,omitempty"`
	OrganisationUnits             []DHIS2Ref            `json:"organisationUnits,omitempty"`
	DataInputPeriods              []DHIS2InputPeriod    `json:"dataInputPeriods,omitempty"`
	Workflow                      *DHIS2Ref             `json:"workflow,omitempty"`
	ExpiryDays                    float64               `json:"expiryDays"`
	TimelyDays                    float64               `json:"timelyDays"`
	OpenFuturePeriods             int                   `json:"openFuturePeriods"`
	OpenPeriodsAfterCoEndDate     int                   `json:"openPeriodsAfterCoEndDate"`
	NoValueRequiresComment        bool                  `json:"noValueRequiresComment"`
	CompulsoryFieldsCompleteOnly  bool                  `json:"compulsoryFieldsCompleteOnly"`
	CompulsoryDataElementOperands []DHIS2Operand        `json:"compulsoryDataElementOperands,omitempty"`
	Sharing                       DHIS2Sharing          `json:"sharing,omitzero"`

	AttributeValues []DHIS2AttributeValue `json:"attributeValues,omitempty"`
}

// DHIS2DataSetElement puts an element into a set. A category combination here stands before the element's own.
type DHIS2DataSetElement struct {
	DataElement   DHIS2Ref  `json:"dataElement"`
	CategoryCombo *DHIS2Ref `json:"categoryCombo,omitempty"`
}

// DHIS2InputPeriod says when a period may be entered. The dates are yyyy-MM-dd, empty is no limit.
type DHIS2InputPeriod struct {
	Period      DHIS2Ref `json:"period"`
	OpeningDate string   `json:"openingDate,omitempty"`
	ClosingDate string   `json:"closingDate,omitempty"`
}

// DHIS2Operand is an element, or one combination of it.
type DHIS2Operand struct {
	DataElement         DHIS2Ref  `json:"dataElement"`
	CategoryOptionCombo *DHIS2Ref `json:"categoryOptionCombo,omitempty"`
}

// DHIS2User may log in with Username and Password, or with Token when that is not empty.
type DHIS2User struct {
	// ID is made from the name when it is empty. Name is the full name.
	ID, Username, Name, Password, Token string
	// Authorities holds such as F_DATAVALUE_ADD; ALL makes a super user, who sees and may do everything.
	Authorities []string
	// OrgUnits are the roots below which the user may enter data.
	OrgUnits []string
}

// can tells whether the user has the authority.
func (u *DHIS2User) can(authority string) bool {
	return slices.Contains(u.Authorities, authority) || u.super()
}

func (u *DHIS2User) super() bool { return slices.Contains(u.Authorities, "ALL") }

// dhis2Place is an org unit in its tree.
type dhis2Place struct {
	DHIS2OrgUnit
	path            string
	level           int
	opening, closed time.Time
}

// under tells whether the place is one of the roots or below one.
func (p *dhis2Place) under(roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return root != "" && strings.Contains(p.path+"/", "/"+root+"/")
	})
}

// dhis2Combo is a category combination with its option combinations.
type dhis2Combo struct {
	DHIS2CategoryCombo
	options []*dhis2OptionCombo
}

// dhis2OptionCombo is a category option combination with its options.
type dhis2OptionCombo struct {
	DHIS2CategoryOptionCombo
	combo   *dhis2Combo
	options []*DHIS2CategoryOption
}

// dhis2Element is a data element, the sets that hold it by id, and every combination which one of them gives it.
type dhis2Element struct {
	DHIS2DataElement
	combo           *dhis2Combo
	combos          []*dhis2Combo
	sets            []*dhis2Set
	options         map[string]bool
	commentOptions  map[string]bool
	optionSet       *DHIS2OptionSet
	optionsInOrder  []DHIS2Option
	hasOptions      bool
	hasCommentCodes bool
}

// dhis2Set is a data set with its elements, each with the category combination that it has there.
type dhis2Set struct {
	DHIS2DataSet
	combo    *dhis2Combo
	elements map[string]*dhis2Combo
	order    []*dhis2Element
	places   map[string]bool
	units    []*dhis2Place
}

// dhis2Lookup finds objects by id, code or name.
type dhis2Lookup[T any] struct {
	all                  []*T
	byID, byCode, byName map[string]*T
}

// add puts an object into the lookup.
func (l *dhis2Lookup[T]) add(object *T, id, code, name string) {
	if l.byID == nil {
		l.byID, l.byCode, l.byName = map[string]*T{}, map[string]*T{}, map[string]*T{}
	}
	l.all = append(l.all, object)
	l.byID[id] = object
	if code != "" {
		l.byCode[code] = object
	}
	if name != "" {
		l.byName[name] = object
	}
}

// find gives the object whose id, code or name is key, nil when there is none.
func (l *dhis2Lookup[T]) find(scheme, key string) *T {
	switch strings.ToUpper(scheme) {
	case "", "UID", "ID":
		return l.byID[key]
	case "CODE":
		return l.byCode[key]
	case "NAME":
		return l.byName[key]
	}
	return nil
}

// dhis2Index is metadata made ready for looking up.
type dhis2Index struct {
	places       dhis2Lookup[dhis2Place]
	options      dhis2Lookup[DHIS2CategoryOption]
	combos       dhis2Lookup[dhis2Combo]
	optionCombos dhis2Lookup[dhis2OptionCombo]
	elements     dhis2Lookup[dhis2Element]
	sets         dhis2Lookup[dhis2Set]
	workflows    dhis2Lookup[DHIS2ApprovalWorkflow]
	levels       dhis2Lookup[DHIS2ApprovalLevel]
}

// newDHIS2Index makes metadata ready for looking up.
func newDHIS2Index(m DHIS2Metadata) *dhis2Index {
	x := &dhis2Index{}
	x.addPlaces(m.OrganisationUnits)
	x.addCombos(m)
	x.addElements(m)
	for i := range m.DataSets {
		x.addSet(m.DataSets[i])
	}
	for _, element := range x.elements.all {
		slices.SortFunc(element.sets, func(a, b *dhis2Set) int { return cmp.Compare(a.ID, b.ID) })
	}
	for i := range m.DataApprovalLevels {
		x.levels.add(&m.DataApprovalLevels[i], m.DataApprovalLevels[i].ID, "", m.DataApprovalLevels[i].Name)
	}
	for i := range m.DataApprovalWorkflows {
		x.workflows.add(&m.DataApprovalWorkflows[i], m.DataApprovalWorkflows[i].ID, "", m.DataApprovalWorkflows[i].Name)
	}
	return x
}

// addPlaces adds the org units, whatever their order.
func (x *dhis2Index) addPlaces(units []DHIS2OrgUnit) {
	for _, unit := range units {
		place := &dhis2Place{DHIS2OrgUnit: unit, opening: dhis2Date(unit.OpeningDate), closed: dhis2Date(unit.ClosedDate)}
		x.places.add(place, unit.ID, unit.Code, unit.Name)
	}
	for _, place := range x.places.all {
		place.path, place.level = x.pathOf(place)
	}
}

// pathOf gives the path from the root to the place, and how long it is.
func (x *dhis2Index) pathOf(place *dhis2Place) (string, int) {
	ids := []string{place.ID}
	for place.Parent != nil && x.places.byID[place.Parent.ID] != nil && len(ids) < 100 {
		place = x.places.byID[place.Parent.ID]
		ids = append(ids, place.ID)
	}
	slices.Reverse(ids)
	return "/" + strings.Join(ids, "/"), len(ids)
}

// addCombos adds the categories' part, and the default combination when it is not there.
func (x *dhis2Index) addCombos(m DHIS2Metadata) {
	for i := range m.CategoryOptions {
		x.options.add(&m.CategoryOptions[i], m.CategoryOptions[i].ID, m.CategoryOptions[i].Code, m.CategoryOptions[i].Name)
	}
	if !slices.ContainsFunc(m.CategoryCombos, func(c DHIS2CategoryCombo) bool { return c.Name == "default" }) {
		x.addCombo(DHIS2CategoryCombo{ID: dhis2DefaultCombo, Name: "default", Code: "default"})
		x.addOptionCombo(DHIS2CategoryOptionCombo{
			ID: dhis2DefaultOptionCombo, Name: "default", Code: "default", CategoryCombo: DHIS2Ref{dhis2DefaultCombo},
		})
	}
	for _, combo := range m.CategoryCombos {
		x.addCombo(combo)
	}
	for _, combo := range m.CategoryOptionCombos {
		x.addOptionCombo(combo)
	}
}

func (x *dhis2Index) addCombo(combo DHIS2CategoryCombo) {
	x.combos.add(&dhis2Combo{DHIS2CategoryCombo: combo}, combo.ID, combo.Code, combo.Name)
}

// addOptionCombo adds an option combination to its combination.
func (x *dhis2Index) addOptionCombo(combo DHIS2CategoryOptionCombo) {
	added := &dhis2OptionCombo{DHIS2CategoryOptionCombo: combo, combo: x.combos.byID[combo.CategoryCombo.ID]}
	for _, option := range combo.CategoryOptions {
		if found := x.options.byID[option.ID]; found != nil {
			added.options = append(added.options, found)
		}
	}
	if added.combo != nil {
		added.combo.options = append(added.combo.options, added)
	}
	x.optionCombos.add(added, combo.ID, combo.Code, combo.Name)
}

// defaultCombo gives the default category combination.
func (x *dhis2Index) defaultCombo() *dhis2Combo { return x.combos.byName["default"] }

// defaultOptionCombo gives the id of the default option combination.
func (x *dhis2Index) defaultOptionCombo() string {
	if combo := x.defaultCombo(); len(combo.options) > 0 {
		return combo.options[0].ID
	}
	return dhis2DefaultOptionCombo
}

// addElements adds the data elements with the codes of their option sets.
func (x *dhis2Index) addElements(m DHIS2Metadata) {
	sets := map[string]*DHIS2OptionSet{}
	for i := range m.OptionSets {
		sets[m.OptionSets[i].ID] = &m.OptionSets[i]
	}
	members := map[string][]DHIS2Option{}
	for _, option := range m.Options {
		members[option.OptionSet.ID] = append(members[option.OptionSet.ID], option)
	}
	codes := func(ref *DHIS2Ref) (map[string]bool, bool) {
		if ref == nil || sets[ref.ID] == nil {
			return nil, false
		}
		all := map[string]bool{}
		for _, option := range members[ref.ID] {
			all[option.Code] = true
		}
		return all, true
	}
	for _, element := range m.DataElements {
		added := &dhis2Element{DHIS2DataElement: element}
		added.combo = cmp.Or(x.combos.byID[element.CategoryCombo.ID], x.defaultCombo())
		added.combos = []*dhis2Combo{added.combo}
		added.options, added.hasOptions = codes(element.OptionSet)
		added.commentOptions, added.hasCommentCodes = codes(element.CommentOptionSet)
		if added.hasOptions {
			added.optionSet, added.optionsInOrder = sets[element.OptionSet.ID], members[element.OptionSet.ID]
		}
		x.elements.add(added, element.ID, element.Code, element.Name)
	}
}

// addSet adds a data set to its elements and org units.
func (x *dhis2Index) addSet(set DHIS2DataSet) {
	added := &dhis2Set{DHIS2DataSet: set, elements: map[string]*dhis2Combo{}, places: map[string]bool{}}
	added.combo = cmp.Or(x.combos.byID[set.CategoryCombo.ID], x.defaultCombo())
	for _, member := range set.DataSetElements {
		element := x.elements.byID[member.DataElement.ID]
		if element == nil {
			continue
		}
		combo := element.combo
		if member.CategoryCombo != nil {
			combo = cmp.Or(x.combos.byID[member.CategoryCombo.ID], combo)
		}
		if !slices.Contains(element.combos, combo) {
			element.combos = append(element.combos, combo)
		}
		added.elements[element.ID] = combo
		added.order = append(added.order, element)
		element.sets = append(element.sets, added)
	}
	for _, unit := range set.OrganisationUnits {
		if place := x.places.byID[unit.ID]; place != nil {
			added.places[unit.ID] = true
			added.units = append(added.units, place)
		}
	}
	x.sets.add(added, set.ID, set.Code, set.Name)
}

// dhis2Date reads the first ten characters as a day; the zero time when they are none.
func dhis2Date(text string) time.Time {
	day, err := time.Parse(time.DateOnly, text[:min(len(text), 10)])
	if err != nil {
		return time.Time{}
	}
	return day
}

// dhis2UID makes an id from any text: eleven letters and digits, the first a letter.
func dhis2UID(text string) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(text))
	sum := hash.Sum64()
	id := make([]byte, 11)
	for i := range id {
		letters := alphabet
		if i == 0 {
			letters = alphabet[:52]
		}
		id[i] = letters[sum%uint64(len(letters))]
		sum = sum/uint64(len(letters)) + uint64(i)*0x9e3779b97f4a7c15
	}
	return string(id)
}

// isDHIS2UID tells whether the text has the form of an id.
func isDHIS2UID(text string) bool {
	if len(text) != 11 || text[0] >= '0' && text[0] <= '9' {
		return false
	}
	for i := range len(text) {
		c := text[i] | 0x20
		if (c < 'a' || c > 'z') && (text[i] < '0' || text[i] > '9') {
			return false
		}
	}
	return true
}
