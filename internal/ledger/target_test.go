package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/target"
)

func july() TargetMonth { return TargetMonth{CHT: "kisumu", Month: "202607"} }

// idOf gives the hash of a number below 1024, each of which has a slot of its own.
func idOf(n int) (id target.ID) {
	binary.BigEndian.PutUint64(id[:], uint64(n)<<54)
	return id
}

func numberOf(id target.ID) uint64 { return binary.BigEndian.Uint64(id[:]) >> 54 }

// targetDocument is document n of an owner, in a revision, with the total of its one target. Its id names owner n.
func targetDocument(n, owner int, rev string, total int64) TargetDocument {
	return TargetDocument{Owner: idOf(owner), Named: idOf(n), Revision: RevisionOf(rev), Document: target.Document{
		ID: idOf(n), Updated: 20_650, Counts: []target.Count{{Target: 0, Pass: total - 1, Total: total}},
	}}
}

// documents tells what is remembered of a month, as "owner: document=totals".
func documents(t *testing.T, l *Ledger, m TargetMonth) string {
	t.Helper()
	var all []string
	must(t, l.TargetDocuments(t.Context(), m, func(owner target.ID, list []target.Document) error {
		text := fmt.Sprintf("%d:", numberOf(owner))
		for _, d := range list {
			text += fmt.Sprintf(" %d=", numberOf(d.ID))
			for _, c := range d.Counts {
				text += fmt.Sprint(c.Total)
			}
			if d.Malformed {
				text += "!"
			}
		}
		all = append(all, text)
		return nil
	}))
	return strings.Join(all, ", ")
}

func save(t *testing.T, l *Ledger, m TargetMonth, list ...TargetDocument) {
	t.Helper()
	_, err := l.SaveTargetDocuments(t.Context(), m, packed(list...))
	must(t, err)
}

func packed(list ...TargetDocument) (b []byte) {
	for i := range list {
		b = list[i].Append(b)
	}
	return b
}

func saveOwners(t *testing.T, l *Ledger, list ...TargetOwner) {
	t.Helper()
	var b []byte
	for i := range list {
		b = list[i].Append(b)
	}
	must(t, l.SaveTargetOwners(t.Context(), "kisumu", b))
}

func testTargetDocuments(t *testing.T, l *Ledger, c *clock) {
	ctx := t.Context()
	if known, full, err := l.TargetRevisions(ctx, july()); err != nil || len(known) > 0 || !full.IsZero() {
		t.Errorf("of an unknown month: got %v, %v, %v", known, full, err)
	}
	bad := targetDocument(4, 3, "1-d", 0)
	bad.Counts, bad.Malformed, bad.Updated = nil, true, 0
	save(t, l, july(), targetDocument(3, 2, "1-c", 30), targetDocument(1, 1, "1-a", 10), bad, targetDocument(2, 2, "1-b", 20))
	save(t, l, TargetMonth{"kisumu", "202608"}, targetDocument(1, 9, "1-a", 90))
	save(t, l, TargetMonth{"siaya", "202607"}, targetDocument(1, 8, "1-a", 80))
	if got, want := documents(t, l, july()), "1: 1=10, 2: 2=20 3=30, 3: 4=!"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	// Changes come in the place of what was there, and what is gone goes.
	save(t, l, july(), targetDocument(2, 2, "2-b", 21), targetDocument(5, 4, "1-e", 50))
	must(t, l.ForgetTargetDocuments(ctx, july(), []target.ID{idOf(1), idOf(77)}))
	if got, want := documents(t, l, july()), "2: 2=21 3=30, 3: 4=!, 4: 5=50"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	known, full, err := l.TargetRevisions(ctx, july())
	must(t, err)
	want := map[target.ID]Revision{idOf(2): RevisionOf("2-b"), idOf(3): RevisionOf("1-c"), idOf(4): RevisionOf("1-d"), idOf(5): RevisionOf("1-e")}
	if diff := cmp.Diff(want, known); diff != "" || !full.IsZero() {
		t.Error(full, diff)
	}

	// What was read in parts from the start on was read in full then.
	first := c.at
	for _, step := range []struct {
		read func(context.Context, TargetMonth) error
		want time.Time
	}{{l.TargetMonthRead, first}, {l.TargetMonthRead, first}, {l.TargetMonthReadInFull, first.Add(2 * time.Hour)}, {l.TargetMonthRead, first.Add(2 * time.Hour)}} {
		must(t, step.read(ctx, july()))
		if _, full, err = l.TargetRevisions(ctx, july()); err != nil || !full.Equal(step.want) {
			t.Errorf("got %v, %v, want %v", full, err, step.want)
		}
		c.at = c.at.Add(time.Hour)
	}
}

