package cachedrepo_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/internal/testenv"
)

// clustered is a shop with a cache on a Redis Cluster of its own, and rows on each of its masters.
type clustered struct {
	*rig
	cluster *testenv.OwnCluster
	client  *redis.ClusterClient
	at      map[string][]product // by the address of the master
}

func newClustered(t *testing.T, cfg cachedrepo.Config) *clustered {
	t.Helper()
	c := &clustered{cluster: testenv.NewRedisCluster(t), at: make(map[string][]product)}
	c.client = c.cluster.Client(t)
	st := redisstore.New(c.client)
	c.rig = &rig{shop: newShop(t), seen: &troubles{}}
	cfg.Observer = c.seen.observer()
	c.c = c.cache(t, st, cfg)
	c.cached = cachedrepo.Wrap(c.c, c.plain)
	for i := range 24 {
		p := c.insert(t, fmt.Sprint("A-", i))
		c.warm(t, p.ID, "old")
		c.at[st.Node(productKey(p))] = append(c.at[st.Node(productKey(p))], p)
	}
	if len(c.at) != 3 {
		t.Fatalf("rows on %d masters", len(c.at))
	}
	return c
}

// One master of three hangs, or is gone: the keys of the others are hits as ever, those of its own go to the database, and
// after the breaker's few calls nobody waits for it. What was written meanwhile is told when it is back.
func TestClusterOneMasterAway(t *testing.T) {
	for name, fault := range map[string]struct{ begin, end func(m *testenv.OwnRedis) }{
		"frozen": {(*testenv.OwnRedis).Stop, (*testenv.OwnRedis).Continue},
		"killed": {(*testenv.OwnRedis).Kill, (*testenv.OwnRedis).Start},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClustered(t, cachedrepo.Config{Timeout: 200 * time.Millisecond, Probe: 100 * time.Millisecond})
			away := c.cluster.Masters[1]
			gone := c.at[away.Addr()]
			var others, all []product
			for addr, rows := range c.at {
				if addr != away.Addr() {
					others = append(others, rows...)
				}
			}
			all = append(append(all, others...), gone...)
			fault.begin(away)
			for n := 0; c.c.Stats().Opened == 0; n++ {
				if n > 20 {
					t.Fatal("it is asked on and on")
				}
				c.finds(t, gone[0].ID, "old")
			}
			for _, p := range others {
				c.hit(t, p.ID, "old")
			}
			for _, p := range gone {
				c.finds(t, p.ID, "old")
			}
			ids := make([]int64, len(all))
			for i, p := range all {
				ids[i] = p.ID
			}
			before := c.c.Stats()
			got, err := c.cached.FindMany(t.Context(), ids)
			if err != nil || len(got) != len(ids) {
				t.Fatalf("%d rows, %v", len(got), err)
			}
			st := c.c.Stats()
			if n := st.Hits - before.Hits; n != uint64(len(others)) {
				t.Errorf("%d hits of a batch over all masters, want %d", n, len(others))
			}
			if st.Opened != 1 {
				t.Errorf("opened %d times: one master is away", st.Opened)
			}
			for _, p := range all {
				c.rename(t, p.ID, "new")
				c.finds(t, p.ID, "new")
			}
			for _, p := range others {
				c.hit(t, p.ID, "new")
			}
			fault.end(away)
			until(t, "what is pending to be sent", func() bool { return c.c.Stats().Pending == 0 })
			until(t, "trust", func() bool { return !cachedrepo.Unsure(c.c) })
			for _, p := range all {
				c.finds(t, p.ID, "new")
			}
		})
	}
}

