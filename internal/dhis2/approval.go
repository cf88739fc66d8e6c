package dhis2

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Approvable is what may be approved: the data of a workflow's sets of one period, by org unit and attribute option combo.
type Approvable struct {
	Workflow string
	Period   Period
	// OrgUnits must be known to DHIS2: one that is not makes it refuse the question.
	OrgUnits []string
	// AttributeOptionCombos are those of a set that has categories of its own; none asks for the default one.
	AttributeOptionCombos []string
}

// ApprovalState is how far the data of an org unit are approved, for an attribute option combo, empty for the default one.
type ApprovalState struct {
	OrgUnit, AttributeOptionCombo string
	// State is DHIS2's word, such as APPROVED_ABOVE.
	State string
}

// Closed says whether the data are approved, or accepted after that, and take nothing more.
func (a ApprovalState) Closed() bool {
	return strings.HasPrefix(a.State, "APPROVED_") || strings.HasPrefix(a.State, "ACCEPTED_")
}

// Approvals asks how far data are approved, and gives yield each state. What DHIS2 gives no state for is not approved: it has
// none for a period of which it never stored a value.
func (c *Client) Approvals(ctx context.Context, of Approvable, yield func(ApprovalState)) error {
	combos := ""
	for _, id := range of.AttributeOptionCombos {
		combos += "&aoc=" + url.QueryEscape(id)
	}
	for some := range slices.Chunk(of.OrgUnits, max(1, batch-len(of.AttributeOptionCombos))) {
		path := "/api/dataApprovals/approvals?wf=" + url.QueryEscape(of.Workflow) + "&pe=" + url.QueryEscape(of.Period.String())
		for _, id := range some {
			path += "&ou=" + url.QueryEscape(id)
		}
		var answer []struct {
			OrgUnit string `json:"ou"`
			Combo   string `json:"aoc"`
			State   string `json:"state"`
		}
		if err := c.get(ctx, fmt.Sprintf("read the approvals of %s from DHIS2", of.Period), path+combos, &answer); err != nil {
			return err
		}
		for _, a := range answer {
			state := ApprovalState{OrgUnit: a.OrgUnit, State: a.State}
			if combos != "" {
				state.AttributeOptionCombo = withoutDefault(a.Combo)
			}
			yield(state)
		}
	}
	return nil
}
