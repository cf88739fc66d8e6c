package orchestration

import (
	"fmt"
	"slices"
	"testing"
)

func TestManyIdsComeBackInTheirOrder(t *testing.T) {
	for _, count := range []int{0, 1, idsTogether, idsTogether + 1, 3*idsTogether + 7} {
		var l idList
		var want, got []string
		for n := range count {
			id := fmt.Sprintf("%x-~ü%s", n, []string{"", "a", string(make([]byte, 300))}[n%3])
			want = append(want, id)
			l.add(id)
		}
		err := l.take(func(ids []string) error {
			if len(ids) == 0 || len(ids) > idsTogether {
				t.Errorf("of %d, %d come at once", count, len(ids))
			}
			got = append(got, ids...)
			return nil
		})
		if err != nil || !slices.Equal(got, want) || l.count != 0 {
			t.Errorf("of %d: got %d others, %v", count, len(got), err)
		}
	}
}
