package cachedrepo_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// Each test here is a history: an order of events in which one rule of the protocol matters, and in which a cache without
// that rule gives a wrong answer. "Old" is the row before W's write, "new" the row after it. R reads, W writes.
//
// The processes r and w share a database and a store and nothing else.

// histories runs a history on Redis and in memory, with a product whose name is "old".
func histories(t *testing.T, test func(t *testing.T, r, w *process, p product)) {
	t.Helper()
	t.Parallel()
	s := newShop(t)
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s.empty(t)
		r := s.process(t, st, ns, cachedrepo.Config{Wait: -1})
		w := s.process(t, st, ns, cachedrepo.Config{Wait: -1})
		test(t, r, w, s.insert(t, "A-1"))
	})
}

func about(p product) string { return fmt.Sprint("id:", p.ID) }

// Naive cache-aside lets the late SET win, and the old row stays for good.
func TestHistory1FillAfterTheWriteIsRefused(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		// 1. R misses, takes the lease and reads the old row.
		fill := r.store.park(t, "before fill", about(p))
		r1 := r.read(t.Context(), p.ID)
		fill.wait(t)
		// 2. W commits, invalidates and returns.
		w.rename(t, p.ID, "new")
		// 3. Only now R's fill arrives. R may return the old row, for R began before W ended.
		r.store.take()
		fill.goOn()
		ended(t, r1, "old")
		// 4. The fill was refused: the lease that it was guarded by had gone with the invalidation.
		if calls := r.store.take(); !slices.Equal(calls, []string{"fill products:" + about(p) + " refused"}) {
			t.Errorf("the late fill: %q", calls)
		}
		// 5. What is read from here on is new, and stored.
		w.reads(t, p.ID, "new")
		r.hits(t, p.ID, "new")
	})
}

// The same for a batch: the fill of one row is refused, that of another row is not.
func TestHistory1FindMany(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		q := w.insert(t, "A-2")
		// 1. R takes both leases and reads both rows.
		fill := r.store.park(t, "before fill", about(p))
		r1 := begin(func() ([]product, error) { return r.FindMany(t.Context(), []int64{p.ID, q.ID}) })
		fill.wait(t)
		// 2. W changes one of them.
		w.rename(t, p.ID, "new")
		// 3. R's fill arrives.
		r.store.take()
		fill.goOn()
		if got, err := r1.wait(t); err != nil || len(got) != 2 {
			t.Fatalf("%+v, %v", got, err)
		}
		want := []string{"fill products:" + about(p) + " refused", "fill products:" + about(q)}
		if calls := r.store.take(); !slices.Equal(calls, want) {
			t.Errorf("the late fill: %q, want %q", calls, want)
		}
		// 4. The next batch finds one row in the store and the other in the database.
		got, err := r.FindMany(t.Context(), []int64{p.ID, q.ID})
		if err != nil || len(got) != 2 || got[0].Name != "new" || got[1].Name != "old" {
			t.Fatalf("%+v, %v", got, err)
		}
		if hits := r.cache.Stats().Hits; hits != 1 {
			t.Errorf("%d hits, want 1", hits)
		}
	})
}

// Deleting first and committing then leaves time to store the old row once more.
func TestHistory2ReadBetweenStatementAndCommit(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		var r2 *pending[product]
		late := r.store.park(t, "before fill", "sku:A-1")
		post := w.store.park(t, "after invalidate", about(p))
		w1 := begin(func() (product, error) {
			return product{}, w.db.Run(t.Context(), func(ctx context.Context) error {
				// 1. W has sent its statement and not committed. To everybody else the row is the old one.
				if err := renameIn(ctx, w, p.ID, "new"); err != nil {
					return err
				}
				// 2. R misses, reads the old row and stores it: a right answer.
				r.reads(t, p.ID, "old")
				r.hits(t, p.ID, "old")
				// 3. Another entry of that row, by its other key: R2 has read it and has not stored it yet.
				r2 = begin(func() (product, error) { return r.FindBy(t.Context(), bySKU.Eq("A-1")) })
				late.wait(t)
				return nil
			})
		})
		// 4. W has committed and invalidated, in this order. What was stored in between is gone, and whoever reads and stores
		// after the invalidation finds the row committed.
		post.wait(t)
		r.reads(t, p.ID, "new")
		r.hits(t, p.ID, "new")
		// 5. W returns.
		post.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		r.hits(t, p.ID, "new")
		// 6. What arrives only now is refused.
		late.goOn()
		ended(t, r2, "old")
		if got, err := r.FindBy(t.Context(), bySKU.Eq("A-1")); err != nil || got.Name != "new" {
			t.Fatalf("by sku: %q, %v", got.Name, err)
		}
	})
}

