package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
)

// children are what copies of this test binary do in a process of their own.
func children() map[string]func(ctx context.Context, dir string) error {
	return map[string]func(context.Context, string) error{
		"unprivileged open": unprivilegedOpen,
		"fill":              fill,
		"take role":         takeRoleAndWait,
		"crash":             crash,
		"insert job":        insertJob,
		"work job":          workJob,
	}
}

// hang tells the parent that the child has come so far, and waits to be killed.
func hang(ctx context.Context) error {
	fmt.Println("here")
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return errors.New("nobody killed this process")
	}
}

// killed runs a child until it hangs, and kills it.
func killed(t *testing.T, name, dir string, env ...string) {
	t.Helper()
	command := running(t, name, dir, env...)
	must(t, command.Process.Signal(syscall.SIGKILL))
	_ = command.Wait()
}

// running starts a child and waits until it hangs.
func running(t *testing.T, name, dir string, env ...string) *exec.Cmd {
	t.Helper()
	command := child(t, name, dir)
	command.Env = append(command.Env, env...)
	out, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	said := make([]byte, 4096)
	n, _ := out.Read(said)
	if got := string(said[:n]); got != "here\n" {
		_ = command.Wait()
		t.Fatalf("the child said %q", got)
	}
	return command
}

func TestOpenKeepsWhatIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "with a space, 100% & a ?")
	l, err := Open(t.Context(), Config{Dir: dir})
	must(t, err)
	s := begin(t, l, Request{Key: key()})
	must(t, l.Close())
	started := time.Now()
	l = openAt(t, dir, nil)
	t.Logf("opened again in %v", time.Since(started))
	if got, err := l.Submission(t.Context(), s.ID); err != nil || got.State != Queued {
		t.Errorf("got %+v, %v", got, err)
	}
	must(t, l.Check(t.Context()))
	if info, err := os.Stat(l.Place()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the database: %v, %v", info.Mode(), err)
	}
	var mode string
	var sync, vacuum, keys int
	for pragma, into := range map[string]any{"journal_mode": &mode, "synchronous": &sync, "auto_vacuum": &vacuum, "foreign_keys": &keys} {
		must(t, l.writer.QueryRow("PRAGMA "+pragma).Scan(into))
	}
	if mode != "wal" || sync != 2 || vacuum != 2 || keys != 1 {
		t.Errorf("got journal_mode %s, synchronous %d, auto_vacuum %d, foreign_keys %d", mode, sync, vacuum, keys)
	}
}

func TestOpenAtOnce(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			l, err := Open(context.Background(), Config{Dir: dir})
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(l.Ping(context.Background()), l.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// TestAStoreOfBeforeGoesOn brings the tables of before target documents up to date while submissions are under way.
func TestAStoreOfBeforeGoesOn(t *testing.T) {
	for name, place := range map[string]struct {
		dialect goose.Dialect
		config  func() Config
	}{
		"SQLite":     {goose.DialectSQLite3, func() Config { return Config{Dir: t.TempDir()} }},
		"PostgreSQL": {goose.DialectPostgres, func() Config { return Config{Database: always(database(t))} }},
	} {
		t.Run(name, func(t *testing.T) {
			config := place.config()
			l := opened(t, config, newClock())
			waits := begin(t, l, Request{Key: key()})
			must(t, l.Prepared(t.Context(), waits.ID, readyWith(part("", "OuA", "DeA=1")), nil))
			other := key()
			other.CHT = "siaya"
			held := readyWith(part("", "OuB", "DeA=2"))
			held.State = Held
			asks := begin(t, l, Request{Key: other})
			must(t, l.Prepared(t.Context(), asks.ID, held, nil))
			files, err := fs.Sub(migrations, "migrations")
			must(t, err)
			tables, err := goose.NewProvider(place.dialect, l.writer, files, goose.WithDisableGlobalRegistry(true))
			must(t, err)
			_, err = tables.DownTo(t.Context(), 5)
			must(t, errors.Join(err, l.Close()))

			l = opened(t, config, newClock())
			must(t, l.Advance(t.Context(), asks.ID, Ready, nil))
			for _, id := range []string{waits.ID, asks.ID} {
				units, err := l.OrgUnits(t.Context(), id, OrgUnitFilter{})
				must(t, err)
				if len(units) != 1 || units[0].Workers != nil || units[0].State != "unsent" {
					t.Errorf("got the org units %+v", units)
				}
				workers, err := l.WorkersOfForm(t.Context(), id)
				if err != nil || len(workers) > 0 {
					t.Errorf("got %v, %v", workers, err)
				}
				must(t, l.Advance(t.Context(), id, Sending, nil))
				c, values := record(t, l, id, Range{0, 1}, 10)
				must(t, l.Acknowledge(t.Context(), id, c.Number, acceptedAll(values), nil))
				must(t, l.Finish(t.Context(), id, End{State: Accepted}, nil))
			}
			next := key()
			next.Period = periodOf("202611")
			if period, _, err := l.SettingsBefore(t.Context(), next); err != nil || period != "" {
				t.Errorf("nobody knows the settings of before: %q, %v", period, err)
			}
			if period, err := l.AcceptedBefore(t.Context(), next); err != nil || period != "202610" {
				t.Errorf("got %q, %v", period, err)
			}
			must(t, l.Check(t.Context()))
		})
	}
}

func TestOpenRefusesANewerFile(t *testing.T) {
	for _, change := range []string{
		`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`,
		`INSERT INTO river_migration (line, version) VALUES ('main', 99)`,
	} {
		dir := t.TempDir()
		l, err := Open(t.Context(), Config{Dir: dir})
		must(t, err)
		_, err = l.writer.Exec(change)
		must(t, errors.Join(err, l.Close()))
		_, err = Open(t.Context(), Config{Dir: dir})
		wantKind(t, err, Newer)
	}
}

func TestOpenRefusesADamagedFile(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, fileName), bytes.Repeat([]byte("no database "), 1000), 0o600))
	_, err := Open(t.Context(), Config{Dir: dir})
	wantKind(t, err, Damaged)
	if !strings.Contains(err.Error(), fileName) {
		t.Errorf("the file is not named: %v", err)
	}
}

