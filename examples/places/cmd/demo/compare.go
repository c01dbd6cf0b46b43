package main

import (
	"context"
	"errors"
	"slices"
)

// compareTraffic sends the same requests to the service without and with the cache.
func (d *demo) compareTraffic(ctx context.Context, cached *service) (err error) {
	d.title("2. The same traffic without and with the cache")
	d.say("%d clients over HTTP: %d %% of requests by id, %d %% by slug, %d %% with %d ids; seed %d. Cities are drawn by",
		d.plan.clients, byID, bySlug, 100-byID-bySlug, several, d.seed)
	d.say("Zipf's law with exponent 1.2: few of them often, most hardly ever. The cache begins empty.")
	d.say("Everything is on this machine and every row in memory: a query by key costs hardly more than a GET of Redis,")
	d.say("so look at the statements that PostgreSQL was spared rather than at the time.")
	plain, err := d.open(ctx, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.close()) }()

	services := []*measured{{name: "PostgreSQL alone", of: plain}, {name: "with Aside on Redis", of: cached}}
	var cold outcome // the first round of the second
	for round := range rounds {
		for _, s := range services {
			o, err := d.measure(ctx, s.of, uint64(round))
			if err != nil {
				return err
			}
			d.say("round %d of %d, %-20s %6s requests/s, %s statements/request", round+1, rounds, s.name+":",
				number(o.perSecond()), ratioOf(o.statements, len(o.latencies)))
			if round == 0 && s.of == cached {
				cold = o
				continue
			}
			s.add(o)
		}
	}
	alone, warm := services[0], services[1]
	warm.name = "with Aside, afterwards"
	rows := [][]string{{"", "requests/s", "p50", "p99", "requests", "statements", "per request", "hit ratio"}}
	for _, s := range []*measured{alone, {name: "with Aside, cache empty", outcome: cold}, warm} {
		slices.Sort(s.latencies)
		ratio := percent(s.hits, s.rows)
		if s == alone {
			ratio = "-"
		}
		requests := len(s.latencies)
		d.promise(s.failed == 0, "%s: %d requests failed, the first: %v", s.name, s.failed, s.failure)
		rows = append(rows, []string{
			s.name, number(s.perSecond()), milliseconds(s.at(0.50)), milliseconds(s.at(0.99)),
			number(requests), number(s.statements), ratioOf(s.statements, requests), ratio,
		})
	}
	d.table(rows...)
	d.note("hit ratio: rows that came from Redis, of all rows that were asked for")

	stats, sent := cached.cache.Stats(), int(cached.statements.Statements()-cached.before)
	d.promise(alone.statements == len(alone.latencies), "%d statements for %d requests without a cache", alone.statements, len(alone.latencies))
	d.promise(sent == int(stats.Loads), "the cache says that it loaded %d times, but PostgreSQL got %d statements", stats.Loads, sent)
	d.promise(warm.statements < len(warm.latencies), "%d statements for %d requests: the cache spares nothing", warm.statements, len(warm.latencies))
	return nil
}

// rounds alternate between the services: what else the machine does hits both alike.
const rounds = 3

// measured is a service and what came of all its traffic.
type measured struct {
	name string
	of   *service
	outcome
}

// measure sends traffic to a service for one round.
func (d *demo) measure(ctx context.Context, s *service, round uint64) (outcome, error) {
	hits, statements := s.hits(), s.statements.Statements()
	running, stop := context.WithTimeout(ctx, d.plan.traffic/rounds)
	defer stop()
	o := drive(running, s.url, d.plan.clients, d.seed+round, d.slugs)
	o.hits, o.statements = int(s.hits()-hits), int(s.statements.Statements()-statements)
	return o, ctx.Err()
}

// hits are rows that came from the cache.
func (s *service) hits() uint64 {
	if s.cache == nil {
		return 0
	}
	return s.cache.Stats().Hits
}

func ratioOf(part, whole int) string {
	if whole == 0 {
		return "-"
	}
	return decimal(float64(part) / float64(whole))
}
