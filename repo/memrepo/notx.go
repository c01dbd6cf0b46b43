package memrepo

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/txhooks"
)

// NoTx has the Run of *txhooks.DB without a database, for services that take a function or a one-method interface.
//
// Hooks behave as they do in a transaction: txhooks.AfterCommit and BeforeCommit run theirs when fn has returned nil,
// and not at all if it failed; a Run within a Run joins it. What fn wrote to a Repo before it failed stays.
type NoTx struct{}

type noTxKey struct{}

// Run runs fn.
func (NoTx) Run(ctx context.Context, fn func(ctx context.Context) error) (err error) {
	if db, ok := ctx.Value(noTxKey{}).(*txhooks.DB); ok {
		return db.Run(ctx, fn)
	}
	// A pool for each Run, as an open one has a goroutine, which tests that look for leaks would find.
	pool := sql.OpenDB(nothing{})
	defer func() {
		if closing := pool.Close(); err == nil {
			err = closing
		}
	}()
	db := txhooks.New(sqlx.NewDb(pool, "nothing"), txhooks.Config{})
	return db.Run(context.WithValue(ctx, noTxKey{}, db), fn)
}

// nothing is a database that can begin and end transactions.
type nothing struct{}

var errStatement = errors.New("memrepo: NoTx has no database to send statements to")

func (nothing) Connect(context.Context) (driver.Conn, error) { return nothing{}, nil }
func (nothing) Driver() driver.Driver                        { return nothing{} }
func (nothing) Open(string) (driver.Conn, error)             { return nothing{}, nil }
func (nothing) Begin() (driver.Tx, error)                    { return nothing{}, nil }
func (nothing) Prepare(string) (driver.Stmt, error)          { return nil, errStatement }
func (nothing) Close() error                                 { return nil }
func (nothing) Commit() error                                { return nil }
func (nothing) Rollback() error                              { return nil }
