package dhis2

import (
	"maps"
	"slices"
	"strings"
)

// OrgUnits are org units by their ids. A country has up to a hundred thousand of them, and they are kept while a month of theirs
// is read and sent: so they are packed, in some tens of bytes each that hold nothing for the garbage collector to look through.
// The zero value is empty, and nil may be read. Reading may be done by several goroutines.
type OrgUnits struct {
	// places say where in packed an org unit is. odd are those whose ids have not the form of a UID.
	places map[[uidLength]byte]uint32
	packed strings.Builder
	odd    map[string]OrgUnit
	// dates are those that came, as most come again and again, and numbers their places.
	dates   []string
	numbers map[string]int
}

// maxPacked is how much is packed; what comes beyond is kept as it is.
const maxPacked = 1 << 30

// Add takes an org unit. One with the same id takes the place of the one before.
func (u *OrgUnits) Add(o OrgUnit) {
	if len(o.ID) != uidLength || u.packed.Len() > maxPacked {
		if u.odd == nil {
			u.odd = map[string]OrgUnit{}
		}
		u.odd[o.ID] = o
		return
	}
	if u.places == nil {
		u.places, u.numbers = map[[uidLength]byte]uint32{}, map[string]int{}
	}
	u.places[[uidLength]byte([]byte(o.ID))] = uint32(u.packed.Len()) //nolint:gosec // at most maxPacked
	for _, text := range [...]string{o.ID, o.Code, o.Name, o.Path} {
		u.number(len(text))
		u.packed.WriteString(text)
	}
	for _, date := range [...]string{o.Opens, o.Closes} {
		number, known := u.numbers[date]
		if !known {
			number = len(u.dates)
			u.numbers[date] = number
			u.dates = append(u.dates, date)
		}
		u.number(number)
	}
}

// number writes a number, seven bits a byte.
func (u *OrgUnits) number(n int) {
	for ; n >= 0x80; n >>= 7 {
		u.packed.WriteByte(byte(n) | 0x80)
	}
	u.packed.WriteByte(byte(n)) //nolint:gosec // less than 0x80
}

// Get gives the org unit of an id, and whether there is one.
func (u *OrgUnits) Get(id string) (o OrgUnit, found bool) {
	if u == nil {
		return o, false
	}
	at, found := uint32(0), false
	if len(id) == uidLength {
		at, found = u.places[[uidLength]byte([]byte(id))]
	}
	if !found {
		o, found = u.odd[id]
		return o, found
	}
	packed := u.packed.String()[at:] // not copied
	number := func() (n int) {
		for shift, more := 0, true; more; shift += 7 {
			n |= int(packed[0]&0x7f) << shift
			more, packed = packed[0] >= 0x80, packed[1:]
		}
		return n
	}
	for _, text := range [...]*string{&o.ID, &o.Code, &o.Name, &o.Path} {
		size := number()
		*text, packed = packed[:size], packed[size:]
	}
	o.Opens, o.Closes = u.dates[number()], u.dates[number()]
	return o, true
}

// Has says whether there is an org unit of an id.
func (u *OrgUnits) Has(id string) bool {
	_, found := u.Get(id)
	return found
}

// Len is how many there are.
func (u *OrgUnits) Len() int {
	if u == nil {
		return 0
	}
	return len(u.places) + len(u.odd)
}

// IDs gives the ids, sorted.
func (u *OrgUnits) IDs() []string {
	if u == nil {
		return nil
	}
	ids := slices.Collect(maps.Keys(u.odd))
	for id := range u.places {
		ids = append(ids, string(id[:]))
	}
	slices.Sort(ids)
	return ids
}