func TestCheckFindsATornPage(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(t.Context(), Config{Dir: dir})
	must(t, err)
	sendingWith(t, l, Request{Key: key()}, manyParts(2000, 3)...)
	var page, size int64
	must(t, l.reader.QueryRow(`SELECT pageno, pgsize FROM dbstat WHERE name = 'content' AND pagetype = 'leaf' LIMIT 1`).Scan(&page, &size))
	must(t, l.Close())
	file, err := os.OpenFile(filepath.Join(dir, fileName), os.O_RDWR, 0)
	must(t, err)
	_, err = file.WriteAt(bytes.Repeat([]byte{0xa5}, int(size)), (page-1)*size)
	must(t, errors.Join(err, file.Close()))
	l = openAt(t, dir, nil)
	wantKind(t, l.Check(t.Context()), Damaged)
}

// manyParts are so many org units of so many values.
func manyParts(orgUnits, values int) []Part {
	parts := make([]Part, orgUnits)
	for i := range parts {
		parts[i] = nthPart(i, values)
	}
	return parts
}

func nthPart(i, values int) Part {
	p := Part{OrgUnit: fmt.Sprintf("Ou%09d", i)}
	for v := range values {
		p.Values = append(p.Values, value(p.OrgUnit, fmt.Sprintf("De%09d.CoDefault%02d=%d", v/2, v%2, (i*7+v*13)%900)))
	}
	return p
}

func TestOpenInAFolderWithoutRights(t *testing.T) {
	for _, test := range []struct {
		name string
		// prepare gets the data folder, which is not there yet, in a folder that anybody may write in.
		prepare func(data string) error
	}{
		{"a folder that may not be written", func(data string) error { return os.Mkdir(data, 0o555) }},
		{"a folder that cannot be made", func(data string) error { return os.Chmod(filepath.Dir(data), 0o555) }},
		{"a file that may only be read", func(data string) error {
			l, err := Open(context.Background(), Config{Dir: data})
			if err != nil {
				return err
			}
			return errors.Join(l.Close(), os.Chmod(data, 0o777), os.Chmod(l.Place(), 0o444), os.Remove(filepath.Join(data, "open.lock")))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Cleanup(func() { must(t, os.Chmod(dir, 0o700)) })
			data := filepath.Join(dir, "data")
			must(t, errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o777), test.prepare(data)))
			out, _ := child(t, "unprivileged open", data).CombinedOutput()
			if !strings.Contains(string(out), "kind: "+string(ReadOnly)) {
				t.Errorf("got %s", out)
			}
		})
	}
}

