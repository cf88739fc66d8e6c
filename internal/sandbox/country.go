package sandbox

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// CountryConfig says what country to invent. The same configuration always gives the same country.
type CountryConfig struct {
	Seed uint64
	// Facilities is the number of health facilities, each with one org unit, in districts of about ten; 0 means 20.
	Facilities int
	// DataSets is the number of data sets, each with Elements data elements; 0 means 1, and 12 elements.
	DataSets, Elements int
	// Period is the month that has data; empty means 202610.
	Period string
	// Problems asks for the honest problems that CountryProblem lists. They come into a country of 20 facilities or
	// more, with 3 elements or more a data set.
	Problems bool
}

// CountryProblem is why a value of a country's CHT must not come into its DHIS2.
type CountryProblem string

// The problems. A value with several of them has the first one of this order. All but NotSynced and ClosedInDHIS2
// concern the first data set only.
const (
	// NotSynced is a value of the facility whose workers' phones did not sync: a zero that says nothing.
	NotSynced CountryProblem = "not_synced"
	// Collapsed is a value that the export added up over the category option combinations of its data element.
	Collapsed CountryProblem = "collapsed"
	// Malformed is a value that is no number, because a phone sent a total that is none.
	Malformed CountryProblem = "malformed"
	// NotAssigned is a value of the facility whose org unit is not assigned to the data set in DHIS2. DHIS2 refuses it,
	// up to 2.42 only an import with strictOrganisationUnits.
	NotAssigned CountryProblem = "not_assigned"
	// ClosedInDHIS2 is a value of the facility whose org unit was closed in DHIS2 before the period. DHIS2 refuses it
	// from 2.43 on; before, it does not look, and stores it.
	ClosedInDHIS2 CountryProblem = "closed_in_dhis2"
)

// Country is an invented country, with both sides of its data and the right answer between them.
type Country struct {
	CHT   CHTDocuments
	DHIS2 DHIS2Metadata
	Users []DHIS2User

	// CHTUsername may export from the CHT, with CHTPassword. DHIS2Token belongs to the one of Users.
	CHTUsername, CHTPassword, DHIS2Token string

	// DataSets are the ids of the data sets.
	DataSets []string

	// Right is what DHIS2 must hold for each data set after a submission that went well. It is computed from what was
	// counted, not from documents. It lists zeros as well: DHIS2 up to 2.42 does not store a zero of an element for
	// which zero is not significant, 2.43 does. Stored leaves those out.
	Right map[string][]CountryValue
	// Wrong is what the CHT's export has for each data set beside Right. The Value is the JSON of the export.
	Wrong map[string][]CountryWrong

	zeroIsSignificant map[string]bool
}

// CountryValue is a value of the month.
type CountryValue struct {
	DataElement, OrgUnit string
	// CategoryOptionCombo is empty for the default one.
	CategoryOptionCombo string
	Value               string
}

// CountryWrong is a value that must not arrive, and why.
type CountryWrong struct {
	CountryValue
	Why CountryProblem
}

// Stored is Right without the zeros that DHIS2 up to 2.42 does not store.
func (c *Country) Stored(dataSet string) []CountryValue {
	var stored []CountryValue
	for _, value := range c.Right[dataSet] {
		if value.Value != "0" || c.zeroIsSignificant[value.DataElement] {
			stored = append(stored, value)
		}
	}
	return stored
}

// countryMaker invents a country.
type countryMaker struct {
	config CountryConfig
	month  time.Time
	rand   *rand.Rand
	uids   map[string]bool
	names  map[string]bool
	// values are the values of targets that documents share.
	values map[CHTTargetValue]*CHTTargetValue

	root       countryPlace
	districts  []countryPlace
	facilities []*countryFacility
	dataSets   []*countryDataSet
	ages       countryAges
	documents  []CHTTargetDocument
}

// countryPlace is a place of the CHT and its org unit in DHIS2.
type countryPlace struct{ id, name, orgUnit string }

