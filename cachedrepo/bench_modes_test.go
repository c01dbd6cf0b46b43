package cachedrepo_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/migrations"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
	"github.com/asidego/aside/txhooks/outbox"
)

// A Modify of one row in a transaction of its own, in each mode, against the same without a cache. Each mode has a database
// of its own on one server, and its namespace in one Redis.
func BenchmarkWriteModes(b *testing.B) {
	for _, mode := range []struct {
		name                     string
		table                    *model.Table[product, int64]
		withOutbox, withTriggers bool
	}{
		{"default", products, false, false},
		{"strict", strictProducts, false, false},
		{"outbox", products, true, false},
		{"strict and outbox", strictProducts, true, false},
		{"captured", products, true, true},
	} {
		b.Run(mode.name, func(b *testing.B) {
			plain := writesIn(b, mode.table, false, false, false)
			compare(b, way{"plain", nil, plain}, way{"aside", nil, writesIn(b, mode.table, true, mode.withOutbox, mode.withTriggers)})
		})
	}
}

// writesIn returns a write to one of a hundred rows.
func writesIn(b *testing.B, table *model.Table[product, int64], withCache, withOutbox, withTriggers bool) func(i int) error {
	b.Helper()
	pg, server := testenv.PostgresWith(b, shopSchema), testenv.Redis(b)
	conn := pg.Open(b)
	db := txhooks.New(conn, txhooks.Config{})
	r := repo.New(db, table)
	if withOutbox {
		if err := migrations.Apply(b.Context(), pg.URL()); err != nil {
			b.Fatal(err)
		}
	}
	if withTriggers {
		up, _ := migrations.Capture(table.Relation(), false)
		conn.MustExec(up)
	}
	if withCache {
		c, err := cachedrepo.New(db, redisstore.New(server.Client(b)), cachedrepo.Config{
			Namespace: server.Prefix(), Tables: model.Tables{table}, Timeout: time.Second / 5,
			Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Close(context.Background()) })
		if withOutbox {
			o, err := outbox.Start(db, c, outbox.Config{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = o.Close(context.Background()) })
		}
	}
	var ids []int64
	for i := range 100 {
		p, err := r.Insert(b.Context(), product{SKU: fmt.Sprint("SKU-", i), Name: "something with a name", Tags: pq.StringArray{"a", "b"}})
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, p.ID)
	}
	return func(i int) error {
		_, err := r.Modify(b.Context(), ids[i%100], func(p *product) error { p.Name = fmt.Sprint("name ", i); return nil })
		return err
	}
}
