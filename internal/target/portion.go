package target

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// Amount is what was counted of a target: its total where an item takes totals, its pass where it takes that, both for a percent.
type Amount struct{ Pass, Total int64 }

func (a *Amount) add(b Amount) { a.Pass, a.Total = plus(a.Pass, b.Pass), plus(a.Total, b.Total) }

// portion is what the documents of one owner and month come to.
type portion struct {
	id      ID
	updated int
	// amounts are by item, and so is had, whether there was the item's target.
	amounts []Amount
	had     []bool
	// size is the sum of the totals of the targets that items take, each once.
	size int64
	// count is how many documents there are, stale how many of them are.
	count, stale int
}

// usable reads the documents, and leaves out those that cannot be used.
func (s *Sum) usable(documents []Document) []portion {
	for len(s.read) < len(documents) {
		s.read = append(s.read, portion{amounts: make([]Amount, len(s.items)), had: make([]bool, len(s.items))})
	}
	n := 0
	for i := range documents {
		switch ok, err := s.portion(&documents[i], &s.read[n]); {
		case err != nil:
			s.err = err
			return nil
		case ok:
			n++
		default:
			s.found.Malformed.add(documents[i].ID)
		}
	}
	return s.read[:n]
}

// portion reads one document; it gives false for one that cannot be used.
func (s *Sum) portion(d *Document, p *portion) (bool, error) {
	if d.Malformed {
		return false, nil
	}
	clear(p.amounts)
	clear(p.had)
	p.id, p.updated, p.size, p.count, p.stale = d.ID, d.Updated, 0, 1, 0
	if d.Updated != 0 && d.Updated < s.staleFrom {
		p.stale = 1
	}
	usable := true
	for _, c := range d.Counts {
		if c.Target < 0 || c.Target >= len(s.byTarget) {
			return false, fmt.Errorf("target: a document has target number %d, and there are %d names", c.Target, len(s.byTarget))
		}
		items := s.byTarget[c.Target]
		if len(items) > 0 {
			p.size = plus(p.size, max(c.Total, 0))
		}
		for _, i := range items {
			var a Amount
			if s.items[i].Measure != Total {
				a.Pass = c.Pass
			}
			if s.items[i].Measure != Pass {
				a.Total = c.Total
			}
			if a.Pass < 0 || a.Total < 0 {
				usable = false
				s.found.Unread[i]++
				continue
			}
			p.had[i] = true
			p.amounts[i].add(a)
		}
	}
	return usable, nil
}

// one makes one portion of those of an owner's documents, by the rule for duplicates.
func (s *Sum) one(owner ID, all []portion) *portion {
	if len(all) == 1 {
		return &all[0]
	}
	best, identical := 0, true
	for i := range all {
		if s.compare(&all[i], &all[best]) > 0 {
			best = i
		}
		identical = identical && slices.Equal(all[i].had, all[0].had) && slices.Equal(all[i].amounts, all[0].amounts)
	}
	s.found.Duplicates.add(Duplicate{Owner: owner, Month: s.month, Documents: len(all), Identical: identical})
	p := &all[best]
	for i := range all {
		switch {
		case i == best:
		case s.here.rules.Duplicates == Together:
			p.join(&all[i])
		default:
			addAll(s.found.Duplicates.Left, all[i].amounts)
		}
	}
	return p
}

// compare orders two documents of an owner: the larger one is taken. Where nothing else tells them apart, the hash decides.
func (s *Sum) compare(a, b *portion) int {
	later, larger := cmp.Compare(a.updated, b.updated), cmp.Compare(a.size, b.size)
	if s.here.rules.Duplicates == Largest {
		later, larger = larger, later
	}
	return cmp.Or(later, larger, bytes.Compare(b.id[:], a.id[:]))
}

// join adds a further document of the same owner.
func (p *portion) join(other *portion) {
	addAll(p.amounts, other.amounts)
	for i, had := range other.had {
		p.had[i] = p.had[i] || had
	}
	p.updated = earlier(p.updated, other.updated)
	p.count += other.count
	p.stale += other.stale
}

// earlier gives the earlier of two days, of which 0 is not known.
func earlier(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

func addAll(to, amounts []Amount) {
	for i := range amounts {
		to[i].add(amounts[i])
	}
}
