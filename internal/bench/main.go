// Bench measures what a month of a million values costs the mediator, beside a plain client and beside curl, in one run
// on one machine: peak memory, time and CPU of each process, and the ratios between them.
//
//	go run ./internal/bench -write docs/benchmarks.md
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	var (
		orgUnits  = flag.Int("org-units", 10000, "org units of the large month")
		elements  = flag.Int("elements", 100, "data elements of each")
		runs      = flag.Int("runs", 3, "how often each client runs; the middle one of its times counts")
		write     = flag.String("write", "", "file to write the result to, beside the standard output")
		asStub    = flag.Bool("stub", false, "serve the stubs (used by the program itself)")
		validated = flag.String("validate", "", "read the target documents of the stub at this address and only validate them (used by the program itself)")
		plain     = flag.String("storeless", "", "carry the month between the stubs at this address, without a store (used by the program itself)")
	)
	flag.Parse()
	var err error
	switch {
	case *asStub:
		err = stub(*orgUnits, *elements)
	case *validated != "":
		err = validate(*validated)
	case *plain != "":
		err = storeless(*plain, os.TempDir())
	default:
		err = bench(*orgUnits, *elements, *runs, *write)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// sample is what one process used.
type sample struct {
	wall, cpu time.Duration
	memory    int64 // peak resident, bytes
}

// client is something that carries the month from one stub to the other.
type client struct {
	name    string
	needs   string // the program that it needs, empty for none
	command func(url string) *exec.Cmd
}

func bench(orgUnits, elements, runs int, write string) error {
	folder, err := os.MkdirTemp("", "bench-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	binary := filepath.Join(folder, "mediator")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./mediator")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the mediator: %w", err)
	}
	peer := filepath.Join(folder, "peer.mjs")
	if err := os.WriteFile(peer, peerScript, 0o600); err != nil {
		return err
	}
	clients := []client{
		{"mediator", "", func(url string) *exec.Cmd { return mediator(binary, folder, url) }},
		{unchecked, "", func(url string) *exec.Cmd {
			return mediator(binary, folder, url, "--set", "data_sets."+benchSet+".checks=off")
		}},
		{withoutStore, "", func(url string) *exec.Cmd { return exec.Command(self(), "-storeless", url) }},
		{"plain Node client", "node", func(url string) *exec.Cmd { return exec.Command("node", peer, url, url) }},
		{"curl to curl", "curl", curl},
	}
	small, err := measure(clients[:1], max(1, orgUnits/10), elements, runs)
	if err != nil {
		return err
	}
	large, err := measure(clients, orgUnits, elements, runs)
	if err != nil {
		return err
	}
	wide, err := measure(clients[:1], orgUnits*10, max(1, elements/10), runs)
	if err != nil {
		return err
	}
	r := results{small: small, large: large, wide: wide}
	if r.demo, err = firstOutput(binary, runs); err != nil {
		return err
	}
	if err := r.measureService(binary, folder, orgUnits, elements); err != nil {
		return err
	}
	if r.reread, err = measureReread(binary, folder, orgUnits, elements, runs); err != nil {
		return err
	}
	// Before what stands up servers in this process: a child's peak is at least its parent's size when it began.
	if r.documents, err = measureDocuments(binary, folder, runs); err != nil {
		return err
	}
	if r.queued, r.oneByOne, err = measureQueue(binary, folder); err != nil {
		return err
	}
	if r.ladder, err = measureLadder(binary, folder, orgUnits); err != nil {
		return err
	}
	text := report(orgUnits, elements, clients, r)
	if _, err := fmt.Print(text); err != nil || write == "" {
		return err
	}
	return os.WriteFile(write, []byte(text), 0o644)
}

// withoutStore is the client that does the same and remembers nothing, unchecked the one that leaves all judging to DHIS2.
const (
	withoutStore = "the same without store"
	unchecked    = "the same with checks: off"
)

