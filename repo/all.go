package repo

import (
	"context"
	"database/sql/driver"
	"iter"
	"slices"
	"strings"
)

// Where selects by an SQL condition, uncached: Where(ctx, "price > $1 ORDER BY id LIMIT 10", 99). What may follow a
// WHERE may follow the condition. It sees the rows that satisfy the table's Filter only. Columns may be qualified with
// the table's name, without its schema.
func (r *SQL[T, K]) Where(ctx context.Context, cond string, values ...any) ([]T, error) {
	from := r.text.table
	a := args(slices.Clone(values))
	narrow, err := r.narrow(ctx, &a)
	if err != nil {
		return nil, fail(ctx, r.rel, "select where", cond, err)
	}
	if narrow != "" {
		// "filter AND a OR b" would let rows through, and the condition cannot be put in parentheses.
		from = "(SELECT * FROM " + r.text.table + " WHERE " + strings.TrimPrefix(narrow, " AND ") + ") AS " + r.text.alias
	}
	recs, err := r.records(ctx, "SELECT "+r.text.columns+" FROM "+from+" WHERE "+cond, a)
	return recs, fail(ctx, r.rel, "select where", cond, err)
}

// allPage is how many rows All has in memory at a time.
const allPage = 500

// All yields every row in key order, in bounded memory. It reads 500 rows at a time and holds no connection while it
// yields, so the loop may use the database, and may be left at any time. Outside a transaction of REPEATABLE READ each
// 500 have a snapshot of their own. An error is the last that it yields.
func (r *SQL[T, K]) All(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		order := r.rel.Key.Order
		var after []driver.Value
		for {
			recs, err := r.page(ctx, nil, "TRUE", order, after, allPage)
			if err == nil && len(recs) == allPage {
				after, err = r.position(&recs[allPage-1], order)
			}
			if err != nil {
				var none T
				yield(none, fail(ctx, r.rel, "select all", "", err))
				return
			}
			full := len(recs) == allPage
			for _, rec := range recs {
				if !yield(rec, nil) {
					return
				}
			}
			if !full {
				return
			}
		}
	}
}
