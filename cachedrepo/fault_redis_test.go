package cachedrepo_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faults"
)

// outage is a way for a Redis to be of no use.
type outage struct {
	name    string
	args    []string
	serves  bool // it goes on answering GET
	forgets bool // it comes back empty
	begin   func(t *testing.T, r *rig)
	end     func(t *testing.T, r *rig)
}

func set(t *testing.T, r *rig, name, value string) {
	t.Helper()
	if err := r.admin.ConfigSet(context.Background(), name, value).Err(); err != nil {
		t.Fatal(err)
	}
}

func resume(_ *testing.T, r *rig) {
	r.proxy.Resume()
	r.proxy.Cut()
}

var outages = []outage{
	{
		name:  "frozen",
		begin: func(_ *testing.T, r *rig) { r.server.Stop() },
		end:   func(_ *testing.T, r *rig) { r.server.Continue() },
	},
	{
		name:  "silent",
		begin: func(_ *testing.T, r *rig) { r.proxy.Swallow() },
		end:   resume,
	},
	{
		name:  "requests lost",
		begin: func(_ *testing.T, r *rig) { r.proxy.Swallow(faults.ToServer) },
		end:   resume,
	},
	{
		name:  "replies lost",
		begin: func(_ *testing.T, r *rig) { r.proxy.Swallow(faults.ToClient) },
		end:   resume,
	},
	{
		name: "connections refused",
		begin: func(_ *testing.T, r *rig) {
			r.proxy.Refuse()
			r.proxy.Cut()
		},
		end: func(t *testing.T, r *rig) {
			if err := r.proxy.Accept(); err != nil {
				t.Error(err)
			}
		},
	},
	{
		name:    "killed",
		forgets: true,
		begin:   func(_ *testing.T, r *rig) { r.server.Kill() },
		end:     func(_ *testing.T, r *rig) { r.server.Start() },
	},
	{
		name:   "demoted", // READONLY
		serves: true, forgets: true,
		begin: func(t *testing.T, r *rig) {
			if err := r.admin.Do(context.Background(), "replicaof", "127.0.0.1", "1").Err(); err != nil {
				t.Fatal(err)
			}
		},
		end: func(t *testing.T, r *rig) {
			if err := r.admin.Do(context.Background(), "replicaof", "no", "one").Err(); err != nil {
				t.Error(err)
			}
		},
	},
	{
		name:   "without replicas", // NOREPLICAS
		serves: true,
		begin:  func(t *testing.T, r *rig) { set(t, r, "min-replicas-to-write", "1") },
		end:    func(t *testing.T, r *rig) { set(t, r, "min-replicas-to-write", "0") },
	},
	{
		name:   "cannot save", // MISCONF
		args:   []string{"--save", "3600 1000000", "--rdbcompression", "no"},
		serves: true,
		begin: func(t *testing.T, r *rig) {
			ctx := context.Background()
			dir := r.admin.ConfigGet(ctx, "dir").Val()["dir"]
			if dir == "" {
				t.Fatal("where does it save?")
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			_ = r.admin.BgSave(ctx).Err()
			until(t, "writes to be refused", func() bool { return r.admin.Set(ctx, "x", "y", 0).Err() != nil })
		},
		end: func(t *testing.T, r *rig) { set(t, r, "stop-writes-on-bgsave-error", "no") },
	},
}

// A Redis that is away or refuses to work costs a read its deadline at most, and after a few reads nothing at all. It
// never costs a right answer, neither while it is away nor when it comes back with what it had.
func TestFaultRedis(t *testing.T) {
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, cachedrepo.Config{}, o.args...)
			var rows []product
			for i := range 8 {
				rows = append(rows, r.insert(t, fmt.Sprint("A-", i)))
				r.warm(t, rows[i].ID, "old")
			}
			cold := r.insert(t, "cold")

			o.begin(t, r)
			var slowest time.Duration
			reads := 0
			for ; r.c.Stats().Opened == 0; reads++ {
				if reads == 20 {
					t.Fatalf("the breaker is closed after %d reads: %+v", reads, r.c.Stats())
				}
				id, name := rows[reads%8].ID, "old"
				if o.serves && reads > 0 { // such a server is noticed by the first who wants to write to it
					id = cold.ID
				}
				slowest = max(slowest, r.finds(t, id, name))
			}
			if limit := timeout + slack; slowest > limit {
				t.Errorf("a read took %s, over %s", slowest, limit)
			}
			t.Logf("%d reads until the breaker opened, the slowest took %s", reads, slowest)

			// From here on no read asks the store, and no write waits for it either.
			before := r.store.reads.Load()
			for i, p := range rows {
				start := time.Now()
				if n := r.rename(t, p.ID, "new"); n < i+1 {
					t.Errorf("write %d: %d invalidations pending", i, n)
				}
				if took := time.Since(start); took > slack {
					t.Errorf("a write took %s", took)
				}
				if took := r.finds(t, p.ID, "new"); took > slack {
					t.Errorf("a read took %s", took)
				}
			}
			if got, err := r.cached.FindMany(t.Context(), []int64{rows[0].ID, rows[1].ID}); err != nil || len(got) != 2 || got[0].Name != "new" || got[1].Name != "new" {
				t.Errorf("FindMany: %+v, %v", got, err)
			}
			if n := r.store.reads.Load() - before; n != 0 {
				t.Errorf("reads sent %d operations to a store that is away", n)
			}

			back := race(t, r, rows[0].ID, func() { o.end(t, r) })
			t.Logf("trusted again after %s", back)
			for _, p := range rows[1:] {
				r.finds(t, p.ID, "new")
				r.hit(t, p.ID, "new")
			}
			st := r.c.Stats()
			if seen := r.seen.count(calls...); st.StoreErrors == 0 || uint64(seen) != st.StoreErrors {
				t.Errorf("Stats has %d errors, the Observer was told of %d", st.StoreErrors, seen)
			}
			if (st.StoreRefused > 0) != o.serves {
				t.Errorf("%d refusals", st.StoreRefused)
			}
			if st.Pending != 0 || st.Replayed < uint64(len(rows)) || st.GivenUp != 0 {
				t.Errorf("pending %d, replayed %d, given up %d", st.Pending, st.Replayed, st.GivenUp)
			}
		})
	}
}