// Writing the row into the cache after the commit lets two writers finish in the other order.
func TestHistory3PostStepsInTheOtherOrder(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		// 1. W1 commits; what it has to tell the store is under way.
		post := w.store.park(t, "before invalidate", about(p))
		w1 := w.renaming(t.Context(), p.ID, "first")
		post.wait(t)
		// 2. W2 commits after it, tells the store and returns.
		w.rename(t, p.ID, "second")
		// 3. R stores what is in the database.
		r.reads(t, p.ID, "second")
		r.hits(t, p.ID, "second")
		// 4. W1's message arrives, late. It brings no row along, hence no old one.
		post.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		// 5. It cost a hit, no more.
		w.reads(t, p.ID, "second")
		r.hits(t, p.ID, "second")
	})
}

// The default mode is not linearizable. This is the window, exactly: from a commit to its invalidation, a reader may see
// the old row after another has seen the new one. It closes when W returns. A change that closes it earlier is welcome to
// change this test; the documentation says the same.
func TestHistory4WindowBetweenCommitAndInvalidation(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		// 1. R1 takes the lease and reads the old row.
		fill := r.store.park(t, "before fill", about(p))
		r1 := r.read(t.Context(), p.ID)
		fill.wait(t)
		// 2. W commits. Its invalidation is under way, W has not returned.
		post := w.store.park(t, "before invalidate", about(p))
		w1 := w.renaming(t.Context(), p.ID, "new")
		post.wait(t)
		// 3. R2, in another process, finds R1's lease, reads the database and returns the new row.
		w.reads(t, p.ID, "new")
		if leased := w.cache.Stats().Leased; leased != 1 {
			t.Fatalf("R2 found no lease: %d", leased)
		}
		// 4. R1's fill is accepted: nobody has ended its lease.
		fill.goOn()
		ended(t, r1, "old")
		// 5. R3 starts after R2 has returned new, and hits the old row.
		w.hits(t, p.ID, "old")
		// 6. W's invalidation arrives, W returns. From here on nobody reads the old row: P1.
		if w1.returned() {
			t.Error("W returned before its invalidation")
		}
		post.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		r.reads(t, p.ID, "new")
		w.hits(t, p.ID, "new")
	})
}

// slowCommit has the server wait in COMMIT, after all statements, for an advisory lock that the test holds.
const slowCommit = shopSchema + `;
	CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_advisory_xact_lock_shared(6); RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER slow_commit AFTER UPDATE ON products DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION wait_for_the_test()`

