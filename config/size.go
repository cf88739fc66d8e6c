package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Size is a number of bytes, written as 512MB or 1048576.
type Size int64

var (
	sizeForm  = regexp.MustCompile(`(?i)^\s*(\d{1,12})\s*(?:([KMGT])i?)?B?\s*$`)
	sizeUnits = []string{"", "K", "M", "G", "T"}
)

// UnmarshalText reads a size. A kilobyte has 1024 bytes.
func (s *Size) UnmarshalText(text []byte) error {
	parts := sizeForm.FindStringSubmatch(string(text))
	if parts == nil {
		return fmt.Errorf("%q is no size: write it as 512MB", text)
	}
	n, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return err
	}
	for _, unit := range sizeUnits {
		if unit == strings.ToUpper(parts[2]) {
			break
		}
		if n > math.MaxInt64/1024 {
			return fmt.Errorf("%q is too large a size", text)
		}
		n *= 1024
	}
	if n <= 0 {
		return fmt.Errorf("%q is no size: it must be more than nothing", text)
	}
	*s = Size(n)
	return nil
}

// String writes the size in the largest unit in which it is whole.
func (s Size) String() string {
	n, unit := int64(s), 0
	for n != 0 && n%1024 == 0 && unit < len(sizeUnits)-1 {
		n, unit = n/1024, unit+1
	}
	return fmt.Sprintf("%d%sB", n, sizeUnits[unit])
}
