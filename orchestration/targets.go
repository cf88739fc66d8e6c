package orchestration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/target"
)

// A month of target documents is read in steps, each of which leaves what it read in the ledger: which documents there are and which of
// them have changed, those alone, and the contacts to whom they belong. What is added up then is all that is remembered of the month,
// owner by owner, so that a month of any size passes through; and whoever does a step again after a crash finds it half done.

const (
	// usualFullReadDays is after how many days all documents are read in full again, unless set otherwise.
	usualFullReadDays = 7
	// mostlyChanged is how many documents must have changed, and more than half of them, before all are read by pages.
	mostlyChanged = 1000
	// staleDays is how many days before the end of a month a document that has not changed since is stale.
	staleDays = 7
)

// itemsOf gives the items by which a data set is added up: its own, or those of the CHT's settings, with the lists that the export
// leaves out.
func itemsOf(set *DataSet, settings *cht.Settings) []target.Item {
	if len(set.Targets.Items) > 0 {
		return set.Targets.Items
	}
	var items []target.Item
	for _, t := range settings.Targets {
		if t.For(set.ID) {
			items = append(items, target.Item{Target: t.ID, DataElement: t.DataElement, CategoryOptionCombo: t.CategoryOptionCombo, AttributeOptionCombo: t.AttributeOptionCombo})
		}
	}
	return items
}

// strangersOf finds the targets of targets_file that the CHT's settings do not have. Of several sources one may have what another has not.
func strangersOf(set *DataSet, settings *cht.Settings) map[string]bool {
	if len(set.CHT) > 1 {
		return nil
	}
	strangers := map[string]bool{}
	for _, item := range set.Targets.Items {
		strangers[item.Target] = true
	}
	for _, t := range slices.Concat(settings.Targets, settings.Undirected) {
		delete(strangers, t.ID)
	}
	return strangers
}

// plainCombos writes the default combo of items in one way, by leaving it out: what one target says with it and another without is one
// cell, and adds up.
func plainCombos(items []target.Item, defaultCombo string) []target.Item {
	items = slices.Clone(items)
	for i := range items {
		for _, combo := range []*string{&items[i].CategoryOptionCombo, &items[i].AttributeOptionCombo} {
			if *combo == dhis2.DefaultCombo || *combo == defaultCombo {
				*combo = ""
			}
		}
	}
	return items
}

// bySource makes a plan ready for the settings of its source, and gives those that matter to what the CHT's export adds up itself: of
// target documents, that is nothing. But a percent target gives its denominator here as well, where nobody has said what it is to give.
// The default combo is that of DHIS2, and empty where it was not asked.
func (p *Plan) bySource(settings *cht.Settings, defaultCombo string) *cht.Settings {
	if !p.set.FromTargets {
		return settings
	}
	exported := *settings
	exported.Targets, exported.Undirected = nil, nil
	if len(p.set.Targets.Items) == 0 {
		for _, t := range settings.Targets {
			if t.Type == "percent" { // alone, and without the combos, which stay apart here
				exported.Targets = append(exported.Targets, cht.Target{ID: t.ID, Type: t.Type, DataSet: t.DataSet, DataElement: t.DataElement})
			}
		}
	}
	p.strangers = strangersOf(&p.set, settings)
	p.set.Targets.Items = plainCombos(itemsOf(&p.set, settings), defaultCombo)
	for _, item := range p.set.Targets.Items {
		if item.Measure == target.Percent {
			p.set.Rules.Percents = append(p.set.Rules.Percents, item.DataElement)
		}
	}
	p.calendar = settings
	return &exported
}

// targetReading reads the target documents of a period.
type targetReading struct {
	*Plan

	submitter *Submitter
	store     *ledger.Ledger
	key       *target.Hasher
	// numbers are those of the names of targets, names the other way round.
	numbers map[string]int
	names   []string
	places  []target.Place
	// owners are those that are remembered or were seen; unknown and old are the ids of those to look at.
	owners       map[target.ID]knownOwner
	unknown, old []string
	// expected are those who are expected to sync.
	expected []target.ID
	done     int
	read     []readMonth
}

// knownOwner is what is known of an owner while documents are read.
type knownOwner struct {
	revision     ledger.Revision
	isNew, isOld bool
	isSeen       bool
}

