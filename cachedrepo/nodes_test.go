package cachedrepo_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/store"
)

const hour = time.Hour

func hang(ctx context.Context, _ []store.Op) error {
	<-ctx.Done()
	return ctx.Err()
}

// One server is away: that is nothing to the keys of the other.
func TestNodesOneIsAway(t *testing.T) {
	for name, fault := range map[string]func(context.Context, []store.Op) error{"down": down, "hangs": hang} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCrew(t, cachedrepo.Config{Timeout: timeout})
			c.fleet.fail("b", fault)
			for n := 0; c.c.Stats().Opened == 0; n++ {
				if n > 10 {
					t.Fatal("the server is asked on and on")
				}
				c.finds(t, c.odd[0].ID, "old")
				c.hit(t, c.even[0].ID, "old") // which does not make b's failures forgotten
			}
			before := c.fleet.asks("b")
			for _, p := range c.even {
				c.hit(t, p.ID, "old")
			}
			for _, p := range c.odd {
				c.finds(t, p.ID, "old")
			}
			// A batch of both has the hits of one and loads the rest.
			var keys []int64
			for _, p := range append(append([]product{}, c.even...), c.odd...) {
				keys = append(keys, p.ID)
			}
			st := c.c.Stats()
			got, err := c.cached.FindMany(t.Context(), keys)
			if err != nil || len(got) != 8 {
				t.Fatalf("%d rows, %v", len(got), err)
			}
			if n := c.c.Stats().Hits - st.Hits; n != 4 {
				t.Errorf("%d hits of a batch, want those of one server", n)
			}
			if n := c.fleet.asks("b") - before; n != 0 {
				t.Errorf("%d operations went to a server that is away", n)
			}
			// Writes: what concerns the server that is there is sent, and its keys go on being served.
			if n := c.rename(t, c.even[0].ID, "new"); n != 0 {
				t.Errorf("%d pending", n)
			}
			c.warm(t, c.even[0].ID, "new")
			if n := c.rename(t, c.odd[0].ID, "new"); n != 1 {
				t.Errorf("%d pending, want the key and not the sku", n)
			}
			c.finds(t, c.odd[0].ID, "new")
			c.hit(t, c.even[1].ID, "old")
			if n := c.c.Stats().Opened; n != 1 {
				t.Errorf("opened %d times", n)
			}
			c.fleet.fail("b", nil)
			until(t, "trust", func() bool {
				c.finds(t, c.odd[0].ID, "new")
				before := c.c.Stats().Hits
				c.finds(t, c.odd[1].ID, "old")
				return c.c.Stats().Hits > before
			})
			c.warm(t, c.odd[0].ID, "new")
		})
	}
}

// A batch whose keys are on two servers, one of which hangs and is still trusted: the other's answers are used, and the
// wait is one deadline.
func TestNodesBatch(t *testing.T) {
	c := newCrew(t, cachedrepo.Config{Timeout: timeout})
	c.fleet.fail("b", hang)
	var keys []int64
	for i := range c.even {
		keys = append(keys, c.odd[i].ID, c.even[i].ID)
	}
	hits := c.c.Stats().Hits
	start := time.Now()
	got, err := c.cached.FindMany(t.Context(), keys)
	if err != nil || len(got) != len(keys) {
		t.Fatalf("%d rows, %v", len(got), err)
	}
	for i, p := range got {
		if p.ID != keys[i] {
			t.Errorf("row %d is %d, want %d", i, p.ID, keys[i])
		}
	}
	if took := time.Since(start); took > timeout+slack {
		t.Errorf("took %s", took)
	}
	if n := c.c.Stats().Hits - hits; n != 4 {
		t.Errorf("%d hits", n)
	}
	if n := c.seen.count("get"); n != 1 {
		t.Errorf("%d errors, want one of one server", n)
	}
}