func unprivilegedOpen(ctx context.Context, dir string) error {
	const nobody = 65534
	if os.Getuid() == 0 {
		if err := syscall.Setuid(nobody); err != nil {
			return err
		}
	}
	l, err := Open(ctx, Config{Dir: dir})
	if err != nil {
		return err
	}
	return errors.Join(l.Ping(ctx), l.Close())
}

func TestOpenInWhatIsNoFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(t.Context(), Config{Dir: file})
	wantKind(t, err, Unreachable)
}

// TestFullDisk fills the room that the configuration gives the database: nothing is half-written, and work goes on when there is room.
func TestFullDisk(t *testing.T) {
	l, err := Open(t.Context(), Config{Dir: t.TempDir()})
	must(t, err)
	s := begin(t, l, Request{Key: key()})
	size, err := l.Size(t.Context())
	must(t, err)
	dir := l.config.Dir
	must(t, l.Close())
	l, err = Open(t.Context(), Config{Dir: dir, Limit: size + 10*pageSize})
	must(t, err)
	parts := manyParts(3000, 5)
	wantKind(t, l.Prepared(t.Context(), s.ID, readyWith(parts...), nil), Full)
	got, err := l.Submission(t.Context(), s.ID)
	must(t, err)
	if got.State != Queued || len(gather(t, l.Content(t.Context(), s.ID, Range{0, 9}))) > 0 {
		t.Errorf("something was half-written: %+v", got)
	}
	must(t, l.Close())
	l = openAt(t, dir, nil)
	must(t, l.Prepared(t.Context(), s.ID, readyWith(parts...), nil))
	must(t, l.Check(t.Context()))
}

// TestFileSizeLimit lets the system refuse to let the file grow, as a full disk or a quota does.
func TestFileSizeLimit(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the limit is set as Linux has it")
	}
	dir := t.TempDir()
	out, _ := child(t, "fill", dir).CombinedOutput()
	if !strings.Contains(string(out), "kind: "+string(Full)) {
		t.Errorf("got %s", out)
	}
	l := openAt(t, dir, nil)
	must(t, l.Check(t.Context()))
	list, err := l.Submissions(t.Context(), Filter{})
	must(t, err)
	if len(list) != 1 || list[0].State != Queued {
		t.Errorf("got %+v", list)
	}
	must(t, l.Prepared(t.Context(), list[0].ID, readyWith(manyParts(3000, 5)...), nil))
}

func fill(ctx context.Context, dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	l, err := Open(ctx, Config{Dir: dir})
	if err != nil {
		return err
	}
	s, _, err := l.Begin(ctx, Request{Key: key()}, nil)
	if err != nil {
		return err
	}
	const room = 1 << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: room, Max: room}); err != nil {
		return err
	}
	return l.Prepared(ctx, s.ID, readyWith(manyParts(30000, 5)...), nil)
}

func TestOneProcessHasTheRole(t *testing.T) {
	dir := t.TempDir()
	command := running(t, "take role", dir)
	l := openAt(t, dir, newClock())
	err := l.TakeRole(t.Context())
	wantKind(t, err, Taken)
	if !strings.Contains(err.Error(), fmt.Sprint("process ", command.Process.Pid)) {
		t.Errorf("it does not say who has the role: %v", err)
	}
	must(t, l.Ping(t.Context())) // rows may be written all the same
	must(t, command.Process.Signal(syscall.SIGKILL))
	_ = command.Wait()
	must(t, l.TakeRole(t.Context()))
	must(t, l.TakeRole(t.Context()))
	if !l.HasRole() {
		t.Error("it has no role")
	}
	other := openAt(t, dir, newClock())
	wantKind(t, other.TakeRole(t.Context()), Taken)
}

func takeRoleAndWait(ctx context.Context, dir string) error {
	l, err := Open(ctx, Config{Dir: dir})
	if err != nil {
		return err
	}
	if err := l.TakeRole(ctx); err != nil {
		return err
	}
	return hang(ctx)
}

// points are where the crashing child is killed: within the transaction of each step, before its end, and after it.
func points() []string {
	return []string{"in begin", "begin", "in prepared", "prepared", "sending", "record", "in acknowledge", "acknowledge", "in finish", "finish"}
}

// TestKilledAnywhereItGoesOn kills a process between the steps and within each transaction. The next one goes on from the
// last whole state, and ends as a run that nobody killed.
func TestKilledAnywhereItGoesOn(t *testing.T) {
	for _, point := range points() {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			killedAnywhere(t, t.TempDir(), point)
		})
	}
}

