package txhooks

import (
	"context"
	"errors"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/model"
)

// A statement failed, which would be proof that COMMIT rolls back; but Savepoint undid it, or somebody with the Tx in hand,
// and COMMIT was executed. Taken for rolled back, rows would change that nobody is told of.
func TestUndoneFailureProvesNothing(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, db *DB, ctx context.Context){
		"Savepoint": func(t *testing.T, db *DB, ctx context.Context) {
			err := db.Savepoint(ctx, func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "INSERT INTO nowhere VALUES (1)")
				return err
			})
			if err == nil {
				t.Error("Savepoint: no error")
			}
		},
		"through Tx": func(t *testing.T, db *DB, ctx context.Context) {
			tx, _ := db.Tx(ctx)
			exec(t, db, ctx, "SAVEPOINT mine")
			if _, err := db.ExecContext(ctx, "INSERT INTO nowhere VALUES (1)"); err == nil {
				t.Error("ExecContext: no error")
			}
			if _, err := tx.ExecContext(ctx, "ROLLBACK TO mine"); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			onTheWire(t, func(t *testing.T, db *DB, proxy *faults.Proxy, direct *sqlx.DB) {
				var j journal
				proxy.CutAfterCommit()
				err := db.Run(t.Context(), func(ctx context.Context) error {
					AfterEnd(ctx, j.end("end"))
					insert(t, db, ctx, 1)
					fail(t, db, ctx)
					return nil
				})
				if !errors.Is(err, model.ErrInDoubt) {
					t.Errorf("Run: %v", err)
				}
				j.want(t, "end in doubt")
				if got := notesOf(t, direct); got != "1" {
					t.Errorf("rows in the table: %q", got)
				}
			})
		})
	}
}
