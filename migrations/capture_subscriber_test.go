package migrations_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/migrations"
	"github.com/asidego/aside/model"
)

type order struct {
	ID     int64  `db:"id"`
	Number string `db:"number"`
}

// What logical replication applies fires no statement triggers but those of TRUNCATE; the row trigger sees the rest, once, in
// partitions too, and does not break the worker when a column goes.
func TestCaptureOnSubscriber(t *testing.T) {
	t.Parallel()
	from := testenv.NewPostgres(t, "-c", "wal_level=logical")
	to := testenv.NewPostgres(t)
	publisher, subscriber := from.Open(t), to.Open(t)
	orders := model.MustTable(model.Spec[order, int64]{Name: "orders", Key: "id"}).Relation()
	const plain = "CREATE TABLE products (id bigint PRIMARY KEY, sku text, category bigint, name text); CREATE TABLE orders (id bigint PRIMARY KEY, number text)"
	publisher.MustExec(plain + "; CREATE PUBLICATION p FOR ALL TABLES")
	subscriber.MustExec(ours() + strings.Replace(plain, "number text)", "number text) PARTITION BY RANGE (id)", 1) + "; CREATE TABLE low PARTITION OF orders FOR VALUES FROM (0) TO (100)")
	for _, rel := range []*model.Relation{products, orders} {
		up, _ := migrations.Capture(rel, false)
		subscriber.MustExec(up) // as it was before it was a subscriber
		up, _ = migrations.Capture(rel, true)
		subscriber.MustExec(up)
		subscriber.MustExec(up)
	}
	subscriber.MustExec("CREATE TABLE high PARTITION OF orders FOR VALUES FROM (100) TO (200)") // has its clone of the row trigger at once
	u, err := url.Parse(from.URL())
	if err != nil {
		t.Fatal(err)
	}
	subscriber.MustExec("CREATE SUBSCRIPTION s CONNECTION 'host=" + u.Hostname() + " port=" + u.Port() + " user=postgres dbname=postgres' PUBLICATION p WITH (copy_data = false)")
	defer subscriber.MustExec("DROP SUBSCRIPTION s")
	for _, c := range []struct {
		statement string
		want      []string
	}{
		{"INSERT INTO products VALUES (1, 'a', 7), (2, 'b', 7)", []string{"I public.products > {{1,a,7}}", "I public.products > {{2,b,7}}"}},
		{"UPDATE products SET sku = 'c' WHERE id = 1", []string{"U public.products {{1,a,7}} > {{1,c,7}}"}},
		{"UPDATE products SET name = 'n' WHERE id = 1", []string{"U public.products {{1,c,7}}"}},
		{"DELETE FROM products WHERE id = 1", []string{"D public.products {{1,c,7}}"}},
		{"TRUNCATE products", []string{"T public.products {{2,b,7}}"}},
		{"INSERT INTO orders VALUES (1, 'x'), (100, 'y')", []string{"I public.orders > {{1}}", "I public.orders > {{100}}"}},
		{"UPDATE orders SET id = 101 WHERE id = 1", []string{"D public.orders {{1}}", "I public.orders > {{101}}"}}, // as PostgreSQL moves a row
	} {
		publisher.MustExec(c.statement)
		if got := replicated(t, subscriber, len(c.want)); !slices.Equal(got, c.want) {
			t.Fatalf("%s:\n got %q\nwant %q", c.statement, got, c.want)
		}
	}
	// A session of the subscriber's own fires the statement triggers and not the row's.
	subscriber.MustExec("INSERT INTO products VALUES (5, 'own', NULL); DELETE FROM products")
	want(t, subscriber, "its own", "I public.products > {{5,own,NULL}}", "D public.products {{5,own,NULL}}")
	// The worker goes on, with what it has planned before.
	publisher.MustExec("ALTER TABLE products DROP sku")
	subscriber.MustExec("ALTER TABLE products DROP sku")
	publisher.MustExec("INSERT INTO products VALUES (6, 8)")
	if got := replicated(t, subscriber, 1); !slices.Equal(got, []string{"I public.products > {{6,NULL,8}} (a captured column is gone or has another type)"}) {
		t.Errorf("a dropped column: %q", got)
	}
}

// replicated waits for n changes.
func replicated(t *testing.T, db *sqlx.DB, n int) (lines []string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); len(lines) < n && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		lines = append(lines, taken(t, db)...)
	}
	return lines
}
