package cachedrepo_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// another is a second process on the same database and store: it has its own transactions and its own cache.
func (r *rig) another(t *testing.T, st store.Store, cfg cachedrepo.Config) *rig {
	t.Helper()
	conn, sent := openCounted(t, r.pg.URL())
	db := txhooks.New(conn, txhooks.Config{})
	s := &shop{r.pg, conn, db, repo.New(db, products), sent}
	o := &rig{shop: s, server: r.server, admin: r.admin, proxy: r.proxy, store: &countedStore{Store: st}, seen: &troubles{}}
	cfg.Observer = o.seen.observer()
	o.c = s.cache(t, o.store, cfg)
	o.cached = cachedrepo.Wrap(o.c, s.plain)
	return o
}

// refusing are ways of a server to go on answering reads while nothing can be invalidated.
var refusing = map[string]func(t *testing.T, admin *redis.Client){
	"replicas are missing": func(t *testing.T, admin *redis.Client) {
		if err := admin.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err(); err != nil {
			t.Fatal(err)
		}
	},
	"demoted": func(t *testing.T, admin *redis.Client) {
		if err := admin.Do(t.Context(), "replicaof", "127.0.0.1", "1").Err(); err != nil {
			t.Fatal(err)
		}
	},
}

// A server refuses writes and serves reads. The process that writes finds out with its first write; one that only reads
// must find out by itself, or it serves old rows for as long as that lasts.
func TestWatchOfAReader(t *testing.T) {
	for name, refuse := range refusing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newRig(t, cachedrepo.Config{})
			b := a.another(t, redisstore.New(a.server.Client(t)), cachedrepo.Config{Timeout: patience, Probe: 30 * time.Millisecond})
			p := a.insert(t, "A-1")
			b.warm(t, p.ID, "old")
			refuse(t, a.admin)
			if n := a.rename(t, p.ID, "new"); n == 0 {
				t.Fatal("nothing is pending")
			}
			until(t, "the reader to find out", func() bool {
				got, err := b.cached.Find(t.Context(), p.ID)
				return err == nil && got.Name == "new"
			})
			for range 10 {
				b.finds(t, p.ID, "new")
			}
			st := b.c.Stats()
			// It is refused by the probe, or by a read that asks a server which has become a replica who it is, or by both at once.
			if n := b.seen.count(append([]string{"probe"}, calls...)...); st.Opened != 1 || st.StoreRefused == 0 || n < 1 || n > 2 {
				t.Errorf("opened %d times, %d refusals, %d of probes, %d others", st.Opened, st.StoreRefused, b.seen.count("probe"), b.seen.count(calls...))
			}
		})
	}
}

// On a cluster, the one master that refuses is found, and the others go on.
func TestWatchOfACluster(t *testing.T) {
	t.Parallel()
	cluster := testenv.NewRedisCluster(t)
	s := newShop(t)
	st := redisstore.New(cluster.Client(t))
	r := &rig{shop: s, seen: &troubles{}}
	r.c = s.cache(t, st, cachedrepo.Config{Timeout: patience, Probe: 50 * time.Millisecond, Observer: r.seen.observer()})
	r.cached = cachedrepo.Wrap(r.c, s.plain)
	at := map[string][]product{}
	for i := range 20 {
		p := r.insert(t, fmt.Sprint("A-", i))
		r.warm(t, p.ID, "old")
		at[st.Node(productKey(p))] = append(at[st.Node(productKey(p))], p)
	}
	if len(at) != 3 {
		t.Fatalf("rows on %d servers", len(at))
	}
	bad := cluster.Masters[1]
	if err := bad.Client(t).ConfigSet(t.Context(), "min-replicas-to-write", "1").Err(); err != nil {
		t.Fatal(err)
	}
	until(t, "the watch", func() bool { return r.c.Stats().Opened == 1 })
	for addr, rows := range at {
		for _, p := range rows {
			if addr != bad.Addr() {
				r.hit(t, p.ID, "old")
				continue
			}
			before := r.c.Stats().Hits
			if r.finds(t, p.ID, "old"); r.c.Stats().Hits != before {
				t.Error("a read asks the server that refuses")
			}
		}
	}
	if err := bad.Client(t).ConfigSet(t.Context(), "min-replicas-to-write", "0").Err(); err != nil {
		t.Fatal(err)
	}
	until(t, "trust", func() bool {
		before := r.c.Stats().Hits
		r.finds(t, at[bad.Addr()][0].ID, "old")
		return r.c.Stats().Hits > before
	})
}

