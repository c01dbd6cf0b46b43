package cachedrepo_test

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// Close while reads go on: loads begin around the very moment at which Close has seen all of them end.
func TestCloseWhileReading(t *testing.T) {
	s := newShop(t)
	c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{})
	v := c.View("products")
	var stop atomic.Bool
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for id := int64(g) << 32; !stop.Load(); id++ {
				_, err := cachedrepo.Find(t.Context(), v, products.Row(id), func(context.Context) (product, error) {
					return product{ID: id}, nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 300 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
	stop.Store(true)
	wg.Wait()
}

// The caller of FindMany has left, others wait for its load, and it uses its slice for something else.
func TestFindManyKeepsItsKeys(t *testing.T) {
	for _, by := range []string{"key", "index"} {
		t.Run(by, func(t *testing.T) {
			s := newShop(t)
			p := s.process(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{MaxLoads: 1})
			rec, other := s.insert(t, "A-1"), s.insert(t, "A-2")
			slot := p.plain.park(t, "before query", about(other))
			first := p.read(t.Context(), other.ID)
			slot.wait(t) // the only slot is taken: the batch's load waits for it

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			keys, at := []int64{rec.ID}, []model.One[product]{bySKU.Eq(rec.SKU)}
			each := p.Repository.(interface {
				FindEach(ctx context.Context, at []model.One[product]) ([]product, error)
			})
			many := begin(func() ([]product, error) {
				if by == "key" {
					return p.FindMany(ctx, keys)
				}
				return each.FindEach(ctx, at)
			})
			until(t, "the batch's lease", func() bool { return cachedrepo.Waiting(p.cache) == 2 })
			joins := begin(func() (product, error) {
				if by == "key" {
					return p.Find(t.Context(), rec.ID)
				}
				return p.FindBy(t.Context(), bySKU.Eq(rec.SKU))
			})
			until(t, "a reader to join it", func() bool { return cachedrepo.Waiting(p.cache) == 3 })
			cancel()
			if _, err := many.wait(t); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			keys[0], at[0] = 999, bySKU.Eq("nobody's")
			slot.goOn()
			ended(t, first, "old")
			ended(t, joins, "old")
			until(t, "the fill", func() bool { return cachedrepo.Remembered(p.cache) == 0 })
			if by == "key" {
				p.reads(t, rec.ID, "old")
			}
		})
	}
}

// oneFlight has a second caller join the load of the first, and returns what the second gets.
func oneFlight(t *testing.T, c *cachedrepo.Cache, first func(load func()) error, second func() error) error {
	t.Helper()
	inside, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	one := begin(func() (struct{}, error) {
		return struct{}{}, first(func() { once.Do(func() { close(inside) }); <-goOn })
	})
	receive(t, inside, "the load")
	two := begin(func() (struct{}, error) { return struct{}{}, second() })
	until(t, "the second to join", func() bool { return cachedrepo.Waiting(c) == 2 })
	close(goOn)
	_, _ = one.wait(t)
	_, err := two.wait(t)
	return err
}

// Two decorators share a load, and each says "not found" in its own words.
func TestNotFoundOfASharedLoad(t *testing.T) {
	s := newShop(t)
	c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{Timeout: patience})
	errOwn := errors.New("no such product")
	own := c.With(cachedrepo.Options{NotFound: errOwn}).View("own")
	rows := c.View("rows")
	wrapped := cachedrepo.Wrap(c, repo.Repository[product, int64](s.plain))
	at := products.Row(1)
	says := func(v *cachedrepo.View, answer error) func(load func()) error {
		return func(load func()) error {
			_, err := cachedrepo.Find(t.Context(), v, at, func(context.Context) (product, error) {
				load()
				return product{}, answer
			})
			return err
		}
	}
	saysNil := func(load func()) error {
		_, err := cachedrepo.FindPtr(t.Context(), rows, at, func(context.Context) (*product, error) {
			load()
			return nil, nil
		})
		return err
	}
	asksOwn := func() error { return says(own, errOwn)(func() {}) }
	asksWrap := func() error { _, err := wrapped.Find(t.Context(), 1); return err }
	asksMany := func() error {
		got, err := wrapped.FindMany(t.Context(), []int64{1})
		if err == nil && len(got) == 0 {
			return model.ErrNotFound
		}
		return err
	}
	for _, tt := range []struct {
		name  string
		first func(load func()) error
		next  func() error
		want  error
	}{
		{"rows, then the repository", says(rows, sql.ErrNoRows), asksWrap, model.ErrNotFound},
		{"rows, then own", says(rows, sql.ErrNoRows), asksOwn, errOwn},
		{"model's, then own", says(rows, model.NotFound(at.Place())), asksOwn, errOwn},
		{"own, then the repository", says(own, errOwn), asksWrap, model.ErrNotFound},
		{"own, then many", says(own, errOwn), asksMany, model.ErrNotFound},
		{"nil, then own", saysNil, asksOwn, errOwn},
		{"nil, then the repository", saysNil, asksWrap, model.ErrNotFound},
		{"nil, then many", saysNil, asksMany, model.ErrNotFound},
		{"nil, then nil", saysNil, func() error { return saysNil(func() {}) }, nil},
	} {
		if err := c.Invalidate(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if err := oneFlight(t, c, tt.first, tt.next); !errors.Is(err, tt.want) {
			t.Errorf("%s: who joined got %v, want %v", tt.name, err, tt.want)
		}
		if err := tt.next(); !errors.Is(err, tt.want) {
			t.Errorf("%s: who came later got %v, want %v", tt.name, err, tt.want)
		}
	}
}

// However callers come and go, a key that cannot be cached costs one query at a time, and one that waits.
func TestQueueWithCallersWhoLeave(t *testing.T) {
	s := newShop(t)
	st := &countedStore{Store: memstore.New(memstore.Config{})}
	st.fail(down)
	c := s.cache(t, st, cachedrepo.Config{LoadTimeout: patience})
	v := c.View("products")
	var out atomic.Int64
	goOn := make(chan struct{})
	find := func(ctx context.Context) *pending[product] {
		return begin(func() (product, error) {
			return cachedrepo.Find(ctx, v, products.Row(1), func(context.Context) (product, error) {
				out.Add(1)
				defer out.Add(-1)
				<-goOn
				return product{ID: 1}, nil
			})
		})
	}
	all := []*pending[product]{find(t.Context())}
	until(t, "the first query", func() bool { return out.Load() == 1 })
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		short := find(ctx)
		until(t, "one to queue", func() bool { return cachedrepo.Queued(c, "shop:products:id:1") >= 1 })
		cancel()
		if _, err := short.wait(t); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		all = append(all, find(t.Context()))
		until(t, "it to queue, or wrongly to run", func() bool {
			return cachedrepo.Queued(c, "shop:products:id:1") >= 1 || out.Load() > 1
		})
	}
	if n := out.Load(); n > 1 {
		t.Errorf("%d queries at a time", n)
	}
	close(goOn)
	for _, one := range all {
		if _, err := one.wait(t); err != nil {
			t.Error(err)
		}
	}
	until(t, "all to be forgotten", func() bool { return cachedrepo.Remembered(c) == 0 })
}

// A panic of a store unwinds the read that met it. Nobody else may wait for that read's load.
func TestPanicWhileAcquiring(t *testing.T) {
	for _, name := range []string{"Find", "FindMany"} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			st := &lostAcquire{Store: memstore.New(memstore.Config{})}
			c := s.cache(t, st, cachedrepo.Config{Wait: -1})
			rec := s.insert(t, "A-1")
			w := cachedrepo.Wrap(c, repo.Repository[product, int64](s.plain))
			st.lose.Store(true)
			func() {
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				if name == "FindMany" {
					_, _ = w.FindMany(t.Context(), []int64{rec.ID})
				} else {
					_, _ = w.Find(t.Context(), rec.ID)
				}
			}()
			st.lose.Store(false)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if got, err := w.Find(ctx, rec.ID); err != nil || got.ID != rec.ID {
				t.Errorf("%+v, %v", got, err)
			}
			until(t, "all to be forgotten", func() bool { return cachedrepo.Remembered(c) == 0 })
		})
	}
}

