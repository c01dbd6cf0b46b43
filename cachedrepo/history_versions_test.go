package cachedrepo_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// shortProduct is the record of another version of the program: it has no tags.
type shortProduct struct {
	ID       int64     `db:"id"`
	SKU      string    `db:"sku"`
	Name     string    `db:"name"`
	Category *int64    `db:"category_id"`
	Version  int       `db:"version,default"`
	Updated  time.Time `db:"updated_at,default"`
}

var shortProducts = model.MustTable(model.Spec[shortProduct, int64]{
	Name: "products", Key: "id", Version: "version",
	Indexes: model.Indexes[shortProduct]{model.NewUnique[shortProduct, string]("sku"), model.NewIndex[shortProduct, int64]("category_id")},
})

// versions starts another version of the program beside a process.
func versions(t *testing.T, p *process, st *parkedStore) (*cachedrepo.Cache, repo.Repository[shortProduct, int64]) {
	t.Helper()
	return versionsOf(t, p, st, 0)
}

// versionsOf is versions with a Config.Build.
func versionsOf(t *testing.T, p *process, st *parkedStore, build uint32) (*cachedrepo.Cache, repo.Repository[shortProduct, int64]) {
	t.Helper()
	conn, _ := openCounted(t, p.pg.URL())
	db := txhooks.New(conn, txhooks.Config{})
	c, err := cachedrepo.New(db, st, cachedrepo.Config{
		Namespace: p.ns, Tables: model.Tables{shortProducts}, Timeout: 2 * patience, LoadTimeout: 2 * patience, Wait: -1, Build: build, Incarnation: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c, cachedrepo.Wrap(c, repo.New(db, shortProducts))
}

// While two versions of a program run, neither serves what the other has stored: what it cannot use it takes over, in one
// step, so that nothing is served in between that an invalidation has missed.
func TestHistoryValueOfAnotherVersionIsTakenOver(t *testing.T) {
	histories(t, func(t *testing.T, long, _ *process, p product) {
		st := parkable(long.store.Store)
		c, short := versions(t, long, st)
		reads := func(name string) {
			t.Helper()
			if got, err := short.Find(t.Context(), p.ID); err != nil || got.SKU != p.SKU || got.Name != name {
				t.Fatalf("%+v, %v, want %q", got, err, name)
			}
		}
		// 1. One version stores its row.
		long.reads(t, p.ID, "old")
		long.hits(t, p.ID, "old")
		// 2. The other finds it, does not use it, takes the key over and stores its own.
		reads("old")
		if s := c.Stats(); s.Fingerprint != 1 || s.Hits != 0 || s.Fills != 1 || s.Damaged != 0 {
			t.Errorf("%+v", s)
		}
		reads("old")
		if hits := c.Stats().Hits; hits != 1 {
			t.Errorf("%d hits", hits)
		}
		// 3. A write by either version ends the entry of the other: the key is the same.
		long.rename(t, p.ID, "new")
		reads("new")
		if _, err := short.Modify(t.Context(), p.ID, func(rec *shortProduct) error { rec.Name = "newer"; return nil }); err != nil {
			t.Fatal(err)
		}
		long.reads(t, p.ID, "newer")
		if got, err := long.Find(t.Context(), p.ID); err != nil || !slices.Equal(got.Tags, pq.StringArray{"a", "b"}) {
			t.Errorf("the tags are %q, %v", got.Tags, err)
		}
	})
}

// What is taken over is exactly what was seen: a value that came in between is looked at again.
func TestHistoryTakeOverOnlyWhatWasSeen(t *testing.T) {
	histories(t, func(t *testing.T, long, _ *process, p product) {
		st := parkable(long.store.Store)
		c, short := versions(t, long, st)
		long.reads(t, p.ID, "old")
		// 1. The short version has seen the long one's value and is about to take it over.
		acquire := st.park(t, "before acquire", about(p))
		r1 := begin(func() (shortProduct, error) { return short.Find(t.Context(), p.ID) })
		acquire.wait(t)
		// 2. A write ends that value, and a reader of the long version is loading the row anew.
		long.rename(t, p.ID, "new")
		fill := long.store.park(t, "before fill", about(p))
		r2 := long.read(t.Context(), p.ID)
		fill.wait(t)
		// 3. The short version does not take the lease away; it reads the database and stores nothing.
		acquire.goOn()
		if got, err := r1.wait(t); err != nil || got.Name != "new" {
			t.Fatalf("%+v, %v", got, err)
		}
		if s := c.Stats(); s.Leased != 1 || s.Fills != 0 {
			t.Errorf("%+v", s)
		}
		fill.goOn()
		ended(t, r2, "new")
		long.hits(t, p.ID, "new")

		// 4. The same, but the long version has stored its new value before the short one asks for the lease.
		acquire = st.park(t, "before acquire", about(p))
		r1 = begin(func() (shortProduct, error) { return short.Find(t.Context(), p.ID) })
		acquire.wait(t)
		long.rename(t, p.ID, "newer")
		long.reads(t, p.ID, "newer")
		long.hits(t, p.ID, "newer")
		// 5. The value is not the one that was seen. It stays, is looked at, and only then taken over.
		st.take()
		acquire.goOn()
		if got, err := r1.wait(t); err != nil || got.Name != "newer" {
			t.Fatalf("%+v, %v", got, err)
		}
		want := []string{"acquire products:" + about(p), "get products:" + about(p), "acquire products:" + about(p), "fill products:" + about(p)}
		if calls := st.take(); !slices.Equal(calls, want) {
			t.Errorf("%q, want %q", calls, want)
		}
	})
}

// A value that is none is a miss, is told apart from another version's, and is replaced.
func TestHistoryForeignValueIsTakenOver(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		lease := store.NewToken()
		r.store.do(t, store.Op{Kind: store.Acquire, Key: r.key(p), Token: lease, TTL: patience})
		r.store.do(t, store.Op{Kind: store.Fill, Key: r.key(p), Token: lease, Value: []byte("something else"), TTL: patience})
		got, err := r.FindMany(t.Context(), []int64{p.ID})
		if err != nil || len(got) != 1 || got[0].Name != "old" {
			t.Fatalf("%+v, %v", got, err)
		}
		w.hits(t, p.ID, "old")
		if damaged := r.cache.Stats().Damaged; damaged != 1 {
			t.Errorf("%d damaged", damaged)
		}
	})
}