// The watch begins with the first read, looks at each server, leaves those alone that have taken a write meanwhile, and
// ends with Close.
func TestWatchLooks(t *testing.T) {
	s := newShop(t)
	f := newFleet(evenOdd, "a", "b")
	probes := map[string]*atomic.Int64{"a": {}, "b": {}}
	for name, n := range probes {
		f.fail(name, func(_ context.Context, ops []store.Op) error {
			if ops[0].Kind == store.Invalidate && strings.Contains(ops[0].Key, "~probe") {
				n.Add(1)
			}
			return nil
		})
	}
	c := s.cache(t, f, cachedrepo.Config{Probe: time.Hour})
	ticks := make(chan time.Time)
	waits := make(chan time.Duration, 100)
	cachedrepo.RepeatBy(c, func(d time.Duration) <-chan time.Time { waits <- d; return ticks })
	r := &rig{shop: s, c: c, cached: cachedrepo.Wrap(c, s.plain)}
	p := r.insert(t, "A-1") // writes to a (the sku) and b, and does not begin it
	if len(waits) != 0 {
		t.Error("the watch runs before the first read")
	}
	look := func(a, b int64) {
		t.Helper()
		ticks <- time.Time{}
		for len(waits) == 0 { // it waits again: the look is over
			time.Sleep(time.Millisecond)
		}
		if d := <-waits; d != time.Hour {
			t.Errorf("waits %s", d)
		}
		if got := [2]int64{probes["a"].Swap(0), probes["b"].Swap(0)}; got != [2]int64{a, b} {
			t.Errorf("%v probes, want %d and %d", got, a, b)
		}
	}
	r.finds(t, p.ID, "old")
	if d := <-waits; d != time.Hour {
		t.Errorf("waits %s", d)
	}
	look(0, 0) // the insert and the fill were writes
	look(1, 1)
	r.hit(t, p.ID, "old")
	look(1, 1)
	r.rename(t, p.ID, "new")
	look(0, 0)
	look(1, 1)
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if len(ticks) != 0 || len(waits) != 0 {
		t.Error("the watch outlives Close")
	}
}

// Off means off; and a store that is full still takes the watch's writes.
func TestWatchOff(t *testing.T) {
	s := newShop(t)
	c := s.cache(t, newFleet(evenOdd, "a", "b"), cachedrepo.Config{Probe: -1})
	cachedrepo.RepeatBy(c, func(time.Duration) <-chan time.Time { t.Error("it watches"); return nil })
	r := &rig{shop: s, c: c, cached: cachedrepo.Wrap(c, s.plain)}
	p := r.insert(t, "A-1")
	r.warm(t, p.ID, "old")
}

// guessing is a store that does not always know who its server is: then the epoch is another each time.
type guessing struct {
	store.Store
	known   atomic.Bool
	guesses atomic.Uint64
}

func (g *guessing) Epoch(string) uint64 {
	if g.known.Load() {
		return 1
	}
	return 1 + g.guesses.Add(1)
}

// A server of which nobody knows who it is has not become another.
func TestWatchOfTheUnknown(t *testing.T) {
	s := newShop(t)
	st := &guessing{Store: memstore.New(memstore.Config{})}
	st.known.Store(true)
	c := s.cache(t, st, cachedrepo.Config{Probe: time.Hour, Incarnation: -1})
	ticks, waits := make(chan time.Time), make(chan struct{}, 1)
	cachedrepo.RepeatBy(c, func(time.Duration) <-chan time.Time { waits <- struct{}{}; return ticks })
	r := &rig{shop: s, c: c, cached: cachedrepo.Wrap(c, s.plain)}
	p := r.insert(t, "A-1")
	r.warm(t, p.ID, "old")
	receive(t, waits, "the watch")
	for _, known := range []bool{true, false, false, true} {
		st.known.Store(known)
		ticks <- time.Time{}
		receive(t, waits, "the end of a look")
	}
	if n := c.Stats().Moved; n != 0 {
		t.Errorf("moved %d times", n)
	}
}
