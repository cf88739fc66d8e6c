package ledger

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/riverqueue/river"
)

type stepArgs struct {
	Submission string `json:"submission"`
}

func (stepArgs) Kind() string { return "step" }

// stepWorker does what a test says.
type stepWorker struct {
	river.WorkerDefaults[stepArgs]

	work func(ctx context.Context, job *river.Job[stepArgs]) error
}

func (w *stepWorker) Work(ctx context.Context, job *river.Job[stepArgs]) error {
	return w.work(ctx, job)
}

func (*stepWorker) Timeout(*river.Job[stepArgs]) time.Duration { return time.Hour }

// jobs makes a client that works steps; nil makes one that only inserts.
func jobs(l *Ledger, work func(context.Context, *river.Job[stepArgs]) error) (*river.Client[*sql.Tx], error) {
	config := &river.Config{Logger: quiet(), FetchPollInterval: 50 * time.Millisecond, FetchCooldown: 10 * time.Millisecond}
	if work != nil {
		config.Workers = river.NewWorkers()
		config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}
		river.AddWorker(config.Workers, &stepWorker{work: work})
	}
	return l.Jobs(config)
}

func inserting(client *river.Client[*sql.Tx]) Next {
	return func(ctx context.Context, tx *sql.Tx, id string) error {
		_, err := client.InsertTx(ctx, tx, stepArgs{Submission: id}, nil)
		return err
	}
}

func worked(t *testing.T, l *Ledger) stepArgs {
	t.Helper()
	done := make(chan *river.Job[stepArgs], 1)
	client, err := jobs(l, func(_ context.Context, job *river.Job[stepArgs]) error {
		done <- job
		return nil
	})
	must(t, err)
	must(t, client.Start(t.Context()))
	defer func() { must(t, client.Stop(context.WithoutCancel(t.Context()))) }()
	select {
	case job := <-done:
		if job.Attempt != 1 {
			t.Errorf("got attempt %d: a killed process used one up", job.Attempt)
		}
		return job.Args
	case <-time.After(30 * time.Second):
		t.Fatal("the job was not worked")
		return stepArgs{}
	}
}

func TestAJobComesWithItsRowsOrNotAtAll(t *testing.T) {
	onBoth(t, func(t *testing.T, open func(*clock) *Ledger) { jobWithItsRows(t, open(nil)) })
}

func jobWithItsRows(t *testing.T, l *Ledger) {
	must(t, l.TakeRole(t.Context()))
	client, err := jobs(l, nil)
	must(t, err)
	fault := errors.New("after the job")
	_, _, err = l.Begin(t.Context(), Request{Key: key()}, func(ctx context.Context, tx *sql.Tx, id string) error {
		return errors.Join(inserting(client)(ctx, tx, id), fault)
	})
	if !errors.Is(err, fault) {
		t.Fatalf("got %v", err)
	}
	s, _, err := l.Begin(t.Context(), Request{Key: key()}, inserting(client))
	must(t, err)
	if got := worked(t, l); got.Submission != s.ID {
		t.Errorf("got the job of %q, want that of %q: a job remains of what was rolled back", got.Submission, s.ID)
	}
}

func TestAJobSurvivesAKilledProcess(t *testing.T) {
	for _, name := range []string{"insert job", "work job"} {
		t.Run(name, func(t *testing.T) { survives(t, name, t.TempDir()) })
		t.Run(name+" on PostgreSQL", func(t *testing.T) { survives(t, name, database(t)) })
	}
}

func survives(t *testing.T, name, place string) {
	killed(t, name, place)
	l := opened(t, at(place), nil)
	if l.IsShared() && name == "work job" { // else it takes as long as a lease holds
		wantKind(t, l.TakeRole(t.Context()), Taken)
		must(t, server.SQL(place, `UPDATE worker_lease SET until = '-infinity'`))
	}
	must(t, l.TakeRole(t.Context()))
	list, err := l.Submissions(t.Context(), Filter{})
	must(t, err)
	started := time.Now()
	if got := worked(t, l); len(list) != 1 || got.Submission != list[0].ID {
		t.Errorf("got the job of %q among %+v", got.Submission, list)
	}
	t.Logf("taken up after %v", time.Since(started))
}

// insertJob commits a submission with its job, and is killed.
func insertJob(ctx context.Context, place string) error {
	l, err := Open(ctx, at(place))
	if err != nil {
		return err
	}
	client, err := jobs(l, nil)
	if err != nil {
		return err
	}
	if _, _, err := l.Begin(ctx, Request{Key: key()}, inserting(client)); err != nil {
		return err
	}
	return hang(ctx)
}

// workJob is killed while it works the job.
func workJob(ctx context.Context, place string) error {
	l, err := Open(ctx, at(place))
	if err != nil {
		return err
	}
	if err := l.TakeRole(ctx); err != nil {
		return err
	}
	client, err := jobs(l, func(ctx context.Context, _ *river.Job[stepArgs]) error { return hang(ctx) })
	if err != nil {
		return err
	}
	if _, _, err := l.Begin(ctx, Request{Key: key()}, inserting(client)); err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	select {}
}
