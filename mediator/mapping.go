package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/cht-dhis2/mediator/config"
	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/form"
	"github.com/cht-dhis2/mediator/orchestration"
)

type mappingCommands struct {
	Init  mappingInitCommand  `cmd:"" help:"Draft the entry of a data set from what the CHT and DHIS2 say of it, with a question where a person has to answer. Changes nothing on either side."`
	Check mappingCheckCommand `cmd:"" help:"Show which target feeds which cell of a data set's form, and what is left over. Changes nothing."`
}

type mappingInitCommand struct {
	settingsFlags

	DataSet string   `help:"The data set's id, as the CHT calls it. It need not be configured." required:"" placeholder:"ID"`
	CHT     []string `name:"cht" help:"Its source; may be repeated. Needed where the configuration has several, and none for the data set." placeholder:"NAME"`
	DHIS2   string   `name:"dhis2" help:"Its destination. Needed where the configuration has several, and none for the data set." placeholder:"NAME"`
	Out     string   `help:"Write the entry and the file of targets into this folder, which must be there; a file that is there is not overwritten. Without it both are printed." placeholder:"DIR"`
}

// Run drafts the entry of a data set, whether it is configured or not.
func (c mappingInitCommand) Run(a *app) error {
	settings, err := config.Load(config.Input{File: c.Config, Environment: a.environ, Set: c.Set, Drafting: true})
	if err != nil {
		return err
	}
	entry, err := c.entry(settings)
	if err != nil {
		return err
	}
	settings.DataSets = nil // they were not judged
	log, err := newLog(a, cmp.Or(c.LogLevel, "error"))
	if err != nil {
		return err
	}
	s, err := newSubmitter(settings, a, log)
	if err != nil {
		return err
	}
	draft, err := drafted(a.ctx, s, entry)
	if err != nil {
		return a.failed(err)
	}
	if c.Out != "" {
		return c.write(a, draft)
	}
	fmt.Fprint(a.stdout, draft.YAML())
	if draft.FromTargets {
		fmt.Fprintf(a.stdout, "\n# %s:\n%s", form.TargetsFile(c.DataSet), draft.CSV())
	}
	return nil
}

// entry is the data set as it is configured, else as the options say.
func (c mappingInitCommand) entry(settings *config.Config) (config.DataSet, error) {
	set := config.DataSet{ID: c.DataSet}
	if at := slices.IndexFunc(settings.DataSets, func(s config.DataSet) bool { return s.ID == c.DataSet }); at >= 0 {
		set = settings.DataSets[at]
	} else if !dhis2.IsUID(c.DataSet) {
		set.DataSetIDScheme = "code"
	}
	var sources, destinations []string
	for _, server := range settings.CHT {
		sources = append(sources, server.Name)
	}
	for _, server := range settings.DHIS2 {
		destinations = append(destinations, server.Name)
	}
	if len(c.CHT) > 0 {
		set.CHT = c.CHT
	}
	set.DHIS2 = cmp.Or(c.DHIS2, set.DHIS2)
	if len(set.CHT) == 0 && len(sources) == 1 {
		set.CHT = sources
	}
	if set.DHIS2 == "" && len(destinations) == 1 {
		set.DHIS2 = destinations[0]
	}
	unknown := slices.DeleteFunc(slices.Clone(set.CHT), func(name string) bool { return slices.Contains(sources, name) })
	switch {
	case len(set.CHT) == 0:
		return set, &orchestration.UsageError{What: "--cht is missing", Remedy: "name one of " + strings.Join(sources, ", ")}
	case len(unknown) > 0:
		return set, &orchestration.UsageError{What: "there is no CHT " + unknown[0], Remedy: "name one of " + strings.Join(sources, ", ")}
	case set.DHIS2 == "":
		return set, &orchestration.UsageError{What: "--dhis2 is missing", Remedy: "name one of " + strings.Join(destinations, ", ")}
	case !slices.Contains(destinations, set.DHIS2):
		return set, &orchestration.UsageError{What: "there is no DHIS2 " + set.DHIS2, Remedy: "name one of " + strings.Join(destinations, ", ")}
	}
	return set, nil
}

