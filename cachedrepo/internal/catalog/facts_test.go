package catalog_test

import (
	"context"
	"errors"
	"testing"

	"github.com/DATA-DOG/go-sqlmock"

	"github.com/asidego/aside/cachedrepo/internal/catalog"
	"github.com/asidego/aside/internal/testenv"
)

// Both drivers bring the same facts, and reading them changes nothing and needs nothing but a connection.
func TestReadWithBothDrivers(t *testing.T) {
	pg := testenv.PostgresWith(t, "CREATE TABLE people (id bigint PRIMARY KEY, name varchar(7))")
	for name, db := range map[string]catalog.Querier{"lib/pq": pg.Open(t), "pgx": pg.OpenPgx(t)} {
		f, err := catalog.Read(t.Context(), db, []string{"people", "nobody", "public.people"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if f.Version < 120000 || f.Recovery || f.Database != pg.Name() || f.Role == "" || f.Settings.LockTimeout != "0" {
			t.Errorf("%s: %+v", name, f)
		}
		if p, q := f.Table("people"), f.Table("public.people"); p.Schema != "public" || len(p.Columns) != 2 ||
			p.Columns[1].Type != "character varying(7)" || q.Relation != "people" {
			t.Errorf("%s: %+v %+v", name, p, q)
		}
		if n := f.Table("nobody"); n == nil || n.Schema != "" {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

func TestReadInAReadOnlyTransaction(t *testing.T) {
	db := testenv.Postgres(t).Open(t)
	tx, err := db.Beginx()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.Exec("SET TRANSACTION READ ONLY"); err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.Read(t.Context(), tx, []string{"people"}); err != nil {
		t.Error(err)
	}
}

func TestReadFails(t *testing.T) {
	pg := testenv.Postgres(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := catalog.Read(ctx, pg.Open(t), []string{"people"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}

	conn, mock, err := sqlmock.New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := catalog.Read(t.Context(), conn, []string{"people"}); err == nil {
		t.Error("a mock that expects nothing has an answer")
	}
	for _, rows := range []*sqlmock.Rows{
		sqlmock.NewRows([]string{"a"}),
		sqlmock.NewRows([]string{"a"}).AddRow("yes"),
		sqlmock.NewRows([]string{"a"}).AddRow("{}"),
		sqlmock.NewRows([]string{"a"}).AddRow(`{"version": 150000, "tables": []}`),
		sqlmock.NewRows([]string{"a", "b"}).AddRow(1, 2),
	} {
		mock.ExpectQuery("SELECT").WillReturnRows(rows)
		if _, err := catalog.Read(t.Context(), conn, []string{"people"}); !errors.Is(err, catalog.ErrNonsense) {
			t.Errorf("%v", err)
		}
	}
	// A relative without PostgreSQL's catalog says at least who it is.
	mock.ExpectQuery("SELECT json_build_object").WillReturnError(errors.New("unknown function: row_security_active()"))
	mock.ExpectQuery("SELECT version()").WillReturnRows(sqlmock.NewRows([]string{"version"}).AddRow("CockroachDB CCL v23.1"))
	f, err := catalog.Read(t.Context(), conn, []string{"people"})
	if err != nil || !catalog.JudgeServer(f, nil).Refused() {
		t.Errorf("%+v, %v", f, err)
	}
}
