package txhooks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
)

// onTheWire runs a test on each driver through a proxy. direct goes past it.
func onTheWire(t *testing.T, test func(t *testing.T, db *DB, proxy *faults.Proxy, direct *sqlx.DB)) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			pg := testenv.PostgresWith(t, schema)
			proxy := faults.NewPostgresProxy(t, pg.Addr())
			test(t, New(testenv.Open(t, driver, pg.URLThrough(proxy.Addr())), Config{}), proxy, pg.Open(t))
		})
	}
}

// The answer to COMMIT is lost, before or after it was executed: the same error, and the rows are not there, or are.
func TestCommitAnswerLost(t *testing.T) {
	for name, tc := range map[string]struct {
		arm  func(*faults.Proxy) *faults.Fault
		rows string
	}{
		"before it was executed": {(*faults.Proxy).CutBeforeCommit, ""},
		"after it was executed":  {(*faults.Proxy).CutAfterCommit, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			onTheWire(t, func(t *testing.T, db *DB, proxy *faults.Proxy, direct *sqlx.DB) {
				r := &recorder{pending: 1}
				defer db.Subscribe(r)()
				ctx, rep := WithReport(t.Context())
				tc.arm(proxy)
				err := db.Run(ctx, func(ctx context.Context) error {
					insert(t, db, ctx, 1)
					AfterCommit(ctx, r.hook("commit"))
					AfterEnd(ctx, r.end("end"))
					if err := Touch(ctx, notesTable.Row(5)); err != nil {
						return err
					}
					return db.Changed(ctx, change(1))
				})
				var e *model.Error
				if !errors.Is(err, model.ErrInDoubt) || !errors.As(err, &e) || e.Err == nil || !strings.HasPrefix(err.Error(), "commit in doubt: ") {
					t.Errorf("Run: %v", err)
				}
				r.want(t, "subscriber in doubt", "end in doubt")
				if got := strings.Join(r.take(), " "); got != ">1 5>5" {
					t.Errorf("changes: %s", got)
				}
				if rep.Pending != 1 {
					t.Errorf("pending: %d", rep.Pending)
				}
				if got := notesOf(t, direct); got != tc.rows {
					t.Errorf("rows in the table: %q, want %q", got, tc.rows)
				}
				insert(t, db, t.Context(), 2) // the pool has recovered
				idle(t, db)
			})
		})
	}
}

// A statement failed. Unless it was undone the transaction cannot have committed, and that is known without an answer.
func TestCommitAnswerLostAfterFailure(t *testing.T) {
	for _, undone := range []bool{false, true} {
		t.Run(fmt.Sprintf("undone %t", undone), func(t *testing.T) {
			onTheWire(t, func(t *testing.T, db *DB, proxy *faults.Proxy, direct *sqlx.DB) {
				var j journal
				proxy.CutAfterCommit()
				err := db.Run(t.Context(), func(ctx context.Context) error {
					AfterEnd(ctx, j.end("end"))
					insert(t, db, ctx, 1)
					exec(t, db, ctx, "SAVEPOINT mine")
					_, _ = db.ExecContext(ctx, "INSERT INTO nowhere VALUES (1)")
					if undone {
						exec(t, db, ctx, "ROLLBACK TO mine")
					}
					return nil
				})
				if want := map[bool]string{false: "end rolled back", true: "end in doubt"}[undone]; err == nil {
					t.Error("Run: no error")
				} else {
					j.want(t, want)
				}
				if got := notesOf(t, direct); got != map[bool]string{false: "", true: "1"}[undone] {
					t.Errorf("rows in the table: %q", got)
				}
			})
		})
	}
}

