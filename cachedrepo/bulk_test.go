package cachedrepo_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// crowd is a shop with so many products that their images and keys must not all be in memory at once.
const crowd = 100_000

func (s *shop) fillCrowd(t *testing.T, n int) {
	t.Helper()
	_, err := s.conn.ExecContext(t.Context(), `INSERT INTO products (id, sku, name, category_id)
		SELECT n, 'S-' || n, 'old', 7 FROM generate_series(1, $1::int) n`, n)
	if err != nil {
		t.Fatal(err)
	}
}

// live is the memory that the last collection found in use.
func live() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func collected() uint64 {
	runtime.GC()
	runtime.GC()
	return live()
}

// peak is how much memory was in use at most while fn ran, more than before. Garbage does not count: it is looked at
// after one collection after another.
func peak(fn func()) uint64 {
	before := collected()
	most := before
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(30 * time.Millisecond):
				runtime.GC()
				most = max(most, live())
			}
		}
	})
	fn()
	close(stop)
	done.Wait()
	return most - before
}

// allImages is what the images of the crowd take, before and after, without their keys.
func allImages(t *testing.T) uint64 {
	t.Helper()
	before := collected()
	changes := make([]txhooks.Change, crowd)
	category := int64(7)
	for i := range changes {
		var images [2]model.Image
		for j, prefix := range []string{"S-", "T-"} {
			var err error
			images[j], err = products.Relation().Image(&product{ID: int64(i), SKU: fmt.Sprint(prefix, i), Category: &category})
			if err != nil {
				t.Fatal(err)
			}
		}
		changes[i] = txhooks.Change{Relation: products.Relation(), Before: images[0], After: images[1]}
	}
	took := collected() - before
	runtime.KeepAlive(changes)
	return took
}

// One statement changes a unique value of 100,000 rows, another deletes them: whatever was cached of them, under key, old
// and new value, is gone, and neither images nor keys were all in memory. (Not parallel: it looks at the heap.)
func TestBulk(t *testing.T) {
	s := newShop(t)
	s.fillCrowd(t, crowd)
	server := testenv.Redis(t)
	c := s.cache(t, redisstore.New(server.Client(t)), cachedrepo.Config{Namespace: server.Prefix(), Timeout: patience})
	r := cachedrepo.Wrap(c, s.plain)
	allowed := allImages(t) / 4

	sku := func(prefix string, id int64) model.One[product] { return bySKU.Eq(fmt.Sprint(prefix, id)) }
	// check reads a sample, twice: what the first read fills, the next finds.
	check := func(prefix string) {
		t.Helper()
		for range 2 {
			for id := int64(1); id <= crowd; id += crowd/50 - 1 {
				got, err := r.Find(t.Context(), id)
				if there := prefix != ""; there && (err != nil || got.SKU != fmt.Sprint(prefix, id)) || !there && !errors.Is(err, model.ErrNotFound) {
					t.Fatalf("row %d: %+v, %v; want sku %s", id, got, err, prefix)
				}
				for _, p := range []string{"S-", "T-"} {
					got, err := r.FindBy(t.Context(), sku(p, id))
					if there := p == prefix; there && (err != nil || got.ID != id) || !there && !errors.Is(err, model.ErrNotFound) {
						t.Fatalf("row %d by sku %s: %+v, %v; want sku %s", id, p, got, err, prefix)
					}
				}
			}
		}
	}
	bulk := func(name string, keys uint64, write func(ctx context.Context) (int64, error)) {
		t.Helper()
		invalidated := c.Stats().Invalidated
		took := peak(func() {
			ctx, report := txhooks.WithReport(t.Context())
			n, err := write(ctx)
			if err != nil || n != crowd || report.Pending != 0 {
				t.Fatalf("%s: %d rows, %d pending, %v", name, n, report.Pending, err)
			}
		})
		if got := c.Stats().Invalidated - invalidated; got < keys*crowd {
			t.Errorf("%s: %d keys invalidated, want %d", name, got, keys*crowd)
		}
		if took > allowed {
			t.Errorf("%s: %d KiB in use, more than a quarter of what all images take, %d KiB", name, took>>10, allowed>>10)
		}
		t.Logf("%s: %d KiB; all images: %d KiB", name, took>>10, 4*allowed>>10)
	}

	check("S-")
	bulk("UpdateWhere", 3, func(ctx context.Context) (int64, error) {
		return s.plain.UpdateWhere(ctx, repo.Bulk{Set: "sku = 'T-' || id", Where: "category_id = $1", Args: []any{7}})
	})
	check("T-")
	bulk("DeleteWhere", 2, func(ctx context.Context) (int64, error) {
		return s.plain.DeleteWhere(ctx, repo.Bulk{Where: "TRUE"})
	})
	check("")
}

