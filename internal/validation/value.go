package validation

import (
	"strconv"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// How many characters DHIS2 takes. Up to 2.42 a comment may be as long as a value.
const (
	longestValue           = 50000
	longestComment         = 50000
	longestSetBasedComment = 5000
)

// content says why a value cannot be sent where it is to go.
func (c *Checks) content(e *element, v *mapping.Value) *Finding {
	if v.Comment != "" {
		if length := characters(v.Comment, c.longestComment); length > c.longestComment {
			return commentTooLong.finding(length, c.longestComment)
		}
	}
	value := v.Value
	if value == "" {
		return c.empty(e, v)
	}
	if length := characters(value, longestValue); length > longestValue {
		return valueTooLong.finding(length, longestValue)
	}
	if c.setBased && e.whole {
		value = withoutZeros(value)
	}
	if e.fits != nil && !e.fits(value) {
		return valueType.finding(v.Value, e.title(), e.ValueType)
	}
	if e.Options != nil && !e.Options[value] {
		return valueNoOption.finding(v.Value, e.title())
	}
	return nil
}

// empty judges a value of no characters, for which a comment may stand: always up to 2.42, and later where the data set
// asks for one.
func (c *Checks) empty(e *element, v *mapping.Value) *Finding {
	if v.Comment != "" && (!c.setBased || c.facts.Set.NoValueRequiresComment) {
		return nil
	}
	return valueMissing.finding(e.title())
}

// characters counts as Java does, in units of UTF-16, and no further than it takes to know that there are too many.
func characters(text string, most int) int {
	if len(text) <= most {
		return len(text)
	}
	count := 0
	for _, r := range text {
		if count++; r >= 1<<16 {
			count++
		}
	}
	return count
}

// withoutZeros turns 5.0 into 5, as 2.43 and later do for whole numbers.
func withoutZeros(value string) string {
	whole, zeros, found := strings.Cut(value, ".")
	if !found || zeros == "" || strings.Trim(zeros, "0") != "" {
		return value
	}
	return whole
}

// fitting gives the test of a value type; nil is one that takes any text, or one that only DHIS2 can judge: for those it
// refuses a bad value alone.
func fitting(valueType string, dialect dhis2.Dialect) func(string) bool {
	switch valueType {
	case "INTEGER":
		return func(v string) bool { _, ok := whole(v); return ok }
	case "INTEGER_POSITIVE":
		return func(v string) bool { n, ok := whole(v); return ok && n > 0 }
	case "INTEGER_NEGATIVE":
		return func(v string) bool { n, ok := whole(v); return ok && n < 0 }
	case "INTEGER_ZERO_OR_POSITIVE":
		return func(v string) bool { n, ok := whole(v); return ok && n >= 0 }
	case "NUMBER":
		return isNumber
	case "PERCENTAGE":
		return func(v string) bool { return isNumber(v) && within(v, 100) }
	case "UNIT_INTERVAL":
		return func(v string) bool { return isNumber(v) && within(v, 1) }
	case "BOOLEAN":
		if dialect == dhis2.Legacy {
			return func(v string) bool { return oneOf(v, "true", "false", "1", "0", "t", "f") }
		}
		return func(v string) bool { return oneOf(v, "true", "false", "1", "0", "t", "f", "yes", "no", "y", "n") }
	case "TRUE_ONLY":
		return func(v string) bool { return v == "true" }
	case "DATE":
		return func(v string) bool { _, err := time.Parse(time.DateOnly, v); return err == nil }
	default:
		return nil
	}
}

// isNumeric says whether a value type is one of numbers.
func isNumeric(valueType string) bool {
	switch valueType {
	case "NUMBER", "PERCENTAGE", "UNIT_INTERVAL":
		return true
	default:
		return isWhole(valueType)
	}
}

// isWhole says whether a value type is one of whole numbers.
func isWhole(valueType string) bool { return strings.HasPrefix(valueType, "INTEGER") }

// whole reads an integer as DHIS2 takes it: of 32 bits, without a plus, leading zeros or a minus before zero.
func whole(v string) (int64, bool) {
	digits := strings.TrimPrefix(v, "-")
	if digits == "" || digits[0] == '+' || digits[0] == '0' && v != "0" {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 32)
	return n, err == nil
}

// isNumber says whether DHIS2 takes a text as a number: no exponent, no leading zeros, a point as decimal sign.
func isNumber(v string) bool {
	units, decimals, hasPoint := strings.Cut(strings.TrimPrefix(v, "-"), ".")
	return isDigits(units) && (units[0] != '0' || len(units) == 1) && (!hasPoint || isDigits(decimals))
}

func isDigits(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return text != ""
}

// within says whether a number lies between 0 and most.
func within(v string, most float64) bool {
	n, err := strconv.ParseFloat(v, 64)
	return err == nil && n >= 0 && n <= most
}

func oneOf(v string, words ...string) bool {
	for _, word := range words {
		if strings.EqualFold(v, word) {
			return true
		}
	}
	return false
}

// isZero says whether DHIS2 takes a text for zero.
func isZero(v string) bool {
	return v == "0" || strings.HasPrefix(v, "0.") && strings.Trim(v[len("0."):], "0") == ""
}
