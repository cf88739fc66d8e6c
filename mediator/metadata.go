package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/validation"
	"github.com/cht-dhis2/mediator/orchestration"
)

type metadataCommand struct {
	settingsFlags

	DataSet  string `help:"The data set's id; all that are configured when left out." placeholder:"ID"`
	DHIS2    string `name:"dhis2" help:"Only the data sets that go to this DHIS2." placeholder:"NAME"`
	OrgUnits bool   `help:"List each org unit that the data set is assigned to."`
	JSON     bool   `name:"json" help:"Print for machines: one line of JSON for each data set."`
}

// metadata is a data set as the mediator sees it in DHIS2.
type metadata struct {
	DataSet  string `json:"data_set"`
	DHIS2    string `json:"dhis2"`
	Version  string `json:"version"`
	Calendar string `json:"calendar"`
	Today    string `json:"today"`
	TimeZone string `json:"time_zone"`

	ID                    string        `json:"id"`
	Code                  string        `json:"code"`
	Name                  string        `json:"name"`
	PeriodType            string        `json:"period_type"`
	Read                  bool          `json:"read"`
	Write                 bool          `json:"write"`
	ExpiryDays            int           `json:"expiry_days"`
	OpenFuturePeriods     int           `json:"open_future_periods"`
	InputPeriods          []inputPeriod `json:"input_periods"`
	Workflow              string        `json:"workflow"`
	AttributeOptionCombos []string      `json:"attribute_option_combos"`
	Elements              []element     `json:"data_elements"`

	// Period is the latest one that is over, of which the issues and the org units tell.
	Period   string        `json:"period"`
	Issues   []issue.Issue `json:"issues"`
	OrgUnits orgUnitCounts `json:"org_units"`
	List     []orgUnit     `json:"org_unit_list,omitempty"`
}

type inputPeriod struct {
	Period string `json:"period"`
	Opens  string `json:"opens"`
	Closes string `json:"closes"`
}

type element struct {
	ID        string        `json:"id"`
	Code      string        `json:"code"`
	Name      string        `json:"name"`
	ValueType string        `json:"value_type"`
	Options   []string      `json:"options,omitempty"`
	Combo     string        `json:"category_combo"`
	Combos    []optionCombo `json:"category_option_combos"`
}

type optionCombo struct {
	ID   string `json:"id"`
	Code string `json:"code"`
	Name string `json:"name"`
	// ReadOnly are category options to which the account may not write data.
	ReadOnly []string `json:"read_only,omitempty"`
}

// orgUnitCounts tell of the org units that a data set is assigned to.
type orgUnitCounts struct {
	Assigned  int `json:"assigned"`
	OpenToday int `json:"open_today"`
	// InPeriod is how many take values of the period; Refused is how many do not, by the code of the reason.
	InPeriod int            `json:"in_period"`
	Refused  map[string]int `json:"refused"`
}

type orgUnit struct {
	ID     string `json:"id"`
	Code   string `json:"code"`
	Name   string `json:"name"`
	Opens  string `json:"opens"`
	Closes string `json:"closes"`
	// Why says why it takes nothing of the period; empty is that it does.
	Why string `json:"why,omitempty"`
}

