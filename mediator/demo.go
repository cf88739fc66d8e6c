package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/orchestration"
)

type demoCommand struct {
	Keep bool `help:"Leave the servers up when it is over, and say where they are."`
	Each bool `help:"Show the result of each org unit."`

	standInsFlags
}

// demoFacilities is how many health facilities the demo's country has.
const (
	demoFacilities = 40
	demoElements   = 12
	demoSeed       = 7
)

// demo is a small country with a CHT and a DHIS2 of each dialect, all of them stand-ins.
type demo struct {
	*app

	command demoCommand
	folder  string
	period  string
	country *sandbox.Country
	// servers are the two DHIS2, by the name that the configuration gives them.
	names   []string
	servers map[string]*sandbox.DHIS2
	configs map[string]string
	// urls are the addresses of all servers, by what they are; whats says what a DHIS2 is, by its name.
	urls, whats map[string]string
}

// Run starts the stand-ins and does on them what a person would do on real servers, by the same commands.
func (c demoCommand) Run(a *app) error {
	switch {
	case c.StandIns != "":
		return c.keepUp(a)
	case c.Host != "", c.OpenHIM != "":
		return &orchestration.UsageError{What: "--host and --openhim are for the stand-ins of others", Remedy: "add --stand-ins FOLDER"}
	}
	fmt.Fprintln(a.stdout, "A CHT and two DHIS2 servers, 2.42 and 2.43, are started in this process. Nothing leaves this machine.")
	folder, err := os.MkdirTemp("", "mediator-demo-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	last, err := dhis2.LatestClosed(dhis2.Monthly, time.Now().UTC())
	if err != nil {
		return err
	}
	d := newDemo(a, last.String())
	d.command, d.folder = c, folder
	stop, err := d.start()
	if err != nil {
		return err
	}
	defer stop()
	if err := d.play(); err != nil || !c.Keep {
		return err
	}
	fmt.Fprintf(a.stdout, "\nThe servers stay up until Ctrl-C:\n")
	for _, what := range sortedNames(d.urls) {
		fmt.Fprintf(a.stdout, "  %-12s %s\n", what, d.urls[what])
	}
	fmt.Fprintf(a.stdout, "Try, in another window, what you like:\n")
	for _, name := range d.names {
		fmt.Fprintf(a.stdout, "  mediator doctor --config %s\n", d.configs[name])
	}
	<-a.ctx.Done()
	return nil
}

// newDemo invents the country. Nothing listens yet.
func newDemo(a *app, period string) *demo {
	return &demo{
		app: a, period: period, servers: map[string]*sandbox.DHIS2{}, configs: map[string]string{}, urls: map[string]string{}, whats: map[string]string{},
		country: sandbox.NewCountry(sandbox.CountryConfig{
			Seed: demoSeed, Facilities: demoFacilities, DataSets: 2, Elements: demoElements, Period: period, Problems: true,
		}),
	}
}

// start starts the servers and writes a configuration for each DHIS2, with its secrets in files.
func (d *demo) start() (stop func(), err error) {
	stop, err = d.listen(func(int) string { return "127.0.0.1:0" })
	if err != nil {
		return nil, err
	}
	for _, name := range d.names {
		if d.configs[name], err = d.configure(d.urls["CHT"], name, d.urls[d.whats[name]]); err != nil {
			stop()
			return nil, err
		}
	}
	return stop, nil
}

// listen starts the servers, the CHT first. At says where each one listens that is started after so many others.
func (d *demo) listen(at func(others int) string) (stop func(), err error) {
	var open []*sandbox.Server
	stop = func() {
		for _, server := range open {
			server.Close()
		}
	}
	listen := func(what string, handler http.Handler) error {
		server, err := sandbox.ListenAt(at(len(open)), handler)
		if err != nil {
			stop()
			return fmt.Errorf("start the %s: %w", what, err)
		}
		open, d.urls[what] = append(open, server), server.URL
		return nil
	}
	if err := listen("CHT", sandbox.NewCHT(sandbox.CHTConfig{Documents: d.country.CHT})); err != nil {
		return nil, err
	}
	for _, one := range []struct{ name, version string }{{"national-242", "2.42.5"}, {"national-243", "2.43.1"}} {
		standIn := sandbox.NewDHIS2(sandbox.DHIS2Config{Version: one.version, Metadata: d.country.DHIS2, Users: d.country.Users})
		what := "DHIS2 " + one.version
		if err := listen(what, standIn); err != nil {
			return nil, err
		}
		d.names = append(d.names, one.name)
		d.servers[one.name], d.whats[one.name] = standIn, what
	}
	return stop, nil
}

func (d *demo) configure(cht, name, url string) (string, error) {
	folder := filepath.Join(d.folder, name)
	text := fmt.Sprintf("cht:\n  - {name: county, url: %q, username: %s, password_file: cht-password}\ndhis2:\n  - {name: %s, url: %q, token_file: dhis2-token}\ndata_sets:\n", cht, d.country.CHTUsername, name, url)
	for _, set := range d.country.DataSets {
		text += fmt.Sprintf("  - {id: %s, title: %q, first_period: \"202001\", completeness: off}\n", set, d.title(set))
	}
	file := filepath.Join(folder, "config.yaml")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	for path, content := range map[string]string{file: text, filepath.Join(folder, "cht-password"): d.country.CHTPassword, filepath.Join(folder, "dhis2-token"): d.country.DHIS2Token} {
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			return "", err
		}
	}
	return file, nil
}

