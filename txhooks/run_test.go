package txhooks

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRunCommits(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		err := db.Run(t.Context(), func(ctx context.Context) error {
			insert(t, db, ctx, 1)
			if got := notes(t, db); got != "" {
				t.Errorf("others see %q before COMMIT", got)
			}
			return db.Run(ctx, func(ctx context.Context) error {
				insert(t, db, ctx, 2)
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		wantNotes(t, db, "1 2")
		idle(t, db)
	})
}

func TestErrorRollsBack(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		err := db.Run(t.Context(), func(ctx context.Context) error {
			insert(t, db, ctx, 1)
			return errBoom
		})
		if err != errBoom {
			t.Errorf("Run: %v, want fn's error as it is", err)
		}
		wantNotes(t, db, "")
		idle(t, db)
	})
}

// An inner Run's error rolls back all, whatever the caller makes of it.
func TestInnerErrorDropped(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		err := db.Run(t.Context(), func(ctx context.Context) error {
			insert(t, db, ctx, 1)
			_ = db.Run(ctx, func(ctx context.Context) error { return errBoom })
			return nil
		})
		if !errors.Is(err, errBoom) || err.Error() == errBoom.Error() {
			t.Errorf("Run: %v, want an error that wraps the inner one", err)
		}
		wantNotes(t, db, "")
	})
}

func TestPanicAndGoexitRollBack(t *testing.T) {
	for name, leave := range map[string]func(){
		"panic":  func() { panic("boom") },
		"goexit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			everyDriver(t, func(t *testing.T, db *DB) {
				var j journal
				var got any
				db.Subscribe(&recorder{})
				run := func(fn func(ctx context.Context) error) {
					var gone sync.WaitGroup
					gone.Go(func() {
						defer func() { got = recover() }()
						_ = db.Run(t.Context(), fn)
						j.add("Run returned")
					})
					gone.Wait()
					idle(t, db)
					if name == "panic" && got != "boom" {
						t.Errorf("recovered %v", got)
					}
				}
				run(func(ctx context.Context) error {
					insert(t, db, ctx, 1)
					AfterCommit(ctx, j.hook("commit"))
					AfterEnd(ctx, j.end("end"))
					leave()
					return nil
				})
				run(func(ctx context.Context) error {
					return db.Savepoint(ctx, func(ctx context.Context) error {
						insert(t, db, ctx, 2)
						leave()
						return nil
					})
				})
				run(func(ctx context.Context) error {
					BeforeCommit(ctx, func(ctx context.Context) error {
						insert(t, db, ctx, 3)
						leave()
						return nil
					})
					return nil
				})
				j.want(t, "end rolled back")
				wantNotes(t, db, "")
			})
		})
	}
}

// A panic within that the caller recovers still rolls back, unless it is in a savepoint.
func TestRecoveredPanic(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		try := func(run func(context.Context, func(context.Context) error) error, ctx context.Context, id int) {
			defer func() { _ = recover() }()
			_ = run(ctx, func(ctx context.Context) error {
				insert(t, db, ctx, id)
				panic("boom")
			})
		}
		err := db.Run(t.Context(), func(ctx context.Context) error {
			insert(t, db, ctx, 1)
			try(db.Savepoint, ctx, 2)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		err = db.Run(t.Context(), func(ctx context.Context) error {
			try(db.Run, ctx, 3)
			return nil
		})
		if !errors.Is(err, errEnded) {
			t.Errorf("Run: %v", err)
		}
		wantNotes(t, db, "1")
	})
}

