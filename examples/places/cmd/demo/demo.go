package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/asidego/aside/examples/places/data"
	"github.com/asidego/aside/examples/places/places"
)

type options struct {
	quick, serve, naive bool
	addr                string
	seed                uint64
}

// plan is how much of everything.
type plan struct {
	cities   int           // 0: all
	traffic  time.Duration // for each of the two services
	clients  int
	coherent time.Duration // for Aside in part 3
	naive    time.Duration // for the cache to compare with
	phase    time.Duration // of each state of Redis in part 4
}

func (o options) plan() plan {
	if o.quick {
		return plan{
			cities: 3000, clients: 8, traffic: time.Second, coherent: 1500 * time.Millisecond,
			naive: time.Second, phase: 700 * time.Millisecond,
		}
	}
	return plan{clients: 16, traffic: 9 * time.Second, coherent: 8 * time.Second, naive: 4 * time.Second, phase: 2500 * time.Millisecond}
}

// demo is a run.
type demo struct {
	options
	plan   plan
	out    io.Writer
	report bytes.Buffer // what was printed, for the page of -serve
	env    *environment
	slugs  []string // of city id at id-1
	broken []string // promises
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	d := &demo{options: o, plan: o.plan()}
	d.out = io.MultiWriter(out, &d.report)
	d.env, err = d.prepare(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.env.close()) }()
	if o.naive {
		if err := d.compareStaleness(ctx, kindNaive); err != nil {
			return err
		}
		return d.verdict()
	}
	cached, err := d.open(ctx, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cached.close()) }()
	for _, part := range []func() error{
		func() error { return d.compareTraffic(ctx, cached) },
		func() error { return d.compareStaleness(ctx, kindAside, kindNaive) },
		func() error { return d.breakRedis(ctx, cached) },
	} {
		if err := part(); err != nil {
			return err
		}
	}
	err = d.verdict()
	if o.serve {
		err = errors.Join(err, d.serve(ctx, cached))
	}
	return err
}

// prepare starts the servers and loads the cities.
func (d *demo) prepare(ctx context.Context) (*environment, error) {
	d.title("1. Servers and data")
	env, err := newEnvironment(ctx, d.say)
	if err != nil {
		return nil, err
	}
	if err := d.load(ctx, env); err != nil {
		return nil, errors.Join(err, env.close())
	}
	return env, nil
}

func (d *demo) load(ctx context.Context, env *environment) error {
	if err := places.Migrate(ctx, env.database); err != nil {
		return err
	}
	for c, err := range places.AllCities() {
		if err != nil {
			return err
		}
		d.slugs = append(d.slugs, c.Slug)
		if len(d.slugs) == d.plan.cities {
			break
		}
	}
	conn, _, err := env.open()
	if err != nil {
		return err
	}
	start := time.Now()
	err = places.Load(ctx, conn, d.plan.cities, func(done int) {
		d.say("cities loaded by COPY: %7s of %s", number(done), number(len(d.slugs)))
	})
	if err = errors.Join(err, conn.Close()); err == nil {
		d.say("loaded in %s (GeoNames, CC BY 4.0; %s cities in all)", seconds(time.Since(start)), number(data.Count))
	}
	return err
}

// promise notes a count that is not what it should be.
func (d *demo) promise(kept bool, format string, args ...any) {
	if !kept {
		d.broken = append(d.broken, fmt.Sprintf(format, args...))
	}
}

// verdict is the last word.
func (d *demo) verdict() error {
	if len(d.broken) == 0 {
		d.title("Every count is what it should be.")
		return nil
	}
	d.title("NOT as promised:")
	for _, b := range d.broken {
		d.say("%s", b)
	}
	return errors.New("not as promised: " + strings.Join(d.broken, "; "))
}
