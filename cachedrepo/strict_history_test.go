package cachedrepo_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// The histories of strict mode: the promise is that of default mode, and that no read returns the old row once any read has
// returned the new one. Each has the window between COMMIT and what follows it held open.

// The window of history 4 is closed: who had read before the commit stores nothing after it.
func TestStrictHistory4NobodyGoesBack(t *testing.T) {
	strictHistories(t, func(t *testing.T, r, w *process, p product) {
		// 1. R1 takes the lease and reads the old row.
		fill := r.store.park(t, "before fill", about(p))
		r1 := r.read(t.Context(), p.ID)
		fill.wait(t)
		// 2. W places its intents and commits. What is to follow is under way.
		post := w.store.park(t, "before release", about(p))
		w1 := w.renaming(t.Context(), p.ID, "new")
		post.wait(t)
		// 3. R2 finds the intent, reads the database and returns the new row.
		w.reads(t, p.ID, "new")
		// 4. R1's fill is refused: its lease went with the intent.
		fill.goOn()
		ended(t, r1, "old")
		// 5. Whoever starts now reads the new row, though W has not returned.
		r.reads(t, p.ID, "new")
		w.reads(t, p.ID, "new")
		if w1.returned() {
			t.Error("W returned before its release")
		}
		if st := r.cache.Stats(); st.Refused != 1 || st.Guarded != 1 || st.GuardedReads["products"] != 1 {
			t.Errorf("%d fills refused, %d reads guarded, %v", st.Refused, st.Guarded, st.GuardedReads)
		}
		// 6. W releases and returns; the row is stored again.
		post.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		r.reads(t, p.ID, "new")
		w.hits(t, p.ID, "new")
		w.lostNothing(t)
	})
}

