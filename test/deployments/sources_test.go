package deployments

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/internal/target"
	"github.com/cht-dhis2/mediator/orchestration"
)

// mostContrasts is how many deployments are read from both sources: each takes as long as two that are read from one.
const mostContrasts = 150

// TestEveryDifferenceOfSourcesHasItsCause reads both sources, as they are and once more after people moved.
func TestEveryDifferenceOfSourcesHasItsCause(t *testing.T) {
	t.Parallel()
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: t.TempDir(), Now: func() time.Time { return today }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	from, to := 1, min(*count, mostContrasts)
	if *seed > 0 {
		from, to = *seed, *seed
	}
	causes, same, failed := map[target.Cause]int{}, 0, 0
	for number := from; number <= to; number++ {
		s := newDeployment(uint64(number)).stand(t.TempDir(), l)
		for _, when := range []string{"", "when it is read again: "} {
			c, err := s.Contrast(t.Context(), orchestration.Request{DataSet: s.sets[0], Period: s.period, CHT: s.name}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.Unexplained > 0 || c.Changed > 0 {
				first, _ := json.Marshal(c.Different[0])
				t.Errorf("seed %d (go test ./test/deployments -run Sources -seed %d): %s%d of %d differences have no cause, %d documents changed: %s", number, number, when, c.Unexplained, c.Differ, c.Changed, first)
			}
			same += c.Same
			for _, one := range c.Causes {
				causes[one.Cause] += one.Cells
			}
			if c.Error != "" {
				failed++
				break
			}
			s.chtServer.Change(func(documents *sandbox.CHTDocuments) {
				s.live()
				*documents = s.cht
			})
			s.clock = s.clock.Add(9 * 24 * time.Hour)
		}
	}
	t.Logf("%d cells are the same, %d readings failed; causes: %v", same, failed, fmt.Sprint(causes))
	for _, cause := range target.Causes() {
		if *seed == 0 && to == mostContrasts && causes[cause] == 0 {
			t.Errorf("no difference has the cause %s", cause)
		}
	}
}
