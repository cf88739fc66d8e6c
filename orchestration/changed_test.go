package orchestration

import (
	"encoding/json"
	"testing"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

func TestAnExaminationTellsWhatTheSettingsSayOtherwise(t *testing.T) {
	c := newClinic(t, ailment{})
	// September closed last but one: it has gone.
	r, err := c.Submit(t.Context(), Request{DataSet: c.set, Period: "202609", CHT: "county"})
	if err != nil || r.State != ledger.Accepted {
		t.Fatalf("%v %s %q", err, r.State, r.Error)
	}
	if made := c.Examine(t.Context()); found(made, Amber, "changed settings", "") {
		t.Fatal(shown(made))
	}
	c.cht.Change(func(d *sandbox.CHTDocuments) {
		d.Settings.Tasks.Targets.Items = append(d.Settings.Tasks.Targets.Items, sandbox.CHTTarget{ID: "new-one", Type: "count", DHIS: json.RawMessage(`{"dataElement":"DeNewOne001"}`)})
	})
	if made := c.Examine(t.Context()); !found(made, Amber, "changed settings", "changed since 202609: target new-one is new: it adds to data element DeNewOne001, is of the type count, is of every data set") {
		t.Fatal(shown(made))
	}
}
