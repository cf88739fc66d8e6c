package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

const (
	ladderElements = 20
	// ladderBad is one in how many org units DHIS2 refuses.
	ladderBad = 100
)

// ladder is what it takes to bring in a month of which a 2.43 refuses some org units, with no checks before.
type ladder struct {
	orgUnits, bad int
	// clean is how many requests the month takes when nothing of it is refused, and requests how many with what is.
	clean, requests int
}

// bound is how many requests it may take.
func (l ladder) bound() int {
	return 2*l.clean + int(float64(l.bad)*math.Log2(float64(l.orgUnits)))
}

func measureLadder(binary, folder string, orgUnits int) (l ladder, err error) {
	l = ladder{orgUnits: orgUnits, bad: orgUnits / ladderBad}
	if l.clean, err = climb(binary, folder, newRefusing(orgUnits, 0)); err != nil {
		return l, err
	}
	l.requests, err = climb(binary, folder, newRefusing(orgUnits, l.bad))
	return l, err
}

// refusing is a month and a DHIS2 that refuses something at each of its bad org units, each time for another reason.
type refusing struct {
	metadata sandbox.DHIS2Metadata
	values   []refusedValue
	// wrong is how many values must not arrive.
	wrong int
}

type refusedValue struct {
	DataElement         string `json:"dataElement"`
	OrgUnit             string `json:"orgUnit"`
	CategoryOptionCombo string `json:"categoryOptionCombo,omitempty"`
	Value               int    `json:"value"`

	wrong bool
}

func newRefusing(orgUnits, bad int) *refusing {
	const opened = "2000-01-01"
	root, elsewhere := sandbox.DHIS2Ref{ID: "OuLadRoot01"}, sandbox.DHIS2Ref{ID: "OuLadRoot02"}
	ages := sandbox.DHIS2Ref{ID: "CcLadAges01"}
	r := &refusing{metadata: sandbox.DHIS2Metadata{
		OrganisationUnits: []sandbox.DHIS2OrgUnit{{ID: root.ID, Name: "Here", OpeningDate: opened}, {ID: elsewhere.ID, Name: "Elsewhere", OpeningDate: opened}},
		CategoryOptions:   []sandbox.DHIS2CategoryOption{{ID: "CoLadYoung1", Name: "Young", Sharing: sandbox.DHIS2Sharing{Public: "rwr-----"}}, {ID: "CoLadOldOn1", Name: "Old"}},
		Categories:        []sandbox.DHIS2Category{{ID: "CtLadAge001", Name: "Age", CategoryOptions: []sandbox.DHIS2Ref{{ID: "CoLadYoung1"}, {ID: "CoLadOldOn1"}}}},
		CategoryCombos:    []sandbox.DHIS2CategoryCombo{{ID: ages.ID, Name: "Age", Categories: []sandbox.DHIS2Ref{{ID: "CtLadAge001"}}}},
		CategoryOptionCombos: []sandbox.DHIS2CategoryOptionCombo{
			{ID: "CocLadYoung", Name: "Young", CategoryCombo: ages, CategoryOptions: []sandbox.DHIS2Ref{{ID: "CoLadYoung1"}}},
			{ID: "CocLadOldOn", Name: "Old", CategoryCombo: ages, CategoryOptions: []sandbox.DHIS2Ref{{ID: "CoLadOldOn1"}}},
		},
	}}
	set := sandbox.DHIS2DataSet{ID: benchSet, Name: "Bench", PeriodType: "Monthly"}
	for e := range ladderElements {
		element := sandbox.DHIS2DataElement{ID: fmt.Sprintf("DeB%08d", e), Name: fmt.Sprintf("Element %d", e), ValueType: "INTEGER_POSITIVE", AggregationType: "SUM"}
		if e == 0 {
			element.CategoryCombo = ages
		}
		r.metadata.DataElements = append(r.metadata.DataElements, element)
		set.DataSetElements = append(set.DataSetElements, sandbox.DHIS2DataSetElement{DataElement: sandbox.DHIS2Ref{ID: element.ID}})
	}
	for o := range orgUnits {
		unit := sandbox.DHIS2OrgUnit{ID: fmt.Sprintf("OuB%08d", o), Name: fmt.Sprintf("Unit %d", o), OpeningDate: opened, Parent: &root}
		values := make([]refusedValue, ladderElements)
		for e := range values {
			values[e] = refusedValue{DataElement: fmt.Sprintf("DeB%08d", e), OrgUnit: unit.ID, Value: valueOf(o, e)}
		}
		values[0].CategoryOptionCombo = "CocLadOldOn"
		assigned := true
		if bad > 0 && o%(orgUnits/bad) == orgUnits/bad/2 {
			assigned = r.spoil(o/(orgUnits/bad), &unit, values, elsewhere)
		}
		r.metadata.OrganisationUnits = append(r.metadata.OrganisationUnits, unit)
		if assigned {
			set.OrganisationUnits = append(set.OrganisationUnits, sandbox.DHIS2Ref{ID: unit.ID})
		}
		r.values = append(r.values, values...)
	}
	for _, v := range r.values {
		if v.wrong {
			r.wrong++
		}
	}
	r.metadata.DataSets = []sandbox.DHIS2DataSet{set}
	return r
}

