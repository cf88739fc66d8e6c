package orchestration

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/ledger"
)

// direction is what a CHT's settings say of where the figures of a data set come from. It is kept in the store as JSON.
type direction struct {
	MonthStart int      `json:"month_start"`
	Targets    []feeder `json:"targets"`
}

// feeder is a target that adds to a data element.
type feeder struct {
	ID                   string `json:"id"`
	Type                 string `json:"type,omitempty"`
	DataElement          string `json:"data_element"`
	CategoryOptionCombo  string `json:"category_option_combo,omitempty"`
	AttributeOptionCombo string `json:"attribute_option_combo,omitempty"`
	// Listed says that the target names its data elements in a list, ForAll that it names no data set.
	Listed bool `json:"listed,omitempty"`
	ForAll bool `json:"for_all,omitempty"`
}

// directionOf reads what settings say of a data set. The order in which the targets stand there is no part of it.
func directionOf(settings *cht.Settings, dataSet string) direction {
	d := direction{MonthStart: settings.MonthStartDate, Targets: []feeder{}}
	for _, t := range settings.Targets {
		if t.For(dataSet) {
			d.Targets = append(d.Targets, feeder{t.ID, t.Type, t.DataElement, t.CategoryOptionCombo, t.AttributeOptionCombo, t.Listed, t.DataSet == ""})
		}
	}
	slices.SortFunc(d.Targets, func(a, b feeder) int {
		return slices.Compare([]string{a.ID, a.DataElement, a.String()}, []string{b.ID, b.DataElement, b.String()})
	})
	return d
}

func (d direction) json() []byte {
	text, _ := json.Marshal(d) // texts and a number
	return text
}

// String says to what the target adds.
func (f feeder) String() string {
	text := "adds to data element " + f.DataElement
	if f.CategoryOptionCombo != "" {
		text += " under category option combo " + f.CategoryOptionCombo
	}
	if f.AttributeOptionCombo != "" {
		text += " under attribute option combo " + f.AttributeOptionCombo
	}
	if f.Type != "" {
		text += ", is of the type " + f.Type
	}
	if f.Listed {
		text += ", names its data elements in a list"
	}
	if f.ForAll {
		text += ", is of every data set"
	}
	return text
}

// of gives the targets of an id.
func (d direction) of(id string) []feeder {
	var found []feeder
	for _, t := range d.Targets {
		if t.ID == id {
			found = append(found, t)
		}
	}
	return found
}

// since tells what differs from what the settings said before.
func (d direction) since(before direction) (changes []issue.Issue) {
	tell := func(element, format string, args ...any) {
		changes = append(changes, issue.Issue{DataElement: element, Text: fmt.Sprintf(format, args...)})
	}
	if d.MonthStart != before.MonthStart {
		tell("", "months begin on day %d, and began on day %d", d.MonthStart, before.MonthStart)
	}
	ids := map[string]bool{}
	for _, t := range append(slices.Clone(d.Targets), before.Targets...) {
		if ids[t.ID] {
			continue
		}
		ids[t.ID] = true
		is, was := d.of(t.ID), before.of(t.ID)
		switch {
		case slices.Equal(is, was):
		case len(was) == 0:
			tell(t.DataElement, "target %s is new: it %s", t.ID, allOf(is))
		case len(is) == 0:
			tell(t.DataElement, "target %s is gone, of which was said: %s", t.ID, allOf(was))
		default:
			tell(t.DataElement, "target %s %s; before it was said: %s", t.ID, allOf(is), allOf(was))
		}
	}
	return changes
}

func allOf(feeders []feeder) string {
	var texts []string
	for _, f := range feeders {
		texts = append(texts, f.String())
	}
	return strings.Join(texts, "; and ")
}

// noteSettings tells what the settings say otherwise than when the period before went, and keeps in the plan what they say now.
func (s *Submitter) noteSettings(ctx context.Context, p *Plan, settings *cht.Settings) error {
	if p.visit != nil { // who only looks sends nothing
		return nil
	}
	now := directionOf(settings, p.set.ID)
	changes, err := changedSettings(ctx, s.Ledger, p.key(), now)
	p.tally.addIssues(changes)
	p.settings = now.json()
	return err
}

// changedSettings tells what a CHT's settings say otherwise of a data set than when the period before went. Where nobody knows, there
// is nothing to tell.
func changedSettings(ctx context.Context, store *ledger.Ledger, k ledger.Key, now direction) ([]issue.Issue, error) {
	if store == nil {
		return nil, nil
	}
	period, body, err := store.SettingsBefore(ctx, k)
	if err != nil || period == "" {
		return nil, err
	}
	var before direction
	if err := json.Unmarshal(body, &before); err != nil {
		return nil, fmt.Errorf("read the settings with which %s went: %w", period, err)
	}
	changes := now.since(before)
	for i := range changes {
		c := &changes[i]
		c.Code, c.Severity, c.Count = "cht_settings_changed", issue.Note, 1
		c.Text = "the CHT's settings have changed since " + period + ": " + c.Text
		c.Remedy = "make sure that this is meant, and that people who compare the two periods know it; if not, mend the CHT's settings and submit again. exclude_data_elements leaves a data element out, hold lets each submission wait for a person"
	}
	return changes, nil
}
