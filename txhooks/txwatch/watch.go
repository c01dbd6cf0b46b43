// Package txwatch finds writes that no cache hears of: a driver around the driver which reports INSERT, UPDATE, DELETE,
// MERGE, TRUNCATE and COPY on watched tables that were not sent through a transaction of txhooks, and of those that were,
// the ones whose transaction commits without having been told what changed. It is for tests, and for production with a
// sample of the statements.
//
//	connector, err := pq.NewConnector(dsn) // or stdlib.GetConnector(*pgxConfig)
//	watched := txwatch.Connector(connector, txwatch.Config{Tables: tables, Report: func(_ context.Context, w txwatch.Write) {
//		t.Errorf("a stranger's write: %s", w)
//	}})
//	db := txhooks.New(sqlx.NewDb(sql.OpenDB(watched), "postgres"), txhooks.Config{})
//
// It reads the text of statements. It does not see what functions, triggers, foreign keys, rules, views and EXECUTE write, nor
// what goes past database/sql: by another pool, by psql, by what sql.Conn.Raw hands out (there, Unwrap gives the driver's
// own connection).
package txwatch

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks/internal/sqltext"
)

// Kind is why a write is reported.
type Kind int

// Kinds. A write within a transaction of txhooks is Untold if the transaction commits having been told of no change of the
// table: a decorator without View.Write, a statement without Touch, or a COMMIT past Run or Adopted. Seen of those is what
// Exec says changed rows; what a query wrote (RETURNING) is not, for it may have changed none.
const (
	Alone         Kind = iota + 1 // outside any transaction
	InTransaction                 // in one that is not of txhooks
	Untold
)

// String is the kind in words.
func (k Kind) String() string {
	switch k {
	case Alone:
		return "outside any transaction"
	case InTransaction:
		return "in a transaction that is not of txhooks"
	case Untold:
		return "in a transaction that was not told"
	}
	return "of no kind"
}

// Write is a statement that changes a watched table.
type Write struct {
	Kind  Kind
	Table string // as in its model.Spec
	Verb  string // INSERT, UPDATE, DELETE, MERGE, TRUNCATE or COPY
	Query string // may hold values that do not belong in a log
}

// String leaves the query out.
func (w Write) String() string { return fmt.Sprintf("%s of %s %s", w.Verb, w.Table, w.Kind) }

// Config says what to look for. Tables and Report are required.
type Config struct {
	Tables model.Tables
	// Report is called when the statement has been executed, or its transaction is committed; for what the server refused, it
	// is not. It runs on the goroutine that sent the statement, with the connection locked: it must not use the pool.
	Report func(ctx context.Context, w Write)
	// Every looks at every n-th statement only; 0 and 1: at each.
	Every int
}

// Connector returns c with its connections watched; whatever else c's connections can do, they still can. It panics if
// Tables or Report are missing.
func Connector(c driver.Connector, cfg Config) driver.Connector {
	if len(cfg.Tables) == 0 || cfg.Report == nil {
		panic("aside: txwatch.Config needs Tables and Report")
	}
	w := &watch{report: cfg.Report, every: uint64(max(1, cfg.Every)), tables: make(map[string][]string)}
	for _, t := range cfg.Tables {
		full := t.Relation().Name
		_, short := split(full)
		w.tables[short] = append(w.tables[short], full)
	}
	return &connector{c, w}
}

// split takes a table's name apart; schema is "" if the name has none.
func split(name string) (schema, table string) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

type watch struct {
	report func(ctx context.Context, w Write)
	every  uint64
	sent   atomic.Uint64
	tables map[string][]string // by their names without schemas
}

// due picks the sample.
func (w *watch) due() bool { return w.every == 1 || w.sent.Add(1)%w.every == 0 }

// writes lists what a statement writes of the watched tables. Where the statement or the Spec leaves the schema to the search
// path, the names without it decide.
func (w *watch) writes(query string) (found []Write) {
	for text := range sqltext.Writes(query) {
		for _, full := range w.tables[text.Table] {
			schema, _ := split(full)
			if schema == "" || text.Schema == "" || schema == text.Schema {
				found = append(found, Write{Table: full, Verb: text.Verb, Query: query})
			}
		}
	}
	return found
}

// executed tells whether a statement with this error may have had an effect. ErrSkip and ErrBadConn have database/sql try
// again in another way; what has an SQLSTATE was refused.
func executed(err error) bool {
	var state interface{ SQLState() string }
	return !errors.Is(err, driver.ErrSkip) && !errors.Is(err, driver.ErrBadConn) && !errors.As(err, &state)
}

type connector struct {
	driver.Connector
	w *watch
}

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{inner: inner, w: c.w}, nil
}

// Close closes connectors that can be closed; sql.DB.Close asks for it.
func (c *connector) Close() error {
	if closer, ok := c.Connector.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
