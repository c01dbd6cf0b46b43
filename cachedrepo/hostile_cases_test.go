package cachedrepo_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// Most cases look at rows while nothing has happened, so that they are cached, "not found" included, do something, and
// look again. have and see look at items.
var hostileCases = []hostile{
	// Writes, by every method.
	{"insert of a row that was looked for", func(e *env) {
		e.see([]int64{1, 2}, "a", "b")
		rec, err := e.items.Insert(e.ctx, item{ID: 1, Slug: "a"})
		e.say("insert", rec, err)
		e.see([]int64{1, 2}, "a", "b")
	}, 0},
	{"insert that fails", func(e *env) {
		ids := e.have("a")
		_, err := e.items.Insert(e.ctx, item{ID: 2, Slug: "a"})
		e.did("insert", err)
		e.see(append(ids, 2), "a")
	}, 0},
	{"insert many, all or none", func(e *env) {
		ids := append(e.have("a"), 2, 3, 4)
		_, err := e.sqlItems.InsertMany(e.ctx, []item{{ID: 2, Slug: "b"}, {ID: 3, Slug: "a"}})
		e.did("insert many", err)
		e.see(ids, "a", "b", "c")
		_, err = e.sqlItems.InsertMany(e.ctx, []item{{ID: 3, Slug: "c"}, {ID: 2, Slug: "b"}})
		e.did("insert many", err)
		e.see(ids, "a", "b", "c")
	}, 0},
	{"modify", func(e *env) {
		ids := e.have("a", "b")
		rec, err := e.items.Modify(e.ctx, 1, named("new"))
		e.say("modify", rec, err)
		e.see(ids, "a", "b")
	}, 0},
	{"modify that changes nothing", func(e *env) {
		ids := e.have("a")
		rec, err := e.items.Modify(e.ctx, 1, named("n1"))
		e.say("modify", rec, err)
		e.see(ids, "a")
	}, 0},
	{"modify that gives up", func(e *env) {
		ids := e.have("a")
		_, err := e.items.Modify(e.ctx, 1, func(i *item) error { i.Name = "lost"; return errHostile })
		e.did("modify", err)
		e.see(ids, "a")
	}, 0},
	{"modify of the key is refused", func(e *env) {
		ids := append(e.have("a"), 9)
		_, err := e.items.Modify(e.ctx, 1, func(i *item) error { i.ID = 9; return nil })
		e.did("modify", err)
		e.see(ids, "a")
	}, 0},
	{"update of a record from the cache", func(e *env) {
		ids := e.have("a", "b")
		rec, err := e.items.FindBy(e.ctx, itemSlug.Eq("a"))
		e.say("found", rec, err)
		rec.Slug, rec.Name = "c", "new"
		rec, err = e.items.Update(e.ctx, rec)
		e.say("update", rec, err)
		e.see(ids, "a", "b", "c")
	}, 0},
	{"update of an old record", func(e *env) {
		ids := e.have("a")
		old, _ := e.items.Find(e.ctx, 1)
		_, err := e.items.Modify(e.ctx, 1, named("theirs"))
		e.did("modify", err)
		old.Name = "mine"
		_, err = e.items.Update(e.ctx, old)
		e.did("update", err)
		e.see(ids, "a")
	}, 0},
	{"update with a record that the cache holds and somebody else changed", func(e *env) {
		ids := e.have("a")
		e.exec(`UPDATE items SET name = 'theirs', version = version + 1 WHERE id = 1`)
		rec, _ := e.sqlItems.Find(e.ctx, 1)
		rec.Version--
		_, err := e.items.Update(e.ctx, rec)
		e.did("update", err)
		e.did("invalidate", e.cache.Invalidate(e.ctx, items.Row(1)))
		e.see(ids, "a")
	}, 0},
	{"update of no row", func(e *env) {
		ids := append(e.have("a"), 2)
		_, err := e.items.Update(e.ctx, item{ID: 2, Slug: "b", Version: 1})
		e.did("update", err)
		e.see(ids, "a", "b")
	}, 0},
	{"upsert by the key", func(e *env) {
		ids := append(e.have("a", "b"), 3)
		for _, i := range []item{{ID: 2, Slug: "c", Name: "over"}, {ID: 3, Slug: "b", Name: "new"}, {ID: 3, Slug: "d", Name: "again"}, {ID: 1, Slug: "d", Name: "twice"}} {
			rec, err := e.sqlItems.Upsert(e.ctx, i, items)
			e.say("upsert", rec, err)
			e.see(ids, "a", "b", "c", "d")
		}
	}, 0},
	{"upsert by a unique value", func(e *env) {
		ids := append(e.have("a", "b"), 3, 101)
		for _, i := range []item{{ID: 3, Slug: "b", Name: "over"}, {ID: 3, Slug: "c", Name: "new"}, {Slug: "d", Name: "numbered"}, {ID: 1, Slug: "e", Name: "key taken"}} {
			rec, err := e.sqlItems.Upsert(e.ctx, i, itemSlug)
			e.say("upsert", rec, err)
			e.see(ids, "a", "b", "c", "d", "e")
		}
	}, 0},
	{"update where", func(e *env) {
		ids := e.have("a", "b", "c")
		n, err := e.sqlItems.UpdateWhere(e.ctx, repo.Bulk{Set: "slug = slug || $1, team = NULL", Where: "team = $2 AND id < 3", Args: []any{"2", 7}})
		e.say("update where", n, err)
		e.see(ids, "a", "b", "c", "a2", "b2")
	}, 0},
	{"update where that moves keys", func(e *env) {
		ids := append(e.have("a", "b"), 11, 12)
		n, err := e.sqlItems.UpdateWhere(e.ctx, repo.Bulk{Set: "id = id + 10", Where: "TRUE"})
		e.say("update where", n, err)
		e.see(ids, "a", "b")
	}, 0},
	{"update where that fails", func(e *env) {
		ids := e.have("a", "b")
		_, err := e.sqlItems.UpdateWhere(e.ctx, repo.Bulk{Set: "slug = 'same'", Where: "TRUE"})
		e.did("update where", err)
		e.see(ids, "a", "b", "same")
	}, 0},
	{"delete where", func(e *env) {
		ids := e.have("a", "b", "c")
		n, err := e.sqlItems.DeleteWhere(e.ctx, repo.Bulk{Where: "id >= $1", Args: []any{2}})
		e.say("delete where", n, err)
		e.see(ids, "a", "b", "c")
	}, 0},
	{"delete", func(e *env) {
		ids := e.have("a", "b")
		e.did("delete", e.items.Delete(e.ctx, 1))
		e.did("delete", e.items.Delete(e.ctx, 1))
		e.see(ids, "a", "b")
	}, 0},
	{"delete and insert of the same key", func(e *env) {
		ids := e.have("a")
		e.did("delete", e.items.Delete(e.ctx, 1))
		e.see(ids, "a", "b")
		_, err := e.items.Insert(e.ctx, item{ID: 1, Slug: "b"})
		e.did("insert", err)
		e.see(ids, "a", "b")
	}, 0},
	{"delete and insert of the same key in one transaction", func(e *env) {
		ids := e.have("a")
		e.run("run", func(ctx context.Context) error {
			if err := e.items.Delete(ctx, 1); err != nil {
				return err
			}
			e.seeIn(ctx, ids, "a", "b")
			_, err := e.items.Insert(ctx, item{ID: 1, Slug: "b"})
			return err
		})
		e.see(ids, "a", "b")
	}, 0},

	// Hand-written SQL.
	{"SQL with Touch of a row", func(e *env) {
		ids := e.have("a", "b")
		e.run("run", func(ctx context.Context) error {
			if err := txhooks.Touch(ctx, items.Row(1)); err != nil {
				return err
			}
			return e.send(ctx, `UPDATE items SET slug = 'c', name = 'by hand' WHERE id = 1`)
		})
		e.see(ids, "a", "b", "c")
	}, 0},
	{"SQL with Touch of a unique value", func(e *env) {
		ids := e.have("a", "b")
		e.run("run", func(ctx context.Context) error {
			if err := txhooks.Touch(ctx, itemSlug.Eq("a")); err != nil {
				return err
			}
			return e.send(ctx, `UPDATE items SET slug = 'c' WHERE slug = 'a'`)
		})
		e.see(ids, "a", "b", "c")
	}, 0},
	{"SQL with Touch of a plain index", func(e *env) {
		ids := e.have("a", "b", "c")
		e.exec(`UPDATE items SET team = 8 WHERE id = 3`)
		e.run("run", func(ctx context.Context) error {
			if err := txhooks.Touch(ctx, itemTeam.Eq(7)); err != nil {
				return err
			}
			return e.send(ctx, `UPDATE items SET slug = slug || '!', team = 9 WHERE team = 7`)
		})
		e.did("invalidate", e.cache.Invalidate(e.ctx, items.Row(3)))
		e.see(ids, "a", "b", "c", "a!", "b!")
	}, 0},
	{"TRUNCATE with Touch of all", func(e *env) {
		ids := e.have("a", "b")
		e.run("run", func(ctx context.Context) error {
			if err := txhooks.Touch(ctx, items.All()); err != nil {
				return err
			}
			return e.send(ctx, `TRUNCATE items`)
		})
		e.see(ids, "a", "b")
	}, 0},
	{"a key changed by SQL, both touched", func(e *env) {
		ids := append(e.have("a"), 5)
		e.run("run", func(ctx context.Context) error {
			if err := txhooks.Touch(ctx, items.Row(1), items.Row(5)); err != nil {
				return err
			}
			return e.send(ctx, `UPDATE items SET id = 5 WHERE id = 1`)
		})
		e.see(ids, "a")
	}, 0},
	{"rows inserted by SQL, touched before", func(e *env) {
		ids := append(e.have("a"), 2)
		e.run("run", func(ctx context.Context) error {
			if err := txhooks.Touch(ctx, items.Row(2)); err != nil {
				return err
			}
			return e.send(ctx, `INSERT INTO items (id, slug) VALUES (2, 'b')`)
		})
		e.see(ids, "a", "b")
	}, 0},
	{"rows inserted by SQL, touched after", func(e *env) {
		ids := append(e.have("a"), 2)
		e.run("run", func(ctx context.Context) error {
			if err := e.send(ctx, `INSERT INTO items (id, slug) VALUES (2, 'b')`); err != nil {
				return err
			}
			return txhooks.Touch(ctx, items.Row(2))
		})
		e.see(ids, "a", "b")
	}, 0},
	{"a row replaced by SQL under the same key and slug", func(e *env) {
		ids := e.have("a")
		e.run("run", func(ctx context.Context) error {
			if err := txhooks.Touch(ctx, items.Row(1)); err != nil {
				return err
			}
			if err := e.send(ctx, `DELETE FROM items WHERE id = 1`); err != nil {
				return err
			}
			return e.send(ctx, `INSERT INTO items (id, slug, name) VALUES (1, 'a', 'another')`)
		})
		e.see(ids, "a")
	}, 0},
	{"SQL that nobody reported, then Invalidate", func(e *env) {
		ids := append(e.have("a", "b"), 3)
		e.exec(`UPDATE items SET name = 'silent' WHERE id = 1; DELETE FROM items WHERE id = 2; INSERT INTO items (id, slug) VALUES (3, 'c')`)
		e.did("invalidate", e.cache.Invalidate(e.ctx, items.Row(1), items.Row(2), items.Row(3), itemSlug.Eq("b"), itemSlug.Eq("c")))
		e.see(ids, "a", "b", "c")
	}, 0},
	{"View.Write", func(e *env) {
		ids := e.have("a", "b")
		err := e.cache.View("v").Write(e.ctx, model.Refs{items.Row(1), itemSlug.Eq("b")}, func(ctx context.Context) error {
			return e.send(ctx, `UPDATE items SET slug = slug || '?'`)
		})
		e.did("write", err)
		e.see(ids, "a", "b", "a?", "b?")
	}, 0},
	{"View.Write that sends nothing", func(e *env) {
		ids := e.have("a")
		e.did("write", e.cache.View("v").Write(e.ctx, model.Refs{items.Row(1)}, func(context.Context) error { return nil }))
		e.see(ids, "a")
	}, 0},
	{"View.Write that fails", func(e *env) {
		ids := e.have("a")
		e.did("write", e.cache.View("v").Write(e.ctx, model.Refs{items.Row(1)}, func(ctx context.Context) error {
			return errors.Join(e.send(ctx, `UPDATE items SET name = 'lost'`), errHostile)
		}))
		e.see(ids, "a")
	}, 0},
	{"a cursor's worth of SQL through the sqlx transaction", func(e *env) {
		ids := e.have("a")
		e.run("run", func(ctx context.Context) error {
			tx, _ := e.db.Tx(ctx)
			if err := txhooks.Touch(ctx, items.Row(1)); err != nil {
				return err
			}
			_, err := tx.NamedExecContext(ctx, `UPDATE items SET name = :n, slug = :s WHERE id = 1`, map[string]any{"n": "x", "s": "z"})
			return err
		})
		e.see(ids, "a", "z")
	}, 0},

	// Unique values that move.
	{"unique values swapped between two rows", func(e *env) {
		ids := e.have("a", "b")
		e.run("run", func(ctx context.Context) error {
			for _, m := range []struct {
				id   int64
				slug string
			}{{1, "tmp"}, {2, "a"}, {1, "b"}} {
				if _, err := e.items.Modify(ctx, m.id, slugged(m.slug)); err != nil {
					return err
				}
			}
			return nil
		})
		e.see(ids, "a", "b", "tmp")
	}, 0},
	{"a unique value freed, then taken by another row", func(e *env) {
		ids := e.have("a", "b")
		_, err := e.items.Modify(e.ctx, 1, slugged("c"))
		e.did("modify", err)
		e.see(ids, "a", "b", "c")
		_, err = e.items.Modify(e.ctx, 2, slugged("a"))
		e.did("modify", err)
		e.see(ids, "a", "b", "c")
	}, 0},
	{"a unique value freed and taken in one transaction", func(e *env) {
		ids := append(e.have("a", "b"), 3)
		e.run("run", func(ctx context.Context) error {
			err := e.items.Delete(ctx, 1)
			_, err2 := e.items.Insert(ctx, item{ID: 3, Slug: "a"})
			e.seeIn(ctx, ids, "a", "b")
			return errors.Join(err, err2)
		})
		e.see(ids, "a", "b")
	}, 0},
	{"a unique value there and back", func(e *env) {
		ids := e.have("a")
		for _, slug := range []string{"b", "a", "b", "a"} {
			_, err := e.items.Modify(e.ctx, 1, slugged(slug))
			e.did("modify", err)
			e.see(ids, "a", "b")
		}
	}, 0},
	{"a unique value that cannot be had", func(e *env) {
		ids := e.have("a", "b")
		_, err := e.items.Modify(e.ctx, 1, slugged("b"))
		e.did("modify", err)
		e.see(ids, "a", "b")
	}, 0},

	// Transactions.
	{"reads inside a transaction, before and after its writes", func(e *env) {
		ids := append(e.have("a", "b"), 3)
		e.run("run", func(ctx context.Context) error {
			e.seeIn(ctx, ids, "a", "b", "c")
			_, err := e.items.Modify(ctx, 1, slugged("c"))
			e.did("modify", err)
			e.did("delete", e.items.Delete(ctx, 2))
			_, err = e.items.Insert(ctx, item{ID: 3, Slug: "b"})
			e.did("insert", err)
			e.seeIn(ctx, ids, "a", "b", "c")
			e.see(ids, "a", "b", "c") // as others see it
			return nil
		})
		e.see(ids, "a", "b", "c")
	}, 0},
	{"reads of a transaction that rolls back", func(e *env) {
		ids := append(e.have("a"), 2)
		e.run("run", func(ctx context.Context) error {
			_, err := e.items.Modify(ctx, 1, slugged("c"))
			e.did("modify", err)
			_, err = e.items.Insert(ctx, item{ID: 2, Slug: "b"})
			e.did("insert", err)
			e.seeIn(ctx, ids, "a", "b", "c")
			return errHostile
		})
		e.see(ids, "a", "b", "c")
	}, 0},
	{"a panic in fn", func(e *env) {
		ids := e.have("a")
		e.run("run", func(ctx context.Context) error {
			_, err := e.items.Modify(ctx, 1, slugged("c"))
			e.did("modify", err)
			e.seeIn(ctx, ids, "a", "c")
			panic("of fn")
		})
		e.see(ids, "a", "c")
	}, 0},
	{"a savepoint rolled back", func(e *env) {
		ids := append(e.have("a", "b"), 3)
		e.run("run", func(ctx context.Context) error {
			_, err := e.items.Modify(ctx, 1, slugged("c"))
			e.did("modify", err)
			e.did("savepoint", e.db.Savepoint(ctx, func(ctx context.Context) error {
				_, err := e.items.Modify(ctx, 2, slugged("d"))
				e.did("modify", err)
				_, err = e.items.Insert(ctx, item{ID: 3, Slug: "a"})
				e.did("insert", err)
				e.seeIn(ctx, ids, "a", "b", "c", "d")
				return errHostile
			}))
			e.seeIn(ctx, ids, "a", "b", "c", "d")
			return nil
		})
		e.see(ids, "a", "b", "c", "d")
	}, 0},
	{"a savepoint after a failed statement", func(e *env) {
		ids := append(e.have("a", "b"), 3)
		e.run("run", func(ctx context.Context) error {
			e.did("savepoint", e.db.Savepoint(ctx, func(ctx context.Context) error {
				_, err := e.items.Insert(ctx, item{ID: 3, Slug: "a"})
				return err
			}))
			_, err := e.items.Insert(ctx, item{ID: 3, Slug: "c"})
			return err
		})
		e.see(ids, "a", "b", "c")
	}, 0},
	{"a touch within a savepoint rolled back", func(e *env) {
		ids := e.have("a")
		e.run("run", func(ctx context.Context) error {
			e.did("savepoint", e.db.Savepoint(ctx, func(ctx context.Context) error {
				err := txhooks.Touch(ctx, items.Row(1))
				return errors.Join(err, e.send(ctx, `UPDATE items SET slug = 'lost'`), errHostile)
			}))
			return e.send(ctx, `SELECT 1`)
		})
		e.see(ids, "a", "lost")
	}, 0},
	{"a nested Run that fails and is forgotten", func(e *env) {
		ids := e.have("a", "b")
		e.run("run", func(ctx context.Context) error {
			_, err := e.items.Modify(ctx, 1, slugged("c"))
			e.did("modify", err)
			e.did("nested", e.db.Run(ctx, func(ctx context.Context) error {
				_, err := e.items.Modify(ctx, 2, slugged("d"))
				return errors.Join(err, errHostile)
			}))
			return nil
		})
		e.see(ids, "a", "b", "c", "d")
	}, 0},
	{"a nested Run that works", func(e *env) {
		ids := e.have("a", "b")
		e.run("run", func(ctx context.Context) error {
			return e.db.Run(ctx, func(ctx context.Context) error {
				_, err := e.items.Modify(ctx, 1, slugged("c"))
				e.see(ids, "a", "b", "c")
				return err
			})
		})
		e.see(ids, "a", "b", "c")
	}, 0},
	{"a failed statement swallowed", func(e *env) {
		ids := append(e.have("a", "b"), 3)
		e.run("run", func(ctx context.Context) error {
			_, err := e.items.Modify(ctx, 1, slugged("c"))
			e.did("modify", err)
			_, err = e.items.Insert(ctx, item{ID: 3, Slug: "b"})
			e.did("insert", err)
			return nil
		})
		e.see(ids, "a", "b", "c")
	}, 0},
	{"a deferred constraint refuses COMMIT", func(e *env) {
		kids, olds := of(e, children), of(e, parents)
		look(e, kids, 1)
		e.run("run", func(ctx context.Context) error {
			none := int64(404)
			rec, err := kids.Insert(ctx, child{ID: 1, Parent: &none, Name: "lost"})
			e.say("insert", rec, err)
			_, err = olds.Insert(ctx, parent{ID: 1, Name: "lost"})
			return err
		})
		look(e, kids, 1)
		look(e, olds, 1)
	}, 0},
	{"a serialization failure, and a second attempt", func(e *env) {
		ids := e.have("a", "b")
		attempts := 0
		e.runWith("run", txhooks.Options{Isolation: sql.LevelRepeatableRead, Retries: 2}, func(ctx context.Context) error {
			attempts++
			e.seeIn(ctx, ids, "a")
			if attempts == 1 {
				_, err := e.items.Modify(e.ctx, 1, named("theirs")) // another transaction, the faster one
				e.did("modify", err)
			}
			_, err := e.items.Modify(ctx, 1, func(i *item) error { i.Name += " and mine"; return nil })
			return err
		})
		e.say("attempts", attempts, nil)
		e.see(ids, "a", "b")
	}, 0},
	{"a serialization failure without another attempt", func(e *env) {
		ids := e.have("a")
		e.runWith("run", txhooks.Options{Isolation: sql.LevelSerializable}, func(ctx context.Context) error {
			e.seeIn(ctx, ids, "a")
			_, err := e.items.Modify(e.ctx, 1, named("theirs"))
			e.did("modify", err)
			_, err = e.items.Modify(ctx, 1, slugged("mine"))
			return err
		})
		e.see(ids, "a", "mine")
	}, 0},
	{"an old snapshot is nobody else's", func(e *env) {
		ids := append(e.have("a"), 2)
		e.runWith("run", txhooks.Options{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, func(ctx context.Context) error {
			e.seeIn(ctx, ids, "a", "b", "c")
			_, err := e.items.Modify(e.ctx, 1, slugged("b"))
			e.did("modify", err)
			_, err = e.items.Insert(e.ctx, item{ID: 2, Slug: "c"})
			e.did("insert", err)
			e.seeIn(ctx, ids, "a", "b", "c")
			e.see(ids, "a", "b", "c")
			return nil
		})
		e.see(ids, "a", "b", "c")
	}, 0},
	{"a write in a read-only transaction", func(e *env) {
		ids := e.have("a")
		e.runWith("run", txhooks.Options{ReadOnly: true}, func(ctx context.Context) error {
			_, err := e.items.Modify(ctx, 1, slugged("b"))
			return err
		})
		e.see(ids, "a", "b")
	}, 0},
	{"a raw COMMIT is refused", func(e *env) {
		ids := e.have("a")
		e.run("run", func(ctx context.Context) error {
			_, err := e.items.Modify(ctx, 1, slugged("b"))
			e.did("modify", err)
			return e.send(ctx, `/* quietly */ COMMIT`)
		})
		e.see(ids, "a", "b")
	}, 0},
	{"a raw COMMIT through the sqlx transaction", func(e *env) {
		ids := e.have("a", "b")
		e.run("run", func(ctx context.Context) error {
			tx, _ := e.db.Tx(ctx)
			_, err := e.items.Modify(ctx, 1, slugged("c"))
			e.did("modify", err)
			_, err = tx.ExecContext(ctx, `COMMIT`)
			return err
		})
		e.see(ids, "a", "b", "c")
	}, 0},
	{"a raw ROLLBACK through the sqlx transaction", func(e *env) {
		ids := e.have("a", "b")
		e.run("run", func(ctx context.Context) error {
			tx, _ := e.db.Tx(ctx)
			_, err := e.items.Modify(ctx, 1, slugged("c"))
			e.did("modify", err)
			_, err = tx.ExecContext(ctx, `ROLLBACK`)
			return err
		})
		e.see(ids, "a", "b", "c")
	}, 0},
	{"a context cancelled before COMMIT", func(e *env) {
		ids := e.have("a")
		ctx, cancel := context.WithCancel(e.ctx)
		defer cancel()
		err := e.db.Run(ctx, func(ctx context.Context) error {
			_, err := e.items.Modify(ctx, 1, slugged("b"))
			e.did("modify", err)
			cancel()
			return nil
		})
		e.did("run", err)
		e.see(ids, "a", "b")
	}, 0},
	{"a lock that is not to be had", func(e *env) {
		ids := e.have("a")
		e.run("run", func(ctx context.Context) error {
			_, err := e.items.Modify(ctx, 1, slugged("b"))
			e.did("modify", err)
			e.did("other", e.db.Run(e.ctx, func(ctx context.Context) error {
				if err := e.send(ctx, `SET LOCAL lock_timeout = '20ms'`); err != nil {
					return err
				}
				_, err := e.items.Modify(ctx, 1, slugged("c"))
				return err
			}))
			e.see(ids, "a", "b", "c")
			return nil
		})
		e.see(ids, "a", "b", "c")
	}, 0},
	{"the context of a transaction that is over", func(e *env) {
		ids := e.have("a")
		var kept context.Context
		e.run("run", func(ctx context.Context) error {
			kept = ctx
			_, err := e.items.Modify(ctx, 1, slugged("b"))
			return err
		})
		e.seeIn(kept, ids, "a", "b")
		_, err := e.items.Modify(kept, 1, slugged("c"))
		e.did("modify", err)
		e.see(ids, "a", "b", "c")
	}, 0},

	// Hooks.
	{"reads in hooks", func(e *env) {
		ids := e.have("a")
		e.run("run", func(ctx context.Context) error {
			txhooks.BeforeCommit(ctx, func(ctx context.Context) error { e.seeIn(ctx, ids, "a", "b"); return nil })
			txhooks.AfterCommit(ctx, func(ctx context.Context) { e.seeIn(ctx, ids, "a", "b") })
			txhooks.AfterEnd(ctx, func(ctx context.Context, o txhooks.Outcome) { e.say("end", o, nil); e.seeIn(ctx, ids, "a", "b") })
			_, err := e.items.Modify(ctx, 1, slugged("b"))
			return err
		})
		e.see(ids, "a", "b")
	}, 0},
	{"writes in hooks", func(e *env) {
		ids := e.have("a", "b")
		e.run("run", func(ctx context.Context) error {
			txhooks.BeforeCommit(ctx, func(ctx context.Context) error {
				_, err := e.items.Modify(ctx, 2, slugged("d"))
				return err
			})
			txhooks.AfterCommit(ctx, func(ctx context.Context) {
				e.seeIn(ctx, ids, "a", "b", "c", "d")
				_, err := e.items.Modify(ctx, 1, slugged("a"))
				e.did("modify", err)
				e.seeIn(ctx, ids, "a", "b", "c", "d")
			})
			_, err := e.items.Modify(ctx, 1, slugged("c"))
			return err
		})
		e.see(ids, "a", "b", "c", "d")
	}, 0},
	{"a BeforeCommit hook that refuses", func(e *env) {
		ids := e.have("a")
		e.run("run", func(ctx context.Context) error {
			txhooks.BeforeCommit(ctx, func(ctx context.Context) error { return errHostile })
			txhooks.AfterEnd(ctx, func(ctx context.Context, o txhooks.Outcome) { e.say("end", o, nil); e.seeIn(ctx, ids, "a", "b") })
			_, err := e.items.Modify(ctx, 1, slugged("b"))
			return err
		})
		e.see(ids, "a", "b")
	}, 0},

	// Triggers, cascades, what the database does by itself.
	{"a BEFORE trigger that changes the slug", func(e *env) {
		r := of(e, cared)
		lookBy(e, r, caredSlug, "ABC", "abc", "XyZ", "xyz")
		look(e, r, 1)
		rec, err := r.Insert(e.ctx, caredRow{ID: 1, Slug: "ABC"})
		e.say("insert", rec, err)
		lookBy(e, r, caredSlug, "ABC", "abc", "XyZ", "xyz")
		rec, err = r.Modify(e.ctx, 1, func(c *caredRow) error { c.Slug = "XyZ"; return nil })
		e.say("modify", rec, err)
		lookBy(e, r, caredSlug, "ABC", "abc", "XyZ", "xyz")
		look(e, r, 1)
	}, 0},
	{"a BEFORE trigger that suppresses", func(e *env) {
		r := of(e, cared)
		_, err := r.Insert(e.ctx, caredRow{ID: 1, Slug: "a"})
		e.did("insert", err)
		look(e, r, 1, 2)
		_, err = r.Insert(e.ctx, caredRow{ID: 2, Slug: "b", Name: "veto"})
		e.did("insert", err)
		_, err = r.Modify(e.ctx, 1, func(c *caredRow) error { c.Name = "veto"; return nil })
		e.did("modify", err)
		_, err = r.Modify(e.ctx, 1, func(c *caredRow) error { c.Name = "stays"; return nil })
		e.did("modify", err)
		look(e, r, 1, 2)
		e.did("delete", r.Delete(e.ctx, 1))
		look(e, r, 1, 2)
		lookBy(e, r, caredSlug, "a", "b")
	}, 0},
	{"an AFTER trigger that changes the slug, with Touch", func(e *env) {
		r := of(e, echoed)
		lookBy(e, r, echoedSlug, "a", "a-1", "b", "b-1")
		e.run("run", func(ctx context.Context) error {
			if err := txhooks.Touch(ctx, echoed.Row(1)); err != nil {
				return err
			}
			_, err := r.Insert(ctx, echoedRow{ID: 1, Slug: "a"})
			return err
		})
		look(e, r, 1)
		lookBy(e, r, echoedSlug, "a", "a-1", "b", "b-1")
		e.run("run", func(ctx context.Context) error {
			if err := txhooks.Touch(ctx, echoed.Row(1)); err != nil {
				return err
			}
			_, err := r.Modify(ctx, 1, func(x *echoedRow) error { x.Slug = "b"; return nil })
			return err
		})
		look(e, r, 1)
		lookBy(e, r, echoedSlug, "a", "a-1", "b", "b-1")
	}, 0},
	{"rows deleted by a cascade, with Touch", func(e *env) {
		e.exec(`INSERT INTO parents VALUES (1, 'p'); INSERT INTO children VALUES (1, 1, 'c'), (2, 1, 'd')`)
		olds, kids := of(e, parents), of(e, children)
		look(e, kids, 1, 2)
		look(e, olds, 1)
		e.run("run", func(ctx context.Context) error {
			if err := txhooks.Touch(ctx, ofParent.Eq(1)); err != nil {
				return err
			}
			return olds.Delete(ctx, 1)
		})
		look(e, kids, 1, 2)
		look(e, olds, 1)
	}, 0},
	{"rows changed by a cascade, with Touch", func(e *env) {
		e.exec(`INSERT INTO parents VALUES (1, 'p'); INSERT INTO children VALUES (1, 1, 'c')`)
		olds, kids := of(e, parents), of(e, children)
		look(e, kids, 1)
		look(e, olds, 1, 2)
		e.run("run", func(ctx context.Context) error {
			if err := txhooks.Touch(ctx, ofParent.Eq(1), parents.Row(1), parents.Row(2)); err != nil {
				return err
			}
			return e.send(ctx, `UPDATE parents SET id = 2`)
		})
		look(e, kids, 1)
		look(e, olds, 1, 2)
	}, 0},
	{"a parent that is referred to", func(e *env) {
		e.exec(`INSERT INTO parents VALUES (1, 'p')`)
		kids := of(e, children)
		look(e, kids, 1)
		one, two := int64(1), int64(2)
		_, err := kids.Insert(e.ctx, child{ID: 1, Parent: &two})
		e.did("insert", err)
		look(e, kids, 1)
		_, err = kids.Insert(e.ctx, child{ID: 1, Parent: &one})
		e.did("insert", err)
		look(e, kids, 1)
	}, 0},
	{"generated and identity columns, defaults", func(e *env) {
		r := of(e, numbered)
		look(e, r, 1, 2)
		lookBy(e, r, numberedDouble, 10, 14, 16)
		for _, in := range []numberedRow{{}, {A: 7, Double: 99, Made: "there"}} {
			rec, err := r.Insert(e.ctx, in)
			e.say("insert", rec, err)
		}
		look(e, r, 1, 2)
		lookBy(e, r, numberedDouble, 10, 14, 16)
		rec, err := r.Modify(e.ctx, 2, func(n *numberedRow) error { n.A = 8; return nil })
		e.say("modify", rec, err)
		_, err = r.Modify(e.ctx, 2, func(n *numberedRow) error { n.Double = 8; return nil })
		e.did("modify", err)
		look(e, r, 1, 2)
		lookBy(e, r, numberedDouble, 10, 14, 16)
	}, 0},
	{"a row that moves to another partition", func(e *env) {
		e.exec(`INSERT INTO parted VALUES (1, 'a', 'x')`)
		r, plain := of(e, parted), repo.New(e.db, parted)
		keys := []partedKey{{1, "a"}, {1, "b"}, {2, "a"}}
		look(e, r, keys...)
		n, err := plain.UpdateWhere(e.ctx, repo.Bulk{Set: "kind = 'b'", Where: "id = 1"})
		e.say("update where", n, err)
		look(e, r, keys...)
		_, err = r.Modify(e.ctx, partedKey{1, "b"}, func(p *partedRow) error { p.Name = "y"; return nil })
		e.did("modify", err)
		look(e, r, keys...)
	}, 0},

	// Filters and soft deletion.
	{"soft deletion and back", func(e *env) {
		e.exec(`INSERT INTO drafts VALUES (1, 'a'), (2, 'b')`)
		r := of(e, drafts)
		at := time.Date(2020, 1, 2, 3, 4, 5, 6000, time.UTC)
		show := func() { look(e, r, 1, 2, 3); lookBy(e, r, draftSlug, "a", "b", "c") }
		show()
		_, err := r.Modify(e.ctx, 1, func(d *draft) error { d.Deleted = &at; return nil })
		e.did("modify", err)
		show()
		_, err = r.Insert(e.ctx, draft{ID: 3, Slug: "a", Body: "the next"})
		e.did("insert", err)
		show()
		restore := func(ctx context.Context) error {
			if err := txhooks.Touch(ctx, drafts.Row(1)); err != nil {
				return err
			}
			return e.send(ctx, `UPDATE drafts SET deleted_at = NULL WHERE id = 1`)
		}
		e.run("restore", restore)
		show()
		e.did("delete", r.Delete(e.ctx, 3))
		e.run("restore", restore)
		show()
	}, 0},
	{"bulk soft deletion", func(e *env) {
		e.exec(`INSERT INTO drafts VALUES (1, 'a'), (2, 'b')`)
		r, plain := of(e, drafts), repo.New(e.db, drafts)
		look(e, r, 1, 2)
		lookBy(e, r, draftSlug, "a", "b")
		n, err := plain.UpdateWhere(e.ctx, repo.Bulk{Set: "deleted_at = 'epoch'", Where: "slug = 'a'"})
		e.say("update where", n, err)
		look(e, r, 1, 2)
		lookBy(e, r, draftSlug, "a", "b")
	}, 0},
	{"upsert over a row outside of the filter", func(e *env) {
		e.exec(`INSERT INTO drafts VALUES (1, 'a', 'x', 'epoch'), (2, 'b', 'y', NULL)`)
		r, plain := of(e, drafts), repo.New(e.db, drafts)
		look(e, r, 1, 2, 3)
		lookBy(e, r, draftSlug, "a", "b")
		for _, d := range []draft{{ID: 3, Slug: "a", Body: "new"}, {ID: 4, Slug: "b", Body: "over"}} {
			rec, err := plain.Upsert(e.ctx, d, draftSlug)
			e.say("upsert", rec, err)
			look(e, r, 1, 2, 3)
			lookBy(e, r, draftSlug, "a", "b")
		}
	}, 0},

	// Tenants.
	{"tenants with the same ids and slugs", func(e *env) {
		e.exec(`INSERT INTO notes VALUES (1, 1, 'a', 'one'), (2, 1, 'a', 'two'), (1, 2, 'b', 'one')`)
		r := of(e, hostileNotes)
		all := func() {
			for _, who := range []int64{1, 2, 3} {
				lookIn(e, tenant(e.ctx, who), r, 1, 2, 3)
				lookByIn(e, tenant(e.ctx, who), r, hostileNoteSlug, "a", "b", "c")
			}
		}
		all()
		_, err := r.Modify(tenant(e.ctx, 1), 1, func(n *note) error { n.Slug = "c"; return nil })
		e.did("modify", err)
		all()
		e.did("delete", r.Delete(tenant(e.ctx, 2), 2))
		e.did("delete", r.Delete(tenant(e.ctx, 2), 1))
		all()
		_, err = r.Insert(tenant(e.ctx, 2), note{ID: 2, Slug: "b"})
		e.did("insert", err)
		_, err = r.Insert(tenant(e.ctx, 2), note{Tenant: 1, ID: 3, Slug: "x"})
		e.did("insert", err)
		all()
	}, 0},
	{"no tenant, then one", func(e *env) {
		e.exec(`INSERT INTO notes VALUES (1, 1, 'a', 'one')`)
		r := of(e, hostileNotes)
		for range 2 {
			look(e, r, 1, 2)
			lookBy(e, r, hostileNoteSlug, "a")
			lookIn(e, tenant(e.ctx, 1), r, 1, 2)
		}
		_, err := r.Modify(e.ctx, 1, func(n *note) error { n.Body = "lost"; return nil })
		e.did("modify", err)
		lookIn(e, tenant(e.ctx, 1), r, 1, 2)
	}, 0},
	{"tenants' bulk writes and touches", func(e *env) {
		e.exec(`INSERT INTO notes VALUES (1, 1, 'a', 'x'), (2, 1, 'a', 'x')`)
		r, plain := of(e, hostileNotes), repo.New(e.db, hostileNotes)
		all := func() {
			for _, who := range []int64{1, 2} {
				lookIn(e, tenant(e.ctx, who), r, 1)
				lookByIn(e, tenant(e.ctx, who), r, hostileNoteSlug, "a", "b")
			}
		}
		all()
		n, err := plain.UpdateWhere(tenant(e.ctx, 2), repo.Bulk{Set: "slug = 'b'", Where: "TRUE"})
		e.say("update where", n, err)
		all()
		err = e.db.Run(tenant(e.ctx, 1), func(ctx context.Context) error {
			return errors.Join(txhooks.Touch(ctx, hostileNotes.Row(1)), e.send(ctx, `UPDATE notes SET body = 'y' WHERE tenant = 1`))
		})
		e.did("run", err)
		all()
	}, 0},

	// Types and spellings.
	{"keys at the ends of bigint, and zero", func(e *env) {
		keys := []int64{0, 1, -1, math.MaxInt64, math.MinInt64, math.MaxInt32 + 1}
		r := of(e, odds)
		look(e, r, keys...)
		for _, k := range keys[1:] {
			_, err := r.Insert(e.ctx, odd{ID: k})
			e.did("insert", err)
		}
		_, err := r.Insert(e.ctx, odd{}) // left to a DEFAULT that there is not
		e.did("insert", err)
		look(e, r, keys...)
		e.exec(`INSERT INTO odds (id) VALUES (0)`)
		e.did("invalidate", e.cache.Invalidate(e.ctx, odds.Row(0)))
		look(e, r, keys...)
		_, err = r.Modify(e.ctx, 0, func(o *odd) error { o.Raw = []byte("zero"); return nil })
		e.did("modify", err)
		e.did("delete", r.Delete(e.ctx, math.MinInt64))
		look(e, r, keys...)
	}, 0},
	{"NaN, infinite and negative zero", func(e *env) {
		e.exec(`INSERT INTO odds (id, ratio, small) VALUES (1, 'NaN', 'NaN'), (2, '-0', '-0'), (3, 'Infinity', '-Infinity'), (4, 5e-324, 1.17549435e-38), (5, 0.1, 0.1)`)
		r := of(e, odds)
		look(e, r, 1, 2, 3, 4, 5)
		_, err := r.Modify(e.ctx, 1, func(o *odd) error { o.Raw = []byte("x"); return nil })
		e.did("modify", err)
		_, err = r.Modify(e.ctx, 2, func(o *odd) error { o.Ratio.Float64 = 0; return nil })
		e.did("modify", err)
		look(e, r, 1, 2, 3, 4, 5)
	}, 0},
	{"infinite times", func(e *env) {
		e.exec(`INSERT INTO odds (id, at) VALUES (1, 'infinity'), (2, '-infinity'), (3, 'epoch')`)
		r := of(e, odds)
		look(e, r, 1, 3)
		look(e, r, 2, 3)
		look(e, r, 3)
	}, unlike},
	{"the year 10000, and long before Christ", func(e *env) {
		e.exec(`INSERT INTO odds (id, at) VALUES (1, '10000-01-01 00:00:00+00'), (2, '0044-03-15 12:00:00+00 BC'), (3, '4713-01-01 00:00:00+00 BC'), (4, '294276-12-31 23:59:59.999999+00')`)
		r := of(e, odds)
		look(e, r, 1, 2, 3, 4)
		_, err := r.Modify(e.ctx, 2, func(o *odd) error { o.Raw = []byte("x"); return nil })
		e.did("modify", err)
		look(e, r, 1, 2, 3, 4)
	}, uncached},
	{"times with nanoseconds, in other zones", func(e *env) {
		r := of(e, odds)
		zone := time.FixedZone("", 5*3600+1800)
		rec, err := r.Insert(e.ctx, odd{ID: 1, At: sql.NullTime{Time: time.Date(2024, 2, 29, 1, 2, 3, 123456789, zone), Valid: true}})
		e.say("insert", rec, err)
		look(e, r, 1)
		rec, err = r.Modify(e.ctx, 1, func(o *odd) error { o.At.Time = o.At.Time.In(zone).Add(499); return nil })
		e.say("modify", rec, err)
		look(e, r, 1)
	}, unlike},
	{"jsonb in another order, with large numbers", func(e *env) {
		r := of(e, odds)
		for i, doc := range []string{`{"b":1,"a":{"d":[1,2.50],"c":null}}`, `12345678901234567890.000`, `null`, `"\u00e9\ud83d\ude00"`, ` [ ] `, `{"a":1,"a":2}`} {
			rec, err := r.Insert(e.ctx, odd{ID: int64(i + 1), Doc: []byte(doc)})
			e.say("insert", rec, err)
		}
		look(e, r, 1, 2, 3, 4, 5, 6)
		rec, err := r.Modify(e.ctx, 1, func(o *odd) error { o.Doc = []byte(`{"a": {"c": null, "d": [1, 2.50]}, "b": 1}`); return nil })
		e.say("modify", rec, err)
		look(e, r, 1)
	}, 0},
	{"NULL, empty and nil", func(e *env) {
		e.exec(`INSERT INTO odds (id, tags, raw, long, padded) VALUES (1, NULL, NULL, NULL, NULL), (2, '{}', '', '', ''), (3, '{""}', '\x00', ' ', 'ab')`)
		r := of(e, odds)
		look(e, r, 1, 2, 3)
		_, err := r.Modify(e.ctx, 1, func(o *odd) error { o.Tags, o.Raw = []string{}, []byte{}; return nil })
		e.did("modify", err)
		_, err = r.Modify(e.ctx, 2, func(o *odd) error { o.Tags, o.Raw, o.Long = nil, nil, nil; return nil })
		e.did("modify", err)
		look(e, r, 1, 2, 3)
	}, 0},
	{"an array with NULL in it", func(e *env) {
		e.exec(`INSERT INTO odds (id, tags) VALUES (1, '{a,NULL}'), (2, '{"NULL","a,b","\"","{}"}')`)
		r := of(e, odds)
		look(e, r, 2)
		look(e, r, 1, 2)
		e.exec(`UPDATE odds SET tags = '{a}' WHERE id = 1`)
		look(e, r, 1, 2)
	}, 0},
	{"a number, a uuid, a truth and padding", func(e *env) {
		e.exec(`INSERT INTO odds (id, price, padded, flag, other) VALUES (1, 1.5, 'ab', true, 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'), (2, NULL, NULL, false, NULL)`)
		r := of(e, odds)
		look(e, r, 1, 2)
		rec, err := r.Modify(e.ctx, 1, func(o *odd) error { *o.Price, *o.Padded, *o.Flag = "7.125", "é", false; return nil })
		e.say("modify", rec, err)
		look(e, r, 1, 2)
	}, 0},
	{"texts that are no texts", func(e *env) {
		r := of(e, textsByID)
		e.exec(`INSERT INTO texts VALUES ('a'), ('')`)
		for _, k := range []string{"a", "", "a\x00", "\xff", "\xed\xa0\x80", "a\xc3", "�"} {
			look(e, r, k)
		}
		look(e, r, "a", "\xff")
		rec, err := r.Insert(e.ctx, textKeyed{ID: "a\x00"})
		e.say("insert", rec, err)
		look(e, r, "a", "")
	}, 0},
	{"texts that look like cache keys", func(e *env) {
		r := of(e, textsByID)
		keys := []string{"a:b", "a%3Ab", "a%3ab", "%", "%%", "#", "#~", "{a}", "a", "a ", " a", "a\n", "a\t", "*", "?", "\\", "é", "e\u0301", "'", `"`, "--", "$1", "NULL", "null", "\u200b", "A", "Ａ"}
		look(e, r, keys...)
		for i, k := range keys {
			if i%2 == 0 {
				_, err := r.Insert(e.ctx, textKeyed{ID: k, N: int64(i)})
				e.did("insert", err)
			}
		}
		look(e, r, keys...)
		for i, k := range keys {
			_, err := r.Modify(e.ctx, k, func(t *textKeyed) error { t.N += 100; return nil })
			e.did(fmt.Sprint("modify ", i), err)
		}
		look(e, r, keys...)
	}, 0},
	{"texts longer than a cache key", func(e *env) {
		r := of(e, textsByID)
		long := strings.Repeat("x", 2000)
		keys := []string{long, long[:1999] + "y", long[:128], long[:129], strings.Repeat(":", 43), strings.Repeat(":", 42), strings.Repeat("é", 65)}
		look(e, r, keys...)
		for i, k := range keys {
			_, err := r.Insert(e.ctx, textKeyed{ID: k, N: int64(i)})
			e.did("insert", err)
			look(e, r, keys...)
		}
		e.did("delete", r.Delete(e.ctx, keys[1]))
		look(e, r, keys...)
	}, 0},
	{"keys of two texts that collide unless escaped", func(e *env) {
		keys := []textPair{{"a:b", "c"}, {"a", "b:c"}, {"", ""}, {"", ":"}, {":", ""}, {"a,b", "c"}, {"a", "b,c"}, {"a\x1fb", ""}, {"a", "\x1fb"}, {"(a", "b)"}, {"a%3Ab", "c"}}
		r := of(e, textPairs)
		look(e, r, keys...)
		for i, k := range keys {
			_, err := r.Insert(e.ctx, pairRow{k.A, k.B, int64(i)})
			e.did("insert", err)
			look(e, r, keys...)
		}
		e.did("delete", r.Delete(e.ctx, keys[0]))
		look(e, r, keys...)
	}, 0},
	{"a unique value of two columns with NULL in it", func(e *env) {
		e.exec(`INSERT INTO triples VALUES (1, 1, NULL), (2, 1, NULL), (3, NULL, 'a'), (4, 1, 'a'), (5, 1, ''), (6, 0, 'a')`)
		r := of(e, triples)
		at := []halfNull{{1, nil}, {1, []byte{}}, {1, []byte("a")}, {0, []byte("a")}, {0, nil}, {1, []byte("\\x61")}}
		lookBy(e, r, tripleXY, at...)
		_, err := r.Modify(e.ctx, 1, func(x *triple) error { x.Y = []byte("\\x61"); return nil })
		e.did("modify", err)
		_, err = r.Modify(e.ctx, 4, func(x *triple) error { x.X.Valid = false; return nil })
		e.did("modify", err)
		_, err = r.Modify(e.ctx, 3, func(x *triple) error { x.X.Valid = true; return nil })
		e.did("modify", err)
		lookBy(e, r, tripleXY, at...)
		look(e, r, 1, 2, 3, 4, 5, 6)
	}, 0},
	{"citext and char(n) with Canonical", func(e *env) {
		e.exec(`INSERT INTO accounts VALUES (1, 'Ann@Example.org', 'ab')`)
		r := of(e, accounts)
		all := func() {
			lookBy(e, r, accountEmail, "ann@example.org", "ANN@EXAMPLE.ORG", "Ann@Example.org", "bob@example.org", "Bob@example.ORG")
			lookBy(e, r, accountCode, "ab", "ab   ", "ab    ", "cd", "cd  ", " ab")
			look(e, r, 1, 2)
		}
		all()
		_, err := r.Insert(e.ctx, account{ID: 2, Email: "BOB@example.org", Code: "cd"})
		e.did("insert", err)
		all()
		_, err = r.Modify(e.ctx, 1, func(a *account) error { a.Email = "ANN@example.org"; return nil })
		e.did("modify", err)
		all()
		_, err = r.Modify(e.ctx, 2, func(a *account) error { a.Email, a.Code = "ann@EXAMPLE.org", "ab "; return nil })
		e.did("modify", err)
		_, err = r.Modify(e.ctx, 2, func(a *account) error { a.Code = " ab"; return nil })
		e.did("modify", err)
		all()
		e.did("delete", r.Delete(e.ctx, 1))
		all()
	}, 0},
	{"sensitive values", func(e *env) {
		e.exec(`INSERT INTO secrets VALUES (1, 'a@x'), (2, '***')`)
		r := of(e, secretRows)
		lookBy(e, r, secretMail, "a@x", "b@x", "***", "")
		_, err := r.Modify(e.ctx, 1, func(s *secretRow) error { s.Mail = "b@x"; return nil })
		e.did("modify", err)
		lookBy(e, r, secretMail, "a@x", "b@x", "***", "")
		_, err = r.Insert(e.ctx, secretRow{ID: 3, Mail: "b@x"})
		e.did("insert", err)
		look(e, r, 1, 2, 3)
	}, 0},
	{"uuids", func(e *env) {
		r := of(e, rowsByUUID)
		a, b := uuid.MustParse("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), uuid.UUID{}
		look(e, r, a, b)
		for _, id := range []uuid.UUID{a, b} {
			rec, err := r.Insert(e.ctx, uuidKeyed{ID: id})
			e.say("insert", rec, err)
		}
		e.exec(`INSERT INTO ids VALUES ('{00000000-0000-0000-0000-000000000000}')`)
		e.did("invalidate", e.cache.Invalidate(e.ctx, rowsByUUID.Row(b)))
		look(e, r, a, b)
		_, err := r.Modify(e.ctx, b, func(u *uuidKeyed) error { u.N = 3; return nil })
		e.did("modify", err)
		e.did("delete", r.Delete(e.ctx, a))
		look(e, r, a, b)
	}, 0},
	{"rows around the largest entry", func(e *env) {
		r := wrapped(e, e.open(e.ns+"-limit", cachedrepo.Config{MaxEntry: 1000}), textsRow(e))
		for n := 850; n <= 1000; n += 10 {
			e.exec(`UPDATE odds SET long = repeat('x', $1::int) || 'y' WHERE id = 1`, n)
			e.did("invalidate", e.cache.Invalidate(e.ctx, odds.Row(1)))
			look(e, r, 1)
		}
	}, 0},
	{"a megabyte", func(e *env) {
		e.exec(`INSERT INTO odds (id, raw, long) VALUES (1, decode(repeat('00ff', 500000), 'hex'), repeat('é', 100000)), (2, 'x', 'y')`)
		r := of(e, odds)
		look(e, r, 1, 2)
		_, err := r.Modify(e.ctx, 1, func(o *odd) error { o.Raw = []byte("small"); return nil })
		e.did("modify", err)
		look(e, r, 1, 2)
		_, err = r.Modify(e.ctx, 2, func(o *odd) error { o.Raw = make([]byte, 300_000); return nil })
		e.did("modify", err)
		look(e, r, 1, 2)
	}, 0},

	// Names.
	{"words of SQL and capitals as names", func(e *env) {
		r, plain := of(e, orders), repo.New(e.db, orders)
		look(e, r, 1, 2)
		lookBy(e, r, orderSelect, "from", "where")
		_, err := r.Insert(e.ctx, orderRow{1, "from", 1})
		e.did("insert", err)
		_, err = plain.Upsert(e.ctx, orderRow{1, "where", 2}, orders)
		e.did("upsert", err)
		n, err := plain.UpdateWhere(e.ctx, repo.Bulk{Set: `"Größe" = 5`, Where: `"user" = 1`})
		e.say("update where", n, err)
		look(e, r, 1, 2)
		lookBy(e, r, orderSelect, "from", "where")
		e.run("run", func(ctx context.Context) error {
			return errors.Join(txhooks.Touch(ctx, orders.Row(1)), e.send(ctx, `UPDATE "Order" SET "select" = 'from'`))
		})
		look(e, r, 1, 2)
		lookBy(e, r, orderSelect, "from", "where")
		e.did("delete", r.Delete(e.ctx, 1))
		look(e, r, 1, 2)
	}, 0},
	{"a schema with an accent, an embedded struct, two tables with one record", func(e *env) {
		r, x := of(e, elan), of(e, elanX)
		look(e, r, 1)
		look(e, x, 1)
		lookBy(e, r, elanName, "a", "b")
		lookBy(e, x, elanXName, "a", "b")
		_, err := r.Insert(e.ctx, elanRow{Base{1}, "a"})
		e.did("insert", err)
		look(e, x, 1)
		lookBy(e, x, elanXName, "a", "b")
		_, err = x.Insert(e.ctx, elanRow{Base{1}, "b"})
		e.did("insert", err)
		look(e, r, 1)
		look(e, x, 1)
		lookBy(e, r, elanName, "a", "b")
		lookBy(e, x, elanXName, "a", "b")
		_, err = r.Modify(e.ctx, 1, func(r *elanRow) error { r.Name = "b"; return nil })
		e.did("modify", err)
		lookBy(e, r, elanName, "a", "b")
		lookBy(e, x, elanXName, "a", "b")
	}, 0},
	{"two caches with namespaces of their own", func(e *env) {
		second, third := e.open(e.ns+"2", cachedrepo.Config{}), e.open(e.ns+".items", cachedrepo.Config{})
		ids := e.have("a", "b")
		all := func() {
			e.see(ids, "a", "b", "c")
			for _, c := range []*cachedrepo.Cache{second, third} {
				look(e, wrapped(e, c, items), ids...)
				lookBy(e, wrapped(e, c, items), itemSlug, "a", "b", "c")
			}
		}
		all()
		_, err := e.items.Modify(e.ctx, 1, slugged("c"))
		e.did("modify", err)
		all()
		_, err = wrapped(e, third, items).Modify(e.ctx, 2, slugged("a"))
		e.did("modify", err)
		all()
	}, 0},

	// Ways to ask.
	{"many keys: none, repeated, unknown, of nobody", func(e *env) {
		ids := e.have("a", "b", "c")
		for _, keys := range [][]int64{nil, {}, {9, 9}, {3, 1, 9, 3, 2, 1, -9}, {1}} {
			recs, err := e.items.FindMany(e.ctx, keys)
			e.say("find many", recs, err)
		}
		for _, slugs := range [][]string{nil, {}, {"x", "x"}, {"c", "a", "x", "c"}} {
			recs, err := repo.FindManyBy(e.ctx, e.items, itemSlug, slugs)
			e.say("find many by", recs, err)
		}
		e.did("delete", e.items.Delete(e.ctx, 2))
		e.see(ids, "a", "b", "c")
	}, 0},
	{"five thousand keys", func(e *env) {
		e.exec(`INSERT INTO items (id, slug, name) SELECT n, 's' || n, 'n' || n FROM generate_series(1, 5000, 2) n`)
		keys := make([]int64, 5000)
		for i := range keys {
			keys[i] = int64(5000 - i)
		}
		sum := func() {
			recs, err := e.items.FindMany(e.ctx, keys)
			all := sha256.New()
			for _, r := range recs {
				fmt.Fprintln(all, r.ID, r.Slug, r.Name)
			}
			e.say("find many", fmt.Sprintf("%d rows %x", len(recs), all.Sum(nil)), err)
		}
		sum()
		n, err := e.sqlItems.UpdateWhere(e.ctx, repo.Bulk{Set: "name = 'x'", Where: "id % 10 = 1"})
		e.say("update where", n, err)
		_, err = e.items.Insert(e.ctx, item{ID: 4444, Slug: "new"})
		e.did("insert", err)
		sum()
		sum()
	}, 0},
	{"a context that is over", func(e *env) {
		ids := e.have("a")
		over, cancel := context.WithCancel(e.ctx)
		cancel()
		late, cancel := context.WithTimeout(e.ctx, 0)
		defer cancel()
		for _, ctx := range []context.Context{over, late} {
			e.seeIn(ctx, ids, "a", "x")
			_, err := e.items.Modify(ctx, 1, slugged("lost"))
			e.did("modify", err)
		}
		e.see(ids, "a", "x", "lost")
	}, 0},
	{"a context that ends while the row is loaded", func(e *env) {
		ids := e.have("a")
		ctx, cancel := context.WithCancel(e.ctx)
		v := e.cache.View("v")
		_, err := cachedrepo.Find(ctx, v, items.Row(2), func(ctx context.Context) (item, error) {
			cancel()
			<-ctx.Done()
			return item{}, ctx.Err()
		})
		e.did("find", err)
		_, err = e.items.Insert(e.ctx, item{ID: 2, Slug: "b"})
		e.did("insert", err)
		e.see(append(ids, 2), "a", "b")
	}, 0},
	{"Bypass", func(e *env) {
		ids := e.have("a")
		e.exec(`UPDATE items SET name = 'silent'`)
		e.seeIn(cachedrepo.Bypass(e.ctx), ids, "a")
		e.did("invalidate", e.cache.Invalidate(e.ctx, items.Row(1)))
		e.see(ids, "a")
	}, 0},
	{"lists and counts beside the cache", func(e *env) {
		e.have("a", "b")
		for _, slug := range []string{"c", "d"} {
			l, err := e.items.ListBy(e.ctx, itemTeam.Eq(7), repo.Page{Limit: 1})
			e.say("list", l.Items, err)
			n, err := e.items.Count(e.ctx, itemTeam.Eq(7))
			e.say("count", n, err)
			_, err = e.items.Modify(e.ctx, 1, slugged(slug))
			e.did("modify", err)
		}
	}, 0},
	{"entries that end at once", func(e *env) {
		short := e.open(e.ns+"-short", cachedrepo.Config{TTL: time.Millisecond}).With(cachedrepo.Options{Negative: time.Millisecond})
		r := wrapped(e, short, items)
		e.have("a")
		for _, name := range []string{"x", "y", "z"} {
			for range 3 {
				look(e, r, 1, 2)
			}
			_, err := r.Modify(e.ctx, 1, named(name))
			e.did("modify", err)
		}
	}, 0},

	// Views: loaders of one's own.
	{"not found, in every way of saying it", func(e *env) {
		e.have("a")
		for _, o := range []cachedrepo.Options{{}, {NotFound: errItemNotFound}, {NotFound: sql.ErrNoRows}} {
			v := e.cache.With(o).View("v")
			for _, miss := range []error{model.ErrNotFound, sql.ErrNoRows, errItemNotFound, fmt.Errorf("wrapped: %w", sql.ErrNoRows), model.NotFound(items.Row(9).Place()), errHostile} {
				e.exec(`DELETE FROM items WHERE id = 9`)
				e.did("invalidate", e.cache.Invalidate(e.ctx, items.Row(9)))
				load := func(ctx context.Context) (i item, err error) {
					err = e.db.GetContext(ctx, &i, `SELECT id, slug, name, team, version FROM items WHERE id = 9`)
					if errors.Is(err, sql.ErrNoRows) {
						err = miss
					}
					return i, err
				}
				for range 2 {
					rec, err := cachedrepo.Find(e.ctx, v, items.Row(9), load)
					e.say("find", rec, err)
				}
				_, err := e.items.Insert(e.ctx, item{ID: 9, Slug: "nine"})
				e.did("insert", err)
				rec, err := cachedrepo.Find(e.ctx, v, items.Row(9), load)
				e.say("find", rec, err)
			}
		}
	}, 0},
	{"a loader that returns nil", func(e *env) {
		e.have("a")
		v := e.cache.View("v")
		load := func(ctx context.Context) (*item, error) {
			var all []item
			err := e.db.SelectContext(ctx, &all, `SELECT id, slug, name, team, version FROM items WHERE slug = 'b'`)
			if len(all) == 0 {
				return nil, err
			}
			return &all[0], err
		}
		for range 2 {
			rec, err := cachedrepo.FindPtr(e.ctx, v, itemSlug.Eq("b"), load)
			e.say("find", rec, err)
		}
		_, err := e.items.Insert(e.ctx, item{ID: 2, Slug: "b"})
		e.did("insert", err)
		for range 2 {
			rec, err := cachedrepo.FindPtr(e.ctx, v, itemSlug.Eq("b"), load)
			e.say("find", rec, err)
		}
		e.did("delete", e.items.Delete(e.ctx, 2))
		rec, err := cachedrepo.FindPtr(e.ctx, v, itemSlug.Eq("b"), load)
		e.say("find", rec, err)
	}, 0},
	{"a loader that returns another row", func(e *env) {
		ids := e.have("a", "b")
		v := e.cache.View("v")
		_, err := e.items.Modify(e.ctx, 1, named("x")) // the key is free
		e.did("modify", err)
		for range 2 {
			rec, err := cachedrepo.Find(e.ctx, v, items.Row(1), func(ctx context.Context) (item, error) { return e.sqlItems.Find(ctx, 2) })
			e.say("find", rec, err)
		}
		e.see(ids, "a", "b")
	}, 0},
	{"a loader that fails, panics, and then works", func(e *env) {
		e.have("a")
		v := e.cache.View("v")
		_, err := e.items.Modify(e.ctx, 1, named("x"))
		e.did("modify", err)
		find := func(what string, load func(ctx context.Context) (item, error)) {
			defer func() { // without a cache the panic is the caller's
				if recover() != nil {
					e.did(what, errors.New("panic"))
				}
			}()
			rec, err := cachedrepo.Find(e.ctx, v, items.Row(1), load)
			e.say(what, rec, err)
		}
		find("fails", func(context.Context) (item, error) { return item{}, errHostile })
		find("panics", func(context.Context) (item, error) { panic("of a loader") })
		find("works", func(ctx context.Context) (item, error) { return e.sqlItems.Find(ctx, 1) })
		find("again", func(ctx context.Context) (item, error) { return e.sqlItems.Find(ctx, 1) })
		e.see([]int64{1}, "a")
	}, 0},
	{"a loader that reads in a transaction of its own", func(e *env) {
		ids := e.have("a")
		v := e.cache.View("v")
		load := func(ctx context.Context) (i item, err error) {
			err = e.db.Run(ctx, func(ctx context.Context) (err error) {
				i, err = e.items.Find(ctx, 1)
				return err
			})
			return i, err
		}
		_, err := e.items.Modify(e.ctx, 1, named("x"))
		e.did("modify", err)
		for range 2 {
			rec, err := cachedrepo.Find(e.ctx, v, items.Row(1), load)
			e.say("find", rec, err)
		}
		_, err = e.items.Modify(e.ctx, 1, named("y"))
		e.did("modify", err)
		rec, err := cachedrepo.Find(e.ctx, v, items.Row(1), load)
		e.say("find", rec, err)
		e.see(ids, "a")
	}, 0},
	{"records that callers ruin", func(e *env) {
		e.exec(`INSERT INTO odds (id, tags, raw, doc) VALUES (1, '{a,b}', 'raw', '{"a": 1}')`)
		r := of(e, odds)
		for range 3 {
			rec, err := r.Find(e.ctx, 1)
			e.say("find", rec, err)
			rec.Tags[0], rec.Raw[0], rec.Doc[1] = "ruined", '!', '!'
			recs, err := r.FindMany(e.ctx, []int64{1, 1})
			e.say("find many", recs, err)
			recs[0].Tags[1], recs[1].Raw[1] = "ruined", '!'
		}
	}, 0},
	{"references that name nothing", func(e *env) {
		e.have("a")
		_, err := e.items.FindBy(e.ctx, model.One[item]{})
		e.did("find by", err)
		_, err = repo.FindManyBy(e.ctx, e.items, model.NewUnique[item, string]("slug"), []string{"a"})
		e.did("find many by", err)
		e.run("run", func(ctx context.Context) error { return txhooks.Touch(ctx, model.One[item]{}) })
		e.did("touch", txhooks.Touch(e.ctx, items.Row(1)))
		e.did("invalidate", e.cache.Invalidate(e.ctx, nil))
	}, 0},

	// What others leave in the store.
	{"garbage at our keys", func(e *env) {
		ids := e.have("a")
		for _, junk := range []string{"", "x", "V", "V1", "L1", "\x00\xff", strings.Repeat("z", 1<<20), `{"id":1,"slug":"wrong"}`, "null"} {
			for _, k := range e.keysOfItem(1, "a") {
				e.plant(k, junk)
			}
			e.see(ids, "a")
			_, err := e.items.Modify(e.ctx, 1, named("new"))
			e.did("modify", err)
			e.see(ids, "a")
			_, err = e.items.Modify(e.ctx, 1, named("old"))
			e.did("modify", err)
		}
	}, 0},
	{"other types at our keys", func(e *env) {
		ids := e.have("a")
		for i := range 3 {
			for _, k := range e.keysOfItem(1, "a") {
				e.client.Del(e.ctx, k)
				switch i {
				case 0:
					e.client.RPush(e.ctx, k, "a", "b")
				case 1:
					e.client.HSet(e.ctx, k, "id", "1")
				case 2:
					e.client.XAdd(e.ctx, xadd(k))
				}
			}
			e.see(ids, "a")
			_, err := e.items.Modify(e.ctx, 1, named(fmt.Sprint("n", i)))
			e.did("modify", err)
			e.see(ids, "a")
		}
	}, 0},
	{"the entry of another row at our key", func(e *env) {
		ids := e.have("a", "b")
		e.copyEntry(e.keyOf("items", "id", "2"), e.keyOf("items", "id", "1"))
		e.copyEntry(e.keyOf("items", "slug", "b"), e.keyOf("items", "slug", "a"))
		e.see(ids, "a", "b")
	}, 0},
	{"the entry of another table, of another index, of no row, at our key", func(e *env) {
		ids := e.have("a", "b")
		e.exec(`INSERT INTO things2x VALUES (1, 'wrong')`)
		look(e, of(e, elanX), 1)
		e.see([]int64{9}, "nine")
		for _, from := range []string{e.keyOf("things2x", "id", "1"), e.keyOf("items", "slug", "a"), e.keyOf("items", "id", "9")} {
			e.copyEntry(from, e.keyOf("items", "id", "1"))
			e.see(ids, "a", "b")
		}
	}, 0},
	{"the entry of another tenant at our key", func(e *env) {
		e.exec(`INSERT INTO notes VALUES (1, 1, 'a', 'one'), (2, 1, 'a', 'two')`)
		r := of(e, hostileNotes)
		for _, who := range []int64{1, 2} {
			lookIn(e, tenant(e.ctx, who), r, 1)
		}
		e.copyEntry(e.keyOf("notes", "id", "1:1"), e.keyOf("notes", "id", "2:1"))
		lookIn(e, tenant(e.ctx, 2), r, 1)
	}, 0},
	{"the entry of another namespace at our key", func(e *env) {
		ids := e.have("a")
		look(e, wrapped(e, e.open(e.ns+"2", cachedrepo.Config{}), items), 1)
		e.copyEntry(strings.Replace(e.keyOf("items", "id", "1"), e.ns, e.ns+"2", 1), "kept")
		_, err := e.items.Modify(e.ctx, 1, named("x"))
		e.did("modify", err)
		e.copyEntry("kept", e.keyOf("items", "id", "1"))
		e.see(ids, "a")
	}, 0},
	{"an entry cut short, or longer than it was", func(e *env) {
		ids := e.have("a")
		k := e.keyOf("items", "id", "1")
		good := e.client.Get(e.ctx, k).Val()
		for _, cut := range []int{0, 1, 2, 17, 18, 30, len(good) / 2, len(good) - 1} {
			e.plant(k, good[:max(0, min(cut, len(good)))])
			e.see(ids, "a")
		}
		e.plant(k, good+"x")
		e.see(ids, "a")
		e.plant(k, good+good)
		e.see(ids, "a")
	}, 0},
	{"a lease that nobody holds", func(e *env) {
		ids := e.have("a")
		short := wrapped(e, e.open(e.ns, cachedrepo.Config{Wait: -1}), items)
		for _, k := range e.keysOfItem(1, "a") {
			e.plant(k, "L1"+strings.Repeat("x", 16))
		}
		look(e, short, ids...)
		lookBy(e, short, itemSlug, "a")
		_, err := e.items.Modify(e.ctx, 1, named("new"))
		e.did("modify", err)
		e.see(ids, "a")
	}, 0},
	{"a store emptied between two reads", func(e *env) {
		ids := e.have("a")
		e.exec(`UPDATE items SET name = 'silent'`)
		e.client.FlushDB(e.ctx)
		e.see(ids, "a")
		_, err := e.items.Modify(e.ctx, 1, slugged("b"))
		e.did("modify", err)
		e.client.FlushDB(e.ctx)
		e.see(ids, "a", "b")
	}, 0},
}
