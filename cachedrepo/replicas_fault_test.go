package cachedrepo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/migrations"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// A replica that lags more than MaxLag is not read, and is again when it has caught up; nobody writing is no lag.
func TestReplicaLag(t *testing.T) {
	c := newCopied(t)
	r := c.process(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{Replicas: cachedrepo.ReplicaConfig{MaxLag: 100 * time.Millisecond}})
	var rows []product
	for i := range 4 {
		rows = append(rows, c.insert(t, fmt.Sprint("A-", i)))
	}
	proven(t, r, rows...)
	r.fromReplica(t, true, func() { r.reads(t, rows[0].ID, "old") })

	c.standby.Pause()
	if _, err := c.conn.ExecContext(t.Context(), `UPDATE products SET name = 'new'`); err != nil {
		t.Fatal(err)
	}
	until(t, "the lag to grow", func() bool { return cachedrepo.Proven(r.cache) == 0 })
	r.fromReplica(t, false, func() { r.reads(t, rows[1].ID, "new") })
	if s := r.cache.Stats(); s.Lagging == 0 {
		t.Errorf("%+v", s)
	}
	list, err := r.cache.Check(t.Context())
	if err != nil || !slices.ContainsFunc(list, func(f finding.Finding) bool {
		return f.Code == finding.Replica && strings.Contains(f.Text, "lags more than 100ms")
	}) {
		t.Errorf("Check: %v, %v", list, err)
	}
	c.standby.Resume()
	proven(t, r, rows...)
	r.fromReplica(t, true, func() { r.reads(t, rows[2].ID, "new") })

	// The primary's log goes on to the next file, and nobody writes: what was replayed ends before the header of that file.
	if _, err := c.conn.ExecContext(t.Context(), `SELECT pg_switch_wal()`); err != nil {
		t.Fatal(err)
	}
	c.standby.CatchUp()
	for range 3 {
		time.Sleep(100 * time.Millisecond) // as long as what was proven before counts
		proven(t, r)
	}
	r.fromReplica(t, true, func() { r.reads(t, rows[3].ID, "new") })
}

func TestEndOfRecord(t *testing.T) {
	const page, segment = 8192, 16 << 20
	for at, want := range map[uint64]uint64{
		3 * segment: 3 * segment, 3*segment + 40: 3 * segment, 3*segment + 48: 3*segment + 48,
		3*segment + page: 3*segment + page, 3*segment + page + 24: 3*segment + page, 3*segment + page + 40: 3*segment + page + 40,
		3*segment + 120: 3*segment + 120,
	} {
		if got := cachedrepo.EndOfRecord(at, page, segment); got != want {
			t.Errorf("%x: %x, want %x", at, got, want)
		}
	}
	if got := cachedrepo.EndOfRecord(17, 0, 0); got != 17 {
		t.Errorf("a server that does not tell its sizes: %d", got)
	}
}

// What became of a mark that could not be armed: nothing is ended without it, the process that knows reads the primary, and
// what is sent in the end is the mark, then the invalidation.
func TestReplicaMarkPending(t *testing.T) {
	laggards(t, func(t *testing.T, _ *copied, r, w *process, p product) {
		r.reads(t, p.ID, "old")
		var failing bool
		w.store.mu.Lock()
		failing = true
		w.store.fault = func(ops []store.Op) error {
			if failing && ops[0].Kind == store.Intend {
				return errDown
			}
			return nil
		}
		w.store.mu.Unlock()
		w.store.take()
		ctx, report := txhooks.WithReport(t.Context())
		if err := renameIn(ctx, w, p.ID, "new"); err != nil {
			t.Fatal(err)
		}
		if report.Pending == 0 {
			t.Error("nothing is said to be pending")
		}
		if calls := w.store.take(); slices.ContainsFunc(calls, func(call string) bool { return strings.HasPrefix(call, "invalidate") }) {
			t.Errorf("ended without a mark: %q", calls)
		}
		w.fromReplica(t, false, func() { w.reads(t, p.ID, "new") })
		w.store.mu.Lock()
		failing = false
		w.store.mu.Unlock()
		until(t, "the pending invalidations", func() bool { return w.cache.Stats().Pending == 0 })
		r.fromReplica(t, false, func() { r.reads(t, p.ID, "new") })
		r.hits(t, p.ID, "new")
	})
}

