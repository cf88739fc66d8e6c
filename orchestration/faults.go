package orchestration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/issue"
	"github.com/cht-dhis2/mediator/internal/mapping"
	"github.com/cht-dhis2/mediator/internal/openhim"
)

// knownFault is a fault of some versions of the CHT that changes figures.
type knownFault struct {
	// id is by what known_faults of a data set names it.
	id string
	// before is the first version without it.
	before []int
	text   string
}

// knownFaults are those that no check of the figures can find.
var knownFaults = []knownFault{ //nolint:gochecknoglobals // a table, which nobody changes
	{"cht-daily", []int{4, 14}, "writes a worker's figures once a day at most, when its app is opened: what was done on the last day of a month may come days later"},
	{"cht-9714", []int{4, 16}, "writes the figures of a month that is over once more, and may set what was done on its last day to 0 (cht-core 9714)"},
}

// faultsOf are the known faults of a version that nobody has silenced.
func faultsOf(version string, silenced []string) []knownFault {
	return slices.DeleteFunc(slices.Clone(knownFaults), func(f knownFault) bool {
		return !isBefore(version, f.before...) || slices.Contains(silenced, f.id)
	})
}

// versionAge is how old the version of a CHT may be that is known, versionPatience how long it is asked for.
const (
	versionAge      = time.Hour
	versionPatience = 20 * time.Second
)

// knownVersion is the version of a CHT as it was read.
type knownVersion struct {
	version string
	readAt  time.Time
}

// versionOf gives the version of a CHT; "" where it does not tell, which fails nothing.
func (s *Submitter) versionOf(ctx context.Context, from Source) string {
	s.mu.Lock()
	known := s.versions[from.Name]
	s.mu.Unlock()
	if age := s.now().Sub(known.readAt); known.version != "" && age >= 0 && age < versionAge {
		return known.version
	}
	ctx, cancel := context.WithTimeout(ctx, versionPatience)
	defer cancel()
	info, err := from.Client.Info(ctx)
	if err != nil {
		s.logger().WithError(err).WithField("cht", from.Name).Debug("the version of the CHT could not be read")
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.versions == nil {
		s.versions = map[string]knownVersion{}
	}
	s.versions[from.Name] = knownVersion{info.Version, s.now()}
	return info.Version
}

// tellKnownFaults notes the faults of the CHT's version that may have changed the figures.
func (s *Submitter) tellKnownFaults(ctx context.Context, p *Plan) {
	if p.visit != nil {
		return
	}
	version := s.versionOf(ctx, p.from)
	for _, f := range faultsOf(version, p.set.KnownFaults) {
		p.tally.addIssues([]issue.Issue{{
			Code: "cht_known_fault", Severity: issue.Note, Count: 1, Text: fmt.Sprintf("%s: CHT %s %s", f.id, version, f.text),
			Remedy: fmt.Sprintf("update the CHT to %d.%d or later; until then compare figures of the last days of the month with the app. known_faults: [%s] of the data set tells it no more", f.before[0], f.before[1], f.id),
		}})
	}
}

// sourceFault is an answer of the CHT whose cause is known.
type sourceFault struct {
	issue.Issue

	err *cht.Error
}

func (e *sourceFault) Error() string { return e.err.Error() }
func (e *sourceFault) Unwrap() error { return e.err }

// Hint says what a person can do about it.
func (e *sourceFault) Hint() string { return e.err.Remedy }

// causeOf names the cause of an error of the CHT.
func causeOf(err *cht.Error, code, what, remedy string) error {
	named := *err
	named.What, named.Remedy = what, remedy
	return &sourceFault{issue.Issue{Code: code, Severity: issue.Blocking, Count: 1, Text: what, Remedy: remedy}, &named}
}

const nepaliCode = "nepali_months"

// calendarFault gives the refusal of months of another calendar its code.
func calendarFault(settings *cht.Settings, dataSet string, err error) error {
	var e *cht.Error
	if !settings.NepaliMonths || !slices.Contains(settings.DataSets, dataSet) || !errors.As(err, &e) {
		return err
	}
	return causeOf(e, nepaliCode, e.What, e.Remedy)
}

// The export must fit into one string: about 84,000 documents of 100 targets do, and every export of a larger month fails. A month
// that is nearly so large is taken for one.
const (
	largestExport = 84_000 * 100
	nearlyLargest = largestExport / 100 * 95
)

const targetsSource = "set source: targets of the data set"

// exportFault names the cause of an export that failed, where it can be found out.
func (s *Submitter) exportFault(ctx context.Context, p *Plan, month cht.Month, err error) error {
	var e *cht.Error
	if !errors.As(err, &e) || p.described == nil {
		return err
	}
	switch e.Status {
	case http.StatusBadRequest:
		if mapping.IsExported(p.described, p.set.ID) {
			return err
		}
		what, remedy := withoutElements(p.described, p.set.ID)
		return causeOf(e, "data_set_without_elements", what, remedy)
	case http.StatusInternalServerError:
		documents, targets := s.sizeOf(ctx, p, month), targetsOf(p.described)
		if documents*targets < nearlyLargest {
			return err
		}
		return causeOf(e, "cht_known_fault", fmt.Sprintf("the server answered %d: the month has %s target documents of up to %s, and the CHT's export fails above about %s of them, whatever is asked for",
			e.Status, openhim.Number(documents), counted(targets, "target"), openhim.Number(largestExport/targets)), targetsSource+", which reads the documents page by page")
	default:
		return err
	}
}

// withoutElements says that the export has nothing of a data set, and what can be done.
func withoutElements(settings *cht.Settings, dataSet string) (what, remedy string) {
	what, remedy = "no target of the CHT's settings names a data element of data set "+dataSet, "give the targets a dhis object with dataElement and dataSet in the CHT's settings"
	if len(mapping.NotExported(settings, dataSet)) > 0 {
		what += " but in a list, which the export leaves out"
		remedy = targetsSource + ", which reads such lists; or " + remedy
	}
	return what, remedy
}

// targetsOf is how many targets the settings have.
func targetsOf(settings *cht.Settings) int {
	ids := map[string]bool{}
	for _, t := range append(slices.Clone(settings.Targets), settings.Undirected...) {
		ids[t.ID] = true
	}
	return len(ids)
}

// sizePatience is how long the documents of a month are counted whose export failed.
const sizePatience = 2 * time.Minute

// sizeOf counts the target documents of a month; 0 where that cannot be done.
func (*Submitter) sizeOf(ctx context.Context, p *Plan, month cht.Month) (documents int) {
	ctx, cancel := context.WithTimeout(ctx, sizePatience)
	defer cancel()
	// No evidence is kept of it, as ids of documents name people.
	if err := p.from.Client.TargetRevisions(ctx, month, func(string, string) error { documents++; return nil }); err != nil {
		return 0
	}
	return documents
}
