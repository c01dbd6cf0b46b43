package txhooks

import (
	"context"
	"database/sql"
)

// frame is a Run or Savepoint under way. A transaction's frames form a stack whose bottom is the Run that began it.
type frame struct {
	tx     *transaction
	parent *frame // nil: the bottom
	depth  int    // of the stack below
}

// Contexts are asked for a frame by *sql.DB, so that all DBs over one pool find it, or for the innermost of any pool.
type (
	poolKey      struct{ db *sql.DB }
	innermostKey struct{}
)

// frameContext carries a frame; one type instead of two context.WithValue.
type frameContext struct {
	context.Context
	db        *sql.DB
	frame     *frame // of db; nil: hides the one below
	innermost *frame
}

func (c *frameContext) Value(key any) any {
	switch key := key.(type) {
	case innermostKey:
		return c.innermost
	case poolKey:
		if key.db == c.db {
			return c.frame
		}
	case routeKey: // whoever has just written does not want to read what was there before
		return nil
	}
	return c.Context.Value(key)
}

// valuesContext ends with one context and has the values of another.
type valuesContext struct {
	context.Context
	values context.Context
}

func (c valuesContext) Value(key any) any { return c.values.Value(key) }

func (db *DB) frame(ctx context.Context) *frame {
	f, _ := ctx.Value(poolKey{db.sql()}).(*frame)
	return f
}

func innermost(ctx context.Context) *frame {
	f, _ := ctx.Value(innermostKey{}).(*frame)
	return f
}

func (f *frame) context(ctx context.Context) context.Context {
	return &frameContext{ctx, f.tx.db.sql(), f, f}
}

// outside returns ctx without its cancellation and without t, for what runs after t: the values are the caller's still.
func (t *transaction) outside(ctx context.Context) context.Context {
	return &frameContext{context.WithoutCancel(ctx), t.db.sql(), nil, t.outer}
}
