package cachedrepo_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
)

// mumbling grants a lease, once, and loses the answer.
type mumbling struct {
	store.Store
	lost atomic.Int64
}

func (d *mumbling) Do(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	err := d.Store.Do(ctx, ops, replies)
	if ops[0].Kind == store.Acquire && d.lost.Add(1) == 1 {
		return context.DeadlineExceeded
	}
	return err
}

// A lease whose grant was not heard of is given up, or the key would not be cached before it ends.
func TestLeaseThatWasNotHeardOf(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for name, find := range map[string]func(cached finder, id int64) (product, error){
		"one": func(cached finder, id int64) (product, error) { return cached.Find(t.Context(), id) },
		"batch": func(cached finder, id int64) (product, error) {
			recs, err := cached.FindMany(t.Context(), []int64{id})
			if err != nil || len(recs) != 1 {
				return product{}, err
			}
			return recs[0], nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := s.insert(t, "lost "+name)
			c := s.cache(t, &mumbling{Store: memstore.New(memstore.Config{})}, cachedrepo.Config{Timeout: patience})
			cached := cachedrepo.Wrap(c, s.plain)
			if got, err := find(cached, p.ID); err != nil || got.ID != p.ID {
				t.Fatalf("%+v, %v", got, err)
			}
			until(t, "the row to be cached", func() bool {
				if _, err := find(cached, p.ID); err != nil {
					t.Fatal(err)
				}
				return c.Stats().Hits > 0
			})
		})
	}
}

type finder interface {
	Find(ctx context.Context, id int64) (product, error)
	FindMany(ctx context.Context, ids []int64) ([]product, error)
}