func self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// measureService measures what a month leaves in a new store, and then the service on that store.
func (r *results) measureService(binary, folder string, orgUnits, elements int) error {
	url, stop, err := startStub(orgUnits, elements)
	if err != nil {
		return err
	}
	defer stop()
	data := filepath.Join(folder, "data")
	if _, err := run(mediator(binary, folder, url)); err != nil {
		return err
	}
	if r.store, err = folderSize(data); err != nil {
		return err
	}
	info, err := os.Stat(binary)
	if err != nil {
		return err
	}
	r.binary = info.Size()
	r.service, err = startService(binary, folder, url)
	return err
}

const config = `cht: [{name: stub, url: %[1]q, username: x, password: x}]
dhis2: [{name: stub, url: %[1]q, token: x}]
data_sets: [{id: DsBench0001, first_period: "201001", completeness: off}]
`

// mediator submits the month on a new store.
func mediator(binary, folder, url string, more ...string) *exec.Cmd {
	_ = os.RemoveAll(filepath.Join(folder, "data"))
	file := filepath.Join(folder, "config.yaml")
	_ = os.WriteFile(file, fmt.Appendf(nil, config, url), 0o600)
	return exec.Command(binary, append([]string{"submit", "--config", file, "--period", benchPeriod, "--json"}, more...)...)
}

// curl moves the bytes of the month from one stub to the other, unread: the floor.
func curl(url string) *exec.Cmd {
	get := fmt.Sprintf("curl -sS -g '%s/api/v2/export/dhis?filters[dataSet]=%s&filters[date][from]=1789473600000'", url, benchSet)
	return exec.Command("sh", "-c", get+" | curl -sS -o /dev/null -H 'Content-Type: application/json' -T - -X POST "+url+"/api/dataValueSets")
}

// measure runs each client some times, in turns, so that what else the machine does hits all alike.
func measure(clients []client, orgUnits, elements, runs int) (map[string]sample, error) {
	url, stop, err := startStub(orgUnits, elements)
	if err != nil {
		return nil, err
	}
	defer stop()
	samples := map[string][]sample{}
	for range runs {
		for _, c := range clients {
			if c.needs != "" {
				if _, err := exec.LookPath(c.needs); err != nil {
					continue
				}
			}
			s, err := run(c.command(url))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			samples[c.name] = append(samples[c.name], s)
		}
	}
	middle := map[string]sample{}
	for name, list := range samples {
		middle[name] = middleOf(list)
	}
	return middle, nil
}

// middleOf has the middle one of each time, and the most memory.
func middleOf(list []sample) sample {
	return sample{
		wall:   median(list, func(s sample) time.Duration { return s.wall }),
		cpu:    median(list, func(s sample) time.Duration { return s.cpu }),
		memory: slices.MaxFunc(list, func(a, b sample) int { return int(a.memory - b.memory) }).memory,
	}
}

func median(list []sample, of func(sample) time.Duration) time.Duration {
	var all []time.Duration
	for _, s := range list {
		all = append(all, of(s))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func run(c *exec.Cmd) (sample, error) {
	var said strings.Builder
	c.Stdout, c.Stderr = &said, &said
	started := time.Now()
	if err := c.Run(); err != nil {
		return sample{}, fmt.Errorf("%w: %.500s", err, said.String())
	}
	usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return sample{}, errors.New("this system does not tell what a process used")
	}
	return sample{
		wall: time.Since(started), cpu: c.ProcessState.UserTime() + c.ProcessState.SystemTime(),
		memory: usage.Maxrss * 1024, // Linux counts in kilobytes
	}, nil
}

func startStub(orgUnits, elements int) (url string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	c := exec.Command(self, "-stub", "-org-units", fmt.Sprint(orgUnits), "-elements", fmt.Sprint(elements))
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := c.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = in.Close()
		_ = c.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("start the stubs: %w", err)
	}
	return strings.TrimSpace(line), stop, nil
}