// A COMMIT whose answer is lost may take effect later than the invalidation that follows it. One invalidation is useless
// then; the repeated ones heal what the server commits before the last of them.
func TestHistory6InDoubt(t *testing.T) {
	schedule := []time.Duration{time.Second, 10 * time.Second, time.Minute}
	for _, c := range []struct {
		name   string
		before int // how many of the repeats run before the server commits
	}{
		{"commits before the first repeat", 0},
		{"commits before the last repeat", 2},
		{"commits after the last repeat", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pg := testenv.PostgresWith(t, slowCommit)
			s := (&shop{pg: pg}).again(t, pg.URL())
			stores(t, func(t *testing.T, st store.Store, ns string) {
				s.empty(t)
				p := s.insert(t, "A-1")
				proxy := faults.NewPostgresProxy(t, pg.Addr())
				r := s.process(t, st, ns, cachedrepo.Config{})
				w := s.processAt(t, pg.URLThrough(proxy.Addr()), st, ns, cachedrepo.Config{})
				repeat := make(map[time.Duration]chan time.Time)
				for _, d := range schedule {
					repeat[d] = make(chan time.Time, 1)
				}
				cachedrepo.RepeatBy(w.cache, func(d time.Duration) <-chan time.Time { return repeat[d] })
				release := holdCommits(t, s)
				r.reads(t, p.ID, "old")

				// 1. W sends COMMIT. The server is at it, and will be for a while.
				commit := proxy.OnCommit(faults.DropReplies)
				w1 := w.renaming(t.Context(), p.ID, "new")
				receive(t, commit.Fired(), "COMMIT")
				until(t, "the server's COMMIT", func() bool {
					return one[int](t, s, `
					SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
					AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`) == 1
				})
				// 2. The connection breaks. W invalidates, and returns that nobody knows.
				proxy.Cut()
				if _, err := w1.wait(t); !errors.Is(err, model.ErrInDoubt) {
					t.Fatalf("W returned %v, want in doubt", err)
				}
				if n := w.cache.Stats().InDoubt; n != 1 {
					t.Errorf("%d transactions in doubt", n)
				}
				if got := r.store.state(t, r.key(p)); got.State != store.Absent {
					t.Errorf("W has not invalidated: %+v", got)
				}
				w.store.take()
				fire := func(n int) {
					gone := w.store.park(t, "after invalidate", about(p))
					repeat[schedule[n]] <- time.Time{}
					gone.wait(t)
					gone.goOn()
				}
				for n := range c.before {
					fire(n)
				}
				// 3. R reads the old row, which it still is, and stores it.
				r.reads(t, p.ID, "old")
				// 4. The server commits.
				release()
				until(t, "the commit", func() bool { return one[string](t, s, `SELECT name FROM products`) == "new" })
				// 5. R hits the old row.
				r.hits(t, p.ID, "old")
				if c.before == len(schedule) {
					// 6. And goes on doing so until the entry's TTL. Whoever learns of it can say so.
					if err := r.cache.Invalidate(t.Context(), products.Row(p.ID)); err != nil {
						t.Fatal(err)
					}
				} else {
					// 6. The invalidation is repeated.
					fire(c.before)
				}
				// 7. It heals.
				r.reads(t, p.ID, "new")
				r.hits(t, p.ID, "new")
			})
		})
	}
}

// holdCommits has updates wait in COMMIT until release is called.
func holdCommits(t *testing.T, s *shop) (release func()) {
	t.Helper()
	conn, err := s.conn.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), `SELECT pg_advisory_lock(6)`); err != nil {
		t.Fatal(err)
	}
	release = func() { // the lock ends with its session at the latest
		if _, err := conn.ExecContext(context.Background(), `SELECT pg_advisory_unlock_all()`); err != nil && !errors.Is(err, sql.ErrConnDone) {
			t.Error(err)
		}
		_ = conn.Close()
	}
	t.Cleanup(release)
	return release
}

// one is the single value that a query finds.
func one[V any](t *testing.T, s *shop, query string) (v V) {
	t.Helper()
	if err := s.conn.GetContext(t.Context(), &v, query); err != nil {
		t.Fatal(err)
	}
	return v
}

// Whoever reads the database beside the cache can see the new row before the cache does. It is the window of history 4,
// seen from a transaction.
func TestHistory8ReadBesideTheCache(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		// 1. R1 takes the lease and reads the old row.
		fill := r.store.park(t, "before fill", about(p))
		r1 := r.read(t.Context(), p.ID)
		fill.wait(t)
		// 2. W commits. Its invalidation is under way.
		post := w.store.park(t, "before invalidate", about(p))
		w1 := w.renaming(t.Context(), p.ID, "new")
		post.wait(t)
		// 3. Somebody reads the new row in a transaction, and somebody else with Bypass.
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
		// 4. R1 stores the old row.
		fill.goOn()
		ended(t, r1, "old")
		// 5. R2 hits it.
		r.hits(t, p.ID, "old")
		// 6. W's invalidation arrives, W returns; from here on everybody reads the new row.
		post.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		r.reads(t, p.ID, "new")
		r.hits(t, p.ID, "new")
	})
}

// Joining whatever load is running (S0) hands out a row that was read before the caller came.
func TestHistory13NobodyJoinsALoadThatMayHaveReadOld(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		// 1. R1's load has read the old row. It is still running.
		load := r.plain.park(t, "after query", about(p))
		r1 := r.read(t.Context(), p.ID)
		load.wait(t)
		// 2. W commits, invalidates and returns.
		w.rename(t, p.ID, "new")
		// 3. R2 starts, in R1's process. It finds no lease, makes a load of its own, and stores the row.
		r.reads(t, p.ID, "new")
		r.hits(t, p.ID, "new")
		if shared := r.cache.Stats().Shared; shared != 0 {
			t.Errorf("R2 joined a load")
		}
		// 4. R1's load ends. R1 gets the old row, which is right for R1, and its fill is refused.
		load.goOn()
		ended(t, r1, "old")
		r.hits(t, p.ID, "new")
		if refused := r.cache.Stats().Refused; refused != 1 {
			t.Errorf("%d fills were refused, want 1", refused)
		}
	})
}

