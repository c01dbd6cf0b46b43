package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/examples/places/places"
)

// phase is a state of Redis and what came of the requests that began in it.
type phase struct {
	name  string
	enter func(ctx context.Context) error

	reads, writes, failed, stale, longest counter
	statements, hits                      int64 // at the end of the phase
	failure                               atomic.Pointer[error]
}

// breakRedis has Redis hang, go on, die and come back while clients read and write.
func (d *demo) breakRedis(ctx context.Context, cached *service) error {
	d.title("4. Redis hangs, dies and comes back under load")
	redis := d.env.own
	if redis == nil {
		d.say("left out: the Redis was given by ASIDE_TEST_REDIS, and it is not ours to stop")
		return nil
	}
	d.say("%d clients read and %d write, over HTTP and through one process. A read is stale if it returns a version", faultReaders, faultWriters)
	d.say("lower than one that a write had returned before the read began.")
	nothing := func(context.Context) error { return nil }
	phases := []*phase{
		{name: "Redis is well", enter: nothing},
		{name: "stopped (SIGSTOP)", enter: func(context.Context) error { return redis.Stop() }},
		{name: "continued (SIGCONT)", enter: func(context.Context) error { return redis.Continue() }},
		{name: "killed (SIGKILL)", enter: func(context.Context) error { return redis.Kill() }},
		{name: "started again, empty", enter: redis.Start},
	}
	before := cached.cache.Stats()
	sent := cached.statements.Statements()

	l := newFaultLoad(d, cached.url, phases)
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { l.run(running); close(ended) }()
	err := d.enterPhases(ctx, cached, phases, l)
	stop()
	<-ended
	if err != nil {
		// The cache has invalidations to send before it closes, and would wait for a Redis that stands still.
		_ = redis.Continue() // fails if it does not even run
		return errors.Join(err, redis.Start(context.WithoutCancel(ctx)))
	}

	rows := [][]string{{"", "reads", "writes", "failed", "stale reads", "longest", "statements/request", "from Redis"}}
	hits := int64(before.Hits)
	for _, p := range phases {
		reads, writes := p.reads.Load(), p.writes.Load()
		rows = append(rows, []string{
			p.name, number(reads), number(writes), number(p.failed.Load()), number(p.stale.Load()),
			milliseconds(time.Duration(p.longest.Load())), ratioOf(int(p.statements-sent), int(reads+writes)),
			percent(p.hits-hits, reads),
		})
		hits, sent = p.hits, p.statements
		failure := error(nil)
		if f := p.failure.Load(); f != nil {
			failure = *f
		}
		d.promise(p.failed.Load() == 0, "%s: %d requests failed, the first: %v", p.name, p.failed.Load(), failure)
		d.promise(p.stale.Load() == 0, "%s: %d stale reads", p.name, p.stale.Load())
		d.promise(reads > 0 && writes > 0, "%s: %d reads and %d writes, so nothing was tested", p.name, reads, writes)
	}
	d.table(rows...)
	after := cached.cache.Stats()
	d.say("The service left Redis alone %d times. Invalidations that it kept meanwhile and sent when Redis was back,", after.Opened-before.Opened)
	d.say("before it read from there again: %s. Still waiting: %d, given up: %d.", number(after.Replayed-before.Replayed), after.Pending, after.GivenUp)
	d.promise(after.Opened > before.Opened, "the service never noticed that Redis was away")
	d.promise(after.Pending == 0 && after.GivenUp == 0, "%d invalidations are pending and %d were given up", after.Pending, after.GivenUp)
	return nil
}

// enterPhases breaks and mends Redis. Where it works, a phase lasts until the service uses it again.
func (d *demo) enterPhases(ctx context.Context, cached *service, phases []*phase, l *faultLoad) error {
	// A few hits may be answers to questions from before; so many are not.
	const patience, enough = 10 * time.Second, 200
	for i, p := range phases {
		if err := p.enter(ctx); err != nil {
			return err
		}
		l.now.Store(p)
		start := cached.cache.Stats().Hits
		d.during(ctx, p.name, d.plan.phase)
		if works := i%2 == 0; works {
			end := time.Now().Add(patience)
			for cached.cache.Stats().Hits < start+enough && time.Now().Before(end) && ctx.Err() == nil {
				pause(ctx, 20*time.Millisecond)
			}
			hits := cached.cache.Stats().Hits - start
			d.promise(hits >= enough || ctx.Err() != nil, "%s: the service did not read from Redis for %s", p.name, patience)
		}
		p.hits, p.statements = int64(cached.cache.Stats().Hits), cached.statements.Statements()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.say("%-21s %s reads, %s writes, %d failed, %d stale", p.name+":",
			number(p.reads.Load()), number(p.writes.Load()), p.failed.Load(), p.stale.Load())
	}
	return nil
}

// read is one GET; it counts in the phase in which it began.
func (l *faultLoad) read(row int) {
	p, floor := l.now.Load(), l.acknowledged[row].Load()
	text, err := l.timed(p, "GET", row, "")
	var city places.City
	if err == nil {
		err = json.Unmarshal(text, &city)
	}
	p.note(&p.reads, err)
	if err == nil && city.Version < floor {
		p.stale.Add(1)
	}
}

// write is one PATCH.
func (l *faultLoad) write(row int, population int64) {
	p := l.now.Load()
	text, err := l.timed(p, "PATCH", row, fmt.Sprintf(`{"population":%d}`, population))
	var city places.City
	if err == nil {
		err = json.Unmarshal(text, &city)
	}
	p.note(&p.writes, err)
	if err == nil {
		raise(&l.acknowledged[row], city.Version)
	}
}

func (p *phase) note(count *counter, err error) {
	count.Add(1)
	if err != nil {
		p.failed.Add(1)
		p.failure.CompareAndSwap(nil, &err)
	}
}
