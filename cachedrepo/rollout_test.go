package cachedrepo_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
)

// Reads are switched off and on while two processes read and write: nobody ever sees less than what had been written when
// the read began.
func TestSetOffIsNeverStale(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		w.rename(t, p.ID, "0")
		var written atomic.Int64
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, of := range []*process{r, w} {
			wg.Go(func() {
				for ctx.Err() == nil {
					least := written.Load()
					var name int64
					got, err := of.FindBy(t.Context(), bySKU.Eq(p.SKU))
					if err == nil {
						_, err = fmt.Sscan(got.Name, &name)
					}
					if err != nil || name < least {
						t.Errorf("read %q, %v after %d had been written", got.Name, err, least)
						return
					}
				}
			})
		}
		for _, of := range []*process{r, w} {
			wg.Go(func() {
				for off := true; ctx.Err() == nil; off = !off {
					if err := of.cache.SetOff(off, products); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for i := int64(1); i <= 30; i++ {
			w.rename(t, p.ID, fmt.Sprint(i))
			written.Store(i)
		}
		stop()
		wg.Wait()
		for _, of := range []*process{r, w} {
			if err := of.cache.SetOff(false); err != nil {
				t.Error(err)
			}
			of.reads(t, p.ID, "30")
			of.hits(t, p.ID, "30")
		}
	})
}

// A load that is under way when reads are switched off ends as ever: a write refuses its fill.
func TestSetOffWhileALoadIsUnderWay(t *testing.T) {
	histories(t, func(t *testing.T, r, w *process, p product) {
		fill := r.store.park(t, "before fill", about(p))
		r1 := r.read(t.Context(), p.ID)
		fill.wait(t)
		if err := r.cache.SetOff(true, products); err != nil {
			t.Fatal(err)
		}
		r.store.take()
		r.reads(t, p.ID, "old")
		if calls := r.store.take(); len(calls) > 0 {
			t.Errorf("a read asked the store: %q", calls)
		}
		r.rename(t, p.ID, "new") // by the very process that is off
		r.reads(t, p.ID, "new")
		fill.goOn()
		ended(t, r1, "old")
		w.reads(t, p.ID, "new") // stores it
		if err := r.cache.SetOff(false); err != nil {
			t.Fatal(err)
		}
		r.hits(t, p.ID, "new")
		if bypassed := r.cache.Stats().Bypassed; bypassed != 2 {
			t.Errorf("%d reads bypassed the store", bypassed)
		}
		if err := r.cache.SetOff(true, newGuests); err == nil || !strings.Contains(err.Error(), "guests is not in") {
			t.Errorf("a table that is not there: %v", err)
		}
	})
}

// A process that only invalidates asks the store nothing, and is heard by others.
func TestInvalidateOnly(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s.empty(t)
		p := s.insert(t, "A-1")
		r := s.process(t, st, ns, cachedrepo.Config{})
		w := s.process(t, st, ns, cachedrepo.Config{Mode: cachedrepo.InvalidateOnly})
		r.reads(t, p.ID, "old")
		r.hits(t, p.ID, "old")
		w.store.take()
		w.reads(t, p.ID, "old")
		if _, err := w.FindMany(t.Context(), []int64{p.ID}); err != nil {
			t.Error(err)
		}
		if calls := w.store.take(); len(calls) > 0 {
			t.Errorf("reads asked the store: %q", calls)
		}
		w.rename(t, p.ID, "new")
		want := []string{"invalidate products:id:" + fmt.Sprint(p.ID), "invalidate products:sku:A-1"}
		if calls := w.store.take(); !slices.Equal(calls, want) {
			t.Errorf("a write sent %q", calls)
		}
		r.reads(t, p.ID, "new")
		if err := w.cache.SetOff(false); err != nil {
			t.Fatal(err)
		}
		w.hits(t, p.ID, "new")
	})
}

// Generations of one namespace see nothing of each other.
func TestGenerations(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	st := memstore.New(memstore.Config{})
	p := s.insert(t, "A-1")
	first := s.process(t, st, "shop", cachedrepo.Config{})
	third := s.process(t, st, "shop", cachedrepo.Config{Generation: 3})
	first.reads(t, p.ID, "old")
	if _, err := s.conn.ExecContext(t.Context(), `UPDATE products SET name = 'new'`); err != nil { // nobody is told
		t.Fatal(err)
	}
	first.hits(t, p.ID, "old")
	third.reads(t, p.ID, "new")
	third.hits(t, p.ID, "new")
	if got := third.store.state(t, "shop~3:products:"+about(p)); got.State != store.Value {
		t.Errorf("the key of generation 3 holds %+v", got)
	}
	first.hits(t, p.ID, "old")
	for _, cfg := range []cachedrepo.Config{{Namespace: "shop~3"}, {Namespace: "shop", Generation: -1}, {Namespace: "shop", Mode: 7}} {
		cfg.Tables = append(cfg.Tables, products)
		if _, err := cachedrepo.New(s.db, st, cfg); err == nil {
			t.Errorf("accepted: %+v", cfg)
		}
	}
}

// Versions of different builds do not take each other's entries from one another: the newer does, the older reads the
// database, and tries now and then whether it is alone.
func TestHistoryNewerVersionKeepsTheKey(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s.empty(t)
		p := s.insert(t, "A-1")
		newer := s.process(t, st, ns, cachedrepo.Config{Build: 8})
		c, short := versionsOf(t, newer, parkable(st), 7)
		newer.reads(t, p.ID, "old")
		for i := range uint64(15) {
			var err error
			if i%2 == 0 {
				_, err = short.Find(t.Context(), p.ID)
			} else {
				_, err = short.FindMany(t.Context(), []int64{p.ID})
			}
			if s := c.Stats(); err != nil || s.Older != i+1 || s.Fills != 0 || s.Hits != 0 {
				t.Fatalf("%+v, %v", s, err)
			}
			newer.hits(t, p.ID, "old")
		}
		// Not even what it loads for the database's sake is older than the row.
		newer.rename(t, p.ID, "new")
		newer.reads(t, p.ID, "new")
		if got, err := short.Find(t.Context(), p.ID); err != nil || got.Name != "new" {
			t.Fatalf("%+v, %v", got, err)
		}
		if s := c.Stats(); s.Older != 15 || s.Fills != 1 {
			t.Errorf("the sixteenth: %+v", s)
		}
		// The newer takes the older's entry over at once, and damage is nobody's.
		fills := newer.cache.Stats().Fills
		newer.reads(t, p.ID, "new")
		if s := newer.cache.Stats(); s.Older != 0 || s.Fills != fills+1 {
			t.Errorf("%+v", s)
		}
	})
}