// Run reads each data set anew and shows it.
func (c metadataCommand) Run(a *app) error {
	s, err := c.submitter(a)
	if err != nil {
		return err
	}
	sets := slices.DeleteFunc(slices.Clone(s.DataSets), func(set orchestration.DataSet) bool {
		return c.DataSet != "" && set.ID != c.DataSet || c.DHIS2 != "" && set.DHIS2 != c.DHIS2
	})
	if len(sets) == 0 {
		return &orchestration.UsageError{What: "no data set of the configuration is meant", Remedy: "give --data-set and --dhis2 as the configuration has them, or leave them out"}
	}
	for _, set := range sets {
		m, err := c.read(a.ctx, s, set)
		if err != nil {
			return a.failed(err)
		}
		if c.JSON {
			err = a.encode(m)
		} else {
			a.tellMetadata(m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// failed prints why DHIS2 does not tell, and ends with its exit code.
func (a *app) failed(err error) error {
	_ = a.ended(err)
	return endWith(orchestration.ReasonOf(err))
}

func (c metadataCommand) read(ctx context.Context, s *orchestration.Submitter, set orchestration.DataSet) (m metadata, err error) {
	client := s.Destinations[set.DHIS2].Client
	facts := validation.Facts{OrgUnits: &dhis2.OrgUnits{}, Approvals: map[validation.Approval]string{}}
	if facts.Server, err = client.Server(ctx); err != nil {
		return m, err
	}
	if facts.User, err = client.Me(ctx); err != nil {
		return m, err
	}
	found, err := s.ReadDataSet(ctx, set)
	if err != nil {
		return m, err
	}
	facts.Set = &found
	if err := client.OrgUnits(ctx, found.ID, facts.OrgUnits.Add); err != nil {
		return m, err
	}
	m = describe(set, &facts)
	m.Period, facts.Period = latestOver(facts.Server, found.PeriodType)
	if err := askWhatIsOpen(ctx, client, &facts); err != nil {
		m.Issues = append(m.Issues, issue.Issue{
			Code: "lock_state_unknown", Severity: issue.Note, Count: 1, Text: "who may enter an expired period, and what is approved, is not known: " + err.Error(),
			Remedy: "let the account read /api/lockExceptions and /api/dataApprovals, which DHIS2 allows by itself; look at the proxy before it",
		})
	}
	checks := validation.New(facts)
	m.Issues = append(m.Issues, checks.Issues()...)
	m.OrgUnits = orgUnitCounts{Assigned: facts.OrgUnits.Len(), Refused: map[string]int{}}
	for _, id := range facts.OrgUnits.IDs() {
		o, _ := facts.OrgUnits.Get(id)
		one := orgUnit{ID: o.ID, Code: o.Code, Name: o.Name, Opens: day10(o.Opens), Closes: day10(o.Closes)}
		if one.Opens <= m.Today && (one.Closes == "" || m.Today <= one.Closes) {
			m.OrgUnits.OpenToday++
		}
		switch why := checks.OrgUnit(id); {
		case m.Period == "":
		case why == nil:
			m.OrgUnits.InPeriod++
		default:
			one.Why = why.Text
			m.OrgUnits.Refused[why.Code]++
		}
		if c.OrgUnits {
			m.List = append(m.List, one)
		}
	}
	return m, nil
}

// latestOver is the latest period that is over by the server's date; none where it has another calendar, or periods that cannot be sent.
func latestOver(server dhis2.Server, kind dhis2.PeriodType) (string, dhis2.Period) {
	day, err := time.Parse(time.DateOnly, day10(server.Date))
	if err != nil || dhis2.CheckCalendar(server.Calendar) != nil || !kind.Supported() {
		return "", dhis2.Period{}
	}
	period, _ := dhis2.LatestClosed(kind, day) // of a type that is supported
	return period.String(), period
}

// askWhatIsOpen asks for what may open or close the period of an org unit.
func askWhatIsOpen(ctx context.Context, client *dhis2.Client, facts *validation.Facts) (err error) {
	set := facts.Set
	if facts.Period.IsZero() {
		return nil
	}
	if set.ExpiryDays > 0 {
		if facts.Exceptions, err = client.LockExceptions(ctx, set.ID, facts.Period); err != nil {
			return err
		}
	}
	if set.Workflow == "" {
		return nil
	}
	of := dhis2.Approvable{Workflow: set.Workflow, Period: facts.Period, OrgUnits: facts.OrgUnits.IDs(), AttributeOptionCombos: set.AttributeOptionCombos}
	return client.Approvals(ctx, of, func(state dhis2.ApprovalState) {
		facts.Approvals[validation.Approval{OrgUnit: state.OrgUnit, AttributeOptionCombo: state.AttributeOptionCombo}] = state.State
	})
}

func describe(set orchestration.DataSet, facts *validation.Facts) metadata {
	found, server := facts.Set, facts.Server
	m := metadata{
		DataSet: set.ID, DHIS2: set.DHIS2, Version: server.Version, Calendar: server.Calendar, Today: day10(server.Date), TimeZone: server.TimeZone,
		ID: found.ID, Code: found.Code, Name: found.Name, PeriodType: string(found.PeriodType), Read: found.CanRead, Write: found.CanWrite,
		ExpiryDays: found.ExpiryDays, OpenFuturePeriods: found.OpenFuturePeriods, Workflow: found.Workflow,
		InputPeriods: []inputPeriod{}, AttributeOptionCombos: append([]string{}, found.AttributeOptionCombos...), Elements: []element{}, Issues: []issue.Issue{},
	}
	for _, p := range found.InputPeriods {
		m.InputPeriods = append(m.InputPeriods, inputPeriod{Period: p.Period, Opens: day10(p.Opens), Closes: day10(p.Closes)})
	}
	slices.SortFunc(m.InputPeriods, func(a, b inputPeriod) int { return cmp.Compare(a.Period, b.Period) })
	for _, e := range found.Elements {
		one := element{ID: e.ID, Code: e.Code, Name: e.Name, ValueType: e.ValueType, Options: slices.Sorted(maps.Keys(e.Options)), Combo: e.Combo.ID}
		for _, o := range e.Combo.Combos {
			one.Combos = append(one.Combos, optionCombo{ID: o.ID, Code: o.Code, Name: o.Name, ReadOnly: o.ReadOnly})
		}
		slices.SortFunc(one.Combos, func(a, b optionCombo) int { return cmp.Compare(a.ID, b.ID) })
		m.Elements = append(m.Elements, one)
	}
	slices.SortFunc(m.Elements, func(a, b element) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return m
}

// day10 is the day of a time as DHIS2 writes it.
func day10(text string) string { return text[:min(len(text), len(time.DateOnly))] }

// tellMetadata shows a data set to a person.
func (a *app) tellMetadata(m metadata) {
	yes := map[bool]string{true: "yes", false: "no"}
	fmt.Fprintf(a.stdout, "data set %s in DHIS2 %s: %s\n", m.DataSet, m.DHIS2, m.Name)
	t := a.table()
	for _, row := range []table.Row{
		{"id, code", strings.TrimSuffix(m.ID+", "+m.Code, ", ")},
		{"server", fmt.Sprintf("DHIS2 %s, calendar %s, today %s in %s", m.Version, m.Calendar, m.Today, m.TimeZone)},
		{"period type", m.PeriodType},
		{"account may", fmt.Sprintf("read data: %s, write data: %s", yes[m.Read], yes[m.Write])},
		{"a period closes", closes(m.ExpiryDays)},
		{"open future periods", m.OpenFuturePeriods},
		{"input periods", inputPeriods(m.InputPeriods)},
		{"approval workflow", cmp.Or(m.Workflow, "none")},
		{"attribute option combos", cmp.Or(fewOf(m.AttributeOptionCombos), "the default one")},
		{"org units", fmt.Sprintf("%d assigned, %d of them open today", m.OrgUnits.Assigned, m.OrgUnits.OpenToday)},
	} {
		t.AppendRow(row)
	}
	if m.Period != "" {
		t.AppendRow(table.Row{"period " + m.Period, fmt.Sprintf("%d org units take it", m.OrgUnits.InPeriod)})
		for _, code := range slices.Sorted(maps.Keys(m.OrgUnits.Refused)) {
			t.AppendRow(table.Row{"", fmt.Sprintf("%d do not: %s", m.OrgUnits.Refused[code], code)})
		}
	}
	t.Render()
	for _, i := range m.Issues {
		fmt.Fprintf(a.stdout, "%s: %s\n  what to do: %s\n", i.Code, i.Text, i.Remedy)
	}
	fmt.Fprintln(a.stdout)
	elements := a.table("data element", "code", "name", "value type", "category option combos")
	for _, e := range m.Elements {
		var combos []string
		for _, o := range e.Combos {
			combos = append(combos, strings.TrimSpace(o.ID+" "+o.Name))
		}
		elements.AppendRow(table.Row{e.ID, e.Code, e.Name, e.ValueType, fewOf(combos)})
	}
	elements.Render()
	if len(m.List) > 0 {
		fmt.Fprintln(a.stdout)
		takes := map[bool]string{true: "not known", false: "yes"}[m.Period == ""]
		units := a.table("org unit", "code", "name", "opens", "closes", "takes the period")
		for _, o := range m.List {
			units.AppendRow(table.Row{o.ID, o.Code, o.Name, o.Opens, o.Closes, cmp.Or(o.Why, takes)})
		}
		units.Render()
	}
	fmt.Fprintln(a.stdout)
}

func closes(days int) string {
	if days == 0 {
		return "never"
	}
	return fmt.Sprintf("%d days after its last day", days)
}

func inputPeriods(list []inputPeriod) string {
	var texts []string
	for _, p := range list {
		texts = append(texts, fmt.Sprintf("%s (%s to %s)", p.Period, cmp.Or(p.Opens, "ever"), cmp.Or(p.Closes, "ever")))
	}
	return cmp.Or(fewOf(texts), "any")
}

// fewOf names the first of many.
func fewOf(texts []string) string {
	const few = 4
	if len(texts) <= few {
		return strings.Join(texts, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(texts[:few], ", "), len(texts)-few)
}
