package txhooks

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/DATA-DOG/go-sqlmock"
	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/model"
)

// behind are ways to end a transaction that was handed out, and what is in the table note then, besides 9.
var behind = map[string]struct {
	end  func(tx *sqlx.Tx) error
	left string
}{
	"COMMIT":                 {control("COMMIT"), "1 2"},
	"ROLLBACK":               {control("ROLLBACK"), ""},
	"COMMIT and BEGIN":       {control("COMMIT", "BEGIN"), "1 2"},
	"ROLLBACK and BEGIN":     {control("ROLLBACK", "BEGIN"), ""},
	"both in one string":     {control("SELECT 1; COMMIT; BEGIN"), "1 2"},
	"COMMIT AND CHAIN":       {control("COMMIT AND CHAIN"), "1 2"},
	"ROLLBACK AND CHAIN":     {control("ROLLBACK AND CHAIN"), ""},
	"Commit":                 {func(tx *sqlx.Tx) error { return tx.Commit() }, "1 2"},
	"Rollback":               {func(tx *sqlx.Tx) error { return tx.Rollback() }, ""},
	"COMMIT after a failure": {control("SAVEPOINT s", "!SELECT nowhere", "ROLLBACK TO s", "COMMIT"), "1 2"},
}

// control sends statements; one with ! before it is to fail.
func control(queries ...string) func(tx *sqlx.Tx) error {
	return func(tx *sqlx.Tx) error {
		for _, query := range queries {
			query, fails := strings.CutPrefix(query, "!")
			if _, err := tx.Exec(query); (err != nil) != fails {
				return err
			}
		}
		return nil
	}
}

// Both drivers would answer the COMMIT that follows with success, or with an error that proves nothing: pgx the one, lib/pq
// the other, and either where there is a transaction again.
func TestEndedBehindRun(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		for name, way := range behind {
			for _, result := range []error{nil, errBoom} {
				exec(t, db, t.Context(), "DELETE FROM note")
				exec(t, db, t.Context(), "DELETE FROM users")
				exec(t, db, t.Context(), "INSERT INTO users VALUES (1, 'a@x', 7)")
				r := &recorder{}
				cancel := db.Subscribe(r)
				hooked := false
				err := db.Run(t.Context(), func(ctx context.Context) error {
					insert(t, db, ctx, 1)
					AfterCommit(ctx, r.hook("commit"))
					AfterEnd(ctx, r.end("end"))
					BeforeCommit(ctx, func(context.Context) error { hooked = true; return nil })
					if err := Touch(ctx, users.Row(1), notesTable.Row(2)); err != nil {
						t.Error(err)
					}
					tx, _ := db.Tx(ctx)
					if _, err := tx.Exec("INSERT INTO note VALUES (2, '')"); err != nil {
						t.Error(err)
					}
					if _, err := tx.Exec("UPDATE users SET email = 'b@x'"); err != nil {
						t.Error(err)
					}
					if err := way.end(tx); err != nil {
						t.Errorf("%s: %v", name, err)
					}
					return result
				})
				if !errors.Is(err, ErrEndedOutside) || !errors.Is(err, model.ErrInDoubt) || result != nil && !errors.Is(err, result) {
					t.Errorf("%s, fn returns %v: %v", name, result, err)
				}
				if hooked {
					t.Errorf("%s: a BeforeCommit hook ran with no transaction around it", name)
				}
				r.want(t, "subscriber in doubt", "end in doubt")
				changes, want := strings.Join(r.take(), " "), "1,a@x,7>1,a@x,7"
				if way.left != "" {
					want = "1,a@x,7>1,b@x,7" // what was committed is read from outside
				}
				if !strings.Contains(changes, want) || !strings.Contains(changes, "2>2") {
					t.Errorf("%s: told of %s, want %s and 2>2", name, changes, want)
				}
				wantNotes(t, db, way.left)
				cancel()
				idle(t, db)
			}
		}
	})
}