// countryFacility is a health facility with its workers and what they counted.
type countryFacility struct {
	countryPlace
	district *countryPlace
	workers  []countryWorker
	// problem is NotSynced, NotAssigned or ClosedInDHIS2, or empty.
	problem CountryProblem
	// badTotal is what the last worker's phone sent instead of a number for the first data set's second element. It
	// counts when hasBadTotal is set.
	badTotal    any
	hasBadTotal bool
	// sums are the facility's totals by data set and element; before the last worker's for badTotal.
	sums [][]int
}

// countryWorker is a community health worker.
type countryWorker struct{ id, name, user string }

// countryDataSet is a data set and its elements.
type countryDataSet struct {
	id, name string
	elements []countryElement
}

// countryElement is a data element and the targets that add to it: one, or one for each age group.
type countryElement struct {
	id, name          string
	targets           []string
	percent           bool
	zeroIsSignificant bool
	// usual is about how many a worker counts in a month.
	usual int
}

// collapses tells whether the element has more than one combination.
func (e *countryElement) collapses() bool { return len(e.targets) > 1 }

// countryAges is a category of DHIS2 with two options, and what goes with it.
type countryAges struct {
	category, combo string
	options, combos [2]string
}

// NewCountry invents a country. It panics when the period is no month.
func NewCountry(config CountryConfig) *Country {
	config.Facilities = cmp.Or(config.Facilities, 20)
	config.DataSets = cmp.Or(config.DataSets, 1)
	config.Elements = cmp.Or(config.Elements, 12)
	config.Period = cmp.Or(config.Period, "202610")
	config.Problems = config.Problems && config.Facilities >= 20 && config.Elements >= 3
	month, err := time.Parse("200601", config.Period)
	if err != nil {
		panic("sandbox: " + err.Error())
	}
	m := &countryMaker{
		config: config, month: month, rand: rand.New(rand.NewPCG(config.Seed, 0)),
		uids: map[string]bool{}, names: map[string]bool{}, values: map[CHTTargetValue]*CHTTargetValue{},
	}
	m.makePlaces()
	m.makeAges()
	m.makeDataSets()
	if config.Problems {
		m.makeProblems()
	}
	m.makeCounts()
	return m.country()
}

// makePlaces invents districts of about ten facilities, and the facilities with their workers.
func (m *countryMaker) makePlaces() {
	m.root = countryPlace{id: "country", name: m.placeName(), orgUnit: m.uid()}
	m.districts = make([]countryPlace, (m.config.Facilities+9)/10)
	for i := range m.districts {
		m.districts[i] = countryPlace{fmt.Sprintf("district-%04d", i+1), m.placeName() + " District", m.uid()}
	}
	kinds := []string{"Health Centre", "Health Centre", "Dispensary", "Dispensary", "Health Post", "District Hospital"}
	for i := range m.config.Facilities {
		f := &countryFacility{district: &m.districts[i/10]}
		kind := kinds[m.rand.IntN(len(kinds)-1)]
		if i%10 == 0 {
			kind = kinds[len(kinds)-1]
		}
		f.countryPlace = countryPlace{fmt.Sprintf("facility-%05d", i+1), m.placeName() + " " + kind, m.uid()}
		for j := range 2 + m.rand.IntN(5) {
			user := fmt.Sprintf("chw-%05d-%d", i+1, j+1)
			f.workers = append(f.workers, countryWorker{id: user, name: m.word(2), user: "org.couchdb.user:" + user})
		}
		m.facilities = append(m.facilities, f)
	}
}

// makeAges invents the category of the element that collapses.
func (m *countryMaker) makeAges() {
	m.ages = countryAges{
		category: m.uid(), combo: m.uid(),
		options: [2]string{m.uid(), m.uid()}, combos: [2]string{m.uid(), m.uid()},
	}
}

// makeDataSets invents the data sets, their elements, and one target for each element.
func (m *countryMaker) makeDataSets() {
	for i := range m.config.DataSets {
		programme := countryProgrammeAt(i)
		set := &countryDataSet{id: m.uid(), name: programme.name + " monthly"}
		for j := range m.config.Elements {
			name := programme.indicator(j)
			set.elements = append(set.elements, countryElement{
				id: m.uid(), name: name, targets: []string{slug(name)}, percent: m.rand.IntN(5) == 0,
				zeroIsSignificant: m.rand.IntN(10) == 0, usual: 1 + m.rand.IntN(12),
			})
		}
		m.dataSets = append(m.dataSets, set)
	}
}

