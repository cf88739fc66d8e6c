package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/internal/sandbox/cluster"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"mediator": main})
}

// leakChecked runs the tests and fails when they leave a goroutine behind.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreTopFunction("os/signal.loop")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// server is the PostgreSQL of these tests, which the first one that needs it starts.
var server cluster.Cluster

// database gives the address of an empty database of the test's own.
func database(t testing.TB, of *cluster.Cluster) string {
	t.Helper()
	address, err := of.Database()
	if errors.Is(err, cluster.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// TestScripts runs what a user types, and compares what the user sees. Beside testscript's own, the scripts have these
// commands:
//
//	world VERSION [facilities=N] [problems] [scheduled]   a country with a CHT and a DHIS2, and a config.yaml for it
//	cht-export FILE                           what the CHT answers from now on; the ids of the country stand in it as $SET
//	cht-settings month-start|data-set VALUE   changes the CHT's settings
//	fault cht|dhis2 KIND [key=value…]         a fault of package sandbox
//	heal                                      no fault any more
//	lock, close-unit ID [DATE]                locks the period, closes an org unit in DHIS2, long ago or at a date
//	stored N | right [times=N]                how many values DHIS2 holds, or that they are the right answer, so many times
//	imports N [most=N]                        how many imports reached DHIS2, and the largest number of values in one
//	forget-imports                            begins the count of imports anew
//	repeated                                  the first two imports were the same, byte for byte
//	exports N                                 how many exports the CHT was asked for
//	interrupt FILE                            sends an interrupt to the process whose number is in the file
//	count-anew                                begins the count for logins
//	logins N                                  DHIS2 was asked at most so many times, for anything
//	env-file FILE                             fills the environment variables in that stand in a file
//	await-imports N                           waits until as many imports reached DHIS2
//	openhim VERSION                           adds an OpenHIM, and a section for it to config.yaml
//	told N STATUS                             waits until OpenHIM has so many transactions, all of that status
//	kill-process FILE                         kills the process whose number is in the file
//	free-port NAME, await-port PORT           finds a port for a variable, and waits until somebody listens there
//	await-text FILE TEXT                      waits until a file has a text
//	edit OU DE VALUE                          lets a nurse change a value in DHIS2
//	find NAME EXPRESSION                      puts the first group of what is found in the last output into a variable
//
// A service in the background is started as exec sh -c 'echo $$ > pid; exec mediator serve …' &service&: it is then the process
// that testscript stops when the script fails.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: setUp, Cmds: scriptCommands()})
}

// TestScriptsOnPostgreSQL runs those again that rest on the store most: nothing but the address of a database is set.
func TestScriptsOnPostgreSQL(t *testing.T) {
	database(t, &server)
	var files []string
	for _, name := range []string{"cancel", "held", "interrupt", "range", "retry", "serve", "several_sources", "status", "submit_243", "late_data"} {
		files = append(files, filepath.Join("testdata", "script", name+".txt"))
	}
	testscript.Run(t, testscript.Params{Files: files, Cmds: scriptCommands(), Setup: func(env *testscript.Env) error {
		address, err := server.Database()
		env.Setenv("DATABASE_URL", address)
		return errors.Join(err, setUp(env))
	}})
}

func setUp(env *testscript.Env) error {
	w := &world{folder: env.WorkDir, env: env}
	env.Values[worldKey{}] = w
	env.Defer(w.close)
	env.Setenv("NO_COLOR", "1")
	env.Setenv("TZ", "UTC")
	return nil
}

func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"world": onWorld((*world).invent), "cht-export": onWorld((*world).setExport),
		"fault": onWorld((*world).fault), "heal": onWorld((*world).heal), "lock": onWorld((*world).lock), "close-unit": onWorld((*world).closeUnit), "edit": onWorld((*world).edit),
		"stored": onWorld((*world).stored), "imports": onWorld((*world).imports), "repeated": onWorld((*world).repeated),
		"cht-settings": onWorld((*world).setSettings), "exports": onWorld((*world).exports), "documents": onWorld((*world).documents), "sync": onWorld((*world).sync), "await-imports": onWorld((*world).awaitImports), "env-file": onWorld((*world).fillIn),
		"interrupt": onWorld((*world).interrupt), "logins": onWorld((*world).logins), "count-anew": onWorld((*world).countAnew), "forget-imports": onWorld((*world).forget),
		"openhim": onWorld((*world).addOpenHIM), "told": onWorld((*world).told), "kill-process": onWorld((*world).killProcess), "find": onWorld((*world).firstGroup),
		"free-port": onWorld((*world).freePort), "await-port": onWorld((*world).awaitPort), "await-text": onWorld((*world).awaitText),
		"silence": onWorld((*world).silence), "speak": onWorld((*world).speak),
	}
}

