package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// addOpenHIM adds an OpenHIM to the world and to its configuration.
func (w *world) addOpenHIM(ts *testscript.TestScript, args []string) error {
	w.him = sandbox.NewOpenHIM(sandbox.OpenHIMConfig{Version: args[0]})
	server, err := sandbox.Listen(w.him)
	if err != nil {
		return err
	}
	w.open = append(w.open, server)
	ts.Setenv("OPENHIM_AT", server.URL)
	config := fmt.Sprintf("openhim: {api_url: %q, username: root@openhim.org, password_file: openhim-secret, host: 127.0.0.1, heartbeat: 1s}\n", server.URL)
	file, err := os.OpenFile(filepath.Join(w.folder, "config.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(config)
	return errors.Join(err, file.Close(), os.WriteFile(filepath.Join(w.folder, "openhim-secret"), []byte("openhim-password\n"), 0o600))
}

// told waits until OpenHIM has so many transactions, all of the status given.
func (w *world) told(_ *testscript.TestScript, args []string) error {
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	return soon(func() error {
		all := w.him.Transactions()
		for _, t := range all {
			if t["status"] != args[1] {
				return fmt.Errorf("a transaction is %v, want %s", t["status"], args[1])
			}
		}
		if len(all) != want {
			return fmt.Errorf("OpenHIM has %d transactions, want %d", len(all), want)
		}
		return nil
	})
}

// soon waits until something is so.
func soon(is func() error) error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if err := is(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// freePort finds a port at which nothing listens.
func (*world) freePort(ts *testscript.TestScript, args []string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	ts.Setenv(args[0], port)
	return errors.Join(err, listener.Close())
}

// awaitPort waits until somebody listens at a port.
func (*world) awaitPort(_ *testscript.TestScript, args []string) error {
	return soon(func() error {
		connection, err := net.Dial("tcp", "127.0.0.1:"+args[0])
		if err != nil {
			return err
		}
		return connection.Close()
	})
}

// awaitText waits until a file has a text.
func (*world) awaitText(ts *testscript.TestScript, args []string) error {
	return soon(func() error {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && !strings.Contains(string(text), args[1]) {
			err = fmt.Errorf("%s has no %q:\n%s", args[0], args[1], text)
		}
		return err
	})
}

// firstGroup puts what an expression finds in the last standard output, in its first group, into a variable.
func (*world) firstGroup(ts *testscript.TestScript, args []string) error {
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) < 2 {
		return fmt.Errorf("the output has no %s", args[1])
	}
	ts.Setenv(args[0], found[1])
	return nil
}

// killProcess ends the process whose number is in a file, as nobody can who has to tidy up.
func (*world) killProcess(ts *testscript.TestScript, args []string) error {
	return sendSignal(ts, args[0], os.Kill)
}
