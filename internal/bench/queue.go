package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A hundred small months.
const (
	queuedMonths  = 100
	queueOrgUnits = 50
	queueElements = 20
)

// measureQueue asks the service for many submissions at once, and then for the same one after the other, each on a new store.
func measureQueue(binary, folder string) (queued, oneByOne time.Duration, err error) {
	url, stop, err := startStub(queueOrgUnits, queueElements)
	if err != nil {
		return 0, 0, err
	}
	defer stop()
	last, err := time.Parse("200601", benchPeriod)
	if err != nil {
		return 0, 0, err
	}
	var months []string
	for n := range queuedMonths {
		months = append(months, last.AddDate(0, n-queuedMonths+1, 0).Format("200601"))
	}
	run := func(f func(address string) error) (took time.Duration, err error) {
		_ = os.RemoveAll(filepath.Join(folder, "data"))
		err = serving(binary, folder, url, func(address string, _ int, _ time.Duration) error {
			started := time.Now()
			err := f(address)
			took = time.Since(started)
			return err
		})
		return took, err
	}
	queued, err = run(func(address string) error {
		if err := ask(address, months[0]+".."+months[len(months)-1]); err != nil {
			return err
		}
		return awaitAccepted(address, queuedMonths)
	})
	if err != nil {
		return 0, 0, err
	}
	oneByOne, err = run(func(address string) error {
		for n, month := range months {
			if err := ask(address, month); err != nil {
				return err
			}
			if err := awaitAccepted(address, n+1); err != nil {
				return err
			}
		}
		return nil
	})
	return queued, oneByOne, err
}

func ask(address, period string) error {
	response, err := http.Post("http://"+address+"/cht-dhis2/submissions", "application/json", strings.NewReader(fmt.Sprintf(`{"period":%q}`, period)))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("a trigger for %s is answered %s", period, response.Status)
	}
	_ = response.Body.Close()
	return err
}

// awaitAccepted waits until so many submissions are accepted. Every other end is an error.
func awaitAccepted(address string, want int) error {
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(serveEvery) {
		response, err := http.Get("http://" + address + "/cht-dhis2/submissions?limit=1000")
		if err != nil {
			return err
		}
		var list struct {
			Submissions []struct{ State, Error string }
		}
		err = json.NewDecoder(response.Body).Decode(&list)
		_ = response.Body.Close()
		if err != nil {
			return err
		}
		accepted := 0
		for _, s := range list.Submissions {
			switch s.State {
			case "accepted":
				accepted++
			case "failed", "refused", "partly_accepted", "held", "unchanged":
				return fmt.Errorf("a submission is %s: %s", s.State, s.Error)
			}
		}
		if accepted >= want {
			return nil
		}
	}
	return fmt.Errorf("%d submissions are not accepted in time", want)
}
