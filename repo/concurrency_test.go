package repo_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

// during runs write while another transaction has executed a statement and not committed. That one commits when write
// waits for it.
func (e *env) during(statement string, write func()) {
	e.Helper()
	other := must(e.conn.Beginx())
	other.MustExec(statement)
	over, committed := make(chan struct{}), make(chan error, 1)
	go func() {
		for waits := false; !waits; {
			select {
			case <-over:
				committed <- errors.Join(errors.New("the write did not wait"), other.Rollback())
				return
			default:
			}
			err := e.conn.Get(&waits, `SELECT EXISTS (SELECT FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock')`)
			if err != nil {
				committed <- errors.Join(err, other.Rollback())
				return
			}
		}
		committed <- other.Commit()
	}()
	defer func() {
		close(over)
		if err := <-committed; err != nil {
			e.Error(err)
		}
	}()
	write()
}

// Every before image is the row as the concurrent writer left it.
func TestImagesUnderConcurrency(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		p := must(r.Insert(e.ctx, product{SKU: "a", Category: 5, Name: "a"}))
		e.changes.take()
		move := "UPDATE shop.products SET category_id = category_id + 1"
		e.during(move, func() {
			_, err := r.Modify(e.ctx, p.ID, func(p *product) error { p.Category = 50; return nil })
			e.ok(err)
		})
		e.changed("1|a|6 -> 1|a|50")
		e.during(move, func() {
			_, err := r.Update(e.ctx, product{ID: p.ID, SKU: "a", Category: 60, Version: 2})
			e.ok(err)
		})
		e.changed("1|a|51 -> 1|a|60")
		e.during(move, func() {
			_, err := r.Upsert(e.ctx, product{SKU: "a", Category: 70}, bySKU)
			e.ok(err)
		})
		e.changed("1|a|61 -> 1|a|70")
		e.during(move, func() {
			_, err := r.UpdateWhere(e.ctx, repo.Bulk{Set: "category_id = 80", Where: "TRUE"})
			e.ok(err)
		})
		e.changed("1|a|71 -> 1|a|80")
		e.during(move, func() { e.ok(r.Delete(e.ctx, p.ID)) })
		e.changed("1|a|81 -> ")
		e.exec("INSERT INTO shop.products (id, sku, category_id, name) VALUES (1, 'a', 1, 'a')")
		e.during(move, func() {
			_, err := r.DeleteWhere(e.ctx, repo.Bulk{Where: "TRUE"})
			e.ok(err)
		})
		e.changed("1|a|2 -> ")
	})
}

func TestUpsertSeesConcurrentInsert(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		e.during("INSERT INTO shop.products (id, sku, category_id, name) VALUES (40, 'a', 5, 'a')", func() {
			_, err := r.Upsert(e.ctx, product{SKU: "a", Category: 70}, bySKU)
			e.ok(err)
		})
		e.changed("40|a|5 -> 40|a|70")
	})
}

func TestUpdateOfConcurrentlyUpdatedRowConflicts(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		p := must(r.Insert(e.ctx, product{SKU: "a", Category: 5, Name: "a"}))
		e.during("UPDATE shop.products SET version = version + 1, name = 'b'", func() {
			_, err := r.Update(e.ctx, p)
			e.is(err, model.ErrConflict)
		})
		if got := must(r.Find(e.ctx, p.ID)); got.Name != "b" {
			e.Errorf("%+v", got)
		}
	})
}

// A plain UPDATE would change the row; the joined one misses it, notices, and tries again.
func TestKeyChangesWhileUpdateWhereWaits(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		must(r.Insert(e.ctx, product{SKU: "a", Category: 5, Name: "a"}))
		must(r.Insert(e.ctx, product{SKU: "b", Category: 5, Name: "b"}))
		e.changes.take()
		e.during("UPDATE shop.products SET id = 100 WHERE id = 1", func() {
			n, err := r.UpdateWhere(e.ctx, repo.Bulk{Set: "category_id = category_id + 1", Where: "category_id = 5"})
			if n != 2 || err != nil {
				e.Errorf("%d, %v", n, err)
			}
		})
		var moved int
		e.ok(e.conn.Get(&moved, "SELECT count(*) FROM shop.products WHERE category_id = 6"))
		if moved != 2 {
			e.Errorf("%d rows moved", moved)
		}
		if n := len(e.changes.take()); n < 2 {
			e.Errorf("%d changes", n)
		}
	})
}

// Rows with a foreign key to a row that a write holds must not wait for it.
func TestForeignKeysDoNotWait(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		p := must(r.Insert(e.ctx, product{SKU: "a", Category: 5, Name: "a"}))
		for name, write := range map[string]func(ctx context.Context) error{
			"modify": func(ctx context.Context) error {
				_, err := r.Modify(ctx, p.ID, func(p *product) error { p.Category++; return nil })
				return err
			},
			"update": func(ctx context.Context) error {
				now := must(r.Find(ctx, p.ID))
				_, err := r.Update(ctx, now)
				return err
			},
			"upsert": func(ctx context.Context) error {
				_, err := r.Upsert(ctx, product{SKU: "a", Category: 7}, bySKU)
				return err
			},
			"upsert by key": func(ctx context.Context) error {
				_, err := r.Upsert(ctx, product{ID: p.ID, SKU: "a", Category: 7}, products)
				return err
			},
			"update where": func(ctx context.Context) error {
				_, err := r.UpdateWhere(ctx, repo.Bulk{Set: "price = 1", Where: "TRUE"})
				return err
			},
		} {
			e.ok(e.db.Run(e.ctx, func(ctx context.Context) error {
				e.ok(write(ctx))
				tx := must(e.conn.Beginx())
				tx.MustExec("SET LOCAL lock_timeout = '1s'")
				if _, err := tx.Exec("INSERT INTO reviews (product_id) VALUES ($1)", p.ID); err != nil {
					e.Errorf("%s: %v", name, err)
				}
				return tx.Rollback()
			}))
		}
	})
}

func TestNoModificationIsLost(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		p := must(r.Insert(e.ctx, product{SKU: "a", Category: 0, Name: "a"}))
		e.conn.SetMaxOpenConns(8)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 10 {
					_, err := r.Modify(e.ctx, p.ID, func(p *product) error { p.Category++; return nil })
					if err != nil {
						e.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if got := must(r.Find(e.ctx, p.ID)); got.Category != 80 || got.Version != 81 {
			e.Errorf("%+v", got)
		}
	})
}