// drafted asks both sides and drafts.
func drafted(ctx context.Context, s *orchestration.Submitter, set config.DataSet) (form.Draft, error) {
	others := map[string]*cht.Settings{}
	facts := form.Facts{DataSet: set.ID, Rules: rulesOf(set)}
	for i, name := range set.CHT {
		settings, err := s.Sources[name].Client.Settings(ctx)
		if err == nil {
			err = settings.Check(set.ID)
		}
		if err != nil {
			return form.Draft{}, err
		}
		if i > 0 {
			others[name] = settings
			continue
		}
		facts.Settings = settings
	}
	var places []cht.OrgUnit
	for _, name := range set.CHT {
		if err := s.Sources[name].Client.OrgUnits(ctx, func(o cht.OrgUnit) {
			if o.For(set.ID) {
				places = append(places, o)
			}
		}); err != nil {
			return form.Draft{}, err
		}
	}
	units := &dhis2.OrgUnits{}
	read := func() (err error) {
		of := orchestration.DataSet{ID: set.ID, DHIS2: set.DHIS2}
		if of.IDSchemes, err = schemesOf(set); err != nil {
			return err
		}
		facts.Set, err = s.ReadDataSet(ctx, of)
		return err
	}
	if err := read(); err != nil {
		return form.Draft{}, err
	}
	if err := s.Destinations[set.DHIS2].Client.OrgUnits(ctx, facts.Set.ID, units.Add); err != nil {
		return form.Draft{}, err
	}
	if guessSchemes(&set, facts, places, units) {
		if err := read(); err != nil {
			return form.Draft{}, err
		}
	}
	entry := form.Entry{
		ID: set.ID, Title: set.Title, CHT: set.CHT, DHIS2: set.DHIS2, FirstPeriod: set.FirstPeriod, Completeness: set.Completeness, AttributeOptionCombo: set.AttributeOptionCombo,
	}
	for _, scheme := range []form.Setting{
		{Key: "data_set_id_scheme", Value: set.DataSetIDScheme}, {Key: "data_element_id_scheme", Value: set.DataElementIDScheme},
		{Key: "org_unit_id_scheme", Value: set.OrgUnitIDScheme}, {Key: "category_option_combo_id_scheme", Value: set.CategoryOptionComboIDScheme},
	} {
		if scheme.Value != "" && scheme.Value != "uid" {
			entry.Schemes = append(entry.Schemes, scheme)
		}
	}
	return form.NewDraft(facts, entry, nestedOf(set, facts.Set, places, units), others), nil
}

// guessSchemes sets the schemes that are not said, where the CHT uses codes and no id, and says whether it set one.
func guessSchemes(set *config.DataSet, facts form.Facts, places []cht.OrgUnit, units *dhis2.OrgUnits) bool {
	elements, combos := form.Codes(facts)
	ids, codes := map[string]bool{}, map[string]bool{}
	for _, id := range units.IDs() {
		o, _ := units.Get(id)
		ids[id], codes[o.Code] = true, o.Code != ""
	}
	byID := slices.ContainsFunc(places, func(p cht.OrgUnit) bool { return ids[p.ID] })
	byCode := slices.ContainsFunc(places, func(p cht.OrgUnit) bool { return codes[p.ID] })
	set1 := false
	for _, one := range []struct {
		scheme *string
		isCode bool
	}{{&set.DataElementIDScheme, elements}, {&set.CategoryOptionComboIDScheme, combos}, {&set.OrgUnitIDScheme, !byID && byCode}} {
		if (*one.scheme == "" || *one.scheme == "uid") && one.isCode {
			*one.scheme, set1 = "code", true
		}
	}
	return set1
}

// nestedOf finds the org units of the CHT's places that lie in others of them.
func nestedOf(set config.DataSet, found dhis2.DataSet, places []cht.OrgUnit, units *dhis2.OrgUnits) []form.Nested {
	given := map[string]bool{}
	for _, place := range places {
		id := cmp.Or(found.Names.OrgUnits[place.ID], place.ID)
		if !slices.Contains(set.ExcludeOrgUnits, place.ID) && units.Has(id) {
			given[id] = true
		}
	}
	var nested []form.Nested
	for _, id := range sortedNames(given) {
		unit, _ := units.Get(id)
		above := strings.Split(strings.Trim(unit.Path, "/"), "/")
		for _, outer := range above[:max(0, len(above)-1)] {
			if given[outer] {
				nested = append(nested, form.Nested{Inner: id, Outer: outer})
			}
		}
	}
	return nested
}