// The servers of a pair of their own break down, one way after the other.
func TestReplicaBreaks(t *testing.T) {
	t.Parallel()
	pg := testenv.NewPostgres(t)
	if _, err := pg.Open(t).Exec(shopSchema); err != nil {
		t.Fatal(err)
	}
	standby := pg.NewStandby(t)
	c := copiedAt(t, pg.PG, standby)
	log := &warnings{}
	seen := &troubles{}
	r := c.process(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{
		Replicas: cachedrepo.ReplicaConfig{MaxLag: time.Second}, Logger: log.logger(), Observer: seen.observer(),
	})
	var rows []product
	for i := range 12 {
		rows = append(rows, c.insert(t, fmt.Sprint("A-", i)))
	}
	next := func() (p product) {
		p, rows = rows[0], rows[1:]
		return p
	}
	proven(t, r, rows...)
	r.fromReplica(t, true, func() { r.reads(t, next().ID, "old") })

	t.Run("killed", func(t *testing.T) {
		// The replica dies when it has answered a load, and comes back before anybody has noticed: it may be where it was, or
		// not yet.
		p := next()
		query := r.plain.park(t, "after query", about(p))
		r1 := r.read(t.Context(), p.ID)
		query.wait(t)
		if _, err := c.conn.ExecContext(t.Context(), `UPDATE products SET name = 'new' WHERE id = $1`, p.ID); err != nil {
			t.Fatal(err)
		}
		before := r.cache.Stats()
		standby.Kill()
		standby.Start()
		query.goOn()
		ended(t, r1, "new")
		if s := r.cache.Stats(); s.ReplicaLoads != before.ReplicaLoads || s.ReplicaErrors == before.ReplicaErrors || s.LoadErrors != 0 {
			t.Errorf("%+v", s)
		}
		proven(t, r)
		until(t, "a replica", func() bool { return log.has("a replica is read again") })
		r.fromReplica(t, true, func() { r.reads(t, next().ID, "old") })
	})
	t.Run("gone", func(t *testing.T) {
		standby.Kill()
		for range 3 {
			r.reads(t, next().ID, "old")
		}
		until(t, "a word about it", func() bool { return log.has("a replica is not read") && seen.count("replica") > 0 })
		if s := r.cache.Stats(); s.LoadErrors != 0 {
			t.Errorf("%d loads failed", s.LoadErrors)
		}
		standby.Start()
		proven(t, r)
	})
	t.Run("frozen", func(t *testing.T) {
		standby.Stop()
		start := time.Now()
		r.fromReplica(t, false, func() { r.reads(t, next().ID, "old") })
		if took := time.Since(start); took > 3*time.Second+slack {
			t.Errorf("a frozen replica cost a read %s", took)
		}
		standby.Continue()
		proven(t, r)
		r.fromReplica(t, true, func() { r.reads(t, next().ID, "old") })
	})
	t.Run("promoted", func(t *testing.T) {
		standby.Promote()
		until(t, "the promotion to be noticed", func() bool { return log.has("promoted") })
		if n := cachedrepo.Proven(r.cache); n != 0 {
			t.Error("a replica that was promoted is read")
		}
		if _, err := standby.Open(t).Exec(`UPDATE products SET name = 'elsewhere'`); err != nil {
			t.Fatal(err)
		}
		r.fromReplica(t, false, func() { r.reads(t, next().ID, "old") })
		list, err := r.cache.Check(t.Context())
		if err != nil || !slices.ContainsFunc(list, func(f finding.Finding) bool { return f.Code == finding.Replica }) {
			t.Errorf("Check: %v, %v", list, err)
		}
	})
}