// lostAcquire runs Acquire and panics.
type lostAcquire struct {
	store.Store
	lose atomic.Bool
}

func (s *lostAcquire) Do(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	err := s.Store.Do(ctx, ops, replies)
	if err == nil && s.lose.Load() && ops[0].Kind == store.Acquire {
		panic("lost")
	}
	return err
}

// deadlined answers after a while, or when the deadline is over as a socket sees it: a moment before the context is done.
type deadlined struct{ store.Store }

func (s deadlined) Do(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	end, _ := ctx.Deadline()
	if ops[0].Kind != store.Get || time.Until(end) > patience {
		return s.Store.Do(ctx, ops, replies)
	}
	for time.Now().Before(end) { // not a timer, which ends after the context's
	}
	return context.DeadlineExceeded
}

// A caller's own deadline says nothing about the store, however the store notices it.
func TestCallersDeadlineIsNotTheStores(t *testing.T) {
	s := newShop(t)
	c := s.cache(t, deadlined{memstore.New(memstore.Config{})}, cachedrepo.Config{Timeout: 2 * patience})
	w := cachedrepo.Wrap(c, repo.Repository[product, int64](s.plain))
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
		_, _ = w.Find(ctx, 1)
		cancel()
	}
	if st := c.Stats(); st.StoreErrors != 0 || st.Opened != 0 {
		t.Errorf("%d errors of the store, distrusted %d times", st.StoreErrors, st.Opened)
	}
}