// readMonth is what came of reading a month.
type readMonth struct {
	ledger.TargetMonth

	documents int
	proof     ledger.TargetProof
}

// readTargets reads the target documents of a period, and adds them up into the gathering.
func (s *Submitter) readTargets(ctx context.Context, p *Plan, rules *mapping.Mapping, g *gathering) error {
	store, done, err := s.targetStore(ctx)
	if err != nil {
		return err
	}
	defer done()
	r := &targetReading{Plan: p, submitter: s, store: store}
	if err := r.checkTypes(); err != nil {
		return err
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	if err := r.readPlaces(ctx); err != nil {
		return err
	}
	if p.set.Coverage.On {
		err := r.expect(ctx)
		if err := p.without(ctx, err); err != nil {
			return err
		}
		if err != nil { // what is known of a part would pass for the whole
			p.set.Coverage.On, r.expected = false, nil
		}
	}
	for _, month := range monthsOf(p.period) {
		if err := r.readMonth(ctx, month); err != nil {
			return err
		}
	}
	if err := r.readOwners(ctx); err != nil {
		return err
	}
	if p.sum, err = r.add(ctx); err != nil {
		return err
	}
	for _, month := range r.read {
		if month.documents == 0 {
			g.silent = append(g.silent, month.Month)
		}
	}
	return r.give(p.sum, rules, g)
}

// checkTypes looks whether the CHT has the contact type for which documents count. Older settings do not tell any.
func (r *targetReading) checkTypes() error {
	level := r.set.Targets.Level
	known := r.contactTypes()
	if level == "" || len(known) == 0 || slices.Contains(known, level) {
		return nil
	}
	return &cht.Error{
		Doing: "find the places at which documents count", Kind: cht.Refused, What: "the CHT has no contact type " + level,
		Remedy: "correct attribution of the data set; the CHT's settings have " + strings.Join(known, ", "),
	}
}

func (r *targetReading) contactTypes() []string {
	var known []string
	for _, t := range r.calendar.ContactTypes {
		known = append(known, t.ID)
	}
	return known
}

// targetStore is the ledger, or one for this once where there is none.
func (s *Submitter) targetStore(ctx context.Context) (store *ledger.Ledger, done func(), err error) {
	if s.Ledger != nil {
		return s.Ledger, func() {}, nil
	}
	const name = "mediator-targets-"
	s.removeOld(filepath.Join(cmp.Or(s.SpoolDir, os.TempDir()), name+"*"))
	dir, err := os.MkdirTemp(s.SpoolDir, name)
	if err != nil {
		return nil, nil, fmt.Errorf("make a folder for target documents: %w", err)
	}
	store, err = ledger.Open(ctx, ledger.Config{Dir: dir, Now: s.Now})
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return store, func() { _ = errors.Join(store.Close(), os.RemoveAll(dir)) }, nil
}

// removeOld removes what a process that was killed has left behind.
func (*Submitter) removeOld(pattern string) {
	const old = 24 * time.Hour
	found, _ := filepath.Glob(pattern) // the pattern is a good one
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > old {
			_ = os.RemoveAll(path)
		}
	}
}

// begin takes in what is remembered of the CHT.
func (r *targetReading) begin(ctx context.Context) (err error) {
	key, err := r.store.TargetKey(ctx)
	if err != nil {
		return err
	}
	r.key = key.Hasher()
	if err := r.store.TargetServer(ctx, r.from.Name, r.key.Of(r.from.Client.Server())); err != nil {
		return err
	}
	names, err := r.store.TargetNames(ctx, r.from.Name)
	if err != nil {
		return err
	}
	r.know(names)
	r.owners = map[target.ID]knownOwner{}
	now := r.submitter.now()
	return r.store.TargetOwners(ctx, ledger.TargetMonth{CHT: r.from.Name}, func(o ledger.TargetOwner) error {
		r.owners[o.ID] = knownOwner{revision: o.Revision, isOld: isOld(now.Sub(o.CheckedAt), r.from.HierarchyAge)}
		return nil
	})
}

// isOld says that what is known is too old. What is known from a time to come is of a clock that was wrong, and nobody knows how old.
func isOld(age, limit time.Duration) bool { return age < 0 || age >= limit }

