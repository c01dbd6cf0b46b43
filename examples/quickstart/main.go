// Command quickstart shows Aside in one table: a miss, a hit, a change and a
// fresh read, with the statements that PostgreSQL got for each.
//
// It starts a PostgreSQL of its own, or uses the one in DATABASE_URL; the cache
// is this process's memory, or the Redis in REDIS_URL.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// Product is a row of the table.
type Product struct {
	ID   int64  `db:"id"`
	SKU  string `db:"sku"`
	Name string `db:"name"`
}

// BySKU is a unique index, Products the table.
var (
	BySKU    = model.NewUnique[Product, string]("sku")
	Products = model.MustTable(model.Spec[Product, int64]{
		Name: "aside_quickstart.products", Key: "id", Indexes: model.Indexes[Product]{BySKU},
	})
)

// run is the quick start; step prints what a call did and counts its statements.
func run(ctx context.Context, conn *sqlx.DB, s store.Store, namespace string, step func(what, got string, statements int64)) error {
	db := txhooks.New(conn, txhooks.Config{})
	cache, err := cachedrepo.New(db, s, cachedrepo.Config{
		Namespace: namespace, Tables: model.Tables{Products},
	})
	if err != nil {
		return err
	}
	defer cache.Close(ctx)
	step("New: what the catalog says of them", "", 1)          // may they be cached?
	products := cachedrepo.Wrap(cache, repo.New(db, Products)) // the same interface

	p, err := products.FindBy(ctx, BySKU.Eq("A-1"))
	if err != nil {
		return err
	}
	step("FindBy: a miss, from PostgreSQL", p.Name, 1)
	if p, err = products.FindBy(ctx, BySKU.Eq("A-1")); err != nil {
		return err
	}
	step("FindBy: a hit, from the cache", p.Name, 0)
	p, err = products.Modify(ctx, p.ID, func(p *Product) error { p.Name = "Anvil"; return nil })
	if err != nil {
		return err
	}
	step("Modify: lock the row, then write it", p.Name, 2) // committed, and no cache has the old name
	if p, err = products.FindBy(ctx, BySKU.Eq("A-1")); err != nil {
		return err
	}
	step("FindBy: fresh, from PostgreSQL", p.Name, 1)
	if p, err = products.FindBy(ctx, BySKU.Eq("A-1")); err != nil {
		return err
	}
	step("FindBy: a hit again", p.Name, 0)
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := show(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}
