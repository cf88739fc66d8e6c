package sandbox

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// CHTDocuments is what the database of a CHT holds. Its JSON is the form of the fixtures behind the recordings.
type CHTDocuments struct {
	Settings CHTSettings  `json:"settings"`
	Users    []CHTUser    `json:"users"`
	Places   []CHTContact `json:"places"`
	Persons  []CHTContact `json:"persons"`
	// Deleted are the ids of contacts that were deleted after they were created.
	Deleted     []string            `json:"deleted,omitempty"`
	Targets     []CHTTargetDocument `json:"targets"`
	ExtraMonths []CHTExtraMonth     `json:"extra_months,omitempty"`
	// Translations gives the text of a translation key. A key without one is shown as it is.
	Translations map[string]string `json:"translations,omitempty"`
}

// CHTUser is an account. The role "_admin" is a database admin's.
type CHTUser struct {
	Name       string   `json:"name"`
	Password   string   `json:"password"`
	Roles      []string `json:"roles"`
	ContactID  string   `json:"contact_id,omitempty"`
	FacilityID []string `json:"facility_id,omitempty"`
}

// CHTSettings is the part of a CHT's settings that matters to a reader of aggregates. What the stand-in does not look
// at stays as it came.
type CHTSettings struct {
	Locale       string              `json:"locale,omitempty"`
	Languages    json.RawMessage     `json:"languages,omitempty"`
	ContactTypes json.RawMessage     `json:"contact_types,omitempty"`
	Roles        map[string]CHTRole  `json:"roles,omitempty"`
	Permissions  map[string][]string `json:"permissions,omitempty"`
	UHC          CHTUHC              `json:"uhc,omitzero"`
	DHISDataSets []CHTDataSet        `json:"dhis_data_sets,omitempty"`
	Tasks        CHTTasks            `json:"tasks,omitzero"`
}

// CHTRole is a role that the settings know.
type CHTRole struct {
	Name    string `json:"name"`
	Offline bool   `json:"offline,omitempty"`
}

// CHTUHC says on which day of the month the reporting month begins. Zero leaves it out.
type CHTUHC struct {
	MonthStartDate int           `json:"month_start_date,omitempty"`
	VisitCount     CHTVisitCount `json:"visit_count,omitzero"`
}

// CHTVisitCount holds the older place of the first day of the reporting month.
type CHTVisitCount struct {
	MonthStartDate int `json:"month_start_date,omitempty"`
	VisitCountGoal int `json:"visit_count_goal"`
	// NepaliMonths lets months be those of the Nepali calendar (5.3 and later).
	NepaliMonths bool `json:"use_bikram_sambat_months,omitempty"`
}

// CHTDataSet is a data set that can be exported.
type CHTDataSet struct {
	ID             string `json:"id"`
	TranslationKey string `json:"translation_key"`
}

// CHTTasks holds the targets.
type CHTTasks struct {
	Targets CHTTargetSettings `json:"targets"`
}

// CHTTargetSettings lists the targets in their order.
type CHTTargetSettings struct {
	Enabled bool        `json:"enabled"`
	Items   []CHTTarget `json:"items"`
}

// CHTTarget is one target of the settings. DHIS is the JSON of an object whose keys the export copies in their order,
// or of an array, which the export ignores; empty leaves it out.
type CHTTarget struct {
	ID   string          `json:"id"`
	Type string          `json:"type"`
	Goal int             `json:"goal"`
	DHIS json.RawMessage `json:"dhis,omitempty"`
}

// CHTContact is a place or a person.
type CHTContact struct {
	ID           string      `json:"_id"`
	Type         string      `json:"type"`
	ContactType  string      `json:"contact_type,omitempty"`
	Name         string      `json:"name"`
	Parent       *CHTParent  `json:"parent,omitempty"`
	ReportedDate int64       `json:"reported_date,omitempty"`
	DHIS         CHTOrgUnits `json:"dhis,omitempty"`
	// Muted is when the contact was muted, DateOfDeath when it died, in milliseconds since 1970.
	Muted       string `json:"muted,omitempty"`
	DateOfDeath int64  `json:"date_of_death,omitempty"`
}

// kind is the contact's type.
func (c *CHTContact) kind() string { return cmp.Or(c.ContactType, c.Type) }

// CHTParent is the chain of ids above a contact, as the contact itself carries it.
type CHTParent struct {
	ID     string     `json:"_id"`
	Parent *CHTParent `json:"parent,omitempty"`
}

