package cachedrepo_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"

	"github.com/redis/go-redis/v9"
)

type Product struct {
	ID   int64  `db:"id"`
	SKU  string `db:"sku"`
	Name string `db:"name"`
}

var BySKU = model.NewUnique[Product, string]("sku")

var Products = model.MustTable(model.Spec[Product, int64]{
	Name: "products", Key: "id", Indexes: model.Indexes[Product]{BySKU},
})

func rename(ctx context.Context, conn *sqlx.DB, rdb *redis.Client) error {
	db := txhooks.New(conn, txhooks.Config{})
	cache, err := cachedrepo.New(db, redisstore.New(rdb), cachedrepo.Config{
		Namespace: "shop", Tables: model.Tables{Products},
	})
	if err != nil {
		return err
	}
	defer cache.Close(ctx)
	products := cachedrepo.Wrap(cache, repo.New(db, Products)) // the same interface

	p, err := products.FindBy(ctx, BySKU.Eq("A-1")) // from PostgreSQL; the next one from Redis
	if err != nil {
		return err
	}
	_, err = products.Modify(ctx, p.ID, func(p *Product) error { p.Name = "Anvil"; return nil })
	return err // committed, and no cache has the old name
}

// The whole of it: a cache, a repository behind it, a read and a write.
func Example() {
	_ = rename
}

// Several writes in one transaction. The repositories find it in the context; hooks run when it has committed and its
// keys are gone.
func ExampleWrap_transaction() {
	type Service struct {
		db       *txhooks.DB
		products repo.Repository[Product, int64]
	}
	swap := func(ctx context.Context, s Service, a, b int64) error {
		return s.db.Run(ctx, func(ctx context.Context) error {
			for _, id := range []int64{a, b} {
				_, err := s.products.Modify(ctx, id, func(p *Product) error { p.Name += "!"; return nil })
				if err != nil {
					return err
				}
			}
			txhooks.AfterCommit(ctx, func(context.Context) { log.Print("renamed") })
			return nil
		})
	}
	_ = swap
}

// A query that no unique index answers is not cached in this version; it still says what it depends on.
func ExampleQuery() {
	var db *txhooks.DB // from txhooks.New
	cheapest := func(ctx context.Context, cache *cachedrepo.Cache) ([]string, error) {
		v := cache.View("Shop")
		return cachedrepo.Query(ctx, v, "Cheapest", cachedrepo.Args{10}, model.Refs{Products.All()},
			func(ctx context.Context) (names []string, err error) {
				err = db.SelectContext(ctx, &names, `SELECT name FROM products ORDER BY price LIMIT $1`, 10)
				return names, err
			})
	}
	_ = cheapest
}

// A write whose invalidations could not be sent is no error: it is committed. Who wants to know asks for a report.
func ExampleCache_report() {
	update := func(ctx context.Context, products repo.Repository[Product, int64], p Product) error {
		ctx, report := txhooks.WithReport(ctx)
		_, err := products.Modify(ctx, p.ID, func(stored *Product) error { stored.Name = p.Name; return nil })
		if err == nil && report.Pending > 0 {
			log.Printf("%d keys wait for the store", report.Pending)
		}
		return err
	}
	_ = update
}

// A cache in this process's memory, for one process that writes at a time.
func ExampleNew_memory() {
	open := func(db *txhooks.DB) (*cachedrepo.Cache, error) {
		return cachedrepo.New(db, memstore.New(memstore.Config{}), cachedrepo.Config{
			Namespace: "shop", Tables: model.Tables{Products},
		})
	}
	_ = open
	fmt.Println("no server needed")
	// Output: no server needed
}