type worldKey struct{}

// world is the servers of one script.
type world struct {
	folder  string
	env     *testscript.Env
	cht     *sandbox.CHT
	dhis2   *sandbox.DHIS2
	him     *sandbox.OpenHIM // where the script has one
	country *sandbox.Country
	open    []*sandbox.Server
	period  string
	// forgotten is how many imports are counted no more.
	forgotten int
	// asked counts the requests to DHIS2.
	asked atomic.Int64
}

func (w *world) close() {
	for _, server := range w.open {
		server.Close()
	}
}

// onWorld makes a script command of a method. A command that fails ends the script.
func onWorld(f func(*world, *testscript.TestScript, []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		w, _ := ts.Value(worldKey{}).(*world)
		err := f(w, ts, args)
		if neg && err == nil {
			ts.Fatalf("did not fail")
		}
		if !neg {
			ts.Check(err)
		}
	}
}

// option finds key=value among the arguments.
func option(args []string, key, otherwise string) string {
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, key+"="); ok {
			return value
		}
	}
	return otherwise
}

func number(args []string, key string, otherwise int) int {
	n, err := strconv.Atoi(option(args, key, strconv.Itoa(otherwise)))
	if err != nil {
		panic(err)
	}
	return n
}

func (w *world) invent(ts *testscript.TestScript, args []string) error {
	w.forgotten = 0
	now := time.Now().UTC()
	w.period = time.Date(now.Year(), now.Month()-1, 1, 0, 0, 0, 0, time.UTC).Format("200601")
	kind, first := dhis2.PeriodType(option(args, "period-type", string(dhis2.Monthly))), "202001"
	longer, err := dhis2.LatestClosed(kind, now)
	if err == nil && kind != dhis2.Monthly {
		w.period, first = longer.Last().Format("200601"), "2020Q1"[:len(longer.String())]
	}
	w.country = sandbox.NewCountry(sandbox.CountryConfig{
		Seed: 11, Facilities: number(args, "facilities", 8), DataSets: number(args, "sets", 1), Elements: number(args, "elements", 6),
		Period: w.period, Problems: slices.Contains(args, "problems"),
	})
	if kind != dhis2.Monthly {
		w.lengthen(kind, longer)
	}
	w.cht = sandbox.NewCHT(sandbox.CHTConfig{Documents: w.country.CHT})
	nurse := w.country.Users[0]
	nurse.ID, nurse.Username, nurse.Name, nurse.Password, nurse.Token = "", "nurse", "A nurse", "Nurse.1234", ""
	w.country.Users = append(w.country.Users, nurse)
	w.dhis2 = sandbox.NewDHIS2(sandbox.DHIS2Config{Version: args[0], Calendar: option(args, "calendar", ""), Metadata: w.country.DHIS2, Users: w.country.Users})
	ts.Setenv("PERIOD", w.period)
	ts.Setenv("RUNNING", now.Format("200601"))
	for i, set := range w.country.DataSets {
		ts.Setenv(fmt.Sprintf("SET%d", i+1), set)
	}
	var units, elements []string
	for _, v := range w.country.Right[w.country.DataSets[0]] {
		units, elements = append(units, v.OrgUnit), append(elements, v.DataElement)
	}
	slices.Sort(units)
	slices.Sort(elements)
	for i, id := range slices.Compact(units) {
		ts.Setenv(fmt.Sprintf("OU%d", i+1), id)
	}
	for i, id := range slices.Compact(elements) {
		ts.Setenv(fmt.Sprintf("DE%d", i+1), id)
	}
	var sets strings.Builder
	schedule := ""
	if slices.Contains(args, "scheduled") {
		schedule = `, schedule: "0 3 * * *"`
	}
	for _, id := range w.country.DataSets {
		fmt.Fprintf(&sets, "  - {id: %s, title: Monthly totals, first_period: %q, completeness: off%s}\n", id, first, schedule)
	}
	return w.listen(ts, sets.String())
}

