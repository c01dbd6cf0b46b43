package httpapi

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/DATA-DOG/go-sqlmock"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/asidego/aside/examples/places/places"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// What sqlmock is good for: the order of statements on the wire, and errors that a real server rarely gives. All else is
// in api_test.go, where no test depends on the text of SQL.

var columns = []string{"id", "slug", "name", "country", "region", "district", "lat", "lng", "population", "version"}

func canillo(population any, version int64) []driver.Value {
	return []driver.Value{int64(1), "ad-canillo-1", "Canillo", "AD", "AD.02", "", 42.5676, 1.59756, population, version}
}

func TestPatchOnTheWire(t *testing.T) {
	lostCommit := errors.New("connection reset by peer")
	for _, test := range []struct {
		name   string
		expect func(sqlmock.Sqlmock)
		status int
		want   string
	}{
		{"lock, write, commit", func(m sqlmock.Sqlmock) {
			m.ExpectBegin()
			m.ExpectQuery("SELECT .* FOR NO KEY UPDATE").WillReturnRows(m.NewRows(columns).AddRow(canillo(nil, 1)...))
			m.ExpectQuery("UPDATE .*cities.* SET .*population.* RETURNING").WillReturnRows(m.NewRows(columns).AddRow(canillo(int64(7), 2)...))
			m.ExpectCommit()
		}, 200, `"population":7,"version":2`},
		{"not there", func(m sqlmock.Sqlmock) {
			m.ExpectBegin()
			m.ExpectQuery("FOR NO KEY UPDATE").WillReturnRows(m.NewRows(columns))
			m.ExpectRollback()
		}, 404, `"not_found"`},
		{"refused by the database", func(m sqlmock.Sqlmock) {
			m.ExpectBegin()
			m.ExpectQuery("FOR NO KEY UPDATE").WillReturnRows(m.NewRows(columns).AddRow(canillo(nil, 1)...))
			m.ExpectQuery("UPDATE").WillReturnError(&pq.Error{Code: "53100", Message: "the disk is full"})
			m.ExpectRollback()
		}, 500, `"internal"`},
		{"no answer to COMMIT", func(m sqlmock.Sqlmock) {
			m.ExpectBegin()
			m.ExpectQuery("FOR NO KEY UPDATE").WillReturnRows(m.NewRows(columns).AddRow(canillo(nil, 1)...))
			m.ExpectQuery("UPDATE").WillReturnRows(m.NewRows(columns).AddRow(canillo(int64(7), 2)...))
			m.ExpectCommit().WillReturnError(lostCommit)
		}, 503, `"in_doubt"`},
		{"no connection", func(m sqlmock.Sqlmock) {
			m.ExpectBegin().WillReturnError(lostCommit)
		}, 500, `"internal"`},
		{"too slow", func(m sqlmock.Sqlmock) {
			m.ExpectBegin().WillReturnError(context.DeadlineExceeded)
		}, 503, `"timeout"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, mock, err := sqlmock.New()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			test.expect(mock)
			db := txhooks.New(sqlx.NewDb(conn, "postgres"), txhooks.Config{})
			h := New(Config{Cities: repo.New(db, places.Cities), Logger: quiet()})
			status, _, body := ask(h, request{method: "PATCH", path: "/cities/1", body: `{"population":7}`, header: merge})
			if status != test.status || !strings.Contains(body, test.want) {
				t.Errorf("%d %s, want %d with %s", status, body, test.status, test.want)
			}
			if strings.Contains(body, "disk") || strings.Contains(body, "reset") {
				t.Errorf("the answer tells what went wrong inside: %s", body)
			}
			mock.ExpectClose()
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			if err := mock.ExpectationsWereMet(); err != nil {
				t.Error(err)
			}
		})
	}
}