// race has readers and a writer at one row while end ends an outage, until the store has been trusted for a while. It
// returns how long after the end that was the case. A read that finds less than what was written before it began is stale.
func race(t *testing.T, r *rig, id int64, end func()) time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	var written, answered, stale atomic.Int64
	r.rename(t, id, "0")
	for range 2 {
		group.Go(func() {
			for ctx.Err() == nil {
				least := written.Load()
				p, err := r.cached.Find(ctx, id)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					t.Errorf("a read: %v", err)
					return
				}
				if got, _ := strconv.ParseInt(p.Name, 10, 64); got < least {
					stale.Add(1)
					t.Errorf("a read that began after write %d had returned found %d", least, got)
					return
				}
				answered.Add(1)
			}
		})
	}
	write := func(n int64) {
		r.rename(t, id, strconv.FormatInt(n, 10))
		written.Store(n)
	}
	for n := int64(1); n <= 5; n++ {
		write(n)
	}
	end()
	start := time.Now()
	// First nothing is written, so that the replay of what is pending can come to its end; then trust must be back.
	until(t, "what is pending to be sent", func() bool { return r.c.Stats().Pending == 0 })
	before := r.c.Stats().Hits
	until(t, "trust to return", func() bool { return r.c.Stats().Hits > before })
	back := time.Since(start)
	// The prober's longest pause is a second, and its first call may go to a connection that is dead.
	if limit := 2*(time.Second+timeout) + 3*slack; back > limit {
		t.Errorf("trust came back after %s, over %s", back, limit)
	}
	for n := int64(6); n <= 30; n++ {
		write(n)
	}
	enough := answered.Load() + 20
	until(t, "more reads", func() bool { return answered.Load() >= enough || stale.Load() > 0 })
	return back
}