// firstOutput is how long the demo takes to print its first line.
func firstOutput(binary string, runs int) (time.Duration, error) {
	var all []sample
	for range runs {
		c := exec.Command(binary, "demo")
		out, err := c.StdoutPipe()
		if err != nil {
			return 0, err
		}
		started := time.Now()
		if err := c.Start(); err != nil {
			return 0, err
		}
		if _, err := bufio.NewReader(out).ReadByte(); err != nil {
			return 0, fmt.Errorf("the demo printed nothing: %w", err)
		}
		all = append(all, sample{wall: time.Since(started)})
		_, _ = io.Copy(io.Discard, out)
		if err := c.Wait(); err != nil {
			return 0, fmt.Errorf("demo: %w", err)
		}
	}
	return median(all, func(s sample) time.Duration { return s.wall }), nil
}

// results are what was measured: of the mediator with a tenth of the month, of each client with the whole, of the
// mediator with the same values in ten times as many org units, and how long the demo takes to its first output.
type results struct {
	small, large, wide map[string]sample
	demo               time.Duration
	// store is what one month leaves on disk, binary the size of the program.
	store, binary int64
	service       service
	reread        reread
	// queued is how long the service takes for many submissions that are asked for at once, oneByOne for those that are
	// asked for one after the other.
	queued, oneByOne time.Duration
	ladder           ladder
	documents        documents
}

