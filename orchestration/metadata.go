package orchestration

import (
	"context"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// metadata is what DHIS2 knows of a data set, as it was read.
type metadata struct {
	set dhis2.DataSet
	// orgUnits are those that the set is assigned to, by id.
	orgUnits map[string]dhis2.OrgUnit
	user     dhis2.User
	readAt   time.Time
}

// usualMetadataAge is how old what is known of a data set may be, unless set otherwise.
const usualMetadataAge = time.Hour

// metadata gives what DHIS2 knows of a plan's data set: as it was read before, where that is not too old. What is found wrong
// by an old reading has to be looked at again by a new one, as somebody may have mended it meanwhile.
func (s *Submitter) metadata(ctx context.Context, p *Plan) (*metadata, error) {
	key, age := p.to.Name+" "+p.set.ID, p.to.MetadataAge
	if age == 0 {
		age = usualMetadataAge
	}
	s.mu.Lock()
	known := s.known[key]
	s.mu.Unlock()
	if known != nil && s.now().Sub(known.readAt) < age {
		return known, nil
	}
	return s.readMetadata(ctx, p)
}

// readMetadata asks DHIS2 anew.
func (s *Submitter) readMetadata(ctx context.Context, p *Plan) (m *metadata, err error) {
	m = &metadata{readAt: s.now(), orgUnits: map[string]dhis2.OrgUnit{}}
	if m.set, err = p.to.Client.DataSet(p.evidence.call(ctx, "Read data set "+p.set.ID+" from DHIS2 "+p.to.Name), p.set.ID); err != nil {
		return nil, err
	}
	if m.user, err = p.to.Client.Me(p.evidence.call(ctx, "Ask DHIS2 "+p.to.Name+" whose account this is")); err != nil {
		return nil, err
	}
	err = p.to.Client.OrgUnits(p.evidence.call(ctx, "Read the org units of data set "+p.set.ID), p.set.ID, func(o dhis2.OrgUnit) { m.orgUnits[o.ID] = o })
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[string]*metadata{}
	}
	s.known[p.to.Name+" "+p.set.ID], p.lately = m, m
	return m, nil
}

// forgetMetadata lets what is known of a data set be read anew next time, as an answer of DHIS2 contradicts it.
func (s *Submitter) forgetMetadata(who parties) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, who.to.Name+" "+who.set.ID)
}

// live gives the org units that are sent in a plan's period, where the data set's live_from chooses; nil is all.
func (m *metadata) live(p *Plan) map[string]bool {
	if len(p.set.Compare.LiveFrom) == 0 {
		return nil
	}
	live := map[string]bool{}
	for id, o := range m.orgUnits {
		live[id] = isLive(p.set.Compare.LiveFrom, o.Path, p.period)
	}
	return live
}
