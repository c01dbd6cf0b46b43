package repo

import (
	"context"
	"errors"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// SQL is a Repository on PostgreSQL, with more methods that nobody caches. It may be used by several goroutines.
//
// Statements list their columns, so a column added to the table breaks nothing, and number their parameters. They work
// the same with lib/pq and with pgx's database/sql driver. Times are in UTC, in what is written and in what is read, and
// have PostgreSQL's precision once they were stored. A json.RawMessage is meant for a json or jsonb column.
//
// An error that matches model.ErrNotFound or model.ErrConflict leaves a transaction that the caller began usable, for
// the statement changed nothing. After any other error of a write that transaction can only roll back, unless the write
// ran in a txhooks.DB.Savepoint. Errors name table, operation and key; of what PostgreSQL reports, violations of
// unique indexes and foreign keys are a *model.Error, and the rest is wrapped.
type SQL[T any, K comparable] struct {
	db    *txhooks.DB
	table *model.Table[T, K]
	rel   *model.Relation
	text  text
}

// New does not connect.
func New[T any, K comparable](db *txhooks.DB, table *model.Table[T, K]) *SQL[T, K] {
	rel := table.Relation()
	return &SQL[T, K]{db: db, table: table, rel: rel, text: textOf(rel)}
}

// Table returns the table that New was given.
func (r *SQL[T, K]) Table() *model.Table[T, K] { return r.table }

// write runs fn in the transaction of ctx or in one of its own.
//
// In a transaction that the caller began, an fn that found nothing to change is no failure of the transaction: who gets
// ErrNotFound from Modify may go on to Insert. Run would have to roll all of it back if it saw that error.
func (r *SQL[T, K]) write(ctx context.Context, fn func(ctx context.Context) error) error {
	joins := r.db.In(ctx)
	var harmless error
	err := r.db.Run(ctx, func(ctx context.Context) error {
		err := fn(ctx)
		if joins && (errors.Is(err, model.ErrNotFound) || errors.Is(err, model.ErrConflict)) {
			harmless = err
			return nil
		}
		return err
	})
	if err == nil {
		err = harmless
	}
	return err
}

// changed reports one row. A nil record is none: inserted, or deleted.
func (r *SQL[T, K]) changed(ctx context.Context, before, after *T) error {
	change := txhooks.Change{Relation: r.rel}
	var err error
	if before != nil {
		if change.Before, err = r.rel.Image(before); err != nil {
			return err
		}
	}
	if after != nil {
		if change.After, err = r.rel.Image(after); err != nil {
			return err
		}
	}
	return r.db.Changed(ctx, change)
}
