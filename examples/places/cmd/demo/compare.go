package main

import (
	"context"
	"errors"
)

// compareTraffic sends the same requests to the service without and with the cache.
func (d *demo) compareTraffic(ctx context.Context, cached *service) (err error) {
	d.title("2. The same traffic without and with the cache")
	d.say("%d clients over HTTP, seed %d; cities drawn by Zipf's law; %d %% by id, %d %% by slug, %d %% with %d ids",
		d.plan.clients, d.seed, byID, bySlug, 100-byID-bySlug, several)
	d.say("PostgreSQL is on this machine with every row in memory, and the clients share its processors: the time")
	d.say("gained here is the least there is to gain. Statements spared are spared anywhere. The cache begins empty.")
	plain, err := d.open(ctx, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.close()) }()

	rows := [][]string{{"", "requests/s", "p50", "p99", "requests", "statements", "per request", "hit ratio"}}
	for _, s := range []struct {
		name string
		*service
	}{{"PostgreSQL alone", plain}, {"with Aside on Redis", cached}} {
		o, err := d.measure(ctx, s.name, s.service)
		if err != nil {
			return err
		}
		requests, statements := len(o.latencies), int(s.statements.Statements())
		ratio := "-"
		if s.cache != nil {
			stats := s.cache.Stats()
			ratio = percent(int(stats.Hits), o.rows)
			d.promise(statements == int(stats.Loads), "the cache says it loaded %d times, PostgreSQL got %d statements", stats.Loads, statements)
			d.promise(statements < requests, "%d statements for %d requests: the cache spares nothing", statements, requests)
			d.promise(stats.StoreErrors == 0, "%d calls of Redis failed", stats.StoreErrors)
		} else {
			d.promise(statements == requests, "%d statements for %d requests without a cache", statements, requests)
		}
		d.promise(o.failed == 0, "%s: %d requests failed, the first: %v", s.name, o.failed, o.failure)
		rows = append(rows, []string{
			s.name, number(int(float64(requests) / o.took.Seconds())), milliseconds(o.at(0.50)), milliseconds(o.at(0.99)),
			number(requests), number(statements), ratioOf(statements, requests), ratio,
		})
	}
	d.table(rows...)
	d.note("hit ratio: rows that came from Redis, of all rows that were asked for")
	return nil
}

func (d *demo) measure(ctx context.Context, name string, s *service) (outcome, error) {
	running, stop := context.WithCancel(ctx)
	done := make(chan outcome, 1)
	go func() { done <- drive(running, s.url, d.plan.clients, d.seed, d.slugs) }()
	d.during(ctx, name, d.plan.traffic)
	stop()
	return <-done, ctx.Err()
}

func ratioOf(part, whole int) string {
	if whole == 0 {
		return "-"
	}
	return decimal(float64(part) / float64(whole))
}
