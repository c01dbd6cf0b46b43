package repo

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/column"
	"github.com/asidego/aside/repo/internal/fault"
)

var errIgnored = errors.New("the row has this version but was not updated: a BEFORE trigger or a row security " +
	"policy suppresses it")

// Update writes all columns of rec but the key, in one statement, if the row has rec's version, and returns it as
// stored, with the next version. Columns with the db option "default" are written even if they are zero; read-only ones
// are not written.
func (r *SQL[T, K]) Update(ctx context.Context, rec T) (T, error) {
	var stored T
	if r.rel.Version < 0 {
		return stored, fail(ctx, r.rel, "update", fault.DescribeRecord(r.rel, &rec), fault.ErrNoVersion)
	}
	r.rel.Normalize(&rec)
	err := r.write(ctx, func(ctx context.Context) (err error) {
		stored, err = r.update(ctx, &rec)
		return err
	})
	if err != nil {
		var none T
		return none, fail(ctx, r.rel, "update", fault.DescribeRecord(r.rel, &rec), err)
	}
	return stored, nil
}

func (r *SQL[T, K]) update(ctx context.Context, rec *T) (T, error) {
	var none T
	if err := r.enter(ctx, rec); err != nil {
		return none, err
	}
	key, err := r.rel.Key.Of(nil, rec)
	if err != nil {
		return none, err
	}
	version, err := column.Of(r.rel, rec, r.rel.Version)
	if err != nil {
		return none, err
	}
	var a args
	where := r.text.at(&a, r.rel.Key, key) + " AND " + r.text.column(r.rel.Version) + " = " + a.add(version)
	narrow, err := r.narrow(ctx, &a)
	if err != nil {
		return none, err
	}
	set, err := r.assignments(&a, rec, nil)
	if err != nil {
		return none, err
	}
	before, after, err := r.updateRow(ctx, a, set, where+narrow, r.rel.Key)
	if err != nil {
		return none, err
	}
	if after == nil {
		return none, r.whyNot(ctx, key, version)
	}
	return *after, r.changed(ctx, before, after)
}

// whyNot tells a missing row from one of another version.
func (r *SQL[T, K]) whyNot(ctx context.Context, key []model.Datum, version any) error {
	var a args
	var now T
	where := r.text.at(&a, r.rel.Key, key)
	narrow, err := r.narrow(ctx, &a)
	if err != nil {
		return err
	}
	query := "SELECT " + r.text.column(r.rel.Version) + " FROM " + r.text.table + " WHERE " + where + narrow
	found, err := r.one(ctx, query, a, func(rows *sql.Rows) error {
		return scanRow(r.rel, rows, target{&now, []int{r.rel.Version}})
	})
	if err != nil {
		return err
	}
	if !found {
		return fault.At(model.ErrNotFound, r.rel.Key, key)
	}
	e := fault.At(model.ErrConflict, r.rel.Key, key)
	if is, err := column.Of(r.rel, &now, r.rel.Version); err == nil && column.Equal(is, version) {
		e.Err = errIgnored
	}
	return e
}

// assignments lists "column = $n" for all columns that can be written but the key's, the version, the scope and those in except.
func (r *SQL[T, K]) assignments(a *args, rec *T, except []int) ([]string, error) {
	var set []string
	for i := range r.rel.Columns {
		if i == r.rel.Version || i == r.rel.Scope || r.rel.Columns[i].ReadOnly ||
			slices.Contains(r.rel.Key.Columns, i) || slices.Contains(except, i) {
			continue
		}
		v, err := column.Of(r.rel, rec, i)
		if err != nil {
			return nil, err
		}
		set = append(set, r.text.column(i)+" = "+a.add(v))
	}
	return set, nil
}
