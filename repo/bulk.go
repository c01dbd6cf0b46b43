package repo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/asidego/aside/txhooks"
)

// Bulk is an UPDATE or DELETE of many rows: Bulk{Set: "price = price * $1", Where: "category_id = $2", Args: []any{1.1, 7}}.
// An empty Where is an error; all rows are "TRUE".
type Bulk struct {
	Set, Where string // a column may be qualified with the table's name
	Args       []any  // of both, numbered together
}

var (
	errNoWhere = errors.New(`Bulk.Where is empty: all rows are "TRUE"`)
	errNoSet   = errors.New("Bulk.Set is empty")
	errSet     = errors.New("Bulk.Set has no meaning for a DELETE")
)

// bulkAttempts bounds how often UpdateWhere tries to find the rows that it locked.
const bulkAttempts = 3

// UpdateWhere returns how many rows it changed. Of these only key and index columns come back from the server; the
// transaction keeps them until it ends, in a temporary file if they are many. A version column is incremented. Only rows
// that satisfy the table's Filter are changed.
//
// It runs in a savepoint, for a transaction that changes the key of a row while this one waits for it makes the
// statement miss the row. That is noticed, undone and tried again, three times in all.
func (r *SQL[T, K]) UpdateWhere(ctx context.Context, b Bulk) (int64, error) {
	switch {
	case strings.TrimSpace(b.Where) == "":
		return 0, fail(ctx, r.rel, "update where", "", errNoWhere)
	case strings.TrimSpace(b.Set) == "":
		return 0, fail(ctx, r.rel, "update where", "", errNoSet)
	}
	var n int64
	err := r.write(ctx, func(ctx context.Context) (err error) {
		for range bulkAttempts {
			err = r.db.Savepoint(ctx, func(ctx context.Context) (err error) {
				n, err = r.updateWhere(ctx, b)
				return err
			})
			var moved movedError
			if !errors.As(err, &moved) {
				return err
			}
		}
		return err
	})
	if err != nil {
		return 0, fail(ctx, r.rel, "update where", b.Where, err)
	}
	return n, nil
}

// movedError says that rows were locked and then not updated.
type movedError struct{ locked, updated int64 }

func (e movedError) Error() string {
	return fmt.Sprintf("of %d locked rows %d were updated: others change keys meanwhile, or a BEFORE trigger "+
		"suppresses updates", e.locked, e.updated)
}

// updateWhere locks the rows and updates those. The SELECT at the end has one row at least, so that the number of locked
// rows arrives even if none of them was updated.
func (r *SQL[T, K]) updateWhere(ctx context.Context, b Bulk) (int64, error) {
	set := b.Set
	if v := r.rel.Version; v >= 0 {
		set += ", " + r.text.column(v) + " = " + r.text.column(v) + " + 1"
	}
	a := args(slices.Clone(b.Args))
	narrow, err := r.narrow(ctx, &a)
	if err != nil {
		return 0, err
	}
	query := "WITH aside_old AS MATERIALIZED (" + r.text.lock("("+b.Where+")"+narrow) + ")," +
		" aside_new AS (UPDATE " + r.text.table + " SET " + set + " FROM aside_old WHERE " + r.text.joinOld() +
		" RETURNING TRUE AS aside_updated, " + r.text.images + ", " + r.text.old + ")" +
		" SELECT aside_count.aside_locked, COALESCE(aside_updated, FALSE), " + r.text.images + ", " + r.text.old +
		" FROM (SELECT count(*) AS aside_locked FROM aside_old) AS aside_count LEFT JOIN aside_new ON TRUE"
	var locked int64
	changes := batch{db: r.db, ctx: ctx}
	err = r.each(ctx, query, a, func(rows *sql.Rows) error {
		var updated bool
		var before, after T
		err := scanRow(r.rel, rows, target{rec: &locked}, target{rec: &updated}, target{&after, r.rel.Images}, target{&before, r.rel.Images})
		if !updated {
			return nil // the row of the count alone; its NULLs need not fit the record
		}
		if err != nil {
			return err
		}
		change := txhooks.Change{Relation: r.rel}
		if change.Before, err = r.rel.Image(&before); err != nil {
			return err
		}
		if change.After, err = r.rel.Image(&after); err != nil {
			return err
		}
		if err := r.stays(change.Before, change.After); err != nil {
			return err
		}
		return changes.add(change)
	})
	if err == nil {
		err = changes.report()
	}
	if err != nil {
		return 0, err
	}
	if changes.n != locked {
		return 0, movedError{locked, changes.n}
	}
	return changes.n, nil
}

// batch reports changes while the rows come in, so that they are nowhere all in memory. What is reported before a
// statement fails is undone with it: by UpdateWhere's savepoint, or by the transaction, which cannot commit then.
type batch struct {
	db      *txhooks.DB
	ctx     context.Context
	n       int64
	changes []txhooks.Change
}

func (b *batch) add(c txhooks.Change) error {
	b.changes = append(b.changes, c)
	b.n++
	if len(b.changes) < maxRows {
		return nil
	}
	return b.report()
}

func (b *batch) report() error {
	if len(b.changes) == 0 {
		return nil
	}
	err := b.db.Changed(b.ctx, b.changes...)
	clear(b.changes)
	b.changes = b.changes[:0]
	return err
}

// DeleteWhere returns how many rows it deleted. Of these only key and index columns come back from the server; see
// UpdateWhere. Only rows that satisfy the table's Filter are deleted.
func (r *SQL[T, K]) DeleteWhere(ctx context.Context, b Bulk) (int64, error) {
	switch {
	case strings.TrimSpace(b.Where) == "":
		return 0, fail(ctx, r.rel, "delete where", "", errNoWhere)
	case b.Set != "":
		return 0, fail(ctx, r.rel, "delete where", b.Where, errSet)
	}
	var n int64
	err := r.write(ctx, func(ctx context.Context) error {
		changes := batch{db: r.db, ctx: ctx}
		a := args(slices.Clone(b.Args))
		narrow, err := r.narrow(ctx, &a)
		if err != nil {
			return err
		}
		query := "DELETE FROM " + r.text.table + " WHERE (" + b.Where + ")" + narrow + " RETURNING " + r.text.images
		err = r.each(ctx, query, a, func(rows *sql.Rows) error {
			var before T
			if err := scanRow(r.rel, rows, target{&before, r.rel.Images}); err != nil {
				return err
			}
			image, err := r.rel.Image(&before)
			if err != nil {
				return err
			}
			return changes.add(txhooks.Change{Relation: r.rel, Before: image})
		})
		if err == nil {
			err = changes.report()
		}
		n = changes.n
		return err
	})
	if err != nil {
		return 0, fail(ctx, r.rel, "delete where", b.Where, err)
	}
	return n, nil
}
