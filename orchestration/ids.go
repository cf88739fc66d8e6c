package orchestration

import "encoding/binary"

// idList keeps many ids in little memory, and gives them back some at a time.
type idList struct {
	// blocks hold the ids behind their lengths, idsTogether in each but the last.
	blocks [][]byte
	count  int
}

// idsTogether is a whole number of requests.
const idsTogether = 5000

func (l *idList) add(id string) {
	if l.count%idsTogether == 0 {
		l.blocks = append(l.blocks, nil)
	}
	l.count++
	last := &l.blocks[len(l.blocks)-1]
	*last = append(binary.AppendUvarint(*last, uint64(len(id))), id...)
}

// take gives the ids in the order in which they were added, and forgets them. The list of them is good until yield returns.
func (l *idList) take(yield func(ids []string) error) error {
	var ids []string
	for i, block := range l.blocks {
		ids = ids[:0]
		for len(block) > 0 {
			size, used := binary.Uvarint(block)
			end := used + int(size) //nolint:gosec // as it was written
			ids, block = append(ids, string(block[used:end])), block[end:]
		}
		l.blocks[i] = nil
		if err := yield(ids); err != nil {
			return err
		}
	}
	*l = idList{}
	return nil
}
