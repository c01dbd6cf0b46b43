package repo

import (
	"context"
	"database/sql"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/fault"
)

// Delete deletes the row with this key, in one statement.
func (r *SQL[T, K]) Delete(ctx context.Context, key K) error {
	place := r.table.Row(key).Place()
	err := r.write(ctx, func(ctx context.Context) error { return r.delete(ctx, place) })
	return fail(ctx, r.rel, "delete", fault.Describe(place), err)
}

func (r *SQL[T, K]) delete(ctx context.Context, at model.Place) error {
	data, err := at.Data(nil)
	if err != nil {
		return err
	}
	if model.HasNull(data) {
		return model.NotFound(at)
	}
	var a args
	var before T
	where := r.text.at(&a, at.Access, data)
	narrow, err := r.narrow(ctx, &a)
	if err != nil {
		return err
	}
	query := "DELETE FROM " + r.text.table + " WHERE " + where + narrow +
		" RETURNING " + r.text.images
	found, err := r.one(ctx, query, a, func(rows *sql.Rows) error {
		return scanRow(r.rel, rows, target{&before, r.rel.Images})
	})
	if err != nil {
		return err
	}
	if !found {
		return model.NotFound(at)
	}
	return r.changed(ctx, &before, nil)
}
