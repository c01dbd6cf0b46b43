package repo_test

import (
	"testing"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

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