// The same with batches on both sides.
func TestHistory13FindMany(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		q := w.insert(t, "A-2")
		both := []int64{p.ID, q.ID}
		// 1. The batch R1 has read both rows. Its query is still running.
		load := r.plain.park(t, "after query", about(p))
		r1 := begin(func() ([]product, error) { return r.FindMany(t.Context(), both) })
		load.wait(t)
		// 2. W changes one of them and returns.
		w.rename(t, p.ID, "new")
		// 3. R2, a batch, must not join for the changed row, and joins for the other by its lease: that is S1.
		r2 := begin(func() ([]product, error) { return r.FindMany(t.Context(), both) })
		until(t, "R2 to join", func() bool { return cachedrepo.Waiting(r.cache) >= 2 && r.cache.Stats().Shared == 1 })
		// 4. R3 must not join either.
		r.reads(t, p.ID, "new")
		load.goOn()
		if got, err := r1.wait(t); err != nil || len(got) != 2 || got[0].Name != "old" {
			t.Errorf("R1: %+v, %v", got, err)
		}
		if got, err := r2.wait(t); err != nil || len(got) != 2 || got[0].Name != "new" || got[1].Name != "old" {
			t.Errorf("R2: %+v, %v", got, err)
		}
		r.hits(t, p.ID, "new")
		r.hits(t, q.ID, "old")
	})
}

// S1: whoever finds the very lease that a load holds may join it, even if the load has read already.
func TestHistory13JoinByLease(t *testing.T) {
	histories(t, func(t *testing.T, r, _ *process, p product) {
		// 1. R1's load has read the row.
		load := r.plain.park(t, "after query", about(p))
		r1 := r.read(t.Context(), p.ID)
		load.wait(t)
		// 2. R2, a batch and R3 look at the key and find R1's lease.
		r2 := begin(func() ([]product, error) { return r.FindMany(t.Context(), []int64{p.ID}) })
		r3 := r.read(t.Context(), p.ID)
		until(t, "two to join", func() bool { return cachedrepo.Waiting(r.cache) == 3 })
		// 3. All get what the one load brings.
		load.goOn()
		ended(t, r1, "old")
		ended(t, r3, "old")
		if got, err := r2.wait(t); err != nil || len(got) != 1 || got[0].Name != "old" {
			t.Errorf("%+v, %v", got, err)
		}
		if st := r.cache.Stats(); st.Loads != 1 || st.Shared != 2 {
			t.Errorf("%d loads, %d shared", st.Loads, st.Shared)
		}
	})
}

// S1 means that very lease. One that another process took after a write is no reason to join an own load from before it.
func TestHistory13LeaseOfAnotherProcess(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		// 1. R1's load has read the old row. It is still running.
		load := r.plain.park(t, "after query", about(p))
		r1 := r.read(t.Context(), p.ID)
		load.wait(t)
		// 2. W commits, invalidates and returns.
		w.rename(t, p.ID, "new")
		// 3. R2, in W's process, takes the lease. Its fill is under way.
		fill := w.store.park(t, "before fill", about(p))
		r2 := w.read(t.Context(), p.ID)
		fill.wait(t)
		// 4. R3 and a batch start in R1's process and find R2's lease. Neither joins R1's load.
		r3 := r.read(t.Context(), p.ID)
		many := begin(func() ([]product, error) { return r.FindMany(t.Context(), []int64{p.ID}) })
		until(t, "both to read, or to join", func() bool {
			return r3.returned() && many.returned() || cachedrepo.Waiting(r.cache) == 3
		})
		if st := r.cache.Stats(); st.Shared != 0 || st.Leased != 2 {
			t.Errorf("%d joined, %d went to the database", st.Shared, st.Leased)
		}
		load.goOn()
		ended(t, r1, "old")
		ended(t, r3, "new")
		if got, err := many.wait(t); err != nil || len(got) != 1 || got[0].Name != "new" {
			t.Errorf("%+v, %v", got, err)
		}
		// 5. R2's fill arrives.
		fill.goOn()
		ended(t, r2, "new")
		r.hits(t, p.ID, "new")
	})
}

