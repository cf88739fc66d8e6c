package orchestration

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/cht"
	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/mapping"
)

// examineSource looks at a CHT: its address and account, its version and clock, its settings, the org units on its places,
// and the data sets that are read from it.
func (r *examining) examineSource(ctx context.Context, s Source) {
	facts := r.sources[s.Name]
	p := sheet{s.Name, chtAdmin, "", &facts.findings}
	err := r.first(ctx, "CHT "+s.Name, func() (err error) {
		facts.info, err = s.Client.Info(ctx)
		return err
	})
	if err != nil {
		p.red("connection", ReasonOf(err), err)
		r.way(p, s.Peer)
		return
	}
	p.green("connection", fmt.Sprintf("CHT %s, credentials accepted", facts.info.Version))
	r.way(p, s.Peer)
	chtVersion(p, facts.info.Version, r.silenced(s.Name))
	if facts.settings, err = s.Client.Settings(ctx); err != nil {
		p.red("settings", ReasonOf(err), err)
		return
	}
	p.green("settings", fmt.Sprintf("%s, months begin on day %d, time zone %s", counted(len(facts.settings.DataSets), "data set"), facts.settings.MonthStartDate, s.zone()))
	monthStart(p, facts.settings)
	r.online(ctx, p, s)
	r.mayExport(ctx, p, s)
	for _, set := range r.Submitter.DataSets {
		if slices.Contains(set.CHT, s.Name) {
			r.sourceSet(ctx, p.of("data set "+set.ID), s, set)
		}
	}
}

// versionParts reads the first numbers of a version such as 5.2.0 or 2.43.1-SNAPSHOT.
var versionParts = regexp.MustCompile(`^(\d+)\.(\d+)(?:\.(\d+))?`)

// isBefore says that a version is older than another one. One of another form is not.
func isBefore(version string, than ...int) bool {
	parts := versionParts.FindStringSubmatch(version)
	if parts == nil {
		return false
	}
	for i, limit := range than {
		n, _ := strconv.Atoi(parts[i+1]) // digits, or nothing
		if n != limit {
			return n < limit
		}
	}
	return false
}

// chtVersion tells the faults of a CHT's version that change figures.
func chtVersion(p sheet, version string, silenced []string) {
	if isBefore(version, 3, 9) {
		p.red("version", Configuration, faulty("update the CHT to 3.9 or later", "%s has no export for DHIS2", version))
		return
	}
	found := faultsOf(version, silenced)
	for _, f := range found {
		p.amber("version", version+" "+f.text, fmt.Sprintf("update the CHT to %d.%d or later; until then compare figures of the last days of the month with the app. known_faults: [%s] of its data sets tells it no more", f.before[0], f.before[1], f.id)).Who = chtAdmin + ", " + us
	}
	switch all := faultsOf(version, nil); {
	case len(found) > 0:
	case len(all) > 0:
		p.green("version", "the faults of "+version+" that change figures are known here, by known_faults")
	default:
		p.green("version", "no fault is known of "+version+" that changes figures")
	}
}

// silenced are the faults that all data sets of a source silence.
func (r *examining) silenced(source string) []string {
	var all []string
	first := true
	for _, set := range r.Submitter.DataSets {
		switch {
		case !slices.Contains(set.CHT, source):
		case first:
			all, first = slices.Clone(set.KnownFaults), false
		default:
			all = slices.DeleteFunc(all, func(id string) bool { return !slices.Contains(set.KnownFaults, id) })
		}
	}
	return all
}

// monthStart tells of months that are none of the calendar's.
func monthStart(p sheet, settings *cht.Settings) {
	if settings.NepaliMonths {
		p.red("calendar", Configuration, faulty("this version of the mediator sends Gregorian months only", "the CHT counts in Nepali months"))
		return
	}
	if settings.MonthStartDate == 1 {
		p.green("month start", "months begin on day 1")
		return
	}
	month := cht.Month{Year: 2026, Month: time.August}
	first, last := settings.FirstDay(month), settings.LastDay(month)
	p.amber("month start", fmt.Sprintf("months begin on day %d: period %s is of %s to %s", settings.MonthStartDate, month, first.Format(time.DateOnly), last.Format(time.DateOnly)),
		"make sure that the people who read the figures in DHIS2 know it, or set month_start_date to 1 in the CHT's settings").Who = chtAdmin + ", " + us
}

// online reads the org units of the places, which only an online user may.
func (r *examining) online(ctx context.Context, p sheet, s Source) {
	facts := r.sources[s.Name]
	units := []cht.OrgUnit{}
	err := s.Client.OrgUnits(ctx, func(o cht.OrgUnit) { units = append(units, o) })
	switch {
	case err == nil:
		facts.orgUnits = units
		p.green("online user", fmt.Sprintf("the account is one; %s carry an org unit", counted(len(units), "place")))
	case isForbidden(err):
		p.red("online user", Credentials, err)
	default:
		p.amber("online user", err.Error(), "the org units of both sides could not be compared; doctor --try-export reads them with the figures")
	}
}

