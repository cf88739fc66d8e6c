package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
)

// reread is what a month costs that was accepted before.
type reread struct {
	// alone is fetching and checking it; ledger and server are submissions of it that find nothing changed, compared with the
	// ledger only, and with what DHIS2 holds too.
	alone, ledger, server sample
	// sent is the share of values that is sent when one in a hundred has changed.
	sent float64
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
			{&alone, []string{"preview", "--full"}},
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
	r.sent = float64(report.Counts.Accepted) / float64(orgUnits*elements)
	return r, nil
}

// set says what the stubs hold: the month as it was accepted in DHIS2, and one in so many values changed in the CHT.
func set(url string, changed int) error {
	response, err := http.Get(fmt.Sprintf("%s/set?holds=true&changed=%d", url, changed))
	if err != nil {
		return err
	}
	return response.Body.Close()
}
