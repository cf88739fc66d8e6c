package orchestration

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// TestAShelfGivesInTheOrderOfSlots puts records of slots in any order, more than go into one transaction or wait in memory.
func TestAShelfGivesInTheOrderOfSlots(t *testing.T) {
	const records, size = 6000, 1000
	var got []byte
	saves, last := 0, -1
	s := &shelf{dir: t.TempDir(), save: func(_ context.Context, packed []byte) error {
		saves++
		got = append(got, packed...)
		for one := range slices.Chunk(packed, size) {
			slot := int(one[0])<<8 | int(one[1])
			if slot/together < last {
				t.Errorf("slot %d comes after some of place %d", slot, last)
			}
			last = slot / together
		}
		return nil
	}}
	defer s.close()
	seen := map[[2]byte]int{}
	for n := range records {
		slot := n * 37 % 1024
		record := make([]byte, size)
		record[0], record[1] = byte(slot>>8), byte(slot)
		seen[[2]byte(record)]++
		if err := s.add(t.Context(), slot, func(b []byte) []byte { return append(b, record...) }); err != nil {
			t.Fatal(err)
		}
	}
	// What was gathered is remembered, though the reading was stopped.
	stopped, stop := context.WithCancel(t.Context())
	stop()
	s.rescue(stopped)
	for one := range slices.Chunk(got, size) {
		seen[[2]byte(one)]--
	}
	for slot, left := range seen {
		if left != 0 {
			t.Errorf("of slot %v, %d are missing", slot, left)
		}
	}
	if saves < records*size/saveSize-2 || saves > records*size/saveSize+1 {
		t.Errorf("it was saved %d times", saves)
	}

	failed := errors.New("no room")
	s.save = func(context.Context, []byte) error { return failed }
	if err := s.add(t.Context(), 1, func(b []byte) []byte { return append(b, 1) }); err != nil {
		t.Fatal(err)
	}
	if err := s.flush(t.Context()); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
}
