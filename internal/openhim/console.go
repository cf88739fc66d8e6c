package openhim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Console is what people set in OpenHIM's console.
type Console struct {
	DataSets []ConsoleDataSet
}

// ConsoleDataSet is how one data set is run. A field that is nil was not set: the configuration file counts.
type ConsoleDataSet struct {
	ID             string
	Enabled        *bool
	Schedule       *string
	FirstAfterDays *int
	RereadDays     *int
	Hold           *bool
}

// ConsoleRules are what a Console is held to beside its form.
type ConsoleRules struct {
	// DataSets are the ids in the configuration file. Nil lets every id pass.
	DataSets []string
	// Schedule judges a cron expression. Nil lets every text pass.
	Schedule func(text string) error
}

// maxDays is how many days may be set: ten years.
const maxDays = 3660

// ParseConsole decodes a configuration that arrived with a heartbeat, and checks it as strictly as a file: OpenHIM
// itself does not look at the fields of a struct (8.5.0). Each fault is named by its place in the console's form, all
// of them joined in one error; with any of them there is no Console.
func ParseConsole(config []byte, rules ConsoleRules) (Console, error) {
	var p problems
	fields, ok := object(config)
	if !ok {
		return Console{}, errors.New("console configuration: must be an object")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name != "data_sets" {
			p.add(name, "is not known; the one there is, is data_sets")
		}
	}
	console := Console{DataSets: consoleDataSets(fields["data_sets"], rules, &p)}
	if len(p) > 0 {
		return Console{}, fmt.Errorf("console configuration: %w", errors.Join(p...))
	}
	return console, nil
}

func consoleDataSets(list json.RawMessage, rules ConsoleRules, p *problems) []ConsoleDataSet {
	if unset(list) {
		return nil
	}
	var items []json.RawMessage
	if json.Unmarshal(list, &items) != nil {
		p.add("data_sets", "must be a list")
		return nil
	}
	var sets []ConsoleDataSet
	seen := map[string]bool{}
	for i, item := range items {
		place := fmt.Sprintf("data_sets[%d]", i)
		set, ok := consoleDataSet(place, item, rules, p)
		if !ok {
			continue
		}
		if set.ID != "" && seen[set.ID] {
			p.add(place+".id", "%q stands twice", set.ID)
		}
		seen[set.ID] = true
		sets = append(sets, set)
	}
	return sets
}

func consoleDataSet(place string, item json.RawMessage, rules ConsoleRules, p *problems) (ConsoleDataSet, bool) {
	fields, ok := object(item)
	if !ok {
		p.add(place, "must be an object")
		return ConsoleDataSet{}, false
	}
	f := consoleFields{place: place, fields: fields, p: p}
	set := ConsoleDataSet{
		ID: f.id(rules.DataSets), Enabled: f.bool("enabled"), Schedule: f.schedule(rules.Schedule),
		FirstAfterDays: f.days("first_after_days"), RereadDays: f.days("reread_days"), Hold: f.bool("hold"),
	}
	if set.FirstAfterDays != nil && set.RereadDays != nil && *set.RereadDays < *set.FirstAfterDays {
		p.add(place+".reread_days", "%d ends before first_after_days, %d", *set.RereadDays, *set.FirstAfterDays)
	}
	f.rest()
	return set, true
}

// consoleFields reads the fields of a struct one by one, and notes their faults.
type consoleFields struct {
	place  string
	fields map[string]json.RawMessage
	p      *problems
}

// consoleNames are the fields that there are, in the order of the form.
const consoleNames = "id, enabled, schedule, first_after_days, reread_days, hold"

// rest names the fields that nobody has read.
func (f consoleFields) rest() {
	for _, name := range slices.Sorted(maps.Keys(f.fields)) {
		if !slices.Contains(strings.Split(consoleNames, ", "), name) {
			f.p.add(f.place+"."+name, "is not known; there are %s", consoleNames)
		}
	}
}

func (f consoleFields) id(known []string) string {
	id := f.text("id")
	switch {
	case id == nil || *id == "":
		if unset(f.fields["id"]) || id != nil {
			f.p.add(f.place+".id", "is required")
		}
		return ""
	case known != nil && !slices.Contains(known, *id):
		f.p.add(f.place+".id", "%q is no data set of the configuration file; there are %s", *id, strings.Join(known, ", "))
	}
	return *id
}

// schedule reads a cron expression. A row that a person has emptied arrives as an empty text, and is not set.
func (f consoleFields) schedule(check func(string) error) *string {
	text := f.text("schedule")
	if text == nil || strings.TrimSpace(*text) == "" {
		return nil
	}
	if check != nil {
		if err := check(*text); err != nil {
			f.p.add(f.place+".schedule", "%v", err)
		}
	}
	return text
}

func (f consoleFields) text(name string) *string {
	var text string
	if unset(f.fields[name]) {
		return nil
	}
	if json.Unmarshal(f.fields[name], &text) != nil {
		f.p.add(f.place+"."+name, "must be a text")
		return nil
	}
	return &text
}

func (f consoleFields) bool(name string) *bool {
	var yes bool
	if unset(f.fields[name]) {
		return nil
	}
	if json.Unmarshal(f.fields[name], &yes) != nil {
		f.p.add(f.place+"."+name, "must be yes or no (true or false)")
		return nil
	}
	return &yes
}

// days reads a whole number. A number that a person has emptied arrives as null, and is not set.
func (f consoleFields) days(name string) *int {
	var number float64
	if unset(f.fields[name]) {
		return nil
	}
	if json.Unmarshal(f.fields[name], &number) != nil || number != math.Trunc(number) || number < 0 || number > maxDays {
		f.p.add(f.place+"."+name, "must be a whole number of days from 0 to %d, and is %.40s", maxDays, f.fields[name])
		return nil
	}
	days := int(number)
	return &days
}

// unset says whether nothing was set.
func unset(value json.RawMessage) bool {
	return len(value) == 0 || bytes.Equal(value, []byte("null"))
}

// object reads a JSON object.
func object(text []byte) (map[string]json.RawMessage, bool) {
	var fields map[string]json.RawMessage
	err := json.Unmarshal(text, &fields)
	return fields, err == nil && fields != nil
}
