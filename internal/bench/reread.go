package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // to ask the store how large its tables are
)

// reread is what a month costs that was accepted before.
type reread struct {
	// alone is fetching and checking it; ledger and server are submissions of it that find nothing changed, compared with the
	// ledger only, and with what DHIS2 holds too.
	alone, ledger, server sample
	// sent is the share of values that is sent when one in a hundred has changed; perValue is what the ledger takes on disk.
	sent, perValue float64
}

func measureReread(binary, folder string, orgUnits, elements, runs int) (r reread, err error) {
	url, stop, err := startStub(orgUnits, elements)
	if err != nil {
		return r, err
	}
	defer stop()
	first := mediator(binary, folder, url)
	if _, err := run(first); err != nil {
		return r, err
	}
	values := float64(orgUnits * elements)
	if r.perValue, err = ledgerSize(filepath.Join(folder, "data", "mediator.db"), values); err != nil {
		return r, err
	}
	if err := set(url, 0); err != nil {
		return r, err
	}
	again := func(args ...string) *exec.Cmd {
		return exec.Command(binary, append([]string{args[0], "--config", filepath.Join(folder, "config.yaml"), "--period", benchPeriod}, args[1:]...)...)
	}
	var alone, ledger, server []sample
	for range runs {
		for _, one := range []struct {
			into *[]sample
			args []string
		}{
			{&alone, []string{"preview"}},
			{&ledger, []string{"submit", "--set", "data_sets." + benchSet + ".compare=ledger"}},
			{&server, []string{"submit"}},
		} {
			s, err := run(again(one.args...))
			if err != nil {
				return r, err
			}
			*one.into = append(*one.into, s)
		}
	}
	for _, one := range []struct {
		into *sample
		list []sample
	}{{&r.alone, alone}, {&r.ledger, ledger}, {&r.server, server}} {
		*one.into = middleOf(one.list)
	}
	if err := set(url, 100); err != nil {
		return r, err
	}
	text, err := again("submit", "--json").Output()
	if err != nil {
		return r, err
	}
	var report struct {
		Counts struct{ Accepted, Unchanged int }
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return r, err
	}
	if report.Counts.Accepted == 0 || report.Counts.Accepted+report.Counts.Unchanged != orgUnits*elements {
		return r, fmt.Errorf("of a month with changes %d values were accepted and %d unchanged", report.Counts.Accepted, report.Counts.Unchanged)
	}
	r.sent = float64(report.Counts.Accepted) / values
	return r, nil
}

// set says what the stubs hold: the month as it was accepted in DHIS2, and one in so many values changed in the CHT.
func set(url string, changed int) error {
	response, err := http.Get(fmt.Sprintf("%s/set?holds=true&changed=%d", url, changed)) //nolint:noctx // a benchmark
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// ledgerSize is how many bytes a value takes in what was accepted, its indexes included.
func ledgerSize(file string, values float64) (float64, error) {
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return 0, err
	}
	var bytes float64
	err = db.QueryRow(`SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name LIKE 'ledger%' OR name LIKE 'sqlite_autoindex_ledger%' OR name LIKE 'sqlite_autoindex_accepted%'`).Scan(&bytes) //nolint:noctx // a benchmark
	if err != nil && strings.Contains(err.Error(), "dbstat") {
		err = errors.New("this SQLite does not tell how large a table is")
	}
	return bytes / values, errors.Join(err, db.Close())
}
