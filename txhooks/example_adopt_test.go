package txhooks_test

import (
	"context"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/txhooks"
)

// UnitOfWork stands for a framework that begins and ends transactions itself.
type UnitOfWork struct {
	pool *sqlx.DB
	db   *txhooks.DB // over pool
}

// Do begins, has work done on a context in which the transaction is, and ends it through what Adopt returned.
func (u *UnitOfWork) Do(ctx context.Context, work func(ctx context.Context) error) error {
	tx, err := u.pool.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	inside, adopted, err := u.db.Adopt(ctx, tx)
	if err != nil {
		_ = tx.Rollback()
		return err
	}
	defer adopted.Rollback() // after Commit it does nothing
	if err := work(inside); err != nil {
		return err
	}
	return adopted.Commit(ctx)
}

// A framework that owns its transactions has them adopted: repositories and hooks then work as in Run.
func ExampleDB_Adopt() {
	var u *UnitOfWork
	var ctx context.Context
	_ = func() error {
		return u.Do(ctx, func(ctx context.Context) error {
			_, err := u.db.ExecContext(ctx, "UPDATE orders SET paid = TRUE WHERE id = $1", 7)
			txhooks.AfterCommit(ctx, func(context.Context) { /* send the receipt */ })
			return err
		})
	}
}
