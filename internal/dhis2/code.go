package dhis2

// Class says whose turn it is when DHIS2 refuses with a code.
type Class string

// The classes.
const (
	// FixMapping: the mapping, or what the CHT sends, has to change.
	FixMapping Class = "mapping"
	// FixMetadata: metadata or permissions in DHIS2 have to change.
	FixMetadata Class = "metadata"
	// Timing: it may pass later without any change.
	Timing Class = "timing"
	// Bug: the mediator should never have sent this.
	Bug Class = "bug"
)

// Code is what is known of one of DHIS2's error codes.
type Code struct {
	Class Class
	// Remedy is what a person can do about it.
	Remedy string
	// WholeSet means that every other request of the data set and period will be refused for the same reason.
	WholeSet bool
}

// The remedies that several codes share.
const (
	remedyBug       = "the mediator should not have sent this: please report it with this message"
	remedyDataSet   = "check the data set's id in the configuration; share the data set with the account (view metadata, capture data)"
	remedyWrite     = "give the account data-write sharing (capture and view) on what is named"
	remedyElement   = "check the data element's id in the CHT's targets; in DHIS2, share it with the account"
	remedyInSet     = "add the data element to the data set in DHIS2, or leave it out with exclude_data_elements"
	remedyOrgUnit   = "check the org unit's id on the CHT's place (dhis.orgUnit), or rename it with org_units_file"
	remedyAssign    = "assign the data set to the org unit in DHIS2, or leave it out with exclude_org_units"
	remedyScope     = "add an org unit above the one named to the account's data capture org units"
	remedyCombo     = "check the category option combo in the CHT's targets, or rename it with rename_combos"
	remedyAttribute = "check attribute_option_combo in the configuration against the data set's category combo in DHIS2"
	remedyType      = "the value does not fit the data element's value type: check which target feeds this data element"
	remedyExpired   = "the period is locked: ask for a lock exception or raise the data set's expiry days in DHIS2, then send again"
	remedyFuture    = "the period is not open yet: send it later, or raise the data set's open future periods in DHIS2"
	remedyInput     = "the period is outside the data set's input periods in DHIS2 (2.43.0 and 2.43.1 test them the wrong way round: update the server)"
	remedyApproved  = "the data is approved: take the approval back in DHIS2, or let it stand"
	remedyOpen      = "the org unit was not open in that period: correct its opening or closing date in DHIS2, or leave it out with exclude_org_units"
	remedyPeriod    = "the data set has another period type in DHIS2"
)

// Locks says whether a code is one for which DHIS2 takes nothing of a period, or of an approved part of it, now.
func Locks(code string) bool {
	switch code {
	case "E7640", "E7641", "E7642", "E7643", "E7644", "E8030", "E8033":
		return true
	default:
		return false
	}
}

// CodeOf gives what is known of a code of DHIS2 2.38 to 2.44. An unknown one gets a remedy that says so.
func CodeOf(code string) Code {
	switch code {
	case "E7600":
		return Code{FixMapping, remedyDataSet, true}
	case "E7601", "E8010":
		return Code{FixMetadata, remedyWrite, true}
	case "E7603", "E8106", "E8107":
		return Code{FixMapping, remedyOrgUnit, code == "E7603"}
	case "E7604":
		return Code{FixMapping, remedyAttribute, true}
	case "E7610", "E8103", "E8104":
		return Code{FixMapping, remedyElement, false}
	case "E7611":
		return Code{Bug, remedyBug, false}
	case "E7612":
		return Code{FixMapping, remedyOrgUnit, false}
	case "E7613", "E7634", "E8024", "E8108", "E8109", "E8110", "E8111", "E7630":
		return Code{FixMapping, remedyCombo, false}
	case "E7614", "E7616", "E8012":
		return Code{FixMetadata, remedyWrite, false}
	case "E7615", "E7631", "E7635", "E8023", "E8126", "E8127":
		return Code{FixMapping, remedyAttribute, false}
	case "E7617", "E8011":
		return Code{FixMetadata, remedyScope, false}
	case "E7618", "E8120":
		return Code{FixMapping, "DHIS2 wants a value: " + remedyBug, false}
	case "E8121":
		return Code{FixMapping, "the data set wants a comment with such a value: change the data set in DHIS2", false}
	case "E7619", "E7621", "E8122", "E8123":
		return Code{FixMapping, remedyType, false}
	case "E7620", "E8124", "E8125":
		return Code{FixMapping, "the comment is too long or not an allowed one: shorten dhis.comment in the CHT's target", false}
	case "E7632":
		return Code{FixMapping, remedyPeriod, false}
	case "E8021":
		return Code{FixMapping, remedyPeriod, true}
	case "E7633", "E8003", "E8020":
		return Code{FixMapping, remedyInSet, false}
	case "E7636", "E8022":
		return Code{FixMetadata, remedyAssign, false}
	case "E7638", "E8032":
		return Code{Timing, "the period is outside the dates of the attribute option in DHIS2: correct its dates, or attribute_option_combo", false}
	case "E7639", "E8025":
		return Code{FixMetadata, "the attribute option is not allowed for the org unit: correct its org units in DHIS2, or attribute_option_combo", false}
	case "E7640":
		return Code{FixMetadata, remedyExpired, false}
	case "E7641":
		return Code{Timing, remedyFuture, false}
	case "E7642", "E8033":
		return Code{FixMetadata, remedyApproved, false}
	case "E7643":
		return Code{Timing, remedyInput, false}
	case "E7644":
		return Code{Timing, "no data set of the data element takes this period now: look at expiry days and input periods in DHIS2", false}
	case "E8004", "E8005":
		return Code{FixMapping, remedyDataSet, true}
	case "E8030":
		return Code{Timing, "the period is locked, not open yet, or outside the input periods: " + remedyInput + "; for a locked one ask for a lock exception", true}
	case "E8031":
		return Code{FixMetadata, remedyOpen, false}
	case "E7637", "E7645", "E8100", "E8101", "E8102", "E8105", "E8128":
		return Code{Bug, remedyBug, false}
	case "E8000", "E8001", "E8002", "E8006", "E8007", "E8008", "E8009", "E8034", "E8035":
		return Code{Bug, remedyBug, true}
	default:
		return Code{FixMetadata, "the mediator does not know this code: look it up in DHIS2's documentation", false}
	}
}
