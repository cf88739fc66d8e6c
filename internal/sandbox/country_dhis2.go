package sandbox

import "time"

// dhis2Metadata gives DHIS2's side.
func (m *countryMaker) dhis2Metadata() DHIS2Metadata {
	metadata := DHIS2Metadata{OrganisationUnits: m.dhis2OrgUnits()}
	m.addAges(&metadata)
	for i, set := range m.dataSets {
		for j := range set.elements {
			metadata.DataElements = append(metadata.DataElements, m.dhis2DataElement(&set.elements[j]))
		}
		metadata.DataSets = append(metadata.DataSets, m.dhis2DataSet(i))
	}
	return metadata
}

// dhis2OrgUnits gives the country, the districts and the facilities.
func (m *countryMaker) dhis2OrgUnits() []DHIS2OrgUnit {
	unit := func(place countryPlace, parent *DHIS2Ref) DHIS2OrgUnit {
		return DHIS2OrgUnit{
			ID: place.orgUnit, Name: place.name, ShortName: place.name, Code: "OU_" + place.orgUnit,
			OpeningDate: "2000-01-01", Parent: parent,
		}
	}
	units := []DHIS2OrgUnit{unit(m.root, nil)}
	for _, district := range m.districts {
		units = append(units, unit(district, &DHIS2Ref{m.root.orgUnit}))
	}
	for _, f := range m.facilities {
		facility := unit(f.countryPlace, &DHIS2Ref{f.district.orgUnit})
		if f.problem == ClosedInDHIS2 {
			facility.ClosedDate = m.month.AddDate(0, -3, -1).Format(time.DateOnly)
		}
		units = append(units, facility)
	}
	return units
}

// addAges adds the category of age groups with its options and combinations.
func (m *countryMaker) addAges(metadata *DHIS2Metadata) {
	const disaggregation = "DISAGGREGATION"
	metadata.Categories = []DHIS2Category{{
		ID: m.ages.category, Name: "Age", ShortName: "Age", DataDimensionType: disaggregation,
		CategoryOptions: []DHIS2Ref{{m.ages.options[0]}, {m.ages.options[1]}},
	}}
	metadata.CategoryCombos = []DHIS2CategoryCombo{{
		ID: m.ages.combo, Name: "Age", DataDimensionType: disaggregation, Categories: []DHIS2Ref{{m.ages.category}},
	}}
	for i, name := range []string{"Under 5", "5 and over"} {
		metadata.CategoryOptions = append(metadata.CategoryOptions, DHIS2CategoryOption{
			ID: m.ages.options[i], Name: name, ShortName: name,
		})
		metadata.CategoryOptionCombos = append(metadata.CategoryOptionCombos, DHIS2CategoryOptionCombo{
			ID: m.ages.combos[i], Name: name, CategoryCombo: DHIS2Ref{m.ages.combo},
			CategoryOptions: []DHIS2Ref{{m.ages.options[i]}},
		})
	}
}

// dhis2DataElement gives an element.
func (m *countryMaker) dhis2DataElement(element *countryElement) DHIS2DataElement {
	combo := DHIS2Ref{dhis2DefaultCombo}
	if element.collapses() {
		combo = DHIS2Ref{m.ages.combo}
	}
	return DHIS2DataElement{
		ID: element.id, Name: element.name, ShortName: element.name, Code: "DE_" + element.id,
		DomainType: "AGGREGATE", ValueType: "INTEGER_ZERO_OR_POSITIVE", AggregationType: "SUM",
		ZeroIsSignificant: element.zeroIsSignificant, CategoryCombo: combo,
	}
}

// dhis2DataSet gives the data set at i with its elements and the org units assigned to it.
func (m *countryMaker) dhis2DataSet(i int) DHIS2DataSet {
	made := m.dataSets[i]
	set := DHIS2DataSet{
		ID: made.id, Name: made.name, ShortName: made.name, Code: "DS_" + made.id, PeriodType: "Monthly",
		CategoryCombo: DHIS2Ref{dhis2DefaultCombo},
	}
	for _, element := range made.elements {
		set.DataSetElements = append(set.DataSetElements, DHIS2DataSetElement{DataElement: DHIS2Ref{element.id}})
	}
	for _, f := range m.facilities {
		if i > 0 || f.problem != NotAssigned {
			set.OrganisationUnits = append(set.OrganisationUnits, DHIS2Ref{f.orgUnit})
		}
	}
	return set
}

// dhis2Users gives the user for the mediator, who may enter data in the whole country and nothing else.
func (m *countryMaker) dhis2Users(token string) []DHIS2User {
	return []DHIS2User{{
		Username: "cht_integration", Name: "CHT integration", Password: m.secret(16), Token: token,
		Authorities: []string{"F_DATAVALUE_ADD"}, OrgUnits: []string{m.root.orgUnit},
	}}
}