// What Invalidate names goes also if nobody knows whether the transaction around it has committed.
func TestInvalidateInDoubt(t *testing.T) {
	s := newShop(t)
	p := s.insert(t, "A-1")
	proxy := faults.NewPostgresProxy(t, s.pg.Addr())
	s.conn, s.sent = openCounted(t, s.pg.URLThrough(proxy.Addr()))
	s.db = txhooks.New(s.conn, txhooks.Config{})
	s.plain = repo.New(s.db, products)
	c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{Timeout: patience})
	w := cachedrepo.Wrap(c, repo.Repository[product, int64](s.plain))
	for range 2 {
		if _, err := w.Find(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
	}
	proxy.OnCommit(faults.CutReply)
	err := s.db.Run(t.Context(), func(ctx context.Context) error {
		if _, err := s.db.ExecContext(ctx, `DELETE FROM products WHERE id = $1`, p.ID); err != nil {
			return err
		}
		return c.Invalidate(ctx, products.Row(p.ID))
	})
	if !errors.Is(err, model.ErrInDoubt) {
		t.Fatal(err)
	}
	if got, err := w.Find(t.Context(), p.ID); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("%+v, %v", got, err)
	}
}

// When more was pending than could be kept, the store is not trusted until the last old entry is gone, also one that
// another process fills late.
func TestLongestLifeCountsLeases(t *testing.T) {
	c := newShop(t).cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{TTL: time.Minute, LoadTimeout: time.Hour})
	if life := cachedrepo.LongestLife(c); life < time.Hour+66*time.Second {
		t.Errorf("%s", life)
	}
}

// granting runs what a caller asks for, and has the caller gone before the answer comes.
type granting struct {
	store.Store
	leave context.CancelFunc // called once, after the first Acquire has run
	once  sync.Once
}

func (g *granting) Do(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	err := g.Store.Do(ctx, ops, replies)
	if ops[0].Kind == store.Acquire {
		left := false
		g.once.Do(func() { g.leave(); left = true })
		if left {
			return ctx.Err()
		}
	}
	return err
}

// A caller who leaves while its lease is being granted gives it up: the next reader loads and stores, and does not find
// the key taken until the lease ends.
func TestCallerWhoLeavesWhileAcquiring(t *testing.T) {
	for _, name := range []string{"Find", "FindMany"} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			p := s.insert(t, "A-1")
			inner := memstore.New(memstore.Config{})
			ctx, leave := context.WithCancel(t.Context())
			c := s.cache(t, &granting{Store: inner, leave: leave}, cachedrepo.Config{Wait: -1, LoadTimeout: time.Hour})
			cached := cachedrepo.Wrap(c, s.plain)
			var err error
			if name == "Find" {
				_, err = cached.Find(ctx, p.ID)
			} else {
				_, err = cached.FindMany(ctx, []int64{p.ID})
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			until(t, "the lease to be given up", func() bool {
				replies := make([]store.Reply, 1)
				if err := inner.Do(t.Context(), []store.Op{{Key: "shop:products:id:" + strconv.FormatInt(p.ID, 10)}}, replies); err != nil {
					t.Fatal(err)
				}
				return replies[0].State == store.Absent
			})
			if _, err := cached.Find(t.Context(), p.ID); err != nil || c.Stats().Fills != 1 {
				t.Errorf("%v, %d fills", err, c.Stats().Fills)
			}
		})
	}
}