// What Tx may do is seen for what it is.
func TestHandedOutAndNotEnded(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		err := db.Run(t.Context(), func(ctx context.Context) error {
			return db.Savepoint(ctx, func(ctx context.Context) error {
				tx, _ := db.Tx(ctx)
				if err := control("SET LOCAL TIME ZONE 'Asia/Kolkata'", "SET LOCAL DateStyle = 'German'", "SAVEPOINT s",
					"INSERT INTO note VALUES (1, '')", "!SELECT nowhere", "ROLLBACK TO s", "INSERT INTO note VALUES (2, '')")(tx); err != nil {
					return err
				}
				_, _ = db.Tx(ctx)
				return nil
			})
		})
		if err != nil {
			t.Error(err)
		}
		wantNotes(t, db, "2")
		// A statement fails past us, and the error is dropped: COMMIT says so, in the driver's words.
		var j journal
		err = db.Run(t.Context(), func(ctx context.Context) error {
			AfterEnd(ctx, j.end("end"))
			tx, _ := db.Tx(ctx)
			return control("INSERT INTO note VALUES (3, '')", "!SELECT nowhere")(tx)
		})
		if err == nil || !strings.HasPrefix(err.Error(), "aside: rolled back: a statement failed and its error was dropped: ") || errors.Is(err, model.ErrInDoubt) {
			t.Errorf("Run: %v", err)
		}
		err = db.Run(t.Context(), func(ctx context.Context) error {
			AfterEnd(ctx, j.end("end"))
			_, _ = db.ExecContext(ctx, "SELECT nowhere")
			_, _ = db.Tx(ctx) // no witness answers any more
			return nil
		})
		if sqlState(err) != "42703" || !strings.Contains(err.Error(), "dropped") {
			t.Errorf("Run: %v", err)
		}
		j.want(t, "end rolled back", "end rolled back")
		wantNotes(t, db, "2")
	})
}

// The drivers' words for a COMMIT that became a ROLLBACK, which becameRollback goes by: there is no SQLSTATE, and the core
// imports no driver. A driver that changes them turns a simple bug into "in doubt".
func TestDriversWordsForFailedCommit(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		tx, err := db.conn.Beginx()
		if err != nil {
			t.Fatal(err)
		}
		if err := control("!SELECT nowhere")(tx); err != nil {
			t.Fatal(err)
		}
		err = tx.Commit()
		words := map[string]string{"postgres": "could not complete operation in a failed transaction", "pgx": "commit unexpectedly resulted in rollback"}
		if err == nil || !strings.HasSuffix(err.Error(), words[db.DriverName()]) || sqlState(err) != "" || !becameRollback(err) {
			t.Errorf("COMMIT: %q, SQLSTATE %q", err, sqlState(err))
		}
	})
}

// Nothing is asked in transactions that were not handed out, nor for prepared statements: one of them is one statement,
// which refuseControl has read.
func TestWitnessOnTheWire(t *testing.T) {
	t.Parallel()
	conn, mock, err := sqlmock.New(sqlmock.QueryMatcherOption(sqlmock.QueryMatcherEqual))
	if err != nil {
		t.Fatal(err)
	}
	db := New(sqlx.NewDb(conn, "postgres"), Config{})
	answer := func(at int64) *sqlmock.Rows { return sqlmock.NewRows([]string{"at"}).AddRow(at) }
	run := func(fn func(ctx context.Context) error) error { return db.Run(t.Context(), fn) }

	mock.ExpectBegin()
	mock.ExpectPrepare("UPDATE a").WillBeClosed()
	mock.ExpectCommit()
	err = run(func(ctx context.Context) error {
		if _, err := db.PrepareContext(ctx, "SELECT 1; COMMIT"); err == nil {
			t.Error("COMMIT was prepared")
		}
		stmt, err := db.PrepareContext(ctx, "UPDATE a")
		if err == nil {
			defer stmt.Close()
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}

	mock.ExpectBegin()
	mock.ExpectQuery(witnessQuery).WillReturnRows(answer(7))
	mock.ExpectQuery(witnessQuery).WillReturnRows(answer(7))
	mock.ExpectCommit()
	if err := run(func(ctx context.Context) error { _, _ = db.Tx(ctx); return nil }); err != nil {
		t.Error(err)
	}

	// Not told which transaction it is, we do not commit it.
	mock.ExpectBegin()
	mock.ExpectQuery(witnessQuery).WillReturnError(errBoom)
	mock.ExpectRollback()
	if err := run(func(ctx context.Context) error { _, _ = db.Tx(ctx); return nil }); !errors.Is(err, errBoom) {
		t.Error(err)
	}
	mock.ExpectBegin()
	mock.ExpectQuery(witnessQuery).WillReturnRows(answer(7))
	mock.ExpectQuery(witnessQuery).WillReturnError(errBoom)
	mock.ExpectQuery(witnessQuery).WillReturnError(errBoom)
	mock.ExpectRollback()
	if err := run(func(ctx context.Context) error { _, _ = db.Tx(ctx); return nil }); !errors.Is(err, errBoom) {
		t.Error(err)
	}
	if err := mock.ExpectationsWereMet(); err != nil {
		t.Error(err)
	}
	mock.ExpectClose()
	_ = conn.Close()
}
