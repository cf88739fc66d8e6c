package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/sandbox/cluster"
)

// asChild names what a copy of this test binary does instead of testing.
const asChild = "LEDGER_TEST_CHILD"

func TestMain(m *testing.M) {
	if name := os.Getenv(asChild); name != "" {
		os.Exit(runChild(name, os.Getenv("LEDGER_TEST_DIR")))
	}
	goleak.VerifyTestMain(withServer{m})
}

// withServer runs the tests, and ends the server that they started.
type withServer struct{ m *testing.M }

func (w withServer) Run() int {
	code := w.m.Run()
	if err := server.Close(); err != nil {
		fmt.Println(err)
		return 1
	}
	return code
}

// server is the PostgreSQL of these tests, which the first one that needs it starts.
var server = cluster.Cluster{Config: cluster.Config{Prepare: func(address string) error {
	l, err := Open(context.Background(), Config{Database: always(address)})
	if err != nil {
		return err
	}
	return l.Close()
}}}

func always(address string) func() (string, error) {
	return func() (string, error) { return address, nil }
}

// database gives the address of a database of the test's own, whose tables are up to date.
func database(t testing.TB) string {
	t.Helper()
	address, err := server.Database()
	if errors.Is(err, cluster.ErrMissing) {
		t.Skip(err)
	}
	must(t, err)
	return address
}

func openDatabase(t testing.TB, address string, c *clock) *Ledger {
	t.Helper()
	return opened(t, Config{Database: always(address), QueueLimit: 10}, c)
}

// child makes a command that runs this test binary as one of children.
func child(t *testing.T, name, dir string) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), asChild+"="+name, "LEDGER_TEST_DIR="+dir)
	return command
}

func runChild(name, dir string) int {
	act, known := children()[name]
	if !known {
		fmt.Println("there is no child", name)
		return 2
	}
	if err := act(context.Background(), dir); err != nil {
		fmt.Println(err)
		var e *Error
		if errors.As(err, &e) {
			fmt.Println("kind:", e.Kind)
		}
		return 1
	}
	return 0
}

// clock is a time that tests set.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newClock() *clock { return &clock{at: time.Date(2026, 11, 6, 3, 0, 0, 0, time.UTC)} }

func openAt(t testing.TB, dir string, c *clock) *Ledger {
	t.Helper()
	return opened(t, Config{Dir: dir, QueueLimit: 10}, c)
}

func opened(t testing.TB, config Config, c *clock) *Ledger {
	t.Helper()
	if c != nil {
		config.Now = c.now
	}
	l, err := Open(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func periodOf(id string) dhis2.Period {
	period, err := dhis2.ParsePeriod(id)
	if err != nil {
		panic(err)
	}
	return period
}

func key() Key {
	return Key{DHIS2: "national", DataSet: "DsMchMonth1", Period: periodOf("202610"), CHT: "kisumu"}
}

// begin claims a key; the submission must be new.
func begin(t testing.TB, l *Ledger, r Request) Submission {
	t.Helper()
	s, began, err := l.Begin(t.Context(), r, nil)
	must(t, err)
	if !began {
		t.Fatalf("submission %s has the key already", s.ID)
	}
	return s
}

// value is a cell of an org unit, written as "element.combo=value" or "element=value", with a comment behind a "#".
func value(orgUnit, text string) dhis2.DataValue {
	text, comment, _ := strings.Cut(text, "#")
	cell, v, _ := strings.Cut(text, "=")
	element, combo, _ := strings.Cut(cell, ".")
	return dhis2.DataValue{OrgUnit: orgUnit, DataElement: element, CategoryOptionCombo: combo, Value: v, Comment: comment}
}

// part makes the values of an org unit of their texts.
func part(combo, orgUnit string, texts ...string) Part {
	p := Part{AttributeOptionCombo: combo, OrgUnit: orgUnit}
	for _, text := range texts {
		p.Values = append(p.Values, value(orgUnit, text))
	}
	return p
}

func listed[T any](items []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}
}

func gather[T any](t testing.TB, seq iter.Seq2[T, error]) []T {
	t.Helper()
	var all []T
	for item, err := range seq {
		must(t, err)
		all = append(all, item)
	}
	return all
}

// readyWith is a preparation that sends the parts.
func readyWith(parts ...Part) Preparation {
	p := Preparation{State: Ready, Dialect: "2.43", Content: listed(parts)}
	unsent := map[string]int{}
	var order []string
	for _, part := range parts {
		if _, seen := unsent[part.OrgUnit]; !seen {
			order = append(order, part.OrgUnit)
		}
		unsent[part.OrgUnit] += len(part.Values)
		p.Counts.Unsent += len(part.Values)
	}
	var units []OrgUnitOutcome
	for _, id := range order {
		units = append(units, OrgUnitOutcome{OrgUnit: id, Unsent: unsent[id]})
	}
	p.Counts.Fetched, p.OrgUnits = p.Counts.Unsent, listed(units)
	return p
}

// sendingWith is a submission that is being sent.
func sendingWith(t testing.TB, l *Ledger, r Request, parts ...Part) Submission {
	t.Helper()
	s := begin(t, l, r)
	must(t, l.Prepared(t.Context(), s.ID, readyWith(parts...), nil))
	must(t, l.Advance(t.Context(), s.ID, Sending, nil))
	return s
}

// record composes and records the next chunk of a range.
func record(t testing.TB, l *Ledger, id string, r Range, size int) (Chunk, []dhis2.DataValue) {
	t.Helper()
	c, values, _, err := l.Compose(t.Context(), id, r, size)
	must(t, err)
	c.Digest = fmt.Sprint(values)
	c, err = l.RecordChunk(t.Context(), id, c)
	must(t, err)
	return c, values
}

func acceptedAll(values []dhis2.DataValue) Answer {
	return Answer{Outcome: dhis2.Outcome{State: dhis2.Accepted, Accepted: len(values), Count: dhis2.ImportCount{Imported: len(values)}}}
}

// holds gives what the ledger has of a key, as "combo/orgUnit element.combo=value#comment ...".
func holds(t testing.TB, l *Ledger, k Key) []string {
	t.Helper()
	var all []string
	for _, p := range gather(t, l.Accepted(t.Context(), k)) {
		values, err := p.Values()
		must(t, err)
		if hash := (Part{Values: values}).Hash(); hash != p.Hash {
			t.Errorf("the hash of %s is not that of its values", p.OrgUnit)
		}
		text := p.AttributeOptionCombo + "/" + p.OrgUnit
		for _, v := range values {
			text += " " + v.DataElement + "." + v.CategoryOptionCombo + "=" + v.Value
			if v.Comment != "" {
				text += "#" + v.Comment
			}
		}
		all = append(all, text)
	}
	return all
}

func wantKind(t *testing.T, err error, kind Kind) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an Error of kind %s", err, kind)
	}
	if e.Kind != kind || e.Hint() == "" || e.Doing == "" {
		t.Errorf("got kind %q, doing %q, hint %q; want kind %q and the others said", e.Kind, e.Doing, e.Hint(), kind)
	}
}