// What is pending is sent before the first read asks the store again.
func TestFaultPendingBeforeTrust(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s := newShop(t)
		counted := &countedStore{Store: st}
		c := s.cache(t, counted, cachedrepo.Config{Namespace: ns})
		r := &rig{shop: s, store: counted, c: c, cached: cachedrepo.Wrap(c, s.plain)}
		p := s.insert(t, "A-1")
		r.warm(t, p.ID, "old")
		counted.fail(down)
		if n := r.rename(t, p.ID, "new"); n != 2 { // the key's and the sku's
			t.Fatalf("%d pending", n)
		}
		replaying, replayed := make(chan struct{}), make(chan struct{})
		var once sync.Once
		counted.fail(func(ctx context.Context, ops []store.Op) error {
			once.Do(func() { close(replaying) })
			select {
			case <-replayed:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		receive(t, replaying, "the replay")
		before := counted.reads.Load()
		for range 20 {
			r.finds(t, p.ID, "new")
		}
		if n := counted.reads.Load() - before; n != 0 {
			t.Errorf("%d operations of reads while invalidations are pending", n)
		}
		close(replayed)
		until(t, "trust", func() bool {
			r.finds(t, p.ID, "new")
			return c.Stats().Hits > 1
		})
		if n := c.Stats().Replayed; n != 2 {
			t.Errorf("%d replayed", n)
		}
	})
}

// One failed invalidation is enough: the store may hold the old row and answer every read.
func TestFaultOneLostInvalidation(t *testing.T) {
	s := newShop(t)
	stores(t, func(t *testing.T, st store.Store, ns string) {
		counted := &countedStore{Store: st}
		c := s.cache(t, counted, cachedrepo.Config{Namespace: ns})
		r := &rig{shop: s, store: counted, c: c, cached: cachedrepo.Wrap(c, s.plain)}
		p := s.insert(t, "A-"+ns)
		r.warm(t, p.ID, "old")
		var failed atomic.Bool
		hold := make(chan struct{})
		defer counted.fail(nil)
		defer close(hold)
		counted.fail(func(ctx context.Context, ops []store.Op) error {
			if ops[0].Kind != store.Invalidate {
				return nil
			}
			if failed.CompareAndSwap(false, true) {
				return errDown
			}
			select { // the prober's calls
			case <-hold:
				return errDown
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if n := r.rename(t, p.ID, "new"); n == 0 {
			t.Error("nothing is pending")
		}
		for range 5 {
			r.finds(t, p.ID, "new")
		}
		if n := c.Stats().Opened; n != 1 {
			t.Errorf("opened %d times", n)
		}
	})
}

// There is a limit to what is remembered. Over it the process stays away from a store that cannot list its keys for as
// long as an entry lives.
func TestFaultMaxPending(t *testing.T) {
	t.Parallel()
	r := newRig(t, cachedrepo.Config{MaxPending: 5, TTL: 2 * time.Minute})
	var rows []product
	for i := range 6 {
		rows = append(rows, r.insert(t, fmt.Sprint("A-", i)))
		r.warm(t, rows[i].ID, "old")
	}
	r.proxy.Refuse()
	r.proxy.Cut()
	start := time.Now()
	for _, p := range rows {
		if n := r.rename(t, p.ID, "new"); n == 0 || n > 5 {
			t.Errorf("%d pending", n)
		}
	}
	st := r.c.Stats()
	if st.GivenUp != 2*6-5 {
		t.Errorf("%d given up", st.GivenUp)
	}
	if left := cachedrepo.DistrustedUntil(r.c).Sub(start); left < 132*time.Second {
		t.Errorf("distrusted for %s: an entry may live for 132 s", left)
	}
	if err := r.proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	until(t, "the replay", func() bool { return r.c.Stats().Pending == 0 })
	before := r.store.reads.Load()
	for _, p := range rows {
		r.finds(t, p.ID, "new")
	}
	if n := r.store.reads.Load() - before; n != 0 {
		t.Errorf("%d operations of reads", n)
	}
	// What is written meanwhile is not kept waiting for the end of the distrust.
	r.rename(t, rows[0].ID, "newer")
	until(t, "the replay", func() bool { return r.c.Stats().Pending == 0 })
	r.finds(t, rows[0].ID, "newer")
	if n := r.store.reads.Load() - before; n != 0 {
		t.Errorf("%d operations of reads", n)
	}
	// Two minutes later nothing of then is left.
	if err := r.admin.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	cachedrepo.EndDistrust(r.c)
	until(t, "trust", func() bool {
		r.finds(t, rows[1].ID, "new")
		return r.c.Stats().Hits > st.Hits
	})
}

// A full Redis still deletes and still answers: nothing is distrusted, rows are just not stored.
func TestFaultFullRedis(t *testing.T) {
	t.Parallel()
	r := newRig(t, cachedrepo.Config{}, "--maxmemory-policy", "noeviction")
	warm, cold := r.insert(t, "warm"), r.insert(t, "cold")
	r.warm(t, warm.ID, "old")

	// It is full when a lease is asked for.
	set(t, r, "maxmemory", "1")
	for range 6 {
		r.finds(t, cold.ID, "old")
		r.hit(t, warm.ID, "old")
	}
	st := r.c.Stats()
	if st.Opened != 0 || st.StoreRefused != 6 || r.seen.count("acquire") != 6 {
		t.Errorf("opened %d times, %d refusals, %d seen", st.Opened, st.StoreRefused, r.seen.count("acquire"))
	}
	if n := r.rename(t, warm.ID, "new"); n != 0 {
		t.Errorf("%d pending: a full Redis deletes", n)
	}
	for range 3 {
		r.finds(t, warm.ID, "new")
	}

	// It is full when the row has been loaded.
	set(t, r, "maxmemory", "0")
	before := r.c.Stats()
	for i := range 6 {
		_, err := cachedrepo.Find(t.Context(), r.c.View("late"), products.Row(cold.ID), func(ctx context.Context) (product, error) {
			set(t, r, "maxmemory", "1")
			return r.plain.Find(ctx, cold.ID)
		})
		if err != nil {
			t.Fatal(err)
		}
		set(t, r, "maxmemory", "0")
		r.rename(t, cold.ID, strconv.Itoa(i)) // ends the lease that the fill has left
	}
	st = r.c.Stats()
	if st.Opened != 0 || r.seen.count("fill") != 6 || st.StoreRefused != before.StoreRefused+6 || st.Fills != before.Fills {
		t.Errorf("opened %d times, %d fills failed, %d refusals, %d filled", st.Opened, r.seen.count("fill"), st.StoreRefused, st.Fills-before.Fills)
	}
	r.warm(t, cold.ID, "5")
}

// The server invalidates and its answer is lost: to this process that is the same as a lost request.
func TestFaultReplyOfInvalidateLost(t *testing.T) {
	for name, action := range map[string]faults.Action{"cut": faults.CutReply, "silent": faults.DropReplies} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, cachedrepo.Config{})
			p := r.insert(t, "A-1")
			r.warm(t, p.ID, "old")
			key := fmt.Sprintf("shop:products:id:%d", p.ID)
			fired := once(r.proxy, "evalsha", action)
			if n := r.rename(t, p.ID, "new"); n == 0 {
				t.Error("nothing is pending")
			}
			receive(t, fired, "the invalidation")
			r.finds(t, p.ID, "new")
			if n := r.seen.count("invalidate"); n != 1 {
				t.Errorf("%d errors of invalidations", n)
			}
			until(t, "the key to go", func() bool { return r.admin.Exists(t.Context(), key).Val() == 0 })
			until(t, "trust", func() bool {
				r.finds(t, p.ID, "new")
				return r.c.Stats().Hits > 1
			})
			if st := r.c.Stats(); st.Pending != 0 || st.Replayed != 2 || st.Opened != 1 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// The server gives a lease and its answer is lost: nobody holds it. It is given up, and the row is stored by the next who
// reads it.
func TestFaultReplyOfAcquireLost(t *testing.T) {
	for name, action := range map[string]faults.Action{"cut": faults.CutReply, "silent": faults.DropReplies} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, cachedrepo.Config{Wait: 60 * time.Millisecond})
			p := r.insert(t, "A-1")
			fired := once(r.proxy, "\r\nnx\r\n", action)
			if took := r.finds(t, p.ID, "old"); took > timeout+slack {
				t.Errorf("a read took %s", took)
			}
			receive(t, fired, "the lease")
			if n := r.seen.count("acquire"); n != 1 {
				t.Errorf("%d errors", n)
			}
			r.warm(t, p.ID, "old")
			if st := r.c.Stats(); st.Opened != 0 {
				t.Errorf("%+v", st)
			}
			r.rename(t, p.ID, "new")
			r.warm(t, p.ID, "new")
		})
	}
}