// testTargetProof lets documents of the same revision differ from what is remembered: with 0 in the place of what was read.
func testTargetProof(t *testing.T, l *Ledger, _ *clock) {
	save(t, l, july(), targetDocument(1, 1, "1-a", 10), targetDocument(2, 2, "1-b", 20), targetDocument(3, 3, "1-c", 30))
	proves := func(want TargetProof, list ...TargetDocument) {
		t.Helper()
		if got, err := l.SaveTargetDocuments(t.Context(), july(), packed(list...)); err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	proves(TargetProof{Compared: 1}, targetDocument(1, 1, "1-a", 10), targetDocument(3, 3, "2-c", 31))
	proves(TargetProof{Documents: 2, Compared: 2, Was: 30, Is: 35}, targetDocument(2, 2, "1-b", 25), targetDocument(1, 5, "1-a", 10))
	if got, want := documents(t, l, july()), "2: 2=25, 3: 3=31, 5: 1=10"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// testTargetBlocks remembers and forgets documents at random, many in one block, and of owners that change: what is remembered is what
// a plain map would hold.
func testTargetBlocks(t *testing.T, l *Ledger, _ *clock) {
	random := rand.New(rand.NewPCG(1, 7))
	key := target.Key("key")
	owner := func(n int) target.ID {
		id := key.Of(fmt.Sprint("owner", n))
		id[0], id[1] = byte(n%4)*85, byte(n%2)*64 // some slots alone, so that blocks have many
		return id
	}
	held := map[target.ID]TargetDocument{}
	for range 12 {
		var list []TargetDocument
		for range random.IntN(60) {
			n := random.IntN(80)
			d := targetDocument(n, 0, fmt.Sprint(random.IntN(3)), int64(1+random.IntN(9)))
			d.ID, d.Named = key.Of(fmt.Sprint("document", n)), owner(n%30)
			if d.Owner = d.Named; random.IntN(4) == 0 {
				d.Owner, d.Malformed = owner(random.IntN(40)), random.IntN(2) == 0
			}
			list = append(list, d)
			held[d.ID] = d
		}
		save(t, l, july(), list...)
		var gone []target.ID
		for range random.IntN(10) {
			id := key.Of(fmt.Sprint("document", random.IntN(90)))
			gone = append(gone, id)
			delete(held, id)
		}
		must(t, l.ForgetTargetDocuments(t.Context(), july(), gone))

		known, _, err := l.TargetRevisions(t.Context(), july())
		must(t, err)
		got, before := map[target.ID]TargetDocument{}, target.ID{}
		must(t, l.TargetDocuments(t.Context(), july(), func(owner target.ID, documents []target.Document) error {
			if bytes.Compare(owner[:], before[:]) <= 0 {
				t.Errorf("owner %x comes after %x", owner, before)
			}
			before = owner
			for _, d := range documents {
				d.Counts = slices.Clone(d.Counts)
				got[d.ID] = TargetDocument{Owner: owner, Named: held[d.ID].Named, Revision: known[d.ID], Document: d}
			}
			return nil
		}))
		if diff := cmp.Diff(held, got); diff != "" || len(known) != len(held) {
			t.Fatal(len(known), diff)
		}
	}
}

func testTargetCounts(t *testing.T, l *Ledger, _ *clock) {
	d := targetDocument(1, 1, "1-a", 0)
	d.Counts = []target.Count{{Target: 300, Pass: -1, Total: 1 << 53}, {Target: 0, Pass: 0, Total: -1}, {Target: 7, Pass: 127, Total: 128}}
	save(t, l, july(), d)
	var got []target.Document
	must(t, l.TargetDocuments(t.Context(), july(), func(_ target.ID, list []target.Document) error {
		got = append(got, list...)
		return nil
	}))
	if diff := cmp.Diff([]target.Document{d.Document}, got); diff != "" {
		t.Error(diff)
	}
}

func testTargetNames(t *testing.T, l *Ledger, _ *clock) {
	for _, step := range []struct{ add, want []string }{
		{[]string{"births", "deaths", "births"}, []string{"births", "deaths"}},
		{[]string{"visits", "births"}, []string{"births", "deaths", "visits"}},
	} {
		if got, err := l.AddTargetNames(t.Context(), "kisumu", step.add); err != nil || !slices.Equal(got, step.want) {
			t.Errorf("got %v, %v, want %v", got, err, step.want)
		}
		if got, err := l.TargetNames(t.Context(), "kisumu"); err != nil || !slices.Equal(got, step.want) {
			t.Errorf("got %v, %v, want %v", got, err, step.want)
		}
	}
	if got, err := l.TargetNames(t.Context(), "siaya"); err != nil || len(got) > 0 {
		t.Errorf("another CHT: got %v, %v", got, err)
	}
}

func testTargetKey(t *testing.T, l *Ledger, _ *clock) {
	first, err := l.TargetKey(t.Context())
	must(t, err)
	second, err := l.TargetKey(t.Context())
	must(t, err)
	if len(first) != 32 || !slices.Equal(first, second) || slices.Max(first) == 0 {
		t.Errorf("got %x and %x", first, second)
	}
}

// testTargetServer lets a CHT's name lead to another server.
func testTargetServer(t *testing.T, l *Ledger, c *clock) {
	ctx := t.Context()
	saveOwners(t, l, ownerAt(1, "1-a", 10), ownerAt(2, "1-b", 20))
	save(t, l, july(), targetDocument(1, 1, "1-a", 10))
	must(t, l.TargetMonthRead(ctx, july()))
	must(t, l.SaveHeard(ctx, july(), []target.ID{idOf(1)}))
	for _, step := range []struct {
		server int
		cht    string
		isOld  bool
	}{{1, "kisumu", true}, {1, "kisumu", false}, {2, "siaya", false}, {2, "kisumu", true}} {
		must(t, l.TargetOwnersChecked(ctx, "kisumu", []target.ID{idOf(1), idOf(2)}))
		must(t, l.TargetMonthReadInFull(ctx, july()))
		must(t, l.SaveHeard(ctx, july(), []target.ID{idOf(1)}))
		must(t, l.TargetServer(ctx, step.cht, idOf(step.server)))
		_, full, err := l.TargetRevisions(ctx, july())
		must(t, err)
		heard, _, err := l.Heard(ctx, july())
		must(t, err)
		checked := 0
		must(t, l.TargetOwners(ctx, july(), func(o TargetOwner) error {
			if o.CheckedAt.Equal(c.at) {
				checked++
			}
			return nil
		}))
		want := map[bool]int{false: 2}[step.isOld]
		if full.Equal(c.at) == step.isOld || full.IsZero() || checked != want || (len(heard) == 0) != step.isOld {
			t.Errorf("%+v: read in full %v, %d owners checked, %d heard", step, full, checked, len(heard))
		}
	}
	if got, want := owners(t, l, july()), "1(chw)<10/(chw)<10 2(chw)<20"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func testForgetTargetFirsts(t *testing.T, l *Ledger, _ *clock) {
	ctx := t.Context()
	saveOwners(t, l, ownerAt(1, "1-a", 10), ownerAt(2, "1-b", 20))
	save(t, l, july(), targetDocument(1, 1, "1-a", 10), targetDocument(2, 2, "1-b", 20))
	must(t, l.TargetMonthRead(ctx, july()))
	must(t, l.ForgetTargetFirsts(ctx, july(), []target.ID{idOf(1), idOf(9)}))
	must(t, l.ForgetTargetFirsts(ctx, july(), nil))
	if got, want := owners(t, l, july()), "1(chw)<10 2(chw)<20/(chw)<20"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	saveOwners(t, l, ownerAt(1, "2-a", 11))
	must(t, l.TargetMonthRead(ctx, july()))
	if got, want := owners(t, l, july()), "1(chw)<11/(chw)<11 2(chw)<20/(chw)<20"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// owners tells the owners of a CHT, as "owner(type)<parents" with where they first stood behind a "/".
func owners(t *testing.T, l *Ledger, m TargetMonth) string {
	t.Helper()
	stands := func(o target.Owner) string {
		text := "(" + o.Type + ")"
		for _, p := range o.Parents {
			text += fmt.Sprintf("<%d", numberOf(p))
		}
		return text
	}
	var all []string
	must(t, l.TargetOwners(t.Context(), m, func(o TargetOwner) error {
		text := fmt.Sprint(numberOf(o.ID)) + stands(o.Owner)
		if o.Gone {
			text += "!"
		}
		if o.First != nil {
			text += "/" + stands(*o.First)
		}
		all = append(all, text)
		return nil
	}))
	return strings.Join(all, " ")
}

func ownerAt(id int, rev string, parents ...int) TargetOwner {
	o := TargetOwner{Owner: target.Owner{ID: idOf(id), Type: "chw"}, Revision: RevisionOf(rev)}
	for _, p := range parents {
		o.Parents = append(o.Parents, idOf(p))
	}
	return o
}

func testTargetOwners(t *testing.T, l *Ledger, c *clock) {
	ctx := t.Context()
	gone := ownerAt(3, "")
	gone.Gone, gone.Type = true, ""
	saveOwners(t, l, ownerAt(1, "1-a", 10, 100), ownerAt(2, "1-b", 20, 100), gone, ownerAt(4, "1-d"))
	save(t, l, july(), targetDocument(1, 1, "1-a", 10), targetDocument(2, 2, "1-b", 20), targetDocument(3, 3, "1-c", 30))
	must(t, l.TargetMonthRead(ctx, july()))
	if got, want := owners(t, l, july()), "1(chw)<10<100/(chw)<10<100 2(chw)<20<100/(chw)<20<100 3()! 4(chw)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	// Where one stood first stays, for that month.
	checked := c.at
	c.at = c.at.Add(time.Hour)
	saveOwners(t, l, ownerAt(1, "2-a", 11, 100), ownerAt(3, "2-c", 30))
	must(t, l.TargetOwnersChecked(ctx, "kisumu", []target.ID{idOf(2)}))
	must(t, l.TargetMonthRead(ctx, july()))
	if got, want := owners(t, l, july()), "1(chw)<11<100/(chw)<10<100 2(chw)<20<100/(chw)<20<100 3(chw)<30/(chw)<30 4(chw)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := owners(t, l, TargetMonth{"kisumu", "202608"}), "1(chw)<11<100 2(chw)<20<100 3(chw)<30 4(chw)"; got != want {
		t.Errorf("of another month: got %q, want %q", got, want)
	}
	if got := owners(t, l, TargetMonth{"siaya", "202607"}); got != "" {
		t.Errorf("of another CHT: got %q", got)
	}
	var late []string
	must(t, l.TargetOwners(ctx, july(), func(o TargetOwner) error {
		if o.CheckedAt.Equal(checked) {
			late = append(late, fmt.Sprint(numberOf(o.ID)))
		}
		return nil
	}))
	if !slices.Equal(late, []string{"4"}) {
		t.Errorf("not looked at again: %v", late)
	}
}

// testStrayOwner lets an owner have only a document that names another one: where it stands first is noted, and it is kept for as long.
func testStrayOwner(t *testing.T, l *Ledger, c *clock) {
	saveOwners(t, l, ownerAt(1, "1-a", 10), ownerAt(2, "1-b", 20), ownerAt(3, "1-c", 30))
	save(t, l, july(), targetDocument(1, 2, "1-a", 10))
	must(t, l.TargetMonthRead(t.Context(), july()))
	if got, want := owners(t, l, july()), "1(chw)<10 2(chw)<20/(chw)<20 3(chw)<30"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	c.at = c.at.AddDate(0, 7, 0)
	must(t, l.TargetMonthRead(t.Context(), july()))
	_, err := l.Thin(t.Context(), Keep{})
	must(t, err)
	if got, want := owners(t, l, july()), "2(chw)<20/(chw)<20"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func testTargetThin(t *testing.T, l *Ledger, c *clock) {
	ctx := t.Context()
	saveOwners(t, l, ownerAt(1, "1-a", 10), ownerAt(2, "1-b", 20))
	save(t, l, july(), targetDocument(1, 1, "1-a", 10), targetDocument(2, 2, "1-b", 20))
	must(t, l.TargetMonthRead(ctx, july()))
	says := func(months int, wantDocuments, wantOwners string) {
		t.Helper()
		c.at = c.at.AddDate(0, months, 0)
		_, err := l.Thin(ctx, Keep{})
		must(t, err)
		if got := documents(t, l, july()); got != wantDocuments {
			t.Errorf("got documents %q, want %q", got, wantDocuments)
		}
		if got := owners(t, l, july()); got != wantOwners {
			t.Errorf("got owners %q, want %q", got, wantOwners)
		}
	}
	says(5, "1: 1=10, 2: 2=20", "1(chw)<10/(chw)<10 2(chw)<20/(chw)<20")
	says(2, "", "")
	if _, full, err := l.TargetRevisions(ctx, july()); err != nil || !full.IsZero() {
		t.Errorf("it counts as read at %v, %v", full, err)
	}
	// Who comes back stands where it first stood, for as long as that is remembered.
	saveOwners(t, l, ownerAt(1, "2-a", 11))
	says(0, "", "1(chw)<11/(chw)<10")
	says(7, "", "")
	saveOwners(t, l, ownerAt(1, "2-a", 11))
	says(0, "", "1(chw)<11")
}

// TestTargetsAreInTheBackup: without the key what is remembered would mean nothing.
func TestTargetsAreInTheBackup(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	l := openAt(t, dir, newClock())
	key, err := l.TargetKey(t.Context())
	must(t, err)
	save(t, l, july(), targetDocument(1, 1, "1-a", 10))
	_, err = Backup(t.Context(), dir, copied+"/"+fileName)
	must(t, err)
	restored := openAt(t, copied, newClock())
	again, err := restored.TargetKey(t.Context())
	must(t, err)
	if !slices.Equal(key, again) || documents(t, restored, july()) != "1: 1=10" {
		t.Errorf("got another key, or %q", documents(t, restored, july()))
	}
}

// TestTwoReadTheSameMonth lets two processes remember one month at one time.
func TestTwoReadTheSameMonth(t *testing.T) {
	dir := t.TempDir()
	ledgers := []*Ledger{openAt(t, dir, nil), openAt(t, dir, nil)}
	done := make(chan error)
	for _, l := range ledgers {
		go func() {
			ctx := context.WithoutCancel(t.Context())
			for n := range 20 {
				if _, err := l.TargetKey(ctx); err != nil {
					done <- err
					return
				}
				if _, err := l.SaveTargetDocuments(ctx, july(), packed(targetDocument(n, n, "1-a", int64(n)), targetDocument(n+1, n, "1-a", 5))); err != nil {
					done <- err
					return
				}
				if _, err := l.AddTargetNames(ctx, "kisumu", []string{fmt.Sprint("t", n)}); err != nil {
					done <- err
					return
				}
			}
			done <- l.TargetMonthRead(ctx, july())
		}()
	}
	must(t, <-done)
	must(t, <-done)
	names, err := ledgers[0].TargetNames(t.Context(), "kisumu")
	must(t, err)
	known, _, err := ledgers[1].TargetRevisions(t.Context(), july())
	must(t, err)
	if len(names) != 20 || len(known) != 21 {
		t.Errorf("got %d names and %d documents", len(names), len(known))
	}
}

// BenchmarkTargetDocuments remembers 100,000 documents of 100 targets in the order of their slots, and reads them.
func BenchmarkTargetDocuments(b *testing.B) {
	const owners, atOnce = 100_000, 25
	var written [slots][]byte
	key := target.Key("key")
	for n := range owners {
		d := targetDocument(n, n, "1-a", 1)
		d.ID, d.Owner = key.Of(fmt.Sprint("document", n)), key.Of(fmt.Sprint("owner", n))
		d.Named, d.Counts = d.Owner, make([]target.Count, 100)
		for i := range d.Counts {
			d.Counts[i] = target.Count{Target: i, Pass: int64(n % 60), Total: int64(n%60 + i%40)}
		}
		written[d.Slot()] = d.Append(written[d.Slot()])
	}
	for b.Loop() {
		l, err := Open(b.Context(), Config{Dir: b.TempDir()})
		must(b, err)
		started := time.Now()
		for some := range slices.Chunk(written[:], atOnce) {
			_, err := l.SaveTargetDocuments(b.Context(), july(), slices.Concat(some...))
			must(b, err)
		}
		b.ReportMetric(time.Since(started).Seconds(), "saved-s")
		started = time.Now()
		must(b, l.TargetMonthRead(b.Context(), july()))
		_, _, err = l.TargetRevisions(b.Context(), july())
		must(b, err)
		b.ReportMetric(time.Since(started).Seconds(), "revisions-s")
		started = time.Now()
		must(b, l.TargetDocuments(b.Context(), july(), func(target.ID, []target.Document) error { return nil }))
		b.ReportMetric(time.Since(started).Seconds(), "read-s")
		size, err := l.Size(b.Context())
		must(b, err)
		b.ReportMetric(float64(size)/1e6, "store-MB")
		b.ReportMetric(peakMemory(b), "peak-MiB")
		must(b, l.Close())
	}
}
