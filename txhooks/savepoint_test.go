package txhooks

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// all gives one of everything that a savepoint can undo, named n.
func all(t *testing.T, db *DB, ctx context.Context, r *recorder, n string, id int) {
	t.Helper()
	insert(t, db, ctx, id)
	if err := db.Changed(ctx, change(int64(id))); err != nil {
		t.Error(err)
	}
	if err := Touch(ctx, notesTable.Row(int64(1000+id))); err != nil {
		t.Error(err)
	}
	BeforeCommit(ctx, func(context.Context) error { r.add("before " + n); return nil })
	AfterCommit(ctx, r.hook("commit "+n))
	AfterEnd(ctx, r.end("end "+n))
}

func TestSavepoint(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		r := &recorder{}
		defer db.Subscribe(r)()
		err := db.Run(t.Context(), func(ctx context.Context) error {
			all(t, db, ctx, r, "1", 1)
			err := db.Savepoint(ctx, func(ctx context.Context) error {
				all(t, db, ctx, r, "2", 2)
				if err := db.Savepoint(ctx, func(ctx context.Context) error { all(t, db, ctx, r, "3", 3); return nil }); err != nil {
					t.Error(err)
				}
				return errBoom
			})
			if err != errBoom {
				t.Errorf("Savepoint: %v", err)
			}
			return db.Savepoint(ctx, func(ctx context.Context) error {
				all(t, db, ctx, r, "4", 4)
				_ = db.Savepoint(ctx, func(ctx context.Context) error { all(t, db, ctx, r, "5", 5); return errBoom })
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		r.want(t, "before 1", "before 4", "subscriber committed", "commit 1", "commit 4", "end 1 committed", "end 4 committed")
		wantNotes(t, db, "1 4")
		if got := strings.Join(r.take(), " "); got != ">1 >4 1001>1001 1004>1004" {
			t.Errorf("changes: %s", got)
		}
		idle(t, db)
	})
}

// What a savepoint kept is still lost if the transaction is: no hook runs, no change is reported as committed.
func TestSavepointReleasedThenRolledBack(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		r := &recorder{}
		defer db.Subscribe(r)()
		_ = db.Run(t.Context(), func(ctx context.Context) error {
			if err := db.Savepoint(ctx, func(ctx context.Context) error { all(t, db, ctx, r, "1", 1); return nil }); err != nil {
				t.Error(err)
			}
			return errBoom
		})
		r.want(t, "subscriber rolled back", "end 1 rolled back")
		wantNotes(t, db, "")
	})
}

// Failed savepoints are what savepoints are for: each is undone, even if fn dropped what failed in it.
func TestSavepointUndoesFailures(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		var fails error
		for name, fn := range map[string]func(ctx context.Context) error{
			"statement returned": func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "INSERT INTO nowhere VALUES (1)")
				return err
			},
			"statement dropped": func(ctx context.Context) error {
				_, _ = db.ExecContext(ctx, "INSERT INTO nowhere VALUES (1)")
				return nil
			},
			"run dropped": func(ctx context.Context) error {
				_ = db.Run(ctx, func(ctx context.Context) error { return errBoom })
				return nil
			},
		} {
			err := db.Run(t.Context(), func(ctx context.Context) error {
				insert(t, db, ctx, 1)
				fails = db.Savepoint(ctx, func(ctx context.Context) error {
					insert(t, db, ctx, 2)
					return fn(ctx)
				})
				exec(t, db, ctx, "DELETE FROM note WHERE id = 1")
				return nil
			})
			if err != nil {
				t.Errorf("%s: Run: %v", name, err)
			}
			if name == "run dropped" && !errors.Is(fails, errBoom) || name != "run dropped" && !strings.Contains(fails.Error(), "nowhere") {
				t.Errorf("%s: Savepoint: %v", name, fails)
			}
			wantNotes(t, db, "")
		}
	})
}

// A transaction that is lost already does not make its savepoints fail, nor do they save it.
func TestSavepointInDoomedTransaction(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		err := db.Run(t.Context(), func(ctx context.Context) error {
			_ = db.Run(ctx, func(context.Context) error { return errBoom })
			return db.Savepoint(ctx, func(ctx context.Context) error { insert(t, db, ctx, 1); return nil })
		})
		if !errors.Is(err, errBoom) || !strings.HasPrefix(err.Error(), "aside: rolled back: a Run within it failed") {
			t.Errorf("Run: %v", err)
		}
		wantNotes(t, db, "")
	})
}

// A loop of savepoints that fail must not nest them in each other.
func TestSavepointsDoNotPileUp(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		err := db.Run(t.Context(), func(ctx context.Context) error {
			for range 3 {
				_ = db.Savepoint(ctx, func(ctx context.Context) error { return errBoom })
			}
			_, err := db.ExecContext(ctx, "RELEASE SAVEPOINT aside_1")
			if sqlState(err) != "3B001" {
				t.Errorf("a savepoint is left: %v", err)
			}
			return nil
		})
		if err == nil {
			t.Error("the failed statement was forgotten")
		}
	})
}

// The caller's context is dead and fn drops that: the savepoint is undone all the same.
func TestSavepointCancelled(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		err := db.Run(t.Context(), func(ctx context.Context) error {
			insert(t, db, ctx, 1)
			inner, cancel := context.WithCancel(ctx)
			err := db.Savepoint(inner, func(ctx context.Context) error {
				insert(t, db, ctx, 2)
				cancel()
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Savepoint: %v", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		wantNotes(t, db, "1")
	})
}