func TestFinishedContext(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		for text, result := range map[string]error{
			"aside: this context's transaction has already committed":   nil,
			"aside: this context's transaction has already rolled back": errBoom,
		} {
			var stale context.Context
			_ = db.Run(t.Context(), func(ctx context.Context) error {
				stale = ctx
				return result
			})
			var n int
			_, execErr := db.ExecContext(stale, "INSERT INTO note VALUES (9, '')")
			_, namedErr := db.NamedExecContext(stale, "INSERT INTO note VALUES (:id, '')", note{ID: 9})
			_, queryErr := db.QueryContext(stale, "SELECT 1") //nolint
			_, queryxErr := db.QueryxContext(stale, "SELECT 1")
			_, prepareErr := db.PrepareContext(stale, "SELECT 1")
			for what, err := range map[string]error{
				"Exec": execErr, "NamedExec": namedErr, "Query": queryErr, "Queryx": queryxErr, "Prepare": prepareErr,
				"Get":       db.GetContext(stale, &n, "SELECT 1"),
				"Select":    db.SelectContext(stale, &[]int{}, "SELECT 1"),
				"QueryRow":  db.QueryRowContext(stale, "SELECT 1").Scan(&n),
				"QueryRowx": db.QueryRowxContext(stale, "SELECT 1").Scan(&n),
				"Run":       db.Run(stale, func(context.Context) error { t.Error("fn ran"); return nil }),
				"Savepoint": db.Savepoint(stale, func(context.Context) error { t.Error("fn ran"); return nil }),
				"Touch":     Touch(stale, notesTable.Row(1)),
				"Changed":   db.Changed(stale, change(1)),
			} {
				if err == nil || err.Error() != text || !errors.Is(err, ErrFinished) || !errors.Is(err, sql.ErrTxDone) {
					t.Errorf("%s: %v, want %s", what, err, text)
				}
			}
			if !db.In(stale) {
				t.Error("In is false on a finished transaction's context")
			}
			if tx, ok := db.Tx(stale); !ok || !errors.Is(tx.Get(&n, "SELECT 1"), sql.ErrTxDone) {
				t.Error("Tx of a finished transaction is not a finished one")
			}
		}
		wantNotes(t, db, "")
	})
}

func TestConcurrentNesting(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		for name, nest := range map[string]func(context.Context, func(context.Context) error) error{
			"Run": db.Run, "Savepoint": db.Savepoint,
		} {
			err := db.Run(t.Context(), func(ctx context.Context) error {
				inside, tried := make(chan struct{}), make(chan struct{})
				var both sync.WaitGroup
				both.Go(func() {
					err := db.Savepoint(ctx, func(context.Context) error {
						close(inside)
						<-tried
						return nil
					})
					if name == "Savepoint" && err != nil {
						t.Error(err)
					}
				})
				<-inside
				err := nest(ctx, func(context.Context) error { t.Error("fn ran"); return nil })
				if !errors.Is(err, ErrConcurrent) {
					t.Errorf("%s: %v", name, err)
				}
				close(tried)
				both.Wait()
				return nil
			})
			if name == "Savepoint" && err != nil || name == "Run" && !errors.Is(err, ErrConcurrent) {
				t.Errorf("after concurrent %s: %v", name, err)
			}
		}
	})
}

// Somebody's goroutine is still inside when fn returns: half of its work would be committed.
func TestCommitWhileNested(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		for _, nested := range []bool{false, true} {
			inside, leave := make(chan struct{}), make(chan struct{})
			var other sync.WaitGroup
			fn := func(ctx context.Context) error {
				insert(t, db, ctx, 1)
				other.Go(func() {
					_ = db.Run(ctx, func(context.Context) error {
						close(inside)
						<-leave
						return nil
					})
				})
				<-inside
				return nil
			}
			err := db.Run(t.Context(), func(ctx context.Context) error {
				if nested {
					return db.Run(ctx, fn)
				}
				return fn(ctx)
			})
			close(leave)
			other.Wait()
			if !errors.Is(err, ErrConcurrent) {
				t.Errorf("Run: %v", err)
			}
			wantNotes(t, db, "")
		}
	})
}

