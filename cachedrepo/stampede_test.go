package cachedrepo_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

// A key that a thousand want at once costs one query and a handful of commands.
func TestStampedeOnAColdKey(t *testing.T) {
	histories(t, func(t *testing.T, r, _ *process, p product) {
		const readers = 1000
		load := r.plain.park(t, "after query", about(p))
		r.sent.take()
		r.store.take()
		var all []*pending[product]
		for range readers {
			all = append(all, r.read(t.Context(), p.ID))
		}
		// All have come, and each has found the lease, before the load ends.
		until(t, "all to join", func() bool { return cachedrepo.Waiting(r.cache) == readers })
		load.goOn()
		for _, one := range all {
			ended(t, one, "old")
		}
		if sent := r.sent.take(); len(sent) != 1 {
			t.Errorf("%d statements: %q", len(sent), sent)
		}
		commands := r.store.take()
		t.Logf("%d operations for %d readers", len(commands), readers)
		// Whoever comes while a look is out shares the next one. In memory a look takes no time, and few have to.
		if most := map[bool]int{true: 2 * readers, false: readers / 4}[strings.HasSuffix(t.Name(), "memory")]; len(commands) > most {
			t.Errorf("%d operations for %d readers", len(commands), readers)
		}
		if s := r.cache.Stats(); s.Loads != 1 || s.Misses != 1 || s.Shared != readers-1 {
			t.Errorf("%+v", s)
		}
	})
}

// Eight processes, each with a client of its own, want one row, and the query takes a while. While they wait for each
// other there is one query; those that do not wait make one each, and all answers are right.
func TestStampedeOfProcesses(t *testing.T) {
	const processes = 8
	start := func(t *testing.T, wait time.Duration) (all []*process, p product) {
		t.Helper()
		t.Parallel()
		s := newShop(t)
		server := testenv.Redis(t)
		for range processes {
			all = append(all, s.process(t, redisstore.New(server.Client(t)), server.Prefix(), cachedrepo.Config{Wait: wait}))
		}
		return all, s.insert(t, "A-1")
	}
	loads := func(all []*process) (n, stored uint64) {
		for _, one := range all {
			n += one.cache.Stats().Loads
			stored += one.cache.Stats().Fills
		}
		return n, stored
	}
	t.Run("waiting", func(t *testing.T) {
		all, p := start(t, 2*patience)
		load := all[0].plain.park(t, "before query", about(p))
		reads := []*pending[product]{all[0].read(t.Context(), p.ID)}
		load.wait(t)
		var seen []*park
		for _, one := range all[1:] {
			// The second look of each comes after it has decided to wait.
			seen = append(seen, one.store.parkNth(t, "before get", about(p), 2))
			reads = append(reads, one.read(t.Context(), p.ID))
		}
		for _, look := range seen {
			look.wait(t)
			look.goOn()
		}
		load.goOn()
		for _, one := range reads {
			ended(t, one, "old")
		}
		if n, stored := loads(all); n != 1 || stored != 1 {
			t.Errorf("%d loads, %d fills, want one", n, stored)
		}
	})
	t.Run("not waiting", func(t *testing.T) {
		all, p := start(t, -1)
		load := all[0].plain.park(t, "before query", about(p))
		first := all[0].read(t.Context(), p.ID)
		load.wait(t)
		for _, one := range all[1:] {
			one.reads(t, p.ID, "old")
		}
		if first.returned() {
			t.Error("the first read returned before its load")
		}
		load.goOn()
		ended(t, first, "old")
		if n, stored := loads(all); n != processes || stored != 1 {
			t.Errorf("%d loads, %d fills, want %d and one", n, stored, processes)
		}
		for _, one := range all {
			one.hits(t, p.ID, "old")
		}
	})
	t.Run("holder is dead", func(t *testing.T) {
		all, p := start(t, time.Millisecond)
		// Its lease is there and nobody will fill it. Each process waits for it once.
		all[0].store.do(t, store.Op{Kind: store.Acquire, Key: all[0].key(p), Token: store.NewToken(), TTL: 2 * patience})
		for _, one := range all {
			one.reads(t, p.ID, "old")
			one.store.take()
			one.reads(t, p.ID, "old")
			if commands := one.store.take(); len(commands) != 1 {
				t.Errorf("a process waited for a dead one twice: %q", commands)
			}
		}
	})
}

