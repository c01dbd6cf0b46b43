package txhooks

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
)

// Two transfers in opposite directions deadlock if each locks its rows as its statements come to them. Here they would for
// certain: when one has sent its first statement, of two, it holds both rows, whichever it was told of first.
func TestTouchLocksAllBeforeTheFirstStatement(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		exec(t, db, t.Context(), `INSERT INTO users VALUES (1, 'a@x', 7), (2, 'b@x', 7)`)
		for _, refs := range []model.Refs{{users.Row(1), users.Row(2)}, {users.Row(2), byEmail.Eq("a@x")}} {
			err := db.Run(t.Context(), func(ctx context.Context) error {
				for _, ref := range refs { // as two decorators do it, one after another
					if err := Touch(ctx, ref); err != nil {
						return err
					}
				}
				exec(t, db, ctx, `UPDATE users SET credits = credits - 1 WHERE id = $1`, 2)
				for id := 1; id <= 2; id++ {
					_, err := db.ExecContext(context.Background(), `SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE NOWAIT`, id)
					if sqlState(err) != "55P03" {
						t.Errorf("row %d is not locked: %v", id, err)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}

// A RunWith that is refused rolls back all, also if the savepoint that happens to be open is another goroutine's and is
// undone for reasons of its own.
func TestRefusedWhileAnotherSavepointIsOpen(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		err := db.Run(t.Context(), func(ctx context.Context) error {
			insert(t, db, ctx, 1)
			inside, tried := make(chan struct{}), make(chan struct{})
			var other sync.WaitGroup
			other.Go(func() {
				_ = db.Savepoint(ctx, func(context.Context) error {
					close(inside)
					<-tried
					return errBoom
				})
			})
			<-inside
			_ = db.RunWith(ctx, Options{ReadOnly: true}, func(context.Context) error { t.Error("fn ran"); return nil })
			close(tried)
			other.Wait()
			return nil
		})
		if !errors.Is(err, ErrConcurrent) {
			t.Errorf("Run: %v", err)
		}
		wantNotes(t, db, "")
	})
}

// The library sends no SET: how long a statement waits for a lock is set where the pool is opened, as docs/transactions.md
// says. Both drivers hand what they do not know to the server.
func TestLockTimeoutByDSN(t *testing.T) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			url := testenv.PostgresWith(t, schema).URL()
			sep := "?"
			if strings.Contains(url, "?") {
				sep = "&"
			}
			db := New(testenv.Open(t, driver, url+sep+"lock_timeout=100"), Config{})
			insert(t, db, t.Context(), 1)
			exec(t, db, t.Context(), "INSERT INTO users VALUES (1, 'a@x', 7)")
			err := db.Run(t.Context(), func(ctx context.Context) error {
				exec(t, db, ctx, "UPDATE users SET credits = 1")
				// The mistake of all mistakes: the same row from outside. It ends, with a name.
				err := db.Run(t.Context(), func(ctx context.Context) error {
					if err := Touch(ctx, users.Row(1)); err != nil {
						return err
					}
					_, err := db.ExecContext(ctx, "UPDATE users SET credits = 2")
					return err
				})
				if sqlState(err) != "55P03" {
					t.Errorf("the second writer: %v", err)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
