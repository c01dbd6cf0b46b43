package txhooks

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// begin sends BEGIN. Waiting for a connection and for BEGIN's answer obeys ctx; what follows does not, for drivers keep
// the context of BEGIN for COMMIT and ROLLBACK (pgx) or end the transaction with it (database/sql).
func (db *DB) begin(ctx context.Context, opts Options) (*transaction, error) {
	t := &transaction{db: db, id: newID(), caller: ctx, options: opts, outer: innermost(ctx)}
	life, cancel := context.WithCancel(ourContext{context.WithoutCancel(ctx), t})
	t.cancel = cancel
	if err := t.connect(ctx, life); err != nil {
		cancel()
		return nil, err
	}
	t.tip = &frame{tx: t}
	return t, nil
}

// beginner is a connection or a pool.
type beginner interface {
	BeginTxx(ctx context.Context, opts *sql.TxOptions) (*sqlx.Tx, error)
}

func (t *transaction) connect(ctx, life context.Context) error {
	opts := &sql.TxOptions{Isolation: t.options.Isolation, ReadOnly: t.options.ReadOnly}
	begin := func(on beginner) (err error) {
		stop := context.AfterFunc(ctx, t.cancel)
		t.tx, err = on.BeginTxx(life, opts)
		if stop() {
			return err
		}
		if err == nil {
			_ = t.tx.Rollback() // its context has ended it already, or is about to
			return ctx.Err()
		}
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	// As database/sql does it: a connection that went bad in the pool is worth two tries, then a new one. Conn cannot be
	// told to be new, DB.BeginTxx can; its wait for the pool then ends with ctx but does not know ctx's deadline.
	for range 2 {
		conn, err := t.db.conn.Connx(ctx)
		if err != nil {
			return err
		}
		if err = begin(conn); err == nil {
			t.conn = conn
			return nil
		}
		_ = conn.Close()
		if !errors.Is(err, driver.ErrBadConn) || ctx.Err() != nil {
			return err
		}
	}
	return begin(t.db.conn)
}