// once does action when bytes with this text pass to the server, once.
func once(p *faults.Proxy, text string, action faults.Action) <-chan struct{} {
	fired := make(chan struct{})
	var armed atomic.Bool
	armed.Store(true)
	p.OnClientBytes(func(_ int, b []byte) faults.Action {
		if strings.Contains(string(b), text) && armed.CompareAndSwap(true, false) {
			close(fired)
			return action
		}
		return faults.Forward
	})
	return fired
}

// A batch of thousands of keys goes to the store in parts, but it waits for a dead one once, not for each part.
func TestFaultLargeBatch(t *testing.T) {
	s := newShop(t)
	s.conn.MustExec(`INSERT INTO products (sku, name) SELECT i, 'old' FROM generate_series(1, 3000) i`)
	keys := make([]int64, 3000)
	for i := range keys {
		keys[i] = int64(i + 1)
	}
	for _, tt := range []struct {
		name string
		from store.OpKind // what the store does not answer
		most int64        // calls that go unanswered
	}{
		{"get", store.Get, 1},
		{"acquire", store.Acquire, 1},
		{"fill", store.Fill, 3}, // in the background, until the breaker opens
	} {
		t.Run(tt.name, func(t *testing.T) {
			counted := &countedStore{Store: memstore.New(memstore.Config{})}
			c := s.cache(t, counted, cachedrepo.Config{Namespace: tt.name, Timeout: patience})
			cached := cachedrepo.Wrap(c, s.plain)
			var calls atomic.Int64
			counted.fail(func(_ context.Context, ops []store.Op) error {
				if ops[0].Kind == store.Invalidate {
					return errDown // the prober
				}
				if ops[0].Kind == tt.from {
					calls.Add(1)
					return errDown
				}
				return nil
			})
			got, err := cached.FindMany(t.Context(), keys)
			if err != nil || len(got) != 3000 {
				t.Fatalf("%d rows, %v", len(got), err)
			}
			if err := c.Close(t.Context()); err != nil { // waits for the fills
				t.Error(err)
			}
			if n := calls.Load(); n == 0 || n > tt.most {
				t.Errorf("%d calls went unanswered, want %d at most", n, tt.most)
			}
		})
	}
}

