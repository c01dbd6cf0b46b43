package cachedrepo_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/migrations"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// registeredShop is a shop whose database has the registry's tables.
func registeredShop(t *testing.T) *shop {
	t.Helper()
	s := newShop(t)
	if err := migrations.Apply(t.Context(), s.pg.URL()); err != nil {
		t.Fatal(err)
	}
	return s
}

var registered = cachedrepo.Config{Registry: true, Heartbeat: beat, Wait: -1, Timeout: patience, WriteTimeout: patience}

// keyOnlyProducts is the products of a version that does not know the index.
var keyOnlyProducts = model.MustTable(model.Spec[product, int64]{Name: "products", Key: "id", Version: "version"})

// keyOnly starts such a version; the caller closes it.
func (s *shop) keyOnly(t *testing.T, st store.Store, ns string) (c *cachedrepo.Cache, rename func(id int64, name string)) {
	t.Helper()
	conn, _ := openCounted(t, s.pg.URL())
	db := txhooks.New(conn, txhooks.Config{})
	cfg := registered
	cfg.Namespace, cfg.Tables = ns, model.Tables{keyOnlyProducts}
	c, err := cachedrepo.New(db, st, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c, func(id int64, name string) {
		t.Helper()
		err := db.Run(t.Context(), func(ctx context.Context) error {
			if err := txhooks.Touch(ctx, keyOnlyProducts.Row(id)); err != nil {
				return err
			}
			_, err := db.ExecContext(ctx, `UPDATE products SET name = $2 WHERE id = $1`, id, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (p *process) bySKU(t *testing.T, sku string) string {
	t.Helper()
	got, err := p.FindBy(t.Context(), bySKU.Eq(sku))
	if err != nil {
		t.Fatal(err)
	}
	return got.Name
}

// A read that began before another process registered takes its lease after, and fills what that process then changes
// without invalidating it. The fill is of the time when the index was maintained, and is never used.
func TestHistoryFillWhileTheIndexIsMaintained(t *testing.T) {
	for _, point := range []string{"before get", "before acquire"} { // it takes its epoch in between
		t.Run(point, func(t *testing.T) { fillWhileTheIndexIsMaintained(t, point) })
	}
}

func fillWhileTheIndexIsMaintained(t *testing.T, point string) {
	t.Parallel()
	s := registeredShop(t)
	p := s.insert(t, "A-1")
	n := s.process(t, memstore.New(memstore.Config{}), "shop", registered)
	// 1. N's read is about to look, or to ask for the lease.
	read := n.store.park(t, point, "sku:A-1")
	r1 := begin(func() (product, error) { return n.FindBy(t.Context(), bySKU.Eq("A-1")) })
	read.wait(t)
	// 2. O, which does not know the index, registers; N hears of it.
	o, rename := s.keyOnly(t, n.store.Store, "shop")
	until(t, "the index to be maintained", func() bool {
		n.bySKU(t, "A-1")
		return n.cache.Stats().Maintained > 0
	})
	// 3. N's read gets its lease and loads the old row.
	fill := n.store.park(t, "before fill", "sku:A-1")
	read.goOn()
	fill.wait(t)
	// 4. O changes the row, the fill is stored, O goes.
	rename(p.ID, "new")
	fill.goOn()
	ended(t, r1, "old")
	if got := n.store.state(t, "shop:products:sku:A-1"); got.State != store.Value {
		t.Fatalf("the fill has not been stored: %+v", got)
	}
	if err := o.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// 5. The index is served again.
	until(t, "a hit", func() bool {
		before := n.cache.Stats().Hits
		if name := n.bySKU(t, "A-1"); name != "new" {
			t.Fatalf("the index served %q", name)
		}
		return n.cache.Stats().Hits > before
	})
	if s := n.cache.Stats(); s.Epoch == 0 {
		t.Errorf("%+v", s)
	}
}

// A process that cannot reach the database serves keys and no unique indexes, and serves all when it can again.
func TestRegistryUnheard(t *testing.T) {
	t.Parallel()
	s := registeredShop(t)
	p := s.insert(t, "A-1")
	proxy := faults.NewPostgresProxy(t, s.pg.Addr())
	n := s.processAt(t, s.pg.URLThrough(proxy.Addr()), memstore.New(memstore.Config{}), "shop", registered)
	n.reads(t, p.ID, "old")
	n.hits(t, p.ID, "old")
	n.bySKU(t, "A-1")
	proxy.Refuse()
	proxy.Cut()
	until(t, "the index to be out of service", func() bool {
		_, err := n.FindBy(t.Context(), bySKU.Eq("A-1"))
		return err != nil
	})
	until(t, "the registry to be missed", func() bool { s := n.cache.Stats(); return s.Unheard > 0 && s.RegistryErrors > 0 })
	n.hits(t, p.ID, "old")
	if err := proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	until(t, "a hit by the index", func() bool {
		before := n.cache.Stats().Hits
		_, err := n.FindBy(t.Context(), bySKU.Eq("A-1"))
		return err == nil && n.cache.Stats().Hits > before
	})
}

// New does not fail because the database is away; nothing is served before the registry has been read. It does fail if
// the registry's tables are not there.
func TestRegistryWithoutDatabaseOrTables(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.insert(t, "A-1")
	cfg := registered
	cfg.Namespace, cfg.Tables = "shop", model.Tables{products}
	if _, err := cachedrepo.New(s.again(t, s.pg.URL()).db, memstore.New(memstore.Config{}), cfg); err == nil || !strings.Contains(err.Error(), "migrations.Apply") {
		t.Errorf("without tables: %v", err)
	}
	if err := migrations.Apply(t.Context(), s.pg.URL()); err != nil {
		t.Fatal(err)
	}
	proxy := faults.NewPostgresProxy(t, s.pg.Addr())
	proxy.Refuse()
	n := s.processAt(t, s.pg.URLThrough(proxy.Addr()), memstore.New(memstore.Config{}), "shop", registered)
	if _, err := n.Find(t.Context(), p.ID); err == nil {
		t.Error("a read without a database")
	}
	if s := n.cache.Stats(); s.Maintained != 1 || s.RegistryErrors == 0 || s.Registered != 0 {
		t.Errorf("%+v", s)
	}
	if err := proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	until(t, "a hit", func() bool {
		before := n.cache.Stats().Hits
		_, err := n.Find(t.Context(), p.ID)
		return err == nil && n.cache.Stats().Hits > before
	})
}

// Two processes with a store each serve nothing while both live: neither hears of what the other writes.
func TestRegistryPrivateStores(t *testing.T) {
	t.Parallel()
	s := registeredShop(t)
	p := s.insert(t, "A-1")
	start := func() *process {
		own := s.again(t, s.pg.URL())
		cfg := registered
		cfg.Namespace = "shop"
		c := own.cache(t, memstore.New(memstore.Config{}), cfg)
		return &process{shop: own, cache: c, Repository: cachedrepo.Wrap(c, own.plain)}
	}
	a := start()
	a.reads(t, p.ID, "old")
	a.hits(t, p.ID, "old")
	b := start()
	b.rename(t, p.ID, "new")
	a.reads(t, p.ID, "new")
	if err := a.cache.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "b to serve", func() bool {
		before := b.cache.Stats().Hits
		b.reads(t, p.ID, "new")
		return b.cache.Stats().Hits > before
	})
}

// Rows of the dead are kept only while they say something, and Close says that a process has gone.
func TestRegistryRowsOfTheDead(t *testing.T) {
	t.Parallel()
	s := registeredShop(t)
	st := memstore.New(memstore.Config{})
	for range 3 {
		for _, table := range []*model.Table[product, int64]{products, keyOnlyProducts} {
			cfg := registered
			cfg.Namespace, cfg.Tables = "shop", model.Tables{table}
			c, err := cachedrepo.New(s.again(t, s.pg.URL()).db, parkable(st), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	var alive, dead int
	if err := s.conn.QueryRowContext(t.Context(), `SELECT count(*) FILTER (WHERE gone_at IS NULL), count(*) FROM aside_registrants`).Scan(&alive, &dead); err != nil {
		t.Fatal(err)
	}
	if alive != 0 || dead == 0 || dead > 2 {
		t.Errorf("%d alive of %d", alive, dead)
	}
}

// Two databases under one namespace in one store would serve each other's rows.
func TestNamespaceOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	a, b := registeredShop(t), registeredShop(t)
	st := memstore.New(memstore.Config{})
	open := func(s *shop, generation int) error {
		cfg := registered
		cfg.Namespace, cfg.Tables, cfg.Generation = "shop", model.Tables{products}, generation
		c, err := cachedrepo.New(s.again(t, s.pg.URL()).db, parkable(st), cfg)
		if err == nil {
			err = c.Close(t.Context())
		}
		return err
	}
	for range 2 {
		if err := open(a, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(b, 0); err == nil || !strings.Contains(err.Error(), "namespace shop is used by another database") {
		t.Errorf("another database: %v", err)
	}
	if err := open(b, 1); err != nil {
		t.Errorf("another generation: %v", err)
	}
}

// Without the registry nothing is sent for its sake.
func TestRegistryOffSendsNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{Unchecked: true})
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if sent := s.sent.take(); len(sent) > 0 {
		t.Errorf("sent %q", sent)
	}
}

// What a process writes after others took it for dead is not lost: here it never slept, but its row says that it is gone.
func TestRegistryDeclaredDead(t *testing.T) {
	t.Parallel()
	s := registeredShop(t)
	_ = s.insert(t, "A-1")
	n := s.process(t, memstore.New(memstore.Config{}), "shop", registered)
	if _, err := s.conn.ExecContext(t.Context(), `UPDATE aside_registrants SET gone_at = now()`); err != nil {
		t.Fatal(err)
	}
	until(t, "a new registration", func() bool { return n.cache.Stats().Registered == 2 })
	var gone sql.NullTime
	var serial int64
	if err := s.conn.QueryRowContext(t.Context(), `SELECT gone_at, serial FROM aside_registrants`).Scan(&gone, &serial); err != nil || gone.Valid || serial != 2 {
		t.Errorf("gone %v, serial %d, %v", gone, serial, err)
	}
}
