package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/sandbox/cluster"
)

// onBoth runs a test on each database. A store is a folder or a database, and opened several times where the test does so.
func onBoth(t *testing.T, test func(t *testing.T, open func(*clock) *Ledger)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		dir := t.TempDir()
		test(t, func(c *clock) *Ledger { return openAt(t, dir, c) })
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		address := database(t)
		test(t, func(c *clock) *Ledger { return openDatabase(t, address, c) })
	})
}

// empty gives the address of a database of the test's own without any table.
func empty(t *testing.T) string {
	t.Helper()
	address := database(t)
	must(t, server.SQL(address, `DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION `+cluster.Owner))
	return address
}

func TestProcessesThatStartAtOnceMakeTheTablesOnce(t *testing.T) {
	address := empty(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			l, err := Open(context.Background(), Config{Database: always(address)})
			if err == nil {
				err = errors.Join(l.Ping(context.Background()), l.Check(context.Background()), l.Close())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	l := openDatabase(t, address, nil)
	if size, err := l.Size(t.Context()); err != nil || size == 0 {
		t.Errorf("got a size of %d, %v", size, err)
	}
}

func TestANewerDatabaseIsRefused(t *testing.T) {
	for _, change := range []string{
		`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)`,
		`INSERT INTO river_migration (line, version) VALUES ('main', 99)`,
	} {
		address := database(t)
		must(t, server.SQL(address, change))
		_, err := Open(t.Context(), Config{Database: always(address)})
		wantKind(t, err, Newer)
	}
}

// grants are what docs/operations.md lists.
const grants = `GRANT USAGE ON SCHEMA public TO worker;
	GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO worker;
	GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO worker`

func TestAnAccountWithoutRightsOnTheTablesWorks(t *testing.T) {
	address := empty(t)
	_ = server.SQL(address, `CREATE ROLE worker LOGIN`)
	worker := Config{Database: always(cluster.As(address, "worker"))}
	_, err := Open(t.Context(), worker)
	wantKind(t, err, Outdated)
	if !strings.Contains(hint(err), "mediator migrate") {
		t.Errorf("it does not say what to do: %s", hint(err))
	}
	must(t, openDatabase(t, address, nil).Check(t.Context())) // as `mediator migrate` does
	l, err := Open(t.Context(), worker)
	if err == nil {
		wantKind(t, l.Ping(t.Context()), ReadOnly)
		wantKind(t, l.Check(t.Context()), ReadOnly)
		must(t, l.Close())
	}
	must(t, server.SQL(address, grants))
	l = opened(t, worker, newClock())
	must(t, errors.Join(l.Ping(t.Context()), l.Check(t.Context()), l.TakeRole(t.Context())))
	client, err := jobs(l, nil)
	must(t, err)
	s, _, err := l.Begin(t.Context(), Request{Key: key()}, inserting(client))
	must(t, err)
	if got := worked(t, l); got.Submission != s.ID {
		t.Errorf("got %v", got)
	}
	if _, err := l.Thin(t.Context(), Keep{}); err != nil {
		t.Error(err)
	}
}

func hint(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Hint()
	}
	return ""
}

func TestTextsAreSortedByTheirBytesWhateverTheLanguage(t *testing.T) {
	l := openDatabase(t, database(t), nil)
	s := sendingWith(t, l, Request{Key: key()}, part("", "B", "De=1"), part("", "OuZ", "De=1"), part("", "Oua", "De=1"), part("", "a", "De=1"))
	c, values := record(t, l, s.ID, Range{0, 4}, 100)
	must(t, l.Acknowledge(t.Context(), s.ID, c.Number, acceptedAll(values), nil))
	var got []string
	for after := ""; ; {
		page, err := l.OrgUnits(t.Context(), s.ID, OrgUnitFilter{After: after, Limit: 1})
		must(t, err)
		if len(page) == 0 {
			break
		}
		after = page[0].OrgUnit
		got = append(got, after)
	}
	var held []string
	for _, p := range gather(t, l.Accepted(t.Context(), key())) {
		held = append(held, p.OrgUnit)
	}
	if want := "[B OuZ Oua a]"; fmt.Sprint(got) != want || fmt.Sprint(held) != want {
		t.Errorf("got %v and %v, want %s", got, held, want)
	}
}

func TestTablesOfOthersAreLeftAlone(t *testing.T) {
	address := empty(t)
	must(t, server.SQL(address, `SET ROLE `+cluster.Owner+`; CREATE TABLE others (name text)`))
	l := openDatabase(t, address, nil)
	var sorted int
	must(t, l.reader.QueryRow(`SELECT count(*) FROM information_schema.columns WHERE table_name = 'others' AND collation_name = 'C'`).Scan(&sorted))
	if sorted > 0 {
		t.Error("a table that is not ours was changed")
	}
	must(t, l.reader.QueryRow(`SELECT count(*) FROM information_schema.columns WHERE table_name = 'content' AND data_type = 'text' AND collation_name = 'C'`).Scan(&sorted))
	if sorted != 2 {
		t.Errorf("%d columns of the content are sorted by their bytes", sorted)
	}
}

func TestSecretsOfTheAddressAreNotTold(t *testing.T) {
	const secret = "hunter2"
	for _, address := range []string{
		"postgres://mediator:" + secret + "@127.0.0.1:1/mediator",
		"postgres://mediator:" + secret + "@127.0.0.1:none/mediator",
		"postgres://mediator:" + secret + "@%zz/mediator",
		"host=127.0.0.1 port=1 password=" + secret + " dbname=mediator sslmode=nonsense",
	} {
		_, err := Open(t.Context(), Config{Database: always(address)})
		wantKind(t, err, Unreachable)
		if strings.Contains(fmt.Sprint(err, hint(err)), secret) {
			t.Errorf("the password is told: %v", err)
		}
	}
}

func TestKindsOfTroubleWithTheDatabase(t *testing.T) {
	address := database(t)
	_, err := Open(t.Context(), Config{Database: always(cluster.As(address, "nobody_at_all"))})
	wantKind(t, err, Denied)
	_, err = Open(t.Context(), Config{Database: always(strings.Replace(address, "/test_", "/gone_", 1))})
	wantKind(t, err, Denied)
	l := openDatabase(t, address, nil)
	must(t, server.SQL(address, `ALTER DATABASE `+nameOf(address)+` SET default_transaction_read_only = on`))
	other, err := Open(t.Context(), Config{Database: always(address)})
	must(t, err)
	wantKind(t, other.Ping(t.Context()), ReadOnly)
	_, _, err = other.Begin(t.Context(), Request{Key: key()}, nil)
	wantKind(t, err, ReadOnly)
	must(t, other.Close())
	must(t, server.SQL(address, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '`+nameOf(address)+`' AND pid <> pg_backend_pid()`))
	// Connections that were cut are replaced, at the latest with the second try.
	_ = l.Ping(t.Context())
	if _, err := l.Submissions(t.Context(), Filter{}); err != nil {
		wantKind(t, err, Unreachable)
	}
}

func nameOf(address string) string {
	_, name, _ := strings.Cut(address, "@/")
	name, _, _ = strings.Cut(name, "?")
	return name
}

func TestWhoHoldsTheLeaseWorksAndGivesItBack(t *testing.T) {
	address := database(t)
	l, other := openDatabase(t, address, nil), openDatabase(t, address, nil)
	must(t, errors.Join(l.TakeRole(t.Context()), l.TakeRole(t.Context())))
	wantKind(t, other.TakeRole(t.Context()), Taken)
	if !l.HasRole() || other.HasRole() || !strings.Contains(other.Worker(t.Context()), "process ") || l.Worker(t.Context()) != "this process" {
		t.Errorf("the worker is %q", other.Worker(t.Context()))
	}
	must(t, l.StepDown(t.Context()))
	if l.HasRole() || l.Worker(t.Context()) != "" {
		t.Errorf("the worker is %q", l.Worker(t.Context()))
	}
	must(t, other.TakeRole(t.Context())) // at once
	wantKind(t, l.TakeRole(t.Context()), Taken)
}

// A process that was away, as one that was suspended, does not know that another one works. What it writes is refused by
// the database itself.
func TestAWorkerWithoutItsLeaseWritesNothing(t *testing.T) {
	address := database(t)
	l, other := openDatabase(t, address, nil), openDatabase(t, address, nil)
	must(t, l.TakeRole(t.Context()))
	s := sendingWith(t, l, Request{Key: key()}, part("", "OuA", "De=1"))
	c, _, _, err := l.Compose(t.Context(), s.ID, Range{0, 1}, 10)
	must(t, err)
	must(t, server.SQL(address, `UPDATE worker_lease SET until = '-infinity'`))
	_, err = l.RecordChunk(t.Context(), s.ID, Chunk{Range: c.Range, Size: 1, Digest: "first"})
	must(t, err) // nobody has taken it
	must(t, other.TakeRole(t.Context()))
	lost := l.RoleLost()
	_, err = l.RecordChunk(t.Context(), s.ID, Chunk{Range: c.Range, Size: 1, Digest: "second"})
	wantKind(t, err, Taken)
	select {
	case <-lost:
	default:
		t.Error("it does not know that the role is lost")
	}
	if l.HasRole() {
		t.Error("it has the role")
	}
	wantKind(t, l.Advance(t.Context(), s.ID, Sending, nil), Taken)
	if chunks, err := l.Chunks(t.Context(), s.ID); err != nil || len(chunks) != 1 {
		t.Errorf("got %+v, %v", chunks, err)
	}
	must(t, l.StepDown(t.Context()))
	must(t, l.Advance(t.Context(), s.ID, Sending, nil)) // anybody may write who does not work
	if !other.HasRole() {
		t.Error("the other one has lost the role by that")
	}
}

func TestALeaseIsRenewedAndLost(t *testing.T) {
	address := database(t)
	l := openDatabase(t, address, nil)
	must(t, l.TakeRole(t.Context()))
	before := until(t, l)
	p, _ := l.store.(*postgres)
	ours, err := p.renew(p.lease.fence)
	if after := until(t, l); err != nil || !ours || !after.After(before) {
		t.Errorf("it held until %v, and after it was renewed until %v: %v", before, after, err)
	}
	if ours, err := p.renew(p.lease.fence - 1); err != nil || ours {
		t.Errorf("a lease of before was renewed: %v", err)
	}
}

func until(t *testing.T, l *Ledger) (at time.Time) {
	t.Helper()
	must(t, l.reader.QueryRow(`SELECT until FROM worker_lease`).Scan(&at))
	return at
}

func TestWritersWaitForEachOther(t *testing.T) {
	address := database(t)
	var all sync.WaitGroup
	for range 3 {
		l := openDatabase(t, address, nil)
		for i := range 5 {
			all.Go(func() {
				r := Request{Key: key()}
				r.CHT = fmt.Sprint("cht", i)
				if _, _, err := l.Begin(context.Background(), r, nil); err != nil {
					t.Error(err)
				}
				if err := l.Post(context.Background(), Letter{Kind: "test", Subject: fmt.Sprint(i), Body: []byte("news")}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	l := openDatabase(t, address, nil)
	if list, err := l.Submissions(t.Context(), Filter{}); err != nil || len(list) != 5 {
		t.Errorf("got %d submissions, %v", len(list), err)
	}
}

func TestAFailedTransactionGivesItsConnectionBack(t *testing.T) {
	l := openDatabase(t, database(t), nil)
	for range 3 * mostConnections {
		if err := l.Together(t.Context(), "fail", func(tx *sql.Tx) error { _, err := tx.Exec(`no SQL at all`); return err }); err == nil {
			t.Fatal("it did not fail")
		}
	}
	must(t, l.Ping(t.Context()))
}

func TestEachAnswerOfTheServerHasItsKind(t *testing.T) {
	for state, want := range map[string]Kind{
		"53100": Full, "25006": ReadOnly, "42501": ReadOnly, "42P01": Outdated, "3F000": Outdated, "53300": Busy, "55P03": Busy, "40P01": Busy,
		"25P03": Busy, "28P01": Denied, "28000": Denied, "3D000": Denied, "08006": Unreachable, "57P01": Unreachable, "57P03": Unreachable,
		"58030": Unreachable, "XX001": Damaged, "23505": "", "42601": "", "": "",
	} {
		if got := kindOfState(state); got != want {
			t.Errorf("%s is %q, want %q", state, got, want)
		}
	}
	p := newLedger(Config{Database: always("")}).store
	for _, kind := range []Kind{Full, ReadOnly, Damaged, Busy, Unreachable, Denied, Outdated} {
		if what, remedy := p.words(kind); what == "" || remedy == "" {
			t.Errorf("%s has no words", kind)
		}
	}
}

func TestAPasswordMayChangeWithoutARestart(t *testing.T) {
	address := database(t)
	_ = server.SQL(address, `CREATE ROLE `+cluster.WithPassword)
	must(t, server.SQL(address, `ALTER ROLE `+cluster.WithPassword+` LOGIN SUPERUSER PASSWORD 'first-Password'`))
	password := "first-Password"
	at := func() string {
		return strings.Replace(cluster.As(address, cluster.WithPassword), cluster.WithPassword+"@", cluster.WithPassword+":"+password+"@", 1)
	}
	var told string
	l := opened(t, Config{Database: func() (string, error) { return at(), nil }}, nil)
	must(t, server.SQL(address, `ALTER ROLE `+cluster.WithPassword+` PASSWORD 'second-Password'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '`+cluster.WithPassword+`'`))
	for range mostConnections { // connections that were cut are found out one by one
		err := l.Ping(t.Context())
		if told += fmt.Sprint(err, hint(err)); err == nil {
			t.Fatal("it came in with the password of before")
		}
	}
	wantKind(t, l.Ping(t.Context()), Denied)
	password = "second-Password"
	must(t, l.Ping(t.Context()))
	if strings.Contains(told, "first-Password") {
		t.Errorf("the password is told: %s", told)
	}
}