// A write that comes while the server is told what is pending must not keep it distrusted: where writes come faster than the
// prober turns, the cache would never come back. Here one comes in each of its turns.
func TestFaultWritersDoNotHinderTrust(t *testing.T) {
	s := newShop(t)
	counted := &countedStore{Store: memstore.New(memstore.Config{})}
	c := s.cache(t, counted, cachedrepo.Config{})
	cached := cachedrepo.Wrap(c, s.plain)
	p := s.insert(t, "A-1")
	write := func() {
		if _, err := cached.Modify(context.WithoutCancel(t.Context()), p.ID, func(p *product) error { p.Name += "x"; return nil }); err != nil {
			t.Error(err)
		}
	}
	counted.fail(down)
	write()
	var turns atomic.Int64
	counted.fail(func(_ context.Context, ops []store.Op) error {
		if strings.Contains(ops[0].Key, "~probe") && turns.Add(1) < 20 {
			write()
		}
		return nil
	})
	until(t, "trust", func() bool {
		hits := c.Stats().Hits
		_, err := cached.Find(t.Context(), p.ID)
		return err == nil && c.Stats().Hits > hits
	})
	if n := turns.Load(); n > 3 {
		t.Errorf("it was trusted after %d turns of the prober", n)
	}
}

// Trusted again while something is still to be sent, and then it refuses that: it is distrusted at once, although it answers
// reads.
func TestFaultTrustedTooEarly(t *testing.T) {
	s := newShop(t)
	counted := &countedStore{Store: memstore.New(memstore.Config{})}
	c := s.cache(t, counted, cachedrepo.Config{})
	cached := cachedrepo.Wrap(c, s.plain)
	p := s.insert(t, "A-1")
	write := func() {
		if _, err := cached.Modify(context.WithoutCancel(t.Context()), p.ID, func(p *product) error { p.Name += "x"; return nil }); err != nil {
			t.Error(err)
		}
	}
	counted.fail(down)
	write()
	var refuses atomic.Bool
	counted.fail(func(_ context.Context, ops []store.Op) error {
		if refuses.Load() && ops[0].Kind == store.Invalidate {
			return store.ErrRefused
		}
		if strings.Contains(ops[0].Key, "~probe") && refuses.CompareAndSwap(false, true) {
			write() // pending: the server is not trusted yet
		}
		return nil
	})
	until(t, "distrust", func() bool { return c.Stats().Opened == 2 })
	counted.fail(nil)
	until(t, "trust", func() bool {
		hits := c.Stats().Hits
		_, err := cached.Find(t.Context(), p.ID)
		return err == nil && c.Stats().Hits > hits
	})
}