func (r *targetReading) know(names []string) {
	r.names, r.numbers = names, make(map[string]int, len(names))
	for number, name := range names {
		r.numbers[name] = number
	}
}

// readPlaces reads the places that carry an org unit.
func (r *targetReading) readPlaces(ctx context.Context) error {
	found := false
	err := r.from.Client.Places(r.evidence.call(ctx, "Read the places with an org unit from CHT "+r.from.Name), func(c *cht.Contact) error {
		place := target.Place{ID: r.key.Of(c.ID), Type: c.Type}
		for _, o := range c.OrgUnits {
			place.OrgUnits = append(place.OrgUnits, target.OrgUnit{ID: o.ID, DataSet: o.DataSet})
			found = found || o.For(r.set.ID)
		}
		r.places = append(r.places, place)
		return nil
	})
	if err == nil && !found {
		err = r.unusable("no place of the CHT carries an org unit of this data set", "set dhis.orgUnit on the places, and check the data set's id")
	}
	return err
}

// unusable is an answer from which no figure can be made.
func (r *targetReading) unusable(what, remedy string) error {
	return &cht.Error{Doing: fmt.Sprintf("read %s of data set %s from the CHT's target documents", r.period, r.set.ID), Kind: cht.Unusable, What: what, Remedy: remedy}
}

// readMonth brings what is remembered of a month up to date.
func (r *targetReading) readMonth(ctx context.Context, month cht.Month) error {
	at := readMonth{TargetMonth: ledger.TargetMonth{CHT: r.from.Name, Month: month.String()}}
	known, full, err := r.store.TargetRevisions(ctx, at.TargetMonth)
	if err != nil {
		return err
	}
	days := cmp.Or(r.from.FullReadDays, usualFullReadDays)
	now := r.submitter.now()
	isDue := !full.IsZero() && (now.Before(full) || !now.Before(full.AddDate(0, 0, days)))
	if len(known) > 0 && !isDue && r.request.Mode != ledger.ModeFull {
		changed, err := r.readRevisions(ctx, month, &at, known)
		if err != nil {
			return err
		}
		if len(changed) < mostlyChanged || 2*len(changed) < at.documents {
			return r.readChanged(ctx, &at, changed, known)
		}
		if known, _, err = r.store.TargetRevisions(ctx, at.TargetMonth); err != nil {
			return err
		}
	}
	return r.readAll(ctx, month, &at, known)
}

// readRevisions asks which documents there are. It gives the ids of those that have changed or are new, and leaves in known those that
// are gone.
func (r *targetReading) readRevisions(ctx context.Context, month cht.Month, at *readMonth, known map[target.ID]ledger.Revision) (changed []string, err error) {
	call := r.evidence.call(ctx, fmt.Sprintf("Ask CHT %s which target documents of %s have changed", r.from.Name, month))
	err = r.from.Client.TargetRevisions(call, month, func(id, rev string) error {
		at.documents++
		hash := r.key.Of(id)
		was, there := known[hash]
		delete(known, hash)
		if !there || was != ledger.RevisionOf(rev) {
			changed = append(changed, id)
			return nil
		}
		r.see(ownerByID(id))
		r.progress()
		return nil
	})
	return changed, err
}

// readChanged reads documents by their ids, and forgets those that are gone.
func (r *targetReading) readChanged(ctx context.Context, at *readMonth, changed []string, gone map[target.ID]ledger.Revision) error {
	b := newTargetDocuments(r, at)
	defer b.close()
	if len(changed) > 0 {
		left := make(map[target.ID]bool, len(changed))
		for _, id := range changed {
			left[r.key.Of(id)] = true
		}
		call := r.evidence.call(ctx, fmt.Sprintf("Read target documents of %s from CHT %s: %s of %s changed", at.Month, r.from.Name, openhim.Number(len(changed)), openhim.Number(at.documents)))
		err := r.from.Client.TargetDocumentsOf(call, changed, func(d *cht.TargetDocument) error {
			hash := r.key.Of(d.ID)
			delete(left, hash)
			return b.add(ctx, d, hash)
		})
		if err != nil {
			b.rescue(ctx)
			return err
		}
		at.documents -= len(left)
		for id := range left { // they went after they were listed
			gone[id] = ledger.Revision{}
		}
	}
	return b.end(ctx, gone)
}

