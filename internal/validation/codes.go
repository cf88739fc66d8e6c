package validation

import (
	"fmt"

	"github.com/cht-dhis2/mediator/internal/issue"
)

// check is one of the checks, by the code of what it finds. docs/checks.md lists them all.
type check string

// The checks of the whole. All but the last two send nothing.
const (
	dataSetNotWritable    check = "data_set_not_writable"
	authorityMissing      check = "authority_missing"
	captureOrgUnitMissing check = "capture_org_unit_missing"
	periodType            check = "period_type"
	dataSetEmpty          check = "data_set_empty"
	dataSetNotAssigned    check = "data_set_not_assigned"
	inputPeriodsInverted  check = "input_periods_inverted"
	zerosNotKept          check = "zeros_not_kept"
)

// The checks of an org unit, and of the period, which some org units may be excepted from.
const (
	orgUnitUnknown     check = "org_unit_unknown"
	orgUnitNotAssigned check = "org_unit_not_assigned"
	orgUnitOutside     check = "org_unit_outside_hierarchy"
	orgUnitNotOpenYet  check = "org_unit_not_open_yet"
	orgUnitClosed      check = "org_unit_closed"
	periodExpired      check = "period_expired"
	periodTooEarly     check = "period_too_early"
	inputPeriodAbsent  check = "input_period_absent"
	inputPeriodClosed  check = "input_period_closed"
	dataApproved       check = "data_approved"
)

// The checks of a data element and its combos.
const (
	elementNotInDataSet     check = "data_element_not_in_data_set"
	comboMissing            check = "category_option_combo_missing"
	comboUnexpected         check = "category_option_combo_unexpected"
	comboWrong              check = "category_option_combo_wrong"
	comboNotWritable        check = "category_option_combo_not_writable"
	attributeComboWrong     check = "wrong_attribute_option_combo"
	attributeComboForbidden check = "attribute_option_combo_not_writable"
)

// The checks of a single value.
const (
	valueMissing   check = "missing_value"
	valueType      check = "value_type"
	valueTooLong   check = "value_too_long"
	valueNoOption  check = "value_not_an_option"
	commentTooLong check = "comment_too_long"
	cellTwice      check = "duplicate_cell"
)

const whoRunsCHT = "report it to whoever runs the CHT"

// words say what a check found, as a format, and what a person can do about it.
func (k check) words() (text, remedy string) {
	switch k {
	case dataSetNotWritable:
		return "the account may not write data of data set %s", "share the data set with the account (capture data) in DHIS2"
	case authorityMissing:
		return "the account %s has no right to add data values", "give the account a role with the authority F_DATAVALUE_ADD in DHIS2"
	case captureOrgUnitMissing:
		return "the account %s has no org unit for which it may capture data", "give the account a data capture org unit above all that report, in DHIS2"
	case periodType:
		return "period %s is %s, and data set %s is %s in DHIS2", "give a period of the data set's type"
	case dataSetEmpty:
		return "data set %s has no data elements in DHIS2 that the account may see", "add the data elements to the data set, and share them with the account (view metadata), in DHIS2"
	case dataSetNotAssigned:
		return "data set %s is assigned to no org unit in DHIS2", "assign the data set to the org units that report, in DHIS2"
	case inputPeriodsInverted:
		return "DHIS2 %s tests input periods the wrong way round: it refuses what is open (E8030) and takes what is closed; the mediator goes by the dates of data set %s", "update DHIS2 to a version after 2.43.1"
	case zerosNotKept:
		return "DHIS2 %s stores none of these zeros, as zero is not significant for their data elements", "tick \"store zero data values\" on those data elements whose zeros are wanted"
	default:
		return k.orgUnitWords()
	}
}

