package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/examples/places/places"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

type counter = atomic.Int64

// kind of cache in part 3.
type kind string

const (
	kindAside kind = "Aside"
	kindNaive kind = "GET, SELECT, SET; DEL"
)

// task is what a worker process is told, in the environment variable taskVariable.
type task struct {
	Kind                       kind
	Database, Redis, Namespace string
	Ledger                     string  // path
	Cities                     []int64 // one for each row of the ledger
	Slugs                      []string
	Length                     time.Duration
	Seed                       uint64
}

const taskVariable = "ASIDE_DEMO_WORKER"

const (
	writers   = 2
	readers   = 6
	thinkTime = 4 * time.Millisecond // of a writer, on average half of it: else nothing would ever be read twice
)

// tally is what a worker reports when it is done.
type tally struct {
	Reads, Writes, Hits, Stale int64
	Behind                     int64 // by how many versions the worst stale read was
	Unconfirmed                int64 // writes that returned before Redis had confirmed their invalidation, and said so
}

func isWorker() bool { return os.Getenv(taskVariable) != "" }

// workerMain is the other end of runWorkers: it says that it is ready, waits for a line, works, and prints its tally. The
// end of its input is the end of its parent, hence its own.
func workerMain() int {
	var t task
	err := json.Unmarshal([]byte(os.Getenv(taskVariable)), &t)
	if err == nil {
		err = t.run(os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return 1
	}
	return 0
}

func (t task) run(in io.Reader, out io.Writer) (err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	subject, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, subject.close()) }()
	acknowledged, err := openLedger(t.Ledger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, acknowledged.close()) }()

	input := bufio.NewReader(in)
	fmt.Fprintln(out, "ready")
	if _, err := input.ReadString('\n'); err != nil {
		return errors.New("the parent is gone")
	}
	go func() {
		_, _ = input.ReadString('\n')
		cancel()
	}()
	working, stop := context.WithTimeout(ctx, t.Length)
	defer stop()
	got, err := t.work(working, subject.cities, acknowledged)
	if err != nil {
		return err
	}
	got.Hits = subject.hits()
	return json.NewEncoder(out).Encode(got)
}

// cityStore is what is under test.
type cityStore interface {
	Find(ctx context.Context, id int64) (places.City, error)
	FindMany(ctx context.Context, ids []int64) ([]places.City, error)
	FindBy(ctx context.Context, at model.One[places.City]) (places.City, error)
	Modify(ctx context.Context, id int64, change func(*places.City) error) (places.City, error)
}

// work writes and reads until ctx ends. Calls have a context of their own: one that is cut off proves nothing.
func (t task) work(ctx context.Context, cities cityStore, acknowledged *ledger) (tally, error) {
	var reads, writes, stale, behind, unconfirmed counter
	errs := make(chan error, writers+readers)
	var wg sync.WaitGroup
	loop := func(i int, step func(rng *rand.Rand) error) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(t.Seed, uint64(i)))
			for ctx.Err() == nil {
				if err := step(rng); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	for i := range writers {
		loop(i, func(rng *rand.Rand) error {
			row := rng.IntN(len(t.Cities))
			call, report := txhooks.WithReport(context.WithoutCancel(ctx))
			city, err := cities.Modify(call, t.Cities[row], func(c *places.City) error {
				n := int64(1)
				if c.Population != nil {
					n += *c.Population
				}
				c.Population = &n
				return nil
			})
			if err != nil {
				return err
			}
			writes.Add(1)
			// The promise to other processes is for writes that Redis was told of. Where it did not answer in time, the
			// report says how many invalidations still wait; then other processes may read the old row for a moment.
			if report.Pending == 0 {
				acknowledged.acknowledge(row, city.Version)
			} else {
				unconfirmed.Add(1)
			}
			pause(ctx, time.Duration(rng.Int64N(int64(thinkTime))))
			return nil
		})
	}
	for i := range readers {
		loop(writers+i, func(rng *rand.Rand) error {
			rows := []int{rng.IntN(len(t.Cities))}
			way := rng.IntN(10)
			if way == 0 {
				rows = append(rows, (rows[0]+1)%len(t.Cities), (rows[0]+2)%len(t.Cities))
			}
			floors := make([]int64, len(rows)) // before the read starts
			for i, row := range rows {
				floors[i] = acknowledged.floor(row)
			}
			found, err := t.read(context.WithoutCancel(ctx), cities, way, rows)
			if err != nil {
				return err
			}
			for i, city := range found {
				reads.Add(1)
				if late := floors[i] - city.Version; late > 0 {
					stale.Add(1)
					raise(&behind, late)
				}
			}
			return nil
		})
	}
	wg.Wait()
	close(errs)
	return tally{
		Reads: reads.Load(), Writes: writes.Load(), Stale: stale.Load(), Behind: behind.Load(), Unconfirmed: unconfirmed.Load(),
	}, <-errs
}

// read reads in one of three ways: several cities, by slug, by id.
func (t task) read(ctx context.Context, cities cityStore, way int, rows []int) ([]places.City, error) {
	if len(rows) > 1 {
		var ids []int64
		for _, row := range rows {
			ids = append(ids, t.Cities[row])
		}
		found, err := cities.FindMany(ctx, ids)
		if err == nil && len(found) != len(ids) {
			err = fmt.Errorf("%d cities of %d", len(found), len(ids))
		}
		return found, err
	}
	var city places.City
	var err error
	if way <= 3 {
		city, err = cities.FindBy(ctx, places.BySlug.Eq(t.Slugs[rows[0]]))
	} else {
		city, err = cities.Find(ctx, t.Cities[rows[0]])
	}
	return []places.City{city}, err
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
