package form

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/target"
)

const (
	setID    = "DsMalariaM1"
	under5   = "CocUnder5y1"
	over5    = "CocOver5yr1"
	cases    = "DeMalCases1"
	rate     = "DePercent01"
	births   = "DeBirths001"
	llin     = "DeLlinDist1"
	comment  = "DeText00001"
	elsewhat = "DeNotInSet1"
)

// facts are a form with ages, a percentage and a text, and a CHT whose targets fit it.
func facts() Facts {
	simple := &dhis2.CategoryCombo{ID: "CcDefault01", IsDefault: true, Combos: map[string]*dhis2.CategoryOptionCombo{dhis2.DefaultCombo: {ID: dhis2.DefaultCombo, Name: "default"}}}
	ages := &dhis2.CategoryCombo{ID: "CcAge000001", Combos: map[string]*dhis2.CategoryOptionCombo{
		under5: {ID: under5, Code: "U5", Name: "Under 5"}, over5: {ID: over5, Code: "O5", Name: "5 and over"},
	}}
	set := dhis2.DataSet{ID: setID, Name: "Malaria", PeriodType: dhis2.Monthly, CanRead: true, CanWrite: true, Combo: simple, Elements: map[string]*dhis2.Element{}}
	for _, e := range []dhis2.Element{
		{ID: cases, Name: "Malaria cases", ValueType: "INTEGER_ZERO_OR_POSITIVE", Combo: ages},
		{ID: rate, Name: "Positive share", ValueType: percentage, Combo: simple},
		{ID: births, Name: "Births", ValueType: "INTEGER_ZERO_OR_POSITIVE", Combo: simple},
		{ID: llin, Name: "LLIN distributed", ValueType: "NUMBER", Combo: simple},
		{ID: comment, Name: "Note", ValueType: "TEXT", Combo: simple},
	} {
		set.Elements[e.ID] = &e
	}
	settings := &cht.Settings{
		DataSets: []string{setID},
		Targets: []cht.Target{
			{ID: "cases-under-5", Type: "count", DataSet: setID, DataElement: cases, CategoryOptionCombo: under5},
			{ID: "cases-5-plus", Type: "count", DataSet: setID, DataElement: cases, CategoryOptionCombo: over5},
			{ID: "share", Type: "percent", DataSet: setID, DataElement: rate},
			{ID: "births", Type: "count", DataElement: births},
			{ID: "nets", Type: "count", DataSet: setID, DataElement: llin, Listed: true},
			{ID: "nets", Type: "count", DataSet: "DsOther0001", DataElement: elsewhat, Listed: true},
		},
		Undirected: []cht.Target{{ID: "home-visits", Type: "count"}},
	}
	return Facts{DataSet: setID, Settings: settings, Set: set}
}

// outline is a mapping in few words.
func outline(m Mapping) []string {
	var lines []string
	for _, c := range m.Cells {
		line := c.DataElement + " " + c.CategoryOptionCombo + ": " + strings.Join(c.Targets, "+") + " " + c.Value
		if c.Issue != "" {
			line += ", " + c.Issue
		}
		if c.Export != "" {
			line += ", export: " + c.Export
		}
		lines = append(lines, line)
	}
	for _, i := range m.Idle {
		lines = append(lines, "idle "+i.Target+": "+i.Why)
	}
	for _, i := range m.Issues {
		lines = append(lines, string(i.Severity)+" "+i.Code+" "+i.DataElement)
	}
	return lines
}

