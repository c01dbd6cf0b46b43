package repo

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/column"
	"github.com/asidego/aside/repo/internal/fault"
)

// Modify locks the row against other writers, gives its stored state to change and writes the columns that change
// altered. Columns that it left alone keep what others wrote to them. Readers and inserts of rows that refer to this one
// do not wait. change should be quick, and must use the context of a transaction, if any, for statements of its own:
// with another, it may wait for its own lock.
func (r *SQL[T, K]) Modify(ctx context.Context, key K, change func(rec *T) error) (T, error) {
	place := r.table.Row(key).Place()
	var rec T
	var refused error
	err := r.write(ctx, func(ctx context.Context) error {
		before, after, err := r.lockRow(ctx, place)
		if err != nil {
			return err
		}
		if refused = change(after); refused != nil {
			return refusal{refused}
		}
		rec, err = r.writeAltered(ctx, before, after)
		return err
	})
	if err != nil {
		var none T
		if refused != nil {
			return none, refused
		}
		return none, fail(ctx, r.rel, "modify", fault.Describe(place), err)
	}
	return rec, nil
}

// refusal hides an error of change from errors.Is: it rolls back, also if it is another row's ErrNotFound.
type refusal struct{ error }

// lockRow selects a row and locks it until the transaction ends. It returns the row twice, without common memory.
func (r *SQL[T, K]) lockRow(ctx context.Context, at model.Place) (row, again *T, err error) {
	data, err := at.Data(nil)
	if err != nil {
		return nil, nil, err
	}
	if model.HasNull(data) {
		return nil, nil, model.NotFound(at)
	}
	var a args
	where := r.text.at(&a, at.Access, data)
	narrow, err := r.narrow(ctx, &a)
	if err != nil {
		return nil, nil, err
	}
	row, again = new(T), new(T)
	found, err := r.one(ctx, r.text.select1+" WHERE "+where+narrow+" FOR NO KEY UPDATE", a, func(rows *sql.Rows) error {
		if err := scanRow(r.rel, rows, target{row, r.text.all}); err != nil {
			return err
		}
		return scanRow(r.rel, rows, target{again, r.text.all})
	})
	if err == nil && !found {
		err = model.NotFound(at)
	}
	if err != nil {
		return nil, nil, err
	}
	r.rel.Normalize(row)
	r.rel.Normalize(again)
	return row, again, nil
}

// writeAltered updates the columns in which after differs from before, a row that is locked.
func (r *SQL[T, K]) writeAltered(ctx context.Context, before, after *T) (T, error) {
	var none T
	r.rel.Normalize(after)
	var a args
	set, err := r.altered(&a, before, after)
	if err != nil {
		return none, err
	}
	if len(set) == 0 {
		return *before, nil
	}
	return r.updateLocked(ctx, a, set, before)
}

// updateLocked writes to a row that is locked, so that what before says is what the row is.
func (r *SQL[T, K]) updateLocked(ctx context.Context, a args, set []string, before *T) (T, error) {
	var none T
	if v := r.rel.Version; v >= 0 {
		set = append(set, r.text.column(v)+" = "+r.text.column(v)+" + 1")
	}
	key, err := r.rel.Key.Of(nil, before)
	if err != nil {
		return none, err
	}
	where := r.text.at(&a, r.rel.Key, key)
	scoped, err := r.scoped(ctx, &a)
	if err != nil {
		return none, err
	}
	query := "UPDATE " + r.text.table + " SET " + strings.Join(set, ", ") +
		" WHERE " + where + scoped + " RETURNING " + r.text.columns
	recs, err := r.records(ctx, query, a)
	switch {
	case err != nil:
		return none, err
	case len(recs) == 0:
		return none, errSuppressed
	case len(recs) > 1:
		return none, fault.ErrTwoRows
	}
	return recs[0], r.changed(ctx, before, &recs[0])
}

// altered lists "column = $n" for the columns that differ.
func (r *SQL[T, K]) altered(a *args, before, after *T) ([]string, error) {
	var set []string
	for i := range r.rel.Columns {
		if i == r.rel.Version {
			continue
		}
		was, err := column.Of(r.rel, before, i)
		if err != nil {
			return nil, err
		}
		is, err := column.Of(r.rel, after, i)
		if err != nil {
			return nil, err
		}
		switch {
		case column.Equal(was, is):
		case slices.Contains(r.rel.Key.Columns, i):
			return nil, fault.KeyAltered(&r.rel.Columns[i])
		case i == r.rel.Scope:
			return nil, fault.ErrLeavesScope
		case r.rel.Columns[i].ReadOnly:
			return nil, fault.ReadOnly(&r.rel.Columns[i])
		default:
			set = append(set, r.text.column(i)+" = "+a.add(is))
		}
	}
	return set, nil
}