// A key moves while it is pending, with the old row, to a server that nobody has a reason to distrust.
func TestNodesPendingKeyMoves(t *testing.T) {
	c := newCrew(t, cachedrepo.Config{Timeout: timeout, WriteTimeout: patience})
	p, key := c.odd[0], productKey(c.odd[0])
	c.fleet.fail("b", down)
	if n := c.rename(t, p.ID, "new"); n != 1 {
		t.Fatalf("%d pending", n)
	}
	held, sent := make(chan struct{}), make(chan struct{})
	var once sync.Once
	c.fleet.fail("a", func(ctx context.Context, ops []store.Op) error {
		if ops[0].Kind != store.Invalidate || ops[0].Key != key {
			return nil
		}
		once.Do(func() { close(sent) })
		select {
		case <-held:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	c.fleet.copies(t, "b", "a", key)
	c.fleet.move(func(string) string { return "a" })
	check := func() {
		t.Helper()
		for range 3 {
			c.finds(t, p.ID, "new")
			if got, err := c.cached.FindMany(t.Context(), []int64{p.ID, c.even[0].ID}); err != nil || len(got) != 2 || got[0].Name != "new" {
				t.Errorf("%+v, %v", got, err)
			}
			c.hit(t, c.even[1].ID, "old") // a is trusted
		}
		if !c.fleet.holds(t, "a", key) {
			t.Fatal("the old row is gone: nothing was tested")
		}
	}
	check()
	receive(t, sent, "the invalidation at the key's new server")
	check() // now it is out, and still not there
	if n := c.c.Stats().Pending; n != 1 {
		t.Errorf("%d pending", n)
	}
	close(held)
	until(t, "the invalidation", func() bool { return c.c.Stats().Pending == 0 })
	c.warm(t, p.ID, "new")
	if n := c.c.Stats().Opened; n != 1 {
		t.Errorf("opened %d times: only b was away", n)
	}
}

// A server goes for good while it is away: nothing is left of it, and Close ends.
func TestNodesGone(t *testing.T) {
	c := newCrew(t, cachedrepo.Config{Timeout: timeout})
	c.fleet.fail("b", down)
	for _, p := range c.odd {
		c.rename(t, p.ID, "new")
	}
	c.fleet.move(func(string) string { return "a" })
	until(t, "what is pending", func() bool { return c.c.Stats().Pending == 0 })
	for _, p := range c.odd {
		c.warm(t, p.ID, "new")
	}
	until(t, "the server to be forgotten", func() bool { return cachedrepo.Servers(c.c) == 1 })
}

// With writers, readers and keys that move from server to server while these fail, no read finds less than what was
// written before it began.
func TestNodesRace(t *testing.T) {
	c := newCrew(t, cachedrepo.Config{Timeout: timeout, WriteTimeout: timeout, Probe: 20 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	written := make([]atomic.Int64, len(c.odd))
	for i, p := range c.odd {
		c.rename(t, p.ID, "0")
		for range 2 {
			group.Go(func() {
				for ctx.Err() == nil {
					least := written[i].Load()
					got, err := c.cached.Find(ctx, p.ID)
					if ctx.Err() != nil {
						return
					}
					var n int64
					if _, serr := fmt.Sscan(got.Name, &n); err != nil || serr != nil || n < least {
						t.Errorf("found %q, %v after write %d", got.Name, err, least)
						return
					}
				}
			})
		}
		group.Go(func() {
			for n := int64(1); ctx.Err() == nil; n++ {
				if _, err := c.cached.Modify(ctx, p.ID, func(p *product) error { p.Name = fmt.Sprint(n); return nil }); err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				written[i].Store(n)
			}
		})
	}
	everywhere := []func(string) string{evenOdd, func(string) string { return "a" }, func(string) string { return "b" }}
	for round := range 30 {
		at := []string{"a", "b"}[round%2]
		c.fleet.fail(at, func(context.Context, []store.Op) error { return fmt.Errorf("%w: full of holes", store.ErrRefused) })
		time.Sleep(5 * time.Millisecond)
		c.fleet.moveAll(t, everywhere[round%3])
		time.Sleep(5 * time.Millisecond)
		c.fleet.fail(at, nil)
	}
	cancel()
	group.Wait()
}

// What a server answers decides what is believed of it.
func TestErrorsOfServers(t *testing.T) {
	refused := fmt.Errorf("%w: MISCONF", store.ErrRefused)
	for _, tt := range []struct {
		name    string
		err     error
		kind    store.OpKind // of the call that fails
		reads   int          // of rows that are not there
		writes  int
		opened  bool
		pending bool
	}{
		{"a lookup is refused", refused, store.Get, 1, 0, true, false},
		{"a lease is refused", refused, store.Acquire, 1, 0, true, false},
		{"a fill is refused", refused, store.Fill, 1, 0, true, false},
		{"an invalidation is refused", refused, store.Invalidate, 0, 1, true, true},
		{"full for leases", store.ErrFull, store.Acquire, 6, 0, false, false},
		{"full for fills", store.ErrFull, store.Fill, 6, 0, false, false},
		{"full for invalidations", store.ErrFull, store.Invalidate, 0, 1, true, true},
		{"silent twice", errDown, store.Get, 2, 0, false, false},
		{"silent three times", errDown, store.Get, 3, 0, true, false},
		{"silent for fills, twice", errDown, store.Fill, 2, 0, false, false},
		{"silent for an invalidation", errDown, store.Invalidate, 0, 1, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCrew(t, cachedrepo.Config{Timeout: patience, WriteTimeout: patience})
			var rows []product
			for i := range 2 * tt.reads {
				if p := c.insert(t, fmt.Sprint("B-", i)); p.ID%2 == 1 {
					rows = append(rows, p)
				}
			}
			hold := make(chan struct{})
			defer close(hold)
			c.fleet.fail("b", func(ctx context.Context, ops []store.Op) error {
				if ops[0].Kind == tt.kind {
					return tt.err
				}
				if ops[0].Kind == store.Invalidate { // the prober's
					select {
					case <-hold:
					case <-ctx.Done():
					}
					return errDown
				}
				return nil
			})
			for i := range tt.reads {
				c.finds(t, rows[i].ID, "old")
			}
			n := 0
			for i := range tt.writes {
				n = c.rename(t, c.odd[i].ID, "new")
			}
			if tt.kind == store.Fill {
				until(t, "the fills", func() bool { return c.seen.count("fill") == tt.reads })
			}
			if got := c.c.Stats().Opened; (got == 1) != tt.opened || (n > 0) != tt.pending {
				t.Errorf("opened %d times, %d pending", got, n)
			}
			c.hit(t, c.even[0].ID, "old")
		})
	}
}

// A lease lasts longer than a load may take and the calls before and after it; if the process or its loader overstays all
// the same, the fill is refused, and counted.
func TestLeaseOutlivesLoad(t *testing.T) {
	const load = 50 * time.Millisecond
	s := newShop(t)
	f := newFleet(func(string) string { return "a" }, "a")
	var ttl atomic.Int64
	f.fail("a", func(_ context.Context, ops []store.Op) error {
		if ops[0].Kind == store.Acquire {
			ttl.Store(int64(ops[0].TTL))
		}
		return nil
	})
	c := s.cache(t, f, cachedrepo.Config{LoadTimeout: load, Timeout: timeout})
	p := s.insert(t, "A-1")
	if _, err := cachedrepo.Find(t.Context(), c.View("slow"), products.Row(p.ID), func(context.Context) (product, error) {
		time.Sleep(load + 3*timeout) // does not heed its context
		return p, nil
	}); err != nil {
		t.Fatal(err)
	}
	if d := time.Duration(ttl.Load()); d < load+2*timeout {
		t.Errorf("the lease lasts %s", d)
	}
	until(t, "the fill", func() bool { return c.Stats().Refused == 1 })
	if n := c.Stats().Expired; n != 1 {
		t.Errorf("%d expired", n)
	}
}
