package orchestration

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/target"
)

// Workers tells by name whose work is not in a period, for a supervisor who goes and looks. All of it is personal: it is read from the
// CHT when somebody asks who may know, shown, and kept nowhere.
type Workers struct {
	DataSet string `json:"data_set"`
	Period  string `json:"period"`
	CHT     string `json:"cht"`
	// Missing are the expected workers of whom there is no document, in all months or in some, by org unit and name.
	Missing []Worker `json:"missing"`
	// Malformed are documents that cannot be used, or of which a number cannot that is needed. The CHT's own export of their month
	// fails, or has a sum that is no number.
	Malformed []MalformedDocument `json:"malformed"`
	// Duplicates are workers with documents of several users.
	Duplicates []Worker `json:"duplicates"`
}

// Worker is a contact who works.
type Worker struct {
	// OrgUnits are those of the nearest place that carries one of the data set, by their ids in DHIS2.
	OrgUnits []string `json:"org_units"`
	Name     string   `json:"name"`
	Contact  string   `json:"contact"`
	Type     string   `json:"type"`
	// Months are those of the period that it is about.
	Months []string `json:"months"`
	// Users are the names under which it syncs, where there are several.
	Users []string `json:"users,omitempty"`
}

// MalformedDocument is a target document that cannot be used, and why.
type MalformedDocument struct {
	Document string `json:"document"`
	Why      string `json:"why"`
}

// monthsBefore is how many months before a period tell who is expected where no contact types do.
const monthsBefore = 3

// Workers reads who has not synced for a request's data set, period and source. It reads all target documents of the period.
func (s *Submitter) Workers(ctx context.Context, r Request) (w Workers, err error) {
	who, err := s.parties(r.DataSet, r.CHT)
	if err != nil {
		return w, err
	}
	h := &headcount{parties: who, places: map[string][]string{}, seen: map[string]*heard{}, found: Workers{
		DataSet: r.DataSet, CHT: r.CHT, Missing: []Worker{}, Malformed: []MalformedDocument{}, Duplicates: []Worker{},
	}}
	p := s.newPlan(newID(), who, r)
	settings, err := s.findPeriod(ctx, p)
	if err != nil {
		return w, err
	}
	h.period = p.period
	if h.rules, err = s.mappingFor(ctx, p, settings); err != nil {
		return w, err
	}
	h.items = itemsOf(&p.set, settings)
	h.found.Period = h.period.String()
	for _, step := range [...]func(context.Context) error{h.readPlaces, h.readDocuments, h.readExpected, h.readDuplicates} {
		if err := step(ctx); err != nil {
			return w, err
		}
	}
	for _, list := range [][]Worker{h.found.Missing, h.found.Duplicates} {
		slices.SortFunc(list, func(a, b Worker) int {
			return cmp.Or(slices.Compare(a.OrgUnits, b.OrgUnits), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Contact, b.Contact))
		})
	}
	return h.found, nil
}

// headcount is the reading of who has synced, by name.
type headcount struct {
	parties

	period dhis2.Period
	rules  *mapping.Mapping
	// items are those of which numbers are needed.
	items []target.Item
	// places are the ids of the places that carry org units of the data set, with those under their new ids.
	places map[string][]string
	// seen are the owners of documents.
	seen  map[string]*heard
	found Workers
}

// heard is what came of an owner in a period: in which of its months, and under which names.
type heard struct {
	months int32
	users  []string
}

func (h *headcount) readPlaces(ctx context.Context) error {
	return h.from.Client.Places(ctx, func(c *cht.Contact) error {
		for _, o := range c.OrgUnits {
			if id, ok := h.rules.NewOrgUnit(o.ID); ok && o.For(h.set.ID) {
				h.places[c.ID] = append(h.places[c.ID], id)
			}
		}
		return nil
	})
}

