package ledger

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// batch writes many rows, ten a statement: with one a statement the calls cost most, and with hundreds the looking up of
// the numbered placeholders does, which SQLite does one after the other.
type batch struct {
	tx         *sql.Tx
	head, tail string
	columns    int
	args       []any
	full       *sql.Stmt
}

const batchRows = 10

// newBatch begins a batch: an insert up to its VALUES, the number of columns, and what follows the values. What it holds
// goes with the transaction.
func newBatch(ctx context.Context, tx *sql.Tx, head string, columns int, tail string) (*batch, error) {
	b := &batch{tx: tx, head: head, columns: columns, tail: tail, args: make([]any, 0, batchRows*columns)}
	var err error
	b.full, err = tx.PrepareContext(ctx, b.text(batchRows))
	return b, err
}

func (b *batch) text(rows int) string {
	var s strings.Builder
	s.WriteString(b.head)
	for i := range rows * b.columns {
		switch {
		case i == 0:
			s.WriteString(" (")
		case i%b.columns == 0:
			s.WriteString("), (")
		default:
			s.WriteString(", ")
		}
		s.WriteString("$" + strconv.Itoa(i+1))
	}
	s.WriteString(") " + b.tail)
	return s.String()
}

// add writes one row, or keeps it until there are ten.
func (b *batch) add(ctx context.Context, row ...any) error {
	b.args = append(b.args, row...)
	if len(b.args) < batchRows*b.columns {
		return nil
	}
	_, err := b.full.ExecContext(ctx, b.args...)
	b.args = b.args[:0]
	return err
}

// end writes what is left.
func (b *batch) end(ctx context.Context) error {
	if len(b.args) == 0 {
		return nil
	}
	//nolint:gosec // the text is made of what newBatch was given, and of placeholders
	_, err := b.tx.ExecContext(ctx, b.text(len(b.args)/b.columns), b.args...)
	return err
}

// squeeze writes a value as compressed JSON; nil for an empty list.
func squeeze[T any](list []T) ([]byte, error) {
	if len(list) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	return compress(text)
}

// compressors are kept, as each takes much more memory than what it packs.
var compressors = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // a level that there is
	return w
}}

func compress(text []byte) ([]byte, error) {
	var packed bytes.Buffer
	w, _ := compressors.Get().(*gzip.Writer)
	defer compressors.Put(w)
	w.Reset(&packed)
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err := w.Close()
	return packed.Bytes(), err
}

// expand reads what squeeze wrote.
func expand[T any](packed []byte) ([]T, error) {
	if len(packed) == 0 {
		return nil, nil
	}
	text, err := decompress(packed)
	if err != nil {
		return nil, err
	}
	var list []T
	err = json.Unmarshal(text, &list)
	return list, err
}

func decompress(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