func (k check) orgUnitWords() (text, remedy string) {
	switch k {
	case orgUnitUnknown:
		return "DHIS2 has no org unit %s that the account may see", "check the id on the CHT's place (dhis.orgUnit), or rename it with org_units_file"
	case orgUnitNotAssigned:
		return "data set %s is not assigned to org unit %s", "assign it in DHIS2, or leave the org unit out with exclude_org_units"
	case orgUnitOutside:
		return "org unit %s is not among those for which the account may capture data", "give the account a data capture org unit above it, in DHIS2"
	case orgUnitNotOpenYet:
		return "org unit %s opens on %s, after period %s begins", "correct its opening date in DHIS2, or leave the org unit out with exclude_org_units"
	case orgUnitClosed:
		return "org unit %s closed on %s, before period %s begins", "correct its closed date in DHIS2, or leave the org unit out with exclude_org_units"
	case periodExpired:
		return "period %s is locked: data set %s takes it for %d days after its end, and by the clock of DHIS2 it is %s", "ask for a lock exception for the org unit, or raise the expiry days of the data set, in DHIS2"
	case periodTooEarly:
		return "period %s is not open yet: by the clock of DHIS2 it is %s, and the last open period of data set %s is %s", "send it later, or raise the open future periods of the data set in DHIS2"
	case inputPeriodAbsent:
		return "period %s is none of the input periods of data set %s", "add it to the data set's input periods in DHIS2"
	case inputPeriodClosed:
		return "period %s of data set %s is not open: its input period is from %s to %s, and by the clock of DHIS2 it is %s", "send it in that time, or change the data set's input periods in DHIS2"
	case dataApproved:
		return "the data of this org unit and period is approved in DHIS2 (%s)", "take the approval back in DHIS2 and send again, or let it stand"
	default:
		return k.valueWords()
	}
}

func (k check) valueWords() (text, remedy string) {
	switch k {
	case elementNotInDataSet:
		return "data element %s is not in data set %s", "add it to the data set in DHIS2, or leave it out with exclude_data_elements"
	case comboMissing:
		return "data element %s is disaggregated by %s in DHIS2, and the value names no category option combo", "name it on the CHT's target (dhis.categoryOptionCombo), or leave the data element out with exclude_data_elements"
	case comboUnexpected:
		return "data element %s is not disaggregated in DHIS2, and the value has category option combo %s", "take the combo away from the CHT's target (dhis.categoryOptionCombo), or disaggregate the data element in DHIS2"
	case comboWrong:
		return "category option combo %s is none of those of data element %s in data set %s", "correct it on the CHT's target (dhis.categoryOptionCombo), or rename it with rename_combos"
	case comboNotWritable:
		return "the account may not write data of category option combo %s: %s", "share these category options with the account (capture data) in DHIS2"
	case attributeComboWrong:
		return "data set %s does not take %s", "set attribute_option_combo of the data set, or dhis.attributeOptionCombo of the CHT's target, to one of the data set's category combo"
	case attributeComboForbidden:
		return "the account may not write data of attribute option combo %s: %s", "share these category options with the account (capture data) in DHIS2"
	case valueMissing:
		return "there is no value for data element %s", whoRunsCHT
	case valueType:
		return "the value %.60q does not fit data element %s, which is %s", "check which target feeds this data element, or change its value type in DHIS2"
	case valueTooLong:
		return "the value has %d characters, and DHIS2 takes %d", "shorten it at its source"
	case valueNoOption:
		return "the value %.60q is no option of data element %s", "check which target feeds this data element, or add the option in DHIS2"
	case commentTooLong:
		return "the comment has %d characters, and DHIS2 takes %d", "shorten dhis.comment of the CHT's target"
	case cellTwice:
		return "there are several values for this cell, and nobody can say which one is right", "none of them is sent; " + whoRunsCHT + ", whose export should have one value a cell"
	default:
		return string(k), ""
	}
}

// scope is what a check is about.
func (k check) scope() Scope {
	switch k {
	case elementNotInDataSet, comboMissing, comboUnexpected, comboWrong, comboNotWritable, attributeComboWrong, attributeComboForbidden:
		return OneElement
	case valueMissing, valueType, valueTooLong, valueNoOption, commentTooLong, cellTwice:
		return OneCell
	default:
		return OneOrgUnit
	}
}

// locks says whether the check finds that something takes nothing now.
func (k check) locks() bool {
	switch k {
	case periodExpired, periodTooEarly, inputPeriodAbsent, inputPeriodClosed, dataApproved:
		return true
	default:
		return false
	}
}

// finding tells what the check found.
func (k check) finding(args ...any) *Finding {
	text, remedy := k.words()
	if len(args) > 0 {
		text = fmt.Sprintf(text, args...)
	}
	return &Finding{Code: string(k), Scope: k.scope(), Text: text, Remedy: remedy, Locks: k.locks()}
}

// issue tells what the check found about the whole.
func (k check) issue(severity issue.Severity, count int, args ...any) issue.Issue {
	f := k.finding(args...)
	return issue.Issue{Code: f.Code, Severity: severity, Count: count, Text: f.Text, Remedy: f.Remedy}
}
