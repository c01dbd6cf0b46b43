package cachedrepo_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// A bulk update of more rows than a transaction keeps in memory announces each of its keys, and nothing more often than it
// takes back.
func TestStrictBulk(t *testing.T) {
	strictPairs(t, cachedrepo.Config{}, func(t *testing.T, x strictPair) {
		rows := int64(beyond)
		if strings.HasSuffix(t.Name(), "/cluster") {
			rows = 2000 // a command for each key takes its time
		}
		x.r.empty(t)
		x.r.fillCrowd(t, int(rows))
		ids := []int64{1, 2, rows - 1, rows}
		for _, id := range ids {
			x.r.reads(t, id, "old")
			x.r.hits(t, id, "old")
		}
		post := x.w.store.park(t, "before release", "")
		w1 := begin(func() (int64, error) {
			return x.w.shop.plain.UpdateWhere(t.Context(), repo.Bulk{Set: "name = 'new', sku = 'T-' || id", Where: "category_id = $1", Args: []any{7}})
		})
		post.wait(t)
		// Committed, and nothing released: all are read from the database, the last ones as well.
		for _, id := range ids {
			x.r.reads(t, id, "new")
		}
		got, err := x.r.FindMany(t.Context(), ids)
		if err != nil || len(got) != len(ids) || got[0].Name != "new" || got[3].Name != "new" {
			t.Errorf("%+v, %v", got, err)
		}
		if st := x.r.cache.Stats(); st.Guarded != uint64(2*len(ids)) {
			t.Errorf("%d reads guarded", st.Guarded)
		}
		post.goOn()
		if n, err := w1.wait(t); err != nil || n != rows {
			t.Fatalf("%d rows, %v", n, err)
		}
		if n := x.w.cache.Stats().Intended; n != uint64(3*rows) {
			t.Errorf("%d intents, want %d", n, 3*rows)
		}
		x.w.lostNothing(t)
		for _, id := range ids {
			x.r.reads(t, id, "new")
			x.r.hits(t, id, "new")
		}
	})
}

// Rows that a transaction changes twice, with many others in between, have their keys released twice. That is not a loss. A
// real loss among them is one.
func TestStrictBulkTwiceIsNotLost(t *testing.T) {
	strictPairs(t, cachedrepo.Config{}, func(t *testing.T, x strictPair) {
		const rows = 700
		x.r.empty(t)
		x.r.fillCrowd(t, rows)
		for _, lose := range []uint64{0, 2} {
			before := x.w.cache.Stats().Lost
			last := x.w.store.parkNth(t, "after intend", "", 6) // of 2 * 2 * 700 keys at 512 a call
			w1 := begin(func() (int, error) {
				return 0, x.w.db.Run(t.Context(), func(ctx context.Context) error {
					for _, name := range []string{"one", "two"} {
						if _, err := x.w.shop.plain.UpdateWhere(ctx, repo.Bulk{Set: "name = $1", Where: "TRUE", Args: []any{name}}); err != nil {
							return err
						}
					}
					return nil
				})
			})
			last.wait(t)
			for id := range lose {
				x.w.store.evict(t, fmt.Sprintf("%s:products:id:%d", x.w.ns, 1+id*400))
			}
			last.goOn()
			if _, err := w1.wait(t); err != nil {
				t.Fatal(err)
			}
			if n := x.w.cache.Stats().Lost - before; n != lose {
				t.Errorf("%d intents lost, want %d", n, lose)
			}
		}
	})
}

