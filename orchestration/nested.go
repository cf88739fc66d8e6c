package orchestration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/validation"
)

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

const nestedCode = "nested_org_units"

// nest is what is sent inside of an org unit.
type nest struct {
	// inside are the first ones, count is how many there are.
	inside []string
	count  int
}

func (n *nest) names() string {
	text := strings.Join(n.inside, ", ")
	if n.count > len(n.inside) {
		text += fmt.Sprintf(" and %d more", n.count-len(n.inside))
	}
	return text
}

// findNests finds the org units of which something would be sent, and inside of which something else is. What an old reading of the
// metadata finds is looked at again by a new one.
func (w *settlement) findNests(ctx context.Context, g *gathering) error {
	if err := w.tellNestsOfSources(ctx, g); err != nil {
		return err
	}
	if by := w.set.Targets; w.set.FromTargets && (by.Lowest || by.Level != "") {
		if w.meet = w.ofOnePlace(); len(w.meet) == 0 {
			return nil
		}
	}
	var sends []string
	for id, whether := range g.figures {
		if whether {
			sends = append(sends, id)
		}
	}
	slices.Sort(sends)
	k := w.checking
	for _, id := range sends { // one that was assigned to the data set just now is not known yet
		if k.Checks != nil && !k.isFresh() && !k.meta.orgUnits.Has(id) {
			if _, err := k.orgUnit(ctx, id); err != nil {
				return err
			}
		}
	}
	nests, err := w.nestsAmong(ctx, g, sends)
	if err == nil && len(nests) > 0 && k.Checks != nil && !k.isFresh() {
		if err := k.again(ctx); err != nil {
			return err
		}
		nests, err = w.nestsAmong(ctx, g, sends)
	}
	if err != nil {
		return err
	}
	if w.set.Nested != AllowNested {
		w.nests = nests
		return nil
	}
	if len(nests) > 0 {
		outer := slices.Sorted(maps.Keys(nests))
		w.tally.addIssues([]issue.Issue{{
			Code: nestedCode, Severity: issue.Note, Count: len(outer),
			Text:   fmt.Sprintf("%s sent that have others inside which are sent as well: %s. DHIS2 adds these up itself, so that the totals above count them twice", are(len(outer), "org unit"), firstOf(outer)),
			Remedy: "it is so by nested_org_units of the data set; set it to refuse or lowest to send each figure once",
		}})
	}
	return nil
}

// tellNestsOfSources notes org units that are sent inside of ones of which another source has sent figures for the period, or above
// such ones. That is right where no work is in both sources, which nobody but a person can say.
func (w *settlement) tellNestsOfSources(ctx context.Context, g *gathering) error {
	store := w.checking.submitter.Ledger
	if store == nil {
		return nil
	}
	theirs := map[string]string{}
	for part, err := range store.AcceptedOfOthers(ctx, w.key()) {
		if err != nil {
			return err
		}
		figures, err := hasFigures(part)
		if err != nil {
			return err
		}
		if figures {
			theirs[part.OrgUnit] = part.CHT
		}
	}
	if len(theirs) == 0 {
		return nil
	}
	found := map[string]string{} // of ours, the nearest of theirs
	for id, sends := range g.figures {
		if above := w.checking.above(id, func(id string) bool { return theirs[id] != "" }); sends && above != "" {
			found[id] = above
		}
	}
	for id := range theirs {
		if above := w.checking.above(id, func(id string) bool { return g.figures[id] }); above != "" && (found[above] == "" || id < found[above]) {
			found[above] = id
		}
	}
	if len(found) == 0 {
		return nil
	}
	first := slices.Min(slices.Collect(maps.Keys(found)))
	w.tally.addIssues([]issue.Issue{{
		Code: "nested_org_units_of_two_sources", Severity: issue.Note, Count: len(found), OrgUnit: first,
		Text: fmt.Sprintf("%s sent that lie above or inside of org units of which another CHT has sent figures for the same period, as %s does with %s of CHT %s: DHIS2 adds these up, so that work which both count is there twice",
			are(len(found), "org unit"), first, found[first], theirs[found[first]]),
		Remedy: "make sure that no worker is in both; else leave the org unit out of one source with exclude_org_units, in a data set of its own, or take dhis.orgUnit off its place there",
	}})
	return nil
}

// above gives the nearest org unit above one of the data set of which something is so, or "".
func (k *checking) above(id string, is func(string) bool) string {
	unit, _ := k.meta.orgUnits.Get(id)
	path := unit.Path
	for at := strings.LastIndexByte(path, '/'); at > 0; at = strings.LastIndexByte(path, '/') {
		path = path[:at]
		if above := path[strings.LastIndexByte(path, '/')+1:]; is(above) {
			return above
		}
	}
	return ""
}