// The connection is cut when COMMIT's answer has arrived: nobody is any the wiser.
func TestCutAfterCommitAnswer(t *testing.T) {
	onTheWire(t, func(t *testing.T, db *DB, proxy *faults.Proxy, direct *sqlx.DB) {
		err := db.Run(t.Context(), func(ctx context.Context) error {
			insert(t, db, ctx, 1)
			AfterCommit(ctx, func(context.Context) { proxy.Cut() })
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		insert(t, db, t.Context(), 2)
		if got := notesOf(t, direct); got != "1 2" {
			t.Errorf("rows in the table: %q", got)
		}
	})
}

// The caller's context ends while COMMIT is out: COMMIT decides.
func TestCancelDuringCommit(t *testing.T) {
	onTheWire(t, func(t *testing.T, db *DB, proxy *faults.Proxy, direct *sqlx.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		var cancelled atomic.Bool
		proxy.OnClientBytes(func(_ int, b []byte) faults.Action {
			if faults.IsQuery(b, "COMMIT") {
				cancel()
				cancelled.Store(true)
			}
			return faults.Forward
		})
		var j journal
		err := db.Run(ctx, func(ctx context.Context) error {
			insert(t, db, ctx, 1)
			AfterCommit(ctx, func(ctx context.Context) {
				j.add("commit")
				if ctx.Err() != nil {
					t.Error("the hook's context has ended")
				}
			})
			return nil
		})
		if err != nil || !cancelled.Load() {
			t.Errorf("Run: %v; cancelled: %t", err, cancelled.Load())
		}
		j.want(t, "commit")
		if got := notesOf(t, direct); got != "1" {
			t.Errorf("rows in the table: %q", got)
		}
		idle(t, db)
	})
}

// The connection is cut when an INSERT has been executed but not answered. Autocommitted it would be sent again.
func TestInsertOutsideIsNotRunTwice(t *testing.T) {
	onTheWire(t, func(t *testing.T, db *DB, proxy *faults.Proxy, direct *sqlx.DB) {
		if _, err := direct.Exec("CREATE TABLE serial (id serial)"); err != nil {
			t.Fatal(err)
		}
		var once atomic.Bool
		proxy.OnClientBytes(func(_ int, b []byte) faults.Action {
			if sql, ok := faults.QueryText(b); ok && strings.HasPrefix(sql, "INSERT") && once.CompareAndSwap(false, true) {
				return faults.CutReply
			}
			return faults.Forward
		})
		if _, err := db.ExecContext(t.Context(), "INSERT INTO serial DEFAULT VALUES"); err == nil {
			t.Error("ExecContext: no error")
		}
		var n int
		if err := direct.Get(&n, "SELECT count(*) FROM serial"); err != nil || n != 0 || !once.Load() {
			t.Errorf("%d rows, %v", n, err)
		}
		idle(t, db)
	})
}

// Connections that went bad in the pool are no reason to fail: BEGIN is tried on others.
func TestBadConnectionsInThePool(t *testing.T) {
	onTheWire(t, func(t *testing.T, db *DB, proxy *faults.Proxy, _ *sqlx.DB) {
		db.conn.SetMaxIdleConns(8)
		var fill func(ctx context.Context, n int) error
		fill = func(ctx context.Context, n int) error {
			if n == 0 {
				return nil
			}
			conn, err := db.conn.Connx(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			if err := conn.PingContext(ctx); err != nil {
				return err
			}
			return fill(ctx, n-1)
		}
		if err := fill(t.Context(), 8); err != nil {
			t.Fatal(err)
		}
		if n := db.conn.Stats().Idle; n != 8 {
			t.Fatalf("%d idle connections", n)
		}
		proxy.Cut()
		if err := db.Run(t.Context(), func(ctx context.Context) error { insert(t, db, ctx, 1); return nil }); err != nil {
			t.Error(err)
		}
		wantNotes(t, db, "1")
		idle(t, db)
	})
}

// The caller's context ends while BEGIN is out.
func TestCancelDuringBegin(t *testing.T) {
	onTheWire(t, func(t *testing.T, db *DB, proxy *faults.Proxy, _ *sqlx.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		proxy.OnClientBytes(func(_ int, b []byte) faults.Action {
			if sql, ok := faults.QueryText(b); ok && strings.HasPrefix(strings.ToUpper(sql), "BEGIN") {
				cancel()
			}
			return faults.Forward
		})
		err := db.Run(ctx, func(context.Context) error { t.Error("fn ran"); return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
		proxy.OnClientBytes(nil)
		insert(t, db, t.Context(), 1)
		idle(t, db)
	})
}

// The connection dies in the middle of fn: rolled back, whatever ROLLBACK says.
func TestConnectionLostInFn(t *testing.T) {
	onTheWire(t, func(t *testing.T, db *DB, proxy *faults.Proxy, direct *sqlx.DB) {
		var j journal
		err := db.Run(t.Context(), func(ctx context.Context) error {
			insert(t, db, ctx, 1)
			AfterEnd(ctx, j.end("end"))
			proxy.Cut()
			_, err := db.ExecContext(ctx, "INSERT INTO note VALUES (2, '')")
			return err
		})
		if err == nil || errors.Is(err, model.ErrInDoubt) {
			t.Errorf("Run: %v", err)
		}
		j.want(t, "end rolled back")
		if got := notesOf(t, direct); got != "" {
			t.Errorf("rows in the table: %q", got)
		}
		idle(t, db)
	})
}
