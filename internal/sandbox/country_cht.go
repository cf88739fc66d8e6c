package sandbox

import (
	"encoding/json"
	"fmt"
)

// chtDocuments gives the CHT's side: settings, the integration user, places, workers and what they counted.
func (m *countryMaker) chtDocuments(password string) CHTDocuments {
	documents := CHTDocuments{
		Settings:     m.chtSettings(),
		Users:        []CHTUser{{Name: "integration", Password: password, Roles: []string{"mm-online", "integration"}}},
		Targets:      m.documents,
		Translations: map[string]string{},
	}
	for _, set := range m.dataSets {
		documents.Translations["dhis.dataset."+slug(set.name)] = set.name
	}
	for i := range m.districts {
		documents.Places = append(documents.Places, chtContact("district", m.districts[i], nil))
	}
	for _, f := range m.facilities {
		facility := chtContact("health_facility", f.countryPlace, &CHTParent{ID: f.district.id})
		facility.DHIS = CHTOrgUnits{{OrgUnit: f.orgUnit}}
		documents.Places = append(documents.Places, facility)
		parent := &CHTParent{ID: f.id, Parent: facility.Parent}
		for _, worker := range f.workers {
			person := chtContact("chw", countryPlace{id: worker.id, name: worker.name}, parent)
			documents.Persons = append(documents.Persons, person)
		}
	}
	return documents
}

// chtContact makes a contact of the type.
func chtContact(kind string, place countryPlace, parent *CHTParent) CHTContact {
	const firstOf2025 = 1735689600000
	return CHTContact{
		ID: place.id, Type: "contact", ContactType: kind, Name: place.name, Parent: parent, ReportedDate: firstOf2025,
	}
}

// chtSettings makes the settings, with a target for each element and age group in the order of the data sets.
func (m *countryMaker) chtSettings() CHTSettings {
	settings := CHTSettings{
		Locale:    "en",
		Languages: json.RawMessage(`[{"locale":"en","enabled":true}]`),
		ContactTypes: json.RawMessage(`[{"id":"district"},{"id":"health_facility","parents":["district"]},` +
			`{"id":"chw","person":true,"parents":["health_facility"]}]`),
		Roles: map[string]CHTRole{
			"chw": {Name: "CHW", Offline: true}, "integration": {Name: "Integration"},
		},
		Permissions: map[string][]string{
			"can_export_all": {"integration"}, "can_view_contacts": {"integration"}, "can_edit": {"chw"},
		},
		UHC: CHTUHC{VisitCount: CHTVisitCount{MonthStartDate: 1}},
	}
	settings.Tasks.Targets.Enabled = true
	for _, set := range m.dataSets {
		settings.DHISDataSets = append(settings.DHISDataSets, CHTDataSet{
			ID: set.id, TranslationKey: "dhis.dataset." + slug(set.name),
		})
		for i := range set.elements {
			settings.Tasks.Targets.Items = append(settings.Tasks.Targets.Items, m.chtTargets(set, &set.elements[i])...)
		}
	}
	return settings
}

// chtTargets makes the targets that add to an element.
func (m *countryMaker) chtTargets(set *countryDataSet, element *countryElement) []CHTTarget {
	kind := "count"
	if element.percent {
		kind = "percent"
	}
	targets := make([]CHTTarget, len(element.targets))
	for i, id := range element.targets {
		dhis := fmt.Sprintf(`{"dataSet":%q,"dataElement":%q}`, set.id, element.id)
		if element.collapses() {
			dhis = fmt.Sprintf(`{"dataSet":%q,"dataElement":%q,"categoryOptionCombo":%q}`,
				set.id, element.id, m.ages.combos[i])
		}
		targets[i] = CHTTarget{ID: id, Type: kind, Goal: -1, DHIS: json.RawMessage(dhis)}
	}
	return targets
}
