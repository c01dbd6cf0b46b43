package repo

import (
	"context"
	"database/sql"
	"strings"

	"github.com/asidego/aside/model"
)

// updateRow updates the row that satisfies where, if there is one, and returns what it was and is:
//
//	UPDATE t SET ... FROM (SELECT id AS aside_old_0, ... FROM t WHERE ... FOR NO KEY UPDATE) AS aside_old
//	WHERE id = aside_old_0 RETURNING ..., aside_old_0, ...
//
// The subselect waits for a concurrent writer and then looks at what that one left, so it returns the row just before
// this update.
func (r *SQL[T, K]) updateRow(
	ctx context.Context, a args, set []string, where string, on *model.Access,
) (before, after *T, err error) {
	if v := r.rel.Version; v >= 0 {
		set = append(set, r.text.column(v)+" = "+r.text.column(v)+" + 1")
	}
	if len(set) == 0 {
		c := r.text.column(on.Columns[0])
		set = []string{c + " = " + c}
	}
	query := "UPDATE " + r.text.table + " SET " + strings.Join(set, ", ") +
		" FROM (" + r.text.lock(where) + ") AS aside_old WHERE " + r.text.joinOld() +
		" RETURNING " + r.text.columns + ", " + r.text.old
	before, after = new(T), new(T)
	found, err := r.one(ctx, query, a, func(rows *sql.Rows) error {
		return scanRow(r.rel, rows, target{after, r.text.all}, target{before, r.rel.Images})
	})
	if err != nil || !found {
		return nil, nil, err
	}
	r.rel.Normalize(after)
	return before, after, nil
}