func TestExplainTellsWhatBecomesOfEachTargetAndCell(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Facts)
		want   []string
	}{
		{"the export", func(*Facts) {}, []string{
			"DeBirths001 : births total",
			"DeLlinDist1 :  ",
			"DeMalCases1 CocOver5yr1: cases-5-plus total, shared_element_collapses, export: it adds up all targets of the data element under the combo of cases-5-plus",
			"DeMalCases1 CocUnder5y1: cases-under-5 total, shared_element_collapses, export: it adds up all targets of the data element under the combo of cases-5-plus",
			"DeText00001 :  ",
			"DePercent01 : share total, value_type",
			"idle cases-under-5: it is held back: shared_element_collapses",
			"idle cases-5-plus: it is held back: shared_element_collapses",
			"idle share: it is held back: value_type",
			"idle nets: its elements stand in a list in the CHT's settings, and the export leaves it out",
			"idle home-visits: the CHT's settings lead it to no data element",
			"cell shared_element_collapses DeMalCases1", "cell shared_element_collapses DeMalCases1", "cell value_type DePercent01",
			"note cell_not_fed DeLlinDist1", "note cell_not_fed DeText00001", "note percent_sends_denominator DePercent01",
		}},
		{"target documents, as the CHT's settings have it", func(f *Facts) { f.FromTargets = true }, []string{
			"DeBirths001 : births total",
			"DeLlinDist1 : nets total, export: it leaves nets out: its elements stand in a list in the CHT's settings",
			"DeMalCases1 CocOver5yr1: cases-5-plus total, export: it adds up all targets of the data element under the combo of cases-5-plus",
			"DeMalCases1 CocUnder5y1: cases-under-5 total, export: it adds up all targets of the data element under the combo of cases-5-plus",
			"DeText00001 :  ",
			"DePercent01 : share total, value_type",
			"idle share: it is held back: value_type",
			"idle home-visits: the CHT's settings lead it to no data element",
			"cell value_type DePercent01", "note cell_not_fed DeText00001",
		}},
		{"target documents, by a file", func(f *Facts) {
			f.FromTargets = true
			f.Items = []target.Item{
				{Target: "cases-under-5", DataElement: cases, CategoryOptionCombo: under5},
				{Target: "cases-5-plus", DataElement: cases},
				{Target: "share", Measure: target.Percent, DataElement: rate},
				{Target: "births", Measure: target.Pass, DataElement: births},
				{Target: "home-visits", Measure: target.Pass, DataElement: births},
				{Target: "hom-visits", DataElement: llin},
				{Target: "nets", DataElement: comment},
				{Target: "nets", DataElement: elsewhat},
			}
		}, []string{
			"DeBirths001 : births+home-visits pass, export: it sends the total of home-visits, whatever is asked for",
			"DeLlinDist1 : hom-visits total, target_unknown, export: it leaves hom-visits out: the CHT's settings do not lead it to this data element",
			"DeMalCases1 CocOver5yr1:  ",
			"DeMalCases1 CocUnder5y1: cases-under-5 total, export: it adds up all targets of the data element under the combo of cases-5-plus",
			"DeMalCases1 : cases-5-plus total, category_option_combo_missing, export: it adds up all targets of the data element under the combo of cases-5-plus",
			"DeText00001 : nets total, value_type, export: it leaves nets out: the CHT's settings do not lead it to this data element",
			"DePercent01 : share percent, export: it sends the total of share, whatever is asked for",
			"DeNotInSet1 : nets total, data_element_not_in_data_set, export: it leaves nets out: the CHT's settings do not lead it to this data element",
			"idle cases-5-plus: it is held back: category_option_combo_missing",
			"idle hom-visits: it is held back: target_unknown",
			"idle nets: it is held back: value_type",
			"idle nets: it is held back: data_element_not_in_data_set",
			"cell category_option_combo_missing DeMalCases1", "cell data_element_not_in_data_set DeNotInSet1", "cell target_unknown DeLlinDist1", "cell value_type DeText00001",
			"note cell_not_fed DeMalCases1",
		}},
		{"a cell of two numbers, and rules", func(f *Facts) {
			f.FromTargets = true
			f.Rules = mapping.Rules{ExcludeDataElements: []string{cases}, RenameDataElements: map[string]string{elsewhat: births}, SumDataElements: []string{births}}
			f.Items = []target.Item{
				{Target: "births", Measure: target.Pass, DataElement: births}, {Target: "home-visits", DataElement: elsewhat},
				{Target: "cases-5-plus", DataElement: cases, CategoryOptionCombo: over5},
			}
		}, []string{
			"DeBirths001 : births+home-visits pass, values_meet, export: it leaves home-visits out: the CHT's settings do not lead it to this data element",
			"DeLlinDist1 :  ", "DeMalCases1 CocOver5yr1:  ", "DeMalCases1 CocUnder5y1:  ", "DeText00001 :  ", "DePercent01 :  ",
			"idle cases-5-plus: a rule of the configuration leaves data element DeMalCases1 out",
			"idle cases-under-5: targets_file has no row of it", "idle share: targets_file has no row of it", "idle nets: targets_file has no row of it",
			"cell values_meet DeBirths001",
			"note cell_not_fed DeLlinDist1", "note cell_not_fed DeMalCases1", "note cell_not_fed DeMalCases1", "note cell_not_fed DeText00001", "note cell_not_fed DePercent01",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := facts()
			c.change(&f)
			got := Explain(f)
			if diff := cmp.Diff(c.want, outline(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if !got.Stuck() {
				t.Error("it is not stuck")
			}
		})
	}
}

func TestAFormThatIsFedWholeIsNotStuck(t *testing.T) {
	f := facts()
	f.FromTargets, f.Items = true, []target.Item{{Target: "births", DataElement: births}}
	if m := Explain(f); m.Stuck() {
		t.Errorf("got %v", outline(m))
	}
}

func TestAContactTypeThatTheCHTDoesNotHaveIsTold(t *testing.T) {
	f := facts()
	f.FromTargets, f.ContactTypes = true, []string{"chw", "supervisr"}
	f.Items = []target.Item{{Target: "births", DataElement: births}}
	if m := Explain(f); m.Stuck() {
		t.Errorf("of a CHT that tells no types, got %v", outline(m))
	}
	f.Settings.ContactTypes = []cht.ContactType{{ID: "chw", Person: true}, {ID: "supervisor", Person: true}}
	m := Explain(f)
	told := slices.ContainsFunc(m.Issues, func(i issue.Issue) bool {
		return i.Code == "contact_type_unknown" && strings.Contains(i.Text, "supervisr") && strings.Contains(i.Remedy, "chw, supervisor")
	})
	if !told || !m.Stuck() {
		t.Errorf("got %v", outline(m))
	}
}

func TestExplainSaysWhatThereIsToChooseFrom(t *testing.T) {
	f := facts()
	f.FromTargets = true
	f.Set.Names.CategoryOptionCombos = map[string]string{"U5": under5, "O5": over5}
	f.Items = []target.Item{{Target: "cases-under-5", DataElement: cases}, {Target: "casesunder-5", DataElement: births}}
	for _, i := range Explain(f).Issues {
		want := map[string]string{
			"category_option_combo_missing": "name one of the data element's combos in targets_file (column category_option_combo): O5 (5 and over), U5 (Under 5); by its name it may be U5 (Under 5)",
			"target_unknown":                "correct the name in targets_file, or take the row out; did you mean cases-under-5?",
		}[i.Code]
		if want != "" && i.Remedy != want {
			t.Errorf("%s: got %q, want %q", i.Code, i.Remedy, want)
		}
	}
}

func TestASuggestionIsOneWhoseWordsAreAllThere(t *testing.T) {
	ages := map[string]string{"u": "Under 5", "o": "5 and over", "f": "Female, under 5", "m": "0-11 months"}
	for name, want := range map[string]string{
		"malaria-cases-under-5": "u", "malaria-cases-5-plus": "o", "cases_under5": "u", "casesU5": "", "cases<5": "u", "cases-5+": "o", "cases-under-15": "",
		"girls-under-5": "f", "cases-0-11-months": "m", "cases": "", "underFive": "",
	} {
		if got := likeliest(name, ages); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := likeliest("under 5", map[string]string{"a": "Under 5", "b": "under 5 years"}); got != "" {
		t.Errorf("of two that are as likely, got %q", got)
	}
}

func TestADraftStaysYAMLAndCSVWhateverTheNames(t *testing.T) {
	f := facts()
	f.Set.Elements[births].Name = "Births\nsource: export"
	f.Settings.Targets[3].ID = "births, \"quoted\"\n"
	d := NewDraft(f, Entry{ID: setID, Title: "A \"title\": # with\ndata_sets:", CHT: []string{"county"}, DHIS2: "national"}, nil, nil)
	for line := range strings.Lines(d.YAML()) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "data_sets:") && !strings.HasPrefix(line, "  - id: ") && !strings.HasPrefix(line, "    ") {
			t.Errorf("a line of its own: %q", line)
		}
	}
	if !strings.Contains(d.YAML(), `title: "A \"title\": # with\ndata_sets:"`) || !strings.Contains(d.CSV(), "\"births, \"\"quoted\"\"\n\",total,") {
		t.Errorf("got\n%s\n%s", d.YAML(), d.CSV())
	}
}

func TestADraftTellsWhatAnotherCHTHasOtherwise(t *testing.T) {
	f := facts()
	other := *f.Settings
	other.Targets = append([]cht.Target{{ID: "births", Type: "count", DataElement: llin}}, other.Targets[:3]...)
	d := NewDraft(f, Entry{ID: setID, CHT: []string{"county", "kisumu"}, DHIS2: "national"}, nil, map[string]*cht.Settings{"kisumu": &other})
	for _, want := range []string{"# - CHT kisumu has other targets:", "#   - it has no births that leads to DeBirths001 as here", "#   - its births leads to DeLlinDist1", `title: "Malaria"`} {
		if !strings.Contains(d.YAML(), want) {
			t.Errorf("no %q in\n%s", want, d.YAML())
		}
	}
}
