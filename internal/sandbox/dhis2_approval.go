package sandbox

import (
	"net/http"
	"strings"
	"time"
)

// dhis2Approval is what may be approved: the data of a workflow for a period, an org unit with all below it, and an
// attribute option combination.
type dhis2Approval struct {
	workflow, period, orgUnit, attribute string
}

// dhis2Approved is who approved it, and when.
type dhis2Approved struct {
	by *DHIS2User
	at time.Time
}

// approvedAt tells whether the data are approved at the end of the path or above it.
func (d *DHIS2) approvedAt(set *dhis2Set, period, path, attribute string) bool {
	if set.Workflow == nil || len(d.approved) == 0 {
		return false
	}
	for _, unit := range strings.Split(path, "/")[1:] {
		if d.approvedExactly(set, period, unit, attribute) {
			return true
		}
	}
	return false
}

// approvedExactly tells whether the data are approved at the very org unit.
func (d *DHIS2) approvedExactly(set *dhis2Set, period, unit, attribute string) bool {
	if set.Workflow == nil {
		return false
	}
	_, approved := d.approved[dhis2Approval{set.Workflow.ID, period, unit, attribute}]
	return approved
}

// approvalOf reads which data a request is about.
func (d *DHIS2) approvalOf(r *http.Request) (dhis2Approval, *dhis2Place) {
	query := r.URL.Query()
	workflow := query.Get("wf")
	if set := d.index.sets.byID[query.Get("ds")]; set != nil && set.Workflow != nil {
		workflow = set.Workflow.ID
	}
	approval := dhis2Approval{workflow, query.Get("pe"), query.Get("ou"), query.Get("aoc")}
	if approval.attribute == "" {
		approval.attribute = d.index.defaultOptionCombo()
	}
	if d.index.workflows.byID[workflow] == nil {
		return approval, nil
	}
	return approval, d.index.places.byID[approval.orgUnit]
}

// approve approves data.
func (d *DHIS2) approve(w http.ResponseWriter, r *http.Request, user *DHIS2User) {
	approval, place := d.approvalOf(r)
	switch {
	case !user.can("F_APPROVE_DATA"):
		d.writeFailure(w, http.StatusForbidden, "", "Access is denied, requires one Authority from [F_APPROVE_DATA]")
		return
	case place == nil:
		d.writeFailure(w, http.StatusConflict, "", "Illegal workflow or organisation unit")
		return
	}
	d.approved[approval] = dhis2Approved{user, d.now().UTC()}
	w.WriteHeader(http.StatusNoContent)
}

// readApproval answers whether data are approved.
func (d *DHIS2) readApproval(w http.ResponseWriter, r *http.Request, user *DHIS2User) {
	approval, place := d.approvalOf(r)
	if place == nil {
		d.writeFailure(w, http.StatusConflict, "", "Illegal workflow or organisation unit")
		return
	}
	state, approved := d.stateOf(approval, place)
	answer := permissionsOf(user, state)
	answer["state"] = state
	if approved != nil {
		at := dhis2Time(approved.at)
		answer["approvedBy"], answer["approvedAt"], answer["acceptedAt"] = approved.by.Name, at, at
	}
	d.writeJSON(w, http.StatusOK, answer)
}

// readApprovals answers the same for all workflows, periods, org units and attribute option combinations that were asked for. One
// org unit that is unknown fails the question.
func (d *DHIS2) readApprovals(w http.ResponseWriter, r *http.Request, user *DHIS2User) {
	query := r.URL.Query()
	attributes := query["aoc"]
	if len(attributes) == 0 {
		attributes = []string{d.index.defaultOptionCombo()}
	}
	answers := []map[string]any{}
	for _, workflow := range query["wf"] {
		for _, period := range query["pe"] {
			for _, unit := range query["ou"] {
				place := d.index.places.byID[unit]
				if place == nil {
					d.writeFailure(w, http.StatusConflict, "", "Illegal organisation unit identifier: "+unit)
					return
				}
				for _, attribute := range attributes {
					answers = append(answers, d.approvalAnswer(dhis2Approval{workflow, period, unit, attribute}, place, user))
				}
			}
		}
	}
	d.writeJSON(w, http.StatusOK, answers)
}

// approvalAnswer is one answer of many.
func (d *DHIS2) approvalAnswer(approval dhis2Approval, place *dhis2Place, user *DHIS2User) map[string]any {
	state, _ := d.stateOf(approval, place)
	answer := map[string]any{
		"wf": approval.workflow, "pe": approval.period, "ou": approval.orgUnit, "aoc": approval.attribute,
		"state": state, "permissions": permissionsOf(user, state),
	}
	workflow := d.index.workflows.byID[approval.workflow]
	if state == "APPROVED_HERE" && workflow != nil && len(workflow.DataApprovalLevels) > 0 {
		answer["level"] = workflow.DataApprovalLevels[0].ID
	}
	return answer
}

// stateOf tells how far data are approved, and by whom when that was done for the very org unit.
func (d *DHIS2) stateOf(approval dhis2Approval, place *dhis2Place) (string, *dhis2Approved) {
	for _, unit := range strings.Split(place.path, "/")[1:] {
		above := approval
		above.orgUnit = unit
		approved, there := d.approved[above]
		switch {
		case there && unit == place.ID:
			return "APPROVED_HERE", &approved
		case there:
			return "APPROVED_ABOVE", nil
		}
	}
	return "UNAPPROVED_ABOVE", nil
}

// permissionsOf tells what the user may do with data in that state.
func permissionsOf(user *DHIS2User, state string) map[string]any {
	return map[string]any{
		"mayApprove": false, "mayUnapprove": state == "APPROVED_HERE" && user.can("F_APPROVE_DATA"),
		"mayAccept": false, "mayUnaccept": false, "mayReadData": true,
	}
}
