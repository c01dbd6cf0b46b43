package cachedrepo_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
)

// Close while reads go on: loads begin around the very moment at which Close has seen all of them end.
func TestCloseWhileReading(t *testing.T) {
	s := newShop(t)
	c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{})
	v := c.View("products")
	var stop atomic.Bool
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for id := int64(g) << 32; !stop.Load(); id++ {
				_, err := cachedrepo.Find(t.Context(), v, products.Row(id), func(context.Context) (product, error) {
					return product{ID: id}, nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 300 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
	stop.Store(true)
	wg.Wait()
}

// However callers come and go, a key that cannot be cached costs one query at a time, and one that waits.
func TestQueueWithCallersWhoLeave(t *testing.T) {
	s := newShop(t)
	st := &countedStore{Store: memstore.New(memstore.Config{})}
	st.fail(down)
	c := s.cache(t, st, cachedrepo.Config{LoadTimeout: patience})
	v := c.View("products")
	var out atomic.Int64
	goOn := make(chan struct{})
	find := func(ctx context.Context) *pending[product] {
		return begin(func() (product, error) {
			return cachedrepo.Find(ctx, v, products.Row(1), func(context.Context) (product, error) {
				out.Add(1)
				defer out.Add(-1)
				<-goOn
				return product{ID: 1}, nil
			})
		})
	}
	all := []*pending[product]{find(t.Context())}
	until(t, "the first query", func() bool { return out.Load() == 1 })
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		short := find(ctx)
		until(t, "one to queue", func() bool { return cachedrepo.Queued(c, "shop:products:id:1") >= 1 })
		cancel()
		if _, err := short.wait(t); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // what is wrong would happen now
		all = append(all, find(t.Context()))
		time.Sleep(5 * time.Millisecond)
	}
	if n := out.Load(); n > 1 {
		t.Errorf("%d queries at a time", n)
	}
	close(goOn)
	for _, one := range all {
		if _, err := one.wait(t); err != nil {
			t.Error(err)
		}
	}
	until(t, "all to be forgotten", func() bool { return cachedrepo.Remembered(c) == 0 })
}
