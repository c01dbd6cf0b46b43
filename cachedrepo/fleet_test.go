package cachedrepo_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
)

// fleet is a store of several servers in memory, whose keys can be moved and whose servers can fail.
type fleet struct {
	mu      sync.Mutex
	where   func(key string) string
	servers map[string]*memstore.Store
	faults  map[string]func(ctx context.Context, ops []store.Op) error
	asked   map[string]int // operations, invalidations not included
	scans   int
}

func newFleet(where func(key string) string, names ...string) *fleet {
	f := &fleet{
		where: where, servers: make(map[string]*memstore.Store), asked: make(map[string]int),
		faults: make(map[string]func(context.Context, []store.Op) error),
	}
	for _, name := range names {
		f.servers[name] = memstore.New(memstore.Config{})
	}
	return f
}

func (f *fleet) Node(key string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.where(key)
}

// move has keys found elsewhere from now on.
func (f *fleet) move(where func(key string) string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.where = where
}

func (f *fleet) fail(name string, fault func(ctx context.Context, ops []store.Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[name] = fault
}

func (f *fleet) asks(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[name]
}

func (f *fleet) Do(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	f.mu.Lock()
	at := make(map[string][]int)
	for i, op := range ops {
		name := f.where(op.Key)
		at[name] = append(at[name], i)
		if op.Kind != store.Invalidate {
			f.asked[name]++
		}
	}
	f.mu.Unlock()
	for name, of := range at {
		f.mu.Lock()
		fault, server := f.faults[name], f.servers[name]
		f.mu.Unlock()
		some, answers := make([]store.Op, len(of)), make([]store.Reply, len(of))
		for n, i := range of {
			some[n] = ops[i]
		}
		if fault != nil {
			if err := fault(ctx, some); err != nil {
				return err
			}
		}
		if err := server.Do(ctx, some, answers); err != nil {
			return err
		}
		for n, i := range of {
			replies[i] = answers[n]
		}
	}
	return nil
}

// Scan looks at all servers.
func (f *fleet) Scan(ctx context.Context, prefix string, yield func(keys []string) error) error {
	f.mu.Lock()
	f.scans++
	servers := make([]string, 0, len(f.servers))
	for name := range f.servers {
		servers = append(servers, name)
	}
	f.mu.Unlock()
	slices.Sort(servers)
	for _, name := range servers {
		f.mu.Lock()
		fault := f.faults[name]
		f.mu.Unlock()
		if fault != nil {
			if err := fault(ctx, []store.Op{{}}); err != nil {
				return err
			}
		}
		if err := f.servers[name].Scan(ctx, prefix, yield); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) scanned() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.scans
}

// holds tells whether a server has a value at key.
func (f *fleet) holds(t *testing.T, name, key string) bool {
	t.Helper()
	replies := make([]store.Reply, 1)
	if err := f.servers[name].Do(t.Context(), []store.Op{{Kind: store.Get, Key: key}}, replies); err != nil {
		t.Fatal(err)
	}
	return replies[0].State == store.Value
}

// copies takes a value from one server to another, as it stands.
func (f *fleet) copies(t *testing.T, from, to, key string) {
	t.Helper()
	replies := make([]store.Reply, 2)
	if err := f.servers[from].Do(t.Context(), []store.Op{{Kind: store.Get, Key: key}}, replies[:1]); err != nil || replies[0].State != store.Value {
		t.Fatalf("%+v, %v", replies[0], err)
	}
	token := store.NewToken()
	if err := f.servers[to].Do(t.Context(), []store.Op{
		{Kind: store.Acquire, Key: key, Token: token, TTL: hour},
		{Kind: store.Fill, Key: key, Token: token, Value: replies[0].Value, TTL: hour},
	}, replies); err != nil || replies[1].Refused {
		t.Fatalf("%+v, %v", replies, err)
	}
}

// crew is a shop with a cache on a fleet of the servers a and b: rows with even ids, and all by their sku, are on a.
type crew struct {
	*rig
	fleet *fleet
	even  []product
	odd   []product
}

func productKey(p product) string { return fmt.Sprintf("shop:products:id:%d", p.ID) }

func evenOdd(key string) string {
	var id int64
	if n, _ := fmt.Sscanf(key, "shop:products:id:%d", &id); n == 1 && id%2 == 1 {
		return "b"
	}
	if n, _ := fmt.Sscanf(key, "shop:~probe:%d", &id); n == 1 && id%2 == 1 {
		return "b"
	}
	return "a"
}

func newCrew(t *testing.T, cfg cachedrepo.Config) *crew {
	t.Helper()
	f := newFleet(evenOdd, "a", "b")
	r := &rig{shop: newShop(t), seen: &troubles{}}
	cfg.Observer = r.seen.observer()
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = 10 * timeout
	}
	r.c = r.cache(t, f, cfg)
	r.cached = cachedrepo.Wrap(r.c, r.plain)
	c := &crew{rig: r, fleet: f}
	for i := range 8 {
		p := r.insert(t, fmt.Sprint("A-", i))
		r.warm(t, p.ID, "old")
		if p.ID%2 == 0 {
			c.even = append(c.even, p)
		} else {
			c.odd = append(c.odd, p)
		}
	}
	return c
}

// moveAll has keys found elsewhere, where they are taken with what they hold: the servers' stores are one.
func (f *fleet) moveAll(t *testing.T, where func(key string) string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.where = where
	f.servers["b"] = f.servers["a"]
}
