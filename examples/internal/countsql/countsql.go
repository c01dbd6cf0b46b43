// Package countsql counts the statements that reach PostgreSQL. It sits between
// database/sql and the driver, so that what it counts is what was sent, whoever
// sent it; BEGIN, COMMIT and ROLLBACK are not counted, nor is what a cache asks
// once a second, beside all requests: which database this is.
package countsql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Counter counts statements.
type Counter struct{ statements atomic.Int64 }

// Statements returns how many statements were sent so far.
func (c *Counter) Statements() int64 { return c.statements.Load() }

// Open is sqlx.Open("postgres", url) with a counter. It does not connect.
func Open(url string) (*sqlx.DB, *Counter, error) {
	next, err := pq.NewConnector(url)
	if err != nil {
		return nil, nil, err
	}
	counter := new(Counter)
	return sqlx.NewDb(sql.OpenDB(&connector{next, counter}), "postgres"), counter, nil
}

type connector struct {
	driver.Connector
	counter *Counter
}

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	next, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	all, ok := next.(full)
	if !ok {
		return nil, errors.Join(errors.New("countsql: the driver's connection lacks a method"), next.Close())
	}
	return &conn{all, c.counter}, nil
}

// full is what database/sql looks for in lib/pq's connection. Embedding it
// passes all of it on; a wrapper that hides one of these methods would make
// database/sql use the connection in another way than without it.
type full interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type conn struct {
	full
	counter *Counter
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if !strings.Contains(query, "pg_control_system") {
		c.counter.statements.Add(1)
	}
	return c.full.QueryContext(ctx, query, args)
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.counter.statements.Add(1)
	return c.full.ExecContext(ctx, query, args)
}

// PrepareContext counts once, however often the statement is executed: in these
// programs that is COPY alone.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	c.counter.statements.Add(1)
	return c.full.PrepareContext(ctx, query)
}