func TestTwoDBsOverOnePool(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		second, r := New(db.conn, Config{}), &recorder{}
		cancel := db.Subscribe(r)
		err := db.Run(t.Context(), func(ctx context.Context) error {
			insert(t, second, ctx, 1)
			_ = second.Run(ctx, func(ctx context.Context) error {
				insert(t, db, ctx, 2)
				if err := second.Changed(ctx, change(2)); err != nil {
					t.Error(err)
				}
				return nil
			})
			if got := notes(t, db); got != "" {
				t.Errorf("others see %q", got)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		wantNotes(t, db, "1 2")
		r.want(t, "subscriber committed")
		// A transaction that the second began is told to who subscribed to the first.
		report := func(ctx context.Context) error { return second.Changed(ctx, change(3)) }
		_ = second.Run(t.Context(), report)
		r.want(t, "subscriber committed", "subscriber committed")
		cancel()
		_ = second.Run(t.Context(), report)
		r.want(t, "subscriber committed", "subscriber committed")
	})
}

// Another database's transaction is another transaction; Touch and the hooks go to the innermost.
func TestTwoDatabases(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		other := open(t, "postgres", Config{})
		var j journal
		err := db.Run(t.Context(), func(ctx context.Context) error {
			insert(t, db, ctx, 1)
			_ = other.Run(ctx, func(ctx context.Context) error {
				insert(t, other, ctx, 2)
				insert(t, db, ctx, 3)
				AfterCommit(ctx, func(ctx context.Context) {
					j.add("inner committed")
					if other.In(ctx) || !db.In(ctx) {
						t.Error("the inner transaction's hook is in the wrong transaction")
					}
					AfterCommit(ctx, j.hook("outer committed"))
				})
				return nil
			})
			wantNotes(t, other, "2")
			wantNotes(t, db, "")
			j.want(t, "inner committed")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		wantNotes(t, db, "1 3")
		j.want(t, "inner committed", "outer committed")
	})
}

func TestOptions(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		err := db.RunWith(t.Context(), Options{Isolation: sql.LevelSerializable, ReadOnly: true}, func(ctx context.Context) error {
			var isolation, readOnly string
			if err := db.QueryRowContext(ctx, "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')").Scan(&isolation, &readOnly); err != nil {
				return err
			}
			if isolation != "serializable" || readOnly != "on" {
				t.Errorf("isolation %s, read only %s", isolation, readOnly)
			}
			return db.RunWith(ctx, Options{Isolation: sql.LevelSerializable}, func(context.Context) error { return nil })
		})
		if err != nil {
			t.Error(err)
		}
		for _, opts := range []Options{{Isolation: sql.LevelRepeatableRead}, {ReadOnly: true}} {
			err := db.Run(t.Context(), func(ctx context.Context) error {
				_ = db.RunWith(ctx, opts, func(context.Context) error { t.Error("fn ran"); return nil })
				return nil
			})
			if err == nil || !strings.Contains(err.Error(), "RunWith asks for") {
				t.Errorf("%v: %v", opts, err)
			}
		}
	})
}

func TestRetries(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		insert(t, db, t.Context(), 1)
		var j journal
		r := &recorder{}
		defer db.Subscribe(r)()
		attempts, id := 0, 100
		// Two serializable transactions read what the other writes; the second one to commit gets 40001.
		fn := func(conflicts int) func(ctx context.Context) error {
			return func(ctx context.Context) error {
				attempts++
				AfterCommit(ctx, j.hook("commit"))
				AfterEnd(ctx, j.end("end"))
				if err := db.Changed(ctx, change(1)); err != nil {
					return err
				}
				return db.RunWith(ctx, Options{Retries: 5}, func(ctx context.Context) error {
					var n int
					if err := db.GetContext(ctx, &n, "SELECT count(*) FROM note"); err != nil {
						return err
					}
					if attempts <= conflicts {
						if err := db.RunWith(context.Background(), Options{Isolation: sql.LevelSerializable}, func(ctx context.Context) error {
							if err := db.GetContext(ctx, &n, "SELECT count(*) FROM note"); err != nil {
								return err
							}
							id++
							insert(t, db, ctx, id)
							return nil
						}); err != nil {
							return err
						}
					}
					_, err := db.ExecContext(ctx, "INSERT INTO note SELECT 1000 + count(*) FROM note")
					return err
				})
			}
		}
		serializable := Options{Isolation: sql.LevelSerializable}
		if err := db.RunWith(t.Context(), serializable, fn(1)); !retryable(err) || attempts != 1 {
			t.Errorf("without Retries: %v after %d attempts", err, attempts)
		}
		j.want(t, "end rolled back")
		r.want(t, "subscriber rolled back")
		attempts, serializable.Retries = 0, 2
		if err := db.RunWith(t.Context(), serializable, fn(2)); err != nil || attempts != 3 {
			t.Errorf("with 2 retries: %v after %d attempts", err, attempts)
		}
		j.want(t, "end rolled back", "commit", "end committed")
		r.want(t, "subscriber rolled back", "subscriber committed")
		attempts = 0
		if err := db.RunWith(t.Context(), serializable, fn(9)); !retryable(err) || attempts != 3 {
			t.Errorf("more conflicts than retries: %v after %d attempts", err, attempts)
		}
		attempts = 0
		if err := db.RunWith(t.Context(), serializable, func(context.Context) error { attempts++; return errBoom }); err != errBoom || attempts != 1 {
			t.Errorf("another error: %v after %d attempts", err, attempts)
		}
	})
}

