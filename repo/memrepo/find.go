package memrepo

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/repo/internal/column"
	"github.com/asidego/aside/repo/internal/fault"
	"github.com/asidego/aside/repo/internal/keyset"
)

// Find returns the row with this key.
func (r *Repo[T, K]) Find(ctx context.Context, key K) (T, error) {
	return r.find(ctx, r.table.Row(key).Place())
}

// FindBy returns the row at a value of a unique index, or with a key.
func (r *Repo[T, K]) FindBy(ctx context.Context, at model.One[T]) (T, error) {
	place := at.Place()
	if err := fault.Stray(r.rel, place); err != nil {
		var none T
		return none, err
	}
	return r.find(ctx, place)
}

func (r *Repo[T, K]) find(ctx context.Context, at model.Place) (T, error) {
	recs, err := r.read(ctx, at)
	var none T
	switch {
	case err != nil:
		return none, fault.Wrap(ctx, r.rel, "find", fault.Describe(at), err)
	case len(recs) == 0:
		return none, model.NotFound(at)
	case len(recs) > 1:
		return none, fault.Wrap(ctx, r.rel, "find", fault.Describe(at), fault.ErrTwoRows)
	}
	rec, err := r.copy(recs[0])
	return rec, fault.Wrap(ctx, r.rel, "find", fault.Describe(at), err)
}

// read is at, for a caller whose context may have ended.
func (r *Repo[T, K]) read(ctx context.Context, at model.Place) ([]*T, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	scope, err := r.scopeOf(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at(scope, at)
}

// FindMany returns, in the order of keys, the rows that exist.
func (r *Repo[T, K]) FindMany(ctx context.Context, keys []K) ([]T, error) {
	recs := make([]T, 0, len(keys))
	for _, key := range keys {
		rec, err := r.Find(ctx, key)
		if errors.Is(err, model.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fault.Wrap(ctx, r.rel, "find many", fmt.Sprintf("(%d keys)", len(keys)), err)
		}
		recs = append(recs, rec)
	}
	return recs, nil
}

// Count counts the rows at an index value.
func (r *Repo[T, K]) Count(ctx context.Context, at model.Many[T]) (int, error) {
	place := at.Place()
	if err := fault.Stray(r.rel, place); err != nil {
		return 0, err
	}
	recs, err := r.read(ctx, place)
	return len(recs), fault.Wrap(ctx, r.rel, "count", fault.Describe(place), err)
}

// ListBy returns a page of the rows at an index value, in the index's order.
func (r *Repo[T, K]) ListBy(ctx context.Context, at model.Many[T], page repo.Page) (repo.List[T], error) {
	place := at.Place()
	if err := fault.Stray(r.rel, place); err != nil {
		return repo.List[T]{}, err
	}
	list, err := r.list(ctx, place, page)
	return list, fault.Wrap(ctx, r.rel, "list", fault.Describe(place), err)
}

// positioned is a record and the values of its order columns.
type positioned[T any] struct {
	rec *T
	at  []driver.Value
}

func (r *Repo[T, K]) list(ctx context.Context, at model.Place, page repo.Page) (repo.List[T], error) {
	var list repo.List[T]
	limit, err := keyset.Limit(page.Limit)
	if err != nil {
		return list, err
	}
	var after []driver.Value
	if page.After != "" {
		if after, err = keyset.Decode(string(page.After), at); err != nil {
			return list, err
		}
	}
	recs, err := r.read(ctx, at)
	if err != nil {
		return list, err
	}
	rows := make([]positioned[T], 0, len(recs))
	for _, rec := range recs {
		row := positioned[T]{rec: rec}
		for _, o := range at.Access.Order {
			v, err := column.Of(r.rel, rec, o.Column)
			if err != nil {
				return list, err
			}
			row.at = append(row.at, v)
		}
		if after == nil || compare(at.Access.Order, row.at, after) > 0 {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b positioned[T]) int { return compare(at.Access.Order, a.at, b.at) })
	for i, row := range rows[:min(limit, len(rows))] {
		rec, err := r.copy(row.rec)
		if err != nil {
			return repo.List[T]{}, err
		}
		list.Items = append(list.Items, rec)
		if i == limit-1 && len(rows) > limit {
			next, err := keyset.Encode(at, row.at)
			if err != nil {
				return repo.List[T]{}, err
			}
			list.Next = repo.Cursor(next)
		}
	}
	return list, nil
}

func compare(order []model.Order, a, b []driver.Value) int {
	for i, o := range order {
		c := column.Compare(a[i], b[i])
		if o.Desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}