// imagined reports changes of n products, whose sku goes from S to T. Nobody needs the rows.
func imagined(ctx context.Context, db *txhooks.DB, n int) error {
	rel := products.Relation()
	for i := range n {
		before, err := rel.Image(&product{ID: int64(i + 1), SKU: fmt.Sprint("S-", i+1)})
		if err != nil {
			return err
		}
		after, err := rel.Image(&product{ID: int64(i + 1), SKU: fmt.Sprint("T-", i+1)})
		if err != nil {
			return err
		}
		if err := db.Changed(ctx, txhooks.Change{Relation: rel, Before: before, After: after}); err != nil {
			return err
		}
	}
	return nil
}

// beyond is more changes than a transaction keeps in memory.
const beyond = 15_000

// What a savepoint undid is not invalidated, however much it is; what the transaction did else is.
func TestBulkUndone(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s := newShop(t)
		s.fillCrowd(t, beyond)
		c := s.cache(t, st, cachedrepo.Config{Namespace: ns, Timeout: patience})
		r := &rig{shop: s, c: c, cached: cachedrepo.Wrap(c, s.plain)}
		for _, id := range []int64{1, 2, beyond} {
			r.warm(t, id, "old")
		}
		err := s.db.Run(t.Context(), func(ctx context.Context) error {
			if _, err := r.cached.Modify(ctx, 2, func(p *product) error { p.Name = "new"; return nil }); err != nil {
				return err
			}
			err := s.db.Savepoint(ctx, func(ctx context.Context) error {
				if n, err := s.plain.UpdateWhere(ctx, repo.Bulk{Set: "name = 'undone'", Where: "TRUE"}); n != beyond || err != nil {
					return fmt.Errorf("%d rows, %w", n, err)
				}
				return errDown
			})
			if !errors.Is(err, errDown) {
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := c.Stats().Invalidated; n != 2 {
			t.Errorf("%d keys invalidated", n)
		}
		r.hit(t, 1, "old")
		r.hit(t, beyond, "old")
		r.finds(t, 2, "new")
	})
}

// A large transaction in doubt is repeated like a small one. Its changes stay in their file until the last repeat, or
// until the cache is closed.
func TestBulkInDoubt(t *testing.T) {
	for _, closes := range []bool{false, true} {
		t.Run(map[bool]string{false: "repeats", true: "Close"}[closes], func(t *testing.T) {
			s := newShop(t)
			proxy := faults.NewPostgresProxy(t, s.pg.Addr())
			s.conn, s.sent = openCounted(t, s.pg.URLThrough(proxy.Addr()))
			s.db = txhooks.New(s.conn, txhooks.Config{})
			c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{Timeout: patience})
			timers := make(chan chan time.Time, 3)
			cachedrepo.RepeatBy(c, func(time.Duration) <-chan time.Time {
				timer := make(chan time.Time)
				timers <- timer
				return timer
			})
			proxy.CutAfterCommit()
			err := s.db.Run(t.Context(), func(ctx context.Context) error {
				if _, err := s.conn.ExecContext(ctx, "SELECT 1"); err != nil {
					return err
				}
				return imagined(ctx, s.db, beyond)
			})
			if !errors.Is(err, model.ErrInDoubt) {
				t.Fatal(err)
			}
			const keys = 3 * beyond
			if n := c.Stats().Invalidated; n != keys {
				t.Errorf("%d keys invalidated at once, want %d", n, keys)
			}
			if n := len(spoolFiles(t)); n != 1 {
				t.Errorf("%d files are open", n)
			}
			want := uint64(4 * keys)
			if closes {
				if err := c.Close(t.Context()); err != nil {
					t.Error(err)
				}
				want = 2 * keys
			} else {
				for range 3 {
					(<-timers) <- time.Time{}
				}
			}
			until(t, "the repeats", func() bool { return c.Stats().Invalidated == want })
			until(t, "the end of the file", func() bool { return len(spoolFiles(t)) == 0 })
		})
	}
}