// S2: where nothing may be stored, because a writer has announced a change, readers share loads that have not been sent.
func TestHistory13JoinUnsent(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		// 1. Somebody has announced a change of the row. Nobody may store it until that ends.
		writer := store.NewToken()
		r.store.do(t, store.Op{Kind: store.Intend, Key: r.key(p), Token: writer, TTL: 2 * patience})
		// 2. R1 reads the old row. Its load is still running.
		load := r.plain.park(t, "after query", about(p))
		r1 := r.read(t.Context(), p.ID)
		load.wait(t)
		// 3. W commits and returns.
		w.rename(t, p.ID, "new")
		// 4. R2, R3 and R4 start. None of them joins R1's load; all share the next one.
		var later []*pending[product]
		for range 3 {
			later = append(later, r.read(t.Context(), p.ID))
		}
		until(t, "three to queue", func() bool { return cachedrepo.Queued(r.cache, r.key(p)) == 3 })
		// 5. R1 gets what it read, the others what is there now.
		load.goOn()
		ended(t, r1, "old")
		for _, l := range later {
			ended(t, l, "new")
		}
		if loads := r.cache.Stats().Loads; loads != 2 {
			t.Errorf("%d loads, want 2", loads)
		}
		// 6. Nothing was stored, and the announcement is still there.
		if got := r.store.state(t, r.key(p)); got.State != store.Intent {
			t.Errorf("the key holds %+v", got)
		}
		r.store.do(t, store.Op{Kind: store.Release, Key: r.key(p), Token: writer})
		r.reads(t, p.ID, "new")
		r.hits(t, p.ID, "new")
	})
}

// A look at the store is shared only by those who came before it was sent: the same argument as for loads.
func TestHistory13NobodySharesALookThatWasSent(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		r.reads(t, p.ID, "old")
		// 1. R1's look has found the old row; the answer is on its way.
		look := r.store.park(t, "after get", about(p))
		r1 := r.read(t.Context(), p.ID)
		look.wait(t)
		// 2. W commits, invalidates and returns.
		w.rename(t, p.ID, "new")
		// 3. R2 starts and waits for R1's look to end, to send the next one.
		r2 := r.read(t.Context(), p.ID)
		until(t, "R2 to queue", func() bool { return cachedrepo.Followed(r.cache, r.key(p)) })
		look.goOn()
		ended(t, r1, "old")
		ended(t, r2, "new")
	})
}

// The database is read after the lease was granted: a row that was read before would be stored under a lease that began
// after the row was changed.
func TestHistory14ReadAfterTheLease(t *testing.T) {
	t.Run("Find", func(t *testing.T) {
		histories(t, func(t *testing.T, r, w *process, p product) {
			readAfterTheLease(t, r, w, p, func(ctx context.Context) (product, error) { return r.Find(ctx, p.ID) })
		})
	})
	t.Run("FindMany", func(t *testing.T) {
		histories(t, func(t *testing.T, r, w *process, p product) {
			readAfterTheLease(t, r, w, p, func(ctx context.Context) (product, error) {
				recs, err := r.FindMany(ctx, []int64{p.ID})
				if err != nil || len(recs) != 1 {
					return product{}, errors.Join(err, fmt.Errorf("%d rows", len(recs)))
				}
				return recs[0], nil
			})
		})
	})
}

func readAfterTheLease(t *testing.T, r, w *process, p product, find func(ctx context.Context) (product, error)) {
	r.sent.take() // the catalog, which New reads
	// 1. R has found nothing and is about to ask for the lease.
	acquire := r.store.park(t, "before acquire", about(p))
	r1 := begin(func() (product, error) { return find(t.Context()) })
	acquire.wait(t)
	// 2. W commits, invalidates and returns: in vain, nothing is there yet.
	w.rename(t, p.ID, "new")
	// 3. R gets the lease. Had it read before, nothing would keep it from storing the old row.
	granted := r.store.park(t, "after acquire", about(p))
	acquire.goOn()
	granted.wait(t)
	// 4. R does not know yet that it has the lease, and has asked the database nothing. W writes once more.
	if sent := r.sent.take(); len(sent) > 0 {
		t.Errorf("sent before the lease was granted: %q", sent)
	}
	w.rename(t, p.ID, "newer")
	// 5. R reads what is there now. Its lease went with W's second invalidation; the fill is refused.
	granted.goOn()
	ended(t, r1, "newer")
	if st := r.cache.Stats(); st.Refused != 1 || st.Fills != 0 {
		t.Errorf("%d fills refused, %d accepted", st.Refused, st.Fills)
	}
	w.reads(t, p.ID, "newer")
	r.hits(t, p.ID, "newer")
}