// readAll reads all documents of a month, and proves what is remembered of them.
func (r *targetReading) readAll(ctx context.Context, month cht.Month, at *readMonth, known map[target.ID]ledger.Revision) error {
	b := newTargetDocuments(r, at)
	defer b.close()
	at.documents = 0
	call := r.evidence.call(ctx, fmt.Sprintf("Read all target documents of %s from CHT %s", month, r.from.Name))
	err := r.from.Client.TargetDocuments(call, month, func(d *cht.TargetDocument) error {
		at.documents++
		hash := r.key.Of(d.ID)
		delete(known, hash)
		return b.add(ctx, d, hash)
	})
	if err != nil {
		b.rescue(ctx)
		return err
	}
	if err := b.end(ctx, known); err != nil {
		return err
	}
	if at.proof.Documents > 0 {
		r.submitter.log(r.tally.report.ID, r.Plan.key()).WithField("month", at.Month).WithField("documents", at.proof.Documents).WithField("was", at.proof.Was).WithField("is", at.proof.Is).
			Warn("what was remembered of target documents is not what stands in them")
	}
	return r.store.TargetMonthReadInFull(ctx, at.TargetMonth)
}

func (r *targetReading) progress() {
	if r.done%progressEvery == 0 {
		r.submitter.watch(Progress{Step: "fetch", Done: r.done})
	}
	r.done++
}

// targetDocuments gathers documents to remember.
type targetDocuments struct {
	*shelf

	reading *targetReading
	at      *readMonth
	one     ledger.TargetDocument
}

func newTargetDocuments(r *targetReading, at *readMonth) *targetDocuments {
	return &targetDocuments{reading: r, at: at, shelf: &shelf{dir: r.submitter.SpoolDir, save: func(ctx context.Context, packed []byte) error {
		proof, err := r.store.SaveTargetDocuments(ctx, at.TargetMonth, packed)
		at.proof.Add(proof)
		return err
	}}}
}

// add takes a document in, with the hash of its id.
func (b *targetDocuments) add(ctx context.Context, d *cht.TargetDocument, id target.ID) error {
	b.reading.progress()
	if err := b.reading.fill(ctx, &b.one, d, id); err != nil {
		return err
	}
	return b.shelf.add(ctx, b.one.Slot(), b.one.Append)
}

// end remembers the rest, and forgets what is gone.
func (b *targetDocuments) end(ctx context.Context, gone map[target.ID]ledger.Revision) error {
	if err := b.flush(ctx); err != nil {
		return err
	}
	if len(gone) > 0 {
		if err := b.reading.store.ForgetTargetDocuments(ctx, b.at.TargetMonth, slices.Collect(maps.Keys(gone))); err != nil {
			return err
		}
	}
	b.reading.read = append(b.reading.read, *b.at)
	return nil
}

// ownerByID reads the owner's id from a document's, and gives that one's where there is none in it.
func ownerByID(document string) string {
	if owner, ok := cht.OwnerOf(document); ok {
		return owner
	}
	return document
}

// fill makes of a document what is remembered of it, in the place of another one.
func (r *targetReading) fill(ctx context.Context, to *ledger.TargetDocument, d *cht.TargetDocument, id target.ID) error {
	byID := ownerByID(d.ID)
	owner := d.Owner
	if d.Malformed != "" || owner == "" {
		owner = byID
	}
	to.Owner, to.Revision = r.see(owner), ledger.RevisionOf(d.Rev)
	to.Named = to.Owner
	if owner != byID {
		to.Named, to.Revision = r.key.Of(byID), ledger.Revision{} // it is read each time, as its id does not tell to whom it belongs
	}
	to.ID, to.Malformed, to.Updated = id, d.Malformed != "", 0
	if !d.Updated.IsZero() {
		to.Updated = dayOf(d.Updated)
	}
	var fresh []string
	for i := range d.Targets {
		if _, known := r.numbers[d.Targets[i].ID]; !known {
			fresh = append(fresh, d.Targets[i].ID)
		}
	}
	if len(fresh) > 0 {
		names, err := r.store.AddTargetNames(ctx, r.from.Name, fresh)
		if err != nil {
			return err
		}
		r.know(names)
	}
	to.Counts = to.Counts[:0]
	for i := range d.Targets {
		t := &d.Targets[i]
		to.Counts = append(to.Counts, target.Count{Target: r.numbers[t.ID], Pass: t.Pass, Total: t.Total})
	}
	return nil
}

