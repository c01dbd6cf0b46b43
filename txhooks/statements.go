package txhooks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"
)

var _ sqlx.ExtContext = (*DB)(nil)

// ExecContext executes a statement in the transaction in ctx, or in one of its own: a statement without a transaction can
// be executed twice, for database/sql sends it again if the connection ends before the answer.
func (db *DB) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return db.exec(ctx, query, func(ctx context.Context, tx *sqlx.Tx) (sql.Result, error) {
		return tx.ExecContext(ctx, query, args...)
	})
}

// NamedExecContext is ExecContext with the :names in the query taken from arg, a struct or map; see sqlx. sqlx takes every
// colon for the start of a name, also those in a string.
func (db *DB) NamedExecContext(ctx context.Context, query string, arg any) (sql.Result, error) {
	return db.exec(ctx, query, func(ctx context.Context, tx *sqlx.Tx) (sql.Result, error) {
		return tx.NamedExecContext(ctx, query, arg)
	})
}

func (db *DB) exec(ctx context.Context, query string, send func(context.Context, *sqlx.Tx) (sql.Result, error)) (res sql.Result, err error) {
	if !db.In(ctx) {
		err = db.Run(ctx, func(ctx context.Context) (err error) {
			res, err = db.exec(ctx, query, send)
			return err
		})
		if err != nil {
			return nil, err
		}
		return res, nil
	}
	t, err := db.ready(ctx, query)
	if err != nil {
		return nil, err
	}
	res, err = send(ctx, t.tx)
	return res, t.note(ctx, err)
}

// GetContext scans the first row of a query into dest, and fails with sql.ErrNoRows if there is none.
func (db *DB) GetContext(ctx context.Context, dest any, query string, args ...any) error {
	t, err := db.ready(ctx, query)
	if err != nil {
		return err
	}
	if t == nil {
		if r := db.route(ctx); r != nil {
			return explain(ctx, db.getAway(ctx, r, dest, query, args))
		}
		return explain(ctx, db.conn.GetContext(ctx, dest, query, args...))
	}
	return t.note(ctx, t.tx.GetContext(ctx, dest, query, args...))
}

// SelectContext scans all rows of a query into dest, a pointer to a slice.
func (db *DB) SelectContext(ctx context.Context, dest any, query string, args ...any) error {
	t, err := db.ready(ctx, query)
	if err != nil {
		return err
	}
	if t == nil {
		if r := db.route(ctx); r != nil {
			return explain(ctx, db.selectAway(ctx, r, dest, query, args))
		}
		return explain(ctx, db.conn.SelectContext(ctx, dest, query, args...))
	}
	return t.note(ctx, t.tx.SelectContext(ctx, dest, query, args...))
}

// QueryContext is for reading when outside a transaction: an INSERT ... RETURNING given to it there can be executed twice,
// see ExecContext. The same holds for the other Query methods, GetContext and SelectContext.
func (db *DB) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	t, err := db.ready(ctx, query)
	if err != nil {
		return nil, err
	}
	if t == nil {
		if r := db.route(ctx); r != nil {
			rows, err := away(ctx, db, r, func(conn *sqlx.DB) (*sql.Rows, error) { return conn.QueryContext(ctx, query, args...) })
			return rows, explain(ctx, err)
		}
		rows, err := db.conn.QueryContext(ctx, query, args...)
		return rows, explain(ctx, err)
	}
	rows, err := t.tx.QueryContext(ctx, query, args...)
	return rows, t.note(ctx, err)
}

// QueryxContext is QueryContext with sqlx's rows.
func (db *DB) QueryxContext(ctx context.Context, query string, args ...any) (*sqlx.Rows, error) {
	t, err := db.ready(ctx, query)
	if err != nil {
		return nil, err
	}
	if t == nil {
		if r := db.route(ctx); r != nil {
			rows, err := away(ctx, db, r, func(conn *sqlx.DB) (*sqlx.Rows, error) { return conn.QueryxContext(ctx, query, args...) })
			return rows, explain(ctx, err)
		}
		rows, err := db.conn.QueryxContext(ctx, query, args...)
		return rows, explain(ctx, err)
	}
	rows, err := t.tx.QueryxContext(ctx, query, args...)
	return rows, t.note(ctx, err)
}

