package cachedrepo_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// Loads under a lease go to the replica, all else to the primary.
func TestReplicaLoads(t *testing.T) {
	laggards(t, func(t *testing.T, c *copied, r, _ *process, p product) {
		// Somebody who does not invalidate, so that one can tell the two servers apart.
		if _, err := c.conn.ExecContext(t.Context(), `UPDATE products SET name = 'new'`); err != nil {
			t.Fatal(err)
		}
		r.fromReplica(t, true, func() { r.reads(t, p.ID, "old") })
		r.hits(t, p.ID, "old")
		r.fromReplica(t, true, func() {
			if got, err := r.FindBy(t.Context(), bySKU.Eq("A-1")); err != nil || got.Name != "old" {
				t.Errorf("%q, %v", got.Name, err)
			}
		})
		r.fromReplica(t, true, func() {
			if _, err := r.Find(t.Context(), p.ID+1); !errors.Is(err, model.ErrNotFound) {
				t.Error(err)
			}
		})
		for name, ctx := range map[string]context.Context{
			"bypass": cachedrepo.Bypass(t.Context()), "bypass, replica undone": txhooks.OnPrimary(txhooks.OnReplica(cachedrepo.Bypass(t.Context()))),
		} {
			if got, err := r.Find(ctx, p.ID); err != nil || got.Name != "new" {
				t.Errorf("%s: %q, %v", name, got.Name, err)
			}
		}
		if got, err := r.Find(txhooks.OnReplica(cachedrepo.Bypass(t.Context())), p.ID); err != nil || got.Name != "old" {
			t.Errorf("whoever asks for a replica: %q, %v", got.Name, err)
		}
		if err := r.db.Run(txhooks.OnReplica(t.Context()), func(ctx context.Context) error {
			got, err := r.Find(ctx, p.ID)
			if got.Name != "new" {
				t.Errorf("in a transaction: %q", got.Name)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	})
}

// A batch goes to the replica if all of its keys may.
func TestReplicaLoadsBatch(t *testing.T) {
	laggards(t, func(t *testing.T, c *copied, r, w *process, p product) {
		c.standby.Resume()
		q, s, u := c.insert(t, "A-2"), c.insert(t, "A-3"), c.insert(t, "A-4")
		proven(t, r, p, q, s, u)
		c.standby.Pause()
		if _, err := c.conn.ExecContext(t.Context(), `UPDATE products SET name = 'newer' WHERE id <> $1`, q.ID); err != nil {
			t.Fatal(err)
		}
		names := func(want ...string) func() {
			return func() {
				t.Helper()
				got, err := r.FindMany(t.Context(), []int64{p.ID, q.ID}[:len(want)])
				if err != nil || len(got) != len(want) {
					t.Fatalf("%+v, %v", got, err)
				}
				for i := range want {
					if got[i].Name != want[i] {
						t.Errorf("row %d: %q, want %q", i, got[i].Name, want[i])
					}
				}
			}
		}
		r.fromReplica(t, true, names("old"))
		w.rename(t, q.ID, "new")
		r.fromReplica(t, false, names("old", "new")) // of which the first is a hit
		w.rename(t, s.ID, "new")
		w.rename(t, p.ID, "new")
		r.fromReplica(t, false, names("new", "new"))
		w.rename(t, q.ID, "newest")
		r.fromReplica(t, false, func() { // of which the second has no mark
			if got, err := r.FindMany(t.Context(), []int64{q.ID, u.ID}); err != nil || len(got) != 2 || got[0].Name != "newest" {
				t.Errorf("%+v, %v", got, err)
			}
		})
	})
}

// History 16: W commits, invalidates and returns; R takes the lease and reads a replica that has not replayed the commit.
func TestHistory16ReplicaBehind(t *testing.T) {
	laggards(t, func(t *testing.T, c *copied, r, w *process, p product) {
		w.rename(t, p.ID, "new")
		before := r.cache.Stats().Marked
		r.fromReplica(t, false, func() { r.reads(t, p.ID, "new") })
		r.hits(t, p.ID, "new")
		if r.cache.Stats().Marked == before {
			t.Error("not counted")
		}
		r.fromReplica(t, false, func() {
			if got, err := r.FindBy(t.Context(), bySKU.Eq("A-1")); err != nil || got.Name != "new" {
				t.Errorf("by sku: %q, %v", got.Name, err)
			}
		})
		// "Not found" is a value like others, also where a row is to come.
		if err := w.Delete(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Find(t.Context(), p.ID); !errors.Is(err, model.ErrNotFound) {
			t.Errorf("the replica has the row still: %v", err)
		}
		q, err := w.Insert(t.Context(), product{SKU: "A-2", Name: "new"})
		if err != nil {
			t.Fatal(err)
		}
		r.reads(t, q.ID, "new")
		// The replay goes on, and nothing has gone wrong meanwhile.
		c.standby.Resume()
		c.standby.CatchUp()
		r.hits(t, q.ID, "new")
	})
}

// The same where a mark is in one script with what it belongs to, which the stores of the other histories do not do.
func TestHistory16InOneScript(t *testing.T) {
	c := newCopied(t)
	server := testenv.Redis(t)
	for name, st := range map[string]store.Store{"redis": redisstore.New(server.Client(t)), "memory": memstore.New(memstore.Config{})} {
		t.Run(name, func(t *testing.T) {
			conn, sent := openCounted(t, c.pg.URL())
			db := txhooks.New(conn, txhooks.Config{Replicas: []*sqlx.DB{c.standby.Open(t)}})
			r := &process{shop: &shop{c.pg, conn, db, repo.New(db, products), sent}, store: parkable(st), ns: server.Prefix()}
			r.cache = r.shop.cache(t, st, cachedrepo.Config{
				Namespace: r.ns, Wait: -1, Timeout: patience, Probe: -1, Replicas: cachedrepo.ReplicaConfig{MaxLag: patience},
			})
			r.Repository = cachedrepo.Wrap[product, int64](r.cache, r.shop.plain)
			p, q := c.insert(t, name+"-1"), c.insert(t, name+"-2")
			proven(t, r, p, q)
			c.standby.Pause()
			defer c.standby.Resume()
			r.fromReplica(t, true, func() { r.reads(t, q.ID, "old") })
			r.rename(t, p.ID, "new")
			r.rename(t, q.ID, "new")
			r.fromReplica(t, false, func() { r.reads(t, p.ID, "new") })
			r.hits(t, p.ID, "new")
			r.fromReplica(t, false, func() {
				if got, err := r.FindMany(t.Context(), []int64{p.ID, q.ID}); err != nil || len(got) != 2 || got[1].Name != "new" {
					t.Errorf("%+v, %v", got, err)
				}
			})
		})
	}
}

// History 16 with a mark that comes after the invalidation: R takes the lease between the two and finds none.
func TestHistory16MarkComesFirst(t *testing.T) {
	laggards(t, func(t *testing.T, _ *copied, r, w *process, p product) {
		// 1. W has committed and invalidated, and has not returned.
		post := w.store.park(t, "after invalidate", about(p))
		w1 := w.renaming(t.Context(), p.ID, "new")
		post.wait(t)
		// 2. R takes the lease, looks for the mark, loads, stores.
		r.reads(t, p.ID, "new")
		// 3. W returns.
		post.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		r.hits(t, p.ID, "new")
	})
}

// History 16 with a reader who looks for the mark before it has the lease: W writes between the two.
func TestHistory16MarkIsLookedAtLast(t *testing.T) {
	laggards(t, func(t *testing.T, _ *copied, r, w *process, p product) {
		// 1. R has missed, and has not got the lease.
		lease := r.store.park(t, "before acquire", about(p))
		r1 := r.read(t.Context(), p.ID)
		lease.wait(t)
		// 2. W commits, invalidates and returns.
		w.rename(t, p.ID, "new")
		// 3. R gets the lease, which nobody will end.
		lease.goOn()
		if _, err := r1.wait(t); err != nil {
			t.Fatal(err)
		}
		w.reads(t, p.ID, "new")
		r.hits(t, p.ID, "new")
	})
}

// What was read from a replica before the write is not stored after it.
func TestReplicaLateFillIsRefused(t *testing.T) {
	laggards(t, func(t *testing.T, _ *copied, r, w *process, p product) {
		query := r.plain.park(t, "after query", about(p))
		r1 := r.read(t.Context(), p.ID)
		query.wait(t)
		w.rename(t, p.ID, "new")
		query.goOn()
		ended(t, r1, "old") // which began before W returned
		if n := r.cache.Stats().Refused; n != 1 {
			t.Errorf("%d fills refused", n)
		}
		r.reads(t, p.ID, "new")
		r.hits(t, p.ID, "new")
	})
}

// Two writers: while W2 has committed and has not armed its mark, one reader may see its row and another not; that is the
// default mode. Once W2 has returned nobody sees the old one.
func TestReplicaTwoWriters(t *testing.T) {
	laggards(t, func(t *testing.T, _ *copied, r, w *process, p product) {
		w.rename(t, p.ID, "first")
		mark := w.store.park(t, "before intend", about(p)+"}")
		w2 := w.renaming(t.Context(), p.ID, "second")
		mark.wait(t)
		// The mark of W1 stands still, so R reads the primary, and what it stores W2 will end.
		r.fromReplica(t, false, func() { r.reads(t, p.ID, "second") })
		mark.goOn()
		if _, err := w2.wait(t); err != nil {
			t.Fatal(err)
		}
		r.fromReplica(t, false, func() { r.reads(t, p.ID, "second") })
		r.hits(t, p.ID, "second")
	})
}

// strictly starts a process with a strict table that may read the replica.
func (c *copied) strictly(t *testing.T, st store.Store) *process {
	t.Helper()
	conn, sent := openCounted(t, c.pg.URL())
	db := txhooks.New(conn, txhooks.Config{Replicas: []*sqlx.DB{c.standby.Open(t)}})
	plain := repo.New(db, strictProducts)
	p := &process{shop: &shop{c.pg, conn, db, plain, sent}, store: parkable(st), ns: "shop"}
	cache, err := cachedrepo.New(db, p.store, cachedrepo.Config{
		Namespace: "shop", Tables: model.Tables{strictProducts}, Timeout: 2 * patience, Probe: -1, Wait: -1,
		Replicas: cachedrepo.ReplicaConfig{MaxLag: patience},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cache.Close(context.Background()) })
	p.cache, p.Repository = cache, cachedrepo.Wrap[product, int64](cache, plain)
	return p
}

// A strict writer marks its keys with its intents, so that from then on nobody reads a replica: no reader goes back in time.
func TestReplicaStrict(t *testing.T) {
	c := newCopied(t)
	st := memstore.New(memstore.Config{})
	r, w := c.strictly(t, st), c.strictly(t, st)
	p := c.insert(t, "A-1")
	proven(t, r, p)
	c.standby.Pause()
	// 1. R has the lease, and has read the old row from the replica.
	fill := r.store.park(t, "before fill", about(p))
	r1 := r.read(t.Context(), p.ID)
	fill.wait(t)
	// 2. W has placed its marks and intents.
	intent := w.store.park(t, "after intend", "sku:A-1")
	w1 := w.renaming(t.Context(), p.ID, "new")
	intent.wait(t)
	r.fromReplica(t, false, func() { r.reads(t, p.ID, "old") })
	// 3. W commits, and has not released.
	release := w.store.park(t, "before release", about(p))
	intent.goOn()
	release.wait(t)
	r.fromReplica(t, false, func() { r.reads(t, p.ID, "new") })
	fill.goOn()
	ended(t, r1, "old")
	r.fromReplica(t, false, func() { r.reads(t, p.ID, "new") })
	// 4. W returns.
	release.goOn()
	if _, err := w1.wait(t); err != nil {
		t.Fatal(err)
	}
	r.fromReplica(t, false, func() { r.reads(t, p.ID, "new") })
	r.hits(t, p.ID, "new")
}

// A strict writer dies when it has committed. Its intent ends at the deadline, and its mark is all that is left then.
func TestReplicaStrictWriterDies(t *testing.T) {
	c := newCopied(t)
	var ahead atomic.Int64
	st := memstore.New(memstore.Config{Clock: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	r, w := c.strictly(t, st), c.strictly(t, st)
	p := c.insert(t, "A-1")
	proven(t, r, p)
	c.standby.Pause()
	// 1. W has placed its intents, and takes its time.
	intent := w.store.park(t, "after intend", "sku:A-1")
	w1 := w.renaming(t.Context(), p.ID, "new")
	intent.wait(t)
	ahead.Store(int64(29 * time.Second))
	// 2. It has committed, and nothing is heard of it any more: neither the marks nor the end of its intents.
	mark := w.store.park(t, "before intend", about(p)+"}")
	intent.goOn()
	mark.wait(t)
	// 3. Its intent has ended, and R gets the lease.
	ahead.Store(int64(40 * time.Second))
	r.fromReplica(t, false, func() { r.reads(t, p.ID, "new") })
	r.hits(t, p.ID, "new")
	mark.goOn()
	if _, err := w1.wait(t); err != nil {
		t.Fatal(err)
	}
}
