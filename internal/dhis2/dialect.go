package dhis2

import (
	"fmt"
	"regexp"
	"strconv"
)

// Dialect is the way in which a server's import works and answers, named after the last or first version with it.
type Dialect string

// The dialects.
const (
	// Legacy takes value by value: a bad one is refused alone (2.38 to 2.42).
	Legacy Dialect = "2.42"
	// SetBased takes a request as a whole: most problems refuse all of it (2.43 and later).
	SetBased Dialect = "2.43"
)

var versionForm = regexp.MustCompile(`^2\.(\d{1,3})(\D|$)`)

const (
	oldestMinor   = 38
	setBasedMinor = 43
)

// DialectOf tells the dialect of a version such as "2.41.9", "2.43.1" or "2.44-SNAPSHOT". A version of another form is
// taken for a later one. It refuses versions older than 2.38.
func DialectOf(version string) (Dialect, error) {
	if version == "" {
		return "", fmt.Errorf("the server tells no version")
	}
	parts := versionForm.FindStringSubmatch(version)
	if parts == nil {
		return SetBased, nil
	}
	minor, _ := strconv.Atoi(parts[1])
	switch {
	case minor < oldestMinor:
		return "", fmt.Errorf("DHIS2 %s is older than 2.38, the first version supported", version)
	case minor < setBasedMinor:
		return Legacy, nil
	default:
		return SetBased, nil
	}
}

// ChunkSize says how many values go well into one request, and how many may at most. Up to 2.42 a request has a fixed
// cost; from 2.43 on the cost of each value rises with the size of its request (measured on 2.42.5.2 and 2.43.1).
func (d Dialect) ChunkSize() (good, most int) {
	if d == Legacy {
		return 5000, 12000
	}
	return 2000, 4000
}
