package repo_test

import (
	"context"
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

func TestModify(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		p := must(r.Insert(e.ctx, product{SKU: "A-1", Category: 5, Name: "Anvil"}))
		e.exec("UPDATE shop.products SET price = 7 WHERE id = 1")
		e.changes.take()

		got, err := r.Modify(e.ctx, p.ID, func(p *product) error {
			p.Category, p.Made, p.Version = 6, p.Made.In(time.FixedZone("x", 3600)), 400
			return nil
		})
		e.ok(err)
		if got.Category != 6 || got.Price != 700 || got.Version != 2 || !got.Made.Equal(p.Made) {
			e.Errorf("modified: %+v", got)
		}
		e.changed("1|A-1|5 -> 1|A-1|6")

		var before string
		e.ok(e.conn.Get(&before, "SELECT xmin FROM shop.products"))
		got, err = r.Modify(e.ctx, p.ID, func(p *product) error { p.Version = 99; return nil })
		e.ok(err)
		var after string
		e.ok(e.conn.Get(&after, "SELECT xmin FROM shop.products"))
		if before != after || got.Version != 2 {
			e.Errorf("nothing was altered, yet it was written: %+v", got)
		}
		e.changed()

		mine := errors.New("mine")
		if _, err = r.Modify(e.ctx, p.ID, func(*product) error { return mine }); err != mine {
			e.Errorf("change's error came back as %v", err)
		}
		_, err = r.Modify(e.ctx, p.ID, func(p *product) error { p.ID = 2; return nil })
		e.is(err, nil, "repo: shop.products: modify id=1: column id belongs to the key")
		_, err = r.Modify(e.ctx, p.ID, func(p *product) error { p.Upper = "x"; return nil })
		e.is(err, nil, "column upper_name is read-only")
		_, err = r.Modify(e.ctx, 12, func(*product) error { panic("not reached") })
		e.is(err, model.ErrNotFound, "shop.products.id=12: not found")
		e.changed()

		// A soft deletion is a Modify out of the Filter; after it the row does not exist.
		_, err = r.Modify(e.ctx, p.ID, func(p *product) error { p.Deleted.Time, p.Deleted.Valid = time.Now(), true; return nil })
		e.ok(err)
		e.changed("1|A-1|6 -> 1|A-1|6")
		_, err = r.Find(e.ctx, p.ID)
		e.is(err, model.ErrNotFound)
		_, err = r.Modify(e.ctx, p.ID, func(*product) error { return nil })
		e.is(err, model.ErrNotFound)
		e.is(r.Delete(e.ctx, p.ID), model.ErrNotFound)
		got.Version = 3
		_, err = r.Update(e.ctx, got)
		e.is(err, model.ErrNotFound)
	})
}

// In a transaction of the caller's, what found nothing does no harm, and what change refused does.
func TestErrorsInsideRun(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		e.ok(e.db.Run(e.ctx, func(ctx context.Context) error {
			_, err := r.Modify(ctx, 1, func(*product) error { return nil })
			e.is(err, model.ErrNotFound)
			e.is(r.Delete(ctx, 1), model.ErrNotFound)
			_, err = r.Insert(ctx, product{SKU: "A-1", Category: 5, Name: "Anvil"})
			e.ok(err)
			_, err = r.Update(ctx, product{ID: 1, Version: 7})
			e.is(err, model.ErrConflict, "shop.products.id=1: version conflict")
			return nil
		}))
		e.changed(" -> 1|A-1|5")
		err := e.db.Run(e.ctx, func(ctx context.Context) error {
			_, err := r.Insert(ctx, product{SKU: "A-2", Category: 5, Name: "Anvil"})
			e.ok(err)
			_, err = r.Modify(ctx, 1, func(*product) error { return &model.Error{Kind: model.ErrNotFound, Table: "other"} })
			e.is(err, model.ErrNotFound)
			return nil // dropped
		})
		e.is(err, nil)
		_, err = r.FindBy(e.ctx, bySKU.Eq("A-2"))
		e.is(err, model.ErrNotFound)
	})
}

