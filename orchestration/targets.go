package orchestration

import (
	"context"

	"github.com/cht-dhis2/mediator/internal/mapping"
)

// readTargets reads the target documents of a period, and adds them up into the gathering.
func (*Submitter) readTargets(context.Context, *Plan, *mapping.Mapping, *gathering) error {
	return blocked("source", "use the export", "this version does not read target documents yet")
}
