package orchestration

import (
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

func TestRequestsThatJoinASubmissionThatWaitsDoNotMultiplyIt(t *testing.T) {
	b := newBench(t, "2.43.1")
	b.cht.Fail(sandbox.Fault{Kind: sandbox.Status, Status: 401})
	start(t, NewService(b.Submitter))
	id := b.begin(t).ID
	until(t, b.Submitter, id, func(s ledger.Submission) bool { return s.WaitingFor != "" })
	for range 20 {
		b.begin(t)
	}
	// All that runs has run when nothing is due any more.
	quiet := func() bool {
		running, err := b.Ledger.RunningJobs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(running) == 0
	}
	for deadline := time.Now().Add(patientFor); !quiet() && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
	}
	time.Sleep(500 * time.Millisecond)
	if jobs, err := b.Ledger.WaitingJobs(t.Context()); err != nil || jobs > 2 { // one more may have been added while one was under way
		t.Errorf("%d jobs wait for one submission, %v", jobs, err)
	}
}