func TestUpdate(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		p := must(r.Insert(e.ctx, product{SKU: "A-1", Category: 5, Name: "Anvil"}))
		e.changes.take()
		p.Category, p.Name = 6, "Hammer"
		q, err := r.Update(e.ctx, p)
		e.ok(err)
		if q.Version != 2 || q.Category != 6 || q.Upper != "HAMMER" {
			e.Errorf("updated: %+v", q)
		}
		e.changed("1|A-1|5 -> 1|A-1|6")
		_, err = r.Update(e.ctx, p)
		e.is(err, model.ErrConflict, "shop.products.id=1: version conflict")
		p.ID = 9
		_, err = r.Update(e.ctx, p)
		e.is(err, model.ErrNotFound, "shop.products.id=9: not found")
		_, err = repo.New(e.db, members).Update(e.ctx, member{memberKey{1, "a"}, "r"})
		e.is(err, nil, "members: update team_id,user_name=(1,a)", "Modify")
		e.changed()
	})
}

func TestDelete(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, members)
		must(r.Insert(e.ctx, member{memberKey{1, "a"}, "r"}))
		e.changes.take()
		e.ok(r.Delete(e.ctx, memberKey{1, "a"}))
		e.changed("1|a -> ")
		e.is(r.Delete(e.ctx, memberKey{1, "a"}), model.ErrNotFound, "members.team_id,user_name=(1,a)")
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

func TestBulk(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		for _, sku := range []string{"a", "b", "c"} {
			must(r.Insert(e.ctx, product{SKU: sku, Category: 5, Name: sku, Price: 100}))
		}
		e.exec("UPDATE shop.products SET deleted_at = now() WHERE sku = 'c'")
		e.changes.take()
		// Unqualified columns on both sides, the table's name as a qualifier, an index column as the target.
		n, err := r.UpdateWhere(e.ctx, repo.Bulk{
			Set:   "category_id = category_id + $1, price = products.price * 2",
			Where: "id <= $2 AND products.category_id = 5 OR sku = 'c'", Args: []any{1, 10},
		})
		e.ok(err)
		if n != 2 {
			e.Errorf("%d rows", n)
		}
		e.changed("1|a|5 -> 1|a|6", "2|b|5 -> 2|b|6")
		if p := must(r.Find(e.ctx, 1)); p.Price != 200 || p.Version != 2 {
			e.Errorf("%+v", p)
		}
		n, err = r.UpdateWhere(e.ctx, repo.Bulk{Set: "price = 1", Where: "id > 1000"})
		if err != nil || n != 0 {
			e.Errorf("none: %d %v", n, err)
		}
		_, err = r.UpdateWhere(e.ctx, repo.Bulk{Set: "price = 1", Where: " "})
		e.is(err, nil, "Bulk.Where is empty")
		_, err = r.UpdateWhere(e.ctx, repo.Bulk{Where: "TRUE"})
		e.is(err, nil, "Bulk.Set is empty")
		_, err = r.DeleteWhere(e.ctx, repo.Bulk{})
		e.is(err, nil, "Bulk.Where is empty")
		_, err = r.DeleteWhere(e.ctx, repo.Bulk{Set: "price = 1", Where: "TRUE"})
		e.is(err, nil, "Bulk.Set")
		e.changed()
		n, err = r.DeleteWhere(e.ctx, repo.Bulk{Where: "sku = $1 OR TRUE", Args: []any{"c"}}) // c is hidden
		if err != nil || n != 2 {
			e.Errorf("deleted %d, %v", n, err)
		}
		e.changed("1|a|6 -> ", "2|b|6 -> ")
		_, err = r.UpdateWhere(e.ctx, repo.Bulk{Set: "sku = 'q'", Where: "nonsense = 1"})
		e.is(err, nil, "repo: shop.products: update where nonsense = 1", "nonsense")
	})
}

func TestSuppressedWritesAreErrors(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		p := must(r.Insert(e.ctx, product{SKU: "a", Category: 5, Name: "a"}))
		e.exec("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
		e.exec("CREATE TRIGGER no BEFORE INSERT OR UPDATE OR DELETE ON shop.products FOR EACH ROW EXECUTE FUNCTION no()")
		e.changes.take()
		_, err := r.Insert(e.ctx, product{SKU: "b", Category: 5, Name: "a"})
		e.is(err, nil, "shop.products: insert", "no row came back")
		_, err = r.Modify(e.ctx, p.ID, func(p *product) error { p.Name = "b"; return nil })
		e.is(err, nil, "modify id=1", "no row came back")
		_, err = r.Update(e.ctx, p)
		e.is(err, model.ErrConflict, "was not updated")
		_, err = r.Upsert(e.ctx, product{SKU: "b", Category: 5, Name: "a"}, bySKU)
		e.is(err, nil, "was not inserted")
		_, err = r.UpdateWhere(e.ctx, repo.Bulk{Set: "name = 'x'", Where: "TRUE"})
		e.is(err, nil, "of 1 locked rows 0 were updated")
		e.changed()
	})
}