// Whoever gives up fails alone.
func TestOneCallersCancellation(t *testing.T) {
	histories(t, func(t *testing.T, r, _ *process, p product) {
		for turn, leader := range []bool{true, false} {
			load := r.plain.park(t, "before query", about(p))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			contexts := []context.Context{ctx, t.Context()}
			if !leader {
				contexts = []context.Context{t.Context(), ctx}
			}
			first := r.read(contexts[0], p.ID)
			load.wait(t)
			second := r.read(contexts[1], p.ID)
			until(t, "both to wait", func() bool { return cachedrepo.Waiting(r.cache) == 2 })
			gone, stays := first, second
			if !leader {
				gone, stays = second, first
			}
			cancel()
			if _, err := gone.wait(t); !errors.Is(err, context.Canceled) {
				t.Errorf("the caller who gave up got %v", err)
			}
			load.goOn()
			ended(t, stays, "old")
			// Whoever joined does not wait for the fill.
			until(t, "the fill", func() bool { return r.store.state(t, r.key(p)).State == store.Value })
			r.hits(t, p.ID, "old")
			if loads := r.cache.Stats().Loads; loads != uint64(turn)+1 {
				t.Errorf("%d loads: the caller who gave up ended the load of the other", loads)
			}
			if err := r.cache.Invalidate(t.Context(), products.Row(p.ID)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A load that fails gives its lease up: the next reader, in any process, loads and stores.
func TestFailedLoadGivesItsLeaseUp(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		now := "old"
		for name, find := range map[string]func() error{
			"Find": func() error {
				_, err := r.Find(t.Context(), p.ID)
				return err
			},
			"FindMany": func() error {
				_, err := r.FindMany(t.Context(), []int64{p.ID})
				return err
			},
		} {
			r.plain.mustEnd(func() { panic("boom") })
			if err := find(); err == nil || !strings.Contains(err.Error(), "boom") {
				t.Errorf("%s: %v", name, err)
			}
			r.plain.mustEnd(nil)
			if got := r.store.state(t, r.key(p)); got.State != store.Absent {
				t.Errorf("%s: the key holds %+v", name, got)
			}
			w.reads(t, p.ID, now)
			r.hits(t, p.ID, now)
			now = name
			w.rename(t, p.ID, now) // ends the entry
		}
	})
}

// When nobody waits any more the load ends, and its lease is given up.
func TestLastCallerEndsTheLoad(t *testing.T) {
	for _, many := range []bool{false, true} {
		name := map[bool]string{false: "Find", true: "FindMany"}[many]
		t.Run(name, func(t *testing.T) {
			histories(t, func(t *testing.T, r, w *process, p product) {
				load := r.plain.park(t, "before query", about(p))
				abandon := r.store.park(t, "before abandon", about(p))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				both := []*pending[product]{
					begin(func() (product, error) {
						if many {
							_, err := r.FindMany(ctx, []int64{p.ID})
							return product{}, err
						}
						return r.Find(ctx, p.ID)
					}),
				}
				load.wait(t)
				both = append(both, r.read(ctx, p.ID))
				until(t, "both to wait", func() bool { return cachedrepo.Waiting(r.cache) == 2 })
				r.sent.take()
				cancel()
				for _, one := range both {
					if _, err := one.wait(t); !errors.Is(err, context.Canceled) {
						t.Errorf("%v", err)
					}
				}
				// The load is not let go on: it has ended because its context has.
				abandon.wait(t)
				if sent := r.sent.take(); len(sent) > 0 {
					t.Errorf("sent for nobody: %q", sent)
				}
				// Its lease is still there, and whoever finds it is not given the error of those who left.
				r.reads(t, p.ID, "old")
				abandon.goOn()
				until(t, "the lease to be given up", func() bool { return r.store.state(t, r.key(p)).State == store.Absent })
				w.reads(t, p.ID, "old")
				w.hits(t, p.ID, "old")
				until(t, "the load to be forgotten", func() bool { return cachedrepo.Remembered(r.cache) == 0 })
			})
		})
	}
}

// A load that panics, or ends its goroutine, is an error for all who wait for it, and for nobody after them.
func TestLoadThatDoesNotReturn(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func()
		says string
	}{
		{"panic", func() { panic("no such luck") }, "no such luck"},
		{"Goexit", runtime.Goexit, "Goexit"},
	} {
		for _, guarded := range []bool{false, true} {
			name := c.name
			if guarded {
				name += " of a load that is not stored"
			}
			t.Run(name, func(t *testing.T) {
				histories(t, func(t *testing.T, r, _ *process, p product) {
					writer := store.NewToken()
					if guarded {
						r.store.do(t, store.Op{Kind: store.Intend, Key: r.key(p), Token: writer, TTL: 2 * patience})
					}
					r.plain.mustEnd(c.end)
					load := r.plain.park(t, "before query", about(p))
					first := r.read(t.Context(), p.ID)
					load.wait(t)
					all := []*pending[product]{first}
					if !guarded {
						second := r.read(t.Context(), p.ID)
						third := begin(func() (product, error) {
							_, err := r.FindMany(t.Context(), []int64{p.ID})
							return product{}, err
						})
						until(t, "all to wait", func() bool { return cachedrepo.Waiting(r.cache) == 3 })
						all = append(all, second, third)
					}
					load.goOn()
					for _, one := range all {
						if _, err := one.wait(t); err == nil || !strings.Contains(err.Error(), c.says) {
							t.Errorf("a caller got %v", err)
						}
					}
					r.plain.mustEnd(nil)
					until(t, "the load to be forgotten", func() bool { return cachedrepo.Remembered(r.cache) == 0 })
					r.reads(t, p.ID, "old")
					if !guarded {
						r.hits(t, p.ID, "old")
					}
				})
			})
		}
	}
}

// The same for a batch that others have joined.
func TestBatchLoadThatDoesNotReturn(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("no such luck") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			histories(t, func(t *testing.T, r, _ *process, p product) {
				r.plain.mustEnd(end)
				load := r.plain.park(t, "before query", about(p))
				first := begin(func() ([]product, error) { return r.FindMany(t.Context(), []int64{p.ID}) })
				load.wait(t)
				second := r.read(t.Context(), p.ID)
				until(t, "both to wait", func() bool { return cachedrepo.Waiting(r.cache) == 2 })
				load.goOn()
				if _, err := first.wait(t); err == nil {
					t.Error("the batch did not fail")
				}
				if _, err := second.wait(t); err == nil {
					t.Error("who joined did not fail")
				}
				r.plain.mustEnd(nil)
				until(t, "the load to be forgotten", func() bool { return cachedrepo.Remembered(r.cache) == 0 })
				r.reads(t, p.ID, "old")
				r.hits(t, p.ID, "old")
			})
		})
	}
}

