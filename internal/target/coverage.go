package target

// Coverage tells how many of those who work for an org unit were heard of.
type Coverage struct {
	OrgUnit string
	// Expected are the owners expected to report whose documents would count for the org unit; 0 everywhere where nobody was
	// expected, which the Findings tell apart. Reported are those of them with a document that counts, Seen all owners with one,
	// expected or not. In a period of several months they are those of the month with the fewest.
	Expected, Reported, Seen int
	// Documents are those that count, of all months.
	Documents int
	// Oldest is the day on which the oldest of them changed last, in days since 1970; 0 is not known. Stale are how many of them
	// changed last before the day that StaleBefore set.
	Oldest, Stale int
	// Missing tells for each item how many of the owners seen have no document with its target: in a period of several months
	// those of the month with the most. It is not zero: a phone that is not yet updated cannot count a new target.
	Missing []int
}

// unit is what is known of the coverage of an org unit: of this month seen and reported, of those before the least of both.
type unit struct {
	expected                    int32
	seen, reported              int32
	leastSeen, leastReported    int32
	documents, stale, oldestDay int32
}

// see takes the portion of one more owner.
func (u *unit) see(p *portion, reported bool) {
	u.seen++
	if reported {
		u.reported++
	}
	u.documents += int32(p.count)                             //nolint:gosec // Few documents of one owner.
	u.stale += int32(p.stale)                                 //nolint:gosec // Few documents of one owner.
	u.oldestDay = int32(earlier(int(u.oldestDay), p.updated)) //nolint:gosec // Days.
}

// least gives the numbers of the month with the fewest, this one included.
func (u *unit) least(month int) (seen, reported int32) {
	if month == 0 {
		return u.seen, u.reported
	}
	return min(u.leastSeen, u.seen), min(u.leastReported, u.reported)
}

func (u *unit) turn(month int) {
	u.leastSeen, u.leastReported = u.least(month)
	u.seen, u.reported = 0, 0
}

// Expect says that an owner is expected to report. It is for the first month, before or after what is added; for the owner twice is
// the same as once, and those of types that do not count are nowhere expected.
func (s *Sum) Expect(owner ID) {
	n, r, known := s.owner(owner)
	switch {
	case s.month > 0:
		s.err = errLateExpected
		return
	case known && s.excluded[r.kind]:
		return
	case !known:
		if !s.nobody[owner] {
			s.nobody[owner] = true
			s.found.ExpectedOwners++
			s.found.ExpectedNowhere.add(owner)
		}
		return
	case !s.expected.add(n):
		return
	}
	s.found.ExpectedOwners++
	var units []uint32
	if r.kind != gone {
		units = s.here.of(r.line)
	}
	if len(units) == 0 {
		s.found.ExpectedNowhere.add(owner)
	}
	for _, u := range units {
		s.units[u].expected++
		if s.seen.has(n) {
			s.units[u].reported++
		}
	}
}

// Coverage gives the coverage of all org units that places carry for the data set, in their order, those without a document
// included. An error of yield ends it and is returned.
func (s *Sum) Coverage(yield func(Coverage) error) error {
	if err := s.failed(); err != nil {
		return err
	}
	for n, orgUnit := range s.orgUnits {
		u := &s.units[n]
		seen, reported := u.least(s.month)
		c := Coverage{
			OrgUnit: orgUnit, Expected: int(u.expected), Reported: int(reported), Seen: int(seen),
			Documents: int(u.documents), Oldest: int(u.oldestDay), Stale: int(u.stale), Missing: make([]int, len(s.items)),
		}
		for i := range c.Missing {
			at := n*len(s.items) + i
			c.Missing[i] = int(s.missing[at])
			if s.month > 0 {
				c.Missing[i] = int(max(s.missing[at], s.mostMissing[at]))
			}
		}
		if err := yield(c); err != nil {
			return err
		}
	}
	return nil
}
