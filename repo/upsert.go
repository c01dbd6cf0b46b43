package repo

import (
	"context"
	"errors"
	"slices"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/fault"
)

// Upsert inserts rec or overwrites the row that it conflicts with: Upsert(ctx, p, BySKU). on is a unique index or the
// table itself, for its key; a conflict on another index is model.ErrDuplicate. Overwriting leaves alone the key, the
// columns of on, and the columns that Insert would have left to the database; a version column is incremented from what
// is stored, whatever rec says. A row that it overwrites may be outside of the table's Filter, unless the unique index
// in PostgreSQL has the Filter as its predicate. Of a table with scopes the index in PostgreSQL must begin with the scope.
func (r *SQL[T, K]) Upsert(ctx context.Context, rec T, on model.Target[T]) (T, error) {
	var stored T
	access := on.Access()
	if err := fault.Stray(r.rel, access.Place(nil)); err != nil {
		return stored, err
	}
	r.rel.Normalize(&rec)
	err := r.write(ctx, func(ctx context.Context) (err error) {
		stored, err = r.upsert(ctx, &rec, access)
		return err
	})
	if err != nil {
		var none T
		return none, fail(ctx, r.rel, "upsert", fault.DescribeRecord(r.rel, &rec), err)
	}
	return stored, nil
}

var errUnseen = errors.New("the row was not inserted, and the one that it conflicts with is not seen: a trigger or " +
	"a row security policy is in the way")

// upsert takes two statements, for no single one returns the row as it was: in
//
//	A: begin; insert (id 1, category 5)
//	B: with old as (select ... for update) insert ... on conflict do update ... returning (select category from old)
//	A: commit
//
// B waits, overwrites A's row, and its old is empty, for its snapshot is older than the row: the list of category 5
// would never be invalidated. So the first statement inserts the row or locks the one that is there, and the second
// begins when nobody else can change it. TestUpsertSeesConcurrentInsert replays this.
func (r *SQL[T, K]) upsert(ctx context.Context, rec *T, on *model.Access) (T, error) {
	var none T
	var a args
	if err := r.enter(ctx, rec); err != nil {
		return none, err
	}
	insert, err := r.values(ctx, &a, []T{*rec})
	if err != nil {
		return none, err
	}
	columns := on.Columns
	if r.rel.Scope >= 0 && !slices.Contains(columns, r.rel.Scope) {
		columns = append([]int{r.rel.Scope}, columns...)
	}
	target := " ON CONFLICT (" + r.text.list(columns) + ")"
	if r.rel.Filter != "" {
		target += " WHERE " + r.rel.Filter // finds partial indexes, and others too
	}
	touch := r.text.column(r.touched(on))
	inserted, err := r.records(ctx, insert+target+
		" DO UPDATE SET "+touch+" = EXCLUDED."+touch+" WHERE FALSE RETURNING "+r.text.columns, a)
	if err != nil {
		return none, err
	}
	if len(inserted) > 0 {
		return inserted[0], r.changed(ctx, nil, &inserted[0])
	}
	filters := []string{r.text.filter}
	if r.text.filter != "" {
		filters = append(filters, "")
	}
	for _, filter := range filters {
		before, after, err := r.overwrite(ctx, rec, on, filter)
		if err != nil {
			return none, err
		}
		if after != nil {
			return *after, r.changed(ctx, before, after)
		}
	}
	return none, errUnseen
}

// touched is the column that the first statement pretends to write. PostgreSQL chooses the lock by the columns of the
// SET, so a column of a key would make inserts of rows that refer to this one wait.
func (r *SQL[T, K]) touched(on *model.Access) int {
	if r.rel.Version >= 0 {
		return r.rel.Version
	}
	for i := range r.rel.Columns {
		if !r.rel.Columns[i].ReadOnly && !slices.Contains(r.rel.Images, i) {
			return i
		}
	}
	return on.Columns[0]
}

// overwrite updates the row that has rec's values in on. It returns nil if there is none.
func (r *SQL[T, K]) overwrite(ctx context.Context, rec *T, on *model.Access, filter string) (before, after *T, err error) {
	data, err := on.Of(nil, rec)
	if err != nil {
		return nil, nil, err
	}
	var a args
	where := r.text.at(&a, on, data)
	scoped, err := r.scoped(ctx, &a)
	if err != nil {
		return nil, nil, err
	}
	where += filter + scoped
	except := slices.Clone(on.Columns)
	for i := range r.rel.Columns {
		if r.leftToDatabase(rec, i) {
			except = append(except, i)
		}
	}
	set, err := r.assignments(&a, rec, except)
	if err != nil {
		return nil, nil, err
	}
	return r.updateRow(ctx, a, set, where, on)
}