// Config.MaxLoads bounds what reaches the database. Who finds no slot in time is told so.
func TestMaxLoads(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s.empty(t)
		r := s.process(t, st, ns, cachedrepo.Config{MaxLoads: 1, LoadTimeout: 50 * time.Millisecond})
		p, q := s.insert(t, "A-1"), s.insert(t, "A-2")
		// 1. A load has the only slot. It does not care how long it takes.
		entered, leave := make(chan struct{}), make(chan struct{})
		leaveOnce := sync.OnceFunc(func() { close(leave) })
		t.Cleanup(leaveOnce)
		view := r.cache.View("slow")
		slow := begin(func() (product, error) {
			return cachedrepo.Find(t.Context(), view, products.Row(p.ID), func(ctx context.Context) (product, error) {
				close(entered)
				<-leave
				return s.plain.Find(context.WithoutCancel(ctx), p.ID)
			})
		})
		receive(t, entered, "the load")
		// 2. Another row finds no slot, alone or in a batch.
		if _, err := r.Find(t.Context(), q.ID); !errors.Is(err, cachedrepo.ErrOverload) {
			t.Errorf("Find: %v", err)
		}
		// Whoever tries again tries again: the load that failed has been forgotten before it returned.
		for range 2 {
			if _, err := r.FindMany(t.Context(), []int64{q.ID}); !errors.Is(err, cachedrepo.ErrOverload) {
				t.Errorf("FindMany: %v", err)
			}
		}
		if stats := r.cache.Stats(); stats.Overloads != 3 || stats.Loads != 1 {
			t.Errorf("%d overloads, %d loads", stats.Overloads, stats.Loads)
		}
		// 3. The slot comes free. The overload has stored nothing.
		leaveOnce()
		ended(t, slow, "old")
		other := s.process(t, st, ns, cachedrepo.Config{}) // one with time
		other.reads(t, q.ID, "old")
		other.hits(t, q.ID, "old")
	})
}

// MaxLoads many loads run at once, and no more.
func TestMaxLoadsAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	stores(t, func(t *testing.T, st store.Store, ns string) {
		const slots, readers = 3, 12
		s.empty(t)
		r := s.process(t, st, ns, cachedrepo.Config{MaxLoads: slots})
		view := r.cache.View("counted")
		var now, most atomic.Int64
		full, leave := make(chan struct{}), make(chan struct{})
		var all []*pending[product]
		for id := range int64(readers) {
			all = append(all, begin(func() (product, error) {
				return cachedrepo.Find(t.Context(), view, products.Row(id), func(context.Context) (product, error) {
					if n := now.Add(1); n > most.Load() {
						most.Store(n)
						if n == slots {
							close(full)
						}
					}
					defer now.Add(-1)
					<-leave
					return product{ID: id, Name: "old"}, nil
				})
			}))
		}
		receive(t, full, "full slots")
		until(t, "all to wait", func() bool { return cachedrepo.Waiting(r.cache) == readers })
		close(leave)
		for _, one := range all {
			ended(t, one, "old")
		}
		if most.Load() != slots {
			t.Errorf("%d loads at once", most.Load())
		}
	})
}

