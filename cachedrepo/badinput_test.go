package cachedrepo_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

func silent() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// What New is not given, or is given wrongly, it names.
func TestBadConfig(t *testing.T) {
	s := newShop(t)
	st := memstore.New(memstore.Config{})
	twin := model.MustTable(model.Spec[product, int64]{Name: "products", Key: "id"})
	for _, tt := range []struct {
		name   string
		change func(cfg *cachedrepo.Config)
		want   string
	}{
		{"no namespace", func(c *cachedrepo.Config) { c.Namespace = "" }, `Config.Namespace is ""`},
		{"blank", func(c *cachedrepo.Config) { c.Namespace = "a b" }, "Config.Namespace"},
		{"colon", func(c *cachedrepo.Config) { c.Namespace = "a:b" }, "Config.Namespace"},
		{"braces", func(c *cachedrepo.Config) { c.Namespace = "{a}" }, "Config.Namespace"},
		{"newline", func(c *cachedrepo.Config) { c.Namespace = "a\n" }, "Config.Namespace"},
		{"no ASCII", func(c *cachedrepo.Config) { c.Namespace = "läden" }, "Config.Namespace"},
		{"long", func(c *cachedrepo.Config) { c.Namespace = strings.Repeat("a", 65) }, "Config.Namespace"},
		{"no tables", func(c *cachedrepo.Config) { c.Tables = nil }, "Config.Tables is empty"},
		{"empty tables", func(c *cachedrepo.Config) { c.Tables = model.Tables{} }, "Config.Tables is empty"},
		{"nil among tables", func(c *cachedrepo.Config) { c.Tables = model.Tables{products, nil} }, "Config.Tables[1] is nil"},
		{"nil table", func(c *cachedrepo.Config) { c.Tables = model.Tables{(*model.Table[product, int64])(nil)} }, "Config.Tables[0] is nil"},
		{"declared twice", func(c *cachedrepo.Config) { c.Tables = model.Tables{products, twin} }, "table products is in Config.Tables twice"},
		{"TTL", func(c *cachedrepo.Config) { c.TTL = -1 }, "Config.TTL is negative"},
		{"Timeout", func(c *cachedrepo.Config) { c.Timeout = -1 }, "Config.Timeout is negative"},
		{"LoadTimeout", func(c *cachedrepo.Config) { c.LoadTimeout = -1 }, "Config.LoadTimeout is negative"},
		{"MaxLoads", func(c *cachedrepo.Config) { c.MaxLoads = -1 }, "Config.MaxLoads is negative"},
		{"MaxEntry", func(c *cachedrepo.Config) { c.MaxEntry = -1 }, "Config.MaxEntry is negative"},
		{"MaxPending", func(c *cachedrepo.Config) { c.MaxPending = -1 }, "Config.MaxPending is negative"},
	} {
		cfg := cachedrepo.Config{Namespace: "shop", Tables: model.Tables{products}, Logger: silent()}
		tt.change(&cfg)
		c, err := cachedrepo.New(s.db, st, cfg)
		if c != nil || err == nil || !strings.HasPrefix(err.Error(), "aside: ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	cfg := cachedrepo.Config{Namespace: "shop", Tables: model.Tables{products}, Logger: silent()}
	for name, call := range map[string]func() (*cachedrepo.Cache, error){
		"no database": func() (*cachedrepo.Cache, error) { return cachedrepo.New(nil, st, cfg) },
		"no store":    func() (*cachedrepo.Cache, error) { return cachedrepo.New(s.db, nil, cfg) },
	} {
		if _, err := call(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	cfg.Tables = model.Tables{products, products} // says the same twice
	c, err := cachedrepo.New(s.db, st, cfg)
	if err != nil {
		t.Errorf("the same table twice: %v", err)
	} else if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// However long an entry may live, it lives.
func TestBadDurations(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s := newShop(t)
		p := s.insert(t, "A-1")
		for i, cfg := range []cachedrepo.Config{
			{TTL: math.MaxInt64},
			{TTL: 1}, // too short to be hit
			{LoadTimeout: math.MaxInt64},
			{Wait: math.MaxInt64},
		} {
			cfg.Namespace = fmt.Sprint(ns, i)
			cfg.Timeout = patience
			c := s.cache(t, st, cfg)
			cached := cachedrepo.Wrap(c, s.plain)
			for range 3 {
				if got, err := cached.Find(t.Context(), p.ID); err != nil || !reflect.DeepEqual(got, p) {
					t.Fatalf("%d: %+v, %v", i, got, err)
				}
			}
			if st := c.Stats(); i != 1 && st.Hits != 2 || st.StoreErrors != 0 {
				t.Errorf("%d: %+v", i, st)
			}
			if life := cachedrepo.LongestLife(c); life < cfg.TTL/100 || life < time.Minute {
				t.Errorf("%d: the longest life is %s", i, life)
			}
			again := c.With(cachedrepo.Options{TTL: math.MaxInt64, Negative: math.MaxInt64})
			for range 3 {
				if _, err := cachedrepo.Wrap(again, s.plain).Find(t.Context(), -5); !errors.Is(err, model.ErrNotFound) {
					t.Error(err)
				}
			}
			if life := cachedrepo.LongestLife(c); life < time.Hour {
				t.Errorf("%d: the longest life is %s", i, life)
			}
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

type place struct {
	ID int64  `db:"id"`
	A  string `db:"a"`
}

var (
	byA      = model.NewUnique[place, string]("a")
	places   = model.MustTable(model.Spec[place, int64]{Name: "places", Key: "id", Indexes: model.Indexes[place]{byA}})
	strayRef = model.NewUnique[product, string]("sku") // of no table
)

// A ref that means nothing here is an error, and neither the store nor the database is asked.
func TestBadRefs(t *testing.T) {
	s := newShop(t)
	counted := &countedStore{Store: memstore.New(memstore.Config{})}
	c := s.cache(t, counted, cachedrepo.Config{})
	cached := cachedrepo.Wrap(c, s.plain)
	v := c.View("V")
	ctx := t.Context()
	never := func(context.Context) (product, error) {
		t.Error("the load was called")
		return product{}, nil
	}
	query := func(refs ...model.Ref) error {
		_, err := cachedrepo.Query(ctx, v, "Q", nil, refs, func(context.Context) (int, error) { return 1, nil })
		return err
	}
	write := func(refs ...model.Ref) error {
		return v.Write(ctx, refs, func(ctx context.Context) error {
			t.Error("fn was called")
			return nil
		})
	}
	find := func(at model.One[product]) error {
		_, err := cachedrepo.Find(ctx, v, at, never)
		return err
	}
	by := func(at model.One[product]) error {
		_, err := cached.FindBy(ctx, at)
		return err
	}
	s.sent.take()
	var zero model.One[product]
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"find, zero":        {find(zero), "an empty reference"},
		"findby, zero":      {by(zero), "an empty reference"},
		"invalidate, zero":  {c.Invalidate(ctx, zero), "an empty reference"},
		"write, zero":       {write(zero), "an empty reference"},
		"query, zero":       {query(zero), "an empty reference"},
		"find, stray":       {find(strayRef.Eq("A-1")), "no table"},
		"findby, stray":     {by(strayRef.Eq("A-1")), "no table"},
		"invalidate, stray": {c.Invalidate(ctx, strayRef.Eq("A-1")), "no table"},
		"write, stray":      {write(strayRef.Eq("A-1")), "no table"},
		"query, stray":      {query(products.Row(1), strayRef.Eq("A-1")), "no table"},
		"invalidate, nil":   {c.Invalidate(ctx, nil), "nil"},
		"write, nil":        {write(nil), "nil"},
		"query, nil":        {query(nil), "nil"},
		"query, none":       {query(), "depends on something"},
	} {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, tt.err, tt.want)
		}
	}
	_, err := cachedrepo.Find(ctx, v, places.Row(1), func(context.Context) (place, error) { return place{}, nil })
	if err == nil || !strings.Contains(err.Error(), "V: aside: table places is not in cachedrepo.Config.Tables") {
		t.Errorf("a table that is not there: %v", err)
	}
	if n := counted.reads.Load() + counted.writes.Load(); n != 0 {
		t.Errorf("%d operations", n)
	}
	for _, q := range s.sent.take() {
		if q != "BEGIN" && q != "ROLLBACK" {
			t.Errorf("the database was sent %s", q)
		}
	}
	func() {
		defer func() {
			if p := fmt.Sprint(recover()); !strings.Contains(p, "table places is not in cachedrepo.Config.Tables") {
				t.Errorf("Wrap: %s", p)
			}
		}()
		cachedrepo.Wrap(c, repo.New(s.db, places))
	}()
}

// A write to a table that Config.Tables forgot is counted and logged once.
func TestBadTables(t *testing.T) {
	s := newShop(t)
	s.conn.MustExec(`CREATE TABLE places (id bigint PRIMARY KEY, a text UNIQUE)`)
	var log bytes.Buffer
	c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for i := range int64(3) {
		if _, err := repo.New(s.db, places).Insert(t.Context(), place{ID: i + 1, A: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.Stats().Unknown; n != 3 || strings.Count(log.String(), "places") != 1 {
		t.Errorf("%d counted; the log:\n%s", n, log.String())
	}
}

// Thousands of keys, many of them twice, most of them without a row.
func TestBadManyKeys(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s := newShop(t)
		s.conn.MustExec(`INSERT INTO products (sku, name) SELECT i, 'old' FROM generate_series(1, 2000) i`)
		c := s.cache(t, st, cachedrepo.Config{Namespace: ns, Timeout: patience})
		cached := cachedrepo.Wrap(c, s.plain)
		keys := make([]int64, 0, 6000)
		for i := range int64(5000) {
			keys = append(keys, 5000-i)
		}
		keys = append(keys, keys[:1000]...)
		keys = append(keys, 0, -1, math.MaxInt64, math.MinInt64)
		want, err := s.plain.FindMany(t.Context(), keys)
		if err != nil || len(want) != 2000 {
			t.Fatalf("%d, %v", len(want), err)
		}
		for turn := range 2 {
			s.sent.take()
			got, err := cached.FindMany(t.Context(), keys)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("turn %d: %d of %d, %v", turn, len(got), len(want), err)
			}
			if n := len(s.sent.take()); n > 1-turn {
				t.Errorf("turn %d: %d queries", turn, n)
			}
		}
		if st := c.Stats(); st.Hits != 5004 || st.Fills != 5004 {
			t.Errorf("%+v", st)
		}
		s.conn.MustExec(`UPDATE products SET sku = 'moved' || sku`)
		if n, err := repo.New(s.db, products).UpdateWhere(t.Context(), repo.Bulk{Set: "name = 'new'", Where: "TRUE"}); err != nil || n != 2000 {
			t.Fatal(n, err)
		}
		got, err := cached.FindMany(t.Context(), keys)
		if err != nil || len(got) != 2000 || slices.ContainsFunc(got, func(p product) bool { return p.Name != "new" }) {
			t.Errorf("after the write: %d, %v", len(got), err)
		}
	})
}

// Texts that make trouble: each finds its own row and no other, before and after a write; what the database refuses it
// refuses with its own error.
func TestBadTexts(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s := newShop(t)
		c := s.cache(t, st, cachedrepo.Config{Namespace: ns, Timeout: patience})
		cached := cachedrepo.Wrap(c, s.plain)
		ctx := t.Context()
		huge := strings.Repeat("0123456789", 1000)
		// The database does not index texts of 10 kB that it cannot compress, but these it does.
		texts := []string{
			"", " ", "a", "A", "a ", "a:b", "a%3Ab", "%", "%%", "#", "{a}", "a\nb", "a\r\nb", "\t", "é", "e\u0301", "\u200b", "🙂", "'", `"`, `\`, "--", "id:1",
			huge, huge + "1", "#" + fmt.Sprintf("%x", sha256.Sum256([]byte(huge))), strings.Repeat("é", 5000), strings.Repeat("a", 128), strings.Repeat("a", 129), strings.Repeat(":", 64), strings.Repeat("{", 43), "\uFFFD", "NULL", "nil", "$1", "*", "?",
		}
		for _, text := range texts {
			if _, err := cached.FindBy(ctx, bySKU.Eq(text)); !errors.Is(err, model.ErrNotFound) {
				t.Fatalf("%.20q: %v", text, err)
			}
		}
		ids := make(map[string]int64)
		for _, text := range texts {
			ids[text] = s.insert(t, text).ID
		}
		for range 2 {
			for _, text := range texts {
				if got, err := cached.FindBy(ctx, bySKU.Eq(text)); err != nil || got.SKU != text || got.ID != ids[text] {
					t.Errorf("%.20q: %d, %.20q, %v", text, got.ID, got.SKU, err)
				}
			}
		}
		if n := c.Stats().Hits; n != uint64(len(texts)) {
			t.Errorf("%d hits for %d texts", n, len(texts))
		}
		for _, text := range texts {
			if err := cached.Delete(ctx, ids[text]); err != nil {
				t.Fatal(err)
			}
			if _, err := cached.FindBy(ctx, bySKU.Eq(text)); !errors.Is(err, model.ErrNotFound) {
				t.Errorf("%.20q, deleted: %v", text, err)
			}
		}
		fills := c.Stats().Fills
		for _, text := range []string{"a\x00b", "\x00", "\xff", "a\xc3(", string([]byte{0xed, 0xa0, 0x80})} {
			_, want := s.plain.FindBy(ctx, bySKU.Eq(text))
			for range 2 {
				_, err := cached.FindBy(ctx, bySKU.Eq(text))
				if want == nil || err == nil || err.Error() != want.Error() || errors.Is(err, model.ErrNotFound) {
					t.Errorf("%q: %v, want %v", text, err, want)
				}
			}
		}
		if st := c.Stats(); st.Fills != fills || st.LoadErrors != 10 {
			t.Errorf("%d filled, %d errors of loads", st.Fills-fills, st.LoadErrors)
		}
	})
}

// Values of several columns stay apart, whatever they hold.
func TestBadTextsInColumns(t *testing.T) {
	type key struct {
		A string `db:"a"`
		B string `db:"b"`
	}
	type pair struct {
		key
		N int64 `db:"n"`
	}
	table := model.MustTable(model.Spec[pair, key]{Name: "pairs"})
	s := newShop(t)
	s.conn.MustExec(`CREATE TABLE pairs (a text, b text, n bigint NOT NULL, PRIMARY KEY (a, b))`)
	c, err := cachedrepo.New(s.db, memstore.New(memstore.Config{}), cachedrepo.Config{Namespace: "shop", Tables: model.Tables{table}, Timeout: patience, Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	cached := cachedrepo.Wrap(c, repo.New(s.db, table))
	keys := []key{{"a:b", "c"}, {"a", "b:c"}, {"a%3Ab", "c"}, {"", "a:b:c"}, {"a:b:c", ""}, {":", ""}, {"", ":"}, {"", ""}, {"a", "b"}, {"b", "a"}}
	for i, k := range keys {
		s.conn.MustExec(`INSERT INTO pairs VALUES ($1, $2, $3)`, k.A, k.B, i)
	}
	for range 2 {
		for i, k := range keys {
			if got, err := cached.Find(t.Context(), k); err != nil || got != (pair{k, int64(i)}) {
				t.Errorf("%+v: %+v, %v", k, got, err)
			}
		}
	}
	if st := c.Stats(); st.Hits != uint64(len(keys)) || st.Damaged != 0 {
		t.Errorf("%d hits, %d damaged", st.Hits, st.Damaged)
	}
}

// A row over MaxEntry is read each time, and right each time; smaller ones are stored.
func TestBadLargeRows(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s := newShop(t)
		c := s.cache(t, st, cachedrepo.Config{Namespace: ns, MaxEntry: 1000, Timeout: patience})
		r := &rig{shop: s, c: c, cached: cachedrepo.Wrap(c, s.plain)}
		large, small := s.insert(t, "A-1"), s.insert(t, "A-2")
		long := strings.Repeat("x", 1000)
		r.rename(t, large.ID, long)
		for range 3 {
			r.finds(t, large.ID, long)
			if got, err := r.cached.FindMany(t.Context(), []int64{large.ID, small.ID}); err != nil || len(got) != 2 || got[0].Name != long {
				t.Errorf("%d, %v", len(got), err)
			}
		}
		if st := c.Stats(); st.TooLarge != 6 || st.Fills != 1 {
			t.Errorf("too large %d, fills %d", st.TooLarge, st.Fills)
		}
		r.rename(t, large.ID, "old")
		r.warm(t, large.ID, "old")
	})
}

// The database and the struct have grown apart: the database's error comes back, as without a cache.
func TestBadColumns(t *testing.T) {
	s := newShop(t)
	p := s.insert(t, "A-1")
	c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{Timeout: patience})
	cached := cachedrepo.Wrap(c, s.plain)
	for _, change := range []string{
		`ALTER TABLE products ALTER name DROP NOT NULL`,
		`UPDATE products SET name = NULL`,
		`ALTER TABLE products DROP name`,
		`DROP TABLE products`,
	} {
		s.conn.MustExec(change)
		_, want := s.plain.Find(t.Context(), p.ID)
		if (want == nil) != strings.HasPrefix(change, "ALTER TABLE products ALTER") {
			t.Fatalf("%s: %v", change, want)
		}
		if want == nil {
			continue
		}
		_, one := cached.Find(t.Context(), p.ID)
		_, by := cached.FindBy(t.Context(), bySKU.Eq("A-1"))
		_, many := cached.FindMany(t.Context(), []int64{p.ID})
		if one == nil || one.Error() != want.Error() || by == nil || many == nil {
			t.Errorf("%s: %v, %v, %v, want %v", change, one, by, many, want)
		}
	}
	if st := c.Stats(); st.Fills != 0 || st.LoadErrors != 9 {
		t.Errorf("%d filled, %d errors of loads", st.Fills, st.LoadErrors)
	}
}

// "Unique" that the database does not hold: an error, and nothing is stored.
func TestBadUnique(t *testing.T) {
	s := newShop(t)
	s.conn.MustExec(`CREATE TABLE places (id bigint PRIMARY KEY, a text)`)
	s.conn.MustExec(`INSERT INTO places VALUES (1, 'x'), (2, 'x'), (3, 'y')`)
	c, err := cachedrepo.New(s.db, memstore.New(memstore.Config{}), cachedrepo.Config{
		Namespace: "shop", Tables: model.Tables{products, places}, Timeout: patience, Logger: silent(),
		Allow: []string{"not-unique:places"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	plain := repo.New(s.db, places)
	cached := cachedrepo.Wrap(c, plain)
	_, want := plain.FindBy(t.Context(), byA.Eq("x"))
	for range 3 {
		if _, err := cached.FindBy(t.Context(), byA.Eq("x")); want == nil || err == nil || err.Error() != want.Error() {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if c.Stats().Fills != 0 {
		t.Errorf("%+v", c.Stats())
	}
}

// NULL finds no row, is asked of nobody and stored nowhere.
func TestBadNull(t *testing.T) {
	type row struct {
		ID int64   `db:"id"`
		A  []byte  `db:"a"`
		B  *string `db:"b"`
	}
	a, b := model.NewUnique[row, []byte]("a"), model.NewUnique[row, string]("b")
	table := model.MustTable(model.Spec[row, int64]{Name: "rows", Key: "id", Indexes: model.Indexes[row]{a, b}})
	s := newShop(t)
	s.conn.MustExec(`CREATE TABLE rows (id bigint PRIMARY KEY, a bytea UNIQUE, b text UNIQUE)`)
	counted := &countedStore{Store: memstore.New(memstore.Config{})}
	c, err := cachedrepo.New(s.db, counted, cachedrepo.Config{Namespace: "shop", Tables: model.Tables{table}, Timeout: patience, Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	cached := cachedrepo.Wrap(c, repo.New(s.db, table))
	written := counted.writes.Load()
	for i := range int64(2) { // two rows without values
		if _, err := cached.Insert(t.Context(), row{ID: i + 1}); err != nil {
			t.Fatal(err)
		}
	}
	if n := counted.writes.Load() - written; n != 2 {
		t.Errorf("%d keys were invalidated for two rows that have one each", n)
	}
	s.sent.take()
	before := counted.reads.Load()
	for range 2 {
		if _, err := cached.FindBy(t.Context(), a.Eq(nil)); !errors.Is(err, model.ErrNotFound) {
			t.Errorf("nil: %v", err)
		}
	}
	if n := counted.reads.Load() - before; n != 0 || len(s.sent.take()) != 0 {
		t.Errorf("%d operations for NULL", n)
	}
	// Empty is a value, and not that of the rows with NULL.
	for range 2 {
		if _, err := cached.FindBy(t.Context(), a.Eq([]byte{})); !errors.Is(err, model.ErrNotFound) {
			t.Errorf("empty: %v", err)
		}
		if _, err := cached.FindBy(t.Context(), b.Eq("")); !errors.Is(err, model.ErrNotFound) {
			t.Errorf("empty: %v", err)
		}
	}
	empty := ""
	if _, err := cached.Modify(t.Context(), 1, func(r *row) error { r.A, r.B = []byte{}, &empty; return nil }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r, err := cached.FindBy(t.Context(), a.Eq([]byte{}))
		if err != nil || r.ID != 1 || r.A == nil {
			t.Errorf("empty: %+v, %v", r, err)
		}
		r, err = cached.FindBy(t.Context(), b.Eq(""))
		if err != nil || r.ID != 1 || r.B == nil {
			t.Errorf("empty: %+v, %v", r, err)
		}
	}
	if _, err := cached.Modify(t.Context(), 1, func(r *row) error { r.A, r.B = nil, nil; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := cached.FindBy(t.Context(), a.Eq([]byte{})); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("NULL again: %v", err)
	}
}

// valueless is a Scanner that nothing can be got back from.
type valueless struct{}

func (v *valueless) Scan(any) error { return nil }

// Types that no entry could hold exactly are refused when the cache is made, with table, column and type.
func TestBadTypes(t *testing.T) {
	s := newShop(t)
	refused(t, s, "any", struct {
		ID int64 `db:"id"`
		X  any   `db:"x"`
	}{})
	refused(t, s, "error", struct {
		ID int64 `db:"id"`
		X  error `db:"x"`
	}{})
	refused(t, s, "map[string]string", struct {
		ID int64             `db:"id"`
		X  map[string]string `db:"x"`
	}{})
	refused(t, s, "chan int", struct {
		ID int64    `db:"id"`
		X  chan int `db:"x"`
	}{})
	refused(t, s, "func()", struct {
		ID int64  `db:"id"`
		X  func() `db:"x"`
	}{})
	refused(t, s, "[]string", struct {
		ID int64    `db:"id"`
		X  []string `db:"x"`
	}{})
	refused(t, s, "struct", struct {
		ID int64           `db:"id"`
		X  struct{ Y int } `db:"x"`
	}{})
	refused(t, s, "**string", struct {
		ID int64    `db:"id"`
		X  **string `db:"x"`
	}{})
	refused(t, s, "cachedrepo_test.valueless", struct {
		ID int64     `db:"id"`
		X  valueless `db:"x"`
	}{})
	refused(t, s, "sql.RawBytes", struct {
		ID int64        `db:"id"`
		X  sql.RawBytes `db:"x"`
	}{})
	refused(t, s, "sql.Null[any]", struct {
		ID int64         `db:"id"`
		X  sql.Null[any] `db:"x"`
	}{})
	refused(t, s, "complex128", struct {
		ID int64      `db:"id"`
		X  complex128 `db:"x"`
	}{})
}

// refused checks that there is no cache of a table with such a column. Most types no table takes in the first place.
func refused[T any](t *testing.T, s *shop, name string, _ T) {
	t.Helper()
	table, err := model.NewTable(model.Spec[T, int64]{Name: "things", Key: "id"})
	if err == nil {
		var c *cachedrepo.Cache
		c, err = cachedrepo.New(s.db, memstore.New(memstore.Config{}), cachedrepo.Config{Namespace: "shop", Tables: model.Tables{table}, Logger: silent()})
		if err == nil {
			_ = c.Close(context.Background())
			t.Errorf("%s: no error", name)
			return
		}
	}
	if text := strings.ToLower(err.Error()); !strings.Contains(text, "things") || !strings.Contains(text, "x: ") {
		t.Errorf("%s: %v", name, err)
	}
}

// damaged is a stored entry and what to check when it has been tampered with.
type damaged struct {
	*rig
	client *redis.Client
	row    product
	key    string
	good   string
}

func newDamaged(t *testing.T) *damaged {
	t.Helper()
	server := testenv.Redis(t)
	s := newShop(t)
	d := &damaged{client: server.Client(t)}
	c := s.cache(t, redisstore.New(d.client), cachedrepo.Config{Namespace: server.Prefix(), Timeout: patience, Wait: -1})
	d.rig = &rig{shop: s, c: c, cached: cachedrepo.Wrap(c, s.plain)}
	d.row = s.insert(t, "A-1")
	d.key = fmt.Sprintf("%s:products:id:%d", server.Prefix(), d.row.ID)
	d.warm(t, d.row.ID, "old")
	d.good = d.client.Get(t.Context(), d.key).Val()
	if d.good == "" {
		t.Fatal("no entry")
	}
	return d
}

// right checks that reads return the very row although the key holds what it holds.
func (d *damaged) right(t *testing.T, what string) {
	t.Helper()
	got, err := d.cached.Find(t.Context(), d.row.ID)
	if err != nil || !reflect.DeepEqual(got, d.row) {
		t.Fatalf("%s: %+v, %v, want %+v", what, got, err, d.row)
	}
}

func (d *damaged) put(t *testing.T, raw string) {
	t.Helper()
	if err := d.client.Set(t.Context(), d.key, raw, time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
}

// Whatever byte of an entry changes, however short it becomes: the row is right, the damage is counted, and a reader puts
// a good entry in its place.
func TestBadEntries(t *testing.T) {
	d := newDamaged(t)
	notEntries := func() uint64 {
		st := d.c.Stats()
		return st.Damaged + st.Fingerprint + st.Epoch + st.Leased + st.Guarded
	}
	for i := range d.good {
		for _, mask := range []byte{0x01, 0x80, 0xff} {
			raw := []byte(d.good)
			raw[i] ^= mask
			d.put(t, string(raw))
			before := notEntries()
			d.right(t, fmt.Sprintf("byte %d ^ %02x", i, mask))
			if notEntries() == before {
				t.Errorf("byte %d ^ %02x is not counted", i, mask)
			}
		}
	}
	// Bytes that pass for a token of somebody's are waited for or respected, until they end.
	for _, kind := range "VLIG" {
		for _, rest := range []string{d.good[1:], "1", "1" + strings.Repeat("x", 16), "1" + strings.Repeat("x", 24), "1" + strings.Repeat("x", 40), "2" + d.good[2:]} {
			raw := string(kind) + rest
			if raw == d.good {
				continue
			}
			d.put(t, raw)
			before := notEntries()
			d.right(t, fmt.Sprintf("%.10q, %d bytes", raw, len(raw)))
			if notEntries() == before {
				t.Errorf("%.10q, %d bytes, is not counted", raw, len(raw))
			}
		}
	}
	for n := range len(d.good) {
		d.put(t, d.good[:n])
		before := d.c.Stats().Damaged
		d.right(t, fmt.Sprintf("the first %d bytes", n))
		if d.c.Stats().Damaged == before {
			t.Errorf("the first %d bytes are not counted", n)
		}
	}
	for _, raw := range []string{d.good + "x", d.good + d.good, d.good[:40] + d.good[41:]} {
		d.put(t, raw)
		d.right(t, "other lengths")
	}
	if d.client.Get(t.Context(), d.key).Val() != d.good {
		t.Error("the entry was not replaced")
	}
	// A good entry of another row, under this key.
	other := d.insert(t, "A-2")
	d.put(t, d.good)
	if err := d.client.Set(t.Context(), strings.TrimSuffix(d.key, fmt.Sprint(d.row.ID))+fmt.Sprint(other.ID), d.good, 0).Err(); err != nil {
		t.Fatal(err)
	}
	before := d.c.Stats().Damaged
	d.finds(t, other.ID, "old")
	if got, err := d.cached.FindMany(t.Context(), []int64{other.ID, d.row.ID}); err != nil || got[0].SKU != "A-2" || got[1].SKU != "A-1" {
		t.Errorf("%+v, %v", got, err)
	}
	if d.c.Stats().Damaged != before+1 {
		t.Error("a copied entry is not counted")
	}
}

// Batches meet damage too.
func TestBadEntriesFindMany(t *testing.T) {
	d := newDamaged(t)
	for i := 0; i < len(d.good); i += 7 {
		raw := []byte(d.good)
		raw[i] ^= 0x55
		d.put(t, string(raw))
		got, err := d.cached.FindMany(t.Context(), []int64{d.row.ID, 999})
		if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], d.row) {
			t.Fatalf("byte %d: %+v, %v", i, got, err)
		}
	}
}

// Somebody else's keys where ours should be: a string, a list, a hash. Reads are right, and the key is ours afterwards.
func TestBadNeighbours(t *testing.T) {
	d := newDamaged(t)
	ctx := t.Context()
	for name, put := range map[string]func() error{
		"string":       func() error { return d.client.Set(ctx, d.key, "hello, world", 0).Err() },
		"empty string": func() error { return d.client.Set(ctx, d.key, "", 0).Err() },
		"number":       func() error { return d.client.Set(ctx, d.key, 42, 0).Err() },
		"list":         func() error { return d.client.RPush(ctx, d.key, "a", "b").Err() },
		"hash":         func() error { return d.client.HSet(ctx, d.key, "a", "b").Err() },
		"set":          func() error { return d.client.SAdd(ctx, d.key, "a").Err() },
		"sorted set":   func() error { return d.client.ZAdd(ctx, d.key, redis.Z{Member: "a"}).Err() },
		"stream": func() error {
			return d.client.XAdd(ctx, &redis.XAddArgs{Stream: d.key, Values: []string{"a", "b"}}).Err()
		},
	} {
		replace := func() {
			d.client.Del(ctx, d.key)
			if err := put(); err != nil {
				t.Fatal(err)
			}
		}
		replace()
		before := d.c.Stats()
		d.right(t, name)
		d.hit(t, d.row.ID, "old")
		if d.c.Stats().Damaged == before.Damaged {
			t.Errorf("%s is not counted", name)
		}
		replace()
		got, err := d.cached.FindMany(ctx, []int64{d.row.ID})
		if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], d.row) {
			t.Errorf("%s, FindMany: %+v, %v", name, got, err)
		}
		// A write does not care, and is not refused.
		replace()
		if n := d.rename(t, d.row.ID, "new"); n != 0 {
			t.Errorf("%s: %d pending", name, n)
		}
		d.finds(t, d.row.ID, "new")
		d.rename(t, d.row.ID, "old")
		if d.row, err = d.plain.Find(ctx, d.row.ID); err != nil {
			t.Fatal(err)
		}
	}
	if st := d.c.Stats(); st.StoreErrors != 0 || st.Opened != 0 {
		t.Errorf("%+v", st)
	}
}

type placeBefore struct {
	ID int64  `db:"id"`
	A  string `db:"a"`
}

type placeAfter struct {
	ID int64   `db:"id"`
	A  string  `db:"a"`
	B  *string `db:"b"`
}

// Two versions of a program share a table, a namespace and a Redis: neither reads the other's entries as its own, and
// each sees the other's writes.
func TestBadVersions(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s := newShop(t)
		s.conn.MustExec(`CREATE TABLE places (id bigint PRIMARY KEY, a text NOT NULL, b text)`)
		s.conn.MustExec(`INSERT INTO places VALUES (1, 'a', 'b')`)
		before := model.MustTable(model.Spec[placeBefore, int64]{Name: "places", Key: "id"})
		after := model.MustTable(model.Spec[placeAfter, int64]{Name: "places", Key: "id"})
		open := func(tables model.Tables) (*cachedrepo.Cache, *txhooks.DB) {
			conn, _ := openCounted(t, s.pg.URL()) // another process
			db := txhooks.New(conn, txhooks.Config{})
			c, err := cachedrepo.New(db, st, cachedrepo.Config{Namespace: ns, Tables: tables, Timeout: patience, Logger: silent()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close(context.Background()) })
			return c, db
		}
		oldCache, oldDB := open(model.Tables{before})
		newCache, newDB := open(model.Tables{after})
		oldOne := cachedrepo.Wrap(oldCache, repo.New(oldDB, before))
		newOne := cachedrepo.Wrap(newCache, repo.New(newDB, after))
		b := "b"
		check := func(a string) {
			t.Helper()
			for range 2 {
				if got, err := oldOne.Find(t.Context(), 1); err != nil || got != (placeBefore{1, a}) {
					t.Errorf("old: %+v, %v", got, err)
				}
				if got, err := newOne.Find(t.Context(), 1); err != nil || !reflect.DeepEqual(got, placeAfter{1, a, &b}) {
					t.Errorf("new: %+v, %v", got, err)
				}
				if got, err := newOne.FindMany(t.Context(), []int64{1}); err != nil || !reflect.DeepEqual(got, []placeAfter{{1, a, &b}}) {
					t.Errorf("new: %+v, %v", got, err)
				}
			}
		}
		check("a")
		if oldCache.Stats().Fingerprint == 0 || newCache.Stats().Fingerprint == 0 {
			t.Error("the other's entries are not counted")
		}
		if _, err := newOne.Modify(t.Context(), 1, func(p *placeAfter) error { p.A = "by new"; return nil }); err != nil {
			t.Fatal(err)
		}
		check("by new")
		if _, err := oldOne.Modify(t.Context(), 1, func(p *placeBefore) error { p.A = "by old"; return nil }); err != nil {
			t.Fatal(err)
		}
		check("by old")
		// When the old ones are gone, the new one's entry stays.
		hits := newCache.Stats().Hits
		for range 3 {
			if _, err := newOne.Find(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		if n := newCache.Stats().Hits - hits; n < 2 {
			t.Errorf("%d hits of 3", n)
		}
	})
}
