package repo_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

func TestInsertReturnsTheRowAsStored(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		zone := time.FixedZone("far", 7*3600)
		made := time.Date(2024, 5, 1, 12, 0, 0, 123456000, zone)
		p, err := r.Insert(e.ctx, product{SKU: "A-1", Category: 5, Name: "Anvil", Price: 1234, Made: made, Upper: "ignored"})
		e.ok(err)
		if p.ID != 1 || p.Version != 1 || p.Upper != "ANVIL" || p.Price != 1234 || !p.Made.Equal(made) || p.Made.Location() != time.UTC {
			e.Errorf("stored: %+v", p)
		}
		e.changed(" -> 1|A-1|5")
		found, err := r.Find(e.ctx, 1)
		e.ok(err)
		if !reflect.DeepEqual(found, p) {
			e.Errorf("found %+v, inserted %+v", found, p)
		}
		given, err := r.Insert(e.ctx, product{ID: 77, SKU: "A-2", Category: 5, Name: "x", Version: 9})
		e.ok(err)
		if given.ID != 77 || given.Version != 9 || given.Made.IsZero() {
			e.Errorf("a given key: %+v", given)
		}
	})
}

func TestViolationsAreNamed(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		p := must(r.Insert(e.ctx, product{SKU: "A-1", Category: 5, Name: "Anvil"}))
		_, err := r.Insert(e.ctx, product{SKU: "A-1", Category: 5, Name: "Anvil"})
		var known *model.Error
		if !errors.As(err, &known) || known.Kind != model.ErrDuplicate || known.Table != "shop.products" ||
			known.Index != "sku" || known.Value != "A-1" || known.Constraint != "products_sku_key" || known.Err == nil {
			e.Errorf("duplicate: %#v", err)
		}
		e.exec("INSERT INTO reviews (product_id) VALUES ($1)", p.ID)
		err = r.Delete(e.ctx, p.ID)
		if !errors.As(err, &known) || known.Kind != model.ErrForeignKey || known.Index != "id" || known.Value != "1" ||
			known.Constraint != "reviews_product_id_fkey" {
			e.Errorf("foreign key: %#v", err)
		}
		long := strings.Repeat("é", 5000)
		_, err = r.Insert(e.ctx, product{SKU: long, Category: 5, Name: "long"})
		_, err2 := r.Insert(e.ctx, product{SKU: long, Category: 5, Name: "long"})
		if err == nil {
			err = err2
		}
		e.is(err, nil, "shop.products")
		e.changes.take()
	})
}

func TestInsertMany(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, members)
		none, err := r.InsertMany(e.ctx, nil)
		if err != nil || len(none) != 0 {
			e.Errorf("nothing to insert: %v %v", none, err)
		}
		recs := make([]member, 22_500) // of three columns each: more than one statement has parameters
		for i := range recs {
			recs[i] = member{memberKey{int64(i%7 + 1), fmt.Sprint(i)}, "r"}
		}
		stored, err := r.InsertMany(e.ctx, recs)
		e.ok(err)
		if !reflect.DeepEqual(stored, recs) {
			e.Error("not stored in order")
		}
		if n := len(e.changes.take()); n != len(recs) {
			e.Errorf("%d changes", n)
		}
		more := []member{{memberKey{100, "new"}, "r"}, recs[2]}
		_, err = r.InsertMany(e.ctx, more)
		e.is(err, model.ErrDuplicate)
		_, err = r.Find(e.ctx, memberKey{100, "new"})
		e.is(err, model.ErrNotFound)
	})
}

func TestUpsert(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		p, err := r.Upsert(e.ctx, product{SKU: "A-1", Category: 5, Name: "Anvil"}, bySKU)
		e.ok(err)
		e.changed(" -> 1|A-1|5")
		q, err := r.Upsert(e.ctx, product{ID: 50, SKU: "A-1", Category: 6, Name: "Hammer", Version: 70}, bySKU)
		e.ok(err)
		if q.ID != p.ID || q.Name != "Hammer" || q.Version != 2 || !q.Made.Equal(p.Made) {
			e.Errorf("overwritten: %+v", q)
		}
		e.changed("1|A-1|5 -> 1|A-1|6")
		q, err = r.Upsert(e.ctx, product{ID: p.ID, SKU: "B-1", Category: 6, Name: "Saw"}, products)
		e.ok(err)
		if q.SKU != "B-1" || q.ID != p.ID {
			e.Errorf("by key: %+v", q)
		}
		e.changed("1|A-1|6 -> 1|B-1|6")
		must(r.Insert(e.ctx, product{SKU: "C-1", Category: 6, Name: "Saw"}))
		e.changes.take()
		_, err = r.Upsert(e.ctx, product{ID: p.ID, SKU: "C-1", Category: 6, Name: "Saw"}, products)
		e.is(err, model.ErrDuplicate)
		// The unique index is not partial here, so the row in the way may be one that the Filter hides.
		e.exec("UPDATE shop.products SET deleted_at = now() WHERE sku = 'C-1'")
		q, err = r.Upsert(e.ctx, product{SKU: "C-1", Category: 7, Name: "Saw again"}, bySKU)
		e.ok(err)
		if q.Deleted.Valid || q.Category != 7 {
			e.Errorf("a hidden row: %+v", q)
		}
		m := repo.New(e.db, members)
		for _, role := range []string{"a", "b"} {
			got, err := m.Upsert(e.ctx, member{memberKey{1, "x"}, role}, members)
			e.ok(err)
			if got.Role != role {
				e.Errorf("composite: %+v", got)
			}
		}
	})
}

func TestPartialUniqueIndex(t *testing.T) {
	onBoth(t, func(e *env) {
		e.exec("ALTER TABLE shop.products DROP CONSTRAINT products_sku_key")
		e.exec("CREATE UNIQUE INDEX ON shop.products (sku) WHERE deleted_at IS NULL")
		r := repo.New(e.db, products)
		e.exec("INSERT INTO shop.products (sku, category_id, name, deleted_at) VALUES ('A-1', 1, 'old', now())")
		p, err := r.Upsert(e.ctx, product{SKU: "A-1", Category: 5, Name: "new"}, bySKU)
		e.ok(err)
		q, err := r.Upsert(e.ctx, product{SKU: "A-1", Category: 5, Name: "newer"}, bySKU)
		e.ok(err)
		found, err := r.FindBy(e.ctx, bySKU.Eq("A-1"))
		e.ok(err)
		if p.ID != 2 || q.ID != 2 || found.Name != "newer" {
			e.Errorf("%+v %+v %+v", p, q, found)
		}
	})
}
