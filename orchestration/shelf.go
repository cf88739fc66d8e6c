package orchestration

import (
	"context"
	"encoding/binary"
)

// shelf gathers records that are to be remembered, and gives them to the ledger in the order of their slots: they come in no order at
// all, and one slot of the ledger is written at once. What waits for its turn is in a temporary file.
type shelf struct {
	dir string
	// save remembers records.
	save func(ctx context.Context, packed []byte) error

	spool  *spool
	key    [4]byte
	size   int
	packed []byte
}

const (
	// shelfSize is how much is gathered before it is remembered: what a process that is killed has to read again.
	shelfSize = 24 << 20
	// together is how many slots wait in one place, so that no place is too small to be read at once.
	together = 16
	// saveSize is how much of it is remembered in one transaction.
	saveSize = 1 << 20
)

// add takes a record of a slot, which write appends.
func (s *shelf) add(ctx context.Context, slot int, write func(b []byte) []byte) (err error) {
	if s.spool == nil {
		if s.spool, err = newSpool(s.dir); err != nil {
			return err
		}
	}
	binary.BigEndian.PutUint32(s.key[:], uint32(slot/together)) //nolint:gosec // slots are numbered from 0 on
	err = s.spool.add(string(s.key[:]), func(b []byte) []byte {
		before := len(b)
		b = write(b)
		s.size += len(b) - before
		return b
	})
	if err != nil || s.size < shelfSize {
		return err
	}
	return s.flush(ctx)
}

// flush remembers what was gathered.
func (s *shelf) flush(ctx context.Context) error {
	if s.spool == nil {
		return nil
	}
	defer s.close()
	places, err := s.spool.orgUnits()
	if err != nil {
		return err
	}
	for _, place := range places {
		err := s.spool.read(place, func(u *unpacker) { s.packed, u.b = append(s.packed, u.b...), nil })
		if err == nil && len(s.packed) >= saveSize {
			err = s.pass(ctx)
		}
		if err != nil {
			return err
		}
	}
	return s.pass(ctx)
}

func (s *shelf) pass(ctx context.Context) error {
	if len(s.packed) == 0 {
		return nil
	}
	err := s.save(ctx, s.packed)
	s.packed = s.packed[:0]
	return err
}

// rescue remembers what was gathered before the reading failed, so that nobody has to read it again. That it failed is told anyway.
func (s *shelf) rescue(ctx context.Context) { _ = s.flush(context.WithoutCancel(ctx)) }

// close throws away what is left.
func (s *shelf) close() {
	if s.spool != nil {
		s.spool.close()
	}
	s.spool, s.size = nil, 0
}
