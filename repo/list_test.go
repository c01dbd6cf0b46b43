package repo_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

// Pages of any size, put together, are what one ORDER BY returns, for uniform and mixed directions and for orders with
// many equal values.
func TestPagesTogetherAreTheList(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		random := rand.New(rand.NewPCG(1, 2))
		var recs []product
		for i := range 120 {
			made := time.Date(2024, 1, 1, 0, 0, random.IntN(5), random.IntN(3)*1000, time.UTC)
			recs = append(recs, product{SKU: fmt.Sprint(i), Category: 5, Name: fmt.Sprint(random.IntN(3)), Made: made})
		}
		must(r.InsertMany(e.ctx, recs))
		e.exec("UPDATE shop.products SET deleted_at = now() WHERE id % 10 = 0")
		samePages(e, r, byCategory.Eq(5), "category_id = 5 ORDER BY made DESC, name, id", []int{1, 7, 108, 1000})

		m := repo.New(e.db, members)
		for i := range 30 {
			must(m.Insert(e.ctx, member{memberKey{3, fmt.Sprint(i)}, ""}))
		}
		samePages(e, m, byTeam.Eq(3), "team_id = 3 ORDER BY user_name DESC", []int{1, 4, 30})

		th := repo.New(e.db, things)
		for range 60 {
			must(th.Insert(e.ctx, thing{
				Size: float32(random.IntN(3)) / 10, Amount: money4(fmt.Sprint(random.IntN(12))), Small: int16(random.IntN(2)),
			}))
		}
		samePages(e, th, bySize.Eq(false), "NOT on_sale ORDER BY size DESC, amount, small DESC, id", []int{1, 7, 60})
	})
}

func samePages[T any, K comparable](e *env, r *repo.SQL[T, K], at model.Many[T], where string, sizes []int) {
	e.Helper()
	want := must(r.Where(e.ctx, where))
	for _, size := range sizes {
		var got []T
		page := repo.Page{Limit: size}
		for {
			list, err := r.ListBy(e.ctx, at, page)
			e.ok(err)
			if len(list.Items) > size || (list.Next != "" && len(list.Items) != size) {
				e.Fatalf("a page of %d has %d items", size, len(list.Items))
			}
			got = append(got, list.Items...)
			if page.After = list.Next; page.After == "" {
				break
			}
		}
		if !reflect.DeepEqual(got, want) {
			e.Errorf("%s by %d: %d items, want %d", where, size, len(got), len(want))
		}
	}
}

func TestPagesAndConcurrentChanges(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, members)
		for i := range 10 {
			must(r.Insert(e.ctx, member{memberKey{3, fmt.Sprint(i)}, ""}))
		}
		list := must(r.ListBy(e.ctx, byTeam.Eq(3), repo.Page{Limit: 3})) // 9 8 7
		e.ok(r.Delete(e.ctx, list.Items[2].memberKey))                   // the row the cursor stands after
		must(r.Insert(e.ctx, member{memberKey{3, "95"}, ""}))
		list = must(r.ListBy(e.ctx, byTeam.Eq(3), repo.Page{After: list.Next, Limit: 3}))
		if list.Items[0].User != "6" || list.Items[2].User != "4" {
			e.Errorf("%v", list.Items)
		}
	})
}

func TestLimitsAndCursors(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, members)
		var recs []member
		for i := range 60 {
			recs = append(recs, member{memberKey{3, uuid.NewString()}, fmt.Sprint(i)})
		}
		must(r.InsertMany(e.ctx, recs))
		list := must(r.ListBy(e.ctx, byTeam.Eq(3), repo.Page{}))
		if len(list.Items) != 50 || list.Next == "" {
			e.Errorf("limit 0: %d items", len(list.Items))
		}
		for _, limit := range []int{-1, 1001} {
			_, err := r.ListBy(e.ctx, byTeam.Eq(3), repo.Page{Limit: limit})
			e.is(err, nil, "repo: members: list team_id=3: limit", fmt.Sprint(limit))
		}
		_, err := r.ListBy(e.ctx, byTeam.Eq(4), repo.Page{After: list.Next})
		e.is(err, repo.ErrCursor, "another index, order or value")
		_, err = repo.New(e.db, products).ListBy(e.ctx, byCategory.Eq(3), repo.Page{After: list.Next})
		e.is(err, repo.ErrCursor, "another index, order or value")
		for _, bad := range []repo.Cursor{"x", "a b", list.Next[1:], list.Next + "A", list.Next[:len(list.Next)-1]} {
			_, err := r.ListBy(e.ctx, byTeam.Eq(3), repo.Page{After: bad})
			e.is(err, repo.ErrCursor, "damaged")
		}
		if slices.ContainsFunc([]byte(list.Next), func(b byte) bool {
			return !('a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '-' || b == '_')
		}) {
			e.Errorf("not fit for a URL: %s", list.Next)
		}
		if errors.Is(err, model.ErrNotFound) {
			e.Error("a bad cursor is not a missing row")
		}
	})
}
