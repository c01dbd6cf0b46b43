package txwatch

//lint:file-ignore SA1019 what is deprecated is all that older drivers have

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"

	"github.com/asidego/aside/txhooks"
	"github.com/asidego/aside/txhooks/internal/sqltext"
)

// conn is a connection. It has every optional method that database/sql knows, whether the driver's has it or not: where that
// has not, it does what database/sql would do then (driver.ErrSkip, no error, or the older method), so that there need not
// be a type for each combination. database/sql uses a connection from one goroutine at a time.
type conn struct {
	inner driver.Conn
	w     *watch

	inTx  bool            // BeginTx was, Commit and Rollback were not
	ours  context.Context // of the transaction of txhooks on this connection; nil: none
	wrote []Write         // by that
	marks []mark          // its savepoints
}

// mark is a savepoint: what was written after it goes when it is rolled back.
type mark struct {
	name  string
	wrote int
}

// Unwrap returns the driver's connection, for sql.Conn.Raw.
func (c *conn) Unwrap() driver.Conn { return c.inner }

// sending is called before a statement, and returns what is to be reported of it afterwards.
func (c *conn) sending(ctx context.Context, query string) (writes []Write) {
	if txhooks.Ours(ctx) { // Adopt looks at the transaction; what was sent before is somebody else's
		if c.ours == nil {
			c.ours = ctx
		}
		return nil
	}
	if c.ours != nil {
		switch verb := strings.ToUpper(sqltext.Control(query)); verb {
		case "":
			c.savepoint(query)
		default: // past txhooks, which refuses that
			c.told(verb == "COMMIT" || verb == "END")
		}
	}
	if !c.w.due() {
		return nil
	}
	return c.w.writes(query)
}

// sent is called after it.
func (c *conn) sent(ctx context.Context, writes []Write, changed bool, err error) {
	if !executed(err) {
		return
	}
	for _, w := range writes {
		switch {
		case c.ours != nil:
			if changed {
				c.wrote = append(c.wrote, w)
			}
			continue
		case c.inTx:
			w.Kind = InTransaction
		default:
			w.Kind = Alone
		}
		c.w.report(ctx, w)
	}
}

// changedRows: TRUNCATE changes all rows and counts none.
func changedRows(writes []Write, res driver.Result) bool {
	for _, w := range writes {
		if w.Verb == "TRUNCATE" {
			return true
		}
	}
	if res == nil {
		return false
	}
	n, err := res.RowsAffected()
	return err == nil && n > 0
}

// savepoint follows SAVEPOINT and ROLLBACK TO.
func (c *conn) savepoint(query string) {
	words := strings.Fields(strings.TrimRight(query, "; \n"))
	if len(words) < 2 {
		return
	}
	name := words[len(words)-1]
	switch {
	case strings.EqualFold(words[0], "SAVEPOINT"):
		c.marks = append(c.marks, mark{name, len(c.wrote)})
	case strings.EqualFold(words[0], "ROLLBACK"):
		for i := len(c.marks) - 1; i >= 0; i-- {
			if strings.EqualFold(c.marks[i].name, name) {
				c.wrote, c.marks = c.wrote[:min(len(c.wrote), c.marks[i].wrote)], c.marks[:i+1]
				return
			}
		}
	}
}

// told ends a transaction of ours, and reports what it wrote of tables of which nobody was told.
func (c *conn) told(committed bool) {
	ctx, wrote := c.ours, c.wrote
	c.ours, c.wrote, c.marks = nil, nil, nil
	if !committed {
		return
	}
	for _, w := range wrote {
		if !txhooks.Told(ctx, w.Table) {
			w.Kind = Untold
			c.w.report(ctx, w)
		}
	}
}

func (c *conn) begun(ctx context.Context, inner driver.Tx, err error) (driver.Tx, error) {
	if err != nil {
		return nil, err
	}
	c.inTx = true
	if txhooks.Ours(ctx) {
		c.ours = ctx
	}
	return &tx{inner, c}, nil
}

// tx is a transaction.
type tx struct {
	inner driver.Tx
	c     *conn
}

func (t *tx) Commit() error {
	err := t.inner.Commit()
	t.c.inTx = false
	t.c.told(err == nil)
	return err
}

func (t *tx) Rollback() error {
	t.c.inTx = false
	t.c.told(false)
	return t.inner.Rollback()
}

func (c *conn) Close() error { return c.inner.Close() }

// Begin is never called by database/sql, as there is BeginTx.
func (c *conn) Begin() (driver.Tx, error) { return c.BeginTx(context.Background(), driver.TxOptions{}) }

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if b, ok := c.inner.(driver.ConnBeginTx); ok {
		inner, err := b.BeginTx(ctx, opts)
		return c.begun(ctx, inner, err)
	}
	if opts.Isolation != 0 || opts.ReadOnly {
		return nil, errors.New("aside: txwatch: the driver has neither isolation levels nor read-only transactions")
	}
	inner, err := c.inner.Begin() // all that the driver has
	if err == nil && ctx.Err() != nil {
		_ = inner.Rollback()
		return nil, ctx.Err()
	}
	return c.begun(ctx, inner, err)
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (res driver.Result, err error) {
	var exec func() (driver.Result, error)
	switch inner := c.inner.(type) {
	case driver.ExecerContext:
		exec = func() (driver.Result, error) { return inner.ExecContext(ctx, query, args) }
	case driver.Execer: // older drivers
		exec = func() (driver.Result, error) {
			return older(ctx, args, func(args []driver.Value) (driver.Result, error) { return inner.Exec(query, args) })
		}
	default:
		return nil, driver.ErrSkip
	}
	writes := c.sending(ctx, query)
	res, err = exec()
	c.sent(ctx, writes, changedRows(writes, res), err)
	return res, err
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (rows driver.Rows, err error) {
	var ask func() (driver.Rows, error)
	switch inner := c.inner.(type) {
	case driver.QueryerContext:
		ask = func() (driver.Rows, error) { return inner.QueryContext(ctx, query, args) }
	case driver.Queryer: // older drivers
		ask = func() (driver.Rows, error) {
			return older(ctx, args, func(args []driver.Value) (driver.Rows, error) { return inner.Query(query, args) })
		}
	default:
		return nil, driver.ErrSkip
	}
	writes := c.sending(ctx, query)
	rows, err = ask()
	c.sent(ctx, writes, false, err)
	return rows, err
}

func (c *conn) Ping(ctx context.Context) error {
	if inner, ok := c.inner.(driver.Pinger); ok {
		return inner.Ping(ctx)
	}
	return nil
}

func (c *conn) ResetSession(ctx context.Context) error {
	c.inTx = false
	c.told(false)
	if inner, ok := c.inner.(driver.SessionResetter); ok {
		return inner.ResetSession(ctx)
	}
	return nil
}

func (c *conn) IsValid() bool {
	inner, ok := c.inner.(driver.Validator)
	return !ok || inner.IsValid()
}

func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if inner, ok := c.inner.(driver.NamedValueChecker); ok {
		return inner.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// older calls a method from before contexts.
func older[T any](ctx context.Context, args []driver.NamedValue, call func(args []driver.Value) (T, error)) (none T, err error) {
	values := make([]driver.Value, len(args))
	for i, a := range args {
		if a.Name != "" {
			return none, errors.New("aside: txwatch: the driver has no named arguments")
		}
		values[i] = a.Value
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	return call(values)
}
