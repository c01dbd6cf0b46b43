package repo

import (
	"context"
	"database/sql/driver"
	"slices"
	"strings"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/column"
	"github.com/asidego/aside/repo/internal/fault"
	"github.com/asidego/aside/repo/internal/keyset"
)

// ListBy returns a page of the rows at an index value, in the index's order. A page begins after the last row of the one
// before, whether that row is still there or not, so rows that are inserted or deleted in between move nothing.
//
// An index of the value's columns, then the order's, makes each page cost the same.
func (r *SQL[T, K]) ListBy(ctx context.Context, at model.Many[T], page Page) (List[T], error) {
	place := at.Place()
	if err := fault.Stray(r.rel, place); err != nil {
		return List[T]{}, err
	}
	list, err := r.listBy(ctx, place, page)
	return list, fail(ctx, r.rel, "list", fault.Describe(place), err)
}

func (r *SQL[T, K]) listBy(ctx context.Context, at model.Place, page Page) (List[T], error) {
	limit, err := keyset.Limit(page.Limit)
	if err != nil {
		return List[T]{}, err
	}
	data, err := at.Data(nil)
	if err != nil {
		return List[T]{}, err
	}
	var after []driver.Value
	if page.After != "" {
		if after, err = keyset.Decode(string(page.After), at); err != nil {
			return List[T]{}, err
		}
	}
	if model.HasNull(data) {
		return List[T]{}, nil
	}
	var a args
	where := r.text.at(&a, at.Access, data)
	recs, err := r.page(ctx, a, where, at.Access.Order, after, limit+1)
	if err != nil {
		return List[T]{}, err
	}
	if len(recs) <= limit {
		return List[T]{Items: recs}, nil
	}
	recs = recs[:limit]
	last, err := r.position(&recs[limit-1], at.Access.Order)
	if err != nil {
		return List[T]{}, err
	}
	next, err := keyset.Encode(at, last)
	if err != nil {
		return List[T]{}, err
	}
	return List[T]{Items: recs, Next: Cursor(next)}, nil
}

// page selects rows in an order, from after a position on; nil is the start.
func (r *SQL[T, K]) page(
	ctx context.Context, a args, where string, order []model.Order, after []driver.Value, limit int,
) ([]T, error) {
	if after != nil {
		where += " AND " + r.text.after(&a, order, after)
	}
	narrow, err := r.narrow(ctx, &a)
	if err != nil {
		return nil, err
	}
	query := r.text.select1 + " WHERE " + where + narrow +
		" ORDER BY " + r.text.orderBy(order) + " LIMIT " + a.add(int64(limit))
	return r.records(ctx, query, a)
}

// position returns the values of a record's order columns.
func (r *SQL[T, K]) position(rec *T, order []model.Order) ([]driver.Value, error) {
	values := make([]driver.Value, len(order))
	for i, o := range order {
		var err error
		if values[i], err = column.Of(r.rel, rec, o.Column); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func (t *text) orderBy(order []model.Order) string {
	terms := make([]string, len(order))
	for i, o := range order {
		terms[i] = t.column(o.Column)
		if o.Desc {
			terms[i] += " DESC"
		}
	}
	return strings.Join(terms, ", ")
}

// after is the condition that a row comes after a position.
func (t *text) after(a *args, order []model.Order, values []driver.Value) string {
	columns, params := make([]string, len(order)), make([]string, len(order))
	for i, o := range order {
		columns[i], params[i] = t.column(o.Column), a.add(values[i])
	}
	uniform := !slices.ContainsFunc(order, func(o model.Order) bool { return o.Desc != order[0].Desc })
	if uniform {
		// One comparison of rows is one range of an index.
		return "(" + strings.Join(columns, ", ") + ") " + beyond(order[0]) + " (" + strings.Join(params, ", ") + ")"
	}
	// a > 1 OR (a = 1 AND (b < 2 OR (b = 2 AND c > 3))), from the inside. The leading "a >= 1" is implied, but it is
	// what lets the server use an index.
	last := len(order) - 1
	condition := columns[last] + " " + beyond(order[last]) + " " + params[last]
	for i := last - 1; i >= 0; i-- {
		condition = columns[i] + " " + beyond(order[i]) + " " + params[i] +
			" OR (" + columns[i] + " = " + params[i] + " AND (" + condition + "))"
	}
	return columns[0] + " " + beyond(order[0]) + "= " + params[0] + " AND (" + condition + ")"
}

func beyond(o model.Order) string {
	if o.Desc {
		return "<"
	}
	return ">"
}