// dayOf counts days since 1970.
func dayOf(t time.Time) int { return int(t.Unix() / (24 * 60 * 60)) }

// see notes that an owner has a document, and that it is to be looked at where that is long ago. It gives the owner's hash.
func (r *targetReading) see(owner string) target.ID {
	hash := r.key.Of(owner)
	known, there := r.owners[hash]
	if known.isSeen {
		return hash
	}
	known.isSeen, known.isNew = true, !there
	r.owners[hash] = known
	switch {
	case known.isNew:
		r.unknown = append(r.unknown, owner)
	case known.isOld:
		r.old = append(r.old, owner)
	}
	return hash
}

// readOwners looks at the owners that are unknown, and at those that have changed since they were looked at.
func (r *targetReading) readOwners(ctx context.Context) error {
	unknown, old := r.unknown, r.old
	r.unknown, r.old = nil, nil
	if len(old) > 0 {
		var same []target.ID
		call := r.evidence.call(ctx, fmt.Sprintf("Ask CHT %s which of %s have changed", r.from.Name, counted(len(old), "worker")))
		err := r.from.Client.ContactRevisions(call, old, func(id, rev string) error {
			hash := r.key.Of(id)
			if r.owners[hash].revision != ledger.RevisionOf(rev) {
				unknown = append(unknown, id)
				return nil
			}
			same = append(same, hash)
			return nil
		})
		if err == nil {
			err = r.store.TargetOwnersChecked(ctx, r.from.Name, same)
		}
		if err != nil {
			return err
		}
	}
	r.owners = nil
	if len(unknown) == 0 {
		return nil
	}
	owners := r.ownerShelf()
	defer owners.close()
	call := r.evidence.call(ctx, fmt.Sprintf("Read where %s belong in CHT %s", counted(len(unknown), "worker"), r.from.Name))
	err := r.from.Client.Contacts(call, unknown, func(c *cht.Contact) error {
		o := r.ownerOf(c)
		return owners.add(ctx, o.Slot(), o.Append)
	})
	if err != nil {
		owners.rescue(ctx)
		return err
	}
	return owners.flush(ctx)
}

// ownerShelf gathers owners to remember.
func (r *targetReading) ownerShelf() *shelf {
	return &shelf{dir: r.submitter.SpoolDir, save: func(ctx context.Context, packed []byte) error {
		return r.store.SaveTargetOwners(ctx, r.from.Name, packed)
	}}
}

// add adds up what is remembered of the period.
func (r *targetReading) add(ctx context.Context) (*target.Sum, error) {
	names, err := r.store.TargetNames(ctx, r.from.Name)
	if err != nil {
		return nil, err
	}
	here, there := target.NewHierarchy(), target.NewHierarchy()
	places := map[target.ID]bool{}
	for _, place := range r.places {
		here.AddPlace(place)
		there.AddPlace(place)
		places[place.ID] = true
	}
	r.places = nil
	sum := target.NewSum(here, r.set.Targets, r.set.ID, names)
	sum.Against(there)
	moved := map[target.ID]bool{}
	for i, month := range monthsOf(r.period) {
		at := ledger.TargetMonth{CHT: r.from.Name, Month: month.String()}
		if i > 0 {
			sum.NextMonth()
		}
		sum.StaleBefore(dayOf(r.calendar.LastDay(month)) - staleDays)
		if err := r.store.TargetMonthRead(ctx, at); err != nil {
			return nil, err
		}
		var nowhere []target.ID
		err := r.store.TargetOwners(ctx, at, func(o ledger.TargetOwner) error {
			now, other := o.Owner, o.Owner
			if o.First != nil {
				other = *o.First
				if slices.Equal(other.Parents, now.Parents) && !places[o.ID] && !slices.ContainsFunc(now.Parents, func(id target.ID) bool { return places[id] }) {
					nowhere = append(nowhere, o.ID)
				}
			}
			if r.set.AsFirst {
				now, other = other, now
			}
			here.AddOwner(now)
			if moved[o.ID] || !slices.Equal(now.Parents, other.Parents) {
				moved[o.ID] = true
				there.AddOwner(other)
			}
			return nil
		})
		if err == nil { // what counted nowhere has not counted yet: the worker may be put where it belongs
			err = r.store.ForgetTargetFirsts(ctx, at, nowhere)
		}
		if err == nil {
			err = r.store.TargetDocuments(ctx, at, func(owner target.ID, documents []target.Document) error {
				sum.Add(owner, documents)
				if i == 0 && r.set.Coverage.On && len(r.set.Coverage.ExpectedTypes) == 0 {
					sum.Expect(owner) // as expectIn does
				}
				return nil
			})
		}
		if err == nil && i == 0 {
			r.expectIn(sum, nil)
		}
		if err != nil {
			return nil, err
		}
	}
	return sum, nil
}

