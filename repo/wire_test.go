package repo_test

import (
	"context"
	"errors"
	"testing"

	"github.com/DATA-DOG/go-sqlmock"
	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

type doc struct {
	ID      int64  `db:"id"`
	Title   string `db:"title"`
	Version int64  `db:"version"`
}

var (
	byTitle = model.NewUnique[doc, string]("title")
	docs    = model.MustTable(model.Spec[doc, int64]{
		Name: "docs", Key: "id", Version: "version", Indexes: model.Indexes[doc]{byTitle},
	})
)

// mocked returns a repository whose statements must be exactly those that are expected.
func mocked(t *testing.T) (*repo.SQL[doc, int64], *txhooks.DB, sqlmock.Sqlmock) {
	t.Helper()
	conn, mock, err := sqlmock.New(sqlmock.QueryMatcherOption(sqlmock.QueryMatcherEqual))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mock.ExpectationsWereMet(); err != nil {
			t.Error(err)
		}
		mock.ExpectClose()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	db := txhooks.New(sqlx.NewDb(conn, "sqlmock"), txhooks.Config{})
	return repo.New(db, docs), db, mock
}

const (
	insertDoc = `INSERT INTO "docs" ("id", "title", "version") VALUES (DEFAULT, $1, $2) RETURNING "id", "title", "version"`
	updateDoc = `UPDATE "docs" SET "title" = $3, "version" = "version" + 1` +
		` FROM (SELECT "id" AS aside_old_0, "title" AS aside_old_1 FROM "docs"` +
		` WHERE "id" = $1 AND "version" = $2 FOR NO KEY UPDATE) AS aside_old` +
		` WHERE "id" = aside_old_0 RETURNING "id", "title", "version", aside_old_0, aside_old_1`
	deleteDoc = `DELETE FROM "docs" WHERE "id" = $1 RETURNING "id", "title"`
)

// Users pin this with mocks of their own: outside Run a write is BEGIN, one statement and COMMIT, and a read is the
// statement alone.
func TestWireHasNothingElse(t *testing.T) {
	t.Parallel()
	r, _, mock := mocked(t)
	row := sqlmock.NewRows([]string{"id", "title", "version"}).AddRow(7, "a", 1)
	mock.ExpectBegin()
	mock.ExpectQuery(insertDoc).WithArgs("a", int64(1)).WillReturnRows(row)
	mock.ExpectCommit()
	d, err := r.Insert(t.Context(), doc{Title: "a", Version: 1})
	if err != nil || d.ID != 7 {
		t.Fatal(d, err)
	}

	mock.ExpectBegin()
	mock.ExpectQuery(updateDoc).WithArgs(int64(7), int64(1), "b").WillReturnRows(
		sqlmock.NewRows([]string{"id", "title", "version", "o0", "o1"}).AddRow(7, "b", 2, 7, "a"))
	mock.ExpectCommit()
	d.Title = "b"
	if d, err = r.Update(t.Context(), d); err != nil || d.Version != 2 {
		t.Fatal(d, err)
	}

	mock.ExpectBegin()
	mock.ExpectQuery(deleteDoc).WithArgs(int64(7)).WillReturnRows(sqlmock.NewRows([]string{"id", "title"}).AddRow(7, "b"))
	mock.ExpectCommit()
	if err := r.Delete(t.Context(), 7); err != nil {
		t.Fatal(err)
	}

	mock.ExpectQuery(`SELECT "id", "title", "version" FROM "docs" WHERE "title" = $1 LIMIT 2`).WithArgs("b").
		WillReturnRows(sqlmock.NewRows([]string{"id", "title", "version"}))
	if _, err := r.FindBy(t.Context(), byTitle.Eq("b")); !errors.Is(err, model.ErrNotFound) {
		t.Error(err)
	}
}

// What finds nothing rolls back its own transaction, and only that.
func TestNothingFound(t *testing.T) {
	t.Parallel()
	r, db, mock := mocked(t)
	none := sqlmock.NewRows([]string{"id", "title"})
	mock.ExpectBegin()
	mock.ExpectQuery(deleteDoc).WithArgs(int64(7)).WillReturnRows(none)
	mock.ExpectRollback()
	if err := r.Delete(t.Context(), 7); !errors.Is(err, model.ErrNotFound) {
		t.Error(err)
	}
	mock.ExpectBegin()
	mock.ExpectQuery(deleteDoc).WithArgs(int64(7)).WillReturnRows(none)
	mock.ExpectCommit()
	err := db.Run(t.Context(), func(ctx context.Context) error {
		if err := r.Delete(ctx, 7); !errors.Is(err, model.ErrNotFound) {
			t.Error(err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestErrorsOfTheConnection(t *testing.T) {
	t.Parallel()
	r, _, mock := mocked(t)
	broken := errors.New("broken")
	mock.ExpectBegin().WillReturnError(broken)
	_, err := r.Insert(t.Context(), doc{})
	check(t, err, broken, "repo: docs: insert id=0: broken")

	mock.ExpectBegin()
	mock.ExpectQuery(deleteDoc).WithArgs(int64(1)).WillReturnRows(
		sqlmock.NewRows([]string{"id", "title"}).AddRow(1, "a").RowError(0, broken))
	mock.ExpectRollback()
	check(t, r.Delete(t.Context(), 1), broken, "repo: docs: delete id=1: broken")

	mock.ExpectBegin()
	mock.ExpectQuery(deleteDoc).WithArgs(int64(1)).WillReturnRows(sqlmock.NewRows([]string{"id", "title"}).AddRow(1, "a"))
	mock.ExpectCommit().WillReturnError(broken)
	if err := r.Delete(t.Context(), 1); !errors.Is(err, model.ErrInDoubt) || !errors.Is(err, broken) {
		t.Errorf("lost answer: %v", err)
	}

	mock.ExpectQuery(`SELECT "id", "title", "version" FROM "docs" WHERE TRUE`).WillReturnRows(
		sqlmock.NewRows([]string{"id", "title", "version"}).AddRow(1, "a", 1).AddRow(2, "a", 1).RowError(1, broken))
	recs, err := r.Where(t.Context(), "TRUE")
	check(t, err, broken, "repo: docs: select where TRUE: broken")
	if recs != nil {
		t.Errorf("half a result: %v", recs)
	}
}

func check(t *testing.T, err, target error, text string) {
	t.Helper()
	if !errors.Is(err, target) || err.Error() != text {
		t.Errorf("%v", err)
	}
}
