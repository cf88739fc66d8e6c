//go:build unix

package main

import (
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAStoreThatCannotBeUsedEndsTheStartWithWhatToDo(t *testing.T) {
	for _, test := range []struct {
		name string
		// spoil gets the data folder, in which a store is.
		spoil func(data string) error
		says  string
		do    string
	}{
		{"a folder that may not be written", func(data string) error { return os.Chmod(data, 0o555) }, "may not be written", "give the mediator's user the right to write in"},
		{"a file that may only be read", func(data string) error { return os.Chmod(filepath.Join(data, "mediator.db"), 0o444) }, "may not be written", "give the mediator's user the right to write in"},
		{"a folder that cannot be made", func(data string) error {
			return errors.Join(os.RemoveAll(data), os.Chmod(filepath.Dir(data), 0o555))
		}, "may not be written", "give the mediator's user the right to write in"},
		{"a file where the folder should be", func(data string) error {
			return errors.Join(os.RemoveAll(data), os.WriteFile(data, nil, 0o644))
		}, "cannot be opened or read", "check that data_dir"},
		{"a database of a newer version", newerStore, "a newer version of the mediator has worked with this file", "start that version or a later one"},
		{"a file that is no database", func(data string) error {
			return os.WriteFile(filepath.Join(data, "mediator.db"), []byte(strings.Repeat("no database ", 1000)), 0o666)
		}, "is damaged, or no database of the mediator", "stop the mediator, move the file away"},
		{"a database that is cut off", func(data string) error { return os.Truncate(filepath.Join(data, "mediator.db"), 5000) }, "is damaged, or no database of the mediator", "stop the mediator, move the file away"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, "8.5.0", "", "")
			if code, said := h.run("status"); code != 0 {
				t.Fatalf("%d %s", code, said)
			}
			binary := h.forAnybody()
			if err := test.spoil(filepath.Join(h.folder, "data")); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = errors.Join(os.Chmod(h.folder, 0o700), os.Chmod(filepath.Join(h.folder, "data"), 0o700)) })
			for _, command := range []string{"serve", "submit", "status"} {
				p := h.begin(asNobody(exec.Command(binary, command, "--config", filepath.Join(h.folder, "config.yaml"))))
				if code := p.exit(); code != 1 {
					t.Errorf("%s ends with %d", command, code)
				}
				said := p.said.String()
				if !strings.Contains(said, test.says) || !strings.Contains(said, "what to do: "+test.do) || strings.Count(said, "mediator: ") != 1 {
					t.Errorf("%s says\n%s", command, said)
				}
			}
			if n := len(h.dhis2.Imports()); n > 0 {
				t.Errorf("%d imports reached DHIS2", n)
			}
		})
	}
}

// newerStore lets the store be of a version to come.
func newerStore(data string) error {
	db, err := sql.Open("sqlite", filepath.Join(data, "mediator.db"))
	if err != nil {
		return err
	}
	_, err = db.Exec(`INSERT INTO goose_db_version (version_id, is_applied, tstamp) VALUES (9999, 1, '2030-01-01')`)
	return errors.Join(err, db.Close())
}

// asNobody lets a command run without root's rights.
func asNobody(command *exec.Cmd) *exec.Cmd {
	const nobody = 65534
	if os.Getuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return command
}

// forAnybody gives the house's files to anybody, as root may write whatever the rights are, and the program beside them.
func (h *house) forAnybody() (binary string) {
	h.t.Helper()
	program, err := exec.LookPath("mediator")
	if err != nil {
		h.t.Fatal(err)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		h.t.Fatal(err)
	}
	binary = filepath.Join(h.t.TempDir(), "mediator")
	syscall.ForkLock.RLock() // a process that begins meanwhile would keep the file open for writing
	err = os.WriteFile(binary, text, 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(h.folder), 0o755); err != nil {
		h.t.Fatal(err)
	}
	err = filepath.WalkDir(h.folder, func(path string, entry os.DirEntry, err error) error {
		rights := os.FileMode(0o666)
		if err == nil && entry.IsDir() {
			rights = 0o777
		}
		return errors.Join(err, os.Chmod(path, rights))
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return binary
}
