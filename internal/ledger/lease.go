package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"
)

// lease is the worker role on PostgreSQL: a row that says who has it and until when, by the clock of the database. It is
// renewed all the time, so that it ends soon after its holder does, however that ends. The fence grows with each process
// that takes it; every transaction of the holder makes sure that its own is the newest.
type lease struct {
	fence int64
	// lost is closed when the role is lost, stop when it is given back, done when nobody renews it any more.
	lost, stop, done chan struct{}
}

const (
	// leaseFor is how long a lease holds that nobody renews; another process has the role so soon after this one is gone.
	leaseFor   = 20 * time.Second
	leaseEvery = 5 * time.Second
	// leaseTry is how long one renewal may take. Who could not renew it for leaseFor, less this, stops working before
	// another one begins.
	leaseTry = 4 * time.Second
)

func (p *postgres) takeRole(ctx context.Context) error {
	p.taking.Lock()
	defer p.taking.Unlock()
	const doing = "take the worker role"
	if own, err := p.fence(); own > 0 || err != nil {
		return p.l.explain(doing, err)
	}
	// Whoever stands by looks often, and waits for no transaction to look.
	holder, err := p.holder(ctx)
	if err != nil {
		return p.l.explain(doing, err)
	}
	if holder != "" {
		return taken(holder)
	}
	fence, err := p.takeLease(ctx)
	if err != nil {
		return p.l.explain(doing, err)
	}
	if fence == 0 {
		return taken("another process")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lease = &lease{fence: fence, lost: make(chan struct{}), stop: make(chan struct{}), done: make(chan struct{})}
	go p.keep(p.lease, time.Now())
	return nil
}

func taken(who string) error {
	return &Error{
		Kind: Taken, Doing: "take the worker role", What: who + " works with this database",
		Remedy: "let it do the work, or stop it first",
	}
}

// takeLease takes the lease where nobody holds it, and the jobs of who held it before; 0 says that somebody does.
func (p *postgres) takeLease(ctx context.Context) (fence int64, err error) {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	tx, done, err := p.beginLocked(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	err = tx.QueryRowContext(ctx, `INSERT INTO worker_lease (name, holder, fence, until)
		VALUES ('worker', $1, 1, clock_timestamp() + CAST($2 AS bigint) * interval '1 millisecond')
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fence = worker_lease.fence + 1, until = excluded.until
			WHERE worker_lease.until <= clock_timestamp() RETURNING fence`,
		fmt.Sprintf("process %d since %s on %s", os.Getpid(), timeOf(p.l.now()).Format(time.RFC3339), host), leaseFor.Milliseconds()).Scan(&fence)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, tx.Rollback()
	}
	if err == nil {
		err = takeUp(ctx, tx)
	}
	if err != nil {
		_ = tx.Rollback()
		return 0, err
	}
	return fence, tx.Commit()
}

// keep renews a lease until it is given back, or lost.
func (p *postgres) keep(own *lease, renewed time.Time) {
	defer close(own.done)
	ticker := time.NewTicker(leaseEvery)
	defer ticker.Stop()
	for {
		select {
		case <-own.stop:
			return
		case <-ticker.C:
		}
		started := time.Now()
		ours, err := p.renew(own.fence)
		switch {
		case err == nil && ours:
			renewed = started
		case err == nil, time.Since(renewed) > leaseFor-leaseEvery-leaseTry:
			p.lose(own.fence)
			return
		}
	}
}

func (p *postgres) renew(fence int64) (ours bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseTry)
	defer cancel()
	n, err := affected(p.side.ExecContext(ctx, `UPDATE worker_lease SET until = clock_timestamp() + CAST($1 AS bigint) * interval '1 millisecond'
		WHERE fence = $2`, leaseFor.Milliseconds(), fence))
	return n > 0, err
}

// lose marks the role as lost: nothing is written from now on, until all that worked by it has ended.
func (p *postgres) lose(fence int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lease == nil || p.lease.fence != fence || p.lease.isLost() {
		return
	}
	close(p.lease.lost)
}

func (e *lease) isLost() bool {
	select {
	case <-e.lost:
		return true
	default:
		return false
	}
}

// fence is that of the role which this process has, 0 where it has none. The error says that it has lost it.
func (p *postgres) fence() (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.lease == nil:
		return 0, nil
	case p.lease.isLost():
		return 0, &Error{
			Kind: Taken, What: "this process has lost the worker role, as it did not reach the database in time, or another one has taken it",
			Remedy: "it stands by, and goes on by itself; look after the database and the way to it where that happens again",
		}
	default:
		return p.lease.fence, nil
	}
}

// giveRole gives the lease back, so that another process has it at once.
func (p *postgres) giveRole(ctx context.Context) error {
	p.mu.Lock()
	own := p.lease
	p.mu.Unlock()
	if own == nil {
		return nil
	}
	close(own.stop)
	<-own.done
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTry)
	defer cancel()
	_, err := p.side.ExecContext(ctx, `UPDATE worker_lease SET until = '-infinity' WHERE fence = $1`, own.fence)
	if own.isLost() || p.kind(err) == Unreachable {
		err = nil // it ends by itself
	}
	p.mu.Lock()
	p.lease = nil
	p.mu.Unlock()
	return p.l.explain("give the worker role back", err)
}

func (p *postgres) hasRole() bool {
	fence, err := p.fence()
	return err == nil && fence > 0
}

func (p *postgres) roleLost() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lease == nil {
		return nil
	}
	return p.lease.lost
}

// holder is who has the role; empty where nobody has.
func (p *postgres) holder(ctx context.Context) (holder string, err error) {
	err = p.side.QueryRowContext(ctx, `SELECT holder FROM worker_lease WHERE until > clock_timestamp()`).Scan(&holder)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return holder, err
}

func (p *postgres) worker(ctx context.Context) string {
	holder, err := p.holder(ctx)
	if err != nil {
		return ""
	}
	return holder
}
