package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cht-dhis2/mediator/config"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// onStandIns does something while the stand-ins are up, with the configuration that they have written.
func onStandIns(t *testing.T, folder string, args []string, do func(file string, settings *config.Config)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	file := filepath.Join(folder, "config.yaml")
	out := &watcher{text: file + "\n"}
	out.seen = func(string) {
		defer cancel()
		settings, err := config.Load(config.Input{File: file})
		if err != nil {
			t.Error(err)
			return
		}
		do(file, settings)
	}
	args = append([]string{"demo", "--stand-ins", folder, "--port", "0"}, args...)
	if code := run(ctx, &app{stdout: out, stderr: out}, args); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if out.seen != nil {
		t.Errorf("the stand-ins did not come up: %s", out.String())
	}
}

func TestStandInsWriteAConfigurationThatWorks(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new")
	onStandIns(t, folder, nil, func(file string, settings *config.Config) {
		var out strings.Builder
		a := func() *app { return &app{stdout: &out, stderr: &out} }
		if code := run(t.Context(), a(), []string{"doctor", "--config", file}); code != 0 {
			t.Errorf("doctor ends with %d: %s", code, out.String())
		}
		// The first data set has problems in it, the second one arrives whole: a console shows both.
		for i, want := range []int{3, 0} {
			out.Reset()
			if code := run(t.Context(), a(), []string{"submit", "--config", file, "--data-set", settings.DataSets[i].ID}); code != want {
				t.Errorf("data set %d ends with %d, want %d: %s", i+1, code, want, out.String())
			}
		}
		for _, set := range settings.DataSets {
			if !set.Enabled || set.Schedule == "" || set.FirstAfterDays != 0 {
				t.Errorf("data set %s does not go by itself: %+v", set.ID, set)
			}
		}
		if settings.OpenHIM.IsSet() {
			t.Error("there is an OpenHIM that nobody named")
		}
	})
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others may read %s: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestStandInsAreReachedByTheNameGiven(t *testing.T) {
	args := []string{"--host", "localhost", "--openhim", "https://openhim-core:8080"}
	onStandIns(t, t.TempDir(), args, func(_ string, settings *config.Config) {
		all := []*url.URL{settings.CHT[0].URL}
		for _, server := range settings.DHIS2 {
			all = append(all, server.URL)
		}
		for _, u := range all {
			if u.Hostname() != "localhost" || u.Port() == "" {
				t.Errorf("address %s", u)
			}
		}
		if o := settings.OpenHIM; o.Address != "https://openhim-core:8080" || !o.TrustAny || o.Caller != "openhim" {
			t.Errorf("OpenHIM is %+v", o)
		}
	})
}

func TestStandInsKeepThePasswordThatOpenHIMWasTold(t *testing.T) {
	folder := t.TempDir()
	var passwords []string
	for range 2 {
		onStandIns(t, folder, nil, func(_ string, settings *config.Config) {
			password, err := settings.Callers[0].Password.Reveal()
			if err != nil || len(password) < 20 {
				t.Errorf("password of %d letters, error %v", len(password), err)
			}
			passwords = append(passwords, password)
		})
	}
	if len(passwords) != 2 || passwords[0] != passwords[1] {
		t.Error("the password is another one after a new start, and the channel has the old one")
	}
}

func TestStandInsSayWhereTheyCannotListen(t *testing.T) {
	folder := t.TempDir()
	onStandIns(t, folder, nil, func(_ string, settings *config.Config) {
		var out strings.Builder
		code := run(t.Context(), &app{stdout: io.Discard, stderr: &out}, []string{"demo", "--stand-ins", t.TempDir(), "--port", settings.CHT[0].URL.Port()})
		if code != exitUsage || !strings.Contains(out.String(), "--port") {
			t.Errorf("exit code %d: %s", code, out.String())
		}
	})
	if _, err := os.Stat(filepath.Join(folder, "config.yaml.new")); err == nil {
		t.Error("a file was left half-written")
	}
}

func TestTheDemoShowsItselfInOpenHIM(t *testing.T) {
	him := sandbox.NewOpenHIM(sandbox.OpenHIMConfig{})
	server, err := sandbox.Listen(him)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	onStandIns(t, t.TempDir(), []string{"--openhim", server.URL}, func(file string, settings *config.Config) {
		said := &lines{}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan int, 1)
		go func() {
			environ := []string{"DATA_DIR=" + t.TempDir(), fmt.Sprintf("LISTEN=127.0.0.1:%d", freePort(t))}
			ended <- run(ctx, &app{stdout: said, stderr: said, environ: environ}, []string{"serve", "--config", file})
		}()
		defer func() {
			cancel()
			if code := <-ended; code != 0 {
				t.Errorf("the service ends with %d: %s", code, said.String())
			}
		}()
		statuses := func() (all []string) {
			for _, transaction := range him.Transactions() {
				all = append(all, fmt.Sprint(transaction["status"]))
			}
			slices.Sort(all)
			return slices.Compact(all) // the schedule's next turn may have come meanwhile
		}
		eventually(t, "a transaction for each data set", func() bool { return len(him.Transactions()) >= len(settings.DataSets) })
		if got, want := statuses(), []string{"Completed with error(s)", "Successful"}; !slices.Equal(got, want) {
			t.Errorf("transactions are %v, want %v", got, want)
		}
		if len(him.Mediators()) != 1 || len(him.Channels()) != 1 {
			t.Errorf("%d mediators and %d channels", len(him.Mediators()), len(him.Channels()))
		}
	})
}