func TestCallerGoneBeforeCommit(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		var j journal
		ctx, cancel := context.WithCancel(t.Context())
		err := db.Run(ctx, func(ctx context.Context) error {
			insert(t, db, ctx, 1)
			AfterEnd(ctx, func(ctx context.Context, o Outcome) {
				j.add(o.String())
				if ctx.Err() != nil {
					t.Errorf("the hook's context: %v", ctx.Err())
				}
				insert(t, db, ctx, 2)
			})
			cancel()
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
		j.want(t, "rolled back")
		wantNotes(t, db, "2")
		idle(t, db)
	})
}

// Waiting for a connection obeys the caller.
func TestPoolExhausted(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		db.conn.SetMaxOpenConns(1)
		err := db.Run(t.Context(), func(context.Context) error {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			return db.Run(ctx, func(context.Context) error { return nil })
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run: %v", err)
		}
		idle(t, db)
	})
}

// lib/pq knows only 57014 of a statement that its context ended.
func TestCancelledStatement(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		for _, ctx := range []context.Context{t.Context(), nil} {
			check := func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
				var s string
				err := db.GetContext(ctx, &s, "SELECT pg_sleep(60)::text")
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("GetContext: %v", err)
				}
				return err
			}
			if ctx != nil {
				_ = check(ctx)
				continue
			}
			if err := db.Run(t.Context(), check); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Run: %v", err)
			}
		}
		idle(t, db)
	})
}

func TestSwallowedFailure(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		var j journal
		err := db.Run(t.Context(), func(ctx context.Context) error {
			insert(t, db, ctx, 1)
			AfterEnd(ctx, j.end("end"))
			_, _ = db.ExecContext(ctx, "INSERT INTO nowhere VALUES (1)")
			_, _ = db.ExecContext(ctx, "INSERT INTO note VALUES (2, '')")
			return nil
		})
		if sqlState(err) != "42P01" || !strings.Contains(err.Error(), "nowhere") || !strings.Contains(err.Error(), "dropped") {
			t.Errorf("Run: %v", err)
		}
		j.want(t, "end rolled back")
		// A failure that we did not see.
		err = db.Run(t.Context(), func(ctx context.Context) error {
			tx, _ := db.Tx(ctx)
			AfterEnd(ctx, j.end("end"))
			_, _ = tx.Exec("INSERT INTO nowhere VALUES (1)")
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "dropped") {
			t.Errorf("Run: %v", err)
		}
		j.want(t, "end rolled back", "end rolled back")
		// One that a savepoint of the user's own undid.
		err = db.Run(t.Context(), func(ctx context.Context) error {
			insert(t, db, ctx, 3)
			exec(t, db, ctx, "SAVEPOINT mine")
			_, _ = db.ExecContext(ctx, "INSERT INTO nowhere VALUES (1)")
			exec(t, db, ctx, "ROLLBACK TO mine")
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		wantNotes(t, db, "3")
	})
}

func TestDeferredConstraint(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		var j journal
		err := db.Run(t.Context(), func(ctx context.Context) error {
			AfterEnd(ctx, j.end("end"))
			exec(t, db, ctx, "INSERT INTO comment VALUES (1, 77)")
			return nil
		})
		if sqlState(err) != "23503" {
			t.Errorf("Run: %v", err)
		}
		j.want(t, "end rolled back")
		idle(t, db)
	})
}

