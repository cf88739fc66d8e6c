package main

import "fmt"

// version is the program's version, and the one place where it stands. What is registered in OpenHIM has it too.
const version = "0.1.0"

type versionCommand struct{}

func (versionCommand) Run(a *app) error {
	_, err := fmt.Fprintln(a.stdout, "cht-dhis2 mediator", version)
	return err
}