// The slot of a key moves to another master while its row is being loaded, and again while somebody writes: no step of
// that leaves an old row where readers look.
func TestClusterSlotMoves(t *testing.T) {
	t.Parallel()
	c := newClustered(t, cachedrepo.Config{Timeout: patience, WriteTimeout: patience})
	p := c.insert(t, "moving")
	key := productKey(p)
	m := newMove(t, c, key)
	load := func(during func()) product {
		got, err := cachedrepo.Find(t.Context(), c.c.View("moving"), products.Row(p.ID), func(ctx context.Context) (product, error) {
			got, err := c.plain.Find(ctx, p.ID)
			during()
			return got, err
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}

	load(func() { // the lease moves, and the fill finds it
		m.begin()
		m.keys()
		m.end()
	})
	c.warm(t, p.ID, "old") // it was stored in the epoch of the former master
	c.rename(t, p.ID, "1")
	c.warm(t, p.ID, "1")

	m = newMove(t, c, key)
	c.rename(t, p.ID, "2")
	load(func() { // somebody writes between the steps: the lease is gone wherever it was
		m.begin()
		c.rename(t, p.ID, "3")
		m.keys()
		m.end()
	})
	c.finds(t, p.ID, "3")
	c.warm(t, p.ID, "3")

	m = newMove(t, c, key)
	m.begin() // a value moves while the slot is half here and half there
	c.hit(t, p.ID, "3")
	m.keys()
	c.finds(t, p.ID, "3")
	if n := c.rename(t, p.ID, "4"); n != 0 {
		t.Errorf("%d pending", n)
	}
	c.finds(t, p.ID, "4")
	m.end()
	c.warm(t, p.ID, "4")
	if n, err := c.c.Retire(t.Context()); err != nil || n == 0 {
		t.Errorf("retired %d, %v", n, err)
	}
}

// Retire does not say that it is complete while slots are on their way.
func TestClusterRetireWhileSlotsMove(t *testing.T) {
	t.Parallel()
	c := newClustered(t, cachedrepo.Config{Timeout: patience})
	m := newMove(t, c, productKey(c.at[c.cluster.Masters[0].Addr()][0]))
	m.begin()
	if n, err := c.c.Retire(t.Context()); err == nil {
		t.Errorf("retired %d", n)
	}
	m.keys()
	m.end()
	if n, err := c.c.Retire(t.Context()); err != nil || n < 24 {
		t.Errorf("retired %d, %v", n, err)
	}
}

// move takes a slot from the master that has it to the next one.
type move struct {
	t        *testing.T
	key      string
	slot     int64
	from, to *redis.Client
	ids      [2]string
	all      []*redis.Client
	addr     string
}

func newMove(t *testing.T, c *clustered, key string) *move {
	t.Helper()
	ctx := t.Context()
	m := &move{t: t, key: key, slot: c.client.ClusterKeySlot(ctx, key).Val()}
	if err := c.client.ForEachMaster(ctx, func(context.Context, *redis.Client) error { return nil }); err != nil { // it looks anew
		t.Fatal(err)
	}
	owner, err := c.client.MasterForKey(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	for i, server := range c.cluster.Masters {
		admin := server.Client(t)
		m.all = append(m.all, admin)
		if server.Addr() != owner.Options().Addr {
			continue
		}
		next := c.cluster.Masters[(i+1)%3]
		m.from, m.to, m.addr = admin, next.Client(t), next.Addr()
	}
	for i, a := range []*redis.Client{m.from, m.to} {
		if m.ids[i], err = a.Do(ctx, "cluster", "myid").Text(); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *move) do(on *redis.Client, args ...any) {
	m.t.Helper()
	if err := on.Do(context.Background(), args...).Err(); err != nil {
		m.t.Fatalf("%v: %v", args, err)
	}
}

func (m *move) begin() {
	m.t.Helper()
	m.do(m.to, "cluster", "setslot", m.slot, "importing", m.ids[0])
	m.do(m.from, "cluster", "setslot", m.slot, "migrating", m.ids[1])
}

func (m *move) keys() {
	m.t.Helper()
	host, port, _ := net.SplitHostPort(m.addr)
	keys := m.from.ClusterGetKeysInSlot(context.Background(), int(m.slot), 100).Val()
	for _, key := range keys {
		m.do(m.from, "migrate", host, port, key, "0", strconv.Itoa(5000))
	}
}

func (m *move) end() {
	m.t.Helper()
	m.do(m.to, "cluster", "setslot", m.slot, "node", m.ids[1])
	m.do(m.from, "cluster", "setslot", m.slot, "node", m.ids[1])
	for _, a := range m.all {
		m.do(a, "cluster", "setslot", m.slot, "node", m.ids[1])
	}
}