func TestTransactionControlIsRefused(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		for query, refused := range map[string]bool{
			"COMMIT":                             true,
			"/* trace=1 */ -- x\n COMMIT":        true,
			" commit;":                           true,
			"-- name: Done :exec\nCOMMIT":        true,
			"ROLLBACK":                           true,
			"END":                                true,
			"ABORT":                              true,
			"BEGIN":                              true,
			"START TRANSACTION":                  true,
			"PREPARE TRANSACTION 'x'":            true,
			"UPDATE note SET body = ''; COMMIT":  true,
			"SAVEPOINT s":                        false,
			"SELECT 1":                           false,
			"PREPARE p AS SELECT 1":              false,
			"ROLLBACK TO s":                      false,
			"ROLLBACK WORK TO SAVEPOINT s":       false,
			"":                                   false,
			"UPDATE note SET body = 'COMMIT'":    false,
			"-- only a comment that says COMMIT": false,
		} {
			if err := refuseControl(query); (err != nil) != refused {
				t.Errorf("%q: %v", query, err)
			}
		}
		err := db.Run(t.Context(), func(ctx context.Context) error {
			insert(t, db, ctx, 1)
			_, err := db.ExecContext(ctx, "ROLLBACK")
			if err == nil {
				t.Error("ROLLBACK was sent")
			}
			if _, err := db.ExecContext(ctx, "INSERT INTO note VALUES (2, ''); /* ; */ COMMIT"); err == nil {
				t.Error("COMMIT was sent")
			}
			var n int
			if err := db.QueryRowContext(ctx, "COMMIT").Scan(&n); err == nil || !strings.Contains(err.Error(), "COMMIT in a transaction") {
				t.Errorf("QueryRow: %v", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		wantNotes(t, db, "1")
	})
}

func TestOutsideATransaction(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		if _, err := db.PrepareContext(ctx, "SELECT 1"); err == nil || err.Error() != "aside: PrepareContext outside a transaction: the statement could not join one" {
			t.Errorf("PrepareContext: %v", err)
		}
		if err := db.Savepoint(ctx, func(context.Context) error { return nil }); err == nil {
			t.Error("Savepoint worked")
		}
		if err := Touch(ctx, notesTable.Row(1)); err == nil {
			t.Error("Touch worked")
		}
		if err := db.Changed(ctx, change(1)); err == nil {
			t.Error("Changed worked")
		}
		if _, ok := db.Tx(ctx); ok || db.In(ctx) || db.Sent(ctx) != 0 {
			t.Error("there is a transaction")
		}
		if res, err := db.NamedExecContext(ctx, "INSERT INTO note VALUES (:id, :body)", note{ID: 1}); err != nil {
			t.Error(err)
		} else if n, _ := res.RowsAffected(); n != 1 {
			t.Errorf("%d rows", n)
		}
		var n int
		if err := db.QueryRowContext(ctx, "SELECT id FROM note").Scan(&n); err != nil || n != 1 {
			t.Errorf("QueryRow: %d, %v", n, err)
		}
		if err := db.QueryRowxContext(ctx, "SELECT id FROM note").Scan(&n); err != nil {
			t.Error(err)
		}
		if err := db.SelectContext(ctx, &[]int{}, "SELECT id FROM note"); err != nil {
			t.Error(err)
		}
		rows, err := db.QueryContext(ctx, "SELECT id FROM note")
		if err != nil {
			t.Fatal(err)
		}
		rows.Close()
		rowsx, err := db.QueryxContext(ctx, "SELECT id FROM note")
		if err != nil {
			t.Fatal(err)
		}
		rowsx.Close()
	})
}

func TestSent(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		_ = db.Run(t.Context(), func(ctx context.Context) error {
			var n int
			want := func(want int) {
				t.Helper()
				if got := db.Sent(ctx); got != want {
					t.Errorf("Sent: %d, want %d", got, want)
				}
			}
			want(0)
			_ = Touch(ctx, users.Row(1))
			want(0)
			exec(t, db, ctx, "SELECT 1")
			want(1)
			_ = db.QueryRowContext(ctx, "SELECT 1").Scan(&n)
			want(2)
			_ = db.Savepoint(ctx, func(context.Context) error { return nil })
			want(2)
			_, _ = db.Tx(ctx)
			want(3)
			return nil
		})
	})
}
