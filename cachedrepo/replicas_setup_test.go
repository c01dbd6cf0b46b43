package cachedrepo_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// copied is a shop on a server that has a streaming replica.
type copied struct {
	*shop
	standby *testenv.Standby
}

func newCopied(t *testing.T) *copied {
	t.Helper()
	pg := testenv.PostgresReplicated(t, shopSchema)
	return copiedAt(t, pg.PG, pg.Standby)
}

func copiedAt(t *testing.T, pg *testenv.PG, standby *testenv.Standby) *copied {
	t.Helper()
	conn, sent := openCounted(t, pg.URL())
	db := txhooks.New(conn, txhooks.Config{})
	return &copied{&shop{pg, conn, db, repo.New(db, products), sent}, standby}
}

// process starts a process that may read the replica. Its marks are sent in a call of their own, before what they stand
// for, and looked at in one after the lease, so that tests can hold it in between.
func (c *copied) process(t *testing.T, st store.Store, ns string, cfg cachedrepo.Config) *process {
	t.Helper()
	return c.processOn(t, st, ns, cfg, c.standby.Open(t))
}

func (c *copied) processOn(t *testing.T, st store.Store, ns string, cfg cachedrepo.Config, replicas ...*sqlx.DB) *process {
	t.Helper()
	conn, sent := openCounted(t, c.pg.URL())
	db := txhooks.New(conn, txhooks.Config{HookTimeout: 2 * patience, Replicas: replicas})
	own := &shop{c.pg, conn, db, repo.New(db, products), sent}
	p := &process{shop: own, store: parkable(st), plain: &parkedRepo{Repository: own.plain}, ns: ns}
	cfg.Namespace, cfg.Wait = ns, -1
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * patience
	}
	if cfg.LoadTimeout == 0 {
		cfg.LoadTimeout = 2 * patience
	}
	if cfg.Replicas.MaxLag == 0 {
		cfg.Replicas.MaxLag = patience
	}
	p.cache = own.cache(t, p.store, cfg)
	p.Repository = cachedrepo.Wrap(p.cache, p.plain)
	return p
}

// insert adds a product that the replica has too.
func (c *copied) insert(t *testing.T, sku string) product {
	t.Helper()
	p := c.shop.insert(t, sku)
	c.standby.CatchUp()
	return p
}

// laggards runs a history with replicas on each store: R and W may read a replica whose replay stands still, with a product
// whose name is "old".
func laggards(t *testing.T, test func(t *testing.T, c *copied, r, w *process, p product)) {
	t.Helper()
	c := newCopied(t)
	run := func(name string, st store.Store, ns string) {
		t.Run(name, func(t *testing.T) {
			c.standby.Resume()
			c.empty(t)
			r, w := c.process(t, st, ns, cachedrepo.Config{}), c.process(t, st, ns, cachedrepo.Config{})
			p := c.insert(t, "A-1")
			for _, process := range []*process{r, w} {
				// And the row after it, which may be on a server of the store that would otherwise be heard of when the replica
				// stands still, and then nothing counts until it has moved.
				proven(t, process, p, product{ID: p.ID + 1})
			}
			c.standby.Pause()
			test(t, c, r, w, p)
		})
	}
	server, cluster := testenv.Redis(t), testenv.RedisCluster(t)
	run("redis", redisstore.New(server.Client(t)), server.Prefix())
	run("cluster", redisstore.New(cluster.Client(t)), cluster.Prefix())
	run("memory", memstore.New(memstore.Config{}), "shop")
}

// proven waits until the process may read a replica, as far as the store's servers that have these rows are concerned.
func proven(t *testing.T, p *process, rows ...product) {
	t.Helper()
	var keys []string
	for _, row := range rows {
		keys = append(keys, p.key(row), p.ns+":products:sku:"+row.SKU)
	}
	for _, key := range keys {
		p.store.state(t, key) // of a server that nobody has asked it is not known what it remembers
	}
	until(t, "a replica that is near enough", func() bool { return cachedrepo.Proven(p.cache, keys...) > 0 })
}

// fromReplica checks that a call loads from a replica, or, if not wanted, from the primary.
func (p *process) fromReplica(t *testing.T, want bool, call func()) {
	t.Helper()
	before := p.cache.Stats()
	call()
	after := p.cache.Stats()
	if after.Loads == before.Loads {
		t.Fatal("nothing was loaded")
	}
	if got := after.ReplicaLoads > before.ReplicaLoads; got != want {
		t.Fatalf("loaded from a replica: %t, want %t", got, want)
	}
}

// warnings keeps what is logged.
type warnings struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *warnings) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *warnings) logger() *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func (w *warnings) has(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(w.text.String(), text)
}
