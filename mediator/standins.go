package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/orchestration"
)

// standInsFlags make the demo serve others, instead of playing by itself: the stand-ins of docker-compose.yml.
type standInsFlags struct {
	StandIns string `help:"Only start the stand-ins, write into this folder a configuration of the service that leads to them, and wait for Ctrl-C." placeholder:"FOLDER"`
	Host     string `help:"With --stand-ins: the name under which others reach them. They listen on every address then, and else on the loopback only." placeholder:"NAME"`
	Port     int    `help:"With --stand-ins: the port of the CHT; the two DHIS2 have the next ones. 0 is any free ones." default:"8081"`
	OpenHIM  string `name:"openhim" help:"With --stand-ins: the address of the API of a new OpenHIM, with which the service registers." placeholder:"URL"`
}

// The account that a new OpenHIM comes with.
const (
	newOpenHIMUser     = "root@openhim.org"
	newOpenHIMPassword = "openhim-password"
)

// standInsSchedule is when the service looks for what is due. In the demo nobody waits for the night.
const standInsSchedule = "*/3 * * * *"

// keepUp starts the stand-ins and waits until it is stopped.
func (c standInsFlags) keepUp(a *app) error {
	last, err := dhis2.LatestClosed(dhis2.Monthly, time.Now().UTC())
	if err != nil {
		return err
	}
	d := newDemo(a, last.String())
	stop, err := d.listen(c.listenAt)
	if err != nil {
		return &orchestration.UsageError{What: err.Error(), Remedy: "end what listens there, or choose other ports with --port"}
	}
	defer stop()
	for what, address := range d.urls {
		if d.urls[what], err = c.reachedAt(address); err != nil {
			return err
		}
	}
	if err := c.write(d); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "A CHT and two DHIS2 servers, none of them real, are up until Ctrl-C:\n")
	for _, what := range sortedNames(d.urls) {
		fmt.Fprintf(a.stdout, "  %-12s %s\n", what, d.urls[what])
	}
	fmt.Fprintf(a.stdout, "The configuration of a service that carries %s from the one to the others:\n  %s\n", d.period, filepath.Join(c.StandIns, "config.yaml"))
	<-a.ctx.Done()
	return nil
}

// listenAt is where the stand-in that is started as the one after so many others listens.
func (c standInsFlags) listenAt(others int) string {
	port, host := c.Port, ""
	if port != 0 {
		port += others
	}
	if c.Host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// reachedAt is the address of a stand-in as others know it.
func (c standInsFlags) reachedAt(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || c.Host == "" {
		return address, err
	}
	u.Host = net.JoinHostPort(c.Host, u.Port())
	return u.String(), nil
}

// write writes the configuration, and each secret into a file of its own. The configuration comes last, so that it is
// whole for whoever waits for it.
func (c standInsFlags) write(d *demo) error {
	if err := os.MkdirAll(c.StandIns, 0o700); err != nil {
		return err
	}
	route, err := c.routePassword()
	if err != nil {
		return err
	}
	files := map[string]string{
		"cht-password": d.country.CHTPassword, "dhis2-token": d.country.DHIS2Token, "route-password": route, "openhim-password": newOpenHIMPassword,
	}
	for _, name := range sortedNames(files) {
		if err := c.writeFile(name, files[name]+"\n"); err != nil {
			return err
		}
	}
	return c.writeFile("config.yaml", c.settings(d))
}

func (c standInsFlags) settings(d *demo) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by mediator demo --stand-ins, and again at its next start. It leads to stand-ins; nothing in it is secret.\n")
	if c.OpenHIM != "" {
		fmt.Fprintf(&b, "openhim: {api_url: %q, username: %q, password_file: openhim-password, trust_any: true}\n", c.OpenHIM, newOpenHIMUser)
	}
	fmt.Fprintf(&b, "callers:\n  - {name: openhim, username: openhim, password_file: route-password}\n")
	fmt.Fprintf(&b, "cht:\n  - {name: county, url: %q, username: %s, password_file: cht-password}\n", d.urls["CHT"], d.country.CHTUsername)
	fmt.Fprintf(&b, "dhis2:\n")
	for _, name := range d.names {
		fmt.Fprintf(&b, "  - {name: %s, url: %q, token_file: dhis2-token}\n", name, d.urls[d.whats[name]])
	}
	fmt.Fprintf(&b, "data_sets:\n")
	// The first data set has problems that people will see. The second one leaves out the org units that DHIS2 does not take, as
	// their remedy says, and arrives whole.
	without := []string{"", ", exclude_org_units: [" + strings.Join(d.refusedOrgUnits(), ", ") + "]"}
	for i, set := range d.country.DataSets {
		fmt.Fprintf(&b, "  - {id: %s, title: %q, dhis2: %s, first_period: %q, completeness: off, schedule: %q, first_after_days: 0, reread_days: 60%s}\n",
			set, d.title(set), d.names[i], d.period, standInsSchedule, without[i])
	}
	return b.String()
}

// routePassword is what OpenHIM's route says at the service's door. OpenHIM is told once, so it stays what it was.
func (c standInsFlags) routePassword() (string, error) {
	before, err := os.ReadFile(filepath.Join(c.StandIns, "route-password"))
	if errors.Is(err, fs.ErrNotExist) {
		return rand.Text(), nil
	}
	return strings.TrimSpace(string(before)), err
}

// writeFile puts a file whole into the folder, in the place of one that may be there.
func (c standInsFlags) writeFile(name, content string) error {
	path := filepath.Join(c.StandIns, name)
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
