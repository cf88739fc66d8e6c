//go:build unix

package main

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// crashStore is a kind of store that the processes of a run share.
type crashStore struct {
	name string
	// oneIn says that of the points one in so many is tried, and of the runs that SOAK_KILLS asks for.
	oneIn int64
	// random is how many runs are killed at random where SOAK_KILLS is not set, atOnce how many runs go on at a time.
	random int64
	atOnce int
	// make makes the store of a run: a line of its configuration, and what opens it.
	make func(t *testing.T, folder string) (setting string, look look)
}

// look opens what is stored, to be read; nil where there is nothing yet. Of a process that is dead the store is left as it
// is, so that the next process finds it as the killed one has left it.
type look func(t *testing.T, dead bool) *sql.DB

// sqliteStore is a file in the data folder.
func sqliteStore() crashStore {
	return crashStore{name: "SQLite", oneIn: 1, random: 30, atOnce: 10, make: func(_ *testing.T, folder string) (string, look) {
		return "", func(t *testing.T, dead bool) *sql.DB {
			t.Helper()
			path, mode := filepath.Join(folder, "data", "mediator.db"), "?mode=ro&_pragma=busy_timeout(10000)"
			if dead {
				path, mode = copyOf(t, path), ""
			}
			if _, err := os.Stat(path); err != nil {
				return nil
			}
			db, err := sql.Open("sqlite", "file:"+path+mode)
			if err != nil {
				t.Fatal(err)
			}
			var verdict string
			if err := db.QueryRow(`PRAGMA quick_check`).Scan(&verdict); dead && (err != nil || verdict != "ok") {
				t.Errorf("the store is damaged: %v %s", err, verdict)
			}
			return db
		}
	}}
}

// postgresStore is a database of the run's own. Whoever goes on after a kill waits until the killed one's lease ends.
func postgresStore() crashStore {
	return crashStore{name: "PostgreSQL", oneIn: 9, random: 5, atOnce: 17, make: func(t *testing.T, _ string) (string, look) {
		t.Helper()
		address := database(t, &server)
		return fmt.Sprintf("database_url: %q", address), func(t *testing.T, _ bool) *sql.DB {
			t.Helper()
			db, err := sql.Open("pgx", address)
			if err != nil {
				t.Fatal(err)
			}
			return db
		}
	}}
}

// copyOf copies a SQLite file and what was written ahead of it.
func copyOf(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.db")
	for _, part := range []string{"", "-wal"} {
		text, err := os.ReadFile(path + part)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(to+part, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// remembered is what a store holds, as far as it is compared.
type remembered struct {
	// submissions are the ids, by data set.
	submissions map[string][]string
	// unfinished is how many submissions have not ended, untold how many ends were not told.
	unfinished, untold int
	// settled are the digests of the chunks whose answer was recorded.
	settled map[string]bool
	// chunks are the digests of all that is recorded.
	chunks map[string]bool
	// registered are the org units that are registered as complete, by data set and org unit.
	registered map[string]bool
	// letters and jobs are how many of them are not done.
	letters, jobs int
}

// idle says that nothing is left to do.
func (r remembered) idle() bool { return r.unfinished+r.untold+r.letters+r.jobs == 0 }

// remembers reads the store.
func (c *crashing) remembers(dead bool) remembered {
	c.t.Helper()
	r := remembered{submissions: map[string][]string{}, settled: map[string]bool{}, chunks: map[string]bool{}, registered: map[string]bool{}}
	db := c.look(c.t, dead)
	if db == nil {
		return r
	}
	defer db.Close() //nolint:errcheck // it was only read
	var set, id, state, told, digest string
	var ended int64
	var count int
	err := errors.Join(
		rows(db, `SELECT r.data_set, s.id, s.ended_at, s.told FROM submission s JOIN series r ON r.number = s.series ORDER BY s.number`, func() {
			r.submissions[set] = append(r.submissions[set], id)
			switch {
			case ended == 0:
				r.unfinished++
			case told == "":
				r.untold++
			}
		}, &set, &id, &ended, &told),
		rows(db, `SELECT digest, state FROM chunk`, func() {
			r.chunks[digest] = true
			switch state {
			case "accepted", "partly_accepted", "refused", "split":
				r.settled[digest] = true
			}
		}, &digest, &state),
		rows(db, `SELECT r.data_set, g.org_unit FROM registration g JOIN series r ON r.number = g.form WHERE g.state = 'registered'`, func() {
			r.registered[set+" "+id] = true
		}, &set, &id),
		rows(db, `SELECT count(*) FROM outbox WHERE state <> 'done'`, func() { r.letters = count }, &count),
		rows(db, `SELECT count(*) FROM river_job WHERE CAST(state AS text) IN ('available', 'pending', 'retryable', 'running', 'scheduled')`, func() { r.jobs = count }, &count),
	)
	if err != nil {
		c.t.Fatalf("the store cannot be read: %v", err)
	}
	return r
}

// rows calls each for every row. A table that is not there yet, or not whole, has none.
func rows(db *sql.DB, query string, each func(), to ...any) error {
	found, err := db.Query(query)
	if err != nil {
		if text := err.Error(); strings.Contains(text, "no such ") || strings.Contains(text, "does not exist") {
			return nil
		}
		return err
	}
	defer found.Close() //nolint:errcheck // it was only read
	for found.Next() {
		if err := found.Scan(to...); err != nil {
			return err
		}
		each()
	}
	return found.Err()
}