// are counts things as the subject of a sentence.
func are(n int, thing string) string {
	if n == 1 {
		return counted(n, thing) + " is"
	}
	return counted(n, thing) + " are"
}

// ofOnePlace gives the pairs of org units that one place carries, where each document counts at one place only: of all pairs those
// alone hold the same documents.
func (w *settlement) ofOnePlace() map[[2]string]bool {
	pairs := map[[2]string]bool{}
	if w.sum == nil {
		return pairs
	}
	for _, group := range w.sum.Findings().Several.List {
		var ids []string
		for _, id := range group {
			if id, ok := w.rules.NewOrgUnit(id); ok {
				ids = append(ids, id)
			}
		}
		for _, a := range ids {
			for _, b := range ids {
				pairs[[2]string{a, b}] = true
			}
		}
	}
	return pairs
}

// nestsAmong finds, for each of some org units, which of the others lie inside. What cannot be sent for a reason of its own plays
// no part; what is locked does, as its figures are in DHIS2 mostly.
func (w *settlement) nestsAmong(ctx context.Context, g *gathering, sends []string) (map[string]*nest, error) {
	nests := map[string]*nest{}
	k := w.checking
	for _, id := range sends {
		unit, _ := k.meta.orgUnits.Get(id)
		path := unit.Path
		for at := strings.LastIndexByte(path, '/'); at > 0; at = strings.LastIndexByte(path, '/') {
			path = path[:at]
			above := path[strings.LastIndexByte(path, '/')+1:]
			if !g.figures[above] || w.meet != nil && !w.meet[[2]string{id, above}] {
				continue
			}
			if stays, err := w.staysBehind(ctx, id); err != nil || stays {
				if err != nil {
					return nil, err
				}
				break
			}
			n := nests[above]
			if n == nil {
				n = &nest{}
				nests[above] = n
			}
			if n.count++; len(n.inside) < firstNames {
				n.inside = append(n.inside, id)
			}
		}
	}
	for id := range nests { // one that stays behind anyway is told for that
		found, err := w.wholly(ctx, id)
		if err != nil {
			return nil, err
		}
		if found != nil {
			delete(nests, id)
		}
	}
	return nests, nil
}

// wholly says why nothing of an org unit can be sent, where that is checked.
func (w *settlement) wholly(ctx context.Context, id string) (*validation.Finding, error) {
	if w.checking.Checks == nil {
		return nil, nil //nolint:nilnil // as orgUnit gives it
	}
	return w.checking.orgUnit(ctx, id)
}

func (w *settlement) staysBehind(ctx context.Context, id string) (bool, error) {
	found, err := w.wholly(ctx, id)
	return found != nil && !found.Locks, err
}

// outer settles an org unit inside of which others are sent: nothing of it goes. What DHIS2 accepted of it before stays there, and has
// not vanished.
func (w *settlement) outer(u unit, settled *mapping.Settled, n *nest) (d difference) {
	there := 0
	for i := range u.base {
		d.was += u.base[i].number()
		if !u.base[i].isZero() {
			there++
		}
	}
	d.becomes = d.was
	before := ""
	if there > 0 {
		before = fmt.Sprintf("; it holds %d values of ours there from before, with a sum of %d, which go on counting twice", there, d.was)
	}
	const leaveOut = "take dhis.orgUnit off its place in the CHT, or leave it out with exclude_org_units: the next submission then asks whether the values that are there from before are to be deleted"
	if w.set.Nested == LowestNested {
		cells := len(settled.Values) + settled.Quarantined
		*settled = mapping.Settled{Dropped: cells + settled.Dropped, Uses: settled.Uses}
		w.tally.addIssues([]issue.Issue{{
			Code: nestedCode, Severity: issue.Note, Count: cells, OrgUnit: u.orgUnit,
			Text:   fmt.Sprintf("the values of org unit %s are left out, as %s inside it are sent, which DHIS2 adds up itself; what was counted at it directly, and in none of those, is left out too%s", u.orgUnit, n.names(), before),
			Remedy: "it is so by nested_org_units of the data set; source: targets with attribution: lowest keeps what was counted directly. To have no values there at all, " + leaveOut,
		}})
		return d
	}
	f := &validation.Finding{
		Code: nestedCode, Scope: validation.OneOrgUnit,
		Text:   fmt.Sprintf("org unit %s has others inside that are sent as well: %s. DHIS2 adds these up itself, and would count them twice%s", u.orgUnit, n.names(), before),
		Remedy: leaveOut + "; or let nested_org_units of the data set be lowest, or allow where the org unit's own figures are meant to be there besides",
	}
	for _, v := range settled.Values {
		d.screened = append(d.screened, screened{v, f})
	}
	return d
}