// History 8, the same with reads beside the cache in place of R2: in a transaction and with Bypass. And a batch in place of R1.
func TestStrictHistory8ReadBesideTheCache(t *testing.T) {
	strictHistories(t, func(t *testing.T, r, w *process, p product) {
		// 1. The batch R1 takes the lease and reads the old row.
		fill := r.store.park(t, "before fill", about(p))
		r1 := begin(func() ([]product, error) { return r.FindMany(t.Context(), []int64{p.ID}) })
		fill.wait(t)
		// 2. W commits, between its intents and their release.
		post := w.store.park(t, "before release", about(p))
		w1 := w.renaming(t.Context(), p.ID, "new")
		post.wait(t)
		// 3. Somebody reads the new row in a transaction, and somebody with Bypass.
		err := r.db.Run(t.Context(), func(ctx context.Context) error {
			got, err := r.Find(ctx, p.ID)
			if err == nil && got.Name != "new" {
				t.Errorf("in a transaction: %q", got.Name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Find(cachedrepo.Bypass(t.Context()), p.ID); err != nil || got.Name != "new" {
			t.Errorf("with Bypass: %q, %v", got.Name, err)
		}
		// 4. R1's fill is refused.
		fill.goOn()
		if got, err := r1.wait(t); err != nil || len(got) != 1 || got[0].Name != "old" {
			t.Errorf("%+v, %v", got, err)
		}
		// 5. Nobody reads the old row, one by one or in a batch, and nobody stores the new one.
		r.reads(t, p.ID, "new")
		for range 2 {
			if got, err := r.FindMany(t.Context(), []int64{p.ID}); err != nil || len(got) != 1 || got[0].Name != "new" {
				t.Errorf("a batch: %+v, %v", got, err)
			}
		}
		if st := r.cache.Stats(); st.Hits != 0 || st.Fills != 0 || st.Guarded != 3 {
			t.Errorf("%d hits, %d fills, %d reads guarded", st.Hits, st.Fills, st.Guarded)
		}
		post.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		r.reads(t, p.ID, "new")
		r.hits(t, p.ID, "new")
		w.lostNothing(t)
	})
}

// A writer that comes between the two looks of a batch: the lease is asked for and an intent found.
func TestStrictIntentBetweenTheLooksOfABatch(t *testing.T) {
	strictHistories(t, func(t *testing.T, r, w *process, p product) {
		acquire := r.store.park(t, "before acquire", about(p))
		r1 := begin(func() ([]product, error) { return r.FindMany(t.Context(), []int64{p.ID}) })
		acquire.wait(t)
		post := w.store.park(t, "before release", about(p))
		w1 := w.renaming(t.Context(), p.ID, "new")
		post.wait(t)
		acquire.goOn()
		if got, err := r1.wait(t); err != nil || len(got) != 1 || got[0].Name != "new" {
			t.Errorf("%+v, %v", got, err)
		}
		if st := r.cache.Stats(); st.Guarded != 1 || st.Fills != 0 {
			t.Errorf("%d guarded, %d fills", st.Guarded, st.Fills)
		}
		post.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
	})
}

// Each transaction has a token of its own: with one in all, the release of one would end the protection of another, whose
// row is not there yet (history 9).
func TestStrictHistory9TwoWriters(t *testing.T) {
	strictHistories(t, func(t *testing.T, r, w *process, p product) {
		q := w.insert(t, "A-2")
		move := func(of *process, id int64, sku string) *pending[product] {
			return begin(func() (product, error) {
				return of.Modify(t.Context(), id, func(rec *product) error { rec.SKU = sku; return nil })
			})
		}
		// 1. W1 moves a row from. It has its intents, the one at A-9 included.
		one := w.store.park(t, "after intend", "sku:A-9")
		w1 := move(w, q.ID, "A-9")
		one.wait(t)
		// 2. R looks for A-9 and finds an intent: nobody is there yet, and that is not stored.
		if _, err := r.FindBy(t.Context(), strictSKU.Eq("A-9")); !errors.Is(err, model.ErrNotFound) {
			t.Fatal(err)
		}
		// 3. W2, in R's process, has an intent at A-9 too: it announces whatever row may be there, and there is none for it.
		two := r.store.park(t, "after intend", about(p))
		w2 := begin(func() (product, error) {
			return product{}, r.db.Run(t.Context(), func(ctx context.Context) error {
				if err := txhooks.Touch(ctx, strictSKU.Eq("A-9"), strictProducts.Row(p.ID)); err != nil {
					return err
				}
				_, err := r.db.ExecContext(ctx, `UPDATE products SET name = 'new' WHERE id = $1`, p.ID)
				return err
			})
		})
		two.wait(t)
		// 4. W2 commits, releases and returns. W1's token is still there.
		two.goOn()
		if _, err := w2.wait(t); err != nil {
			t.Fatal(err)
		}
		if got := r.store.state(t, r.ns+":products:sku:A-9"); got.State != store.Intent {
			t.Errorf("W2 took W1's intent along: %+v", got)
		}
		// 5. R reads nothing at A-9, and stores nothing.
		if _, err := r.FindBy(t.Context(), strictSKU.Eq("A-9")); !errors.Is(err, model.ErrNotFound) {
			t.Fatal(err)
		}
		// 6. W1 commits and returns: the row is there.
		one.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := r.FindBy(t.Context(), strictSKU.Eq("A-9")); err != nil || got.ID != q.ID {
				t.Fatalf("%+v, %v", got, err)
			}
		}
		w.lostNothing(t)
		r.lostNothing(t)
	})
}

// A row that moves has its intents where it was and where it will be: under both keys somebody has read what was so before.
func TestStrictBothKeysOfARowThatMoves(t *testing.T) {
	strictHistories(t, func(t *testing.T, r, w *process, p product) {
		by := func(sku string) (product, error) { return r.FindBy(t.Context(), strictSKU.Eq(sku)) }
		// 1. R1 has read the row at A-1, R2 that there is none at A-9. Both have their leases.
		fill1, fill2 := r.store.park(t, "before fill", "sku:A-1"), r.store.park(t, "before fill", "sku:A-9")
		r1 := begin(func() (product, error) { return by("A-1") })
		r2 := begin(func() (product, error) { return by("A-9") })
		fill1.wait(t)
		fill2.wait(t)
		// 2. W moves the row from. It has committed.
		post := w.store.park(t, "before release", "sku:A-9")
		w1 := begin(func() (product, error) {
			return w.Modify(t.Context(), p.ID, func(rec *product) error { rec.SKU = "A-9"; return nil })
		})
		post.wait(t)
		// 3. What the two have read is not stored.
		fill1.goOn()
		fill2.goOn()
		if got, err := r1.wait(t); err != nil || got.ID != p.ID {
			t.Errorf("R1: %+v, %v", got, err)
		}
		if _, err := r2.wait(t); !errors.Is(err, model.ErrNotFound) {
			t.Errorf("R2: %v", err)
		}
		if got, err := by("A-1"); !errors.Is(err, model.ErrNotFound) {
			t.Errorf("where it was: %+v, %v", got, err)
		}
		if got, err := by("A-9"); err != nil || got.ID != p.ID {
			t.Errorf("where it is: %+v, %v", got, err)
		}
		post.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		w.lostNothing(t)
	})
}

// An intent was evicted, and a reader has the lease when W commits. W's release does not find its token, and ends the lease:
// P1. It is counted.
func TestStrictHistory10IntentEvicted(t *testing.T) {
	strictHistories(t, func(t *testing.T, r, w *process, p product) {
		// 1. W has its intents.
		placed := w.store.park(t, "after intend", about(p))
		w1 := w.renaming(t.Context(), p.ID, "new")
		placed.wait(t)
		// 2. The intent at the key is evicted.
		w.store.evict(t, w.key(p))
		// 3. R takes the lease and reads the old row.
		fill := r.store.park(t, "before fill", about(p))
		r1 := r.read(t.Context(), p.ID)
		fill.wait(t)
		// 4. W commits, and returns.
		placed.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		// 5. R's fill is refused, and the new row is read.
		fill.goOn()
		ended(t, r1, "old")
		r.reads(t, p.ID, "new")
		r.hits(t, p.ID, "new")
		if st := w.cache.Stats(); st.Lost != 1 {
			t.Errorf("%d intents lost, want 1", st.Lost)
		}
	})
}

// History 11: the same, and R stores the old row after another has read the new one. That cannot be prevented; it ends with
// W's release, and is counted.
func TestStrictHistory11IntentLost(t *testing.T) {
	strictHistories(t, func(t *testing.T, r, w *process, p product) {
		// 1. W has its intents; that at the key is evicted.
		placed := w.store.park(t, "after intend", about(p))
		post := w.store.park(t, "before release", about(p))
		w1 := w.renaming(t.Context(), p.ID, "new")
		placed.wait(t)
		w.store.evict(t, w.key(p))
		// 2. R1 takes the lease and reads the old row. W commits.
		fill := r.store.park(t, "before fill", about(p))
		r1 := r.read(t.Context(), p.ID)
		fill.wait(t)
		placed.goOn()
		post.wait(t)
		// 3. R2 reads the new row, R1 stores the old one, R3 hits it: this is what is lost with an intent.
		w.reads(t, p.ID, "new")
		fill.goOn()
		ended(t, r1, "old")
		r.hits(t, p.ID, "old")
		// 4. It ends before W returns.
		post.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		r.reads(t, p.ID, "new")
		if st := w.cache.Stats(); st.Lost != 1 {
			t.Errorf("%d intents lost, want 1", st.Lost)
		}
	})
}

// A default-mode writer, or a relay, must not take the intent of another with it (history 12).
func TestStrictHistory12InvalidationLeavesIntents(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s.empty(t)
		r := s.strictly(t, st, ns, cachedrepo.Config{Wait: -1})
		w := s.strictly(t, st, ns, cachedrepo.Config{Wait: -1})
		d := s.process(t, st, ns, cachedrepo.Config{Wait: -1}) // a process in default mode
		p := s.insert(t, "A-1")
		// 1. D has committed; its invalidation is under way.
		late := d.store.park(t, "before invalidate", about(p))
		d1 := d.renaming(t.Context(), p.ID, "first")
		late.wait(t)
		// 2. W has its intents.
		placed := w.store.park(t, "after intend", about(p))
		w1 := w.renaming(t.Context(), p.ID, "second")
		placed.wait(t)
		// 3. D's invalidation arrives, and whatever else invalidates: the intent stays.
		late.goOn()
		if _, err := d1.wait(t); err != nil {
			t.Fatal(err)
		}
		if err := d.cache.Invalidate(t.Context(), products.Row(p.ID)); err != nil {
			t.Fatal(err)
		}
		if got := r.store.state(t, r.key(p)); got.State != store.Intent {
			t.Fatalf("the key holds %+v", got)
		}
		// 4. So R1 stores nothing, and nobody reads the first row after the second.
		r.reads(t, p.ID, "first")
		placed.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		if fills := r.cache.Stats().Fills; fills != 0 {
			t.Errorf("%d fills", fills)
		}
		r.reads(t, p.ID, "second")
		r.hits(t, p.ID, "second")
		// 5. D reads what strict writers wrote, for they end its entries as well.
		d.hits(t, p.ID, "second")
		w.rename(t, p.ID, "third")
		d.reads(t, p.ID, "third")
		w.lostNothing(t)
	})
}

// The database is read after the lease was granted, and what was read under a lease that an intent has ended is not stored.
func TestStrictHistory14ReadAfterTheLease(t *testing.T) {
	strictHistories(t, func(t *testing.T, r, w *process, p product) {
		readAfterTheLease(t, r, w, p, func(ctx context.Context) (product, error) { return r.Find(ctx, p.ID) })
	})
}

// A transaction that reads from a snapshot of its own stores nothing, and a strict transaction neither looks at its own
// intents nor shows anybody what it has not committed (history 15).
func TestStrictHistory15NothingIsSeenBeforeCommit(t *testing.T) {
	for _, outcome := range []txhooks.Outcome{txhooks.Committed, txhooks.RolledBack} {
		t.Run(outcome.String(), func(t *testing.T) {
			strictHistories(t, func(t *testing.T, r, w *process, p product) {
				notOne := errors.New("changed my mind")
				r.reads(t, p.ID, "old")
				err := r.db.RunWith(t.Context(), txhooks.Options{Isolation: sql.LevelRepeatableRead}, func(snapshot context.Context) error {
					if _, err := r.Count(snapshot, strictCategory.Eq(1)); err != nil {
						return err
					}
					err := w.db.Run(t.Context(), func(ctx context.Context) error {
						// 1. W writes, and reads its own write. There is no intent yet: others hit the old row.
						if err := renameIn(ctx, w, p.ID, "new"); err != nil {
							return err
						}
						if got, err := w.Find(ctx, p.ID); err != nil || got.Name != "new" {
							t.Errorf("W reads %q, %v", got.Name, err)
						}
						r.hits(t, p.ID, "old")
						if outcome == txhooks.RolledBack {
							return notOne
						}
						return nil
					})
					if outcome == txhooks.RolledBack {
						if !errors.Is(err, notOne) {
							return err
						}
						r.hits(t, p.ID, "old") // nothing was announced
						return nil
					}
					if err != nil {
						return err
					}
					// 2. The snapshot still has the old row, and stores nothing.
					got, err := r.Find(snapshot, p.ID)
					if err == nil && got.Name != "old" {
						t.Errorf("in the snapshot: %q", got.Name)
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				if outcome == txhooks.Committed {
					r.reads(t, p.ID, "new")
					w.hits(t, p.ID, "new")
				}
				w.lostNothing(t)
			})
		})
	}
}

// S2: readers at a key with an intent share a load that has not been sent, and join none that has (S0).
func TestStrictHistory13Flights(t *testing.T) {
	strictHistories(t, func(t *testing.T, r, w *process, p product) {
		// 1. W has its intents and has not committed.
		placed := w.store.park(t, "after intend", about(p))
		post := w.store.park(t, "before release", about(p))
		w1 := w.renaming(t.Context(), p.ID, "new")
		placed.wait(t)
		// 2. R1 reads the old row. Its load is still running when W commits.
		load := r.plain.park(t, "after query", about(p))
		r1 := r.read(t.Context(), p.ID)
		load.wait(t)
		placed.goOn()
		post.wait(t)
		// 3. Somebody reads the new row: from now on nobody may read the old one.
		w.reads(t, p.ID, "new")
		// 4. R2 and R3 start. Neither joins R1's load; both share the next one.
		later := []*pending[product]{r.read(t.Context(), p.ID), r.read(t.Context(), p.ID)}
		until(t, "two to queue", func() bool { return cachedrepo.Queued(r.cache, r.key(p)) == 2 })
		load.goOn()
		ended(t, r1, "old")
		for _, l := range later {
			ended(t, l, "new")
		}
		post.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		if calls := r.store.take(); slices.ContainsFunc(calls, func(c string) bool { return c == "fill products:"+about(p) }) {
			t.Errorf("something was stored: %q", calls)
		}
	})
}