// spoil lets something be wrong with an org unit, or with a value of it. It says whether the data set is assigned to it.
func (*refusing) spoil(kind int, unit *sandbox.DHIS2OrgUnit, values []refusedValue, elsewhere sandbox.DHIS2Ref) (assigned bool) {
	one := &values[7]
	assigned = true
	switch kind % 8 {
	case 0:
		unit.ClosedDate, one = "2026-01-31", nil
	case 1:
		assigned, one = false, nil
	case 2:
		unit.Parent, one = &elsewhere, nil
	case 3:
		for i := range values {
			values[i].OrgUnit = strings.Replace(values[i].OrgUnit, "OuB", "OuX", 1)
		}
		one = nil
	case 4:
		one.DataElement = "DeUnknown01"
	case 5:
		one.CategoryOptionCombo = "CocLadOldOn"
	case 6:
		one = &values[0]
		one.CategoryOptionCombo = "CocLadYoung"
	default:
		one.Value = 0
	}
	if one != nil {
		one.wrong = true
		return assigned
	}
	for i := range values {
		values[i].wrong = true
	}
	return assigned
}

// climb submits the month without checks, makes sure that every good value arrived, and gives how many requests it took.
func climb(binary, folder string, r *refusing) (requests int, err error) {
	const token = "d2p_BenchBenchBenchBenchBenchBenchBenchBench12"
	server := sandbox.NewDHIS2(sandbox.DHIS2Config{Version: "2.43.1", Metadata: r.metadata, Users: []sandbox.DHIS2User{
		{Username: "bench", Token: token, Authorities: []string{"F_DATAVALUE_ADD"}, OrgUnits: []string{"OuLadRoot01"}},
	}})
	mux := http.NewServeMux()
	mux.Handle("/api/", server)
	for path, answer := range map[string]any{
		"GET /api/deploy-info":    map[string]any{"version": "5.2.0"},
		"GET /api/v1/settings":    map[string]any{"dhis_data_sets": []any{map[string]any{"id": benchSet}}},
		"GET /api/v2/export/dhis": map[string]any{"dataSet": benchSet, "period": benchPeriod, "dataValues": r.values},
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, answer) })
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	stands := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = stands.Serve(listener) }()
	defer func() { _ = stands.Close() }()

	if err := os.RemoveAll(filepath.Join(folder, "data")); err != nil {
		return 0, err
	}
	file, url := filepath.Join(folder, "config.yaml"), "http://"+listener.Addr().String()
	text := fmt.Sprintf(strings.Replace(config, "completeness: off", "completeness: off, checks: off", 1), url)
	if err := os.WriteFile(file, []byte(strings.Replace(text, "token: x", "token: "+token, 1)), 0o600); err != nil {
		return 0, err
	}
	said, err := exec.Command(binary, "submit", "--config", file, "--period", benchPeriod, "--json").Output()
	var partly *exec.ExitError
	if expected := errors.As(err, &partly) && partly.ExitCode() == 3 && r.wrong > 0; err != nil && !expected {
		return 0, fmt.Errorf("submit a month of which DHIS2 refuses a part: %w: %.500s", err, said)
	}
	var report struct {
		Counts struct{ Accepted, Refused int }
	}
	if err := json.Unmarshal(said, &report); err != nil {
		return 0, err
	}
	good := len(r.values) - r.wrong
	if stored := len(server.Values()); stored != good || report.Counts.Accepted != good || report.Counts.Refused != r.wrong {
		return 0, fmt.Errorf("of %d good and %d bad values %d were accepted, %d refused, and %d are stored", good, r.wrong, report.Counts.Accepted, report.Counts.Refused, stored)
	}
	return len(server.Imports()), nil
}
