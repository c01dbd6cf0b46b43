package txwatch_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks/txwatch"
)

// plain is a driver with nothing but what database/sql demands. It takes down what it is asked.
type plain struct{ asked []string }

func (p *plain) Connect(context.Context) (driver.Conn, error) { return (*plainConn)(p), nil }
func (p *plain) Driver() driver.Driver                        { return nil }

type plainConn plain

func (c *plainConn) Prepare(query string) (driver.Stmt, error) {
	c.asked = append(c.asked, "prepare "+query)
	if query == "CONVERT" {
		return converting{&plainStmt{c, query}}, nil
	}
	return &plainStmt{c, query}, nil
}
func (c *plainConn) Close() error { c.asked = append(c.asked, "close"); return nil }

func (c *plainConn) Begin() (driver.Tx, error) { c.asked = append(c.asked, "begin"); return c, nil }
func (c *plainConn) Commit() error             { c.asked = append(c.asked, "commit"); return nil }
func (c *plainConn) Rollback() error           { c.asked = append(c.asked, "rollback"); return nil }

type plainStmt struct {
	c     *plainConn
	query string
}

func (s *plainStmt) Close() error  { return nil }
func (s *plainStmt) NumInput() int { return -1 }

func (s *plainStmt) Exec(args []driver.Value) (driver.Result, error) {
	s.c.asked = append(s.c.asked, fmt.Sprintf("exec %s %v", s.query, args))
	return driver.RowsAffected(1), nil
}

func (s *plainStmt) Query(args []driver.Value) (driver.Rows, error) {
	s.c.asked = append(s.c.asked, fmt.Sprintf("query %s %v", s.query, args))
	return noRows{}, nil
}

type converting struct{ *plainStmt }

func (converting) ColumnConverter(int) driver.ValueConverter { return shout{} }
func (converting) NumInput() int                             { return 1 }

type shout struct{}

func (shout) ConvertValue(v any) (driver.Value, error) { return fmt.Sprint(v) + "!", nil }

type noRows struct{}

func (noRows) Columns() []string         { return nil }
func (noRows) Close() error              { return nil }
func (noRows) Next([]driver.Value) error { return io.EOF }

// A driver that can do nothing more is used as it would be without the watch.
func TestPlainDriver(t *testing.T) {
	t.Parallel()
	use := func(c driver.Connector) (results []string) {
		db := sql.OpenDB(c)
		note := func(err error) { results = append(results, fmt.Sprint(err)) }
		ctx := context.Background()
		_, err := db.Exec("DELETE FROM note", 1, "a")
		note(err)
		_, err = db.Exec("CONVERT", 7)
		note(err)
		_, err = db.Exec("NAMED", sql.Named("a", 1))
		results = append(results, fmt.Sprint(err != nil))
		rows, err := db.Query("SELECT", 1)
		note(errors.Join(err, rows.Close()))
		note(db.PingContext(ctx))
		tx, err := db.Begin()
		note(err)
		_, err = tx.Exec("INSERT INTO note")
		note(errors.Join(err, tx.Commit()))
		_, err = db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		results = append(results, fmt.Sprint(err != nil))
		tx, _ = db.Begin()
		note(tx.Rollback())
		note(db.Close())
		return results
	}
	bare, inner := new(plain), new(plain)
	var seen []string
	watched := txwatch.Connector(inner, txwatch.Config{
		Tables: model.Tables{notes},
		Report: func(_ context.Context, w txwatch.Write) { seen = append(seen, w.String()) },
	})
	without, with := use(bare), use(watched)
	if !slices.Equal(without, with) {
		t.Errorf("results: %q\n  without: %q", with, without)
	}
	if !slices.Equal(bare.asked, inner.asked) {
		t.Errorf("asked: %q\nwithout: %q", inner.asked, bare.asked)
	}
	if want := []string{"DELETE of note" + alone, "INSERT of note" + inTx}; !slices.Equal(seen, want) {
		t.Errorf("reported %q, want %q", seen, want)
	}
}