func (h *headcount) readDocuments(ctx context.Context) error {
	for i, month := range monthsOf(h.period) {
		err := h.from.Client.TargetDocuments(ctx, month, func(d *cht.TargetDocument) error {
			id := d.Owner
			if d.Malformed != "" { // who wrote it has synced all the same
				h.found.Malformed = append(h.found.Malformed, MalformedDocument{strings.Clone(d.ID), d.Malformed})
				id, _ = cht.OwnerOf(d.ID)
			} else if why := h.unread(d); why != "" {
				h.found.Malformed = append(h.found.Malformed, MalformedDocument{strings.Clone(d.ID), why})
			}
			owner, there := h.seen[id]
			if !there {
				owner = &heard{}
				h.seen[strings.Clone(id)] = owner
			}
			owner.months |= 1 << i
			if _, user, ok := cutLast(d.ID, "~org.couchdb.user:"); ok && !slices.Contains(owner.users, user) {
				owner.users = append(owner.users, strings.Clone(user))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unread names the targets of which a document has a number that is needed and cannot be read; empty where there is none.
func (h *headcount) unread(d *cht.TargetDocument) string {
	var names []string
	for _, t := range d.Targets {
		isUnread := func(i target.Item) bool {
			return i.Target == t.ID && (i.Measure != target.Pass && t.Total < 0 || i.Measure != target.Total && t.Pass < 0)
		}
		if slices.ContainsFunc(h.items, isUnread) && !slices.Contains(names, t.ID) {
			names = append(names, strings.Clone(t.ID))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "no whole number from 0 on of " + strings.Join(names, ", ")
}

func cutLast(text, separator string) (before, after string, found bool) {
	at := strings.LastIndex(text, separator)
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+len(separator):], true
}

// readExpected finds those who are expected and were not heard of.
func (h *headcount) readExpected(ctx context.Context) error {
	miss := func(c *cht.Contact) error {
		if c.State != cht.Present || c.Away || slices.Contains(h.set.Targets.ExcludeTypes, c.Type) {
			return nil
		}
		heardIn := int32(0)
		if owner := h.seen[c.ID]; owner != nil {
			heardIn = owner.months
		}
		worker := h.worker(c)
		for i, month := range monthsOf(h.period) {
			if heardIn&(1<<i) == 0 {
				worker.Months = append(worker.Months, month.String())
			}
		}
		if len(worker.Months) > 0 && len(worker.OrgUnits) > 0 {
			h.found.Missing = append(h.found.Missing, worker)
		}
		return nil
	}
	if types := h.set.Coverage.ExpectedTypes; len(types) > 0 {
		found := false
		err := h.from.Client.ContactsOfType(ctx, types, func(c *cht.Contact) error {
			found = true
			return miss(c)
		})
		if err == nil && !found {
			err = noneOfTypes(types)
		}
		return err
	}
	whole := int32(1)<<len(monthsOf(h.period)) - 1
	expected := map[string]bool{}
	for _, month := range before(h.period) {
		err := h.from.Client.TargetRevisions(ctx, month, func(id, _ string) error {
			if owner, ok := cht.OwnerOf(id); ok && (h.seen[owner] == nil || h.seen[owner].months != whole) {
				expected[strings.Clone(owner)] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return h.from.Client.Contacts(ctx, slices.Sorted(maps.Keys(expected)), miss)
}

// before gives the months before a period by which it is known who is expected, oldest first.
func before(period dhis2.Period) []cht.Month {
	var months []cht.Month
	for n := monthsBefore; n > 0; n-- {
		day := period.First().AddDate(0, -n, 0)
		months = append(months, cht.Month{Year: day.Year(), Month: day.Month()})
	}
	return months
}

// readDuplicates finds the names of those with documents of several users.
func (h *headcount) readDuplicates(ctx context.Context) error {
	var ids []string
	for id, owner := range h.seen {
		if len(owner.users) > 1 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return h.from.Client.Contacts(ctx, ids, func(c *cht.Contact) error {
		worker, owner := h.worker(c), h.seen[c.ID]
		slices.Sort(owner.users)
		worker.Users = owner.users
		for i, month := range monthsOf(h.period) {
			if owner.months&(1<<i) != 0 {
				worker.Months = append(worker.Months, month.String())
			}
		}
		h.found.Duplicates = append(h.found.Duplicates, worker)
		return nil
	})
}

// worker makes a worker of a contact.
func (h *headcount) worker(c *cht.Contact) Worker {
	w := Worker{Name: c.Name, Contact: c.ID, Type: c.Type, OrgUnits: []string{}}
	for _, id := range append([]string{c.ID}, c.Parents...) {
		if units := h.places[id]; len(units) > 0 {
			w.OrgUnits = units
			break
		}
	}
	return w
}