// While the store is away a large transaction fills what can be kept, and no more; reads are right.
func TestBulkWithoutStore(t *testing.T) {
	s := newShop(t)
	s.fillCrowd(t, beyond)
	counted := &countedStore{Store: memstore.New(memstore.Config{})}
	const most = 1000
	c := s.cache(t, counted, cachedrepo.Config{Timeout: patience, MaxPending: most})
	r := &rig{shop: s, store: counted, c: c, cached: cachedrepo.Wrap(c, s.plain)}
	r.warm(t, 1, "old")
	r.warm(t, beyond, "old")
	counted.fail(down)
	ctx, report := txhooks.WithReport(t.Context())
	if _, err := s.plain.UpdateWhere(ctx, repo.Bulk{Set: "name = 'new'", Where: "TRUE"}); err != nil {
		t.Fatal(err)
	}
	if report.Pending != most || c.Stats().GivenUp != 2*beyond-most {
		t.Errorf("%d pending, %d given up", report.Pending, c.Stats().GivenUp)
	}
	counted.fail(nil)
	until(t, "the flush", func() bool { return c.Stats().Pending == 0 })
	r.finds(t, 1, "new")
	r.finds(t, beyond, "new")
}

// Changes that cannot be read back have keys that nobody knows: this process asks the store no more, and says so.
func TestBulkUnread(t *testing.T) {
	s := newShop(t)
	s.fillCrowd(t, beyond)
	defer s.db.Subscribe(spoiler{t})() // before the cache
	seen := &troubles{}
	st := &countedStore{Store: memstore.New(memstore.Config{})} // which cannot list its keys
	c := s.cache(t, st, cachedrepo.Config{Timeout: patience, Observer: seen.observer()})
	r := &rig{shop: s, c: c, cached: cachedrepo.Wrap(c, s.plain)}
	r.warm(t, beyond, "old")
	if _, err := s.plain.UpdateWhere(t.Context(), repo.Bulk{Set: "name = 'new'", Where: "TRUE"}); err != nil {
		t.Fatal(err)
	}
	r.finds(t, beyond, "new")
	if st := c.Stats(); st.Unread != 1 || seen.count("enumerate products") != 1 || st.Distrusted == 0 {
		t.Errorf("%d unread, %d reported, %d reads without the store", st.Unread, seen.count("enumerate products"), st.Distrusted)
	}
}

// spoiler empties the files of spools before the next subscriber reads them.
type spoiler struct{ t *testing.T }

func (s spoiler) Ended(context.Context, txhooks.Outcome, txhooks.Changes) int {
	for _, f := range spoolFiles(s.t) {
		if err := os.Truncate(f, 0); err != nil {
			s.t.Error(err)
		}
	}
	return 0
}

// spoolFiles are the open files of transactions' changes.
func spoolFiles(t *testing.T) (files []string) {
	if runtime.GOOS != "linux" {
		t.Skip("open files are found in /proc")
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range open {
		name := "/proc/self/fd/" + f.Name()
		if to, err := os.Readlink(name); err == nil && strings.Contains(to, "aside-changes-") {
			files = append(files, name)
		}
	}
	return files
}