// write puts both files into the folder, in the place of none.
func (c mappingInitCommand) write(a *app, draft form.Draft) error {
	files := []struct{ name, content string }{{c.DataSet + ".yaml", draft.YAML()}}
	if draft.FromTargets {
		files = append(files, struct{ name, content string }{form.TargetsFile(c.DataSet), draft.CSV()})
	}
	for _, one := range files {
		path := filepath.Join(c.Out, one.name)
		file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return &orchestration.UsageError{What: path + " is there already", Remedy: "give another folder with --out, or take the file away"}
		}
		if err != nil {
			return &orchestration.UsageError{What: fmt.Sprintf("write the draft: %v", err), Remedy: "give a folder that can be written with --out; one that is not there has to be made first"}
		}
		_, err = file.WriteString(one.content)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout, path)
	}
	fmt.Fprintln(a.stdout, "answer what has a question mark, put the entry into the configuration and the file of targets beside it, and try both: mediator config check, mediator mapping check")
	return nil
}

type mappingCheckCommand struct {
	settingsFlags

	DataSet string `help:"The data set's id. May be left out where one is configured." placeholder:"ID"`
	CHT     string `name:"cht" help:"The source; all sources of the data set when left out." placeholder:"NAME"`
	JSON    bool   `name:"json" help:"Print for machines: one line of JSON for each source."`
}

// explainedMapping is the mapping of one source of a data set.
type explainedMapping struct {
	DataSet string `json:"data_set"`
	CHT     string `json:"cht"`
	DHIS2   string `json:"dhis2"`
	Source  string `json:"source"`
	// Exportable says that the CHT's export would give the same.
	Exportable bool `json:"exportable"`
	form.Mapping
}

// Run explains the mapping in force, and ends with 4 where something of it would be held back.
func (c mappingCheckCommand) Run(a *app) error {
	s, err := c.submitter(a)
	if err != nil {
		return err
	}
	requests, err := selection{DataSet: c.DataSet, CHT: c.CHT, Period: orchestration.LatestClosed}.requests(s)
	if err != nil {
		return err
	}
	reason := orchestration.Reason("")
	for _, r := range requests {
		facts, set, err := s.FormFacts(a.ctx, r.DataSet, r.CHT)
		var usage *orchestration.UsageError
		if errors.As(err, &usage) {
			return err
		}
		if err != nil {
			return a.failed(err)
		}
		m := explainedMapping{DataSet: set.ID, CHT: r.CHT, DHIS2: set.DHIS2, Source: "export", Exportable: true, Mapping: form.Explain(facts)}
		if facts.FromTargets {
			m.Source = "targets"
		}
		for _, cell := range m.Cells {
			m.Exportable = m.Exportable && cell.Export == ""
		}
		if m.Stuck() {
			reason = orchestration.NothingAccepted
		}
		if c.JSON {
			err = a.encode(m)
		} else {
			a.tellMapping(m)
		}
		if err != nil {
			return err
		}
	}
	return endWith(reason)
}

// tellMapping shows a mapping to a person.
func (a *app) tellMapping(m explainedMapping) {
	fmt.Fprintf(a.stdout, "\n%s from CHT %s to DHIS2 %s, source: %s\n", m.DataSet, m.CHT, m.DHIS2, m.Source)
	cells := a.table("data element", "category option combo", "attribute option combo", "fed by", "value", "held back by")
	for _, c := range m.Cells {
		cells.AppendRow(table.Row{
			withName(c.DataElement, c.DataElementName), withName(c.CategoryOptionCombo, c.CategoryOptionComboName), withName(c.AttributeOptionCombo, c.AttributeOptionComboName),
			cmp.Or(strings.Join(c.Targets, " + "), "nothing"), c.Value, c.Issue,
		})
	}
	cells.Render()
	if len(m.Idle) > 0 {
		fmt.Fprintln(a.stdout)
		idle := a.table("target", "feeds nothing, as")
		for _, one := range m.Idle {
			idle.AppendRow(table.Row{one.Target, one.Why})
		}
		idle.Render()
	}
	fmt.Fprintln(a.stdout)
	switch {
	case m.Source == "export":
	case m.Exportable:
		fmt.Fprintln(a.stdout, "the CHT's export could carry it as well")
	default:
		fmt.Fprintln(a.stdout, "the CHT's export could not carry it:")
		for _, c := range m.Cells {
			if c.Export != "" {
				fmt.Fprintf(a.stdout, "  %s: %s\n", strings.TrimSpace(withName(c.DataElement, c.DataElementName)+" "+c.CategoryOptionComboName), c.Export)
			}
		}
	}
	for _, i := range m.Issues {
		fmt.Fprintf(a.stdout, "%s: %s\n  what to do: %s\n", i.Code, i.Text, i.Remedy)
	}
}

// withName is an id with its name.
func withName(id, name string) string {
	if name == "" {
		return id
	}
	return id + " (" + name + ")"
}