// CHTOrgUnits are the org units of a contact: in JSON an object, or an array of objects.
type CHTOrgUnits []CHTOrgUnit

// CHTOrgUnit is one org unit of a contact. Without a data set it is valid for all of them.
type CHTOrgUnit struct {
	OrgUnit string `json:"orgUnit,omitempty"`
	DataSet string `json:"dataSet,omitempty"`
}

// UnmarshalJSON reads both forms.
func (o *CHTOrgUnits) UnmarshalJSON(text []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		return json.Unmarshal(text, (*[]CHTOrgUnit)(o))
	}
	*o = make(CHTOrgUnits, 1)
	return json.Unmarshal(text, &(*o)[0])
}

// MarshalJSON writes one org unit as an object and several as an array.
func (o CHTOrgUnits) MarshalJSON() ([]byte, error) {
	if len(o) == 1 {
		return json.Marshal(o[0])
	}
	return json.Marshal([]CHTOrgUnit(o))
}

// CHTTargetDocument holds what one user's phone counted in one month.
type CHTTargetDocument struct {
	ID              string `json:"_id"`
	Type            string `json:"type"`
	User            string `json:"user"`
	Owner           string `json:"owner"`
	ReportingPeriod string `json:"reporting_period"`
	// Targets is nil in a malformed document. Documents may share their targets and values: the stand-in only reads.
	Targets     []CHTTargetCount `json:"targets,omitzero"`
	UpdatedDate int64            `json:"updated_date"`
	// Odd is JSON that stands in the place of a field in answers about documents; empty leaves the field out. Exports go by the
	// fields themselves: who lets one stand for odd targets leaves Targets nil.
	Odd map[string]string `json:"-"`
}

// CHTTargetCount is what was counted for one target. A nil Value is malformed.
type CHTTargetCount struct {
	ID    string          `json:"id"`
	Value *CHTTargetValue `json:"value,omitempty"`
	// Odd is JSON that stands in the place of all this in answers about documents.
	Odd string `json:"-"`
}

// CHTTargetValue holds the numbers of a target, each an int or a float64 when it is sound; a string or a bool when it
// is not, CHTNull for the JSON null, and nil when it is missing.
type CHTTargetValue struct {
	Pass    any `json:"pass,omitempty"`
	Total   any `json:"total,omitempty"`
	Percent any `json:"percent,omitempty"`
}

// CHTNull is the JSON null, where it differs from a missing value.
type CHTNull struct{}

// MarshalJSON gives null.
func (CHTNull) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// UnmarshalJSON keeps null and missing apart.
func (v *CHTTargetValue) UnmarshalJSON(text []byte) error {
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return err
	}
	field := func(name string) any {
		value, there := fields[name]
		if there && value == nil {
			return CHTNull{}
		}
		return value
	}
	*v = CHTTargetValue{Pass: field("pass"), Total: field("total"), Percent: field("percent")}
	return nil
}

// CHTExtraMonth holds the target documents of a month that shows one thing. They are in the database like the others.
type CHTExtraMonth struct {
	Month string              `json:"month"`
	Note  string              `json:"note,omitempty"`
	Docs  []CHTTargetDocument `json:"docs"`
}

// month gives the target documents whose ids carry the tag, in the order of the ids.
func (d *CHTDocuments) month(tag string) []*CHTTargetDocument {
	prefix := "target~" + tag + "~"
	var found []*CHTTargetDocument
	pick := func(docs []CHTTargetDocument) {
		for i := range docs {
			if strings.HasPrefix(docs[i].ID, prefix) {
				found = append(found, &docs[i])
			}
		}
	}
	pick(d.Targets)
	for _, extra := range d.ExtraMonths {
		pick(extra.Docs)
	}
	slices.SortStableFunc(found, func(a, b *CHTTargetDocument) int { return strings.Compare(a.ID, b.ID) })
	return found
}

// contacts gives every contact that was not deleted, by id.
func (d *CHTDocuments) contacts() map[string]*CHTContact {
	found := make(map[string]*CHTContact, len(d.Places)+len(d.Persons))
	for _, list := range [][]CHTContact{d.Places, d.Persons} {
		for i := range list {
			found[list[i].ID] = &list[i]
		}
	}
	for _, id := range d.Deleted {
		delete(found, id)
	}
	return found
}