// makeProblems chooses facilities and an element to go wrong.
func (m *countryMaker) makeProblems() {
	chosen := m.rand.Perm(len(m.facilities))
	for i, problem := range []CountryProblem{NotSynced, NotAssigned, ClosedInDHIS2} {
		m.facilities[chosen[i]].problem = problem
	}
	bad := m.facilities[chosen[3]]
	bad.hasBadTotal = true
	if m.rand.IntN(2) == 0 {
		bad.badTotal = "7"
	}
	last := &m.dataSets[0].elements[m.config.Elements-1]
	last.percent = false
	last.targets = []string{last.targets[0] + "-under-5", last.targets[0] + "-5-plus"}
}

// makeCounts writes the target documents of everyone who synced, and adds up what they say.
func (m *countryMaker) makeCounts() {
	end := m.month.AddDate(0, 1, 0)
	for _, f := range m.facilities {
		f.sums = make([][]int, len(m.dataSets))
		for i := range f.sums {
			f.sums[i] = make([]int, m.config.Elements)
		}
		if f.problem == NotSynced {
			continue
		}
		for i, worker := range f.workers {
			m.documents = append(m.documents, CHTTargetDocument{
				ID:   "target~" + m.month.Format("2006-01") + "~" + worker.id + "~" + worker.user,
				Type: "target", User: worker.user, Owner: worker.id, ReportingPeriod: m.month.Format("2006-01"),
				Targets:     m.count(f, i),
				UpdatedDate: end.AddDate(0, 0, -1-m.rand.IntN(9)).UnixMilli(),
			})
		}
	}
}

// count gives what a worker of the facility counted, and adds it to the facility's sums. The first worker counts at
// least one for the first element of each data set: a facility that synced is not all zeros.
func (m *countryMaker) count(f *countryFacility, worker int) []CHTTargetCount {
	counts := make([]CHTTargetCount, 0, len(m.dataSets)*m.config.Elements+1)
	for i, set := range m.dataSets {
		for j := range set.elements {
			element := &set.elements[j]
			for _, target := range element.targets {
				total := m.amount(element.usual)
				if j == 0 && worker == 0 {
					total++
				}
				value := CHTTargetValue{Pass: total, Total: total}
				if element.percent {
					value = m.percent(total)
				}
				if f.hasBadTotal && i == 0 && j == 1 && worker == len(f.workers)-1 {
					value, total = CHTTargetValue{Pass: 7, Total: f.badTotal}, 0
				}
				counts = append(counts, CHTTargetCount{ID: target, Value: m.shared(value)})
				f.sums[i][j] += total
			}
		}
	}
	return counts
}

// amount draws a count around the usual one, often less and seldom much more.
func (m *countryMaker) amount(usual int) int {
	amount := m.rand.IntN(usual+1) + m.rand.IntN(usual+1)
	if m.rand.IntN(20) == 0 {
		amount *= 3
	}
	return amount
}

// percent gives the value of a percent target whose denominator is total.
func (m *countryMaker) percent(total int) CHTTargetValue {
	if total == 0 {
		return CHTTargetValue{Pass: 0, Total: 0, Percent: 0}
	}
	pass := total - m.rand.IntN(total/3+1)
	return CHTTargetValue{Pass: pass, Total: total, Percent: (200*pass + total) / (2 * total)}
}

// shared gives one pointer for all values that are the same.
func (m *countryMaker) shared(value CHTTargetValue) *CHTTargetValue {
	if m.values[value] == nil {
		m.values[value] = &value
	}
	return m.values[value]
}