// What a savepoint has undone is not announced.
func TestStrictSavepointUndone(t *testing.T) {
	strictPairs(t, cachedrepo.Config{}, func(t *testing.T, x strictPair) {
		q := x.w.insert(t, "A-2")
		x.r.reads(t, q.ID, "old")
		before := x.w.cache.Stats().Intended
		err := x.w.db.Run(t.Context(), func(ctx context.Context) error {
			if err := renameIn(ctx, x.w, x.p.ID, "new"); err != nil {
				return err
			}
			err := x.w.db.Savepoint(ctx, func(ctx context.Context) error {
				return errors.Join(renameIn(ctx, x.w, q.ID, "undone"), errDown)
			})
			if !errors.Is(err, errDown) {
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := x.w.cache.Stats().Intended - before; n != 2 {
			t.Errorf("%d intents, want those of one row", n)
		}
		x.r.hits(t, q.ID, "old")
		x.r.reads(t, x.p.ID, "new")
		x.w.lostNothing(t)
	})
}

// Upserts announce what they find as well as what they put there.
func TestStrictUpsert(t *testing.T) {
	strictPairs(t, cachedrepo.Config{}, func(t *testing.T, x strictPair) {
		x.r.reads(t, x.p.ID, "old")
		post := x.w.store.park(t, "before release", about(x.p))
		w1 := begin(func() (product, error) {
			return x.w.shop.plain.Upsert(t.Context(), product{SKU: x.p.SKU, Name: "new"}, strictSKU)
		})
		post.wait(t)
		x.r.reads(t, x.p.ID, "new")
		if got, err := x.r.FindBy(t.Context(), strictSKU.Eq(x.p.SKU)); err != nil || got.Name != "new" {
			t.Errorf("%q, %v", got.Name, err)
		}
		if n := x.r.cache.Stats().Guarded; n != 2 {
			t.Errorf("%d reads guarded, want 2", n)
		}
		post.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		x.w.lostNothing(t)
	})
}

// COMMIT of a bulk update takes its time: all of its intents are renewed, chunk by chunk, and the renewal ends with it.
func TestStrictBulkRenewal(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.fillCrowd(t, beyond)
	st := memstore.New(memstore.Config{})
	short := cachedrepo.StrictConfig{Deadline: patience, Margin: patience - 3*time.Second} // renewed every second
	x := strictPair{proxy: newProxy(t, s), r: s.strictly(t, st, "shop", cachedrepo.Config{})}
	x.w = s.strictlyAt(t, s.pg.URLThrough(x.proxy.Addr()), st, "shop", cachedrepo.Config{Strict: short})
	sent, release := holdAnswer(x.proxy)
	defer release()
	w1 := begin(func() (int64, error) {
		return x.w.shop.plain.UpdateWhere(t.Context(), repo.Bulk{Set: "name = 'new'", Where: "TRUE"})
	})
	receive(t, sent, "COMMIT's answer")
	until(t, "a renewal", func() bool { return x.w.cache.Stats().Renewed >= 1 })
	release()
	if _, err := w1.wait(t); err != nil {
		t.Fatal(err)
	}
	if got := x.r.store.state(t, "shop:products:id:1"); got.State != store.Absent {
		t.Errorf("the key holds %+v", got)
	}
	if n := x.w.cache.Stats().Lost; n != 0 {
		t.Errorf("%d intents lost", n)
	}
}

// Changes that cannot be read back have keys that nobody knows: the write is refused, or goes on like any other.
func TestStrictUnread(t *testing.T) {
	for _, away := range []cachedrepo.OnAway{cachedrepo.Refuse, cachedrepo.GoOn} {
		s := newShop(t)
		s.fillCrowd(t, beyond)
		w := s.strictly(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{Strict: cachedrepo.StrictConfig{OnAway: away}})
		defer w.db.Subscribe(spoiler{t})()
		_, err := w.shop.plain.UpdateWhere(t.Context(), repo.Bulk{Set: "name = 'new'", Where: "TRUE"})
		if st := w.cache.Stats(); away == cachedrepo.GoOn && (err != nil || st.Unguarded != 1 || st.Unread != 1) {
			t.Errorf("goes on: %v, %d unguarded, %d unread", err, st.Unguarded, st.Unread)
		} else if away == cachedrepo.Refuse && (!errors.Is(err, cachedrepo.ErrStrictRefused) || st.StrictRefused != 1) {
			t.Errorf("refuses: %v, %d refused", err, st.StrictRefused)
		}
	}
}

// Stage implements txhooks.Stager: the last moment before anybody reads the file.
func (s spoiler) Stage(ctx context.Context, changes txhooks.Changes) error {
	s.Ended(ctx, 0, changes)
	return nil
}
