package dhis2

import "io"

// ahead reads a stream on in pieces while the one before is taken, so that unpacking and parsing a large answer are done side
// by side.
type ahead struct {
	ready chan piece
	free  chan []byte
	stop  chan struct{}

	piece, rest []byte
	err         error
}

type piece struct {
	bytes []byte
	err   error
}

const (
	pieces    = 3
	pieceSize = 64 << 10
)

// readAhead begins to read. The caller ends it, which waits for a read under way.
func readAhead(from io.Reader) *ahead {
	a := &ahead{ready: make(chan piece, pieces), free: make(chan []byte, pieces), stop: make(chan struct{})}
	for range pieces {
		a.free <- make([]byte, pieceSize)
	}
	go func() {
		defer close(a.ready)
		for {
			var into []byte
			select {
			case into = <-a.free:
			case <-a.stop:
				return
			}
			n, err := 0, error(nil)
			for n < len(into) && err == nil {
				var more int
				more, err = from.Read(into[n:])
				n += more
			}
			a.ready <- piece{into[:n], err}
			if err != nil {
				return
			}
		}
	}()
	return a
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		if a.piece != nil {
			a.free <- a.piece[:pieceSize]
		}
		next := <-a.ready
		a.piece, a.rest, a.err = next.bytes, next.bytes, next.err
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// end ends the reading, whatever is left.
func (a *ahead) end() {
	close(a.stop)
	for range a.ready { // until it has ended
	}
}
