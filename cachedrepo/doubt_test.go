package cachedrepo_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// The answer to COMMIT is lost, and the server has committed, or has not. The caller hears that nobody knows, reads are
// right either way, and the keys go now and three times later.
func TestDoubt(t *testing.T) {
	for name, tt := range map[string]struct {
		action faults.Action
		sku    string // that the row has then
	}{
		"committed":   {faults.CutReply, "A-2"},
		"rolled back": {faults.CutBefore, "A-1"},
	} {
		t.Run(name, func(t *testing.T) {
			stores(t, func(t *testing.T, st store.Store, ns string) {
				s := newShop(t)
				p := s.insert(t, "A-1")
				proxy := faults.NewPostgresProxy(t, s.pg.Addr())
				s.conn, s.sent = openCounted(t, s.pg.URLThrough(proxy.Addr()))
				s.db = txhooks.New(s.conn, txhooks.Config{})
				s.plain = repo.New(s.db, products)
				counted := &countedStore{Store: st}
				c := s.cache(t, counted, cachedrepo.Config{Namespace: ns, Timeout: patience})
				var mu sync.Mutex
				timers := make(map[time.Duration]chan time.Time)
				cachedrepo.RepeatBy(c, func(d time.Duration) <-chan time.Time {
					mu.Lock()
					defer mu.Unlock()
					timers[d] = make(chan time.Time)
					return timers[d]
				})
				r := &rig{shop: s, store: counted, c: c, cached: cachedrepo.Wrap(c, s.plain)}
				r.warm(t, p.ID, "old")
				_, gone := r.cached.FindBy(t.Context(), bySKU.Eq("A-2"))
				if !errors.Is(gone, model.ErrNotFound) {
					t.Fatal(gone)
				}

				fired := proxy.OnCommit(tt.action)
				ran := false
				err := s.db.Run(t.Context(), func(ctx context.Context) error {
					txhooks.AfterCommit(ctx, func(context.Context) { ran = true })
					_, err := r.cached.Modify(ctx, p.ID, func(p *product) error { p.SKU = "A-2"; return nil })
					return err
				})
				receive(t, fired.Fired(), "COMMIT")
				if !errors.Is(err, model.ErrInDoubt) || ran {
					t.Fatalf("Run: %v; an AfterCommit hook ran: %t", err, ran)
				}
				if n := counted.writes.Load(); n != 3 { // the key's, the old sku's and the new one's
					t.Errorf("%d invalidations", n)
				}
				check := func() {
					t.Helper()
					for sku, there := range map[string]bool{"A-1": tt.sku == "A-1", "A-2": tt.sku == "A-2"} {
						got, err := r.cached.FindBy(t.Context(), bySKU.Eq(sku))
						if there && (err != nil || got.ID != p.ID) || !there && !errors.Is(err, model.ErrNotFound) {
							t.Errorf("by %s: %+v, %v", sku, got, err)
						}
					}
					if got, err := r.cached.Find(t.Context(), p.ID); err != nil || got.SKU != tt.sku {
						t.Errorf("%+v, %v", got, err)
					}
				}
				check()
				check()
				until(t, "the repeats", func() bool {
					mu.Lock()
					defer mu.Unlock()
					return len(timers) == 3
				})
				for i, d := range []time.Duration{time.Second, 10 * time.Second, time.Minute} {
					mu.Lock()
					timer := timers[d]
					mu.Unlock()
					if timer == nil {
						t.Fatalf("nothing is repeated after %s", d)
					}
					timer <- time.Time{}
					until(t, "the repeat", func() bool { return c.Stats().Invalidated == uint64(3*(i+2)) })
					hits := c.Stats().Hits
					check()
					if c.Stats().Hits != hits {
						t.Errorf("after %s entries are still there", d)
					}
				}
				if n := c.Stats().InDoubt; n != 1 {
					t.Errorf("%d in doubt", n)
				}
			})
		})
	}
}

// In doubt, and the store is away too: pending, like any other invalidation.
func TestDoubtWithoutStore(t *testing.T) {
	s := newShop(t)
	p := s.insert(t, "A-1")
	proxy := faults.NewPostgresProxy(t, s.pg.Addr())
	s.conn, s.sent = openCounted(t, s.pg.URLThrough(proxy.Addr()))
	s.db = txhooks.New(s.conn, txhooks.Config{})
	s.plain = repo.New(s.db, products)
	stores(t, func(t *testing.T, st store.Store, ns string) {
		counted := &countedStore{Store: st}
		c := s.cache(t, counted, cachedrepo.Config{Namespace: ns})
		cachedrepo.RepeatBy(c, func(time.Duration) <-chan time.Time { return nil })
		r := &rig{shop: s, store: counted, c: c, cached: cachedrepo.Wrap(c, s.plain)}
		before, err := r.cached.Find(t.Context(), p.ID)
		if err != nil {
			t.Fatal(err)
		}
		r.hit(t, p.ID, before.Name)
		counted.fail(down)
		proxy.CutAfterCommit()
		ctx, report := txhooks.WithReport(t.Context())
		name := before.Name + "er"
		if _, err := r.cached.Modify(ctx, p.ID, func(p *product) error { p.Name = name; return nil }); !errors.Is(err, model.ErrInDoubt) {
			t.Fatalf("Modify: %v", err)
		}
		if report.Pending != 2 {
			t.Errorf("%d pending", report.Pending)
		}
		for range 3 {
			r.finds(t, p.ID, name)
		}
		counted.fail(nil)
		until(t, "trust", func() bool {
			r.finds(t, p.ID, name)
			return c.Stats().Hits > 1
		})
	})
}

// Close does not wait for repeats that are a minute away.
func TestDoubtClose(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		r := closable(t, st, ns, cachedrepo.Config{})
		p := r.insert(t, "A-1")
		cachedrepo.InDoubt(r.c, products, p)
		start := time.Now()
		if err := r.c.Close(t.Context()); err != nil && !strings.Contains(err.Error(), "given up") {
			t.Error(err)
		}
		if took := time.Since(start); took > time.Second+slack {
			t.Errorf("Close took %s", took)
		}
	})
}
