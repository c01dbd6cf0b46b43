package repo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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

// UpdateWhere returns how many rows it changed. Of these only key and index columns come back from the server; they are
// kept in memory until the transaction ends. A version column is incremented. Only rows that satisfy the table's Filter
// are changed.
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
	query := "WITH aside_old AS MATERIALIZED (" + r.text.lock("("+b.Where+")"+r.text.filter) + ")," +
		" aside_new AS (UPDATE " + r.text.table + " SET " + set + " FROM aside_old WHERE " + r.text.joinOld() +
		" RETURNING TRUE AS aside_updated, " + r.text.images + ", " + r.text.old + ")" +
		" SELECT aside_count.aside_locked, COALESCE(aside_updated, FALSE), " + r.text.images + ", " + r.text.old +
		" FROM (SELECT count(*) AS aside_locked FROM aside_old) AS aside_count LEFT JOIN aside_new ON TRUE"
	var locked int64
	var changes []txhooks.Change
	err := r.each(ctx, query, b.Args, func(rows *sql.Rows) error {
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
		change.After, err = r.rel.Image(&after)
		changes = append(changes, change)
		return err
	})
	if err != nil {
		return 0, err
	}
	n := int64(len(changes))
	if n != locked {
		return 0, movedError{locked, n}
	}
	if n == 0 {
		return 0, nil
	}
	return n, r.db.Changed(ctx, changes...)
}

// DeleteWhere returns how many rows it deleted. Of these only key and index columns come back from the server; they are
// kept in memory until the transaction ends. Only rows that satisfy the table's Filter are deleted.
func (r *SQL[T, K]) DeleteWhere(ctx context.Context, b Bulk) (int64, error) {
	switch {
	case strings.TrimSpace(b.Where) == "":
		return 0, fail(ctx, r.rel, "delete where", "", errNoWhere)
	case b.Set != "":
		return 0, fail(ctx, r.rel, "delete where", b.Where, errSet)
	}
	var changes []txhooks.Change
	err := r.write(ctx, func(ctx context.Context) error {
		query := "DELETE FROM " + r.text.table + " WHERE (" + b.Where + ")" + r.text.filter + " RETURNING " + r.text.images
		err := r.each(ctx, query, b.Args, func(rows *sql.Rows) error {
			var before T
			if err := scanRow(r.rel, rows, target{&before, r.rel.Images}); err != nil {
				return err
			}
			image, err := r.rel.Image(&before)
			changes = append(changes, txhooks.Change{Relation: r.rel, Before: image})
			return err
		})
		if err != nil || len(changes) == 0 {
			return err
		}
		return r.db.Changed(ctx, changes...)
	})
	if err != nil {
		return 0, fail(ctx, r.rel, "delete where", b.Where, err)
	}
	return int64(len(changes)), nil
}