// QueryRowContext is QueryContext for one row; errors come from its Scan, also that of a finished transaction.
func (db *DB) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	t, err := db.ready(ctx, query)
	if err != nil {
		return db.conn.QueryRowContext(failedContext{ctx, err}, query)
	}
	if t == nil {
		if r := db.route(ctx); r != nil {
			row, _ := away(ctx, db, r, func(conn *sqlx.DB) (*sql.Row, error) {
				row := conn.QueryRowContext(ctx, query, args...)
				return row, row.Err()
			})
			return row
		}
		return db.conn.QueryRowContext(ctx, query, args...)
	}
	row := t.tx.QueryRowContext(ctx, query, args...)
	if err := row.Err(); errors.Is(err, sql.ErrTxDone) {
		return db.conn.QueryRowContext(failedContext{ctx, t.note(ctx, err)}, query)
	}
	_ = t.note(ctx, row.Err())
	return row
}

// QueryRowxContext is QueryRowContext with sqlx's row.
func (db *DB) QueryRowxContext(ctx context.Context, query string, args ...any) *sqlx.Row {
	t, err := db.ready(ctx, query)
	if err != nil {
		return db.conn.QueryRowxContext(failedContext{ctx, err}, query)
	}
	if t == nil {
		if r := db.route(ctx); r != nil {
			row, _ := away(ctx, db, r, func(conn *sqlx.DB) (*sqlx.Row, error) {
				row := conn.QueryRowxContext(ctx, query, args...)
				return row, row.Err()
			})
			return row
		}
		return db.conn.QueryRowxContext(ctx, query, args...)
	}
	row := t.tx.QueryRowxContext(ctx, query, args...)
	if err := row.Err(); errors.Is(err, sql.ErrTxDone) {
		return db.conn.QueryRowxContext(failedContext{ctx, t.note(ctx, err)}, query)
	}
	_ = t.note(ctx, row.Err())
	return row
}

// PrepareContext prepares a statement in the transaction in ctx, which ends with it. It fails outside a transaction: the
// statement could not join one later. For Touch a prepared statement is what Tx is.
func (db *DB) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	t, err := db.ready(ctx, query)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, errPrepare
	}
	t.mu.Lock()
	t.shared = true
	t.mu.Unlock()
	stmt, err := t.tx.PrepareContext(ctx, query)
	return stmt, t.note(ctx, err)
}

// DriverName returns the name that the driver was opened with.
func (db *DB) DriverName() string { return db.conn.DriverName() }

// Rebind replaces question marks by the driver's placeholders, see sqlx.
func (db *DB) Rebind(query string) string { return db.conn.Rebind(query) }

// BindNamed replaces names by the driver's placeholders, see sqlx.
func (db *DB) BindNamed(query string, arg any) (string, []any, error) {
	return db.conn.BindNamed(query, arg)
}

// ready returns the transaction in ctx, nil if there is none, when a statement can be sent through it.
func (db *DB) ready(ctx context.Context, query string) (*transaction, error) {
	f := db.frame(ctx)
	if f == nil {
		return nil, db.Outer(ctx)
	}
	t := f.tx
	t.mu.Lock()
	err := t.finished()
	t.mu.Unlock()
	if err == nil {
		err = refuseControl(query)
	}
	if err == nil {
		err = t.readBefore(ctx)
	}
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent++
	return t, nil
}

// note takes down how a statement went and returns its error for the caller. A statement with an SQLSTATE failed on the
// server, which then refuses all others; so one that works afterwards proves that a savepoint, perhaps not one of ours,
// undid the failure.
func (t *transaction) note(ctx context.Context, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, sql.ErrNoRows):
		t.failed = nil
	case errors.Is(err, sql.ErrTxDone):
		return fmt.Errorf("%w: %w", finishedError{t.outcome}, err)
	case sqlState(err) != "":
		err = explain(ctx, err)
		if t.failed == nil {
			t.failed = err
		}
	}
	return err
}

// failedContext is a context that has ended with an error of our choice: the only way to a *sql.Row that has one.
type failedContext struct {
	context.Context
	err error
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (f failedContext) Done() <-chan struct{} { return closed }
func (f failedContext) Err() error            { return f.err }
