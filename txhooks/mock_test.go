package txhooks

import (
	"context"
	"runtime"
	"testing"
	"weak"

	"github.com/DATA-DOG/go-sqlmock"
	"github.com/jmoiron/sqlx"
)

// Users test their code with sqlmock: what is sent is BEGIN, the statements, COMMIT, and nothing else.
func TestSQLMock(t *testing.T) {
	t.Parallel()
	conn, mock, err := sqlmock.New(sqlmock.QueryMatcherOption(sqlmock.QueryMatcherEqual))
	if err != nil {
		t.Fatal(err)
	}
	db := New(sqlx.NewDb(conn, "postgres"), Config{})
	done := sqlmock.NewResult(0, 1)

	mock.ExpectBegin()
	mock.ExpectExec("UPDATE a").WithArgs(1).WillReturnResult(done)
	mock.ExpectQuery("SELECT b").WillReturnRows(sqlmock.NewRows([]string{"b"}).AddRow(2))
	mock.ExpectExec("UPDATE c").WillReturnResult(done)
	mock.ExpectCommit()
	err = db.Run(t.Context(), func(ctx context.Context) error {
		exec(t, db, ctx, "UPDATE a", 1)
		var b int
		if err := db.GetContext(ctx, &b, "SELECT b"); err != nil {
			return err
		}
		AfterCommit(ctx, func(context.Context) {})
		return db.Run(ctx, func(ctx context.Context) error {
			_ = Touch(ctx, notesTable.Row(1))
			exec(t, db, ctx, "UPDATE c")
			return db.Changed(ctx, change(1))
		})
	})
	if err != nil {
		t.Error(err)
	}

	mock.ExpectBegin()
	mock.ExpectExec("UPDATE d").WillReturnError(errBoom)
	mock.ExpectRollback()
	if _, err := db.ExecContext(t.Context(), "UPDATE d"); err != errBoom {
		t.Errorf("ExecContext: %v", err)
	}

	mock.ExpectBegin()
	mock.ExpectExec("SAVEPOINT aside_1").WillReturnResult(done)
	mock.ExpectExec("SAVEPOINT aside_2").WillReturnResult(done)
	mock.ExpectExec("RELEASE SAVEPOINT aside_2").WillReturnResult(done)
	mock.ExpectExec("ROLLBACK TO SAVEPOINT aside_1").WillReturnResult(done)
	mock.ExpectExec("RELEASE SAVEPOINT aside_1").WillReturnResult(done)
	mock.ExpectCommit()
	err = db.Run(t.Context(), func(ctx context.Context) error {
		_ = db.Savepoint(ctx, func(ctx context.Context) error {
			_ = db.Savepoint(ctx, func(context.Context) error { return nil })
			return errBoom
		})
		return nil
	})
	if err != nil {
		t.Error(err)
	}

	// A savepoint that cannot be undone takes the transaction with it.
	mock.ExpectBegin()
	mock.ExpectExec("SAVEPOINT aside_1").WillReturnResult(done)
	mock.ExpectExec("ROLLBACK TO SAVEPOINT aside_1").WillReturnError(errBoom)
	mock.ExpectRollback()
	err = db.Run(t.Context(), func(ctx context.Context) error {
		_ = db.Savepoint(ctx, func(ctx context.Context) error { return context.Canceled })
		return nil
	})
	if err == nil || err.Error() != "aside: rolled back: a savepoint could not be undone: boom" {
		t.Errorf("Run: %v", err)
	}

	mock.ExpectQuery("SELECT e").WillReturnRows(sqlmock.NewRows([]string{"e"}))
	_ = db.SelectContext(t.Context(), &[]int{}, "SELECT e")
	if err := mock.ExpectationsWereMet(); err != nil {
		t.Error(err)
	}
	idle(t, db)
	mock.ExpectClose()
	_ = conn.Close()
}

// The registry finds the pool of a *sql.DB for as long as somebody has a DB over it, and keeps neither alive.
func TestRegistryKeepsNothing(t *testing.T) {
	t.Parallel()
	var p weak.Pointer[pool]
	func() {
		conn, mock, err := sqlmock.New()
		if err != nil {
			t.Fatal(err)
		}
		db := New(sqlx.NewDb(conn, "postgres"), Config{})
		db.Subscribe(&recorder{ended: func(context.Context) { _ = db.conn }}) // leads back to the *sql.DB
		if New(sqlx.NewDb(conn, "postgres"), Config{}).pool != db.pool {
			t.Error("two DBs over one *sql.DB have two pools")
		}
		p = weak.Make(db.pool)
		mock.ExpectClose()
		_ = conn.Close()
	}()
	for range 100 {
		runtime.GC()
		if p.Value() == nil && !registered(p) {
			return
		}
		runtime.Gosched()
	}
	t.Error("the pool is still there")
}

func registered(p weak.Pointer[pool]) bool {
	registry.Lock()
	defer registry.Unlock()
	for _, value := range registry.pools {
		if value == p {
			return true
		}
	}
	return false
}