// Callers who share a load share no memory: what one does to its record, no other sees.
func TestSharersHaveTheirOwnMemory(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, _ product) {
		category := int64(7)
		want, err := w.Insert(t.Context(), product{SKU: "M-1", Name: "old", Category: &category, Tags: []string{"a", "b"}})
		if err != nil {
			t.Fatal(err)
		}
		load := r.plain.park(t, "after query", about(want))
		var all []*pending[product]
		for range 4 {
			all = append(all, r.read(t.Context(), want.ID))
		}
		batch := begin(func() ([]product, error) { return r.FindMany(t.Context(), []int64{want.ID, want.ID}) })
		until(t, "all to join", func() bool { return cachedrepo.Waiting(r.cache) == 5 })
		load.goOn()
		var recs []product
		for _, one := range all {
			rec, err := one.wait(t)
			if err != nil {
				t.Fatal(err)
			}
			recs = append(recs, rec)
		}
		many, err := batch.wait(t)
		if err != nil {
			t.Fatal(err)
		}
		recs = append(recs, many...)
		// Hits too: each decodes its own.
		for range 2 {
			rec, err := r.Find(t.Context(), want.ID)
			if err != nil {
				t.Fatal(err)
			}
			recs = append(recs, rec)
		}
		if len(recs) != 8 {
			t.Fatalf("%d records", len(recs))
		}
		for i := range recs {
			if !reflect.DeepEqual(recs[i], want) {
				t.Fatalf("record %d is %+v, want %+v", i, recs[i], want)
			}
			spoil(&recs[i])
		}
		if got, err := r.Find(t.Context(), want.ID); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// spoil changes everything that p refers to.
func spoil(p *product) {
	*p.Category = -1
	for i := range p.Tags {
		p.Tags[i] = "spoilt"
	}
	_ = append(p.Tags[:0], "spoilt")
}

// The same for what a load that is not stored hands out.
func TestSharersOfUnstoredLoadsHaveTheirOwnMemory(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, _ product) {
		category := int64(7)
		want, err := w.Insert(t.Context(), product{SKU: "M-1", Name: "old", Category: &category, Tags: []string{"a", "b"}})
		if err != nil {
			t.Fatal(err)
		}
		r.store.do(t, store.Op{Kind: store.Intend, Key: r.key(want), Token: store.NewToken(), TTL: 2 * patience})
		load := r.plain.park(t, "after query", about(want))
		all := []*pending[product]{r.read(t.Context(), want.ID)}
		load.wait(t)
		for range 4 {
			all = append(all, r.read(t.Context(), want.ID))
		}
		until(t, "all to queue", func() bool { return cachedrepo.Queued(r.cache, r.key(want)) == 4 })
		load.goOn()
		for i, one := range all {
			rec, err := one.wait(t)
			if err != nil || !reflect.DeepEqual(rec, want) {
				t.Fatalf("record %d is %+v, %v, want %+v", i, rec, err, want)
			}
			spoil(&rec)
		}
		if loads := r.cache.Stats().Loads; loads != 2 {
			t.Errorf("%d loads", loads)
		}
	})
}

// touchy is a type that cannot be encoded as it should be.
type touchy string

func (s touchy) Value() (driver.Value, error) {
	if s == "ouch" {
		panic("ouch")
	}
	return string(s), nil
}

func (s *touchy) Scan(src any) error { *s = touchy(src.(string)); return nil }

type feeling struct {
	ID   int64  `db:"id"`
	Text touchy `db:"text"`
}

var feelings = model.MustTable(model.Spec[feeling, int64]{Name: "feelings", Key: "id"})

type ouches struct {
	repo.Repository[feeling, int64]
}

func (ouches) Find(_ context.Context, key int64) (feeling, error) { return feeling{key, "ouch"}, nil }

func (ouches) FindMany(_ context.Context, keys []int64) ([]feeling, error) {
	return []feeling{{keys[0], "ouch"}}, nil
}

// A record's own method that panics while the record is encoded is an error of the read, not the end of the process.
func TestPanicWhileEncoding(t *testing.T) {
	t.Parallel()
	db := newShop(t).db
	stores(t, func(t *testing.T, st store.Store, ns string) {
		c, err := cachedrepo.New(db, st, cachedrepo.Config{Namespace: ns, Tables: model.Tables{feelings}, Timeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.Background()) })
		cached := cachedrepo.Wrap(c, repo.Repository[feeling, int64](ouches{}))
		if _, err := cached.Find(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "ouch") {
			t.Errorf("Find: %v", err)
		}
		if _, err := cached.FindMany(t.Context(), []int64{1}); err == nil || !strings.Contains(err.Error(), "ouch") {
			t.Errorf("FindMany: %v", err)
		}
		until(t, "the loads to be forgotten", func() bool { return cachedrepo.Remembered(c) == 0 })
	})
}