// A transaction that reads from a snapshot of its own must neither store what it sees there nor be given what is newer.
func TestHistory14RepeatableReadStoresNothing(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		err := r.db.RunWith(t.Context(), txhooks.Options{Isolation: sql.LevelRepeatableRead}, func(ctx context.Context) error {
			// 1. R's transaction takes its snapshot.
			if _, err := r.Count(ctx, byCategory.Eq(1)); err != nil {
				return err
			}
			// 2. W commits, invalidates and returns; another reader has the new row stored.
			w.rename(t, p.ID, "new")
			// 3. R misses. It would get a perfectly valid lease, and would store the old row under it.
			r.store.take()
			for range 2 {
				got, err := r.Find(ctx, p.ID)
				if err != nil || got.Name != "old" {
					t.Errorf("in the snapshot: %q, %v", got.Name, err)
				}
				many, err := r.FindMany(ctx, []int64{p.ID})
				if err != nil || len(many) != 1 || many[0].Name != "old" {
					t.Errorf("in the snapshot: %+v, %v", many, err)
				}
				// 4. The second time the new row is in the store. It is not what this transaction may see.
				w.reads(t, p.ID, "new")
			}
			if calls := r.store.take(); len(calls) > 0 {
				t.Errorf("a transaction asked the store: %q", calls)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		// 5. Outside, everybody reads the new row.
		r.hits(t, p.ID, "new")
	})
}

// Inside a transaction the cache is neither asked nor filled: its own writes are not in the cache, and what it wrote is
// nobody else's business before the commit.
func TestHistory15NothingOfATransactionIsSeenBeforeItsCommit(t *testing.T) {
	for _, stored := range []bool{true, false} {
		for _, outcome := range []txhooks.Outcome{txhooks.Committed, txhooks.RolledBack} {
			t.Run(fmt.Sprintf("stored=%t,%s", stored, outcome), func(t *testing.T) {
				histories(t, func(t *testing.T, r, w *process, p product) {
					notOne := errors.New("changed my mind")
					if stored {
						r.reads(t, p.ID, "old")
					}
					err := w.db.Run(t.Context(), func(ctx context.Context) error {
						// 1. W writes, and reads its own write by both keys and in a batch.
						if err := renameIn(ctx, w, p.ID, "new"); err != nil {
							return err
						}
						w.store.take()
						byKey, err1 := w.Find(ctx, p.ID)
						bySKU, err2 := w.FindBy(ctx, bySKU.Eq(p.SKU))
						many, err3 := w.FindMany(ctx, []int64{p.ID})
						if err := errors.Join(err1, err2, err3); err != nil {
							return err
						}
						if byKey.Name != "new" || bySKU.Name != "new" || len(many) != 1 || many[0].Name != "new" {
							t.Errorf("W does not see its own write: %+v, %+v, %+v", byKey, bySKU, many)
						}
						if calls := w.store.take(); len(calls) > 0 {
							t.Errorf("a transaction asked the store: %q", calls)
						}
						// 2. Everybody else reads the old row, W's process outside of the transaction included.
						r.reads(t, p.ID, "old")
						w.reads(t, p.ID, "old")
						if outcome == txhooks.RolledBack {
							return notOne
						}
						return nil
					})
					// 3. W commits or rolls back.
					if outcome == txhooks.RolledBack {
						if !errors.Is(err, notOne) {
							t.Fatal(err)
						}
						r.hits(t, p.ID, "old")
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					r.reads(t, p.ID, "new")
					w.hits(t, p.ID, "new")
				})
			})
		}
	}
}

// A lease that ends before its load is taken by the next reader; what the first one brings belongs to nobody.
func TestHistoryLeaseExpiredAndRetaken(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		// 1. R1 takes a lease that ends too early, and reads the old row.
		r.store.live(func(op store.Op) time.Duration {
			if op.Kind == store.Acquire {
				return time.Millisecond
			}
			return op.TTL
		})
		first := r.store.park(t, "before fill", about(p))
		r1 := r.read(t.Context(), p.ID)
		first.wait(t)
		until(t, "the lease to end", func() bool { return r.store.state(t, r.key(p)).State == store.Absent })
		// 2. W commits, invalidates and returns.
		w.rename(t, p.ID, "new")
		// 3. R2 takes the lease and reads the new row.
		second := w.store.park(t, "before fill", about(p))
		r2 := w.read(t.Context(), p.ID)
		second.wait(t)
		// 4. R1's fill arrives and finds a lease that is not its own.
		first.goOn()
		ended(t, r1, "old")
		if got := r.store.state(t, r.key(p)); got.State != store.Lease {
			t.Errorf("R1's fill left %+v", got)
		}
		// 5. R2's fill arrives.
		second.goOn()
		ended(t, r2, "new")
		r.hits(t, p.ID, "new")
	})
}

