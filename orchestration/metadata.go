package orchestration

import (
	"cmp"
	"context"
	"maps"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// metadata is what DHIS2 knows of a data set, as it was read.
type metadata struct {
	set dhis2.DataSet
	// orgUnits are those that the set is assigned to.
	orgUnits dhis2.OrgUnits
	user     dhis2.User
	// readAt is when it was read, keep for how long it is good.
	readAt time.Time
	keep   time.Duration
}

// isGood says whether what was read is not too old. After the clock was set back nobody can say.
func (m *metadata) isGood(now time.Time) bool {
	age := now.Sub(m.readAt)
	return age >= 0 && age < m.keep
}

// usualMetadataAge is how old what is known of a data set may be, unless set otherwise.
const usualMetadataAge = time.Hour

// metadata gives what DHIS2 knows of a data set: as it was read before, where that is not too old, or else anew. What is found
// wrong by an old reading has to be looked at again by a new one, as somebody may have mended it meanwhile.
func (s *Submitter) metadata(ctx context.Context, who parties, calls *evidence) (m *metadata, anew bool, err error) {
	s.mu.Lock()
	known := s.known[who.knownAs()]
	s.mu.Unlock()
	named := who.set.IDSchemes != (dhis2.IDSchemes{})                                                    // by codes of before an org unit would be unknown
	if known != nil && !named && known.set.PeriodType == who.set.periodType() && known.isGood(s.now()) { // another type may have been mended
		return known, false, nil
	}
	m, err = s.readMetadata(ctx, who, calls)
	return m, true, err
}

// readMetadata asks DHIS2 anew.
func (s *Submitter) readMetadata(ctx context.Context, who parties, calls *evidence) (m *metadata, err error) {
	name, client := "DHIS2 "+who.to.Name, who.to.Client
	m = &metadata{readAt: s.now(), keep: cmp.Or(who.to.MetadataAge, usualMetadataAge)}
	if m.set, err = s.ReadDataSet(calls.call(ctx, "Read data set "+who.set.ID+" from "+name), who.set); err != nil {
		return nil, err
	}
	if m.user, err = client.Me(calls.call(ctx, "Ask "+name+" whose account this is")); err != nil {
		return nil, err
	}
	if !who.set.needsOrgUnits() {
		return m, nil
	}
	err = client.OrgUnits(calls.call(ctx, "Read the org units of data set "+who.set.ID), m.set.ID, m.orgUnits.Add)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[string]*metadata{}
	}
	s.known[who.knownAs()] = m
	return m, nil
}

// needsOrgUnits says that somebody wants to know to which org units a data set is assigned.
func (d *DataSet) needsOrgUnits() bool {
	return !d.Unchecked || d.Nested != AllowNested || d.Completeness.WhenAccepted || len(d.Compare.LiveFrom) > 0 || len(d.CHT) > 1
}

// knownAs is under what the metadata of a data set are kept.
func (p parties) knownAs() string { return p.to.Name + " " + p.set.ID }

// dropOldMetadata frees the memory of what is not good any more.
func (s *Submitter) dropOldMetadata() {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.known, func(_ string, m *metadata) bool { return !m.isGood(s.now()) })
}

// forgetMetadata lets what is known of a data set be read anew next time, as an answer of DHIS2 contradicts it.
func (s *Submitter) forgetMetadata(who parties) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, who.knownAs())
}

// live gives the org units that are sent in a plan's period, where the data set's live_from chooses; nil is all.
func (m *metadata) live(p *Plan) map[string]bool {
	if len(p.set.Compare.LiveFrom) == 0 {
		return nil
	}
	live := map[string]bool{}
	for _, id := range m.orgUnits.IDs() {
		o, _ := m.orgUnits.Get(id)
		live[id] = isLive(p.set.Compare.LiveFrom, o.Path, p.period)
	}
	return live
}