func report(orgUnits, elements int, clients []client, r results) string {
	var b strings.Builder
	large, own := r.large, r.large["mediator"]
	fmt.Fprintf(&b, "# Benchmarks\n\nWritten by `make bench`: all numbers are of one run on one machine, and only their ratios mean anything elsewhere.\n\n")
	fmt.Fprintf(&b, "Machine: %s, %s, %d cores, %s; %s.\n\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), memory(), runtime.Version())
	fmt.Fprintf(&b, "The month: %d org units with %d data elements each, %d values, read from a stub CHT and sent to a stub DHIS2 that reads and answers properly. "+
		"The mediator checks every value, regroups by org unit on disk, stores what it sends before it leaves and what came back, packs and sends requests of 2,000, and reads every answer. "+
		"The plain client parses, regroups and sends without checks. Curl moves the bytes of the month unread.\n\n", orgUnits, elements, orgUnits*elements)
	fmt.Fprintf(&b, "| client | peak memory | wall | CPU | mediator's wall | mediator's CPU |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, c := range clients {
		s, ok := large[c.name]
		if !ok {
			fmt.Fprintf(&b, "| %s | skipped, %s is not installed | | | | |\n", c.name, c.needs)
			continue
		}
		fmt.Fprintf(&b, "| %s | %.0f MiB | %.2f s | %.2f s | %.2f x | %.2f x |\n", c.name, mib(s.memory), s.wall.Seconds(), s.cpu.Seconds(), own.wall.Seconds()/s.wall.Seconds(), own.cpu.Seconds()/s.cpu.Seconds())
	}
	less := r.small["mediator"]
	fmt.Fprintf(&b, "\n| budget | measured | bound |\n| --- | --- | --- |\n")
	fmt.Fprintf(&b, "| peak memory of the mediator | %.0f MiB | 96 MiB |\n", mib(own.memory))
	fmt.Fprintf(&b, "| its memory, this month against one of a tenth | %.2f x (%.0f MiB) | 1.5 x |\n", float64(own.memory)/float64(less.memory), mib(less.memory))
	plain := large[withoutStore]
	fmt.Fprintf(&b, "| its wall time against the same without store | %.2f x | 1.5 x |\n", own.wall.Seconds()/plain.wall.Seconds())
	fmt.Fprintf(&b, "| peak memory without store | %.0f MiB | 64 MiB |\n", mib(plain.memory))
	if node, ok := large["plain Node client"]; ok {
		fmt.Fprintf(&b, "| wall time without store against the plain client | %.2f x | 0.5 x |\n", plain.wall.Seconds()/node.wall.Seconds())
		fmt.Fprintf(&b, "| CPU without store against the plain client | %.2f x | 0.5 x |\n", plain.cpu.Seconds()/node.cpu.Seconds())
	}
	fmt.Fprintf(&b, "| growth of the store by the month | %.0f MB | 40 MB |\n", float64(r.store)/1e6)
	wide := r.wide["mediator"]
	fmt.Fprintf(&b, "| the same values in %d org units: memory | %.0f MiB | 96 MiB |\n", orgUnits*10, mib(wide.memory))
	fmt.Fprintf(&b, "| the same values in %d org units: wall time against this month's | %.2f x | 1.3 x |\n", orgUnits*10, wide.wall.Seconds()/own.wall.Seconds())
	fmt.Fprintf(&b, "| the service, from its start to its first answer on this store | %.3f s | 0.3 s |\n", r.service.start.Seconds())
	fmt.Fprintf(&b, "| the service, idle | %.0f MiB | 40 MiB |\n", mib(r.service.memory))
	fmt.Fprintf(&b, "| the program on disk, static | %.0f MB | 45 MB |\n", float64(r.binary)/1e6)
	again := r.reread
	alone := again.alone.wall.Seconds()
	fmt.Fprintf(&b, "| the month read again with nothing changed, compared with the ledger: wall time against fetching and checking alone | %.2f x | 1.3 x |\n", again.ledger.wall.Seconds()/alone)
	fmt.Fprintf(&b, "| the same, compared with what DHIS2 holds | %.2f x | 2 x |\n", again.server.wall.Seconds()/alone)
	fmt.Fprintf(&b, "| peak memory of fetching and checking alone, with the ledger, with DHIS2 | %.0f, %.0f, %.0f MiB | 96 MiB |\n", mib(again.alone.memory), mib(again.ledger.memory), mib(again.server.memory))
	fmt.Fprintf(&b, "| values sent when 1 %% changed | %.2f %% | 2 %% |\n", 100*again.sent)
	fmt.Fprintf(&b, "| the store on disk, for each value: the ledger and the content | %.1f bytes | 12 bytes for the ledger |\n", float64(r.store)/float64(orgUnits*elements))
	fmt.Fprintf(&b, "| %d submissions queued at once: wall time against one after the other | %.2f x | 1.3 x |\n", queuedMonths, r.queued.Seconds()/r.oneByOne.Seconds())
	fmt.Fprintf(&b, "| requests to a DHIS2 2.43 that refuses something at %d of %d org units, with no checks before, where %d would do (every good value arrives) | %d | %d |\n",
		r.ladder.bad, r.ladder.orgUnits, r.ladder.clean, r.ladder.requests, r.ladder.bound())
	off := large[unchecked]
	fmt.Fprintf(&b, "| CPU and memory of the checks, their metadata included, beyond the same without them | %.2f s, %.0f MiB | 0.25 s, 16 MiB |\n", (own.cpu - off.cpu).Seconds(), mib(own.memory-off.memory))
	docs := r.documents
	what := fmt.Sprintf("%d target documents of %d targets", benchWorkers, benchTargets)
	fmt.Fprintf(&b, "| %s, read and added up on a new store, and their sums sent: peak memory | %.0f MiB | 64 MiB |\n", what, mib(docs.first.memory))
	fmt.Fprintf(&b, "| the same: wall time and CPU against a program that only validates the same JSON | %.2f x, %.2f x | 2 x |\n", docs.first.wall.Seconds()/docs.validated.wall.Seconds(), docs.first.cpu.Seconds()/docs.validated.cpu.Seconds())
	fmt.Fprintf(&b, "| the same read again with 1 %% of the documents changed: bytes of the answers about documents, workers and places, of %.0f MB | %.2f %% | 5 %% |\n", float64(docs.bytes)/1e6, 100*float64(docs.bytesAgain)/float64(docs.bytes))
	fmt.Fprintf(&b, "| the same: peak memory, and wall time against the first reading | %.0f MiB, %.2f x | 64 MiB |\n", mib(docs.again.memory), docs.again.wall.Seconds()/docs.first.wall.Seconds())
	fmt.Fprintf(&b, "| demo to its first output | %.3f s | 0.3 s |\n", r.demo.Seconds())
	return b.String()
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// memory tells how much the machine has, where the system says so.
func memory() string {
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return "memory unknown"
	}
	var kilobytes int64
	if _, err := fmt.Sscanf(string(content), "MemTotal: %d kB", &kilobytes); err != nil {
		return "memory unknown"
	}
	return fmt.Sprintf("%.0f GiB", float64(kilobytes)/(1<<20))
}
