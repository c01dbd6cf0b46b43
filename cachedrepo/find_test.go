package cachedrepo_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

// A miss, a hit, a write, a fresh read: by key and by unique index, with the answers of the plain repository.
func TestFindIsFreshAfterWrite(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s := newShop(t)
		c := s.cache(t, st, cachedrepo.Config{Namespace: ns})
		cached := cachedrepo.Wrap(c, s.plain)
		ctx := t.Context()
		p := s.insert(t, "A-1")
		for turn := range uint64(2) {
			byKey, err := cached.Find(ctx, p.ID)
			if err != nil {
				t.Fatal(err)
			}
			bySKU, err := cached.FindBy(ctx, bySKU.Eq("A-1"))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(byKey, p) || !reflect.DeepEqual(bySKU, p) {
				t.Fatalf("by key %+v, by sku %+v, want %+v", byKey, bySKU, p)
			}
			if hits := c.Stats().Hits; hits != 2*turn {
				t.Fatalf("turn %d: %d hits", turn, hits)
			}
		}
		moved, err := cached.Modify(ctx, p.ID, func(p *product) error { p.SKU, p.Name = "A-2", "new"; return nil })
		if err != nil {
			t.Fatal(err)
		}
		if got, err := cached.Find(ctx, p.ID); err != nil || !reflect.DeepEqual(got, moved) {
			t.Errorf("after the write: %+v, %v", got, err)
		}
		if _, err := cached.FindBy(ctx, bySKU.Eq("A-1")); !errors.Is(err, model.ErrNotFound) {
			t.Errorf("by the former sku: %v", err)
		}
		if got, err := cached.FindBy(ctx, bySKU.Eq("A-2")); err != nil || !reflect.DeepEqual(got, moved) {
			t.Errorf("by the new sku: %+v, %v", got, err)
		}
		if err := cached.Delete(ctx, p.ID); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := cached.Find(ctx, p.ID); !errors.Is(err, model.ErrNotFound) {
				t.Errorf("after the delete: %v", err)
			}
		}
	})
}

func TestFindMany(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s := newShop(t)
		c := s.cache(t, st, cachedrepo.Config{Namespace: ns})
		cached := cachedrepo.Wrap(c, s.plain)
		ctx := t.Context()
		var ids []int64
		for _, sku := range []string{"a", "b", "c", "d"} {
			ids = append(ids, s.insert(t, sku).ID)
		}
		ask := []int64{ids[2], 999, ids[0], ids[2], ids[3]}
		want, err := s.plain.FindMany(ctx, ask)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cached.Find(ctx, ids[0]); err != nil {
			t.Fatal(err)
		}
		for turn := range 3 {
			s.sent.take()
			got, err := cached.FindMany(ctx, ask)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("turn %d: %+v, %v, want %+v", turn, got, err, want)
			}
			if queries := len(s.sent.take()); turn == 0 && queries != 1 || turn > 0 && queries != 0 {
				t.Errorf("turn %d: %d queries", turn, queries)
			}
			if len(got) > 2 { // repeated keys have memory of their own
				got[0].Tags[0] = "changed"
				if got[2].Tags[0] == "changed" {
					t.Error("two rows of one key share memory")
				}
			}
		}
		if _, err := cached.Modify(ctx, ids[2], func(p *product) error { p.Name = "new"; return nil }); err != nil {
			t.Fatal(err)
		}
		got, err := cached.FindMany(ctx, ask)
		if err != nil || got[0].Name != "new" || got[1].Name != "old" {
			t.Errorf("after a write: %+v, %v", got, err)
		}
		for _, none := range [][]int64{nil, {}} {
			if got, err := cached.FindMany(ctx, none); err != nil || len(got) != 0 {
				t.Errorf("no keys: %v, %v", got, err)
			}
		}
	})
}

// FindManyBy is one look and one query too, and lands on the entries of FindBy.
func TestFindManyBy(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s := newShop(t)
		c := s.cache(t, st, cachedrepo.Config{Namespace: ns})
		cached := cachedrepo.Wrap(c, s.plain)
		ctx := t.Context()
		for _, sku := range []string{"a", "b", "c"} {
			s.insert(t, sku)
		}
		ask := []string{"c", "none", "a", "c"}
		want, err := repo.FindManyBy(ctx, s.plain, bySKU, ask)
		if err != nil || len(want) != 3 || want[0].SKU != "c" || want[1].SKU != "a" {
			t.Fatalf("plain: %+v, %v", want, err)
		}
		for turn := range 2 {
			s.sent.take()
			got, err := repo.FindManyBy(ctx, cached, bySKU, ask)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("turn %d: %+v, %v, want %+v", turn, got, err, want)
			}
			// The second query of the first turn asks whether SQL knows "none" by another spelling.
			if queries := len(s.sent.take()); queries != 2-2*turn {
				t.Errorf("turn %d: %d queries", turn, queries)
			}
		}
		if p, err := cached.FindBy(ctx, bySKU.Eq("a")); err != nil || p.SKU != "a" || len(s.sent.take()) != 0 {
			t.Errorf("FindBy after FindManyBy: %+v, %v", p, err)
		}
		if _, err := cached.Modify(ctx, want[0].ID, func(p *product) error { p.SKU = "none"; return nil }); err != nil {
			t.Fatal(err)
		}
		got, err := repo.FindManyBy(ctx, cached, bySKU, ask)
		if err != nil || len(got) != 2 || got[0].SKU != "none" || got[1].SKU != "a" {
			t.Errorf("after a write: %+v, %v", got, err)
		}
	})
}
