package txhooks

import (
	"context"
	"errors"
	"testing"
	"time"
)

// pathless is a context that cannot be compared, and embeds its parent.
type pathless struct {
	context.Context
	_ []int
}

func TestOuterContextIsRefused(t *testing.T) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			db := open(t, driver, Config{RefuseOuter: true})
			second := New(db.conn, Config{RefuseOuter: true}) // over the same pool
			unaware := New(db.conn, Config{})
			type key struct{}
			outer := t.Context()
			before := context.WithValue(outer, key{}, 1)
			err := db.Run(outer, func(ctx context.Context) error {
				var n int
				timeout, cancel := context.WithTimeout(before, time.Minute)
				defer cancel()
				for name, wrong := range map[string]context.Context{
					"the very one": outer, "WithValue": before, "WithTimeout": timeout, "a type of the user's": pathless{Context: outer},
				} {
					_, execErr := db.ExecContext(wrong, "INSERT INTO note VALUES (1, '')")
					_, namedErr := db.NamedExecContext(wrong, "INSERT INTO note VALUES (:id, '')", note{ID: 1})
					_, queryErr := db.QueryContext(wrong, "SELECT 1") //nolint
					for what, err := range map[string]error{
						"Exec": execErr, "NamedExec": namedErr, "Query": queryErr,
						"Get":                      db.GetContext(wrong, &n, "SELECT 1"),
						"QueryRow":                 db.QueryRowContext(wrong, "SELECT 1").Scan(&n),
						"Run":                      db.Run(wrong, func(context.Context) error { t.Error("fn ran"); return nil }),
						"another DB over the pool": second.Run(wrong, func(context.Context) error { t.Error("fn ran"); return nil }),
						"Outer":                    db.Outer(wrong),
					} {
						if !errors.Is(err, ErrOuterContext) {
							t.Errorf("%s on %s: %v", what, name, err)
						}
					}
				}
				for name, right := range map[string]context.Context{
					"fn's": ctx, "one made from it": context.WithValue(ctx, key{}, 2),
					"WithoutCancel": context.WithoutCancel(outer), "another": context.Background(),
				} {
					if err := db.GetContext(right, &n, "SELECT 1"); err != nil {
						t.Errorf("on %s: %v", name, err)
					}
				}
				if err := unaware.GetContext(outer, &n, "SELECT 1"); err != nil {
					t.Errorf("through a DB without the option: %v", err)
				}
				// What somebody else does with the same context on a goroutine of his own is right.
				elsewhere := make(chan error)
				go func() { elsewhere <- db.Run(outer, func(context.Context) error { return nil }) }()
				if err := <-elsewhere; err != nil {
					t.Errorf("on another goroutine: %v", err)
				}
				BeforeCommit(ctx, func(ctx context.Context) error {
					if err := db.GetContext(outer, &n, "SELECT 1"); !errors.Is(err, ErrOuterContext) {
						t.Errorf("in BeforeCommit: %v", err)
					}
					return db.GetContext(ctx, &n, "SELECT 1")
				})
				AfterCommit(ctx, func(ctx context.Context) {
					if err := errors.Join(db.GetContext(ctx, &n, "SELECT 1"), db.GetContext(outer, &n, "SELECT 1")); err != nil {
						t.Errorf("in AfterCommit: %v", err)
					}
				})
				return db.Savepoint(ctx, func(ctx context.Context) error { return db.GetContext(ctx, &n, "SELECT 1") })
			})
			if err != nil {
				t.Error(err)
			}
			// Nothing stays behind, also when fn panics.
			func() {
				defer func() { _ = recover() }()
				_ = db.Run(outer, func(context.Context) error { panic("this goes on") })
			}()
			insert(t, db, outer, 2)
			if len(db.pool.outer.open) != 0 {
				t.Error("contexts of Runs that are over are kept")
			}
			// The root of all is only itself.
			err = db.Run(context.Background(), func(context.Context) error {
				insert(t, db, outer, 3)
				if err := db.Outer(context.Background()); !errors.Is(err, ErrOuterContext) {
					t.Errorf("Background: %v", err)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			wantNotes(t, db, "2 3")
		})
	}
}

// Off, which is the default, the check costs nothing.
func TestOuterContextOff(t *testing.T) {
	db := open(t, "postgres", Config{})
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _ = db.Outer(ctx) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	_ = db.Run(ctx, func(context.Context) error {
		insert(t, db, ctx, 1)
		return nil
	})
	wantNotes(t, db, "1")
}