// mayExport tells what is known of the permission to export. Only an export proves it: one that was read, as the store knows.
func (r *examining) mayExport(ctx context.Context, p sheet, s Source) {
	const check = "permission can_export_all"
	facts := r.sources[s.Name]
	settings := facts.settings
	if !slices.ContainsFunc(r.Submitter.DataSets, func(set DataSet) bool { return !set.FromTargets && slices.Contains(set.CHT, s.Name) }) {
		p.green(check, "not needed, as target documents are read, which every online user may")
		return
	}
	if proof := r.lastFetched(ctx, s.Name); !proof.PreparedAt.IsZero() {
		p.green(check, fmt.Sprintf("%s of data set %s was read on %s", proof.Period, proof.DataSet, proof.PreparedAt.UTC().Format(time.DateOnly)))
		return
	}
	grant := slices.Clone(settings.Exporters)
	if !isBefore(facts.info.Version, 5, 2) {
		grant = slices.DeleteFunc(grant, func(role string) bool { return !slices.Contains(settings.Roles, role) })
	}
	const remedy = "give the account a role that is among the roles of the CHT's settings and has the permission can_export_all"
	switch {
	case len(grant) > 0:
		p.green(check, "who has it: "+strings.Join(grant, ", ")+"; that the account has this role is proved by an export only (doctor --try-export)")
	case len(settings.Exporters) > 0:
		p.red(check, Credentials, faulty(remedy, "who has it: %s; from CHT 5.2 on a role that the settings do not list grants nothing", strings.Join(settings.Exporters, ", ")))
	case len(settings.HalfExporters) > 0:
		p.red(check, Credentials, faulty(remedy, "no role has it; who has can_export_dhis: %s, which is not enough in any version", strings.Join(settings.HalfExporters, ", ")))
	default:
		p.red(check, Credentials, faulty(remedy, "no role has it"))
	}
}

// lookedBack is how many submissions are looked through for one that was read from the CHT.
const lookedBack = 20

// lastFetched is the last submission that was exported by a CHT; the zero one where the store knows none.
func (r *examining) lastFetched(ctx context.Context, source string) ledger.Submission {
	if r.store == nil {
		return ledger.Submission{}
	}
	list, err := r.store.Submissions(ctx, ledger.Filter{CHT: source, Limit: lookedBack})
	at := slices.IndexFunc(list, func(s ledger.Submission) bool {
		return s.Counts.Fetched > 0 && !slices.ContainsFunc(r.Submitter.DataSets, func(set DataSet) bool { return set.ID == s.DataSet && set.FromTargets })
	})
	if err != nil || at < 0 {
		return ledger.Submission{}
	}
	return list[at]
}

// sourceSet looks at what the CHT's settings say of a data set.
func (r *examining) sourceSet(ctx context.Context, p sheet, s Source, set DataSet) {
	settings := r.sources[s.Name].settings
	if err := settings.Check(set.ID); err != nil {
		p.red("", Configuration, err).Who = chtAdmin + ", " + us
		return
	}
	if !set.FromTargets && !mapping.IsExported(settings, set.ID) {
		what, remedy := withoutElements(settings, set.ID)
		p.red("", Configuration, faulty(remedy, "%s, so that the CHT refuses the export", what)).Who = chtAdmin + ", " + us
		return
	}
	p.green("", "known to the CHT")
	r.changedSince(ctx, p, s, set)
	expectedTypes(p, settings, set)
	if set.FromTargets { // what follows is of the export
		return
	}
	for _, shared := range mapping.SharedElements(settings, set.ID) {
		if slices.Contains(set.Rules.ExcludeDataElements, shared.DataElement) {
			continue
		}
		p.amber("shared elements", fmt.Sprintf("targets %s share data element %s under different combos; its values stay behind", strings.Join(shared.Targets, ", "), shared.DataElement),
			shared.Remedy()).Who = chtAdmin + ", " + us
	}
	var denominators []string
	for _, found := range mapping.Denominators(settings, set.Rules, set.ID) {
		denominators = append(denominators, found.DataElement)
	}
	if len(denominators) > 0 {
		p.green("percent targets", fmt.Sprintf("of %s (%s) the denominator is sent, which is what the export gives; source: targets can send the numerator or the percentage, and percent_targets: refuse sends none",
			counted(len(denominators), "data element"), firstOf(denominators)))
	}
	for _, found := range mapping.NotExported(settings, set.ID) {
		p.amber("targets", found.Text, found.Remedy).Who = chtAdmin + ", " + us
	}
}

// expectedTypes looks for the contact types of the workers who are expected to sync.
func expectedTypes(p sheet, settings *cht.Settings, set DataSet) {
	if !set.Coverage.On || len(set.Coverage.ExpectedTypes) == 0 || len(settings.ContactTypes) == 0 {
		return
	}
	var known, unknown []string
	for _, t := range settings.ContactTypes {
		known = append(known, t.ID)
	}
	for _, id := range set.Coverage.ExpectedTypes {
		if !slices.Contains(known, id) {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) > 0 {
		p.amber("expected workers", fmt.Sprintf("expected_contact_types names types that the CHT has not: %s", strings.Join(unknown, ", ")), "the CHT's settings have "+strings.Join(known, ", ")).Who = us
		return
	}
	p.green("expected workers", "the contacts of type "+strings.Join(set.Coverage.ExpectedTypes, ", ")+" are expected to sync")
}

// changedSince tells what the CHT's settings say otherwise than when the period before the one that closed last went.
func (r *examining) changedSince(ctx context.Context, p sheet, s Source, set DataSet) {
	settings := r.sources[s.Name].settings
	period, err := latestClosed(&set, settings, r.now, s.zone())
	if err != nil {
		return // the clock is centuries off, which others tell
	}
	changes, err := changedSettings(ctx, r.store, ledger.Key{DHIS2: set.DHIS2, DataSet: set.ID, Period: period, CHT: s.Name}, directionOf(settings, set.ID))
	if err != nil {
		p.amber("changed settings", err.Error(), hintOf(err)).Who = us
		return
	}
	for _, c := range changes {
		p.amber("changed settings", c.Text, c.Remedy).Who = chtAdmin + ", " + us
	}
}
