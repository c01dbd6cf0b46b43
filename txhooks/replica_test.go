package txhooks

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/testenv"
)

// count reads how many notes there are, by each of the reading methods.
func count(t *testing.T, db *DB, ctx context.Context) int {
	t.Helper()
	const query = "SELECT id FROM note ORDER BY id"
	var get int
	var list []int
	if err := db.SelectContext(ctx, &list, query); err != nil {
		t.Fatal(err)
	}
	if err := db.GetContext(ctx, &get, "SELECT count(*) FROM note"); err != nil {
		t.Fatal(err)
	}
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for rows.Next() {
		n++
	}
	_ = rows.Close()
	rowsx, err := db.QueryxContext(ctx, query)
	if err != nil {
		t.Fatal(err)
	}
	nx := 0
	for rowsx.Next() {
		nx++
	}
	_ = rowsx.Close()
	var row, rowx int
	if err := errors.Join(
		db.QueryRowContext(ctx, "SELECT count(*) FROM note").Scan(&row),
		db.QueryRowxContext(ctx, "SELECT count(*) FROM note").Scan(&rowx),
	); err != nil {
		t.Fatal(err)
	}
	for _, other := range []int{len(list), n, nx, row, rowx} {
		if other != get {
			t.Fatalf("the methods read different servers: %d and %d rows", get, other)
		}
	}
	return get
}

// What goes to a replica is what asks for it, and nothing else.
func TestReplica(t *testing.T) {
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			pg := testenv.PostgresReplicated(t, schema)
			replica := testenv.Open(t, driver, pg.Standby.URL())
			dead := testenv.Open(t, driver, pg.Standby.URLThrough("127.0.0.1:1"))
			conn := testenv.Open(t, driver, pg.URL())
			db := New(conn, Config{Replicas: []*sqlx.DB{dead, replica}})
			other := New(testenv.Open(t, driver, pg.URL()), Config{Replicas: []*sqlx.DB{replica}})
			pg.Standby.Pause() // so that the replica has no notes for ever
			ctx := OnReplica(t.Context())
			err := db.Run(ctx, func(ctx context.Context) error {
				insert(t, db, ctx, 1)
				if n := count(t, db, OnReplica(ctx)); n != 1 {
					t.Errorf("in a transaction: %d rows", n)
				}
				count(t, other, ctx)
				if n, _ := other.ReplicaReads(); n != 0 {
					t.Errorf("in a transaction of another DB: %d reads on a replica", n)
				}
				AfterCommit(ctx, func(ctx context.Context) {
					if n := count(t, db, ctx); n != 1 {
						t.Errorf("in a hook: %d rows", n)
					}
					if n := count(t, db, OnReplica(ctx)); n != 0 {
						t.Errorf("in a hook that asks for a replica: %d rows", n)
					}
				})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]struct {
				ctx context.Context
				n   int
			}{
				"nobody asked":    {t.Context(), 1},
				"a replica":       {ctx, 0},
				"the primary":     {OnPrimary(ctx), 1},
				"this one":        {db.OnOne(t.Context(), replica), 0},
				"of another pool": {db.OnOne(t.Context(), conn), 1},
			} {
				if n := count(t, db, want.ctx); n != want.n {
					t.Errorf("%s: %d rows, want %d", name, n, want.n)
				}
			}
			if n := count(t, New(conn, Config{}), ctx); n != 1 {
				t.Errorf("without replicas: %d rows", n)
			}
			answered, failed := db.ReplicaReads()
			if answered == 0 || failed != 1 {
				t.Errorf("answered %d, failed %d: a replica that is down is asked by one read, then left alone for a while", answered, failed)
			}
			var one int
			if err := db.GetContext(db.OnOne(t.Context(), dead), &one, "SELECT 1"); err == nil {
				t.Error("a replica that is down has answered")
			}
			// What the replica has not heard of, or must not do, the primary answers.
			exec(t, db, t.Context(), "ALTER TABLE note ADD COLUMN added int DEFAULT 7")
			var list []int
			if err := db.SelectContext(ctx, &list, "SELECT added FROM note"); err != nil || len(list) != 1 || list[0] != 7 {
				t.Errorf("a new column: %v, %v", list, err)
			}
			if err := db.GetContext(ctx, &one, "INSERT INTO note VALUES (2) RETURNING id"); err != nil || one != 2 {
				t.Errorf("a statement that writes: %d, %v", one, err)
			}
			if err := db.GetContext(ctx, &one, "SELECT id FROM note"); !errors.Is(err, sql.ErrNoRows) {
				t.Errorf("no rows is an answer: %d, %v", one, err)
			}
			idle(t, db)
		})
	}
}