// lengthen gives the data sets another period type in DHIS2. What was counted in the period's last month was counted in each one.
func (w *world) lengthen(kind dhis2.PeriodType, period dhis2.Period) {
	for i := range w.country.DHIS2.DataSets {
		w.country.DHIS2.DataSets[i].PeriodType = string(kind)
	}
	if !kind.Supported() {
		return
	}
	last := w.country.CHT.Targets
	for month := period.First(); month.Month() != period.Last().Month(); month = month.AddDate(0, 1, 0) {
		for _, d := range last {
			tag := month.Format("2006-01")
			d.ID, d.ReportingPeriod = strings.Replace(d.ID, "~"+d.ReportingPeriod+"~", "~"+tag+"~", 1), tag
			w.country.CHT.Targets = append(w.country.CHT.Targets, d)
		}
	}
	w.period = period.String()
}

// listen starts the servers and writes the configuration.
func (w *world) listen(ts *testscript.TestScript, sets string) error {
	for name, handler := range map[string]http.Handler{"CHT_AT": w.cht, "DHIS2_AT": http.HandlerFunc(w.counted)} {
		server, err := sandbox.Listen(handler)
		if err != nil {
			return err
		}
		w.open = append(w.open, server)
		ts.Setenv(name, server.URL)
	}
	config := fmt.Sprintf("cht:\n  - {name: county, url: %q, username: %s, password_file: cht-secret}\ndhis2:\n  - {name: national, url: %q, token_file: dhis2-secret}\ndata_sets:\n%s",
		ts.Getenv("CHT_AT"), w.country.CHTUsername, ts.Getenv("DHIS2_AT"), sets)
	for name, content := range map[string]string{"config.yaml": config, "cht-secret": w.country.CHTPassword + "\n", "dhis2-secret": w.country.DHIS2Token + "\n"} {
		if err := os.WriteFile(filepath.Join(w.folder, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// setExport lets the CHT answer with a file, in which the names of environment variables are filled in.
func (w *world) setExport(ts *testscript.TestScript, args []string) error {
	content := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	w.cht.SetExport(w.country.DataSets[0], w.period, []byte(strings.TrimSuffix(content, "\n")))
	return nil
}

// countAnew begins the count of the requests to DHIS2.
func (w *world) countAnew(*testscript.TestScript, []string) error {
	w.asked.Store(0)
	return nil
}

// counted serves DHIS2 and counts.
func (w *world) counted(rw http.ResponseWriter, r *http.Request) {
	w.asked.Add(1)
	w.dhis2.ServeHTTP(rw, r)
}

// fillIn puts the values of environment variables where a file has their names.
func (w *world) fillIn(ts *testscript.TestScript, args []string) error {
	return os.WriteFile(ts.MkAbs(args[0]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600)
}

func (w *world) setSettings(_ *testscript.TestScript, args []string) error {
	w.cht.Change(func(d *sandbox.CHTDocuments) {
		switch args[0] {
		case "month-start":
			d.Settings.UHC.MonthStartDate, _ = strconv.Atoi(args[1])
		case "data-set":
			d.Settings.DHISDataSets = []sandbox.CHTDataSet{{ID: args[1]}}
		}
	})
	return nil
}

func (w *world) fault(_ *testscript.TestScript, args []string) error {
	f := sandbox.Fault{
		Kind: sandbox.FaultKind(args[1]), Path: option(args, "path", ""), Method: option(args, "method", ""),
		Skip: number(args, "skip", 0), Times: number(args, "times", 0), Status: number(args, "status", 0), Size: int64(number(args, "size", 0)),
		RetryAfter: option(args, "retry-after", ""),
	}
	var err error
	if f.Delay, err = time.ParseDuration(option(args, "delay", "0s")); err != nil {
		return err
	}
	if args[0] == "cht" {
		w.cht.Fail(f)
	} else {
		w.dhis2.Fail(f)
	}
	return nil
}

func (w *world) heal(*testscript.TestScript, []string) error {
	w.cht.Heal()
	w.dhis2.Heal()
	return nil
}

func (w *world) lock(*testscript.TestScript, []string) error {
	w.dhis2.LockPeriod(w.country.DataSets[0], w.period)
	return nil
}

func (w *world) closeUnit(_ *testscript.TestScript, args []string) error {
	w.dhis2.CloseOrgUnit(args[0], append(args, "2020-01-01")[1])
	return nil
}

// edit lets a nurse change a value in DHIS2.
func (w *world) edit(_ *testscript.TestScript, args []string) error {
	body := fmt.Sprintf(`{"dataSet":%q,"period":%q,"dataValues":[{"orgUnit":%q,"dataElement":%q,"value":%q}]}`, w.country.DataSets[0], w.period, args[0], args[1], args[2])
	request := httptest.NewRequest(http.MethodPost, "/api/dataValueSets", strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	request.SetBasicAuth("nurse", "Nurse.1234")
	answer := httptest.NewRecorder()
	w.dhis2.ServeHTTP(answer, request)
	w.forgotten++ // her import is none of ours
	if answer.Code != http.StatusOK {
		return fmt.Errorf("DHIS2 answered %d %s", answer.Code, answer.Body)
	}
	return nil
}

// stored compares what DHIS2 holds with a number, and with the country's right answer where that is asked for.
func (w *world) stored(_ *testscript.TestScript, args []string) error {
	held := w.dhis2.Values()
	if args[0] != "right" {
		if want, err := strconv.Atoi(args[0]); err != nil || len(held) != want {
			return fmt.Errorf("DHIS2 holds %d values, want %s", len(held), args[0])
		}
		return nil
	}
	got := map[string]string{}
	for _, v := range held {
		got[v.OrgUnit+" "+v.DataElement] = v.Value
	}
	for _, set := range w.country.DataSets {
		for _, v := range w.country.Right[set] {
			key := v.OrgUnit + " " + v.DataElement
			n, err := strconv.Atoi(v.Value)
			right := strconv.Itoa(n * number(args, "times", 1))
			if value, ok := got[key]; err != nil || ok && value != right || !ok && right != "0" {
				return fmt.Errorf("DHIS2 holds %q for %s, the right value is %q", value, key, right)
			}
			delete(got, key)
		}
	}
	if len(got) > 0 {
		return fmt.Errorf("DHIS2 holds %d values that are wrong: %v", len(got), got)
	}
	return nil
}

// imports compares how many imports reached DHIS2, and how large the largest was.
func (w *world) imports(_ *testscript.TestScript, args []string) error {
	imports := w.dhis2.Imports()[w.forgotten:]
	if want, err := strconv.Atoi(args[0]); err != nil || len(imports) != want {
		return fmt.Errorf("%d imports reached DHIS2, want %s", len(imports), args[0])
	}
	most := number(args, "most", 1<<30)
	for _, i := range imports {
		if n := strings.Count(string(i.Body), `"value":`); n > most {
			return fmt.Errorf("an import has %d values, more than %d", n, most)
		}
	}
	if w.dhis2.MostAtOnce() > 1 {
		return fmt.Errorf("%d imports were in flight at once", w.dhis2.MostAtOnce())
	}
	return nil
}

// forget begins the count of imports anew.
func (w *world) forget(*testscript.TestScript, []string) error {
	w.forgotten = len(w.dhis2.Imports())
	return nil
}

// repeated makes sure that the first two imports were the same, byte for byte.
func (w *world) repeated(*testscript.TestScript, []string) error {
	imports := w.dhis2.Imports()
	if len(imports) < 2 || !slices.Equal(imports[0].Raw, imports[1].Raw) {
		return fmt.Errorf("of %d imports the second is not the first again", len(imports))
	}
	return nil
}

// exports compares how many exports the CHT was asked for.
func (w *world) exports(_ *testscript.TestScript, args []string) error {
	n := 0
	for _, r := range w.cht.Requests() {
		if strings.HasPrefix(r.Path, "/api/v2/export/") {
			n++
		}
	}
	if want, err := strconv.Atoi(args[0]); err != nil || n != want {
		return fmt.Errorf("the CHT was asked for %d exports, want %s", n, args[0])
	}
	return nil
}

// documents compares how many answers with target documents or contacts the CHT was asked for, beside those with revisions only.
func (w *world) documents(_ *testscript.TestScript, args []string) error {
	n := 0
	for _, r := range w.cht.Requests() {
		if strings.HasSuffix(r.Path, "/_all_docs") && r.Query.Get("include_docs") == "true" {
			n++
		}
	}
	if want, err := strconv.Atoi(args[0]); err != nil || n != want {
		return fmt.Errorf("the CHT was asked for documents %d times, want %s", n, args[0])
	}
	return nil
}

// sync lets the first phone of the month count one more of everything.
func (w *world) sync(*testscript.TestScript, []string) error {
	w.cht.Change(func(d *sandbox.CHTDocuments) {
		first := &d.Targets[0]
		first.Targets = slices.Clone(first.Targets)
		for i := range first.Targets {
			v := *first.Targets[i].Value
			v.Pass, v.Total = asInt(v.Pass)+1, asInt(v.Total)+1
			first.Targets[i].Value = &v
		}
	})
	return nil
}

// asInt is a number of a target document.
func asInt(v any) int {
	switch v := v.(type) {
	case int:
		return v
	case float64:
		return int(v)
	default:
		return 0
	}
}

// awaitImports waits until so many imports reached DHIS2.
func (w *world) awaitImports(_ *testscript.TestScript, args []string) error {
	want, err := strconv.Atoi(args[0])
	for deadline := time.Now().Add(30 * time.Second); err == nil && len(w.dhis2.Imports()) < want; {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d imports after 30 seconds, want %d", len(w.dhis2.Imports()), want)
		}
		runtime.Gosched()
	}
	return err
}

// sendSignal signals the process whose number is in a file.
func sendSignal(ts *testscript.TestScript, file string, what os.Signal) error {
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(file)))
	if err != nil {
		return err
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	return process.Signal(what)
}

// interrupt sends an interrupt to the process whose number is in a file.
func (*world) interrupt(ts *testscript.TestScript, args []string) error {
	return sendSignal(ts, args[0], os.Interrupt)
}

// logins compares how many requests came to DHIS2 in all.
func (w *world) logins(_ *testscript.TestScript, args []string) error {
	if want, err := strconv.Atoi(args[0]); err != nil || int(w.asked.Load()) > want {
		return fmt.Errorf("DHIS2 was asked %d times, want at most %s", w.asked.Load(), args[0])
	}
	return nil
}

// TestRunNeedsNoProcess runs the program as a value.
func TestRunNeedsNoProcess(t *testing.T) {
	var out strings.Builder
	if code := run(context.Background(), &app{stdout: &out, stderr: io.Discard}, []string{"version"}); code != 0 || !strings.Contains(out.String(), version) {
		t.Errorf("exit code %d, output %q", code, out.String())
	}
}
