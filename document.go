// Package document holds mediatorConfig.json, with which the mediator makes itself known to OpenHIM, so that the program
// has it wherever it runs.
package document

import _ "embed"

// MediatorConfig is the registration document as it stands in the repository: without version, host and port.
//
//go:embed mediatorConfig.json
var MediatorConfig []byte
