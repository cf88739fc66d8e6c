//go:build unix

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Cluster is a PostgreSQL server. The zero value with a Config is not started yet: the first database starts it.
type Cluster struct {
	Config

	mu      sync.Mutex
	bin     string
	folder  string
	as      *syscall.Credential
	server  *exec.Cmd
	ended   chan struct{}
	made    int
	failure error
}

// Database makes a new database and gives its address. It starts the server where it does not run yet.
func (c *Cluster) Database() (address string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.folder == "" && c.failure == nil {
		c.failure = c.begin()
	}
	if c.failure != nil {
		return "", c.failure
	}
	c.made++
	name := fmt.Sprintf("test_%d", c.made)
	if err := c.sql("postgres", `CREATE DATABASE `+name+` OWNER `+Owner+` TEMPLATE pattern`); err != nil {
		return "", err
	}
	return c.address(name, Owner), nil
}

// SQL runs statements on the database at an address, as the server's own superuser.
func (c *Cluster) SQL(address, text string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	return c.sql(strings.TrimPrefix(u.Path, "/"), text)
}

// Stop ends the server: mode is smart, fast or immediate, as pg_ctl has them. Databases keep what was committed.
func (c *Cluster) Stop(mode string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stop(mode)
}

// Start starts a server that was stopped.
func (c *Cluster) Start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.start()
}

// Close ends the server and removes all that it held.
func (c *Cluster) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.folder == "" {
		return nil
	}
	var err error
	if c.server != nil {
		err = c.stop("immediate")
	}
	return errors.Join(err, os.RemoveAll(c.folder))
}

func (c *Cluster) begin() error {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return ErrMissing
	}
	c.bin = filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return versionOf(a) - versionOf(b) }))
	if c.folder, err = os.MkdirTemp("", "cluster"); err != nil {
		return err
	}
	if err := c.chooseUser(); err != nil {
		return err
	}
	// Words are sorted as in English, so that what rests on the order of bytes is found out.
	english := []string{"--locale-provider=icu", "--icu-locale=en-US"}
	basic := []string{"-D", c.data(), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"}
	if _, err := c.run("initdb", append(slices.Clone(basic), english...)...); err != nil {
		if _, err := c.run("initdb", basic...); err != nil {
			return err
		}
	}
	rules := filepath.Join(c.data(), "pg_hba.conf")
	if err := os.WriteFile(rules, []byte("local all "+WithPassword+" scram-sha-256\nlocal all all trust\n"), 0o600); err != nil {
		return err
	}
	if err := c.start(); err != nil {
		return err
	}
	if err := c.sql("postgres", `CREATE ROLE `+Owner+` LOGIN; CREATE DATABASE pattern OWNER `+Owner); err != nil {
		return err
	}
	if c.Prepare == nil {
		return nil
	}
	return c.Prepare(c.address("pattern", Owner))
}

// versionOf is the version in a path such as /usr/lib/postgresql/15/bin/initdb.
func versionOf(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// chooseUser finds somebody to run the server as, which refuses to be run by root.
func (c *Cluster) chooseUser() error {
	if os.Getuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, _ := strconv.ParseUint(account.Uid, 10, 32)
	gid, _ := strconv.ParseUint(account.Gid, 10, 32)
	c.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(c.folder, int(uid), int(gid))
}

func (c *Cluster) data() string { return filepath.Join(c.folder, "data") }

func (c *Cluster) address(database, account string) string {
	u := url.URL{Scheme: "postgres", User: url.User(account), Path: "/" + database, RawQuery: url.Values{"host": {c.folder}}.Encode()}
	return u.String()
}

func (c *Cluster) command(program string, args ...string) *exec.Cmd {
	command := exec.Command(filepath.Join(c.bin, program), args...)
	command.Dir = c.folder
	command.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "PGCONNECT_TIMEOUT=5")
	command.SysProcAttr = endingWithUs(c.as)
	return command
}

func (c *Cluster) run(program string, args ...string) (string, error) {
	out, err := c.command(program, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(out))
	}
	return string(out), nil
}

func (c *Cluster) sql(database, text string) error {
	args := []string{"-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", c.folder, "-U", "postgres", "-d", database}
	for _, statement := range strings.Split(text, ";") {
		args = append(args, "-c", statement)
	}
	_, err := c.run("psql", args...)
	return err
}

func (c *Cluster) start() error {
	args := []string{"-D", c.data(), "-k", c.folder, "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=32MB"}
	if !c.Durable {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	c.server = c.command("postgres", args...)
	var said bytes.Buffer
	c.server.Stdout, c.server.Stderr = &said, &said
	started := make(chan error, 1)
	c.ended = make(chan struct{})
	go c.keep(c.server, started, c.ended)
	if err := <-started; err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		if _, err := c.run("pg_isready", "-q", "-h", c.folder, "-d", "postgres"); err == nil {
			return nil
		}
		select {
		case <-c.ended:
			return fmt.Errorf("PostgreSQL has ended: %s", said.String())
		case <-ctx.Done():
			return errors.New("PostgreSQL does not come up")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *Cluster) stop(mode string) error {
	signals := map[string]syscall.Signal{"smart": syscall.SIGTERM, "fast": syscall.SIGINT, "immediate": syscall.SIGQUIT}
	if err := c.server.Process.Signal(signals[mode]); err != nil {
		return err
	}
	<-c.ended
	c.server = nil
	return nil
}
