package repo_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/asidego/aside/repo"
)

func TestWhereAndAll(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		recs := make([]product, 1700)
		for i := range recs {
			recs[i] = product{SKU: fmt.Sprint(i), Category: int64(i % 2), Name: "n"}
		}
		must(r.InsertMany(e.ctx, recs))
		e.exec("UPDATE shop.products SET deleted_at = now() WHERE id = 1000")
		got, err := r.Where(e.ctx, "products.id < $1 OR id = 1000 ORDER BY id DESC LIMIT 3", 1001)
		e.ok(err)
		if len(got) != 3 || got[0].ID != 999 {
			e.Errorf("%+v", got)
		}
		_, err = r.Where(e.ctx, "id <")
		e.is(err, nil, "repo: shop.products: select where id <")
		var ids []int64
		for p, err := range r.All(e.ctx) {
			e.ok(err)
			ids = append(ids, p.ID)
		}
		if len(ids) != 1699 || ids[998] != 999 || ids[999] != 1001 {
			e.Errorf("%d rows", len(ids))
		}
		// A loop that is left, with one connection: the next statement would wait for ever if All held it.
		e.conn.SetMaxOpenConns(1)
		for p, err := range r.All(e.ctx) {
			e.ok(err)
			if _, err := r.Find(e.ctx, p.ID); err != nil {
				e.Error(err)
			}
			if p.ID == 700 {
				break
			}
		}
		ctx, cancel := context.WithCancel(e.ctx)
		defer cancel()
		last, n := error(nil), 0
		for _, err := range r.All(ctx) {
			if n++; n == 500 {
				cancel()
			}
			last = err
		}
		e.is(last, context.Canceled, "repo: shop.products: select all")
		if n != 501 {
			e.Errorf("%d rows", n)
		}
	})
}

func TestCancelledReads(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		recs := make([]product, 300)
		for i := range recs {
			recs[i] = product{SKU: fmt.Sprint(i), Category: 5, Name: strings.Repeat("long", 100)}
		}
		must(r.InsertMany(e.ctx, recs))
		// Before the first row, and between rows: the second error comes out of the result, not of the query.
		for _, sleeps := range []string{"pg_sleep(9) IS NULL", "id < 300 OR pg_sleep(9) IS NULL"} {
			ctx, cancel := context.WithTimeout(e.ctx, 200*time.Millisecond)
			_, err := r.Where(ctx, sleeps)
			cancel()
			e.is(err, context.DeadlineExceeded, "repo: shop.products: select where "+sleeps)
		}
	})
}