func (d *demo) title(id string) string {
	for _, set := range d.country.DHIS2.DataSets {
		if set.ID == id {
			return set.Name
		}
	}
	return id
}

// play submits last month to both servers, tells what happened, and shows that doing it again does no harm.
func (d *demo) play() error {
	for _, name := range d.names {
		for _, set := range d.country.DataSets {
			if err := d.submit(name, set); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(d.stdout, "\nWhat DHIS2 would not take was set aside, and all the rest arrived. It is looked at again at each run: somebody now assigns\n"+
		"the data sets to these org units in DHIS2 2.43 and opens those that were closed, and what they had to report goes by itself.\n")
	d.mend(d.servers[d.names[1]])
	for _, set := range d.country.DataSets {
		if err := d.submit(d.names[1], set); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.stdout, "\nAnd once more, as somebody will click twice:\n")
	before := len(d.servers[d.names[0]].Values())
	if err := d.submit(d.names[0], d.country.DataSets[1]); err != nil {
		return err
	}
	after := len(d.servers[d.names[0]].Values())
	fmt.Fprintf(d.stdout, "\nBefore and after, this DHIS2 holds %d and %d values: a second run is harmless.\n", before, after)
	return nil
}

// mend does in a DHIS2 what the remedies say of its org units.
func (d *demo) mend(server *sandbox.DHIS2) {
	for _, orgUnit := range d.refusedOrgUnits() {
		server.CloseOrgUnit(orgUnit, "")
		for _, set := range d.country.DataSets {
			server.AssignDataSet(set, orgUnit)
		}
	}
}

// refusedOrgUnits are those that DHIS2 does not take, which the country knows.
func (d *demo) refusedOrgUnits() []string {
	var ids []string
	for _, set := range d.country.DataSets {
		for _, wrong := range d.country.Wrong[set] {
			if wrong.Why == sandbox.NotAssigned || wrong.Why == sandbox.ClosedInDHIS2 {
				ids = append(ids, wrong.OrgUnit)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// submit runs the command that a person would type. How it ends is told by its output; only a fault ends the demo.
func (d *demo) submit(server, set string, more ...string) error {
	args := append([]string{"submit", "--data-set", set, "--period", d.period}, more...)
	fmt.Fprintf(d.stdout, "\n$ mediator %s   # %s\n", strings.Join(args, " "), server)
	args = append(args, "--config", d.configs[server])
	if d.command.Each {
		args = append(args, "--each")
	}
	switch code := run(d.ctx, &app{stdout: d.stdout, stderr: d.stderr}, args); code {
	case exitFault, exitUsage, exitStopped:
		return fmt.Errorf("the demo's submission ended with exit code %d", code)
	default:
		return nil
	}
}