func TestKilledAnywhereItGoesOnOnPostgreSQL(t *testing.T) {
	database(t)
	for _, point := range points() {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			killedAnywhere(t, database(t), point)
		})
	}
}

func killedAnywhere(t *testing.T, place, point string) {
	killed(t, "crash", place, "LEDGER_TEST_POINT="+point)
	l := opened(t, at(place), nil)
	must(t, l.Check(t.Context()))
	must(t, carryOn(t.Context(), l, func(string) error { return nil }))
	list, err := l.Submissions(t.Context(), Filter{})
	must(t, err)
	if len(list) != 1 || list[0].State != Accepted || list[0].Counts != (Counts{Fetched: 15, Accepted: 15}) || list[0].OrgUnitStates["accepted"] != 3 {
		t.Errorf("got %+v", list)
	}
	if got := holds(t, l, key()); len(got) != 3 {
		t.Errorf("got %v", got)
	}
	chunks, err := l.Chunks(t.Context(), list[0].ID)
	must(t, err)
	attempts := 0
	for _, c := range chunks {
		attempts += c.Attempts
	}
	if len(chunks) != 2 || attempts > 3 || attempts > 2 && point != "record" && point != "in acknowledge" {
		t.Errorf("got %d attempts: %+v", attempts, chunks)
	}
}

// at is the configuration of a store in a folder, or at the address of a database.
func at(place string) Config {
	if strings.HasPrefix(place, "postgres://") {
		return Config{Database: always(place)}
	}
	return Config{Dir: place}
}

func crash(ctx context.Context, place string) error {
	l, err := Open(ctx, at(place))
	if err != nil {
		return err
	}
	return carryOn(ctx, l, func(point string) error {
		if point == os.Getenv("LEDGER_TEST_POINT") {
			return hang(ctx)
		}
		return nil
	})
}

// carryOn takes the one submission from wherever it stands to its end, and names each point on the way.
func carryOn(ctx context.Context, l *Ledger, at func(point string) error) error {
	in := func(point string) Next {
		return func(context.Context, *sql.Tx, string) error { return at(point) }
	}
	list, err := l.Submissions(ctx, Filter{})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		if _, _, err := l.Begin(ctx, Request{Key: key()}, in("in begin")); err != nil {
			return err
		}
		if err := at("begin"); err != nil {
			return err
		}
		return carryOn(ctx, l, at)
	}
	s := list[0]
	switch s.State {
	case Queued:
		if err := l.Prepared(ctx, s.ID, readyWith(manyParts(3, 5)...), in("in prepared")); err != nil {
			return err
		}
		err = at("prepared")
	case Ready:
		if err := l.Advance(ctx, s.ID, Sending, nil); err != nil {
			return err
		}
		err = at("sending")
	case Sending:
		err = sendOn(ctx, l, s, at)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	return carryOn(ctx, l, at)
}

// sendOn sends the chunks that are open, then what no chunk covers, and finishes.
func sendOn(ctx context.Context, l *Ledger, s Submission, at func(point string) error) error {
	chunks, err := l.Chunks(ctx, s.ID)
	if err != nil {
		return err
	}
	var next []Chunk
	for _, c := range chunks {
		if !c.State.Settled() {
			next = append(next, c)
		}
	}
	for _, r := range Remaining(s.Parts, chunks) {
		for r.From < r.To {
			c, values, _, err := l.Compose(ctx, s.ID, r, 10)
			if err != nil {
				return err
			}
			c.Digest = fmt.Sprint(values)
			next = append(next, c)
			r.From = c.To
		}
	}
	for _, c := range next {
		if c, err = l.RecordChunk(ctx, s.ID, c); err != nil {
			return err
		}
		if err := at("record"); err != nil {
			return err
		}
		values, _, err := l.Values(ctx, s.ID, c)
		if err != nil {
			return err
		}
		in := func(context.Context, *sql.Tx, string) error { return at("in acknowledge") }
		if err := l.Acknowledge(ctx, s.ID, c.Number, acceptedAll(values), in); err != nil {
			return err
		}
		if err := at("acknowledge"); err != nil {
			return err
		}
	}
	in := func(context.Context, *sql.Tx, string) error { return at("in finish") }
	if err := l.Finish(ctx, s.ID, End{State: Accepted}, in); err != nil {
		return err
	}
	return at("finish")
}