// "No such row" is an answer like any other: stored, guarded by the lease, ended by the insert.
func TestHistoryNotFoundThenInserted(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, _ product) {
		missing := func(find func() (product, error)) {
			t.Helper()
			if _, err := find(); !errors.Is(err, model.ErrNotFound) {
				t.Fatalf("%v, want not found", err)
			}
		}
		byKey := func() (product, error) { return r.Find(t.Context(), 77) }
		bySKU := func() (product, error) { return r.FindBy(t.Context(), bySKU.Eq("B-1")) }
		// 1. Nobody is there, by the key and by the unique value, and the second reader need not ask the database.
		for range 2 {
			missing(byKey)
			missing(bySKU)
		}
		if st := r.cache.Stats(); st.Hits != 2 || st.Loads != 2 {
			t.Fatalf("%d hits, %d loads", st.Hits, st.Loads)
		}
		// 2. Another reader has found nothing in a batch too, and its fill is under way.
		late := r.store.park(t, "before fill", "id:78")
		r2 := begin(func() ([]product, error) { return r.FindMany(t.Context(), []int64{77, 78}) })
		late.wait(t)
		// 3. W inserts both rows.
		for id := range int64(2) {
			if _, err := w.Insert(t.Context(), product{ID: 77 + id, SKU: fmt.Sprint("B-", 1+id)}); err != nil {
				t.Fatal(err)
			}
		}
		// 4. They are seen at once.
		for _, find := range []func() (product, error){byKey, bySKU} {
			if got, err := find(); err != nil || got.ID != 77 {
				t.Errorf("%+v, %v", got, err)
			}
		}
		// 5. "Nothing there" arrives late and is refused.
		late.goOn()
		if got, err := r2.wait(t); err != nil || len(got) != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err := r.FindMany(t.Context(), []int64{77, 78}); err != nil || len(got) != 2 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// A unique value moves from one row to another: every entry that either row has or had is ended.
func TestHistoryUniqueValueMovesToAnotherRow(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, a product) {
		b := w.insert(t, "B-1")
		at := func(sku string) int64 {
			t.Helper()
			got, err := r.FindBy(t.Context(), bySKU.Eq(sku))
			if err != nil && !errors.Is(err, model.ErrNotFound) {
				t.Fatal(err)
			}
			return got.ID
		}
		// 1. A is at A-1, B is at B-1, nobody is at C-1.
		for range 2 {
			if at("A-1") != a.ID || at("B-1") != b.ID || at("C-1") != 0 {
				t.Fatal("the rows are elsewhere")
			}
		}
		// 2. R has read B at its key, and its fill is under way.
		late := r.store.park(t, "before fill", about(b))
		r1 := r.read(t.Context(), b.ID)
		late.wait(t)
		// 3. A moves to C-1, B to A-1.
		err := w.db.Run(t.Context(), func(ctx context.Context) error {
			move := func(id int64, sku string) error {
				_, err := w.Modify(ctx, id, func(rec *product) error { rec.SKU = sku; return nil })
				return err
			}
			return errors.Join(move(a.ID, "C-1"), move(b.ID, "A-1"))
		})
		if err != nil {
			t.Fatal(err)
		}
		// 4. All three values lead to where the rows are now, and the late fill is refused.
		late.goOn()
		if got, err := r1.wait(t); err != nil || got.SKU != "B-1" {
			t.Errorf("%+v, %v", got, err)
		}
		for range 2 {
			if got := [3]int64{at("A-1"), at("B-1"), at("C-1")}; got != [3]int64{b.ID, 0, a.ID} {
				t.Fatalf("the rows are at %v", got)
			}
			if got, err := r.Find(t.Context(), b.ID); err != nil || got.SKU != "A-1" {
				t.Fatalf("%+v, %v", got, err)
			}
		}
	})
}
