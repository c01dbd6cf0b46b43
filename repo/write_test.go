package repo_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

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
