package sandbox

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The texts that are numbers to DHIS2.
var (
	dhis2Integer = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)
	dhis2Number  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)
	dhis2Zeroes  = regexp.MustCompile(`^(-?[0-9]+)\.0+$`)
)

// wrongValue says in DHIS2's word why the value does not fit its type, empty when it does.
func wrongValue(value, valueType string) string {
	integer := func(word string, fits func(int64) bool) string {
		number, err := strconv.ParseInt(value, 10, 32)
		if !dhis2Integer.MatchString(value) || err != nil || !fits(number) {
			return word
		}
		return ""
	}
	number := func(word string, low, high float64) string {
		number, err := strconv.ParseFloat(value, 64)
		if !dhis2Number.MatchString(value) || err != nil || number < low || number > high {
			return word
		}
		return ""
	}
	switch valueType {
	case "INTEGER":
		return integer("value_not_integer", func(int64) bool { return true })
	case "INTEGER_POSITIVE":
		return integer("value_not_positive_integer", func(n int64) bool { return n > 0 })
	case "INTEGER_NEGATIVE":
		return integer("value_not_negative_integer", func(n int64) bool { return n < 0 })
	case "INTEGER_ZERO_OR_POSITIVE":
		return integer("value_not_zero_or_positive_integer", func(n int64) bool { return n >= 0 })
	case "NUMBER":
		return number("value_not_numeric", math.Inf(-1), math.Inf(1))
	case "PERCENTAGE":
		return number("value_not_percentage", 0, 100)
	case "UNIT_INTERVAL":
		return number("value_not_unit_interval", 0, 1)
	}
	return wrongText(value, valueType)
}

// wrongText says why a value of a type that is no number does not fit it.
func wrongText(value, valueType string) string {
	switch valueType {
	case "BOOLEAN":
		if !strings.Contains(" true false 1 0 t f ", " "+strings.ToLower(value)+" ") {
			return "value_not_bool"
		}
	case "TRUE_ONLY":
		if value != "true" && value != "1" {
			return "value_not_true_only"
		}
	case "DATE":
		if _, err := time.Parse(time.DateOnly, value); err != nil {
			return "value_not_valid_date"
		}
	}
	if len(value) > 50000 {
		return "value_length_greater_than_max_length"
	}
	return ""
}

// valueWords gives what DHIS2 up to 2.42 says for its word. It has nothing better for some.
func valueWords(word string) string {
	switch word {
	case "value_not_integer":
		return "Data value is not an integer"
	case "value_not_positive_integer":
		return "Data value is not a positive integer"
	case "value_not_negative_integer":
		return "Data value is not a negative integer"
	case "value_not_numeric":
		return "Data value is not numeric"
	case "value_not_percentage":
		return "Data value is not a percentage"
	case "value_not_unit_interval":
		return "Data value is not a unit interval"
	case "value_not_bool":
		return "Data value is not a boolean"
	case "value_not_true_only":
		return "Data value is not true only"
	case "value_length_greater_than_max_length":
		return "Data value length greater than max length"
	}
	return word
}

// insignificantZero tells whether the value is a zero that DHIS2 up to 2.42 does not store.
func insignificantZero(element *dhis2Element, value string) bool {
	switch element.ValueType {
	case "INTEGER", "INTEGER_POSITIVE", "INTEGER_NEGATIVE", "INTEGER_ZERO_OR_POSITIVE", "NUMBER", "PERCENTAGE", "UNIT_INTERVAL":
		number, err := strconv.ParseFloat(value, 64)
		return err == nil && number == 0 && !element.ZeroIsSignificant &&
			element.AggregationType != "AVERAGE" && element.AggregationType != "AVERAGE_SUM_ORG_UNIT"
	}
	return false
}
