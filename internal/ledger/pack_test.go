package ledger

import (
	"testing"

	"github.com/cht-dhis2/mediator/internal/dhis2"
)

// FuzzUnpack reads bytes that nobody packed: it says so, or gives values, and never more than there are bytes.
func FuzzUnpack(f *testing.F) {
	known := newNames()
	known.add("DeA"+separator+"CoA", 1)
	for _, seed := range [][]byte{{1, 4}, {1, 5, 1, 'c'}, {0, 1, 'a', 0, 6, 'v'}, {2, 4}, {1, 0xff, 0xff}, {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		values, err := known.unpack(nil, "OuA", packed)
		if err == nil && len(values) > len(packed) {
			t.Errorf("%d values of %d bytes", len(values), len(packed))
		}
	})
}

// FuzzPack packs any texts; the same come back.
func FuzzPack(f *testing.F) {
	l := openAt(f, f.TempDir(), nil)
	f.Add("DeA", "CoA", "12", "late")
	f.Add("with\ttab", "", "-0", "")
	f.Add("", "", "99999999999999999999", "\x00")
	f.Fuzz(func(t *testing.T, element, combo, text, comment string) {
		tx, err := l.writer.BeginTx(t.Context(), nil)
		must(t, err)
		defer tx.Rollback() //nolint:errcheck // nothing is to remain
		p, err := l.packer(t.Context(), tx)
		must(t, err)
		want := dhis2.DataValue{OrgUnit: "OuA", DataElement: element, CategoryOptionCombo: combo, Value: text, Comment: comment}
		packed, err := p.pack(t.Context(), nil, want)
		must(t, err)
		seen := newNames() // as another process knows them after the commit
		for name, number := range p.fresh {
			seen.add(name, number)
		}
		got, err := seen.unpack(nil, "OuA", packed)
		must(t, err)
		if len(got) != 1 || got[0] != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}
