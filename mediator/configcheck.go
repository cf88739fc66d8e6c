package main

import (
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
)

type configCheckCommand struct {
	settingsFlags

	JSON bool `name:"json" help:"Print for machines."`
}

// Run checks the configuration as every other command does, and shows it.
func (c configCheckCommand) Run(a *app) error {
	settings, err := c.load(a)
	if err != nil {
		return err
	}
	for _, set := range settings.DataSets {
		if _, err := dataSet(set); err != nil {
			return err
		}
	}
	effective := settings.Effective()
	if c.JSON {
		type setting struct {
			Key    string `json:"key"`
			Value  string `json:"value"`
			Origin string `json:"origin"`
		}
		list := []setting{}
		for _, s := range effective {
			list = append(list, setting{s.Key, s.Value, s.Origin})
		}
		return a.encode(list)
	}
	t := a.table("setting", "value", "from")
	for _, s := range effective {
		t.AppendRow(table.Row{s.Key, s.Value, s.Origin})
	}
	t.Render()
	_, err = fmt.Fprintln(a.stdout, "the configuration is good")
	return err
}