// A load is promoted past between its query and the proof that it counts.
func TestReplicaStranger(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	log := &warnings{}
	c := &copied{shop: s}
	// The primary itself, and another server that has nothing to do with it.
	other := testenv.NewPostgres(t)
	if _, err := other.Open(t).Exec(shopSchema); err != nil {
		t.Fatal(err)
	}
	standby := other.NewStandby(t)
	r := c.processOn(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{Logger: log.logger()}, s.pg.Open(t), standby.Open(t))
	until(t, "both to be found out", func() bool {
		return log.has("it is no replica") && log.has("it is a replica of another database")
	})
	p := s.insert(t, "A-1")
	r.fromReplica(t, false, func() { r.reads(t, p.ID, "old") })

	// A standby is no primary either.
	st := memstore.New(memstore.Config{})
	if _, err := cachedrepo.New(txhooks.New(standby.Open(t), txhooks.Config{}), st, cachedrepo.Config{
		Namespace: "shop", Tables: model.Tables{products},
	}); err == nil || !strings.Contains(err.Error(), "recovery") {
		t.Errorf("a cache on a standby: %v", err)
	}
}

// What replicas cost: on one server of the store no round trip, and nothing at all where MaxLag is 0, whatever replicas
// there are.
func TestReplicaCost(t *testing.T) {
	c := newCopied(t)
	server := testenv.NewRedis(t)
	client := server.Client(t)
	trips := &roundTrips{}
	client.AddHook(trips)
	replica, asked := openCounted(t, c.standby.URL())
	for _, on := range []bool{false, true} {
		conn, sent := openCounted(t, c.pg.URL())
		db := txhooks.New(conn, txhooks.Config{Replicas: []*sqlx.DB{replica}})
		cfg := cachedrepo.Config{Namespace: server.Prefix(), Tables: model.Tables{products}, Timeout: patience, Probe: -1}
		if on {
			cfg.Replicas.MaxLag = patience
		}
		cache, err := cachedrepo.New(db, redisstore.New(client), cfg)
		if err != nil {
			t.Fatal(err)
		}
		cached := cachedrepo.Wrap[product, int64](cache, repo.New(db, products))
		p, q := c.insert(t, fmt.Sprint("A-", on)), c.insert(t, fmt.Sprint("B-", on))
		find := func(ctx context.Context, id int64) {
			t.Helper()
			if _, err := cached.Find(ctx, id); err != nil {
				t.Fatal(err)
			}
		}
		find(t.Context(), q.ID)                                            // so that the server knows the scripts
		if err := renameIn(t.Context(), cached, q.ID, "new"); err != nil { // and this one
			t.Fatal(err)
		}
		if on {
			keys := []string{server.Prefix() + ":products:" + about(p), server.Prefix() + ":products:" + about(q)}
			until(t, "the replica", func() bool { return cachedrepo.Proven(cache, keys...) > 0 })
			// Once it is near, or a lease is all that is asked for.
			if err := renameIn(t.Context(), cached, q.ID, "newer"); err != nil {
				t.Fatal(err)
			}
			find(t.Context(), q.ID)
		} else if got := sent.take(); len(got) == 0 || slices.Contains(got, "CASE") {
			t.Errorf("the primary was asked %q", got)
		}
		trips.take()
		sent.take()
		asked.take()
		before := cache.Stats().ReplicaLoads
		find(txhooks.OnReplica(t.Context()), p.ID)
		// What a script does on the server is its business; what counts is that there is one call before the query, one after.
		want := "[[get] [set] [evalsha]]"
		if on {
			want = "[[get] [evalsha] [evalsha]]"
		}
		if got := fmt.Sprint(trips.take()); got != want {
			t.Errorf("on %t: a miss takes %s, want %s", on, got, want)
		}
		if n := cache.Stats().ReplicaLoads - before; (n == 1) != on {
			t.Errorf("on %t: %d loads from the replica", on, n)
		}
		if got := asked.take(); !on && len(got) > 0 {
			t.Errorf("the replica was asked %q", got)
		}
		if err := renameIn(t.Context(), cached, p.ID, "new"); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(trips.take()); got != "[[evalsha]]" {
			t.Errorf("on %t: a write takes %s", on, got)
		}
		keys, err := client.Keys(t.Context(), "*~m{*").Result()
		if err != nil || (len(keys) > 0) != on {
			t.Errorf("on %t: marks %q, %v", on, keys, err)
		}
		if err := cache.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// A server that is full takes marks, and with them the invalidations. One that evicts keys before their time keeps marks
// until they are swept, or is refused.
func TestReplicaMarksStay(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	server := testenv.NewRedis(t)
	client := server.Client(t)
	set := func(name, value string) {
		t.Helper()
		if err := client.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	open := func() (*cachedrepo.Cache, error) {
		return cachedrepo.New(s.db, redisstore.New(client), cachedrepo.Config{
			Namespace: "shop", Tables: model.Tables{products}, Timeout: patience, Probe: -1,
			Replicas: cachedrepo.ReplicaConfig{MaxLag: time.Second},
		})
	}
	for _, policy := range []string{"volatile-ttl", "allkeys-lru"} {
		set("maxmemory-policy", policy)
		if _, err := open(); err == nil || !strings.Contains(err.Error(), "replica-eviction") {
			t.Errorf("%s: %v", policy, err)
		}
	}
	set("maxmemory-policy", "volatile-lru")
	cache, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close(context.Background()) })
	cached := cachedrepo.Wrap[product, int64](cache, s.plain)
	p := s.insert(t, "A-1")
	key := "shop:products:" + about(p)
	if _, err := cached.Find(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	// Not a byte more.
	set("maxmemory-policy", "noeviction")
	set("maxmemory", "1")
	if err := renameIn(t.Context(), cached, p.ID, "new"); err != nil {
		t.Fatal(err)
	}
	if st := cache.Stats(); st.Pending != 0 || st.StoreErrors != 0 {
		t.Errorf("%+v", st)
	}
	mark := cachedrepo.MarkKey(cache, key)
	if n := client.Exists(t.Context(), key, mark).Val(); n != 1 {
		t.Errorf("%d keys, want the mark alone", n)
	}
	set("maxmemory", "0")
	if ttl := client.PTTL(t.Context(), mark).Val(); ttl != -1 {
		t.Errorf("the mark has an expiry of %s, and can be evicted", ttl)
	}
	// It is swept when it is over, not before.
	if cachedrepo.Sweep(cache, 0) || client.Exists(t.Context(), mark).Val() != 1 {
		t.Error("a mark was swept that stands")
	}
	if cachedrepo.Sweep(cache, time.Hour); client.Exists(t.Context(), mark).Val() != 1 {
		t.Error("a mark that another has armed again was swept")
	}
	if err := renameIn(t.Context(), cached, p.ID, "newer"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(cachedrepo.MarkLife(cache))
	until(t, "the mark to be swept", func() bool {
		return cachedrepo.Sweep(cache, time.Hour) && client.Exists(t.Context(), mark).Val() == 0
	})
}

// A process that arms no marks, or for another time, is noticed by the registry: until it has gone nobody reads replicas.
// Its entries are served all the same.
func TestReplicaRegistry(t *testing.T) {
	c := newCopied(t)
	if err := migrations.Apply(t.Context(), c.pg.URL()); err != nil {
		t.Fatal(err)
	}
	c.standby.CatchUp()
	st := memstore.New(memstore.Config{})
	cfg := cachedrepo.Config{Registry: true, Heartbeat: beat}
	r := c.process(t, shared{st}, "shop", cfg)
	p, q, s := c.insert(t, "A-1"), c.insert(t, "A-2"), c.insert(t, "A-3")
	proven(t, r)
	until(t, "a load from the replica", func() bool {
		p := c.insert(t, fmt.Sprint("P-", r.cache.Stats().Loads))
		r.reads(t, p.ID, "old")
		return r.cache.Stats().ReplicaLoads > 0
	})
	r.reads(t, s.ID, "old")
	old := c.shop.process(t, shared{st}, "shop", cachedrepo.Config{Registry: true, Heartbeat: beat, Wait: -1})
	// The very moment that New has returned, and so before the other's first write, r knows.
	r.fromReplica(t, false, func() { r.reads(t, p.ID, "old") })
	r.hits(t, s.ID, "old")
	old.hits(t, s.ID, "old")
	if err := old.cache.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "replicas to be read again", func() bool {
		p := c.insert(t, fmt.Sprint("R-", r.cache.Stats().Loads))
		before := r.cache.Stats().ReplicaLoads
		r.reads(t, p.ID, "old")
		return r.cache.Stats().ReplicaLoads > before
	})
	r.fromReplica(t, true, func() { r.reads(t, q.ID, "old") })
}

// W arms no marks, and is taken for dead while it does not renew. R, who hears that nobody without marks is left, reads the
// replica again. Then W goes on in the midst of a write.
//
//  1. W commits and invalidates. The replica has not replayed the commit.
//  2. R misses, finds no mark, and stores what the replica has: the old row.
//  3. W registers anew, and R hears of it.
//  4. W invalidates once more and returns.
func TestReplicaWriterTakenForDead(t *testing.T) {
	c := newCopied(t)
	if err := migrations.Apply(t.Context(), c.pg.URL()); err != nil {
		t.Fatal(err)
	}
	c.standby.CatchUp()
	st := memstore.New(memstore.Config{})
	r := c.process(t, shared{st}, "shop", cachedrepo.Config{Registry: true, Heartbeat: beat})
	proxy := newProxy(t, c.shop)
	w := c.shop.processAt(t, c.pg.URLThrough(proxy.Addr()), shared{st}, "shop", cachedrepo.Config{Registry: true, Heartbeat: beat, Wait: -1})
	p := c.insert(t, "A-1")
	proceed := make(chan struct{})
	proceeds := sync.OnceFunc(func() { close(proceed) })
	defer proceeds()
	proxy.OnClientBytes(func(_ int, message []byte) faults.Action {
		if bytes.Contains(message, []byte("UPDATE aside_registrants")) {
			<-proceed
		}
		return faults.Forward
	})
	until(t, "replicas to be read", func() bool {
		q := c.insert(t, fmt.Sprint("P-", r.cache.Stats().Loads))
		r.reads(t, q.ID, "old")
		return r.cache.Stats().ReplicaLoads > 0
	})
	c.standby.Pause()
	invalidated := w.store.park(t, "after invalidate", about(p))
	w1 := w.renaming(t.Context(), p.ID, "new")
	invalidated.wait(t)
	r.fromReplica(t, true, func() { r.reads(t, p.ID, "old") })
	r.hits(t, p.ID, "old") // W has not returned
	proceeds()
	until(t, "W to be registered and noticed", func() bool { return cachedrepo.Settled(w.cache) })
	invalidated.goOn()
	if _, err := w1.wait(t); err != nil {
		t.Fatal(err)
	}
	r.reads(t, p.ID, "new")
}

// shared is a store in memory that does not say that it is one process's.
type shared struct{ store.Store }

// Retire is for what was written without invalidating. It waits until replicas have that.
func TestReplicaRetire(t *testing.T) {
	c := newCopied(t)
	r := c.process(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{Replicas: cachedrepo.ReplicaConfig{MaxLag: 200 * time.Millisecond}})
	p := c.insert(t, "A-1")
	proven(t, r)
	start := time.Now()
	// parkedStore lists no keys
	if _, err := r.cache.Retire(t.Context()); err == nil {
		t.Fatal("a store that cannot list its keys was retired")
	}
	cache, err := cachedrepo.New(r.db, memstore.New(memstore.Config{}), cachedrepo.Config{
		Namespace: "shop", Tables: model.Tables{products}, Replicas: cachedrepo.ReplicaConfig{MaxLag: 200 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Retire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 200*time.Millisecond {
		t.Errorf("it took %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cache.Retire(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_ = p
	if err := cache.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Config is checked where it is given.
func TestReplicaConfig(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	one := s.pg.Open(t)
	one.SetMaxOpenConns(1)
	for _, test := range []struct {
		lag      time.Duration
		replicas []*sqlx.DB
		want     string
	}{
		{-1, nil, "MaxLag"},
		{time.Millisecond, nil, "MaxLag"},
		{time.Hour, nil, "MaxLag"},
		{time.Second, []*sqlx.DB{one}, "replica 1: its pool"},
		{0, []*sqlx.DB{one}, ""},
		{time.Second, nil, ""},
	} {
		c, err := cachedrepo.New(txhooks.New(s.conn, txhooks.Config{Replicas: test.replicas}), memstore.New(memstore.Config{}), cachedrepo.Config{
			Namespace: "shop", Tables: model.Tables{products}, Replicas: cachedrepo.ReplicaConfig{MaxLag: test.lag},
		})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test, err)
		}
		if err == nil {
			_ = c.Close(t.Context())
		}
	}
}

// A mark stands for as long as a replica may lag and still be read. Rows that were changed together are read one after the
// other, until long after the replica is not read any more.
func TestReplicaMarkOutlivesLag(t *testing.T) {
	c := newCopied(t)
	st := memstore.New(memstore.Config{})
	cfg := cachedrepo.Config{Replicas: cachedrepo.ReplicaConfig{MaxLag: time.Second}}
	r, w := c.process(t, st, "shop", cfg), c.process(t, st, "shop", cfg)
	var rows []product
	for i := range 40 {
		rows = append(rows, c.shop.insert(t, fmt.Sprint("A-", i)))
	}
	c.standby.CatchUp()
	proven(t, r)
	if err := w.db.Run(t.Context(), func(ctx context.Context) error {
		for _, p := range rows {
			if err := renameIn(ctx, w, p.ID, "new"); err != nil {
				return err
			}
		}
		c.standby.Pause() // so that what was proven of it is new when W returns
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, p := range rows {
		r.reads(t, p.ID, "new")
		time.Sleep(40 * time.Millisecond) // no state is waited for: it is time that the rule is about
	}
}

// epochal is a store that can lose its memory, marks included, and says so.
type epochal struct {
	*parkedStore
	epoch *atomic.Uint64
}

func (e epochal) Epoch(string) uint64 { return e.epoch.Load() }

// The store's server has been replaced by one that knows nothing. Until a replica is proven to have what was committed
// before that, the primary is read.
func TestReplicaStoreForgets(t *testing.T) {
	c := newCopied(t)
	conn, _ := openCounted(t, c.pg.URL())
	db := txhooks.New(conn, txhooks.Config{Replicas: []*sqlx.DB{c.standby.Open(t)}})
	st := epochal{parkable(memstore.New(memstore.Config{})), new(atomic.Uint64)}
	st.epoch.Store(1)
	cache, err := cachedrepo.New(db, st, cachedrepo.Config{
		Namespace: "shop", Tables: model.Tables{products}, Timeout: patience, Probe: -1,
		Replicas: cachedrepo.ReplicaConfig{MaxLag: patience},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close(context.Background()) })
	r := &process{store: st.parkedStore, cache: cache, Repository: cachedrepo.Wrap[product, int64](cache, repo.New(db, products))}
	p, q := c.insert(t, "A-1"), c.insert(t, "A-2")
	until(t, "a load from the replica", func() bool {
		s := c.insert(t, fmt.Sprint("P-", cache.Stats().Loads))
		r.reads(t, s.ID, "old")
		return cache.Stats().ReplicaLoads > 0
	})
	c.standby.Pause()
	r.rename(t, p.ID, "new")
	st.Store = memstore.New(memstore.Config{})
	st.epoch.Store(2)
	r.fromReplica(t, false, func() { r.reads(t, p.ID, "new") })
	c.standby.Resume()
	c.standby.CatchUp()
	until(t, "replicas to be read again", func() bool {
		s := c.insert(t, fmt.Sprint("Q-", cache.Stats().Loads))
		before := cache.Stats().ReplicaLoads
		r.reads(t, s.ID, "old")
		return cache.Stats().ReplicaLoads > before
	})
	r.fromReplica(t, true, func() { r.reads(t, q.ID, "old") })
}
