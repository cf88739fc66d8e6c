package cht

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Settings is what the mediator needs of a CHT's settings.
type Settings struct {
	// DataSets are the ids of the DHIS2 data sets that the CHT knows, in its order.
	DataSets []string
	// Targets are the targets that have a DHIS2 data element, Undirected those that have none.
	Targets, Undirected []Target
	// ContactTypes are the sorts of place and person, in the order of the settings; none in configurations that are older than CHT 3.7.
	ContactTypes []ContactType
	// MonthStartDate is the day on which a reporting month begins, 1 to 31.
	MonthStartDate int
	// NepaliMonths means that the CHT counts in months of the Nepali calendar (5.3 and later).
	NepaliMonths bool
	// Exporters are the roles that have the permission can_export_all. From CHT 5.2.0 on one that is not among Roles grants
	// nothing.
	Exporters, Roles []string
	// HalfExporters are the roles that have can_export_dhis, which is not enough in any version.
	HalfExporters []string
}

// Target is one CHT target that feeds a DHIS2 data element.
type Target struct {
	ID string
	// Type is "count" or "percent".
	Type                                                            string
	DataSet, DataElement, CategoryOptionCombo, AttributeOptionCombo string
	// Listed means that the target names its elements in a list, which the export leaves out wholly.
	Listed bool
}

// ContactType is a sort of place or person. Parents are the types that stand above it, none for the topmost.
type ContactType struct {
	ID      string
	Person  bool
	Parents []string
}

// For says whether the target belongs to a data set: one without a data set belongs to all.
func (t Target) For(dataSet string) bool { return t.DataSet == "" || t.DataSet == dataSet }

// Settings asks for the settings (GET /api/v1/settings), which any account may read.
func (c *Client) Settings(ctx context.Context) (*Settings, error) {
	var document settingsDocument
	if err := c.get(ctx, "read the CHT's settings", "/api/v1/settings", &document); err != nil {
		return nil, err
	}
	return document.settings(), nil
}

type settingsDocument struct {
	DataSets []struct {
		ID string `json:"id"`
	} `json:"dhis_data_sets"`
	Roles       json.RawMessage `json:"roles"`
	Permissions json.RawMessage `json:"permissions"`
	Types       json.RawMessage `json:"contact_types"`
	Tasks       struct {
		Targets struct {
			Items []struct {
				ID   string          `json:"id"`
				Type anyText         `json:"type"`
				DHIS json.RawMessage `json:"dhis"`
			} `json:"items"`
		} `json:"targets"`
	} `json:"tasks"`
	UHC struct {
		MonthStartDate json.RawMessage `json:"month_start_date"`
		VisitCount     struct {
			MonthStartDate json.RawMessage `json:"month_start_date"`
			NepaliMonths   json.RawMessage `json:"use_bikram_sambat_months"`
		} `json:"visit_count"`
	} `json:"uhc"`
}

type targetElement struct {
	DataSet              anyText `json:"dataSet"`
	DataElement          anyText `json:"dataElement"`
	CategoryOptionCombo  anyText `json:"categoryOptionCombo"`
	AttributeOptionCombo anyText `json:"attributeOptionCombo"`
}

// anyText is the text of a string, or the JSON of what stands there instead: nobody checks these settings, and a target
// with one odd field still adds to its data element in the export.
type anyText string

// UnmarshalJSON never fails.
func (t *anyText) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	*t = anyText(text)
	return nil
}

