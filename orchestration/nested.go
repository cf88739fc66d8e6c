package orchestration

// NestedPolicy is what is done with an org unit inside of which others are sent: DHIS2 adds those up itself, and would count them
// twice.
type NestedPolicy string

// The policies for nested org units. The zero one lets the outer ones stay behind.
const (
	// LowestNested leaves the outer ones out by rule.
	LowestNested NestedPolicy = "lowest"
	// AllowNested sends them.
	AllowNested NestedPolicy = "allow"
)