// give takes the sums in as if they had been exported.
func (r *targetReading) give(sum *target.Sum, rules *mapping.Mapping, g *gathering) error {
	values := 0
	partly := r.partly(sum)
	err := sum.Values(func(v *cht.Value) error {
		values++
		g.stranger = partly[[3]string{v.DataElement.Text, v.CategoryOptionCombo.Text, v.AttributeOptionCombo.Text}]
		return g.take(v, rules)
	})
	g.stranger = ""
	if err != nil {
		return err
	}
	found := sum.Findings()
	g.found = r.issues(&found)
	err = sum.TooLarge(func(cell target.Cell) error {
		// It stays behind under its own name, as a number that nobody can read exactly.
		v := cht.Value{
			Index: values, OrgUnit: idField(cell.OrgUnit), DataElement: idField(cell.Item.DataElement), CategoryOptionCombo: idField(cell.Item.CategoryOptionCombo),
			AttributeOptionCombo: idField(cell.Item.AttributeOptionCombo), Value: cht.Field{Kind: cht.Number, Text: "9007199254740993"},
		}
		values++
		return g.take(&v, rules)
	})
	if err != nil {
		return err
	}
	if values == 0 {
		return r.nothing(&found)
	}
	return nil
}

// partly finds the cells to which a target belongs that neither the CHT's settings nor any document has, as after a slip of the pen in
// targets_file: what the other targets of the cell add up to is not what the cell is for. A target that was taken out of the settings
// is still in the documents of before.
func (r *targetReading) partly(sum *target.Sum) map[[3]string]string {
	if len(r.strangers) == 0 {
		return nil
	}
	cells, found := map[[3]string]string{}, sum.Findings()
	for i, item := range r.set.Targets.Items {
		if r.strangers[item.Target] && found.Missing[i] == found.OwnerMonths {
			cells[[3]string{item.DataElement, item.CategoryOptionCombo, item.AttributeOptionCombo}] = item.Target
		}
	}
	return cells
}

// idField is an id as it stands in an export.
func idField(id string) cht.Field {
	if id == "" {
		return cht.Field{}
	}
	return cht.Field{Kind: cht.String, Text: id}
}

// nothing says why there is no value at all.
func (r *targetReading) nothing(f *target.Findings) error {
	documents := 0
	for _, month := range r.read {
		documents += month.documents
	}
	switch {
	case len(r.set.Targets.Items) == 0:
		return &cht.Error{
			Doing: "look up the targets of data set " + r.set.ID, Kind: cht.Refused, What: "no target feeds the data set",
			Remedy: "give targets a dhis.dataElement in the CHT's settings, or name them in targets_file",
		}
	case documents == 0:
		return r.unusable("the answer has no value at all: there is no target document of that time, so nobody has synced",
			"wait until phones have synced; check that targets are enabled in the CHT and that the period is one in which it was in use")
	default:
		return r.unusable(fmt.Sprintf("the answer has no value at all: of %s, %d count for no org unit, as the worker has none, is gone or unknown, %d are malformed, %d are left out by contact type, and %d have none of the targets",
			counted(documents, "target document"), f.WithoutOrgUnit.Documents+f.Gone.Documents+f.Unknown.Documents, f.Malformed.Total, f.Excluded.Documents, f.Documents),
			"check dhis.orgUnit of the places above the workers, attribution and exclude_contact_types of the data set, and the ids of the targets")
	}
}
