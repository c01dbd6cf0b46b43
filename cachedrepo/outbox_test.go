package cachedrepo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// changeOf is a change of one row as a relay is told of it.
func changeOf(t *testing.T, rel *model.Relation, before, after *product) txhooks.Change {
	t.Helper()
	c := txhooks.Change{Relation: rel}
	for _, side := range []struct {
		p  *product
		to *model.Image
	}{{before, &c.Before}, {after, &c.After}} {
		if side.p == nil {
			continue
		}
		img, err := rel.Image(side.p)
		if err != nil {
			t.Fatal(err)
		}
		*side.to = img
	}
	return c
}

// What a relay delivers ends entries under what the rows are and were, and leases; of intents it ends the transaction's own
// alone. History 12: with another's it would take what that one's readers rely on.
func TestDeliverLeavesOthersIntents(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	stores(t, func(t *testing.T, st store.Store, ns string) {
		for _, strict := range []bool{false, true} {
			t.Run(fmt.Sprint("strict ", strict), func(t *testing.T) {
				ns := fmt.Sprint(ns, ".", strict)
				rel, c := products.Relation(), (*cachedrepo.Cache)(nil)
				if strict {
					rel = strictProducts.Relation()
					c = s.strictly(t, st, ns, cachedrepo.Config{}).cache
				} else {
					c = s.cache(t, st, cachedrepo.Config{Namespace: ns, Timeout: patience})
				}
				was, is := &product{ID: 1, SKU: "old"}, &product{ID: 1, SKU: "new"}
				changes := txhooks.ChangesOf(changeOf(t, rel, was, is))
				own, other := store.Token(changes.ID()), store.NewToken()
				key := ns + ":products:"
				do(t, st, store.Op{Kind: store.Intend, Key: key + "id:1", Token: own, TTL: time.Minute})
				do(t, st, store.Op{Kind: store.Intend, Key: key + "id:1", Token: other, TTL: time.Minute})
				do(t, st, store.Op{Kind: store.Intend, Key: key + "sku:old", Token: own, TTL: time.Minute})
				do(t, st, store.Op{Kind: store.Acquire, Key: key + "sku:new", Token: own, TTL: time.Minute})
				for range 2 { // it may be told twice
					if err := c.Deliver(t.Context(), txhooks.ChangesOf(), changes); err != nil {
						t.Fatal(err)
					}
				}
				if got := do(t, st, store.Op{Kind: store.Get, Key: key + "sku:new"}); got.State != store.Absent {
					t.Errorf("a lease is %v", got.State)
				}
				got := do(t, st, store.Op{Kind: store.Get, Key: key + "sku:old"})
				if want := map[bool]store.State{false: store.Intent, true: store.Absent}[strict]; got.State != want {
					t.Errorf("where the transaction alone had an intent there is %v, want %v", got.State, want)
				}
				if got := do(t, st, store.Op{Kind: store.Release, Key: key + "id:1", Token: other}); got.Lost {
					t.Error("another transaction's intent was taken")
				}
				if got := do(t, st, store.Op{Kind: store.Release, Key: key + "id:1", Token: own}); got.Lost != strict {
					t.Errorf("the transaction's own intent is gone: %t", got.Lost)
				}
			})
		}
	})
}

func do(t *testing.T, st store.Store, op store.Op) store.Reply {
	t.Helper()
	var reply [1]store.Reply
	if err := st.Do(context.Background(), []store.Op{op}, reply[:]); err != nil {
		t.Fatal(err)
	}
	return reply[0]
}

// A delivery that fails says whether the store is why, and keeps nothing in memory: it comes again.
func TestDeliverFails(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	st := &countedStore{Store: memstore.New(memstore.Config{})}
	c := s.cache(t, st, cachedrepo.Config{})
	changes := txhooks.ChangesOf(changeOf(t, products.Relation(), nil, &product{ID: 1, SKU: "a"}))
	st.fail(down)
	for range 5 {
		err := c.Deliver(t.Context(), changes)
		var away interface{ Away() bool }
		if !errors.As(err, &away) || !away.Away() {
			t.Fatalf("error: %v", err)
		}
	}
	if n := c.Stats().Pending; n != 0 {
		t.Errorf("%d are pending", n)
	}
	st.fail(nil)
	until(t, "delivered", func() bool { return c.Deliver(t.Context(), changes) == nil })
	if err := c.RetireIndexes(t.Context(), products.Access()); err == nil {
		t.Error("a store that cannot list its keys lists them")
	}
}

// RetireIndexes ends the entries of one index, and nothing else.
func TestRetireIndexes(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	stores(t, func(t *testing.T, st store.Store, ns string) {
		c := s.cache(t, st, cachedrepo.Config{Namespace: ns, Timeout: patience})
		put := func(keys ...string) {
			for _, k := range keys {
				token := store.NewToken()
				do(t, st, store.Op{Kind: store.Acquire, Key: k, Token: token, TTL: time.Minute})
				do(t, st, store.Op{Kind: store.Fill, Key: k, Token: token, Value: []byte("x"), TTL: time.Minute})
			}
		}
		there := func(key string) bool {
			return do(t, st, store.Op{Kind: store.Get, Key: key}).State == store.Value
		}
		id, sku, foreign := ns+":products:id:1", ns+":products:sku:a", ns+":other:id:1"
		put(id, sku, foreign)
		if err := c.RetireIndexes(t.Context(), byCategory.Access()); err != nil || !there(id) || !there(sku) {
			t.Fatalf("an index without entries: %v", err)
		}
		if err := c.RetireIndexes(t.Context(), bySKU.Access()); err != nil || !there(id) || there(sku) {
			t.Fatalf("by sku: %v, id %t, sku %t", err, there(id), there(sku))
		}
		put(sku)
		if err := c.RetireIndexes(t.Context()); err != nil || there(id) || there(sku) || !there(foreign) {
			t.Fatalf("all: %v, id %t, sku %t, foreign %t", err, there(id), there(sku), there(foreign))
		}
	})
}

// What a cache declares tells apart those that cannot do each other's work.
func TestDeclares(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	a := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{})
	b := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{Generation: 2})
	if slices.Equal(a.Declares(), b.Declares()) {
		t.Error("two stores in memory are taken for one")
	}
	st := &countedStore{Store: memstore.New(memstore.Config{})}
	a, b = s.cache(t, st, cachedrepo.Config{}), s.cache(t, st, cachedrepo.Config{Generation: 2})
	if !slices.Equal(a.Declares(), b.Declares()) || len(a.Declares()) != 2 {
		t.Errorf("%v\n%v", a.Declares(), b.Declares())
	}
	if a.Namespace() != "shop" || b.Namespace() != "shop~2" || !slices.Equal(a.Relations(), []*model.Relation{products.Relation()}) {
		t.Errorf("%s, %s, %v", a.Namespace(), b.Namespace(), a.Relations())
	}
}