func (d *settingsDocument) settings() *Settings {
	s := &Settings{NepaliMonths: truthy(d.UHC.VisitCount.NepaliMonths)}
	for _, set := range d.DataSets {
		s.DataSets = append(s.DataSets, set.ID)
	}
	s.Roles = keysOf(d.Roles)
	s.ContactTypes = contactTypesOf(d.Types)
	s.Exporters, s.HalfExporters = rolesWith(d.Permissions, "can_export_all"), rolesWith(d.Permissions, "can_export_dhis")
	s.MonthStartDate = startDay(d.UHC.MonthStartDate, d.UHC.VisitCount.MonthStartDate)
	for _, item := range d.Tasks.Targets.Items {
		var one targetElement
		var list []targetElement
		listed := bytes.HasPrefix(bytes.TrimSpace(item.DHIS), []byte("["))
		switch {
		case listed && json.Unmarshal(item.DHIS, &list) == nil:
		case !listed && json.Unmarshal(item.DHIS, &one) == nil:
			list = []targetElement{one}
		}
		directed := false
		for _, e := range list {
			if e.DataElement != "" {
				directed = true
				s.Targets = append(s.Targets, Target{
					ID: item.ID, Type: string(item.Type), DataSet: string(e.DataSet), DataElement: string(e.DataElement), Listed: listed,
					CategoryOptionCombo: string(e.CategoryOptionCombo), AttributeOptionCombo: string(e.AttributeOptionCombo),
				})
			}
		}
		if !directed && item.ID != "" {
			s.Undirected = append(s.Undirected, Target{ID: item.ID, Type: string(item.Type)})
		}
	}
	return s
}

// contactTypesOf reads the contact types; one that is not as it should be is left out.
func contactTypesOf(raw json.RawMessage) []ContactType {
	var list []json.RawMessage
	var types []ContactType
	_ = json.Unmarshal(raw, &list)
	for _, one := range list {
		var t struct {
			ID      string          `json:"id"`
			Person  json.RawMessage `json:"person"`
			Parents json.RawMessage `json:"parents"`
		}
		if json.Unmarshal(one, &t) != nil || t.ID == "" {
			continue
		}
		var parents []string
		_ = json.Unmarshal(t.Parents, &parents)
		types = append(types, ContactType{ID: t.ID, Person: string(t.Person) == "true", Parents: parents})
	}
	return types
}

// keysOf gives the names in an object, in their order; none of what is no object.
func keysOf(raw json.RawMessage) []string {
	var object map[string]json.RawMessage
	_ = json.Unmarshal(raw, &object)
	return slices.Sorted(maps.Keys(object))
}

// rolesWith gives the roles that have a permission; none where the permissions are not as they should be.
func rolesWith(raw json.RawMessage, permission string) []string {
	var permissions map[string]json.RawMessage
	var roles []string
	_ = json.Unmarshal(raw, &permissions)
	_ = json.Unmarshal(permissions[permission], &roles)
	return roles
}

// Check makes sure that the CHT knows the data set and counts in months that can be sent.
func (s *Settings) Check(dataSet string) error {
	doing := "look up data set " + dataSet + " in the CHT's settings"
	if !slices.Contains(s.DataSets, dataSet) {
		known := "it knows none"
		if len(s.DataSets) > 0 {
			known = "it knows " + strings.Join(s.DataSets, ", ")
		}
		return &Error{Doing: doing, Kind: Refused, What: "the CHT does not know it; " + known, Remedy: "correct the id in data_sets, or add the data set to dhis_data_sets in the CHT's settings"}
	}
	if s.NepaliMonths {
		return &Error{Doing: doing, Kind: Refused, What: "the CHT counts in Nepali months", Remedy: nepaliRemedy}
	}
	return nil
}

// LastDay is the last day of the interval that CHT tags with the month: the day before the month's start date, or the
// month's last day when it starts on the first. A start date that the month does not have counts as its end.
func (s *Settings) LastDay(month Month) time.Time {
	last := time.Date(month.Year, month.Month+1, 0, 0, 0, 0, 0, time.UTC)
	if s.MonthStartDate <= 1 || s.MonthStartDate > last.Day() {
		return last
	}
	return time.Date(month.Year, month.Month, s.MonthStartDate-1, 0, 0, 0, 0, time.UTC)
}

// Closed says whether the month was over at the instant now, on the clocks of the CHT's time zone.
func (s *Settings) Closed(month Month, now time.Time, zone *time.Location) bool {
	local := now.In(zone) // the day is compared, as a day on which summer time begins may have no midnight
	today := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC)
	return today.After(s.LastDay(month))
}

// ClosesText says when the month is over, for a message.
func (s *Settings) ClosesText(month Month) string {
	return fmt.Sprintf("its last day is %s", s.LastDay(month).Format(time.DateOnly))
}