// country puts the country together.
func (m *countryMaker) country() *Country {
	c := &Country{
		CHTUsername: "integration", CHTPassword: m.secret(16), DHIS2Token: "d2p_" + m.secret(42),
		Right: map[string][]CountryValue{}, Wrong: map[string][]CountryWrong{}, zeroIsSignificant: map[string]bool{},
	}
	for i, set := range m.dataSets {
		c.DataSets = append(c.DataSets, set.id)
		m.answer(c, i)
	}
	c.CHT = m.chtDocuments(c.CHTPassword)
	c.DHIS2 = m.dhis2Metadata()
	c.Users = m.dhis2Users(c.DHIS2Token)
	return c
}

// answer tells right from wrong in a data set.
func (m *countryMaker) answer(c *Country, dataSet int) {
	set := m.dataSets[dataSet]
	for _, f := range m.facilities {
		for j := range set.elements {
			element := &set.elements[j]
			c.zeroIsSignificant[element.id] = element.zeroIsSignificant
			value := CountryValue{DataElement: element.id, OrgUnit: f.orgUnit, Value: strconv.Itoa(f.sums[dataSet][j])}
			if element.collapses() {
				value.CategoryOptionCombo = m.ages.combos[1]
			}
			if dataSet == 0 && j == 1 && f.hasBadTotal {
				value.Value = badSum(f.sums[dataSet][j], f.badTotal)
			}
			why := m.problem(f, dataSet, j)
			if why == "" {
				c.Right[set.id] = append(c.Right[set.id], value)
				continue
			}
			c.Wrong[set.id] = append(c.Wrong[set.id], CountryWrong{value, why})
		}
	}
}

// badSum is what becomes of a sum to which the last worker adds a missing total or a text.
func badSum(sum int, bad any) string {
	text, ok := bad.(string)
	if !ok {
		return "null"
	}
	return strconv.Quote(strconv.Itoa(sum) + text)
}

// problem gives what is wrong with a facility's value of an element, empty when nothing is.
func (m *countryMaker) problem(f *countryFacility, dataSet, element int) CountryProblem {
	switch {
	case f.problem == NotSynced:
		return NotSynced
	case m.dataSets[dataSet].elements[element].collapses():
		return Collapsed
	case f.hasBadTotal && dataSet == 0 && element == 1:
		return Malformed
	case f.problem == NotAssigned && dataSet > 0:
		return ""
	}
	return f.problem
}

// uid draws an id as DHIS2 makes them: eleven letters and digits, the first a letter.
func (m *countryMaker) uid() string {
	for {
		uid := m.secret(11)
		if uid[0] > '9' && !m.uids[uid] {
			m.uids[uid] = true
			return uid
		}
	}
}

// secret draws letters and digits.
func (m *countryMaker) secret(length int) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	text := make([]byte, length)
	for i := range text {
		text[i] = alphabet[m.rand.IntN(len(alphabet))]
	}
	return string(text)
}

// placeName draws a name that no place has yet. It grows when the short ones are taken.
func (m *countryMaker) placeName() string {
	for syllables := 2; ; syllables++ {
		for range 5 {
			name := m.word(syllables)
			if !m.names[name] {
				m.names[name] = true
				return name
			}
		}
	}
}

// word draws a word of some syllables that could be a name.
func (m *countryMaker) word(syllables int) string {
	first := []string{"Ka", "Mu", "Lo", "Nya", "Chi", "Ba", "Te", "Sa", "Ma", "Ki", "Bo", "Ru", "Za", "Do", "Wa", "Mo"}
	middle := []string{"ra", "li", "mba", "ndu", "sho", "ti", "go", "na", "pe", "zi", "ku", "lo"}
	last := []string{"ra", "ni", "la", "wa", "zi", "mbe", "ko", "ru", "tu", "ngo", "ma", "si"}
	pick := func(list []string) string { return list[m.rand.IntN(len(list))] }
	var b strings.Builder
	b.WriteString(pick(first))
	for range syllables - 2 {
		b.WriteString(pick(middle))
	}
	b.WriteString(pick(last))
	return b.String()
}

// slug makes an id of a target from the name of its element.
func slug(name string) string {
	var b strings.Builder
	for word := range strings.FieldsFuncSeq(strings.ToLower(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}) {
		if b.Len() > 0 {
			b.WriteByte('-')
		}
		b.WriteString(word)
	}
	return b.String()
}
