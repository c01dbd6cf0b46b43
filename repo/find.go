package repo

import (
	"context"
	"database/sql"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/fault"
)

// Find returns the row with this key.
func (r *SQL[T, K]) Find(ctx context.Context, key K) (T, error) {
	return r.find(ctx, r.table.Row(key).Place())
}

// FindBy returns the row at a value of a unique index, or with a key. A partial unique index in PostgreSQL needs its
// predicate as the table's Filter, or FindBy fails where it finds two rows.
func (r *SQL[T, K]) FindBy(ctx context.Context, at model.One[T]) (T, error) {
	place := at.Place()
	if err := fault.Stray(r.rel, place); err != nil {
		var none T
		return none, err
	}
	return r.find(ctx, place)
}

func (r *SQL[T, K]) find(ctx context.Context, at model.Place) (T, error) {
	var none T
	data, err := at.Data(nil)
	if err != nil {
		return none, fail(ctx, r.rel, "find", at.String(), err)
	}
	if model.HasNull(data) {
		return none, model.NotFound(at)
	}
	var a args
	where := r.text.at(&a, at.Access, data)
	narrow, err := r.narrow(ctx, &a)
	if err != nil {
		return none, fail(ctx, r.rel, "find", fault.Describe(at), err)
	}
	// One row more than there can be, to notice a "unique" index that is none.
	recs, err := r.records(ctx, r.text.select1+" WHERE "+where+narrow+" LIMIT 2", a)
	switch {
	case err != nil:
		return none, fail(ctx, r.rel, "find", fault.Describe(at), err)
	case len(recs) == 0:
		return none, model.NotFound(at)
	case len(recs) > 1:
		return none, fail(ctx, r.rel, "find", fault.Describe(at), fault.ErrTwoRows)
	}
	return recs[0], nil
}

// Count counts the rows at an index value.
func (r *SQL[T, K]) Count(ctx context.Context, at model.Many[T]) (int, error) {
	place := at.Place()
	if err := fault.Stray(r.rel, place); err != nil {
		return 0, err
	}
	data, err := place.Data(nil)
	if err != nil {
		return 0, fail(ctx, r.rel, "count", fault.Describe(place), err)
	}
	if model.HasNull(data) {
		return 0, nil
	}
	var a args
	var n int
	where := r.text.at(&a, place.Access, data)
	narrow, err := r.narrow(ctx, &a)
	if err != nil {
		return 0, fail(ctx, r.rel, "count", fault.Describe(place), err)
	}
	query := "SELECT count(*) FROM " + r.text.table + " WHERE " + where + narrow
	err = r.each(ctx, query, a, func(rows *sql.Rows) error { return rows.Scan(&n) })
	return n, fail(ctx, r.rel, "count", fault.Describe(place), err)
}
